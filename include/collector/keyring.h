/* The keys that the daemon knows: a copy of the table api_key, brought up to date every second by a
 * thread of its own, so that a request asks nobody. While Postgres is away the copy holds. */
#ifndef COLLECTOR_KEYRING_H
#define COLLECTOR_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/span.h"
#include "collector/key.h"
#include "collector/rate.h"
#include "collector/read.h"

/* In the table, those that are not revoked. */
enum { KEYS_MAX = 10000 };

#define KEY_NEVER INT64_MAX
/* Of struct key: as the configuration says. */
#define KEY_RATE_DEFAULT INT64_C(-1)

/* Const, but for what is marked. */
struct key {
    char id[KEY_ID_BYTES];
    char *name; /* owned; of no other key that is not revoked */
    unsigned char hash[KEY_HASH_BYTES];
    unsigned scopes;         /* of enum key_scope */
    struct strings prefixes; /* of the CRNs that it is restricted to; empty: it is not */
    int64_t expires_ms;      /* since 1970; KEY_NEVER */
    int64_t requests_per_s;  /* 0: as many as it likes; KEY_RATE_DEFAULT */

    struct rate rate;        /* any thread */
    _Atomic int64_t used_ms; /* any thread: since 1970, the last use here; 0: none */
    int64_t noted_ms;        /* the refreshing thread: what of it is in the table */
    _Atomic uint32_t refs;
};

/* With one reference. */
struct key *key_new(void);
void key_unref(struct key *key); /* accepts NULL */
AUTO_DEFINE(struct key, key_unref);
struct key *key_ref(struct key *key);
/* Whether the key may name, post and read what has this CRN. */
bool key_allows_crn(const struct key *key, struct span crn);

struct query;
/* Whether who asks may read what has this CRN. */
bool query_allows_crn(const struct query *query, struct span crn);

struct keyring;

struct keyring *keyring_new(void);
void keyring_free(struct keyring *keyring);
AUTO_DEFINE(struct keyring, keyring_free);

/* ---- any thread ---- */

enum key_verdict { KEY_GOOD, KEY_UNKNOWN, KEY_EXPIRED };

/* Looks at a key's text and notes its use. KEY_GOOD, KEY_EXPIRED: *key has a reference more. */
enum key_verdict keyring_check(struct keyring *keyring, struct span text, int64_t now_ms,
                               struct key **key) MUST_CHECK;
/* How old the copy is: when the table was last asked. INT64_MAX: never. */
int64_t keyring_age_ms(struct keyring *keyring, int64_t now_mono_ms);

/* ---- the refreshing thread ---- */

/* What stands for the state of the table that is here, any other for another; -1: none. */
int64_t keyring_version(const struct keyring *keyring);
/* Takes keys in ascending order of id, read from that version or a later one. asked_mono_ms: from
 * before they were read. What is known of the use of a key goes on. */
void keyring_replace(struct keyring *keyring, struct key **keys, size_t len, int64_t version,
                     int64_t asked_mono_ms);
/* The table was asked, and is as it was. */
void keyring_confirm(struct keyring *keyring, int64_t asked_mono_ms);
size_t keyring_len(const struct keyring *keyring);
/* The i-th key; borrowed until the next keyring_replace. */
struct key *keyring_at(const struct keyring *keyring, size_t i);

#endif
