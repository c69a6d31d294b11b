#include "atlas/entity_input.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "tests/harness/dice.h"

#define UNKNOWN "12f34405-38fa-42de-9ed4-68dbd82d36f6"
#define OTHER "22f34405-38fa-42de-9ed4-68dbd82d36f6"

static struct type_registry *types;
static const struct uuid seed = { { 1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 0, 0, 0, 0 } };

static void types_setup(void)
{
    types = type_registry_new();
}

static void types_teardown(void)
{
    type_registry_free(types);
}

static json_t *parse_json(const char *text)
{
    json_error_t error;
    json_t *json = json_loads(text, 0, &error);

    ck_assert_msg(json != NULL, "%s: %s", text, error.text);
    return json;
}

/* ---- must parse, must not ---- */

#define TABLE(guid, name) TABLE_WITH(guid, name, "", "{}")
#define TABLE_WITH(guid, name, attributes, relations)                                              \
    "{\"typeName\":\"hive_table\",\"guid\":" guid ",\"attributes\":{\"qualifiedName\":\"" name     \
    "\",\"name\":\"n\"" attributes "},\"relationshipAttributes\":" relations "}"
#define NAMED(name)                                                                                \
    "{\"typeName\":\"hive_table\",\"uniqueAttributes\":{\"qualifiedName\":\"" name "\"}}"
#define PROCESS(inputs)                                                                            \
    "{\"typeName\":\"Process\",\"attributes\":{\"qualifiedName\":\"p\",\"name\":\"p\"},"           \
    "\"relationshipAttributes\":{\"inputs\":" inputs "}}"

static const struct {
    const char *name, *body;
    size_t wanted, outside, edges, holds;
} must_parse[] = {
    { "single", "{\"entity\":" TABLE("-1", "t") "}", 1, 0, 0, 0 },
    { "bulk on the single path", "{\"entity\":null,\"entities\":[" TABLE("\"-1\"", "t") "]}", 1, 0,
      0, 0 },
    { "no guid", "{\"entities\":[" TABLE("null", "t") "," TABLE("\"\"", "u") "]}", 2, 0, 0, 0 },
    { "any text is a guid of its own",
      "{\"entities\":[" TABLE("\"mine\"", "t") "," PROCESS("[{\"guid\":\"mine\"}]") "]}", 2, 0, 1,
      1 },
    { "number and text",
      "{\"entities\":[" TABLE("-1", "t") "," PROCESS("[{\"guid\":\"-1\"},{\"guid\":-1}]") "]}", 2,
      0, 2, 1 },
    { "behind it", "{\"entities\":[" PROCESS("[{\"guid\":\"-1\"}]") "," TABLE("\"-1\"", "t") "]}",
      2, 0, 1, 1 },
    { "in attributes",
      "{\"entities\":[" TABLE("-1", "t") ",{\"typeName\":\"Process\",\"attributes\":{"
                                         "\"qualifiedName\":\"p\",\"name\":\"p\",\"inputs\":[{"
                                         "\"guid\":-1}]}}]}",
      2, 0, 1, 1 },
    { "the latter wins",
      "{\"entities\":[{\"typeName\":\"Process\",\"attributes\":{\"qualifiedName\":\"p\",\"name\":"
      "\"p\",\"inputs\":[{\"guid\":\"" UNKNOWN "\"}]},\"relationshipAttributes\":{\"inputs\":[]}}]"
      "}",
      1, 0, 0, 1 },
    { "null is absent, a set of nulls is empty",
      "{\"entities\":[{\"typeName\":\"Process\",\"attributes\":{\"qualifiedName\":\"p\",\"name\":"
      "\"p\",\"inputs\":null},\"relationshipAttributes\":{\"inputs\":null,\"outputs\":[null]},"
      "\"classifications\":null}]}",
      1, 0, 0, 1 },
    { "by name, twice", "{\"entity\":" PROCESS("[" NAMED("t") "," NAMED("t") "]") "}", 1, 1, 2, 1 },
    { "by name, of the request",
      "{\"entities\":[" PROCESS("[" NAMED("t") "]") "," TABLE("-1", "t") "]}", 2, 0, 1, 1 },
    { "by guid", "{\"entity\":" PROCESS("[{\"guid\":\"" UNKNOWN "\"}]") "}", 1, 1, 1, 1 },
    { "by guid in any case",
      "{\"entity\":" PROCESS(
          "[{\"guid\":\"12F34405-38FA-42DE-9ED4-68DBD82D36F6\"},{\"guid\":\"" UNKNOWN "\"}]") "}",
      1, 1, 2, 1 },
    { "referred to",
      "{\"entity\":" PROCESS("[{\"guid\":\"-7\"}]") ",\"referredEntities\":{\"-7\":" TABLE(
          "null", "t") ",\"-8\":{\"typeName\":\"nothing\"}}}",
      2, 0, 1, 1 },
    { "the same entity twice", "{\"entities\":[" TABLE("-1", "t") "," TABLE("-2", "t") "]}", 1, 0,
      0, 0 },
    { "ended edges are not wanted again",
      "{\"entity\":" PROCESS("[{\"guid\":\"" UNKNOWN "\",\"relationshipStatus\":\"DELETED\"}]") "}",
      1, 0, 0, 1 },
    { "which of two relationships",
      "{\"entity\":{\"typeName\":\"hive_column\",\"attributes\":{\"qualifiedName\":\"c\",\"name\":"
      "\"c\",\"type\":\"int\"},\"relationshipAttributes\":{\"table\":{\"guid\":\"" UNKNOWN
      "\",\"relationshipType\":\"hive_table_partitionkeys\"}}}}",
      1, 1, 1, 1 },
    { "unknown attributes", "{\"entity\":" TABLE_WITH("1", "t", ",\"no\":1", "{\"not\":2}") "}", 1,
      0, 0, 0 },
};

