/* plumbline lineage lint FILE... | show FILE | push FILE: linking files. */
#include "cmd_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atlas/linking_file.h"
#include "base/mem.h"
#include "client_internal.h"
#include "cmd_lineage_internal.h"
#include "options_internal.h"

struct lineage_options {
    struct option_texts models;
    const char *name_space; /* NULL: not given */
    const char *build_crn;
    const char *url;
    struct client_tls tls;
    bool json;
};

static const struct option_row lineage_rows[] = {
    { "model", 0, OPTION_TEXTS, offsetof(struct lineage_options, models), 0, 0, "NAME",
      "lint: a model of the project, repeatable; warns where they and the file differ" },
    { "namespace", 0, OPTION_TEXT, offsetof(struct lineage_options, name_space), 0, 0, "NAME",
      "of tables that name none (" LINKING_NAMESPACE_DEFAULT "; push: the server's)" },
    { "json", 0, OPTION_FLAG, offsetof(struct lineage_options, json), 0, 0, NULL,
      "show: as JSON, tables as a model_built event takes them in `inputs`" },
    { "build", 0, OPTION_TEXT, offsetof(struct lineage_options, build_crn), 0, 0, "CRN",
      "push: the build that gets the file" },
    { "url", 0, OPTION_TEXT, offsetof(struct lineage_options, url), 0, 0, "URL",
      "push: the server; else $PLUMBLINE_URL, else " CLIENT_URL_DEFAULT },
    CLIENT_TLS_ROWS(struct lineage_options),
    { 0 },
};

static const struct command_line lineage_line = {
    .name = "lineage",
    .operands = "lint FILE... | show FILE | push FILE --build CRN",
    .summary = "Checks linking files (lineage.yaml), shows what trained which model by them, and "
               "gives\nthem to builds.",
    .notes = "FILE may be - for standard input. lint prints warnings and errors to standard error "
             "as\nFILE:LINE:COLUMN and exits with 1 when there are errors. show prints to standard "
             "output.\npush completes a build that was announced without its file; a build that "
             "has another one\nstays as it is.",
    .rows = lineage_rows,
    .operands_min = 1,
    .operands_max = INT_MAX,
};

/* What one file came to. */
struct lineage_outcome {
    struct buf text;
    struct linking_file file;
    struct linking_notes notes;
};

static void lineage_outcome_done(struct lineage_outcome *outcome)
{
    buf_done(&outcome->text);
    linking_file_done(&outcome->file);
    linking_notes_done(&outcome->notes);
}

void lineage_print(const char *fmt, ...)
{
    char line[PATH_MAX + LINKING_MESSAGE_BYTES + 64];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    client_clean(line);
    (void)fprintf(stderr, "%s\n", line);
}

/* At most one byte more than a linking file may have, so that the parser can refuse it. */
static int lineage_read(const char *path, struct buf *text, struct err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC), failed;
    ssize_t len = 1;

    if (fd < 0)
        return err_set(err, ERR_INPUT, "cannot read %s: %s", path, strerror(errno));
    buf_init(text, LINKING_FILE_BYTES_MAX + 1);
    while (len > 0 && text->len < text->max) {
        size_t room = text->max - text->len < 65536 ? text->max - text->len : 65536;
        char *to = buf_reserve(text, room);

        len = read(fd, to, room);
        if (len > 0)
            text->len += (size_t)len;
        else if (len < 0 && errno == EINTR)
            len = 1;
    }
    failed = len < 0 ? errno : 0;
    if (!is_stdin)
        (void)close(fd);
    return failed ? err_set(err, ERR_INPUT, "cannot read %s: %s", path, strerror(failed)) : 0;
}

/* lineage.yml is looked for as well as lineage.yaml: two of them are one too many, unless they are
 * the same file under two names. */
static void lineage_check_twin(const char *path)
{
    const char *base = strrchr(path, '/');
    struct stat own, other;
    const char *twin;
    char beside[PATH_MAX];

    base = base ? base + 1 : path;
    if (strcmp(base, "lineage.yaml") == 0)
        twin = "lineage.yml";
    else if (strcmp(base, "lineage.yml") == 0)
        twin = "lineage.yaml";
    else
        return;
    (void)snprintf(beside, sizeof(beside), "%.*s%s", (int)(base - path), path, twin);
    if (stat(path, &own) < 0 || stat(beside, &other) < 0)
        return;
    if (own.st_dev != other.st_dev || own.st_ino != other.st_ino)
        lineage_print("%s: warning: %s stands beside it; keep one of them", path, twin);
}

