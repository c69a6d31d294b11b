#include "collector/queue.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/spool.h"

enum { QUEUE_PATIENCE_MS = 200 };

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;  /* there is something */
    pthread_cond_t loaded;   /* there is as much as load_bytes */
    pthread_cond_t aside;    /* something is to go to the spool */
    struct submission *head; /* guarded by lock, as is all below */
    struct submission **tail;
    uint32_t len;
    size_t bytes;
    size_t load_bytes; /* the least that a thread waits for which does not take less */
    uint64_t takes;
    uint64_t takes_seen;  /* by queue_tick, when it last saw somebody take */
    int64_t seen_mono_ms; /* when that was */
    bool is_overdue;      /* whoever would take in time does not: whoever waits for more may */
    bool is_closed;

    struct spool *spool;              /* borrowed; NULL: none */
    int64_t after_ms;                 /* const after queue_set_spool */
    _Atomic int64_t progress_mono_ms; /* when something was committed last */
    uint32_t http_len;                /* of len, what may go to the spool */
    uint32_t asides;                  /* threads that append to the spool */
    bool is_diverted;
    bool is_stalled; /* something by HTTP has waited for too long */
    bool is_held;
};

struct queue *queue_new(void)
{
    struct queue *queue = xcalloc(1, sizeof(*queue));
    pthread_condattr_t attr;

    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->changed, NULL);
    pthread_cond_init(&queue->loaded, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->aside, &attr);
    pthread_condattr_destroy(&attr);
    queue->load_bytes = SIZE_MAX;
    queue->tail = &queue->head;
    return queue;
}

void queue_set_spool(struct queue *queue, struct spool *spool, int64_t after_ms)
{
    queue->spool = spool;
    queue->after_ms = after_ms;
    queue->progress_mono_ms = clock_mono_ms();
    queue->is_diverted = !spool_is_empty(spool);
}

