#include "atlas/linking_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "yaml_tree_internal.h"

#define LINKING_TABLES_KEY "hive_table_qualified_names"
#define LINKING_METADATA_KEY "metadata"
#define LINKING_OWN_PREFIX "plumbline." /* our keys in an entity's metadata */

enum { LINKING_QUOTED_BYTES_MAX = 64, LINKING_NAMED_MAX = 3 };

_Static_assert((int)LINKING_FILE_BYTES_MAX == (int)YAML_TREE_BYTES_MAX, "one limit, two names");

struct linking_quote {
    char text[LINKING_QUOTED_BYTES_MAX + sizeof("\"...\"")];
};

/* One pass over the tree. Errors are gathered and the reading goes on, but for a limit. */
struct linking_reader {
    const struct linking_source *source;
    const struct yaml_tree *tree;
    struct linking_notes *notes;
    struct err *err;
    struct linking_file *file;
    struct map *models; /* name to line */
    struct map *names;  /* the tables or keys of one model: name to line */
    size_t items;
    size_t bytes;
    uint32_t errors;
    bool is_over; /* a limit was reached: what follows is left out */
};

/* What somebody wrote, fit for one line of a message. */
static struct linking_quote linking_quote(struct span text)
{
    struct linking_quote quote;
    struct span cut = utf8_cut(text, LINKING_QUOTED_BYTES_MAX);

    (void)snprintf(quote.text, sizeof(quote.text), "\"%.*s%s\"", (int)cut.len, cut.data,
                   cut.len < text.len ? "..." : "");
    for (char *p = quote.text; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    }
    return quote;
}

/* Room for one more, or NULL when enough are kept. */
static struct linking_note *linking_notes_add(struct linking_notes *notes, bool is_error)
{
    uint32_t *count = is_error ? &notes->errors : &notes->warnings;

    if ((*count)++ >= LINKING_NOTES_MAX)
        return NULL;
    if (!notes->items)
        notes->items = xcalloc(2 * LINKING_NOTES_MAX, sizeof(*notes->items));
    return &notes->items[notes->len++];
}

static void linking_warn_at(struct linking_notes *notes, const char *code, uint32_t line,
                            uint32_t column, const char *fmt, ...) PRINTF_LIKE(5, 6);
static void linking_warn_at(struct linking_notes *notes, const char *code, uint32_t line,
                            uint32_t column, const char *fmt, ...)
{
    struct linking_note *note = linking_notes_add(notes, false);
    va_list args;

    if (!note)
        return;
    *note = (struct linking_note){ .code = code, .line = line, .column = column };
    va_start(args, fmt);
    (void)vsnprintf(note->message, sizeof(note->message), fmt, args);
    va_end(args);
}

#define linking_warn(reader, code, node, ...)                                                      \
    linking_warn_at((reader)->notes, code, (node)->line, (node)->column, __VA_ARGS__)

static void linking_fail_at(struct linking_reader *reader, uint32_t line, uint32_t column,
                            const char *fmt, ...) PRINTF_LIKE(4, 5);
static void linking_fail_at(struct linking_reader *reader, uint32_t line, uint32_t column,
                            const char *fmt, ...)
{
    struct linking_note own, *note = linking_notes_add(reader->notes, true);
    va_list args;

    if (!note)
        note = &own;
    *note = (struct linking_note){
        .is_error = true, .code = LINKING_INVALID, .line = line, .column = column
    };
    va_start(args, fmt);
    (void)vsnprintf(note->message, sizeof(note->message), fmt, args);
    va_end(args);
    if (reader->errors++ == 0)
        (void)err_set(reader->err, ERR_INPUT, "%s:%u:%u: %s", reader->source->name, line, column,
                      note->message);
}

#define linking_fail(reader, node, ...)                                                            \
    linking_fail_at(reader, (node)->line, (node)->column, __VA_ARGS__)

/* Room for one more behind `len` items; doubles at every power of two. */
static void *linking_grow(void *items, size_t len, size_t bytes)
{
    return (len & (len - 1)) == 0 ? xreallocarray(items, len ? 2 * len : 1, bytes) : items;
}

