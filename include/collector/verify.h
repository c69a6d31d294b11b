/* Rollups against a recount: minutes against the raw rows, hours against their minutes, days
 * against their hours, all in one snapshot and to the last bit. */
#ifndef COLLECTOR_VERIFY_H
#define COLLECTOR_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "metrics/window.h"

/* One metric in one window that is not what it should be. */
struct verify_difference {
    enum window_width width;
    int32_t deployment;
    uint32_t metric;
    int64_t window_ms;
    uint64_t expected; /* numbers, texts and nulls */
    uint64_t found;
};

enum { VERIFY_DIFFERENCES_MAX = 1000 };

struct verify {
    int64_t from_ms; /* event time, both inclusive; INT64_MIN and INT64_MAX: everything */
    int64_t to_ms;
    /* Called now and then with the time that is being looked at; may be NULL. */
    void (*progress)(void *ctx, const struct verify *verify, enum window_width width, int64_t ms);
    void *ctx;

    /* What came of it. */
    uint64_t windows;   /* compared */
    uint64_t recounts;  /* left out: something was corrected there and waits to be counted anew */
    uint64_t differing; /* metrics in windows; the first VERIFY_DIFFERENCES_MAX are in the list */
    struct verify_difference *differences; /* owned */
    uint32_t differences_len;
};

/* ERR_RETRY: the server failed. ERR_INPUT: the database keeps no rollups. */
int verify_run(struct verify *verify, const char *dsn, struct err *err) MUST_CHECK;
/* What a person calls them: CRN and metric of a difference, owned. */
int verify_name(const char *dsn, const struct verify_difference *difference, char **crn,
                char **metric, struct err *err) MUST_CHECK;
void verify_done(struct verify *verify);

#endif
