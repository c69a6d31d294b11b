#include "tests/bench/load.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum { ANSWER_BYTES_MAX = 1024 * 1024, EVENTS_MAX = 64, SILENCE_MS_MAX = 30000 };

struct load_conn {
    int fd;         /* -1: none */
    bool is_full;   /* the socket takes no more at present */
    const char *at; /* what is left to send */
    size_t left;
    int64_t from_us;
    char answer[ANSWER_BYTES_MAX + 1];
    size_t answer_len;
};

struct load {
    const struct load_options *options;
    struct load_result *result;
    int epoll;
    struct load_conn *conns;
    int *idle; /* a stack of places in conns */
    int idle_len;
    size_t next; /* request */
    int64_t start_us, end_us;
};

void load_requests_init(struct load_requests *requests)
{
    *requests = (struct load_requests){ 0 };
    buf_init(&requests->bytes, SIZE_MAX);
}

void load_requests_done(struct load_requests *requests)
{
    buf_done(&requests->bytes);
    free(requests->ends);
}

void load_requests_add(struct load_requests *requests, const struct buf *head,
                       const struct buf *body)
{
    if (requests->len == requests->cap) {
        requests->cap = requests->cap ? 2 * requests->cap : 1024;
        requests->ends = xreallocarray(requests->ends, requests->cap, sizeof(*requests->ends));
    }
    buf_append(&requests->bytes, head->data, head->len);
    buf_append(&requests->bytes, body->data, body->len);
    requests->ends[requests->len++] = requests->bytes.len;
}

/* ---------------------------------------------------------------------------------- connections */

static void conn_open(struct load *load, int place)
{
    struct load_conn *conn = &load->conns[place];
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)load->options->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = (uint32_t)place };
    int yes = 1;

    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(conn->fd, 0);
    ck_assert_msg(connect(conn->fd, (struct sockaddr *)&address, sizeof(address)) == 0,
                  "connect: %s", strerror(errno));
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    ck_assert_int_eq(epoll_ctl(load->epoll, EPOLL_CTL_ADD, conn->fd, &event), 0);
}

static void conn_close(struct load_conn *conn)
{
    if (conn->fd >= 0)
        (void)close(conn->fd);
    conn->fd = -1;
}

/* Asks to be told when the socket takes more, or no longer. */
static void conn_watch(const struct load *load, int place, bool is_full)
{
    struct load_conn *conn = &load->conns[place];
    struct epoll_event event = { .events = is_full ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                 .data.u32 = (uint32_t)place };

    if (conn->is_full == is_full)
        return;
    conn->is_full = is_full;
    ck_assert_int_eq(epoll_ctl(load->epoll, EPOLL_CTL_MOD, conn->fd, &event), 0);
}

