/* Labels find their predictions: in any order, at any age, across daemons, and once. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tests/harness/dice.h"
#include "tests/harness/pg.h"
#include "tests/harness/runner.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *labels_suite(void);

#define DAY_MS (INT64_C(24) * 3600 * 1000)

/* ---- events ---- */

enum { UUID_BYTES = 40 };

/* A UUID by two numbers: the case, and what it is in it. */
static const char *uuid_of(char text[UUID_BYTES], unsigned of_case, unsigned number)
{
    (void)snprintf(text, UUID_BYTES, "%08x-0000-4000-8000-%012x", of_case, number);
    return text;
}

static char *prediction(const char *uuid, const char *deployment, int64_t start_ms,
                        const char *metrics)
{
    return xasprintf("{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"%s\","
                     "\"predictionUuid\":\"%s\",\"startTimestampMs\":%lld,"
                     "\"endTimestampMs\":%lld,\"metrics\":%s}",
                     deployment, uuid, (long long)start_ms, (long long)start_ms + 5, metrics);
}

/* `more` is "" or members with a comma behind them. */
static char *label(const char *uuid, const char *more, const char *metrics)
{
    return xasprintf("{\"event\":\"delayed_metrics\",%s\"predictionUuid\":\"%s\",\"metrics\":%s}",
                     more, uuid, metrics);
}

/* A batch looks for its labels' predictions in the newest eight partitions, and where a hint
 * points: with more of them than that, what is old is left to the background. */
enum { WEEKS = 12 };

static void weeks_fill(struct service *service)
{
    int64_t now_ms = clock_now_ms();

    for (unsigned week = 0; week < WEEKS; week++) {
        char uuid[UUID_BYTES];
        AUTO(mem_free)
        char *event = prediction(uuid_of(uuid, 0xffff, week), "crn:week",
                                 now_ms - (int64_t)week * 7 * DAY_MS, "{}");

        service_take(service, event);
    }
}

/* ---- what came of them ---- */

/* Waits until every label that has a prediction has found it. */
static void labels_settle(struct service *service)
{
    WAIT_UNTIL(20000, pg_query_i64(service->dsn, "SELECT count(*) FROM delayed_metric_waiting AS w"
                                                 " JOIN prediction AS p ON p.uuid = w.uuid") == 0);
}

static int64_t labels_stored(struct service *service, const char *uuid)
{
    return pg_query_i64(service->dsn, "SELECT count(*) FROM delayed_metric WHERE uuid = '%s'",
                        uuid);
}

/* Byte for byte: the metrics of the only row with this UUID and deployment. */
static void check_metrics(struct service *service, const char *uuid, const char *deployment,
                          const char *want, const char *what)
{
    AUTO(mem_free)
    char *path =
        xasprintf("/v1/metrics?prediction_uuid=%s&model_deployment_crn=%s", uuid, deployment);
    AUTO(mem_free) char *have = service_get_text(service, 200, path, "application/x-ndjson");
    AUTO(mem_free) char *end = xasprintf("\"predictionUuid\":\"%s\",\"metrics\":%s}\n", uuid, want);
    const char *tail = strstr(have, "\"predictionUuid\"");

    ck_assert_msg(tail != NULL && strcmp(tail, end) == 0, "%s: have %swant %s", what, have, end);
}

/* ---- one prediction, its labels in every order ---- */

enum kind { NOTHING, PREDICTION, OTHER_PREDICTION, LABEL };
enum hint { NO_HINT, RIGHT_HINT, WRONG_HINT };

struct step {
    enum kind kind;
    const char *metrics;
    int event_id; /* 0: none */
    enum hint hint;
    bool joins; /* is in one request with the step before */
};

enum { STEPS_MAX = 6 };

#define ONE(text, ...)                                                                             \
    {                                                                                              \
        .kind = PREDICTION, .metrics = text, ##__VA_ARGS__                                         \
    }
#define OTHER(text, ...)                                                                           \
    {                                                                                              \
        .kind = OTHER_PREDICTION, .metrics = text, ##__VA_ARGS__                                   \
    }
#define LATE(text, ...)                                                                            \
    {                                                                                              \
        .kind = LABEL, .metrics = text, ##__VA_ARGS__                                              \
    }

