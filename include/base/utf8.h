/* UTF-8 (RFC 3629): shortest forms only, no surrogates, nothing above U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/* The bytes of the character that begins at p, of which `left` (at least 1) can be read; 0: not
 * UTF-8. */
size_t utf8_char_len(const char *p, size_t left);
/* The longest beginning of `text` that has at most bytes_max bytes and ends between characters. */
struct span utf8_cut(struct span text, size_t bytes_max);
/* Writes a character (not above U+10FFFF) and returns its bytes, 1 to 4. */
size_t utf8_put(char out[4], uint32_t codepoint);

#endif
