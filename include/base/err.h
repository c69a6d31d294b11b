/* One error: what the caller should do about it (the kind), and what a person should read (the
 * text). */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

#include "base/attr.h"

enum err_kind {
    ERR_NONE,
    ERR_INPUT, /* what came in is wrong: answer 400 or dead-letter, a retry can't help */
    ERR_RETRY, /* not now: keep the data, back off, answer 503 */
    ERR_FATAL, /* stop the daemon */
};

enum { ERR_TEXT_BYTES_MAX = 512 };

struct err {
    enum err_kind kind;
    char text[ERR_TEXT_BYTES_MAX]; /* lower case, no full stop, names the thing; cut when longer */
};

/* Sets kind and text and returns -1, so that a function can end with `return err_set(...)`. The
 * arguments may point into err->text. */
int err_set(struct err *err, enum err_kind kind, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts words in front of the text that is there ("config: " + text); returns -1. */
int err_prefix(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
