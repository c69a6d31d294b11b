#include "collector/kafka.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "collector/kafka_publish.h"
#include "kafka_internal.h"

enum {
    KAFKA_POLL_MS = 100,
    KAFKA_BUSY_MS = 2,          /* while something waits for what is on its way */
    KAFKA_PAUSE_AFTER_MS = 500, /* shorter stalls keep what librdkafka has fetched */
    KAFKA_REPORT_MS = 1000,
    KAFKA_PROBE_MS = 2000,
    KAFKA_PROBE_MS_MAX = 1000,
    KAFKA_CLOSE_MS_MAX = 5000,
};

/* ---------------------------------------------------------------------------- the configuration */

/* What we decide ourselves; from everything else kafka.properties takes over. */
static const char *const kafka_own_properties[] = {
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "isolation.level",
    "partition.assignment.strategy",
    "enable.idempotence",
    "transactional.id",
    "enable.gapless.guarantee",
    "acks",
    "request.required.acks",
    NULL,
};

static const char *const kafka_properties[][2] = {
    { "enable.auto.commit", "false" },
    { "enable.auto.offset.store", "false" },
    { "enable.partition.eof", "true" },
    { "isolation.level", "read_committed" },
    { "auto.offset.reset", "error" }, /* a lost place is looked into, never skipped over */
    { "partition.assignment.strategy", "cooperative-sticky" },
    { "client.id", "plumbline" },
    /* where this is full librdkafka does not fetch for up to a second: it has to last for one */
    { "queued.max.messages.kbytes", "65536" },
    { "fetch.max.bytes", "8388608" },
    /* of a partition at a time: less than it can gather, or it would be in the others' way, and
     * partitions that were filled together are read together */
    { "fetch.message.max.bytes", "262144" },
    { "topic.metadata.refresh.interval.ms", "10000" }, /* how late a new topic is seen */
    /* questions to a broker that hangs last as long, whatever time they are given */
    { "socket.timeout.ms", "10000" },
    { NULL, NULL },
};

static int kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                          struct err *err)
{
    char why[KAFKA_WHY_BYTES];

    if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) == RD_KAFKA_CONF_OK)
        return 0;
    return err_set(err, ERR_INPUT, "%s", why);
}

/* One property of kafka.properties. auto.offset.reset is ours to act upon. */
static int kafka_conf_property(rd_kafka_conf_t *conf, const char *name, const char *value,
                               bool *from_end, struct err *err)
{
    if (strcmp(name, "auto.offset.reset") == 0) {
        bool nowhere;

        from_end = from_end ? from_end : &nowhere;
        *from_end = strcmp(value, "latest") == 0;
        if (*from_end || strcmp(value, "earliest") == 0)
            return 0;
        return err_set(err, ERR_INPUT,
                       "kafka.properties: auto.offset.reset is earliest or latest, not \"%.64s\"",
                       value);
    }
    for (const char *const *own = kafka_own_properties; *own; own++) {
        if (strcmp(name, *own) == 0)
            return err_set(err, ERR_INPUT, "kafka.properties: %s is not for the configuration",
                           name);
    }
    if (kafka_conf_set(conf, name, value, err) == 0)
        return 0;
    /* several in one line, which librdkafka quotes (no name has a '='): may be a password */
    if (strchr(value, '=') && strchr(err->text, '='))
        return err_set(err, ERR_INPUT,
                       "kafka.properties: the value of %.64s holds a '=' and is impossible; each "
                       "property has its own line",
                       name);
    return err_prefix(err, "kafka.properties: ");
}

