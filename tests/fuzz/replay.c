/* main() of a fuzz target outside libFuzzer: runs every file of the folder named on the command
 * line, each in a process of its own, so that an input that crashed once is a test for every
 * compiler. */
#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "fuzz.h"

enum { REPLAY_BYTES_MAX = 64 << 20 };

/* The child's exit code. */
static int replay_run(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data;
    size_t len;

    if (!file)
        return EXIT_FAILURE;
    data = xmalloc(REPLAY_BYTES_MAX);
    len = fread(data, 1, REPLAY_BYTES_MAX, file);
    (void)fclose(file);
    data = xrealloc(data, len); /* so that a read behind the end is seen */
    (void)LLVMFuzzerTestOneInput(data, len);
    free(data);
    return EXIT_SUCCESS;
}

static bool replay_file(const char *path)
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        exit(replay_run(path));
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int main(int argc, char **argv)
{
    const char *counts = getenv("TEST_COUNTS");
    static DIR *dir; /* not on the stack, where a child's leak checker does not find it */
    int run = 0, failed = 0;
    FILE *file;

    dir = argc == 2 ? opendir(argv[1]) : NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[PATH_MAX]; /* on the stack, or the child would have lost it */

        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        if (!replay_file(path)) {
            (void)fprintf(stderr, "%s: failed\n", path);
            failed++;
        }
        run++;
    }
    if (dir)
        (void)closedir(dir);
    printf("suite %s: %d tests\n", argv[0], run);
    file = counts ? fopen(counts, "w") : NULL;
    if (file) {
        (void)fprintf(file, "%d %d\n", run - failed, failed);
        (void)fclose(file);
    }
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
