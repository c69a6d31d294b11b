/* Bad input is answered with a clear error, and spoils nothing else: the event beside it goes in,
 * and so does the next request on the same connection. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/runner.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *bad_input_suite(void);

/* ---- good neighbours ---- */

/* What the books must say at the end. */
struct tally {
    struct service *service;
    int64_t accepted, rejected;
};

/* An event that was never sent before. Owned. */
static char *good_event(struct tally *tally)
{
    return xasprintf("{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:good\","
                     "\"predictionUuid\":\"00000000-0000-4000-8000-%012llx\","
                     "\"startTimestampMs\":1704067200000,\"endTimestampMs\":1704067200001,"
                     "\"metrics\":{\"good\":true}}",
                     (unsigned long long)tally->accepted++);
}

/* The next request on the same connection. */
static void good_follows(struct tally *tally)
{
    AUTO(mem_free) char *event = good_event(tally);

    service_take(tally->service, event);
}

static void tally_check(struct tally *tally)
{
    int64_t rows = pg_query_i64(tally->service->dsn, "SELECT count(*) FROM prediction");

    ck_assert_int_eq(rows, tally->accepted);
    ck_assert_int_eq(pg_query_i64(tally->service->dsn,
                                  "SELECT count(*) FROM delayed_metric_waiting"),
                     0);
    service_check_balance(tally->service, tally->accepted, 0, tally->rejected);
}

/* Like service_check_same for a message in which `*` stands for what changes from day to day. */
static void check_message(const char *have, const char *want, const char *what)
{
    const char *star = strchr(want, '*');
    size_t head = star ? (size_t)(star - want) : strlen(want);
    size_t tail = star ? strlen(star + 1) : 0, len = strlen(have);
    bool fits = len >= head + tail && strncmp(have, want, head) == 0 &&
                (star ? strcmp(have + len - tail, star + 1) == 0 : len == head);

    ck_assert_msg(fits, "%s:\nhave %s\nwant %s", what, have, want);
}

static void check_note(const json_t *note, const char *code, const char *field, const char *message,
                       const char *what)
{
    const char *have = json_string_value(json_object_get(note, "field"));

    ck_assert_msg(strcmp(service_text(note, "code"), code) == 0, "%s: code %s", what,
                  service_text(note, "code"));
    ck_assert_msg((!have && !field) || (have && field && strcmp(have, field) == 0),
                  "%s: field %s, not %s", what, have ? have : "none", field ? field : "none");
    check_message(service_text(note, "message"), message, what);
}

/* ---- events ---- */

#define START "1704067200000"
#define UUID "\"01234567-89ab-4def-8123-456789abcdef\""
#define TRACK_AS(crn, uuid, start, end, metrics)                                                   \
    "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":" crn ",\"predictionUuid\":" uuid         \
    ",\"startTimestampMs\":" start ",\"endTimestampMs\":" end ",\"metrics\":" metrics "}"
#define TRACK(metrics) TRACK_AS("\"crn:bad\"", UUID, START, START, metrics)
#define LABEL(more) "{\"event\":\"delayed_metrics\"" more "}"
#define AGGREGATE(more) "{\"event\":\"aggregate_metrics\"" more "}"

#define NOT_A_TIME "must be a whole number of milliseconds since 1970, not "

