/* Programs of others for tests, which tools/fetch-jars and tools/fetch-python fetch. */
#ifndef HARNESS_JARS_H
#define HARNESS_JARS_H

#include "base/attr.h"

/* The folder with the jars of tools/<name>, NULL: they are not there, or Java is not. Owned. */
char *jars_path(const char *name) MUST_CHECK;
/* The Python that has the packages of that list, NULL: it is not there. Owned. */
char *python_path(const char *pins) MUST_CHECK;

/* Compiles the program, one file in a folder, with the compiler among the jars and runs it, both
 * with a minute at most; `dir` gets the classes and has what configures Atlas's own. What it prints
 * goes to the file `log`. Fails the test when it fails. */
void jars_run(const char *jars, const char *dir, const char *source, const char *const *arguments,
              const char *log);

#endif
