/* What the witness's clients have in common: they give each event a number, from which follows what
 * it is, and remember its fate. */
#ifndef HARNESS_WITNESS_INTERNAL_H
#define HARNESS_WITNESS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/buf.h"
#include "witness.h"

enum {
    CLIENT_BITS = 20, /* a client's events are numbered from client << CLIENT_BITS */
    EVENTS_MAX = 24,  /* of one request */
    BODY_BYTES_MAX = 1 << 20,
    WITNESS_ERROR_BYTES = 512,
};

enum kind { PREDICTION, LABEL, LABEL_BARE, AGGREGATE, AGGREGATE_BARE, BUILD };

/* How often an event was sent and what became of it. */
struct fate {
    uint32_t acknowledged, refused, lost;
    uint32_t seen; /* by witness_check */
    bool merged;   /* a label: it stands in its prediction */
};

struct client {
    struct witness *witness;
    pthread_t thread;
    void *(*run)(void *client);
    uint32_t number; /* of its first event */
    uint64_t dice;
    struct http *http;
    struct fate *fates;
    uint32_t len, cap;
};

struct witness {
    uint64_t seed;
    uint32_t clients_len;
    struct client clients[WITNESS_CLIENTS_MAX];
    _Atomic int ports[WITNESS_DAEMONS]; /* 0: away */
    _Atomic bool ending;
    bool running;
    struct witness_kafka *kafka; /* NULL: nobody sends by Kafka */

    pthread_mutex_t lock;
    struct witness_tally tally;      /* guarded by lock */
    char error[WITNESS_ERROR_BYTES]; /* guarded by lock: the first thing that a client noted */
};

/* A request and how it is sent. */
struct sending {
    uint32_t first, count;
    enum kind kind; /* of its first event */
    const char *path, *type;
    bool gzip;
    struct buf body;
};

/* One more request: numbers for its events, each with a fate. A build is alone in it, because
 * metrics and the graph are. */
void client_take_numbers(struct client *client, struct sending *sending);
/* As JSON. */
void event_write(struct buf *out, const struct witness *witness, uint32_t number);
/* A client that runs with the others from the next witness_begin on. */
struct client *witness_add_client(struct witness *witness, void *(*run)(void *client));

/* ---- witness_kafka.c; all accept a witness without Kafka */

/* Waits until Kafka has acknowledged what was sent, and notes it. */
void witness_kafka_end(struct witness *witness);
void witness_kafka_free(struct witness *witness);
/* Waits until all of it is stored; what the offsets say is right. */
void witness_kafka_check(const struct witness *witness, const char *dsn);

#endif
