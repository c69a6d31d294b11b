/* What was done to an entity, the newest first, as Atlas's audit tells it. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "collector/query_atlas_internal.h"
#include "collector/store_audit_internal.h"

enum { AUDIT_LIMIT_DEFAULT = 100, AUDIT_LIMIT_MAX = 1000 };

/* An answer under way. */
struct audit_answer {
    struct atlas *atlas;
    size_t len;
};

static const struct {
    const char *action, *prefix; /* of the details */
} audit_prefixes[] = {
    { "ENTITY_CREATE", "Created: " },
    { "ENTITY_UPDATE", "Updated: " },
    { "ENTITY_DELETE", "Deleted: " },
    { "CLASSIFICATION_ADD", "Added classification: " },
    { "CLASSIFICATION_UPDATE", "Updated classification: " },
    { "CLASSIFICATION_DELETE", "Deleted classification: " },
};

/* What Atlas knows; most of it is never done here. */
static const char *const audit_actions[] = {
    "ENTITY_CREATE",
    "ENTITY_UPDATE",
    "ENTITY_DELETE",
    "ENTITY_PURGE",
    "ENTITY_IMPORT_CREATE",
    "ENTITY_IMPORT_UPDATE",
    "ENTITY_IMPORT_DELETE",
    "CLASSIFICATION_ADD",
    "CLASSIFICATION_DELETE",
    "CLASSIFICATION_UPDATE",
    "PROPAGATED_CLASSIFICATION_ADD",
    "PROPAGATED_CLASSIFICATION_DELETE",
    "PROPAGATED_CLASSIFICATION_UPDATE",
    "TERM_ADD",
    "TERM_DELETE",
    "LABEL_ADD",
    "LABEL_DELETE",
    "BUSINESS_ATTRIBUTE_UPDATE",
    "CUSTOM_ATTRIBUTE_UPDATE",
};

/* ----------------------------------------------------------------------------------- parameters */

/* *value stays where it was not given. */
static int audit_number(struct atlas *atlas, const char *name, int64_t min, int64_t max,
                        int64_t *value)
{
    struct span text = atlas_parameter(atlas, name);
    long long number;
    char *end;

    if (!text.len)
        return 0;
    errno = 0;
    number = strtoll(text.data, &end, 10);
    if (*end || errno || number < min || number > max)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029",
                           "%s must be a whole number from %" PRId64 " to %" PRId64, name, min,
                           max);
    *value = number;
    return 0;
}

static int audit_order(struct atlas *atlas, struct audit_request *request)
{
    static const char *const names[] = {
        [AUDIT_BY_TIME] = "timestamp", [AUDIT_BY_USER] = "user", [AUDIT_BY_ACTION] = "action"
    };
    struct span by = atlas_parameter(atlas, "sortBy");
    struct span order = atlas_parameter(atlas, "sortOrder");
    bool is_known = !by.len;

    for (size_t i = 0; i < LENGTH(names); i++) {
        if (!span_is(by, names[i]))
            continue;
        request->order = (enum audit_order)i;
        is_known = true;
    }
    if (!is_known)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029",
                           "sortBy must be timestamp, user or action: \"%.*s\"",
                           fault_quote_len(by.len), by.data);
    request->is_ascending = order.len && strcasecmp(order.data, "asc") == 0;
    if (order.len && !request->is_ascending && strcasecmp(order.data, "desc") != 0)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029",
                           "sortOrder must be asc or desc: \"%.*s\"", fault_quote_len(order.len),
                           order.data);
    return 0;
}

/* GUID:TIME:0:BATCH: a page begins with the event of this key, which only in the order of time is
 * where one ends. */
static int audit_start(struct atlas *atlas, struct audit_request *request)
{
    struct span key = atlas_parameter(atlas, "startKey");
    const char *guid = request->entity->guid;
    size_t guid_len = strlen(guid);
    long long time, batch;
    int len = 0;

    if (!key.len || span_is(key, "null")) /* what some clients send for none */
        return 0;
    if (request->order != AUDIT_BY_TIME)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029",
                           "startKey goes with sortBy=timestamp alone: page by offset");
    if (key.len <= guid_len || strncasecmp(key.data, guid, guid_len) != 0 ||
        sscanf(key.data + guid_len, ":%18lld:0:%18lld%n", &time, &batch, &len) != 2 ||
        guid_len + (size_t)len != key.len)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029",
                           "startKey is no eventKey of this entity: \"%.*s\"",
                           fault_quote_len(key.len), key.data);
    if (request->is_ascending)
        request->batch_min = batch;
    else if (batch < request->batch_max)
        request->batch_max = batch;
    return 0;
}

