/* An HTTP client of bytes and sockets: what a library would not send, and would not show. */
#ifndef COLLECTOR_CLIENT_H
#define COLLECTOR_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/buf.h"

enum { CLIENT_TIMEOUT_MS = 10000 };

struct answer {
    unsigned status;  /* 0: the connection was closed without one */
    struct buf head;  /* status line and headers */
    struct buf body;  /* chunks joined */
    bool is_complete; /* as long as its head said */
};

void answer_init(struct answer *answer);
void answer_done(struct answer *answer);
static inline void answer_done_auto(struct answer *answer)
{
    answer_done(answer);
}
/* The value of a header, owned, or NULL. */
char *answer_header(const struct answer *answer, const char *name);

/* A connected socket to ADDR:PORT; aborts the test when there is none. */
int client_connect(const char *address);
/* From an IPv4 address of this machine; NULL: any. */
int client_connect_from(const char *from, const char *address);
/* false: the other side has closed. */
bool client_send(int fd, const void *data, size_t len);
bool client_send_text(int fd, const char *text);
/* The next answer on the connection; what was there is forgotten. `no_body`: the answer to a HEAD.
 * Fails the test after CLIENT_TIMEOUT_MS without a byte. */
void client_read(int fd, struct answer *answer, bool no_body);
/* Waits until the other side closes; false when it sends something first or lasts longer. */
bool client_wait_closed(int fd, int timeout_ms);

/* One request on a connection of its own. `headers` are whole lines, "" for none; a body gets its
 * Content-Length. */
void client_ask(const char *address, struct answer *answer, const char *method, const char *path,
                const char *headers, const void *body, size_t len);

#endif
