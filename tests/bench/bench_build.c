/* Build events with 20 tables each, while predictions come in at half of what the daemon takes. */
#include <check.h>
#include <inttypes.h>
#include <pthread.h>

#include "base/mem.h"
#include "tests/bench/bench.h"
#include "tests/bench/events.h"
#include "tests/bench/load.h"

enum {
    SECONDS = 8,
    CONNECTIONS = 64,       /* of the replicas */
    BUILD_CONNECTIONS = 16, /* of those who build */
    BUILD_TABLES = 20,
    SHARED_TABLES = 1000, /* that half of them are taken from */
    BUILDS_PER_SECOND = 500,
    BUILDS_PER_SECOND_MAX = 5000, /* as many are written before, as for the next */
    REQUESTS_PER_SECOND_MAX = 50000,
};

struct builds {
    struct bench *bench;
    struct load_requests predictions, builds;
    double seconds;
    double rate; /* of predictions, a second: half of the most */
};

/* One load, in a thread of its own. */
struct side {
    struct load_options options;
    struct load_result result;
    pthread_t thread;
};

/* A build of a model of its own, in one of 100 projects. Half of its tables are read by many
 * builds, the others by this one alone. */
static void build_write(struct buf *body, uint64_t n)
{
    buf_append_fmt(body,
                   "{\"event\":\"model_built\",\"projectCrn\":\"crn:bench:project/%" PRIu64
                   "\",\"modelCrn\":\"crn:bench:model/%" PRIu64
                   "\",\"modelName\":\"Model\",\"modelBuildCrn\":\"crn:bench:build/%" PRIu64
                   "\",\"buildNumber\":1,\"userName\":\"ada\",\"createdAtMs\":%" PRId64
                   ",\"linkingFile\":\"Model:\\n  hive_table_qualified_names:\\n",
                   n % 100, n, n, EVENT_WEEK_MS);
    for (uint64_t i = 0; i < BUILD_TABLES; i++) {
        if (i % 2)
            buf_append_fmt(body, "    - own.t%" PRIu64 "_%" PRIu64 "\\n", n, i);
        else
            buf_append_fmt(body, "    - shared.t%" PRIu64 "\\n",
                           (n * 7919 + i * 104729) % SHARED_TABLES);
    }
    buf_append_text(body, "\"}");
}

static void builds_write(struct load_requests *requests, uint64_t count)
{
    AUTO(buf_done) struct buf head, body;

    buf_init(&head, SIZE_MAX);
    buf_init(&body, SIZE_MAX);
    for (uint64_t n = 0; n < count; n++) {
        buf_clear(&head);
        buf_clear(&body);
        build_write(&body, n);
        buf_append_fmt(&head,
                       "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                       body.len);
        load_requests_add(requests, &head, &body);
    }
}

static void *side_run(void *arg)
{
    struct side *side = arg;

    load_run(&side->options, &side->result);
    return NULL;
}

static double side_rate(const struct side *side)
{
    return side->result.seconds > 0 ? (double)side->result.answers / side->result.seconds : 0;
}

/* What one run is made of: a negative rate is none of it, 0 as fast as it goes. */
struct mix {
    double predictions, builds;
};

struct outcome {
    double predictions, builds; /* answers a second */
    double p99_ms;              /* of predictions */
    double build_p99_ms;
};

static void builds_check(const char *dsn, const struct side *predictions, const struct side *builds)
{
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM prediction"),
                     (int64_t)predictions->result.answers);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM entity WHERE to_batch IS NULL"
                                       " AND type = 'ml_model_build' AND NOT is_incomplete"),
                     (int64_t)builds->result.answers);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM relationship WHERE to_batch IS NULL"
                                       " AND type = 'dataset_process_inputs'"),
                     (int64_t)builds->result.answers * (BUILD_TABLES + 1));
}

static struct outcome builds_run_once(struct builds *builds, const struct mix *mix,
                                      struct bench_side *side)
{
    AUTO(mem_free) char *dsn = bench_database_new(builds->bench);
    struct daemon *daemon = bench_daemon_start(dsn);
    struct load_options options = { .port = daemon_port(daemon), .seconds_max = builds->seconds };
    struct side sides[2] = { { .options = options }, { .options = options } };
    struct outcome outcome = { 0 };
    struct bench_meter meter;

