#include "base/decimal.h"

#include <assert.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DECIMAL_DIGITS = 17, /* always enough */
    DECIMAL_DIGITS_MIN = 15,
    DECIMAL_EXPONENT_MIN = -4, /* below it %g writes an exponent */
    /* Half of the distance between doubles, in units of the 17th digit: at most 11.2. */
    DECIMAL_REACH = 12,
    DECIMAL_POWER_MAX = 22,       /* the last power of ten that a double holds */
    DECIMAL_POWER_LONG_MAX = 27,  /* and one with a significand of 64 bits */
    DECIMAL_SIGNIFICAND_BITS = 64 /* what the product of two such needs to tell 17 digits */
};

#define DECIMAL_INTEGER_END 1e15

static const long double decimal_powers[] = {
    1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,  1e7L,  1e8L,  1e9L,
    1e10L, 1e11L, 1e12L, 1e13L, 1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L,
    1e20L, 1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L,
};

/* digits * 10^(exponent - count + 1), with `count` digits. */
struct decimal {
    uint64_t digits;
    int count;
    int exponent;
};

/* All 17 digits of a positive value, correctly rounded by printf: "d.dddddddddddddddde-308". */
static struct decimal decimal_print(double value)
{
    char text[DECIMAL_BYTES];
    struct decimal decimal = { .count = DECIMAL_DIGITS };

    (void)snprintf(text, sizeof(text), "%.*e", DECIMAL_DIGITS - 1, value);
    decimal.digits = (uint64_t)(text[0] - '0');
    for (int i = 2; i <= DECIMAL_DIGITS; i++)
        decimal.digits = decimal.digits * 10 + (uint64_t)(text[i] - '0');
    decimal.exponent = (int)strtol(text + DECIMAL_DIGITS + 2, NULL, 10);
    return decimal;
}

/* The same, a few times faster, of a value in the middle of the range: the product with a power of
 * ten is one rounding away from the truth, 1/256 of the last digit at most, so that it is known
 * which way that digit goes unless the rest is next to a half. */
static struct decimal decimal_of(double value)
{
    struct decimal decimal = { .count = DECIMAL_DIGITS, .exponent = (int)floor(log10(value)) };
    int power = DECIMAL_DIGITS - 1 - decimal.exponent;
    long double scaled, rest;

    if (LDBL_MANT_DIG < DECIMAL_SIGNIFICAND_BITS || power < 0 || power > DECIMAL_POWER_LONG_MAX)
        return decimal_print(value);
    scaled = value * decimal_powers[power];
    if (scaled < 1e16L || scaled >= 1e17L) /* log10() is rounded too */
        return decimal_print(value);
    decimal.digits = (uint64_t)scaled;
    rest = scaled - (long double)decimal.digits;
    if (rest > 0.48L && rest < 0.52L)
        return decimal_print(value);
    if (rest > 0.5L && ++decimal.digits == UINT64_C(100000000000000000))
        return decimal_print(value);
    return decimal;
}

/* The same in 16 (unit 10) or 15 (unit 100) digits. */
static struct decimal decimal_round(struct decimal decimal, unsigned unit, int count)
{
    uint64_t end = unit == 10 ? UINT64_C(10000000000000000) : UINT64_C(1000000000000000);

    decimal.digits = (decimal.digits + unit / 2) / unit;
    decimal.count = count;
    if (decimal.digits == end) {
        decimal.digits /= 10;
        decimal.exponent++;
    }
    return decimal;
}

/* As %.*g with `count` digits: an exponent where it is below -4 or not below `count`, and no zeros
 * at the end of a fraction. */
static size_t decimal_layout(char *text, struct decimal decimal)
{
    char digits[DECIMAL_DIGITS + 1];
    int len = decimal.count, exponent = decimal.exponent;
    char *at = text;

    assert(len > 0 && len <= DECIMAL_DIGITS);
    for (int i = decimal.count; i-- > 0; decimal.digits /= 10)
        digits[i] = (char)('0' + decimal.digits % 10);
    while (len > 1 && digits[len - 1] == '0')
        len--;
    if (exponent < DECIMAL_EXPONENT_MIN || exponent >= decimal.count) {
        *at++ = digits[0];
        if (len > 1)
            *at++ = '.';
        memcpy(at, digits + 1, (size_t)len - 1);
        at += len - 1;
        return (size_t)(at - text) + (size_t)snprintf(at, sizeof("e+308"), "e%+03d", exponent);
    }
    if (exponent < 0) {
        memcpy(at, "0.0000", (size_t)(1 - exponent));
        at += 1 - exponent;
        memcpy(at, digits, (size_t)len);
        at += len;
    } else {
        int whole = exponent + 1;

        for (int i = 0; i < whole; i++)
            *at++ = i < len ? digits[i] : '0';
        if (len > whole) {
            *at++ = '.';
            memcpy(at, digits + whole, (size_t)(len - whole));
            at += len - whole;
        }
    }
    *at = '\0';
    return (size_t)(at - text);
}

/* What strtod() makes of it. Where the digits and the power of ten are doubles, it is their
 * quotient: one rounding, as strtod's. */
static double decimal_read(struct decimal decimal, const char *text)
{
    int power = decimal.count - 1 - decimal.exponent;
    double digits = (double)decimal.digits;

    if (FLT_EVAL_METHOD != 0 || power < 0 || power > DECIMAL_POWER_MAX ||
        (uint64_t)digits != decimal.digits)
        return strtod(text, NULL);
    return digits / (double)decimal_powers[power];
}

/* Writes the value in `count` digits and says whether that reads back. `all` are its 17 digits:
 * what is further away than a double reaches needs no second look (subnormals reach far), and
 * whether a last digit of 5 goes up or down only printf knows. */
static bool decimal_try(char *text, size_t *len, double value, struct decimal all, int count)
{
    unsigned unit = count == DECIMAL_DIGITS_MIN ? 100 : 10, rest = (unsigned)(all.digits % unit);
    double back;

    if (rest > DECIMAL_REACH && unit - rest > DECIMAL_REACH && value >= DBL_MIN)
        return false;
    if (2 * rest == unit) {
        *len = (size_t)snprintf(text, DECIMAL_BYTES - 1, "%.*g", count, value);
        back = strtod(text, NULL);
    } else {
        struct decimal fewer = decimal_round(all, unit, count);

        *len = decimal_layout(text, fewer);
        back = decimal_read(fewer, text);
    }
    return memcmp(&back, &value, sizeof(value)) == 0;
}

/* `text` has room for DECIMAL_BYTES - 1. */
static size_t decimal_write_positive(char *text, double value)
{
    struct decimal all;
    size_t len = 0;

    if (value < DECIMAL_INTEGER_END && value == (double)(int64_t)value)
        return (size_t)snprintf(text, DECIMAL_BYTES - 1, "%" PRId64, (int64_t)value);
    all = decimal_of(value);
    if (!decimal_try(text, &len, value, all, DECIMAL_DIGITS_MIN) &&
        !decimal_try(text, &len, value, all, DECIMAL_DIGITS_MIN + 1))
        len = decimal_layout(text, all);
    return len;
}

size_t decimal_write(char text[static DECIMAL_BYTES], double value)
{
    if (!signbit(value))
        return decimal_write_positive(text, value);
    *text = '-';
    return 1 + decimal_write_positive(text + 1, -value);
}
