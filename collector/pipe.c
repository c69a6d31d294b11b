#include "collector/pipe.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

struct pipe {
    pthread_mutex_t lock;
    pthread_cond_t room;
    struct pipe_reader reader;
    int64_t stall_timeout_ms;
    size_t cap;
    size_t start; /* guarded by lock, as is all below: of the oldest byte */
    size_t len;
    bool is_asleep; /* the reader */
    bool is_closed;
    bool is_finished;
    bool is_complete;
    char ring[];
};

struct pipe *pipe_new(size_t bytes, int64_t stall_timeout_ms, const struct pipe_reader *reader)
{
    struct pipe *pipe = xmalloc(sizeof(*pipe) + bytes);
    pthread_condattr_t attributes;

    *pipe = (struct pipe){ .reader = *reader, .stall_timeout_ms = stall_timeout_ms, .cap = bytes };
    pthread_mutex_init(&pipe->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pipe->room, &attributes);
    pthread_condattr_destroy(&attributes);
    return pipe;
}

void pipe_free(struct pipe *pipe)
{
    if (!pipe)
        return;
    assert(!pipe->is_asleep);
    pthread_cond_destroy(&pipe->room);
    pthread_mutex_destroy(&pipe->lock);
    free(pipe);
}

static void pipe_wake(struct pipe *pipe)
{
    if (pipe->is_asleep) {
        pipe->is_asleep = false;
        pipe->reader.wake(pipe->reader.ctx);
    }
}

static size_t pipe_put(struct pipe *pipe, const char *data, size_t len)
{
    size_t end = (pipe->start + pipe->len) % pipe->cap;
    size_t room = pipe->cap - pipe->len;
    size_t part;

    if (len > room)
        len = room;
    part = len < pipe->cap - end ? len : pipe->cap - end; /* up to the ring's seam */
    memcpy(pipe->ring + end, data, part);
    memcpy(pipe->ring, data + part, len - part);
    pipe->len += len;
    return len;
}

enum pipe_result pipe_write(struct pipe *pipe, const char *data, size_t len)
{
    struct timespec deadline = clock_mono_after(pipe->stall_timeout_ms);
    enum pipe_result result = PIPE_OK;
    size_t len_seen;

    pthread_mutex_lock(&pipe->lock);
    while (len && result == PIPE_OK) {
        size_t put = pipe_put(pipe, data, len);

        data += put;
        len -= put;
        if (put)
            pipe_wake(pipe);
        len_seen = pipe->len;
        if (pipe->is_closed)
            result = PIPE_CLOSED;
        else if (len && pthread_cond_timedwait(&pipe->room, &pipe->lock, &deadline) == ETIMEDOUT &&
                 pipe->len == len_seen && !pipe->is_closed)
            result = PIPE_STALLED;
        else if (pipe->len < len_seen) /* it took something: the time starts again */
            deadline = clock_mono_after(pipe->stall_timeout_ms);
    }
    if (pipe->is_closed)
        result = PIPE_CLOSED;
    pthread_mutex_unlock(&pipe->lock);
    return result;
}

void pipe_finish(struct pipe *pipe, bool complete)
{
    pthread_mutex_lock(&pipe->lock);
    pipe->is_finished = true;
    pipe->is_complete = complete;
    pipe_wake(pipe);
    pthread_mutex_unlock(&pipe->lock);
}

/* Bytes come before the verdict: what a broken answer had is sent up to where it broke. */
static enum pipe_state pipe_state(struct pipe *pipe)
{
    if (pipe->len)
        return PIPE_BYTES;
    if (pipe->is_finished)
        return pipe->is_complete ? PIPE_COMPLETE : PIPE_BROKEN;
    pipe->is_asleep = true;
    pipe->reader.sleep(pipe->reader.ctx);
    return PIPE_ASLEEP;
}

enum pipe_state pipe_await(struct pipe *pipe)
{
    enum pipe_state state;

    pthread_mutex_lock(&pipe->lock);
    state = pipe_state(pipe);
    pthread_mutex_unlock(&pipe->lock);
    return state;
}

enum pipe_state pipe_read(struct pipe *pipe, char *data, size_t max, size_t *len)
{
    enum pipe_state state;
    size_t part;

    *len = 0;
    pthread_mutex_lock(&pipe->lock);
    state = pipe_state(pipe);
    if (state == PIPE_BYTES) {
        *len = max < pipe->len ? max : pipe->len;
        part = *len < pipe->cap - pipe->start ? *len : pipe->cap - pipe->start;
        memcpy(data, pipe->ring + pipe->start, part);
        memcpy(data + part, pipe->ring, *len - part);
        pipe->start = (pipe->start + *len) % pipe->cap;
        pipe->len -= *len;
        if (pipe->len <= pipe->cap / 2) /* not for every few bytes: the writer fills a good part */
            pthread_cond_signal(&pipe->room);
    }
    pthread_mutex_unlock(&pipe->lock);
    return state;
}

void pipe_close(struct pipe *pipe)
{
    pthread_mutex_lock(&pipe->lock);
    pipe->is_closed = true;
    pthread_cond_signal(&pipe->room);
    pthread_mutex_unlock(&pipe->lock);
}

bool pipe_is_closed(struct pipe *pipe)
{
    bool is_closed;

    pthread_mutex_lock(&pipe->lock);
    is_closed = pipe->is_closed;
    pthread_mutex_unlock(&pipe->lock);
    return is_closed;
}

bool pipe_is_asleep(struct pipe *pipe)
{
    bool is_asleep;

    pthread_mutex_lock(&pipe->lock);
    is_asleep = pipe->is_asleep;
    pthread_mutex_unlock(&pipe->lock);
    return is_asleep;
}