static const struct {
    const char *name;
    struct step steps[STEPS_MAX];
    const char *want; /* of the prediction; the other one stays {"o":1} */
    int duplicate, rejected;
} label_cases[] = {
    { .name = "after",
      .steps = { ONE("{\"x\":1}"), LATE("{\"y\":1.0}") },
      .want = "{\"x\":1,\"y\":1.0}" },
    { .name = "before",
      .steps = { LATE("{\"y\":1e22}"), ONE("{\"x\":1}") },
      .want = "{\"x\":1,\"y\":1e22}" },
    { .name = "with the right hint",
      .steps = { ONE("{\"x\":1}"), LATE("{\"y\":1}", .hint = RIGHT_HINT) },
      .want = "{\"x\":1,\"y\":1}" },
    { .name = "with a wrong hint",
      .steps = { ONE("{\"x\":1}"), LATE("{\"y\":1}", .hint = WRONG_HINT) },
      .want = "{\"x\":1,\"y\":1}" },
    { .name = "before, with a wrong hint",
      .steps = { LATE("{\"y\":1}", .hint = WRONG_HINT), ONE("{\"x\":1}") },
      .want = "{\"x\":1,\"y\":1}" },
    { .name = "corrected",
      .steps = { ONE("{\"x\":1}"), LATE("{\"y\":1}"), LATE("{\"y\":2}"), LATE("{\"y\":3}") },
      .want = "{\"x\":1,\"y\":3}" },
    { .name = "corrected before",
      .steps = { LATE("{\"y\":1}"), LATE("{\"y\":2}"), ONE("{\"x\":1}") },
      .want = "{\"x\":1,\"y\":2}" },
    { .name = "corrected on both sides",
      .steps = { LATE("{\"y\":1,\"z\":1}"), ONE("{\"x\":1}"), LATE("{\"y\":2}") },
      .want = "{\"x\":1,\"y\":2,\"z\":1}" },
    { .name = "corrected with and without a hint",
      .steps = { ONE("{\"x\":1}"), LATE("{\"y\":1}"), LATE("{\"y\":2}", .hint = RIGHT_HINT),
                 LATE("{\"y\":3}") },
      .want = "{\"x\":1,\"y\":3}" },
    { .name = "replaces the prediction's own, in its place",
      .steps = { ONE("{\"x\":1,\"w\":{\"a\":1,\"b\":2}}"), LATE("{\"w\":{\"a\":3},\"x\":null}") },
      .want = "{\"x\":null,\"w\":{\"a\":3}}" },
    { .name = "in one request",
      .steps = { ONE("{\"x\":1}"), LATE("{\"y\":1}", .joins = true) },
      .want = "{\"x\":1,\"y\":1}" },
    { .name = "in one request, first",
      .steps = { LATE("{\"y\":1}"), ONE("{\"x\":1}", .joins = true) },
      .want = "{\"x\":1,\"y\":1}" },
    { .name = "several in one request",
      .steps = { LATE("{\"y\":1}"), ONE("{\"x\":1}", .joins = true),
                 LATE("{\"y\":2}", .joins = true), LATE("{\"z\":1}", .joins = true),
                 LATE("{\"y\":3}", .joins = true) },
      .want = "{\"x\":1,\"y\":3,\"z\":1}" },
    { .name = "one waits, the next is beside the prediction",
      .steps = { LATE("{\"y\":1}"), ONE("{\"x\":1}"), LATE("{\"y\":2}", .joins = true) },
      .want = "{\"x\":1,\"y\":2}" },
    { .name = "resent",
      .steps = { ONE("{\"x\":1}"), LATE("{\"y\":1}", .event_id = 1, .hint = RIGHT_HINT),
                 LATE("{\"y\":2}", .event_id = 2, .hint = RIGHT_HINT),
                 LATE("{\"y\":1}", .event_id = 1, .hint = RIGHT_HINT) },
      .want = "{\"x\":1,\"y\":2}",
      .duplicate = 1 },
    { .name = "resent before",
      .steps = { LATE("{\"y\":1}", .event_id = 1), LATE("{\"y\":1}", .event_id = 1),
                 ONE("{\"x\":1}") },
      .want = "{\"x\":1,\"y\":1}",
      .duplicate = 1 },
    { .name = "resent in one request",
      .steps = { LATE("{\"y\":1}", .event_id = 1), LATE("{\"y\":1}", .event_id = 1, .joins = true),
                 ONE("{\"x\":1}", .joins = true), LATE("{\"y\":1}", .event_id = 1, .joins = true) },
      .want = "{\"x\":1,\"y\":1}",
      .duplicate = 2 },
    { .name = "resent with its keys in another order",
      .steps = { LATE("{\"a\":1,\"b\":2}", .event_id = 1),
                 LATE("{ \"b\" : 2, \"a\" : 1 }", .event_id = 1), ONE("{\"x\":1}") },
      .want = "{\"x\":1,\"a\":1,\"b\":2}",
      .duplicate = 1 },
    { .name = "resent with other content",
      .steps = { ONE("{\"x\":1}"), LATE("{\"y\":1}", .event_id = 1, .hint = RIGHT_HINT),
                 LATE("{\"y\":2}", .event_id = 1, .hint = RIGHT_HINT) },
      .want = "{\"x\":1,\"y\":1}",
      .rejected = 1 },
    { .name = "resent with other content before",
      .steps = { LATE("{\"y\":1}", .event_id = 1), LATE("{\"y\":2}", .event_id = 1),
                 ONE("{\"x\":1}") },
      .want = "{\"x\":1,\"y\":1}",
      .rejected = 1 },
    { .name = "to the first of two predictions",
      .steps = { ONE("{\"x\":1}"), OTHER("{\"o\":1}"), LATE("{\"y\":1}") },
      .want = "{\"x\":1,\"y\":1}" },
    { .name = "before two predictions",
      .steps = { LATE("{\"y\":1}"), ONE("{\"x\":1}"), OTHER("{\"o\":1}") },
      .want = "{\"x\":1,\"y\":1}" },
    { .name = "beside two predictions",
      .steps = { LATE("{\"y\":1}"), ONE("{\"x\":1}", .joins = true),
                 OTHER("{\"o\":1}", .joins = true) },
      .want = "{\"x\":1,\"y\":1}" },
};

