#include "collector/config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "config_internal.h"
#include "metrics/event.h"
#include "nearest_internal.h"

/* clang-format off */
#define KEY(member, type, preset, min, max, help)                                                  \
    { #member, type, offsetof(struct config, member), preset, min, max, help }
#define KAFKA(member, type, preset, min, max, help)                                                \
    { "kafka." #member, type, offsetof(struct config, kafka_##member), preset, min, max, help }
#define ATLAS(member, type, preset, min, max, help)                                                \
    { "atlas." #member, type, offsetof(struct config, atlas_##member), preset, min, max, help }
/* clang-format on */
#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)
#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define AGE_MAX (INT64_C(100) * 366 * DAY)
#define CONFIG_FOREVER_TEXT "forever"

const struct config_key config_keys[] = {
    KEY(listen, CONFIG_TEXT, "127.0.0.1:8190", 0, 0, "address and port to serve on"),
    KEY(database, CONFIG_TEXT, "", 0, 0,
        "libpq DSN or URI of the database; empty: a private Postgres in data_dir"),
    KEY(data_dir, CONFIG_TEXT, "", 0, 0,
        "where the private Postgres lives; empty: ./var, as root /var/lib/plumbline"),
    KEY(keys_off, CONFIG_BOOL, "false", 0, 0,
        "ask for no keys on any address: whoever reaches it reads and writes"),
    KEY(keys_on, CONFIG_BOOL, "false", 0, 0,
        "ask for keys on loopback as well; other addresses always do, but for keys_off"),
    KEY(keys_stale_max, CONFIG_AGE, "7d", 5 * SECOND, AGE_MAX,
        "how long known keys may send events while Postgres can't be asked for them"),
    KEY(rate_limit_requests_per_s, CONFIG_COUNT, "0", 0, 1000000,
        "requests a second of one key, unless it has its own rate; 0: any number"),
    KEY(rate_limit_burst, CONFIG_COUNT, "0", 0, 10000000,
        "requests of one key at once after a pause; 0: those of two seconds"),
    KEY(log_level, CONFIG_LEVEL, "info", 0, 0, "debug, info, warn or error"),
    KEY(tls_certificate, CONFIG_TEXT, "", 0, 0,
        "file with the server's certificate and those between it and its authority, in PEM; empty: "
        "no TLS"),
    KEY(tls_key, CONFIG_TEXT, "", 0, 0, "file with the certificate's private key, in PEM"),
    KEY(tls_client_ca, CONFIG_TEXT, "", 0, 0,
        "file with authorities, in PEM: only clients with a certificate of one of them get in"),

    KEY(http_threads, CONFIG_COUNT, "0", 0, 256,
        "threads that serve HTTP; 0: as many as cores, at most 8"),
    KEY(connections_max, CONFIG_COUNT, "4096", 1, 65536, "HTTP connections open at one time"),
    KEY(connections_per_address_max, CONFIG_COUNT, "0", 0, 65536,
        "those of one address, of IPv6 one /64; 0: any number, as behind a load balancer"),
    KEY(idle_timeout_ms, CONFIG_MS, "60s", SECOND, HOUR,
        "a connection without traffic is closed after this"),
    KEY(request_timeout_ms, CONFIG_MS, "60s", SECOND, HOUR, "for the whole of a request to arrive"),
    KEY(commit_timeout_ms, CONFIG_MS, "10s", 100, HOUR,
        "how long a request that can't be spooled waits for Postgres before its 503"),
    KEY(drain_timeout_ms, CONFIG_MS, "10s", 100, HOUR, "how long SIGTERM lets requests finish"),
    KEY(spool_dir, CONFIG_TEXT, "", 0, 0,
        "folder for events that wait for Postgres, of one daemon alone; empty: spool in data_dir"),
    KEY(spool_bytes_max, CONFIG_BYTES, "10GiB", 0, INT64_C(1024) * 1024 * GIB,
        "what the spool may take on disk; 0: no spool, requests get 503 while Postgres is away"),
    KEY(spool_after_ms, CONFIG_MS, "2s", 10, HOUR,
        "how long a request waits, and then its commit, before it is spooled; at most half of "
        "commit_timeout_ms"),
    KEY(reads_max, CONFIG_COUNT, "16", 1, 1024, "answers being streamed at one time"),
    KEY(read_stall_timeout_ms, CONFIG_MS, "30s", SECOND, HOUR,
        "a reader that takes nothing for this long is dropped"),

    KEY(memory_bytes_max, CONFIG_BYTES, "64MiB", MIB, 1024 * GIB,
        "the budget for requests, queue and answers together"),
    KEY(body_bytes_max, CONFIG_BYTES, "16MiB", 1024, GIB,
        "one request body, after decompression as well"),
    KEY(metrics_bytes_max, CONFIG_BYTES, "102400", 64, 64 * MIB,
        "one event's metrics after white space is removed"),
    KEY(events_max, CONFIG_COUNT, "100000", 1, 10000000, "events in one request"),
    KEY(json_depth_max, CONFIG_COUNT, "32", 3, 1024, "depth of nested JSON"),
    KEY(deployments_max, CONFIG_COUNT, "100000", 1, 10000000, "deployments in the catalog"),
    KEY(partitions_max, CONFIG_COUNT, "600", 8, 10000,
        "partitions; an event that needs one more is refused"),
    KEY(partition_days, CONFIG_COUNT, "7", 1, 366,
        "days a partition holds; fixed when the database is made"),
    KEY(partitions_ahead, CONFIG_COUNT, "4", 1, 100, "partitions made before they are needed"),
    KEY(labels_per_prediction_max, CONFIG_COUNT, "1000", 1, 32767, "labels of one prediction"),
    KEY(labels_waiting_max, CONFIG_COUNT, "1000000", 0, INT64_C(1000000000),
        "labels that wait for their prediction"),
    KEY(rollups, CONFIG_BOOL, "true", 0, 0,
        "keep rollups of all metrics; fixed when the database is made"),
    KEY(metric_names_max, CONFIG_COUNT, "1000", 0, 1000000,
        "metrics of a deployment that are rolled up"),
    KEY(rollup_pending_max, CONFIG_COUNT, "100000", 100, INT64_C(100000000),
        "rollup deltas that wait to be folded; beyond it batches wait too"),
    KEY(event_ahead_ms_max, CONFIG_MS, "1d", 0, 366 * DAY,
        "how far ahead of the server an event's time may be"),
    KEY(retention_raw, CONFIG_AGE, CONFIG_FOREVER_TEXT, DAY, AGE_MAX,
        "how long predictions, labels and aggregates are kept"),
    KEY(retention_1m, CONFIG_AGE, CONFIG_FOREVER_TEXT, DAY, AGE_MAX,
        "how long rollups by minute are kept"),
    KEY(retention_1h, CONFIG_AGE, CONFIG_FOREVER_TEXT, DAY, AGE_MAX,
        "how long rollups by hour are kept"),
    KEY(retention_1d, CONFIG_AGE, CONFIG_FOREVER_TEXT, DAY, AGE_MAX,
        "how long rollups by day are kept"),
    KEY(label_wait, CONFIG_AGE, "400d", SECOND, AGE_MAX,
        "how long a label waits for its prediction before it is given up"),
    KEY(csv_columns_max, CONFIG_COUNT, "2000", 8, 100000, "columns of one CSV answer"),
    KEY(lineage_relations_max, CONFIG_COUNT, "10000", 1, 100000,
        "relations in one lineage answer; one that has more says so"),
    KEY(hook_message_bytes_max, CONFIG_BYTES, "32MiB", 1024, GIB / 4,
        "one message of an Atlas hook, put together and unpacked"),
    KEY(hook_memory_bytes_max, CONFIG_BYTES, "384MiB", 4096, 1024 * GIB,
        "what reading one of them may take, beside memory_bytes_max; one is read at a time"),
    KEY(hook_wait, CONFIG_MS, "15m", SECOND, DAY,
        "how long parts of a hook's message wait for the others before it is given up"),
    KEY(outbox_retention, CONFIG_AGE, "7d", SECOND, AGE_MAX,
        "how long outgoing lineage messages are kept, from recording; longer while they are to be "
        "published"),
    KEY(outbox_messages_max, CONFIG_COUNT, "1000000", 1, INT64_C(1000000000),
        "outgoing lineage messages kept; beyond them the oldest go, published or not"),

    KEY(committers, CONFIG_COUNT, "2", 1, 16, "connections that commit metrics, side by side"),
    KEY(batch_events_max, CONFIG_COUNT, "10000", 1, 1000000,
        "a transaction takes no further request beyond these events"),
    KEY(batch_bytes_max, CONFIG_BYTES, "8MiB", 1024, GIB,
        "a transaction takes no further request beyond these bytes"),

    KAFKA(brokers, CONFIG_TEXT, "", 0, 0, "brokers to begin with, HOST:PORT,...; empty: no Kafka"),
    KAFKA(topics, CONFIG_TEXT, "plumbline.events", 0, 0, "topics to read, with commas between"),
    KAFKA(group, CONFIG_TEXT, "plumbline", 0, 0, "consumer group that the collectors are in"),
    KAFKA(hook_topic, CONFIG_TEXT, "", 0, 0,
          "topic with messages of Atlas's hooks to be read; empty: none"),
    KAFKA(queue_bytes_max, CONFIG_BYTES, "16MiB", 64 * 1024, GIB,
          "what of memory_bytes_max Kafka may have on its way to Postgres"),
    KAFKA(reject_bytes_max, CONFIG_BYTES, "1MiB", 0, GIB,
          "bytes that are kept of a message that can't be taken"),
    KAFKA(lineage_messages, CONFIG_BOOL, "true", 0, 0,
          "publish what becomes of the graph, as Atlas's hooks do"),
    KAFKA(lineage_topic, CONFIG_TEXT, "ATLAS_HOOK", 0, 0, "topic for these messages"),
    KAFKA(message_bytes_max, CONFIG_BYTES, "1000000", 8192, 512 * MIB,
          "a longer lineage message is compressed, and cut if it must be; what the topic takes"),
    KAFKA(properties, CONFIG_PAIRS, "", 0, 0, "passed on to librdkafka: TLS, SASL, fetch sizes"),
    ATLAS(namespace, CONFIG_TEXT, "cm", 0, 0,
          "stands behind the @ of names in the graph; fixed when the database is made"),
    { NULL, CONFIG_TEXT, 0, NULL, 0, 0, NULL },
};

static_assert(LENGTH(config_keys) <= CONFIG_KEYS_MAX, "config_yaml.c has a place for every key");

/* Variables of the environment that begin with PLUMBLINE_ and are no keys; a '*' at the end stands
 * for anything. */
static const char *const config_other_variables[] = {
    "PLUMBLINE_CONFIG", /* the file, where -c is not given */
    "PLUMBLINE_FAULT",  /* collector/crash_point.h */
    "PLUMBLINE_URL",    /* the client commands' server */
    "PLUMBLINE_CA",     /* whom they trust, and what they show of themselves */
    "PLUMBLINE_CERT",     "PLUMBLINE_CERT_KEY",
    "PLUMBLINE_API_KEY*", /* and their key, or the file with it */
    "PLUMBLINE_BINARY",   /* the tests' */
    "PLUMBLINE_TEST_*",
};

struct config_unit {
    const char *name;
    int64_t factor;
};

/* From the largest, so that the first that divides a number is the one to write it with. */
static const struct config_unit config_byte_units[] = {
    { "TiB", 1024 * GIB }, { "GiB", GIB }, { "MiB", MIB }, { "KiB", 1024 }, { "B", 1 }, { NULL, 0 },
};
static const struct config_unit config_ms_units[] = {
    { "d", DAY }, { "h", HOUR }, { "m", 60 * SECOND }, { "s", SECOND }, { "ms", 1 }, { NULL, 0 },
};
static const char *const config_level_names[] = {
    [LOG_LEVEL_DEBUG] = "debug",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_ERROR] = "error",
};

struct config_quote config_quote(const char *text)
{
    struct config_quote quote;
    size_t len = strlen(text), kept = len > CONFIG_QUOTE_BYTES_MAX ? CONFIG_QUOTE_BYTES_MAX : len;

    (void)snprintf(quote.text, sizeof(quote.text), "\"%.*s%s\"", (int)kept, text,
                   kept < len ? "..." : "");
    for (char *p = quote.text; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    }
    return quote;
}

static const char *config_key_at(size_t i, const void *ctx)
{
    (void)ctx;
    return config_keys[i].name;
}

const char *config_key_nearest(const char *name)
{
    return nearest_word(name, config_key_at, NULL);
}

const struct config_key *config_key_find(const char *name)
{
    const struct config_key *key = config_keys;

    while (key->name && strcmp(key->name, name) != 0)
        key++;
    return key->name ? key : NULL;
}

bool config_key_is_text(const struct config_key *key)
{
    return key->type == CONFIG_TEXT || key->type == CONFIG_PAIRS;
}

static void *config_member(struct config *config, const struct config_key *key)
{
    return (char *)config + key->offset;
}

static const void *config_member_const(const struct config *config, const struct config_key *key)
{
    return (const char *)config + key->offset;
}

static const struct config_unit *config_units(enum config_type type)
{
    switch (type) {
    case CONFIG_BYTES:
        return config_byte_units;
    case CONFIG_MS:
    case CONFIG_AGE:
        return config_ms_units;
    default:
        return NULL;
    }
}

enum { CONFIG_NUMBER_CHARS = 32 };

/* "64MiB", "30s", "4096": with the largest unit that divides it. */
static void config_number_format(const struct config_key *key, int64_t value,
                                 char text[CONFIG_NUMBER_CHARS])
{
    const struct config_unit *unit = config_units(key->type);

    if (key->type == CONFIG_AGE && value == CONFIG_FOREVER) {
        (void)snprintf(text, CONFIG_NUMBER_CHARS, "%s", CONFIG_FOREVER_TEXT);
        return;
    }
    while (unit && value % unit->factor != 0)
        unit++;
    if (!unit || value == 0 || (key->type == CONFIG_BYTES && unit->factor == 1))
        (void)snprintf(text, CONFIG_NUMBER_CHARS, "%" PRId64, value);
    else
        (void)snprintf(text, CONFIG_NUMBER_CHARS, "%" PRId64 "%s", value / unit->factor,
                       unit->name);
}

static int config_number_refuse(const struct config_key *key, const char *text, struct err *err)
{
    struct config_quote quote = config_quote(text);

    switch (key->type) {
    case CONFIG_BYTES:
        return err_set(err, ERR_INPUT,
                       "%s is not a number of bytes; write it like 65536 or 64MiB (B, KiB, MiB, "
                       "GiB, TiB)",
                       quote.text);
    case CONFIG_MS:
        return err_set(err, ERR_INPUT,
                       "%s is not a duration; write it like 500ms, 30s, 5m, 1h, 7d, or as plain "
                       "milliseconds",
                       quote.text);
    case CONFIG_AGE:
        return err_set(err, ERR_INPUT,
                       "%s is not a duration; write it like 12h, 30d, 400d, as plain milliseconds, "
                       "or " CONFIG_FOREVER_TEXT,
                       quote.text);
    default:
        return err_set(err, ERR_INPUT, "%s is not a whole number", quote.text);
    }
}

int config_number_parse(const struct config_key *key, const char *text, int64_t *value,
                        struct err *err)
{
    const struct config_unit *unit = config_units(key->type);
    char limit[CONFIG_NUMBER_CHARS], *end;
    int64_t number;

    if (key->type == CONFIG_AGE && strcmp(text, CONFIG_FOREVER_TEXT) == 0) {
        *value = CONFIG_FOREVER;
        return 0;
    }
    errno = 0;
    number = strtoll(text, &end, 10);
    if (end == text || !strchr("-0123456789", text[0]) || (*end && !unit))
        return config_number_refuse(key, text, err);
    end += strspn(end, " ");
    while (*end && unit->name && strcmp(end, unit->name) != 0)
        unit++;
    if (*end && !unit->name)
        return config_number_refuse(key, text, err);
    if (errno == ERANGE || (*end && __builtin_mul_overflow(number, unit->factor, &number)))
        number = text[0] == '-' ? INT64_MIN : INT64_MAX;
    if (number < key->min) {
        config_number_format(key, key->min, limit);
        return err_set(err, ERR_INPUT, "%s is too small; the smallest is %s",
                       config_quote(text).text, limit);
    }
    if (number > key->max) {
        config_number_format(key, key->max, limit);
        return err_set(err, ERR_INPUT, "%s is too large; the largest is %s",
                       config_quote(text).text, limit);
    }
    *value = number;
    return 0;
}

static int config_bool_parse(const char *text, bool *value, struct err *err)
{
    bool is_true = strcmp(text, "true") == 0;

    if (!is_true && strcmp(text, "false") != 0)
        return err_set(err, ERR_INPUT, "%s is neither true nor false", config_quote(text).text);
    *value = is_true;
    return 0;
}

static int config_level_parse(const char *text, enum log_level *value, struct err *err)
{
    for (size_t i = 0; i < LENGTH(config_level_names); i++) {
        if (strcmp(text, config_level_names[i]) == 0) {
            *value = (enum log_level)i;
            return 0;
        }
    }
    return err_set(err, ERR_INPUT, "%s is not a log level; use debug, info, warn or error",
                   config_quote(text).text);
}

static void config_text_set(struct config *config, const struct config_key *key, const char *text)
{
    char **member = config_member(config, key);

    if (!*text)
        text = key->preset;
    if (!*text && key->offset == offsetof(struct config, data_dir))
        text = geteuid() == 0 ? "/var/lib/plumbline" : "./var";
    free(*member);
    *member = *text ? xstrdup(text) : NULL;
}

/* Empty lines are left out; every other one must be name=value. */
static int config_pairs_set(struct config *config, const struct config_key *key, const char *text,
                            struct err *err)
{
    AUTO(buf_done) struct buf lines;
    char **member = config_member(config, key);

    buf_init(&lines, CONFIG_PAIRS_BYTES_MAX);
    for (size_t len, number = 1; *text; number++, text += len + (text[len] == '\n')) {
        size_t name_len;

        len = strcspn(text, "\n");
        if (len == 0)
            continue;
        name_len = strcspn(text, " \t:=\n");
        if (!name_len || text[name_len] != '=') /* its words may be part of a password or a key */
            return err_set(err, ERR_INPUT, "line %zu is not name=value", number);
        buf_append(&lines, text, len);
        buf_append_char(&lines, '\n');
    }
    if (lines.full)
        return err_set(err, ERR_INPUT, "longer than %d bytes", CONFIG_PAIRS_BYTES_MAX);
    free(*member);
    *member = lines.len ? xstrdup(buf_text(&lines)) : NULL;
    return 0;
}

int config_key_set(struct config *config, const struct config_key *key, const char *text,
                   struct err *err)
{
    switch (key->type) {
    case CONFIG_TEXT:
        config_text_set(config, key, text);
        return 0;
    case CONFIG_PAIRS:
        return config_pairs_set(config, key, text, err);
    case CONFIG_BOOL:
        return config_bool_parse(text, config_member(config, key), err);
    case CONFIG_LEVEL:
        return config_level_parse(text, config_member(config, key), err);
    default:
        return config_number_parse(key, text, config_member(config, key), err);
    }
}

int config_set(struct config *config, const char *key, const char *text, struct err *err)
{
    const struct config_key *found = config_key_find(key);

    assert(found);
    return config_key_set(config, found, text, err);
}

void config_init(struct config *config)
{
    struct err err = { 0 };

    *config = (struct config){ 0 };
    for (const struct config_key *key = config_keys; key->name; key++) {
        int rc = config_key_set(config, key, key->preset, &err);

        assert(rc == 0);
        (void)rc;
    }
}

void config_done(struct config *config)
{
    for (const struct config_key *key = config_keys; key->name; key++) {
        if (config_key_is_text(key))
            free(*(char **)config_member(config, key));
    }
    *config = (struct config){ 0 };
}

void config_copy(struct config *copy, const struct config *config)
{
    *copy = *config;
    for (const struct config_key *key = config_keys; key->name; key++) {
        char **text = config_member(copy, key);

        if (config_key_is_text(key) && *text)
            *text = xstrdup(*text);
    }
}

enum { CONFIG_VARIABLE_BYTES = 128 };

/* PLUMBLINE_LISTEN for "listen", PLUMBLINE_KAFKA_GROUP for "kafka.group". */
static void config_variable_name(const char *key, char name[CONFIG_VARIABLE_BYTES])
{
    (void)snprintf(name, CONFIG_VARIABLE_BYTES, "PLUMBLINE_%s", key);
    for (char *p = name; *p; p++) {
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
        else if (*p == '.')
            *p = '_';
    }
}

static bool config_variable_is_other(const char *name)
{
    for (size_t i = 0; i < LENGTH(config_other_variables); i++) {
        const char *other = config_other_variables[i], *star = strchr(other, '*');

        if (star ? strncmp(name, other, (size_t)(star - other)) == 0 : strcmp(name, other) == 0)
            return true;
    }
    return false;
}

static int config_variable_refuse(const char *name, struct err *err)
{
    char lower[CONFIG_VARIABLE_BYTES], variable[CONFIG_VARIABLE_BYTES];
    const char *meant;

    (void)snprintf(lower, sizeof(lower), "%s", name + strlen("PLUMBLINE_"));
    for (char *p = lower; *p; p++) {
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    }
    meant = config_key_nearest(lower);
    if (!meant)
        return err_set(err, ERR_INPUT, "environment: %s is no key of the configuration; unset it",
                       name);
    config_variable_name(meant, variable);
    return err_set(err, ERR_INPUT,
                   "environment: %s is no key of the configuration; did you mean %s?", name,
                   variable);
}

static int config_variable_apply(struct config *config, const char *name, const char *value,
                                 struct err *err)
{
    char variable[CONFIG_VARIABLE_BYTES];

    if (config_variable_is_other(name))
        return 0;
    for (const struct config_key *key = config_keys; key->name; key++) {
        config_variable_name(key->name, variable);
        if (strcmp(variable, name) != 0)
            continue;
        if (config_key_set(config, key, value, err) < 0)
            return err_prefix(err, "environment: %s: ", name);
        return 0;
    }
    return config_variable_refuse(name, err);
}

int config_apply_environment(struct config *config, char *const *environment, struct err *err)
{
    struct config copy;

    config_copy(&copy, config);
    for (; *environment; environment++) {
        const char *equals = strchr(*environment, '=');
        AUTO(mem_free) char *name = NULL;

        if (!equals || strncmp(*environment, "PLUMBLINE_", strlen("PLUMBLINE_")) != 0)
            continue;
        name = xmemdup0(*environment, (size_t)(equals - *environment));
        if (config_variable_apply(&copy, name, equals + 1, err) < 0) {
            config_done(&copy);
            return -1;
        }
    }
    config_done(config);
    *config = copy;
    return 0;
}

static bool config_address_is_loopback(const struct sockaddr *addr)
{
    if (addr->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)addr)->sin_addr.s_addr) >> 24 ==
               127;
    if (addr->sa_family == AF_INET6) {
        const struct in6_addr *in6 = &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;

        return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
    }
    return false;
}

