/* Kafka in: what stands in a topic is in Postgres once, from a real broker. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/broker.h"
#include "tests/harness/daemon.h"
#include "tests/harness/load.h"
#include "tests/harness/pg.h"
#include "tests/harness/proxy.h"
#include "tests/harness/runner.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"
#include "tests/kafka/rig.h"

Suite *kafka_suite(void);

START_TEST(messages_are_stored_once)
{
    AUTO(rig_done) struct rig rig;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    AUTO(mem_free) char *array = NULL;
    AUTO(mem_free) char *first = rig_prediction(1000), *second = rig_prediction(1001);
    AUTO(mem_free) char *group = NULL;

    rig_init(&rig, broker_shared(), "once", 2, NULL);
    for (uint32_t i = 0; i < 100; i++)
        rig_send_prediction(producer, rig.topic, (int32_t)(i % 2), i);
    array = xasprintf("[%s, %s]", first, second);
    producer_send_text(producer, rig.topic, array);
    producer_flush(producer);
    rig_wait(&rig, 0, 51);
    rig_wait(&rig, 1, 50);
    ck_assert_int_eq(rig_predictions(&rig), 102);
    service_check_balance(rig.service, 102, 0, 0);
    ck_assert_int_eq(pg_query_i64(rig.service->dsn,
                                  "SELECT count(*) FROM ingest_batch WHERE source <> 'kafka'"),
                     0);
    group = xasprintf("group-%s", rig.topic);
    WAIT_UNTIL(10000, broker_group_offset(broker_shared(), group, rig.topic, 0) == 51);
    WAIT_UNTIL(10000, service_sample(rig.service, "plumbline_kafka_messages_total") == 101);
    ck_assert_int_eq(service_sample(rig.service, "plumbline_kafka_up"), 1);
    ck_assert_int_eq(service_sample(rig.service, "plumbline_kafka_lag_messages"), 0);
    daemon_kill9(rig.service->daemon);
    daemon_resume(rig.service->daemon);
    rig_send_prediction(producer, rig.topic, 1, 200);
    producer_flush(producer);
    rig_wait(&rig, 1, 51);
    service_check_balance(rig.service, 103, 0, 0);
}
END_TEST

/* ---- what can't be taken ---- */

static const struct {
    const char *name, *value, *code, *why, *event; /* event: NULL, the value */
} poison_cases[] = {
    { "not JSON", "hello", "not_an_object", "an event is a JSON object, not ", NULL },
    { "no end", "[{}", "invalid_json", "line 1, column 4: ", NULL },
    { "cut short", "{\"event\":\"track_metrics\"", "invalid_json", "line 1, column 25: ", NULL },
    { "not an event", "{\"event\":\"frobnicate\"}", "unknown_event",
      "event: not an event: \"frobnicate\"", NULL },
    { "no object", "7", "not_an_object", "an event is a JSON object, not ", NULL },
    { "binary", "\xff\xfe", "not_an_object", "an event is a JSON object, not ", NULL },
    { "a field is missing", "{\"event\":\"delayed_metrics\", \"metrics\":{\"a\":1}}",
      "missing_field", "predictionUuid: ", NULL },
    { "one of an array", " [ {\"event\":\"x\"} ] ", "unknown_event",
      "event: not an event: ", "{\"event\":\"x\"}" },
};

