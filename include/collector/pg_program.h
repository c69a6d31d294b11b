/* PostgreSQL's server programs: where they are, the user that may run them, running one. */
#ifndef COLLECTOR_PG_PROGRAM_H
#define COLLECTOR_PG_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/err.h"

enum { PG_PROGRAM_MAJOR_MIN = 13 };

struct pg_user {
    uid_t uid;
    gid_t gid;
    bool other; /* not who we are: become it before running a server */
};

/* Whom servers run as: ourselves, or as root the user `postgres`, since Postgres refuses root.
 * ERR_FATAL: there is no such user. */
int pg_user_find(struct pg_user *user, struct err *err) MUST_CHECK;

/* The folder with `postgres` and `initdb` of that major version (0: the first that is recent
 * enough) in PATH, where pg_config says, or where distributions put them, newest first. Owned path.
 * ERR_FATAL: none; the text says which versions were seen and what to install. */
char *pg_program_find(int major, struct err *err) MUST_CHECK;

/* Starts argv[0] (a path) in `dir` as `user`, with a small environment, nothing on standard input,
 * both outputs to the descriptor `out` (borrowed), no other descriptor, signals as a shell leaves
 * them; `session`: in a session of its own, out of the terminal's reach. -1 and ERR_FATAL. */
struct pg_program {
    const char *const *argv;
    const char *dir;
    const struct pg_user *user;
    int out;
    bool session;
};
pid_t pg_program_start(const struct pg_program *program, struct err *err) MUST_CHECK;
/* Waits for a child until clock_mono_ms() is `deadline_ms`. False: it still runs. */
bool pg_program_wait(pid_t pid, int64_t deadline_ms, int *status) MUST_CHECK;

#endif