/* Books what stands in one place, with its bytes, before it is looked at: an alias may bring the
 * same again and again. False: that is too much, which is said once. */
static bool linking_count(struct linking_reader *reader, const struct yaml_node *at, size_t bytes)
{
    if (reader->is_over)
        return false;
    reader->items++;
    reader->bytes += bytes;
    if (reader->items <= LINKING_ITEMS_MAX && reader->bytes <= LINKING_TEXT_BYTES_MAX)
        return true;
    reader->is_over = true;
    if (reader->items > LINKING_ITEMS_MAX)
        linking_fail(reader, at, "more than %d models, keys and tables; split the file",
                     LINKING_ITEMS_MAX);
    else
        linking_fail(reader, at, "texts of more than %d bytes; shorten or split the file",
                     LINKING_TEXT_BYTES_MAX);
    return false;
}

/* The text of a name or key, or an error that begins with `what`. */
static bool linking_name(struct linking_reader *reader, uint32_t node, const char *what,
                         struct span *name)
{
    const struct yaml_node *at = yaml_tree_node(reader->tree, node);
    const struct yaml_node *value = yaml_tree_value(reader->tree, node);

    if (value->type != YAML_TREE_TEXT) {
        linking_fail(reader, at, "%s must be one text, not a list or a mapping", what);
        return false;
    }
    *name = yaml_tree_text(reader->tree, value);
    if (name->len == 0) {
        linking_fail(reader, at, "%s must not be empty", what);
        return false;
    }
    if (name->len > LINKING_NAME_BYTES_MAX) {
        linking_fail(reader, at, "%s must have at most %d bytes, not %zu", what,
                     LINKING_NAME_BYTES_MAX, name->len);
        return false;
    }
    if (value->is_plain && span_is(*name, "<<")) {
        linking_fail(reader, at, "merge keys (<<) are not understood; write the lines out");
        return false;
    }
    return true;
}

/* Without the blanks around it, which a text in quotes may have. */
static struct span linking_trim(struct span text)
{
    while (text.len && text.data[0] == ' ')
        text = (struct span){ text.data + 1, text.len - 1 };
    while (text.len && text.data[text.len - 1] == ' ')
        text.len--;
    return text;
}

/* What a table's name must not hold, or NULL. */
static const char *linking_table_stain(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (c == ',')
            return "a comma";
        if (c == '"' || c == '\'' || c == '`')
            return "a quote";
        if (c <= ' ' || c == 0x7f)
            return "a blank";
    }
    return NULL;
}

/* What is wrong with a table's name for good, or NULL; the dots in front of its @ are counted. */
static const char *linking_table_fault(struct span text, size_t *dots)
{
    const char *sign = memchr(text.data, '@', text.len);
    size_t len = sign ? (size_t)(sign - text.data) : text.len;

    if (sign && len + 1 == text.len)
        return "has nothing behind its @";
    if (sign && memchr(sign + 1, '@', text.len - len - 1))
        return "has more than one @";
    for (size_t i = 0, part = 0; i <= len; i++) {
        if (i < len && text.data[i] != '.')
            continue;
        if (i == part)
            return "lacks a part of its name";
        part = i + 1;
        *dots += i < len;
    }
    return NULL;
}

/* Writes a name as Atlas's hook in Hive does; false: it is none. */
static bool linking_table_complete(struct linking_reader *reader, const struct yaml_node *at,
                                   struct span text, struct buf *name)
{
    static const char form[] = "a table is named db.table@namespace";
    const char *stain = linking_table_stain(text), *fault = NULL;
    struct linking_quote quote = linking_quote(text);
    size_t dots = 0, i = 0;

