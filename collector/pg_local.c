#include "collector/pg_local.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libpq-fe.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/pg_program.h"

#define SOCKET_NAME "/.s.PGSQL.5432"
#define MS(seconds) ((seconds)*INT64_C(1000))

enum {
    FILE_BYTES_MAX = 4096,
    LOG_BYTES_MAX = 16 << 20, /* a longer log is set aside at start */
    START_SECONDS_MAX = 60,   /* without a word from the server */
    RECOVERY_SECONDS_MAX = 3600,
    SETTLE_SECONDS_MAX = 10, /* for the backends of a server that was killed to go */
    INITDB_SECONDS_MAX = 300,
    STOP_SECONDS_MAX = 60,
    STOP_NOW_SECONDS_MAX = 10,
};

struct pg_local {
    char *data_dir; /* absolute, as are all paths */
    char *cluster;
    char *log_path;
    char *bin_dir; /* NULL until it is needed */
    char *socket_dir;
    char *dsn;
    struct pg_user user;
    int lock_fd;
    pid_t pid;  /* 0: not running */
    bool child; /* ours to reap; else adopted */
    bool guest; /* another plumbline runs it */
    bool socket_elsewhere;
};

const char *pg_local_default_dir(void)
{
    return geteuid() == 0 ? "/var/lib/plumbline" : "./var";
}

const char *pg_local_dsn(const struct pg_local *local)
{
    return local->dsn;
}

const char *pg_local_log_path(const struct pg_local *local)
{
    return local->log_path;
}

/* ---- files ---- */

static bool pg_local_read(const struct pg_local *local, const char *name, char text[FILE_BYTES_MAX])
{
    AUTO(mem_free) char *path = xasprintf("%s/%s", local->data_dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : read(fd, text, FILE_BYTES_MAX - 1);

    if (fd >= 0)
        (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n >= 0;
}

/* Line `number` (from 0) of a text, cut in place. */
static const char *pg_local_line(char *text, int number)
{
    char *line = NULL;

    for (int i = 0; i <= number; i++)
        line = strsep(&text, "\n");
    return line ? line : "";
}

/* The last complaint in the server's log, for the person who reads the error. */
static void pg_local_complaint(const struct pg_local *local, char text[FILE_BYTES_MAX])
{
    int fd = open(local->log_path, O_RDONLY | O_CLOEXEC);
    off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    const char *last = NULL;
    ssize_t n = 0;

    if (fd >= 0) {
        n = pread(fd, text, FILE_BYTES_MAX - 1,
                  end > FILE_BYTES_MAX - 1 ? end - (FILE_BYTES_MAX - 1) : 0);
        (void)close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n') {
        if (strncmp(p, "initdb: error", 13) == 0)
            last = p;
        for (const char *q = p; *q && *q != '\n'; q++) {
            if (strncmp(q, "FATAL:  ", 8) == 0 || strncmp(q, "PANIC:  ", 8) == 0)
                last = q + 8;
        }
    }
    if (!last)
        last = "it left no word";
    memmove(text, last, strlen(last) + 1);
    text[strcspn(text, "\n")] = '\0';
}

static int pg_local_remove_one(const char *path, const struct stat *st UNUSED, int type UNUSED,
                               struct FTW *ftw UNUSED)
{
    return remove(path);
}

static int pg_local_remove_tree(const char *path, struct err *err)
{
    if (nftw(path, pg_local_remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT)
        return 0;
    return err_set(err, ERR_FATAL, "%s: cannot be removed: %s", path, strerror(errno));
}

/* A folder of the server's user and nobody else; made when it is missing. */
static int pg_local_dir_make(const struct pg_local *local, const char *path, struct err *err)
{
    struct stat st;

    if (mkdir(path, 0700) == 0) {
        if (!local->user.other || lchown(path, local->user.uid, local->user.gid) == 0)
            return 0;
        return err_set(err, ERR_FATAL, "%s: chown: %s", path, strerror(errno));
    }
    if (errno != EEXIST || lstat(path, &st) < 0)
        return err_set(err, ERR_FATAL, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode) || st.st_uid != local->user.uid || (st.st_mode & 077))
        return err_set(err, ERR_FATAL,
                       "%s is not a folder of mode 0700 of the server's user: "
                       "move it out of the way",
                       path);
    return 0;
}

/* ---- the data directory ---- */

/* Every folder on the way to path, which is changed in between and left as it was. */
static int pg_local_parents_make(char *path)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST) {
            *p = '/';
            return -1;
        }
        *p = '/';
    }
    return 0;
}

