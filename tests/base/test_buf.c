#include "base/buf.h"

#include <check.h>
#include <stdlib.h>

static const struct {
    const char *name;
    struct span text;
    const char *want;
} json_cases[] = {
    { "empty", { "", 0 }, "\"\"" },
    { "plain", { "abc d", 5 }, "\"abc d\"" },
    { "quote and backslash", { "a\"b\\c", 5 }, "\"a\\\"b\\\\c\"" },
    { "short escapes", { "\b\t\n\f\r", 5 }, "\"\\b\\t\\n\\f\\r\"" },
    { "control", { "\x01\x1f", 2 }, "\"\\u0001\\u001f\"" },
    { "nul", { "a\0b", 3 }, "\"a\\u0000b\"" },
    { "delete is plain", { "\x7f", 1 }, "\"\x7f\"" },
    { "two bytes", { "\xC3\xA9", 2 }, "\"\xC3\xA9\"" },
    { "four bytes", { "\xF0\x9F\x98\x80", 4 }, "\"\xF0\x9F\x98\x80\"" },
    { "lone tail", { "a\x80z", 3 }, "\"a\xEF\xBF\xBDz\"" },
    { "cut character", { "\xC3", 1 }, "\"\xEF\xBF\xBD\"" },
    { "overlong", { "\xC0\xAF", 2 }, "\"\xEF\xBF\xBD\xEF\xBF\xBD\"" },
    { "surrogate", { "\xED\xA0\x80", 3 }, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"" },
    { "too high",
      { "\xF4\x90\x80\x80", 4 },
      "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"" },
};

START_TEST(json_case)
{
    AUTO(buf_done) struct buf buf;

    buf_init(&buf, 1000);
    buf_append_json(&buf, json_cases[_i].text);
    ck_assert_msg(strcmp(buf_text(&buf), json_cases[_i].want) == 0, "%s: %s", json_cases[_i].name,
                  buf_text(&buf));
}
END_TEST

static const struct {
    int64_t value;
    const char *want;
} i64_cases[] = {
    { 0, "0" },
    { 7, "7" },
    { 10, "10" },
    { 99, "99" },
    { 100, "100" },
    { -1, "-1" },
    { 1596185125125, "1596185125125" },
    { -1005, "-1005" },
    { INT64_MAX, "9223372036854775807" },
    { INT64_MIN, "-9223372036854775808" },
};

START_TEST(i64_case)
{
    AUTO(buf_done) struct buf buf;

    buf_init(&buf, 20);
    buf_append_i64(&buf, i64_cases[_i].value);
    ck_assert_str_eq(buf_text(&buf), i64_cases[_i].want);
    ck_assert(!buf.full);
}
END_TEST

START_TEST(full_changes_nothing)
{
    AUTO(buf_done) struct buf buf;

    buf_init(&buf, 5);
    buf_append_text(&buf, "abc");
    buf_append_text(&buf, "def");
    ck_assert(buf.full);
    buf_append_char(&buf, 'x'); /* would fit, but the text has a hole already */
    buf_append_fmt(&buf, "%d", 1);
    ck_assert_ptr_null(buf_reserve(&buf, SIZE_MAX));
    ck_assert_str_eq(buf_text(&buf), "abc");
    buf_clear(&buf);
    ck_assert(!buf.full);
    buf_append_text(&buf, "defgh");
    ck_assert(!buf.full);
    ck_assert_str_eq(buf_text(&buf), "defgh");
}
END_TEST

START_TEST(nothing_is_an_empty_text)
{
    AUTO(buf_done) struct buf buf;

    buf_init(&buf, 0);
    ck_assert_uint_eq(buf_span(&buf).len, 0);
    ck_assert_ptr_nonnull(buf_span(&buf).data);
    buf_append_span(&buf, (struct span){ NULL, 0 });
    ck_assert(!buf.full);
    ck_assert_str_eq(buf_text(&buf), "");
}
END_TEST

START_TEST(fmt_of_any_length)
{
    AUTO(buf_done) struct buf buf;
    size_t len = 0;

    buf_init(&buf, 100000);
    for (int width = 1; width < 600; width += 7) {
        buf_append_fmt(&buf, "%*d", width, 5);
        len += (size_t)width;
        ck_assert_uint_eq(buf.len, len);
        ck_assert_int_eq(buf.data[len - 1], '5');
    }
}
END_TEST

START_TEST(numbers_in_network_order)
{
    static const char want[] = "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\x0C\x0D\x0E";
    AUTO(buf_done) struct buf buf;

    buf_init(&buf, 14);
    buf_append_be16(&buf, 0x0102);
    buf_append_be32(&buf, 0x03040506);
    buf_append_be64(&buf, 0x0708090A0B0C0D0E);
    ck_assert_uint_eq(buf.len, 14);
    ck_assert_mem_eq(buf.data, want, 14);
}
END_TEST

Suite *buf_suite(void); /* called from the table that tools/suites writes */

Suite *buf_suite(void)
{
    Suite *suite = suite_create("base/buf");
    TCase *tc = tcase_create("buf");

    tcase_add_loop_test(tc, json_case, 0, LENGTH(json_cases));
    tcase_add_loop_test(tc, i64_case, 0, LENGTH(i64_cases));
    tcase_add_test(tc, full_changes_nothing);
    tcase_add_test(tc, nothing_is_an_empty_text);
    tcase_add_test(tc, fmt_of_any_length);
    tcase_add_test(tc, numbers_in_network_order);
    suite_add_tcase(suite, tc);
    return suite;
}
