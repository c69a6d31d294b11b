/* The configuration: one table of keys in config.c, plain data here. Const after start, passed
 * down, no globals. */
#ifndef COLLECTOR_CONFIG_H
#define COLLECTOR_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"

struct config {
    char *listen;   /* ADDR:PORT, [ADDR]:PORT; port 0 picks one */
    char *database; /* libpq DSN or URI; NULL: a private Postgres in data_dir */
    char *data_dir;
    bool keys_off;          /* ask nobody for a key, on whatever address */
    bool keys_on;           /* ask for keys on loopback too; otherwise on any other address alone */
    int64_t keys_stale_max; /* milliseconds or CONFIG_FOREVER */
    int64_t rate_limit_requests_per_s; /* of a key; 0: none */
    int64_t rate_limit_burst;          /* 0: twice the above */
    enum log_level log_level;
    char *tls_certificate; /* NULL: no TLS */
    char *tls_key;
    char *tls_client_ca; /* NULL: clients need no certificate */

    int64_t http_threads; /* 0: as many as cores, at most 8 */
    int64_t connections_max;
    int64_t connections_per_address_max; /* 0: any number */
    int64_t idle_timeout_ms;
    int64_t request_timeout_ms; /* for the whole of a request to arrive */
    int64_t commit_timeout_ms;  /* how long a request that isn't spooled waits before its 503 */
    int64_t drain_timeout_ms;   /* at SIGTERM */
    char *spool_dir;            /* NULL: spool in data_dir */
    int64_t spool_bytes_max;    /* 0: no spool */
    int64_t spool_after_ms;     /* how long a request, and its commit, before it is spooled */
    int64_t reads_max;          /* answers being streamed at one time */
    int64_t read_stall_timeout_ms;

    int64_t memory_bytes_max; /* the budget */
    int64_t body_bytes_max;   /* one request, after inflating as well */
    int64_t metrics_bytes_max;
    int64_t events_max; /* in one request */
    int64_t json_depth_max;
    int64_t deployments_max;
    int64_t partitions_max;
    int64_t partition_days;   /* fixed when the database is made */
    int64_t partitions_ahead; /* weeks (or whatever a partition is) made before they are needed */
    int64_t labels_per_prediction_max;
    int64_t labels_waiting_max;
    bool rollups;               /* fixed when the database is made */
    int64_t metric_names_max;   /* rolled up, of one deployment */
    int64_t rollup_pending_max; /* deltas that wait to be folded */
    int64_t event_ahead_ms_max; /* how far in the future an event's time may be */
    int64_t retention_raw;      /* milliseconds or CONFIG_FOREVER, as are the next four; */
    int64_t retention_1m;       /* none is shorter than the one before it */
    int64_t retention_1h;
    int64_t retention_1d;
    int64_t label_wait; /* of a label whose prediction does not come */
    int64_t csv_columns_max;
    int64_t lineage_relations_max;  /* in one answer */
    int64_t hook_message_bytes_max; /* of a message of a hook, put together and unpacked */
    int64_t hook_memory_bytes_max;  /* what reading one may take, beside memory_bytes_max */
    int64_t hook_wait;              /* how long parts of one wait for the others */
    int64_t outbox_retention;       /* milliseconds or CONFIG_FOREVER */
    int64_t outbox_messages_max;

    int64_t committers;
    int64_t batch_events_max; /* a batch takes no further request beyond these */
    int64_t batch_bytes_max;

    char *kafka_brokers; /* NULL: no Kafka */
    char *kafka_topics;  /* with commas between */
    char *kafka_group;
    char *kafka_hook_topic;        /* NULL: no messages of hooks */
    int64_t kafka_queue_bytes_max; /* of the budget: what Kafka may have on its way to Postgres */
    bool kafka_lineage_messages;
    char *kafka_lineage_topic;
    int64_t kafka_message_bytes_max; /* of one lineage message, or a part of it */
    int64_t kafka_reject_bytes_max;  /* kept of a message that can't be taken */
    char *kafka_properties;          /* librdkafka's, "name=value" lines; NULL: none */

    char *atlas_namespace; /* behind the '@' of qualified names; fixed when the database is made */
};

