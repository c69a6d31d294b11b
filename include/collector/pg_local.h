/* The private Postgres of `serve --data-dir`: made at first use, started and stopped with the
 * daemon, reached by nothing but a unix socket in a folder of mode 0700.
 *
 *   DIR/postgres/       the cluster
 *   DIR/postgres.log    what the server says
 *   DIR/socket/         its socket; a folder in /tmp when the name would be too long, remembered
 *   DIR/socket.path     here
 *   DIR/lock            held by the daemon that uses DIR
 *
 * The server runs in its own session, so Ctrl-C reaches the daemon first. It outlives a daemon that
 * is killed and is adopted by the next one. All of this belongs to one thread. */
#ifndef COLLECTOR_PG_LOCAL_H
#define COLLECTOR_PG_LOCAL_H

#include "base/attr.h"
#include "base/err.h"

struct pg_local;

/* "/var/lib/plumbline" for root, "./var" for everybody else. */
const char *pg_local_default_dir(void);

/* Makes the directory and the cluster where missing, starts the server or adopts one that runs, and
 * waits until it answers; recovery after a crash may take minutes. A blocked SIGINT or SIGTERM that
 * is pending ends the wait. ERR_FATAL: the text says what to do. */
struct pg_local *pg_local_start(const char *data_dir, struct err *err) MUST_CHECK;
/* The same for a command beside the daemon: when another plumbline runs the server, this one
 * uses it and leaves it running at the stop. */
struct pg_local *pg_local_join(const char *data_dir, struct err *err) MUST_CHECK;
/* Fast shutdown with a deadline, then immediate; then frees. Accepts NULL. */
void pg_local_stop(struct pg_local *local);
AUTO_DEFINE(struct pg_local, pg_local_stop);

/* libpq's words for it. Borrowed, valid until the stop. */
const char *pg_local_dsn(const struct pg_local *local);
/* Borrowed; where to look when something is wrong. */
const char *pg_local_log_path(const struct pg_local *local);

/* To be called now and then. 0: the server runs. 1: it had died and was started anew; connections
 * will find it by trying again. -1 and ERR_RETRY: it had died and could not be started. */
int pg_local_keep(struct pg_local *local, struct err *err) MUST_CHECK;

#endif
