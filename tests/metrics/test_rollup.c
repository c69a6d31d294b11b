#include "metrics/rollup.h"

#include <check.h>
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/window.h"
#include "random.h"

enum { VALUES = 400, DELTAS = 30, METRICS = 40, BYTES_MAX = 1 << 20 };

/* One value of a stream: a number, a text or a null. */
struct value {
    int kind; /* 0 to 5: number; 6, 7: text; 8: null */
    double number;
    uint64_t text;
};

static struct value random_value(struct random *random)
{
    return (struct value){
        .kind = (int)random_below(random, 9),
        .number = random_number(random),
        .text = random_below(random, 150),
    };
}

static void add_value(struct rollup *rollup, const struct value *value)
{
    char text[32];

    if (value->kind < 6) {
        rollup_add_number(rollup, value->number);
    } else if (value->kind < 8) {
        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value->text);
        rollup_add_text(rollup, span_of(text));
    } else {
        rollup_add_null(rollup);
    }
}

static void assert_bytes(struct span got, struct span want)
{
    ck_assert_uint_eq(got.len, want.len);
    ck_assert_mem_eq(got.data, want.data, want.len);
}

START_TEST(order_does_not_matter)
{
    struct random random = { (uint64_t)_i };
    size_t len = random_below(&random, VALUES) + 1;
    static struct value values[VALUES];
    static struct rollup all, merged, part;
    AUTO(buf_done) struct buf want, bytes;

    buf_init(&want, BYTES_MAX);
    buf_init(&bytes, BYTES_MAX);
    rollup_init(&all);
    rollup_init(&merged);
    rollup_init(&part);
    for (size_t i = 0; i < len; i++) {
        values[i] = random_value(&random);
        add_value(&all, &values[i]);
    }
    rollup_write(&all, &want);
    for (int round = 0; round < 10; round++) {
        for (size_t i = len; i > 1; i--) {
            size_t k = random_below(&random, i);
            struct value value = values[i - 1];

            values[i - 1] = values[k];
            values[k] = value;
        }
        for (size_t i = 0; i < len;) {
            rollup_clear(&part);
            for (size_t n = random_below(&random, 8); n > 0 && i < len; n--, i++)
                add_value(&part, &values[i]);
            buf_clear(&bytes);
            rollup_write(&part, &bytes);
            ck_assert_int_eq(rollup_read(&part, buf_span(&bytes)), 0);
            ck_assert_int_eq(rollup_merge(&merged, &part), 0);
        }
        buf_clear(&bytes);
        rollup_write(&merged, &bytes);
        assert_bytes(buf_span(&bytes), buf_span(&want));
        rollup_clear(&merged);
    }
    rollup_done(&all);
    rollup_done(&merged);
    rollup_done(&part);
}
END_TEST

static void assert_reads(struct span bytes)
{
    static struct rollup rollup;
    AUTO(buf_done) struct buf out;

    buf_init(&out, BYTES_MAX);
    rollup_init(&rollup);
    ck_assert_int_eq(rollup_read(&rollup, bytes), 0);
    rollup_write(&rollup, &out);
    assert_bytes(buf_span(&out), bytes);
    rollup_done(&rollup);
}

#define BYTES(text) text, sizeof(text) - 1

