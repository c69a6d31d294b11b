#include "collector/batch_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/event.h"
#include "base/mem.h"
#include "collector/spool.h"

static struct batch_rows *batch_rows_of(struct batch *batch, enum event_kind kind)
{
    switch (kind) {
    case EVENT_TRACK_METRICS:
        return &batch->predictions;
    case EVENT_DELAYED_METRICS:
        return &batch->labels;
    case EVENT_AGGREGATE_METRICS:
        return &batch->aggregates;
    case EVENT_MODEL_DEPLOYED:
    case EVENT_PROJECT_CREATED:
    case EVENT_MODEL_BUILT:
        return &batch->lineage;
    case EVENT_UNKNOWN:
    case EVENT_KINDS:
        break;
    }
    assert(false && "an event of unknown kind was accepted");
    return NULL;
}

static void batch_add(struct batch *batch, struct submission *submission)
{
    for (uint32_t i = 0; i < submission->list.len; i++) {
        struct event *event = &submission->list.events[i];
        struct batch_rows *rows = batch_rows_of(batch, event->kind);
        struct batch_row *row = &batch->rows[batch->rows_len];

        row->event = event;
        row->submission = submission;
        row->ordinal = batch->rows_len++;
        rows->items[rows->len++] = row;
    }
}

/* Room for the rows of each kind; all lineage events share one list. */
static void batch_make_rows(struct batch *batch, const uint32_t len[EVENT_KINDS])
{
    uint32_t lineage = 0;

    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        if (event_kind_is_lineage((enum event_kind)kind))
            lineage += len[kind];
        else if (kind != EVENT_UNKNOWN)
            batch_rows_of(batch, (enum event_kind)kind)->items =
                xcalloc(len[kind], sizeof(struct batch_row *));
    }
    batch->lineage.items = xcalloc(lineage, sizeof(struct batch_row *));
}

struct batch *batch_new(struct submission *submissions, int64_t now_ms)
{
    struct batch *batch = xcalloc(1, sizeof(*batch));
    uint32_t len[EVENT_KINDS] = { 0 }, total = 0;

    uuid_random(&batch->key);
    batch->formed_ms = now_ms;
    batch->submissions = submissions;
    batch->is_hook = submissions && submissions->is_hook;
    for (const struct submission *s = submissions; s; s = s->next) {
        for (int kind = 0; kind < EVENT_KINDS; kind++)
            len[kind] += s->list.received[kind];
        total += s->list.len;
        batch->origins += s->origin != NULL;
    }
    batch->source = batch->origins ? "kafka" : "http";
    batch->rows = xcalloc(total, sizeof(*batch->rows));
    batch_make_rows(batch, len);
    for (struct submission *s = submissions; s; s = s->next)
        batch_add(batch, s);
    return batch;
}

struct batch *batch_new_replay(const struct spool_group *group)
{
    struct batch *batch = batch_new(group->submission, group->formed_ms);

    batch->key = group->key;
    batch->source = "spool";
    batch->is_replay = true;
    return batch;
}

static void batch_row_done(struct batch_row *row)
{
    free(row->refusal);
    if (row->lineage)
        lineage_event_done(row->lineage);
    free(row->lineage);
    lineage_notes_done(row->lineage_warnings);
    free(row->lineage_warnings);
}

void batch_free(struct batch *batch)
{
    if (!batch)
        return;
    assert(!batch->submissions);
    for (uint32_t i = 0; i < batch->rows_len; i++)
        batch_row_done(&batch->rows[i]);
    free(batch->predictions.items);
    free(batch->labels.items);
    free(batch->aggregates.items);
    free(batch->lineage.items);
    free(batch->rows);
    free(batch);
}

struct submission *batch_release(struct batch *batch)
{
    return TAKE(batch->submissions);
}

