/* The connection to Postgres lost around COMMIT. Nobody is answered before the outcome is known, so
 * no answer is ever lost and even events without identity are stored exactly once: the clients'
 * and the tables' counts must be equal. */
#include <check.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "tests/harness/daemon.h"
#include "tests/harness/load.h"
#include "tests/harness/pg.h"
#include "tests/harness/proxy.h"
#include "tests/harness/runner.h"
#include "tests/harness/wait.h"

Suite *commit_cut_suite(void);

/* One request is in a batch, so that the others wait behind it. */
static const char *const impatient[] = { "PLUMBLINE_COMMIT_TIMEOUT_MS=300ms",
                                         "PLUMBLINE_COMMITTERS=1", "PLUMBLINE_BATCH_EVENTS_MAX=1",
                                         NULL };

/* A daemon whose way to its database is the proxy. */
struct fixture {
    char *dsn; /* past the proxy */
    struct proxy *proxy;
    struct daemon *daemon;
};

static void fixture_start(struct fixture *fixture, const char *const *environment)
{
    AUTO(mem_free) char *database = NULL;
    AUTO(mem_free) char *through = NULL;

    fixture->dsn = pg_database_new(pg_shared());
    database = pg_query_text(fixture->dsn, "SELECT current_database()");
    fixture->proxy = proxy_start(pg_socket_dir(pg_shared()));
    proxy_aim(fixture->proxy, "plumbline metrics");
    through = proxy_dsn(fixture->proxy, database);
    fixture->daemon =
        daemon_start(&(struct daemon_options){ .dsn = through, .environment = environment });
}

static void fixture_stop(struct fixture *fixture)
{
    daemon_free(fixture->daemon);
    proxy_stop(fixture->proxy);
    free(fixture->dsn);
}

static const struct {
    const char *name;
    enum proxy_mode mode;
    bool commits;
} cuts[] = {
    { "cut before", PROXY_CUT_BEFORE, false },
    { "cut after", PROXY_CUT_AFTER, true },
    { "drop answer", PROXY_DROP_ANSWER, true },
};

START_TEST(every_position_of_a_cut)
{
    struct fixture fixture;
    AUTO(load_free) struct load *load = NULL;
    uint32_t positions = runner_short() ? 3 : 8;

    fixture_start(&fixture, NULL);
    load = load_start(&(struct load_options){ .seed = 10 + (uint64_t)_i,
                                              .clients = 3,
                                              .events_max = 20,
                                              .anonymous = true,
                                              .daemons = { fixture.daemon } });
    load_await(load, 3);
    for (uint32_t position = 0; position < positions; position++) {
        proxy_arm(fixture.proxy, cuts[_i].mode, position);
        WAIT_UNTIL(20000, proxy_sprung(fixture.proxy));
        load_await(load, 3);
    }
    load_finish(load);
    ck_assert_uint_eq(load_tally(load).lost, 0);
    ck_assert_uint_eq(load_tally(load).duplicate, 0);
    ck_assert_msg(daemon_metric(fixture.daemon, "plumbline_commit_replays_total") ==
                      (cuts[_i].commits ? positions : 0),
                  "%s", cuts[_i].name);
    load_check(load, fixture.dsn);
    fixture_stop(&fixture);
}
END_TEST

/* A COMMIT that takes its time: those who wait behind it are refused when their time is over, those
 * in it are answered with what becomes of it. */
START_TEST(held_commit)
{
    struct fixture fixture;
    AUTO(load_free) struct load *load = NULL;

    fixture_start(&fixture, impatient);
    load = load_start(&(struct load_options){ .seed = 20,
                                              .clients = 6,
                                              .events_max = 20,
                                              .anonymous = true,
                                              .daemons = { fixture.daemon } });
    load_await(load, 10);
    for (int round = 0; round < 2; round++) {
        proxy_arm(fixture.proxy, PROXY_HOLD, 0);
        WAIT_UNTIL(20000, proxy_sprung(fixture.proxy));
        load_await_refused(load, 6);
        proxy_release(fixture.proxy);
        load_await(load, 10);
    }
    load_finish(load);
    ck_assert_uint_eq(load_tally(load).lost, 0);
    load_check(load, fixture.dsn);
    fixture_stop(&fixture);
}
END_TEST

