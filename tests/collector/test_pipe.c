#include "collector/pipe.h"

#include <check.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"

/* A reader that sleeps on a condition. */
struct sleeper {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_asleep;
    int sleeps, wakes;
};

static void sleeper_sleep(void *ctx)
{
    struct sleeper *sleeper = ctx;

    pthread_mutex_lock(&sleeper->lock);
    ck_assert(!sleeper->is_asleep);
    sleeper->is_asleep = true;
    sleeper->sleeps++;
    pthread_mutex_unlock(&sleeper->lock);
}

static void sleeper_wake(void *ctx)
{
    struct sleeper *sleeper = ctx;

    pthread_mutex_lock(&sleeper->lock);
    ck_assert(sleeper->is_asleep);
    sleeper->is_asleep = false;
    sleeper->wakes++;
    pthread_cond_signal(&sleeper->changed);
    pthread_mutex_unlock(&sleeper->lock);
}

static void sleeper_wait(struct sleeper *sleeper)
{
    pthread_mutex_lock(&sleeper->lock);
    while (sleeper->is_asleep)
        pthread_cond_wait(&sleeper->changed, &sleeper->lock);
    pthread_mutex_unlock(&sleeper->lock);
}

static struct pipe *sleeper_pipe(struct sleeper *sleeper, size_t bytes, int64_t stall_ms)
{
    struct pipe_reader reader = { sleeper_sleep, sleeper_wake, sleeper };

    *sleeper =
        (struct sleeper){ .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    return pipe_new(bytes, stall_ms, &reader);
}

START_TEST(bytes_then_the_end)
{
    struct sleeper sleeper;
    AUTO(pipe_free) struct pipe *pipe = sleeper_pipe(&sleeper, 8, 1000);
    char data[8];
    size_t len;

    ck_assert_int_eq(pipe_await(pipe), PIPE_ASLEEP);
    ck_assert(pipe_is_asleep(pipe));
    ck_assert_int_eq(pipe_write(pipe, "abcdef", 6), PIPE_OK);
    ck_assert_int_eq(sleeper.wakes, 1);
    ck_assert_int_eq(pipe_read(pipe, data, 4, &len), PIPE_BYTES);
    ck_assert_uint_eq(len, 4);
    ck_assert_mem_eq(data, "abcd", 4);
    ck_assert_int_eq(pipe_write(pipe, "ghijkl", 6), PIPE_OK); /* over the seam, to the brim */
    pipe_finish(pipe, true);
    ck_assert_int_eq(pipe_read(pipe, data, 8, &len), PIPE_BYTES);
    ck_assert_uint_eq(len, 8);
    ck_assert_mem_eq(data, "efghijkl", 8);
    ck_assert_int_eq(pipe_read(pipe, data, 8, &len), PIPE_COMPLETE);
    ck_assert_uint_eq(len, 0);
    ck_assert_int_eq(pipe_await(pipe), PIPE_COMPLETE);
    ck_assert_int_eq(sleeper.sleeps, 1);
}
END_TEST

START_TEST(broken_after_its_bytes)
{
    struct sleeper sleeper;
    AUTO(pipe_free) struct pipe *pipe = sleeper_pipe(&sleeper, 8, 1000);
    char data[8];
    size_t len;

    ck_assert_int_eq(pipe_write(pipe, "ab", 2), PIPE_OK);
    pipe_finish(pipe, false);
    ck_assert_int_eq(pipe_read(pipe, data, 8, &len), PIPE_BYTES);
    ck_assert_int_eq(pipe_read(pipe, data, 8, &len), PIPE_BROKEN);
}
END_TEST

START_TEST(stalled_reader)
{
    struct sleeper sleeper;
    AUTO(pipe_free) struct pipe *pipe = sleeper_pipe(&sleeper, 4, 50);
    int64_t start = clock_mono_ms();

    ck_assert_int_eq(pipe_write(pipe, "abcdef", 6), PIPE_STALLED);
    ck_assert_int_ge(clock_mono_ms() - start, 49);
}
END_TEST

START_TEST(closed_reader)
{
    struct sleeper sleeper;
    AUTO(pipe_free) struct pipe *pipe = sleeper_pipe(&sleeper, 4, 60000);

    pipe_close(pipe);
    ck_assert(pipe_is_closed(pipe));
    ck_assert_int_eq(pipe_write(pipe, "a", 1), PIPE_CLOSED);
    ck_assert_int_eq(pipe_write(pipe, "abcdef", 6), PIPE_CLOSED);
}
END_TEST

static void *pipe_closer(void *arg)
{
    pipe_close(arg);
    return NULL;
}

START_TEST(closed_while_waiting)
{
    struct sleeper sleeper;
    AUTO(pipe_free) struct pipe *pipe = sleeper_pipe(&sleeper, 4, 60000);
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, pipe_closer, pipe), 0);
    ck_assert_int_eq(pipe_write(pipe, "abcdef", 6), PIPE_CLOSED);
    pthread_join(thread, NULL);
}
END_TEST

enum { PIPE_TOTAL = 1 << 22 };

static void *pipe_writer(void *arg)
{
    unsigned char data[1000];
    enum pipe_result result = PIPE_OK;
    size_t at = 0;

    while (at < PIPE_TOTAL && result == PIPE_OK) {
        size_t len = 1 + at * 7 % sizeof(data);

        if (len > PIPE_TOTAL - at)
            len = PIPE_TOTAL - at;
        for (size_t i = 0; i < len; i++)
            data[i] = (unsigned char)((at + i) % 251);
        result = pipe_write(arg, (const char *)data, len);
        at += len;
    }
    pipe_finish(arg, result == PIPE_OK);
    return NULL;
}

START_TEST(every_byte_in_order)
{
    struct sleeper sleeper;
    AUTO(pipe_free) struct pipe *pipe = sleeper_pipe(&sleeper, 1024, 60000);
    unsigned char data[700];
    enum pipe_state state;
    pthread_t thread;
    size_t at = 0, wrong = 0, len;

    ck_assert_int_eq(pthread_create(&thread, NULL, pipe_writer, pipe), 0);
    while ((state = pipe_read(pipe, (char *)data, 1 + at % sizeof(data), &len)) != PIPE_COMPLETE) {
        for (size_t i = 0; i < len; i++)
            wrong += data[i] != (at + i) % 251;
        at += len;
        if (state == PIPE_ASLEEP)
            sleeper_wait(&sleeper);
    }
    ck_assert_uint_eq(at, PIPE_TOTAL);
    ck_assert_uint_eq(wrong, 0);
    ck_assert_int_eq(sleeper.sleeps, sleeper.wakes);
    pthread_join(thread, NULL);
}
END_TEST

Suite *pipe_suite(void); /* called from the table that tools/suites writes */

Suite *pipe_suite(void)
{
    Suite *suite = suite_create("pipe");
    TCase *tc = tcase_create("pipe");

    tcase_add_test(tc, bytes_then_the_end);
    tcase_add_test(tc, broken_after_its_bytes);
    tcase_add_test(tc, stalled_reader);
    tcase_add_test(tc, closed_reader);
    tcase_add_test(tc, closed_while_waiting);
    tcase_add_test(tc, every_byte_in_order);
    suite_add_tcase(suite, tc);
    return suite;
}
