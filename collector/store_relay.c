/* The relay: lineage messages from the outbox to Kafka.
 *
 *   a round:  who has the lock is the relay               of all daemons one, a session's lock
 *             reads the next messages                     in the order of their numbers
 *             sends them, packed and cut where needed
 *             when a broker has all of them, moves outbox_position on
 *
 * Whatever happens between the last two, the messages are sent again: at least once, in order. What
 * a former relay sent last may still arrive among those that the next one sends. */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "collector/kafka_publish.h"
#include "collector/store_commit_internal.h"
#include "collector/store_outbox_internal.h"

enum {
    RELAY_PAGE = 500,
    RELAY_WAIT_MS = 500, /* for brokers, of a round */
    RELAY_GAUGES_MS = 1000,
    RELAY_BACK_OFF_MS = 1000, /* doubled with every failure up to the next */
    RELAY_BACK_OFF_MS_MAX = 30 * 1000,
};

static int relay_lock(struct store *store, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    char sql[64];

    if (store->relay.is_ours)
        return 0;
    publisher_drop(store->setup.publisher); /* of a connection that was lost */
    store->relay.is_sent = false;
    (void)snprintf(sql, sizeof(sql), "SELECT pg_try_advisory_lock(%d, %d)", STORE_LOCK_CLASS,
                   STORE_LOCK_RELAY);
    result = store_query(store->conn, sql, "lock outbox", err);
    if (!result)
        return -1;
    store->relay.is_ours = store_get_bool(result, 0, 0);
    return 0;
}

static int relay_gauges(struct store *store, struct err *err)
{
    struct stats *stats = store->setup.stats;
    AUTO(store_result_free) PGresult *result = NULL;
    int64_t now_ms = clock_mono_ms();

    if (now_ms < store->relay.gauges_ms)
        return 0;
    result = store_query(store->conn,
                         "SELECT (SELECT count(*) FROM outbox WHERE number > p.published),"
                         " coalesce((SELECT extract(epoch FROM clock_timestamp() - recorded_at)"
                         "  FROM outbox WHERE number > p.published ORDER BY number LIMIT 1), 0)"
                         " ::bigint FROM outbox_position AS p",
                         "outbox gauges", err);
    if (!result)
        return -1;
    store->relay.gauges_ms = now_ms + RELAY_GAUGES_MS;
    stats_set(stats, STAT_OUTBOX_PENDING, store_get_i64(result, 0, 0));
    stats_set(stats, STAT_OUTBOX_OLDEST_SECONDS, store_get_i64(result, 0, 1));
    return 0;
}

static int relay_send_message(struct store *store, const struct outbox_page *page, int row,
                              struct err *err)
{
    struct message_parts parts;
    int rc = 0;

    outbox_page_message(page, row, (size_t)store->setup.config->kafka_message_bytes_max, &parts);
    for (size_t i = 0; i < parts.len && rc == 0; i++)
        rc = publisher_send(store->setup.publisher, outbox_page_key(page, row),
                            buf_span(&parts.items[i]), err);
    message_parts_done(&parts);
    return rc;
}

/* The next messages are on their way, if there are any. *is_refused: it was Kafka that failed. */
static int relay_send(struct store *store, bool *is_refused, struct err *err)
{
    AUTO(outbox_page_done) struct outbox_page page = { 0 };

    if (outbox_page_read(&page, store->conn, OUTBOX_UNPUBLISHED, 0, RELAY_PAGE, err) < 0)
        return -1;
    for (int row = 0; row < page.len; row++) {
        if (relay_send_message(store, &page, row, err) < 0) {
            *is_refused = true;
            return -1;
        }
        store->relay.last = outbox_page_number(&page, row);
    }
    store->relay.is_sent = page.len > 0;
    store->relay.messages = page.len;
    return 0;
}

/* A broker has what was sent. */
static int relay_move(struct store *store, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[24];

    (void)snprintf(number, sizeof(number), "%" PRId64, store->relay.last);
    store_param_text(&params, number);
    result = store_query_params(store->conn,
                                "UPDATE outbox_position SET published = $1::bigint"
                                " WHERE published < $1::bigint",
                                &params, "move outbox position", err);
    if (!result)
        return -1;
    stats_add(store->setup.stats, STAT_OUTBOX_PUBLISHED, store->relay.messages);
    store->relay.is_sent = false;
    store->relay.back_off_ms = 0;
    return 0;
}

/* Kafka does not take it: another daemon may try, and this one a little later. */
static int relay_back_off(struct store *store, const struct err *err)
{
    int64_t ms = 2 * store->relay.back_off_ms;

    ms = ms < RELAY_BACK_OFF_MS ? RELAY_BACK_OFF_MS : ms;
    store->relay.back_off_ms = ms < RELAY_BACK_OFF_MS_MAX ? ms : RELAY_BACK_OFF_MS_MAX;
    store->relay.retry_ms = clock_mono_ms() + store->relay.back_off_ms;
    store->relay.err = *err;
    stats_add(store->setup.stats, STAT_OUTBOX_FAILURES, 1);
    store_disconnect(store);
    return -1;
}

static int relay_round(struct store *store, bool *more, struct err *err)
{
    bool is_refused = false;
    int rc;

    if (store_ready(store, err) < 0 || relay_gauges(store, err) < 0 || relay_lock(store, err) < 0)
        return -1;
    if (!store->relay.is_ours)
        return 0;
    if (!store->relay.is_sent && relay_send(store, &is_refused, err) < 0)
        return is_refused ? relay_back_off(store, err) : -1;
    if (!store->relay.is_sent)
        return 0;
    *more = true;
    rc = publisher_wait(store->setup.publisher, RELAY_WAIT_MS, err);
    if (rc < 0)
        return relay_back_off(store, err);
    return rc > 0 ? relay_move(store, err) : 0;
}

int store_relay(struct store *store, int64_t now_ms, bool *more, struct err *err)
{
    int rc;

    (void)now_ms;
    *more = false;
    if (clock_mono_ms() < store->relay.retry_ms) {
        *err = store->relay.err; /* still */
        return -1;
    }
    store_busy(store, true);
    rc = relay_round(store, more, err);
    store_busy(store, false);
    if (rc < 0) {
        *more = false;
        store_disconnect(store);
    } else if (store->relay.is_sent && store->relay.back_off_ms) {
        *err = store->relay.err; /* tried again, and nothing says yet that it went better */
        rc = -1;
    }
    stats_set(store->setup.stats, STAT_OUTBOX_RELAY, store->relay.is_ours);
    return rc;
}
