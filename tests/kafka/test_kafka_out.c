/* Lineage messages out: what stands in the outbox is in the topic, in its order, whatever happens
 * to brokers and daemons. */
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/message.h"
#include "base/map.h"
#include "base/mem.h"
#include "tests/harness/broker.h"
#include "tests/harness/dice.h"
#include "tests/harness/pg.h"
#include "tests/harness/proxy.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"
#include "tests/kafka/rig.h"

Suite *kafka_out_suite(void);

enum { OUT_MS_MAX = 60000, PARTS_MAX = 10000 };

/* A daemon that publishes to a topic of its own, and reads another one. */
struct out {
    struct rig rig;
    struct broker *broker; /* borrowed */
    char *topic;           /* owned */
    int partitions;
};

static void out_start(struct out *out, struct broker *broker, int partitions,
                      const char *message_bytes_max, const char *dsn, const char *properties)
{
    *out = (struct out){ .broker = broker,
                         .topic = broker_topic_name("out"),
                         .partitions = partitions };
    out->rig.topic = broker_topic_name("in");
    out->rig.variables[4] = xasprintf("PLUMBLINE_KAFKA_LINEAGE_TOPIC=%s", out->topic);
    if (message_bytes_max)
        out->rig.variables[5] =
            xasprintf("PLUMBLINE_KAFKA_MESSAGE_BYTES_MAX=%s", message_bytes_max);
    broker_topic_make(broker, out->topic, partitions, NULL);
    broker_topic_make(broker, out->rig.topic, 1, NULL);
    rig_start(&out->rig, broker, out->rig.topic, dsn, properties);
}

static void out_init(struct out *out, struct broker *broker, int partitions,
                     const char *message_bytes_max)
{
    out_start(out, broker, partitions, message_bytes_max, NULL, "message.timeout.ms=2000\n");
}

static void out_done(struct out *out)
{
    rig_done(&out->rig);
    free(out->topic);
}

static void out_done_auto(struct out *out)
{
    out_done(out);
}

static void out_wait(const struct out *out)
{
    WAIT_UNTIL(
        OUT_MS_MAX,
        pg_query_i64(out->rig.service->dsn,
                     "SELECT count(*) FROM outbox, outbox_position WHERE number > published") == 0);
}

static char *project_event(int number)
{
    return xasprintf("{\"event\":\"project_created\",\"projectCrn\":\"p%d\",\"projectName\":\"P\","
                     "\"userName\":\"ada\"}",
                     number);
}

/* Builds of a few projects and what becomes of their deployments, in turn. Owned. */
static char *events_of(int from, int count)
{
    AUTO(buf_done) struct buf body;

    buf_init(&body, SIZE_MAX);
    for (int i = from; i < from + count; i++)
        buf_append_fmt(&body,
                       "%c{\"event\":\"model_built\",\"projectCrn\":\"p%d\",\"modelCrn\":\"m\","
                       "\"modelName\":\"M\",\"modelBuildCrn\":\"b%d\",\"buildNumber\":%d,"
                       "\"userName\":\"bob\"},{\"event\":\"model_deployed\",\"modelBuildCrn\":"
                       "\"b%d\",\"modelDeploymentCrn\":\"d%d\",\"status\":\"deployed\","
                       "\"statusAtMs\":1704067203000,\"cpuMillicores\":1,\"userName\":\"eve\"}",
                       i == from ? '[' : ',', i % 7, i, i, i, i);
    buf_append_char(&body, ']');
    return xstrdup(buf_text(&body));
}

/* ---- what is in the topic ---- */

/* What stands in the outbox: key -> array of envelopes, in order. Owned. */
static json_t *outbox_read(struct service *service)
{
    AUTO(mem_free)
    char *text = service_get_text(service, 200, "/v1/lineage/messages", NULL);
    json_t *wanted = json_object();

    for (const char *at = text; *at; at += strcspn(at, "\n") + 1) {
        AUTO(mem_free) char *line = xmemdup0(at, strcspn(at, "\n"));
        json_auto_t *json = service_json(line);
        const char *key = service_text(json, "key");

        if (!json_object_get(wanted, key))
            ck_assert_int_eq(json_object_set_new(wanted, key, json_array()), 0);
        ck_assert_int_eq(json_array_append(json_object_get(wanted, key),
                                           json_object_get(json, "message")),
                         0);
    }
    return wanted;
}

