/* `plumbline ingest`: files of events or bare rows into batches, batches to the server, in order.
 *
 *   line -> event -> batch -> POST /v1/events -> counts, and a line for every event refused
 *
 * A batch is sent again only when that can't count anything twice: the server said "not stored"
 * (429, 503), the request can't have arrived, or each of its events has an identity. */
#ifndef COLLECTOR_INGEST_INTERNAL_H
#define COLLECTOR_INGEST_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "client_internal.h"

struct ingest_options {
    const char *url;
    struct client_tls tls;
    int64_t batch_events;
    int64_t batch_bytes;
    int64_t retry_for_ms; /* how long one batch is tried again */
    bool gzip;
    bool retry_unsure;
};

struct ingest_counts {
    uint64_t events; /* lines that are not empty */
    uint64_t bytes;  /* of them */
    uint64_t accepted;
    uint64_t duplicate;
    uint64_t rejected;
    uint64_t
        spooled; /* taken while the server's database was away: it tells later what they were */
};

struct ingest;

/* Takes the client. `messages` is borrowed; `is_terminal`: a line of progress is redrawn there. */
struct ingest *ingest_new(const struct ingest_options *options, struct client *client,
                          FILE *messages, bool is_terminal);
void ingest_free(struct ingest *ingest);
AUTO_DEFINE(struct ingest, ingest_free);

/* Sends the lines of a file, or of standard input for "-"; a batch may wait for the next file. */
int ingest_file(struct ingest *ingest, const char *path, struct err *err) MUST_CHECK;
/* Sends what waits. */
int ingest_finish(struct ingest *ingest, struct err *err) MUST_CHECK;
/* The last line: what became of all. */
void ingest_summary(struct ingest *ingest);
struct ingest_counts ingest_counts(const struct ingest *ingest);

/* Appends one line of a file as an event and a line feed: an event, and whatever can't be told, as
 * it stands; a row without "event" with the event that its members make it. true: it has an
 * identity, so that sending it twice counts once. */
bool ingest_event_write(struct buf *out, struct span line);

#endif
