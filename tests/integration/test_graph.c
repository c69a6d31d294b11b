/* Lineage events of every kind, and the graph that follows from them. */
#include <check.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/dice.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *graph_suite(void);

#define PROJECT(crn, name, more)                                                                   \
    "{\"event\":\"project_created\",\"projectCrn\":\"" crn "\",\"projectName\":\"" name            \
    "\",\"userName\":\"ada\"," more "\"createdAtMs\":1704067200000}"
#define BUILT(project, build, name, more)                                                          \
    "{\"event\":\"model_built\",\"projectCrn\":\"" project                                         \
    "\",\"modelCrn\":\"crn:m\",\"modelName\":\"" name "\",\"modelBuildCrn\":\"" build              \
    "\",\"buildNumber\":7,\"userName\":\"bob\"," more "\"createdAtMs\":1704067201000}"
#define FILE_OF(text) "\"linkingFile\":\"" text "\","

/* ---- what is taken and what is said of it ---- */

static const struct {
    const char *name, *body, *code, *field;
    long status;
    int64_t line;
} refused_cases[] = {
    { "a file with a broken line",
      BUILT("crn:p", "crn:x1", "Churn",
            FILE_OF("Churn:\\n  metadata:\\n    a: \\\"b\\\"\\\"c\\\"\\n")),
      "invalid_linking_file", "linkingFile", 400, 3 },
    { "an input of no type",
      BUILT("crn:p", "crn:x2", "Churn",
            "\"inputs\":[{\"typeName\":\"t\",\"qualifiedName\":\"q\"}],"),
      "invalid_field", "inputs[0].typeName", 400, 0 },
    { "another name for a project", PROJECT("crn:p", "Other", ""), "conflict", "projectName", 409,
      0 },
    { "another name for a build", BUILT("crn:p", "crn:b", "Other", ""), "conflict", "modelName",
      409, 0 },
};

START_TEST(refused_with_its_place)
{
    AUTO(service_free) struct service *service = service_start();

    service_take(service,
                 "[" PROJECT("crn:p", "P", "") "," BUILT("crn:p", "crn:b", "Churn", "") "]");
    for (size_t i = 0; i < LENGTH(refused_cases); i++) {
        const char *name = refused_cases[i].name;
        AUTO(mem_free) char *list = xasprintf("[%s]", refused_cases[i].body);
        json_auto_t *alone =
            service_post(service, refused_cases[i].status, "/v1/events", refused_cases[i].body);
        json_auto_t *receipt = service_post(service, 200, "/v1/events", list);
        const json_t *note = json_array_get(json_object_get(receipt, "rejected"), 0);
        const json_t *error = json_object_get(alone, "error");

        ck_assert_msg(strcmp(service_text(error, "code"), refused_cases[i].code) == 0, "%s", name);
        ck_assert_msg(strcmp(service_text(note, "code"), refused_cases[i].code) == 0, "%s", name);
        ck_assert_msg(strcmp(service_text(note, "field"), refused_cases[i].field) == 0, "%s", name);
        ck_assert_msg(json_integer_value(json_object_get(note, "line")) == refused_cases[i].line,
                      "%s", name);
    }
    service_check_balance(service, 2, 0, 8);
}
END_TEST

START_TEST(warned_and_stored)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *receipt =
        service_post(service, 200, "/v1/events",
                     BUILT("crn:p", "crn:b", "Churn", FILE_OF("Other:\\n  colour: red\\n")));
    const json_t *warnings = json_object_get(receipt, "warnings");
    AUTO(mem_free)
    char *stored = pg_query_text(
        service->dsn,
        "SELECT string_agg(w->>'code' || '@' || (w->>'line'), ' ' ORDER BY n)"
        " FROM lineage_event, json_array_elements(warnings) WITH ORDINALITY AS w(w, n)"
        " WHERE kind = 'model_built' AND identity = 'model_built crn:b'");

    ck_assert_uint_eq(json_array_size(warnings), 3);
    ck_assert_str_eq(service_text(json_array_get(warnings, 0), "code"), "unknown_key");
    ck_assert_int_eq(service_number(json_array_get(warnings, 0), "line"), 2);
    ck_assert_int_eq(service_number(json_array_get(warnings, 0), "column"), 3);
    ck_assert_str_eq(stored, "unknown_key@2 model_empty@1 model_not_in_file@1");
}
END_TEST

/* "code@line build deployment" of each. Owned. */
static char *warnings_text(const json_t *warnings)
{
    AUTO(buf_done) struct buf out;
    const char *deployment;
    size_t i;
    json_t *warning;

    buf_init(&out, SIZE_MAX);
    json_array_foreach(warnings, i, warning)
    {
        deployment = json_string_value(json_object_get(warning, "modelDeploymentCrn"));
        buf_append_fmt(&out, "%s%s@%lld %s %s", i ? ", " : "", service_text(warning, "code"),
                       json_integer_value(json_object_get(warning, "line")),
                       service_text(warning, "modelBuildCrn"), deployment ? deployment : "-");
    }
    return xstrdup(buf_text(&out));
}

