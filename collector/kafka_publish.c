#include "collector/kafka_publish.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "kafka_internal.h"

enum {
    PUBLISH_WHY_BYTES = 512,
    PUBLISH_POLL_MS = 100,
    PUBLISH_FULL_MS = 1000, /* how long a full queue is waited for */
    /* What comes to a value: the key, and what the producer counts besides. */
    PUBLISH_OVERHEAD_BYTES = 4096,
    /* Shorter than what Postgres takes to notice that the host of a session is gone, and with it
     * the session's lock: store.c. */
    PUBLISH_TIMEOUT_MS_MAX = 20000,
};

static const char *const publish_presets[][2] = {
    { "enable.idempotence", "true" },
    { "enable.gapless.guarantee", "true" },
    /* after this another collector may try */
    { "message.timeout.ms", "20000" },
    { "partitioner", "murmur2_random" }, /* as Java's producers place keys */
    { "client.id", "plumbline" },
    { NULL, NULL },
};

/* A producer and what became of its messages. */
struct publisher {
    const struct config *config; /* borrowed */
    rd_kafka_t *client;          /* NULL: none yet, or no more */
    size_t sent;                 /* since all had arrived; each has its place as its opaque */
    size_t arrived;              /* the first of them, without a gap */
    bool *places;                /* owned: what has arrived of those that were sent */
    size_t places_cap;
    size_t failed;
    char why[PUBLISH_WHY_BYTES]; /* the first failure */
};

static int publisher_check_timeout(const rd_kafka_conf_t *conf, struct err *err)
{
    char text[24] = "";
    size_t bytes = sizeof(text);
    long ms = 0;

    if (rd_kafka_conf_get(conf, "message.timeout.ms", text, &bytes) == RD_KAFKA_CONF_OK)
        ms = strtol(text, NULL, 10);
    if (ms > 0 && ms <= PUBLISH_TIMEOUT_MS_MAX)
        return 0;
    return err_set(err, ERR_INPUT, "kafka.properties: message.timeout.ms is from 1 to %d, not %ld",
                   PUBLISH_TIMEOUT_MS_MAX, ms);
}

static rd_kafka_conf_t *publisher_conf(const struct config *config, struct err *err)
{
    rd_kafka_conf_t *conf = kafka_conf_new(config, publish_presets, NULL, err);
    char bytes[24], why[PUBLISH_WHY_BYTES];

    if (!conf)
        return NULL;
    (void)snprintf(bytes, sizeof(bytes), "%lld",
                   (long long)config->kafka_message_bytes_max + PUBLISH_OVERHEAD_BYTES);
    if (rd_kafka_conf_set(conf, "message.max.bytes", bytes, why, sizeof(why)) != 0)
        (void)err_set(err, ERR_INPUT, "kafka.message_bytes_max: %s", why);
    else if (publisher_check_timeout(conf, err) == 0)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

/* Some settings are impossible only together, which is seen when a producer is made of them. This
 * one knows no broker and says nothing. */
int publisher_check(const struct config *config, struct err *err)
{
    rd_kafka_conf_t *conf = publisher_conf(config, err);
    char why[PUBLISH_WHY_BYTES];
    rd_kafka_t *client;

    if (!conf)
        return -1;
    (void)rd_kafka_conf_set(conf, "bootstrap.servers", "", NULL, 0);
    rd_kafka_conf_set_log_cb(conf, NULL);
    client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    if (client) {
        rd_kafka_destroy(client);
        return 0;
    }
    rd_kafka_conf_destroy(conf);
    return err_set(err, ERR_INPUT, "kafka.properties: %s", why);
}

struct publisher *publisher_new(const struct config *config, struct err *err)
{
    struct publisher *publisher;

    if (publisher_check(config, err) < 0) {
        err->kind = ERR_FATAL;
        return NULL;
    }
    publisher = xcalloc(1, sizeof(*publisher));
    publisher->config = config;
    return publisher;
}

void publisher_drop(struct publisher *publisher)
{
    if (publisher->client) {
        (void)rd_kafka_purge(publisher->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                                    RD_KAFKA_PURGE_F_NON_BLOCKING);
        rd_kafka_destroy(TAKE(publisher->client));
    }
    publisher->sent = publisher->arrived = publisher->failed = 0;
    publisher->why[0] = '\0';
}

void publisher_free(struct publisher *publisher)
{
    if (!publisher)
        return;
    publisher_drop(publisher);
    free(publisher->places);
    free(publisher);
}

/* Called by rd_kafka_poll. */
static void publisher_delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    struct publisher *publisher = opaque;

    (void)client;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        publisher->places[(uintptr_t)message->_private] = true;
        while (publisher->arrived < publisher->sent && publisher->places[publisher->arrived])
            publisher->arrived++;
        return;
    }
    if (!publisher->failed++)
        (void)snprintf(publisher->why, sizeof(publisher->why), "%s",
                       rd_kafka_err2str(message->err));
}

