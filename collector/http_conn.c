/* Every open connection, and a thread that ends those whose request does not arrive in time.
 *
 * The library's own time-out is for silence: a client that sends a byte now and then keeps its
 * connection for ever. Here a request has request_timeout_ms from its first byte to its last. The
 * library shows a request only when its head is complete, so the first byte is found by asking the
 * kernel how many have arrived since the connection became idle.
 *
 * Nor does the library always notice that a client has hung up: told once that there is something
 * to read, it stops at the first read that is not full, and when the end came along with those
 * bytes nobody tells it again. The request would keep its memory until it is late. */
#include <assert.h>
#include <linux/tcp.h> /* the C library's tcp_info ends before tcpi_bytes_received */
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http_internal.h"

enum {
    HTTP_REAP_MS_MIN = 20,
    HTTP_REAP_MS_MAX = 1000,
    HTTP_LEFT_MS = 2000, /* a client may hang up and listen: what it sent is dealt with by then */
};

enum http_conn_phase { CONN_IDLE, CONN_ARRIVING, CONN_BUSY };

struct http_conn {
    struct http_conn *next; /* guarded by the list's lock */
    struct http_conn **link;
    int fd;
    char network[HTTP_NETWORK_BYTES]; /* const once the connection is there, as is extra */
    size_t network_len;
    enum http_extra extra;

    pthread_mutex_t lock;
    enum http_conn_phase phase; /* guarded by lock, as is all below */
    int64_t since_mono_ms;      /* of the request's first byte; 0: none was seen */
    uint64_t bytes_idle;        /* received when the connection was first seen idle */
    bool bytes_known;
    int64_t left_mono_ms; /* first seen hung up, with nothing left to read; 0: not seen */

    struct http_tls *tls; /* NULL: without TLS */
    bool is_secured;      /* guarded by lock */
};

struct http_conns {
    struct stats *stats;
    const struct config *config;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t stop_cond;
    int64_t request_timeout_ms; /* guarded by lock */
    struct http_conn *head;     /* guarded by lock */
    int64_t open;               /* guarded by lock */
    bool is_stopping;           /* guarded by lock */
};

/* Bytes that arrived on the connection so far, whether read or not. -1: the kernel does not say. */
static int http_conn_received(const struct http_conn *conn, uint64_t *bytes)
{
    struct tcp_info info = { 0 };
    socklen_t len = sizeof(info);

    if (getsockopt(conn->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 ||
        len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received))
        return -1;
    *bytes = info.tcpi_bytes_received;
    return 0;
}

/* Notes the first byte of a request whose head is not complete. */
static void http_conn_look(struct http_conn *conn, int64_t now)
{
    uint64_t bytes;

    if (conn->since_mono_ms || http_conn_received(conn, &bytes) < 0)
        return;
    if (!conn->bytes_known) {
        conn->bytes_idle = bytes;
        conn->bytes_known = true;
    } else if (bytes != conn->bytes_idle) {
        conn->since_mono_ms = now;
    }
}

static bool http_conn_is_left(struct http_conn *conn, int64_t now)
{
    struct pollfd pollfd = { .fd = conn->fd, .events = POLLRDHUP };
    int unread = 0;

    if (poll(&pollfd, 1, 0) <= 0 || !(pollfd.revents & POLLRDHUP) ||
        ioctl(conn->fd, FIONREAD, &unread) != 0 || unread) {
        conn->left_mono_ms = 0;
        return false;
    }
    if (!conn->left_mono_ms)
        conn->left_mono_ms = now;
    return now - conn->left_mono_ms > HTTP_LEFT_MS;
}

/* Whether to end the connection, and whether because its request is late. */
static bool http_conn_is_over(struct http_conn *conn, int64_t now, int64_t timeout_ms,
                              bool *is_late)
{
    bool is_over;

    pthread_mutex_lock(&conn->lock);
    if (conn->phase == CONN_IDLE)
        http_conn_look(conn, now);
    *is_late =
        conn->phase != CONN_BUSY && conn->since_mono_ms && now - conn->since_mono_ms > timeout_ms;
    is_over = *is_late || (conn->phase != CONN_BUSY && http_conn_is_left(conn, now));
    if (is_over)
        conn->phase = CONN_BUSY; /* once is enough */
    pthread_mutex_unlock(&conn->lock);
    return is_over;
}

static int64_t http_conns_interval(const struct http_conns *conns)
{
    int64_t interval = conns->request_timeout_ms / 4;

    if (interval > HTTP_REAP_MS_MAX)
        return HTTP_REAP_MS_MAX;
    return interval < HTTP_REAP_MS_MIN ? HTTP_REAP_MS_MIN : interval;
}

static void *http_conns_run(void *arg)
{
    struct http_conns *conns = arg;

    pthread_mutex_lock(&conns->lock);
    while (!conns->is_stopping) {
        struct timespec deadline = clock_mono_after(http_conns_interval(conns));
        int64_t now = clock_mono_ms();

        for (struct http_conn *conn = conns->head; conn; conn = conn->next) {
            bool is_late;

            if (http_conn_is_over(conn, now, conns->request_timeout_ms, &is_late)) {
                stats_add(conns->stats, STAT_CONNECTIONS_EXPIRED, is_late);
                (void)shutdown(conn->fd, SHUT_RDWR); /* the daemon sees it and closes */
            }
        }
        (void)pthread_cond_timedwait(&conns->stop_cond, &conns->lock, &deadline);
    }
    pthread_mutex_unlock(&conns->lock);
    return NULL;
}

