/* Messages of Atlas's hooks from a topic: each counts once, and what can't be taken is kept. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/message.h"
#include "base/mem.h"
#include "tests/harness/broker.h"
#include "tests/harness/dice.h"
#include "tests/harness/pg.h"
#include "tests/harness/proxy.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"
#include "tests/kafka/rig.h"

Suite *kafka_hooks_suite(void);

enum { HOOKS_MS_MAX = 60000, PAIRS = 400, PARTITIONS = 4 };

#define CREATE(entities)                                                                           \
    "{\"version\":{\"version\":\"1.0.0\",\"versionParts\":[1]},\"msgCompressionKind\":\"NONE\","   \
    "\"msgSplitIdx\":1,\"msgSplitCount\":1,\"message\":{\"type\":\"ENTITY_CREATE_V2\",\"user\":"   \
    "\"hive\",\"entities\":{\"entities\":[" entities "]}}}"
#define TABLE(name)                                                                                \
    "{\"typeName\":\"hive_table\",\"guid\":\"-1\",\"attributes\":{\"qualifiedName\":\"" name       \
    "\",\"name\":\"t\"}}"
#define DELETE(name)                                                                               \
    "{\"type\":\"ENTITY_DELETE_V2\",\"user\":\"hive\",\"entities\":[{\"typeName\":\"hive_table\"," \
    "\"uniqueAttributes\":{\"qualifiedName\":\"" name "\"}}]}"
#define OVERWRITE                                                                                  \
    CREATE("{\"typeName\":\"ml_project\",\"attributes\":{\"qualifiedName\":\"p@cm\",\"name\":"     \
           "\"other\"}}")

/* A daemon that reads events from one topic and messages of hooks from another. */
struct hooks {
    struct rig rig;
    char *topic; /* owned */
};

static void hooks_start_wide(struct hooks *hooks, struct broker *broker, const char *dsn,
                             const char *more, int partitions)
{
    *hooks = (struct hooks){ .topic = broker_topic_name("hooks") };
    hooks->rig.topic = broker_topic_name("in");
    hooks->rig.variables[4] = xasprintf("PLUMBLINE_KAFKA_HOOK_TOPIC=%s", hooks->topic);
    hooks->rig.variables[5] = xstrdup("PLUMBLINE_KAFKA_LINEAGE_MESSAGES=false");
    if (more)
        hooks->rig.variables[6] = xstrdup(more);
    broker_topic_make(broker, hooks->rig.topic, 1, NULL);
    broker_topic_make(broker, hooks->topic, partitions, NULL);
    rig_start(&hooks->rig, broker, hooks->rig.topic, dsn, NULL);
}

static void hooks_start(struct hooks *hooks, struct broker *broker, const char *dsn,
                        const char *more)
{
    hooks_start_wide(hooks, broker, dsn, more, 1);
}

static void hooks_done(struct hooks *hooks)
{
    rig_done(&hooks->rig);
    free(hooks->topic);
}

static void hooks_done_auto(struct hooks *hooks)
{
    hooks_done(hooks);
}

static const char *dsn_of(const struct hooks *hooks)
{
    return hooks->rig.service->dsn;
}

/* Waits until the messages before `next` are stored. */
static void hooks_wait(const struct hooks *hooks, const char *dsn, int64_t next)
{
    WAIT_UNTIL(HOOKS_MS_MAX, pg_query_i64(dsn,
                                          "SELECT coalesce(max(next_offset), 0) FROM kafka_offset"
                                          " WHERE topic = '%s'",
                                          hooks->topic) == next);
}

static int64_t versions(const char *dsn)
{
    return pg_query_i64(dsn, "SELECT (SELECT count(*) FROM entity) + (SELECT count(*) FROM"
                             " relationship) + (SELECT count(*) FROM entity_audit)"
                             " + (SELECT count(*) FROM graph_batch)");
}

