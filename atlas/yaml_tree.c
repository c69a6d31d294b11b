#include "yaml_tree_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"

enum { YAML_TREE_QUOTED_BYTES_MAX = 64, YAML_TREE_DIRECTIVES_MAX = 16 };

/* The mapping or list being read, and the last child that it has so far. */
struct yaml_tree_level {
    uint32_t node;
    uint32_t last;
};

struct yaml_tree_reader {
    struct yaml_tree *tree;
    struct span text;
    struct map *anchors; /* name to node; a name may be given again */
    struct yaml_problem *problem;
    yaml_parser_t parser;
    yaml_event_t event;
    struct yaml_tree_level levels[YAML_TREE_DEPTH_MAX + 1];
    uint32_t depth;
};

/* Fills the problem, in one line; always -1. */
static int yaml_tree_fail(struct yaml_tree_reader *reader, const yaml_mark_t *mark, const char *fmt,
                          ...) PRINTF_LIKE(3, 4);
static int yaml_tree_fail(struct yaml_tree_reader *reader, const yaml_mark_t *mark, const char *fmt,
                          ...)
{
    struct yaml_problem *problem = reader->problem;
    va_list args;

    problem->line = (uint32_t)mark->line + 1;
    problem->column = (uint32_t)mark->column + 1;
    va_start(args, fmt);
    (void)vsnprintf(problem->text, sizeof(problem->text), fmt, args);
    va_end(args);
    for (char *p = problem->text; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    }
    return -1;
}

