#include "atlas/hook.h"

#include <check.h>
#include <string.h>

#include "atlas/message.h"
#include "atlas/notification.h"
#include "base/buf.h"
#include "base/mem.h"
#include "tests/harness/dice.h"

Suite *hook_suite(void);

static json_t *parse_json(const char *text)
{
    json_error_t error;
    json_t *json = json_loads(text, 0, &error);

    ck_assert_msg(json != NULL, "%s: %s", text, error.text);
    return json;
}

#define NAMED "{\"typeName\":\"hive_table\",\"uniqueAttributes\":{\"qualifiedName\":\"t@cm\"}}"

#define CLASS(name)                                                                                \
    "\"jsonClass\":\"org.apache.atlas.typesystem.json.InstanceSerialization$_" name "\""
#define ID(id, type)                                                                               \
    "{" CLASS("Id") ",\"id\":" id ",\"typeName\":\"" type "\",\"version\":0,\"state\":\"ACTIVE\"}"
#define OLD_ENTITY(id, type, values, more)                                                         \
    "{" CLASS("Reference") ",\"typeName\":\"" type                                                 \
                           "\",\"id\":" ID(id, type) ",\"values\":{" values                        \
                                                     "},\"systemAttributes\":null" more "}"

/* ---- must read, must not ---- */

static const struct {
    const char *name, *text;
    enum hook_action action;
    const char *user, *body, *targets; /* body, targets: NULL: none */
} must_read[] = {
    { "create", "{\"type\":\"ENTITY_CREATE_V2\",\"user\":\"u\",\"entities\":{\"entities\":[{}]}}",
      HOOK_STORE, "u", "{\"entities\":[{}]}", NULL },
    { "full update, nobody",
      "{\"type\":\"ENTITY_FULL_UPDATE_V2\",\"user\":\"\",\"entities\":{\"referredEntities\":null,"
      "\"entities\":[]}}",
      HOOK_STORE, "UNKNOWN", "{\"referredEntities\":null,\"entities\":[]}", NULL },
    { "partial update",
      "{\"type\":\"ENTITY_PARTIAL_UPDATE_V2\",\"entityId\":" NAMED
      ",\"entity\":{\"referredEntities\":{},\"entity\":{\"attributes\":{\"owner\":\"x\"}}}}",
      HOOK_UPDATE, "UNKNOWN",
      "{\"referredEntities\":{},\"entity\":{\"attributes\":{\"owner\":\"x\"}}}", "[" NAMED "]" },
    { "delete", "{\"type\":\"ENTITY_DELETE_V2\",\"user\":null,\"entities\":[" NAMED "," NAMED "]}",
      HOOK_DELETE, "UNKNOWN", NULL, "[" NAMED "," NAMED "]" },
    { "delete as it was",
      "{\"type\":\"ENTITY_DELETE\",\"user\":\"u\",\"typeName\":\"hive_table\",\"attribute\":"
      "\"qualifiedName\",\"attributeValue\":\"t@cm\"}",
      HOOK_DELETE, "u", NULL, "[" NAMED "]" },
    { "create as it was",
      "{\"type\":\"ENTITY_CREATE\",\"user\":\"u\",\"entities\":[" OLD_ENTITY(
          "\"-1\"", "hive_table",
          "\"name\":\"t\",\"owner\":null,\"db\":" OLD_ENTITY(
              "\"-2\"", "hive_db", "\"name\":\"d\"",
              "") ",\"columns\":[" OLD_ENTITY("-3", "hive_column",
                                              "\"name\":\"c\",\"table\":" ID("\"-1\"",
                                                                             "hive_table"),
                                              "") "," ID("-3",
                                                         "hive_column") "],\"parameters\":{\"a\":"
                                                                        "\"1\","
                                                                        "\"b\":\"2\"},\"serde\":"
                                                                        "{" CLASS(
                                                                            "Struct") ",\"typeName"
                                                                                      "\":\"s\","
                                                                                      "\"values\":{"
                                                                                      "\"x\":[1]}}",
          ",\"traitNames\":[\"PII\",\"T\"],\"traits\":{\"PII\":{\"typeName\":\"PII\",\"values\":{"
          "\"level\":{\"value\":\"HIGH\",\"ordinal\":1}}}}") "]}",
      HOOK_STORE, "u",
      "{\"entities\":[{\"typeName\":\"hive_table\",\"guid\":\"-1\",\"attributes\":{\"name\":\"t\","
      "\"owner\":null,\"db\":{\"guid\":\"-2\",\"typeName\":\"hive_db\"},\"columns\":[{\"guid\":\"-"
      "3\","
      "\"typeName\":\"hive_column\"},{\"guid\":\"-3\",\"typeName\":\"hive_column\"}],"
      "\"parameters\":{"
      "\"a\":\"1\",\"b\":\"2\"},\"serde\":{\"typeName\":\"s\",\"attributes\":{\"x\":[1]}}},"
      "\"classifications\":[{\"typeName\":\"PII\",\"attributes\":{\"level\":\"HIGH\"}},{"
      "\"typeName\":"
      "\"T\",\"attributes\":{}}]}],\"referredEntities\":{\"-2\":{\"typeName\":\"hive_db\",\"guid\":"
      "\"-2\",\"attributes\":{\"name\":\"d\"}},\"-3\":{\"typeName\":\"hive_column\",\"guid\":\"-"
      "3\","
      "\"attributes\":{\"name\":\"c\",\"table\":{\"guid\":\"-1\",\"typeName\":\"hive_table\"}}}}}",
      NULL },
    { "full update as it was: the same one twice, once in another",
      "{\"type\":\"ENTITY_FULL_UPDATE\",\"entities\":[" OLD_ENTITY(
          "\"-1\"", "a",
          "\"x\":" OLD_ENTITY("\"-2\"", "b", "\"n\":1", "") ",\"y\":" OLD_ENTITY("\"-3\"", "b",
                                                                                 "\"n\":null", ""),
          ",\"traits\":{\"PII\":{}}") "," OLD_ENTITY("\"-2\"", "b", "\"n\":2",
                                                     "") "," OLD_ENTITY("\"-1\"", "a", "", "") "]}",
      HOOK_STORE, "UNKNOWN",
      "{\"entities\":[{\"typeName\":\"a\",\"guid\":\"-1\",\"attributes\":{\"x\":{\"guid\":\"-2\","
      "\"typeName\":\"b\"},\"y\":{\"guid\":\"-3\",\"typeName\":\"b\"}}}],\"referredEntities\":{\"-"
      "2\":{"
      "\"typeName\":\"b\",\"guid\":\"-2\",\"attributes\":{\"n\":1}}}}",
      NULL },
    { "partial update as it was",
      "{\"type\":\"ENTITY_PARTIAL_UPDATE\",\"user\":\"u\",\"typeName\":\"hive_table\","
      "\"attribute\":"
      "\"qualifiedName\",\"attributeValue\":\"t@cm\",\"entity\":" OLD_ENTITY("\"-1\"", "hive_table",
                                                                             "\"owner\":\"x\"",
                                                                             "") "}",
      HOOK_UPDATE, "u",
      "{\"entity\":{\"typeName\":\"hive_table\",\"guid\":\"-1\",\"attributes\":{\"owner\":\"x\"}},"
      "\"referredEntities\":{}}",
      "[" NAMED "]" },
};