/* The earliest event time, 2000-01-01T00:00:00Z. */
#define CONFIG_EVENT_MS_MIN INT64_C(946684800000)

/* An age that is never reached. */
#define CONFIG_FOREVER INT64_MAX

/* Of a message of a hook, in hook_memory_bytes_max: as it came, joined, unpacked. */
enum { CONFIG_HOOK_COPIES = 4 };

enum config_type {
    CONFIG_TEXT,  /* char *; an empty value is the default */
    CONFIG_BOOL,  /* bool */
    CONFIG_LEVEL, /* enum log_level */
    CONFIG_COUNT, /* int64_t */
    CONFIG_BYTES, /* int64_t: 67108864 or 64MiB */
    CONFIG_MS,    /* int64_t: 30000, 30s, 7d */
    CONFIG_AGE,   /* int64_t: the same, or forever */
    CONFIG_PAIRS, /* char *, lines of name=value, NULL: none; a mapping in the file */
};

/* One key, as the file and the environment (PLUMBLINE_<NAME>) spell it. A dot in the name: the part
 * before it is a mapping in the file, and a '_' stands for it in the environment. */
struct config_key {
    const char *name;
    enum config_type type;
    size_t offset;      /* in struct config */
    const char *preset; /* the default, as one would write it; "": config_init chooses or NULL */
    int64_t min;        /* numbers */
    int64_t max;
    const char *help;
};

/* A row a key; a NULL name ends the table. */
extern const struct config_key config_keys[];

/* Where to listen, from ADDR:PORT. */
struct config_address {
    struct sockaddr_storage addr;
    socklen_t len;
    bool is_loopback; /* nobody outside this machine can reach it */
};

/* Defaults. */
void config_init(struct config *config);
void config_done(struct config *config);
static inline void config_done_auto(struct config *config) /* AUTO(config_done) struct config c; */
{
    config_done(config);
}

/* Reads YAML; `name` stands in messages: "plumbline.yaml:7:3: unknown key \"lisen\"...". */
int config_parse(struct config *config, const char *name, const char *text, size_t len,
                 struct err *err) MUST_CHECK;
int config_load(struct config *config, const char *path, struct err *err) MUST_CHECK;
/* PLUMBLINE_<KEY> of the environment, over what stands; unknown PLUMBLINE_* variables are an error
 * except those named in config.c. */
int config_apply_environment(struct config *config, char *const *environment,
                             struct err *err) MUST_CHECK;
/* One key from its text, as the command line gives it. The error does not name the key: the caller
 * knows how the user spelled it. Asserts that the key exists. */
int config_set(struct config *config, const char *key, const char *text,
               struct err *err) MUST_CHECK;
/* What no single key can say: a budget smaller than a body, an open address without keys. */
int config_check(const struct config *config, struct err *err) MUST_CHECK;
/* `127.0.0.1:8190`, `[::1]:8190`, `localhost:0`: numbers, no look-up of names. */
int config_address_parse(struct config_address *address, const char *text,
                         struct err *err) MUST_CHECK;
/* What of memory_bytes_max may be kept of classifications: beside it a request has room. */
size_t config_tag_bytes(const struct config *config);
/* A reload: what `old` and `fresh` make together. What may change while the daemon runs is as in
 * `fresh`, everything else as in `old`. The names of the keys that differ, with ", " between, are
 * appended: those that change to `changed`, those that would need a restart to `kept`. */
void config_merge(struct config *merged, const struct config *old, const struct config *fresh,
                  struct buf *changed, struct buf *kept);
/* Whether requests need a key; of a configuration that config_check has passed. */
bool config_asks_for_keys(const struct config *config);
/* Where the spool is, or would be. Owned. */
char *config_spool_dir(const struct config *config) MUST_CHECK;
/* spool_after_ms, at most half of the time that requests wait. */
int64_t config_spool_after_ms(const struct config *config);
/* Whether lineage messages go to Kafka. */
bool config_publishes(const struct config *config);
/* The whole configuration as YAML that config_parse reads back to the same. */
void config_write(const struct config *config, FILE *out);

#endif
