#include "pg.h"

#include <check.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "collector/pg_program.h"
#include "process.h"
#include "temp.h"
#include "wait.h"

enum { ARGS_MAX = 64, CHILDREN_MAX = 128, START_MS_MAX = 30000, STOP_MS_MAX = 30000 };

struct pg {
    char *dir; /* data/ and the socket are in it */
    char *data;
    char *log;
    struct pg_options options;
    pid_t pid; /* 0: not running */
    bool templated;
    unsigned number; /* of the next database */
};

static struct pg *shared;
static long shared_log_mark;

/* ---- the cluster that all are copies of ---- */

static char *pg_bin_dir(void)
{
    struct err err = { 0 };
    char *dir = pg_program_find(0, &err);

    ck_assert_msg(dir != NULL, "%s", err.text);
    return dir;
}

/* Made once per test binary, by whoever asks first; tests run one after the other. */
static char *pg_original(void)
{
    char *original = xasprintf("%s/cluster", temp_root());

    if (access(original, F_OK) < 0) {
        AUTO(mem_free) char *bin_dir = pg_bin_dir();
        AUTO(mem_free) char *initdb = xasprintf("%s/initdb", bin_dir);
        AUTO(mem_free) char *log = temp_log("initdb");
        AUTO(mem_free) char *dir = temp_dir();
        const char *const argv[] = {
            initdb,
            "--pgdata",
            dir,
            "--username",
            "postgres",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
            "--auth",
            "trust",
            "--no-sync",
            "--wal-segsize",
            "4",
            "--data-checksums",
            NULL,
        };

        process_run(&(struct process_options){ .argv = argv, .output = log, .as_postgres = true });
        ck_assert_int_eq(rename(dir, original), 0);
        (void)unlink(log);
    }
    return original;
}

/* ---- starting and stopping ---- */

static bool pg_answers(struct pg *pg)
{
    AUTO(mem_free) char *dsn = pg_dsn(pg, "postgres");

    if (waitpid(pg->pid, NULL, WNOHANG) == pg->pid) {
        pg->pid = 0;
        ck_abort_msg("postgres did not start, see its log");
    }
    return PQping(dsn) == PQPING_OK;
}

void pg_resume(struct pg *pg)
{
    AUTO(mem_free) char *bin_dir = pg_bin_dir();
    AUTO(mem_free) char *postgres = xasprintf("%s/postgres", bin_dir);
    AUTO(mem_free) char *sockets = xasprintf("unix_socket_directories=%s", pg->dir);
    AUTO(mem_free) char *port = xasprintf("%d", pg->options.tcp_port ? pg->options.tcp_port : 5432);
    const char *listen = pg->options.tcp_port ? "listen_addresses=127.0.0.1" : "listen_addresses=";
    const char *argv[ARGS_MAX] = {
        postgres,
        "-D",
        pg->data,
        "-p",
        port,
        "-c",
        sockets,
        "-c",
        listen,
        "-c",
        pg->options.unsafe ? "fsync=off" : "fsync=on",
        "-c",
        "shared_buffers=64MB",
        "-c",
        "max_connections=100",
        "-c",
        "logging_collector=off",
        "-c",
        "log_destination=stderr",
        "-c",
        "log_line_prefix=%m [%p] %d ",
        "-c",
        "timezone=UTC",
    };
    size_t n = 0;

    ck_assert_int_eq(pg->pid, 0);
    while (argv[n])
        n++;
    for (const char *const *s = pg->options.settings; s && *s && n + 3 < ARGS_MAX; s++) {
        argv[n++] = "-c";
        argv[n++] = *s;
    }
    /* SIGQUIT: the whole server goes at once, when the test or the runner is gone. */
    pg->pid = process_start(&(struct process_options){ .argv = argv,
                                                       .output = pg->log,
                                                       .death_signal = SIGQUIT,
                                                       .as_postgres = true,
                                                       .session = true });
    WAIT_UNTIL(START_MS_MAX, pg_answers(pg));
}

static struct pg *pg_new(char *log, const struct pg_options *options)
{
    AUTO(mem_free) char *original = pg_original();
    struct pg *pg = xcalloc(1, sizeof(*pg));
    const char *argv[] = { "cp", "-a", "--reflink=auto", original, NULL, NULL };

    pg->options = options ? *options : (struct pg_options){ 0 };
    pg->log = log;
    pg->dir = temp_dir();
    pg->data = xasprintf("%s/data", pg->dir);
    argv[4] = pg->data;
    process_run(&(struct process_options){ .argv = argv, .as_postgres = true });
    pg_resume(pg);
    return pg;
}

struct pg *pg_start(const struct pg_options *options)
{
    return pg_new(temp_log("postgres"), options);
}