static int publisher_connect(struct publisher *publisher, struct err *err)
{
    rd_kafka_conf_t *conf = publisher_conf(publisher->config, err);
    char why[PUBLISH_WHY_BYTES];

    if (!conf)
        return -1;
    rd_kafka_conf_set_opaque(conf, publisher);
    rd_kafka_conf_set_dr_msg_cb(conf, publisher_delivered);
    rd_kafka_conf_set_log_cb(conf, kafka_on_log);
    publisher->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    if (publisher->client)
        return 0;
    rd_kafka_conf_destroy(conf);
    return err_set(err, ERR_RETRY, "kafka: %s", why);
}

static int publisher_fail(struct publisher *publisher, const char *why, struct err *err)
{
    (void)err_set(err, ERR_RETRY, "kafka: topic %s: %s", publisher->config->kafka_lineage_topic,
                  why);
    publisher_drop(publisher);
    return -1;
}

/* Room for one more that is sent. Its place is there before the message is: a broker may be
 * quick. */
static void publisher_place(struct publisher *publisher)
{
    if (publisher->sent == publisher->places_cap) {
        publisher->places_cap = publisher->places_cap ? 2 * publisher->places_cap : 512;
        publisher->places =
            xreallocarray(publisher->places, publisher->places_cap, sizeof(*publisher->places));
    }
    publisher->places[publisher->sent] = false;
}

int publisher_send(struct publisher *publisher, struct span key, struct span value, struct err *err)
{
    int64_t until_ms = clock_mono_ms() + PUBLISH_FULL_MS;
    rd_kafka_resp_err_t code;

    if (!publisher->client && publisher_connect(publisher, err) < 0)
        return -1;
    publisher_place(publisher);
    do {
        code = rd_kafka_producev(publisher->client,
                                 RD_KAFKA_V_TOPIC(publisher->config->kafka_lineage_topic),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                 RD_KAFKA_V_KEY((void *)(uintptr_t)key.data, key.len),
                                 RD_KAFKA_V_VALUE((void *)(uintptr_t)value.data, value.len),
                                 RD_KAFKA_V_OPAQUE((void *)(uintptr_t)publisher->sent),
                                 RD_KAFKA_V_END);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            publisher->sent++;
        (void)rd_kafka_poll(publisher->client,
                            code == RD_KAFKA_RESP_ERR__QUEUE_FULL ? PUBLISH_POLL_MS : 0);
    } while (code == RD_KAFKA_RESP_ERR__QUEUE_FULL && clock_mono_ms() < until_ms);
    if (code)
        return publisher_fail(publisher, rd_kafka_err2str(code), err);
    return 0;
}

/* 1: all have arrived. */
static int publisher_poll(struct publisher *publisher, int64_t ms, struct err *err)
{
    int64_t until_ms = clock_mono_ms() + ms;

    while (publisher->arrived < publisher->sent) {
        int64_t left_ms = until_ms - clock_mono_ms();
        char why[PUBLISH_WHY_BYTES];

        if (publisher->failed)
            return err_set(err, ERR_RETRY, "%s", publisher->why);
        if (rd_kafka_fatal_error(publisher->client, why, sizeof(why)))
            return err_set(err, ERR_RETRY, "%s", why);
        if (left_ms <= 0)
            return 0;
        (void)rd_kafka_poll(publisher->client,
                            left_ms < PUBLISH_POLL_MS ? (int)left_ms : PUBLISH_POLL_MS);
    }
    return 1;
}

int publisher_wait(struct publisher *publisher, int64_t ms, size_t *arrived, struct err *err)
{
    struct err why = { 0 };
    int rc;

    *arrived = 0;
    if (!publisher->client)
        return err_set(err, ERR_RETRY, "kafka: nothing is on its way");
    rc = publisher_poll(publisher, ms, &why);
    *arrived = publisher->arrived;
    if (rc < 0)
        return publisher_fail(publisher, why.text, err);
    if (rc > 0)
        publisher->sent = publisher->arrived = 0;
    return rc;
}
