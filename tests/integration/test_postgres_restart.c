/* Postgres goes away under load, in every way it can, and comes back: the daemon answers 503
 * meanwhile, loses nothing and never exits. */
#include <check.h>

#include "base/mem.h"
#include "tests/harness/daemon.h"
#include "tests/harness/http.h"
#include "tests/harness/load.h"
#include "tests/harness/pg.h"
#include "tests/harness/wait.h"

Suite *postgres_restart_suite(void);

static const char *const impatient[] = { "PLUMBLINE_COMMIT_TIMEOUT_MS=300ms", NULL };

static void stop_fast(struct pg *pg)
{
    pg_stop(pg, PG_STOP_FAST);
}

static void stop_immediate(struct pg *pg)
{
    pg_stop(pg, PG_STOP_IMMEDIATE);
}

static void (*const stops[])(struct pg *pg) = { stop_fast, stop_immediate, pg_kill9 };

START_TEST(nothing_is_lost_over_restarts)
{
    AUTO(pg_free) struct pg *pg = pg_start(NULL);
    AUTO(mem_free) char *dsn = pg_database_new(pg);
    AUTO(daemon_free)
    struct daemon *daemon =
        daemon_start(&(struct daemon_options){ .dsn = dsn, .environment = impatient });
    pid_t pid = daemon_pid(daemon);
    AUTO(load_free)
    struct load *load = load_start(&(struct load_options){
        .seed = 3, .clients = 8, .events_max = 40, .anonymous = true, .daemons = { daemon } });

    for (size_t i = 0; i < LENGTH(stops); i++) {
        load_await(load, 30);
        stops[i](pg);
        load_await_refused(load, 12);
        /* the first answers may be of batches whose connection broke, before another was tried */
        WAIT_UNTIL(10000, daemon_status(daemon, "/readyz") == 503);
        ck_assert_int_eq(daemon_status(daemon, "/healthz"), 200);
        pg_resume(pg);
        load_await(load, 30);
        WAIT_UNTIL(10000, daemon_status(daemon, "/readyz") == 200);
    }
    load_finish(load);
    /* nobody was left without an answer: each event counts once, those without identity too */
    ck_assert_uint_eq(load_tally(load).lost, 0);
    ck_assert_int_eq(daemon_pid(daemon), pid);
    load_check(load, dsn);
}
END_TEST

/* Without traffic: Postgres goes before anybody has posted anything, and comes back although nobody
 * posts to a server that says "not ready". */
START_TEST(readiness_without_traffic)
{
    AUTO(pg_free) struct pg *pg = pg_start(NULL);
    AUTO(mem_free) char *dsn = pg_database_new(pg);
    AUTO(daemon_free)
    struct daemon *daemon =
        daemon_start(&(struct daemon_options){ .dsn = dsn, .environment = impatient });
    AUTO(http_free) struct http *http = http_new();
    AUTO(mem_free) char *url = daemon_url(daemon, "/v1/events");
    AUTO(http_answer_free) struct http_answer *answer = NULL;
    AUTO(buf_done) struct buf event;

    buf_init(&event, 4096);
    load_write_prediction(&event, 4, 1);
    ck_assert_int_eq(daemon_status(daemon, "/readyz"), 200);
    pg_stop(pg, PG_STOP_IMMEDIATE);
    WAIT_UNTIL(10000, daemon_status(daemon, "/readyz") == 503);
    pg_resume(pg);
    WAIT_UNTIL(10000, daemon_status(daemon, "/readyz") == 200);
    pg_stop(pg, PG_STOP_FAST);
    answer = http_post(http, url, buf_text(&event));
    ck_assert_int_eq(answer->status, 503);
    ck_assert_int_eq(daemon_status(daemon, "/readyz"), 503);
    pg_resume(pg);
    WAIT_UNTIL(10000, daemon_status(daemon, "/readyz") == 200);
}
END_TEST

Suite *postgres_restart_suite(void)
{
    Suite *suite = suite_create("postgres_restart");
    TCase *tc = tcase_create("postgres_restart");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, nothing_is_lost_over_restarts);
    tcase_add_test(tc, readiness_without_traffic);
    suite_add_tcase(suite, tc);
    return suite;
}
