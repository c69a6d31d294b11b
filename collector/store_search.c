#include "collector/store_search_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/store_internal.h"

enum {
    SEARCH_SQL_BYTES_MAX = 4 * 1024 * 1024,
    SEARCH_KEY_BYTES_MAX = 500,  /* as many as entity_text keeps at least */
    SEARCH_LABEL_CHARS = 300,    /* of names, that the index entity_label has */
    SEARCH_ROWS_LARGE = 8,       /* at once, where attributes of any size are shown */
    SEARCH_WORDS_OF_MAX = 10000, /* entities whose words are counted for a suggestion */
};

void search_sql_init(struct search_sql *sql)
{
    buf_init(&sql->text, SEARCH_SQL_BYTES_MAX);
    sql->values = NULL;
    sql->values_len = 0;
    sql->has_one = false;
    sql->origins = NULL;
}

void search_sql_done(struct search_sql *sql)
{
    buf_done(&sql->text);
    for (int i = 0; i < sql->values_len; i++)
        free(sql->values[i]);
    free(sql->values);
}

int store_search_begin(PGconn *conn, struct err *err)
{
    return store_exec(conn,
                      "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                      "SET LOCAL statement_timeout = '30s';"
                      "SET LOCAL max_parallel_workers_per_gather = 0;"
                      "SET LOCAL cursor_tuple_fraction = 1", /* all rows are read */
                      "search", err);
}

/* --------------------------------------------------------------------------------------- values */

/* A reference to the text, which is copied: texts of clients are never part of the statement, but
 * for the names of attributes. */
static void search_put_value(struct search_sql *sql, struct span text)
{
    sql->values = xreallocarray(sql->values, (size_t)sql->values_len + 1, sizeof(*sql->values));
    sql->values[sql->values_len++] = xmemdup0(text.len ? text.data : "", text.len);
    buf_append_fmt(&sql->text, sql->has_one ? "($1::text[])[%d]" : "$%d::text", sql->values_len);
}

/* A name as a constant, which the planner has to see to find an index. People who define types
 * choose it: the one place where a text of theirs gets into a statement. */
static void search_put_name(struct search_sql *sql, const char *name)
{
    buf_append_text(&sql->text, strchr(name, '\\') ? "E'" : "'");
    for (; *name; name++) {
        if (*name == '\'' || *name == '\\')
            buf_append_char(&sql->text, *name);
        buf_append_char(&sql->text, *name);
    }
    buf_append_char(&sql->text, '\'');
}

/* A pattern for LIKE: `before` and `after` are "%" or "". With wildcards * and ? are those of the
 * client. */
static void search_put_pattern(struct search_sql *sql, const char *before, const char *value,
                               const char *after, bool has_wildcards)
{
    AUTO(buf_done) struct buf pattern;

    buf_init(&pattern, SIZE_MAX);
    buf_append_text(&pattern, before);
    for (; *value; value++) {
        if (has_wildcards && (*value == '*' || *value == '?')) {
            buf_append_char(&pattern, *value == '*' ? '%' : '_');
            continue;
        }
        if (strchr("%_\\", *value))
            buf_append_char(&pattern, '\\');
        buf_append_char(&pattern, *value);
    }
    buf_append_text(&pattern, after);
    search_put_value(sql, buf_span(&pattern));
}

static bool search_is_word_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* A regular expression for a word of the query: letters of either case, and no part of a longer
 * word unless a wildcard says so. Of several lines, each of them a text. */
static void search_put_word(struct search_sql *sql, const char *word)
{
    AUTO(buf_done) struct buf pattern;
    size_t len = strlen(word);

    buf_init(&pattern, SIZE_MAX);
    buf_append_text(&pattern, "(?n)");
    if (search_is_word_char(word[0]))
        buf_append_text(&pattern, "(^|[^[:alnum:]_])");
    for (size_t i = 0; i < len; i++) {
        if (word[i] == '*')
            buf_append_char(&pattern, '.');
        else if (!search_is_word_char(word[i]) && word[i] != '?')
            buf_append_char(&pattern, '\\');
        buf_append_char(&pattern, word[i] == '?' ? '.' : word[i]);
    }
    if (search_is_word_char(word[len - 1]))
        buf_append_text(&pattern, "($|[^[:alnum:]_])");
    search_put_value(sql, buf_span(&pattern));
}

#define SEARCH_TEXT_SQL "entity_text(e.qualified_name, e.attributes)"

