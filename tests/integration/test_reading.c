/* What was stored comes back: by every filter, in three formats, in pages of any size. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/runner.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"

Suite *reading_suite(void);

/* ---- the rows ----
 *
 * They lie in many partitions, and their order of insertion is not that of time. Deployments:
 * "crn:0" and "crn:1" of one model, a build each, and "crn:2" of which nobody said a build. Row i
 * is of deployment i % 3, and an aggregate when i % 5 is 4; predictions with i % 4 == 0 got a
 * label. */
enum { ROWS = 48, UUID_BYTES = 40 };

#define BASE_MS INT64_C(1704067200000) /* 2024 */
#define DAY_MS (INT64_C(24) * 3600 * 1000)

static const struct {
    const char *crn, *build, *model;
} deployments[] = { { "crn:0", "crn:b0", "crn:m" },
                    { "crn:1", "crn:b1", "crn:m" },
                    { "crn:2", "", "" } };

static bool row_is_aggregate(int row)
{
    return row % 5 == 4;
}

static bool row_has_label(int row)
{
    return row % 4 == 0 && !row_is_aggregate(row);
}

static int64_t row_start_ms(int row)
{
    return BASE_MS + row * 37 % ROWS * DAY_MS;
}

static const char *row_uuid(char text[UUID_BYTES], int row)
{
    (void)snprintf(text, UUID_BYTES, "%08x-0000-4000-8000-00000000000a", (unsigned)row);
    return text;
}

/* The order of the keys is that of insertion: json_equal() does not care, the CSV does. */
static json_t *row_metrics(int row)
{
    json_t *metrics = json_pack("{s:i,s:{s:f,s:[i,i]},s:s}", "n", row, "a.b", "x", row + 0.5,
                                "list", row, 1, "word", row % 2 ? "odd" : "even, \"quoted\"");

    if (row_has_label(row))
        (void)json_object_set_new(metrics, "late", json_integer(row));
    return metrics;
}

static json_t *row_wanted(int row)
{
    char uuid[UUID_BYTES];

    return json_pack("{s:s,s:s,s:s,s:I,s:I,s:s,s:o}", "modelDeploymentCrn",
                     deployments[row % 3].crn, "modelBuildCrn", deployments[row % 3].build,
                     "modelCrn", deployments[row % 3].model, "startTimeStampMs", row_start_ms(row),
                     "endTimeStampMs", row_start_ms(row) + row, "predictionUuid",
                     row_is_aggregate(row) ? "" : row_uuid(uuid, row), "metrics", row_metrics(row));
}

static void row_write_event(struct buf *out, int row)
{
    char uuid[UUID_BYTES];
    json_auto_t *metrics = row_metrics(row);
    AUTO(mem_free) char *text = NULL;

    (void)row_uuid(uuid, row);
    if (row_has_label(row))
        buf_append_fmt(out,
                       "{\"event\":\"delayed_metrics\",\"predictionUuid\":\"%s\","
                       "\"metrics\":{\"late\":%d}},",
                       uuid, row);
    (void)json_object_del(metrics, "late");
    text = json_dumps(metrics, JSON_COMPACT);
    buf_append_fmt(out,
                   "{\"event\":\"%s\",\"modelDeploymentCrn\":\"%s\",\"startTimestampMs\":%lld,"
                   "\"endTimestampMs\":%lld,",
                   row_is_aggregate(row) ? "aggregate_metrics" : "track_metrics",
                   deployments[row % 3].crn, (long long)row_start_ms(row),
                   (long long)row_start_ms(row) + row);
    if (!row_is_aggregate(row))
        buf_append_fmt(out, "\"predictionUuid\":\"%s\",", uuid);
    if (!row_is_aggregate(row) && *deployments[row % 3].build)
        buf_append_fmt(out, "\"modelBuildCrn\":\"%s\",\"modelCrn\":\"%s\",",
                       deployments[row % 3].build, deployments[row % 3].model);
    buf_append_fmt(out, "\"metrics\":%s}", text);
}

/* In requests of one to four rows. */
static struct service *rows_start(void)
{
    struct service *service = service_start();

    for (int row = 0, len; row < ROWS; row += len) {
        AUTO(buf_done) struct buf body;

        buf_init(&body, SIZE_MAX);
        len = 1 + row % 4;
        for (int i = row; i < row + len && i < ROWS; i++) {
            buf_append_char(&body, i == row ? '[' : ',');
            row_write_event(&body, i);
        }
        buf_append_char(&body, ']');
        service_take(service, buf_text(&body));
    }
    /* a page shows what is settled, and a fold that is under way holds that back */
    WAIT_UNTIL(30000,
               pg_query_i64(service->dsn,
                            "SELECT (SELECT count(*) FROM rollup_delta) +"
                            " (SELECT max(batch_id) FROM ingest_batch) - settled_batch()") == 0);
    return service;
}

