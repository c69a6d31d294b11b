/* HTTPS: who is let in, certificates that are put in the place of others, and what an unfinished
 * handshake may cost. The suites of other themes run over TLS with TEST_TLS=1. */
#include <check.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/harness/certificate.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"

Suite *tls_suite(void);

/* An authority, a server's certificate in a folder of its own, and a daemon that has it. */
struct rig {
    struct authority *authority;
    struct certificate certificate;
    char *folder;
    struct service *service;
};

static void rig_issue(struct rig *rig, struct authority *authority, int days)
{
    certificate_done(&rig->certificate);
    authority_issue(authority,
                    &(struct certificate_options){
                        .name = "server", .days = days, .folder = rig->folder },
                    &rig->certificate);
}

static void rig_init(struct rig *rig, const char *const *environment)
{
    *rig = (struct rig){ .authority = authority_new("first"), .folder = temp_dir() };
    rig_issue(rig, rig->authority, 0);
    rig->service = service_start_with(
        &(struct daemon_options){ .tls = &rig->certificate, .environment = environment });
}

static void rig_done_auto(struct rig *rig)
{
    service_free(rig->service);
    certificate_done(&rig->certificate);
    authority_free(rig->authority);
    free(rig->folder);
}

/* The status of a GET on a new connection; 0: none, and *why (may be NULL) says why, owned. */
static long rig_get(const struct rig *rig, const char *ca, const struct certificate *client,
                    char **why)
{
    AUTO(mem_free) char *url = daemon_url(rig->service->daemon, "/healthz");
    AUTO(http_free) struct http *http = http_new();
    AUTO(http_answer_free)
    struct http_answer *answer =
        http_send(http, &(struct http_request){
                            .url = url, .ca = ca, .certificate = client, .fresh = true });

    if (why)
        *why = xstrdup(answer->error);
    return answer->status;
}

static int64_t rig_metric(const struct rig *rig, const char *name)
{
    AUTO(mem_free) char *url = daemon_url(rig->service->daemon, "/metrics");
    AUTO(mem_free) char *line = xasprintf("\n%s ", name);
    AUTO(http_free) struct http *http = http_new();
    AUTO(http_answer_free)
    struct http_answer *answer =
        http_send(http, &(struct http_request){ .url = url, .ca = authority_path(rig->authority) });
    const char *found = strstr(answer->body, line);

    ck_assert_msg(found != NULL, "no %s: %s", name, answer->error);
    return strtoll(found + strlen(line), NULL, 10);
}

static bool rig_log_has(const struct rig *rig, const char *text)
{
    return daemon_log_has(rig->service->daemon, text);
}

/* ---- what every answer says ---- */

static const struct {
    const char *name, *value;
} guards[] = {
    { "X-Content-Type-Options", "nosniff" },
    { "Cache-Control", "no-store" },
    { "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'" },
    { "Server", NULL },
};
static const char *const guarded_paths[] = { "/healthz",    "/readyz",          "/metrics",
                                             "/v1/metrics", "/v1/deployments",  "/v1/nothing",
                                             "/v1/limits",  "/api/atlas/v2/no", "/openapi.yaml" };

static void check_guards(const struct service *service, const char *ca, const char *transport)
{
    AUTO(http_free) struct http *http = http_new();

    for (size_t i = 0; i < LENGTH(guarded_paths); i++) {
        AUTO(mem_free) char *url = daemon_url(service->daemon, guarded_paths[i]);
        AUTO(http_answer_free)
        struct http_answer *answer =
            http_send(http, &(struct http_request){ .url = url, .ca = ca });
        AUTO(mem_free) char *hsts = http_header(answer, "Strict-Transport-Security");

        ck_assert_int_gt(answer->status, 0);
        for (size_t j = 0; j < LENGTH(guards); j++) {
            AUTO(mem_free) char *value = http_header(answer, guards[j].name);

            if (guards[j].value)
                ck_assert_pstr_eq(value, guards[j].value);
            else
                ck_assert_ptr_null(value);
        }
        ck_assert_pstr_eq(hsts, transport);
        if (i < 2) /* what strangers may ask for */
            ck_assert_ptr_null(strstr(answer->body, "0.1"));
    }
}