static const struct {
    const char *query, *want;
} warnings_cases[] = {
    { "", "unknown_key@2 crn:b -, model_empty@1 crn:b -, model_not_in_file@1 crn:b -, "
          "cpu_assumed@0 crn:b crn:d, unknown_field@0 crn:b crn:d, cpu_assumed@0 crn:b crn:d" },
    { "?code=cpu_assumed", "cpu_assumed@0 crn:b crn:d, cpu_assumed@0 crn:b crn:d" },
    { "?model_deployment_crn=crn:d&limit=1", "cpu_assumed@0 crn:b crn:d" },
    { "?model_build_crn=crn:none", "" },
    { "?limit=2", "unknown_key@2 crn:b -, model_empty@1 crn:b -" },
};

#define STATUS(status, more)                                                                       \
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"crn:b\",\"modelDeploymentCrn\":\"crn:d\","  \
    "\"userName\":\"eve\"," more "\"status\":\"" status "\"}"

START_TEST(warnings_are_kept)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *lines = NULL;
    AUTO(buf_done) struct buf pages;
    json_auto_t *error = NULL;
    const char *cursor = NULL;

    buf_init(&pages, SIZE_MAX);
    service_take(service, BUILT("crn:p", "crn:b", "Churn", FILE_OF("Other:\\n  colour: red\\n")));
    service_take(service, STATUS("deploying", ""));
    service_take(service, STATUS("deployed", "\"colour\":1,"));
    service_take(service, STATUS("stopped", "\"cpuMillicores\":5,"));
    for (size_t i = 0; i < LENGTH(warnings_cases); i++) {
        AUTO(mem_free) char *path = xasprintf("/v1/lineage/warnings%s", warnings_cases[i].query);
        json_auto_t *page = service_get(service, 200, path);
        AUTO(mem_free) char *have = warnings_text(json_object_get(page, "warnings"));

        ck_assert_str_eq(have, warnings_cases[i].want);
    }
    for (int i = 0; i < 4 && (cursor || i == 0); i++) {
        AUTO(mem_free)
        char *path = xasprintf("/v1/lineage/warnings?limit=2%s%.60s", cursor ? "&cursor=" : "",
                               cursor ? cursor : "");
        json_auto_t *page = service_get(service, 200, path);
        AUTO(mem_free) char *have = warnings_text(json_object_get(page, "warnings"));
        static char next[64];

        buf_append_fmt(&pages, "%s%s", i ? ", " : "", have);
        cursor = json_string_value(json_object_get(page, "nextCursor"));
        if (cursor)
            cursor = memcpy(next, cursor, strlen(cursor) + 1);
    }
    ck_assert_ptr_null(cursor);
    ck_assert_str_eq(buf_text(&pages), warnings_cases[0].want);
    lines = service_get_text(service, 200, "/v1/lineage/warnings?code=model_empty",
                             "application/x-ndjson");
    ck_assert_ptr_nonnull(strstr(lines, "\"event\":\"model_built\",\"projectCrn\":\"crn:p\","));
    ck_assert_ptr_nonnull(strstr(lines, "\"line\":1,\"column\":1}\n"));
    error = service_get(service, 400, "/v1/lineage/warnings?cursor=7.x");
    service_check_error(error, "invalid_parameter", "cursor",
                        "\"cursor\" is not one of an answer: \"7.x\"", "cursor");
}
END_TEST

START_TEST(counted_once)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *again = NULL, *more = NULL;

    service_take(service,
                 "[" PROJECT("crn:p", "P", "") "," BUILT("crn:p", "crn:b", "Churn", "") "]");
    again =
        service_post(service, 200, "/v1/events",
                     "[" BUILT("crn:p", "crn:b", "Churn", "") "," PROJECT("crn:p", "P", "") "]");
    ck_assert_int_eq(service_number(again, "duplicate"), 2);
    more =
        service_post(service, 200, "/v1/events",
                     BUILT("crn:p", "crn:b", "Churn", FILE_OF("Churn:\\n  metadata: {a: b}\\n")));
    ck_assert_int_eq(service_number(more, "accepted"), 1); /* what was absent may be supplied */
    service_check_balance(service, 3, 2, 0);
}
END_TEST

/* ---- the graph ---- */

/* The graph as it stands, a line for each entity and each relationship; names, no numbers. Only
 * what has `part` in it, which is left out. Owned. */
static char *graph_text(const char *dsn, const char *part)
{
    char *text = pg_query_text(
        dsn,
        "SELECT string_agg(replace(line, '%s', ''), E'\n' ORDER BY replace(line, '%s', '') COLLATE"
        " \"C\") FROM (SELECT type || ' ' || qualified_name || CASE WHEN is_incomplete THEN ' "
        "shell '"
        " ELSE ' ' END || attributes::text AS line FROM entity WHERE to_batch IS NULL UNION ALL"
        " SELECT r.type || ' ' || a.qualified_name || ' > ' || b.qualified_name"
        " FROM relationship AS r JOIN entity AS a ON a.entity_id = r.end1 AND a.to_batch IS NULL"
        " JOIN entity AS b ON b.entity_id = r.end2 AND b.to_batch IS NULL"
        " WHERE r.to_batch IS NULL) AS lines WHERE line LIKE '%%%s%%'",
        part, part, part);

    return text ? text : xstrdup("");
}