static const struct {
    const char *name;
    int64_t days; /* ago; 0: the earliest time that is taken */
} label_ages[] = { { "of today", 1 }, { "of the year 2000", 0 }, { "months ago", 150 } };

static int64_t age_start_ms(int age)
{
    if (!label_ages[age].days)
        return INT64_C(946684800000);
    return clock_now_ms() - label_ages[age].days * DAY_MS;
}

static char *step_event(const struct step *step, unsigned of_case, int64_t start_ms)
{
    char uuid[UUID_BYTES], id[UUID_BYTES];
    AUTO(mem_free) char *event_id = NULL;
    AUTO(mem_free) char *more = NULL;

    (void)uuid_of(uuid, of_case, 0);
    if (step->kind != LABEL)
        return prediction(uuid, step->kind == PREDICTION ? "crn:one" : "crn:other", start_ms,
                          step->metrics);
    event_id = step->event_id ? xasprintf("\"eventId\":\"%s\",",
                                          uuid_of(id, of_case, (unsigned)step->event_id))
                              : xstrdup("");
    if (step->hint == WRONG_HINT)
        start_ms -= start_ms > INT64_C(1000000000000) ? 30 * DAY_MS : -30 * DAY_MS;
    more = step->hint ? xasprintf("%s\"startTimestampMs\":%lld,", event_id, (long long)start_ms)
                      : xstrdup(event_id);
    return label(uuid, more, step->metrics);
}

struct counts {
    int64_t accepted, duplicate, rejected;
};

static void counts_add(struct counts *counts, const json_t *receipt)
{
    counts->accepted += service_number(receipt, "accepted");
    counts->duplicate += service_number(receipt, "duplicate");
    counts->rejected += (int64_t)json_array_size(json_object_get(receipt, "rejected"));
}

/* Sends the steps of a case, those that join in one request. */
static struct counts steps_send(struct service *service, int of_case, int64_t start_ms)
{
    const struct step *steps = label_cases[of_case].steps;
    struct counts counts = { 0 };

    for (int at = 0, next; at < STEPS_MAX && steps[at].kind; at = next) {
        AUTO(buf_done) struct buf body;
        json_auto_t *receipt = NULL;

        buf_init(&body, SIZE_MAX);
        for (next = at; next < STEPS_MAX && steps[next].kind && (next == at || steps[next].joins);
             next++) {
            AUTO(mem_free) char *event = step_event(&steps[next], (unsigned)of_case, start_ms);

            buf_append_fmt(&body, "%s%s", next == at ? "[" : ",", event);
        }
        buf_append_char(&body, ']');
        receipt = service_post(service, 200, "/v1/events", buf_text(&body));
        counts_add(&counts, receipt);
    }
    return counts;
}

static bool case_has_other(int of_case)
{
    for (int i = 0; i < STEPS_MAX; i++) {
        if (label_cases[of_case].steps[i].kind == OTHER_PREDICTION)
            return true;
    }
    return false;
}

START_TEST(labels_of_one)
{
    AUTO(service_free) struct service *service = service_start();
    int64_t start_ms = age_start_ms(_i);
    struct counts sum = { .accepted = WEEKS };
    char uuid[UUID_BYTES];

    weeks_fill(service);
    for (int i = 0; i < (int)LENGTH(label_cases); i++) {
        AUTO(mem_free)
        char *what = xasprintf("%s, a prediction %s", label_cases[i].name, label_ages[_i].name);
        struct counts counts = steps_send(service, i, start_ms);

        ck_assert_msg(counts.duplicate == label_cases[i].duplicate &&
                          counts.rejected == label_cases[i].rejected,
                      "%s: %d duplicate, %d rejected", what, (int)counts.duplicate,
                      (int)counts.rejected);
        sum.accepted += counts.accepted;
        sum.duplicate += counts.duplicate;
        sum.rejected += counts.rejected;
        /* in the very next read; which of two predictions is the first may take a moment longer */
        if (!case_has_other(i))
            check_metrics(service, uuid_of(uuid, (unsigned)i, 0), "crn:one", label_cases[i].want,
                          what);
    }
    labels_settle(service);
    for (int i = 0; i < (int)LENGTH(label_cases); i++) {
        (void)uuid_of(uuid, (unsigned)i, 0);
        check_metrics(service, uuid, "crn:one", label_cases[i].want, label_cases[i].name);
        if (case_has_other(i))
            check_metrics(service, uuid, "crn:other", "{\"o\":1}", label_cases[i].name);
    }
    service_check_balance(service, sum.accepted, sum.duplicate, sum.rejected);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM delayed_metric_waiting"), 0);
}
END_TEST

/* ---- labels without a prediction ---- */