/* Each kind of bad message between two good ones, in order, with an array that holds both. */
START_TEST(poison_is_set_aside)
{
    AUTO(rig_done) struct rig rig;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    AUTO(mem_free) char *mixed = NULL, *good = rig_prediction(500), *other = rig_prediction(501);
    AUTO(mem_free) char *order = NULL, *origin = NULL;
    const uint32_t cases = LENGTH(poison_cases);

    rig_init(&rig, broker_shared(), "poison", 1, NULL);
    for (uint32_t i = 0; i < cases; i++) {
        rig_send_prediction(producer, rig.topic, 0, i);
        producer_send(producer, &(struct producer_message){ .topic = rig.topic,
                                                            .value = poison_cases[i].value,
                                                            .key = "a \"key\"",
                                                            .header = "trace",
                                                            .header_value = "t1" });
    }
    mixed = xasprintf("[%s,17,%s]", good, other);
    producer_send_text(producer, rig.topic, mixed);
    producer_flush(producer);
    rig_wait(&rig, 0, 2 * cases + 1);
    service_check_balance(rig.service, cases + 2, 0, cases + 1);
    for (uint32_t i = 0; i < cases; i++) {
        const char *event = poison_cases[i].event ? poison_cases[i].event : poison_cases[i].value;
        AUTO(mem_free) char *hex = xcalloc(1, 2 * strlen(event) + 1);

        for (size_t at = 0; at < strlen(event); at++)
            (void)snprintf(hex + 2 * at, 3, "%02x", (unsigned char)event[at]);
        ck_assert_msg(pg_query_i64(rig.service->dsn,
                                   "SELECT count(*) FROM rejected_event WHERE source = 'kafka'"
                                   " AND (origin->>'offset')::int = %u AND code = '%s'"
                                   " AND starts_with(message, '%s') AND event = '\\x%s'",
                                   2 * i + 1, poison_cases[i].code, poison_cases[i].why, hex) == 1,
                      "%s", poison_cases[i].name);
    }
    origin = pg_query_text(rig.service->dsn,
                           "SELECT concat_ws(' ', origin->>'topic', origin->>'partition',"
                           " origin->>'key', origin->>'headers', origin->>'index') FROM"
                           " rejected_event WHERE (origin->>'offset')::int = %u",
                           2 * cases - 1);
    free(mixed);
    mixed = xasprintf("%s 0 a \"key\" [[\"trace\",\"t1\"]] 0", rig.topic);
    ck_assert_str_eq(origin, mixed);
    ck_assert_int_eq(pg_query_i64(rig.service->dsn,
                                  "SELECT count(*) FROM rejected_event WHERE event = '17' AND"
                                  " origin->>'index' = '1'"),
                     1);
    order = pg_query_text(rig.service->dsn,
                          "SELECT string_agg(metrics->>'n', ' ' ORDER BY batch_id, ordinal)"
                          " FROM prediction");
    ck_assert_str_eq(order, "0 1 2 3 4 5 6 7 500 501");
    WAIT_UNTIL(5000, service_sample(rig.service, "plumbline_kafka_rejected_total") == cases + 1);
}
END_TEST

/* What only the database can refuse is set aside like what the decoder refuses. */
START_TEST(conflicts_are_set_aside)
{
    AUTO(rig_done) struct rig rig;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    AUTO(mem_free)
    char *first = rig_prediction(1), *posted = rig_prediction(2), *bad = NULL, *event = NULL;

    rig_init(&rig, broker_shared(), "conflict", 1, NULL);
    service_take(rig.service, first);
    rig_send_prediction(producer, rig.topic, 0, 1); /* the same by both ways: once */
    bad = xasprintf("[ {\"event\": \"track_metrics\", \"modelDeploymentCrn\":\"" RIG_DEPLOYMENT
                    "\",\"predictionUuid\":\"00000001-0000-4000-8000-000000000000\","
                    "\"startTimestampMs\":%lld,\"endTimestampMs\":%lld,"
                    "\"metrics\":{ \"n\" : \"\\u0041\" }} ]",
                    (long long)(RIG_BASE_MS + 1), (long long)(RIG_BASE_MS + 2));
    producer_send_text(producer, rig.topic, bad);
    rig_send_prediction(producer, rig.topic, 0, 2);
    producer_flush(producer);
    rig_wait(&rig, 0, 3);
    service_check_balance(rig.service, 2, 1, 1);
    json_decref(service_post(rig.service, 200, "/v1/events", posted));
    service_check_balance(rig.service, 2, 2, 1);
    event =
        pg_query_text(rig.service->dsn, "SELECT convert_from(event, 'UTF8') FROM rejected_event"
                                        " WHERE code = 'conflict' AND (origin->>'index')::int = 0");
    bad[strlen(bad) - 2] = '\0';
    ck_assert_str_eq(event, bad + 2); /* as it came, although it was decoded */
}
END_TEST

static void rejected(struct rig *rig, int code, const char *const *words, const char *want)
{
    AUTO(mem_free) char *url = daemon_url(rig->service->daemon, "");
    AUTO(mem_free) char *variable = xasprintf("PLUMBLINE_URL=%s", url), *output = NULL;
    AUTO(mem_free) char *dsn = xasprintf("PLUMBLINE_DATABASE=%s", rig->service->dsn);
    const char *const environment[] = { variable, dsn, NULL };
    int have = service_command(words, environment, &output);

    ck_assert_msg(have == code && strstr(output, want), "%s %s: %d, %s", words[0], words[1], have,
                  output);
}

