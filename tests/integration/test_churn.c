/* The real capture in tests/data/churn: what was posted comes back, whichever way it went in. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/dice.h"
#include "tests/harness/pg.h"
#include "tests/harness/runner.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"

Suite *churn_suite(void);

enum { LINES_MAX = 1024, BATCH_EVENTS_MAX = 200, TIMES = 3 };

#define CRN                                                                                        \
    "crn:cdp:ml:us-west-1:8a1e15cd-04c2-48aa-8f35-b4a8c11997d3:workspace:"                         \
    "e4bc3658-32bb-4dc3-a22d-828150329c76/"
#define DEPLOYMENT CRN "161e0983-e67e-486d-a296-7be081be2410"

/* The capture's rows name a build and a model, which its requests do not. */
static const char deployed[] =
    "{\"event\":\"model_deployed\",\"modelDeploymentCrn\":\"" DEPLOYMENT "\","
    "\"modelBuildCrn\":\"" CRN "1be0bcfa-84a3-4002-a166-43e4035ef52b\","
    "\"modelCrn\":\"" CRN "abb24234-ab2e-4e1f-954d-2ae1da1438ef\","
    "\"userName\":\"ada\",\"status\":\"deployed\",\"statusAtMs\":1596185000000}";

enum part { TRACK, DELAYED, AGGREGATE, PARTS };

static const struct {
    const char *path, *event, *endpoint;
    size_t lines;
} parts[PARTS] = {
    [TRACK] = { "tests/data/churn/track.ndjson", "track_metrics", "/track-metrics", 999 },
    [DELAYED] = { "tests/data/churn/delayed.ndjson", "delayed_metrics", "/track-delayed-metrics",
                  999 },
    [AGGREGATE] = { "tests/data/churn/aggregate.ndjson", "aggregate_metrics",
                    "/track-aggregate-metrics", 9 },
};

/* ---- the capture ---- */

/* A growing list of owned texts. */
struct texts {
    char *items[3 * LINES_MAX * TIMES];
    uint32_t len;
};

static void texts_free(struct texts *texts)
{
    for (uint32_t i = 0; texts && i < texts->len; i++)
        free(texts->items[i]);
    free(texts);
}
AUTO_DEFINE(struct texts, texts_free);

static void texts_add(struct texts *texts, char *text)
{
    ck_assert_uint_lt(texts->len, LENGTH(texts->items));
    texts->items[texts->len++] = text;
}

/* The lines of one file, with nothing behind the last brace. */
static struct texts *capture_read(enum part part)
{
    AUTO(texts_free) struct texts *lines = xcalloc(1, sizeof(*lines));
    FILE *file = fopen(parts[part].path, "r");
    char *line = NULL;
    size_t cap = 0;

    ck_assert_msg(file != NULL, "%s can't be read", parts[part].path);
    while (getline(&line, &cap, file) > 0)
        texts_add(lines, xmemdup0(line, strcspn(line, "\r\n")));
    free(line);
    (void)fclose(file);
    ck_assert_uint_eq(lines->len, parts[part].lines);
    return TAKE(lines);
}

/* A line as an event; `more`, which may be "", is put in front of its members. */
static char *capture_event(enum part part, const char *line, const char *more)
{
    return xasprintf("{\"event\":\"%s\",%s%s", parts[part].event, more, line + 1);
}

static struct texts *capture_events(void)
{
    AUTO(texts_free) struct texts *events = xcalloc(1, sizeof(*events));

    texts_add(events, xstrdup(deployed));
    for (enum part part = 0; part < PARTS; part++) {
        AUTO(texts_free) struct texts *lines = capture_read(part);

        for (uint32_t i = 0; i < lines->len; i++)
            texts_add(events, capture_event(part, lines->items[i], ""));
    }
    return TAKE(events);
}

static json_t *capture_json(const char *path)
{
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error);

    ck_assert_msg(json != NULL, "%s: %s", path, error.text);
    return json;
}

/* ---- what comes back ---- */

