/* Lineage events of every kind, and the graph that follows from them. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"

Suite *graph_suite(void);

#define PROJECT(crn, name, more)                                                                   \
    "{\"event\":\"project_created\",\"projectCrn\":\"" crn "\",\"projectName\":\"" name            \
    "\",\"userName\":\"ada\"," more "\"createdAtMs\":1704067200000}"
#define BUILT(project, build, name, more)                                                          \
    "{\"event\":\"model_built\",\"projectCrn\":\"" project                                         \
    "\",\"modelCrn\":\"crn:m\",\"modelName\":\"" name "\",\"modelBuildCrn\":\"" build              \
    "\",\"buildNumber\":7,\"userName\":\"bob\"," more "\"createdAtMs\":1704067201000}"
#define FILE_OF(text) "\"linkingFile\":\"" text "\","

/* ---- what is taken and what is said of it ---- */

static const struct {
    const char *name, *body, *code, *field;
    long status;
    int64_t line;
} refused_cases[] = {
    { "a file with a broken line",
      BUILT("crn:p", "crn:x1", "Churn",
            FILE_OF("Churn:\\n  metadata:\\n    a: \\\"b\\\"\\\"c\\\"\\n")),
      "invalid_linking_file", "linkingFile", 400, 3 },
    { "an input of no type",
      BUILT("crn:p", "crn:x2", "Churn",
            "\"inputs\":[{\"typeName\":\"t\",\"qualifiedName\":\"q\"}],"),
      "invalid_field", "inputs[0].typeName", 400, 0 },
    { "another name for a project", PROJECT("crn:p", "Other", ""), "conflict", "projectName", 409,
      0 },
    { "another name for a build", BUILT("crn:p", "crn:b", "Other", ""), "conflict", "modelName",
      409, 0 },
};

START_TEST(refused_with_its_place)
{
    AUTO(service_free) struct service *service = service_start();

    service_take(service,
                 "[" PROJECT("crn:p", "P", "") "," BUILT("crn:p", "crn:b", "Churn", "") "]");
    for (size_t i = 0; i < LENGTH(refused_cases); i++) {
        const char *name = refused_cases[i].name;
        AUTO(mem_free) char *list = xasprintf("[%s]", refused_cases[i].body);
        json_auto_t *alone =
            service_post(service, refused_cases[i].status, "/v1/events", refused_cases[i].body);
        json_auto_t *receipt = service_post(service, 200, "/v1/events", list);
        const json_t *note = json_array_get(json_object_get(receipt, "rejected"), 0);
        const json_t *error = json_object_get(alone, "error");

        ck_assert_msg(strcmp(service_text(error, "code"), refused_cases[i].code) == 0, "%s", name);
        ck_assert_msg(strcmp(service_text(note, "code"), refused_cases[i].code) == 0, "%s", name);
        ck_assert_msg(strcmp(service_text(note, "field"), refused_cases[i].field) == 0, "%s", name);
        ck_assert_msg(json_integer_value(json_object_get(note, "line")) == refused_cases[i].line,
                      "%s", name);
    }
    service_check_balance(service, 2, 0, 8);
}
END_TEST

START_TEST(warned_and_stored)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *receipt =
        service_post(service, 200, "/v1/events",
                     BUILT("crn:p", "crn:b", "Churn", FILE_OF("Other:\\n  colour: red\\n")));
    const json_t *warnings = json_object_get(receipt, "warnings");
    AUTO(mem_free)
    char *stored = pg_query_text(
        service->dsn,
        "SELECT string_agg(w->>'code' || '@' || (w->>'line'), ' ' ORDER BY n)"
        " FROM lineage_event, json_array_elements(warnings) WITH ORDINALITY AS w(w, n)"
        " WHERE kind = 'model_built' AND identity = 'model_built crn:b'");

    ck_assert_uint_eq(json_array_size(warnings), 3);
    ck_assert_str_eq(service_text(json_array_get(warnings, 0), "code"), "unknown_key");
    ck_assert_int_eq(service_number(json_array_get(warnings, 0), "line"), 2);
    ck_assert_int_eq(service_number(json_array_get(warnings, 0), "column"), 3);
    ck_assert_str_eq(stored, "unknown_key@2 model_empty@1 model_not_in_file@1");
}
END_TEST

START_TEST(counted_once)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *again = NULL, *more = NULL;

    service_take(service,
                 "[" PROJECT("crn:p", "P", "") "," BUILT("crn:p", "crn:b", "Churn", "") "]");
    again =
        service_post(service, 200, "/v1/events",
                     "[" BUILT("crn:p", "crn:b", "Churn", "") "," PROJECT("crn:p", "P", "") "]");
    ck_assert_int_eq(service_number(again, "duplicate"), 2);
    more =
        service_post(service, 200, "/v1/events",
                     BUILT("crn:p", "crn:b", "Churn", FILE_OF("Churn:\\n  metadata: {a: b}\\n")));
    ck_assert_int_eq(service_number(more, "accepted"), 1); /* what was absent may be supplied */
    service_check_balance(service, 3, 2, 0);
}
END_TEST

Suite *graph_suite(void)
{
    Suite *suite = suite_create("graph");
    TCase *events = tcase_create("events");

    tcase_add_unchecked_fixture(events, pg_shared_start, NULL);
    tcase_add_test(events, refused_with_its_place);
    tcase_add_test(events, warned_and_stored);
    tcase_add_test(events, counted_once);
    suite_add_tcase(suite, events);
    return suite;
}
