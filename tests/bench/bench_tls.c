/* What TLS costs the daemon: its processor time for a request that does nothing else, on a kept
 * connection and on a new one each, with TLS and without it in turn. */
#include <check.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tests/bench/bench.h"
#include "tests/harness/certificate.h"
#include "tests/harness/http.h"

enum { KEPT = 10000, FRESH = 1000 };

/* The processor time of the daemon for a request, in microseconds. */
static void tls_load(struct bench *bench, const struct daemon *daemon, const char *ca,
                     int64_t requests, bool fresh, struct bench_side *side)
{
    AUTO(mem_free) char *url = daemon_url(daemon, "/healthz");
    AUTO(http_free) struct http *http = http_new();
    double before = side->cpu.daemon;
    struct bench_meter meter;

    bench_meter_start(&meter, bench, daemon);
    for (int64_t i = 0; i < requests; i++) {
        AUTO(http_answer_free)
        struct http_answer *answer =
            http_send(http, &(struct http_request){ .url = url, .ca = ca, .fresh = fresh });

        ck_assert_msg(answer->status == 200, "%ld %s", answer->status, answer->error);
    }
    bench_meter_stop(&meter, side);
    bench_side_add(side, (side->cpu.daemon - before) * 1e6 / (double)requests);
}

static void tls_compare(struct bench *bench, const struct daemon *secured, const char *ca,
                        const struct daemon *plain, bool fresh)
{
    int64_t requests = bench_scaled(fresh ? FRESH : KEPT);
    struct bench_side with = { 0 }, without = { 0 };

    for (int round = 0; round < BENCH_ROUNDS; round++) {
        tls_load(bench, secured, ca, requests, fresh, &with);
        tls_load(bench, plain, NULL, requests, fresh, &without);
        bench_say("%.0f us of the daemon a request with TLS, %.0f without", with.values[round],
                  without.values[round]);
    }
    bench_row(&(struct bench_row){
        .measure = fresh ? "processor time of a GET /healthz over TLS, each on a new connection"
                         : "processor time of a GET /healthz over TLS, on one connection",
        .unit = "us",
        .ours = &with,
        .against = "the same without TLS",
        .theirs = &without });
}

static void tls_run(struct bench *bench)
{
    AUTO(authority_free) struct authority *authority = authority_new("bench");
    AUTO(certificate_done) struct certificate certificate = { 0 };
    AUTO(mem_free) char *one = bench_database_new(bench);
    AUTO(mem_free) char *other = bench_database_new(bench);
    struct daemon *secured, *plain;

    authority_issue(authority, &(struct certificate_options){ .name = "server" }, &certificate);
    secured = bench_daemon_start_with(&(struct daemon_options){ .dsn = one, .tls = &certificate });
    plain = bench_daemon_start(other);
    tls_compare(bench, secured, authority_path(authority), plain, false);
    tls_compare(bench, secured, authority_path(authority), plain, true);
    bench_daemon_stop(bench, secured);
    bench_daemon_stop(bench, plain);
    bench_database_drop(bench, one);
    bench_database_drop(bench, other);
}

int main(void)
{
    return bench_main("tls", tls_run);
}
