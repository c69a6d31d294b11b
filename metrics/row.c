#include "metrics/row.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "metrics/json.h"

enum { ROW_SEARCH_MAX = 32 }; /* members that are searched from the front; more get a map */

struct row_member {
    struct span raw; /* the name as it stands */
    struct span name;
    struct span value;
    char *owned; /* what `name` points to when the name had to be unescaped, else NULL */
};

/* The members of the merged object, in the order in which they will be written. */
struct row_members {
    struct row_member first[ROW_SEARCH_MAX];
    struct row_member *items; /* `first`, or owned */
    size_t len;
    size_t cap;
    struct map *index; /* name -> place; NULL up to ROW_SEARCH_MAX members */
};

static void row_members_init(struct row_members *members)
{
    members->items = members->first;
    members->len = 0;
    members->cap = ROW_SEARCH_MAX;
    members->index = NULL;
}

static void row_members_done(struct row_members *members)
{
    for (size_t i = 0; i < members->len; i++)
        free(members->items[i].owned);
    if (members->items != members->first)
        free(members->items);
    map_free(members->index);
}

static struct row_member *row_members_find(struct row_members *members, struct span name)
{
    const uint64_t *place;

    if (members->index) {
        place = map_get(members->index, name);
        return place ? &members->items[*place] : NULL;
    }
    for (size_t i = 0; i < members->len; i++) {
        if (span_equal(members->items[i].name, name))
            return &members->items[i];
    }
    return NULL;
}

/* From the array in the struct to one of its own, and to a map. */
static void row_members_grow(struct row_members *members)
{
    struct row_member *items = members->items == members->first ? NULL : members->items;
    bool added;

    members->cap *= 2;
    items = xreallocarray(items, members->cap, sizeof(*items));
    if (members->items == members->first)
        memcpy(items, members->first, sizeof(members->first));
    members->items = items;
    if (members->index)
        return;
    members->index = map_new();
    for (size_t i = 0; i < members->len; i++)
        (void)map_put(members->index, items[i].name, i, &added);
}

/* Adds a member, or replaces the value of the one that has its name. */
static void row_members_put(struct row_members *members, const struct json_member *member)
{
    struct row_member new = { member->raw, member->raw, member->value.text, NULL };
    struct row_member *old;
    bool added;

    if (member->has_escape) {
        new.owned = xmalloc(member->raw.len);
        new.name = (struct span){ new.owned, json_unescape(new.owned, member->raw) };
    }
    old = row_members_find(members, new.name);
    if (old) {
        old->value = new.value;
        free(new.owned);
        return;
    }
    if (members->len == members->cap)
        row_members_grow(members);
    if (members->index)
        (void)map_put(members->index, new.name, members->len, &added);
    members->items[members->len++] = new;
}

static bool row_is_wanted(struct span name, const struct span *keys, size_t keys_len)
{
    for (size_t i = 0; i < keys_len; i++) {
        if (span_equal(name, keys[i]))
            return true;
    }
    return keys_len == 0;
}

void row_merge(struct buf *out, struct span metrics, const struct span *labels, size_t labels_len,
               const struct span *keys, size_t keys_len)
{
    struct row_members members;
    struct json_member member;
    bool is_first = true;

    if (labels_len == 0 && keys_len == 0) {
        buf_append_span(out, metrics);
        return;
    }
    row_members_init(&members);
    for (size_t i = 0; i <= labels_len; i++) {
        struct json_walk walk = json_walk_begin(i == 0 ? metrics : labels[i - 1]);

        while (json_walk_next(&walk, &member))
            row_members_put(&members, &member);
    }
    buf_append_char(out, '{');
    for (size_t i = 0; i < members.len; i++) {
        const struct row_member *item = &members.items[i];

        if (!row_is_wanted(item->name, keys, keys_len))
            continue;
        buf_append_text(out, is_first ? "\"" : ",\"");
        is_first = false;
        buf_append_span(out, item->raw);
        buf_append(out, "\":", 2);
        buf_append_span(out, item->value);
    }
    buf_append_char(out, '}');
    row_members_done(&members);
}

