/* Reads over HTTP, from a database that is made up (fake_read.c). */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/http.h"
#include "fake_collector.h"

static struct fake_collector fake;

static void read_setup(void)
{
    fake_init(&fake);
}

static void read_teardown(void)
{
    fake_stop(&fake);
    ck_assert_int_eq(fake_reads_open(), 0);
}

#define ERROR(code, message) "{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\"}}"
#define ERROR_AT(code, message, field)                                                             \
    "{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\",\"field\":\"" field "\"}}"

static const struct {
    const char *name, *dsn, *path, *headers;
    unsigned status;
    const char *type;
    const char *start, *end; /* of the answer */
} get_cases[] = {
    { "json", "rows=3", "/v1/metrics", "", 200, "application/json", "{\"metrics\":[{", "}]}" },
    { "nothing", "rows=0", "/v1/metrics", "", 200, "application/json", "{\"metrics\":[]}", "" },
    { "any type", "rows=1", "/v1/metrics", "Accept: */*\r\n", 200, "application/json", "{", "}" },
    { "page", "rows=3", "/v1/metrics?limit=2", "", 200, "application/json", "{\"metrics\":[",
      "],\"nextCursor\":\"next\"}" },
    { "last page", "rows=3", "/v1/metrics?limit=3", "", 200, "application/json", "{", "}]}" },
    { "from before the horizon", "rows=1 horizon=5000", "/v1/metrics?start_timestamp_ms=4999", "",
      200, "application/json", "{\"metrics\":[{", "}],\"truncatedBeforeMs\":5000}" },
    { "from the horizon", "rows=1 horizon=5000", "/v1/metrics?start_timestamp_ms=5000", "", 200,
      "application/json", "{\"metrics\":[{", "}]}" },
    { "a page from before the horizon", "rows=3 horizon=5000", "/v1/metrics?limit=2", "", 200,
      "application/json", "{\"metrics\":[",
      "],\"truncatedBeforeMs\":5000,\"nextCursor\":\"next\"}" },
    { "ndjson", "rows=2", "/v1/metrics", "Accept: application/x-ndjson\r\n", 200,
      "application/x-ndjson", "{", "}\n" },
    { "ndjson, nothing", "rows=0", "/v1/metrics", "Accept: application/x-ndjson\r\n", 200,
      "application/x-ndjson", "", "" },
    { "the better one", "rows=1", "/v1/metrics",
      "Accept: text/html, application/json;q=0.5, application/x-ndjson;q=0.9\r\n", 200,
      "application/x-ndjson", "{", "}\n" },
    { "csv", "rows=2", "/v1/metrics", "Accept: text/csv\r\n", 200, "text/csv; charset=utf-8", "",
      "\n" },
    { "every filter", "rows=1",
      "/v1/metrics?model_crn=a&model_crn=b&model_build_crn=c&model_deployment_crn=crn%3Ad%2Fe"
      "&prediction_uuid=2bd4a9a5-40f1-4a6b-a7a4-2a5a6bd3a001&start_timestamp_ms=-1"
      "&end_timestamp_ms=9223372036854775807&kind=aggregate&key=a+b&limit=5&cursor=x",
      "", 200, "application/json", "{", "}" },
    { "html", "", "/v1/metrics", "Accept: text/html\r\n", 406, "application/json",
      ERROR_AT("not_acceptable",
               "Accept \\\"text/html\\\" allows none of application/json, application/x-ndjson, "
               "text/csv",
               "Accept"),
      "" },
    { "json forbidden", "", "/v1/metrics", "Accept: application/json;q=0\r\n", 406,
      "application/json", "{\"error\":", "" },
    { "unknown parameter", "", "/v1/metrics?model=1", "", 400, "application/json",
      ERROR_AT("unknown_parameter", "unknown query parameter \\\"model\\\"", "model"), "" },
    { "given twice", "", "/v1/metrics?limit=1&limit=2", "", 400, "application/json",
      ERROR_AT("repeated_parameter", "query parameter \\\"limit\\\" is given more than once",
               "limit"),
      "" },
    { "not a number", "", "/v1/metrics?limit=ten", "", 400, "application/json",
      ERROR_AT("invalid_parameter", "\\\"limit\\\" must be a whole number: \\\"ten\\\"", "limit"),
      "" },
    { "no number", "", "/v1/metrics?start_timestamp_ms=", "", 400, "application/json",
      ERROR_AT("invalid_parameter", "\\\"start_timestamp_ms\\\" must be a whole number: \\\"\\\"",
               "start_timestamp_ms"),
      "" },
    { "limit of none", "", "/v1/metrics?limit=0", "", 400, "application/json",
      ERROR_AT("invalid_parameter", "\\\"limit\\\" must be from 1 to 1000000000: 0", "limit"), "" },
    { "beyond 64 bits", "", "/v1/metrics?end_timestamp_ms=9223372036854775808", "", 400,
      "application/json", "{\"error\":{\"code\":\"invalid_parameter\"", "" },
    { "broken percent", "", "/v1/metrics?key=%2", "", 400, "application/json",
      ERROR_AT("invalid_parameter", "\\\"key\\\" is not properly percent-encoded: \\\"%2\\\"",
               "key"),
      "" },
    { "a NUL", "", "/v1/metrics?key=a%00", "", 400, "application/json",
      "{\"error\":{\"code\":\"invalid_parameter\"", "" },
    { "not a uuid", "", "/v1/metrics?prediction_uuid=abc", "", 400, "application/json",
      ERROR_AT("invalid_parameter", "\\\"prediction_uuid\\\" is not a UUID: \\\"abc\\\"",
               "prediction_uuid"),
      "" },
    { "empty crn", "", "/v1/metrics?model_crn=", "", 400, "application/json",
      ERROR_AT("invalid_parameter", "\\\"model_crn\\\" must have from 1 to 1024 bytes: it has 0",
               "model_crn"),
      "" },
    { "unknown kind", "", "/v1/metrics?kind=label", "", 400, "application/json",
      ERROR_AT("invalid_parameter", "\\\"kind\\\" must be prediction or aggregate: \\\"label\\\"",
               "kind"),
      "" },
    { "cursor alone", "", "/v1/metrics?cursor=x", "", 400, "application/json",
      ERROR_AT("invalid_parameter", "\\\"cursor\\\" needs \\\"limit\\\"", "cursor"), "" },
    { "end before start", "", "/v1/metrics?start_timestamp_ms=2&end_timestamp_ms=1", "", 400,
      "application/json",
      ERROR_AT("invalid_parameter", "the end (1) is before the start (2)", "end_timestamp_ms"),
      "" },
    { "wrong cursor", "", "/v1/metrics?cursor=bad&limit=1", "", 400, "application/json",
      ERROR("invalid_query", "not a cursor of this query"), "" },
    { "database away", "open=retry", "/v1/metrics", "", 503, "application/json",
      ERROR("unavailable",
            "the question can't be answered now, the daemon's log says why: ask again later"),
      "" },
    { "away before the first row", "fail_at=0", "/v1/metrics", "", 503, "application/json",
      ERROR("unavailable",
            "the question can't be answered now, the daemon's log says why: ask again later"),
      "" },
    { "away in the first pass", "rows=5 fail_at=2", "/v1/metrics", "Accept: text/csv\r\n", 503,
      "application/json", "{\"error\":{\"code\":\"unavailable\"", "" },
    { "too many columns", "rows=20 columns=1", "/v1/metrics", "Accept: text/csv\r\n", 400,
      "application/json",
      ERROR_AT("too_many_columns",
               "the rows have more than 10 different columns (csv_columns_max): name those you "
               "want with \\\"key\\\"",
               "key"),
      "" },
    { "deployments", "", "/v1/deployments", "", 200, "application/json", "{\"deployments\":[]}",
      "" },
    { "deployment", "", "/v1/deployments/crn%3Aa%2Fb", "", 200, "application/json",
      "{\"crn\":\"crn:a/b\"}", "" },
    { "deployment as it is", "", "/v1/deployments/crn:cdp:ml:::workspace:dev/x", "", 200,
      "application/json", "{\"crn\":\"crn:cdp:ml:::workspace:dev/x\"}", "" },
    { "no such deployment", "", "/v1/deployments/none", "", 404, "application/json",
      ERROR("not_found", "no such deployment"), "" },
    { "no deployment", "", "/v1/deployments/", "", 404, "application/json", "{\"error\":", "" },
    { "broken path", "", "/v1/deployments/%zz", "", 400, "application/json",
      ERROR("invalid_path", "the path is not properly percent-encoded: \\\"%zz\\\""), "" },
    { "fatal", "", "/v1/balance", "", 500, "application/json",
      ERROR("internal", "the books are closed"), "" },
};

