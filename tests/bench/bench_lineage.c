/* Walks over a large graph, beside a recursive query for the same, and with classifications; and
 * what a table has fed. */
#include <check.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "tests/bench/bench.h"
#include "tests/bench/events.h"
#include "tests/harness/dice.h"
#include "tests/harness/http.h"

enum {
    ENTITIES = 100000,
    EDGES = 1000000,
    LAYERS = 20,     /* data sets and processes in turn, edges from each layer to the next */
    FIRST_START = 4, /* from here on there are four steps upstream */
    WALKS = 200,     /* in each round */
    READS_MAX = WALKS,
    TAGGED_WALKS = 20,
    BUILDS = 100,
    DEPLOYMENTS = 1000,
    PREDICTIONS = 100, /* of each */
    AGGREGATES = 10,   /* likewise */
    IMPACTS = 50,
};

#define MINUTE_MS INT64_C(60000)

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Times of answers, round after round. */
struct times {
    struct bench_side p99;
    struct bench_side median;
};

static void times_add(struct times *times, double *ms, int len, const char *what)
{
    qsort(ms, (size_t)len, sizeof(*ms), double_compare);
    bench_say("%s: median %.1f ms, p99 %.1f ms", what, ms[len / 2], ms[len * 99 / 100]);
    bench_side_add(&times->p99, ms[len * 99 / 100]);
    bench_side_add(&times->median, ms[len / 2]);
}

/* ---- the graph ---- */

static void graph_make(const char *dsn, int64_t entities, int64_t edges)
{
    int64_t width = entities / LAYERS;

    bench_say("making %" PRId64 " entities, %" PRId64 " edges", entities, edges);
    pg_exec(dsn, "SELECT graph_begin()");
    pg_exec(dsn,
            "INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name,"
            " is_incomplete, created_by, updated_by, attributes)"
            " SELECT i, b, b, gen_random_uuid(), kind, name, false, 'ada', 'ada',"
            " jsonb_build_object('name', 't' || i, 'qualifiedName', name, 'owner', 'ada',"
            "  'createTime', 1704067200000 + i, 'description', repeat('d', 40), 'comment',"
            "  repeat('c', 60), 'parameters', jsonb_build_object('a', i, 'b', repeat('p', 40)))"
            " FROM (SELECT max(batch_id) AS b FROM graph_batch) AS batch, (SELECT i,"
            "  'warehouse.t' || i || '@cm' AS name, CASE WHEN i / %" PRId64 " %% 2 = 0"
            "  THEN 'hive_table' ELSE 'hive_process' END AS kind"
            "  FROM generate_series(0::bigint, %" PRId64 ") AS i) AS entities",
            width, entities - 1);
    pg_exec(dsn,
            "INSERT INTO relationship (relationship_id, from_batch, created_batch, guid, type,"
            " end1, end2, created_by, updated_by)"
            " SELECT j, b, b, gen_random_uuid(), CASE WHEN gap %% 2 = 0 THEN"
            " 'dataset_process_inputs' ELSE 'process_dataset_outputs' END,"
            " CASE WHEN gap %% 2 = 0 THEN two ELSE one END,"
            " CASE WHEN gap %% 2 = 0 THEN one ELSE two END, 'ada', 'ada'"
            " FROM (SELECT max(batch_id) AS b FROM graph_batch) AS batch,"
            " (SELECT j, j %% %d AS gap, j %% %d * %" PRId64 " + ('x' || substr(md5(j::text), 1,"
            "  8))::bit(32)::bigint %% %" PRId64 " AS one, (j %% %d + 1) * %" PRId64
            "  + ('x' || substr(md5(j::text), 9, 8))::bit(32)::bigint %% %" PRId64 " AS two"
            "  FROM generate_series(0::bigint, %" PRId64 ") AS j) AS edges"
            " ON CONFLICT DO NOTHING",
            LAYERS - 1, LAYERS - 1, width, width, LAYERS - 1, width, width, edges - 1);
    pg_exec(dsn,
            "SELECT setval('entity_number', %" PRId64 "), setval('relationship_number', %" PRId64
            ")",
            entities, edges);
    pg_exec(dsn, "VACUUM (ANALYZE) entity, relationship, graph_batch");
}

