/* The top-level members of one JSON object, as spans: enough for the client commands to tell what a
 * line is and to show it. It checks no more than it needs to find where a value ends; the server is
 * the one that judges. */
#ifndef COLLECTOR_MEMBERS_INTERNAL_H
#define COLLECTOR_MEMBERS_INTERNAL_H

#include <stdbool.h>

#include "base/attr.h"
#include "base/span.h"

struct member {
    struct span key;   /* between its quotes, escapes as they stand */
    struct span value; /* with its quotes or brackets */
};

/* Puts *rest behind the `{` of `text`; false when there is none. */
bool members_begin(struct span text, struct span *rest);
/* 1: a member, *rest is behind it. 0: the object's end, and nothing but white space behind it.
 * -1: it can't be read. */
int members_next(struct span *rest, struct member *member) MUST_CHECK;

#endif
