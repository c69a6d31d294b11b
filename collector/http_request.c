/* The life of one request, from its head to its last byte. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "collector/inflate.h"
#include "http_internal.h"

static struct http_request *http_request_new(struct http *http, struct MHD_Connection *connection)
{
    struct http_request *request = xcalloc(1, sizeof(*request));
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    request->http = http;
    request->config = http->config;
    request->connection = connection;
    request->conn = info->socket_context;
    request->discard_bytes_max = HTTP_DISCARD_BYTES_MAX;
    body_init(&request->body, http->setup.budget, (size_t)request->config->body_bytes_max);
    return request;
}

static bool http_request_takes_body(const struct http_request *request)
{
    return request->route && request->route->takes_body;
}

static int http_request_too_large(struct http_request *request)
{
    return fault_set(&request->fault, MHD_HTTP_CONTENT_TOO_LARGE, "too_large", NULL,
                     "the body is larger than %lld bytes (body_bytes_max)",
                     (long long)request->config->body_bytes_max);
}

/* The library has checked that it is a number; 0: it is not there. */
static uint64_t http_request_length(const struct http_request *request)
{
    const char *text = http_request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return text ? strtoull(text, NULL, 10) : 0;
}

static int http_request_check_length(struct http_request *request)
{
    if (http_request_takes_body(request) && request->content_length > request->body.max)
        return http_request_too_large(request);
    return 0;
}

static int http_request_inflate(struct http_request *request, struct fault *fault)
{
    struct err err = { 0 };
    struct body text;
    enum inflate_result result;

    body_init(&text, request->body.budget, request->body.max);
    result = inflate_body(&request->body, &text, &err);
    body_done(&request->body);
    if (result == INFLATE_OK) {
        request->body = text;
        return 0;
    }
    body_done(&text);
    switch (result) {
    case INFLATE_TOO_LARGE:
        return fault_set(fault, MHD_HTTP_CONTENT_TOO_LARGE, "too_large", NULL,
                         "the body is larger than %zu bytes after decompression (body_bytes_max)",
                         text.max);
    case INFLATE_NO_MEMORY:
        return http_fault_overloaded(request, fault);
    default:
        return fault_set(fault, MHD_HTTP_BAD_REQUEST, "invalid_gzip", NULL, "%s", err.text);
    }
}

int http_request_decompress(struct http_request *request, struct fault *fault)
{
    const char *encoding = http_request_header(request, MHD_HTTP_HEADER_CONTENT_ENCODING);

    if (!encoding || !*encoding || strcasecmp(encoding, "identity") == 0)
        return 0;
    if (strcasecmp(encoding, "gzip") == 0 || strcasecmp(encoding, "x-gzip") == 0)
        return http_request_inflate(request, fault);
    return fault_set(fault, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding",
                     MHD_HTTP_HEADER_CONTENT_ENCODING,
                     "Content-Encoding \"%.*s\" is not known: send gzip or identity",
                     fault_quote_len(strlen(encoding)), encoding);
}

/* The answer is known: forget what came so far and read on until the client listens. */
static void http_request_discard(struct http_request *request)
{
    body_done(&request->body);
    request->phase = HTTP_DISCARDING;
}

static int http_request_extra(struct http_request *request, struct fault *fault)
{
    const struct config *config = request->http->setup.config;

    request->is_last = true;
    if (http_conn_extra(request->conn) == HTTP_EXTRA)
        return fault_set(fault, MHD_HTTP_SERVICE_UNAVAILABLE, "too_many_connections", NULL,
                         "%lld connections are open already (connections_max): send it again "
                         "later",
                         (long long)config->connections_max);
    return fault_set(fault, MHD_HTTP_SERVICE_UNAVAILABLE, "too_many_connections", NULL,
                     "%lld connections of this address are open already "
                     "(connections_per_address_max): send it again later",
                     (long long)config->connections_per_address_max);
}

/* The head is there. What is wrong with it is answered at once where no body is under way (the
 * client waits for "100 Continue"), or where it would be too long to read. */
static enum MHD_Result http_request_begin(struct http_request *request, const char *url,
                                          const char *method)
{
    const char *expect = http_request_header(request, MHD_HTTP_HEADER_EXPECT);
    struct fault *fault = &request->fault;
    int rc = 0;

    http_conn_arriving(request->conn);
    request->content_length = http_request_length(request);
    if (http_conn_extra(request->conn) != HTTP_FITS) {
        rc = http_request_extra(request, fault);
    } else if (!http_request_enter(request->http)) {
        request->is_last = true;
        rc = fault_set(fault, MHD_HTTP_SERVICE_UNAVAILABLE, "stopping", NULL,
                       "the server is stopping: send it again");
    }
    if (rc == 0 && (rc = http_route_find(request, url, method, fault)) < 0 &&
        request->http->setup.keyring && !request->key)
        request->discard_bytes_max = HTTP_STRANGER_BYTES_MAX;
    if (rc == 0)
        rc = http_request_check_length(request);
    if (rc == 0)
        return MHD_YES;
    http_request_discard(request);
    if ((expect && strcasecmp(expect, "100-continue") == 0) ||
        request->content_length > request->discard_bytes_max)
        return http_answer_fault(request, fault);
    return MHD_YES;
}

static enum MHD_Result http_request_receive(struct http_request *request, const char *data,
                                            size_t len)
{
    enum body_result result = BODY_OK;

    if (request->phase == HTTP_RECEIVING && http_request_takes_body(request))
        result = body_append(&request->body, data, len, (size_t)request->content_length);
    else
        request->discarded += len;
    if (result == BODY_OK)
        return request->discarded <= request->discard_bytes_max ? MHD_YES : MHD_NO;
    if (result == BODY_TOO_LARGE)
        (void)http_request_too_large(request);
    else
        (void)http_fault_overloaded(request, &request->fault);
    http_request_discard(request);
    return MHD_YES;
}

enum MHD_Result http_request_handle(void *cls, struct MHD_Connection *connection, const char *url,
                                    const char *method, const char *version,
                                    const char *upload_data, size_t *upload_data_size,
                                    void **con_cls)
{
    struct http_request *request = *con_cls;
    size_t len = *upload_data_size;

    (void)version;
    if (!request) {
        *con_cls = request = http_request_new(cls, connection);
        return http_request_begin(request, url, method);
    }
    if (len) {
        *upload_data_size = 0;
        return http_request_receive(request, upload_data, len);
    }
    if (request->phase == HTTP_WAITING)
        return request->route->resume(request);
    http_conn_arrived(request->conn);
    if (request->phase == HTTP_DISCARDING)
        return http_answer_fault(request, &request->fault);
    return request->route->handle(request);
}

void http_request_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                            enum MHD_RequestTerminationCode toe)
{
    struct http_request *request = *con_cls;
    struct http *http = cls;
    bool is_counted;

    (void)connection;
    (void)toe;
    if (!request)
        return;
    *con_cls = NULL;
    if (request->job)
        http_query_abandon(request);
    submission_free(request->submission);
    body_done(&request->body);
    parameters_done(&request->parameters);
    free(request->argument);
    key_unref(request->key);
    http_conn_idle(request->conn);
    is_counted = !request->is_last;
    free(request);
    if (is_counted)
        http_request_leave(http);
}
