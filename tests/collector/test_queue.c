#include <check.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "collector/queue.h"

static struct submission *queue_item(uint32_t events, size_t bytes, int64_t deadline)
{
    struct submission *submission = xcalloc(1, sizeof(*submission));

    submission->list.len = events; /* no records: the queue only counts */
    submission->bytes = bytes;
    submission->deadline_mono_ms = deadline;
    return submission;
}

static uint32_t queue_drop(struct submission *list)
{
    uint32_t count = 0;

    while (list) {
        struct submission *next = list->next;

        free(list);
        list = next;
        count++;
    }
    return count;
}

static const struct {
    const char *name;
    uint32_t events_max;
    size_t bytes_max;
    uint32_t want; /* of five submissions with 10 events and 100 bytes each */
} take_cases[] = {
    { "everything", 1000, 1000, 5 },
    { "up to the events", 30, 1000, 3 },
    { "one event less", 29, 1000, 2 },
    { "up to the bytes", 1000, 200, 2 },
    { "one at least, larger than a batch", 1, 1, 1 },
    { "exactly all", 50, 500, 5 },
};

START_TEST(take_case)
{
    AUTO(queue_free) struct queue *queue = queue_new();

    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(queue_push(queue, queue_item(10, 100, i)), 0);
    ck_assert_msg(queue_drop(queue_take(queue, 1, take_cases[_i].events_max,
                                        take_cases[_i].bytes_max)) == take_cases[_i].want,
                  "%s", take_cases[_i].name);
    ck_assert_uint_eq(queue_len(queue), 5 - take_cases[_i].want);
    if (queue_len(queue))
        (void)queue_drop(queue_take(queue, 1, 1000, 1000));
}
END_TEST

START_TEST(order_is_kept)
{
    AUTO(queue_free) struct queue *queue = queue_new();
    struct submission *list;

    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(queue_push(queue, queue_item(1, 1, i)), 0);
    list = queue_take(queue, 1, 2, 100);
    ck_assert_int_eq(queue_push(queue, queue_item(1, 1, 3)), 0);
    ck_assert_int_eq(list->deadline_mono_ms, 0);
    ck_assert_int_eq(list->next->deadline_mono_ms, 1);
    (void)queue_drop(list);
    list = queue_take(queue, 1, 2, 100);
    ck_assert_int_eq(list->deadline_mono_ms, 2);
    ck_assert_int_eq(list->next->deadline_mono_ms, 3);
    (void)queue_drop(list);
}
END_TEST

/* Each letter is a submission with an event, capitals from Kafka; blanks stand between batches. */
static const struct {
    const char *name, *pushed;
    uint32_t events_max;
    const char *want;
} way_cases[] = {
    { "one way", "abc", 9, "abc" },
    { "the other", "ABC", 9, "ABC" },
    { "the head decides", "aBcD", 9, "ac BD" },
    { "the head is Kafka's", "AbCd", 9, "AC bd" },
    { "the last one is left", "aBc", 9, "ac B" },
    { "the last one is taken", "aBC", 9, "a BC" },
    { "limits are of the way alone", "aBCDef", 2, "ae BC D f" },
    { "neither starves", "abcDEFghi", 2, "ab cg DE F hi" },
};

START_TEST(way_case)
{
    AUTO(queue_free) struct queue *queue = queue_new();
    void *origin = queue; /* of any kind: the queue only looks whether there is one */
    char have[32] = "";
    size_t len = 0;

    for (const char *c = way_cases[_i].pushed; *c; c++) {
        struct submission *submission = queue_item(1, 1, *c);

        submission->origin = *c < 'a' ? origin : NULL;
        ck_assert_int_eq(queue_push(queue, submission), 0);
    }
    while (queue_len(queue)) {
        struct submission *list = queue_take(queue, 1, way_cases[_i].events_max, 100);

        if (len)
            have[len++] = ' ';
        for (const struct submission *s = list; s; s = s->next)
            have[len++] = (char)s->deadline_mono_ms;
        (void)queue_drop(list);
    }
    ck_assert_str_eq(have, way_cases[_i].want);
    ck_assert_int_eq(queue_push(queue, queue_item(1, 1, 0)), 0); /* the tail is right */
    ck_assert_uint_eq(queue_drop(queue_take(queue, 1, 1, 1)), 1);
}
END_TEST