static const char *lineage_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

/* Of a file that is pushed the server says what to warn of. */
static void lineage_print_notes(const struct lineage_options *options, const char *name,
                                const struct linking_notes *notes)
{
    size_t printed = 0, total = (size_t)notes->errors;

    if (!options->build_crn)
        total += notes->warnings;
    for (size_t i = 0; i < notes->len; i++) {
        if (options->build_crn && !notes->items[i].is_error)
            continue;
        lineage_print("%s:%u:%u: %s: %s", name, notes->items[i].line, notes->items[i].column,
                      notes->items[i].is_error ? "error" : "warning", notes->items[i].message);
        printed++;
    }
    if (printed < total)
        lineage_print("%s: %zu more are not shown", name, total - printed);
}

/* Reads a file and prints what there is to say about it. The outcome is made here. */
static int lineage_load(const struct lineage_options *options, const char *path,
                        struct lineage_outcome *outcome, struct err *err)
{
    const char *name = lineage_name(path);
    struct linking_source source = { .name = name,
                                     .name_space = options->name_space
                                                       ? options->name_space
                                                       : LINKING_NAMESPACE_DEFAULT };
    struct linking_notes *notes = &outcome->notes;
    int rc;

    *outcome = (struct lineage_outcome){ 0 };
    if (lineage_read(path, &outcome->text, err) < 0)
        return -1;
    lineage_check_twin(path);
    source.text = buf_span(&outcome->text);
    rc = linking_file_parse(&outcome->file, &source, notes, err);
    for (size_t i = 0; rc == 0 && i < options->models.len; i++)
        linking_file_check_model(&outcome->file, options->models.items[i], notes);
    if (rc == 0 && options->models.len)
        linking_file_check_entries(&outcome->file, options->models.items, options->models.len,
                                   notes);
    lineage_print_notes(options, name, notes);
    return rc;
}

/* "1 model", "2 models" */
static const char *lineage_plural(size_t count)
{
    return count == 1 ? "" : "s";
}

static int lineage_lint(const struct lineage_options *options, char **paths)
{
    int code = CMD_DONE;

    for (; *paths; paths++) {
        struct lineage_outcome outcome;
        struct err err = { 0 };
        size_t models, tables = 0;

        if (lineage_load(options, *paths, &outcome, &err) < 0) {
            code = outcome.notes.errors ? CMD_FAILED : cmd_fail("lineage", &err);
        } else {
            models = outcome.file.models_len;
            for (size_t i = 0; i < models; i++)
                tables += outcome.file.models[i].tables_len;
            lineage_print("%s: good, %zu model%s, %zu table%s", lineage_name(*paths), models,
                          lineage_plural(models), tables, lineage_plural(tables));
        }
        lineage_outcome_done(&outcome);
    }
    return code;
}

/* A text of the file on standard output, in one line. */
static void lineage_show_text(const char *before, const char *text, const char *after)
{
    AUTO(mem_free) char *line = xstrdup(text);

    client_clean(line);
    (void)printf("%s%s%s", before, line, after);
}

/* Upstream from a build: its metadata, and the process that made it of these tables. */
static void lineage_show_tree(const struct linking_file *file)
{
    for (size_t i = 0; i < file->models_len; i++) {
        const struct linking_model *model = &file->models[i];

        lineage_show_text("ml_model_build ", model->name, "\n");
        if (model->metadata_len)
            (void)puts("  metadata");
        for (size_t j = 0; j < model->metadata_len; j++) {
            lineage_show_text("    ", model->metadata[j].key, ": ");
            lineage_show_text("", model->metadata[j].value, "\n");
        }
        (void)puts("  ml_model_train_build_process");
        for (size_t j = 0; j < model->tables_len; j++)
            lineage_show_text("    hive_table ", model->tables[j].qualified_name, "\n");
    }
}

static json_t *lineage_model_json(const struct linking_model *model)
{
    json_t *inputs = json_array(), *metadata = json_object();

    for (size_t i = 0; i < model->tables_len; i++)
        (void)json_array_append_new(inputs,
                                    json_pack("{ss,ss}", "typeName", "hive_table", "qualifiedName",
                                              model->tables[i].qualified_name));
    for (size_t i = 0; i < model->metadata_len; i++)
        (void)json_object_set_new(metadata, model->metadata[i].key,
                                  json_string(model->metadata[i].value));
    return json_pack("{ss,si,si,so,so}", "modelName", model->name, "line", (int)model->line,
                     "column", (int)model->column, "inputs", inputs, "metadata", metadata);
}

