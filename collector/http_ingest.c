/* Events: from a body that has arrived to the queue, and from the committer's verdict to the
 * answer. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "collector/key_check.h"
#include "collector/lineage_check.h"
#include "collector/media.h"
#include "collector/receipt.h"
#include "collector/type_cache.h"
#include "http_internal.h"

/* What the records of a body of so many bytes may take: no accepted event is so short that its
 * record, in an array that doubles, is more than four times its text. */
enum { INGEST_RECORDS_PER_BYTE = 4, INGEST_RECORDS_BYTES_MIN = 16 * 1024 };

static struct event_decoder *http_ingest_decoder(struct http *http)
{
    struct event_decoder *decoder = pthread_getspecific(http->decoder_key);
    uint64_t seed;

    if (!decoder) {
        random_fill(&seed, sizeof(seed));
        decoder = event_decoder_new(seed);
        if (pthread_setspecific(http->decoder_key, decoder) != 0)
            abort(); /* out of memory */
    }
    return decoder;
}

static int http_ingest_format(struct http_request *request, bool one_event,
                              enum event_format *format, struct fault *fault)
{
    const char *type = http_request_header(request, MHD_HTTP_HEADER_CONTENT_TYPE);

    if (media_event_format(type, format) == 0 && !(one_event && *format != EVENT_FORMAT_JSON))
        return 0;
    return fault_set(fault, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type",
                     MHD_HTTP_HEADER_CONTENT_TYPE,
                     "Content-Type \"%.*s\" is not known here: send %s",
                     fault_quote_len(strlen(type)), type,
                     one_event ? "application/json" : MEDIA_EVENT_FORMATS);
}

static struct event_limits http_ingest_limits(const struct config *config, size_t memory_bytes)
{
    return (struct event_limits){
        .metrics_bytes_max = (size_t)config->metrics_bytes_max,
        .events_max = (size_t)config->events_max,
        .memory_bytes_max = memory_bytes,
        .depth_max = (unsigned)config->json_depth_max,
        .time_ms_min = CONFIG_EVENT_MS_MIN,
        .time_ms_max = clock_now_ms() + config->event_ahead_ms_max,
    };
}

/* Room for the records: what they could take at most, or when that is not to be had a quarter. */
static size_t http_ingest_reserve(struct http_request *request)
{
    size_t most = (size_t)request->config->events_max * 2 * sizeof(struct event);
    size_t bytes = request->body.len * INGEST_RECORDS_PER_BYTE;

    bytes = (bytes < most ? bytes : most) + INGEST_RECORDS_BYTES_MIN;
    if (budget_reserve(request->body.budget, bytes))
        return bytes;
    bytes = bytes / 4 + INGEST_RECORDS_BYTES_MIN;
    return budget_reserve(request->body.budget, bytes) ? bytes : 0;
}

/* Takes the request's body into a submission, whether the decoding succeeds or not. */
static struct submission *http_ingest_submission(struct http_request *request, size_t records)
{
    struct submission *submission = xcalloc(1, sizeof(*submission));
    struct body *body = &request->body;

    submission->body = body->data;
    submission->bytes = body->cap + records;
    submission->budget = body->budget;
    body->data = NULL;
    body->len = body->cap = 0;
    return submission;
}

static void http_ingest_check(struct http_request *request, const struct event_limits *limits)
{
    const struct http_setup *setup = &request->http->setup;
    struct event_list *list = &request->submission->list;
    AUTO(type_registry_free) struct type_registry *types = type_cache_get(setup->types);

    if (list->has_lineage)
        lineage_check(list, limits, types, setup->config->atlas_namespace);
    if (request->key)
        key_check_events(request->key, list, limits, types, setup->config->atlas_namespace);
}

static int http_ingest_decode(struct http_request *request, bool one_event,
                              enum event_format format, struct fault *fault)
{
    struct http *http = request->http;
    size_t len = request->body.len, records = http_ingest_reserve(request);
    struct event_limits limits = http_ingest_limits(request->config, records);
    struct event_decoder *decoder = http_ingest_decoder(http);
    struct submission *submission;
    struct err err = { 0 };
    int rc;

    if (!records)
        return http_fault_overloaded(request, fault);
    request->submission = submission = http_ingest_submission(request, records);
    if (one_event)
        rc = event_decode_as(decoder, request->route->kind, submission->body, len, &limits,
                             &submission->list, &err);
    else
        rc = event_decode(decoder, submission->body, len, format, &limits, &submission->list, &err);
    if (rc < 0 && err.kind == ERR_RETRY)
        return http_fault_overloaded(request, fault);
    if (rc < 0)
        return fault_set(fault, (unsigned)event_code_status(submission->list.error_code),
                         submission->list.error_code, NULL, "%s", err.text);
    if (submission->list.has_lineage || request->key)
        http_ingest_check(request, &limits);
    assert(submission->list.memory_bytes <= records);
    budget_release(submission->budget, records - submission->list.memory_bytes);
    submission->bytes -= records - submission->list.memory_bytes;
    return 0;
}

