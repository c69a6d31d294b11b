/* Child processes of a test: they die with the process that started them. */
#ifndef HARNESS_PROCESS_H
#define HARNESS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"

struct process_options {
    const char *const *argv;        /* argv[0] is looked up in PATH */
    const char *const *environment; /* "NAME=value" on top of ours; may be NULL */
    const char *output;             /* file for standard output and error, appended; NULL: ours */
    int death_signal;               /* sent when our main thread dies; 0: SIGKILL */
    bool as_postgres;               /* as the user under whom Postgres runs */
    bool session;                   /* of its own */
};

/* Fails the test when it can't fork; a program that can't be started exits with 127. Call it from
 * the test's own thread: the child is killed when the thread that started it ends. */
pid_t process_start(const struct process_options *options);
/* Waits `ms` at most; -1 when it still runs, else what waitpid says. */
int process_wait(pid_t pid, int64_t ms);
/* Starts, waits a minute, and fails the test unless it exits with 0. */
void process_run(const struct process_options *options);

#endif
