/* Two daemons on one database, and clients that all post the same events, three times each, in
 * orders and batches of their own, to either daemon. */
#include <check.h>

#include "base/mem.h"
#include "tests/harness/daemon.h"
#include "tests/harness/load.h"
#include "tests/harness/pg.h"
#include "tests/harness/runner.h"

Suite *concurrency_suite(void);

enum { CLIENTS = 6, ROUNDS = 3 };

START_TEST(same_events_everywhere_at_once)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(daemon_free) struct daemon *a = daemon_spawn(&(struct daemon_options){ .dsn = dsn });
    AUTO(daemon_free) struct daemon *b = daemon_spawn(&(struct daemon_options){ .dsn = dsn });
    uint32_t shared = runner_short() ? 1000 : 5000;
    struct load_tally tally;
    AUTO(load_free) struct load *load = NULL;

    daemon_wait_ready(a); /* both find an empty database */
    daemon_wait_ready(b);
    load = load_start(&(struct load_options){ .seed = 70,
                                              .clients = CLIENTS,
                                              .events_max = 300,
                                              .shared = shared,
                                              .rounds = ROUNDS,
                                              .daemons = { a, b } });
    load_finish(load);
    tally = load_tally(load);
    ck_assert_uint_eq(tally.lost, 0);
    ck_assert_uint_eq(tally.refused, 0);
    ck_assert_uint_eq(tally.events, (uint64_t)CLIENTS * ROUNDS * shared);
    ck_assert_uint_eq(tally.accepted, shared);
    load_check(load, dsn);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT deadlocks FROM pg_stat_database"
                                       " WHERE datname = current_database()"),
                     0);
    ck_assert(!daemon_log_has(a, "40P01") && !daemon_log_has(b, "40P01"));
    ck_assert(!daemon_log_has(a, "event=commit_failed") &&
              !daemon_log_has(b, "event=commit_failed"));
}
END_TEST

/* The same with one of the two killed and started again, while the other goes on. */
START_TEST(one_of_two_is_killed)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(daemon_free) struct daemon *a = daemon_start(&(struct daemon_options){ .dsn = dsn });
    AUTO(daemon_free) struct daemon *b = daemon_start(&(struct daemon_options){ .dsn = dsn });
    uint32_t shared = runner_short() ? 1000 : 4000;
    AUTO(load_free)
    struct load *load = load_start(&(struct load_options){ .seed = 71,
                                                           .clients = CLIENTS,
                                                           .events_max = 100,
                                                           .shared = shared,
                                                           .rounds = 2,
                                                           .daemons = { a, b } });

    for (int round = 0; round < 2; round++) {
        load_await(load, 20);
        daemon_kill9(a);
        load_await(load, 10); /* by the other one */
        daemon_resume(a);
        load_aim(load, a);
    }
    load_finish(load);
    load_check(load, dsn);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT deadlocks FROM pg_stat_database"
                                       " WHERE datname = current_database()"),
                     0);
}
END_TEST

Suite *concurrency_suite(void)
{
    Suite *suite = suite_create("concurrency");
    TCase *tc = tcase_create("concurrency");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, same_events_everywhere_at_once);
    tcase_add_test(tc, one_of_two_is_killed);
    suite_add_tcase(suite, tc);
    return suite;
}
