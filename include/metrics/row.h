/* Rows as readers get them: a prediction with its labels merged in, or an aggregate. JSON, NDJSON
 * and CSV.
 *
 * Pure. What is read here was checked when it came in: texts of `metrics` and labels are valid,
 * compact JSON objects, and these functions walk them without checking again. */
#ifndef METRICS_ROW_H
#define METRICS_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/span.h"

/* All spans borrowed. */
struct row {
    struct span deployment_crn;
    struct span build_crn; /* empty while unknown */
    struct span model_crn;
    int64_t start_ms;
    int64_t end_ms;
    struct span uuid;    /* 36 characters, lower case; empty for an aggregate */
    struct span metrics; /* labels merged in */
};

/* Merges `labels` (in their order, the later wins) into `metrics` at the top level and appends the
 * object to `out`: a member that is there keeps its place and gets the label's value, a new one is
 * added at the end; keys are compared unescaped, every value keeps its bytes. With keys_len > 0
 * only members of these (unescaped) names are kept. */
void row_merge(struct buf *out, struct span metrics, const struct span *labels, size_t labels_len,
               const struct span *keys, size_t keys_len);

/* Whether two objects have a top-level member of the same (unescaped) name. */
bool row_shares_key(struct span object, struct span other);

/* The object with exactly the seven members of wire.md, in their order, no line feed. */
void row_write_json(struct buf *out, const struct row *row);

/* The flattened names of all rows of one answer, as pandas.json_normalize gives them ("metrics."
 * before each, keys joined by '.' without any escape, lists kept whole, an empty object has no
 * column), in order of first appearance. When two members of a row have the same flattened name the
 * later one is written. */
struct row_columns;

struct row_columns *row_columns_new(size_t columns_max);
void row_columns_free(struct row_columns *columns);
AUTO_DEFINE(struct row_columns, row_columns_free);
/* Adds the names of one row; -1 when there would be more than columns_max (the six members in front
 * of the metrics are not counted): the columns are then good for nothing but row_columns_free. */
int row_columns_add(struct row_columns *columns, struct span metrics) MUST_CHECK;
/* RFC 4180 with \n as line end: the header line, a row's line. Strings are written unescaped (an
 * empty one as ""), null and absent as an empty field, everything else as its JSON text. A cell
 * that begins with = + - @ is data and stays as it is: whoever opens the file in a spreadsheet has
 * to import it as text. A row's member that no column has is left out. */
void row_columns_write_header(struct row_columns *columns, struct buf *out);
void row_columns_write(struct row_columns *columns, struct buf *out, const struct row *row);

#endif