/* Everything in the tables of the graph, history included. Owned. */
static char *graph_print(const char *dsn)
{
    return pg_query_text(dsn,
                         "SELECT md5(string_agg(line, E'\n' ORDER BY line COLLATE \"C\")) FROM ("
                         "SELECT e::text AS line FROM entity AS e UNION ALL"
                         " SELECT r::text FROM relationship AS r UNION ALL"
                         " SELECT a::text FROM entity_audit AS a UNION ALL"
                         " SELECT b::text FROM graph_batch AS b UNION ALL"
                         " SELECT l::text FROM lineage_event AS l) AS t");
}

static int64_t entities_count(const char *dsn, const char *where)
{
    return pg_query_i64(dsn, "SELECT count(*) FROM entity WHERE to_batch IS NULL AND %s", where);
}

/* Every '@' becomes `part`. Owned. */
static char *expand(const char *text, const char *part)
{
    AUTO(buf_done) struct buf out;

    buf_init(&out, SIZE_MAX);
    for (; *text; text++) {
        if (*text == '@')
            buf_append_text(&out, part);
        else
            buf_append_char(&out, *text);
    }
    return xstrdup(buf_text(&out));
}

#define DEPLOYED(build, deployment, status, at, more)                                              \
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"" build "\",\"modelDeploymentCrn\":\""      \
    "" deployment "\",\"status\":\"" status "\",\"statusAtMs\":" at "," more                       \
    "\"createdAtMs\":1704067202000,\"userName\":\"eve\"}"

/* A small company: two builds of one project share a table, one is deployed twice, another project
 * has the same names. */
static const char *const company[] = {
    PROJECT("@p", "Churn", "\"metadata\":{\"team\":\"x\"},"),
    PROJECT("@q", "Churn", ""),
    BUILT("@p", "@b1", "Model",
          FILE_OF("Model:\\n  hive_table_qualified_names: [@x.t, @x.u]\\n  metadata: {q: "
                  "s}\\n") "\"defaultCpuMillicores\":500,\"projectName\":\"early\","),
    BUILT("@p", "@b2", "Model", FILE_OF("Model:\\n  hive_table_qualified_names: [@x.t]\\n")),
    BUILT("@q", "@b3", "Model",
          "\"inputs\":[{\"typeName\":\"fs_path\",\"qualifiedName\":\"/@f\"},"
          "{\"typeName\":\"ml_model_build\",\"qualifiedName\":\"@far/cm\"}],"),
    DEPLOYED("@b1", "@d1", "deploying", "1704067203000", ""),
    DEPLOYED("@b1", "@d1", "deployed", "1704067204000",
             "\"replicas\":2,\"projectCrn\":\"@p\","
             "\"projectName\":\"late\","),
    DEPLOYED("@b1", "@d1", "stopped", "1704067205000", ""),
    DEPLOYED("@b1", "@d1", "deployed", "1704067206000", "\"replicas\":3,\"modelName\":\"New\","),
    /* who built it knows better to which project it belongs */
    DEPLOYED("@b1", "@d2", "deployed", "1704067204000",
             "\"cpuMillicores\":100,\"projectCrn\":\"@r\","),
    DEPLOYED("@b3", "@d3", "deployed", "1704067204000", "\"cpuMillicores\":100,"),
    /* nobody describes this build */
    DEPLOYED("@b4", "@d4", "deployed", "1704067204000", "\"projectCrn\":\"@r\",\"gpus\":1,"),
    DEPLOYED("@b4", "@d5", "stopped", "1704067204000",
             "\"projectCrn\":\"@p\",\"modelName\":\"N\","),
};

static void company_post(struct service *service, const char **events, size_t len, const char *part,
                         bool together)
{
    AUTO(buf_done) struct buf body;

    buf_init(&body, SIZE_MAX);
    for (size_t i = 0; i < len; i++) {
        AUTO(mem_free) char *event = expand(events[i], part);

        if (!together)
            service_take(service, event);
        buf_append_fmt(&body, "%s%s", i ? "," : "[", event);
    }
    buf_append_char(&body, ']');
    if (together)
        service_take(service, buf_text(&body));
}

enum { ORDERS = 10 };

START_TEST(any_order_ends_in_the_same_graph)
{
    AUTO(service_free) struct service *service = service_start();
    const char *events[LENGTH(company)];
    AUTO(mem_free) char *want = NULL;
    uint64_t seed = 5;

    memcpy(events, company, sizeof(events));
    company_post(service, events, LENGTH(events), "ofirstx", false);
    want = graph_text(service->dsn, "ofirstx");
    ck_assert_ptr_nonnull(strstr(want, "ml_model_deployment d1@cm {"));
    ck_assert_ptr_nonnull(strstr(want, "\"name\": \"New\""));
    ck_assert_ptr_nonnull(strstr(want, "ml_project_model_build p@cm > b1@cm"));
    ck_assert_ptr_null(strstr(want, "ml_project_model_build r@cm"));
    ck_assert_ptr_nonnull(strstr(want, "ml_project_model_build p@cm > b4@cm"));
    for (int i = 0; i < ORDERS; i++) {
        AUTO(mem_free) char *part = xasprintf("o%dx", i);
        AUTO(mem_free) char *have = NULL;

        for (size_t n = LENGTH(events); n > 1; n--) {
            size_t j = dice_roll(&seed, (uint32_t)n);
            const char *event = events[j];

            events[j] = events[n - 1];
            events[n - 1] = event;
        }
        company_post(service, events, LENGTH(events), part, i % 3 == 0);
        have = graph_text(service->dsn, part);
        ck_assert_msg(strcmp(have, want) == 0, "order %d:\n%s\nand not\n%s", i, have, want);
    }
}
END_TEST

