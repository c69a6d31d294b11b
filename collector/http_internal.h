/* What the http*.c files share. Types of libmicrohttpd go no further than here. */
#ifndef COLLECTOR_HTTP_INTERNAL_H
#define COLLECTOR_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/span.h"
#include "collector/body.h"
#include "collector/fault.h"
#include "collector/http.h"
#include "collector/keyring.h"
#include "collector/listen.h"
#include "collector/parameter.h"
#include "collector/queries.h"
#include "collector/rate.h"
#include "collector/submission.h"
#include "metrics/event.h"

/* ---- http_conn.c: connections, and the deadline for a request to arrive */

struct http_conns;
struct http_conn;
struct http_tls;

/* Borrows `config`, which has the limits, until it is stopped. */
struct http_conns *http_conns_start(struct stats *stats, const struct config *config);
/* After the daemon has stopped: no connection is left. */
void http_conns_stop(struct http_conns *conns);
/* From now on. */
void http_conns_set_timeout(struct http_conns *conns, int64_t request_timeout_ms);
/* `tls` is taken, NULL without TLS. Of `network`, see http_network, bytes are copied. */
struct http_conn *http_conn_add(struct http_conns *conns, int fd, struct http_tls *tls,
                                struct span network) MUST_CHECK;
void http_conn_remove(struct http_conns *conns, struct http_conn *conn);
/* The handshake of TLS is over: the next byte is that of a request. */
void http_conn_secured(struct http_conn *conn);
/* There are more connections than there may be, or than one address may have: whatever this one
 * asks is answered 503. So many of one address are told so; the next is to be cut, since these have
 * places of others. */
enum { HTTP_EXTRA_MIN = 16 };
enum http_extra { HTTP_FITS, HTTP_EXTRA, HTTP_EXTRA_OF_ADDRESS, HTTP_CUT };
enum http_extra http_conn_extra(const struct http_conn *conn);
/* The head of a request is there, its body may be on the way: the deadline runs. */
void http_conn_arriving(struct http_conn *conn);
/* The request is there as a whole: no deadline. */
void http_conn_arrived(struct http_conn *conn);
/* The request is done with; the next one may begin. */
void http_conn_idle(struct http_conn *conn);

/* ---- http_tls.c: certificates, and the handshake */

enum { HTTP_TLS_OPTIONS = 3 };

/* Reads the files that the configuration names. ERR_INPUT: the text names the key and the file. */
struct http_tls *http_tls_new(const struct config *config, struct err *err) MUST_CHECK;
struct http_tls *http_tls_ref(struct http_tls *tls);
void http_tls_unref(struct http_tls *tls); /* accepts NULL */
/* Says in the log and in /metrics how long the certificate is good for. */
void http_tls_announce(const struct http_tls *tls, struct stats *stats);
/* A new connection of the library, before its first byte; `session` is GnuTLS's. `tls` must live as
 * long as the connection. */
void http_tls_begin(struct http_tls *tls, void *session, struct http_conn *conn);
/* What the library is to be started with. */
void http_tls_options(struct MHD_OptionItem options[HTTP_TLS_OPTIONS]);

/* ---- http_query.c: threads that answer queries */

struct http_queries;

struct http_queries *http_queries_start(const struct http_setup *setup);
/* Cancels and joins every query thread; no suspended connection waits for one afterwards. */
void http_queries_stop(struct http_queries *queries);
void http_queries_free(struct http_queries *queries);

/* ---- the server */

struct http {
    struct http_setup setup;
    struct MHD_Daemon *daemon;
    int listen_fd;
    char address[LISTEN_ADDRESS_BYTES];
    bool is_private; /* on loopback, without keys: only who is on this machine may do anything */
    struct http_conns *conns;
    struct http_queries *queries;
    const struct config *_Atomic config; /* borrowed; http_reload puts another in its place */
    struct rates *failures;              /* of addresses that keys don't come from */
    struct rate refusals;                /* that are logged */
    pthread_key_t decoder_key;           /* one decoder for each of the daemon's threads */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct http_tls *tls; /* guarded by lock: of new connections; NULL: without TLS */
    uint32_t requests;    /* guarded by lock: begun and not yet completed */
    uint32_t submitted;   /* guarded by lock: suspended and with the committer */
    bool is_draining;     /* guarded by lock: new requests get 503 */
    bool is_stopping;     /* guarded by lock: nothing may be suspended any more */
};

/* Counts a request in; false: the server drains, answer 503, and it is not to be counted out. */
bool http_request_enter(struct http *http);
void http_request_leave(struct http *http);

/* How much of a refused body is read, so that a client that sends before it listens gets to see the
 * answer: closing a connection with unread bytes resets it. Beyond it the connection is closed. */
enum { HTTP_DISCARD_BYTES_MAX = 64 * 1024 * 1024, HTTP_STRANGER_BYTES_MAX = 256 * 1024 };

/* ---- http_request.c: one request
 *
 *   RECEIVING --(refused)--> DISCARDING          the answer is known, the body is read and dropped
 *       |                        |
 *   whole body               whole body
 *       v                        v
 *   route->handle            the fault is answered
 *       |
 *   WAITING (suspended: the committer or a query thread has it)
 *       |  resumed
 *   route->resume: answers
 */