static bool search_is_key_char(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* Whether search_put_keys says all that there is to say of the word: ASCII letters, digits and _,
 * behind which anything may follow. Their texts need not be read. */
static bool search_is_key(const char *word)
{
    size_t len;

    for (len = 0; search_is_key_char(word[len]); len++)
        continue;
    return len && len <= SEARCH_KEY_BYTES_MAX && strcmp(word + len, word[len] ? "*" : "") == 0;
}

/* What an index knows of the word: the parts that must be there as words of their own, or as the
 * beginning of one. Of a part behind a wildcard, or with letters that are none in every locale, it
 * knows nothing. */
static void search_put_keys(struct search_sql *sql, const char *word)
{
    AUTO(buf_done) struct buf keys;
    size_t len;

    buf_init(&keys, SIZE_MAX);
    for (const char *part = word; *part; part += len) {
        char before = part > word ? part[-1] : ' ';

        for (len = 0; search_is_key_char(part[len]); len++)
            continue;
        if (!len) {
            len = 1;
            continue;
        }
        if (before == '*' || before == '?' || (unsigned char)before >= 0x80 ||
            (unsigned char)part[len] >= 0x80 || len > SEARCH_KEY_BYTES_MAX)
            continue;
        buf_append_fmt(&keys, "%s'%.*s'%s", keys.len ? " & " : "", (int)len, part,
                       part[len] == '*' || part[len] == '?' ? ":*" : "");
    }
    if (!keys.len)
        return;
    buf_append_text(&sql->text, " AND entity_words(" SEARCH_TEXT_SQL ") @@ lower(");
    search_put_value(sql, buf_span(&keys));
    buf_append_text(&sql->text, ")::tsquery");
}

/* --------------------------------------------------------------------------------------- fields */

#define SEARCH_TIME(batch)                                                                         \
    "to_jsonb((SELECT floor(extract(epoch FROM b.recorded_at) * 1000)::bigint FROM graph_batch "   \
    "AS b"                                                                                         \
    " WHERE b.batch_id = e." batch "))"

/* What an index has in order: the attribute `name`. */
static bool search_is_label(const struct search_field *field)
{
    return field->place == SEARCH_IN_ATTRIBUTES && field->kind == SEARCH_TEXT &&
           strcmp(field->name, "name") == 0;
}

static void search_put_label(struct search_sql *sql)
{
    buf_append_fmt(&sql->text, "left(e.attributes ->> 'name', %d) COLLATE \"C\"",
                   SEARCH_LABEL_CHARS);
}

/* Texts as text, all else as jsonb, whose order is that of numbers and which no value can make
 * fail. */
static void search_put_field(struct search_sql *sql, const struct search_field *field)
{
    static const char *const places[] = {
        [SEARCH_IN_QUALIFIED_NAME] = "e.qualified_name",
        [SEARCH_IN_GUID] = "e.guid::text",
        [SEARCH_IN_TYPE_NAME] = "e.type",
        [SEARCH_IN_STATE] = "CASE WHEN e.is_deleted THEN 'DELETED' ELSE 'ACTIVE' END",
        [SEARCH_IN_CREATED_BY] = "e.created_by",
        [SEARCH_IN_MODIFIED_BY] = "e.updated_by",
        [SEARCH_IN_TIMESTAMP] = SEARCH_TIME("created_batch"),
        [SEARCH_IN_MODIFICATION_TIMESTAMP] = SEARCH_TIME("from_batch"),
        [SEARCH_IN_INCOMPLETE] = "to_jsonb(e.is_incomplete)",
    };

    if (field->place != SEARCH_IN_ATTRIBUTES) {
        buf_append_fmt(&sql->text, "(%s)", places[field->place]);
    } else {
        buf_append_text(&sql->text,
                        field->kind == SEARCH_TEXT ? "(e.attributes ->> " : "(e.attributes -> ");
        search_put_name(sql, field->name);
        buf_append_char(&sql->text, ')');
    }
    if (field->kind == SEARCH_TEXT)
        buf_append_text(&sql->text, " COLLATE \"C\"");
}

/* -------------------------------------------------------------------------------------- filters */

static void search_put_like(struct search_sql *sql, const struct search_filter *filter,
                            const char *before, const char *value, const char *after)
{
    /* as much as the index has tells of all */
    if (filter->operator== SEARCH_STARTS_WITH && search_is_label(&filter->field) &&
        strlen(value) <= SEARCH_LABEL_CHARS)
        search_put_label(sql);
    else
        search_put_field(sql, &filter->field);
    buf_append_text(&sql->text, " LIKE ");
    search_put_pattern(sql, before, value, after, filter->operator== SEARCH_LIKE);
}

static void search_put_contains(struct search_sql *sql, const struct search_filter *filter,
                                const char *value)
{
    if (filter->field.kind == SEARCH_TEXT) {
        search_put_like(sql, filter, "%", value, "%");
        return;
    }
    search_put_field(sql, &filter->field);
    buf_append_text(&sql->text, " ? ");
    search_put_value(sql, span_of(value));
}

static void search_put_contains_some(struct search_sql *sql, const struct search_filter *filter)
{
    const char *join = filter->operator== SEARCH_CONTAINS_ANY ? " OR " : " AND ";

    for (size_t i = 0; i < filter->values_len; i++) {
        buf_append_text(&sql->text, i ? join : "");
        search_put_contains(sql, filter, filter->values[i]);
    }
}

static void search_put_in(struct search_sql *sql, const struct search_filter *filter)
{
    search_put_field(sql, &filter->field);
    for (size_t i = 0; i < filter->values_len; i++) {
        buf_append_text(&sql->text, i ? ", " : " IN (");
        search_put_value(sql, span_of(filter->values[i]));
    }
    buf_append_char(&sql->text, ')');
}

static void search_put_compare(struct search_sql *sql, const struct search_filter *filter,
                               const char *operator, const char * value)
{
    search_put_field(sql, &filter->field);
    buf_append_fmt(&sql->text, " %s ", operator);
    search_put_value(sql, span_of(value));
    if (filter->field.kind != SEARCH_TEXT)
        buf_append_text(&sql->text, "::jsonb");
}

static void search_put_not_empty(struct search_sql *sql, const struct search_filter *filter)
{
    search_put_field(sql, &filter->field);
    buf_append_text(&sql->text, filter->field.kind == SEARCH_TEXT
                                    ? " <> ''"
                                    : " NOT IN ('\"\"'::jsonb, '[]', '{}')");
}

static void search_put_test(struct search_sql *sql, const struct search_filter *filter)
{
    static const char *const comparisons[SEARCH_OPERATORS] = {
        [SEARCH_LT] = "<",   [SEARCH_GT] = ">", [SEARCH_LTE] = "<=",
        [SEARCH_GTE] = ">=", [SEARCH_EQ] = "=", [SEARCH_NEQ] = "IS DISTINCT FROM",
    };
    const char *value = filter->values_len ? filter->values[0] : "";
    bool is_plain = !strpbrk(value, "*?");

    switch (filter->operator) {
    case SEARCH_IN:
        search_put_in(sql, filter);
        break;
    case SEARCH_LIKE: /* without a wildcard as CONTAINS */
        search_put_like(sql, filter, is_plain ? "%" : "", value, is_plain ? "%" : "");
        break;
    case SEARCH_STARTS_WITH:
        search_put_like(sql, filter, "", value, "%");
        break;
    case SEARCH_ENDS_WITH:
        search_put_like(sql, filter, "%", value, "");
        break;
    case SEARCH_CONTAINS:
        search_put_contains(sql, filter, value);
        break;
    case SEARCH_NOT_CONTAINS:
        buf_append_text(&sql->text, "(");
        search_put_contains(sql, filter, value);
        buf_append_text(&sql->text, ") IS NOT TRUE");
        break;
    case SEARCH_CONTAINS_ANY:
    case SEARCH_CONTAINS_ALL:
        search_put_contains_some(sql, filter);
        break;
    case SEARCH_IS_NULL:
    case SEARCH_NOT_NULL:
        search_put_field(sql, &filter->field);
        buf_append_text(&sql->text,
                        filter->operator== SEARCH_IS_NULL ? " IS NULL" : " IS NOT NULL");
        break;
    case SEARCH_TIME_RANGE:
        search_put_compare(sql, filter, ">=", value);
        buf_append_text(&sql->text, " AND ");
        search_put_compare(sql, filter, "<=", filter->values[1]);
        break;
    case SEARCH_NOT_EMPTY:
        search_put_not_empty(sql, filter);
        break;
    default:
        search_put_compare(sql, filter, comparisons[filter->operator], value);
    }
}

static void search_put_filter(struct search_sql *sql, const struct search_filter *filter)
{
    buf_append_char(&sql->text, '(');
    for (size_t i = 0; i < filter->children_len; i++) {
        if (i)
            buf_append_text(&sql->text, filter->is_or ? " OR " : " AND ");
        search_put_filter(sql, &filter->children[i]);
    }
    if (!filter->children_len)
        search_put_test(sql, filter);
    buf_append_char(&sql->text, ')');
}

/* ------------------------------------------------------------------------------ classifications */

/* What is gathered of one classification. */
struct search_carriers {
    const struct propagation *graph;
    uint32_t kind;
    struct buf own, reached; /* entities, with commas between them */
};

static void search_add_carrier(void *ctx, uint32_t mark, size_t place)
{
    struct search_carriers *carriers = &((struct search_carriers *)ctx)[mark];
    size_t len;

    buf_append_text(&carriers->reached, carriers->reached.len ? "," : "{");
    buf_append_i64(&carriers->reached, propagation_ids(carriers->graph, &len)[place]);
}

/* Owned; as many as there are kinds. */
static struct search_carriers *search_carriers_new(const struct tag_origins *origins)
{
    struct search_carriers *carriers = xcalloc(origins->kinds_len, sizeof(*carriers));

    for (size_t i = 0; i < origins->kinds_len; i++) {
        carriers[i] = (struct search_carriers){ .graph = origins->graph, .kind = (uint32_t)i };
        buf_init(&carriers[i].own, SIZE_MAX);
        buf_init(&carriers[i].reached, SIZE_MAX);
    }
    for (size_t i = 0; i < origins->len; i++) {
        struct buf *own = &carriers[origins->items[i].kind].own;

        buf_append_text(own, own->len ? "," : "{");
        buf_append_i64(own, origins->items[i].id);
    }
    propagation_run(origins->graph, origins->sources, origins->sources_len, search_add_carrier,
                    carriers);
    return carriers;
}

static void search_carriers_free(struct search_carriers *carriers, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        buf_done(&carriers[i].own);
        buf_done(&carriers[i].reached);
    }
    free(carriers);
}