/* How far each key is, over all partitions. */
struct reading {
    const json_t *wanted; /* borrowed */
    struct map *lens;     /* key -> messages that came, those that came again not counted */
    struct map *nexts;    /* key -> the place of the message that comes next */
    struct map *places;   /* key -> the partition that it is in, and one */
    size_t again, records;
};

/* A message is the next of its key, or one that came before: then those behind it come again as
 * well, one after the other. */
static void reading_take(struct reading *reading, const char *key, const json_t *envelope)
{
    const json_t *wanted = json_object_get(reading->wanted, key);
    bool added;
    uint64_t *len = map_put(reading->lens, span_of(key), 0, &added);
    uint64_t *next = map_put(reading->nexts, span_of(key), 0, &added);
    uint64_t place = *next;

    ck_assert_msg(wanted != NULL, "nobody has written for %s", key);
    if (place == json_array_size(wanted) || !json_equal(json_array_get(wanted, place), envelope)) {
        for (place = 0; place < *next; place++) {
            if (json_equal(json_array_get(wanted, place), envelope))
                break;
        }
        ck_assert_msg(place < *next, "%s: a message is not the one behind %zu others", key,
                      (size_t)*next);
    }
    *next = place + 1;
    if (*next > *len)
        *len = *next;
    else
        reading->again++;
}

static void reading_take_partition(struct reading *reading, const struct out *out,
                                   int32_t partition)
{
    static const struct message_limits limits = { .text_bytes_max = 64 << 20,
                                                  .parts_max = PARTS_MAX,
                                                  .waiting_max = 4,
                                                  .waiting_bytes_max = 64 << 20 };
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
    AUTO(broker_records_done) struct broker_records records;

    broker_topic_read(out->broker, out->topic, partition, &records);
    for (size_t i = 0; i < records.len; i++) {
        struct message message;
        struct err err = { 0 };
        bool added;
        uint64_t *place;
        int rc = message_read(reader, span_of(records.items[i].value), 0, &message, &err);

        ck_assert_msg(rc >= 0, "%s", err.text);
        place = map_put(reading->places, span_of(records.items[i].key), (uint64_t)partition + 1,
                        &added);
        ck_assert_uint_eq(*place, (uint64_t)partition + 1);
        if (rc > 0)
            reading_take(reading, records.items[i].key, message.root);
        message_done(&message);
    }
    reading->records += records.len;
}

struct published {
    size_t again;   /* messages that came more than once */
    size_t records; /* of the topic: parts count each */
};

/* Waits until all is published; then each key has its messages in one partition and in order. */
static struct published out_check(const struct out *out)
{
    json_auto_t *wanted = NULL;
    struct reading reading = { .lens = map_new(), .nexts = map_new(), .places = map_new() };
    const char *key;
    json_t *messages;

    out_wait(out);
    reading.wanted = wanted = outbox_read(out->rig.service);
    for (int32_t partition = 0; partition < out->partitions; partition++)
        reading_take_partition(&reading, out, partition);
    json_object_foreach(wanted, key, messages)
    {
        const uint64_t *len = map_get(reading.lens, span_of(key));

        ck_assert_msg(len && *len == json_array_size(messages), "%s: %zu of %zu messages", key,
                      len ? (size_t)*len : 0, json_array_size(messages));
    }
    map_free(reading.lens);
    map_free(reading.nexts);
    map_free(reading.places);
    return (struct published){ reading.again, reading.records };
}

static int64_t out_sample(const struct out *out, const char *name)
{
    AUTO(mem_free) char *full = xasprintf("plumbline_outbox_%s", name);

    return service_sample(out->rig.service, full);
}

/* ---- in order ---- */

START_TEST(published_in_order)
{
    AUTO(out_done) struct out out;
    struct published published;

    out_init(&out, broker_shared(), 3, NULL);
    for (int round = 0; round < 10; round++) {
        AUTO(mem_free) char *events = events_of(round * 40, 40);

        service_take(out.rig.service, events);
    }
    published = out_check(&out);
    ck_assert_uint_eq(published.again, 0);
    ck_assert_uint_eq(published.records, 800);
    WAIT_UNTIL(OUT_MS_MAX, out_sample(&out, "pending") == 0);
    ck_assert_int_eq(out_sample(&out, "published_total"), 800);
    ck_assert_int_eq(out_sample(&out, "oldest_seconds"), 0);
    ck_assert_int_eq(out_sample(&out, "relay"), 1);
    ck_assert_int_eq(out_sample(&out, "failures_total"), 0);
}
END_TEST