/* What can't be taken is kept, and the next one goes on. */
START_TEST(taken_and_rejected)
{
    AUTO(hooks_done) struct hooks hooks;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    AUTO(mem_free) char *rows = NULL, *origin = NULL, *want = NULL;

    hooks_start(&hooks, broker_shared(), NULL, NULL);
    service_take(hooks.rig.service,
                 "[{\"event\":\"project_created\",\"projectCrn\":\"p\",\"projectName\":\"P\","
                 "\"userName\":\"ada\"}]");
    producer_send_text(producer, hooks.topic, CREATE(TABLE("a")));
    producer_send_text(producer, hooks.topic, "nonsense");
    producer_send_text(producer, hooks.topic, OVERWRITE);
    producer_send_text(producer, hooks.topic, "{\"type\":\"TYPE_CREATE\"}");
    producer_send(producer,
                  &(struct producer_message){ .topic = hooks.topic, .key = "k", .value = NULL });
    producer_send_text(producer, hooks.topic, CREATE(TABLE("b")));
    producer_flush(producer);
    hooks_wait(&hooks, dsn_of(&hooks), 6);
    ck_assert_int_eq(pg_query_i64(dsn_of(&hooks),
                                  "SELECT count(*) FROM entity WHERE qualified_name IN ('a', 'b')"),
                     2);
    rows = pg_query_text(dsn_of(&hooks),
                         "SELECT string_agg(concat_ws(' ', source, origin ->> 'offset', code,"
                         " message, convert_from(event, 'UTF8')), E'\\n' ORDER BY rejected_event)"
                         " FROM rejected_event");
    ck_assert_str_eq(rows,
                     "hook 1 invalid_message message: not JSON near byte 8 nonsense\n"
                     "hook 2 ATLAS-403-00-001 hive is not authorized to perform update of "
                     "ml_project.name: an event set it " OVERWRITE "\n"
                     "hook 3 unsupported_kind notification: TYPE_CREATE is not taken, only what "
                     "becomes of entities {\"type\":\"TYPE_CREATE\"}");
    origin = pg_query_text(dsn_of(&hooks), "SELECT (origin::jsonb - 'timestampMs' - 'cluster')"
                                           " FROM rejected_event WHERE code = 'invalid_message'");
    want = xasprintf("{\"bytes\": 8, \"topic\": \"%s\", \"offset\": 1, \"partition\": 0}",
                     hooks.topic);
    ck_assert_str_eq(origin, want);
    ck_assert_int_eq(pg_query_i64(dsn_of(&hooks), "SELECT count(*) FROM outbox"), 1);
    ck_assert_int_eq(service_sample(hooks.rig.service, "plumbline_hook_messages_total"), 5);
    ck_assert_int_eq(service_sample(hooks.rig.service, "plumbline_hook_rejected_total"), 3);
    service_check_balance(hooks.rig.service, 1, 0, 0);
}
END_TEST

/* Read from the beginning once more, nothing changes. */
START_TEST(redelivery_changes_nothing)
{
    AUTO(hooks_done) struct hooks hooks;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    int64_t before;

    hooks_start(&hooks, broker_shared(), NULL, NULL);
    for (int i = 0; i < 50; i++) {
        AUTO(mem_free)
        char *text = xasprintf(CREATE("{\"typeName\":\"Process\",\"guid\":\"-1\",\"attributes\":{"
                                      "\"qualifiedName\":\"p%d\",\"name\":\"p\",\"inputs\":[{"
                                      "\"typeName\":\"hive_table\",\"uniqueAttributes\":{"
                                      "\"qualifiedName\":\"t%d\"}}]}}"),
                               i, i % 7);

        producer_send_text(producer, hooks.topic, text);
    }
    producer_flush(producer);
    hooks_wait(&hooks, dsn_of(&hooks), 50);
    before = versions(dsn_of(&hooks));
    ck_assert_int_eq(pg_query_i64(dsn_of(&hooks), "SELECT count(*) FROM entity"), 57);
    ck_assert_int_eq(daemon_stop(hooks.rig.service->daemon), 0);
    pg_exec(dsn_of(&hooks), "UPDATE kafka_offset SET next_offset = 0, mark_offset = -1");
    daemon_resume(hooks.rig.service->daemon);
    hooks_wait(&hooks, dsn_of(&hooks), 50);
    ck_assert_int_eq(versions(dsn_of(&hooks)), before);
    ck_assert_int_eq(pg_query_i64(dsn_of(&hooks), "SELECT count(*) FROM rejected_event"), 0);
}
END_TEST

