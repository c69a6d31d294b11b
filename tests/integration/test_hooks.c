/* Messages of Atlas's hooks by HTTP, in place of the topic ATLAS_HOOK. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/message.h"
#include "base/mem.h"
#include "tests/harness/dice.h"
#include "tests/harness/pg.h"
#include "tests/harness/runner.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *hooks_suite(void);

enum { COLUMNS = 10200, COLUMNS_SHORT = 1000 };

#define TOPIC "/api/atlas/v2/notification/topic/"
#define HOOK TOPIC "ATLAS_HOOK"
#define ENVELOPE(message)                                                                          \
    "{\"source\":{},\"version\":{\"version\":\"1.0.0\",\"versionParts\":[1]},"                     \
    "\"msgCompressionKind\":\"NONE\",\"msgSplitIdx\":1,\"msgSplitCount\":1,\"msgSourceIP\":"       \
    "\"192.0.2.1\",\"msgCreatedBy\":\"hive\",\"msgCreationTime\":1704067200000,\"spooled\":false," \
    "\"message\":" message "}"
#define CREATE(entities)                                                                           \
    "{\"type\":\"ENTITY_CREATE_V2\",\"user\":\"hive\",\"entities\":{\"referredEntities\":{},"      \
    "\"entities\":[" entities "]}}"
#define TABLE(name, more)                                                                          \
    "{\"typeName\":\"hive_table\",\"guid\":\"-1\",\"attributes\":{\"qualifiedName\":\"" name       \
    "@cm\",\"name\":\"" name "\"" more "}}"
#define NAMED(type, name)                                                                          \
    "{\"typeName\":\"" type "\",\"uniqueAttributes\":{\"qualifiedName\":\"" name "@cm\"}}"
#define DELETE(entities)                                                                           \
    "{\"type\":\"ENTITY_DELETE_V2\",\"user\":\"hive\",\"entities\":[" entities "]}"

/* A query of which nobody knows the input and the output. */
#define QUERY                                                                                      \
    "{\"typeName\":\"hive_process\",\"guid\":\"-7\",\"isIncomplete\":false,\"provenanceType\":0,"  \
    "\"version\":0,\"proxy\":false,\"attributes\":{\"qualifiedName\":\"q@cm\",\"name\":\"q\","     \
    "\"userName\":\"hive\",\"operationType\":\"QUERY\",\"queryText\":\"insert\",\"queryPlan\":"    \
    "\"Not Supported\",\"queryId\":\"1\",\"startTime\":1704067200000,\"endTime\":1704067200000},"  \
    "\"relationshipAttributes\":{\"inputs\":[{\"typeName\":\"hive_table\",\"uniqueAttributes\":{"  \
    "\"qualifiedName\":\"d.raw@cm\"},\"relationshipType\":\"dataset_process_inputs\"}],"           \
    "\"outputs\":[{\"typeName\":\"hive_table\",\"uniqueAttributes\":{\"qualifiedName\":"           \
    "\"d.clean@cm\"},\"relationshipType\":\"process_dataset_outputs\"}]}}"

#define BUILT                                                                                      \
    "[{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"Model\"," \
    "\"modelBuildCrn\":\"b\",\"buildNumber\":1,\"userName\":\"bob\",\"createdAtMs\":"              \
    "1704067200000,\"linkingFile\":\"Model:\\n  hive_table_qualified_names: [d.t]\\n\"}]"
#define OVERWRITE                                                                                  \
    CREATE("{\"typeName\":\"ml_model_build\",\"guid\":\"-1\",\"attributes\":{\"qualifiedName\":"   \
           "\"b@cm\",\"name\":\"other\",\"version\":1}}")

static int64_t versions(struct service *service)
{
    return pg_query_i64(service->dsn,
                        "SELECT (SELECT count(*) FROM entity) + (SELECT count(*) FROM relationship)"
                        " + (SELECT count(*) FROM entity_audit)"
                        " + (SELECT count(*) FROM graph_batch)");
}

static int64_t active(struct service *service, const char *type, const char *name)
{
    return pg_query_i64(service->dsn,
                        "SELECT count(*) FROM entity WHERE type = '%s' AND qualified_name = '%s@cm'"
                        " AND to_batch IS NULL AND NOT is_deleted",
                        type, name);
}

