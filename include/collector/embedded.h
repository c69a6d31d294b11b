/* Files that the binary carries: sql/NNN_name.sql in ascending order, and openapi.yaml. */
#ifndef COLLECTOR_EMBEDDED_H
#define COLLECTOR_EMBEDDED_H

#include <stddef.h>

struct embedded {
    const char *name; /* "sql/001_core.sql"; NULL ends the table */
    const char *data; /* a NUL stands behind it */
    size_t len;
};

extern const struct embedded embedded_files[];

#endif
