/* Base64 (RFC 4648 section 4): the standard alphabet, padded, no line breaks. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/attr.h"
#include "base/buf.h"
#include "base/span.h"

/* Appends 4 characters for each 3 bytes begun. */
void base64_encode(struct span bytes, struct buf *out);
/* Appends the bytes. -1: `text` is not what base64_encode makes of any bytes; `out` is then as it
 * was. When they don't fit, out->full says so. */
int base64_decode(struct span text, struct buf *out) MUST_CHECK;

#endif
