/* Starting and stopping: what can't work ends with one line and exit code 1; what has begun is
 * finished. */
#include <arpa/inet.h>
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "collector/store_internal.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"

Suite *startup_suite(void);

/* An event whose UUID ends with the number. Owned. */
static char *event_of(unsigned number)
{
    return xasprintf("{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:one\","
                     "\"predictionUuid\":\"00000000-0000-4000-8000-%012x\","
                     "\"startTimestampMs\":1704067200000,\"endTimestampMs\":1704067200001,"
                     "\"metrics\":{}}",
                     number);
}

static void take_event(struct service *service, unsigned number)
{
    AUTO(mem_free) char *event = event_of(number);

    service_take(service, event);
}

/* ---- what can't work ---- */

/* The program with these words must say this one line, and no more, and exit with 1. */
static void check_refusal(const char *const *words, const char *const *environment,
                          const char *line, const char *what)
{
    AUTO(mem_free) char *output = NULL;
    AUTO(mem_free) char *want = xasprintf("plumbline %s: %s\n", words[0], line);
    int code = service_command(words, environment, &output);

    ck_assert_msg(strcmp(output, want) == 0, "%s:\nhave %swant %s", what, output, want);
    ck_assert_msg(code == 1, "%s: exit code %d", what, code);
}

static void serve_refusal(const char *dsn, const char *line, const char *what)
{
    const char *const words[] = { "serve", "--listen", "127.0.0.1:0", "--database", dsn, NULL };

    check_refusal(words, NULL, line, what);
}

/* In each '@' is the folder with the server's socket. */
static const struct {
    const char *name, *dsn, *line;
} dsn_cases[] = {
    { "no server there", "host=/nowhere dbname=x",
      "postgres: connection to server on socket \"/nowhere/.s.PGSQL.5432\" failed: "
      "No such file or directory" },
    { "no server at the port", "host=127.0.0.1 port=1 dbname=x",
      "postgres: connection to server at \"127.0.0.1\", port 1 failed: Connection refused" },
    { "no such database", "host=@ user=postgres dbname=nothing",
      "postgres: connection to server on socket \"@/.s.PGSQL.5432\" failed: "
      "FATAL:  database \"nothing\" does not exist" },
    { "no such user", "host=@ user=nobody-there dbname=postgres",
      "postgres: connection to server on socket \"@/.s.PGSQL.5432\" failed: "
      "FATAL:  role \"nobody-there\" does not exist" },
    { "no DSN", "host=@ nonsense",
      "postgres: missing \"=\" after \"nonsense\" in connection info string" },
    { "unknown option", "host=@ colour=blue", "postgres: invalid connection option \"colour\"" },
};

static char *expand(const char *text)
{
    AUTO(buf_done) struct buf out;

    buf_init(&out, SIZE_MAX);
    for (; *text; text++) {
        if (*text == '@')
            buf_append_text(&out, pg_socket_dir(pg_shared()));
        else
            buf_append_char(&out, *text);
    }
    return xstrdup(buf_text(&out));
}

START_TEST(wrong_dsn)
{
    for (size_t i = 0; i < LENGTH(dsn_cases); i++) {
        AUTO(mem_free) char *dsn = expand(dsn_cases[i].dsn);
        AUTO(mem_free) char *reason = expand(dsn_cases[i].line);
        AUTO(mem_free)
        char *line = xasprintf("%s; start that server, or correct --database", reason);

        serve_refusal(dsn, line, dsn_cases[i].name);
    }
}
END_TEST

START_TEST(port_taken)
{
    AUTO(service_free) struct service *service = service_start();
    int port = daemon_port(service->daemon);
    AUTO(mem_free) char *listen = xasprintf("127.0.0.1:%d", port);
    const char *const words[] = { "serve", "--listen", listen, "--database", service->dsn, NULL };
    AUTO(mem_free)
    char *line = xasprintf("listen 127.0.0.1:%d: address already in use: another plumbline? "
                           "choose another with --listen",
                           port);

    check_refusal(words, NULL, line, "port taken");
    take_event(service, 1); /* the one that was there first goes on */
}
END_TEST

