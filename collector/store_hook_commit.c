/* Messages of hooks from Kafka: a batch is one transaction, in which the offsets move first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/batch_internal.h"
#include "collector/origin.h"
#include "collector/store_graph_batch_internal.h"
#include "collector/store_hook_internal.h"
#include "collector/store_internal.h"
#include "collector/store_types_internal.h"
#include "collector/type_cache.h"

/* So often a message may fail inside of Postgres, of which nobody knows the reason. */
enum { HOOK_FAILURES_MAX = 5 };

/* Where the message came from, without its key and headers: these are any bytes. Owned. */
static char *hook_origin(const struct origin *origin, const struct origin_message *message)
{
    AUTO(buf_done) struct buf text;

    buf_init(&text, SIZE_MAX);
    buf_append_text(&text, "{\"cluster\":");
    buf_append_json(&text, span_of(origin->cluster));
    buf_append_text(&text, ",\"topic\":");
    buf_append_json(&text, span_of(origin->topic));
    buf_append_fmt(&text, ",\"partition\":%d,\"offset\":%lld,\"timestampMs\":%lld}",
                   (int)origin->partition, (long long)message->offset,
                   (long long)message->timestamp_ms);
    return xstrdup(buf_text(&text));
}

/* ---------------------------------------------------------------------- where it does not go on */

static bool hook_stop_is(const struct hook_stop *stop, const struct origin *origin,
                         const struct origin_message *message)
{
    return stop->topic && strcmp(stop->topic, origin->topic) == 0 &&
           stop->partition == origin->partition && stop->offset == message->offset;
}

static void hook_stop_clear(struct store *store)
{
    free(store->hook_stop.topic);
    store->hook_stop = (struct hook_stop){ 0 };
    stats_set(store->setup.stats, STAT_HOOK_FAILURES, 0);
}

/* Its partition stands at this message until an attempt succeeds: says which it is. */
static int hook_stop_at(struct store *store, const struct origin *origin,
                        const struct origin_message *message, struct err *err)
{
    struct hook_stop *stop = &store->hook_stop;

    if (!hook_stop_is(stop, origin, message)) {
        hook_stop_clear(store);
        *stop = (struct hook_stop){ .topic = xstrdup(origin->topic),
                                    .partition = origin->partition,
                                    .offset = message->offset };
    }
    stats_set(store->setup.stats, STAT_HOOK_FAILURES, ++stop->failures);
    return err_prefix(err, "topic %s, partition %d, offset %lld: ", origin->topic,
                      (int)origin->partition, (long long)message->offset);
}

/* -------------------------------------------------------------------------------------- a batch */

static int hook_commit_message(struct hook_writer *writer, struct batch *batch,
                               const struct origin *origin, const struct origin_message *message)
{
    size_t most = (size_t)writer->config->hook_message_bytes_max;
    AUTO(mem_free) char *from = hook_origin(origin, message);
    struct span text = message->value;
    enum hook_fate fate = HOOK_REFUSED;

    if (text.len == 0) /* a tombstone */
        return 0;
    batch->hook_messages++;
    if (text.len > most) { /* of which no more than reject_bytes_max is here */
        if (text.len > origin->reject_bytes_max)
            text.len = origin->reject_bytes_max;
        (void)entity_fault_set(writer->entities.fault, 413, "too_large",
                               "message: %zu bytes, at most %zu are read", message->value.len,
                               most);
    } else if (hook_take(writer, text, NULL, span_of(from), &fate) < 0) {
        return -1;
    }
    batch->hook_rejected += fate == HOOK_GIVEN_UP || fate == HOOK_REFUSED;
    return fate == HOOK_REFUSED ? hook_reject(writer, text, message->value.len, span_of(from)) : 0;
}

/* A message is what may take long, not all of them together: a connection that hangs is known by
 * that. */
static int hook_commit_submission(struct store *store, struct hook_writer *writer,
                                  struct batch *batch, const struct origin *origin)
{
    AUTO(mem_free) char *source = xasprintf("%s/%s", origin->cluster, origin->topic);

    writer->source = source;
    for (uint32_t i = 0; i < origin->messages_len; i++) {
        const struct origin_message *message = &origin->messages[i];

        store_busy(store, true);
        writer->gives_up = hook_stop_is(&store->hook_stop, origin, message) &&
                           store->hook_stop.failures >= HOOK_FAILURES_MAX;
        if (hook_commit_message(writer, batch, origin, message) < 0)
            return hook_stop_at(store, origin, message, writer->entities.err);
    }
    return 0;
}

static int hook_commit_all(struct store *store, struct batch *batch, struct err *err)
{
    AUTO(type_registry_free) struct type_registry *types = NULL;
    struct entity_fault fault = { 0 };
    struct hook_writer writer = { .config = store->setup.config };

    if (store_types_refresh(store->conn, store->setup.types, err) < 0)
        return -1;
    types = type_cache_get(store->setup.types);
    writer.entities = (struct entity_writer){
        .conn = store->conn,
        .types = types,
        .makes_shells = true,
        .fault = &fault,
        .err = err,
    };
    batch->hook_messages = batch->hook_rejected = 0;
    for (const struct submission *s = batch->submissions; s; s = s->next) {
        if (hook_commit_submission(store, &writer, batch, s->origin) < 0)
            return -1;
    }
    batch->hook_rejected += writer.given_up;
    return hook_xid(&writer.entities, batch->hook_xid);
}

static void hooks_count(struct store *store, const struct batch *batch)
{
    stats_add(store->setup.stats, STAT_HOOK_MESSAGES, batch->hook_messages);
    stats_add(store->setup.stats, STAT_HOOK_REJECTED, batch->hook_rejected);
    hook_stop_clear(store);
}

static enum store_result hooks_try(struct store *store, struct batch *batch, struct err *err)
{
    struct attempt attempt = { .store = store, .batch = batch, .err = err };
    enum step step;

    if (store_ready(store, err) < 0 ||
        entity_begin(store->conn, store->setup.config->commit_timeout_ms, err) < 0)
        return STORE_NOT_STORED;
    step = offsets_advance(&attempt);
    if (step != STEP_DONE)
        return step == STEP_FENCED ? STORE_FENCED : STORE_NOT_STORED;
    if (hook_commit_all(store, batch, err) < 0)
        return STORE_NOT_STORED;
    return graph_batch_commit(store->conn, err);
}

enum store_result hooks_commit(struct store *store, struct batch *batch, struct err *err)
{
    enum store_result result = hooks_try(store, batch, err);

    if (result == STORE_COMMITTED)
        hooks_count(store, batch);
    else
        store_disconnect(store); /* whatever state it is in, the next attempt begins anew */
    return result;
}

/* The server may not have noticed yet that the connection is gone. */
enum store_result hooks_settle(struct store *store, struct batch *batch, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    if (store_ready(store, err) < 0)
        return STORE_UNKNOWN;
    store_param_text(&params, batch->hook_xid);
    result = store_query_params(store->conn, "SELECT pg_xact_status($1::xid8)", &params,
                                "settle hook messages", err);
    if (!result || strcmp(PQgetvalue(result, 0, 0), "in progress") == 0)
        return STORE_UNKNOWN;
    if (strcmp(PQgetvalue(result, 0, 0), "committed") != 0)
        return STORE_NOT_STORED;
    hooks_count(store, batch);
    return STORE_COMMITTED;
}