START_TEST(replay_changes_nothing)
{
    AUTO(service_free) struct service *service = service_start();
    const char *events[LENGTH(company)];
    AUTO(mem_free) char *before = NULL;
    uint64_t seed = 6;

    memcpy(events, company, sizeof(events));
    company_post(service, events, LENGTH(events), "", false);
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT (SELECT max(deployment) FROM"
                                                 " model_deployment) - deployment"
                                                 " FROM graph_position") == 0);
    before = graph_print(service->dsn);
    for (int round = 0; round < 3; round++) {
        AUTO(mem_free) char *after = NULL;

        dice_shuffle(&seed, (void **)(uintptr_t)events, LENGTH(events));
        for (size_t i = 0; i < LENGTH(events); i++) {
            AUTO(mem_free) char *event = expand(events[i], "");
            json_auto_t *receipt = service_post(service, 200, "/v1/events", event);

            ck_assert_int_eq(service_number(receipt, "duplicate"), 1);
        }
        after = graph_print(service->dsn);
        ck_assert_str_eq(after, before);
        ck_assert_int_eq(daemon_stop(service->daemon), 0);
        daemon_resume(service->daemon);
    }
}
END_TEST

START_TEST(same_names_stay_apart_and_tables_are_shared)
{
    AUTO(service_free) struct service *service = service_start();
    const char *events[LENGTH(company)];

    memcpy(events, company, sizeof(events));
    company_post(service, events, LENGTH(events), "", true);
    ck_assert_int_eq(entities_count(service->dsn, "type = 'ml_project' AND NOT is_incomplete"
                                                  " AND attributes->>'name' = 'Churn'"),
                     2);
    ck_assert_int_eq(entities_count(service->dsn, "type = 'ml_model_build' AND NOT is_incomplete"
                                                  " AND attributes->>'name' = 'Model'"),
                     3);
    ck_assert_int_eq(entities_count(service->dsn, "type = 'hive_table'"), 2);
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM relationship AS r JOIN entity AS t"
                                  " ON t.entity_id = r.end2 AND t.to_batch IS NULL"
                                  " WHERE r.type = 'dataset_process_inputs' AND r.to_batch IS NULL"
                                  " AND t.qualified_name = 'x.t@cm'"),
                     2);
}
END_TEST

/* Everything is called the same in two environments, but by other CRNs and in other namespaces:
 * nothing is shared. What is trained in one of them and deployed in the other is one graph. */
START_TEST(environments_stay_apart)
{
    static const char *const environment[] = {
        PROJECT("@p", "Churn", ""),
        BUILT("@p", "@b", "Model",
              "\"namespace\":\"@\"," FILE_OF("Model:\\n"
                                             "  hive_table_qualified_names: [default.telco]\\n")),
        DEPLOYED("@b", "@d", "deployed", "1704067204000",
                 "\"environment\":\"@\",\"modelName\":\"Model\","),
    };
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *east = NULL, *west = NULL, *across = NULL;
    const char *events[LENGTH(environment)];

    memcpy(events, environment, sizeof(events));
    company_post(service, events, LENGTH(events), "east", true);
    company_post(service, events, LENGTH(events), "west", false);
    east = graph_text(service->dsn, "east");
    west = graph_text(service->dsn, "west");
    ck_assert_str_eq(east, west);
    ck_assert_ptr_nonnull(strstr(east, "hive_table default.telco@ shell"));
    ck_assert_int_eq(entities_count(service->dsn, "type = 'hive_table'"), 2);
    ck_assert_int_eq(entities_count(service->dsn, "true"), 14);
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM relationship AS r"
                                  " JOIN entity AS a ON a.entity_id = r.end1"
                                  " JOIN entity AS b ON b.entity_id = r.end2 WHERE"
                                  " a.qualified_name ~ 'east' <> (b.qualified_name ~ 'east')"),
                     0);
    service_take(service, DEPLOYED("eastb", "westd2", "deployed", "1704067204000", ""));
    across = graph_text(service->dsn, "eastb@cm > westd2@cm");
    ck_assert_str_eq(across, "ml_build_deployment ");
}
END_TEST

