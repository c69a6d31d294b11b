#include "metrics/exact.h"

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

enum { WIDE_ONE = 2240, WIDE_BITS = 4600, VALUES = 300, SHUFFLES = 20 };

/* What exact is measured by: a number in two's complement, a byte a bit, added up as at school. */
struct wide {
    uint8_t bits[WIDE_BITS];
};

static void wide_add_at(struct wide *wide, size_t at)
{
    for (; at < WIDE_BITS && wide->bits[at]; at++)
        wide->bits[at] = 0;
    if (at < WIDE_BITS)
        wide->bits[at] = 1;
}

static void wide_subtract_at(struct wide *wide, size_t at)
{
    for (; at < WIDE_BITS && !wide->bits[at]; at++)
        wide->bits[at] = 1;
    if (at < WIDE_BITS)
        wide->bits[at] = 0;
}

static void wide_add(struct wide *wide, uint64_t mantissa, int exponent, bool is_negative)
{
    for (int i = 0; i < 64; i++) {
        if (!(mantissa >> i & 1))
            continue;
        if (is_negative)
            wide_subtract_at(wide, (size_t)(WIDE_ONE + exponent + i));
        else
            wide_add_at(wide, (size_t)(WIDE_ONE + exponent + i));
    }
}

static uint64_t mantissa_of(double value, int *exponent)
{
    double fraction = frexp(fabs(value), exponent);

    *exponent -= 53;
    return (uint64_t)ldexp(fraction, 53);
}

static void wide_add_value(struct wide *wide, double value)
{
    int exponent;
    uint64_t mantissa = mantissa_of(value, &exponent);

    while (mantissa && !(mantissa & 1)) { /* a subnormal's lowest bits have no place */
        mantissa >>= 1;
        exponent++;
    }
    wide_add(wide, mantissa, exponent, signbit(value));
}

static void wide_add_square(struct wide *wide, double value)
{
    int exponent;
    uint64_t mantissa = mantissa_of(value, &exponent);

    while (mantissa && !(mantissa & 1)) {
        mantissa >>= 1;
        exponent++;
    }
    for (int i = 0; i < 64; i++) {
        if (mantissa >> i & 1)
            wide_add(wide, mantissa, 2 * exponent + i, false);
    }
}

/* The bytes that exact_write has to write. */
static void wide_write(struct wide *wide, struct buf *out)
{
    bool is_negative = wide->bits[WIDE_BITS - 1];
    size_t from = 0, to = WIDE_BITS / 8;
    int place;

    if (is_negative) {
        for (size_t i = 0; i < WIDE_BITS; i++)
            wide->bits[i] = !wide->bits[i];
        wide_add_at(wide, 0);
    }
    for (size_t i = 0; i < WIDE_BITS / 8; i++) {
        for (size_t k = 1; k < 8; k++)
            wide->bits[i * 8] |= (uint8_t)(wide->bits[i * 8 + k] << k);
        wide->bits[i] = wide->bits[i * 8];
    }
    while (from < to && !wide->bits[from])
        from++;
    while (to > from && !wide->bits[to - 1])
        to--;
    if (from == to) {
        buf_append_char(out, 0);
        return;
    }
    place = (int)from - WIDE_ONE / 8;
    for (unsigned n = (unsigned)(to - from) * 2 + is_negative, i = 0; i < 2; i++) {
        buf_append_char(out, (char)(n >= 128 ? n % 128 + 128 : n));
        if (n >= 128)
            buf_append_char(out, (char)(n / 128));
        n = (unsigned)(place < 0 ? -2 * place - 1 : 2 * place);
    }
    buf_append(out, wide->bits + from, to - from);
}

static void assert_is_wide(const struct exact *exact, struct wide *wide)
{
    AUTO(buf_done) struct buf got, want;

    buf_init(&got, EXACT_BYTES_MAX);
    buf_init(&want, EXACT_BYTES_MAX);
    exact_write(exact, &got);
    wide_write(wide, &want);
    ck_assert_uint_eq(got.len, want.len);
    ck_assert_mem_eq(got.data, want.data, want.len);
}

static void assert_same(const struct exact *a, const struct exact *b)
{
    AUTO(buf_done) struct buf one, two;

    buf_init(&one, EXACT_BYTES_MAX);
    buf_init(&two, EXACT_BYTES_MAX);
    exact_write(a, &one);
    exact_write(b, &two);
    ck_assert_uint_eq(one.len, two.len);
    ck_assert_mem_eq(one.data, two.data, two.len);
}

