#include "base/decimal.h"

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
};

#define DECIMAL_INTEGER_END 1e15

/* digits * 10^(exponent - count + 1), with `count` digits. */
struct decimal {
    uint64_t digits;
    int count;
    int exponent;
};

/* All 17 digits of a positive value, correctly rounded by printf: "d.dddddddddddddddde-308". */
static struct decimal decimal_of(double value)
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

/* Writes the value in `count` digits and says whether that reads back. `all` are its 17 digits:
 * what is further away than a double reaches needs no second look (subnormals reach far), and
 * whether a last digit of 5 goes up or down only printf knows. */
static bool decimal_try(char *text, size_t *len, double value, struct decimal all, int count)
{
    unsigned unit = count == DECIMAL_DIGITS_MIN ? 100 : 10, rest = (unsigned)(all.digits % unit);
    double back;

    if (rest > DECIMAL_REACH && unit - rest > DECIMAL_REACH && value >= DBL_MIN)
        return false;
    if (2 * rest == unit)
        *len = (size_t)snprintf(text, DECIMAL_BYTES - 1, "%.*g", count, value);
    else
        *len = decimal_layout(text, decimal_round(all, unit, count));
    back = strtod(text, NULL);
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
