/* A database that is made up: stands for collector/read.c and the catalog's queries in the unit
 * tests. What it gives is written in the DSN: rows=N bytes=N (of metrics), open=retry open=input,
 * fail_at=N and wait_at=N (row numbers from 0: the server fails; nothing comes until cancelled),
 * columns=1 (every row has a name of its own), horizon=MS (rows before it are dropped). */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/queries.h"
#include "collector/read.h"
#include "collector/store_pool.h"
#include "fake_collector.h"

struct read {
    const struct read_query *query;
    long rows, at, fail_at, wait_at, bytes, horizon_ms;
    bool columns;
    bool is_cancelled; /* guarded by fake_lock */
    struct buf metrics;
};

static pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t fake_changed = PTHREAD_COND_INITIALIZER;
static int fake_open, fake_cancelled; /* guarded by fake_lock */

static long fake_option(const char *dsn, const char *name, long preset)
{
    const char *at = strstr(dsn, name);

    return at ? strtol(at + strlen(name), NULL, 10) : preset;
}

struct read *read_open(struct store_pool *pool, const struct read_query *query, struct err *err)
{
    struct read *read;

    if (strstr(store_pool_dsn(pool), "open=retry")) {
        (void)err_set(err, ERR_RETRY, "the database is away");
        return NULL;
    }
    if (strstr(store_pool_dsn(pool), "open=input") ||
        (query->cursor && strcmp(query->cursor, "bad") == 0)) {
        (void)err_set(err, ERR_INPUT, "not a cursor of this query");
        return NULL;
    }
    read = xcalloc(1, sizeof(*read));
    read->query = query;
    read->rows = fake_option(store_pool_dsn(pool), "rows=", 3);
    read->bytes = fake_option(store_pool_dsn(pool), "bytes=", 20);
    read->fail_at = fake_option(store_pool_dsn(pool), "fail_at=", -1);
    read->wait_at = fake_option(store_pool_dsn(pool), "wait_at=", -1);
    read->horizon_ms = fake_option(store_pool_dsn(pool), "horizon=", 0);
    read->columns = fake_option(store_pool_dsn(pool), "columns=", 0) != 0;
    buf_init(&read->metrics, 1 << 24);
    pthread_mutex_lock(&fake_lock);
    fake_open++;
    pthread_mutex_unlock(&fake_lock);
    return read;
}

void read_free(struct read *read)
{
    if (!read)
        return;
    buf_done(&read->metrics);
    free(read);
    pthread_mutex_lock(&fake_lock);
    fake_open--;
    pthread_cond_broadcast(&fake_changed);
    pthread_mutex_unlock(&fake_lock);
}

static int fake_wait(struct read *read, struct err *err)
{
    pthread_mutex_lock(&fake_lock);
    while (!read->is_cancelled)
        pthread_cond_wait(&fake_changed, &fake_lock);
    pthread_mutex_unlock(&fake_lock);
    return err_set(err, ERR_RETRY, "cancelled");
}

int read_next(struct read *read, struct row *row, struct err *err)
{
    long rows = read->query->limit && read->query->limit < read->rows ? (long)read->query->limit
                                                                      : read->rows;

    if (read->at == read->wait_at)
        return fake_wait(read, err);
    if (read->at == read->fail_at)
        return err_set(err, ERR_RETRY, "the database went away");
    if (read->at == rows)
        return 0;
    buf_clear(&read->metrics);
    buf_append_fmt(&read->metrics, "{\"%s%ld\":\"", read->columns ? "k" : "",
                   read->columns ? read->at : 0);
    for (long i = 0; i < read->bytes; i++)
        buf_append_char(&read->metrics, 'x');
    buf_append_text(&read->metrics, "\"}");
    *row = (struct row){ .deployment_crn = SPAN_LITERAL("crn:d"),
                         .build_crn = SPAN_LITERAL(""),
                         .model_crn = SPAN_LITERAL(""),
                         .start_ms = read->at,
                         .end_ms = read->at,
                         .uuid = SPAN_LITERAL(""),
                         .metrics = buf_span(&read->metrics) };
    read->at++;
    return 1;
}

