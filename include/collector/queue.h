/* The ingest queue: submissions waiting for the committer, in order of arrival. Its bound is the
 * memory budget, in which every submission holds its bytes; when that is full the request was
 * refused before it got here. Any thread.
 *
 * With a spool it has two states, so that no event overtakes one that was acknowledged before it:
 *
 *   direct ──(nothing was committed for too long: queue_divert, queue_take_aside)──> diverted
 *   what comes is committed                      what came by HTTP goes to the spool, by
 *          ^                                     queue_take_aside, and is committed from there by
 *          └──(the spool is empty: queue_rejoin)── one committer; messages from Kafka wait */
#ifndef COLLECTOR_QUEUE_H
#define COLLECTOR_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "collector/submission.h"

struct queue;
struct spool;

struct queue *queue_new(void);
/* Before the first push: what has waited for after_ms while nothing was committed is diverted, and
 * nothing is held back for longer. The spool is borrowed; one that holds something is what
 * begins. */
void queue_set_spool(struct queue *queue, struct spool *spool, int64_t after_ms);
void queue_free(struct queue *queue); /* must be empty */
AUTO_DEFINE(struct queue, queue_free);

/* Takes the submission. -1: the queue is closed, the submission is still the caller's. */
int queue_push(struct queue *queue, struct submission *submission) MUST_CHECK;
/* Waits until at least bytes_min wait (1: anything), or something does and queue_tick found that
 * nobody takes it, or the queue is closed; then as a list the oldest submission and those behind it
 * that came by the same way, HTTP or Kafka, as long as they stay under both bounds together. NULL:
 * closed and empty. */
struct submission *queue_take(struct queue *queue, size_t bytes_min, uint32_t events_max,
                              size_t bytes_max);
/* The same, of anything, for the committer that reads the spool. *diverted: it is to do that now;
 * NULL is returned. */
struct submission *queue_take_or_replay(struct queue *queue, uint32_t events_max, size_t bytes_max,
                                        bool *diverted);
/* From time to time: removes and returns the submissions whose deadline has passed at now_mono_ms,
 * and notices when nobody takes what waits. */
struct submission *queue_tick(struct queue *queue, int64_t now_mono_ms);
/* No more pushes; queue_take goes on until it is empty. */
void queue_close(struct queue *queue);
uint32_t queue_len(struct queue *queue);
bool queue_is_closed(struct queue *queue);

/* ---- with a spool ---- */

/* Waits until something by HTTP is to go to the spool, and takes it: the queue is diverted, and
 * stays so at least until queue_divert_done. NULL: the queue is closed, or wait_ms have passed. */
struct submission *queue_take_aside(struct queue *queue, uint32_t events_max, size_t bytes_max,
                                    int64_t wait_ms);
/* A committer puts what it had taken into the spool: the queue is diverted until, or longer. */
void queue_divert(struct queue *queue);
void queue_divert_done(struct queue *queue);
bool queue_is_diverted(struct queue *queue);
/* Closed while it is diverted: what is still taken, messages from Kafka, would overtake the spool,
 * which is for the next daemon. */
bool queue_is_cut_off(struct queue *queue);
/* Something was committed. */
void queue_progress(struct queue *queue, int64_t now_mono_ms);
/* The last group of the spool is being committed: what comes waits for that instead of following it
 * into the spool, for after_ms at most, or until it failed. */
void queue_hold(struct queue *queue, bool is_held);
/* If the spool is empty and nobody is about to append to it, the queue is direct again. */
bool queue_rejoin(struct queue *queue);

#endif
