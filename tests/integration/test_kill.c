/* A daemon that is killed with -9 under load, again and again: what was acknowledged is there, and
 * nothing is doubled by the clients that send the rest again. */
#include <check.h>

#include "base/mem.h"
#include "tests/harness/daemon.h"
#include "tests/harness/load.h"
#include "tests/harness/pg.h"
#include "tests/harness/runner.h"
#include "tests/harness/wait.h"

Suite *kill_suite(void);

START_TEST(acknowledged_is_kept_over_kills)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(daemon_free) struct daemon *daemon = daemon_start(&(struct daemon_options){ .dsn = dsn });
    AUTO(load_free)
    struct load *load = load_start(&(struct load_options){
        .seed = 1, .clients = 8, .events_max = 40, .anonymous = true, .daemons = { daemon } });
    int rounds = runner_short() ? 2 : 5;

    for (int round = 0; round < rounds; round++) {
        load_await(load, 50 + 37 * (uint64_t)round); /* not at the same point each time */
        daemon_kill9(daemon);
        daemon_resume(daemon);
        load_aim(load, daemon);
    }
    load_await(load, 50);
    load_finish(load);
    ck_assert_uint_gt(load_tally(load).lost, 0);
    load_check(load, dsn);
}
END_TEST

/* The daemon dies while its COMMIT is under way: the answers are lost, the rows are not. Its heir
 * meets the dead one's transactions and must not be misled by them. */
START_TEST(killed_with_requests_under_way)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(daemon_free) struct daemon *daemon = daemon_start(&(struct daemon_options){ .dsn = dsn });
    AUTO(load_free)
    struct load *load = load_start(&(struct load_options){
        .seed = 2, .clients = 4, .events_max = 2000, .daemons = { daemon } });
    int rounds = runner_short() ? 2 : 4;

    for (int round = 0; round < rounds; round++) {
        load_await(load, 3);
        WAIT_UNTIL(20000, pg_query_i64(dsn, "SELECT count(*) FROM pg_stat_activity"
                                            " WHERE datname = current_database()"
                                            " AND application_name = 'plumbline metrics'"
                                            " AND state = 'active' AND query LIKE 'COPY%%'") > 0);
        daemon_kill9(daemon);
        daemon_resume(daemon);
        load_aim(load, daemon);
    }
    load_finish(load);
    ck_assert_uint_gt(load_tally(load).lost, 0);
    load_check(load, dsn);
}
END_TEST

Suite *kill_suite(void)
{
    Suite *suite = suite_create("kill");
    TCase *tc = tcase_create("kill");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, acknowledged_is_kept_over_kills);
    tcase_add_test(tc, killed_with_requests_under_way);
    suite_add_tcase(suite, tc);
    return suite;
}