static const struct {
    const char *name, *event, *code, *field, *message;
} event_cases[] = {
    /* values that are not JSON, or that can't be kept */
    { "NaN", TRACK("{\"x\":NaN}"), "invalid_value", "metrics.x",
      "NaN is not JSON; send null or leave the member out" },
    { "NaN deep inside", TRACK("{\"a.b\":{\"c\":[1,{\"d\":NaN}]}}"), "invalid_value",
      "metrics.a\\.b.c[1].d", "NaN is not JSON; send null or leave the member out" },
    { "Infinity", TRACK("{\"x\":Infinity}"), "invalid_value", "metrics.x",
      "Infinity is not JSON; send null or a finite number" },
    { "-Infinity", TRACK("{\"x\":[0,-Infinity]}"), "invalid_value", "metrics.x[1]",
      "-Infinity is not JSON; send null or a finite number" },
    { "None", TRACK("{\"x\":None}"), "invalid_value", "metrics.x", "None is not JSON; send null" },
    { "True", TRACK("{\"x\":True}"), "invalid_value", "metrics.x", "True is not JSON; send true" },
    { "single quotes", TRACK("{\"x\":'a'}"), "invalid_value", "metrics.x",
      "not a JSON value: \"'a'\"; texts stand in double quotes" },
    { "leading zero", TRACK("{\"x\":01}"), "invalid_value", "metrics.x",
      "not a number as JSON writes it: \"01\"" },
    { "plus sign", TRACK("{\"x\":+1}"), "invalid_value", "metrics.x",
      "not a number as JSON writes it: \"+1\"" },
    { "bare fraction", TRACK("{\"x\":1.}"), "invalid_value", "metrics.x",
      "not a number as JSON writes it: \"1.\"" },
    { "1e400", TRACK("{\"x\":1e400}"), "invalid_value", "metrics.x",
      "too large for a double: \"1e400\"; send null or text" },
    { "-1e400 in a list", TRACK("{\"x\":[-1e400]}"), "invalid_value", "metrics.x[0]",
      "too large for a double: \"-1e400\"; send null or text" },
    { "1e-20000", TRACK("{\"x\":1e-20000}"), "invalid_value", "metrics.x",
      "an exponent beyond 16000: \"1e-20000\"; send 0 or text" },
    { "U+0000", TRACK("{\"x\":\"a\\u0000b\"}"), "invalid_value", "metrics.x",
      "holds U+0000, which can't be stored; leave it out" },
    { "U+0000 in a key", TRACK("{\"a\\u0000\":1}"), "invalid_value", "metrics",
      "holds U+0000, which can't be stored; leave it out" },
    { "U+0000 in a CRN", TRACK_AS("\"crn\\u0000\"", UUID, START, START, "{}"), "invalid_value",
      "modelDeploymentCrn", "holds U+0000, which can't be stored; leave it out" },
    { "first half of a pair", TRACK("{\"x\":\"\\ud83d\"}"), "invalid_value", "metrics.x",
      "holds the surrogate \\ud83d without its other half; send the character itself or both "
      "halves" },
    { "second half of a pair", TRACK("{\"x\":\"\\ude00\"}"), "invalid_value", "metrics.x",
      "holds the surrogate \\ude00 without its other half; send the character itself or both "
      "halves" },
    { "halves the wrong way round", TRACK("{\"x\":\"\\ude00\\ud83d\"}"), "invalid_value",
      "metrics.x",
      "holds the surrogate \\ude00 without its other half; send the character itself or both "
      "halves" },
    { "control character", TRACK("{\"x\":\"a\x01\"}"), "invalid_value", "metrics.x",
      "holds the control character 0x01; write it as \\u0001" },
    { "not UTF-8", TRACK("{\"x\":\"a\xFF\"}"), "invalid_value", "metrics.x",
      "not UTF-8 at byte 0xff; send texts as UTF-8" },
    { "surrogate as UTF-8", TRACK("{\"x\":\"\xED\xA0\x80\"}"), "invalid_value", "metrics.x",
      "not UTF-8 at byte 0xed; send texts as UTF-8" },
    { "unknown escape", TRACK("{\"x\":\"\\q\"}"), "invalid_value", "metrics.x",
      "a backslash that begins no escape; write \\\\ for a backslash" },
    { "escape cut short", TRACK("{\"x\":\"\\u12\"}"), "invalid_value", "metrics.x",
      "\\u without four hexadecimal digits" },
    { "duplicate key", TRACK("{\"a\":1,\"a\":1}"), "invalid_value", "metrics.a",
      "there is a second member of this name; send one" },
    { "duplicate key, escaped", TRACK("{\"b\":{\"a\":1,\"\\u0061\":2}}"), "invalid_value",
      "metrics.b.a", "there is a second member of this name; send one" },
    { "duplicate member", "{\"event\":\"delayed_metrics\",\"metrics\":{},\"metrics\":{}}",
      "invalid_value", "metrics", "there is a second member of this name; send one" },
    { "both spellings",
      "{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"crn\",\"startTimestampMs\":" START
      ",\"startTimeStampMs\":" START ",\"endTimestampMs\":" START ",\"metrics\":{}}",
      "invalid_field", "startTimeStampMs", "is there twice, in two spellings; send one" },
    /* not an event */
    { "a number", "5", "not_an_object", NULL, "an event is a JSON object, not a number" },
    { "a text", "\"track_metrics\"", "not_an_object", NULL, "an event is a JSON object, not text" },
    { "null", "null", "not_an_object", NULL, "an event is a JSON object, not null" },
    { "a bare word", "nothing", "not_an_object", NULL,
      "an event is a JSON object, not a bare word" },
    { "no event", "{\"metrics\":{}}", "missing_field", "event",
      "every event needs it, for example \"track_metrics\"" },
    { "an empty object", "{}", "missing_field", "event",
      "every event needs it, for example \"track_metrics\"" },
    { "event of a wrong type", "{\"event\":[1]}", "invalid_field", "event",
      "must be text, not an array" },
    { "unknown event", "{\"event\":\"predict\"}", "unknown_event", "event",
      "not an event: \"predict\"" },
    { "unknown event, long",
      "{\"event\":\"0123456789012345678901234567890123456789012345678901234567890123456789\"}",
      "unknown_event", "event",
      "not an event: \"0123456789012345678901234567890123456789012345678901234567890123...\"" },
    /* missing fields */
    { "no CRN", "{\"event\":\"track_metrics\"}", "missing_field", "modelDeploymentCrn",
      "track_metrics needs it" },
    { "no UUID", "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn\"}", "missing_field",
      "predictionUuid", "track_metrics needs it" },
    { "no start",
      "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn\",\"predictionUuid\":" UUID "}",
      "missing_field", "startTimestampMs", "track_metrics needs it" },
    { "no end", AGGREGATE(",\"modelDeploymentCrn\":\"crn\",\"startTimestampMs\":" START),
      "missing_field", "endTimestampMs", "aggregate_metrics needs it" },
    { "no metrics", LABEL(",\"predictionUuid\":" UUID), "missing_field", "metrics",
      "delayed_metrics needs it" },
    { "label without UUID", LABEL(",\"metrics\":{}"), "missing_field", "predictionUuid",
      "delayed_metrics needs it" },
    { "null for what is needed", TRACK("null"), "invalid_field", "metrics", "must not be null" },
    /* wrong types */
    { "CRN of a wrong type", TRACK_AS("7", UUID, START, START, "{}"), "invalid_field",
      "modelDeploymentCrn", "must be text, not a number" },
    { "empty CRN", TRACK_AS("\"\"", UUID, START, START, "{}"), "invalid_field",
      "modelDeploymentCrn", "must not be empty" },
    { "UUID of a wrong type", TRACK_AS("\"crn\"", "{}", START, START, "{}"), "invalid_field",
      "predictionUuid", "must be a UUID as text, not an object" },
    { "not a UUID", TRACK_AS("\"crn\"", "\"abc\"", START, START, "{}"), "invalid_field",
      "predictionUuid", "not a UUID: \"abc\"" },
    { "a UUID in braces",
      TRACK_AS("\"crn\"", "\"{01234567-89ab-4def-8123-456789abcdef}\"", START, START, "{}"),
      "invalid_field", "predictionUuid", "not a UUID: \"{01234567-89ab-4def-8123-456789abcdef}\"" },
    { "eventId that is none",
      LABEL(",\"predictionUuid\":" UUID ",\"eventId\":\"1\",\"metrics\":{}"), "invalid_field",
      "eventId", "not a UUID: \"1\"" },
    { "time as text", TRACK_AS("\"crn\"", UUID, "\"" START "\"", START, "{}"), "invalid_field",
      "startTimestampMs", NOT_A_TIME "text" },
    { "time with a fraction", TRACK_AS("\"crn\"", UUID, START ".0", START, "{}"), "invalid_field",
      "startTimestampMs", NOT_A_TIME START ".0" },
    { "time with an exponent", TRACK_AS("\"crn\"", UUID, START, "1.7e12", "{}"), "invalid_field",
      "endTimestampMs", NOT_A_TIME "1.7e12" },
    { "time of twenty digits", TRACK_AS("\"crn\"", UUID, START, "99999999999999999999", "{}"),
      "invalid_field", "endTimestampMs", NOT_A_TIME "99999999999999999999" },
    { "metrics as a list", TRACK("[]"), "invalid_field", "metrics",
      "must be an object, not an array" },
    { "metrics as text", TRACK("\"{}\""), "invalid_field", "metrics",
      "must be an object, not text" },
    { "failed as text", TRACK("{},\"failed\":\"no\""), "invalid_field", "failed",
      "must be true or false, not text" },
    { "replica as a number", TRACK("{},\"replica\":1"), "invalid_field", "replica",
      "must be text, not a number" },
    /* times */
    { "end before start", TRACK_AS("\"crn\"", UUID, START, "1704067199999", "{}"), "invalid_field",
      "endTimestampMs", "1704067199999 is before the start, 1704067200000" },
    { "before 2000", TRACK_AS("\"crn\"", UUID, "946684799999", START, "{}"), "invalid_field",
      "startTimestampMs",
      "946684799999 is before 2000-01-01T00:00:00.000Z; send milliseconds since 1970" },
    { "seconds instead", TRACK_AS("\"crn\"", UUID, "1704067200", "1704067200", "{}"),
      "invalid_field", "startTimestampMs",
      "1704067200 is before 2000-01-01T00:00:00.000Z; send milliseconds since 1970" },
    { "negative", TRACK_AS("\"crn\"", UUID, "-1", START, "{}"), "invalid_field", "startTimestampMs",
      "-1 is before 2000-01-01T00:00:00.000Z; send milliseconds since 1970" },
    { "too far ahead", TRACK_AS("\"crn\"", UUID, START, "99999999999999", "{}"), "invalid_field",
      "endTimestampMs",
      "99999999999999 is after *Z, too far in the future; send milliseconds since 1970" },
    { "microseconds instead",
      TRACK_AS("\"crn\"", UUID, "1704067200000000", "1704067200000000", "{}"), "invalid_field",
      "startTimestampMs",
      "1704067200000000 is after *Z, too far in the future; send milliseconds since 1970" },
    /* model_deployed goes another way: a thin check that it is the same to a client */
    { "unknown status",
      "{\"event\":\"model_deployed\",\"modelDeploymentCrn\":\"crn\",\"modelBuildCrn\":\"crn\","
      "\"userName\":\"ada\",\"status\":\"up\"}",
      "invalid_field", "status",
      "must be deploying, deployed, stopping, stopped or unknown, not \"up\"" },
    { "no user",
      "{\"event\":\"model_deployed\",\"modelDeploymentCrn\":\"crn\",\"modelBuildCrn\":"
      "\"crn\",\"status\":\"deployed\"}",
      "missing_field", "userName", "model_deployed needs it" },
    { "NaN in metadata",
      "{\"event\":\"model_deployed\",\"modelDeploymentCrn\":\"crn\",\"modelBuildCrn\":\"crn\","
      "\"userName\":\"ada\",\"status\":\"deployed\",\"metadata\":{\"x\":NaN}}",
      "invalid_value", "metadata.x", "NaN is not JSON; send null or leave the member out" },
};

