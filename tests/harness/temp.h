/* The temporary directory of a test binary, with everything that its tests put on disk, and what is
 * shown of it when a test fails.
 *
 *   /dev/shm/plt-XXXXXX/       temp_root(), or below /tmp: made by the runner, removed by a guard
 *     logs/                    process when the runner is gone, however it went
 *       1234.daemon-0.log      of the test that ran as process 1234: kept when that test failed
 *     1234-0/                  temp_dir()
 */
#ifndef HARNESS_TEMP_H
#define HARNESS_TEMP_H

#include <stdio.h>
#include <sys/types.h>

#include "base/attr.h"

/* Runner only: makes the directory and its guard. In memory if there is plenty (tests kill
 * processes, not the machine: what was written is there either way), on disk where disks are
 * measured. */
enum temp_where { TEMP_IN_MEMORY, TEMP_ON_DISK };
void temp_start(enum temp_where where);
/* Runner only: stops every server below the directory and removes it. */
void temp_stop(void);
/* Runner only, after a suite: prints the logs that failed tests left, and removes them. */
void temp_print_logs(void);

/* Borrowed, short enough for a socket's name below it. Any user may pass through it. */
const char *temp_root(void);
/* A new directory of mode 0700 that belongs to the user under whom Postgres runs. Owned path. */
char *temp_dir(void) MUST_CHECK;
/* A path for a log of this test: kept and printed when the test fails. Owned. */
char *temp_log(const char *what) MUST_CHECK;
/* The last `bytes_max` bytes of a file, owned; "" when it can't be read. */
char *temp_file_tail(const char *path, size_t bytes_max) MUST_CHECK;
/* Copies the end of a file to `out`, under a heading. */
void temp_print_file(FILE *out, const char *path);

#endif
