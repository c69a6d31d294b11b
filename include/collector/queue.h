/* The ingest queue: submissions waiting for the committer, in order of arrival. Its bound is the
 * memory budget, in which every submission holds its bytes; when that is full the request was
 * refused before it got here. Any thread. */
#ifndef COLLECTOR_QUEUE_H
#define COLLECTOR_QUEUE_H

#include <stdint.h>

#include "base/attr.h"
#include "collector/submission.h"

struct queue;

struct queue *queue_new(void);
void queue_free(struct queue *queue); /* must be empty */
AUTO_DEFINE(struct queue, queue_free);

/* Takes the submission. -1: the queue is closed, the submission is still the caller's. */
int queue_push(struct queue *queue, struct submission *submission) MUST_CHECK;
/* Waits until at least bytes_min wait (1: anything), or something does and queue_tick found that
 * nobody takes it, or the queue is closed; then the oldest submissions as a list, at least one, as
 * long as they stay under both bounds together. NULL: closed and empty. */
struct submission *queue_take(struct queue *queue, size_t bytes_min, uint32_t events_max,
                              size_t bytes_max);
/* From time to time: removes and returns the submissions whose deadline has passed at now_mono_ms,
 * and notices when nobody takes what waits. */
struct submission *queue_tick(struct queue *queue, int64_t now_mono_ms);
/* No more pushes; queue_take goes on until it is empty. */
void queue_close(struct queue *queue);
uint32_t queue_len(struct queue *queue);

#endif
