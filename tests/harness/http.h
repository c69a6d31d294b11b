/* An HTTP client for tests: libcurl for what is well-formed, a bare socket for what is not. */
#ifndef HARNESS_HTTP_H
#define HARNESS_HTTP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

/* One client is one keep-alive connection. Of one thread. */
struct http;

struct http *http_new(void);
void http_free(struct http *http);
AUTO_DEFINE(struct http, http_free);

struct certificate;

struct http_answer {
    long status; /* 0: no answer; error says why */
    char *body;  /* a NUL stands behind it */
    size_t len;
    char *headers; /* the whole head as it came */
    double seconds;
    char error[256];
};

void http_answer_free(struct http_answer *answer);
AUTO_DEFINE(struct http_answer, http_answer_free);

struct http_request {
    const char *method; /* NULL: GET, or POST when there is a body */
    const char *url;
    const char *body;
    size_t len;                            /* 0 with a body: strlen(body) */
    const char *const *headers;            /* "Name: value", NULL at the end; may be NULL */
    long timeout_ms;                       /* 0: 30 s */
    bool fresh;                            /* a new connection, closed afterwards */
    const char *ca;                        /* https: whom to trust; NULL: tls_authority_path() */
    const struct certificate *certificate; /* to show; may be NULL */
};

/* Never fails the test: a request without an answer has status 0. Owned. */
struct http_answer *http_send(struct http *http, const struct http_request *request) MUST_CHECK;
struct http_answer *http_get(struct http *http, const char *url) MUST_CHECK;
/* As application/json. */
struct http_answer *http_post(struct http *http, const char *url, const char *body) MUST_CHECK;
/* The value of a header, owned; NULL when it is not there. */
char *http_header(const struct http_answer *answer, const char *name) MUST_CHECK;
/* The body as JSON; fails the test when it is not. Owned: json_decref, or json_auto_t. */
json_t *http_json(const struct http_answer *answer) MUST_CHECK;

/* ---- bytes as they are ---- */

/* A connected socket; fails the test when it can't. Close it yourself. */
int http_raw_open(int port) MUST_CHECK;
/* All bytes, or -1 when the other side has closed. */
int http_raw_send(int fd, const void *data, size_t len);
int http_raw_send_text(int fd, const char *text);
/* Reads until the other side closes or `ms` have passed; *closed (may be NULL) tells which. What
 * came, with a NUL behind it; owned. */
char *http_raw_read(int fd, int64_t ms, bool *closed) MUST_CHECK;
/* Reads until `text` has come; false when the other side closed or time is up. */
bool http_raw_await(int fd, const char *text, int64_t ms) MUST_CHECK;

/* gzip of the bytes. Owned. */
char *http_gzip(const void *data, size_t len, size_t *gzip_len) MUST_CHECK;

#endif
