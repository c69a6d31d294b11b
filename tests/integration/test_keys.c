/* Keys: made, listed and revoked by the command, asked for by the daemon. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"
#include "collector/key.h"
#include "tests/harness/keyed.h"
#include "tests/harness/pg.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"

Suite *keys_suite(void);

enum { REVOKED_MS = 5000 };

#define TRACK                                                                                      \
    "{\"modelDeploymentCrn\":\"crn:d\",\"predictionUuid\":"                                        \
    "\"0b5c8a4e-6d0f-4c1b-9a37-2f1e8d7c6b5a\",\"startTimestampMs\":1596185125125,"                 \
    "\"endTimestampMs\":1596185125233,\"metrics\":{}}"
#define WRONG "plb_aaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

/* ---- the command ---- */

static int run_key(const char *dsn, const char *const *words, char **output)
{
    const char *argv[SERVICE_WORDS_MAX + 1] = { "key", "--database", dsn };

    for (size_t i = 0; words[i]; i++)
        argv[3 + i] = words[i];
    return service_command(argv, NULL, output);
}

START_TEST(what_is_stored_is_not_the_key)
{
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *key = keyed_make(dsn, "read", NULL);
    AUTO(mem_free) char *id = xmemdup0(key + 4, KEY_ID_LEN);

    ck_assert_int_eq(pg_query_i64(dsn,
                                  "SELECT count(*) FROM api_key WHERE key_id = '%s'"
                                  " AND hash = sha256('%s'::bytea) AND scopes = '{read}'"
                                  " AND name = key_id AND crn_prefixes = '{}'"
                                  " AND expires_at > now() + interval '364 days'"
                                  " AND expires_at < now() + interval '366 days'",
                                  id, key),
                     1);
    ck_assert_int_eq(pg_query_i64(dsn,
                                  "SELECT count(*) FROM api_key AS k, admin_audit AS a"
                                  " WHERE to_jsonb(k)::text LIKE '%%%s%%'"
                                  " OR to_jsonb(a)::text LIKE '%%%s%%'",
                                  key + KEY_TEXT_LEN - KEY_SECRET_LEN,
                                  key + KEY_TEXT_LEN - KEY_SECRET_LEN),
                     0);
}
END_TEST

static const struct {
    const char *words[10];
    int code;
    const char *want; /* what stands in the output */
} command_cases[] = {
    { { "create", "--scope", "ingest,read", "--name", "team a", "--expires", "never" },
      0,
      "(team a) for ingest,read, expires: never\n"
      "it is shown this once; what is stored can't be turned back into it\n" },
    { { "create", "--scope", "read", "--name", "team a" },
      1,
      " has the name \"team a\" already: choose another, or revoke that one first\n" },
    { { "create" },
      1,
      "plumbline key: create needs --scope: ingest, read, lineage or admin, with commas "
      "between\n" },
    { { "create", "--scope", "write" },
      1,
      "plumbline key: --scope: \"write\" is not a scope; use ingest, read, lineage or admin, with "
      "commas between\n" },
    { { "create", "--scope", "read", "--expires", "soon" },
      1,
      "plumbline key: --expires: \"soon\" is not a duration; write it like 500ms, 30s, 5m, 1h, 7d, "
      "or as plain milliseconds\n" },
    { { "create", "--scope", "read", "--expires", "0" },
      1,
      "plumbline key: --expires: \"0\" is too small; the smallest is 1s\n" },
    { { "create", "--scope", "read", "--name", "" },
      1,
      "plumbline key: --name: must have from 1 to 64 bytes of UTF-8 without control characters\n" },
    { { "create", "--scope", "read", "--name", "a\nb" }, 1, "without control characters\n" },
    { { "create", "--scope", "read", "--crn-prefix", "" },
      1,
      "plumbline key: --crn-prefix: must have from 1 to 1024 bytes of UTF-8 without control "
      "characters\n" },
    { { "create", "--scope", "read", "--crn-prefix", "a\nb" }, 1, "without control characters\n" },
    { { "create", "--scope", "read", "--rate", "-1" }, 2, "--rate" },
    { { "revoke", "aaaaaaaa" },
      1,
      "plumbline key: there is no key aaaaaaaa; `plumbline key list` shows all\n" },
    { { "revoke", "nothing" },
      1,
      "plumbline key: that is no key's id: it has 8 letters and digits; `plumbline key list` shows "
      "all\n" },
    { { "revoke" }, 2, "plumbline key: takes create, list or revoke ID; " },
    { { "make" }, 2, "plumbline key: takes create, list or revoke ID; " },
    { { "list", "x" }, 2, "plumbline key: takes create, list or revoke ID; " },
};