rd_kafka_conf_t *kafka_conf_new(const struct config *config, const char *const (*presets)[2],
                                bool *from_end, struct err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const char *line = config->kafka_properties;

    for (; (*presets)[0]; presets++) {
        if (kafka_conf_set(conf, (*presets)[0], (*presets)[1], err) < 0)
            goto fail;
    }
    if (kafka_conf_set(conf, "bootstrap.servers", config->kafka_brokers, err) < 0)
        goto fail;
    while (line && *line) {
        size_t len = strcspn(line, "\n");
        AUTO(mem_free) char *name = xmemdup0(line, len);
        char *equals = strchr(name, '=');

        *equals = '\0';
        if (kafka_conf_property(conf, name, equals + 1, from_end, err) < 0)
            goto fail;
        line += len + 1;
    }
    return conf;
fail:
    rd_kafka_conf_destroy(conf);
    return NULL;
}

static rd_kafka_conf_t *kafka_conf(const struct config *config, bool *from_end, struct err *err)
{
    rd_kafka_conf_t *conf;

    *from_end = false;
    conf = kafka_conf_new(config, kafka_properties, from_end, err);
    if (!conf || kafka_conf_set(conf, "group.id", config->kafka_group, err) == 0)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

/* The topics between the commas. Owned. NULL: there is an empty one. */
static rd_kafka_topic_partition_list_t *kafka_topics(const struct config *config, struct err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(4);
    const char *topics = config->kafka_topics;

    for (;;) {
        AUTO(mem_free) char *topic = NULL;
        size_t len;

        topics += strspn(topics, " ");
        len = strcspn(topics, ",");
        topic = xmemdup0(topics, len);
        topics += len;
        while (len && topic[len - 1] == ' ')
            topic[--len] = '\0';
        if (!len) {
            rd_kafka_topic_partition_list_destroy(list);
            (void)err_set(err, ERR_INPUT, "kafka.topics: a name is empty in \"%.128s\"",
                          config->kafka_topics);
            return NULL;
        }
        (void)rd_kafka_topic_partition_list_add(list, topic, RD_KAFKA_PARTITION_UA);
        if (!*topics)
            return list;
        topics++;
    }
}

/* A message is of an event or of a hook. */
static int kafka_check_hook(const struct config *config,
                            const rd_kafka_topic_partition_list_t *topics, struct err *err)
{
    const char *topic = config->kafka_hook_topic;

    for (int i = 0; topic && i < topics->cnt; i++) {
        if (strcmp(topics->elems[i].topic, topic) == 0)
            return err_set(err, ERR_INPUT,
                           "kafka.hook_topic: %s is one of kafka.topics too, which have events",
                           topic);
    }
    if (topic && config_publishes(config) && strcmp(topic, config->kafka_lineage_topic) == 0)
        return err_set(err, ERR_INPUT,
                       "kafka.hook_topic: %s is kafka.lineage_topic too: what goes out would come "
                       "in again",
                       topic);
    return 0;
}

/* What goes out must not come in again. */
static int kafka_check_out(const struct config *config,
                           const rd_kafka_topic_partition_list_t *topics, struct err *err)
{
    if (!config_publishes(config))
        return 0;
    for (int i = 0; i < topics->cnt; i++) {
        if (strcmp(topics->elems[i].topic, config->kafka_lineage_topic) == 0)
            return err_set(err, ERR_INPUT,
                           "kafka.lineage_topic: %s is one of kafka.topics too, which are read",
                           config->kafka_lineage_topic);
    }
    return publisher_check(config, err);
}

int kafka_check(const struct config *config, struct err *err)
{
    rd_kafka_topic_partition_list_t *topics;
    rd_kafka_conf_t *conf;
    bool from_end;
    int rc;

    if (!config->kafka_brokers)
        return 0;
    conf = kafka_conf(config, &from_end, err);
    if (!conf)
        return -1;
    rd_kafka_conf_destroy(conf);
    topics = kafka_topics(config, err);
    if (!topics)
        return -1;
    rc = kafka_check_hook(config, topics, err);
    if (rc == 0)
        rc = kafka_check_out(config, topics, err);
    rd_kafka_topic_partition_list_destroy(topics);
    return rc;
}

/* ------------------------------------------------------------------------------ sending, taking */

static void kafka_count(struct kafka *kafka, const struct event_list *list, enum stat_fate fate)
{
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        if (list->received[kind])
            stats_add_events(kafka->setup.stats, fate, (enum event_kind)kind, list->received[kind]);
    }
}

