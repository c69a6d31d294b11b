#include "metrics/event.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "metrics/json.h"

enum {
    EVENT_CRN_BYTES_MAX = 1024,
    EVENT_REPLICA_BYTES_MAX = 256,
    EVENT_WORD_BYTES_MAX = 36 * 6, /* a UUID, every character of it as \uXXXX */
    EVENT_FIRST_EVENTS = 16,
};

static const char *const event_kind_names[EVENT_KINDS] = {
    [EVENT_TRACK_METRICS] = "track_metrics",
    [EVENT_DELAYED_METRICS] = "delayed_metrics",
    [EVENT_AGGREGATE_METRICS] = "aggregate_metrics",
    [EVENT_MODEL_DEPLOYED] = "model_deployed",
    [EVENT_UNKNOWN] = "unknown",
    [EVENT_PROJECT_CREATED] = "project_created",
    [EVENT_MODEL_BUILT] = "model_built",
};

#define TRACK (1u << EVENT_TRACK_METRICS)
#define DELAYED (1u << EVENT_DELAYED_METRICS)
#define AGGREGATE (1u << EVENT_AGGREGATE_METRICS)
#define ALL (TRACK | DELAYED | AGGREGATE)

enum event_field {
    FIELD_EVENT,
    FIELD_DEPLOYMENT_CRN,
    FIELD_BUILD_CRN,
    FIELD_MODEL_CRN,
    FIELD_UUID,
    FIELD_EVENT_ID,
    FIELD_START,
    FIELD_END,
    FIELD_METRICS,
    FIELD_REPLICA,
    FIELD_FAILED,
    FIELDS,
};

enum event_type {
    TYPE_WORD,
    TYPE_CRN,
    TYPE_UUID,
    TYPE_TIME,
    TYPE_METRICS,
    TYPE_TEXT,
    TYPE_BOOLEAN
};

/* The members of every kind, by which kinds know them and which need them. */
static const struct {
    struct span name;
    struct span alias; /* how answers and older clients spell it */
    enum event_type type;
    unsigned known;
    unsigned required;
} event_fields[FIELDS] = {
    [FIELD_EVENT] = { SPAN_LITERAL("event"), { 0 }, TYPE_WORD, ALL, 0 },
    [FIELD_DEPLOYMENT_CRN] = { SPAN_LITERAL("modelDeploymentCrn"),
                               { 0 },
                               TYPE_CRN,
                               ALL,
                               TRACK | AGGREGATE },
    [FIELD_BUILD_CRN] = { SPAN_LITERAL("modelBuildCrn"), { 0 }, TYPE_CRN, TRACK, 0 },
    [FIELD_MODEL_CRN] = { SPAN_LITERAL("modelCrn"), { 0 }, TYPE_CRN, TRACK, 0 },
    [FIELD_UUID] = { SPAN_LITERAL("predictionUuid"),
                     { 0 },
                     TYPE_UUID,
                     TRACK | DELAYED,
                     TRACK | DELAYED },
    [FIELD_EVENT_ID] = { SPAN_LITERAL("eventId"), { 0 }, TYPE_UUID, DELAYED | AGGREGATE, 0 },
    [FIELD_START] = { SPAN_LITERAL("startTimestampMs"), SPAN_LITERAL("startTimeStampMs"), TYPE_TIME,
                      ALL, TRACK | AGGREGATE },
    [FIELD_END] = { SPAN_LITERAL("endTimestampMs"), SPAN_LITERAL("endTimeStampMs"), TYPE_TIME,
                    TRACK | AGGREGATE, TRACK | AGGREGATE },
    [FIELD_METRICS] = { SPAN_LITERAL("metrics"), { 0 }, TYPE_METRICS, ALL, ALL },
    [FIELD_REPLICA] = { SPAN_LITERAL("replica"), { 0 }, TYPE_TEXT, TRACK | AGGREGATE, 0 },
    [FIELD_FAILED] = { SPAN_LITERAL("failed"), { 0 }, TYPE_BOOLEAN, TRACK, 0 },
};

/* A member of the event being read. */
struct event_member {
    struct span raw; /* its name as it was spelled; data NULL: not there */
    struct json_value value;
};

