#include "cmd_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "client_internal.h"
#include "options_internal.h"
#include "read_table_internal.h"

struct read_options {
    const char *url;
    struct client_tls tls;
    const char *format;
    struct option_texts model_crns;
    struct option_texts build_crns;
    struct option_texts deployment_crns;
    struct option_texts uuids;
    struct option_texts keys;
    const char *start;
    const char *end;
    const char *kind;
    const char *cursor;
    int64_t limit; /* 0: none */
};

/* clang-format off */
static const struct option_row read_rows[] = {
    { "url", 0, OPTION_TEXT, offsetof(struct read_options, url), 0, 0, "URL",
      "the server; else $PLUMBLINE_URL, else " CLIENT_URL_DEFAULT },
    CLIENT_TLS_ROWS(struct read_options),
    { "format", 0, OPTION_TEXT, offsetof(struct read_options, format), 0, 0, "FORMAT",
      "table, ndjson or csv (table on a terminal, else ndjson)" },
    { "model-crn", 0, OPTION_TEXTS, offsetof(struct read_options, model_crns), 0, 0, "CRN",
      "only these models; may be repeated" },
    { "model-build-crn", 0, OPTION_TEXTS, offsetof(struct read_options, build_crns), 0, 0, "CRN",
      "only these builds; may be repeated" },
    { "model-deployment-crn", 0, OPTION_TEXTS, offsetof(struct read_options, deployment_crns), 0, 0,
      "CRN", "only these deployments; may be repeated" },
    { "prediction-uuid", 0, OPTION_TEXTS, offsetof(struct read_options, uuids), 0, 0, "UUID",
      "only these predictions; may be repeated" },
    { "start", 0, OPTION_TEXT, offsetof(struct read_options, start), 0, 0, "TIME",
      "begun then or later: milliseconds since 1970 or a date" },
    { "end", 0, OPTION_TEXT, offsetof(struct read_options, end), 0, 0, "TIME",
      "begun then or earlier; a date includes all of its day" },
    { "kind", 0, OPTION_TEXT, offsetof(struct read_options, kind), 0, 0, "KIND",
      "prediction or aggregate" },
    { "key", 0, OPTION_TEXTS, offsetof(struct read_options, keys), 0, 0, "NAME",
      "only these top-level metrics; may be repeated" },
    { "limit", 0, OPTION_COUNT, offsetof(struct read_options, limit), 1, 1000000000, "N",
      "at most so many rows" },
    { "cursor", 0, OPTION_TEXT, offsetof(struct read_options, cursor), 0, 0, "CURSOR",
      "go on where a read with --limit ended; needs --limit again" },
    { 0 },
};
/* clang-format on */

static const struct command_line read_line = {
    .name = "read",
    .operands = "",
    .summary = "Prints metrics in their order of insertion.",
    .notes = "Times: 1596185125125, 2020-07-31, 2020-07-31T08:45:25.125Z, 2020-07-31T10:45+02:00;\n"
             "without a zone they are UTC.",
    .rows = read_rows,
};

static void read_options_done(struct read_options *options)
{
    option_texts_done(&options->model_crns);
    option_texts_done(&options->build_crns);
    option_texts_done(&options->deployment_crns);
    option_texts_done(&options->uuids);
    option_texts_done(&options->keys);
}

static inline void read_options_done_auto(struct read_options *options)
{
    read_options_done(options);
}

enum read_format { READ_TABLE, READ_NDJSON, READ_CSV };

enum { READ_PATH_BYTES_MAX = 1 << 20 };

static int read_format_choose(const char *name, enum read_format *format, struct err *err)
{
    if (!name)
        *format = isatty(STDOUT_FILENO) == 1 ? READ_TABLE : READ_NDJSON;
    else if (strcmp(name, "table") == 0)
        *format = READ_TABLE;
    else if (strcmp(name, "ndjson") == 0)
        *format = READ_NDJSON;
    else if (strcmp(name, "csv") == 0)
        *format = READ_CSV;
    else
        return err_set(err, ERR_INPUT, "--format: \"%.64s\" is none of table, ndjson, csv", name);
    return 0;
}

static void read_path_add_texts(struct buf *path, const char *name,
                                const struct option_texts *texts)
{
    for (size_t i = 0; i < texts->len; i++)
        client_query_add(path, name, texts->items[i]);
}

static int read_path_add_time(struct buf *path, const char *name, const char *option,
                              const char *text, bool is_end, struct err *err)
{
    char number[32];
    int64_t ms;

    if (!text)
        return 0;
    if (read_time_parse(text, is_end, &ms, err) < 0)
        return err_prefix(err, "%s: ", option);
    (void)snprintf(number, sizeof(number), "%" PRId64, ms);
    client_query_add(path, name, number);
    return 0;
}

