#include "metrics/row.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "metrics/event.h"

enum { TEXTS_MAX = 4 };

static const struct {
    const char *name, *metrics;
    const char *labels[TEXTS_MAX], *keys[TEXTS_MAX]; /* NULL at the end */
    const char *want;
} merge_cases[] = {
    { "nothing to do",
      "{\"a\":1,\"b\":{\"c\":[1,2]}}",
      { 0 },
      { 0 },
      "{\"a\":1,\"b\":{\"c\":[1,2]}}" },
    { "a new member goes to the end",
      "{\"a\":1.0}",
      { "{\"b\":1e22}" },
      { 0 },
      "{\"a\":1.0,\"b\":1e22}" },
    { "a member keeps its place",
      "{\"a\":1,\"b\":2,\"c\":3}",
      { "{\"b\":{\"x\":0}}" },
      { 0 },
      "{\"a\":1,\"b\":{\"x\":0},\"c\":3}" },
    { "the later label wins",
      "{\"a\":1}",
      { "{\"a\":2,\"b\":1}", "{\"b\":2,\"a\":3}" },
      { 0 },
      "{\"a\":3,\"b\":2}" },
    { "top level only",
      "{\"a\":{\"x\":1,\"y\":2}}",
      { "{\"a\":{\"x\":3}}" },
      { 0 },
      "{\"a\":{\"x\":3}}" },
    { "null is a value", "{\"a\":1}", { "{\"a\":null}" }, { 0 }, "{\"a\":null}" },
    { "keys are compared unescaped",
      "{\"\\u0061\":1,\"\xC3\xA9\":2}",
      { "{\"a\":3,\"\\u00e9\":4}" },
      { 0 },
      "{\"\\u0061\":3,\"\xC3\xA9\":4}" },
    { "a new key keeps its spelling",
      "{}",
      { "{\"\\u0061\":1}", "{\"a\":2}" },
      { 0 },
      "{\"\\u0061\":2}" },
    { "empty and empty", "{}", { "{}" }, { 0 }, "{}" },
    { "empty labels", "{\"a\":1}", { "{}", "{}" }, { 0 }, "{\"a\":1}" },
    { "one key", "{\"a\":1,\"b\":2,\"c\":3}", { 0 }, { "b" }, "{\"b\":2}" },
    { "two keys in the row's order",
      "{\"a\":1,\"b\":2,\"c\":3}",
      { 0 },
      { "c", "a" },
      "{\"a\":1,\"c\":3}" },
    { "a key of a label", "{\"a\":1}", { "{\"l\":true}" }, { "l" }, "{\"l\":true}" },
    { "an escaped key", "{\"\\u0061\":1,\"b\":2}", { 0 }, { "a" }, "{\"\\u0061\":1}" },
    { "a key nobody has", "{\"a\":1}", { "{\"b\":2}" }, { "z" }, "{}" },
    { "a key is no path", "{\"a\":{\"b\":1},\"a.b\":2}", { 0 }, { "a.b" }, "{\"a.b\":2}" },
    { "brackets and quotes in strings",
      "{\"a\":\"}\\\"]{,\",\"b\":[\"]\",{\"c\":\"}\"}]}",
      { "{\"z\":\"{\"}" },
      { 0 },
      "{\"a\":\"}\\\"]{,\",\"b\":[\"]\",{\"c\":\"}\"}],\"z\":\"{\"}" },
};

static size_t spans_of(const char *const texts[TEXTS_MAX], struct span spans[TEXTS_MAX])
{
    size_t len = 0;

    for (; len < TEXTS_MAX && texts[len]; len++)
        spans[len] = span_of(texts[len]);
    return len;
}

START_TEST(merge_case)
{
    struct span labels[TEXTS_MAX], keys[TEXTS_MAX];
    size_t labels_len = spans_of(merge_cases[_i].labels, labels);
    size_t keys_len = spans_of(merge_cases[_i].keys, keys);
    AUTO(buf_done) struct buf out;

    buf_init(&out, 10000);
    row_merge(&out, span_of(merge_cases[_i].metrics), labels, labels_len, keys, keys_len);
    ck_assert_msg(strcmp(buf_text(&out), merge_cases[_i].want) == 0, "%s: %s", merge_cases[_i].name,
                  buf_text(&out));
}
END_TEST

/* Past the point where the members get a map. */
START_TEST(merge_of_many_members)
{
    AUTO(buf_done) struct buf metrics, want, out;
    AUTO(buf_done) struct buf label;

    buf_init(&metrics, 1 << 20);
    buf_init(&label, 1 << 20);
    buf_init(&want, 1 << 20);
    buf_init(&out, 1 << 20);
    for (int i = 0; i < 500; i++) {
        buf_append_fmt(&metrics, "%s\"\\u006b%d\":%d", i ? "," : "{", i, i);
        buf_append_fmt(&label, "%s\"k%d\":\"%d\"", i ? "," : "{", i * 2, i);
    }
    for (int i = 0; i < 1000; i++) {
        if (i < 500 && i % 2)
            buf_append_fmt(&want, ",\"\\u006b%d\":%d", i, i);
        else if (i < 500)
            buf_append_fmt(&want, "%s\"\\u006b%d\":\"%d\"", i ? "," : "{", i, i / 2);
        else if (i % 2 == 0)
            buf_append_fmt(&want, ",\"k%d\":\"%d\"", i, i / 2);
    }
    buf_append_char(&metrics, '}');
    buf_append_char(&label, '}');
    buf_append_char(&want, '}');
    row_merge(&out, buf_span(&metrics), &(struct span){ label.data, label.len }, 1, NULL, 0);
    ck_assert_str_eq(buf_text(&out), buf_text(&want));
}
END_TEST

