/* The thread that brings what waits in a queue to the spool while nothing is committed, and looks
 * whether a disk that failed works again: that may hang, and main must not. */
#ifndef COLLECTOR_SPOOLER_H
#define COLLECTOR_SPOOLER_H

#include "base/attr.h"
#include "collector/config.h"
#include "collector/queue.h"
#include "collector/spool.h"
#include "collector/stats.h"

struct spooler;

/* Borrows everything until spooler_join has returned; the queue has the spool. */
struct spooler *spooler_start(const struct config *config, struct queue *queue, struct spool *spool,
                              struct stats *stats);
/* Waits for the thread, which ends when the queue is closed, and frees. Accepts NULL. */
void spooler_join(struct spooler *spooler);

#endif
