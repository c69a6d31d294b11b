#include "jars.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "process.h"

enum { PATH_BYTES_MAX = 4096, WORDS_MAX = 24 };

/* The folder that the tool prints. Owned. */
static char *fetched_path(const char *tool, const char *what)
{
    AUTO(mem_free) char *command = xasprintf("tools/%s %s --path", tool, what);
    FILE *pipe = popen(command, "re");
    char path[PATH_BYTES_MAX];
    char *fetched = NULL;

    if (!pipe)
        return NULL;
    if (fgets(path, sizeof(path), pipe)) {
        path[strcspn(path, "\n")] = '\0';
        fetched = xstrdup(path);
    }
    (void)pclose(pipe);
    return fetched;
}

char *jars_path(const char *name)
{
    return fetched_path("fetch-jars", name);
}

char *python_path(const char *pins)
{
    AUTO(mem_free) char *folder = fetched_path("fetch-python", pins);

    return folder ? xasprintf("%s/bin/python", folder) : NULL;
}

static void java(const char *const *words, const char *log)
{
    const char *argv[WORDS_MAX] = { "java", "-Xmx256m", "-XX:+UseSerialGC",
                                    "-XX:TieredStopAtLevel=1" };
    size_t n = 4;

    while (*words)
        argv[n++] = *words++;
    process_run(&(struct process_options){ .argv = argv, .output = log });
}

void jars_run(const char *jars, const char *dir, const char *source, const char *const *arguments,
              const char *log)
{
    AUTO(mem_free) char *compiles = xasprintf("%s/*", jars);
    AUTO(mem_free) char *runs = xasprintf("%s:%s/*", dir, jars);
    AUTO(mem_free) char *conf = xasprintf("-Datlas.conf=%s", dir);
    const char *name = strrchr(source, '/') + 1;
    AUTO(mem_free) char *program = xmemdup0(name, strcspn(name, "."));
    const char *words[WORDS_MAX - 4] = { "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                                         "-Dfile.encoding=UTF-8",
                                         conf,
                                         "-cp",
                                         runs,
                                         program };
    size_t n = 6;

    java((const char *const[]){ "-cp", compiles, "org.eclipse.jdt.internal.compiler.batch.Main",
                                "-11", "-nowarn", "-d", dir, source, NULL },
         log);
    while (*arguments)
        words[n++] = *arguments++;
    java(words, log);
}
