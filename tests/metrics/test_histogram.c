#include "metrics/histogram.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "random.h"

#if __LDBL_MANT_DIG__ == 113
typedef long double quad;
#else
__extension__ typedef __float128 quad;
#endif

enum { VALUES = 1000 };

/* In loops of many thousands: each of check's own assertions writes to a pipe. */
#define EXPECT(is_true, ...)                                                                       \
    do {                                                                                           \
        if (!(is_true))                                                                            \
            ck_abort_msg(__VA_ARGS__);                                                             \
    } while (0)

/* x^32, with an error of 32 * 2^-113 or so. */
static quad power_32(quad x)
{
    for (int i = 0; i < 5; i++)
        x *= x;
    return x;
}

/* Whether x (1 to 2) is above 2^(i/32), without any table. */
static bool is_above(double x, int i)
{
    return i == 0 ? x > 1 : power_32(x) > (quad)ldexp(1, i);
}

/* The index by its definition. */
static int index_by_hand(double value)
{
    int exponent, i = 0;
    double x = frexp(fabs(value), &exponent) * 2;

    while (i < 32 && is_above(x, i))
        i++;
    return (exponent - 1) * 32 + i - 1;
}

/* The largest double that is not above 2^(i/32). */
static double boundary(int i)
{
    double x = exp2(i / 32.0);

    while (is_above(x, i))
        x = nextafter(x, 0);
    while (!is_above(nextafter(x, 4), i))
        x = nextafter(x, 4);
    return x;
}

/* Every boundary that there is, and the doubles on both sides of it. */
START_TEST(boundaries)
{
    for (int i = 0; i < 32; i++) {
        double x = boundary(i);

        for (int exponent = -1022; exponent < 1024; exponent++) {
            double at = ldexp(x, exponent), above = ldexp(nextafter(x, 4), exponent);
            int index = exponent * 32 + i;

            EXPECT(histogram_index(at) == index - 1, "%a", at);
            EXPECT(histogram_index(above) == index, "%a", above);
            EXPECT(histogram_index(-at) == index - 1, "%a", -at);
        }
    }
    ck_assert_int_eq(histogram_index(DBL_MAX), HISTOGRAM_INDEX_MAX);
}
END_TEST

START_TEST(subnormals)
{
    struct random random = { 1 };

    for (int exponent = -1074; exponent < -1022; exponent++) {
        ck_assert_int_eq(histogram_index(ldexp(1, exponent)), exponent * 32 - 1);
        for (int i = 0; i < 100; i++) {
            double value = ldexp((double)(random_u64(&random) >> 11), exponent - 53);

            if (value != 0)
                EXPECT(histogram_index(value) == index_by_hand(value), "%a", value);
        }
    }
    ck_assert_int_eq(histogram_index(0x1p-1074), HISTOGRAM_INDEX_MIN);
}
END_TEST

START_TEST(random_indexes)
{
    struct random random = { 2 };

    for (int i = 0; i < 50000; i++) {
        double value = i % 2 ? random_bits(&random) : random_number(&random);
        double low, high;
        int key = histogram_key(value);

        if (value != 0)
            EXPECT(histogram_index(value) == index_by_hand(value), "%a", value);
        histogram_bounds(key, &low, &high);
        EXPECT(low <= value && value <= high, "%a", value);
        if (fabs(value) >= DBL_MIN) {
            EXPECT(value > 0 ? low < value : value < high, "%a", value);
            EXPECT(histogram_key(value > 0 ? high : low) == key, "%a", value);
            EXPECT(histogram_key(value > 0 ? low : high) == (value > 0 ? key - 1 : key + 1), "%a",
                   value);
        }
    }
}
END_TEST

