/* The answer to events: wire.md, "Answer 200". */
#ifndef COLLECTOR_RECEIPT_H
#define COLLECTOR_RECEIPT_H

#include "base/buf.h"
#include "collector/submission.h"

/* Enough for every receipt: EVENT_NOTES_MAX rejects and as many warnings, each text bounded. */
enum { RECEIPT_BYTES_MAX = 2 * 1024 * 1024 };

/* `list` after the committer: what it refused is among the rejects. rejectedCount and warningsCount
 * are there when the list of that name was cut. What was spooled has "spooled" in place of accepted
 * and duplicate. */
void receipt_write(const struct submission *submission, struct buf *out);

#endif
