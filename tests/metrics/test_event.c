#include "metrics/event.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "metrics/json.h"

#define UUID "12f34405-38fa-42de-9ed4-68dbd82d36f6"
#define UUID2 "205bb538-3016-48a4-a1bf-d1598d4bd67d"
#define SPAN_MS "\"startTimestampMs\":1596185125125,\"endTimestampMs\":1596185125233"
/* One sound event of each kind, open at its end: add members and "}". */
#define TRACK                                                                                      \
    "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:d\",\"predictionUuid\":\"" UUID     \
    "\"," SPAN_MS ",\"metrics\":{\"a\":1}"
#define DELAYED                                                                                    \
    "{\"event\":\"delayed_metrics\",\"predictionUuid\":\"" UUID "\",\"metrics\":{\"a\":1}"
#define AGGREGATE                                                                                  \
    "{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"crn:d\"," SPAN_MS                   \
    ",\"metrics\":{\"a\":1}"
/* track_metrics without one of its members: add that one. */
#define TRACK_NO_CRN                                                                               \
    "{\"event\":\"track_metrics\",\"predictionUuid\":\"" UUID "\"," SPAN_MS ",\"metrics\":{}"
#define TRACK_NO_UUID                                                                              \
    "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:d\"," SPAN_MS ",\"metrics\":{}"
#define TRACK_NO_TIME                                                                              \
    "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:d\",\"predictionUuid\":\"" UUID     \
    "\",\"metrics\":{}"
#define TRACK_NO_METRICS                                                                           \
    "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:d\",\"predictionUuid\":\"" UUID     \
    "\"," SPAN_MS

static const struct event_limits limits = {
    .metrics_bytes_max = 1000,
    .events_max = 2000,
    .memory_bytes_max = 1 << 20,
    .depth_max = 32,
    .time_ms_min = 946684800000,  /* 2000-01-01 */
    .time_ms_max = 1893456000000, /* 2030-01-01 */
};

/* A body decoded: what a test looks at, and the memory it lies in. */
struct decoded {
    struct event_decoder *decoder;
    char *body;
    struct event_list list;
    struct err err;
    int rc;
};

static struct decoded decode_with(const char *text, size_t len, enum event_format format,
                                  const struct event_limits *with)
{
    struct decoded decoded = { .decoder = event_decoder_new(1) };

    decoded.body = malloc(len ? len : 1); /* exactly as long, for the sanitizer */
    memcpy(decoded.body, text, len);
    decoded.rc =
        event_decode(decoded.decoder, decoded.body, len, format, with, &decoded.list, &decoded.err);
    return decoded;
}

static struct decoded decode(const char *text)
{
    return decode_with(text, strlen(text), EVENT_FORMAT_JSON, &limits);
}

static struct decoded decode_ndjson(const char *text)
{
    return decode_with(text, strlen(text), EVENT_FORMAT_NDJSON, &limits);
}

static struct decoded decode_as(const char *text, enum event_kind kind)
{
    struct decoded decoded = { .decoder = event_decoder_new(1), .body = xstrdup(text) };

    decoded.rc = event_decode_as(decoded.decoder, kind, decoded.body, strlen(text), &limits,
                                 &decoded.list, &decoded.err);
    return decoded;
}

static void decoded_free(struct decoded *decoded)
{
    event_list_done(&decoded->list);
    event_decoder_free(decoded->decoder);
    free(decoded->body);
}

static void check_balance(const struct event_list *list)
{
    uint64_t received = 0, rejected = 0;

    for (size_t kind = 0; kind < EVENT_KINDS; kind++) {
        ck_assert_uint_le(list->rejected[kind], list->received[kind]);
        received += list->received[kind];
        rejected += list->rejected[kind];
    }
    ck_assert_uint_eq(received, list->len + rejected);
    ck_assert_uint_eq(rejected, list->rejects.count);
}

