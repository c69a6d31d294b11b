/* Which partitions are ours, and where each begins. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "kafka_internal.h"

enum {
    ASSIGN_CALL_MS_MAX = 5000, /* one question to a broker */
    ASSIGN_LEAVE_MS_MAX =
        3000, /* what is on its way is waited for before a partition is given up */
    ASSIGN_RESTART_MS = 200,
};

struct kafka_partition *kafka_partition_of(struct kafka *kafka, const rd_kafka_message_t *message)
{
    const char *topic = message->rkt ? rd_kafka_topic_name(message->rkt) : "";
    struct kafka_partition *partition = kafka->partitions;

    while (partition &&
           (partition->state == KAFKA_LEFT || partition->partition != message->partition ||
            strcmp(partition->topic, topic) != 0))
        partition = partition->next;
    return partition;
}

void kafka_partition_free(struct kafka *kafka, struct kafka_partition *partition)
{
    struct kafka_partition **place = &kafka->partitions;

    while (*place != partition)
        place = &(*place)->next;
    *place = partition->next;
    kafka_gather_drop(kafka, partition);
    kafka_ready_drop(kafka, partition);
    free(partition->gather.notes);
    free(partition->topic);
    free(partition);
}

static struct kafka_partition *partition_new(struct kafka *kafka, const char *topic, int32_t number)
{
    struct kafka_partition *partition = xcalloc(1, sizeof(*partition));

    partition->kafka = kafka;
    partition->topic = xstrdup(topic);
    partition->partition = number;
    partition->is_hook = kafka->setup.config->kafka_hook_topic &&
                         strcmp(topic, kafka->setup.config->kafka_hook_topic) == 0;
    partition->reported = -1;
    partition->next = kafka->partitions;
    kafka->partitions = partition;
    return partition;
}

/* ---- where it begins ---- */

/* Nothing is stored of the partition: it begins where the configuration says, and that is stored,
 * so that later messages count even if none is taken before the next start. */
static int partition_make(struct kafka *kafka, struct kafka_partition *partition, struct err *err)
{
    int64_t low, high;
    rd_kafka_resp_err_t code =
        rd_kafka_query_watermark_offsets(kafka->client, partition->topic, partition->partition,
                                         &low, &high, ASSIGN_CALL_MS_MAX);

    if (code)
        return err_set(err, ERR_RETRY, "kafka: %s", rd_kafka_err2str(code));
    if (offsets_make(kafka->offsets, kafka->cluster, partition->topic, partition->partition,
                     kafka->from_end ? high : low, err) < 0)
        return -1;
    return offsets_read(kafka->offsets, kafka->cluster, partition->topic, partition->partition,
                        &partition->stored, err);
}

int64_t kafka_partition_begin(const struct kafka_partition *partition)
{
    const struct origin_offset *stored = &partition->stored;

    return stored->mark_offset >= 0 ? stored->mark_offset : stored->next;
}

/* Reads the stored offset. 0: *begin is where to read from. */
static int partition_load(struct kafka *kafka, struct kafka_partition *partition, int64_t *begin,
                          struct err *err)
{
    char *cluster;
    int rc;

    if (!kafka->cluster) {
        cluster = rd_kafka_clusterid(kafka->client, ASSIGN_CALL_MS_MAX);
        if (!cluster)
            return err_set(err, ERR_RETRY, "kafka: no broker tells the cluster's id");
        kafka->cluster = xstrdup(cluster);
        rd_kafka_mem_free(kafka->client, cluster);
    }
    rc = offsets_read(kafka->offsets, kafka->cluster, partition->topic, partition->partition,
                      &partition->stored, err);
    if (rc == 0)
        rc = partition_make(kafka, partition, err);
    if (rc < 0)
        return -1;
    partition->incarnation = partition->stored.incarnation;
    partition->expected = partition->stored.next;
    partition->state = KAFKA_PROVING;
    *begin = kafka_partition_begin(partition);
    return 0;
}

static void partition_list_add(rd_kafka_topic_partition_list_t *list,
                               const struct kafka_partition *partition, int64_t offset)
{
    rd_kafka_topic_partition_list_add(list, partition->topic, partition->partition)->offset =
        offset;
}

