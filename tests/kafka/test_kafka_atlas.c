/* Lineage messages as they stand in a topic, read by Apache Atlas's own classes, and messages that
 * these write, read by us. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/broker.h"
#include "tests/harness/dice.h"
#include "tests/harness/jars.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"
#include "tests/kafka/rig.h"

Suite *kafka_atlas_suite(void);

enum { PUBLISH_MS_MAX = 60000, TABLES_PACKED = 200, TABLES_CUT = 4000 };

/* ---- Atlas ---- */

static void file_write(const char *dir, const char *name, const char *text)
{
    AUTO(mem_free) char *path = xasprintf("%s/%s", dir, name);
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

/* Its lines as an array of JSON. Owned. */
static json_t *file_read(const char *path)
{
    json_t *lines = json_array();
    FILE *file = fopen(path, "r");
    json_error_t error;
    json_t *line;

    ck_assert_ptr_nonnull(file);
    while ((line = json_loadf(file, JSON_DISABLE_EOF_CHECK, &error)))
        ck_assert_int_eq(json_array_append_new(lines, line), 0);
    (void)fclose(file);
    return lines;
}

/* What Atlas reads from these messages. Owned. */
static json_t *atlas_read(const struct broker_records *records)
{
    AUTO(mem_free) char *jars = jars_path("atlas"), *dir = temp_dir(), *log = temp_log("java");
    AUTO(mem_free) char *from = xasprintf("%s/from", dir), *to = xasprintf("%s/to", dir);
    AUTO(buf_done) struct buf lines;

    buf_init(&lines, SIZE_MAX);
    for (size_t i = 0; i < records->len; i++)
        buf_append_fmt(&lines, "%s\n", records->items[i].value);
    file_write(dir, "from", buf_text(&lines));
    file_write(dir, "atlas-application.properties", "");
    jars_run(jars, dir, "tests/kafka/ReadHook.java", (const char *const[]){ from, to, NULL }, log);
    return file_read(to);
}

/* The messages that Atlas's hooks would send, cut at 8 KiB; `how`: NULL, or "old". Owned. */
static json_t *atlas_write(const char *how)
{
    AUTO(mem_free) char *jars = jars_path("atlas"), *dir = temp_dir(), *log = temp_log("java");
    AUTO(mem_free) char *to = xasprintf("%s/to", dir);

    file_write(dir, "atlas-application.properties",
               "atlas.notification.message.max.length.bytes=8192\n");
    jars_run(jars, dir, "tests/kafka/SendHook.java", (const char *const[]){ to, how, NULL }, log);
    return file_read(to);
}

/* ---- the messages ---- */

/* A daemon that publishes to a topic of one partition, in messages of 8 KiB. */
static void publisher_init(struct rig *rig, struct broker *broker, const char *topic)
{
    *rig = (struct rig){ .topic = broker_topic_name("in") };
    broker_topic_make(broker, rig->topic, 1, NULL);
    broker_topic_make(broker, topic, 1, NULL);
    rig->variables[4] = xasprintf("PLUMBLINE_KAFKA_LINEAGE_TOPIC=%s", topic);
    rig->variables[5] = xstrdup("PLUMBLINE_KAFKA_MESSAGE_BYTES_MAX=8192");
    rig_start(rig, broker, rig->topic, NULL, "session.timeout.ms=8000\n");
}

static void build_write(struct buf *out, const char *crn, int tables, uint64_t *seed)
{
    buf_append_fmt(out,
                   ",{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\","
                   "\"modelName\":\"Gr\xC3\xBC\xC3\x9F \\u4f60\",\"modelBuildCrn\":\"%s\","
                   "\"buildNumber\":7,\"userName\":\"bob\",\"metadata\":{\"q\":\"a \\\"b\\\"\"},"
                   "\"inputs\":[",
                   crn);
    for (int i = 0; i < tables; i++)
        buf_append_fmt(out, "%s{\"typeName\":\"hive_table\",\"qualifiedName\":\"x.%x%x@cm\"}",
                       i ? "," : "", seed ? dice_roll(seed, UINT32_MAX) : 0, i);
    buf_append_text(out, "]}");
}

static void take_events(struct service *service)
{
    AUTO(buf_done) struct buf body;
    uint64_t seed = 12;

    buf_init(&body, SIZE_MAX);
    buf_append_text(&body, "[{\"event\":\"project_created\",\"projectCrn\":\"p\",\"projectName\":"
                           "\"P\",\"userName\":\"ada\",\"createdAtMs\":1704067200000}");
    build_write(&body, "whole", 1, NULL);
    build_write(&body, "packed", TABLES_PACKED, NULL);
    build_write(&body, "cut", TABLES_CUT, &seed);
    buf_append_text(&body,
                    ",{\"event\":\"model_deployed\",\"modelBuildCrn\":\"whole\","
                    "\"modelDeploymentCrn\":\"d\",\"status\":\"deploying\","
                    "\"statusAtMs\":1704067203000,\"cpuMillicores\":5,\"userName\":\"eve\"}]");
    service_take(service, buf_text(&body));
    service_take(service, "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"whole\","
                          "\"modelDeploymentCrn\":\"d\",\"status\":\"deployed\","
                          "\"statusAtMs\":1704067204000,\"userName\":\"eve\"}");
}

/* The notifications as the outbox has them. Owned. */
static json_t *outbox_read(struct service *service)
{
    AUTO(mem_free) char *text = service_get_text(service, 200, "/v1/lineage/messages", NULL);
    json_t *list = json_array();

    for (const char *at = text; *at; at += strcspn(at, "\n") + 1) {
        AUTO(mem_free) char *line = xmemdup0(at, strcspn(at, "\n"));
        json_auto_t *json = service_json(line);
        json_t *notification = json_object_get(json_object_get(json, "message"), "message");

        ck_assert_int_eq(json_array_append(list, notification), 0);
    }
    return list;
}

/* What Atlas writes leaves out what is null and adds nothing. */
static void check_read(const json_t *have, const json_t *want)
{
    ck_assert_uint_eq(json_array_size(have), json_array_size(want));
    for (size_t i = 0; i < json_array_size(want); i++)
        service_check_same(json_array_get(have, i), json_array_get(want, i), "a notification");
}

static int64_t active(const char *dsn, const char *what)
{
    return pg_query_i64(dsn,
                        "SELECT count(*) FROM entity WHERE to_batch IS NULL AND NOT is_deleted"
                        " AND %s",
                        what);
}

/* What the messages have made. */
static void check_graph(const char *dsn)
{
    AUTO(mem_free) char *whole = NULL, *packed = NULL;

    ck_assert_int_eq(active(dsn, "type = 'hive_table'"), 3);
    ck_assert_int_eq(active(dsn, "type = 'hive_column'"), 32);
    ck_assert_int_eq(active(dsn, "type = 'hive_process'"), 1);
    ck_assert_int_eq(active(dsn, "is_incomplete AND qualified_name = 'later@cm'"), 1);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM entity WHERE to_batch IS NULL"
                                       " AND is_deleted"),
                     501);
    whole = pg_query_text(dsn, "SELECT concat_ws(' ', attributes ->> 'comment', updated_by) FROM"
                               " entity WHERE qualified_name = 'whole@cm' AND to_batch IS NULL");
    ck_assert_str_eq(whole, "changed eve");
    packed = pg_query_text(dsn, "SELECT concat_ws(' ', attributes ->> 'comment', attributes ->>"
                                " 'owner', attributes ->> 'createTime', updated_by) FROM entity"
                                " WHERE qualified_name = 'packed@cm' AND to_batch IS NULL");
    ck_assert_str_eq(packed,
                     "Gr\xC3\xBC\xC3\x9F \xF0\x9F\x8C\xB3 \"quoted\" ada 1704067200000 bob");
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM rejected_event"), 0);
}

