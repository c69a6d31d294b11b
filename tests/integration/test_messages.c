/* GET /v1/lineage/messages: what changes the graph is told once, in order, and nothing else is. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *messages_suite(void);

#define PATH "/v1/lineage/messages"
#define PROJECT(crn, more)                                                                         \
    "{\"event\":\"project_created\",\"projectCrn\":\"" crn "\",\"projectName\":\"P\"," more        \
    "\"userName\":\"ada\",\"createdAtMs\":1704067200000}"
#define BUILT(project, build, more)                                                                \
    "{\"event\":\"model_built\",\"projectCrn\":\"" project                                         \
    "\",\"modelCrn\":\"m\",\"modelName\":\"Model\",\"modelBuildCrn\":\"" build                     \
    "\",\"buildNumber\":7,\"userName\":\"bob\"," more "\"createdAtMs\":1704067201000}"
#define TABLES "\"linkingFile\":\"Model:\\n  hive_table_qualified_names: [x.t, x.u]\\n\","
#define DEPLOYED(build, deployment, status, at, more)                                              \
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"" build "\",\"modelDeploymentCrn\":\""      \
    "" deployment "\",\"status\":\"" status "\",\"statusAtMs\":" at "," more                       \
    "\"cpuMillicores\":100,\"userName\":\"eve\"}"

/* The lines of an answer as an array. Owned. */
static json_t *messages_parse(const char *text)
{
    json_t *lines = json_array();

    while (*text) {
        size_t len = strcspn(text, "\n");
        AUTO(mem_free) char *line = xmemdup0(text, len);

        ck_assert_msg(text[len] == '\n', "the last line has no end: %s", line);
        ck_assert_int_eq(json_array_append_new(lines, service_json(line)), 0);
        text += len + 1;
    }
    return lines;
}

static json_t *messages_get(struct service *service, const char *query)
{
    AUTO(mem_free) char *path = xasprintf(PATH "%s", query);
    AUTO(mem_free) char *text = service_get_text(service, 200, path, NULL);

    return messages_parse(text);
}

/* A line in short: "key TYPE user: type qualifiedName < reference reference, ...". */
static void message_write(const json_t *line, struct buf *out)
{
    const json_t *notification = json_object_get(json_object_get(line, "message"), "message");
    const json_t *entities = json_object_get(json_object_get(notification, "entities"), "entities");

    buf_append_fmt(out, "%s %s %s:", service_text(line, "key"),
                   service_text(notification, "type") + strlen("ENTITY_"),
                   service_text(notification, "user"));
    for (size_t i = 0; i < json_array_size(entities); i++) {
        const json_t *entity = json_array_get(entities, i), *relations;
        const char *name, *separator = " <";
        json_t *value;

        buf_append_fmt(out, "%s %s", i ? "," : "",
                       service_text(json_object_get(entity, "attributes"), "qualifiedName"));
        relations = json_object_get(entity, "relationshipAttributes");
        json_object_foreach((json_t *)(uintptr_t)relations, name, value)
        {
            size_t len = json_is_array(value) ? json_array_size(value) : 1;

            for (size_t at = 0; at < len; at++) {
                const json_t *reference = json_is_array(value) ? json_array_get(value, at) : value;

                buf_append_fmt(out, "%s %s=%s", separator, name,
                               service_text(json_object_get(reference, "uniqueAttributes"),
                                            "qualifiedName"));
                separator = "";
            }
        }
    }
    buf_append_char(out, '\n');
}

static void check_messages(struct service *service, const char *query, const char *want)
{
    json_auto_t *lines = messages_get(service, query);
    AUTO(buf_done) struct buf have;
    int64_t last = 0;

    buf_init(&have, SIZE_MAX);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);

        ck_assert_int_gt(service_number(line, "number"), last);
        last = service_number(line, "number");
        message_write(line, &have);
    }
    ck_assert_str_eq(buf_text(&have), want);
}

static int64_t newest(struct service *service)
{
    return pg_query_i64(service->dsn, "SELECT coalesce(max(number), 0) FROM outbox");
}

