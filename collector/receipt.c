#include "collector/receipt.h"

#include <inttypes.h>

static uint64_t receipt_sum(const uint32_t counts[EVENT_KINDS])
{
    uint64_t sum = 0;

    for (int kind = 0; kind < EVENT_KINDS; kind++)
        sum += counts[kind];
    return sum;
}

static void receipt_write_note(const struct event_note *note, struct buf *out)
{
    buf_append_fmt(out, "{\"index\":%" PRIu32 ",\"code\":", note->index);
    buf_append_json(out, span_of(note->code));
    if (note->field) {
        buf_append_text(out, ",\"field\":");
        buf_append_json(out, span_of(note->field));
    }
    buf_append_text(out, ",\"message\":");
    buf_append_json(out, span_of(note->message ? note->message : ""));
    if (note->line)
        buf_append_fmt(out, ",\"line\":%" PRIu32 ",\"column\":%" PRIu32, note->line, note->column);
    buf_append_char(out, '}');
}

static void receipt_write_notes(const char *name, const struct event_notes *notes, uint64_t count,
                                struct buf *out)
{
    buf_append_fmt(out, ",\"%s\":[", name);
    for (uint32_t i = 0; i < notes->len; i++) {
        if (i)
            buf_append_char(out, ',');
        receipt_write_note(&notes->items[i], out);
    }
    buf_append_char(out, ']');
    if (count > notes->len)
        buf_append_fmt(out, ",\"%sCount\":%" PRIu64, name, count);
}

void receipt_write(const struct submission *submission, struct buf *out)
{
    const struct event_list *list = &submission->list;

    if (submission->batch_id)
        buf_append_fmt(out, "{\"batch\":%" PRId64, submission->batch_id);
    else
        buf_append_text(out, "{\"batch\":null");
    buf_append_fmt(out, ",\"received\":%" PRIu64, receipt_sum(list->received));
    if (submission->outcome == SUBMISSION_SPOOLED)
        buf_append_fmt(out, ",\"spooled\":%" PRIu32, list->len);
    else
        buf_append_fmt(out, ",\"accepted\":%" PRIu32 ",\"duplicate\":%" PRIu32,
                       submission->accepted, submission->duplicate);
    receipt_write_notes("rejected", &list->rejects, receipt_sum(list->rejected), out);
    receipt_write_notes("warnings", &list->warnings, list->warnings.count, out);
    buf_append_char(out, '}');
}