static const struct {
    const char *name, *body;
    enum event_kind kind;
} good_cases[] = {
    { "track", TRACK "}", EVENT_TRACK_METRICS },
    { "delayed", DELAYED "}", EVENT_DELAYED_METRICS },
    { "aggregate", AGGREGATE "}", EVENT_AGGREGATE_METRICS },
    { "white space", " \n" TRACK "} \n", EVENT_TRACK_METRICS },
    { "nulls for what is optional",
      TRACK ",\"modelBuildCrn\":null,\"modelCrn\":null,\"replica\":null,\"failed\":null}",
      EVENT_TRACK_METRICS },
    { "everything",
      TRACK ",\"modelBuildCrn\":\"b\",\"modelCrn\":\"m\",\"replica\":\"r\",\"failed\":true}",
      EVENT_TRACK_METRICS },
    { "empty replica", TRACK ",\"replica\":\"\"}", EVENT_TRACK_METRICS },
    { "spelling of answers",
      TRACK_NO_TIME ",\"startTimeStampMs\":1596185125125,\"endTimeStampMs\":1596185125125}",
      EVENT_TRACK_METRICS },
    { "mixed spelling",
      TRACK_NO_TIME ",\"startTimestampMs\":1596185125125,\"endTimeStampMs\":1596185125125}",
      EVENT_TRACK_METRICS },
    { "earliest and latest",
      TRACK_NO_TIME ",\"startTimestampMs\":946684800000,\"endTimestampMs\":1893456000000}",
      EVENT_TRACK_METRICS },
    { "upper case UUID",
      TRACK_NO_UUID ",\"predictionUuid\":\"12F34405-38FA-42DE-9ED4-68DBD82D36F6\"}",
      EVENT_TRACK_METRICS },
    { "escaped kind",
      "{\"event\":\"delayed\\u005fmetrics\",\"predictionUuid\":\"\\u00312f34405-38fa-42de-9ed4-"
      "68dbd82d36f6\",\"metrics\":{}}",
      EVENT_DELAYED_METRICS },
    { "escaped member",
      "{\"\\u0065vent\":\"delayed_metrics\",\"predictionUuid\":\"" UUID "\",\"metrics\":{}}",
      EVENT_DELAYED_METRICS },
    { "label of an old client", DELAYED ",\"modelDeploymentCrn\":\"crn:d\"}",
      EVENT_DELAYED_METRICS },
    { "label with a hint", DELAYED ",\"startTimestampMs\":1596185125125,\"eventId\":\"" UUID2 "\"}",
      EVENT_DELAYED_METRICS },
    { "aggregate with an id", AGGREGATE ",\"eventId\":\"" UUID2 "\",\"replica\":\"r\"}",
      EVENT_AGGREGATE_METRICS },
    { "created", "{\"event\":\"project_created\"}", EVENT_PROJECT_CREATED },
    { "built", "{\"event\":\"model_built\",\"linkingFile\":\"\"}", EVENT_MODEL_BUILT },
    { "deployed", "{\"event\":\"model_deployed\",\"whatever\":[1, 2]}", EVENT_MODEL_DEPLOYED },
    { "kind last", "{\"predictionUuid\":\"" UUID "\",\"metrics\":{},\"event\":\"delayed_metrics\"}",
      EVENT_DELAYED_METRICS },
};

START_TEST(good_case)
{
    struct decoded d = decode(good_cases[_i].body);

    ck_assert_msg(d.rc == 0, "%s: %s", good_cases[_i].name, d.err.text);
    ck_assert_msg(d.list.len == 1, "%s: %s", good_cases[_i].name,
                  d.list.rejects.len ? d.list.rejects.items[0].message : "nothing");
    ck_assert_int_eq(d.list.events[0].kind, good_cases[_i].kind);
    ck_assert_uint_eq(d.list.warnings.count, 0);
    ck_assert_uint_eq(d.list.received[good_cases[_i].kind], 1);
    ck_assert(d.list.is_single);
    check_balance(&d.list);
    decoded_free(&d);
}
END_TEST

START_TEST(all_members_arrive)
{
    struct decoded d =
        decode("{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:\\u00e9\\/\","
               "\"modelBuildCrn\":\"b\",\"modelCrn\":\"m\",\"replica\":\"r\\n\",\"failed\":true,"
               "\"predictionUuid\":\"" UUID "\"," SPAN_MS
               ",\"metrics\" : { \"a b\" : [ 1.0 , 1e22 ] , \"c\" : \" x \\\" y \" } }");
    const struct event *event = &d.list.events[0];
    char uuid[UUID_TEXT_LEN + 1];

    ck_assert_uint_eq(d.list.len, 1);
    ck_assert(span_is(event->deployment_crn, "crn:\xC3\xA9/"));
    ck_assert(span_is(event->build_crn, "b"));
    ck_assert(span_is(event->model_crn, "m"));
    ck_assert(span_is(event->replica, "r\n"));
    ck_assert(event->failed);
    ck_assert(event->has_start);
    ck_assert(!event->has_event_id);
    uuid_format(&event->uuid, uuid);
    ck_assert_str_eq(uuid, UUID);
    ck_assert_int_eq(event->start_ms, 1596185125125);
    ck_assert_int_eq(event->end_ms, 1596185125233);
    ck_assert(span_is(event->metrics, "{\"a b\":[1.0,1e22],\"c\":\" x \\\" y \"}"));
    ck_assert_ptr_null(event->text.data);
    decoded_free(&d);
}
END_TEST

START_TEST(what_is_absent_has_no_data)
{
    struct decoded d = decode(DELAYED ",\"modelDeploymentCrn\":null,\"eventId\":null}");
    const struct event *event = &d.list.events[0];

    ck_assert_uint_eq(d.list.len, 1);
    ck_assert_ptr_null(event->deployment_crn.data);
    ck_assert_ptr_null(event->build_crn.data);
    ck_assert_ptr_null(event->model_crn.data);
    ck_assert_ptr_null(event->replica.data);
    ck_assert(!event->has_start && !event->has_event_id && !event->failed);
    decoded_free(&d);
}
END_TEST

