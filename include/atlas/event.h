/* Lineage events (project_created, model_built, model_deployed): from the text as posted to a
 * checked event with its identity, and what a later event of the same identity means.
 *
 * Pure. The text was scanned when it came in (metrics/event.h): its structure is sound, it has no
 * NaN, no duplicate keys, no U+0000. What a kind of event is made of is a table in atlas/event.c: a
 * new kind is a new row there. */
#ifndef ATLAS_EVENT_H
#define ATLAS_EVENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atlas/type_def.h"
#include "base/attr.h"
#include "base/span.h"

enum lineage_event_kind {
    LINEAGE_PROJECT_CREATED,
    LINEAGE_MODEL_BUILT,
    LINEAGE_MODEL_DEPLOYED,
    LINEAGE_EVENT_KINDS
};

enum { LINEAGE_INPUTS_MAX = 10000 };

/* "project_created" and so on. */
const char *lineage_kind_name(enum lineage_event_kind kind);

struct lineage_limits {
    int64_t time_ms_min; /* as in struct event_limits, both inclusive */
    int64_t time_ms_max;
    const struct type_registry *types; /* borrowed; knows the types of `inputs` */
    const char *name_space; /* of tables without one, where the event names none; borrowed */
};

/* Why an event is refused, or what to say about one that is not. */
struct lineage_note {
    const char *code; /* static: "missing_field", "invalid_field", "invalid_value", ... */
    char field[256];  /* "" when it is about the whole; cut when longer */
    char message[480];
    uint32_t line; /* in the text of `field`, from 1; 0: it is about no place in a text */
    uint32_t column;
};

enum { LINEAGE_NOTES_MAX = 100 };

/* The first LINEAGE_NOTES_MAX are kept, all are counted. */
struct lineage_notes {
    struct lineage_note *items; /* owned */
    uint32_t len;
    uint32_t count;
};

void lineage_notes_done(struct lineage_notes *notes);

struct lineage_integer {
    bool is_given;
    int64_t value;
};

/* All pointers owned; texts are NULL where the event has no such member (or null). */
struct lineage_event {
    enum lineage_event_kind kind;
    json_t *json;   /* the event as posted, unknown members and nulls included */
    char *identity; /* the same for events that are one and the same; see lineage_event_parse */
    char *deployment_crn;
    char *build_crn;
    char *model_crn;
    char *project_crn;
    char *user_name;
    char *name_space;
    char *status; /* "deploying", "deployed", "stopping", "stopped", "unknown" */
    struct lineage_integer deployment_id;
    struct lineage_integer status_at_ms;
};

/* Checks `text` and fills the event, which is made new. Warnings (members that are not known, what
 * is odd in a linking file) are appended. -1: refused, *note says why, the event is empty; the
 * codes are those of metrics/event.h, and "invalid_linking_file". The identity of a model_deployed
 * is "model_deployed <CRN> <status> <statusAtMs or ->": the CRN may hold spaces, what follows it
 * can't; those of the others are "project_created <CRN>" and "model_built <CRN>". */
int lineage_event_parse(struct lineage_event *event, struct span text,
                        const struct lineage_limits *limits, struct lineage_notes *warnings,
                        struct lineage_note *note) MUST_CHECK;
void lineage_event_done(struct lineage_event *event);

enum lineage_comparison {
    LINEAGE_SAME,        /* nothing new: a duplicate */
    LINEAGE_SUPPLEMENTS, /* has members that the known one lacks, and contradicts none */
    LINEAGE_CONFLICT,    /* has another value for a member of the known one */
};

/* What an event adds to a known one of the same identity. Members are compared as JSON (1 and 1.0
 * are equal, the order of members means nothing); null is absent, and a member that only the known
 * event has is no contradiction, so that the first of two events may be sent again after the second
 * has supplemented it. A namespace can't be supplied behind the linking file that it is for: that
 * is a conflict too. With LINEAGE_CONFLICT *member is the name of the first that differs,
 * borrowed from `event`; NULL otherwise. */
enum lineage_comparison lineage_event_compare(const json_t *known, const json_t *event,
                                              const char **member);

#endif