struct event_decoder {
    struct json_scanner *scanner;
    const struct event_limits *limits;
    char *body;
    struct span text; /* what is being scanned: the body, or one line of it */
    struct event_list *list;
    const char *error_code;
    size_t events_cap;
    bool is_lenient;           /* members that are not known get no warning */
    enum event_kind kind_want; /* EVENT_UNKNOWN: what the event itself says */

    /* The event being read. */
    struct event event;
    bool is_object;
    struct json_value value; /* what it is when it is no object */
    struct event_member members[FIELDS];
    enum event_field twice;               /* FIELDS: none came in both spellings */
    struct span unknown[EVENT_NOTES_MAX]; /* names as spelled */
    uint32_t unknown_len;
    uint32_t unknown_count;
};

const char *event_kind_name(enum event_kind kind)
{
    assert(kind < EVENT_KINDS);
    return event_kind_names[kind];
}

bool event_kind_is_lineage(enum event_kind kind)
{
    return kind == EVENT_PROJECT_CREATED || kind == EVENT_MODEL_BUILT ||
           kind == EVENT_MODEL_DEPLOYED;
}

int event_code_status(const char *code)
{
    if (strcmp(code, "too_large") == 0 || strcmp(code, "too_many_events") == 0)
        return 413;
    if (strcmp(code, "forbidden") == 0)
        return 403;
    return strcmp(code, "conflict") == 0 ? 409 : 400;
}

static void event_note_free(struct event_note *note)
{
    free((void *)(uintptr_t)note->field);
    free((void *)(uintptr_t)note->message);
}

void event_notes_add(struct event_notes *notes, const struct event_note *note)
{
    uint32_t at = notes->len;

    notes->count++;
    while (at > 0 && notes->items[at - 1].index > note->index)
        at--;
    if (at == EVENT_NOTES_MAX)
        return;
    if (!notes->items)
        notes->items = xcalloc(EVENT_NOTES_MAX, sizeof(*notes->items));
    if (notes->len == EVENT_NOTES_MAX) {
        notes->len--;
        event_note_free(&notes->items[notes->len]);
    }
    memmove(&notes->items[at + 1], &notes->items[at], (notes->len - at) * sizeof(*notes->items));
    notes->items[at] = *note;
    notes->items[at].field = note->field ? xstrdup(note->field) : NULL;
    notes->items[at].message = xstrdup(note->message);
    notes->len++;
}

void event_notes_done(struct event_notes *notes)
{
    if (!notes)
        return;
    for (uint32_t i = 0; i < notes->len; i++) {
        event_note_free(&notes->items[i]);
    }
    free(notes->items);
    *notes = (struct event_notes){ 0 };
}

void event_list_done(struct event_list *list)
{
    if (!list)
        return;
    free(list->events);
    event_notes_done(&list->rejects);
    event_notes_done(&list->warnings);
    *list = (struct event_list){ 0 };
}

struct event_decoder *event_decoder_new(uint64_t seed)
{
    struct event_decoder *decoder = xcalloc(1, sizeof(*decoder));

    decoder->scanner = json_scanner_new(seed);
    return decoder;
}

void event_decoder_free(struct event_decoder *decoder)
{
    if (!decoder)
        return;
    json_scanner_free(decoder->scanner);
    free(decoder);
}

/* Adds a note about the event being read. Formats only what will be kept: a request of nothing but
 * rejects should not cost more than a good one. */
static void event_note(struct event_decoder *decoder, struct event_notes *notes, const char *code,
                       const char *field, const char *fmt, va_list args)
    __attribute__((format(printf, 5, 0)));
static void event_note(struct event_decoder *decoder, struct event_notes *notes, const char *code,
                       const char *field, const char *fmt, va_list args)
{
    struct event_note note = { .index = decoder->event.index, .code = code };
    char path[JSON_PATH_BYTES_MAX], message[320];

    if (notes->len == EVENT_NOTES_MAX) {
        notes->count++; /* the decoder goes in order of index */
        return;
    }
    (void)snprintf(path, sizeof(path), "%s", field ? field : "");
    (void)vsnprintf(message, sizeof(message), fmt, args);
    note.field = *path ? path : NULL;
    note.message = message;
    event_notes_add(notes, &note);
}