struct start {
    int64_t id;
    char *guid; /* owned */
};

/* Data sets that have four layers upstream of them. */
static void starts_choose(const char *dsn, int64_t entities, struct start starts[WALKS])
{
    int64_t width = entities / LAYERS;
    uint64_t seed = 7;

    for (int i = 0; i < WALKS; i++) {
        int64_t layer = FIRST_START + 2 * dice_roll(&seed, (LAYERS - FIRST_START) / 2);

        starts[i].id = layer * width + dice_roll(&seed, (uint32_t)width);
        starts[i].guid =
            pg_query_text(dsn, "SELECT guid FROM entity WHERE entity_id = %" PRId64, starts[i].id);
    }
}

/* ---- walks ---- */

/* The walk in one statement; relations by guid, as the answer has them. */
static const char walk_sql[] =
    "WITH RECURSIVE walk (id, step) AS (SELECT $1::bigint, 0 UNION"
    " SELECT e.far, w.step + 1 FROM walk AS w CROSS JOIN LATERAL ("
    "  SELECT end1 AS far FROM relationship WHERE w.step % 2 = 0 AND to_batch IS NULL"
    "  AND type = 'process_dataset_outputs' AND end2 = w.id UNION ALL"
    "  SELECT end2 FROM relationship WHERE w.step % 2 = 1 AND to_batch IS NULL"
    "  AND type = 'dataset_process_inputs' AND end1 = w.id) AS e WHERE w.step < $2::int)"
    " SELECT r.guid, f.guid, t.guid FROM walk AS w CROSS JOIN LATERAL ("
    "  SELECT guid, relationship_id, end1 AS source, end2 AS target FROM relationship"
    "  WHERE w.step % 2 = 0 AND to_batch IS NULL AND type = 'process_dataset_outputs'"
    "  AND end2 = w.id UNION ALL"
    "  SELECT guid, relationship_id, end2, end1 FROM relationship"
    "  WHERE w.step % 2 = 1 AND to_batch IS NULL AND type = 'dataset_process_inputs'"
    "  AND end1 = w.id) AS r"
    " JOIN entity AS f ON f.entity_id = r.source AND f.to_batch IS NULL"
    " JOIN entity AS t ON t.entity_id = r.target AND t.to_batch IS NULL"
    " WHERE w.step < $2::int ORDER BY w.step, r.relationship_id";

struct walks {
    struct bench *bench;
    const struct daemon *daemon;
    PGconn *conn; /* that of the recursive query; it has planned it */
    const struct start *starts;
    int depth;
    struct times ours, theirs;
    double relations, bytes; /* of all answers */
    int answers;
};

/* Returns the number of relations. */
static int walk_query(PGconn *conn, const struct start *start, int depth)
{
    char id[24], steps[24];
    const char *const values[] = { id, steps };
    PGresult *result;
    int len;

    (void)snprintf(id, sizeof(id), "%" PRId64, start->id);
    (void)snprintf(steps, sizeof(steps), "%d", 2 * depth);
    result = PQexecPrepared(conn, "walk", 2, values, NULL, NULL, 0);
    ck_assert_msg(PQresultStatus(result) == PGRES_TUPLES_OK, "%s", PQerrorMessage(conn));
    len = PQntuples(result);
    PQclear(result);
    return len;
}

static char *walk_url(const struct walks *walks, const char *guid)
{
    AUTO(mem_free)
    char *path = xasprintf("/api/atlas/v2/lineage/%s?direction=INPUT&depth=%d", guid, walks->depth);

    return daemon_url(walks->daemon, path);
}

