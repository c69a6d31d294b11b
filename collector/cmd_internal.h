/* The commands that main() chooses from, one a file, and what they share. argv[0] is the command's
 * name; the result is the exit code. */
#ifndef COLLECTOR_CMD_INTERNAL_H
#define COLLECTOR_CMD_INTERNAL_H

#include "base/attr.h"
#include "base/err.h"
#include "collector/config.h"
#include "collector/store.h"

struct pg_local;

enum { CMD_DONE = 0, CMD_FAILED = 1, CMD_USAGE = 2 };

int cmd_serve(int argc, char **argv);
int cmd_check_config(int argc, char **argv);
int cmd_migrate(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_balance(int argc, char **argv);
int cmd_rejected(int argc, char **argv);
int cmd_ingest(int argc, char **argv);
int cmd_read(int argc, char **argv);
int cmd_lineage(int argc, char **argv);
int cmd_key(int argc, char **argv);

/* "plumbline NAME: text" on standard error; CMD_FAILED. */
int cmd_fail(const char *name, const struct err *err);

/* Who is at the command, as user@host, for the audit. */
enum { CMD_ACTOR_BYTES = 160 };
void cmd_actor(char actor[static CMD_ACTOR_BYTES]);

/* The database of a command: the configured one, or the private Postgres, which then runs as
 * long as the command. */
struct cmd_database {
    struct pg_local *local; /* owned; NULL when the configuration names a server */
    const char *dsn;        /* borrowed from `local` or the configuration */
};

/* For the daemon: a private Postgres is its alone. */
int cmd_database_own(struct cmd_database *database, const struct config *config,
                     struct err *err) MUST_CHECK;
/* For a command beside it: uses the private Postgres of a daemon that runs. */
int cmd_database_open(struct cmd_database *database, const struct config *config,
                      struct err *err) MUST_CHECK;
void cmd_database_close(struct cmd_database *database);

#endif
