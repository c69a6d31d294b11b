/* A server for the tests of the client commands: it gives prepared answers, one a request and the
 * last one for ever, and keeps what it was sent. */
#ifndef HARNESS_HTTP_SCRIPT_H
#define HARNESS_HTTP_SCRIPT_H

#include <stddef.h>

enum http_script_action {
    HTTP_SCRIPT_ANSWER,
    HTTP_SCRIPT_HANG_UP,   /* reads the request and closes the connection */
    HTTP_SCRIPT_BREAK_OFF, /* sends the body in chunks and closes before the last one */
};

struct http_script_answer {
    unsigned status;
    const char *body;
    const char *header; /* NULL: no further one */
    const char *value;
    enum http_script_action action;
};

struct http_script_request {
    char *uri; /* with its query */
    char *content_type;
    char *content_encoding; /* "" when there is none */
    char *accept;
    char *body;
    size_t body_len;
};

enum { HTTP_SCRIPT_REQUESTS_MAX = 64 };

struct http_script {
    struct MHD_Daemon *daemon;
    const struct http_script_answer *answers; /* borrowed */
    size_t answers_len;
    char url[64];
    struct http_script_request requests[HTTP_SCRIPT_REQUESTS_MAX];
    size_t requests_len;
    size_t connections;
};

void http_script_start(struct http_script *script, const struct http_script_answer *answers,
                       size_t answers_len);
/* Ends the server; what it was sent can be looked at until http_script_done. */
void http_script_stop(struct http_script *script);
void http_script_done(struct http_script *script);

#endif