/* Killed over and over, or stopped: what would not be the same the second time is done once. */
START_TEST(once)
{
    AUTO(hooks_done) struct hooks hooks;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);

    hooks_start(&hooks, broker_shared(), NULL, NULL);
    for (int i = 0; i < PAIRS; i++) {
        producer_send_text(producer, hooks.topic, CREATE(TABLE("t")));
        producer_send_text(producer, hooks.topic, DELETE("t"));
    }
    producer_flush(producer);
    for (int kill = 1; kill <= 3; kill++) {
        WAIT_UNTIL(HOOKS_MS_MAX,
                   pg_query_i64(dsn_of(&hooks), "SELECT count(*) FROM entity") >= PAIRS / 8 * kill);
        if (_i == 0)
            daemon_kill9(hooks.rig.service->daemon);
        else
            ck_assert_int_eq(daemon_stop(hooks.rig.service->daemon), 0);
        daemon_resume(hooks.rig.service->daemon);
    }
    hooks_wait(&hooks, dsn_of(&hooks), 2 * PAIRS);
    ck_assert_int_eq(pg_query_i64(dsn_of(&hooks), "SELECT count(DISTINCT guid) FROM entity"),
                     PAIRS);
    ck_assert_int_eq(pg_query_i64(dsn_of(&hooks), "SELECT count(*) FROM graph_batch"), 2 * PAIRS);
}
END_TEST

/* Two daemons of one group; one comes late and is killed, so that partitions change hands twice. */
START_TEST(by_two)
{
    AUTO(hooks_done) struct hooks hooks;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    AUTO(service_free) struct service *other = NULL;

    hooks_start_wide(&hooks, broker_shared(), NULL, NULL, PARTITIONS);
    for (int i = 0; i < PAIRS; i++) {
        const char *const texts[] = { CREATE(TABLE("t")), DELETE("t") };

        for (size_t j = 0; j < LENGTH(texts); j++)
            producer_send(producer, &(struct producer_message){ .topic = hooks.topic,
                                                                .partition = i % PARTITIONS,
                                                                .value = texts[j] });
    }
    producer_flush(producer);
    other = service_start_with(
        &(struct daemon_options){ .dsn = dsn_of(&hooks), .environment = hooks.rig.environment });
    WAIT_UNTIL(HOOKS_MS_MAX, daemon_log_has(other->daemon, "event=kafka_assigned partitions="));
    daemon_kill9(other->daemon);
    WAIT_UNTIL(2 * HOOKS_MS_MAX, pg_query_i64(dsn_of(&hooks),
                                              "SELECT coalesce(sum(next_offset), 0) FROM"
                                              " kafka_offset WHERE topic = '%s'",
                                              hooks.topic) == 2 * PAIRS);
    ck_assert_int_eq(pg_query_i64(dsn_of(&hooks), "SELECT count(*) FROM entity WHERE to_batch IS"
                                                  " NULL AND NOT is_deleted"),
                     0);
    ck_assert_int_eq(pg_query_i64(dsn_of(&hooks), "SELECT count(*) FROM rejected_event"), 0);
    ck_assert_int_le(pg_query_i64(dsn_of(&hooks), "SELECT count(DISTINCT guid) FROM entity"),
                     PAIRS);
}
END_TEST