START_TEST(what_the_command_says)
{
    AUTO(mem_free) char *dsn = keyed_database();

    for (size_t i = 0; i < LENGTH(command_cases); i++) {
        AUTO(mem_free) char *output = NULL;
        int code = run_key(dsn, command_cases[i].words, &output);

        ck_assert_msg(code == command_cases[i].code && strstr(output, command_cases[i].want),
                      "case %zu: %d, %s", i, code, output);
    }
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM api_key"), 1);
}
END_TEST

START_TEST(a_database_without_keys)
{
    static const char *const list[] = { "list", NULL };
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(mem_free) char *output = NULL;

    pg_exec(dsn, "DROP TABLE IF EXISTS admin_audit");
    ck_assert_int_eq(run_key(dsn, list, &output), 1);
    ck_assert_str_eq(output, "plumbline key: the database has no keys yet: run `plumbline migrate` "
                             "or `plumbline serve` of this version on it first\n");
}
END_TEST

START_TEST(lists_and_the_audit)
{
    static const char *const named[] = {
        "--name", "team a", "--crn-prefix", "crn:a/", "--crn-prefix", "crn:b/", "--rate", "7", NULL
    };
    static const char *const list[] = { "list", NULL }, *const all[] = { "list", "--all", NULL };
    static const char *const audit[] = { "list", "--audit", NULL };
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *first = keyed_make(dsn, "read,admin", named);
    AUTO(mem_free) char *text = NULL;
    AUTO(mem_free) char *rest = NULL;
    AUTO(mem_free) char *told = NULL;
    AUTO(mem_free) char *created = xasprintf("  key.create  %.8s  ", first + 4);
    AUTO(mem_free)
    char *revoked = xasprintf("  key.revoke  %.8s  {\"name\": \"team a\"}", first + 4);

    free(keyed_make(dsn, "ingest", NULL));
    ck_assert_int_eq(run_key(dsn, list, &text), 0);
    ck_assert_msg(strstr(text, "       7  read,admin                 team a  crn:a/,crn:b/\n"),
                  "%s", text);
    ck_assert_ptr_nonnull(strstr(text, "never                      -  ingest"));
    keyed_revoke(dsn, first);
    keyed_revoke(dsn, first); /* harmless */
    free(text);
    ck_assert_int_eq(run_key(dsn, list, &text), 0);
    ck_assert_ptr_null(strstr(text, "team a"));
    ck_assert_int_eq(run_key(dsn, all, &rest), 0);
    ck_assert_ptr_nonnull(strstr(rest, "  revoked  "));
    ck_assert_int_eq(run_key(dsn, audit, &told), 0);
    ck_assert_ptr_nonnull(strstr(told, created));
    ck_assert_ptr_nonnull(strstr(told, revoked));
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM admin_audit"), 3);
    ck_assert_int_eq(pg_query_i64(dsn,
                                  "SELECT count(*) FROM admin_audit WHERE actor NOT LIKE '%%@%%'"),
                     0);
}
END_TEST

/* ---- what a request gives ---- */

START_TEST(raw_bearer_and_basic)
{
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *key = keyed_make(dsn, "read", NULL);
    AUTO(service_free) struct service *service = keyed_service(dsn);
    AUTO(mem_free) char *bearer = xasprintf("Bearer %s", key);
    AUTO(mem_free) char *login = xasprintf("%.8s:%s", key + 4, key);
    AUTO(mem_free) char *text = xasprintf("Basic %s", key);
    AUTO(buf_done) struct buf basic;

    buf_init(&basic, 200);
    buf_append_text(&basic, "Basic ");
    base64_encode(span_of(login), &basic);
    ck_assert_int_eq(keyed_status(service, key, "GET", "/v1/deployments", NULL), 200);
    ck_assert_int_eq(keyed_status(service, bearer, "GET", "/v1/deployments", NULL), 200);
    ck_assert_int_eq(keyed_status(service, text, "GET", "/v1/deployments", NULL), 200);
    ck_assert_int_eq(keyed_status(service, buf_text(&basic), "GET", "/v1/deployments", NULL), 200);
    ck_assert_int_eq(keyed_status(service, "Basic eDp5", "GET", "/v1/deployments", NULL), 401);
    ck_assert_int_eq(keyed_status(service, NULL, "GET", "/healthz", NULL), 200);
    ck_assert_int_eq(keyed_status(service, NULL, "GET", "/readyz", NULL), 200);
    ck_assert_int_eq(keyed_status(service, NULL, "GET", "/nothing", NULL), 404);
}
END_TEST

/* ---- changes ---- */

/* 429: it was not the first try with it. */
static bool is_unknown(struct service *service, const char *key)
{
    long status = keyed_status(service, key, "GET", "/v1/deployments", NULL);

    return status == 401 || status == 429;
}

