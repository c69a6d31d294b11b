#include "witness.h"

#include <arpa/inet.h>
#include <check.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "dice.h"
#include "http.h"
#include "load.h"
#include "pg.h"
#include "wait.h"
#include "witness_internal.h"

enum {
    DEPLOYMENTS = 6,
    DAYS = 20,        /* over which the events are spread, in several partitions */
    LABEL_REACH = 60, /* a label is for one of so many events before it */
    ACKNOWLEDGE_MS_MAX = 60000,
    REQUEST_MS_MAX = 3000,
    READ_MS_MAX = 120000,
};

#define DAY_MS INT64_C(86400000)
#define EPOCH_MS INT64_C(1700000000000) /* the events lie before it */

/* ---- events */

static uint64_t event_hash(const struct witness *witness, uint32_t number, uint32_t purpose)
{
    uint64_t dice = witness->seed ^ ((uint64_t)purpose << 56) ^ number;

    return ((uint64_t)dice_roll(&dice, UINT32_MAX) << 32) | dice_roll(&dice, UINT32_MAX);
}

static enum kind event_kind_of(const struct witness *witness, uint32_t number)
{
    uint64_t share = event_hash(witness, number, 1) % 100;

    if (share < 50 || number % (1U << CLIENT_BITS) == 0) /* the first is there to be labelled */
        return PREDICTION;
    if (share < 66)
        return LABEL;
    if (share < 74)
        return LABEL_BARE;
    if (share < 86)
        return AGGREGATE;
    return share < 97 ? AGGREGATE_BARE : BUILD;
}

static bool event_has_identity(enum kind kind)
{
    return kind != LABEL_BARE && kind != AGGREGATE_BARE;
}

/* The prediction that a label belongs to: one not far before it. */
static uint32_t event_prediction_of(const struct witness *witness, uint32_t number)
{
    uint32_t place = number % (1U << CLIENT_BITS);
    uint32_t back = 1 + (uint32_t)(event_hash(witness, number, 2) % LABEL_REACH);

    number -= back < place ? back : place;
    while (event_kind_of(witness, number) != PREDICTION)
        number--;
    return number;
}

static int64_t event_start_ms(const struct witness *witness, uint32_t number)
{
    return EPOCH_MS - (int64_t)(event_hash(witness, number, 3) % (DAYS * (uint64_t)DAY_MS));
}

static void event_write_span(struct buf *out, const struct witness *witness, uint32_t number)
{
    int64_t start_ms = event_start_ms(witness, number);

    buf_append_fmt(out,
                   "\"modelDeploymentCrn\":\"crn:chaos:%u\",\"startTimestampMs\":%" PRId64
                   ",\"endTimestampMs\":%" PRId64 ",",
                   (unsigned)(event_hash(witness, number, 4) % DEPLOYMENTS), start_ms,
                   start_ms + (int64_t)(event_hash(witness, number, 5) % 1000));
}

/* What a row of it must hold, byte for byte. */
static void event_write_values(struct buf *out, const struct witness *witness, uint32_t number)
{
    buf_append_fmt(out, "\"n\":%u,\"p\":0.%u0,\"e\":1e22,\"w\":{\"a b\":[%u,null,\"\\u00e9\"]}",
                   number, (unsigned)(event_hash(witness, number, 6) % 1000000), number % 7);
}

static void event_write_build(struct buf *out, uint32_t number)
{
    buf_append_fmt(out,
                   "{\"event\":\"model_built\",\"projectCrn\":\"crn:p%u\",\"modelCrn\":\"crn:m%u\","
                   "\"modelName\":\"m\",\"modelBuildCrn\":\"crn:build:%u\",\"buildNumber\":1,"
                   "\"userName\":\"ada\",\"createdAtMs\":1596181000000,\"inputs\":[{\"typeName\":"
                   "\"hive_table\",\"qualifiedName\":\"default.t%u@cm\"}]}",
                   number % 3, number % 11, number, number % 5);
}

