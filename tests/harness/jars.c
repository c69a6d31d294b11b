#include "jars.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { PATH_BYTES_MAX = 4096 };

char *jars_path(const char *name)
{
    AUTO(mem_free) char *command = xasprintf("tools/fetch-jars %s --path", name);
    FILE *pipe = popen(command, "re");
    char path[PATH_BYTES_MAX];
    char *jars = NULL;

    if (!pipe)
        return NULL;
    if (fgets(path, sizeof(path), pipe)) {
        path[strcspn(path, "\n")] = '\0';
        jars = xstrdup(path);
    }
    (void)pclose(pipe);
    return jars;
}
