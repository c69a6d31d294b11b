#include "base/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/types.h>

void random_fill(void *data, size_t len)
{
    char *p = data;

    while (len > 0) {
        ssize_t got = getrandom(p, len, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            (void)fprintf(stderr, "level=fatal event=no_randomness errno=%d\n", errno);
            abort();
        }
        p += got;
        len -= (size_t)got;
    }
}