bool row_shares_key(struct span object, struct span other)
{
    struct json_walk walk = json_walk_begin(object);
    struct row_members members;
    struct json_member member;
    bool shares = false;

    row_members_init(&members);
    while (json_walk_next(&walk, &member))
        row_members_put(&members, &member);
    walk = json_walk_begin(other);
    while (!shares && json_walk_next(&walk, &member)) {
        AUTO(mem_free) char *owned = NULL;
        struct span name = member.raw;

        if (member.has_escape) {
            owned = xmalloc(member.raw.len);
            name = (struct span){ owned, json_unescape(owned, member.raw) };
        }
        shares = row_members_find(&members, name) != NULL;
    }
    row_members_done(&members);
    return shares;
}

void row_write_json(struct buf *out, const struct row *row)
{
    buf_append_text(out, "{\"modelDeploymentCrn\":");
    buf_append_json(out, row->deployment_crn);
    buf_append_text(out, ",\"modelBuildCrn\":");
    buf_append_json(out, row->build_crn);
    buf_append_text(out, ",\"modelCrn\":");
    buf_append_json(out, row->model_crn);
    buf_append_text(out, ",\"startTimeStampMs\":");
    buf_append_i64(out, row->start_ms);
    buf_append_text(out, ",\"endTimeStampMs\":");
    buf_append_i64(out, row->end_ms);
    buf_append_text(out, ",\"predictionUuid\":\"");
    buf_append_span(out, row->uuid);
    buf_append_text(out, "\",\"metrics\":");
    buf_append_span(out, row->metrics);
    buf_append_char(out, '}');
}

struct row_cell {
    uint64_t row; /* the number of the row that `value` is of */
    struct span value;
};

/* An object that is being walked, and how long the name of what holds it is. */
struct row_level {
    struct json_walk walk;
    size_t name_len;
};

struct row_columns {
    size_t columns_max;
    struct map *index; /* name -> place */
    char **names;      /* owned */
    struct row_cell *cells;
    size_t len;
    size_t cap;
    uint64_t row;    /* the number of the row being written */
    struct buf name; /* of the member being walked */
    struct buf text; /* a string unescaped */
    struct row_level *levels;
    size_t levels_len;
    size_t levels_cap;
};

struct row_columns *row_columns_new(size_t columns_max)
{
    struct row_columns *columns = xcalloc(1, sizeof(*columns));

    columns->columns_max = columns_max;
    columns->index = map_new();
    buf_init(&columns->name, SIZE_MAX / 2); /* neither is longer than one row's metrics */
    buf_init(&columns->text, SIZE_MAX / 2);
    return columns;
}

void row_columns_free(struct row_columns *columns)
{
    if (!columns)
        return;
    for (size_t i = 0; i < columns->len; i++)
        free(columns->names[i]);
    map_free(columns->index);
    free(columns->names);
    free(columns->cells);
    buf_done(&columns->name);
    buf_done(&columns->text);
    free(columns->levels);
    free(columns);
}

static void row_columns_enter(struct row_columns *columns, struct span object)
{
    if (columns->levels_len == columns->levels_cap) {
        columns->levels_cap = columns->levels_cap ? columns->levels_cap * 2 : 8;
        columns->levels =
            xreallocarray(columns->levels, columns->levels_cap, sizeof(*columns->levels));
    }
    columns->levels[columns->levels_len++] =
        (struct row_level){ json_walk_begin(object), columns->name.len };
}

static void row_columns_begin(struct row_columns *columns, struct span metrics)
{
    columns->levels_len = 0;
    buf_clear(&columns->name);
    buf_append_text(&columns->name, "metrics");
    row_columns_enter(columns, metrics);
}

/* The next value that is not an object; its flattened name is in columns->name. An empty object has
 * no column, as with pandas. */
static bool row_columns_next(struct row_columns *columns, struct json_value *value)
{
    struct buf *name = &columns->name;
    struct json_member member;

    while (columns->levels_len > 0) {
        struct row_level *level = &columns->levels[columns->levels_len - 1];
        char *room;

        name->len = level->name_len;
        if (!json_walk_next(&level->walk, &member)) {
            columns->levels_len--;
            continue;
        }
        buf_append_char(name, '.');
        room = buf_reserve(name, member.raw.len);
        if (room)
            name->len += json_unescape(room, member.raw);
        if (member.value.type != JSON_TYPE_OBJECT) {
            *value = member.value;
            return true;
        }
        row_columns_enter(columns, member.value.text);
    }
    return false;
}

