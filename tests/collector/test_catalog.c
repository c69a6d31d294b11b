#include <check.h>

#include "base/mem.h"
#include "collector/catalog.h"

START_TEST(what_is_known_adds_up)
{
    AUTO(catalog_free) struct catalog *catalog = catalog_new();
    struct span crn = SPAN_LITERAL("crn:one");
    unsigned known = 77;
    int32_t id = 0;

    ck_assert(!catalog_find(catalog, crn, &id, &known));
    catalog_add(catalog, crn, INT32_MAX, 0);
    ck_assert(catalog_find(catalog, crn, &id, &known));
    ck_assert_int_eq(id, INT32_MAX);
    ck_assert_uint_eq(known, 0);
    catalog_add(catalog, crn, INT32_MAX, CATALOG_MODEL);
    catalog_add(catalog, crn, INT32_MAX, 0);
    ck_assert(catalog_find(catalog, crn, &id, &known));
    ck_assert_uint_eq(known, CATALOG_MODEL);
    catalog_add(catalog, crn, INT32_MAX, CATALOG_BUILD);
    ck_assert(catalog_find(catalog, crn, &id, &known));
    ck_assert_int_eq(id, INT32_MAX);
    ck_assert_uint_eq(known, CATALOG_BUILD | CATALOG_MODEL);
    ck_assert_uint_eq(catalog_len(catalog), 1);
}
END_TEST

START_TEST(deleted_ones_are_counted)
{
    AUTO(catalog_free) struct catalog *catalog = catalog_new();
    static const int32_t ids[] = { 3, 7, 3, 8, 1 };
    int32_t *deleted = xcalloc(2, sizeof(*deleted));

    ck_assert_uint_eq(catalog_count_deleted(catalog, ids, LENGTH(ids)), 0);
    deleted[0] = 3;
    deleted[1] = 8;
    catalog_set_deleted(catalog, deleted, 2);
    ck_assert_uint_eq(catalog_count_deleted(catalog, ids, LENGTH(ids)), 3);
    catalog_set_deleted(catalog, NULL, 0);
    ck_assert_uint_eq(catalog_count_deleted(catalog, ids, LENGTH(ids)), 0);
}
END_TEST

Suite *catalog_suite(void); /* called from the table that tools/suites writes */

Suite *catalog_suite(void)
{
    Suite *suite = suite_create("catalog");
    TCase *tc = tcase_create("catalog");

    tcase_add_test(tc, what_is_known_adds_up);
    tcase_add_test(tc, deleted_ones_are_counted);
    suite_add_tcase(suite, tc);
    return suite;
}
