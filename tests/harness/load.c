#include "load.h"

#include <check.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "http.h"
#include "pg.h"
#include "wait.h"

enum {
    CLIENT_BITS = 24, /* a client's events are numbered from client << CLIENT_BITS */
    DEPLOYMENTS = 10,
    DAYS = 20, /* over which the events are spread, in several partitions */
    ERROR_BYTES = 512,
    BODY_BYTES_MAX = 16 << 20,
    ACKNOWLEDGE_MS_MAX = 60000, /* of one request */
    AWAIT_MS_MAX = 60000,
};

#define LOAD_DAY_MS INT64_C(86400000)
#define LOAD_EPOCH_MS INT64_C(1700000000000) /* the events lie before it */

enum load_kind { LOAD_PREDICTION, LOAD_LABEL, LOAD_AGGREGATE, LOAD_ANONYMOUS };

struct sent {
    uint32_t number;
    uint32_t copies_max; /* rows that there may be of it */
};

struct client {
    struct load *load;
    pthread_t thread;
    uint64_t random;
    uint32_t next;   /* number of the next event, or its place in `order` */
    uint32_t *order; /* of shared events */
    struct http *http;
    struct sent *sent;
    size_t sent_len, sent_cap;
};

struct load {
    struct load_options options;
    struct client *clients;
    bool joined;
    _Atomic int ports[LOAD_DAEMONS_MAX];
    _Atomic bool finishing;

    pthread_mutex_t lock;
    struct load_tally tally; /* guarded by lock */
    char error[ERROR_BYTES]; /* guarded by lock: the first thing that a client noted */
};

/* ---- randomness */

static uint64_t load_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t load_hash(uint64_t seed, uint32_t number, uint32_t purpose)
{
    return load_mix(load_mix(seed ^ ((uint64_t)purpose << 56)) ^ number);
}

static uint32_t client_random(struct client *client, uint32_t below)
{
    client->random = load_mix(client->random);
    return (uint32_t)(client->random % below);
}

/* ---- events */

void load_uuid(uint64_t seed, uint32_t number, char text[37])
{
    uint64_t halves[2] = { load_hash(seed, number, 1), load_hash(seed, number, 2) };
    struct uuid uuid;

    memcpy(uuid.bytes, halves, sizeof(uuid.bytes));
    uuid.bytes[6] = (uint8_t)((uuid.bytes[6] & 0x0f) | 0x40); /* version 4 */
    uuid.bytes[8] = (uint8_t)((uuid.bytes[8] & 0x3f) | 0x80);
    uuid_format(&uuid, text);
}

static int64_t event_start_ms(uint64_t seed, uint32_t number)
{
    return LOAD_EPOCH_MS - (int64_t)(load_hash(seed, number, 3) % (DAYS * (uint64_t)LOAD_DAY_MS));
}

static enum load_kind event_kind_of(const struct load *load, uint32_t number)
{
    uint64_t share = load_hash(load->options.seed, number, 4) % 100;

    /* the first has none before it that could be labelled */
    if (share < 60 || load->options.predictions || number % (1U << CLIENT_BITS) == 0)
        return LOAD_PREDICTION;
    if (share < 85)
        return LOAD_LABEL;
    return share < 95 || !load->options.anonymous ? LOAD_AGGREGATE : LOAD_ANONYMOUS;
}

/* The prediction that a label belongs to: the one before it. */
static uint32_t event_prediction_of(const struct load *load, uint32_t number)
{
    while (event_kind_of(load, number) != LOAD_PREDICTION)
        number--;
    return number;
}

static void event_write_span(struct buf *out, uint64_t seed, uint32_t number)
{
    int64_t start_ms = event_start_ms(seed, number);

    buf_append_fmt(out,
                   "\"modelDeploymentCrn\":\"crn:load:%u\",\"startTimestampMs\":%" PRId64
                   ",\"endTimestampMs\":%" PRId64,
                   (unsigned)(load_hash(seed, number, 5) % DEPLOYMENTS), start_ms, start_ms + 17);
}

