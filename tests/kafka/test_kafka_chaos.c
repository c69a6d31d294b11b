/* Exactly once, whatever crashes in between: numbered events go to eight partitions while
 * collectors, Postgres and the broker are killed and come back. TEST_LONG makes it longer. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/random.h"
#include "tests/harness/broker.h"
#include "tests/harness/daemon.h"
#include "tests/harness/dice.h"
#include "tests/harness/pg.h"
#include "tests/harness/runner.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *kafka_chaos_suite(void);

#define BASE_MS INT64_C(1700000040000)
#define TOPIC "chaos"

enum { PARTITIONS = 8, COLLECTORS = 3, BURST = 40, SETTLE_MS_MAX = 120000 };

struct chaos {
    struct broker *broker;
    struct pg *pg;
    char *dsn;          /* owned */
    char *variables[2]; /* owned */
    const char *environment[5];
    struct daemon *collectors[COLLECTORS]; /* NULL: never started */
    bool is_up[COLLECTORS];
    struct producer *producer;
    uint32_t sent;
    uint64_t seed;
};

/* Every second event is an aggregate without an identity: only the offsets keep it from counting
 * twice. */
static void send_events(struct chaos *chaos, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t n = chaos->sent++;
        long long start_ms = BASE_MS + 100 * (long long)n;
        AUTO(mem_free) char *value = NULL;

        if (n % 2)
            value = xasprintf("{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"crn:c%u\","
                              "\"startTimestampMs\":%lld,\"endTimestampMs\":%lld,"
                              "\"metrics\":{\"n\":%u}}",
                              n % 5, start_ms, start_ms, n);
        else
            value = xasprintf("{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:c%u\","
                              "\"predictionUuid\":\"%08x-0000-4000-8000-000000000000\","
                              "\"startTimestampMs\":%lld,\"endTimestampMs\":%lld,"
                              "\"metrics\":{\"n\":%u}}",
                              n % 5, n, start_ms, start_ms, n);
        producer_send(chaos->producer,
                      &(struct producer_message){
                          .topic = TOPIC, .partition = (int32_t)(n % PARTITIONS), .value = value });
    }
}

static void collector_start(struct chaos *chaos, uint32_t i)
{
    if (chaos->collectors[i])
        daemon_resume(chaos->collectors[i]);
    else
        chaos->collectors[i] = daemon_start(
            &(struct daemon_options){ .dsn = chaos->dsn, .environment = chaos->environment });
    chaos->is_up[i] = true;
}

/* Kills, stops or starts one of the collectors. */
static void collector_turn(struct chaos *chaos)
{
    uint32_t i = dice_roll(&chaos->seed, COLLECTORS);

    if (!chaos->is_up[i]) {
        collector_start(chaos, i);
        return;
    }
    if (dice_roll(&chaos->seed, 3))
        daemon_kill9(chaos->collectors[i]);
    else
        ck_assert_int_eq(daemon_stop(chaos->collectors[i]), 0);
    chaos->is_up[i] = false;
}

static void chaos_turn(struct chaos *chaos)
{
    switch (dice_roll(&chaos->seed, 8)) {
    case 0:
        pg_restart(chaos->pg, dice_roll(&chaos->seed, 2) ? PG_STOP_IMMEDIATE : PG_STOP_FAST);
        break;
    case 1:
        broker_kill9(chaos->broker);
        send_events(chaos, BURST);
        broker_resume(chaos->broker);
        break;
    default:
        collector_turn(chaos);
        break;
    }
}

static void chaos_init(struct chaos *chaos)
{
    static const char *const settings[] = { "enable.idempotence", "true", "linger.ms", "5", NULL };
    static const char *const once[] = { "fsync=on", NULL };
    const char *seed = getenv("TEST_SEED");

    *chaos = (struct chaos){ .broker = broker_start() };
    random_fill(&chaos->seed, sizeof(chaos->seed));
    if (seed)
        chaos->seed = strtoull(seed, NULL, 10);
    (void)fprintf(stderr, "kafka_chaos: TEST_SEED=%llu\n", (unsigned long long)chaos->seed);
    chaos->pg = pg_start(&(struct pg_options){ .settings = once });
    chaos->dsn = pg_database_new(chaos->pg);
    chaos->variables[0] = xasprintf("PLUMBLINE_KAFKA_BROKERS=%s", broker_address(chaos->broker));
    chaos->environment[0] = chaos->variables[0];
    chaos->environment[1] = "PLUMBLINE_KAFKA_TOPICS=" TOPIC;
    chaos->environment[2] = "PLUMBLINE_KAFKA_PROPERTIES=session.timeout.ms=2000\n"
                            "heartbeat.interval.ms=300\nreconnect.backoff.max.ms=500";
    broker_topic_make(chaos->broker, TOPIC, PARTITIONS, NULL);
    chaos->producer = producer_new(chaos->broker, settings);
}

