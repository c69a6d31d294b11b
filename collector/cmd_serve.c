/* plumbline serve: the daemon. Configuration, database, threads; then wait for signals; then all
 * of it backwards. */
#include "cmd_internal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "atlas/type_def.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "collector/budget.h"
#include "collector/catalog.h"
#include "collector/committer.h"
#include "collector/crash_point.h"
#include "collector/http.h"
#include "collector/kafka.h"
#include "collector/kafka_publish.h"
#include "collector/key_store.h"
#include "collector/maintenance.h"
#include "collector/notify.h"
#include "collector/pg_local.h"
#include "collector/queue.h"
#include "collector/spool.h"
#include "collector/spooler.h"
#include "collector/store.h"
#include "collector/store_partition_internal.h"
#include "collector/store_pool.h"
#include "collector/tag_cache.h"
#include "collector/type_cache.h"
#include "collector/version.h"
#include "options_internal.h"

enum {
    TICK_MS = 100,
    KEEP_MS = 1000,
    DRAIN_STEP_MS = 50,
    TICKER_LATE_MS = 10000, /* beyond it the watchdog is not told that all is well */
    COMMITTERS_MAX = 16,
    /* A look at the keys that takes longer is broken off, so that the next one, a second later,
     * still is within the 5 seconds in which a revocation counts. */
    KEYS_MS_MAX = 2000,
    /* What has to wait before a second committer helps: small batches are best left to grow, since
     * each costs Postgres about as much as a hundred rows. */
    COMMITTER_LOAD_BYTES = 64 * 1024,
    SERVE_NAMES_BYTES_MAX = 1500, /* of keys in a line of the log */
};

struct serve_options {
    struct options_config config;
};

static const struct option_row serve_rows[] = {
    OPTIONS_CONFIG_ROWS(struct serve_options),
    OPTIONS_LISTEN_ROW(struct serve_options),
    { 0 },
};

static const struct command_line serve_line = {
    .name = "serve",
    .operands = "",
    .summary =
        "Collects metrics over HTTP, keeps them in Postgres and answers questions about them.",
    .notes =
        "SIGTERM and SIGINT finish what has begun and stop, a second one stops at once; SIGHUP "
        "reads\nthe configuration and the certificate again.",
    .rows = serve_rows,
};

/* A configuration that SIGHUP put in force. Requests go on with the one they began with, so none is
 * freed before the end; one is about a kilobyte. */
struct serve_config {
    struct serve_config *next;
    struct config config;
};

/* Everything that lives as long as the daemon. */
struct serve {
    const struct options_config *options;
    const struct config *config; /* the one it was started with */
    const struct config *live;   /* the one in force: `config`, or that of `reloaded` */
    struct serve_config *reloaded;
    struct notify notify;
    int signals;
    int64_t watchdog_mono_ms; /* when it was told last */
    _Atomic int64_t ticked_mono_ms;
    struct cmd_database database;
    struct stats *stats;
    struct budget *budget;
    struct catalog *catalog;
    struct partitions *partitions;
    struct queue *queue, *graph_queue;
    struct queue *hook_queue; /* NULL: no messages of hooks come by Kafka */
    struct spool *spool;      /* NULL: none is wanted */
    struct spooler *spooler;  /* likewise */
    struct type_cache *types;
    struct tag_cache *tags;
    struct committer *committers[COMMITTERS_MAX + 2]; /* behind: of graph_queue and hook_queue */
    size_t committers_len;
    struct maintenance *maintenance;
    struct maintenance *folding;
    struct maintenance *relay;   /* NULL: no messages are published */
    struct publisher *publisher; /* likewise */
    struct keyring *keyring;     /* NULL: keys are off */
    struct maintenance *keys;    /* likewise */
    struct store_pool *pool;     /* of reads */
    struct http *http;
    struct kafka *kafka; /* NULL: no brokers are configured */
    pthread_t ticker;
    _Atomic bool ticker_stops;
};

