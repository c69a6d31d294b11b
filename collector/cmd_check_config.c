#include "cmd_internal.h"

#include <stdio.h>

#include "collector/http.h"
#include "collector/secret.h"
#include "options_internal.h"

struct check_config_options {
    bool keys;
    bool print;
};

static const struct option_row check_config_rows[] = {
    { "keys", 0, OPTION_FLAG, offsetof(struct check_config_options, keys), 0, 0, NULL,
      "list the names of all keys, one a line, and check nothing" },
    { "print", 0, OPTION_FLAG, offsetof(struct check_config_options, print), 0, 0, NULL,
      "print what holds when file, environment and defaults are put together, passwords covered" },
    { 0 },
};

static const struct command_line check_config_line = {
    .name = "check-config",
    .operands = "[FILE]",
    .summary = "Checks a configuration, with the environment over it, as serve would.",
    .rows = check_config_rows,
    .operands_max = 1,
};

static int check_config_keys(void)
{
    for (const struct config_key *key = config_keys; key->name; key++)
        (void)puts(key->name);
    return CMD_DONE;
}

/* What is printed is mailed around. */
static void check_config_print(struct config *config)
{
    if (config->database)
        (void)secret_mask_dsn(config->database);
    secret_mask_properties(config->kafka_properties);
    config_write(config, stdout);
}

int cmd_check_config(int argc, char **argv)
{
    struct check_config_options options = { 0 };
    struct options_config from = { 0 };
    struct config config;
    struct err err = { 0 };
    int code, first = options_begin(&check_config_line, argc, argv, &options, &code);

    if (first < 0)
        return code;
    if (options.keys)
        return check_config_keys();
    from.file = argv[first];
    if (options_config_load(&config, &from, &err) < 0)
        return cmd_fail("check-config", &err);
    if (http_tls_check(&config, &err) < 0) {
        config_done(&config);
        return cmd_fail("check-config", &err);
    }
    if (options.print)
        check_config_print(&config);
    else
        (void)fprintf(stderr, "%s: good\n", from.file ? from.file : "defaults and environment");
    config_done(&config);
    return CMD_DONE;
}