/* The event alone; between two good ones in an array; in a line between two good lines. After
 * each, a good request on the same connection. */
static void bad_event_send(struct tally *tally, const char *event, long status, const char *code,
                           const char *field, const char *message, const char *name)
{
    static const char *const frames[] = { "in an array", "between lines" };
    json_auto_t *alone = service_post(tally->service, status, "/v1/events", event);

    tally->rejected++;
    ck_assert_uint_eq(json_object_size(alone), 1);
    check_note(json_object_get(alone, "error"), code, field, message, name);
    good_follows(tally);
    for (size_t i = 0; i < LENGTH(frames); i++) {
        AUTO(mem_free) char *before = good_event(tally);
        AUTO(mem_free) char *behind = good_event(tally);
        AUTO(mem_free)
        char *body = i == 0 ? xasprintf("[%s,%s,%s]", before, event, behind)
                            : xasprintf(" %s\n%s\n\n%s", before, event, behind);
        json_auto_t *receipt = service_post(tally->service, 200, "/v1/events", body);
        const json_t *rejected = json_object_get(receipt, "rejected");

        tally->rejected++;
        ck_assert_msg(service_number(receipt, "accepted") == 2, "%s: %s", name, frames[i]);
        ck_assert_int_eq(service_number(receipt, "received"), 3);
        ck_assert_uint_eq(json_array_size(rejected), 1);
        ck_assert_int_eq(service_number(json_array_get(rejected, 0), "index"), 1);
        check_note(json_array_get(rejected, 0), code, field, message, name);
    }
}

