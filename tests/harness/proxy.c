#include "proxy.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "pg.h"
#include "temp.h"
#include "wait.h"

#define SOCKET_NAME "/.s.PGSQL.5432"

enum {
    CHUNK_BYTES = 65536,
    POLL_MS = 10,
    QUERY_BYTES_MAX = 16384, /* a longer Query has no COMMIT in it */
    NAME_BYTES = 64,
};

const struct proxy_cut proxy_cuts[PROXY_CUTS] = {
    { "cut before", PROXY_CUT_BEFORE, false },
    { "cut after", PROXY_CUT_AFTER, true },
    { "drop answer", PROXY_DROP_ANSWER, true },
};

/* The two codes in front of a start-up packet that ask for encryption; the packet follows them. */
enum { CODE_SSL = 80877103, CODE_GSS = 80877104 };

struct proxy {
    char *dir;
    char *upstream; /* path of the server's socket */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;

    /* guarded by lock */
    int listener; /* -1: refusing */
    bool stopping;
    enum proxy_mode mode;
    const char *aim;       /* application_name; NULL: any */
    uint32_t commits_left; /* before the harm */
    bool sprung;
    bool refuses_then;
    bool released;
    uint32_t generation; /* connections of an older one are cut */
    int64_t delay_ms;
    uint32_t commits;
    uint32_t connections;
};

/* One connection. What the daemon sends is read message by message:
 *
 *   start-up: int32 length, int32 code          then: 'Q', int32 length, text, NUL
 *                                                     'c', int32 length: the end of a COPY
 */
struct link {
    struct proxy *proxy;
    uint32_t generation;
    int client, server;
    bool started; /* the start-up packet is behind us */
    char application_name[NAME_BYTES];
    size_t pass; /* bytes of a message that only need forwarding */
    char head[CHUNK_BYTES];
    size_t head_len; /* bytes of which nothing has been forwarded */
    /* A Query that goes on to COMMIT when its COPYs are over: so many of them are not. */
    uint32_t copies_to_commit;
    bool drop_answer;
};

/* ---- sockets ---- */

