#include "collector/committer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "collector/batch_internal.h"
#include "collector/crash_point.h"
#include "collector/spool.h"

enum {
    BACKOFF_MS_MIN = 50,
    BACKOFF_MS_MAX = 1000,
    SLOW_DOWN_MS_MAX = 500,
    COMMIT_HANGS_MS =
        60000, /* an attempt that takes longer hangs on a connection that says nothing */
};

struct committer {
    struct store_setup setup;
    struct queue *queue; /* borrowed */
    struct spool *spool; /* borrowed; NULL: none */
    size_t bytes_min;
    struct store *store; /* the thread's, but for store_interrupt */
    char *name;          /* owned */
    pthread_t thread;
    _Atomic bool is_busy;       /* it has requests in hand */
    _Atomic bool is_replaying;  /* it has a group of the spool in hand */
    _Atomic bool may_spool;     /* what it has in hand may go there */
    _Atomic int64_t tried_ms;   /* monotonic: the last attempt; negative: it failed */
    _Atomic int64_t stop_at_ms; /* monotonic; INT64_MAX: go on */

    pthread_mutex_t lock;
    pthread_cond_t wake; /* ends a back-off early */
};

static void committer_answer_one(struct committer *committer, struct submission *submission,
                                 enum submission_outcome outcome)
{
    submission->outcome = outcome;
    stats_add(committer->setup.stats, STAT_REQUESTS_NOT_STORED, !submission->origin);
    for (int kind = 0; kind < EVENT_KINDS; kind++)
        stats_add_events(committer->setup.stats, FATE_NOT_STORED, (enum event_kind)kind,
                         submission->list.received[kind]);
    submission->done(submission); /* may free it */
}

static void committer_answer(struct committer *committer, struct submission *submissions,
                             enum submission_outcome outcome)
{
    struct submission *next;

    for (struct submission *s = submissions; s; s = next) {
        next = s->next;
        committer_answer_one(committer, s, outcome);
    }
}

static bool committer_is_over(const struct committer *committer)
{
    return clock_mono_ms() >= committer->stop_at_ms;
}

static void committer_back_off(struct committer *committer, int64_t *wait_ms)
{
    struct timespec until = clock_mono_after(*wait_ms);

    (void)pthread_mutex_lock(&committer->lock);
    if (!committer_is_over(committer))
        (void)pthread_cond_timedwait(&committer->wake, &committer->lock, &until);
    (void)pthread_mutex_unlock(&committer->lock);
    *wait_ms = *wait_ms * 2 < BACKOFF_MS_MAX ? *wait_ms * 2 : BACKOFF_MS_MAX;
}

static void committer_count(struct committer *committer, const struct batch *batch, int64_t us)
{
    struct batch_counts counts;
    struct stats *stats = committer->setup.stats;
    uint32_t events = 0;

    batch_count(batch, &counts);
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        stats_add_events(stats, FATE_ACCEPTED, (enum event_kind)kind, counts.accepted[kind]);
        stats_add_events(stats, FATE_DUPLICATE, (enum event_kind)kind, counts.duplicate[kind]);
        stats_add_events(stats, FATE_REJECTED, (enum event_kind)kind, counts.rejected[kind]);
        events += counts.received[kind];
    }
    stats_add(stats, STAT_COMMITS, 1);
    stats_observe_commit(stats, us, events);
}

/* --------------------------------------------------------------------------------- to the spool */

/* Waited for long enough; nothing is put off once the daemon stops. */
static bool committer_is_late(const struct committer *committer, const struct submission *oldest)
{
    return committer_is_over(committer) ||
           clock_mono_ms() - oldest->came_mono_ms >= config_spool_after_ms(committer->setup.config);
}

/* How long Postgres may take over what is in hand. A commit that takes longer than spool_after_ms
 * is broken off and goes to the spool, from where it may take its time: with a Postgres that needs
 * 3 s for each, requests are answered 202 and committed from there, once, and as long as that takes
 * more than spool_after_ms what comes meanwhile follows them, instead of being tried in vain. */