START_TEST(lineage_keeps_its_text)
{
    static const char text[] = "{ \"event\" : \"model_deployed\", \"metrics\" : { \"a\": 1 } }";
    struct decoded d = decode_with(text, sizeof(text) - 1, EVENT_FORMAT_JSON, &limits);

    ck_assert_uint_eq(d.list.len, 1);
    ck_assert(d.list.has_lineage);
    ck_assert(span_is(d.list.events[0].text, text));
    ck_assert_uint_eq(d.list.warnings.count, 0);
    ck_assert_mem_eq(d.body, text, sizeof(text) - 1);
    decoded_free(&d);
}
END_TEST

static const struct {
    const char *body, *code, *field, *message;
    enum event_kind kind;
} reject_cases[] = {
    { "1", "not_an_object", NULL, "an event is a JSON object, not a number", EVENT_UNKNOWN },
    { "null", "not_an_object", NULL, "an event is a JSON object, not null", EVENT_UNKNOWN },
    { "\"x\"", "not_an_object", NULL, "an event is a JSON object, not text", EVENT_UNKNOWN },
    { "hello", "not_an_object", NULL, "an event is a JSON object, not a bare word", EVENT_UNKNOWN },
    { "{}", "missing_field", "event", "every event needs it, for example \"track_metrics\"",
      EVENT_UNKNOWN },
    { "{\"event\":null}", "invalid_field", "event", "must be text, not null", EVENT_UNKNOWN },
    { "{\"event\":5}", "invalid_field", "event", "must be text, not a number", EVENT_UNKNOWN },
    { "{\"event\":\"track\"}", "unknown_event", "event", "not an event: \"track\"", EVENT_UNKNOWN },
    { "{\"event\":\"unknown\"}", "unknown_event", "event", "not an event: \"unknown\"",
      EVENT_UNKNOWN },
    { TRACK ",\"x\":NaN}", "invalid_value", "x",
      "NaN is not JSON; send null or leave the member out", EVENT_TRACK_METRICS },
    { TRACK_NO_METRICS ",\"metrics\":{\"input_data\":{\"tenure\":NaN}}}", "invalid_value",
      "metrics.input_data.tenure", "NaN is not JSON; send null or leave the member out",
      EVENT_TRACK_METRICS },
    { TRACK_NO_METRICS ",\"metrics\":{\"a\":[0,1,2,-Infinity]}}", "invalid_value", "metrics.a[3]",
      "-Infinity is not JSON; send null or a finite number", EVENT_TRACK_METRICS },
    { TRACK ",\"metrics\":{}}", "invalid_value", "metrics",
      "there is a second member of this name; send one", EVENT_TRACK_METRICS },
    { "{\"event\":\"model_deployed\",\"a\":1,\"a\":1}", "invalid_value", "a",
      "there is a second member of this name; send one", EVENT_MODEL_DEPLOYED },
    { "{\"\\ud800\":1}", "invalid_value", NULL,
      "holds the surrogate \\ud800 without its other half; send the character itself or both "
      "halves",
      EVENT_UNKNOWN },
    { TRACK_NO_CRN "}", "missing_field", "modelDeploymentCrn", "track_metrics needs it",
      EVENT_TRACK_METRICS },
    { TRACK_NO_CRN ",\"modelDeploymentCrn\":null}", "invalid_field", "modelDeploymentCrn",
      "must not be null", EVENT_TRACK_METRICS },
    { TRACK_NO_CRN ",\"modelDeploymentCrn\":\"\"}", "invalid_field", "modelDeploymentCrn",
      "must not be empty", EVENT_TRACK_METRICS },
    { TRACK_NO_CRN ",\"modelDeploymentCrn\":5}", "invalid_field", "modelDeploymentCrn",
      "must be text, not a number", EVENT_TRACK_METRICS },
    { TRACK ",\"modelBuildCrn\":{}}", "invalid_field", "modelBuildCrn",
      "must be text, not an object", EVENT_TRACK_METRICS },
    { TRACK ",\"modelCrn\":\"\"}", "invalid_field", "modelCrn", "must not be empty",
      EVENT_TRACK_METRICS },
    { TRACK ",\"replica\":true}", "invalid_field", "replica", "must be text, not true",
      EVENT_TRACK_METRICS },
    { TRACK ",\"failed\":\"true\"}", "invalid_field", "failed", "must be true or false, not text",
      EVENT_TRACK_METRICS },
    { TRACK ",\"failed\":0}", "invalid_field", "failed", "must be true or false, not a number",
      EVENT_TRACK_METRICS },
    { TRACK_NO_UUID "}", "missing_field", "predictionUuid", "track_metrics needs it",
      EVENT_TRACK_METRICS },
    { TRACK_NO_UUID ",\"predictionUuid\":\"abc\"}", "invalid_field", "predictionUuid",
      "not a UUID: \"abc\"", EVENT_TRACK_METRICS },
    { TRACK_NO_UUID ",\"predictionUuid\":\"a\\nb\"}", "invalid_field", "predictionUuid",
      "not a UUID: \"a?b\"", EVENT_TRACK_METRICS },
    { TRACK_NO_UUID ",\"predictionUuid\":7}", "invalid_field", "predictionUuid",
      "must be a UUID as text, not a number", EVENT_TRACK_METRICS },
    { TRACK_NO_UUID ",\"predictionUuid\":\"12f3440538fa42de9ed468dbd82d36f6\"}", "invalid_field",
      "predictionUuid", "not a UUID: \"12f3440538fa42de9ed468dbd82d36f6\"", EVENT_TRACK_METRICS },
    { TRACK_NO_UUID ",\"predictionUuid\":"
                    "\"0123456789012345678901234567890123456789012345678901234567890123456\"}",
      "invalid_field", "predictionUuid",
      "not a UUID: \"0123456789012345678901234567890123456789012345678901234567890123...\"",
      EVENT_TRACK_METRICS },
    { TRACK_NO_TIME ",\"endTimestampMs\":1596185125233}", "missing_field", "startTimestampMs",
      "track_metrics needs it", EVENT_TRACK_METRICS },
    { TRACK_NO_TIME ",\"startTimestampMs\":1596185125233}", "missing_field", "endTimestampMs",
      "track_metrics needs it", EVENT_TRACK_METRICS },
    { TRACK_NO_TIME ",\"startTimestampMs\":1.5,\"endTimestampMs\":1596185125233}", "invalid_field",
      "startTimestampMs", "must be a whole number of milliseconds since 1970, not 1.5",
      EVENT_TRACK_METRICS },
    { TRACK_NO_TIME ",\"startTimeStampMs\":1e12,\"endTimestampMs\":1596185125233}", "invalid_field",
      "startTimeStampMs", "must be a whole number of milliseconds since 1970, not 1e12",
      EVENT_TRACK_METRICS },
    { TRACK_NO_TIME ",\"startTimestampMs\":\"1596185125125\",\"endTimestampMs\":1596185125233}",
      "invalid_field", "startTimestampMs",
      "must be a whole number of milliseconds since 1970, not text", EVENT_TRACK_METRICS },
    { TRACK_NO_TIME ",\"startTimestampMs\":1596185125125,\"endTimestampMs\":false}",
      "invalid_field", "endTimestampMs",
      "must be a whole number of milliseconds since 1970, not false", EVENT_TRACK_METRICS },
    { TRACK_NO_TIME ",\"startTimestampMs\":null,\"endTimestampMs\":1596185125233}", "invalid_field",
      "startTimestampMs", "must not be null", EVENT_TRACK_METRICS },
    { TRACK_NO_TIME ",\"startTimestampMs\":1596185125,\"endTimestampMs\":1596185125233}",
      "invalid_field", "startTimestampMs",
      "1596185125 is before 2000-01-01T00:00:00.000Z; send milliseconds since 1970",
      EVENT_TRACK_METRICS },
    { TRACK_NO_TIME ",\"startTimestampMs\":946684799999,\"endTimestampMs\":1596185125233}",
      "invalid_field", "startTimestampMs",
      "946684799999 is before 2000-01-01T00:00:00.000Z; send milliseconds since 1970",
      EVENT_TRACK_METRICS },
    { TRACK_NO_TIME ",\"startTimestampMs\":-1,\"endTimestampMs\":1596185125233}", "invalid_field",
      "startTimestampMs", "-1 is before 2000-01-01T00:00:00.000Z; send milliseconds since 1970",
      EVENT_TRACK_METRICS },
    { TRACK_NO_TIME ",\"startTimestampMs\":1596185125233,\"endTimestampMs\":1893456000001}",
      "invalid_field", "endTimestampMs",
      "1893456000001 is after 2030-01-01T00:00:00.000Z, too far in the future; "
      "send milliseconds since 1970",
      EVENT_TRACK_METRICS },
    { TRACK_NO_TIME ",\"startTimestampMs\":9223372036854775808,\"endTimestampMs\":1}",
      "invalid_field", "startTimestampMs",
      "must be a whole number of milliseconds since 1970, not 9223372036854775808",
      EVENT_TRACK_METRICS },
    { TRACK_NO_TIME ",\"startTimestampMs\":1596185125125,\"endTimestampMs\":1596185125124}",
      "invalid_field", "endTimestampMs", "1596185125124 is before the start, 1596185125125",
      EVENT_TRACK_METRICS },
    { TRACK ",\"startTimeStampMs\":1596185125125}", "invalid_field", "startTimeStampMs",
      "is there twice, in two spellings; send one", EVENT_TRACK_METRICS },
    { TRACK_NO_METRICS "}", "missing_field", "metrics", "track_metrics needs it",
      EVENT_TRACK_METRICS },
    { TRACK_NO_METRICS ",\"metrics\":null}", "invalid_field", "metrics", "must not be null",
      EVENT_TRACK_METRICS },
    { TRACK_NO_METRICS ",\"metrics\":[]}", "invalid_field", "metrics",
      "must be an object, not an array", EVENT_TRACK_METRICS },
    { TRACK_NO_METRICS ",\"metrics\":\"{}\"}", "invalid_field", "metrics",
      "must be an object, not text", EVENT_TRACK_METRICS },
    { DELAYED ",\"eventId\":\"x\"}", "invalid_field", "eventId", "not a UUID: \"x\"",
      EVENT_DELAYED_METRICS },
    { DELAYED ",\"startTimestampMs\":5}", "invalid_field", "startTimestampMs",
      "5 is before 2000-01-01T00:00:00.000Z; send milliseconds since 1970", EVENT_DELAYED_METRICS },
    { DELAYED ",\"modelDeploymentCrn\":\"\"}", "invalid_field", "modelDeploymentCrn",
      "must not be empty", EVENT_DELAYED_METRICS },
    { "{\"event\":\"delayed_metrics\",\"metrics\":{}}", "missing_field", "predictionUuid",
      "delayed_metrics needs it", EVENT_DELAYED_METRICS },
    { "{\"event\":\"aggregate_metrics\",\"metrics\":{}," SPAN_MS "}", "missing_field",
      "modelDeploymentCrn", "aggregate_metrics needs it", EVENT_AGGREGATE_METRICS },
    { AGGREGATE ",\"eventId\":1}", "invalid_field", "eventId",
      "must be a UUID as text, not a number", EVENT_AGGREGATE_METRICS },
};

