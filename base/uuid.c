#include "base/uuid.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/random.h"

/* Where the hyphens stand: 8-4-4-4-12. */
static bool uuid_is_hyphen(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

/* A hexadecimal digit's value and one; 0 for every other byte. One look-up a digit: a UUID is read
 * for every event. */
static const uint8_t uuid_digits[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

int uuid_parse(struct uuid *uuid, struct span text)
{
    struct uuid parsed;
    size_t byte = 0;

    if (text.len != UUID_TEXT_LEN)
        return -1;
    for (size_t i = 0; i < UUID_TEXT_LEN;) {
        unsigned high, low;

        if (uuid_is_hyphen(i)) {
            if (text.data[i++] != '-')
                return -1;
            continue;
        }
        high = uuid_digits[(unsigned char)text.data[i]];
        low = uuid_digits[(unsigned char)text.data[i + 1]];
        if (!high || !low)
            return -1;
        parsed.bytes[byte++] = (uint8_t)((high - 1) << 4 | (low - 1));
        i += 2;
    }
    *uuid = parsed;
    return 0;
}

void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_LEN + 1])
{
    static const char hex[] = "0123456789abcdef";
    size_t byte = 0;

    for (size_t i = 0; i < UUID_TEXT_LEN;) {
        if (uuid_is_hyphen(i)) {
            text[i++] = '-';
            continue;
        }
        text[i++] = hex[uuid->bytes[byte] >> 4];
        text[i++] = hex[uuid->bytes[byte++] & 15];
    }
    text[UUID_TEXT_LEN] = '\0';
}

int uuid_compare(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

bool uuid_v7_ms(const struct uuid *uuid, int64_t *ms)
{
    int64_t sum = 0;

    if (uuid->bytes[6] >> 4 != 7 || uuid->bytes[8] >> 6 != 2)
        return false;
    for (size_t i = 0; i < 6; i++)
        sum = sum << 8 | uuid->bytes[i];
    *ms = sum;
    return true;
}

static void uuid_version_set(struct uuid *uuid, unsigned version)
{
    uuid->bytes[6] = (uint8_t)((uuid->bytes[6] & 0x0F) | version << 4);
    uuid->bytes[8] = (uint8_t)((uuid->bytes[8] & 0x3F) | 0x80);
}

void uuid_random(struct uuid *uuid)
{
    random_fill(uuid->bytes, sizeof(uuid->bytes));
    uuid_version_set(uuid, 4);
}

void uuid_named(struct uuid *uuid, struct span name)
{
    XXH128_canonical_t hash;

    XXH128_canonicalFromHash(&hash, XXH3_128bits(name.len ? name.data : "", name.len));
    memcpy(uuid->bytes, hash.digest, sizeof(uuid->bytes));
    uuid_version_set(uuid, 8);
}