static void search_put_ids(struct search_sql *sql, struct buf *ids)
{
    buf_append_text(&sql->text, "unnest(");
    buf_append_char(ids, '}');
    search_put_value(sql, buf_span(ids));
    buf_append_text(&sql->text, "::bigint[])");
}

/* Those that a classification reaches and that are of a type that may have it. */
static void search_put_reached(struct search_sql *sql, const struct tag_origins *origins,
                               const struct type_registry *types, struct search_carriers *carriers)
{
    struct type_list all = type_registry_types(types);
    size_t fitting = 0;

    buf_append_text(&sql->text, " UNION ALL SELECT u.id FROM ");
    search_put_ids(sql, &carriers->reached);
    buf_append_text(&sql->text, " AS u(id) JOIN entity AS t ON t.entity_id = u.id AND t.to_batch IS"
                                " NULL AND t.type IN (");
    for (size_t i = 0; i < all.len; i++) {
        if (all.items[i]->def->category != TYPE_ENTITY ||
            !type_classification_fits(types, origins->kinds[carriers->kind], all.items[i]))
            continue;
        buf_append_text(&sql->text, fitting++ ? ", " : "");
        search_put_value(sql, span_of(all.items[i]->def->name));
    }
    buf_append_text(&sql->text, fitting ? ")" : "NULL)");
}

