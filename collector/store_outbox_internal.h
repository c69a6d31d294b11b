/* Messages for others that keep a graph, on their way out. */
#ifndef COLLECTOR_STORE_OUTBOX_INTERNAL_H
#define COLLECTOR_STORE_OUTBOX_INTERNAL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "atlas/message.h"
#include "atlas/type_def.h"
#include "base/attr.h"
#include "base/err.h"
#include "collector/store.h"
#include "collector/store_internal.h"

/* In the transaction that changes the graph, under the GRAPH lock and behind the change: writes
 * what became of these entities, which events describe, as messages. What the batch has not changed
 * makes none. */
int outbox_write(PGconn *conn, const struct store_setup *setup, const struct type_registry *types,
                 int64_t batch_id, struct store_array *entities, struct err *err) MUST_CHECK;

/* A few messages in order. */
struct outbox_page {
    PGresult *rows; /* owned */
    int len;
    int64_t removed; /* all up to this number are gone */
    int64_t published;
};

enum outbox_from { OUTBOX_AFTER, OUTBOX_OLDEST, OUTBOX_UNPUBLISHED };

/* The messages behind `after`, or from where `from` says. */
int outbox_page_read(struct outbox_page *page, PGconn *conn, enum outbox_from from, int64_t after,
                     int64_t rows_max, struct err *err) MUST_CHECK;
void outbox_page_done(struct outbox_page *page);
static inline void outbox_page_done_auto(struct outbox_page *page) /* AUTO(outbox_page_done) */
{
    outbox_page_done(page);
}
int64_t outbox_page_number(const struct outbox_page *page, int row);
/* Borrowed from the page. */
struct span outbox_page_key(const struct outbox_page *page, int row);
/* The message in its envelope, as message_write does it: always the same bytes. */
void outbox_page_message(const struct outbox_page *page, int row, size_t bytes_max,
                         struct message_parts *parts);

/* Background: removes what is older than outbox_retention and published, or will never be, and what
 * is more than outbox_messages_max. */
int outbox_retention_round(struct store *store, int64_t now_ms, bool *more,
                           struct err *err) MUST_CHECK;

#endif
