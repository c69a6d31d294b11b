#include "collector/keyring.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

Suite *keyring_suite(void);

enum { NOW_MS = 1000000 };

static struct key *known(const char *text)
{
    struct key *key = key_new();

    ck_assert_int_eq(key_id(span_of(text), key->id), 0);
    key->name = xstrdup(key->id);
    key_hash(span_of(text), key->hash);
    key->scopes = KEY_READ;
    return key;
}

/* The keys of these texts, ascending. */
static struct key **ring(const char *const *texts, size_t len)
{
    struct key **keys = xcalloc(len, sizeof(*keys));

    for (size_t i = 0; i < len; i++)
        keys[i] = known(texts[i]);
    return keys;
}

#define TEXT_A "plb_aaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define TEXT_B "plb_bbbbbbbb_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define TEXT_C "plb_cccccccc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static const char *const texts[] = { TEXT_A, TEXT_B, TEXT_C };

static enum key_verdict check_key(struct keyring *keyring, const char *text)
{
    AUTO(key_unref) struct key *key = NULL;
    enum key_verdict verdict = keyring_check(keyring, span_of(text), NOW_MS, &key);

    ck_assert_int_eq(key != NULL, verdict != KEY_UNKNOWN);
    return verdict;
}

START_TEST(only_the_whole_text_is_the_key)
{
    AUTO(keyring_free) struct keyring *keyring = keyring_new();

    ck_assert_int_eq(check_key(keyring, TEXT_A), KEY_UNKNOWN);
    keyring_replace(keyring, ring(texts, 3), 3, 1, 0);
    for (size_t i = 0; i < LENGTH(texts); i++)
        ck_assert_int_eq(check_key(keyring, texts[i]), KEY_GOOD);
    ck_assert_int_eq(check_key(keyring, ""), KEY_UNKNOWN);
    ck_assert_int_eq(check_key(keyring, "plb_aaaaaaaa"), KEY_UNKNOWN);
    ck_assert_int_eq(check_key(keyring, "aaaaaaaa"), KEY_UNKNOWN);
    ck_assert_int_eq(check_key(keyring, TEXT_A "A"), KEY_UNKNOWN);
    for (size_t i = 0; i < KEY_TEXT_LEN; i++) {
        char other[KEY_TEXT_BYTES] = TEXT_A;

        other[i] = other[i] == 'd' ? 'e' : 'd';
        ck_assert_int_eq(check_key(keyring, other), KEY_UNKNOWN);
    }
    ck_assert_int_eq(check_key(keyring, "plb_dddddddd_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
                     KEY_UNKNOWN);
}
END_TEST

START_TEST(a_key_expires_at_its_time)
{
    AUTO(keyring_free) struct keyring *keyring = keyring_new();
    struct key **keys = ring(texts, 3);

    keys[0]->expires_ms = NOW_MS;
    keys[1]->expires_ms = NOW_MS + 1;
    keyring_replace(keyring, keys, 3, 1, 0);
    ck_assert_int_eq(check_key(keyring, TEXT_A), KEY_EXPIRED);
    ck_assert_int_eq(check_key(keyring, TEXT_B), KEY_GOOD);
    ck_assert_int_eq(check_key(keyring, TEXT_C), KEY_GOOD);
    ck_assert_int_eq(keys[0]->used_ms, 0);
    ck_assert_int_eq(keys[1]->used_ms, NOW_MS);
}
END_TEST

START_TEST(what_is_not_in_the_table_any_more_is_unknown)
{
    AUTO(keyring_free) struct keyring *keyring = keyring_new();
    static const char *const left[] = { TEXT_A, TEXT_C };
    AUTO(key_unref) struct key *held = NULL;

    keyring_replace(keyring, ring(texts, 3), 3, 1, 0);
    ck_assert_int_eq(keyring_check(keyring, span_of(TEXT_B), NOW_MS, &held), KEY_GOOD);
    keyring_replace(keyring, ring(left, 2), 2, 2, 0);
    ck_assert_int_eq(keyring_version(keyring), 2);
    ck_assert_int_eq(check_key(keyring, TEXT_B), KEY_UNKNOWN);
    ck_assert_int_eq(check_key(keyring, TEXT_C), KEY_GOOD);
    ck_assert_str_eq(held->id, "bbbbbbbb"); /* a request that is under way has it still */
    keyring_replace(keyring, NULL, 0, 3, 0);
    ck_assert_int_eq(check_key(keyring, TEXT_A), KEY_UNKNOWN);
}
END_TEST

START_TEST(use_and_rate_go_on)
{
    AUTO(keyring_free) struct keyring *keyring = keyring_new();
    int64_t wait_us;

    keyring_replace(keyring, ring(texts, 3), 3, 1, 0);
    ck_assert_int_eq(check_key(keyring, TEXT_B), KEY_GOOD);
    keyring_at(keyring, 1)->noted_ms = 5;
    ck_assert(rate_take(&keyring_at(keyring, 1)->rate, 10, 1000, 1, &wait_us));
    keyring_replace(keyring, ring(texts, 3), 3, 2, 0);
    ck_assert_int_eq(keyring_at(keyring, 1)->used_ms, NOW_MS);
    ck_assert_int_eq(keyring_at(keyring, 1)->noted_ms, 5);
    ck_assert(!rate_take(&keyring_at(keyring, 1)->rate, 10, 1000, 1, &wait_us));
    ck_assert_int_eq(keyring_at(keyring, 0)->used_ms, 0);
}
END_TEST

START_TEST(the_age_of_the_copy)
{
    AUTO(keyring_free) struct keyring *keyring = keyring_new();

    ck_assert_int_eq(keyring_age_ms(keyring, 100), INT64_MAX);
    ck_assert_int_eq(keyring_version(keyring), -1);
    keyring_replace(keyring, NULL, 0, 1, 100);
    ck_assert_int_eq(keyring_age_ms(keyring, 130), 30);
    keyring_confirm(keyring, 120);
    ck_assert_int_eq(keyring_age_ms(keyring, 130), 10);
}
END_TEST

static const struct {
    const char *prefixes[3], *crn;
    bool is_allowed;
} crn_cases[] = {
    { { NULL }, "crn:a", true },
    { { NULL }, "", true },
    { { "crn:a/" }, "crn:a/1", true },
    { { "crn:a/" }, "crn:a/", true },
    { { "crn:a/" }, "crn:a", false },
    { { "crn:a/" }, "crn:ab/1", false },
    { { "crn:a/" }, "CRN:a/1", false },
    { { "crn:a/" }, "", false },
    { { "crn:a/", "crn:b/" }, "crn:b/2", true },
    { { "crn:a/", "crn:b/" }, "crn:c/2", false },
};

START_TEST(crn_case)
{
    AUTO(key_unref) struct key *key = key_new();

    for (const char *const *prefix = crn_cases[_i].prefixes; *prefix; prefix++)
        strings_add(&key->prefixes, span_of(*prefix));
    ck_assert_msg(key_allows_crn(key, span_of(crn_cases[_i].crn)) == crn_cases[_i].is_allowed, "%s",
                  crn_cases[_i].crn);
}
END_TEST

struct reader {
    struct keyring *keyring;
    _Atomic bool stops;
};

static void *reader_run(void *arg)
{
    struct reader *reader = arg;

    while (!reader->stops) {
        ck_assert_int_eq(check_key(reader->keyring, TEXT_A), KEY_GOOD);
        (void)check_key(reader->keyring, TEXT_B);
    }
    return NULL;
}

/* For the thread sanitizer: the copy is exchanged under those who read it. */
START_TEST(readers_and_a_change)
{
    AUTO(keyring_free) struct keyring *keyring = keyring_new();
    struct reader reader = { .keyring = keyring };
    pthread_t threads[2];

    keyring_replace(keyring, ring(texts, 3), 3, 1, 0);
    for (size_t i = 0; i < LENGTH(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, reader_run, &reader), 0);
    for (int i = 0; i < 500; i++)
        keyring_replace(keyring, ring(texts, 1 + (size_t)(i % 3)), 1 + (size_t)(i % 3), i, i);
    reader.stops = true;
    for (size_t i = 0; i < LENGTH(threads); i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

Suite *keyring_suite(void)
{
    Suite *suite = suite_create("keyring");
    TCase *tc = tcase_create("keyring");

    tcase_add_test(tc, only_the_whole_text_is_the_key);
    tcase_add_test(tc, a_key_expires_at_its_time);
    tcase_add_test(tc, what_is_not_in_the_table_any_more_is_unknown);
    tcase_add_test(tc, use_and_rate_go_on);
    tcase_add_test(tc, the_age_of_the_copy);
    tcase_add_loop_test(tc, crn_case, 0, LENGTH(crn_cases));
    tcase_add_test(tc, readers_and_a_change);
    suite_add_tcase(suite, tc);
    return suite;
}
