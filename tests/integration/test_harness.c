/* The harness itself: a test that can't see a failure is worse than none. */
#include <arpa/inet.h>
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/harness/daemon.h"
#include "tests/harness/http.h"
#include "tests/harness/pg.h"
#include "tests/harness/proxy.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"

Suite *harness_suite(void);

/* ---- Postgres ---- */

START_TEST(databases_are_separate)
{
    AUTO(mem_free) char *a = pg_database_new(pg_shared());
    AUTO(mem_free) char *b = pg_database_new(pg_shared());
    AUTO(mem_free) char *null = NULL;

    pg_exec(a, "CREATE TABLE t AS SELECT 7 AS n");
    ck_assert_int_eq(pg_query_i64(a, "SELECT n FROM t"), 7);
    ck_assert_int_eq(pg_query_i64(b, "SELECT count(*) FROM pg_class WHERE relname = '%s'", "t"), 0);
    null = pg_query_text(b, "SELECT NULL");
    ck_assert_ptr_null(null);
}
END_TEST

START_TEST(server_survives_restart_and_kill)
{
    AUTO(pg_free) struct pg *pg = pg_start(NULL);
    AUTO(mem_free) char *dsn = pg_database_new(pg);
    AUTO(mem_free) char *fsync = pg_query_text(dsn, "SHOW fsync");

    ck_assert_str_eq(fsync, "on");
    pg_exec(dsn, "CREATE TABLE t AS SELECT 1 AS n");
    pg_restart(pg, PG_STOP_FAST);
    pg_exec(dsn, "INSERT INTO t VALUES (2)");
    pg_kill9(pg);
    pg_resume(pg);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT sum(n) FROM t"), 3);
}
END_TEST

START_TEST(settings_are_in_force)
{
    static const char *const settings[] = { "max_connections=17", NULL };
    struct pg_options options = { .unsafe = true, .settings = settings };
    AUTO(pg_free) struct pg *pg = pg_start(&options);
    AUTO(mem_free) char *dsn = pg_dsn(pg, "postgres");
    AUTO(mem_free) char *fsync = pg_query_text(dsn, "SHOW fsync");

    ck_assert_str_eq(fsync, "off");
    ck_assert_int_eq(pg_query_i64(dsn, "SHOW max_connections"), 17);
}
END_TEST

/* ---- the proxy ---- */

static const struct {
    const char *name;
    enum proxy_mode mode;
    bool fails;     /* what the client sees */
    bool committed; /* what the server did */
} harm_cases[] = {
    { "pass", PROXY_PASS, false, true },
    { "cut before", PROXY_CUT_BEFORE, true, false },
    { "cut after", PROXY_CUT_AFTER, true, true },
    { "drop answer", PROXY_DROP_ANSWER, true, true },
};

/* Whether the client was told that its row is in. */
static bool proxy_insert(PGconn *conn)
{
    PGresult *result;
    bool ok;

    PQclear(PQexec(conn, "BEGIN"));
    PQclear(PQexec(conn, "INSERT INTO t VALUES (1)"));
    result = PQexec(conn, "COMMIT");
    ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return ok;
}

START_TEST(proxy_harms_one_commit)
{
    const char *name = harm_cases[_i].name;
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared()), *through = NULL;
    AUTO(proxy_stop) struct proxy *proxy = proxy_start_for(dsn, &through);
    PGconn *conn;

    pg_exec(dsn, "CREATE TABLE t (n int)");
    conn = pg_connect(through);
    proxy_arm(proxy, harm_cases[_i].mode, 1);
    ck_assert_msg(proxy_insert(conn), "%s: the first one", name);
    ck_assert(!proxy_sprung(proxy));
    ck_assert_msg(proxy_insert(conn) == !harm_cases[_i].fails, "%s", name);
    ck_assert(proxy_sprung(proxy) == harm_cases[_i].fails);
    PQfinish(conn);
    WAIT_UNTIL(5000, proxy_connections(proxy) == 0);
    WAIT_UNTIL(5000,
               pg_query_i64(dsn, "SELECT count(*) FROM t") == (harm_cases[_i].committed ? 2 : 1));
    conn = pg_connect(through);
    ck_assert_msg(proxy_insert(conn), "%s: afterwards", name);
    PQfinish(conn);
}
END_TEST

