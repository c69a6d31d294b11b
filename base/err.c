#include "base/err.h"

#include <stdio.h>
#include <string.h>

int err_set(struct err *err, enum err_kind kind, const char *fmt, ...)
{
    char text[ERR_TEXT_BYTES_MAX];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    err->kind = kind;
    memcpy(err->text, text, sizeof(text));
    return -1;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
    char text[ERR_TEXT_BYTES_MAX];
    va_list args;
    size_t len;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    len = strlen(text);
    (void)snprintf(text + len, sizeof(text) - len, "%s", err->text);
    memcpy(err->text, text, sizeof(text));
    return -1;
}