static void check_json(const json_t *have, const char *want, const char *name)
{
    json_auto_t *expected = want ? parse_json(want) : NULL;

    ck_assert_msg(expected ? json_equal(have, expected) : !have, "%s", name);
}

START_TEST(reads_case)
{
    json_auto_t *notification = parse_json(must_read[_i].text);
    AUTO(hook_done) struct hook hook = { 0 };
    struct entity_fault fault = { 0 };

    ck_assert_msg(hook_read(notification, &hook, &fault) == 0, "%s: %s", must_read[_i].name,
                  fault.message);
    ck_assert_int_eq(hook.action, must_read[_i].action);
    ck_assert_str_eq(hook.user, must_read[_i].user);
    check_json(hook.body, must_read[_i].body, must_read[_i].name);
    check_json(hook.targets, must_read[_i].targets, must_read[_i].name);
}
END_TEST

#define OLD(kind) "notification: " kind " is not taken, only what becomes of entities"

static const struct {
    const char *text, *code, *message;
} must_not_read[] = {
    { "{}", "invalid_message", "notification: there is no type in it" },
    { "{\"type\":1}", "invalid_message", "notification: there is no type in it" },
    { "{\"type\":\"entity_create_v2\"}", "unknown_kind",
      "notification: there is no type of notification \"entity_create_v2\"" },
    { "{\"type\":\"ENTITY_CREATE\",\"entities\":[{\"typeName\":\"t\",\"values\":{}}]}",
      "invalid_message", "notification: an entity has no id with an id in it" },
    { "{\"type\":\"ENTITY_CREATE\",\"entities\":[{\"id\":{\"id\":\"-1\"},\"values\":{}}]}",
      "invalid_message", "notification: an entity has no typeName" },
    { "{\"type\":\"ENTITY_CREATE\",\"entities\":[" OLD_ENTITY(
          "\"-1\"", "t", "\"r\":[{\"m\":{" CLASS("Id") ",\"id\":\"\"}}]", "") "]}",
      "invalid_message", "notification: an entity has no id with an id in it" },
    { "{\"type\":\"ENTITY_CREATE\",\"entities\":[null]}", "invalid_message",
      "notification: an entity has no id with an id in it" },
    { "{\"type\":\"ENTITY_FULL_UPDATE\",\"entities\":{}}", "invalid_message",
      "notification: entities is not an array of entities" },
    { "{\"type\":\"ENTITY_PARTIAL_UPDATE\"}", "invalid_message",
      "notification: entity is not an object" },
    { "{\"type\":\"ENTITY_PARTIAL_UPDATE\",\"entity\":" OLD_ENTITY("\"-1\"", "t", "", "") "}",
      "invalid_message",
      "notification: typeName, attribute and attributeValue are not all strings" },
    { "{\"type\":\"TYPE_CREATE\"}", "unsupported_kind", OLD("TYPE_CREATE") },
    { "{\"type\":\"IMPORT_ENTITY\"}", "unsupported_kind", OLD("IMPORT_ENTITY") },
    { "{\"type\":\"ENTITY_CREATE_V2\"}", "invalid_message",
      "notification: entities is not an object with an array of entities in it" },
    { "{\"type\":\"ENTITY_CREATE_V2\",\"entities\":[{}]}", "invalid_message",
      "notification: entities is not an object with an array of entities in it" },
    { "{\"type\":\"ENTITY_FULL_UPDATE_V2\",\"entities\":{\"entities\":{}}}", "invalid_message",
      "notification: entities is not an object with an array of entities in it" },
    { "{\"type\":\"ENTITY_PARTIAL_UPDATE_V2\",\"entity\":{\"entity\":{}}}", "invalid_message",
      "notification: entityId is not an object" },
    { "{\"type\":\"ENTITY_PARTIAL_UPDATE_V2\",\"entityId\":{},\"entity\":{}}", "invalid_message",
      "notification: entity is not an object with an entity in it" },
    { "{\"type\":\"ENTITY_DELETE_V2\",\"entities\":{}}", "invalid_message",
      "notification: entities is not an array of references" },
    { "{\"type\":\"ENTITY_DELETE_V2\",\"entities\":[]}", "invalid_message",
      "notification: entities is not an array of references" },
    { "{\"type\":\"ENTITY_DELETE\",\"typeName\":\"t\",\"attribute\":\"a\"}", "invalid_message",
      "notification: typeName, attribute and attributeValue are not all strings" },
};

