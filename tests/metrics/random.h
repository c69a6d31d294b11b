/* Random values for property tests: the same ones in every run. */
#ifndef METRICS_RANDOM_H
#define METRICS_RANDOM_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

struct random {
    uint64_t state;
};

/* splitmix64 (Steele, Lea, Flood, 2014). */
static inline uint64_t random_u64(struct random *random)
{
    uint64_t z = random->state += 0x9E3779B97F4A7C15;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

static inline uint64_t random_below(struct random *random, uint64_t limit)
{
    return random_u64(random) % limit;
}

/* Any finite double, every exponent as likely as any other. */
static inline double random_bits(struct random *random)
{
    double value;

    do {
        uint64_t bits = random_u64(random);

        memcpy(&value, &bits, sizeof(value));
    } while (!isfinite(value));
    return value;
}

/* A double as metrics have them, and now and then one of those that break things. */
static inline double random_number(struct random *random)
{
    static const double special[] = {
        0.0,       -0.0,      1.0,        -1.0,   DBL_MAX, -DBL_MAX,           DBL_MIN,
        -DBL_MIN,  0x1p-1074, -0x1p-1074, 0x1p63, 1e308,   9007199254740993.0, 0x1.8p-1073,
        0x1p-1022, -0x1p1023,
    };
    uint64_t kind = random_below(random, 8);

    if (kind == 0)
        return special[random_below(random, sizeof(special) / sizeof(special[0]))];
    if (kind == 1)
        return random_bits(random);
    if (kind < 4)
        return (double)random_below(random, 2000) - 1000;
    return ((double)random_below(random, 2000001) - 1000000) / 1e6;
}

static inline void random_shuffle(struct random *random, double *values, size_t len)
{
    for (size_t i = len; i > 1; i--) {
        size_t k = random_below(random, i);
        double value = values[i - 1];

        values[i - 1] = values[k];
        values[k] = value;
    }
}

#endif