void queue_free(struct queue *queue)
{
    if (!queue)
        return;
    assert(!queue->head);
    pthread_cond_destroy(&queue->changed);
    pthread_cond_destroy(&queue->loaded);
    pthread_cond_destroy(&queue->aside);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

int queue_push(struct queue *queue, struct submission *submission)
{
    int rc = -1;

    pthread_mutex_lock(&queue->lock);
    if (!queue->is_closed) {
        submission->next = NULL;
        *queue->tail = submission;
        queue->tail = &submission->next;
        queue->len++;
        queue->http_len += !submission->origin;
        queue->bytes += submission->bytes;
        pthread_cond_signal(queue->is_diverted ? &queue->aside : &queue->changed);
        if (queue->bytes >= queue->load_bytes)
            pthread_cond_signal(&queue->loaded);
        rc = 0;
    }
    pthread_mutex_unlock(&queue->lock);
    return rc;
}

/* Under the lock: moves the submission at `place` to the end of another list. */
static void queue_move(struct queue *queue, struct submission **place, struct submission ***tail)
{
    struct submission *s = *place;

    *place = s->next;
    if (!s->next)
        queue->tail = place;
    queue->len--;
    queue->http_len -= !s->origin;
    queue->bytes -= s->bytes;
    s->next = NULL;
    **tail = s;
    *tail = &s->next;
}

/* Under the lock: what came by one way, from the oldest, at least one if there is any. The others
 * keep their places. */
static struct submission *queue_cut(struct queue *queue, bool is_http, uint32_t events_max,
                                    size_t bytes_max)
{
    struct submission *taken = NULL, **tail = &taken, **place = &queue->head, *s;
    uint64_t events = 0;
    size_t bytes = 0;

    while ((s = *place)) {
        if (!s->origin != is_http) {
            place = &s->next;
            continue;
        }
        events += s->list.len;
        bytes += s->bytes;
        if (taken && (events > events_max || bytes > bytes_max))
            break;
        queue_move(queue, place, &tail);
    }
    return taken;
}

/* Under the lock. */
static void queue_wait(struct queue *queue, size_t bytes_min)
{
    while (!queue->is_closed && (queue->is_diverted || !queue->head ||
                                 (queue->bytes < bytes_min && !queue->is_overdue))) {
        if (bytes_min > 1 && bytes_min < queue->load_bytes)
            queue->load_bytes = bytes_min;
        pthread_cond_wait(bytes_min > 1 ? &queue->loaded : &queue->changed, &queue->lock);
    }
}

/* Under the lock: the oldest says whose turn it is, so that neither way waits for the other. */
static struct submission *queue_take_oldest(struct queue *queue, uint32_t events_max,
                                            size_t bytes_max)
{
    queue->takes++;
    queue->is_overdue = false;
    return queue_cut(queue, !queue->head->origin, events_max, bytes_max);
}

struct submission *queue_take(struct queue *queue, size_t bytes_min, uint32_t events_max,
                              size_t bytes_max)
{
    struct submission *taken = NULL;

    pthread_mutex_lock(&queue->lock);
    queue_wait(queue, bytes_min);
    if (queue->head)
        taken = queue_take_oldest(queue, events_max, bytes_max);
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

struct submission *queue_take_or_replay(struct queue *queue, uint32_t events_max, size_t bytes_max,
                                        bool *diverted)
{
    struct submission *taken = NULL;

    pthread_mutex_lock(&queue->lock);
    while (!queue->is_closed && !queue->is_diverted && !queue->head)
        pthread_cond_wait(&queue->changed, &queue->lock);
    *diverted = queue->is_diverted && !queue->is_closed;
    if (queue->head && !*diverted)
        taken = queue_take_oldest(queue, events_max, bytes_max);
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

/* Under the lock. */
static void queue_watch(struct queue *queue, int64_t now_mono_ms)
{
    if (!queue->head || queue->takes != queue->takes_seen) {
        queue->takes_seen = queue->takes;
        queue->seen_mono_ms = now_mono_ms;
    } else if (now_mono_ms - queue->seen_mono_ms >= QUEUE_PATIENCE_MS) {
        queue->is_overdue = true;
        pthread_cond_signal(&queue->loaded);
    }
}

/* Under the lock: whether what waits is to go to the spool. */
static void queue_watch_stall(struct queue *queue, int64_t now_mono_ms)
{
    const struct submission *oldest = queue->head;
    bool is_late;

    while (oldest && oldest->origin)
        oldest = oldest->next;
    is_late = oldest && now_mono_ms - oldest->came_mono_ms >= queue->after_ms;
    queue->is_stalled = is_late && now_mono_ms - queue->progress_mono_ms >= queue->after_ms;
    if (is_late)
        queue->is_held = false;
    if (is_late && (queue->is_stalled || queue->is_diverted))
        pthread_cond_signal(&queue->aside);
}

struct submission *queue_tick(struct queue *queue, int64_t now_mono_ms)
{
    struct submission *taken = NULL, **tail = &taken, **place = &queue->head;

    pthread_mutex_lock(&queue->lock);
    while (*place) {
        if ((*place)->deadline_mono_ms < now_mono_ms)
            queue_move(queue, place, &tail);
        else
            place = &(*place)->next;
    }
    queue_watch(queue, now_mono_ms);
    if (queue->spool)
        queue_watch_stall(queue, now_mono_ms);
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

void queue_close(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->is_closed = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_cond_broadcast(&queue->loaded);
    pthread_cond_broadcast(&queue->aside);
    pthread_mutex_unlock(&queue->lock);
}

uint32_t queue_len(struct queue *queue)
{
    uint32_t len;

    pthread_mutex_lock(&queue->lock);
    len = queue->len;
    pthread_mutex_unlock(&queue->lock);
    return len;
}

bool queue_is_closed(struct queue *queue)
{
    bool is_closed;

    pthread_mutex_lock(&queue->lock);
    is_closed = queue->is_closed;
    pthread_mutex_unlock(&queue->lock);
    return is_closed;
}

/* --------------------------------------------------------------------------------- with a spool */

bool queue_is_cut_off(struct queue *queue)
{
    bool is_cut_off;

    pthread_mutex_lock(&queue->lock);
    is_cut_off = queue->is_closed && queue->is_diverted;
    pthread_mutex_unlock(&queue->lock);
    return is_cut_off;
}

/* Under the lock. */
static bool queue_has_aside(const struct queue *queue)
{
    return queue->http_len && (queue->is_diverted ? !queue->is_held : queue->is_stalled);
}

struct submission *queue_take_aside(struct queue *queue, uint32_t events_max, size_t bytes_max,
                                    int64_t wait_ms)
{
    struct timespec until = clock_mono_after(wait_ms);
    struct submission *taken = NULL;
    int rc = 0;

    pthread_mutex_lock(&queue->lock);
    while (!queue->is_closed && !queue_has_aside(queue) && rc == 0)
        rc = pthread_cond_timedwait(&queue->aside, &queue->lock, &until);
    if (!queue->is_closed && queue_has_aside(queue)) {
        queue->is_diverted = true;
        queue->asides++;
        taken = queue_cut(queue, true, events_max, bytes_max);
        pthread_cond_broadcast(&queue->changed); /* whoever replays */
    }
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

void queue_divert(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->is_diverted = true;
    queue->asides++;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

/* Under the lock. */
static bool queue_try_rejoin(struct queue *queue)
{
    if (queue->asides || !spool_is_empty(queue->spool))
        return false;
    queue->is_diverted = queue->is_stalled = queue->is_held = false;
    queue->progress_mono_ms = clock_mono_ms();
    pthread_cond_broadcast(&queue->changed);
    pthread_cond_broadcast(&queue->loaded);
    return true;
}

void queue_divert_done(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->asides--;
    (void)queue_try_rejoin(queue);
    pthread_cond_broadcast(&queue->changed);
    pthread_cond_signal(&queue->aside);
    pthread_mutex_unlock(&queue->lock);
}

bool queue_is_diverted(struct queue *queue)
{
    bool is_diverted;

    pthread_mutex_lock(&queue->lock);
    is_diverted = queue->is_diverted;
    pthread_mutex_unlock(&queue->lock);
    return is_diverted;
}

void queue_progress(struct queue *queue, int64_t now_mono_ms)
{
    queue->progress_mono_ms = now_mono_ms;
}

void queue_hold(struct queue *queue, bool is_held)
{
    pthread_mutex_lock(&queue->lock);
    queue->is_held = is_held;
    if (!is_held)
        pthread_cond_signal(&queue->aside);
    pthread_mutex_unlock(&queue->lock);
}

bool queue_rejoin(struct queue *queue)
{
    bool is_direct;

    pthread_mutex_lock(&queue->lock);
    while (queue->asides && !queue->is_closed)
        pthread_cond_wait(&queue->changed, &queue->lock);
    is_direct = queue_try_rejoin(queue);
    pthread_mutex_unlock(&queue->lock);
    return is_direct;
}
