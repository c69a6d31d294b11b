#include "collector/store_hook_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/hook.h"
#include "atlas/message.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "collector/store_internal.h"

enum {
    HOOK_PARTS_MAX = 10000,
    HOOK_ID_BYTES_MAX = 512,
    HOOK_WAITING_MAX = 1000,        /* messages whose parts are not all there */
    HOOK_WAITING_BYTES_FACTOR = 16, /* and what they have together, as largest messages */
    HOOK_HEAD_BYTES = 4096, /* of a message that is too long, where its msgId is looked for */
    HOOK_EXPIRE_MAX = 100,
};

/* What is cut is base64. */
static int64_t hook_parts_bytes_max(const struct config *config)
{
    return (config->hook_message_bytes_max + 2) / 3 * 4;
}

static struct message_limits hook_limits(const struct config *config)
{
    size_t bytes = (size_t)config->hook_message_bytes_max;
    size_t parts = (size_t)hook_parts_bytes_max(config);

    /* the parts of one message: text and what keeping it takes */
    return (struct message_limits){ .text_bytes_max = bytes,
                                    .parts_max = HOOK_PARTS_MAX,
                                    .waiting_max = 1,
                                    .waiting_bytes_max =
                                        parts + HOOK_PARTS_MAX * sizeof(void *) + HOOK_ID_BYTES_MAX,
                                    .cost_max = (size_t)config->hook_memory_bytes_max };
}

static int hook_refuse(struct hook_writer *writer, bool is_too_large, const struct err *why)
{
    return is_too_large
               ? entity_fault_set(writer->entities.fault, 413, "too_large", "%s", why->text)
               : entity_fault_set(writer->entities.fault, 400, "invalid_message", "%s", why->text);
}

/* ------------------------------------------------------------------------------- what it wants */

static int hook_store_entities(struct hook_writer *writer, const struct hook *hook)
{
    AUTO(entity_changes_done) struct entity_changes changes = { 0 };
    AUTO(entity_input_done) struct entity_input input = { 0 };
    struct entity_writer *entities = &writer->entities;
    struct uuid seed;

    uuid_random(&seed);
    if (entity_input_parse(&input, entities->types, hook->body, hook->action == HOOK_UPDATE, &seed,
                           entities->fault) < 0)
        return -1;
    input.keeps_back = true; /* as Atlas has it for hooks */
    return entity_store(entities, &input, &changes);
}

static void hook_names_free(struct entity_name *names, size_t len)
{
    for (size_t i = 0; names && i < len; i++)
        free(names[i].key);
    free(names);
}

/* Finds what the targets name; *names is to be freed in any case. */
static int hook_find(struct hook_writer *writer, const struct hook *hook,
                     struct entity_name **names, size_t *len)
{
    struct entity_writer *entities = &writer->entities;

    *len = json_array_size(hook->targets);
    *names = xcalloc(*len, sizeof(**names));
    if (*len > ENTITY_REMOVE_MAX)
        return entity_fault_set(entities->fault, 400, "ATLAS-400-00-029",
                                "more than %d entities to be deleted", ENTITY_REMOVE_MAX);
    for (size_t i = 0; i < *len; i++) {
        const json_t *target = json_array_get(hook->targets, i);

        if (entity_reference_read(entities->types, target, &(*names)[i].type, &(*names)[i].key,
                                  entities->fault) < 0)
            return -1;
    }
    return entity_find_names(entities, *names, *len);
}

/* What nobody has is deleted already. */
static int hook_delete_found(struct hook_writer *writer, const struct entity_name *names,
                             size_t len)
{
    AUTO(entity_changes_done) struct entity_changes changes = { 0 };
    AUTO(mem_free) int64_t *ids = xcalloc(len, sizeof(*ids));
    size_t found = 0;

    for (size_t i = 0; i < len; i++) {
        if (names[i].id)
            ids[found++] = names[i].id;
    }
    return found ? entity_remove(&writer->entities, ids, found, &changes) : 0;
}

