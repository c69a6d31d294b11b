/* The database as the rest of the daemon sees it: made and migrated, batches committed,
 * maintenance. */
#ifndef COLLECTOR_STORE_H
#define COLLECTOR_STORE_H

#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "collector/catalog.h"
#include "collector/config.h"
#include "collector/stats.h"

struct balance;
struct batch;
struct keyring;
struct partitions;
struct publisher;
struct type_cache;

/* Brings the database to the version of this binary, one daemon at a time, each migration in a
 * transaction of its own. ERR_FATAL: the database is newer than the binary, not UTF-8, older
 * than PostgreSQL 13, or was made with other settings. ERR_RETRY: the server is away. */
int store_migrate(const char *dsn, const struct config *config, struct err *err) MUST_CHECK;

/* What all stores of a daemon share. Borrowed by each. */
struct store_setup {
    const char *dsn;
    const struct config *config;
    struct catalog *catalog;
    struct partitions *partitions;
    struct stats *stats;
    struct type_cache *types;
    struct publisher *publisher; /* NULL: lineage messages are not published */
    struct keyring *keyring;     /* NULL: keys are not asked for */
};

/* One connection that writes, made when first needed and again after it broke. Belongs to one
 * thread, except for store_interrupt. */
struct store;

struct store *store_new(const struct store_setup *setup, const char *role);
void store_free(struct store *store);
AUTO_DEFINE(struct store, store_free);

enum store_result {
    STORE_COMMITTED,  /* the fates of the batch's rows are what Postgres says */
    STORE_NOT_STORED, /* nothing of it is stored and never will be; err says why */
    STORE_FENCED,  /* the same, because of the submissions whose outcome is SUBMISSION_FENCED: the
                         others can go at once */
    STORE_UNKNOWN, /* the connection broke during COMMIT: ask store_settle until it knows */
};

/* Commits the batch in one transaction, whatever it takes short of a server that is away:
 * deployments and partitions made before, the slow path for duplicates, look-ups repeated, an
 * event that Postgres refuses found and rejected alone. */
enum store_result store_commit(struct store *store, struct batch *batch,
                               struct err *err) MUST_CHECK;
/* Whether a batch whose COMMIT got no answer is in. STORE_UNKNOWN: the server can't be asked
 * now. */
enum store_result store_settle(struct store *store, struct batch *batch,
                               struct err *err) MUST_CHECK;

/* Background work, each call one short round: joins labels that wait to their predictions, folds
 * the ledger, makes partitions ahead, sets gauges. ERR_RETRY: the server is away, or somebody
 * else was faster. *more: there was so much to do that the next round should follow at once. */
int store_maintain(struct store *store, int64_t now_ms, bool *more, struct err *err) MUST_CHECK;

/* The same for rollups: folds what is pending, counts anew what was corrected. */
int store_fold(struct store *store, int64_t now_ms, bool *more, struct err *err) MUST_CHECK;

/* The same for lineage messages, with a publisher: sends the next ones, if this daemon is the one
 * that does, or waits a little for those that are on their way. */
int store_relay(struct store *store, int64_t now_ms, bool *more, struct err *err) MUST_CHECK;

/* A connection that has to be made first is given up after `ms`, if that is less than the usual 10
 * seconds, but not before 2 (libpq's least); unless the DSN says how long. */
void store_hurry(struct store *store, int64_t ms);

/* Any thread: breaks the connection of a store whose call has been under way for longer than
 * age_ms_max, so that it returns. true: it did. */
bool store_interrupt(struct store *store, int64_t now_mono_ms, int64_t age_ms_max);

/* The books, from the ledger. */
int store_balance_read(const char *dsn, struct balance *balance, struct err *err) MUST_CHECK;

#endif