void event_write(struct buf *out, const struct witness *witness, uint32_t number)
{
    enum kind kind = event_kind_of(witness, number);
    char id[37], of[37];

    load_uuid(witness->seed, number, id);
    if (kind == BUILD) {
        event_write_build(out, number);
    } else if (kind == PREDICTION) {
        buf_append_fmt(out, "{\"event\":\"track_metrics\",\"predictionUuid\":\"%s\",", id);
        event_write_span(out, witness, number);
        buf_append_text(out, "\"metrics\":{");
        event_write_values(out, witness, number);
        buf_append_fmt(out, ",\"id\":\"%s\"}}", id);
    } else if (kind == LABEL || kind == LABEL_BARE) {
        load_uuid(witness->seed, event_prediction_of(witness, number), of);
        buf_append_fmt(out, "{\"event\":\"delayed_metrics\",\"predictionUuid\":\"%s\",", of);
        if (kind == LABEL)
            buf_append_fmt(out, "\"eventId\":\"%s\",", id);
        buf_append_fmt(out, "\"metrics\":{\"l%u\":true,\"id\":\"%s\"}}", number, id);
    } else {
        buf_append_text(out, "{\"event\":\"aggregate_metrics\",");
        event_write_span(out, witness, number);
        if (kind == AGGREGATE)
            buf_append_fmt(out, "\"eventId\":\"%s\",", id);
        buf_append_text(out, "\"metrics\":{");
        event_write_values(out, witness, number);
        buf_append_fmt(out, ",\"id\":\"%s\"}}", id);
    }
}

/* ---- requests */

PRINTF_LIKE(2, 3) static void client_note(struct client *client, const char *fmt, ...)
{
    struct witness *witness = client->witness;
    va_list args;

    va_start(args, fmt);
    (void)pthread_mutex_lock(&witness->lock);
    if (!witness->error[0])
        (void)vsnprintf(witness->error, sizeof(witness->error), fmt, args);
    (void)pthread_mutex_unlock(&witness->lock);
    va_end(args);
    witness->ending = true;
}

static bool witness_has_error(struct witness *witness)
{
    bool has_error;

    (void)pthread_mutex_lock(&witness->lock);
    has_error = witness->error[0] != '\0';
    (void)pthread_mutex_unlock(&witness->lock);
    return has_error;
}

void client_take_numbers(struct client *client, struct sending *sending)
{
    struct witness *witness = client->witness;
    uint32_t wanted = dice_roll(&client->dice, 3) ? 1 + dice_roll(&client->dice, EVENTS_MAX) : 1;

    sending->first = client->number + client->len;
    sending->kind = event_kind_of(witness, sending->first);
    while (sending->count < wanted) {
        enum kind kind = event_kind_of(witness, sending->first + sending->count);

        if (sending->count && (kind == BUILD || sending->kind == BUILD))
            break;
        sending->count++;
    }
    if (client->len + sending->count > client->cap) {
        client->cap = 2 * (client->cap + EVENTS_MAX);
        client->fates = xreallocarray(client->fates, client->cap, sizeof(*client->fates));
    }
    for (uint32_t i = 0; i < sending->count; i++)
        client->fates[client->len++] = (struct fate){ 0 };
}

