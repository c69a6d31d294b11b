#include "metrics/exact.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "metrics/varint_internal.h"

__extension__ typedef unsigned __int128 exact_u128;

enum {
    EXACT_ONE_BIT = EXACT_ONE * 32, /* the bit that weighs 1 */
    /* Carries are settled before any chunk could reach 2^32 times this. */
    EXACT_WEIGHT_MAX = 1 << 30,
    EXACT_DIGITS_READ_MAX = 134, /* up to 2^2112; what is above is there for merging */
    /* Of a difference of products: as far below and above a sum's digits as its square reaches. */
    EXACT_PRODUCT_ONE = 2 * EXACT_ONE,
    EXACT_PRODUCT_DIGITS = 2 * EXACT_CHUNKS + 2,
    EXACT_FRACTION_BITS = 52,
    EXACT_EXPONENT_MAX = 0x7FF,
    EXACT_LOWEST = -1074, /* a double's lowest bit weighs 2 to this */
};

/* The value without its sign: digit i of [from, to) weighs 2^(32 * (i - EXACT_ONE)). */
struct exact_magnitude {
    uint32_t from; /* from == to: zero; else the digits at both ends are not zero */
    uint32_t to;
    bool is_negative;
    uint32_t digits[EXACT_CHUNKS];
};

/* A number of any size with an exponent: top * 2^exponent, and whether there is more below it. */
struct exact_top {
    exact_u128 top; /* its highest bit is set, or it is zero */
    int exponent;
    bool more;
};

void exact_init(struct exact *exact)
{
    memset(exact->chunks, 0, sizeof(exact->chunks));
    exact->from = EXACT_CHUNKS;
    exact->to = 0;
    exact->weight = 0;
}

void exact_clear(struct exact *exact)
{
    if (exact->from < exact->to)
        memset(exact->chunks + exact->from, 0,
               (exact->to - exact->from) * sizeof(exact->chunks[0]));
    exact->from = EXACT_CHUNKS;
    exact->to = 0;
    exact->weight = 0;
}

/* Settles the carries: every chunk but the highest gets between -2^31 and 2^31. Digits with a sign,
 * because a small negative sum would otherwise have digits up to the top. */
static void exact_settle(struct exact *exact)
{
    int64_t carry = 0;
    uint32_t i = exact->from;

    for (; i < exact->to || carry != 0; i++) {
        int64_t chunk;

        assert(i < EXACT_CHUNKS); /* 2^64 values don't get that far */
        chunk = exact->chunks[i] + carry;
        carry = (chunk + ((int64_t)1 << 31)) >> 32;
        exact->chunks[i] = chunk - carry * ((int64_t)1 << 32);
    }
    exact->to = exact->from < i ? i : exact->to;
    exact->weight = 1;
}

/* Makes room for `weight` more in each chunk and notes which chunks will be used. */
static inline void exact_touch(struct exact *exact, uint32_t from, uint32_t to, uint32_t weight)
{
    if (__builtin_expect(exact->weight > EXACT_WEIGHT_MAX - weight, 0))
        exact_settle(exact);
    exact->weight += weight;
    if (from < exact->from)
        exact->from = from;
    if (to > exact->to)
        exact->to = to;
}

static inline void exact_chunk_add(struct exact *exact, uint32_t i, exact_u128 digit, int64_t sign)
{
    exact->chunks[i] += ((int64_t)(uint32_t)digit ^ sign) - sign;
}

/* Adds mantissa * 2^(bit - EXACT_ONE_BIT), negative where sign is -1 instead of 0. */
static inline void exact_add_bits(struct exact *exact, exact_u128 mantissa, uint32_t bit,
                                  int64_t sign)
{
    uint32_t i = bit / 32, shift = bit % 32;
    exact_u128 low = mantissa << shift;

    exact_touch(exact, i, i + 5, 1);
    exact_chunk_add(exact, i, low, sign);
    exact_chunk_add(exact, i + 1, low >> 32, sign);
    exact_chunk_add(exact, i + 2, low >> 64, sign);
    exact_chunk_add(exact, i + 3, low >> 96, sign);
    exact_chunk_add(exact, i + 4, mantissa >> 64 >> 32 >> (32 - shift), sign);
}

