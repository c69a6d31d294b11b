/* Predictions like those of tests/data/churn, with about 200 bytes of metrics: 100 deployments in
 * turn, EVENTS_PER_SECOND in event time from EVENT_WEEK_MS on, random UUIDs. Event n is the same in
 * each run. */
#ifndef BENCH_EVENTS_H
#define BENCH_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "tests/bench/load.h"

enum { EVENT_DEPLOYMENTS = 100, EVENTS_PER_SECOND = 10000 };
#define EVENT_WEEK_MS INT64_C(1717372800000) /* Monday, 2024-06-03T00:00:00Z */

/* How events follow each other in event time. */
struct event_stream {
    uint32_t deployments; /* in turn */
    uint32_t per_second;
};
extern const struct event_stream event_stream_usual; /* what is said above */

/* The CRN of deployment 0, 1, ... */
void event_write_crn(struct buf *buf, uint32_t deployment);
void event_write_metrics(struct buf *buf, uint64_t n);

/* Event n by itself, as /v1/events and Kafka take it. */
void event_write(struct buf *buf, uint64_t n);

/* Whole requests of events first, first + 1, ...; they go to the end of `requests`. One event each,
 * to /track-metrics; or many, to /v1/events as NDJSON. */
void events_write_single(struct load_requests *requests, uint64_t first, uint64_t count);
/* The labels of these, one each, to /track-delayed-metrics. */
void events_write_labels(struct load_requests *requests, uint64_t first, uint64_t count);
void events_write_batched(struct load_requests *requests, uint64_t first, uint64_t count,
                          uint64_t per_request);
/* The same of another stream. */
void events_write_stream(struct load_requests *requests, const struct event_stream *stream,
                         uint64_t first, uint64_t count, uint64_t per_request);

#endif