/* Both have the same relations in the same order. */
static void walk_check(struct walks *walks)
{
    AUTO(http_free) struct http *http = http_new();

    for (int i = 0; i < WALKS; i += WALKS / 10) {
        AUTO(mem_free) char *url = walk_url(walks, walks->starts[i].guid);
        struct http_answer *answer = http_get(http, url);
        json_auto_t *root = http_json(answer);

        ck_assert(json_is_false(json_object_get(root, "truncated")));
        ck_assert_int_eq((int)json_array_size(json_object_get(root, "relations")),
                         walk_query(walks->conn, &walks->starts[i], walks->depth));
        walks->relations += (double)json_array_size(json_object_get(root, "relations"));
        walks->bytes += (double)answer->len;
        walks->answers++;
        http_answer_free(answer);
    }
}

static void walk_round(struct walks *walks)
{
    AUTO(http_free) struct http *http = http_new();
    struct bench_meter meter;
    double ms[WALKS];

    bench_meter_start(&meter, walks->bench, walks->daemon);
    for (int i = 0; i < WALKS; i++) {
        AUTO(mem_free) char *url = walk_url(walks, walks->starts[i].guid);
        int64_t start_us = clock_mono_us();
        struct http_answer *answer = http_get(http, url);

        ms[i] = (double)(clock_mono_us() - start_us) / 1e3;
        ck_assert_int_eq(answer->status, 200);
        http_answer_free(answer);
    }
    bench_meter_stop(&meter, &walks->ours.p99);
    times_add(&walks->ours, ms, WALKS, "lineage");
    bench_meter_start(&meter, walks->bench, NULL);
    for (int i = 0; i < WALKS; i++) {
        int64_t start_us = clock_mono_us();

        (void)walk_query(walks->conn, &walks->starts[i], walks->depth);
        ms[i] = (double)(clock_mono_us() - start_us) / 1e3;
    }
    bench_meter_stop(&meter, &walks->theirs.p99);
    times_add(&walks->theirs, ms, WALKS, "recursive query");
}

static void walks_run(struct walks *walks, double limit_ms)
{
    AUTO(mem_free) char *measure = NULL;

    walk_check(walks);
    for (int round = 0; round < BENCH_ROUNDS; round++)
        walk_round(walks);
    measure = xasprintf("lineage of %.0f relations (%.0f KiB), p99",
                        walks->relations / walks->answers, walks->bytes / walks->answers / 1024);
    bench_row(&(struct bench_row){ .measure = measure,
                                   .unit = "ms",
                                   .decimals = 1,
                                   .ours = &walks->ours.p99,
                                   .against = "one recursive query",
                                   .theirs = &walks->theirs.p99,
                                   .want = BENCH_VALUE_MAX,
                                   .limit = limit_ms });
    bench_note("median %.1f ms, of the recursive query %.1f ms",
               bench_side_median(&walks->ours.median), bench_side_median(&walks->theirs.median));
}

/* ---- the same with classifications ---- */

/* Tables of that layer are classified, as many as are asked for. */
static void tables_classify(const char *dsn, int64_t entities, int64_t layer, int tables)
{
    pg_exec(dsn, "SELECT graph_begin(); TRUNCATE classification"); /* what was kept is old */
    pg_exec(
        dsn,
        "INSERT INTO classification SELECT entity_id, 'PII', from_batch, NULL, from_batch, '{}',"
        " NULL, true, false, false, 'ada', 'ada' FROM entity WHERE entity_id >= %" PRId64
        " ORDER BY entity_id LIMIT %d",
        layer * (entities / LAYERS), tables);
    pg_exec(dsn, "ANALYZE classification");
}

static void type_make(const struct daemon *daemon)
{
    AUTO(http_free) struct http *http = http_new();
    AUTO(mem_free) char *url = daemon_url(daemon, "/api/atlas/v2/types/typedefs");
    struct http_answer *answer =
        http_post(http, url, "{\"classificationDefs\":[{\"name\":\"PII\"}]}");

    ck_assert_int_eq(answer->status, 200);
    http_answer_free(answer);
}