/* A second committer takes what waits behind a COMMIT that hangs, however little it is. */
START_TEST(held_commit_holds_up_nobody_else)
{
    struct fixture fixture;
    AUTO(load_free) struct load *load = NULL;

    fixture_start(&fixture, NULL);
    load = load_start(&(struct load_options){ .seed = 21,
                                              .clients = 6,
                                              .events_max = 3,
                                              .anonymous = true,
                                              .daemons = { fixture.daemon } });
    load_await(load, 10);
    proxy_arm(fixture.proxy, PROXY_HOLD, 0);
    WAIT_UNTIL(20000, proxy_sprung(fixture.proxy));
    load_await(load, 20);
    proxy_release(fixture.proxy);
    load_finish(load);
    ck_assert_uint_eq(load_tally(load).lost, 0);
    load_check(load, fixture.dsn);
    fixture_stop(&fixture);
}
END_TEST

/* Held, then the connection is cut: the transaction's end comes later than the daemon's question
 * for it. */
START_TEST(held_commit_is_cut)
{
    struct fixture fixture;
    AUTO(load_free) struct load *load = NULL;

    fixture_start(&fixture, NULL);
    load = load_start(&(struct load_options){ .seed = 21,
                                              .clients = 6,
                                              .events_max = 20,
                                              .anonymous = true,
                                              .daemons = { fixture.daemon } });
    load_await(load, 10);
    for (int round = 0; round < 3; round++) {
        proxy_arm(fixture.proxy, PROXY_HOLD, 0);
        WAIT_UNTIL(20000, proxy_sprung(fixture.proxy));
        proxy_cut_all(fixture.proxy);
        load_await(load, 10);
    }
    load_finish(load);
    ck_assert_uint_eq(load_tally(load).lost, 0);
    load_check(load, fixture.dsn);
    fixture_stop(&fixture);
}
END_TEST

/* The daemon dies while its COMMIT is on the way, and the COMMIT arrives when the clients have sent
 * everything again to the next daemon, which waits for the transaction of the dead one. */
START_TEST(commit_of_a_dead_daemon)
{
    struct fixture fixture;
    AUTO(load_free) struct load *load = NULL;

    fixture_start(&fixture, NULL);
    load = load_start(&(struct load_options){
        .seed = 22, .clients = 6, .events_max = 20, .daemons = { fixture.daemon } });
    load_await(load, 10);
    proxy_arm(fixture.proxy, PROXY_HOLD, 0);
    WAIT_UNTIL(20000, proxy_sprung(fixture.proxy));
    daemon_kill9(fixture.daemon);
    daemon_resume(fixture.daemon);
    load_aim(load, fixture.daemon);
    WAIT_UNTIL(20000, pg_query_i64(fixture.dsn, "SELECT count(*) FROM pg_stat_activity"
                                                " WHERE datname = current_database()"
                                                " AND application_name = 'plumbline metrics'"
                                                " AND wait_event_type = 'Lock'") == 1);
    proxy_release(fixture.proxy);
    load_await(load, 10);
    load_finish(load);
    ck_assert_uint_gt(load_tally(load).duplicate, 0);
    load_check(load, fixture.dsn);
    fixture_stop(&fixture);
}
END_TEST

START_TEST(random_cuts)
{
    struct fixture fixture;
    AUTO(load_free) struct load *load = NULL;
    unsigned seed = 23;
    int rounds = runner_short() ? 10 : 20;

    fixture_start(&fixture, NULL);
    load = load_start(&(struct load_options){ .seed = seed,
                                              .clients = 6,
                                              .events_max = 60,
                                              .anonymous = true,
                                              .daemons = { fixture.daemon } });
    for (int round = 0; round < rounds; round++) {
        long us = rand_r(&seed) % 20000;

        load_await(load, 1);
        (void)nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL); /* any moment will do */
        proxy_cut_all(fixture.proxy);
    }
    load_await(load, 10);
    load_finish(load);
    ck_assert_uint_eq(load_tally(load).lost, 0);
    ck_assert_uint_eq(load_tally(load).duplicate, 0);
    load_check(load, fixture.dsn);
    fixture_stop(&fixture);
}
END_TEST

Suite *commit_cut_suite(void)
{
    Suite *suite = suite_create("commit_cut");
    TCase *tc = tcase_create("commit_cut");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_loop_test(tc, every_position_of_a_cut, 0, LENGTH(cuts));
    tcase_add_test(tc, held_commit);
    tcase_add_test(tc, held_commit_holds_up_nobody_else);
    tcase_add_test(tc, held_commit_is_cut);
    tcase_add_test(tc, commit_of_a_dead_daemon);
    tcase_add_test(tc, random_cuts);
    suite_add_tcase(suite, tc);
    return suite;
}