/* A committer's thread: the outcome is there. */
static void kafka_done(struct submission *submission)
{
    struct kafka_partition *partition = submission->owner;
    struct kafka *kafka = partition->kafka;

    (void)pthread_mutex_lock(&kafka->lock);
    submission->next = kafka->finished;
    kafka->finished = submission;
    (void)pthread_cond_signal(&kafka->changed);
    (void)pthread_mutex_unlock(&kafka->lock);
}

static void kafka_send(struct kafka *kafka, struct kafka_partition *partition)
{
    struct submission *submission = TAKE(partition->ready);
    struct queue *queue = submission->is_hook            ? kafka->setup.hook_queue
                          : submission->list.has_lineage ? kafka->setup.graph_queue
                                                         : kafka->setup.queue;

    submission->origin->from = partition->stored;
    assert(submission->origin->to.incarnation != partition->stored.incarnation ||
           submission->origin->to.next > partition->stored.next);
    submission->deadline_mono_ms = INT64_MAX; /* until Postgres is back */
    submission->done = kafka_done;
    submission->owner = partition;
    partition->in_flight = true;
    kafka_count(kafka, &submission->list, FATE_RECEIVED);
    if (queue_push(queue, submission) < 0) {
        submission->outcome = SUBMISSION_NOT_STORED;
        kafka_count(kafka, &submission->list, FATE_NOT_STORED);
        kafka_done(submission);
    }
}

/* Sends what is ready and, unless something is on its way anyway, what is gathered. */
static void kafka_flush(struct kafka *kafka)
{
    for (struct kafka_partition *p = kafka->partitions; p; p = p->next) {
        if (p->in_flight || p->state == KAFKA_LEFT)
            continue;
        if (!p->ready && p->gather.len && !kafka_gather_close(kafka, p))
            continue; /* no memory: later */
        if (p->ready)
            kafka_send(kafka, p);
    }
}

static void kafka_finish(struct kafka *kafka, struct submission *submission)
{
    struct kafka_partition *partition = submission->owner;
    const struct origin *origin = submission->origin;

    partition->in_flight = false;
    kafka->bytes -= submission->bytes;
    if (submission->outcome == SUBMISSION_COMMITTED) {
        partition->stored = origin->to;
        for (int kind = 0; kind < EVENT_KINDS; kind++)
            stats_add(kafka->setup.stats, STAT_KAFKA_REJECTED, submission->list.rejected[kind]);
    } else if (partition->state != KAFKA_LEFT) {
        if (submission->outcome == SUBMISSION_FENCED) {
            stats_add(kafka->setup.stats, STAT_KAFKA_FENCED, 1);
            log_warn("event=kafka_fenced topic=%s partition=%d offset=%lld action=seek",
                     partition->topic, (int)partition->partition, (long long)origin->from.next);
        }
        kafka_partition_rewind(kafka, partition);
    }
    submission_free(submission);
    if (partition->state == KAFKA_LEFT)
        kafka_partition_free(kafka, partition);
    else if (partition->ready)
        kafka_send(kafka, partition);
}

static void kafka_finish_all(struct kafka *kafka, struct submission *finished)
{
    struct submission *next;

    for (; finished; finished = next) {
        next = finished->next;
        kafka_finish(kafka, finished);
    }
}

void kafka_reap(struct kafka *kafka)
{
    kafka_reap_wait(kafka, 0);
}

void kafka_reap_wait(struct kafka *kafka, int64_t ms)
{
    struct timespec until = clock_mono_after(ms);
    struct submission *finished;

    (void)pthread_mutex_lock(&kafka->lock);
    if (ms && !kafka->finished)
        (void)pthread_cond_timedwait(&kafka->changed, &kafka->lock, &until);
    finished = TAKE(kafka->finished);
    (void)pthread_mutex_unlock(&kafka->lock);
    kafka_finish_all(kafka, finished);
}

