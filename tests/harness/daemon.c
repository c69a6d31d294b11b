#include "daemon.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "certificate.h"
#include "http.h"
#include "process.h"
#include "temp.h"
#include "wait.h"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN true
#elif defined(__has_feature)
#define UNDER_TSAN __has_feature(thread_sanitizer)
#else
#define UNDER_TSAN false
#endif

enum {
    ARGS_MAX = 32,
    VARIABLES_MAX = 64,
    LOG_BYTES_MAX = 256 << 10,
    READY_MS_MAX = 30000,
    STOP_MS_MAX = 60000
};

struct daemon {
    struct daemon *next;
    struct daemon_options options;
    char *dsn;
    char *spool;
    char *log; /* of the present process, or the last one */
    pid_t pid; /* 0: not running */
    int port;
};

static struct daemon *daemons; /* of this test */

/* ---- how it ends ---- */

char *daemon_log(const struct daemon *daemon)
{
    return temp_file_tail(daemon->log, LOG_BYTES_MAX);
}

bool daemon_log_has(const struct daemon *daemon, const char *text)
{
    AUTO(mem_free) char *log = daemon_log(daemon);

    return strstr(log, text) != NULL;
}

static const char *daemon_report(const struct daemon *daemon)
{
    static const char *const signs[] = { "ERROR: AddressSanitizer", "ERROR: LeakSanitizer",
                                         "runtime error:",          "WARNING: ThreadSanitizer",
                                         "event=out_of_memory",     "Assertion `" };

    for (size_t i = 0; i < LENGTH(signs); i++) {
        if (daemon_log_has(daemon, signs[i]))
            return signs[i];
    }
    return NULL;
}

static void daemon_report_check(const struct daemon *daemon)
{
    const char *report = daemon_report(daemon);

    ck_assert_msg(!report, "the daemon's log has \"%s\"", report ? report : "");
}

/* At the exit of a test that ended well: a daemon that nobody stopped must be alive and clean. */
static void daemon_check_all(void)
{
    for (struct daemon *daemon = daemons; daemon; daemon = daemon->next) {
        const char *report = daemon_report(daemon);
        int status;

        if (daemon->pid && waitpid(daemon->pid, &status, WNOHANG) == daemon->pid)
            report = "an end that nobody asked for";
        if (!report)
            continue;
        (void)fprintf(stderr, "daemon: %s\n", report);
        _exit(EXIT_FAILURE);
    }
}

static int daemon_reap(struct daemon *daemon, int64_t ms)
{
    int status = process_wait(daemon->pid, wait_scaled_ms(ms));

    ck_assert_msg(status != -1, "the daemon does not end within %lld ms", (long long)ms);
    daemon->pid = 0;
    return status;
}

int daemon_wait_exit(struct daemon *daemon, int64_t ms)
{
    int status = daemon_reap(daemon, ms);

    daemon_report_check(daemon);
    ck_assert_msg(WIFEXITED(status), "the daemon died of signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

int daemon_stop(struct daemon *daemon)
{
    daemon_signal(daemon, SIGTERM);
    return daemon_wait_exit(daemon, STOP_MS_MAX);
}

void daemon_kill9(struct daemon *daemon)
{
    int status;

    daemon_signal(daemon, SIGKILL);
    status = daemon_reap(daemon, STOP_MS_MAX);
    daemon_report_check(daemon);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
                  "the daemon had ended before it was killed, status %d", status);
}

void daemon_await_kill9(struct daemon *daemon)
{
    int status = daemon_reap(daemon, STOP_MS_MAX);

    daemon_report_check(daemon);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
                  "the daemon did not kill itself, status %d", status);
}

void daemon_set_environment(struct daemon *daemon, const char *const *environment)
{
    daemon->options.environment = environment;
}

void daemon_signal(struct daemon *daemon, int signal)
{
    ck_assert_int_gt(daemon->pid, 0);
    ck_assert_int_eq(kill(daemon->pid, signal), 0);
}

void daemon_free(struct daemon *daemon)
{
    if (!daemon)
        return;
    if (daemon->pid)
        ck_assert_int_eq(daemon_stop(daemon), 0);
    daemon_report_check(daemon);
    for (struct daemon **p = &daemons; *p; p = &(*p)->next) {
        if (*p == daemon) {
            *p = daemon->next;
            break;
        }
    }
    free(daemon->dsn);
    free(daemon->spool);
    free(daemon->log);
    free(daemon);
}

/* ---- how it begins ---- */

/* With the spool's variables in front, which the test's own replace, and with TLS two more; the
 * array is owned, what it points to is not. */
static const char **daemon_environment(const struct daemon *daemon, char *spool, char *tls[2])
{
    const char *const *given = daemon->options.environment;
    const char **all = xcalloc(VARIABLES_MAX, sizeof(*all));
    size_t n = 0;

    all[n++] = spool;
    if (!daemon->options.spool)
        all[n++] = "PLUMBLINE_SPOOL_BYTES_MAX=0";
    for (; given && *given; given++) {
        ck_assert_uint_lt(n + 3, VARIABLES_MAX);
        all[n++] = *given;
    }
    if (daemon->options.tls || tls_wanted()) {
        const struct certificate *own =
            daemon->options.tls ? daemon->options.tls : tls_certificate();

        all[n++] = tls[0] = xasprintf("PLUMBLINE_TLS_CERTIFICATE=%s", own->path);
        all[n++] = tls[1] = xasprintf("PLUMBLINE_TLS_KEY=%s", own->key);
    }
    return all;
}