static void http_ingest_count(struct http_request *request, enum stat_fate fate)
{
    const struct event_list *list = &request->submission->list;

    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        if (list->received[kind])
            stats_add_events(request->http->setup.stats, fate, (enum event_kind)kind,
                             list->received[kind]);
    }
}

/* The committer's thread: the outcome is there. */
static void http_ingest_done(struct submission *submission)
{
    struct http_request *request = submission->owner;
    struct http *http = request->http;

    MHD_resume_connection(request->connection); /* from here on the request may be gone */
    pthread_mutex_lock(&http->lock);
    http->submitted--;
    if (http->is_draining)
        pthread_cond_signal(&http->changed);
    pthread_mutex_unlock(&http->lock);
}

static bool http_ingest_may_wait(struct http *http)
{
    bool may_wait;

    pthread_mutex_lock(&http->lock);
    may_wait = !http->is_stopping;
    if (may_wait)
        http->submitted++;
    pthread_mutex_unlock(&http->lock);
    return may_wait;
}

static enum MHD_Result http_ingest_submit(struct http_request *request)
{
    struct submission *submission = request->submission;
    struct http *http = request->http;

    submission->came_mono_ms = clock_mono_ms();
    submission->deadline_mono_ms = submission->came_mono_ms + request->config->commit_timeout_ms;
    submission->done = http_ingest_done;
    submission->owner = request;
    http_ingest_count(request, FATE_RECEIVED);
    if (!http_ingest_may_wait(http))
        return MHD_NO; /* MHD_stop_daemon closes the connection anyway */
    request->phase = HTTP_WAITING;
    /* First suspended, then seen by the committer: it may be done before queue_push returns. */
    MHD_suspend_connection(request->connection);
    if (queue_push(submission->list.has_lineage ? http->setup.graph_queue : http->setup.queue,
                   submission) < 0) {
        submission->outcome = SUBMISSION_NOT_STORED;
        http_ingest_count(request, FATE_NOT_STORED);
        http_ingest_done(submission);
    }
    return MHD_YES;
}

/* Lineage is not spooled: what it changes is seen at once, or refused. Metrics beside it in one
 * request would overtake those in the spool. */
static int http_ingest_check_order(const struct http_request *request, struct fault *fault)
{
    const struct event_list *list = &request->submission->list;
    bool has_metrics = false;

    for (uint32_t i = 0; i < list->len && list->has_lineage; i++)
        has_metrics = has_metrics || !event_kind_is_lineage(list->events[i].kind);
    if (!has_metrics || !queue_is_diverted(request->http->setup.queue))
        return 0;
    return fault_set(fault, MHD_HTTP_SERVICE_UNAVAILABLE, "not_stored", NULL,
                     "metrics wait in the spool until the database has taken them: send lineage "
                     "events without metrics, or all of them again later");
}

static enum MHD_Result http_ingest(struct http_request *request, bool one_event)
{
    struct fault fault = { 0 };
    enum event_format format;

    if (http_ingest_format(request, one_event, &format, &fault) < 0 ||
        http_request_decompress(request, &fault) < 0 ||
        http_ingest_decode(request, one_event, format, &fault) < 0 ||
        http_ingest_check_order(request, &fault) < 0)
        return http_answer_fault(request, &fault);
    return http_ingest_submit(request);
}

enum MHD_Result http_ingest_events(struct http_request *request)
{
    return http_ingest(request, false);
}

enum MHD_Result http_ingest_event(struct http_request *request)
{
    return http_ingest(request, true);
}

static enum MHD_Result http_ingest_answer(struct http_request *request)
{
    const struct submission *submission = request->submission;
    const struct event_notes *rejects = &submission->list.rejects;
    AUTO(buf_done) struct buf out;
    struct fault fault = { 0 };

    buf_init(&out, RECEIPT_BYTES_MAX);
    if (submission->list.is_single && rejects->len) {
        const struct event_note *note = &rejects->items[0];

        (void)fault_set(&fault, (unsigned)event_code_status(note->code), note->code, note->field,
                        "%s", note->message);
        return http_answer_fault(request, &fault);
    }
    receipt_write(submission, &out);
    return http_answer(request,
                       submission->outcome == SUBMISSION_SPOOLED ? MHD_HTTP_ACCEPTED : MHD_HTTP_OK,
                       "application/json", &out);
}

enum MHD_Result http_ingest_resume(struct http_request *request)
{
    struct fault fault = { 0 };

    switch (request->submission->outcome) {
    case SUBMISSION_COMMITTED:
    case SUBMISSION_SPOOLED:
        return http_ingest_answer(request);
    case SUBMISSION_NOT_STORED:
        (void)fault_set(&fault, MHD_HTTP_SERVICE_UNAVAILABLE, "not_stored", NULL,
                        "the database did not take the events: nothing was stored, send them "
                        "again later");
        return http_answer_fault(request, &fault);
    default:
        return MHD_NO; /* nobody knows: an answer would be a lie, the closed connection is not */
    }
}
