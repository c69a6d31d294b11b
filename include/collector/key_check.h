/* What a key that is restricted to CRNs may post. */
#ifndef COLLECTOR_KEY_CHECK_H
#define COLLECTOR_KEY_CHECK_H

#include "atlas/type_def.h"
#include "collector/keyring.h"
#include "metrics/event.h"

/* Rejects the events that name a CRN which the key may not, with the code "forbidden"; lineage
 * events are those that lineage_check has let pass. Labels are rejected: they name a prediction by
 * its UUID alone, and nobody can say whose it is. What a build was trained with may be anybody's:
 * it is named, not changed. Nothing happens with a key that is not restricted. */
void key_check_events(const struct key *key, struct event_list *list,
                      const struct event_limits *limits, const struct type_registry *types,
                      const char *name_space);

#endif