START_TEST(unknown_uuid_waits)
{
    AUTO(service_free) struct service *service = service_start();
    char uuid[UUID_BYTES];
    AUTO(mem_free) char *early = label(uuid_of(uuid, 1, 1), "", "{\"y\":1}");
    AUTO(mem_free) char *late = label(uuid, "", "{\"y\":2}");
    AUTO(mem_free)
    char *late_prediction = prediction(uuid, "crn:one", clock_now_ms() - DAY_MS, "{\"x\":1}");
    json_auto_t *none = NULL;

    service_take(service, early);
    none = service_rows(service, "");
    ck_assert_uint_eq(json_array_size(none), 0);
    WAIT_UNTIL(10000, service_sample(service, "plumbline_labels_waiting") == 1);
    /* the background has looked for it in vain: it is left to the prediction that may come */
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT count(*) FROM delayed_metric_waiting"
                                                 " WHERE searched") == 1);
    ck_assert_int_eq(daemon_stop(service->daemon), 0);
    daemon_resume(service->daemon);
    service_take(service, late);
    service_take(service, late_prediction);
    check_metrics(service, uuid, "crn:one", "{\"x\":1,\"y\":2}", "after a restart");
    labels_settle(service);
    check_metrics(service, uuid, "crn:one", "{\"x\":1,\"y\":2}", "settled");
    ck_assert_int_eq(labels_stored(service, uuid), 2);
    WAIT_UNTIL(10000, service_sample(service, "plumbline_labels_waiting") == 0);
}
END_TEST

static void check_refused(struct service *service, const char *event, const char *code,
                          const char *message)
{
    json_auto_t *answer = service_post(service, 400, "/v1/events", event);

    service_check_error(answer, code, "predictionUuid", message, code);
}

START_TEST(labels_have_limits)
{
    static const char *const environment[] = { "PLUMBLINE_LABELS_PER_PREDICTION_MAX=3",
                                               "PLUMBLINE_LABELS_WAITING_MAX=4", NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = environment });
    char uuid[UUID_BYTES];
    AUTO(mem_free)
    char *first = prediction(uuid_of(uuid, 1, 0), "crn:one", clock_now_ms() - DAY_MS, "{}");
    AUTO(mem_free) char *one = label(uuid, "", "{\"y\":1}");
    AUTO(mem_free) char *waiting = NULL;

    service_take(service, first);
    for (int i = 0; i < 3; i++)
        service_take(service, one);
    check_refused(
        service, one, "too_many_labels",
        "the limit labels_per_prediction_max is reached: this prediction takes no further "
        "delayed metrics");
    for (unsigned i = 0; i < 4; i++) {
        AUTO(mem_free) char *stray = label(uuid_of(uuid, 2, i), "", "{\"y\":1}");

        service_take(service, stray);
    }
    waiting = label(uuid_of(uuid, 2, 5), "", "{\"y\":1}");
    check_refused(service, waiting, "too_many_waiting_labels",
                  "no prediction with this predictionUuid is stored, and the limit "
                  "labels_waiting_max of delayed metrics that wait for theirs is reached");
    service_check_balance(service, 1 + 3 + 4, 0, 2);
}
END_TEST

/* ---- two daemons on one database ---- */

static struct service *service_beside(const struct service *service)
{
    return service_start_with(&(struct daemon_options){ .dsn = service->dsn });
}

START_TEST(through_two_daemons)
{
    AUTO(service_free) struct service *a = service_start();
    AUTO(service_free) struct service *b = service_beside(a);
    char uuid[UUID_BYTES];

    weeks_fill(a);
    for (int i = 0; i < (int)LENGTH(label_ages); i++) {
        for (unsigned label_first = 0; label_first < 2; label_first++) {
            AUTO(mem_free) char *the_prediction = NULL;
            AUTO(mem_free) char *the_label = NULL;

            (void)uuid_of(uuid, (unsigned)i, label_first);
            the_prediction = prediction(uuid, "crn:one", age_start_ms(i), "{\"x\":1}");
            the_label = label(uuid, "", "{\"y\":1}");
            service_take(a, label_first ? the_label : the_prediction);
            service_take(b, label_first ? the_prediction : the_label);
            check_metrics(a, uuid, "crn:one", "{\"x\":1,\"y\":1}", label_ages[i].name);
            check_metrics(b, uuid, "crn:one", "{\"x\":1,\"y\":1}", label_ages[i].name);
        }
    }
    labels_settle(a);
    ck_assert_int_eq(pg_query_i64(a->dsn, "SELECT count(*) FROM delayed_metric"),
                     2 * LENGTH(label_ages));
    service_check_balance(a, WEEKS + 4 * LENGTH(label_ages), 0, 0);
    service_check_balance(b, WEEKS + 4 * LENGTH(label_ages), 0, 0);
}
END_TEST

/* A thread that posts prepared requests to one daemon, each at the same moment as the other threads
 * post theirs. */
struct poster {
    char *url;
    char **bodies;
    uint32_t len;
    pthread_barrier_t *start; /* before each request; NULL: each as soon as it can */
    uint32_t failed;
    char fault[512];
    struct counts counts;
    pthread_t thread;
};

static void poster_send(struct poster *poster, struct http *http, const char *body)
{
    AUTO(http_answer_free) struct http_answer *answer = http_post(http, poster->url, body);
    json_auto_t *receipt = json_loads(answer->body, 0, NULL);

    if (answer->status != 200 || !receipt) {
        poster->failed++;
        (void)snprintf(poster->fault, sizeof(poster->fault), "%ld%s %.100s", answer->status,
                       answer->error, answer->body);
        return;
    }
    poster->counts.accepted += json_integer_value(json_object_get(receipt, "accepted"));
    poster->counts.duplicate += json_integer_value(json_object_get(receipt, "duplicate"));
    poster->counts.rejected += (int64_t)json_array_size(json_object_get(receipt, "rejected"));
}

