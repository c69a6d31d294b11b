/* Entities by REST, 500 in a request: new ones, alone and with relationships, then the same
 * again. */
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tests/bench/bench.h"
#include "tests/bench/load.h"

enum {
    ENTITIES = 100000,
    PER_REQUEST = 500,
    PER_TABLE = 5, /* a table and its columns */
    CONNECTIONS = 4,
    ENTITIES_PER_SECOND = 5000,
};

static void bulk_write_table(struct buf *body, uint64_t n)
{
    buf_append_fmt(body,
                   "{\"typeName\":\"hive_table\",\"guid\":\"-%" PRIu64
                   "\",\"attributes\":{\"qualifiedName\":\"bench.t%" PRIu64
                   "@cm\",\"name\":\"t%" PRIu64
                   "\",\"owner\":\"ada\",\"description\":\"a table of the bench\",\"createTime\":"
                   "1704067200000,\"tableType\":\"MANAGED_TABLE\",\"parameters\":{\"numRows\":"
                   "\"%" PRIu64 "\",\"format\":\"parquet\"}}}",
                   n + 1, n, n, n * 7919);
}

static void bulk_write_column(struct buf *body, uint64_t n, uint64_t table)
{
    buf_append_fmt(body,
                   "{\"typeName\":\"hive_column\",\"guid\":\"-%" PRIu64
                   "\",\"attributes\":{\"qualifiedName\":\"bench.t%" PRIu64 ".c%" PRIu64
                   "@cm\",\"name\":\"c%" PRIu64
                   "\",\"type\":\"string\",\"position\":1},\"relationshipAttributes\":{\"table\":{"
                   "\"guid\":\"-%" PRIu64 "\"}}}",
                   n + 1, table, n, n, table + 1);
}

/* Tables alone, or a table with its columns behind it. */
static void bulk_write(struct load_requests *requests, uint64_t entities, bool has_columns)
{
    AUTO(buf_done) struct buf head, body;

    buf_init(&head, SIZE_MAX);
    buf_init(&body, SIZE_MAX);
    for (uint64_t n = 0; n < entities; n++) {
        uint64_t table = has_columns ? n - n % PER_TABLE : n;

        buf_append_text(&body, n % PER_REQUEST ? "," : "{\"entities\":[");
        if (n == table)
            bulk_write_table(&body, n);
        else
            bulk_write_column(&body, n, table);
        if ((n + 1) % PER_REQUEST && n + 1 < entities)
            continue;
        buf_append_text(&body, "]}");
        buf_append_fmt(&head,
                       "POST /api/atlas/v2/entity/bulk HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                       body.len);
        load_requests_add(requests, &head, &body);
        buf_clear(&head);
        buf_clear(&body);
    }
}

static double bulk_send(struct daemon *daemon, const struct load_requests *requests,
                        int64_t entities)
{
    AUTO(load_result_done) struct load_result result;

    load_run(&(struct load_options){ .port = daemon_port(daemon),
                                     .requests = requests,
                                     .connections = CONNECTIONS },
             &result);
    return (double)entities / result.seconds;
}

static void bulk_run_once(struct bench *bench, const struct load_requests *requests,
                          int64_t entities, struct bench_side *made, struct bench_side *again)
{
    AUTO(mem_free) char *dsn = bench_database_new(bench);
    struct daemon *daemon = bench_daemon_start(dsn);
    struct bench_meter meter;

    bench_meter_start(&meter, bench, daemon);
    bench_side_add(made, bulk_send(daemon, requests, entities));
    bench_meter_stop(&meter, made);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM entity"), entities);
    bench_meter_start(&meter, bench, daemon);
    bench_side_add(again, bulk_send(daemon, requests, entities));
    bench_meter_stop(&meter, again);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM entity"), entities);
    bench_daemon_stop(bench, daemon);
    bench_database_drop(bench, dsn);
    bench_say("%.0f new entities/s, %.0f again", made->values[made->len - 1],
              again->values[again->len - 1]);
}

static void bulk_measure(struct bench *bench, bool has_columns)
{
    int64_t entities = bench_scaled(ENTITIES / PER_TABLE) * PER_TABLE;
    AUTO(load_requests_done) struct load_requests requests;
    struct bench_side made = { 0 }, again = { 0 };

    load_requests_init(&requests);
    bulk_write(&requests, (uint64_t)entities, has_columns);
    for (int round = 0; round < BENCH_ROUNDS; round++)
        bulk_run_once(bench, &requests, entities, &made, &again);
    bench_row(&(struct bench_row){
        .measure = has_columns ? "the same, a table and its 4 columns each"
                               : "new entities by REST, 500 a request, 4 connections",
        .unit = "entities/s",
        .ours = &made,
        .want = BENCH_VALUE_MIN,
        .limit = ENTITIES_PER_SECOND });
    bench_row(&(struct bench_row){ .measure = has_columns ? "all of them again, with columns"
                                                          : "all of them again, unchanged",
                                   .unit = "entities/s",
                                   .ours = &again });
}

static void bulk_run(struct bench *bench)
{
    bulk_measure(bench, false);
    bulk_measure(bench, true);
}

int main(void)
{
    return bench_main("bulk", bulk_run);
}