START_TEST(keys_are_ordered_as_values)
{
    static const double values[] = { -DBL_MAX, -1e300,    -2,      -1, -DBL_MIN, -0x1p-1074,
                                     0.0,      0x1p-1074, DBL_MIN, 1,  0x1p63,   DBL_MAX };

    for (size_t i = 1; i < LENGTH(values); i++)
        ck_assert_int_lt(histogram_key(values[i - 1]), histogram_key(values[i]));
    ck_assert_int_eq(histogram_key(-0.0), 0);
    ck_assert_int_eq(histogram_key(DBL_MAX), HISTOGRAM_KEY_MAX);
    ck_assert_int_eq(histogram_key(-DBL_MAX), -HISTOGRAM_KEY_MAX);
    ck_assert_int_eq(histogram_key(0x1p-1074), 1);
}
END_TEST

static int compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Counts by hand over the sorted values. */
static void assert_counts(const struct histogram *histogram, const double *sorted, size_t len)
{
    size_t at = 0;

    for (uint32_t i = 0; i < histogram->len; i++) {
        uint64_t count = 0;

        for (; at < len && histogram_key(sorted[at]) == histogram->buckets[i].key; at++)
            count++;
        EXPECT(count > 0 && histogram->buckets[i].count == count, "bucket %u", i);
    }
    ck_assert_uint_eq(at, len);
    ck_assert_uint_eq(histogram->count, len);
}

/* Every rank, against the sorted values themselves. */
static void assert_quantiles(const struct histogram *histogram, const double *sorted, size_t len)
{
    double bound = (exp2(1.0 / 32) - 1) / (exp2(1.0 / 32) + 1) * (1 + 1e-12);

    ck_assert(bound < 0.011);
    for (size_t rank = 1; rank <= len; rank++) {
        struct histogram_quantile got =
            histogram_quantile(histogram, ((double)rank - 0.5) / (double)len, sorted[0],
                               sorted[len - 1]);
        double want = sorted[rank - 1];

        EXPECT(got.low <= want && want <= got.high, "%a", want);
        EXPECT(got.low <= got.value && got.value <= got.high, "%a", want);
        EXPECT(sorted[0] <= got.low && got.high <= sorted[len - 1], "%a", want);
        EXPECT(fabs(got.value - want) <= fabs(want) * bound + 0x1p-1074, "%a %a", got.value, want);
    }
}

START_TEST(random_streams)
{
    struct random random = { 100 + (uint64_t)_i };
    size_t len = random_below(&random, VALUES) + 1;
    static double values[VALUES];
    struct histogram histogram;

    histogram_init(&histogram);
    for (size_t i = 0; i < len; i++) {
        values[i] = random_number(&random);
        histogram_add(&histogram, values[i], 1);
    }
    qsort(values, len, sizeof(values[0]), compare_doubles);
    assert_counts(&histogram, values, len);
    assert_quantiles(&histogram, values, len);
    histogram_done(&histogram);
}
END_TEST

static void assert_same(const struct histogram *a, const struct histogram *b)
{
    AUTO(buf_done) struct buf one, two;

    buf_init(&one, 1 << 20);
    buf_init(&two, 1 << 20);
    histogram_write(a, &one);
    histogram_write(b, &two);
    ck_assert_uint_eq(a->count, b->count);
    ck_assert_uint_eq(one.len, two.len);
    ck_assert_mem_eq(one.data, two.data, two.len);
}

START_TEST(order_does_not_matter)
{
    struct random random = { 200 + (uint64_t)_i };
    size_t len = random_below(&random, VALUES) + 1;
    struct histogram all, merged, part;
    static double values[VALUES];
    AUTO(buf_done) struct buf bytes;

    buf_init(&bytes, 1 << 20);
    histogram_init(&all);
    histogram_init(&merged);
    histogram_init(&part);
    for (size_t i = 0; i < len; i++) {
        values[i] = random_number(&random);
        histogram_add(&all, values[i], 1);
    }
    for (int round = 0; round < 10; round++) {
        random_shuffle(&random, values, len);
        for (size_t i = 0; i < len;) {
            struct span rest;

            histogram_clear(&part);
            for (size_t n = random_below(&random, 50); n > 0 && i < len; n--, i++)
                histogram_add(&part, values[i], 1);
            buf_clear(&bytes);
            histogram_write(&part, &bytes);
            rest = buf_span(&bytes);
            ck_assert_int_eq(histogram_read(&part, &rest), 0);
            ck_assert_uint_eq(rest.len, 0);
            histogram_merge(&merged, &part);
        }
        assert_same(&merged, &all);
        histogram_clear(&merged);
    }
    histogram_done(&all);
    histogram_done(&merged);
    histogram_done(&part);
}
END_TEST

