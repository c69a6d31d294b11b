/* Reading rollups: what is folded and what is pending, in one snapshot. */
#ifndef COLLECTOR_STORE_ROLLUP_INTERNAL_H
#define COLLECTOR_STORE_ROLLUP_INTERNAL_H

#include <libpq-fe.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "metrics/rollup.h"
#include "metrics/window.h"

/* The rollups of some deployments over a span of whole windows, as of one snapshot. */
struct rollup_source;

struct rollup_span {
    enum window_width window;
    int64_t from_ms; /* of the first window */
    int64_t to_ms;   /* behind the last one */
};

/* A metric of one deployment. */
struct rollup_key {
    int32_t deployment;
    int32_t metric;
};

/* Begins the transaction of a read. *horizon_ms: windows of this width before it are dropped or
 * about to be; INT64_MIN: none are. */
int rollup_read_begin(PGconn *conn, enum window_width window, int64_t *horizon_ms,
                      struct err *err) MUST_CHECK;

/* Reads what is pending; minutes that are marked for a recount are counted anew here. In a
 * REPEATABLE READ transaction of the caller's, which stays open until rollup_source_free. `conn` is
 * borrowed, `deployments` ascending. */
struct rollup_source *rollup_source_open(PGconn *conn, const int32_t *deployments,
                                         size_t deployments_len, const struct rollup_span *span,
                                         struct err *err) MUST_CHECK;
void rollup_source_free(struct rollup_source *source);
AUTO_DEFINE(struct rollup_source, rollup_source_free);

/* Begins a series: the windows of these metrics, merged. `keys` is ascending by deployment, at most
 * one of each, borrowed until the end of the series. */
int rollup_source_begin(struct rollup_source *source, const struct rollup_key *keys,
                        size_t keys_len, struct err *err) MUST_CHECK;
/* 1: the next window that has something, in order; `rollup` is overwritten. 0: the series is over.
 * -1: the server failed. */
int rollup_source_next(struct rollup_source *source, int64_t *window_ms, struct rollup *rollup,
                       struct err *err) MUST_CHECK;
/* How many minutes were counted anew. */
size_t rollup_source_recounts(const struct rollup_source *source);

#endif
