#include "atlas/type_value.h"

#include <check.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/type_parse.h"
#include "base/mem.h"

Suite *type_value_suite(void);

static struct type_registry *registry;

static void setup(void)
{
    registry = type_registry_new();
}

static void teardown(void)
{
    type_registry_free(registry);
}

/* Texts are compared with members sorted. */
static char *dump(const json_t *json)
{
    return json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY |
                                       JSON_REAL_PRECISION(15))
                : xstrdup("nothing");
}

static json_t *load(const char *text)
{
    json_error_t error;
    json_t *json = json_loads(text, JSON_DECODE_ANY, &error);

    ck_assert_msg(json != NULL, "%s: %s", text, error.text);
    return json;
}

/* `stored` is what is kept, else `message` what is said. */
static const struct {
    const char *type, *value, *stored, *message;
} value_cases[] = {
    { "string", "\"a\"", "\"a\"", NULL },
    { "string", "null", "nothing", NULL },
    { "string", "\"\"", "\"\"", NULL },
    { "string", "12", "\"12\"", NULL },
    { "string", "0.1", "\"0.1\"", NULL },
    { "string", "true", "\"true\"", NULL },
    { "string", "[1]", NULL, "x=[1]: invalid value for type string" },
    { "string", "{\"a\": null}", NULL, "x={a=null}: invalid value for type string" },

    { "int", "7", "7", NULL },
    { "int", "\"7\"", "7", NULL },
    { "int", "\"-7\"", "-7", NULL },
    { "int", "7.0", "7", NULL },
    { "int", "7.5", NULL, "x=7.5: invalid value for type int" },
    { "int", "2147483647", "2147483647", NULL },
    { "int", "2147483648", NULL, "x=2147483648: invalid value for type int" },
    { "int", "-2147483648", "-2147483648", NULL },
    { "int", "-2147483649", NULL, "x=-2147483649: invalid value for type int" },
    { "int", "\"abc\"", NULL, "x=abc: invalid value for type int" },
    { "int", "\"\"", NULL, "x=: invalid value for type int" },
    { "int", "\" 7\"", NULL, "x= 7: invalid value for type int" },
    { "int", "\"0x10\"", NULL, "x=0x10: invalid value for type int" },
    { "int", "true", NULL, "x=true: invalid value for type int" },
    { "int", "1e300", NULL, "x=1e+300: invalid value for type int" },
    { "short", "32767", "32767", NULL },
    { "short", "32768", NULL, "x=32768: invalid value for type short" },
    { "byte", "-128", "-128", NULL },
    { "byte", "128", NULL, "x=128: invalid value for type byte" },
    { "long", "9223372036854775807", "9223372036854775807", NULL },
    { "long", "\"9223372036854775808\"", NULL,
      "x=9223372036854775808: invalid value for type long" },
    { "long", "9223372036854775808.0", NULL,
      "x=9.223372036854776e+18: invalid value for type long" },

    { "double", "0.1", "0.1", NULL },
    { "double", "1", "1.0", NULL },
    { "double", "\"1e-3\"", "0.001", NULL },
    { "double", "\"1e999\"", NULL, "x=1e999: invalid value for type double" },
    { "double", "\"NaN\"", NULL, "x=NaN: invalid value for type double" },
    { "float", "0.5", "0.5", NULL },
    { "float", "1e39", NULL, "x=1e+39: invalid value for type float" },
    { "biginteger", "\"123456789012345678901234567890\"", "\"123456789012345678901234567890\"",
      NULL },
    { "biginteger", "\"12\"", "12", NULL },
    { "biginteger", "\"1.5\"", NULL, "x=1.5: invalid value for type biginteger" },
    { "biginteger", "\"-\"", NULL, "x=-: invalid value for type biginteger" },
    { "bigdecimal", "\"1.10\"", "\"1.10\"", NULL },
    { "bigdecimal", "1.5", "1.5", NULL },
    { "bigdecimal", "\"one\"", NULL, "x=one: invalid value for type bigdecimal" },

    { "boolean", "true", "true", NULL },
    { "boolean", "\"TRUE\"", "true", NULL },
    { "boolean", "\"false\"", "false", NULL },
    { "boolean", "\"yes\"", NULL, "x=yes: invalid value for type boolean" },
    { "boolean", "1", NULL, "x=1: invalid value for type boolean" },

    { "date", "1700000000000", "1700000000000", NULL },
    { "date", "-1", "-1", NULL },
    { "date", "\"1700000000000\"", "1700000000000", NULL },
    { "date", "1.7e12", "1700000000000", NULL },
    { "date", "\"1970-01-01T00:00:00.001Z\"", "1", NULL },
    { "date", "\"2024-02-29T23:59:59.999Z\"", "1709251199999", NULL },
    { "date", "\"2023-02-29T00:00:00.000Z\"", NULL,
      "x=2023-02-29T00:00:00.000Z: invalid value for type date" },
    { "date", "\"2023-13-01T00:00:00.000Z\"", NULL,
      "x=2023-13-01T00:00:00.000Z: invalid value for type date" },
    { "date", "\"2023-01-01T24:00:00.000Z\"", NULL,
      "x=2023-01-01T24:00:00.000Z: invalid value for type date" },
    { "date", "\"2023-01-01T00:00:00Z\"", NULL,
      "x=2023-01-01T00:00:00Z: invalid value for type date" },
    { "date", "\"2023-01-01T00:00:00.000Zz\"", NULL,
      "x=2023-01-01T00:00:00.000Zz: invalid value for type date" },
    { "date", "\"today\"", NULL, "x=today: invalid value for type date" },
    { "date", "\"\"", NULL, "x=: invalid value for type date" },

    { "ml_model_deployment_status", "\"deployed\"", "\"deployed\"", NULL },
    { "ml_model_deployment_status", "\"DEPLOYED\"", "\"deployed\"", NULL },
    { "ml_model_deployment_status", "\"gone\"", NULL,
      "x=gone: invalid value for type ml_model_deployment_status" },
    { "ml_model_deployment_status", "2", NULL,
      "x=2: invalid value for type ml_model_deployment_status" },

    { "array<string>", "[\"a\", null, \"b\"]", "[\"a\",\"b\"]", NULL },
    { "array<string>", "[]", "[]", NULL },
    { "array<string>", "\"a\"", NULL, "x=a: invalid value for type array<string>" },
    { "array<int>", "[1, \"2\", \"c\"]", NULL, "x[2]=c: invalid value for type int" },
    { "array<array<int>>", "[[1], [\"2\"]]", "[[1],[2]]", NULL },
    { "array<array<int>>", "[[1], [\"q\"]]", NULL, "x[1][0]=q: invalid value for type int" },
    { "map<string,string>", "{\"b\": 1, \"a\": \"x\", \"c\": null}", "{\"a\":\"x\",\"b\":\"1\"}",
      NULL },
    { "map<string, int>", "{\"b\": \"1\"}", "{\"b\":1}", NULL },
    { "map<string,int>", "{\"b\": \"q\"}", NULL, "x.b=q: invalid value for type int" },
    { "map<int,string>", "{\"1\": \"a\"}", "{\"1\":\"a\"}", NULL },
    { "map<int,string>", "{\"q\": \"a\"}", NULL, "x.q: invalid key for type map<int,string>" },
    { "map<string,array<int>>", "{\"a\": [1, \"z\"]}", NULL,
      "x.a[1]=z: invalid value for type int" },
    { "map<string,string>", "[1, 2]", NULL, "x=[1, 2]: invalid value for type map<string,string>" },

    { "hive_order", "{\"order\": \"1\", \"col\": \"c\", \"other\": 1}",
      "{\"attributes\":{\"col\":\"c\",\"order\":1},\"typeName\":\"hive_order\"}", NULL },
    { "hive_order",
      "{\"typeName\": \"hive_order\", \"attributes\": {\"order\": 1, \"col\": \"c\"}}",
      "{\"attributes\":{\"col\":\"c\",\"order\":1},\"typeName\":\"hive_order\"}", NULL },
    { "hive_order", "{\"order\": 1, \"col\": null}", NULL,
      "x.col: mandatory attribute value missing in type hive_order" },
    { "hive_order", "{\"order\": \"q\", \"col\": \"c\"}", NULL,
      "x.order=q: invalid value for type int" },
    { "hive_order", "\"c\"", NULL, "x=c: invalid value for type hive_order" },
    { "array<hive_order>", "[{\"order\": 1, \"col\": \"c\"}, {\"order\": 1}]", NULL,
      "x[1].col: mandatory attribute value missing in type hive_order" },

    { "hive_table", "{\"guid\": \"-1\", \"more\": null}", "{\"guid\":\"-1\",\"more\":null}", NULL },
    { "hive_table", "{\"guid\": -3}", "{\"guid\":-3}", NULL },
    { "objectid", "{\"typeName\": \"t\", \"uniqueAttributes\": {\"qualifiedName\": \"q\"}}",
      "{\"typeName\":\"t\",\"uniqueAttributes\":{\"qualifiedName\":\"q\"}}", NULL },
    { "hive_table", "{\"guid\": null, \"typeName\": \"t\", \"uniqueAttributes\": {}}", NULL,
      "x={guid=null, typeName=t, uniqueAttributes={}}: invalid value for type objectid" },
    { "array<hive_table>", "[{\"guid\": \"\"}]", NULL,
      "x[0]={guid=}: invalid value for type objectid" },
    { "array<hive_table>", "[\"g\"]", NULL, "x[0]=g: invalid value for type objectid" },

    { "nothing", "1", NULL, "x: Unknown/invalid typename nothing" },
    { "array<nothing>", "[1]", NULL, "x[0]: Unknown/invalid typename nothing" },
    { "dataset_process_inputs", "1", NULL, "x: Unknown/invalid typename dataset_process_inputs" },
};

