/* The types as this daemon knows them: those that are built in, and those that people have defined.
 * Who works with them takes a reference and keeps it as long as it works; others may be there by
 * then. Any thread. */
#ifndef COLLECTOR_TYPE_CACHE_H
#define COLLECTOR_TYPE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "atlas/type_def.h"
#include "base/attr.h"

/* What is known may be older than the database by so much. */
enum { TYPE_CACHE_AGE_MS_MAX = 1000 };

struct type_cache;

/* Holds what is built in, as generation 0. */
struct type_cache *type_cache_new(void);
void type_cache_free(struct type_cache *cache);
AUTO_DEFINE(struct type_cache, type_cache_free);

/* The types of now: a reference, owned (type_registry_free). */
struct type_registry *type_cache_get(struct type_cache *cache);
int64_t type_cache_generation(struct type_cache *cache);
/* Whether these are the types of now, and those of that generation or later. */
bool type_cache_knows(struct type_cache *cache, const struct type_registry *types,
                      int64_t generation);
/* Takes the reference. What is older than what is there is dropped. */
void type_cache_put(struct type_cache *cache, struct type_registry *types, int64_t generation);

/* Whether the database was asked at `now_mono_ms` less TYPE_CACHE_AGE_MS_MAX, or later. */
bool type_cache_is_fresh(struct type_cache *cache, int64_t now_mono_ms);
/* The database was asked at that time, and nothing newer was there. */
void type_cache_confirm(struct type_cache *cache, int64_t asked_mono_ms);

/* What takes much memory for a while, and so is done by one thread at a time: reading all types
 * from the database, and making others of them. Who changes them may load them meanwhile. */
enum type_cache_work { TYPE_CACHE_LOAD, TYPE_CACHE_CHANGE, TYPE_CACHE_WORKS };
void type_cache_enter(struct type_cache *cache, enum type_cache_work work);
void type_cache_leave(struct type_cache *cache, enum type_cache_work work);

#endif