static void conn_send(const struct load *load, int place)
{
    struct load_conn *conn = &load->conns[place];

    while (conn->left) {
        ssize_t n = send(conn->fd, conn->at, conn->left, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            break;
        ck_assert_msg(n > 0, "send: %s", strerror(errno));
        conn->at += n;
        conn->left -= (size_t)n;
    }
    conn_watch(load, place, conn->left > 0);
}

/* Whether the answer is there as a whole. */
static bool conn_answered(const struct load *load, const struct load_conn *conn)
{
    int status = load->options->status ? load->options->status : 200;
    const char *head_end = strstr(conn->answer, "\r\n\r\n");
    const char *length;

    if (!head_end)
        return false;
    ck_assert_msg(strncmp(conn->answer, "HTTP/1.1 ", 9) == 0 &&
                      strtol(conn->answer + 9, NULL, 10) == status,
                  "answer: %s", conn->answer);
    length = strcasestr(conn->answer, "\r\ncontent-length:");
    ck_assert_msg(length && length < head_end, "no length: %s", conn->answer);
    return conn->answer_len ==
           (size_t)(head_end + 4 - conn->answer) + strtoul(length + 17, NULL, 10);
}

/* True: the answer has come. */
static bool conn_receive(const struct load *load, struct load_conn *conn)
{
    ssize_t n = recv(conn->fd, conn->answer + conn->answer_len, ANSWER_BYTES_MAX - conn->answer_len,
                     MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return false;
    ck_assert_msg(n > 0, "the daemon closed a connection: %s", n ? strerror(errno) : conn->answer);
    conn->answer_len += (size_t)n;
    conn->answer[conn->answer_len] = '\0';
    return conn_answered(load, conn);
}

/* ------------------------------------------------------------------------------------- the loop */

static int64_t load_due_us(const struct load *load)
{
    return load->start_us + (int64_t)((double)load->next * 1e6 / load->options->rate);
}

static bool load_is_over(const struct load *load)
{
    return load->next == load->options->requests->len || clock_mono_us() >= load->end_us;
}

static void load_begin(struct load *load, int64_t from_us)
{
    const struct load_requests *requests = load->options->requests;
    int place = load->idle[--load->idle_len];
    struct load_conn *conn = &load->conns[place];
    size_t start = load->next ? requests->ends[load->next - 1] : 0;

    conn->from_us = from_us;
    conn->at = requests->bytes.data + start;
    conn->left = requests->ends[load->next++] - start;
    conn->answer_len = 0;
    if (conn->fd < 0)
        conn_open(load, place);
    conn_send(load, place);
}

/* Begins what can begin now. Returns when the next request is due, INT64_MAX: at some answer. */
static int64_t load_begin_all(struct load *load)
{
    while (load->idle_len && !load_is_over(load)) {
        int64_t from_us = load->options->rate > 0 ? load_due_us(load) : clock_mono_us();

        if (load->options->rate > 0 && from_us > clock_mono_us())
            return from_us;
        load_begin(load, from_us);
    }
    return INT64_MAX;
}

static void load_end(struct load *load, int place)
{
    struct load_conn *conn = &load->conns[place];
    struct load_result *result = load->result;

    result->latency_us[result->answers++] = (uint32_t)(clock_mono_us() - conn->from_us);
    if (load->options->fresh)
        conn_close(conn);
    load->idle[load->idle_len++] = place;
}

static void load_wait(struct load *load, int64_t until_us)
{
    struct epoll_event events[EVENTS_MAX];
    struct timespec timeout = { .tv_sec = SILENCE_MS_MAX / 1000 };
    int n;

    if (until_us != INT64_MAX) {
        int64_t us = until_us - clock_mono_us();

        timeout.tv_sec = us > 0 ? us / 1000000 : 0;
        timeout.tv_nsec = us > 0 ? us % 1000000 * 1000 : 0;
    }
    n = epoll_pwait2(load->epoll, events, EVENTS_MAX, &timeout, NULL);
    ck_assert_msg(n >= 0 || errno == EINTR, "epoll: %s", strerror(errno));
    ck_assert_msg(n != 0 || until_us != INT64_MAX, "no answer for %d ms", SILENCE_MS_MAX);
    for (int i = 0; i < n; i++) {
        int place = (int)events[i].data.u32;

        if (events[i].events & EPOLLOUT)
            conn_send(load, place);
        if ((events[i].events & ~(uint32_t)EPOLLOUT) && conn_receive(load, &load->conns[place]))
            load_end(load, place);
    }
}

static int latency_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

void load_run(const struct load_options *options, struct load_result *result)
{
    struct load load = { .options = options, .result = result };
    int connections = options->connections;

    *result = (struct load_result){
        .latency_us = xcalloc(options->requests->len, sizeof(*result->latency_us)),
    };
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    ck_assert_int_ge(load.epoll, 0);
    load.conns = xcalloc((size_t)connections, sizeof(*load.conns));
    load.idle = xcalloc((size_t)connections, sizeof(*load.idle));
    for (int i = 0; i < connections; i++) {
        load.conns[i].fd = -1;
        if (!options->fresh)
            conn_open(&load, i);
        load.idle[load.idle_len++] = i;
    }
    load.start_us = clock_mono_us();
    load.end_us = options->seconds_max > 0 ? load.start_us + (int64_t)(options->seconds_max * 1e6)
                                           : INT64_MAX;
    while (!load_is_over(&load) || load.idle_len < connections)
        load_wait(&load, load_begin_all(&load));
    result->seconds = (double)(clock_mono_us() - load.start_us) / 1e6;
    for (int i = 0; i < connections; i++)
        conn_close(&load.conns[i]);
    (void)close(load.epoll);
    free(load.conns);
    free(load.idle);
    qsort(result->latency_us, result->answers, sizeof(*result->latency_us), latency_compare);
}

void load_result_done(struct load_result *result)
{
    free(result->latency_us);
}

double load_result_ms(const struct load_result *result, double part)
{
    size_t place = (size_t)(part * (double)result->answers);

    ck_assert_uint_gt(result->answers, 0);
    if (place == result->answers)
        place--;
    return (double)result->latency_us[place] / 1000;
}
