/* How often something may happen: so many times a second, and after a pause a burst at once. Each
 * time is due an interval behind the one before; who comes earlier than a burst of intervals allows
 * is refused. No thread runs, and a limit is one number. */
#ifndef COLLECTOR_RATE_H
#define COLLECTOR_RATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/span.h"

struct rate {
    _Atomic int64_t due_us; /* monotonic: when the next time is due; 0: never happened */
};

/* One more time now. false: too early, *wait_us (at least 1) until it may be. Any thread. */
bool rate_take(struct rate *rate, int64_t now_us, int64_t interval_us, int64_t burst,
               int64_t *wait_us) MUST_CHECK;

/* A limit for each of many that are told apart by some bytes, in a memory that does not grow: when
 * its place is full the one that has been quiet for longest is forgotten. Any thread. */
struct rates;

/* `places` is rounded up to a power of two. */
struct rates *rates_new(size_t places);
void rates_free(struct rates *rates);
AUTO_DEFINE(struct rates, rates_free);
bool rates_take(struct rates *rates, struct span who, int64_t now_us, int64_t interval_us,
                int64_t burst, int64_t *wait_us) MUST_CHECK;

#endif