void load_write_prediction(struct buf *out, uint64_t seed, uint32_t number)
{
    char id[UUID_TEXT_LEN + 1];

    load_uuid(seed, number, id);
    buf_append_fmt(out, "{\"event\":\"track_metrics\",\"predictionUuid\":\"%s\",", id);
    event_write_span(out, seed, number);
    buf_append_fmt(out,
                   ",\"metrics\":{\"id\":\"%s\",\"probability\":0.%06u,\"input_data\":"
                   "{\"tenure\":%u,\"contract\":\"One year\"}}}",
                   id, number % 1000000, number % 72);
}

static void event_write_label(struct buf *out, const struct load *load, uint32_t number)
{
    uint64_t seed = load->options.seed;
    uint32_t prediction = event_prediction_of(load, number);
    char id[UUID_TEXT_LEN + 1], of[UUID_TEXT_LEN + 1];

    load_uuid(seed, number, id);
    load_uuid(seed, prediction, of);
    buf_append_fmt(out, "{\"event\":\"delayed_metrics\",\"predictionUuid\":\"%s\",", of);
    if (load_hash(seed, number, 6) % 2)
        buf_append_fmt(out, "\"startTimestampMs\":%" PRId64 ",", event_start_ms(seed, prediction));
    buf_append_fmt(out, "\"eventId\":\"%s\",\"metrics\":{\"id\":\"%s\",\"final_label\":true}}", id,
                   id);
}

static void event_write(struct buf *out, const struct load *load, uint32_t number)
{
    uint64_t seed = load->options.seed;
    enum load_kind kind = event_kind_of(load, number);
    char id[UUID_TEXT_LEN + 1];

    if (kind == LOAD_PREDICTION) {
        load_write_prediction(out, seed, number);
        return;
    }
    if (kind == LOAD_LABEL) {
        event_write_label(out, load, number);
        return;
    }
    load_uuid(seed, number, id);
    buf_append_text(out, "{\"event\":\"aggregate_metrics\",");
    event_write_span(out, seed, number);
    if (kind == LOAD_AGGREGATE)
        buf_append_fmt(out, ",\"eventId\":\"%s\"", id);
    buf_append_fmt(out, ",\"metrics\":{\"id\":\"%s\",\"accuracy\":0.79}}", id);
}

/* ---- clients */

/* Remembers the first thing that must not be; everybody ends. */
PRINTF_LIKE(2, 3) static void client_note(struct client *client, const char *fmt, ...)
{
    struct load *load = client->load;
    va_list args;

    va_start(args, fmt);
    (void)pthread_mutex_lock(&load->lock);
    if (!load->error[0])
        (void)vsnprintf(load->error, sizeof(load->error), fmt, args);
    (void)pthread_mutex_unlock(&load->lock);
    va_end(args);
    load->finishing = true;
}

static bool load_has_error(struct load *load)
{
    bool has_error;

    (void)pthread_mutex_lock(&load->lock);
    has_error = load->error[0] != '\0';
    (void)pthread_mutex_unlock(&load->lock);
    return has_error;
}

/* What the answer says of the events. */
static bool client_take_receipt(struct client *client, const struct http_answer *answer,
                                uint32_t events, uint32_t lost)
{
    bool is_spooled = answer->status == 202;
    struct load *load = client->load;
    json_t *receipt = json_loadb(answer->body, answer->len, 0, NULL);
    json_int_t accepted =
        json_integer_value(json_object_get(receipt, is_spooled ? "spooled" : "accepted"));
    json_int_t duplicate = json_integer_value(json_object_get(receipt, "duplicate"));
    bool sound = json_integer_value(json_object_get(receipt, "received")) == events &&
                 accepted + duplicate == events &&
                 json_array_size(json_object_get(receipt, "rejected")) == 0;

    json_decref(receipt);
    if (!sound) {
        client_note(client, "%u events were answered with %.300s", events, answer->body);
        return false;
    }
    if (duplicate && !lost && !load->options.shared) {
        client_note(client, "%d events are duplicates, though no answer was lost", (int)duplicate);
        return false;
    }
    (void)pthread_mutex_lock(&load->lock);
    load->tally.acknowledged++;
    load->tally.events += events;
    load->tally.spooled += is_spooled;
    load->tally.events_spooled += is_spooled ? events : 0;
    load->tally.accepted += is_spooled ? 0 : (uint64_t)accepted;
    load->tally.duplicate += (uint64_t)duplicate;
    (void)pthread_mutex_unlock(&load->lock);
    return true;
}

