/* The Kafka consumer: messages from topics become submissions in the same queues as requests.
 *
 *   broker -> librdkafka -> gather (messages of one partition) -> decode -> submission -> queue
 *                                                                              committer |
 *   group offsets (for lag tools) <- stored offset known <--- done() <---------- COMMIT -'
 *
 * Offsets are rows in Postgres that move in the batch's own transaction (store_kafka.c). Of each
 * partition one submission is in the queues at a time. Never logs or keeps what is in a message. */
#ifndef COLLECTOR_KAFKA_H
#define COLLECTOR_KAFKA_H

#include <stdbool.h>

#include "base/attr.h"
#include "base/err.h"
#include "collector/budget.h"
#include "collector/config.h"
#include "collector/queue.h"
#include "collector/stats.h"

struct type_cache;

/* All borrowed until kafka_stop has returned. */
struct kafka_setup {
    const struct config *config; /* with kafka_brokers */
    struct budget *budget;
    struct stats *stats;
    struct queue *queue;
    struct queue *graph_queue; /* submissions that hold a lineage event */
    struct queue *hook_queue;  /* messages of hooks; NULL: no kafka.hook_topic */
    struct type_cache *types;
    const char *dsn; /* for reading offsets; a connection of its own */
};

struct kafka;

/* Whether librdkafka takes the configuration. ERR_INPUT: the text names the key. */
int kafka_check(const struct config *config, struct err *err) MUST_CHECK;
/* Joins the group, in a thread of its own; brokers that are away come back by themselves.
 * ERR_FATAL: the configuration is wrong. */
struct kafka *kafka_start(const struct kafka_setup *setup, struct err *err) MUST_CHECK;
/* From now on messages are held to the limits of this configuration, borrowed until kafka_stop has
 * returned. Accepts NULL. */
void kafka_reload(struct kafka *kafka, const struct config *config);
/* Any thread: whether a broker could be reached the last time. */
bool kafka_is_up(const struct kafka *kafka);
/* Takes nothing more. Accepts NULL. */
void kafka_drain(struct kafka *kafka);
/* Waits until the committers have answered what it has in the queues (they must go on until then),
 * leaves the group and frees. Accepts NULL. */
void kafka_stop(struct kafka *kafka);
AUTO_DEFINE(struct kafka, kafka_stop);

#endif