static void search_put_tags(struct search_sql *sql, const struct search *search)
{
    const struct tag_origins *origins = sql->origins;
    struct search_carriers *carriers;

    if (search->tags == SEARCH_TAGS_EITHER)
        return;
    if (!origins || !origins->kinds_len) {
        buf_append_text(&sql->text, search->tags == SEARCH_CLASSIFIED ? " AND false" : "");
        return;
    }
    carriers = search_carriers_new(origins);
    buf_append_text(&sql->text, search->tags == SEARCH_CLASSIFIED
                                    ? " AND EXISTS (SELECT FROM ("
                                    : " AND NOT EXISTS (SELECT FROM (");
    for (size_t i = 0; i < origins->kinds_len; i++) {
        buf_append_text(&sql->text, i ? " UNION ALL SELECT id FROM " : "SELECT id FROM ");
        search_put_ids(sql, &carriers[i].own);
        buf_append_text(&sql->text, " AS u(id)");
        if (carriers[i].reached.len)
            search_put_reached(sql, origins, origins->types, &carriers[i]);
    }
    buf_append_text(&sql->text, ") AS k WHERE k.id = e.entity_id)");
    search_carriers_free(carriers, origins->kinds_len);
}

/* ------------------------------------------------------------------------------------ statement */

static void search_put_condition(struct search_sql *sql, const struct search *search)
{
    buf_append_text(&sql->text, " WHERE e.to_batch IS NULL");
    search_put_tags(sql, search);
    for (size_t i = 0; i < search->types.len; i++) {
        buf_append_text(&sql->text, i ? ", " : " AND e.type COLLATE \"C\" IN (");
        search_put_value(sql, span_of(search->types.items[i]->def->name));
    }
    buf_append_text(&sql->text, search->types.len ? ")" : "");
    if (search->excludes_deleted)
        buf_append_text(&sql->text, " AND NOT e.is_deleted");
    if (search->has_filter) {
        buf_append_text(&sql->text, " AND ");
        search_put_filter(sql, &search->filter);
    }
    for (size_t i = 0; i < search->words_len; i++) {
        search_put_keys(sql, search->words[i]);
        if (search_is_key(search->words[i]))
            continue;
        buf_append_text(&sql->text, " AND " SEARCH_TEXT_SQL " ~ lower(");
        search_put_word(sql, search->words[i]);
        buf_append_char(&sql->text, ')');
    }
}