START_TEST(what_atlas_sends_is_read)
{
    AUTO(broker_free) struct broker *broker = broker_mock();
    AUTO(rig_done) struct rig rig = { .topic = broker_topic_name("in") };
    AUTO(producer_free) struct producer *producer = producer_new(broker, NULL);
    AUTO(mem_free) char *topic = broker_topic_name("hook");
    json_auto_t *messages = atlas_write(NULL);
    AUTO(mem_free) char *body = json_dumps(messages, 0);
    AUTO(service_free) struct service *other = service_start();
    size_t packed = 0, len = json_array_size(messages);

    broker_topic_make(broker, rig.topic, 1, NULL);
    broker_topic_make(broker, topic, 1, NULL);
    rig.variables[4] = xasprintf("PLUMBLINE_KAFKA_HOOK_TOPIC=%s", topic);
    rig_start(&rig, broker, rig.topic, NULL, "session.timeout.ms=8000\n");
    for (size_t i = 0; i < len; i++) {
        const json_t *message = json_array_get(messages, i);
        AUTO(mem_free) char *text = json_dumps(message, JSON_COMPACT);

        packed += strcmp(service_text(message, "msgCompressionKind"), "GZIP") == 0;
        producer_send_text(producer, topic, text);
    }
    ck_assert_uint_gt(len, 8); /* of seven notifications */
    ck_assert_uint_eq(packed, len - 5);
    producer_flush(producer);
    WAIT_UNTIL(PUBLISH_MS_MAX, pg_query_i64(rig.service->dsn,
                                            "SELECT coalesce(max(next_offset), 0) FROM kafka_offset"
                                            " WHERE topic = '%s'",
                                            topic) == (int64_t)len);
    check_graph(rig.service->dsn);
    ck_assert_ptr_null(service_call(other, 204, "POST",
                                    "/api/atlas/v2/notification/topic/ATLAS_HOOK", body, NULL));
    check_graph(other->dsn);
}
END_TEST