static void random_values(struct random *random, double values[VALUES], size_t len)
{
    for (size_t i = 0; i < len; i++)
        values[i] = random_number(random);
}

START_TEST(sums_are_exact)
{
    struct random random = { (uint64_t)_i };
    size_t len = random_below(&random, VALUES) + 1;
    static double values[VALUES];
    static struct wide sum_want, squares_want;
    struct exact sum, squares;

    random_values(&random, values, len);
    sum_want = squares_want = (struct wide){ 0 }; /* all loops may run in one process */
    exact_init(&sum);
    exact_init(&squares);
    for (size_t i = 0; i < len; i++) {
        exact_add(&sum, values[i]);
        exact_add_square(&squares, values[i]);
        wide_add_value(&sum_want, values[i]);
        wide_add_square(&squares_want, values[i]);
    }
    assert_is_wide(&sum, &sum_want);
    assert_is_wide(&squares, &squares_want);
}
END_TEST

/* Values in parts of random size, each part written and read again, merged as they come. */
START_TEST(order_does_not_matter)
{
    struct random random = { 1000 + (uint64_t)_i };
    size_t len = random_below(&random, VALUES) + 1;
    static double values[VALUES];
    struct exact all[2], merged[2], part[2];
    AUTO(buf_done) struct buf bytes;

    buf_init(&bytes, 2 * EXACT_BYTES_MAX);
    random_values(&random, values, len);
    for (int k = 0; k < 2; k++) {
        exact_init(&all[k]);
        exact_init(&merged[k]);
        exact_init(&part[k]);
    }
    for (size_t i = 0; i < len; i++) {
        exact_add(&all[0], values[i]);
        exact_add_square(&all[1], values[i]);
    }
    for (int round = 0; round < SHUFFLES; round++) {
        random_shuffle(&random, values, len);
        for (size_t i = 0; i < len;) {
            struct span rest;

            exact_clear(&part[0]);
            exact_clear(&part[1]);
            for (size_t n = random_below(&random, 20) + 1; n > 0 && i < len; n--, i++) {
                exact_add(&part[0], values[i]);
                exact_add_square(&part[1], values[i]);
            }
            buf_clear(&bytes);
            exact_write(&part[0], &bytes);
            exact_write(&part[1], &bytes);
            rest = buf_span(&bytes);
            ck_assert_int_eq(exact_read(&part[0], &rest), 0);
            ck_assert_int_eq(exact_read(&part[1], &rest), 0);
            ck_assert_uint_eq(rest.len, 0);
            exact_merge(&merged[0], &part[0]);
            exact_merge(&merged[1], &part[1]);
        }
        assert_same(&merged[0], &all[0]);
        assert_same(&merged[1], &all[1]);
        exact_clear(&merged[0]);
        exact_clear(&merged[1]);
    }
}
END_TEST

/* What goes in and comes out again leaves nothing, not even far from where it was. */
START_TEST(opposites_cancel)
{
    struct random random = { 2 };
    struct exact exact, zero;
    double values[VALUES];

    exact_init(&exact);
    exact_init(&zero);
    random_values(&random, values, VALUES);
    for (size_t i = 0; i < VALUES; i++)
        exact_add(&exact, values[i]);
    random_shuffle(&random, values, VALUES);
    for (size_t i = 0; i < VALUES; i++)
        exact_add(&exact, -values[i]);
    assert_same(&exact, &zero);
    ck_assert(exact_round(&exact) == 0 && !signbit(exact_round(&exact)));
    ck_assert(!exact_is_negative(&exact));
}
END_TEST

START_TEST(times_is_many_additions)
{
    struct random random = { 3 };

    for (int round = 0; round < 200; round++) {
        double value = random_number(&random);
        uint64_t times = random_below(&random, 70);
        struct exact one, many, one_square, many_squares;

        exact_init(&one);
        exact_init(&many);
        exact_init(&one_square);
        exact_init(&many_squares);
        exact_add_times(&one, value, times);
        exact_add_square_times(&one_square, value, times);
        for (uint64_t i = 0; i < times; i++) {
            exact_add(&many, value);
            exact_add_square(&many_squares, value);
        }
        assert_same(&one, &many);
        assert_same(&one_square, &many_squares);
    }
}
END_TEST