START_TEST(bad_events)
{
    AUTO(service_free) struct service *service = service_start();
    struct tally tally = { .service = service };

    for (size_t i = 0; i < LENGTH(event_cases); i++)
        bad_event_send(&tally, event_cases[i].event, 400, event_cases[i].code, event_cases[i].field,
                       event_cases[i].message, event_cases[i].name);
    tally_check(&tally);
}
END_TEST

/* ---- events that are too much of something ---- */

static char *repeat(const char *text, size_t times)
{
    AUTO(buf_done) struct buf out;

    buf_init(&out, SIZE_MAX);
    for (size_t i = 0; i < times; i++)
        buf_append_text(&out, text);
    return xstrdup(buf_text(&out));
}

/* An event whose metrics are these. Owned. */
static char *track_with(const char *metrics)
{
    return xasprintf("{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:bad\","
                     "\"predictionUuid\":" UUID ",\"startTimestampMs\":" START
                     ",\"endTimestampMs\":" START ",\"metrics\":%s}",
                     metrics);
}

START_TEST(too_deep)
{
    enum { DEPTH = 10000, DEPTH_MAX = 32 };
    AUTO(service_free) struct service *service = service_start();
    struct tally tally = { .service = service };
    AUTO(mem_free) char *opened = repeat("[", DEPTH);
    AUTO(mem_free) char *closed = repeat("]", DEPTH);
    AUTO(mem_free) char *metrics = xasprintf("{\"x\":%s%s}", opened, closed);
    AUTO(mem_free) char *event = track_with(metrics);
    AUTO(mem_free) char *objects = repeat("{\"a\":", DEPTH);
    AUTO(mem_free) char *ends = repeat("}", DEPTH);
    AUTO(mem_free) char *inside = xasprintf("%s1%s", objects, ends);
    AUTO(mem_free) char *of_objects = track_with(inside);
    /* the event is the first level and its metrics are the second */
    AUTO(mem_free) char *zeros = repeat("[0]", DEPTH_MAX - 2);
    AUTO(mem_free) char *field = xasprintf("metrics.x%s", zeros);
    AUTO(mem_free) char *names = repeat(".a", DEPTH_MAX - 1);
    AUTO(mem_free) char *path = xasprintf("metrics%s", names);
    const char *message = "nested deeper than 32 levels; flatten it or send it as text";

    bad_event_send(&tally, event, 400, "invalid_value", field, message, "lists");
    bad_event_send(&tally, of_objects, 400, "invalid_value", path, message, "objects");
    tally_check(&tally);
}
END_TEST

START_TEST(too_long)
{
    AUTO(service_free) struct service *service = service_start();
    struct tally tally = { .service = service };
    AUTO(mem_free) char *digits = repeat("7", 400);
    AUTO(mem_free) char *number = xasprintf("{\"x\":%s}", digits);
    AUTO(mem_free) char *fraction = xasprintf("{\"x\":0.%s}", digits + 1);
    AUTO(mem_free) char *long_number = track_with(number);
    AUTO(mem_free) char *long_fraction = track_with(fraction);
    AUTO(mem_free) char *crn = repeat("c", 1025);
    AUTO(mem_free)
    char *long_crn =
        xasprintf("{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"%s\","
                  "\"startTimestampMs\":" START ",\"endTimestampMs\":" START ",\"metrics\":{}}",
                  crn);
    AUTO(mem_free) char *replica = repeat("r", 257);
    AUTO(mem_free) char *with_replica = xasprintf("{},\"replica\":\"%s\"", replica);
    AUTO(mem_free) char *long_replica = track_with(with_replica);

    bad_event_send(&tally, long_number, 400, "invalid_value", "metrics.x",
                   "a number of 400 characters, at most 64 can be kept; round it or send it as "
                   "text",
                   "number");
    bad_event_send(&tally, long_fraction, 400, "invalid_value", "metrics.x",
                   "a number of 401 characters, at most 64 can be kept; round it or send it as "
                   "text",
                   "fraction");
    bad_event_send(&tally, long_crn, 400, "invalid_field", "modelDeploymentCrn",
                   "must have at most 1024 bytes, not 1025", "CRN");
    bad_event_send(&tally, long_replica, 400, "invalid_field", "replica",
                   "must have at most 256 bytes, not 257", "replica");
    tally_check(&tally);
}
END_TEST

/* Metrics of so many bytes, and some white space, which does not count. Owned. */
static char *metrics_of(size_t bytes)
{
    AUTO(mem_free) char *fill = repeat("x", bytes - strlen("{\"x\":\"\"}"));

    return xasprintf("{ \"x\" :\t\"%s\"\n }", fill);
}

START_TEST(metrics_too_large)
{
    enum { BYTES_MAX = 102400 };
    AUTO(service_free) struct service *service = service_start();
    struct tally tally = { .service = service };
    AUTO(mem_free) char *most = metrics_of(BYTES_MAX);
    AUTO(mem_free) char *more = metrics_of(BYTES_MAX + 1);
    AUTO(mem_free) char *fits = track_with(most);
    AUTO(mem_free) char *beyond = track_with(more);
    AUTO(mem_free)
    char *label = xasprintf("{\"predictionUuid\":" UUID ",\"metrics\":%s}", more);
    const char *message = "takes 102401 bytes without white space, more than the limit of 102400; "
                          "send fewer or shorter values";
    json_auto_t *compatible = NULL;
    /* in NDJSON the line break inside is another error: only the two other ways */
    json_auto_t *alone = service_post(service, 413, "/v1/events", beyond);

    check_note(json_object_get(alone, "error"), "too_large", "metrics", message, "alone");
    good_follows(&tally);
    compatible = service_post(service, 413, "/track-delayed-metrics", label);
    check_note(json_object_get(compatible, "error"), "too_large", "metrics", message, "label");
    good_follows(&tally);
    service_take(service, fits);
    tally.accepted++;
    tally.rejected = 2;
    tally_check(&tally);
}
END_TEST

