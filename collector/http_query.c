/* Threads that answer queries, one each, and the watcher that ends those nobody waits for.
 *
 *   HTTP thread:   job, suspend ............ resume, answer ........ over: is_released
 *   query thread:         run() -> pipe ->          -> pipe -> end: is_finished
 *   watcher:       client gone, released or stopping: cancel; finished and released: free
 *
 * The HTTP threads never wait for a query thread, nor for a cancellation on its way to Postgres. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "collector/pipe.h"
#include "collector/type_cache.h"
#include "http_internal.h"

enum {
    HTTP_PIPE_BYTES = 256 * 1024,
    HTTP_WATCH_MS = 250,
    /* The piece that the library asks for at a time: more does not fit beside the headers. */
    HTTP_BLOCK_BYTES = 32 * 1024,
    HTTP_USER_BYTES_MAX = 1024,
};

/* How the answering function reaches its client. */
struct query_sender {
    struct http_query_job *job;
};

struct http_query_job {
    struct http_query_job *next; /* guarded by the list's lock, as are the four flags */
    bool is_finished;            /* the thread is about to end */
    bool is_joined;
    bool is_released; /* the request is over; its connection may be gone */
    bool is_cancelled;

    struct http_queries *queries;
    struct MHD_Connection *connection;
    int fd; /* until is_released */
    pthread_t thread;
    struct pipe *pipe;
    const struct http_route *route;

    /* The thread's until it finishes the pipe, then the HTTP thread's. */
    struct query query;
    struct query_sender sender;
    struct body body; /* query.body is in it */
    char *argument;   /* query.argument is it */
    struct buf out;
    size_t reserved; /* in the budget: the pipe and `out` */
    size_t extra;    /* likewise: query_reserve */
    bool is_writing; /* guarded by the list's lock */
    unsigned status;
    int rc;
    struct err err;
    bool is_flushed;

    pthread_mutex_t cancel_lock; /* held while cancel() runs */
    void (*cancel)(void *ctx);   /* guarded by cancel_lock, as is all below */
    void *cancel_ctx;
    bool is_cancel_wanted;
};

struct http_queries {
    const struct http_setup *setup;
    pthread_t watcher;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct http_query_job *jobs; /* guarded by lock, as is all below */
    int64_t active;              /* threads that have not finished */
    int64_t writing;             /* those of them that change the graph */
    bool is_stopping;            /* no new jobs, end those there are */
    bool is_ending;              /* the watcher is to end when there are none */
};

static void http_query_sleep(void *ctx)
{
    MHD_suspend_connection(((struct http_query_job *)ctx)->connection);
}

static void http_query_wake(void *ctx)
{
    MHD_resume_connection(((struct http_query_job *)ctx)->connection);
}

/* ---- the query thread */

static void http_query_drop(struct http_query_job *job)
{
    struct http_queries *queries = job->queries;

    stats_add(queries->setup->stats, STAT_READS_DROPPED, 1);
    log_warn("event=reader_dropped route=%s stalled_ms=%lld", job->route->path,
             (long long)job->query.config->read_stall_timeout_ms);
    pthread_mutex_lock(&queries->lock);
    if (!job->is_released)
        (void)shutdown(job->fd, SHUT_RDWR);
    pthread_mutex_unlock(&queries->lock);
}

/* A large row made `out` grow: what it holds counts. */
static int http_query_account(struct http_query_job *job, const struct buf *out, struct err *err)
{
    size_t want = HTTP_PIPE_BYTES + out->cap;

    if (want > job->reserved) {
        if (!budget_reserve(job->queries->setup->budget, want - job->reserved))
            return err_set(err, ERR_RETRY, "the memory budget is full");
        job->reserved = want;
    }
    return 0;
}

int query_flush(struct query *query, struct buf *out, struct err *err)
{
    struct http_query_job *job = query->sender->job;
    enum pipe_result result;

    if (out->full)
        return err_set(err, ERR_FATAL, "a piece of the answer is larger than %zu bytes", out->max);
    if (http_query_account(job, out, err) < 0)
        return -1;
    if (!out->len)
        return 0;
    job->is_flushed = true;
    result = pipe_write(job->pipe, out->data, out->len);
    if (result == PIPE_STALLED)
        http_query_drop(job);
    if (result != PIPE_OK)
        return err_set(err, ERR_RETRY, "the reader is gone");
    buf_clear(out);
    return 0;
}