START_TEST(answers_are_guarded)
{
    AUTO(service_free) struct service *plain = service_start();
    AUTO(rig_done) struct rig rig = { 0 };

    rig_init(&rig, NULL);
    check_guards(rig.service, authority_path(rig.authority), "max-age=31536000");
    check_guards(plain, NULL, tls_wanted() ? "max-age=31536000" : NULL);
}
END_TEST

/* ---- who is let in ---- */

static int raw_tcp(const struct service *service)
{
    ck_assert(!tls_wanted()); /* the bridge would do the handshake */
    return http_raw_open(daemon_port(service->daemon));
}

/* A handshake with what the client offers; false: the server does not want it. */
static bool handshake(const struct service *service, const char *offers)
{
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t session;
    int fd = raw_tcp(service), rc;

    ck_assert_int_eq(gnutls_certificate_allocate_credentials(&credentials), 0);
    ck_assert_int_eq(gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL), 0);
    ck_assert_int_eq(gnutls_priority_set_direct(session, offers, NULL), 0);
    ck_assert_int_eq(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials), 0);
    gnutls_transport_set_int(session, fd);
    do {
        rc = gnutls_handshake(session);
    } while (rc < 0 && !gnutls_error_is_fatal(rc));
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(credentials);
    (void)close(fd);
    return rc == 0;
}

/* Whether the server goes along with a client that wants to begin anew on its connection. */
static bool renegotiates(const struct service *service)
{
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t session;
    int fd = raw_tcp(service), rc;

    ck_assert_int_eq(gnutls_certificate_allocate_credentials(&credentials), 0);
    ck_assert_int_eq(gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL), 0);
    ck_assert_int_eq(gnutls_priority_set_direct(session, "NORMAL:-VERS-ALL:+VERS-TLS1.2", NULL), 0);
    ck_assert_int_eq(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials), 0);
    gnutls_transport_set_int(session, fd);
    gnutls_handshake_set_timeout(session, (unsigned)wait_scaled_ms(20000));
    for (int i = 0; i < 2; i++) {
        do {
            rc = gnutls_handshake(session);
        } while (rc < 0 && !gnutls_error_is_fatal(rc));
        ck_assert_msg(rc == 0 || i > 0, "%s", gnutls_strerror(rc));
    }
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(credentials);
    (void)close(fd);
    return rc == 0;
}

static const struct {
    const char *offers;
    bool is_taken;
} offer_cases[] = {
    { "NORMAL", true },
    { "NORMAL:-VERS-ALL:+VERS-TLS1.3", true },
    { "NORMAL:-VERS-ALL:+VERS-TLS1.2", true },
    { "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+CHACHA20-POLY1305", true },
    { "NORMAL:-VERS-ALL:+VERS-TLS1.1", false },
    { "NORMAL:-VERS-ALL:+VERS-TLS1.0", false },
    { "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC", false },
    { "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA", false },
};

START_TEST(only_good_protocols_are_spoken)
{
    AUTO(rig_done) struct rig rig = { 0 };
    int fd;

    rig_init(&rig, NULL);
    for (size_t i = 0; i < LENGTH(offer_cases); i++)
        ck_assert_msg(handshake(rig.service, offer_cases[i].offers) == offer_cases[i].is_taken,
                      "%s", offer_cases[i].offers);
    fd = raw_tcp(rig.service); /* HTTP without TLS is no answer at all */
    ck_assert_int_eq(http_raw_send_text(fd, "GET /healthz HTTP/1.0\r\n\r\n"), 0);
    ck_assert(!http_raw_await(fd, "HTTP/", wait_scaled_ms(20000)));
    (void)close(fd);
    WAIT_UNTIL(10000, rig_metric(&rig, "plumbline_tls_handshakes_failed_total") == 5);
    ck_assert(!renegotiates(rig.service));
    ck_assert_int_eq(rig_get(&rig, authority_path(rig.authority), NULL, NULL), 200);
}
END_TEST

