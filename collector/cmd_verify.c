#include "cmd_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/verify.h"
#include "options_internal.h"
#include "read_table_internal.h"

struct verify_options {
    struct options_config config;
    const char *from;
    const char *to;
};

static const struct option_row verify_rows[] = {
    OPTIONS_CONFIG_ROWS(struct verify_options),
    { "from", 0, OPTION_TEXT, offsetof(struct verify_options, from), 0, 0, "TIME",
      "only days from then on: milliseconds since 1970 or a date" },
    { "to", 0, OPTION_TEXT, offsetof(struct verify_options, to), 0, 0, "TIME",
      "only days up to then; a date includes all of its day" },
    { 0 },
};

static const struct command_line verify_line = {
    .name = "verify",
    .operands = "",
    .summary = "Counts rollups anew from raw rows and compares; fails when something differs.",
    .notes = "Reads one snapshot; a daemon may run meanwhile. Prints a line for each metric of a\n"
             "window that differs: window, its start, deployment, metric, values expected, found.",
    .rows = verify_rows,
};

static void verify_progress(void *ctx, const struct verify *verify, enum window_width width,
                            int64_t ms)
{
    char text[CLOCK_TEXT_BYTES];

    (void)ctx;
    clock_format(ms, text);
    (void)fprintf(stderr, "\r\033[K%.10s %s: %" PRIu64 " windows, %" PRIu64 " differ", text,
                  window_name(width), verify->windows, verify->differing);
    (void)fflush(stderr);
}

static int verify_print(const struct verify *verify, const char *dsn, struct err *err)
{
    for (uint32_t i = 0; i < verify->differences_len; i++) {
        const struct verify_difference *difference = &verify->differences[i];
        AUTO(mem_free) char *crn = NULL, *metric = NULL;
        char text[CLOCK_TEXT_BYTES];

        if (verify_name(dsn, difference, &crn, &metric, err) < 0)
            return -1;
        clock_format(difference->window_ms, text);
        (void)printf("%s\t%s\t%s\t%s\t%" PRIu64 "\t%" PRIu64 "\n", window_name(difference->width),
                     text, crn, metric, difference->expected, difference->found);
    }
    return 0;
}

static int verify_database(struct verify *verify, const struct config *config, struct err *err)
{
    struct cmd_database database;
    int rc;

    if (cmd_database_open(&database, config, err) < 0)
        return -1;
    rc = verify_run(verify, database.dsn, err);
    if (verify->progress)
        (void)fputs("\r\033[K", stderr);
    if (rc == 0)
        rc = verify_print(verify, database.dsn, err);
    cmd_database_close(&database);
    return rc;
}

static int verify_parse_span(struct verify *verify, const struct verify_options *options,
                             struct err *err)
{
    if (options->from && read_time_parse(options->from, false, &verify->from_ms, err) < 0)
        return err_prefix(err, "--from: ");
    if (options->to && read_time_parse(options->to, true, &verify->to_ms, err) < 0)
        return err_prefix(err, "--to: ");
    return 0;
}

int cmd_verify(int argc, char **argv)
{
    struct verify_options options = { 0 };
    struct verify verify = { .from_ms = INT64_MIN, .to_ms = INT64_MAX };
    struct config config;
    struct err err = { 0 };
    int code, rc;

    if (options_begin(&verify_line, argc, argv, &options, &code) < 0)
        return code;
    if (verify_parse_span(&verify, &options, &err) < 0) {
        (void)cmd_fail("verify", &err);
        return CMD_USAGE;
    }
    if (options_config_load(&config, &options.config, &err) < 0)
        return cmd_fail("verify", &err);
    if (isatty(STDERR_FILENO) == 1)
        verify.progress = verify_progress;
    rc = verify_database(&verify, &config, &err);
    config_done(&config);
    (void)fprintf(stderr,
                  "%" PRIu64 " windows compared, %" PRIu64 " metrics in them differ, %" PRIu64
                  " minutes wait to be counted anew\n",
                  verify.windows, verify.differing, verify.recounts);
    verify_done(&verify);
    if (rc < 0)
        return cmd_fail("verify", &err);
    return verify.differing ? CMD_FAILED : CMD_DONE;
}