static void lineage_show_json(const struct lineage_outcome *outcome)
{
    json_t *models = json_array(), *warnings = json_array(), *root;

    for (size_t i = 0; i < outcome->file.models_len; i++)
        (void)json_array_append_new(models, lineage_model_json(&outcome->file.models[i]));
    for (size_t i = 0; i < outcome->notes.len; i++) {
        const struct linking_note *note = &outcome->notes.items[i];

        (void)json_array_append_new(warnings,
                                    json_pack("{ss,ss,si,si}", "code", note->code, "message",
                                              note->message, "line", (int)note->line, "column",
                                              (int)note->column));
    }
    root = json_pack("{so,so}", "models", models, "warnings", warnings);
    (void)json_dumpf(root, stdout, JSON_INDENT(2));
    (void)putchar('\n');
    json_decref(root);
}

static int lineage_show(const struct lineage_options *options, const char *path)
{
    struct lineage_outcome outcome;
    struct err err = { 0 };
    int code = CMD_DONE;

    if (lineage_load(options, path, &outcome, &err) < 0)
        code = outcome.notes.errors ? CMD_FAILED : cmd_fail("lineage", &err);
    else if (options->json)
        lineage_show_json(&outcome);
    else
        lineage_show_tree(&outcome.file);
    lineage_outcome_done(&outcome);
    if (code == CMD_DONE && fflush(stdout) != 0) {
        (void)err_set(&err, ERR_FATAL, "standard output: %s", strerror(errno));
        code = cmd_fail("lineage", &err);
    }
    return code;
}

static int lineage_push_file(const struct lineage_options *options, const char *path)
{
    struct lineage_push push = { .url = options->url,
                                 .tls = &options->tls,
                                 .build_crn = options->build_crn,
                                 .name_space = options->name_space,
                                 .name = lineage_name(path) };
    struct lineage_outcome outcome;
    struct err err = { 0 };
    int code = CMD_DONE;

    if (lineage_load(options, path, &outcome, &err) < 0) {
        code = outcome.notes.errors ? CMD_FAILED : cmd_fail("lineage", &err);
    } else {
        push.text = buf_span(&outcome.text);
        if (lineage_push(&push, &err) < 0)
            code = err.kind == ERR_NONE ? CMD_FAILED : cmd_fail("lineage", &err);
    }
    lineage_outcome_done(&outcome);
    return code;
}

/* Why the command can't be run like this, or NULL. words[0] is what to do. */
static const char *lineage_usage(const struct lineage_options *options, char **words, int count)
{
    bool is_lint = strcmp(words[0], "lint") == 0, is_show = strcmp(words[0], "show") == 0;
    bool is_push = strcmp(words[0], "push") == 0;

    if (count < 2 || (!is_lint && count > 2) || !(is_lint || is_show || is_push))
        return "takes lint FILE..., show FILE or push FILE --build CRN";
    if ((options->json && !is_show) || (options->models.len && !is_lint))
        return "--json goes with show, --model with lint";
    if (is_push ? !options->build_crn
                : options->build_crn || options->url || options->tls.ca ||
                      options->tls.certificate || options->tls.key)
        return "push takes --build CRN and maybe --url, nothing else does";
    if (is_push && !*options->build_crn)
        return "--build takes the CRN of a build";
    if (options->name_space && (!*options->name_space || strpbrk(options->name_space, "@ ,")))
        return "--namespace takes one word without @";
    return NULL;
}

int cmd_lineage(int argc, char **argv)
{
    struct lineage_options options = { 0 };
    int code, first = options_begin(&lineage_line, argc, argv, &options, &code);
    const char *wrong = first < 0 ? NULL : lineage_usage(&options, argv + first, argc - first);

    if (wrong) {
        (void)fprintf(stderr, "plumbline lineage: %s; `plumbline lineage --help` says more\n",
                      wrong);
        code = CMD_USAGE;
    } else if (first >= 0 && strcmp(argv[first], "push") == 0) {
        code = lineage_push_file(&options, argv[first + 1]);
    } else if (first >= 0) {
        code = strcmp(argv[first], "show") == 0 ? lineage_show(&options, argv[first + 1])
                                                : lineage_lint(&options, argv + first + 1);
    }
    option_texts_done(&options.models);
    return code;
}
