#include "collector/pg_program.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum { OUTPUT_BYTES_MAX = 4096, VERSION_MS_MAX = 10000, SEEN_BYTES_MAX = 64 };

int pg_user_find(struct pg_user *user, struct err *err)
{
    const struct passwd *passwd;

    *user = (struct pg_user){ .uid = geteuid(), .gid = getegid() };
    if (user->uid != 0)
        return 0;
    passwd = getpwnam("postgres");
    if (!passwd || passwd->pw_uid == 0)
        return err_set(err, ERR_FATAL,
                       "PostgreSQL does not run as root and there is no user named postgres: "
                       "install the package postgresql, or run plumbline as another user");
    *user = (struct pg_user){ .uid = passwd->pw_uid, .gid = passwd->pw_gid, .other = true };
    return 0;
}

/* Between fork and exec: only what is safe there. Never returns. */
__attribute__((noreturn)) static void pg_program_become(const struct pg_program *program, int null)
{
    static const char *const environment[] = { "PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C",
                                               NULL };
    const struct pg_user *user = program->user;
    sigset_t none;

    for (int i = 1; i < NSIG; i++)
        (void)signal(i, SIG_DFL); /* fails for those that nobody can change */
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)umask(077);
    if (program->session)
        (void)setsid();
    if (dup2(null, 0) < 0 || dup2(program->out, 1) < 0 || dup2(program->out, 2) < 0)
        _exit(126);
    /* A listening socket, say, must not live on in a server that outlives us. */
    (void)close_range(3, ~0U, 0);
    if (user->other &&
        (setgroups(1, &user->gid) < 0 || setgid(user->gid) < 0 || setuid(user->uid) < 0))
        _exit(126);
    if (chdir(program->dir) < 0) {
        static const char text[] = "FATAL:  the data directory cannot be entered by the user that "
                                   "runs PostgreSQL\n";

        (void)!write(2, text, sizeof(text) - 1);
        _exit(126);
    }
    /* execve takes char *const[] for history's sake and changes nothing. */
    (void)execve(program->argv[0], (char *const *)(uintptr_t)program->argv,
                 (char *const *)(uintptr_t)environment);
    _exit(127);
}

pid_t pg_program_start(const struct pg_program *program, struct err *err)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigset_t all, before;
    pid_t pid;

    if (null < 0)
        return err_set(err, ERR_FATAL, "/dev/null: %s", strerror(errno));
    /* A signal for the child must not run a handler of ours in it. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid == 0)
        pg_program_become(program, null);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        (void)err_set(err, ERR_FATAL, "%s: fork: %s", program->argv[0], strerror(errno));
    (void)close(null);
    return pid;
}

bool pg_program_wait(pid_t pid, int64_t deadline_ms, int *status)
{
    for (;;) {
        pid_t rc = waitpid(pid, status, WNOHANG);

        if (rc == pid)
            return true;
        if (rc < 0 && errno != EINTR) {
            *status = 0; /* somebody else has reaped it */
            return true;
        }
        if (clock_mono_ms() >= deadline_ms)
            return false;
        (void)nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    }
}

/* What a short program prints, cut at len - 1 bytes; false when it failed. */
static bool pg_program_output(const char *const *argv, char *text, size_t len)
{
    struct pg_user self = { .uid = geteuid(), .gid = getegid() };
    struct pg_program program = { .argv = argv, .dir = "/", .user = &self };
    struct err err;
    int fds[2], status = 0;
    size_t have = 0;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    program.out = fds[1];
    pid = pg_program_start(&program, &err);
    (void)close(fds[1]);
    while (pid > 0 && have < len - 1) {
        ssize_t n = read(fds[0], text + have, len - 1 - have);

        if (n <= 0)
            break;
        have += (size_t)n;
    }
    (void)close(fds[0]);
    text[have] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (pid <= 0)
        return false;
    if (!pg_program_wait(pid, clock_mono_ms() + VERSION_MS_MAX, &status)) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The major version of the server in a folder, 0 when there is none. */
static int pg_program_major(const char *dir)
{
    AUTO(mem_free) char *postgres = xasprintf("%s/postgres", dir);
    AUTO(mem_free) char *initdb = xasprintf("%s/initdb", dir);
    const char *const argv[] = { postgres, "-V", NULL };
    char text[OUTPUT_BYTES_MAX];
    const char *version;

    if (access(postgres, X_OK) < 0 || access(initdb, X_OK) < 0)
        return 0;
    if (!pg_program_output(argv, text, sizeof(text)))
        return 0;
    version = strstr(text, "(PostgreSQL) "); /* postgres (PostgreSQL) 15.4 (Debian ...) */
    return version ? (int)strtol(version + strlen("(PostgreSQL) "), NULL, 10) : 0;
}

/* What is looked for, and what was seen on the way. */
struct search {
    int major;
    char *found; /* owned */
    char seen[SEEN_BYTES_MAX];
};

static void search_dir(struct search *search, const char *dir)
{
    int major;

    if (search->found || dir[0] != '/')
        return;
    major = pg_program_major(dir);
    if (!major)
        return;
    if (search->major ? major == search->major : major >= PG_PROGRAM_MAJOR_MIN) {
        search->found = xstrdup(dir);
    } else {
        size_t len = strlen(search->seen);

        (void)snprintf(search->seen + len, sizeof(search->seen) - len, "%s%d", len ? ", " : "",
                       major);
    }
}

static void search_path(struct search *search)
{
    const char *path = getenv("PATH");
    AUTO(mem_free) char *copy = xstrdup(path ? path : "");
    char *rest = copy, *dir;

    while ((dir = strsep(&rest, ":")))
        search_dir(search, dir);
}

static void search_pg_config(struct search *search)
{
    static const char *const argv[] = { "/usr/bin/pg_config", "--bindir", NULL };
    char text[OUTPUT_BYTES_MAX];

    if (!search->found && access(argv[0], X_OK) == 0 && pg_program_output(argv, text, sizeof(text)))
        search_dir(search, text);
}

/* Newest first: by the number in the path, since 9.6 sorts behind 15 as text. */
static int search_compare(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    long i = strtol(x + strcspn(x, "0123456789"), NULL, 10);
    long j = strtol(y + strcspn(y, "0123456789"), NULL, 10);

    return (i < j) - (i > j);
}

static void search_distributions(struct search *search)
{
    glob_t dirs = { 0 };

    (void)glob("/usr/lib/postgresql/*/bin", 0, NULL, &dirs);
    (void)glob("/usr/pgsql-*/bin", GLOB_APPEND, NULL, &dirs);
    if (dirs.gl_pathc)
        qsort(dirs.gl_pathv, dirs.gl_pathc, sizeof(*dirs.gl_pathv), search_compare);
    for (size_t i = 0; i < dirs.gl_pathc; i++)
        search_dir(search, dirs.gl_pathv[i]);
    globfree(&dirs);
}

char *pg_program_find(int major, struct err *err)
{
    struct search search = { .major = major };

    search_path(&search);
    search_pg_config(&search);
    search_distributions(&search);
    if (search.found)
        return search.found;
    if (major)
        (void)err_set(err, ERR_FATAL, "needs the server programs of PostgreSQL %d%s%s%s", major,
                      search.seen[0] ? ", and only those of " : "", search.seen,
                      search.seen[0] ? " are here" : "");
    else
        (void)err_set(err, ERR_FATAL,
                      "no PostgreSQL server of version %d or later is installed (package "
                      "postgresql); install one, or name a database with --database",
                      PG_PROGRAM_MAJOR_MIN);
    return NULL;
}
