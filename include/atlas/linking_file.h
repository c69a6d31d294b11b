/* The linking file (lineage.yaml, lineage.yml) of a project: for each of its models the tables that
 * it is trained on, and pairs of text that become metadata of its builds:
 *
 *     Churn model:
 *       hive_table_qualified_names:
 *         - default.telco_churn@cm
 *       metadata:
 *         query: select * from default.telco_churn
 *
 * All that is seen in practice is taken where it can mean one thing only, with a warning where it
 * is not what the documentation says: a list of models in place of a mapping, tables without their
 * key or their namespace, YAML of every style. Anchors and aliases are followed, within the limits.
 *
 * Pure. */
#ifndef ATLAS_LINKING_FILE_H
#define ATLAS_LINKING_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/span.h"

enum {
    LINKING_FILE_BYTES_MAX = 1 << 20,
    LINKING_NAME_BYTES_MAX = 1024, /* of a model, a table, a key */
    /* Both for the file as a whole, with every alias counted as often as it is used. */
    LINKING_ITEMS_MAX = 20000,        /* models, their keys, tables, metadata */
    LINKING_TEXT_BYTES_MAX = 4 << 20, /* of all names and values */
    LINKING_NOTES_MAX = 100,
    LINKING_MESSAGE_BYTES = 400,
};

#define LINKING_NAMESPACE_DEFAULT "cm"

/* What is wrong with a file, or worth a warning. */
struct linking_note {
    bool is_error;
    const char *code; /* static: LINKING_INVALID for every error, "unknown_key", ... */
    uint32_t line;    /* from 1 */
    uint32_t column;  /* from 1, in characters */
    char message[LINKING_MESSAGE_BYTES]; /* what is wrong and what to do; one line */
};

#define LINKING_INVALID "invalid_linking_file"

/* In the order in which they were found. The first LINKING_NOTES_MAX warnings and as many errors
 * are kept, all are counted. */
struct linking_notes {
    struct linking_note *items; /* owned */
    size_t len;
    uint32_t warnings;
    uint32_t errors;
};

void linking_notes_done(struct linking_notes *notes);

struct linking_table {
    char *qualified_name; /* owned: db.table@namespace; db and table in lower case */
    uint32_t line;
    uint32_t column;
};

struct linking_pair {
    char *key;   /* owned */
    char *value; /* owned: as it stands in the file, `0.990` and `yes` are texts */
};

/* All owned. A table or a key stands in it once; the order is that of the file. */
struct linking_model {
    char *name;
    uint32_t line;
    uint32_t column;
    struct linking_table *tables;
    size_t tables_len;
    struct linking_pair *metadata;
    size_t metadata_len;
};

struct linking_file {
    struct linking_model *models; /* owned; names are unique */
    size_t models_len;
};

struct linking_source {
    const char *name; /* of the file, for messages */
    struct span text;
    const char *name_space; /* of tables without one */
};

/* Fills the file, which is made new, and appends what there is to say to `notes`, also when it
 * fails. ERR_INPUT: the file is empty (no models), *err is the first error as "NAME:LINE:COLUMN:
 * MESSAGE". A file of comments only, or of nothing, has no models and no errors. */
int linking_file_parse(struct linking_file *file, const struct linking_source *source,
                       struct linking_notes *notes, struct err *err) MUST_CHECK;

/* The entry of a model, borrowed from the file; NULL: it has none. */
const struct linking_model *linking_file_find(const struct linking_file *file, const char *name);

/* The two ways in which a file and the models that there are can miss each other; both append
 * warnings. "model_not_in_file" when this model, which is being built, has no entry. */
void linking_file_check_model(const struct linking_file *file, const char *name,
                              struct linking_notes *notes);
/* "entry_without_model" for each entry whose name is none of the `len` names. */
void linking_file_check_entries(const struct linking_file *file, const char *const *names,
                                size_t len, struct linking_notes *notes);

void linking_file_done(struct linking_file *file);

static inline void linking_file_done_auto(struct linking_file *file) /* AUTO(linking_file_done) */
{
    linking_file_done(file);
}

static inline void linking_notes_done_auto(struct linking_notes *notes) /* AUTO(...) */
{
    linking_notes_done(notes);
}

#endif