START_TEST(a_change_counts_for_every_daemon)
{
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(service_free) struct service *one = keyed_service(dsn);
    AUTO(service_free) struct service *other = keyed_service(dsn);
    AUTO(mem_free) char *key = keyed_make(dsn, "read", NULL);
    AUTO(mem_free) char *second = keyed_make(dsn, "read", NULL);
    const char *path = "/v1/deployments";

    ck_assert(daemon_log_has(one->daemon, "event=no_keys"));
    WAIT_UNTIL(REVOKED_MS, keyed_status(one, second, "GET", path, NULL) == 200);
    WAIT_UNTIL(REVOKED_MS, keyed_status(other, second, "GET", path, NULL) == 200);
    ck_assert_int_eq(keyed_status(one, key, "GET", path, NULL), 200);
    keyed_revoke(dsn, key);
    WAIT_UNTIL(REVOKED_MS, is_unknown(one, key));
    WAIT_UNTIL(REVOKED_MS, is_unknown(other, key));
    /* by hand */
    pg_exec(dsn, "UPDATE api_key SET scopes = '{ingest}'");
    WAIT_UNTIL(REVOKED_MS, keyed_status(one, second, "GET", path, NULL) == 403);
    WAIT_UNTIL(REVOKED_MS, keyed_status(other, second, "GET", path, NULL) == 403);
}
END_TEST

/* What somebody makes of the table by hand locks nobody else out. */
START_TEST(expiry_may_be_infinite)
{
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *never = keyed_make(dsn, "read", NULL);
    AUTO(mem_free) char *over = keyed_make(dsn, "read", NULL);
    AUTO(service_free) struct service *service = keyed_service(dsn);
    const char *path = "/v1/deployments";

    ck_assert_int_eq(keyed_status(service, over, "GET", path, NULL), 200);
    pg_exec(dsn,
            "UPDATE api_key SET expires_at = CASE key_id WHEN '%.*s' THEN 'infinity'"
            " ELSE '-infinity' END::timestamptz",
            KEY_ID_LEN, never + 4);
    WAIT_UNTIL(REVOKED_MS, keyed_status(service, over, "GET", path, NULL) == 401);
    ck_assert_int_eq(keyed_status(service, never, "GET", path, NULL), 200);
}
END_TEST

START_TEST(last_use_is_noted)
{
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *used = keyed_make(dsn, "read", NULL);
    char *unused = keyed_make(dsn, "read", NULL);
    AUTO(service_free) struct service *service = keyed_service(dsn);
    int64_t version = pg_query_i64(dsn, "SELECT version FROM api_key_version");

    free(unused);
    ck_assert_int_eq(keyed_status(service, used, "GET", "/v1/deployments", NULL), 200);
    WAIT_UNTIL(10000, pg_query_i64(dsn,
                                   "SELECT count(*) FROM api_key WHERE key_id = '%.8s'"
                                   " AND last_used_at BETWEEN created_at AND now()",
                                   used + 4) == 1);
    ck_assert_int_eq(pg_query_i64(dsn,
                                  "SELECT count(*) FROM api_key WHERE last_used_at IS NOT NULL"),
                     1);
    /* and is no change that daemons read all keys for */
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT version FROM api_key_version"), version);
}
END_TEST

START_TEST(the_audit_names_the_key)
{
    static const char *const alice[] = { "--name", "alice", NULL };
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *key = keyed_make(dsn, "lineage", alice);
    AUTO(service_free) struct service *service = keyed_service(dsn);
    AUTO(mem_free) char *login = xasprintf("mallory:%s", key);
    AUTO(buf_done) struct buf basic;

    buf_init(&basic, 200);
    buf_append_text(&basic, "Basic ");
    base64_encode(span_of(login), &basic);
    json_auto_t *made =
        keyed_call(service, 200, buf_text(&basic), "POST", "/api/atlas/v2/entity",
                   "{\"entity\":{\"typeName\":\"hive_db\",\"attributes\":{\"qualifiedName\":"
                   "\"d@cm\",\"name\":\"d\",\"clusterName\":\"cm\"}}}");
    ck_assert_ptr_nonnull(made);
    ck_assert_int_eq(pg_query_i64(dsn,
                                  "SELECT count(*) FROM entity_audit WHERE user_name = 'alice'"),
                     1);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM entity_audit"), 1);
}
END_TEST

static void keyless_make(struct service *service, const char *login, const char *name)
{
    AUTO(mem_free)
    char *body =
        xasprintf("{\"entity\":{\"typeName\":\"hive_db\",\"attributes\":{\"qualifiedName\":"
                  "\"%s@cm\",\"name\":\"%s\",\"clusterName\":\"cm\"}}}",
                  name, name);
    AUTO(buf_done) struct buf basic;

    buf_init(&basic, 200);
    buf_append_text(&basic, "Basic ");
    base64_encode(span_of(login), &basic);
    json_decref(keyed_call(service, 200, buf_text(&basic), "POST", "/api/atlas/v2/entity", body));
}