static void client_count(struct client *client, bool refused)
{
    struct load *load = client->load;

    (void)pthread_mutex_lock(&load->lock);
    if (refused)
        load->tally.refused++;
    else
        load->tally.lost++;
    (void)pthread_mutex_unlock(&load->lock);
}

static struct http_answer *client_post(struct client *client, const struct buf *body)
{
    static const char *const headers[] = { "Content-Type: application/json", NULL };
    struct load *load = client->load;
    uint32_t daemons = load->options.daemons[1] ? 2 : 1;
    AUTO(mem_free)
    char *url = xasprintf("http://127.0.0.1:%d/v1/events",
                          load->ports[daemons > 1 ? client_random(client, daemons) : 0]);

    return http_send(client->http, &(struct http_request){ .method = "POST",
                                                           .url = url,
                                                           .body = body->data,
                                                           .len = body->len,
                                                           .headers = headers });
}

/* Sends until the answer is 200 or 202. `*lost`: attempts without an answer. */
static bool client_deliver(struct client *client, const struct buf *body, uint32_t events,
                           uint32_t *lost)
{
    int64_t end_ms = clock_mono_ms() + wait_scaled_ms(ACKNOWLEDGE_MS_MAX);

    *lost = 0;
    while (clock_mono_ms() < end_ms && !load_has_error(client->load)) {
        AUTO(http_answer_free) struct http_answer *answer = client_post(client, body);
        AUTO(mem_free) char *retry_after = NULL;

        if (answer->status == 200 || answer->status == 202)
            return client_take_receipt(client, answer, events, *lost);
        retry_after = http_header(answer, "Retry-After");
        if (answer->status != 0 && (answer->status != 503 || !retry_after)) {
            client_note(client, "status %ld%s: %.300s", answer->status,
                        retry_after ? "" : " without Retry-After", answer->body);
            return false;
        }
        *lost += answer->status == 0;
        client_count(client, answer->status == 503);
        wait_nap();
    }
    client_note(client, "a request was not acknowledged in time");
    return false;
}

static void client_remember(struct client *client, uint32_t number, uint32_t copies_max)
{
    if (client->sent_len == client->sent_cap) {
        client->sent_cap = client->sent_cap ? 2 * client->sent_cap : 1024;
        client->sent = xreallocarray(client->sent, client->sent_cap, sizeof(*client->sent));
    }
    client->sent[client->sent_len++] = (struct sent){ number, copies_max };
}

/* One request of `events` events from client->next on. */
static bool client_send(struct client *client, uint32_t events)
{
    struct load *load = client->load;
    AUTO(buf_done) struct buf body;
    uint32_t lost;

    buf_init(&body, BODY_BYTES_MAX);
    buf_append_char(&body, '[');
    for (uint32_t i = 0; i < events; i++) {
        if (i)
            buf_append_char(&body, ',');
        event_write(&body, load,
                    client->order ? client->order[client->next + i] : client->next + i);
    }
    buf_append_char(&body, ']');
    if (!client_deliver(client, &body, events, &lost))
        return false;
    for (uint32_t i = 0; i < events && !client->order; i++) {
        uint32_t number = client->next + i;

        client_remember(client, number,
                        event_kind_of(load, number) == LOAD_ANONYMOUS ? 1 + lost : 1);
    }
    client->next += events;
    return true;
}

