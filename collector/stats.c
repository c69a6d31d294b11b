#include "collector/stats.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Rows of one name stand together: HELP and TYPE are written when the name changes. */
static const struct {
    enum stats_item stat;
    const char *name;
    const char *labels; /* with braces, or "" */
    const char *type;
    const char *help;
} stats_table[] = {
    { STAT_COMMITS, "plumbline_commits_total", "", "counter", "Batches committed" },
    { STAT_COMMIT_SLOW, "plumbline_commits_slow_total", "", "counter",
      "Batches committed by the slow path, because they held duplicates" },
    { STAT_COMMIT_RETRIES, "plumbline_commit_retries_total", "", "counter",
      "Attempts to commit that failed and were made again" },
    { STAT_COMMIT_REPLAYS, "plumbline_commit_replays_total", "", "counter",
      "Batches found already committed by their key" },
    { STAT_REQUESTS_NOT_STORED, "plumbline_requests_not_stored_total", "", "counter",
      "Requests answered 503 because Postgres did not take them in time" },
    { STAT_QUEUE_REQUESTS, "plumbline_queue_requests", "", "gauge",
      "Requests waiting for the committer" },
    { STAT_BUDGET_BYTES, "plumbline_memory_budget_bytes", "", "gauge",
      "Bytes taken from the memory budget" },
    { STAT_BUDGET_REFUSED, "plumbline_memory_budget_refused_total", "", "counter",
      "Requests refused because the memory budget was full" },
    { STAT_POSTGRES_UP, "plumbline_postgres_up", "", "gauge",
      "1 when the last attempt to connect to Postgres succeeded" },
    { STAT_LABELS_RESOLVED, "plumbline_labels_resolved_total", "", "counter",
      "Labels that waited and were joined to their prediction" },
    { STAT_LABELS_WAITING, "plumbline_labels_waiting", "", "gauge",
      "Labels whose prediction is not known yet" },
    { STAT_LABELS_WAITING_OLDEST_SECONDS, "plumbline_labels_waiting_oldest_seconds", "", "gauge",
      "Age of the oldest label that waits" },
    { STAT_LABELS_GIVEN_UP, "plumbline_labels_given_up_total", "", "counter",
      "Labels that waited longer than label_wait and moved to rejected_event" },
    { STAT_SETTLED_AGE_SECONDS, "plumbline_settled_age_seconds", "", "gauge",
      "Age of the horizon up to which paged reads see rows" },
    { STAT_ROLLUP_FOLDED, "plumbline_rollup_folded_total", "", "counter",
      "Rollup deltas folded, and minutes counted anew" },
    { STAT_ROLLUP_PENDING, "plumbline_rollup_pending", "", "gauge",
      "Rollup deltas that wait to be folded" },
    { STAT_ROLLUP_LAG_SECONDS, "plumbline_rollup_lag_seconds", "", "gauge",
      "Age of the oldest rollup delta that waits to be folded" },
    { STAT_ROLLUP_SLOWED, "plumbline_rollup_slowed_total", "", "counter",
      "Batches that waited because more than rollup_pending_max deltas were pending" },
    { STAT_ROLLUP_SKIPPED, "plumbline_rollup_skipped_total", "", "counter",
      "Values that are not rolled up: lists, names over 512 bytes, names beyond metric_names_max" },
    { STAT_PARTITIONS, "plumbline_partitions", "", "gauge", "Partitions of the event tables" },
    { STAT_PARTITIONS_DROPPED, "plumbline_partitions_dropped_total", "", "counter",
      "Partitions dropped because they were older than their retention" },
    { STAT_PARTITIONS_EXPIRED, "plumbline_partitions_expired", "", "gauge",
      "Partitions that are to be dropped and can't be yet" },
    { STAT_DEPLOYMENTS, "plumbline_deployments", "", "gauge", "Deployments in the catalog" },
    { STAT_DEPLOYMENTS_DELETED, "plumbline_deployments_deleted", "", "gauge",
      "Deployments of the catalog whose entity was deleted" },
    { STAT_DELETED_PREDICTIONS, "plumbline_predictions_of_deleted_deployments_total", "", "counter",
      "Predictions taken of deployments whose entity was deleted" },
    { STAT_READS_ACTIVE, "plumbline_reads_active", "", "gauge", "Answers being read or streamed" },
    { STAT_READS_DROPPED, "plumbline_reads_dropped_total", "", "counter",
      "Readers dropped because they stopped reading" },
    { STAT_READ_ROWS, "plumbline_read_rows_total", "", "counter", "Rows sent to readers" },
    { STAT_CONNECTIONS, "plumbline_http_connections", "", "gauge", "HTTP connections open" },
    { STAT_CONNECTIONS_EXPIRED, "plumbline_http_connections_expired_total", "", "counter",
      "Connections closed because a request took too long to arrive" },
    { STAT_CONNECTIONS_REFUSED, "plumbline_http_connections_refused_total", "", "counter",
      "Connections beyond connections_max or connections_per_address_max, answered 503 or "
      "closed" },
    { STAT_TLS_FAILED, "plumbline_tls_handshakes_failed_total", "", "counter",
      "Connections that ended before their TLS handshake did, but for those closed as too many" },
    { STAT_TLS_NOT_AFTER, "plumbline_tls_certificate_not_after_seconds", "", "gauge",
      "When the certificate ends, in seconds since 1970; 0: no TLS" },
    { STAT_RELOADS, "plumbline_reloads_total", "", "counter",
      "Times that SIGHUP put a configuration in force" },
    { STAT_RELOADS_FAILED, "plumbline_reloads_failed_total", "", "counter",
      "Times that SIGHUP found a configuration or certificate that can't be used" },
    { STAT_HOOK_MESSAGES, "plumbline_hook_messages_total", "", "counter",
      "Messages of Atlas's hooks that were read, whole ones and parts" },
    { STAT_HOOK_REJECTED, "plumbline_hook_rejected_total", "", "counter",
      "Messages of hooks that can't be taken and are rows of rejected_event" },
    { STAT_HOOK_WAITING, "plumbline_hook_waiting", "", "gauge",
      "Messages of hooks whose parts have not all come" },
    { STAT_HOOK_FAILURES, "plumbline_hook_failures", "", "gauge",
      "Attempts in a row that failed at one message of kafka.hook_topic; 0: it goes on" },
    { STAT_KEYS, "plumbline_keys", "", "gauge", "API keys that are not revoked" },
    { STAT_KEYS_AGE_SECONDS, "plumbline_keys_age_seconds", "", "gauge",
      "Since the database was last asked for the keys" },
    { STAT_KEY_MISSING, "plumbline_keys_refused_total", "{reason=\"missing\"}", "counter",
      "Requests refused because of their API key" },
    { STAT_KEY_UNKNOWN, "plumbline_keys_refused_total", "{reason=\"unknown\"}", "counter", "" },
    { STAT_KEY_EXPIRED, "plumbline_keys_refused_total", "{reason=\"expired\"}", "counter", "" },
    { STAT_KEY_SCOPE, "plumbline_keys_refused_total", "{reason=\"scope\"}", "counter", "" },
    { STAT_KEY_RESTRICTED, "plumbline_keys_refused_total", "{reason=\"restricted\"}", "counter",
      "" },
    { STAT_KEY_STALE, "plumbline_keys_refused_total", "{reason=\"stale\"}", "counter", "" },
    { STAT_KEY_LIMITED, "plumbline_keys_refused_total", "{reason=\"rate\"}", "counter", "" },
    { STAT_KEY_SLOWED, "plumbline_keys_refused_total", "{reason=\"slowed\"}", "counter", "" },
    { STAT_BROWSER_HOST, "plumbline_browsers_refused_total", "{reason=\"host\"}", "counter",
      "Requests refused because of the page that sent a browser" },
    { STAT_BROWSER_ORIGIN, "plumbline_browsers_refused_total", "{reason=\"origin\"}", "counter",
      "" },
    { STAT_KAFKA_UP, "plumbline_kafka_up", "", "gauge", "1 while a Kafka broker can be reached" },
    { STAT_KAFKA_MESSAGES, "plumbline_kafka_messages_total", "", "counter",
      "Messages read from Kafka" },
    { STAT_KAFKA_REJECTED, "plumbline_kafka_rejected_total", "", "counter",
      "Events from Kafka that can't be taken and are rows of rejected_event" },
    { STAT_KAFKA_TOMBSTONES, "plumbline_kafka_tombstones_total", "", "counter",
      "Messages without a value, skipped" },
    { STAT_KAFKA_REBALANCES, "plumbline_kafka_rebalances_total", "", "counter",
      "Times that partitions were given to this daemon or taken from it" },
    { STAT_KAFKA_FENCED, "plumbline_kafka_fenced_total", "", "counter",
      "Groups of messages left out because another daemon has stored past them" },
    { STAT_KAFKA_PAUSES, "plumbline_kafka_pauses_total", "", "counter",
      "Times that reading was paused because what was read could not be stored" },
    { STAT_KAFKA_LAG, "plumbline_kafka_lag_messages", "", "gauge",
      "Messages of this daemon's partitions that are not stored yet" },
    { STAT_OUTBOX_PENDING, "plumbline_outbox_pending", "", "gauge",
      "Lineage messages that are to be published to Kafka" },
    { STAT_OUTBOX_OLDEST_SECONDS, "plumbline_outbox_oldest_seconds", "", "gauge",
      "Age of the oldest lineage message that is to be published" },
    { STAT_OUTBOX_RELAY, "plumbline_outbox_relay", "", "gauge",
      "1 while this daemon is the one that publishes lineage messages" },
    { STAT_OUTBOX_PUBLISHED, "plumbline_outbox_published_total", "", "counter",
      "Lineage messages that this daemon has published" },
    { STAT_OUTBOX_FAILURES, "plumbline_outbox_failures_total", "", "counter",
      "Times that lineage messages could not be published and are sent again" },
    { STAT_OUTBOX_DROPPED, "plumbline_outbox_dropped_total", "", "counter",
      "Lineage messages removed unpublished: too many, or nobody published for a week" },
    { STAT_SPOOL_BYTES, "plumbline_spool_bytes", "", "gauge", "Bytes of the spool on disk" },
    { STAT_SPOOL_EVENTS, "plumbline_spool_events", "", "gauge",
      "Events in the spool, acknowledged and not yet in Postgres" },
    { STAT_SPOOL_GROUPS, "plumbline_spool_groups", "", "gauge",
      "Groups in the spool, a transaction each" },
    { STAT_SPOOL_OLDEST_SECONDS, "plumbline_spool_oldest_seconds", "", "gauge",
      "Age of the oldest group in the spool" },
    { STAT_SPOOL_APPENDED, "plumbline_spool_appended_total", "", "counter",
      "Events written to the spool" },
    { STAT_SPOOL_REPLAYED, "plumbline_spool_replayed_total", "", "counter",
      "Events of the spool that Postgres has judged" },
    { STAT_SPOOL_REJECTED, "plumbline_spool_rejected_total", "", "counter",
      "Events of the spool that can't be taken and are rows of rejected_event" },
    { STAT_SPOOL_REFUSED, "plumbline_spool_refused_total", "", "counter",
      "Requests that the spool could not take because it, or its disk, was full or failed" },
    { STAT_SPOOL_SYNCS, "plumbline_spool_fsyncs_total", "", "counter",
      "Times that the spool was synced to disk" },
    { STAT_SPOOL_SYNC_US, "plumbline_spool_fsync_microseconds_total", "", "counter",
      "How long that took together" },
};

