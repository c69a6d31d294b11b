#include "../../collector/ingest_internal.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "../harness/http_script.h"
#include "base/mem.h"

#define TRACK "{\"event\":\"track_metrics\",\"predictionUuid\":\"u\"}"
#define LABEL "{\"event\":\"delayed_metrics\",\"predictionUuid\":\"u\"}"
#define LABEL_ID "{\"event\":\"delayed_metrics\",\"eventId\":\"e\",\"predictionUuid\":\"u\"}"
#define RECEIPT(n)                                                                                 \
    "{\"batch\":1,\"received\":" #n ",\"accepted\":" #n ",\"duplicate\":0,\"rejected\":[],"        \
    "\"warnings\":[]}"
#define NOT_STORED "{\"error\":{\"code\":\"not_stored\",\"message\":\"nothing was stored\"}}"

static const struct {
    const char *name, *line, *want; /* want: without the line feed; NULL: as it is */
    bool has_identity;
} event_cases[] = {
    { "prediction", TRACK, NULL, true },
    { "label", LABEL, NULL, false },
    { "label with an identity", LABEL_ID, NULL, true },
    { "aggregate", "{\"event\":\"aggregate_metrics\"}", NULL, false },
    { "aggregate with an identity", "{\"event\":\"aggregate_metrics\",\"eventId\":\"x\"}", NULL,
      true },
    { "aggregate with an empty one", "{\"event\":\"aggregate_metrics\",\"eventId\":\"\"}", NULL,
      false },
    { "deployment", "{\"event\":\"model_deployed\"}", NULL, true },
    { "something else", "{\"event\":\"other\"}", NULL, false },
    { "a row of a prediction",
      "{\"modelDeploymentCrn\":\"d\",\"modelBuildCrn\":\"b\",\"modelCrn\":\"m\","
      "\"startTimeStampMs\":1,\"endTimeStampMs\":2,\"predictionUuid\":\"u\",\"metrics\":{\"a\":"
      "0.1}}",
      "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"d\",\"modelBuildCrn\":\"b\","
      "\"modelCrn\":\"m\",\"startTimeStampMs\":1,\"endTimeStampMs\":2,\"predictionUuid\":\"u\","
      "\"metrics\":{\"a\":0.1}}",
      true },
    { "a row of an aggregate, CRNs unknown",
      "{\"modelDeploymentCrn\":\"d\",\"modelBuildCrn\":\"\",\"modelCrn\":\"\","
      "\"startTimeStampMs\":1,\"endTimeStampMs\":2,\"predictionUuid\":\"\",\"metrics\":{}}",
      "{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"d\",\"startTimeStampMs\":1,"
      "\"endTimeStampMs\":2,\"metrics\":{}}",
      false },
    { "a captured prediction",
      "{ \"startTimestampMs\" : 1, \"predictionUuid\":\"u\", \"metrics\": {\"a b\": 1e22} } ",
      "{\"event\":\"track_metrics\",\"startTimestampMs\":1,\"predictionUuid\":\"u\",\"metrics\":"
      "{\"a b\": 1e22}}",
      true },
    { "a captured label", "{\"predictionUuid\":\"u\",\"metrics\":{}}",
      "{\"event\":\"delayed_metrics\",\"predictionUuid\":\"u\",\"metrics\":{}}", false },
    { "a captured label of an old client",
      "{\"modelDeploymentCrn\":\"d\",\"predictionUuid\":\"u\",\"metrics\":{}}",
      "{\"event\":\"delayed_metrics\",\"modelDeploymentCrn\":\"d\",\"predictionUuid\":\"u\","
      "\"metrics\":{}}",
      false },
    { "a label with an eventId", "{\"predictionUuid\":\"u\",\"eventId\":\"e\"}",
      "{\"event\":\"delayed_metrics\",\"predictionUuid\":\"u\",\"eventId\":\"e\"}", true },
    { "a captured aggregate", "{\"startTimestampMs\":1,\"metrics\":{}}",
      "{\"event\":\"aggregate_metrics\",\"startTimestampMs\":1,\"metrics\":{}}", false },
    { "event inside metrics is no event", "{\"predictionUuid\":\"u\",\"metrics\":{\"event\":1}}",
      "{\"event\":\"delayed_metrics\",\"predictionUuid\":\"u\",\"metrics\":{\"event\":1}}", false },
    { "neither", "{\"metrics\":{}}", NULL, false },
    { "no object", "[1,2]", NULL, false },
    { "broken", "{\"event\":\"track_metrics\",", NULL, false },
    { "broken row", "{\"predictionUuid\":\"u\",\"startTimestampMs\":", NULL, false },
    { "not JSON at all", "hello", NULL, false },
};