enum http_phase { HTTP_RECEIVING, HTTP_DISCARDING, HTTP_WAITING };

struct http_route;
struct http_query_job;

struct http_request {
    struct http *http;
    const struct config *config; /* the one it began with */
    struct MHD_Connection *connection;
    struct http_conn *conn;
    const struct http_route *route; /* NULL: no such path */
    enum http_phase phase;
    struct fault fault; /* what DISCARDING ends in */
    const char *allow;  /* static; of a 405 */
    bool is_last;       /* not counted in: close the connection behind the answer */
    bool closes;        /* so does this one */
    int64_t retry_ms;   /* of a 429 */
    struct key *key;    /* a reference; NULL: keys are off, or none is asked for */

    struct body body;
    uint64_t content_length; /* 0 when unknown */
    uint64_t discarded;
    uint64_t discard_bytes_max; /* more of a refused body is not read */
    char *argument;             /* owned; what follows the route's prefix, decoded */
    size_t argument_len;
    struct parameters parameters;

    struct submission *submission; /* WAITING for the committer, or answered by it */
    struct http_query_job *job;    /* WAITING for a query thread */
};

enum MHD_Result http_request_handle(void *cls, struct MHD_Connection *connection, const char *url,
                                    const char *method, const char *version,
                                    const char *upload_data, size_t *upload_data_size,
                                    void **con_cls);
void http_request_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                            enum MHD_RequestTerminationCode toe);

/* The whole body has come: what was compressed is put in its place. -1: the fault is the answer. */
int http_request_decompress(struct http_request *request, struct fault *fault) MUST_CHECK;

/* ---- http_browser.c: pages that a browser shows */

/* Looks whether a page of somewhere else has sent a browser here. -1: the fault is the answer. */
int http_browser_check(struct http_request *request, struct fault *fault) MUST_CHECK;

/* ---- http_auth.c: the key of a request */

/* The network that an address stands for: of IPv6 whoever has one has 2^64 of them. */
enum { HTTP_NETWORK_BYTES = 8 };
struct span http_network(const struct sockaddr *addr);

/* Looks whether whoever asks may have the route, before anything is read for them. 0: request->key
 * is who it is. -1: the fault is the answer. */
int http_auth_check(struct http_request *request, struct fault *fault) MUST_CHECK;

/* ---- http_answer.c: responses. Each queues one and returns what the handler is to return. */

/* Takes the bytes of `out`. */
enum MHD_Result http_answer(struct http_request *request, unsigned status, const char *content_type,
                            struct buf *out);
enum MHD_Result http_answer_static(struct http_request *request, const char *content_type,
                                   struct span text);
enum MHD_Result http_answer_fault(struct http_request *request, const struct fault *fault);
/* Counts, adds what every answer has, queues and drops the response. */
enum MHD_Result http_answer_response(struct http_request *request, unsigned status,
                                     const char *content_type, struct MHD_Response *response);
const char *http_request_header(const struct http_request *request, const char *name);
/* 503 with code "overloaded", counted. */
int http_fault_overloaded(struct http_request *request, struct fault *fault);

/* ---- http_route.c: what is where */

struct http_route {
    const char *method; /* GET (then HEAD too), POST, PUT or DELETE */
    const char *path;   /* as counted in /metrics; a last segment of "{...}" takes the rest */
    const struct parameter *parameters;
    enum MHD_Result (*handle)(struct http_request *request); /* the whole request is there */
    enum MHD_Result (*resume)(struct http_request *request); /* after a suspension */
    enum event_kind kind;           /* of the endpoints that say what the event is */
    query_run *run;                 /* of those that ask the database */
    enum query_method query_method; /* likewise */
    unsigned scopes; /* of enum key_scope: a key has to have one of them, or KEY_OPEN */
    bool takes_body;
    bool negotiates; /* looks at Accept */
    bool is_atlas;   /* Atlas's errors, any parameter, any number of slashes */
    bool is_by_crn;  /* what a key may not name by its CRN is left out, or the route has nothing
                        of anybody: keys that are restricted may have it */
};

/* Finds the route and fills in route, argument, parameters and allow. -1: the fault is the answer;
 * the route is set all the same where the path is known. */
int http_route_find(struct http_request *request, const char *url, const char *method,
                    struct fault *fault) MUST_CHECK;

/* ---- handlers */

enum MHD_Result http_ingest_events(struct http_request *request); /* /v1/events */
enum MHD_Result http_ingest_event(struct http_request *request);  /* route->kind */
enum MHD_Result http_ingest_resume(struct http_request *request);
enum MHD_Result http_query_handle(struct http_request *request); /* route->run */
enum MHD_Result http_query_resume(struct http_request *request);
/* The request is over: its job's answer is wanted no more. */
void http_query_abandon(struct http_request *request);
enum MHD_Result http_status_health(struct http_request *request);
enum MHD_Result http_status_ready(struct http_request *request);
enum MHD_Result http_status_limits(struct http_request *request);
enum MHD_Result http_status_metrics(struct http_request *request);
enum MHD_Result http_status_openapi(struct http_request *request);

#endif