/* 2^48 times the largest: what one sum of a rollup can come to; merged 2^16 times, the limit. */
START_TEST(the_largest_sum_of_all)
{
    uint64_t times = (uint64_t)1 << 48;
    static struct wide want;
    struct exact sum, squares;
    int exponent;
    uint64_t mantissa = mantissa_of(DBL_MAX, &exponent);

    exact_init(&sum);
    exact_init(&squares);
    for (int i = 0; i < 1 << 16; i++) {
        exact_add_times(&sum, -DBL_MAX, times);
        exact_add_square_times(&squares, DBL_MAX, times);
    }
    want = (struct wide){ 0 };
    wide_add(&want, mantissa, exponent + 64, true);
    assert_is_wide(&sum, &want);
    want = (struct wide){ 0 };
    for (int i = 0; i < 64; i++) {
        if (mantissa >> i & 1)
            wide_add(&want, mantissa, 2 * exponent + i + 64, false);
    }
    assert_is_wide(&squares, &want);
    ck_assert(isinf(exact_round(&sum)) && exact_round(&sum) < 0);
    ck_assert(exact_is_negative(&sum));
}
END_TEST

/* More additions than fit between two carries, made by doubling: half a limit's worth each. */
START_TEST(carries_are_settled)
{
    enum { DOUBLINGS = 29, TIMES = 64 };
    struct random random = { 4 };
    struct exact exact, other, want;

    for (int round = 0; round < 50; round++) {
        double value = round ? random_number(&random) : 0x1.fffffffffffffp11;

        exact_init(&exact);
        exact_init(&want);
        exact_add(&exact, value);
        for (int i = 0; i < DOUBLINGS; i++) {
            other = exact;
            exact_merge(&exact, &other);
        }
        other = exact;
        for (uint64_t i = 2; i <= TIMES; i++) {
            exact_merge(&exact, &other);
            exact_clear(&want);
            exact_add_times(&want, value, i << DOUBLINGS);
            assert_same(&exact, &want);
            exact_add(&exact, -value);
            exact_add(&exact, value);
            assert_same(&exact, &want);
        }
        /* Into one that is empty, from one that is full. */
        exact_clear(&want);
        exact = other;
        exact_merge(&other, &exact);
        exact_merge(&want, &other);
        exact_merge(&want, &other);
        exact_clear(&exact);
        exact_add_times(&exact, value, (uint64_t)4 << DOUBLINGS);
        assert_same(&exact, &want);
        /* A billion real additions would take too long: one on top of as many merged ones. */
        exact_clear(&want);
        exact_merge(&want, &other);
        exact_add(&want, value);
        ck_assert_uint_le(want.weight, 1 << 30);
    }
}
END_TEST

static const struct {
    const char *name;
    double values[5];
    double want;
} round_cases[] = {
    { "nothing", { 0 }, 0 },
    { "0.1 three times", { 0.1, 0.1, 0.1 }, 0.30000000000000004 },
    { "0.1 ten times is one more than it seems", { 0.1, 0.1, 0.1, 0.1, 0.6 }, 1.0 },
    { "a tie goes to even, down", { 1, 0x1p-53 }, 1 },
    { "a tie goes to even, up", { 1 + 0x1p-52, 0x1p-53 }, 1 + 0x1p-51 },
    { "a hair above a tie", { 1, 0x1p-53, 0x1p-1074 }, 1 + 0x1p-52 },
    { "a hair below a tie", { 1 + 0x1p-52, 0x1p-53, -0x1p-1074 }, 1 + 0x1p-52 },
    { "negative tie", { -1, -0x1p-53 }, -1 },
    { "negative, a hair above", { -1, -0x1p-53, -0x1p-1074 }, -1 - 0x1p-52 },
    { "cancelled", { 1e308, 1, -1e308 }, 1 },
    { "over the top and back", { DBL_MAX, DBL_MAX, -DBL_MAX }, DBL_MAX },
    { "over the top", { 1e308, 1e308 }, INFINITY },
    { "just below half a step over the top", { DBL_MAX, 0x1p970, -0x1p917 }, DBL_MAX },
    { "half a step over the top", { DBL_MAX, 0x1p970 }, INFINITY },
    { "the same, negative", { -DBL_MAX, -0x1p970 }, -INFINITY },
    { "a subnormal", { 0x1p-1074 }, 0x1p-1074 },
    { "subnormals add up", { 0x1p-1074, 0x1p-1022, -0x1p-1023 }, 0x1p-1023 + 0x1p-1074 },
    { "a negative subnormal", { 0x1p-1073, -0x1.8p-1073 }, -0x1p-1074 },
    { "2^63", { 0x1p63, -1 }, 0x1p63 },
    { "2^53 + 1", { 0x1p53, 1 }, 0x1p53 },
    { "2^53 + 3", { 0x1p53, 3 }, 0x1p53 + 4 },
    { "a carry through all bits", { 0x1.fffffffffffffp52, 0.5 }, 0x1p53 },
    { "minus zero", { -0.0, -0.0 }, 0 },
};