static int proxy_socket(const char *path, bool listening)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (listening ? SOCK_NONBLOCK : 0), 0);
    int rc;

    ck_assert_uint_lt(strlen(path), sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path) + 1);
    rc = listening ? bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, SOMAXCONN)
                   : connect(fd, (struct sockaddr *)&address, sizeof(address));
    if (rc == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static int proxy_write(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* ---- the moment of COMMIT ---- */

static bool link_stale(struct link *link)
{
    struct proxy *proxy = link->proxy;
    bool stale;

    (void)pthread_mutex_lock(&proxy->lock);
    stale = proxy->stopping || proxy->generation != link->generation;
    (void)pthread_mutex_unlock(&proxy->lock);
    return stale;
}

static bool link_is_aimed_at(const struct link *link)
{
    const char *aim = link->proxy->aim;

    return !aim || strcmp(aim, link->application_name) == 0;
}

/* What is to happen to this COMMIT. Waits while it is held. */
static enum proxy_mode link_commit_mode(struct link *link)
{
    struct proxy *proxy = link->proxy;
    enum proxy_mode mode = PROXY_PASS;

    (void)pthread_mutex_lock(&proxy->lock);
    if (proxy->mode != PROXY_PASS && link_is_aimed_at(link) && proxy->commits_left-- == 0) {
        mode = proxy->mode;
        proxy->mode = PROXY_PASS;
        proxy->released = false;
        proxy->sprung = true;
        if (proxy->refuses_then && proxy->listener >= 0) {
            (void)close(proxy->listener);
            proxy->listener = -1;
        }
        proxy->refuses_then = false;
        while (mode == PROXY_HOLD && !proxy->released && !proxy->stopping &&
               proxy->generation == link->generation)
            (void)pthread_cond_wait(&proxy->changed, &proxy->lock);
    }
    if (mode != PROXY_CUT_BEFORE)
        proxy->commits++;
    (void)pthread_mutex_unlock(&proxy->lock);
    return mode;
}

/* A whole COMMIT message stands at the start of head. -1: cut both sides. */
static int link_commit(struct link *link, size_t len)
{
    enum proxy_mode mode = link_commit_mode(link);

    if (mode == PROXY_CUT_BEFORE || link_stale(link))
        return -1;
    if (proxy_write(link->server, link->head, len) < 0 || mode == PROXY_CUT_AFTER)
        return -1;
    link->drop_answer = mode == PROXY_DROP_ANSWER;
    return 0;
}

/* ---- from the daemon to the server ---- */

static uint32_t link_u32(const char *p)
{
    uint32_t value;

    memcpy(&value, p, sizeof(value));
    return ntohl(value);
}

/* The start-up packet goes on with names and values, each with its NUL, and ends with another. */
static void link_take_name(struct link *link, size_t len)
{
    static const char name[] = "application_name";
    const char *end = link->head + len;

    for (const char *p = link->head + 8; p < end && *p;) {
        const char *value = p + strnlen(p, (size_t)(end - p)) + 1;

        if (value >= end)
            return;
        if (strcmp(p, name) == 0)
            (void)snprintf(link->application_name, NAME_BYTES, "%s", value);
        p = value + strnlen(value, (size_t)(end - value)) + 1;
    }
}

/* Of a whole Query in head. */
static uint32_t link_copies_to_commit(const struct link *link, size_t len)
{
    static const char end[] = ";COMMIT";
    const char *text = link->head + 5;
    uint32_t copies = 0;

    if (len < 5 + sizeof(end) || strcmp(link->head + len - sizeof(end), end) != 0)
        return 0;
    while ((text = strstr(text, "FROM STDIN"))) {
        copies++;
        text++;
    }
    return copies;
}

/* Bytes of head that can be dealt with now; 0: more is needed. -1: cut. */
static ssize_t link_message(struct link *link)
{
    size_t prefix = link->started ? 5 : 8, len;

    if (link->head_len < prefix)
        return 0;
    len = link_u32(link->head + prefix - (link->started ? 4 : 8)) + (link->started ? 1U : 0U);
    if (!link->started) {
        uint32_t code = link_u32(link->head + 4);

        if (link->head_len < len)
            return 0;
        link->started = code != CODE_SSL && code != CODE_GSS;
        if (link->started)
            link_take_name(link, len);
    } else if (link->head[0] == 'Q' && len <= QUERY_BYTES_MAX) {
        if (link->head_len < len)
            return 0;
        link->copies_to_commit = link_copies_to_commit(link, len);
        if (strncasecmp(link->head + 5, "COMMIT", 6) == 0)
            return link_commit(link, len) < 0 ? -1 : (ssize_t)len;
    } else if (link->head[0] == 'c' && link->copies_to_commit) {
        if (link->head_len < len)
            return 0;
        if (--link->copies_to_commit == 0)
            return link_commit(link, len) < 0 ? -1 : (ssize_t)len;
    }
    if (len > link->head_len) {
        link->pass = len - link->head_len;
        len = link->head_len;
    }
    return proxy_write(link->server, link->head, len) < 0 ? -1 : (ssize_t)len;
}

static int link_from_client(struct link *link)
{
    char chunk[CHUNK_BYTES / 2];
    ssize_t n = recv(link->client, chunk, sizeof(chunk), 0);
    size_t skip;

    if (n <= 0)
        return -1;
    skip = link->pass < (size_t)n ? link->pass : (size_t)n;
    if (skip && proxy_write(link->server, chunk, skip) < 0)
        return -1;
    link->pass -= skip;
    memcpy(link->head + link->head_len, chunk + skip, (size_t)n - skip);
    link->head_len += (size_t)n - skip;
    while (link->head_len) {
        ssize_t done = link_message(link);

        if (done < 0)
            return -1;
        if (done == 0)
            break;
        link->head_len -= (size_t)done;
        memmove(link->head, link->head + done, link->head_len);
    }
    return 0;
}

/* ---- from the server to the daemon ---- */

static int link_from_server(struct link *link)
{
    char chunk[CHUNK_BYTES];
    ssize_t n = recv(link->server, chunk, sizeof(chunk), 0);
    int64_t delay_ms;

    if (n <= 0 || link->drop_answer)
        return -1;
    (void)pthread_mutex_lock(&link->proxy->lock);
    delay_ms = link->proxy->delay_ms;
    (void)pthread_mutex_unlock(&link->proxy->lock);
    for (int64_t end_ms = clock_mono_ms() + delay_ms; clock_mono_ms() < end_ms;) {
        if (link_stale(link))
            return -1;
        wait_nap();
    }
    return proxy_write(link->client, chunk, (size_t)n);
}

static void *link_run(void *ctx)
{
    struct link *link = ctx;
    struct proxy *proxy = link->proxy;

    for (;;) {
        struct pollfd pollers[2] = { { .fd = link->client, .events = POLLIN },
                                     { .fd = link->server, .events = POLLIN } };

        if (poll(pollers, 2, POLL_MS) < 0 && errno != EINTR)
            break;
        if (link_stale(link))
            break;
        if (pollers[1].revents && link_from_server(link) < 0)
            break;
        if (pollers[0].revents && link_from_client(link) < 0)
            break;
    }
    (void)close(link->client);
    (void)close(link->server);
    free(link);
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->connections--;
    (void)pthread_cond_broadcast(&proxy->changed);
    (void)pthread_mutex_unlock(&proxy->lock);
    return NULL;
}

/* ---- accepting ---- */

static void proxy_accept(struct proxy *proxy, int client)
{
    struct link *link = xcalloc(1, sizeof(*link));
    pthread_t thread;

    link->proxy = proxy;
    link->client = client;
    link->server = proxy_socket(proxy->upstream, false);
    if (link->server < 0) { /* the server is away: so are we */
        (void)close(client);
        free(link);
        return;
    }
    (void)pthread_mutex_lock(&proxy->lock);
    link->generation = proxy->generation;
    proxy->connections++;
    (void)pthread_mutex_unlock(&proxy->lock);
    ck_assert_int_eq(pthread_create(&thread, NULL, link_run, link), 0);
    (void)pthread_detach(thread);
}

static void *proxy_run(void *ctx)
{
    struct proxy *proxy = ctx;

    for (;;) {
        struct pollfd poller = { .events = POLLIN };
        int client = -1;
        bool stopping;

        (void)pthread_mutex_lock(&proxy->lock);
        stopping = proxy->stopping;
        poller.fd = proxy->listener;
        (void)pthread_mutex_unlock(&proxy->lock);
        if (stopping)
            return NULL;
        if (poll(&poller, 1, POLL_MS) <= 0)
            continue;
        (void)pthread_mutex_lock(&proxy->lock);
        /* else it was closed meanwhile; another one under its number may have nobody waiting */
        if (proxy->listener == poller.fd)
            client = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);
        (void)pthread_mutex_unlock(&proxy->lock);
        if (client >= 0)
            proxy_accept(proxy, client);
    }
}

static int proxy_listen(const struct proxy *proxy)
{
    AUTO(mem_free) char *path = xasprintf("%s%s", proxy->dir, SOCKET_NAME);
    int fd;

    (void)unlink(path);
    fd = proxy_socket(path, true);
    ck_assert_int_ge(fd, 0);
    return fd;
}

struct proxy *proxy_start(const char *socket_dir)
{
    struct proxy *proxy = xcalloc(1, sizeof(*proxy));

    proxy->dir = temp_dir();
    proxy->upstream = xasprintf("%s%s", socket_dir, SOCKET_NAME);
    (void)pthread_mutex_init(&proxy->lock, NULL);
    (void)pthread_cond_init(&proxy->changed, NULL);
    proxy->listener = proxy_listen(proxy);
    ck_assert_int_eq(pthread_create(&proxy->thread, NULL, proxy_run, proxy), 0);
    return proxy;
}

void proxy_stop(struct proxy *proxy)
{
    if (!proxy)
        return;
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->stopping = true;
    (void)pthread_cond_broadcast(&proxy->changed);
    (void)pthread_mutex_unlock(&proxy->lock);
    (void)pthread_join(proxy->thread, NULL);
    (void)pthread_mutex_lock(&proxy->lock);
    while (proxy->connections)
        (void)pthread_cond_wait(&proxy->changed, &proxy->lock);
    (void)pthread_mutex_unlock(&proxy->lock);
    if (proxy->listener >= 0)
        (void)close(proxy->listener);
    (void)pthread_cond_destroy(&proxy->changed);
    (void)pthread_mutex_destroy(&proxy->lock);
    free(proxy->dir);
    free(proxy->upstream);
    free(proxy);
}

struct proxy *proxy_start_for(const char *dsn, char **through)
{
    AUTO(mem_free) char *database = pg_query_text(dsn, "SELECT current_database()");
    struct proxy *proxy = proxy_start(pg_socket_dir(pg_shared()));

    *through = proxy_dsn(proxy, database);
    return proxy;
}

char *proxy_dsn(const struct proxy *proxy, const char *database)
{
    return xasprintf("host=%s port=5432 user=postgres dbname=%s", proxy->dir, database);
}

/* ---- control ---- */

void proxy_aim(struct proxy *proxy, const char *application_name)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->aim = application_name;
    (void)pthread_mutex_unlock(&proxy->lock);
}