static const char read_body[] = "{\"modelDeploymentCrn\":\"" DEPLOYMENT "\"}";

static void check_read(struct service *service)
{
    json_auto_t *want = capture_json("tests/data/churn/read.json");
    json_auto_t *compatible = service_post(service, 200, "/read-metrics", read_body);
    json_auto_t *modern = service_get(service, 200, "/v1/metrics?model_deployment_crn=" DEPLOYMENT);

    service_check_same(compatible, want, "/read-metrics");
    service_check_same(modern, want, "/v1/metrics");
}

static void check_sums(struct service *service)
{
    service_check_balance(service, 1 + 999 + 999 + 9, 0, 0);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM prediction"), 999);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM aggregate_metric"), 9);
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT count(*) FROM delayed_metric") == 999);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM delayed_metric_waiting"), 0);
}

START_TEST(one_at_a_time)
{
    AUTO(service_free) struct service *service = service_start();

    service_take(service, deployed);
    for (enum part part = 0; part < PARTS; part++) {
        AUTO(texts_free) struct texts *lines = capture_read(part);

        for (uint32_t i = 0; i < lines->len; i++) {
            json_auto_t *receipt =
                service_post(service, 200, parts[part].endpoint, lines->items[i]);

            ck_assert_int_eq(service_number(receipt, "accepted"), 1);
        }
    }
    check_read(service);
    check_sums(service);
}
END_TEST

/* ---- in batches ---- */

enum format { FORMAT_NDJSON, FORMAT_ARRAY, FORMAT_NDJSON_GZIP, FORMAT_ARRAY_GZIP, FORMATS };

static const char *const format_names[FORMATS] = { "NDJSON", "array", "NDJSON gzip", "array gzip" };

static void body_write(struct buf *body, enum format format, char *const *events, uint32_t len)
{
    bool lines = format == FORMAT_NDJSON || format == FORMAT_NDJSON_GZIP;

    buf_append_text(body, lines ? "" : "[");
    for (uint32_t i = 0; i < len; i++) {
        buf_append_text(body, i == 0 ? "" : lines ? "\n" : ",");
        buf_append_text(body, events[i]);
    }
    buf_append_text(body, lines ? "\n" : "]");
}

/* Posts the events as one request; its receipt, owned. */
static json_t *post_batch(struct service *service, enum format format, char *const *events,
                          uint32_t len)
{
    static const char *const headers[FORMATS][3] = {
        [FORMAT_NDJSON] = { "Content-Type: application/x-ndjson" },
        [FORMAT_ARRAY] = { "Content-Type: application/json" },
        [FORMAT_NDJSON_GZIP] = { "Content-Type: application/x-ndjson", "Content-Encoding: gzip" },
        [FORMAT_ARRAY_GZIP] = { "Content-Type: application/json", "Content-Encoding: gzip" },
    };
    AUTO(mem_free) char *url = daemon_url(service->daemon, "/v1/events");
    AUTO(mem_free) char *packed = NULL;
    AUTO(http_answer_free) struct http_answer *answer = NULL;
    AUTO(buf_done) struct buf body;
    struct http_request request = { .method = "POST", .url = url, .headers = headers[format] };

    buf_init(&body, SIZE_MAX);
    body_write(&body, format, events, len);
    request.body = body.data;
    request.len = body.len;
    if (headers[format][1])
        request.body = packed = http_gzip(body.data, body.len, &request.len);
    answer = http_send(service->http, &request);
    ck_assert_msg(answer->status == 200, "%s: %ld%s %.500s", format_names[format], answer->status,
                  answer->error, answer->body);
    return http_json(answer);
}

START_TEST(in_batches)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(texts_free) struct texts *events = capture_events();
    uint64_t seed = (uint64_t)_i;
    uint32_t len;

    for (uint32_t at = 0; at < events->len; at += len) {
        json_auto_t *receipt = NULL;

        len = 1 + dice_roll(&seed, BATCH_EVENTS_MAX);
        if (len > events->len - at)
            len = events->len - at;
        receipt = post_batch(service, (enum format)_i, events->items + at, len);
        ck_assert_int_eq(service_number(receipt, "accepted"), len);
    }
    check_read(service);
    check_sums(service);
}
END_TEST