/* ---- broken structure ---- */

static const struct {
    const char *name, *body, *message;
    int line, column; /* of the message; 0: it has none */
} broken_cases[] = {
    { "empty", "", "the body is empty; send a JSON object", 0, 0 },
    { "white space", " \n\t", "the body is empty; send a JSON object", 0, 0 },
    { "ends inside an object", "{\"a\":1", "the text ends inside an object", 1, 7 },
    { "ends inside a list", "[{}", "the text ends inside an array", 1, 4 },
    { "ends where a value belongs", "{\"a\":", "the text ends where a value belongs", 1, 6 },
    { "no closing quote", "{\"a\":\n  \"b}", "a text without its closing quote", 2, 3 },
    { "trailing comma", "{\n  \"a\": 1,\n}", "expected the name of a member in double quotes", 3,
      1 },
    { "bare name", "{a:1}", "expected the name of a member in double quotes", 1, 2 },
    { "no colon", "{\"a\" 1}", "expected ':' after the name of a member", 1, 6 },
    { "no value", "{\"a\":}", "expected a value", 1, 6 },
    { "no comma", "{\"a\":1 \"b\":2}", "expected ',' or '}' after a member", 1, 8 },
    { "no comma in a list", "[{} {}]", "expected ',' or ']' after an element", 1, 5 },
    { "wrong bracket", "{\"a\":[1}}", "expected ',' or ']' after an element", 1, 8 },
    { "two objects", "{}\n{}", "something follows the end of the value", 2, 1 },
    { "closed too often", "[]]", "something follows the end of the value", 1, 3 },
    { "after characters of several bytes", "{\"\xC3\xA9\xF0\x9F\x98\x80\":]", "expected a value", 1,
      11 },
    { "byte order mark", "\xEF\xBB\xBF{}", "begins with a byte order mark; send UTF-8 without it",
      1, 1 },
    { "not JSON at all", "]", "expected a value", 1, 1 },
};

/* As it is; with good events in front in an array; and as one line of several. */
static void broken_body_send(struct tally *tally, size_t i)
{
    AUTO(mem_free) char *url = daemon_url(tally->service->daemon, "/v1/events");
    AUTO(mem_free)
    char *message = broken_cases[i].line
                        ? xasprintf("line %d, column %d: %s", broken_cases[i].line,
                                    broken_cases[i].column, broken_cases[i].message)
                        : xstrdup(broken_cases[i].message);
    static const char *const headers[] = { "Content-Type: application/json", NULL };
    struct http_request request = {
        .method = "POST", .url = url, .body = broken_cases[i].body, .headers = headers
    };
    AUTO(http_answer_free) struct http_answer *answer = http_send(tally->service->http, &request);
    json_auto_t *error = http_json(answer);

    ck_assert_msg(answer->status == 400, "%s: %ld", broken_cases[i].name, answer->status);
    service_check_error(error, "invalid_json", NULL, message, broken_cases[i].name);
    good_follows(tally);
}

/* In NDJSON a line is lost, not the request. */
static void broken_line_send(struct tally *tally, size_t i)
{
    AUTO(mem_free) char *before = good_event(tally);
    AUTO(mem_free) char *behind = good_event(tally);
    AUTO(mem_free)
    char *body = xasprintf(" %s\r\n\n%s\n%s\n", before, broken_cases[i].body, behind);
    json_auto_t *receipt = service_post(tally->service, 200, "/v1/events", body);
    json_auto_t *want =
        json_pack("[{s:i,s:s,s:s,s:i,s:i}]", "index", 1, "code", "invalid_json", "message",
                  broken_cases[i].message, "line", 3, "column", broken_cases[i].column);

    tally->rejected++;
    ck_assert_int_eq(service_number(receipt, "accepted"), 2);
    service_check_same(json_object_get(receipt, "rejected"), want, broken_cases[i].name);
}

START_TEST(broken_json)
{
    AUTO(service_free) struct service *service = service_start();
    struct tally tally = { .service = service };
    AUTO(mem_free) char *lost = xstrdup(TRACK("{}"));
    AUTO(mem_free) char *array = xasprintf("[%s,\n %s,\n {\"event\"]", lost, lost);
    json_auto_t *error = service_post(service, 400, "/v1/events", array);

    service_check_error(error, "invalid_json", NULL,
                        "line 3, column 10: expected ':' after the name of a member",
                        "nothing of an array whose structure is broken is stored");
    for (size_t i = 0; i < LENGTH(broken_cases); i++) {
        broken_body_send(&tally, i);
        if (broken_cases[i].line && !strchr(broken_cases[i].body, '\n') &&
            broken_cases[i].body[0] == '{')
            broken_line_send(&tally, i);
    }
    tally_check(&tally);
}
END_TEST

/* ---- the three old endpoints ---- */

static const struct {
    const char *path, *body, *code, *field, *message;
} old_cases[] = {
    { "/track-metrics", "{}", "missing_field", "modelDeploymentCrn", "track_metrics needs it" },
    { "/track-metrics", "{\"modelDeploymentCrn\":\"crn\",\"predictionUuid\":\"abc\"}",
      "invalid_field", "predictionUuid", "not a UUID: \"abc\"" },
    { "/track-metrics", "[]", "not_an_object", NULL, "an event is a JSON object, not an array" },
    { "/track-metrics", "{\"event\":\"delayed_metrics\"}", "invalid_field", "event",
      "must be \"track_metrics\" at this endpoint, not \"delayed_metrics\"" },
    { "/track-metrics", "{\"metrics\":{\"x\":NaN}}", "invalid_value", "metrics.x",
      "NaN is not JSON; send null or leave the member out" },
    { "/track-delayed-metrics", "{\"metrics\":{}}", "missing_field", "predictionUuid",
      "delayed_metrics needs it" },
    { "/track-delayed-metrics", "{\"predictionUuid\":" UUID ",\"metrics\":[]}", "invalid_field",
      "metrics", "must be an object, not an array" },
    { "/track-aggregate-metrics",
      "{\"modelDeploymentCrn\":\"crn\",\"startTimestampMs\":" START
      ",\"endTimestampMs\":1704067199999,\"metrics\":{}}",
      "invalid_field", "endTimestampMs", "1704067199999 is before the start, 1704067200000" },
};