/* The format itself: what is stored must be read for ever. */
static const struct {
    const char *name, *object, *bytes;
    size_t len;
} format_cases[] = {
    { "nothing", "{}", BYTES("\x10") },
    { "an integer", "{\"a\":1}", BYTES("\x13\1\2\x3F\xF0") },
    { "zero", "{\"a\":0}", BYTES("\x13\1\0") },
    { "minus zero", "{\"a\":-0.0}", BYTES("\x13\1\0") },
    { "17 digits", "{\"a\":0.1}", BYTES("\x13\1\x08\x3F\xB9\x99\x99\x99\x99\x99\x9A") },
    { "equal numbers", "{\"a\":8,\"b\":8.0,\"c\":80e-1}", BYTES("\x13\3\2\x40\x20") },
    { "two numbers", "{\"a\":1,\"b\":2}", BYTES("\x11\x12\x3F\xF0\x40\2\0\3\2\0\5\2\0\x3E") },
    { "of both signs", "{\"a\":-1,\"b\":0,\"c\":1,\"d\":1}",
      BYTES("\x11\x22\xBF\xF0\x3F\xF0\2\0\1\2\0\3\3\x86\xE4\x10\x80\x99\x04\x81\x99\x04\0") },
    { "null", "{\"a\":null,\"b\":null}", BYTES("\x14\2") },
    { "booleans and texts are one", "{\"a\":true,\"b\":\"true\"}", BYTES("\x18\0\1\x09true\0") },
    { "all parts", "{\"a\":1,\"b\":null,\"c\":\"x\"}", BYTES("\x1F\1\2\x3F\xF0\1\0\1\2x") },
};

START_TEST(format_case)
{
    struct span want = { format_cases[_i].bytes, format_cases[_i].len };
    static struct leaf_walk walk;
    static struct rollup rollup;
    AUTO(buf_done) struct buf out;
    struct leaf leaf;

    buf_init(&out, 1000);
    rollup_init(&rollup);
    leaf_walk_begin(&walk, span_of(format_cases[_i].object));
    while (leaf_walk_next(&walk, &leaf))
        ck_assert(rollup_add_leaf(&rollup, &leaf));
    rollup_write(&rollup, &out);
    assert_bytes(buf_span(&out), want);
    assert_reads(want);
    rollup_done(&rollup);
}
END_TEST

static const struct {
    const char *name, *bytes;
    size_t len;
} bad_cases[] = {
    { "nothing at all", BYTES("") },
    { "version 0", BYTES("\0") },
    { "version 2", BYTES("\x23\1\2\x3F\xF0") },
    { "more behind it", BYTES("\x10\0") },
    { "equal without numbers", BYTES("\x12\1\2\x3F\xF0") },
    { "no equal number", BYTES("\x13\0\2\x3F\xF0") },
    { "2^48 + 1 equal numbers", BYTES("\x13\x81\x80\x80\x80\x80\x80\x40\2\x3F\xF0") },
    { "a number of 9 bytes", BYTES("\x13\1\x09\x3F\xF0\1\1\1\1\1\1\1") },
    { "a number with a zero at its end", BYTES("\x13\1\3\x3F\xF0\0") },
    { "minus zero", BYTES("\x13\1\1\x80") },
    { "infinity", BYTES("\x13\1\2\x7F\xF0") },
    { "not a number", BYTES("\x13\1\2\x7F\xF8") },
    { "equal in the long form", BYTES("\x11\x22\x3F\xF0\x3F\xF0\2\0\2\2\0\2\1\1\0") },
    { "max below min", BYTES("\x11\x21\x40\x3F\xF0\2\0\3\2\0\5\2\0\x3E") },
    { "min not in its bucket", BYTES("\x11\x12\x3F\xE0\x40\2\0\3\2\0\5\2\0\x3E") },
    { "max not in its bucket", BYTES("\x11\x22\x3F\xF0\x40\x10\2\0\3\2\0\5\2\0\x3E") },
    { "one number in the long form", BYTES("\x11\x12\x3F\xF0\x40\2\0\3\2\0\5\1\0") },
    { "a negative sum of squares", BYTES("\x11\x12\x3F\xF0\x40\2\0\3\3\0\5\2\0\x3E") },
    { "a sum that two numbers can't have", BYTES("\x11\x12\x3F\xF0\x40\2\x80\2\2\2\0\5\2\0\x3E") },
    { "squares that two numbers can't have",
      BYTES("\x11\x12\x3F\xF0\x40\2\0\3\2\x80\4\2\2\0\x3E") },
    { "no null", BYTES("\x14\0") },
    { "2^48 + 1 nulls", BYTES("\x14\x81\x80\x80\x80\x80\x80\x40") },
    { "no category", BYTES("\x18\0\0") },
};