/* ------------------------------------------------------------------------------------- messages */

/* The first message after the partition began at its mark. false: another one stands there; it
 * comes again if it is one of a new topic's. */
static bool kafka_prove(struct kafka *kafka, struct kafka_partition *partition,
                        const rd_kafka_message_t *message)
{
    if (message->offset == partition->stored.mark_offset &&
        kafka_mark(message) != partition->stored.mark) {
        kafka_partition_doubt(kafka, partition, true);
        return false;
    }
    /* a message behind the mark: compaction has removed the mark's */
    partition->state = KAFKA_READING;
    return true;
}

static void kafka_take_error(struct kafka *kafka, const rd_kafka_message_t *message)
{
    struct kafka_partition *partition = kafka_partition_of(kafka, message);

    switch (message->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        if (partition && partition->state == KAFKA_PROVING) {
            if (message->offset < partition->stored.next)
                kafka_partition_doubt(kafka, partition, false);
            else
                partition->state = KAFKA_READING;
        }
        return;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        if (partition && partition->state != KAFKA_WAITING)
            kafka_partition_doubt(kafka, partition, false);
        return;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART: /* maybe another one by its name comes */
        for (partition = kafka->partitions; partition; partition = partition->next) {
            if (message->rkt && strcmp(partition->topic, rd_kafka_topic_name(message->rkt)) == 0 &&
                (partition->state == KAFKA_PROVING || partition->state == KAFKA_READING))
                kafka_partition_rewind(kafka, partition);
        }
        kafka->restart_ms = clock_mono_ms() + KAFKA_REPORT_MS;
        break;
    default:
        break;
    }
    log_warn("event=kafka_error topic=%s err=\"%s\"",
             message->rkt ? rd_kafka_topic_name(message->rkt) : "",
             rd_kafka_message_errstr(message));
}

static void kafka_come_up(struct kafka *kafka)
{
    if (!kafka->is_up)
        kafka->failure.last[0] = '\0';
    kafka->is_up = true;
}

/* false: there is no room for it now. */
static bool kafka_take(struct kafka *kafka, const rd_kafka_message_t *message)
{
    struct kafka_partition *partition;

    if (message->err) {
        kafka_take_error(kafka, message);
        return true;
    }
    kafka_come_up(kafka);
    partition = kafka_partition_of(kafka, message);
    if (!partition || partition->state == KAFKA_WAITING)
        return true; /* is read again, by us or whoever has it now */
    if (message->offset < kafka_partition_begin(partition) &&
        partition->incarnation == partition->stored.incarnation) {
        kafka_partition_rewind(kafka, partition); /* nobody has sent it there */
        return true;
    }
    if (partition->state == KAFKA_PROVING && !kafka_prove(kafka, partition, message))
        return true;
    if (message->offset < partition->expected)
        return true;
    if (kafka_gather_add(kafka, partition, message))
        return true;
    if (partition->gather.len && !partition->ready && kafka_gather_close(kafka, partition) &&
        !partition->in_flight)
        kafka_send(kafka, partition);
    return !partition->gather.len && kafka_gather_add(kafka, partition, message);
}

/* There is no room for the message that is held. */
static void kafka_stall(struct kafka *kafka)
{
    rd_kafka_message_t *message;
    int64_t now_ms = clock_mono_ms();

    kafka_flush(kafka);
    if (!kafka->stalled_ms)
        kafka->stalled_ms = now_ms;
    if (!kafka->is_paused && now_ms - kafka->stalled_ms > KAFKA_PAUSE_AFTER_MS) {
        log_info("event=kafka_paused bytes=%zu", kafka->bytes);
        stats_add(kafka->setup.stats, STAT_KAFKA_PAUSES, 1);
        kafka_pause(kafka, true);
    }
    if (!kafka->is_paused) {
        kafka_reap_wait(kafka, KAFKA_POLL_MS / 5);
        return;
    }
    message = rd_kafka_consumer_poll(kafka->client, KAFKA_POLL_MS);
    if (!message)
        return;
    if (message->err)
        kafka_take_error(kafka, message);
    else if (kafka_partition_of(kafka, message)) /* came in spite of the pause: it comes again */
        kafka_partition_rewind(kafka, kafka_partition_of(kafka, message));
    rd_kafka_message_destroy(message);
}

