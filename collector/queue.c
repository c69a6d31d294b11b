#include "collector/queue.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"

enum { QUEUE_PATIENCE_MS = 200 };

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;  /* there is something */
    pthread_cond_t loaded;   /* there is as much as load_bytes */
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
};

struct queue *queue_new(void)
{
    struct queue *queue = xcalloc(1, sizeof(*queue));

    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->changed, NULL);
    pthread_cond_init(&queue->loaded, NULL);
    queue->load_bytes = SIZE_MAX;
    queue->tail = &queue->head;
    return queue;
}

void queue_free(struct queue *queue)
{
    if (!queue)
        return;
    assert(!queue->head);
    pthread_cond_destroy(&queue->changed);
    pthread_cond_destroy(&queue->loaded);
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
        queue->bytes += submission->bytes;
        pthread_cond_signal(&queue->changed);
        if (queue->bytes >= queue->load_bytes)
            pthread_cond_signal(&queue->loaded);
        rc = 0;
    }
    pthread_mutex_unlock(&queue->lock);
    return rc;
}

/* Cuts the first `count` off; `last` is the last of them. */
static struct submission *queue_cut(struct queue *queue, struct submission *last, uint32_t count)
{
    struct submission *first = queue->head;

    for (const struct submission *s = first; s != last->next; s = s->next)
        queue->bytes -= s->bytes;
    queue->head = last->next;
    if (!queue->head)
        queue->tail = &queue->head;
    last->next = NULL;
    queue->len -= count;
    return first;
}

/* Under the lock. */
static void queue_wait(struct queue *queue, size_t bytes_min)
{
    while (!queue->is_closed &&
           (!queue->head || (queue->bytes < bytes_min && !queue->is_overdue))) {
        if (bytes_min > 1 && bytes_min < queue->load_bytes)
            queue->load_bytes = bytes_min;
        pthread_cond_wait(bytes_min > 1 ? &queue->loaded : &queue->changed, &queue->lock);
    }
}

struct submission *queue_take(struct queue *queue, size_t bytes_min, uint32_t events_max,
                              size_t bytes_max)
{
    struct submission *taken = NULL;

    pthread_mutex_lock(&queue->lock);
    queue_wait(queue, bytes_min);
    if (queue->head) {
        struct submission *last = queue->head;
        uint64_t events = last->list.len;
        size_t bytes = last->bytes;
        uint32_t count = 1;

        while (last->next) {
            events += last->next->list.len;
            bytes += last->next->bytes;
            if (events > events_max || bytes > bytes_max)
                break;
            last = last->next;
            count++;
        }
        taken = queue_cut(queue, last, count);
        queue->takes++;
        queue->is_overdue = false;
    }
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

struct submission *queue_tick(struct queue *queue, int64_t now_mono_ms)
{
    struct submission *taken = NULL, **taken_tail = &taken, **place, *s;

    pthread_mutex_lock(&queue->lock);
    for (place = &queue->head; (s = *place);) {
        if (s->deadline_mono_ms >= now_mono_ms) {
            place = &s->next;
            continue;
        }
        *place = s->next;
        queue->len--;
        queue->bytes -= s->bytes;
        s->next = NULL;
        *taken_tail = s;
        taken_tail = &s->next;
    }
    queue->tail = place;
    queue_watch(queue, now_mono_ms);
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

void queue_close(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->is_closed = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_cond_broadcast(&queue->loaded);
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