/* One event may go by its own route, as an object, or like many as an array or lines. */
static void client_write(struct client *client, struct sending *sending)
{
    static const char *const routes[] = {
        [PREDICTION] = "/track-metrics",
        [LABEL] = "/track-delayed-metrics",
        [LABEL_BARE] = "/track-delayed-metrics",
        [AGGREGATE] = "/track-aggregate-metrics",
        [AGGREGATE_BARE] = "/track-aggregate-metrics",
        [BUILD] = "/v1/events",
    };
    bool lines = dice_roll(&client->dice, 2);
    bool bare = sending->count == 1 && dice_roll(&client->dice, 2);

    buf_init(&sending->body, BODY_BYTES_MAX);
    sending->path = bare && dice_roll(&client->dice, 2) ? routes[sending->kind] : "/v1/events";
    sending->type =
        lines && !bare ? "Content-Type: application/x-ndjson" : "Content-Type: application/json";
    sending->gzip = dice_roll(&client->dice, 4) == 0;
    if (!lines && !bare)
        buf_append_char(&sending->body, '[');
    for (uint32_t i = 0; i < sending->count; i++) {
        if (i)
            buf_append_char(&sending->body, lines ? '\n' : ',');
        event_write(&sending->body, client->witness, sending->first + i);
    }
    if (!lines && !bare)
        buf_append_char(&sending->body, ']');
}

static int client_port(struct client *client)
{
    return client->witness->ports[dice_roll(&client->dice, WITNESS_DAEMONS)];
}

static struct http_answer *client_post(struct client *client, const struct sending *sending,
                                       int port)
{
    AUTO(mem_free) char *url = xasprintf("http://127.0.0.1:%d%s", port, sending->path);
    AUTO(mem_free) char *packed = NULL;
    const char *headers[] = { sending->type, sending->gzip ? "Content-Encoding: gzip" : NULL,
                              NULL };
    struct http_request request = { .method = "POST", .url = url, .headers = headers };

    request.body = sending->body.data;
    request.len = sending->body.len;
    if (sending->gzip)
        request.body = packed = http_gzip(request.body, request.len, &request.len);
    request.fresh = dice_roll(&client->dice, 2);
    request.timeout_ms =
        dice_roll(&client->dice, 12) ? REQUEST_MS_MAX : 1 + (long)dice_roll(&client->dice, 100);
    return http_send(client->http, &request);
}

/* Some of the request, or all of it, and a reset instead of waiting for the answer. Whether all of
 * it went out. */
static bool client_hang_up(struct client *client, const struct sending *sending, int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    struct linger reset = { .l_onoff = 1 };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    AUTO(mem_free)
    char *text =
        xasprintf("POST %s HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: %zu\r\n\r\n%.*s",
                  sending->path, sending->type, sending->body.len, (int)sending->body.len,
                  sending->body.data);
    size_t len = strlen(text);
    size_t sent = dice_roll(&client->dice, 2) ? len : dice_roll(&client->dice, (uint32_t)len);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        http_raw_send(fd, text, sent) < 0)
        sent = 0;
    if (dice_roll(&client->dice, 2))
        wait_nap();
    (void)close(fd);
    return sent == len;
}

/* ---- answers */

static void client_count(struct client *client, const struct sending *sending, long status)
{
    struct witness *witness = client->witness;
    bool taken = status == 200 || status == 202;

    for (uint32_t i = 0; i < sending->count; i++) {
        struct fate *fate = &client->fates[sending->first - client->number + i];

        fate->acknowledged += taken;
        fate->refused += status == 503;
        fate->lost += status == 0;
    }
    (void)pthread_mutex_lock(&witness->lock);
    witness->tally.acknowledged += taken;
    witness->tally.spooled += status == 202;
    witness->tally.refused += status == 503;
    witness->tally.lost += status == 0;
    (void)pthread_mutex_unlock(&witness->lock);
}

/* Of the events of a request, those that may be duplicates: their identity went out before, in an
 * attempt that is not known to have failed. */
static json_int_t client_duplicates_max(const struct client *client, const struct sending *sending)
{
    json_int_t count = 0;

    for (uint32_t i = 0; i < sending->count; i++) {
        const struct fate *fate = &client->fates[sending->first - client->number + i];

        count += event_has_identity(event_kind_of(client->witness, sending->first + i)) &&
                 (fate->acknowledged || fate->lost);
    }
    return count;
}

static json_int_t receipt_number(const json_t *receipt, const char *member)
{
    return json_integer_value(json_object_get(receipt, member));
}

