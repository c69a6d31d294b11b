#include "cmd_internal.h"

#include <stdio.h>

#include "collector/balance.h"
#include "options_internal.h"

struct balance_options {
    struct options_config config;
    bool json;
};

static const struct option_row balance_rows[] = {
    OPTIONS_CONFIG_ROWS(struct balance_options),
    { "json", 0, OPTION_FLAG, offsetof(struct balance_options, json), 0, 0, NULL,
      "print JSON: the answer of GET /v1/balance without what is spooled" },
    { 0 },
};

static const struct command_line balance_line = {
    .name = "balance",
    .operands = "",
    .summary = "Prints what became of every event received; fails when the books do not balance.",
    .notes =
        "It reads the database, which knows of no spool. GET /v1/balance of a running daemon also "
        "counts\nwhat that one has spooled.",
    .rows = balance_rows,
};

enum { BALANCE_JSON_BYTES_MAX = 4096 };

static void balance_print(const struct balance *balance, bool json)
{
    AUTO(buf_done) struct buf out;

    buf_init(&out, BALANCE_JSON_BYTES_MAX);
    if (!json) {
        balance_write_table(balance, stdout);
        return;
    }
    balance_write_json(balance, false, &out);
    (void)puts(buf_text(&out));
}

static int balance_run(const struct config *config, struct balance *balance, struct err *err)
{
    struct cmd_database database;
    int rc;

    if (cmd_database_open(&database, config, err) < 0)
        return -1;
    rc = store_balance_read(database.dsn, balance, err);
    cmd_database_close(&database);
    return rc;
}

int cmd_balance(int argc, char **argv)
{
    struct balance_options options = { 0 };
    struct balance balance = { 0 };
    struct config config;
    struct err err = { 0 };
    int code, rc;

    if (options_begin(&balance_line, argc, argv, &options, &code) < 0)
        return code;
    if (options_config_load(&config, &options.config, &err) < 0)
        return cmd_fail("balance", &err);
    rc = balance_run(&config, &balance, &err);
    config_done(&config);
    if (rc < 0)
        return cmd_fail("balance", &err);
    balance_print(&balance, options.json);
    return balance_holds(&balance) ? CMD_DONE : CMD_FAILED;
}