struct exact_double {
    uint64_t mantissa;
    uint32_t exponent; /* the value is mantissa * 2^(exponent + EXACT_LOWEST) */
    int64_t sign;      /* -1: negative, else 0 */
};

static inline struct exact_double exact_take_apart(double value)
{
    uint64_t bits;
    uint32_t exponent;

    memcpy(&bits, &value, sizeof(bits));
    exponent = (uint32_t)(bits >> EXACT_FRACTION_BITS) & EXACT_EXPONENT_MAX;
    assert(exponent < EXACT_EXPONENT_MAX); /* finite */
    return (struct exact_double){
        .mantissa = (bits & (((uint64_t)1 << EXACT_FRACTION_BITS) - 1)) |
                    (uint64_t)(exponent > 0) << EXACT_FRACTION_BITS,
        .exponent = exponent - (exponent > 0),
        .sign = -(int64_t)(bits >> 63),
    };
}

void exact_add(struct exact *exact, double value)
{
    struct exact_double d = exact_take_apart(value);
    uint32_t bit = d.exponent + (EXACT_ONE_BIT + EXACT_LOWEST), i = bit / 32;
    exact_u128 low = (exact_u128)d.mantissa << bit % 32;

    if (d.mantissa == 0)
        return;
    exact_touch(exact, i, i + 3, 1);
    exact_chunk_add(exact, i, low, d.sign);
    exact_chunk_add(exact, i + 1, low >> 32, d.sign);
    exact_chunk_add(exact, i + 2, low >> 64, d.sign);
}

void exact_add_square(struct exact *exact, double value)
{
    struct exact_double d = exact_take_apart(value);

    if (d.mantissa != 0)
        exact_add_bits(exact, (exact_u128)d.mantissa * d.mantissa,
                       d.exponent * 2 + (EXACT_ONE_BIT + 2 * EXACT_LOWEST), 0);
}

void exact_add_times(struct exact *exact, double value, uint64_t times)
{
    struct exact_double d = exact_take_apart(value);

    assert(times <= (uint64_t)1 << 48);
    if (d.mantissa != 0 && times != 0)
        exact_add_bits(exact, (exact_u128)d.mantissa * times,
                       d.exponent + (EXACT_ONE_BIT + EXACT_LOWEST), d.sign);
}

void exact_add_square_times(struct exact *exact, double value, uint64_t times)
{
    struct exact_double d = exact_take_apart(value);
    exact_u128 square = (exact_u128)d.mantissa * d.mantissa;
    uint32_t bit = d.exponent * 2 + (EXACT_ONE_BIT + 2 * EXACT_LOWEST);

    assert(times <= (uint64_t)1 << 48);
    if (d.mantissa == 0 || times == 0)
        return;
    exact_add_bits(exact, (exact_u128)(uint64_t)square * times, bit, 0);
    if (square >> 64)
        exact_add_bits(exact, (square >> 64) * times, bit + 64, 0);
}

void exact_merge(struct exact *exact, const struct exact *other)
{
    if (other->from >= other->to)
        return;
    if (exact->weight + other->weight > EXACT_WEIGHT_MAX) {
        exact_settle(exact);
        if (other->weight >= EXACT_WEIGHT_MAX) {
            struct exact settled = *other;

            exact_settle(&settled);
            exact_merge(exact, &settled);
            return;
        }
    }
    for (uint32_t i = other->from; i < other->to; i++)
        exact->chunks[i] += other->chunks[i];
    exact->weight += other->weight;
    if (other->from < exact->from)
        exact->from = other->from;
    if (other->to > exact->to)
        exact->to = other->to;
}

