#include "metrics/categories.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "random.h"

enum { TEXTS = 400, VALUES = 3000 };

/* Text number i: of different lengths, among them empty, 256 bytes, too long, one with a NUL. */
static struct span text_of(uint32_t i, char text[300])
{
    if (i == 0)
        return (struct span){ text, 0 };
    if (i == 1 || i == 2) {
        memset(text, 'x', 300);
        return (struct span){ text, i == 1 ? 256 : 257 };
    }
    if (i == 3)
        return SPAN_LITERAL("a\0b");
    return (struct span){ text, (size_t)snprintf(text, 300, "%*u", (int)(i % 7 + 1), i) };
}

struct brute {
    uint64_t hash;
    uint64_t count;
    uint32_t i;
};

static int compare_brutes(const void *a, const void *b)
{
    const struct brute *x = a, *y = b;

    return (x->hash > y->hash) - (x->hash < y->hash);
}

/* Against counting everything and cutting afterwards. */
static void assert_counts(const struct categories *categories, const uint64_t counts[TEXTS])
{
    static struct brute brutes[TEXTS];
    uint64_t other = counts[2], all = counts[2];
    uint32_t len = 0, kept;
    char text[300];

    for (uint32_t i = 0; i < TEXTS; i++) {
        struct span span = text_of(i, text);

        if (counts[i] == 0 || i == 2)
            continue;
        brutes[len++] = (struct brute){ XXH3_64bits(span.data, span.len), counts[i], i };
        all += counts[i];
    }
    qsort(brutes, len, sizeof(brutes[0]), compare_brutes);
    kept = len < CATEGORIES_MAX ? len : CATEGORIES_MAX;
    ck_assert_uint_eq(categories->len, kept);
    for (uint32_t i = 0; i < len; i++) {
        if (i >= kept) {
            other += brutes[i].count;
            continue;
        }
        ck_assert(span_equal(categories_text(categories, i), text_of(brutes[i].i, text)));
        ck_assert_uint_eq(categories->entries[i].count, brutes[i].count);
    }
    ck_assert_uint_eq(categories->other, other);
    ck_assert_uint_eq(categories->count, all);
}

static void assert_same(const struct categories *a, const struct categories *b)
{
    AUTO(buf_done) struct buf one, two;

    buf_init(&one, 1 << 20);
    buf_init(&two, 1 << 20);
    categories_write(a, &one);
    categories_write(b, &two);
    ck_assert_uint_eq(a->count, b->count);
    ck_assert_uint_eq(one.len, two.len);
    ck_assert_mem_eq(one.data, two.data, two.len);
}

START_TEST(random_streams)
{
    struct random random = { (uint64_t)_i };
    size_t len = random_below(&random, VALUES) + 1;
    uint64_t texts = random_below(&random, TEXTS) + 1;
    uint64_t counts[TEXTS] = { 0 };
    struct categories categories;
    char text[300];

    categories_init(&categories);
    for (size_t i = 0; i < len; i++) {
        uint32_t k = (uint32_t)random_below(&random, texts);
        uint64_t times = random_below(&random, 3);

        counts[k] += times;
        categories_add(&categories, text_of(k, text), times);
    }
    assert_counts(&categories, counts);
    ck_assert_uint_le(categories.texts_cap, 1 << 16);
    categories_done(&categories);
}
END_TEST

START_TEST(order_does_not_matter)
{
    struct random random = { 100 + (uint64_t)_i };
    size_t len = random_below(&random, VALUES) + 1;
    static double values[VALUES]; /* numbers of texts */
    struct categories all, merged, part;
    AUTO(buf_done) struct buf bytes;
    char text[300];

    buf_init(&bytes, 1 << 20);
    categories_init(&all);
    categories_init(&merged);
    categories_init(&part);
    for (size_t i = 0; i < len; i++) {
        values[i] = (double)random_below(&random, TEXTS);
        categories_add(&all, text_of((uint32_t)values[i], text), 1);
    }
    for (int round = 0; round < 10; round++) {
        random_shuffle(&random, values, len);
        for (size_t i = 0; i < len;) {
            struct span rest;

            categories_clear(&part);
            for (size_t n = random_below(&random, 300); n > 0 && i < len; n--, i++)
                categories_add(&part, text_of((uint32_t)values[i], text), 1);
            buf_clear(&bytes);
            categories_write(&part, &bytes);
            rest = buf_span(&bytes);
            ck_assert_int_eq(categories_read(&part, &rest), 0);
            ck_assert_uint_eq(rest.len, 0);
            categories_merge(&merged, &part);
        }
        assert_same(&merged, &all);
        categories_clear(&merged);
    }
    categories_done(&all);
    categories_done(&merged);
    categories_done(&part);
}
END_TEST