static void *poster_run(void *arg)
{
    struct poster *poster = arg;
    AUTO(http_free) struct http *http = http_new();

    for (uint32_t i = 0; i < poster->len; i++) {
        if (poster->start)
            (void)pthread_barrier_wait(poster->start);
        poster_send(poster, http, poster->bodies[i]);
    }
    return NULL;
}

static void posters_run(struct poster *posters, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ck_assert_int_eq(pthread_create(&posters[i].thread, NULL, poster_run, &posters[i]), 0);
    for (size_t i = 0; i < len; i++)
        (void)pthread_join(posters[i].thread, NULL);
    for (size_t i = 0; i < len; i++)
        ck_assert_msg(posters[i].failed == 0, "poster %zu: %u failed, the last with %s", i,
                      posters[i].failed, posters[i].fault);
}

static void poster_done(struct poster *poster)
{
    for (uint32_t i = 0; i < poster->len; i++)
        free(poster->bodies[i]);
    free(poster->bodies);
    free(poster->url);
}

static void check_pairs(struct service *service, uint32_t pairs)
{
    json_auto_t *rows = service_rows(service, "?model_deployment_crn=crn:one");
    json_auto_t *want = service_json("{\"x\":1,\"y\":1}");
    size_t i;
    json_t *row;

    ck_assert_uint_eq(json_array_size(rows), pairs);
    json_array_foreach(rows, i, row) service_check_same(json_object_get(row, "metrics"), want,
                                                        service_text(row, "predictionUuid"));
}

START_TEST(pairs_always_meet)
{
    uint32_t pairs = runner_short() ? 90 : 300;
    AUTO(service_free) struct service *a = service_start();
    AUTO(service_free) struct service *b = service_beside(a);
    pthread_barrier_t start;
    struct poster posters[2] = { { .url = daemon_url(a->daemon, "/v1/events"), .start = &start },
                                 { .url = daemon_url(b->daemon, "/v1/events"), .start = &start } };
    char uuid[UUID_BYTES];

    weeks_fill(a);
    ck_assert_int_eq(pthread_barrier_init(&start, NULL, 2), 0);
    for (size_t i = 0; i < 2; i++) {
        posters[i].bodies = xcalloc(pairs, sizeof(char *));
        posters[i].len = pairs;
    }
    for (uint32_t i = 0; i < pairs; i++) {
        (void)uuid_of(uuid, 7, i);
        posters[i / 3 % 2].bodies[i] =
            prediction(uuid, "crn:one", age_start_ms((int)(i % 3)), "{\"x\":1}");
        posters[1 - i / 3 % 2].bodies[i] = label(uuid, "", "{\"y\":1}");
    }
    posters_run(posters, 2);
    check_pairs(a, pairs);
    labels_settle(a);
    check_pairs(b, pairs);
    ck_assert_int_eq(pg_query_i64(a->dsn, "SELECT count(DISTINCT uuid) FROM delayed_metric"),
                     pairs);
    ck_assert_int_eq(pg_query_i64(a->dsn, "SELECT count(*) FROM delayed_metric"), pairs);
    ck_assert_int_eq(pg_query_i64(a->dsn, "SELECT count(*) FROM delayed_metric_waiting"), 0);
    service_check_balance(b, WEEKS + 2 * pairs, 0, 0);
    for (size_t i = 0; i < 2; i++)
        poster_done(&posters[i]);
    (void)pthread_barrier_destroy(&start);
}
END_TEST

/* ---- the same events through two daemons, in different orders ---- */

enum { SAME_PREDICTIONS = 240, SAME_EVENTS = 2 * SAME_PREDICTIONS, SAME_BATCH = 40, POSTERS = 4 };

static const struct {
    const char *name;
    bool mixed;      /* predictions and labels in one request */
    bool identities; /* of the labels */
} same_cases[] = {
    { "mixed requests", true, false },
    { "requests of one kind, labels with an eventId", false, true },
};

/* Predictions, then as many labels, over many partitions. */
static void same_events(char *events[SAME_EVENTS], bool identities)
{
    int64_t now_ms = clock_now_ms();
    char uuid[UUID_BYTES], id[UUID_BYTES];

    for (unsigned i = 0; i < SAME_PREDICTIONS; i++) {
        AUTO(mem_free)
        char *more = identities ? xasprintf("\"eventId\":\"%s\",", uuid_of(id, 2, i)) : xstrdup("");

        (void)uuid_of(uuid, 1, i * 2654435761u % 65536);
        events[i] = prediction(uuid, i % 2 ? "crn:one" : "crn:other",
                               now_ms - (int64_t)(i % 12) * 7 * DAY_MS, "{\"x\":1}");
        events[SAME_PREDICTIONS + i] = label(uuid, more, "{\"y\":1}");
    }
}

static char *same_body(char *const *events)
{
    AUTO(buf_done) struct buf body;

    buf_init(&body, SIZE_MAX);
    for (uint32_t n = 0; n < SAME_BATCH; n++)
        buf_append_fmt(&body, "%c%s", n ? ',' : '[', events[n]);
    buf_append_char(&body, ']');
    return xstrdup(buf_text(&body));
}