static char *after(int64_t number)
{
    return xasprintf("?after=%lld", (long long)number);
}

/* ---- what is told ---- */

START_TEST(what_events_make)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *behind = NULL;

    service_take(service, "[" DEPLOYED("b", "d", "deploying", "1704067203000",
                                       "") "," BUILT("p", "b", TABLES) "," PROJECT("p", "") "]");
    check_messages(service, "",
                   "p CREATE_V2 ada: p@cm, p:create@cm < outputs=p@cm\n"
                   "p CREATE_V2 bob: b@cm < project=p@cm, b:train_build@cm < inputs=p@cm"
                   " inputs=x.t@cm inputs=x.u@cm outputs=b@cm\n"
                   "p CREATE_V2 eve: d@cm < build=b@cm, d:deploy@cm < inputs=b@cm outputs=d@cm\n");
    behind = after(newest(service));
    service_take(service, DEPLOYED("b", "d", "deployed", "1704067204000", ""));
    check_messages(service, behind,
                   "p FULL_UPDATE_V2 eve: d@cm < build=b@cm, d:deploy@cm < inputs=b@cm"
                   " outputs=d@cm\n");
}
END_TEST

/* Parents come late: what they were is told when they are described, and what changes with them. */
START_TEST(what_comes_late)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *first = NULL, *second = NULL, *third = NULL;

    service_take(service, DEPLOYED("b", "d", "deployed", "1704067203000", ""));
    check_messages(service, "",
                   "b CREATE_V2 eve: d@cm < build=b@cm, d:deploy@cm < inputs=b@cm outputs=d@cm\n");
    first = after(newest(service));
    service_take(service, BUILT("p", "b", ""));
    check_messages(service, first,
                   "p CREATE_V2 bob: b@cm < project=p@cm, b:train_build@cm < inputs=p@cm"
                   " outputs=b@cm\n"
                   "p FULL_UPDATE_V2 eve: d@cm < build=b@cm, d:deploy@cm < inputs=b@cm"
                   " outputs=d@cm\n");
    second = after(newest(service));
    service_take(service, BUILT("p", "b", TABLES)); /* the process has further inputs */
    check_messages(service, second,
                   "p FULL_UPDATE_V2 bob: b@cm < project=p@cm, b:train_build@cm < inputs=p@cm"
                   " inputs=x.t@cm inputs=x.u@cm outputs=b@cm\n");
    third = after(newest(service));
    service_take(service, PROJECT("p", ""));
    check_messages(service, third, "p CREATE_V2 ada: p@cm, p:create@cm < outputs=p@cm\n");
}
END_TEST

/* Everything that a message has around it. */
START_TEST(an_envelope)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *lines = NULL;
    const json_t *message, *entity;

    service_take(service, PROJECT("p", "\"metadata\":{\"team\":\"x\"},"));
    lines = messages_get(service, "");
    message = json_object_get(json_array_get(lines, 0), "message");
    entity = json_array_get(json_object_get(json_object_get(json_object_get(message, "message"),
                                                            "entities"),
                                            "entities"),
                            0);
    ck_assert_str_eq(service_text(message, "msgCompressionKind"), "NONE");
    ck_assert_int_eq(service_number(message, "msgSplitIdx"), 1);
    ck_assert_int_eq(service_number(message, "msgSplitCount"), 1);
    ck_assert_int_eq(service_number(message, "msgCreationTime"),
                     pg_query_i64(service->dsn, "SELECT (extract(epoch FROM recorded_at) * 1000)"
                                                "::bigint FROM graph_batch"));
    ck_assert_str_eq(service_text(json_object_get(message, "version"), "version"), "1.0.0");
    ck_assert_str_eq(service_text(json_object_get(message, "source"), "source"), "plumbline");
    ck_assert_str_eq(
        service_text(json_object_get(json_object_get(entity, "attributes"), "metadata"), "team"),
        "x");
    ck_assert_int_eq(service_number(json_object_get(entity, "attributes"), "createTime"),
                     1704067200000);
}
END_TEST