static void client_shuffle(struct client *client, uint32_t len)
{
    for (uint32_t i = len; i > 1; i--) {
        uint32_t j = client_random(client, i);
        uint32_t other = client->order[j];

        client->order[j] = client->order[i - 1];
        client->order[i - 1] = other;
    }
}

static void client_run_shared(struct client *client)
{
    const struct load_options *options = &client->load->options;

    client->order = xcalloc(options->shared, sizeof(*client->order));
    for (uint32_t i = 0; i < options->shared; i++)
        client->order[i] = i;
    for (uint32_t round = 0; round < options->rounds; round++) {
        client_shuffle(client, options->shared);
        client->next = 0;
        while (client->next < options->shared) {
            uint32_t events = 1 + client_random(client, options->events_max);
            uint32_t left = options->shared - client->next;

            if (!client_send(client, events < left ? events : left))
                return;
        }
    }
}

static void *client_run(void *ctx)
{
    struct client *client = ctx;
    struct load *load = client->load;

    client->http = http_new();
    if (load->options.shared)
        client_run_shared(client);
    while (!load->options.shared && !load->finishing) {
        if (!client_send(client, 1 + client_random(client, load->options.events_max)))
            break;
    }
    http_free(client->http);
    return NULL;
}

/* ---- the control */

static void load_check_error(struct load *load)
{
    (void)pthread_mutex_lock(&load->lock);
    ck_assert_msg(!load->error[0], "seed %" PRIu64 ": %s", load->options.seed, load->error);
    (void)pthread_mutex_unlock(&load->lock);
}

void load_aim(struct load *load, const struct daemon *daemon)
{
    for (size_t i = 0; i < LOAD_DAEMONS_MAX; i++) {
        if (load->options.daemons[i] == daemon)
            load->ports[i] = daemon_port(daemon);
    }
}

struct load *load_start(const struct load_options *options)
{
    struct load *load = xcalloc(1, sizeof(*load));

    (void)curl_global_init(CURL_GLOBAL_DEFAULT); /* before the threads, who would do it at once */
    load->options = *options;
    (void)pthread_mutex_init(&load->lock, NULL);
    for (size_t i = 0; i < LOAD_DAEMONS_MAX && options->daemons[i]; i++)
        load_aim(load, options->daemons[i]);
    load->clients = xcalloc(options->clients, sizeof(*load->clients));
    for (uint32_t i = 0; i < options->clients; i++) {
        struct client *client = &load->clients[i];

        client->load = load;
        client->random = load_hash(options->seed, i, 7);
        client->next = i << CLIENT_BITS;
        ck_assert_int_eq(pthread_create(&client->thread, NULL, client_run, client), 0);
    }
    return load;
}

static void load_join(struct load *load)
{
    load->finishing = true;
    for (uint32_t i = 0; i < load->options.clients && !load->joined; i++)
        (void)pthread_join(load->clients[i].thread, NULL);
    load->joined = true;
}

void load_free(struct load *load)
{
    if (!load)
        return;
    load_join(load);
    for (uint32_t i = 0; i < load->options.clients; i++) {
        free(load->clients[i].order);
        free(load->clients[i].sent);
    }
    free(load->clients);
    (void)pthread_mutex_destroy(&load->lock);
    free(load);
}

struct load_tally load_tally(struct load *load)
{
    struct load_tally tally;

    load_check_error(load);
    (void)pthread_mutex_lock(&load->lock);
    tally = load->tally;
    (void)pthread_mutex_unlock(&load->lock);
    return tally;
}

void load_await(struct load *load, uint64_t requests)
{
    uint64_t want = load_tally(load).acknowledged + requests;

    WAIT_UNTIL(AWAIT_MS_MAX, load_tally(load).acknowledged >= want);
}

void load_await_spooled(struct load *load, uint64_t requests)
{
    uint64_t want = load_tally(load).spooled + requests;

    WAIT_UNTIL(AWAIT_MS_MAX, load_tally(load).spooled >= want);
}