/* Rejects the event being read; always -1, for `return event_reject(...)`. */
static int event_reject(struct event_decoder *decoder, const char *code, const char *field,
                        const char *fmt, ...) PRINTF_LIKE(4, 5);
static int event_reject(struct event_decoder *decoder, const char *code, const char *field,
                        const char *fmt, ...)
{
    va_list args;

    decoder->list->rejected[decoder->event.kind]++;
    va_start(args, fmt);
    event_note(decoder, &decoder->list->rejects, code, field, fmt, args);
    va_end(args);
    return -1;
}

static void event_warn(struct event_decoder *decoder, const char *code, const char *field,
                       const char *fmt, ...) PRINTF_LIKE(4, 5);
static void event_warn(struct event_decoder *decoder, const char *code, const char *field,
                       const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    event_note(decoder, &decoder->list->warnings, code, field, fmt, args);
    va_end(args);
}

/* The inside of a string, still escaped. */
static struct span event_inside(const struct json_value *value)
{
    assert(value->type == JSON_TYPE_STRING && value->text.len >= 2);
    return (struct span){ value->text.data + 1, value->text.len - 2 };
}

/* A member's name as it was spelled, cut where it is too long for a note. */
struct event_name {
    char text[JSON_PATH_BYTES_MAX];
};

static struct event_name event_name_of(struct span raw)
{
    struct event_name name;
    size_t len;

    raw.len = raw.len < sizeof(name.text) ? raw.len : sizeof(name.text) - 1;
    len = json_unescape(name.text, raw);
    name.text[len] = '\0';
    return name;
}

static const char *event_type_name(const struct json_value *value)
{
    static const char *const names[] = {
        [JSON_TYPE_OBJECT] = "an object", [JSON_TYPE_ARRAY] = "an array",
        [JSON_TYPE_STRING] = "text",      [JSON_TYPE_NUMBER] = "a number",
        [JSON_TYPE_TRUE] = "true",        [JSON_TYPE_FALSE] = "false",
        [JSON_TYPE_NULL] = "null",        [JSON_TYPE_WORD] = "a bare word",
    };

    return names[value->type];
}

/* Rejects the event because of one of its members. */
static int event_reject_field(struct event_decoder *decoder, enum event_field field,
                              const char *code, const char *fmt, ...) PRINTF_LIKE(4, 5);
static int event_reject_field(struct event_decoder *decoder, enum event_field field,
                              const char *code, const char *fmt, ...)
{
    struct span raw = decoder->members[field].raw;
    va_list args;

    decoder->list->rejected[decoder->event.kind]++;
    va_start(args, fmt);
    event_note(decoder, &decoder->list->rejects, code,
               event_name_of(raw.data ? raw : event_fields[field].name).text, fmt, args);
    va_end(args);
    return -1;
}

/* The text of a short string, unescaped into `scratch` where it has to be; one that is too long to
 * be any word of ours stays escaped. */
static struct span event_word(const struct json_value *value, char scratch[EVENT_WORD_BYTES_MAX])
{
    struct span inside = event_inside(value);

    if (!value->has_escape || inside.len > EVENT_WORD_BYTES_MAX)
        return inside;
    return (struct span){ scratch, json_unescape(scratch, inside) };
}

static int event_check_crn(struct event_decoder *decoder, enum event_field field,
                           const struct json_value *value, size_t bytes_max, struct span *out)
{
    char text[EVENT_CRN_BYTES_MAX * 6]; /* \u0041 is the longest way to write a byte */
    struct span inside;
    size_t len;

    if (value->type != JSON_TYPE_STRING)
        return event_reject_field(decoder, field, "invalid_field", "must be text, not %s",
                                  event_type_name(value));
    inside = event_inside(value);
    len = inside.len;
    if (value->has_escape && len <= sizeof(text))
        len = json_unescape(text, inside);
    if (len > bytes_max)
        return event_reject_field(decoder, field, "invalid_field",
                                  "must have at most %zu bytes, not %zu", bytes_max, len);
    if (len == 0 && event_fields[field].type == TYPE_CRN)
        return event_reject_field(decoder, field, "invalid_field", "must not be empty");
    *out = inside; /* unescaped once the whole event is good */
    return 0;
}