void pg_stop(struct pg *pg, enum pg_stop_mode mode)
{
    int status;

    ck_assert_int_gt(pg->pid, 0);
    (void)kill(pg->pid, mode == PG_STOP_FAST ? SIGINT : SIGQUIT);
    status = process_wait(pg->pid, STOP_MS_MAX);
    ck_assert_msg(status != -1, "postgres does not stop");
    pg->pid = 0;
}

void pg_restart(struct pg *pg, enum pg_stop_mode mode)
{
    pg_stop(pg, mode);
    pg_resume(pg);
}

/* Whether some process still has the cluster for its working directory, as every backend has. */
static bool pg_backends_left(const struct pg *pg)
{
    AUTO(mem_free)
    char *command =
        xasprintf("for p in /proc/[0-9]*/cwd; do [ \"$(readlink $p)\" = '%s' ] && exit 0; done; "
                  "exit 1",
                  pg->data);
    const char *const argv[] = { "sh", "-c", command, NULL };

    return process_wait(process_start(&(struct process_options){ .argv = argv }), 10000) == 0;
}

void pg_kill9(struct pg *pg)
{
    ck_assert_int_gt(pg->pid, 0);
    (void)kill(pg->pid, SIGKILL);
    ck_assert_int_ne(process_wait(pg->pid, STOP_MS_MAX), -1);
    pg->pid = 0;
    WAIT_UNTIL(STOP_MS_MAX, !pg_backends_left(pg));
}

static bool pg_is_alive(struct pg *pg)
{
    AUTO(mem_free) char *dsn = pg_dsn(pg, "postgres");

    if (pg->pid && waitpid(pg->pid, NULL, WNOHANG) == pg->pid)
        pg->pid = 0;
    if (!pg->pid)
        pg_resume(pg);
    return PQping(dsn) == PQPING_OK;
}

void pg_revive(struct pg *pg)
{
    WAIT_UNTIL(START_MS_MAX, pg_is_alive(pg)); /* it may be about to end */
}

static size_t pg_children(const struct pg *pg, pid_t children[CHILDREN_MAX])
{
    AUTO(mem_free)
    char *path = xasprintf("/proc/%d/task/%d/children", (int)pg->pid, (int)pg->pid);
    AUTO(mem_free) char *text = NULL;
    FILE *file = fopen(path, "r");
    size_t count = 0, cap = 0;

    if (!file)
        return 0;
    while (count < CHILDREN_MAX && getdelim(&text, &cap, ' ', file) > 0)
        children[count++] = (pid_t)strtol(text, NULL, 10);
    (void)fclose(file);
    return count;
}

void pg_signal_all(struct pg *pg, int signal)
{
    pid_t children[CHILDREN_MAX];
    size_t count;

    ck_assert_int_gt(pg->pid, 0);
    (void)kill(pg->pid, signal); /* first: it makes no more of them */
    count = pg_children(pg, children);
    for (size_t i = 0; i < count; i++)
        (void)kill(children[i], signal);
}

void pg_child_kill9(struct pg *pg, uint32_t chance)
{
    pid_t children[CHILDREN_MAX];
    size_t count = pg_children(pg, children);

    if (count)
        (void)kill(children[chance % count], SIGKILL);
}

void pg_free(struct pg *pg)
{
    if (!pg)
        return;
    if (pg->pid)
        pg_stop(pg, PG_STOP_IMMEDIATE);
    process_run(
        &(struct process_options){ .argv = (const char *const[]){ "rm", "-rf", pg->dir, NULL } });
    free(pg->dir);
    free(pg->data);
    free(pg->log);
    free(pg);
}

pid_t pg_pid(const struct pg *pg)
{
    return pg->pid;
}

const char *pg_socket_dir(const struct pg *pg)
{
    return pg->dir;
}

char *pg_log(const struct pg *pg, size_t bytes_max)
{
    return temp_file_tail(pg->log, bytes_max);
}

/* ---- the shared one ---- */

void pg_shared_start(void)
{
    AUTO(mem_free) char *log = NULL;

    if (shared)
        return;
    log = xasprintf("%s/shared.log", temp_root());
    shared = pg_new(TAKE(log), &(struct pg_options){ .unsafe = true });
}

void pg_shared_stop(void)
{
    if (shared && shared->pid) {
        (void)kill(shared->pid, SIGQUIT);
        (void)waitpid(shared->pid, NULL, 0);
        shared->pid = 0; /* the guard removes the rest */
    }
}

struct pg *pg_shared(void)
{
    ck_assert_msg(shared != NULL, "the test case lacks the fixture pg_shared_start");
    return shared;
}

Suite *pg_suite(const char *name, int seconds_max, TCase **tcase)
{
    Suite *suite = suite_create(name);

    *tcase = tcase_create(name);
    if (seconds_max)
        tcase_set_timeout(*tcase, seconds_max);
    tcase_add_unchecked_fixture(*tcase, pg_shared_start, NULL);
    suite_add_tcase(suite, *tcase);
    return suite;
}

void pg_log_mark(void)
{
    struct stat st;

    shared_log_mark = shared && stat(shared->log, &st) == 0 ? (long)st.st_size : 0;
}