/* It would stand in every row that the message makes. */
START_TEST(a_long_user)
{
    for (int too_long = 0; too_long < 2; too_long++) {
        AUTO(mem_free) char *user = xasprintf("%0*d", 1024 + too_long, 0);
        json_auto_t *notification =
            json_pack("{s:s, s:s, s:[{s:s, s:{s:s}}]}", "type", "ENTITY_DELETE_V2", "user", user,
                      "entities", "typeName", "t", "uniqueAttributes", "a", "b");
        AUTO(hook_done) struct hook hook = { 0 };
        struct entity_fault fault = { 0 };

        ck_assert_int_eq(hook_read(notification, &hook, &fault), -too_long);
        ck_assert_str_eq(fault.message,
                         too_long ? "notification: user is longer than 1024 bytes" : "");
    }
}
END_TEST

START_TEST(refuses_case)
{
    json_auto_t *notification = parse_json(must_not_read[_i].text);
    AUTO(hook_done) struct hook hook = { 0 };
    struct entity_fault fault = { 0 };

    ck_assert_msg(hook_read(notification, &hook, &fault) == -1, "%s", must_not_read[_i].text);
    ck_assert_uint_eq(fault.status, 400);
    ck_assert_str_eq(fault.code, must_not_read[_i].code);
    ck_assert_str_eq(fault.message, must_not_read[_i].message);
    ck_assert_ptr_null(hook.body);
    ck_assert_ptr_null(hook.targets);
}
END_TEST

