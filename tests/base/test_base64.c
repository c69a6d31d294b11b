#include "base/base64.h"

#include <check.h>
#include <string.h>

#include "../harness/dice.h"

static const struct {
    const char *bytes, *text;
} good_cases[] = {
    /* RFC 4648 section 10 */
    { "", "" },
    { "f", "Zg==" },
    { "fo", "Zm8=" },
    { "foo", "Zm9v" },
    { "foob", "Zm9vYg==" },
    { "fooba", "Zm9vYmE=" },
    { "foobar", "Zm9vYmFy" },
    { "\xFB\xEF\xBE", "++++" },
    { "\xFF\xFF\xFF", "////" },
    { "\xFF\xFF", "//8=" },
    { "\xFF", "/w==" },
};

START_TEST(good_case)
{
    AUTO(buf_done) struct buf text = { .max = 100 }, bytes = { .max = 100 };

    base64_encode(span_of(good_cases[_i].bytes), &text);
    ck_assert_str_eq(buf_text(&text), good_cases[_i].text);
    ck_assert_int_eq(base64_decode(buf_span(&text), &bytes), 0);
    ck_assert_str_eq(buf_text(&bytes), good_cases[_i].bytes);
}
END_TEST

static const char *const bad_cases[] = {
    "Z",    "Zg",   "Zg=",  "Zg===", "=",    "==",   "===",  "====",       "Zg==Zg==",   "Z===",
    "Zh==", "Zm9=", "Zm8 ", "Zm8\n", "Zm-v", "Zm_v", "Zm=v", "Zm9v\nZm9v", "\xC3\xA9Zg",
};

START_TEST(bad_case)
{
    AUTO(buf_done) struct buf out = { .max = 100 };

    buf_append_text(&out, "kept");
    ck_assert_msg(base64_decode(span_of(bad_cases[_i]), &out) < 0, "%s", bad_cases[_i]);
    ck_assert_str_eq(buf_text(&out), "kept");
}
END_TEST

START_TEST(all_bytes_come_back)
{
    AUTO(buf_done) struct buf text = { .max = 400 }, bytes = { .max = 300 };
    uint64_t seed = 1;
    char in[300];

    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (char)dice_roll(&seed, 256);
    for (size_t len = 0; len <= sizeof(in); len++) {
        buf_clear(&text);
        buf_clear(&bytes);
        base64_encode((struct span){ in, len }, &text);
        ck_assert_uint_eq(text.len, (len + 2) / 3 * 4);
        ck_assert_int_eq(base64_decode(buf_span(&text), &bytes), 0);
        ck_assert(span_equal(buf_span(&bytes), (struct span){ in, len }));
    }
}
END_TEST

START_TEST(nothing_beyond_the_maximum)
{
    AUTO(buf_done) struct buf text = { .max = 7 }, bytes = { .max = 3 };

    base64_encode(SPAN_LITERAL("foob"), &text);
    ck_assert(text.full && text.len == 0);
    ck_assert_int_eq(base64_decode(SPAN_LITERAL("Zm9vYg=="), &bytes), 0);
    ck_assert(bytes.full && bytes.len == 0);
    buf_clear(&bytes);
    ck_assert_int_eq(base64_decode(SPAN_LITERAL("Zm9v"), &bytes), 0);
    ck_assert(!bytes.full && bytes.len == 3);
}
END_TEST

Suite *base64_suite(void); /* called from the table that tools/suites writes */

Suite *base64_suite(void)
{
    Suite *suite = suite_create("base/base64");
    TCase *tc = tcase_create("base64");

    tcase_add_loop_test(tc, good_case, 0, LENGTH(good_cases));
    tcase_add_loop_test(tc, bad_case, 0, LENGTH(bad_cases));
    tcase_add_test(tc, all_bytes_come_back);
    tcase_add_test(tc, nothing_beyond_the_maximum);
    suite_add_tcase(suite, tc);
    return suite;
}
