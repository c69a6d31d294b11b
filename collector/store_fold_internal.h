/* Folding: pending deltas into the rollup tables, minutes into hours and days with them. */
#ifndef COLLECTOR_STORE_FOLD_INTERNAL_H
#define COLLECTOR_STORE_FOLD_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"

struct store;

/* Folds once around all shares of the deployments. *folded: how many deltas. Whatever another
 * daemon folds at the same moment is left to it. */
int store_fold(struct store *store, uint64_t *folded, struct err *err) MUST_CHECK;

#endif