static int hook_delete(struct hook_writer *writer, const struct hook *hook)
{
    struct entity_name *names;
    size_t len;
    int rc = hook_find(writer, hook, &names, &len);

    if (rc == 0)
        rc = hook_delete_found(writer, names, len);
    hook_names_free(names, len);
    return rc;
}

/* By guid where the target has one that is an entity's, else by name. */
static int hook_update(struct hook_writer *writer, struct hook *hook)
{
    const json_t *target = json_array_get(hook->targets, 0);
    const char *guid = json_string_value(json_object_get(target, "guid"));
    const char *type = json_string_value(json_object_get(target, "typeName"));
    char text[UUID_TEXT_LEN + 1];
    struct entity_name *names = NULL;
    struct uuid uuid;
    size_t len = 0;
    int rc;

    if (!type) /* which a guid can do without */
        type =
            json_string_value(json_object_get(json_object_get(hook->body, "entity"), "typeName"));
    if (guid && type && uuid_parse(&uuid, span_of(guid)) == 0) {
        hook_aim(hook, guid, type);
        return hook_store_entities(writer, hook);
    }
    rc = hook_find(writer, hook, &names, &len);
    if (rc == 0 && !names[0].id)
        rc = entity_fault_set(writer->entities.fault, 404, "ATLAS-404-00-009",
                              "Instance %s with unique attribute {%s=%.200s} does not exist",
                              names[0].type->def->name, entity_key_attribute(names[0].type)->name,
                              names[0].key);
    if (rc == 0) {
        uuid_format(&names[0].guid, text);
        hook_aim(hook, text, names[0].found->def->name);
        rc = hook_store_entities(writer, hook);
    }
    hook_names_free(names, len);
    return rc;
}

static int hook_write(struct hook_writer *writer, const json_t *notification)
{
    AUTO(hook_done) struct hook hook = { 0 };

    if (hook_read(notification, &hook, writer->entities.fault) < 0)
        return -1;
    writer->entities.user = hook.user;
    switch (hook.action) {
    case HOOK_STORE:
        return hook_store_entities(writer, &hook);
    case HOOK_UPDATE:
        return hook_update(writer, &hook);
    case HOOK_DELETE:
        break;
    }
    return hook_delete(writer, &hook);
}

/* Whether the database refuses the message for what it says, so that it would the next time: values
 * (22, 23: ERR_INPUT), what a statement or a trigger won't do with them (0A, 21, 44, P0), more of
 * something than it can have (54). What fails inside of Postgres (XX000) may be either: that is for
 * whoever has tried often enough. */
static bool hook_is_refused(const struct hook_writer *writer, const struct err *err)
{
    static const char *const classes[] = { "0A", "21", "44", "54", "P0", "XX000" };
    const char *state = strstr(err->text, "(SQLSTATE "); /* as store_fail writes it */

    if (err->kind == ERR_INPUT)
        return true;
    if (!state)
        return false;
    state += sizeof("(SQLSTATE ") - 1;
    for (size_t i = 0; i < LENGTH(classes) - !writer->gives_up; i++) {
        if (strncmp(state, classes[i], strlen(classes[i])) == 0)
            return true;
    }
    return false;
}

/* Each message is a change of the graph of its own, or none. */
static int hook_apply(struct hook_writer *writer, const json_t *notification, enum hook_fate *fate)
{
    struct entity_writer *entities = &writer->entities;
    struct entity_fault *fault = entities->fault;
    struct err *err = entities->err;
    bool changed;
    int rc;

    *fault = (struct entity_fault){ 0 };
    entities->batch_id = 0;
    if (store_exec(entities->conn, "SAVEPOINT hook", "begin hook message", err) < 0)
        return -1;
    rc = hook_write(writer, notification);
    if (rc < 0 && !fault->status && hook_is_refused(writer, err))
        (void)entity_fault_set(fault, 400, "invalid_message", "%s", err->text);
    if (rc < 0 && !fault->status)
        return -1;
    changed = rc == 0 && entities->batch_id;
    *fate = rc < 0 ? HOOK_REFUSED : changed ? HOOK_TAKEN : HOOK_UNCHANGED;
    return store_exec(entities->conn,
                      changed ? "RELEASE SAVEPOINT hook"
                              : "ROLLBACK TO SAVEPOINT hook; RELEASE SAVEPOINT hook",
                      "end hook message", err);
}