START_TEST(round_case)
{
    struct exact exact;
    double got;

    exact_init(&exact);
    for (size_t i = 0; i < LENGTH(round_cases[_i].values); i++)
        exact_add(&exact, round_cases[_i].values[i]);
    got = exact_round(&exact);
    ck_assert_msg(got == round_cases[_i].want && !(got == 0 && signbit(got)), "%s: %a",
                  round_cases[_i].name, got);
    ck_assert(exact_mean(&exact, 1) == got);
}
END_TEST

/* Sums of integers times a power of two fit a quad whole, whose conversion rounds once. */
START_TEST(rounds_as_quads_do)
{
    struct random random = { 5 };

    for (int round = 0; round < 20000; round++) {
        int exponent = (int)random_below(&random, 1600) - 800;
        uint64_t count = random_below(&random, 1000) + 1;
        struct exact exact;
        double mean;
        quad want = 0;

        exact_init(&exact);
        for (int i = 0; i < 3; i++) {
            double value = (double)((int64_t)random_u64(&random) >> 11);

            value = ldexp(value, i * (int)random_below(&random, 20));
            want += value;
            exact_add(&exact, ldexp(value, exponent));
        }
        ck_assert(exact_round(&exact) == ldexp((double)want, exponent));
        /* The quad is rounded twice, so not always the same: a step apart at most. */
        mean = exact_mean(&exact, count);
        ck_assert(fabs(mean - ldexp((double)(want / count), exponent)) <= fabs(mean) * DBL_EPSILON);
    }
}
END_TEST

/* The mean of n equal values is that value, whatever their sum. */
START_TEST(mean_of_equal_values)
{
    struct random random = { 6 };

    for (int round = 0; round < 5000; round++) {
        double value = random_number(&random);
        uint64_t count = (random_u64(&random) >> (16 + random_below(&random, 47))) + 1;
        struct exact sum, squares;

        exact_init(&sum);
        exact_init(&squares);
        exact_add_times(&sum, value, count);
        exact_add_square_times(&squares, value, count);
        ck_assert(exact_mean(&sum, count) == value);
        ck_assert(exact_stddev(&sum, &squares, count) == 0);
    }
}
END_TEST

/* The true mean lies a hair below 33.5 of the smallest subnormal: rounded to 53 bits first it would
 * be a tie, which goes to 34. */
START_TEST(mean_is_rounded_once)
{
    uint64_t count = ((uint64_t)1 << 48) - 1;
    struct exact sum;

    exact_init(&sum);
    exact_add_times(&sum, 33 * 0x1p-1074, count);
    exact_add_times(&sum, 0x1p-1074, (count - 1) / 2);
    ck_assert(exact_mean(&sum, count) == 33 * 0x1p-1074);
    exact_add(&sum, 0x1p-1074);
    ck_assert(exact_mean(&sum, count) == 34 * 0x1p-1074);
}
END_TEST

