/* A server on a port of its own, with a committer and a database that are made up: what the HTTP
 * tests talk to. */
#ifndef FAKE_COLLECTOR_H
#define FAKE_COLLECTOR_H

#include <pthread.h>
#include <stdbool.h>

#include "atlas/type_def.h"
#include "client.h"
#include "collector/budget.h"
#include "collector/config.h"
#include "collector/http.h"
#include "collector/queue.h"
#include "collector/stats.h"

enum fake_verdict {
    FAKE_COMMIT,
    FAKE_CONFLICT, /* the first event of each submission is refused by the database */
    FAKE_NOT_STORED,
    FAKE_UNKNOWN,
};

struct fake_committer {
    struct fake_collector *fake;
    struct queue *queue;
    pthread_t thread;
};

struct fake_collector {
    struct config config;
    struct budget *budget;
    struct stats *stats;
    struct queue *queue;
    struct queue *graph_queue;
    struct type_cache *types;
    struct keyring *keyring; /* the test's own; NULL: keys are off */
    struct http *http;
    const char *address;

    struct store_pool *pool;
    const char *dsn; /* what the made-up read gives: see fake_read.c */
    bool is_ready;

    struct fake_committer committer, graph_committer;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_held; /* guarded by lock, as is all below: the committer answers nothing */
    enum fake_verdict verdict;
    uint32_t submissions;
    int64_t batches;
};

/* Small limits and short time-outs; change them, then start. */
void fake_init(struct fake_collector *fake);
void fake_start(struct fake_collector *fake);
/* Stops everything; the budget must be empty by then. */
void fake_stop(struct fake_collector *fake);
void fake_hold(struct fake_collector *fake, bool is_held);
void fake_set_verdict(struct fake_collector *fake, enum fake_verdict verdict);
/* Waits until so many submissions have come out of the queue. */
void fake_wait_submissions(struct fake_collector *fake, uint32_t submissions);

/* The made-up reads of this process. */
int fake_reads_open(void);
int fake_reads_cancelled(void);
void fake_reads_forget(void);
/* Waits until none is open. */
void fake_wait_no_reads(void);

#endif