START_TEST(parses)
{
    json_auto_t *body = parse_json(must_parse[_i].body);
    AUTO(entity_input_done) struct entity_input input;
    struct entity_fault fault = { 0 };
    size_t wanted = 0, outside = 0;
    int rc = entity_input_parse(&input, types, body, false, &seed, &fault);

    ck_assert_msg(rc == 0, "%s: %s", must_parse[_i].name, fault.message);
    for (size_t i = 0; i < input.nodes_len; i++) {
        wanted += input.nodes[i].same == i && input.nodes[i].is_wanted;
        outside += input.nodes[i].same == i && !input.nodes[i].is_wanted;
    }
    ck_assert_msg(wanted == must_parse[_i].wanted && outside == must_parse[_i].outside &&
                      input.edges_len == must_parse[_i].edges &&
                      input.holds_len == must_parse[_i].holds,
                  "%s: %zu wanted, %zu outside, %zu edges, %zu holds", must_parse[_i].name, wanted,
                  outside, input.edges_len, input.holds_len);
}
END_TEST

static const struct {
    const char *body;
    unsigned status;
    const char *code, *message;
} must_not_parse[] = {
    { "[]", 400, "ATLAS-400-00-01A", "invalid parameters: no entities to create/update." },
    { "{\"entities\":[]}", 400, "ATLAS-400-00-01A",
      "invalid parameters: no entities to create/update." },
    { "{\"entities\":[[]]}", 400, "ATLAS-400-00-029", "an entity must be an object" },
    { "{\"entity\":{\"typeName\":7}}", 400, "ATLAS-400-00-014",
      "Type ENTITY with name null does not exist" },
    { "{\"entity\":{\"typeName\":\"no\"}}", 400, "ATLAS-400-00-014",
      "Type ENTITY with name no does not exist" },
    { "{\"entity\":{\"typeName\":\"hive_table_db\"}}", 400, "ATLAS-400-00-014",
      "Type ENTITY with name hive_table_db does not exist" },
    { "{\"entity\":" PROCESS("[{\"guid\":\"-1\"}]") "}", 404, "ATLAS-404-00-00A",
      "Referenced entity -1 is not found" },
    { "{\"entity\":" PROCESS("[{}]") "}", 400, "ATLAS-400-00-021", "ObjectId is not valid {}" },
    { "{\"entity\":" PROCESS("[\"x\"]") "}", 400, "ATLAS-400-00-021",
      "ObjectId is not valid \"x\"" },
    { "{\"entity\":" PROCESS("[{\"typeName\":\"no\",\"uniqueAttributes\":{\"a\":1}}]") "}", 400,
      "ATLAS-400-00-014", "Type ENTITY with name no does not exist" },
    { "{\"entity\":" PROCESS("[{\"typeName\":\"hive_table\",\"uniqueAttributes\":{\"a\":1}}]") "}",
      400, "ATLAS-400-00-021",
      "ObjectId is not valid {\"typeName\":\"hive_table\",\"uniqueAttributes\":{\"a\":1}}" },
    { "{\"entity\":" PROCESS("{\"guid\":\"-1\"}") "}", 404, "ATLAS-404-00-007",
      "Invalid instance creation/updation parameters passed : Process.inputs={\"guid\":\"-1\"}: "
      "invalid value for type array<DataSet>" },
    { "{\"entity\":" PROCESS("[{\"guid\":\"-7\"}]") ",\"referredEntities\":{\"-7\":{\"typeName\":"
                                                    "\"nothing\"}}}",
      400, "ATLAS-400-00-014", "Type ENTITY with name nothing does not exist" },
};

