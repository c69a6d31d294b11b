#include "collector/pg_local.h"

#include <check.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "collector/pg_program.h"
#include "tests/harness/pg.h"
#include "tests/harness/runner.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"

Suite *pg_local_suite(void);

static struct pg_local *local_start(const char *dir)
{
    struct err err = { 0 };
    struct pg_local *local = pg_local_start(dir, &err);

    ck_assert_msg(local != NULL, "%s", err.text);
    return local;
}

static pid_t local_pid(const char *dir)
{
    AUTO(mem_free) char *path = xasprintf("%s/postgres/postmaster.pid", dir);
    AUTO(mem_free) char *text = temp_file_tail(path, 4096);

    return (pid_t)strtol(text, NULL, 10);
}

static void local_refused(const char *dir, const char *words)
{
    struct err err = { 0 };
    struct pg_local *local = pg_local_start(dir, &err);

    ck_assert_msg(local == NULL, "it started, and should have said: %s", words);
    ck_assert_int_eq(err.kind, ERR_FATAL);
    ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" lacks \"%s\"", err.text, words);
}

/* What a daemon that is killed leaves behind: a server without a parent. */
static void local_abandon(const char *dir)
{
    pid_t pid;
    int status;

    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        (void)local_start(dir);
        _exit(EXIT_SUCCESS);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

START_TEST(made_once_and_found_again)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *data = xasprintf("%s/a b/var/", dir);
    struct pg_local *local = local_start(data);
    AUTO(mem_free) char *dsn = xstrdup(pg_local_dsn(local));
    AUTO(mem_free) char *checksums = pg_query_text(dsn, "SHOW data_checksums");
    AUTO(mem_free) char *tcp = pg_query_text(dsn, "SHOW listen_addresses");
    pid_t pid = local_pid(data);

    ck_assert_str_eq(checksums, "on");
    ck_assert_str_eq(tcp, "");
    ck_assert_int_ne(getsid(pid), getsid(0));
    pg_exec(dsn, "CREATE TABLE t AS SELECT 1 AS n");
    pg_local_stop(local);
    ck_assert_int_lt(kill(pid, 0), 0); /* neither running nor a zombie */
    ck_assert_int_eq(local_pid(data), 0);
    local = local_start(data);
    ck_assert_str_eq(pg_local_dsn(local), dsn);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT n FROM t"), 1);
    pg_local_stop(local);
}
END_TEST

START_TEST(nobody_else_gets_in)
{
    static const char *const names[] = { "postgres", "socket" };
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *data = xasprintf("%s/var", dir);
    AUTO(pg_local_stop) struct pg_local *local = local_start(data);
    struct pg_user user;
    struct err err = { 0 };
    struct stat st;

    ck_assert_ptr_nonnull(local);
    ck_assert_int_eq(pg_user_find(&user, &err), 0);
    for (size_t i = 0; i < LENGTH(names); i++) {
        AUTO(mem_free) char *path = xasprintf("%s/%s", data, names[i]);

        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_int_eq(st.st_mode & 0777, 0700);
        ck_assert_uint_eq(st.st_uid, user.uid);
    }
}
END_TEST

START_TEST(server_of_a_killed_daemon_is_adopted)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *data = xasprintf("%s/var", dir);
    struct pg_local *local;
    struct err err = { 0 };
    pid_t pid;

    local_abandon(data);
    pid = local_pid(data);
    ck_assert_int_gt(pid, 1);
    ck_assert_int_eq(kill(pid, 0), 0);
    local = local_start(data);
    ck_assert_int_eq(local_pid(data), pid);
    ck_assert_int_eq(pg_query_i64(pg_local_dsn(local), "SELECT 1"), 1);
    ck_assert_int_eq(pg_local_keep(local, &err), 0);
    pg_local_stop(local);
    ck_assert_int_eq(local_pid(data), 0); /* a clean shutdown removes the file */
}
END_TEST

START_TEST(crash_of_everything_is_recovered)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *data = xasprintf("%s/var", dir);
    struct pg_local *local = local_start(data);
    AUTO(mem_free) char *dsn = xstrdup(pg_local_dsn(local));

    pg_exec(dsn, "CREATE TABLE t AS SELECT 1 AS n");
    pg_local_stop(local);
    local_abandon(data);
    pg_exec(dsn, "INSERT INTO t VALUES (2)");
    (void)kill(local_pid(data), SIGKILL); /* its postmaster.pid stays */
    local = local_start(data);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT sum(n) FROM t"), 3);
    pg_local_stop(local);
}
END_TEST

START_TEST(dead_server_is_started_again)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *data = xasprintf("%s/var", dir);
    AUTO(pg_local_stop) struct pg_local *local = local_start(data);
    struct err err = { 0 };
    int rc = 0;

    ck_assert_int_eq(pg_local_keep(local, &err), 0);
    (void)kill(local_pid(data), SIGKILL);
    WAIT_UNTIL(5000, (rc = pg_local_keep(local, &err)) != 0);
    ck_assert_msg(rc == 1, "%s", err.text);
    WAIT_UNTIL(20000, PQping(pg_local_dsn(local)) == PQPING_OK || pg_local_keep(local, &err) < 0);
    ck_assert_int_eq(pg_query_i64(pg_local_dsn(local), "SELECT 1"), 1);
}
END_TEST

START_TEST(directory_in_use_is_refused)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *data = xasprintf("%s/var", dir);
    AUTO(mem_free) char *words = xasprintf("in use by another plumbline (process %d)", getpid());
    AUTO(pg_local_stop) struct pg_local *local = local_start(data);

    local_refused(data, words);
    ck_assert_int_eq(pg_query_i64(pg_local_dsn(local), "SELECT 1"), 1);
}
END_TEST