/* ---------------------------------------------------------------------------------------- parts */

static void hook_param(struct store_params *params, char number[24], int64_t value)
{
    (void)snprintf(number, 24, "%" PRId64, value);
    store_param_text(params, number);
}

/* As much of it as Postgres takes: a message may end amid a character. Owned. */
static char *hook_text(const char *text)
{
    size_t len = 0, left = strlen(text);

    for (size_t step; left > 0 && (step = utf8_char_len(text + len, left)); left -= step)
        len += step;
    return xmemdup0(text, len);
}

/* What hook_part_put says; owned. */
static PGresult *hook_put_part(struct hook_writer *writer, const struct message_label *label,
                               const json_t *part, struct span origin)
{
    const struct config *config = writer->config;
    AUTO(mem_free) char *from = xmemdup0(origin.data, origin.len);
    struct store_params params = { 0 };
    char numbers[6][24];

    store_param_text(&params, writer->source);
    store_param_text(&params, label->id);
    store_param_text(&params, label->is_gzip ? "t" : "f");
    hook_param(&params, numbers[0], (int64_t)label->count);
    hook_param(&params, numbers[1], (int64_t)label->index);
    store_param_text(&params, json_string_value(part));
    store_param_text(&params, from);
    hook_param(&params, numbers[2], hook_parts_bytes_max(config));
    hook_param(&params, numbers[3], HOOK_WAITING_MAX);
    hook_param(&params, numbers[4], HOOK_WAITING_BYTES_FACTOR * config->hook_message_bytes_max);
    hook_param(&params, numbers[5], config->kafka_reject_bytes_max);
    return store_query_params(writer->entities.conn,
                              "SELECT * FROM hook_part_put($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,"
                              " $11)",
                              &params, "keep hook message", writer->entities.err);
}

/* What all parts are together. 1: the fault says why it can't be read. */
static int hook_join(struct hook_writer *writer, const struct message_label *label,
                     struct message *message)
{
    struct message_limits limits = hook_limits(writer->config);
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(buf_done) struct buf joined;
    struct store_params params = { 0 };
    struct err why = { 0 };
    size_t bytes = 0;
    int rc;

    buf_init(&joined, SIZE_MAX);
    store_param_text(&params, writer->source);
    store_param_text(&params, label->id);
    result = store_query_params(writer->entities.conn,
                                "SELECT text FROM hook_part WHERE source = $1 AND msg_id = $2"
                                " ORDER BY part",
                                &params, "read hook message", writer->entities.err);
    if (!result)
        return -1;
    for (int i = 0; i < PQntuples(result); i++)
        bytes += store_get_span(result, i, 0).len;
    (void)buf_reserve(&joined, bytes + 1);
    for (int i = 0; i < PQntuples(result); i++)
        buf_append_span(&joined, store_get_span(result, i, 0));
    PQclear(TAKE(result));
    rc = message_read_joined(reader, &joined, label->is_gzip, message, &why);
    if (rc == 1)
        return 0;
    (void)hook_refuse(writer, message->is_too_large, &why);
    return 1;
}

/* The message has all its parts: what became of it is noted, for those that come once more. */
static int hook_end_parts(struct hook_writer *writer, const struct message_label *label,
                          enum hook_fate *fate)
{
    const struct entity_fault *fault = writer->entities.fault;
    AUTO(mem_free) char *why = hook_text(fault->message);
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char keep[24];

