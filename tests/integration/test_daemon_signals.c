/* A good daemon: what it does on SIGHUP and SIGTERM, what it tells the service manager, how many
 * files it needs, and what it never says. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/process.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"

Suite *daemon_signals_suite(void);

static void file_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    (void)fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

/* ---- SIGHUP ---- */

/* In each '@' is the file; `line` ends the log line. */
static const struct {
    const char *name, *text, *line;
} reload_cases[] = {
    { "the same", "log_level: info\n",
      "level=info event=reloaded changed=\"\" needs_restart=\"\"\n" },
    { "what can change", "log_level: warn\nevents_max: 2\nlog_level_:",
      "level=error event=reload_failed action=\"everything stays as it was\" err=\"@:3:1: unknown "
      "key "
      "'log_level_'; did you mean 'log_level'?\"\n" },
    { "a limit", "log_level: info\nevents_max: 2\n",
      "level=info event=reloaded changed=\"events_max\" needs_restart=\"\"\n" },
    { "what needs a restart", "log_level: info\nevents_max: 2\ncommitters: 3\nreads_max: 5\n",
      "level=info event=reloaded changed=\"\" needs_restart=\"reads_max, committers\"\n" },
    { "a limit that does not fit", "log_level: info\nevents_max: 3\nbody_bytes_max: 512MiB\n",
      "level=error event=reload_failed action=\"everything stays as it was\" "
      "err=\"memory_bytes_max: "
      "67108864 can't hold one request of body_bytes_max and its events; raise it to at least " },
    { "no TLS while it runs", "log_level: info\nevents_max: 2\ntls_certificate: a\ntls_key: b\n",
      "level=info event=reloaded changed=\"\" needs_restart=\"tls_certificate, tls_key\"\n" },
    { "the first again", "",
      "level=info event=reloaded changed=\"events_max\" needs_restart=\"\"\n" },
};

static char *expand(const char *text, const char *path)
{
    AUTO(buf_done) struct buf out;

    buf_init(&out, SIZE_MAX);
    for (; *text; text++) {
        if (*text == '@')
            buf_append_text(&out, path);
        else
            buf_append_char(&out, *text);
    }
    return xstrdup(buf_text(&out));
}

/* Lines of the log that speak of reloads. */
static size_t reloads(const struct daemon *daemon)
{
    AUTO(mem_free) char *log = daemon_log(daemon);
    size_t count = 0;

    for (const char *at = log; (at = strstr(at, "event=reload")); at++)
        count++;
    return count;
}

#define AGGREGATE(n)                                                                               \
    "{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"crn:a\",\"startTimestampMs\":"      \
    "1700000000000,\"endTimestampMs\":170000000000" n ",\"metrics\":{\"a\":1}}"
#define THREE "[" AGGREGATE("1") "," AGGREGATE("2") "," AGGREGATE("3") "]"

START_TEST(reload)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/plumbline.yaml", dir);
    const char *const arguments[] = { "-c", path, NULL };
    AUTO(service_free) struct service *service = NULL;

    file_write(path, "log_level: info\n");
    service = service_start_with(&(struct daemon_options){ .arguments = arguments });
    for (size_t i = 0; i < LENGTH(reload_cases); i++) {
        AUTO(mem_free) char *line = expand(reload_cases[i].line, path);
        bool is_limited = i >= 2 && i < LENGTH(reload_cases) - 1;

        file_write(path, reload_cases[i].text);
        daemon_signal(service->daemon, SIGHUP);
        WAIT_UNTIL(10000, reloads(service->daemon) == i + 1);
        ck_assert_msg(daemon_log_has(service->daemon, line), "%s", reload_cases[i].name);
        json_decref(service_post(service, is_limited ? 413 : 200, "/v1/events", THREE));
    }
    ck_assert_int_eq(service_sample(service, "plumbline_reloads_total"), 5);
    ck_assert_int_eq(service_sample(service, "plumbline_reloads_failed_total"), 2);
}
END_TEST

START_TEST(reload_changes_the_log_level)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/plumbline.yaml", dir);
    const char *const arguments[] = { "-c", path, NULL };
    AUTO(service_free) struct service *service = NULL;

    file_write(path, "log_level: info\n");
    service = service_start_with(&(struct daemon_options){ .arguments = arguments });
    file_write(path, "log_level: error\n");
    daemon_signal(service->daemon, SIGHUP);
    WAIT_UNTIL(10000, service_sample(service, "plumbline_reloads_total") == 1);
    ck_assert_int_eq(daemon_stop(service->daemon), 0);
    ck_assert(!daemon_log_has(service->daemon, "event=stopping"));
}
END_TEST