static const char *const stats_fates[FATES_LEN] = {
    [FATE_RECEIVED] = "received", [FATE_ACCEPTED] = "accepted",     [FATE_DUPLICATE] = "duplicate",
    [FATE_REJECTED] = "rejected", [FATE_NOT_STORED] = "not_stored",
};

/* Upper bounds of the commit histogram, in microseconds; +Inf comes behind them. */
static const int64_t stats_commit_us[] = { 500,   1000,   2500,   5000,   10000,   25000,
                                           50000, 100000, 250000, 500000, 1000000, 5000000 };

/* A route and status that was answered. Routes and statuses come from tables, so there are few of
 * them; whatever does not fit is counted under the last one, route "other". */
enum { STATS_RESPONSES_MAX = 256 };

struct stats_response {
    const char *route;
    unsigned status;
    _Atomic uint64_t count;
};

struct stats_partition {
    char *topic; /* owned */
    int32_t partition;
    int64_t lag;
    int64_t next_offset;
};

struct stats {
    _Atomic int64_t values[STATS_LEN];
    _Atomic uint64_t events[FATES_LEN][EVENT_KINDS];
    _Atomic uint64_t commits[LENGTH(stats_commit_us) + 1];
    _Atomic uint64_t commit_us;
    _Atomic uint64_t commit_events;

