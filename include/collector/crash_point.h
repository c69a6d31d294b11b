/* Places where the process can be told to die, so that tests kill it after every step of the commit
 * path and of the spool: PLUMBLINE_FAULT=<point>[:n] in the environment, at the n-th time (the
 * first) that it comes there. Compiled into every build, so that what is tested is what is shipped;
 * a point that is not armed costs a load and a comparison a batch. Any thread. */
#ifndef COLLECTOR_CRASH_POINT_H
#define COLLECTOR_CRASH_POINT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/attr.h"
#include "base/err.h"

enum crash_point {
    CRASH_NOWHERE,
    CRASH_COMMIT_TAKEN,    /* requests are in the committer's hand */
    CRASH_COMMIT_PREPARED, /* deployments and partitions are there */
    CRASH_COMMIT_BEGUN,    /* the ledger row is in the transaction */
    CRASH_COMMIT_WRITTEN,  /* so is everything else */
    CRASH_COMMIT_SENT,     /* the batch that goes as one query is on its way, COMMIT with it */
    CRASH_COMMIT_DONE,     /* committed, nobody is answered */
    CRASH_COMMIT_ANSWERED,
    CRASH_SPOOL_TAKEN,   /* requests are on their way to the spool */
    CRASH_SPOOL_CREATED, /* a new segment is made, empty */
    CRASH_SPOOL_HALF,    /* a chunk is written by half */
    CRASH_SPOOL_WRITTEN, /* as a whole, not yet synced */
    CRASH_SPOOL_SYNCED,  /* the segment is on disk, its name perhaps not */
    CRASH_SPOOL_LISTED,  /* so is its name; nobody is answered */
    CRASH_SPOOL_ANSWERED,
    CRASH_REPLAY_TAKEN,     /* a group is read */
    CRASH_REPLAY_COMMITTED, /* it is committed and still in the spool */
    CRASH_REPLAY_DROPPED,   /* it is out of the spool */
    CRASH_REPLAY_REJOINED,  /* the spool is empty, requests go to Postgres again */
    CRASH_POINTS,
};

/* The point that is armed. */
extern _Atomic int crash_point_armed;

/* `text` is NAME or NAME:N; NULL arms nothing. Before the first thread. ERR_FATAL: there is no such
 * point. */
int crash_point_arm(const char *text, struct err *err) MUST_CHECK;
const char *crash_point_name(enum crash_point point);
/* The process has come there, which is armed: dies by SIGKILL when it is the n-th time. */
void crash_point_reach(void);

static inline bool crash_is_armed(enum crash_point point)
{
    return atomic_load_explicit(&crash_point_armed, memory_order_relaxed) == (int)point;
}

static inline void crash_at(enum crash_point point)
{
    if (__builtin_expect(crash_is_armed(point), false))
        crash_point_reach();
}

#endif