static void poster_shuffle(struct poster *poster, char *const *events, bool mixed, uint64_t seed)
{
    char *own[SAME_EVENTS];

    memcpy(own, events, sizeof(own));
    if (mixed) {
        dice_shuffle(&seed, (void **)own, SAME_EVENTS);
    } else {
        dice_shuffle(&seed, (void **)own, SAME_PREDICTIONS);
        dice_shuffle(&seed, (void **)own + SAME_PREDICTIONS, SAME_PREDICTIONS);
    }
    poster->len = SAME_EVENTS / SAME_BATCH;
    poster->bodies = xcalloc(poster->len, sizeof(char *));
    for (uint32_t i = 0; i < poster->len; i++)
        poster->bodies[i] = same_body(own + (size_t)i * SAME_BATCH);
    dice_shuffle(&seed, (void **)poster->bodies, poster->len);
}

static void same_check(struct service *service, const struct counts *sum, bool identities)
{
    int64_t labels = identities ? SAME_PREDICTIONS : POSTERS * SAME_PREDICTIONS;
    int64_t duplicate = POSTERS * SAME_EVENTS - SAME_PREDICTIONS - labels;

    ck_assert_int_eq(sum->accepted, SAME_PREDICTIONS + labels);
    ck_assert_int_eq(sum->duplicate, duplicate);
    ck_assert_int_eq(sum->rejected, 0);
    service_check_balance(service, SAME_PREDICTIONS + labels, duplicate, 0);
    labels_settle(service);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM prediction"),
                     SAME_PREDICTIONS);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(DISTINCT uuid) FROM delayed_metric"),
                     SAME_PREDICTIONS);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM delayed_metric"), labels);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM delayed_metric_waiting"), 0);
}

/* The server's own count; a backend hands it in when it ends. */
static void check_no_deadlocks(struct service *a, struct service *b)
{
    ck_assert(!daemon_log_has(a->daemon, "40P01") && !daemon_log_has(b->daemon, "40P01"));
    ck_assert_int_eq(daemon_stop(a->daemon), 0);
    ck_assert_int_eq(daemon_stop(b->daemon), 0);
    ck_assert_int_eq(pg_query_i64(a->dsn, "SELECT deadlocks FROM pg_stat_database"
                                          " WHERE datname = current_database()"),
                     0);
}

START_TEST(shuffled_twice_without_deadlock)
{
    AUTO(service_free) struct service *a = service_start();
    AUTO(service_free) struct service *b = service_beside(a);
    struct poster posters[POSTERS] = { 0 };
    char *events[SAME_EVENTS];
    struct counts sum = { 0 };

    same_events(events, same_cases[_i].identities);
    for (uint32_t i = 0; i < POSTERS; i++) {
        posters[i].url = daemon_url(i % 2 ? a->daemon : b->daemon, "/v1/events");
        poster_shuffle(&posters[i], events, same_cases[_i].mixed, i);
    }
    posters_run(posters, POSTERS);
    for (size_t i = 0; i < POSTERS; i++) {
        sum.accepted += posters[i].counts.accepted;
        sum.duplicate += posters[i].counts.duplicate;
        sum.rejected += posters[i].counts.rejected;
        poster_done(&posters[i]);
    }
    for (size_t i = 0; i < SAME_EVENTS; i++)
        free(events[i]);
    same_check(a, &sum, same_cases[_i].identities);
    check_no_deadlocks(a, b);
}
END_TEST

/* ---- once, however late ---- */

START_TEST(old_one_again)
{
    AUTO(service_free) struct service *service = service_start();
    char uuid[UUID_BYTES], id[UUID_BYTES];
    AUTO(mem_free) char *more = xasprintf("\"eventId\":\"%s\",", uuid_of(id, 9, 1));
    AUTO(mem_free)
    char *first = prediction(uuid_of(uuid, 9, 0), "crn:one", age_start_ms(_i), "{\"x\":1}");
    AUTO(mem_free) char *one = label(uuid, more, "{\"y\":1}");
    AUTO(mem_free) char *correction = label(uuid, "", "{\"y\":2}");
    AUTO(mem_free) char *conflict = label(uuid, more, "{\"y\":3}");
    json_auto_t *refused = NULL;

    weeks_fill(service);
    service_take(service, first);
    service_take(service, one);
    labels_settle(service);
    service_take(service, correction);
    labels_settle(service);
    if (label_ages[_i].days != 1) /* or it was not old at all */
        ck_assert_int_eq(service_sample(service, "plumbline_labels_resolved_total"), 2);
    for (int i = 0; i < 2; i++) {
        json_auto_t *receipt = service_post(service, 200, "/v1/events", one);

        ck_assert_int_eq(service_number(receipt, "duplicate"), 1);
        labels_settle(service);
    }
    refused = service_post(service, 409, "/v1/events", conflict);
    service_check_error(
        refused, "conflict", "eventId",
        "delayed metrics with this eventId and predictionUuid are stored with other content",
        label_ages[_i].name);
    ck_assert_int_eq(labels_stored(service, uuid), 2);
    check_metrics(service, uuid, "crn:one", "{\"x\":1,\"y\":2}", label_ages[_i].name);
    service_check_balance(service, WEEKS + 3, 2, 1);
}
END_TEST