static void *hold_thread(void *ctx)
{
    return proxy_insert(ctx) ? ctx : NULL;
}

START_TEST(proxy_holds_a_commit)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared()), *through = NULL;
    AUTO(proxy_stop) struct proxy *proxy = proxy_start_for(dsn, &through);
    PGconn *conn = pg_connect(through);
    pthread_t thread;
    void *result;

    pg_exec(dsn, "CREATE TABLE t (n int)");
    proxy_arm(proxy, PROXY_HOLD, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, hold_thread, conn), 0);
    WAIT_UNTIL(5000, proxy_sprung(proxy));
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM t"), 0);
    proxy_release(proxy);
    (void)pthread_join(thread, &result);
    ck_assert_ptr_nonnull(result);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM t"), 1);
    PQfinish(conn);
}
END_TEST

START_TEST(proxy_refuses_cuts_and_delays)
{
    AUTO(proxy_stop) struct proxy *proxy = proxy_start(pg_socket_dir(pg_shared()));
    AUTO(mem_free) char *through = proxy_dsn(proxy, "postgres");
    PGconn *conn = pg_connect(through), *refused;
    int64_t start_ms;

    proxy_delay_set(proxy, 200);
    start_ms = clock_mono_ms();
    PQclear(PQexec(conn, "SELECT 1"));
    ck_assert_int_ge(clock_mono_ms() - start_ms, 200);
    proxy_delay_set(proxy, 0);

    proxy_refuse(proxy, true);
    WAIT_UNTIL(5000, proxy_connections(proxy) == 0);
    PQclear(PQexec(conn, "SELECT 1"));
    ck_assert_int_eq(PQstatus(conn), CONNECTION_BAD);
    refused = PQconnectdb(through);
    ck_assert_int_eq(PQstatus(refused), CONNECTION_BAD);
    PQfinish(refused);
    proxy_refuse(proxy, false);
    PQreset(conn);
    ck_assert_int_eq(PQstatus(conn), CONNECTION_OK);
    PQfinish(conn);
}
END_TEST

/* What knocked at a listener that is closed is not accepted by the next one. */
START_TEST(proxy_refuses_for_a_moment)
{
    AUTO(proxy_stop) struct proxy *proxy = proxy_start(pg_socket_dir(pg_shared()));
    AUTO(mem_free) char *through = proxy_dsn(proxy, "postgres");

    for (int i = 0; i < 500; i++) {
        PGconn *conn = PQconnectStart(through);

        proxy_refuse(proxy, true);
        proxy_refuse(proxy, false);
        PQfinish(conn);
    }
    ck_assert_int_eq(pg_query_i64(through, "SELECT 1"), 1);
}
END_TEST

START_TEST(proxy_passes_large_messages)
{
    AUTO(proxy_stop) struct proxy *proxy = proxy_start(pg_socket_dir(pg_shared()));
    AUTO(mem_free) char *through = proxy_dsn(proxy, "postgres");
    AUTO(mem_free) char *text = NULL;

    ck_assert_int_eq(pg_query_i64(through, "SELECT length('%0*d')", 1000000, 7), 1000000);
    text = pg_query_text(through, "SELECT repeat('x', 3000000)");
    ck_assert_uint_eq(strlen(text), 3000000);
}
END_TEST

/* ---- the daemon ---- */

/* Something that talks like the daemon, whose faults are ours to choose. */
static void fake_daemon_install(const char *body)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/fake", dir);
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    (void)fprintf(file, "#!/bin/sh\n%s\n", body);
    (void)fclose(file);
    ck_assert_int_eq(chmod(path, 0755), 0);
    (void)setenv("TEST_DAEMON", path, 1);
}