static const struct {
    const char *name, *body, *code; /* NULL: a duplicate */
} silent_cases[] = {
    { "the same project", PROJECT("p", ""), NULL },
    { "the same build", BUILT("p", "b", ""), NULL },
    { "a build in other words", BUILT("p", "b", "\"imageTag\":null,"), NULL },
    { "the same status", DEPLOYED("b", "d", "deployed", "1704067203000", ""), NULL },
    { "another name",
      "{\"event\":\"project_created\",\"projectCrn\":\"p\",\"projectName\":\"Q\","
      "\"userName\":\"ada\"}",
      "conflict" },
    { "another build of a deployment", DEPLOYED("c", "d", "stopped", "1704067209000", ""),
      "conflict" },
    { "a broken file", BUILT("p", "c", "\"linkingFile\":\"a: [\","), "invalid_linking_file" },
};

START_TEST(what_is_not_told)
{
    AUTO(service_free) struct service *service = service_start();
    int64_t last;

    service_take(service,
                 "[" PROJECT("p", "") "," BUILT("p", "b", "") "," DEPLOYED(
                     "b", "d", "deployed", "1704067203000", "\"createdAtMs\":1704067201500,") "]");
    last = newest(service);
    for (size_t i = 0; i < LENGTH(silent_cases); i++) {
        AUTO(mem_free) char *list = xasprintf("[%s]", silent_cases[i].body);
        json_auto_t *receipt = service_post(service, 200, "/v1/events", list);
        const json_t *note = json_array_get(json_object_get(receipt, "rejected"), 0);

        if (silent_cases[i].code)
            ck_assert_msg(strcmp(service_text(note, "code"), silent_cases[i].code) == 0, "%s",
                          silent_cases[i].name);
        else
            ck_assert_msg(service_number(receipt, "duplicate") == 1, "%s", silent_cases[i].name);
        ck_assert_msg(newest(service) == last, "%s", silent_cases[i].name);
    }
    /* a deployment that only predictions tell of is a shell, and shells are not told */
    service_take(service, "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"seen\","
                          "\"predictionUuid\":\"00000000-0000-4000-8000-000000000001\","
                          "\"startTimestampMs\":1704067200000,\"endTimestampMs\":1704067200001,"
                          "\"metrics\":{}}");
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT count(*) FROM entity"
                                                 " WHERE qualified_name = 'seen@cm'") == 1);
    ck_assert_int_eq(newest(service), last);
}
END_TEST

/* A message is there when its change is, and not before: neither is without the other. */
START_TEST(together_with_the_graph)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *refused = NULL;

    pg_exec(service->dsn, "ALTER TABLE outbox ADD CONSTRAINT no_more CHECK (key <> 'q')");
    refused = service_post(service, 400, "/v1/events", PROJECT("q", ""));
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM entity"), 0);
    service_take(service, PROJECT("p", ""));
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM outbox JOIN entity_audit USING (batch_id)"),
                     2);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM outbox"), 1);
}
END_TEST

/* ---- how it is read ---- */

enum { PROJECTS = 1200, PAGE = 7 };

static void take_projects(struct service *service, int count)
{
    AUTO(buf_done) struct buf body;

    buf_init(&body, SIZE_MAX);
    for (int i = 0; i < count; i++)
        buf_append_fmt(&body,
                       "%c{\"event\":\"project_created\",\"projectCrn\":\"p%d\","
                       "\"projectName\":\"P\",\"userName\":\"ada\"}",
                       i ? ',' : '[', i);
    buf_append_char(&body, ']');
    service_take(service, buf_text(&body));
}

