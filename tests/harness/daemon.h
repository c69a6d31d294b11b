/* A daemon under test, run as a child: `build/plumbline serve` or whatever TEST_DAEMON says.
 *
 * It listens on a port of its own choosing, its messages go to a log that is printed when the test
 * fails, and it dies with the test. A daemon that ends by itself, is killed by a signal that the
 * test did not send, or writes a sanitizer's report makes the test fail, at the latest when the
 * test ends. Every function fails the test when it can't do its work. */
#ifndef HARNESS_DAEMON_H
#define HARNESS_DAEMON_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"

struct certificate;
struct daemon;

/* Borrowed until daemon_free, but for `dsn` and `spool`. */
struct daemon_options {
    const char *dsn;                /* NULL: no --database, say --data-dir in arguments */
    const char *listen;             /* NULL: 127.0.0.1:0 */
    const char *const *arguments;   /* more of them, NULL at the end; may be NULL */
    const char *const *environment; /* "NAME=value"; may be NULL */
    const char *spool;              /* folder for its spool; NULL: it has none */
    int64_t ready_ms_max;           /* 0: 30 s until it serves */
    const struct certificate *tls;  /* NULL: without TLS, unless TEST_TLS wants it */
};

/* Starts it and waits for its line `event=serving address=127.0.0.1:PORT`. */
struct daemon *daemon_start(const struct daemon_options *options);
/* Starts it and does not wait; daemon_wait_ready or daemon_wait_exit comes next. */
struct daemon *daemon_spawn(const struct daemon_options *options);
void daemon_wait_ready(struct daemon *daemon);
/* SIGTERM, unless it has ended; must exit with 0. Then frees. Accepts NULL. */
void daemon_free(struct daemon *daemon);
AUTO_DEFINE(struct daemon, daemon_free);

/* SIGTERM; returns the exit code. A signal or a sanitizer's report fails the test. */
int daemon_stop(struct daemon *daemon);
/* Waits for an end that it comes to by itself; returns the exit code. */
int daemon_wait_exit(struct daemon *daemon, int64_t ms);
void daemon_kill9(struct daemon *daemon);
/* Waits until it has killed itself with -9, as PLUMBLINE_FAULT told it. */
void daemon_await_kill9(struct daemon *daemon);
/* From the next start on. Borrowed until daemon_free. */
void daemon_set_environment(struct daemon *daemon, const char *const *environment);
void daemon_signal(struct daemon *daemon, int signal);
/* Starts it once more with the same options after daemon_stop or daemon_kill9. */
void daemon_resume(struct daemon *daemon);
/* The same without waiting until it serves. */
void daemon_respawn(struct daemon *daemon);

pid_t daemon_pid(const struct daemon *daemon);
int daemon_port(const struct daemon *daemon);
/* "http://127.0.0.1:PORT" and the path behind it. Owned. */
char *daemon_url(const struct daemon *daemon, const char *path) MUST_CHECK;
/* What the present process, or the last one, has said so far (the last 256 KiB). Owned. */
char *daemon_log(const struct daemon *daemon) MUST_CHECK;
bool daemon_log_has(const struct daemon *daemon, const char *text);
/* Peak resident memory in bytes, from /proc. */
int64_t daemon_peak_bytes(const struct daemon *daemon);
/* An entry for the environment of a daemon whose memory is looked at: the address sanitizer is not
 * to keep what was freed. Owned. */
char *daemon_lean(void) MUST_CHECK;
/* The peak is less than bytes_max above `before`. Not looked at under the thread sanitizer, whose
 * shadow of the memory counts several times. */
void daemon_check_growth(const struct daemon *daemon, int64_t before, int64_t bytes_max);

/* The status of the answer to a GET; 0: there was none. */
long daemon_status(const struct daemon *daemon, const char *path);
/* A number of /metrics; the name with its labels, if it has any. */
int64_t daemon_metric(const struct daemon *daemon, const char *name);

#endif