START_TEST(reject_case)
{
    struct decoded d = decode(reject_cases[_i].body);
    const struct event_note *note;

    ck_assert_msg(d.rc == 0, "%s: %s", reject_cases[_i].body, d.err.text);
    ck_assert_msg(d.list.len == 0 && d.list.rejects.len == 1, "%s", reject_cases[_i].body);
    note = &d.list.rejects.items[0];
    ck_assert_str_eq(note->code, reject_cases[_i].code);
    ck_assert_pstr_eq(note->field, reject_cases[_i].field);
    ck_assert_str_eq(note->message, reject_cases[_i].message);
    ck_assert_uint_eq(note->index, 0);
    ck_assert_uint_eq(note->line, 0);
    ck_assert_uint_eq(d.list.received[reject_cases[_i].kind], 1);
    ck_assert_uint_eq(d.list.warnings.count, 0);
    ck_assert_mem_eq(d.body, reject_cases[_i].body, strlen(reject_cases[_i].body));
    check_balance(&d.list);
    decoded_free(&d);
}
END_TEST

static const struct {
    const char *body, *text;
} broken_cases[] = {
    { "", "the body is empty; send a JSON object" },
    { " \n ", "the body is empty; send a JSON object" },
    { "\xEF\xBB\xBF" TRACK "}",
      "line 1, column 1: begins with a byte order mark; send UTF-8 without it" },
    { TRACK, "line 1, column 192: the text ends inside an object" },
    { TRACK "}}", "line 1, column 193: something follows the end of the value" },
    { TRACK "}\n" TRACK "}", "line 2, column 1: something follows the end of the value" },
    { "[" TRACK "},\n" TRACK "} " TRACK "}]",
      "line 2, column 194: expected ',' or ']' after an element" },
    { "[" TRACK "},\n{\"a\" 1}]", "line 2, column 6: expected ':' after the name of a member" },
    { "[" TRACK "},]", "line 1, column 195: expected a value" },
    { "[" TRACK "}", "line 1, column 194: the text ends inside an array" },
    { "[1,2", "line 1, column 5: the text ends inside an array" },
    { "[", "line 1, column 2: the text ends inside an array" },
    { "{", "line 1, column 2: expected the name of a member in double quotes" },
    { "]", "line 1, column 1: expected a value" },
    { "[] []", "line 1, column 4: something follows the end of the value" },
    { "modelDeploymentCrn=a&metrics=b,c",
      "line 1, column 31: something follows the end of the value" },
};

