/* Many events a request, beside psql's binary \copy of the rows that came of them. */
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tests/bench/bench.h"
#include "tests/bench/events.h"
#include "tests/bench/load.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"

enum { EVENTS = 500000, PER_REQUEST = 500, CONNECTIONS = 8, REPLAY_MS_MAX = 300000 };

static void daemon_ingest(struct bench *bench, const struct load_requests *requests, int64_t events,
                          const char *path, struct bench_side *side)
{
    AUTO(mem_free) char *dsn = bench_database_new(bench);
    struct daemon *daemon = bench_daemon_start(dsn);
    AUTO(load_result_done) struct load_result result;
    struct bench_meter meter;

    bench_meter_start(&meter, bench, daemon);
    load_run(&(struct load_options){ .port = daemon_port(daemon),
                                     .requests = requests,
                                     .connections = CONNECTIONS },
             &result);
    bench_meter_stop(&meter, side);
    bench_side_add(side, (double)events / result.seconds);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM prediction"), events);
    bench_daemon_stop(bench, daemon);
    bench_rows_out(dsn, path);
    bench_database_drop(bench, dsn);
}

/* The same, and one event in front that waits for spool_after_ms, while Postgres is stopped. What
 * was answered is all there when it is back. */
static void daemon_spool(struct bench *bench, const struct load_requests *requests, int64_t events,
                         struct bench_side *side)
{
    AUTO(mem_free) char *dsn = bench_database_new(bench);
    struct daemon *daemon = bench_daemon_start(dsn);
    AUTO(load_requests_done) struct load_requests first;
    AUTO(load_result_done) struct load_result before = { 0 };
    AUTO(load_result_done) struct load_result result = { 0 };
    struct load_options options = {
        .port = daemon_port(daemon), .requests = &first, .connections = 1, .status = 202
    };

    load_requests_init(&first);
    events_write_batched(&first, (uint64_t)events, 1, 1);
    pg_stop(bench_pg(bench), PG_STOP_FAST);
    load_run(&options, &before);
    options.requests = requests;
    options.connections = CONNECTIONS;
    load_run(&options, &result);
    bench_side_add(side, (double)events / result.seconds);
    pg_resume(bench_pg(bench));
    WAIT_UNTIL(REPLAY_MS_MAX, daemon_metric(daemon, "plumbline_spool_groups") == 0);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM prediction"), events + 1);
    bench_daemon_stop(bench, daemon);
    bench_database_drop(bench, dsn);
}

static void ingest_run(struct bench *bench)
{
    int64_t events = bench_scaled(EVENTS);
    AUTO(load_requests_done) struct load_requests requests;
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/rows", dir);
    struct bench_side ours = { 0 }, theirs = { 0 }, spool = { 0 }, rate;

    load_requests_init(&requests);
    events_write_batched(&requests, 0, (uint64_t)events, PER_REQUEST);
    for (int round = 0; round < BENCH_ROUNDS; round++) {
        daemon_ingest(bench, &requests, events, path, &ours);
        bench_rows_in(bench, events, path, &theirs);
        bench_say("%.0f events/s, psql \\copy %.0f rows/s", ours.values[round],
                  theirs.values[round]);
    }
    for (int round = 0; round < BENCH_ROUNDS; round++) { /* each stops and starts the server */
        daemon_spool(bench, &requests, events, &spool);
        bench_say("%.0f events/s into the spool", spool.values[round]);
    }
    rate = ours;
    rate.cpu = (struct bench_cpu){ 0 }; /* stands in the row before */
    bench_row(&(struct bench_row){ .measure = "batched ingest, 500 events a request, "
                                              "8 connections",
                                   .unit = "events/s",
                                   .ours = &ours,
                                   .against = "psql binary \\copy",
                                   .theirs = &theirs,
                                   .want = BENCH_RATIO_MIN,
                                   .limit = 0.6,
                                   .aim = 0.9 });
    bench_row(&(struct bench_row){ .measure = "the same into the spool, Postgres away",
                                   .unit = "events/s",
                                   .ours = &spool,
                                   .against = "into Postgres",
                                   .theirs = &rate });
}

int main(void)
{
    return bench_main("ingest", ingest_run);
}
