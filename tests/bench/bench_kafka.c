/* Events from a filled Kafka topic, beside psql's binary \copy of the rows that came of them. */
#include <check.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "tests/bench/bench.h"
#include "tests/bench/events.h"
#include "tests/harness/broker.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"

enum { EVENTS = 500000, PARTITIONS = 8, MANY = 100, READ_MS_MAX = 120000 };
enum { BUFFERS_BYTES = 64 * 1024 * 1024 }; /* librdkafka's, full in every run of full size */

static void topic_fill(struct broker *broker, const char *topic, int64_t events,
                       int64_t per_message)
{
    static const char *const settings[] = { "linger.ms", "20", "queue.buffering.max.messages",
                                            "1000000", NULL };
    AUTO(producer_free) struct producer *producer = producer_new(broker, settings);
    AUTO(buf_done) struct buf value;
    int32_t partition = 0;

    broker_topic_make(broker, topic, PARTITIONS, NULL);
    buf_init(&value, SIZE_MAX);
    for (int64_t n = 0; n < events; partition = (partition + 1) % PARTITIONS) {
        buf_clear(&value);
        for (int64_t i = 0; i < per_message && n < events; i++) {
            if (per_message > 1)
                buf_append_char(&value, i ? ',' : '[');
            event_write(&value, (uint64_t)n++);
        }
        if (per_message > 1)
            buf_append_char(&value, ']');
        producer_send(producer, &(struct producer_message){ .topic = topic,
                                                            .partition = partition,
                                                            .value = value.data,
                                                            .len = value.len });
    }
    producer_flush(producer);
    ck_assert_uint_eq(producer_failures(producer), 0);
}

/* Looks from time to time, over one connection, so that looking takes next to nothing. Returns how
 * many are stored then: at least `messages`. */
static int64_t wait_stored(PGconn *conn, int64_t messages)
{
    int64_t end_ms = clock_mono_ms() + READ_MS_MAX, have = 0;

    while (have < messages) {
        PGresult *result = PQexec(conn, "SELECT coalesce(sum(next_offset), 0) FROM kafka_offset");

        ck_assert_msg(PQntuples(result) == 1 && clock_mono_ms() < end_ms, "%s",
                      PQerrorMessage(conn));
        have = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
        PQclear(result);
        (void)nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    return have;
}

static void daemon_read(struct bench *bench, struct broker *broker, const char *topic,
                        int64_t events, int64_t per_message, const char *path,
                        struct bench_side *side)
{
    AUTO(mem_free) char *dsn = bench_database_new(bench);
    AUTO(mem_free) char *brokers = xasprintf("PLUMBLINE_KAFKA_BROKERS=%s", broker_address(broker));
    AUTO(mem_free) char *topics = xasprintf("PLUMBLINE_KAFKA_TOPICS=%s", topic);
    const char *const environment[] = { brokers, topics, NULL };
    int64_t messages = (events + per_message - 1) / per_message, first, start_us;
    struct daemon *daemon =
        bench_daemon_start_with(&(struct daemon_options){ .dsn = dsn, .environment = environment });
    PGconn *conn = pg_connect(dsn);
    struct bench_meter meter;

    bench_meter_start(&meter, bench, daemon);
    first = wait_stored(conn, 1);
    start_us = clock_mono_us();
    ck_assert_int_eq(wait_stored(conn, messages), messages);
    bench_side_add(side, (double)((messages - first) * per_message) /
                             ((double)(clock_mono_us() - start_us) / 1e6));
    bench_meter_stop(&meter, side);
    PQfinish(conn);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM prediction"), events);
    bench_daemon_stop_beside(bench, daemon, BUFFERS_BYTES);
    bench_rows_out(dsn, path);
    bench_database_drop(bench, dsn);
}

static void kafka_measure(struct bench *bench, struct broker *broker, int64_t per_message,
                          const char *measure)
{
    int64_t events = bench_scaled(EVENTS);
    AUTO(mem_free) char *topic = broker_topic_name("bench");
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/rows", dir);
    struct bench_side ours = { 0 }, theirs = { 0 };

    topic_fill(broker, topic, events, per_message);
    for (int round = 0; round < BENCH_ROUNDS; round++) {
        daemon_read(bench, broker, topic, events, per_message, path, &ours);
        bench_rows_in(bench, events, path, &theirs);
        bench_say("%.0f events/s, psql \\copy %.0f rows/s", ours.values[round],
                  theirs.values[round]);
    }
    bench_row(&(struct bench_row){ .measure = measure,
                                   .unit = "events/s",
                                   .ours = &ours,
                                   .against = "psql binary \\copy",
                                   .theirs = &theirs,
                                   .want = BENCH_RATIO_MIN,
                                   .limit = 0.6,
                                   .aim = 0.9 });
}

static void kafka_run(struct bench *bench)
{
    AUTO(broker_free) struct broker *broker = NULL;

    if (!broker_is_there()) {
        bench_say("no broker, see tools/fetch-jars kafka: left out");
        return;
    }
    broker = broker_start();
    kafka_measure(bench, broker, 1, "from Kafka, 8 partitions, one event a message");
    kafka_measure(bench, broker, MANY, "from Kafka, 8 partitions, 100 events a message");
}

int main(void)
{
    return bench_main("kafka", kafka_run);
}