static void post(struct service *service, const char *body)
{
    ck_assert_ptr_null(service_call(service, 204, "POST", HOOK, body, NULL));
}

/* The only row of rejected_event, as "source code message origin". Owned. */
static char *rejected(struct service *service)
{
    return pg_query_text(service->dsn,
                         "SELECT string_agg(concat_ws(' | ', source, code, message, origin), ' ')"
                         " FROM rejected_event");
}

/* ---- what is taken ---- */

START_TEST(made_once)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *state = NULL;
    int64_t before;

    post(service, ENVELOPE(CREATE(QUERY)));
    ck_assert_int_eq(active(service, "hive_process", "q"), 1);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM entity WHERE is_incomplete"),
                     2);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM relationship"), 2);
    before = versions(service);
    post(service, "[" ENVELOPE(CREATE(QUERY)) "," CREATE(QUERY) "]");
    ck_assert_int_eq(versions(service), before);
    post(service, CREATE(TABLE("d.raw", ",\"comment\":\"c\"")));
    state =
        pg_query_text(service->dsn, "SELECT concat_ws(' ', is_incomplete, attributes ->> 'comment',"
                                    " created_by, updated_by) FROM entity WHERE qualified_name ="
                                    " 'd.raw@cm' AND to_batch IS NULL");
    ck_assert_str_eq(state, "f c hive hive");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM outbox"), 0);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rejected_event"), 0);
    ck_assert_int_eq(service_sample(service, "plumbline_hook_messages_total"), 4);
}
END_TEST

/* Objects, texts, bare ones, in their order. */
START_TEST(several_in_order)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *list = json_pack("[s, s, s]", ENVELOPE(CREATE(TABLE("a", ",\"comment\":\"1\""))),
                                  CREATE(TABLE("a", ",\"comment\":\"2\"")),
                                  CREATE(TABLE("b", ",\"comment\":\"3\"")));
    AUTO(mem_free) char *body = json_dumps(list, 0), *comments = NULL;
    const char *path = TOPIC "/ATLAS_HOOK/";

    ck_assert_ptr_null(service_call(service, 204, "POST", path, body, NULL));
    post(service, "[]");
    comments = pg_query_text(service->dsn, "SELECT string_agg(attributes ->> 'comment', ' ' ORDER"
                                           " BY from_batch) FROM entity");
    ck_assert_str_eq(comments, "1 2 3");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM graph_batch"), 3);
}
END_TEST

/* A classification passes nothing on unless it says so, as with Atlas. */
START_TEST(made_with_classifications)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *state = NULL;

    json_decref(service_call(service, 200, "POST", "/api/atlas/v2/types/typedefs",
                             "{\"classificationDefs\":[{\"name\":\"PII\"},{\"name\":\"OLD\"}]}",
                             NULL));
    for (int i = 0; i < 2; i++)
        post(service, CREATE("{\"typeName\":\"hive_table\",\"guid\":\"-1\",\"attributes\":{"
                             "\"qualifiedName\":\"t\",\"name\":\"t\"},\"classifications\":[{"
                             "\"typeName\":\"PII\",\"propagate\":null},{\"typeName\":\"OLD\","
                             "\"propagate\":true}]}"));
    state = pg_query_text(service->dsn, "SELECT string_agg(concat_ws(' ', type, propagates,"
                                        " created_by), ', ' ORDER BY type) FROM classification");
    ck_assert_str_eq(state, "OLD t hive, PII f hive");
}
END_TEST

START_TEST(changed_in_part_and_deleted)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *state = NULL;
    int64_t before;

    post(service, CREATE(TABLE("t", ",\"owner\":\"x\"") "," QUERY));
    post(service, "{\"type\":\"ENTITY_PARTIAL_UPDATE_V2\",\"user\":\"\",\"entityId\":" NAMED(
                      "DataSet", "t") ",\"entity\":{\"referredEntities\":null,\"entity\":{"
                                      "\"typeName\":\"hive_table\",\"attributes\":{\"comment\":"
                                      "\"new\"}}}}");
    state = pg_query_text(service->dsn,
                          "SELECT concat_ws(' ', attributes ->> 'owner', attributes ->> 'comment',"
                          " updated_by) FROM entity WHERE qualified_name = 't@cm'"
                          " AND to_batch IS NULL");
    ck_assert_str_eq(state, "x new UNKNOWN");
    post(service, DELETE(NAMED("hive_table", "t") "," NAMED("hive_table", "nobody")));
    ck_assert_int_eq(active(service, "hive_table", "t"), 0);
    before = versions(service);
    post(service, DELETE(NAMED("hive_table", "t")));
    ck_assert_int_eq(versions(service), before);
    post(service, "{\"type\":\"ENTITY_DELETE\",\"typeName\":\"hive_process\",\"attribute\":"
                  "\"qualifiedName\",\"attributeValue\":\"q@cm\"}");
    ck_assert_int_eq(active(service, "hive_process", "q"), 0);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM relationship WHERE to_batch"
                                                " IS NULL AND NOT is_deleted"),
                     0);
}
END_TEST

