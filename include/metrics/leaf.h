/* The leaves of an event's metrics, with their names: the path of keys joined by '.'; a '.' inside
 * a key is written "\.", a '\' as "\\", keys are unescaped JSON, so that no two paths have one
 * name.
 *
 * {"a":{"b.c":1},"d":[1,2],"e":{}} has two leaves: a.b\.c, which is a number, and d, which is not
 * rolled up. An empty object has none.
 *
 * Pure, no allocation. The object was checked when it came in (metrics/json.h) and has no white
 * space; on other bytes the leaves make no sense, but nothing outside them is read. */
#ifndef METRICS_LEAF_H
#define METRICS_LEAF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/span.h"
#include "metrics/json.h"

enum {
    LEAF_NAME_BYTES_MAX = 512, /* of a name as it is written above */
    LEAF_DEPTH_MAX = 1024,     /* of objects, the outermost is 1 */
    LEAF_TEXT_BYTES_MAX = 256, /* of a text that is unescaped; see struct leaf */
};

enum leaf_type {
    LEAF_NUMBER,
    LEAF_TEXT,
    LEAF_BOOLEAN,
    LEAF_NULL,
    /* Not rolled up, for the caller to count: */
    LEAF_ARRAY,     /* a list, whatever is in it */
    LEAF_LONG_NAME, /* a leaf, or a list, whose name is too long; `name` is empty */
    LEAF_DEEP,      /* an object that is too deep, with all it holds; `name` is its path */
    LEAF_INVALID,   /* no JSON value at all: the object had not been checked */
};

struct leaf {
    enum leaf_type type;
    struct span name; /* borrowed until the next leaf */
    double number;
    /* A text, unescaped, or "true" or "false"; borrowed from the object or until the next leaf. One
     * that has escapes and more than LEAF_TEXT_BYTES_MAX bytes may come with its escapes: it is
     * longer than that either way. */
    struct span text;
    struct span raw; /* the value as it stands; borrowed from the object */
};

struct leaf_walk {
    struct json_walk walk;
    uint32_t depth;
    /* Length of the path of each open object; above LEAF_NAME_BYTES_MAX: too long. */
    uint16_t path_len[LEAF_DEPTH_MAX];
    char path[LEAF_NAME_BYTES_MAX];
    char text[LEAF_TEXT_BYTES_MAX * 6];
};

/* `object` is borrowed until the last leaf. */
void leaf_walk_begin(struct leaf_walk *walk, struct span object);
/* The next leaf in the order of the text; false: that was the last one. */
bool leaf_walk_next(struct leaf_walk *walk, struct leaf *leaf);

/* A JSON number's double: the nearest, ties to even, whatever the locale. `token` has no NUL behind
 * it. -1: no JSON number, longer than JSON_NUMBER_CHARS_MAX, or beyond every finite double; *value
 * is then unchanged. */
int leaf_number(struct span token, double *value) MUST_CHECK;

#endif
