#include "collector/rate.h"

#include <pthread.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/mem.h"
#include "base/random.h"

enum { RATES_WAYS = 4 };

struct rates_place {
    uint64_t who;   /* 0: free */
    int64_t due_us; /* as in struct rate */
};

struct rates {
    pthread_mutex_t lock;
    uint64_t seed; /* nobody can choose who shares a place */
    size_t mask;
    struct rates_place places[][RATES_WAYS]; /* guarded by lock */
};

/* The next due time, or -1 and how long to wait. */
static int64_t rate_next(int64_t due_us, int64_t now_us, int64_t interval_us, int64_t burst,
                         int64_t *wait_us)
{
    if (due_us < now_us)
        due_us = now_us;
    *wait_us = due_us - now_us - (burst - 1) * interval_us;
    return *wait_us > 0 ? -1 : due_us + interval_us;
}

bool rate_take(struct rate *rate, int64_t now_us, int64_t interval_us, int64_t burst,
               int64_t *wait_us)
{
    int64_t due_us = atomic_load_explicit(&rate->due_us, memory_order_relaxed), next_us;

    do {
        next_us = rate_next(due_us, now_us, interval_us, burst, wait_us);
        if (next_us < 0)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&rate->due_us, &due_us, next_us,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

struct rates *rates_new(size_t places)
{
    struct rates *rates;
    size_t sets = 1;

    while (sets * RATES_WAYS < places)
        sets *= 2;
    rates = xcalloc(1, sizeof(*rates) + sets * sizeof(rates->places[0]));
    rates->mask = sets - 1;
    random_fill(&rates->seed, sizeof(rates->seed));
    pthread_mutex_init(&rates->lock, NULL);
    return rates;
}

void rates_free(struct rates *rates)
{
    if (!rates)
        return;
    pthread_mutex_destroy(&rates->lock);
    free(rates);
}

/* Its place, or the one of who has been quiet for longest. */
static struct rates_place *rates_find(struct rates_place *places, uint64_t who)
{
    struct rates_place *oldest = places;

    for (size_t i = 0; i < RATES_WAYS; i++) {
        if (places[i].who == who)
            return &places[i];
        if (places[i].due_us < oldest->due_us)
            oldest = &places[i];
    }
    *oldest = (struct rates_place){ .who = who };
    return oldest;
}

bool rates_take(struct rates *rates, struct span who, int64_t now_us, int64_t interval_us,
                int64_t burst, int64_t *wait_us)
{
    uint64_t hash = XXH3_64bits_withSeed(who.data, who.len, rates->seed) | 1;
    struct rates_place *place;
    int64_t next_us;

    pthread_mutex_lock(&rates->lock);
    place = rates_find(rates->places[(hash >> 32) & rates->mask], hash);
    next_us = rate_next(place->due_us, now_us, interval_us, burst, wait_us);
    if (next_us >= 0)
        place->due_us = next_us;
    pthread_mutex_unlock(&rates->lock);
    return next_us >= 0;
}