struct http_conns *http_conns_start(struct stats *stats, const struct config *config)
{
    struct http_conns *conns = xcalloc(1, sizeof(*conns));
    pthread_condattr_t attributes;

    conns->stats = stats;
    conns->config = config;
    conns->request_timeout_ms = config->request_timeout_ms;
    pthread_mutex_init(&conns->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&conns->stop_cond, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&conns->thread, NULL, http_conns_run, conns) != 0)
        abort(); /* at start-up, one of a handful of threads: nothing could be served */
    return conns;
}

void http_conns_stop(struct http_conns *conns)
{
    if (!conns)
        return;
    pthread_mutex_lock(&conns->lock);
    conns->is_stopping = true;
    pthread_cond_signal(&conns->stop_cond);
    pthread_mutex_unlock(&conns->lock);
    pthread_join(conns->thread, NULL);
    assert(!conns->head);
    pthread_cond_destroy(&conns->stop_cond);
    pthread_mutex_destroy(&conns->lock);
    free(conns);
}

void http_conns_set_timeout(struct http_conns *conns, int64_t request_timeout_ms)
{
    pthread_mutex_lock(&conns->lock);
    conns->request_timeout_ms = request_timeout_ms;
    pthread_mutex_unlock(&conns->lock);
}

/* What the next connection of a network is, with the list's lock held. Those that are themselves
 * too many take no place of those that fit. */
static enum http_extra http_conns_judge(const struct http_conns *conns, struct span network)
{
    int64_t max = conns->config->connections_per_address_max;
    int64_t of_network = 0, fit = 0;
    enum http_extra extra;

    for (const struct http_conn *at = max ? conns->head : NULL; at; at = at->next) {
        bool is_of_it = span_equal((struct span){ at->network, at->network_len }, network);

        of_network += is_of_it;
        fit += is_of_it && at->extra == HTTP_FITS;
    }
    if (max && fit >= max)
        extra = HTTP_EXTRA_OF_ADDRESS;
    else if (conns->open >= conns->config->connections_max)
        extra = HTTP_EXTRA;
    else
        return HTTP_FITS;
    return max && of_network >= max + HTTP_EXTRA_MIN ? HTTP_CUT : extra;
}

struct http_conn *http_conn_add(struct http_conns *conns, int fd, struct http_tls *tls,
                                struct span network)
{
    struct http_conn *conn = xcalloc(1, sizeof(*conn));

    assert(network.len <= sizeof(conn->network));
    conn->fd = fd;
    memcpy(conn->network, network.data, network.len);
    conn->network_len = network.len;
    conn->tls = tls;
    conn->bytes_known = true; /* a new connection: none */
    pthread_mutex_init(&conn->lock, NULL);
    pthread_mutex_lock(&conns->lock);
    conn->extra = http_conns_judge(conns, network);
    conn->next = conns->head;
    conn->link = &conns->head;
    if (conn->next)
        conn->next->link = &conn->next;
    conns->head = conn;
    conns->open++;
    pthread_mutex_unlock(&conns->lock);
    stats_add(conns->stats, STAT_CONNECTIONS, 1);
    return conn;
}

void http_conn_remove(struct http_conns *conns, struct http_conn *conn)
{
    pthread_mutex_lock(&conns->lock);
    *conn->link = conn->next;
    if (conn->next)
        conn->next->link = conn->link;
    conns->open--;
    pthread_mutex_unlock(&conns->lock);
    stats_add(conns->stats, STAT_CONNECTIONS, -1);
    stats_add(conns->stats, STAT_TLS_FAILED,
              conn->tls && !conn->is_secured && conn->extra != HTTP_CUT);
    http_tls_unref(conn->tls);
    pthread_mutex_destroy(&conn->lock);
    free(conn);
}

enum http_extra http_conn_extra(const struct http_conn *conn)
{
    return conn->extra;
}

void http_conn_secured(struct http_conn *conn)
{
    pthread_mutex_lock(&conn->lock);
    conn->is_secured = true;
    conn->since_mono_ms = 0;
    conn->bytes_known = false; /* the first byte may have come along with the handshake's last */
    pthread_mutex_unlock(&conn->lock);
}

void http_conn_arriving(struct http_conn *conn)
{
    pthread_mutex_lock(&conn->lock);
    conn->phase = CONN_ARRIVING;
    conn->left_mono_ms = 0;
    if (!conn->since_mono_ms)
        conn->since_mono_ms = clock_mono_ms();
    pthread_mutex_unlock(&conn->lock);
}

void http_conn_arrived(struct http_conn *conn)
{
    pthread_mutex_lock(&conn->lock);
    conn->phase = CONN_BUSY;
    pthread_mutex_unlock(&conn->lock);
}

void http_conn_idle(struct http_conn *conn)
{
    pthread_mutex_lock(&conn->lock);
    conn->phase = CONN_IDLE;
    conn->left_mono_ms = 0;
    conn->since_mono_ms = 0;
    conn->bytes_known = false;
    pthread_mutex_unlock(&conn->lock);
}