static bool serve_ready(void *ctx, struct buf *why)
{
    const struct serve *serve = ctx;

    if (serve->kafka && !kafka_is_up(serve->kafka))
        buf_append_text(why,
                        "no Kafka broker can be reached or trusted, event=kafka_down in the log "
                        "says why: events come by HTTP only");
    /* the first one takes whatever comes, the others only help */
    if (committer_is_up(serve->committers[0], maintenance_round_ms(serve->maintenance)))
        return true;
    buf_clear(why);
    if (serve->spool && spool_is_usable(serve->spool)) {
        buf_append_text(why, "Postgres can't be reached: metrics go to the spool, lineage events "
                             "get 503");
        return true;
    }
    buf_append_text(why, serve->spool ? "Postgres can't be reached, and the spool is full or its "
                                        "disk has failed: events are not stored"
                                      : "Postgres can't be reached: events are not committed");
    return false;
}

/* Runs until the committers have ended, so that a hanging connection can't keep the daemon from
 * stopping. */
static void *serve_tick(void *arg)
{
    struct serve *serve = arg;
    struct timespec pause = { 0, TICK_MS * 1000000L };

    while (!serve->ticker_stops) {
        int64_t now_ms = clock_mono_ms();

        for (size_t i = 0; i < serve->committers_len; i++)
            committer_tick(serve->committers[i], now_ms);
        serve->ticked_mono_ms = now_ms;
        maintenance_tick(serve->keys, now_ms, KEYS_MS_MAX);
        stats_set(serve->stats, STAT_BUDGET_BYTES, (int64_t)budget_used(serve->budget));
        if (serve->spool)
            spool_measure(serve->spool, clock_now_ms());
        (void)nanosleep(&pause, NULL);
    }
    return NULL;
}

static void serve_start_threads(struct serve *serve)
{
    struct store_setup setup = { serve->database.dsn, serve->config, serve->catalog,
                                 serve->partitions,   serve->stats,  serve->types,
                                 serve->publisher,    serve->keyring };

    for (int64_t i = 0; i < serve->config->committers; i++)
        serve->committers[serve->committers_len++] =
            committer_start(&setup, serve->queue, serve->spool, i == 0 ? 1 : COMMITTER_LOAD_BYTES,
                            "metrics");
    if (serve->spool)
        serve->spooler = spooler_start(serve->config, serve->queue, serve->spool, serve->stats);
    serve->committers[serve->committers_len++] =
        committer_start(&setup, serve->graph_queue, NULL, 1, "graph");
    if (serve->hook_queue)
        serve->committers[serve->committers_len++] =
            committer_start(&setup, serve->hook_queue, NULL, 1, "hooks");
    serve->maintenance = maintenance_start(&setup, "maintenance", store_maintain);
    if (serve->config->rollups)
        serve->folding = maintenance_start(&setup, "fold", store_fold);
    if (serve->publisher)
        serve->relay = maintenance_start(&setup, "relay", store_relay);
    if (serve->keyring)
        serve->keys = maintenance_start(&setup, "keys", store_keys);
    if (pthread_create(&serve->ticker, NULL, serve_tick, serve) != 0) {
        log_error("event=thread_failed name=ticker");
        abort();
    }
}

/* Before anybody may ask with one. */
static int serve_start_keys(struct serve *serve, struct err *err)
{
    if (!config_asks_for_keys(serve->config))
        return 0;
    serve->keyring = keyring_new();
    if (keyring_load(serve->keyring, serve->database.dsn, err) < 0)
        return -1;
    if (!keyring_len(serve->keyring))
        log_warn("event=no_keys hint=\"nobody can send or read anything: make one with plumbline "
                 "key create\"");
    return 0;
}

static int serve_open_spool(struct serve *serve, struct err *err)
{
    const struct config *config = serve->config;
    AUTO(mem_free) char *dir = config_spool_dir(config);
    const struct spool_setup setup = { .dir = dir,
                                       .bytes_max = config->spool_bytes_max,
                                       .group_events_max = config->batch_events_max,
                                       .group_bytes_max = config->batch_bytes_max,
                                       .stats = serve->stats };

    if (!config->spool_bytes_max)
        return spool_check_unused(dir, err);
    serve->spool = spool_open(&setup, err);
    if (!serve->spool)
        return -1;
    queue_set_spool(serve->queue, serve->spool, config_spool_after_ms(config));
    return 0;
}