/* Two predictions of one UUID in one request: labels that waited and labels that come later go to
 * the same, the first in the request, whatever order Postgres is written in. */
START_TEST(first_of_two_in_a_request)
{
    static const char *const deployments[] = { "crn:zz", "crn:aa" };
    AUTO(service_free) struct service *service = service_start();
    char uuid[UUID_BYTES];
    const char *const u = uuid_of(uuid, 0, 0);
    AUTO(mem_free) char *first = label(u, "", "{\"first\":1}");
    AUTO(mem_free) char *second = label(u, "", "{\"second\":2}");
    AUTO(mem_free) char *two = NULL;
    char *events[LENGTH(deployments)];

    for (size_t i = 0; i < LENGTH(deployments); i++)
        events[i] = prediction(u, deployments[i], clock_now_ms(), "{}");
    two = xasprintf("[%s,%s]", events[0], events[1]);
    service_take(service, first);
    WAIT_UNTIL(20000, pg_query_i64(service->dsn, "SELECT count(*) FROM delayed_metric_waiting"
                                                 " WHERE searched") == 1);
    service_take(service, two);
    service_take(service, second);
    check_metrics(service, u, "crn:zz", "{\"first\":1,\"second\":2}", "the first of two");
    check_metrics(service, u, "crn:aa", "{}", "the second of two");
    for (size_t i = 0; i < LENGTH(deployments); i++)
        free(events[i]);
}
END_TEST

/* A label that is stored with an old prediction comes again when another prediction of its UUID
 * stands among the new ones: it is still the same label. */
START_TEST(old_one_again_beside_a_new_prediction)
{
    AUTO(service_free) struct service *service = service_start();
    int64_t now_ms = clock_now_ms();
    char uuid[UUID_BYTES];
    const char *const u = uuid_of(uuid, 0, 0);
    AUTO(mem_free) char *old = prediction(u, "crn:old", now_ms - 80 * DAY_MS, "{}");
    AUTO(mem_free) char *new = prediction(u, "crn:new", now_ms, "{}");
    AUTO(mem_free)
    char *same = label(u, "\"eventId\":\"00000000-0000-4000-8000-00000000000e\",", "{\"y\":1}");
    json_t *receipt;

    weeks_fill(service);
    service_take(service, old);
    service_take(service, same);
    WAIT_UNTIL(20000, labels_stored(service, u) == 1);
    service_take(service, new);
    receipt = service_post(service, 200, "/v1/events", same);
    ck_assert_int_eq(service_number(receipt, "duplicate"), 1);
    json_decref(receipt);
    check_metrics(service, u, "crn:old", "{\"y\":1}", "the old one");
    check_metrics(service, u, "crn:new", "{}", "the new one");
    service_check_balance(service, WEEKS + 3, 1, 0);
}
END_TEST

/* One daemon's label waits, its COMMIT held; the other's brings the prediction and the same
 * label. */
START_TEST(the_same_label_beside_its_prediction)
{
    AUTO(service_free) struct service *b = service_start();
    AUTO(service_free)
    struct service *a = service_start_proxied(&(struct daemon_options){ .dsn = b->dsn });
    char uuid[UUID_BYTES], id[UUID_BYTES];
    AUTO(mem_free) char *more = xasprintf("\"eventId\":\"%s\",", uuid_of(id, 9, 1));
    AUTO(mem_free)
    char *first = prediction(uuid_of(uuid, 9, 0), "crn:one", clock_now_ms() - DAY_MS, "{\"x\":1}");
    AUTO(mem_free) char *one = label(uuid, more, "{\"y\":1}");
    AUTO(mem_free) char *both = xasprintf("[%s,%s]", first, one);
    struct poster posters[2] = {
        { .url = daemon_url(a->daemon, "/v1/events"), .len = 1, .bodies = &one },
        { .url = daemon_url(b->daemon, "/v1/events"), .len = 1, .bodies = &both },
    };

    weeks_fill(a); /* partitions and catalog: the next COMMIT is that of the batch */
    proxy_aim(a->proxy, "plumbline metrics");
    proxy_arm(a->proxy, PROXY_HOLD, 0);
    ck_assert_int_eq(pthread_create(&posters[0].thread, NULL, poster_run, &posters[0]), 0);
    WAIT_UNTIL(5000, proxy_sprung(a->proxy));
    ck_assert_int_eq(pthread_create(&posters[1].thread, NULL, poster_run, &posters[1]), 0);
    WAIT_UNTIL(5000, pg_query_i64(b->dsn, "SELECT count(*) FROM pg_locks WHERE locktype ="
                                          " 'advisory' AND NOT granted") > 0);
    proxy_release(a->proxy);
    for (size_t i = 0; i < LENGTH(posters); i++) {
        (void)pthread_join(posters[i].thread, NULL);
        free(posters[i].url);
    }
    labels_settle(b);
    ck_assert_int_eq(posters[0].counts.accepted + posters[1].counts.accepted, 2);
    ck_assert_int_eq(posters[0].counts.duplicate + posters[1].counts.duplicate, 1);
    ck_assert_int_eq(labels_stored(b, uuid), 1);
}
END_TEST