/* list, show, replay: what is good by then goes in and leaves, the rest stays. */
START_TEST(people_see_and_replay)
{
    AUTO(rig_done) struct rig rig;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    AUTO(mem_free) char *line = NULL, *good = rig_prediction(3);

    rig_init(&rig, broker_shared(), "people", 1, NULL);
    producer_send_text(producer, rig.topic, "hello");
    producer_send_text(producer, rig.topic, "[1]");
    producer_flush(producer);
    rig_wait(&rig, 0, 2);
    line = xasprintf(" kafka %s/0@1[0] not_an_object: an event is a JSON object", rig.topic);
    rejected(&rig, 0, (const char *const[]){ "rejected", "list", NULL }, line);
    rejected(&rig, 0, (const char *const[]){ "rejected", "show", "1", NULL }, "hello");
    rejected(&rig, 1, (const char *const[]){ "rejected", "show", "9", NULL },
             "there is no rejected event 9");
    rejected(&rig, 1, (const char *const[]){ "rejected", "show", "x", NULL },
             "\"x\" is not the number of a rejected event");
    rejected(&rig, 2, (const char *const[]){ "rejected", "replay", NULL }, "takes list, show ID");
    rejected(&rig, 1, (const char *const[]){ "rejected", "replay", "1", "2", NULL },
             "1 stays: HTTP 400: an event is a JSON object");
    pg_exec(rig.service->dsn,
            "UPDATE rejected_event SET event = convert_to('%s', 'UTF8')"
            " WHERE rejected_event = 2",
            good);
    rejected(&rig, 1, (const char *const[]){ "rejected", "replay", "--all", NULL },
             "1 could not be taken");
    ck_assert_int_eq(pg_query_i64(rig.service->dsn,
                                  "SELECT sum(rejected_event)::int FROM rejected_event"),
                     1);
    ck_assert_int_eq(rig_predictions(&rig), 1);
}
END_TEST

/* ---- what a topic may hold ---- */

static const char *const codecs[] = { "none", "gzip", "snappy", "lz4", "zstd" };

START_TEST(compressed_topics)
{
    enum { COUNT = 300 };
    AUTO(rig_done) struct rig rig;

    rig_init(&rig, broker_shared(), "codecs", LENGTH(codecs), NULL);
    for (uint32_t codec = 0; codec < LENGTH(codecs); codec++) {
        const char *const settings[] = { "compression.codec", codecs[codec], "linger.ms", "50",
                                         NULL };
        AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), settings);

        for (uint32_t i = 0; i < COUNT; i++)
            rig_send_prediction(producer, rig.topic, (int32_t)codec, codec * COUNT + i);
    }
    for (uint32_t codec = 0; codec < LENGTH(codecs); codec++)
        rig_wait(&rig, (int32_t)codec, COUNT);
    service_check_balance(rig.service, LENGTH(codecs) * COUNT, 0, 0);
}
END_TEST

START_TEST(aborted_messages_are_not_read)
{
    static const char *const settings[] = { "transactional.id", "aborts", NULL };
    AUTO(rig_done) struct rig rig;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), settings);
    AUTO(mem_free) char *numbers = NULL;

    rig_init(&rig, broker_shared(), "aborts", 1, NULL);
    for (uint32_t i = 0; i < 6; i++) {
        producer_begin(producer);
        rig_send_prediction(producer, rig.topic, 0, i);
        producer_flush(producer);
        if (i % 2)
            producer_abort(producer);
        else
            producer_commit(producer);
    }
    /* 0, commit, 2, abort, 4, ...: the last message that counts stands at 8 */
    rig_wait(&rig, 0, 9);
    numbers = pg_query_text(rig.service->dsn, "SELECT string_agg(metrics->>'n', ' ' ORDER BY"
                                              " batch_id, ordinal) FROM prediction");
    ck_assert_str_eq(numbers, "0 2 4");
    daemon_kill9(rig.service->daemon); /* begins behind the markers */
    daemon_resume(rig.service->daemon);
    producer_begin(producer);
    rig_send_prediction(producer, rig.topic, 0, 7);
    producer_commit(producer);
    rig_wait(&rig, 0, 13);
    service_check_balance(rig.service, 4, 0, 0);
}
END_TEST

START_TEST(empty_and_large_values)
{
    static const char *const settings[] = { "message.max.bytes", "8000000", NULL };
    static const char *const topic_settings[] = { "max.message.bytes", "8000000", NULL };
    enum { LARGE_BYTES = 2500000, METRIC_BYTES = 102300 };
    AUTO(rig_done) struct rig rig;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), settings);
    AUTO(mem_free) char *large = xcalloc(1, LARGE_BYTES + 1);
    AUTO(mem_free) char *metric = xcalloc(1, METRIC_BYTES + 1);
    AUTO(mem_free) char *event = NULL;

    rig_init(&rig, broker_shared(), "sizes", 1, topic_settings);
    memset(large, 'x', LARGE_BYTES);
    memset(metric, 'y', METRIC_BYTES);
    producer_send(producer, &(struct producer_message){ .topic = rig.topic, .key = "gone" });
    producer_send(producer,
                  &(struct producer_message){ .topic = rig.topic, .value = "", .key = "empty" });
    producer_send_text(producer, rig.topic, large);
    event = xasprintf("{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"" RIG_DEPLOYMENT
                      "\",\"predictionUuid\":\"00000001-0000-4000-8000-000000000000\","
                      "\"startTimestampMs\":%lld,\"endTimestampMs\":%lld,"
                      "\"metrics\":{\"m\":\"%s\"}}",
                      (long long)RIG_BASE_MS, (long long)RIG_BASE_MS, metric);
    producer_send_text(producer, rig.topic, event);
    rig_send_prediction(producer, rig.topic, 0, 1);
    producer_flush(producer);
    rig_wait(&rig, 0, 5);
    service_check_balance(rig.service, 2, 0, 1);
    ck_assert_int_eq(pg_query_i64(rig.service->dsn,
                                  "SELECT count(*) FROM rejected_event WHERE code = 'too_large'"
                                  " AND length(event) = 1048576 AND origin->>'bytes' = '2500000'"),
                     1);
    ck_assert_int_eq(service_sample(rig.service, "plumbline_kafka_tombstones_total"), 2);
}
END_TEST