START_TEST(a_command_joins_and_leaves_it_running)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *data = xasprintf("%s/var", dir);
    AUTO(pg_local_stop) struct pg_local *local = local_start(data);
    struct err err = { 0 };
    struct pg_local *guest = pg_local_join(data, &err);

    ck_assert_msg(guest != NULL, "%s", err.text);
    ck_assert_str_eq(pg_local_dsn(guest), pg_local_dsn(local));
    pg_local_stop(guest);
    ck_assert_int_eq(pg_query_i64(pg_local_dsn(local), "SELECT 1"), 1);
}
END_TEST

START_TEST(long_name_has_its_socket_elsewhere)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *data = xasprintf("%s/%0*d", dir, 120, 0);
    AUTO(mem_free) char *path = xasprintf("%s/socket.path", data);
    AUTO(mem_free) char *first = NULL, *second = NULL;
    struct pg_local *local;
    struct stat st;

    local_abandon(data);
    first = temp_file_tail(path, 4096);
    local = local_start(data);
    second = temp_file_tail(path, 4096);
    ck_assert_str_eq(first, second);
    ck_assert_int_eq(pg_query_i64(pg_local_dsn(local), "SELECT 1"), 1);
    pg_local_stop(local);
    first[strcspn(first, "\n")] = '\0';
    ck_assert_int_lt(stat(first, &st), 0);
    ck_assert_int_lt(stat(path, &st), 0);
}
END_TEST

static const char *const odd_names[] = { "it's", "back\\slash", "a,b", "quo\"te", "sp ace " };

START_TEST(odd_name)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *data = xasprintf("%s/%s", dir, odd_names[_i]);
    AUTO(pg_local_stop) struct pg_local *local = local_start(data);

    ck_assert_int_eq(pg_query_i64(pg_local_dsn(local), "SELECT 1"), 1);
}
END_TEST

START_TEST(other_major_version_is_refused)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *data = xasprintf("%s/var", dir);
    AUTO(mem_free) char *path = xasprintf("%s/postgres/PG_VERSION", data);
    FILE *file;

    pg_local_stop(local_start(data));
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    (void)fprintf(file, "11\n");
    (void)fclose(file);
    local_refused(data, "was made by PostgreSQL 11 (install postgresql-11, or dump it there and "
                        "load it here): needs the server programs of PostgreSQL 11, and only those "
                        "of ");
}
END_TEST

START_TEST(interrupted_initdb_leaves_nothing)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *half = xasprintf("%s/var/postgres.new/base", dir);
    AUTO(mem_free) char *data = xasprintf("%s/var", dir);
    AUTO(mem_free) char *command = xasprintf("mkdir -p '%s' && touch '%s/x'", half, half);
    struct stat st;

    ck_assert_int_eq(system(command), 0);
    pg_local_stop(local_start(data));
    ck_assert_int_lt(stat(half, &st), 0);
}
END_TEST

START_TEST(broken_cluster_tells_why)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *data = xasprintf("%s/var", dir);
    AUTO(mem_free) char *path = xasprintf("%s/postgres/global/pg_control", data);

    pg_local_stop(local_start(data));
    ck_assert_int_eq(unlink(path), 0);
    local_refused(data, "does not start: ");
}
END_TEST

START_TEST(bad_directory_is_refused)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *file = xasprintf("%s/file", dir);
    AUTO(mem_free) char *below = xasprintf("%s/file/var", dir);
    int fd = open(file, O_CREAT | O_WRONLY, 0600);

    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    local_refused(below, "Not a directory");
    local_refused(file, "Not a directory");
}
END_TEST

START_TEST(place_out_of_reach_is_refused)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *closed = xasprintf("%s/closed", dir);
    AUTO(mem_free) char *data = xasprintf("%s/closed/var", dir);

    ck_assert_int_eq(mkdir(closed, 0700), 0);
    if (geteuid() == 0) { /* root's own, and the server runs as another user */
        local_refused(data, "cannot be entered by the user that runs PostgreSQL");
    } else {
        ck_assert_int_eq(chmod(closed, 0), 0);
        local_refused(data, "Permission denied");
    }
}
END_TEST

START_TEST(pending_signal_ends_the_start)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *data = xasprintf("%s/var", dir);
    sigset_t mask;

    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &mask, NULL);
    (void)raise(SIGTERM);
    local_refused(data, "stopped while PostgreSQL was starting");
    ck_assert_int_eq(local_pid(data), 0);
}
END_TEST

Suite *pg_local_suite(void)
{
    Suite *suite = suite_create("pg_local");
    TCase *tcase = tcase_create("pg_local");

    tcase_add_test(tcase, made_once_and_found_again);
    tcase_add_test(tcase, server_of_a_killed_daemon_is_adopted);
    tcase_add_test(tcase, a_command_joins_and_leaves_it_running);
    if (!runner_short()) {
        tcase_add_test(tcase, nobody_else_gets_in);
        tcase_add_test(tcase, crash_of_everything_is_recovered);
        tcase_add_test(tcase, dead_server_is_started_again);
        tcase_add_test(tcase, directory_in_use_is_refused);
        tcase_add_test(tcase, long_name_has_its_socket_elsewhere);
        tcase_add_loop_test(tcase, odd_name, 0, LENGTH(odd_names));
    }
    tcase_add_test(tcase, other_major_version_is_refused);
    tcase_add_test(tcase, interrupted_initdb_leaves_nothing);
    tcase_add_test(tcase, broken_cluster_tells_why);
    tcase_add_test(tcase, bad_directory_is_refused);
    tcase_add_test(tcase, place_out_of_reach_is_refused);
    tcase_add_test(tcase, pending_signal_ends_the_start);
    suite_add_tcase(suite, tcase);
    return suite;
}
