#include "collector/metric_names.h"

#include <check.h>
#include <stdio.h>

enum { NAMES_MAX = 100 };

static struct span name_of(char text[16], int number)
{
    return (struct span){ text, (size_t)snprintf(text, 16, "name%d", number) };
}

static void names_add(struct metric_names *names, int32_t deployment, int len)
{
    char text[16];

    for (int i = 0; i < len; i++)
        metric_names_add(names, deployment, false, name_of(text, i), METRIC_NAMES_FIRST + i);
}

static int names_known(struct metric_names *names, int32_t deployment, int len)
{
    char text[16];
    int known = 0;

    for (int i = 0; i < len; i++)
        known +=
            metric_names_find(names, deployment, false, name_of(text, i)) == METRIC_NAMES_FIRST + i;
    return known;
}

START_TEST(by_deployment_kind_and_name)
{
    AUTO(metric_names_free) struct metric_names *names = metric_names_new(NAMES_MAX);
    struct span name = SPAN_LITERAL("accuracy"), other = SPAN_LITERAL("accurac");

    metric_names_add(names, 1, false, name, 3);
    metric_names_add(names, 1, true, name, 4);
    ck_assert_int_eq(metric_names_find(names, 1, false, name), 3);
    ck_assert_int_eq(metric_names_find(names, 1, true, name), 4);
    ck_assert_int_eq(metric_names_find(names, 1, false, other), METRIC_UNKNOWN);
    ck_assert_int_eq(metric_names_find(names, 2, false, name), METRIC_UNKNOWN);
    metric_names_add(names, 3, false, name, METRIC_REFUSED);
    ck_assert_int_eq(metric_names_find(names, 3, false, name), METRIC_REFUSED);
    ck_assert_int_eq(metric_names_find(names, 3, false, other), METRIC_UNKNOWN);
    metric_names_set_full(names, 1);
    ck_assert_int_eq(metric_names_find(names, 1, false, name), 3);
    ck_assert_int_eq(metric_names_find(names, 1, false, other), METRIC_REFUSED);
    ck_assert_int_eq(metric_names_find(names, 2, false, name), METRIC_UNKNOWN);
}
END_TEST

/* A batch that needs more names than are kept has them all until it is done. */
START_TEST(forgets_between_batches_only)
{
    AUTO(metric_names_free) struct metric_names *names = metric_names_new(NAMES_MAX);

    names_add(names, 1, NAMES_MAX);
    metric_names_trim(names);
    ck_assert_int_eq(names_known(names, 1, NAMES_MAX), NAMES_MAX);
    names_add(names, 2, NAMES_MAX);
    ck_assert_int_eq(names_known(names, 1, NAMES_MAX), NAMES_MAX);
    ck_assert_int_eq(names_known(names, 2, NAMES_MAX), NAMES_MAX);
    metric_names_trim(names);
    ck_assert_int_eq(names_known(names, 1, NAMES_MAX), 0);
    ck_assert_int_eq(names_known(names, 2, NAMES_MAX), 0);
}
END_TEST

Suite *metric_names_suite(void); /* called from the table that tools/suites writes */

Suite *metric_names_suite(void)
{
    Suite *suite = suite_create("metric_names");
    TCase *tc = tcase_create("metric_names");

    tcase_add_test(tc, by_deployment_kind_and_name);
    tcase_add_test(tc, forgets_between_batches_only);
    suite_add_tcase(suite, tc);
    return suite;
}
