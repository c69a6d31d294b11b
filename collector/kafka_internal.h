/* What the kafka*.c files share. Everything belongs to the consumer's thread but for what says
 * otherwise. */
#ifndef COLLECTOR_KAFKA_INTERNAL_H
#define COLLECTOR_KAFKA_INTERNAL_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "collector/body.h"
#include "collector/kafka.h"
#include "collector/offsets.h"
#include "collector/origin.h"
#include "collector/submission.h"
#include "kafka_failure_internal.h"

/* A partition that is ours:
 *
 *               offset known, sought            the message at the mark is the one, or no mark
 *   WAITING ------------------------> PROVING -----------------------------------> READING
 *      ^  paused, what comes is          | another one, or none: begins at the front,    |
 *      |  dropped                        '------------> READING, next incarnation        |
 *      '------------- fenced: something stored the offset elsewhere, read it again ------'
 *
 * LEFT: taken away while a submission was on its way; freed when that is back. */
enum kafka_state { KAFKA_WAITING, KAFKA_PROVING, KAFKA_READING, KAFKA_LEFT };

/* A message in a gather: value, key and headers stand one after the other in the text. */
struct kafka_note {
    int64_t offset;
    int64_t timestamp_ms;
    size_t at;
    size_t value_len; /* as it came; of what is too large the text has reject_bytes_max only */
    size_t key_len, headers_len;
    bool has_key, has_headers;
};

/* Messages of one partition that become one submission. */
struct kafka_gather {
    struct body text;
    struct kafka_note *notes; /* owned, KAFKA_GATHER_MESSAGES_MAX places */
    uint32_t len;
    int64_t mark; /* of the last one */
};

struct kafka_partition {
    struct kafka_partition *next;
    struct kafka *kafka; /* borrowed */
    char *topic;         /* owned */
    int32_t partition;
    bool is_hook; /* of kafka.hook_topic */
    enum kafka_state state;
    struct origin_offset stored; /* what the database holds, as far as is known */
    int64_t incarnation;         /* of what is read now: stored.incarnation, or the one after it */
    int64_t expected;            /* no message before it is taken: it is stored or gathered */
    struct kafka_gather gather;
    struct submission *ready; /* owned; waits until what is on its way is back */
    bool in_flight;
    int64_t reported; /* what the group was told, -1: nothing */
};

struct kafka {
    struct kafka_setup setup;
    const struct config *_Atomic limits; /* borrowed; kafka_reload puts another in its place */
    rd_kafka_t *client;
    char *cluster; /* owned; NULL until a broker has told it */
    struct offsets *offsets;
    struct event_decoder *decoder;
    struct kafka_partition *partitions;
    size_t bytes;             /* gathered, ready and on their way */
    rd_kafka_message_t *held; /* a message for which there is no room yet */
    int64_t stalled_ms;       /* since when, 0: not */
    bool is_paused;
    bool is_closed;
    bool was_assigned;  /* the group has given us something, at least once */
    int64_t restart_ms; /* not before: partitions that wait are tried again */
    int64_t report_ms;
    int64_t probe_ms;
    struct kafka_failure failure;
    bool from_end; /* where a partition begins that nothing is stored of */
    pthread_t thread;
    _Atomic bool is_up;
    _Atomic bool is_draining;
    _Atomic bool is_stopping;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct submission *finished; /* guarded by lock: what the committers have answered */
};

/* ---- kafka.c ---- */

/* A client's configuration: `presets` (the last is NULL), brokers, kafka.properties over them.
 * `from_end`: what auto.offset.reset says; NULL: of a producer, which ignores it. Owned. */
rd_kafka_conf_t *kafka_conf_new(const struct config *config, const char *const (*presets)[2],
                                bool *from_end, struct err *err) MUST_CHECK;
/* librdkafka's own lines: it says each failed attempt to connect, so they are for debugging. */
void kafka_on_log(const rd_kafka_t *client, int level, const char *facility, const char *line);

/* Takes back what the committers have answered, and sends on what waited for it. */
void kafka_reap(struct kafka *kafka);
/* The same, after waiting for something to be answered, `ms` at most. */
void kafka_reap_wait(struct kafka *kafka, int64_t ms);

/* ---- kafka_assign.c ---- */

void kafka_rebalance(rd_kafka_t *client, rd_kafka_resp_err_t code,
                     rd_kafka_topic_partition_list_t *list, void *opaque);
struct kafka_partition *kafka_partition_of(struct kafka *kafka, const rd_kafka_message_t *message);
void kafka_partition_free(struct kafka *kafka, struct kafka_partition *partition);
/* Where it is read from: the mark's message comes once more, to be known again. */
int64_t kafka_partition_begin(const struct kafka_partition *partition);
/* Drops what was taken since the stored offset, a message that is held too; kafka_restart begins
 * there again. */
void kafka_partition_rewind(struct kafka *kafka, struct kafka_partition *partition);
/* What should stand at the partition's mark doesn't seem to: the topic was made anew, or what was
 * next has aged out, or a broker that has just come back did not know yet. `other`: a message
 * stands there, and it is another one. */
void kafka_partition_doubt(struct kafka *kafka, struct kafka_partition *partition, bool other);
/* Begins with the partitions that wait, as far as their offsets can be read. */
void kafka_restart(struct kafka *kafka);
void kafka_pause(struct kafka *kafka, bool pause);

/* ---- kafka_gather.c ---- */

enum { KAFKA_GATHER_MESSAGES_MAX = 1000, KAFKA_GATHER_BYTES_MAX = 512 * 1024 };

/* What makes a message known again. */
int64_t kafka_mark(const rd_kafka_message_t *message);
/* Adds the message. false: there is no room now. */
bool kafka_gather_add(struct kafka *kafka, struct kafka_partition *partition,
                      const rd_kafka_message_t *message) MUST_CHECK;
/* Decodes what is gathered into partition->ready, which must be empty. false: there is no room
 * now. */
bool kafka_gather_close(struct kafka *kafka, struct kafka_partition *partition) MUST_CHECK;
void kafka_gather_drop(struct kafka *kafka, struct kafka_partition *partition);
/* Gives up what is ready. */
void kafka_ready_drop(struct kafka *kafka, struct kafka_partition *partition);

#endif
