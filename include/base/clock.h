/* Time: milliseconds since 1970 (UTC) for what the world sees, monotonic for waiting. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

int64_t clock_now_ms(void);
/* CLOCK_MONOTONIC: never steps; only differences mean something. */
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
/* The CLOCK_MONOTONIC instant `ms` from now, for pthread_cond_timedwait. */
struct timespec clock_mono_after(int64_t ms);
/* "2026-11-21T10:00:00.000Z"; text needs CLOCK_TEXT_BYTES. */
enum { CLOCK_TEXT_BYTES = 32 };
void clock_format(int64_t ms, char text[CLOCK_TEXT_BYTES]);

#endif