static int event_check_uuid(struct event_decoder *decoder, enum event_field field,
                            const struct json_value *value, struct uuid *uuid)
{
    char scratch[EVENT_WORD_BYTES_MAX];
    struct span text;

    if (value->type != JSON_TYPE_STRING)
        return event_reject_field(decoder, field, "invalid_field", "must be a UUID as text, not %s",
                                  event_type_name(value));
    text = event_word(value, scratch);
    if (uuid_parse(uuid, text) < 0)
        return event_reject_field(decoder, field, "invalid_field", "not a UUID: %s",
                                  json_quote(text).text);
    return 0;
}

/* An integer without fraction or exponent; -1 for anything else, or when it is out of range. */
static int event_integer(struct span text, int64_t *out)
{
    bool is_negative = text.data[0] == '-';
    int64_t sum = 0;

    for (size_t i = is_negative; i < text.len; i++) {
        int digit = text.data[i] - '0';

        if (digit < 0 || digit > 9)
            return -1;
        if (__builtin_mul_overflow(sum, 10, &sum) || __builtin_sub_overflow(sum, digit, &sum))
            return -1;
    }
    if (!is_negative && sum == INT64_MIN)
        return -1;
    *out = is_negative ? sum : -sum;
    return 0;
}

static int event_check_time(struct event_decoder *decoder, enum event_field field,
                            const struct json_value *value, int64_t *ms)
{
    const struct event_limits *limits = decoder->limits;
    char bound[CLOCK_TEXT_BYTES];

    if (value->type != JSON_TYPE_NUMBER)
        return event_reject_field(decoder, field, "invalid_field",
                                  "must be a whole number of milliseconds since 1970, not %s",
                                  event_type_name(value));
    if (event_integer(value->text, ms) < 0)
        return event_reject_field(decoder, field, "invalid_field",
                                  "must be a whole number of milliseconds since 1970, not %.*s",
                                  (int)value->text.len, value->text.data);
    if (*ms < limits->time_ms_min) {
        clock_format(limits->time_ms_min, bound);
        return event_reject_field(decoder, field, "invalid_field",
                                  "%" PRId64 " is before %s; send milliseconds since 1970", *ms,
                                  bound);
    }
    if (*ms > limits->time_ms_max) {
        clock_format(limits->time_ms_max, bound);
        return event_reject_field(decoder, field, "invalid_field",
                                  "%" PRId64 " is after %s, too far in the future; "
                                  "send milliseconds since 1970",
                                  *ms, bound);
    }
    return 0;
}

static int event_check_metrics(struct event_decoder *decoder, const struct json_value *value)
{
    size_t len = value->text.len - value->space_bytes;

    if (value->type != JSON_TYPE_OBJECT)
        return event_reject_field(decoder, FIELD_METRICS, "invalid_field",
                                  "must be an object, not %s", event_type_name(value));
    if (len > decoder->limits->metrics_bytes_max)
        return event_reject_field(decoder, FIELD_METRICS, "too_large",
                                  "takes %zu bytes without white space, more than the limit of "
                                  "%zu; send fewer or shorter values",
                                  len, decoder->limits->metrics_bytes_max);
    decoder->event.metrics = value->text;
    return 0;
}