void pg_log_print(void)
{
    enum { LINES_BYTES_MAX = 8192 };
    FILE *file = shared ? fopen(shared->log, "rb") : NULL;
    char text[LINES_BYTES_MAX];
    size_t len;

    if (!file)
        return;
    (void)fseek(file, shared_log_mark, SEEK_SET);
    printf("---- the shared postgres in this suite\n");
    while ((len = fread(text, 1, sizeof(text), file)) > 0)
        (void)fwrite(text, 1, len, stdout);
    printf("----\n");
    (void)fclose(file);
}

/* ---- databases ---- */

char *pg_dsn(const struct pg *pg, const char *database)
{
    return xasprintf("host=%s port=%d user=postgres dbname=%s", pg->dir,
                     pg->options.tcp_port ? pg->options.tcp_port : 5432, database);
}

struct dropped {
    struct dropped *next;
    struct pg *pg;
    char *name;
};

static struct dropped *dropped; /* databases of this test in the shared server */

/* At the exit of a test that ended well. Must not fail: whoever stopped the server has a reason. */
static void pg_databases_drop(void)
{
    AUTO(mem_free) char *dsn = pg_dsn(shared, "postgres");
    PGconn *conn = PQconnectdb(dsn);

    while (dropped) {
        struct dropped *next = dropped->next;
        AUTO(mem_free) char *sql = xasprintf("DROP DATABASE %s WITH (FORCE)", dropped->name);

        PQclear(PQexec(conn, sql));
        free(dropped->name);
        free(dropped);
        dropped = next;
    }
    PQfinish(conn);
}

char *pg_database_new(struct pg *pg)
{
    AUTO(mem_free) char *dsn = pg_dsn(pg, "postgres");
    AUTO(mem_free) char *name = xasprintf("t%d_%u", (int)getpid(), pg->number++);
    char *own;

    pg_exec(dsn, "CREATE DATABASE %s TEMPLATE %s", name, pg->templated ? "filled" : "template0");
    own = pg_dsn(pg, name);
    if (pg == shared) {
        struct dropped *entry = xcalloc(1, sizeof(*entry));

        if (!dropped)
            (void)atexit(pg_databases_drop);
        *entry = (struct dropped){ .next = dropped, .pg = pg, .name = TAKE(name) };
        dropped = entry;
    }
    return own;
}

void pg_template_fill(struct pg *pg, void (*fill)(const char *dsn))
{
    AUTO(mem_free) char *dsn = pg_dsn(pg, "postgres");
    AUTO(mem_free) char *own = pg_dsn(pg, "filled");

    if (pg->templated)
        return;
    pg_exec(dsn, "CREATE DATABASE filled TEMPLATE template0");
    fill(own);
    pg->templated = true;
}

/* ---- queries ---- */

PGconn *pg_connect(const char *dsn)
{
    PGconn *conn = PQconnectdb(dsn);

    ck_assert_msg(PQstatus(conn) == CONNECTION_OK, "%s", PQerrorMessage(conn));
    return conn;
}

PRINTF_LIKE(2, 0) static PGresult *pg_run(const char *dsn, const char *fmt, va_list args)
{
    char *sql = NULL;
    PGconn *conn = pg_connect(dsn);
    PGresult *result;
    ExecStatusType status;

    ck_assert_int_ge(vasprintf(&sql, fmt, args), 0);
    result = PQexec(conn, sql);
    status = PQresultStatus(result);
    ck_assert_msg(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK, "%s: %s", sql,
                  PQerrorMessage(conn));
    free(sql);
    PQfinish(conn);
    return result;
}

void pg_exec(const char *dsn, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    PQclear(pg_run(dsn, fmt, args));
    va_end(args);
}

static char *pg_single(PGresult *result, const char *what)
{
    char *text;

    ck_assert_msg(PQntuples(result) == 1 && PQnfields(result) == 1, "%s: %d rows of %d columns",
                  what, PQntuples(result), PQnfields(result));
    text = PQgetisnull(result, 0, 0) ? NULL : xstrdup(PQgetvalue(result, 0, 0));
    PQclear(result);
    return text;
}

char *pg_query_text(const char *dsn, const char *fmt, ...)
{
    va_list args;
    char *text;

    va_start(args, fmt);
    text = pg_single(pg_run(dsn, fmt, args), fmt);
    va_end(args);
    return text;
}

int64_t pg_query_i64(const char *dsn, const char *fmt, ...)
{
    AUTO(mem_free) char *text = NULL;
    va_list args;
    int64_t value;
    char *end;

    va_start(args, fmt);
    text = pg_single(pg_run(dsn, fmt, args), fmt);
    va_end(args);
    ck_assert_msg(text != NULL, "%s: null", fmt);
    value = strtoll(text, &end, 10);
    ck_assert_msg(*end == '\0', "%s: not a number: %s", fmt, text);
    return value;
}