START_TEST(clients_are_asked_for_certificates)
{
    AUTO(authority_free) struct authority *clients = authority_new("clients");
    AUTO(authority_free) struct authority *strangers = authority_new("strangers");
    AUTO(certificate_done) struct certificate good = { 0 };
    AUTO(certificate_done) struct certificate late = { 0 };
    AUTO(certificate_done) struct certificate strange = { 0 };
    AUTO(certificate_done) struct certificate server = { 0 };
    AUTO(mem_free)
    char *variable = xasprintf("PLUMBLINE_TLS_CLIENT_CA=%s", authority_path(clients));
    const char *const environment[] = { variable, NULL };
    AUTO(rig_done) struct rig rig = { 0 };
    const char *ca;

    rig_init(&rig, environment);
    ca = authority_path(rig.authority);
    authority_issue(clients, &(struct certificate_options){ .name = "ann", .is_client = true },
                    &good);
    authority_issue(clients,
                    &(struct certificate_options){ .name = "bob", .is_client = true, .days = -1 },
                    &late);
    authority_issue(strangers, &(struct certificate_options){ .name = "eve", .is_client = true },
                    &strange);
    authority_issue(clients, &(struct certificate_options){ .name = "machine" }, &server);
    ck_assert_int_eq(rig_get(&rig, ca, &good, NULL), 200);
    ck_assert_int_eq(rig_get(&rig, ca, NULL, NULL), 0);
    ck_assert_int_eq(rig_get(&rig, ca, &late, NULL), 0);
    ck_assert_int_eq(rig_get(&rig, ca, &strange, NULL), 0);
    ck_assert_int_eq(rig_get(&rig, ca, &server, NULL), 0);
    ck_assert_int_eq(rig_get(&rig, authority_path(clients), &good, NULL), 0);
    ck_assert_int_eq(rig_get(&rig, ca, &good, NULL), 200);
    ck_assert(rig_log_has(&rig, " clients=certified\n"));
}
END_TEST

/* ---- other certificates ---- */

/* Asks over one connection until it is told to end. */
struct asker {
    pthread_t thread;
    char *url;
    const char *ca;
    _Atomic bool ends;
    _Atomic uint32_t answers, failures;
};

static void *asker_run(void *arg)
{
    struct asker *asker = arg;
    AUTO(http_free) struct http *http = http_new();

    while (!asker->ends) {
        AUTO(http_answer_free)
        struct http_answer *answer =
            http_send(http, &(struct http_request){ .url = asker->url, .ca = asker->ca });

        if (answer->status == 200)
            asker->answers++;
        else
            asker->failures++;
    }
    return NULL;
}

static void rig_reload(const struct rig *rig, const char *sign)
{
    daemon_signal(rig->service->daemon, SIGHUP);
    WAIT_UNTIL(10000, rig_log_has(rig, sign));
}

/* A connection that is there goes on over a reload although nobody would trust its certificate any
 * more; new ones get the new one. */
START_TEST(reload_cuts_nobody)
{
    AUTO(authority_free) struct authority *second = authority_new("second");
    AUTO(rig_done) struct rig rig = { 0 };
    struct asker asker = { 0 };
    uint32_t before;

    rig_init(&rig, NULL);
    asker.url = daemon_url(rig.service->daemon, "/healthz");
    asker.ca = authority_path(rig.authority);
    ck_assert_int_eq(pthread_create(&asker.thread, NULL, asker_run, &asker), 0);
    WAIT_UNTIL(10000, asker.answers > 10);
    rig_issue(&rig, second, 0);
    rig_reload(&rig, "event=reloaded changed=\"\" needs_restart=\"\"");
    before = asker.answers;
    WAIT_UNTIL(10000, asker.answers > before + 10);
    ck_assert_int_eq(rig_get(&rig, authority_path(second), NULL, NULL), 200);
    ck_assert_int_eq(rig_get(&rig, authority_path(rig.authority), NULL, NULL), 0);
    asker.ends = true;
    pthread_join(asker.thread, NULL);
    ck_assert_uint_eq(asker.failures, 0);
    free(asker.url);
}
END_TEST

static void file_write(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    (void)fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, mode), 0);
}

enum damage { NO_CERTIFICATE, NO_PEM, KEY_GONE, KEY_OPEN, KEY_OF_ANOTHER, KEY_BROKEN };

