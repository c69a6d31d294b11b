#include "collector/origin.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"
#include "metrics/json.h"

enum { ORIGIN_DEPTH_MAX = 1024 }; /* the most that json_depth_max can be */

void origin_free(struct origin *origin)
{
    if (!origin)
        return;
    for (uint32_t i = 0; i < origin->rejects_len; i++)
        free(origin->rejects[i].why);
    free(origin->messages);
    free(origin->rejects);
    free(origin->text);
    free(origin->cluster);
    free(origin->topic);
    free(origin);
}

void origin_reject_add(struct origin *origin, const struct origin_reject *reject, const char *why)
{
    if (origin->rejects_len == origin->rejects_cap) {
        origin->rejects_cap = origin->rejects_cap ? origin->rejects_cap * 2 : 8;
        origin->rejects =
            xreallocarray(origin->rejects, origin->rejects_cap, sizeof(*origin->rejects));
    }
    origin->rejects[origin->rejects_len] = *reject;
    origin->rejects[origin->rejects_len++].why = xstrdup(why);
}

uint32_t origin_message_of(const struct origin *origin, uint32_t index)
{
    uint32_t low = 0, high = origin->messages_len;

    while (high - low > 1) { /* of those that begin at one index all but the last are empty */
        uint32_t middle = low + (high - low) / 2;

        if (origin->messages[middle].index <= index)
            low = middle;
        else
            high = middle;
    }
    return low;
}

struct span origin_event(const struct origin_message *message, uint32_t place, int32_t *element)
{
    AUTO(json_scanner_free) struct json_scanner *scanner = NULL;
    struct json_value value = { 0 };
    uint64_t seed;

    *element = -1;
    random_fill(&seed, sizeof(seed));
    scanner = json_scanner_new(seed);
    json_open(scanner, message->value, ORIGIN_DEPTH_MAX);
    if (json_peek(scanner) != '[')
        return message->value;
    json_array_begin(scanner);
    for (uint32_t i = 0; i <= place; i++) {
        if (json_array_next(scanner) <= 0 || json_scan(scanner, &value) < 0)
            return message->value;
    }
    *element = (int32_t)place;
    return value.text;
}

void origin_write(const struct origin *origin, const struct origin_reject *reject, struct buf *out)
{
    const struct origin_message *message = &origin->messages[reject->message];

    buf_append_text(out, "{\"cluster\":");
    buf_append_json(out, span_of(origin->cluster));
    buf_append_text(out, ",\"topic\":");
    buf_append_json(out, span_of(origin->topic));
    buf_append_fmt(out, ",\"partition\":%d,\"offset\":%lld,\"timestampMs\":%lld",
                   (int)origin->partition, (long long)message->offset,
                   (long long)message->timestamp_ms);
    if (reject->element >= 0)
        buf_append_fmt(out, ",\"index\":%d", (int)reject->element);
    buf_append_fmt(out, ",\"bytes\":%zu", reject->event.len);
    if (message->key.data) {
        buf_append_text(out, ",\"key\":");
        buf_append_json(out, message->key);
    }
    if (message->headers.data) {
        buf_append_text(out, ",\"headers\":");
        buf_append_span(out, message->headers);
    }
    buf_append_char(out, '}');
}
