/* The disk under Postgres is full: requests get 503, nothing acknowledged is lost, and with space
 * it goes on by itself. */
#include <check.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/harness/daemon.h"
#include "tests/harness/disk.h"
#include "tests/harness/load.h"
#include "tests/harness/pg.h"
#include "tests/harness/wait.h"

Suite *disk_full_suite(void);

enum { DISK_MIB = 48 };

static char *database_on(struct pg *pg, const char *disk)
{
    AUTO(mem_free) char *dsn = pg_dsn(pg, "postgres");

    pg_exec(dsn, "CREATE TABLESPACE small LOCATION '%s'", disk);
    pg_exec(dsn, "CREATE DATABASE small TEMPLATE template0 TABLESPACE small");
    return pg_dsn(pg, "small");
}

START_TEST(full_disk_is_503_until_there_is_space)
{
    static const char *const environment[] = { "PLUMBLINE_COMMIT_TIMEOUT_MS=500ms", NULL };
    AUTO(mem_free) char *disk = disk_new(DISK_MIB);
    AUTO(mem_free) char *ballast = NULL;
    AUTO(pg_free) struct pg *pg = NULL;
    AUTO(mem_free) char *dsn = NULL;
    AUTO(daemon_free) struct daemon *daemon = NULL;
    AUTO(load_free) struct load *load = NULL;

    if (!disk)
        return;
    pg = pg_start(NULL);
    ballast = xasprintf("%s/ballast", disk);
    dsn = database_on(pg, disk);
    daemon = daemon_start(&(struct daemon_options){ .dsn = dsn, .environment = environment });
    load = load_start(&(struct load_options){
        .seed = 60, .clients = 4, .events_max = 100, .anonymous = true, .daemons = { daemon } });
    for (int round = 0; round < 2; round++) {
        load_await(load, 20);
        disk_fill(ballast);
        load_await_refused(load, 8);
        ck_assert_int_eq(daemon_status(daemon, "/healthz"), 200);
        ck_assert_int_eq(unlink(ballast), 0);
    }
    load_await(load, 20);
    ck_assert(daemon_log_has(daemon, "SQLSTATE 53100"));
    WAIT_UNTIL(20000, daemon_status(daemon, "/readyz") == 200);
    load_finish(load);
    ck_assert_uint_eq(load_tally(load).lost, 0);
    load_check(load, dsn);
}
END_TEST

Suite *disk_full_suite(void)
{
    Suite *suite = suite_create("disk_full");
    TCase *tc = tcase_create("disk_full");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, full_disk_is_503_until_there_is_space);
    suite_add_tcase(suite, tc);
    return suite;
}