/* ---- the filters ---- */

enum { VALUES_MAX = 4 };

struct filter {
    const char *name;
    const char *deployments[VALUES_MAX], *builds[VALUES_MAX], *models[VALUES_MAX];
    int uuids[VALUES_MAX];    /* of row n - 1 */
    int start_days, end_days; /* after BASE_MS, from 1; 0: no bound */
    const char *kind;
    const char *keys[VALUES_MAX];
};

static const struct filter filters[] = {
    { .name = "everything" },
    { .name = "a deployment", .deployments = { "crn:1" } },
    { .name = "two deployments", .deployments = { "crn:0", "crn:2" } },
    { .name = "an unknown deployment", .deployments = { "crn:9" } },
    { .name = "an unknown and a known one", .deployments = { "crn:9", "crn:0" } },
    { .name = "a build", .builds = { "crn:b0" } },
    { .name = "two builds", .builds = { "crn:b0", "crn:b1" } },
    { .name = "a model", .models = { "crn:m" } },
    { .name = "a deployment of a build", .deployments = { "crn:0" }, .builds = { "crn:b0" } },
    { .name = "a deployment of another build", .deployments = { "crn:0" }, .builds = { "crn:b1" } },
    { .name = "all three",
      .deployments = { "crn:1" },
      .builds = { "crn:b1" },
      .models = { "crn:m" } },
    { .name = "from a day", .start_days = 20 },
    { .name = "up to a day", .end_days = 20 },
    { .name = "one day", .start_days = 20, .end_days = 20 },
    { .name = "some days of a model", .models = { "crn:m" }, .start_days = 9, .end_days = 30 },
    { .name = "later than all", .start_days = 1000 },
    { .name = "predictions", .kind = "prediction" },
    { .name = "aggregates", .kind = "aggregate" },
    { .name = "aggregates of a deployment", .deployments = { "crn:1" }, .kind = "aggregate" },
    { .name = "a UUID", .uuids = { 1 } },
    { .name = "three UUIDs", .uuids = { 13, 1, 9 } },
    { .name = "a UUID of another deployment", .deployments = { "crn:1" }, .uuids = { 1 } },
    { .name = "a UUID in some days", .uuids = { 2, 3 }, .start_days = 30 },
    { .name = "a UUID among aggregates", .kind = "aggregate", .uuids = { 1 } },
    { .name = "a key", .keys = { "n" } },
    { .name = "a key of a label", .keys = { "late" } },
    { .name = "two keys", .keys = { "a.b", "late" } },
    { .name = "a key that nobody has", .keys = { "none" } },
    { .name = "a key of some",
      .deployments = { "crn:0" },
      .kind = "prediction",
      .keys = { "word" } },
};

static bool filter_has(const char *const values[VALUES_MAX], const char *value)
{
    for (int i = 0; i < VALUES_MAX && values[i]; i++) {
        if (strcmp(values[i], value) == 0)
            return true;
    }
    return !values[0];
}

static bool filter_has_uuid(const struct filter *filter, int row)
{
    for (int i = 0; i < VALUES_MAX && filter->uuids[i]; i++) {
        if (filter->uuids[i] == row + 1 && !row_is_aggregate(row))
            return true;
    }
    return !filter->uuids[0];
}

static int64_t filter_ms(int days)
{
    return BASE_MS + (days - 1) * DAY_MS;
}

static bool filter_takes(const struct filter *filter, int row)
{
    if (filter->kind && (strcmp(filter->kind, "aggregate") == 0) != row_is_aggregate(row))
        return false;
    if (filter->start_days && row_start_ms(row) < filter_ms(filter->start_days))
        return false;
    if (filter->end_days && row_start_ms(row) > filter_ms(filter->end_days))
        return false;
    return filter_has(filter->deployments, deployments[row % 3].crn) &&
           filter_has(filter->builds, deployments[row % 3].build) &&
           filter_has(filter->models, deployments[row % 3].model) && filter_has_uuid(filter, row);
}