/* Page by page is the same as all at once. */
START_TEST(pages)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *all = NULL, *none = NULL;
    size_t at = 0;
    int64_t last = 0;

    take_projects(service, PROJECTS);
    all = messages_get(service, "");
    ck_assert_uint_eq(json_array_size(all), PROJECTS);
    while (at < PROJECTS) {
        size_t limit = at < 100 ? PAGE : 501;
        AUTO(mem_free)
        char *query = xasprintf("?limit=%zu&after=%lld", limit, (long long)last);
        json_auto_t *page = messages_get(service, query);

        ck_assert_uint_eq(json_array_size(page), limit < PROJECTS - at ? limit : PROJECTS - at);
        for (size_t i = 0; i < json_array_size(page); i++, at++)
            service_check_same(json_array_get(page, i), json_array_get(all, at), "a line");
        last = service_number(json_array_get(all, at - 1), "number");
    }
    none = messages_get(service, "?after=9223372036854775807");
    ck_assert_uint_eq(json_array_size(none), 0);
}
END_TEST

static const struct {
    const char *name, *query, *code, *field;
} bad_cases[] = {
    { "a stranger", "?before=1", "unknown_parameter", "before" },
    { "no number", "?after=x", "invalid_parameter", "after" },
    { "negative", "?after=-1", "invalid_parameter", "after" },
    { "nothing", "?limit=0", "invalid_parameter", "limit" },
    { "twice", "?after=1&after=2", "repeated_parameter", "after" },
    { "at another time", "?as_of=1704067200000", "unknown_parameter", "as_of" },
};

START_TEST(bad_questions)
{
    AUTO(service_free) struct service *service = service_start();

    for (size_t i = 0; i < LENGTH(bad_cases); i++) {
        AUTO(mem_free) char *path = xasprintf(PATH "%s", bad_cases[i].query);
        json_auto_t *answer = service_get(service, 400, path);
        const json_t *error = json_object_get(answer, "error");

        ck_assert_msg(strcmp(service_text(error, "code"), bad_cases[i].code) == 0, "%s",
                      bad_cases[i].name);
        ck_assert_msg(strcmp(service_text(error, "field"), bad_cases[i].field) == 0, "%s",
                      bad_cases[i].name);
    }
}
END_TEST

/* A message of several megabytes is one line. */
START_TEST(a_long_line)
{
    enum { INPUTS = 10000 };
    AUTO(service_free) struct service *service = service_start();
    AUTO(buf_done) struct buf body;
    json_auto_t *lines = NULL;
    const json_t *entities;

    buf_init(&body, SIZE_MAX);
    buf_append_text(&body, "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\","
                           "\"modelName\":\"Model\",\"modelBuildCrn\":\"b\",\"buildNumber\":1,"
                           "\"userName\":\"bob\",\"inputs\":[");
    for (int i = 0; i < INPUTS; i++)
        buf_append_fmt(&body, "%s{\"typeName\":\"fs_path\",\"qualifiedName\":\"/data/%0200d@cm\"}",
                       i ? "," : "", i);
    buf_append_text(&body, "]}");
    service_take(service, buf_text(&body));
    lines = messages_get(service, "");
    ck_assert_uint_eq(json_array_size(lines), 1);
    entities = json_object_get(json_object_get(json_object_get(json_array_get(lines, 0), "message"),
                                               "message"),
                               "entities");
    entities = json_array_get(json_object_get(entities, "entities"), 1);
    ck_assert_uint_eq(json_array_size(
                          json_object_get(json_object_get(entities, "relationshipAttributes"),
                                          "inputs")),
                      INPUTS + 1);
}
END_TEST

