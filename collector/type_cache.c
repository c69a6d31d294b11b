#include "collector/type_cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

struct type_cache {
    pthread_mutex_t lock;
    struct type_registry *types; /* guarded by lock, as is all below; owned reference */
    int64_t generation;
    int64_t asked_ms; /* monotonic */
    pthread_mutex_t works[TYPE_CACHE_WORKS];
};

struct type_cache *type_cache_new(void)
{
    struct type_cache *cache = xcalloc(1, sizeof(*cache));

    (void)pthread_mutex_init(&cache->lock, NULL);
    for (size_t i = 0; i < TYPE_CACHE_WORKS; i++)
        (void)pthread_mutex_init(&cache->works[i], NULL);
    cache->types = type_registry_new();
    cache->asked_ms = INT64_MIN;
    return cache;
}

void type_cache_free(struct type_cache *cache)
{
    if (!cache)
        return;
    type_registry_free(cache->types);
    for (size_t i = 0; i < TYPE_CACHE_WORKS; i++)
        (void)pthread_mutex_destroy(&cache->works[i]);
    (void)pthread_mutex_destroy(&cache->lock);
    free(cache);
}

struct type_registry *type_cache_get(struct type_cache *cache)
{
    struct type_registry *types;

    (void)pthread_mutex_lock(&cache->lock);
    types = type_registry_ref(cache->types);
    (void)pthread_mutex_unlock(&cache->lock);
    return types;
}

int64_t type_cache_generation(struct type_cache *cache)
{
    int64_t generation;

    (void)pthread_mutex_lock(&cache->lock);
    generation = cache->generation;
    (void)pthread_mutex_unlock(&cache->lock);
    return generation;
}

bool type_cache_knows(struct type_cache *cache, const struct type_registry *types,
                      int64_t generation)
{
    bool knows;

    (void)pthread_mutex_lock(&cache->lock);
    knows = types == cache->types && generation <= cache->generation;
    (void)pthread_mutex_unlock(&cache->lock);
    return knows;
}

void type_cache_put(struct type_cache *cache, struct type_registry *types, int64_t generation)
{
    (void)pthread_mutex_lock(&cache->lock);
    if (generation > cache->generation) {
        struct type_registry *old = cache->types;

        cache->types = types;
        cache->generation = generation;
        types = old;
    }
    (void)pthread_mutex_unlock(&cache->lock);
    type_registry_free(types);
}

bool type_cache_is_fresh(struct type_cache *cache, int64_t now_mono_ms)
{
    bool is_fresh;

    (void)pthread_mutex_lock(&cache->lock);
    is_fresh = cache->asked_ms >= now_mono_ms - TYPE_CACHE_AGE_MS_MAX;
    (void)pthread_mutex_unlock(&cache->lock);
    return is_fresh;
}

void type_cache_confirm(struct type_cache *cache, int64_t asked_mono_ms)
{
    (void)pthread_mutex_lock(&cache->lock);
    if (asked_mono_ms > cache->asked_ms)
        cache->asked_ms = asked_mono_ms;
    (void)pthread_mutex_unlock(&cache->lock);
}

void type_cache_enter(struct type_cache *cache, enum type_cache_work work)
{
    (void)pthread_mutex_lock(&cache->works[work]);
}

void type_cache_leave(struct type_cache *cache, enum type_cache_work work)
{
    (void)pthread_mutex_unlock(&cache->works[work]);
}