/* Checks a member that is there and not null, and puts it into the event. */
static int event_check_field(struct event_decoder *decoder, enum event_field field)
{
    const struct json_value *value = &decoder->members[field].value;
    struct event *event = &decoder->event;

    switch (field) {
    case FIELD_DEPLOYMENT_CRN:
        return event_check_crn(decoder, field, value, EVENT_CRN_BYTES_MAX, &event->deployment_crn);
    case FIELD_BUILD_CRN:
        return event_check_crn(decoder, field, value, EVENT_CRN_BYTES_MAX, &event->build_crn);
    case FIELD_MODEL_CRN:
        return event_check_crn(decoder, field, value, EVENT_CRN_BYTES_MAX, &event->model_crn);
    case FIELD_REPLICA:
        return event_check_crn(decoder, field, value, EVENT_REPLICA_BYTES_MAX, &event->replica);
    case FIELD_UUID:
        return event_check_uuid(decoder, field, value, &event->uuid);
    case FIELD_EVENT_ID:
        event->has_event_id = true;
        return event_check_uuid(decoder, field, value, &event->event_id);
    case FIELD_START:
        event->has_start = true;
        return event_check_time(decoder, field, value, &event->start_ms);
    case FIELD_END:
        return event_check_time(decoder, field, value, &event->end_ms);
    case FIELD_METRICS:
        return event_check_metrics(decoder, value);
    case FIELD_FAILED:
        event->failed = value->type == JSON_TYPE_TRUE;
        if (value->type == JSON_TYPE_TRUE || value->type == JSON_TYPE_FALSE)
            return 0;
        return event_reject_field(decoder, field, "invalid_field", "must be true or false, not %s",
                                  event_type_name(value));
    case FIELD_EVENT:
    case FIELDS:
        break;
    }
    return 0; /* the kind was read before */
}

static void event_unknown_add(struct event_decoder *decoder, struct span raw)
{
    decoder->unknown_count++;
    if (decoder->unknown_len < EVENT_NOTES_MAX)
        decoder->unknown[decoder->unknown_len++] = raw;
}

/* All members of an event of ours; stops at the first that is wrong. */
static int event_check(struct event_decoder *decoder)
{
    unsigned kind = 1u << decoder->event.kind;

    for (enum event_field field = 0; field < FIELDS; field++) {
        const struct event_member *member = &decoder->members[field];
        bool is_required = event_fields[field].required & kind;

        if (!(event_fields[field].known & kind)) {
            if (member->raw.data)
                event_unknown_add(decoder, member->raw);
            continue;
        }
        if (!member->raw.data && is_required)
            return event_reject_field(decoder, field, "missing_field", "%s needs it",
                                      event_kind_name(decoder->event.kind));
        if (member->raw.data && member->value.type == JSON_TYPE_NULL && is_required)
            return event_reject_field(decoder, field, "invalid_field", "must not be null");
        if (!member->raw.data || member->value.type == JSON_TYPE_NULL)
            continue;
        if (event_check_field(decoder, field) < 0)
            return -1;
    }
    if ((event_fields[FIELD_END].known & kind) && decoder->event.end_ms < decoder->event.start_ms)
        return event_reject_field(decoder, FIELD_END, "invalid_field",
                                  "%" PRId64 " is before the start, %" PRId64,
                                  decoder->event.end_ms, decoder->event.start_ms);
    return 0;
}

static char *event_mutable(struct event_decoder *decoder, struct span span)
{
    return decoder->body + (span.data - decoder->body);
}

/* Unescapes a text where it stands. */
static void event_settle_text(struct event_decoder *decoder, enum event_field field,
                              struct span *text)
{
    if (text->data && decoder->members[field].value.has_escape)
        text->len = json_unescape(event_mutable(decoder, *text), *text);
}

/* The event is good: only now is anything of it changed in the body. */
static void event_settle(struct event_decoder *decoder)
{
    const struct json_value *metrics = &decoder->members[FIELD_METRICS].value;
    struct event *event = &decoder->event;

    event_settle_text(decoder, FIELD_DEPLOYMENT_CRN, &event->deployment_crn);
    event_settle_text(decoder, FIELD_BUILD_CRN, &event->build_crn);
    event_settle_text(decoder, FIELD_MODEL_CRN, &event->model_crn);
    event_settle_text(decoder, FIELD_REPLICA, &event->replica);
    if (metrics->space_bytes)
        event->metrics.len =
            json_squeeze(event_mutable(decoder, event->metrics), event->metrics.len);
    event->text = (struct span){ 0 }; /* it is no longer what was posted */
}