START_TEST(event_case)
{
    const char *want = event_cases[_i].want ? event_cases[_i].want : event_cases[_i].line;
    AUTO(buf_done) struct buf out;
    bool has_identity;

    buf_init(&out, 4096);
    has_identity = ingest_event_write(&out, span_of(event_cases[_i].line));
    buf_append_char(&out, '\0');
    ck_assert_uint_eq(strlen(out.data), strlen(want) + 1);
    ck_assert_msg(strncmp(out.data, want, strlen(want)) == 0, "%s: %s", event_cases[_i].name,
                  out.data);
    ck_assert_msg(has_identity == event_cases[_i].has_identity, "%s", event_cases[_i].name);
}
END_TEST

/* One run over a file against a script. */
struct run {
    struct http_script script;
    struct ingest_options options;
    char path[64];
    char *messages;
    struct ingest_counts counts;
    struct err err;
    int rc;
};

static void run_init(struct run *run, const struct http_script_answer *answers, size_t answers_len)
{
    *run = (struct run){ .options = {
                             .batch_events = 500, .batch_bytes = 1 << 20, .retry_for_ms = 5000 } };
    http_script_start(&run->script, answers, answers_len);
}

static void run_file(struct run *run, const char *text)
{
    size_t len;
    FILE *messages = open_memstream(&run->messages, &len);
    struct ingest *ingest;
    int fd;

    (void)snprintf(run->path, sizeof(run->path), "/tmp/plumbline-test-XXXXXX");
    fd = mkstemp(run->path);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    ingest = ingest_new(&run->options, client_new(run->script.url, &run->err), messages, false);
    run->rc = ingest_file(ingest, run->path, &run->err);
    if (run->rc == 0)
        run->rc = ingest_finish(ingest, &run->err);
    run->counts = ingest_counts(ingest);
    ingest_free(ingest);
    (void)fclose(messages);
    (void)unlink(run->path);
    http_script_stop(&run->script);
}

static void run_done(struct run *run)
{
    http_script_done(&run->script);
    free(run->messages);
}

/* A text of the run with the name of its file as FILE. */
static char *run_text(const struct run *run, const char *text)
{
    char *out = xcalloc(1, strlen(text) + 1), *to = out;

    while (*text) {
        if (strncmp(text, run->path, strlen(run->path)) == 0) {
            to = stpcpy(to, "FILE");
            text += strlen(run->path);
        } else if (strncmp(text, "http://127.0.0.1:", 17) == 0) {
            to = stpcpy(to, "URL");
            text += 17 + strspn(text + 17, "0123456789");
        } else {
            *to++ = *text++;
        }
    }
    return out;
}