static void kafka_unstall(struct kafka *kafka)
{
    kafka->stalled_ms = 0;
    if (kafka->is_paused) {
        kafka_pause(kafka, false);
        log_info("event=kafka_resumed");
    }
}

/* ------------------------------------------------------------------------------- now and then */

/* Tells the group, for lag tools, and /metrics what is stored. */
static void kafka_report(struct kafka *kafka)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    int64_t low, high, lag, sum = 0;

    for (struct kafka_partition *p = kafka->partitions; p; p = p->next) {
        if (p->state == KAFKA_LEFT || p->state == KAFKA_WAITING)
            continue;
        lag = 0;
        if (rd_kafka_get_watermark_offsets(kafka->client, p->topic, p->partition, &low, &high) ==
                RD_KAFKA_RESP_ERR_NO_ERROR &&
            high > p->stored.next)
            lag = high - p->stored.next;
        sum += lag;
        stats_kafka_set(kafka->setup.stats, p->topic, p->partition, lag, p->stored.next);
        if (p->reported == p->stored.next || p->incarnation != p->stored.incarnation)
            continue;
        p->reported = p->stored.next;
        rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = p->stored.next;
    }
    stats_set(kafka->setup.stats, STAT_KAFKA_LAG, sum);
    if (list->cnt)
        (void)rd_kafka_commit(kafka->client, list, 1);
    rd_kafka_topic_partition_list_destroy(list);
}

/* While brokers are away nothing else tells that they are back. */
static void kafka_probe(struct kafka *kafka)
{
    const struct rd_kafka_metadata *metadata;

    if (rd_kafka_metadata(kafka->client, 0, NULL, &metadata, KAFKA_PROBE_MS_MAX))
        return;
    rd_kafka_metadata_destroy(metadata);
    kafka_come_up(kafka);
    log_info("event=kafka_up");
}

static void kafka_tick(struct kafka *kafka)
{
    int64_t now_ms = clock_mono_ms();

    if (now_ms >= kafka->report_ms) {
        kafka->report_ms = now_ms + KAFKA_REPORT_MS;
        kafka_report(kafka);
        if (*kafka->failure.refused && kafka->is_up) /* by one of several brokers */
            log_warn("event=kafka_refused action=retry err=\"%s\"", kafka->failure.refused);
        kafka->failure.refused[0] = '\0';
    }
    if (!kafka->is_up && now_ms >= kafka->probe_ms) {
        kafka->probe_ms = now_ms + KAFKA_PROBE_MS;
        kafka_probe(kafka);
    }
    stats_set(kafka->setup.stats, STAT_KAFKA_UP, kafka->is_up);
}

static void kafka_on_error(rd_kafka_t *client, int code, const char *reason, void *opaque)
{
    struct kafka *kafka = opaque;

    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        if (kafka->is_up)
            log_warn("event=kafka_down action=retry err=\"%s\"",
                     *kafka->failure.last ? kafka->failure.last : reason);
        kafka->is_up = false;
    } else if (code == RD_KAFKA_RESP_ERR__FATAL) {
        char why[KAFKA_WHY_BYTES];

        (void)rd_kafka_fatal_error(client, why, sizeof(why));
        log_error("event=kafka_fatal err=\"%s\"", why);
    } else {
        kafka_failure_add(&kafka->failure, code, reason);
        log_debug("event=kafka_client err=\"%.*s\"", kafka_reason_len(reason), reason);
    }
}

void kafka_on_log(const rd_kafka_t *client, int level, const char *facility, const char *line)
{
    (void)client;
    (void)level;
    log_debug("event=kafka_client facility=%s line=\"%.*s\"", facility, kafka_reason_len(line),
              line);
}

