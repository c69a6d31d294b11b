/* Messages for others that keep a graph: what an Atlas hook would say of a project, build or
 * deployment that has changed.
 *
 *   graph change --> outbox row  in one transaction, numbered under the GRAPH lock
 *                      |-- GET /v1/lineage/messages
 *                      |-- relay --> Kafka               store_relay.c
 *                      '-- removed when it is old
 *
 * A message tells a project, build or deployment together with the process that made it, whole:
 * who reads it need not have read those before. What is known by its name only is told as a
 * reference, from which Atlas makes a shell of its own. */
#include "collector/store_outbox_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/notification.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "collector/store_commit_internal.h"
#include "collector/version.h"

enum {
    OUTBOX_PAGE_BYTES = 1024 * 1024,
    OUTBOX_REMOVE_MAX = 1000, /* of a round */
    /* Of notifications before they are sent to Postgres: a batch may have any number of them. */
    OUTBOX_WRITE_BYTES = 4 * 1024 * 1024,
};

/* ------------------------------------------------------------------------------- what is said */

/* A project comes before its builds, a build before its deployments, and each before the process
 * that made it. */
static const char outbox_changed_sql[] =
    "SELECT entity_id, type, attributes, user_name, is_new, is_changed, subject, key_name"
    " FROM outbox_changed($1::bigint, $2)"
    " ORDER BY subject_type <> 'ml_project', subject_type <> 'ml_model_build', subject,"
    " entity_id <> subject, entity_id";

enum changed_column {
    CHANGED_ID,
    CHANGED_TYPE,
    CHANGED_ATTRIBUTES,
    CHANGED_USER,
    CHANGED_IS_NEW,
    CHANGED_IS_CHANGED,
    CHANGED_SUBJECT,
    CHANGED_KEY,
};

static const char outbox_references_sql[] =
    "SELECT holder, relationship, place, entity_id, type, qualified_name"
    " FROM outbox_references($1) ORDER BY holder, relationship_id";

enum reference_column {
    REFERENCE_HOLDER,
    REFERENCE_TYPE,
    REFERENCE_END,
    REFERENCE_OTHER,
    REFERENCE_OTHER_TYPE,
    REFERENCE_OTHER_NAME,
};

/* The messages of one change. */
struct outbox_work {
    const struct store_setup *setup; /* borrowed, as are the types */
    const struct type_registry *types;
    PGresult *changed; /* owned, as are the references */
    PGresult *references;
    struct store_array keys, notifications;
};