START_TEST(batches_in_order)
{
    static const struct http_script_answer answers[] = {
        { .status = 200, .body = RECEIPT(2) },
        { .status = 200, .body = RECEIPT(2) },
        { .status = 200, .body = RECEIPT(1) },
    };
    struct run run;

    run_init(&run, answers, LENGTH(answers));
    run.options.batch_events = 2;
    run_file(&run,
             "{\"event\":1}\n\n \t\r\n{\"event\":2}\n{\"event\":3}\n{\"event\":4}\n{\"event\":"
             "5}");
    ck_assert_msg(run.rc == 0, "%s", run.err.text);
    ck_assert_uint_eq(run.script.requests_len, 3);
    ck_assert_str_eq(run.script.requests[0].uri, "/v1/events");
    ck_assert_str_eq(run.script.requests[0].content_type, "application/x-ndjson");
    ck_assert_str_eq(run.script.requests[0].content_encoding, "");
    ck_assert_str_eq(run.script.requests[0].body, "{\"event\":1}\n{\"event\":2}\n");
    ck_assert_str_eq(run.script.requests[1].body, "{\"event\":3}\n{\"event\":4}\n");
    ck_assert_str_eq(run.script.requests[2].body, "{\"event\":5}\n");
    ck_assert_uint_eq(run.counts.events, 5);
    ck_assert_uint_eq(run.counts.accepted, 5);
    ck_assert_str_eq(run.messages, "");
    run_done(&run);
}
END_TEST

START_TEST(batches_by_bytes)
{
    static const struct http_script_answer answers[] = { { .status = 200, .body = RECEIPT(1) } };
    AUTO(mem_free) char *text = xcalloc(1, 8192);
    struct run run;

    /* Two lines of 600 bytes do not go into one batch of 1024; one of 3000 goes alone. */
    for (size_t i = 0; i < 3; i++) {
        size_t len = i == 2 ? 3000 : 600, at = strlen(text);

        memset(text + at, 'x', len);
        text[at + len] = '\n';
    }
    run_init(&run, answers, LENGTH(answers));
    run.options.batch_bytes = 1024;
    run_file(&run, text);
    ck_assert_msg(run.rc == 0, "%s", run.err.text);
    ck_assert_uint_eq(run.script.requests_len, 3);
    ck_assert_uint_eq(run.script.requests[2].body_len, 3001);
    run_done(&run);
}
END_TEST

START_TEST(keeps_the_connection)
{
    static const struct http_script_answer answers[] = { { .status = 200, .body = RECEIPT(1) } };
    static const char *const lines[] = { TRACK "\n" TRACK "\n" TRACK "\n",
                                         LABEL "\n" LABEL "\n" LABEL "\n" };
    struct run run;

    run_init(&run, answers, LENGTH(answers));
    run.options.batch_events = 1;
    run_file(&run, lines[_i]);
    ck_assert_uint_eq(run.script.requests_len, 3);
    /* Without identities a kept connection is a risk: see client_request.no_reuse. */
    ck_assert_uint_eq(run.script.connections, _i == 0 ? 1 : 3);
    run_done(&run);
}
END_TEST

START_TEST(compresses)
{
    static const struct http_script_answer answers[] = { { .status = 200, .body = RECEIPT(1) } };
    char text[256] = { 0 };
    z_stream stream = { 0 };
    struct run run;

    run_init(&run, answers, LENGTH(answers));
    run.options.gzip = true;
    run_file(&run, TRACK "\n");
    ck_assert_str_eq(run.script.requests[0].content_encoding, "gzip");
    ck_assert_int_eq(inflateInit2(&stream, 15 + 16), Z_OK);
    stream.next_in = (Bytef *)run.script.requests[0].body;
    stream.avail_in = (uInt)run.script.requests[0].body_len;
    stream.next_out = (Bytef *)text;
    stream.avail_out = sizeof(text) - 1;
    ck_assert_int_eq(inflate(&stream, Z_FINISH), Z_STREAM_END);
    (void)inflateEnd(&stream);
    ck_assert_str_eq(text, TRACK "\n");
    run_done(&run);
}
END_TEST

