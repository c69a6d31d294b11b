#include "metrics/leaf.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../harness/runner.h"
#include "base/buf.h"
#include "random.h"

static const char *const type_names[] = {
    [LEAF_NUMBER] = "number", [LEAF_TEXT] = "text",       [LEAF_BOOLEAN] = "boolean",
    [LEAF_NULL] = "null",     [LEAF_ARRAY] = "array",     [LEAF_LONG_NAME] = "long name",
    [LEAF_DEEP] = "deep",     [LEAF_INVALID] = "invalid",
};

/* A line a leaf: "name type value". */
static void write_leaves(struct buf *out, struct span object)
{
    static struct leaf_walk walk;
    struct leaf leaf;

    leaf_walk_begin(&walk, object);
    while (leaf_walk_next(&walk, &leaf)) {
        buf_append_span(out, leaf.name);
        buf_append_fmt(out, " %s ", type_names[leaf.type]);
        if (leaf.type == LEAF_NUMBER)
            buf_append_fmt(out, "%.17g", leaf.number);
        else
            buf_append_span(out, leaf.text);
        buf_append_char(out, '\n');
    }
    ck_assert(!leaf_walk_next(&walk, &leaf));
}

static const struct {
    const char *name, *object, *want;
} leaf_cases[] = {
    { "nothing", "{}", "" },
    { "every type",
      "{\"i\":1,\"f\":-0.5,\"s\":\"x\",\"t\":true,\"u\":false,\"n\":null,\"l\":[1,{\"a\":2}]}",
      "i number 1\nf number -0.5\ns text x\nt boolean true\nu boolean false\nn null \nl array \n" },
    { "nested", "{\"a\":{\"b\":1,\"c\":{\"d\":2}},\"e\":3}",
      "a.b number 1\na.c.d number 2\ne number 3\n" },
    { "empty objects have no leaf", "{\"a\":{\"b\":{}},\"c\":{},\"d\":1}", "d number 1\n" },
    { "the header's example", "{\"a\":{\"b.c\":1},\"d\":[1,2],\"e\":{}}",
      "a.b\\.c number 1\nd array \n" },
    { "dots and backslashes in keys",
      "{\"a.b\":1,\"a\":{\"b\":2},\"c\\\\\":{\"d\":3},\"c\\\\.d\":4,\".\":5}",
      "a\\.b number 1\na.b number 2\nc\\\\.d number 3\nc\\\\\\.d number 4\n\\. number 5\n" },
    { "empty keys", "{\"\":{\"\":3,\"a\":4},\"b\":{\"\":5}}",
      ". number 3\n.a number 4\nb. number 5\n" },
    { "an empty key alone", "{\"\":1}", " number 1\n" },
    { "keys are unescaped", "{\"\\u0061\\u002e\\\"\":1,\"\\ud83d\\ude00\":2}",
      "a\\.\" number 1\n\xF0\x9F\x98\x80 number 2\n" },
    { "texts are unescaped", "{\"a\":\"\\u00e9\\/\\\"}\",\"b\":\"\",\"c\":\"}{,\"}",
      "a text \xC3\xA9/\"}\nb text \nc text }{,\n" },
    { "lists are one leaf whatever is in them", "{\"a\":[],\"b\":{\"c\":[{\"d\":[\"]\",{}]}]}}",
      "a array \nb.c array \n" },
    { "numbers", "{\"a\":-0,\"b\":1e22,\"c\":0.1,\"d\":9007199254740993}",
      "a number -0\nb number 1e+22\nc number 0.10000000000000001\nd number 9007199254740992\n" },
};

START_TEST(leaf_case)
{
    AUTO(buf_done) struct buf out;

    buf_init(&out, 10000);
    write_leaves(&out, span_of(leaf_cases[_i].object));
    ck_assert_msg(strcmp(buf_text(&out), leaf_cases[_i].want) == 0, "%s: %s", leaf_cases[_i].name,
                  buf_text(&out));
}
END_TEST

/* Keys as JSON spells them, and as names do. */
static const struct {
    const char *json, *name;
} keys[] = {
    { "a", "a" },         { "", "" },
    { "a.b", "a\\.b" },   { "\\\\", "\\\\" },
    { "\\u002E", "\\." }, { "with space", "with space" },
    { "\\\"{", "\"{" },   { "\xC3\xA9\\n", "\xC3\xA9\n" },
};