/* Before the answer is counted: what it says is possible. */
static bool client_check_receipt(struct client *client, const struct sending *sending,
                                 const struct http_answer *answer)
{
    json_auto_t *receipt = json_loadb(answer->body, answer->len, 0, NULL);
    json_int_t duplicate = receipt_number(receipt, "duplicate");
    json_int_t taken = answer->status == 202 ? receipt_number(receipt, "spooled")
                                             : receipt_number(receipt, "accepted") + duplicate;

    if (receipt_number(receipt, "received") == sending->count && taken == sending->count &&
        json_array_size(json_object_get(receipt, "rejected")) == 0 &&
        duplicate <= client_duplicates_max(client, sending))
        return true;
    client_note(client, "%u events from %u on, status %ld: %.300s", sending->count, sending->first,
                answer->status, answer->body);
    return false;
}

/* One attempt. Its status; 0: no answer, -1: nothing has gone out, or what must not be. */
static long client_try(struct client *client, const struct sending *sending)
{
    AUTO(http_answer_free) struct http_answer *answer = NULL;
    AUTO(mem_free) char *retry_after = NULL;
    int port = client_port(client);

    if (!port)
        return -1;
    if (dice_roll(&client->dice, 25) == 0 && !sending->gzip) {
        bool whole = client_hang_up(client, sending, port);

        if (whole)
            client_count(client, sending, 0);
        return whole ? 0 : -1;
    }
    answer = client_post(client, sending, port);
    retry_after = http_header(answer, "Retry-After");
    if (answer->status == 200 || answer->status == 202) {
        if (!client_check_receipt(client, sending, answer))
            return -1;
    } else if (answer->status && (answer->status != 503 || !retry_after)) {
        client_note(client, "%u events from %u on, status %ld%s: %.300s", sending->count,
                    sending->first, answer->status, retry_after ? "" : " without Retry-After",
                    answer->body);
        return -1;
    }
    client_count(client, sending, answer->status);
    return answer->status;
}

/* One request, as often as chance wants it. */
static void client_send(struct client *client)
{
    struct witness *witness = client->witness;
    int64_t end_ms = clock_mono_ms() + wait_scaled_ms(ACKNOWLEDGE_MS_MAX);
    bool patient = dice_roll(&client->dice, 2);
    bool again = dice_roll(&client->dice, 20) == 0;
    struct sending sending = { 0 };
    long status;

    client_take_numbers(client, &sending);
    client_write(client, &sending);
    do {
        status = client_try(client, &sending);
        if ((status == 200 || status == 202) && again)
            status = client_try(client, &sending);
        if (status != 200 && status != 202)
            wait_nap();
        again = false;
    } while (patient && status != 200 && status != 202 && clock_mono_ms() < end_ms &&
             !witness_has_error(witness));
    if (patient && clock_mono_ms() >= end_ms)
        client_note(client, "%u events from %u on were not acknowledged in time", sending.count,
                    sending.first);
    (void)pthread_mutex_lock(&witness->lock);
    witness->tally.events += sending.count;
    (void)pthread_mutex_unlock(&witness->lock);
    buf_done(&sending.body);
}

static void *client_run(void *ctx)
{
    struct client *client = ctx;

    client->http = http_new();
    while (!client->witness->ending && client->len + EVENTS_MAX < 1U << CLIENT_BITS) {
        client_send(client);
        for (uint32_t naps = dice_roll(&client->dice, 4); naps; naps--)
            wait_nap();
    }
    http_free(client->http);
    return NULL;
}

/* ---- the control */

struct client *witness_add_client(struct witness *witness, void *(*run)(void *client))
{
    uint32_t i = witness->clients_len++;

    ck_assert_uint_lt(i, WITNESS_CLIENTS_MAX);
    witness->clients[i] = (struct client){
        .witness = witness, .run = run, .number = i << CLIENT_BITS, .dice = witness->seed + i
    };
    return &witness->clients[i];
}