/* An entity is changed in versions; what was before stays readable. */
START_TEST(versions_follow_statuses)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *versions = NULL, *audit = NULL;

    service_take(service, DEPLOYED("b", "d", "deploying", "1704067203000", "\"cpuMillicores\":1,"));
    service_take(service, DEPLOYED("b", "d", "stopped", "1704067209000", ""));
    /* known only now: nothing changes but what it says itself */
    service_take(service, DEPLOYED("b", "d", "deployed", "1704067205000", ""));
    versions =
        pg_query_text(service->dsn,
                      "SELECT string_agg((attributes->>'status') || ' ' || (attributes->>"
                      "'deployedTime') || CASE WHEN to_batch IS NULL THEN '' ELSE ' ended' END,"
                      " ', ' ORDER BY from_batch) FROM entity WHERE type = 'ml_model_deployment'");
    ck_assert_str_eq(versions, "deploying 1704067202000 ended, stopped 1704067202000 ended, "
                               "stopped 1704067205000");
    audit =
        pg_query_text(service->dsn,
                      "SELECT string_agg(action || ' ' || user_name, ', ' ORDER BY batch_id) FROM"
                      " entity_audit JOIN entity USING (entity_id) WHERE to_batch IS NULL AND type"
                      " = 'ml_model_deployment'");
    ck_assert_str_eq(audit, "ENTITY_CREATE eve, ENTITY_UPDATE eve, ENTITY_UPDATE eve");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(DISTINCT guid) FROM entity"
                                                " WHERE type = 'ml_model_deployment'"),
                     1);
}
END_TEST

/* An event that supplies something is derived anew as a whole; what it leaves as it was gets no
 * version, no audit and no edge. */
START_TEST(only_what_changes_is_written)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *changed = NULL;

    service_take(service, "[" PROJECT("p", "P", "") "," BUILT(
                              "p", "b", "Model",
                              FILE_OF("Model:\\n  hive_table_qualified_names: [x.t]\\n")) "]");
    service_take(service, BUILT("p", "b", "Model", "\"imageTag\":\"r/x:7\","));
    service_take(service, DEPLOYED("b", "d", "deployed", "1704067203000", "\"cpuMillicores\":1,"));
    service_take(service, DEPLOYED("b", "d", "deployed", "1704067204000", ""));
    changed = pg_query_text(service->dsn, "SELECT string_agg(type || ' ' || versions, ', ') FROM"
                                          " (SELECT type, count(*) AS versions FROM entity"
                                          " GROUP BY entity_id, type HAVING count(*) > 1"
                                          " ORDER BY type) AS t");
    ck_assert_str_eq(changed, "ml_model_build 2");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM entity_audit"), 8);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM relationship"), 8);
}
END_TEST

#define SEEN(n, more)                                                                              \
    "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"d\"," more                              \
    "\"predictionUuid\":\"00000000-0000-4000-8000-00000000000" n                                   \
    "\",\"startTimestampMs\":1704067200000,\"endTimestampMs\":1704067200001,\"metrics\":{}}"

/* What governance has to see: it predicts, and nobody has said where it comes from. */
START_TEST(seen_in_metrics_only)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = NULL, *again = NULL;

    service_take(service, SEEN("1", ""));
    WAIT_UNTIL(10000,
               entities_count(service->dsn, "qualified_name = 'd@cm' AND is_incomplete") == 1);
    ck_assert_int_eq(entities_count(service->dsn, "true"), 1);
    guid = pg_query_text(service->dsn, "SELECT guid FROM entity");
    service_take(service, DEPLOYED("b", "d", "deployed", "1704067203000", ""));
    again = pg_query_text(service->dsn, "SELECT guid FROM entity WHERE to_batch IS NULL AND"
                                        " qualified_name = 'd@cm' AND NOT is_incomplete");
    ck_assert_str_eq(again, guid);
}
END_TEST

static int64_t served_count(struct service *service)
{
    return pg_query_i64(service->dsn, "SELECT count(*) FROM relationship"
                                      " WHERE type = 'ml_build_deployment' AND to_batch IS NULL");
}

/* The build that predictions name, at once or later, is related to its deployment, as a shell if
 * need be; what model_deployed says goes before it, and stays. */
START_TEST(built_by_what_metrics_say)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *shells = NULL, *built = NULL, *deployed = NULL, *after = NULL;

    service_take(service, SEEN("1", ""));
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT deployment FROM graph_position") == 1);
    service_take(service, SEEN("2", "\"modelBuildCrn\":\"b\","));
    WAIT_UNTIL(10000, served_count(service) == 1);
    shells = graph_text(service->dsn, "cm");
    ck_assert_ptr_nonnull(strstr(shells, "ml_build_deployment b@ > d@"));
    ck_assert_int_eq(entities_count(service->dsn, "is_incomplete"), 2);
    service_take(service, BUILT("p", "b", "Model", ""));
    built = graph_text(service->dsn, "cm");
    ck_assert_ptr_nonnull(strstr(built, "ml_build_deployment b@ > d@"));
    ck_assert_int_eq(entities_count(service->dsn, "qualified_name = 'b@cm' AND is_incomplete"), 0);
    service_take(service, DEPLOYED("b2", "d", "deployed", "1704067203000", ""));
    deployed = graph_text(service->dsn, "cm");
    ck_assert_ptr_nonnull(strstr(deployed, "ml_build_deployment b2@ > d@"));
    ck_assert_int_eq(served_count(service), 1);
    service_take(service, SEEN("3", "\"modelBuildCrn\":\"b3\","));
    ck_assert_int_eq(daemon_stop(service->daemon), 0);
    daemon_resume(service->daemon);
    /* a new deployment: whatever waits has been looked at when it is there */
    service_take(service,
                 "{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"e\",\"metrics\":{},"
                 "\"startTimestampMs\":1704067200000,\"endTimestampMs\":1704067200001}");
    WAIT_UNTIL(10000, entities_count(service->dsn, "qualified_name = 'e@cm'") == 1);
    after = graph_text(service->dsn, "d@cm");
    ck_assert_ptr_nonnull(strstr(after, "ml_build_deployment b2@cm > "));
    ck_assert_int_eq(served_count(service), 1);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM graph_waiting"), 0);
}
END_TEST