START_TEST(bad_case)
{
    static struct rollup rollup;

    rollup_init(&rollup);
    rollup_add_number(&rollup, 1);
    ck_assert_msg(rollup_read(&rollup, (struct span){ bad_cases[_i].bytes, bad_cases[_i].len }) < 0,
                  "%s", bad_cases[_i].name);
    ck_assert(rollup_is_empty(&rollup) && exact_round(&rollup.sum) == 0);
    rollup_done(&rollup);
}
END_TEST

/* A bound that is too strict would refuse what was written: the largest sums just fit. */
START_TEST(largest_values_are_read)
{
    static const double values[][3] = { { DBL_MAX, DBL_MAX, 0x1.ffffffffffffep1023 },
                                        { -DBL_MAX, -DBL_MAX, -0x1.ffffffffffffep1023 },
                                        { -DBL_MAX, DBL_MAX, 0x1p-1074 },
                                        { 0x1p-1074, 0x1p-1073, 0x1p-1074 },
                                        { 0x1p63, -0x1p63, 9223372036854774784.0 } };

    for (size_t i = 0; i < LENGTH(values); i++) {
        static struct rollup rollup;
        AUTO(buf_done) struct buf out;

        buf_init(&out, BYTES_MAX);
        rollup_init(&rollup);
        for (size_t k = 0; k < LENGTH(values[i]); k++)
            rollup_add_number(&rollup, values[i][k]);
        rollup_write(&rollup, &out);
        assert_reads(buf_span(&out));
        rollup_done(&rollup);
    }
}
END_TEST

START_TEST(counts_are_bounded)
{
    static const struct {
        const char *bytes;
        size_t len;
    } full[] = {
        { BYTES("\x13\x80\x80\x80\x80\x80\x80\x40\2\x3F\xF0") },
        { BYTES("\x14\x80\x80\x80\x80\x80\x80\x40") },
        { BYTES("\x18\x80\x80\x80\x80\x80\x80\x40\0") },
    };
    static struct rollup rollup, other;
    AUTO(buf_done) struct buf out;

    buf_init(&out, BYTES_MAX);
    rollup_init(&rollup);
    rollup_init(&other);
    for (size_t i = 0; i < LENGTH(full); i++) {
        struct span bytes = { full[i].bytes, full[i].len };

        rollup_clear(&other);
        rollup_add_number(&other, 1);
        rollup_add_null(&other);
        rollup_add_text(&other, SPAN_LITERAL("x"));
        assert_reads(bytes);
        ck_assert_int_eq(rollup_read(&rollup, bytes), 0);
        ck_assert_int_eq(rollup_merge(&rollup, &other), -1);
        buf_clear(&out);
        rollup_write(&rollup, &out);
        assert_bytes(buf_span(&out), bytes);
    }
    rollup_done(&rollup);
    rollup_done(&other);
}
END_TEST

/* Forged: 1 and 2 with a sum just below 2^1025. An answer has a number all the same. */
START_TEST(mean_of_what_cannot_be)
{
    static struct rollup rollup;

    rollup_init(&rollup);
    ck_assert_int_eq(rollup_read(&rollup, (struct span){ BYTES(
                                              "\x11\x12\x3F\xF0\x40\x10\xF2\1\xFF\xFF\xFF\xFF\xFF"
                                              "\xFF\xFF\1\2\0\5\2\0\x3E") }),
                     0);
    ck_assert(isinf(rollup_sum(&rollup)));
    ck_assert(rollup_mean(&rollup) == 2);
    ck_assert(rollup_stddev(&rollup) == 0);
    rollup_done(&rollup);
}
END_TEST

