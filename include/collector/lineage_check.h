/* The second look at lineage events, between decoding and the queue. */
#ifndef COLLECTOR_LINEAGE_CHECK_H
#define COLLECTOR_LINEAGE_CHECK_H

#include "atlas/type_def.h"
#include "metrics/event.h"

/* Checks every lineage event of the list by atlas/event.h: what is refused leaves list->events and
 * is counted and noted as rejected, warnings are noted. `name_space` is that of tables without
 * one. */
void lineage_check(struct event_list *list, const struct event_limits *limits,
                   const struct type_registry *types, const char *name_space);

#endif
