/* Attributes and the two macros of ownership that every file may use. */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED __attribute__((unused))
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* AUTO(buf_free) struct buf *buf = ...: buf_free(buf) runs when the scope ends. The function takes
 * the pointer itself and accepts NULL; AUTO_DEFINE stands once beside it in the header. */
#define AUTO_DEFINE(type, free_fn)                                                                 \
    static inline void free_fn##_auto(type **p)                                                    \
    {                                                                                              \
        free_fn(*p);                                                                               \
    }                                                                                              \
    struct attr_semicolon
#define AUTO(free_fn) __attribute__((cleanup(free_fn##_auto)))

/* return TAKE(sink): hands an AUTO pointer over; the scope forgets it. */
#define TAKE(p)                                                                                    \
    __extension__({                                                                                \
        __typeof__(p) taken = (p);                                                                 \
        (p) = NULL;                                                                                \
        taken;                                                                                     \
    })

#endif
