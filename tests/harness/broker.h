/* A real Kafka broker for tests, and a producer that fills its topics.
 *
 * One broker is shared by all tests of a binary: a suite asks for it with
 *     tcase_add_unchecked_fixture(tc, broker_shared_start, NULL);
 * and each test makes topics of its own. A test that stops or kills a broker has one for itself, by
 * broker_start(). All listen on 127.0.0.1 only, on a port that stays the same over restarts, and
 * die with the process that started them; the log is printed when a test fails. A function that
 * can't do its work fails the test. */
#ifndef HARNESS_BROKER_H
#define HARNESS_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct broker;
struct certificate;

/* Whether there is a broker to start: tools/fetch-jars has fetched it. */
bool broker_is_there(void);

/* In the runner's process, as an unchecked fixture; does nothing the second time. */
void broker_shared_start(void);
void broker_shared_stop(void);
struct broker *broker_shared(void);
/* Runner: prints the end of the logs of its brokers. */
void broker_log_print(void);

/* A way in besides the plain one, over TLS. */
struct broker_listener {
    const char *name; /* Kafka's, small letters */
    const struct certificate *certificate;
    const char *client_ca;     /* clients show a certificate of it; NULL: none is needed */
    const char *leads_to;      /* the one whose address it tells clients; NULL: itself */
    const char *user, *secret; /* by SASL PLAIN or SCRAM-SHA-512; NULL: nobody needs to say so */
};
enum { BROKER_LISTENERS_MAX = 6 };

/* Like the shared one, in the runner's process and until the runner ends, but with listeners of its
 * own, up to one without a name. */
struct broker *broker_keep(const struct broker_listener *listeners);

struct broker *broker_start(void);
/* "127.0.0.1:PORT" of the listener with this name. Borrowed. */
const char *broker_listener_address(const struct broker *broker, const char *name);
/* Accepts NULL. */
void broker_free(struct broker *broker);
AUTO_DEFINE(struct broker, broker_free);
void broker_kill9(struct broker *broker);
/* SIGSTOP, SIGCONT. */
void broker_signal(struct broker *broker, int signal);
/* Starts it again on the same port and data. */
void broker_resume(struct broker *broker);
/* "127.0.0.1:PORT". Borrowed. */
const char *broker_address(const struct broker *broker);

/* A name that no other test has. Owned. */
char *broker_topic_name(const char *what) MUST_CHECK;
/* `settings` are "name", "value", ..., NULL; may be NULL. */
void broker_topic_make(struct broker *broker, const char *topic, int partitions,
                       const char *const *settings);
void broker_topic_delete(struct broker *broker, const char *topic);
/* Where the partition ends. */
int64_t broker_topic_end(struct broker *broker, const char *topic, int32_t partition);

/* A message as it stands in a partition. */
struct broker_record {
    char *key; /* owned, as is the next; NULL: none */
    char *value;
};
/* All that there are in the partition now, in their order. */
struct broker_records {
    struct broker_record *items; /* owned */
    size_t len;
};
void broker_topic_read(struct broker *broker, const char *topic, int32_t partition,
                       struct broker_records *records);
void broker_records_done(struct broker_records *records);
static inline void broker_records_done_auto(struct broker_records *records)
{
    broker_records_done(records);
}
/* What the group has committed for the partition, -1: nothing. */
int64_t broker_group_offset(struct broker *broker, const char *group, const char *topic,
                            int32_t partition);

/* ---- errors on demand ---- */

/* librdkafka's mock cluster in the place of a broker: there is nothing to fetch, and it fails when
 * it is told to. It lives in the test's own process and has no transactions. */
struct broker *broker_mock(void);

/* Kafka's numbers. */
enum broker_request {
    BROKER_PRODUCE = 0,
    BROKER_FETCH = 1,
    BROKER_LIST_OFFSETS = 2,
    BROKER_METADATA = 3,
    BROKER_OFFSET_COMMIT = 8,
    BROKER_FIND_COORDINATOR = 10,
    BROKER_JOIN_GROUP = 11,
    BROKER_HEARTBEAT = 12,
};

/* A mock's next `count` requests of this kind, 8 at most, get this error (Kafka's number). */
void broker_mock_fail(struct broker *broker, enum broker_request request, size_t count, int error);
/* A mock's next request of this kind is answered that much later. */
void broker_mock_delay(struct broker *broker, enum broker_request request, int ms);
/* Whether a request to be delayed has come. */
bool broker_mock_delays(struct broker *broker, enum broker_request request);

/* ---- producing ---- */

struct producer;

/* `settings` are librdkafka's, "name", "value", ..., NULL; may be NULL. */
struct producer *producer_new(struct broker *broker, const char *const *settings);
/* Waits until everything is delivered. Accepts NULL. */
void producer_free(struct producer *producer);
AUTO_DEFINE(struct producer, producer_free);

struct producer_message {
    const char *topic;
    int32_t partition;
    const void *value;                 /* NULL: a tombstone */
    size_t len;                        /* 0 with a value: strlen(value) */
    const char *key;                   /* NULL: none */
    const char *header, *header_value; /* NULL: none */
};

void producer_send(struct producer *producer, const struct producer_message *message);
/* A text to partition 0. */
void producer_send_text(struct producer *producer, const char *topic, const char *value);
/* Waits until everything is delivered. */
void producer_flush(struct producer *producer);
/* Messages that are not delivered yet. */
size_t producer_waiting(const struct producer *producer);
/* Messages that could not be delivered so far. */
uint64_t producer_failures(const struct producer *producer);

/* Transactions: settings must have "transactional.id". */
void producer_begin(struct producer *producer);
void producer_commit(struct producer *producer);
void producer_abort(struct producer *producer);

#endif