/* '@' is the folder of server.pem and server.key. */
static const struct {
    const char *name;
    enum damage damage;
    const char *line;
} damage_cases[] = {
    { "no certificate", NO_CERTIFICATE,
      "tls_certificate: @/server.pem: No such file or directory" },
    { "no PEM", NO_PEM,
      "tls_certificate: @/server.pem holds no chain of certificates in PEM: No certificate was "
      "found." },
    { "no key", KEY_GONE, "tls_key: @/server.key: No such file or directory" },
    { "a key for all", KEY_OPEN,
      "tls_key: @/server.key can be read by others (mode 0644): a private key is 0600, or 0640 "
      "when "
      "it belongs to root" },
    { "another's key", KEY_OF_ANOTHER,
      "tls_key: @/server.key is not the key of the certificate in @/server.pem" },
    { "a broken key", KEY_BROKEN,
      "tls_key: @/server.key holds no private key that can be read: Base64 decoding error." },
};

static char *damage_line(const char *text, const char *folder)
{
    AUTO(buf_done) struct buf out;

    buf_init(&out, SIZE_MAX);
    for (; *text; text++) {
        if (*text == '@')
            buf_append_text(&out, folder);
        else
            buf_append_char(&out, *text);
    }
    return xstrdup(buf_text(&out));
}

static void rig_damage(struct rig *rig, enum damage damage)
{
    AUTO(certificate_done) struct certificate other = { 0 };

    switch (damage) {
    case NO_CERTIFICATE:
        ck_assert_int_eq(unlink(rig->certificate.path), 0);
        break;
    case NO_PEM:
        file_write(rig->certificate.path, "hello\n", 0644);
        break;
    case KEY_GONE:
        ck_assert_int_eq(unlink(rig->certificate.key), 0);
        break;
    case KEY_OPEN:
        ck_assert_int_eq(chmod(rig->certificate.key, 0644), 0);
        break;
    case KEY_OF_ANOTHER:
        authority_issue(rig->authority, &(struct certificate_options){ .name = "other" }, &other);
        ck_assert_int_eq(rename(other.key, rig->certificate.key), 0);
        break;
    case KEY_BROKEN:
        file_write(rig->certificate.key, "-----BEGIN PRIVATE KEY-----\nAAAA\n", 0600);
        break;
    }
}

/* The old one stays while the daemon runs; a new daemon does not start. */
START_TEST(broken_files_change_nothing)
{
    AUTO(rig_done) struct rig rig = { 0 };
    AUTO(mem_free) char *certificate = NULL;
    AUTO(mem_free) char *key = NULL;
    const char *environment[3] = { NULL };

    rig_init(&rig, NULL);
    environment[0] = certificate = xasprintf("PLUMBLINE_TLS_CERTIFICATE=%s", rig.certificate.path);
    environment[1] = key = xasprintf("PLUMBLINE_TLS_KEY=%s", rig.certificate.key);
    for (size_t i = 0; i < LENGTH(damage_cases); i++) {
        AUTO(mem_free) char *text = damage_line(damage_cases[i].line, rig.folder);
        AUTO(mem_free)
        char *logged = xasprintf("level=error event=reload_failed action=\"everything stays as it "
                                 "was\" err=\"%s\"\n",
                                 text);
        AUTO(mem_free) char *line = xasprintf("plumbline check-config: %s\n", text);
        AUTO(mem_free) char *serve_line = xasprintf("plumbline serve: %s\n", text);
        const char *const check[] = { "check-config", NULL };
        const char *const serve[] = { "serve",      "--listen",       "127.0.0.1:0",
                                      "--database", rig.service->dsn, NULL };
        AUTO(mem_free) char *said = NULL;
        AUTO(mem_free) char *serve_said = NULL;

        rig_issue(&rig, rig.authority, 0);
        rig_damage(&rig, damage_cases[i].damage);
        rig_reload(&rig, logged);
        ck_assert_int_eq(rig_get(&rig, authority_path(rig.authority), NULL, NULL), 200);
        ck_assert_int_eq(service_command(check, environment, &said), 1);
        ck_assert_str_eq(said, line);
        if (i > 0)
            continue; /* one is enough: it is the same function */
        ck_assert_int_eq(service_command(serve, environment, &serve_said), 1);
        ck_assert_str_eq(serve_said, serve_line);
    }
    rig_issue(&rig, rig.authority, 0);
    rig_reload(&rig, "event=reloaded");
    ck_assert_int_eq(rig_get(&rig, authority_path(rig.authority), NULL, NULL), 200);
}
END_TEST

