#include "metrics/window.h"

#include <check.h>

#include "random.h"

enum { MINUTE = 60000, HOUR = 3600000, DAY = 86400000 };

static const struct {
    int64_t ms;
    enum window_width width;
    int64_t start, next;
} window_cases[] = {
    { 0, WINDOW_MINUTE, 0, MINUTE },
    { 59999, WINDOW_MINUTE, 0, MINUTE },
    { 60000, WINDOW_MINUTE, MINUTE, 2 * MINUTE },
    { -1, WINDOW_MINUTE, -MINUTE, 0 },
    { -60000, WINDOW_MINUTE, -MINUTE, 0 },
    { -60001, WINDOW_MINUTE, -2 * MINUTE, -MINUTE },
    { -1, WINDOW_HOUR, -HOUR, 0 },
    { -1, WINDOW_DAY, -DAY, 0 },
    { 1596185125125, WINDOW_MINUTE, 1596185100000, 1596185160000 },
    { 1596185125125, WINDOW_HOUR, 1596182400000, 1596186000000 },
    { 1596185125125, WINDOW_DAY, 1596153600000, 1596240000000 },
    { 951782399999, WINDOW_DAY, 951696000000, 951782400000 }, /* 2000-02-28, a leap year */
    { INT64_MAX, WINDOW_MINUTE, INT64_MAX / MINUTE *MINUTE, INT64_MAX },
    { INT64_MAX, WINDOW_DAY, INT64_MAX / DAY *DAY, INT64_MAX },
    { INT64_MIN, WINDOW_MINUTE, INT64_MIN, INT64_MIN / MINUTE *MINUTE },
    { INT64_MIN, WINDOW_DAY, INT64_MIN, INT64_MIN / DAY *DAY },
};

START_TEST(window_case)
{
    int64_t ms = window_cases[_i].ms;
    enum window_width width = window_cases[_i].width;

    ck_assert_int_eq(window_floor(ms, width), window_cases[_i].start);
    ck_assert_int_eq(window_next(ms, width), window_cases[_i].next);
}
END_TEST

START_TEST(windows_lie_in_each_other)
{
    struct random random = { 1 };

    for (int i = 0; i < 1000; i++) {
        int64_t ms = (int64_t)random_u64(&random) / 2;

        for (enum window_width width = 0; width < WINDOW_WIDTHS; width++) {
            int64_t start = window_floor(ms, width), next = window_next(ms, width);

            ck_assert(start <= ms && ms < next && next - start == window_ms(width));
            ck_assert_int_eq(start % window_ms(width), 0);
            ck_assert_int_eq(window_floor(start, width), start);
            ck_assert_int_eq(window_next(start, width), next);
            ck_assert_int_eq(window_floor(window_floor(ms, WINDOW_MINUTE), width), start);
        }
    }
}
END_TEST

START_TEST(names)
{
    static const char *const bad[] = { "", "1", "m", "1M", "2m", "1m ", "01m", "1w", "60s" };
    enum window_width width = WINDOW_WIDTHS;

    for (size_t i = 0; i < LENGTH(bad); i++)
        ck_assert_int_eq(window_parse(&width, span_of(bad[i])), -1);
    ck_assert_int_eq(window_parse(&width, (struct span){ "1m\0", 3 }), -1);
    ck_assert_int_eq(width, WINDOW_WIDTHS);
    for (enum window_width want = 0; want < WINDOW_WIDTHS; want++) {
        ck_assert_int_eq(window_parse(&width, span_of(window_name(want))), 0);
        ck_assert_int_eq(width, want);
    }
    ck_assert_str_eq(window_name(WINDOW_MINUTE), "1m");
    ck_assert_str_eq(window_name(WINDOW_HOUR), "1h");
    ck_assert_str_eq(window_name(WINDOW_DAY), "1d");
}
END_TEST

Suite *window_suite(void); /* called from the table that tools/suites writes */

Suite *window_suite(void)
{
    Suite *suite = suite_create("metrics/window");
    TCase *tc = tcase_create("window");

    tcase_add_loop_test(tc, window_case, 0, LENGTH(window_cases));
    tcase_add_test(tc, windows_lie_in_each_other);
    tcase_add_test(tc, names);
    suite_add_tcase(suite, tc);
    return suite;
}
