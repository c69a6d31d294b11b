#include "collector/store_partition_internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/store_internal.h"

/* Monday, 2000-01-03T00:00:00Z: weeks begin on Mondays. */
#define PARTITION_ANCHOR_MS INT64_C(946857600000)
#define DAY_MS INT64_C(86400000)

static const struct {
    const char *name;
    int64_t width; /* in units of partition_days */
} families[PARTITION_FAMILIES] = {
    [PARTITION_EVENT] = { "event", 1 },           [PARTITION_LEDGER] = { "ledger", 1 },
    [PARTITION_ROLLUP_1M] = { "rollup_1m", 1 },   [PARTITION_ROLLUP_1H] = { "rollup_1h", 16 },
    [PARTITION_ROLLUP_1D] = { "rollup_1d", 104 },
};

struct partition_set {
    int64_t *from_ms; /* ascending */
    uint32_t len;
};

struct partitions {
    const struct config *config;
    pthread_mutex_t lock;
    struct partition_set sets[PARTITION_FAMILIES]; /* guarded by lock */
    int64_t horizon_ms[PARTITION_FAMILIES];        /* guarded by lock; INT64_MIN: none */
};

struct partitions *partitions_new(const struct config *config)
{
    struct partitions *partitions = xcalloc(1, sizeof(*partitions));

    partitions->config = config;
    for (size_t i = 0; i < PARTITION_FAMILIES; i++)
        partitions->horizon_ms[i] = INT64_MIN;
    (void)pthread_mutex_init(&partitions->lock, NULL);
    return partitions;
}

void partitions_free(struct partitions *partitions)
{
    if (!partitions)
        return;
    for (size_t i = 0; i < LENGTH(partitions->sets); i++)
        free(partitions->sets[i].from_ms);
    (void)pthread_mutex_destroy(&partitions->lock);
    free(partitions);
}

int64_t partitions_width_ms(const struct partitions *partitions, enum partition_family family)
{
    return partitions->config->partition_days * families[family].width * DAY_MS;
}

int64_t partitions_floor(const struct partitions *partitions, enum partition_family family,
                         int64_t ms)
{
    int64_t width = partitions_width_ms(partitions, family);
    int64_t n = (ms - PARTITION_ANCHOR_MS) / width;

    if (ms < PARTITION_ANCHOR_MS + n * width)
        n--; /* division rounds towards zero, a floor does not */
    return PARTITION_ANCHOR_MS + n * width;
}