/* '@' is the file's name. */
static const struct {
    const char *name, *text, *line;
} config_cases[] = {
    { "unknown key", "listen: 127.0.0.1:0\nlisten_port: 1\n",
      "@:2:1: unknown key \"listen_port\"; `plumbline check-config --keys` lists all" },
    { "misspelled key", "databse: x\n",
      "@:1:1: unknown key \"databse\"; did you mean \"database\"?" },
    { "repeated key", "log_level: info\n\nlog_level: warn\n",
      "@:3:1: key \"log_level\" is repeated; it stands in line 1 already" },
    { "no YAML", "listen: \"127.0.0.1:0\n", "@:2:1: found unexpected end of stream" },
    { "a list", "- listen\n", "@:1:1: expected lines of the form `key: value`" },
    { "a list for a value", "listen: [a, b]\n",
      "@:1:9: listen: takes one value, not a list or a mapping" },
    { "no number", "events_max: many\n", "@:1:13: events_max: \"many\" is not a whole number" },
    { "no value", "events_max:\n",
      "@:1:12: events_max: the value is missing; the default is 100000" },
    { "no level", "log_level: loud\n",
      "@:1:12: log_level: \"loud\" is not a log level; use debug, info, warn or error" },
};

static char *config_file(const char *text)
{
    AUTO(mem_free) char *dir = temp_dir();
    char *path = xasprintf("%s/plumbline.yaml", dir);
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    (void)fputs(text, file);
    (void)fclose(file);
    return path;
}

START_TEST(broken_configuration)
{
    const char *const missing[] = { "serve", "-c", "/nowhere/plumbline.yaml", NULL };
    const char *const both[] = { "serve", "--database", "x", "--data-dir", "y", NULL };
    const char *const variable[] = { "PLUMBLINE_LISTN=127.0.0.1:0", NULL };
    const char *const serve[] = { "serve", NULL };

    for (size_t i = 0; i < LENGTH(config_cases); i++) {
        AUTO(mem_free) char *path = config_file(config_cases[i].text);
        AUTO(mem_free) char *line = xasprintf("%s%s", path, config_cases[i].line + 1);
        const char *const words[] = { "serve", "-c", path, NULL };

        check_refusal(words, NULL, line, config_cases[i].name);
    }
    check_refusal(
        missing, NULL,
        "cannot read the configuration /nowhere/plumbline.yaml: No such file or directory",
        "no file");
    check_refusal(both, NULL,
                  "--database and --data-dir exclude each other: the first names a server, the "
                  "second a private one",
                  "both");
    check_refusal(serve, variable,
                  "environment: PLUMBLINE_LISTN is no key of the configuration; did you mean "
                  "PLUMBLINE_LISTEN?",
                  "variable");
}
END_TEST

/* ---- databases that can't be used ---- */

START_TEST(database_is_newer)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    const char *const migrate[] = { "migrate", "--database", dsn, NULL };
    AUTO(mem_free) char *said = NULL;
    AUTO(mem_free) char *line = NULL;
    int64_t known;

    ck_assert_int_eq(service_command(migrate, NULL, &said), 0);
    known = pg_query_i64(dsn, "SELECT max(version) FROM schema_version");
    line =
        xasprintf("the database has schema version 999, this plumbline knows up to %lld: run the "
                  "plumbline that made it or a newer one",
                  (long long)known);
    pg_exec(dsn, "INSERT INTO schema_version (version, name) VALUES (999, 'sql/999_future.sql')");
    serve_refusal(dsn, line, "serve");
    check_refusal(migrate, NULL, line, "migrate");
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM ingest_batch"), 0);
}
END_TEST