/* Of a search for nothing but the beginning of a name: what it is the beginning of, as an index has
 * these names in order. NULL: it is another one. */
static const struct search_field *search_prefixed(const struct search *search)
{
    const struct search_filter *filter = &search->filter;

    if (!search->has_filter || search->words_len || search->tags || search->has_sort)
        return NULL;
    while (filter->children_len == 1)
        filter = &filter->children[0];
    if (filter->children_len || filter->operator!= SEARCH_STARTS_WITH ||
                                    strlen(filter->values[0]) > SEARCH_LABEL_CHARS)
        return NULL;
    return filter->field.place == SEARCH_IN_QUALIFIED_NAME || search_is_label(&filter->field)
               ? &filter->field
               : NULL;
}

static void search_put_order(struct search_sql *sql, const struct search *search)
{
    const struct search_field *prefixed = search_prefixed(search);

    buf_append_text(&sql->text, " ORDER BY ");
    if (prefixed) {
        if (prefixed->place == SEARCH_IN_QUALIFIED_NAME)
            search_put_field(sql, prefixed);
        else
            search_put_label(sql);
        buf_append_text(&sql->text, ", e.type COLLATE \"C\", ");
    }
    if (search->has_sort) {
        search_put_field(sql, &search->sort);
        buf_append_text(&sql->text, search->is_descending ? " DESC" : " ASC");
        if (search->sort.place == SEARCH_IN_ATTRIBUTES)
            buf_append_text(&sql->text, " NULLS LAST");
        buf_append_text(&sql->text, ", ");
    }
    buf_append_text(&sql->text, "e.entity_id");
}

/* The attributes of a header and those that the client named. */
static void search_put_shown(struct search_sql *sql, const struct search *search)
{
    static const char *const header[] = { "name", "displayName", "description", "owner",
                                          "createTime" };

    buf_append_text(&sql->text, "jsonb_strip_nulls(jsonb_build_object(");
    for (size_t i = 0; i < LENGTH(header); i++)
        buf_append_fmt(&sql->text, "%s'%s', e.attributes -> '%s'", i ? ", " : "", header[i],
                       header[i]);
    buf_append_char(&sql->text, ')');
    for (size_t i = 0; i < search->attributes_len; i++) { /* a function takes 100 arguments */
        buf_append_text(&sql->text, " || jsonb_build_object(");
        search_put_name(sql, search->attributes[i]);
        buf_append_text(&sql->text, ", e.attributes -> ");
        search_put_name(sql, search->attributes[i]);
        buf_append_char(&sql->text, ')');
    }
    buf_append_char(&sql->text, ')');
}