static void exact_magnitude_trim(struct exact_magnitude *magnitude)
{
    while (magnitude->from < magnitude->to && magnitude->digits[magnitude->to - 1] == 0)
        magnitude->to--;
    while (magnitude->from < magnitude->to && magnitude->digits[magnitude->from] == 0)
        magnitude->from++;
    if (magnitude->from == magnitude->to)
        magnitude->from = magnitude->to = 0;
}

static void exact_magnitude_of(struct exact_magnitude *magnitude, const struct exact *exact)
{
    int64_t carry = 0;
    uint32_t i = exact->from;

    magnitude->from = exact->from;
    for (; i < exact->to || carry > 0 || carry < -1; i++) {
        int64_t chunk = carry + (i < exact->to ? exact->chunks[i] : 0);

        assert(i < EXACT_CHUNKS);
        magnitude->digits[i] = (uint32_t)chunk;
        carry = chunk >> 32;
    }
    magnitude->to = exact->from < i ? i : exact->from;
    magnitude->is_negative = carry < 0;
    if (magnitude->is_negative) {
        /* The digits are those of 2^(32 * to) less the magnitude. */
        uint64_t borrow = 1;

        for (uint32_t k = magnitude->from; k < magnitude->to; k++) {
            borrow += (uint32_t)~magnitude->digits[k];
            magnitude->digits[k] = (uint32_t)borrow;
            borrow >>= 32;
        }
        assert(borrow == 0);
    }
    exact_magnitude_trim(magnitude);
}

bool exact_is_negative(const struct exact *exact)
{
    struct exact_magnitude magnitude;

    exact_magnitude_of(&magnitude, exact);
    return magnitude.is_negative;
}

bool exact_is_below(const struct exact *exact, uint64_t count, int exponent)
{
    struct exact_magnitude magnitude;
    uint32_t at;
    uint64_t above = 0;

    assert(exponent >= 0 && exponent <= 2048 && exponent % 32 == 0);
    at = EXACT_ONE + (uint32_t)exponent / 32;
    exact_magnitude_of(&magnitude, exact);
    if (magnitude.to > at + 2)
        return false;
    for (uint32_t i = magnitude.to; i > at && i > magnitude.from; i--)
        above |= (uint64_t)magnitude.digits[i - 1] << 32 * (i - 1 - at);
    return above < count;
}

void exact_write(const struct exact *exact, struct buf *out)
{
    struct exact_magnitude magnitude;
    char bytes[EXACT_CHUNKS * 4];
    size_t len = 0, zeros = 0;
    int64_t place;

    exact_magnitude_of(&magnitude, exact);
    if (magnitude.from == magnitude.to) {
        buf_append_char(out, 0);
        return;
    }
    assert(magnitude.from < magnitude.to);
    for (uint32_t i = magnitude.from; i < magnitude.to; i++) {
        for (unsigned shift = 0; shift < 32; shift += 8)
            bytes[len++] = (char)(magnitude.digits[i] >> shift);
    }
    while (bytes[len - 1] == 0)
        len--;
    while (bytes[zeros] == 0)
        zeros++;
    place = ((int64_t)magnitude.from - EXACT_ONE) * 4 + (int64_t)zeros;
    varint_append(out, (len - zeros) * 2 + magnitude.is_negative);
    varint_append(out, varint_zigzag(place));
    buf_append(out, bytes + zeros, len - zeros);
}

