/* Where the events of a submission stood in a partition of a Kafka topic: what its transaction
 * moves the stored offset from and to, and the messages as they came, for what can't be taken.
 *
 *   text      value key headers | value key headers | ...     as they came
 *   messages  [ offset, index of its first event, spans ]     into text
 *   rejects   [ message, why, span of the event ]             found before the database saw it */
#ifndef COLLECTOR_ORIGIN_H
#define COLLECTOR_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/span.h"

struct origin_message {
    int64_t offset;
    int64_t timestamp_ms;
    uint32_t index; /* of its first event among all of the submission, rejected ones too */
    struct span value;
    struct span key;     /* data NULL: none */
    struct span headers; /* as JSON, [["name","value"],...]; data NULL: none */
};

struct origin_reject {
    uint32_t message;
    int32_t element;  /* its place in the message's array, -1: the message is the event */
    const char *code; /* static */
    char *why;        /* owned */
    struct span event;
};

/* A stored offset: which message comes next. An incarnation is one life of a topic's name; deleted
 * and made anew it gets the next one, and the same offset means another message. */
struct origin_offset {
    int64_t incarnation;
    int64_t next;
    int64_t mark_offset; /* the last message taken, -1: none yet */
    int64_t mark;        /* a hash of it: by that it is known again */
};

struct origin {
    char *cluster; /* owned */
    char *topic;   /* owned */
    int32_t partition;
    struct origin_offset from;       /* what must be stored, or the submission leaves the batch */
    struct origin_offset to;         /* what is stored with it */
    char *text;                      /* owned */
    struct origin_message *messages; /* owned */
    uint32_t messages_len;
    struct origin_reject *rejects; /* owned */
    uint32_t rejects_len, rejects_cap;
    size_t reject_bytes_max; /* what is kept of an event that can't be taken */
};

/* Accepts NULL. */
void origin_free(struct origin *origin);
AUTO_DEFINE(struct origin, origin_free);

/* `why` is copied. */
void origin_reject_add(struct origin *origin, const struct origin_reject *reject, const char *why);

/* The message that holds the event with this index. */
uint32_t origin_message_of(const struct origin *origin, uint32_t index);
/* The bytes of one event of a message as they came: *element is its place in the message's array,
 * or -1 when the message is the event itself, which is given also for what can't be found. */
struct span origin_event(const struct origin_message *message, uint32_t place, int32_t *element);
/* Where a rejected event came from, as JSON. */
void origin_write(const struct origin *origin, const struct origin_reject *reject, struct buf *out);

#endif