static json_t *filter_wanted(const struct filter *filter)
{
    json_t *rows = json_array();

    for (int i = 0; i < ROWS; i++) {
        json_t *row, *value, *metrics;
        const char *key;
        void *next;

        if (!filter_takes(filter, i))
            continue;
        row = row_wanted(i);
        metrics = json_object_get(row, "metrics");
        json_object_foreach_safe(metrics, next, key, value)
        {
            if (!filter_has(filter->keys, key))
                (void)json_object_del(metrics, key);
        }
        (void)json_array_append_new(rows, row);
    }
    return rows;
}

static void query_add(struct buf *query, const char *name, const char *const values[VALUES_MAX])
{
    for (int i = 0; i < VALUES_MAX && values[i]; i++)
        buf_append_fmt(query, "&%s=%s", name, values[i]);
}

/* "?limit=..." or "?" with the filter's parameters. Owned. */
static char *filter_query(const struct filter *filter, int limit, const char *cursor)
{
    AUTO(buf_done) struct buf query;
    const char *const kind[VALUES_MAX] = { filter->kind };
    char uuid[UUID_BYTES];

    buf_init(&query, SIZE_MAX);
    query_add(&query, "model_deployment_crn", filter->deployments);
    query_add(&query, "model_build_crn", filter->builds);
    query_add(&query, "model_crn", filter->models);
    query_add(&query, "kind", kind);
    query_add(&query, "key", filter->keys);
    for (int i = 0; i < VALUES_MAX && filter->uuids[i]; i++)
        buf_append_fmt(&query, "&prediction_uuid=%s", row_uuid(uuid, filter->uuids[i] - 1));
    if (filter->start_days)
        buf_append_fmt(&query, "&start_timestamp_ms=%lld",
                       (long long)filter_ms(filter->start_days));
    if (filter->end_days)
        buf_append_fmt(&query, "&end_timestamp_ms=%lld", (long long)filter_ms(filter->end_days));
    if (limit)
        buf_append_fmt(&query, "&limit=%d", limit);
    if (cursor)
        buf_append_fmt(&query, "&cursor=%s", cursor);
    return query.len ? xasprintf("?%s", buf_text(&query) + 1) : xstrdup("");
}

/* The body of /read-metrics that says the same, with either spelling of the times; NULL: it has no
 * words for it. */
static char *filter_body(const struct filter *filter, const char *timestamp)
{
    AUTO(mem_free) char *text = NULL;
    AUTO(mem_free) char *start = xasprintf("start%sMs", timestamp);
    AUTO(mem_free) char *end = xasprintf("end%sMs", timestamp);
    json_auto_t *body = NULL;

    if (filter->kind || filter->keys[0] || filter->uuids[0] || filter->deployments[1] ||
        filter->builds[1])
        return NULL;
    body = json_pack("{s:s*,s:s*,s:s*}", "modelDeploymentCrn", filter->deployments[0],
                     "modelBuildCrn", filter->builds[0], "modelCrn", filter->models[0]);
    if (filter->start_days)
        (void)json_object_set_new(body, start, json_integer(filter_ms(filter->start_days)));
    if (filter->end_days)
        (void)json_object_set_new(body, end, json_integer(filter_ms(filter->end_days)));
    text = json_dumps(body, 0);
    return TAKE(text);
}

/* ---- three formats ---- */

static json_t *lines_rows(const char *text)
{
    json_t *rows = json_array();

    for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
        AUTO(mem_free) char *one = xmemdup0(line, strcspn(line, "\n"));

        ck_assert_msg(line[strlen(one)] == '\n', "a line without its end: %s", one);
        (void)json_array_append_new(rows, service_json(one));
    }
    return rows;
}

/* No value of ours has a line break, so lines of CSV are rows. */
static size_t csv_rows(const char *text)
{
    size_t lines = 0;

    for (; *text; text++)
        lines += *text == '\n';
    ck_assert_uint_ge(lines, 1);
    return lines - 1;
}

static void check_filters(struct service *service)
{
    for (size_t i = 0; i < LENGTH(filters); i++) {
        json_auto_t *want = filter_wanted(&filters[i]);
        AUTO(mem_free) char *query = filter_query(&filters[i], 0, NULL);
        AUTO(mem_free) char *path = xasprintf("/v1/metrics%s", query);
        AUTO(mem_free) char *text = service_get_text(service, 200, path, "application/x-ndjson");
        AUTO(mem_free) char *csv = service_get_text(service, 200, path, "text/csv");
        json_auto_t *rows = service_rows(service, query);
        json_auto_t *lines = lines_rows(text);

        service_check_same(rows, want, filters[i].name);
        service_check_same(lines, want, filters[i].name);
        ck_assert_msg(csv_rows(csv) == json_array_size(want), "%s: %s", filters[i].name, csv);
    }
}

