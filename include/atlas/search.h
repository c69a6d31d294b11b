/* What a client of Atlas searches for: the parameters of a basic search, checked against the types.
 * Nothing that Atlas takes is silently left out: what can't be answered is refused. Pure. */
#ifndef ATLAS_SEARCH_H
#define ATLAS_SEARCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atlas/type_def.h"
#include "base/attr.h"

enum {
    SEARCH_LIMIT_DEFAULT = 100,
    SEARCH_LIMIT_MAX = 10000, /* who wants more gets the default, as in Atlas */
    SEARCH_TEXT_BYTES_MAX = 4096,
    SEARCH_FILTERS_MAX = 100,
    SEARCH_DEPTH_MAX = 8,    /* of conditions in conditions */
    SEARCH_VALUES_MAX = 200, /* of all filters */
    SEARCH_TYPES_MAX = 100,
    SEARCH_ATTRIBUTES_MAX = 100,
    SEARCH_WORDS_MAX = 16,
    SEARCH_WILDCARDS_MAX = 32, /* in all words */
};

/* Where a value is. */
enum search_place {
    SEARCH_IN_ATTRIBUTES,
    SEARCH_IN_QUALIFIED_NAME, /* which every entity has */
    SEARCH_IN_GUID,
    SEARCH_IN_TYPE_NAME,
    SEARCH_IN_STATE, /* ACTIVE, DELETED */
    SEARCH_IN_CREATED_BY,
    SEARCH_IN_MODIFIED_BY,
    SEARCH_IN_TIMESTAMP,
    SEARCH_IN_MODIFICATION_TIMESTAMP,
    SEARCH_IN_INCOMPLETE,
};

enum search_kind {
    SEARCH_TEXT, /* enums too */
    SEARCH_NUMBER,
    SEARCH_DATE, /* a number of milliseconds */
    SEARCH_BOOLEAN,
    SEARCH_LIST,  /* of texts */
    SEARCH_OTHER, /* it is there or not, no more can be said */
};

struct search_field {
    enum search_place place;
    enum search_kind kind;
    const char *name; /* borrowed from the registry, or static */
};

enum search_operator {
    SEARCH_LT,
    SEARCH_GT,
    SEARCH_LTE,
    SEARCH_GTE,
    SEARCH_EQ,
    SEARCH_NEQ, /* those without a value are unlike any, and so do not contain it */
    SEARCH_IN,  /* of texts with commas between them, as CONTAINS_ANY and _ALL */
    SEARCH_LIKE,
    SEARCH_STARTS_WITH,
    SEARCH_ENDS_WITH,
    SEARCH_CONTAINS,
    SEARCH_NOT_CONTAINS,
    SEARCH_CONTAINS_ANY,
    SEARCH_CONTAINS_ALL,
    SEARCH_IS_NULL,
    SEARCH_NOT_NULL,
    SEARCH_TIME_RANGE, /* two values, both included */
    SEARCH_NOT_EMPTY,
    SEARCH_OPERATORS
};

/* A condition with what it joins, or one test. */
struct search_filter {
    struct search_filter *children; /* owned; NULL: a test */
    size_t children_len;
    bool is_or; /* else AND */
    struct search_field field;
    enum search_operator operator;
    char **values; /* owned; of NUMBER, DATE and BOOLEAN as JSON */
    size_t values_len;
};

/* Whether an entity is to have a classification, its own or one that reaches it. */
enum search_tags {
    SEARCH_TAGS_EITHER,
    SEARCH_CLASSIFIED, /* as one of tag_types, where there are any */
    SEARCH_NOT_CLASSIFIED,
};

struct search {
    struct type_list types; /* owned list; those that an entity may have; empty: any */
    enum search_tags tags;
    struct type_list tag_types; /* owned list */
    bool has_tag_filter;        /* CLASSIFIED, by a classification of which this is true: */
    struct search_filter tag_filter;
    bool excludes_deleted;
    char **words; /* owned; all are wanted; `*` is any text, `?` any character */
    size_t words_len;
    bool has_filter;
    struct search_filter filter;
    bool has_sort;
    bool is_descending;
    struct search_field sort;
    const char **attributes; /* owned list; shown besides those of every header */
    size_t attributes_len;
    int64_t limit, offset;
    json_t *parameters; /* owned; as an answer repeats them */
};

/* Of status 400. */
struct search_fault {
    const char *code; /* static; Atlas's */
    char message[512];
};

/* Reads SearchParameters, null as absent; texts in the place of numbers and booleans are taken, and
 * the reverse. -1: the fault says why, and there is nothing to be done with. */
int search_parse(struct search *search, const struct type_registry *types, const json_t *parameters,
                 struct search_fault *fault) MUST_CHECK;
/* The same for QuickSearchParameters: of one word the beginning is enough, and types that inherit
 * are not meant unless it says so. */
int search_parse_quick(struct search *search, const struct type_registry *types,
                       const json_t *parameters, struct search_fault *fault) MUST_CHECK;
void search_done(struct search *search);

#endif