/* Clients go on sending the key that they have, where it is not asked for. */
START_TEST(no_key_becomes_a_name_of_the_audit)
{
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *key = keyed_make(dsn, "lineage", NULL);
    AUTO(mem_free) char *as_user = xasprintf("%s:", key);
    AUTO(service_free)
    struct service *service = service_start_with(&(struct daemon_options){ .dsn = dsn });

    keyless_make(service, "ann:x", "a");
    keyless_make(service, key, "b");
    keyless_make(service, as_user, "c");
    keyless_make(service, "word", "d");
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM entity_audit"), 4);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM entity_audit WHERE user_name = 'ann'"),
                     1);
    ck_assert_int_eq(pg_query_i64(dsn,
                                  "SELECT count(*) FROM entity_audit"
                                  " WHERE user_name = 'word' OR"
                                  " to_jsonb(entity_audit)::text LIKE '%%%s%%'",
                                  key + KEY_TEXT_LEN - KEY_SECRET_LEN),
                     0);
}
END_TEST

/* ---- the client commands ---- */

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(commands_send_the_key)
{
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *key = keyed_make(dsn, "ingest,read", NULL);
    AUTO(service_free) struct service *service = keyed_service(dsn);
    AUTO(mem_free) char *url = daemon_url(service->daemon, "");
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *events = xasprintf("%s/events", dir);
    AUTO(mem_free) char *secret = xasprintf("%s/key", dir);
    AUTO(mem_free) char *value = xasprintf("PLUMBLINE_API_KEY= %s ", key);
    AUTO(mem_free) char *file = xasprintf("PLUMBLINE_API_KEY_FILE=%s", secret);
    const char *const by_value[] = { value, NULL }, *const by_file[] = { file, NULL };
    const char *const none[] = { "PLUMBLINE_API_KEY_FILE=/nowhere/key", NULL };
    const char *const ingest[] = { "ingest", "--url", url, events, NULL };
    const char *const read[] = { "read", "--url", url, NULL };
    char *output;

    write_file(events, TRACK "\n");
    write_file(secret, key);
    ck_assert_int_eq(service_command(ingest, NULL, &output), 1);
    ck_assert_msg(strstr(output, "HTTP 401: a key is needed"), "%s", output);
    free(output);
    ck_assert_int_eq(service_command(ingest, none, &output), 2);
    ck_assert_str_eq(output, "plumbline ingest: PLUMBLINE_API_KEY_FILE: /nowhere/key: No such file "
                             "or directory\n");
    free(output);
    ck_assert_msg(service_command(ingest, by_value, &output) == 0, "%s", output);
    free(output);
    ck_assert_msg(service_command(read, by_file, &output) == 0, "%s", output);
    ck_assert_msg(strstr(output, "crn:d"), "%s", output);
    free(output);
}
END_TEST

/* ---- Postgres away ---- */

static const char *const impatient[] = { "PLUMBLINE_KEYS_ON=true",
                                         "PLUMBLINE_COMMIT_TIMEOUT_MS=300ms", NULL };

/* What says which 503 it is. */
static char *code_of(struct service *service, const char *key, const char *method, const char *path,
                     const char *body)
{
    AUTO(http_answer_free)
    struct http_answer *answer = keyed_send(service, key, method, path, body);
    json_auto_t *json = http_json(answer);
    const char *code = json_string_value(json_object_get(json_object_get(json, "error"), "code"));

    return xasprintf("%ld %s", answer->status, code ? code : "");
}

static bool is_answered(struct service *service, const char *key, const char *method,
                        const char *path, const char *body, const char *want)
{
    AUTO(mem_free) char *have = code_of(service, key, method, path, body);

    return strcmp(have, want) == 0;
}

/* A daemon with a key, on a database of a server of the test's own. */
static struct service *keyed_service_on(struct pg *pg, char **dsn, char **key)
{
    AUTO(mem_free) char *output = NULL;
    int code;

    *dsn = pg_database_new(pg);
    code = service_command((const char *const[]){ "migrate", "--database", *dsn, NULL }, NULL,
                           &output);
    ck_assert_msg(code == 0, "%s", output);
    *key = keyed_make(*dsn, "ingest,read", NULL);
    return service_start_with(&(struct daemon_options){ .dsn = *dsn, .environment = impatient });
}

