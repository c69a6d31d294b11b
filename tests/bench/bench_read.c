/* All rows of a large table as NDJSON, beside psql's COPY of the same query. */
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tests/bench/bench.h"
#include "tests/bench/events.h"
#include "tests/bench/load.h"
#include "tests/bench/reader.h"

enum {
    ROWS = 1000000,
    ROWS_PER_LOAD = 250000,
    PER_REQUEST = 500,
    CONNECTIONS = 8,
    PLAN_LINES_MAX = 5
};

/* Through the daemon, so that they lie in batches of its making. */
static void rows_ingest(const struct daemon *daemon, int64_t rows)
{
    for (int64_t first = 0; first < rows; first += ROWS_PER_LOAD) {
        int64_t count = rows - first < ROWS_PER_LOAD ? rows - first : ROWS_PER_LOAD;
        AUTO(load_requests_done) struct load_requests requests;
        AUTO(load_result_done) struct load_result result;

        load_requests_init(&requests);
        events_write_batched(&requests, (uint64_t)first, (uint64_t)count, PER_REQUEST);
        load_run(&(struct load_options){ .port = daemon_port(daemon),
                                         .requests = &requests,
                                         .connections = CONNECTIONS },
                 &result);
    }
}

struct read_sides {
    struct bench_side ours, theirs, first;
};

static void read_rounds(struct bench *bench, const struct daemon *daemon, const char *dsn,
                        int64_t rows, struct read_sides *sides)
{
    AUTO(mem_free) char *url = daemon_url(daemon, "/v1/metrics");
    AUTO(mem_free)
    char *script = bench_read_script(bench, dsn, reader_drain, url, "COPY (", ") TO STDOUT");
    const char *const arguments[] = { "-Xq",  "-v", "ON_ERROR_STOP=1", "-d", dsn, "-f",
                                      script, "-o", "/dev/null",       NULL };
    struct bench_meter meter;

    for (int round = 0; round < BENCH_ROUNDS; round++) {
        struct reader_result result;
        double seconds;

        bench_meter_start(&meter, bench, daemon);
        reader_get(url, &result);
        bench_meter_stop(&meter, &sides->ours);
        ck_assert_int_eq(result.rows, rows);
        bench_side_add(&sides->ours, (double)rows / result.ms * 1e3);
        bench_side_add(&sides->first, result.first_ms);

        bench_meter_start(&meter, bench, NULL);
        seconds = bench_program_run("psql", arguments, NULL);
        bench_meter_stop(&meter, &sides->theirs);
        bench_side_add(&sides->theirs, (double)rows / seconds);
        bench_say("%.0f rows/s, the first after %.1f ms; psql %.0f rows/s",
                  sides->ours.values[round], result.first_ms, sides->theirs.values[round]);
    }
}

static void read_run(struct bench *bench)
{
    int64_t rows = bench_scaled(ROWS);
    AUTO(mem_free) char *measure = xasprintf("NDJSON read of %" PRId64 " rows", rows);
    AUTO(mem_free) char *dsn = bench_database_new(bench);
    struct daemon *daemon = bench_daemon_start(dsn);
    AUTO(mem_free) char *url = NULL;
    struct read_sides sides = { 0 };

    bench_say("writing %" PRId64 " rows", rows);
    rows_ingest(daemon, rows);
    pg_exec(dsn, "VACUUM ANALYZE"); /* what autovacuum would do in the middle of a round */
    read_rounds(bench, daemon, dsn, rows, &sides);
    bench_row(&(struct bench_row){ .measure = measure,
                                   .unit = "rows/s",
                                   .ours = &sides.ours,
                                   .against = "psql COPY (the same query)",
                                   .theirs = &sides.theirs,
                                   .want = BENCH_RATIO_MIN,
                                   .limit = 0.7 });
    url = daemon_url(daemon, "/v1/metrics");
    bench_note_plan(bench, dsn, reader_drain, url, PLAN_LINES_MAX);
    bench_row(&(struct bench_row){ .measure = "first row of that read",
                                   .unit = "ms",
                                   .decimals = 1,
                                   .ours = &sides.first,
                                   .want = BENCH_VALUE_MAX,
                                   .limit = 100 });
    bench_daemon_stop(bench, daemon);
}

int main(void)
{
    return bench_main("read", read_run);
}
