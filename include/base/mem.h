/* Allocation that can't fail: every limit keeps memory from running out, and when it does all the
 * same the process says so and aborts. What was acknowledged is in Postgres. Results are owned:
 * free() them. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#include "base/attr.h"

void *xmalloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t count, size_t bytes) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t bytes) __attribute__((returns_nonnull));
/* Grows an array of `count` elements of `bytes` each; aborts when the product overflows. */
void *xreallocarray(void *p, size_t count, size_t bytes) __attribute__((returns_nonnull));
char *xstrdup(const char *text) __attribute__((malloc, returns_nonnull));
/* A copy of `len` bytes with a NUL behind them. */
char *xmemdup0(const void *data, size_t len) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((malloc, returns_nonnull));

void mem_free(void *p);
static inline void mem_free_auto(void *p) /* AUTO(mem_free) char *text = ...; for any type */
{
    mem_free(*(void **)p);
}

#endif