static int serve_start(struct serve *serve, struct err *err)
{
    struct http_setup http = { .config = serve->config, .ready = serve_ready, .ready_ctx = serve };
    struct kafka_setup kafka = { .config = serve->config };

    if (http_prepare(serve->config, err) < 0 ||
        cmd_database_own(&serve->database, serve->config, err) < 0 ||
        store_migrate(serve->database.dsn, serve->config, err) < 0)
        return -1;
    serve->stats = stats_new();
    serve->budget = budget_new((size_t)serve->config->memory_bytes_max);
    serve->catalog = catalog_new();
    serve->partitions = partitions_new(serve->config);
    serve->types = type_cache_new();
    serve->tags = tag_cache_new(serve->budget, config_tag_bytes(serve->config));
    serve->queue = queue_new();
    serve->graph_queue = queue_new();
    if (serve->config->kafka_brokers && serve->config->kafka_hook_topic)
        serve->hook_queue = queue_new();
    if (serve_open_spool(serve, err) < 0)
        return -1;
    if (config_publishes(serve->config) && !(serve->publisher = publisher_new(serve->config, err)))
        return -1;
    if (serve_start_keys(serve, err) < 0)
        return -1;
    serve_start_threads(serve);
    kafka.budget = serve->budget;
    kafka.stats = serve->stats;
    kafka.queue = serve->queue;
    kafka.graph_queue = serve->graph_queue;
    kafka.hook_queue = serve->hook_queue;
    kafka.types = serve->types;
    kafka.dsn = serve->database.dsn;
    if (serve->config->kafka_brokers && !(serve->kafka = kafka_start(&kafka, err)))
        return -1;
    http.budget = serve->budget;
    http.stats = serve->stats;
    http.queue = serve->queue;
    http.graph_queue = serve->graph_queue;
    http.pool = serve->pool = store_pool_new(serve->database.dsn);
    http.types = serve->types;
    http.tags = serve->tags;
    http.keyring = serve->keyring;
    http.spool = serve->spool;
    serve->http = http_start(&http, err);
    return serve->http ? 0 : -1;
}

/* The ticker needs the committers, and they may need it to get away from a connection that
 * hangs. */
static void serve_join(struct serve *serve)
{
    spooler_join(serve->spooler);
    for (size_t i = 0; i < serve->committers_len; i++)
        committer_join(serve->committers[i]);
    serve->ticker_stops = true;
    (void)pthread_join(serve->ticker, NULL);
    for (size_t i = 0; i < serve->committers_len; i++)
        committer_free(serve->committers[i]);
    maintenance_stop(serve->maintenance);
    maintenance_stop(serve->folding);
    maintenance_stop(serve->relay);
    maintenance_stop(serve->keys);
}

/* ---- signals, and the service manager */

