/* What a service manager is told of the daemon: sd_notify's protocol, a datagram of NAME=value
 * lines to the socket that NOTIFY_SOCKET names. libsystemd has it too, and would bring its
 * compressors, cgroups and D-Bus into the process for these forty lines. */
#ifndef COLLECTOR_NOTIFY_H
#define COLLECTOR_NOTIFY_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/attr.h"

struct notify {
    struct sockaddr_un address;
    socklen_t len;       /* 0: nobody wants to know */
    int64_t watchdog_ms; /* we are killed when it hears nothing for so long; 0: we are not */
};

/* Reads the environment and takes what it reads out of it: children are not to speak for us. Before
 * the first thread. */
void notify_init(struct notify *notify);
/* One message; does nothing where nobody listens. Never blocks: a message that can't be sent is
 * dropped. */
void notify_send(const struct notify *notify, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
