/* A daemon that reads a topic, and events for it. Every function fails the test when it can't do
 * its work. */
#ifndef KAFKA_RIG_H
#define KAFKA_RIG_H

#include <stdint.h>

#include "base/attr.h"
#include "tests/harness/broker.h"
#include "tests/harness/service.h"

#define RIG_BASE_MS INT64_C(1700000040000)
#define RIG_DEPLOYMENT "crn:kafka/deployment"

enum { RIG_READ_MS_MAX = 30000, RIG_VARIABLES_MAX = 8 };

struct rig {
    char *topic;                        /* owned; what follows too */
    char *variables[RIG_VARIABLES_MAX]; /* the first four are the rig's own, others may be set */
    const char *environment[RIG_VARIABLES_MAX + 1]; /* the same, for every start of the daemon */
    struct service *service;
};

/* `properties` are lines of name=value, may be NULL. */
void rig_start(struct rig *rig, struct broker *broker, const char *topics, const char *dsn,
               const char *properties);
/* A topic of its own on the broker and a daemon that reads it. */
void rig_init(struct rig *rig, struct broker *broker, const char *what, int partitions,
              const char *const *settings);
void rig_done(struct rig *rig);
static inline void rig_done_auto(struct rig *rig)
{
    rig_done(rig);
}

/* An event with {"n": number} and, for a prediction, an identity made of it. Owned. */
char *rig_prediction(uint32_t number) MUST_CHECK;
/* Nothing but its offset keeps it from counting twice. Owned. */
char *rig_aggregate(uint32_t number) MUST_CHECK;
void rig_send_prediction(struct producer *producer, const char *topic, int32_t partition,
                         uint32_t number);
void rig_send_aggregate(struct producer *producer, const char *topic, int32_t partition,
                        uint32_t number);

int64_t rig_predictions(const struct rig *rig);
/* The numbers of the aggregates in the order in which they are stored, with blanks between. Owned.
 */
char *rig_aggregates(const struct rig *rig) MUST_CHECK;
/* Waits until the partition is stored up to the message before `next`. */
void rig_wait(const struct rig *rig, int32_t partition, int64_t next);

#endif