static void event_warn_unknown(struct event_decoder *decoder)
{
    for (uint32_t i = 0; i < decoder->unknown_len; i++)
        event_warn(decoder, "unknown_field", event_name_of(decoder->unknown[i]).text,
                   "not a field of %s, ignored", event_kind_name(decoder->event.kind));
    decoder->list->warnings.count += decoder->unknown_count - decoder->unknown_len;
}

static void event_member_keep(struct event_decoder *decoder, const struct json_member *member)
{
    for (enum event_field field = 0; field < FIELDS; field++) {
        if (!span_equal(member->name, event_fields[field].name) &&
            !(event_fields[field].alias.data &&
              span_equal(member->name, event_fields[field].alias)))
            continue;
        if (decoder->members[field].raw.data)
            decoder->twice = field; /* in both spellings */
        decoder->members[field] = (struct event_member){ member->raw, member->value };
        return;
    }
    event_unknown_add(decoder, member->raw);
}

/* What the event says it is. */
static enum event_kind event_kind_said(const struct event_decoder *decoder)
{
    const struct event_member *member = &decoder->members[FIELD_EVENT];
    char scratch[EVENT_WORD_BYTES_MAX];
    struct span word;

    if (!member->raw.data || member->value.type != JSON_TYPE_STRING)
        return EVENT_UNKNOWN;
    word = event_word(&member->value, scratch);
    for (enum event_kind kind = 0; kind < EVENT_KINDS; kind++) { /* "unknown" is none */
        if (span_is(word, event_kind_names[kind]))
            return kind;
    }
    return EVENT_UNKNOWN;
}

/* Rejects an event whose kind is not known, or not the one that is wanted here. */
static int event_check_kind(struct event_decoder *decoder)
{
    const struct event_member *member = &decoder->members[FIELD_EVENT];
    bool is_wanted = decoder->kind_want != EVENT_UNKNOWN;
    char scratch[EVENT_WORD_BYTES_MAX];
    struct span word;

    if (is_wanted && (!member->raw.data || member->value.type == JSON_TYPE_NULL))
        return 0;
    if (!member->raw.data)
        return event_reject_field(decoder, FIELD_EVENT, "missing_field",
                                  "every event needs it, for example \"track_metrics\"");
    if (member->value.type != JSON_TYPE_STRING)
        return event_reject_field(decoder, FIELD_EVENT, "invalid_field", "must be text, not %s",
                                  event_type_name(&member->value));
    word = event_word(&member->value, scratch);
    if (is_wanted && event_kind_said(decoder) != decoder->kind_want)
        return event_reject_field(decoder, FIELD_EVENT, "invalid_field",
                                  "must be \"%s\" at this endpoint, not %s",
                                  event_kind_name(decoder->kind_want), json_quote(word).text);
    if (decoder->event.kind == EVENT_UNKNOWN)
        return event_reject_field(decoder, FIELD_EVENT, "unknown_event", "not an event: %s",
                                  json_quote(word).text);
    return 0;
}

/* Everything that can be wrong with an event whose structure is sound. */
static int event_accept(struct event_decoder *decoder)
{
    const struct json_fault *fault = json_fault(decoder->scanner);

    decoder->event.kind = decoder->kind_want;
    if (decoder->kind_want == EVENT_UNKNOWN && decoder->is_object)
        decoder->event.kind = event_kind_said(decoder);
    decoder->list->received[decoder->event.kind]++;
    if (!decoder->is_object)
        return event_reject(decoder, "not_an_object", NULL, "an event is a JSON object, not %s",
                            event_type_name(&decoder->value));
    if (fault->found)
        return event_reject(decoder, "invalid_value", fault->path, "%s", fault->message);
    if (event_check_kind(decoder) < 0)
        return -1;
    if (event_kind_is_lineage(decoder->event.kind)) {
        decoder->list->has_lineage = true;
        return 0;
    }
    if (decoder->twice != FIELDS)
        return event_reject_field(decoder, decoder->twice, "invalid_field",
                                  "is there twice, in two spellings; send one");
    if (event_check(decoder) < 0)
        return -1;
    event_settle(decoder);
    if (!decoder->is_lenient)
        event_warn_unknown(decoder);
    return 0;
}

