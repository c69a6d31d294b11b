#include "collector/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/embedded.h"
#include "collector/store_internal.h"

static int migrate_check_server(PGconn *conn, struct err *err)
{
    AUTO(store_result_free)
    PGresult *result = store_query(conn,
                                   "SELECT current_database(), pg_encoding_to_char(encoding)"
                                   " FROM pg_database WHERE datname = current_database()",
                                   "encoding", err);

    if (!result)
        return -1;
    if (PQserverVersion(conn) < 130000)
        return err_set(err, ERR_FATAL, "postgres %d.%d is too old: plumbline needs 13 or later",
                       PQserverVersion(conn) / 10000, PQserverVersion(conn) % 10000);
    if (strcmp(PQgetvalue(result, 0, 1), "UTF8") != 0)
        return err_set(err, ERR_FATAL,
                       "database \"%s\" has encoding %s: make one with ENCODING 'UTF8'",
                       PQgetvalue(result, 0, 0), PQgetvalue(result, 0, 1));
    return 0;
}

/* "sql/001_core.sql" -> 1; 0 for a file that is no migration. */
static int migrate_version_of(const char *name)
{
    return strncmp(name, "sql/", 4) == 0 ? (int)strtol(name + 4, NULL, 10) : 0;
}

static int migrate_version_read(PGconn *conn, int *version, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;

    if (store_exec(conn,
                   "CREATE TABLE IF NOT EXISTS schema_version (version int PRIMARY KEY,"
                   " name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
                   "schema_version", err) < 0)
        return -1;
    result = store_query(conn, "SELECT coalesce(max(version), 0) FROM schema_version",
                         "schema_version", err);
    if (!result)
        return -1;
    *version = (int)store_get_i64(result, 0, 0);
    return 0;
}

static int migrate_apply(PGconn *conn, const struct embedded *file, int version, struct err *err)
{
    AUTO(mem_free)
    char *sql = xasprintf(
        "BEGIN;\n%s;\nINSERT INTO schema_version (version, name) VALUES (%d, '%s');\nCOMMIT",
        file->data, version, file->name);

    if (store_exec(conn, sql, file->name, err) < 0) {
        PQclear(PQexec(conn, "ROLLBACK"));
        return -1;
    }
    return 0;
}

/* What can't change under tables that are there. `wanted` is entered when the database is new;
 * `before` when it is in use and says nothing about `name`. */
static int migrate_setting(PGconn *conn, const char *name, const char *wanted, const char *before,
                           struct err *err)
{
    AUTO(mem_free)
    char *sql = xasprintf("INSERT INTO setting SELECT '%s', CASE WHEN EXISTS (SELECT FROM"
                          " model_deployment) THEN '%s' ELSE '%s' END ON CONFLICT DO NOTHING;"
                          "SELECT value FROM setting WHERE name = '%s'",
                          name, before, wanted, name);
    AUTO(store_result_free) PGresult *result = store_query(conn, sql, "setting", err);

    if (!result)
        return -1;
    if (strcmp(PQgetvalue(result, 0, 0), wanted) != 0)
        return err_set(err, ERR_FATAL,
                       "%s is %s in this database and %s in the configuration: it is fixed "
                       "when the database is made, put %s into the configuration",
                       name, PQgetvalue(result, 0, 0), wanted, PQgetvalue(result, 0, 0));
    return 0;
}

static int migrate_settings(PGconn *conn, const struct config *config, struct err *err)
{
    char days[24];

    (void)snprintf(days, sizeof(days), "%lld", (long long)config->partition_days);
    if (migrate_setting(conn, "partition_days", days, days, err) < 0)
        return -1;
    /* a database without a word about rollups is older than the choice, and has them */
    if (migrate_setting(conn, "rollups", config->rollups ? "true" : "false", "true", err) < 0)
        return -1;
    /* a database without a word about it is older than the graph, and has no names in it */
    return migrate_setting(conn, "atlas.namespace", config->atlas_namespace,
                           config->atlas_namespace, err);
}

static int migrate_all(PGconn *conn, const struct config *config, struct err *err)
{
    int have, newest = 0;

    if (migrate_version_read(conn, &have, err) < 0)
        return -1;
    for (const struct embedded *file = embedded_files; file->name; file++) {
        int version = migrate_version_of(file->name);

        if (version > newest)
            newest = version;
        if (version > have && migrate_apply(conn, file, version, err) < 0)
            return -1;
    }
    if (have > newest)
        return err_set(err, ERR_FATAL,
                       "the database has schema version %d, this plumbline knows up to %d: run the "
                       "plumbline that made it or a newer one",
                       have, newest);
    return migrate_settings(conn, config, err);
}

/* At start-up somebody reads the message who can do something about it. */
static PGconn *migrate_connect(const char *dsn, struct err *err)
{
    PGconn *conn = store_connect(dsn, "migrate", err);

    if (!conn)
        (void)err_set(err, err->kind, "%s; start that server, or correct --database", err->text);
    return conn;
}

int store_migrate(const char *dsn, const struct config *config, struct err *err)
{
    AUTO(store_close) PGconn *conn = migrate_connect(dsn, err);
    char lock[64];

    if (!conn || migrate_check_server(conn, err) < 0)
        return -1;
    (void)snprintf(lock, sizeof(lock), "SELECT pg_advisory_lock(%d, %d)", STORE_LOCK_CLASS,
                   STORE_LOCK_MIGRATE);
    if (store_exec(conn, lock, "migration lock", err) < 0 || migrate_all(conn, config, err) < 0) {
        /* 42: the schema and this binary don't fit, a retry can't help */
        if (strstr(err->text, "(SQLSTATE 42"))
            err->kind = ERR_FATAL;
        return -1;
    }
    return 0; /* closing the connection gives the lock back */
}
