/* One event a request, as model replicas send them, beside pgbench's INSERT of the same row. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/bench/bench.h"
#include "tests/bench/events.h"
#include "tests/bench/load.h"
#include "tests/harness/temp.h"

enum {
    SECONDS = 8,
    CONNECTIONS = 64,
    REQUESTS_PER_SECOND_MAX = 50000, /* as many are written before */
};

struct single {
    struct bench *bench;
    struct load_requests requests;
    double seconds;
};

struct way {
    bool fresh;           /* a new connection each time */
    bool without_rollups; /* in a database that was made so */
    double rate;          /* requests a second; 0: as fast as it goes */
};

/* A run on a database of its own. Returns requests a second; *p99_ms may be NULL. */
static double single_load(struct single *single, const struct way *way, struct bench_side *side,
                          double *p99_ms)
{
    AUTO(mem_free) char *dsn = bench_database_new(single->bench);
    AUTO(load_result_done) struct load_result result;
    struct daemon *daemon =
        way->without_rollups ? bench_daemon_start_bare(dsn) : bench_daemon_start(dsn);
    struct bench_meter meter;

    bench_meter_start(&meter, single->bench, daemon);
    load_run(&(struct load_options){ .port = daemon_port(daemon),
                                     .requests = &single->requests,
                                     .connections = CONNECTIONS,
                                     .fresh = way->fresh,
                                     .rate = way->rate,
                                     .seconds_max = single->seconds },
             &result);
    bench_meter_stop(&meter, side);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM prediction"), (int64_t)result.answers);
    bench_daemon_stop(single->bench, daemon);
    bench_database_drop(single->bench, dsn);
    if (p99_ms)
        *p99_ms = load_result_ms(&result, 0.99);
    return (double)result.answers / result.seconds;
}

/* ---- pgbench ---- */

/* The row of one event. JSON with a space after each colon, or pgbench takes what follows for a
 * variable. batch_id grows with time, so that the index of insertion grows at the same places as
 * the daemon's. */
static void script_write(const char *path)
{
    FILE *file = fopen(path, "w");
    AUTO(buf_done) struct buf metrics;

    ck_assert_ptr_nonnull(file);
    buf_init(&metrics, SIZE_MAX);
    event_write_metrics(&metrics, 1);
    (void)fprintf(file,
                  "\\set deployment random(1, %d)\n"
                  "\\set ms random(0, 86400000)\n"
                  "INSERT INTO prediction (batch_id, start_at, end_at, deployment, ordinal, uuid,"
                  " failed, replica, metrics)"
                  " VALUES ((extract(epoch FROM clock_timestamp()) * 1000)::bigint,"
                  " to_timestamp(%" PRId64 ") + :ms * interval '1 ms',"
                  " to_timestamp(%" PRId64 ") + (:ms + 108) * interval '1 ms',"
                  " :deployment, 0, gen_random_uuid(), false, NULL, '",
                  EVENT_DEPLOYMENTS, EVENT_WEEK_MS / 1000, EVENT_WEEK_MS / 1000);
    for (size_t i = 0; i < metrics.len; i++)
        (void)fprintf(file, metrics.data[i] == ':' ? "%c " : "%c", metrics.data[i]);
    (void)fprintf(file, "');\n");
    ck_assert_int_eq(fclose(file), 0);
}

/* The number behind a label of pgbench's report. */
static double pgbench_number(const char *output, const char *label)
{
    const char *line = strstr(output, label);

    ck_assert_msg(line != NULL, "pgbench: %s", output);
    return strtod(line + strlen(label), NULL);
}

