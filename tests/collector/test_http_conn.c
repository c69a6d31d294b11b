/* Connections that misbehave, and how the server ends. */
#include "../../collector/http_internal.h"

#include <arpa/inet.h>
#include <check.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/http.h"
#include "fake_collector.h"
#include "tests/harness/certificate.h"
#include "tests/harness/wait.h"

static struct fake_collector fake;

#define TRACK                                                                                      \
    "{\"modelDeploymentCrn\":\"crn:d\",\"predictionUuid\":"                                        \
    "\"2bd4a9a5-40f1-4a6b-a7a4-2a5a6bd3a001\",\"startTimestampMs\":1596185100000,"                 \
    "\"endTimestampMs\":1596185100010,\"metrics\":{\"a\":1}}"

static void conn_setup(void)
{
    fake_init(&fake);
    fake.config.request_timeout_ms = 300;
    fake.config.idle_timeout_ms = 2000;
}

static void conn_teardown(void)
{
    fake_stop(&fake);
}

/* The whole request, with its length right. Owned. */
static char *conn_request(const char *version, const char *headers)
{
    return xasprintf(
        "POST /track-metrics HTTP/%s\r\nHost: localhost\r\n%sContent-Length: %zu\r\n\r\n%s",
        version, headers, strlen(TRACK), TRACK);
}

/* One byte each 20 ms: the library's own time-out never strikes. The milliseconds until closed. */
static int64_t conn_drip(int fd, const char *text)
{
    int64_t start = clock_mono_ms();

    for (; *text && clock_mono_ms() - start < CLIENT_TIMEOUT_MS; text++) {
        if (!client_send(fd, text, 1) || client_wait_closed(fd, 20))
            break;
    }
    return clock_mono_ms() - start;
}

static const struct {
    const char *name, *at_once;
    size_t drips;
} drip_cases[] = {
    { "request line", "", 400 },
    { "headers", "POST /track-metrics HTTP/1.1\r\nHost: localhost\r\nX: ", 400 },
    { "body", "POST /track-metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
      400 },
    { "body of a refused request",
      "POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n", 400 },
};

START_TEST(drip_case)
{
    AUTO(mem_free) char *drips = xmalloc(drip_cases[_i].drips + 1);
    int64_t took;
    int fd;

    fake_start(&fake);
    memset(drips, 'a', drip_cases[_i].drips);
    drips[drip_cases[_i].drips] = '\0';
    fd = client_connect(fake.address);
    ck_assert(client_send_text(fd, drip_cases[_i].at_once));
    took = conn_drip(fd, drips);
    ck_assert_msg(took >= 250 && took < 3000, "%s: %lld ms", drip_cases[_i].name, (long long)took);
    (void)close(fd);
}
END_TEST