static const struct {
    const char *body, *code, *field, *message;
} read_cases[] = {
    { "[]", "invalid_json", NULL, "the body must be a JSON object" },
    { "{\"modelCrn\":1}", "invalid_field", "modelCrn", "\"modelCrn\" must be a string" },
    { "{\"modelCrn\":\"\"}", "invalid_field", "modelCrn",
      "\"modelCrn\" must have from 1 to 1024 bytes: it has 0" },
    { "{\"startTimestampMs\":\"1\"}", "invalid_field", "startTimestampMs",
      "\"startTimestampMs\" must be a whole number of milliseconds" },
    { "{\"startTimestampMs\":2,\"endTimestampMs\":1}", "invalid_parameter", "endTimestampMs",
      "the end (1) is before the start (2)" },
};

START_TEST(old_endpoints)
{
    AUTO(service_free) struct service *service = service_start();
    struct tally tally = { .service = service };

    for (size_t i = 0; i < LENGTH(old_cases); i++) {
        json_auto_t *answer = service_post(service, 400, old_cases[i].path, old_cases[i].body);

        tally.rejected++;
        service_check_error(answer, old_cases[i].code, old_cases[i].field, old_cases[i].message,
                            old_cases[i].body);
        good_follows(&tally);
    }
    for (size_t i = 0; i < LENGTH(read_cases); i++) {
        json_auto_t *answer = service_post(service, 400, "/read-metrics", read_cases[i].body);

        service_check_error(answer, read_cases[i].code, read_cases[i].field, read_cases[i].message,
                            read_cases[i].body);
        good_follows(&tally);
    }
    tally_check(&tally);
}
END_TEST

/* ---- bodies and requests ---- */

/* Bytes as a gzip body; its answer must be this error. */
static void gzip_send(struct tally *tally, const char *data, size_t len, long status,
                      const char *code, const char *message)
{
    static const char *const headers[] = { "Content-Type: application/x-ndjson",
                                           "Content-Encoding: gzip", NULL };
    AUTO(mem_free) char *url = daemon_url(tally->service->daemon, "/v1/events");
    struct http_request request = {
        .method = "POST", .url = url, .body = data, .len = len, .headers = headers
    };
    AUTO(http_answer_free) struct http_answer *answer = http_send(tally->service->http, &request);
    json_auto_t *error = NULL;

    ck_assert_msg(answer->status == status, "%ld%s %s", answer->status, answer->error,
                  answer->body);
    error = http_json(answer);
    service_check_error(error, code, NULL, message, message);
    good_follows(tally);
}

START_TEST(gzip_bodies)
{
    enum { BOMB_BYTES = 256 << 20, PEAK_BYTES_MAX = 128 << 20 };
    AUTO(service_free) struct service *service = service_start();
    struct tally tally = { .service = service };
    AUTO(mem_free) char *event = good_event(&tally);
    AUTO(mem_free) char *zeros = xcalloc(1, BOMB_BYTES);
    AUTO(mem_free) char *packed = NULL;
    AUTO(mem_free) char *bomb = NULL;
    AUTO(mem_free) char *cut_short = NULL;
    AUTO(mem_free) char *trailed = NULL;
    AUTO(mem_free) char *damaged = NULL;
    size_t len, bomb_len;

    tally.accepted--; /* it is never sent as it should be */
    packed = http_gzip(event, strlen(event), &len);
    cut_short = xasprintf("gzip stream is cut short after %zu bytes", len - 9);
    trailed = xasprintf("bytes behind the end of the gzip stream at byte %zu", len);
    gzip_send(&tally, packed, len - 9, 400, "invalid_gzip", cut_short);
    gzip_send(&tally, "no gzip", 7, 400, "invalid_gzip",
              "gzip stream is broken near byte 2: incorrect header check");
    packed = xrealloc(packed, len + 2);
    memcpy(packed + len, "xx", 2);
    gzip_send(&tally, packed, len + 2, 400, "invalid_gzip", trailed);
    packed[len - 6] ^= 1; /* in the checksum */
    damaged = xasprintf("gzip stream is broken near byte %zu: incorrect data check", len - 4);
    gzip_send(&tally, packed, len, 400, "invalid_gzip", damaged);
    bomb = http_gzip(zeros, BOMB_BYTES, &bomb_len);
    ck_assert_uint_lt(bomb_len, 4 << 20);
    gzip_send(&tally, bomb, bomb_len, 413, "too_large",
              "the body is larger than 16777216 bytes after decompression (body_bytes_max)");
    if (!runner_short()) /* a sanitizer has memory of its own */
        ck_assert_int_lt(daemon_peak_bytes(service->daemon), PEAK_BYTES_MAX);
    tally_check(&tally);
}
END_TEST