/* Every bucket there is: the most that anybody can make a histogram hold. */
START_TEST(every_bucket)
{
    struct histogram histogram, again;
    AUTO(buf_done) struct buf bytes;
    struct span rest;

    buf_init(&bytes, 1 << 20);
    histogram_init(&histogram);
    histogram_init(&again);
    for (int32_t key = -HISTOGRAM_KEY_MAX; key <= HISTOGRAM_KEY_MAX; key++) {
        double low, high;

        histogram_bounds(key, &low, &high);
        histogram_add(&histogram, key < 0 ? low : high, 3);
    }
    ck_assert_uint_le(histogram.len, HISTOGRAM_BUCKETS_MAX);
    /* Below 2^-1022 not every bucket holds a double. */
    ck_assert_uint_ge(histogram.len, HISTOGRAM_BUCKETS_MAX - 2 * 32 * 53);
    histogram_write(&histogram, &bytes);
    rest = buf_span(&bytes);
    ck_assert_int_eq(histogram_read(&again, &rest), 0);
    assert_same(&histogram, &again);
    histogram_merge(&again, &histogram);
    ck_assert_uint_eq(again.len, histogram.len);
    ck_assert_uint_eq(again.count, 2 * histogram.count);
    histogram_clear(&again);
    ck_assert_uint_eq(again.cap, 0);
    histogram_done(&histogram);
    histogram_done(&again);
}
END_TEST

static const struct {
    const char *name;
    double values[6];
    size_t len;
    double q, value, low, high;
} quantile_cases[] = {
    { "one value is known", { 3 }, 1, 0.5, 3, 3, 3 },
    { "q = 0 is min", { 3, 4, 5 }, 3, 0, 3, 3, 3 },
    { "q = 1 is max", { 3, 4, 5 }, 3, 1, 5, 5, 5 },
    { "equal values are known", { 7, 7, 7, 7 }, 4, 0.5, 7, 7, 7 },
    { "zero is a bucket", { -1, 0, 0, 2 }, 4, 0.5, 0, 0, 0 },
    { "rank is ceil(q n): 2 of 4 at the median",
      { 1, 0, 8, 9 },
      4,
      0.5,
      1,
      0x1.f50765b6e4540p-1,
      1 },
    { "the last rank is known", { 1, 0, 8, 9 }, 4, 0.76, 9, 9, 9 },
    { "a tenth of ten", { 0, 0, 0, 0, 0, 5 }, 6, 1.0 / 6, 0, 0, 0 },
    { "cut by max", { 1, 1.999, 2 }, 3, 0.5, 0, 0x1.f50765b6e4540p+0, 2 },
    { "the largest", { 1, DBL_MAX, DBL_MAX }, 3, 0.5, 0, 0x1.f50765b6e4540p+1023, DBL_MAX },
};

START_TEST(quantile_case)
{
    size_t len = quantile_cases[_i].len;
    double min = INFINITY, max = -INFINITY;
    struct histogram_quantile got;
    struct histogram histogram;

    histogram_init(&histogram);
    for (size_t i = 0; i < len; i++) {
        double value = quantile_cases[_i].values[i];

        histogram_add(&histogram, value, 1);
        min = fmin(min, value);
        max = fmax(max, value);
    }
    got = histogram_quantile(&histogram, quantile_cases[_i].q, min, max);
    ck_assert_msg(got.low == quantile_cases[_i].low && got.high == quantile_cases[_i].high,
                  "%s: %a %a", quantile_cases[_i].name, got.low, got.high);
    if (got.low == got.high)
        ck_assert(got.value == quantile_cases[_i].value);
    histogram_done(&histogram);
}
END_TEST