/* Whatever is cut or changed is refused, or means something else: never the same twice. */
START_TEST(changed_bytes)
{
    struct random random = { 50 + (uint64_t)_i };
    static struct rollup rollup;
    AUTO(buf_done) struct buf bytes, again;

    buf_init(&bytes, BYTES_MAX);
    buf_init(&again, BYTES_MAX);
    rollup_init(&rollup);
    for (size_t n = random_below(&random, 12) + 2; n > 0; n--) {
        struct value value = random_value(&random);

        add_value(&rollup, &value);
    }
    rollup_write(&rollup, &bytes);
    for (size_t len = 0; len < bytes.len; len++)
        ck_assert_int_eq(rollup_read(&rollup, (struct span){ bytes.data, len }), -1);
    for (size_t i = 0; i < bytes.len; i++) {
        char before = bytes.data[i];

        for (int change = 1; change < 256; change++) {
            bytes.data[i] = (char)(before ^ change);
            if (rollup_read(&rollup, buf_span(&bytes)) < 0)
                continue;
            buf_clear(&again);
            rollup_write(&rollup, &again);
            if (!span_equal(buf_span(&again), buf_span(&bytes)))
                ck_abort_msg("byte %zu as %d", i, bytes.data[i]);
        }
        bytes.data[i] = before;
    }
    rollup_done(&rollup);
}
END_TEST

/* Values of many metrics in deltas, folded in any order: the same packed bytes. */
START_TEST(groups_merge_in_any_order)
{
    struct random random = { 300 + (uint64_t)_i };
    AUTO(rollup_group_free) struct rollup_group *all = rollup_group_new();
    AUTO(rollup_group_free) struct rollup_group *group = rollup_group_new();
    AUTO(rollup_group_free) struct rollup_group *half = rollup_group_new();
    static struct buf deltas[DELTAS];
    AUTO(buf_done) struct buf want, got;

    buf_init(&want, BYTES_MAX);
    buf_init(&got, BYTES_MAX);
    for (size_t i = 0; i < DELTAS; i++) {
        buf_init(&deltas[i], BYTES_MAX);
        for (size_t n = random_below(&random, 100); n > 0; n--) {
            uint32_t id = (uint32_t)random_below(&random, METRICS) * 0x06500003;
            struct value value = random_value(&random);

            add_value(rollup_group_get(all, id), &value);
            add_value(rollup_group_get(group, id), &value);
        }
        rollup_group_write(group, &deltas[i]);
        rollup_group_clear(group);
        ck_assert_uint_eq(rollup_group_len(group), 0);
    }
    rollup_group_write(all, &want);
    for (int round = 0; round < 5; round++) {
        for (size_t i = DELTAS; i > 1; i--) {
            size_t k = random_below(&random, i);
            struct buf delta = deltas[i - 1];

            deltas[i - 1] = deltas[k];
            deltas[k] = delta;
        }
        for (size_t i = 0; i < DELTAS; i++)
            ck_assert_int_eq(rollup_group_merge_packed(i % 2 ? group : half, buf_span(&deltas[i])),
                             0);
        ck_assert_int_eq(rollup_group_merge(group, half), 0);
        buf_clear(&got);
        rollup_group_write(group, &got);
        assert_bytes(buf_span(&got), buf_span(&want));
        rollup_group_clear(group);
        rollup_group_clear(half);
    }
    for (size_t i = 0; i < DELTAS; i++)
        buf_done(&deltas[i]);
}
END_TEST

