/* The witness's client that sends by Kafka. Its producer sends again by itself, so that what it was
 * given stands in the topic once, whatever becomes of the broker meanwhile. */
#include <check.h>
#include <stdlib.h>

#include "base/mem.h"
#include "broker.h"
#include "dice.h"
#include "pg.h"
#include "wait.h"
#include "witness_internal.h"

enum {
    WAITING_MAX = 300, /* messages; while the broker is away no more are made */
    PARTITIONS_MAX = 16,
    STORED_MS_MAX = 60000,
};

struct witness_kafka {
    struct broker *broker;
    struct producer *producer;
    const char *topic;
    uint32_t partitions;
    int64_t messages[PARTITIONS_MAX]; /* of each partition */
    struct client *client;
    uint32_t *copies; /* owned: how often each of the client's events was sent */
    uint32_t copies_cap;
    uint32_t told; /* its events that the tally has */
};

/* One event as an object, many as an array. */
static void kafka_write(const struct client *client, struct sending *sending)
{
    bool is_array = sending->count > 1;

    buf_init(&sending->body, BODY_BYTES_MAX);
    for (uint32_t i = 0; i < sending->count; i++) {
        if (is_array)
            buf_append_char(&sending->body, i ? ',' : '[');
        event_write(&sending->body, client->witness, sending->first + i);
    }
    if (is_array)
        buf_append_char(&sending->body, ']');
}

static void kafka_note(struct witness_kafka *kafka, const struct sending *sending, uint32_t copies)
{
    uint32_t first = sending->first - kafka->client->number, end = first + sending->count;

    if (end > kafka->copies_cap) {
        kafka->copies_cap = 2 * end;
        kafka->copies = xreallocarray(kafka->copies, kafka->copies_cap, sizeof(*kafka->copies));
    }
    for (uint32_t i = first; i < end; i++)
        kafka->copies[i] = copies;
}

static void kafka_send(struct witness_kafka *kafka)
{
    struct client *client = kafka->client;
    uint32_t copies = dice_roll(&client->dice, 20) ? 1 : 2;
    struct sending sending = { 0 };

    client_take_numbers(client, &sending);
    kafka_write(client, &sending);
    kafka_note(kafka, &sending, copies);
    for (uint32_t i = 0; i < copies; i++) {
        uint32_t partition = dice_roll(&client->dice, kafka->partitions);

        producer_send(kafka->producer, &(struct producer_message){ .topic = kafka->topic,
                                                                   .partition = (int32_t)partition,
                                                                   .value = sending.body.data,
                                                                   .len = sending.body.len });
        kafka->messages[partition]++;
    }
    buf_done(&sending.body);
}

static void *kafka_run(void *ctx)
{
    struct client *client = ctx;
    struct witness_kafka *kafka = client->witness->kafka;

    while (!client->witness->ending && client->len + EVENTS_MAX < 1U << CLIENT_BITS) {
        if (producer_waiting(kafka->producer) < WAITING_MAX)
            kafka_send(kafka);
        for (uint32_t naps = 1 + dice_roll(&client->dice, 4); naps; naps--)
            wait_nap();
    }
    return NULL;
}

void witness_add_kafka(struct witness *witness, struct broker *broker, const char *topic,
                       int partitions)
{
    static const char *const settings[] = { "enable.idempotence",       "true", "linger.ms", "5",
                                            "reconnect.backoff.max.ms", "500",  NULL };
    struct witness_kafka *kafka = xcalloc(1, sizeof(*kafka));

    ck_assert_int_le(partitions, PARTITIONS_MAX);
    kafka->broker = broker;
    kafka->topic = topic;
    kafka->partitions = (uint32_t)partitions;
    kafka->producer = producer_new(broker, settings);
    kafka->client = witness_add_client(witness, kafka_run);
    witness->kafka = kafka;
}

void witness_kafka_free(struct witness *witness)
{
    if (!witness->kafka)
        return;
    producer_free(witness->kafka->producer);
    free(witness->kafka->copies);
    free(TAKE(witness->kafka));
}

static int64_t kafka_messages(const struct witness_kafka *kafka)
{
    int64_t sum = 0;

    for (uint32_t i = 0; i < kafka->partitions; i++)
        sum += kafka->messages[i];
    return sum;
}

void witness_kafka_end(struct witness *witness)
{
    struct witness_kafka *kafka = witness->kafka;

    if (!kafka)
        return;
    producer_flush(kafka->producer);
    ck_assert_uint_eq(producer_failures(kafka->producer), 0);
    for (uint32_t i = 0; i < kafka->client->len; i++)
        kafka->client->fates[i].acknowledged = kafka->copies[i];
    (void)pthread_mutex_lock(&witness->lock);
    witness->tally.events += kafka->client->len - kafka->told;
    kafka->told = kafka->client->len;
    witness->tally.messages = (uint64_t)kafka_messages(kafka);
    (void)pthread_mutex_unlock(&witness->lock);
}

void witness_kafka_check(const struct witness *witness, const char *dsn)
{
    const struct witness_kafka *kafka = witness->kafka;

    if (!kafka)
        return;
    WAIT_UNTIL(STORED_MS_MAX,
               pg_query_i64(dsn,
                            "SELECT coalesce(sum(next_offset), 0)::bigint FROM kafka_offset") >=
                   kafka_messages(kafka));
    for (uint32_t i = 0; i < kafka->partitions; i++) {
        /* what was acknowledged stands in the topic once: else nobody could tell who doubled it */
        ck_assert_int_eq(broker_topic_end(kafka->broker, kafka->topic, (int32_t)i),
                         kafka->messages[i]);
        ck_assert_int_eq(pg_query_i64(dsn,
                                      "SELECT coalesce(max(next_offset), 0) FROM kafka_offset"
                                      " WHERE partition = %u",
                                      i),
                         kafka->messages[i]);
    }
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT coalesce(max(incarnation), 0) FROM kafka_offset"),
                     0);
}
