#include "collector/key_check.h"

#include <stdio.h>

#include "atlas/event.h"
#include "collector/fault.h"

enum { CHECK_MESSAGE_BYTES = 256, CHECK_CRNS_MAX = 4 };

struct check_crns {
    struct check_crn {
        const char *field;
        struct span crn; /* data NULL: absent */
    } items[CHECK_CRNS_MAX];
    size_t len;
};

static void check_add(struct check_crns *crns, const char *field, struct span crn)
{
    if (crn.data)
        crns->items[crns->len++] = (struct check_crn){ field, crn };
}

static void check_reject(struct event_list *list, const struct event *event, const char *field,
                         const char *message)
{
    struct event_note note = {
        .index = event->index, .code = "forbidden", .field = field, .message = message
    };

    list->rejected[event->kind]++;
    event_notes_add(&list->rejects, &note); /* copies both texts */
}

static int check_all(const struct key *key, struct event_list *list, const struct event *event,
                     const struct check_crns *crns)
{
    char message[CHECK_MESSAGE_BYTES];

    for (size_t i = 0; i < crns->len; i++) {
        const struct check_crn *item = &crns->items[i];

        if (key_allows_crn(key, item->crn))
            continue;
        (void)snprintf(message, sizeof(message),
                       "the key %s is restricted to some CRNs, and \"%.*s\" is none of them",
                       key->id, fault_quote_len(item->crn.len), item->crn.data);
        check_reject(list, event, item->field, message);
        return -1;
    }
    return 0;
}

static int check_metrics(const struct key *key, struct event_list *list, const struct event *event)
{
    struct check_crns crns = { 0 };

    if (event->kind == EVENT_DELAYED_METRICS) {
        check_reject(list, event, "predictionUuid",
                     "a key that is restricted to CRNs can't send delayed metrics: they name a "
                     "prediction by its UUID alone");
        return -1;
    }
    check_add(&crns, "modelDeploymentCrn", event->deployment_crn);
    check_add(&crns, "modelBuildCrn", event->build_crn);
    check_add(&crns, "modelCrn", event->model_crn);
    return check_all(key, list, event, &crns);
}

static int check_lineage(const struct key *key, struct event_list *list, const struct event *event,
                         const struct lineage_limits *limits)
{
    struct lineage_notes warnings = { 0 };
    struct check_crns crns = { 0 };
    struct lineage_event lineage;
    struct lineage_note refusal;
    int rc = lineage_event_parse(&lineage, event->text, limits, &warnings, &refusal);

    if (rc < 0) { /* it passed a moment ago */
        check_reject(list, event, NULL, refusal.message);
    } else {
        check_add(&crns, "projectCrn", span_of(lineage.project_crn));
        check_add(&crns, "modelCrn", span_of(lineage.model_crn));
        check_add(&crns, "modelBuildCrn", span_of(lineage.build_crn));
        check_add(&crns, "modelDeploymentCrn", span_of(lineage.deployment_crn));
        rc = check_all(key, list, event, &crns);
        lineage_event_done(&lineage);
    }
    lineage_notes_done(&warnings);
    return rc;
}

void key_check_events(const struct key *key, struct event_list *list,
                      const struct event_limits *limits, const struct type_registry *types,
                      const char *name_space)
{
    struct lineage_limits lineage = { limits->time_ms_min, limits->time_ms_max, types, name_space };
    uint32_t kept = 0;

    if (!key->prefixes.len)
        return;
    for (uint32_t i = 0; i < list->len; i++) {
        const struct event *event = &list->events[i];
        int rc = event_kind_is_lineage(event->kind) ? check_lineage(key, list, event, &lineage)
                                                    : check_metrics(key, list, event);

        if (rc == 0)
            list->events[kept++] = *event;
    }
    list->len = kept;
}