struct witness *witness_new(uint64_t seed, uint32_t clients)
{
    struct witness *witness = xcalloc(1, sizeof(*witness));

    (void)curl_global_init(CURL_GLOBAL_DEFAULT); /* before the threads, who would do it at once */
    witness->seed = seed;
    (void)pthread_mutex_init(&witness->lock, NULL);
    for (uint32_t i = 0; i < clients; i++)
        (void)witness_add_client(witness, client_run);
    return witness;
}

void witness_aim(struct witness *witness, uint32_t i, const struct daemon *daemon)
{
    witness->ports[i] = daemon ? daemon_port(daemon) : 0;
}

void witness_begin(struct witness *witness)
{
    witness->ending = false;
    for (uint32_t i = 0; i < witness->clients_len; i++)
        ck_assert_int_eq(pthread_create(&witness->clients[i].thread, NULL, witness->clients[i].run,
                                        &witness->clients[i]),
                         0);
    witness->running = true;
}

static void witness_join(struct witness *witness)
{
    witness->ending = true;
    for (uint32_t i = 0; i < witness->clients_len && witness->running; i++)
        (void)pthread_join(witness->clients[i].thread, NULL);
    witness->running = false;
}

static void witness_check_error(struct witness *witness)
{
    (void)pthread_mutex_lock(&witness->lock);
    ck_assert_msg(!witness->error[0], "%s", witness->error);
    (void)pthread_mutex_unlock(&witness->lock);
}

void witness_end(struct witness *witness)
{
    witness_join(witness);
    witness_check_error(witness);
    witness_kafka_end(witness);
}

void witness_free(struct witness *witness)
{
    if (!witness)
        return;
    witness_join(witness);
    witness_kafka_free(witness);
    for (uint32_t i = 0; i < witness->clients_len; i++)
        free(witness->clients[i].fates);
    (void)pthread_mutex_destroy(&witness->lock);
    free(witness);
}

struct witness_tally witness_tally(struct witness *witness)
{
    struct witness_tally tally;

    (void)pthread_mutex_lock(&witness->lock);
    tally = witness->tally;
    (void)pthread_mutex_unlock(&witness->lock);
    return tally;
}

/* ---- what is there */

static struct fate *witness_fate(struct witness *witness, uint32_t number)
{
    uint32_t i = number >> CLIENT_BITS, place = number % (1U << CLIENT_BITS);

    ck_assert_msg(i < witness->clients_len && place < witness->clients[i].len,
                  "event %u is there and was never posted", number);
    return &witness->clients[i].fates[place];
}

static uint32_t number_read(const char *text)
{
    return (uint32_t)strtoul(text, NULL, 10);
}

/* A row as NDJSON: of a prediction with its labels, or of an aggregate. */
static void witness_take_row(struct witness *witness, const char *line, size_t len)
{
    AUTO(buf_done) struct buf values;
    json_auto_t *row = json_loadb(line, len, JSON_DECODE_INT_AS_REAL, NULL);
    json_t *metrics = json_object_get(row, "metrics"), *value;
    uint32_t number = (uint32_t)json_real_value(json_object_get(metrics, "n"));
    const char *key;

    buf_init(&values, BODY_BYTES_MAX);
    event_write_values(&values, witness, number);
    ck_assert_msg(json_is_object(metrics) && strstr(line, buf_text(&values)), "event %u: %.*s",
                  number, (int)len, line);
    witness_fate(witness, number)->seen++;
    json_object_foreach(metrics, key, value)
    {
        if (key[0] != 'l')
            continue;
        witness_fate(witness, number_read(key + 1))->merged = true;
        ck_assert_uint_eq(event_prediction_of(witness, number_read(key + 1)), number);
    }
}

