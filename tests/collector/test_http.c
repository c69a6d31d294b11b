/* Events over HTTP: every answer word for word. Reads are in test_http_read.c, connections that
 * misbehave in test_http_conn.c. */
#include "collector/http.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/mem.h"
#include "fake_collector.h"

static struct fake_collector fake;

static void http_setup(void)
{
    fake_init(&fake);
    fake_start(&fake);
}

static void http_teardown(void)
{
    fake_stop(&fake);
}

#define UUID "2bd4a9a5-40f1-4a6b-a7a4-2a5a6bd3a001"
#define TRACK "{" TRACK_REST
#define EVENT "{\"event\":\"track_metrics\"," TRACK_REST
#define TRACK_REST                                                                                 \
    "\"modelDeploymentCrn\":\"crn:d\",\"predictionUuid\":\"" UUID                                  \
    "\",\"startTimestampMs\":1596185100000,\"endTimestampMs\":1596185100010,"                      \
    "\"metrics\":{\"a\":1}}"
#define DEPLOYED(status)                                                                           \
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"crn:b\",\"modelDeploymentCrn\":\"crn:d\","  \
    "\"userName\":\"ann\",\"status\":" status "}"
#define ELEVEN                                                                                     \
    "[" BAD "," BAD "," BAD "," BAD "," BAD "," BAD "," BAD "," BAD "," BAD "," BAD "," BAD "]"
#define BAD "{\"event\":\"track_metrics\"}"
#define RECEIPT(batch, received, accepted)                                                         \
    "{\"batch\":" batch ",\"received\":" received ",\"accepted\":" accepted                        \
    ",\"duplicate\":0,\"rejected\":[],\"warnings\":[]}"
#define ERROR(code, message) "{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\"}}"
#define ERROR_AT(code, message, field)                                                             \
    "{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\",\"field\":\"" field "\"}}"