START_TEST(broken_case)
{
    struct decoded d = decode(broken_cases[_i].body);

    ck_assert_msg(d.rc == -1, "%s", broken_cases[_i].body);
    ck_assert_int_eq(d.err.kind, ERR_INPUT);
    ck_assert_str_eq(d.err.text, broken_cases[_i].text);
    ck_assert_str_eq(d.list.error_code, "invalid_json");
    ck_assert_ptr_null(d.list.events);
    ck_assert_uint_eq(d.list.len + d.list.rejects.count + d.list.received[EVENT_UNKNOWN], 0);
    decoded_free(&d);
}
END_TEST

START_TEST(neighbours_are_not_spoilt)
{
    struct decoded d =
        decode("[" TRACK "}, NaN, " DELAYED "},{\"event\":\"track_metrics\"},[]," TRACK
               ",\"failed\":\"\\u0000\"}," AGGREGATE "},\"x\"]");
    static const uint32_t accepted[] = { 0, 2, 6 }, rejected[] = { 1, 3, 4, 5, 7 };
    static const char *const codes[] = { "not_an_object", "missing_field", "not_an_object",
                                         "invalid_value", "not_an_object" };

    ck_assert_int_eq(d.rc, 0);
    ck_assert(!d.list.is_single);
    ck_assert_uint_eq(d.list.len, LENGTH(accepted));
    for (size_t i = 0; i < LENGTH(accepted); i++)
        ck_assert_uint_eq(d.list.events[i].index, accepted[i]);
    ck_assert_uint_eq(d.list.rejects.len, LENGTH(rejected));
    for (size_t i = 0; i < LENGTH(rejected); i++) {
        ck_assert_uint_eq(d.list.rejects.items[i].index, rejected[i]);
        ck_assert_str_eq(d.list.rejects.items[i].code, codes[i]);
    }
    check_balance(&d.list);
    decoded_free(&d);
}
END_TEST

