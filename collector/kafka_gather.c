/* Messages of one partition, gathered and decoded into one submission. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/lineage_check.h"
#include "collector/type_cache.h"
#include "kafka_internal.h"

/* As for a request: no event is so short that its record takes more than four times its text. */
enum { GATHER_RECORDS_PER_BYTE = 4, GATHER_HEADERS_BYTES_MAX = 64 * 1024, GATHER_WHY_BYTES = 600 };

/* A share of what Kafka may hold, so that a message always fits in once the others are gone. */
enum { GATHER_VALUE_SHARE = 8 };

static size_t gather_value_max(const struct kafka *kafka, bool is_hook)
{
    size_t share = (size_t)kafka->setup.config->kafka_queue_bytes_max / GATHER_VALUE_SHARE;
    size_t body = (size_t)kafka->limits->body_bytes_max;

    if (is_hook)
        return (size_t)kafka->setup.config->hook_message_bytes_max;
    return share < body ? share : body;
}

int64_t kafka_mark(const rd_kafka_message_t *message)
{
    int64_t timestamp_ms = rd_kafka_message_timestamp(message, NULL);
    XXH64_hash_t hash =
        XXH3_64bits_withSeed(message->payload, message->len, (uint64_t)timestamp_ms);

    return (int64_t)XXH3_64bits_withSeed(message->key, message->key_len, hash);
}

/* ---- gathering ---- */

static void gather_headers(const rd_kafka_message_t *message, struct buf *out)
{
    rd_kafka_headers_t *headers;
    const char *name;
    const void *value;
    size_t len;

    buf_init(out, GATHER_HEADERS_BYTES_MAX);
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    for (size_t i = 0;
         rd_kafka_header_get_all(headers, i, &name, &value, &len) == RD_KAFKA_RESP_ERR_NO_ERROR;
         i++) {
        buf_append_text(out, i ? ",[" : "[[");
        buf_append_json(out, span_of(name));
        buf_append_char(out, ',');
        if (value)
            buf_append_json(out, (struct span){ value, len });
        else
            buf_append_text(out, "null");
        buf_append_char(out, ']');
    }
    if (out->len)
        buf_append_char(out, ']');
    if (out->full) {
        buf_clear(out);
        buf_append_text(out, "[[\"...\",\"too long to keep\"]]");
    }
}

/* How much of the value is kept: of what is too large to be decoded, only what is shown of it. */
static size_t gather_value_len(const struct kafka *kafka, bool is_hook,
                               const rd_kafka_message_t *message)
{
    size_t keep = (size_t)kafka->setup.config->kafka_reject_bytes_max;

    if (message->len <= gather_value_max(kafka, is_hook) || message->len <= keep)
        return message->len;
    return keep;
}

static void gather_note(struct kafka_gather *gather, const rd_kafka_message_t *message,
                        const struct buf *headers)
{
    struct kafka_note *note;

    if (!gather->notes)
        gather->notes = xcalloc(KAFKA_GATHER_MESSAGES_MAX, sizeof(*gather->notes));
    note = &gather->notes[gather->len++];
    *note = (struct kafka_note){ .offset = message->offset,
                                 .timestamp_ms = rd_kafka_message_timestamp(message, NULL),
                                 .at = gather->text.len,
                                 .value_len = message->len,
                                 .key_len = message->key_len,
                                 .headers_len = headers->len,
                                 .has_key = message->key != NULL,
                                 .has_headers = headers->len > 0 };
}

bool kafka_gather_add(struct kafka *kafka, struct kafka_partition *partition,
                      const rd_kafka_message_t *message)
{
    struct kafka_gather *gather = &partition->gather;
    size_t value_len = gather_value_len(kafka, partition->is_hook, message),
           before = gather->text.cap;
    size_t key_len = message->key_len;
    AUTO(buf_done) struct buf headers;
    size_t bytes;

    gather_headers(message, &headers);
    bytes = value_len + key_len + headers.len;
    if (gather->len == KAFKA_GATHER_MESSAGES_MAX ||
        (gather->len && gather->text.len + bytes > KAFKA_GATHER_BYTES_MAX))
        return false;
    if (kafka->bytes && kafka->bytes + bytes > (size_t)kafka->setup.config->kafka_queue_bytes_max)
        return false;
    if (!gather->len)
        body_init(&gather->text, kafka->setup.budget, SIZE_MAX);
    if (body_reserve(&gather->text, bytes, 0) != BODY_OK)
        return false;
    kafka->bytes += gather->text.cap - before;
    gather_note(gather, message, &headers);
    /* there is room for all three: these can't fail */
    if (body_append(&gather->text, message->payload, value_len, 0) != BODY_OK ||
        body_append(&gather->text, message->key, key_len, 0) != BODY_OK ||
        body_append(&gather->text, headers.data, headers.len, 0) != BODY_OK)
        abort();
    gather->mark = kafka_mark(message);
    partition->expected = message->offset + 1;
    return true;
}