START_TEST(every_filter)
{
    AUTO(service_free) struct service *service = rows_start();

    check_filters(service);
}
END_TEST

START_TEST(every_filter_of_read_metrics)
{
    static const char *const spellings[] = { "Timestamp", "TimeStamp" };
    AUTO(service_free) struct service *service = rows_start();
    size_t asked = 0;

    for (size_t i = 0; i < LENGTH(filters) * 2; i++) {
        const struct filter *filter = &filters[i / 2];
        AUTO(mem_free) char *body = filter_body(filter, spellings[i % 2]);
        json_auto_t *rows = NULL;
        json_auto_t *answer = NULL;
        json_auto_t *want = NULL;

        if (!body)
            continue;
        rows = filter_wanted(filter);
        want = json_pack("{s:O}", "metrics", rows);
        answer = service_post(service, 200, "/read-metrics", body);
        service_check_same(answer, want, filter->name);
        asked++;
    }
    ck_assert_uint_eq(asked, 2 * 13);
}
END_TEST

/* Byte for byte. */
static const struct {
    const char *name, *accept, *query, *want;
} text_cases[] = {
    { "JSON", "application/json", "?prediction_uuid=00000000-0000-4000-8000-00000000000a",
      "{\"metrics\":[{\"modelDeploymentCrn\":\"crn:0\",\"modelBuildCrn\":\"crn:b0\","
      "\"modelCrn\":\"crn:m\",\"startTimeStampMs\":1704067200000,"
      "\"endTimeStampMs\":1704067200000,"
      "\"predictionUuid\":\"00000000-0000-4000-8000-00000000000a\","
      "\"metrics\":{\"n\":0,\"a.b\":{\"x\":0.5,\"list\":[0,1]},"
      "\"word\":\"even, \\\"quoted\\\"\",\"late\":0}}]}" },
    { "JSON, nothing", "application/json", "?model_crn=crn:none", "{\"metrics\":[]}" },
    { "NDJSON", "application/x-ndjson", "?model_deployment_crn=crn:1&kind=aggregate&key=n&limit=1",
      "{\"modelDeploymentCrn\":\"crn:1\",\"modelBuildCrn\":\"crn:b1\",\"modelCrn\":\"crn:m\","
      "\"startTimeStampMs\":1704412800000,\"endTimeStampMs\":1704412800004,\"predictionUuid\":\"\","
      "\"metrics\":{\"n\":4}}\n" },
    { "NDJSON, nothing", "application/x-ndjson", "?model_crn=crn:none", "" },
    { "CSV", "text/csv",
      "?prediction_uuid=00000000-0000-4000-8000-00000000000a"
      "&prediction_uuid=00000001-0000-4000-8000-00000000000a",
      "modelDeploymentCrn,modelBuildCrn,modelCrn,startTimeStampMs,endTimeStampMs,predictionUuid,"
      "metrics.n,metrics.a.b.x,metrics.a.b.list,metrics.word,metrics.late\n"
      "crn:0,crn:b0,crn:m,1704067200000,1704067200000,00000000-0000-4000-8000-00000000000a,"
      "0,0.5,\"[0,1]\",\"even, \"\"quoted\"\"\",0\n"
      "crn:1,crn:b1,crn:m,1707264000000,1707264000001,00000001-0000-4000-8000-00000000000a,"
      "1,1.5,\"[1,1]\",odd,\n" },
    { "CSV, nothing", "text/csv", "?model_crn=crn:none",
      "modelDeploymentCrn,modelBuildCrn,modelCrn,startTimeStampMs,endTimeStampMs,"
      "predictionUuid\n" },
};

START_TEST(formats_to_the_byte)
{
    AUTO(service_free) struct service *service = rows_start();

    for (size_t i = 0; i < LENGTH(text_cases); i++) {
        AUTO(mem_free) char *path = xasprintf("/v1/metrics%s", text_cases[i].query);
        AUTO(mem_free) char *have = service_get_text(service, 200, path, text_cases[i].accept);

        ck_assert_msg(strcmp(have, text_cases[i].want) == 0, "%s:\nhave %s\nwant %s",
                      text_cases[i].name, have, text_cases[i].want);
    }
}
END_TEST

/* ---- pages ---- */

struct page {
    json_t *rows;
    char *cursor; /* NULL: the last one */
};

