#include "collector/http.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "http_internal.h"

enum {
    /* Of a connection: request line, headers, and the piece of the answer being sent. */
    HTTP_CONNECTION_BYTES = 16 * 1024,
    HTTP_THREADS_MAX_AUTO = 8,
    HTTP_ADDRESSES = 4096,  /* that wrong keys are counted of: 64 KiB */
    HTTP_FILES_SPARE = 128, /* besides connections: reads, committers, files, epoll sets */
};

bool http_request_enter(struct http *http)
{
    bool is_open;

    pthread_mutex_lock(&http->lock);
    is_open = !http->is_draining;
    http->requests += is_open;
    pthread_mutex_unlock(&http->lock);
    return is_open;
}

void http_request_leave(struct http *http)
{
    pthread_mutex_lock(&http->lock);
    http->requests--;
    if (http->is_draining)
        pthread_cond_signal(&http->changed);
    pthread_mutex_unlock(&http->lock);
}

static void http_connection_notify(void *cls, struct MHD_Connection *connection,
                                   void **socket_context, enum MHD_ConnectionNotificationCode code)
{
    struct http *http = cls;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

        *socket_context = http_conn_add(http->conns, info->connect_fd);
    } else {
        http_conn_remove(http->conns, *socket_context);
    }
}

/* Percent signs stay as they are: http_route.c decodes, where it can refuse a wrong one and a '/'
 * inside a CRN is still told from one between segments. */
static size_t http_unescape_nothing(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls;
    (void)connection;
    return strlen(text);
}

static void http_decoder_free(void *decoder)
{
    event_decoder_free(decoder);
}

static unsigned http_threads(const struct config *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (config->http_threads > 0)
        return (unsigned)config->http_threads;
    if (cores < 1)
        return 1;
    return cores < HTTP_THREADS_MAX_AUTO ? (unsigned)cores : HTTP_THREADS_MAX_AUTO;
}

/* As many connections as configured, or as many as the process may have files for. */
static unsigned http_connections(const struct config *config)
{
    rlim_t want = (rlim_t)(config->connections_max + 2 * config->reads_max + HTTP_FILES_SPARE);
    struct rlimit limit;
    int64_t connections = config->connections_max;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want)
        return (unsigned)connections;
    limit.rlim_cur = limit.rlim_max < want ? limit.rlim_max : want;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < want) {
        connections -= (int64_t)(want - limit.rlim_cur);
        if (connections < 1)
            connections = 1;
        log_warn("event=few_files files_max=%llu wanted=%llu connections_max=%lld "
                 "hint=\"raise the limit (ulimit -n) or lower connections_max\"",
                 (unsigned long long)limit.rlim_cur, (unsigned long long)want,
                 (long long)connections);
    }
    return (unsigned)connections;
}

static struct MHD_Daemon *http_daemon_start(struct http *http)
{
    const struct config *config = http->setup.config;
    unsigned threads = http_threads(config), connections = http_connections(config);
    unsigned idle_s = (unsigned)((config->idle_timeout_ms + 999) / 1000);
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME;

    /* The library gives each thread its share of the connections, and wants one at least. */
    if (threads > connections)
        threads = connections;
    if (threads < 2)
        threads = 0; /* a pool of one is refused: the daemon's own thread does it */
    return MHD_start_daemon(flags, 0, NULL, NULL, http_request_handle, http,
                            MHD_OPTION_LISTEN_SOCKET, http->listen_fd, MHD_OPTION_THREAD_POOL_SIZE,
                            threads, MHD_OPTION_CONNECTION_LIMIT, connections,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_BYTES,
                            MHD_OPTION_CONNECTION_TIMEOUT, idle_s, MHD_OPTION_NOTIFY_CONNECTION,
                            http_connection_notify, http, MHD_OPTION_NOTIFY_COMPLETED,
                            http_request_completed, http, MHD_OPTION_UNESCAPE_CALLBACK,
                            http_unescape_nothing, NULL, MHD_OPTION_END);
}

static struct http *http_new(const struct http_setup *setup)
{
    struct http *http = xcalloc(1, sizeof(*http));
    pthread_condattr_t attributes;

    http->setup = *setup;
    http->listen_fd = -1;
    http->failures = rates_new(HTTP_ADDRESSES);
    pthread_mutex_init(&http->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&http->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_key_create(&http->decoder_key, http_decoder_free) != 0)
        abort(); /* one of 1024 keys, at start-up */
    return http;
}

struct http *http_start(const struct http_setup *setup, struct err *err)
{
    AUTO(http_stop) struct http *http = http_new(setup);

    (void)signal(SIGPIPE, SIG_IGN);
    http->listen_fd = listen_open(setup->config->listen, http->address, err);
    if (http->listen_fd < 0)
        return NULL;
    http->conns = http_conns_start(setup->stats, setup->config->request_timeout_ms);
    http->queries = http_queries_start(&http->setup);
    http->daemon = http_daemon_start(http);
    if (!http->daemon) {
        (void)err_set(err, ERR_FATAL, "listen %s: the HTTP library does not start: %s",
                      http->address, strerror(errno));
        return NULL;
    }
    return TAKE(http);
}

const char *http_address(const struct http *http)
{
    return http->address;
}

/* New requests get 503 from here on, on new connections too: a client wants an answer that it can
 * read. MHD_quiesce_daemon is no way to stop accepting: when a thread of the pool removes the
 * listening socket from its epoll set at the same moment, the library aborts the process. */
static void http_refuse(struct http *http)
{
    pthread_mutex_lock(&http->lock);
    http->is_draining = true;
    pthread_mutex_unlock(&http->lock);
}

void http_drain(struct http *http, int64_t deadline_mono_ms)
{
    struct timespec deadline = clock_mono_after(deadline_mono_ms - clock_mono_ms());
    int rc = 0;

    http_refuse(http);
    pthread_mutex_lock(&http->lock);
    while (http->requests && rc == 0)
        rc = pthread_cond_timedwait(&http->changed, &http->lock, &deadline);
    pthread_mutex_unlock(&http->lock);
}

/* The library aborts when it is stopped with a suspended connection. So: no new ones, those of
 * queries are ended, those of the committer are waited for. */
void http_stop(struct http *http)
{
    if (!http)
        return;
    http_refuse(http);
    http_queries_stop(http->queries);
    pthread_mutex_lock(&http->lock);
    while (http->submitted)
        pthread_cond_wait(&http->changed, &http->lock);
    http->is_stopping = true;
    pthread_mutex_unlock(&http->lock);
    if (http->daemon)
        MHD_stop_daemon(http->daemon); /* closes the listening socket */
    else if (http->listen_fd >= 0)
        (void)close(http->listen_fd);
    http_queries_free(http->queries);
    http_conns_stop(http->conns);
    rates_free(http->failures);
    (void)pthread_key_delete(http->decoder_key);
    pthread_cond_destroy(&http->changed);
    pthread_mutex_destroy(&http->lock);
    free(http);
}
