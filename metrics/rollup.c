#include "metrics/rollup.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "metrics/varint_internal.h"

enum {
    ROLLUP_VERSION = 1,
    ROLLUP_NUMBER_BYTES = 8,
    ROLLUP_BYTES_MIN = 2, /* of one that is not empty */
    ROLLUP_GROUP_FIRST = 64,
    ROLLUP_GROUP_KEPT_MAX = 1024, /* rollups that a cleared group keeps */
};

enum rollup_part {
    ROLLUP_NUMBERS = 1,
    ROLLUP_EQUAL = 2, /* the numbers, to each other */
    ROLLUP_NULLS = 4,
    ROLLUP_CATEGORIES = 8,
};

void rollup_init(struct rollup *rollup)
{
    rollup->count = 0;
    rollup->min = rollup->max = 0;
    exact_init(&rollup->sum);
    exact_init(&rollup->squares);
    histogram_init(&rollup->histogram);
    rollup->nulls = 0;
    categories_init(&rollup->categories);
}

void rollup_done(struct rollup *rollup)
{
    if (!rollup)
        return;
    histogram_done(&rollup->histogram);
    categories_done(&rollup->categories);
}

void rollup_clear(struct rollup *rollup)
{
    rollup->count = 0;
    rollup->min = rollup->max = 0;
    exact_clear(&rollup->sum);
    exact_clear(&rollup->squares);
    histogram_clear(&rollup->histogram);
    rollup->nulls = 0;
    categories_clear(&rollup->categories);
}

bool rollup_is_empty(const struct rollup *rollup)
{
    return rollup->count == 0 && rollup->nulls == 0 && rollup->categories.count == 0;
}

void rollup_add_number(struct rollup *rollup, double value)
{
    assert(isfinite(value) && rollup->count < ROLLUP_COUNT_MAX);
    value += 0.0; /* -0.0 becomes 0.0 */
    if (rollup->count == 0)
        rollup->min = rollup->max = value;
    else if (value < rollup->min)
        rollup->min = value;
    else if (value > rollup->max)
        rollup->max = value;
    rollup->count++;
    exact_add(&rollup->sum, value);
    exact_add_square(&rollup->squares, value);
    histogram_add(&rollup->histogram, value, 1);
}

void rollup_add_text(struct rollup *rollup, struct span text)
{
    assert(rollup->categories.count < ROLLUP_COUNT_MAX);
    categories_add(&rollup->categories, text, 1);
}

void rollup_add_null(struct rollup *rollup)
{
    assert(rollup->nulls < ROLLUP_COUNT_MAX);
    rollup->nulls++;
}

bool rollup_add_leaf(struct rollup *rollup, const struct leaf *leaf)
{
    switch (leaf->type) {
    case LEAF_NUMBER:
        rollup_add_number(rollup, leaf->number);
        return true;
    case LEAF_TEXT:
    case LEAF_BOOLEAN:
        rollup_add_text(rollup, leaf->text);
        return true;
    case LEAF_NULL:
        rollup_add_null(rollup);
        return true;
    default:
        return false;
    }
}

int rollup_merge(struct rollup *rollup, const struct rollup *other)
{
    if (other->count > ROLLUP_COUNT_MAX - rollup->count ||
        other->nulls > ROLLUP_COUNT_MAX - rollup->nulls ||
        other->categories.count > ROLLUP_COUNT_MAX - rollup->categories.count)
        return -1;
    if (other->count > 0) {
        if (rollup->count == 0 || other->min < rollup->min)
            rollup->min = other->min;
        if (rollup->count == 0 || other->max > rollup->max)
            rollup->max = other->max;
        rollup->count += other->count;
        exact_merge(&rollup->sum, &other->sum);
        exact_merge(&rollup->squares, &other->squares);
        histogram_merge(&rollup->histogram, &other->histogram);
    }
    rollup->nulls += other->nulls;
    categories_merge(&rollup->categories, &other->categories);
    return 0;
}

double rollup_sum(const struct rollup *rollup)
{
    return exact_round(&rollup->sum);
}

double rollup_mean(const struct rollup *rollup)
{
    double mean = exact_mean(&rollup->sum, rollup->count);

    /* Of numbers it always lies between them; forged bytes can have a sum that is too large. */
    return mean < rollup->min ? rollup->min : mean > rollup->max ? rollup->max : mean;
}

double rollup_stddev(const struct rollup *rollup)
{
    return exact_stddev(&rollup->sum, &rollup->squares, rollup->count);
}

struct histogram_quantile rollup_quantile(const struct rollup *rollup, double q)
{
    return histogram_quantile(&rollup->histogram, q, rollup->min, rollup->max);
}

/* A double's bits, the highest byte first; how many bytes there are without the zeros at the end.
 */
