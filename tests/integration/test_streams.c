/* Long answers: the daemon's memory stays flat however long they are, and a reader that stops or
 * goes away costs nobody anything. */
#include <check.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/harness/daemon.h"
#include "tests/harness/http.h"
#include "tests/harness/load.h"
#include "tests/harness/pg.h"
#include "tests/harness/runner.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *streams_suite(void);

enum { STALLED = 4, FLAT_BYTES_MAX = 16 << 20 };

/* A row of a batch that is there: one event is posted, so that there is all that belongs to it, and
 * then stands `rows` times in the table. */
static void rows_make(const struct daemon *daemon, const char *dsn, int64_t rows)
{
    AUTO(mem_free) char *url = daemon_url(daemon, "/v1/events");
    AUTO(http_free) struct http *http = http_new();
    AUTO(http_answer_free) struct http_answer *answer = NULL;
    AUTO(buf_done) struct buf event;

    buf_init(&event, 4096);
    load_write_prediction(&event, 1, 1);
    answer = http_post(http, url, buf_text(&event));
    ck_assert_int_eq(answer->status, 200);
    pg_exec(dsn,
            "INSERT INTO prediction (batch_id, start_at, end_at, deployment, ordinal, uuid, failed,"
            " metrics) SELECT batch_id, start_at, end_at, deployment, n,"
            " lpad(to_hex(n), 32, '0')::uuid, false,"
            " format('{\"probability\":0.%%s,\"input_data\":{\"tenure\":%%s}}', n, n %% 72)::json"
            " FROM prediction, generate_series(1, %lld) AS n",
            (long long)rows - 1);
    pg_exec(dsn, "ANALYZE prediction");
}

/* Without HTTP/1.1's chunks. */
static int reader_open(const struct daemon *daemon, const char *accept)
{
    AUTO(mem_free)
    char *request =
        xasprintf("GET /v1/metrics HTTP/1.0\r\nHost: localhost\r\nAccept: %s\r\n\r\n", accept);
    int fd = http_raw_open(daemon_port(daemon));

    ck_assert_int_eq(http_raw_send_text(fd, request), 0);
    return fd;
}

/* Reads to the end; how often `sign` comes. */
static int64_t reader_count(int fd, const char *sign)
{
    enum { CHUNK_BYTES = 1 << 20 };
    AUTO(mem_free) char *chunk = xmalloc(CHUNK_BYTES);
    size_t kept = 0, sign_len = strlen(sign);
    int64_t count = 0;
    ssize_t n;

    while ((n = recv(fd, chunk + kept, CHUNK_BYTES - kept, 0)) > 0) {
        const char *p = chunk, *end = chunk + kept + n, *found;

        while ((found = memmem(p, (size_t)(end - p), sign, sign_len))) {
            count++;
            p = found + sign_len;
        }
        kept = (size_t)(end - p) < sign_len - 1 ? (size_t)(end - p) : sign_len - 1;
        memmove(chunk, end - kept, kept); /* a sign may come in two pieces */
    }
    ck_assert_int_eq(n, 0);
    (void)close(fd);
    return count;
}

static int64_t reading_backends(const char *dsn)
{
    return pg_query_i64(dsn, "SELECT count(*) FROM pg_stat_activity WHERE datname ="
                             " current_database() AND application_name = 'plumbline read'"
                             " AND state <> 'idle'"); /* kept for the next reader */
}

static const struct {
    const char *accept;
    const char *sign; /* once a row */
} formats[] = {
    { "application/x-ndjson", "\n{\"modelDeploymentCrn\"" },
    { "application/json", "\"modelDeploymentCrn\"" },
    { "text/csv", "\ncrn:load:" },
};

START_TEST(memory_stays_flat)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(mem_free) char *lean = daemon_lean();
    const char *const environment[] = { lean, NULL };
    AUTO(daemon_free)
    struct daemon *daemon =
        daemon_start(&(struct daemon_options){ .dsn = dsn, .environment = environment });
    int64_t rows = runner_short() || IS_SANITIZED ? 100000 : 1000000, before;

    rows_make(daemon, dsn, rows);
    before = daemon_peak_bytes(daemon);
    for (size_t i = 0; i < LENGTH(formats); i++) {
        int64_t count = reader_count(reader_open(daemon, formats[i].accept), formats[i].sign);

        ck_assert_msg(count == rows, "%s: %lld rows", formats[i].accept, (long long)count);
        daemon_check_growth(daemon, before, FLAT_BYTES_MAX);
    }
}
END_TEST