/* ---- from the command line ---- */

static const struct {
    const char *name;
    const char *arguments[6]; /* NULL at the end */
} ingest_cases[] = {
    { "as it comes", { NULL } },
    { "compressed, in small batches", { "--gzip", "--batch-events", "7", NULL } },
};

static char *command_file(const char *text)
{
    AUTO(mem_free) char *dir = temp_dir();
    char *path = xasprintf("%s/events.ndjson", dir);
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    (void)fprintf(file, "%s\n", text);
    (void)fclose(file);
    return path;
}

START_TEST(from_the_command_line)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *url = daemon_url(service->daemon, "");
    AUTO(mem_free) char *first = command_file(deployed);
    AUTO(mem_free) char *output = NULL;
    const char *words[SERVICE_WORDS_MAX] = { "ingest", "--url", url };
    size_t n = 3;
    int code;

    for (const char *const *a = ingest_cases[_i].arguments; *a; a++)
        words[n++] = *a;
    words[n++] = first;
    for (enum part part = 0; part < PARTS; part++)
        words[n++] = parts[part].path;
    code = service_command(words, NULL, &output);
    ck_assert_msg(code == 0, "%s: %d: %s", ingest_cases[_i].name, code, output);
    ck_assert_msg(strstr(output, "2008 events: 2008 accepted, 0 duplicate, 0 rejected") != NULL,
                  "%s", output);
    check_read(service);
    check_sums(service);
}
END_TEST

/* ---- three times, in random order ---- */

/* Rows in an order that does not depend on that of insertion. */
static int row_compare(const void *a, const void *b)
{
    const json_t *left = *(json_t *const *)a, *right = *(json_t *const *)b;
    int by_uuid =
        strcmp(service_text(left, "predictionUuid"), service_text(right, "predictionUuid"));
    json_int_t left_ms = service_number(left, "startTimeStampMs");
    json_int_t right_ms = service_number(right, "startTimeStampMs");

    return by_uuid ? by_uuid : (left_ms > right_ms) - (left_ms < right_ms);
}

static json_t *rows_sorted(const json_t *rows)
{
    size_t len = json_array_size(rows);
    AUTO(mem_free) json_t **items = xcalloc(len, sizeof(json_t *));
    json_t *sorted = json_array();

    for (size_t i = 0; i < len; i++)
        items[i] = json_array_get(rows, i);
    qsort(items, len, sizeof(json_t *), row_compare);
    for (size_t i = 0; i < len; i++)
        (void)json_array_append(sorted, items[i]);
    return sorted;
}

/* What must come back: every prediction once, every aggregate as often as it counts. */
static json_t *rows_wanted(int aggregates)
{
    json_auto_t *read = capture_json("tests/data/churn/read.json");
    json_auto_t *rows = json_array();
    size_t i;
    json_t *row;

    json_array_foreach(json_object_get(read, "metrics"), i, row)
    {
        int times = *service_text(row, "predictionUuid") ? 1 : aggregates;

        for (int n = 0; n < times; n++)
            (void)json_array_append(rows, row);
    }
    return rows_sorted(rows);
}

static const struct {
    const char *name;
    bool identities; /* labels and aggregates have an eventId */
    int64_t accepted, duplicate;
    int aggregates; /* rows of each */
} shuffle_cases[] = {
    { "with identities", true, 2008, 2 * 2008, 1 },
    { "without identities", false, 1 + 999 + 3 * 999 + 3 * 9, 2 * (1 + 999), 3 },
};

static struct texts *shuffled_events(bool identities, uint64_t *seed)
{
    AUTO(texts_free) struct texts *events = xcalloc(1, sizeof(*events));