START_TEST(refuses)
{
    json_auto_t *body = parse_json(must_not_parse[_i].body);
    AUTO(entity_input_done) struct entity_input input;
    struct entity_fault fault = { 0 };

    ck_assert_int_eq(entity_input_parse(&input, types, body, false, &seed, &fault), -1);
    ck_assert_str_eq(fault.message, must_not_parse[_i].message);
    ck_assert_str_eq(fault.code, must_not_parse[_i].code);
    ck_assert_uint_eq(fault.status, must_not_parse[_i].status);
}
END_TEST

START_TEST(too_many)
{
    AUTO(buf_done) struct buf text;
    json_auto_t *body = NULL;
    AUTO(entity_input_done) struct entity_input input;
    struct entity_fault fault = { 0 };

    buf_init(&text, SIZE_MAX);
    buf_append_text(&text, "{\"entities\":[");
    for (int i = 0; i <= ENTITY_INPUT_ENTITIES_MAX; i++)
        buf_append_fmt(&text, "%s{\"typeName\":\"hive_table\"}", i ? "," : "");
    buf_append_text(&text, "]}");
    body = parse_json(buf_text(&text));
    ck_assert_int_eq(entity_input_parse(&input, types, body, false, &seed, &fault), -1);
    ck_assert_str_eq(fault.message, "more than 20000 entities: send them in several requests");
}
END_TEST

/* ---- what is stored ---- */

static json_t *attributes_of(const char *text, bool is_partial, json_t **joined)
{
    json_auto_t *body = parse_json(text);
    AUTO(entity_input_done) struct entity_input input;
    struct entity_fault fault = { 0 };
    int rc = entity_input_parse(&input, types, body, is_partial, &seed, &fault);

    ck_assert_msg(rc == 0, "%s", fault.message);
    *joined = json_incref(input.nodes[0].joined);
    return json_incref(input.nodes[0].attributes);
}

