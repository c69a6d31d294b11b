/* plumbline COMMAND [OPTION...]: finds the command and runs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cmd_internal.h"
#include "collector/secret.h"
#include "collector/version.h"
#include "nearest_internal.h"

static const struct main_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} main_commands[] = {
    { "serve", cmd_serve, "collect metrics over HTTP and answer questions about them" },
    { "check-config", cmd_check_config, "check a configuration file" },
    { "migrate", cmd_migrate, "bring the database's schema up to this version" },
    { "verify", cmd_verify, "count rollups anew from raw rows and compare" },
    { "balance", cmd_balance, "show what became of every event received" },
    { "rejected", cmd_rejected, "show and replay events from Kafka that could not be taken" },
    { "ingest", cmd_ingest, "send files of events to a server" },
    { "read", cmd_read, "read metrics from a server" },
    { "lineage", cmd_lineage, "check linking files and show what trained which model" },
    { "key", cmd_key, "make, list and revoke the keys that clients send" },
    { NULL, NULL, NULL },
};

static const struct main_command *main_command_find(const char *name)
{
    const struct main_command *command = main_commands;

    while (command->name && strcmp(command->name, name) != 0)
        command++;
    return command->name ? command : NULL;
}

static const char *main_command_at(size_t i, const void *ctx)
{
    (void)ctx;
    return main_commands[i].name;
}

static int main_help(FILE *out, int code)
{
    (void)fputs("usage: plumbline COMMAND [OPTION...]\n"
                "Keeps the metrics that machine-learning models track in production.\n\n",
                out);
    for (const struct main_command *command = main_commands; command->name; command++)
        (void)fprintf(out, "  %-14s %s\n", command->name, command->help);
    (void)fputs("\n`plumbline COMMAND --help` shows a command's options; --version the version\n",
                out);
    return code;
}

static int main_refuse(const char *name)
{
    const char *meant = nearest_word(name, main_command_at, NULL);
    AUTO(mem_free) char *shown = secret_masked(name);

    (void)fprintf(stderr, "plumbline: unknown command \"%.64s\"", shown);
    if (meant)
        (void)fprintf(stderr, "; did you mean %s?\n", meant);
    else
        (void)fputs("; `plumbline --help` lists all\n", stderr);
    return CMD_USAGE;
}

/* The words as they were given; in the originals, which everybody on the machine sees (ps), the
 * passwords of DSNs and URLs and the secrets of keys are covered. Owned, a NULL at the end. */
static char **main_words(int argc, char **argv)
{
    char **words = xcalloc((size_t)argc + 1, sizeof(*words));

    for (int i = 0; i < argc; i++) {
        words[i] = xstrdup(argv[i]);
        (void)secret_mask_dsn(argv[i]);
        secret_mask_keys(argv[i]);
    }
    return words;
}

static int main_run(const struct main_command *command, int argc, char **argv)
{
    char **words = main_words(argc, argv);
    char **order = xcalloc((size_t)argc + 1, sizeof(*order)); /* getopt moves operands to the end */
    int code;

    memcpy(order, words, (size_t)argc * sizeof(*order));
    code = command->run(argc, order);
    for (int i = 0; i < argc; i++)
        free(words[i]);
    free(words);
    free(order);
    return code;
}

int main(int argc, char **argv)
{
    const struct main_command *command;

    if (argc < 2)
        return main_help(stderr, CMD_USAGE);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return main_help(stdout, CMD_DONE);
    if (strcmp(argv[1], "--version") == 0)
        return puts("plumbline " PLUMBLINE_VERSION) < 0 ? CMD_FAILED : CMD_DONE;
    command = main_command_find(argv[1]);
    if (!command)
        return main_refuse(argv[1]);
    return main_run(command, argc - 1, argv + 1);
}