static void page_done(struct page *page)
{
    json_decref(page->rows);
    free(page->cursor);
    *page = (struct page){ 0 };
}

static const char *const accepts[] = { "application/json", "application/x-ndjson", "text/csv" };

/* A line of CSV up to the metrics: which columns these have depends on the page. */
static size_t csv_head(const char *line)
{
    size_t len = 0;

    for (int commas = 0; line[len] && line[len] != '\n'; len++) {
        if (line[len] == ',' && ++commas == 6)
            break;
    }
    return len;
}

/* In CSV the rows are lines, each as a text. */
static void page_parse(struct page *page, const struct http_answer *answer, int format)
{
    const char *line = answer->body;

    if (format == 0) {
        json_auto_t *json = http_json(answer);
        const char *cursor = json_string_value(json_object_get(json, "nextCursor"));

        page->rows = json_incref(json_object_get(json, "metrics"));
        page->cursor = cursor ? xstrdup(cursor) : NULL;
        return;
    }
    page->cursor = http_header(answer, "Plumbline-Next-Cursor");
    if (format == 1) {
        page->rows = lines_rows(answer->body);
        return;
    }
    page->rows = json_array();
    for (line += strcspn(line, "\n") + 1; *line; line += strcspn(line, "\n") + 1)
        (void)json_array_append_new(page->rows, json_stringn(line, csv_head(line)));
}

static struct page page_get(struct service *service, const struct filter *filter, int limit,
                            const char *cursor, int format)
{
    AUTO(mem_free) char *query = filter_query(filter, limit, cursor);
    AUTO(mem_free) char *path = xasprintf("/v1/metrics%s", query);
    AUTO(mem_free) char *url = daemon_url(service->daemon, path);
    AUTO(mem_free) char *accept = xasprintf("Accept: %s", accepts[format]);
    const char *const headers[] = { accept, NULL };
    AUTO(http_answer_free)
    struct http_answer *answer =
        http_send(service->http, &(struct http_request){ .url = url, .headers = headers });
    struct page page = { 0 };

    ck_assert_msg(answer->status == 200, "%s: %ld%s %s", path, answer->status, answer->error,
                  answer->body);
    page_parse(&page, answer, format);
    return page;
}

/* All pages of one walk put together. Owned. */
static json_t *pages_walk(struct service *service, const struct filter *filter, int limit,
                          int format)
{
    json_t *all = json_array();
    json_auto_t *seen = json_object();
    struct page page = page_get(service, filter, limit, NULL, format);

    for (;;) {
        AUTO(mem_free) char *cursor = page.cursor;
        size_t len = json_array_size(page.rows);

        (void)json_array_extend(all, page.rows);
        json_decref(page.rows);
        if (!cursor) {
            ck_assert_uint_le(len, (size_t)limit);
            return all;
        }
        ck_assert_msg(len == (size_t)limit, "%s: a page of %zu, not %d", filter->name, len, limit);
        ck_assert_msg(!json_object_get(seen, cursor), "%s: cursor %s again", filter->name, cursor);
        (void)json_object_set_new(seen, cursor, json_true());
        page = page_get(service, filter, limit, cursor, format);
    }
}

/* Everything in pages of many sizes, each filter in pages of one. */
START_TEST(pages_of_any_size)
{
    static const int limits[] = { 1, 2, 3, 7, ROWS - 1, ROWS, 100, 1000000000 };
    AUTO(service_free) struct service *service = rows_start();
    size_t filters_len = runner_short() ? 3 : LENGTH(filters);
    size_t first = _i > 0 || runner_short() ? 2 : 0; /* the smallest pages take longest */

    for (size_t i = 0; i < filters_len; i++) {
        struct page whole = page_get(service, &filters[i], 0, NULL, _i);

        ck_assert_ptr_null(whole.cursor);
        for (size_t n = first; n < LENGTH(limits); n++) {
            json_auto_t *pages = NULL;

            if (i > 0 && limits[n] != 7)
                continue;
            pages = pages_walk(service, &filters[i], limits[n], _i);
            service_check_same(pages, whole.rows, filters[i].name);
        }
        page_done(&whole);
    }
}
END_TEST

