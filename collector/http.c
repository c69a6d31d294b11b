#include "collector/http.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
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
    HTTP_EXTRA_IDLE_S = 5,  /* of a connection that is only to be told that it is one too many */
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

static const union MHD_ConnectionInfo *http_info(struct MHD_Connection *connection,
                                                 enum MHD_ConnectionInfoType type)
{
    return MHD_get_connection_info(connection, type);
}

static void http_connection_start(struct http *http, struct MHD_Connection *connection,
                                  void **socket_context)
{
    int fd = http_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    struct http_tls *tls = NULL;
    struct http_conn *conn;

    pthread_mutex_lock(&http->lock);
    if (http->tls)
        tls = http_tls_ref(http->tls);
    pthread_mutex_unlock(&http->lock);
    *socket_context = conn =
        http_conn_add(http->conns, fd, tls,
                      http_network(
                          http_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr));
    if (tls)
        http_tls_begin(tls, http_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session,
                       conn);
    if (http_conn_extra(conn) == HTTP_FITS)
        return;
    if (http_conn_extra(conn) == HTTP_CUT)
        (void)shutdown(fd, SHUT_RDWR);
    stats_add(http->setup.stats, STAT_CONNECTIONS_REFUSED, 1);
    (void)MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT,
                                    (unsigned)HTTP_EXTRA_IDLE_S);
}

static void http_connection_notify(void *cls, struct MHD_Connection *connection,
                                   void **socket_context, enum MHD_ConnectionNotificationCode code)
{
    struct http *http = cls;

    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        http_connection_start(http, connection, socket_context);
    else
        http_conn_remove(http->conns, *socket_context);
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

/* Places for connections that are answered 503 because there are too many. When these are taken too
 * the kernel lets clients wait. */
static int64_t http_connections_extra(const struct config *config)
{
    int64_t extra = config->connections_max / 16;

    return extra < HTTP_EXTRA_MIN ? HTTP_EXTRA_MIN : extra;
}

/* The soft limit is raised to what is needed; beyond the hard one nothing helps. */
static int http_files_raise(const struct config *config, struct err *err)
{
    int64_t others = http_connections_extra(config) + 2 * config->reads_max + HTTP_FILES_SPARE;
    rlim_t want = (rlim_t)(config->connections_max + others);
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want)
        return 0;
    if (limit.rlim_max < want)
        return err_set(err, ERR_FATAL,
                       "connections_max: %lld connections and %lld other files are more than the "
                       "%llu that this process may open: raise that limit (ulimit -n, or "
                       "LimitNOFILE= of systemd) or lower connections_max to %lld",
                       (long long)config->connections_max, (long long)others,
                       (unsigned long long)limit.rlim_max,
                       (long long)limit.rlim_max > others ? (long long)limit.rlim_max - others : 1);
    limit.rlim_cur = want;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    return 0;
}

int http_prepare(const struct config *config, struct err *err)
{
    if (http_files_raise(config, err) < 0)
        return -1;
    return http_tls_check(config, err);
}

static struct MHD_Daemon *http_daemon_start(struct http *http)
{
    const struct config *config = http->setup.config;
    unsigned connections = (unsigned)(config->connections_max + http_connections_extra(config));
    unsigned threads = http_threads(config);
    unsigned idle_s = (unsigned)((config->idle_timeout_ms + 999) / 1000);
    unsigned flags = MHD_ALLOW_SUSPEND_RESUME;
    struct MHD_OptionItem tls[HTTP_TLS_OPTIONS] = { { MHD_OPTION_END, 0, NULL } };

    if (http->tls) {
        /* Not epoll: with it the library asks a handshake that waits for its client again and again
         * without a pause, which is a whole core for as long as the client likes. */
        flags |= MHD_USE_TLS | MHD_USE_POLL_INTERNAL_THREAD;
        http_tls_options(tls);
    } else {
        flags |= MHD_USE_EPOLL_INTERNAL_THREAD;
    }
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
                            http_unescape_nothing, NULL, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
}

static bool http_is_private(const struct http_setup *setup)
{
    struct config_address address;
    struct err err = { 0 };

    return !setup->keyring && !setup->config->keys_off &&
           config_address_parse(&address, setup->config->listen, &err) == 0 && address.is_loopback;
}

static struct http *http_new(const struct http_setup *setup)
{
    struct http *http = xcalloc(1, sizeof(*http));
    pthread_condattr_t attributes;

    http->setup = *setup;
    http->config = setup->config;
    http->listen_fd = -1;
    http->is_private = http_is_private(setup);
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
    if (setup->config->tls_certificate && !(http->tls = http_tls_new(setup->config, err)))
        return NULL;
    http->listen_fd = listen_open(setup->config->listen, http->address, err);
    if (http->listen_fd < 0)
        return NULL;
    http->conns = http_conns_start(setup->stats, setup->config);
    http->queries = http_queries_start(&http->setup);
    http->daemon = http_daemon_start(http);
    if (!http->daemon) {
        (void)err_set(err, ERR_FATAL, "listen %s: the HTTP library does not start: %s",
                      http->address, strerror(errno));
        return NULL;
    }
    if (http->tls)
        http_tls_announce(http->tls, setup->stats);
    return TAKE(http);
}

int http_reload(struct http *http, const struct config *config, struct err *err)
{
    struct http_tls *tls, *old;

    if (http->tls) {
        tls = http_tls_new(config, err);
        if (!tls)
            return -1;
        pthread_mutex_lock(&http->lock);
        old = http->tls;
        http->tls = tls;
        pthread_mutex_unlock(&http->lock);
        http_tls_announce(http->tls, http->setup.stats);
        http_tls_unref(old);
    }
    http->config = config;
    http_conns_set_timeout(http->conns, config->request_timeout_ms);
    return 0;
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

bool http_drain(struct http *http, int64_t deadline_mono_ms)
{
    struct timespec deadline = clock_mono_after(deadline_mono_ms - clock_mono_ms());
    int rc = 0;

    http_refuse(http);
    pthread_mutex_lock(&http->lock);
    while (http->requests && rc == 0)
        rc = pthread_cond_timedwait(&http->changed, &http->lock, &deadline);
    pthread_mutex_unlock(&http->lock);
    return rc == 0;
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
    http_tls_unref(http->tls);
    rates_free(http->failures);
    (void)pthread_key_delete(http->decoder_key);
    pthread_cond_destroy(&http->changed);
    pthread_mutex_destroy(&http->lock);
    free(http);
}