/* Scans one event and remembers its members. -1: the structure is broken. */
static int event_scan(struct event_decoder *decoder, uint32_t index)
{
    struct json_scanner *scanner = decoder->scanner;
    struct json_member member;
    size_t start;
    int rc;

    decoder->event = (struct event){ .index = index };
    decoder->is_object = json_peek(scanner) == '{';
    if (!decoder->is_object)
        return json_scan(scanner, &decoder->value);
    memset(decoder->members, 0, sizeof(decoder->members));
    decoder->twice = FIELDS;
    decoder->unknown_len = decoder->unknown_count = 0;
    start = json_offset(scanner);
    json_object_begin(scanner);
    while ((rc = json_object_next(scanner, &member)) > 0)
        event_member_keep(decoder, &member);
    decoder->event.text = (struct span){ decoder->text.data + start, json_offset(scanner) - start };
    return rc;
}

/* Checks the event that was scanned and adds it to the list, in which there is room for it. */
static void event_take(struct event_decoder *decoder)
{
    if (event_accept(decoder) == 0)
        decoder->list->events[decoder->list->len++] = decoder->event;
}

/* Makes room for one more event. */
static int event_reserve(struct event_decoder *decoder, uint32_t index, struct err *err)
{
    struct event_list *list = decoder->list;
    size_t cap_max = decoder->limits->memory_bytes_max / sizeof(*list->events);

    if (index >= decoder->limits->events_max) {
        decoder->error_code = "too_many_events";
        return err_set(err, ERR_INPUT, "more than %zu events in one request; send fewer at a time",
                       decoder->limits->events_max);
    }
    if (list->len < decoder->events_cap)
        return 0;
    if (list->len >= cap_max)
        return err_set(err, ERR_RETRY,
                       "the records of this request's events would take more than %zu bytes",
                       decoder->limits->memory_bytes_max);
    decoder->events_cap = decoder->events_cap ? decoder->events_cap * 2 : EVENT_FIRST_EVENTS;
    if (decoder->kind_want != EVENT_UNKNOWN)
        decoder->events_cap = 1;
    if (decoder->events_cap > cap_max)
        decoder->events_cap = cap_max;
    list->events = xreallocarray(list->events, decoder->events_cap, sizeof(*list->events));
    list->memory_bytes = decoder->events_cap * sizeof(*list->events);
    return 0;
}

static bool event_has_bom(struct span text)
{
    return text.len >= 3 && memcmp(text.data, "\xEF\xBB\xBF", 3) == 0;
}

#define EVENT_BOM_MESSAGE "begins with a byte order mark; send UTF-8 without it"

/* Turns what the scanner says into an error about the whole body. */
static int event_broken(struct event_decoder *decoder, struct err *err)
{
    const struct json_broken *broken = json_broken(decoder->scanner);
    uint32_t line, column;

    json_position(decoder->text, broken->offset, &line, &column);
    return err_set(err, ERR_INPUT, "line %u, column %u: %s", line, column, broken->message);
}

static int event_decode_array(struct event_decoder *decoder, struct err *err)
{
    uint32_t index = 0;
    int rc;

    json_array_begin(decoder->scanner);
    while ((rc = json_array_next(decoder->scanner)) > 0) {
        if (event_reserve(decoder, index, err) < 0)
            return -1;
        if (event_scan(decoder, index++) < 0)
            return event_broken(decoder, err);
        event_take(decoder);
    }
    if (rc < 0 || json_close(decoder->scanner) < 0)
        return event_broken(decoder, err);
    return 0;
}

/* One object, or an array of them where the kind is not given. */
static int event_decode_json(struct event_decoder *decoder, struct err *err)
{
    struct json_scanner *scanner = decoder->scanner;
    int c;

    if (event_has_bom(decoder->text))
        return err_set(err, ERR_INPUT, "line 1, column 1: " EVENT_BOM_MESSAGE);
    json_open(scanner, decoder->text, decoder->limits->depth_max);
    c = json_peek(scanner);
    if (c < 0)
        return err_set(err, ERR_INPUT, "the body is empty; send a JSON object");
    if (c == '[' && decoder->kind_want == EVENT_UNKNOWN)
        return event_decode_array(decoder, err);
    decoder->list->is_single = true;
    if (event_reserve(decoder, 0, err) < 0)
        return -1;
    if (event_scan(decoder, 0) < 0 || json_close(scanner) < 0)
        return event_broken(decoder, err);
    event_take(decoder);
    return 0;
}

