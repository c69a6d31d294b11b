/* The disk under Postgres is full: requests get 503, nothing acknowledged is lost, and with space
 * it goes on by itself. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "collector/pg_program.h"
#include "tests/harness/daemon.h"
#include "tests/harness/load.h"
#include "tests/harness/pg.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"

Suite *disk_full_suite(void);

enum { DISK_MIB = 48 };

/* A small disk for the tables, in a mount namespace of this test's: it goes with its processes.
 * Owned path; NULL: this process may not mount one. */
static char *disk_new(void)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *options = NULL;
    struct pg_user user;
    struct err err = { 0 };

    ck_assert_msg(pg_user_find(&user, &err) == 0, "%s", err.text);
    options = xasprintf("size=%dm,mode=0700,uid=%u,gid=%u", DISK_MIB, (unsigned)user.uid,
                        (unsigned)user.gid);
    if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("tmpfs", dir, "tmpfs", 0, options) == 0)
        return TAKE(dir);
    printf("disk_full: left out, a tmpfs can't be mounted here: %s\n", strerror(errno));
    return NULL;
}

/* Takes all that is left. */
static void disk_fill(const char *path)
{
    static const char zeros[65536];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t n;

    ck_assert_int_ge(fd, 0);
    while ((n = write(fd, zeros, sizeof(zeros))) > 0)
        continue;
    ck_assert(n < 0 && errno == ENOSPC);
    (void)close(fd);
}

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
    AUTO(mem_free) char *disk = disk_new();
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
