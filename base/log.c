#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/clock.h"

enum { LOG_LINE_BYTES = 2048 }; /* longer lines are cut */

static atomic_int log_level = LOG_LEVEL_INFO;

struct log_text {
    char bytes[LOG_LINE_BYTES];
    size_t len;
};

void log_level_set(enum log_level level)
{
    atomic_store(&log_level, (int)level);
}

static void log_put(struct log_text *line, char c)
{
    if (line->len < sizeof(line->bytes) - 1) /* the last byte is for the line feed */
        line->bytes[line->len++] = c;
}

/* An argument: whatever could end its quotes or the line is replaced. */
static void log_put_argument(struct log_text *line, const char *text, size_t len)
{
    for (size_t i = 0; i < len && text[i]; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < 0x20 || c == 0x7F)
            log_put(line, ' ');
        else
            log_put(line, c == '"' ? '\'' : text[i]);
    }
}

/* One conversion, as far as the log needs printf: %[.precision|.*][hh|h|l|ll|z|j|t] and one of
 * d i u x c s f g %. */
struct log_spec {
    int precision; /* -1: none */
    unsigned longs;
    char conversion;
};

static const char *log_spec_parse(const char *p, struct log_spec *spec, va_list *args)
{
    *spec = (struct log_spec){ .precision = -1 };
    if (*p == '.' && p[1] == '*') {
        spec->precision = va_arg(*args, int);
        p += 2;
    } else if (*p == '.') {
        for (spec->precision = 0, p++; *p >= '0' && *p <= '9'; p++)
            spec->precision = spec->precision * 10 + (*p - '0');
    }
    for (; *p && strchr("hlzjt", *p); p++)
        spec->longs += *p == 'h' ? 0 : 1;
    spec->conversion = *p;
    return p + 1;
}

static void log_put_spec(struct log_text *line, const struct log_spec *spec, va_list *args)
{
    char number[400] = ""; /* %f of the largest double */
    const char *text = number;
    size_t len = sizeof(number);

    static_assert(sizeof(long) == 8 && sizeof(long long) == 8, "l, ll, z, j and t are one size");
    switch (spec->conversion) {
    case 'd':
    case 'i':
        (void)snprintf(number, sizeof(number), "%ld",
                       spec->longs ? va_arg(*args, long) : (long)va_arg(*args, int));
        break;
    case 'u':
        (void)snprintf(number, sizeof(number), "%lu",
                       spec->longs ? va_arg(*args, unsigned long) : va_arg(*args, unsigned));
        break;
    case 'x':
        (void)snprintf(number, sizeof(number), "%lx",
                       spec->longs ? va_arg(*args, unsigned long) : va_arg(*args, unsigned));
        break;
    case 'f':
        (void)snprintf(number, sizeof(number), "%.*f", spec->precision < 0 ? 6 : spec->precision,
                       va_arg(*args, double));
        break;
    case 'g':
        (void)snprintf(number, sizeof(number), "%g", va_arg(*args, double));
        break;
    case 'c':
        number[0] = (char)va_arg(*args, int);
        break;
    case 's':
        text = va_arg(*args, const char *);
        text = text ? text : "(null)";
        len = spec->precision < 0 ? strlen(text) : strnlen(text, (size_t)spec->precision);
        break;
    case '%':
        number[0] = '%';
        break;
    default:
        assert(false && "a conversion that log_line does not know");
    }
    log_put_argument(line, text, len);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    static const char *const names[] = { "debug", "info", "warn", "error" };
    struct log_text line = { .len = 0 };
    char now[CLOCK_TEXT_BYTES];
    struct log_spec spec;
    va_list args;
    int saved = errno; /* the line must not change what its caller looks at next */

    if ((int)level < atomic_load(&log_level))
        return;
    clock_format(clock_now_ms(), now);
    line.len =
        (size_t)snprintf(line.bytes, sizeof(line.bytes), "time=%s level=%s ", now, names[level]);
    va_start(args, fmt);
    while (*fmt) {
        if (*fmt != '%') {
            log_put(&line, *fmt++);
            continue;
        }
        fmt = log_spec_parse(fmt + 1, &spec, &args);
        log_put_spec(&line, &spec, &args);
    }
    va_end(args);
    line.bytes[line.len++] = '\n';
    while (write(STDERR_FILENO, line.bytes, line.len) < 0 && errno == EINTR)
        ; /* one write, so that lines of several threads don't mix */
    errno = saved;
}