/* More deployments of each build and model than a read knows by name. */
START_TEST(every_filter_among_many_deployments)
{
    AUTO(service_free) struct service *service = rows_start();
    json_auto_t *quoted = NULL;

    pg_exec(service->dsn, "INSERT INTO model_deployment (crn, build_crn, model_crn)"
                          " SELECT 'crn:more:' || n, 'crn:b' || n %% 2, 'crn:m'"
                          " FROM generate_series(1, 4000) AS n");
    check_filters(service);
    for (size_t i = 0; i < LENGTH(filters); i++) {
        json_auto_t *want = filter_wanted(&filters[i]);
        json_auto_t *pages = pages_walk(service, &filters[i], 7, 1);

        service_check_same(pages, want, filters[i].name);
    }
    pg_exec(service->dsn, "UPDATE model_deployment SET model_crn = 'it''s \\a'");
    quoted = service_rows(service, "?model_crn=it's%20%5Ca&model_crn=%27)");
    ck_assert_uint_eq(json_array_size(quoted), ROWS);
}
END_TEST

/* ---- while rows are being added ---- */

/* Adds a prediction, and the same label to the first and to the last of our rows, in one request:
 * whoever sees one of these labels must see the other. */
struct writer {
    char *url;
    pthread_t thread;
    _Atomic bool stops;
    _Atomic uint32_t requests;
    _Atomic bool failed;
};

enum { FIRST_ROW = 0, LAST_ROW = ROWS - 1, WRITES_MAX = 200 };

static void *writer_run(void *arg)
{
    struct writer *writer = arg;
    AUTO(http_free) struct http *http = http_new();
    char first[UUID_BYTES], last[UUID_BYTES];

    (void)row_uuid(first, FIRST_ROW);
    (void)row_uuid(last, LAST_ROW);
    while (!writer->stops && writer->requests < WRITES_MAX) {
        AUTO(mem_free)
        char *body = xasprintf(
            "[{\"event\":\"delayed_metrics\",\"predictionUuid\":\"%s\",\"metrics\":{\"v\":%u}},"
            "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:1\","
            "\"predictionUuid\":\"%08x-0000-4000-8000-00000000000b\",\"startTimestampMs\":%lld,"
            "\"endTimestampMs\":%lld,\"metrics\":{}},"
            "{\"event\":\"delayed_metrics\",\"predictionUuid\":\"%s\",\"metrics\":{\"v\":%u}}]",
            first, writer->requests, writer->requests, (long long)BASE_MS, (long long)BASE_MS, last,
            writer->requests);
        AUTO(http_answer_free) struct http_answer *answer = http_post(http, writer->url, body);

        if (answer->status != 200 || !strstr(answer->body, "\"accepted\":3"))
            writer->failed = true;
        writer->requests++;
    }
    return NULL;
}

static void check_walk(const json_t *pages, const json_t *whole)
{
    const json_t *first = json_object_get(json_array_get(pages, FIRST_ROW), "metrics");
    const json_t *last = json_object_get(json_array_get(pages, LAST_ROW), "metrics");

    ck_assert_uint_ge(json_array_size(pages), ROWS);
    ck_assert_uint_le(json_array_size(pages), json_array_size(whole));
    for (size_t i = 0; i < json_array_size(pages); i++) {
        const json_t *row = json_array_get(pages, i), *same = json_array_get(whole, i);

        ck_assert_str_eq(service_text(row, "predictionUuid"), service_text(same, "predictionUuid"));
        ck_assert_int_eq(service_number(row, "startTimeStampMs"),
                         service_number(same, "startTimeStampMs"));
    }
    ck_assert_msg(json_equal(json_object_get(first, "v"), json_object_get(last, "v")) ||
                      (!json_object_get(first, "v") && !json_object_get(last, "v")),
                  "one of two labels that were committed together");
}

START_TEST(pages_while_rows_are_added)
{
    static const int limits[] = { 7, 3, 11, 40, 1000 };
    AUTO(service_free) struct service *service = rows_start();
    struct writer writer = { .url = daemon_url(service->daemon, "/v1/events") };
    uint32_t before;

    ck_assert_int_eq(pthread_create(&writer.thread, NULL, writer_run, &writer), 0);
    for (int i = 0; i < (runner_short() ? 2 : 5); i++) {
        json_auto_t *pages = NULL;
        json_auto_t *whole = NULL;

        before = writer.requests;
        pages = pages_walk(service, &filters[0], limits[i % 5], i % 2);
        WAIT_UNTIL(10000, writer.requests > before || writer.requests == WRITES_MAX);
        whole = service_rows(service, "");
        check_walk(pages, whole);
    }
    writer.stops = true;
    (void)pthread_join(writer.thread, NULL);
    ck_assert(!writer.failed);
    free(writer.url);
}
END_TEST

