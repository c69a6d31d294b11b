/* Fuzzing what rollups are read from: bytes that are taken must be the very bytes that are written
 * again, and what is merged of them must not depend on the order. The first byte chooses:
 *
 *     0  a rollup         1  packed metrics of a group
 *     2  two groups: the second byte says where the first one ends
 *     3  a metrics object, walked leaf by leaf into a group */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "metrics/rollup.h"

enum { FUZZ_BYTES_MAX = 16 << 20, FUZZ_IDS = 8 };

static void fuzz_expect(bool is_true)
{
    if (!is_true)
        abort();
}

static void fuzz_expect_group(struct rollup_group *group, struct span want)
{
    AUTO(buf_done) struct buf out;

    buf_init(&out, FUZZ_BYTES_MAX);
    rollup_group_write(group, &out);
    fuzz_expect(span_equal(buf_span(&out), want));
}

/* What an answer asks of a rollup: it may be any number, but a number. */
static void fuzz_ask(const struct rollup *rollup)
{
    if (rollup->count == 0)
        return;
    fuzz_expect(!isnan(rollup_sum(rollup)) && isfinite(rollup_mean(rollup)));
    fuzz_expect(isfinite(rollup_stddev(rollup)) && rollup_stddev(rollup) >= 0);
    for (int i = 0; i <= 4; i++) {
        struct histogram_quantile quantile = rollup_quantile(rollup, i / 4.0);

        fuzz_expect(rollup->min <= quantile.low && quantile.low <= quantile.value);
        fuzz_expect(quantile.value <= quantile.high && quantile.high <= rollup->max);
    }
}

static void fuzz_rollup(struct span bytes)
{
    static struct rollup rollup, twice;
    AUTO(buf_done) struct buf out, again;

    buf_init(&out, FUZZ_BYTES_MAX);
    buf_init(&again, FUZZ_BYTES_MAX);
    rollup_init(&rollup);
    rollup_init(&twice);
    if (rollup_read(&rollup, bytes) == 0) {
        fuzz_ask(&rollup);
        rollup_write(&rollup, &out);
        fuzz_expect(span_equal(buf_span(&out), bytes));
        fuzz_expect(rollup_read(&twice, bytes) == 0);
        if (rollup_merge(&twice, &rollup) == 0) {
            fuzz_ask(&twice);
            buf_clear(&out);
            rollup_write(&twice, &out);
            fuzz_expect(rollup_read(&rollup, buf_span(&out)) == 0);
            rollup_write(&rollup, &again);
            fuzz_expect(span_equal(buf_span(&out), buf_span(&again)));
        }
    } else {
        fuzz_expect(rollup_is_empty(&rollup));
    }
    rollup_done(&rollup);
    rollup_done(&twice);
}

static void fuzz_group(struct span bytes)
{
    AUTO(rollup_group_free) struct rollup_group *group = rollup_group_new();
    struct rollup_packed packed = rollup_packed_begin(bytes);
    struct span rollup;
    uint32_t id, len = 0;
    int rc;

    while ((rc = rollup_packed_next(&packed, &id, &rollup)) > 0)
        len++;
    if (rollup_group_merge_packed(group, bytes) < 0)
        return;
    fuzz_expect(rc == 0 && rollup_group_len(group) == len);
    fuzz_expect_group(group, bytes);
}

static void fuzz_two_groups(struct span one, struct span two)
{
    AUTO(rollup_group_free) struct rollup_group *group = rollup_group_new();
    AUTO(rollup_group_free) struct rollup_group *other = rollup_group_new();
    AUTO(buf_done) struct buf out;

    buf_init(&out, FUZZ_BYTES_MAX);
    if (rollup_group_merge_packed(group, one) < 0 || rollup_group_merge_packed(group, two) < 0)
        return;
    rollup_group_write(group, &out);
    fuzz_expect(rollup_group_merge_packed(other, two) == 0);
    fuzz_expect(rollup_group_merge_packed(other, one) == 0);
    fuzz_expect_group(other, buf_span(&out));
    rollup_group_clear(other);
    fuzz_expect(rollup_group_merge_packed(other, buf_span(&out)) == 0);
    fuzz_expect_group(other, buf_span(&out));
}

static void fuzz_leaves(struct span object)
{
    AUTO(rollup_group_free) struct rollup_group *group = rollup_group_new();
    AUTO(rollup_group_free) struct rollup_group *other = rollup_group_new();
    static struct leaf_walk walk;
    AUTO(buf_done) struct buf out;
    struct leaf leaf;

    leaf_walk_begin(&walk, object);
    while (leaf_walk_next(&walk, &leaf)) {
        fuzz_expect(leaf.name.len <= LEAF_NAME_BYTES_MAX);
        (void)rollup_add_leaf(rollup_group_get(group, leaf.name.len % FUZZ_IDS), &leaf);
    }
    buf_init(&out, FUZZ_BYTES_MAX);
    rollup_group_write(group, &out);
    fuzz_expect(rollup_group_merge_packed(other, buf_span(&out)) == 0);
    fuzz_expect_group(other, buf_span(&out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span bytes;
    char *copy;
    size_t first;

    if (size < 2)
        return 0;
    copy = malloc(size - 1); /* exactly as long, so that the sanitizer sees a byte too far */
    fuzz_expect(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    bytes = (struct span){ copy, size - 1 };
    switch (data[0] % 4) {
    case 0:
        fuzz_rollup(bytes);
        break;
    case 1:
        fuzz_group(bytes);
        break;
    case 2:
        first = data[1] < size - 2 ? data[1] : size - 2;
        fuzz_two_groups((struct span){ copy + 1, first },
                        (struct span){ copy + 1 + first, size - 2 - first });
        break;
    default:
        fuzz_leaves(bytes);
    }
    free(copy);
    return 0;
}