START_TEST(value_case)
{
    const char *type = value_cases[_i].type, *want = value_cases[_i].stored;
    json_auto_t *value = load(value_cases[_i].value);
    AUTO(mem_free) char *before = dump(value);
    AUTO(mem_free) char *after = NULL;
    AUTO(mem_free) char *have = NULL;
    json_auto_t *stored = NULL;
    struct err err = { 0 };
    int rc = type_value_check(registry, span_of(type), "x", value, &stored, &err);

    have = dump(stored);
    after = dump(value);
    ck_assert_str_eq(after, before);
    if (want) {
        ck_assert_msg(rc == 0, "%s", err.text);
        ck_assert_str_eq(have, want);
        return;
    }
    ck_assert_int_eq(rc, -1);
    ck_assert_ptr_null(stored);
    ck_assert_int_eq(err.kind, ERR_INPUT);
    ck_assert_str_eq(err.text, value_cases[_i].message);
}
END_TEST

static const struct {
    const char *type, *attributes, *elsewhere, *stored, *message;
    bool is_update;
} attributes_cases[] = {
    { "ml_model_build", "{\"qualifiedName\": \"q\", \"name\": \"n\", \"version\": \"3\"}", NULL,
      "{\"name\":\"n\",\"qualifiedName\":\"q\",\"version\":3}", NULL, false },
    { "ml_model_build", "{\"qualifiedName\": \"q\", \"name\": \"n\", \"version\": \"abc\"}", NULL,
      NULL, "ml_model_build.version=abc: invalid value for type int", false },
    { "ml_model_build", "{\"qualifiedName\": \"q\", \"name\": \"n\"}", NULL, NULL,
      "ml_model_build.version: mandatory attribute value missing in type ml_model_build", false },
    { "ml_model_build", "{\"name\": \"n\", \"version\": 1}", NULL, NULL,
      "ml_model_build.qualifiedName: mandatory attribute value missing in type Referenceable",
      false },
    { "ml_model_build", "{\"qualifiedName\": \"q\", \"version\": 1}", NULL, NULL,
      "ml_model_build.name: mandatory attribute value missing in type Asset", false },
    { "ml_model_build", "{\"version\": 1}", NULL, "{\"version\":1}", NULL, true },
    { "ml_model_build", "{\"version\": \"x\"}", NULL, NULL,
      "ml_model_build.version=x: invalid value for type int", true },
    { "ml_model_build", "{\"version\": 1, \"nobody\": 2}", NULL, "{\"version\":1}", NULL, true },
    { "ml_model_build", "{\"metadata\": {\"k\": 1}}", NULL, "{\"metadata\":{\"k\":\"1\"}}", NULL,
      true },
    { "ml_model_build", "{\"version\": 1, \"name\": null}",
      "{\"qualifiedName\": \"q\", \"name\": 1}", "{\"version\":1}", NULL, false },
    { "ml_model_build", "{\"version\": 1}", "{\"qualifiedName\": \"q\", \"name\": null}", NULL,
      "ml_model_build.name: mandatory attribute value missing in type Asset", false },
    { "ml_model_build", "null", NULL, NULL,
      "ml_model_build.qualifiedName: mandatory attribute value missing in type Referenceable",
      false },
    { "ml_model_build", "[]", NULL, NULL,
      "ml_model_build=[]: invalid value for type ml_model_build", true },
    { "Process", "{\"inputs\": [{\"guid\": \"-1\"}, {\"guid\": \"-1\"}]}", NULL,
      "{\"inputs\":[{\"guid\":\"-1\"}]}", NULL, true },
    { "hive_table", "{\"aliases\": [\"b\", \"a\", \"b\"], \"temporary\": \"true\"}", NULL,
      "{\"aliases\":[\"b\",\"a\"],\"temporary\":true}", NULL, true },
    { "hive_process", "{\"recentQueries\": [\"b\", \"b\"]}", NULL,
      "{\"recentQueries\":[\"b\",\"b\"]}", NULL, true },
};

