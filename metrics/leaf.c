#include "metrics/leaf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 leaf_u128;

enum {
    LEAF_PATH_TOO_LONG = LEAF_NAME_BYTES_MAX + 1,
    LEAF_DIGITS_MAX = 19,       /* always fit 64 bits */
    LEAF_DOUBLE_POWER_MAX = 22, /* of ten: a double holds it */
    LEAF_POWER_MAX = 27,        /* of five: fits 63 bits */
    LEAF_EXPONENT_MAX = 100000, /* beyond it all numbers of 64 characters are zero or infinite */
};

/* A number token taken apart: mantissa * 10^exponent. */
struct leaf_decimal {
    uint64_t mantissa; /* means nothing with more than LEAF_DIGITS_MAX digits */
    int64_t exponent;
    int64_t digits; /* of the mantissa, without leading zeros */
    bool is_negative;
};

static const uint64_t leaf_powers_of_5[LEAF_POWER_MAX + 1] = {
    1,
    5,
    25,
    125,
    625,
    3125,
    15625,
    78125,
    390625,
    1953125,
    9765625,
    48828125,
    244140625,
    1220703125,
    6103515625,
    30517578125,
    152587890625,
    762939453125,
    3814697265625,
    19073486328125,
    95367431640625,
    476837158203125,
    2384185791015625,
    11920928955078125,
    59604644775390625,
    298023223876953125,
    1490116119384765625,
    7450580596923828125,
};