START_TEST(groups_are_sorted_and_found)
{
    static const uint32_t ids[] = { 7, 3, UINT32_MAX, 0, 100, 64, 128 };
    static const uint32_t sorted[] = { 0, 3, 7, 64, 100, 128, UINT32_MAX };
    AUTO(rollup_group_free) struct rollup_group *group = rollup_group_new();
    struct rollup *rollups[LENGTH(ids)];
    AUTO(buf_done) struct buf out;
    struct rollup_packed packed;
    struct span bytes;
    uint32_t id;

    buf_init(&out, BYTES_MAX);
    for (size_t i = 0; i < LENGTH(ids); i++) {
        rollups[i] = rollup_group_get(group, ids[i]);
        if (ids[i] != 64) /* stays empty: is in the group, not in its bytes */
            rollup_add_number(rollups[i], ids[i]);
    }
    ck_assert_uint_eq(rollup_group_len(group), LENGTH(ids));
    for (uint32_t i = 0; i < LENGTH(sorted); i++) {
        ck_assert_ptr_nonnull(rollup_group_at(group, i, &id));
        ck_assert_uint_eq(id, sorted[i]);
    }
    for (size_t i = 0; i < LENGTH(ids); i++) {
        ck_assert_ptr_eq(rollup_group_get(group, ids[i]), rollups[i]);
        ck_assert_ptr_eq(rollup_group_find(group, ids[i]), rollups[i]);
    }
    ck_assert_ptr_null(rollup_group_find(group, 1));
    rollup_group_write(group, &out);
    packed = rollup_packed_begin(buf_span(&out));
    for (size_t i = 0; i < LENGTH(sorted); i++) {
        if (sorted[i] == 64)
            continue;
        ck_assert_int_eq(rollup_packed_next(&packed, &id, &bytes), 1);
        ck_assert_uint_eq(id, sorted[i]);
        ck_assert_int_eq(rollup_read(rollups[0], bytes), 0);
        ck_assert(rollup_sum(rollups[0]) == sorted[i]);
    }
    ck_assert_int_eq(rollup_packed_next(&packed, &id, &bytes), 0);
}
END_TEST

START_TEST(a_large_group_is_given_back)
{
    AUTO(rollup_group_free) struct rollup_group *group = rollup_group_new();
    AUTO(buf_done) struct buf large, small, again;

    buf_init(&large, BYTES_MAX);
    buf_init(&small, BYTES_MAX);
    buf_init(&again, BYTES_MAX);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t id = 0; id < 5000; id++)
            rollup_add_number(rollup_group_get(group, id * 17 % 5000), id);
        buf_clear(&large);
        rollup_group_write(group, &large);
        rollup_group_clear(group);
        rollup_add_number(rollup_group_get(group, 1), 1);
        buf_clear(&small);
        rollup_group_write(group, &small);
        assert_bytes(buf_span(&small), (struct span){ BYTES("\1\1\1\5\x13\1\2\x3F\xF0") });
        rollup_group_clear(group);
        ck_assert_int_eq(rollup_group_merge_packed(group, buf_span(&large)), 0);
        buf_clear(&again);
        rollup_group_write(group, &again);
        assert_bytes(buf_span(&again), buf_span(&large));
        rollup_group_clear(group);
    }
}
END_TEST

/* Where the buffer ends is no matter: it is full, and nothing is written behind its end. */
START_TEST(full_buffer)
{
    AUTO(rollup_group_free) struct rollup_group *group = rollup_group_new();
    AUTO(buf_done) struct buf want;

    buf_init(&want, BYTES_MAX);
    rollup_add_number(rollup_group_get(group, 1), 0.1);
    rollup_add_number(rollup_group_get(group, 1), 0.2);
    rollup_add_text(rollup_group_get(group, 900), SPAN_LITERAL("text"));
    rollup_group_write(group, &want);
    for (size_t max = 0; max <= want.len; max++) {
        AUTO(buf_done) struct buf out;

        buf_init(&out, max);
        rollup_group_write(group, &out);
        ck_assert_int_eq(out.full, max < want.len);
    }
}
END_TEST

