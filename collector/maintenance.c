#include "collector/maintenance.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

enum { ROUND_MS = 1000 };

struct maintenance {
    const char *name;
    maintenance_round *round;
    struct store *store;
    pthread_t thread;
    _Atomic int64_t round_ms; /* monotonic: when the last round began; negative: ended in failure */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_stopping; /* guarded by lock */
};

/* Waits for the next round. false: there is none. */
static bool maintenance_wait(struct maintenance *maintenance, int64_t ms)
{
    struct timespec until = clock_mono_after(ms);
    bool go_on;

    (void)pthread_mutex_lock(&maintenance->lock);
    if (ms && !maintenance->is_stopping)
        (void)pthread_cond_timedwait(&maintenance->wake, &maintenance->lock, &until);
    go_on = !maintenance->is_stopping;
    (void)pthread_mutex_unlock(&maintenance->lock);
    return go_on;
}

static void *maintenance_run(void *arg)
{
    struct maintenance *maintenance = arg;
    bool more = true, failing = false; /* the first round at once */

    while (maintenance_wait(maintenance, more ? 0 : ROUND_MS)) {
        struct err err = { 0 };
        int64_t start_ms = clock_mono_ms();
        bool failed = maintenance->round(maintenance->store, clock_now_ms(), &more, &err) < 0;

        if (failed && !failing) /* once a failure, not once a round */
            log_warn("event=maintenance_failed name=%s action=retry wait_ms=%d err=\"%s\"",
                     maintenance->name, ROUND_MS, err.text);
        if (!failed && failing)
            log_info("event=maintenance_works name=%s", maintenance->name);
        failing = failed;
        maintenance->round_ms = failed ? -clock_mono_ms() : start_ms;
    }
    return NULL;
}

struct maintenance *maintenance_start(const struct store_setup *setup, const char *name,
                                      maintenance_round *round)
{
    struct maintenance *maintenance = xcalloc(1, sizeof(*maintenance));
    pthread_condattr_t attr;

    maintenance->name = name;
    maintenance->round = round;
    maintenance->store = store_new(setup, name);
    maintenance->round_ms = clock_mono_ms(); /* the migrations have just gone well */
    (void)pthread_mutex_init(&maintenance->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&maintenance->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (pthread_create(&maintenance->thread, NULL, maintenance_run, maintenance) != 0) {
        log_error("event=thread_failed name=%s", name);
        abort();
    }
    return maintenance;
}

void maintenance_stop(struct maintenance *maintenance)
{
    struct timespec pause = { 0, 20 * 1000000 };

    if (!maintenance)
        return;
    (void)pthread_mutex_lock(&maintenance->lock);
    maintenance->is_stopping = true;
    (void)pthread_cond_signal(&maintenance->wake);
    (void)pthread_mutex_unlock(&maintenance->lock);
    while (pthread_tryjoin_np(maintenance->thread, NULL) != 0) {
        (void)store_interrupt(maintenance->store, clock_mono_ms(), ROUND_MS);
        (void)nanosleep(&pause, NULL);
    }
    store_free(maintenance->store);
    (void)pthread_cond_destroy(&maintenance->wake);
    (void)pthread_mutex_destroy(&maintenance->lock);
    free(maintenance);
}

int64_t maintenance_round_ms(const struct maintenance *maintenance)
{
    return maintenance->round_ms;
}

void maintenance_tick(struct maintenance *maintenance, int64_t now_mono_ms, int64_t ms_max)
{
    if (maintenance && store_interrupt(maintenance->store, now_mono_ms, ms_max))
        log_warn("event=round_broken_off name=%s after_ms=%lld", maintenance->name,
                 (long long)ms_max);
}