/* Those that are found, once: nothing but looking at all of them tells how many there are. */
static void search_put_hits(struct search_sql *sql, const struct search *search)
{
    buf_append_text(&sql->text,
                    "WITH hit AS MATERIALIZED (SELECT e.entity_id, row_number() OVER (");
    search_put_order(sql, search);
    buf_append_text(&sql->text, ") AS place FROM entity AS e");
    search_put_condition(sql, search);
    buf_append_fmt(&sql->text,
                   "), n AS (SELECT least(count(*), %d) AS count FROM hit),"
                   " page AS (SELECT * FROM hit ORDER BY place LIMIT %" PRId64 " OFFSET %" PRId64
                   ") ",
                   SEARCH_COUNT_MAX, search->limit, search->offset);
}

/* Those of some types alone, or by the beginning of a name: an index counts them, and another one
 * or the same has the page. */
static void search_put_page(struct search_sql *sql, const struct search *search)
{
    int64_t count_max = SEARCH_COUNT_MAX;

    if (search_prefixed(search) && search->offset + search->limit < SEARCH_COUNT_MAX)
        count_max = search->offset + search->limit + SEARCH_COUNT_BEYOND;
    buf_append_text(&sql->text, "WITH n AS (SELECT count(*) FROM (SELECT FROM entity AS e");
    search_put_condition(sql, search);
    if (search_prefixed(search))
        search_put_order(sql, search);
    buf_append_fmt(&sql->text,
                   " LIMIT %" PRId64 ") AS e), page AS (SELECT e.entity_id, row_number() OVER (",
                   count_max);
    search_put_order(sql, search);
    buf_append_text(&sql->text, ") AS place FROM entity AS e");
    search_put_condition(sql, search);
    search_put_order(sql, search);
    buf_append_fmt(&sql->text, " LIMIT %" PRId64 " OFFSET %" PRId64 ") ", search->limit,
                   search->offset);
}

const char *store_search_plans(const struct search *search)
{
    return search_prefixed(search) ? "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan ="
                                     " off; SET LOCAL enable_seqscan = off"
                                   : "SET LOCAL enable_sort = on";
}

/* The count is there without a page, too. What is shown is looked up row by row: OFFSET 0 leaves
 * the planner nothing but a nested loop. */
void store_search_write(struct search_sql *sql, const struct search *search)
{
    if ((search->has_filter && !search_prefixed(search)) || search->words_len || search->tags)
        search_put_hits(sql, search);
    else
        search_put_page(sql, search);
    buf_append_text(&sql->text, "SELECT n.count, e.entity_id, e.guid::text, e.type,"
                                " entity_name(e.qualified_name, e.attributes), (");
    search_put_shown(sql, search);
    buf_append_text(&sql->text,
                    ")::text, e.is_deleted, e.is_incomplete FROM n LEFT JOIN page ON true"
                    " LEFT JOIN LATERAL (SELECT e.* FROM entity AS e WHERE e.entity_id ="
                    " page.entity_id AND e.to_batch IS NULL OFFSET 0) AS e ON true"
                    " ORDER BY page.place");
}

/* --------------------------------------------------------------------------------------- answer */

static int search_give(const PGresult *result, int row, const struct tags *tags,
                       search_found *found, void *ctx, struct err *err)
{
    struct entity entity = { .id = store_get_i64(result, row, 1),
                             .type = type_by_name(tags->types, store_get_span(result, row, 3)),
                             .is_deleted = store_get_bool(result, row, 6),
                             .is_incomplete = store_get_bool(result, row, 7) };
    int rc;

    if (!entity.type)
        return 0;
    (void)snprintf(entity.guid, sizeof(entity.guid), "%s", PQgetvalue(result, row, 2));
    if (entity_has_name(entity.type))
        entity.qualified_name = xstrdup(PQgetvalue(result, row, 4));
    entity.attributes = entity_attributes_load(store_get_span(result, row, 5));
    rc = found(ctx, &entity, tags, (size_t)row, err);
    entity_done(&entity);
    return rc;
}

/* The classifications of all rows that were read together. */
static int search_read_tags(const struct atlas_view *view, const struct store_cursor *cursor,
                            struct tags *tags, struct err *err)
{
    size_t len = (size_t)PQntuples(cursor->rows);
    AUTO(mem_free) int64_t *ids = xcalloc(len, sizeof(*ids));

    tags_done(tags);
    if (PQgetisnull(cursor->rows, 0, 1)) /* nothing was found */
        len = 0;
    for (size_t i = 0; i < len; i++)
        ids[i] = store_get_i64(cursor->rows, (int)i, 1);
    return tags_read(view, ids, len, tags, err);
}