/* ---- cursors ---- */

/* The rows in order, as they were inserted, whatever became of their CRNs since. */
static void check_order(const json_t *rows, int from)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_auto_t *want = row_wanted(from + (int)i);
        const json_t *row = json_array_get(rows, i);

        ck_assert_str_eq(service_text(row, "predictionUuid"), service_text(want, "predictionUuid"));
        service_check_same(json_object_get(row, "metrics"), json_object_get(want, "metrics"),
                           "metrics");
    }
}

START_TEST(cursor_survives)
{
    enum { PAGE = 6 };
    AUTO(service_free) struct service *service = rows_start();
    struct page first = page_get(service, &filters[0], PAGE, NULL, 0);
    struct page second, third;

    check_order(first.rows, 0);
    ck_assert_str_eq(service_text(json_array_get(first.rows, 2), "modelBuildCrn"), "");
    service_take(service, "{\"event\":\"model_deployed\",\"modelDeploymentCrn\":\"crn:2\","
                          "\"modelBuildCrn\":\"crn:b2\",\"modelCrn\":\"crn:m\","
                          "\"userName\":\"ada\",\"status\":\"deployed\"}");
    second = page_get(service, &filters[0], PAGE, first.cursor, 1);
    check_order(second.rows, PAGE);
    ck_assert_str_eq(service_text(json_array_get(second.rows, 2), "modelBuildCrn"), "crn:b2");
    daemon_kill9(service->daemon);
    daemon_resume(service->daemon);
    third = page_get(service, &filters[0], 1000, second.cursor, 0);
    check_order(third.rows, 2 * PAGE);
    ck_assert_uint_eq(json_array_size(third.rows), ROWS - 2 * PAGE);
    ck_assert_ptr_null(third.cursor);
    page_done(&first);
    page_done(&second);
    page_done(&third);
}
END_TEST

static const struct {
    const char *name, *query;
} foreign_cases[] = {
    { "no filter", "?limit=2" },
    { "another deployment", "?limit=2&model_deployment_crn=crn:0" },
    { "a further deployment", "?limit=2&model_deployment_crn=crn:1&model_deployment_crn=crn:0" },
    { "the same text as another filter", "?limit=2&model_build_crn=crn:1" },
    { "a kind", "?limit=2&model_deployment_crn=crn:1&kind=prediction" },
    { "a key", "?limit=2&model_deployment_crn=crn:1&key=n" },
    { "a start", "?limit=2&model_deployment_crn=crn:1&start_timestamp_ms=0" },
    { "an end", "?limit=2&model_deployment_crn=crn:1&end_timestamp_ms=1704067200000" },
    { "a UUID",
      "?limit=2&model_deployment_crn=crn:1&prediction_uuid=00000001-0000-4000-8000-00000000000a" },
};

static const struct {
    const char *name, *query, *code, *field, *message;
} refusal_cases[] = {
#define NOT_A_CURSOR "not a cursor: take \"nextCursor\" of the page before as it is"
    { "empty cursor", "?limit=1&cursor=", "invalid_query", NULL, NOT_A_CURSOR },
    { "word", "?limit=1&cursor=next", "invalid_query", NULL, NOT_A_CURSOR },
    { "too short", "?limit=1&cursor=1-2-3", "invalid_query", NULL, NOT_A_CURSOR },
    { "too long", "?limit=1&cursor=1-2-3-4-5-6", "invalid_query", NULL, NOT_A_CURSOR },
    { "another version", "?limit=1&cursor=2-2-3-4-5", "invalid_query", NULL, NOT_A_CURSOR },
    { "out of range", "?limit=1&cursor=1-ffffffffffffffff-3-4-5", "invalid_query", NULL,
      NOT_A_CURSOR },
    { "sign", "?limit=1&cursor=1--2-3-4-5", "invalid_query", NULL, NOT_A_CURSOR },
    { "no limit", "?cursor=1-2-3-4-5", "invalid_parameter", "cursor",
      "\"cursor\" needs \"limit\"" },
    { "limit 0", "?limit=0", "invalid_parameter", "limit",
      "\"limit\" must be from 1 to 1000000000: 0" },
    { "limit beyond", "?limit=1000000001", "invalid_parameter", "limit",
      "\"limit\" must be from 1 to 1000000000: 1000000001" },
    { "limit of text", "?limit=ten", "invalid_parameter", "limit",
      "\"limit\" must be a whole number: \"ten\"" },
    { "limit twice", "?limit=1&limit=1", "repeated_parameter", "limit",
      "query parameter \"limit\" is given more than once" },
    { "kind", "?kind=label", "invalid_parameter", "kind",
      "\"kind\" must be prediction or aggregate: \"label\"" },
    { "UUID", "?prediction_uuid=abc", "invalid_parameter", "prediction_uuid",
      "\"prediction_uuid\" is not a UUID: \"abc\"" },
    { "empty CRN", "?model_crn=", "invalid_parameter", "model_crn",
      "\"model_crn\" must have from 1 to 1024 bytes: it has 0" },
    { "start", "?start_timestamp_ms=1.5", "invalid_parameter", "start_timestamp_ms",
      "\"start_timestamp_ms\" must be a whole number: \"1.5\"" },
    { "end before start", "?start_timestamp_ms=2&end_timestamp_ms=1", "invalid_parameter",
      "end_timestamp_ms", "the end (1) is before the start (2)" },
    { "unknown", "?since=1", "unknown_parameter", "since", "unknown query parameter \"since\"" },
};