void kafka_gather_drop(struct kafka *kafka, struct kafka_partition *partition)
{
    struct kafka_gather *gather = &partition->gather;

    kafka->bytes -= gather->text.cap;
    body_done(&gather->text);
    gather->len = 0;
}

/* ---- decoding ---- */

static void gather_reject(struct submission *submission, uint32_t message, int32_t element,
                          const char *code, const char *why, struct span event)
{
    struct origin_reject reject = {
        .message = message, .element = element, .code = code, .event = event
    };

    origin_reject_add(submission->origin, &reject, why);
}

/* The whole message can't be taken. */
static void gather_reject_message(struct submission *submission, uint32_t message, const char *code,
                                  const char *why)
{
    submission->list.received[EVENT_UNKNOWN]++;
    submission->list.rejected[EVENT_UNKNOWN]++;
    gather_reject(submission, message, -1, code, why, submission->origin->messages[message].value);
}

/* The events of a message that can't be taken; those beyond the notes stand for it whole. */
static void gather_reject_events(struct submission *submission, uint32_t message,
                                 const struct event_list *list)
{
    const struct origin_message *from = &submission->origin->messages[message];
    const struct event_notes *notes = &list->rejects;
    char why[GATHER_WHY_BYTES];

    for (uint32_t i = 0; i < notes->len; i++) {
        const struct event_note *note = &notes->items[i];
        int32_t element;
        struct span event = origin_event(from, note->index, &element);

        (void)snprintf(why, sizeof(why), "%s%s%s", note->field ? note->field : "",
                       note->field ? ": " : "", note->message);
        gather_reject(submission, message, element, note->code, why, event);
    }
    if (notes->count <= notes->len)
        return;
    (void)snprintf(why, sizeof(why), "%u more events of this message can't be taken",
                   notes->count - notes->len);
    gather_reject(submission, message, -1, "too_many_rejected", why, from->value);
}

static void gather_append(struct event_list *all, const struct event_list *list, uint32_t base,
                          size_t *cap)
{
    if (all->len + list->len > *cap) {
        *cap = *cap * 2 > all->len + list->len ? *cap * 2 : all->len + list->len;
        all->events = xreallocarray(all->events, *cap, sizeof(*all->events));
        all->memory_bytes = *cap * sizeof(*all->events);
    }
    for (uint32_t i = 0; i < list->len; i++) {
        all->events[all->len] = list->events[i];
        all->events[all->len++].index += base;
    }
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        all->received[kind] += list->received[kind];
        all->rejected[kind] += list->rejected[kind];
    }
    all->has_lineage |= list->has_lineage;
}

static uint32_t gather_received(const struct event_list *list)
{
    uint32_t sum = 0;

    for (int kind = 0; kind < EVENT_KINDS; kind++)
        sum += list->received[kind];
    return sum;
}

/* `body` is the message's copy that may be changed. */
static void gather_decode(struct kafka *kafka, struct submission *submission, uint32_t message,
                          char *body, const struct event_limits *limits, size_t *cap)
{
    struct origin_message *from = &submission->origin->messages[message];
    struct event_list list;
    struct err err = { 0 };
    char why[GATHER_WHY_BYTES];

    from->index = gather_received(&submission->list);
    if (from->value.len == 0) { /* deletes what its key stands for, in a compacted topic */
        stats_add(kafka->setup.stats, STAT_KAFKA_TOMBSTONES, 1);
        return;
    }
    if (from->value.len > gather_value_max(kafka, false)) {
        (void)snprintf(why, sizeof(why), "a message may have %zu bytes",
                       gather_value_max(kafka, false));
        gather_reject_message(submission, message, "too_large", why);
        return;
    }
    if (event_decode(kafka->decoder, body, from->value.len, EVENT_FORMAT_JSON, limits, &list,
                     &err) < 0) {
        gather_reject_message(submission, message,
                              err.kind == ERR_RETRY ? "too_large" : list.error_code, err.text);
        return;
    }
    if (list.has_lineage) {
        AUTO(type_registry_free) struct type_registry *types = type_cache_get(kafka->setup.types);

        lineage_check(&list, limits, types, kafka->setup.config->atlas_namespace);
    }
    gather_append(&submission->list, &list, from->index, cap);
    gather_reject_events(submission, message, &list);
    event_list_done(&list);
}

/* What grew in steps keeps nothing that it does not need. */
static void gather_shrink(struct kafka *kafka, struct kafka_gather *gather)
{
    struct body *text = &gather->text;

    if (!text->len)
        return;
    text->data = xrealloc(text->data, text->len);
    kafka->bytes -= text->cap - text->len;
    budget_release(text->budget, text->cap - text->len);
    text->cap = text->len;
}