static const struct {
    const char *name, *method, *path, *headers, *body; /* body NULL: none */
    unsigned status;
    const char *answer; /* NULL: not looked at; the beginning of it */
} ask_cases[] = {
    { "track", "POST", "/track-metrics", "", TRACK, 200, RECEIPT("1", "1", "1") },
    { "track, json", "POST", "/track-metrics", "Content-Type: application/json; charset=utf-8\r\n",
      TRACK, 200, RECEIPT("1", "1", "1") },
    { "aggregate", "POST", "/track-aggregate-metrics", "",
      "{\"modelDeploymentCrn\":\"crn:d\",\"startTimestampMs\":1596185100000,"
      "\"endTimestampMs\":1596185100000,\"metrics\":{}}",
      200, RECEIPT("1", "1", "1") },
    { "delayed", "POST", "/track-delayed-metrics", "",
      "{\"predictionUuid\":\"" UUID "\",\"metrics\":{\"l\":true}}", 200, RECEIPT("1", "1", "1") },
    { "one event", "POST", "/v1/events", "", EVENT, 200, RECEIPT("1", "1", "1") },
    { "array", "POST", "/v1/events", "", "[" EVENT "," EVENT "]", 200, RECEIPT("1", "2", "2") },
    { "empty array", "POST", "/v1/events", "", "[]", 200, RECEIPT("null", "0", "0") },
    { "curl -d", "POST", "/v1/events", "Content-Type: application/x-www-form-urlencoded\r\n",
      "[" EVENT "]", 200, RECEIPT("1", "1", "1") },
    { "ndjson", "POST", "/v1/events", "Content-Type: application/x-ndjson\r\n",
      EVENT "\n\n" EVENT "\n", 200, RECEIPT("1", "2", "2") },
    { "identity", "POST", "/v1/events", "Content-Encoding: identity\r\n", EVENT, 200, NULL },
    { "a deployment", "POST", "/v1/events", "", DEPLOYED("\"deployed\""), 200,
      RECEIPT("1", "1", "1") },
    { "a deployment without status", "POST", "/v1/events", "", DEPLOYED("7"), 400,
      "{\"error\":{\"code\":\"invalid_field\",\"message\":" },
    { "a deployment among others", "POST", "/v1/events", "",
      "[" EVENT "," DEPLOYED("\"gone\"") "," DEPLOYED("\"stopped\"") "]", 200,
      "{\"batch\":1,\"received\":3,\"accepted\":2,\"duplicate\":0,\"rejected\":[{\"index\":1," },
    { "too many events", "POST", "/v1/events", "", ELEVEN, 413,
      ERROR("too_many_events", "more than 10 events in one request; send fewer at a time") },
    { "array with a bad one", "POST", "/v1/events", "", "[" BAD "," EVENT "]", 200,
      "{\"batch\":1,\"received\":2,\"accepted\":1,\"duplicate\":0,\"rejected\":[{\"index\":0," },
    { "all bad", "POST", "/v1/events", "", "[" BAD "]", 200,
      "{\"batch\":null,\"received\":1,\"accepted\":0,\"duplicate\":0,\"rejected\":[{\"index\":0," },
    { "one bad", "POST", "/v1/events", "", BAD, 400, "{\"error\":{\"code\":\"missing_field\"," },
    { "broken", "POST", "/v1/events", "", "{\"event\":", 400,
      "{\"error\":{\"code\":\"invalid_json\",\"message\":\"line 1, column " },
    { "empty", "POST", "/v1/events", "", "", 400,
      "{\"error\":{\"code\":\"invalid_json\",\"message\":\"the body is empty" },
    { "no body at all", "POST", "/v1/events", "", NULL, 400,
      "{\"error\":{\"code\":\"invalid_json\",\"message\":\"the body is empty" },
    { "not a uuid", "POST", "/track-delayed-metrics", "",
      "{\"predictionUuid\":\"abc\",\"metrics\":{}}", 400,
      "{\"error\":{\"code\":\"invalid_field\",\"message\":\"" },
    { "xml", "POST", "/v1/events", "Content-Type: text/xml\r\n", "<a/>", 415,
      ERROR_AT("unsupported_media_type",
               "Content-Type \\\"text/xml\\\" is not known here: send application/json, "
               "application/x-ndjson (also application/ndjson, application/jsonl)",
               "Content-Type") },
    { "ndjson where one is meant", "POST", "/track-metrics",
      "Content-Type: application/x-ndjson\r\n", TRACK, 415,
      ERROR_AT("unsupported_media_type",
               "Content-Type \\\"application/x-ndjson\\\" is not known here: send "
               "application/json",
               "Content-Type") },
    { "brotli", "POST", "/v1/events", "Content-Encoding: br\r\n", "x", 415,
      ERROR_AT("unsupported_encoding",
               "Content-Encoding \\\"br\\\" is not known: send gzip or identity",
               "Content-Encoding") },
    { "not gzip", "POST", "/v1/events", "Content-Encoding: gzip\r\n", EVENT, 400,
      ERROR("invalid_gzip", "gzip stream is broken near byte 2: incorrect header check") },
    { "unknown path", "GET", "/nope", "", NULL, 404,
      ERROR("not_found", "no such path: \\\"/nope\\\"") },
    { "unknown path, body", "POST", "/nope", "", "abc", 404,
      ERROR("not_found", "no such path: \\\"/nope\\\"") },
    { "root", "GET", "/", "", NULL, 404, ERROR("not_found", "no such path: \\\"/\\\"") },
    { "slash at the end", "POST", "/v1/events/", "", EVENT, 404, NULL },
    { "slash twice", "POST", "//v1/events", "", EVENT, 404, NULL },
    { "wrong method", "GET", "/v1/events", "", NULL, 405,
      ERROR("method_not_allowed", "/v1/events takes POST, not GET") },
    { "wrong method, body", "PUT", "/v1/events", "", EVENT, 405,
      ERROR("method_not_allowed", "/v1/events takes POST, not PUT") },
    { "post to a get", "POST", "/v1/limits", "", "", 405,
      ERROR("method_not_allowed", "/v1/limits takes GET, HEAD, not POST") },
    { "options", "OPTIONS", "/healthz", "", NULL, 405, NULL },
    { "unknown parameter", "POST", "/v1/events?x=1", "", EVENT, 400,
      ERROR_AT("unknown_parameter", "unknown query parameter \\\"x\\\"", "x") },
    { "parameter without a value", "GET", "/healthz?verbose", "", NULL, 400,
      ERROR_AT("unknown_parameter", "unknown query parameter \\\"verbose\\\"", "verbose") },
    { "health", "GET", "/healthz", "", NULL, 200, "{\"status\":\"ok\"}" },
    { "health, with a body", "GET", "/healthz", "", "abc", 200, "{\"status\":\"ok\"}" },
    { "ready", "GET", "/readyz", "", NULL, 200, "{\"status\":\"ready\"}" },
    { "limits", "GET", "/v1/limits", "", NULL, 200,
      "{\"eventTimestampMsMin\":946684800000,\"metricsBytesMax\":102400,\"bodyBytesMax\":"
      "1048576," },
    { "metrics", "GET", "/metrics", "", NULL, 200, "# HELP plumbline_commits_total " },
};