/* Whose build is known does not wait for whoever relates it. */
START_TEST(a_prediction_waits_for_no_graph)
{
    AUTO(service_free) struct service *service = service_start();
    PGconn *conn = pg_connect(service->dsn);

    service_take(service, SEEN("1", "\"modelBuildCrn\":\"b\","));
    WAIT_UNTIL(10000, served_count(service) == 1);
    PQclear(
        PQexec(conn, "BEGIN; INSERT INTO graph_waiting SELECT deployment FROM model_deployment"));
    service_take(service, SEEN("2", "\"modelBuildCrn\":\"b\",\"modelCrn\":\"m\","));
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM model_deployment WHERE"
                                                " build_crn = 'b' AND model_crn = 'm'"),
                     1);
    PQfinish(conn);
}
END_TEST

/* Where nothing is known of how much there is, one name is still one look-up. */
START_TEST(a_name_is_found_without_statistics)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free)
    char *plan = pg_query_text(service->dsn, "EXPLAIN (FORMAT JSON) SELECT entity_id FROM entity"
                                             " WHERE type = 'hive_table'"
                                             " AND qualified_name = 'd.t@cm' AND NOT is_deleted"
                                             " AND to_batch IS NULL");

    ck_assert_msg(strstr(plan, "\"entity_name\"") != NULL, "%s", plan);
}
END_TEST

/* Several deployments are written in the order of their numbers, or two writers would wait for each
 * other. */
START_TEST(deployments_are_written_in_order)
{
    AUTO(service_free) struct service *service = service_start();
    PGconn *one = pg_connect(service->dsn), *two = pg_connect(service->dsn);
    PGresult *result;

    pg_exec(service->dsn,
            "INSERT INTO model_deployment (crn) VALUES ('z'), ('a');"
            "UPDATE model_deployment SET model_crn = NULL WHERE crn = 'z'"); /* behind it */
    PQclear(PQexec(one, "BEGIN; UPDATE model_deployment SET project_crn = 'p' WHERE crn = 'z'"));
    ck_assert_int_eq(PQsendQuery(two, "SELECT * FROM catalog_ensure('{a,z}', '{b,b}', '{m,m}', 9)"),
                     1);
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT count(*) FROM pg_locks WHERE NOT granted"
                                                 " AND locktype = 'transactionid'") == 1);
    result = PQexec(one, "SET lock_timeout = '5s';"
                         "UPDATE model_deployment SET project_crn = 'p' WHERE crn = 'a'; COMMIT");
    ck_assert_msg(PQresultStatus(result) == PGRES_COMMAND_OK, "%s", PQerrorMessage(one));
    PQclear(result);
    while ((result = PQgetResult(two))) {
        ck_assert_msg(PQresultStatus(result) == PGRES_TUPLES_OK, "%s", PQerrorMessage(two));
        PQclear(result);
    }
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM model_deployment WHERE"
                                                " build_crn = 'b' AND project_crn = 'p'"),
                     2);
    PQfinish(one);
    PQfinish(two);
}
END_TEST

/* What a prediction says at first sight is there as soon as the deployment is. */
START_TEST(built_at_first_sight)
{
    AUTO(service_free) struct service *service = service_start();

    service_take(service, SEEN("1", "\"modelBuildCrn\":\"b\",\"modelCrn\":\"m\","));
    WAIT_UNTIL(10000, entities_count(service->dsn, "qualified_name = 'd@cm'") == 1);
    ck_assert_int_eq(served_count(service), 1);
    ck_assert_int_eq(entities_count(service->dsn, "is_incomplete"), 2);
}
END_TEST

/* A database from before the graph: what its events say is caught up with. */
START_TEST(older_events_are_caught_up_with)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *want = NULL, *have = NULL;

    service_take(service, DEPLOYED("b", "d", "deployed", "1704067203000", "\"projectCrn\":\"p\","));
    want = graph_text(service->dsn, "cm");
    ck_assert_int_eq(daemon_stop(service->daemon), 0);
    pg_exec(service->dsn, "TRUNCATE entity, relationship, entity_audit, graph_batch;"
                          "UPDATE graph_position SET deployment = 0");
    daemon_resume(service->daemon);
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT deployment FROM graph_position") == 1);
    have = graph_text(service->dsn, "cm");
    ck_assert_str_eq(have, want);
}
END_TEST

