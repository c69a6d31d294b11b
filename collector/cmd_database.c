#include "cmd_internal.h"

#include "collector/pg_local.h"

int cmd_database_open(struct cmd_database *database, const struct config *config, struct err *err)
{
    *database = (struct cmd_database){ .dsn = config->database };
    if (database->dsn)
        return 0;
    database->local = pg_local_start(config->data_dir, err);
    if (!database->local)
        return -1;
    database->dsn = pg_local_dsn(database->local);
    return 0;
}

void cmd_database_close(struct cmd_database *database)
{
    pg_local_stop(database->local);
    *database = (struct cmd_database){ 0 };
}