    if (stain)
        linking_fail(reader, at, "%s holds %s; %s, each an item of its own", quote.text, stain,
                     form);
    else if ((fault = linking_table_fault(text, &dots)))
        linking_fail(reader, at, "%s %s; %s", quote.text, fault, form);
    if (stain || fault)
        return false;
    if (dots == 0)
        linking_warn(reader, "table_without_database", at, "%s names no database; %s", quote.text,
                     form);
    else if (dots > 1)
        linking_warn(reader, "table_with_more_parts", at, "%s has more than two parts; %s",
                     quote.text, form);
    for (; i < text.len && text.data[i] != '@'; i++) {
        bool is_upper = text.data[i] >= 'A' && text.data[i] <= 'Z';

        buf_append_char(name, is_upper ? (char)(text.data[i] | 0x20) : text.data[i]);
    }
    if (i < text.len)
        buf_append(name, text.data + i, text.len - i);
    else
        buf_append_fmt(name, "@%s", reader->source->name_space);
    return true;
}

static void linking_read_table(struct linking_reader *reader, struct linking_model *model,
                               uint32_t item)
{
    const struct yaml_node *at = yaml_tree_node(reader->tree, item);
    const struct yaml_node *value = yaml_tree_value(reader->tree, item);
    AUTO(buf_done) struct buf name = { .max = SIZE_MAX };
    const uint64_t *line;
    struct span text;
    bool added;

    if (yaml_tree_is_null(reader->tree, value)) {
        linking_fail(reader, at, "an item without a table; name one or remove the item");
        return;
    }
    if (value->type != YAML_TREE_TEXT) {
        linking_fail(reader, at, "expected a table (db.table@namespace), not a %s",
                     value->type == YAML_TREE_LIST ? "list" : "mapping");
        return;
    }
    if (!linking_name(reader, item, "a table's name", &text) ||
        !linking_table_complete(reader, at, linking_trim(text), &name))
        return;
    line = map_put(reader->names, buf_span(&name), at->line, &added);
    if (!added) {
        linking_warn(reader, "table_repeated", at, "%s stands in line %u already",
                     linking_quote(buf_span(&name)).text, (uint32_t)*line);
        return;
    }
    model->tables = linking_grow(model->tables, model->tables_len, sizeof(*model->tables));
    model->tables[model->tables_len++] =
        (struct linking_table){ xstrdup(buf_text(&name)), at->line, at->column };
}

static void linking_read_tables(struct linking_reader *reader, struct linking_model *model,
                                uint32_t node)
{
    const struct yaml_node *list = yaml_tree_value(reader->tree, node);
    size_t suffix_len = strlen(reader->source->name_space);

    if (yaml_tree_is_null(reader->tree, list))
        return;
    if (list->type != YAML_TREE_LIST) {
        linking_fail(reader, yaml_tree_node(reader->tree, node),
                     LINKING_TABLES_KEY " takes a list; begin the line of each table with `- `");
        return;
    }
    map_clear(reader->names);
    for (uint32_t item = list->first; item; item = yaml_tree_node(reader->tree, item)->next) {
        if (!linking_count(reader, yaml_tree_node(reader->tree, item),
                           yaml_tree_value(reader->tree, item)->len + suffix_len))
            return;
        linking_read_table(reader, model, item);
    }
}

static void linking_read_pair(struct linking_reader *reader, struct linking_model *model,
                              uint32_t key_node, uint32_t value_node)
{
    const struct yaml_node *at = yaml_tree_node(reader->tree, key_node);
    const struct yaml_node *value = yaml_tree_value(reader->tree, value_node);
    struct span key, text = SPAN_LITERAL("");
    const uint64_t *line;
    bool added;

    if (!linking_name(reader, key_node, "a metadata key", &key))
        return;
    if (key.len >= strlen(LINKING_OWN_PREFIX) &&
        memcmp(key.data, LINKING_OWN_PREFIX, strlen(LINKING_OWN_PREFIX)) == 0) {
        linking_fail(reader, at,
                     "metadata keys that begin with " LINKING_OWN_PREFIX
                     " are Plumbline's own; rename it");
        return;
    }
    line = map_put(reader->names, key, at->line, &added);
    if (!added) {
        linking_fail(reader, at, "metadata %s is repeated; it stands in line %u already",
                     linking_quote(key).text, (uint32_t)*line);
        return;
    }
    if (value->type != YAML_TREE_TEXT) {
        linking_fail(reader, yaml_tree_node(reader->tree, value_node),
                     "metadata %s takes one text; put a list or a mapping in quotes",
                     linking_quote(key).text);
        return;
    }
    if (yaml_tree_is_null(reader->tree, value))
        linking_warn(reader, "metadata_without_value", at,
                     "metadata %s has no value and becomes empty text", linking_quote(key).text);
    else
        text = yaml_tree_text(reader->tree, value);
    model->metadata = linking_grow(model->metadata, model->metadata_len, sizeof(*model->metadata));
    model->metadata[model->metadata_len++] = (struct linking_pair){
        xmemdup0(key.data, key.len),
        xmemdup0(text.data, text.len),
    };
}

