/* A real PostgreSQL for tests.
 *
 * One server is shared by all tests of a binary: a suite asks for it with
 *     tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
 * and each test takes a database of its own:
 *     AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
 * A test that stops, kills or configures a server has one for itself, by pg_start(). All of them
 * have a unix socket only, user `postgres`, and die with the process that started them; the log of
 * a server is printed when a test fails. A function that can't do its work fails the test. */
#ifndef HARNESS_PG_H
#define HARNESS_PG_H

#include <check.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"

struct pg;

struct pg_options {
    bool unsafe;                 /* fsync=off: quicker, for tests that kill nothing */
    int tcp_port;                /* also on 127.0.0.1; 0: unix socket only */
    const char *const *settings; /* "name=value", NULL at the end; may be NULL */
};

/* In the runner's process, as an unchecked fixture; does nothing the second time. */
void pg_shared_start(void);
void pg_shared_stop(void);
struct pg *pg_shared(void);
/* A suite with one case of its name, whose tests have the shared server and take that many seconds
 * at most (0: as all others do). */
Suite *pg_suite(const char *name, int seconds_max, TCase **tcase) MUST_CHECK;

/* A server of the test's own, from a copy of the one cluster that initdb made. */
struct pg *pg_start(const struct pg_options *options);
/* Stops the server, if it runs, and removes its files. Accepts NULL. */
void pg_free(struct pg *pg);
AUTO_DEFINE(struct pg, pg_free);

enum pg_stop_mode { PG_STOP_FAST, PG_STOP_IMMEDIATE };
void pg_stop(struct pg *pg, enum pg_stop_mode mode);
/* Starts it again after pg_stop or pg_kill9 and waits until it answers. */
void pg_resume(struct pg *pg);
/* pg_stop, then pg_resume. */
void pg_restart(struct pg *pg, enum pg_stop_mode mode);
/* kill -9 of the postmaster; returns when its backends are gone as well. */
void pg_kill9(struct pg *pg);
/* Starts it unless it runs, also one that has ended by itself, and waits until it answers. */
void pg_revive(struct pg *pg);
/* SIGSTOP or SIGCONT of the postmaster and all of its children. */
void pg_signal_all(struct pg *pg, int signal);
/* kill -9 of one of the postmaster's children, `chance` says which: the server throws all of them
 * out and recovers by itself. */
void pg_child_kill9(struct pg *pg, uint32_t chance);
pid_t pg_pid(const struct pg *pg);
/* Of the folder with the socket .s.PGSQL.5432. Borrowed. */
const char *pg_socket_dir(const struct pg *pg);
/* The end of what the server has said so far. Owned. */
char *pg_log(const struct pg *pg, size_t bytes_max) MUST_CHECK;

/* Owned. */
char *pg_dsn(const struct pg *pg, const char *database) MUST_CHECK;
/* A new, empty database; dropped when the test ends well. Its DSN, owned. */
char *pg_database_new(struct pg *pg) MUST_CHECK;
/* From now on new databases start as what `fill` makes of an empty one (migrations, say). In the
 * runner's process, after pg_shared_start; only once. */
void pg_template_fill(struct pg *pg, void (*fill)(const char *dsn));

/* Owned. */
PGconn *pg_connect(const char *dsn) MUST_CHECK;
void pg_exec(const char *dsn, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The single value that the statement returns; NULL for SQL's null. Owned. */
char *pg_query_text(const char *dsn, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_CHECK;
int64_t pg_query_i64(const char *dsn, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Runner: what the shared server says from here on is printed by pg_log_print. */
void pg_log_mark(void);
void pg_log_print(void);

#endif
