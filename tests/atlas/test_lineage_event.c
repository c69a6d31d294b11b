#include <check.h>
#include <stdio.h>

#include "atlas/event.h"
#include "base/buf.h"

#define PROJECT_CRN "{\"event\":\"project_created\",\"projectCrn\":\"crn:p\",\"userName\":\"u\""
#define PROJECT PROJECT_CRN ",\"projectName\":\"P\""
#define BUILT_BY                                                                                   \
    "{\"event\":\"model_built\",\"projectCrn\":\"crn:p\",\"modelCrn\":\"crn:m\","                  \
    "\"modelBuildCrn\":\"crn:b\",\"buildNumber\":7,\"userName\":\"u\""
#define BUILT BUILT_BY ",\"modelName\":\"Churn model\""
#define FILE(text) BUILT ",\"linkingFile\":\"" text "\"}"

#define NO_CRN "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b\",\"userName\":\"u\""
#define NO_STATUS NO_CRN ",\"modelDeploymentCrn\":\"crn:d\""
#define DEPLOYED NO_STATUS ",\"status\":\"deployed\""

static int parse(struct lineage_event *event, const char *text, struct lineage_notes *warnings,
                 struct lineage_note *note)
{
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    struct lineage_limits limits = {
        .time_ms_min = 946684800000,  /* 2000-01-01 */
        .time_ms_max = 1893456000000, /* 2030-01-01 */
        .types = types,
        .name_space = "cm",
    };

    *note = (struct lineage_note){ .code = "" };
    return lineage_event_parse(event, span_of(text), &limits, warnings, note);
}

static const struct {
    const char *text, *identity;
} good_cases[] = {
    { PROJECT "}", "project_created crn:p" },
    { PROJECT ",\"createdAtMs\":1596185125125,\"description\":\"\",\"metadata\":{}}",
      "project_created crn:p" },
    { BUILT "}", "model_built crn:b" },
    { BUILT ",\"projectName\":\"P\",\"createdAtMs\":1596185125125,\"imageTag\":\"i\","
            "\"imageHash\":\"h\",\"exampleRequest\":{\"a\":[1]},\"exampleResponse\":\"x\","
            "\"defaultCpuMillicores\":500,\"defaultMemoryMb\":1,\"defaultGpus\":0,"
            "\"registeredModelVersion\":3,\"metadata\":{\"a\":0.5},\"namespace\":\"prod\"}",
      "model_built crn:b" },
    { BUILT ",\"inputs\":[]}", "model_built crn:b" },
    { BUILT ",\"inputs\":[{\"typeName\":\"fs_path\",\"qualifiedName\":\"/data/a@cm\"},"
            "{\"typeName\":\"ml_model_build\",\"qualifiedName\":\"crn:x@other\"}]}",
      "model_built crn:b" },
    { FILE("Churn model:\\n  hive_table_qualified_names: [a.b]\\n"), "model_built crn:b" },
    { DEPLOYED "}", "model_deployed crn:d deployed -" },
    { DEPLOYED ",\"statusAtMs\":1596185125125}", "model_deployed crn:d deployed 1596185125125" },
    { DEPLOYED ",\"statusAtMs\":null}", "model_deployed crn:d deployed -" },
    { NO_STATUS ",\"status\":\"unknown\"}", "model_deployed crn:d unknown -" },
    { NO_STATUS ",\"status\":\"stopp\\u0065d\"}", "model_deployed crn:d stopped -" },
    { NO_CRN ",\"modelDeploymentCrn\":\"a b\\u00e9\",\"status\":\"stopping\"}",
      "model_deployed a b\xC3\xA9 stopping -" },
    { DEPLOYED ",\"endpointUrl\":\"\",\"environment\":{\"A\":\"1\"},\"metadata\":{\"a\":\"x\","
               "\"b\":0.99,\"c\":true},\"cpuMillicores\":0,\"memoryMb\":2147483647,\"gpus\":1,"
               "\"replicas\":2,\"modelName\":\"m\",\"projectName\":\"p\",\"createdAtMs\":"
               "1596185125125,\"deployedAtMs\":1596185125125}",
      "model_deployed crn:d deployed -" },
};

