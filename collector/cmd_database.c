#include "cmd_internal.h"

#include "collector/pg_local.h"

static int cmd_database_with(struct cmd_database *database, const struct config *config,
                             struct pg_local *(*start)(const char *data_dir, struct err *err),
                             struct err *err)
{
    *database = (struct cmd_database){ .dsn = config->database };
    if (database->dsn)
        return 0;
    database->local = start(config->data_dir, err);
    if (!database->local)
        return -1;
    database->dsn = pg_local_dsn(database->local);
    return 0;
}

int cmd_database_own(struct cmd_database *database, const struct config *config, struct err *err)
{
    return cmd_database_with(database, config, pg_local_start, err);
}

int cmd_database_open(struct cmd_database *database, const struct config *config, struct err *err)
{
    return cmd_database_with(database, config, pg_local_join, err);
}

void cmd_database_close(struct cmd_database *database)
{
    pg_local_stop(database->local);
    *database = (struct cmd_database){ 0 };
}