void load_await_refused(struct load *load, uint64_t requests)
{
    uint64_t want = load_tally(load).refused + requests;

    WAIT_UNTIL(AWAIT_MS_MAX, load_tally(load).refused >= want);
}

void load_finish(struct load *load)
{
    load_join(load);
    load_check_error(load);
}

/* ---- what is stored */

static const char stored_sql[] =
    "CREATE OR REPLACE VIEW load_stored AS"
    " SELECT 'track_metrics' AS kind, batch_id, uuid AS id, uuid AS prediction, metrics"
    "  FROM prediction"
    " UNION ALL SELECT 'delayed_metrics', batch_id, event_id, uuid, metrics FROM delayed_metric"
    " UNION ALL SELECT 'delayed_metrics', batch_id, event_id, uuid, metrics"
    "  FROM delayed_metric_waiting"
    " UNION ALL SELECT 'aggregate_metrics', batch_id, (metrics->>'id')::uuid, NULL, metrics"
    "  FROM aggregate_metric;";

/* Rows that differ from what was posted, and how. */
#define DIFFERENCES                                                                                \
    " FROM load_event AS e FULL JOIN"                                                              \
    "  (SELECT kind, id, count(*) AS copies,"                                                      \
    "          bool_and(metrics->>'id' = id::text) AS is_same, min(prediction::text) AS "          \
    "prediction"                                                                                   \
    "   FROM load_stored GROUP BY kind, id) AS s USING (kind, id)"                                 \
    " WHERE e.copies_max IS NULL OR s.copies IS NULL OR s.copies > e.copies_max OR NOT s.is_same"  \
    " OR e.prediction::text IS DISTINCT FROM s.prediction"

/* The label's prediction, or the prediction itself; an aggregate has none. */
static void sent_write(struct buf *out, const struct load *load, const struct sent *sent)
{
    static const char *const kinds[] = { "track_metrics", "delayed_metrics", "aggregate_metrics",
                                         "aggregate_metrics" };
    uint64_t seed = load->options.seed;
    enum load_kind kind = event_kind_of(load, sent->number);
    char id[UUID_TEXT_LEN + 1], prediction[UUID_TEXT_LEN + 1] = "\\N";

    load_uuid(seed, sent->number, id);
    if (kind == LOAD_PREDICTION || kind == LOAD_LABEL)
        load_uuid(seed, event_prediction_of(load, sent->number), prediction);
    buf_append_fmt(out, "%s\t%s\t%s\t%u\n", kinds[kind], id, prediction, sent->copies_max);
}

static void load_copy_sent(const struct load *load, PGconn *conn)
{
    AUTO(buf_done) struct buf rows;
    PGresult *result;

    buf_init(&rows, SIZE_MAX);
    for (uint32_t i = 0; i < load->options.shared; i++)
        sent_write(&rows, load, &(struct sent){ i, 1 });
    for (uint32_t i = 0; i < load->options.clients; i++) {
        for (size_t j = 0; j < load->clients[i].sent_len; j++)
            sent_write(&rows, load, &load->clients[i].sent[j]);
    }
    result = PQexec(conn, "COPY load_event FROM STDIN");
    ck_assert_msg(PQresultStatus(result) == PGRES_COPY_IN, "%s", PQerrorMessage(conn));
    PQclear(result);
    ck_assert_int_eq(PQputCopyData(conn, rows.data, (int)rows.len), 1);
    ck_assert_int_eq(PQputCopyEnd(conn, NULL), 1);
    result = PQgetResult(conn);
    ck_assert_msg(PQresultStatus(result) == PGRES_COMMAND_OK, "%s", PQerrorMessage(conn));
    PQclear(result);
}

/* ---- the books */