/* The first reference that this entity holds, or where it would be. */
static int outbox_references_find(const PGresult *references, int64_t holder)
{
    int low = 0, high = PQntuples(references);

    while (low < high) {
        int middle = low + (high - low) / 2;

        if (store_get_i64(references, middle, REFERENCE_HOLDER) < holder)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The place of an entity among rows from <= row < to. */
static size_t outbox_place(const PGresult *changed, int from, int to, int64_t id)
{
    for (int row = from; row < to; row++) {
        if (store_get_i64(changed, row, CHANGED_ID) == id)
            return (size_t)(row - from);
    }
    return NOTIFICATION_ELSEWHERE;
}

/* The references of all entities in from <= row < to. Owned. */
static struct notification_reference *outbox_gather(const struct outbox_work *work, int from,
                                                    int to, size_t *len)
{
    const PGresult *rows = work->references;
    struct notification_reference *references = NULL;
    size_t cap = 0;

    *len = 0;
    for (int holder = from; holder < to; holder++) {
        int64_t id = store_get_i64(work->changed, holder, CHANGED_ID);

        for (int row = outbox_references_find(rows, id);
             row < PQntuples(rows) && store_get_i64(rows, row, REFERENCE_HOLDER) == id; row++) {
            if (*len == cap) {
                cap = cap ? 2 * cap : 8;
                references = xreallocarray(references, cap, sizeof(*references));
            }
            references[(*len)++] = (struct notification_reference){
                .holder = (size_t)(holder - from),
                .relationship =
                    type_by_name(work->types, store_get_span(rows, row, REFERENCE_TYPE)),
                .end = (size_t)store_get_i64(rows, row, REFERENCE_END),
                .other = outbox_place(work->changed, from, to,
                                      store_get_i64(rows, row, REFERENCE_OTHER)),
                .type_name = PQgetvalue(rows, row, REFERENCE_OTHER_TYPE),
                .qualified_name = PQgetvalue(rows, row, REFERENCE_OTHER_NAME),
            };
        }
    }
    return references;
}

/* The CRN in a qualified name. */
static struct span outbox_key(const struct outbox_work *work, int row)
{
    struct span key = store_get_span(work->changed, row, CHANGED_KEY);
    struct span space = span_of(work->setup->config->atlas_namespace);

    if (key.len > space.len && key.data[key.len - space.len - 1] == '@' &&
        memcmp(key.data + key.len - space.len, space.data, space.len) == 0)
        key.len -= space.len + 1;
    return key;
}

/* One message: the rows from <= row < to, which have one subject. */
static void outbox_add(struct outbox_work *work, int from, int to)
{
    size_t len = (size_t)(to - from), references_len;
    AUTO(mem_free) struct notification_entity *entities = xcalloc(len, sizeof(*entities));
    AUTO(mem_free)
    struct notification_reference *references = outbox_gather(work, from, to, &references_len);
    json_t *notification;
    AUTO(mem_free) char *text = NULL;
    const char *user = NULL; /* who changed the first of them that was changed */
    bool is_new = false;

    for (size_t i = 0; i < len; i++) {
        int row = from + (int)i;

        if (!user && store_get_bool(work->changed, row, CHANGED_IS_CHANGED))
            user = PQgetvalue(work->changed, row, CHANGED_USER);
        entities[i].type =
            type_by_name(work->types, store_get_span(work->changed, row, CHANGED_TYPE));
        entities[i].attributes =
            json_loads(PQgetvalue(work->changed, row, CHANGED_ATTRIBUTES), 0, NULL);
        is_new = is_new || store_get_bool(work->changed, row, CHANGED_IS_NEW);
    }
    notification = notification_json(is_new, user, entities, len, references, references_len);
    text = json_dumps(notification, JSON_COMPACT);
    store_array_add_text(&work->keys, outbox_key(work, from));
    store_array_add_text(&work->notifications, span_of(text));
    json_decref(notification);
    for (size_t i = 0; i < len; i++)
        json_decref(entities[i].attributes);
}

static void outbox_work_init(struct outbox_work *work)
{
    store_array_init(&work->keys, STORE_OID_TEXT);
    store_array_init(&work->notifications, STORE_OID_TEXT);
}

static void outbox_work_done(struct outbox_work *work)
{
    store_array_done(&work->keys);
    store_array_done(&work->notifications);
}

/* What has been added so far is written, and the work empty again. */
static int outbox_store(struct outbox_work *work, PGconn *conn, const char *batch_id,
                        struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    store_param_text(&params, batch_id);
    store_param_binary(&params, store_array_end(&work->keys));
    store_param_binary(&params, store_array_end(&work->notifications));
    result = store_query_params(
        conn,
        "INSERT INTO outbox (number, batch_id, recorded_at, key, bytes, notification)"
        " SELECT nextval('outbox_number'), b.batch_id, b.recorded_at, m.key,"
        "  octet_length(m.notification), m.notification"
        " FROM graph_batch AS b, (SELECT * FROM unnest($2::text[], $3::text[])"
        "  WITH ORDINALITY AS u(key, notification, place) ORDER BY place) AS m"
        " WHERE b.batch_id = $1::bigint",
        &params, "write messages", err);
    outbox_work_done(work);
    outbox_work_init(work);
    return result ? 0 : -1;
}

static int outbox_write_work(struct outbox_work *work, PGconn *conn, const char *batch_id,
                             struct err *err)
{
    AUTO(store_array_done) struct store_array ids = { .buf = { .max = SIZE_MAX } };
    struct store_params params = { 0 };
    int len = PQntuples(work->changed), end;

    if (len == 0)
        return 0;
    store_array_init(&ids, STORE_OID_INT8);
    for (int row = 0; row < len; row++)
        store_array_add_i64(&ids, store_get_i64(work->changed, row, CHANGED_ID));
    store_param_binary(&params, store_array_end(&ids));
    work->references =
        store_query_params(conn, outbox_references_sql, &params, "read references", err);
    if (!work->references)
        return -1;
    for (int from = 0; from < len; from = end) {
        int64_t subject = store_get_i64(work->changed, from, CHANGED_SUBJECT);

        for (end = from + 1; end < len; end++) {
            if (store_get_i64(work->changed, end, CHANGED_SUBJECT) != subject)
                break;
        }
        outbox_add(work, from, end);
        if (work->notifications.buf.len >= OUTBOX_WRITE_BYTES &&
            outbox_store(work, conn, batch_id, err) < 0)
            return -1;
    }
    if (work->keys.len == 0)
        return 0;
    return outbox_store(work, conn, batch_id, err);
}

int outbox_write(PGconn *conn, const struct store_setup *setup, const struct type_registry *types,
                 int64_t batch_id, struct store_array *entities, struct err *err)
{
    struct outbox_work work = { .setup = setup, .types = types };
    struct store_params params = { 0 };
    char number[24];
    int rc = -1;

    if (entities->len == 0)
        return 0;
    outbox_work_init(&work);
    (void)snprintf(number, sizeof(number), "%" PRId64, batch_id);
    store_param_text(&params, number);
    store_param_binary(&params, store_array_end(entities));
    work.changed = store_query_params(conn, outbox_changed_sql, &params, "read changes", err);
    if (work.changed)
        rc = outbox_write_work(&work, conn, number, err);
    PQclear(work.changed);
    PQclear(work.references);
    outbox_work_done(&work);
    return rc;
}

/* --------------------------------------------------------------------------------------- a page */

enum page_column {
    PAGE_REMOVED,
    PAGE_PUBLISHED,
    PAGE_SENDER,
    PAGE_NUMBER,
    PAGE_KEY,
    PAGE_MS,
    PAGE_NOTIFICATION,
};

int outbox_page_read(struct outbox_page *page, PGconn *conn, enum outbox_from from, int64_t after,
                     int64_t rows_max, struct err *err)
{
    static const char *const begins[] = {
        [OUTBOX_AFTER] = "after", [OUTBOX_OLDEST] = "oldest", [OUTBOX_UNPUBLISHED] = "unpublished"
    };
    struct store_params params = { 0 };
    char number[24], rows[24], bytes[24];

    (void)snprintf(number, sizeof(number), "%" PRId64, after);
    (void)snprintf(rows, sizeof(rows), "%" PRId64, rows_max);
    (void)snprintf(bytes, sizeof(bytes), "%d", OUTBOX_PAGE_BYTES);
    store_param_text(&params, begins[from]);
    store_param_text(&params, number);
    store_param_text(&params, rows);
    store_param_text(&params, bytes);
    /* one statement, one snapshot: what was removed and what is there go together */
    page->rows = store_query_params(
        conn,
        "SELECT p.removed, p.published, p.sender, m.number, m.key,"
        " (extract(epoch FROM m.recorded_at) * 1000)::bigint, m.notification"
        " FROM outbox_position AS p LEFT JOIN LATERAL outbox_page(CASE $1::text WHEN 'oldest' THEN "
        "0"
        " WHEN 'unpublished' THEN p.published ELSE $2::bigint END, $3::bigint, $4::bigint) AS m"
        " ON true ORDER BY m.number",
        &params, "read messages", err);
    if (!page->rows)
        return -1;
    page->removed = store_get_i64(page->rows, 0, PAGE_REMOVED);
    page->published = store_get_i64(page->rows, 0, PAGE_PUBLISHED);
    page->len = PQgetisnull(page->rows, 0, PAGE_NUMBER) ? 0 : PQntuples(page->rows);
    return 0;
}

void outbox_page_done(struct outbox_page *page)
{
    PQclear(page->rows);
    *page = (struct outbox_page){ 0 };
}

int64_t outbox_page_number(const struct outbox_page *page, int row)
{
    return store_get_i64(page->rows, row, PAGE_NUMBER);
}

struct span outbox_page_key(const struct outbox_page *page, int row)
{
    return store_get_span(page->rows, row, PAGE_KEY);
}

void outbox_page_message(const struct outbox_page *page, int row, size_t bytes_max,
                         struct message_parts *parts)
{
    struct message_head head = {
        .source = SPAN_LITERAL("plumbline"),
        .source_version = SPAN_LITERAL(PLUMBLINE_VERSION),
        .created_by = SPAN_LITERAL("plumbline"),
        .created_ms = store_get_i64(page->rows, row, PAGE_MS),
        .id_prefix = store_get_span(page->rows, row, PAGE_SENDER),
        .number = (uint64_t)outbox_page_number(page, row),
    };

    message_write(&head, store_get_span(page->rows, row, PAGE_NOTIFICATION), bytes_max, true,
                  parts);
}

/* ------------------------------------------------------------------------------------ retention */

int outbox_retention_round(struct store *store, int64_t now_ms, bool *more, struct err *err)
{
    const struct config *config = store->setup.config;
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(mem_free) char *sql = NULL;
    char before[CLOCK_TEXT_BYTES] = "-infinity";
    int64_t removed, dropped;
    int rc;

    if (config->outbox_retention != CONFIG_FOREVER)
        clock_format(now_ms - config->outbox_retention, before);
    sql = xasprintf("SELECT * FROM outbox_remove('%s', %s, %" PRId64 ", %d)", before,
                    config_publishes(config) ? "true" : "false", config->outbox_messages_max,
                    OUTBOX_REMOVE_MAX);
    rc = store_call(store->conn, sql, &result, err);
    if (rc <= 0)
        return rc;
    removed = store_get_i64(result, 0, 0);
    dropped = store_get_i64(result, 0, 1);
    stats_add(store->setup.stats, STAT_OUTBOX_DROPPED, dropped);
    if (dropped)
        log_warn("event=messages_dropped messages=%" PRId64 " reason=unpublished", dropped);
    *more = *more || removed == OUTBOX_REMOVE_MAX;
    return 0;
}