static double single_pgbench(struct single *single, const char *script, struct bench_side *side)
{
    AUTO(mem_free) char *dsn = bench_database_new(single->bench);
    AUTO(mem_free) char *clients = xasprintf("%d", CONNECTIONS);
    AUTO(mem_free) char *seconds = xasprintf("%.0f", single->seconds < 1 ? 1 : single->seconds);
    AUTO(mem_free) char *output = NULL;
    const char *const arguments[] = { "-n", "-M",    "prepared", "-c",   clients, "-j", "2",
                                      "-T", seconds, "-f",       script, dsn,     NULL };
    struct bench_meter meter;

    bench_meter_start(&meter, single->bench, NULL);
    (void)bench_program_run("pgbench", arguments, &output);
    bench_meter_stop(&meter, side);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM prediction"),
                     (int64_t)pgbench_number(output, "transactions actually processed: "));
    bench_database_drop(single->bench, dsn);
    return pgbench_number(output, "\ntps = ");
}

/* ---- rows ---- */

/* Returns the requests a second for the half load. */
static double single_keepalive(struct single *single)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *script = xasprintf("%s/insert.sql", dir);
    struct bench_side ours = { 0 }, theirs = { 0 }, bare = { 0 };

    script_write(script);
    for (int round = 0; round < BENCH_ROUNDS; round++) {
        bench_side_add(&ours, single_load(single, &(struct way){ 0 }, &ours, NULL));
        bench_side_add(&theirs, single_pgbench(single, script, &theirs));
        bench_side_add(&bare,
                       single_load(single, &(struct way){ .without_rollups = true }, &bare, NULL));
        bench_say("%.0f requests/s, pgbench %.0f inserts/s, without rollups %.0f",
                  ours.values[round], theirs.values[round], bare.values[round]);
    }
    bench_row(&(struct bench_row){ .measure = "one event a request, 64 keep-alive connections",
                                   .unit = "requests/s",
                                   .ours = &ours,
                                   .against = "pgbench, 64 clients",
                                   .theirs = &theirs,
                                   .want = BENCH_RATIO_MIN,
                                   .limit = 1.5,
                                   .aim = 2.2 });
    bench_row(&(struct bench_row){ .measure = "the same in a database without rollups",
                                   .unit = "requests/s",
                                   .ours = &bare,
                                   .against = "pgbench, 64 clients",
                                   .theirs = &theirs,
                                   .want = BENCH_RATIO_MIN,
                                   .limit = 1.5,
                                   .aim = 2.2 });
    return bench_side_median(&ours);
}

static void single_fresh(struct single *single)
{
    struct bench_side side = { 0 };

    for (int round = 0; round < BENCH_ROUNDS; round++) {
        bench_side_add(&side, single_load(single, &(struct way){ .fresh = true }, &side, NULL));
        bench_say("%.0f requests/s, each over a new connection", side.values[round]);
    }
    bench_row(&(struct bench_row){ .measure = "the same with a new connection each time",
                                   .unit = "requests/s",
                                   .ours = &side });
}

static void single_half(struct single *single, double rate)
{
    AUTO(mem_free)
    char *measure = xasprintf("p99 of one event a request at %.0f requests/s", rate);
    struct bench_side side = { 0 };

    for (int round = 0; round < BENCH_ROUNDS; round++) {
        double p99_ms;

        (void)single_load(single, &(struct way){ .rate = rate }, &side, &p99_ms);
        bench_side_add(&side, p99_ms);
        bench_say("p99 %.1f ms at half that load", p99_ms);
    }
    bench_row(&(struct bench_row){ .measure = measure,
                                   .unit = "ms",
                                   .decimals = 1,
                                   .ours = &side,
                                   .want = BENCH_VALUE_MAX,
                                   .limit = 25 });
}

static void single_run(struct bench *bench)
{
    struct single single = { .bench = bench,
                             .seconds = (double)bench_scaled(SECONDS * 1000) / 1e3 };

    load_requests_init(&single.requests);
    events_write_single(&single.requests, 0, (uint64_t)(single.seconds * REQUESTS_PER_SECOND_MAX));
    double rate = single_keepalive(&single);
    single_fresh(&single);
    single_half(&single, rate / 2);
    load_requests_done(&single.requests);
}

int main(void)
{
    return bench_main("single", single_run);
}