/* What was the last change before may never have been one here. */
START_TEST(keys_are_read_again_from_another_server)
{
    AUTO(pg_free) struct pg *pg = pg_start(&(struct pg_options){ .unsafe = true });
    AUTO(mem_free) char *dsn = NULL;
    AUTO(mem_free) char *key = NULL;
    AUTO(service_free) struct service *service = keyed_service_on(pg, &dsn, &key);

    ck_assert_int_eq(keyed_status(service, key, "GET", "/v1/deployments", NULL), 200);
    /* promoted without the last change, and changed as often since */
    pg_exec(dsn, "ALTER TABLE api_key DISABLE TRIGGER USER");
    pg_exec(dsn, "UPDATE api_key SET revoked_at = now()");
    pg_restart(pg, PG_STOP_FAST);
    WAIT_UNTIL(15000, is_unknown(service, key));
}
END_TEST

START_TEST(known_keys_hold_while_postgres_is_away)
{
    AUTO(pg_free) struct pg *pg = pg_start(&(struct pg_options){ .unsafe = true });
    AUTO(mem_free) char *dsn = NULL;
    AUTO(mem_free) char *key = NULL;
    AUTO(service_free) struct service *service = keyed_service_on(pg, &dsn, &key);

    ck_assert_int_eq(keyed_status(service, key, "GET", "/v1/deployments", NULL), 200);
    pg_stop(pg, PG_STOP_FAST);
    /* known: events are taken for what they are, and would be spooled */
    ck_assert(is_answered(service, key, "POST", "/track-metrics", TRACK, "503 not_stored"));
    ck_assert(is_answered(service, WRONG, "POST", "/track-metrics", TRACK, "401 wrong_key"));
    pg_resume(pg);
    WAIT_UNTIL(15000, keyed_status(service, key, "POST", "/track-metrics", TRACK) == 200);
    ck_assert_int_eq(keyed_status(service, key, "GET", "/v1/deployments", NULL), 200);
}
END_TEST

/* ---- limits ---- */

static void check_retry_after(const struct http_answer *answer)
{
    AUTO(mem_free) char *seconds = http_header(answer, "Retry-After");

    ck_assert_msg(answer->status == 429, "%ld %s", answer->status, answer->body);
    ck_assert_ptr_nonnull(seconds);
    ck_assert_int_ge(strtol(seconds, NULL, 10), 1);
}

START_TEST(wrong_keys_are_slowed_and_good_ones_are_not)
{
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *key = keyed_make(dsn, "admin", NULL);
    AUTO(service_free) struct service *service = keyed_service(dsn);
    AUTO(mem_free) char *near = xstrdup(key);
    struct http_answer *answer = NULL;
    AUTO(mem_free) char *log = NULL;
    AUTO(mem_free) char *connection = NULL;
    AUTO(mem_free)
    char *logged = xasprintf("event=key_refused reason=unknown key=%.8s address="
                             "127.0.0.1 route=/v1/balance",
                             key + 4);
    int refused = 0;

    near[KEY_TEXT_LEN - 2] = near[KEY_TEXT_LEN - 2] == 'A' ? 'B' : 'A';
    for (int i = 0; i < 1000; i++) {
        http_answer_free(answer);
        answer = keyed_send(service, near, "GET", "/v1/balance", NULL);
        if (answer->status == 429)
            break;
        ck_assert_int_eq(answer->status, 401);
        refused++;
    }
    check_retry_after(answer);
    connection = http_header(answer, "Connection");
    ck_assert_str_eq(connection, "close");
    http_answer_free(answer);
    ck_assert_int_ge(refused, 10);
    ck_assert_int_eq(keyed_status(service, key, "GET", "/v1/balance", NULL), 200);
    ck_assert_int_eq(keyed_status(service, NULL, "GET", "/v1/balance", NULL), 401);
    log = daemon_log(service->daemon);
    ck_assert_ptr_nonnull(strstr(log, logged));
    ck_assert_ptr_null(strstr(log, near + KEY_TEXT_LEN - KEY_SECRET_LEN));
}
END_TEST

/* ---- restricted to CRNs ---- */

#define TRACK_OF(crn, digit)                                                                       \
    "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"" crn "\",\"predictionUuid\":"          \
    "\"0b5c8a4e-6d0f-4c1b-9a37-2f1e8d7c6b5" digit "\",\"startTimestampMs\":1596185125125,"         \
    "\"endTimestampMs\":1596185125233,\"metrics\":{\"a\":1}}"
#define BUILT_OF(project, build)                                                                   \
    "{\"event\":\"model_built\",\"projectCrn\":\"" project "\",\"modelCrn\":\"crn:a/m\","          \
    "\"modelName\":\"m\",\"modelBuildCrn\":\"" build "\",\"buildNumber\":1,\"userName\":\"ann\"}"