START_TEST(ask_case)
{
    AUTO(answer_done) struct answer answer;
    AUTO(mem_free) char *type = NULL;

    answer_init(&answer);
    client_ask(fake.address, &answer, ask_cases[_i].method, ask_cases[_i].path,
               ask_cases[_i].headers, ask_cases[_i].body,
               ask_cases[_i].body ? strlen(ask_cases[_i].body) : 0);
    ck_assert_msg(answer.status == ask_cases[_i].status, "%s: %u %s", ask_cases[_i].name,
                  answer.status, buf_text(&answer.body));
    if (ask_cases[_i].answer)
        ck_assert_msg(strncmp(buf_text(&answer.body), ask_cases[_i].answer,
                              strlen(ask_cases[_i].answer)) == 0,
                      "%s: %s", ask_cases[_i].name, buf_text(&answer.body));
    type = answer_header(&answer, "Content-Type");
    if (strcmp(ask_cases[_i].path, "/metrics") != 0)
        ck_assert_str_eq(type, "application/json");
}
END_TEST

static void http_expect(const char *method, const char *path, const char *headers, const char *body,
                        size_t len, unsigned status, const char *want)
{
    AUTO(answer_done) struct answer answer;

    answer_init(&answer);
    client_ask(fake.address, &answer, method, path, headers, body, len);
    ck_assert_msg(answer.status == status, "%u %s", answer.status, buf_text(&answer.body));
    ck_assert(answer.is_complete);
    if (want)
        ck_assert_str_eq(buf_text(&answer.body), want);
}

static void http_expect_track(unsigned status, const char *want)
{
    http_expect("POST", "/track-metrics", "", TRACK, strlen(TRACK), status, want);
}

START_TEST(headers_of_errors)
{
    AUTO(answer_done) struct answer answer;
    AUTO(mem_free) char *allow = NULL, *retry = NULL;

    answer_init(&answer);
    client_ask(fake.address, &answer, "DELETE", "/v1/limits", "", NULL, 0);
    allow = answer_header(&answer, "Allow");
    ck_assert_str_eq(allow, "GET, HEAD");
    fake_set_verdict(&fake, FAKE_NOT_STORED);
    client_ask(fake.address, &answer, "POST", "/track-metrics", "", TRACK, strlen(TRACK));
    retry = answer_header(&answer, "Retry-After");
    ck_assert_str_eq(retry, "1");
}
END_TEST