/* More than is written at a time, of one batch: all of it, in order. */
START_TEST(many_megabytes)
{
    enum { BUILDS = 80, INPUTS = 200 };
    AUTO(service_free) struct service *service = service_start();
    AUTO(buf_done) struct buf body;
    AUTO(mem_free) char *inputs = NULL;
    json_auto_t *lines = NULL;

    buf_init(&body, SIZE_MAX);
    for (int i = 0; i < INPUTS; i++)
        buf_append_fmt(&body, "%s{\"typeName\":\"fs_path\",\"qualifiedName\":\"/data/%0500d@cm\"}",
                       i ? "," : "", i);
    inputs = xstrdup(buf_text(&body));
    buf_clear(&body);
    for (int i = 0; i < BUILDS; i++)
        buf_append_fmt(&body,
                       "%c{\"event\":\"model_built\",\"projectCrn\":\"p%02d\",\"modelCrn\":\"m\","
                       "\"modelName\":\"M\",\"modelBuildCrn\":\"b%02d\",\"buildNumber\":1,"
                       "\"userName\":\"bob\",\"inputs\":[%s]}",
                       i ? ',' : '[', i, i, inputs);
    buf_append_char(&body, ']');
    service_take(service, buf_text(&body));
    ck_assert_int_gt(pg_query_i64(service->dsn, "SELECT sum(bytes) FROM outbox"), 8 << 20);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(DISTINCT batch_id) FROM outbox"), 1);
    lines = messages_get(service, "");
    ck_assert_uint_eq(json_array_size(lines), BUILDS);
    for (int i = 0; i < BUILDS; i++) {
        AUTO(mem_free) char *key = xasprintf("p%02d", i);

        ck_assert_str_eq(service_text(json_array_get(lines, (size_t)i), "key"), key);
    }
}
END_TEST

/* ---- what is kept ---- */

START_TEST(old_ones_go)
{
    static const char *const environment[] = { "PLUMBLINE_OUTBOX_RETENTION=1h", NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = environment });
    json_auto_t *gone = NULL, *kept = NULL, *oldest = NULL, *none = NULL;
    AUTO(mem_free) char *want = NULL, *query = NULL, *last = NULL;
    const char *message;
    int64_t removed;

    take_projects(service, 5);
    service_take(service, PROJECT("p", ""));
    pg_exec(service->dsn, "UPDATE outbox SET recorded_at = recorded_at - interval '2 hours'"
                          " WHERE key <> 'p'");
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT count(*) FROM outbox") == 1);
    removed = pg_query_i64(service->dsn, "SELECT removed FROM outbox_position");
    ck_assert_int_eq(removed, newest(service) - 1);
    gone = service_get(service, 410, PATH "?after=0");
    ck_assert_str_eq(service_text(json_object_get(gone, "error"), "code"), "gone");
    message = service_text(json_object_get(gone, "error"), "message");
    want = xasprintf("the oldest number is %lld, go on with after=%lld", (long long)removed + 1,
                     (long long)removed);
    ck_assert_msg(strstr(message, want) != NULL, "%s", message);
    query = after(removed);
    kept = messages_get(service, query);
    oldest = messages_get(service, "");
    ck_assert_uint_eq(json_array_size(kept), 1);
    service_check_same(oldest, kept, "from the oldest");
    pg_exec(service->dsn, "UPDATE outbox SET recorded_at = recorded_at - interval '2 hours'");
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT count(*) FROM outbox") == 0);
    none = service_get(service, 410, PATH "?after=0");
    message = service_text(json_object_get(none, "error"), "message");
    last = xasprintf("there are no others yet: go on with after=%lld;", (long long)removed + 1);
    ck_assert_msg(strstr(message, last) != NULL, "%s", message);
}
END_TEST

START_TEST(too_many_go)
{
    static const char *const environment[] = { "PLUMBLINE_OUTBOX_MESSAGES_MAX=10", NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = environment });

    take_projects(service, 25);
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT count(*) FROM outbox") == 10);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT min(number) FROM outbox"),
                     newest(service) - 9);
    /* nobody was to publish them */
    ck_assert_int_eq(service_sample(service, "plumbline_outbox_dropped_total"), 0);
}
END_TEST

Suite *messages_suite(void)
{
    Suite *suite = suite_create("messages");
    TCase *tcase = tcase_create("messages");

    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, what_events_make);
    tcase_add_test(tcase, what_comes_late);
    tcase_add_test(tcase, an_envelope);
    tcase_add_test(tcase, what_is_not_told);
    tcase_add_test(tcase, together_with_the_graph);
    tcase_add_test(tcase, pages);
    tcase_add_test(tcase, bad_questions);
    tcase_add_test(tcase, a_long_line);
    tcase_add_test(tcase, many_megabytes);
    tcase_add_test(tcase, old_ones_go);
    tcase_add_test(tcase, too_many_go);
    suite_add_tcase(suite, tcase);
    return suite;
}