int query_reserve(struct query *query, size_t bytes)
{
    struct http_query_job *job = query->sender->job;

    if (!budget_reserve(job->queries->setup->budget, bytes)) {
        stats_add(job->queries->setup->stats, STAT_BUDGET_REFUSED, 1);
        return fault_set(&query->fault, MHD_HTTP_SERVICE_UNAVAILABLE, "overloaded", NULL,
                         "the memory budget is full: nothing was stored, send it again later");
    }
    job->extra += bytes;
    return 0;
}

int query_begin_write(struct query *query)
{
    struct http_query_job *job = query->sender->job;
    struct http_queries *queries = job->queries;
    int64_t max = (queries->setup->config->reads_max + 1) / 2, writing;

    pthread_mutex_lock(&queries->lock);
    writing = queries->writing;
    job->is_writing = writing < max;
    queries->writing += job->is_writing;
    pthread_mutex_unlock(&queries->lock);
    if (job->is_writing)
        return 0;
    return fault_set(&query->fault, MHD_HTTP_SERVICE_UNAVAILABLE, "too_many_writes", NULL,
                     "%lld changes of the graph are under way already (half of reads_max): nothing "
                     "was stored, send it again later",
                     (long long)writing);
}

void query_cancel_set(struct query *query, void (*fn)(void *ctx), void *ctx)
{
    struct http_query_job *job = query->sender->job;

    pthread_mutex_lock(&job->cancel_lock);
    job->cancel = fn;
    job->cancel_ctx = ctx;
    if (fn && job->is_cancel_wanted) {
        fn(ctx);
        job->cancel = NULL;
    }
    pthread_mutex_unlock(&job->cancel_lock);
}

static void *http_query_run(void *arg)
{
    struct http_query_job *job = arg;
    struct http_queries *queries = job->queries;
    bool is_complete;

    job->rc =
        job->route->run(queries->setup->pool, &job->query, &job->out, &job->status, &job->err);
    if (job->rc == 0 && (job->is_flushed || job->out.full))
        job->rc = query_flush(&job->query, &job->out, &job->err);
    else if (job->rc == 0)
        job->rc = http_query_account(job, &job->out, &job->err);
    is_complete = job->rc == 0 || (!job->is_flushed && !job->query.is_unknown);
    if (job->rc < 0 && !job->query.fault.status && job->err.kind != ERR_INPUT &&
        !pipe_is_closed(job->pipe))
        log_warn("event=query_failed route=%s flushed=%d err=\"%s\"", job->route->path,
                 job->is_flushed, job->err.text);
    pipe_finish(job->pipe, is_complete);

    pthread_mutex_lock(&queries->lock);
    job->is_finished = true;
    queries->active--;
    queries->writing -= job->is_writing;
    stats_set(queries->setup->stats, STAT_READS_ACTIVE, queries->active);
    pthread_cond_broadcast(&queries->changed);
    pthread_mutex_unlock(&queries->lock);
    return NULL;
}

/* ---- the watcher */

static void http_query_free(struct http_query_job *job)
{
    pipe_free(job->pipe);
    buf_done(&job->out);
    budget_release(job->queries->setup->budget, job->reserved + job->extra);
    free(job->query.user);
    key_unref(job->query.key);
    body_done(&job->body);
    parameters_done(&job->query.parameters);
    free(job->query.next_cursor);
    type_registry_free(job->query.types);
    free(job->argument);
    pthread_mutex_destroy(&job->cancel_lock);
    free(job);
}

