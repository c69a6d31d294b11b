/* A bounded pipe of bytes between the thread that makes an answer and the thread that sends it.
 *
 *   query thread -- pipe_write(): waits for room --> [ ring ] -- pipe_read(): never waits --> HTTP
 *
 * When there is nothing to read the reader is put to sleep instead of asking again, and is woken by
 * the next byte or the end. */
#ifndef COLLECTOR_PIPE_H
#define COLLECTOR_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

/* How the reader sleeps. Both are called under the pipe's lock and must not block or call back;
 * each sleep is followed by exactly one wake. */
struct pipe_reader {
    void (*sleep)(void *ctx);
    void (*wake)(void *ctx);
    void *ctx;
};

struct pipe;

struct pipe *pipe_new(size_t bytes, int64_t stall_timeout_ms, const struct pipe_reader *reader);
/* Neither side may be inside. */
void pipe_free(struct pipe *pipe);
AUTO_DEFINE(struct pipe, pipe_free);

enum pipe_result {
    PIPE_OK,
    PIPE_CLOSED,  /* the reader is gone */
    PIPE_STALLED, /* the reader took nothing for stall_timeout_ms */
};

/* The writing thread: all of `data`, waiting for room. */
enum pipe_result pipe_write(struct pipe *pipe, const char *data, size_t len) MUST_CHECK;
/* The writing thread: no more bytes. `complete`: what was written is the whole. */
void pipe_finish(struct pipe *pipe, bool complete);

enum pipe_state {
    PIPE_BYTES,    /* something to read */
    PIPE_ASLEEP,   /* nothing yet: sleep() was called, wake() will be */
    PIPE_COMPLETE, /* everything was read */
    PIPE_BROKEN,   /* the writer gave up in the middle */
};

/* The reading thread: what pipe_read would find. */
enum pipe_state pipe_await(struct pipe *pipe) MUST_CHECK;
/* The reading thread: *len bytes at most `max`, 0 unless PIPE_BYTES. */
enum pipe_state pipe_read(struct pipe *pipe, char *data, size_t max, size_t *len) MUST_CHECK;
/* Any thread: nobody will read any more; pipe_write ends with PIPE_CLOSED. */
void pipe_close(struct pipe *pipe);
bool pipe_is_closed(struct pipe *pipe);
/* Any thread: the reader sleeps, it has been sent everything there is. */
bool pipe_is_asleep(struct pipe *pipe);

#endif