/* ----------------------------------------------------------------------------------- the thread */

static bool kafka_has(const struct kafka *kafka, bool in_flight)
{
    for (const struct kafka_partition *p = kafka->partitions; p; p = p->next) {
        if (in_flight ? p->in_flight : p->ready || p->gather.len)
            return true;
    }
    return false;
}

static int kafka_poll_ms(const struct kafka *kafka)
{
    if (!kafka_has(kafka, false))
        return KAFKA_POLL_MS;
    return kafka_has(kafka, true) ? KAFKA_BUSY_MS : 0;
}

static void kafka_round(struct kafka *kafka)
{
    rd_kafka_message_t *message;

    kafka_reap(kafka);
    kafka_restart(kafka);
    kafka_tick(kafka);
    if (kafka->held) {
        message = TAKE(kafka->held);
        if (!kafka_take(kafka, message)) {
            kafka->held = message;
            kafka_stall(kafka);
            return;
        }
        rd_kafka_message_destroy(message);
    }
    if (kafka->stalled_ms)
        kafka_unstall(kafka);
    message = rd_kafka_consumer_poll(kafka->client, kafka_poll_ms(kafka));
    /* what was fetched together is gathered together */
    for (int i = 0; message && i < KAFKA_GATHER_MESSAGES_MAX; i++) {
        if (!kafka_take(kafka, message)) {
            kafka->held = message;
            return;
        }
        rd_kafka_message_destroy(message);
        message = rd_kafka_consumer_poll(kafka->client, 0);
    }
    if (message)
        kafka->held = message;
    else
        kafka_flush(kafka);
}

/* Leaves the group. A broker that hangs is not waited for: the group sees by itself who is gone. */
static void kafka_close(struct kafka *kafka)
{
    int64_t end_ms = clock_mono_ms() + KAFKA_CLOSE_MS_MAX;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka->client);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(kafka->client, queue);

    while (!error && !rd_kafka_consumer_closed(kafka->client) && clock_mono_ms() < end_ms) {
        rd_kafka_message_t *message = rd_kafka_consume_queue(queue, KAFKA_POLL_MS);

        if (message) /* what had been fetched */
            rd_kafka_message_destroy(message);
    }
    kafka->is_closed = rd_kafka_consumer_closed(kafka->client);
    if (error)
        log_warn("event=kafka_not_closed action=\"end without leaving the group\" err=\"%s\"",
                 rd_kafka_error_string(error));
    else if (!kafka->is_closed)
        log_warn("event=kafka_not_closed action=\"end without leaving the group\" after_ms=%d",
                 KAFKA_CLOSE_MS_MAX);
    if (error)
        rd_kafka_error_destroy(error);
    rd_kafka_queue_destroy(queue);
}

static void *kafka_run(void *arg)
{
    struct kafka *kafka = arg;

    while (!kafka->is_draining)
        kafka_round(kafka);
    if (kafka->held)
        rd_kafka_message_destroy(TAKE(kafka->held));
    while (!kafka->is_stopping || kafka_has(kafka, true)) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(kafka->client, 0);

        if (message)
            rd_kafka_message_destroy(message);
        for (struct kafka_partition *p = kafka->partitions; p; p = p->next) {
            kafka_gather_drop(kafka, p);
            kafka_ready_drop(kafka, p);
        }
        kafka_reap_wait(kafka, KAFKA_POLL_MS);
    }
    kafka_report(kafka);
    kafka_close(kafka);
    return NULL;
}

/* ----------------------------------------------------------------------------- start and stop */