static void linking_read_metadata(struct linking_reader *reader, struct linking_model *model,
                                  uint32_t node)
{
    const struct yaml_node *map = yaml_tree_value(reader->tree, node);
    uint32_t key, value;

    if (yaml_tree_is_null(reader->tree, map))
        return;
    if (map->type != YAML_TREE_MAP) {
        linking_fail(reader, yaml_tree_node(reader->tree, node),
                     LINKING_METADATA_KEY " takes lines of the form `key: value`, with a blank "
                                          "behind the colon and no `- ` in front");
        return;
    }
    map_clear(reader->names);
    for (key = map->first; key; key = yaml_tree_node(reader->tree, value)->next) {
        value = yaml_tree_node(reader->tree, key)->next;
        if (!linking_count(reader, yaml_tree_node(reader->tree, key),
                           yaml_tree_value(reader->tree, key)->len +
                               yaml_tree_value(reader->tree, value)->len))
            return;
        linking_read_pair(reader, model, key, value);
    }
}

/* One of the keys below a model. `lines` says where the two known ones stood, 0: not yet. */
static void linking_read_key(struct linking_reader *reader, struct linking_model *model,
                             uint32_t key_node, uint32_t value_node, uint32_t lines[2])
{
    const struct yaml_node *at = yaml_tree_node(reader->tree, key_node);
    bool is_metadata;
    struct span key;

    if (!linking_name(reader, key_node, "a key", &key))
        return;
    is_metadata = span_is(key, LINKING_METADATA_KEY);
    if (!is_metadata && !span_is(key, LINKING_TABLES_KEY)) {
        linking_warn(reader, "unknown_key", at,
                     "%s is ignored; a model has " LINKING_TABLES_KEY " and " LINKING_METADATA_KEY,
                     linking_quote(key).text);
        return;
    }
    if (lines[is_metadata]) {
        linking_fail(reader, at, "%s is repeated; it stands in line %u already",
                     linking_quote(key).text, lines[is_metadata]);
        return;
    }
    lines[is_metadata] = at->line;
    if (is_metadata)
        linking_read_metadata(reader, model, value_node);
    else
        linking_read_tables(reader, model, value_node);
}

/* What stands below a model's name. */
static void linking_read_entry(struct linking_reader *reader, struct linking_model *model,
                               uint32_t node)
{
    const struct yaml_node *at = yaml_tree_node(reader->tree, node);
    const struct yaml_node *entry = yaml_tree_value(reader->tree, node);
    uint32_t key, value, lines[2] = { 0 }, errors = reader->errors;

    if (entry->type == YAML_TREE_LIST) {
        linking_warn(reader, "tables_without_key", at,
                     "a list stands directly below the model and is taken for its tables; put it "
                     "below " LINKING_TABLES_KEY);
        linking_read_tables(reader, model, node);
    } else if (entry->type == YAML_TREE_MAP) {
        for (key = entry->first; key; key = yaml_tree_node(reader->tree, value)->next) {
            value = yaml_tree_node(reader->tree, key)->next;
            if (!linking_count(reader, yaml_tree_node(reader->tree, key), 0))
                return;
            linking_read_key(reader, model, key, value, lines);
        }
    } else if (!yaml_tree_is_null(reader->tree, entry)) {
        linking_fail(reader, at,
                     "expected " LINKING_TABLES_KEY " and " LINKING_METADATA_KEY
                     ", indented below the model's name, not %s",
                     linking_quote(yaml_tree_text(reader->tree, entry)).text);
    }
    if (errors == reader->errors && model->tables_len + model->metadata_len == 0)
        linking_warn_at(reader->notes, "model_empty", model->line, model->column,
                        "%s has neither tables nor metadata",
                        linking_quote(span_of(model->name)).text);
}

