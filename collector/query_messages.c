/* GET /v1/lineage/messages: the outbox, for whoever reads no Kafka. A line is
 *
 *     {"number":17,"key":"<project CRN>","message":{an envelope, never packed}}
 *
 * Numbers only grow and some are never given; a reader goes on behind the last one that it has. A
 * page of the outbox is one statement: no transaction waits while the reader is slow. */
#include <inttypes.h>

#include "collector/queries.h"
#include "collector/store_outbox_internal.h"
#include "collector/store_pool.h"

enum {
    MESSAGES_PAGE = 500,
    MESSAGES_LIMIT_MAX = 1000000000,
    MESSAGES_SLICE_BYTES = 1024 * 1024, /* of a long line */
};

/* What is asked for, and how far the answer is. */
struct messages {
    enum outbox_from from;
    int64_t after;
    int64_t left; /* lines that may follow */
};

static int messages_parse(struct messages *messages, struct query *query)
{
    *messages = (struct messages){ .from = OUTBOX_OLDEST, .left = INT64_MAX };
    if (parameters_get(&query->parameters, "after").data)
        messages->from = OUTBOX_AFTER;
    if (parameters_get_i64(&query->parameters, "after", 0, INT64_MAX, &messages->after,
                           &query->fault) < 0)
        return -1;
    return parameters_get_i64(&query->parameters, "limit", 1, MESSAGES_LIMIT_MAX, &messages->left,
                              &query->fault);
}

/* A message may be larger than what can be flushed at a time. */
static int messages_write_line(struct query *query, const struct outbox_page *page, int row,
                               struct buf *out, struct err *err)
{
    struct message_parts parts;
    struct span text;
    int rc = 0;

    outbox_page_message(page, row, SIZE_MAX, &parts);
    buf_append_fmt(out, "{\"number\":%" PRId64 ",\"key\":", outbox_page_number(page, row));
    buf_append_json(out, outbox_page_key(page, row));
    buf_append_text(out, ",\"message\":");
    for (text = buf_span(&parts.items[0]); text.len && rc == 0;) {
        struct span slice = { text.data,
                              text.len < MESSAGES_SLICE_BYTES ? text.len : MESSAGES_SLICE_BYTES };

        buf_append_span(out, slice);
        text.data += slice.len;
        text.len -= slice.len;
        if (text.len)
            rc = query_flush(query, out, err);
    }
    buf_append_text(out, "}\n");
    message_parts_done(&parts);
    return rc;
}

static int messages_are_gone(struct query *query, const struct messages *messages,
                             const struct outbox_page *page)
{
    if (page->len == 0)
        return fault_set(&query->fault, 410, "gone", "after",
                         "messages behind %" PRId64 " are no longer kept (outbox_retention), and "
                         "there are no others yet: go on with after=%" PRId64
                         "; what they said is in the graph",
                         messages->after, page->removed);
    return fault_set(&query->fault, 410, "gone", "after",
                     "messages behind %" PRId64 " are no longer kept (outbox_retention): the "
                     "oldest number is %" PRId64 ", go on with after=%" PRId64
                     "; what the others said is in the graph",
                     messages->after, outbox_page_number(page, 0), page->removed);
}

/* One page. 1: another may follow. */
static int messages_write_page(PGconn *conn, struct query *query, struct messages *messages,
                               struct buf *out, struct err *err)
{
    int64_t rows = messages->left < MESSAGES_PAGE ? messages->left : MESSAGES_PAGE;
    AUTO(outbox_page_done) struct outbox_page page = { 0 };

    if (outbox_page_read(&page, conn, messages->from, messages->after, rows, err) < 0)
        return -1;
    if (messages->from == OUTBOX_AFTER && messages->after < page.removed)
        return messages_are_gone(query, messages, &page);
    for (int row = 0; row < page.len; row++) {
        if (messages_write_line(query, &page, row, out, err) < 0 ||
            ((row == 0 || out->len > QUERY_FLUSH_BYTES) && query_flush(query, out, err) < 0))
            return -1;
        messages->after = outbox_page_number(&page, row);
    }
    messages->from = OUTBOX_AFTER;
    messages->left -= page.len;
    return page.len > 0 && messages->left > 0;
}

int query_messages(struct store_pool *pool, struct query *query, struct buf *out, unsigned *status,
                   struct err *err)
{
    struct messages messages;
    PGconn *conn;
    int rc;

    (void)status;
    if (messages_parse(&messages, query) < 0)
        return -1;
    conn = store_pool_take(pool, err);
    if (!conn)
        return -1;
    query->content_type = media_type_name(MEDIA_NDJSON);
    while ((rc = messages_write_page(conn, query, &messages, out, err)) > 0)
        continue;
    store_pool_give(pool, conn, rc == 0);
    return rc;
}
