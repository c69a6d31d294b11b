#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_internal.h"

enum { HTTP_FAULT_BYTES_MAX = 16 * 1024 };

const char *http_request_header(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

/* For browsers, and for caches on the way: what is answered is data, somebody's, and of this
 * moment. */
static void http_answer_guard(const struct http_request *request, struct MHD_Response *response)
{
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(response, "Content-Security-Policy",
                                  "default-src 'none'; frame-ancestors 'none'");
    if (request->config->tls_certificate)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_STRICT_TRANSPORT_SECURITY,
                                      "max-age=31536000");
}

/* What some statuses have to say. */
static void http_answer_add_headers(const struct http_request *request, unsigned status,
                                    struct MHD_Response *response)
{
    int64_t wait_s = request->retry_ms > 0 ? (request->retry_ms + 999) / 1000 : 1;
    char number[24];

    (void)snprintf(number, sizeof(number), "%lld", (long long)wait_s);
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE || status == MHD_HTTP_TOO_MANY_REQUESTS)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, number);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED && request->allow)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, request->allow);
    if (status == MHD_HTTP_UNAUTHORIZED) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                      "Bearer realm=\"plumbline\"");
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                      "Basic realm=\"plumbline\", charset=\"UTF-8\"");
    }
    if (request->is_last || request->closes)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
}

enum MHD_Result http_answer_response(struct http_request *request, unsigned status,
                                     const char *content_type, struct MHD_Response *response)
{
    const char *route = request->route ? request->route->path : "unknown";
    enum MHD_Result result;

    if (!response)
        return MHD_NO;
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    http_answer_guard(request, response);
    http_answer_add_headers(request, status, response);
    stats_add_response(request->http->setup.stats, route, status);
    result = MHD_queue_response(request->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

enum MHD_Result http_answer(struct http_request *request, unsigned status, const char *content_type,
                            struct buf *out)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(out->len, out->data, MHD_RESPMEM_MUST_FREE);

    if (response) { /* the bytes are the response's now */
        out->data = NULL;
        out->len = out->cap = 0;
    }
    return http_answer_response(request, status, content_type, response);
}

enum MHD_Result http_answer_static(struct http_request *request, const char *content_type,
                                   struct span text)
{
    /* MHD_RESPMEM_PERSISTENT: the bytes are only read, whatever the prototype says. */
    union {
        const char *text;
        void *data;
    } bytes = { text.data };

    return http_answer_response(request, MHD_HTTP_OK, content_type,
                                MHD_create_response_from_buffer(text.len, bytes.data,
                                                                MHD_RESPMEM_PERSISTENT));
}

enum MHD_Result http_answer_fault(struct http_request *request, const struct fault *fault)
{
    AUTO(buf_done) struct buf out;

    buf_init(&out, HTTP_FAULT_BYTES_MAX);
    if (request->route && request->route->is_atlas)
        fault_write_atlas(fault, &out);
    else
        fault_write(fault, &out);
    return http_answer(request, fault->status, "application/json", &out);
}

int http_fault_overloaded(struct http_request *request, struct fault *fault)
{
    stats_add(request->http->setup.stats, STAT_BUDGET_REFUSED, 1);
    return fault_set(fault, MHD_HTTP_SERVICE_UNAVAILABLE, "overloaded", NULL,
                     "the memory budget is full: nothing was stored, send it again later");
}