START_TEST(empty_array_is_no_event)
{
    struct decoded d = decode(" [ ] ");

    ck_assert_int_eq(d.rc, 0);
    ck_assert_uint_eq(d.list.len, 0);
    ck_assert(!d.list.is_single);
    check_balance(&d.list);
    decoded_free(&d);
}
END_TEST

START_TEST(ndjson_lines_are_alone)
{
    struct decoded d = decode_ndjson("\n" TRACK "}\r\n  \n{\"a\":\n" DELAYED "} x\n" DELAYED
                                     "}\n[" DELAYED "}]\n" AGGREGATE "}");
    const struct event_note *notes = d.list.rejects.items;

    ck_assert_int_eq(d.rc, 0);
    ck_assert_uint_eq(d.list.len, 3);
    ck_assert(!d.list.is_single);
    ck_assert_uint_eq(d.list.events[0].index, 0);
    ck_assert_uint_eq(d.list.events[1].index, 3);
    ck_assert_uint_eq(d.list.events[2].index, 5);
    ck_assert_uint_eq(d.list.rejects.len, 3);
    ck_assert_uint_eq(notes[0].index, 1);
    ck_assert_str_eq(notes[0].code, "invalid_json");
    ck_assert_str_eq(notes[0].message, "the text ends where a value belongs");
    ck_assert_uint_eq(notes[0].line, 4);
    ck_assert_uint_eq(notes[0].column, 6);
    ck_assert_uint_eq(notes[1].index, 2);
    ck_assert_str_eq(notes[1].message, "something follows the end of the value");
    ck_assert_uint_eq(notes[1].line, 5);
    ck_assert_str_eq(notes[2].code, "not_an_object");
    check_balance(&d.list);
    decoded_free(&d);
}
END_TEST

START_TEST(ndjson_may_be_empty)
{
    struct decoded d = decode_ndjson("\n \r\n");

    ck_assert_int_eq(d.rc, 0);
    check_balance(&d.list);
    decoded_free(&d);
    d = decode_ndjson("\xEF\xBB\xBF" TRACK "}\n" TRACK "}");
    ck_assert_uint_eq(d.list.len, 1);
    ck_assert_str_eq(d.list.rejects.items[0].message,
                     "begins with a byte order mark; send UTF-8 without it");
    ck_assert_uint_eq(d.list.rejects.items[0].line, 1);
    decoded_free(&d);
}
END_TEST

START_TEST(unknown_members_are_told)
{
    struct decoded d =
        decode("[" TRACK "}," TRACK ",\"zz\\u0061\":[1,2],\"eventId\":\"x\"},{\"a\":1}]");

    ck_assert_uint_eq(d.list.len, 2);
    ck_assert_uint_eq(d.list.warnings.len, 2);
    ck_assert_uint_eq(d.list.warnings.items[0].index, 1);
    ck_assert_str_eq(d.list.warnings.items[0].code, "unknown_field");
    ck_assert_str_eq(d.list.warnings.items[0].field, "zza");
    ck_assert_str_eq(d.list.warnings.items[0].message, "not a field of track_metrics, ignored");
    ck_assert_str_eq(d.list.warnings.items[1].field, "eventId");
    decoded_free(&d);
}
END_TEST

START_TEST(many_unknown_members_are_counted)
{
    AUTO(buf_done) struct buf buf;
    struct decoded d;

    buf_init(&buf, 100000);
    buf_append_text(&buf, TRACK);
    for (int i = 0; i < 150; i++)
        buf_append_fmt(&buf, ",\"u%d\":1", i);
    buf_append_char(&buf, '}');
    d = decode(buf_text(&buf));
    ck_assert_uint_eq(d.list.len, 1);
    ck_assert_uint_eq(d.list.warnings.len, EVENT_NOTES_MAX);
    ck_assert_uint_eq(d.list.warnings.count, 150);
    decoded_free(&d);
}
END_TEST