/* Beside the walk without any, in turns. */
static void tagged_run(struct bench *bench, const struct daemon *daemon, const char *dsn,
                       const struct start *starts, int64_t entities, int64_t layer, int tables,
                       int walks_len)
{
    struct times with = { 0 }, without = { 0 };
    AUTO(mem_free)
    char *measure = xasprintf("lineage, %d tables classified %d layers before the end, median",
                              tables, (int)(LAYERS - 1 - layer));

    for (int round = 0; round < 2 * BENCH_ROUNDS; round++) {
        AUTO(http_free) struct http *http = http_new();
        struct times *times = round % 2 ? &with : &without;
        struct walks walks = { .starts = starts, .daemon = daemon, .depth = 2 };
        struct bench_meter meter;
        double ms[TAGGED_WALKS];

        tables_classify(dsn, entities, layer, round % 2 ? tables : 0);
        bench_meter_start(&meter, bench, daemon);
        for (int i = 0; i < walks_len; i++) {
            AUTO(mem_free) char *url = walk_url(&walks, starts[i].guid);
            int64_t start_us = clock_mono_us();
            struct http_answer *answer = http_get(http, url);

            ms[i] = (double)(clock_mono_us() - start_us) / 1e3;
            ck_assert_int_eq(answer->status, 200);
            http_answer_free(answer);
        }
        bench_meter_stop(&meter, &times->median);
        times_add(times, ms, walks_len, round % 2 ? "classified" : "without");
    }
    bench_row(&(struct bench_row){ .measure = measure,
                                   .unit = "ms",
                                   .decimals = 1,
                                   .ours = &with.median,
                                   .against = "without classifications",
                                   .theirs = &without.median,
                                   .want = BENCH_RATIO_MAX,
                                   .limit = 1.5 });
}

static void unknown_run(struct bench *bench, const struct daemon *daemon)
{
    AUTO(http_free) struct http *http = http_new();
    struct times times = { 0 };

    for (int round = 0; round < BENCH_ROUNDS; round++) {
        struct bench_meter meter;
        double ms[READS_MAX];

        bench_meter_start(&meter, bench, daemon);
        for (int i = 0; i < READS_MAX; i++) {
            AUTO(mem_free)
            char *path =
                xasprintf("/api/atlas/v2/lineage/00000000-0000-4000-8000-%012x", (unsigned)i);
            AUTO(mem_free) char *url = daemon_url(daemon, path);
            int64_t start_us = clock_mono_us();
            struct http_answer *answer = http_get(http, url);

            ms[i] = (double)(clock_mono_us() - start_us) / 1e3;
            ck_assert_int_eq(answer->status, 404);
            http_answer_free(answer);
        }
        bench_meter_stop(&meter, &times.p99);
        times_add(&times, ms, READS_MAX, "unknown guid");
    }
    bench_row(&(struct bench_row){ .measure = "lineage of an unknown guid, p99",
                                   .unit = "ms",
                                   .decimals = 1,
                                   .ours = &times.p99,
                                   .want = BENCH_VALUE_MAX,
                                   .limit = 2 });
    bench_note("median %.1f ms", bench_side_median(&times.median));
}

