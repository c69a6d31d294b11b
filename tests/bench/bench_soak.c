/* Not a benchmark but its tools: one daemon at a fixed rate for SOAK_SECONDS (300), and whether its
 * memory, its descriptors and its latencies are at the end what they were at the beginning.
 *
 * SOAK_RATE (300) requests a second, four predictions to a label, each over a connection of its own
 * as model replicas make them; beside them READS_PER_SECOND reads of a minute, of rollups and of
 * /metrics. `make soak` prints a line for each tenth of the time and what became of it. */
#include <check.h>
#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/bench/bench.h"
#include "tests/bench/events.h"
#include "tests/bench/load.h"
#include "tests/harness/http.h"
#include "tests/harness/wait.h"

enum {
    WINDOWS = 10,
    WARM = 2, /* windows at the beginning: buffers reach the size that they keep */
    CONNECTIONS = 32,
    READS_PER_SECOND = 5,
    READS_MAX = 100000, /* of one window */
    GROWTH_PERCENT_MAX = 10,
    FDS_MAX = 16, /* more descriptors than at the beginning: connections that are open now */
    LATENCY_TIMES_MAX = 3,
    LATENCY_MS_MIN = 50, /* what is below it is not looked at */
};

struct window {
    int64_t rss_bytes, fds;
    double p50_ms, p99_ms, read_p50_ms, read_p99_ms;
    size_t requests, reads;
};

/* The reads of one window, in a thread of their own. */
struct reads {
    const struct daemon *daemon;
    pthread_t thread;
    _Atomic bool ending;
    double *ms;
    size_t len;
};

static int64_t soak_number(const char *name, int64_t preset)
{
    const char *text = getenv(name);

    return text && *text ? strtoll(text, NULL, 10) : preset;
}

/* ---- reads */

static char *read_url(const struct daemon *daemon, size_t i)
{
    AUTO(buf_done) struct buf path;
    char *url;

    if (i % 3 == 2)
        return daemon_url(daemon, "/metrics");
    buf_init(&path, SIZE_MAX);
    buf_append_text(&path, i % 3 ? "/v1/rollups?window=1m&metric=probability&model_deployment_crn="
                                 : "/v1/metrics?limit=100&model_deployment_crn=");
    event_write_crn(&path, (uint32_t)(i % EVENT_DEPLOYMENTS));
    buf_append_fmt(&path, "&start_timestamp_ms=%" PRId64 "&end_timestamp_ms=%" PRId64,
                   EVENT_WEEK_MS, EVENT_WEEK_MS + 60000);
    url = daemon_url(daemon, buf_text(&path));
    return url;
}

static void *reads_run(void *ctx)
{
    struct reads *reads = ctx;
    struct http *http = http_new();
    int64_t due_ms = clock_mono_ms();

    while (!reads->ending && reads->len < READS_MAX) {
        AUTO(mem_free) char *url = read_url(reads->daemon, reads->len);
        AUTO(http_answer_free) struct http_answer *answer = http_get(http, url);

        ck_assert_msg(answer->status == 200, "%s: status %ld%s", url, answer->status,
                      answer->error);
        reads->ms[reads->len++] = answer->seconds * 1e3;
        for (due_ms += 1000 / READS_PER_SECOND; clock_mono_ms() < due_ms && !reads->ending;)
            wait_nap();
    }
    http_free(http);
    return NULL;
}

static int double_compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double reads_ms(const struct reads *reads, double part)
{
    return reads->len ? reads->ms[(size_t)((double)(reads->len - 1) * part)] : 0;
}

/* ---- the daemon */

static int64_t daemon_rss_bytes(const struct daemon *daemon)
{
    AUTO(mem_free) char *path = xasprintf("/proc/%d/statm", (int)daemon_pid(daemon));
    FILE *file = fopen(path, "r");
    long long pages = 0;

    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%*s %lld", &pages), 1);
    (void)fclose(file);
    return pages * 4096;
}

static int64_t daemon_fds(const struct daemon *daemon)
{
    AUTO(mem_free) char *path = xasprintf("/proc/%d/fd", (int)daemon_pid(daemon));
    DIR *dir = opendir(path);
    int64_t count = -2; /* . and .. */

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        count++;
    (void)closedir(dir);
    return count;
}

/* ---- windows */

static void window_run(const struct daemon *daemon, uint64_t first, int64_t requests, int64_t rate,
                       struct window *window)
{
    struct reads reads = { .daemon = daemon, .ms = xcalloc(READS_MAX, sizeof(double)) };
    AUTO(load_requests_done) struct load_requests wanted;
    AUTO(load_result_done) struct load_result result;