static bool read_ends(const char *text, const char *end)
{
    return strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

START_TEST(get_case)
{
    AUTO(answer_done) struct answer answer;
    AUTO(mem_free) char *type = NULL;
    const char *text;

    fake.dsn = get_cases[_i].dsn;
    fake_start(&fake);
    answer_init(&answer);
    client_ask(fake.address, &answer, "GET", get_cases[_i].path, get_cases[_i].headers, NULL, 0);
    text = buf_text(&answer.body);
    ck_assert_msg(answer.status == get_cases[_i].status, "%s: %u %s", get_cases[_i].name,
                  answer.status, text);
    ck_assert(answer.is_complete);
    type = answer_header(&answer, "Content-Type");
    ck_assert_msg(type && strcmp(type, get_cases[_i].type) == 0, "%s: %s", get_cases[_i].name,
                  type);
    ck_assert_msg(strncmp(text, get_cases[_i].start, strlen(get_cases[_i].start)) == 0, "%s: %s",
                  get_cases[_i].name, text);
    ck_assert_msg(read_ends(text, get_cases[_i].end), "%s: %s", get_cases[_i].name, text);
}
END_TEST

static const struct {
    const char *name, *body;
    unsigned status;
    const char *start;
} post_cases[] = {
    { "deployment", "{\"modelDeploymentCrn\":\"d\"}", 200, "{\"metrics\":[{" },
    { "all, both spellings, more",
      "{\"modelDeploymentCrn\":\"d\",\"modelBuildCrn\":\"b\",\"modelCrn\":\"m\","
      "\"startTimestampMs\":1,\"endTimeStampMs\":2,\"accessKey\":\"k\"}",
      200, "{\"metrics\":[{" },
    { "null is absent",
      "{\"modelDeploymentCrn\":null,\"modelCrn\":\"m\",\"startTimestampMs\":null}", 200, "{" },
    { "no filter", "{}", 200, "{\"metrics\":[{" },
    { "no body", "", 400, "{\"error\":{\"code\":\"invalid_json\",\"message\":\"line 1, column 0" },
    { "an array", "[]", 400, ERROR("invalid_json", "the body must be a JSON object") },
    { "broken", "{\"modelCrn\":}", 400,
      "{\"error\":{\"code\":\"invalid_json\",\"message\":\"line 1, column 1" },
    { "a number", "{\"modelCrn\":1}", 400,
      ERROR_AT("invalid_field", "\\\"modelCrn\\\" must be a string", "modelCrn") },
    { "an empty one", "{\"modelCrn\":\"\"}", 400,
      ERROR_AT("invalid_field", "\\\"modelCrn\\\" must have from 1 to 1024 bytes: it has 0",
               "modelCrn") },
    { "time is text", "{\"modelCrn\":\"m\",\"startTimestampMs\":\"1\"}", 400,
      ERROR_AT("invalid_field", "\\\"startTimestampMs\\\" must be a whole number of milliseconds",
               "startTimestampMs") },
    { "time is a fraction", "{\"modelCrn\":\"m\",\"endTimestampMs\":1.5}", 400,
      "{\"error\":{\"code\":\"invalid_field\"" },
    { "end before start", "{\"modelCrn\":\"m\",\"startTimestampMs\":2,\"endTimestampMs\":1}", 400,
      "{\"error\":{\"code\":\"invalid_parameter\"" },
};

START_TEST(post_case)
{
    AUTO(answer_done) struct answer answer;

    fake_start(&fake);
    answer_init(&answer);
    client_ask(fake.address, &answer, "POST", "/read-metrics", "Accept: text/html\r\n",
               post_cases[_i].body, strlen(post_cases[_i].body));
    ck_assert_msg(answer.status == post_cases[_i].status, "%s: %u %s", post_cases[_i].name,
                  answer.status, buf_text(&answer.body));
    ck_assert_msg(strncmp(buf_text(&answer.body), post_cases[_i].start,
                          strlen(post_cases[_i].start)) == 0,
                  "%s: %s", post_cases[_i].name, buf_text(&answer.body));
}
END_TEST

START_TEST(cursor_in_a_header)
{
    AUTO(answer_done) struct answer answer;
    AUTO(mem_free) char *cursor = NULL, *missing = NULL;

    fake_start(&fake);
    answer_init(&answer);
    client_ask(fake.address, &answer, "GET", "/v1/metrics?limit=1",
               "Accept: application/x-ndjson\r\n", NULL, 0);
    cursor = answer_header(&answer, "Plumbline-Next-Cursor");
    ck_assert_str_eq(cursor, "next");
    client_ask(fake.address, &answer, "GET", "/v1/metrics", "Accept: application/x-ndjson\r\n",
               NULL, 0);
    missing = answer_header(&answer, "Plumbline-Next-Cursor");
    ck_assert_ptr_null(missing);
}
END_TEST

/* Whether there are rows or none, so that the answer is one piece. */
START_TEST(horizon_in_a_header)
{
    static const char *const dsns[] = { "rows=0 horizon=5000", "rows=2 horizon=5000" };
    static const char *const accepts[] = { "Accept: application/x-ndjson\r\n",
                                           "Accept: text/csv\r\n" };
    AUTO(answer_done) struct answer answer;
    AUTO(mem_free) char *horizon = NULL, *missing = NULL;

    fake.dsn = dsns[_i % 2];
    fake_start(&fake);
    answer_init(&answer);
    client_ask(fake.address, &answer, "GET", "/v1/metrics", accepts[_i / 2], NULL, 0);
    horizon = answer_header(&answer, "Plumbline-Truncated-Before-Ms");
    ck_assert_pstr_eq(horizon, "5000");
    client_ask(fake.address, &answer, "GET", "/v1/metrics?start_timestamp_ms=5000", accepts[_i / 2],
               NULL, 0);
    missing = answer_header(&answer, "Plumbline-Truncated-Before-Ms");
    ck_assert_ptr_null(missing);
}
END_TEST

START_TEST(large_answer)
{
    enum { ROWS = 100000 };
    AUTO(answer_done) struct answer answer;
    size_t lines = 0;

    fake.dsn = "rows=100000 bytes=100";
    fake_start(&fake);
    answer_init(&answer);
    client_ask(fake.address, &answer, "GET", "/v1/metrics", "Accept: application/x-ndjson\r\n",
               NULL, 0);
    ck_assert_uint_eq(answer.status, 200);
    ck_assert(answer.is_complete);
    for (size_t i = 0; i < answer.body.len; i++)
        lines += answer.body.data[i] == '\n';
    ck_assert_uint_eq(lines, ROWS);
}
END_TEST

START_TEST(head_of_a_read)
{
    AUTO(answer_done) struct answer answer;

    fake.dsn = "rows=100000 bytes=100";
    fake_start(&fake);
    answer_init(&answer);
    client_ask(fake.address, &answer, "HEAD", "/v1/metrics", "", NULL, 0);
    ck_assert_uint_eq(answer.status, 200);
    fake_wait_no_reads();
}
END_TEST

/* Too late for an error: the client sees that something is missing. */
START_TEST(broken_in_the_middle)
{
    AUTO(answer_done) struct answer answer;

    fake.dsn = "rows=10000 bytes=100 fail_at=5000";
    fake_start(&fake);
    answer_init(&answer);
    client_ask(fake.address, &answer, "GET", "/v1/metrics", "", NULL, 0);
    ck_assert_uint_eq(answer.status, 200);
    ck_assert(!answer.is_complete);
}
END_TEST

static int read_begin(const char *path)
{
    AUTO(mem_free) char *head = xasprintf("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    int fd = client_connect(fake.address);

    ck_assert(client_send_text(fd, head));
    return fd;
}

static void read_until(int fd, const char *text)
{
    AUTO(buf_done) struct buf got;

    buf_init(&got, 1 << 20);
    while (!strstr(buf_text(&got), text)) {
        char byte;

        ck_assert_int_eq(recv(fd, &byte, 1, 0), 1);
        buf_append_char(&got, byte);
    }
}

/* The second row never comes, the first is there all the same. */
START_TEST(first_row_leaves_at_once)
{
    int fd;

    fake.dsn = "rows=10 wait_at=1";
    fake_start(&fake);
    fd = read_begin("/v1/metrics");
    read_until(fd, "xxxx");
    (void)close(fd);
    fake_wait_no_reads(); /* the watcher has seen that nobody waits */
    ck_assert_int_eq(fake_reads_cancelled(), 1);
}
END_TEST

START_TEST(gone_before_the_first_row)
{
    int fd;

    fake.dsn = "wait_at=0";
    fake_start(&fake);
    fd = read_begin("/v1/metrics");
    while (!fake_reads_open())
        (void)usleep(1000);
    (void)close(fd);
    fake_wait_no_reads();
    ck_assert_int_eq(fake_reads_cancelled(), 1);
}
END_TEST

START_TEST(gone_in_the_middle)
{
    int fd;

    fake.dsn = "rows=100000000 bytes=100";
    fake_start(&fake);
    fd = read_begin("/v1/metrics");
    read_until(fd, "xxxx");
    (void)close(fd);
    fake_wait_no_reads();
}
END_TEST

/* Dropped after a time; others are served meanwhile. */
START_TEST(reader_that_stops)
{
    AUTO(answer_done) struct answer answer;
    int64_t start = clock_mono_ms();
    int fd;

    fake.dsn = "rows=100000000 bytes=100";
    fake.config.read_stall_timeout_ms = 500;
    fake_start(&fake);
    answer_init(&answer);
    fd = read_begin("/v1/metrics");
    read_until(fd, "xxxx");
    for (int i = 0; i < 10; i++) {
        client_ask(fake.address, &answer, "GET", "/healthz", "", NULL, 0);
        ck_assert_uint_eq(answer.status, 200);
    }
    fake_wait_no_reads();
    ck_assert_int_lt(clock_mono_ms() - start, 5000);
    client_ask(fake.address, &answer, "GET", "/metrics", "", NULL, 0);
    ck_assert_ptr_nonnull(strstr(buf_text(&answer.body), "\nplumbline_reads_dropped_total 1\n"));
    (void)close(fd);
}
END_TEST

START_TEST(too_many_reads)
{
    AUTO(answer_done) struct answer answer;
    AUTO(mem_free) char *retry = NULL;
    int fds[4];

    fake.dsn = "wait_at=0";
    fake_start(&fake);
    answer_init(&answer);
    for (size_t i = 0; i < LENGTH(fds); i++)
        fds[i] = read_begin("/v1/metrics");
    while (fake_reads_open() < (int)LENGTH(fds))
        (void)usleep(1000);
    client_ask(fake.address, &answer, "GET", "/v1/metrics", "", NULL, 0);
    ck_assert_uint_eq(answer.status, 503);
    ck_assert_str_eq(buf_text(&answer.body),
                     ERROR("too_many_reads",
                           "4 reads are under way already (reads_max): ask again later"));
    retry = answer_header(&answer, "Retry-After");
    ck_assert_str_eq(retry, "1");
    for (size_t i = 0; i < LENGTH(fds); i++)
        (void)close(fds[i]);
    fake_wait_no_reads();
}
END_TEST

START_TEST(no_memory_for_a_pipe)
{
    AUTO(answer_done) struct answer answer;

    fake_start(&fake);
    answer_init(&answer);
    ck_assert(budget_reserve(fake.budget, 8 * 1024 * 1024 - 1000));
    client_ask(fake.address, &answer, "GET", "/v1/metrics", "", NULL, 0);
    ck_assert_uint_eq(answer.status, 503);
    budget_release(fake.budget, 8 * 1024 * 1024 - 1000);
}
END_TEST

/* Some wait for their first row, one streams, one does not read: all end. */
START_TEST(stop_with_reads)
{
    int waiting, streaming;

    fake.dsn = "rows=100000000 bytes=100 wait_at=100000";
    fake_start(&fake);
    streaming = read_begin("/v1/metrics");
    read_until(streaming, "xxxx");
    waiting = read_begin("/v1/metrics?limit=100000000");
    while (fake_reads_open() < 2)
        (void)usleep(1000);
    http_stop(fake.http);
    fake.http = NULL;
    ck_assert_int_eq(fake_reads_open(), 0);
    (void)close(waiting);
    (void)close(streaming);
}
END_TEST

Suite *http_read_suite(void); /* called from the table that tools/suites writes */

Suite *http_read_suite(void)
{
    Suite *suite = suite_create("http_read");
    TCase *tc = tcase_create("http_read");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, read_setup, read_teardown);
    tcase_add_loop_test(tc, get_case, 0, LENGTH(get_cases));
    tcase_add_loop_test(tc, post_case, 0, LENGTH(post_cases));
    tcase_add_test(tc, cursor_in_a_header);
    tcase_add_loop_test(tc, horizon_in_a_header, 0, 4);
    tcase_add_test(tc, large_answer);
    tcase_add_test(tc, head_of_a_read);
    tcase_add_test(tc, broken_in_the_middle);
    tcase_add_test(tc, first_row_leaves_at_once);
    tcase_add_test(tc, gone_before_the_first_row);
    tcase_add_test(tc, gone_in_the_middle);
    tcase_add_test(tc, reader_that_stops);
    tcase_add_test(tc, too_many_reads);
    tcase_add_test(tc, no_memory_for_a_pipe);
    tcase_add_test(tc, stop_with_reads);
    suite_add_tcase(suite, tc);
    return suite;
}
