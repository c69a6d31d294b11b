/* Bytes nobody can guess. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>

/* Fills `len` bytes from getrandom(2); aborts where the kernel has none, as allocation does. */
void random_fill(void *data, size_t len);

#endif