/* As Atlas finds it: the type may stand in the entity alone. */
START_TEST(changed_by_guid)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = NULL, *body = NULL;

    post(service, CREATE(TABLE("t", "")));
    guid = pg_query_text(service->dsn, "SELECT guid::text FROM entity");
    body = xasprintf("{\"type\":\"ENTITY_PARTIAL_UPDATE_V2\",\"user\":\"u\",\"entityId\":{\"guid\":"
                     "\"%s\"},\"entity\":{\"entity\":{\"typeName\":\"hive_table\",\"attributes\":{"
                     "\"owner\":\"ada\"}}}}",
                     guid);
    post(service, body);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM entity WHERE to_batch IS NULL"
                                                " AND attributes ->> 'owner' = 'ada'"),
                     1);
}
END_TEST

/* ---- what is refused ---- */

/* Makes the database refuse hive_table "poison" with that SQLSTATE, and no more with NULL. */
static void poison(const char *dsn, const char *state)
{
    pg_exec(dsn, "DROP TRIGGER IF EXISTS poison ON entity");
    if (!state)
        return;
    pg_exec(dsn,
            "CREATE OR REPLACE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'no' USING ERRCODE = '%s'; END $$;"
            "CREATE TRIGGER poison BEFORE INSERT ON entity FOR EACH ROW WHEN"
            " (NEW.qualified_name = 'poison@cm') EXECUTE FUNCTION poison()",
            state);
}

START_TEST(refused_by_the_database)
{
    AUTO(service_free) struct service *service = service_start();

    poison(service->dsn, "P0001");
    post(service, "[" CREATE(TABLE("poison", "")) "," CREATE(TABLE("a", "")) "]");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rejected_event WHERE code ="
                                                " 'invalid_message'"),
                     1);
    ck_assert_int_eq(active(service, "hive_table", "a"), 1);
    poison(service->dsn, "42501");
    json_decref(service_call(service, 503, "POST", HOOK, CREATE(TABLE("poison", "")), NULL));
    poison(service->dsn, NULL);
    post(service, CREATE(TABLE("poison", "")));
    ck_assert_int_eq(active(service, "hive_table", "poison"), 1);
}
END_TEST

START_TEST(refused)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *answer = NULL, *method = NULL;

    answer = service_call(service, 400, "POST", TOPIC "ATLAS_ENTITIES", "[]", NULL);
    service_check_fault(answer, "ATLAS-400-00-101", "Unsupported topic name : ATLAS_ENTITIES");
    method = service_call(service, 405, "GET", HOOK, NULL, NULL);
    service_check_refused(service, "POST", HOOK, "[", "ATLAS-400-00-029",
                          "line 1, column 1: ']' expected near end of file");
    service_check_refused(service, "POST", HOOK, "\"nonsense\"", "ATLAS-400-00-029",
                          "message: not JSON near byte 8");
    service_check_refused(service, "POST", HOOK, "[1]", "ATLAS-400-00-029",
                          "message: not a JSON object");
    service_check_refused(service, "POST", HOOK, "{}", "ATLAS-400-00-029",
                          "notification: there is no type in it");
    service_check_refused(service, "POST", HOOK, "{\"type\":\"TYPE_CREATE\"}", "ATLAS-400-00-029",
                          "notification: TYPE_CREATE is not taken, only what becomes of entities");
    service_check_refused(service, "POST", HOOK,
                          "[{\"version\":{\"version\":\"2.0.0\"},\"message\":{}},{}]",
                          "ATLAS-400-00-029",
                          "message 1 of 2: message: its version is later than 1.0.0");
    service_check_refused(
        service, "POST", HOOK,
        "{\"type\":\"ENTITY_PARTIAL_UPDATE_V2\",\"entityId\":" NAMED(
            "hive_table", "t") ",\"entity\":{\"entity\":{}}}",
        "ATLAS-404-00-009",
        "Instance hive_table with unique attribute {qualifiedName=t@cm} does not exist");
    service_check_refused(service, "POST", HOOK,
                          CREATE("{\"typeName\":\"hive_table\",\"attributes\":{}}"),
                          "ATLAS-404-00-007",
                          "Invalid instance creation/updation parameters passed : "
                          "hive_table.qualifiedName: mandatory attribute value missing in type "
                          "Referenceable");
    service_check_refused(service, "POST", HOOK, DELETE("{\"guid\":\"g\"}"), "ATLAS-400-00-021",
                          "ObjectId is not valid {\"guid\":\"g\"}");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT (SELECT count(*) FROM rejected_event) +"
                                                " (SELECT count(*) FROM graph_batch)"),
                     0);
}
END_TEST

