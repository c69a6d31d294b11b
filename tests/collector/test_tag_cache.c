#include "collector/tag_cache.h"

#include <check.h>

#include "collector/budget.h"

Suite *tag_cache_suite(void);

enum { BUDGET = 100000, BYTES_MAX = 25000 };

/* Of a chain of so many entities. */
static struct reach *chain(int64_t entities)
{
    struct propagation *graph = propagation_new();
    const struct propagation_source source = { .id = 1 };
    const int64_t own = 1;
    struct reach *reach;

    for (int64_t id = 1; id < entities; id++)
        propagation_add_edge(graph, id, id + 1, 0);
    reach = reach_make(graph, &source, 1, &own, 1, BYTES_MAX);
    ck_assert_ptr_nonnull(reach);
    return reach;
}

static struct type_registry *types;
static struct budget *budget;
static struct tag_cache *cache;

static void setup(void)
{
    types = type_registry_new();
    budget = budget_new(BUDGET);
    cache = tag_cache_new(budget, BYTES_MAX);
}

static void teardown(void)
{
    tag_cache_free(cache);
    budget_free(budget); /* asserts that all was given back */
    type_registry_free(types);
}

static struct tag_moment moment(int64_t batch_id)
{
    return (struct tag_moment){ batch_id, types };
}

static enum tag_cache_state state_of(const struct tag_moment *at)
{
    struct tag_reach *kept;
    enum tag_cache_state state = tag_cache_take(cache, at, &kept);

    if (state == TAG_CACHE_KEPT)
        tag_cache_give(cache, kept);
    return state;
}

static void put(const struct tag_moment *at, struct reach *reach)
{
    tag_cache_give(cache, tag_cache_put(cache, at, reach));
}

START_TEST(of_one_moment)
{
    struct type_registry *others = type_registry_new();
    struct tag_moment one = moment(1), two = moment(2), other = { 1, others };

    ck_assert_int_eq(state_of(&one), TAG_CACHE_NONE);
    put(&one, chain(10));
    ck_assert_int_eq(state_of(&one), TAG_CACHE_KEPT);
    ck_assert_uint_gt(budget_used(budget), 0);
    ck_assert_int_eq(state_of(&two), TAG_CACHE_NONE);
    ck_assert_int_eq(state_of(&other), TAG_CACHE_NONE);
    tag_cache_bar(cache, &two);
    ck_assert_int_eq(state_of(&two), TAG_CACHE_TOO_LARGE);
    ck_assert_uint_eq(tag_cache_spend(cache, &other, 5), 5);
    ck_assert_uint_eq(tag_cache_spend(cache, &other, 7), 12);
    ck_assert_uint_eq(tag_cache_spend(cache, &one, 1), 1);
    type_registry_free(others); /* the cache holds it */
    ck_assert_int_eq(state_of(&other), TAG_CACHE_NONE);
}
END_TEST

/* What somebody holds stays as long as they hold it. */
START_TEST(oldest_goes)
{
    struct tag_moment first = moment(1);
    struct tag_reach *held;
    size_t used;

    put(&first, chain(10));
    ck_assert_int_eq(tag_cache_take(cache, &first, &held), TAG_CACHE_KEPT);
    used = budget_used(budget);
    for (int64_t batch_id = 2; batch_id < 8; batch_id++) {
        struct tag_moment at = moment(batch_id);

        put(&at, chain(10));
        ck_assert_int_eq(state_of(&at), TAG_CACHE_KEPT);
    }
    ck_assert_int_eq(state_of(&first), TAG_CACHE_NONE);
    ck_assert(reach_has_own(tag_reach_of(held), 1));
    ck_assert_uint_eq(budget_used(budget), 5 * used); /* four kept, one held */
    tag_cache_give(cache, held);
    ck_assert_uint_eq(budget_used(budget), 4 * used);
}
END_TEST

START_TEST(bytes_bounded)
{
    struct tag_moment one = moment(1), two = moment(2), three = moment(3);

    put(&one, chain(150));
    put(&two, chain(150));
    ck_assert_int_eq(state_of(&one), TAG_CACHE_KEPT); /* and so two is the older */
    put(&three, chain(150));
    ck_assert_int_eq(state_of(&one), TAG_CACHE_KEPT);
    ck_assert_int_eq(state_of(&two), TAG_CACHE_NONE);
    ck_assert_int_eq(state_of(&three), TAG_CACHE_KEPT);
    ck_assert_uint_le(budget_used(budget), BYTES_MAX);
}
END_TEST

/* It can be used all the same. */
START_TEST(budget_full)
{
    struct tag_moment one = moment(1);
    struct tag_reach *held;

    ck_assert(tag_cache_reserve(cache, BUDGET - 10));
    ck_assert(!tag_cache_reserve(cache, 11));
    held = tag_cache_put(cache, &one, chain(10));
    ck_assert(reach_has_own(tag_reach_of(held), 1));
    ck_assert_int_eq(state_of(&one), TAG_CACHE_NONE);
    tag_cache_give(cache, held);
    tag_cache_release(cache, BUDGET - 10);
    ck_assert_uint_eq(budget_used(budget), 0);
}
END_TEST

START_TEST(one_at_a_time)
{
    ck_assert(tag_cache_enter(cache, false));
    ck_assert(!tag_cache_enter(cache, false));
    tag_cache_leave(cache);
    ck_assert(tag_cache_enter(cache, true));
    tag_cache_leave(cache);
}
END_TEST

Suite *tag_cache_suite(void)
{
    Suite *suite = suite_create("tag_cache");
    TCase *tc = tcase_create("tag_cache");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, of_one_moment);
    tcase_add_test(tc, oldest_goes);
    tcase_add_test(tc, bytes_bounded);
    tcase_add_test(tc, budget_full);
    tcase_add_test(tc, one_at_a_time);
    suite_add_tcase(suite, tc);
    return suite;
}