static int search_run(const struct atlas_view *view, struct search_sql *sql,
                      const struct search *search, search_found *found, void *ctx, int64_t *count,
                      struct err *err)
{
    AUTO(store_cursor_done) struct store_cursor cursor = { 0 };
    AUTO(tags_done) struct tags tags = { 0 };
    int rc;

    if (store_exec(view->conn, store_search_plans(search), "search", err) < 0 ||
        store_cursor_open_texts(&cursor, view->conn, "search", buf_text(&sql->text),
                                (const char *const *)sql->values, sql->values_len, err) < 0 ||
        store_exec(view->conn,
                   "SET LOCAL enable_sort = on; SET LOCAL enable_bitmapscan = on;" ATLAS_PLANS,
                   "search", err) < 0)
        return -1;
    if (search->attributes_len)
        cursor.rows_at_once = SEARCH_ROWS_LARGE;
    while ((rc = store_cursor_next(&cursor, err)) > 0) {
        *count = store_get_i64(cursor.rows, cursor.row, 0);
        if (cursor.row == 0 && search_read_tags(view, &cursor, &tags, err) < 0)
            return -1;
        if (PQgetisnull(cursor.rows, cursor.row, 1))
            continue;
        if (search_give(cursor.rows, cursor.row, &tags, found, ctx, err) < 0)
            return -1;
    }
    return rc;
}

#define SEARCH_TOO_LARGE "the search is larger than any that is looked for"

/* Who is classified as the search wants. */
static int search_find_origins(const struct atlas_view *view, const struct search *search,
                               struct tag_origins *origins, struct err *err)
{
    AUTO(search_sql_done) struct search_sql sql;
    struct tags_condition condition;

    search_sql_init(&sql);
    if (!search->has_tag_filter)
        return tags_find(view, &search->tag_types, origins, err);
    sql.has_one = true;
    search_put_filter(&sql, &search->tag_filter);
    if (sql.text.full)
        return err_set(err, ERR_INPUT, SEARCH_TOO_LARGE);
    condition = (struct tags_condition){ buf_text(&sql.text), sql.values, (size_t)sql.values_len };
    return tags_find_where(view, &search->tag_types, &condition, origins, err);
}

/* With the plans of look-ups; the search itself is planned by what is known of the tables. */
static int search_find_tags(const struct atlas_view *view, const struct search *search,
                            struct tag_origins *origins, struct err *err)
{
    if (store_exec(view->conn, "SAVEPOINT plans;" ATLAS_PLANS, "search", err) < 0 ||
        search_find_origins(view, search, origins, err) < 0)
        return -1;
    return store_exec(view->conn, "ROLLBACK TO SAVEPOINT plans", "search", err);
}

int store_search(PGconn *conn, const struct type_registry *types, struct tag_cache *cache,
                 const struct search *search, search_found *found, void *ctx, int64_t *count,
                 struct err *err)
{
    AUTO(search_sql_done) struct search_sql sql;
    AUTO(tag_origins_done) struct tag_origins origins = { 0 };
    struct atlas_view view;

    search_sql_init(&sql);
    atlas_view_init(&view, conn, types, ATLAS_NOW);
    view.tags = cache;
    if (atlas_find_newest(conn, &view.newest, err) < 0 ||
        (search->tags && search_find_tags(&view, search, &origins, err) < 0))
        return -1;
    sql.origins = search->tags ? &origins : NULL;
    store_search_write(&sql, search);
    if (sql.text.full) /* cut anywhere it may mean something else */
        return err_set(err, ERR_INPUT, SEARCH_TOO_LARGE);
    return search_run(&view, &sql, search, found, ctx, count, err);
}

/* --------------------------------------------------------------------------------------- counts */

/* Which facet, the name, how many. */
static void search_put_counts(struct search_sql *sql, const struct search *search)
{
    buf_append_text(&sql->text, "WITH hit AS MATERIALIZED (SELECT e.type, e.is_deleted,"
                                " left(e.attributes ->> 'owner', 500) AS owner FROM entity AS e");
    search_put_condition(sql, search);
    buf_append_fmt(&sql->text,
                   " LIMIT %d) SELECT * FROM (SELECT %d::bigint AS facet, type AS name, count(*)"
                   " FROM hit GROUP BY type UNION ALL SELECT %d, CASE WHEN is_deleted THEN"
                   " 'DELETED' ELSE 'ACTIVE' END, count(*) FROM hit GROUP BY is_deleted UNION ALL"
                   " (SELECT %d, owner, count(*) FROM hit WHERE owner <> '' GROUP BY owner"
                   " ORDER BY count(*) DESC, owner COLLATE \"C\" LIMIT %d)) AS counted"
                   " ORDER BY facet, count DESC, name COLLATE \"C\"",
                   SEARCH_COUNT_MAX, SEARCH_BY_TYPE, SEARCH_BY_STATE, SEARCH_BY_OWNER,
                   SEARCH_OWNERS_MAX);
}

