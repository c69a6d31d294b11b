/* UUIDs (RFC 9562). */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/span.h"

struct uuid {
    uint8_t bytes[16];
};

enum { UUID_TEXT_LEN = 36 };

/* The canonical 36 characters, upper or lower case. -1 for anything else; *uuid is then unchanged.
 */
int uuid_parse(struct uuid *uuid, struct span text) MUST_CHECK;
/* Lower case, with a NUL. */
void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_LEN + 1]);
int uuid_compare(const struct uuid *a, const struct uuid *b);
/* Version 7's milliseconds since 1970 in *ms and true, or false for every other version. */
bool uuid_v7_ms(const struct uuid *uuid, int64_t *ms);
/* A random one, version 4, from getrandom(2). */
void uuid_random(struct uuid *uuid);
/* One that follows from the name, today and in later releases: version 8, XXH3 with 128 bits. */
void uuid_named(struct uuid *uuid, struct span name);

#endif