static const struct {
    const char *name, *bytes;
    size_t len;
} bad_packed_cases[] = {
    { "nothing", BYTES("") },
    { "version 2", BYTES("\2\0") },
    { "no number of metrics", BYTES("\1") },
    { "more behind it", BYTES("\1\0\0") },
    { "a metric less than it says", BYTES("\1\2\0\3\x13\1\0") },
    { "a metric more than it says", BYTES("\1\0\0\3\x13\1\0") },
    { "half a rollup", BYTES("\1\1\0\3\x13\1") },
    { "a rollup that is too short", BYTES("\1\1\0\2\x13\1\0") },
    { "a rollup that is empty", BYTES("\1\1\0\1\x10") },
    { "a rollup without bytes", BYTES("\1\1\0\0") },
    { "an id of 33 bits", BYTES("\1\1\x80\x80\x80\x80\x10\3\x13\1\0") },
    { "an id behind the largest", BYTES("\1\2\xFF\xFF\xFF\xFF\x0F\3\x13\1\0\0\3\x13\1\0") },
    { "an id with a byte too many", BYTES("\1\1\x80\0\3\x13\1\0") },
    { "a length of 64 bits", BYTES("\1\1\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\1\x13\1\0") },
    { "2^64 - 1 metrics", BYTES("\1\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\1") },
};

START_TEST(bad_packed_case)
{
    struct span bytes = { bad_packed_cases[_i].bytes, bad_packed_cases[_i].len };
    AUTO(rollup_group_free) struct rollup_group *group = rollup_group_new();

    rollup_add_number(rollup_group_get(group, 0), 1);
    ck_assert_msg(rollup_group_merge_packed(group, bytes) < 0, "%s", bad_packed_cases[_i].name);
    rollup_group_clear(group);
    ck_assert_msg(rollup_group_merge_packed(group, bytes) < 0, "%s", bad_packed_cases[_i].name);
}
END_TEST

/* Ids of the metrics of the capture, in order of their first appearance. */
struct churn {
    struct rollup_group *minutes[16];
    int64_t starts[16];
    size_t len;
    char names[64][64];
    uint32_t names_len;
};

static uint32_t churn_id(struct churn *churn, struct span name)
{
    uint32_t id = 0;

    while (id < churn->names_len && !span_is(name, churn->names[id]))
        id++;
    if (id == churn->names_len) {
        ck_assert(id < LENGTH(churn->names) && name.len < sizeof(churn->names[0]));
        memcpy(churn->names[id], name.data, name.len);
        churn->names_len++;
    }
    return id;
}

static struct rollup_group *churn_minute(struct churn *churn, int64_t ms)
{
    int64_t start = window_floor(ms, WINDOW_MINUTE);
    size_t i = 0;

    while (i < churn->len && churn->starts[i] != start)
        i++;
    if (i == churn->len) {
        ck_assert(i < LENGTH(churn->minutes));
        churn->starts[i] = start;
        churn->minutes[i] = rollup_group_new();
        churn->len++;
    }
    return churn->minutes[i];
}

static void churn_add(struct churn *churn, struct rollup_group *minute, const char *line)
{
    const char *metrics = strstr(line, "\"metrics\":") + strlen("\"metrics\":");
    static struct leaf_walk walk;
    struct leaf leaf;

    leaf_walk_begin(&walk, (struct span){ metrics, strlen(metrics) - 2 }); /* without "}\n" */
    while (leaf_walk_next(&walk, &leaf))
        ck_assert(rollup_add_leaf(rollup_group_get(minute, churn_id(churn, leaf.name)), &leaf));
}

/* Every prediction into the group of its minute, its label into the same. */
static void churn_read(struct churn *churn)
{
    FILE *track = fopen("tests/data/churn/track.ndjson", "r");
    FILE *delayed = fopen("tests/data/churn/delayed.ndjson", "r");
    static char prediction[1 << 16], label[1 << 16];

    ck_assert(track && delayed);
    while (fgets(prediction, sizeof(prediction), track) && fgets(label, sizeof(label), delayed)) {
        const char *start = strstr(prediction, "\"startTimestampMs\":");
        struct rollup_group *minute =
            churn_minute(churn, strtoll(start + strlen("\"startTimestampMs\":"), NULL, 10));

        churn_add(churn, minute, prediction);
        churn_add(churn, minute, label);
    }
    (void)fclose(track);
    (void)fclose(delayed);
}