/* The signal that came within `ms`, with where it came from; 0: none. */
static uint32_t serve_signal(const struct serve *serve, int ms, int32_t *code)
{
    struct pollfd poll_signals = { .fd = serve->signals, .events = POLLIN };
    struct signalfd_siginfo info;

    if (poll(&poll_signals, 1, ms) <= 0 ||
        read(serve->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return 0;
    *code = info.ssi_code;
    return info.ssi_signo;
}

/* Twice in each of its periods, as long as the thread that looks after the committers goes
 * round. */
static void serve_watchdog(struct serve *serve)
{
    int64_t now_ms = clock_mono_ms();

    if (!serve->notify.watchdog_ms ||
        now_ms - serve->watchdog_mono_ms < serve->notify.watchdog_ms / 2 ||
        now_ms - serve->ticked_mono_ms > TICKER_LATE_MS)
        return;
    notify_send(&serve->notify, "WATCHDOG=1");
    serve->watchdog_mono_ms = now_ms;
}

static int serve_step_ms(const struct serve *serve)
{
    int64_t half_ms = serve->notify.watchdog_ms / 4;

    return half_ms && half_ms < KEEP_MS ? (int)half_ms + 1 : KEEP_MS;
}

/* What a reload would make of it: owned by the caller on success. */
static int serve_config_load(const struct serve *serve, struct config *merged, struct buf *changed,
                             struct buf *kept, struct err *err)
{
    struct config fresh;
    int rc;

    if (options_config_load(&fresh, serve->options, err) < 0)
        return -1;
    config_merge(merged, serve->live, &fresh, changed, kept);
    config_done(&fresh);
    rc = config_check(merged, err);
    if (rc < 0)
        config_done(merged);
    return rc;
}

/* All of it or nothing: with a file that can't be used everything stays as it is. */
static int serve_reload_try(struct serve *serve, struct buf *changed, struct buf *kept,
                            struct err *err)
{
    struct serve_config *next = xcalloc(1, sizeof(*next));

    if (serve_config_load(serve, &next->config, changed, kept, err) < 0) {
        free(next);
        return -1;
    }
    if (http_reload(serve->http, changed->len ? &next->config : serve->live, err) < 0) {
        config_done(&next->config);
        free(next);
        return -1;
    }
    if (!changed->len) {
        config_done(&next->config);
        free(next);
        return 0;
    }
    next->next = serve->reloaded;
    serve->reloaded = next;
    serve->live = &next->config;
    kafka_reload(serve->kafka, serve->live);
    log_level_set(serve->live->log_level);
    return 0;
}

static void serve_reload(struct serve *serve)
{
    AUTO(buf_done) struct buf changed;
    AUTO(buf_done) struct buf kept;
    struct err err = { 0 };

    buf_init(&changed, SERVE_NAMES_BYTES_MAX);
    buf_init(&kept, SERVE_NAMES_BYTES_MAX);
    notify_send(&serve->notify, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_mono_us());
    if (serve_reload_try(serve, &changed, &kept, &err) == 0) {
        stats_add(serve->stats, STAT_RELOADS, 1);
        log_info("event=reloaded changed=\"%s\" needs_restart=\"%s\"", buf_text(&changed),
                 buf_text(&kept));
    } else {
        stats_add(serve->stats, STAT_RELOADS_FAILED, 1);
        log_error("event=reload_failed action=\"everything stays as it was\" err=\"%s\"", err.text);
    }
    notify_send(&serve->notify, "READY=1");
}

/* ---- the end */

/* Lets requests finish; a second signal ends the wait. The moment until which the committers may
 * try. */
static int64_t serve_drain(struct serve *serve)
{
    int64_t deadline_ms = clock_mono_ms() + serve->live->drain_timeout_ms, now_ms;

    kafka_drain(serve->kafka);
    while (serve->http && (now_ms = clock_mono_ms()) < deadline_ms) {
        int64_t step_ms = now_ms + DRAIN_STEP_MS;
        uint32_t signal;
        int32_t code;

        if (http_drain(serve->http, step_ms < deadline_ms ? step_ms : deadline_ms))
            break;
        serve_watchdog(serve);
        signal = serve_signal(serve, 0, &code);
        if (signal == SIGTERM || signal == SIGINT) {
            log_warn("event=stopping_now signal=%u", signal);
            return clock_mono_ms();
        }
    }
    return deadline_ms;
}

static void serve_configs_free(struct serve *serve)
{
    while (serve->reloaded) {
        struct serve_config *next = serve->reloaded->next;

        config_done(&serve->reloaded->config);
        free(serve->reloaded);
        serve->reloaded = next;
    }
}

/* In the order of the way of an event: no new requests, what is queued committed, answers sent,
 * connections closed. */
static void serve_stop(struct serve *serve)
{
    int64_t deadline_ms;

    notify_send(&serve->notify, "STOPPING=1");
    deadline_ms = serve_drain(serve);
    if (serve->committers_len) {
        for (size_t i = 0; i < serve->committers_len; i++)
            committer_drain(serve->committers[i], deadline_ms);
        http_stop(TAKE(serve->http));
        queue_close(serve->queue);
        queue_close(serve->graph_queue);
        if (serve->hook_queue)
            queue_close(serve->hook_queue);
        kafka_stop(TAKE(serve->kafka)); /* what waited behind the spool has been given back */
        serve_join(serve);
    }
    publisher_free(serve->publisher);
    store_pool_free(serve->pool);
    keyring_free(serve->keyring);
    cmd_database_close(&serve->database);
    queue_free(serve->queue);
    queue_free(serve->graph_queue);
    queue_free(serve->hook_queue);
    tag_cache_free(serve->tags);
    spool_free(serve->spool);
    type_cache_free(serve->types);
    partitions_free(serve->partitions);
    catalog_free(serve->catalog);
    budget_free(serve->budget);
    stats_free(serve->stats);
    serve_configs_free(serve);
}

static void serve_announce(const struct serve *serve)
{
    const char *address = http_address(serve->http);
    const char *curl = serve->config->tls_certificate ? "curl --cacert CA.pem https" : "curl http";

    log_info("event=serving address=%s version=%s postgres=%s", address, PLUMBLINE_VERSION,
             serve->database.local ? "private" : "configured");
    notify_send(&serve->notify, "READY=1\nSTATUS=serving on %s", address);
    (void)printf("try:\n"
                 "  %s://%s/track-metrics -d "
                 "'{\"modelDeploymentCrn\":\"crn:demo\",\"predictionUuid\":"
                 "\"0b5c8a4e-6d0f-4c1b-9a37-2f1e8d7c6b5a\",\"startTimestampMs\":1596185125125,"
                 "\"endTimestampMs\":1596185125233,\"metrics\":{\"probability\":0.348}}'\n"
                 "  %s://%s/track-delayed-metrics -d '{\"predictionUuid\":"
                 "\"0b5c8a4e-6d0f-4c1b-9a37-2f1e8d7c6b5a\",\"metrics\":{\"final_label\":false}}'\n"
                 "  %s://%s/read-metrics -d '{\"modelDeploymentCrn\":\"crn:demo\"}'\n",
                 curl, address, curl, address, curl, address);
    (void)fflush(stdout);
}

static void serve_keep_postgres(struct serve *serve)
{
    struct err err = { 0 };

    if (!serve->database.local)
        return;
    switch (pg_local_keep(serve->database.local, &err)) {
    case 0:
        break;
    case 1:
        log_warn("event=postgres_restarted log=%s", pg_local_log_path(serve->database.local));
        break;
    default:
        log_error("event=postgres_down action=retry log=%s err=\"%s\"",
                  pg_local_log_path(serve->database.local), err.text);
    }
}

/* Waits for a signal that ends the daemon; looks after the private Postgres meanwhile. A SIGHUP of
 * the kernel's is no request to reload: the terminal that the daemon runs in is gone. */
static void serve_wait(struct serve *serve)
{
    for (;;) {
        int32_t code = 0;
        uint32_t signal = serve_signal(serve, serve_step_ms(serve), &code);

        if (signal == SIGHUP && code != SI_KERNEL) {
            serve_reload(serve);
        } else if (signal) {
            log_info("event=stopping signal=%u", signal);
            return;
        }
        serve_watchdog(serve);
        serve_keep_postgres(serve);
    }
}

/* Before the first thread, so that all inherit the mask and signals come through the descriptor
 * alone. */
static int serve_block_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int serve_run(const struct config *config, const struct options_config *options,
                     struct err *err)
{
    struct serve serve = { .options = options, .config = config, .live = config };
    int rc;

    notify_init(&serve.notify);
    serve.signals = serve_block_signals();
    log_level_set(config->log_level);
    rc = serve_start(&serve, err);
    if (rc == 0) {
        serve_announce(&serve);
        serve_wait(&serve);
    }
    serve_stop(&serve);
    (void)close(serve.signals);
    return rc;
}

int cmd_serve(int argc, char **argv)
{
    struct serve_options options = { 0 };
    struct config config;
    struct err err = { 0 };
    int code, rc;

    if (options_begin(&serve_line, argc, argv, &options, &code) < 0)
        return code;
    if (crash_point_arm(getenv("PLUMBLINE_FAULT"), &err) < 0 ||
        options_config_load(&config, &options.config, &err) < 0)
        return cmd_fail("serve", &err);
    rc = serve_run(&config, &options.config, &err);
    config_done(&config);
    if (rc < 0)
        return cmd_fail("serve", &err);
    log_info("event=stopped");
    return CMD_DONE;
}