    for (int time = 0; time < TIMES; time++)
        texts_add(events, xstrdup(deployed));
    for (enum part part = 0; part < PARTS; part++) {
        AUTO(texts_free) struct texts *lines = capture_read(part);

        for (uint32_t i = 0; i < lines->len; i++) {
            AUTO(mem_free)
            char *id = xasprintf("\"eventId\":\"%08x-0000-4000-8000-%012x\",", (unsigned)part, i);
            const char *more = identities && part != TRACK ? id : "";

            for (int time = 0; time < TIMES; time++)
                texts_add(events, capture_event(part, lines->items[i], more));
        }
    }
    dice_shuffle(seed, (void **)events->items, events->len);
    return TAKE(events);
}

/* What the receipts add up to must be what the books say. */
static void post_shuffled(struct service *service, const struct texts *events, uint64_t *seed,
                          int64_t *accepted, int64_t *duplicate)
{
    uint32_t len;

    *accepted = *duplicate = 0;
    for (uint32_t at = 0; at < events->len; at += len) {
        json_auto_t *receipt = NULL;

        len = 1 + dice_roll(seed, BATCH_EVENTS_MAX);
        if (len > events->len - at)
            len = events->len - at;
        receipt =
            post_batch(service, (enum format)dice_roll(seed, FORMATS), events->items + at, len);
        ck_assert_int_eq(service_number(receipt, "received"), len);
        ck_assert_uint_eq(json_array_size(json_object_get(receipt, "rejected")), 0);
        *accepted += service_number(receipt, "accepted");
        *duplicate += service_number(receipt, "duplicate");
    }
}

/* `plumbline balance` says what GET /v1/balance says, but for spools, which it does not know. */
static void check_balance_command(struct service *service)
{
    json_auto_t *want = service_get(service, 200, "/v1/balance");
    const char *const as_json[] = { "balance", "--database", service->dsn, "--json", NULL };
    const char *const as_table[] = { "balance", "--database", service->dsn, NULL };
    AUTO(mem_free) char *text = NULL;
    AUTO(mem_free) char *table = NULL;
    json_auto_t *have = NULL;
    const char *kind;
    json_t *counts;

    ck_assert_int_eq(json_object_del(json_object_get(want, "total"), "spooled"), 0);
    json_object_foreach(json_object_get(want, "events"), kind, counts)
        ck_assert_msg(json_object_del(counts, "spooled") == 0, "%s", kind);
    ck_assert_int_eq(service_command(as_json, NULL, &text), 0);
    have = service_json(text);
    service_check_same(have, want, "plumbline balance --json");
    ck_assert_int_eq(service_command(as_table, NULL, &table), 0);
    ck_assert_msg(strstr(table, " batches; the books balance; a daemon's spool is "
                                "not in them\n") != NULL,
                  "%s", table);
}

START_TEST(three_times_shuffled)
{
    AUTO(service_free) struct service *service = service_start();
    uint64_t seed = 4711;
    AUTO(texts_free)
    struct texts *events = shuffled_events(shuffle_cases[_i].identities, &seed);
    json_auto_t *want = rows_wanted(shuffle_cases[_i].aggregates);
    json_auto_t *answer = NULL;
    json_auto_t *have = NULL;
    int64_t accepted, duplicate;

    post_shuffled(service, events, &seed, &accepted, &duplicate);
    ck_assert_int_eq(accepted, shuffle_cases[_i].accepted);
    ck_assert_int_eq(duplicate, shuffle_cases[_i].duplicate);
    answer = service_post(service, 200, "/read-metrics", read_body);
    have = rows_sorted(json_object_get(answer, "metrics"));
    service_check_same(have, want, shuffle_cases[_i].name);
    service_check_balance(service, accepted, duplicate, 0);
    check_balance_command(service);
    /* the same numbers once they have been folded into the daily totals */
    WAIT_UNTIL(20000,
               pg_query_i64(service->dsn, "SELECT count(*) FROM ingest_batch WHERE batch_id >"
                                          " (SELECT batch_id FROM ledger_position)") == 0);
    service_check_balance(service, accepted, duplicate, 0);
    check_balance_command(service);
}
END_TEST

/* ---- figures that were computed elsewhere ---- */

