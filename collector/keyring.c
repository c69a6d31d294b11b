#include "collector/keyring.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/query.h"

struct keyring {
    pthread_mutex_t lock;
    struct key **keys;     /* guarded by lock; ascending by id */
    size_t len;            /* likewise */
    int64_t asked_mono_ms; /* likewise; INT64_MIN: never */
    int64_t version;       /* the refreshing thread's */
};

struct key *key_new(void)
{
    struct key *key = xcalloc(1, sizeof(*key));

    key->expires_ms = KEY_NEVER;
    key->requests_per_s = KEY_RATE_DEFAULT;
    key->refs = 1;
    return key;
}

struct key *key_ref(struct key *key)
{
    atomic_fetch_add_explicit(&key->refs, 1, memory_order_relaxed);
    return key;
}

void key_unref(struct key *key)
{
    if (!key || atomic_fetch_sub_explicit(&key->refs, 1, memory_order_acq_rel) > 1)
        return;
    strings_done(&key->prefixes);
    free(key->name);
    free(key);
}

bool key_allows_crn(const struct key *key, struct span crn)
{
    for (size_t i = 0; i < key->prefixes.len; i++) {
        struct span prefix = span_of(key->prefixes.items[i]);

        if (crn.len >= prefix.len && memcmp(crn.data, prefix.data, prefix.len) == 0)
            return true;
    }
    return !key->prefixes.len;
}

bool query_allows_crn(const struct query *query, struct span crn)
{
    return !query->key || key_allows_crn(query->key, crn);
}

struct keyring *keyring_new(void)
{
    struct keyring *keyring = xcalloc(1, sizeof(*keyring));

    pthread_mutex_init(&keyring->lock, NULL);
    keyring->asked_mono_ms = INT64_MIN;
    keyring->version = -1;
    return keyring;
}

static void keyring_free_keys(struct key **keys, size_t len)
{
    for (size_t i = 0; i < len; i++)
        key_unref(keys[i]);
    free(keys);
}

void keyring_free(struct keyring *keyring)
{
    if (!keyring)
        return;
    keyring_free_keys(keyring->keys, keyring->len);
    pthread_mutex_destroy(&keyring->lock);
    free(keyring);
}

static int keyring_compare(const void *id, const void *key)
{
    return strcmp(id, (*(struct key *const *)key)->id);
}

static struct key *keyring_find(struct key **keys, size_t len, const char *id)
{
    struct key **found = len ? bsearch(id, keys, len, sizeof(*keys), keyring_compare) : NULL;

    return found ? *found : NULL;
}

enum key_verdict keyring_check(struct keyring *keyring, struct span text, int64_t now_ms,
                               struct key **key)
{
    AUTO(key_unref) struct key *found = NULL;
    unsigned char hash[KEY_HASH_BYTES];
    char id[KEY_ID_BYTES];
    bool has_expired;

    if (!key_is_whole(text) || key_id(text, id) < 0)
        return KEY_UNKNOWN;
    pthread_mutex_lock(&keyring->lock);
    found = keyring_find(keyring->keys, keyring->len, id);
    if (found)
        (void)key_ref(found);
    pthread_mutex_unlock(&keyring->lock);
    if (!found)
        return KEY_UNKNOWN;
    key_hash(text, hash);
    if (!key_hash_equal(hash, found->hash))
        return KEY_UNKNOWN;
    has_expired = now_ms >= found->expires_ms;
    if (!has_expired)
        atomic_store_explicit(&found->used_ms, now_ms, memory_order_relaxed);
    *key = TAKE(found);
    return has_expired ? KEY_EXPIRED : KEY_GOOD;
}

int64_t keyring_age_ms(struct keyring *keyring, int64_t now_mono_ms)
{
    int64_t asked_mono_ms;

    pthread_mutex_lock(&keyring->lock);
    asked_mono_ms = keyring->asked_mono_ms;
    pthread_mutex_unlock(&keyring->lock);
    return asked_mono_ms == INT64_MIN ? INT64_MAX : now_mono_ms - asked_mono_ms;
}

int64_t keyring_version(const struct keyring *keyring)
{
    return keyring->version;
}

void keyring_replace(struct keyring *keyring, struct key **keys, size_t len, int64_t version,
                     int64_t asked_mono_ms)
{
    struct key **old = keyring->keys; /* only this thread changes it */
    size_t old_len = keyring->len;

    for (size_t i = 0; i < len; i++) {
        struct key *before = keyring_find(old, old_len, keys[i]->id);

        if (!before)
            continue;
        keys[i]->used_ms = atomic_load(&before->used_ms);
        keys[i]->noted_ms = before->noted_ms;
        keys[i]->rate.due_us = atomic_load(&before->rate.due_us);
    }
    pthread_mutex_lock(&keyring->lock);
    keyring->keys = keys;
    keyring->len = len;
    keyring->asked_mono_ms = asked_mono_ms;
    pthread_mutex_unlock(&keyring->lock);
    keyring->version = version;
    keyring_free_keys(old, old_len);
}

void keyring_confirm(struct keyring *keyring, int64_t asked_mono_ms)
{
    pthread_mutex_lock(&keyring->lock);
    keyring->asked_mono_ms = asked_mono_ms;
    pthread_mutex_unlock(&keyring->lock);
}

size_t keyring_len(const struct keyring *keyring)
{
    return keyring->len;
}

struct key *keyring_at(const struct keyring *keyring, size_t i)
{
    return keyring->keys[i];
}