START_TEST(names_rejected_lines)
{
    static const struct http_script_answer answers[] = {
        { .status = 200,
          .body = "{\"batch\":1,\"received\":3,\"accepted\":0,\"duplicate\":1,\"rejected\":["
                  "{\"index\":0,\"code\":\"invalid_field\",\"field\":\"predictionUuid\","
                  "\"message\":\"not a UUID: \\\"\\u001b[31m\\\"\"},"
                  "{\"index\":2,\"code\":\"too_old\",\"message\":\"before 2000\"}]}" },
    };
    AUTO(mem_free) char *messages = NULL;
    struct run run;

    run_init(&run, answers, LENGTH(answers));
    run_file(&run, "\n" TRACK "\n\n" TRACK "\n" TRACK "\n");
    ck_assert_msg(run.rc == 0, "%s", run.err.text);
    messages = run_text(&run, run.messages);
    ck_assert_str_eq(messages, "FILE:2: invalid_field predictionUuid not a UUID: \"?[31m\"\n"
                               "FILE:5: too_old before 2000\n");
    ck_assert_uint_eq(run.counts.rejected, 2);
    ck_assert_uint_eq(run.counts.duplicate, 1);
    run_done(&run);
}
END_TEST

START_TEST(counts_rejects_not_listed)
{
    static const struct http_script_answer answers[] = {
        { .status = 200,
          .body = "{\"batch\":null,\"received\":3,\"accepted\":0,\"duplicate\":0,\"rejected\":["
                  "{\"index\":0,\"code\":\"c\",\"message\":\"m\"}],\"rejectedCount\":3}" },
    };
    struct run run;

    run_init(&run, answers, LENGTH(answers));
    run_file(&run, TRACK "\n" TRACK "\n" TRACK "\n");
    ck_assert_uint_eq(run.counts.rejected, 3);
    run_done(&run);
}
END_TEST

static const struct {
    const char *name;
    struct http_script_answer first;
    const char *text;
    bool retry_unsure;
    int rc;
    size_t requests;
    const char *want; /* the error or the messages */
} retry_cases[] = {
    { "not stored: again, whatever it holds",
      { .status = 503, .body = NOT_STORED },
      LABEL "\n",
      false,
      0,
      2,
      "HTTP 503: nothing was stored (not_stored); trying again\n" },
    { "too many: again",
      { .status = 429, .body = NOT_STORED },
      LABEL "\n",
      false,
      0,
      2,
      "HTTP 429: nothing was stored (not_stored); trying again\n" },
    { "lost, with identities: again",
      { .action = HTTP_SCRIPT_HANG_UP },
      TRACK "\n" LABEL_ID "\n",
      false,
      0,
      2,
      "URL: Empty reply from server; trying again\n" },
    { "lost, one without an identity: never",
      { .action = HTTP_SCRIPT_HANG_UP },
      TRACK "\n" LABEL "\n",
      false,
      -1,
      1,
      "FILE:1 to FILE:2 may or may not be stored, and would count twice if sent again "
      "(--retry-unsure does it all the same): URL: Empty reply from server" },
    { "lost, without an identity, but told so",
      { .action = HTTP_SCRIPT_HANG_UP },
      LABEL "\n",
      true,
      0,
      2,
      "URL: Empty reply from server; trying again\n" },
    { "refused: never",
      { .status = 413, .body = "{\"error\":{\"code\":\"too_large\",\"message\":\"too much\"}}" },
      TRACK "\n",
      false,
      -1,
      1,
      "FILE:1: HTTP 413: too much (too_large)" },
    { "refused with a field: never",
      { .status = 400, .body = "{\"error\":{\"code\":\"c\",\"message\":\"m\",\"field\":\"f\"}}" },
      TRACK "\n",
      false,
      -1,
      1,
      "FILE:1: HTTP 400: m (c, f)" },
    { "somebody else's server",
      { .status = 200, .body = "<html>" },
      TRACK "\n",
      false,
      -1,
      1,
      "HTTP 200 without a receipt; is URL the address of plumbline?" },
    { "somebody else's error",
      { .status = 404, .body = "<html>" },
      TRACK "\n",
      false,
      -1,
      1,
      "FILE:1: HTTP 404, and not in plumbline's words; is the URL right?" },
};