static const struct {
    const char *name, *method, *path, *type, *body;
    long status;
    const char *code, *field, *message, *allow;
} request_cases[] = {
    { "unknown path", "GET", "/v2", NULL, NULL, 404, "not_found", NULL, "no such path: \"/v2\"",
      NULL },
    { "the root", "GET", "/", NULL, NULL, 404, "not_found", NULL, "no such path: \"/\"", NULL },
    { "unknown path of a POST", "POST", "/track", "application/json", "{}", 404, "not_found", NULL,
      "no such path: \"/track\"", NULL },
    { "slash at the end", "POST", "/track-metrics/", "application/json", "{}", 404, "not_found",
      NULL, "no such path: \"/track-metrics/\"", NULL },
    { "long path", "GET",
      "/01234567890123456789012345678901234567890123456789012345678901234567890123456789", NULL,
      NULL, 404, "not_found", NULL,
      "no such path: \"/012345678901234567890123456789012345678901234567890123456789012\"", NULL },
    { "GET of what takes POST", "GET", "/v1/events", NULL, NULL, 405, "method_not_allowed", NULL,
      "/v1/events takes POST, not GET", "POST" },
    { "PUT", "PUT", "/track-metrics", "application/json", "{}", 405, "method_not_allowed", NULL,
      "/track-metrics takes POST, not PUT", "POST" },
    { "POST of what takes GET", "POST", "/v1/metrics", "application/json", "{}", 405,
      "method_not_allowed", NULL, "/v1/metrics takes GET, HEAD, not POST", "GET, HEAD" },
    { "DELETE", "DELETE", "/v1/deployments/crn%3Ax", NULL, NULL, 405, "method_not_allowed", NULL,
      "/v1/deployments/{crn} takes GET, HEAD, not DELETE", "GET, HEAD" },
    { "a method that there is not", "BREW", "/healthz", NULL, NULL, 405, "method_not_allowed", NULL,
      "/healthz takes GET, HEAD, not BREW", "GET, HEAD" },
    { "unknown parameter", "GET", "/v1/metrics?model=m", NULL, NULL, 400, "unknown_parameter",
      "model", "unknown query parameter \"model\"", NULL },
    { "parameter where none is", "GET", "/healthz?verbose=1", NULL, NULL, 400, "unknown_parameter",
      "verbose", "unknown query parameter \"verbose\"", NULL },
    { "parameter without a value", "GET", "/v1/balance?all", NULL, NULL, 400, "unknown_parameter",
      "all", "unknown query parameter \"all\"", NULL },
    { "parameter of a POST", "POST", "/v1/events?sync=1", "application/json", "{}", 400,
      "unknown_parameter", "sync", "unknown query parameter \"sync\"", NULL },
    { "parameter badly encoded", "GET", "/v1/metrics?key=%zz", NULL, NULL, 400, "invalid_parameter",
      "key", "\"key\" is not properly percent-encoded: \"%zz\"", NULL },
    { "path badly encoded", "GET", "/v1/deployments/crn%3", NULL, NULL, 400, "invalid_path", NULL,
      "the path is not properly percent-encoded: \"crn%3\"", NULL },
    { "Content-Type", "POST", "/v1/events", "text/html", "{}", 415, "unsupported_media_type",
      "Content-Type",
      "Content-Type \"text/html\" is not known here: send application/json, application/x-ndjson "
      "(also application/ndjson, application/jsonl)",
      NULL },
    { "NDJSON at an old endpoint", "POST", "/track-metrics", "application/x-ndjson", "{}", 415,
      "unsupported_media_type", "Content-Type",
      "Content-Type \"application/x-ndjson\" is not known here: send application/json", NULL },
};

static void request_send(struct tally *tally, size_t i)
{
    AUTO(mem_free) char *url = daemon_url(tally->service->daemon, request_cases[i].path);
    AUTO(mem_free)
    char *type = xasprintf("Content-Type: %s",
                           request_cases[i].type ? request_cases[i].type : "application/json");
    const char *const headers[] = { type, NULL };
    struct http_request request = { .method = request_cases[i].method,
                                    .url = url,
                                    .body = request_cases[i].body,
                                    .headers = headers };
    AUTO(http_answer_free) struct http_answer *answer = http_send(tally->service->http, &request);
    AUTO(mem_free) char *allow = http_header(answer, "Allow");
    json_auto_t *error = http_json(answer);

    ck_assert_msg(answer->status == request_cases[i].status, "%s: %ld %s", request_cases[i].name,
                  answer->status, answer->body);
    service_check_error(error, request_cases[i].code, request_cases[i].field,
                        request_cases[i].message, request_cases[i].name);
    if (request_cases[i].allow)
        ck_assert_str_eq(allow, request_cases[i].allow);
    else
        ck_assert_ptr_null(allow);
    good_follows(tally);
}

START_TEST(bad_requests)
{
    AUTO(service_free) struct service *service = service_start();
    struct tally tally = { .service = service };
    AUTO(mem_free) char *large = repeat("                                ", (16 << 20) / 32 + 1);
    json_auto_t *error = NULL;

    for (size_t i = 0; i < LENGTH(request_cases); i++)
        request_send(&tally, i);
    large[0] = '{'; /* or it goes as NDJSON */
    error = service_post(service, 413, "/v1/events", large);
    service_check_error(error, "too_large", NULL,
                        "the body is larger than 16777216 bytes (body_bytes_max)", "body");
    good_follows(&tally);
    tally_check(&tally);
}
END_TEST

/* ---- what is no HTTP, or never comes to an end ---- */

#define POST_HEAD                                                                                  \
    "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
#define EVENT TRACK("{}")