    store_param_text(&params, writer->source);
    store_param_text(&params, label->id);
    if (*fate != HOOK_REFUSED) {
        result = store_query_params(
            writer->entities.conn,
            "WITH gone AS (DELETE FROM hook_part WHERE source = $1 AND msg_id = $2)"
            " UPDATE hook_message SET state = 'taken' WHERE source = $1 AND msg_id = $2",
            &params, "end hook message", writer->entities.err);
        return result ? 0 : -1;
    }
    store_param_text(&params, fault->code);
    store_param_text(&params, why);
    hook_param(&params, keep, writer->config->kafka_reject_bytes_max);
    result = store_query_params(writer->entities.conn, "SELECT hook_give_up($1, $2, $3, $4, $5)",
                                &params, "give up hook message", writer->entities.err);
    *fate = HOOK_GIVEN_UP;
    return result ? 0 : -1;
}

static int hook_take_part(struct hook_writer *writer, const struct message_label *label,
                          const json_t *root, struct span origin, enum hook_fate *fate)
{
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(message_done) struct message message = { 0 };
    const char *state;
    int rc;

    *fate = HOOK_REFUSED;
    if (strlen(label->id) > HOOK_ID_BYTES_MAX) {
        (void)entity_fault_set(writer->entities.fault, 400, "invalid_message",
                               "message: msgId is longer than %d bytes", HOOK_ID_BYTES_MAX);
        return 0;
    }
    result = hook_put_part(writer, label, json_object_get(root, "message"), origin);
    if (!result)
        return -1;
    state = PQgetvalue(result, 0, 0);
    writer->given_up += store_get_i64(result, 0, 1);
    if (strcmp(state, "complete") != 0) {
        *fate = strcmp(state, "waits") == 0       ? HOOK_WAITS
                : strcmp(state, "too_large") == 0 ? HOOK_GIVEN_UP
                                                  : HOOK_UNCHANGED;
        return 0;
    }
    rc = hook_join(writer, label, &message);
    if (rc == 0)
        rc = hook_apply(writer, message.notification, fate);
    return rc < 0 ? -1 : hook_end_parts(writer, label, fate);
}

/* ---------------------------------------------------------------------------------- one message */

static int hook_take_json(struct hook_writer *writer, json_t *root, struct span origin,
                          enum hook_fate *fate)
{
    struct message_limits limits = hook_limits(writer->config);
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
    AUTO(message_done) struct message message = { 0 };
    struct message_label label;
    struct err why = { 0 };

    if (message_look(&limits, root, &label, &why) < 0) {
        (void)hook_refuse(writer, false, &why);
        return 0;
    }
    if (label.count > 1)
        return hook_take_part(writer, &label, root, origin, fate);
    if (message_read_json(reader, root, 0, &message, &why) != 1) {
        (void)hook_refuse(writer, message.is_too_large, &why);
        return 0;
    }
    return hook_apply(writer, message.notification, fate);
}

int hook_take(struct hook_writer *writer, struct span text, json_t *root, struct span origin,
              enum hook_fate *fate)
{
    struct message_limits limits = hook_limits(writer->config);
    json_auto_t *own = json_incref(root);
    bool is_too_large = false;
    struct err why = { 0 };

    *fate = HOOK_REFUSED;
    *writer->entities.fault = (struct entity_fault){ 0 };
    if (!own)
        own = message_parse(&limits, text, &is_too_large, &why);
    if (own)
        return hook_take_json(writer, own, origin, fate);
    (void)hook_refuse(writer, is_too_large, &why);
    return 0;
}

/* --------------------------------------------------------------------------- what is not taken */