/* The place of the first bound that is not below from_ms. */
static uint32_t set_place(const struct partition_set *set, int64_t from_ms)
{
    uint32_t low = 0, high = set->len;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (set->from_ms[middle] < from_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool set_has(const struct partition_set *set, int64_t from_ms)
{
    uint32_t place = set_place(set, from_ms);

    return place < set->len && set->from_ms[place] == from_ms;
}

static void set_add(struct partition_set *set, int64_t from_ms)
{
    uint32_t place = set_place(set, from_ms);

    if (place < set->len && set->from_ms[place] == from_ms)
        return;
    set->from_ms = xreallocarray(set->from_ms, set->len + 1, sizeof(*set->from_ms));
    memmove(set->from_ms + place + 1, set->from_ms + place,
            (set->len - place) * sizeof(*set->from_ms));
    set->from_ms[place] = from_ms;
    set->len++;
}

bool partitions_has(struct partitions *partitions, enum partition_family family, int64_t from_ms)
{
    bool known;

    (void)pthread_mutex_lock(&partitions->lock);
    known = set_has(&partitions->sets[family], from_ms);
    (void)pthread_mutex_unlock(&partitions->lock);
    return known;
}

int64_t partitions_horizon(struct partitions *partitions, enum partition_family family)
{
    int64_t horizon_ms;

    (void)pthread_mutex_lock(&partitions->lock);
    horizon_ms = partitions->horizon_ms[family];
    (void)pthread_mutex_unlock(&partitions->lock);
    return horizon_ms;
}

void partitions_horizon_raise(struct partitions *partitions, enum partition_family family,
                              int64_t horizon_ms)
{
    (void)pthread_mutex_lock(&partitions->lock);
    if (horizon_ms > partitions->horizon_ms[family])
        partitions->horizon_ms[family] = horizon_ms;
    (void)pthread_mutex_unlock(&partitions->lock);
}

const char *partitions_family_name(enum partition_family family)
{
    return families[family].name;
}

int partitions_ensure(struct partitions *partitions, PGconn *conn, enum partition_family family,
                      int64_t from_ms, bool *made, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    /* The ledger grows with time alone, and rollups are bounded by what they count. */
    int64_t max = family == PARTITION_EVENT ? partitions->config->partitions_max : INT32_MAX;
    char sql[256];

    *made = true;
    if (partitions_has(partitions, family, from_ms))
        return 0;
    (void)snprintf(sql, sizeof(sql),
                   "SET lock_timeout = '5s';"
                   "SELECT partition_make('%s', to_timestamp(%lld), to_timestamp(%lld), %lld)",
                   families[family].name, (long long)(from_ms / 1000),
                   (long long)((from_ms + partitions_width_ms(partitions, family)) / 1000),
                   (long long)max);
    result = store_query(conn, sql, "make partition", err);
    if (!result) {
        err->kind = ERR_RETRY; /* no event is to blame, whatever the class */
        return -1;
    }
    *made = !PQgetisnull(result, 0, 0) && store_get_bool(result, 0, 0);
    if (PQgetisnull(result, 0, 0) && partitions_refresh(partitions, conn, err) < 0)
        return -1;
    if (*made) {
        (void)pthread_mutex_lock(&partitions->lock);
        set_add(&partitions->sets[family], from_ms);
        (void)pthread_mutex_unlock(&partitions->lock);
    }
    return store_exec(conn, "SET lock_timeout = 0", "make partition", err);
}

int partitions_ensure_ahead(struct partitions *partitions, PGconn *conn, int64_t now_ms,
                            struct err *err)
{
    int64_t from_ms = partitions_floor(partitions, PARTITION_EVENT, now_ms);
    bool made;

    for (int64_t i = 0; i <= partitions->config->partitions_ahead; i++) {
        if (partitions_ensure(partitions, conn, PARTITION_LEDGER, from_ms, &made, err) < 0 ||
            partitions_ensure(partitions, conn, PARTITION_EVENT, from_ms, &made, err) < 0)
            return -1;
        from_ms += partitions_width_ms(partitions, PARTITION_EVENT);
    }
    return 0;
}

/* One family's ranges and horizon: rows (family, lower bound, whether it is the horizon). */
static void partitions_take(struct partitions *partitions, enum partition_family family,
                            const PGresult *result)
{
    struct partition_set *set = &partitions->sets[family];

    set->len = 0;
    for (int row = 0; row < PQntuples(result); row++) {
        int64_t ms = store_get_i64(result, row, 1);

        if (strcmp(PQgetvalue(result, row, 0), families[family].name) != 0)
            continue;
        if (!store_get_bool(result, row, 2))
            set_add(set, ms);
        else if (ms > partitions->horizon_ms[family])
            partitions->horizon_ms[family] = ms;
    }
}

int partitions_refresh(struct partitions *partitions, PGconn *conn, struct err *err)
{
    AUTO(store_result_free)
    PGresult *result = store_query(conn,
                                   "SELECT family, (extract(epoch FROM from_at) * 1000)::bigint,"
                                   " false FROM time_partition UNION ALL"
                                   " SELECT family, (extract(epoch FROM at) * 1000)::bigint, true"
                                   " FROM retention_horizon",
                                   "read partitions", err);

    if (!result)
        return -1;
    (void)pthread_mutex_lock(&partitions->lock);
    for (int family = 0; family < PARTITION_FAMILIES; family++)
        partitions_take(partitions, (enum partition_family)family, result);
    (void)pthread_mutex_unlock(&partitions->lock);
    return 0;
}

uint32_t partitions_newest(struct partitions *partitions, int64_t until_ms, int64_t *from_ms,
                           uint32_t max)
{
    struct partition_set *set = &partitions->sets[PARTITION_EVENT];
    uint32_t len = 0;

    (void)pthread_mutex_lock(&partitions->lock);
    for (uint32_t place = set_place(set, until_ms + 1); place > 0 && len < max; place--)
        from_ms[len++] = set->from_ms[place - 1];
    (void)pthread_mutex_unlock(&partitions->lock);
    return len;
}

uint32_t partitions_len(struct partitions *partitions)
{
    uint32_t len;

    (void)pthread_mutex_lock(&partitions->lock);
    len = partitions->sets[PARTITION_EVENT].len;
    (void)pthread_mutex_unlock(&partitions->lock);
    return len;
}
