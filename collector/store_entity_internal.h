/* What clients want of the graph (atlas/entity_input.h) goes into it. All of this in a transaction
 * that entity_begin has begun: under the GRAPH lock nothing that is looked up can change before
 * COMMIT. */
#ifndef COLLECTOR_STORE_ENTITY_INTERNAL_H
#define COLLECTOR_STORE_ENTITY_INTERNAL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "atlas/entity_input.h"
#include "atlas/type_def.h"
#include "base/attr.h"
#include "base/err.h"
#include "base/map.h"
#include "base/span.h"
#include "base/uuid.h"

/* So many entities go with those that a request deletes, at most. */
enum { ENTITY_REMOVE_MAX = 20000 };

enum entity_change { ENTITY_MADE, ENTITY_CHANGED, ENTITY_REMOVED, ENTITY_CHANGES };

/* Entities that a write has changed, each once, by entity_id. */
struct entity_changes {
    int64_t *ids[ENTITY_CHANGES]; /* owned */
    size_t len[ENTITY_CHANGES];
};

void entity_changes_done(struct entity_changes *changes);
static inline void entity_changes_done_auto(struct entity_changes *changes)
{
    entity_changes_done(changes); /* AUTO(entity_changes_done) */
}

/* A write under way. */
struct entity_writer {
    PGconn *conn; /* borrowed, as is all */
    const struct type_registry *types;
    const char *user;
    bool makes_shells; /* whom a reference names and nobody has is made, as a shell; else refused */
    int64_t batch_id;  /* 0: nothing is written yet */
    struct entity_fault *fault; /* status 0: err says why it failed */
    struct err *err;
};

/* BEGIN, and the GRAPH lock; ERR_RETRY when that takes longer than wait_ms_max. */
int entity_begin(PGconn *conn, int64_t wait_ms_max, struct err *err) MUST_CHECK;

/* Makes and changes what the input says, all or nothing. What changes nothing writes nothing: then
 * batch_id stays 0. */
int entity_store(struct entity_writer *writer, struct entity_input *input,
                 struct entity_changes *changes) MUST_CHECK;

/* Deletes the entities, what they own and their relationships. Those that are not there or deleted
 * are no error. */
int entity_remove(struct entity_writer *writer, const int64_t *ids, size_t len,
                  struct entity_changes *changes) MUST_CHECK;
/* The ids of those that are there, deleted or not. *ids is owned. */
int entity_find_guids(PGconn *conn, const struct uuid *guids, size_t len, int64_t **ids,
                      size_t *ids_len, struct err *err) MUST_CHECK;

/* An entity by its type, or one that inherits from it, and its key. */
struct entity_name {
    const struct type *type;
    char *key;  /* owned by whoever asks */
    int64_t id; /* 0: nobody has it */
    struct uuid guid;
    const struct type *found; /* its own type */
};

/* Finds those that are there and not deleted. */
int entity_find_names(struct entity_writer *writer, struct entity_name *names,
                      size_t len) MUST_CHECK;

/* ---- relationships by themselves */

struct relationship {
    int64_t id;
    char guid[UUID_TEXT_LEN + 1];
    const struct type *type; /* borrowed */
    int64_t ends[2];
    bool is_deleted;
    bool by_client;
    json_t *attributes; /* owned; NULL: none */
    char *created_by;   /* owned, as is the next */
    char *updated_by;
    int64_t created_ms, updated_ms;
};

void relationship_done(struct relationship *relationship);
static inline void relationship_done_auto(struct relationship *relationship)
{
    relationship_done(relationship); /* AUTO(relationship_done) */
}

/* *found: whether there is one, as it stands. */
int relationship_read(PGconn *conn, const struct type_registry *types, const struct uuid *guid,
                      struct relationship *relationship, bool *found, struct err *err) MUST_CHECK;
/* Makes the one edge of the input under that guid. One that is there already is 409. */
int relationship_make(struct entity_writer *writer, struct entity_input *input,
                      const struct uuid *guid) MUST_CHECK;
/* Gives it these attributes in the place of those that it has; NULL: none. */
int relationship_change(struct entity_writer *writer, const struct relationship *relationship,
                        const json_t *attributes) MUST_CHECK;
int relationship_remove(struct entity_writer *writer,
                        const struct relationship *relationship) MUST_CHECK;

/* ---- what store_entity.c and store_relationship.c share */

/* A write of the graph's own begins with its first change. The batch's number as text. */
int writer_begin(struct entity_writer *writer, char number[24]) MUST_CHECK;
/* Finds those of the input's nodes that are there. */
int writer_resolve_nodes(struct entity_writer *writer, struct entity_input *input) MUST_CHECK;
/* Makes the input's edges that are not there, and notes in `touched` whose they are. */
int writer_write_edges(struct entity_writer *writer, struct entity_input *input,
                       struct map *touched) MUST_CHECK;

/* Of an entity_id, in maps. */
static inline struct span writer_key(const int64_t *id)
{
    return (struct span){ (const char *)id, sizeof(*id) };
}

#endif