/* ---- SIGTERM ---- */

/* A COMMIT that does not return, and half a minute to wait for it: the second signal is the end. */
START_TEST(the_second_sigterm_is_at_once)
{
    static const char *const environment[] = { "PLUMBLINE_DRAIN_TIMEOUT_MS=10m",
                                               "PLUMBLINE_COMMIT_TIMEOUT_MS=10m", NULL };
    AUTO(service_free)
    struct service *service =
        service_start_proxied(&(struct daemon_options){ .environment = environment });
    static const char body[] = AGGREGATE("1");
    AUTO(mem_free)
    char *request =
        xasprintf("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                  sizeof(body) - 1, body);
    int fd;

    service_take(service, body); /* what a first one needs is there */
    proxy_aim(service->proxy, "plumbline metrics");
    proxy_arm(service->proxy, PROXY_HOLD, 0);
    fd = http_raw_open(daemon_port(service->daemon));
    ck_assert_int_eq(http_raw_send_text(fd, request), 0);
    WAIT_UNTIL(20000, proxy_sprung(service->proxy));
    daemon_signal(service->daemon, SIGTERM);
    WAIT_UNTIL(10000, daemon_log_has(service->daemon, "event=stopping signal=15"));
    daemon_signal(service->daemon, SIGTERM);
    WAIT_UNTIL(10000, daemon_log_has(service->daemon, "event=stopping_now signal=15"));
    ck_assert_int_eq(daemon_wait_exit(service->daemon, 30000), 0);
    (void)close(fd);
    proxy_release(service->proxy);
}
END_TEST

/* ---- the service manager ---- */

struct manager {
    int fd;
    char *path;
    char *variable; /* NOTIFY_SOCKET=... */
};

static void manager_init(struct manager *manager, bool is_abstract)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    AUTO(mem_free) char *dir = temp_dir();
    socklen_t len;

    manager->path = xasprintf("%s/notify", dir);
    manager->variable = xasprintf("NOTIFY_SOCKET=%s%s", is_abstract ? "@" : "", manager->path);
    len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(manager->path) +
                      (is_abstract ? 1 : 0));
    memcpy(address.sun_path + (is_abstract ? 1 : 0), manager->path, strlen(manager->path));
    manager->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(manager->fd, (struct sockaddr *)&address, len), 0);
}

static void manager_done_auto(struct manager *manager)
{
    (void)close(manager->fd);
    free(manager->path);
    free(manager->variable);
}

/* The next message has come; "" while none has. */
static bool manager_hears(const struct manager *manager, char text[1024])
{
    ssize_t len = recv(manager->fd, text, 1023, 0);

    text[len > 0 ? len : 0] = '\0';
    return len > 0;
}

/* Waits for a message that begins so; those of the watchdog are passed over. */
static void manager_await(const struct manager *manager, const char *start)
{
    char text[1024] = "";

    do {
        WAIT_UNTIL(20000, manager_hears(manager, text));
    } while (strcmp(text, "WATCHDOG=1") == 0);
    ck_assert_msg(strncmp(text, start, strlen(start)) == 0, "\"%s\", not \"%s\"", text, start);
}

START_TEST(the_manager_is_told)
{
    for (int is_abstract = 0; is_abstract < 2; is_abstract++) {
        AUTO(manager_done) struct manager manager = { .fd = -1 };
        const char *environment[] = { NULL, NULL };
        AUTO(service_free) struct service *service = NULL;
        AUTO(mem_free) char *ready = NULL;

        manager_init(&manager, is_abstract);
        environment[0] = manager.variable;
        service = service_start_with(&(struct daemon_options){ .environment = environment });
        ready = xasprintf("READY=1\nSTATUS=serving on 127.0.0.1:%d", daemon_port(service->daemon));
        manager_await(&manager, ready);
        daemon_signal(service->daemon, SIGHUP);
        manager_await(&manager, "RELOADING=1\nMONOTONIC_USEC=");
        manager_await(&manager, "READY=1");
        ck_assert_int_eq(daemon_stop(service->daemon), 0);
        manager_await(&manager, "STOPPING=1");
    }
}
END_TEST

