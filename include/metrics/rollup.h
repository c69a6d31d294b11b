/* Rollups: what one metric looked like in one window, and the packed form of all metrics of one
 * deployment in one window, which is what a delta holds.
 *
 * Everything here merges exactly: the same values, in whatever order and parts they came, give the
 * same bytes. A metric that is a number in one event and a text in another has both parts.
 *
 * Pure. Bytes that are read may come from anywhere: what is not exactly what the writer would have
 * written is refused, and reading takes memory in proportion to the bytes. */
#ifndef METRICS_ROLLUP_H
#define METRICS_ROLLUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/span.h"
#include "metrics/categories.h"
#include "metrics/exact.h"
#include "metrics/histogram.h"
#include "metrics/leaf.h"

/* Of numbers, of texts, of nulls each. A day of three thousand million values a second; every count
 * is exact as a double, as JSON readers have them. */
#define ROLLUP_COUNT_MAX ((uint64_t)1 << 48)

struct rollup {
    /* Numbers. min and max mean nothing while count is 0; zero is +0.0. */
    uint64_t count;
    double min;
    double max;
    struct exact sum;
    struct exact squares;
    struct histogram histogram;
    uint64_t nulls;
    struct categories categories; /* texts, and booleans as "true" and "false" */
};

void rollup_init(struct rollup *rollup);
void rollup_done(struct rollup *rollup);
/* Empty again, keeps the memory for the next. */
void rollup_clear(struct rollup *rollup);
bool rollup_is_empty(const struct rollup *rollup);

/* `value` must be finite; -0.0 counts as 0.0. A count never gets beyond ROLLUP_COUNT_MAX here:
 * that is a programmer's error. */
void rollup_add_number(struct rollup *rollup, double value);
/* The text unescaped. */
void rollup_add_text(struct rollup *rollup, struct span text);
void rollup_add_null(struct rollup *rollup);
/* A number, text, boolean or null is added; false for what is not rolled up. */
bool rollup_add_leaf(struct rollup *rollup, const struct leaf *leaf);

/* -1: a count would be more than ROLLUP_COUNT_MAX, which only forged bytes can bring about;
 * *rollup is as it was. */
int rollup_merge(struct rollup *rollup, const struct rollup *other) MUST_CHECK;

/* For answers. The sum is rounded once (see exact_round: infinite where no double can hold it),
 * mean and deviation as exact_mean and exact_stddev say. `count` must not be 0, except for the sum.
 */
double rollup_sum(const struct rollup *rollup);
double rollup_mean(const struct rollup *rollup);
double rollup_stddev(const struct rollup *rollup);
/* By nearest rank over the numbers; q from 0 to 1. */
struct histogram_quantile rollup_quantile(const struct rollup *rollup, double q);

/* The encoding (varints as in metrics/exact.h):
 *
 *     byte    version 1 in the upper half, the parts that follow in the lower: 1 numbers,
 *             2 all numbers are equal, 4 nulls, 8 categories
 *     numbers, all equal:
 *         varint  count
 *         byte    length of the number
 *         bytes   the number: its IEEE 754 bits, the highest byte first, zero bytes at the end
 *                 left out
 *     numbers:
 *         byte    length of min + 16 * length of max
 *         bytes   min, max: as above
 *         exact   sum, squares
 *         histogram (its counts make the count)
 *     nulls:      varint
 *     categories: as in metrics/categories.h
 *
 * A part that is empty takes no byte. Equal numbers give sums and histogram by themselves, and are
 * always written in the short form. */
void rollup_write(const struct rollup *rollup, struct buf *out);
/* Reads the whole of `bytes`. -1: not what rollup_write writes; the rollup (which must be
 * rollup_init'ed) is then empty. */
int rollup_read(struct rollup *rollup, struct span bytes) MUST_CHECK;

/* All metrics of one deployment, kind and window, by metric id. Used again and again: a cleared
 * group keeps its rollups for the next one, so that a batch over ten thousand deployments allocates
 * next to nothing. Not thread-safe. */
struct rollup_group;

struct rollup_group *rollup_group_new(void);
void rollup_group_free(struct rollup_group *group);
AUTO_DEFINE(struct rollup_group, rollup_group_free);
/* Forgets all metrics; what rollup_group_get and _find gave is gone. Memory of a group much larger
 * than usual is given back. */
void rollup_group_clear(struct rollup_group *group);

/* The metric's rollup, an empty one at first sight. Borrowed until the group is cleared; stays
 * where it is while others are added. */
struct rollup *rollup_group_get(struct rollup_group *group, uint32_t id);
/* NULL when the metric is not there. */
struct rollup *rollup_group_find(const struct rollup_group *group, uint32_t id);
uint32_t rollup_group_len(const struct rollup_group *group);
/* The metric at place i of rollup_group_len, by ascending id. */
struct rollup *rollup_group_at(struct rollup_group *group, uint32_t i, uint32_t *id);

/* The packed form; empty rollups are left out, and a group without metrics has one too:
 *
 *     byte    version 1
 *     varint  number of metrics
 *     for each metric, by ascending id
 *         varint  id, of each but the first: the difference to the id before less 1
 *         varint  length of its rollup
 *         bytes   rollup */
void rollup_group_write(struct rollup_group *group, struct buf *out);
/* Adds what is packed in `bytes` to the group; on an empty group it is how to read it. -1: not what
 * rollup_group_write writes, or a count would be beyond ROLLUP_COUNT_MAX; a part of it may then
 * have been added: the group is good for nothing but rollup_group_clear and _free. */
int rollup_group_merge_packed(struct rollup_group *group, struct span bytes) MUST_CHECK;
/* The same for one group into another. */
int rollup_group_merge(struct rollup_group *group, const struct rollup_group *other) MUST_CHECK;

/* Walks the metrics of packed bytes (borrowed) without reading the rollups:
 *
 *     struct rollup_packed packed = rollup_packed_begin(bytes);
 *     while ((rc = rollup_packed_next(&packed, &id, &rollup)) > 0) ... */
struct rollup_packed {
    struct span rest; /* data NULL: broken */
    uint64_t left;    /* metrics still to come */
    uint64_t id_next; /* the smallest id that may follow */
};

struct rollup_packed rollup_packed_begin(struct span bytes);
/* 1: a metric's id and the bytes of its rollup. 0: that was all. -1: not what rollup_group_write
 * writes. */
int rollup_packed_next(struct rollup_packed *packed, uint32_t *id, struct span *rollup) MUST_CHECK;

#endif
