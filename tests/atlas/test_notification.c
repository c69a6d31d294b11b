#include "atlas/notification.h"

#include <check.h>
#include <stdlib.h>

#include "base/mem.h"

Suite *notification_suite(void);

static const struct type *type(const struct type_registry *types, const char *name)
{
    return type_by_name(types, span_of(name));
}

static void check_json(json_t *have, const char *want)
{
    json_auto_t *expected = json_loads(want, 0, NULL);
    AUTO(mem_free) char *text = json_dumps(have, JSON_COMPACT);

    ck_assert_ptr_nonnull(expected);
    ck_assert_msg(json_equal(have, expected), "%s\nand not\n%s", text, want);
}

#define AROUND "\"isIncomplete\":false,\"provenanceType\":0,\"version\":0,\"proxy\":false,"

/* A build and what made it: what is in the same message is meant by its guid too. */
START_TEST(a_build)
{
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    json_auto_t *build = json_pack("{s:s,s:i}", "qualifiedName", "b@cm", "version", 7);
    json_auto_t *process = json_pack("{s:s}", "qualifiedName", "b:train_build@cm");
    const struct notification_entity entities[] = { { type(types, "ml_model_build"), build },
                                                    { type(types, "ml_model_train_build_process"),
                                                      process } };
    const struct type *inputs = type(types, "dataset_process_inputs");
    const struct notification_reference references[] = {
        { 0, type(types, "ml_project_model_build"), 1, NOTIFICATION_ELSEWHERE, "ml_project",
          "p@cm" },
        { 1, inputs, 0, NOTIFICATION_ELSEWHERE, "ml_project", "p@cm" },
        { 1, inputs, 0, NOTIFICATION_ELSEWHERE, "hive_table", "x.t@cm" },
        { 1, type(types, "process_dataset_outputs"), 0, 0, "ml_model_build", "b@cm" },
    };
    json_auto_t *json =
        notification_json(true, "ada", entities, LENGTH(entities), references, LENGTH(references));

    check_json(json,
               "{\"type\":\"ENTITY_CREATE_V2\",\"user\":\"ada\",\"entities\":{"
               "\"referredEntities\":{},\"entities\":["
               "{\"typeName\":\"ml_model_build\",\"guid\":\"-1\"," AROUND
               "\"attributes\":{\"qualifiedName\":\"b@cm\",\"version\":7},"
               "\"relationshipAttributes\":{\"project\":{\"typeName\":\"ml_project\","
               "\"uniqueAttributes\":{\"qualifiedName\":\"p@cm\"},"
               "\"relationshipType\":\"ml_project_model_build\"}}},"
               "{\"typeName\":\"ml_model_train_build_process\",\"guid\":\"-2\"," AROUND
               "\"attributes\":{\"qualifiedName\":\"b:train_build@cm\"},"
               "\"relationshipAttributes\":{\"inputs\":["
               "{\"typeName\":\"ml_project\",\"uniqueAttributes\":{\"qualifiedName\":\"p@cm\"},"
               "\"relationshipType\":\"dataset_process_inputs\"},"
               "{\"typeName\":\"hive_table\",\"uniqueAttributes\":{\"qualifiedName\":\"x.t@cm\"},"
               "\"relationshipType\":\"dataset_process_inputs\"}],\"outputs\":["
               "{\"guid\":\"-1\",\"typeName\":\"ml_model_build\","
               "\"uniqueAttributes\":{\"qualifiedName\":\"b@cm\"},"
               "\"relationshipType\":\"process_dataset_outputs\"}]}}]}}");
}
END_TEST

START_TEST(an_update)
{
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    json_auto_t *project = json_pack("{s:s}", "qualifiedName", "p@cm");
    const struct notification_entity entity = { type(types, "ml_project"), project };
    json_auto_t *json = notification_json(false, "", &entity, 1, NULL, 0);

    check_json(json, "{\"type\":\"ENTITY_FULL_UPDATE_V2\",\"user\":\"\",\"entities\":{"
                     "\"referredEntities\":{},\"entities\":[{\"typeName\":\"ml_project\","
                     "\"guid\":\"-1\"," AROUND "\"attributes\":{\"qualifiedName\":\"p@cm\"},"
                     "\"relationshipAttributes\":{}}]}}");
}
END_TEST

Suite *notification_suite(void)
{
    Suite *suite = suite_create("notification");
    TCase *tcase = tcase_create("notification");

    tcase_add_test(tcase, a_build);
    tcase_add_test(tcase, an_update);
    suite_add_tcase(suite, tcase);
    return suite;
}