    sides[0].options.requests = &builds->predictions;
    sides[0].options.connections = CONNECTIONS;
    sides[0].options.rate = mix->predictions;
    sides[1].options.requests = &builds->builds;
    sides[1].options.connections = BUILD_CONNECTIONS;
    sides[1].options.rate = mix->builds;
    bench_meter_start(&meter, builds->bench, daemon);
    for (int i = 0; i < 2; i++) {
        if (sides[i].options.rate >= 0)
            ck_assert_int_eq(pthread_create(&sides[i].thread, NULL, side_run, &sides[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        if (sides[i].options.rate >= 0)
            ck_assert_int_eq(pthread_join(sides[i].thread, NULL), 0);
    }
    bench_meter_stop(&meter, side);
    builds_check(dsn, &sides[0], &sides[1]);
    bench_daemon_stop(builds->bench, daemon);
    bench_database_drop(builds->bench, dsn);
    outcome.predictions = side_rate(&sides[0]);
    outcome.builds = side_rate(&sides[1]);
    if (sides[0].result.answers)
        outcome.p99_ms = load_result_ms(&sides[0].result, 0.99);
    if (sides[1].result.answers)
        outcome.build_p99_ms = load_result_ms(&sides[1].result, 0.99);
    for (int i = 0; i < 2; i++)
        load_result_done(&sides[i].result);
    return outcome;
}

/* Half of what the daemon takes when nothing else is asked of it. */
static void builds_find_rate(struct builds *builds)
{
    struct bench_side side = { 0 };

    for (int round = 0; round < 3; round++) {
        struct outcome outcome =
            builds_run_once(builds, &(struct mix){ .predictions = 0, .builds = -1 }, &side);

        bench_side_add(&side, outcome.predictions);
    }
    builds->rate = bench_side_median(&side) / 2;
    bench_say("%.0f predictions/s alone, half of it is %.0f", 2 * builds->rate, builds->rate);
}

static void builds_fast(struct builds *builds)
{
    struct bench_side most = { 0 }, alone = { 0 };

    for (int round = 0; round < BENCH_ROUNDS; round++) {
        struct outcome outcome =
            builds_run_once(builds, &(struct mix){ .predictions = builds->rate, .builds = 0 },
                            &most);

        bench_side_add(&most, outcome.builds);
        bench_say("%.0f builds/s beside %.0f predictions/s of %.1f ms, p99 of builds %.1f ms",
                  outcome.builds, outcome.predictions, outcome.p99_ms, outcome.build_p99_ms);
        outcome = builds_run_once(builds, &(struct mix){ .predictions = -1, .builds = 0 }, &alone);
        bench_side_add(&alone, outcome.builds);
        bench_say("%.0f builds/s alone", outcome.builds);
    }
    bench_row(&(struct bench_row){ .measure = "builds with 20 tables beside predictions",
                                   .unit = "builds/s",
                                   .ours = &most,
                                   .want = BENCH_VALUE_MIN,
                                   .limit = BUILDS_PER_SECOND });
    bench_row(&(struct bench_row){
        .measure = "the same without predictions", .unit = "builds/s", .ours = &alone });
}

/* What builds do to the replicas' waiting. */
static void builds_beside(struct builds *builds)
{
    AUTO(mem_free)
    char *measure =
        xasprintf("p99 of %.0f predictions/s beside %d builds/s", builds->rate, BUILDS_PER_SECOND);
    struct bench_side with = { 0 }, without = { 0 };

    for (int round = 0; round < BENCH_ROUNDS; round++) {
        struct mix both = { .predictions = builds->rate, .builds = BUILDS_PER_SECOND };
        struct mix one = { .predictions = builds->rate, .builds = -1 };
        struct outcome outcome = builds_run_once(builds, &both, &with);

        bench_side_add(&with, outcome.p99_ms);
        bench_say("p99 %.1f ms beside %.0f builds/s, whose own is %.1f ms", outcome.p99_ms,
                  outcome.builds, outcome.build_p99_ms);
        outcome = builds_run_once(builds, &one, &without);
        bench_side_add(&without, outcome.p99_ms);
        bench_say("p99 %.1f ms without", outcome.p99_ms);
    }
    bench_row(&(struct bench_row){ .measure = measure,
                                   .unit = "ms",
                                   .decimals = 1,
                                   .ours = &with,
                                   .against = "without builds",
                                   .theirs = &without,
                                   .want = BENCH_RATIO_MAX,
                                   .limit = 1.1 });
}

static void builds_run(struct bench *bench)
{
    struct builds builds = { .bench = bench,
                             .seconds = (double)bench_scaled(SECONDS * 1000) / 1e3 };

    load_requests_init(&builds.predictions);
    load_requests_init(&builds.builds);
    events_write_single(&builds.predictions, 0,
                        (uint64_t)(builds.seconds * REQUESTS_PER_SECOND_MAX));
    builds_write(&builds.builds, (uint64_t)(builds.seconds * BUILDS_PER_SECOND_MAX));
    builds_find_rate(&builds);
    builds_fast(&builds);
    builds_beside(&builds);
    load_requests_done(&builds.predictions);
    load_requests_done(&builds.builds);
}

int main(void)
{
    return bench_main("build", builds_run);
}