/* Parts, other messages between them, and a kill: what was read is not read again. */
START_TEST(parts_over_a_kill)
{
    AUTO(hooks_done) struct hooks hooks;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    const struct message_head head = { .id_prefix = SPAN_LITERAL("id"), .number = 1 };
    AUTO(buf_done) struct buf text;
    struct message_parts parts;
    uint64_t seed = 5;

    buf_init(&text, SIZE_MAX);
    buf_append_text(&text, "{\"type\":\"ENTITY_CREATE_V2\",\"user\":\"hive\",\"entities\":{"
                           "\"entities\":[{\"typeName\":\"hive_table\",\"attributes\":{"
                           "\"qualifiedName\":\"cut\",\"name\":\"cut\",\"comment\":\"");
    while (text.len < 40000)
        buf_append_fmt(&text, "%08x", dice_roll(&seed, UINT32_MAX));
    buf_append_text(&text, "\"}}]}}");
    message_write(&head, buf_span(&text), 8192, true, &parts);
    ck_assert_uint_gt(parts.len, 2);
    hooks_start(&hooks, broker_shared(), NULL, NULL);
    for (size_t i = 0; i < parts.len; i++) {
        int64_t next = 2 * (int64_t)i + 1;

        producer_send_text(producer, hooks.topic, buf_text(&parts.items[i]));
        producer_flush(producer);
        hooks_wait(&hooks, dsn_of(&hooks), next);
        if (i == 0) {
            daemon_kill9(hooks.rig.service->daemon);
            daemon_resume(hooks.rig.service->daemon);
        }
        producer_send_text(producer, hooks.topic, CREATE(TABLE("t")));
    }
    producer_flush(producer);
    hooks_wait(&hooks, dsn_of(&hooks), 2 * (int64_t)parts.len);
    ck_assert_int_eq(pg_query_i64(dsn_of(&hooks), "SELECT count(*) FROM entity"), 2);
    ck_assert_int_eq(pg_query_i64(dsn_of(&hooks), "SELECT count(*) FROM hook_part"), 0);
    message_parts_done(&parts);
}
END_TEST

/* Neither text nor what is packed in it may be larger. */
START_TEST(too_large)
{
    AUTO(hooks_done) struct hooks hooks;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    AUTO(buf_done) struct buf text;
    AUTO(mem_free) char *row = NULL;

    hooks_start(&hooks, broker_shared(), NULL, "PLUMBLINE_HOOK_MESSAGE_BYTES_MAX=8192");
    buf_init(&text, SIZE_MAX);
    buf_append_text(&text, "{\"version\":{},\"msgId\":\"x_7\",\"message\":\"");
    while (text.len < 9998)
        buf_append_char(&text, 'x');
    buf_append_text(&text, "\"}");
    producer_send_text(producer, hooks.topic, buf_text(&text));
    producer_send_text(producer, hooks.topic, CREATE(TABLE("t")));
    producer_flush(producer);
    hooks_wait(&hooks, dsn_of(&hooks), 2);
    row = pg_query_text(dsn_of(&hooks), "SELECT concat_ws(' ', code, message, origin ->> 'msgId',"
                                        " origin ->> 'bytes', length(event)) FROM rejected_event");
    ck_assert_str_eq(row, "too_large message: 10000 bytes, at most 8192 are read x_7 10000 10000");
    ck_assert_int_eq(pg_query_i64(dsn_of(&hooks), "SELECT count(*) FROM entity"), 1);
}
END_TEST

/* They wait in the topic until Postgres is back. */
START_TEST(while_postgres_is_away)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared()), *through = NULL;
    AUTO(proxy_stop) struct proxy *proxy = proxy_start_for(dsn, &through);
    AUTO(hooks_done) struct hooks hooks;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);

    hooks_start(&hooks, broker_shared(), through, NULL);
    producer_send_text(producer, hooks.topic, CREATE(TABLE("a")));
    producer_flush(producer);
    hooks_wait(&hooks, dsn, 1);
    proxy_refuse(proxy, true);
    producer_send_text(producer, hooks.topic, CREATE(TABLE("b")));
    producer_flush(producer);
    WAIT_UNTIL(HOOKS_MS_MAX,
               daemon_log_has(hooks.rig.service->daemon, "event=commit_failed committer=hooks"));
    proxy_refuse(proxy, false);
    hooks_wait(&hooks, dsn, 2);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM entity"), 2);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM rejected_event"), 0);
}
END_TEST

/* ---- what the database does not take ---- */

