#include "collector/lineage_check.h"

#include "atlas/event.h"

static void lineage_note_add(struct event_notes *notes, uint32_t index,
                             struct lineage_note *lineage)
{
    struct event_note note = { .index = index,
                               .code = lineage->code,
                               .field = lineage->field[0] ? lineage->field : NULL,
                               .message = lineage->message,
                               .line = lineage->line,
                               .column = lineage->column };

    event_notes_add(notes, &note); /* copies both texts */
}

/* -1: refused. */
static int lineage_check_event(struct event_list *list, const struct event *event,
                               const struct lineage_limits *limits)
{
    struct lineage_notes warnings = { 0 };
    struct lineage_event lineage;
    struct lineage_note refusal;
    int rc = lineage_event_parse(&lineage, event->text, limits, &warnings, &refusal);

    if (rc < 0) {
        list->rejected[event->kind]++;
        lineage_note_add(&list->rejects, event->index, &refusal);
    } else {
        for (uint32_t i = 0; i < warnings.len; i++)
            lineage_note_add(&list->warnings, event->index, &warnings.items[i]);
        lineage_event_done(&lineage);
    }
    lineage_notes_done(&warnings);
    return rc;
}

void lineage_check(struct event_list *list, const struct event_limits *limits,
                   const struct type_registry *types, const char *name_space)
{
    struct lineage_limits lineage = { limits->time_ms_min, limits->time_ms_max, types, name_space };
    uint32_t kept = 0;

    for (uint32_t i = 0; i < list->len; i++) {
        const struct event *event = &list->events[i];

        if (!event_kind_is_lineage(event->kind) || lineage_check_event(list, event, &lineage) == 0)
            list->events[kept++] = *event;
    }
    list->len = kept;
}
