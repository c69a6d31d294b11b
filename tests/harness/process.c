#include "process.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "collector/pg_program.h"
#include "wait.h"

/* Harness programs are started from processes with few threads and no locks of note, so the child
 * may use what is not safe after a fork. */
__attribute__((noreturn)) static void process_become(const struct process_options *options,
                                                     const struct pg_user *user, pid_t parent)
{
    sigset_t none;
    int fd;

    for (int i = 1; i < NSIG; i++)
        (void)signal(i, SIG_DFL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (options->session)
        (void)setsid();
    fd = open("/dev/null", O_RDONLY);
    if (fd < 0 || dup2(fd, 0) < 0)
        _exit(126);
    if (options->output) {
        fd = open(options->output, O_WRONLY | O_CREAT | O_APPEND, 0644);
        if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
            _exit(126);
    }
    (void)close_range(3, ~0U, 0);
    if (options->as_postgres && user->other &&
        (setgroups(1, &user->gid) < 0 || setgid(user->gid) < 0 || setuid(user->uid) < 0))
        _exit(126);
    /* After the change of user, which forgets it. */
    (void)prctl(PR_SET_PDEATHSIG, options->death_signal ? options->death_signal : SIGKILL);
    if (getppid() != parent)
        _exit(126);
    for (const char *const *entry = options->environment; entry && *entry; entry++)
        (void)putenv((char *)(uintptr_t)*entry);
    (void)execvp(options->argv[0], (char *const *)(uintptr_t)options->argv);
    _exit(127);
}

pid_t process_start(const struct process_options *options)
{
    struct pg_user user = { 0 };
    struct err err = { 0 };
    pid_t parent = getpid(), pid;
    sigset_t all, before;

    if (options->as_postgres)
        ck_assert_msg(pg_user_find(&user, &err) == 0, "%s", err.text);
    /* A signal for the child must not run check's handler in it. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid == 0)
        process_become(options, &user, parent);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    ck_assert_msg(pid > 0, "fork: %s", strerror(errno));
    return pid;
}

int process_wait(pid_t pid, int64_t ms)
{
    int64_t end_ms = clock_mono_ms() + ms;
    int status;

    for (;;) {
        pid_t rc = waitpid(pid, &status, WNOHANG);

        if (rc == pid)
            return status;
        ck_assert_msg(rc == 0 || errno == EINTR, "process %d: %s", (int)pid, strerror(errno));
        if (clock_mono_ms() >= end_ms)
            return -1;
        wait_nap();
    }
}

void process_run(const struct process_options *options)
{
    pid_t pid = process_start(options);
    int status = process_wait(pid, wait_scaled_ms(60000));

    ck_assert_msg(status == 0, "%s: status %d", options->argv[0], status);
}
