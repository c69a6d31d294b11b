/* What the files of `plumbline lineage` share. */
#ifndef COLLECTOR_CMD_LINEAGE_INTERNAL_H
#define COLLECTOR_CMD_LINEAGE_INTERNAL_H

#include "base/attr.h"
#include "base/err.h"
#include "base/span.h"

/* A line on standard error. What stands in the file may be anything. */
void lineage_print(const char *fmt, ...) PRINTF_LIKE(1, 2);

struct client_tls;

/* All borrowed. */
struct lineage_push {
    const char *url; /* NULL: as client_new */
    const struct client_tls *tls;
    const char *build_crn;
    const char *name_space; /* NULL: the server's, or what the build says */
    const char *name;       /* of the file, for messages */
    struct span text;
};

/* Gives the build its file, and prints what the server has to say about it. -1: it was not taken;
 * *err is empty when the server's errors have been printed. */
int lineage_push(const struct lineage_push *push, struct err *err) MUST_CHECK;

#endif
