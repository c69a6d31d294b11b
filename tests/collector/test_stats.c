#include "collector/stats.h"

#include <check.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"

static char *stats_text(struct stats *stats)
{
    AUTO(buf_done) struct buf out;

    buf_init(&out, 1 << 20);
    stats_write(stats, &out);
    ck_assert(!out.full);
    return xstrdup(buf_text(&out));
}

static void stats_has(const char *text, const char *line)
{
    ck_assert_msg(strstr(text, line) != NULL, "no \"%s\" in:\n%s", line, text);
}

START_TEST(values)
{
    AUTO(stats_free) struct stats *stats = stats_new();
    AUTO(mem_free) char *text = NULL;

    stats_add(stats, STAT_COMMITS, 3);
    stats_set(stats, STAT_POSTGRES_UP, 1);
    stats_add(stats, STAT_CONNECTIONS, 5);
    stats_add(stats, STAT_CONNECTIONS, -2);
    stats_add_events(stats, FATE_ACCEPTED, EVENT_TRACK_METRICS, 7);
    text = stats_text(stats);
    stats_has(text, "# HELP plumbline_commits_total Batches committed\n"
                    "# TYPE plumbline_commits_total counter\nplumbline_commits_total 3\n");
    stats_has(text, "\nplumbline_postgres_up 1\n");
    stats_has(text, "\nplumbline_http_connections 3\n");
    stats_has(text, "\nplumbline_events_total{kind=\"track_metrics\",fate=\"accepted\"} 7\n");
    stats_has(text, "\nplumbline_events_total{kind=\"unknown\",fate=\"not_stored\"} 0\n");
}
END_TEST

/* A stat without a row in the table would be missing from /metrics without anybody noticing. */
START_TEST(every_stat_is_shown)
{
    AUTO(stats_free) struct stats *stats = stats_new();
    AUTO(mem_free) char *text = NULL;

    for (int stat = 0; stat < STATS_LEN; stat++)
        stats_set(stats, (enum stats_item)stat, 1000001 + stat);
    text = stats_text(stats);
    for (int stat = 0; stat < STATS_LEN; stat++) {
        AUTO(mem_free) char *line = xasprintf(" %d\n", 1000001 + stat);

        stats_has(text, line);
    }
}
END_TEST

START_TEST(responses)
{
    AUTO(stats_free) struct stats *stats = stats_new();
    AUTO(mem_free) char *text = NULL;

    stats_add_response(stats, "/v1/events", 200);
    stats_add_response(stats, "/v1/events", 200);
    stats_add_response(stats, "/v1/events", 503);
    text = stats_text(stats);
    stats_has(text, "\nplumbline_http_responses_total{route=\"/v1/events\",status=\"200\"} 2\n");
    stats_has(text, "\nplumbline_http_responses_total{route=\"/v1/events\",status=\"503\"} 1\n");
}
END_TEST

START_TEST(responses_are_bounded)
{
    AUTO(stats_free) struct stats *stats = stats_new();
    AUTO(mem_free) char *text = NULL;

    for (unsigned status = 0; status < 300; status++)
        stats_add_response(stats, "/", status);
    stats_add_response(stats, "/", 255);
    stats_add_response(stats, "/", 256);
    text = stats_text(stats);
    stats_has(text, "{route=\"/\",status=\"255\"} 2\n");
    stats_has(text, "{route=\"other\",status=\"0\"} 45\n");
    ck_assert_ptr_null(strstr(text, "status=\"256\""));
}
END_TEST

START_TEST(commit_histogram)
{
    AUTO(stats_free) struct stats *stats = stats_new();
    AUTO(mem_free) char *text = NULL;

    stats_observe_commit(stats, 500, 1);
    stats_observe_commit(stats, 501, 10);
    stats_observe_commit(stats, 9000000, 100);
    text = stats_text(stats);
    stats_has(text, "\nplumbline_commit_seconds_bucket{le=\"0.0005\"} 1\n");
    stats_has(text, "\nplumbline_commit_seconds_bucket{le=\"0.001\"} 2\n");
    stats_has(text, "\nplumbline_commit_seconds_bucket{le=\"5\"} 2\n");
    stats_has(text, "\nplumbline_commit_seconds_bucket{le=\"+Inf\"} 3\n");
    stats_has(text, "\nplumbline_commit_seconds_sum 9.001001\nplumbline_commit_seconds_count 3\n");
    stats_has(text, "\nplumbline_commit_events_total 111\n");
}
END_TEST

static void *stats_user(void *arg)
{
    static const char *const routes[] = { "/a", "/b", "/c" };

    for (unsigned i = 0; i < 3000; i++)
        stats_add_response(arg, routes[i % 3], 200 + i % 5);
    return NULL;
}

START_TEST(responses_by_many_threads)
{
    AUTO(stats_free) struct stats *stats = stats_new();
    AUTO(mem_free) char *text = NULL;
    pthread_t threads[4];

    for (size_t i = 0; i < LENGTH(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, stats_user, stats), 0);
    for (size_t i = 0; i < LENGTH(threads); i++)
        pthread_join(threads[i], NULL);
    text = stats_text(stats);
    stats_has(text, "{route=\"/b\",status=\"203\"} 800\n");
}
END_TEST

Suite *stats_suite(void); /* called from the table that tools/suites writes */

Suite *stats_suite(void)
{
    Suite *suite = suite_create("stats");
    TCase *tc = tcase_create("stats");

    tcase_add_test(tc, values);
    tcase_add_test(tc, every_stat_is_shown);
    tcase_add_test(tc, responses);
    tcase_add_test(tc, responses_are_bounded);
    tcase_add_test(tc, commit_histogram);
    tcase_add_test(tc, responses_by_many_threads);
    suite_add_tcase(suite, tc);
    return suite;
}
