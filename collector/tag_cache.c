#include "collector/tag_cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "collector/budget.h"

enum { TAG_CACHE_MOMENTS = 4 };

struct tag_reach {
    struct reach *reach; /* owned */
    size_t reserved;     /* in the budget */
    unsigned refs;       /* guarded by the cache's lock */
};

/* types NULL: free. */
struct tag_entry {
    int64_t batch_id;
    struct type_registry *types; /* owned reference */
    struct tag_reach *kept;      /* owned reference; NULL: none */
    bool is_too_large;
    size_t edges;
    uint64_t used; /* when */
};

struct tag_cache {
    struct budget *budget;
    size_t bytes_max;
    pthread_mutex_t finding;
    pthread_mutex_t lock;
    struct tag_entry entries[TAG_CACHE_MOMENTS]; /* guarded by lock, as is all below */
    uint64_t uses;
};

struct tag_cache *tag_cache_new(struct budget *budget, size_t bytes_max)
{
    struct tag_cache *cache = xcalloc(1, sizeof(*cache));

    cache->budget = budget;
    cache->bytes_max = bytes_max;
    (void)pthread_mutex_init(&cache->lock, NULL);
    (void)pthread_mutex_init(&cache->finding, NULL);
    return cache;
}

size_t tag_cache_bytes_max(const struct tag_cache *cache)
{
    return cache->bytes_max;
}

/* Under the lock, as are all below it up to the next line. */
static void tag_reach_unref(struct tag_cache *cache, struct tag_reach *kept)
{
    if (!kept || --kept->refs)
        return;
    budget_release(cache->budget, kept->reserved);
    reach_free(kept->reach);
    free(kept);
}

static void tag_entry_clear(struct tag_cache *cache, struct tag_entry *entry)
{
    tag_reach_unref(cache, entry->kept);
    type_registry_free(entry->types);
    *entry = (struct tag_entry){ 0 };
}

static struct tag_entry *tag_cache_find(struct tag_cache *cache, const struct tag_moment *moment)
{
    for (size_t i = 0; i < TAG_CACHE_MOMENTS; i++) {
        struct tag_entry *entry = &cache->entries[i];

        if (entry->types != moment->types || entry->batch_id != moment->batch_id)
            continue;
        entry->used = ++cache->uses;
        return entry;
    }
    return NULL;
}

/* The entry that nobody has used for the longest time; with only_kept of those that hold something
 * and are not `but`, NULL: there is none. */
static struct tag_entry *tag_cache_oldest(struct tag_cache *cache, bool only_kept,
                                          const struct tag_entry *but)
{
    struct tag_entry *oldest = NULL;

    for (size_t i = 0; i < TAG_CACHE_MOMENTS; i++) {
        struct tag_entry *entry = &cache->entries[i];

        if (only_kept && (entry == but || !entry->kept))
            continue;
        if (!oldest || entry->used < oldest->used)
            oldest = entry;
    }
    return oldest;
}

/* The entry of the moment, made in the place of the oldest if there is none. */
static struct tag_entry *tag_cache_open(struct tag_cache *cache, const struct tag_moment *moment)
{
    struct tag_entry *entry = tag_cache_find(cache, moment);

    if (entry)
        return entry;
    entry = tag_cache_oldest(cache, false, NULL);
    tag_entry_clear(cache, entry);
    entry->batch_id = moment->batch_id;
    /* whoever has one may count it */
    entry->types = type_registry_ref((struct type_registry *)(uintptr_t)moment->types);
    entry->used = ++cache->uses;
    return entry;
}

/* Room for so much more, which bytes_max allows: others go. */
static void tag_cache_shrink(struct tag_cache *cache, const struct tag_entry *entry, size_t bytes)
{
    size_t all = bytes;

    for (size_t i = 0; i < TAG_CACHE_MOMENTS; i++)
        all += cache->entries[i].kept ? cache->entries[i].kept->reserved : 0;
    while (all > cache->bytes_max) {
        struct tag_entry *oldest = tag_cache_oldest(cache, true, entry);

        assert(oldest);
        all -= oldest->kept->reserved;
        tag_entry_clear(cache, oldest);
    }
}

/* ---------------------------------------------------------------------------------------------- */

void tag_cache_free(struct tag_cache *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; i < TAG_CACHE_MOMENTS; i++) {
        assert(!cache->entries[i].kept || cache->entries[i].kept->refs == 1);
        tag_entry_clear(cache, &cache->entries[i]);
    }
    (void)pthread_mutex_destroy(&cache->finding);
    (void)pthread_mutex_destroy(&cache->lock);
    free(cache);
}

enum tag_cache_state tag_cache_take(struct tag_cache *cache, const struct tag_moment *moment,
                                    struct tag_reach **kept)
{
    enum tag_cache_state state = TAG_CACHE_NONE;
    struct tag_entry *entry;

    (void)pthread_mutex_lock(&cache->lock);
    entry = tag_cache_find(cache, moment);
    if (entry && entry->kept) {
        *kept = entry->kept;
        (*kept)->refs++;
        state = TAG_CACHE_KEPT;
    } else if (entry && entry->is_too_large) {
        state = TAG_CACHE_TOO_LARGE;
    }
    (void)pthread_mutex_unlock(&cache->lock);
    return state;
}

void tag_cache_give(struct tag_cache *cache, struct tag_reach *kept)
{
    (void)pthread_mutex_lock(&cache->lock);
    tag_reach_unref(cache, kept);
    (void)pthread_mutex_unlock(&cache->lock);
}

const struct reach *tag_reach_of(const struct tag_reach *kept)
{
    return kept->reach;
}

struct tag_reach *tag_cache_put(struct tag_cache *cache, const struct tag_moment *moment,
                                struct reach *reach)
{
    struct tag_reach *kept = xcalloc(1, sizeof(*kept));
    size_t bytes = reach_bytes(reach);
    struct tag_entry *entry;

    *kept = (struct tag_reach){ .reach = reach, .refs = 1 };
    (void)pthread_mutex_lock(&cache->lock);
    entry = tag_cache_open(cache, moment);
    if (!entry->kept && bytes <= cache->bytes_max) {
        tag_cache_shrink(cache, entry, bytes);
        if (budget_reserve(cache->budget, bytes)) {
            kept->reserved = bytes;
            kept->refs++;
            entry->kept = kept;
        }
    }
    (void)pthread_mutex_unlock(&cache->lock);
    return kept;
}

void tag_cache_bar(struct tag_cache *cache, const struct tag_moment *moment)
{
    (void)pthread_mutex_lock(&cache->lock);
    tag_cache_open(cache, moment)->is_too_large = true;
    (void)pthread_mutex_unlock(&cache->lock);
}

size_t tag_cache_spend(struct tag_cache *cache, const struct tag_moment *moment, size_t edges)
{
    struct tag_entry *entry;
    size_t all;

    (void)pthread_mutex_lock(&cache->lock);
    entry = tag_cache_open(cache, moment);
    all = entry->edges += edges;
    (void)pthread_mutex_unlock(&cache->lock);
    return all;
}

bool tag_cache_enter(struct tag_cache *cache, bool waits)
{
    return (waits ? pthread_mutex_lock(&cache->finding) : pthread_mutex_trylock(&cache->finding)) ==
           0;
}

void tag_cache_leave(struct tag_cache *cache)
{
    (void)pthread_mutex_unlock(&cache->finding);
}

bool tag_cache_reserve(struct tag_cache *cache, size_t bytes)
{
    return budget_reserve(cache->budget, bytes);
}

void tag_cache_release(struct tag_cache *cache, size_t bytes)
{
    budget_release(cache->budget, bytes);
}