struct figures {
    double probability[LINES_MAX];
    bool label[LINES_MAX];
    size_t len, positive, aggregates;
    int64_t minutes[LINES_MAX];
    size_t minutes_len;
};

static void figures_add_minute(struct figures *figures, int64_t minute)
{
    for (size_t i = 0; i < figures->minutes_len; i++) {
        if (figures->minutes[i] == minute)
            return;
    }
    figures->minutes[figures->minutes_len++] = minute;
}

static void figures_read(struct figures *figures, const json_t *rows)
{
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        const json_t *metrics = json_object_get(row, "metrics");

        ck_assert_uint_lt(i, LINES_MAX);
        if (!*service_text(row, "predictionUuid")) {
            figures->aggregates++;
            continue;
        }
        figures_add_minute(figures, service_number(row, "startTimeStampMs") / 60000);
        ck_assert(json_is_boolean(json_object_get(metrics, "final_label")));
        figures->label[figures->len] = json_is_true(json_object_get(metrics, "final_label"));
        figures->positive += figures->label[figures->len];
        figures->probability[figures->len++] =
            json_real_value(json_object_get(metrics, "probability"));
    }
}

/* Of all pairs of a positive and a negative one, how many stand in the right order; ties half. */
static double figures_auc(const struct figures *figures)
{
    uint64_t twice = 0;

    for (size_t i = 0; i < figures->len; i++) {
        for (size_t j = 0; j < figures->len && figures->label[i]; j++) {
            if (!figures->label[j])
                twice += 2u * (figures->probability[i] > figures->probability[j]) +
                         (unsigned)(figures->probability[i] == figures->probability[j]);
        }
    }
    return (double)twice / 2 / (double)(figures->positive * (figures->len - figures->positive));
}

static int double_compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

START_TEST(figures_hold)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(texts_free) struct texts *events = capture_events();
    AUTO(mem_free) struct figures *figures = xcalloc(1, sizeof(*figures));
    json_auto_t *receipt = post_batch(service, FORMAT_ARRAY, events->items, events->len);
    json_auto_t *rows = service_rows(service, "?model_deployment_crn=" DEPLOYMENT);
    json_auto_t *want = capture_json("tests/data/churn/expected.json");
    json_auto_t *have = NULL;
    long double sum = 0; /* 64 bits of mantissa: a thousand additions leave the double exact */
    double auc;

    ck_assert_int_eq(service_number(receipt, "accepted"), events->len);
    figures_read(figures, rows);
    auc = figures_auc(figures);
    qsort(figures->probability, figures->len, sizeof(double), double_compare);
    for (size_t i = 0; i < figures->len; i++)
        sum += figures->probability[i];
    have = json_pack("{s:i,s:i,s:i,s:i,s:f,s:{s:i,s:f,s:f,s:f,s:f},s:i}", "predictions",
                     (int)figures->len, "aggregates", (int)figures->aggregates, "labelled",
                     (int)figures->len, "positive", (int)figures->positive,
                     "auc_probability_vs_final_label", auc, "probability", "count",
                     (int)figures->len, "sum", (double)sum, "min", figures->probability[0], "max",
                     figures->probability[figures->len - 1], "median",
                     figures->probability[figures->len / 2], "minutes", (int)figures->minutes_len);
    service_check_same(have, want, "expected.json");
}
END_TEST

Suite *churn_suite(void)
{
    Suite *suite = suite_create("churn");
    TCase *tcase = tcase_create("churn");
    bool is_short = runner_short();

    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    /* a sanitizer sees each kind of request once */
    tcase_add_loop_test(tcase, in_batches, is_short ? FORMAT_ARRAY_GZIP : 0, FORMATS);
    tcase_add_loop_test(tcase, from_the_command_line, is_short, LENGTH(ingest_cases));
    tcase_add_loop_test(tcase, three_times_shuffled, 0, is_short ? 1 : LENGTH(shuffle_cases));
    if (!is_short) {
        tcase_add_test(tcase, one_at_a_time);
        tcase_add_test(tcase, figures_hold);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
