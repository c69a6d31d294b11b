#include "collector/catalog.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"

struct catalog {
    pthread_mutex_t lock;
    struct map *ids;  /* guarded by lock; CRN -> id, above it what is known */
    int32_t *deleted; /* guarded by lock; owned, ascending */
    size_t deleted_len;
};

enum { CATALOG_KNOWN_SHIFT = 32 };

struct catalog *catalog_new(void)
{
    struct catalog *catalog = xcalloc(1, sizeof(*catalog));

    (void)pthread_mutex_init(&catalog->lock, NULL);
    catalog->ids = map_new();
    return catalog;
}

void catalog_free(struct catalog *catalog)
{
    if (!catalog)
        return;
    map_free(catalog->ids);
    free(catalog->deleted);
    (void)pthread_mutex_destroy(&catalog->lock);
    free(catalog);
}

bool catalog_find(struct catalog *catalog, struct span crn, int32_t *id, unsigned *known)
{
    const uint64_t *value;
    uint64_t found = 0;

    (void)pthread_mutex_lock(&catalog->lock);
    value = map_get(catalog->ids, crn);
    if (value)
        found = *value;
    (void)pthread_mutex_unlock(&catalog->lock);
    if (!found)
        return false; /* ids begin at 1 */
    *id = (int32_t)(uint32_t)found;
    *known = (unsigned)(found >> CATALOG_KNOWN_SHIFT);
    return true;
}

void catalog_add(struct catalog *catalog, struct span crn, int32_t id, unsigned known)
{
    uint64_t value = (uint32_t)id | ((uint64_t)known << CATALOG_KNOWN_SHIFT);
    uint64_t *stands;
    bool added;

    (void)pthread_mutex_lock(&catalog->lock);
    stands = map_put(catalog->ids, crn, value, &added);
    *stands |= value;
    (void)pthread_mutex_unlock(&catalog->lock);
}

uint32_t catalog_len(struct catalog *catalog)
{
    uint32_t len;

    (void)pthread_mutex_lock(&catalog->lock);
    len = (uint32_t)map_len(catalog->ids);
    (void)pthread_mutex_unlock(&catalog->lock);
    return len;
}

void catalog_set_deleted(struct catalog *catalog, int32_t *ids, size_t len)
{
    int32_t *old;

    (void)pthread_mutex_lock(&catalog->lock);
    old = catalog->deleted;
    catalog->deleted = ids;
    catalog->deleted_len = len;
    (void)pthread_mutex_unlock(&catalog->lock);
    free(old);
}

static int catalog_compare(const void *a, const void *b)
{
    const int32_t *one = a, *two = b;

    return (*one > *two) - (*one < *two);
}

size_t catalog_count_deleted(struct catalog *catalog, const int32_t *ids, size_t len)
{
    size_t count = 0;

    (void)pthread_mutex_lock(&catalog->lock);
    for (size_t i = 0; i < len && catalog->deleted_len; i++) {
        if (bsearch(&ids[i], catalog->deleted, catalog->deleted_len, sizeof(*ids), catalog_compare))
            count++;
    }
    (void)pthread_mutex_unlock(&catalog->lock);
    return count;
}