START_TEST(the_watchdog_is_fed)
{
    AUTO(manager_done) struct manager manager = { .fd = -1 };
    const char *environment[] = { NULL, "WATCHDOG_USEC=200000", NULL };
    AUTO(service_free) struct service *service = NULL;
    char text[1024] = "";

    manager_init(&manager, false);
    environment[0] = manager.variable;
    service = service_start_with(&(struct daemon_options){ .environment = environment });
    manager_await(&manager, "READY=1");
    for (int i = 0; i < 3; i++) {
        WAIT_UNTIL(20000, manager_hears(&manager, text));
        ck_assert_str_eq(text, "WATCHDOG=1");
    }
}
END_TEST

/* ---- files ---- */

START_TEST(too_few_files)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    const char *const words[] = { "serve", "--listen", "127.0.0.1:0", "--database", dsn, NULL };
    static const char *const environment[] = { "PLUMBLINE_CONNECTIONS_MAX=1000", NULL };
    struct rlimit all, few;
    AUTO(mem_free) char *said = NULL;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
    few = (struct rlimit){ 600, 600 };
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0); /* of this test's process */
    ck_assert_int_eq(service_command(words, environment, &said), 1);
    ck_assert_str_eq(said, "plumbline serve: connections_max: 1000 connections and 222 other files "
                           "are more than the 600 that this process may open: raise that limit "
                           "(ulimit -n, or LimitNOFILE= of systemd) or lower connections_max to "
                           "378\n");
}
END_TEST

/* The soft limit is the daemon's to raise. */
START_TEST(the_soft_limit_is_raised)
{
    static const char *const environment[] = { "PLUMBLINE_CONNECTIONS_MAX=1000", NULL };
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(service_free) struct service *service = NULL;
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 600;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    service =
        service_start_with(&(struct daemon_options){ .dsn = dsn, .environment = environment });
    ck_assert_int_eq(prlimit(daemon_pid(service->daemon), RLIMIT_NOFILE, NULL, &limit), 0);
    ck_assert_uint_eq(limit.rlim_cur, 1222);
}
END_TEST

/* ---- what nobody is to see ---- */

#define SECRET "hunter2"

static char *process_words(pid_t pid)
{
    AUTO(mem_free) char *path = xasprintf("/proc/%d/cmdline", (int)pid);
    FILE *file = fopen(path, "r");
    char *text = xcalloc(1, 4096);
    size_t len;

    ck_assert_ptr_nonnull(file);
    len = fread(text, 1, 4095, file);
    (void)fclose(file);
    for (size_t i = 0; i + 1 < len; i++)
        text[i] = text[i] ? text[i] : ' ';
    return text;
}

static const struct {
    const char *properties; /* of Kafka */
    const char *said;       /* the log has this of them */
} secret_properties[] = {
    { "PLUMBLINE_KAFKA_PROPERTIES=security.protocol=sasl_plaintext\nsasl.mechanism=PLAIN\n"
      "sasl.username=ann\nsasl.password=" SECRET "\nssl.key.password=" SECRET "\ndebug=all\n",
      "sasl.password = [redacted]" },
    { "PLUMBLINE_KAFKA_PROPERTIES=security.protocol=sasl_plaintext\nsasl.mechanism=OAUTHBEARER\n"
      "enable.sasl.oauthbearer.unsecure.jwt=true\nsasl.oauthbearer.config=principal=ann " SECRET,
      "Unrecognized sasl.oauthbearer.config\"" },
};

START_TEST(passwords_are_not_shown)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(mem_free)
    char *with = xasprintf("%s password=" SECRET " application_name=plb_aaaaaaaa_" SECRET, dsn);
    const char *const environment[] = { "PLUMBLINE_LOG_LEVEL=debug",
                                        "PLUMBLINE_KAFKA_BROKERS=127.0.0.1:1",
                                        secret_properties[_i].properties, NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .dsn = with, .environment = environment });
    AUTO(mem_free) char *words = process_words(daemon_pid(service->daemon));

    ck_assert_ptr_null(strstr(words, SECRET));
    ck_assert_ptr_nonnull(strstr(words, " password=*******"));
    daemon_signal(service->daemon, SIGHUP); /* it reads the DSN of its command line once more */
    WAIT_UNTIL(10000,
               daemon_log_has(service->daemon, "event=reloaded changed=\"\" needs_restart=\"\""));
    WAIT_UNTIL(10000, daemon_log_has(service->daemon, secret_properties[_i].said));
    json_decref(service_post(service, 200, "/v1/events", THREE));
    ck_assert_int_eq(daemon_stop(service->daemon), 0);
    ck_assert(!daemon_log_has(service->daemon, SECRET));
}
END_TEST