/* The notification stays as it was. */
START_TEST(an_update_is_aimed)
{
    json_auto_t *notification = parse_json(must_read[2].text), *same = NULL, *want = NULL;
    AUTO(hook_done) struct hook hook = { 0 };
    struct entity_fault fault = { 0 };

    ck_assert_int_eq(hook_read(notification, &hook, &fault), 0);
    hook_aim(&hook, "g", "hive_table");
    same = parse_json(must_read[2].text);
    want = parse_json("{\"referredEntities\":{},\"entity\":{\"attributes\":{\"owner\":\"x\"},"
                      "\"guid\":\"g\",\"typeName\":\"hive_table\"}}");
    ck_assert(json_equal(hook.body, want));
    ck_assert(json_equal(notification, same));
}
END_TEST

/* ---- what we write ourselves ---- */

static const struct type *of(const struct type_registry *types, const char *name)
{
    const struct type *type = type_by_name(types, span_of(name));

    ck_assert_ptr_nonnull(type);
    return type;
}

/* Tables that feed a build, with names that are hard to pack. Owned. */
static json_t *build_notification(const struct type_registry *types, size_t tables, uint64_t *seed)
{
    struct notification_reference *references = xcalloc(tables + 1, sizeof(*references));
    json_auto_t *process = json_pack("{s:s, s:s, s:s}", "qualifiedName", "p@cm", "name",
                                     "Gr\xC3\xBC\xC3\x9F \xF0\x9F\x8C\xB3", "userName", "ada");
    const struct notification_entity entity = { of(types, "ml_model_train_build_process"),
                                                process };
    char **names = xcalloc(tables + 1, sizeof(*names));
    json_t *notification;

    for (size_t i = 0; i < tables; i++) {
        names[i] = xasprintf("d.%x%zx@cm", dice_roll(seed, UINT32_MAX), i);
        references[i] = (struct notification_reference){
            .relationship = of(types, "dataset_process_inputs"),
            .other = NOTIFICATION_ELSEWHERE,
            .type_name = "hive_table",
            .qualified_name = names[i],
        };
    }
    notification = notification_json(true, "ada", &entity, 1, references, tables);
    for (size_t i = 0; i < tables; i++)
        mem_free(names[i]);
    mem_free(names);
    mem_free(references);
    return notification;
}

/* The nodes that a message of these parts, read in any order and some twice, wants. */
static void check_parts(const struct type_registry *types, const struct message_parts *parts,
                        size_t tables, uint64_t *seed)
{
    static const struct message_limits limits = { 1 << 20, 1000, 1, 1 << 21, 0 };
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
    AUTO(message_done) struct message message = { 0 };
    AUTO(entity_input_done) struct entity_input input = { 0 };
    AUTO(hook_done) struct hook hook = { 0 };
    struct entity_fault fault = { 0 };
    struct err err = { 0 };
    const struct uuid guids = { { 1 } };

    for (size_t left = parts->len; left > 0; left--) {
        size_t at = dice_roll(seed, (uint32_t)left);
        struct buf part = parts->items[at];

        if (left > 1 && dice_roll(seed, 4) == 0)
            ck_assert_int_eq(message_read(reader, buf_span(&part), 0, &message, &err), 0);
        ck_assert_msg(message_read(reader, buf_span(&part), 0, &message, &err) == (left == 1), "%s",
                      err.text);
        parts->items[at] = parts->items[left - 1];
        parts->items[left - 1] = part;
    }
    ck_assert_msg(hook_read(message.notification, &hook, &fault) == 0, "%s", fault.message);
    ck_assert_str_eq(hook.user, "ada");
    ck_assert_msg(entity_input_parse(&input, types, hook.body, false, &guids, &fault) == 0, "%s",
                  fault.message);
    ck_assert_uint_eq(input.wanted_len, 1);
    ck_assert_uint_eq(input.edges_len, tables);
    ck_assert_uint_eq(input.nodes_len, tables + 1);
}

