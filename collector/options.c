#include "options_internal.h"

#include <assert.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cmd_internal.h"
#include "collector/kafka.h"
#include "collector/secret.h"
#include "config_internal.h"
#include "nearest_internal.h"

extern char **environ;

/* What getopt_long returns for row i is OPTIONS_ROW + i, so that it is never a letter. */
enum { OPTIONS_ROWS_MAX = 32, OPTIONS_ROW = 256, OPTIONS_HELP = 512, OPTIONS_QUOTE = 64 };

struct options_getopt {
    struct option long_options[OPTIONS_ROWS_MAX + 2];
    char letters[2 * OPTIONS_ROWS_MAX + 3];
};

void option_texts_done(struct option_texts *texts)
{
    free(texts->items);
    *texts = (struct option_texts){ 0 };
}

static void options_getopt_init(struct options_getopt *getopt, const struct option_row *rows)
{
    char *letter = getopt->letters;
    size_t i;

    *getopt = (struct options_getopt){ 0 };
    *letter++ = ':'; /* a missing value is told from an unknown option */
    *letter++ = 'h';
    for (i = 0; rows[i].name; i++) {
        assert(i < OPTIONS_ROWS_MAX);
        getopt->long_options[i].name = rows[i].name;
        getopt->long_options[i].has_arg = rows[i].argument ? required_argument : no_argument;
        getopt->long_options[i].val = OPTIONS_ROW + (int)i;
        if (rows[i].letter) {
            *letter++ = rows[i].letter;
            if (rows[i].argument)
                *letter++ = ':';
        }
    }
    getopt->long_options[i].name = "help";
    getopt->long_options[i].val = OPTIONS_HELP;
}

static const struct option_row *options_row(const struct option_row *rows, int value)
{
    if (value >= OPTIONS_ROW)
        return &rows[value - OPTIONS_ROW];
    while (rows->name && rows->letter != (char)value)
        rows++;
    assert(rows->name);
    return rows;
}

static const char *options_name_at(size_t i, const void *ctx)
{
    return ((const struct option_row *)ctx)[i].name;
}

static int options_refuse_long(const struct option_row *rows, const char *word, struct err *err)
{
    AUTO(mem_free) char *name = xstrdup(word + 2);
    const char *meant;

    name[strcspn(name, "=")] = '\0';
    for (size_t i = 0; rows[i].name; i++) {
        if (strncmp(rows[i].name, name, strlen(name)) == 0)
            return err_set(err, ERR_INPUT, "--%s could be several options; write it out", name);
    }
    meant = nearest_word(name, options_name_at, rows);
    if (!meant)
        return err_set(err, ERR_INPUT, "unknown option --%.*s", OPTIONS_QUOTE, name);
    return err_set(err, ERR_INPUT, "unknown option --%.*s; did you mean --%s?", OPTIONS_QUOTE, name,
                   meant);
}

static int options_refuse(const struct option_row *rows, int result, const char *word,
                          struct err *err)
{
    if (result == ':')
        return err_set(err, ERR_INPUT, "--%s needs a value: --%s %s",
                       options_row(rows, optopt)->name, options_row(rows, optopt)->name,
                       options_row(rows, optopt)->argument);
    if (optopt == OPTIONS_HELP)
        return err_set(err, ERR_INPUT, "--help takes no value");
    if (optopt >= OPTIONS_ROW)
        return err_set(err, ERR_INPUT, "--%s takes no value", options_row(rows, optopt)->name);
    if (optopt)
        return err_set(err, ERR_INPUT, "unknown option -%c", optopt);
    return options_refuse_long(rows, word, err);
}

static int options_number_set(const struct option_row *row, int64_t *number, const char *value,
                              struct err *err)
{
    struct config_key key = { .name = row->name, .min = row->min, .max = row->max };

    key.type = row->type == OPTION_BYTES ? CONFIG_BYTES
               : row->type == OPTION_MS  ? CONFIG_MS
                                         : CONFIG_COUNT;
    if (config_number_parse(&key, value, number, err) < 0)
        return err_prefix(err, "--%s: ", row->name);
    return 0;
}

static int options_set(const struct option_row *row, void *target, const char *value,
                       struct err *err)
{
    void *member = (char *)target + row->offset;

    switch (row->type) {
    case OPTION_FLAG:
        *(bool *)member = true;
        return 0;
    case OPTION_TEXT:
        *(const char **)member = value;
        return 0;
    case OPTION_TEXTS: {
        struct option_texts *texts = member;

        texts->items = xreallocarray(texts->items, texts->len + 1, sizeof(*texts->items));
        texts->items[texts->len++] = value;
        return 0;
    }
    default:
        return options_number_set(row, member, value, err);
    }
}

