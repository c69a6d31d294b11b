#include "collector/key_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "collector/store_commit_internal.h"
#include "collector/store_internal.h"

enum { KEYS_NOTE_MS = 60 * 1000 };

/* -------------------------------------------------------------------------------- the command's */

struct key_store {
    PGconn *conn;
    const char *actor;
};

struct key_store *key_store_open(const char *dsn, const char *actor, struct err *err)
{
    AUTO(store_close) PGconn *conn = store_connect(dsn, "key", err);
    AUTO(store_result_free) PGresult *result = NULL;
    struct key_store *store;

    if (!conn)
        return NULL;
    result = store_query(conn, "SELECT to_regclass('admin_audit') IS NOT NULL", "api_key", err);
    if (!result)
        return NULL;
    if (!store_get_bool(result, 0, 0)) {
        (void)err_set(err, ERR_INPUT,
                      "the database has no keys yet: run `plumbline migrate` or `plumbline serve` "
                      "of this version on it first");
        return NULL;
    }
    store = xcalloc(1, sizeof(*store));
    store->conn = TAKE(conn);
    store->actor = actor;
    return store;
}

void key_store_close(struct key_store *store)
{
    if (!store)
        return;
    PQfinish(store->conn);
    free(store);
}

/* NULL: none is asked for. */
static const char *key_number(int64_t value, int64_t none, char text[24])
{
    if (value == none)
        return NULL;
    (void)snprintf(text, 24, "%" PRId64, value);
    return text;
}

int key_store_create(struct key_store *store, const struct key *key, struct err *err)
{
    AUTO(store_array_done) struct store_array prefixes = { 0 };
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    struct buf hash = { .data = (char *)(uintptr_t)key->hash, .len = KEY_HASH_BYTES };
    char scopes[KEY_SCOPES_TEXT_BYTES], rate[24], expires[24], max[24];

    store_array_init(&prefixes, STORE_OID_TEXT);
    for (size_t i = 0; i < key->prefixes.len; i++)
        store_array_add_text(&prefixes, span_of(key->prefixes.items[i]));
    key_scopes_format(key->scopes, ",", scopes);
    (void)snprintf(max, sizeof(max), "%d", KEYS_MAX);
    store_param_text(&params, key->id);
    store_param_text(&params, key->name);
    store_param_binary(&params, &hash);
    store_param_text(&params, scopes);
    store_param_binary(&params, store_array_end(&prefixes));
    store_param_text(&params, key_number(key->requests_per_s, KEY_RATE_DEFAULT, rate));
    store_param_text(&params, key_number(key->expires_ms, KEY_NEVER, expires));
    store_param_text(&params, store->actor);
    store_param_text(&params, max);
    result = store_query_params(
        store->conn,
        "WITH made AS (INSERT INTO api_key (key_id, name, hash, scopes, crn_prefixes,"
        " requests_per_s, expires_at) SELECT $1, $2, $3::bytea, string_to_array($4, ','),"
        " $5::text[], $6::int, to_timestamp($7::bigint / 1000.0)"
        " WHERE (SELECT count(*) FROM api_key WHERE revoked_at IS NULL) < $9::bigint"
        " ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING RETURNING *),"
        " told AS (INSERT INTO admin_audit (actor, action, subject, details)"
        " SELECT $8, 'key.create', key_id, jsonb_build_object('name', name, 'scopes', scopes,"
        " 'crnPrefixes', crn_prefixes, 'requestsPerS', requests_per_s, 'expiresAt', expires_at)"
        " FROM made)"
        " SELECT (SELECT count(*) FROM made),"
        " (SELECT key_id FROM api_key WHERE name = $2 AND revoked_at IS NULL)",
        &params, "api_key", err);
    if (!result)
        return -1;
    if (store_get_i64(result, 0, 0))
        return 0;
    if (!PQgetisnull(result, 0, 1))
        return err_set(err, ERR_INPUT,
                       "key %s has the name \"%s\" already: choose another, or revoke that one "
                       "first",
                       PQgetvalue(result, 0, 1), key->name);
    return err_set(err, ERR_INPUT, "there are %d keys already: revoke some first", KEYS_MAX);
}

int key_store_revoke(struct key_store *store, const char *id, bool *was_revoked, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    store_param_text(&params, id);
    store_param_text(&params, store->actor);
    result = store_query_params(
        store->conn,
        "WITH gone AS (UPDATE api_key SET revoked_at = clock_timestamp()"
        " WHERE key_id = $1 AND revoked_at IS NULL RETURNING *),"
        " told AS (INSERT INTO admin_audit (actor, action, subject, details)"
        " SELECT $2, 'key.revoke', key_id, jsonb_build_object('name', name) FROM gone)"
        " SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM api_key WHERE key_id = $1)",
        &params, "api_key", err);
    if (!result)
        return -1;
    *was_revoked = !store_get_i64(result, 0, 0);
    if (*was_revoked && !store_get_i64(result, 0, 1))
        return err_set(err, ERR_INPUT, "there is no key %s; `plumbline key list` shows all", id);
    return 0;
}