/* The mark of a byte, which libyaml does not give for bytes that it could not read. */
static yaml_mark_t yaml_tree_mark(struct span text, size_t offset)
{
    yaml_mark_t mark = { 0 };

    for (size_t i = 0; i < offset && i < text.len; i++) {
        if (text.data[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else if (((unsigned char)text.data[i] & 0xC0) != 0x80) {
            mark.column++;
        }
    }
    return mark;
}

/* The bytes from a mark on; empty at the end. libyaml counts characters. */
static struct span yaml_tree_rest(struct span text, const yaml_mark_t *mark)
{
    size_t i = 0;

    for (size_t left = mark->index; i < text.len && left > 0; left--) {
        size_t len = utf8_char_len(text.data + i, text.len - i);

        i += len ? len : 1;
    }
    return (struct span){ text.data + i, text.len - i };
}

/* Nothing but blanks stands in front of the mark in its line. */
static bool yaml_tree_begins_line(struct span text, const yaml_mark_t *mark)
{
    const char *p = yaml_tree_rest(text, mark).data;

    while (p > text.data && p[-1] == ' ')
        p--;
    return p == text.data || p[-1] == '\n' || p[-1] == '\r';
}

/* What libyaml says, by a part of its words, and what we say. Its context is where the thing began
 * in which the problem is. */
static const struct yaml_tree_advice {
    const char *problem;
    enum { ADVICE_HERE, ADVICE_AT_CONTEXT, ADVICE_NAMES_CONTEXT } place;
    const char *text; /* NULL: what is there would be a text, but for how it begins */
} yaml_tree_advice[] = {
    { "cannot start any token", ADVICE_AT_CONTEXT, NULL },
    { "alphabetic or numeric character", ADVICE_AT_CONTEXT, NULL },
    { "undefined tag handle", ADVICE_AT_CONTEXT, NULL },
    { "comment or line break", ADVICE_AT_CONTEXT, NULL },
    { "whitespace or line break", ADVICE_AT_CONTEXT, NULL },
    { "unknown directive name", ADVICE_AT_CONTEXT, NULL },
    { "URI", ADVICE_AT_CONTEXT, NULL },
    { "unexpected end of stream", ADVICE_AT_CONTEXT, "the quote that opens here is never closed" },
    { "unexpected document indicator", ADVICE_AT_CONTEXT,
      "the quote that opens here is not closed before a line of `---` or `...`" },
    { "could not find expected ':'", ADVICE_AT_CONTEXT, "a colon is missing behind this" },
    { "mapping values are not allowed", ADVICE_HERE,
      "a colon too many; put a text that holds `: ` in quotes, or give the line above its colon" },
    { "block sequence entries are not allowed", ADVICE_HERE,
      "a list can't begin here; begin a new line in front of its `- `" },
    { "mapping keys are not allowed", ADVICE_HERE,
      "a text can't begin with `? `; put it in quotes" },
    { "unknown escape character", ADVICE_HERE,
      "not an escape of a text in double quotes; write \\\\ for a backslash, or use single "
      "quotes" },
    { "hexdecimal number", ADVICE_HERE, "\\x, \\u and \\U take 2, 4 and 8 hexadecimal digits" },
    { "Unicode character escape code", ADVICE_HERE, "this escape is no character; correct it" },
    { "expected ',' or ']'", ADVICE_NAMES_CONTEXT, "expected a `,` or `]` in the list that opens" },
    { "expected ',' or '}'", ADVICE_NAMES_CONTEXT,
      "expected a `,` or `}` in the mapping that opens" },
    { "expected '-' indicator", ADVICE_NAMES_CONTEXT,
      "expected `- `, as the others have it in the list that begins" },
    { "expected node content", ADVICE_HERE, "a value is missing here, or a bracket is not closed" },
    { "indentation indicator", ADVICE_HERE, "no indent of 1 to 9; leave the digit out" },
    { "tab character", ADVICE_HERE, "a tab; indent with blanks" },
    { "control characters are not allowed", ADVICE_HERE, "a control character; remove it" },
    { "incompatible YAML document", ADVICE_HERE, "not YAML 1.1 or 1.2; remove the line %YAML" },
};

static int yaml_tree_advise(struct yaml_tree_reader *reader, const yaml_mark_t *mark,
                            const struct yaml_tree_advice *advice)
{
    const yaml_mark_t *context = &reader->parser.context_mark;
    struct span rest;

    if (advice->place == ADVICE_NAMES_CONTEXT)
        return yaml_tree_fail(reader, mark, "%s in line %zu, column %zu", advice->text,
                              context->line + 1, context->column + 1);
    if (advice->place == ADVICE_AT_CONTEXT)
        mark = context;
    if (advice->text)
        return yaml_tree_fail(reader, mark, "%s", advice->text);
    rest = yaml_tree_rest(reader->text, mark);
    if (rest.len && rest.data[0] == '\t')
        return yaml_tree_fail(reader, mark, "a tab; indent with blanks");
    return yaml_tree_fail(reader, mark, "a text can't begin with \"%c\"; put it in quotes",
                          rest.len && (unsigned char)rest.data[0] < 0x80 ? rest.data[0] : '?');
}

/* A key was expected: what that means depends on where. */
static int yaml_tree_refuse_line(struct yaml_tree_reader *reader, const yaml_mark_t *mark)
{
    struct span rest = yaml_tree_rest(reader->text, mark);

    if (!yaml_tree_begins_line(reader->text, mark))
        return yaml_tree_fail(reader, mark,
                              "text behind the end of a value; begin a new line here");
    if (rest.len && rest.data[0] == '-')
        return yaml_tree_fail(reader, mark,
                              "this item belongs to no list above it; indent it as the others");
    return yaml_tree_fail(reader, mark,
                          "this line fits none above it; indent it as its neighbours, as "
                          "`key: value`");
}

/* Something stands behind the document. */
static int yaml_tree_refuse_rest(struct yaml_tree_reader *reader, const yaml_mark_t *mark)
{
    struct span rest = yaml_tree_rest(reader->text, mark);

    if (rest.len && rest.data[0] == ':')
        return yaml_tree_fail(reader, mark, "a colon needs a blank behind it");
    return yaml_tree_fail(reader, mark,
                          "the file is complete before this; one mapping or list holds all "
                          "models");
}

/* libyaml gave up. */
static int yaml_tree_refuse(struct yaml_tree_reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    const char *what = parser->problem ? parser->problem : "not YAML";
    yaml_mark_t mark = parser->problem_mark;

    if (parser->error == YAML_READER_ERROR) {
        mark = yaml_tree_mark(reader->text, parser->problem_offset);
        if (strstr(what, "UTF-8"))
            return yaml_tree_fail(reader, &mark, "not UTF-8; save the file as UTF-8");
    }
    if (strstr(what, "did not find expected key"))
        return yaml_tree_refuse_line(reader, &mark);
    if (strstr(what, "expected <document start>"))
        return yaml_tree_refuse_rest(reader, &mark);
    for (size_t i = 0; i < LENGTH(yaml_tree_advice); i++) {
        if (strstr(what, yaml_tree_advice[i].problem))
            return yaml_tree_advise(reader, &mark, &yaml_tree_advice[i]);
    }
    return yaml_tree_fail(reader, &mark, "%s", what);
}

/* The next event, in place of the last one. */
static int yaml_tree_next(struct yaml_tree_reader *reader)
{
    yaml_event_delete(&reader->event);
    return yaml_parser_parse(&reader->parser, &reader->event) ? 0 : yaml_tree_refuse(reader);
}

/* Tags of the YAML standard only repeat what the file is made of; others change its meaning. */
static int yaml_tree_check_tag(struct yaml_tree_reader *reader, const yaml_char_t *tag)
{
    static const char prefix[] = "tag:yaml.org,2002:";
    static const char *const known[] = { "str",  "int",       "float", "bool",
                                         "null", "timestamp", "map",   "seq" };
    const char *text = (const char *)tag;
    bool is_standard;
    struct span cut;

    if (!text || strcmp(text, "!") == 0)
        return 0;
    is_standard = strncmp(text, prefix, strlen(prefix)) == 0;
    if (is_standard)
        text += strlen(prefix);
    for (size_t i = 0; is_standard && i < LENGTH(known); i++) {
        if (strcmp(text, known[i]) == 0)
            return 0;
    }
    cut = utf8_cut(span_of(text), YAML_TREE_QUOTED_BYTES_MAX);
    return yaml_tree_fail(reader, &reader->event.start_mark,
                          "the tag %s%.*s means nothing here; remove it", is_standard ? "!!" : "",
                          (int)cut.len, cut.data);
}

/* A new last child of the innermost mapping or list; its number in *node. */
static int yaml_tree_add(struct yaml_tree_reader *reader, enum yaml_tree_type type, uint32_t *node)
{
    struct yaml_tree *tree = reader->tree;
    struct yaml_tree_level *level = &reader->levels[reader->depth];
    const yaml_mark_t *mark = &reader->event.start_mark;

    if (tree->len == YAML_TREE_NODES_MAX)
        return yaml_tree_fail(reader, mark, "more than %d values; split the file",
                              YAML_TREE_NODES_MAX);
    if (tree->len == tree->cap) {
        tree->cap = tree->cap ? tree->cap * 2 : 64;
        tree->nodes = xreallocarray(tree->nodes, tree->cap, sizeof(*tree->nodes));
    }
    *node = tree->len++;
    tree->nodes[*node] = (struct yaml_node){ .type = type,
                                             .line = (uint32_t)mark->line + 1,
                                             .column = (uint32_t)mark->column + 1 };
    if (*node == 0)
        return 0;
    if (level->last)
        tree->nodes[level->last].next = *node;
    else
        tree->nodes[level->node].first = *node;
    level->last = *node;
    return 0;
}

static void yaml_tree_anchor(struct yaml_tree_reader *reader, const yaml_char_t *anchor,
                             uint32_t node)
{
    bool added;

    if (anchor)
        *map_put(reader->anchors, span_of((const char *)anchor), node, &added) = node;
}

static int yaml_tree_add_text(struct yaml_tree_reader *reader)
{
    const yaml_event_t *event = &reader->event;
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    struct yaml_tree *tree = reader->tree;
    uint32_t node;

    if (memchr(text, '\0', len))
        return yaml_tree_fail(reader, &event->start_mark, "this text holds a zero byte; remove it");
    if (yaml_tree_check_tag(reader, event->data.scalar.tag) < 0 ||
        yaml_tree_add(reader, YAML_TREE_TEXT, &node) < 0)
        return -1;
    tree->nodes[node].is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    tree->nodes[node].at = tree->texts.len;
    tree->nodes[node].len = len;
    buf_append(&tree->texts, text, len);
    assert(!tree->texts.full); /* an escape makes three bytes of two at most */
    yaml_tree_anchor(reader, event->data.scalar.anchor, node);
    return 0;
}

static int yaml_tree_add_alias(struct yaml_tree_reader *reader)
{
    const yaml_event_t *event = &reader->event;
    const char *name = (const char *)event->data.alias.anchor;
    const uint64_t *target = map_get(reader->anchors, span_of(name));
    struct span cut = utf8_cut(span_of(name), YAML_TREE_QUOTED_BYTES_MAX);
    uint32_t node;

    if (!target)
        return yaml_tree_fail(reader, &event->start_mark,
                              "nothing above is anchored as &%.*s; put a text that begins with `*` "
                              "in quotes",
                              (int)cut.len, cut.data);
    if (reader->tree->nodes[*target].is_open)
        return yaml_tree_fail(reader, &event->start_mark,
                              "this alias stands inside what it stands for; write the value out");
    if (yaml_tree_add(reader, YAML_TREE_ALIAS, &node) < 0)
        return -1;
    reader->tree->nodes[node].target = (uint32_t)*target;
    return 0;
}

static int yaml_tree_open(struct yaml_tree_reader *reader, enum yaml_tree_type type,
                          const yaml_char_t *anchor, const yaml_char_t *tag)
{
    uint32_t node;

    if (reader->depth == YAML_TREE_DEPTH_MAX)
        return yaml_tree_fail(reader, &reader->event.start_mark,
                              "nested deeper than %d levels; a linking file needs 4",
                              YAML_TREE_DEPTH_MAX);
    if (yaml_tree_check_tag(reader, tag) < 0 || yaml_tree_add(reader, type, &node) < 0)
        return -1;
    reader->tree->nodes[node].is_open = true;
    yaml_tree_anchor(reader, anchor, node);
    reader->levels[++reader->depth] = (struct yaml_tree_level){ .node = node };
    return 0;
}

static int yaml_tree_add_event(struct yaml_tree_reader *reader)
{
    const yaml_event_t *event = &reader->event;

    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return yaml_tree_add_text(reader);
    case YAML_ALIAS_EVENT:
        return yaml_tree_add_alias(reader);
    case YAML_SEQUENCE_START_EVENT:
        return yaml_tree_open(reader, YAML_TREE_LIST, event->data.sequence_start.anchor,
                              event->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return yaml_tree_open(reader, YAML_TREE_MAP, event->data.mapping_start.anchor,
                              event->data.mapping_start.tag);
    default: /* the end of a list or a mapping */
        reader->tree->nodes[reader->levels[reader->depth--].node].is_open = false;
        return 0;
    }
}

/* stream start, [document start, value, document end], stream end. */
static int yaml_tree_stream(struct yaml_tree_reader *reader)
{
    uint32_t root;

    if (yaml_tree_next(reader) < 0 || yaml_tree_add(reader, YAML_TREE_DOCUMENT, &root) < 0 ||
        yaml_tree_next(reader) < 0)
        return -1;
    if (reader->event.type == YAML_STREAM_END_EVENT)
        return 0;
    for (;;) {
        if (yaml_tree_next(reader) < 0)
            return -1;
        if (reader->event.type == YAML_DOCUMENT_END_EVENT)
            break;
        if (yaml_tree_add_event(reader) < 0)
            return -1;
    }
    if (yaml_tree_next(reader) < 0)
        return -1;
    if (reader->event.type != YAML_STREAM_END_EVENT)
        return yaml_tree_fail(reader, &reader->event.start_mark,
                              "a second document begins here; put all models into one");
    return 0;
}

/* libyaml compares each %TAG with all before it: a megabyte of them takes seconds. */
static int yaml_tree_check_directives(struct yaml_tree_reader *reader)
{
    static const char directive[] = "%TAG";
    struct span rest = reader->text;
    const char *at;

    for (int i = 0; (at = memmem(rest.data, rest.len, directive, strlen(directive))); i++) {
        if (i == YAML_TREE_DIRECTIVES_MAX) {
            yaml_mark_t mark = yaml_tree_mark(reader->text, (size_t)(at - reader->text.data));

            return yaml_tree_fail(reader, &mark, "more than %d %s; remove them",
                                  YAML_TREE_DIRECTIVES_MAX, directive);
        }
        rest.len -= (size_t)(at + strlen(directive) - rest.data);
        rest.data = at + strlen(directive);
    }
    return 0;
}

static int yaml_tree_check_bytes(struct yaml_tree_reader *reader)
{
    const yaml_mark_t start = { 0 };
    struct span *text = &reader->text;

    if (text->len > YAML_TREE_BYTES_MAX)
        return yaml_tree_fail(reader, &start, "larger than %d bytes; split the file",
                              YAML_TREE_BYTES_MAX);
    if (text->len >= 2 &&
        (memcmp(text->data, "\xFF\xFE", 2) == 0 || memcmp(text->data, "\xFE\xFF", 2) == 0))
        return yaml_tree_fail(reader, &start, "UTF-16; save the file as UTF-8");
    if (text->len >= 3 && memcmp(text->data, "\xEF\xBB\xBF", 3) == 0)
        *text = (struct span){ text->data + 3, text->len - 3 }; /* or columns were one too large */
    return yaml_tree_check_directives(reader);
}

int yaml_tree_parse(struct yaml_tree *tree, struct span text, struct yaml_problem *problem)
{
    struct yaml_tree_reader reader = { .tree = tree, .problem = problem };
    int rc;

    reader.text = (struct span){ text.len ? text.data : "", text.len };
    *tree = (struct yaml_tree){ 0 };
    buf_init(&tree->texts, 2 * YAML_TREE_BYTES_MAX);
    if (yaml_tree_check_bytes(&reader) < 0)
        return -1;
    if (!yaml_parser_initialize(&reader.parser))
        abort(); /* out of memory: as xmalloc does */
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)reader.text.data,
                                 reader.text.len);
    reader.anchors = map_new();
    rc = yaml_tree_stream(&reader);
    map_free(reader.anchors);
    yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    if (rc < 0)
        yaml_tree_done(tree);
    return rc;
}

void yaml_tree_done(struct yaml_tree *tree)
{
    if (!tree)
        return;
    free(tree->nodes);
    buf_done(&tree->texts);
    *tree = (struct yaml_tree){ 0 };
}

const struct yaml_node *yaml_tree_node(const struct yaml_tree *tree, uint32_t node)
{
    return &tree->nodes[node];
}

const struct yaml_node *yaml_tree_value(const struct yaml_tree *tree, uint32_t node)
{
    const struct yaml_node *value = &tree->nodes[node];

    return value->type == YAML_TREE_ALIAS ? &tree->nodes[value->target] : value;
}

struct span yaml_tree_text(const struct yaml_tree *tree, const struct yaml_node *node)
{
    return (struct span){ buf_span(&tree->texts).data + node->at, node->len };
}

bool yaml_tree_is_null(const struct yaml_tree *tree, const struct yaml_node *node)
{
    struct span text;

    if (node->type != YAML_TREE_TEXT || !node->is_plain)
        return false;
    text = yaml_tree_text(tree, node);
    return text.len == 0 || span_is(text, "~") || span_is(text, "null") || span_is(text, "Null") ||
           span_is(text, "NULL");
}
