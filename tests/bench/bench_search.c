/* Searches by type and the beginning of a name among a million entities, beside LIKE on a plain
 * btree of the same names. */
#include <check.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tests/bench/bench.h"
#include "tests/harness/dice.h"
#include "tests/harness/http.h"

enum {
    ENTITIES = 1000000,
    READS = 200, /* in each round */
    PAGE = 100,  /* what an answer shows at most */
};

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* ---- the entities ---- */

/* A fifth of each of hive_table, hive_process, fs_path, and two of hive_column, called
 * "customer_03f1a2c9" and "db417.customer_03f1a2c9@cm", of 1,000 databases and five first words.
 * Indexes are made behind the rows, which is how a million of them take a minute. */
static void entities_make(const char *dsn, int64_t len)
{
    static const char *const indexes[] = { "entity_word", "entity_prefix", "entity_label" };
    char *made[LENGTH(indexes)];

    bench_say("making %" PRId64 " entities", len);
    for (size_t i = 0; i < LENGTH(indexes); i++) {
        made[i] = pg_query_text(dsn, "SELECT pg_get_indexdef('%s'::regclass)", indexes[i]);
        pg_exec(dsn, "DROP INDEX %s", indexes[i]);
    }
    pg_exec(dsn, "SELECT graph_begin()");
    pg_exec(dsn,
            "INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name,"
            " is_incomplete, created_by, updated_by, attributes)"
            " SELECT i, b, b, gen_random_uuid(), kind, name, false, 'ada', 'ada',"
            " jsonb_build_object('name', label, 'qualifiedName', name, 'owner', 'user' || i %% 100,"
            "  'createTime', 1704067200000 + i, 'description', 'what is known of ' || label)"
            " FROM (SELECT max(batch_id) AS b FROM graph_batch) AS batch, (SELECT i, kind, label,"
            "  'db' || lpad((h %% 1000)::text, 3, '0') || '.' || label || '@cm' AS name"
            "  FROM (SELECT i, h, (ARRAY['hive_table', 'hive_column', 'hive_column',"
            "   'hive_process', 'fs_path'])[1 + i %% 5] AS kind, (ARRAY['customer', 'order',"
            "   'payment', 'event', 'user'])[1 + h / 1000 %% 5] || '_' || substr(md5(i::text), 1,"
            "   8) AS label FROM (SELECT i, ('x' || substr(md5(i::text), 9, 7))::bit(28)::int AS h"
            "    FROM generate_series(1::bigint, %" PRId64 ") AS i) AS one) AS two) AS three"
            " ON CONFLICT DO NOTHING",
            len);
    for (size_t i = 0; i < LENGTH(indexes); i++) {
        pg_exec(dsn, "%s", made[i]);
        free(made[i]);
    }
    pg_exec(dsn, "SELECT setval('entity_number', %" PRId64 ")", len + 1);
    pg_exec(dsn, "VACUUM (ANALYZE) entity, graph_batch");
}

/* The same names in a table of their own, with nothing but what the question needs. */
static void plain_make(const char *dsn)
{
    pg_exec(dsn, "CREATE TABLE plain AS SELECT entity_id, guid, type, qualified_name,"
                 " attributes ->> 'name' AS name, attributes FROM entity");
    pg_exec(dsn, "CREATE INDEX ON plain (type, qualified_name text_pattern_ops)");
    pg_exec(dsn, "CREATE INDEX ON plain (type, name text_pattern_ops)");
    pg_exec(dsn, "VACUUM (ANALYZE) plain");
}

/* ---- searches ---- */

/* What is searched for: before, a number of some digits, after; another one each time. */
struct question {
    const char *measure;
    const char *attribute, *column; /* of the entity, of the plain table */
    const char *before;
    int digits; /* 0: the same each time */
    uint32_t numbers;
    const char *after;
    bool by_words; /* as a word of a query */
};

static const struct question questions[] = {
    { "200 begin so", "qualifiedName", "qualified_name", "db", 3, 1000, ".", false },
    { "2,000 begin so", "qualifiedName", "qualified_name", "db", 2, 100, "", false },
    { "all begin so", "qualifiedName", "qualified_name", "db", 0, 1, "", false },
    { "150 begin so", "name", "name", "customer_", 2, 100, "", false },
    { "40,000 begin so", "name", "name", "customer_", 0, 1, "", false },
    { "150 have a word that begins so", "name", "name", "order_", 2, 100, "", true },
};

struct search_run {
    struct bench *bench;
    const struct daemon *daemon;
    PGconn *conn;
    const struct question *question;
    char *prefixes[READS]; /* owned */
    struct bench_side ours, theirs, median;
    int64_t found; /* in the first answer */
};