START_TEST(a_build_completes_its_deployments)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *receipt = service_post(service, 200, "/v1/events",
                                        DEPLOYED("b", "d", "deployed", "1704067203000", ""));
    json_auto_t *before = service_get(service, 200, "/v1/deployments/d"), *after = NULL;
    const json_t *warning = json_array_get(json_object_get(receipt, "warnings"), 0);

    ck_assert_str_eq(service_text(warning, "code"), "cpu_assumed");
    ck_assert_str_eq(service_text(warning, "field"), "cpuMillicores");
    ck_assert_str_eq(service_text(before, "modelCrn"), "");
    service_take(service, BUILT("p", "b", "Model", "\"defaultCpuMillicores\":300,"));
    after = service_get(service, 200, "/v1/deployments/d");
    ck_assert_str_eq(service_text(after, "modelCrn"), "crn:m");
    ck_assert_str_eq(service_text(after, "projectCrn"), "p");
    ck_assert_int_eq(entities_count(service->dsn, "qualified_name = 'd@cm' AND attributes->>'name'"
                                                  " = 'Model' AND attributes->>'cpuMillicores' ="
                                                  " '300'"),
                     1);
}
END_TEST

/* The longest names that there may be, and none that could be packed, fit the indexes. */
START_TEST(longest_names)
{
    AUTO(service_free) struct service *service = service_start();
    char crns[3][1025] = { "" };
    uint64_t seed = 7;
    AUTO(mem_free) char *events = NULL;

    for (size_t i = 0; i < LENGTH(crns); i++) {
        for (size_t n = 0; n < sizeof(crns[i]) - 1; n++)
            crns[i][n] = (char)('0' + dice_roll(&seed, 43)); /* to 'Z' */
    }
    events = xasprintf("[" BUILT("%s", "%s", "Model",
                                 "\"inputs\":[{\"typeName\":\"fs_path\",\"qualifiedName\":\"%s\"}]"
                                 ",") "," DEPLOYED("%s", "%s", "deployed", "1704067203000",
                                                   "\"projectCrn\":\"%s\",") "]",
                       crns[0], crns[1], crns[2], crns[1], crns[2], crns[0]);
    service_take(service, events);
    ck_assert_int_eq(entities_count(service->dsn, "true"), 6);
}
END_TEST

/* ---- at once, and killed ---- */

enum { POSTERS = 4, POSTER_BUILDS = 40, POSTER_TABLES = 8 };

/* A thread that posts builds of its own, all trained on the same tables, each in an order of its
 * own; it sends again what got no answer. */
struct poster {
    pthread_t thread;
    int number;
    const char *url; /* borrowed */
    _Atomic int taken;
    _Atomic int failed;
};

static char *poster_build(int poster, int build)
{
    AUTO(buf_done) struct buf body;

    buf_init(&body, SIZE_MAX);
    buf_append_fmt(&body,
                   "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\","
                   "\"modelName\":\"Model\",\"modelBuildCrn\":\"b-%d-%d\",\"buildNumber\":%d,"
                   "\"userName\":\"u%d\",\"linkingFile\":\"Model:\\n"
                   "  hive_table_qualified_names:\\n",
                   poster, build, build, poster);
    for (int i = 0; i < POSTER_TABLES; i++)
        buf_append_fmt(&body, "    - x.t%d\\n",
                       (i * (poster % 2 ? 1 : POSTER_TABLES - 1) + build) % POSTER_TABLES);
    buf_append_text(&body, "\"}");
    return xstrdup(buf_text(&body));
}

static void *poster_run(void *arg)
{
    struct poster *poster = arg;
    AUTO(http_free) struct http *http = http_new();

    for (int build = 0; build < POSTER_BUILDS;) {
        AUTO(mem_free) char *body = poster_build(poster->number, build);
        AUTO(http_answer_free) struct http_answer *answer = http_post(http, poster->url, body);

        if (answer->status == 200) {
            poster->taken++;
            build++;
        } else if (answer->status && answer->status != 503) {
            poster->failed++;
            build++;
        } else {
            wait_nap();
        }
    }
    return NULL;
}

static void posters_start(struct poster posters[POSTERS], const char *const urls[2])
{
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){ .number = i, .url = urls[i % 2] };
        ck_assert_int_eq(pthread_create(&posters[i].thread, NULL, poster_run, &posters[i]), 0);
    }
}

static void posters_finish(struct poster posters[POSTERS])
{
    for (int i = 0; i < POSTERS; i++) {
        ck_assert_int_eq(pthread_join(posters[i].thread, NULL), 0);
        ck_assert_int_eq(posters[i].failed, 0);
        ck_assert_int_eq(posters[i].taken, POSTER_BUILDS);
    }
}

/* No build without its process, its tables and its project; each table once. */
static void check_builds(const char *dsn, int64_t builds)
{
    ck_assert_int_eq(entities_count(dsn, "type = 'ml_model_build' AND NOT is_incomplete"), builds);
    ck_assert_int_eq(entities_count(dsn, "type = 'hive_table'"), POSTER_TABLES);
    ck_assert_int_eq(entities_count(dsn, "type = 'ml_project'"), 1);
    ck_assert_int_eq(pg_query_i64(dsn,
                                  "SELECT count(*) FROM entity AS b WHERE to_batch IS NULL AND"
                                  " type = 'ml_model_build' AND (SELECT count(*) FROM"
                                  " relationship AS made JOIN relationship AS read ON read.end1"
                                  " = made.end1 AND read.type = 'dataset_process_inputs'"
                                  " WHERE made.end2 = b.entity_id AND made.type ="
                                  " 'process_dataset_outputs') <> %d",
                                  POSTER_TABLES + 1),
                     0);
}

