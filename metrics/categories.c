#include "metrics/categories.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"
#include "metrics/varint_internal.h"

enum {
    CATEGORIES_FIRST = 4,
    CATEGORIES_FIRST_TEXT_BYTES = 64,
    CATEGORIES_KEPT_BYTES_MAX = 4096, /* texts beyond it are given back by categories_clear */
};

#define CATEGORIES_COUNT_MAX ((uint64_t)1 << 48)

void categories_init(struct categories *categories)
{
    *categories = (struct categories){ 0 };
}

void categories_done(struct categories *categories)
{
    if (!categories)
        return;
    free(categories->entries);
    free(categories->texts);
    categories_init(categories);
}

void categories_clear(struct categories *categories)
{
    if (categories->texts_cap > CATEGORIES_KEPT_BYTES_MAX)
        categories_done(categories);
    categories->len = 0;
    categories->texts_len = 0;
    categories->other = 0;
    categories->count = 0;
}

struct span categories_text(const struct categories *categories, uint32_t i)
{
    const struct categories_entry *entry = &categories->entries[i];

    /* An empty text may be the only one, without any memory. */
    return (struct span){ entry->len ? categories->texts + entry->at : "", entry->len };
}

static int categories_compare_texts(struct span a, struct span b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.data, b.data, len) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* Where the text stands, or would; *found tells. */
static uint32_t categories_find(const struct categories *categories, uint64_t hash,
                                struct span text, bool *found)
{
    uint32_t from = 0, len = categories->len;

    while (len > 0) {
        uint32_t half = len / 2;
        uint64_t at = categories->entries[from + half].hash;
        int order = at < hash ? -1 : at > hash;

        if (order == 0)
            order = categories_compare_texts(categories_text(categories, from + half), text);
        if (order == 0) {
            *found = true;
            return from + half;
        }
        from += order < 0 ? half + 1 : 0;
        len = order < 0 ? len - half - 1 : half;
    }
    *found = false;
    return from;
}

/* Copies the texts that are still there to new memory with room for `len` bytes more. */
static void categories_pack(struct categories *categories, uint32_t len)
{
    uint32_t bytes = 0, cap = CATEGORIES_FIRST_TEXT_BYTES;
    char *texts;

    for (uint32_t i = 0; i < categories->len; i++)
        bytes += categories->entries[i].len;
    while (cap < 2 * (bytes + len))
        cap *= 2;
    texts = xmalloc(cap);
    bytes = 0;
    for (uint32_t i = 0; i < categories->len; i++) {
        struct categories_entry *entry = &categories->entries[i];

        if (entry->len)
            memcpy(texts + bytes, categories->texts + entry->at, entry->len);
        entry->at = bytes;
        bytes += entry->len;
    }
    free(categories->texts);
    categories->texts = texts;
    categories->texts_len = bytes;
    categories->texts_cap = cap;
}

/* The largest goes to the others. */
static void categories_push_out(struct categories *categories)
{
    categories->len--;
    categories->other += categories->entries[categories->len].count;
}

static void categories_insert(struct categories *categories, uint32_t i, uint64_t hash,
                              struct span text, uint64_t count)
{
    struct categories_entry *entry;
    uint32_t len = (uint32_t)text.len;

    if (categories->len == CATEGORIES_MAX)
        categories_push_out(categories);
    if (categories->texts_cap - categories->texts_len < len)
        categories_pack(categories, len);
    if (categories->len == categories->cap) {
        categories->cap = categories->cap ? categories->cap * 2 : CATEGORIES_FIRST;
        categories->entries =
            xreallocarray(categories->entries, categories->cap, sizeof(*categories->entries));
    }
    entry = &categories->entries[i];
    memmove(entry + 1, entry, (categories->len - i) * sizeof(*entry));
    *entry = (struct categories_entry){ hash, count, categories->texts_len, len };
    if (len)
        memcpy(categories->texts + categories->texts_len, text.data, len);
    categories->texts_len += len;
    categories->len++;
}

static void categories_put(struct categories *categories, uint64_t hash, struct span text,
                           uint64_t count)
{
    bool found;
    uint32_t i = categories_find(categories, hash, text, &found);

    if (found)
        categories->entries[i].count += count;
    else if (i < CATEGORIES_MAX)
        categories_insert(categories, i, hash, text, count);
    else
        categories->other += count;
    categories->count += count;
}

void categories_add(struct categories *categories, struct span text, uint64_t times)
{
    if (times == 0)
        return;
    if (text.len > CATEGORIES_TEXT_BYTES_MAX) {
        categories->other += times;
        categories->count += times;
        return;
    }
    if (text.len == 0)
        text.data = ""; /* XXH3 wants an address */
    categories_put(categories, XXH3_64bits(text.data, text.len), text, times);
}

void categories_merge(struct categories *categories, const struct categories *other)
{
    for (uint32_t i = 0; i < other->len; i++)
        categories_put(categories, other->entries[i].hash, categories_text(other, i),
                       other->entries[i].count);
    categories->other += other->other;
    categories->count += other->other;
}

void categories_write(const struct categories *categories, struct buf *out)
{
    varint_append(out, categories->other);
    varint_append(out, categories->len);
    for (uint32_t i = 0; i < categories->len; i++) {
        uint64_t count = categories->entries[i].count;
        struct span text = categories_text(categories, i);

        varint_append(out, text.len * 2 + (count > 1));
        buf_append_span(out, text);
        if (count > 1)
            varint_append(out, count - 2);
    }
}

/* The next entry, which must belong behind those that are there. */
static int categories_read_entry(struct categories *categories, struct span *from)
{
    uint64_t head, count = 1, hash;
    struct span text;
    bool found;

    if (varint_take(from, &head) < 0 || head / 2 > CATEGORIES_TEXT_BYTES_MAX ||
        head / 2 > from->len)
        return -1;
    text = (struct span){ from->data, (size_t)(head / 2) };
    *from = (struct span){ from->data + text.len, from->len - text.len };
    if (head % 2) {
        if (varint_take(from, &count) < 0 || count > CATEGORIES_COUNT_MAX)
            return -1;
        count += 2;
    }
    hash = XXH3_64bits(text.data, text.len);
    if (count > CATEGORIES_COUNT_MAX - categories->count ||
        categories_find(categories, hash, text, &found) < categories->len || found)
        return -1;
    categories_insert(categories, categories->len, hash, text, count);
    categories->count += count;
    return 0;
}

int categories_read(struct categories *categories, struct span *from)
{
    struct span rest = *from;
    uint64_t len, other;

    categories_clear(categories);
    if (varint_take(&rest, &other) < 0 || other > CATEGORIES_COUNT_MAX ||
        varint_take(&rest, &len) < 0 || len > CATEGORIES_MAX)
        return -1;
    categories->count = categories->other = other;
    for (uint64_t i = 0; i < len; i++) {
        if (categories_read_entry(categories, &rest) < 0) {
            categories_clear(categories);
            return -1;
        }
    }
    *from = rest;
    return 0;
}