START_TEST(attributes)
{
    static const char body[] =
        "{\"entity\":{\"typeName\":\"ml_model_build\",\"attributes\":{\"qualifiedName\":\"b\","
        "\"name\":\"b\",\"version\":\"7\",\"imageTag\":null,\"createTime\":"
        "\"2024-01-01T00:00:00.000Z\",\"metadata\":{\"a\":\"b\",\"c\":null},\"project\":{\"guid\":"
        "\"" UNKNOWN "\"},\"inputToProcesses\":[],\"colour\":\"red\"}}}";
    json_t *joined;
    json_auto_t *full = attributes_of(body, false, &joined), *part = NULL;
    AUTO(mem_free) char *text = json_dumps(full, JSON_SORT_KEYS | JSON_COMPACT);
    AUTO(mem_free) char *more = NULL;

    ck_assert_str_eq(text, "{\"createTime\":1704067200000,\"imageTag\":null,\"metadata\":{\"a\":"
                           "\"b\"},\"name\":\"b\",\"qualifiedName\":\"b\",\"version\":7}");
    ck_assert_ptr_null(joined);
    part = attributes_of(body, true, &joined);
    more = json_dumps(joined, JSON_COMPACT);
    ck_assert_str_eq(more, "{\"metadata\":{\"a\":\"b\"}}");
    ck_assert_ptr_null(json_object_get(part, "metadata"));
    json_decref(joined);
}
END_TEST

/* Two nodes that turn out to be one entity. */
START_TEST(merged)
{
    json_auto_t *body = parse_json("{\"entities\":[" TABLE_WITH(
        "\"" UNKNOWN "\"", "t", ",\"comment\":\"c\"",
        "{}") "," TABLE_WITH("\"" OTHER "\"", "u", ",\"comment\":\"d\",\"owner\":\"o\"",
                             "{}") "," PROCESS("[{\"guid\":\"" OTHER "\"}]") "]}");
    AUTO(entity_input_done) struct entity_input input;
    struct entity_fault fault = { 0 };
    const struct entity_node *node;

    ck_assert_int_eq(entity_input_parse(&input, types, body, false, &seed, &fault), 0);
    entity_input_merge(&input, 1, 0);
    node = entity_input_node(&input, 1);
    ck_assert_ptr_eq(node, &input.nodes[0]);
    ck_assert_str_eq(json_string_value(json_object_get(node->attributes, "comment")), "d");
    ck_assert_str_eq(json_string_value(json_object_get(node->attributes, "owner")), "o");
    ck_assert_ptr_eq(entity_input_node(&input, input.edges[0].other), node);
    entity_input_merge(&input, 0, 1); /* again, and the other way */
    ck_assert_ptr_eq(entity_input_node(&input, 0), node);
}
END_TEST

/* References in attributes get their guids, those of the body stay as they are: it may be read
 * again. Of two views of one entity the latter's count. */
START_TEST(references_in_attributes)
{
    json_auto_t *body = parse_json("{\"entities\":[" TABLE_WITH(
        "\"-1\"", "t", ",\"replicatedTo\":[{\"guid\":\"-3\"}]",
        "{}") "," TABLE_WITH("\"-2\"", "t", ",\"replicatedTo\":[{\"guid\":\"-3\"}]",
                             "{}") ",{\"typeName\":\"AtlasServer\",\"guid\":\"-3\",\"attributes\":"
                                   "{\"name\":\"s\",\"fullName\":\"s\",\"displayName\":\"s\"}}]}");
    json_auto_t *before = json_deep_copy(body);
    AUTO(entity_input_done) struct entity_input input;
    struct entity_fault fault = { 0 };
    char guid[UUID_TEXT_LEN + 1];
    const json_t *server;

    ck_assert_msg(entity_input_parse(&input, types, body, false, &seed, &fault) == 0, "%s",
                  fault.message);
    ck_assert_uint_eq(input.inners_len, 2);
    ck_assert_int_eq(entity_input_check(&input, &fault), 0);
    ck_assert(json_equal(body, before));
    server =
        json_array_get(json_object_get(entity_input_node(&input, 0)->attributes, "replicatedTo"),
                       0);
    uuid_format(&entity_input_node(&input, 2)->guid, guid);
    ck_assert_str_eq(json_string_value(json_object_get(server, "guid")), guid);
    ck_assert_str_eq(json_string_value(json_object_get(server, "typeName")), "AtlasServer");
}
END_TEST

