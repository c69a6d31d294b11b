/* What /metrics shows: counters and gauges of this process, each an atomic. Any thread. */
#ifndef COLLECTOR_STATS_H
#define COLLECTOR_STATS_H

#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "metrics/event.h"

/* The table in stats.c gives each its Prometheus name, labels, type and help. */
enum stats_item {
    STAT_COMMITS,                       /* batches committed */
    STAT_COMMIT_SLOW,                   /* of these by the slow path */
    STAT_COMMIT_RETRIES,                /* attempts that failed and were made again */
    STAT_COMMIT_REPLAYS,                /* batches found already committed by their batch_key */
    STAT_REQUESTS_NOT_STORED,           /* answered 503 by the committer */
    STAT_QUEUE_REQUESTS,                /* gauge: waiting for the committer */
    STAT_BUDGET_BYTES,                  /* gauge */
    STAT_BUDGET_REFUSED,                /* requests refused because the budget was full */
    STAT_POSTGRES_UP,                   /* gauge: whether the last attempt to connect succeeded */
    STAT_LABELS_RESOLVED,               /* labels that waited and were joined to their prediction */
    STAT_LABELS_WAITING,                /* gauge, from the database */
    STAT_LABELS_WAITING_OLDEST_SECONDS, /* gauge: how far label resolution lags */
    STAT_SETTLED_AGE_SECONDS, /* gauge: the horizon's age: how long the newest unsettled batch has
                                 been on its way */
    STAT_LABELS_GIVEN_UP,     /* labels that waited longer than label_wait */
    STAT_ROLLUP_FOLDED,       /* deltas and recounts */
    STAT_ROLLUP_PENDING,      /* gauge: deltas that wait to be folded */
    STAT_ROLLUP_LAG_SECONDS,  /* gauge: age of the oldest */
    STAT_ROLLUP_SLOWED,       /* batches that waited because too much was pending */
    STAT_ROLLUP_SKIPPED,      /* values that are not rolled up */
    STAT_PARTITIONS,          /* gauge */
    STAT_PARTITIONS_DROPPED,  /* by this daemon */
    STAT_PARTITIONS_EXPIRED,  /* gauge: those that wait to be dropped */
    STAT_DEPLOYMENTS,         /* gauge */
    STAT_DEPLOYMENTS_DELETED, /* gauge: those of them whose entity was deleted */
    STAT_DELETED_PREDICTIONS, /* predictions taken of deployments that were deleted */
    STAT_READS_ACTIVE,        /* gauge */
    STAT_READS_DROPPED,       /* readers that stopped reading */
    STAT_READ_ROWS,
    STAT_CONNECTIONS,         /* gauge: HTTP connections open */
    STAT_CONNECTIONS_EXPIRED, /* closed because a request took too long to arrive */
    STAT_CONNECTIONS_REFUSED, /* more than connections_max, or of one address */
    STAT_TLS_FAILED,          /* connections that ended before their handshake did */
    STAT_TLS_NOT_AFTER,       /* gauge: end of the certificate, seconds since 1970 */
    STAT_RELOADS,             /* of the configuration */
    STAT_RELOADS_FAILED,
    STAT_HOOK_MESSAGES,
    STAT_HOOK_REJECTED,    /* messages of hooks that are rows of rejected_event */
    STAT_HOOK_WAITING,     /* gauge: messages of hooks whose parts are not all there */
    STAT_HOOK_FAILURES,    /* gauge: in a row, at one message of a topic */
    STAT_KEYS,             /* gauge: keys that are not revoked */
    STAT_KEYS_AGE_SECONDS, /* gauge: of the daemon's copy of them */
    STAT_KEY_MISSING,      /* requests refused because of their key, by reason */
    STAT_KEY_UNKNOWN,
    STAT_KEY_EXPIRED,
    STAT_KEY_SCOPE,
    STAT_KEY_RESTRICTED,
    STAT_KEY_STALE,      /* requests refused because the copy is too old */
    STAT_KEY_LIMITED,    /* requests refused because of the key's rate */
    STAT_KEY_SLOWED,     /* requests with a wrong key, refused because of their address */
    STAT_BROWSER_HOST,   /* requests refused because of their Host */
    STAT_BROWSER_ORIGIN, /* requests refused because a page of another site sent them */
    STAT_KAFKA_UP,       /* gauge: 1 while a broker can be reached */
    STAT_KAFKA_MESSAGES,
    STAT_KAFKA_REJECTED, /* events and messages that can't be taken */
    STAT_KAFKA_TOMBSTONES,
    STAT_KAFKA_REBALANCES,
    STAT_KAFKA_FENCED, /* submissions left out because of their offset */
    STAT_KAFKA_PAUSES,
    STAT_KAFKA_LAG,             /* gauge: messages of our partitions that are not stored yet */
    STAT_OUTBOX_PENDING,        /* gauge: messages that no broker has yet */
    STAT_OUTBOX_OLDEST_SECONDS, /* gauge: age of the oldest of them */
    STAT_OUTBOX_RELAY,          /* gauge: 1 while this daemon is the one that publishes */
    STAT_OUTBOX_PUBLISHED,
    STAT_OUTBOX_FAILURES, /* of brokers to take messages */
    STAT_OUTBOX_DROPPED,  /* messages removed before a broker had them */
    STAT_SPOOL_BYTES,     /* gauge, as are the next three: what waits in the spool */
    STAT_SPOOL_EVENTS,
    STAT_SPOOL_GROUPS,
    STAT_SPOOL_OLDEST_SECONDS,
    STAT_SPOOL_APPENDED, /* events */
    STAT_SPOOL_REPLAYED, /* likewise: committed, duplicate or rejected */
    STAT_SPOOL_REJECTED, /* of these, rows of rejected_event */
    STAT_SPOOL_REFUSED,  /* requests that the spool could not take */
    STAT_SPOOL_SYNCS,
    STAT_SPOOL_SYNC_US, /* that they took together */
    STATS_LEN,
};

struct stats;

struct stats *stats_new(void);
void stats_free(struct stats *stats);
AUTO_DEFINE(struct stats, stats_free);

void stats_add(struct stats *stats, enum stats_item stat, int64_t n); /* gauges may go down */
int64_t stats_get(const struct stats *stats, enum stats_item stat);
void stats_set(struct stats *stats, enum stats_item stat, int64_t value);
/* One event's fate, by kind. */
enum stat_fate {
    FATE_RECEIVED,
    FATE_ACCEPTED,
    FATE_DUPLICATE,
    FATE_REJECTED,
    FATE_NOT_STORED,
    FATES_LEN
};
void stats_add_events(struct stats *stats, enum stat_fate fate, enum event_kind kind, uint64_t n);
/* One answer: route is a static text such as "/v1/events". */
void stats_add_response(struct stats *stats, const char *route, unsigned status);
/* One commit's duration, into a histogram of seconds. */
void stats_observe_commit(struct stats *stats, int64_t us, uint32_t events);
/* How far one of our Kafka partitions is, and what it has that is not stored yet; the first
 * STATS_PARTITIONS_MAX of them are shown. */
enum { STATS_PARTITIONS_MAX = 256 };
void stats_kafka_set(struct stats *stats, const char *topic, int32_t partition, int64_t lag,
                     int64_t next_offset);
/* It is no longer ours. */
void stats_kafka_forget(struct stats *stats, const char *topic, int32_t partition);
/* Prometheus text format 0.0.4. */
void stats_write(struct stats *stats, struct buf *out);

#endif