static bool config_port_is_good(const char *port)
{
    size_t len = strlen(port);

    return len > 0 && len <= 5 && strspn(port, "0123456789") == len &&
           strtol(port, NULL, 10) <= UINT16_MAX;
}

int config_address_parse(struct config_address *address, const char *text, struct err *err)
{
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                              .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    const char *colon = strrchr(text, ':'), *host = text;
    AUTO(mem_free) char *name = NULL;
    size_t len;

    if (!colon || colon == text || !config_port_is_good(colon + 1))
        return err_set(err, ERR_INPUT, "%s is not ADDR:PORT, as in 127.0.0.1:8190 or [::1]:8190",
                       config_quote(text).text);
    len = (size_t)(colon - text);
    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    } else if (memchr(host, ':', len)) {
        return err_set(err, ERR_INPUT, "%s: an IPv6 address stands in brackets, as in [::1]:8190",
                       config_quote(text).text);
    }
    name = xmemdup0(host, len);
    if (getaddrinfo(strcmp(name, "localhost") == 0 ? "127.0.0.1" : name, colon + 1, &hints,
                    &found) != 0)
        return err_set(err, ERR_INPUT, "%s: the address is given by its number, not by a name",
                       config_quote(text).text);
    assert(found->ai_addrlen <= sizeof(address->addr));
    memset(&address->addr, 0, sizeof(address->addr));
    memcpy(&address->addr, found->ai_addr, found->ai_addrlen);
    address->len = found->ai_addrlen;
    address->is_loopback = config_address_is_loopback(found->ai_addr);
    freeaddrinfo(found);
    return 0;
}