/* The name of a model, unless it can't be one; a warning when it looks like no name. */
static bool linking_read_name(struct linking_reader *reader, uint32_t node, struct span *name)
{
    const struct yaml_node *at = yaml_tree_node(reader->tree, node);
    const uint64_t *line;
    bool added;

    if (!linking_name(reader, node, "a model's name", name))
        return false;
    if (span_is(*name, LINKING_TABLES_KEY) || span_is(*name, LINKING_METADATA_KEY)) {
        linking_fail(reader, at,
                     "%s stands where the name of a model is expected; indent it below "
                     "the model that it belongs to",
                     linking_quote(*name).text);
        return false;
    }
    line = map_put(reader->models, *name, at->line, &added);
    if (!added) {
        linking_fail(reader, at, "model %s is repeated; it stands in line %u already",
                     linking_quote(*name).text, (uint32_t)*line);
        return false;
    }
    if ((name->data[0] == '"') != (name->data[name->len - 1] == '"'))
        linking_warn(reader, "stray_quote", at,
                     "the name %s has a quote at one end only, which belongs to the name",
                     linking_quote(*name).text);
    return true;
}

static void linking_read_models(struct linking_reader *reader, const struct yaml_node *map)
{
    uint32_t key, value;

    for (key = map->first; key && !reader->is_over;
         key = yaml_tree_node(reader->tree, value)->next) {
        const struct yaml_node *at = yaml_tree_node(reader->tree, key);
        struct linking_file *file = reader->file;
        struct linking_model *model;
        struct span name;

        value = at->next;
        if (!linking_count(reader, at, yaml_tree_value(reader->tree, key)->len))
            return;
        if (!linking_read_name(reader, key, &name))
            continue;
        file->models = linking_grow(file->models, file->models_len, sizeof(*file->models));
        model = &file->models[file->models_len++];
        *model = (struct linking_model){ .name = xmemdup0(name.data, name.len),
                                         .line = at->line,
                                         .column = at->column };
        linking_read_entry(reader, model, value);
    }
}

/* A mapping of models, or a list of such mappings. */
static void linking_read_root(struct linking_reader *reader, uint32_t root)
{
    static const char form[] = "expected the name of a model with a colon behind it";
    const struct yaml_node *value;

    if (!root)
        return;
    value = yaml_tree_value(reader->tree, root);
    if (value->type == YAML_TREE_MAP) {
        linking_read_models(reader, value);
    } else if (value->type == YAML_TREE_LIST) {
        for (uint32_t item = value->first; item && !reader->is_over;
             item = yaml_tree_node(reader->tree, item)->next) {
            const struct yaml_node *at = yaml_tree_node(reader->tree, item);
            const struct yaml_node *map = yaml_tree_value(reader->tree, item);

            if (!linking_count(reader, at, 0))
                return;
            if (map->type == YAML_TREE_MAP)
                linking_read_models(reader, map);
            else
                linking_fail(reader, at, "%s in each item of this list", form);
        }
    } else if (!yaml_tree_is_null(reader->tree, value)) {
        linking_fail(reader, value, "%s, not %s", form,
                     linking_quote(yaml_tree_text(reader->tree, value)).text);
    }
}

