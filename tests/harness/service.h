/* A daemon on a database of its own and a client of it: what most integration tests begin with.
 *
 *     AUTO(service_free) struct service *service = service_start();
 *     json_auto_t *receipt = service_post(service, 200, "/v1/events", body);
 *
 * The suite needs pg_shared_start as an unchecked fixture. Every function fails the test when it
 * can't do its work or the answer has another status than the one expected. */
#ifndef HARNESS_SERVICE_H
#define HARNESS_SERVICE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "daemon.h"
#include "http.h"
#include "proxy.h"

struct service {
    char *dsn;           /* past the proxy */
    struct proxy *proxy; /* NULL: none */
    struct daemon *daemon;
    struct http *http; /* of the test's own thread */
};

struct service *service_start(void);
/* With further options; a DSN in them: on that database. */
struct service *service_start_with(const struct daemon_options *options);
/* The same with a proxy between the daemon and its Postgres. */
struct service *service_start_proxied(const struct daemon_options *options);
/* Stops the daemon, which must end well. Accepts NULL. */
void service_free(struct service *service);
AUTO_DEFINE(struct service, service_free);

/* ---- requests ---- */

/* `status` is what must be answered; the body as JSON, owned. */
json_t *service_get(struct service *service, long status, const char *path) MUST_CHECK;
json_t *service_post(struct service *service, long status, const char *path,
                     const char *body) MUST_CHECK;
/* Any method, `body` as JSON if there is one, and the name of a user (NULL: none said). NULL for an
 * answer without a body. */
json_t *service_call(struct service *service, long status, const char *method, const char *path,
                     const char *body, const char *user) MUST_CHECK;
/* By nobody, with a body that has ' for " and may be NULL. */
json_t *service_ask(struct service *service, long status, const char *method, const char *path,
                    const char *quoted) MUST_CHECK;
/* The body as it came, owned; `accept` may be NULL. */
char *service_get_text(struct service *service, long status, const char *path,
                       const char *accept) MUST_CHECK;
/* Sends events that all must be taken: none is rejected, none a duplicate. An array, an object or
 * NDJSON, by its first character: '[', '{' or ' ', which stands before NDJSON. */
void service_take(struct service *service, const char *events);
/* The rows of /v1/metrics with this query ("" or "?kind=..."). Owned. */
json_t *service_rows(struct service *service, const char *query) MUST_CHECK;
/* A sample of GET /metrics by its name with labels. */
int64_t service_sample(struct service *service, const char *name);

/* ---- answers ---- */

/* The member as a number or text; fails the test when it is not there. */
int64_t service_number(const json_t *object, const char *member);
const char *service_text(const json_t *object, const char *member);
/* A body that is easier to read in C: ' stands for ". Owned. */
char *service_quoted(const char *text) MUST_CHECK;
/* Parses; fails the test when it can't. Owned. */
json_t *service_json(const char *text) MUST_CHECK;
/* Fails the test unless both are the same JSON; `what` names the case. */
void service_check_same(const json_t *have, const json_t *want, const char *what);
/* Fails the test unless it is {"error": {"code", "message", "field"}}; no `field`: NULL. */
void service_check_error(const json_t *answer, const char *code, const char *field,
                         const char *message, const char *what);
/* The same for what has Atlas's shape; `message` NULL: any. */
void service_check_fault(const json_t *answer, const char *code, const char *message);
/* Asks what must be refused so; the status is that in the code. */
void service_check_refused(struct service *service, const char *method, const char *path,
                           const char *quoted, const char *code, const char *message);
/* Fails the test unless the books are exactly these, and balance in every kind. */
void service_check_balance(struct service *service, int64_t accepted, int64_t duplicate,
                           int64_t rejected);

/* ---- the program ---- */

enum { SERVICE_WORDS_MAX = 24 };

/* Runs the program with these words (NULL at the end) and `environment` (may be NULL); its exit
 * code. All that it said in *output, owned. */
int service_command(const char *const *words, const char *const *environment, char **output);

#endif