/* No event is shorter, so a small body can't hold events_max of them. */
enum { CONFIG_EVENT_BYTES_MIN = 32 };

/* One request at its largest: the body and the records decoded from it. */
static int64_t config_request_bytes(const struct config *config)
{
    int64_t events = config->body_bytes_max / CONFIG_EVENT_BYTES_MIN;

    if (events > config->events_max)
        events = config->events_max;
    return config->body_bytes_max + events * (int64_t)sizeof(struct event);
}

size_t config_tag_bytes(const struct config *config)
{
    int64_t room = (config->memory_bytes_max - config_request_bytes(config)) / 2;

    if (room > config->memory_bytes_max / 4)
        room = config->memory_bytes_max / 4;
    return room > 0 ? (size_t)room : 0;
}

static int config_check_tls(const struct config *config, struct err *err)
{
    const char *other = config->tls_key ? "tls_key" : "tls_client_ca";

    if (config->tls_certificate && !config->tls_key)
        return err_set(err, ERR_INPUT, "tls_key: is missing; tls_certificate is of no use without");
    if (!config->tls_certificate && (config->tls_key || config->tls_client_ca))
        return err_set(err, ERR_INPUT, "tls_certificate: is missing; %s is of no use without",
                       other);
    return 0;
}

static int config_check_listen(const struct config *config, struct err *err)
{
    struct config_address address;

    if (config_address_parse(&address, config->listen, err) < 0)
        return err_prefix(err, "listen: ");
    if (config->keys_on && config->keys_off)
        return err_set(err, ERR_INPUT, "keys_on and keys_off can't both be true: remove one");
    return 0;
}

