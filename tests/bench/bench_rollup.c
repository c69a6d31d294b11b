/* What rollups cost: batched ingest with them beside the same without, the rate that folding keeps
 * up with, and the room that they take. */
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tests/bench/bench.h"
#include "tests/bench/events.h"
#include "tests/bench/load.h"
#include "tests/harness/wait.h"

enum {
    EVENTS = 300000,
    PER_REQUEST = 500,
    CONNECTIONS = 8,
    WARM_ROUNDS = 8,
    LIVE_PER_SECOND = 50000, /* of event time, when events are sent as they happen */
    PAST_PER_SECOND = 10,
    FOLD_SECONDS = 30,
    FOLD_SLICES = 30,
    DRAIN_MS_MAX = 300000,
};

/* ---- a database ---- */

struct rollup_side {
    struct bench *bench;
    char *dsn;
    struct daemon *daemon;
    int64_t warm; /* events that were there before the clock */
};

/* Without: in a database that was made so. */
static void side_open(struct rollup_side *side, struct bench *bench, bool with)
{
    *side = (struct rollup_side){ .bench = bench, .dsn = bench_database_new(bench) };
    side->daemon = with ? bench_daemon_start(side->dsn) : bench_daemon_start_bare(side->dsn);
}

static void side_close(struct rollup_side *side)
{
    bench_daemon_stop(side->bench, side->daemon);
    bench_database_drop(side->bench, side->dsn);
    free(side->dsn);
}

/* Sends them all, at `rate` requests a second; 0: as fast as it goes. Returns seconds. */
static double side_send(struct rollup_side *side, const struct load_requests *requests, double rate)
{
    AUTO(load_result_done) struct load_result result;

    load_run(&(struct load_options){ .port = daemon_port(side->daemon),
                                     .requests = requests,
                                     .connections = CONNECTIONS,
                                     .rate = rate },
             &result);
    return result.seconds;
}

static int64_t side_pending(const struct rollup_side *side)
{
    return pg_query_i64(side->dsn, "SELECT count(*) FROM rollup_delta");
}

/* Some events of each deployment, so that the catalog and the names of metrics are made before the
 * clock, and known to each committer. */
static void side_warm(struct rollup_side *side, const struct event_stream *stream)
{
    AUTO(load_requests_done) struct load_requests requests;

    side->warm = WARM_ROUNDS * stream->deployments;
    load_requests_init(&requests);
    events_write_stream(&requests, stream, 0, (uint64_t)side->warm, PER_REQUEST);
    (void)side_send(side, &requests, 0);
    WAIT_UNTIL(DRAIN_MS_MAX, side_pending(side) == 0);
}

/* ---- ingest ---- */

static const struct rollup_case {
    const char *measure;
    struct event_stream stream;
    enum bench_want want;
    double limit;
} rollup_cases[] = {
    { "batched ingest with rollups, 100 deployments, as events happen",
      { 100, LIVE_PER_SECOND },
      BENCH_RATIO_MIN,
      0.8 },
    { "the same, loading the past: 6 events in a minute of a deployment",
      { EVENT_DEPLOYMENTS, PAST_PER_SECOND },
      BENCH_RATIO_MIN,
      0.8 },
    { "the same, 10,000 deployments, as events happen",
      { 10000, LIVE_PER_SECOND },
      BENCH_REPORTED,
      0 },
};

static void ingest_measure(struct bench *bench, const struct rollup_case *c,
                           const struct load_requests *requests, int64_t events, bool with,
                           struct bench_side *side)
{
    struct rollup_side run;
    struct bench_meter meter;
    double seconds;

    side_open(&run, bench, with);
    side_warm(&run, &c->stream);
    bench_meter_start(&meter, bench, run.daemon);
    seconds = side_send(&run, requests, 0);
    bench_meter_stop(&meter, side);
    bench_side_add(side, (double)events / seconds);
    ck_assert_int_eq(pg_query_i64(run.dsn, "SELECT count(*) FROM prediction"), events + run.warm);
    bench_say("%s rollups: %.0f events/s; %" PRId64 " deltas pending, %" PRId64 " batches slowed",
              with ? "with" : "without", (double)events / seconds, side_pending(&run),
              daemon_metric(run.daemon, "plumbline_rollup_slowed_total"));
    side_close(&run);
}

