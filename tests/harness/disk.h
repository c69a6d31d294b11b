/* A small disk that a test can fill: a tmpfs in a mount namespace of the test's own, so that it
 * goes with its processes. */
#ifndef HARNESS_DISK_H
#define HARNESS_DISK_H

#include "base/attr.h"

/* Belongs to the user under whom Postgres runs. What is started afterwards sees it. Owned path;
 * NULL and a line on standard output: this process may not mount one. */
char *disk_new(int mib) MUST_CHECK;
/* Takes all that is left on the disk into the file. */
void disk_fill(const char *path);

#endif