static const struct {
    const char *json, *want;
} values[] = {
    { "12.5", "number 12.5" },
    { "-3e2", "number -300" },
    { "true", "boolean true" },
    { "null", "null " },
    { "\"x\"", "text x" },
    { "\"\\\\\\u0041\"", "text \\A" },
    { "[[{\"}\":\"]\"}],\"\\\"\"]", "array " },
    { "{}", NULL },
};

/* An object of random members, and the lines that write_leaves should give. */
static void random_object(struct random *random, unsigned depth, struct buf *json, struct buf *want,
                          struct span prefix)
{
    size_t members = random_below(random, depth == 0 ? 12 : 5);

    buf_append_char(json, '{');
    for (size_t i = 0; i < members; i++) {
        size_t key = random_below(random, LENGTH(keys));
        AUTO(buf_done) struct buf name;

        buf_init(&name, 10000);
        buf_append_span(&name, prefix);
        buf_append_fmt(&name, "%s%s%zu", depth > 0 ? "." : "", keys[key].name, i);
        buf_append_fmt(json, "%s\"%s%zu\":", i > 0 ? "," : "", keys[key].json, i);
        if (depth < 6 && random_below(random, 3) == 0) {
            random_object(random, depth + 1, json, want, buf_span(&name));
        } else {
            size_t value = random_below(random, LENGTH(values));

            buf_append_text(json, values[value].json);
            if (values[value].want)
                buf_append_fmt(want, "%s %s\n", buf_text(&name), values[value].want);
        }
    }
    buf_append_char(json, '}');
}

START_TEST(random_objects)
{
    struct random random = { (uint64_t)_i };

    for (int i = 0; i < 100; i++) {
        AUTO(buf_done) struct buf json, want;
        AUTO(buf_done) struct buf got;

        buf_init(&json, 1 << 20);
        buf_init(&want, 1 << 20);
        buf_init(&got, 1 << 20);
        random_object(&random, 0, &json, &want, SPAN_LITERAL(""));
        write_leaves(&got, buf_span(&json));
        ck_assert_msg(strcmp(buf_text(&got), buf_text(&want)) == 0, "%s\n%s", buf_text(&json),
                      buf_text(&got));
    }
}
END_TEST

/* `key_len` bytes of name at depth 2: {"a":{"xxx":1}}, with what the key is made of. */
static enum leaf_type type_of_long_name(size_t name_len, const char *json, size_t unit_len)
{
    static struct leaf_walk walk;
    AUTO(buf_done) struct buf object;
    struct leaf leaf;
    size_t len = 2;

    buf_init(&object, 1 << 20);
    buf_append_text(&object, "{\"a\":{\"");
    for (; len + unit_len <= name_len; len += unit_len)
        buf_append_text(&object, json);
    for (; len < name_len; len++)
        buf_append_char(&object, 'y');
    buf_append_text(&object, "\":1},\"b\":2}");
    leaf_walk_begin(&walk, buf_span(&object));
    ck_assert(leaf_walk_next(&walk, &leaf));
    if (leaf.type == LEAF_NUMBER)
        ck_assert_uint_eq(leaf.name.len, name_len);
    else
        ck_assert_uint_eq(leaf.name.len, 0);
    name_len = leaf.type;
    ck_assert(leaf_walk_next(&walk, &leaf));
    ck_assert(leaf.type == LEAF_NUMBER && span_is(leaf.name, "b"));
    ck_assert(!leaf_walk_next(&walk, &leaf));
    return (enum leaf_type)name_len;
}

START_TEST(long_names)
{
    static const struct {
        const char *json;
        size_t len; /* in a name */
    } units[] = {
        { "x", 1 }, { ".", 2 }, { "\\\\", 2 }, { "\\u0041", 1 }, { "\\ud83d\\ude00", 4 }
    };

    for (size_t i = 0; i < LENGTH(units); i++) {
        size_t max = LEAF_NAME_BYTES_MAX;

        ck_assert_int_eq(type_of_long_name(max, units[i].json, units[i].len), LEAF_NUMBER);
        ck_assert_int_eq(type_of_long_name(max + 1, units[i].json, units[i].len), LEAF_LONG_NAME);
        ck_assert_int_eq(type_of_long_name(max + 9, units[i].json, units[i].len), LEAF_LONG_NAME);
        ck_assert_int_eq(type_of_long_name(20000, units[i].json, units[i].len), LEAF_LONG_NAME);
    }
}
END_TEST

