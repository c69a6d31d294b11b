/* Predictions like those of tests/data/churn, with about 200 bytes of metrics: 100 deployments in
 * turn, one event each 100 ms from EVENT_WEEK_MS on, random UUIDs. Event n is the same in each
 * run. */
#ifndef BENCH_EVENTS_H
#define BENCH_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "tests/bench/load.h"

enum { EVENT_DEPLOYMENTS = 100, EVENT_MS = 100 };
#define EVENT_WEEK_MS INT64_C(1717372800000) /* Monday, 2024-06-03T00:00:00Z */

/* The CRN of deployment 0 to 99. */
void event_write_crn(struct buf *buf, uint32_t deployment);
void event_write_metrics(struct buf *buf, uint64_t n);

/* Whole requests of events first, first + 1, ...; they go to the end of `requests`. One event each,
 * to /track-metrics; or many, to /v1/events as NDJSON. */
void events_write_single(struct load_requests *requests, uint64_t first, uint64_t count);
void events_write_batched(struct load_requests *requests, uint64_t first, uint64_t count,
                          uint64_t per_request);

#endif