static void prefixes_choose(struct search_run *run)
{
    const struct question *question = run->question;
    uint64_t seed = 11;

    for (int i = 0; i < READS; i++) {
        AUTO(mem_free)
        char *number =
            xasprintf("%0*u", question->digits, (unsigned)dice_roll(&seed, question->numbers));

        run->prefixes[i] =
            xasprintf("%s%s%s", question->before, question->digits ? number : "", question->after);
    }
}

/* Owned. */
static char *search_body(const struct question *question, const char *prefix)
{
    if (question->by_words)
        return xasprintf("{\"typeName\":\"hive_table\",\"query\":\"%s*\"}", prefix);
    return xasprintf("{\"typeName\":\"hive_table\",\"entityFilters\":{\"attributeName\":\"%s\","
                     "\"operator\":\"startsWith\",\"attributeValue\":\"%s\"}}",
                     question->attribute, prefix);
}

static void search_once(struct search_run *run, struct http *http, const char *prefix)
{
    AUTO(mem_free) char *url = daemon_url(run->daemon, "/api/atlas/v2/search/basic");
    AUTO(mem_free) char *body = search_body(run->question, prefix);
    struct http_answer *answer = http_post(http, url, body);

    ck_assert_msg(answer->status == 200, "%s", answer->body);
    if (!run->found) {
        json_auto_t *root = http_json(answer);

        run->found = json_integer_value(json_object_get(root, "approximateCount"));
        ck_assert_int_gt(run->found, 0);
    }
    http_answer_free(answer);
}

static void plain_once(struct search_run *run, const char *prefix)
{
    AUTO(mem_free)
    char *sql = xasprintf("SELECT guid, qualified_name, attributes FROM plain WHERE type ="
                          " 'hive_table' AND %s LIKE '%s%%' ORDER BY %s USING ~<~ LIMIT %d",
                          run->question->column, prefix, run->question->column, PAGE);
    PGresult *result = PQexec(run->conn, sql);

    ck_assert_msg(PQresultStatus(result) == PGRES_TUPLES_OK, "%s", PQerrorMessage(run->conn));
    PQclear(result);
}

static void round_run(struct search_run *run)
{
    AUTO(http_free) struct http *http = http_new();
    struct bench_meter meter;
    double ms[READS];

    bench_meter_start(&meter, run->bench, run->daemon);
    for (int i = 0; i < READS; i++) {
        int64_t start_us = clock_mono_us();

        search_once(run, http, run->prefixes[i]);
        ms[i] = (double)(clock_mono_us() - start_us) / 1e3;
    }
    bench_meter_stop(&meter, &run->ours);
    qsort(ms, READS, sizeof(*ms), double_compare);
    bench_side_add(&run->ours, ms[READS * 99 / 100]);
    bench_side_add(&run->median, ms[READS / 2]);
    bench_say("%s: median %.1f ms, p99 %.1f ms", run->question->measure, ms[READS / 2],
              ms[READS * 99 / 100]);
    bench_meter_start(&meter, run->bench, NULL);
    for (int i = 0; i < READS; i++) {
        int64_t start_us = clock_mono_us();

        plain_once(run, run->prefixes[i]);
        ms[i] = (double)(clock_mono_us() - start_us) / 1e3;
    }
    bench_meter_stop(&meter, &run->theirs);
    qsort(ms, READS, sizeof(*ms), double_compare);
    bench_side_add(&run->theirs, ms[READS * 99 / 100]);
}

static void question_run(struct search_run *run)
{
    AUTO(mem_free)
    char *measure = xasprintf("search by type and %s: %s, p99", run->question->attribute,
                              run->question->measure);

    prefixes_choose(run);
    for (int i = 0; i < READS; i++) /* what both read is in memory */
        plain_once(run, run->prefixes[i]);
    for (int round = 0; round < BENCH_ROUNDS; round++)
        round_run(run);
    bench_row(
        &(struct bench_row){ .measure = measure,
                             .unit = "ms",
                             .decimals = 1,
                             .ours = &run->ours,
                             .against = "LIKE on a btree, a page of rows",
                             .theirs = &run->theirs,
                             .want = run->question->by_words ? BENCH_REPORTED : BENCH_VALUE_MAX,
                             .limit = 20 });
    bench_note("median %.1f ms; the first answer counted %" PRId64, bench_side_median(&run->median),
               run->found);
    for (int i = 0; i < READS; i++)
        free(run->prefixes[i]);
}

static void run(struct bench *bench)
{
    AUTO(mem_free) char *dsn = bench_database_new(bench);
    struct daemon *daemon = bench_daemon_start(dsn);
    PGconn *conn = pg_connect(dsn);

    entities_make(dsn, bench_scaled(ENTITIES));
    plain_make(dsn);
    for (size_t i = 0; i < LENGTH(questions); i++)
        question_run(&(struct search_run){
            .bench = bench, .daemon = daemon, .conn = conn, .question = &questions[i] });
    PQfinish(conn);
    bench_daemon_stop(bench, daemon);
}

int main(void)
{
    return bench_main("search", run);
}