/* The client closed while there was nothing to send, so that no send could tell. */
static bool http_query_is_left(struct http_query_job *job)
{
    struct pollfd pollfd = { .fd = job->fd, .events = POLLRDHUP };

    return pipe_is_asleep(job->pipe) && poll(&pollfd, 1, 0) > 0 &&
           (pollfd.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static bool http_query_is_unwanted(struct http_query_job *job)
{
    if (job->is_finished || job->is_cancelled)
        return false;
    return job->is_released || job->queries->is_stopping || http_query_is_left(job);
}

/* Without the list's lock: the cancellation of a query goes over the network. Nobody but the
 * watcher frees a job. */
static void http_query_cancel(struct http_query_job *job)
{
    pipe_close(job->pipe);
    pthread_mutex_lock(&job->cancel_lock);
    job->is_cancel_wanted = true;
    if (job->cancel) {
        job->cancel(job->cancel_ctx);
        job->cancel = NULL;
    }
    pthread_mutex_unlock(&job->cancel_lock);
}

/* Joins and frees what is done with; returns one that is to be cancelled, or NULL. */
static struct http_query_job *http_queries_sweep(struct http_queries *queries)
{
    struct http_query_job **link = &queries->jobs, *job;

    while ((job = *link)) {
        if (job->is_finished && !job->is_joined) {
            pthread_join(job->thread, NULL); /* it has only to return */
            job->is_joined = true;
        }
        if (job->is_joined && job->is_released) {
            *link = job->next;
            http_query_free(job);
            continue;
        }
        if (http_query_is_unwanted(job)) {
            job->is_cancelled = true;
            return job;
        }
        link = &job->next;
    }
    return NULL;
}

static void *http_queries_watch(void *arg)
{
    struct http_queries *queries = arg;
    struct http_query_job *job;

    pthread_mutex_lock(&queries->lock);
    while (!queries->is_ending || queries->jobs) {
        struct timespec deadline = clock_mono_after(HTTP_WATCH_MS);

        while ((job = http_queries_sweep(queries))) {
            pthread_mutex_unlock(&queries->lock);
            http_query_cancel(job);
            pthread_mutex_lock(&queries->lock);
        }
        if (queries->is_ending && !queries->jobs)
            break;
        if (queries->jobs)
            (void)pthread_cond_timedwait(&queries->changed, &queries->lock, &deadline);
        else
            (void)pthread_cond_wait(&queries->changed, &queries->lock);
    }
    pthread_mutex_unlock(&queries->lock);
    return NULL;
}

struct http_queries *http_queries_start(const struct http_setup *setup)
{
    struct http_queries *queries = xcalloc(1, sizeof(*queries));
    pthread_condattr_t attributes;

    queries->setup = setup;
    pthread_mutex_init(&queries->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&queries->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&queries->watcher, NULL, http_queries_watch, queries) != 0)
        abort(); /* at start-up, one of a handful of threads: no read could be ended */
    return queries;
}

void http_queries_stop(struct http_queries *queries)
{
    if (!queries)
        return;
    pthread_mutex_lock(&queries->lock);
    queries->is_stopping = true;
    pthread_cond_broadcast(&queries->changed);
    while (queries->active)
        pthread_cond_wait(&queries->changed, &queries->lock);
    pthread_cond_broadcast(&queries->changed);
    pthread_mutex_unlock(&queries->lock);
}

void http_queries_free(struct http_queries *queries)
{
    if (!queries)
        return;
    pthread_mutex_lock(&queries->lock);
    queries->is_ending = true;
    pthread_cond_broadcast(&queries->changed);
    pthread_mutex_unlock(&queries->lock);
    pthread_join(queries->watcher, NULL);
    pthread_cond_destroy(&queries->changed);
    pthread_mutex_destroy(&queries->lock);
    free(queries);
}

/* ---- the HTTP thread */

/* Who stands in the audit: whose key it is. With keys off the name in "Authorization: Basic", which
 * nobody checks. Owned, NULL: there is none that is a name, and none that may be a key. */
static char *http_query_user(struct http_request *request)
{
    const char *text = http_request_header(request, MHD_HTTP_HEADER_AUTHORIZATION), *end;
    AUTO(buf_done) struct buf name;

    buf_init(&name, HTTP_USER_BYTES_MAX);
    if (request->key)
        return xstrdup(request->key->name);
    if (!text || strncasecmp(text, "Basic ", 6) != 0 ||
        base64_decode(span_of(text + 6), &name) < 0 || name.full || !name.len)
        return NULL;
    end = memchr(name.data, ':', name.len);
    if (!end)
        return NULL;
    name.len = (size_t)(end - name.data);
    if (key_is_whole(buf_span(&name)))
        return NULL;
    for (size_t i = 0, len; i < name.len; i += len) {
        len = (unsigned char)name.data[i] < ' ' ? 0 : utf8_char_len(name.data + i, name.len - i);
        if (!len)
            return NULL;
    }
    return name.len ? xmemdup0(name.data, name.len) : NULL;
}

/* The job takes over what the request has gathered for it: it may outlive the request. */
static struct http_query_job *http_query_new(struct http_request *request, enum media_type accept)
{
    struct http *http = request->http;
    struct http_query_job *job = xcalloc(1, sizeof(*job));
    struct pipe_reader reader = { http_query_sleep, http_query_wake, job };
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    job->queries = http->queries;
    job->connection = request->connection;
    job->fd = info->connect_fd;
    job->route = request->route;
    job->pipe = pipe_new(HTTP_PIPE_BYTES, request->config->read_stall_timeout_ms, &reader);
    job->reserved = HTTP_PIPE_BYTES;
    job->status = MHD_HTTP_OK;
    buf_init(&job->out, QUERY_OUT_BYTES_MAX);
    pthread_mutex_init(&job->cancel_lock, NULL);
    job->body = request->body;
    body_init(&request->body, http->setup.budget, request->body.max);
    job->argument = TAKE(request->argument);
    job->sender.job = job;
    job->query = (struct query){ .config = request->config,
                                 .stats = http->setup.stats,
                                 .type_cache = http->setup.types,
                                 .tag_cache = http->setup.tags,
                                 .spool = http->setup.spool,
                                 .types = type_cache_get(http->setup.types),
                                 .argument = { job->argument, request->argument_len },
                                 .parameters = request->parameters,
                                 .body = { job->body.data, job->body.len },
                                 .method = request->route->query_method,
                                 .user = http_query_user(request),
                                 .key = request->key ? key_ref(request->key) : NULL,
                                 .accept = accept,
                                 .content_type = "application/json",
                                 .sender = &job->sender };
    request->parameters = (struct parameters){ 0 };
    return job;
}

/* Suspends the request and starts the thread. Under the lock, so that the watcher sees a job with a
 * thread or none. -1: it could not be started, the request is not suspended. */
static int http_query_start(struct http_request *request, enum media_type accept,
                            struct fault *fault)
{
    struct http_queries *queries = request->http->queries;
    struct http_query_job *job;
    int rc = -1;

    pthread_mutex_lock(&queries->lock);
    if (queries->is_stopping || queries->active >= queries->setup->config->reads_max) {
        (void)fault_set(fault, MHD_HTTP_SERVICE_UNAVAILABLE, "too_many_reads", NULL,
                        "%lld reads are under way already (reads_max): ask again later",
                        (long long)queries->active);
    } else if (!budget_reserve(queries->setup->budget, HTTP_PIPE_BYTES)) {
        (void)http_fault_overloaded(request, fault);
    } else {
        job = http_query_new(request, accept);
        request->job = job;
        request->phase = HTTP_WAITING;
        (void)!pipe_await(job->pipe); /* nothing is there yet: it suspends */
        if (pthread_create(&job->thread, NULL, http_query_run, job) == 0) {
            queries->active++;
            stats_set(queries->setup->stats, STAT_READS_ACTIVE, queries->active);
        } else {
            job->rc = err_set(&job->err, ERR_RETRY, "no thread could be started");
            job->is_finished = job->is_joined = true;
            pipe_finish(job->pipe, true); /* resumes, and the error is answered */
        }
        job->next = queries->jobs;
        queries->jobs = job;
        pthread_cond_broadcast(&queries->changed);
        rc = 0;
    }
    pthread_mutex_unlock(&queries->lock);
    return rc;
}

enum MHD_Result http_query_handle(struct http_request *request)
{
    const char *accept = http_request_header(request, MHD_HTTP_HEADER_ACCEPT);
    enum media_type type = MEDIA_JSON;
    struct fault fault = { 0 };

    if (request->route->negotiates && media_accept(accept, &type) < 0) {
        (void)fault_set(&fault, MHD_HTTP_NOT_ACCEPTABLE, "not_acceptable", MHD_HTTP_HEADER_ACCEPT,
                        "Accept \"%.*s\" allows none of %s", fault_quote_len(strlen(accept)),
                        accept, MEDIA_ROW_FORMATS);
        return http_answer_fault(request, &fault);
    }
    if (request->route->takes_body && http_request_decompress(request, &fault) < 0)
        return http_answer_fault(request, &fault);
    if (http_query_start(request, type, &fault) < 0)
        return http_answer_fault(request, &fault);
    return MHD_YES;
}

static ssize_t http_query_content(void *cls, uint64_t pos, char *data, size_t max)
{
    struct http_query_job *job = cls;
    size_t len;

    (void)pos;
    switch (pipe_read(job->pipe, data, max, &len)) {
    case PIPE_BYTES:
        return (ssize_t)len;
    case PIPE_ASLEEP:
        return 0; /* suspended: 0 alone would make the library ask again and again */
    case PIPE_COMPLETE:
        return MHD_CONTENT_READER_END_OF_STREAM;
    default:
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
}

/* What the formats without a place for it say in the head. */
static void http_query_add_headers(const struct query *query, struct MHD_Response *response)
{
    char number[24];

    if (!response)
        return;
    if (query->next_cursor)
        (void)MHD_add_response_header(response, "Plumbline-Next-Cursor", query->next_cursor);
    if (!query->truncated_before_ms)
        return;
    (void)snprintf(number, sizeof(number), "%lld", (long long)query->truncated_before_ms);
    (void)MHD_add_response_header(response, "Plumbline-Truncated-Before-Ms", number);
}

static enum MHD_Result http_query_stream(struct http_request *request)
{
    struct http_query_job *job = request->job;
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, HTTP_BLOCK_BYTES, http_query_content,
                                          job, NULL);

    http_query_add_headers(&job->query, response);
    return http_answer_response(request, MHD_HTTP_OK, job->query.content_type, response);
}

/* An answer that was small enough to wait until it was whole. */
static enum MHD_Result http_query_whole(struct http_request *request)
{
    struct http_query_job *job = request->job;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(job->out.len, job->out.data, MHD_RESPMEM_MUST_FREE);

    if (response) { /* the bytes are the response's now */
        job->out.data = NULL;
        job->out.len = job->out.cap = 0;
    }
    http_query_add_headers(&job->query, response);
    return http_answer_response(request, job->status, job->query.content_type, response);
}

static enum MHD_Result http_query_fault(struct http_request *request)
{
    struct http_query_job *job = request->job;
    struct fault *fault = &job->query.fault;

    if (!fault->status && job->err.kind == ERR_INPUT)
        (void)fault_set(fault, MHD_HTTP_BAD_REQUEST, "invalid_query", NULL, "%s", job->err.text);
    else if (!fault->status && job->err.kind == ERR_FATAL)
        (void)fault_set(fault, MHD_HTTP_INTERNAL_SERVER_ERROR, "internal", NULL, "%s",
                        job->err.text);
    else if (!fault->status)
        (void)fault_set(fault, MHD_HTTP_SERVICE_UNAVAILABLE, "unavailable", NULL,
                        "the question can't be answered now, the daemon's log says why: ask again "
                        "later");
    return http_answer_fault(request, fault);
}

enum MHD_Result http_query_resume(struct http_request *request)
{
    struct http_query_job *job = request->job;

    switch (pipe_await(job->pipe)) {
    case PIPE_BYTES:
        return http_query_stream(request);
    case PIPE_ASLEEP:
        return MHD_YES;
    case PIPE_COMPLETE:
        if (job->rc < 0)
            return http_query_fault(request);
        return http_query_whole(request);
    default:
        return MHD_NO;
    }
}

void http_query_abandon(struct http_request *request)
{
    struct http_query_job *job = request->job;
    struct http_queries *queries = job->queries;

    pipe_close(job->pipe);
    pthread_mutex_lock(&queries->lock);
    job->is_released = true;
    pthread_cond_broadcast(&queries->changed);
    pthread_mutex_unlock(&queries->lock);
    request->job = NULL;
}