/* Nor is there a copy of the catalog in each read. */
START_TEST(memory_is_not_that_of_the_catalog)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(mem_free) char *lean = daemon_lean();
    const char *const environment[] = { lean, NULL };
    AUTO(daemon_free)
    struct daemon *daemon =
        daemon_start(&(struct daemon_options){ .dsn = dsn, .environment = environment });
    int64_t before;

    rows_make(daemon, dsn, 1000);
    pg_exec(dsn, "INSERT INTO model_deployment (crn, build_crn, model_crn)"
                 " SELECT 'crn:' || n, repeat('b', 300), repeat('m', 300)"
                 " FROM generate_series(1, 100000) AS n");
    before = daemon_peak_bytes(daemon);
    for (size_t i = 0; i < LENGTH(formats); i++) {
        int64_t count = reader_count(reader_open(daemon, formats[i].accept), formats[i].sign);

        ck_assert_msg(count == 1000, "%s: %lld rows", formats[i].accept, (long long)count);
    }
    daemon_check_growth(daemon, before, FLAT_BYTES_MAX);
}
END_TEST

/* The daemon does not fold until the connection is closed. */
static PGconn *folding_stopped(const char *dsn)
{
    PGconn *conn = pg_connect(dsn);

    PQclear(
        PQexec(conn, "SELECT pg_advisory_lock(7237, share) FROM generate_series(0, 15) AS share"));
    return conn;
}

/* Neither deltas that are pending nor names of metrics are held all at once. */
START_TEST(memory_is_not_that_of_what_is_behind_rollups)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(mem_free) char *lean = daemon_lean();
    const char *const environment[] = { lean, NULL };
    AUTO(daemon_free)
    struct daemon *daemon =
        daemon_start(&(struct daemon_options){ .dsn = dsn, .environment = environment });
    PGconn *conn = folding_stopped(dsn);
    AUTO(mem_free)
    char *url = daemon_url(daemon, "/v1/rollups?model_crn=crn:m&window=1h&metric=probability");
    AUTO(mem_free) char *all = daemon_url(daemon, "/v1/rollups?model_crn=crn:m&window=1h");
    AUTO(http_free) struct http *http = http_new();
    AUTO(http_answer_free) struct http_answer *pending = NULL;
    AUTO(http_answer_free) struct http_answer *names = NULL;
    int64_t before;

    rows_make(daemon, dsn, 1);
    pg_exec(dsn, "INSERT INTO rollup_delta SELECT d.* FROM rollup_delta AS d,"
                 " generate_series(2, 300000);"
                 "UPDATE model_deployment SET model_crn = 'crn:m';"
                 "INSERT INTO model_deployment (crn, model_crn)"
                 " SELECT 'crn:' || n, 'crn:m' FROM generate_series(1, 5000) AS n;"
                 "INSERT INTO metric_name (deployment, metric, kind, name, first_batch)"
                 " SELECT deployment, 2 + n, 'prediction', repeat('n', 100) || n, 1"
                 " FROM model_deployment, generate_series(1, 100) AS n WHERE crn ~ '^crn:[0-9]'");
    before = daemon_peak_bytes(daemon);
    pending = http_get(http, url);
    ck_assert_int_eq(pending->status, 200);
    ck_assert_ptr_nonnull(strstr(pending->body, "\"count\":300000,"));
    daemon_check_growth(daemon, before, FLAT_BYTES_MAX);
    names = http_get(http, all);
    ck_assert_int_eq(names->status, 200);
    ck_assert_ptr_nonnull(strstr(names->body, "\"count\":300000,"));
    daemon_check_growth(daemon, before, FLAT_BYTES_MAX);
    PQfinish(conn);
}
END_TEST