/* ---- two topics, two ways ---- */

START_TEST(labels_in_another_topic)
{
    AUTO(rig_done) struct rig rig = { .topic = broker_topic_name("predictions") };
    AUTO(mem_free) char *labels = broker_topic_name("labels"), *topics = NULL;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    enum { COUNT = 200 };

    broker_topic_make(broker_shared(), rig.topic, 2, NULL);
    broker_topic_make(broker_shared(), labels, 3, NULL);
    topics = xasprintf("%s, %s", labels, rig.topic);
    rig_start(&rig, broker_shared(), topics, NULL, NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        AUTO(mem_free)
        char *label = xasprintf("{\"event\":\"delayed_metrics\",\"predictionUuid\":"
                                "\"%08x-0000-4000-8000-000000000000\",\"metrics\":{\"l\":%u}}",
                                (i + 50) % COUNT, i);

        producer_send(producer, &(struct producer_message){ .topic = labels,
                                                            .partition = (int32_t)(i % 3),
                                                            .value = label });
        rig_send_prediction(producer, rig.topic, (int32_t)(i % 2), i);
        if (i % 20 == 0)
            producer_flush(producer);
    }
    producer_flush(producer);
    WAIT_UNTIL(RIG_READ_MS_MAX,
               pg_query_i64(rig.service->dsn,
                            "SELECT coalesce(sum(next_offset), 0) FROM kafka_offset") == 2 * COUNT);
    WAIT_UNTIL(RIG_READ_MS_MAX,
               pg_query_i64(rig.service->dsn, "SELECT count(*) FROM delayed_metric") == COUNT);
    ck_assert_int_eq(pg_query_i64(rig.service->dsn, "SELECT count(*) FROM metric WHERE"
                                                    " ((metrics->>'l')::int + 50) %% 200 ="
                                                    " (metrics->>'n')::int"),
                     COUNT);
    service_check_balance(rig.service, 2 * COUNT, 0, 0);
}
END_TEST

/* While a filled topic is read, requests are answered: their events stand in the batches between
 * the first and the last one with events of the topic. And while requests never end, it is read. */
START_TEST(neither_way_starves_the_other)
{
    enum { COUNT = 40000, PARTITIONS = 4 };
    AUTO(rig_done) struct rig rig = { .topic = broker_topic_name("both") };
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    AUTO(load_free) struct load *load = NULL;

    broker_topic_make(broker_shared(), rig.topic, PARTITIONS, NULL);
    for (uint32_t i = 0; i < COUNT; i++)
        rig_send_prediction(producer, rig.topic, (int32_t)(i % PARTITIONS), i);
    producer_flush(producer);
    rig_start(&rig, broker_shared(), rig.topic, NULL, NULL);
    load = load_start(&(struct load_options){ .seed = 7,
                                              .clients = 4,
                                              .events_max = 50,
                                              .predictions = true,
                                              .daemons = { rig.service->daemon } });
    WAIT_UNTIL(RIG_READ_MS_MAX,
               pg_query_i64(rig.service->dsn, "SELECT coalesce(sum(next_offset), 0)::bigint"
                                              " FROM kafka_offset") == COUNT);
    load_finish(load);
    ck_assert_int_gt(pg_query_i64(rig.service->dsn,
                                  "SELECT count(*) FROM prediction WHERE metrics->>'n' IS NULL"
                                  " AND batch_id > (SELECT min(batch_id) FROM prediction"
                                  "  WHERE metrics->>'n' IS NOT NULL)"
                                  " AND batch_id <= (SELECT max(batch_id) FROM prediction"
                                  "  WHERE metrics->>'n' IS NOT NULL)"),
                     0);
    ck_assert_int_eq(rig_predictions(&rig), COUNT + (int64_t)load_tally(load).accepted);
}
END_TEST