/* The messages, and the copy of their values that is decoded in place. */
static struct submission *gather_submission(struct kafka *kafka, struct kafka_partition *partition)
{
    struct kafka_gather *gather = &partition->gather;
    struct submission *submission = xcalloc(1, sizeof(*submission));
    struct origin *origin = xcalloc(1, sizeof(*origin));
    const struct kafka_note *last = &gather->notes[gather->len - 1];

    submission->origin = origin;
    submission->budget = kafka->setup.budget;
    submission->is_hook = partition->is_hook;
    if (!partition->is_hook) {
        submission->body = xmalloc(gather->text.len);
        memcpy(submission->body, gather->text.data, gather->text.len);
    }
    origin->cluster = xstrdup(kafka->cluster);
    origin->topic = xstrdup(partition->topic);
    origin->partition = partition->partition;
    origin->reject_bytes_max = (size_t)kafka->setup.config->kafka_reject_bytes_max;
    origin->text = gather->text.data;
    origin->messages_len = gather->len;
    origin->messages = xcalloc(gather->len, sizeof(*origin->messages));
    for (uint32_t i = 0; i < gather->len; i++) {
        const struct kafka_note *note = &gather->notes[i];
        size_t end = i + 1 < gather->len ? gather->notes[i + 1].at : gather->text.len;
        size_t key_at = end - note->headers_len - note->key_len;
        struct origin_message *message = &origin->messages[i];

        message->offset = note->offset;
        message->timestamp_ms = note->timestamp_ms;
        message->value = (struct span){ origin->text + note->at, note->value_len };
        if (note->has_key)
            message->key = (struct span){ origin->text + key_at, note->key_len };
        if (note->has_headers)
            message->headers =
                (struct span){ origin->text + end - note->headers_len, note->headers_len };
    }
    origin->to = (struct origin_offset){ .incarnation = partition->incarnation,
                                         .next = last->offset + 1,
                                         .mark_offset = last->offset,
                                         .mark = gather->mark };
    return submission;
}

/* Messages of hooks are read when they are stored. */
static bool gather_close_hook(struct kafka *kafka, struct kafka_partition *partition)
{
    struct kafka_gather *gather = &partition->gather;
    size_t notes = gather->len * sizeof(struct origin_message);

    if (!budget_reserve(kafka->setup.budget, notes))
        return false;
    gather_shrink(kafka, gather);
    partition->ready = gather_submission(kafka, partition);
    stats_add(kafka->setup.stats, STAT_KAFKA_MESSAGES, gather->len);
    partition->ready->bytes = gather->text.cap + notes;
    kafka->bytes += notes;
    gather->text = (struct body){ 0 }; /* the origin has it now */
    gather->len = 0;
    return true;
}

static bool gather_close_events(struct kafka *kafka, struct kafka_partition *partition)
{
    const struct config *config = kafka->limits;
    struct kafka_gather *gather = &partition->gather;
    size_t text = gather->text.len, notes = gather->len * sizeof(struct origin_message);
    size_t records = text * GATHER_RECORDS_PER_BYTE + KAFKA_GATHER_BYTES_MAX, cap = 0;
    struct event_limits limits = { .metrics_bytes_max = (size_t)config->metrics_bytes_max,
                                   .events_max = (size_t)config->events_max,
                                   .memory_bytes_max = records,
                                   .depth_max = (unsigned)config->json_depth_max,
                                   .time_ms_min = CONFIG_EVENT_MS_MIN,
                                   .time_ms_max = clock_now_ms() + config->event_ahead_ms_max };
    struct submission *submission;
    struct event_list *list;

    if (!budget_reserve(kafka->setup.budget, text + notes + records))
        return false;
    gather_shrink(kafka, gather);
    submission = gather_submission(kafka, partition);
    list = &submission->list;
    for (uint32_t i = 0; i < gather->len; i++)
        gather_decode(kafka, submission, i, submission->body + gather->notes[i].at, &limits, &cap);
    list->events = xreallocarray(list->events, list->len, sizeof(*list->events));
    list->memory_bytes = list->len * sizeof(*list->events);
    stats_add(kafka->setup.stats, STAT_KAFKA_MESSAGES, gather->len);
    assert(list->memory_bytes <= records);
    budget_release(kafka->setup.budget, records - list->memory_bytes);
    submission->bytes = gather->text.cap + text + notes + list->memory_bytes;
    kafka->bytes += submission->bytes - gather->text.cap;
    gather->text = (struct body){ 0 }; /* the origin has it now */
    gather->len = 0;
    partition->ready = submission;
    return true;
}

bool kafka_gather_close(struct kafka *kafka, struct kafka_partition *partition)
{
    return partition->is_hook ? gather_close_hook(kafka, partition)
                              : gather_close_events(kafka, partition);
}

void kafka_ready_drop(struct kafka *kafka, struct kafka_partition *partition)
{
    struct submission *submission = TAKE(partition->ready);

    if (!submission)
        return;
    kafka->bytes -= submission->bytes;
    submission_free(submission);
}
