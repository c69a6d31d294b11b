#include "collector/rate.h"

#include <check.h>
#include <pthread.h>

Suite *rate_suite(void);

enum { SECOND_US = 1000000 };

/* Ten a second, five at once. */
static bool take(struct rate *rate, int64_t now_us, int64_t *wait_us)
{
    return rate_take(rate, now_us, SECOND_US / 10, 5, wait_us);
}

START_TEST(a_burst_and_then_one_an_interval)
{
    struct rate rate = { 0 };
    int64_t now_us = 7 * SECOND_US, wait_us;

    for (int i = 0; i < 5; i++)
        ck_assert(take(&rate, now_us, &wait_us));
    ck_assert(!take(&rate, now_us, &wait_us));
    ck_assert_int_eq(wait_us, SECOND_US / 10);
    ck_assert(!take(&rate, now_us + SECOND_US / 10 - 1, &wait_us));
    ck_assert_int_eq(wait_us, 1);
    ck_assert(take(&rate, now_us + SECOND_US / 10, &wait_us));
    ck_assert(!take(&rate, now_us + SECOND_US / 10, &wait_us));
}
END_TEST

START_TEST(a_pause_is_no_more_than_a_burst)
{
    struct rate rate = { 0 };
    int64_t now_us = SECOND_US, wait_us;

    ck_assert(take(&rate, now_us, &wait_us));
    now_us += 3600 * (int64_t)SECOND_US;
    for (int i = 0; i < 5; i++)
        ck_assert(take(&rate, now_us, &wait_us));
    ck_assert(!take(&rate, now_us, &wait_us));
}
END_TEST

enum { THREADS = 4, TAKES = 5000, ALLOWED = 3000 };

static void *taker(void *arg)
{
    int64_t wait_us;
    intptr_t taken = 0;

    for (int i = 0; i < TAKES; i++)
        taken += rate_take(arg, SECOND_US, SECOND_US, ALLOWED, &wait_us);
    return (void *)taken;
}

START_TEST(several_threads_take_no_more_than_one)
{
    struct rate rate = { 0 };
    pthread_t threads[THREADS];
    intptr_t sum = 0;

    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, taker, &rate), 0);
    for (int i = 0; i < THREADS; i++) {
        void *taken;

        ck_assert_int_eq(pthread_join(threads[i], &taken), 0);
        sum += (intptr_t)taken;
    }
    ck_assert_int_eq(sum, ALLOWED);
}
END_TEST

START_TEST(everybody_has_a_limit_of_their_own)
{
    AUTO(rates_free) struct rates *rates = rates_new(1024);
    int64_t wait_us;

    for (int i = 0; i < 3; i++) {
        ck_assert(rates_take(rates, span_of("a"), SECOND_US, SECOND_US, 3, &wait_us));
        ck_assert(rates_take(rates, span_of("b"), SECOND_US, SECOND_US, 3, &wait_us));
    }
    ck_assert(!rates_take(rates, span_of("a"), SECOND_US, SECOND_US, 3, &wait_us));
    ck_assert_int_eq(wait_us, SECOND_US);
    ck_assert(rates_take(rates, span_of("c"), SECOND_US, SECOND_US, 3, &wait_us));
    ck_assert(rates_take(rates, span_of("a"), 2 * SECOND_US, SECOND_US, 3, &wait_us));
}
END_TEST

/* With one set of four places: a fifth takes that of the one who was quiet for longest. */
START_TEST(a_full_place_forgets_the_quiet)
{
    static const char *const names[] = { "a", "b", "c", "d" };
    AUTO(rates_free) struct rates *rates = rates_new(1);
    int64_t wait_us;

    for (int i = 0; i < 4; i++)
        ck_assert(rates_take(rates, span_of(names[i]), SECOND_US + i, SECOND_US, 1, &wait_us));
    for (int i = 0; i < 4; i++)
        ck_assert(!rates_take(rates, span_of(names[i]), SECOND_US + 4, SECOND_US, 1, &wait_us));
    ck_assert(rates_take(rates, span_of("e"), SECOND_US + 5, SECOND_US, 1, &wait_us));
    for (int i = 1; i < 4; i++)
        ck_assert(!rates_take(rates, span_of(names[i]), SECOND_US + 6, SECOND_US, 1, &wait_us));
    ck_assert(!rates_take(rates, span_of("e"), SECOND_US + 6, SECOND_US, 1, &wait_us));
    ck_assert(rates_take(rates, span_of("a"), SECOND_US + 7, SECOND_US, 1, &wait_us));
}
END_TEST

Suite *rate_suite(void)
{
    Suite *suite = suite_create("rate");
    TCase *tc = tcase_create("rate");

    tcase_add_test(tc, a_burst_and_then_one_an_interval);
    tcase_add_test(tc, a_pause_is_no_more_than_a_burst);
    tcase_add_test(tc, several_threads_take_no_more_than_one);
    tcase_add_test(tc, everybody_has_a_limit_of_their_own);
    tcase_add_test(tc, a_full_place_forgets_the_quiet);
    suite_add_tcase(suite, tc);
    return suite;
}
