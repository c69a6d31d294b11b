#include "atlas/entity_json.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static struct entity made(const struct type_registry *types, const char *type, int64_t id,
                          const char *name, const char *attributes)
{
    struct entity entity = { .id = id,
                             .type = type_by_name(types, span_of(type)),
                             .qualified_name = xasprintf("%s@cm", name),
                             .created_by = xstrdup("ada"),
                             .updated_by = xstrdup("bob"),
                             .attributes = json_loads(attributes, 0, NULL),
                             .created_ms = 1,
                             .updated_ms = 2 };

    (void)snprintf(entity.guid, sizeof(entity.guid), "00000000-0000-4000-8000-00000000000%d",
                   (int)id);
    ck_assert_ptr_nonnull(entity.type);
    ck_assert_ptr_nonnull(entity.attributes);
    return entity;
}

static void check_json(const json_t *have, const char *want)
{
    json_auto_t *expected = json_loads(want, 0, NULL);
    AUTO(mem_free) char *text = json_dumps(have, JSON_COMPACT);

    ck_assert_ptr_nonnull(expected);
    ck_assert_msg(json_equal(have, expected), "%s\nand not\n%s", text, want);
}

#define GUID(n) "\"00000000-0000-4000-8000-00000000000" n "\""

START_TEST(header)
{
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    struct entity entity = made(types, "ml_model_build", 1, "b",
                                "{\"qualifiedName\":\"b@cm\",\"name\":\"B\",\"owner\":\"ada\","
                                "\"createTime\":5,\"version\":7}");
    json_auto_t *json = entity_header_json(&entity);

    check_json(json,
               "{\"typeName\":\"ml_model_build\",\"attributes\":{\"qualifiedName\":\"b@cm\","
               "\"name\":\"B\",\"owner\":\"ada\",\"createTime\":5},\"guid\":" GUID(
                   "1") ","
                        "\"status\":\"ACTIVE\",\"displayText\":\"B\",\"classificationNames\":[],"
                        "\"classifications\":[],\"meaningNames\":[],\"meanings\":[],"
                        "\"isIncomplete\":false,"
                        "\"labels\":[]}");
    entity_done(&entity);
}
END_TEST

/* JSON of one of its attributes, as a query gives it; owned. */
static char *attribute_text(const struct entity *entity, const char *name)
{
    const json_t *value = json_object_get(entity->attributes, name);

    return value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
}

static struct span text_span(const char *text)
{
    return text ? span_of(text) : (struct span){ 0 };
}

/* Both ways to write a header give the same bytes. */
START_TEST(header_as_text)
{
    static const char *const attributes[] = {
        "{\"name\":\"B\",\"owner\":\"ada\",\"createTime\":5,\"version\":7}",
        "{}",
        "{\"displayName\":\"D\",\"description\":\"a \\\"quoted\\\" \\u00e9\\n\"}",
        "{\"name\":7,\"displayName\":\"\",\"createTime\":\"x\"}",
        "{\"name\":7,\"displayName\":{\"a\":[1]}}",
    };
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();

    for (unsigned i = 0; i < LENGTH(attributes) * 4; i++) {
        struct entity entity = made(types, "ml_model_build", 1, "b\"\\", attributes[i / 4]);
        AUTO(mem_free) char *name = attribute_text(&entity, "name");
        AUTO(mem_free) char *display_name = attribute_text(&entity, "displayName");
        AUTO(mem_free) char *description = attribute_text(&entity, "description");
        AUTO(mem_free) char *owner = attribute_text(&entity, "owner");
        AUTO(mem_free) char *create_time = attribute_text(&entity, "createTime");
        struct entity_header shown = {
            .type = entity.type,
            .qualified_name = span_of(entity.qualified_name),
            .name = text_span(name),
            .display_name = text_span(display_name),
            .description = text_span(description),
            .owner = text_span(owner),
            .create_time = text_span(create_time),
            .is_deleted = i & 1,
            .is_incomplete = i & 2,
        };
        AUTO(buf_done) struct buf have;
        AUTO(mem_free) char *want = NULL;
        json_auto_t *json = NULL;

        entity.is_deleted = i & 1;
        entity.is_incomplete = i & 2;
        memcpy(shown.guid, entity.guid, sizeof(shown.guid));
        buf_init(&have, SIZE_MAX);
        entity_header_write(&shown, &have);
        json = entity_header_json(&entity);
        want = json_dumps(json, JSON_COMPACT);
        ck_assert_str_eq(buf_text(&have), want);
        entity_done(&entity);
    }
}
END_TEST

