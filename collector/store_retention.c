/* Retention: what is older than the configuration keeps goes, a partition at a time.
 *
 *   a round:  partitions that have expired are dropped         each in a transaction of its own
 *             labels that waited too long are given up
 *             the horizons move                                first of all, rounds before a drop
 *
 * Whoever reads holds a light lock on the tables, taken before its snapshot; a drop waits until
 * nobody does, and while it waits it asks for no lock that others would stand behind. */
#include "collector/store_retention_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "collector/store_commit_internal.h"
#include "collector/store_internal.h"

enum {
    DROPS_MAX = 16,    /* of a round */
    LOCK_MS_MAX = 200, /* how long a drop may stand in front of others */
    LABELS_MAX = 1000, /* of a round */
};

static const struct {
    enum partition_family family;
    size_t keep; /* offset of the key in struct config */
} retentions[] = {
    { PARTITION_EVENT, offsetof(struct config, retention_raw) },
    { PARTITION_ROLLUP_1M, offsetof(struct config, retention_1m) },
    { PARTITION_ROLLUP_1H, offsetof(struct config, retention_1h) },
    { PARTITION_ROLLUP_1D, offsetof(struct config, retention_1d) },
};

/* --------------------------------------------------------------------------------- the horizons */

/* The session's lock outlives the transaction, so that whoever takes its xid behind it sees the
 * horizon moved. */
static int horizon_move(struct store *store, enum partition_family family, int64_t at_ms,
                        int64_t keep_ms, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(mem_free) char *lock = NULL;
    AUTO(mem_free) char *move = NULL;
    AUTO(mem_free) char *unlock = NULL;
    char at[CLOCK_TEXT_BYTES];

    clock_format(at_ms, at);
    lock = xasprintf("SELECT pg_advisory_lock(%d, %d)", STORE_LOCK_CLASS, STORE_LOCK_STAMP);
    move = xasprintf("SELECT horizon_move('%s', '%s', %" PRId64 ")", partitions_family_name(family),
                     at, keep_ms);
    unlock = xasprintf("SELECT pg_advisory_unlock(%d, %d)", STORE_LOCK_CLASS, STORE_LOCK_STAMP);
    if (store_exec(store->conn, lock, "lock the horizon", err) < 0)
        return -1;
    result = store_query(store->conn, move, "move the horizon", err);
    if (!result || store_exec(store->conn, unlock, "unlock the horizon", err) < 0)
        return -1; /* the connection is closed, and the lock with it */
    if (!store_get_bool(result, 0, 0))
        return 0;
    partitions_horizon_raise(store->setup.partitions, family, at_ms);
    log_info("event=horizon_moved family=%s to=%s", partitions_family_name(family), at);
    return 0;
}

static int horizons_move(struct store *store, int64_t now_ms, struct err *err)
{
    struct partitions *partitions = store->setup.partitions;

    for (size_t i = 0; i < LENGTH(retentions); i++) {
        enum partition_family family = retentions[i].family;
        int64_t keep_ms, at_ms;

        memcpy(&keep_ms, (const char *)store->setup.config + retentions[i].keep, sizeof(keep_ms));
        if (keep_ms == CONFIG_FOREVER)
            continue;
        at_ms = partitions_floor(partitions, family, now_ms - keep_ms);
        if (at_ms > CONFIG_EVENT_MS_MIN && at_ms > partitions_horizon(partitions, family) &&
            horizon_move(store, family, at_ms, keep_ms, err) < 0)
            return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------ the drops */

enum drop {
    DROP_DONE,
    DROP_NOT_NOW, /* or not any more: another daemon did it */
    DROP_HELD,    /* somebody has the tables: so it will be with the family's next partition */
    DROP_FAILED,
};

/* Somebody has the lock, or needs one that we have. */
static bool drop_is_held(const PGresult *result)
{
    const char *state = store_sqlstate(result);

    return strcmp(state, "55P03") == 0 || strncmp(state, "40", 2) == 0;
}

static enum drop partition_drop(struct store *store, const char *family, const char *from,
                                struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(mem_free)
    char *sql = xasprintf("BEGIN; SET LOCAL lock_timeout = %d;"
                          "SELECT partition_drop('%s', '%s', %d)",
                          LOCK_MS_MAX, family, from, LOCK_MS_MAX);

    result = PQexec(store->conn, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        (void)store_fail(store->conn, result, "drop partition", err);
        return drop_is_held(result) && attempt_rollback(store) == 0 ? DROP_HELD : DROP_FAILED;
    }
    if (store_exec(store->conn, "COMMIT", "drop partition", err) < 0)
        return DROP_FAILED;
    if (strcmp(PQgetvalue(result, 0, 0), "dropped") != 0)
        return strcmp(PQgetvalue(result, 0, 0), "held") == 0 ? DROP_HELD : DROP_NOT_NOW;
    stats_add(store->setup.stats, STAT_PARTITIONS_DROPPED, 1);
    log_info("event=partition_dropped family=%s from=%s", family, from);
    return DROP_DONE;
}

static int partitions_drop(struct store *store, bool *more, struct err *err)
{
    AUTO(store_result_free) PGresult *expired = NULL;
    const char *held = "";
    int dropped = 0;

    expired = store_query(store->conn,
                          "SELECT family, to_char(from_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
                          " FROM partition_expired ORDER BY family, from_at",
                          "read expired partitions", err);
    if (!expired)
        return -1;
    for (int row = 0; row < PQntuples(expired) && dropped < DROPS_MAX; row++) {
        const char *family = PQgetvalue(expired, row, 0);
        enum drop drop = DROP_HELD;

        if (strcmp(family, held) != 0)
            drop = partition_drop(store, family, PQgetvalue(expired, row, 1), err);
        if (drop == DROP_FAILED)
            return -1;
        if (drop == DROP_HELD)
            held = family;
        dropped += drop == DROP_DONE;
    }
    stats_set(store->setup.stats, STAT_PARTITIONS_EXPIRED, PQntuples(expired) - dropped);
    *more = *more || dropped == DROPS_MAX;
    return dropped ? partitions_refresh(store->setup.partitions, store->conn, err) : 0;
}

/* ----------------------------------------------------------------------------------- the labels */

static int labels_give_up(struct store *store, int64_t now_ms, bool *more, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(mem_free) char *sql = NULL;
    char before[CLOCK_TEXT_BYTES];
    int64_t given_up;
    int rc;

    if (store->setup.config->label_wait == CONFIG_FOREVER)
        return 0;
    clock_format(now_ms - store->setup.config->label_wait, before);
    sql = xasprintf("SELECT labels_give_up('%s', %d)", before, LABELS_MAX);
    rc = store_call(store->conn, sql, &result, err);
    if (rc <= 0)
        return rc;
    given_up = store_get_i64(result, 0, 0);
    stats_add(store->setup.stats, STAT_LABELS_GIVEN_UP, given_up);
    *more = *more || given_up == LABELS_MAX;
    return 0;
}

int retention_round(struct store *store, int64_t now_ms, bool *more, struct err *err)
{
    if (partitions_drop(store, more, err) < 0 || labels_give_up(store, now_ms, more, err) < 0)
        return -1;
    return horizons_move(store, now_ms, err);
}
