/* gzip (RFC 1952) from memory to memory. */
#ifndef BASE_GZIP_H
#define BASE_GZIP_H

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

/* Appends one member with `bytes` in it; the same bytes always give the same. When it does not fit,
 * out->full says so and nothing is appended. */
void gzip_deflate(struct span bytes, struct buf *out);
/* Appends what is in all members. Nothing is inflated beyond out->max: out->full then says so, and
 * what was appended is only the beginning. -1, ERR_INPUT: not gzip, cut short, wrong checksum,
 * bytes behind the end. */
int gzip_inflate(struct span bytes, struct buf *out, struct err *err) MUST_CHECK;

#endif