int row_columns_add(struct row_columns *columns, struct span metrics)
{
    struct json_value value;
    bool added;

    row_columns_begin(columns, metrics);
    while (row_columns_next(columns, &value)) {
        struct span name = buf_span(&columns->name);

        if (map_get(columns->index, name))
            continue;
        if (columns->len == columns->columns_max)
            return -1;
        if (columns->len == columns->cap) {
            columns->cap = columns->cap ? columns->cap * 2 : 16;
            columns->names = xreallocarray(columns->names, columns->cap, sizeof(*columns->names));
            columns->cells = xreallocarray(columns->cells, columns->cap, sizeof(*columns->cells));
        }
        (void)map_put(columns->index, name, columns->len, &added);
        columns->names[columns->len] = xmemdup0(name.data, name.len);
        columns->cells[columns->len++] = (struct row_cell){ 0 };
    }
    return 0;
}

/* A field, in quotes where it needs them. */
static void row_write_field(struct buf *out, struct span text)
{
    bool needs_quotes = false;
    size_t from = 0;

    for (size_t i = 0; i < text.len && !needs_quotes; i++)
        needs_quotes = text.data[i] == ',' || text.data[i] == '"' || text.data[i] == '\n' ||
                       text.data[i] == '\r';
    if (!needs_quotes) {
        buf_append_span(out, text);
        return;
    }
    buf_append_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != '"')
            continue;
        buf_append(out, text.data + from, i + 1 - from);
        from = i; /* the quote once more */
    }
    buf_append(out, text.data + from, text.len - from);
    buf_append_char(out, '"');
}

static void row_write_cell(struct row_columns *columns, struct buf *out, struct span value)
{
    struct span inside = { value.data + 1, value.len - 2 };
    char *room;

    if (value.data[0] == 'n')
        return; /* null */
    if (value.data[0] != '"') {
        row_write_field(out, value);
        return;
    }
    if (inside.len == 0) {
        buf_append_text(out, "\"\""); /* an empty text is not nothing */
        return;
    }
    buf_clear(&columns->text);
    room = buf_reserve(&columns->text, inside.len);
    columns->text.len = json_unescape(room, inside);
    row_write_field(out, buf_span(&columns->text));
}

void row_columns_write_header(struct row_columns *columns, struct buf *out)
{
    buf_append_text(out, "modelDeploymentCrn,modelBuildCrn,modelCrn,startTimeStampMs,"
                         "endTimeStampMs,predictionUuid");
    for (size_t i = 0; i < columns->len; i++) {
        buf_append_char(out, ',');
        row_write_field(out, span_of(columns->names[i]));
    }
    buf_append_char(out, '\n');
}

void row_columns_write(struct row_columns *columns, struct buf *out, const struct row *row)
{
    struct json_value value;

    columns->row++;
    row_columns_begin(columns, row->metrics);
    while (row_columns_next(columns, &value)) {
        const uint64_t *place = map_get(columns->index, buf_span(&columns->name));

        if (place)
            columns->cells[*place] = (struct row_cell){ columns->row, value.text };
    }
    row_write_field(out, row->deployment_crn);
    buf_append_char(out, ',');
    row_write_field(out, row->build_crn);
    buf_append_char(out, ',');
    row_write_field(out, row->model_crn);
    buf_append_char(out, ',');
    buf_append_i64(out, row->start_ms);
    buf_append_char(out, ',');
    buf_append_i64(out, row->end_ms);
    buf_append_char(out, ',');
    row_write_field(out, row->uuid);
    for (size_t i = 0; i < columns->len; i++) {
        buf_append_char(out, ',');
        if (columns->cells[i].row == columns->row)
            row_write_cell(columns, out, columns->cells[i].value);
    }
    buf_append_char(out, '\n');
}