void kafka_pause(struct kafka *kafka, bool pause)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);

    for (const struct kafka_partition *p = kafka->partitions; p; p = p->next) {
        if (p->state != KAFKA_LEFT && (pause || p->state != KAFKA_WAITING))
            partition_list_add(list, p, 0);
    }
    if (pause)
        (void)rd_kafka_pause_partitions(kafka->client, list);
    else
        (void)rd_kafka_resume_partitions(kafka->client, list);
    rd_kafka_topic_partition_list_destroy(list);
    kafka->is_paused = pause;
}

static void partition_pause(struct kafka *kafka, const struct kafka_partition *partition,
                            bool pause)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    partition_list_add(list, partition, 0);
    if (pause)
        (void)rd_kafka_pause_partitions(kafka->client, list);
    else
        (void)rd_kafka_resume_partitions(kafka->client, list);
    rd_kafka_topic_partition_list_destroy(list);
}

/* What librdkafka has given up for an offset that is not there can't be sought, only begun anew. */
static int partition_reassign(struct kafka *kafka, rd_kafka_topic_partition_list_t *list,
                              struct err *err)
{
    rd_kafka_error_t *error = rd_kafka_incremental_unassign(kafka->client, list);

    if (!error)
        error = rd_kafka_incremental_assign(kafka->client, list);
    if (!error)
        return 0;
    (void)err_set(err, ERR_RETRY, "kafka: assign: %s", rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return -1;
}

static int partition_seek(struct kafka *kafka, const struct kafka_partition *partition,
                          int64_t offset, struct err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_error_t *error;
    rd_kafka_resp_err_t code;
    int rc = 0;

    partition_list_add(list, partition, offset);
    error = rd_kafka_seek_partitions(kafka->client, list, ASSIGN_CALL_MS_MAX);
    code = error ? rd_kafka_error_code(error) : list->elems[0].err;
    if (error)
        rd_kafka_error_destroy(error);
    if (code == RD_KAFKA_RESP_ERR__STATE) {
        list->elems[0].offset = offset;
        rc = partition_reassign(kafka, list, err);
    } else if (code) {
        rc = err_set(err, ERR_RETRY, "kafka: seek: %s", rd_kafka_err2str(code));
    }
    rd_kafka_topic_partition_list_destroy(list);
    return rc;
}

void kafka_restart(struct kafka *kafka)
{
    int64_t now_ms = clock_mono_ms(), begin;
    struct err err = { 0 };

    if (now_ms < kafka->restart_ms)
        return;
    for (struct kafka_partition *p = kafka->partitions; p; p = p->next) {
        if (p->state != KAFKA_WAITING || p->in_flight)
            continue;
        if (partition_load(kafka, p, &begin, &err) < 0 ||
            partition_seek(kafka, p, begin, &err) < 0) {
            p->state = KAFKA_WAITING;
            kafka->restart_ms = now_ms + ASSIGN_RESTART_MS;
            log_debug("event=kafka_waits topic=%s partition=%d err=\"%s\"", p->topic,
                      (int)p->partition, err.text);
            return;
        }
        if (!kafka->is_paused)
            partition_pause(kafka, p, false);
    }
}

void kafka_partition_rewind(struct kafka *kafka, struct kafka_partition *partition)
{
    if (kafka->held && kafka_partition_of(kafka, kafka->held) == partition)
        rd_kafka_message_destroy(TAKE(kafka->held));
    kafka_gather_drop(kafka, partition);
    kafka_ready_drop(kafka, partition);
    partition->state = KAFKA_WAITING;
    partition_pause(kafka, partition, true);
}

static void partition_begin_anew(struct kafka_partition *partition, int64_t first)
{
    log_warn("event=kafka_topic_anew topic=%s partition=%d offset=%lld first=%lld",
             partition->topic, (int)partition->partition, (long long)partition->stored.next,
             (long long)first);
    partition->incarnation = partition->stored.incarnation + 1;
    partition->expected = first;
}

/* The message at the mark has aged out, and maybe more. */
static void partition_begin_aged(struct kafka_partition *partition, int64_t first)
{
    if (first <= partition->stored.next)
        return;
    log_error("event=kafka_messages_gone topic=%s partition=%d offset=%lld first=%lld",
              partition->topic, (int)partition->partition, (long long)partition->stored.next,
              (long long)first);
    partition->expected = first;
}

void kafka_partition_doubt(struct kafka *kafka, struct kafka_partition *partition, bool other)
{
    const struct origin_offset *stored = &partition->stored;
    int64_t low = 0, high = 0;
    struct err err = { 0 };

    /* A fetch may see an end that lies before what was fetched already, just after a broker came
     * back or another one leads; this question is not answered before the leader knows. */
    if (partition->state != KAFKA_PROVING || partition->in_flight ||
        rd_kafka_query_watermark_offsets(kafka->client, partition->topic, partition->partition,
                                         &low, &high, ASSIGN_CALL_MS_MAX))
        goto again;
    if (other || high < stored->next)
        partition_begin_anew(partition, low);
    else if (low > kafka_partition_begin(partition))
        partition_begin_aged(partition, low);
    else
        goto again;
    if (partition_seek(kafka, partition, partition->expected, &err) < 0)
        goto again;
    partition->state = KAFKA_READING;
    return;
again:
    kafka_partition_rewind(kafka, partition);
    kafka->restart_ms = clock_mono_ms() + ASSIGN_RESTART_MS;
}

/* ---- rebalances ---- */

static void assign(struct kafka *kafka, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_error_t *error;
    struct err err = { 0 };

    log_info("event=kafka_assigned partitions=%d", list->cnt);
    kafka->was_assigned = true;
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *entry = &list->elems[i];
        struct kafka_partition *partition = partition_new(kafka, entry->topic, entry->partition);

        /* Of a partition that waits nothing is wanted yet, but somewhere it has to begin. Not at
         * RD_KAFKA_OFFSET_BEGINNING: when the answer to that look-up is late, librdkafka repeats it
         * and goes there, also after a seek to another place. */
        if (kafka->is_draining || partition_load(kafka, partition, &entry->offset, &err) < 0)
            entry->offset = 0;
    }
    error = rd_kafka_incremental_assign(kafka->client, list);
    if (error) {
        log_warn("event=kafka_assign_failed err=\"%s\"", rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
    }
    for (const struct kafka_partition *p = kafka->partitions; p; p = p->next) {
        if (p->state == KAFKA_WAITING || (kafka->is_paused && p->state != KAFKA_LEFT))
            partition_pause(kafka, p, true);
    }
}

static bool revoke_is_listed(const struct kafka_partition *partition,
                             const rd_kafka_topic_partition_list_t *list)
{
    return rd_kafka_topic_partition_list_find((rd_kafka_topic_partition_list_t *)(uintptr_t)list,
                                              partition->topic, partition->partition) != NULL;
}

static bool revoke_in_flight(const struct kafka *kafka, const rd_kafka_topic_partition_list_t *list)
{
    for (const struct kafka_partition *p = kafka->partitions; p; p = p->next) {
        if (p->in_flight && revoke_is_listed(p, list))
            return true;
    }
    return false;
}

/* What is gathered is read again by whoever comes next; what is on its way is waited for, so that
 * the next one begins behind it. */
static void revoke(struct kafka *kafka, rd_kafka_topic_partition_list_t *list)
{
    int64_t end_ms = clock_mono_ms() + ASSIGN_LEAVE_MS_MAX;
    struct kafka_partition *next;
    rd_kafka_error_t *error;

    log_info("event=kafka_revoked partitions=%d", list->cnt);
    for (struct kafka_partition *p = kafka->partitions; p; p = p->next) {
        if (p->state == KAFKA_LEFT || !revoke_is_listed(p, list))
            continue;
        kafka_gather_drop(kafka, p);
        kafka_ready_drop(kafka, p);
        p->state = KAFKA_LEFT;
        stats_kafka_forget(kafka->setup.stats, p->topic, p->partition);
    }
    if (kafka->held && !kafka_partition_of(kafka, kafka->held))
        rd_kafka_message_destroy(TAKE(kafka->held));
    while (!rd_kafka_assignment_lost(kafka->client) && revoke_in_flight(kafka, list) &&
           clock_mono_ms() < end_ms)
        kafka_reap_wait(kafka, 50);
    for (struct kafka_partition *p = kafka->partitions; p; p = next) {
        next = p->next;
        if (p->state == KAFKA_LEFT && !p->in_flight)
            kafka_partition_free(kafka, p);
    }
    /* librdkafka keeps a pause, also until the partition is ours again */
    (void)rd_kafka_resume_partitions(kafka->client, list);
    error = rd_kafka_incremental_unassign(kafka->client, list);
    if (error)
        rd_kafka_error_destroy(error);
}

void kafka_rebalance(rd_kafka_t *client, rd_kafka_resp_err_t code,
                     rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct kafka *kafka = opaque;

    (void)client;
    stats_add(kafka->setup.stats, STAT_KAFKA_REBALANCES, 1);
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        assign(kafka, list);
    else
        revoke(kafka, list);
}