static void chaos_done(struct chaos *chaos)
{
    for (uint32_t i = 0; i < COLLECTORS; i++)
        daemon_free(chaos->collectors[i]);
    producer_free(chaos->producer);
    pg_free(chaos->pg);
    broker_free(chaos->broker);
    free(chaos->dsn);
    free(chaos->variables[0]);
}

/* Every number once; what is not is named by partition. `first` is the lowest of them, every second
 * one follows. */
static void chaos_check_numbers(struct chaos *chaos, const char *table, uint32_t first)
{
    AUTO(mem_free)
    char *wrong = pg_query_text(
        chaos->dsn,
        "SELECT coalesce(string_agg(format('partition %%s: %%s of %%s to %%s', p, k, a, b),"
        " ', ' ORDER BY p, k), '') FROM (SELECT n %% %d AS p, k, min(n) AS a, max(n) AS b"
        " FROM (SELECT n, CASE count(m) WHEN 0 THEN 'none' ELSE 'more' END AS k"
        " FROM generate_series(%u, %u, 2) AS n LEFT JOIN"
        " (SELECT (metrics->>'n')::int AS m FROM %s) AS t ON m = n GROUP BY n"
        " HAVING count(m) <> 1) AS each GROUP BY p, k) AS all_of_them",
        (int)PARTITIONS, first, chaos->sent - 1, table);

    ck_assert_msg(!*wrong, "%s: %s", table, wrong);
    ck_assert_int_eq(pg_query_i64(chaos->dsn, "SELECT count(*) FROM %s", table),
                     (chaos->sent + 1 - first) / 2);
}

static void chaos_check(struct chaos *chaos)
{
    const char *const words[] = { "verify", "--database", chaos->dsn, NULL };
    AUTO(mem_free) char *output = NULL;

    for (uint32_t p = 0; p < PARTITIONS; p++) {
        uint32_t messages = (chaos->sent + PARTITIONS - 1 - p) / PARTITIONS;

        /* what was produced stands in the topic once: else nobody could tell who doubled it */
        ck_assert_int_eq(broker_topic_end(chaos->broker, TOPIC, (int32_t)p), messages);
        ck_assert_int_eq(pg_query_i64(chaos->dsn,
                                      "SELECT next_offset FROM kafka_offset WHERE partition = %u",
                                      p),
                         messages);
    }
    chaos_check_numbers(chaos, "prediction", 0);
    chaos_check_numbers(chaos, "aggregate_metric", 1);
    ck_assert_int_eq(pg_query_i64(chaos->dsn, "SELECT max(incarnation) FROM kafka_offset"), 0);
    ck_assert_int_eq(pg_query_i64(chaos->dsn, "SELECT sum(accepted)::bigint FROM ingest_balance"),
                     chaos->sent);
    ck_assert_int_eq(pg_query_i64(chaos->dsn, "SELECT sum(received)::bigint FROM ingest_balance"),
                     chaos->sent);
    ck_assert_int_eq(pg_query_i64(chaos->dsn, "SELECT count(*) FROM rejected_event"), 0);
    ck_assert_msg(service_command(words, NULL, &output) == 0, "%s", output);
}

START_TEST(every_event_once)
{
    int64_t long_ms = getenv("TEST_LONG") ? 180000 : runner_short() ? 6000 : 10000;
    struct chaos chaos;
    int64_t end_ms;

    chaos_init(&chaos);
    collector_start(&chaos, 0);
    collector_start(&chaos, 1);
    end_ms = clock_mono_ms() + long_ms;
    while (clock_mono_ms() < end_ms) {
        int64_t next_ms = clock_mono_ms() + dice_roll(&chaos.seed, 1500);

        do {
            send_events(&chaos, BURST);
            wait_nap();
        } while (clock_mono_ms() < next_ms);
        chaos_turn(&chaos);
    }
    producer_flush(chaos.producer);
    ck_assert_uint_eq(producer_failures(chaos.producer), 0);
    for (uint32_t i = 0; i < COLLECTORS; i++) {
        if (!chaos.is_up[i])
            collector_start(&chaos, i);
    }
    WAIT_UNTIL(SETTLE_MS_MAX,
               pg_query_i64(chaos.dsn, "SELECT coalesce(sum(next_offset), 0) FROM kafka_offset") >=
                   chaos.sent);
    chaos_check(&chaos);
    chaos_done(&chaos);
}
END_TEST

Suite *kafka_chaos_suite(void)
{
    Suite *suite;
    TCase *tcase;

    if (!broker_is_there())
        return NULL;
    suite = pg_suite("kafka_chaos", 600, &tcase);
    tcase_add_test(tcase, every_event_once);
    return suite;
}
