/* Clients under whose load a test does its violence.
 *
 * Each client is a thread with a connection of its own that posts events to /v1/events and sends
 * the same bytes again until they are answered with 200 or 202, whatever comes between: a 503, a
 * closed connection, a daemon that is not there. A client notes what no daemon may do: an answer
 * other than 200, 202 and 503, a 503 without Retry-After, an event rejected, an event called a
 * duplicate although no earlier answer to it was lost. All of it follows from the seed, but for the
 * timing.
 *
 *     AUTO(load_free) struct load *load = load_start(&(struct load_options){ ... });
 *     load_await(load, 100);
 *     ... violence ...
 *     load_finish(load);
 *     load_check(load, dsn);
 *
 * Every function fails the test when a client has noted something. */
#ifndef HARNESS_LOAD_H
#define HARNESS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "tests/harness/daemon.h"

enum { LOAD_DAEMONS_MAX = 2 };

struct load_options {
    uint64_t seed;
    uint32_t clients;
    uint32_t events_max; /* of one request; each has a random number of them */
    /* 0: each client has events of its own, ever new ones until load_finish. Else all clients post
     * the same `shared` events, each of them `rounds` times over, in orders of their own. */
    uint32_t shared;
    uint32_t rounds;
    bool predictions; /* and nothing else; otherwise labels and aggregates, too */
    bool anonymous;   /* aggregates without an eventId are among them; not with `shared` */
    const struct daemon *daemons[LOAD_DAEMONS_MAX]; /* a request goes to any of them */
};

struct load_tally {
    uint64_t acknowledged;   /* requests */
    uint64_t spooled;        /* of them, answered 202 */
    uint64_t refused;        /* answers 503 */
    uint64_t lost;           /* attempts without an answer */
    uint64_t events;         /* in the acknowledged requests */
    uint64_t events_spooled; /* of them, in those answered 202 */
    uint64_t accepted;       /* of them, as the answers say */
    uint64_t duplicate;
};

struct load;

struct load *load_start(const struct load_options *options);
/* Ends the clients if load_finish has not. Accepts NULL. */
void load_free(struct load *load);
AUTO_DEFINE(struct load, load_free);

/* The daemon has a new port after daemon_resume. */
void load_aim(struct load *load, const struct daemon *daemon);
struct load_tally load_tally(struct load *load);
/* Waits until that many more requests are acknowledged. */
void load_await(struct load *load, uint64_t requests);
/* Waits until that many more requests were answered 503. */
void load_await_refused(struct load *load, uint64_t requests);
/* Waits until that many more requests were answered 202. */
void load_await_spooled(struct load *load, uint64_t requests);
/* No new requests; waits until those under way are acknowledged and the clients have ended. */
void load_finish(struct load *load);

/* After load_finish: every event stands in the tables exactly once with what was posted, and
 * nothing else does; an event without identity at least once, and once more at most for each answer
 * that was lost. Then load_check_books, and what the clients were told is in them. Once a
 * database: makes a table load_event in it. */
void load_check(struct load *load, const char *dsn);
/* The books: received = accepted + duplicate + rejected in each batch and in total, accepted = rows
 * of each batch. Every row's metrics must have a UUID under "id". */
void load_check_books(const char *dsn);

/* ---- for tests that post by themselves ---- */

/* A prediction whose UUID and content follow from (seed, number). */
void load_write_prediction(struct buf *out, uint64_t seed, uint32_t number);
/* Its UUID. */
void load_uuid(uint64_t seed, uint32_t number, char text[37]);

#endif