    pthread_mutex_t lock;           /* for adding a response; finding one needs none */
    _Atomic uint32_t responses_len; /* those below it never change but for their count */
    struct stats_response responses[STATS_RESPONSES_MAX + 1];

    struct stats_partition partitions[STATS_PARTITIONS_MAX]; /* guarded by lock */
    uint32_t partitions_len;                                 /* likewise */
};

struct stats *stats_new(void)
{
    struct stats *stats = xcalloc(1, sizeof(*stats));

    pthread_mutex_init(&stats->lock, NULL);
    stats->responses[STATS_RESPONSES_MAX].route = "other";
    return stats;
}

void stats_free(struct stats *stats)
{
    if (!stats)
        return;
    for (uint32_t i = 0; i < stats->partitions_len; i++)
        free(stats->partitions[i].topic);
    pthread_mutex_destroy(&stats->lock);
    free(stats);
}

void stats_add(struct stats *stats, enum stats_item stat, int64_t n)
{
    atomic_fetch_add_explicit(&stats->values[stat], n, memory_order_relaxed);
}

int64_t stats_get(const struct stats *stats, enum stats_item stat)
{
    return atomic_load_explicit(&stats->values[stat], memory_order_relaxed);
}

void stats_set(struct stats *stats, enum stats_item stat, int64_t value)
{
    atomic_store_explicit(&stats->values[stat], value, memory_order_relaxed);
}