START_TEST(endpoint_says_the_kind)
{
    struct decoded d = decode_as("{\"predictionUuid\":\"" UUID "\",\"metrics\":{},\"x\":1}",
                                 EVENT_DELAYED_METRICS);

    ck_assert_uint_eq(d.list.len, 1);
    ck_assert_int_eq(d.list.events[0].kind, EVENT_DELAYED_METRICS);
    ck_assert_uint_eq(d.list.warnings.count, 0);
    decoded_free(&d);
    d = decode_as(DELAYED "}", EVENT_DELAYED_METRICS);
    ck_assert_uint_eq(d.list.len, 1);
    decoded_free(&d);
    d = decode_as(DELAYED "}", EVENT_TRACK_METRICS);
    ck_assert_uint_eq(d.list.rejected[EVENT_TRACK_METRICS], 1);
    ck_assert_str_eq(d.list.rejects.items[0].code, "invalid_field");
    ck_assert_str_eq(d.list.rejects.items[0].field, "event");
    ck_assert_str_eq(d.list.rejects.items[0].message,
                     "must be \"track_metrics\" at this endpoint, not \"delayed_metrics\"");
    decoded_free(&d);
    d = decode_as("[" DELAYED "}]", EVENT_DELAYED_METRICS);
    ck_assert(d.list.is_single);
    ck_assert_uint_eq(d.list.rejected[EVENT_DELAYED_METRICS], 1);
    ck_assert_str_eq(d.list.rejects.items[0].code, "not_an_object");
    decoded_free(&d);
}
END_TEST

/* Sizes around the limit of `metrics`, with and without white space. */
START_TEST(metrics_limit_is_of_the_compact_text)
{
    for (int len = 991; len <= 994; len++) { /* and {"x":""} around it: 8 more */
        AUTO(buf_done) struct buf buf;
        struct decoded d;

        buf_init(&buf, 10000);
        buf_append_fmt(&buf, "%s,\"metrics\":  {  \"x\" : \"%0*d\"  }}", TRACK_NO_METRICS, len, 0);
        d = decode(buf_text(&buf));
        if (len + 8 <= 1000) {
            ck_assert_uint_eq(d.list.len, 1);
            ck_assert_uint_eq(d.list.events[0].metrics.len, (size_t)len + 8);
        } else {
            ck_assert_uint_eq(d.list.len, 0);
            ck_assert_str_eq(d.list.rejects.items[0].code, "too_large");
            ck_assert_str_eq(d.list.rejects.items[0].field, "metrics");
            if (len + 8 == 1001)
                ck_assert_str_eq(d.list.rejects.items[0].message,
                                 "takes 1001 bytes without white space, more than the limit of "
                                 "1000; send fewer or shorter values");
        }
        decoded_free(&d);
    }
}
END_TEST

START_TEST(texts_have_their_limits)
{
    for (int len = 1023; len <= 1025; len++) {
        AUTO(buf_done) struct buf buf;
        struct decoded d;

        buf_init(&buf, 10000);
        /* one character of two bytes, written in six */
        buf_append_fmt(&buf, "%s,\"modelDeploymentCrn\":\"\\u00e9%0*d\"}", TRACK_NO_CRN, len - 2,
                       0);
        d = decode(buf_text(&buf));
        if (len <= 1024) {
            ck_assert_uint_eq(d.list.len, 1);
            ck_assert_uint_eq(d.list.events[0].deployment_crn.len, (size_t)len);
        } else {
            ck_assert_str_eq(d.list.rejects.items[0].message,
                             "must have at most 1024 bytes, not 1025");
        }
        decoded_free(&d);
    }
}
END_TEST

START_TEST(events_have_their_limits)
{
    AUTO(buf_done) struct buf buf;
    struct event_limits less = limits;
    struct decoded d;

    buf_init(&buf, 1 << 20);
    for (int i = 0; i < 2001; i++)
        buf_append_text(&buf, i ? "," DELAYED "}" : "[" DELAYED "}");
    buf_append_char(&buf, ']');
    d = decode_with(buf.data, buf.len, EVENT_FORMAT_JSON, &limits);
    ck_assert_int_eq(d.rc, -1);
    ck_assert_int_eq(d.err.kind, ERR_INPUT);
    ck_assert_str_eq(d.list.error_code, "too_many_events");
    ck_assert_str_eq(d.err.text, "more than 2000 events in one request; send fewer at a time");
    decoded_free(&d);
    less.events_max = 2001;
    d = decode_with(buf.data, buf.len, EVENT_FORMAT_JSON, &less);
    ck_assert_int_eq(d.rc, 0);
    ck_assert_uint_eq(d.list.len, 2001);
    ck_assert_uint_le(d.list.memory_bytes, less.memory_bytes_max);
    decoded_free(&d);
    less.memory_bytes_max = 2000 * sizeof(struct event);
    d = decode_with(buf.data, buf.len, EVENT_FORMAT_JSON, &less);
    ck_assert_int_eq(d.rc, -1);
    ck_assert_int_eq(d.err.kind, ERR_RETRY);
    ck_assert_ptr_nonnull(strstr(d.err.text, "would take more than"));
    ck_assert_uint_eq(d.list.len, 0);
    decoded_free(&d);
}
END_TEST

