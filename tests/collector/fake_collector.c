#include "fake_collector.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/store_pool.h"
#include "collector/type_cache.h"
#include "tests/harness/certificate.h"

void fake_init(struct fake_collector *fake)
{
    *fake = (struct fake_collector){ .dsn = "", .is_ready = true };
    fake->config = (struct config){
        .listen = xstrdup("127.0.0.1:0"),
        .http_threads = 2,
        .connections_max = 64,
        .idle_timeout_ms = 30000,
        .request_timeout_ms = 30000,
        .commit_timeout_ms = 5000,
        .reads_max = 4,
        .read_stall_timeout_ms = 30000,
        .memory_bytes_max = 8 * 1024 * 1024,
        .body_bytes_max = 1024 * 1024,
        .metrics_bytes_max = 102400,
        .events_max = 10,
        .json_depth_max = 32,
        .event_ahead_ms_max = 86400000,
        .csv_columns_max = 10,
    };
    if (tls_wanted()) {
        fake->config.tls_certificate = xstrdup(tls_certificate()->path);
        fake->config.tls_key = xstrdup(tls_certificate()->key);
    }
}

static void fake_decide(struct fake_collector *fake, struct submission *submission)
{
    struct event_note conflict = { .code = "conflict",
                                   .field = (char[]){ "predictionUuid" },
                                   .message = (char[]){ "known with other content" } };
    struct event_list *list = &submission->list;
    bool is_conflict = fake->verdict == FAKE_CONFLICT && list->len > 0;

    if (is_conflict) {
        conflict.index = list->events[0].index;
        list->rejected[list->events[0].kind]++;
        event_notes_add(&list->rejects, &conflict);
    }
    submission->accepted = list->len - is_conflict;
    submission->batch_id = submission->accepted ? ++fake->batches : 0;
    if (fake->verdict == FAKE_NOT_STORED)
        submission->outcome = SUBMISSION_NOT_STORED;
    else if (fake->verdict == FAKE_UNKNOWN)
        submission->outcome = SUBMISSION_UNKNOWN;
    else
        submission->outcome = SUBMISSION_COMMITTED;
}

static void *fake_commit(void *arg)
{
    struct fake_committer *committer = arg;
    struct fake_collector *fake = committer->fake;
    struct submission *taken, *next;

    while ((taken = queue_take(committer->queue, 1, 10000, 1 << 20))) {
        pthread_mutex_lock(&fake->lock);
        for (struct submission *at = taken; at; at = at->next)
            fake->submissions++;
        pthread_cond_broadcast(&fake->changed);
        while (fake->is_held)
            pthread_cond_wait(&fake->changed, &fake->lock);
        for (struct submission *at = taken; at; at = at->next)
            fake_decide(fake, at);
        pthread_mutex_unlock(&fake->lock);
        for (; taken; taken = next) {
            next = taken->next; /* done() may free it */
            taken->done(taken);
        }
    }
    return NULL;
}

static void fake_committer_start(struct fake_collector *fake, struct fake_committer *committer,
                                 struct queue *queue)
{
    committer->fake = fake;
    committer->queue = queue;
    ck_assert_int_eq(pthread_create(&committer->thread, NULL, fake_commit, committer), 0);
}

static void fake_committer_stop(struct fake_committer *committer)
{
    queue_close(committer->queue);
    pthread_join(committer->thread, NULL);
    queue_free(committer->queue);
}

static bool fake_is_ready(void *ctx, struct buf *why)
{
    struct fake_collector *fake = ctx;

    if (!fake->is_ready)
        buf_append_text(why, "no connection to the database");
    return fake->is_ready;
}

void fake_start(struct fake_collector *fake)
{
    struct http_setup setup = { .config = &fake->config,
                                .ready = fake_is_ready,
                                .ready_ctx = fake };
    struct err err = { 0 };

    setup.budget = fake->budget = budget_new((size_t)fake->config.memory_bytes_max);
    setup.pool = fake->pool = store_pool_new(fake->dsn);
    setup.stats = fake->stats = stats_new();
    setup.queue = fake->queue = queue_new();
    setup.graph_queue = fake->graph_queue = queue_new();
    setup.types = fake->types = type_cache_new();
    setup.keyring = fake->keyring;
    fake_reads_forget();
    pthread_mutex_init(&fake->lock, NULL);
    pthread_cond_init(&fake->changed, NULL);
    fake_committer_start(fake, &fake->committer, fake->queue);
    fake_committer_start(fake, &fake->graph_committer, fake->graph_queue);
    fake->http = http_start(&setup, &err);
    ck_assert_msg(fake->http != NULL, "%s", err.text);
    fake->address = http_address(fake->http);
}

void fake_stop(struct fake_collector *fake)
{
    http_stop(fake->http);
    fake_committer_stop(&fake->committer);
    fake_committer_stop(&fake->graph_committer);
    store_pool_free(fake->pool);
    type_cache_free(fake->types);
    stats_free(fake->stats);
    budget_free(fake->budget);
    pthread_cond_destroy(&fake->changed);
    pthread_mutex_destroy(&fake->lock);
    free(fake->config.listen);
    free(fake->config.tls_certificate);
    free(fake->config.tls_key);
}

void fake_hold(struct fake_collector *fake, bool is_held)
{
    pthread_mutex_lock(&fake->lock);
    fake->is_held = is_held;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
}

void fake_set_verdict(struct fake_collector *fake, enum fake_verdict verdict)
{
    pthread_mutex_lock(&fake->lock);
    fake->verdict = verdict;
    pthread_mutex_unlock(&fake->lock);
}

void fake_wait_submissions(struct fake_collector *fake, uint32_t submissions)
{
    pthread_mutex_lock(&fake->lock);
    while (fake->submissions < submissions)
        pthread_cond_wait(&fake->changed, &fake->lock); /* check's own time-out ends it */
    pthread_mutex_unlock(&fake->lock);
}