int store_search_count(PGconn *conn, const struct search *search, search_counted *counted,
                       void *ctx, struct err *err)
{
    AUTO(store_cursor_done) struct store_cursor cursor = { 0 };
    AUTO(search_sql_done) struct search_sql sql;
    int rc;

    search_sql_init(&sql);
    search_put_counts(&sql, search);
    if (sql.text.full)
        return err_set(err, ERR_INPUT, SEARCH_TOO_LARGE);
    if (store_cursor_open_texts(&cursor, conn, "counts", buf_text(&sql.text),
                                (const char *const *)sql.values, sql.values_len, err) < 0)
        return -1;
    while ((rc = store_cursor_next(&cursor, err)) > 0)
        counted(ctx, (enum search_facet)store_get_i64(cursor.rows, cursor.row, 0),
                store_get_span(cursor.rows, cursor.row, 1),
                store_get_i64(cursor.rows, cursor.row, 2));
    return rc;
}

/* ---------------------------------------------------------------------------------- suggestions */

/* Of what entity_text is made. */
static const struct {
    const char *name, *sql;
} search_word_fields[] = {
    { "qualifiedName", "e.qualified_name" },
    { "name", "e.attributes ->> 'name'" },
    { "displayName", "e.attributes ->> 'displayName'" },
    { "description", "e.attributes ->> 'description'" },
    { "userDescription", "e.attributes ->> 'userDescription'" },
    { "owner", "e.attributes ->> 'owner'" },
    { "userName", "e.attributes ->> 'userName'" },
};

/* NULL: no words are known of it. */
static const char *search_word_sql(const char *field)
{
    for (size_t i = 0; i < LENGTH(search_word_fields); i++) {
        if (strcmp(field, search_word_fields[i].name) == 0)
            return search_word_fields[i].sql;
    }
    return NULL;
}

bool store_search_suggests(const char *field)
{
    return search_word_sql(field) != NULL;
}

int store_search_suggest(PGconn *conn, const char *prefix, const char *field,
                         search_suggested *suggested, void *ctx, struct err *err)
{
    AUTO(store_cursor_done) struct store_cursor cursor = { 0 };
    AUTO(mem_free) char *key = xasprintf("'%s':*", prefix);
    AUTO(mem_free) char *word = xasprintf("\\m%s[[:alnum:]_]*", prefix);
    const char *const values[] = { key, word };
    AUTO(mem_free)
    char *text = field ? xasprintf("lower(left(%s, 500))", search_word_sql(field))
                       : xstrdup(SEARCH_TEXT_SQL);
    AUTO(mem_free)
    char *sql = xasprintf(
        "SELECT k.word FROM (SELECT %s AS text FROM entity AS e WHERE e.to_batch IS NULL AND"
        " entity_words(" SEARCH_TEXT_SQL ") @@ lower($1::text)::tsquery LIMIT %d) AS h CROSS JOIN"
        " LATERAL (SELECT DISTINCT w.found[1] AS word FROM regexp_matches(h.text, $2::text, 'gi')"
        "  AS w(found)) AS k"
        " GROUP BY k.word ORDER BY count(*) DESC, k.word COLLATE \"C\" LIMIT %d",
        text, SEARCH_WORDS_OF_MAX, SEARCH_SUGGESTIONS_MAX);
    int rc;

    if (!*prefix || strlen(prefix) > SEARCH_KEY_BYTES_MAX)
        return 0;
    for (const char *c = prefix; *c; c++) {
        if (!search_is_key_char(*c))
            return 0; /* no word has it */
    }
    if (store_cursor_open_texts(&cursor, conn, "suggestions", sql, values, LENGTH(values), err) < 0)
        return -1;
    while ((rc = store_cursor_next(&cursor, err)) > 0)
        suggested(ctx, store_get_span(cursor.rows, cursor.row, 0));
    return rc;
}
