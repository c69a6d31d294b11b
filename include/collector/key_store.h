/* The tables api_key and admin_audit: for the command that makes and revokes keys, and for the
 * daemon's copy of them. */
#ifndef COLLECTOR_KEY_STORE_H
#define COLLECTOR_KEY_STORE_H

#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "collector/keyring.h"

struct store;

/* ---- the command's ---- */

struct key_store;

/* Connects. `actor` (who is at the command) is borrowed until it is closed. ERR_RETRY: the server
 * is away. */
struct key_store *key_store_open(const char *dsn, const char *actor, struct err *err) MUST_CHECK;
void key_store_close(struct key_store *store);
AUTO_DEFINE(struct key_store, key_store_close);

/* ERR_INPUT: there are KEYS_MAX, or one of this name. */
int key_store_create(struct key_store *store, const struct key *key, struct err *err) MUST_CHECK;
/* *was_revoked: it had been already. ERR_INPUT: there is none. */
int key_store_revoke(struct key_store *store, const char *id, bool *was_revoked,
                     struct err *err) MUST_CHECK;

/* A row of api_key as texts, borrowed for the call. */
struct key_row {
    const char *id, *name, *scopes;
    const char *prefixes;                      /* with commas between; "" when there are none */
    const char *rate;                          /* "" when it is as configured */
    const char *created, *expires, *last_used; /* "2026-11-21T10:00:00Z"; "never" */
    const char *state;                         /* "good", "expired", "revoked" */
};
/* By the time of making; with `all` those that are revoked as well. Until fn returns -1. */
int key_store_list(struct key_store *store, bool all,
                   int (*fn)(void *ctx, const struct key_row *row), void *ctx,
                   struct err *err) MUST_CHECK;

struct admin_row {
    const char *at, *actor, *action, *subject;
    const char *details; /* JSON */
};
/* The last `max`, from the oldest. */
int admin_audit_list(struct key_store *store, int64_t max,
                     int (*fn)(void *ctx, const struct admin_row *row), void *ctx,
                     struct err *err) MUST_CHECK;

/* ---- the daemon's ---- */

/* Fills the ring, before anybody needs it. */
int keyring_load(struct keyring *keyring, const char *dsn, struct err *err) MUST_CHECK;
/* A round of background work, as those of store.h: asks whether the table has changed, reads it if
 * so, and once in a minute notes which keys were used. */
int store_keys(struct store *store, int64_t now_ms, bool *more, struct err *err) MUST_CHECK;

#endif
