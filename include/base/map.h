/* A hash map from byte keys to 64-bit values or pointers: open addressing, linear probing, keys
 * copied. The hash is seeded at creation, so that nobody outside can choose keys that collide. Not
 * thread-safe. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/span.h"

struct map;

struct map *map_new(void);
void map_free(struct map *map);
AUTO_DEFINE(struct map, map_free);

/* NULL when the key is not there; else its value, borrowed until the next map_put or map_clear. */
uint64_t *map_get(const struct map *map, struct span key);
/* Adds the key with `value` unless it is there. Either way a pointer to the value that stands;
 * *added tells. */
uint64_t *map_put(struct map *map, struct span key, uint64_t value, bool *added);
size_t map_len(const struct map *map);
/* Forgets all keys, keeps the table. */
void map_clear(struct map *map);
/* Calls fn for each entry in no particular order. */
void map_each(const struct map *map, void (*fn)(struct span key, uint64_t value, void *ctx),
              void *ctx);

#endif