int exact_read(struct exact *exact, struct span *from)
{
    struct span rest = *from;
    uint64_t head, place, len, at;
    const unsigned char *bytes;

    exact_clear(exact);
    if (varint_take(&rest, &head) < 0)
        return -1;
    len = head / 2;
    if (len > 0) {
        if (varint_take(&rest, &place) < 0 || len > rest.len || place > EXACT_CHUNKS * 8)
            return -1;
        /* Wraps around to something large for a place below the lowest digit. */
        at = (uint64_t)(varint_unzigzag(place) + EXACT_ONE * 4);
        bytes = (const unsigned char *)rest.data;
        if (at >= EXACT_DIGITS_READ_MAX * 4 || len > EXACT_DIGITS_READ_MAX * 4 - at ||
            bytes[0] == 0 || bytes[len - 1] == 0)
            return -1;
        exact_touch(exact, (uint32_t)at / 4, (uint32_t)(at + len + 3) / 4, 1);
        for (uint64_t i = 0; i < len; i++, at++) {
            int64_t byte = head % 2 ? -(int64_t)bytes[i] : (int64_t)bytes[i];

            exact->chunks[at / 4] += byte * ((int64_t)1 << at % 4 * 8);
        }
        rest = (struct span){ rest.data + len, rest.len - len };
    } else if (head != 0) {
        return -1; /* a negative zero */
    }
    *from = rest;
    return 0;
}

/* The highest 128 bits of digits that have no zero at the upper end; digit 0 of them weighs
 * 2^exponent. */
static struct exact_top exact_top_of(const uint32_t *digits, uint32_t len, int exponent)
{
    struct exact_top result = { 0 };
    uint32_t taken = len < 4 ? len : 4;
    unsigned shift;

    if (len == 0)
        return result;
    for (uint32_t i = 0; i < taken; i++)
        result.top = result.top << 32 | digits[len - 1 - i];
    result.exponent = exponent + (int)(len - taken) * 32;
    result.top <<= 32 * (4 - taken);
    result.exponent -= 32 * (4 - (int)taken);
    shift = (unsigned)__builtin_clz((uint32_t)(result.top >> 96));
    if (shift > 0) {
        result.top <<= shift;
        result.exponent -= (int)shift;
        if (len > 4)
            result.top |= digits[len - 5] >> (32 - shift);
    }
    for (uint32_t i = 0; len > 4 && i < len - 5; i++)
        result.more |= digits[i] != 0;
    if (len > 4)
        result.more |= shift == 0 ? digits[len - 5] != 0 : digits[len - 5] << shift != 0;
    return result;
}

static struct exact_top exact_magnitude_top(const struct exact_magnitude *magnitude)
{
    return exact_top_of(magnitude->digits + magnitude->from, magnitude->to - magnitude->from,
                        ((int)magnitude->from - EXACT_ONE) * 32);
}

/* The nearest double, ties to even, of a number whose highest bit is the highest of `top`. */
static double exact_top_round(struct exact_top number)
{
    int drop = 128 - 53;
    exact_u128 half, rest;
    uint64_t mantissa;

    if (number.top == 0)
        return 0;
    if (number.exponent + drop < EXACT_LOWEST)
        drop = EXACT_LOWEST - number.exponent; /* a subnormal has fewer bits */
    if (drop > 128)
        return 0; /* below half of the smallest */
    mantissa = drop == 128 ? 0 : (uint64_t)(number.top >> drop);
    half = (exact_u128)1 << (drop - 1);
    rest = drop == 128 ? number.top : number.top & ((half << 1) - 1);
    if (rest > half || (rest == half && (number.more || (mantissa & 1))))
        mantissa++;
    return ldexp((double)mantissa, number.exponent + drop);
}

double exact_round(const struct exact *exact)
{
    struct exact_magnitude magnitude;
    double value;

    exact_magnitude_of(&magnitude, exact);
    value = exact_top_round(exact_magnitude_top(&magnitude));
    return magnitude.is_negative ? -value : value;
}