/* The second request of a connection drips; the first did not. */
START_TEST(drip_on_keep_alive)
{
    AUTO(mem_free) char *request = conn_request("1.1", "");
    AUTO(answer_done) struct answer answer;
    int64_t took;
    int fd;

    fake_start(&fake);
    fd = client_connect(fake.address);
    answer_init(&answer);
    ck_assert(client_send_text(fd, request));
    client_read(fd, &answer, false);
    ck_assert_uint_eq(answer.status, 200);
    took = conn_drip(
        fd, "POST /track-metrics HTTP/1.1\r\nHost: localhost\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    ck_assert_msg(took >= 250 && took < 3000, "%lld ms", (long long)took);
    (void)close(fd);
}
END_TEST

/* Longer than a request may take to arrive: an idle connection is not one that drips. */
START_TEST(idle_is_not_late)
{
    AUTO(mem_free) char *request = conn_request("1.1", "");
    AUTO(answer_done) struct answer answer;
    int fd;

    fake_start(&fake);
    fd = client_connect(fake.address);
    answer_init(&answer);
    for (int i = 0; i < 2; i++) {
        ck_assert(!client_wait_closed(fd, 800));
        ck_assert(client_send_text(fd, request));
        client_read(fd, &answer, false);
        ck_assert_uint_eq(answer.status, 200);
    }
    ck_assert(client_wait_closed(fd, 8000)); /* by the time-out for silence */
    (void)close(fd);
}
END_TEST

/* A request that waits for its commit longer than it may take to arrive is not cut off. */
START_TEST(waiting_is_not_late)
{
    AUTO(mem_free) char *request = conn_request("1.1", "");
    AUTO(answer_done) struct answer answer;
    int fd;

    fake_start(&fake);
    fake_hold(&fake, true);
    fd = client_connect(fake.address);
    answer_init(&answer);
    ck_assert(client_send_text(fd, request));
    ck_assert(!client_wait_closed(fd, 3000));
    fake_hold(&fake, false);
    client_read(fd, &answer, false);
    ck_assert_uint_eq(answer.status, 200);
    (void)close(fd);
}
END_TEST

START_TEST(body_cut_short)
{
    int fd;

    fake_start(&fake);
    fd = client_connect(fake.address);
    ck_assert(client_send_text(fd, "POST /track-metrics HTTP/1.1\r\nHost: localhost\r\n"
                                   "Content-Length: 1000\r\n\r\n{\"a\""));
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    ck_assert(client_wait_closed(fd, 3000));
    (void)close(fd);
    ck_assert_uint_eq(fake.submissions, 0);
}
END_TEST

static const struct {
    const char *name, *text;
} garbage_cases[] = {
    { "not http", "hello\r\n\r\n" },
    { "length is not a number",
      "POST /track-metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n" },
    { "negative length",
      "POST /track-metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n" },
    { "length of 30 digits", "POST /track-metrics HTTP/1.1\r\nHost: localhost\r\n"
                             "Content-Length: 999999999999999999999999999999\r\n\r\n" },
    { "broken chunk",
      "POST /track-metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
      "\r\nzz\r\n" },
};

/* The library answers in its own words or closes; the server goes on. */
START_TEST(garbage_case)
{
    AUTO(answer_done) struct answer answer;
    int fd;

    fake_start(&fake);
    fd = client_connect(fake.address);
    answer_init(&answer);
    ck_assert(client_send_text(fd, garbage_cases[_i].text));
    client_read(fd, &answer, false);
    ck_assert_msg(answer.status == 0 || (answer.status >= 400 && answer.status < 500), "%s: %u",
                  garbage_cases[_i].name, answer.status);
    (void)close(fd);
    client_ask(fake.address, &answer, "GET", "/healthz", "", NULL, 0);
    ck_assert_uint_eq(answer.status, 200);
}
END_TEST

START_TEST(http_1_0)
{
    AUTO(mem_free) char *request = conn_request("1.0", "");
    AUTO(answer_done) struct answer answer;
    int fd;

    fake_start(&fake);
    fd = client_connect(fake.address);
    answer_init(&answer);
    ck_assert(client_send_text(fd, request));
    client_read(fd, &answer, false);
    ck_assert_uint_eq(answer.status, 200);
    ck_assert(client_wait_closed(fd, 3000));
    (void)close(fd);
}
END_TEST

START_TEST(pipelined)
{
    AUTO(mem_free) char *request = conn_request("1.1", "");
    AUTO(mem_free) char *three = xasprintf("%s%s%s", request, request, request);
    AUTO(answer_done) struct answer answer;
    int fd;

    fake_start(&fake);
    fd = client_connect(fake.address);
    answer_init(&answer);
    ck_assert(client_send_text(fd, three));
    for (int i = 1; i <= 3; i++) {
        AUTO(mem_free) char *want = xasprintf("{\"batch\":%d,", i);

        client_read(fd, &answer, false);
        ck_assert_uint_eq(answer.status, 200);
        ck_assert_msg(strncmp(buf_text(&answer.body), want, strlen(want)) == 0, "%s",
                      buf_text(&answer.body));
    }
    (void)close(fd);
}
END_TEST

/* One more than there may be is told so, and may come again when another has closed. */
START_TEST(connection_limit)
{
    enum { LIMIT = 4 };
    AUTO(mem_free) char *retry_after = NULL;
    AUTO(mem_free) char *connection = NULL;
    AUTO(answer_done) struct answer answer;
    int fds[LIMIT + 1];

    fake.config.connections_max = LIMIT;
    fake.config.http_threads = 1;
    fake.config.idle_timeout_ms = 60000;
    fake_start(&fake);
    answer_init(&answer);
    for (int i = 0; i <= LIMIT; i++) {
        fds[i] = client_connect(fake.address);
        ck_assert(client_send_text(fds[i], "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        client_read(fds[i], &answer, false);
        ck_assert_uint_eq(answer.status, i < LIMIT ? 200 : 503);
    }
    ck_assert_str_eq(
        buf_text(&answer.body),
        "{\"error\":{\"code\":\"too_many_connections\",\"message\":\"4 connections are "
        "open already (connections_max): send it again later\"}}");
    retry_after = answer_header(&answer, "Retry-After");
    ck_assert_str_eq(retry_after, "1");
    connection = answer_header(&answer, "Connection");
    ck_assert_str_eq(connection, "close");
    ck_assert(client_wait_closed(fds[LIMIT], CLIENT_TIMEOUT_MS));
    ck_assert_int_eq(stats_get(fake.stats, STAT_CONNECTIONS_REFUSED), 1);
    (void)close(fds[0]);
    while (stats_get(fake.stats, STAT_CONNECTIONS) > LIMIT - 1)
        (void)poll(NULL, 0, 5); /* check's own time-out ends it */
    client_ask(fake.address, &answer, "GET", "/healthz", "", NULL, 0);
    ck_assert_uint_eq(answer.status, 200);
    for (int i = 1; i <= LIMIT; i++)
        (void)close(fds[i]);
}
END_TEST

static unsigned conn_health(int fd, struct answer *answer)
{
    (void)client_send_text(fd, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client_read(fd, answer, false);
    return answer->status;
}

/* Of one address some more than it may have are told so, then no more; others are served. */
START_TEST(address_limit)
{
    enum { LIMIT = 2, TOLD = 16, ALL = LIMIT + TOLD + 3 };
    AUTO(answer_done) struct answer answer;
    int fds[ALL], other;

    fake.config.connections_per_address_max = LIMIT;
    fake.config.idle_timeout_ms = 60000;
    fake_start(&fake);
    answer_init(&answer);
    for (int i = 0; i < LIMIT; i++) {
        fds[i] = client_connect(fake.address);
        ck_assert_uint_eq(conn_health(fds[i], &answer), 200);
    }
    other = client_connect(fake.address);
    ck_assert_uint_eq(conn_health(other, &answer), 503);
    ck_assert_str_eq(
        buf_text(&answer.body),
        "{\"error\":{\"code\":\"too_many_connections\",\"message\":\"2 connections of this "
        "address are open already (connections_per_address_max): send it again "
        "later\"}}");
    ck_assert(client_wait_closed(other, CLIENT_TIMEOUT_MS));
    (void)close(other);
    while (stats_get(fake.stats, STAT_CONNECTIONS) > LIMIT)
        (void)poll(NULL, 0, 5); /* check's own time-out ends it */
    for (int i = LIMIT; i < ALL; i++) {
        fds[i] = client_connect(fake.address);
        while (stats_get(fake.stats, STAT_CONNECTIONS) <= i && i < LIMIT + TOLD)
            (void)poll(NULL, 0, 5);
    }
    ck_assert_uint_eq(conn_health(fds[ALL - 1], &answer), 0);
    other = client_connect_from("127.0.0.2", fake.address);
    ck_assert_uint_eq(conn_health(other, &answer), 200);
    (void)close(other);
    for (int i = 0; i < ALL; i++)
        (void)close(fds[i]);
    while (stats_get(fake.stats, STAT_CONNECTIONS) > 0)
        (void)poll(NULL, 0, 5);
    ck_assert_int_eq(stats_get(fake.stats, STAT_CONNECTIONS_REFUSED), ALL - LIMIT + 1);
    client_ask(fake.address, &answer, "GET", "/healthz", "", NULL, 0);
    ck_assert_uint_eq(answer.status, 200);
}
END_TEST

/* Who is only told that it is one too many takes no place of those that are served. */
START_TEST(an_extra_connection_takes_no_place)
{
    enum { LIMIT = 2 };
    AUTO(answer_done) struct answer answer;
    int fds[LIMIT], extra, next;

    fake.config.connections_per_address_max = LIMIT;
    fake.config.request_timeout_ms = 60000;
    fake.config.idle_timeout_ms = 60000;
    fake_start(&fake);
    answer_init(&answer);
    for (int i = 0; i < LIMIT; i++) {
        fds[i] = client_connect(fake.address);
        ck_assert_uint_eq(conn_health(fds[i], &answer), 200);
    }
    extra = client_connect(fake.address);
    WAIT_UNTIL(10000, stats_get(fake.stats, STAT_CONNECTIONS_REFUSED) == 1);
    (void)close(fds[0]);
    WAIT_UNTIL(10000, stats_get(fake.stats, STAT_CONNECTIONS) == LIMIT);
    next = client_connect(fake.address);
    ck_assert_uint_eq(conn_health(next, &answer), 200);
    ck_assert_uint_eq(conn_health(extra, &answer), 503);
    (void)close(extra);
    (void)close(next);
    (void)close(fds[1]);
}
END_TEST

/* A connection without a socket, of an address as text. */
static struct http_conn *conn_of(struct http_conns *conns, const char *address,
                                 struct http_tls *tls)
{
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    struct sockaddr_in in = { .sin_family = AF_INET };

    if (inet_pton(AF_INET, address, &in.sin_addr) == 1)
        return http_conn_add(conns, -1, tls, http_network((const struct sockaddr *)&in));
    ck_assert_int_eq(inet_pton(AF_INET6, address, &in6.sin6_addr), 1);
    return http_conn_add(conns, -1, tls, http_network((const struct sockaddr *)&in6));
}

static void conn_judge(struct http_conns *conns, const char *address, enum http_extra want,
                       struct http_conn **conn)
{
    *conn = conn_of(conns, address, NULL);
    ck_assert_msg(http_conn_extra(*conn) == want, "%s: %d, not %d", address,
                  (int)http_conn_extra(*conn), (int)want);
}

static const struct {
    const char *address;
    enum http_extra want;
} network_cases[] = {
    { "32.1.13.184", HTTP_FITS },
    { "2001:db8::1", HTTP_FITS }, /* begins with the same bytes */
    { "2001:db8::1", HTTP_EXTRA_OF_ADDRESS },
    { "2001:db8::ffff:0:0:2", HTTP_EXTRA_OF_ADDRESS },
    { "2001:db8:0:1::1", HTTP_FITS },
    { "32.1.13.184", HTTP_EXTRA_OF_ADDRESS },
    { "::ffff:32.1.13.184", HTTP_EXTRA_OF_ADDRESS },
    { "32.1.13.185", HTTP_FITS },
    { "::ffff:32.1.13.186", HTTP_FITS },
    { "::1", HTTP_FITS },
    { "0.0.0.0", HTTP_FITS },
};

START_TEST(connections_of_a_network)
{
    struct config config = { .connections_max = 100,
                             .connections_per_address_max = 1,
                             .request_timeout_ms = 60000 };
    struct http_conn *conns_of[LENGTH(network_cases)];
    AUTO(stats_free) struct stats *stats = stats_new();
    struct http_conns *conns = http_conns_start(stats, &config);

    for (size_t i = 0; i < LENGTH(network_cases); i++)
        conn_judge(conns, network_cases[i].address, network_cases[i].want, &conns_of[i]);
    for (size_t i = 0; i < LENGTH(network_cases); i++)
        http_conn_remove(conns, conns_of[i]);
    http_conns_stop(conns);
}
END_TEST

/* As many as may be told are, and cut is who comes then; whoever leaves a place leaves it to the
 * next. Beyond connections_max it is the same. */
START_TEST(connections_are_judged)
{
    enum { LIMIT = 2, ALL = LIMIT + 1, TOLD = LIMIT + HTTP_EXTRA_MIN };
    struct config config = { .connections_max = TOLD + ALL,
                             .connections_per_address_max = LIMIT,
                             .request_timeout_ms = 60000 };
    AUTO(stats_free) struct stats *stats = stats_new();
    struct http_conns *conns = http_conns_start(stats, &config);
    struct http_conn *of_a[TOLD], *of_b[TOLD], *of_c, *cut;

    for (int i = 0; i < TOLD; i++)
        conn_judge(conns, "10.0.0.1", i < LIMIT ? HTTP_FITS : HTTP_EXTRA_OF_ADDRESS, &of_a[i]);
    conn_judge(conns, "10.0.0.1", HTTP_CUT, &cut);
    http_conn_remove(conns, of_a[0]);
    conn_judge(conns, "10.0.0.1", HTTP_FITS, &of_a[0]);
    http_conn_remove(conns, cut);
    conn_judge(conns, "10.0.0.2", HTTP_FITS, &of_b[0]);
    conn_judge(conns, "10.0.0.3", HTTP_FITS, &cut);
    conn_judge(conns, "10.0.0.3", HTTP_FITS, &of_c);
    for (int i = 1; i < TOLD; i++)
        conn_judge(conns, "10.0.0.2", HTTP_EXTRA, &of_b[i]);
    http_conn_remove(conns, cut);
    conn_judge(conns, "10.0.0.2", HTTP_CUT, &cut);
    http_conn_remove(conns, cut);
    http_conn_remove(conns, of_c);
    for (int i = 0; i < TOLD; i++) {
        http_conn_remove(conns, of_a[i]);
        http_conn_remove(conns, of_b[i]);
    }
    http_conns_stop(conns);
}
END_TEST

/* A handshake that was not let begin has not failed. */
START_TEST(cut_is_no_failed_handshake)
{
    AUTO(authority_free) struct authority *authority = authority_new("first");
    AUTO(certificate_done) struct certificate certificate = { 0 };
    struct config config = { .connections_max = 100,
                             .connections_per_address_max = 1,
                             .request_timeout_ms = 60000 };
    struct http_conn *of_a[1 + HTTP_EXTRA_MIN], *cut;
    AUTO(stats_free) struct stats *stats = stats_new();
    struct http_conns *conns = http_conns_start(stats, &config);
    struct err err = { 0 };
    struct http_tls *tls;

    authority_issue(authority, &(struct certificate_options){ .name = "server" }, &certificate);
    config.tls_certificate = certificate.path;
    config.tls_key = certificate.key;
    tls = http_tls_new(&config, &err);
    ck_assert_msg(tls != NULL, "%s", err.text);
    for (size_t i = 0; i < LENGTH(of_a); i++)
        of_a[i] = conn_of(conns, "10.0.0.1", http_tls_ref(tls));
    cut = conn_of(conns, "10.0.0.1", http_tls_ref(tls));
    ck_assert_int_eq(http_conn_extra(cut), HTTP_CUT);
    http_conn_remove(conns, cut);
    ck_assert_int_eq(stats_get(stats, STAT_TLS_FAILED), 0);
    http_conn_secured(of_a[0]);
    for (size_t i = 0; i < LENGTH(of_a); i++)
        http_conn_remove(conns, of_a[i]);
    ck_assert_int_eq(stats_get(stats, STAT_TLS_FAILED), HTTP_EXTRA_MIN);
    http_conns_stop(conns);
    http_tls_unref(tls);
}
END_TEST

static void *conn_release(void *arg)
{
    (void)arg;
    fake_wait_submissions(&fake, 1);
    fake_hold(&fake, false);
    return NULL;
}

/* Stopping waits for the committer: no connection is suspended when the library stops. */
START_TEST(stop_with_suspended_requests)
{
    AUTO(mem_free) char *request = conn_request("1.1", "");
    pthread_t thread;
    int fds[8];

    fake_start(&fake);
    fake_hold(&fake, true);
    for (size_t i = 0; i < LENGTH(fds); i++) {
        fds[i] = client_connect(fake.address);
        ck_assert(client_send_text(fds[i], request));
    }
    fake_wait_submissions(&fake, 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, conn_release, NULL), 0);
    http_stop(fake.http);
    fake.http = NULL;
    pthread_join(thread, NULL);
    for (size_t i = 0; i < LENGTH(fds); i++)
        (void)close(fds[i]);
}
END_TEST

/* What has begun is answered; what comes then is not begun. */
START_TEST(drain)
{
    AUTO(mem_free) char *request = conn_request("1.1", "");
    AUTO(mem_free) char *connection = NULL;
    AUTO(answer_done) struct answer answer;
    pthread_t thread;
    int held, idle;

    fake_start(&fake);
    answer_init(&answer);
    idle = client_connect(fake.address);
    ck_assert(client_send_text(idle, request));
    client_read(idle, &answer, false);
    fake_hold(&fake, true);
    held = client_connect(fake.address);
    ck_assert(client_send_text(held, request));
    fake_wait_submissions(&fake, 2);              /* the first was answered long ago */
    http_drain(fake.http, clock_mono_ms() + 100); /* too short: it gives up */
    ck_assert(client_send_text(idle, request));
    client_read(idle, &answer, false);
    ck_assert_uint_eq(answer.status, 503);
    ck_assert_str_eq(buf_text(&answer.body), "{\"error\":{\"code\":\"stopping\",\"message\":"
                                             "\"the server is stopping: send it again\"}}");
    connection = answer_header(&answer, "Connection");
    ck_assert_str_eq(connection, "close");
    client_ask(fake.address, &answer, "GET", "/healthz", "", NULL, 0);
    ck_assert_uint_eq(answer.status, 503);
    ck_assert_int_eq(pthread_create(&thread, NULL, conn_release, NULL), 0);
    http_drain(fake.http, clock_mono_ms() + 10000);
    client_read(held, &answer, false);
    ck_assert_uint_eq(answer.status, 200);
    pthread_join(thread, NULL);
    (void)close(held);
    (void)close(idle);
}
END_TEST

START_TEST(closed_queue)
{
    AUTO(answer_done) struct answer answer;

    fake_start(&fake);
    answer_init(&answer);
    queue_close(fake.queue);
    client_ask(fake.address, &answer, "POST", "/track-metrics", "", TRACK, strlen(TRACK));
    ck_assert_uint_eq(answer.status, 503);
}
END_TEST

static const struct {
    const char *listen, *message;
} listen_cases[] = {
    { "127.0.0.1", "listen \"127.0.0.1\": must be ADDRESS:PORT or [ADDRESS]:PORT" },
    { "127.0.0.1:http", "listen \"127.0.0.1:http\": must be ADDRESS:PORT or [ADDRESS]:PORT" },
    { "::1:80", "listen \"::1:80\": must be ADDRESS:PORT or [ADDRESS]:PORT" },
    { "192.0.2.1:0", "listen 192.0.2.1:0: this machine does not have that address: choose another "
                     "with --listen" },
};

static struct http *conn_start(const char *listen, struct err *err)
{
    struct config config = fake.config;
    struct http_setup setup = { .config = &config, .stats = fake.stats, .budget = fake.budget };
    AUTO(mem_free) char *text = xstrdup(listen);

    config.listen = text;
    return http_start(&setup, err);
}

START_TEST(listen_case)
{
    struct err err = { 0 };

    fake_start(&fake);
    ck_assert_ptr_null(conn_start(listen_cases[_i].listen, &err));
    ck_assert_int_eq(err.kind, ERR_FATAL);
    ck_assert_str_eq(err.text, listen_cases[_i].message);
}
END_TEST

START_TEST(port_taken)
{
    AUTO(mem_free) char *want = NULL;
    struct err err = { 0 };

    fake_start(&fake);
    want = xasprintf("listen %s: address already in use: another plumbline? choose another with "
                     "--listen",
                     fake.address);
    ck_assert_ptr_null(conn_start(fake.address, &err));
    ck_assert_str_eq(err.text, want);
}
END_TEST

START_TEST(ipv6)
{
    free(fake.config.listen);
    fake.config.listen = xstrdup("[::1]:0");
    fake_start(&fake);
    ck_assert_int_eq(strncmp(fake.address, "[::1]:", 6), 0);
}
END_TEST

Suite *http_conn_suite(void); /* called from the table that tools/suites writes */

Suite *http_conn_suite(void)
{
    Suite *suite = suite_create("http_conn");
    TCase *tc = tcase_create("http_conn"), *judged = tcase_create("http_conn_judge");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, conn_setup, conn_teardown);
    tcase_add_loop_test(tc, drip_case, 0, LENGTH(drip_cases));
    tcase_add_test(tc, drip_on_keep_alive);
    tcase_add_test(tc, idle_is_not_late);
    tcase_add_test(tc, waiting_is_not_late);
    tcase_add_test(tc, body_cut_short);
    tcase_add_loop_test(tc, garbage_case, 0, LENGTH(garbage_cases));
    tcase_add_test(tc, http_1_0);
    tcase_add_test(tc, pipelined);
    tcase_add_test(tc, connection_limit);
    tcase_add_test(tc, address_limit);
    tcase_add_test(tc, an_extra_connection_takes_no_place);
    tcase_add_test(tc, stop_with_suspended_requests);
    tcase_add_test(tc, drain);
    tcase_add_test(tc, closed_queue);
    tcase_add_loop_test(tc, listen_case, 0, LENGTH(listen_cases));
    tcase_add_test(tc, port_taken);
    tcase_add_test(tc, ipv6);
    suite_add_tcase(suite, tc);
    tcase_add_test(judged, connections_of_a_network);
    tcase_add_test(judged, connections_are_judged);
    tcase_add_test(judged, cut_is_no_failed_handshake);
    suite_add_tcase(suite, judged);
    return suite;
}