static const struct {
    const char *name;
    double values[4];
    size_t len;
    double mean, stddev; /* rounded from the true ones */
} deviation_cases[] = {
    { "one", { 5 }, 1, 5, 0 },
    { "two", { 1, 3 }, 2, 2, 1 },
    { "four", { 1, 2, 3, 4 }, 4, 2.5, 1.118033988749895 },
    { "a third", { 0, 0, 1 }, 3, 0.3333333333333333, 0.47140452079103168 },
    { "far from zero", { 1e15 + 1, 1e15 + 3 }, 2, 1e15 + 2, 1 },
    { "one step apart", { 1e15, 1e15 + 0.125 }, 2, 1e15, 0.0625 },
    { "the squares overflow", { -1e300, 1e300 }, 2, 0, 1e300 },
    { "the sum overflows", { DBL_MAX, DBL_MAX, DBL_MAX }, 3, DBL_MAX, 0 },
    { "as far apart as can be", { -DBL_MAX, DBL_MAX }, 2, 0, DBL_MAX },
    { "the squares underflow", { -1e-300, 1e-300 }, 2, 0, 1e-300 },
    { "subnormals", { -0x1p-1074, 0x1p-1074 }, 2, 0, 0x1p-1074 },
    { "half a subnormal goes to even", { 0, 0x1p-1074 }, 2, 0, 0 },
    { "large and small", { 1e200, 1e-200 }, 2, 5e199, 5e199 },
};

START_TEST(deviation_case)
{
    size_t len = deviation_cases[_i].len;
    double want = deviation_cases[_i].stddev, got;
    struct exact sum, squares;

    exact_init(&sum);
    exact_init(&squares);
    for (size_t i = 0; i < len; i++) {
        exact_add(&sum, deviation_cases[_i].values[i]);
        exact_add_square(&squares, deviation_cases[_i].values[i]);
    }
    got = exact_mean(&sum, len);
    ck_assert_msg(got == deviation_cases[_i].mean, "%s: mean %a", deviation_cases[_i].name, got);
    got = exact_stddev(&sum, &squares, len);
    ck_assert_msg(fabs(got - want) <= want * 0x1p-51, "%s: stddev %a", deviation_cases[_i].name,
                  got);
}
END_TEST

/* Against the definition, taken with 113 bits around the mean. */
START_TEST(deviation_of_random_values)
{
    struct random random = { 7 };

    for (int round = 0; round < 300; round++) {
        double offset = ldexp(1, (int)random_below(&random, 40)), values[64];
        struct exact sum, squares;
        quad mean = 0, variance = 0;
        double got, want;

        exact_init(&sum);
        exact_init(&squares);
        for (size_t i = 0; i < LENGTH(values); i++) {
            values[i] = offset + (double)random_below(&random, 1000000) / 1e6;
            exact_add(&sum, values[i]);
            exact_add_square(&squares, values[i]);
            mean += (quad)values[i] / LENGTH(values);
        }
        for (size_t i = 0; i < LENGTH(values); i++)
            variance += (values[i] - mean) * (values[i] - mean) / LENGTH(values);
        want = sqrt((double)variance);
        got = exact_stddev(&sum, &squares, LENGTH(values));
        ck_assert_msg(fabs(got - want) <= want * 0x1p-50, "%a %a", got, want);
    }
}
END_TEST

/* Sums and squares that belong together to no values at all: bytes can say anything. */
START_TEST(deviation_of_what_cannot_be)
{
    struct exact sum, squares;

    exact_init(&sum);
    exact_init(&squares);
    exact_add(&sum, 10);
    ck_assert(exact_stddev(&sum, &squares, 2) == 0);
    exact_add_square(&squares, 1);
    ck_assert(exact_stddev(&sum, &squares, 2) == 0);
    exact_clear(&squares);
    exact_add(&squares, -1);
    ck_assert(exact_stddev(&sum, &squares, 2) == 0);
}
END_TEST

START_TEST(below)
{
    struct exact exact;

    exact_init(&exact);
    ck_assert(!exact_is_below(&exact, 0, 1024));
    ck_assert(exact_is_below(&exact, 1, 0));
    exact_add_times(&exact, -DBL_MAX, 5);
    ck_assert(exact_is_below(&exact, 5, 1024));
    ck_assert(!exact_is_below(&exact, 4, 1024));
    exact_clear(&exact);
    exact_add_times(&exact, 0x1p1023, 2);
    ck_assert(exact_is_below(&exact, 2, 1024));
    ck_assert(!exact_is_below(&exact, 1, 1024));
    exact_clear(&exact);
    exact_add_square_times(&exact, 0x1p1023, (uint64_t)1 << 47);
    ck_assert(exact_is_below(&exact, ((uint64_t)1 << 45) + 1, 2048));
    ck_assert(!exact_is_below(&exact, (uint64_t)1 << 45, 2048));
}
END_TEST