START_TEST(a_certificate_that_is_over_is_told)
{
    AUTO(rig_done) struct rig rig = { 0 };

    rig_init(&rig, NULL);
    rig_issue(&rig, rig.authority, -1);
    rig_reload(&rig, "level=warn event=tls_certificate_not_valid subject=\"CN=server\" until=");
    ck_assert_int_eq(rig_get(&rig, authority_path(rig.authority), NULL, NULL), 0);
}
END_TEST

/* ---- handshakes ---- */

/* A ClientHello that is cut in the middle: nothing will come of it. */
static const unsigned char half_hello[] = { 0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc };

static int64_t daemon_cpu_ticks(const struct daemon *daemon)
{
    AUTO(mem_free) char *path = xasprintf("/proc/%d/stat", (int)daemon_pid(daemon));
    AUTO(mem_free) char *text = temp_file_tail(path, 4096);
    const char *at = strrchr(text, ')');
    long long user, system;

    ck_assert_ptr_nonnull(at);
    ck_assert_int_eq(sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lld %lld", &user,
                            &system),
                     2);
    return user + system;
}

/* Ended by the deadline of a request, and until then without burning a core. */
START_TEST(half_a_handshake_costs_nothing)
{
    enum { HALVES = 8 };
    static const char *const environment[] = { "PLUMBLINE_REQUEST_TIMEOUT_MS=3s", NULL };
    AUTO(rig_done) struct rig rig = { 0 };
    int fds[HALVES];
    int64_t before, ticks;

    rig_init(&rig, environment);
    ck_assert_int_eq(rig_get(&rig, authority_path(rig.authority), NULL, NULL), 200);
    before = daemon_cpu_ticks(rig.service->daemon);
    for (int i = 0; i < HALVES; i++) {
        fds[i] = raw_tcp(rig.service);
        ck_assert_int_eq(http_raw_send(fds[i], half_hello, sizeof(half_hello)), 0);
    }
    for (int i = 0; i < HALVES; i++) {
        bool closed;
        char *said = http_raw_read(fds[i], wait_scaled_ms(20000), &closed);

        free(said);
        ck_assert(closed);
        (void)close(fds[i]);
    }
    ticks = daemon_cpu_ticks(rig.service->daemon) - before;
    /* a thread that asks without a pause takes 300 in these 3 s */
    ck_assert_msg(ticks < 100, "%lld hundredths of a second of CPU", (long long)ticks);
    ck_assert_int_eq(rig_get(&rig, authority_path(rig.authority), NULL, NULL), 200);
}
END_TEST

/* ---- the commands ---- */

START_TEST(commands_speak_https)
{
    AUTO(rig_done) struct rig rig = { 0 };
    AUTO(authority_free) struct authority *strangers = authority_new("strangers");
    AUTO(mem_free) char *url = NULL;
    AUTO(mem_free) char *events = NULL;
    AUTO(mem_free) char *variable = NULL;
    AUTO(mem_free) char *said = NULL;
    AUTO(mem_free) char *read_said = NULL;
    AUTO(mem_free) char *wrong_said = NULL;
    AUTO(mem_free) char *missing_said = NULL;

    rig_init(&rig, NULL);
    url = daemon_url(rig.service->daemon, "");
    events = xasprintf("%s/events.ndjson", rig.folder);
    file_write(events,
               "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:tls\",\"predictionUuid\":"
               "\"00000000-0000-4000-8000-000000000001\",\"startTimestampMs\":1704067200000,"
               "\"endTimestampMs\":1704067200001,\"metrics\":{\"a\":1}}\n",
               0644);
    variable = xasprintf("PLUMBLINE_CA=%s", authority_path(rig.authority));
    {
        const char *const environment[] = { variable, NULL };
        const char *const ingest[] = { "ingest", "--url", url, events, NULL };
        const char *const read[] = {
            "read", "--url", url, "--ca", authority_path(rig.authority), "--format", "csv", NULL
        };
        const char *const wrong[] = {
            "read", "--url", url, "--ca", authority_path(strangers), NULL
        };
        const char *const missing[] = { "read", "--url", url, "--ca", "/nowhere.pem", NULL };

        ck_assert_int_eq(service_command(ingest, environment, &said), 0);
        ck_assert_int_eq(service_command(read, NULL, &read_said), 0);
        ck_assert_ptr_nonnull(strstr(read_said, "\ncrn:tls,"));
        ck_assert_int_eq(service_command(wrong, NULL, &wrong_said), 1);
        ck_assert_ptr_nonnull(strstr(wrong_said, "SSL certificate problem"));
        ck_assert_int_eq(service_command(missing, NULL, &missing_said), 2);
        ck_assert_str_eq(missing_said,
                         "plumbline read: --ca /nowhere.pem: No such file or directory\n");
    }
}
END_TEST