static void daemon_launch(struct daemon *daemon)
{
    const struct daemon_options *options = &daemon->options;
    const char *binary = getenv("TEST_DAEMON");
    AUTO(mem_free)
    char *spool = options->spool ? xasprintf("PLUMBLINE_SPOOL_DIR=%s", options->spool)
                                 : xasprintf("PLUMBLINE_SPOOL_DIR=%s/none", temp_root());
    const char *argv[ARGS_MAX] = { binary ? binary : "build/plumbline", "serve", "--listen",
                                   options->listen ? options->listen : "127.0.0.1:0" };
    char *tls[2] = { NULL, NULL };
    AUTO(mem_free) const char **environment = daemon_environment(daemon, spool, tls);
    size_t n = 4;

    if (daemon->dsn) {
        argv[n++] = "--database";
        argv[n++] = daemon->dsn;
    }
    for (const char *const *a = options->arguments; a && *a && n + 1 < ARGS_MAX; a++)
        argv[n++] = *a;
    free(daemon->log); /* the file stays and is shown with the others */
    daemon->log = temp_log("daemon");
    daemon->port = 0;
    daemon->pid = process_start(&(struct process_options){
        .argv = argv, .environment = environment, .output = daemon->log });
    free(tls[0]);
    free(tls[1]);
}

struct daemon *daemon_spawn(const struct daemon_options *options)
{
    struct daemon *daemon = xcalloc(1, sizeof(*daemon));

    if (!daemons)
        (void)atexit(daemon_check_all);
    daemon->options = *options;
    daemon->dsn = options->dsn ? xstrdup(options->dsn) : NULL;
    daemon->spool = options->spool ? xstrdup(options->spool) : NULL;
    daemon->options.spool = daemon->spool;
    daemon->next = daemons;
    daemons = daemon;
    daemon_launch(daemon);
    return daemon;
}

static bool daemon_ready(struct daemon *daemon)
{
    static const char sign[] = "event=serving address=";
    AUTO(mem_free) char *log = daemon_log(daemon);
    const char *line = strstr(log, sign);
    const char *colon;
    int status;

    if (!line || !strchr(line, '\n')) {
        if (waitpid(daemon->pid, &status, WNOHANG) == daemon->pid) {
            daemon->pid = 0;
            ck_abort_msg("the daemon ended before it served, status %d", status);
        }
        return false;
    }
    line += strlen(sign);
    colon = line + strcspn(line, " \n");
    while (colon > line && *colon != ':')
        colon--;
    daemon->port = (int)strtol(colon + 1, NULL, 10);
    return daemon->port > 0;
}

void daemon_wait_ready(struct daemon *daemon)
{
    int64_t ms = daemon->options.ready_ms_max ? daemon->options.ready_ms_max : READY_MS_MAX;

    WAIT_UNTIL(ms, daemon_ready(daemon));
}

struct daemon *daemon_start(const struct daemon_options *options)
{
    struct daemon *daemon = daemon_spawn(options);

    daemon_wait_ready(daemon);
    return daemon;
}

void daemon_respawn(struct daemon *daemon)
{
    ck_assert_int_eq(daemon->pid, 0);
    daemon_launch(daemon);
}

void daemon_resume(struct daemon *daemon)
{
    daemon_respawn(daemon);
    daemon_wait_ready(daemon);
}

/* ---- what is known of it ---- */

pid_t daemon_pid(const struct daemon *daemon)
{
    return daemon->pid;
}

int daemon_port(const struct daemon *daemon)
{
    return daemon->port;
}

char *daemon_url(const struct daemon *daemon, const char *path)
{
    return xasprintf("http%s://127.0.0.1:%d%s", daemon->options.tls || tls_wanted() ? "s" : "",
                     daemon->port, path);
}

int64_t daemon_peak_bytes(const struct daemon *daemon)
{
    AUTO(mem_free) char *path = xasprintf("/proc/%d/status", (int)daemon->pid);
    FILE *file = fopen(path, "r");
    char line[256];
    int64_t kib = -1;

    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtoll(line + 6, NULL, 10);
    }
    (void)fclose(file);
    ck_assert_int_ge(kib, 0);
    return kib * 1024;
}

char *daemon_lean(void)
{
    const char *options = getenv("ASAN_OPTIONS");

    return xasprintf("ASAN_OPTIONS=%s:quarantine_size_mb=1:thread_local_quarantine_size_kb=64",
                     options ? options : "");
}

void daemon_check_growth(const struct daemon *daemon, int64_t before, int64_t bytes_max)
{
    int64_t grown = daemon_peak_bytes(daemon) - before;

    ck_assert_msg(UNDER_TSAN || grown < bytes_max, "the daemon's peak grew by %lld bytes",
                  (long long)grown);
}

long daemon_status(const struct daemon *daemon, const char *path)
{
    AUTO(mem_free) char *url = daemon_url(daemon, path);
    AUTO(http_free) struct http *http = http_new();
    AUTO(http_answer_free) struct http_answer *answer = http_get(http, url);

    return answer->status;
}

int64_t daemon_metric(const struct daemon *daemon, const char *name)
{
    AUTO(mem_free) char *url = daemon_url(daemon, "/metrics");
    AUTO(mem_free) char *line = xasprintf("\n%s ", name);
    AUTO(http_free) struct http *http = http_new();
    AUTO(http_answer_free) struct http_answer *answer = http_get(http, url);
    const char *found = strstr(answer->body, line);

    ck_assert_msg(found != NULL, "no %s in /metrics: %s", name, answer->error);
    return strtoll(found + strlen(line), NULL, 10);
}