START_TEST(database_is_of_another_kind)
{
    AUTO(mem_free) char *postgres = pg_dsn(pg_shared(), "postgres");
    AUTO(mem_free) char *latin = pg_dsn(pg_shared(), "latin");
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    const char *const migrate[] = { "migrate", "--database", dsn, NULL };
    const char *const environment[] = { "PLUMBLINE_PARTITION_DAYS=1", NULL };
    const char *const serve[] = { "serve", "--listen", "127.0.0.1:0", "--database", dsn, NULL };
    AUTO(mem_free) char *said = NULL;

    pg_exec(postgres, "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
                      " TEMPLATE template0");
    serve_refusal(latin, "database \"latin\" has encoding LATIN1: make one with ENCODING 'UTF8'",
                  "encoding");
    pg_exec(postgres, "DROP DATABASE latin WITH (FORCE)");
    ck_assert_int_eq(service_command(migrate, NULL, &said), 0);
    check_refusal(
        serve, environment,
        "partition_days is 7 in this database and 1 in the configuration: it is fixed when "
        "the database is made, put 7 into the configuration",
        "partition_days");
}
END_TEST

/* ---- an empty database ---- */

START_TEST(together_on_an_empty_database)
{
    enum { DAEMONS = 4 };
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    struct daemon *daemons[DAEMONS];

    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM pg_tables"
                                       " WHERE schemaname = 'public'"),
                     0);
    for (int i = 0; i < DAEMONS; i++)
        daemons[i] = daemon_spawn(&(struct daemon_options){ .dsn = dsn });
    for (int i = 0; i < DAEMONS; i++) {
        struct service service = { .dsn = dsn, .daemon = daemons[i], .http = http_new() };

        daemon_wait_ready(daemons[i]);
        take_event(&service, (unsigned)i);
        http_free(service.http);
    }
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) - max(version) FROM schema_version"), 0);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM prediction"), DAEMONS);
    for (int i = 0; i < DAEMONS; i++)
        daemon_free(daemons[i]);
}
END_TEST

START_TEST(migrate_twice)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    const char *const migrate[] = { "migrate", "--database", dsn, NULL };
    AUTO(mem_free) char *applied = NULL;

    for (int i = 0; i < 2; i++) {
        AUTO(mem_free) char *said = NULL;
        AUTO(mem_free) char *now = NULL;

        ck_assert_int_eq(service_command(migrate, NULL, &said), 0);
        ck_assert_str_eq(said, "the schema is up to date\n");
        now = pg_query_text(dsn, "SELECT string_agg(version || ' ' || applied_at, ','"
                                 " ORDER BY version) FROM schema_version");
        if (applied)
            ck_assert_str_eq(now, applied); /* nothing was done again */
        free(applied);
        applied = TAKE(now);
    }
}
END_TEST

/* ---- SIGTERM while requests wait ---- */

enum { WAITERS = 3 };

struct waiter {
    char *url;
    char *event;
    long status; /* 0: no answer */
    pthread_t thread;
};

static void *waiter_run(void *arg)
{
    struct waiter *waiter = arg;
    AUTO(http_free) struct http *http = http_new();
    AUTO(http_answer_free)
    struct http_answer *answer = http_post(http, waiter->url, waiter->event);

    waiter->status = answer->status;
    return NULL;
}

/* Requests that wait for a COMMIT that is being held, in the queue as well. */
static void waiters_start(struct service *service, struct waiter waiters[WAITERS])
{
    take_event(service, 100); /* makes what is made in transactions of their own */
    proxy_aim(service->proxy, "plumbline metrics");
    proxy_arm(service->proxy, PROXY_HOLD, 0);
    for (unsigned i = 0; i < WAITERS; i++) {
        waiters[i].url = daemon_url(service->daemon, "/v1/events");
        waiters[i].event = event_of(i);
        waiters[i].status = -1;
        ck_assert_int_eq(pthread_create(&waiters[i].thread, NULL, waiter_run, &waiters[i]), 0);
    }
    WAIT_UNTIL(10000, proxy_sprung(service->proxy));
    WAIT_UNTIL(10000, service_sample(service, "plumbline_events_total{kind=\"track_metrics\","
                                              "fate=\"received\"}") == 1 + WAITERS);
}

static void waiters_join(struct waiter waiters[WAITERS])
{
    for (size_t i = 0; i < WAITERS; i++) {
        (void)pthread_join(waiters[i].thread, NULL);
        free(waiters[i].url);
        free(waiters[i].event);
    }
}

