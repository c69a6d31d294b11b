#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "read_table_internal.h"

/* Takes exactly `digits` digits. */
static bool read_time_digits(const char **text, int digits, int *value)
{
    *value = 0;
    for (int i = 0; i < digits; i++) {
        if (**text < '0' || **text > '9')
            return false;
        *value = *value * 10 + (*(*text)++ - '0');
    }
    return true;
}

static bool read_time_char(const char **text, char c)
{
    if (**text != c)
        return false;
    (*text)++;
    return true;
}

/* Up to three digits behind the point; further ones are dropped. */
static bool read_time_fraction(const char **text, int *ms)
{
    int digits = 0;

    for (*ms = 0; **text >= '0' && **text <= '9'; (*text)++, digits++) {
        if (digits < 3)
            *ms = *ms * 10 + (**text - '0');
    }
    for (int i = digits; i < 3; i++)
        *ms *= 10;
    return digits > 0;
}

/* THH:MM[:SS[.fff]]; *span_ms becomes how long what is given lasts. */
static bool read_time_clock(const char **text, struct tm *tm, int *ms, int64_t *span_ms)
{
    if (!read_time_char(text, 'T') && !read_time_char(text, ' '))
        return true;
    *span_ms = 60000;
    if (!read_time_digits(text, 2, &tm->tm_hour) || !read_time_char(text, ':') ||
        !read_time_digits(text, 2, &tm->tm_min))
        return false;
    if (!read_time_char(text, ':'))
        return true;
    *span_ms = 1000;
    if (!read_time_digits(text, 2, &tm->tm_sec))
        return false;
    if (!read_time_char(text, '.'))
        return true;
    *span_ms = 1;
    return read_time_fraction(text, ms);
}

static bool read_time_zone(const char **text, int64_t *offset_ms)
{
    int sign = **text == '-' ? -1 : 1, hours, minutes;

    *offset_ms = 0;
    if (!**text || read_time_char(text, 'Z'))
        return true;
    if (!read_time_char(text, '+') && !read_time_char(text, '-'))
        return false;
    if (!read_time_digits(text, 2, &hours))
        return false;
    (void)read_time_char(text, ':');
    if (!read_time_digits(text, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *offset_ms = sign * (hours * INT64_C(60) + minutes) * 60000;
    return true;
}

static bool read_time_date(const char *text, bool is_end, int64_t *result)
{
    int64_t span_ms = INT64_C(86400000), offset_ms;
    struct tm tm = { 0 }, want;
    time_t seconds;
    int ms = 0;

    if (!read_time_digits(&text, 4, &tm.tm_year) || !read_time_char(&text, '-') ||
        !read_time_digits(&text, 2, &tm.tm_mon) || !read_time_char(&text, '-') ||
        !read_time_digits(&text, 2, &tm.tm_mday) || !read_time_clock(&text, &tm, &ms, &span_ms) ||
        !read_time_zone(&text, &offset_ms) || *text)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    want = tm;
    seconds = timegm(&tm);
    if (tm.tm_mon != want.tm_mon || tm.tm_mday != want.tm_mday || tm.tm_hour != want.tm_hour ||
        tm.tm_min != want.tm_min)
        return false; /* there is no 30th of February */
    *result = (int64_t)seconds * 1000 + ms - offset_ms + (is_end ? span_ms - 1 : 0);
    return true;
}

int read_time_parse(const char *text, bool is_end, int64_t *ms, struct err *err)
{
    int64_t number;
    char *end;

    errno = 0;
    number = strtoll(text, &end, 10);
    if (end != text && !*end && errno == 0 && strchr("-0123456789", *text)) {
        *ms = number;
        return 0;
    }
    if (read_time_date(text, is_end, ms))
        return 0;
    return err_set(err, ERR_INPUT,
                   "\"%.64s\" is no time; write milliseconds since 1970, 2020-07-31 or "
                   "2020-07-31T08:45:25Z",
                   text);
}
