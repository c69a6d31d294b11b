#include "base/clock.h"

#include <stdio.h>

static int64_t clock_us(clockid_t id)
{
    struct timespec now;

    (void)clock_gettime(id, &now); /* fails for an unknown clock only */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_now_ms(void)
{
    return clock_us(CLOCK_REALTIME) / 1000;
}

int64_t clock_mono_ms(void)
{
    return clock_us(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_mono_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

struct timespec clock_mono_after(int64_t ms)
{
    int64_t us = clock_us(CLOCK_MONOTONIC) + ms * 1000;

    return (struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };
}

void clock_format(int64_t ms, char text[CLOCK_TEXT_BYTES])
{
    int64_t seconds = ms / 1000 - (ms % 1000 < 0); /* rounded down, before 1970 as well */
    time_t time = (time_t)seconds;
    struct tm tm;

    if (!gmtime_r(&time, &tm) || tm.tm_year > 9999 - 1900 || tm.tm_year < -1900) {
        (void)snprintf(text, CLOCK_TEXT_BYTES, "%lldms", (long long)ms);
        return;
    }
    (void)snprintf(text, CLOCK_TEXT_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
                   (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
                   (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100,
                   (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100,
                   (unsigned)(ms - seconds * 1000) % 1000);
}
