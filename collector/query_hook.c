/* Messages of Atlas's hooks, which come by HTTP in place of Kafka: POST
 * v2/notification/topic/ATLAS_HOOK. Atlas answers before it has read them; here they are in the
 * graph when the answer leaves, and what can't be taken of several is in rejected_event. */

#include "base/mem.h"
#include "collector/query_write_internal.h"
#include "collector/store_hook_internal.h"

enum { HOOK_MESSAGES_MAX = 10000 }; /* of one request */

/* A request. Its transaction has a number, by which it is known whether it was committed. */
struct hook_request {
    const json_t *messages; /* borrowed; an array */
    char xid[HOOK_XID_BYTES];
    int64_t rejected;
};

/* The place of a refused message in the request goes before the reason. */
static void hook_name_fault(struct entity_fault *fault, size_t place, size_t len)
{
    struct entity_fault why = *fault;

    if (len > 1)
        (void)entity_fault_set(fault, why.status, why.code, "message %zu of %zu: %s", place + 1,
                               len, why.message);
}

static int hook_take_one(struct hook_request *request, struct hook_writer *writer, size_t place,
                         enum hook_fate *fate)
{
    json_t *message = json_array_get(request->messages, place);
    struct span text = { json_string_value(message), json_string_length(message) };
    AUTO(mem_free) char *dumped = NULL, *origin = NULL;
    json_t *root = json_is_object(message) ? message : NULL;

    origin = xasprintf("{\"by\":\"http\",\"index\":%zu}", place);
    if (!text.data && !root)
        text = SPAN_LITERAL("[]"); /* is refused for what it is: no object */
    if (hook_take(writer, text, root, span_of(origin), fate) < 0)
        return -1;
    if (*fate == HOOK_GIVEN_UP)
        request->rejected++;
    if (*fate != HOOK_REFUSED)
        return 0;
    request->rejected++;
    if (root) {
        dumped = json_dumps(root, JSON_COMPACT);
        text = span_of(dumped);
    }
    return hook_reject(writer, text, text.len, span_of(origin));
}

/* Where nothing can be taken nothing is kept, and the client gets the first reason. */
static int hook_take_all(struct hook_request *request, struct hook_writer *writer)
{
    size_t len = json_array_size(request->messages), refused = 0;
    struct entity_fault first = { 0 };

    for (size_t i = 0; i < len; i++) {
        enum hook_fate fate;

        if (hook_take_one(request, writer, i, &fate) < 0)
            return -1;
        if (fate == HOOK_REFUSED && refused++ == 0) {
            first = *writer->entities.fault;
            hook_name_fault(&first, i, len);
        }
    }
    *writer->entities.fault = first;
    return len && refused == len ? -1 : 0;
}

static int hook_attempt(struct write *write, struct entity_writer *entities)
{
    struct hook_request *request = write->ctx;
    struct hook_writer writer = {
        .entities = *entities,
        .config = write->atlas->query->config,
        .source = "http",
    };
    int is_in = write->is_again && request->xid[0] ? hook_is_in(entities, request->xid) : 0;

    if (is_in)
        return is_in < 0 ? -1 : 0;
    request->rejected = 0;
    writer.entities.makes_shells = true;
    if (hook_xid(entities, request->xid) < 0 || hook_take_all(request, &writer) < 0)
        return -1;
    request->rejected += writer.given_up;
    write->has_written = true;
    return 0;
}

int query_hook(struct atlas *atlas, json_t **unused)
{
    struct span topic = atlas->segments[3];
    struct hook_request request = { 0 };
    json_auto_t *list = NULL;
    AUTO(write_done) struct write write;

    (void)unused;
    write_init(&write, atlas, hook_attempt, &request);
    write.status = 204;
    if (!span_is(topic, "ATLAS_HOOK"))
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-101", "Unsupported topic name : %.*s",
                           fault_quote_len(topic.len), topic.data);
    if (write_read_body(&write) < 0)
        return -1;
    list = json_is_array(write.body) ? json_incref(write.body) : json_pack("[O]", write.body);
    if (json_array_size(list) > HOOK_MESSAGES_MAX)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029", "more than %d messages in one request",
                           HOOK_MESSAGES_MAX);
    request.messages = list;
    if (write_run(&write) < 0)
        return -1;
    stats_add(atlas->query->stats, STAT_HOOK_MESSAGES, (int64_t)json_array_size(list));
    stats_add(atlas->query->stats, STAT_HOOK_REJECTED, request.rejected);
    return 0;
}