static size_t rollup_number_put(char bytes[ROLLUP_NUMBER_BYTES], double value)
{
    size_t len = ROLLUP_NUMBER_BYTES;
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    for (size_t i = ROLLUP_NUMBER_BYTES; i-- > 0; bits >>= 8)
        bytes[i] = (char)bits;
    while (len > 0 && bytes[len - 1] == 0)
        len--;
    return len;
}

static int rollup_number_take(struct span *from, size_t len, double *value)
{
    uint64_t bits = 0;

    if (len > ROLLUP_NUMBER_BYTES || len > from->len || (len > 0 && from->data[len - 1] == 0))
        return -1;
    for (size_t i = 0; i < ROLLUP_NUMBER_BYTES; i++)
        bits = bits << 8 | (i < len ? (unsigned char)from->data[i] : 0);
    *from = (struct span){ from->data + len, from->len - len };
    memcpy(value, &bits, sizeof(*value));
    return isfinite(*value) && !(*value == 0 && signbit(*value)) ? 0 : -1;
}

static int rollup_byte_take(struct span *from, unsigned *byte)
{
    if (from->len == 0)
        return -1;
    *byte = (unsigned char)from->data[0];
    *from = (struct span){ from->data + 1, from->len - 1 };
    return 0;
}

static void rollup_write_numbers(const struct rollup *rollup, struct buf *out)
{
    char min[ROLLUP_NUMBER_BYTES], max[ROLLUP_NUMBER_BYTES];
    size_t min_len = rollup_number_put(min, rollup->min);
    size_t max_len = rollup_number_put(max, rollup->max);

    if (rollup->min == rollup->max) {
        varint_append(out, rollup->count);
        buf_append_char(out, (char)min_len);
        buf_append(out, min, min_len);
        return;
    }
    buf_append_char(out, (char)(min_len | max_len << 4));
    buf_append(out, min, min_len);
    buf_append(out, max, max_len);
    exact_write(&rollup->sum, out);
    exact_write(&rollup->squares, out);
    histogram_write(&rollup->histogram, out);
}

void rollup_write(const struct rollup *rollup, struct buf *out)
{
    unsigned parts = 0;

    if (rollup->count > 0)
        parts |= ROLLUP_NUMBERS | (rollup->min == rollup->max ? ROLLUP_EQUAL : 0);
    parts |= rollup->nulls > 0 ? ROLLUP_NULLS : 0;
    parts |= rollup->categories.count > 0 ? ROLLUP_CATEGORIES : 0;
    buf_append_char(out, (char)(ROLLUP_VERSION << 4 | parts));
    if (parts & ROLLUP_NUMBERS)
        rollup_write_numbers(rollup, out);
    if (parts & ROLLUP_NULLS)
        varint_append(out, rollup->nulls);
    if (parts & ROLLUP_CATEGORIES)
        categories_write(&rollup->categories, out);
}

static int rollup_read_equal(struct rollup *rollup, struct span *from)
{
    uint64_t count;
    unsigned len;
    double value;

    if (varint_take(from, &count) < 0 || count == 0 || count > ROLLUP_COUNT_MAX ||
        rollup_byte_take(from, &len) < 0 || rollup_number_take(from, len, &value) < 0)
        return -1;
    rollup->count = count;
    rollup->min = rollup->max = value;
    exact_add_times(&rollup->sum, value, count);
    exact_add_square_times(&rollup->squares, value, count);
    histogram_add(&rollup->histogram, value, count);
    return 0;
}

/* The parts have to be those of one set of numbers as far as that can be seen without the numbers,
 * and in such a way that what is merged of them is as good. */
static int rollup_read_numbers(struct rollup *rollup, struct span *from)
{
    const struct histogram *histogram = &rollup->histogram;
    unsigned lens;

    if (rollup_byte_take(from, &lens) < 0 ||
        rollup_number_take(from, lens & 0xF, &rollup->min) < 0 ||
        rollup_number_take(from, lens >> 4, &rollup->max) < 0 || rollup->min >= rollup->max ||
        exact_read(&rollup->sum, from) < 0 || exact_read(&rollup->squares, from) < 0 ||
        histogram_read(&rollup->histogram, from) < 0)
        return -1;
    rollup->count = histogram->count;
    if (rollup->count < 2 || histogram->buckets[0].key != histogram_key(rollup->min) ||
        histogram->buckets[histogram->len - 1].key != histogram_key(rollup->max))
        return -1;
    if (exact_is_negative(&rollup->squares) ||
        !exact_is_below(&rollup->squares, rollup->count, 2048) ||
        !exact_is_below(&rollup->sum, rollup->count, 1024))
        return -1;
    return 0;
}