int read_truncated_before(struct read *read, int64_t *before_ms, struct err *err)
{
    (void)err;
    *before_ms = read->query->start_ms < read->horizon_ms ? read->horizon_ms : 0;
    return 0;
}

const char *read_next_cursor(const struct read *read)
{
    return read->query->limit && read->query->limit < read->rows ? "next" : NULL;
}

int read_peek_cursor(struct read *read, const char **cursor, struct err *err)
{
    (void)err;
    *cursor = read_next_cursor(read);
    return 0;
}

int read_rewind(struct read *read, struct err *err)
{
    (void)err;
    read->at = 0;
    return 0;
}

void read_cancel(struct read *read)
{
    pthread_mutex_lock(&fake_lock);
    read->is_cancelled = true;
    fake_cancelled++;
    pthread_cond_broadcast(&fake_changed);
    pthread_mutex_unlock(&fake_lock);
}

int fake_reads_open(void)
{
    int open;

    pthread_mutex_lock(&fake_lock);
    open = fake_open;
    pthread_mutex_unlock(&fake_lock);
    return open;
}

int fake_reads_cancelled(void)
{
    int cancelled;

    pthread_mutex_lock(&fake_lock);
    cancelled = fake_cancelled;
    pthread_mutex_unlock(&fake_lock);
    return cancelled;
}

void fake_reads_forget(void)
{
    pthread_mutex_lock(&fake_lock);
    fake_cancelled = 0;
    pthread_mutex_unlock(&fake_lock);
}

void fake_wait_no_reads(void)
{
    pthread_mutex_lock(&fake_lock);
    while (fake_open)
        pthread_cond_wait(&fake_changed, &fake_lock); /* check's own time-out ends it */
    pthread_mutex_unlock(&fake_lock);
}

/* Weak: the real ones stand in for them when something else brings them in. */
#define FAKE_WEAK __attribute__((weak))

FAKE_WEAK void strings_add(struct strings *strings, struct span text)
{
    strings->items = xreallocarray(strings->items, strings->len + 1, sizeof(*strings->items));
    strings->items[strings->len++] = xmemdup0(text.data, text.len);
}

FAKE_WEAK void strings_done(struct strings *strings)
{
    for (size_t i = 0; i < strings->len; i++)
        free(strings->items[i]);
    free(strings->items);
    *strings = (struct strings){ 0 };
}

FAKE_WEAK void read_query_init(struct read_query *query)
{
    *query = (struct read_query){
        .start_ms = INT64_MIN, .end_ms = INT64_MAX, .predictions = true, .aggregates = true
    };
}

FAKE_WEAK void read_query_done(struct read_query *query)
{
    strings_done(&query->deployment_crns);
    strings_done(&query->build_crns);
    strings_done(&query->model_crns);
    strings_done(&query->keys);
    free(query->uuids);
    free(query->cursor);
}

/* The catalog's answers echo what they were asked. */
int query_deployments(struct store_pool *pool, struct query *query, struct buf *out,
                      unsigned *status, struct err *err)
{
    (void)pool, (void)query, (void)status, (void)err;
    buf_append_text(out, "{\"deployments\":[]}");
    return 0;
}

int query_deployment(struct store_pool *pool, struct query *query, struct buf *out,
                     unsigned *status, struct err *err)
{
    (void)pool, (void)err;
    if (span_is(query->argument, "none"))
        return fault_set(&query->fault, 404, "not_found", NULL, "no such deployment");
    *status = 200;
    buf_append_text(out, "{\"crn\":");
    buf_append_json(out, query->argument);
    buf_append_char(out, '}');
    return 0;
}

int query_balance(struct store_pool *pool, struct query *query, struct buf *out, unsigned *status,
                  struct err *err)
{
    (void)pool, (void)query, (void)out, (void)status;
    return err_set(err, ERR_FATAL, "the books are closed");
}

int query_deployment_crn(struct store_pool *pool, struct query *query, struct buf *out,
                         unsigned *status, struct err *err)
{
    (void)pool, (void)status, (void)err;
    buf_append_span(out, query->body);
    return 0;
}
