/* The stored offsets of Kafka's partitions, as a consumer reads them before it begins; a batch
 * moves them on. One connection, made when first needed and again after it broke. Of one thread. */
#ifndef COLLECTOR_OFFSETS_H
#define COLLECTOR_OFFSETS_H

#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "collector/origin.h"

struct offsets;

/* `dsn` is copied. */
struct offsets *offsets_new(const char *dsn);
void offsets_free(struct offsets *offsets);
AUTO_DEFINE(struct offsets, offsets_free);

/* 1: *offset is what is stored. 0: nothing is stored. -1, ERR_RETRY: the server is away. */
int offsets_read(struct offsets *offsets, const char *cluster, const char *topic, int32_t partition,
                 struct origin_offset *offset, struct err *err) MUST_CHECK;
/* Stores where a partition begins, unless something is stored already. */
int offsets_make(struct offsets *offsets, const char *cluster, const char *topic, int32_t partition,
                 int64_t next, struct err *err) MUST_CHECK;

#endif