START_TEST(attributes_case)
{
    const char *elsewhere = attributes_cases[_i].elsewhere, *want = attributes_cases[_i].stored;
    json_auto_t *attributes = load(attributes_cases[_i].attributes);
    json_auto_t *others = elsewhere ? load(elsewhere) : NULL;
    json_auto_t *stored = NULL;
    struct err err = { 0 };
    const struct type *type = type_by_name(registry, span_of(attributes_cases[_i].type));
    int rc = type_values_check(registry, type, attributes, others, attributes_cases[_i].is_update,
                               &stored, &err);
    AUTO(mem_free) char *have = dump(stored);

    if (want) {
        ck_assert_msg(rc == 0, "%s", err.text);
        ck_assert_str_eq(have, want);
        return;
    }
    ck_assert_int_eq(rc, -1);
    ck_assert_str_eq(err.text, attributes_cases[_i].message);
}
END_TEST

static const struct {
    const char *type;
    enum type_references want;
} reference_cases[] = {
    { "string", TYPE_NO_REFERENCES },
    { "map<string,string>", TYPE_NO_REFERENCES },
    { "hive_order", TYPE_NO_REFERENCES },
    { "file_action", TYPE_NO_REFERENCES },
    { "nothing", TYPE_NO_REFERENCES },
    { "DataSet", TYPE_REFERENCE },
    { "objectid", TYPE_REFERENCE },
    { "array<DataSet>", TYPE_REFERENCE_LIST },
    { "map<string,DataSet>", TYPE_REFERENCE_MAP },
    { "array<array<DataSet>>", TYPE_REFERENCE_INNER },
    { "map<string,array<DataSet>>", TYPE_REFERENCE_INNER },
};

