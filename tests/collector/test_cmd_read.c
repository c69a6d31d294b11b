#include "../../collector/cmd_internal.h"

#include <check.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../harness/command.h"
#include "../harness/http_script.h"
#include "base/mem.h"

#define ROW "{\"startTimeStampMs\":0,\"predictionUuid\":\"\",\"metrics\":{\"a\":1}}\n"

enum { WORDS_MAX = COMMAND_WORDS_MAX - 2 };

/* `plumbline read --url URL WORDS...`; the server's address in a message becomes URL. */
static struct command_outcome read_words(int out, const char *url,
                                         const char *const words[WORDS_MAX])
{
    const char *all[COMMAND_WORDS_MAX] = { "read", NULL };
    AUTO(mem_free) char *option = xasprintf("--url=%s", url);
    struct command_outcome outcome;
    char *at;

    all[1] = option;
    for (size_t i = 0; words[i]; i++)
        all[2 + i] = words[i];
    outcome = out < 0 ? command_run(cmd_read, all) : command_run_to(out, cmd_read, all);
    at = strstr(outcome.err, "http://127.0.0.1:");
    if (at) {
        size_t len = 17 + strspn(at + 17, "0123456789");

        memcpy(at, "URL", 3);
        memmove(at + 3, at + len, strlen(at + len) + 1);
    }
    return outcome;
}

static const struct {
    const char *name;
    const char *words[WORDS_MAX];
    const char *uri, *accept;
} query_cases[] = {
    { "everything", { NULL }, "/v1/metrics", "application/x-ndjson" },
    { "as CSV", { "--format=csv" }, "/v1/metrics", "text/csv" },
    { "as a table", { "--format", "table" }, "/v1/metrics", "application/x-ndjson" },
    { "every filter",
      { "--model-crn", "m", "--model-build-crn=b", "--model-deployment-crn", "d",
        "--prediction-uuid=u", "--start", "5", "--end=2020-07-31", "--kind=prediction", "--key=k",
        "--limit=7", "--cursor=c" },
      "/v1/metrics?model_crn=m&model_build_crn=b&model_deployment_crn=d&prediction_uuid=u&key=k&"
      "start_timestamp_ms=5&end_timestamp_ms=1596239999999&kind=prediction&cursor=c&limit=7",
      "application/x-ndjson" },
    { "repeated", { "--key=a", "--key=b" }, "/v1/metrics?key=a&key=b", "application/x-ndjson" },
    { "escaped",
      { "--model-deployment-crn=crn:cdp:ml:::workspace:dev/a b&c=\xc3\xa4" },
      "/v1/"
      "metrics?model_deployment_crn=crn%3Acdp%3Aml%3A%3A%3Aworkspace%3Adev%2Fa%20b%26c%3D%C3%A4",
      "application/x-ndjson" },
};

START_TEST(query_case)
{
    static const struct http_script_answer answers[] = { { .status = 200, .body = ROW } };
    struct http_script script;
    struct command_outcome outcome;

    http_script_start(&script, answers, 1);
    outcome = read_words(-1, script.url, query_cases[_i].words);
    http_script_stop(&script);
    ck_assert_msg(outcome.code == 0, "%s: %s", query_cases[_i].name, outcome.err);
    ck_assert_str_eq(script.requests[0].uri, query_cases[_i].uri);
    ck_assert_str_eq(script.requests[0].accept, query_cases[_i].accept);
    ck_assert_str_eq(outcome.err, "");
    http_script_done(&script);
    command_done(&outcome);
}
END_TEST

