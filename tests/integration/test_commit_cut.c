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
#include "tests/harness/runner.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *commit_cut_suite(void);

/* One request is in a batch, so that the others wait behind it. */
static const char *const impatient[] = { "PLUMBLINE_COMMIT_TIMEOUT_MS=300ms",
                                         "PLUMBLINE_COMMITTERS=1", "PLUMBLINE_BATCH_EVENTS_MAX=1",
                                         NULL };

/* Through a proxy, which harms the committers alone. */
static struct service *cut_start(const char *const *environment)
{
    struct service *service =
        service_start_proxied(&(struct daemon_options){ .environment = environment });

    proxy_aim(service->proxy, "plumbline metrics");
    return service;
}

/* Clients whose events have no identity, at work. */
static struct load *cut_load(const struct service *service, uint64_t seed, uint32_t clients,
                             uint32_t events_max)
{
    struct load *load = load_start(&(struct load_options){ .seed = seed,
                                                           .clients = clients,
                                                           .events_max = events_max,
                                                           .anonymous = true,
                                                           .daemons = { service->daemon } });

    load_await(load, 10);
    return load;
}

/* Holds the next COMMIT. */
static void cut_hold(const struct service *service)
{
    proxy_arm(service->proxy, PROXY_HOLD, 0);
    WAIT_UNTIL(20000, proxy_sprung(service->proxy));
}

/* Nobody is without an answer, and all is there once. */
static void cut_check(const struct service *service, struct load *load)
{
    load_finish(load);
    ck_assert_uint_eq(load_tally(load).lost, 0);
    load_check(load, service->dsn);
}

START_TEST(every_position_of_a_cut)
{
    AUTO(service_free) struct service *service = cut_start(NULL);
    AUTO(load_free) struct load *load = cut_load(service, 10 + (uint64_t)_i, 3, 20);
    uint32_t positions = runner_short() ? 3 : 8;

    for (uint32_t position = 0; position < positions; position++) {
        proxy_arm(service->proxy, proxy_cuts[_i].mode, position);
        WAIT_UNTIL(20000, proxy_sprung(service->proxy));
        load_await(load, 3);
    }
    cut_check(service, load);
    ck_assert_uint_eq(load_tally(load).duplicate, 0);
    ck_assert_msg(daemon_metric(service->daemon, "plumbline_commit_replays_total") ==
                      (proxy_cuts[_i].commits ? positions : 0),
                  "%s", proxy_cuts[_i].name);
}
END_TEST

/* A COMMIT that takes its time: those who wait behind it are refused when their time is over, those
 * in it are answered with what becomes of it. */
START_TEST(held_commit)
{
    AUTO(service_free) struct service *service = cut_start(impatient);
    AUTO(load_free) struct load *load = cut_load(service, 20, 6, 20);

    for (int round = 0; round < 2; round++) {
        cut_hold(service);
        load_await_refused(load, 6);
        proxy_release(service->proxy);
        load_await(load, 10);
    }
    cut_check(service, load);
}
END_TEST

/* A second committer takes what waits behind a COMMIT that hangs, however little it is. */
START_TEST(held_commit_holds_up_nobody_else)
{
    AUTO(service_free) struct service *service = cut_start(NULL);
    AUTO(load_free) struct load *load = cut_load(service, 21, 6, 3);

    cut_hold(service);
    load_await(load, 20);
    proxy_release(service->proxy);
    cut_check(service, load);
}
END_TEST

/* Held, then the connection is cut: the transaction's end comes later than the daemon's question
 * for it. */
START_TEST(held_commit_is_cut)
{
    AUTO(service_free) struct service *service = cut_start(NULL);
    AUTO(load_free) struct load *load = cut_load(service, 21, 6, 20);

    for (int round = 0; round < 3; round++) {
        cut_hold(service);
        proxy_cut_all(service->proxy);
        load_await(load, 10);
    }
    cut_check(service, load);
}
END_TEST

/* The daemon dies while its COMMIT is on the way, and the COMMIT arrives when the clients have sent
 * everything again to the next daemon, which waits for the transaction of the dead one. */
START_TEST(commit_of_a_dead_daemon)
{
    AUTO(service_free) struct service *service = cut_start(NULL);
    AUTO(load_free)
    struct load *load = load_start(&(struct load_options){
        .seed = 22, .clients = 6, .events_max = 20, .daemons = { service->daemon } });

    load_await(load, 10);
    cut_hold(service);
    daemon_kill9(service->daemon);
    daemon_resume(service->daemon);
    load_aim(load, service->daemon);
    WAIT_UNTIL(20000, pg_query_i64(service->dsn, "SELECT count(*) FROM pg_stat_activity"
                                                 " WHERE datname = current_database()"
                                                 " AND application_name = 'plumbline metrics'"
                                                 " AND wait_event_type = 'Lock'") == 1);
    proxy_release(service->proxy);
    load_await(load, 10);
    load_finish(load);
    ck_assert_uint_gt(load_tally(load).duplicate, 0);
    load_check(load, service->dsn);
}
END_TEST

START_TEST(random_cuts)
{
    AUTO(service_free) struct service *service = cut_start(NULL);
    AUTO(load_free) struct load *load = cut_load(service, 23, 6, 60);
    unsigned seed = 23;
    int rounds = runner_short() ? 10 : 20;

    for (int round = 0; round < rounds; round++) {
        long us = rand_r(&seed) % 20000;

        load_await(load, 1);
        (void)nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL); /* any moment will do */
        proxy_cut_all(service->proxy);
    }
    load_await(load, 10);
    cut_check(service, load);
    ck_assert_uint_eq(load_tally(load).duplicate, 0);
}
END_TEST

Suite *commit_cut_suite(void)
{
    Suite *suite = suite_create("commit_cut");
    TCase *tc = tcase_create("commit_cut");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_loop_test(tc, every_position_of_a_cut, 0, PROXY_CUTS);
    tcase_add_test(tc, held_commit);
    tcase_add_test(tc, held_commit_holds_up_nobody_else);
    tcase_add_test(tc, held_commit_is_cut);
    tcase_add_test(tc, commit_of_a_dead_daemon);
    tcase_add_test(tc, random_cuts);
    suite_add_tcase(suite, tc);
    return suite;
}