/* Packed above the limit, and cut where that is not enough. */
START_TEST(large_messages)
{
    enum { TABLES = 4000, BYTES_MAX = 8192 };
    AUTO(out_done) struct out out;
    AUTO(buf_done) struct buf body;
    AUTO(broker_records_done) struct broker_records records;
    uint64_t seed = 11;
    size_t packed = 0, cut = 0;

    out_init(&out, broker_shared(), 1, "8192");
    buf_init(&body, SIZE_MAX);
    for (int build = 0; build < 3; build++) {
        /* none, names that pack well, names that don't */
        buf_append_fmt(&body,
                       "%c{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\","
                       "\"modelName\":\"M\",\"modelBuildCrn\":\"b%d\",\"buildNumber\":%d,"
                       "\"userName\":\"bob\",\"inputs\":[",
                       build ? ',' : '[', build, build);
        for (int i = 0; build && i < (build == 1 ? TABLES / 20 : TABLES); i++)
            buf_append_fmt(&body, "%s{\"typeName\":\"hive_table\",\"qualifiedName\":\"x.%x%x@cm\"}",
                           i ? "," : "", build == 1 ? 0 : dice_roll(&seed, UINT32_MAX), i);
        buf_append_text(&body, "]}");
    }
    buf_append_char(&body, ']');
    service_take(out.rig.service, buf_text(&body));
    ck_assert_uint_eq(out_check(&out).again, 0);
    broker_topic_read(out.broker, out.topic, 0, &records);
    for (size_t i = 0; i < records.len; i++) {
        json_auto_t *json = service_json(records.items[i].value);

        ck_assert_uint_le(strlen(records.items[i].value), BYTES_MAX);
        packed += strcmp(service_text(json, "msgCompressionKind"), "GZIP") == 0;
        cut += service_number(json, "msgSplitCount") > 1;
    }
    ck_assert_uint_gt(cut, 2);
    ck_assert_uint_eq(packed, cut + 1);
    ck_assert_uint_eq(records.len, packed + 1);
}
END_TEST

/* ---- brokers ---- */

START_TEST(brokers_go_and_come_back)
{
    AUTO(broker_free) struct broker *broker = broker_start();
    AUTO(out_done) struct out out;

    out_init(&out, broker, 2, NULL);
    for (int round = 0; round < 2; round++) {
        AUTO(mem_free) char *first = events_of(round * 200, 100);
        AUTO(mem_free) char *second = events_of(round * 200 + 100, 100);
        int64_t failures = out_sample(&out, "failures_total");

        service_take(out.rig.service, first);
        if (round)
            out_wait(&out);
        broker_kill9(broker);
        service_take(out.rig.service, second);
        WAIT_UNTIL(OUT_MS_MAX, out_sample(&out, "failures_total") > failures);
        WAIT_UNTIL(OUT_MS_MAX, out_sample(&out, "pending") > 0);
        broker_resume(broker);
        (void)out_check(&out);
    }
    WAIT_UNTIL(OUT_MS_MAX, out_sample(&out, "pending") == 0);
}
END_TEST

/* Killed while what it has sent waits for brokers: that is not published, whatever the daemon had
 * done with it. */
START_TEST(killed_while_brokers_are_away)
{
    AUTO(broker_free) struct broker *broker = broker_start();
    AUTO(out_done) struct out out;
    AUTO(mem_free) char *first = events_of(0, 10), *second = events_of(10, 50);

    out_init(&out, broker, 2, NULL);
    service_take(out.rig.service, first);
    out_wait(&out);
    broker_kill9(broker);
    service_take(out.rig.service, second);
    WAIT_UNTIL(OUT_MS_MAX,
               out_sample(&out, "failures_total") > 0 || out_sample(&out, "published_total") > 20);
    daemon_kill9(out.rig.service->daemon);
    broker_resume(broker);
    daemon_resume(out.rig.service->daemon);
    (void)out_check(&out);
}
END_TEST

/* Whatever a broker says, what it refused is sent again, and nothing before it. */
START_TEST(refused_and_taken)
{
    static const int errors[] = { 10 /* too large */, 17 /* invalid topic */, 29 /* not allowed */,
                                  19 /* too few replicas */, 6 /* not the leader */ };
    AUTO(broker_free) struct broker *broker = broker_mock();
    AUTO(out_done) struct out out;

    out_init(&out, broker, 1, NULL);
    for (size_t i = 0; i < LENGTH(errors); i++) {
        AUTO(mem_free) char *events = events_of((int)i * 20, 20);

        broker_mock_fail(broker, BROKER_PRODUCE, 1, errors[i]);
        service_take(out.rig.service, events);
        (void)out_check(&out);
    }
    ck_assert_int_ge(out_sample(&out, "failures_total"), 1);
}
END_TEST

