#include "temp.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "collector/pg_program.h"
#include "wait.h"

/* What all tests together may have on disk at one time is far less. */
#define MEMORY_BYTES_MIN (UINT64_C(4) << 30)
enum { GUARD_MS_MAX = 10000, LOG_TAIL_BYTES = 16384, SERVERS_MAX = 64 };

static struct {
    char root[32];
    pid_t runner;
    pid_t guard;
    int guard_fd;    /* its other end ends when the last of us is gone */
    pid_t test;      /* the test process whose exit is watched */
    unsigned number; /* of the next directory or log */
} temp;

/* ---- the guard ---- */

/* The servers whose clusters lie below paths that begin so: a postmaster's working directory tells.
 * They are looked for below the root. */
static size_t temp_servers_find(const char *prefix, pid_t pids[SERVERS_MAX])
{
    static const char *const depths[] = { "/*", "/*/*", "/*/*/*", "/*/*/*/*" };
    size_t count = 0;

    for (size_t i = 0; i < LENGTH(depths); i++) {
        AUTO(mem_free) char *pattern = xasprintf("%s%s/postmaster.pid", temp.root, depths[i]);
        glob_t found;

        if (glob(pattern, 0, NULL, &found) != 0)
            continue;
        for (size_t j = 0; j < found.gl_pathc && count < SERVERS_MAX; j++) {
            AUTO(mem_free) char *text = temp_file_tail(found.gl_pathv[j], LOG_TAIL_BYTES);
            pid_t pid = (pid_t)strtol(text, NULL, 10);
            AUTO(mem_free) char *link = xasprintf("/proc/%d/cwd", (int)pid);
            char cwd[PATH_MAX];
            ssize_t n = readlink(link, cwd, sizeof(cwd) - 1);

            if (pid > 1 && n > 0 && strncmp(cwd, prefix, strlen(prefix)) == 0)
                pids[count++] = pid;
        }
        globfree(&found);
    }
    return count;
}

static size_t temp_servers_signal(int signal)
{
    pid_t pids[SERVERS_MAX];
    size_t count = temp_servers_find(temp.root, pids);

    for (size_t i = 0; i < count; i++)
        (void)kill(pids[i], signal);
    return count;
}

static int temp_remove_one(const char *path, const struct stat *st UNUSED, int type UNUSED,
                           struct FTW *ftw UNUSED)
{
    (void)remove(path);
    return 0;
}

static void temp_clean(void)
{
    (void)temp_servers_signal(SIGQUIT);
    if (!WAIT_FOR(GUARD_MS_MAX, temp_servers_signal(0) == 0))
        (void)temp_servers_signal(SIGKILL);
    (void)nftw(temp.root, temp_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Making and dropping the database of a test is making and dropping some 650 files: in memory that
 * takes a quarter of the time. */
static bool temp_memory_serves(const char *path)
{
    struct statvfs vfs;

    return access(path, W_OK) == 0 && statvfs(path, &vfs) == 0 &&
           (uint64_t)vfs.f_bavail * vfs.f_frsize >= MEMORY_BYTES_MIN;
}

void temp_start(enum temp_where where)
{
    static const char memory[] = "/dev/shm";
    bool in_memory = where == TEMP_IN_MEMORY && temp_memory_serves(memory);
    int fds[2];

    (void)snprintf(temp.root, sizeof(temp.root), "%s/plt-XXXXXX", in_memory ? memory : "/tmp");
    if (!mkdtemp(temp.root) || chmod(temp.root, 0711) < 0 || pipe2(fds, O_CLOEXEC) < 0) {
        perror(temp.root);
        exit(EXIT_FAILURE);
    }
    (void)fflush(NULL);
    temp.runner = getpid();
    temp.guard = fork();
    if (temp.guard == 0) {
        char c;

        (void)setsid();
        (void)signal(SIGINT, SIG_IGN);
        (void)signal(SIGTERM, SIG_IGN);
        (void)close(fds[1]);
        while (read(fds[0], &c, 1) < 0 && errno == EINTR)
            continue;
        temp_clean();
        _exit(0);
    }
    (void)close(fds[0]);
    temp.guard_fd = fds[1];
    AUTO(mem_free) char *logs = xasprintf("%s/logs", temp.root);
    (void)mkdir(logs, 0777);
    (void)chmod(logs, 0777);
}

void temp_stop(void)
{
    (void)close(temp.guard_fd);
    (void)waitpid(temp.guard, NULL, 0);
}

/* ---- one test ---- */

static void temp_remove_all(const char *pattern)
{
    glob_t found;

    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        (void)nftw(found.gl_pathv[i], temp_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    globfree(&found);
}

/* Runs only when the test ended well: check leaves a failed one by _exit. */
static void temp_test_end(void)
{
    AUTO(mem_free) char *logs = xasprintf("%s/logs/%d.*", temp.root, (int)getpid());
    AUTO(mem_free) char *dirs = xasprintf("%s/%d-*", temp.root, (int)getpid());
    AUTO(mem_free) char *prefix = xasprintf("%s/%d-", temp.root, (int)getpid());
    pid_t pids[SERVERS_MAX];

    if (getpid() != temp.test)
        return;
    temp_remove_all(logs);
    /* A server that the test left is the guard's to stop. */
    if (temp_servers_find(prefix, pids) == 0)
        temp_remove_all(dirs);
}

static void temp_test_begin(void)
{
    if (temp.test == getpid() || temp.runner == getpid())
        return;
    temp.test = getpid();
    temp.number = 0;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* no test outlives its runner */
    (void)atexit(temp_test_end);
}

const char *temp_root(void)
{
    return temp.root;
}

char *temp_dir(void)
{
    struct pg_user user;
    struct err err = { 0 };
    char *path;

    temp_test_begin();
    path = xasprintf("%s/%d-%u", temp.root, (int)getpid(), temp.number++);
    ck_assert_msg(pg_user_find(&user, &err) == 0, "%s", err.text);
    ck_assert_msg(mkdir(path, 0700) == 0, "%s: %s", path, strerror(errno));
    ck_assert_int_eq(chown(path, user.uid, user.gid), 0);
    return path;
}

char *temp_log(const char *what)
{
    temp_test_begin();
    return xasprintf("%s/logs/%d.%s-%u.log", temp.root, (int)getpid(), what, temp.number++);
}

/* ---- reading and showing ---- */

char *temp_file_tail(const char *path, size_t bytes_max)
{
    FILE *file = fopen(path, "rb");
    char *text = xcalloc(1, bytes_max + 1);
    long end;

    if (!file)
        return text;
    (void)fseek(file, 0, SEEK_END);
    end = ftell(file);
    (void)fseek(file, end > (long)bytes_max ? end - (long)bytes_max : 0, SEEK_SET);
    text[fread(text, 1, bytes_max, file)] = '\0';
    (void)fclose(file);
    return text;
}

void temp_print_file(FILE *out, const char *path)
{
    AUTO(mem_free) char *text = temp_file_tail(path, LOG_TAIL_BYTES);
    const char *name = strrchr(path, '/');

    (void)fprintf(out, "---- the end of %s\n%s----\n", name ? name + 1 : path, text);
}

void temp_print_logs(void)
{
    AUTO(mem_free) char *pattern = xasprintf("%s/logs/*", temp.root);
    glob_t found;

    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        temp_print_file(stdout, found.gl_pathv[i]);
        (void)unlink(found.gl_pathv[i]);
    }
    globfree(&found);
}
