#include "collector/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Clients open a connection for each prediction, many at one moment; the kernel cuts this down to
 * net.core.somaxconn. */
enum { LISTEN_BACKLOG = 4096 };

/* The host without brackets into `host`; the port, or NULL when there is none. */
static const char *listen_split(const char *where, char *host, size_t host_bytes)
{
    const char *colon = strrchr(where, ':');
    size_t len;

    if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return NULL;
    len = (size_t)(colon - where);
    if (len >= 2 && where[0] == '[' && where[len - 1] == ']') {
        where++;
        len -= 2;
    } else if (memchr(where, ':', len)) {
        return NULL; /* an IPv6 address needs its brackets, or the port is a guess */
    }
    if (len >= host_bytes)
        return NULL;
    memcpy(host, where, len);
    host[len] = '\0';
    return colon + 1;
}

static int listen_fault(struct err *err, const char *where, int error)
{
    switch (error) {
    case EADDRINUSE:
        return err_set(err, ERR_FATAL,
                       "listen %s: address already in use: another plumbline? choose another with "
                       "--listen",
                       where);
    case EACCES:
        return err_set(err, ERR_FATAL,
                       "listen %s: permission denied: ports below 1024 need a privilege, choose "
                       "another with --listen",
                       where);
    case EADDRNOTAVAIL:
        return err_set(err, ERR_FATAL,
                       "listen %s: this machine does not have that address: choose another with "
                       "--listen",
                       where);
    default:
        return err_set(err, ERR_FATAL, "listen %s: %s", where, strerror(error));
    }
}

static int listen_bind(const struct addrinfo *info)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    int on = 1, error;

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
        return fd;
    error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}

static void listen_name(int fd, char address[LISTEN_ADDRESS_BYTES])
{
    struct sockaddr_storage bound = { 0 };
    socklen_t len = sizeof(bound);
    char host[LISTEN_ADDRESS_BYTES - 10] = "?", port[8] = "?";

    (void)getsockname(fd, (struct sockaddr *)&bound, &len);
    (void)getnameinfo((const struct sockaddr *)&bound, len, host, sizeof(host), port, sizeof(port),
                      NI_NUMERICHOST | NI_NUMERICSERV);
    (void)snprintf(address, LISTEN_ADDRESS_BYTES, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
                   port);
}

int listen_open(const char *where, char address[LISTEN_ADDRESS_BYTES], struct err *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    struct addrinfo *found = NULL;
    char host[256];
    const char *port = listen_split(where, host, sizeof(host));
    int fd = -1, rc;

    if (!port)
        return err_set(err, ERR_FATAL, "listen \"%s\": must be ADDRESS:PORT or [ADDRESS]:PORT",
                       where);
    rc = getaddrinfo(*host ? host : NULL, port, &hints, &found);
    if (rc != 0)
        return err_set(err, ERR_FATAL, "listen %s: %s", where, gai_strerror(rc));
    for (const struct addrinfo *info = found; info && fd < 0; info = info->ai_next)
        fd = listen_bind(info);
    if (fd < 0)
        (void)listen_fault(err, where, errno);
    else
        listen_name(fd, address);
    freeaddrinfo(found);
    return fd;
}