static int64_t committer_patience_ms(const struct committer *committer)
{
    const struct config *config = committer->setup.config;

    if (!committer->spool || committer->is_replaying)
        return COMMIT_HANGS_MS;
    if (committer->may_spool && spool_is_usable(committer->spool))
        return config_spool_after_ms(config);
    return config->commit_timeout_ms;
}

/* Puts the list into the spool, all of it by HTTP, and answers it, if need be that nobody knows.
 * -1: the spool has failed, and nothing happened. */
static int committer_spool(struct committer *committer, struct submission *list,
                           const struct batch *batch)
{
    struct submission *next;
    struct err err = { 0 };
    int rc;

    queue_divert(committer->queue);
    rc = spool_append(committer->spool, list, batch ? &batch->key : NULL,
                      batch ? batch->formed_ms : 0, &err);
    queue_divert_done(committer->queue);
    if (rc < 0 && err.kind == ERR_FATAL) {
        committer_answer(committer, list, SUBMISSION_UNKNOWN);
        return 0;
    }
    if (rc < 0)
        return -1;
    for (; list; list = next) {
        next = list->next;
        list->outcome = SUBMISSION_SPOOLED;
        list->done(list); /* may free it */
    }
    crash_at(CRASH_SPOOL_ANSWERED);
    return 0;
}

/* What comes from Kafka or from the spool is there already. */
static bool committer_may_spool(const struct committer *committer,
                                const struct submission *submissions)
{
    return committer->spool && !submissions->origin && !submissions->group;
}

/* Requests that are not stored and have waited for too long go to the spool, with the key of their
 * batch (NULL: none) if its COMMIT got no answer: by that Postgres will know whether it is in.
 * false: they are still in hand. */
static bool committer_put_aside(struct committer *committer, struct submission *submissions,
                                const struct batch *batch)
{
    return committer_may_spool(committer, submissions) &&
           committer_is_late(committer, submissions) &&
           committer_spool(committer, submissions, batch) == 0;
}

/* ----------------------------------------------------------------------------------- committing */

/* COMMIT went out and no answer came: nobody is answered before the batch_key has told what
 * became of it. When that has taken too long already, the spool has the batch, which is then
 * without submissions. */
static enum store_result committer_settle(struct committer *committer, struct batch *batch)
{
    int64_t wait_ms = BACKOFF_MS_MIN;
    struct err err = { 0 };

    while (!committer_put_aside(committer, batch->submissions, batch)) {
        enum store_result result;

        store_hurry(committer->store, committer_patience_ms(committer));
        result = store_settle(committer->store, batch, &err);
        if (result != STORE_UNKNOWN) {
            log_info("event=batch_settled committer=%s outcome=%s", committer->name,
                     result == STORE_COMMITTED ? "committed" : "not_stored");
            stats_add(committer->setup.stats, STAT_COMMIT_REPLAYS, result == STORE_COMMITTED);
            return result;
        }
        if (committer_is_over(committer))
            return STORE_UNKNOWN;
        committer_back_off(committer, &wait_ms);
    }
    (void)batch_release(batch);
    return STORE_UNKNOWN;
}

/* Answers the submissions whose outcome is there; the others are tried again, in their order. */
static struct submission *committer_answer_settled(struct committer *committer,
                                                   struct submission *submissions)
{
    struct submission *keep = NULL, **tail = &keep, *next;

    for (struct submission *s = submissions; s; s = next) {
        next = s->next;
        s->next = NULL;
        if (s->outcome != SUBMISSION_PENDING) {
            committer_answer_one(committer, s, s->outcome);
            continue;
        }
        *tail = s;
        tail = &s->next;
    }
    return keep;
}

