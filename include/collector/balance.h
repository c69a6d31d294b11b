/* The books: what became of every event that was ever received, as GET /v1/balance and `plumbline
 * balance` show it. Plain data; the store reads it. */
#ifndef COLLECTOR_BALANCE_H
#define COLLECTOR_BALANCE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "metrics/event.h"

struct balance_counts {
    int64_t received;
    int64_t accepted;
    int64_t duplicate;
    int64_t rejected;
    int64_t spooled; /* acknowledged, and not yet in the ledger */
};

struct balance {
    struct balance_counts kinds[EVENT_KINDS]; /* by enum event_kind */
    int64_t batches;
};

struct balance_counts balance_total(const struct balance *balance);
/* received = accepted + duplicate + rejected + spooled, in every kind. */
bool balance_holds(const struct balance *balance);
/* The answer of GET /v1/balance; without what is spooled where only the database was asked, which
 * knows of no spool. */
void balance_write_json(const struct balance *balance, bool has_spooled, struct buf *out);
/* For people, without what is spooled: a line a kind and one for all. */
void balance_write_table(const struct balance *balance, FILE *out);

#endif
