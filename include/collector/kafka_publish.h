/* Messages out to a Kafka topic, in order, by an idempotent producer: one that fails takes those
 * behind it with it, so that nothing overtakes. Belongs to one thread. */
#ifndef COLLECTOR_KAFKA_PUBLISH_H
#define COLLECTOR_KAFKA_PUBLISH_H

#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/span.h"
#include "collector/config.h"

struct publisher;

/* Whether librdkafka takes the configuration. ERR_INPUT: the text names the key. */
int publisher_check(const struct config *config, struct err *err) MUST_CHECK;
/* To kafka.lineage_topic; `config` is borrowed. Connects when there is something to send.
 * ERR_FATAL: the configuration is wrong. */
struct publisher *publisher_new(const struct config *config, struct err *err) MUST_CHECK;
/* What is on its way may arrive or not. Accepts NULL. */
void publisher_free(struct publisher *publisher);
AUTO_DEFINE(struct publisher, publisher_free);

/* Sends a copy; messages of one key arrive in their order. ERR_RETRY: not now, as in
 * publisher_wait. */
int publisher_send(struct publisher *publisher, struct span key, struct span value,
                   struct err *err) MUST_CHECK;
/* 1: a broker has all that was sent since this last said so. 0: not yet, after `ms`. -1, ERR_RETRY:
 * not all of it, or nothing was on its way; nothing is any more. *arrived, always: so many of them,
 * from the first without a gap, a broker has. */
int publisher_wait(struct publisher *publisher, int64_t ms, size_t *arrived,
                   struct err *err) MUST_CHECK;
/* Gives up what is on its way: nothing of it leaves any more when this returns. The next message is
 * sent by a new producer. */
void publisher_drop(struct publisher *publisher);

#endif
