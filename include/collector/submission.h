/* One request's events, or those of some messages from Kafka, on their way through the committer.
 *
 *   HTTP thread: decode -> submission -> queue_push()      from here on it belongs to the committer
 *   committer:   batch -> COMMIT -> outcome -> done()      from here on it belongs to the HTTP
 * thread again
 */
#ifndef COLLECTOR_SUBMISSION_H
#define COLLECTOR_SUBMISSION_H

#include <stdbool.h>
#include <stdint.h>

#include "metrics/event.h"

enum submission_outcome {
    SUBMISSION_PENDING,
    SUBMISSION_COMMITTED,  /* answer 200; the receipt is valid */
    SUBMISSION_SPOOLED,    /* answer 202: on disk, to be committed later */
    SUBMISSION_NOT_STORED, /* answer 503: not stored and never will be */
    SUBMISSION_FENCED,     /* from Kafka: the stored offset is not where it began; not stored */
    SUBMISSION_UNKNOWN,    /* the daemon stops while the fate of COMMIT is unknown, or the spool's
                              disk fails so that its own is: close without an answer */
};

struct origin;      /* collector/origin.h */
struct spool_group; /* collector/spool.h */

struct submission {
    struct submission *next; /* in the queue, then in the batch */
    struct event_list list;  /* owned; the committer adds to list.rejects and list.rejected what the
                                database  refuses (conflicts, limits), and to list.warnings */
    char *body;              /* owned; the list's spans point into it */
    struct origin *origin;   /* owned; NULL: by HTTP */
    struct spool_group *group; /* borrowed; of the spool, which this is the content of; else NULL */
    bool is_hook;              /* origin has messages of hooks, list is empty and body NULL */
    size_t bytes;              /* its share of the memory budget, held until submission_free */
    struct budget *budget;     /* borrowed; gets the bytes back */
    int64_t came_mono_ms;      /* when it was received; by HTTP */
    int64_t deadline_mono_ms;  /* past it and not begun: NOT_STORED; INT64_MAX: never */

    enum submission_outcome outcome;
    int64_t batch_id; /* 0: nothing of it was committed */
    uint32_t accepted;
    uint32_t duplicate;

    /* Called once by the committer thread when the outcome is there; must not block. */
    void (*done)(struct submission *submission);
    void *owner; /* the caller's, untouched */
};

/* Frees list, body, origin and the struct, and gives the bytes back. Accepts NULL. */
void submission_free(struct submission *submission);

#endif
