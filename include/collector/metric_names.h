/* Which metrics are rolled up: (deployment, kind, name) -> number within the deployment, as table
 * metric_name has it. A cache of one committer's; entries enter it only after their row is
 * committed, and are never wrong: a name is admitted for ever, or refused for ever. Not
 * thread-safe. */
#ifndef COLLECTOR_METRIC_NAMES_H
#define COLLECTOR_METRIC_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/span.h"

/* Metrics that every deployment has; names begin behind them. */
enum {
    METRIC_PREDICTIONS = 0, /* a number for each prediction: 1 when it failed, else 0 */
    METRIC_AGGREGATES = 1,  /* the number 0 for each aggregate */
    METRIC_LATENCY = 2,     /* _latency_ms of each prediction */
    METRIC_NAMES_FIRST = 3,
};

enum {
    METRIC_UNKNOWN = -1, /* not in the cache: ask the database */
    METRIC_REFUSED = -2, /* the deployment has no room for it */
};

struct metric_names;

/* More than names_max are forgotten together and asked for again. */
struct metric_names *metric_names_new(size_t names_max);
void metric_names_free(struct metric_names *names);
AUTO_DEFINE(struct metric_names, metric_names_free);

/* The number, METRIC_UNKNOWN or METRIC_REFUSED. `name` is at most METRIC_NAME_BYTES_MAX long. */
int32_t metric_names_find(struct metric_names *names, int32_t deployment, bool is_aggregate,
                          struct span name);
/* Forgets everything when there are too many. Between batches only: a batch may need more than
 * names_max, and would never have all of them if each answer made it forget the one before. */
void metric_names_trim(struct metric_names *names);
/* `metric` may be METRIC_REFUSED. */
void metric_names_add(struct metric_names *names, int32_t deployment, bool is_aggregate,
                      struct span name, int32_t metric);
/* All names of the deployment are in the cache, and no others will be admitted. */
void metric_names_set_full(struct metric_names *names, int32_t deployment);
bool metric_names_is_full(struct metric_names *names, int32_t deployment);

enum { METRIC_NAME_BYTES_MAX = 512 };

#endif