void stats_add_events(struct stats *stats, enum stat_fate fate, enum event_kind kind, uint64_t n)
{
    atomic_fetch_add_explicit(&stats->events[fate][kind], n, memory_order_relaxed);
}

static struct stats_response *stats_response_find(struct stats *stats, const char *route,
                                                  unsigned status)
{
    uint32_t len = atomic_load_explicit(&stats->responses_len, memory_order_acquire);

    for (uint32_t i = 0; i < len; i++) {
        struct stats_response *response = &stats->responses[i];

        if (response->status == status && strcmp(response->route, route) == 0)
            return response;
    }
    return NULL;
}

void stats_add_response(struct stats *stats, const char *route, unsigned status)
{
    struct stats_response *response = stats_response_find(stats, route, status);

    if (!response) {
        pthread_mutex_lock(&stats->lock);
        response = stats_response_find(stats, route, status);
        if (!response) {
            uint32_t len = atomic_load(&stats->responses_len);

            response = &stats->responses[len];
            if (len < STATS_RESPONSES_MAX) {
                response->route = route;
                response->status = status;
                atomic_store_explicit(&stats->responses_len, len + 1, memory_order_release);
            }
        }
        pthread_mutex_unlock(&stats->lock);
    }
    atomic_fetch_add_explicit(&response->count, 1, memory_order_relaxed);
}

