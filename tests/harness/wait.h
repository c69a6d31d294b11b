/* Waiting for something that is about to be true: with a deadline, never for a fixed time.
 *
 *     WAIT_UNTIL(5000, pg_query_i64(dsn, "SELECT count(*) FROM prediction") == 3);
 */
#ifndef HARNESS_WAIT_H
#define HARNESS_WAIT_H

#include <check.h>
#include <stdbool.h>
#include <time.h>

#include "base/clock.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#define IS_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define IS_SANITIZED false
#endif

/* Looks again every 5 ms; fails the test when the condition does not hold within `ms`. A run under
 * a sanitizer is given four times as long. */
#define WAIT_UNTIL(ms, condition)                                                                  \
    do {                                                                                           \
        int64_t wait_end_ms = clock_mono_ms() + wait_scaled_ms(ms);                                \
        while (!(condition)) {                                                                     \
            ck_assert_msg(clock_mono_ms() < wait_end_ms, "not within %lld ms: %s",                 \
                          (long long)wait_scaled_ms(ms), #condition);                              \
            wait_nap();                                                                            \
        }                                                                                          \
    } while (0)

/* The same as an expression: whether the condition came true in time. */
#define WAIT_FOR(ms, condition)                                                                    \
    __extension__({                                                                                \
        int64_t wait_end_ms = clock_mono_ms() + wait_scaled_ms(ms);                                \
        bool wait_held;                                                                            \
        while (!(wait_held = (condition)) && clock_mono_ms() < wait_end_ms)                        \
            wait_nap();                                                                            \
        wait_held;                                                                                 \
    })

static inline int64_t wait_scaled_ms(int64_t ms)
{
    return IS_SANITIZED ? 4 * ms : ms;
}

static inline void wait_nap(void)
{
    (void)nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

#endif