START_TEST(expired_from_anywhere)
{
    AUTO(queue_free) struct queue *queue = queue_new();

    ck_assert_ptr_null(queue_tick(queue, 100));
    ck_assert_int_eq(queue_push(queue, queue_item(1, 1, 10)), 0);
    ck_assert_int_eq(queue_push(queue, queue_item(1, 1, 20)), 0);
    ck_assert_int_eq(queue_push(queue, queue_item(1, 1, 30)), 0);
    ck_assert_ptr_null(queue_tick(queue, 10)); /* at its deadline it has not passed */
    ck_assert_uint_eq(queue_drop(queue_tick(queue, 21)), 2);
    ck_assert_int_eq(queue_push(queue, queue_item(1, 1, INT64_MAX)), 0); /* never */
    ck_assert_int_eq(queue_push(queue, queue_item(1, 1, 25)), 0);
    ck_assert_uint_eq(queue_drop(queue_tick(queue, 31)), 2);
    ck_assert_uint_eq(queue_len(queue), 1);
    ck_assert_int_eq(queue_push(queue, queue_item(1, 1, 30)), 0); /* the tail is right again */
    ck_assert_uint_eq(queue_drop(queue_take(queue, 1, 2, 2)), 2);
    ck_assert_ptr_null(queue_tick(queue, 100));
    ck_assert_int_eq(queue_push(queue, queue_item(1, 1, 30)), 0);
    ck_assert_uint_eq(queue_drop(queue_take(queue, 1, 2, 2)), 1);
}
END_TEST

START_TEST(closed_gives_what_it_has)
{
    AUTO(queue_free) struct queue *queue = queue_new();
    struct submission *late = queue_item(1, 1, 0);

    ck_assert_int_eq(queue_push(queue, queue_item(1, 1, 0)), 0);
    queue_close(queue);
    ck_assert_int_eq(queue_push(queue, late), -1);
    free(late);
    ck_assert_uint_eq(queue_drop(queue_take(queue, 1, 1, 1)), 1);
    ck_assert_ptr_null(queue_take(queue, 1, 1, 1));
}
END_TEST

/* There is something, but not for the spool: whoever waits for that gets on with other things. */
START_TEST(nothing_to_take_aside)
{
    AUTO(queue_free) struct queue *queue = queue_new();

    ck_assert_int_eq(queue_push(queue, queue_item(1, 1, 0)), 0);
    ck_assert_ptr_null(queue_take_aside(queue, 10, 10, 1));
    ck_assert(!queue_is_diverted(queue));
    ck_assert_uint_eq(queue_drop(queue_take(queue, 1, 10, 10)), 1);
}
END_TEST

static void *queue_helper(void *arg)
{
    return queue_take(arg, 1000, 10, 2000);
}

/* A thread that waits for more than there is gets it all the same once nobody else takes it. */
START_TEST(what_nobody_takes_is_taken)
{
    AUTO(queue_free) struct queue *queue = queue_new();
    pthread_t helper;
    void *taken;

    ck_assert_int_eq(pthread_create(&helper, NULL, queue_helper, queue), 0);
    for (int64_t ms = 0; ms < 1000; ms += 100) { /* somebody takes: it waits */
        ck_assert_int_eq(queue_push(queue, queue_item(1, 1, INT64_MAX)), 0);
        ck_assert_ptr_null(queue_tick(queue, ms));
        ck_assert_uint_eq(queue_drop(queue_take(queue, 1, 10, 10)), 1);
    }
    ck_assert_int_eq(queue_push(queue, queue_item(1, 1, INT64_MAX)), 0);
    ck_assert_ptr_null(queue_tick(queue, 1000));
    ck_assert_ptr_null(queue_tick(queue, 1199));
    ck_assert_uint_eq(queue_len(queue), 1);
    ck_assert_ptr_null(queue_tick(queue, 1200));
    ck_assert_int_eq(pthread_join(helper, &taken), 0);
    ck_assert_uint_eq(queue_drop(taken), 1);
}
END_TEST

enum { PUSHERS = 4, PUSHES = 5000 };

static void *queue_pusher(void *arg)
{
    for (int i = 0; i < PUSHES; i++)
        ck_assert_int_eq(queue_push(arg, queue_item(1, 1, 0)), 0);
    return NULL;
}

START_TEST(many_pushers)
{
    AUTO(queue_free) struct queue *queue = queue_new();
    pthread_t threads[PUSHERS];
    uint32_t taken = 0;

    for (int i = 0; i < PUSHERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, queue_pusher, queue), 0);
    while (taken < PUSHERS * PUSHES)
        taken += queue_drop(queue_take(queue, 1, 64, 64));
    for (int i = 0; i < PUSHERS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(queue_len(queue), 0);
}
END_TEST

Suite *queue_suite(void); /* called from the table that tools/suites writes */

Suite *queue_suite(void)
{
    Suite *suite = suite_create("queue");
    TCase *tc = tcase_create("queue");

    tcase_add_loop_test(tc, take_case, 0, LENGTH(take_cases));
    tcase_add_test(tc, order_is_kept);
    tcase_add_loop_test(tc, way_case, 0, LENGTH(way_cases));
    tcase_add_test(tc, expired_from_anywhere);
    tcase_add_test(tc, closed_gives_what_it_has);
    tcase_add_test(tc, nothing_to_take_aside);
    tcase_add_test(tc, what_nobody_takes_is_taken);
    tcase_add_test(tc, many_pushers);
    suite_add_tcase(suite, tc);
    return suite;
}