START_TEST(sigterm_finishes_what_waits)
{
    AUTO(service_free)
    struct service *service = service_start_proxied(&(struct daemon_options){ 0 });
    AUTO(mem_free) char *url = daemon_url(service->daemon, "/healthz");
    AUTO(http_answer_free) struct http_answer *refused = NULL;
    AUTO(mem_free) char *retry_after = NULL;
    struct waiter waiters[WAITERS];
    json_auto_t *error = NULL;

    waiters_start(service, waiters);
    daemon_signal(service->daemon, SIGTERM);
    WAIT_UNTIL(10000, daemon_log_has(service->daemon, "event=stopping signal=15"));
    /* the flag is set right behind that line; a request before it is answered as ever */
    WAIT_UNTIL(10000,
               (http_answer_free(TAKE(refused)), refused = http_get(service->http, url))->status ==
                   503);
    error = http_json(refused);
    service_check_error(error, "stopping", NULL, "the server is stopping: send it again", "late");
    retry_after = http_header(refused, "Retry-After");
    ck_assert_str_eq(retry_after, "1");
    proxy_release(service->proxy);
    waiters_join(waiters);
    for (size_t i = 0; i < WAITERS; i++)
        ck_assert_int_eq(waiters[i].status, 200);
    ck_assert_int_eq(daemon_wait_exit(service->daemon, 20000), 0);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM prediction"), 1 + WAITERS);
    ck_assert(daemon_log_has(service->daemon, "event=stopped"));
}
END_TEST

static int64_t stored_events(const char *dsn, unsigned number)
{
    return pg_query_i64(dsn,
                        "SELECT count(*) FROM prediction"
                        " WHERE uuid = '00000000-0000-4000-8000-%012x'",
                        number);
}

/* A COMMIT that does not return: the daemon ends all the same, its batch is not answered 200, and
 * whoever was told something was told the truth, whenever the COMMIT arrives. */
START_TEST(sigterm_does_not_wait_for_ever)
{
    static const char *const environment[] = { "PLUMBLINE_DRAIN_TIMEOUT_MS=1s", NULL };
    AUTO(service_free)
    struct service *service =
        service_start_proxied(&(struct daemon_options){ .environment = environment });
    struct waiter waiters[WAITERS];
    size_t taken = 0;

    waiters_start(service, waiters);
    daemon_signal(service->daemon, SIGTERM);
    ck_assert_int_eq(daemon_wait_exit(service->daemon, 20000), 0);
    waiters_join(waiters);
    proxy_release(service->proxy);
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT count(*) FROM pg_stat_activity"
                                                 " WHERE datname = current_database()"
                                                 " AND application_name LIKE 'plumbline%%'") == 0);
    for (unsigned i = 0; i < WAITERS; i++) {
        int64_t stored = stored_events(service->dsn, i);

        taken += waiters[i].status == 200;
        ck_assert_msg((waiters[i].status == 200 && stored == 1) ||
                          (waiters[i].status == 503 && stored == 0) ||
                          (waiters[i].status == 0 && stored <= 1),
                      "waiter %u: %ld, but %d stored", i, waiters[i].status, (int)stored);
    }
    ck_assert_uint_lt(taken, WAITERS);
}
END_TEST

/* ---- the private Postgres ---- */

