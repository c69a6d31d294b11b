#include "base/uuid.h"

#include <check.h>

static const char *const good[] = {
    "12f34405-38fa-42de-9ed4-68dbd82d36f6",
    "12F34405-38FA-42DE-9ED4-68DBD82D36F6",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
};

START_TEST(good_case)
{
    char text[UUID_TEXT_LEN + 1], lower[UUID_TEXT_LEN + 1] = "";
    struct uuid uuid;

    for (size_t i = 0; i < UUID_TEXT_LEN; i++)
        lower[i] =
            (char)(good[_i][i] >= 'A' && good[_i][i] <= 'F' ? good[_i][i] | 0x20 : good[_i][i]);
    ck_assert_int_eq(uuid_parse(&uuid, span_of(good[_i])), 0);
    uuid_format(&uuid, text);
    ck_assert_str_eq(text, lower);
}
END_TEST

static const char *const bad[] = {
    "",
    "abc",
    "12f34405-38fa-42de-9ed4-68dbd82d36f",
    "12f34405-38fa-42de-9ed4-68dbd82d36f61",
    "12f3440538fa42de9ed468dbd82d36f6",
    "{12f34405-38fa-42de-9ed4-68dbd82d36f}",
    "12f34405-38fa-42de-9ed4-68dbd82d36g6",
    "12f34405-38fa-42de-9ed4 68dbd82d36f6",
    "12f3440-538fa-42de-9ed4-68dbd82d36f6",
    "12f34405-38fa-42de-9ed46-8dbd82d36f6",
    " 2f34405-38fa-42de-9ed4-68dbd82d36f6",
    "-2f34405-38fa-42de-9ed4-68dbd82d36f6",
    "12f34405-38fa-42de-9ed4-68dbd82d36f-",
};

START_TEST(bad_case)
{
    struct uuid uuid = { { 42 } };

    ck_assert_msg(uuid_parse(&uuid, span_of(bad[_i])) == -1, "%s", bad[_i]);
    ck_assert_int_eq(uuid.bytes[0], 42);
}
END_TEST

START_TEST(version_7_has_a_time)
{
    struct uuid uuid;
    int64_t ms = 0;

    ck_assert_int_eq(uuid_parse(&uuid, span_of("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")), 0);
    ck_assert(uuid_v7_ms(&uuid, &ms));
    ck_assert_int_eq(ms, 1645557742000); /* the example of RFC 9562 */
    ck_assert_int_eq(uuid_parse(&uuid, span_of("017f22e2-79b0-4cc3-98c4-dc0c0c07398f")), 0);
    ck_assert(!uuid_v7_ms(&uuid, &ms));
    ck_assert_int_eq(uuid_parse(&uuid, span_of("017f22e2-79b0-7cc3-18c4-dc0c0c07398f")), 0);
    ck_assert(!uuid_v7_ms(&uuid, &ms)); /* not the variant of RFC 9562 */
}
END_TEST

START_TEST(random_ones_differ)
{
    struct uuid a, b;

    uuid_random(&a);
    uuid_random(&b);
    ck_assert_int_ne(uuid_compare(&a, &b), 0);
    ck_assert_int_eq(uuid_compare(&a, &a), 0);
    ck_assert_int_eq(a.bytes[6] >> 4, 4);
    ck_assert_int_eq(a.bytes[8] >> 6, 2);
}
END_TEST

/* XXH3's own hashes of these, with the bits of version and variant set. */
static const struct {
    struct span name;
    const char *uuid;
} named_cases[] = {
    { { NULL, 0 }, "99aa06d3-0147-88d8-a001-c324468d497f" },
    { SPAN_LITERAL(""), "99aa06d3-0147-88d8-a001-c324468d497f" },
    { SPAN_LITERAL("a"), "a96faf70-5af1-8834-a6c6-32b61e964e1f" },
};

START_TEST(named_case)
{
    char text[UUID_TEXT_LEN + 1];
    struct uuid uuid;

    uuid_named(&uuid, named_cases[_i].name);
    uuid_format(&uuid, text);
    ck_assert_str_eq(text, named_cases[_i].uuid);
}
END_TEST

Suite *uuid_suite(void); /* called from the table that tools/suites writes */

Suite *uuid_suite(void)
{
    Suite *suite = suite_create("base/uuid");
    TCase *tc = tcase_create("uuid");

    tcase_add_loop_test(tc, good_case, 0, LENGTH(good));
    tcase_add_loop_test(tc, bad_case, 0, LENGTH(bad));
    tcase_add_test(tc, version_7_has_a_time);
    tcase_add_test(tc, random_ones_differ);
    tcase_add_loop_test(tc, named_case, 0, LENGTH(named_cases));
    suite_add_tcase(suite, tc);
    return suite;
}