static int posters_taken(struct poster posters[POSTERS])
{
    int taken = 0;

    for (int i = 0; i < POSTERS; i++)
        taken += posters[i].taken;
    return taken;
}

START_TEST(two_daemons_at_once)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(daemon_free) struct daemon *a = daemon_start(&(struct daemon_options){ .dsn = dsn });
    AUTO(daemon_free) struct daemon *b = daemon_start(&(struct daemon_options){ .dsn = dsn });
    AUTO(mem_free) char *url_a = daemon_url(a, "/v1/events");
    AUTO(mem_free) char *url_b = daemon_url(b, "/v1/events");
    const char *const urls[] = { url_a, url_b };
    struct poster posters[POSTERS];

    posters_start(posters, urls);
    posters_finish(posters);
    check_builds(dsn, POSTERS * POSTER_BUILDS);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT deadlocks FROM pg_stat_database"
                                       " WHERE datname = current_database()"),
                     0);
    ck_assert(!daemon_log_has(a, "event=commit_failed") &&
              !daemon_log_has(b, "event=commit_failed"));
}
END_TEST

/* Somebody else has the graph: builds wait for it, predictions don't. */
START_TEST(predictions_do_not_wait_for_the_graph)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *url = daemon_url(service->daemon, "/v1/events");
    const char *const urls[] = { url, url };
    struct poster posters[POSTERS];
    PGconn *conn = PQconnectdb(service->dsn);

    service_take(service, SEEN("0", "")); /* what is made once is there */
    PQclear(PQexec(conn, "SELECT pg_advisory_lock(7236, 4)"));
    posters_start(posters, urls);
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT count(*) FROM pg_locks WHERE NOT granted"
                                                 " AND locktype = 'advisory' AND objid = 4") > 0);
    service_take(service, "[" SEEN("1", "") "," SEEN("2", "\"modelBuildCrn\":\"b-0-0\",") "]");
    service_take(service, SEEN("3", "\"modelCrn\":\"m\","));
    ck_assert_int_eq(posters_taken(posters), 0);
    PQfinish(conn);
    posters_finish(posters);
    check_builds(service->dsn, POSTERS * POSTER_BUILDS);
}
END_TEST

START_TEST(killed_between)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    /* a port that stays the same over its lives */
    AUTO(daemon_free) struct daemon *daemon = daemon_start(&(struct daemon_options){ .dsn = dsn });
    AUTO(mem_free) char *listen = xasprintf("127.0.0.1:%d", daemon_port(daemon));
    AUTO(mem_free) char *url = daemon_url(daemon, "/v1/events");
    const char *const urls[] = { url, url };
    AUTO(daemon_free) struct daemon *again = NULL;
    struct poster posters[POSTERS];

    ck_assert_int_eq(daemon_stop(daemon), 0);
    again = daemon_start(&(struct daemon_options){ .dsn = dsn, .listen = listen });
    posters_start(posters, urls);
    for (int round = 1; round <= 3; round++) {
        WAIT_UNTIL(30000, posters_taken(posters) >= round * 20);
        daemon_kill9(again);
        daemon_resume(again);
    }
    posters_finish(posters);
    check_builds(dsn, POSTERS * POSTER_BUILDS);
}
END_TEST

Suite *graph_suite(void)
{
    Suite *suite = suite_create("graph");
    TCase *events = tcase_create("events"), *graph = tcase_create("graph");

    tcase_add_unchecked_fixture(events, pg_shared_start, NULL);
    tcase_add_test(events, refused_with_its_place);
    tcase_add_test(events, warned_and_stored);
    tcase_add_test(events, warnings_are_kept);
    tcase_add_test(events, counted_once);
    suite_add_tcase(suite, events);
    tcase_add_unchecked_fixture(graph, pg_shared_start, NULL);
    tcase_add_test(graph, any_order_ends_in_the_same_graph);
    tcase_add_test(graph, replay_changes_nothing);
    tcase_add_test(graph, same_names_stay_apart_and_tables_are_shared);
    tcase_add_test(graph, environments_stay_apart);
    tcase_add_test(graph, versions_follow_statuses);
    tcase_add_test(graph, only_what_changes_is_written);
    tcase_add_test(graph, seen_in_metrics_only);
    tcase_add_test(graph, built_by_what_metrics_say);
    tcase_add_test(graph, a_prediction_waits_for_no_graph);
    tcase_add_test(graph, a_name_is_found_without_statistics);
    tcase_add_test(graph, deployments_are_written_in_order);
    tcase_add_test(graph, built_at_first_sight);
    tcase_add_test(graph, older_events_are_caught_up_with);
    tcase_add_test(graph, a_build_completes_its_deployments);
    tcase_add_test(graph, longest_names);
    tcase_add_test(graph, two_daemons_at_once);
    tcase_add_test(graph, predictions_do_not_wait_for_the_graph);
    tcase_add_test(graph, killed_between);
    suite_add_tcase(suite, graph);
    return suite;
}