START_TEST(wrong_queries_are_refused)
{
    AUTO(service_free) struct service *service = rows_start();
    const struct filter filter = { .name = "own", .deployments = { "crn:1" } };
    struct page page = page_get(service, &filter, 2, NULL, 0);
    struct page next;

    for (size_t i = 0; i < LENGTH(foreign_cases); i++) {
        AUTO(mem_free)
        char *path = xasprintf("/v1/metrics%s&cursor=%s", foreign_cases[i].query, page.cursor);
        json_auto_t *answer = service_get(service, 400, path);

        service_check_error(answer, "invalid_query", NULL,
                            "the cursor belongs to another query: only \"limit\" may change from "
                            "page to page",
                            foreign_cases[i].name);
    }
    for (size_t i = 0; i < LENGTH(refusal_cases); i++) {
        AUTO(mem_free) char *path = xasprintf("/v1/metrics%s", refusal_cases[i].query);
        json_auto_t *answer = service_get(service, 400, path);

        service_check_error(answer, refusal_cases[i].code, refusal_cases[i].field,
                            refusal_cases[i].message, refusal_cases[i].name);
    }
    next = page_get(service, &filter, 5, page.cursor, 0); /* another limit is none of these */
    ck_assert_uint_eq(json_array_size(next.rows), 5);
    page_done(&page);
    page_done(&next);
}
END_TEST

/* ---- the command ---- */

START_TEST(what_read_prints_ingest_takes)
{
    AUTO(service_free) struct service *service = rows_start();
    AUTO(service_free) struct service *copy = service_start();
    AUTO(mem_free) char *from = daemon_url(service->daemon, "");
    AUTO(mem_free) char *to = daemon_url(copy->daemon, "");
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/rows.ndjson", dir);
    const char *const read[] = { "read", "--url", from, "--format", "ndjson", NULL };
    const char *const ingest[] = { "ingest", "--url", to, path, NULL };
    AUTO(mem_free) char *rows = NULL;
    AUTO(mem_free) char *said = NULL;
    AUTO(mem_free) char *want = NULL;
    AUTO(mem_free) char *have = NULL;
    FILE *file = fopen(path, "w");

    ck_assert_int_eq(service_command(read, NULL, &rows), 0);
    want = service_get_text(service, 200, "/v1/metrics", "application/x-ndjson");
    ck_assert_str_eq(rows, want);
    ck_assert_ptr_nonnull(file);
    (void)fputs(rows, file);
    (void)fclose(file);
    ck_assert_int_eq(service_command(ingest, NULL, &said), 0);
    have = service_get_text(copy, 200, "/v1/metrics", "application/x-ndjson");
    ck_assert_str_eq(have, want);
}
END_TEST

Suite *reading_suite(void)
{
    Suite *suite = suite_create("reading");
    TCase *tcase = tcase_create("reading");

    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, every_filter);
    tcase_add_test(tcase, every_filter_among_many_deployments);
    tcase_add_test(tcase, every_filter_of_read_metrics);
    tcase_add_test(tcase, formats_to_the_byte);
    tcase_add_loop_test(tcase, pages_of_any_size, 0, LENGTH(accepts));
    tcase_add_test(tcase, pages_while_rows_are_added);
    tcase_add_test(tcase, cursor_survives);
    tcase_add_test(tcase, wrong_queries_are_refused);
    tcase_add_test(tcase, what_read_prints_ingest_takes);
    suite_add_tcase(suite, tcase);
    return suite;
}