START_TEST(merge_stops_when_full)
{
    struct span label = SPAN_LITERAL("{\"b\":22222}");

    for (size_t max = 0; max < 17; max++) {
        AUTO(buf_done) struct buf out;

        buf_init(&out, max);
        row_merge(&out, SPAN_LITERAL("{\"a\":1}"), &label, 1, NULL, 0);
        ck_assert_int_eq(out.full, max < 17);
    }
}
END_TEST

START_TEST(json_has_seven_members)
{
    AUTO(buf_done) struct buf out;
    struct row row = {
        .deployment_crn = SPAN_LITERAL("crn:\"d"),
        .build_crn = SPAN_LITERAL(""),
        .model_crn = SPAN_LITERAL("m"),
        .start_ms = 1596185125125,
        .end_ms = -1,
        .uuid = SPAN_LITERAL(""),
        .metrics = SPAN_LITERAL("{\"a\":0.10}"),
    };

    buf_init(&out, 1000);
    row_write_json(&out, &row);
    ck_assert_str_eq(buf_text(&out),
                     "{\"modelDeploymentCrn\":\"crn:\\\"d\",\"modelBuildCrn\":\"\",\"modelCrn\":"
                     "\"m\",\"startTimeStampMs\":1596185125125,\"endTimeStampMs\":-1,"
                     "\"predictionUuid\":\"\",\"metrics\":{\"a\":0.10}}");
}
END_TEST

#define CSV_FRONT                                                                                  \
    "modelDeploymentCrn,modelBuildCrn,modelCrn,startTimeStampMs,endTimeStampMs,predictionUuid"

/* The names are those that pandas 2 gives the same rows. */
static const struct {
    const char *name;
    const char *rows[TEXTS_MAX]; /* NULL at the end */
    const char *header;
    const char *cells[TEXTS_MAX];
} csv_cases[] = {
    { "no metrics", { "{}" }, "", { "" } },
    { "scalars",
      { "{\"i\":1,\"f\":0.10,\"t\":true,\"n\":null,\"s\":\"x\",\"e\":\"\"}" },
      ",metrics.i,metrics.f,metrics.t,metrics.n,metrics.s,metrics.e",
      { ",1,0.10,true,,x,\"\"" } },
    { "nested",
      { "{\"a\":{\"b\":1,\"c\":{\"d\":2}},\"e\":3}" },
      ",metrics.a.b,metrics.a.c.d,metrics.e",
      { ",1,2,3" } },
    { "an empty object has no column",
      { "{\"a\":{\"b\":{}},\"c\":{},\"d\":1}" },
      ",metrics.d",
      { ",1" } },
    { "lists are kept whole",
      { "{\"a\":[1,{\"x\":2}],\"b\":[]}" },
      ",metrics.a,metrics.b",
      { ",\"[1,{\"\"x\"\":2}]\",[]" } },
    { "dots in keys", { "{\"e.f\":{\"g.h\":1}}" }, ",metrics.e.f.g.h", { ",1" } },
    { "empty keys", { "{\"\":{\"\":3}}" }, ",metrics..", { ",3" } },
    { "the same name twice: the later",
      { "{\"a.b\":1,\"a\":{\"b\":2}}" },
      ",metrics.a.b",
      { ",2" } },
    { "order of first appearance",
      { "{\"a\":{\"b\":1}}", "{\"a\":null,\"z\":1.0}", "{}", "{\"z\":2,\"a\":{\"b\":5}}" },
      ",metrics.a.b,metrics.a,metrics.z",
      { ",1,,", ",,,1.0", ",,,", ",5,,2" } },
    { "quotes",
      { "{\"a\":\"x,y\",\"b\":\"\\\"\",\"c\":\"l\\nm\",\"d\":\"\\r\",\"e\":\" \"}" },
      ",metrics.a,metrics.b,metrics.c,metrics.d,metrics.e",
      { ",\"x,y\",\"\"\"\",\"l\nm\",\"\r\", " } },
    { "quotes in names",
      { "{\"a,b\":1,\"c\\\"\":2,\"\\u0064\":3}" },
      ",\"metrics.a,b\",\"metrics.c\"\"\",metrics.d",
      { ",1,2,3" } },
    { "unescaped",
      { "{\"a\":\"\\u00e9\\ud83d\\ude00\\/\"}" },
      ",metrics.a",
      { ",\xC3\xA9\xF0\x9F\x98\x80/" } },
    { "formulas are data",
      { "{\"a\":\"=1+1\",\"b\":\"@x\",\"c\":-1}" },
      ",metrics.a,metrics.b,metrics.c",
      { ",=1+1,@x,-1" } },
};