static void witness_take_rows(struct witness *witness, const struct daemon *daemon)
{
    static const char *const headers[] = { "Accept: application/x-ndjson", NULL };
    AUTO(mem_free) char *url = daemon_url(daemon, "/v1/metrics");
    AUTO(http_free) struct http *http = http_new();
    AUTO(http_answer_free)
    struct http_answer *answer =
        http_send(http, &(struct http_request){
                            .url = url, .headers = headers, .timeout_ms = READ_MS_MAX });

    ck_assert_msg(answer->status == 200, "reading: status %ld%s", answer->status, answer->error);
    for (char *line = answer->body, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        ck_assert_msg(end != NULL, "the last row is cut: %.200s", line);
        *end = '\0';
        witness_take_row(witness, line, (size_t)(end - line));
    }
}

/* Labels and builds have no rows of their own in an answer. */
static void witness_take_tables(struct witness *witness, const char *dsn)
{
    static const char sql[] =
        "SELECT substr(key, 2), count(*) FROM (SELECT metrics FROM delayed_metric UNION ALL"
        "  SELECT metrics FROM delayed_metric_waiting) AS t, json_object_keys(metrics) AS key"
        " WHERE key LIKE 'l%' GROUP BY key"
        " UNION ALL SELECT split_part(identity, ':', 3), count(*) FROM lineage_event"
        " GROUP BY identity";
    PGconn *conn = pg_connect(dsn);
    PGresult *result = PQexec(conn, sql);

    ck_assert_msg(PQresultStatus(result) == PGRES_TUPLES_OK, "%s", PQerrorMessage(conn));
    for (int i = 0; i < PQntuples(result); i++)
        witness_fate(witness, number_read(PQgetvalue(result, i, 0)))->seen +=
            number_read(PQgetvalue(result, i, 1));
    PQclear(result);
    PQfinish(conn);
}

/* NULL: as it must be. */
static const char *witness_wrong(struct witness *witness, uint32_t number)
{
    const struct fate *fate = witness_fate(witness, number);
    enum kind kind = event_kind_of(witness, number);

    if (fate->acknowledged && !fate->seen)
        return "is lost";
    if (fate->seen && !fate->acknowledged && !fate->lost)
        return fate->refused ? "was refused and is there" : "never went out and is there";
    if (event_has_identity(kind) && fate->seen > 1)
        return "is doubled";
    if (!event_has_identity(kind) && fate->seen < fate->acknowledged)
        return "is there less often than it was acknowledged";
    if (!event_has_identity(kind) && fate->seen > fate->acknowledged + fate->lost)
        return "is there more often than it can be";
    if ((kind == LABEL || kind == LABEL_BARE) && fate->acknowledged && !fate->merged &&
        witness_fate(witness, event_prediction_of(witness, number))->acknowledged)
        return "does not stand in its prediction";
    return NULL;
}

static void witness_check_fates(struct witness *witness)
{
    for (uint32_t i = 0; i < witness->clients_len; i++) {
        const struct client *client = &witness->clients[i];

        for (uint32_t j = 0; j < client->len; j++) {
            const char *wrong = witness_wrong(witness, client->number + j);
            const struct fate *fate = &client->fates[j];

            ck_assert_msg(!wrong,
                          "event %u of kind %d %s: %u times acknowledged, %u refused, %u lost,"
                          " %u there",
                          client->number + j, (int)event_kind_of(witness, client->number + j),
                          wrong, fate->acknowledged, fate->refused, fate->lost, fate->seen);
        }
    }
}

void witness_check(struct witness *witness, const struct daemon *daemon, const char *dsn)
{
    ck_assert(!witness->running);
    for (uint32_t i = 0; i < witness->clients_len; i++) {
        for (uint32_t j = 0; j < witness->clients[i].len; j++) {
            witness->clients[i].fates[j].seen = 0;
            witness->clients[i].fates[j].merged = false;
        }
    }
    witness_kafka_check(witness, dsn);
    witness_take_rows(witness, daemon);
    witness_take_tables(witness, dsn);
    witness_check_fates(witness);
}