START_TEST(retry_case)
{
    const struct http_script_answer answers[] = { retry_cases[_i].first,
                                                  { .status = 200, .body = RECEIPT(1) } };
    AUTO(mem_free) char *text = NULL;
    struct run run;

    run_init(&run, answers, LENGTH(answers));
    run.options.retry_unsure = retry_cases[_i].retry_unsure;
    run_file(&run, retry_cases[_i].text);
    text = run_text(&run, run.rc < 0 ? run.err.text : run.messages);
    ck_assert_msg(run.rc == retry_cases[_i].rc, "%s: %s", retry_cases[_i].name, text);
    ck_assert_str_eq(text, retry_cases[_i].want);
    ck_assert_uint_eq(run.script.requests_len, retry_cases[_i].requests);
    if (run.rc == 0)
        ck_assert_str_eq(run.script.requests[0].body, run.script.requests[1].body);
    run_done(&run);
}
END_TEST

START_TEST(gives_up)
{
    static const struct http_script_answer answers[] = {
        { .status = 503, .body = NOT_STORED, .header = "Retry-After", .value = "30" },
    };
    AUTO(mem_free) char *text = NULL;
    struct run run;

    run_init(&run, answers, LENGTH(answers));
    run_file(&run, TRACK "\n");
    text = run_text(&run, run.err.text);
    ck_assert_int_eq(run.rc, -1);
    ck_assert_str_eq(text, "gave up at FILE:1: HTTP 503: nothing was stored (not_stored)");
    ck_assert_uint_eq(run.script.requests_len, 1);
    run_done(&run);
}
END_TEST

START_TEST(nobody_there)
{
    static const struct http_script_answer answers[] = { { .status = 200, .body = RECEIPT(1) } };
    struct run run;

    run_init(&run, answers, LENGTH(answers));
    http_script_stop(&run.script);
    run.options.retry_for_ms = 250;
    run_file(&run, LABEL "\n");
    ck_assert_int_eq(run.rc, -1);
    ck_assert_ptr_nonnull(strstr(run.messages, "; trying again\n"));
    ck_assert_ptr_nonnull(strstr(run.err.text, "gave up at "));
    run_done(&run);
}
END_TEST

START_TEST(no_such_file)
{
    struct ingest_options options = { .batch_events = 1, .batch_bytes = 1024 };
    struct err err = { 0 };
    AUTO(ingest_free)
    struct ingest *ingest =
        ingest_new(&options, client_new("http://127.0.0.1:1", &err), stderr, false);

    ck_assert_int_eq(ingest_file(ingest, "/nowhere.ndjson", &err), -1);
    ck_assert_str_eq(err.text, "cannot read /nowhere.ndjson: No such file or directory");
    ck_assert_int_eq(ingest_file(ingest, "/", &err), -1);
    ck_assert_str_eq(err.text, "cannot read /: Is a directory");
}
END_TEST

START_TEST(summary)
{
    static const struct http_script_answer answers[] = { { .status = 200, .body = RECEIPT(1) } };
    struct ingest_options options = { .batch_events = 1, .batch_bytes = 1024 };
    AUTO(mem_free) char *text = NULL;
    struct err err = { 0 };
    struct http_script script;
    struct ingest *ingest;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    http_script_start(&script, answers, LENGTH(answers));
    ingest = ingest_new(&options, client_new(script.url, &err), out, true);
    ck_assert_int_eq(ingest_file(ingest, "/dev/null", &err), 0);
    ingest_summary(ingest);
    ingest_free(ingest);
    (void)fclose(out);
    http_script_done(&script);
    ck_assert_msg(strncmp(text, "0 events: 0 accepted, 0 duplicate, 0 rejected; 0.0 MB in ",
                          strlen("0 events: 0 accepted, 0 duplicate, 0 rejected; 0.0 MB in ")) == 0,
                  "%s", text);
}
END_TEST