START_TEST(verdicts)
{
    AUTO(answer_done) struct answer answer;

    answer_init(&answer);
    fake_set_verdict(&fake, FAKE_CONFLICT);
    http_expect_track(409, ERROR_AT("conflict", "known with other content", "predictionUuid"));
    http_expect("POST", "/v1/events", "", "[" EVENT "]", strlen("[" EVENT "]"), 200,
                "{\"batch\":null,\"received\":1,\"accepted\":0,\"duplicate\":0,\"rejected\":["
                "{\"index\":0,\"code\":\"conflict\",\"field\":\"predictionUuid\",\"message\":"
                "\"known with other content\"}],\"warnings\":[]}");
    fake_set_verdict(&fake, FAKE_NOT_STORED);
    http_expect_track(503, ERROR("not_stored", "the database did not take the events: nothing was "
                                               "stored, send them again later"));
    fake_set_verdict(&fake, FAKE_UNKNOWN);
    client_ask(fake.address, &answer, "POST", "/track-metrics", "", TRACK, strlen(TRACK));
    ck_assert_uint_eq(answer.status, 0);
    ck_assert_uint_eq(answer.head.len, 0);
}
END_TEST

START_TEST(not_ready)
{
    fake.is_ready = false;
    http_expect("GET", "/readyz", "", NULL, 0, 503,
                ERROR("not_ready", "no connection to the database"));
}
END_TEST

START_TEST(head_of_a_get)
{
    AUTO(answer_done) struct answer answer;
    AUTO(mem_free) char *length = NULL;

    answer_init(&answer);
    client_ask(fake.address, &answer, "HEAD", "/healthz", "", NULL, 0);
    ck_assert_uint_eq(answer.status, 200);
    length = answer_header(&answer, "Content-Length");
    ck_assert_str_eq(length, "15");
}
END_TEST

