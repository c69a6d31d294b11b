/* The configuration file: one document, one mapping, one scalar a key; keys with a dot in their
 * name stand in a mapping of their own (kafka.group: `group` below `kafka`). */
#include "config_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"
#include "base/mem.h"

enum { CONFIG_FILE_BYTES_MAX = 65536 };

/* One pass over the events of libyaml; values go into a copy, which replaces the configuration only
 * when the whole file was good. */
struct config_reader {
    yaml_parser_t parser;
    yaml_event_t event;
    const char *name;
    struct config config;
    size_t lines[CONFIG_KEYS_MAX]; /* where each key stood, 0: not yet */
    struct err *err;
};

static int config_reader_fail(struct config_reader *reader, const yaml_mark_t *mark,
                              const char *fmt, ...) PRINTF_LIKE(3, 4);
static int config_reader_fail(struct config_reader *reader, const yaml_mark_t *mark,
                              const char *fmt, ...)
{
    char text[ERR_TEXT_BYTES_MAX];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return err_set(reader->err, ERR_INPUT, "%s:%zu:%zu: %s", reader->name, mark->line + 1,
                   mark->column + 1, text);
}

/* Refuses what a list of keys has no use for and what could make a small file large. */
static int config_reader_check(struct config_reader *reader)
{
    const yaml_event_t *event = &reader->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;

    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return config_reader_fail(reader, &event->start_mark,
                                  "aliases are not allowed here; write the value out");
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    default:
        break;
    }
    if (anchor)
        return config_reader_fail(reader, &event->start_mark,
                                  "anchors are not allowed here; remove %s",
                                  config_quote((const char *)anchor).text);
    if (tag)
        return config_reader_fail(reader, &event->start_mark,
                                  "tags are not allowed here; remove %s",
                                  config_quote((const char *)tag).text);
    return 0;
}

/* The next event, in place of the last one. */
static int config_reader_next(struct config_reader *reader)
{
    yaml_event_delete(&reader->event);
    if (!yaml_parser_parse(&reader->parser, &reader->event)) {
        const char *problem = reader->parser.problem;

        return config_reader_fail(reader, &reader->parser.problem_mark, "%s",
                                  problem ? problem : "not YAML");
    }
    return config_reader_check(reader);
}

/* The first key of the mapping `name`, NULL: there is no such mapping. */
static const struct config_key *config_reader_section(const char *name)
{
    size_t len = strlen(name);

    for (const struct config_key *key = config_keys; key->name; key++) {
        if (strncmp(key->name, name, len) == 0 && key->name[len] == '.')
            return key;
    }
    return NULL;
}

static int config_reader_unknown(struct config_reader *reader, const yaml_mark_t *mark,
                                 const char *name)
{
    const char *meant = config_key_nearest(name), *dot = strchr(name, '.');

    if (meant && dot && strcmp(meant, name) == 0)
        return config_reader_fail(reader, mark, "key \"%s\" is written as `%s` below `%.*s:`", name,
                                  dot + 1, (int)(dot - name), name);
    if (!meant)
        return config_reader_fail(reader, mark,
                                  "unknown key %s; `plumbline check-config --keys` lists all",
                                  config_quote(name).text);
    return config_reader_fail(reader, mark, "unknown key %s; did you mean \"%s\"?",
                              config_quote(name).text, meant);
}

/* The key that stands here, in the mapping `section` (NULL: the outer one). */
static int config_reader_key(struct config_reader *reader, const char *section,
                             const struct config_key **key)
{
    const yaml_mark_t mark = reader->event.start_mark;
    AUTO(mem_free) char *name = NULL;
    const char *word;
    size_t *line;

    if (reader->event.type != YAML_SCALAR_EVENT)
        return config_reader_fail(reader, &mark, "a key must be one word");
    word = (const char *)reader->event.data.scalar.value;
    name = section ? xasprintf("%s.%s", section, word) : xstrdup(word);
    *key = section || !strchr(word, '.') ? config_key_find(name) : NULL;
    if (!*key)
        return config_reader_unknown(reader, &mark, name);
    line = &reader->lines[*key - config_keys];
    if (*line)
        return config_reader_fail(reader, &mark,
                                  "key \"%s\" is repeated; it stands in line %zu already", name,
                                  *line);
    *line = mark.line + 1;
    return 0;
}

static int config_reader_value(struct config_reader *reader, const struct config_key *key)
{
    const yaml_mark_t mark = reader->event.start_mark;
    const char *text;

    if (reader->event.type != YAML_SCALAR_EVENT)
        return config_reader_fail(reader, &mark, "%s: takes one value, not a list or a mapping",
                                  key->name);
    text = (const char *)reader->event.data.scalar.value;
    if (strlen(text) != reader->event.data.scalar.length)
        return config_reader_fail(reader, &mark, "%s: the value holds a zero byte", key->name);
    if (reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
        (strcmp(text, "~") == 0 || strcmp(text, "null") == 0))
        text = "";
    if (!*text && !config_key_is_text(key))
        return config_reader_fail(reader, &mark, "%s: the value is missing; the default is %s",
                                  key->name, key->preset);
    if (config_key_set(&reader->config, key, text, reader->err) < 0)
        return err_prefix(reader->err, "%s:%zu:%zu: %s: ", reader->name, mark.line + 1,
                          mark.column + 1, key->name);
    return 0;
}

