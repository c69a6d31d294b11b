#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* vasprintf */
#endif
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *mem_check(void *p, size_t bytes)
{
    if (!p) {
        (void)fprintf(stderr, "level=fatal event=out_of_memory bytes=%zu\n", bytes);
        abort();
    }
    return p;
}

void *xmalloc(size_t bytes)
{
    return mem_check(malloc(bytes ? bytes : 1), bytes);
}

void *xcalloc(size_t count, size_t bytes)
{
    return mem_check(calloc(count ? count : 1, bytes ? bytes : 1), bytes);
}

void *xrealloc(void *p, size_t bytes)
{
    return mem_check(realloc(p, bytes ? bytes : 1), bytes);
}

void *xreallocarray(void *p, size_t count, size_t bytes)
{
    size_t product;

    if (__builtin_mul_overflow(count, bytes, &product))
        product = (size_t)-1; /* no allocator gives that much: the check below reports it */
    return xrealloc(p, product);
}

char *xstrdup(const char *text)
{
    return xmemdup0(text, strlen(text));
}

char *xmemdup0(const void *data, size_t len)
{
    char *copy = xmalloc(len + 1);

    if (len)
        memcpy(copy, data, len);
    copy[len] = '\0';
    return copy;
}

char *xasprintf(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    int len;

    va_start(args, fmt);
    len = vasprintf(&text, fmt, args);
    va_end(args);
    return mem_check(len < 0 ? NULL : text, 0);
}

void mem_free(void *p)
{
    free(p);
}
