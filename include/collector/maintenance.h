/* Background work in Postgres, round by round, each kind in a thread and on a connection of its
 * own. Any number of daemons do it side by side. */
#ifndef COLLECTOR_MAINTENANCE_H
#define COLLECTOR_MAINTENANCE_H

#include <stdint.h>

#include "base/attr.h"
#include "collector/store.h"

struct maintenance;

/* One round, store_maintain or store_fold. */
typedef int maintenance_round(struct store *store, int64_t now_ms, bool *more, struct err *err);

/* Starts the thread; `name` (static) is in its log lines. Borrows what `setup` points to until
 * maintenance_stop has returned. */
struct maintenance *maintenance_start(const struct store_setup *setup, const char *name,
                                      maintenance_round *round);
/* Ends the round that is under way and frees. Accepts NULL. */
void maintenance_stop(struct maintenance *maintenance);
AUTO_DEFINE(struct maintenance, maintenance_stop);

/* Any thread, now and then: breaks the connection of a round that takes longer than ms_max. Accepts
 * NULL. */
void maintenance_tick(struct maintenance *maintenance, int64_t now_mono_ms, int64_t ms_max);
/* Any thread: the monotonic time at which the last round began; negative, at which it failed. */
int64_t maintenance_round_ms(const struct maintenance *maintenance);

#endif
