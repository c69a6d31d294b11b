/* More in flight than the memory budget holds: 503 with Retry-After, no growth, and at the end
 * every byte is given back. */
#include <check.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/harness/daemon.h"
#include "tests/harness/http.h"
#include "tests/harness/load.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *memory_suite(void);

enum {
    BUDGET_BYTES = 8 << 20,
    /* What a daemon may take beside the budget: buffers of connections, rows on their way to
     * Postgres, what the allocator keeps. The storms are several times larger. */
    BESIDE_BYTES = 40 << 20,
    CLIENTS = 16,
    SLOW = 200,
    SLOW_BYTES = 500000, /* sent of a body of 1 MB */
};

/* With a small budget. */
static struct service *small_start(void)
{
    static const char *environment[] = { "PLUMBLINE_MEMORY_BYTES_MAX=8MiB",
                                         "PLUMBLINE_BODY_BYTES_MAX=1MiB", NULL, NULL };

    environment[2] = daemon_lean(); /* the daemon borrows it */
    return service_start_proxied(&(struct daemon_options){ .environment = environment });
}

START_TEST(storm_is_refused_not_kept)
{
    AUTO(service_free) struct service *service = small_start();
    const struct daemon *daemon = service->daemon;
    int64_t before = daemon_peak_bytes(daemon);
    AUTO(load_free)
    struct load *load = load_start(&(struct load_options){
        .seed = 50, .clients = CLIENTS, .events_max = 2000, .daemons = { daemon } });

    load_await(load, 5);
    proxy_aim(service->proxy, "plumbline metrics");
    proxy_arm(service->proxy, PROXY_HOLD, 0);
    WAIT_UNTIL(20000, proxy_sprung(service->proxy));
    for (int i = 0; i < 10; i++) { /* Postgres does not come forward, the clients do not relent */
        load_await_refused(load, CLIENTS);
        ck_assert_int_le(daemon_metric(daemon, "plumbline_memory_budget_bytes"), BUDGET_BYTES);
    }
    proxy_release(service->proxy);
    load_await(load, CLIENTS);
    load_finish(load);
    daemon_check_growth(daemon, before, BUDGET_BYTES + BESIDE_BYTES);
    ck_assert_int_gt(daemon_metric(daemon, "plumbline_memory_budget_refused_total"), 0);
    WAIT_UNTIL(20000, daemon_metric(daemon, "plumbline_memory_budget_bytes") == 0);
    ck_assert_uint_eq(load_tally(load).lost, 0);
    load_check(load, service->dsn);
}
END_TEST

/* Bodies that do not come to their end take no more than the budget either. */
START_TEST(halves_of_bodies_are_bounded)
{
    AUTO(service_free) struct service *service = small_start();
    const struct daemon *daemon = service->daemon;
    AUTO(mem_free) char *half = xmalloc(SLOW_BYTES);
    AUTO(mem_free) char *url = daemon_url(daemon, "/v1/events");
    AUTO(http_answer_free) struct http_answer *answer = NULL;
    AUTO(buf_done) struct buf event;
    int64_t before = daemon_peak_bytes(daemon);
    int fds[SLOW];

    memset(half, ' ', SLOW_BYTES);
    for (int i = 0; i < SLOW; i++) {
        fds[i] = http_raw_open(daemon_port(daemon));
        ck_assert_int_eq(http_raw_send_text(fds[i],
                                            "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"
                                            "Content-Length: 1000000\r\n\r\n"),
                         0);
        ck_assert_int_eq(http_raw_send(fds[i], half, SLOW_BYTES), 0);
    }
    WAIT_UNTIL(20000, daemon_metric(daemon, "plumbline_memory_budget_bytes") > BUDGET_BYTES / 2);
    ck_assert_int_le(daemon_metric(daemon, "plumbline_memory_budget_bytes"), BUDGET_BYTES);
    /* the last of them was refused, which it learns when it has sent the rest */
    ck_assert_int_eq(http_raw_send(fds[SLOW - 1], half, SLOW_BYTES), 0);
    ck_assert(http_raw_await(fds[SLOW - 1], "Retry-After: ", 20000));
    for (int i = 0; i < SLOW; i++)
        (void)close(fds[i]);
    /* long before their time is over */
    WAIT_UNTIL(20000, daemon_metric(daemon, "plumbline_memory_budget_bytes") == 0 &&
                          daemon_metric(daemon, "plumbline_http_connections") == 1);
    daemon_check_growth(daemon, before, BUDGET_BYTES + BESIDE_BYTES);
    buf_init(&event, 4096);
    load_write_prediction(&event, 51, 1);
    answer = http_post(service->http, url, buf_text(&event));
    ck_assert_int_eq(answer->status, 200);
}
END_TEST

Suite *memory_suite(void)
{
    Suite *suite = suite_create("memory");
    TCase *tc = tcase_create("memory");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, storm_is_refused_not_kept);
    tcase_add_test(tc, halves_of_bodies_are_bounded);
    suite_add_tcase(suite, tc);
    return suite;
}