START_TEST(good_case)
{
    struct lineage_notes warnings = { 0 };
    struct lineage_event event;
    struct lineage_note note;

    ck_assert_msg(parse(&event, good_cases[_i].text, &warnings, &note) == 0, "%s: %s", note.field,
                  note.message);
    ck_assert_str_eq(event.identity, good_cases[_i].identity);
    ck_assert_uint_eq(warnings.count, 0);
    lineage_event_done(&event);
    lineage_notes_done(&warnings);
}
END_TEST

START_TEST(members_arrive)
{
    struct lineage_notes warnings = { 0 };
    struct lineage_event event;
    struct lineage_note note;

    ck_assert_int_eq(parse(&event,
                           DEPLOYED ",\"statusAtMs\":1596185125125,\"modelCrn\":\"m\","
                                    "\"projectCrn\":\"p\",\"modelDeploymentId\":-7,\"x\":1,"
                                    "\"y\":null}",
                           &warnings, &note),
                     0);
    ck_assert_int_eq(event.kind, LINEAGE_MODEL_DEPLOYED);
    ck_assert_str_eq(event.deployment_crn, "crn:d");
    ck_assert_str_eq(event.build_crn, "b");
    ck_assert_str_eq(event.model_crn, "m");
    ck_assert_str_eq(event.project_crn, "p");
    ck_assert_str_eq(event.user_name, "u");
    ck_assert_str_eq(event.status, "deployed");
    ck_assert(event.status_at_ms.is_given && event.deployment_id.is_given);
    ck_assert_int_eq(event.status_at_ms.value, 1596185125125);
    ck_assert_int_eq(event.deployment_id.value, -7);
    ck_assert(json_is_integer(json_object_get(event.json, "x")));
    ck_assert_uint_eq(warnings.len, 2);
    ck_assert_str_eq(warnings.items[0].code, "unknown_field");
    ck_assert_str_eq(warnings.items[0].field, "x");
    ck_assert_str_eq(warnings.items[0].message, "not a field of model_deployed, ignored");
    lineage_event_done(&event);
    lineage_event_done(&event); /* done twice is done */
    lineage_notes_done(&warnings);
}
END_TEST

START_TEST(absent_members_are_null)
{
    struct lineage_notes warnings = { 0 };
    struct lineage_event event;
    struct lineage_note note;

    ck_assert_int_eq(parse(&event, DEPLOYED ",\"modelCrn\":null}", &warnings, &note), 0);
    ck_assert_ptr_null(event.model_crn);
    ck_assert_ptr_null(event.project_crn);
    ck_assert(!event.status_at_ms.is_given);
    ck_assert(!event.deployment_id.is_given);
    lineage_event_done(&event);
}
END_TEST

/* The places are those in the file, the first error is the one to know. */
START_TEST(linking_file_refused)
{
    struct lineage_notes warnings = { 0 };
    struct lineage_event event;
    struct lineage_note note;

    ck_assert_int_eq(parse(&event, FILE("a: {}\\na: {}\\nb: [\\n"), &warnings, &note), -1);
    ck_assert_str_eq(note.code, "invalid_linking_file");
    ck_assert_str_eq(note.field, "linkingFile");
    ck_assert_uint_gt(note.line, 1);
    ck_assert_uint_gt(note.column, 0);
    ck_assert_uint_eq(warnings.count, 0);
}
END_TEST

START_TEST(linking_file_warned_of)
{
    struct lineage_notes warnings = { 0 };
    struct lineage_event event;
    struct lineage_note note;

    ck_assert_int_eq(parse(&event, FILE("Other model:\\n  colour: red\\n"), &warnings, &note), 0);
    ck_assert_uint_eq(warnings.len, 3);
    ck_assert_str_eq(warnings.items[0].code, "unknown_key");
    ck_assert_str_eq(warnings.items[0].field, "linkingFile");
    ck_assert_uint_eq(warnings.items[0].line, 2);
    ck_assert_uint_eq(warnings.items[0].column, 3);
    ck_assert_str_eq(warnings.items[1].code, "model_empty");
    ck_assert_str_eq(warnings.items[2].code, "model_not_in_file");
    lineage_event_done(&event);
    lineage_notes_done(&warnings);
}
END_TEST