START_TEST(what_events_set_stays)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *row = NULL;
    int64_t before;

    service_take(service, BUILT);
    before = versions(service);
    service_check_refused(
        service, "POST", HOOK, OVERWRITE, "ATLAS-403-00-001",
        "hive is not authorized to perform update of ml_model_build.name: an event set "
        "it");
    ck_assert_int_eq(versions(service), before);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rejected_event"), 0);
    post(service, "[" OVERWRITE "," CREATE(TABLE("other", "")) "]");
    ck_assert_int_eq(active(service, "hive_table", "other"), 1);
    row = rejected(service);
    ck_assert_str_eq(row, "hook | ATLAS-403-00-001 | hive is not authorized to perform update of "
                          "ml_model_build.name: an event set it | {\"by\": \"http\", \"bytes\": "
                          "196, \"index\": 0}");
    ck_assert_int_eq(service_sample(service, "plumbline_hook_rejected_total"), 1);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM outbox"), 1);
}
END_TEST

/* A row of rejected_event goes back to where it came from, once it can be taken. */
START_TEST(replayed)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *url = daemon_url(service->daemon, ""), *output = NULL, *again = NULL;
    const char *const environment[] = { NULL };
    const char *const words[] = { "rejected",   "replay", "--all", "--database",
                                  service->dsn, "--url",  url,     NULL };

    post(service, "[{\"type\":\"ENTITY_PARTIAL_UPDATE_V2\",\"entityId\":" NAMED(
                      "hive_table", "t") ",\"entity\":{\"entity\":{\"attributes\":{\"comment\":"
                                         "\"c\"}}}}," CREATE(TABLE("u", "")) "]");
    ck_assert_int_ne(service_command(words, environment, &output), 0);
    ck_assert_ptr_nonnull(strstr(output, "Instance hive_table with unique attribute"));
    post(service, CREATE(TABLE("t", "")));
    ck_assert_int_eq(service_command(words, environment, &again), 0);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rejected_event"), 0);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM entity WHERE attributes ->>"
                                                " 'comment' = 'c'"),
                     1);
}
END_TEST

/* ---- parts ---- */

/* A table with a comment that can't be packed, as message_write sends it. */
static void parts_write(struct message_parts *parts, size_t comment_bytes, size_t bytes_max,
                        bool compresses, uint64_t number)
{
    const struct message_head head = { .id_prefix = SPAN_LITERAL("id"),
                                       .number = number,
                                       .created_ms = (int64_t)(comment_bytes % 10) };
    AUTO(buf_done) struct buf text;
    uint64_t seed = 3;

    buf_init(&text, SIZE_MAX);
    buf_append_text(&text, "{\"type\":\"ENTITY_CREATE_V2\",\"user\":\"hive\",\"entities\":{"
                           "\"entities\":[{\"typeName\":\"hive_table\",\"attributes\":{"
                           "\"qualifiedName\":\"cut@cm\",\"name\":\"cut\",\"comment\":\"");
    for (size_t i = 0; i < comment_bytes; i += 8)
        buf_append_fmt(&text, "%08x", dice_roll(&seed, UINT32_MAX));
    buf_append_text(&text, "\"}}]}}");
    message_write(&head, buf_span(&text), bytes_max, compresses, parts);
}

