/* A batch: what one Postgres transaction commits. Made from the submissions that waited in the
 * queue, carried through catalog, partitions, COPY and COMMIT, and turned into the submissions'
 * receipts. Committer thread only.
 *
 *   submissions -> rows (in order of arrival) -> predictions, aggregates (sorted for COPY),
 *                                                labels, lineage
 *
 * Nothing here knows SQL; store_commit.c does. */
#ifndef COLLECTOR_BATCH_INTERNAL_H
#define COLLECTOR_BATCH_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/uuid.h"
#include "collector/submission.h"
#include "metrics/event.h"

struct lineage_event; /* atlas/event.h, as is the next */
struct lineage_notes;

enum row_fate {
    ROW_ACCEPTED,  /* will be stored, unless what follows says otherwise */
    ROW_DUPLICATE, /* the same identity and content is stored, or stands before it in the batch */
    ROW_REJECTED,  /* `code` and `message` say why */
};

/* One event in the batch. */
struct batch_row {
    struct event *event;           /* borrowed from the submission */
    struct submission *submission; /* borrowed from the batch */
    struct batch_row
        *twin;          /* the row before it with the same identity and the same bytes: one fate */
    uint32_t ordinal;   /* its place in the batch, in order of arrival */
    int32_t deployment; /* id in the catalog */
    int64_t partition_ms; /* lower bound of its partition */
    bool barred;          /* rejected before the transaction, for good */
    bool is_first;        /* no row before it in the batch has its identity */
    enum row_fate fate;
    const char *code;    /* static */
    const char *field;   /* static or of `lineage`, may be NULL */
    const char *message; /* static, or held by `refusal` */
    char *refusal;       /* owned: what Postgres said of this row alone */

    struct lineage_event *lineage;          /* owned; a lineage event decoded */
    struct lineage_notes *lineage_warnings; /* owned; what there was to say of it */
    bool is_assumed;                        /* nobody has told its deployment's CPU */

    /* Labels: where the look-up found the prediction. */
    bool found;
    int32_t revision;
    bool corrects;    /* a key that was there already: its minute is counted anew */
    int64_t start_us; /* the prediction's start, microseconds since 1970 */
};

struct batch_rows {
    struct batch_row **items; /* owned array of borrowed rows */
    uint32_t len;
};

struct batch {
    struct uuid key;    /* kept over every attempt */
    int64_t formed_ms;  /* likewise */
    const char *source; /* static: 'http', 'kafka' or 'spool'; all of it came from there */
    struct submission *submissions; /* owned until batch_finish or batch_release */
    struct batch_row *rows;         /* owned, in order of arrival */
    uint32_t rows_len;
    uint32_t origins;              /* submissions from Kafka: all or none */
    struct batch_rows predictions; /* sorted by (partition, uuid, deployment, start, ordinal) */
    struct batch_rows aggregates;  /* sorted by (partition, deployment, start, eventId, ordinal) */
    struct batch_rows labels;      /* in order of arrival */
    struct batch_rows lineage;     /* in order of arrival */
    bool must_stage;  /* two rows have one identity and different content: Postgres compares */
    int64_t batch_id; /* of the last attempt */
    bool is_replay;   /* a group of the spool: its key may be in since long */
    bool was_there;   /* and was; what became of its rows an earlier attempt knew */

    /* Of messages of hooks, which have no rows. */
    bool is_hook;
    char hook_xid[24]; /* of the attempt that sent COMMIT */
    int64_t hook_messages, hook_rejected;
};

/* Takes the submissions, all of one way. */
struct batch *batch_new(struct submission *submissions, int64_t now_ms);
/* Takes the group's submission, and has its key. */
struct batch *batch_new_replay(const struct spool_group *group);
/* Frees the batch; submissions that it still has must have been handed over before. */
void batch_free(struct batch *batch);
AUTO_DEFINE(struct batch, batch_free);

/* Gives the submissions back, untouched, and leaves the batch without them. */
struct submission *batch_release(struct batch *batch);

/* Sorts the rows for COPY and finds the duplicates within the batch; after the deployments and
 * partitions of all rows that are not barred are known. */
void batch_arrange(struct batch *batch);
/* Every row back to what it was before the first attempt. */
void batch_reset(struct batch *batch);
/* For this attempt; the texts live as long as the row, field may be NULL. */
void batch_row_reject(struct batch_row *row, const char *code, const char *field,
                      const char *message);
/* For good: later attempts don't try this row again. The message is copied. Call batch_arrange
 * after it. */
void batch_row_bar(struct batch_row *row, const char *code, const char *field, const char *message);
/* What there is to say of a row that is_assumed; all texts are static. */
void batch_note_assumed(const struct batch_row *row, struct event_note *note);
/* Rows with a twin get its fate. Before counting. */
void batch_settle_twins(struct batch *batch);

/* Counts by kind: what the ledger row of the batch says. received counts all that was decoded. */
struct batch_counts {
    uint32_t received[EVENT_KINDS], accepted[EVENT_KINDS], duplicate[EVENT_KINDS],
        rejected[EVENT_KINDS];
};
void batch_count(const struct batch *batch, struct batch_counts *counts);

/* Writes each row's fate into its submission's receipt and calls done(): the batch is committed. */
void batch_finish(struct batch *batch);

#endif