static const struct {
    const char *text, *code, *field, *message;
} refuse_cases[] = {
    { "{}", "unknown_event", "event", "not a lineage event" },
    { "{\"event\":\"track_metrics\"}", "unknown_event", "event", "not a lineage event" },
    { "[]", "unknown_event", "event", "not a lineage event" },
    { "{\"event\":\"project_created\"}", "missing_field", "projectCrn",
      "project_created needs it" },
    { PROJECT_CRN "}", "missing_field", "projectName", "project_created needs it" },
    { BUILT_BY "}", "missing_field", "modelName", "model_built needs it" },
    { BUILT_BY ",\"modelName\":7}", "invalid_field", "modelName", "must be text, not a number" },
    { BUILT ",\"namespace\":\"a b\"}", "invalid_field", "namespace",
      "must be one word of at most 128 bytes without @" },
    { BUILT ",\"namespace\":\"\"}", "invalid_field", "namespace",
      "must be one word of at most 128 bytes without @" },
    { BUILT ",\"registeredModelVersion\":[]}", "invalid_field", "registeredModelVersion",
      "must be text, a number or a boolean, not an array" },
    { BUILT ",\"inputs\":{}}", "invalid_field", "inputs", "must be a list, not an object" },
    { BUILT ",\"inputs\":[1]}", "invalid_field", "inputs[0]", "must be an object, not a number" },
    { BUILT ",\"inputs\":[{\"typeName\":\"hive_table\"}]}", "missing_field",
      "inputs[0].qualifiedName", "an input needs it" },
    { BUILT ",\"inputs\":[{\"typeName\":\"hive_table\",\"qualifiedName\":\"\"}]}", "invalid_field",
      "inputs[0].qualifiedName", "must not be empty" },
    { BUILT ",\"inputs\":[{\"typeName\":\"no_table\",\"qualifiedName\":\"x\"}]}", "invalid_field",
      "inputs[0].typeName", "no such type: \"no_table\"" },
    { BUILT ",\"inputs\":[{\"typeName\":\"hive_process\",\"qualifiedName\":\"x\"}]}",
      "invalid_field", "inputs[0].typeName",
      "\"hive_process\" is no type of data sets, a model can't be trained on it" },
    { BUILT ",\"linkingFile\":{}}", "invalid_field", "linkingFile", "must be text, not an object" },
    { "{\"event\":\"model_deployed\"}", "missing_field", "modelBuildCrn",
      "model_deployed needs it" },
    { NO_CRN "}", "missing_field", "modelDeploymentCrn", "model_deployed needs it" },
    { NO_STATUS "}", "missing_field", "status", "model_deployed needs it" },
    { NO_STATUS ",\"status\":null}", "invalid_field", "status", "must not be null" },
    { NO_STATUS ",\"status\":3}", "invalid_field", "status", "must be text, not a number" },
    { NO_STATUS ",\"status\":\"running\"}", "invalid_field", "status",
      "must be deploying, deployed, stopping, stopped or unknown, not \"running\"" },
    { NO_STATUS ",\"status\":\"Deployed\"}", "invalid_field", "status",
      "must be deploying, deployed, stopping, stopped or unknown, not \"Deployed\"" },
    { NO_STATUS ",\"status\":\"0123456789012345678901234567890123456789012345678901234567890123"
                "4\"}",
      "invalid_field", "status",
      "must be deploying, deployed, stopping, stopped or unknown, "
      "not \"0123456789012345678901234567890123456789012345678901234567890123...\"" },
    { NO_CRN ",\"modelDeploymentCrn\":\"\"}", "invalid_field", "modelDeploymentCrn",
      "must not be empty" },
    { NO_CRN ",\"modelDeploymentCrn\":[]}", "invalid_field", "modelDeploymentCrn",
      "must be text, not an array" },
    { DEPLOYED ",\"statusAtMs\":1.5}", "invalid_field", "statusAtMs",
      "must be a whole number of milliseconds since 1970, not a number with a fraction or an "
      "exponent" },
    { DEPLOYED ",\"statusAtMs\":\"1\"}", "invalid_field", "statusAtMs",
      "must be a whole number of milliseconds since 1970, not text" },
    { DEPLOYED ",\"statusAtMs\":1596185125}", "invalid_field", "statusAtMs",
      "1596185125 is before 2000-01-01T00:00:00.000Z; send milliseconds since 1970" },
    { DEPLOYED ",\"statusAtMs\":1893456000001}", "invalid_field", "statusAtMs",
      "1893456000001 is after 2030-01-01T00:00:00.000Z, too far in the future; "
      "send milliseconds since 1970" },
    { DEPLOYED ",\"modelDeploymentId\":\"7\"}", "invalid_field", "modelDeploymentId",
      "must be a whole number, not text" },
    { DEPLOYED ",\"modelDeploymentId\":9223372036854775808}", "invalid_value", "",
      "holds an integer beyond 64 bits; send it as text" },
    { DEPLOYED ",\"cpuMillicores\":-1}", "invalid_field", "cpuMillicores",
      "must be 0 to 2147483647, not -1" },
    { DEPLOYED ",\"memoryMb\":2147483648}", "invalid_field", "memoryMb",
      "must be 0 to 2147483647, not 2147483648" },
    { DEPLOYED ",\"replicas\":true}", "invalid_field", "replicas",
      "must be a whole number, not true" },
    { DEPLOYED ",\"endpointUrl\":{}}", "invalid_field", "endpointUrl",
      "must be text, not an object" },
    { DEPLOYED ",\"metadata\":\"x\"}", "invalid_field", "metadata", "must be an object, not text" },
    { DEPLOYED ",\"metadata\":{\"a\":1,\"b\":[]}}", "invalid_field", "metadata.b",
      "must be text, a number or a boolean, not an array" },
    { DEPLOYED ",\"metadata\":{\"a\":null}}", "invalid_field", "metadata.a",
      "must be text, a number or a boolean, not null" },
    { DEPLOYED, "invalid_json", "", "line 1, column 109: not JSON" },
};