static void lineage_run(struct bench *bench)
{
    static const char *const environment[] = { "PLUMBLINE_LINEAGE_RELATIONS_MAX=100000", NULL };
    static const struct {
        int depth;
        double limit_ms;
    } sizes[] = { { 1, 10 }, { 2, 50 } };
    int64_t entities = bench_scaled(ENTITIES), edges = bench_scaled(EDGES);
    AUTO(mem_free) char *dsn = bench_database_new(bench);
    struct daemon *daemon =
        bench_daemon_start_with(&(struct daemon_options){ .dsn = dsn, .environment = environment });
    PGconn *conn = pg_connect(dsn);
    struct start starts[WALKS];

    graph_make(dsn, entities, edges);
    starts_choose(dsn, entities, starts);
    PQclear(PQprepare(conn, "walk", walk_sql, 0, NULL));
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        struct walks walks = { .bench = bench,
                               .daemon = daemon,
                               .conn = conn,
                               .starts = starts,
                               .depth = sizes[i].depth };

        walks_run(&walks, sizes[i].limit_ms);
    }
    unknown_run(bench, daemon);
    type_make(daemon);
    tagged_run(bench, daemon, dsn, starts, entities, LAYERS - 2, 100, TAGGED_WALKS);
    tagged_run(bench, daemon, dsn, starts, entities, LAYERS - 4, 1, TAGGED_WALKS);
    tagged_run(bench, daemon, dsn, starts, entities, 0, 1, TAGGED_WALKS / 5); /* seconds each */
    for (int i = 0; i < WALKS; i++)
        free(starts[i].guid);
    PQfinish(conn);
    bench_daemon_stop(bench, daemon);
}

/* ---- impact ---- */

static void events_post(const struct daemon *daemon, struct buf *body)
{
    AUTO(http_free) struct http *http = http_new();
    AUTO(mem_free) char *url = daemon_url(daemon, "/v1/events");
    struct http_answer *answer;

    buf_append_char(body, ']');
    answer = http_post(http, url, buf_text(body));
    ck_assert_msg(answer->status == 200 && strstr(answer->body, "\"rejected\":[]"), "%.300s",
                  answer->body);
    http_answer_free(answer);
    buf_clear(body);
}

/* One table, builds of it, deployments of these. */
static void company_make(const struct daemon *daemon)
{
    AUTO(buf_done) struct buf body;

    buf_init(&body, SIZE_MAX);
    for (int i = 0; i < BUILDS; i++)
        buf_append_fmt(&body,
                       "%s{\"event\":\"model_built\",\"projectCrn\":\"crn:p\",\"modelCrn\":"
                       "\"crn:m%d\",\"modelName\":\"Model\",\"modelBuildCrn\":\"crn:b%d\","
                       "\"buildNumber\":%d,\"userName\":\"bob\",\"linkingFile\":\"Model:\\n"
                       "  hive_table_qualified_names: [x.t]\\n\"}",
                       i ? "," : "[", i % 10, i, i);
    events_post(daemon, &body);
    for (int i = 0; i < 2 * DEPLOYMENTS; i++)
        buf_append_fmt(
            &body,
            "%s{\"event\":\"model_deployed\",\"modelBuildCrn\":\"crn:b%d\","
            "\"modelDeploymentCrn\":\"crn:d%d\",\"status\":\"%s\",\"statusAtMs\":%" PRId64
            ",\"cpuMillicores\":1,\"userName\":\"eve\"}",
            i ? "," : "[", i / 2 % BUILDS, i / 2, i % 2 ? "stopped" : "deployed",
            EVENT_WEEK_MS + (i % 2) * 86400000);
    events_post(daemon, &body);
}

/* Round after round, so that what a deployment has lies apart. */
static void company_work(const struct daemon *daemon, int64_t predictions)
{
    AUTO(buf_done) struct buf body;

    buf_init(&body, SIZE_MAX);
    for (int64_t round = 0; round < predictions; round++) {
        int64_t at_ms = EVENT_WEEK_MS + round * 51 * MINUTE_MS;

        for (int d = 0; d < DEPLOYMENTS; d++) {
            buf_append_fmt(&body,
                           "%s{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:d%d\","
                           "\"predictionUuid\":\"00000000-0000-4000-8000-%012x\","
                           "\"startTimestampMs\":%" PRId64 ",\"endTimestampMs\":%" PRId64
                           ",\"metrics\":{\"p\":0.5}}",
                           d ? "," : "[", d, (unsigned)(round * DEPLOYMENTS + d), at_ms + d,
                           at_ms + d + 1);
            if (round < AGGREGATES)
                buf_append_fmt(&body,
                               ",{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":"
                               "\"crn:d%d\",\"startTimestampMs\":%" PRId64
                               ",\"endTimestampMs\":%" PRId64
                               ",\"metrics\":{\"accuracy\":0.7%d,\"auc\":0.8}}",
                               d, at_ms, at_ms + 1, (int)round);
        }
        events_post(daemon, &body);
    }
}