/* What a message says of its name, if that stands where it should. Owned; NULL: nothing. */
static char *hook_find_id(struct span text)
{
    static const char member[] = "\"msgId\":\"";
    size_t head = text.len < HOOK_HEAD_BYTES ? text.len : HOOK_HEAD_BYTES;
    const char *at = head ? memmem(text.data, head, member, sizeof(member) - 1) : NULL;
    AUTO(mem_free) char *found = NULL;
    const char *end;

    if (!at)
        return NULL;
    at += sizeof(member) - 1;
    end = memchr(at, '"', (size_t)(text.data + head - at));
    found = end ? xmemdup0(at, (size_t)(end - at)) : NULL;
    return found ? hook_text(found) : NULL;
}

int hook_reject(struct hook_writer *writer, struct span text, size_t bytes, struct span origin)
{
    const struct entity_fault *fault = writer->entities.fault;
    size_t keep = (size_t)writer->config->kafka_reject_bytes_max;
    AUTO(mem_free) char *from = xmemdup0(origin.data, origin.len), *id = hook_find_id(text);
    AUTO(mem_free) char *why = hook_text(fault->message);
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(buf_done) struct buf event;
    struct store_params params = { 0 };
    char number[24];

    buf_init(&event, SIZE_MAX);
    (void)buf_reserve(&event, 1); /* empty is not null */
    if (text.len)
        buf_append(&event, text.data, text.len < keep ? text.len : keep);
    store_param_text(&params, from);
    store_param_text(&params, id);
    hook_param(&params, number, (int64_t)bytes);
    store_param_text(&params, fault->code);
    store_param_text(&params, why);
    store_param_binary(&params, &event);
    result = store_query_params(
        writer->entities.conn,
        "INSERT INTO rejected_event (source, origin, code, message, event) VALUES ('hook',"
        " ($1::jsonb || jsonb_strip_nulls(jsonb_build_object('msgId', $2::text, 'bytes',"
        " $3::bigint)))::json, $4, $5, $6)",
        &params, "reject hook message", writer->entities.err);
    return result ? 0 : -1;
}

int hook_xid(struct entity_writer *writer, char xid[HOOK_XID_BYTES])
{
    AUTO(store_result_free)
    PGresult *result = store_query(writer->conn, "SELECT pg_current_xact_id()",
                                   "number hook messages", writer->err);

    if (!result)
        return -1;
    (void)snprintf(xid, HOOK_XID_BYTES, "%s", PQgetvalue(result, 0, 0));
    return 0;
}

int hook_is_in(struct entity_writer *writer, const char *xid)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    store_param_text(&params, xid);
    result = store_query_params(writer->conn, "SELECT pg_xact_status($1::xid8) = 'committed'",
                                &params, "settle hook messages", writer->err);
    return result ? store_get_bool(result, 0, 0) : -1;
}

/* Whether parts that are in a topic come to be read. */
static bool hook_reads(const struct store *store)
{
    const struct config *config = store->setup.config;

    return !config->kafka_brokers || !config->kafka_hook_topic ||
           (stats_get(store->setup.stats, STAT_KAFKA_UP) &&
            !stats_get(store->setup.stats, STAT_HOOK_FAILURES));
}

int hook_round(struct store *store, bool *more, struct err *err)
{
    const struct config *config = store->setup.config;
    AUTO(store_result_free) PGresult *result = NULL;
    char sql[128];
    int rc;

    (void)snprintf(sql, sizeof(sql), "SELECT * FROM hook_expire(%" PRId64 ", %d, %" PRId64 ", %s)",
                   config->hook_wait, HOOK_EXPIRE_MAX, config->kafka_reject_bytes_max,
                   hook_reads(store) ? "true" : "false");
    rc = store_call(store->conn, sql, &result, err);
    if (rc <= 0)
        return rc;
    stats_add(store->setup.stats, STAT_HOOK_REJECTED, store_get_i64(result, 0, 0));
    *more = *more || store_get_i64(result, 0, 1) == HOOK_EXPIRE_MAX;
    return 0;
}