/* As Atlas's RestNotification sends it: texts in an array. */
static void post_part(struct service *service, const struct message_parts *parts, size_t at)
{
    json_auto_t *list = json_pack("[s]", buf_text(&parts->items[at]));
    AUTO(mem_free) char *body = json_dumps(list, 0);

    post(service, body);
}

/* What was acknowledged is kept: the daemon is killed between the parts. */
START_TEST(parts_in_any_order)
{
    AUTO(service_free) struct service *service = service_start();
    struct message_parts parts;
    int64_t before;

    parts_write(&parts, 20000, 4096, _i == 0, 1);
    ck_assert_uint_gt(parts.len, 3);
    for (size_t i = parts.len; i > 0; i--) {
        if (i == 2) {
            daemon_kill9(service->daemon);
            daemon_resume(service->daemon);
            post_part(service, &parts, 1);
        }
        ck_assert_int_eq(active(service, "hive_table", "cut"), 0);
        post_part(service, &parts, i - 1);
    }
    ck_assert_int_eq(active(service, "hive_table", "cut"), 1);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM hook_part"), 0);
    before = versions(service);
    for (size_t i = 0; i < parts.len; i++)
        post_part(service, &parts, i);
    ck_assert_int_eq(versions(service), before);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM hook_part"), 0);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rejected_event"), 0);
    message_parts_done(&parts);
}
END_TEST

START_TEST(whole_and_packed)
{
    AUTO(service_free) struct service *service = service_start();
    struct message_parts parts;

    parts_write(&parts, 4000, 4096, true, 1);
    ck_assert_uint_eq(parts.len, 1);
    post_part(service, &parts, 0);
    ck_assert_int_eq(active(service, "hive_table", "cut"), 1);
    message_parts_done(&parts);
}
END_TEST

static struct service *narrow_service(const char *const *environment)
{
    return service_start_with(&(struct daemon_options){ .environment = environment });
}

START_TEST(too_large)
{
    static const char *const environment[] = { "PLUMBLINE_HOOK_MESSAGE_BYTES_MAX=10000", NULL };
    AUTO(service_free) struct service *service = narrow_service(environment);
    AUTO(mem_free) char *row = NULL;
    struct message_parts parts, bomb;

    parts_write(&parts, 20000, 4096, false, 1);
    for (size_t i = 0; i < parts.len; i++)
        post_part(service, &parts, i);
    row = rejected(service);
    ck_assert_str_eq(row, "hook | too_large | 4 of its 8 parts have 14336 bytes, at most 13336 are "
                          "taken | {\"by\": \"http\", \"bytes\": 14336, \"index\": 0, \"msgId\": "
                          "\"id_1\", \"parts\": 8, \"partsCame\": 4}");
    ck_assert_int_eq(active(service, "hive_table", "cut"), 0);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM hook_part"), 0);
    parts_write(&bomb, 11000, 10000, true, 2);
    ck_assert_uint_eq(bomb.len, 1);
    service_check_refused(service, "POST", HOOK, buf_text(&bomb.items[0]), "ATLAS-413-00-001",
                          "message: more than 10000 bytes are packed in it");
    message_parts_done(&bomb);
    message_parts_done(&parts);
}
END_TEST

/* What is made of a message is bounded too: values cost more than their text. */
START_TEST(too_many_values)
{
    static const char *const environment[] = { "PLUMBLINE_HOOK_MESSAGE_BYTES_MAX=10000",
                                               "PLUMBLINE_HOOK_MEMORY_BYTES_MAX=40000", NULL };
    AUTO(service_free) struct service *service = narrow_service(environment);
    AUTO(buf_done) struct buf text;
    json_auto_t *list = NULL;
    AUTO(mem_free) char *body = NULL;

    buf_init(&text, SIZE_MAX);
    buf_append_text(&text, "{\"type\":\"ENTITY_CREATE_V2\",\"entities\":{\"entities\":[0");
    for (int i = 0; i < 250; i++)
        buf_append_text(&text, ",0");
    buf_append_text(&text, "]}}");
    list = json_pack("[s]", buf_text(&text));
    body = json_dumps(list, 0);
    service_check_refused(
        service, "POST", HOOK, body, "ATLAS-413-00-001",
        "message: 555 bytes with more values than can be read in 40000 bytes of memory");
}
END_TEST