int linking_file_parse(struct linking_file *file, const struct linking_source *source,
                       struct linking_notes *notes, struct err *err)
{
    AUTO(map_free) struct map *models = map_new(), *names = map_new();
    AUTO(yaml_tree_done) struct yaml_tree tree = { 0 };
    struct linking_reader reader = { .source = source,
                                     .tree = &tree,
                                     .notes = notes,
                                     .err = err,
                                     .file = file,
                                     .models = models,
                                     .names = names };
    struct yaml_problem problem;

    *file = (struct linking_file){ 0 };
    if (yaml_tree_parse(&tree, source->text, &problem) < 0)
        linking_fail(&reader, &problem, "%s", problem.text);
    else
        linking_read_root(&reader, yaml_tree_node(&tree, 0)->first);
    if (!reader.errors)
        return 0;
    linking_file_done(file);
    return -1;
}

void linking_file_done(struct linking_file *file)
{
    if (!file)
        return;
    for (size_t i = 0; i < file->models_len; i++) {
        struct linking_model *model = &file->models[i];

        for (size_t j = 0; j < model->tables_len; j++)
            free(model->tables[j].qualified_name);
        for (size_t j = 0; j < model->metadata_len; j++) {
            free(model->metadata[j].key);
            free(model->metadata[j].value);
        }
        free(model->tables);
        free(model->metadata);
        free(model->name);
    }
    free(file->models);
    *file = (struct linking_file){ 0 };
}

void linking_notes_done(struct linking_notes *notes)
{
    if (!notes)
        return;
    free(notes->items);
    *notes = (struct linking_notes){ 0 };
}

const struct linking_model *linking_file_find(const struct linking_file *file, const char *name)
{
    for (size_t i = 0; i < file->models_len; i++) {
        if (strcmp(file->models[i].name, name) == 0)
            return &file->models[i];
    }
    return NULL;
}

/* The first entries, for a message: `"A", "B", "C" and 4 more`. */
static void linking_names_append(struct buf *text, const struct linking_file *file)
{
    size_t shown = file->models_len < LINKING_NAMED_MAX ? file->models_len : LINKING_NAMED_MAX;

    for (size_t i = 0; i < shown; i++)
        buf_append_fmt(text, "%s%s", i ? ", " : "",
                       linking_quote(span_of(file->models[i].name)).text);
    if (shown < file->models_len)
        buf_append_fmt(text, " and %zu more", file->models_len - shown);
}

void linking_file_check_model(const struct linking_file *file, const char *name,
                              struct linking_notes *notes)
{
    AUTO(buf_done) struct buf names = { .max = LINKING_MESSAGE_BYTES };
    struct linking_quote quote = linking_quote(span_of(name));

    if (linking_file_find(file, name))
        return;
    for (size_t i = 0; i < file->models_len; i++) {
        const struct linking_model *model = &file->models[i];

        if (strcasecmp(model->name, name) != 0)
            continue;
        linking_warn_at(notes, "model_not_in_file", model->line, model->column,
                        "model %s has no entry, but %s has: capital and small letters must be the "
                        "same in both",
                        quote.text, linking_quote(span_of(model->name)).text);
        return;
    }
    linking_names_append(&names, file);
    linking_warn_at(notes, "model_not_in_file", file->models_len ? file->models[0].line : 1,
                    file->models_len ? file->models[0].column : 1,
                    "model %s has no entry (the file has %s); add one to say what trained it",
                    quote.text, file->models_len ? buf_text(&names) : "none");
}

void linking_file_check_entries(const struct linking_file *file, const char *const *names,
                                size_t len, struct linking_notes *notes)
{
    AUTO(map_free) struct map *known = map_new();
    bool added;

    for (size_t i = 0; i < len; i++)
        (void)map_put(known, span_of(names[i]), i, &added);
    for (size_t i = 0; i < file->models_len; i++) {
        const struct linking_model *model = &file->models[i];

        if (!map_get(known, span_of(model->name)))
            linking_warn_at(notes, "entry_without_model", model->line, model->column,
                            "%s is the name of no model; rename the entry or remove it",
                            linking_quote(span_of(model->name)).text);
    }
}