/* Each text pushes one out: holes as fast as they can come. */
START_TEST(holes_are_packed)
{
    enum { LEN = 5000 };
    static struct brute brutes[LEN];
    struct categories categories;
    char text[CATEGORIES_TEXT_BYTES_MAX + 1];

    for (uint32_t i = 0; i < LEN; i++) {
        (void)snprintf(text, sizeof(text), "%0256u", i);
        brutes[i] = (struct brute){ XXH3_64bits(text, CATEGORIES_TEXT_BYTES_MAX), 1, i };
    }
    qsort(brutes, LEN, sizeof(brutes[0]), compare_brutes);
    categories_init(&categories);
    for (uint32_t i = LEN; i-- > 0;) {
        (void)snprintf(text, sizeof(text), "%0256u", brutes[i].i);
        categories_add(&categories, (struct span){ text, CATEGORIES_TEXT_BYTES_MAX }, 1);
    }
    ck_assert_uint_eq(categories.len, CATEGORIES_MAX);
    ck_assert_uint_eq(categories.other, LEN - CATEGORIES_MAX);
    ck_assert_uint_le(categories.texts_cap, 1 << 16);
    for (uint32_t i = 0; i < CATEGORIES_MAX; i++) {
        (void)snprintf(text, sizeof(text), "%0256u", brutes[i].i);
        ck_assert(span_is(categories_text(&categories, i), text));
    }
    categories_clear(&categories);
    ck_assert_uint_eq(categories.texts_cap, 0);
    categories_done(&categories);
}
END_TEST

#define BYTES(text) text, sizeof(text) - 1

static const struct {
    const char *name, *bytes;
    size_t len;
} bad_cases[] = {
    { "nothing", BYTES("") },
    { "no number of entries", BYTES("\0") },
    { "no entry", BYTES("\0\1") },
    { "half a text", BYTES("\0\1\4a") },
    { "no count", BYTES("\0\1\3a") },
    { "101 entries", BYTES("\0\x65\2a\2b") },
    { "a text of 257 bytes", BYTES("\0\1\x82\4") },
    { "a length of 63 bits", BYTES("\0\1\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\1") },
    { "the same text twice", BYTES("\0\2\2a\2a") },
    { "a number with a byte too many", BYTES("\x80\0\0") },
    { "2^48 + 1 others", BYTES("\x81\x80\x80\x80\x80\x80\x40\0") },
    { "a count of 2^48 + 1", BYTES("\0\1\3a\xFF\xFF\xFF\xFF\xFF\xFF\x3F") },
    { "a count of 64 bits", BYTES("\0\1\3a\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\1") },
    { "2^48 others and one", BYTES("\x80\x80\x80\x80\x80\x80\x40\1\2a") },
};

static void assert_refused(const char *name, struct span from)
{
    struct span before = from;
    struct categories categories;

    categories_init(&categories);
    categories_add(&categories, SPAN_LITERAL("x"), 1);
    ck_assert_msg(categories_read(&categories, &from) < 0, "%s", name);
    ck_assert(from.data == before.data && from.len == before.len);
    ck_assert(categories.len == 0 && categories.count == 0 && categories.other == 0);
    categories_done(&categories);
}

START_TEST(bad_case)
{
    assert_refused(bad_cases[_i].name, (struct span){ bad_cases[_i].bytes, bad_cases[_i].len });
}
END_TEST

/* The format itself: what is stored must be read for ever, so the hash may never change either. */
START_TEST(bytes)
{
    static const char want[] = "\5\3\0\x08"
                               "true\x0B"
                               "false\x02";
    static const char disorder[] = "\5\3\0\x0B"
                                   "false\x02\x08"
                                   "true";
    struct span from = { want, sizeof(want) - 1 };
    struct categories categories;
    AUTO(buf_done) struct buf out;

    ck_assert_uint_eq(XXH3_64bits("true", 4), 0x40bbd512750b7629);
    buf_init(&out, 100);
    categories_init(&categories);
    categories_add(&categories, SPAN_LITERAL("true"), 1);
    categories_add(&categories, SPAN_LITERAL("false"), 4);
    categories_add(&categories, (struct span){ NULL, 0 }, 1);
    categories_add(&categories, (struct span){ want, 257 }, 5); /* too long: is not looked at */
    categories_write(&categories, &out);
    ck_assert_uint_eq(out.len, from.len);
    ck_assert_mem_eq(out.data, from.data, from.len);
    ck_assert_int_eq(categories_read(&categories, &from), 0);
    ck_assert_uint_eq(categories.count, 11);
    categories_done(&categories);
    assert_refused("not in order", (struct span){ disorder, sizeof(disorder) - 1 });
}
END_TEST

Suite *categories_suite(void); /* called from the table that tools/suites writes */

Suite *categories_suite(void)
{
    Suite *suite = suite_create("metrics/categories");
    TCase *tc = tcase_create("categories");

    tcase_add_loop_test(tc, random_streams, 0, 30);
    tcase_add_loop_test(tc, order_does_not_matter, 0, 10);
    tcase_add_test(tc, holes_are_packed);
    tcase_add_loop_test(tc, bad_case, 0, LENGTH(bad_cases));
    tcase_add_test(tc, bytes);
    suite_add_tcase(suite, tc);
    return suite;
}