/* What a broker has got before it refuses something is not sent again. */
START_TEST(goes_on_where_it_was_refused)
{
    AUTO(broker_free) struct broker *broker = broker_mock();
    AUTO(out_done) struct out out;
    AUTO(mem_free) char *events = events_of(0, 50);
    struct published published;

    out_start(&out, broker, 1, NULL, NULL,
              "message.timeout.ms=2000\nbatch.num.messages=10\nmax.in.flight=1\n");
    broker_mock_fail(broker, BROKER_PRODUCE, 2, 0); /* these go well */
    broker_mock_fail(broker, BROKER_PRODUCE, 1, 29 /* not allowed */);
    service_take(out.rig.service, events);
    published = out_check(&out);
    ck_assert_int_eq(out_sample(&out, "failures_total"), 1);
    ck_assert_uint_eq(published.again, 0);
    ck_assert_uint_eq(published.records, 100);
    ck_assert_int_eq(out_sample(&out, "published_total"), 100);
}
END_TEST

/* ---- daemons ---- */

/* Killed when its answer has come and, as a rule, before the message has left. */
START_TEST(killed_between_commit_and_publish)
{
    enum { ROUNDS = 6 };
    AUTO(out_done) struct out out;

    out_init(&out, broker_shared(), 2, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        AUTO(mem_free) char *events = events_of(round * 50, 50);

        service_take(out.rig.service, events);
        daemon_kill9(out.rig.service->daemon);
        daemon_resume(out.rig.service->daemon);
    }
    (void)out_check(&out);
}
END_TEST

/* Killed while it publishes a few pages. */
START_TEST(killed_in_the_middle)
{
    enum { PROJECTS = 3000, ROUNDS = 3 };
    AUTO(out_done) struct out out;
    AUTO(buf_done) struct buf body;

    out_init(&out, broker_shared(), 1, NULL);
    ck_assert_int_eq(daemon_stop(out.rig.service->daemon), 0);
    out.rig.variables[5] = xstrdup("PLUMBLINE_KAFKA_LINEAGE_MESSAGES=false");
    out.rig.environment[5] = out.rig.variables[5];
    daemon_resume(out.rig.service->daemon);
    buf_init(&body, SIZE_MAX);
    for (int i = 0; i < PROJECTS; i++) {
        AUTO(mem_free) char *event = project_event(i);

        buf_append_fmt(&body, "%c%s", i ? ',' : '[', event);
    }
    buf_append_char(&body, ']');
    service_take(out.rig.service, buf_text(&body));
    /* it is off */
    ck_assert_int_eq(pg_query_i64(out.rig.service->dsn, "SELECT published FROM outbox_position"),
                     0);
    ck_assert(!daemon_log_has(out.rig.service->daemon, "name=relay"));
    ck_assert_int_eq(out_sample(&out, "relay"), 0);
    ck_assert_int_eq(daemon_stop(out.rig.service->daemon), 0);
    out.rig.environment[5] = NULL;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t end = broker_topic_end(out.broker, out.topic, 0);

        daemon_resume(out.rig.service->daemon);
        WAIT_UNTIL(OUT_MS_MAX, broker_topic_end(out.broker, out.topic, 0) > end || end >= PROJECTS);
        daemon_kill9(out.rig.service->daemon);
    }
    daemon_resume(out.rig.service->daemon);
    (void)out_check(&out);
}
END_TEST

START_TEST(two_daemons_one_relay)
{
    AUTO(out_done) struct out out;
    AUTO(mem_free) char *first = events_of(0, 100), *second = events_of(100, 100);
    AUTO(daemon_free) struct daemon *other = NULL;

    out_init(&out, broker_shared(), 2, NULL);
    WAIT_UNTIL(OUT_MS_MAX, out_sample(&out, "relay") == 1);
    other = daemon_start(&(struct daemon_options){ .dsn = out.rig.service->dsn,
                                                   .environment = out.rig.environment });
    service_take(out.rig.service, first);
    ck_assert_uint_eq(out_check(&out).again, 0);
    ck_assert_int_eq(daemon_metric(other, "plumbline_outbox_relay"), 0);
    ck_assert_int_eq(daemon_metric(other, "plumbline_outbox_published_total"), 0);
    daemon_kill9(out.rig.service->daemon);
    WAIT_UNTIL(OUT_MS_MAX, daemon_metric(other, "plumbline_outbox_relay") == 1);
    daemon_resume(out.rig.service->daemon);
    service_take(out.rig.service, second);
    (void)out_check(&out);
    ck_assert_int_eq(out_sample(&out, "relay"), 0);
    WAIT_UNTIL(OUT_MS_MAX, daemon_metric(other, "plumbline_outbox_published_total") == 200);
}
END_TEST

