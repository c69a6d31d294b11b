/* The relay: lineage messages from the outbox to Kafka.
 *
 *   a round:  who has the lock is the relay               of all daemons one, a session's lock
 *             reads the next messages                     in the order of their numbers
 *             sends them, packed and cut where needed
 *             moves outbox_position on, as far as a broker has them without a gap
 *
 * Whatever happens between the last two, the messages are sent again: at least once, in order. A
 * relay without its lock sends nothing (store_disconnect), but what a broker is just being told
 * may still arrive among those that the next one sends. */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "collector/kafka_publish.h"
#include "collector/store_commit_internal.h"
#include "collector/store_outbox_internal.h"

enum {
    RELAY_WAIT_MS = 500, /* for brokers, of a round */
    RELAY_GAUGES_MS = 10 * 1000,
    RELAY_BACK_OFF_MS = 1000, /* doubled with every failure up to the next */
    RELAY_BACK_OFF_MS_MAX = 30 * 1000,
};

/* Asks for the lock, or whether the session that has it is still there. */
static int relay_lock(struct store *store, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    char sql[64];

    (void)snprintf(sql, sizeof(sql), "SELECT pg_try_advisory_lock(%d, %d)", STORE_LOCK_CLASS,
                   STORE_LOCK_RELAY);
    result =
        store_query(store->conn, store->relay.is_ours ? "SELECT true" : sql, "lock outbox", err);
    if (!result)
        return -1;
    if (!store->relay.is_ours)
        store->relay.gauges_ms = 0;
    store->relay.is_ours = store_get_bool(result, 0, 0);
    if (store->relay.is_ours)
        return 0;
    /* somebody else publishes: what went wrong here once is of no more interest */
    store->relay.back_off_ms = 0;
    stats_set(store->setup.stats, STAT_OUTBOX_PENDING, 0);
    stats_set(store->setup.stats, STAT_OUTBOX_OLDEST_SECONDS, 0);
    return 0;
}

/* And says that somebody publishes: what is removed depends on it. */
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
    if (!result ||
        store_exec(store->conn,
                   "UPDATE outbox_position SET relayed_at = clock_timestamp()"
                   " WHERE relayed_at > clock_timestamp() - interval '1 hour' IS NOT TRUE",
                   "outbox gauges", err) < 0)
        return -1;
    store->relay.gauges_ms = now_ms + RELAY_GAUGES_MS;
    stats_set(stats, STAT_OUTBOX_PENDING, store_get_i64(result, 0, 0));
    stats_set(stats, STAT_OUTBOX_OLDEST_SECONDS, store_get_i64(result, 0, 1));
    return 0;
}

/* *sent: parts so far. */
static int relay_send_message(struct store *store, const struct outbox_page *page, int row,
                              size_t *sent, struct err *err)
{
    struct message_parts parts;
    int rc = 0;

    outbox_page_message(page, row, (size_t)store->setup.config->kafka_message_bytes_max, &parts);
    store_busy(store, false); /* brokers are no reason to break the session, and the lock with it */
    for (size_t i = 0; i < parts.len && rc == 0; i++)
        rc = publisher_send(store->setup.publisher, outbox_page_key(page, row),
                            buf_span(&parts.items[i]), err);
    store_busy(store, true);
    *sent += parts.len;
    message_parts_done(&parts);
    return rc;
}

/* The next messages are on their way, if there are any. *is_refused: it was Kafka that failed. */
static int relay_send(struct store *store, bool *is_refused, struct err *err)
{
    AUTO(outbox_page_done) struct outbox_page page = { 0 };
    struct relay *relay = &store->relay;
    size_t sent = 0;

    if (outbox_page_read(&page, store->conn, OUTBOX_UNPUBLISHED, 0, RELAY_PAGE, err) < 0)
        return -1;
    for (int row = 0; row < page.len; row++) {
        if (relay_send_message(store, &page, row, &sent, err) < 0) {
            *is_refused = true;
            return -1;
        }
        relay->messages[row].number = outbox_page_number(&page, row);
        relay->messages[row].end = sent;
    }
    relay->is_sent = page.len > 0;
    relay->messages_len = page.len;
    relay->arrived = 0;
    return 0;
}

/* A broker has so many parts of what was sent: the messages that are whole need not be sent
 * again. */
static int relay_move(struct store *store, size_t parts, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    struct relay *relay = &store->relay;
    int arrived = relay->arrived;
    char number[24];

    while (arrived < relay->messages_len && relay->messages[arrived].end <= parts)
        arrived++;
    if (arrived == relay->arrived)
        return 0;
    (void)snprintf(number, sizeof(number), "%" PRId64, relay->messages[arrived - 1].number);
    store_param_text(&params, number);
    result = store_query_params(store->conn,
                                "UPDATE outbox_position SET published = $1::bigint"
                                " WHERE published < $1::bigint",
                                &params, "move outbox position", err);
    if (!result)
        return -1;
    stats_add(store->setup.stats, STAT_OUTBOX_PUBLISHED, arrived - relay->arrived);
    relay->arrived = arrived;
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

/* What is on its way, a little further. */
static int relay_wait(struct store *store, struct err *err)
{
    struct err moving = { 0 };
    size_t arrived;
    int rc;

    store_busy(store, false);
    rc = publisher_wait(store->setup.publisher, RELAY_WAIT_MS, &arrived, err);
    store_busy(store, true);
    if (relay_move(store, arrived, &moving) < 0) {
        *err = moving;
        return -1;
    }
    if (rc < 0)
        return relay_back_off(store, err);
    if (rc > 0) {
        store->relay.is_sent = false;
        store->relay.back_off_ms = 0;
    }
    return 0;
}

static int relay_round(struct store *store, bool *more, struct err *err)
{
    bool is_refused = false;

    if (store_ready(store, err) < 0 || relay_lock(store, err) < 0)
        return -1;
    if (!store->relay.is_ours)
        return 0;
    if (relay_gauges(store, err) < 0)
        return -1;
    if (!store->relay.is_sent && relay_send(store, &is_refused, err) < 0)
        return is_refused ? relay_back_off(store, err) : -1;
    if (!store->relay.is_sent)
        return 0;
    *more = true;
    return relay_wait(store, err);
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
