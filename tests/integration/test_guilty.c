/* One event that Postgres refuses among five hundred good ones of several clients in one batch:
 * exactly that event is rejected. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/harness/daemon.h"
#include "tests/harness/http.h"
#include "tests/harness/load.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *guilty_suite(void);

enum {
    CLIENTS = 5,
    EVENTS = 100, /* of each client */
    MANY = 450,   /* of which a third are guilty */
    STORED = 999, /* number of a prediction that is there before */
    SEED = 40,
    BODY_BYTES_MAX = 1 << 20,
};

#define TRIGGER(table)                                                                             \
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"                        \
    " IF NEW.metrics::text LIKE '%guilty%' THEN"                                                   \
    " RAISE EXCEPTION 'not here' USING ERRCODE = 'data_exception'; END IF; RETURN NEW; END $$;"    \
    "CREATE TRIGGER refuse BEFORE INSERT ON " table " FOR EACH ROW EXECUTE FUNCTION refuse()"
#define CHECK(table) "ALTER TABLE " table " ADD CHECK (metrics::text NOT LIKE '%guilty%')"

/* A guilty event; %1$s is its own UUID, %2$s that of the prediction that is stored. */
#define PREDICTION                                                                                 \
    "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:load:1\",\"predictionUuid\":"       \
    "\"%1$s\",\"startTimestampMs\":1699999999000,\"endTimestampMs\":1699999999001,"                \
    "\"metrics\":{\"id\":\"%1$s\",\"a\":\"guilty\"}}"
#define AGGREGATE                                                                                  \
    "{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"crn:load:1\",\"startTimestampMs\":" \
    "1699999999000,\"endTimestampMs\":1699999999001,"                                              \
    "\"metrics\":{\"id\":\"%1$s\",\"a\":\"guilty\"}}"
#define LABEL_OF(prediction)                                                                       \
    "{\"event\":\"delayed_metrics\",\"predictionUuid\":\"" prediction "\",\"eventId\":\"%1$s\","   \
    "\"metrics\":{\"id\":\"%1$s\",\"a\":\"guilty\"}}"

static const struct {
    const char *name, *sql, *event;
} guilts[] = {
    { "prediction, check", CHECK("prediction"), PREDICTION },
    { "prediction, trigger", TRIGGER("prediction"), PREDICTION },
    { "aggregate, check", CHECK("aggregate_metric"), AGGREGATE },
    { "aggregate, trigger", TRIGGER("aggregate_metric"), AGGREGATE },
    { "label, check", CHECK("delayed_metric"), LABEL_OF("%2$s") },
    { "label, trigger", TRIGGER("delayed_metric"), LABEL_OF("%2$s") },
    { "label that waits, check", CHECK("delayed_metric_waiting"), LABEL_OF("%1$s") },
    { "label that waits, trigger", TRIGGER("delayed_metric_waiting"), LABEL_OF("%1$s") },
};

