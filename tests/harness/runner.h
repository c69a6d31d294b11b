/* The table of suites that tools/suites writes and runner.c runs. */
#ifndef HARNESS_RUNNER_H
#define HARNESS_RUNNER_H

#include <check.h>
#include <stdbool.h>

struct runner_suite {
    const char *name;     /* NULL ends the table */
    Suite *(*make)(void); /* may return NULL: skipped, what it needs is not on this machine */
};

extern const struct runner_suite runner_suites[];

/* true: TEST_SHORT is set (by tools/test short:BUILD and by tools/valgrind), so loops should be
 * brief. Deadlines have nothing to do with it: see IS_SANITIZED in wait.h. */
bool runner_short(void);

#endif