/* A relay whose session ends is no relay any more: what it was about to send goes nowhere, though
 * brokers can be reached and Postgres can't. */
START_TEST(nothing_without_the_lock)
{
    enum { EVENTS = 50 };
    AUTO(broker_free) struct broker *broker = broker_start();
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared()), *through = NULL;
    AUTO(proxy_stop) struct proxy *proxy = proxy_start_for(dsn, &through);
    AUTO(mem_free) char *first = events_of(0, EVENTS), *second = events_of(EVENTS, EVENTS);
    AUTO(out_done) struct out out;
    AUTO(daemon_free) struct daemon *other = NULL;
    struct published published;

    out_start(&out, broker, 2, NULL, through, "message.timeout.ms=20000\n");
    free(out.rig.service->dsn);
    out.rig.service->dsn = xstrdup(dsn); /* past the proxy */
    service_take(out.rig.service, first);
    out_wait(&out);
    broker_kill9(broker);
    service_take(out.rig.service, second);
    /* it has read them, and sends them to nobody */
    WAIT_UNTIL(OUT_MS_MAX,
               pg_query_i64(dsn, "SELECT count(*) FROM pg_stat_activity AS a WHERE"
                                 " a.application_name = 'plumbline relay' AND"
                                 " a.datname = current_database() AND a.state = 'idle' AND"
                                 " a.query_start > (SELECT max(recorded_at) FROM outbox)") > 0);
    proxy_refuse(proxy, true);
    WAIT_UNTIL(OUT_MS_MAX, daemon_log_has(out.rig.service->daemon, "name=relay action=retry"));
    broker_resume(broker);
    other =
        daemon_start(&(struct daemon_options){ .dsn = dsn, .environment = out.rig.environment });
    out_wait(&out);
    proxy_refuse(proxy, false);
    published = out_check(&out);
    ck_assert_uint_eq(published.again, 0);
    ck_assert_uint_eq(published.records, 4 * EVENTS);
    ck_assert_int_eq(daemon_metric(other, "plumbline_outbox_published_total"), 2 * EVENTS);
}
END_TEST

/* The relay's session is ended again and again while messages are on their way, and another daemon
 * goes on. */
START_TEST(sessions_end)
{
    enum { ROUNDS = 8, EVENTS = 200 };
    AUTO(out_done) struct out out;
    AUTO(daemon_free) struct daemon *other = NULL;
    int64_t ended = 0;

    out_init(&out, broker_shared(), 2, NULL);
    other = daemon_start(&(struct daemon_options){ .dsn = out.rig.service->dsn,
                                                   .environment = out.rig.environment });
    for (int round = 0; round < ROUNDS; round++) {
        AUTO(mem_free) char *events = events_of(round * EVENTS, EVENTS);

        service_take(out.rig.service, events);
        WAIT_UNTIL(OUT_MS_MAX, broker_topic_end(out.broker, out.topic, 0) +
                                       broker_topic_end(out.broker, out.topic, 1) >=
                                   (int64_t)round * 2 * EVENTS + round % 2);
        ended += pg_query_i64(out.rig.service->dsn,
                              "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE"
                              " locktype = 'advisory' AND granted AND objsubid = 2 AND objid = 9"
                              " AND database = (SELECT oid FROM pg_database"
                              "  WHERE datname = current_database())");
    }
    (void)out_check(&out);
    ck_assert_int_gt(ended, ROUNDS / 2);
    WAIT_UNTIL(OUT_MS_MAX,
               out_sample(&out, "relay") + daemon_metric(other, "plumbline_outbox_relay") == 1);
}
END_TEST

