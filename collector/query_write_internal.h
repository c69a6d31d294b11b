/* A change of the graph that a client asks for: read from its body, tried until it is known what
 * became of it, and answered. */
#ifndef COLLECTOR_QUERY_WRITE_INTERNAL_H
#define COLLECTOR_QUERY_WRITE_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/uuid.h"
#include "collector/query_atlas_internal.h"
#include "collector/store_entity_internal.h"

/* What an answer may have, beside the body and what is read of it. */
enum { WRITE_ANSWER_BYTES_MAX = 64 * 1024 * 1024 };

struct write;

/* One attempt, under the graph lock: changes the graph and writes the answer. May run again, from
 * the beginning: the same seed makes the same guids of it. */
typedef int write_attempt(struct write *write, struct entity_writer *writer);

struct write {
    struct atlas *atlas; /* borrowed */
    write_attempt *attempt;
    void *ctx;
    json_t *body; /* owned; NULL: none */
    struct uuid seed;
    struct buf answer;
    unsigned status;
    int64_t batch_id; /* of the attempt before this one; 0: it has none */
    bool is_again;    /* an attempt before this one may have been committed */
    bool has_written; /* the attempt: something besides a change of the graph is to be committed */
};

void write_init(struct write *write, struct atlas *atlas, write_attempt *attempt, void *ctx);
void write_done(struct write *write);
static inline void write_done_auto(struct write *write) /* AUTO(write_done) */
{
    write_done(write);
}

/* Reads the request's body into write->body: any JSON. Its memory is of the budget. */
int write_read_body(struct write *write) MUST_CHECK;
/* Runs the attempt in a transaction, and what it wrote is the answer. */
int write_run(struct write *write) MUST_CHECK;

/* The header of each entity, as an array. */
int write_headers(struct write *write, struct entity_writer *writer, const int64_t *ids,
                  size_t len) MUST_CHECK;

#endif
