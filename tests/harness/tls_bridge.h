/* A socket with TLS behind it: what a test writes goes out encrypted, and what comes is decrypted,
 * so that tests that write bytes as they like run over TLS too.
 *
 *   test <── socket pair ──> thread <── TLS ──> server
 *
 * A half closed side is closed on the other; one that is not read is not read there either. */
#ifndef HARNESS_TLS_BRIDGE_H
#define HARNESS_TLS_BRIDGE_H

#include "base/attr.h"

struct certificate;

/* Takes a connected socket; `client` is the certificate to show, may be NULL. The handshake is not
 * waited for: one that fails closes the socket. */
int tls_bridge_open(int tcp, const char *ca, const struct certificate *client) MUST_CHECK;

#endif
