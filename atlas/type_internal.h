/* The definitions that are built in, for the registry alone. */
#ifndef ATLAS_TYPE_INTERNAL_H
#define ATLAS_TYPE_INTERNAL_H

#include "atlas/type_def.h"

extern const struct type_def type_builtin[];
extern const size_t type_builtin_len;

#endif