static int read_path_write(struct buf *path, const struct read_options *options, struct err *err)
{
    char number[32];

    buf_append_text(path, "/v1/metrics");
    read_path_add_texts(path, "model_crn", &options->model_crns);
    read_path_add_texts(path, "model_build_crn", &options->build_crns);
    read_path_add_texts(path, "model_deployment_crn", &options->deployment_crns);
    read_path_add_texts(path, "prediction_uuid", &options->uuids);
    read_path_add_texts(path, "key", &options->keys);
    if (read_path_add_time(path, "start_timestamp_ms", "--start", options->start, false, err) < 0 ||
        read_path_add_time(path, "end_timestamp_ms", "--end", options->end, true, err) < 0)
        return -1;
    if (options->kind)
        client_query_add(path, "kind", options->kind);
    if (options->cursor)
        client_query_add(path, "cursor", options->cursor);
    (void)snprintf(number, sizeof(number), "%" PRId64, options->limit);
    if (options->limit)
        client_query_add(path, "limit", number);
    if (path->full)
        return err_set(err, ERR_INPUT, "the filters are too long for a request");
    return 0;
}

/* Columns of the terminal behind standard output; 0: it is none. */
static size_t read_terminal_columns(void)
{
    struct winsize size;

    if (isatty(STDOUT_FILENO) != 1 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        return 0;
    return size.ws_col;
}

/* What goes to standard output. */
struct read_output {
    struct read_table *table; /* NULL: bytes go through as they are */
    uint64_t lines;
    struct err *err;
    bool is_terminal;
    bool is_closed; /* whoever read our output has gone */
};

static int read_output_fail(struct read_output *output)
{
    output->is_closed = errno == EPIPE;
    return err_set(output->err, ERR_FATAL, "cannot write: %s", strerror(errno));
}

static int read_output_write(void *ctx, const char *data, size_t len)
{
    struct read_output *output = ctx;

    for (const char *p = data; (p = memchr(p, '\n', len - (size_t)(p - data))); p++)
        output->lines++;
    errno = 0;
    if (output->table) {
        if (read_table_write(output->table, data, len, output->err) < 0)
            return -1;
    } else {
        (void)fwrite(data, 1, len, stdout);
    }
    if (!ferror(stdout) && output->is_terminal)
        (void)fflush(stdout);
    return ferror(stdout) ? read_output_fail(output) : 0;
}

static int read_run(struct client *client, const char *path, enum read_format format,
                    struct err *err)
{
    static const char *const accept[] = {
        [READ_TABLE] = "application/x-ndjson",
        [READ_NDJSON] = "application/x-ndjson",
        [READ_CSV] = "text/csv",
    };
    struct read_table table;
    struct read_output output = {
        .table = format == READ_TABLE ? &table : NULL,
        .err = err,
        .is_terminal = isatty(STDOUT_FILENO) == 1,
    };
    const struct client_sink sink = { read_output_write, &output };
    AUTO(mem_free) char *next_cursor = NULL;
    int rc;

    read_table_init(&table, stdout, read_terminal_columns());
    rc = client_get(client, path, accept[format], &sink, &next_cursor, err);
    read_table_done(&table);
    errno = 0;
    if (fflush(stdout) != 0 && rc == 0)
        rc = read_output_fail(&output);
    if (output.is_closed)
        return 0;
    if (rc < 0 && output.lines)
        return err_prefix(err, "after %" PRIu64 " lines: ", output.lines);
    if (rc == 0 && next_cursor)
        (void)fprintf(stderr, "there is more: --cursor %s\n", next_cursor);
    return rc;
}

int cmd_read(int argc, char **argv)
{
    AUTO(read_options_done) struct read_options options = { 0 };
    AUTO(client_free) struct client *client = NULL;
    AUTO(buf_done) struct buf path;
    struct err err = { 0 };
    enum read_format format = READ_TABLE;
    int code;

    buf_init(&path, READ_PATH_BYTES_MAX);
    if (options_begin(&read_line, argc, argv, &options, &code) < 0)
        return code;
    client = client_open(options.url, &options.tls, &err);
    if (!client || read_format_choose(options.format, &format, &err) < 0 ||
        read_path_write(&path, &options, &err) < 0) {
        (void)cmd_fail("read", &err);
        return CMD_USAGE;
    }
    (void)signal(SIGPIPE, SIG_IGN); /* EPIPE ends the read quietly */
    if (read_run(client, buf_text(&path), format, &err) < 0)
        return cmd_fail("read", &err);
    return CMD_DONE;
}