static double expected(const json_t *json, const char *name)
{
    const json_t *value = json_object_get(json_object_get(json, "probability"), name);

    ck_assert(json_is_number(value));
    return json_number_value(value);
}

START_TEST(churn_capture)
{
    json_auto_t *want = json_load_file("tests/data/churn/expected.json", 0, NULL);
    AUTO(rollup_group_free) struct rollup_group *all = rollup_group_new();
    AUTO(buf_done) struct buf bytes;
    static struct churn churn;
    const struct rollup *probability, *label;
    struct histogram_quantile median;

    ck_assert_ptr_nonnull(want);
    buf_init(&bytes, BYTES_MAX);
    churn_read(&churn);
    ck_assert_uint_eq(churn.len, (uint64_t)json_integer_value(json_object_get(want, "minutes")));
    ck_assert_uint_eq(churn.names_len, 39); /* 38 of the predictions and the label */
    for (size_t i = 0; i < churn.len; i++) {
        buf_clear(&bytes);
        rollup_group_write(churn.minutes[i], &bytes);
        ck_assert_int_eq(rollup_group_merge_packed(all, buf_span(&bytes)), 0);
        rollup_group_free(churn.minutes[i]);
    }
    probability = rollup_group_find(all, churn_id(&churn, SPAN_LITERAL("probability")));
    ck_assert_uint_eq(probability->count, 999);
    ck_assert(fabs(rollup_sum(probability) / expected(want, "sum") - 1) <= 1e-9);
    ck_assert(probability->min == expected(want, "min"));
    ck_assert(probability->max == expected(want, "max"));
    median = rollup_quantile(probability, 0.5);
    ck_assert(fabs(median.value / expected(want, "median") - 1) <= 0.011);
    ck_assert(median.low <= expected(want, "median") && expected(want, "median") <= median.high);
    label = rollup_group_find(all, churn_id(&churn, SPAN_LITERAL("final_label")));
    ck_assert_uint_eq(label->categories.len, 2);
    ck_assert(span_is(categories_text(&label->categories, 0), "true"));
    ck_assert_uint_eq(label->categories.entries[0].count, 626);
    ck_assert(span_is(categories_text(&label->categories, 1), "false"));
    ck_assert_uint_eq(label->categories.entries[1].count, 373);
    ck_assert_uint_eq(label->count, 0);
}
END_TEST

static Suite *rollup_suite_groups(Suite *suite)
{
    TCase *tc = tcase_create("group");

    tcase_add_loop_test(tc, groups_merge_in_any_order, 0, 10);
    tcase_add_test(tc, groups_are_sorted_and_found);
    tcase_add_test(tc, a_large_group_is_given_back);
    tcase_add_test(tc, full_buffer);
    tcase_add_loop_test(tc, bad_packed_case, 0, LENGTH(bad_packed_cases));
    tcase_add_test(tc, churn_capture);
    suite_add_tcase(suite, tc);
    return suite;
}

Suite *rollup_suite(void); /* called from the table that tools/suites writes */

Suite *rollup_suite(void)
{
    Suite *suite = suite_create("metrics/rollup");
    TCase *tc = tcase_create("rollup");

    tcase_add_loop_test(tc, order_does_not_matter, 0, 20);
    tcase_add_loop_test(tc, format_case, 0, LENGTH(format_cases));
    tcase_add_loop_test(tc, bad_case, 0, LENGTH(bad_cases));
    tcase_add_test(tc, largest_values_are_read);
    tcase_add_test(tc, counts_are_bounded);
    tcase_add_test(tc, mean_of_what_cannot_be);
    tcase_add_loop_test(tc, changed_bytes, 0, 10);
    suite_add_tcase(suite, tc);
    return rollup_suite_groups(suite);
}
