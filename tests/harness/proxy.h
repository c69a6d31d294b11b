/* A proxy between a daemon and its Postgres that reads along far enough to see a COMMIT and does
 * harm at that moment. Where one Query goes on to COMMIT by itself, the end of its last COPY stands
 * for it. It listens on .s.PGSQL.5432 in a folder of its own, so a DSN with that
 * folder as host goes through it. One thread for each connection; control it from the test.
 *
 *   daemon ── Query "COMMIT" ──> proxy ─────────────────────> Postgres
 *                                  CUT_BEFORE: not forwarded, both sides closed
 *                                  HOLD: not forwarded until proxy_release()
 *                                        ── Query "COMMIT" ──>
 *                                  CUT_AFTER: forwarded, both sides closed at once
 *                                        <── its answer ──────
 *                                  DROP_ANSWER: committed for sure, answer lost, both sides closed
 */
#ifndef HARNESS_PROXY_H
#define HARNESS_PROXY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

enum proxy_mode {
    PROXY_PASS,
    PROXY_CUT_BEFORE,
    PROXY_CUT_AFTER,
    PROXY_DROP_ANSWER,
    PROXY_HOLD,
};

/* Every way to cut the connection at a COMMIT, for loop tests. */
enum { PROXY_CUTS = 3 };
extern const struct proxy_cut {
    const char *name;
    enum proxy_mode mode;
    bool commits; /* what it cuts is committed all the same */
} proxy_cuts[PROXY_CUTS];

struct proxy;

/* `socket_dir` is that of the server: pg_socket_dir(pg). */
struct proxy *proxy_start(const char *socket_dir);
void proxy_stop(struct proxy *proxy); /* accepts NULL */
AUTO_DEFINE(struct proxy, proxy_stop);

/* Before the shared server; *through: the way through it to the database of `dsn`, owned. */
struct proxy *proxy_start_for(const char *dsn, char **through);

/* DSN through the proxy. Owned. */
char *proxy_dsn(const struct proxy *proxy, const char *database) MUST_CHECK;

/* Only connections with this application_name are harmed by what is armed from now on; the others
 * pass uncounted. Borrowed. */
void proxy_aim(struct proxy *proxy, const char *application_name);
/* The harm befalls the COMMIT that comes after `commits` more of them, once; then it passes again.
 * PROXY_PASS disarms. */
void proxy_arm(struct proxy *proxy, enum proxy_mode mode, uint32_t commits);
/* Whether the harm was done (PROXY_HOLD: a COMMIT is being held). */
bool proxy_sprung(struct proxy *proxy);
/* Lets the held COMMIT go. */
void proxy_release(struct proxy *proxy);
/* Every piece of an answer from the server comes that much later. */
void proxy_delay_set(struct proxy *proxy, int64_t ms);
/* true: what is connected is cut, and nobody gets in (connection refused). */
void proxy_refuse(struct proxy *proxy, bool refuse);
/* From the moment on when what is armed befalls nobody gets in. */
void proxy_refuse_then(struct proxy *proxy);
/* Cuts what is connected; new connections are welcome. */
void proxy_cut_all(struct proxy *proxy);
/* COMMITs forwarded so far, and connections open now. */
uint32_t proxy_commits(struct proxy *proxy);
uint32_t proxy_connections(struct proxy *proxy);

#endif