void stats_observe_commit(struct stats *stats, int64_t us, uint32_t events)
{
    size_t bucket = 0;

    while (bucket < LENGTH(stats_commit_us) && us > stats_commit_us[bucket])
        bucket++;
    atomic_fetch_add_explicit(&stats->commits[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->commit_us, (uint64_t)us, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->commit_events, events, memory_order_relaxed);
}

/* Under the lock. Its place, or the one behind the last. */
static uint32_t stats_partition_place(const struct stats *stats, const char *topic,
                                      int32_t partition)
{
    uint32_t place = 0;

    while (place < stats->partitions_len && (stats->partitions[place].partition != partition ||
                                             strcmp(stats->partitions[place].topic, topic) != 0))
        place++;
    return place;
}

void stats_kafka_set(struct stats *stats, const char *topic, int32_t partition, int64_t lag,
                     int64_t next_offset)
{
    uint32_t place;

    pthread_mutex_lock(&stats->lock);
    place = stats_partition_place(stats, topic, partition);
    if (place == stats->partitions_len && place < STATS_PARTITIONS_MAX)
        stats->partitions[stats->partitions_len++] =
            (struct stats_partition){ .topic = xstrdup(topic), .partition = partition };
    if (place < STATS_PARTITIONS_MAX) {
        stats->partitions[place].lag = lag;
        stats->partitions[place].next_offset = next_offset;
    }
    pthread_mutex_unlock(&stats->lock);
}

void stats_kafka_forget(struct stats *stats, const char *topic, int32_t partition)
{
    uint32_t place;

    pthread_mutex_lock(&stats->lock);
    place = stats_partition_place(stats, topic, partition);
    if (place < stats->partitions_len) {
        free(stats->partitions[place].topic);
        stats->partitions[place] = stats->partitions[--stats->partitions_len];
    }
    pthread_mutex_unlock(&stats->lock);
}

static void stats_write_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_append_fmt(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void stats_write_events(struct stats *stats, struct buf *out)
{
    stats_write_head(out, "plumbline_events_total", "counter", "Events by kind and fate");
    for (int fate = 0; fate < FATES_LEN; fate++) {
        for (int kind = 0; kind < EVENT_KINDS; kind++)
            buf_append_fmt(out, "plumbline_events_total{kind=\"%s\",fate=\"%s\"} %" PRIu64 "\n",
                           event_kind_name((enum event_kind)kind), stats_fates[fate],
                           atomic_load(&stats->events[fate][kind]));
    }
}

static void stats_write_response(struct buf *out, const struct stats_response *response)
{
    buf_append_fmt(out, "plumbline_http_responses_total{route=\"%s\",status=\"%u\"} %" PRIu64 "\n",
                   response->route, response->status, atomic_load(&response->count));
}

static void stats_write_responses(struct stats *stats, struct buf *out)
{
    uint32_t len = atomic_load_explicit(&stats->responses_len, memory_order_acquire);

    stats_write_head(out, "plumbline_http_responses_total", "counter",
                     "Answers by route and status");
    for (uint32_t i = 0; i < len; i++)
        stats_write_response(out, &stats->responses[i]);
    if (len == STATS_RESPONSES_MAX)
        stats_write_response(out, &stats->responses[len]);
}

static void stats_write_commits(struct stats *stats, struct buf *out)
{
    static const char *const name = "plumbline_commit_seconds";
    uint64_t count = 0;

    stats_write_head(out, name, "histogram", "How long a batch's transaction took");
    for (size_t i = 0; i < LENGTH(stats_commit_us); i++) {
        count += atomic_load(&stats->commits[i]);
        buf_append_fmt(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
                       (double)stats_commit_us[i] / 1e6, count);
    }
    count += atomic_load(&stats->commits[LENGTH(stats_commit_us)]);
    buf_append_fmt(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    buf_append_fmt(out, "%s_sum %.6f\n%s_count %" PRIu64 "\n", name,
                   (double)atomic_load(&stats->commit_us) / 1e6, name, count);
    stats_write_head(out, "plumbline_commit_events_total", "counter",
                     "Events in committed batches");
    buf_append_fmt(out, "plumbline_commit_events_total %" PRIu64 "\n",
                   atomic_load(&stats->commit_events));
}

static void stats_write_partition(struct buf *out, const char *name,
                                  const struct stats_partition *partition, int64_t value)
{
    buf_append_fmt(out, "%s{topic=", name);
    buf_append_json(out, span_of(partition->topic)); /* a topic's name has nothing to escape */
    buf_append_fmt(out, ",partition=\"%d\"} %" PRId64 "\n", (int)partition->partition, value);
}

static void stats_write_partitions(struct stats *stats, struct buf *out)
{
    static const char lag[] = "plumbline_kafka_partition_lag";
    static const char next[] = "plumbline_kafka_partition_next_offset";

    pthread_mutex_lock(&stats->lock);
    stats_write_head(out, lag, "gauge", "Messages of the partition that are not stored yet");
    for (uint32_t i = 0; i < stats->partitions_len; i++)
        stats_write_partition(out, lag, &stats->partitions[i], stats->partitions[i].lag);
    stats_write_head(out, next, "gauge", "The partition is stored up to the message before this");
    for (uint32_t i = 0; i < stats->partitions_len; i++)
        stats_write_partition(out, next, &stats->partitions[i], stats->partitions[i].next_offset);
    pthread_mutex_unlock(&stats->lock);
}

void stats_write(struct stats *stats, struct buf *out)
{
    const char *name = "";

    for (size_t i = 0; i < LENGTH(stats_table); i++) {
        if (strcmp(name, stats_table[i].name) != 0)
            stats_write_head(out, stats_table[i].name, stats_table[i].type, stats_table[i].help);
        name = stats_table[i].name;
        buf_append_fmt(out, "%s%s %" PRId64 "\n", name, stats_table[i].labels,
                       atomic_load(&stats->values[stats_table[i].stat]));
    }
    stats_write_events(stats, out);
    stats_write_responses(stats, out);
    stats_write_commits(stats, out);
    stats_write_partitions(stats, out);
}
