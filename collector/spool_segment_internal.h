/* The bytes of a segment, one file of the spool. Pure: no file, no clock, no thread.
 *
 *   segment  head | chunk | chunk | ...        one group: one batch_key, one transaction of replay
 *   chunk    chunk head | record | record ...  what one fsync brought, before its 202s
 *   record   length, time of receipt, CRC32C | an event of /v1/events, as JSON
 *
 *   head        0 "plumspl\n"   8 version   12 its bytes   16 batch_key   32 formed_ms   40 CRC32C
 *   chunk head  0 "chnk"        4 records   8 bytes of them   16 batch_key   32 formed_ms
 *               40 received[8]   72 rejected[8]   104 CRC32C
 *   record      0 length        4 received_ms   12 CRC32C of the 12 before and the event
 *
 * Numbers are little-endian. A chunk that is not there as a whole was never acknowledged, and is
 * as if it had never been. Everything else that is damaged costs no more than the records that it
 * befell: what comes behind is found again by its checksum. */
#ifndef COLLECTOR_SPOOL_SEGMENT_INTERNAL_H
#define COLLECTOR_SPOOL_SEGMENT_INTERNAL_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/uuid.h"
#include "metrics/event.h"

enum {
    SPOOL_VERSION = 1,
    SPOOL_HEAD_BYTES = 44,
    SPOOL_CHUNK_BYTES = 108,
    SPOOL_RECORD_BYTES = 16,
    SPOOL_KINDS_MAX = 8, /* places for counts by kind */
};

static_assert((int)EVENT_KINDS <= (int)SPOOL_KINDS_MAX, "a chunk head has a place for every kind");

/* By what a group is known, to Postgres too. */
struct spool_id {
    struct uuid key; /* batch_key */
    int64_t formed_ms;
};

/* What a chunk head says: counts of requests as they were received, by kind. */
struct spool_chunk {
    uint32_t records;
    uint64_t bytes;
    struct spool_id id;
    uint32_t received[EVENT_KINDS];
    uint32_t rejected[EVENT_KINDS]; /* answered so; received - rejected are the records */
};

/* ---- writing ---- */

void spool_head_write(struct buf *out, const struct spool_id *id);
/* Leaves room for a chunk head; its place. */
size_t spool_chunk_begin(struct buf *out);
/* Fills it in: `bytes` is what was written behind it. */
void spool_chunk_end(struct buf *out, size_t place, struct spool_chunk *chunk);
/* The event as /v1/events takes it, metrics to the letter; not for lineage events. */
void spool_event_write(struct buf *out, const struct event *event);
void spool_record_write(struct buf *out, int64_t received_ms, const struct event *event);

/* ---- reading ---- */

/* The event's place in the image. */
struct spool_record {
    size_t at;
    uint32_t len;
    int64_t received_ms;
};

/* Bytes that are no record any more, but were one or several. */
struct spool_damage {
    size_t at;
    size_t len;
};

struct spool_segment {
    struct spool_id id;
    struct spool_record *records; /* owned, in order */
    uint32_t records_len, records_cap;
    struct spool_damage *damages; /* owned, in order */
    uint32_t damages_len, damages_cap;
    uint64_t received[EVENT_KINDS], rejected[EVENT_KINDS]; /* the sums of the chunk heads */
    uint32_t heads_damaged;
    size_t whole_bytes; /* what follows is a chunk that was never finished */
};

/* The whole image. ERR_FATAL: it was written by a newer version. Nothing is done in vain: from any
 * other bytes something is made, from too few of them nothing. */
int spool_segment_read(struct spool_segment *segment, struct span image,
                       struct err *err) MUST_CHECK;
void spool_segment_done(struct spool_segment *segment);
static inline void spool_segment_done_auto(struct spool_segment *segment) /* AUTO(...) */
{
    spool_segment_done(segment);
}

/* The head alone, of at least SPOOL_HEAD_BYTES. 1: it is whole; 0: it is not; -1, ERR_FATAL: it was
 * written by a newer version. */
int spool_head_read(struct span image, struct spool_id *id, struct err *err) MUST_CHECK;
/* A chunk head, likewise. false: it is none, or damaged. */
bool spool_chunk_read(struct span image, struct spool_chunk *chunk);

#endif
