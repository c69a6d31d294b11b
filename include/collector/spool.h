/* The spool: events that came by HTTP while Postgres could not commit them, on disk, in order.
 *
 *   <spool_dir>/lock                       held by the one daemon that has the folder
 *   <spool_dir>/0000000000000001.spool     a group: one batch_key, one transaction of replay
 *   <spool_dir>/0000000000000002.spool     the newest takes what comes until it is full or wanted
 *
 * A group is appended to, a chunk of many requests and one fsync at a time, then taken as a whole,
 * committed, and dropped. It keeps its batch_key over every attempt, also those of the next daemon,
 * so that Postgres says when it is there already. Any thread. */
#ifndef COLLECTOR_SPOOL_H
#define COLLECTOR_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "base/uuid.h"
#include "collector/stats.h"
#include "collector/submission.h"

struct balance;
struct spool;

struct spool_setup {
    const char *dir;
    int64_t bytes_max;        /* of all files */
    int64_t group_events_max; /* a group takes no further request beyond these, */
    int64_t group_bytes_max;  /* or these */
    struct stats *stats;      /* borrowed */
};

/* Makes the folder if need be, locks it, and finds what an earlier daemon left. What was never
 * finished, and so never acknowledged, is cut off. ERR_FATAL: the folder can't be used, is another
 * daemon's, or holds what a newer version wrote; the text says what to do. */
struct spool *spool_open(const struct spool_setup *setup, struct err *err) MUST_CHECK;
/* No spool is wanted: ERR_FATAL when the folder holds events nevertheless, but for those of a
 * daemon that runs. The text says what to do. */
int spool_check_unused(const char *dir, struct err *err) MUST_CHECK;
/* Accepts NULL. */
void spool_free(struct spool *spool);
AUTO_DEFINE(struct spool, spool_free);

bool spool_is_empty(struct spool *spool);
/* As far as is known, its disk works and there is room for at least one more event, not for a
 * request of any size. */
bool spool_is_usable(struct spool *spool);
/* From time to time: after an append that failed, whether its disk can be written to and has space
 * for as many bytes and some to spare, so that a daemon to which nobody sends any more notices. Its
 * disk may take its time. */
void spool_probe(struct spool *spool);

/* Appends the list's events and returns when they are on disk, with all that came before. A batch
 * whose fate nobody knows is a group of its own with its key: `key` NULL otherwise. ERR_RETRY: the
 * spool or the disk is full, or the disk failed; nothing of them is in it. ERR_FATAL: the disk
 * failed, and again when that was to be undone; nobody knows what the next daemon will find. */
int spool_append(struct spool *spool, const struct submission *list, const struct uuid *key,
                 int64_t formed_ms, struct err *err) MUST_CHECK;

/* ---- replay: one thread ---- */

/* What can't be taken of a group, found before Postgres saw it. */
struct spool_reject {
    size_t at; /* in the file */
    int64_t received_ms;
    const char *code;  /* static */
    char *why;         /* owned */
    struct span bytes; /* of the group */
};

struct spool_group {
    uint64_t number; /* of the file */
    struct uuid key;
    int64_t formed_ms;
    uint32_t events;
    struct submission *submission; /* owned; its `group` is this */
    char *damaged;                 /* owned; what `bytes` of some rejects point into */
    struct spool_reject *rejects;  /* owned */
    uint32_t rejects_len;
    struct spool_place *places; /* owned; of each event by its index */
    uint32_t places_len;
};

/* Where an event stood. */
struct spool_place {
    size_t at;
    int64_t received_ms;
};

/* The oldest group, to which nothing is added any more; it stays in the spool until spool_drop.
 * *is_last: there is no other. NULL with err->kind ERR_NONE: the spool is empty. ERR_RETRY: it
 * can't be read. ERR_INPUT: somebody has removed its file, all that is left is spool_drop. */
struct spool_group *spool_take(struct spool *spool, bool *is_last, struct err *err) MUST_CHECK;
void spool_group_free(struct spool_group *group);
AUTO_DEFINE(struct spool_group, spool_group_free);
/* Removes the oldest group, which is committed. -1: it could not be, and comes again. */
int spool_drop(struct spool *spool, struct err *err) MUST_CHECK;

/* ---- what it holds ---- */

/* Adds what waits to the books: received, rejected and spooled. */
void spool_balance_add(struct spool *spool, struct balance *balance);
/* How many groups were dropped: the same before and after, and nothing moved meanwhile. */
uint64_t spool_drops(struct spool *spool);
/* Sets the gauges. */
void spool_measure(struct spool *spool, int64_t now_ms);

/* Where a rejected event came from, as JSON. */
void spool_origin_write(const struct spool_group *group, size_t at, int64_t received_ms,
                        struct buf *out);

#endif
