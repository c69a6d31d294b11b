/* The catalog of deployments: CRN -> small id, with what else is known of each. One a daemon,
 * shared by its committers; entries enter it only after their row is committed. Any thread. */
#ifndef COLLECTOR_CATALOG_H
#define COLLECTOR_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/span.h"

struct catalog;

struct catalog *catalog_new(void);
void catalog_free(struct catalog *catalog);
AUTO_DEFINE(struct catalog, catalog_free);

/* What is known of a deployment for good, so that an event's own word need not be looked at. */
enum { CATALOG_BUILD = 1, CATALOG_MODEL = 2 };

/* false: not in the cache (the database may know it all the same). */
bool catalog_find(struct catalog *catalog, struct span crn, int32_t *id, unsigned *known);
/* Adds to what is known. */
void catalog_add(struct catalog *catalog, struct span crn, int32_t id, unsigned known);
uint32_t catalog_len(struct catalog *catalog);

/* The deployments whose entity was deleted, as the graph says from time to time: ids in ascending
 * order. Takes them. */
void catalog_set_deleted(struct catalog *catalog, int32_t *ids, size_t len);
/* How many of these ids are of such deployments. */
size_t catalog_count_deleted(struct catalog *catalog, const int32_t *ids, size_t len);

#endif
