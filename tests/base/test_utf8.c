#include "base/utf8.h"

#include <check.h>

#include "base/attr.h"

static const struct {
    const char *name, *text;
    size_t want;
} char_cases[] = {
    { "ascii", "a", 1 },
    { "U+0080", "\xC2\x80", 2 },
    { "U+07FF", "\xDF\xBF", 2 },
    { "U+0800", "\xE0\xA0\x80", 3 },
    { "U+D7FF", "\xED\x9F\xBF", 3 },
    { "U+E000", "\xEE\x80\x80", 3 },
    { "U+FFFF", "\xEF\xBF\xBF", 3 },
    { "U+10000", "\xF0\x90\x80\x80", 4 },
    { "U+10FFFF", "\xF4\x8F\xBF\xBF", 4 },
    { "tail alone", "\x80", 0 },
    { "overlong 2", "\xC1\xBF", 0 },
    { "overlong 3", "\xE0\x9F\xBF", 0 },
    { "overlong 4", "\xF0\x8F\xBF\xBF", 0 },
    { "surrogate", "\xED\xA0\x80", 0 },
    { "above", "\xF4\x90\x80\x80", 0 },
    { "five bytes", "\xF8\x88\x80\x80\x80", 0 },
    { "FF", "\xFF", 0 },
    { "cut 2", "\xC3", 0 },
    { "cut 3", "\xE2\x82", 0 },
    { "cut 4", "\xF0\x9F\x98", 0 },
    { "bad tail 3", "\xE2\x82z", 0 },
    { "bad tail 4", "\xF0\x9F\x98z", 0 },
};

START_TEST(char_case)
{
    struct span text = span_of(char_cases[_i].text);

    ck_assert_msg(utf8_char_len(text.data, text.len) == char_cases[_i].want, "%s",
                  char_cases[_i].name);
}
END_TEST

START_TEST(put_is_the_inverse)
{
    char text[4];

    for (uint32_t codepoint = 0; codepoint <= 0x10FFFF; codepoint++) {
        size_t len = utf8_put(text, codepoint);

        if (codepoint >= 0xD800 && codepoint <= 0xDFFF)
            ck_assert_uint_eq(utf8_char_len(text, len), 0);
        else
            ck_assert_uint_eq(utf8_char_len(text, len), len);
    }
}
END_TEST

START_TEST(cut_ends_between_characters)
{
    struct span text = SPAN_LITERAL("a\xE2\x82\xAC\xF0\x9F\x98\x80");
    static const size_t want[] = { 0, 1, 1, 1, 4, 4, 4, 4, 8, 8 };

    for (size_t max = 0; max < LENGTH(want); max++)
        ck_assert_uint_eq(utf8_cut(text, max).len, want[max]);
}
END_TEST

Suite *utf8_suite(void); /* called from the table that tools/suites writes */

Suite *utf8_suite(void)
{
    Suite *suite = suite_create("base/utf8");
    TCase *tc = tcase_create("utf8");

    tcase_add_loop_test(tc, char_case, 0, LENGTH(char_cases));
    tcase_add_test(tc, put_is_the_inverse);
    tcase_add_test(tc, cut_ends_between_characters);
    suite_add_tcase(suite, tc);
    return suite;
}