/* What was in use before Atlas 1.0, in the form that these classes write for it. */
START_TEST(what_old_hooks_send_is_read)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *messages = atlas_write("old"), *list = json_array();
    AUTO(mem_free) char *body = NULL, *table = NULL, *db = NULL, *storage = NULL;
    AUTO(mem_free) char *traits = NULL;
    const char *dsn = service->dsn;

    json_decref(service_call(service, 200, "POST", "/api/atlas/v2/types/typedefs",
                             "{\"classificationDefs\":[{\"name\":\"PII\"}]}", NULL));
    for (size_t i = 0; i < json_array_size(messages); i++) {
        AUTO(mem_free) char *text = json_dumps(json_array_get(messages, i), JSON_COMPACT);

        ck_assert_int_eq(json_array_append_new(list, json_string(text)), 0);
    }
    ck_assert_uint_eq(json_array_size(list), 5);
    body = json_dumps(list, 0);
    for (int again = 0; again < 2; again++)
        ck_assert_ptr_null(service_call(service, 204, "POST",
                                        "/api/atlas/v2/notification/topic/ATLAS_HOOK", body, NULL));
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM rejected_event"), 0);
    ck_assert_int_eq(active(dsn, "type = 'hive_table'"), 2);
    ck_assert_int_eq(active(dsn, "type = 'hive_column'"), 303);
    ck_assert_int_eq(active(dsn, "type = 'hive_process'"), 1);
    ck_assert_int_eq(active(dsn, "is_incomplete"), 0);
    ck_assert_int_eq(active(dsn, "type = 'hive_storagedesc'"), 2);
    table = pg_query_text(dsn, "SELECT concat_ws(' ', attributes ->> 'owner', attributes ->>"
                               " 'createTime', attributes -> 'parameters', updated_by) FROM entity"
                               " WHERE qualified_name = 'raw@cm' AND to_batch IS NULL");
    ck_assert_str_eq(table, "ada 1704067200000 {\"a\": \"1\", \"b\": \"Gr\xC3\xBC\xC3\x9F\"} bob");
    db = pg_query_text(dsn, "SELECT attributes ->> 'ownerType' FROM entity"
                            " WHERE qualified_name = 'db@cm' AND to_batch IS NULL");
    ck_assert_str_eq(db, "ROLE");
    storage = pg_query_text(dsn, "SELECT attributes #>> '{serdeInfo,attributes,serializationLib}'"
                                 " FROM entity WHERE qualified_name = 'raw@cm_storage'"
                                 " AND to_batch IS NULL");
    ck_assert_str_eq(storage, "lazy");
    traits = pg_query_text(dsn, "SELECT string_agg(qualified_name, ' ' ORDER BY qualified_name)"
                                " FROM classification JOIN entity USING (entity_id) WHERE"
                                " classification.type = 'PII' AND classification.to_batch IS NULL"
                                " AND entity.to_batch IS NULL");
    ck_assert_str_eq(traits, "clean@cm raw@cm");
}
END_TEST

static size_t count_kind(const struct broker_records *records, bool is_cut)
{
    size_t count = 0;

    for (size_t i = 0; i < records->len; i++) {
        json_auto_t *json = service_json(records->items[i].value);

        count += strcmp(service_text(json, "msgCompressionKind"), "GZIP") == 0 &&
                 (service_number(json, "msgSplitCount") > 1) == is_cut;
    }
    return count;
}

START_TEST(atlas_reads_what_is_sent)
{
    AUTO(broker_free) struct broker *broker = broker_mock();
    AUTO(rig_done) struct rig rig;
    AUTO(mem_free) char *topic = broker_topic_name("hook");
    AUTO(broker_records_done) struct broker_records records = { 0 };
    json_auto_t *want = NULL, *have = NULL;

    publisher_init(&rig, broker, topic);
    take_events(rig.service);
    WAIT_UNTIL(PUBLISH_MS_MAX,
               pg_query_i64(rig.service->dsn, "SELECT published - (SELECT max(number) FROM outbox)"
                                              " FROM outbox_position") == 0);
    broker_topic_read(broker, topic, 0, &records);
    ck_assert_uint_eq(count_kind(&records, false), 1);
    ck_assert_uint_gt(count_kind(&records, true), 2);
    want = outbox_read(rig.service);
    ck_assert_uint_eq(json_array_size(want), 6);
    have = atlas_read(&records);
    check_read(have, want);
}
END_TEST

Suite *kafka_atlas_suite(void)
{
    AUTO(mem_free) char *jars = jars_path("atlas");
    Suite *suite;
    TCase *tcase;

    if (!jars)
        return NULL;
    suite = pg_suite("kafka_atlas", 240, &tcase);
    tcase_add_test(tcase, atlas_reads_what_is_sent);
    tcase_add_test(tcase, what_atlas_sends_is_read);
    tcase_add_test(tcase, what_old_hooks_send_is_read);
    return suite;
}
