/* The listening socket: what "127.0.0.1:8190" means, and errors that say what to do. */
#ifndef COLLECTOR_LISTEN_H
#define COLLECTOR_LISTEN_H

#include "base/attr.h"
#include "base/err.h"

enum { LISTEN_ADDRESS_BYTES = 80 };

/* Opens ADDR:PORT or [ADDR]:PORT (ADDR numeric or a name, port 0 picks one); `address` gets what
 * was bound. The socket, or -1 and ERR_FATAL. */
int listen_open(const char *where, char address[LISTEN_ADDRESS_BYTES], struct err *err) MUST_CHECK;

#endif