bool config_asks_for_keys(const struct config *config)
{
    struct config_address address;
    struct err err = { 0 };

    if (config->keys_off || config->keys_on)
        return config->keys_on;
    return config_address_parse(&address, config->listen, &err) < 0 || !address.is_loopback;
}

/* A recount of an hour reads its minutes, one of a day its hours, and raw rows stand behind all. */
static int config_check_retention(const struct config *config, struct err *err)
{
    static const char *const finer_first[] = { "retention_raw", "retention_1m", "retention_1h",
                                               "retention_1d" };
    char finer_text[CONFIG_NUMBER_CHARS], coarser_text[CONFIG_NUMBER_CHARS];

    for (size_t i = 1; i < LENGTH(finer_first); i++) {
        const struct config_key *finer = config_key_find(finer_first[i - 1]);
        const struct config_key *coarser = config_key_find(finer_first[i]);
        int64_t finer_ms = *(const int64_t *)config_member_const(config, finer);
        int64_t coarser_ms = *(const int64_t *)config_member_const(config, coarser);

        if (finer_ms <= coarser_ms)
            continue;
        config_number_format(finer, finer_ms, finer_text);
        config_number_format(coarser, coarser_ms, coarser_text);
        return err_set(err, ERR_INPUT,
                       "%s: %s is longer than %s (%s), which stands on it; lower it or raise %s",
                       finer->name, finer_text, coarser->name, coarser_text, coarser->name);
    }
    return 0;
}

