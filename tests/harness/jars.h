/* Java programs for tests, which tools/fetch-jars fetches. */
#ifndef HARNESS_JARS_H
#define HARNESS_JARS_H

#include "base/attr.h"

/* The folder with the jars of tools/<name>, NULL: they are not there, or Java is not. Owned. */
char *jars_path(const char *name) MUST_CHECK;

#endif