void proxy_arm(struct proxy *proxy, enum proxy_mode mode, uint32_t commits)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->mode = mode;
    proxy->commits_left = commits;
    proxy->sprung = false;
    (void)pthread_mutex_unlock(&proxy->lock);
}

bool proxy_sprung(struct proxy *proxy)
{
    bool sprung;

    (void)pthread_mutex_lock(&proxy->lock);
    sprung = proxy->sprung;
    (void)pthread_mutex_unlock(&proxy->lock);
    return sprung;
}

void proxy_release(struct proxy *proxy)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->released = true;
    (void)pthread_cond_broadcast(&proxy->changed);
    (void)pthread_mutex_unlock(&proxy->lock);
}

void proxy_delay_set(struct proxy *proxy, int64_t ms)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->delay_ms = ms;
    (void)pthread_mutex_unlock(&proxy->lock);
}

void proxy_cut_all(struct proxy *proxy)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->generation++;
    (void)pthread_cond_broadcast(&proxy->changed);
    (void)pthread_mutex_unlock(&proxy->lock);
}

void proxy_refuse_then(struct proxy *proxy)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->refuses_then = true;
    (void)pthread_mutex_unlock(&proxy->lock);
}

void proxy_refuse(struct proxy *proxy, bool refuse)
{
    (void)pthread_mutex_lock(&proxy->lock);
    if (refuse && proxy->listener >= 0) {
        (void)close(proxy->listener);
        proxy->listener = -1;
    } else if (!refuse && proxy->listener < 0) {
        proxy->listener = proxy_listen(proxy);
    }
    (void)pthread_mutex_unlock(&proxy->lock);
    if (refuse)
        proxy_cut_all(proxy);
}

uint32_t proxy_commits(struct proxy *proxy)
{
    uint32_t commits;

    (void)pthread_mutex_lock(&proxy->lock);
    commits = proxy->commits;
    (void)pthread_mutex_unlock(&proxy->lock);
    return commits;
}

uint32_t proxy_connections(struct proxy *proxy)
{
    uint32_t connections;

    (void)pthread_mutex_lock(&proxy->lock);
    connections = proxy->connections;
    (void)pthread_mutex_unlock(&proxy->lock);
    return connections;
}
