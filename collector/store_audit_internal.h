/* What was done to an entity, and how many entities there are. */
#ifndef COLLECTOR_STORE_AUDIT_INTERNAL_H
#define COLLECTOR_STORE_AUDIT_INTERNAL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "atlas/classification.h"
#include "atlas/entity_json.h"
#include "base/attr.h"
#include "base/err.h"

enum audit_order { AUDIT_BY_TIME, AUDIT_BY_USER, AUDIT_BY_ACTION };

struct audit_request {
    const struct type_registry *types;
    const struct entity *entity;
    const char *action; /* NULL: any */
    int64_t batch_min;  /* none that is earlier */
    int64_t batch_max;  /* none that is later */
    enum audit_order order;
    bool is_ascending;
    int64_t limit, offset;
};

struct audit_event {
    const char *action, *user;
    int64_t recorded_ms, batch_id;
    const struct entity *entity; /* as it was afterwards */
    const char *subject;         /* a type: what was done to a classification; "": to the entity */
    const struct classification *classification; /* as it was made; NULL: it was not */
};

/* One event; all is borrowed for the call. -1 with err set ends the reading. */
typedef int audit_found(void *ctx, const struct audit_event *event, struct err *err);

/* In the reader's transaction. */
int store_audit_read(PGconn *conn, const struct audit_request *request, audit_found *found,
                     void *ctx, struct err *err) MUST_CHECK;

/* Active or deleted entities of a type; the name is borrowed for the call. */
typedef void audit_counted(void *ctx, const char *type, bool is_deleted, int64_t count);

/* In the reader's transaction. */
int store_audit_count(PGconn *conn, audit_counted *counted, void *ctx, struct err *err) MUST_CHECK;
/* Likewise how many active and deleted entities have a classification themselves. */
int store_audit_count_tags(PGconn *conn, audit_counted *counted, void *ctx,
                           struct err *err) MUST_CHECK;

#endif