/* Drops the submissions whose deadline is over; the others are tried again. */
static struct submission *committer_expire(struct committer *committer,
                                           struct submission *submissions)
{
    int64_t now_ms = clock_mono_ms();
    bool over = committer_is_over(committer);

    for (struct submission *s = submissions; s; s = s->next) {
        if (over || s->deadline_mono_ms < now_ms)
            s->outcome = SUBMISSION_NOT_STORED;
    }
    return committer_answer_settled(committer, submissions);
}

/* One attempt at a batch of these submissions; what is returned is to be tried again. */
static struct submission *committer_attempt(struct committer *committer,
                                            struct submission *submissions, bool *failed)
{
    AUTO(batch_free) struct batch *batch = batch_new(submissions, clock_now_ms());
    int64_t start_us = clock_mono_us();
    struct err err = { 0 };
    enum store_result result;

    crash_at(CRASH_COMMIT_TAKEN);
    committer->may_spool = committer_may_spool(committer, submissions);
    store_hurry(committer->store, committer_patience_ms(committer));
    result = store_commit(committer->store, batch, &err);
    if (result == STORE_FENCED) {
        *failed = false;
        return committer_answer_settled(committer, batch_release(batch));
    }
    if (result != STORE_COMMITTED)
        log_warn("event=commit_failed committer=%s events=%u outcome=%s err=\"%s\"",
                 committer->name, batch->rows_len,
                 result == STORE_UNKNOWN ? "unknown" : "not_stored", err.text);
    if (result == STORE_UNKNOWN)
        result = committer_settle(committer, batch);
    committer->tried_ms = result == STORE_COMMITTED ? clock_mono_ms() : -clock_mono_ms();
    *failed = result != STORE_COMMITTED;
    switch (result) {
    case STORE_COMMITTED:
        crash_at(CRASH_COMMIT_DONE);
        if (committer->spool)
            queue_progress(committer->queue, committer->tried_ms);
        committer_count(committer, batch, clock_mono_us() - start_us);
        batch_finish(batch);
        crash_at(CRASH_COMMIT_ANSWERED);
        return NULL;
    case STORE_UNKNOWN:
        committer_answer(committer, batch_release(batch), SUBMISSION_UNKNOWN);
        return NULL;
    case STORE_NOT_STORED:
    case STORE_FENCED:
        break;
    }
    return batch_release(batch);
}

/* More rollup deltas are pending than may be: the further beyond, the longer a batch waits. */
static void committer_slow_down(struct committer *committer)
{
    int64_t pending = stats_get(committer->setup.stats, STAT_ROLLUP_PENDING);
    int64_t max = committer->setup.config->rollup_pending_max;
    int64_t wait_ms = (pending - max) * SLOW_DOWN_MS_MAX / max;

    if (pending <= max)
        return;
    stats_add(committer->setup.stats, STAT_ROLLUP_SLOWED, 1);
    wait_ms = wait_ms < SLOW_DOWN_MS_MAX ? wait_ms + 1 : SLOW_DOWN_MS_MAX;
    committer_back_off(committer, &wait_ms);
}

static void committer_commit(struct committer *committer, struct submission *submissions,
                             int64_t *wait_ms)
{
    bool failed;

    committer->is_busy = true;
    committer_slow_down(committer);
    stats_set(committer->setup.stats, STAT_QUEUE_REQUESTS, queue_len(committer->queue));
    while (submissions) {
        submissions = committer_attempt(committer, submissions, &failed);
        if (!failed)
            *wait_ms = BACKOFF_MS_MIN;
        if (submissions && failed)
            submissions = committer_put_aside(committer, submissions, NULL)
                              ? NULL
                              : committer_expire(committer, submissions);
        if (submissions && failed)
            committer_back_off(committer, wait_ms);
    }
    committer->is_busy = false;
}

/* ------------------------------------------------------------------------------- from the spool */

