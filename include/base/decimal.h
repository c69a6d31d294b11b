/* Doubles as decimal text. */
#ifndef BASE_DECIMAL_H
#define BASE_DECIMAL_H

#include <stddef.h>

enum { DECIMAL_BYTES = 32 }; /* holds any double's text and its NUL */

/* The fewest digits that strtod() reads back as `value`, which is finite, in the layout of
 * printf's %g: "0.1", "1e+22", "-0". At least 15 digits are looked at, so that it is also what
 * %.15g prints wherever that is enough. Returns its length. */
size_t decimal_write(char text[static DECIMAL_BYTES], double value);

#endif