static int audit_parse(struct atlas *atlas, struct audit_request *request)
{
    struct span action = atlas_parameter(atlas, "auditAction");

    request->limit = AUDIT_LIMIT_DEFAULT;
    if (audit_number(atlas, "count", 1, AUDIT_LIMIT_MAX, &request->limit) < 0 ||
        audit_number(atlas, "offset", -1, INT32_MAX, &request->offset) < 0 ||
        audit_order(atlas, request) < 0)
        return -1;
    if (request->offset < 0) /* none, in Atlas's words */
        request->offset = 0;
    for (size_t i = 0; i < LENGTH(audit_actions); i++) {
        if (span_is(action, audit_actions[i]))
            request->action = audit_actions[i];
    }
    if (action.len && !request->action)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029", "unknown auditAction: \"%.*s\"",
                           fault_quote_len(action.len), action.data);
    return 0;
}

/* --------------------------------------------------------------------------------------- events */

/* The entity or the classification as it was then; of a classification that is gone the name.
 * Owned. */
static char *audit_text(const struct audit_event *event)
{
    const struct entity *entity = event->entity;
    json_t *object;
    char *text;

    if (*event->subject && !event->classification)
        return xstrdup(event->subject);
    object = event->classification
                 ? classification_json(event->classification, entity->guid, entity->is_deleted)
                 : entity_plain_json(entity);
    text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

/* "Created: " and what was. Owned. */
static json_t *audit_details(const struct audit_event *event)
{
    AUTO(mem_free) char *text = audit_text(event);
    const char *prefix = "";

    for (size_t i = 0; i < LENGTH(audit_prefixes); i++) {
        if (strcmp(event->action, audit_prefixes[i].action) == 0)
            prefix = audit_prefixes[i].prefix;
    }
    return json_sprintf("%s%s", prefix, text);
}

static int audit_add(void *ctx, const struct audit_event *event, struct err *err)
{
    struct audit_answer *answer = ctx;
    struct buf *out = answer->atlas->out;
    const char *guid = event->entity->guid;
    json_t *json = json_object();

    (void)json_object_set_new(json, "entityId", json_string(guid));
    (void)json_object_set_new(json, "timestamp", json_integer(event->recorded_ms));
    (void)json_object_set_new(json, "user", json_string(event->user));
    (void)json_object_set_new(json, "action", json_string(event->action));
    (void)json_object_set_new(json, "details", audit_details(event));
    (void)json_object_set_new(json, "eventKey",
                              json_sprintf("%s:%" PRId64 ":0:%" PRId64, guid, event->recorded_ms,
                                           event->batch_id));
    (void)json_object_set_new(json, "entity", json_null());
    (void)json_object_set_new(json, "type", json_string("ENTITY_AUDIT_V2"));
    buf_append_text(out, answer->len++ ? "," : "");
    atlas_append_json(out, json);
    json_decref(json);
    return out->len > QUERY_FLUSH_BYTES ? query_flush(answer->atlas->query, out, err) : 0;
}

int query_audit(struct atlas *atlas, json_t **unused)
{
    struct audit_answer answer = { .atlas = atlas };
    struct audit_request request = { 0 };
    AUTO(entity_list_done) struct entity_list list;

    (void)unused;
    entity_list_init(&list);
    if (audit_parse(atlas, &request) < 0 || atlas_begin_read(atlas) < 0 ||
        atlas_find_guid(atlas, atlas->segments[2], &list) < 0)
        return -1;
    request.types = atlas_types(atlas);
    request.entity = &list.items[0];
    request.batch_max = atlas->view.batch_id;
    if (audit_start(atlas, &request) < 0)
        return -1;
    buf_append_char(atlas->out, '[');
    if (store_audit_read(atlas->conn, &request, audit_add, &answer, atlas->err) < 0)
        return -1;
    buf_append_char(atlas->out, ']');
    return 0;
}