static char *http_pack(const char *text, size_t len, size_t *packed_len)
{
    uLong bound = compressBound((uLong)len) + 64;
    char *packed = xmalloc(bound);
    z_stream stream = { .avail_in = (uInt)len, .avail_out = (uInt)bound };
    AUTO(mem_free) char *copy = xmemdup0(text, len);

    stream.next_in = (Bytef *)copy;
    stream.next_out = (Bytef *)packed;
    ck_assert_int_eq(deflateInit2(&stream, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    *packed_len = stream.total_out;
    ck_assert_int_eq(deflateEnd(&stream), Z_OK);
    return packed;
}

START_TEST(gzip)
{
    static char zeros[4 << 20];
    size_t len;
    AUTO(mem_free) char *packed = http_pack("[" EVENT "]", strlen("[" EVENT "]"), &len);
    AUTO(mem_free) char *bomb = NULL;

    http_expect("POST", "/v1/events", "Content-Encoding: gzip\r\n", packed, len, 200,
                RECEIPT("1", "1", "1"));
    http_expect("POST", "/v1/events", "Content-Encoding: gzip\r\n", packed, len - 5, 400, NULL);
    bomb = http_pack(zeros, sizeof(zeros), &len);
    http_expect("POST", "/v1/events", "Content-Encoding: gzip\r\n", bomb, len, 413,
                ERROR("too_large", "the body is larger than 1048576 bytes after decompression "
                                   "(body_bytes_max)"));
}
END_TEST

START_TEST(too_large)
{
    static const char *const want =
        ERROR("too_large", "the body is larger than 1048576 bytes (body_bytes_max)");
    AUTO(mem_free) char *body = xcalloc(1, 3 << 20);
    AUTO(answer_done) struct answer answer;
    int fd = client_connect(fake.address);

    answer_init(&answer);
    http_expect("POST", "/v1/events", "", body, 3 << 20, 413, want);
    /* Chunked: the length is not known until it is too much. */
    ck_assert(client_send_text(fd, "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"
                                   "Transfer-Encoding: chunked\r\n\r\n"));
    for (int i = 0; i < 3; i++) {
        ck_assert(client_send_text(fd, "100000\r\n"));
        ck_assert(client_send(fd, body, 0x100000));
        ck_assert(client_send_text(fd, "\r\n"));
    }
    ck_assert(client_send_text(fd, "0\r\n\r\n"));
    client_read(fd, &answer, false);
    ck_assert_uint_eq(answer.status, 413);
    ck_assert_str_eq(buf_text(&answer.body), want);
    (void)close(fd);
}
END_TEST

START_TEST(metrics_too_large)
{
    AUTO(mem_free) char *value = xmalloc(102401);
    AUTO(mem_free) char *body = NULL;

    memset(value, 'x', 102400);
    value[102400] = '\0';
    body = xasprintf("{\"predictionUuid\":\"" UUID "\",\"metrics\":{\"a\":\"%s\"}}", value);
    http_expect("POST", "/track-delayed-metrics", "", body, strlen(body), 413, NULL);
}
END_TEST

START_TEST(expect_continue)
{
    static const char *const head = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"
                                    "Expect: 100-continue\r\nContent-Length: %zu\r\n\r\n";
    AUTO(mem_free) char *small = xasprintf(head, strlen(EVENT));
    AUTO(mem_free) char *large = xasprintf(head, (size_t)2 << 20);
    AUTO(answer_done) struct answer answer;
    char line[64] = { 0 };
    int fd = client_connect(fake.address);

    answer_init(&answer);
    ck_assert(client_send_text(fd, small));
    ck_assert_int_eq(read(fd, line, 25), 25);
    ck_assert_str_eq(line, "HTTP/1.1 100 Continue\r\n\r\n");
    ck_assert(client_send_text(fd, EVENT));
    client_read(fd, &answer, false);
    ck_assert_uint_eq(answer.status, 200);
    (void)close(fd);
    /* Refused before a byte of the body. */
    fd = client_connect(fake.address);
    ck_assert(client_send_text(fd, large));
    client_read(fd, &answer, false);
    ck_assert_uint_eq(answer.status, 413);
    (void)close(fd);
}
END_TEST

START_TEST(budget_full)
{
    ck_assert(budget_reserve(fake.budget, 8 * 1024 * 1024 - 100));
    http_expect_track(503, ERROR("overloaded", "the memory budget is full: nothing was stored, "
                                               "send it again later"));
    budget_release(fake.budget, 8 * 1024 * 1024 - 100);
    /* Room for the body, but not for its records. */
    ck_assert(budget_reserve(fake.budget, 8 * 1024 * 1024 - 2000));
    http_expect_track(503, NULL);
    budget_release(fake.budget, 8 * 1024 * 1024 - 2000);
    http_expect_track(200, NULL);
}
END_TEST

/* A batch is answered as a whole; meanwhile its requests hold their memory, and give it back. */
START_TEST(held_requests)
{
    enum { HELD = 10 };
    AUTO(mem_free)
    char *request = xasprintf(
        "POST /track-metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n" TRACK,
        strlen(TRACK));
    AUTO(answer_done) struct answer answer;
    int fds[HELD];

    answer_init(&answer);
    fake_hold(&fake, true);
    for (int i = 0; i < HELD; i++) {
        fds[i] = client_connect(fake.address);
        ck_assert(client_send_text(fds[i], request));
    }
    fake_wait_submissions(&fake, 1);
    ck_assert_uint_gt(budget_used(fake.budget), 0);
    (void)close(fds[0]); /* gone meanwhile: harms nobody */
    fake_hold(&fake, false);
    for (int i = 1; i < HELD; i++) {
        client_read(fds[i], &answer, false);
        ck_assert_uint_eq(answer.status, 200);
        (void)close(fds[i]);
    }
}
END_TEST

Suite *http_suite(void); /* called from the table that tools/suites writes */

Suite *http_suite(void)
{
    Suite *suite = suite_create("http");
    TCase *tc = tcase_create("http");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, http_setup, http_teardown);
    tcase_add_loop_test(tc, ask_case, 0, LENGTH(ask_cases));
    tcase_add_test(tc, headers_of_errors);
    tcase_add_test(tc, verdicts);
    tcase_add_test(tc, not_ready);
    tcase_add_test(tc, head_of_a_get);
    tcase_add_test(tc, gzip);
    tcase_add_test(tc, too_large);
    tcase_add_test(tc, metrics_too_large);
    tcase_add_test(tc, expect_continue);
    tcase_add_test(tc, budget_full);
    tcase_add_test(tc, held_requests);
    suite_add_tcase(suite, tc);
    return suite;
}