START_TEST(reference_case)
{
    ck_assert_int_eq(type_value_references(registry, span_of(reference_cases[_i].type)),
                     reference_cases[_i].want);
}
END_TEST

/* What is said of a long value or name is short, and UTF-8. */
START_TEST(messages_are_cut)
{
    char text[1000];
    json_auto_t *value = NULL;
    json_auto_t *stored = NULL;
    struct err err = { 0 };
    const char *quoted;

    for (size_t i = 0; i + 3 < sizeof(text); i += 3)
        memcpy(text + i, "\xe2\x82\xac", 4);
    value = json_string(text);
    ck_assert_int_eq(type_value_check(registry, span_of("int"), "x", value, &stored, &err), -1);
    quoted = strstr(err.text, "...: invalid value for type int");
    ck_assert_msg(quoted != NULL, "%s", err.text);
    ck_assert_int_eq((quoted - err.text - 2) % 3, 0);

    json_decref(value);
    value = json_object();
    for (size_t i = 0; i < 1000; i++) {
        (void)snprintf(text, sizeof(text), "name%zu", i);
        (void)json_object_set_new(value, text, json_array());
    }
    ck_assert_int_eq(type_value_check(registry, span_of("int"), "x", value, &stored, &err), -1);
    ck_assert_msg(strstr(err.text, "...: invalid value for type int") != NULL, "%s", err.text);
    ck_assert_uint_lt(strlen(err.text), 200);
}
END_TEST