static const struct {
    const char *name;
    struct http_script_answer answer;
    const char *words[WORDS_MAX];
    int code;
    const char *out, *err;
} answer_cases[] = {
    { "rows go through", { .status = 200, .body = ROW ROW }, { NULL }, 0, ROW ROW, "" },
    { "a table",
      { .status = 200, .body = ROW },
      { "--format=table" },
      0,
      "START                     KIND        UUID      METRICS\n"
      "1970-01-01T00:00:00.000Z  aggregate             a=1\n",
      "" },
    { "no rows", { .status = 200, .body = "" }, { NULL }, 0, "", "" },
    { "a page",
      { .status = 200, .body = ROW, .header = "Plumbline-Next-Cursor", .value = "abc" },
      { "--limit=1" },
      0,
      ROW,
      "there is more: --cursor abc\n" },
    { "refused",
      { .status = 400,
        .body = "{\"error\":{\"code\":\"invalid_parameter\",\"message\":\"\\\"kind\\\" must be\","
                "\"field\":\"kind\"}}" },
      { "--kind=x" },
      1,
      "",
      "plumbline read: HTTP 400: \"kind\" must be (invalid_parameter, kind)\n" },
    { "somebody else's server",
      { .status = 502, .body = "<html>" },
      { NULL },
      1,
      "",
      "plumbline read: HTTP 502, and not in plumbline's words; is the URL right?\n" },
    { "no rows but something else",
      { .status = 200, .body = "<html>\n" },
      { "--format=table" },
      1,
      "",
      "plumbline read: after 1 lines: row 1 of the answer is no row\n" },
    { "hung up",
      { .action = HTTP_SCRIPT_HANG_UP },
      { NULL },
      1,
      "",
      "plumbline read: URL: Empty reply from server\n" },
    { "ended early",
      { .status = 200, .body = ROW ROW, .action = HTTP_SCRIPT_BREAK_OFF },
      { NULL },
      1,
      ROW ROW,
      "plumbline read: after 2 lines: the answer ended early: transfer closed with outstanding "
      "read data remaining\n" },
    { "unknown format",
      { .status = 200 },
      { "--format=xml" },
      2,
      "",
      "plumbline read: --format: \"xml\" is none of table, ndjson, csv\n" },
    { "no time",
      { .status = 200 },
      { "--end=soon" },
      2,
      "",
      "plumbline read: --end: \"soon\" is no time; write milliseconds since 1970, 2020-07-31 or "
      "2020-07-31T08:45:25Z\n" },
    { "unknown option",
      { .status = 200 },
      { "--strat=1" },
      2,
      "",
      "plumbline read: unknown option --strat; did you mean --start?\n"
      "`plumbline read --help` shows the usage\n" },
};

START_TEST(answer_case)
{
    struct http_script script;
    struct command_outcome outcome;

    http_script_start(&script, &answer_cases[_i].answer, 1);
    outcome = read_words(-1, script.url, answer_cases[_i].words);
    http_script_done(&script);
    ck_assert_str_eq(outcome.err, answer_cases[_i].err);
    ck_assert_str_eq(outcome.out, answer_cases[_i].out);
    ck_assert_int_eq(outcome.code, answer_cases[_i].code);
    command_done(&outcome);
}
END_TEST

START_TEST(wrong_url)
{
    static const char *const words[WORDS_MAX] = { NULL };
    struct command_outcome outcome = read_words(-1, "ftp://x", words);

    ck_assert_int_eq(outcome.code, 2);
    ck_assert_str_eq(
        outcome.err,
        "plumbline read: the URL \"ftp://x\" does not begin with http:// or https://\n");
    command_done(&outcome);
}
END_TEST

START_TEST(nobody_at_a_url_with_a_password)
{
    static const char *const words[WORDS_MAX] = { NULL };
    static const char want[] = "plumbline read: http://ann:***@127.0.0.1:1: ";
    struct command_outcome outcome = read_words(-1, "http://ann:abc@127.0.0.1:1", words);

    ck_assert_int_eq(outcome.code, 1);
    ck_assert_msg(strncmp(outcome.err, want, strlen(want)) == 0, "%s", outcome.err);
    command_done(&outcome);
}
END_TEST

/* Where standard output goes when something is wrong with it. */
static const struct {
    const char *name;
    bool is_pipe; /* `plumbline read | head`: whoever reads has gone; else the disk is full */
    int code;
    const char *err;
} output_cases[] = {
    { "broken pipe", true, 0, "" },
    { "full disk", false, 1,
      "plumbline read: after 1 lines: cannot write: No space left on device\n" },
};

START_TEST(output_case)
{
    static const struct http_script_answer answers[] = { { .status = 200, .body = ROW } };
    static const char *const words[WORDS_MAX] = { NULL };
    struct command_outcome outcome;
    struct http_script script;
    int ends[2];

    http_script_start(&script, answers, 1);
    ck_assert_int_eq(pipe(ends), 0);
    (void)close(ends[0]);
    if (!output_cases[_i].is_pipe) {
        (void)close(ends[1]);
        ends[1] = open("/dev/full", O_WRONLY | O_CLOEXEC);
    }
    outcome = read_words(ends[1], script.url, words);
    ck_assert_int_eq(outcome.code, output_cases[_i].code);
    ck_assert_str_eq(outcome.err, output_cases[_i].err);
    command_done(&outcome);
    http_script_done(&script);
}
END_TEST

Suite *cmd_read_suite(void);
Suite *cmd_read_suite(void)
{
    Suite *suite = suite_create("cmd_read");
    TCase *tc = tcase_create("cmd_read");

    tcase_add_loop_test(tc, query_case, 0, LENGTH(query_cases));
    tcase_add_loop_test(tc, answer_case, 0, LENGTH(answer_cases));
    tcase_add_test(tc, wrong_url);
    tcase_add_test(tc, nobody_at_a_url_with_a_password);
    tcase_add_loop_test(tc, output_case, 0, LENGTH(output_cases));
    suite_add_tcase(suite, tc);
    return suite;
}