/* What can't be read, or can't be reached, and has a password. */
static const char *const secret_dsns[] = {
    "host=/nowhere dbname=x password=" SECRET,
    "host=/nowhere dbname=x password='" SECRET,
    "host=/nowhere password=not so " SECRET,
    "host=/nowhere pasword=x password = " SECRET,
    "postgresql://ann:" SECRET "@/x?host=/nowhere",
    "postgresql://ann:%zz" SECRET "@/x?host=/nowhere",
    "postgresql://ann:p/" SECRET "@/x?host=/nowhere",
    "postgresql:///x?host=/nowhere&sslpassword=" SECRET "&colour=blue",
    "postgresql:///x?host=/nowhere&p%61ssword=" SECRET "%zz",
    "postgresql://ann:" SECRET "/d@127.0.0.1:1/x",
    "postgresql://ann:" SECRET "/b?user=c@127.0.0.1:1/x",
    "postgresql://ann:not@" SECRET "@127.0.0.1:1/x",
};

static void balance_says(const char *dsn, const char *want)
{
    const char *const words[] = { "balance", "--database", dsn, NULL };
    AUTO(mem_free) char *said = NULL;
    AUTO(mem_free) char *line = xasprintf("plumbline balance: %s\n", want);

    ck_assert_int_eq(service_command(words, NULL, &said), 1);
    ck_assert_str_eq(said, line);
}

START_TEST(passwords_are_not_in_errors)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/plumbline.yaml", dir);
    const char *const print[] = { "check-config", "--print", path, NULL };
    AUTO(mem_free) char *printed = NULL;

    for (size_t i = 0; i < LENGTH(secret_dsns); i++) {
        const char *const words[] = { "balance", "--database", secret_dsns[i], NULL };
        AUTO(mem_free) char *said = NULL;

        ck_assert_int_eq(service_command(words, NULL, &said), 1);
        ck_assert_msg(!strstr(said, SECRET), "%s", said);
        ck_assert_msg(strncmp(said, "plumbline balance: postgres: ", 29) == 0, "%s", said);
    }
    balance_says("host=/nowhere dbname=x password=" SECRET,
                 "postgres: connection to server on socket \"/nowhere/.s.PGSQL.5432\" failed: No "
                 "such file or directory");
    balance_says("postgresql://127.0.0.1:1/x?user=me@srv",
                 "postgres: connection to server at \"127.0.0.1\", port 1 failed: Connection "
                 "refused");
    balance_says("postgresql://ann:" SECRET "/d@127.0.0.1:1/x",
                 "postgres: no connection, and why is not told: it would quote the DSN, and what "
                 "may be its password; in a URI write @ and / of a password as %40 and %2F, else "
                 "put it in quotes");
    file_write(path, "database: postgresql://ann:" SECRET "@db/x\n"
                     "kafka:\n  properties:\n    sasl.password: " SECRET "\n"
                     "    ssl.key.password: " SECRET "\n    sasl.username: ann\n");
    ck_assert_int_eq(service_command(print, NULL, &printed), 0);
    ck_assert_ptr_null(strstr(printed, SECRET));
    ck_assert_ptr_nonnull(strstr(printed, "database: \"postgresql://ann:*******@db/x\"\n"));
    ck_assert_ptr_nonnull(strstr(printed, "sasl.password: \"*******\"\n"));
    ck_assert_ptr_nonnull(strstr(printed, "sasl.username: \"ann\"\n"));
}
END_TEST

Suite *daemon_signals_suite(void)
{
    Suite *suite = suite_create("daemon_signals");
    TCase *tcase = tcase_create("daemon_signals");

    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, reload);
    tcase_add_test(tcase, reload_changes_the_log_level);
    tcase_add_test(tcase, the_second_sigterm_is_at_once);
    tcase_add_test(tcase, the_manager_is_told);
    tcase_add_test(tcase, the_watchdog_is_fed);
    tcase_add_test(tcase, too_few_files);
    tcase_add_test(tcase, the_soft_limit_is_raised);
    tcase_add_loop_test(tcase, passwords_are_not_shown, 0, LENGTH(secret_properties));
    tcase_add_test(tcase, passwords_are_not_in_errors);
    suite_add_tcase(suite, tcase);
    return suite;
}