static int pg_local_data_dir_make(struct pg_local *local, const char *data_dir, struct err *err)
{
    AUTO(mem_free) char *path = xstrdup(data_dir);
    bool made;

    for (size_t len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
        path[len - 1] = '\0';
    if (pg_local_parents_make(path) < 0)
        return err_set(err, ERR_FATAL, "data directory %s: %s", data_dir, strerror(errno));
    made = mkdir(path, 0700) == 0;
    if (!made && errno != EEXIST)
        return err_set(err, ERR_FATAL, "data directory %s: %s", data_dir, strerror(errno));
    local->data_dir = realpath(path, NULL);
    if (!local->data_dir)
        return err_set(err, ERR_FATAL, "data directory %s: %s", data_dir, strerror(errno));
    /* One that was there, /tmp say, keeps its owner. */
    if (made && local->user.other && chown(local->data_dir, local->user.uid, local->user.gid) < 0)
        return err_set(err, ERR_FATAL, "data directory %s: chown: %s", data_dir, strerror(errno));
    local->cluster = xasprintf("%s/postgres", local->data_dir);
    local->log_path = xasprintf("%s/postgres.log", local->data_dir);
    return 0;
}

/* 1: another plumbline has it; err says so. */
static int pg_local_lock(struct pg_local *local, struct err *err)
{
    AUTO(mem_free) char *path = xasprintf("%s/lock", local->data_dir);
    char text[FILE_BYTES_MAX];
    int len;

    local->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (local->lock_fd < 0)
        return err_set(err, ERR_FATAL, "%s: %s", path, strerror(errno));
    if (flock(local->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        (void)pg_local_read(local, "lock", text);
        (void)err_set(err, ERR_FATAL,
                      "data directory %s is in use by another plumbline (process %s): stop that "
                      "one, or name another --data-dir",
                      local->data_dir, pg_local_line(text, 0));
        return 1;
    }
    len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(local->lock_fd, 0) < 0 || write(local->lock_fd, text, (size_t)len) != len)
        return err_set(err, ERR_FATAL, "%s: %s", path, strerror(errno));
    return 0;
}

/* A cluster that is there says whose it is. */
static int pg_local_owner_check(struct pg_local *local, struct err *err)
{
    struct stat st;
    const struct passwd *passwd;

    if (lstat(local->cluster, &st) < 0) {
        if (errno == ENOENT)
            return 0;
        return err_set(err, ERR_FATAL, "%s: %s", local->cluster, strerror(errno));
    }
    if (st.st_uid == local->user.uid)
        return 0;
    if (geteuid() == 0 && st.st_uid != 0) {
        local->user = (struct pg_user){ .uid = st.st_uid, .gid = st.st_gid, .other = true };
        return 0;
    }
    passwd = getpwuid(st.st_uid);
    return err_set(err, ERR_FATAL,
                   "%s belongs to user %s: run plumbline as that user, or name another --data-dir",
                   local->cluster, passwd ? passwd->pw_name : "unknown");
}

/* ---- the socket's folder ---- */

/* Short enough, and without the characters that libpq and the server take for a list. */
static bool pg_local_socket_fits(const char *dir)
{
    return strlen(dir) + strlen(SOCKET_NAME) < sizeof(((struct sockaddr_un *)0)->sun_path) &&
           !strpbrk(dir, ",\"");
}

/* The folder that an earlier run remembered, if it is still ours. Owned, or NULL. */
static char *pg_local_socket_remembered(const struct pg_local *local)
{
    char text[FILE_BYTES_MAX];
    const char *dir;
    struct stat st;

    if (!pg_local_read(local, "socket.path", text))
        return NULL;
    dir = pg_local_line(text, 0);
    if (dir[0] != '/' || !pg_local_socket_fits(dir) || lstat(dir, &st) < 0)
        return NULL;
    if (!S_ISDIR(st.st_mode) || st.st_uid != local->user.uid || (st.st_mode & 077))
        return NULL;
    return xstrdup(dir);
}

static int pg_local_socket_remember(const struct pg_local *local, struct err *err)
{
    AUTO(mem_free) char *path = xasprintf("%s/socket.path", local->data_dir);
    AUTO(mem_free) char *text = xasprintf("%s\n", local->socket_dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (!ok)
        (void)err_set(err, ERR_FATAL, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return ok ? 0 : -1;
}

static int pg_local_socket_dir_make(struct pg_local *local, struct err *err)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    local->socket_dir = xasprintf("%s/socket", local->data_dir);
    if (pg_local_socket_fits(local->socket_dir))
        return pg_local_dir_make(local, local->socket_dir, err);
    free(local->socket_dir);
    local->socket_elsewhere = true;
    local->socket_dir = pg_local_socket_remembered(local);
    if (local->socket_dir)
        return 0;
    /* The server's user can't reach root's own runtime folder. */
    if (local->user.uid != geteuid() || !runtime || runtime[0] != '/' || access(runtime, W_OK) < 0)
        runtime = "/tmp";
    local->socket_dir = xasprintf("%s/plumbline-XXXXXX", runtime);
    if (!pg_local_socket_fits(local->socket_dir)) {
        free(local->socket_dir);
        local->socket_dir = xstrdup("/tmp/plumbline-XXXXXX");
    }
    if (!mkdtemp(local->socket_dir))
        return err_set(err, ERR_FATAL, "%s: %s", local->socket_dir, strerror(errno));
    if (local->user.other && lchown(local->socket_dir, local->user.uid, local->user.gid) < 0)
        return err_set(err, ERR_FATAL, "%s: chown: %s", local->socket_dir, strerror(errno));
    return pg_local_socket_remember(local, err);
}

static void pg_local_dsn_make(struct pg_local *local, const char *dir, const char *port)
{
    AUTO(mem_free) char *quoted = xmalloc(2 * strlen(dir) + 1);
    char *q = quoted;

    for (const char *p = dir; *p; p++) {
        if (*p == '\'' || *p == '\\')
            *q++ = '\\';
        *q++ = *p;
    }
    *q = '\0';
    free(local->dsn);
    local->dsn = xasprintf("host='%s' port=%s user=postgres dbname=postgres", quoted, port);
}

/* ---- the server ---- */

/* Whether a process that is not our child is the server of this cluster: a postmaster's working
 * directory is its cluster. Where that can't be seen (a container without ptrace), its life is
 * all there is. A zombie has no working directory. */
static bool pg_local_alive(const struct pg_local *local, pid_t pid)
{
    AUTO(mem_free) char *link = xasprintf("/proc/%d/cwd", (int)pid);
    char cwd[PATH_MAX];
    ssize_t n;

    if (pid <= 1 || (kill(pid, 0) < 0 && errno != EPERM))
        return false;
    n = readlink(link, cwd, sizeof(cwd) - 1);
    if (n < 0)
        return errno == EACCES || errno == EPERM;
    cwd[n] = '\0';
    return strcmp(cwd, local->cluster) == 0;
}

static bool pg_local_gone(struct pg_local *local)
{
    int status;

    if (!local->pid)
        return true;
    if (local->child ? !pg_program_wait(local->pid, 0, &status) : pg_local_alive(local, local->pid))
        return false;
    local->pid = 0;
    return true;
}

static bool pg_local_gone_by(struct pg_local *local, int64_t deadline_ms)
{
    while (!pg_local_gone(local)) {
        if (clock_mono_ms() >= deadline_ms)
            return false;
        (void)nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    return true;
}

static bool pg_local_interrupted(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1);
}

/* 0: it answers. 1: it has gone. -1: it runs and does not answer. */
static int pg_local_wait(struct pg_local *local, struct err *err)
{
    int64_t start_ms = clock_mono_ms();

    for (;;) {
        PGPing ping = PQping(local->dsn);
        int64_t waited_ms = clock_mono_ms() - start_ms;

        if (ping == PQPING_OK)
            return 0;
        if (pg_local_gone(local))
            return 1;
        if (pg_local_interrupted())
            return err_set(err, ERR_FATAL, "stopped while PostgreSQL was starting");
        if (waited_ms > MS(ping == PQPING_REJECT ? RECOVERY_SECONDS_MAX : START_SECONDS_MAX))
            return err_set(err, ERR_FATAL,
                           "the private PostgreSQL (process %d) does not answer: "
                           "see %s",
                           (int)local->pid, local->log_path);
        (void)nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    }
}

/* Takes over a server that an earlier daemon left. True: local->pid and dsn say which. */
static bool pg_local_adopt(struct pg_local *local)
{
    enum { LINE_PID, LINE_PORT = 3, LINE_SOCKET_DIR };
    char text[FILE_BYTES_MAX], copy[FILE_BYTES_MAX], again[FILE_BYTES_MAX];
    pid_t pid;

    if (!pg_local_read(local, "postgres/postmaster.pid", text))
        return false;
    memcpy(copy, text, sizeof(copy));
    memcpy(again, text, sizeof(again));
    pid = (pid_t)strtol(pg_local_line(copy, LINE_PID), NULL, 10);
    if (!pg_local_alive(local, pid))
        return false;
    local->pid = pid;
    local->child = false;
    pg_local_dsn_make(local, pg_local_line(again, LINE_SOCKET_DIR), pg_local_line(text, LINE_PORT));
    return true;
}

static int pg_local_log_open(const struct pg_local *local, struct err *err)
{
    struct stat st;
    int fd;

    if (stat(local->log_path, &st) == 0 && st.st_size > LOG_BYTES_MAX) {
        AUTO(mem_free) char *old = xasprintf("%s.1", local->log_path);

        (void)rename(local->log_path, old); /* or the log grows on */
    }
    fd = open(local->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(err, ERR_FATAL, "%s: %s", local->log_path, strerror(errno));
    if (local->user.other)
        (void)!fchown(fd, local->user.uid, local->user.gid); /* root can read it anyway */
    return fd;
}

static int pg_local_binaries_find(struct pg_local *local, struct err *err)
{
    char text[FILE_BYTES_MAX];
    int major = 0;

    if (pg_local_read(local, "postgres/PG_VERSION", text))
        major = (int)strtol(text, NULL, 10);
    local->bin_dir = pg_program_find(major, err);
    if (!local->bin_dir && major)
        return err_prefix(err,
                          "%s was made by PostgreSQL %d (install postgresql-%d, or dump it "
                          "there and load it here): ",
                          local->cluster, major, major);
    return local->bin_dir ? 0 : -1;
}

/* In a folder of another name first, so that a cluster is there whole or not at all. */
static int pg_local_initdb(struct pg_local *local, int log, struct err *err)
{
    AUTO(mem_free) char *dir = xasprintf("%s.new", local->cluster);
    AUTO(mem_free) char *initdb = xasprintf("%s/initdb", local->bin_dir);
    const char *const argv[] = { initdb,
                                 "--pgdata",
                                 dir,
                                 "--username",
                                 "postgres",
                                 "--encoding",
                                 "UTF8",
                                 "--locale",
                                 "C",
                                 "--auth",
                                 "trust", /* the socket's folder lets nobody in */
                                 "--data-checksums",
                                 NULL };
    struct pg_program program = { .argv = argv, .dir = dir, .user = &local->user, .out = log };
    char text[FILE_BYTES_MAX];
    int status;
    pid_t pid;

    program.session = true;
    if (pg_local_remove_tree(dir, err) < 0 || pg_local_dir_make(local, dir, err) < 0)
        return -1;
    pid = pg_program_start(&program, err);
    if (pid < 0)
        return -1;
    if (!pg_program_wait(pid, clock_mono_ms() + MS(INITDB_SECONDS_MAX), &status)) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        pg_local_complaint(local, text);
        return err_set(err, ERR_FATAL, "initdb in %s failed: %.300s", local->data_dir, text);
    }
    if (rename(dir, local->cluster) < 0)
        return err_set(err, ERR_FATAL, "%s: %s", local->cluster, strerror(errno));
    return 0;
}

static int pg_local_spawn(struct pg_local *local, int log, struct err *err)
{
    AUTO(mem_free) char *postgres = xasprintf("%s/postgres", local->bin_dir);
    AUTO(mem_free) char *sockets = xasprintf("unix_socket_directories=\"%s\"", local->socket_dir);
    /* On the command line, so that they hold whatever postgresql.conf says. Few long writes make
     * the load: checkpoints are rare and spread, and compiling plans costs more than they do. */
    const char *const argv[] = { postgres,
                                 "-D",
                                 local->cluster,
                                 "-p",
                                 "5432",
                                 "-c",
                                 sockets,
                                 "-c",
                                 "listen_addresses=",
                                 "-c",
                                 "unix_socket_permissions=0700",
                                 "-c",
                                 "cluster_name=plumbline",
                                 "-c",
                                 "logging_collector=off",
                                 "-c",
                                 "log_destination=stderr",
                                 "-c",
                                 "timezone=UTC",
                                 "-c",
                                 "log_timezone=UTC",
                                 "-c",
                                 "fsync=on",
                                 "-c",
                                 "full_page_writes=on",
                                 "-c",
                                 "synchronous_commit=on",
                                 "-c",
                                 "shared_buffers=128MB",
                                 "-c",
                                 "max_connections=100",
                                 "-c",
                                 "max_wal_size=2GB",
                                 "-c",
                                 "wal_compression=on",
                                 "-c",
                                 "checkpoint_timeout=15min",
                                 "-c",
                                 "log_checkpoints=off",
                                 "-c",
                                 "jit=off",
                                 NULL };
    struct pg_program program = { .argv = argv, .dir = local->cluster, .user = &local->user };
    pid_t pid;

    program.out = log;
    program.session = true;
    pid = pg_program_start(&program, err);
    if (pid < 0)
        return -1;
    local->pid = pid;
    local->child = true;
    pg_local_dsn_make(local, local->socket_dir, "5432");
    return 0;
}

/* Starts the server of a cluster that nobody serves. */
static int pg_local_launch(struct pg_local *local, struct err *err)
{
    int log = pg_local_log_open(local, err), rc = -1;

    if (log < 0)
        return -1;
    if (!local->bin_dir && pg_local_binaries_find(local, err) < 0)
        goto out;
    if (access(local->cluster, F_OK) < 0 && pg_local_initdb(local, log, err) < 0)
        goto out;
    rc = pg_local_spawn(local, log, err);
out:
    (void)close(log);
    return rc;
}

static int pg_local_bring_up(struct pg_local *local, struct err *err)
{
    int64_t start_ms = clock_mono_ms();
    char text[FILE_BYTES_MAX];

    for (;;) {
        int rc;

        if (!pg_local_adopt(local) && pg_local_launch(local, err) < 0)
            return -1;
        rc = pg_local_wait(local, err);
        if (rc <= 0)
            return rc;
        /* The backends of a server that was killed, or the server that was stopping, may need a
         * moment to leave its shared memory. */
        if (clock_mono_ms() - start_ms > MS(SETTLE_SECONDS_MAX)) {
            pg_local_complaint(local, text);
            return err_set(err, ERR_FATAL, "the private PostgreSQL in %s does not start: %.300s",
                           local->data_dir, text);
        }
        (void)nanosleep(&(struct timespec){ .tv_nsec = 500000000 }, NULL);
    }
}

struct pg_local *pg_local_start(const char *data_dir, struct err *err)
{
    AUTO(pg_local_stop) struct pg_local *local = xcalloc(1, sizeof(*local));

    local->lock_fd = -1;
    if (pg_user_find(&local->user, err) < 0 || pg_local_data_dir_make(local, data_dir, err) < 0 ||
        pg_local_lock(local, err) != 0 || pg_local_owner_check(local, err) < 0 ||
        pg_local_socket_dir_make(local, err) < 0 || pg_local_bring_up(local, err) < 0)
        return NULL;
    return TAKE(local);
}

struct pg_local *pg_local_join(const char *data_dir, struct err *err)
{
    AUTO(pg_local_stop) struct pg_local *local = xcalloc(1, sizeof(*local));
    int rc;

    local->lock_fd = -1;
    if (pg_user_find(&local->user, err) < 0 || pg_local_data_dir_make(local, data_dir, err) < 0)
        return NULL;
    rc = pg_local_lock(local, err);
    if (rc < 0)
        return NULL;
    if (rc == 0) { /* nobody runs it */
        pg_local_stop(TAKE(local));
        return pg_local_start(data_dir, err);
    }
    local->guest = true;
    return pg_local_adopt(local) ? TAKE(local) : NULL; /* it is starting, or stopping */
}

int pg_local_keep(struct pg_local *local, struct err *err)
{
    if (!pg_local_gone(local))
        return 0;
    if (pg_local_launch(local, err) < 0) {
        err->kind = ERR_RETRY;
        return -1;
    }
    return 1;
}

static void pg_local_server_stop(struct pg_local *local)
{
    static const struct {
        int signal, seconds_max;
    } steps[] = { { SIGINT, STOP_SECONDS_MAX },      /* fast: ends transactions, checkpoints */
                  { SIGQUIT, STOP_NOW_SECONDS_MAX }, /* immediate: recovers at the next start */
                  { SIGKILL, STOP_NOW_SECONDS_MAX } };

    for (size_t i = 0; i < LENGTH(steps) && !pg_local_gone(local); i++) {
        (void)kill(local->pid, steps[i].signal);
        if (pg_local_gone_by(local, clock_mono_ms() + MS(steps[i].seconds_max)))
            return;
    }
}

void pg_local_stop(struct pg_local *local)
{
    if (!local)
        return;
    if (!local->guest)
        pg_local_server_stop(local);
    if (local->socket_elsewhere && local->socket_dir && rmdir(local->socket_dir) == 0) {
        AUTO(mem_free) char *path = xasprintf("%s/socket.path", local->data_dir);

        (void)unlink(path);
    }
    if (local->lock_fd >= 0)
        (void)close(local->lock_fd);
    free(local->data_dir);
    free(local->cluster);
    free(local->log_path);
    free(local->bin_dir);
    free(local->socket_dir);
    free(local->dsn);
    free(local);
}
