/* The client commands' side of HTTP: one connection to one server, one request at a time. */
#ifndef COLLECTOR_CLIENT_INTERNAL_H
#define COLLECTOR_CLIENT_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

#define CLIENT_URL_DEFAULT "http://127.0.0.1:8190"

enum { CLIENT_ANSWER_BYTES_MAX = 1 << 20 };

struct client;

/* `url` may be NULL: $PLUMBLINE_URL, else the default. The key is $PLUMBLINE_API_KEY, or what is in
 * the file $PLUMBLINE_API_KEY_FILE. ERR_INPUT: it is no http(s) URL, or no key. */
struct client *client_new(const char *url, struct err *err) MUST_CHECK;
/* What https:// needs beyond the system's authorities. */
struct client_tls {
    const char *ca; /* file of authorities, PEM, instead of the system's */
    const char
        *certificate; /* file of the client's own certificate, where the server asks for it */
    const char *key;  /* file of its private key */
};

/* Rows of the commands that talk to a server, whose struct has a member `tls` of this type. */
/* clang-format off */
#define CLIENT_TLS_ROWS(type)                                                                      \
    { "ca", 0, OPTION_TEXT, offsetof(type, tls.ca), 0, 0, "FILE",                                  \
      "authorities to trust instead of the system's; else $PLUMBLINE_CA" },                        \
    { "cert", 0, OPTION_TEXT, offsetof(type, tls.certificate), 0, 0, "FILE",                       \
      "certificate to show the server; else $PLUMBLINE_CERT" },                                    \
    { "cert-key", 0, OPTION_TEXT, offsetof(type, tls.key), 0, 0, "FILE",                           \
      "its private key; else $PLUMBLINE_CERT_KEY" }
/* clang-format on */

/* The same as client_new, with what `tls` says; what is NULL in it comes from the environment. The
 * texts are borrowed as long as the client lives. ERR_INPUT also: a file can't be read, or one of
 * certificate and key is missing. */
struct client *client_open(const char *url, const struct client_tls *tls,
                           struct err *err) MUST_CHECK;
void client_free(struct client *client);
AUTO_DEFINE(struct client, client_free);
/* To be shown: its password is covered. */
const char *client_url(const struct client *client);

enum client_outcome {
    CLIENT_ANSWERED, /* there is a status */
    CLIENT_NOT_SENT, /* the server can't have the whole request */
    CLIENT_UNSURE,   /* it may have, and may have stored it */
};

struct client_answer {
    long status;
    int64_t retry_after_ms; /* 0: it did not say */
    struct buf body;        /* owned; cut at CLIENT_ANSWER_BYTES_MAX */
};

void client_answer_done(struct client_answer *answer);

struct client_request {
    const char *path; /* "/v1/events" */
    const char *content_type;
    bool gzip;     /* `body` is compressed */
    bool no_reuse; /* on a new connection: libcurl repeats a request by itself when a kept one turns
                      out to be dead */
    struct span body;
};

/* POSTs and waits for the answer; what is not CLIENT_ANSWERED has its reason in *err (ERR_RETRY).
 * `answer` is emptied first and owned by the caller either way. */
enum client_outcome client_post(struct client *client, const struct client_request *request,
                                struct client_answer *answer, struct err *err);

/* Where the body of a good answer goes, piece by piece; -1 ends the transfer. */
struct client_sink {
    int (*write)(void *ctx, const char *data, size_t len);
    void *ctx;
};

/* GETs `path` and hands the body of a 200 to the sink. 0: all of it came. -1: the sink ended it
 * (the error is then untouched), it broke off, or the server said something else, in its own words.
 * *next_cursor: owned, what Plumbline-Next-Cursor says, or NULL. */
int client_get(struct client *client, const char *path, const char *accept,
               const struct client_sink *sink, char **next_cursor, struct err *err) MUST_CHECK;

/* The code of the error that the last client_get was answered with, "" when it was not. Borrowed,
 * valid until the next one. */
const char *client_error_code(const struct client *client);

/* Appends a text to a path or a query, percent-encoded. */
void client_escape(struct buf *path, const char *text);
/* Appends "name=value" to a path, escaped, behind `?` or `&`. */
void client_query_add(struct buf *path, const char *name, const char *value);
/* Puts what an error answer says into err: "HTTP 400: message (code, field)". Returns -1. */
int client_answer_error(const struct client_answer *answer, struct err *err);
/* One line for a terminal: control characters become '?'. */
void client_clean(char *text);

#endif