static int compare_i64(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int prediction_compare_identity(const struct batch_row *a, const struct batch_row *b)
{
    int order = compare_i64(a->partition_ms, b->partition_ms);

    if (order == 0)
        order = uuid_compare(&a->event->uuid, &b->event->uuid);
    if (order == 0)
        order = compare_i64(a->deployment, b->deployment);
    if (order == 0)
        order = compare_i64(a->event->start_ms, b->event->start_ms);
    return order;
}

static int aggregate_compare_identity(const struct batch_row *a, const struct batch_row *b)
{
    int order = compare_i64(a->partition_ms, b->partition_ms);

    if (order == 0)
        order = compare_i64(a->deployment, b->deployment);
    if (order == 0)
        order = compare_i64(a->event->start_ms, b->event->start_ms);
    if (order == 0)
        order = compare_i64(a->event->has_event_id, b->event->has_event_id);
    if (order == 0)
        order = uuid_compare(&a->event->event_id, &b->event->event_id);
    return order;
}

static int prediction_compare(const void *a, const void *b)
{
    const struct batch_row *left = *(struct batch_row *const *)a,
                           *right = *(struct batch_row *const *)b;
    int order = prediction_compare_identity(left, right);

    return order ? order : compare_i64(left->ordinal, right->ordinal);
}

static int aggregate_compare(const void *a, const void *b)
{
    const struct batch_row *left = *(struct batch_row *const *)a,
                           *right = *(struct batch_row *const *)b;
    int order = aggregate_compare_identity(left, right);

    return order ? order : compare_i64(left->ordinal, right->ordinal);
}

/* Byte for byte; what is equal as JSON only is for Postgres to say. */
static bool batch_same_content(const struct event *a, const struct event *b)
{
    return a->end_ms == b->end_ms && a->failed == b->failed && span_equal(a->replica, b->replica) &&
           span_equal(a->metrics, b->metrics);
}

/* Leaves out what is barred, sorts, and marks the rows whose identity stands before them. */
static void batch_arrange_rows(struct batch *batch, struct batch_rows *rows,
                               int (*compare)(const void *, const void *),
                               int (*compare_identity)(const struct batch_row *,
                                                       const struct batch_row *))
{
    struct batch_row *first = NULL;
    uint32_t len = 0;

    for (uint32_t i = 0; i < rows->len; i++) {
        if (!rows->items[i]->barred)
            rows->items[len++] = rows->items[i];
    }
    rows->len = len;
    qsort(rows->items, len, sizeof(struct batch_row *), compare);
    for (uint32_t i = 0; i < len; i++) {
        struct batch_row *row = rows->items[i];
        bool anonymous = row->event->kind == EVENT_AGGREGATE_METRICS && !row->event->has_event_id;

        row->is_first = !first || anonymous || compare_identity(first, row) != 0;
        row->twin = NULL;
        if (row->is_first)
            first = row;
        else if (batch_same_content(first->event, row->event))
            row->twin = first;
        else
            batch->must_stage = true;
    }
}

/* Labels keep their order; only those that are barred leave. */
static void batch_drop_barred(struct batch_rows *rows)
{
    uint32_t len = 0;

    for (uint32_t i = 0; i < rows->len; i++) {
        if (!rows->items[i]->barred)
            rows->items[len++] = rows->items[i];
    }
    rows->len = len;
}

void batch_arrange(struct batch *batch)
{
    batch->must_stage = false;
    batch_arrange_rows(batch, &batch->predictions, prediction_compare, prediction_compare_identity);
    batch_arrange_rows(batch, &batch->aggregates, aggregate_compare, aggregate_compare_identity);
    batch_drop_barred(&batch->labels);
    batch_drop_barred(&batch->lineage);
}

void batch_reset(struct batch *batch)
{
    for (uint32_t i = 0; i < batch->rows_len; i++) {
        struct batch_row *row = &batch->rows[i];

        if (row->barred)
            continue;
        row->fate = ROW_ACCEPTED;
        row->found = row->is_assumed = false;
        row->code = row->message = NULL;
    }
}

void batch_row_reject(struct batch_row *row, const char *code, const char *field,
                      const char *message)
{
    row->fate = ROW_REJECTED;
    row->code = code;
    row->field = field;
    row->message = message;
}

void batch_row_bar(struct batch_row *row, const char *code, const char *field, const char *message)
{
    free(row->refusal);
    row->refusal = xstrdup(message);
    row->barred = true;
    batch_row_reject(row, code, field, row->refusal);
}

void batch_settle_twins(struct batch *batch)
{
    for (uint32_t i = 0; i < batch->rows_len; i++) {
        struct batch_row *row = &batch->rows[i];

        if (!row->twin || row->barred)
            continue;
        if (row->twin->fate == ROW_REJECTED)
            batch_row_reject(row, row->twin->code, row->twin->field, row->twin->message);
        else
            row->fate = ROW_DUPLICATE;
    }
}

void batch_count(const struct batch *batch, struct batch_counts *counts)
{
    memset(counts, 0, sizeof(*counts));
    for (const struct submission *s = batch->submissions; s; s = s->next) {
        for (int kind = 0; kind < EVENT_KINDS; kind++) {
            counts->received[kind] += s->list.received[kind];
            counts->rejected[kind] += s->list.rejected[kind];
        }
    }
    for (uint32_t i = 0; i < batch->rows_len; i++) {
        const struct batch_row *row = &batch->rows[i];
        enum event_kind kind = row->event->kind;

        counts->accepted[kind] += row->fate == ROW_ACCEPTED;
        counts->duplicate[kind] += row->fate == ROW_DUPLICATE;
        counts->rejected[kind] += row->fate == ROW_REJECTED;
    }
}

static void batch_note(struct event_notes *notes, const struct batch_row *row)
{
    struct event_note note = {
        .index = row->event->index,
        .code = row->code,
        .field = row->field,
        .message = row->message,
    };

    event_notes_add(notes, &note);
}

void batch_note_assumed(const struct batch_row *row, struct event_note *note)
{
    *note = (struct event_note){
        .index = row->event->index,
        .code = "cpu_assumed",
        .field = "cpuMillicores",
        .message = "neither this event nor the build says how much CPU the deployment has: it is "
                   "entered as 0",
    };
}

static void batch_finish_row(struct batch *batch, struct batch_row *row)
{
    struct submission *submission = row->submission;
    struct event_note note;

    switch (row->fate) {
    case ROW_ACCEPTED:
        submission->accepted++;
        submission->batch_id = batch->batch_id;
        if (row->is_assumed) {
            batch_note_assumed(row, &note);
            event_notes_add(&submission->list.warnings, &note);
        }
        break;
    case ROW_DUPLICATE:
        submission->duplicate++;
        break;
    case ROW_REJECTED:
        submission->list.rejected[row->event->kind]++;
        batch_note(&submission->list.rejects, row);
        break;
    }
}

void batch_finish(struct batch *batch)
{
    struct submission *next;

    for (uint32_t i = 0; i < batch->rows_len; i++)
        batch_finish_row(batch, &batch->rows[i]);
    for (struct submission *s = batch_release(batch); s; s = next) {
        next = s->next; /* done() may free it */
        s->outcome = SUBMISSION_COMMITTED;
        s->done(s);
    }
}