#define KEY_TIME(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"

int key_store_list(struct key_store *store, bool all,
                   int (*fn)(void *ctx, const struct key_row *row), void *ctx, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    store_param_text(&params, all ? "true" : "false");
    result = store_query_params(
        store->conn,
        "SELECT key_id, name, array_to_string(scopes, ','), array_to_string(crn_prefixes, ','),"
        " coalesce(requests_per_s::text, ''), " KEY_TIME(
            "created_at") ","
                          " coalesce(" KEY_TIME(
                              "expires_at") ", 'never'),"
                                            " coalesce(" KEY_TIME(
                                                "last_used_at") ", 'never'),"
                                                                " CASE WHEN revoked_at IS NOT NULL "
                                                                "THEN 'revoked'"
                                                                " WHEN expires_at <= now() THEN "
                                                                "'expired' ELSE 'good' END"
                                                                " FROM api_key WHERE $1::boolean "
                                                                "OR revoked_at IS NULL ORDER BY "
                                                                "created_at, key_id",
        &params, "api_key", err);
    if (!result)
        return -1;
    for (int i = 0; i < PQntuples(result); i++) {
        struct key_row row = {
            .id = PQgetvalue(result, i, 0),
            .name = PQgetvalue(result, i, 1),
            .scopes = PQgetvalue(result, i, 2),
            .prefixes = PQgetvalue(result, i, 3),
            .rate = PQgetvalue(result, i, 4),
            .created = PQgetvalue(result, i, 5),
            .expires = PQgetvalue(result, i, 6),
            .last_used = PQgetvalue(result, i, 7),
            .state = PQgetvalue(result, i, 8),
        };

        if (fn(ctx, &row) < 0)
            return -1;
    }
    return 0;
}

int admin_audit_list(struct key_store *store, int64_t max,
                     int (*fn)(void *ctx, const struct admin_row *row), void *ctx, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char limit[24];

    (void)snprintf(limit, sizeof(limit), "%" PRId64, max);
    store_param_text(&params, limit);
    result =
        store_query_params(store->conn,
                           "SELECT " KEY_TIME(
                               "at") ", actor, action, subject, details"
                                     " FROM (SELECT * FROM admin_audit ORDER BY admin_audit DESC"
                                     " LIMIT $1::bigint) AS a ORDER BY admin_audit",
                           &params, "admin_audit", err);
    if (!result)
        return -1;
    for (int i = 0; i < PQntuples(result); i++) {
        struct admin_row row = {
            .at = PQgetvalue(result, i, 0),
            .actor = PQgetvalue(result, i, 1),
            .action = PQgetvalue(result, i, 2),
            .subject = PQgetvalue(result, i, 3),
            .details = PQgetvalue(result, i, 4),
        };

        if (fn(ctx, &row) < 0)
            return -1;
    }
    return 0;
}

/* --------------------------------------------------------------------------------- the daemon's */

/* NULL: a row that this version does not understand, of which it would allow too much. */
static struct key *key_from_row(const PGresult *result, int row)
{
    AUTO(key_unref) struct key *key = key_new();
    struct span id = store_get_span(result, row, 0), hash = store_get_span(result, row, 2);
    AUTO(mem_free)
    char *name = xmemdup0(PQgetvalue(result, row, 1), (size_t)PQgetlength(result, row, 1));
    const char *prefixes = PQgetvalue(result, row, 4);
    struct err err = { 0 };

    key->name = TAKE(name);
    if (id.len != KEY_ID_LEN || key_id(id, key->id) < 0 || hash.len != KEY_HASH_BYTES ||
        key_scopes_parse(PQgetvalue(result, row, 3), &key->scopes, &err) < 0)
        return NULL;
    memcpy(key->hash, hash.data, KEY_HASH_BYTES);
    for (size_t len; *prefixes; prefixes += len + (prefixes[len] == '\n')) {
        len = strcspn(prefixes, "\n");
        strings_add(&key->prefixes, (struct span){ prefixes, len });
    }
    if ((int64_t)key->prefixes.len != store_get_i64(result, row, 5))
        return NULL;
    if (!PQgetisnull(result, row, 6))
        key->requests_per_s = store_get_i64(result, row, 6);
    if (!PQgetisnull(result, row, 7))
        key->expires_ms = store_get_i64(result, row, 7);
    return TAKE(key);
}