START_TEST(refuse_case)
{
    struct lineage_notes warnings = { 0 };
    struct lineage_event event;
    struct lineage_note note;

    ck_assert_msg(parse(&event, refuse_cases[_i].text, &warnings, &note) == -1, "%s",
                  refuse_cases[_i].text);
    ck_assert_str_eq(note.code, refuse_cases[_i].code);
    ck_assert_str_eq(note.field, refuse_cases[_i].field);
    ck_assert_str_eq(note.message, refuse_cases[_i].message);
    ck_assert_uint_eq(warnings.count, 0);
    ck_assert_ptr_null(event.json);
    ck_assert_ptr_null(event.deployment_crn);
}
END_TEST

START_TEST(names_have_a_limit)
{
    struct lineage_notes warnings = { 0 };
    struct lineage_event event;
    struct lineage_note note;

    for (int len = 1024; len <= 1025; len++) {
        AUTO(buf_done) struct buf buf;

        buf_init(&buf, 10000);
        buf_append_fmt(&buf, "%s,\"modelName\":\"%0*d\"}", DEPLOYED, len, 0);
        ck_assert_int_eq(parse(&event, buf_text(&buf), &warnings, &note), len == 1024 ? 0 : -1);
        lineage_event_done(&event);
    }
    ck_assert_str_eq(note.message, "must have at most 1024 bytes, not 1025");
}
END_TEST