START_TEST(private_postgres_keeps_its_data)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *data = xasprintf("%s/var", dir);
    const char *const arguments[] = { "--data-dir", data, NULL };
    const char *const serve[] = { "serve", "--listen", "127.0.0.1:0", "--data-dir", data, NULL };
    const char *const balance[] = { "balance", "--data-dir", data, NULL };
    AUTO(service_free) struct service *service = xcalloc(1, sizeof(*service));
    AUTO(mem_free) char *line = NULL;
    AUTO(mem_free) char *said = NULL;

    service->daemon = daemon_start(&(struct daemon_options){ .arguments = arguments });
    service->http = http_new();
    take_event(service, 0);
    line =
        xasprintf("data directory %s is in use by another plumbline (process %d): stop that one, "
                  "or name another --data-dir",
                  data, (int)daemon_pid(service->daemon));
    check_refusal(serve, NULL, line, "a second daemon");
    for (unsigned i = 1; i < 3; i++) {
        json_auto_t *rows = NULL;

        if (i == 1)
            ck_assert_int_eq(daemon_stop(service->daemon), 0);
        else
            daemon_kill9(service->daemon); /* the server goes on and is adopted */
        daemon_resume(service->daemon);
        take_event(service, i);
        rows = service_rows(service, "");
        ck_assert_uint_eq(json_array_size(rows), i + 1);
    }
    service_check_balance(service, 3, 0, 0);
    ck_assert_int_eq(daemon_stop(service->daemon), 0);
    ck_assert_int_eq(service_command(balance, NULL, &said), 0);
    ck_assert_msg(strstr(said, "3 batches; the books balance; a daemon's spool is not in them\n") !=
                      NULL,
                  "%s", said);
}
END_TEST

/* ---- its sessions ---- */

static int free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, len), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

/* The server's side of a session sees that a host is gone: it must not keep locks for hours. */
START_TEST(sessions_end_with_their_host)
{
    static const char sql[] =
        "SELECT concat_ws(' ', current_setting('tcp_keepalives_idle'),"
        " current_setting('tcp_keepalives_interval'), current_setting('tcp_keepalives_count'),"
        " current_setting('tcp_user_timeout'))";
    int port = free_port();
    AUTO(pg_free)
    struct pg *pg = pg_start(&(struct pg_options){ .unsafe = true, .tcp_port = port });
    AUTO(mem_free) char *local = pg_dsn(pg, "postgres");
    AUTO(mem_free)
    char *remote = xasprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres", port);
    const char *const dsns[] = { remote, local }, *const want[] = { "10 3 5 30000", "0 0 0 0" };

    for (size_t i = 0; i < LENGTH(dsns); i++) {
        struct err err = { 0 };
        AUTO(store_close) PGconn *conn = store_connect(dsns[i], "test", &err);
        AUTO(store_result_free) PGresult *result = NULL;

        ck_assert_msg(conn != NULL, "%s", err.text);
        result = store_query(conn, sql, "settings", &err);
        ck_assert_msg(result != NULL, "%s", err.text);
        ck_assert_str_eq(PQgetvalue(result, 0, 0), want[i]);
    }
}
END_TEST

/* ---- what it prints ---- */

/* A label goes to the first prediction with its UUID, and whoever tries the printed lines may try
 * those of the README as well. */
START_TEST(examples_do_not_meet)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *log = daemon_log(service->daemon);
    AUTO(mem_free) char *readme = temp_file_tail("README.md", 1 << 20);
    static const char member[] = "\"predictionUuid\":\"";
    const char *at = log;
    int uuids = 0;

    for (; (at = strstr(at, member)); uuids++) {
        char uuid[37] = "";

        at += strlen(member);
        memcpy(uuid, at, strnlen(at, sizeof(uuid) - 1));
        ck_assert_msg(strstr(readme, uuid) == NULL, "%s is in README.md too", uuid);
    }
    ck_assert_int_eq(uuids, 2);
}
END_TEST

Suite *startup_suite(void)
{
    Suite *suite = suite_create("startup");
    TCase *tcase = tcase_create("startup");

    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, wrong_dsn);
    tcase_add_test(tcase, port_taken);
    tcase_add_test(tcase, broken_configuration);
    tcase_add_test(tcase, database_is_newer);
    tcase_add_test(tcase, database_is_of_another_kind);
    tcase_add_test(tcase, together_on_an_empty_database);
    tcase_add_test(tcase, migrate_twice);
    tcase_add_test(tcase, sigterm_finishes_what_waits);
    tcase_add_test(tcase, sigterm_does_not_wait_for_ever);
    tcase_add_test(tcase, private_postgres_keeps_its_data);
    tcase_add_test(tcase, sessions_end_with_their_host);
    tcase_add_test(tcase, examples_do_not_meet);
    suite_add_tcase(suite, tcase);
    return suite;
}