#define DEPLOYED_OF(build, deployment)                                                             \
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"" build                                     \
    "\",\"modelDeploymentCrn\":\"" deployment                                                      \
    "\",\"userName\":\"ann\",\"status\":\"deployed\",\"modelDeploymentId\":7}"
#define LABEL                                                                                      \
    "{\"event\":\"delayed_metrics\",\"predictionUuid\":\"0b5c8a4e-6d0f-4c1b-9a37-2f1e8d7c6b51\","  \
    "\"modelDeploymentCrn\":\"crn:a/1\",\"metrics\":{\"l\":1}}"

static const struct {
    const char *event;
    long status;
    const char *field, *message; /* of a refusal; '#' is the key's id */
} restricted_cases[] = {
    { TRACK_OF("crn:a/1", "1"), 200, NULL, NULL },
    { TRACK_OF("crn:b/1", "2"), 403, "modelDeploymentCrn",
      "the key # is restricted to some CRNs, and \"crn:b/1\" is none of them" },
    { TRACK_OF("crn:a/1\",\"modelBuildCrn\":\"crn:b/b", "3"), 403, "modelBuildCrn",
      "the key # is restricted to some CRNs, and \"crn:b/b\" is none of them" },
    { TRACK_OF("crn:\\u0062/1", "3"), 403, "modelDeploymentCrn",
      "the key # is restricted to some CRNs, and \"crn:b/1\" is none of them" },
    { TRACK_OF("\\u0063rn:a\\/1", "6"), 200, NULL, NULL },
    { TRACK_OF("crn:a", "3"), 403, "modelDeploymentCrn",
      "the key # is restricted to some CRNs, and \"crn:a\" is none of them" },
    { TRACK_OF("crn:ab/1", "3"), 403, "modelDeploymentCrn",
      "the key # is restricted to some CRNs, and \"crn:ab/1\" is none of them" },
    { TRACK_OF("CRN:A/1", "3"), 403, "modelDeploymentCrn",
      "the key # is restricted to some CRNs, and \"CRN:A/1\" is none of them" },
    { TRACK_OF(" crn:a/1", "3"), 403, "modelDeploymentCrn",
      "the key # is restricted to some CRNs, and \" crn:a/1\" is none of them" },
    { TRACK_OF("crn:a/1\",\"modelBuild\\u0043rn\":\"crn:b/b", "3"), 403, "modelBuildCrn",
      "the key # is restricted to some CRNs, and \"crn:b/b\" is none of them" },
    { LABEL, 403, "predictionUuid",
      "a key that is restricted to CRNs can't send delayed metrics: they name a prediction by its "
      "UUID alone" },
    { BUILT_OF("crn:a/p", "crn:a/b"), 200, NULL, NULL },
    { BUILT_OF("crn:b/p", "crn:a/b2"), 403, "projectCrn",
      "the key # is restricted to some CRNs, and \"crn:b/p\" is none of them" },
    { BUILT_OF("crn:a/p", "crn:b/b2"), 403, "modelBuildCrn",
      "the key # is restricted to some CRNs, and \"crn:b/b2\" is none of them" },
    { BUILT_OF("crn:a/p", "crn:a/b2\",\"model\\u0043rn\":\"crn:b/m"), 400, NULL, NULL },
    { DEPLOYED_OF("crn:a/b", "crn:a/1"), 200, NULL, NULL },
    { DEPLOYED_OF("crn:a/b", "crn:c/1"), 403, "modelDeploymentCrn",
      "the key # is restricted to some CRNs, and \"crn:c/1\" is none of them" },
    { DEPLOYED_OF("crn:b/b", "crn:a/1"), 403, "modelBuildCrn",
      "the key # is restricted to some CRNs, and \"crn:b/b\" is none of them" },
};

static const char *const mine[] = { "--crn-prefix", "crn:a/", "--crn-prefix", "crn:aa/", NULL };

static void check_forbidden(const json_t *answer, size_t i, const char *key)
{
    AUTO(buf_done) struct buf message;

    buf_init(&message, 1000);
    for (const char *p = restricted_cases[i].message; *p; p++) {
        if (*p == '#')
            buf_append(&message, key + 4, KEY_ID_LEN);
        else
            buf_append_char(&message, *p);
    }
    service_check_error(answer, "forbidden", restricted_cases[i].field, buf_text(&message),
                        restricted_cases[i].event);
}