/* The path of an object is full, so that not even a separator fits behind it. */
START_TEST(long_paths)
{
    AUTO(buf_done) struct buf object, got;

    buf_init(&object, 10000);
    buf_init(&got, 10000);
    buf_append_text(&object, "{\"");
    for (int i = 0; i < LEAF_NAME_BYTES_MAX; i++)
        buf_append_char(&object, 'x');
    buf_append_text(&object, "\":{\"\":1,\"a\":{\"b\":[],\"c\":{}}},\"d\":1}");
    write_leaves(&got, buf_span(&object));
    ck_assert_str_eq(buf_text(&got), " long name \n long name \nd number 1\n");
}
END_TEST

START_TEST(long_texts)
{
    static struct leaf_walk walk;

    for (size_t len = LEAF_TEXT_BYTES_MAX - 1; len < 3 * LEAF_TEXT_BYTES_MAX; len++) {
        AUTO(buf_done) struct buf object;
        struct leaf leaf;

        buf_init(&object, 10000);
        buf_append_text(&object, "{\"a\":\"");
        for (size_t i = 0; i < len; i++)
            buf_append_text(&object, "\\u0041");
        buf_append_text(&object, "\"}");
        leaf_walk_begin(&walk, buf_span(&object));
        ck_assert(leaf_walk_next(&walk, &leaf));
        ck_assert_int_eq(leaf.type, LEAF_TEXT);
        if (len <= LEAF_TEXT_BYTES_MAX)
            ck_assert_uint_eq(leaf.text.len, len);
        ck_assert_int_eq(leaf.text.len > LEAF_TEXT_BYTES_MAX, len > LEAF_TEXT_BYTES_MAX);
    }
}
END_TEST

/* Empty keys all the way down, so that the path stays short: its length is one less than the depth.
 */
START_TEST(deep_objects)
{
    for (size_t depth = 1; depth < LEAF_DEPTH_MAX + 3; depth += depth < 500 ? 100 : 1) {
        bool is_long = depth - 1 > LEAF_NAME_BYTES_MAX;
        AUTO(buf_done) struct buf object, got;
        AUTO(buf_done) struct buf want;

        buf_init(&object, 1 << 20);
        buf_init(&got, 1 << 20);
        buf_init(&want, 1 << 20);
        for (size_t i = 1; i < depth; i++) {
            buf_append_text(&object, "{\"\":");
            if (!is_long)
                buf_append_char(&want, '.');
        }
        buf_append_text(&object, "{\"\":1");
        for (size_t i = 1; i < depth; i++)
            buf_append_char(&object, '}');
        buf_append_text(&object, ",\"b\":2}");
        buf_append_fmt(&want, " %s\nb number 2\n",
                       depth > LEAF_DEPTH_MAX ? "deep "
                       : is_long              ? "long name "
                                              : "number 1");
        write_leaves(&got, buf_span(&object));
        ck_assert_str_eq(buf_text(&got), buf_text(&want));
    }
}
END_TEST

/* Bytes that are no checked object: anything may come, but the walk ends and stays inside. */
START_TEST(cut_anywhere)
{
    static const char whole[] =
        "{\"a\":{\"b\\u0041\":\"x\\ny\",\"c\":-1.5e3},\"d\":[1,{}],\"e\":null}";
    static struct leaf_walk walk;

    for (size_t len = 0; len < sizeof(whole); len++) {
        char *bytes = malloc(len ? len : 1); /* as long as this, for the sanitizer */
        struct leaf leaf;
        int leaves = 0;

        ck_assert_ptr_nonnull(bytes);
        memcpy(bytes, whole, len);
        leaf_walk_begin(&walk, (struct span){ bytes, len });
        while (leaf_walk_next(&walk, &leaf))
            leaves++;
        ck_assert_int_le(leaves, 4);
        free(bytes);
    }
}
END_TEST