static const struct {
    const char *name, *bytes;
    const char *want; /* begins the answer; "" : none before it closes */
} raw_cases[] = {
    { "Content-Length beyond the body", POST_HEAD "Content-Length: 5000\r\n\r\n" EVENT, "" },
    { "Content-Length that cuts the body", POST_HEAD "Content-Length: 30\r\n\r\n" EVENT,
      "HTTP/1.1 400 Bad Request\r\n" },
    { "Content-Length of no number", POST_HEAD "Content-Length: many\r\n\r\n" EVENT,
      "HTTP/1.1 400 Bad Request\r\n" },
    { "negative Content-Length", POST_HEAD "Content-Length: -5\r\n\r\n" EVENT,
      "HTTP/1.1 400 Bad Request\r\n" },
    { "chunk of no size", POST_HEAD "Transfer-Encoding: chunked\r\n\r\nxyz\r\n" EVENT,
      "HTTP/1.1 400 Bad Request\r\n" },
    { "chunks without the last", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n",
      "" },
    { "head without its end", "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n", "" },
    { "a word", "hello\r\n\r\n", "" },
    { "nothing", "", "" },
};

/* All at the same time: most of them end by a time-out. */
static void raw_cases_send(struct tally *tally)
{
    int fds[LENGTH(raw_cases)];

    for (size_t i = 0; i < LENGTH(raw_cases); i++) {
        fds[i] = http_raw_open(daemon_port(tally->service->daemon));
        ck_assert_int_eq(http_raw_send_text(fds[i], raw_cases[i].bytes), 0);
        good_follows(tally);
    }
    for (size_t i = 0; i < LENGTH(raw_cases); i++) {
        bool closed;
        AUTO(mem_free) char *answer = http_raw_read(fds[i], wait_scaled_ms(10000), &closed);

        ck_assert_msg(closed, "%s: still open, %s", raw_cases[i].name, answer);
        ck_assert_msg(strncmp(answer, raw_cases[i].want, strlen(raw_cases[i].want)) == 0 &&
                          (*raw_cases[i].want || !strstr(answer, " 200 ")),
                      "%s: %s", raw_cases[i].name, answer);
        (void)close(fds[i]);
        good_follows(tally);
    }
}

/* Many connections that send a byte now and then: each is closed, and they hold up nobody. */
static void slow_loris(struct tally *tally)
{
    enum { LORIS = 100, LORIS_MS_MAX = 20000 };
    static const char *const starts[] = { "GET /v1/metrics HTTP/1.1\r\nHost: ",
                                          POST_HEAD "Content-Length: 100000\r\n\r\n{\"event\":\"" };
    int64_t end_ms = clock_mono_ms() + wait_scaled_ms(LORIS_MS_MAX);
    int fds[LORIS], open = LORIS;

    for (int i = 0; i < LORIS; i++) {
        fds[i] = http_raw_open(daemon_port(tally->service->daemon));
        ck_assert_int_eq(http_raw_send_text(fds[i], starts[i % 2]), 0);
    }
    while (open) {
        ck_assert_msg(clock_mono_ms() < end_ms, "%d of %d are still open", open, LORIS);
        good_follows(tally);
        for (int i = 0; i < LORIS; i++) {
            if (fds[i] < 0 || http_raw_send_text(fds[i], "x") == 0)
                continue;
            (void)close(fds[i]);
            fds[i] = -1;
            open--;
        }
        wait_nap();
    }
}

START_TEST(not_http)
{
    static const char *const environment[] = { "PLUMBLINE_REQUEST_TIMEOUT_MS=1s",
                                               "PLUMBLINE_IDLE_TIMEOUT_MS=2s", NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = environment });
    struct tally tally = { .service = service };

    raw_cases_send(&tally);
    slow_loris(&tally);
    ck_assert_int_ge(service_sample(service, "plumbline_http_connections_expired_total"), 100);
    tally_check(&tally);
}
END_TEST

/* Postgres compares what has the same identity as jsonb: every number that is taken must be one. */
START_TEST(numbers_at_the_limit)
{
    static const char *const numbers[] = {
        "1e-16000",
        "1.2345678901234567890123456789012345678901234567890123456e-16000",
        "0e16000",
        "-0e-16000",
        "1.7976931348623157e308",
        "1e-0400",
    };
    AUTO(service_free) struct service *service = service_start();

    for (size_t i = 0; i < LENGTH(numbers); i++) {
        AUTO(mem_free)
        char *event = xasprintf("{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:limit\","
                                "\"predictionUuid\":\"00000000-0000-4000-8000-%012zx\","
                                "\"startTimestampMs\":" START ",\"endTimestampMs\":" START
                                ",\"metrics\":{\"x\":%s}}",
                                i, numbers[i]);
        AUTO(mem_free)
        char *label = xasprintf("{\"event\":\"delayed_metrics\",\"eventId\":" UUID
                                ",\"predictionUuid\":\"00000000-0000-4000-8000-%012zx\","
                                "\"metrics\":{\"y\":%s}}",
                                i, numbers[i]);
        AUTO(mem_free) char *other = xmemdup0(event, strlen(event));
        json_auto_t *conflict = NULL, *again = NULL;

        memcpy(strstr(other, "\"x\""), "\"z\"", 3);
        service_take(service, event);
        conflict = service_post(service, 409, "/v1/events", other);
        service_take(service, label);
        again = service_post(service, 200, "/v1/events", label);
        ck_assert_msg(service_number(again, "duplicate") == 1, "%s", numbers[i]);
    }
}
END_TEST

Suite *bad_input_suite(void)
{
    Suite *suite = suite_create("bad_input");
    TCase *tcase = tcase_create("bad_input");

    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, bad_events);
    tcase_add_test(tcase, too_deep);
    tcase_add_test(tcase, too_long);
    tcase_add_test(tcase, metrics_too_large);
    tcase_add_test(tcase, broken_json);
    tcase_add_test(tcase, old_endpoints);
    tcase_add_test(tcase, gzip_bodies);
    tcase_add_test(tcase, bad_requests);
    tcase_add_test(tcase, not_http);
    tcase_add_test(tcase, numbers_at_the_limit);
    suite_add_tcase(suite, tcase);
    return suite;
}
