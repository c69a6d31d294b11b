#include "tls_bridge.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "certificate.h"

enum { PIECE_BYTES = 16 * 1024 };

struct piece {
    char bytes[PIECE_BYTES];
    size_t at, len; /* what is left of it */
};

struct bridge {
    int tcp, plain;
    gnutls_session_t session;
    gnutls_certificate_credentials_t credentials;
    struct piece up, down;
    bool plain_ended, plain_gone, tls_ended, said_bye;
};

static bool bridge_again(long rc)
{
    return rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED;
}

/* Reads while there is room for it; true: something moved. */
static bool bridge_up(struct bridge *bridge)
{
    struct piece *up = &bridge->up;
    ssize_t n;

    if (!up->len && !bridge->plain_ended) {
        n = recv(bridge->plain, up->bytes, PIECE_BYTES, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            bridge->plain_ended = true;
        up->at = 0;
        up->len = n > 0 ? (size_t)n : 0;
    }
    if (up->len) {
        n = gnutls_record_send(bridge->session, up->bytes + up->at, up->len);
        if (n < 0 && !bridge_again(n))
            bridge->tls_ended = true;
        if (n <= 0)
            return false;
        up->at += (size_t)n;
        up->len -= (size_t)n;
        return true;
    }
    if (bridge->plain_ended && !bridge->said_bye) {
        bridge->said_bye = true;
        (void)gnutls_bye(bridge->session, GNUTLS_SHUT_WR);
        (void)shutdown(bridge->tcp, SHUT_WR);
    }
    return false;
}

static bool bridge_down(struct bridge *bridge)
{
    struct piece *down = &bridge->down;
    ssize_t n;

    if (!down->len && !bridge->tls_ended) {
        n = gnutls_record_recv(bridge->session, down->bytes, PIECE_BYTES);
        if (n == 0 || (n < 0 && !bridge_again(n) && gnutls_error_is_fatal((int)n)))
            bridge->tls_ended = true;
        down->at = 0;
        down->len = n > 0 ? (size_t)n : 0;
    }
    if (!down->len)
        return false;
    n = send(bridge->plain, down->bytes + down->at, down->len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        bridge->plain_gone = true;
    if (n <= 0)
        return false;
    down->at += (size_t)n;
    down->len -= (size_t)n;
    return true;
}

/* Until one side can go on. */
static void bridge_wait(struct bridge *bridge, bool is_shaking)
{
    struct pollfd fds[2] = { { .fd = bridge->plain_gone ? -1 : bridge->plain },
                             { .fd = bridge->tcp } };

    if (is_shaking) {
        fds[1].events = gnutls_record_get_direction(bridge->session) ? POLLOUT : POLLIN;
    } else {
        fds[0].events = (short)((bridge->up.len || bridge->plain_ended ? 0 : POLLIN) |
                                (bridge->down.len ? POLLOUT : 0));
        fds[1].events = (short)((bridge->down.len || bridge->tls_ended ? 0 : POLLIN) |
                                (bridge->up.len ? POLLOUT : 0));
    }
    (void)poll(fds, 2, -1);
    if (fds[0].revents & POLLHUP)
        bridge->plain_gone = true;
}

static bool bridge_shake(struct bridge *bridge)
{
    int rc;

    while ((rc = gnutls_handshake(bridge->session)) < 0) {
        if (bridge_again(rc))
            bridge_wait(bridge, true);
        else if (gnutls_error_is_fatal(rc))
            return false;
        if (bridge->plain_gone)
            return false;
    }
    return true;
}

static void *bridge_run(void *arg)
{
    struct bridge *bridge = arg;

    if (bridge_shake(bridge)) {
        while (!(bridge->tls_ended && !bridge->down.len)) {
            bool moved = bridge_up(bridge);

            if (!bridge->plain_gone)
                moved = bridge_down(bridge) || moved;
            if (bridge->plain_gone && !bridge->up.len && bridge->plain_ended)
                break;
            if (!moved && !(bridge->tls_ended && !bridge->down.len))
                bridge_wait(bridge, false);
        }
    }
    (void)close(bridge->tcp);
    (void)close(bridge->plain);
    gnutls_deinit(bridge->session);
    gnutls_certificate_free_credentials(bridge->credentials);
    free(bridge);
    return NULL;
}

int tls_bridge_open(int tcp, const char *ca, const struct certificate *client)
{
    struct bridge *bridge = xcalloc(1, sizeof(*bridge));
    pthread_attr_t detached;
    pthread_t thread;
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    (void)fcntl(fds[1], F_SETFL, O_NONBLOCK);
    (void)fcntl(tcp, F_SETFL, O_NONBLOCK);
    bridge->tcp = tcp;
    bridge->plain = fds[1];
    ck_assert_int_eq(gnutls_certificate_allocate_credentials(&bridge->credentials), 0);
    ck_assert_int_gt(gnutls_certificate_set_x509_trust_file(bridge->credentials, ca,
                                                            GNUTLS_X509_FMT_PEM),
                     0);
    if (client)
        ck_assert_int_ge(gnutls_certificate_set_x509_key_file(bridge->credentials, client->path,
                                                              client->key, GNUTLS_X509_FMT_PEM),
                         0);
    ck_assert_int_eq(gnutls_init(&bridge->session,
                                 GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL),
                     0);
    ck_assert_int_eq(gnutls_set_default_priority(bridge->session), 0);
    ck_assert_int_eq(gnutls_credentials_set(bridge->session, GNUTLS_CRD_CERTIFICATE,
                                            bridge->credentials),
                     0);
    gnutls_session_set_verify_cert(bridge->session, "127.0.0.1", 0);
    gnutls_transport_set_int(bridge->session, tcp);
    (void)pthread_attr_init(&detached);
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    ck_assert_int_eq(pthread_create(&thread, &detached, bridge_run, bridge), 0);
    (void)pthread_attr_destroy(&detached);
    return fds[0];
}