static void committer_count_replay(struct committer *committer, const struct spool_group *group,
                                   const struct batch *batch, int64_t us)
{
    struct stats *stats = committer->setup.stats;
    int64_t rejected = (int64_t)group->rejects_len;

    for (uint32_t i = 0; i < batch->rows_len; i++)
        rejected += batch->rows[i].fate == ROW_REJECTED;
    stats_add(stats, STAT_SPOOL_REPLAYED, (int64_t)group->events + group->rejects_len);
    if (batch->was_there) {
        stats_add(stats, STAT_COMMIT_REPLAYS, 1);
        return;
    }
    stats_add(stats, STAT_SPOOL_REJECTED, rejected);
    committer_count(committer, batch, us);
}

/* One attempt at the group. true: it is in the database. */
static bool committer_replay_attempt(struct committer *committer, const struct spool_group *group)
{
    AUTO(batch_free) struct batch *batch = batch_new_replay(group);
    int64_t start_us = clock_mono_us();
    struct err err = { 0 };
    enum store_result result;

    crash_at(CRASH_COMMIT_TAKEN);
    store_hurry(committer->store, committer_patience_ms(committer));
    result = store_commit(committer->store, batch, &err);
    if (result != STORE_COMMITTED)
        log_warn("event=replay_failed group=%llu events=%u outcome=%s err=\"%s\"",
                 (unsigned long long)group->number, group->events,
                 result == STORE_UNKNOWN ? "unknown" : "not_stored", err.text);
    if (result == STORE_UNKNOWN)
        result = committer_settle(committer, batch);
    committer->tried_ms = result == STORE_COMMITTED ? clock_mono_ms() : -clock_mono_ms();
    if (result == STORE_COMMITTED) {
        crash_at(CRASH_COMMIT_DONE);
        committer_count_replay(committer, group, batch, clock_mono_us() - start_us);
    }
    (void)batch_release(batch); /* the group has it */
    return result == STORE_COMMITTED;
}

/* The group is committed: until it is out of the spool nothing else is. */
static void committer_drop(struct committer *committer, int64_t *wait_ms)
{
    struct err err = { 0 };

    crash_at(CRASH_REPLAY_COMMITTED);
    while (spool_drop(committer->spool, &err) < 0) {
        log_error("event=spool_drop_failed action=retry err=\"%s\"", err.text);
        if (queue_is_closed(committer->queue))
            return; /* its key keeps it from being counted twice */
        committer_back_off(committer, wait_ms);
    }
    crash_at(CRASH_REPLAY_DROPPED);
    *wait_ms = BACKOFF_MS_MIN;
}

/* Commits the spool's oldest group. Not again when the daemon stops: the next one goes on. */
static void committer_replay(struct committer *committer, int64_t *wait_ms)
{
    AUTO(spool_group_free) struct spool_group *group = NULL;
    struct err err = { 0 };
    bool is_last, is_in;

    group = spool_take(committer->spool, &is_last, &err);
    if (!group && err.kind == ERR_NONE) {
        if (queue_rejoin(committer->queue)) {
            log_info("event=spool_empty action=commit");
            crash_at(CRASH_REPLAY_REJOINED);
        }
        return;
    }
    if (!group && err.kind == ERR_INPUT) { /* to wait for it would keep back all that is behind */
        log_error("event=spool_group_lost action=\"go on\" err=\"%s\"", err.text);
        committer_drop(committer, wait_ms);
        return;
    }
    if (!group) {
        log_error("event=spool_read_failed action=retry err=\"%s\"", err.text);
        committer_back_off(committer, wait_ms);
        return;
    }
    crash_at(CRASH_REPLAY_TAKEN);
    committer->is_busy = committer->is_replaying = true;
    committer_slow_down(committer);
    queue_hold(committer->queue, is_last); /* and on, when it is in, until the queue is direct */
    while (!(is_in = committer_replay_attempt(committer, group))) {
        queue_hold(committer->queue, false);
        if (queue_is_closed(committer->queue) || committer_is_over(committer))
            break;
        committer_back_off(committer, wait_ms);
    }
    if (is_in)
        committer_drop(committer, wait_ms);
    committer->is_busy = committer->is_replaying = false;
}