#define FAKE_SERVING "echo 'time=x level=info event=serving address=127.0.0.1:4711' >&2\n"
#define FAKE_WAITS "trap 'exit 0' TERM\nwhile :; do sleep 0.05; done"

START_TEST(daemon_is_started_and_stopped)
{
    AUTO(daemon_free) struct daemon *daemon = NULL;
    AUTO(mem_free) char *url = NULL;

    fake_daemon_install("trap 'exit 0' TERM\n" FAKE_SERVING FAKE_WAITS);
    daemon = daemon_start(&(struct daemon_options){ .dsn = "host=/nowhere" });
    url = daemon_url(daemon, "/healthz");
    ck_assert_str_eq(url, "http://127.0.0.1:4711/healthz");
    ck_assert_int_gt(daemon_peak_bytes(daemon), 0);
    daemon_kill9(daemon);
    daemon_resume(daemon);
    ck_assert_int_eq(daemon_stop(daemon), 0);
}
END_TEST

/* How a process ends that runs `body` as a test would. */
static int test_outcome(void (*body)(void))
{
    pid_t pid;
    int status;

    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        body();
        exit(EXIT_SUCCESS);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void body_clean(void)
{
    fake_daemon_install(FAKE_SERVING FAKE_WAITS);
    (void)daemon_start(&(struct daemon_options){ 0 });
}

static void body_crash(void)
{
    struct daemon *daemon;
    siginfo_t info;

    fake_daemon_install(FAKE_SERVING FAKE_WAITS);
    daemon = daemon_start(&(struct daemon_options){ 0 });
    daemon_signal(daemon, SIGSEGV);
    (void)waitid(P_PID, (id_t)daemon_pid(daemon), &info, WEXITED | WNOWAIT);
}

static void body_sanitizer(void)
{
    fake_daemon_install("trap 'exit 0' TERM\n"
                        "echo '==7==ERROR: AddressSanitizer: x' >&2\n" FAKE_SERVING FAKE_WAITS);
    daemon_free(daemon_start(&(struct daemon_options){ 0 }));
}

static void body_exit_code(void)
{
    fake_daemon_install("trap 'exit 3' TERM\n" FAKE_SERVING "while :; do sleep 0.05; done");
    daemon_free(daemon_start(&(struct daemon_options){ 0 }));
}

static void body_never_serves(void)
{
    fake_daemon_install("exit 1");
    (void)daemon_start(&(struct daemon_options){ 0 });
}

static const struct {
    const char *name;
    void (*body)(void);
    bool fails;
} fault_cases[] = {
    { "clean", body_clean, false },
    { "crash that nobody noticed", body_crash, true },
    { "sanitizer report", body_sanitizer, true },
    { "exit code", body_exit_code, true },
    { "never serves", body_never_serves, true },
};

START_TEST(daemon_faults_fail_the_test)
{
    int outcome = test_outcome(fault_cases[_i].body);
    AUTO(mem_free) char *command = xasprintf("rm -f %s/logs/*", temp_root());

    ck_assert_msg((outcome != EXIT_SUCCESS) == fault_cases[_i].fails, "%s: %d",
                  fault_cases[_i].name, outcome);
    ck_assert_int_eq(system(command), 0); /* what those processes said is no failure of ours */
}
END_TEST

/* ---- HTTP ---- */

static void *server_thread(void *ctx)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nX-Word:  plumb\r\n"
                                 "Connection: close\r\n\r\n{\"a\": 1}";
    int *listener = ctx;
    int fd = accept(*listener, NULL, NULL);

    ck_assert(http_raw_await(fd, "\r\n\r\n", 5000));
    ck_assert_int_eq(http_raw_send_text(fd, answer), 0);
    (void)close(fd);
    return NULL;
}

