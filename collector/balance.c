#include "collector/balance.h"

#include <inttypes.h>

struct balance_counts balance_total(const struct balance *balance)
{
    struct balance_counts total = { 0 };

    for (size_t i = 0; i < EVENT_KINDS; i++) {
        total.received += balance->kinds[i].received;
        total.accepted += balance->kinds[i].accepted;
        total.duplicate += balance->kinds[i].duplicate;
        total.rejected += balance->kinds[i].rejected;
        total.spooled += balance->kinds[i].spooled;
    }
    return total;
}

bool balance_holds(const struct balance *balance)
{
    for (size_t i = 0; i < EVENT_KINDS; i++) {
        const struct balance_counts *counts = &balance->kinds[i];

        if (counts->received !=
            counts->accepted + counts->duplicate + counts->rejected + counts->spooled)
            return false;
    }
    return true;
}

static void balance_counts_write_json(const struct balance_counts *counts, bool has_spooled,
                                      struct buf *out)
{
    buf_append_fmt(out,
                   "{\"received\":%" PRId64 ",\"accepted\":%" PRId64 ",\"duplicate\":%" PRId64
                   ",\"rejected\":%" PRId64,
                   counts->received, counts->accepted, counts->duplicate, counts->rejected);
    if (has_spooled)
        buf_append_fmt(out, ",\"spooled\":%" PRId64, counts->spooled);
    buf_append_char(out, '}');
}

void balance_write_json(const struct balance *balance, bool has_spooled, struct buf *out)
{
    struct balance_counts total = balance_total(balance);

    buf_append_text(out, "{\"total\":");
    balance_counts_write_json(&total, has_spooled, out);
    buf_append_text(out, ",\"events\":{");
    for (size_t i = 0; i < EVENT_KINDS; i++) {
        if (i > 0)
            buf_append_char(out, ',');
        buf_append_json(out, span_of(event_kind_name((enum event_kind)i)));
        buf_append_char(out, ':');
        balance_counts_write_json(&balance->kinds[i], has_spooled, out);
    }
    buf_append_fmt(out, "},\"batches\":%" PRId64 ",\"balanced\":%s}", balance->batches,
                   balance_holds(balance) ? "true" : "false");
}

static void balance_counts_write_line(const char *name, const struct balance_counts *counts,
                                      FILE *out)
{
    (void)fprintf(out, "%-18s %14" PRId64 " %14" PRId64 " %14" PRId64 " %14" PRId64 "\n", name,
                  counts->received, counts->accepted, counts->duplicate, counts->rejected);
}

void balance_write_table(const struct balance *balance, FILE *out)
{
    struct balance_counts total = balance_total(balance);

    (void)fprintf(out, "%-18s %14s %14s %14s %14s\n", "", "received", "accepted", "duplicate",
                  "rejected");
    for (size_t i = 0; i < EVENT_KINDS; i++)
        balance_counts_write_line(event_kind_name((enum event_kind)i), &balance->kinds[i], out);
    balance_counts_write_line("total", &total, out);
    (void)fprintf(out, "%" PRId64 " batches; the books %s; a daemon's spool is not in them\n",
                  balance->batches, balance_holds(balance) ? "balance" : "DO NOT balance");
}