/* Nothing is left out that a type has; a shell says that it is one; what is deleted stays. */
START_TEST(nulls_and_states)
{
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    struct entity entity =
        made(types, "ml_project", 1, "p", "{\"qualifiedName\":\"p@cm\",\"name\":\"P\"}");
    json_auto_t *json = NULL;

    entity.is_deleted = entity.is_incomplete = true;
    json = entity_plain_json(&entity);
    check_json(
        json,
        "{\"typeName\":\"ml_project\",\"attributes\":{\"qualifiedName\":\"p@cm\","
        "\"replicatedFrom\":null,\"replicatedTo\":null,\"name\":\"P\",\"displayName\":null,"
        "\"description\":null,\"userDescription\":null,\"owner\":null,\"metadata\":null,"
        "\"createTime\":null,\"modifiedTime\":null},\"guid\":" GUID(
            "1") ","
                 "\"isIncomplete\":true,\"provenanceType\":0,\"status\":\"DELETED\",\"createdBy\":"
                 "\"ada\",\"updatedBy\":\"bob\",\"createTime\":1,\"updateTime\":2,\"version\":0,"
                 "\"classifications\":[],\"meanings\":[],\"labels\":[],\"proxy\":false}");
    entity_done(&entity);
}
END_TEST

/* Ends that are legacy attributes stand in both places, the others in one. */
START_TEST(relationships)
{
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    struct entity process = made(types, "ml_model_train_build_process", 1, "b:train_build",
                                 "{\"qualifiedName\":\"b:train_build@cm\",\"name\":\"N\"}");
    struct entity table = made(types, "hive_table", 2, "t", "{\"name\":\"t\"}");
    struct entity build = made(types, "ml_model_build", 3, "b", "{\"name\":\"B\"}");
    struct entity project = made(types, "ml_project", 4, "p", "{\"name\":\"P\"}");
    const struct type *input = type_by_name(types, SPAN_LITERAL("dataset_process_inputs"));
    const struct type *output = type_by_name(types, SPAN_LITERAL("process_dataset_outputs"));
    const struct type *built = type_by_name(types, SPAN_LITERAL("ml_project_model_build"));
    struct entity_link links[] = {
        { .relationship = input, .end = 0, .entity_id = 1, .guid = "r1", .other = &table },
        { .relationship = output, .end = 0, .entity_id = 1, .guid = "r2", .other = &build },
        { .relationship = built, .end = 1, .entity_id = 3, .guid = "r3", .other = &project },
        { .relationship = output,
          .end = 1,
          .entity_id = 3,
          .guid = "r2",
          .other = &process,
          .is_deleted = true },
    };
    json_auto_t *whole = entity_json(&process, links, LENGTH(links));
    json_auto_t *other = entity_json(&build, links, LENGTH(links));
    const json_t *attributes = json_object_get(whole, "attributes");
    const json_t *related = json_object_get(other, "relationshipAttributes");

    check_json(json_object_get(attributes, "inputs"),
               "[{\"guid\":" GUID("2") ",\"typeName\":\"hive_table\"}]");
    check_json(json_object_get(attributes, "outputs"),
               "[{\"guid\":" GUID("3") ",\"typeName\":\"ml_model_build\"}]");
    check_json(json_object_get(json_object_get(whole, "relationshipAttributes"), "inputs"),
               "[{\"guid\":" GUID(
                   "2") ",\"typeName\":\"hive_table\",\"entityStatus\":\"ACTIVE\","
                        "\"displayText\":\"t\",\"relationshipType\":\"dataset_process_inputs\","
                        "\"relationshipGuid\":\"r1\",\"relationshipStatus\":\"ACTIVE\","
                        "\"relationshipAttributes\":{\"typeName\":\"dataset_process_inputs\"},"
                        "\"qualifiedName\":\"t@cm\"}]");
    ck_assert_ptr_null(json_object_get(json_object_get(other, "attributes"), "project"));
    ck_assert_str_eq(json_string_value(
                         json_object_get(json_object_get(related, "project"), "displayText")),
                     "P");
    ck_assert_uint_eq(json_array_size(json_object_get(related, "outputFromProcesses")), 1);
    ck_assert_str_eq(json_string_value(json_object_get(
                         json_array_get(json_object_get(related, "outputFromProcesses"), 0),
                         "relationshipStatus")),
                     "DELETED");
    ck_assert_uint_eq(json_array_size(json_object_get(related, "deployments")), 0);
    ck_assert(json_is_array(json_object_get(related, "deployments")));
    entity_done(&process);
    entity_done(&table);
    entity_done(&build);
    entity_done(&project);
}
END_TEST

Suite *entity_json_suite(void); /* called from the table that tools/suites writes */

Suite *entity_json_suite(void)
{
    Suite *suite = suite_create("atlas/entity_json");
    TCase *tc = tcase_create("entity_json");

    tcase_add_test(tc, header);
    tcase_add_test(tc, header_as_text);
    tcase_add_test(tc, nulls_and_states);
    tcase_add_test(tc, relationships);
    suite_add_tcase(suite, tc);
    return suite;
}
