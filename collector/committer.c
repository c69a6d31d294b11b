#include "collector/committer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "collector/batch_internal.h"

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
    size_t bytes_min;
    struct store *store; /* the thread's, but for store_interrupt */
    char *name;          /* owned */
    pthread_t thread;
    _Atomic bool is_busy;       /* it has requests in hand */
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

/* COMMIT went out and no answer came: nobody is answered before the batch_key has told what
 * became of it. */
static enum store_result committer_settle(struct committer *committer, struct batch *batch)
{
    int64_t wait_ms = BACKOFF_MS_MIN;
    struct err err = { 0 };

    for (;;) {
        enum store_result result = store_settle(committer->store, batch, &err);

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
    enum store_result result = store_commit(committer->store, batch, &err);

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
        committer_count(committer, batch, clock_mono_us() - start_us);
        batch_finish(batch);
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

static void *committer_run(void *arg)
{
    struct committer *committer = arg;
    const struct config *config = committer->setup.config;
    int64_t wait_ms = BACKOFF_MS_MIN;
    struct submission *submissions;

    while ((submissions =
                queue_take(committer->queue, committer->bytes_min,
                           (uint32_t)config->batch_events_max, (size_t)config->batch_bytes_max))) {
        bool failed;

        committer->is_busy = true;
        committer_slow_down(committer);
        stats_set(committer->setup.stats, STAT_QUEUE_REQUESTS, queue_len(committer->queue));
        while (submissions) {
            submissions = committer_attempt(committer, submissions, &failed);
            if (!failed)
                wait_ms = BACKOFF_MS_MIN;
            if (submissions && failed)
                submissions = committer_expire(committer, submissions);
            if (submissions && failed)
                committer_back_off(committer, &wait_ms);
        }
        committer->is_busy = false;
    }
    return NULL;
}

struct committer *committer_start(const struct store_setup *setup, struct queue *queue,
                                  size_t bytes_min, const char *name)
{
    struct committer *committer = xcalloc(1, sizeof(*committer));
    pthread_condattr_t attr;

    committer->setup = *setup;
    committer->queue = queue;
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
    int64_t age_ms_max = committer_is_over(committer) ? 0 : COMMIT_HANGS_MS;

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
