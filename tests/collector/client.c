#include "client.h"

#include <arpa/inet.h>
#include <check.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tests/harness/certificate.h"
#include "tests/harness/tls_bridge.h"

enum { CLIENT_BYTES_MAX = 512 * 1024 * 1024 };

void answer_init(struct answer *answer)
{
    *answer = (struct answer){ 0 };
    buf_init(&answer->head, CLIENT_BYTES_MAX);
    buf_init(&answer->body, CLIENT_BYTES_MAX);
}

void answer_done(struct answer *answer)
{
    buf_done(&answer->head);
    buf_done(&answer->body);
}

char *answer_header(const struct answer *answer, const char *name)
{
    const char *line = answer->head.data, *end = line + answer->head.len;
    size_t len = strlen(name);

    while (line < end) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        const char *value = line + len + 1;

        if (!next)
            break;
        if ((size_t)(next - line) > len && strncasecmp(line, name, len) == 0 && line[len] == ':') {
            value += strspn(value, " ");
            return xmemdup0(value, (size_t)(next - value) - 1);
        }
        line = next + 1;
    }
    return NULL;
}

int client_connect(const char *address)
{
    return client_connect_from(NULL, address);
}

int client_connect_from(const char *from, const char *address)
{
    struct sockaddr_in source = { .sin_family = AF_INET };
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST }, *info;
    const char *colon = strrchr(address, ':');
    AUTO(mem_free) char *host = xmemdup0(address, (size_t)(colon - address));
    int fd;

    ck_assert_int_eq(getaddrinfo(host, colon + 1, &hints, &info), 0);
    fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    if (from) {
        ck_assert_int_eq(inet_pton(AF_INET, from, &source.sin_addr), 1);
        ck_assert_int_eq(bind(fd, (const struct sockaddr *)&source, sizeof(source)), 0);
    }
    ck_assert_int_eq(connect(fd, info->ai_addr, info->ai_addrlen), 0);
    freeaddrinfo(info);
    return tls_wanted() ? tls_bridge_open(fd, tls_authority_path(), NULL) : fd;
}

bool client_send(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);

        if (sent < 0)
            return false;
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

bool client_send_text(int fd, const char *text)
{
    return client_send(fd, text, strlen(text));
}

/* One byte or more into `into`; 0 at the end of the connection. */
static size_t client_receive(int fd, struct buf *into, size_t max)
{
    struct pollfd pollfd = { .fd = fd, .events = POLLIN };
    char *room = buf_reserve(into, max);
    ssize_t got;

    ck_assert_msg(poll(&pollfd, 1, CLIENT_TIMEOUT_MS) == 1, "no byte in %d ms", CLIENT_TIMEOUT_MS);
    got = recv(fd, room, max, 0);
    if (got <= 0)
        return 0;
    into->len += (size_t)got;
    return (size_t)got;
}

/* Byte by byte, so that nothing of what follows is taken. */
static bool client_read_line(int fd, struct buf *line)
{
    do {
        if (!client_receive(fd, line, 1))
            return false;
    } while (line->data[line->len - 1] != '\n');
    return true;
}

static bool client_read_bytes(int fd, struct buf *into, size_t len)
{
    while (len) {
        size_t got = client_receive(fd, into, len < 65536 ? len : 65536);

        if (!got)
            return false;
        len -= got;
    }
    return true;
}

static bool client_read_chunks(int fd, struct buf *body)
{
    size_t len;

    do {
        AUTO(buf_done) struct buf line;

        buf_init(&line, 4096);
        if (!client_read_line(fd, &line))
            return false;
        len = strtoul(buf_text(&line), NULL, 16);
        if (!client_read_bytes(fd, body, len))
            return false;
        buf_clear(&line);
        if (!client_read_line(fd, &line))
            return false;
    } while (len);
    return true;
}

static bool client_read_body(int fd, struct answer *answer)
{
    AUTO(mem_free) char *length = answer_header(answer, "Content-Length");
    AUTO(mem_free) char *coding = answer_header(answer, "Transfer-Encoding");

    if (coding)
        return client_read_chunks(fd, &answer->body);
    if (length)
        return client_read_bytes(fd, &answer->body, strtoul(length, NULL, 10));
    while (client_receive(fd, &answer->body, 65536))
        ;
    return true;
}

void client_read(int fd, struct answer *answer, bool no_body)
{
    size_t line;

    do {
        buf_clear(&answer->head);
        buf_clear(&answer->body);
        answer->status = 0;
        answer->is_complete = false;
        do {
            line = answer->head.len;
            if (!client_read_line(fd, &answer->head))
                return;
        } while (strncmp(answer->head.data + line, "\r\n", 2) != 0);
        answer->status = (unsigned)strtoul(buf_text(&answer->head) + strlen("HTTP/1.1 "), NULL, 10);
    } while (answer->status == 100);
    answer->is_complete = no_body || client_read_body(fd, answer);
}

bool client_wait_closed(int fd, int timeout_ms)
{
    struct pollfd pollfd = { .fd = fd, .events = POLLIN };
    char byte;

    return poll(&pollfd, 1, timeout_ms) == 1 && recv(fd, &byte, 1, 0) <= 0;
}

void client_ask(const char *address, struct answer *answer, const char *method, const char *path,
                const char *headers, const void *body, size_t len)
{
    AUTO(mem_free)
    char *head =
        body ? xasprintf("%s %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %zu\r\n\r\n",
                         method, path, headers, len)
             : xasprintf("%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", method, path, headers);
    int fd = client_connect(address);

    ck_assert(client_send_text(fd, head));
    if (body)
        (void)client_send(fd, body, len); /* a refused body need not be taken to its end */
    client_read(fd, answer, strcmp(method, "HEAD") == 0);
    (void)close(fd);
}