/* What the queue has for the committer that reads the spool: that comes first. */
static struct submission *committer_take(struct committer *committer, int64_t *wait_ms)
{
    const struct config *config = committer->setup.config;
    struct submission *submissions;
    bool diverted;

    if (!committer->spool || committer->bytes_min > 1)
        return queue_take(committer->queue, committer->bytes_min,
                          (uint32_t)config->batch_events_max, (size_t)config->batch_bytes_max);
    for (;;) {
        submissions = queue_take_or_replay(committer->queue, (uint32_t)config->batch_events_max,
                                           (size_t)config->batch_bytes_max, &diverted);
        if (!diverted)
            return submissions;
        if (committer_is_over(committer)) { /* the next daemon goes on; this one is about to end */
            (void)nanosleep(&(struct timespec){ .tv_nsec = BACKOFF_MS_MIN * 1000000L }, NULL);
            continue;
        }
        committer_replay(committer, wait_ms);
    }
}

static void *committer_run(void *arg)
{
    struct committer *committer = arg;
    int64_t wait_ms = BACKOFF_MS_MIN;
    struct submission *submissions;

    while ((submissions = committer_take(committer, &wait_ms))) {
        if (queue_is_cut_off(committer->queue))
            committer_answer(committer, submissions, SUBMISSION_NOT_STORED);
        else
            committer_commit(committer, submissions, &wait_ms);
    }
    return NULL;
}

struct committer *committer_start(const struct store_setup *setup, struct queue *queue,
                                  struct spool *spool, size_t bytes_min, const char *name)
{
    struct committer *committer = xcalloc(1, sizeof(*committer));
    pthread_condattr_t attr;

    committer->setup = *setup;
    committer->queue = queue;
    committer->spool = spool;
    committer->bytes_min = bytes_min;
    committer->name = xstrdup(name);
    committer->store = store_new(setup, name);
    committer->stop_at_ms = INT64_MAX;
    (void)pthread_mutex_init(&committer->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&committer->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (pthread_create(&committer->thread, NULL, committer_run, committer) != 0) {
        log_error("event=thread_failed name=%s", name);
        abort();
    }
    return committer;
}

void committer_drain(struct committer *committer, int64_t deadline_mono_ms)
{
    (void)pthread_mutex_lock(&committer->lock);
    committer->stop_at_ms = deadline_mono_ms;
    (void)pthread_cond_signal(&committer->wake);
    (void)pthread_mutex_unlock(&committer->lock);
}

void committer_join(struct committer *committer)
{
    (void)pthread_join(committer->thread, NULL);
}

void committer_free(struct committer *committer)
{
    if (!committer)
        return;
    store_free(committer->store);
    (void)pthread_cond_destroy(&committer->wake);
    (void)pthread_mutex_destroy(&committer->lock);
    free(committer->name);
    free(committer);
}

void committer_tick(struct committer *committer, int64_t now_mono_ms)
{
    int64_t age_ms_max = committer_is_over(committer) ? 0 : committer_patience_ms(committer);

    committer_answer(committer, queue_tick(committer->queue, now_mono_ms), SUBMISSION_NOT_STORED);
    if (store_interrupt(committer->store, now_mono_ms, age_ms_max))
        log_warn("event=commit_hangs committer=%s action=connection_closed", committer->name);
}

bool committer_is_up(const struct committer *committer, int64_t round_ms)
{
    int64_t tried_ms = committer->tried_ms;

    if (committer->is_busy && tried_ms)
        return tried_ms > 0;
    return llabs(tried_ms) > llabs(round_ms) ? tried_ms > 0 : round_ms > 0;
}