/* ---- a lost place ---- */

START_TEST(a_fence_costs_only_its_partition)
{
    AUTO(rig_done) struct rig rig;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    AUTO(mem_free) char *posted = rig_prediction(900);

    rig_init(&rig, broker_shared(), "fence", 2, NULL);
    rig_send_prediction(producer, rig.topic, 0, 0);
    rig_send_prediction(producer, rig.topic, 1, 1);
    producer_flush(producer);
    rig_wait(&rig, 0, 1);
    rig_wait(&rig, 1, 1);
    /* somebody else has taken 1 to 4 of partition 0 */
    pg_exec(rig.service->dsn, "UPDATE kafka_offset SET next_offset = 5, mark_offset = -1"
                              " WHERE partition = 0");
    for (uint32_t i = 10; i < 20; i++) {
        rig_send_prediction(producer, rig.topic, 0, i);
        rig_send_prediction(producer, rig.topic, 1, 100 + i);
    }
    producer_flush(producer);
    service_take(rig.service, posted);
    rig_wait(&rig, 0, 11);
    rig_wait(&rig, 1, 11);
    ck_assert_int_ge(service_sample(rig.service, "plumbline_kafka_fenced_total"), 1);
    ck_assert_int_eq(rig_predictions(&rig), 2 + 6 + 10 + 1);
    ck_assert_int_eq(pg_query_i64(rig.service->dsn, "SELECT count(*) FROM prediction WHERE"
                                                    " (metrics->>'n')::int BETWEEN 10 AND 13"),
                     0);
    service_check_balance(rig.service, 2 + 6 + 10 + 1, 0, 0);
}
END_TEST

/* The queue is full and a message is held when the offset turns out to have been moved: what was
 * held is not taken beside what is read again. */
START_TEST(a_fence_drops_what_is_held)
{
    enum { COUNT = 4000, MOVED = 700, QUEUE_BYTES = 1 << 20 };
    AUTO(rig_done) struct rig rig = { .topic = broker_topic_name("held") };
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    PGconn *conn;

    broker_topic_make(broker_shared(), rig.topic, 1, NULL);
    rig.variables[4] = xasprintf("PLUMBLINE_KAFKA_QUEUE_BYTES_MAX=%d", QUEUE_BYTES);
    rig_start(&rig, broker_shared(), rig.topic, NULL, NULL);
    rig_wait(&rig, 0, 0);
    conn = pg_connect(rig.service->dsn);
    PQclear(PQexec(conn, "BEGIN; UPDATE kafka_offset SET next_offset = 700"));
    for (uint32_t i = 0; i < COUNT; i++)
        rig_send_aggregate(producer, rig.topic, 0, i);
    producer_flush(producer);
    WAIT_UNTIL(RIG_READ_MS_MAX, service_sample(rig.service, "plumbline_kafka_pauses_total") > 0);
    PQclear(PQexec(conn, "COMMIT"));
    PQfinish(conn);
    rig_wait(&rig, 0, COUNT);
    ck_assert_int_eq(pg_query_i64(rig.service->dsn, "SELECT count(*) FROM aggregate_metric"),
                     COUNT - MOVED);
    ck_assert_int_eq(pg_query_i64(rig.service->dsn,
                                  "SELECT count(DISTINCT metrics->>'n') FROM aggregate_metric"
                                  " WHERE (metrics->>'n')::int >= 700"),
                     COUNT - MOVED);
    service_check_balance(rig.service, COUNT - MOVED, 0, 0);
}
END_TEST

/* Deleted and made anew while nobody looks: fewer messages than were taken, as many, more. */
static const uint32_t anew_cases[] = { 2, 5, 9 };

START_TEST(a_topic_made_anew_is_read_from_its_front)
{
    AUTO(rig_done) struct rig rig;
    uint32_t count = anew_cases[_i];

    rig_init(&rig, broker_shared(), "anew", 1, NULL);
    for (int life = 0; life < 2; life++) {
        AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);

        for (uint32_t i = 0; i < (life ? count : 5); i++)
            rig_send_prediction(producer, rig.topic, 0, i + 100 * (uint32_t)life);
        producer_flush(producer);
        if (life)
            break;
        rig_wait(&rig, 0, 5);
        ck_assert_int_eq(daemon_stop(rig.service->daemon), 0);
        broker_topic_delete(broker_shared(), rig.topic);
        broker_topic_make(broker_shared(), rig.topic, 1, NULL);
    }
    daemon_resume(rig.service->daemon);
    WAIT_UNTIL(RIG_READ_MS_MAX, rig_predictions(&rig) == 5 + count);
    rig_wait(&rig, 0, count);
    service_check_balance(rig.service, 5 + count, 0, 0);
    ck_assert_int_eq(pg_query_i64(rig.service->dsn, "SELECT incarnation FROM kafka_offset"), 1);
}
END_TEST