static int kafka_subscribe(struct kafka *kafka, rd_kafka_conf_t *conf, struct err *err)
{
    rd_kafka_topic_partition_list_t *topics = kafka_topics(kafka->setup.config, err);
    char why[KAFKA_WHY_BYTES];
    rd_kafka_resp_err_t code;

    if (!topics) {
        rd_kafka_conf_destroy(conf);
        return -1;
    }
    if (kafka->setup.config->kafka_hook_topic)
        (void)rd_kafka_topic_partition_list_add(topics, kafka->setup.config->kafka_hook_topic,
                                                RD_KAFKA_PARTITION_UA);
    rd_kafka_conf_set_opaque(conf, kafka);
    rd_kafka_conf_set_rebalance_cb(conf, kafka_rebalance);
    rd_kafka_conf_set_error_cb(conf, kafka_on_error);
    rd_kafka_conf_set_log_cb(conf, kafka_on_log);
    kafka->client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    if (!kafka->client) {
        rd_kafka_conf_destroy(conf);
        rd_kafka_topic_partition_list_destroy(topics);
        return err_set(err, ERR_FATAL, "kafka: %s", why);
    }
    (void)rd_kafka_poll_set_consumer(kafka->client);
    code = rd_kafka_subscribe(kafka->client, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    return code ? err_set(err, ERR_FATAL, "kafka.topics: %s", rd_kafka_err2str(code)) : 0;
}

/* Before 2.2 librdkafka dies of an assertion when a cooperative consumer goes that joined the group
 * and has not been assigned anything yet (its issue 4381); then the end of the process frees it, as
 * it does one that still waits for a broker. */
enum { KAFKA_VERSION_GOES_UNASSIGNED = 0x02020000 };

/* Its threads go on: what exit() takes down, as OpenSSL's locks, must not go under them. */
static void kafka_exit(int status, void *client)
{
    (void)client;
    (void)fflush(NULL);
    _exit(status);
}

static void kafka_free(struct kafka *kafka)
{
    if (kafka->client &&
        (!kafka->is_closed ||
         (!kafka->was_assigned && rd_kafka_version() < KAFKA_VERSION_GOES_UNASSIGNED)))
        (void)on_exit(kafka_exit, kafka->client);
    else if (kafka->client)
        rd_kafka_destroy(kafka->client);
    while (kafka->partitions)
        kafka_partition_free(kafka, kafka->partitions);
    assert(!kafka->finished);
    event_decoder_free(kafka->decoder);
    offsets_free(kafka->offsets);
    (void)pthread_cond_destroy(&kafka->changed);
    (void)pthread_mutex_destroy(&kafka->lock);
    free(kafka->cluster);
    free(kafka);
}

struct kafka *kafka_start(const struct kafka_setup *setup, struct err *err)
{
    struct kafka *kafka = xcalloc(1, sizeof(*kafka));
    pthread_condattr_t attr;
    rd_kafka_conf_t *conf;
    uint64_t seed;

    kafka->setup = *setup;
    kafka->limits = setup->config;
    kafka->is_up = true;
    random_fill(&seed, sizeof(seed));
    kafka->decoder = event_decoder_new(seed);
    kafka->offsets = offsets_new(setup->dsn);
    (void)pthread_mutex_init(&kafka->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&kafka->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    conf = kafka_conf(setup->config, &kafka->from_end, err);
    if (!conf || kafka_subscribe(kafka, conf, err) < 0) {
        kafka_free(kafka);
        err->kind = ERR_FATAL;
        return NULL;
    }
    if (pthread_create(&kafka->thread, NULL, kafka_run, kafka) != 0) {
        log_error("event=thread_failed name=kafka");
        abort();
    }
    return kafka;
}

void kafka_reload(struct kafka *kafka, const struct config *config)
{
    if (kafka)
        kafka->limits = config;
}

bool kafka_is_up(const struct kafka *kafka)
{
    return kafka->is_up;
}

void kafka_drain(struct kafka *kafka)
{
    if (kafka)
        kafka->is_draining = true;
}

void kafka_stop(struct kafka *kafka)
{
    if (!kafka)
        return;
    kafka->is_draining = true;
    kafka->is_stopping = true;
    (void)pthread_join(kafka->thread, NULL);
    kafka_free(kafka);
}