/* A mapping of names to values that are for somebody else to know: lines of name=value. */
static int config_reader_pairs(struct config_reader *reader, const struct config_key *key)
{
    AUTO(buf_done) struct buf lines;
    AUTO(mem_free) char *name = NULL;
    const yaml_mark_t start = reader->event.start_mark;

    buf_init(&lines, CONFIG_PAIRS_BYTES_MAX);
    for (bool is_name = true;; is_name = !is_name) {
        const yaml_event_t *event = &reader->event;
        const char *text;

        if (config_reader_next(reader) < 0)
            return -1;
        if (event->type == YAML_MAPPING_END_EVENT)
            break;
        if (event->type != YAML_SCALAR_EVENT)
            return config_reader_fail(reader, &event->start_mark,
                                      "%s: takes lines of the form `name: value`", key->name);
        text = (const char *)event->data.scalar.value;
        if (is_name) { /* what stands behind a '=' may be a password, as a value may */
            free(name);
            name = xmemdup0(text, strcspn(text, "="));
        }
        if (strlen(text) != event->data.scalar.length || strchr(text, '\n') ||
            (is_name && (!*text || strchr(text, '='))))
            return config_reader_fail(reader, &event->start_mark, "%s: %s %s", key->name,
                                      config_quote(name).text,
                                      is_name ? "is to be followed by a colon and a blank"
                                              : "has a value that is not one line of text");
        buf_append_text(&lines, text);
        buf_append_char(&lines, is_name ? '=' : '\n');
    }
    if (config_key_set(&reader->config, key, buf_text(&lines), reader->err) < 0)
        return err_prefix(reader->err, "%s:%zu:%zu: %s: ", reader->name, start.line + 1,
                          start.column + 1, key->name);
    return 0;
}

/* The mapping that begins here: of all keys, or of those in `section`. */
static int config_reader_mapping(struct config_reader *reader, const char *section)
{
    const struct config_key *key = NULL;

    if (reader->event.type != YAML_MAPPING_START_EVENT)
        return config_reader_fail(reader, &reader->event.start_mark,
                                  "expected lines of the form `key: value`%s%s",
                                  section ? " below " : "", section ? section : "");
    for (;;) {
        AUTO(mem_free) char *inner = NULL;

        if (config_reader_next(reader) < 0)
            return -1;
        if (reader->event.type == YAML_MAPPING_END_EVENT)
            return 0;
        if (!section && reader->event.type == YAML_SCALAR_EVENT &&
            config_reader_section((const char *)reader->event.data.scalar.value)) {
            inner = xstrdup((const char *)reader->event.data.scalar.value);
            if (config_reader_next(reader) < 0 || config_reader_mapping(reader, inner) < 0)
                return -1;
            continue;
        }
        if (config_reader_key(reader, section, &key) < 0 || config_reader_next(reader) < 0)
            return -1;
        if (key->type == CONFIG_PAIRS && reader->event.type == YAML_MAPPING_START_EVENT) {
            if (config_reader_pairs(reader, key) < 0)
                return -1;
        } else if (config_reader_value(reader, key) < 0) {
            return -1;
        }
    }
}

/* stream start, [document start, mapping, document end], stream end. */
static int config_reader_stream(struct config_reader *reader)
{
    /* NOLINTNEXTLINE(misc-redundant-expression): each reads an event */
    if (config_reader_next(reader) < 0 || config_reader_next(reader) < 0)
        return -1;
    if (reader->event.type == YAML_STREAM_END_EVENT)
        return 0;
    if (config_reader_next(reader) < 0 || config_reader_mapping(reader, NULL) < 0 ||
        config_reader_next(reader) < 0 || config_reader_next(reader) < 0)
        return -1;
    if (reader->event.type != YAML_STREAM_END_EVENT)
        return config_reader_fail(reader, &reader->event.start_mark,
                                  "a second document begins here; a configuration is one");
    return 0;
}

int config_parse(struct config *config, const char *name, const char *text, size_t len,
                 struct err *err)
{
    struct config_reader reader = { .name = name, .err = err };
    int rc;

    if (len > CONFIG_FILE_BYTES_MAX)
        return err_set(err, ERR_INPUT, "%s: larger than a configuration may be (%d bytes)", name,
                       CONFIG_FILE_BYTES_MAX);
    if (!yaml_parser_initialize(&reader.parser))
        return err_set(err, ERR_FATAL, "%s: out of memory", name);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, len);
    config_copy(&reader.config, config);
    rc = config_reader_stream(&reader);
    yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    if (rc < 0) {
        config_done(&reader.config);
        return -1;
    }
    config_done(config);
    *config = reader.config;
    return 0;
}

int config_load(struct config *config, const char *path, struct err *err)
{
    AUTO(mem_free) char *text = NULL;
    FILE *file = fopen(path, "re");
    int failed;
    size_t len;

    if (!file)
        return err_set(err, ERR_INPUT, "cannot read the configuration %s: %s", path,
                       strerror(errno));
    text = xmalloc(CONFIG_FILE_BYTES_MAX + 1);
    len = fread(text, 1, CONFIG_FILE_BYTES_MAX + 1, file);
    failed = ferror(file) ? errno : 0;
    (void)fclose(file);
    if (failed)
        return err_set(err, ERR_INPUT, "cannot read the configuration %s: %s", path,
                       strerror(failed));
    return config_parse(config, path, text, len, err);
}