/* 30 MiB in parts, of many columns with long comments: what reading it takes has a bound. */
START_TEST(as_large_as_may_be)
{
    AUTO(mem_free) char *lean = daemon_lean();
    const char *const environment[] = { lean, NULL };
    AUTO(service_free) struct service *service = narrow_service(environment);
    const struct message_head head = { .id_prefix = SPAN_LITERAL("large"), .number = 1 };
    AUTO(buf_done) struct buf text;
    int columns = runner_short() || IS_SANITIZED ? COLUMNS_SHORT : COLUMNS;
    struct message_parts parts;
    int64_t before;

    buf_init(&text, SIZE_MAX);
    buf_append_text(&text, "{\"type\":\"ENTITY_CREATE_V2\",\"user\":\"hive\",\"entities\":{"
                           "\"entities\":[" TABLE("wide", ""));
    for (int i = 0; i < columns; i++)
        buf_append_fmt(&text,
                       ",{\"typeName\":\"hive_column\",\"attributes\":{\"qualifiedName\":"
                       "\"wide.%d@cm\",\"name\":\"c\",\"type\":\"int\",\"comment\":\"%03000d\"},"
                       "\"relationshipAttributes\":{\"table\":{\"guid\":\"-1\"}}}",
                       i, i);
    buf_append_text(&text, "]}}");
    ck_assert_uint_gt(text.len, (size_t)columns * 3084);
    message_write(&head, buf_span(&text), MESSAGE_BYTES_MAX, _i == 0, &parts);
    ck_assert_uint_gt(parts.len, _i == 0 ? 0 : 3);
    before = daemon_peak_bytes(service->daemon);
    for (size_t i = 0; i < parts.len; i++)
        post_part(service, &parts, i);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM entity"), columns + 1);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rejected_event"), 0);
    daemon_check_growth(service->daemon, before, INT64_C(384) << 20);
    message_parts_done(&parts);
}
END_TEST

/* Parts that are waited for in vain: they are given up, and the message may come once more. */
START_TEST(incomplete)
{
    static const char *const environment[] = { "PLUMBLINE_HOOK_WAIT=1s", NULL };
    AUTO(service_free) struct service *service = narrow_service(environment);
    AUTO(mem_free) char *code = NULL, *message = NULL;
    struct message_parts parts;

    parts_write(&parts, 8000, 4096, false, 1);
    post_part(service, &parts, 0);
    WAIT_UNTIL(30000, pg_query_i64(service->dsn, "SELECT count(*) FROM rejected_event") == 1);
    code = pg_query_text(service->dsn, "SELECT code || ' ' || (origin ->> 'msgId') || ' ' ||"
                                       " (origin ->> 'bytes') FROM rejected_event");
    ck_assert_str_eq(code, "incomplete id_1 3584");
    message = pg_query_text(service->dsn, "SELECT message FROM rejected_event");
    ck_assert_int_eq(strncmp(message, "1 of its 4 parts have come since 20", 35), 0);
    WAIT_UNTIL(30000, pg_query_i64(service->dsn, "SELECT count(*) FROM hook_message") == 0);
    message_parts_done(&parts);
}
END_TEST

/* While no daemon runs, the other parts may stand in a topic: that is not waited. */
START_TEST(waited_only_while_somebody_reads)
{
    AUTO(service_free) struct service *service = service_start();
    struct message_parts parts;

    parts_write(&parts, 8000, 4096, false, 1);
    post_part(service, &parts, 0);
    daemon_kill9(service->daemon);
    pg_exec(service->dsn, "UPDATE hook_message SET since = since - interval '1 h';"
                          "UPDATE hook_round SET last = last - interval '1 h'");
    daemon_resume(service->daemon);
    WAIT_UNTIL(30000, pg_query_i64(service->dsn, "SELECT count(*) FROM hook_round"
                                                 " WHERE last > now() - interval '5 min'"));
    for (size_t i = 1; i < parts.len; i++)
        post_part(service, &parts, i);
    ck_assert_int_eq(active(service, "hive_table", "cut"), 1);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rejected_event"), 0);
    message_parts_done(&parts);
}
END_TEST

/* Another message with the same msgId, cut in as many parts, is not the one that was taken before,
 * and nothing of one that waits becomes a part of it. */