START_TEST(what_is_written_is_read)
{
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    const struct message_head head = { .id_prefix = SPAN_LITERAL("x"), .number = 1 };
    uint64_t seed = 42;

    for (size_t tables = 1; tables <= 256; tables *= 2) {
        json_auto_t *notification = build_notification(types, tables, &seed);
        AUTO(mem_free) char *text = json_dumps(notification, JSON_COMPACT);
        size_t most = MESSAGE_ENVELOPE_BYTES + 1 + dice_roll(&seed, 4000);

        for (int compresses = 0; compresses < 2; compresses++) {
            struct message_parts parts;

            message_write(&head, span_of(text), most, compresses, &parts);
            ck_assert(parts.len <= 1000);
            check_parts(types, &parts, tables, &seed);
            message_parts_done(&parts);
        }
    }
}
END_TEST

/* ---- the limits of a message ---- */

START_TEST(a_limit_is_told_from_nonsense)
{
    static const struct message_limits limits = { 600, 4, 1, 4000, 3000 };
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
    AUTO(buf_done) struct buf long_text = { .max = SIZE_MAX };
    struct message message;
    struct err err = { 0 };

    ck_assert_int_eq(message_read(reader, span_of("nonsense"), 0, &message, &err), -1);
    ck_assert(!message.is_too_large);
    ck_assert_int_eq(message_read(reader, span_of("{\"a\":[{},{},{},{}]}"), 0, &message, &err), -1);
    ck_assert(message.is_too_large);
    ck_assert_str_eq(err.text, "message: 19 bytes with more values than can be read in 3000 bytes "
                               "of memory");
    while (long_text.len <= 600)
        buf_append_char(&long_text, ' ');
    ck_assert_int_eq(message_read(reader, buf_span(&long_text), 0, &message, &err), -1);
    ck_assert(message.is_too_large);
    ck_assert_str_eq(err.text, "message: 601 bytes, at most 600 are read");
}
END_TEST

static const struct {
    const char *text;
    int rc;
    const char *id; /* or the error */
    size_t index, count;
} look_cases[] = {
    { "{\"type\":\"X\"}", 0, NULL, 1, 1 },
    { "{\"version\":{\"version\":\"1.0.0\"},\"msgId\":\"a_1\",\"message\":{}}", 0, "a_1", 1, 1 },
    { "{\"version\":{},\"msgId\":\"a_1\",\"msgSplitIdx\":2,\"msgSplitCount\":3,\"message\":\"\"}",
      0, "a_1", 2, 3 },
    { "{\"version\":{},\"msgSplitIdx\":2,\"msgSplitCount\":3,\"message\":\"\"}", -1,
      "message: a part without msgId", 0, 0 },
    { "{\"version\":{},\"msgId\":\"a\",\"msgSplitIdx\":3,\"msgSplitCount\":3,\"message\":\"\"}", -1,
      "message: part 3 of 3, they are numbered from 0", 0, 0 },
    { "{\"version\":{},\"msgId\":\"a\",\"msgSplitIdx\":0,\"msgSplitCount\":5,\"message\":\"\"}", -1,
      "message: cut into 5 parts, at most 4 are read", 0, 0 },
};

START_TEST(look_case)
{
    static const struct message_limits limits = { 600, 4, 1, 4000, 0 };
    json_auto_t *root = parse_json(look_cases[_i].text);
    struct message_label label;
    struct err err = { 0 };

    ck_assert_int_eq(message_look(&limits, root, &label, &err), look_cases[_i].rc);
    if (look_cases[_i].rc < 0) {
        ck_assert_str_eq(err.text, look_cases[_i].id);
        return;
    }
    ck_assert_pstr_eq(label.id, look_cases[_i].id);
    ck_assert_uint_eq(label.index, look_cases[_i].index);
    ck_assert_uint_eq(label.count, look_cases[_i].count);
}
END_TEST

Suite *hook_suite(void)
{
    Suite *suite = suite_create("hook");
    TCase *tcase = tcase_create("hook");

    tcase_add_loop_test(tcase, reads_case, 0, LENGTH(must_read));
    tcase_add_loop_test(tcase, refuses_case, 0, LENGTH(must_not_read));
    tcase_add_test(tcase, a_long_user);
    tcase_add_test(tcase, an_update_is_aimed);
    tcase_add_test(tcase, what_is_written_is_read);
    tcase_add_test(tcase, a_limit_is_told_from_nonsense);
    tcase_add_loop_test(tcase, look_case, 0, LENGTH(look_cases));
    suite_add_tcase(suite, tcase);
    return suite;
}