/* On a terminal the line of progress is redrawn, and gives way to every message. */
START_TEST(redraws_progress)
{
    static const struct http_script_answer answers[] = {
        { .status = 200, .body = RECEIPT(1) },
        { .status = 200,
          .body =
              "{\"accepted\":0,\"rejected\":[{\"index\":0,\"code\":\"c\",\"message\":\"m\"}]}" },
    };
    struct ingest_options options = { .batch_events = 1, .batch_bytes = 1024 };
    char path[] = "/tmp/plumbline-test-XXXXXX";
    AUTO(mem_free) char *text = NULL;
    struct err err = { 0 };
    struct http_script script;
    struct ingest *ingest;
    int fd = mkstemp(path);
    size_t len;
    FILE *out = open_memstream(&text, &len);

    ck_assert_int_eq(write(fd, TRACK "\n" TRACK "\n", 2 * sizeof(TRACK)), 2 * sizeof(TRACK));
    (void)close(fd);
    http_script_start(&script, answers, LENGTH(answers));
    ingest = ingest_new(&options, client_new(script.url, &err), out, true);
    ck_assert_int_eq(ingest_file(ingest, path, &err), 0);
    ingest_summary(ingest);
    ingest_free(ingest);
    (void)fclose(out);
    (void)unlink(path);
    http_script_done(&script);
    ck_assert_msg(strncmp(text, "\r\033[K1 events  0.0 MB  ", 22) == 0, "%s", text);
    ck_assert_ptr_nonnull(strstr(text, " events/s  0 rejected\r\033[K/tmp/"));
    ck_assert_ptr_nonnull(strstr(text, ":2: c m\n\r\033[K2 events  0.0 MB  "));
    ck_assert_ptr_nonnull(strstr(text, " events/s  1 rejected\r\033[K2 events: 1 accepted, "));
}
END_TEST

START_TEST(line_too_long)
{
    static const struct http_script_answer answers[] = { { .status = 200, .body = RECEIPT(1) } };
    enum { LONG_BYTES = (16 << 20) + 1 };
    AUTO(mem_free) char *text = xmalloc(LONG_BYTES + sizeof("\n" TRACK)), *messages = NULL;
    struct run run;

    memset(text, 'x', LONG_BYTES);
    memcpy(text + LONG_BYTES, "\n" TRACK, sizeof("\n" TRACK));
    run_init(&run, answers, LENGTH(answers));
    run_file(&run, text);
    ck_assert_msg(run.rc == 0, "%s", run.err.text);
    messages = run_text(&run, run.messages);
    ck_assert_str_eq(messages, "FILE:1: too_large the line is longer than a request may be "
                               "(16777216 bytes)\n");
    ck_assert_uint_eq(run.counts.events, 2);
    ck_assert_uint_eq(run.counts.accepted, 1);
    ck_assert_uint_eq(run.counts.rejected, 1);
    ck_assert_str_eq(run.script.requests[0].body, TRACK "\n");
    run_done(&run);
}
END_TEST

Suite *ingest_suite(void);
Suite *ingest_suite(void)
{
    Suite *suite = suite_create("ingest");
    TCase *tc = tcase_create("ingest");

    tcase_add_loop_test(tc, event_case, 0, LENGTH(event_cases));
    tcase_add_test(tc, batches_in_order);
    tcase_add_test(tc, batches_by_bytes);
    tcase_add_loop_test(tc, keeps_the_connection, 0, 2);
    tcase_add_test(tc, compresses);
    tcase_add_test(tc, names_rejected_lines);
    tcase_add_test(tc, counts_rejects_not_listed);
    tcase_add_loop_test(tc, retry_case, 0, LENGTH(retry_cases));
    tcase_add_test(tc, gives_up);
    tcase_add_test(tc, nobody_there);
    tcase_add_test(tc, no_such_file);
    tcase_add_test(tc, summary);
    tcase_add_test(tc, redraws_progress);
    tcase_add_test(tc, line_too_long);
    suite_add_tcase(suite, tc);
    return suite;
}
