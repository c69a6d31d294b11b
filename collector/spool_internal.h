/* What spool.c and spool_group.c share. */
#ifndef COLLECTOR_SPOOL_INTERNAL_H
#define COLLECTOR_SPOOL_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "collector/spool.h"

enum { SPOOL_NAME_BYTES = 32 };

/* "0000000000000001.spool" */
void spool_file_name(uint64_t number, char name[SPOOL_NAME_BYTES]);

/* A group from the bytes of its file. Takes the image, even on failure. */
struct spool_group *spool_group_new(char *image, size_t len, uint64_t number,
                                    struct err *err) MUST_CHECK;

#endif
