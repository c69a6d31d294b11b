/* What a configuration can become while the daemon runs. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config_internal.h"

/* Limits that a request takes from the configuration it began with, and what is read anew each
 * time. Everything else is built into something at the start: sockets, threads, queues, the
 * database. */
static const char *const config_live_keys[] = {
    "log_level",
    "tls_certificate",
    "tls_key",
    "tls_client_ca",
    "drain_timeout_ms",
    "request_timeout_ms",
    "body_bytes_max",
    "metrics_bytes_max",
    "events_max",
    "json_depth_max",
    "csv_columns_max",
    "lineage_relations_max",
    "read_stall_timeout_ms",
};

/* Nobody switches a server that runs from TLS to none, or back. */
static bool config_key_is_live(const struct config_key *key, const struct config *old,
                               const struct config *fresh)
{
    if (strncmp(key->name, "tls_", 4) == 0 && !old->tls_certificate != !fresh->tls_certificate)
        return false;
    for (size_t i = 0; i < LENGTH(config_live_keys); i++) {
        if (strcmp(config_live_keys[i], key->name) == 0)
            return true;
    }
    return false;
}

static size_t config_key_bytes(const struct config_key *key)
{
    switch (key->type) {
    case CONFIG_BOOL:
        return sizeof(bool);
    case CONFIG_LEVEL:
        return sizeof(enum log_level);
    default:
        return sizeof(int64_t);
    }
}

static bool config_is_same(const struct config_key *key, const void *a, const void *b)
{
    const char *text_a, *text_b;

    if (!config_key_is_text(key))
        return memcmp(a, b, config_key_bytes(key)) == 0;
    text_a = *(char *const *)a;
    text_b = *(char *const *)b;
    return text_a && text_b ? strcmp(text_a, text_b) == 0 : text_a == text_b;
}

static void config_take(const struct config_key *key, void *to, const void *from)
{
    const char *text;

    if (!config_key_is_text(key)) {
        memcpy(to, from, config_key_bytes(key));
        return;
    }
    text = *(char *const *)from;
    free(*(char **)to);
    *(char **)to = text ? xstrdup(text) : NULL;
}

void config_merge(struct config *merged, const struct config *old, const struct config *fresh,
                  struct buf *changed, struct buf *kept)
{
    config_copy(merged, old);
    for (const struct config_key *key = config_keys; key->name; key++) {
        const void *from = (const char *)fresh + key->offset;
        bool is_live = config_key_is_live(key, old, fresh);
        struct buf *names = is_live ? changed : kept;

        if (config_is_same(key, (const char *)old + key->offset, from))
            continue;
        if (names->len)
            buf_append_text(names, ", ");
        buf_append_text(names, key->name);
        if (is_live)
            config_take(key, (char *)merged + key->offset, from);
    }
}
