/* One attempt to commit a batch, shared by store_commit.c, store_label.c and store_lineage.c. */
#ifndef COLLECTOR_STORE_COMMIT_INTERNAL_H
#define COLLECTOR_STORE_COMMIT_INTERNAL_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "collector/batch_internal.h"
#include "collector/store.h"
#include "collector/store_copy_internal.h"
#include "collector/store_delta_internal.h"
#include "collector/store_partition_internal.h"

enum {
    RELAY_PAGE = 500,
    STORE_FOLD_SHARES = 4, /* of deployments; each is folded under a lock of its own */
};

/* Whether this store publishes what is in the outbox, and how far it is. */
struct relay {
    bool is_ours; /* its connection has the RELAY lock */
    bool is_sent; /* messages are on their way */
    struct {
        int64_t number;
        size_t end; /* behind its last part, among all parts that were sent */
    } messages[RELAY_PAGE];
    int messages_len;
    int arrived;         /* of them, the first: outbox_position says so */
    int64_t retry_ms;    /* monotonic: not before, because of `err` */
    int64_t back_off_ms; /* 0: the last attempt went well */
    int64_t gauges_ms;   /* monotonic: gauges are read again */
    struct err err;
};

/* The message of a hook at which attempts fail, one after the other. */
struct hook_stop {
    char *topic; /* owned; NULL: none */
    int32_t partition;
    int64_t offset;
    int64_t failures; /* in a row */
};

struct store {
    struct store_setup setup;
    char *role;                  /* owned */
    int connect_s;               /* how long a connection may take to be made */
    PGconn *conn;                /* NULL while there is none */
    struct type_registry *types; /* owned reference; of the last change of the graph */
    struct copy copy;
    struct metric_counter counter;
    struct deltas row_deltas;               /* what the attempt's predictions and aggregates add */
    struct deltas label_deltas;             /* what its labels add */
    uint64_t folded;                        /* deltas since the last vacuum */
    int64_t fold_after_ms;                  /* monotonic: folding rests until then */
    int32_t fold_behind[STORE_FOLD_SHARES]; /* the deployment of each share that was folded last */
    int64_t slow_until_ms;    /* monotonic: until then batches begin on the slow path */
    int64_t waiting_until_ms; /* monotonic: until then labels are taken to wait for predictions */
    int64_t horizon_ms;       /* of events, as the batch under way was checked against it */
    struct relay relay;
    struct hook_stop hook_stop;
    int64_t keys_noted_ms;  /* monotonic: when the use of keys was noted; 0: never */
    int64_t labels_waiting; /* about how many wait; counted when it matters, and by maintenance */

    pthread_mutex_t lock;
    int socket;            /* guarded by lock; -1: none */
    int64_t busy_since_ms; /* guarded by lock; monotonic, 0: idle */
};

/* What came of a step. */
enum step {
    STEP_DONE,
    STEP_SLOW,   /* a duplicate: roll back, take the slow path */
    STEP_AGAIN,  /* somebody else was faster: roll back, look again */
    STEP_INPUT,  /* Postgres refuses an event: roll back, find it */
    STEP_FENCED, /* Kafka offsets are not where they should be: roll back, without their events */
    STEP_THERE,  /* the batch_key is in: an earlier attempt did commit */
    STEP_FAIL,   /* not now */
};

struct attempt {
    struct store *store;
    struct batch *batch;
    bool slow;  /* through staging tables, ON CONFLICT */
    bool trial; /* only rows of ordinal_from <= ordinal < ordinal_to, rolled back at the end */
    uint32_t ordinal_from;
    uint32_t ordinal_to;
    bool labels_wait;   /* what batch_begin saw */
    int64_t horizon_ms; /* likewise; INT64_MIN: none */
    int64_t batch_id;
    struct err *err;
};

/* Connects unless there is a working connection. ERR_RETRY: the server is away. */
int store_ready(struct store *store, struct err *err) MUST_CHECK;
void store_disconnect(struct store *store);
/* Marks the time in which store_interrupt may break the connection. */
void store_busy(struct store *store, bool busy);

/* Whether the attempt writes the row: in its range, accepted so far, and no twin of another. */
bool attempt_wants(const struct attempt *attempt, const struct batch_row *row);
/* err, set from a failed statement, as a step. */
enum step attempt_failed(const struct copy_failure *failure, const struct err *err);

/* Background work: runs one function in a REPEATABLE READ transaction of its own. 1: done, *result
 * is owned; 0: somebody else was faster, the next round sees what is left; -1: failed. */
int store_call(PGconn *conn, const char *sql, PGresult **result, struct err *err) MUST_CHECK;

/* Ends a transaction that is or may be open; -1: the connection is of no more use. */
int attempt_rollback(struct store *store);

/* Behind the ledger row and before any event: moves the Kafka offsets of the batch on. STEP_FENCED:
 * the submissions that must leave the batch have that outcome. */
enum step offsets_advance(struct attempt *attempt) MUST_CHECK;
/* The same in two halves: the statement, and what it gave. STEP_FENCED from the first: nothing need
 * be sent. */
enum step offsets_write(struct attempt *attempt, struct buf *sql) MUST_CHECK;
enum step offsets_advanced(struct attempt *attempt, const PGresult *result) MUST_CHECK;
/* Whether something of the batch came from Kafka or the spool and, as far as is known, can't be
 * taken. */
bool rejects_any(const struct batch *batch);
/* Last, when every row's fate is known: what of that can't be taken. */
enum step rejects_write(struct attempt *attempt) MUST_CHECK;

/* Before the first write: finds the predictions of the batch's labels, and takes the LABELS lock
 * as the batch needs it. */
enum step label_lookup(struct attempt *attempt) MUST_CHECK;
/* After the predictions are in: writes the labels, those whose prediction is known and those
 * that wait. */
enum step label_write(struct attempt *attempt) MUST_CHECK;
/* Last: the batch's predictions take the labels that waited for them. */
enum step label_claim(struct attempt *attempt) MUST_CHECK;

/* Decodes the batch's lineage events; their deployments then stand in the events, for the
 * catalog. */
void lineage_prepare(const struct store_setup *setup, struct batch *batch);
/* Takes the GRAPH lock: the first thing in the transaction of a batch with lineage events. */
enum step lineage_lock(struct attempt *attempt) MUST_CHECK;
/* Compares the lineage events with what is known, writes those that say something new, and
 * completes the catalog. */
enum step lineage_write(struct attempt *attempt) MUST_CHECK;

#endif