static const double leaf_powers_of_10[LEAF_DOUBLE_POWER_MAX + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

/* Digits from p on, at least one; behind them, or NULL. */
static const char *leaf_digits(const char *p, const char *end, struct leaf_decimal *decimal)
{
    const char *start = p, *first;
    uint64_t mantissa = decimal->mantissa;

    while (decimal->digits == 0 && p < end && *p == '0')
        p++;
    for (first = p; p < end && (unsigned char)(*p - '0') < 10; p++)
        mantissa = mantissa * 10 + (uint64_t)(*p - '0');
    decimal->mantissa = mantissa;
    decimal->digits += p - first;
    return p > start ? p : NULL;
}

/* Behind the exponent whose 'e' stands at p, or NULL. */
static const char *leaf_exponent(const char *p, const char *end, struct leaf_decimal *decimal)
{
    int64_t exponent = 0;
    bool is_negative;
    const char *start;

    p++;
    is_negative = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+');
    for (start = p; p < end && (unsigned char)(*p - '0') < 10; p++) {
        if (exponent < LEAF_EXPONENT_MAX)
            exponent = exponent * 10 + (*p - '0');
    }
    decimal->exponent += is_negative ? -exponent : exponent;
    return p > start ? p : NULL;
}

static int leaf_decimal_read(struct leaf_decimal *decimal, struct span token)
{
    const char *p = token.data, *end = p + token.len, *digits;

    *decimal = (struct leaf_decimal){ 0 };
    if (token.len == 0 || token.len > JSON_NUMBER_CHARS_MAX)
        return -1;
    decimal->is_negative = *p == '-';
    digits = p += decimal->is_negative;
    p = leaf_digits(p, end, decimal);
    if (!p || (*digits == '0' && p - digits > 1))
        return -1;
    if (p < end && *p == '.') {
        digits = p + 1;
        p = leaf_digits(digits, end, decimal);
        if (!p)
            return -1;
        decimal->exponent = digits - p;
    }
    if (p < end && (*p | 0x20) == 'e') {
        p = leaf_exponent(p, end, decimal);
        if (!p)
            return -1;
    }
    return p == end ? 0 : -1;
}

/* mantissa / 10^power: a division of whole numbers, whose remainder tells on which side of a tie
 * the quotient lies. */
static double leaf_divide(uint64_t mantissa, int power)
{
    uint64_t divisor = leaf_powers_of_5[power], quotient, rounded;
    int up = __builtin_clzll(mantissa), down = __builtin_clzll(divisor), exponent;
    leaf_u128 dividend = (leaf_u128)(mantissa << up) << 63;
    bool more;

    /* Both have their highest bit set, so the quotient has 63 or 64 bits. */
    divisor <<= down;
    quotient = (uint64_t)(dividend / divisor);
    more = (uint64_t)dividend != quotient * divisor; /* the remainder is below 2^64 */
    exponent = down - up - 63 - power;
    if (!(quotient >> 63)) {
        quotient <<= 1; /* the bit that comes in is not known, but far below the tie */
        exponent--;
    }
    rounded = quotient >> 11;
    quotient &= 0x7FF;
    rounded += quotient > 0x400 || (quotient == 0x400 && (more || (rounded & 1)));
    return ldexp((double)rounded, exponent + 11);
}

/* strtod looks for the locale's decimal point, so it gets a whole number with an exponent. */
static double leaf_strtod(struct span token, int64_t exponent)
{
    char text[JSON_NUMBER_CHARS_MAX + 32];
    size_t len = 0;

    for (size_t i = 0; i < token.len && (token.data[i] | 0x20) != 'e'; i++) {
        if (token.data[i] != '.')
            text[len++] = token.data[i];
    }
    (void)snprintf(text + len, sizeof(text) - len, "e%lld", (long long)exponent);
    return strtod(text, NULL);
}

int leaf_number(struct span token, double *value)
{
    struct leaf_decimal decimal;
    int64_t power;
    double number;

    if (leaf_decimal_read(&decimal, token) < 0)
        return -1;
    power = llabs(decimal.exponent);
    if (decimal.digits == 0) {
        number = 0;
    } else if (decimal.digits > LEAF_DIGITS_MAX || power > LEAF_POWER_MAX) {
        number = fabs(leaf_strtod(token, decimal.exponent));
        if (!isfinite(number))
            return -1;
    } else if (decimal.mantissa >> 53 == 0 && power <= LEAF_DOUBLE_POWER_MAX) {
        /* Both are doubles: one operation, one rounding. */
        number = (double)decimal.mantissa;
        number = decimal.exponent < 0 ? number / leaf_powers_of_10[power]
                                      : number * leaf_powers_of_10[power];
    } else if (decimal.exponent < 0) {
        number = leaf_divide(decimal.mantissa, (int)power);
    } else {
        number = (double)((leaf_u128)decimal.mantissa * leaf_powers_of_5[power]);
        number = ldexp(number, (int)power);
    }
    *value = decimal.is_negative ? -number : number;
    return 0;
}

void leaf_walk_begin(struct leaf_walk *walk, struct span object)
{
    walk->walk = json_walk_begin(object);
    walk->depth = 1;
    walk->path_len[0] = 0;
}

/* Writes the key behind the path of `len` bytes. The new length, or LEAF_PATH_TOO_LONG. */
static uint32_t leaf_path_add(struct leaf_walk *walk, uint32_t len,
                              const struct json_member *member)
{
    char unescaped[LEAF_NAME_BYTES_MAX * 6]; /* \u0061 is one byte: what is longer can't fit */
    struct span key = member->raw;

    if (len > LEAF_NAME_BYTES_MAX)
        return LEAF_PATH_TOO_LONG;
    if (member->has_escape) {
        if (key.len > sizeof(unescaped))
            return LEAF_PATH_TOO_LONG;
        key = (struct span){ unescaped, json_unescape(unescaped, key) };
    }
    if (walk->depth > 1 && len < LEAF_NAME_BYTES_MAX)
        walk->path[len++] = '.';
    else if (walk->depth > 1)
        return LEAF_PATH_TOO_LONG;
    if (!member->has_escape && !memchr(key.data, '.', key.len)) { /* nearly always */
        if (key.len > LEAF_NAME_BYTES_MAX - len)
            return LEAF_PATH_TOO_LONG;
        memcpy(walk->path + len, key.data, key.len);
        return len + (uint32_t)key.len;
    }
    for (size_t i = 0; i < key.len; i++) {
        bool is_escaped = key.data[i] == '.' || key.data[i] == '\\';

        if (len + is_escaped >= LEAF_NAME_BYTES_MAX)
            return LEAF_PATH_TOO_LONG;
        if (is_escaped)
            walk->path[len++] = '\\';
        walk->path[len++] = key.data[i];
    }
    return len;
}

static void leaf_text_set(struct leaf_walk *walk, struct leaf *leaf, bool has_escape)
{
    struct span raw = leaf->raw;

    if (raw.len < 2) {
        leaf->type = LEAF_INVALID;
        return;
    }
    leaf->type = LEAF_TEXT;
    leaf->text = (struct span){ raw.data + 1, raw.len - 2 };
    if (has_escape && leaf->text.len <= sizeof(walk->text))
        leaf->text = (struct span){ walk->text, json_unescape(walk->text, leaf->text) };
}

static void leaf_set(struct leaf_walk *walk, struct leaf *leaf, const struct json_value *value)
{
    switch (value->type) {
    case JSON_TYPE_STRING:
        leaf_text_set(walk, leaf, value->has_escape);
        break;
    case JSON_TYPE_TRUE:
    case JSON_TYPE_FALSE:
        leaf->type = LEAF_BOOLEAN;
        leaf->text = value->type == JSON_TYPE_TRUE ? SPAN_LITERAL("true") : SPAN_LITERAL("false");
        break;
    case JSON_TYPE_NULL:
        leaf->type = LEAF_NULL;
        break;
    case JSON_TYPE_ARRAY:
        leaf->type = LEAF_ARRAY;
        break;
    default:
        leaf->type = leaf_number(value->text, &leaf->number) < 0 ? LEAF_INVALID : LEAF_NUMBER;
    }
}

bool leaf_walk_next(struct leaf_walk *walk, struct leaf *leaf)
{
    struct json_member member;

    while (walk->depth > 0) {
        enum json_step step = json_walk_step(&walk->walk, &member);
        uint32_t len;

        if (step == JSON_STEP_LEAVE || step == JSON_STEP_END) {
            walk->depth = step == JSON_STEP_END ? 0 : walk->depth - 1;
            continue;
        }
        if (walk->depth > LEAF_DEPTH_MAX) { /* inside of what was reported */
            walk->depth += step == JSON_STEP_ENTER;
            continue;
        }
        len = leaf_path_add(walk, walk->path_len[walk->depth - 1], &member);
        leaf->name = (struct span){ walk->path, len > LEAF_NAME_BYTES_MAX ? 0 : len };
        leaf->text = (struct span){ 0 };
        leaf->raw = member.value.text;
        if (step == JSON_STEP_ENTER) {
            if (walk->depth++ == LEAF_DEPTH_MAX) {
                leaf->type = LEAF_DEEP;
                return true;
            }
            walk->path_len[walk->depth - 1] = (uint16_t)len;
            continue;
        }
        if (len > LEAF_NAME_BYTES_MAX)
            leaf->type = LEAF_LONG_NAME;
        else
            leaf_set(walk, leaf, &member.value);
        return true;
    }
    return false;
}