START_TEST(stalled_readers_hold_up_nobody)
{
    /* longer where the one that does read may have to wait for a core */
    static const char *const environment[] = { IS_SANITIZED ? "PLUMBLINE_READ_STALL_TIMEOUT_MS=8s"
                                                            : "PLUMBLINE_READ_STALL_TIMEOUT_MS=2s",
                                               NULL };
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(daemon_free)
    struct daemon *daemon =
        daemon_start(&(struct daemon_options){ .dsn = dsn, .environment = environment });
    AUTO(load_free) struct load *load = NULL;
    int fds[STALLED];

    rows_make(daemon, dsn, 100000);
    for (int i = 0; i < STALLED; i++) { /* more than there are threads that serve HTTP */
        fds[i] = reader_open(daemon, formats[i % 2].accept);
        ck_assert(http_raw_await(fds[i], "modelDeploymentCrn", 20000));
    }
    load = load_start(&(struct load_options){
        .seed = 30, .clients = 4, .events_max = 10, .daemons = { daemon } });
    load_await(load, 50);
    ck_assert_int_ge(reader_count(reader_open(daemon, formats[0].accept), formats[0].sign), 99999);
    WAIT_UNTIL(20000, daemon_metric(daemon, "plumbline_reads_dropped_total") == STALLED);
    load_await(load, 10);
    load_finish(load);
    ck_assert_uint_eq(load_tally(load).lost, 0);
    ck_assert_uint_eq(load_tally(load).refused, 0);
    WAIT_UNTIL(20000, daemon_metric(daemon, "plumbline_reads_active") == 0 &&
                          reading_backends(dsn) == 0 &&
                          daemon_metric(daemon, "plumbline_memory_budget_bytes") == 0);
    for (int i = 0; i < STALLED; i++)
        (void)close(fds[i]);
}
END_TEST

START_TEST(leaving_frees_the_backend)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(daemon_free) struct daemon *daemon = daemon_start(&(struct daemon_options){ .dsn = dsn });

    rows_make(daemon, dsn, 100000);
    for (size_t i = 0; i < LENGTH(formats); i++) {
        int fd = reader_open(daemon, formats[i].accept);

        ck_assert(http_raw_await(fd, "crn:load:", 20000));
        ck_assert_int_eq(reading_backends(dsn), 1);
        (void)close(fd);
        WAIT_UNTIL(20000, reading_backends(dsn) == 0);
    }
    WAIT_UNTIL(20000, daemon_metric(daemon, "plumbline_memory_budget_bytes") == 0);
}
END_TEST

/* Gone before Postgres has said anything, which it may not for hours. */
START_TEST(leaving_early_frees_the_backend)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(daemon_free) struct daemon *daemon = daemon_start(&(struct daemon_options){ .dsn = dsn });
    PGconn *conn;
    int fd;

    rows_make(daemon, dsn, 10);
    conn = pg_connect(dsn);
    PQclear(PQexec(conn, "BEGIN; LOCK TABLE prediction IN ACCESS EXCLUSIVE MODE"));
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INTRANS);
    fd = reader_open(daemon, formats[0].accept);
    WAIT_UNTIL(20000, pg_query_i64(dsn, "SELECT count(*) FROM pg_stat_activity WHERE datname ="
                                        " current_database() AND application_name ="
                                        " 'plumbline read' AND wait_event_type = 'Lock'") == 1);
    (void)close(fd);
    WAIT_UNTIL(20000, reading_backends(dsn) == 0);
    PQfinish(conn);
}
END_TEST

/* A reader finds the connection of the one before, and does not notice when the server ended it. */
START_TEST(readers_use_a_backend_again)
{
    static const char backends[] = "SELECT count(*) FROM pg_stat_activity WHERE datname ="
                                   " current_database() AND application_name = 'plumbline read'";
    static const char *const paths[] = { "/v1/metrics",
                                         "/v1/rollups?model_deployment_crn=crn:a&window=1h",
                                         "/v1/deployments", "/v1/deployments/crn:a",
                                         "/v1/metrics?limit=1" };
    AUTO(service_free) struct service *service = service_start();

    service_take(service, "{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"crn:a\","
                          "\"startTimestampMs\":1700000000000,"
                          "\"endTimestampMs\":1700000000001,\"metrics\":{\"a\":1}}");
    for (size_t i = 0; i < 2 * LENGTH(paths); i++) {
        json_decref(service_get(service, 200, paths[i % LENGTH(paths)]));
        ck_assert_int_eq(pg_query_i64(service->dsn, backends), 1);
    }
    pg_exec(service->dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                          " WHERE application_name = 'plumbline read'");
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, backends) == 0);
    json_decref(service_get(service, 200, paths[0]));
}
END_TEST

Suite *streams_suite(void)
{
    Suite *suite = suite_create("streams");
    TCase *tc = tcase_create("streams");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, memory_stays_flat);
    tcase_add_test(tc, memory_is_not_that_of_the_catalog);
    tcase_add_test(tc, memory_is_not_that_of_what_is_behind_rollups);
    tcase_add_test(tc, stalled_readers_hold_up_nobody);
    tcase_add_test(tc, leaving_frees_the_backend);
    tcase_add_test(tc, leaving_early_frees_the_backend);
    tcase_add_test(tc, readers_use_a_backend_again);
    suite_add_tcase(suite, tc);
    return suite;
}