static const struct {
    const char *name, *known, *event;
    enum lineage_comparison want;
    const char *member;
} compare_cases[] = {
    { "same", "{\"a\":1,\"b\":[1,{\"c\":\"x\"}]}", "{\"b\":[1,{\"c\":\"x\"}],\"a\":1}",
      LINEAGE_SAME, NULL },
    { "1 is 1.0", "{\"a\":1}", "{\"a\":1.0}", LINEAGE_SAME, NULL },
    { "1 is 1.0 inside", "{\"a\":{\"b\":[1]}}", "{\"a\":{\"b\":[1.0]}}", LINEAGE_SAME, NULL },
    { "null is absent", "{\"a\":1}", "{\"a\":1,\"b\":null}", LINEAGE_SAME, NULL },
    { "null says nothing", "{\"a\":1}", "{\"a\":null}", LINEAGE_SAME, NULL },
    { "fewer members", "{\"a\":1,\"b\":2}", "{\"a\":1}", LINEAGE_SAME, NULL },
    { "one more", "{\"a\":1}", "{\"a\":1,\"b\":2}", LINEAGE_SUPPLEMENTS, NULL },
    { "one for null", "{\"a\":1,\"b\":null}", "{\"a\":1,\"b\":2}", LINEAGE_SUPPLEMENTS, NULL },
    { "a namespace before the file", "{\"namespace\":\"a\"}", "{\"linkingFile\":\"\"}",
      LINEAGE_SUPPLEMENTS, NULL },
    { "a namespace behind the file", "{\"linkingFile\":\"\"}", "{\"namespace\":\"a\"}",
      LINEAGE_CONFLICT, "namespace" },
    { "a namespace with the file", "{\"linkingFile\":null}",
      "{\"namespace\":\"a\",\"linkingFile\":\"\"}", LINEAGE_SUPPLEMENTS, NULL },
    { "one more and one fewer", "{\"a\":1}", "{\"b\":2}", LINEAGE_SUPPLEMENTS, NULL },
    { "another value", "{\"a\":1}", "{\"a\":2}", LINEAGE_CONFLICT, "a" },
    { "another type", "{\"a\":1}", "{\"a\":\"1\"}", LINEAGE_CONFLICT, "a" },
    { "false is not null", "{\"a\":false}", "{\"a\":true}", LINEAGE_CONFLICT, "a" },
    { "more and another", "{\"a\":1}", "{\"b\":2,\"a\":2}", LINEAGE_CONFLICT, "a" },
    { "another inside", "{\"a\":{\"b\":1}}", "{\"a\":{\"b\":1,\"c\":2}}", LINEAGE_CONFLICT, "a" },
    { "another length", "{\"a\":[1]}", "{\"a\":[1,2]}", LINEAGE_CONFLICT, "a" },
    { "another order in a list", "{\"a\":[1,2]}", "{\"a\":[2,1]}", LINEAGE_CONFLICT, "a" },
    { "another key inside", "{\"a\":{\"b\":1}}", "{\"a\":{\"c\":1}}", LINEAGE_CONFLICT, "a" },
};

START_TEST(compare_case)
{
    json_auto_t *known = json_loads(compare_cases[_i].known, 0, NULL);
    json_auto_t *event = json_loads(compare_cases[_i].event, 0, NULL);
    const char *member = "untouched";

    ck_assert_msg(lineage_event_compare(known, event, &member) == compare_cases[_i].want, "%s",
                  compare_cases[_i].name);
    ck_assert_pstr_eq(member, compare_cases[_i].member);
}
END_TEST

Suite *lineage_event_suite(void); /* called from the table that tools/suites writes */

Suite *lineage_event_suite(void)
{
    Suite *suite = suite_create("atlas/event");
    TCase *tc = tcase_create("lineage_event");

    tcase_add_loop_test(tc, good_case, 0, LENGTH(good_cases));
    tcase_add_loop_test(tc, refuse_case, 0, LENGTH(refuse_cases));
    tcase_add_loop_test(tc, compare_case, 0, LENGTH(compare_cases));
    tcase_add_test(tc, linking_file_refused);
    tcase_add_test(tc, linking_file_warned_of);
    tcase_add_test(tc, members_arrive);
    tcase_add_test(tc, absent_members_are_null);
    tcase_add_test(tc, names_have_a_limit);
    suite_add_tcase(suite, tc);
    return suite;
}