/* What is shown while a label waits is what is shown when it does not wait any more. */
START_TEST(waits_beside_the_first_one)
{
    static const char *const crns[] = { "crn:one", "crn:two", "crn:three" };
    AUTO(service_free) struct service *service = service_start();
    PGconn *holder = pg_connect(service->dsn);
    char uuid[UUID_BYTES];

    PQclear(PQexec(holder, "SELECT pg_advisory_lock(7236, 7)")); /* labels are not resolved */
    for (size_t i = 0; i < LENGTH(crns); i++) { /* the first one inserted is the latest */
        int64_t ms = clock_now_ms() - (int64_t)i * 8 * 24 * 3600 * 1000;
        AUTO(mem_free) char *event = prediction(uuid_of(uuid, 11, 0), crns[i], ms, "{\"x\":1}");

        service_take(service, event);
    }
    pg_exec(service->dsn,
            "INSERT INTO delayed_metric_waiting (batch_id, ordinal, uuid, metrics)"
            " VALUES (0, 0, '%s', '{\"y\":1}')",
            uuid);
    for (int resolved = 0; resolved < 2; resolved++) {
        json_auto_t *rows = service_rows(service, "");
        AUTO(mem_free)
        char *view =
            pg_query_text(service->dsn, "SELECT string_agg(metrics::text, ' ' ORDER BY batch_id)"
                                        " FROM metric");

        for (size_t i = 0; i < LENGTH(crns); i++) {
            const json_t *row = json_array_get(rows, i);
            json_auto_t *want =
                i ? json_pack("{s:i}", "x", 1) : json_pack("{s:i,s:i}", "x", 1, "y", 1);

            ck_assert_str_eq(service_text(row, "modelDeploymentCrn"), crns[i]);
            service_check_same(json_object_get(row, "metrics"), want, crns[i]);
        }
        ck_assert_str_eq(view, "{\"x\": 1, \"y\": 1} {\"x\": 1} {\"x\": 1}");
        PQfinish(holder);
        holder = NULL;
        WAIT_UNTIL(20000, labels_stored(service, uuid) == 1);
    }
}
END_TEST

static const char *const isolations[] = { "read committed", "repeatable read", "serializable" };

/* A server whose transactions keep one snapshot unless told otherwise. The prediction waits for the
 * LABELS lock while the label comes, which was looked for everywhere: only the prediction's own
 * batch can bring them together. */
START_TEST(whatever_the_server_isolates)
{
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(mem_free) char *database = pg_query_text(dsn, "SELECT current_database()");
    AUTO(service_free) struct service *service = NULL;
    PGconn *holder = pg_connect(dsn);
    char uuid[UUID_BYTES];
    AUTO(mem_free)
    char *first = prediction(uuid_of(uuid, 10, 0), "crn:one", clock_now_ms(), "{\"x\":1}");
    struct poster poster = { .len = 1, .bodies = &first };

    pg_exec(dsn, "ALTER DATABASE %s SET default_transaction_isolation = '%s'", database,
            isolations[_i]);
    service = service_start_with(&(struct daemon_options){ .dsn = dsn });
    weeks_fill(service);
    PQclear(PQexec(holder, "SELECT pg_advisory_lock(7236, 3)"));
    poster.url = daemon_url(service->daemon, "/v1/events");
    ck_assert_int_eq(pthread_create(&poster.thread, NULL, poster_run, &poster), 0);
    WAIT_UNTIL(5000, pg_query_i64(dsn, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
                                       " AND classid = 7236 AND objid = 3 AND NOT granted") > 0);
    pg_exec(dsn,
            "INSERT INTO delayed_metric_waiting (batch_id, ordinal, uuid, searched, metrics)"
            " VALUES (0, 0, '%s', true, '{\"y\":1}')",
            uuid);
    PQfinish(holder);
    (void)pthread_join(poster.thread, NULL);
    free(poster.url);
    ck_assert_int_eq(poster.counts.accepted, 1);
    ck_assert_int_eq(labels_stored(service, uuid), 1);
    check_metrics(service, uuid, "crn:one", "{\"x\":1,\"y\":1}", isolations[_i]);
}
END_TEST

Suite *labels_suite(void)
{
    Suite *suite = suite_create("labels");
    TCase *tcase = tcase_create("labels");
    bool is_short = runner_short();

    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_loop_test(tcase, labels_of_one, is_short ? 2 : 0, LENGTH(label_ages));
    if (!is_short)
        tcase_add_test(tcase, unknown_uuid_waits);
    tcase_add_test(tcase, labels_have_limits);
    tcase_add_test(tcase, through_two_daemons);
    tcase_add_test(tcase, pairs_always_meet);
    tcase_add_loop_test(tcase, shuffled_twice_without_deadlock, 0,
                        is_short ? 1 : LENGTH(same_cases));
    tcase_add_loop_test(tcase, old_one_again, is_short, 2); /* of today, and old */
    tcase_add_test(tcase, the_same_label_beside_its_prediction);
    tcase_add_test(tcase, first_of_two_in_a_request);
    tcase_add_test(tcase, old_one_again_beside_a_new_prediction);
    tcase_add_test(tcase, waits_beside_the_first_one);
    tcase_add_loop_test(tcase, whatever_the_server_isolates, is_short,
                        is_short ? 2 : LENGTH(isolations));
    suite_add_tcase(suite, tcase);
    return suite;
}