static int options_check_operands(const struct command_line *line, int count, char **operands,
                                  struct err *err)
{
    if (count < line->operands_min)
        return err_set(err, ERR_INPUT, "%s is missing", line->operands);
    if (count > line->operands_max) {
        AUTO(mem_free) char *shown = secret_masked(operands[line->operands_max]);

        return err_set(err, ERR_INPUT, "unexpected argument \"%.*s\"", OPTIONS_QUOTE, shown);
    }
    return 0;
}

int options_read(const struct command_line *line, int argc, char **argv, void *target,
                 struct err *err)
{
    struct options_getopt getopt;
    int result;

    options_getopt_init(&getopt, line->rows);
    opterr = 0;
    optind = 0; /* glibc: begin anew */
    while ((result = getopt_long(argc, argv, getopt.letters, getopt.long_options, NULL)) != -1) {
        if (result == 'h' || result == OPTIONS_HELP)
            return 0;
        if (result == '?' || result == ':')
            return options_refuse(line->rows, result, argv[optind - 1], err);
        if (options_set(options_row(line->rows, result), target, optarg, err) < 0)
            return -1;
    }
    if (options_check_operands(line, argc - optind, argv + optind, err) < 0)
        return -1;
    return optind;
}

int options_begin(const struct command_line *line, int argc, char **argv, void *target, int *code)
{
    struct err err = { 0 };
    int first = options_read(line, argc, argv, target, &err);

    if (first > 0)
        return first;
    if (first == 0) {
        options_help(line, stdout);
        *code = CMD_DONE;
        return -1;
    }
    *code = cmd_fail(line->name, &err);
    (void)fprintf(stderr, "`plumbline %s --help` shows the usage\n", line->name);
    *code = CMD_USAGE;
    return -1;
}

enum { OPTIONS_HELP_COLUMN = 32 };

static void options_help_row(char letter, const char *name, const char *argument, const char *help,
                             FILE *out)
{
    char left[128], dash[5] = "    ";

    if (letter) {
        dash[0] = '-';
        dash[1] = letter;
        dash[2] = ',';
    }
    (void)snprintf(left, sizeof(left), "  %s--%s%s%s", dash, name, argument ? " " : "",
                   argument ? argument : "");
    (void)fprintf(out, "%-*s %s\n", OPTIONS_HELP_COLUMN, left, help);
}

void options_help(const struct command_line *line, FILE *out)
{
    (void)fprintf(out, "usage: plumbline %s [OPTION...]%s%s\n%s\n\n", line->name,
                  *line->operands ? " " : "", line->operands, line->summary);
    for (const struct option_row *row = line->rows; row->name; row++)
        options_help_row(row->letter, row->name, row->argument, row->help, out);
    options_help_row('h', "help", NULL, "this text", out);
    if (line->notes)
        (void)fprintf(out, "\n%s\n", line->notes);
}

static int options_config_set(struct config *config, const char *key, const char *option,
                              const char *value, struct err *err)
{
    if (!value)
        return 0;
    if (config_set(config, key, value, err) < 0)
        return err_prefix(err, "%s: ", option);
    return 0;
}

static int options_config_fill(struct config *config, const struct options_config *options,
                               struct err *err)
{
    const char *file = options->file ? options->file : getenv("PLUMBLINE_CONFIG");

    if (file && *file && config_load(config, file, err) < 0)
        return -1;
    if (config_apply_environment(config, environ, err) < 0)
        return -1;
    if (options->data_dir && config_set(config, "database", "", err) < 0)
        return -1; /* a private Postgres, whatever the file says */
    if (options_config_set(config, "listen", "--listen", options->listen, err) < 0 ||
        options_config_set(config, "database", "--database", options->database, err) < 0 ||
        options_config_set(config, "data_dir", "--data-dir", options->data_dir, err) < 0)
        return -1;
    if (config_check(config, err) < 0)
        return -1;
    return kafka_check(config, err);
}

int options_config_load(struct config *config, const struct options_config *options,
                        struct err *err)
{
    if (options->database && options->data_dir)
        return err_set(err, ERR_INPUT,
                       "--database and --data-dir exclude each other: the first names a server, "
                       "the second a private one");
    config_init(config);
    if (options_config_fill(config, options, err) < 0) {
        config_done(config);
        return -1;
    }
    return 0;
}
