#include "base/clock.h"

#include <check.h>

#include "base/attr.h"

static const struct {
    int64_t ms;
    const char *want;
} format_cases[] = {
    { 0, "1970-01-01T00:00:00.000Z" },
    { 1, "1970-01-01T00:00:00.001Z" },
    { -1, "1969-12-31T23:59:59.999Z" },
    { 1596185125125, "2020-07-31T08:45:25.125Z" },
    { 951782400000, "2000-02-29T00:00:00.000Z" },
    { 253402300799999, "9999-12-31T23:59:59.999Z" },
    { 253402300800000, "253402300800000ms" },
    { INT64_MAX, "9223372036854775807ms" },
    { INT64_MIN, "-9223372036854775808ms" },
};

START_TEST(format_case)
{
    char text[CLOCK_TEXT_BYTES];

    clock_format(format_cases[_i].ms, text);
    ck_assert_str_eq(text, format_cases[_i].want);
}
END_TEST

START_TEST(monotonic)
{
    int64_t us = clock_mono_us(), ms = clock_mono_ms();
    struct timespec after = clock_mono_after(1500);

    ck_assert_int_ge(ms, us / 1000);
    ck_assert_int_ge((int64_t)after.tv_sec * 1000 + after.tv_nsec / 1000000, ms + 1500);
    ck_assert_int_lt(after.tv_nsec, 1000000000);
    ck_assert_int_gt(clock_now_ms(), 1700000000000);
}
END_TEST

Suite *clock_suite(void); /* called from the table that tools/suites writes */

Suite *clock_suite(void)
{
    Suite *suite = suite_create("base/clock");
    TCase *tc = tcase_create("clock");

    tcase_add_loop_test(tc, format_case, 0, LENGTH(format_cases));
    tcase_add_test(tc, monotonic);
    suite_add_tcase(suite, tc);
    return suite;
}