START_TEST(what_a_restricted_key_posts)
{
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *key = keyed_make(dsn, "ingest,read", mine);
    AUTO(mem_free) char *any = keyed_make(dsn, "ingest,read,admin", NULL);
    AUTO(service_free) struct service *service = keyed_service(dsn);

    for (size_t i = 0; i < LENGTH(restricted_cases); i++) {
        json_auto_t *answer = keyed_call(service, restricted_cases[i].status, key, "POST",
                                         "/v1/events", restricted_cases[i].event);

        if (restricted_cases[i].status == 403)
            check_forbidden(answer, i, key);
    }
    /* one that is not theirs spoils no neighbour, and the books balance */
    json_auto_t *mixed =
        keyed_call(service, 200, key, "POST", "/v1/events",
                   "[" TRACK_OF("crn:b/1", "4") "," TRACK_OF("crn:aa/1", "5") "," LABEL "]");
    ck_assert_int_eq(service_number(mixed, "accepted"), 1);
    ck_assert_uint_eq(json_array_size(json_object_get(mixed, "rejected")), 2);
    json_auto_t *balance = keyed_call(service, 200, any, "GET", "/v1/balance", NULL);
    ck_assert(json_is_true(json_object_get(balance, "balanced")));
    /* what the endpoints of one kind say */
    ck_assert_int_eq(keyed_status(service, key, "POST", "/track-metrics", TRACK), 403);
    ck_assert_int_eq(keyed_status(service, any, "POST", "/track-metrics", TRACK), 200);
}
END_TEST

/* Their CRNs, as an answer has them under this name, with commas between. */
static char *crns_of(const json_t *rows, const char *member)
{
    AUTO(buf_done) struct buf crns;

    buf_init(&crns, 10000);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        if (i)
            buf_append_char(&crns, ',');
        buf_append_text(&crns, service_text(json_array_get(rows, i), member));
    }
    return xstrdup(buf_text(&crns));
}

static void check_crns(struct service *service, const char *key, const char *method,
                       const char *path, const char *body, const char *list, const char *want)
{
    json_auto_t *answer = keyed_call(service, 200, key, method, path, body);
    AUTO(mem_free) char *have = crns_of(json_object_get(answer, list), "modelDeploymentCrn");

    ck_assert_msg(strcmp(have, want) == 0, "%s: %s, not %s", path, have, want);
}

static void check_reads(struct service *service, const char *key)
{
    const char *build = "{\"modelBuildCrn\":\"crn:a/b\"}";

    check_crns(service, key, "GET", "/v1/metrics", NULL, "metrics", "crn:a/1,crn:aa/1");
    check_crns(service, key, "GET", "/v1/metrics?limit=1", NULL, "metrics", "crn:a/1");
    check_crns(service, key, "GET", "/v1/metrics?model_deployment_crn=crn:b/1", NULL, "metrics",
               "");
    check_crns(service, key, "GET",
               "/v1/metrics?prediction_uuid=0b5c8a4e-6d0f-4c1b-9a37-2f1e8d7c6b52", NULL, "metrics",
               "");
    check_crns(service, key, "POST", "/read-metrics", "{}", "metrics", "crn:a/1,crn:aa/1");
    /* a deployment elsewhere of one's own build stays elsewhere */
    check_crns(service, key, "POST", "/read-metrics", build, "metrics", "crn:a/1");
    check_crns(service, key, "GET", "/v1/deployments", NULL, "deployments", "crn:a/1,crn:aa/1");
    check_crns(service, key, "GET", "/v1/deployments?limit=1", NULL, "deployments", "crn:a/1");
}

/* The predictions of the first window of the first series. */
static int64_t count_rolled_up(struct service *service, const char *key, const char *path)
{
    json_auto_t *answer = keyed_call(service, 200, key, "GET", path, NULL);
    const json_t *series = json_array_get(json_object_get(answer, "series"), 0);

    return service_number(json_array_get(json_object_get(series, "windows"), 0), "predictions");
}

START_TEST(what_a_restricted_key_reads)
{
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *key = keyed_make(dsn, "ingest,read,lineage,admin", mine);
    AUTO(mem_free) char *any = keyed_make(dsn, "ingest,read", NULL);
    AUTO(service_free) struct service *service = keyed_service(dsn);
    json_auto_t *taken =
        keyed_call(service, 200, any, "POST", "/v1/events",
                   "[" TRACK_OF("crn:a/1\",\"modelBuildCrn\":\"crn:a/b", "1") "," TRACK_OF(
                       "crn:b/1\",\"modelBuildCrn\":\"crn:a/b",
                       "2") "," TRACK_OF("crn:a", "3") "," TRACK_OF("crn:aa/1", "4") "]");
    const char *rollups = "/v1/rollups?window=1d&metric=a&start_timestamp_ms=1596153600000"
                          "&end_timestamp_ms=1596239999999&model_build_crn=crn:a/b";

    ck_assert_int_eq(service_number(taken, "accepted"), 4);
    check_crns(service, any, "GET", "/v1/metrics", NULL, "metrics",
               "crn:a/1,crn:b/1,crn:a,crn:aa/1");
    check_reads(service, key);
    ck_assert_int_eq(count_rolled_up(service, any, rollups), 2);
    ck_assert_int_eq(count_rolled_up(service, key, rollups), 1);
    ck_assert_int_eq(keyed_status(service, key, "GET", "/v1/deployments/crn%3Aa%2F1", NULL), 200);
    ck_assert_int_eq(keyed_status(service, key, "GET", "/v1/deployments/crn%3Ab%2F1", NULL), 404);
    ck_assert_int_eq(keyed_status(service, any, "GET", "/v1/deployments/crn%3Ab%2F1", NULL), 200);
    /* so many that they are not named one by one */
    pg_exec(dsn, "INSERT INTO model_deployment (crn) SELECT 'crn:c/' || n"
                 " FROM generate_series(1, 2000) AS n");
    check_reads(service, key);
}
END_TEST