START_TEST(checked_when_all_is_known)
{
    json_auto_t *body = parse_json("{\"entity\":" PROCESS("[{\"guid\":\"" UNKNOWN "\"}]") "}");
    AUTO(entity_input_done) struct entity_input input;
    struct entity_fault fault = { 0 };

    ck_assert_int_eq(entity_input_parse(&input, types, body, false, &seed, &fault), 0);
    input.nodes[1].type = type_by_name(types, SPAN_LITERAL("hive_db"));
    ck_assert_int_eq(entity_input_check(&input, &fault), -1);
    ck_assert_str_eq(fault.code, "ATLAS-400-00-045");
    ck_assert_str_eq(fault.message, "Invalid entity-type for relationship attribute ‘inputs’: "
                                    "entity specified (guid=" UNKNOWN ") is of type ‘hive_db’, but "
                                    "expected type is ‘DataSet’");
    input.nodes[1].type = type_by_name(types, SPAN_LITERAL("hive_table"));
    ck_assert_int_eq(entity_input_check(&input, &fault), 0);
}
END_TEST

/* ---- the same however it is said ---- */

enum { TABLES = 6, PROCESSES = 4 };

struct said {
    bool edges[PROCESSES][TABLES];
    bool is_referred[TABLES]; /* in referredEntities */
};

static void write_reference(struct buf *out, uint64_t *dice, const struct said *said, int table)
{
    if (!said->is_referred[table] && dice_roll(dice, 2))
        buf_append_fmt(out,
                       "{\"guid\":null,\"typeName\":\"hive_table\",\"uniqueAttributes\":{"
                       "\"qualifiedName\":\"t%d\"}}",
                       table);
    else if (dice_roll(dice, 2))
        buf_append_fmt(out, "{\"guid\":-%d,\"qualifiedName\":\"t%d\"}", table + 1, table);
    else
        buf_append_fmt(out, "{\"guid\":\"-%d\",\"typeName\":\"hive_table\"}", table + 1);
}

static void write_table(struct buf *out, int table)
{
    buf_append_fmt(out,
                   "{\"typeName\":\"hive_table\",\"guid\":\"-%d\",\"attributes\":{"
                   "\"qualifiedName\":\"t%d\",\"name\":\"t\"}}",
                   table + 1, table);
}

static void write_process(struct buf *out, uint64_t *dice, const struct said *said, int process)
{
    AUTO(buf_done) struct buf inputs;
    bool is_plain = dice_roll(dice, 2) != 0;

    buf_init(&inputs, SIZE_MAX);
    for (int table = 0; table < TABLES; table++) {
        if (!said->edges[process][table])
            continue;
        buf_append_text(&inputs, inputs.len ? "," : "");
        write_reference(&inputs, dice, said, table);
    }
    buf_append_fmt(out,
                   "{\"typeName\":\"Process\",\"attributes\":{\"qualifiedName\":\"p%d\",\"name\":"
                   "\"p\"%s%s%s},\"relationshipAttributes\":{%s%s%s}}",
                   process, is_plain ? ",\"inputs\":[" : "", is_plain ? buf_text(&inputs) : "",
                   is_plain ? "]" : "", is_plain ? "" : "\"inputs\":[",
                   is_plain ? "" : buf_text(&inputs), is_plain ? "" : "]");
}

/* Processes first or tables first. */
static void write_said(struct buf *out, uint64_t *dice, const struct said *said)
{
    bool is_first = dice_roll(dice, 2) != 0;
    const char *separator = "";

    buf_append_text(out, "{\"entities\":[");
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < TABLES && (round == 0) == is_first; i++) {
            if (said->is_referred[i])
                continue;
            buf_append_text(out, separator);
            write_table(out, i);
            separator = ",";
        }
        for (int i = 0; i < PROCESSES && (round == 0) != is_first; i++) {
            buf_append_text(out, separator);
            write_process(out, dice, said, i);
            separator = ",";
        }
    }
    buf_append_text(out, "],\"referredEntities\":{");
    separator = "";
    for (int i = 0; i < TABLES; i++) {
        if (!said->is_referred[i])
            continue;
        buf_append_fmt(out, "%s\"-%d\":", separator, i + 1);
        write_table(out, i);
        separator = ",";
    }
    buf_append_text(out, "}}");
}

