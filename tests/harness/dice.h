/* Chance that comes out the same every time: a test that fails can be run again. */
#ifndef HARNESS_DICE_H
#define HARNESS_DICE_H

#include <stdint.h>

/* From 0 to sides - 1. Any seed will do; it is changed (splitmix64). */
static inline uint32_t dice_roll(uint64_t *seed, uint32_t sides)
{
    uint64_t z = (*seed += UINT64_C(0x9E3779B97F4A7C15));

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (uint32_t)((z ^ (z >> 31)) % sides);
}

/* Shuffles pointers. */
static inline void dice_shuffle(uint64_t *seed, void **items, uint32_t len)
{
    for (uint32_t i = len; i > 1; i--) {
        uint32_t j = dice_roll(seed, i);
        void *item = items[j];

        items[j] = items[i - 1];
        items[i - 1] = item;
    }
}

#endif