/* Statements that return what is wrong, or null. */
static const char *const book_checks[] = {
    "SELECT string_agg(b::text, '; ') FROM ingest_balance AS b"
    " WHERE received <> accepted + duplicate + rejected",
    "SELECT string_agg(b.batch_id::text, ', ') FROM ingest_batch AS b,"
    " generate_series(1, 5) AS place"
    " WHERE received[place] <> accepted[place] + duplicate[place] + rejected[place]",
    /* each batch has as many rows of a kind as it says that it has accepted */
    "SELECT string_agg(t::text, '; ') FROM ("
    " SELECT batch_id, kind, b.accepted, s.rows"
    " FROM (SELECT batch_id, event_kind(place) AS kind, accepted[place] AS accepted"
    "       FROM ingest_batch, generate_series(1, 3) AS place) AS b"
    " FULL JOIN (SELECT batch_id, kind, count(*) AS rows FROM load_stored GROUP BY 1, 2) AS s"
    " USING (batch_id, kind) WHERE coalesce(b.accepted, -1) <> coalesce(s.rows, 0) LIMIT 5) AS t",
    "SELECT string_agg(b::text, '; ') FROM ingest_balance AS b"
    " JOIN (SELECT kind, count(*) AS rows FROM load_stored GROUP BY kind) AS s USING (kind)"
    " WHERE b.accepted <> s.rows",
};

void load_check_books(const char *dsn)
{
    pg_exec(dsn, "%s", stored_sql);
    for (size_t i = 0; i < LENGTH(book_checks); i++) {
        AUTO(mem_free) char *wrong = pg_query_text(dsn, "%s", book_checks[i]);

        ck_assert_msg(!wrong, "check %zu of the books: %s", i, wrong);
    }
}

/* What was answered is in the books once; beyond it there is only what the lost answers would have
 * told, and of what was spooled nobody was told what was a duplicate. */
static void load_check_told(struct load *load, const char *dsn)
{
    struct load_tally tally = load_tally(load);
    int64_t received = pg_query_i64(dsn, "SELECT sum(received) FROM ingest_balance");
    int64_t accepted = pg_query_i64(dsn, "SELECT sum(accepted) FROM ingest_balance");

    ck_assert_int_ge(received, (int64_t)tally.events);
    ck_assert_int_ge(accepted, (int64_t)tally.accepted);
    if (!tally.lost) {
        ck_assert_int_eq(received, (int64_t)tally.events);
        ck_assert_int_le(accepted, (int64_t)(tally.accepted + tally.events_spooled));
        if (!load->options.shared)
            ck_assert_int_eq(accepted, (int64_t)(tally.accepted + tally.events_spooled));
    }
}

void load_check(struct load *load, const char *dsn)
{
    AUTO(mem_free) char *examples = NULL;
    PGconn *conn;

    ck_assert(load->joined);
    load_check_error(load);
    pg_exec(dsn, "%s", stored_sql);
    pg_exec(dsn, "CREATE UNLOGGED TABLE load_event"
                 " (kind text, id uuid, prediction uuid, copies_max int)");
    conn = pg_connect(dsn);
    load_copy_sent(load, conn);
    PQfinish(conn);
    ck_assert_int_gt(pg_query_i64(dsn, "SELECT count(*) FROM load_event"), 0);
    examples =
        pg_query_text(dsn, "SELECT string_agg(t::text, '; ') FROM (SELECT kind, id, s.copies,"
                           " e.copies_max, s.is_same" DIFFERENCES " LIMIT 5) AS t");
    ck_assert_msg(!examples, "seed %" PRIu64 ": of %" PRIu64 " events %" PRId64 " differ: %s",
                  load->options.seed, load_tally(load).events,
                  pg_query_i64(dsn, "SELECT count(*)" DIFFERENCES), examples);
    /* A label whose prediction is stored does not wait for long. */
    WAIT_UNTIL(20000,
               pg_query_i64(dsn, "SELECT count(*) FROM delayed_metric_waiting AS w WHERE "
                                 "EXISTS (SELECT FROM prediction WHERE uuid = w.uuid)") == 0);
    load_check_books(dsn);
    load_check_told(load, dsn);
}
