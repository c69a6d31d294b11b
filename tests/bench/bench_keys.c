/* What a key costs a request: the look at it alone, among as many as there may be, and the daemon's
 * processor time for a request that does nothing else, with keys on and off. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "collector/keyring.h"
#include "tests/bench/bench.h"
#include "tests/bench/load.h"
#include "tests/harness/keyed.h"

enum { CHECKS = 1000000, SECONDS = 4, CONNECTIONS = 64, REQUESTS_PER_SECOND_MAX = 60000 };

/* ---- alone ---- */

static int by_id(const void *a, const void *b)
{
    return strcmp((*(struct key *const *)a)->id, (*(struct key *const *)b)->id);
}

/* Texts of KEYS_MAX keys that are in the ring. */
static char (*fill(struct keyring *keyring))[KEY_TEXT_BYTES]
{
    char(*texts)[KEY_TEXT_BYTES] = xcalloc(KEYS_MAX, sizeof(*texts));
    struct key **keys = xcalloc(KEYS_MAX, sizeof(*keys));

    for (size_t i = 0; i < KEYS_MAX; i++) {
        key_make(texts[i]);
        keys[i] = key_new();
        ck_assert_int_eq(key_id(span_of(texts[i]), keys[i]->id), 0);
        keys[i]->name = xstrdup(keys[i]->id);
        key_hash(span_of(texts[i]), keys[i]->hash);
    }
    qsort(keys, KEYS_MAX, sizeof(struct key *), by_id);
    keyring_replace(keyring, keys, KEYS_MAX, 1, 0);
    return texts;
}

/* Of this process. */
static int64_t cpu_us(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static void keys_alone(void)
{
    AUTO(keyring_free) struct keyring *keyring = keyring_new();
    char(*texts)[KEY_TEXT_BYTES] = fill(keyring);
    int64_t checks = bench_scaled(CHECKS);
    struct bench_side side = { 0 };

    for (int round = 0; round < BENCH_ROUNDS; round++) {
        int64_t start_us = cpu_us(), good = 0;

        for (int64_t i = 0; i < checks; i++) {
            AUTO(key_unref) struct key *key = NULL;
            AUTO(buf_done) struct buf text;

            buf_init(&text, KEY_TEXT_LEN);
            key_from_header(span_of(texts[i % KEYS_MAX]), &text);
            good += keyring_check(keyring, buf_span(&text), 1, &key) == KEY_GOOD;
        }
        bench_side_add(&side, (double)(cpu_us() - start_us) / (double)checks);
        ck_assert_int_eq(good, checks);
        bench_say("%.2f us a look at one of %d keys", side.values[round], KEYS_MAX);
    }
    free(texts);
    bench_row(&(struct bench_row){ .measure = "a look at one of 10,000 keys, alone",
                                   .unit = "us",
                                   .decimals = 2,
                                   .ours = &side,
                                   .want = BENCH_VALUE_MAX,
                                   .limit = 20 });
}

/* ---- in a request ---- */

/* The processor time of the daemon for a request, in microseconds. */
static void keys_load(struct bench *bench, const char *dsn, const struct load_requests *requests,
                      const char *const *environment, struct bench_side *side)
{
    struct daemon *daemon =
        bench_daemon_start_with(&(struct daemon_options){ .dsn = dsn, .environment = environment });
    AUTO(load_result_done) struct load_result result;
    double before = side->cpu.daemon;
    struct bench_meter meter;

    bench_meter_start(&meter, bench, daemon);
    load_run(&(struct load_options){ .port = daemon_port(daemon),
                                     .requests = requests,
                                     .connections = CONNECTIONS,
                                     .seconds_max = (double)bench_scaled(SECONDS * 1000) / 1e3 },
             &result);
    bench_meter_stop(&meter, side);
    bench_daemon_stop(bench, daemon);
    bench_side_add(side, (side->cpu.daemon - before) * 1e6 / (double)result.answers);
}

static void keys_in_requests(struct bench *bench)
{
    AUTO(mem_free) char *dsn = bench_database_new(bench);
    AUTO(mem_free) char *key = keyed_make(dsn, "read", NULL);
    AUTO(load_requests_done) struct load_requests requests;
    struct bench_side on = { 0 }, off = { 0 };
    AUTO(buf_done) struct buf head, body;

    buf_init(&head, 1000);
    buf_init(&body, 1);
    buf_append_fmt(&head,
                   "GET /v1/limits HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n",
                   key);
    load_requests_init(&requests);
    for (int64_t i = bench_scaled(SECONDS * REQUESTS_PER_SECOND_MAX); i > 0; i--)
        load_requests_add(&requests, &head, &body);
    for (int round = 0; round < BENCH_ROUNDS; round++) {
        keys_load(bench, dsn, &requests, keyed_environment, &on);
        keys_load(bench, dsn, &requests, NULL, &off);
        bench_say("%.2f us of the daemon a request with keys, %.2f without", on.values[round],
                  off.values[round]);
    }
    bench_row(&(struct bench_row){ .measure = "processor time of a GET /v1/limits with a key",
                                   .unit = "us",
                                   .decimals = 2,
                                   .ours = &on,
                                   .against = "the same with keys off",
                                   .theirs = &off });
    bench_database_drop(bench, dsn);
}

static void keys_run(struct bench *bench)
{
    keys_alone();
    keys_in_requests(bench);
}

int main(void)
{
    return bench_main("keys", keys_run);
}