    load_requests_init(&wanted);
    for (int64_t i = 0; i < requests / 5; i++) {
        uint64_t n = first + 4 * (uint64_t)i;

        events_write_single(&wanted, n, 4);
        events_write_labels(&wanted, n, 1); /* often before its prediction, as it happens */
    }
    ck_assert_int_eq(pthread_create(&reads.thread, NULL, reads_run, &reads), 0);
    load_run(&(struct load_options){ .port = daemon_port(daemon),
                                     .requests = &wanted,
                                     .connections = CONNECTIONS,
                                     .fresh = true,
                                     .rate = (double)rate },
             &result);
    reads.ending = true;
    (void)pthread_join(reads.thread, NULL);
    qsort(reads.ms, reads.len, sizeof(*reads.ms), double_compare);
    *window = (struct window){ .rss_bytes = daemon_rss_bytes(daemon),
                               .fds = daemon_fds(daemon),
                               .p50_ms = load_result_ms(&result, 0.5),
                               .p99_ms = load_result_ms(&result, 0.99),
                               .read_p50_ms = reads_ms(&reads, 0.5),
                               .read_p99_ms = reads_ms(&reads, 0.99),
                               .requests = result.answers,
                               .reads = reads.len };
    free(reads.ms);
}

static void window_print(const char *name, const struct window *w)
{
    printf("%-9s %9zu %6zu %9.1f %5" PRId64 " %8.2f %8.2f %9.2f %9.2f\n", name, w->requests,
           w->reads, (double)w->rss_bytes / 1048576, w->fds, w->p50_ms, w->p99_ms, w->read_p50_ms,
           w->read_p99_ms);
    (void)fflush(stdout);
}

/* ---- the verdict */

static bool latency_grew(double from_ms, double to_ms)
{
    return to_ms > LATENCY_MS_MIN && to_ms > LATENCY_TIMES_MAX * from_ms;
}

static double window_median(const struct window *windows, size_t member)
{
    double values[WINDOWS - WARM];

    for (size_t i = 0; i < LENGTH(values); i++)
        memcpy(&values[i], (const char *)&windows[WARM + i] + member, sizeof(double));
    qsort(values, LENGTH(values), sizeof(*values), double_compare);
    return values[LENGTH(values) / 2];
}

/* The first warm window beside the last one; latencies, which a busy machine moves, beside the
 * median of the others too. */
static void soak_check(const struct window *windows)
{
    const struct window *a = &windows[WARM], *b = &windows[WINDOWS - 1];
    double growth = 100.0 * (double)(b->rss_bytes - a->rss_bytes) / (double)a->rss_bytes;
    double p50_ms = window_median(windows, offsetof(struct window, p50_ms));

    printf("memory %+.1f %%, descriptors %+" PRId64 ", p50 %+.2f ms, p99 %+.2f ms\n", growth,
           b->fds - a->fds, b->p50_ms - a->p50_ms, b->p99_ms - a->p99_ms);
    ck_assert_msg(growth <= GROWTH_PERCENT_MAX, "the daemon's memory grew by %.1f %%", growth);
    ck_assert_msg(b->fds - a->fds <= FDS_MAX, "the daemon's descriptors grew");
    ck_assert_msg(!latency_grew(a->p50_ms, b->p50_ms) && !latency_grew(p50_ms, b->p50_ms),
                  "requests take longer at the end");
    ck_assert_msg(!latency_grew(a->read_p50_ms, b->read_p50_ms), "reads take longer at the end");
    printf("as at the beginning\n");
}

static void soak_run(struct bench *bench)
{
    int64_t seconds = soak_number("SOAK_SECONDS", 300), rate = soak_number("SOAK_RATE", 300);
    int64_t requests = rate * seconds / WINDOWS / 5 * 5;
    AUTO(mem_free) char *dsn = bench_database_new(bench);
    struct daemon *daemon = bench_daemon_start(dsn);
    struct window windows[WINDOWS];

    printf("%" PRId64 " s, %" PRId64 " requests and %d reads a second\n", seconds, rate,
           (int)READS_PER_SECOND);
    printf("%-9s %9s %6s %9s %5s %8s %8s %9s %9s\n", "window", "requests", "reads", "RSS MiB",
           "fds", "p50 ms", "p99 ms", "reads p50", "reads p99");
    for (int i = 0; i < WINDOWS; i++) {
        AUTO(mem_free) char *name = xasprintf("%d%s", i + 1, i < WARM ? " (warm)" : "");

        window_run(daemon, (uint64_t)(i * requests), requests, rate, &windows[i]);
        window_print(name, &windows[i]);
    }
    soak_check(windows);
    bench_daemon_stop(bench, daemon);
}

int main(void)
{
    return bench_main("soak", soak_run);
}