START_TEST(a_restricted_key_knows_ids_and_builds_of_its_own)
{
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *key = keyed_make(dsn, "read", mine);
    AUTO(mem_free) char *any = keyed_make(dsn, "ingest,read", NULL);
    AUTO(service_free) struct service *service = keyed_service(dsn);
    json_auto_t *taken = keyed_call(
        service, 200, any, "POST", "/v1/events",
        "[" BUILT_OF("crn:a/p", "crn:a/b") "," BUILT_OF("crn:a/p", "crn:b/b") "," DEPLOYED_OF(
            "crn:a/b", "crn:a/1") "," DEPLOYED_OF("crn:b/b", "crn:b/1") "]");
    const char *id = "{\"modelDeploymentID\":7}", *path = "/get-model-deployment-crn";

    ck_assert_int_eq(service_number(taken, "accepted"), 4);
    json_auto_t *theirs = keyed_call(service, 200, any, "POST", path, id);
    json_auto_t *own = keyed_call(service, 200, key, "POST", path, id);
    ck_assert_str_eq(service_text(theirs, "modelDeploymentCrn"), "crn:b/1");
    ck_assert_str_eq(service_text(own, "modelDeploymentCrn"), "crn:a/1");
    ck_assert_int_eq(keyed_status(service, key, "GET", "/v1/lineage/builds/crn%3Aa%2Fb", NULL),
                     200);
    ck_assert_int_eq(keyed_status(service, key, "GET", "/v1/lineage/builds/crn%3Ab%2Fb", NULL),
                     404);
    ck_assert_int_eq(keyed_status(service, any, "GET", "/v1/lineage/builds/crn%3Ab%2Fb", NULL),
                     200);
}
END_TEST

/* Whether there is what it may not see can't be told from the time that the answer takes. */
START_TEST(a_restricted_key_asks_for_its_own_alone)
{
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *key = keyed_make(dsn, "read", mine);
    AUTO(service_free) struct service *service = keyed_service(dsn);
    PGconn *conn = pg_connect(dsn);

    PQclear(PQexec(conn, "BEGIN; LOCK TABLE model_deployment, lineage_event"));
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INTRANS);
    ck_assert_int_eq(keyed_status(service, key, "GET", "/v1/deployments/crn%3Ab%2F1", NULL), 404);
    ck_assert_int_eq(keyed_status(service, key, "GET", "/v1/lineage/builds/crn%3Ab%2Fb", NULL),
                     404);
    PQfinish(conn);
}
END_TEST

Suite *keys_suite(void)
{
    Suite *suite = suite_create("keys");
    TCase *tcase = tcase_create("keys");

    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, what_is_stored_is_not_the_key);
    tcase_add_test(tcase, what_the_command_says);
    tcase_add_test(tcase, a_database_without_keys);
    tcase_add_test(tcase, lists_and_the_audit);
    tcase_add_test(tcase, raw_bearer_and_basic);
    tcase_add_test(tcase, a_change_counts_for_every_daemon);
    tcase_add_test(tcase, expiry_may_be_infinite);
    tcase_add_test(tcase, last_use_is_noted);
    tcase_add_test(tcase, the_audit_names_the_key);
    tcase_add_test(tcase, keys_are_read_again_from_another_server);
    tcase_add_test(tcase, known_keys_hold_while_postgres_is_away);
    tcase_add_test(tcase, wrong_keys_are_slowed_and_good_ones_are_not);
    tcase_add_test(tcase, commands_send_the_key);
    tcase_add_test(tcase, no_key_becomes_a_name_of_the_audit);
    tcase_add_test(tcase, a_restricted_key_asks_for_its_own_alone);
    tcase_add_test(tcase, what_a_restricted_key_posts);
    tcase_add_test(tcase, what_a_restricted_key_reads);
    tcase_add_test(tcase, a_restricted_key_knows_ids_and_builds_of_its_own);
    suite_add_tcase(suite, tcase);
    return suite;
}