static int rollup_read_parts(struct rollup *rollup, struct span from)
{
    unsigned head;

    if (rollup_byte_take(&from, &head) < 0 || head >> 4 != ROLLUP_VERSION)
        return -1;
    if (head & ROLLUP_EQUAL) {
        if (!(head & ROLLUP_NUMBERS) || rollup_read_equal(rollup, &from) < 0)
            return -1;
    } else if (head & ROLLUP_NUMBERS) {
        if (rollup_read_numbers(rollup, &from) < 0)
            return -1;
    }
    if (head & ROLLUP_NULLS) {
        if (varint_take(&from, &rollup->nulls) < 0 || rollup->nulls == 0 ||
            rollup->nulls > ROLLUP_COUNT_MAX)
            return -1;
    }
    if (head & ROLLUP_CATEGORIES) {
        if (categories_read(&rollup->categories, &from) < 0 || rollup->categories.count == 0)
            return -1;
    }
    return from.len == 0 ? 0 : -1;
}

int rollup_read(struct rollup *rollup, struct span bytes)
{
    rollup_clear(rollup);
    if (rollup_read_parts(rollup, bytes) == 0)
        return 0;
    rollup_clear(rollup);
    return -1;
}

struct rollup_group_entry {
    uint32_t id;
    struct rollup *rollup; /* owned */
};

struct rollup_group {
    struct rollup_group_entry *entries; /* `made` of them have a rollup, `len` are in use */
    uint32_t len;
    uint32_t made;
    uint32_t cap;
    bool is_sorted;         /* entries, by id */
    uint32_t *slots;        /* hash table of places in entries plus one; 0: free */
    uint32_t slots_len;     /* a power of two, at least twice len */
    struct rollup *scratch; /* for what is read and merged */
};

static struct rollup *rollup_new(void)
{
    struct rollup *rollup = xmalloc(sizeof(*rollup));

    rollup_init(rollup);
    return rollup;
}

static void rollup_free(struct rollup *rollup)
{
    rollup_done(rollup);
    free(rollup);
}

struct rollup_group *rollup_group_new(void)
{
    struct rollup_group *group = xcalloc(1, sizeof(*group));

    group->is_sorted = true;
    group->slots_len = 2 * ROLLUP_GROUP_FIRST;
    group->slots = xcalloc(group->slots_len, sizeof(*group->slots));
    group->scratch = rollup_new();
    return group;
}

void rollup_group_free(struct rollup_group *group)
{
    if (!group)
        return;
    for (uint32_t i = 0; i < group->made; i++)
        rollup_free(group->entries[i].rollup);
    rollup_free(group->scratch);
    free(group->entries);
    free(group->slots);
    free(group);
}

void rollup_group_clear(struct rollup_group *group)
{
    for (uint32_t i = 0; i < group->len; i++)
        rollup_clear(group->entries[i].rollup);
    while (group->made > ROLLUP_GROUP_KEPT_MAX)
        rollup_free(group->entries[--group->made].rollup);
    if (group->len > 0)
        memset(group->slots, 0, group->slots_len * sizeof(*group->slots));
    group->len = 0;
    group->is_sorted = true;
}

/* The slot of the id, or the free one where it belongs. */
static uint32_t *rollup_group_slot(const struct rollup_group *group, uint32_t id)
{
    uint32_t i = (uint32_t)((uint64_t)id * 0x9E3779B97F4A7C15 >> 32) & (group->slots_len - 1);

    while (group->slots[i] != 0 && group->entries[group->slots[i] - 1].id != id)
        i = (i + 1) & (group->slots_len - 1);
    return &group->slots[i];
}

static void rollup_group_rehash(struct rollup_group *group)
{
    memset(group->slots, 0, group->slots_len * sizeof(*group->slots));
    for (uint32_t i = 0; i < group->len; i++)
        *rollup_group_slot(group, group->entries[i].id) = i + 1;
}

static void rollup_group_grow(struct rollup_group *group)
{
    group->cap = group->cap ? group->cap * 2 : ROLLUP_GROUP_FIRST;
    group->entries = xreallocarray(group->entries, group->cap, sizeof(*group->entries));
    if (group->slots_len < 2 * group->cap) {
        group->slots_len = 2 * group->cap;
        group->slots = xreallocarray(group->slots, group->slots_len, sizeof(*group->slots));
        rollup_group_rehash(group);
    }
}

struct rollup *rollup_group_get(struct rollup_group *group, uint32_t id)
{
    uint32_t *slot = rollup_group_slot(group, id);
    struct rollup_group_entry *entry;

    if (*slot)
        return group->entries[*slot - 1].rollup;
    if (group->len == group->cap) {
        rollup_group_grow(group);
        slot = rollup_group_slot(group, id);
    }
    entry = &group->entries[group->len];
    if (group->len == group->made) {
        entry->rollup = rollup_new();
        group->made++;
    }
    entry->id = id;
    group->is_sorted = group->is_sorted && (group->len == 0 || entry[-1].id < id);
    group->len++;
    *slot = group->len;
    return entry->rollup;
}

