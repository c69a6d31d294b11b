/* Certificates for tests: an authority of the test's own and what it signs, as files in PEM that go
 * with the test. Every function fails the test when it can't do its work. */
#ifndef HARNESS_CERTIFICATE_H
#define HARNESS_CERTIFICATE_H

#include <stdbool.h>

#include "base/attr.h"

struct authority;

struct authority *authority_new(const char *name);
void authority_free(struct authority *authority);
AUTO_DEFINE(struct authority, authority_free);
/* The file with its certificate. Borrowed. */
const char *authority_path(const struct authority *authority);

struct certificate {
    char *path, *key; /* files; owned */
};

struct certificate_options {
    const char *name;   /* CN */
    bool is_client;     /* else it is a server's */
    const char *host;   /* of the server; NULL: 127.0.0.1 and localhost */
    const char *secret; /* the key is encrypted with it; NULL: it is not */
    int days;           /* from now; below 0: its time is over. 0: 30 */
    bool for_postgres;  /* the files belong to the user under whom Postgres runs */
    const char *folder; /* NULL: a new one; else NAME.pem and NAME.key in it are replaced */
};

void authority_issue(struct authority *authority, const struct certificate_options *options,
                     struct certificate *certificate);
void certificate_done(struct certificate *certificate);
static inline void certificate_done_auto(struct certificate *certificate)
{
    certificate_done(certificate);
}

/* ---- TEST_TLS in the environment: every server of a test speaks TLS, and every client */

bool tls_wanted(void);
/* The authority of this process and its server's certificate; made at the first call, which puts
 * PLUMBLINE_CA into the environment. */
const char *tls_authority_path(void);
const struct certificate *tls_certificate(void);

#endif
