#include "base/map.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"
#include "base/random.h"

enum { MAP_FIRST_SLOTS = 16 };

/* A slot with len == SIZE_MAX is free. The keys lie one behind the other in map->keys. */
struct map_slot {
    uint64_t hash;
    uint64_t value;
    size_t at;
    size_t len;
};

struct map {
    uint64_t seed;
    struct map_slot *slots;
    size_t slots_len; /* a power of two, at least twice len */
    size_t len;
    char *keys;
    size_t keys_len;
    size_t keys_cap;
};

static struct map_slot *map_slots_new(size_t len)
{
    struct map_slot *slots = xcalloc(len, sizeof(*slots));

    for (size_t i = 0; i < len; i++)
        slots[i].len = SIZE_MAX;
    return slots;
}

struct map *map_new(void)
{
    struct map *map = xcalloc(1, sizeof(*map));

    random_fill(&map->seed, sizeof(map->seed));
    map->slots_len = MAP_FIRST_SLOTS;
    map->slots = map_slots_new(map->slots_len);
    return map;
}

void map_free(struct map *map)
{
    if (!map)
        return;
    free(map->slots);
    free(map->keys);
    free(map);
}

/* The slot that holds the key, or the free one where it belongs. */
static struct map_slot *map_slot(const struct map *map, struct span key, uint64_t hash)
{
    size_t i = (size_t)hash & (map->slots_len - 1);

    for (;; i = (i + 1) & (map->slots_len - 1)) {
        struct map_slot *slot = &map->slots[i];

        if (slot->len == SIZE_MAX)
            return slot;
        if (slot->hash == hash && span_equal(key, (struct span){ map->keys + slot->at, slot->len }))
            return slot;
    }
}

static uint64_t map_hash(const struct map *map, struct span key)
{
    return XXH3_64bits_withSeed(key.len ? key.data : "", key.len, map->seed);
}

static void map_grow(struct map *map)
{
    struct map_slot *old = map->slots;
    size_t old_len = map->slots_len;

    map->slots_len *= 2;
    map->slots = map_slots_new(map->slots_len);
    for (size_t i = 0; i < old_len; i++) {
        size_t to = (size_t)old[i].hash & (map->slots_len - 1);

        if (old[i].len == SIZE_MAX)
            continue;
        while (map->slots[to].len != SIZE_MAX)
            to = (to + 1) & (map->slots_len - 1);
        map->slots[to] = old[i];
    }
    free(old);
}

/* A copy of the key; its place in map->keys. */
static size_t map_keep(struct map *map, struct span key)
{
    size_t at = map->keys_len;

    if (map->keys_cap - at < key.len) {
        map->keys_cap = map->keys_cap * 2 + key.len;
        map->keys = xrealloc(map->keys, map->keys_cap);
    }
    if (key.len)
        memcpy(map->keys + at, key.data, key.len);
    map->keys_len += key.len;
    return at;
}

uint64_t *map_get(const struct map *map, struct span key)
{
    struct map_slot *slot = map_slot(map, key, map_hash(map, key));

    return slot->len == SIZE_MAX ? NULL : &slot->value;
}

uint64_t *map_put(struct map *map, struct span key, uint64_t value, bool *added)
{
    uint64_t hash = map_hash(map, key);
    struct map_slot *slot = map_slot(map, key, hash);

    *added = slot->len == SIZE_MAX;
    if (!*added)
        return &slot->value;
    if ((map->len + 1) * 2 > map->slots_len) {
        map_grow(map);
        slot = map_slot(map, key, hash);
    }
    *slot = (struct map_slot){ hash, value, map_keep(map, key), key.len };
    map->len++;
    return &slot->value;
}

size_t map_len(const struct map *map)
{
    return map->len;
}

void map_clear(struct map *map)
{
    for (size_t i = 0; map->len > 0 && i < map->slots_len; i++)
        map->slots[i].len = SIZE_MAX;
    map->len = 0;
    map->keys_len = 0;
}

void map_each(const struct map *map, void (*fn)(struct span key, uint64_t value, void *ctx),
              void *ctx)
{
    for (size_t i = 0; i < map->slots_len; i++) {
        const struct map_slot *slot = &map->slots[i];

        if (slot->len != SIZE_MAX)
            fn((struct span){ slot->len ? map->keys + slot->at : "", slot->len }, slot->value, ctx);
    }
}
