#include "http_script.h"

#include <check.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "base/mem.h"

static char *http_script_header(struct MHD_Connection *connection, const char *name)
{
    const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);

    return xstrdup(value ? value : "");
}

/* Called with the URI before anything else; what it returns is the request's *ctx. */
static void *http_script_on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct http_script *script = cls;
    struct http_script_request *request;

    (void)connection;
    ck_assert_uint_lt(script->requests_len, HTTP_SCRIPT_REQUESTS_MAX);
    request = &script->requests[script->requests_len++];
    request->uri = xstrdup(uri);
    return request;
}

static void http_script_on_connection(void *cls, struct MHD_Connection *connection, void **socket,
                                      enum MHD_ConnectionNotificationCode code)
{
    struct http_script *script = cls;

    (void)connection;
    (void)socket;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        script->connections++;
}

/* The whole body in one piece, then the end that is none. */
static ssize_t http_script_break_off(void *cls, uint64_t pos, char *data, size_t max)
{
    const char *body = cls;
    size_t len = strlen(body);

    if (pos >= len)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    len = len - pos < max ? len - pos : max;
    memcpy(data, body + pos, len);
    return (ssize_t)len;
}

static enum MHD_Result http_script_answer(struct MHD_Connection *connection,
                                          const struct http_script_answer *answer)
{
    struct MHD_Response *response;
    enum MHD_Result result;
    char *body;

    if (answer->action == HTTP_SCRIPT_HANG_UP)
        return MHD_NO;
    body = xstrdup(answer->body ? answer->body : "");
    if (answer->action == HTTP_SCRIPT_BREAK_OFF)
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1024, http_script_break_off,
                                                     body, free);
    else
        response = MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_MUST_FREE);
    ck_assert_ptr_nonnull(response);
    if (answer->header)
        ck_assert_int_eq(MHD_add_response_header(response, answer->header, answer->value), MHD_YES);
    result = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result http_script_handle(void *cls, struct MHD_Connection *connection,
                                          const char *url, const char *method, const char *version,
                                          const char *data, size_t *len, void **ctx)
{
    struct http_script *script = cls;
    struct http_script_request *request = *ctx;
    size_t number = (size_t)(request - script->requests);

    (void)url;
    (void)method;
    (void)version;
    if (!request->content_type) {
        request->content_type = http_script_header(connection, "Content-Type");
        request->content_encoding = http_script_header(connection, "Content-Encoding");
        request->accept = http_script_header(connection, "Accept");
        return MHD_YES;
    }
    if (*len > 0) {
        request->body = xrealloc(request->body, request->body_len + *len + 1);
        memcpy(request->body + request->body_len, data, *len);
        request->body_len += *len;
        request->body[request->body_len] = '\0';
        *len = 0;
        return MHD_YES;
    }
    if (number >= script->answers_len)
        number = script->answers_len - 1;
    return http_script_answer(connection, &script->answers[number]);
}

void http_script_start(struct http_script *script, const struct http_script_answer *answers,
                       size_t answers_len)
{
    const union MHD_DaemonInfo *info;

    *script = (struct http_script){ .answers = answers, .answers_len = answers_len };
    script->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL,
                                      http_script_handle, script, MHD_OPTION_URI_LOG_CALLBACK,
                                      http_script_on_uri, script, MHD_OPTION_NOTIFY_CONNECTION,
                                      http_script_on_connection, script, MHD_OPTION_END);
    ck_assert_ptr_nonnull(script->daemon);
    info = MHD_get_daemon_info(script->daemon, MHD_DAEMON_INFO_BIND_PORT);
    (void)snprintf(script->url, sizeof(script->url), "http://127.0.0.1:%u/", (unsigned)info->port);
}

void http_script_stop(struct http_script *script)
{
    if (script->daemon)
        MHD_stop_daemon(script->daemon);
    script->daemon = NULL;
}

void http_script_done(struct http_script *script)
{
    http_script_stop(script);
    for (size_t i = 0; i < script->requests_len; i++) {
        free(script->requests[i].uri);
        free(script->requests[i].content_type);
        free(script->requests[i].content_encoding);
        free(script->requests[i].accept);
        free(script->requests[i].body);
    }
}