START_TEST(csv_case)
{
    AUTO(row_columns_free) struct row_columns *columns = row_columns_new(100);
    struct row row = { .deployment_crn = SPAN_LITERAL("d,1"),
                       .model_crn = SPAN_LITERAL("m"),
                       .start_ms = 1,
                       .end_ms = 2 };
    AUTO(buf_done) struct buf out;
    AUTO(buf_done) struct buf want;

    buf_init(&out, 10000);
    buf_init(&want, 10000);
    buf_append_fmt(&want, "%s%s\n", CSV_FRONT, csv_cases[_i].header);
    for (size_t i = 0; i < TEXTS_MAX && csv_cases[_i].rows[i]; i++) {
        ck_assert_int_eq(row_columns_add(columns, span_of(csv_cases[_i].rows[i])), 0);
        buf_append_fmt(&want, "\"d,1\",,m,1,2,%s\n", csv_cases[_i].cells[i]);
    }
    row_columns_write_header(columns, &out);
    for (size_t i = 0; i < TEXTS_MAX && csv_cases[_i].rows[i]; i++) {
        row.metrics = span_of(csv_cases[_i].rows[i]);
        row_columns_write(columns, &out, &row);
    }
    ck_assert_msg(strcmp(buf_text(&out), buf_text(&want)) == 0, "%s: %s", csv_cases[_i].name,
                  buf_text(&out));
}
END_TEST

START_TEST(columns_are_bounded)
{
    AUTO(row_columns_free) struct row_columns *columns = row_columns_new(2);

    ck_assert_int_eq(row_columns_add(columns, SPAN_LITERAL("{\"a\":1,\"b\":1}")), 0);
    ck_assert_int_eq(row_columns_add(columns, SPAN_LITERAL("{\"b\":1,\"a\":{}}")), 0);
    ck_assert_int_eq(row_columns_add(columns, SPAN_LITERAL("{\"c\":1}")), -1);
}
END_TEST

/* The metrics of a line of the capture. */
static struct span churn_metrics(const char *line)
{
    const char *start = strstr(line, "\"metrics\":") + strlen("\"metrics\":");

    return (struct span){ start, strlen(start) - 2 }; /* without "}\n" */
}

START_TEST(churn)
{
    FILE *track = fopen("tests/data/churn/track.ndjson", "r");
    FILE *delayed = fopen("tests/data/churn/delayed.ndjson", "r");
    AUTO(row_columns_free) struct row_columns *columns = row_columns_new(100);
    static char track_line[1 << 16], delayed_line[1 << 16];
    AUTO(buf_done) struct buf out, csv;
    size_t lines = 0;

    ck_assert(track && delayed);
    buf_init(&out, 1 << 20);
    buf_init(&csv, 1 << 20);
    while (fgets(track_line, sizeof(track_line), track) &&
           fgets(delayed_line, sizeof(delayed_line), delayed)) {
        struct span metrics = churn_metrics(track_line), label = churn_metrics(delayed_line);

        buf_clear(&out);
        row_merge(&out, metrics, &label, 1, NULL, 0);
        /* final_label is no member of a prediction: the merged text is both, one behind the other
         */
        ck_assert_uint_eq(out.len, metrics.len + label.len - 1);
        ck_assert_mem_eq(out.data, metrics.data, metrics.len - 1);
        ck_assert_mem_eq(out.data + metrics.len, label.data + 1, label.len - 1);
        ck_assert_int_eq(row_columns_add(columns, buf_span(&out)), 0);
        buf_clear(&csv);
        row_columns_write(columns, &csv, &(struct row){ .metrics = buf_span(&out) });
        ck_assert_int_eq(csv.data[csv.len - 1], '\n');
        lines++;
    }
    ck_assert_uint_eq(lines, 999);
    buf_clear(&csv);
    row_columns_write_header(columns, &csv);
    ck_assert_ptr_nonnull(strstr(buf_text(&csv), ",metrics.explanation.tenure,"));
    ck_assert_ptr_nonnull(strstr(buf_text(&csv), ",metrics.final_label"));
    (void)fclose(track);
    (void)fclose(delayed);
}
END_TEST

Suite *row_suite(void); /* called from the table that tools/suites writes */

Suite *row_suite(void)
{
    Suite *suite = suite_create("metrics/row");
    TCase *tc = tcase_create("row");

    tcase_add_loop_test(tc, merge_case, 0, LENGTH(merge_cases));
    tcase_add_loop_test(tc, csv_case, 0, LENGTH(csv_cases));
    tcase_add_test(tc, merge_of_many_members);
    tcase_add_test(tc, merge_stops_when_full);
    tcase_add_test(tc, json_has_seven_members);
    tcase_add_test(tc, columns_are_bounded);
    tcase_add_test(tc, churn);
    suite_add_tcase(suite, tc);
    return suite;
}