/* Returns the rate with rollups, events a second. */
static double ingest_case(struct bench *bench, const struct rollup_case *c)
{
    int64_t events = bench_scaled(EVENTS);
    AUTO(load_requests_done) struct load_requests requests;
    struct bench_side with = { 0 }, without = { 0 };

    load_requests_init(&requests);
    events_write_stream(&requests, &c->stream, WARM_ROUNDS * c->stream.deployments,
                        (uint64_t)events, PER_REQUEST);
    for (int round = 0; round < BENCH_ROUNDS; round++) {
        ingest_measure(bench, c, &requests, events, true, &with);
        ingest_measure(bench, c, &requests, events, false, &without);
    }
    bench_row(&(struct bench_row){ .measure = c->measure,
                                   .unit = "events/s",
                                   .ours = &with,
                                   .against = "without",
                                   .theirs = &without,
                                   .want = c->want,
                                   .limit = c->limit });
    return bench_side_median(&with);
}

/* ---- folding ---- */

static const double fold_parts[] = { 0.25, 0.5, 0.75, 1 }; /* of full speed */

struct fold_run {
    int64_t pending[FOLD_SLICES]; /* at the end of each slice */
    int64_t lag_s_max;
    int64_t slowed;
    double rate; /* events a second that were answered */
};

static double fold_seconds(void)
{
    const char *text = getenv("BENCH_FOLD_SECONDS");
    double seconds = text ? strtod(text, NULL) : (double)bench_scaled(FOLD_SECONDS);

    ck_assert_msg(seconds > 0, "BENCH_FOLD_SECONDS=%s is not a number above 0", text);
    return seconds;
}

static int64_t fold_peak(const struct fold_run *run, int from, int to)
{
    int64_t peak = 0;

    for (int i = from; i < to; i++)
        peak = run->pending[i] > peak ? run->pending[i] : peak;
    return peak;
}

/* A row of deltas that grows from nothing at a constant rate is half as long again at the end of
 * the last third as at the end of the middle one; one that stays bounded is not longer. */
static bool fold_is_bounded(const struct fold_run *run)
{
    return run->slowed == 0 &&
           fold_peak(run, 2 * FOLD_SLICES / 3, FOLD_SLICES) <=
               1.25 * (double)fold_peak(run, FOLD_SLICES / 3, 2 * FOLD_SLICES / 3);
}

/* Events as they happen, at `rate`. Requests are written slice by slice, since five minutes of them
 * are gigabytes; what that takes is made up for within the slice. */
static void fold_load(struct rollup_side *side, const struct event_stream *stream, double rate,
                      double seconds, struct fold_run *run)
{
    uint64_t events = (uint64_t)(rate * seconds / FOLD_SLICES), n = (uint64_t)side->warm;
    double slice = seconds / FOLD_SLICES, start = (double)clock_mono_us() / 1e6;

    for (int i = 0; i < FOLD_SLICES; i++, n += events) {
        AUTO(load_requests_done) struct load_requests requests;
        double left;
        int64_t lag_s;

        load_requests_init(&requests);
        events_write_stream(&requests, stream, n, events, PER_REQUEST);
        left = start + (i + 1) * slice - (double)clock_mono_us() / 1e6;
        (void)side_send(side, &requests, left > 0 ? (double)requests.len / left : 0);
        run->pending[i] = side_pending(side);
        lag_s = daemon_metric(side->daemon, "plumbline_rollup_lag_seconds");
        run->lag_s_max = lag_s > run->lag_s_max ? lag_s : run->lag_s_max;
    }
    run->rate = (double)events * FOLD_SLICES / ((double)clock_mono_us() / 1e6 - start);
    run->slowed = daemon_metric(side->daemon, "plumbline_rollup_slowed_total");
}

static bool fold_measure(struct bench *bench, uint32_t deployments, double rate,
                         struct bench_side *side)
{
    const struct event_stream stream = { deployments, rate < 1 ? 1 : (uint32_t)rate };
    double seconds = fold_seconds();
    struct fold_run run = { 0 };
    struct rollup_side database;
    struct bench_meter meter;
    bool is_bounded;

    side_open(&database, bench, true);
    side_warm(&database, &stream);
    bench_meter_start(&meter, bench, database.daemon);
    fold_load(&database, &stream, rate, seconds, &run);
    is_bounded = fold_is_bounded(&run);
    if (is_bounded || !side->len) { /* what the row says is the highest that was bounded */
        *side = (struct bench_side){ 0 };
        bench_meter_stop(&meter, side);
        bench_side_add(side, is_bounded ? run.rate : 0);
    }
    bench_note("folding, %" PRIu32 " deployments, %.0f s at %.0f events/s: %s; deltas pending at "
               "most %" PRId64 ", %" PRId64 ", %" PRId64 " in each third, lag at most %" PRId64
               " s, %" PRId64 " batches slowed",
               deployments, seconds, run.rate, is_bounded ? "bounded" : "NOT bounded",
               fold_peak(&run, 0, FOLD_SLICES / 3),
               fold_peak(&run, FOLD_SLICES / 3, 2 * FOLD_SLICES / 3),
               fold_peak(&run, 2 * FOLD_SLICES / 3, FOLD_SLICES), run.lag_s_max, run.slowed);
    side_close(&database);
    return is_bounded;
}

