/* Events: from the bytes of a request to checked records. One walk over the body; what the records
 * hold are spans into it.
 *
 * Pure: no clock (the limits carry the present), no global, no log line. */
#ifndef METRICS_EVENT_H
#define METRICS_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/span.h"
#include "base/uuid.h"

/* In the order of the arrays in the ledger (sql/005_graph.sql): a new kind comes last. */
enum event_kind {
    EVENT_TRACK_METRICS,     /* a prediction */
    EVENT_DELAYED_METRICS,   /* a label */
    EVENT_AGGREGATE_METRICS, /* an aggregate */
    EVENT_MODEL_DEPLOYED,    /* lineage: decoded further by atlas/event.h */
    EVENT_UNKNOWN,           /* counts only: what was rejected before its kind was known */
    EVENT_PROJECT_CREATED,   /* lineage, as is the next */
    EVENT_MODEL_BUILT,
    EVENT_KINDS,
};

/* "track_metrics" and so on; "unknown" for EVENT_UNKNOWN. */
const char *event_kind_name(enum event_kind kind);
bool event_kind_is_lineage(enum event_kind kind);

struct event_limits {
    size_t metrics_bytes_max; /* one event's `metrics` after white space is removed */
    size_t events_max;        /* in one request */
    size_t memory_bytes_max;  /* what the records of one list may take; beyond it the decode fails
                                 with ERR_RETRY */
    unsigned depth_max;       /* of JSON, the event's own braces are depth 1 */
    int64_t time_ms_min;      /* event time from, inclusive */
    int64_t time_ms_max;      /* event time to, inclusive: the present and a day */
};

/* All spans and pointers are borrowed from the body that was decoded. */
struct event {
    enum event_kind kind;
    uint32_t
        index; /* position in its request, from 0; in NDJSON the line that is not empty, from 0 */
    bool has_event_id;
    bool has_start; /* delayed metrics: the hint was given */
    bool failed;
    struct uuid uuid; /* predictionUuid; all zero for aggregates */
    struct uuid event_id;
    int64_t start_ms; /* since 1970 */
    int64_t end_ms;
    struct span deployment_crn; /* unescaped UTF-8; absent (data NULL) where the event has none */
    struct span build_crn;
    struct span model_crn;
    struct span replica;
    struct span metrics; /* the object's text, white space outside strings removed */
    struct span text;    /* the whole event as posted; lineage events only */
};

/* Why one event was not taken, or what to say about one that was. A list of notes owns field and
 * message of each. */
struct event_note {
    uint32_t index;
    uint32_t line;     /* from 1; 0: no position is given */
    uint32_t column;   /* from 1, in bytes */
    const char *code;  /* static: "invalid_field" */
    const char *field; /* may be NULL: "metrics.input_data.tenure" */
    const char *message;
};

enum { EVENT_NOTES_MAX = 100 };

/* Notes in ascending order of index; the first EVENT_NOTES_MAX are kept, all are counted. */
struct event_notes {
    struct event_note *items; /* owned */
    uint32_t len;
    uint32_t count;
};

/* Adds a note; takes the index's place in the order even when added late. `field` may be NULL;
 * field and message are copied, values quoted in the message have been cut by the caller. */
void event_notes_add(struct event_notes *notes, const struct event_note *note);
void event_notes_done(struct event_notes *notes);

/* What one request held. */
struct event_list {
    struct event *events; /* owned; the accepted ones, in order of index */
    uint32_t len;
    uint32_t received[EVENT_KINDS]; /* by kind; sum(received) = len + sum(rejected) */
    uint32_t rejected[EVENT_KINDS];
    bool is_single; /* the body was one object, not an array or NDJSON */
    bool has_lineage;
    size_t memory_bytes;    /* taken by the records */
    const char *error_code; /* static; after ERR_INPUT only: "invalid_json", "too_many_events" */
    struct event_notes rejects;
    struct event_notes warnings;
};

void event_list_done(struct event_list *list);

enum event_format {
    EVENT_FORMAT_JSON,   /* one object or an array */
    EVENT_FORMAT_NDJSON, /* an object a line; empty lines are skipped; a broken line is rejected
                            alone */
};

/* A decoder holds the scanner's scratch memory; one a thread, used again and again. */
struct event_decoder;

/* `seed` makes the hashes of keys unpredictable. Owned. */
struct event_decoder *event_decoder_new(uint64_t seed);
void event_decoder_free(struct event_decoder *decoder);
AUTO_DEFINE(struct event_decoder, event_decoder_free);

/* Decodes a request of /v1/events. `body` is changed in place (white space inside `metrics` is
 * squeezed out, texts are unescaped) and must outlive the list; the bytes of rejected and of
 * lineage events stay as they were. The list is made new. ERR_INPUT: the structure can't be read,
 * err->text has line and column, or there are more than limits->events_max; nothing is in the list
 * but error_code. ERR_RETRY: the records would take more than limits->memory_bytes_max. */
int event_decode(struct event_decoder *decoder, char *body, size_t len, enum event_format format,
                 const struct event_limits *limits, struct event_list *list,
                 struct err *err) MUST_CHECK;

/* The same for an endpoint that says what the event is: one object without "event" (accepted when
 * it is there and agrees), members that are not known are ignored without a warning. */
int event_decode_as(struct event_decoder *decoder, enum event_kind kind, char *body, size_t len,
                    const struct event_limits *limits, struct event_list *list,
                    struct err *err) MUST_CHECK;

/* The HTTP status that answers a lone event rejected with `code`, or a body with this error_code:
 * 413 for "too_large" and "too_many_events", 409 for "conflict", 403 for "forbidden", 400
 * otherwise. */
int event_code_status(const char *code);

#endif