static const struct {
    const char *state;
    const char *rejected; /* NULL: it waits until it is taken */
} poisons[] = {
    { "P0001", "1 invalid_message postgres: make entities: no (SQLSTATE P0001)" },
    { "XX000", "1 invalid_message postgres: make entities: no (SQLSTATE XX000)" },
    { "42501", NULL },
};

/* One message that it refuses does not stop those behind it; what is not the message's fault does,
 * in sight of whoever looks. */
START_TEST(poison)
{
    AUTO(hooks_done) struct hooks hooks;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    AUTO(mem_free) char *rows = NULL;
    const char *const rejected = poisons[_i].rejected;

    hooks_start(&hooks, broker_shared(), NULL, NULL);
    pg_exec(dsn_of(&hooks),
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'no' USING ERRCODE = '%s'; END $$;"
            "CREATE TRIGGER poison BEFORE INSERT ON entity FOR EACH ROW WHEN"
            " (NEW.qualified_name = 'poison') EXECUTE FUNCTION poison()",
            poisons[_i].state);
    producer_send_text(producer, hooks.topic, CREATE(TABLE("a")));
    producer_send_text(producer, hooks.topic, CREATE(TABLE("poison")));
    producer_send_text(producer, hooks.topic, CREATE(TABLE("b")));
    producer_flush(producer);
    if (!rejected) {
        WAIT_UNTIL(HOOKS_MS_MAX,
                   daemon_log_has(hooks.rig.service->daemon, "partition 0, offset 1: postgres: "));
        WAIT_UNTIL(HOOKS_MS_MAX, service_sample(hooks.rig.service, "plumbline_hook_failures") > 6);
        pg_exec(dsn_of(&hooks), "DROP TRIGGER poison ON entity");
    }
    hooks_wait(&hooks, dsn_of(&hooks), 3);
    rows = pg_query_text(dsn_of(&hooks), "SELECT coalesce(string_agg(concat_ws(' ', origin ->>"
                                         " 'offset', code, message), E'\\n'), '') FROM"
                                         " rejected_event");
    ck_assert_str_eq(rows, rejected ? rejected : "");
    ck_assert_int_eq(pg_query_i64(dsn_of(&hooks), "SELECT count(*) FROM entity"), 3 - !!rejected);
    WAIT_UNTIL(HOOKS_MS_MAX, service_sample(hooks.rig.service, "plumbline_hook_failures") == 0);
}
END_TEST

/* COMMIT gets no answer. */
START_TEST(cut_at_commit)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared()), *through = NULL;
    AUTO(proxy_stop) struct proxy *proxy = proxy_start_for(dsn, &through);
    AUTO(hooks_done) struct hooks hooks;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);

    hooks_start(&hooks, broker_shared(), through, NULL);
    proxy_aim(proxy, "plumbline hooks");
    proxy_arm(proxy, proxy_cuts[_i].mode, 0);
    producer_send_text(producer, hooks.topic, CREATE(TABLE("a")));
    producer_send_text(producer, hooks.topic, DELETE("a"));
    producer_flush(producer);
    hooks_wait(&hooks, dsn, 2);
    ck_assert(proxy_sprung(proxy));
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(DISTINCT guid) FROM entity"), 1);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM graph_batch"), 2);
}
END_TEST

Suite *kafka_hooks_suite(void)
{
    Suite *suite;
    TCase *tcase;

    if (!broker_is_there())
        return NULL;
    suite = pg_suite("kafka_hooks", 240, &tcase);
    tcase_add_unchecked_fixture(tcase, broker_shared_start, NULL);
    tcase_add_test(tcase, taken_and_rejected);
    tcase_add_test(tcase, redelivery_changes_nothing);
    tcase_add_loop_test(tcase, once, 0, 2);
    tcase_add_test(tcase, by_two);
    tcase_add_test(tcase, parts_over_a_kill);
    tcase_add_test(tcase, too_large);
    tcase_add_test(tcase, while_postgres_is_away);
    tcase_add_loop_test(tcase, poison, 0, LENGTH(poisons));
    tcase_add_loop_test(tcase, cut_at_commit, 0, PROXY_CUTS);
    return suite;
}