/* A server for one request; its port. */
static int server_start(pthread_t *thread, int *listener)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t len = sizeof(address);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *listener = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(*listener, (struct sockaddr *)&address, len), 0);
    ck_assert_int_eq(listen(*listener, 1), 0);
    ck_assert_int_eq(getsockname(*listener, (struct sockaddr *)&address, &len), 0);
    ck_assert_int_eq(pthread_create(thread, NULL, server_thread, listener), 0);
    return ntohs(address.sin_port);
}

START_TEST(http_reads_answers)
{
    AUTO(http_free) struct http *http = http_new();
    AUTO(http_answer_free) struct http_answer *answer = NULL;
    AUTO(http_answer_free) struct http_answer *refused = NULL;
    AUTO(mem_free) char *url = NULL, *word = NULL, *none = NULL;
    json_t *json;
    pthread_t thread;
    int listener, port = server_start(&thread, &listener);

    url = xasprintf("http://127.0.0.1:%d/x", port);
    answer = http_post(http, url, "{}");
    ck_assert_int_eq(answer->status, 200);
    word = http_header(answer, "x-word");
    ck_assert_str_eq(word, "plumb");
    none = http_header(answer, "X-Wor");
    ck_assert_ptr_null(none);
    json = http_json(answer);
    ck_assert_int_eq(json_integer_value(json_object_get(json, "a")), 1);
    json_decref(json);
    (void)pthread_join(thread, NULL);
    (void)close(listener);
    refused = http_get(http, url);
    ck_assert_int_eq(refused->status, 0);
    ck_assert_str_ne(refused->error, "");
}
END_TEST

START_TEST(http_raw_sees_the_close)
{
    AUTO(mem_free) char *early = NULL, *text = NULL;
    pthread_t thread;
    int listener, port = server_start(&thread, &listener), fd = http_raw_open(port);
    bool closed;

    ck_assert_int_eq(http_raw_send_text(fd, "GET / HTTP/1.1\r\n"), 0);
    early = http_raw_read(fd, 50, &closed);
    ck_assert(!closed);
    ck_assert_str_eq(early, "");
    ck_assert_int_eq(http_raw_send_text(fd, "\r\n"), 0);
    text = http_raw_read(fd, 5000, &closed);
    ck_assert(closed);
    ck_assert_ptr_nonnull(strstr(text, "{\"a\": 1}"));
    (void)pthread_join(thread, NULL);
    (void)close(fd);
    (void)close(listener);
}
END_TEST

Suite *harness_suite(void)
{
    Suite *suite = suite_create("harness");
    TCase *pg = tcase_create("pg"), *proxy = tcase_create("proxy");
    TCase *daemon = tcase_create("daemon"), *http = tcase_create("http");

    tcase_add_unchecked_fixture(pg, pg_shared_start, NULL);
    tcase_add_test(pg, databases_are_separate);
    tcase_add_test(pg, server_survives_restart_and_kill);
    tcase_add_test(pg, settings_are_in_force);
    tcase_add_unchecked_fixture(proxy, pg_shared_start, NULL);
    tcase_add_loop_test(proxy, proxy_harms_one_commit, 0, LENGTH(harm_cases));
    tcase_add_test(proxy, proxy_holds_a_commit);
    tcase_add_test(proxy, proxy_refuses_cuts_and_delays);
    tcase_add_test(proxy, proxy_refuses_for_a_moment);
    tcase_add_test(proxy, proxy_passes_large_messages);
    tcase_add_test(daemon, daemon_is_started_and_stopped);
    tcase_add_loop_test(daemon, daemon_faults_fail_the_test, 0, LENGTH(fault_cases));
    tcase_add_test(http, http_reads_answers);
    tcase_add_test(http, http_raw_sees_the_close);
    suite_add_tcase(suite, pg);
    suite_add_tcase(suite, proxy);
    suite_add_tcase(suite, daemon);
    suite_add_tcase(suite, http);
    return suite;
}