static void impact_check(const struct http_answer *answer, int64_t predictions)
{
    json_auto_t *root = http_json(answer);
    const json_t *deployment;
    size_t i;

    ck_assert_uint_eq(json_array_size(json_object_get(root, "deployments")), DEPLOYMENTS);
    json_array_foreach(json_object_get(root, "deployments"), i, deployment)
    {
        ck_assert_int_eq(json_integer_value(json_object_get(deployment, "predictions")),
                         predictions);
        ck_assert_uint_eq(json_object_size(json_object_get(deployment, "latest")), 2);
    }
}

static void impact_rounds(struct bench *bench, const struct daemon *daemon, const char *span,
                          int64_t predictions, const char *measure)
{
    AUTO(http_free) struct http *http = http_new();
    AUTO(mem_free)
    char *path = xasprintf("/v1/impact?type=hive_table&qualifiedName=x.t@cm%s", span);
    AUTO(mem_free) char *url = daemon_url(daemon, path);
    struct times times = { 0 };

    for (int round = 0; round < BENCH_ROUNDS; round++) {
        struct bench_meter meter;
        double ms[IMPACTS];

        bench_meter_start(&meter, bench, daemon);
        for (int i = 0; i < IMPACTS; i++) {
            int64_t start_us = clock_mono_us();
            struct http_answer *answer = http_get(http, url);

            ms[i] = (double)(clock_mono_us() - start_us) / 1e3;
            ck_assert_msg(answer->status == 200, "%s", answer->body);
            if (i == 0)
                impact_check(answer, predictions);
            http_answer_free(answer);
        }
        bench_meter_stop(&meter, &times.p99);
        times_add(&times, ms, IMPACTS, measure);
    }
    bench_row(&(struct bench_row){ .measure = measure,
                                   .unit = "ms",
                                   .decimals = 1,
                                   .ours = &times.p99,
                                   .want = BENCH_VALUE_MAX,
                                   .limit = 100 });
    bench_note("median %.1f ms", bench_side_median(&times.median));
}

static void impact_run(struct bench *bench)
{
    int64_t predictions = bench_scaled(PREDICTIONS);
    AUTO(mem_free) char *dsn = bench_database_new(bench);
    struct daemon *daemon = bench_daemon_start(dsn);
    AUTO(mem_free) char *whole = NULL, *part = NULL, *span = NULL;

    bench_say("making %d deployments with %" PRId64 " predictions each", DEPLOYMENTS, predictions);
    company_make(daemon);
    company_work(daemon, predictions);
    pg_exec(dsn, "VACUUM (ANALYZE)");
    whole = xasprintf("impact of a table behind %d deployments, %" PRId64 " predictions each, p99",
                      DEPLOYMENTS, predictions);
    impact_rounds(bench, daemon, "", predictions, whole);
    /* the first and the last of everybody's predictions are outside */
    span = xasprintf("&start_timestamp_ms=%" PRId64 "&end_timestamp_ms=%" PRId64,
                     EVENT_WEEK_MS + DEPLOYMENTS,
                     EVENT_WEEK_MS + (predictions - 1) * 51 * MINUTE_MS - 1);
    part = xasprintf("the same, of a span that begins inside a minute, p99");
    impact_rounds(bench, daemon, span, predictions > 2 ? predictions - 2 : 0, part);
    bench_daemon_stop(bench, daemon);
}

static void run(struct bench *bench)
{
    lineage_run(bench);
    impact_run(bench);
}

int main(void)
{
    return bench_main("lineage", run);
}