struct rollup *rollup_group_find(const struct rollup_group *group, uint32_t id)
{
    uint32_t slot = *rollup_group_slot(group, id);

    return slot ? group->entries[slot - 1].rollup : NULL;
}

uint32_t rollup_group_len(const struct rollup_group *group)
{
    return group->len;
}

static int rollup_group_compare(const void *a, const void *b)
{
    const struct rollup_group_entry *one = a, *two = b;

    return (one->id > two->id) - (one->id < two->id);
}

static void rollup_group_sort(struct rollup_group *group)
{
    if (group->is_sorted)
        return;
    qsort(group->entries, group->len, sizeof(*group->entries), rollup_group_compare);
    rollup_group_rehash(group);
    group->is_sorted = true;
}

struct rollup *rollup_group_at(struct rollup_group *group, uint32_t i, uint32_t *id)
{
    assert(i < group->len);
    rollup_group_sort(group);
    *id = group->entries[i].id;
    return group->entries[i].rollup;
}

/* The rollup's bytes with their length in front, which is known afterwards. */
static void rollup_write_with_length(const struct rollup *rollup, struct buf *out)
{
    size_t at = out->len, len, prefix_len;
    char prefix[VARINT_BYTES_MAX];

    rollup_write(rollup, out);
    if (out->full)
        return;
    len = out->len - at;
    prefix_len = varint_put(prefix, len);
    if (!buf_reserve(out, prefix_len))
        return;
    memmove(out->data + at + prefix_len, out->data + at, len);
    memcpy(out->data + at, prefix, prefix_len);
    out->len += prefix_len;
}

void rollup_group_write(struct rollup_group *group, struct buf *out)
{
    uint32_t metrics = 0;
    uint64_t id_next = 0;

    rollup_group_sort(group);
    for (uint32_t i = 0; i < group->len; i++)
        metrics += !rollup_is_empty(group->entries[i].rollup);
    buf_append_char(out, ROLLUP_VERSION);
    varint_append(out, metrics);
    for (uint32_t i = 0; i < group->len; i++) {
        const struct rollup_group_entry *entry = &group->entries[i];

        if (rollup_is_empty(entry->rollup))
            continue;
        varint_append(out, entry->id - id_next);
        rollup_write_with_length(entry->rollup, out);
        id_next = (uint64_t)entry->id + 1;
    }
}

struct rollup_packed rollup_packed_begin(struct span bytes)
{
    struct rollup_packed packed = { .rest = bytes };
    unsigned version;

    if (rollup_byte_take(&packed.rest, &version) < 0 || version != ROLLUP_VERSION ||
        varint_take(&packed.rest, &packed.left) < 0)
        packed.rest = (struct span){ 0 };
    return packed;
}

int rollup_packed_next(struct rollup_packed *packed, uint32_t *id, struct span *rollup)
{
    uint64_t step, len;

    if (!packed->rest.data)
        return -1;
    if (packed->left == 0)
        return packed->rest.len == 0 ? 0 : -1;
    if (varint_take(&packed->rest, &step) < 0 || packed->id_next > UINT32_MAX ||
        step > UINT32_MAX - packed->id_next || varint_take(&packed->rest, &len) < 0 ||
        len < ROLLUP_BYTES_MIN || len > packed->rest.len) {
        packed->rest = (struct span){ 0 };
        return -1;
    }
    packed->left--;
    *id = (uint32_t)(packed->id_next + step);
    packed->id_next = (uint64_t)*id + 1;
    *rollup = (struct span){ packed->rest.data, (size_t)len };
    packed->rest = (struct span){ packed->rest.data + len, packed->rest.len - (size_t)len };
    return 1;
}

int rollup_group_merge_packed(struct rollup_group *group, struct span bytes)
{
    struct rollup_packed packed = rollup_packed_begin(bytes);
    struct span rollup;
    uint32_t id;
    int rc;

    while ((rc = rollup_packed_next(&packed, &id, &rollup)) > 0) {
        struct rollup *ours = rollup_group_get(group, id);

        if (rollup_is_empty(ours)) {
            if (rollup_read(ours, rollup) < 0)
                return -1;
        } else if (rollup_read(group->scratch, rollup) < 0 ||
                   rollup_merge(ours, group->scratch) < 0) {
            return -1;
        }
    }
    return rc;
}

int rollup_group_merge(struct rollup_group *group, const struct rollup_group *other)
{
    for (uint32_t i = 0; i < other->len; i++) {
        const struct rollup_group_entry *entry = &other->entries[i];

        if (rollup_merge(rollup_group_get(group, entry->id), entry->rollup) < 0)
            return -1;
    }
    return 0;
}