START_TEST(same_id)
{
    AUTO(service_free) struct service *service = service_start();
    struct message_parts one, other;
    AUTO(mem_free) char *row = NULL;

    parts_write(&one, 20000, 4096, false, 1);
    parts_write(&other, 20008, 4096, false, 1);
    ck_assert_uint_eq(one.len, other.len);
    for (size_t i = 0; i < one.len; i++)
        post_part(service, &one, i);
    ck_assert_int_eq(active(service, "hive_table", "cut"), 1);
    for (size_t i = 0; i < other.len; i++)
        post_part(service, &other, i);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT length(attributes ->> 'comment') FROM"
                                                " entity WHERE to_batch IS NULL"),
                     20008);
    post_part(service, &one, 0);
    for (size_t i = 0; i < other.len; i++)
        post_part(service, &other, i);
    row = rejected(service);
    ck_assert_str_eq(row, "hook | incomplete | 1 of its 8 parts had come when one came of another "
                          "message with the same msgId | {\"by\": \"http\", \"bytes\": 3584, "
                          "\"index\": 0, \"msgId\": \"id_1\", \"parts\": 8, \"partsCame\": 1}");
    ck_assert_int_eq(service_sample(service, "plumbline_hook_rejected_total"), 1);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM hook_part"), 0);
    message_parts_done(&one);
    message_parts_done(&other);
}
END_TEST

/* A message that is whole by its last part and can't be taken is answered as taken over: its other
 * parts were. */
START_TEST(parts_of_nonsense)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *row = NULL;

    post(service, "{\"version\":{},\"msgId\":\"x\",\"msgSplitIdx\":0,\"msgSplitCount\":2,"
                  "\"message\":\"AAAA\"}");
    post(service, "{\"version\":{},\"msgId\":\"x\",\"msgSplitIdx\":1,\"msgSplitCount\":2,"
                  "\"message\":\"AAAA\"}");
    row = rejected(service);
    ck_assert_str_eq(row, "hook | invalid_message | message: not JSON near byte 1 | {\"by\": "
                          "\"http\", \"bytes\": 8, \"index\": 0, \"msgId\": \"x\", \"parts\": 2, "
                          "\"partsCame\": 2}");
    post(service, "{\"version\":{},\"msgId\":\"x\",\"msgSplitIdx\":1,\"msgSplitCount\":2,"
                  "\"message\":\"AAAA\"}");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rejected_event"), 1);
}
END_TEST

/* ---- once ---- */

/* The connection is lost around COMMIT of what would not be the same the second time. */
START_TEST(cut_at_commit)
{
    AUTO(service_free)
    struct service *service = service_start_proxied(&(struct daemon_options){ 0 });

    proxy_aim(service->proxy, "plumbline read");
    proxy_arm(service->proxy, proxy_cuts[_i].mode, 0);
    post(service, "[" CREATE(TABLE("t", "")) "," DELETE(NAMED("hive_table", "t")) "," CREATE(
                      TABLE("t", "")) ",{}]");
    ck_assert_msg(proxy_sprung(service->proxy), "%s", proxy_cuts[_i].name);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(DISTINCT guid) FROM entity"), 2);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM graph_batch"), 3);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rejected_event"), 1);
}
END_TEST

Suite *hooks_suite(void)
{
    Suite *suite = suite_create("hooks");
    TCase *tc = tcase_create("hooks");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, made_once);
    tcase_add_test(tc, several_in_order);
    tcase_add_test(tc, made_with_classifications);
    tcase_add_test(tc, changed_in_part_and_deleted);
    tcase_add_test(tc, changed_by_guid);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, refused_by_the_database);
    tcase_add_test(tc, what_events_set_stays);
    tcase_add_test(tc, replayed);
    tcase_add_loop_test(tc, parts_in_any_order, 0, 2);
    tcase_add_test(tc, whole_and_packed);
    tcase_add_test(tc, too_large);
    tcase_add_test(tc, too_many_values);
    tcase_add_loop_test(tc, as_large_as_may_be, 0, 2);
    tcase_add_test(tc, incomplete);
    tcase_add_test(tc, waited_only_while_somebody_reads);
    tcase_add_test(tc, same_id);
    tcase_add_test(tc, parts_of_nonsense);
    tcase_add_loop_test(tc, cut_at_commit, 0, PROXY_CUTS);
    suite_add_tcase(suite, tc);
    return suite;
}