#define BYTES(text) text, sizeof(text) - 1

static const struct {
    const char *name, *bytes;
    size_t len;
} bad_cases[] = {
    { "nothing", BYTES("") },
    { "no bucket", BYTES("\1") },
    { "one bucket less than it says", BYTES("\2\0") },
    { "no count", BYTES("\1\1") },
    { "a number with a byte too many", BYTES("\1\x80\0") },
    { "more buckets than bytes", BYTES("\xFF\xFF\x0F\0\0\0") },
    { "a key above the largest", BYTES("\1\x84\x80\x08") },
    { "a key below the lowest", BYTES("\1\x8A\xE4\x18") },
    { "a step beyond the largest", BYTES("\2\x80\x80\x08\0") },
    { "a step of 63 bits", BYTES("\2\0\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\1") },
    { "a count of 64 bits", BYTES("\1\1\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\1") },
    { "a count of 2^48 + 1", BYTES("\1\1\xFF\xFF\xFF\xFF\xFF\xFF\x3F") },
    { "two counts that make 2^48 + 1", BYTES("\2\1\xFE\xFF\xFF\xFF\xFF\xFF\x3F\0") },
};

START_TEST(bad_case)
{
    struct span from = { bad_cases[_i].bytes, bad_cases[_i].len }, before = from;
    struct histogram histogram;

    histogram_init(&histogram);
    histogram_add(&histogram, 1, 1);
    ck_assert_msg(histogram_read(&histogram, &from) < 0, "%s", bad_cases[_i].name);
    ck_assert(from.data == before.data && from.len == before.len);
    ck_assert(histogram.len == 0 && histogram.count == 0);
    histogram_done(&histogram);
}
END_TEST

/* The format itself: what is stored must be read for ever. The key of 1 is 34369, of 2 34401. */
START_TEST(bytes)
{
    static const char want[] = "\4\x87\xE4\x10\0\x80\x99\x04\x80\x99\x04\x3F\x83\x01";
    struct span from = { want, sizeof(want) - 1 };
    struct histogram histogram;
    AUTO(buf_done) struct buf out;

    buf_init(&out, 100);
    histogram_init(&histogram);
    histogram_add(&histogram, -1, 2);
    histogram_add(&histogram, 0, 1);
    histogram_add(&histogram, 1, 1);
    histogram_add(&histogram, 2, 133);
    histogram_write(&histogram, &out);
    ck_assert_uint_eq(out.len, from.len);
    ck_assert_mem_eq(out.data, from.data, from.len);
    ck_assert_int_eq(histogram_read(&histogram, &from), 0);
    ck_assert_uint_eq(histogram.count, 137);
    histogram_done(&histogram);
}
END_TEST

Suite *histogram_suite(void); /* called from the table that tools/suites writes */

Suite *histogram_suite(void)
{
    Suite *suite = suite_create("metrics/histogram");
    TCase *tc = tcase_create("histogram");

    tcase_add_test(tc, boundaries);
    tcase_add_test(tc, subnormals);
    tcase_add_test(tc, random_indexes);
    tcase_add_test(tc, keys_are_ordered_as_values);
    tcase_add_loop_test(tc, random_streams, 0, 30);
    tcase_add_loop_test(tc, order_does_not_matter, 0, 10);
    tcase_add_test(tc, every_bucket);
    tcase_add_loop_test(tc, quantile_case, 0, LENGTH(quantile_cases));
    tcase_add_loop_test(tc, bad_case, 0, LENGTH(bad_cases));
    tcase_add_test(tc, bytes);
    suite_add_tcase(suite, tc);
    return suite;
}