double exact_mean(const struct exact *sum, uint64_t count)
{
    struct exact_magnitude magnitude;
    uint32_t quotient[EXACT_CHUNKS + 4];
    uint32_t len, digits;
    uint64_t rest = 0;
    struct exact_top top;
    double value;

    assert(count > 0);
    exact_magnitude_of(&magnitude, sum);
    digits = magnitude.to - magnitude.from;
    if (digits == 0)
        return 0;
    /* Long division, four digits further than the sum goes: that makes 64 bits at least, and where
     * it leaves a remainder these four are not all zero, so that the rounding sees it. */
    len = digits + 4;
    for (uint32_t i = len; i-- > 0;) {
        exact_u128 part =
            (exact_u128)rest << 32 | (i >= 4 ? magnitude.digits[magnitude.from + i - 4] : 0);

        quotient[i] = (uint32_t)(part / count);
        rest = (uint64_t)(part % count);
    }
    while (len > 0 && quotient[len - 1] == 0)
        len--;
    top = exact_top_of(quotient, len, ((int)magnitude.from - 4 - EXACT_ONE) * 32);
    value = exact_top_round(top);
    return magnitude.is_negative ? -value : value;
}

/* product = a * b, of a_len + b_len digits. */
static void exact_multiply(uint32_t *product, const uint32_t *a, uint32_t a_len, const uint32_t *b,
                           uint32_t b_len)
{
    memset(product, 0, (a_len + b_len) * sizeof(*product));
    for (uint32_t i = 0; i < a_len; i++) {
        uint64_t carry = 0;

        for (uint32_t k = 0; k < b_len; k++) {
            carry += (uint64_t)a[i] * b[k] + product[i + k];
            product[i + k] = (uint32_t)carry;
            carry >>= 32;
        }
        product[i + b_len] = (uint32_t)carry;
    }
}

/* a -= b, both of `len` digits; -1 when b is larger, what is in a then means nothing. */
static int exact_subtract(uint32_t *a, const uint32_t *b, uint32_t len)
{
    int64_t carry = 0;

    for (uint32_t i = 0; i < len; i++) {
        carry += (int64_t)a[i] - b[i];
        a[i] = (uint32_t)carry;
        carry >>= 32;
    }
    return (int)carry;
}

double exact_stddev(const struct exact *sum, const struct exact *squares, uint64_t count)
{
    const uint32_t times[2] = { (uint32_t)count, (uint32_t)(count >> 32) };
    uint32_t numerator[EXACT_PRODUCT_DIGITS], square[EXACT_PRODUCT_DIGITS];
    uint32_t q_at, q_to, s_at, s_to, from, to; /* the digits that are used */
    struct exact_magnitude s, q;
    struct exact_top top;
    double root, deviation;
    int odd;

    assert(count > 0 && count <= (uint64_t)1 << 48);
    exact_magnitude_of(&s, sum);
    exact_magnitude_of(&q, squares);
    if (q.from == q.to || q.is_negative)
        return 0;
    q_at = EXACT_PRODUCT_ONE - EXACT_ONE + q.from;
    s_at = s.from < s.to ? 2 * s.from : q_at;
    q_to = q_at + q.to - q.from + 2;
    s_to = s_at + 2 * (s.to - s.from);
    from = q_at < s_at ? q_at : s_at;
    to = q_to > s_to ? q_to : s_to;
    memset(numerator + from, 0, (to - from) * sizeof(*numerator));
    memset(square + from, 0, (to - from) * sizeof(*square));
    exact_multiply(numerator + q_at, q.digits + q.from, q.to - q.from, times, 2);
    if (s.from < s.to)
        exact_multiply(square + s_at, s.digits + s.from, s.to - s.from, s.digits + s.from,
                       s.to - s.from);
    if (exact_subtract(numerator + from, square + from, to - from) < 0)
        return 0;
    while (to > from && numerator[to - 1] == 0)
        to--;
    if (to == from)
        return 0;
    top = exact_top_of(numerator + from, to - from, ((int)from - EXACT_PRODUCT_ONE) * 32);
    odd = top.exponent & 1;
    root = sqrt(ldexp((double)(top.top | top.more), odd));
    deviation = ldexp(root / (double)count, (top.exponent - odd) / 2);
    return isfinite(deviation) ? deviation : DBL_MAX;
}
