#include "collector/store_pool.h"

#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/store_internal.h"

enum {
    POOL_IDLE_MAX = 8,
    POOL_IDLE_MS_MAX = 60 * 1000,
};

struct pool_entry {
    PGconn *conn; /* owned */
    int64_t since_mono_ms;
};

struct store_pool {
    char *dsn;
    pthread_mutex_t lock;
    struct pool_entry idle[POOL_IDLE_MAX]; /* guarded by lock; the one given last stands last */
    uint32_t idle_len;                     /* likewise */
};

struct store_pool *store_pool_new(const char *dsn)
{
    struct store_pool *pool = xcalloc(1, sizeof(*pool));

    pool->dsn = xstrdup(dsn);
    (void)pthread_mutex_init(&pool->lock, NULL);
    return pool;
}

void store_pool_free(struct store_pool *pool)
{
    if (!pool)
        return;
    for (uint32_t i = 0; i < pool->idle_len; i++)
        PQfinish(pool->idle[i].conn);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool->dsn);
    free(pool);
}

const char *store_pool_dsn(const struct store_pool *pool)
{
    return pool->dsn;
}

/* The server says nothing to an idle connection unless it ends it. */
static bool pool_is_alive(const PGconn *conn)
{
    struct pollfd fd = { .fd = PQsocket(conn), .events = POLLIN };

    return PQstatus(conn) == CONNECTION_OK && poll(&fd, 1, 0) == 0;
}

/* The one that was used last, if it was not long ago; those that waited longer than may be go. */
static PGconn *pool_pop(struct store_pool *pool)
{
    int64_t oldest_ms = clock_mono_ms() - POOL_IDLE_MS_MAX;
    PGconn *old[POOL_IDLE_MAX], *conn = NULL;
    uint32_t gone = 0;

    (void)pthread_mutex_lock(&pool->lock);
    while (gone < pool->idle_len && pool->idle[gone].since_mono_ms < oldest_ms) {
        old[gone] = pool->idle[gone].conn;
        gone++;
    }
    pool->idle_len -= gone;
    for (uint32_t i = 0; i < pool->idle_len; i++)
        pool->idle[i] = pool->idle[i + gone];
    if (pool->idle_len)
        conn = pool->idle[--pool->idle_len].conn;
    (void)pthread_mutex_unlock(&pool->lock);
    while (gone)
        PQfinish(old[--gone]);
    return conn;
}

PGconn *store_pool_take(struct store_pool *pool, struct err *err)
{
    PGconn *conn;

    while ((conn = pool_pop(pool))) {
        if (pool_is_alive(conn))
            return conn;
        PQfinish(conn);
    }
    return store_connect(pool->dsn, "read", err);
}

static bool pool_end_transaction(PGconn *conn)
{
    AUTO(store_result_free) PGresult *result = NULL;

    if (PQtransactionStatus(conn) == PQTRANS_IDLE)
        return true;
    if (PQtransactionStatus(conn) != PQTRANS_INTRANS)
        return false;
    result = PQexec(conn, "ROLLBACK");
    return PQresultStatus(result) == PGRES_COMMAND_OK;
}

void store_pool_give(struct store_pool *pool, PGconn *conn, bool is_clean)
{
    if (!conn)
        return;
    is_clean = is_clean && PQstatus(conn) == CONNECTION_OK && pool_end_transaction(conn);
    if (is_clean) {
        (void)pthread_mutex_lock(&pool->lock);
        if (pool->idle_len < POOL_IDLE_MAX) {
            pool->idle[pool->idle_len++] =
                (struct pool_entry){ .conn = conn, .since_mono_ms = clock_mono_ms() };
            conn = NULL;
        }
        (void)pthread_mutex_unlock(&pool->lock);
    }
    PQfinish(conn);
}