#define BYTES(text) text, sizeof(text) - 1

static const struct {
    const char *name, *bytes;
    size_t len;
} bad_cases[] = {
    { "nothing", BYTES("") },
    { "negative zero", BYTES("\1") },
    { "no place", BYTES("\2") },
    { "no magnitude", BYTES("\2\0") },
    { "half of the magnitude", BYTES("\4\0\1") },
    { "zero at the lower end", BYTES("\4\0\0\1") },
    { "zero at the upper end", BYTES("\4\0\1\0") },
    { "a single zero", BYTES("\2\0\0") },
    { "a length with a byte too many", BYTES("\x82\0\0\1") },
    { "a place with a byte too many", BYTES("\2\x80\0\1") },
    { "below the lowest byte", BYTES("\2\xA1\4\1") },
    { "above the highest byte", BYTES("\2\xA0\4\1") },
    { "runs above the highest byte", BYTES("\4\x9E\4\1\1") },
    { "a place of 64 bits", BYTES("\2\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\1\1") },
    { "a length of 64 bits", BYTES("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\1\0\1") },
    { "more than 64 bits", BYTES("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\2\0\1") },
};

START_TEST(bad_case)
{
    struct span from = { bad_cases[_i].bytes, bad_cases[_i].len }, before = from;
    struct exact exact;

    exact_init(&exact);
    exact_add(&exact, 1);
    ck_assert_msg(exact_read(&exact, &from) < 0, "%s", bad_cases[_i].name);
    ck_assert(from.data == before.data && from.len == before.len);
    ck_assert(exact_round(&exact) == 0);
}
END_TEST

static const struct {
    double value;
    const char *bytes;
    size_t len;
} bytes_cases[] = {
    { 0, BYTES("\0") },
    { 1, BYTES("\2\0\1") },
    { -1, BYTES("\3\0\1") },
    { 256, BYTES("\2\2\1") },
    { 257, BYTES("\4\0\1\1") },
    { 0.5, BYTES("\2\1\x80") },
    { 0.1, BYTES("\x0E\x0D\x9A\x99\x99\x99\x99\x99\x19") },
    { 0x1p-1074, BYTES("\2\x8D\2\x40") },
    { 0x1p1023, BYTES("\2\xFE\1\x80") },
};

/* The format itself: what is stored must be read for ever. */
START_TEST(bytes_case)
{
    struct span from = { bytes_cases[_i].bytes, bytes_cases[_i].len };
    AUTO(buf_done) struct buf out;
    struct exact exact;

    buf_init(&out, EXACT_BYTES_MAX);
    exact_init(&exact);
    exact_add(&exact, bytes_cases[_i].value);
    exact_write(&exact, &out);
    ck_assert_uint_eq(out.len, from.len);
    ck_assert_mem_eq(out.data, from.data, from.len);
    ck_assert_int_eq(exact_read(&exact, &from), 0);
    ck_assert(exact_round(&exact) == bytes_cases[_i].value);
}
END_TEST

Suite *exact_suite(void); /* called from the table that tools/suites writes */

Suite *exact_suite(void)
{
    Suite *suite = suite_create("metrics/exact");
    TCase *tc = tcase_create("exact");

    tcase_add_loop_test(tc, sums_are_exact, 0, 40);
    tcase_add_loop_test(tc, order_does_not_matter, 0, 10);
    tcase_add_test(tc, opposites_cancel);
    tcase_add_test(tc, times_is_many_additions);
    tcase_add_test(tc, the_largest_sum_of_all);
    tcase_add_test(tc, carries_are_settled);
    tcase_add_loop_test(tc, round_case, 0, LENGTH(round_cases));
    tcase_add_test(tc, rounds_as_quads_do);
    tcase_add_test(tc, mean_of_equal_values);
    tcase_add_test(tc, mean_is_rounded_once);
    tcase_add_loop_test(tc, deviation_case, 0, LENGTH(deviation_cases));
    tcase_add_test(tc, deviation_of_random_values);
    tcase_add_test(tc, deviation_of_what_cannot_be);
    tcase_add_test(tc, below);
    tcase_add_loop_test(tc, bad_case, 0, LENGTH(bad_cases));
    tcase_add_loop_test(tc, bytes_case, 0, LENGTH(bytes_cases));
    suite_add_tcase(suite, tc);
    return suite;
}
