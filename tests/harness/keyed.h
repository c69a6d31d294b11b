/* Daemons that ask for keys, and requests that have one. */
#ifndef HARNESS_KEYED_H
#define HARNESS_KEYED_H

#include "base/attr.h"
#include "http.h"
#include "service.h"

/* "PLUMBLINE_KEYS_ON=true", for the environment of a daemon that is to ask on loopback too. */
extern const char *const keyed_environment[];

/* A new database with the schema, so that keys can be made before a daemon reads them. Owned. */
char *keyed_database(void) MUST_CHECK;
/* A daemon on that database, which asks for keys. */
struct service *keyed_service(const char *dsn) MUST_CHECK;
/* A key as `plumbline key create --scope SCOPE` and the further options, NULL at the end (may be
 * NULL), makes it. Owned. */
char *keyed_make(const char *dsn, const char *scope, const char *const *options) MUST_CHECK;
/* `plumbline key revoke`. */
void keyed_revoke(const char *dsn, const char *key);

/* Sends with this value of Authorization (NULL: without) and `body` as JSON, if there is one.
 * Whatever is answered; owned. */
struct http_answer *keyed_send(struct service *service, const char *authorization,
                               const char *method, const char *path, const char *body) MUST_CHECK;
/* The status alone. */
long keyed_status(struct service *service, const char *authorization, const char *method,
                  const char *path, const char *body);
/* As JSON, with the status that it must have. Owned. */
json_t *keyed_call(struct service *service, long status, const char *authorization,
                   const char *method, const char *path, const char *body) MUST_CHECK;

#endif
