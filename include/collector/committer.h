/* The committer: takes what waits in a queue the moment it is free, commits it as one batch, and
 * gives each submission its outcome. A thread of its own; one for metrics, one for requests with
 * lineage events. */
#ifndef COLLECTOR_COMMITTER_H
#define COLLECTOR_COMMITTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "collector/queue.h"
#include "collector/store.h"

struct committer;
struct spool;

/* Starts the thread, which leaves the queue alone while less than bytes_min waits in it (1: it
 * takes anything). With a spool (NULL: none), which must be the queue's, what can't be committed
 * for too long goes there; the one that takes anything also commits what is in it. Borrows the
 * queue, the spool and what `setup` points to, until committer_free has returned. */
struct committer *committer_start(const struct store_setup *setup, struct queue *queue,
                                  struct spool *spool, size_t bytes_min, const char *name);
/* From deadline_mono_ms on nothing is tried again: what is left is answered as not stored, or,
 * where COMMIT went out and nobody knows, as unknown; with a spool it goes there. What is in the
 * spool is for the next daemon. */
void committer_drain(struct committer *committer, int64_t deadline_mono_ms);
/* Waits for the thread, which ends when the queue is closed and empty; ticks are still welcome. */
void committer_join(struct committer *committer);
/* After committer_join and the last tick. Accepts NULL. */
void committer_free(struct committer *committer);

/* Any thread, several times a second: answers submissions whose time is over, and breaks a
 * connection that hangs. */
void committer_tick(struct committer *committer, int64_t now_mono_ms);
/* Any thread: whether what comes now can be expected to be committed. Under load the last attempt
 * tells; a committer without work goes by whatever was later, that attempt or the last round of
 * maintenance (maintenance_round_ms). */
bool committer_is_up(const struct committer *committer, int64_t round_ms);

#endif