/* Neither the type nor the value makes the check go deeper than its bound. */
START_TEST(depth_is_bounded)
{
    enum { DEPTH = 500 };
    AUTO(mem_free) char *type = xcalloc(DEPTH, 7);
    json_auto_t *value = json_integer(1);
    json_auto_t *stored = NULL;
    struct err err = { 0 };

    for (size_t i = 0; i < DEPTH; i++) {
        json_t *outer = json_array();

        (void)json_array_append_new(outer, value);
        value = outer;
    }
    for (size_t i = 0; i < DEPTH - 50; i++)
        memcpy(type + i * 6, "array<", 6);
    memcpy(type + (DEPTH - 50) * 6, "int", 3);
    memset(type + (DEPTH - 50) * 6 + 3, '>', 47);
    ck_assert_int_eq(type_value_check(registry, span_of(type), "x", value, &stored, &err), -1);
    ck_assert_int_eq(type_value_check(registry, span_of("array<array<int>>"), "x", value, &stored,
                                      &err),
                     -1);
    ck_assert_msg(strstr(err.text, "invalid value for type int") != NULL, "%s", err.text);
}
END_TEST

/* Values that differ in the case of their letters alone are two. */
START_TEST(enum_values_of_two_cases)
{
    static const char text[] = "{\"enumDefs\": [{\"name\": \"E\", \"elementDefs\": "
                               "[{\"value\": \"on\", \"ordinal\": 0}, "
                               "{\"value\": \"ON\", \"ordinal\": 1}]}]}";
    static const char *const cases[][2] = { { "on", "on" }, { "ON", "ON" }, { "On", "on" } };
    static const struct type_stamp stamp = { "ada", "ada", 1, 1, 1 };
    AUTO(type_givens_done) struct type_givens givens = { 0 };
    json_auto_t *types = load(text);
    struct type_registry *made;
    struct type_fault fault;

    ck_assert_int_eq(type_parse(&givens, types, &stamp, &fault), 0);
    made = type_registry_make(&givens.items[0].custom, 1, &fault);
    ck_assert_ptr_nonnull(made);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        json_auto_t *value = json_string(cases[i][0]);
        json_auto_t *stored = NULL;
        struct err err = { 0 };

        ck_assert_int_eq(type_value_check(made, span_of("E"), "x", value, &stored, &err), 0);
        ck_assert_str_eq(json_string_value(stored), cases[i][1]);
    }
    type_registry_free(made);
}
END_TEST

Suite *type_value_suite(void)
{
    Suite *suite = suite_create("atlas/type_value");
    TCase *tc = tcase_create("type_value");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, value_case, 0, LENGTH(value_cases));
    tcase_add_loop_test(tc, attributes_case, 0, LENGTH(attributes_cases));
    tcase_add_loop_test(tc, reference_case, 0, LENGTH(reference_cases));
    tcase_add_test(tc, messages_are_cut);
    tcase_add_test(tc, depth_is_bounded);
    tcase_add_test(tc, enum_values_of_two_cases);
    suite_add_tcase(suite, tc);
    return suite;
}
