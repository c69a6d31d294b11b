/* The background work in Postgres, round by round, in a thread of its own: labels that wait, the
 * ledger's totals, partitions ahead, gauges. Any number of daemons do it side by side. */
#ifndef COLLECTOR_MAINTENANCE_H
#define COLLECTOR_MAINTENANCE_H

#include <stdint.h>

#include "base/attr.h"
#include "collector/store.h"

struct maintenance;

/* Starts the thread. Borrows what `setup` points to until maintenance_stop has returned. */
struct maintenance *maintenance_start(const struct store_setup *setup);
/* Ends the round that is under way and frees. Accepts NULL. */
void maintenance_stop(struct maintenance *maintenance);
AUTO_DEFINE(struct maintenance, maintenance_stop);

/* Any thread: the monotonic time at which the last round began, if it went well, else 0. */
int64_t maintenance_works_ms(const struct maintenance *maintenance);

#endif
