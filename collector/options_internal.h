/* Options of the command line: a table a command, read by getopt_long into the command's struct.
 * Also the options that lead to a configuration, which several commands share. */
#ifndef COLLECTOR_OPTIONS_INTERNAL_H
#define COLLECTOR_OPTIONS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attr.h"
#include "base/err.h"
#include "collector/config.h"

enum option_type {
    OPTION_FLAG,  /* bool */
    OPTION_TEXT,  /* const char *, borrowed from argv; the last one counts */
    OPTION_TEXTS, /* struct option_texts, one for each time it is given */
    OPTION_COUNT, /* int64_t */
    OPTION_BYTES, /* int64_t, with units as in the configuration */
    OPTION_MS,    /* the same */
};

struct option_texts {
    const char **items; /* owned; the texts are borrowed from argv */
    size_t len;
};

void option_texts_done(struct option_texts *texts);

struct option_row {
    const char *name; /* without the dashes; NULL ends the table */
    char letter;      /* 0: there is no short form */
    enum option_type type;
    size_t offset; /* in the command's struct */
    int64_t min;   /* numbers */
    int64_t max;
    const char *argument; /* its name in the help; NULL for a flag */
    const char *help;
};

struct command_line {
    const char *name;     /* "ingest" */
    const char *operands; /* "FILE..."; "" when there are none */
    const char *summary;  /* the first line of the help */
    const char *notes;    /* lines below the options, or NULL */
    const struct option_row *rows;
    int operands_min;
    int operands_max; /* INT_MAX: any number */
};

/* Reads argv (argv[0] is the command) into `target`, which holds the defaults. The index of the
 * first operand; 0 when --help was asked for; -1 and ERR_INPUT for wrong usage. Moves operands to
 * the end of argv. Not for two threads at a time (getopt). */
int options_read(const struct command_line *line, int argc, char **argv, void *target,
                 struct err *err) MUST_CHECK;
/* The same for a command: prints the help to standard output or the error to standard error. The
 * index of the first operand, or -1 with the exit code in *code. */
int options_begin(const struct command_line *line, int argc, char **argv, void *target,
                  int *code) MUST_CHECK;
void options_help(const struct command_line *line, FILE *out);

/* The options of the commands that need a configuration. */
struct options_config {
    const char *file;
    const char *listen;
    const char *database;
    const char *data_dir;
};

/* Rows for a command whose struct has a member `config` of this type. */
/* clang-format off */
#define OPTIONS_CONFIG_ROWS(type)                                                                  \
    { "config", 'c', OPTION_TEXT, offsetof(type, config.file), 0, 0, "FILE",                       \
      "the configuration; without it $PLUMBLINE_CONFIG, else defaults" },                          \
    { "database", 0, OPTION_TEXT, offsetof(type, config.database), 0, 0, "DSN",                    \
      "the database: a libpq DSN or URI" },                                                        \
    { "data-dir", 0, OPTION_TEXT, offsetof(type, config.data_dir), 0, 0, "DIR",                    \
      "the folder of a private Postgres, instead of a database" }
#define OPTIONS_LISTEN_ROW(type)                                                                   \
    { "listen", 0, OPTION_TEXT, offsetof(type, config.listen), 0, 0, "ADDR:PORT",                  \
      "where to serve; port 0 picks one" }
/* clang-format on */

/* Defaults, then the file, then the environment, then the options; checked as a whole. `config` is
 * made here, and is the caller's to end with config_done on success only. */
int options_config_load(struct config *config, const struct options_config *options,
                        struct err *err) MUST_CHECK;

#endif