/* ---- servers away ---- */

static bool ready_says(struct rig *rig, const char *want)
{
    AUTO(mem_free) char *text = service_get_text(rig->service, 200, "/readyz", NULL);

    return strcmp(text, want) == 0;
}

/* While Postgres is away the partitions pause and memory stays flat; while the broker is away HTTP
 * goes on. */
START_TEST(servers_go_and_come_back)
{
    enum { COUNT = 4000, MESSAGE_BYTES = 6000, QUEUE_BYTES = 1 << 20, GROWTH_BYTES_MAX = 16 << 20 };
    AUTO(pg_free) struct pg *pg = pg_start(NULL);
    AUTO(broker_free) struct broker *broker = broker_start();
    AUTO(mem_free) char *dsn = pg_database_new(pg), *event = rig_prediction(COUNT);
    AUTO(rig_done) struct rig rig = { .topic = broker_topic_name("away") };
    AUTO(producer_free) struct producer *producer = producer_new(broker, NULL);
    AUTO(mem_free) char *pad = xcalloc(1, MESSAGE_BYTES + 1);
    int64_t before = 0;

    broker_topic_make(broker, rig.topic, 2, NULL);
    rig.variables[4] = xasprintf("PLUMBLINE_KAFKA_QUEUE_BYTES_MAX=%d", QUEUE_BYTES);
    rig.variables[5] = xstrdup("PLUMBLINE_COMMIT_TIMEOUT_MS=300");
    rig.variables[6] = daemon_lean();
    rig_start(&rig, broker, rig.topic, dsn, "queued.max.messages.kbytes=1024");
    memset(pad, ' ', MESSAGE_BYTES);
    for (uint32_t i = 0; i < COUNT; i++) {
        AUTO(mem_free) char *bare = rig_prediction(i);
        AUTO(mem_free) char *value = xasprintf("%s%s", bare, pad);

        if (i == 2) { /* both partitions are being read */
            producer_flush(producer);
            rig_wait(&rig, 0, 1);
            rig_wait(&rig, 1, 1);
            before = daemon_peak_bytes(rig.service->daemon);
            pg_stop(pg, PG_STOP_FAST);
        }
        producer_send(producer, &(struct producer_message){ .topic = rig.topic,
                                                            .partition = (int32_t)(i % 2),
                                                            .value = value });
    }
    producer_flush(producer);
    WAIT_UNTIL(RIG_READ_MS_MAX, service_sample(rig.service, "plumbline_kafka_pauses_total") > 0);
    json_decref(service_post(rig.service, 503, "/v1/events", event));
    /* a gather that is being decoded may stand over the bound by as much as it decodes */
    ck_assert_int_lt(service_sample(rig.service, "plumbline_memory_budget_bytes"), 5 * QUEUE_BYTES);
    daemon_check_growth(rig.service->daemon, before, GROWTH_BYTES_MAX);
    pg_resume(pg);
    rig_wait(&rig, 0, COUNT / 2);
    rig_wait(&rig, 1, COUNT / 2);
    service_check_balance(rig.service, COUNT, 0, 0);
    WAIT_UNTIL(RIG_READ_MS_MAX, ready_says(&rig, "{\"status\":\"ready\"}"));
    broker_kill9(broker);
    WAIT_UNTIL(RIG_READ_MS_MAX,
               ready_says(&rig, "{\"status\":\"ready\",\"warning\":\"no Kafka broker can "
                                "be reached or trusted, event=kafka_down in the log says why: "
                                "events come by HTTP only\"}"));
    service_take(rig.service, event);
    broker_resume(broker);
    rig_send_prediction(producer, rig.topic, 0, COUNT + 1);
    producer_flush(producer);
    rig_wait(&rig, 0, COUNT / 2 + 1);
    WAIT_UNTIL(RIG_READ_MS_MAX, ready_says(&rig, "{\"status\":\"ready\"}"));
    service_check_balance(rig.service, COUNT + 2, 0, 0);
}
END_TEST

/* A broker that hangs is not waited for, neither with an offset and a lineage message on their way
 * to it nor with a message only. */
