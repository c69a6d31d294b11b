#include "base/map.h"

#include <check.h>
#include <stdio.h>

enum { KEYS = 10000 };

static struct span key_of(char text[32], int i)
{
    return (struct span){ text, (size_t)snprintf(text, 32, "key-%d", i) };
}

static void sum_values(struct span key, uint64_t value, void *ctx)
{
    ck_assert_uint_gt(key.len, 0);
    *(uint64_t *)ctx += value;
}

START_TEST(finds_what_was_put)
{
    AUTO(map_free) struct map *map = map_new();
    uint64_t sum = 0;
    char text[32];
    bool added;

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < KEYS; i++) {
            ck_assert_ptr_null(map_get(map, key_of(text, i)));
            ck_assert_uint_eq(*map_put(map, key_of(text, i), (uint64_t)i, &added), (uint64_t)i);
            ck_assert(added);
        }
        ck_assert_uint_eq(map_len(map), KEYS);
        for (int i = 0; i < KEYS; i++)
            ck_assert_uint_eq(*map_get(map, key_of(text, i)), (uint64_t)i);
        ck_assert_ptr_null(map_get(map, key_of(text, KEYS)));
        sum = 0;
        map_each(map, sum_values, &sum);
        ck_assert_uint_eq(sum, (uint64_t)KEYS * (KEYS - 1) / 2);
        map_clear(map);
        ck_assert_uint_eq(map_len(map), 0);
    }
}
END_TEST

START_TEST(put_keeps_what_stands)
{
    AUTO(map_free) struct map *map = map_new();
    bool added;

    *map_put(map, SPAN_LITERAL("a"), 1, &added) = 5;
    ck_assert_uint_eq(*map_put(map, SPAN_LITERAL("a"), 2, &added), 5);
    ck_assert(!added);
}
END_TEST

START_TEST(keys_are_bytes)
{
    AUTO(map_free) struct map *map = map_new();
    bool added;

    (void)map_put(map, (struct span){ NULL, 0 }, 1, &added);
    ck_assert(added);
    (void)map_put(map, (struct span){ "a\0b", 3 }, 2, &added);
    ck_assert(added);
    (void)map_put(map, (struct span){ "a\0c", 3 }, 3, &added);
    ck_assert(added);
    ck_assert_uint_eq(*map_get(map, SPAN_LITERAL("")), 1);
    ck_assert_uint_eq(*map_get(map, (struct span){ "a\0b", 3 }), 2);
}
END_TEST

Suite *map_suite(void); /* called from the table that tools/suites writes */

Suite *map_suite(void)
{
    Suite *suite = suite_create("base/map");
    TCase *tc = tcase_create("map");

    tcase_add_test(tc, finds_what_was_put);
    tcase_add_test(tc, put_keeps_what_stands);
    tcase_add_test(tc, keys_are_bytes);
    suite_add_tcase(suite, tc);
    return suite;
}
