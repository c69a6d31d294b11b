/* Messages of Atlas's hooks (atlas/hook.h) go into the graph, all of it in a transaction that
 * entity_begin has begun. So that memory is bounded one message is read at a time, under the graph
 * lock. */
#ifndef COLLECTOR_STORE_HOOK_INTERNAL_H
#define COLLECTOR_STORE_HOOK_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>

#include "base/attr.h"
#include "base/span.h"
#include "collector/config.h"
#include "collector/store_commit_internal.h"
#include "collector/store_entity_internal.h"

enum hook_fate {
    HOOK_TAKEN,
    HOOK_UNCHANGED, /* it was there already */
    HOOK_WAITS,     /* a part was kept, others are missing */
    HOOK_GIVEN_UP,  /* its parts are all there, or too large, and in rejected_event */
    HOOK_REFUSED,   /* the fault says why; nothing of it is written */
};

/* Of one transaction. All borrowed. */
struct hook_writer {
    struct entity_writer entities; /* its user is that of each message */
    const struct config *config;
    const char *source; /* parts of a message have the same */
    bool gives_up;      /* what fails inside of Postgres is the message's fault */
    int64_t given_up;   /* messages besides those that were taken, for want of parts */
};

/* Takes one message, as it came or parsed (NULL: it is not). `origin` is a JSON object that jsonb
 * takes: where it came from. -1: err says why, the transaction is over. */
int hook_take(struct hook_writer *writer, struct span text, json_t *root, struct span origin,
              enum hook_fate *fate) MUST_CHECK;
/* A message that was refused becomes a row of rejected_event, for the reason that the fault says.
 * `bytes` is how long it was; more of `text` than kafka.reject_bytes_max is not kept. */
int hook_reject(struct hook_writer *writer, struct span text, size_t bytes,
                struct span origin) MUST_CHECK;

/* The number of the transaction under way: by that it is known after a COMMIT without an answer. */
enum { HOOK_XID_BYTES = 24 };
int hook_xid(struct entity_writer *writer, char xid[HOOK_XID_BYTES]) MUST_CHECK;
/* 1: that transaction was committed, 0: it was not. It held the graph lock until it had ended, so
 * under that lock the answer is final. */
int hook_is_in(struct entity_writer *writer, const char *xid) MUST_CHECK;

/* store_commit and store_settle of a batch of messages from Kafka. */
enum store_result hooks_commit(struct store *store, struct batch *batch,
                               struct err *err) MUST_CHECK;
enum store_result hooks_settle(struct store *store, struct batch *batch,
                               struct err *err) MUST_CHECK;

/* Maintenance: gives up what has waited for longer than hook_wait. */
int hook_round(struct store *store, bool *more, struct err *err) MUST_CHECK;

#endif