START_TEST(stops_while_the_broker_hangs)
{
    AUTO(broker_free) struct broker *broker = broker_start();
    AUTO(rig_done) struct rig rig = { .topic = broker_topic_name("hangs") };
    AUTO(producer_free) struct producer *producer = producer_new(broker, NULL);
    AUTO(mem_free) char *group = xasprintf("group-%s", rig.topic);
    AUTO(mem_free) char *out = broker_topic_name("out");

    broker_topic_make(broker, rig.topic, 1, NULL);
    broker_topic_make(broker, out, 1, NULL);
    rig.variables[4] = xasprintf("PLUMBLINE_KAFKA_LINEAGE_TOPIC=%s", out);
    rig_start(&rig, broker, rig.topic, NULL, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        AUTO(mem_free)
        char *project = xasprintf("{\"event\":\"project_created\",\"projectCrn\":\"p%u\","
                                  "\"projectName\":\"P\",\"userName\":\"ada\"}",
                                  i);

        rig_send_prediction(producer, rig.topic, 0, i);
        producer_flush(producer);
        rig_wait(&rig, 0, i + 1);
        if (i)
            WAIT_UNTIL(RIG_READ_MS_MAX, broker_group_offset(broker, group, rig.topic, 0) == i + 1);
        broker_signal(broker, SIGSTOP);
        service_take(rig.service, project);
        ck_assert_int_eq(daemon_stop(rig.service->daemon), 0);
        broker_signal(broker, SIGCONT);
        daemon_resume(rig.service->daemon);
    }
    service_check_balance(rig.service, 4, 0, 0);
    WAIT_UNTIL(RIG_READ_MS_MAX, broker_topic_end(broker, out, 0) >= 2);
}
END_TEST

/* Messages that wait until the spool is empty, which it does not become without Postgres. */
START_TEST(stops_with_a_spool_while_postgres_is_away)
{
    AUTO(pg_free) struct pg *pg = pg_start(NULL);
    AUTO(mem_free) char *dsn = pg_database_new(pg), *dir = temp_dir(), *event = rig_prediction(9);
    AUTO(rig_done) struct rig rig = { .topic = broker_topic_name("spool") };
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);

    broker_topic_make(broker_shared(), rig.topic, 1, NULL);
    rig.variables[4] = xstrdup("PLUMBLINE_COMMIT_TIMEOUT_MS=300ms");
    rig.variables[5] = xstrdup("PLUMBLINE_SPOOL_AFTER_MS=100ms");
    rig.variables[6] = xasprintf("PLUMBLINE_SPOOL_DIR=%s/spool", dir);
    rig.variables[7] = xstrdup("PLUMBLINE_SPOOL_BYTES_MAX=16MiB");
    rig_start(&rig, broker_shared(), rig.topic, dsn, NULL);
    rig_send_prediction(producer, rig.topic, 0, 0);
    producer_flush(producer);
    rig_wait(&rig, 0, 1);
    pg_stop(pg, PG_STOP_FAST);
    json_decref(service_post(rig.service, 202, "/v1/events", event));
    rig_send_prediction(producer, rig.topic, 0, 1);
    producer_flush(producer);
    WAIT_UNTIL(RIG_READ_MS_MAX, service_sample(rig.service, "plumbline_kafka_messages_total") == 2);
    ck_assert_int_eq(daemon_stop(rig.service->daemon), 0);
    pg_resume(pg);
    daemon_resume(rig.service->daemon);
    rig_wait(&rig, 0, 2);
    WAIT_UNTIL(RIG_READ_MS_MAX, rig_predictions(&rig) == 3);
}
END_TEST

/* Postgres is back and a replay under way when the daemon stops: a message that waits behind the
 * spool is for the next daemon too, or it would overtake what was acknowledged before it. */
START_TEST(what_waits_behind_the_spool_stays_behind)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared()), *dir = temp_dir();
    AUTO(mem_free) char *through = NULL, *event = rig_prediction(9);
    AUTO(rig_done) struct rig rig = { .topic = broker_topic_name("behind") };
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    struct proxy *proxy = proxy_start_for(dsn, &through);

    broker_topic_make(broker_shared(), rig.topic, 1, NULL);
    rig.variables[4] = xstrdup("PLUMBLINE_DRAIN_TIMEOUT_MS=2s");
    rig.variables[5] = xstrdup("PLUMBLINE_SPOOL_AFTER_MS=100ms");
    rig.variables[6] = xasprintf("PLUMBLINE_SPOOL_DIR=%s/spool", dir);
    rig.variables[7] = xstrdup("PLUMBLINE_SPOOL_BYTES_MAX=16MiB");
    rig_start(&rig, broker_shared(), rig.topic, through, NULL);
    rig_send_prediction(producer, rig.topic, 0, 0);
    producer_flush(producer);
    rig_wait(&rig, 0, 1);
    proxy_aim(proxy, "plumbline metrics");
    proxy_refuse(proxy, true);
    json_decref(service_post(rig.service, 202, "/v1/events", event));
    rig_send_prediction(producer, rig.topic, 0, 1);
    producer_flush(producer);
    WAIT_UNTIL(RIG_READ_MS_MAX, service_sample(rig.service, "plumbline_kafka_messages_total") == 2);
    proxy_arm(proxy, PROXY_HOLD, 0);
    proxy_refuse(proxy, false);
    WAIT_UNTIL(RIG_READ_MS_MAX, proxy_sprung(proxy));
    ck_assert_int_eq(daemon_stop(rig.service->daemon), 0);
    proxy_cut_all(proxy); /* what is held never arrives */
    ck_assert_int_eq(rig_predictions(&rig), 1);
    daemon_resume(rig.service->daemon);
    rig_wait(&rig, 0, 2);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM prediction AS message, prediction AS"
                                       " spooled WHERE message.metrics->>'n' = '1'"
                                       " AND spooled.metrics->>'n' = '9'"
                                       " AND spooled.batch_id < message.batch_id"),
                     1);
    ck_assert_int_eq(daemon_stop(rig.service->daemon), 0);
    proxy_stop(proxy);
}
END_TEST