START_TEST(notes_stay_in_order)
{
    struct event_notes notes = { 0 };
    char field[] = "f", message[] = "m";

    for (uint32_t i = 0; i < 300; i++) {
        struct event_note note = { .index = i * 7 % 300,
                                   .code = "conflict",
                                   .field = i % 2 ? field : NULL,
                                   .message = message };

        event_notes_add(&notes, &note);
    }
    ck_assert_uint_eq(notes.count, 300);
    ck_assert_uint_eq(notes.len, EVENT_NOTES_MAX);
    for (uint32_t i = 0; i < notes.len; i++)
        ck_assert_uint_eq(notes.items[i].index, i);
    event_notes_done(&notes);
}
END_TEST

START_TEST(codes_have_a_status)
{
    ck_assert_int_eq(event_code_status("too_large"), 413);
    ck_assert_int_eq(event_code_status("too_many_events"), 413);
    ck_assert_int_eq(event_code_status("conflict"), 409);
    ck_assert_int_eq(event_code_status("invalid_field"), 400);
    ck_assert_str_eq(event_kind_name(EVENT_UNKNOWN), "unknown");
    ck_assert(event_kind_is_lineage(EVENT_PROJECT_CREATED));
    ck_assert(event_kind_is_lineage(EVENT_MODEL_BUILT));
    ck_assert(event_kind_is_lineage(EVENT_MODEL_DEPLOYED));
    ck_assert(!event_kind_is_lineage(EVENT_TRACK_METRICS));
}
END_TEST

/* The capture: every line is accepted, and what is stored is what was posted. */
static const struct {
    const char *path;
    enum event_kind kind;
    uint32_t events;
} churn_cases[] = {
    { "tests/data/churn/track.ndjson", EVENT_TRACK_METRICS, 999 },
    { "tests/data/churn/delayed.ndjson", EVENT_DELAYED_METRICS, 999 },
    { "tests/data/churn/aggregate.ndjson", EVENT_AGGREGATE_METRICS, 9 },
};

START_TEST(churn_case)
{
    AUTO(event_decoder_free) struct event_decoder *decoder = event_decoder_new(1);
    FILE *file = fopen(churn_cases[_i].path, "r");
    static char line[1 << 16], posted[1 << 16];
    uint32_t events = 0;

    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof(line), file)) {
        struct event_limits with = limits;
        struct event_list list;
        struct err err;
        const char *metrics;

        with.metrics_bytes_max = 102400;
        memcpy(posted, line, strlen(line) + 1);
        ck_assert_int_eq(event_decode_as(decoder, churn_cases[_i].kind, line, strlen(line), &with,
                                         &list, &err),
                         0);
        ck_assert_uint_eq(list.len, 1);
        metrics = strstr(posted, "\"metrics\":") + strlen("\"metrics\":");
        ck_assert_mem_eq(metrics, list.events[0].metrics.data, list.events[0].metrics.len);
        events++;
        event_list_done(&list);
    }
    (void)fclose(file);
    ck_assert_uint_eq(events, churn_cases[_i].events);
}
END_TEST

Suite *event_suite(void); /* called from the table that tools/suites writes */

Suite *event_suite(void)
{
    Suite *suite = suite_create("metrics/event");
    TCase *tc = tcase_create("event");

    tcase_add_loop_test(tc, good_case, 0, LENGTH(good_cases));
    tcase_add_loop_test(tc, reject_case, 0, LENGTH(reject_cases));
    tcase_add_loop_test(tc, broken_case, 0, LENGTH(broken_cases));
    tcase_add_loop_test(tc, churn_case, 0, LENGTH(churn_cases));
    tcase_add_test(tc, all_members_arrive);
    tcase_add_test(tc, what_is_absent_has_no_data);
    tcase_add_test(tc, lineage_keeps_its_text);
    tcase_add_test(tc, neighbours_are_not_spoilt);
    tcase_add_test(tc, empty_array_is_no_event);
    tcase_add_test(tc, ndjson_lines_are_alone);
    tcase_add_test(tc, ndjson_may_be_empty);
    tcase_add_test(tc, unknown_members_are_told);
    tcase_add_test(tc, many_unknown_members_are_counted);
    tcase_add_test(tc, endpoint_says_the_kind);
    tcase_add_test(tc, metrics_limit_is_of_the_compact_text);
    tcase_add_test(tc, texts_have_their_limits);
    tcase_add_test(tc, events_have_their_limits);
    tcase_add_test(tc, notes_stay_in_order);
    tcase_add_test(tc, codes_have_a_status);
    suite_add_tcase(suite, tc);
    return suite;
}
