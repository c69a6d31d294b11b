#include "cmd_internal.h"

#include <stdio.h>

#include "options_internal.h"

struct migrate_options {
    struct options_config config;
};

static const struct option_row migrate_rows[] = {
    OPTIONS_CONFIG_ROWS(struct migrate_options),
    { 0 },
};

static const struct command_line migrate_line = {
    .name = "migrate",
    .operands = "",
    .summary = "Brings the database's schema up to this version. serve does it at its start too.",
    .rows = migrate_rows,
};

static int migrate_run(const struct config *config, struct err *err)
{
    struct cmd_database database;
    int rc;

    if (cmd_database_open(&database, config, err) < 0)
        return -1;
    rc = store_migrate(database.dsn, config, err);
    cmd_database_close(&database);
    return rc;
}

int cmd_migrate(int argc, char **argv)
{
    struct migrate_options options = { 0 };
    struct config config;
    struct err err = { 0 };
    int code, rc;

    if (options_begin(&migrate_line, argc, argv, &options, &code) < 0)
        return code;
    if (options_config_load(&config, &options.config, &err) < 0)
        return cmd_fail("migrate", &err);
    rc = migrate_run(&config, &err);
    config_done(&config);
    if (rc < 0)
        return cmd_fail("migrate", &err);
    (void)fputs("the schema is up to date\n", stderr);
    return CMD_DONE;
}