/* A partition that waits for Postgres is paused, and librdkafka keeps that for whoever has it next,
 * be it the same daemon again. */
START_TEST(a_pause_ends_with_its_partition)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(mem_free) char *through = NULL;
    AUTO(rig_done) struct rig rig = { .topic = broker_topic_name("pause") };
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    struct proxy *proxy = proxy_start_for(dsn, &through);
    struct daemon *other;

    rig_start(&rig, broker_shared(), rig.topic, dsn, NULL);
    ck_assert_int_eq(daemon_stop(rig.service->daemon), 0);
    other =
        daemon_start(&(struct daemon_options){ .dsn = through, .environment = rig.environment });
    proxy_refuse(proxy, true);
    proxy_cut_all(proxy);
    broker_topic_make(broker_shared(), rig.topic, 2, NULL);
    WAIT_UNTIL(RIG_READ_MS_MAX, daemon_log_has(other, "event=kafka_assigned partitions=2"));
    daemon_resume(rig.service->daemon);
    WAIT_UNTIL(RIG_READ_MS_MAX, /* one each, whichever way the group came to that */
               daemon_log_has(rig.service->daemon, "event=kafka_assigned partitions=1") ||
                   daemon_log_has(rig.service->daemon, "event=kafka_revoked partitions=1"));
    proxy_refuse(proxy, false);
    for (uint32_t i = 0; i < 2; i++) {
        for (int32_t partition = 0; partition < 2; partition++)
            rig_send_prediction(producer, rig.topic, partition, 2 * i + (uint32_t)partition);
        producer_flush(producer);
        rig_wait(&rig, 0, i + 1);
        rig_wait(&rig, 1, i + 1);
        if (i == 0)
            ck_assert_int_eq(daemon_stop(rig.service->daemon), 0);
    }
    ck_assert_int_eq(rig_predictions(&rig), 4);
    daemon_free(other);
    proxy_stop(proxy);
    daemon_resume(rig.service->daemon); /* for its orderly end */
}
END_TEST

Suite *kafka_suite(void)
{
    Suite *suite;
    TCase *tcase;

    if (!broker_is_there())
        return NULL;
    suite = pg_suite("kafka", 120, &tcase);
    tcase_add_unchecked_fixture(tcase, broker_shared_start, NULL);
    tcase_add_test(tcase, messages_are_stored_once);
    tcase_add_test(tcase, poison_is_set_aside);
    tcase_add_test(tcase, conflicts_are_set_aside);
    tcase_add_test(tcase, people_see_and_replay);
    tcase_add_test(tcase, compressed_topics);
    tcase_add_test(tcase, aborted_messages_are_not_read);
    tcase_add_test(tcase, empty_and_large_values);
    tcase_add_test(tcase, labels_in_another_topic);
    tcase_add_test(tcase, neither_way_starves_the_other);
    tcase_add_test(tcase, a_fence_costs_only_its_partition);
    tcase_add_test(tcase, a_fence_drops_what_is_held);
    tcase_add_loop_test(tcase, a_topic_made_anew_is_read_from_its_front, 0,
                        runner_short() ? 1 : (int)LENGTH(anew_cases));
    suite_add_tcase(suite, tcase);
    if (runner_short())
        return suite;
    tcase = tcase_create("servers"); /* of the test's own */
    tcase_set_timeout(tcase, 120);
    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, servers_go_and_come_back);
    tcase_add_test(tcase, stops_while_the_broker_hangs);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("outages");
    tcase_set_timeout(tcase, 120);
    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_unchecked_fixture(tcase, broker_shared_start, NULL);
    tcase_add_test(tcase, stops_with_a_spool_while_postgres_is_away);
    tcase_add_test(tcase, what_waits_behind_the_spool_stays_behind);
    tcase_add_test(tcase, a_pause_ends_with_its_partition);
    suite_add_tcase(suite, tcase);
    return suite;
}