/* ---- PostgreSQL over TLS ---- */

START_TEST(postgres_is_verified)
{
    AUTO(authority_free) struct authority *authority = authority_new("postgres");
    AUTO(authority_free) struct authority *strangers = authority_new("strangers");
    AUTO(certificate_done) struct certificate server = { 0 };
    AUTO(mem_free) char *certificate = NULL;
    AUTO(mem_free) char *key = NULL;
    AUTO(mem_free) char *dsn = NULL;
    AUTO(mem_free) char *wrong = NULL;
    AUTO(mem_free) char *said = NULL;
    AUTO(pg_free) struct pg *pg = NULL;
    AUTO(service_free) struct service *service = NULL;
    int port = 20000 + (int)getpid() % 12000;

    authority_issue(authority, &(struct certificate_options){ .name = "pg", .for_postgres = true },
                    &server);
    certificate = xasprintf("ssl_cert_file=%s", server.path);
    key = xasprintf("ssl_key_file=%s", server.key);
    {
        const char *const settings[] = { "ssl=on", certificate, key, NULL };

        pg = pg_start(
            &(struct pg_options){ .unsafe = true, .tcp_port = port, .settings = settings });
    }
    dsn = xasprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=verify-full "
                    "sslrootcert=%s",
                    port, authority_path(authority));
    wrong = xasprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=verify-full "
                      "sslrootcert=%s",
                      port, authority_path(strangers));
    service = service_start_with(&(struct daemon_options){ .dsn = dsn });
    service_take(service, "{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"crn:a\","
                          "\"startTimestampMs\":1700000000000,"
                          "\"endTimestampMs\":1700000000001,\"metrics\":{\"a\":1}}");
    ck_assert_int_ge(pg_query_i64(dsn, "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl"
                                       " USING (pid) WHERE application_name LIKE 'plumbline%%'"
                                       " AND ssl AND version >= 'TLSv1.2'"),
                     1);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl"
                                       " USING (pid) WHERE application_name LIKE 'plumbline%%'"
                                       " AND NOT ssl"),
                     0);
    {
        const char *const words[] = { "balance", "--database", wrong, NULL };

        ck_assert_int_eq(service_command(words, NULL, &said), 1);
        ck_assert_msg(strstr(said, "certificate verify failed") != NULL, "%s", said);
    }
}
END_TEST

Suite *tls_suite(void)
{
    Suite *suite = suite_create("tls");
    TCase *tcase = tcase_create("tls");

    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, answers_are_guarded);
    tcase_add_test(tcase, only_good_protocols_are_spoken);
    tcase_add_test(tcase, clients_are_asked_for_certificates);
    tcase_add_test(tcase, reload_cuts_nobody);
    tcase_add_test(tcase, broken_files_change_nothing);
    tcase_add_test(tcase, a_certificate_that_is_over_is_told);
    tcase_add_test(tcase, half_a_handshake_costs_nothing);
    tcase_add_test(tcase, commands_speak_https);
    tcase_add_test(tcase, postgres_is_verified);
    suite_add_tcase(suite, tcase);
    return suite;
}
