/* Clients that remember what they were told, for tests that do harm at random.
 *
 * Each client is a thread that posts events of every kind, with and without an identity, one or
 * many in a request, by every route and framing. What it does with a request that fails is chance:
 * it sends the same bytes until they are acknowledged, gives up at the first answer, hangs up
 * before there is one, or sends again what was acknowledged. Of every event it counts
 *
 *   acknowledged   200 (committed) or 202 (in the spool)
 *   refused        503: not stored by this attempt, and never will be
 *   lost           no answer: stored or not, nobody can know
 *
 * One more client may send by Kafka, each message once or twice. What Kafka has acknowledged is
 * there as often as it was, once if it has an identity; nothing is lost, because the broker comes
 * back.
 *
 * witness_check compares all this with what the daemons and the tables say. All of it follows from
 * the seed, but for the timing. */
#ifndef HARNESS_WITNESS_H
#define HARNESS_WITNESS_H

#include <stdint.h>

#include "base/attr.h"
#include "tests/harness/daemon.h"

enum { WITNESS_DAEMONS = 2, WITNESS_CLIENTS_MAX = 16 };

struct witness_tally {
    uint64_t events; /* numbers given out; the others count requests */
    uint64_t acknowledged, spooled, refused, lost;
    uint64_t messages; /* that Kafka has acknowledged */
};

struct broker;
struct witness;

struct witness *witness_new(uint64_t seed, uint32_t clients);
/* Ends the clients if they run. Accepts NULL. */
void witness_free(struct witness *witness);
AUTO_DEFINE(struct witness, witness_free);

/* Before the first witness_begin. The broker is to be there, and until witness_free; nobody else
 * writes to the topic. Borrows both. */
void witness_add_kafka(struct witness *witness, struct broker *broker, const char *topic,
                       int partitions);

/* Where daemon number `i` listens now; NULL: it is away. Any thread. */
void witness_aim(struct witness *witness, uint32_t i, const struct daemon *daemon);
/* The clients begin, each where it ended. */
void witness_begin(struct witness *witness);
/* No new requests; those that are to be acknowledged are sent until they are, and the clients end.
 * Fails the test when one was told what no daemon may say. */
void witness_end(struct witness *witness);
struct witness_tally witness_tally(struct witness *witness);

/* Between witness_end and witness_begin. Everything since witness_new, as `daemon` gives it back
 * and as it stands in the tables: what was acknowledged is there, once if it has an identity, else
 * once for each acknowledged attempt; what was refused and nothing else is not there. */
void witness_check(struct witness *witness, const struct daemon *daemon, const char *dsn);

#endif