static void check_said(const struct entity_input *input, const struct said *said)
{
    size_t edges = 0, nodes = PROCESSES, have = 0;

    for (int table = 0; table < TABLES; table++) {
        bool is_used = !said->is_referred[table];

        for (int process = 0; process < PROCESSES; process++) {
            edges += said->edges[process][table];
            is_used = is_used || said->edges[process][table];
        }
        nodes += is_used;
    }
    for (size_t i = 0; i < input->nodes_len; i++) {
        have += input->nodes[i].same == i;
        ck_assert(entity_input_node(input, i)->is_wanted);
    }
    ck_assert_uint_eq(have, nodes);
    ck_assert_uint_eq(input->edges_len, edges);
    for (size_t i = 0; i < input->edges_len; i++) {
        const char *process = entity_input_node(input, input->edges[i].holder)->key;
        const char *table = entity_input_node(input, input->edges[i].other)->key;

        ck_assert(process[0] == 'p' && table[0] == 't');
        ck_assert(said->edges[process[1] - '0'][table[1] - '0']);
    }
}

START_TEST(the_same_in_any_words)
{
    uint64_t dice = 77;

    for (int round = 0; round < 500; round++) {
        AUTO(buf_done) struct buf text;
        AUTO(entity_input_done) struct entity_input input;
        struct entity_fault fault = { 0 };
        struct said said = { 0 };
        json_auto_t *body = NULL;
        int rc;

        for (int i = 0; i < PROCESSES * TABLES; i++)
            said.edges[i / TABLES][i % TABLES] = dice_roll(&dice, 3) == 0;
        for (int i = 0; i < TABLES; i++)
            said.is_referred[i] = dice_roll(&dice, 2) != 0;
        buf_init(&text, SIZE_MAX);
        write_said(&text, &dice, &said);
        body = parse_json(buf_text(&text));
        rc = entity_input_parse(&input, types, body, false, &seed, &fault);
        ck_assert_msg(rc == 0, "%s\n%s", fault.message, buf_text(&text));
        check_said(&input, &said);
    }
}
END_TEST

/* ---- relationships ---- */

START_TEST(relationships)
{
    json_auto_t *body = parse_json("{\"typeName\":\"hive_table_db\",\"end1\":" NAMED(
        "t") ",\"end2\":{\"guid\":\"" UNKNOWN "\"}}");
    AUTO(entity_input_done) struct entity_input input;
    struct entity_fault fault = { 0 };

    ck_assert_int_eq(entity_input_relate(&input, types, body, &fault), 0);
    ck_assert_uint_eq(input.nodes_len, 2);
    ck_assert_uint_eq(input.edges_len, 1);
    input.nodes[1].type = type_by_name(types, SPAN_LITERAL("hive_db"));
    ck_assert_int_eq(entity_input_check_relation(&input, &fault), 0);
    input.nodes[1].type = type_by_name(types, SPAN_LITERAL("hive_table"));
    ck_assert_int_eq(entity_input_check_relation(&input, &fault), -1);
    ck_assert_str_eq(fault.message, "invalid relationshipDef: hive_table_db: end type 1: "
                                    "hive_table, end type 2: hive_table");
}
END_TEST

Suite *entity_input_suite(void); /* called from the table that tools/suites writes */

Suite *entity_input_suite(void)
{
    Suite *suite = suite_create("entity_input");
    TCase *tc = tcase_create("entity_input");

    tcase_add_checked_fixture(tc, types_setup, types_teardown);
    tcase_add_loop_test(tc, parses, 0, LENGTH(must_parse));
    tcase_add_loop_test(tc, refuses, 0, LENGTH(must_not_parse));
    tcase_add_test(tc, too_many);
    tcase_add_test(tc, attributes);
    tcase_add_test(tc, merged);
    tcase_add_test(tc, references_in_attributes);
    tcase_add_test(tc, checked_when_all_is_known);
    tcase_add_test(tc, the_same_in_any_words);
    tcase_add_test(tc, relationships);
    suite_add_tcase(suite, tc);
    return suite;
}