/* A line whose structure is broken, at `offset` in it. */
static void event_reject_line(struct event_decoder *decoder, uint32_t index, uint32_t line,
                              size_t offset, const char *message)
{
    struct event_note note = { .index = index, .line = line, .code = "invalid_json" };
    char text[128];

    (void)snprintf(text, sizeof(text), "%s", message);
    json_position(decoder->text, offset, &note.line, &note.column);
    note.line = line;
    note.message = text;
    decoder->list->received[EVENT_UNKNOWN]++;
    decoder->list->rejected[EVENT_UNKNOWN]++;
    event_notes_add(&decoder->list->rejects, &note);
}

static void event_decode_line(struct event_decoder *decoder, uint32_t index, uint32_t line)
{
    struct json_scanner *scanner = decoder->scanner;

    if (event_has_bom(decoder->text)) {
        event_reject_line(decoder, index, line, 0, EVENT_BOM_MESSAGE);
        return;
    }
    json_open(scanner, decoder->text, decoder->limits->depth_max);
    if (event_scan(decoder, index) == 0 && json_close(scanner) == 0)
        event_take(decoder);
    else
        event_reject_line(decoder, index, line, json_broken(scanner)->offset,
                          json_broken(scanner)->message);
}

static bool event_is_blank(struct span line)
{
    size_t at = 0;

    while (at < line.len && strchr(" \t\r", line.data[at]) && line.data[at])
        at++;
    return at == line.len;
}

static int event_decode_ndjson(struct event_decoder *decoder, struct err *err)
{
    struct span rest = decoder->text;
    uint32_t index = 0;

    for (uint32_t line = 1; rest.len > 0; line++) {
        const char *feed = memchr(rest.data, '\n', rest.len);
        size_t len = feed ? (size_t)(feed - rest.data) : rest.len;

        decoder->text = (struct span){ rest.data, len };
        len += feed != NULL;
        rest = (struct span){ rest.data + len, rest.len - len };
        if (event_is_blank(decoder->text))
            continue;
        if (event_reserve(decoder, index, err) < 0)
            return -1;
        event_decode_line(decoder, index++, line);
    }
    return 0;
}

static int event_decode_body(struct event_decoder *decoder, char *body, size_t len,
                             enum event_format format, const struct event_limits *limits,
                             struct event_list *list, struct err *err)
{
    int rc;

    *list = (struct event_list){ 0 };
    decoder->limits = limits;
    decoder->body = body;
    decoder->text = (struct span){ body, len };
    decoder->list = list;
    decoder->events_cap = 0;
    decoder->error_code = "invalid_json";
    if (len > JSON_TEXT_BYTES_MAX)
        rc = err_set(err, ERR_INPUT, "a body of %zu bytes can't be read", len);
    else if (format == EVENT_FORMAT_NDJSON)
        rc = event_decode_ndjson(decoder, err);
    else
        rc = event_decode_json(decoder, err);
    if (rc < 0) {
        event_list_done(list);
        list->error_code = decoder->error_code;
    }
    return rc;
}

int event_decode(struct event_decoder *decoder, char *body, size_t len, enum event_format format,
                 const struct event_limits *limits, struct event_list *list, struct err *err)
{
    decoder->kind_want = EVENT_UNKNOWN;
    decoder->is_lenient = false;
    return event_decode_body(decoder, body, len, format, limits, list, err);
}

int event_decode_as(struct event_decoder *decoder, enum event_kind kind, char *body, size_t len,
                    const struct event_limits *limits, struct event_list *list, struct err *err)
{
    assert(kind < EVENT_UNKNOWN);
    decoder->kind_want = kind;
    decoder->is_lenient = true;
    return event_decode_body(decoder, body, len, EVENT_FORMAT_JSON, limits, list, err);
}
