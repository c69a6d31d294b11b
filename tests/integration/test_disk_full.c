/* The disk under Postgres is full: requests get 503 or go to the spool, nothing acknowledged is
 * lost, and with space it goes on by itself. */
#include <check.h>
#include <libpq-fe.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/harness/daemon.h"
#include "tests/harness/disk.h"
#include "tests/harness/load.h"
#include "tests/harness/pg.h"
#include "tests/harness/process.h"
#include "tests/harness/temp.h"
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

/* The write-ahead log goes to the disk; the server starts anew there. */
static void wal_move(struct pg *pg, const char *dsn, const char *disk)
{
    AUTO(mem_free) char *data = pg_query_text(dsn, "SHOW data_directory");
    AUTO(mem_free)
    char *command =
        xasprintf("mv '%s/pg_wal' '%s/wal' && ln -s '%s/wal' '%s/pg_wal'", data, disk, disk, data);
    const char *const argv[] = { "sh", "-c", command, NULL };

    pg_stop(pg, PG_STOP_FAST);
    process_run(&(struct process_options){ .argv = argv, .as_postgres = true });
    pg_resume(pg);
}

/* The next segment is wanted, and with it the server dies if there is no space. */
static void wal_switch(const char *dsn)
{
    PGconn *conn = PQconnectdb(dsn);

    PQclear(PQexec(conn, "SELECT pg_switch_wal()"));
    PQfinish(conn);
}

static bool log_has(const struct pg *pg, const char *text)
{
    AUTO(mem_free) char *log = pg_log(pg, 1 << 20);

    return strstr(log, text) != NULL;
}

static const struct {
    const char *environment[3];
    bool has_spool;
} wal_cases[] = {
    /* a batch whose COMMIT got no answer keeps its clients waiting: it has not all of them */
    { { "PLUMBLINE_COMMIT_TIMEOUT_MS=500ms", "PLUMBLINE_BATCH_EVENTS_MAX=100" }, false },
    { { "PLUMBLINE_SPOOL_AFTER_MS=200ms" }, true },
};

/* Postgres has no space for its log: it panics, ends, and is started again when there is some. */
START_TEST(full_wal)
{
    /* no segment is kept for later: each needs space of its own */
    static const char *const settings[] = { "wal_recycle=off", "min_wal_size=8MB",
                                            "max_wal_size=16MB", NULL };
    AUTO(mem_free) char *disk = disk_new(DISK_MIB);
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *spool = xasprintf("%s/spool", dir);
    AUTO(mem_free) char *ballast = NULL;
    AUTO(pg_free) struct pg *pg = NULL;
    AUTO(mem_free) char *dsn = NULL;
    AUTO(daemon_free) struct daemon *daemon = NULL;
    AUTO(load_free) struct load *load = NULL;

    if (!disk)
        return;
    pg = pg_start(&(struct pg_options){ .settings = settings });
    ballast = xasprintf("%s/ballast", disk);
    dsn = pg_database_new(pg);
    wal_move(pg, dsn, disk);
    daemon =
        daemon_start(&(struct daemon_options){ .dsn = dsn,
                                               .environment = wal_cases[_i].environment,
                                               .spool = wal_cases[_i].has_spool ? spool : NULL });
    load = load_start(&(struct load_options){
        .seed = 61, .clients = 16, .events_max = 100, .anonymous = true, .daemons = { daemon } });
    load_await(load, 20);
    disk_fill(ballast);
    WAIT_UNTIL(30000, (wal_switch(dsn), log_has(pg, "PANIC:")));
    if (wal_cases[_i].has_spool) {
        load_await_spooled(load, 8);
        load_finish(load); /* what is spooled has to fit through so small a log again */
    } else {
        load_await_refused(load, 8);
    }
    ck_assert_int_eq(daemon_status(daemon, "/healthz"), 200);
    ck_assert_int_eq(unlink(ballast), 0);
    pg_revive(pg);
    if (wal_cases[_i].has_spool) {
        WAIT_UNTIL(30000, daemon_metric(daemon, "plumbline_spool_groups") == 0);
    } else {
        load_await(load, 20);
        load_finish(load);
    }
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
    tcase_add_loop_test(tc, full_wal, 0, (int)LENGTH(wal_cases));
    suite_add_tcase(suite, tc);
    return suite;
}