static int post(const struct daemon *daemon, const struct buf *body)
{
    AUTO(mem_free)
    char *head =
        xasprintf("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
                  "\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                  body->len);
    int fd = http_raw_open(daemon_port(daemon));

    ck_assert_int_eq(http_raw_send_text(fd, head), 0);
    ck_assert_int_eq(http_raw_send(fd, body->data, body->len), 0);
    return fd;
}

static void guilty_write(struct buf *body, const char *event, uint32_t number)
{
    char own[37], stored[37];

    load_uuid(SEED, number, own);
    load_uuid(SEED, STORED, stored);
    for (const char *p = event; *p; p++) {
        if (strncmp(p, "%1$s", 4) == 0 || strncmp(p, "%2$s", 4) == 0) {
            buf_append_text(body, p[1] == '1' ? own : stored);
            p += 3;
        } else {
            buf_append_char(body, *p);
        }
    }
}

/* A hundred events of one client; `guilty` (may be NULL) is one more, in the middle. */
static int post_many(const struct daemon *daemon, uint32_t client, const char *guilty)
{
    AUTO(buf_done) struct buf body;

    buf_init(&body, BODY_BYTES_MAX);
    for (uint32_t i = 0; i < EVENTS; i++) {
        buf_append_char(&body, i ? ',' : '[');
        if (guilty && i == EVENTS / 2) {
            guilty_write(&body, guilty, 1000);
            buf_append_char(&body, ',');
        }
        load_write_prediction(&body, SEED, client * EVENTS + i);
    }
    buf_append_char(&body, ']');
    return post(daemon, &body);
}

/* Reads one answer to its end. */
static json_t *answer_take(int fd, int status)
{
    bool closed;
    AUTO(mem_free) char *text = http_raw_read(fd, 30000, &closed);
    const char *body = strstr(text, "\r\n\r\n");
    json_t *json = body ? json_loads(body + 4, 0, NULL) : NULL;

    ck_assert_msg(closed && strtol(text + strlen("HTTP/1.1 "), NULL, 10) == status && json,
                  "%d, but: %.500s", status, text);
    (void)close(fd);
    return json;
}

static int64_t answer_i64(json_t *answer, const char *name)
{
    return json_integer_value(json_object_get(answer, name));
}

/* Behind a COMMIT that is held everything gathers for one batch. */
static void post_as_one_batch(const struct daemon *daemon, struct proxy *proxy, int fds[CLIENTS],
                              const char *guilty)
{
    AUTO(buf_done) struct buf event;
    json_t *answer;
    int first;

    buf_init(&event, BODY_BYTES_MAX);
    load_write_prediction(&event, SEED, STORED);
    proxy_arm(proxy, PROXY_HOLD, 0);
    first = post(daemon, &event);
    WAIT_UNTIL(20000, proxy_sprung(proxy));
    for (uint32_t i = 0; i < CLIENTS; i++)
        fds[i] = post_many(daemon, i, i == 2 ? guilty : NULL);
    WAIT_UNTIL(20000, daemon_metric(daemon, "plumbline_queue_requests") == CLIENTS);
    proxy_release(proxy);
    answer = answer_take(first, 200);
    ck_assert_int_eq(answer_i64(answer, "accepted"), 1);
    json_decref(answer);
}

START_TEST(only_the_guilty_is_rejected)
{
    const char *environment[] = { "PLUMBLINE_COMMITTERS=1", NULL }; /* the batch is to be one */
    AUTO(service_free)
    struct service *service =
        service_start_proxied(&(struct daemon_options){ .environment = environment });
    const char *dsn = service->dsn;
    AUTO(buf_done) struct buf event;
    int64_t batch = 0;
    int fds[CLIENTS];

    proxy_aim(service->proxy, "plumbline metrics");
    pg_exec(dsn, "%s", guilts[_i].sql);
    post_as_one_batch(service->daemon, service->proxy, fds, guilts[_i].event);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        json_auto_t *answer = answer_take(fds[i], 200);
        json_t *rejected = json_object_get(answer, "rejected");

        ck_assert_int_eq(answer_i64(answer, "received"), i == 2 ? EVENTS + 1 : EVENTS);
        ck_assert_int_eq(answer_i64(answer, "accepted"), EVENTS);
        ck_assert_uint_eq(json_array_size(rejected), i == 2);
        if (i == 2) {
            json_t *note = json_array_get(rejected, 0);

            ck_assert_int_eq(answer_i64(note, "index"), EVENTS / 2);
            ck_assert_str_eq(json_string_value(json_object_get(note, "code")), "refused");
        }
        ck_assert(!batch || answer_i64(answer, "batch") == batch);
        batch = answer_i64(answer, "batch");
    }
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM prediction"), CLIENTS * EVENTS + 1);
    /* alone it is answered as what it is */
    buf_init(&event, BODY_BYTES_MAX);
    guilty_write(&event, guilts[_i].event, 1001);
    json_decref(answer_take(post(service->daemon, &event), 400));
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT sum(rejected) FROM ingest_balance"), 2);
    load_check_books(dsn);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM load_stored"), CLIENTS * EVENTS + 1);
}
END_TEST

/* Every third event of one request is refused: still each is told, and the others are stored. */
START_TEST(many_are_guilty)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(buf_done) struct buf body;
    json_t *receipt;

    service_take(service, "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:d\","
                          "\"predictionUuid\":\"00000000-0000-4000-8000-000000000000\","
                          "\"startTimestampMs\":1700000000000,\"endTimestampMs\":1700000000000,"
                          "\"metrics\":{}}");
    pg_exec(service->dsn, "%s", CHECK("prediction"));
    buf_init(&body, SIZE_MAX);
    for (int i = 1; i <= MANY; i++)
        buf_append_fmt(&body,
                       "%s{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:d\","
                       "\"predictionUuid\":\"00000000-0000-4000-8000-%012d\","
                       "\"startTimestampMs\":1700000000000,\"endTimestampMs\":1700000000000,"
                       "\"metrics\":{\"x\":\"%s\"}}",
                       i > 1 ? "," : "[", i, i % 3 ? "good" : "guilty");
    buf_append_char(&body, ']');
    receipt = service_post(service, 200, "/v1/events", buf_text(&body));
    ck_assert_int_eq(service_number(receipt, "accepted"), MANY - MANY / 3);
    ck_assert_int_eq(service_number(receipt, "rejectedCount"), MANY / 3);
    json_decref(receipt);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM prediction"),
                     1 + MANY - MANY / 3);
}
END_TEST

Suite *guilty_suite(void)
{
    Suite *suite = suite_create("guilty");
    TCase *tc = tcase_create("guilty");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_loop_test(tc, only_the_guilty_is_rejected, 0, LENGTH(guilts));
    tcase_add_test(tc, many_are_guilty);
    suite_add_tcase(suite, tc);
    return suite;
}
