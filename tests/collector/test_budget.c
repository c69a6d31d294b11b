#include "collector/budget.h"

#include <check.h>
#include <pthread.h>
#include <stdint.h>

#include "collector/body.h"

START_TEST(up_to_the_last_byte)
{
    AUTO(budget_free) struct budget *budget = budget_new(100);

    ck_assert(budget_reserve(budget, 60));
    ck_assert(!budget_reserve(budget, 41));
    ck_assert_uint_eq(budget_used(budget), 60);
    ck_assert(budget_reserve(budget, 40));
    ck_assert(!budget_reserve(budget, 1));
    ck_assert(!budget_reserve(budget, SIZE_MAX));
    ck_assert(budget_reserve(budget, 0));
    budget_release(budget, 100);
    ck_assert_uint_eq(budget_used(budget), 0);
}
END_TEST

static void *budget_user(void *arg)
{
    struct budget *budget = arg;

    for (int i = 0; i < 20000; i++) {
        if (budget_reserve(budget, 30)) {
            ck_assert_uint_le(budget_used(budget), 100);
            budget_release(budget, 30);
        }
    }
    return NULL;
}

START_TEST(never_more_than_there_is)
{
    AUTO(budget_free) struct budget *budget = budget_new(100);
    pthread_t threads[4];

    for (size_t i = 0; i < LENGTH(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, budget_user, budget), 0);
    for (size_t i = 0; i < LENGTH(threads); i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(budget_used(budget), 0);
}
END_TEST

START_TEST(body_grows_in_steps)
{
    static const char bytes[10000];
    AUTO(budget_free) struct budget *budget = budget_new(20000);
    struct body body;

    body_init(&body, budget, 12000);
    ck_assert_int_eq(body_append(&body, bytes, 100, 500), BODY_OK);
    ck_assert_uint_eq(budget_used(budget), 500); /* announced, and small */
    ck_assert_int_eq(body_append(&body, bytes, 9900, 0), BODY_OK);
    ck_assert_uint_eq(body.len, 10000);
    ck_assert_uint_eq(budget_used(budget), body.cap);
    ck_assert_int_eq(body_append(&body, bytes, 2001, 0), BODY_TOO_LARGE);
    ck_assert_int_eq(body_append(&body, bytes, 2000, 0), BODY_OK);
    ck_assert_uint_eq(budget_used(budget), 12000);
    body_done(&body);
    ck_assert_uint_eq(budget_used(budget), 0);
}
END_TEST

START_TEST(body_that_is_announced_takes_nothing)
{
    AUTO(budget_free) struct budget *budget = budget_new(1 << 20);
    struct body body;

    body_init(&body, budget, 1 << 20);
    ck_assert_int_eq(body_append(&body, "x", 1, 1 << 20), BODY_OK);
    ck_assert_uint_le(budget_used(budget), 4096);
    body_done(&body);
}
END_TEST

START_TEST(body_beyond_the_budget)
{
    static const char bytes[5000];
    AUTO(budget_free) struct budget *budget = budget_new(6000);
    struct body body;

    body_init(&body, budget, 1 << 20);
    ck_assert_int_eq(body_append(&body, bytes, 5000, 0), BODY_OK);
    ck_assert_int_eq(body_append(&body, bytes, 2000, 0), BODY_NO_MEMORY);
    ck_assert_uint_eq(body.len, 5000);
    body_done(&body);
    ck_assert_uint_eq(budget_used(budget), 0);
}
END_TEST

Suite *budget_suite(void); /* called from the table that tools/suites writes */

Suite *budget_suite(void)
{
    Suite *suite = suite_create("budget");
    TCase *tc = tcase_create("budget");

    tcase_add_test(tc, up_to_the_last_byte);
    tcase_add_test(tc, never_more_than_there_is);
    tcase_add_test(tc, body_grows_in_steps);
    tcase_add_test(tc, body_that_is_announced_takes_nothing);
    tcase_add_test(tc, body_beyond_the_budget);
    suite_add_tcase(suite, tc);
    return suite;
}