static const char *const good_numbers[] = {
    "0",
    "-0",
    "0.0",
    "-0.0e5",
    "0e999",
    "1",
    "-1",
    "0.1",
    "0.3",
    "1e22",
    "1e23",
    "8.5e22",
    "9007199254740992",
    "9007199254740993",
    "9007199254740995",
    "9007199254740993.0",
    "9007199254740992.99999999999999999999",
    "9007199254740993.000000000000000000000000001",
    "18446744073709551615",
    "18446744073709551616",
    "9999999999999999999",
    "99999999999999999999",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "0.27630157159043545",
    "0.34809950054841160",
    "1.7976931348623157e308",
    "1.7976931348623158e308",
    "2.2250738585072011e-308",
    "2.2250738585072014e-308",
    "4.9e-324",
    "5e-324",
    "2.4703282292062328e-324",
    "2.4703282292062327e-324",
    "1e-400",
    "1E+2",
    "1e-0",
    "1e00000000000000000000000000000000000000000000000000000000000002",
    "0.000000000000000000000000000000000000000000000000000000000001",
    "1000000000000000000000000000000000000000000000000000000000000000",
    "123456789012345678e-27",
    "9999999999999999999e-27",
    "9999999999999999999e27",
    "1e-27",
    "1e-28",
    "7e27",
    "7e28",
    "4503599627370496.5",
    "4503599627370497.5",
    "9007199254740991.5",
    "3.1415926535897932384626433",
};

static void assert_number(const char *text)
{
    double want = strtod(text, NULL), got = 5;
    size_t len = strlen(text);
    char *token = malloc(len); /* as long as this, for the sanitizer */

    memcpy(token, text, len);
    if (leaf_number((struct span){ token, len }, &got) < 0)
        got = copysign(INFINITY, want); /* what strtod gives then */
    if (memcmp(&got, &want, sizeof(got)) != 0)
        ck_abort_msg("%s: %a instead of %a", text, got, want);
    free(token);
}

START_TEST(good_number)
{
    assert_number(good_numbers[_i]);
}
END_TEST

/* Against strtod, which rounds correctly in glibc and musl: random digits around every limit of the
 * fast paths, and what doubles print as. */
START_TEST(random_numbers)
{
    struct random random = { 1 };
    int numbers = runner_short() ? 20000 : 200000;

    for (int i = 0; i < numbers; i++) {
        char text[JSON_NUMBER_CHARS_MAX + 1], digits[24];
        double value = random_number(&random);
        int len = (int)random_below(&random, 20) + 1;

        switch (i % 4) {
        case 0:
            (void)snprintf(text, sizeof(text), "%.*g", (int)random_below(&random, 18) + 1, value);
            break;
        case 1:
            (void)snprintf(digits, sizeof(digits), "%020llu",
                           (unsigned long long)random_u64(&random));
            (void)snprintf(text, sizeof(text), "%u.%.*s", (unsigned)random_below(&random, 10), len,
                           digits);
            break;
        case 2:
            (void)snprintf(text, sizeof(text), "%llue%d",
                           (unsigned long long)(random_u64(&random) >> random_below(&random, 64)),
                           (int)random_below(&random, 70) - 35);
            break;
        default: /* close to half way between two doubles */
            value =
                ldexp((double)(random_u64(&random) >> 11) + 0.5, -(int)random_below(&random, 40));
            (void)snprintf(text, sizeof(text), "%.*f", (int)random_below(&random, 24), value);
        }
        assert_number(text);
    }
}
END_TEST

static const char *const bad_numbers[] = {
    "",        "-",
    "+1",      ".5",
    "1.",      "1.e5",
    "01",      "-01",
    "1e",      "1e+",
    "1e5.0",   "0x10",
    "1 ",      " 1",
    "1_000",   "NaN",
    "nan",     "Infinity",
    "1e309",   "-1e400",
    "1,5",     "--1",
    "1e5e",    "1-",
    "1.8e308", "10000000000000000000000000000000000000000000000000000000000000000",
};

START_TEST(bad_number)
{
    double value = 5;

    ck_assert_int_eq(leaf_number(span_of(bad_numbers[_i]), &value), -1);
    ck_assert(value == 5);
}
END_TEST

Suite *leaf_suite(void); /* called from the table that tools/suites writes */

Suite *leaf_suite(void)
{
    Suite *suite = suite_create("metrics/leaf");
    TCase *tc = tcase_create("leaf");

    tcase_add_loop_test(tc, leaf_case, 0, LENGTH(leaf_cases));
    tcase_add_loop_test(tc, random_objects, 0, 10);
    tcase_add_test(tc, long_names);
    tcase_add_test(tc, long_paths);
    tcase_add_test(tc, long_texts);
    tcase_add_test(tc, deep_objects);
    tcase_add_test(tc, cut_anywhere);
    tcase_add_loop_test(tc, good_number, 0, LENGTH(good_numbers));
    tcase_add_test(tc, random_numbers);
    tcase_add_loop_test(tc, bad_number, 0, LENGTH(bad_numbers));
    suite_add_tcase(suite, tc);
    return suite;
}