/* What is not published yet is not removed for its age, only when there is too much of it. */
START_TEST(kept_until_published)
{
    AUTO(broker_free) struct broker *broker = broker_start();
    AUTO(out_done) struct out out;
    AUTO(mem_free) char *first = events_of(0, 10), *second = events_of(10, 10);

    out_init(&out, broker, 1, NULL);
    ck_assert_int_eq(daemon_stop(out.rig.service->daemon), 0);
    out.rig.variables[5] = xstrdup("PLUMBLINE_OUTBOX_RETENTION=1s");
    out.rig.variables[6] = xstrdup("PLUMBLINE_OUTBOX_MESSAGES_MAX=30");
    out.rig.environment[5] = out.rig.variables[5];
    out.rig.environment[6] = out.rig.variables[6];
    daemon_resume(out.rig.service->daemon);
    broker_kill9(broker);
    service_take(out.rig.service, first);
    WAIT_UNTIL(OUT_MS_MAX, out_sample(&out, "oldest_seconds") >= 3);
    ck_assert_int_eq(pg_query_i64(out.rig.service->dsn, "SELECT count(*) FROM outbox"), 20);
    service_take(out.rig.service, second);
    WAIT_UNTIL(OUT_MS_MAX, out_sample(&out, "dropped_total") == 10);
    ck_assert(daemon_log_has(out.rig.service->daemon, "event=messages_dropped"));
    broker_resume(broker);
    WAIT_UNTIL(OUT_MS_MAX, pg_query_i64(out.rig.service->dsn, "SELECT count(*) FROM outbox") == 0);
    ck_assert_int_ge(broker_topic_end(broker, out.topic, 0), 30);
}
END_TEST

/* A daemon that publishes nothing knows that another one does: what that has not published yet
 * stays. After a week nobody is expected any more. */
START_TEST(kept_for_another_daemon)
{
    AUTO(out_done) struct out out;
    AUTO(mem_free) char *first = events_of(0, 10), *second = events_of(10, 10);
    const char *dsn;

    out_init(&out, broker_shared(), 1, NULL);
    dsn = out.rig.service->dsn;
    service_take(out.rig.service, first);
    out_wait(&out);
    ck_assert_int_eq(daemon_stop(out.rig.service->daemon), 0);
    out.rig.variables[5] = xstrdup("PLUMBLINE_OUTBOX_RETENTION=1h");
    out.rig.variables[6] = xstrdup("PLUMBLINE_KAFKA_LINEAGE_MESSAGES=false");
    out.rig.environment[5] = out.rig.variables[5];
    out.rig.environment[6] = out.rig.variables[6];
    daemon_resume(out.rig.service->daemon);
    service_take(out.rig.service, second);
    pg_exec(dsn, "UPDATE outbox SET recorded_at = recorded_at - interval '2 hours'");
    WAIT_UNTIL(OUT_MS_MAX, pg_query_i64(dsn, "SELECT removed FROM outbox_position") > 0);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM outbox"), 20);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT removed - published FROM outbox_position"), 0);
    ck_assert_int_eq(out_sample(&out, "dropped_total"), 0);
    pg_exec(dsn, "UPDATE outbox_position SET relayed_at = relayed_at - interval '8 days'");
    WAIT_UNTIL(OUT_MS_MAX, out_sample(&out, "dropped_total") == 20);
    ck_assert(daemon_log_has(out.rig.service->daemon, "event=messages_dropped"));
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM outbox"), 0);
}
END_TEST

static TCase *out_case(const char *name)
{
    TCase *tcase = tcase_create(name);

    tcase_set_timeout(tcase, 240);
    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    return tcase;
}

Suite *kafka_out_suite(void)
{
    Suite *suite;
    TCase *tcase;

    if (!broker_is_there())
        return NULL;
    suite = suite_create("kafka_out");
    tcase = out_case("out");
    tcase_add_unchecked_fixture(tcase, broker_shared_start, NULL);
    tcase_add_test(tcase, published_in_order);
    tcase_add_test(tcase, large_messages);
    tcase_add_test(tcase, killed_between_commit_and_publish);
    tcase_add_test(tcase, killed_in_the_middle);
    tcase_add_test(tcase, two_daemons_one_relay);
    tcase_add_test(tcase, sessions_end);
    tcase_add_test(tcase, kept_for_another_daemon);
    suite_add_tcase(suite, tcase);
    tcase = out_case("brokers"); /* of the test's own */
    tcase_add_test(tcase, refused_and_taken);
    tcase_add_test(tcase, goes_on_where_it_was_refused);
    tcase_add_test(tcase, brokers_go_and_come_back);
    tcase_add_test(tcase, killed_while_brokers_are_away);
    tcase_add_test(tcase, nothing_without_the_lock);
    tcase_add_test(tcase, kept_until_published);
    suite_add_tcase(suite, tcase);
    return suite;
}
