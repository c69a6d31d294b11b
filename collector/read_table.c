#include "read_table_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "members_internal.h"

enum {
    READ_LINE_BYTES_MAX = 64 << 20,
    READ_UUID_CHARS = 8,   /* shown of one */
    READ_VALUE_CHARS = 24, /* a nested value that is longer is shown as {...} on a terminal */
    READ_METRICS_COLUMN = 24 + 2 + 10 + 2 + READ_UUID_CHARS + 2,
};

void read_table_init(struct read_table *table, FILE *out, size_t columns)
{
    *table = (struct read_table){ .out = out, .columns = columns };
    buf_init(&table->partial, READ_LINE_BYTES_MAX);
}

void read_table_done(struct read_table *table)
{
    buf_done(&table->partial);
}

/* What of a row the table shows. */
struct read_row {
    int64_t start_ms;
    struct span uuid; /* empty: an aggregate */
    struct span metrics;
};

static int read_row_parse(struct read_row *row, struct span line)
{
    struct member member;
    struct span rest;
    int rc;

    *row = (struct read_row){ 0 };
    if (!members_begin(line, &rest))
        return -1;
    while ((rc = members_next(&rest, &member)) > 0) {
        if (span_is(member.key, "startTimeStampMs"))
            row->start_ms = strtoll(member.value.data, NULL, 10); /* a ',' or '}' stands behind */
        else if (span_is(member.key, "predictionUuid") && member.value.len >= 2)
            row->uuid = (struct span){ member.value.data + 1, member.value.len - 2 };
        else if (span_is(member.key, "metrics"))
            row->metrics = member.value;
    }
    return rc < 0 || !row->metrics.data ? -1 : 0;
}

/* Metrics on one line, cut at `chars` characters (not bytes; 0: whole). */
struct read_cell {
    FILE *out;
    size_t chars;
    size_t written;
};

static bool read_cell_is_full(const struct read_cell *cell)
{
    return cell->chars && cell->written >= cell->chars;
}

/* Characters that a terminal would act on become '?'; JSON has escaped those below U+0020. */
static void read_cell_write(struct read_cell *cell, struct span text)
{
    for (size_t i = 0; i < text.len && !read_cell_is_full(cell);) {
        unsigned char c = (unsigned char)text.data[i];
        size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        bool is_control = c < ' ' || c == 0x7f;

        if (len > text.len - i)
            len = text.len - i;
        if (c == 0xc2 && len == 2 && (unsigned char)text.data[i + 1] < 0xa0)
            is_control = true; /* U+0080 to U+009F */
        if (is_control)
            (void)fputc('?', cell->out);
        else
            (void)fwrite(text.data + i, 1, len, cell->out);
        i += len;
        cell->written++;
    }
}

static void read_cell_write_value(struct read_cell *cell, struct span value)
{
    bool is_long = cell->chars && value.len > READ_VALUE_CHARS;

    if (is_long && *value.data == '{')
        read_cell_write(cell, SPAN_LITERAL("{...}"));
    else if (is_long && *value.data == '[')
        read_cell_write(cell, SPAN_LITERAL("[...]"));
    else
        read_cell_write(cell, value);
}

static void read_cell_write_metrics(struct read_cell *cell, struct span metrics)
{
    struct member member;
    struct span rest;
    bool is_first = true;

    if (!members_begin(metrics, &rest))
        return;
    while (!read_cell_is_full(cell) && members_next(&rest, &member) > 0) {
        if (!is_first)
            read_cell_write(cell, SPAN_LITERAL(" "));
        is_first = false;
        read_cell_write(cell, member.key);
        read_cell_write(cell, SPAN_LITERAL("="));
        read_cell_write_value(cell, member.value);
    }
}

static int read_table_row(struct read_table *table, struct span line, struct err *err)
{
    struct read_cell cell = { .out = table->out };
    char time[CLOCK_TEXT_BYTES];
    struct read_row row;
    size_t uuid_len;

    if (read_row_parse(&row, line) < 0)
        return err_set(err, ERR_INPUT, "row %" PRIu64 " of the answer is no row", table->rows + 1);
    if (table->rows++ == 0)
        (void)fprintf(table->out, "%-24s  %-10s  %-8s  %s\n", "START", "KIND", "UUID", "METRICS");
    clock_format(row.start_ms, time);
    uuid_len = row.uuid.len > READ_UUID_CHARS ? READ_UUID_CHARS : row.uuid.len;
    (void)fprintf(table->out, "%-24s  %-10s  %-8.*s  ", time,
                  row.uuid.len ? "prediction" : "aggregate", (int)uuid_len,
                  row.uuid.len ? row.uuid.data : "");
    if (table->columns)
        cell.chars =
            table->columns > READ_METRICS_COLUMN + 1 ? table->columns - READ_METRICS_COLUMN : 1;
    read_cell_write_metrics(&cell, row.metrics);
    (void)fputc('\n', table->out);
    return 0;
}

int read_table_write(struct read_table *table, const char *data, size_t len, struct err *err)
{
    while (len > 0) {
        const char *feed = memchr(data, '\n', len);
        size_t taken = feed ? (size_t)(feed - data) + 1 : len;

        buf_append(&table->partial, data, taken);
        if (table->partial.full)
            return err_set(err, ERR_INPUT, "row %" PRIu64 " of the answer is longer than %d bytes",
                           table->rows + 1, READ_LINE_BYTES_MAX);
        if (feed) {
            if (read_table_row(table, buf_span(&table->partial), err) < 0)
                return -1;
            buf_clear(&table->partial);
        }
        data += taken;
        len -= taken;
    }
    return 0;
}