char *config_spool_dir(const struct config *config)
{
    return config->spool_dir ? xstrdup(config->spool_dir) : xasprintf("%s/spool", config->data_dir);
}

int64_t config_spool_after_ms(const struct config *config)
{
    int64_t most = config->commit_timeout_ms / 2;

    return config->spool_after_ms < most ? config->spool_after_ms : most;
}

bool config_publishes(const struct config *config)
{
    return config->kafka_brokers && config->kafka_lineage_messages;
}

enum { CONFIG_NAMESPACE_BYTES_MAX = 128 };

static int config_check_namespace(const struct config *config, struct err *err)
{
    const char *text = config->atlas_namespace;

    if (strlen(text) > CONFIG_NAMESPACE_BYTES_MAX)
        return err_set(err, ERR_INPUT, "atlas.namespace: has %zu bytes, at most %d are taken",
                       strlen(text), CONFIG_NAMESPACE_BYTES_MAX);
    if (text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")])
        return err_set(err, ERR_INPUT,
                       "atlas.namespace: %s is not a word of letters, digits, '.', '_' and '-'",
                       config_quote(text).text);
    return 0;
}

int config_check(const struct config *config, struct err *err)
{
    if (config_check_listen(config, err) < 0 || config_check_tls(config, err) < 0 ||
        config_check_retention(config, err) < 0 || config_check_namespace(config, err) < 0)
        return -1;
    if (config->metrics_bytes_max > config->body_bytes_max)
        return err_set(err, ERR_INPUT,
                       "metrics_bytes_max: %" PRId64 " does not fit into body_bytes_max (%" PRId64
                       "); lower it or raise body_bytes_max",
                       config->metrics_bytes_max, config->body_bytes_max);
    if (config->memory_bytes_max < config_request_bytes(config))
        return err_set(err, ERR_INPUT,
                       "memory_bytes_max: %" PRId64 " can't hold one request of body_bytes_max and "
                       "its events; raise it to at least %" PRId64
                       ", or lower body_bytes_max or events_max",
                       config->memory_bytes_max, config_request_bytes(config));
    if (config->hook_memory_bytes_max / CONFIG_HOOK_COPIES < config->hook_message_bytes_max)
        return err_set(err, ERR_INPUT,
                       "hook_memory_bytes_max: %" PRId64 " is less than %d times "
                       "hook_message_bytes_max (%" PRId64 "), which putting a message together "
                       "takes; raise it or lower hook_message_bytes_max",
                       config->hook_memory_bytes_max, CONFIG_HOOK_COPIES,
                       config->hook_message_bytes_max);
    if (config->kafka_brokers && config->kafka_queue_bytes_max > config->memory_bytes_max / 2)
        return err_set(err, ERR_INPUT,
                       "kafka.queue_bytes_max: %" PRId64 " is more than half of memory_bytes_max "
                       "(%" PRId64 ") and would leave HTTP too little; lower it or raise "
                       "memory_bytes_max",
                       config->kafka_queue_bytes_max, config->memory_bytes_max);
    if (config->kafka_brokers && config->kafka_hook_topic &&
        config->hook_message_bytes_max > config->memory_bytes_max / 2)
        return err_set(err, ERR_INPUT,
                       "hook_message_bytes_max: %" PRId64 " is more than half of memory_bytes_max "
                       "(%" PRId64 "), in which a message from kafka.hook_topic must fit; lower it "
                       "or raise memory_bytes_max",
                       config->hook_message_bytes_max, config->memory_bytes_max);
    if (config->partitions_ahead >= config->partitions_max)
        return err_set(err, ERR_INPUT,
                       "partitions_ahead: %" PRId64 " leaves no room below partitions_max (%" PRId64
                       "); lower it or raise partitions_max",
                       config->partitions_ahead, config->partitions_max);
    return 0;
}

/* A double-quoted YAML scalar. */
static void config_write_text(const char *text, size_t len, FILE *out)
{
    const char *end = text + len;

    (void)fputc('"', out);
    for (; text < end; text++) {
        if (*text == '"' || *text == '\\')
            (void)fputc('\\', out);
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            (void)fprintf(out, "\\x%02x", (unsigned)(unsigned char)*text);
        else
            (void)fputc(*text, out);
    }
    (void)fputs("\"\n", out);
}

static void config_write_pairs(const char *lines, FILE *out)
{
    (void)fputs(lines ? "\n" : "{}\n", out);
    while (lines && *lines) {
        size_t name = strcspn(lines, "="), len = strcspn(lines, "\n");

        (void)fprintf(out, "    %.*s: ", (int)name, lines);
        config_write_text(lines + name + 1, len - name - 1, out);
        lines += len + 1;
    }
}

/* "listen: ", or "kafka:" before the first of its keys and "  group: ". */
static void config_write_name(const struct config_key *key, FILE *out)
{
    const char *dot = strchr(key->name, '.');
    int len = dot ? (int)(dot - key->name) : 0;

    if (dot && strncmp(key[-1].name, key->name, (size_t)len + 1) != 0)
        (void)fprintf(out, "%.*s:\n", len, key->name);
    (void)fprintf(out, "%s%s: ", dot ? "  " : "", dot ? dot + 1 : key->name);
}

void config_write(const struct config *config, FILE *out)
{
    for (const struct config_key *key = config_keys; key->name; key++) {
        const void *member = config_member_const(config, key);
        const char *text = config_key_is_text(key) ? *(char *const *)member : NULL;
        char number[CONFIG_NUMBER_CHARS];

        config_write_name(key, out);
        switch (key->type) {
        case CONFIG_TEXT:
            config_write_text(text ? text : "", text ? strlen(text) : 0, out);
            break;
        case CONFIG_PAIRS:
            config_write_pairs(text, out);
            break;
        case CONFIG_BOOL:
            (void)fprintf(out, "%s\n", *(const bool *)member ? "true" : "false");
            break;
        case CONFIG_LEVEL:
            (void)fprintf(out, "%s\n", config_level_names[*(const enum log_level *)member]);
            break;
        default:
            config_number_format(key, *(const int64_t *)member, number);
            (void)fprintf(out, "%s\n", number);
        }
    }
}