static void fold_case(struct bench *bench, uint32_t deployments, double full_rate,
                      enum bench_want want)
{
    AUTO(mem_free)
    char *measure = xasprintf("folding keeps up, %" PRIu32 " deployments, events at", deployments);
    struct bench_side ours = { 0 }, full = { 0 };

    bench_side_add(&full, full_rate);
    for (size_t i = 0; i < LENGTH(fold_parts); i++) {
        bench_say("folding, %" PRIu32 " deployments, %g of full speed", deployments, fold_parts[i]);
        if (!fold_measure(bench, deployments, fold_parts[i] * full_rate, &ours))
            break;
    }
    bench_row(&(struct bench_row){ .measure = measure,
                                   .unit = "events/s",
                                   .ours = &ours,
                                   .against = "full speed",
                                   .theirs = &full,
                                   .want = want,
                                   .limit = want == BENCH_RATIO_MIN ? 0.5 : 0 });
}

/* ---- room ---- */

static int64_t room_of(const char *dsn, const char *table)
{
    return pg_query_i64(dsn,
                        "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('%s')",
                        table);
}

static void room_note(const char *dsn, const char *table, int64_t events, int64_t spread)
{
    int64_t rows = pg_query_i64(dsn, "SELECT count(*) FROM %s", table);
    int64_t state = pg_query_i64(dsn, "SELECT sum(pg_column_size(state)) FROM %s", table);

    bench_note("%s: %" PRId64 " rows, %.1f for each raw row; %.0f bytes a row with index and "
               "room for updates (state %.0f), as folded %.0f",
               table, rows, (double)rows / (double)events,
               (double)room_of(dsn, table) / (double)rows, (double)state / (double)rows,
               (double)spread / (double)rows);
}

/* Rows of each width of window, as folding left them and packed anew, beside the raw rows. */
static void room_measure(struct bench *bench, const struct event_stream *stream, const char *what)
{
    static const char *const tables[] = { "rollup_1m", "rollup_1h", "rollup_1d" };
    int64_t events = bench_scaled(EVENTS), spread[LENGTH(tables)], all = 0;
    AUTO(load_requests_done) struct load_requests requests;
    struct bench_side ours = { 0 }, raw = { 0 };
    struct rollup_side side;

    load_requests_init(&requests);
    events_write_stream(&requests, stream, 0, (uint64_t)events, PER_REQUEST);
    side_open(&side, bench, true);
    (void)side_send(&side, &requests, 0);
    WAIT_UNTIL(DRAIN_MS_MAX, side_pending(&side) == 0);
    for (size_t i = 0; i < LENGTH(tables); i++)
        spread[i] = room_of(side.dsn, tables[i]);
    pg_exec(side.dsn, "VACUUM FULL rollup_1m, rollup_1h, rollup_1d, prediction");
    for (size_t i = 0; i < LENGTH(tables); i++)
        all += room_of(side.dsn, tables[i]);
    bench_side_add(&ours, (double)all / (double)events);
    bench_side_add(&raw, (double)room_of(side.dsn, "prediction") / (double)events);
    bench_row(&(struct bench_row){ .measure = what,
                                   .unit = "bytes",
                                   .ours = &ours,
                                   .against = "the raw row",
                                   .theirs = &raw });
    for (size_t i = 0; i < LENGTH(tables); i++)
        room_note(side.dsn, tables[i], events, spread[i]);
    side_close(&side);
}

static void rollup_run(struct bench *bench)
{
    double full_rates[LENGTH(rollup_cases)];

    for (size_t i = 0; i < LENGTH(rollup_cases); i++)
        full_rates[i] = ingest_case(bench, &rollup_cases[i]);
    fold_case(bench, rollup_cases[0].stream.deployments, full_rates[0], BENCH_RATIO_MIN);
    fold_case(bench, rollup_cases[2].stream.deployments, full_rates[2], BENCH_REPORTED);
    room_measure(bench, &(struct event_stream){ 10, 10 },
                 "rollups of a prediction, 60 in a minute of a deployment");
    room_measure(bench, &rollup_cases[1].stream,
                 "rollups of a prediction, 6 in a minute of a deployment");
}

int main(void)
{
    return bench_main("rollup", rollup_run);
}