static int keyring_read(struct keyring *keyring, PGconn *conn, int64_t version,
                        int64_t asked_mono_ms, struct err *err)
{
    AUTO(store_result_free)
    PGresult *result = store_query_binary(
        conn,
        "SELECT key_id, name, hash, array_to_string(scopes, ','),"
        " array_to_string(crn_prefixes, E'\\n'), cardinality(crn_prefixes)::bigint,"
        " requests_per_s::bigint, CASE expires_at WHEN 'infinity' THEN NULL"
        " WHEN '-infinity' THEN 0 ELSE ceil(extract(epoch FROM expires_at) * 1000)::bigint END"
        " FROM api_key WHERE revoked_at IS NULL ORDER BY key_id COLLATE \"C\"",
        NULL, "api_key", err);
    struct key **keys;
    size_t len = 0;

    if (!result)
        return -1;
    keys = xcalloc((size_t)PQntuples(result) + 1, sizeof(struct key *));
    for (int i = 0; i < PQntuples(result); i++) {
        keys[len] = key_from_row(result, i);
        if (keys[len])
            len++;
        else
            log_warn("event=key_left_out key=%.8s reason=\"this version does not understand it\"",
                     PQgetvalue(result, i, 0));
    }
    keyring_replace(keyring, keys, len, version, asked_mono_ms);
    return 0;
}

/* The version is asked for first: keys that are newer than it are read once more later. After a
 * failover or a restore the same number may stand for other keys, so it is taken together with the
 * server's start. */
static int keyring_refresh(struct keyring *keyring, PGconn *conn, struct err *err)
{
    int64_t asked_mono_ms = clock_mono_ms(), version;
    AUTO(store_result_free)
    PGresult *result = store_query(
        conn,
        "SELECT hashtextextended(version || ' ' || extract(epoch FROM pg_postmaster_start_time()),"
        " 0) FROM api_key_version",
        "api_key", err);

    if (!result)
        return -1;
    if (PQntuples(result) != 1)
        return err_set(err, ERR_RETRY, "postgres: api_key_version has no row");
    version = store_get_i64(result, 0, 0);
    if (version != keyring_version(keyring))
        return keyring_read(keyring, conn, version, asked_mono_ms, err);
    keyring_confirm(keyring, asked_mono_ms);
    return 0;
}

int keyring_load(struct keyring *keyring, const char *dsn, struct err *err)
{
    AUTO(store_close) PGconn *conn = store_connect(dsn, "keys", err);

    return conn ? keyring_refresh(keyring, conn, err) : -1;
}

/* The rows are locked in one order, so that daemons don't wait for each other in a circle. *noted:
 * there were any. */
static int keys_note_use(struct keyring *keyring, PGconn *conn, bool *noted, struct err *err)
{
    AUTO(store_array_done) struct store_array ids = { 0 }, times = { 0 };
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    store_array_init(&ids, STORE_OID_TEXT);
    store_array_init(&times, STORE_OID_INT8);
    for (size_t i = 0; i < keyring_len(keyring); i++) {
        struct key *key = keyring_at(keyring, i);
        int64_t used_ms = key->used_ms;

        if (used_ms <= key->noted_ms)
            continue;
        store_array_add_text(&ids, span_of(key->id));
        store_array_add_i64(&times, used_ms);
        key->noted_ms = used_ms; /* if this fails the next use is noted */
    }
    *noted = ids.len > 0;
    if (!*noted)
        return 0;
    store_param_binary(&params, store_array_end(&ids));
    store_param_binary(&params, store_array_end(&times));
    result = store_query_params(
        conn,
        "WITH used AS (SELECT u.* FROM unnest($1::text[], $2::bigint[]) AS u(key_id, ms)),"
        " locked AS (SELECT key_id FROM api_key WHERE key_id = ANY ($1) ORDER BY key_id"
        " FOR NO KEY UPDATE)"
        " UPDATE api_key AS k SET last_used_at ="
        " greatest(k.last_used_at, to_timestamp(used.ms / 1000.0))"
        " FROM used JOIN locked USING (key_id) WHERE k.key_id = used.key_id",
        &params, "api_key", err);
    return result ? 0 : -1;
}

static int keys_round(struct store *store, struct err *err)
{
    struct keyring *keyring = store->setup.keyring;
    int64_t now_mono_ms = clock_mono_ms();
    bool noted;
    int rc;

    if (store_ready(store, err) < 0 || keyring_refresh(keyring, store->conn, err) < 0)
        return -1;
    stats_set(store->setup.stats, STAT_KEYS, (int64_t)keyring_len(keyring));
    if (store->keys_noted_ms && now_mono_ms - store->keys_noted_ms < KEYS_NOTE_MS)
        return 0;
    rc = keys_note_use(keyring, store->conn, &noted, err);
    if (noted)
        store->keys_noted_ms = now_mono_ms;
    return rc;
}

int store_keys(struct store *store, int64_t now_ms, bool *more, struct err *err)
{
    int rc;

    (void)now_ms;
    *more = false;
    store_busy(store, true);
    rc = keys_round(store, err);
    store_busy(store, false);
    if (rc < 0)
        store_disconnect(store);
    return rc;
}
