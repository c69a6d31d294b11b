/* The load generator: requests that were written before, over a number of connections, by one
 * thread and epoll, so that it takes little from what it measures. Every answer must be 200, or the
 * status that is expected: any other, and a connection that is lost, end the program. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"

/* One behind the other. */
struct load_requests {
    struct buf bytes;
    size_t *ends;
    size_t len;
    size_t cap;
};

void load_requests_init(struct load_requests *requests);
void load_requests_done(struct load_requests *requests);
void load_requests_add(struct load_requests *requests, const struct buf *head,
                       const struct buf *body);

struct load_options {
    int port;
    const struct load_requests *requests; /* each is sent once, in order */
    int connections;
    bool fresh;         /* each request over a connection of its own, as many at a time */
    double rate;        /* requests begun in a second, evenly; 0: whenever a connection is free */
    double seconds_max; /* no request begins after these; 0: all of them */
    int status;         /* of every answer; 0: 200 */
};

struct load_result {
    size_t answers;
    double seconds;       /* from the first request to the last answer */
    uint32_t *latency_us; /* ascending */
};

/* With a rate, a latency counts from the moment when the request was due, so that one that found
 * all connections busy has waited. */
void load_run(const struct load_options *options, struct load_result *result);
void load_result_done(struct load_result *result);
/* `part` of the latencies are at most this. */
double load_result_ms(const struct load_result *result, double part);

static inline void load_requests_done_auto(struct load_requests *requests)
{
    load_requests_done(requests);
}

static inline void load_result_done_auto(struct load_result *result)
{
    load_result_done(result);
}

#endif
