/* A strict JSON scanner over bytes in memory: it gives spans, not values, so that what was posted
 * can be stored byte for byte, and it knows the difference between a text whose structure is broken
 * and one that merely holds a value that is not allowed.
 *
 * Grammar: RFC 8259. Refused as a *fault* of the value that holds it, with the scan going on behind
 * it: NaN, Infinity and every other bare word where a value belongs, numbers in a form JSON does
 * not know, numbers over 64 characters, with an exponent beyond 16000 or not finite as a double,
 * duplicate keys in one object (compared unescaped), U+0000, lone surrogates, unescaped control
 * characters, unknown escapes, bytes that are not UTF-8, nesting deeper than depth_max, more
 * members than JSON_MEMBERS_MAX.
 * Everything else that RFC 8259 does not allow (a missing comma, an unterminated string, ...) is
 * broken structure: the scan ends there with -1.
 *
 *     json_open(text)
 *       json_peek() == '['   json_array_begin()   json_array_next() until 0
 *       json_peek() == '{'   json_object_begin()  json_object_next() until 0   \ one *root*:
 *       anything             json_scan()                                       / a fault is its own
 *     json_close() */
#ifndef METRICS_JSON_H
#define METRICS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/span.h"

/* Not jansson's, whose header may be included beside this one. */
enum json_type {
    JSON_TYPE_OBJECT,
    JSON_TYPE_ARRAY,
    JSON_TYPE_STRING,
    JSON_TYPE_NUMBER,
    JSON_TYPE_TRUE,
    JSON_TYPE_FALSE,
    JSON_TYPE_NULL,
    JSON_TYPE_WORD, /* NaN and other bare words; always a fault as well */
};

enum {
    JSON_NUMBER_CHARS_MAX = 64,
    JSON_EXPONENT_MAX = 16000, /* numeric and jsonb of Postgres end at 16383 digits */
    JSON_MEMBERS_MAX = 65536,  /* in one root, all its objects together */
    JSON_PATH_BYTES_MAX = 256,
    JSON_TEXT_BYTES_MAX = 0x7FFFFFFF,
};

/* The first thing that is not allowed inside a root. */
struct json_fault {
    bool found;
    char path[JSON_PATH_BYTES_MAX]; /* "metrics.a.b[2]", a '.' in a key is "\."; cut with "..." */
    char message[192];              /* what is wrong and what to do */
};

/* Where and how the structure is broken. */
struct json_broken {
    size_t offset;
    const char *message; /* static */
};

struct json_value {
    enum json_type type;
    bool has_escape;    /* a string: holds a backslash */
    size_t space_bytes; /* white space outside strings, somewhere inside: text.len without it is
                           the compact length */
    struct span text;   /* as it stands, strings with their quotes */
};

struct json_member {
    struct span name; /* unescaped; borrowed until the next member */
    struct span raw;  /* as it stands, without the quotes; borrowed from the text */
    bool has_escape;  /* raw and name differ */
    struct json_value value;
};

/* Scratch memory: the keys of one root and its open brackets. One a thread. */
struct json_scanner;

/* `seed` makes the hashes of keys unpredictable. Owned. */
struct json_scanner *json_scanner_new(uint64_t seed);
void json_scanner_free(struct json_scanner *scanner);
AUTO_DEFINE(struct json_scanner, json_scanner_free);

/* Begins at the front of `text` (borrowed, at most JSON_TEXT_BYTES_MAX); a root's own brackets are
 * depth 1. */
void json_open(struct json_scanner *scanner, struct span text, unsigned depth_max);
/* The next byte that is not white space, -1 at the end; nothing is taken. */
int json_peek(struct json_scanner *scanner);
/* How far the scan has come: after json_peek at that byte, else right behind the last thing taken.
 */
size_t json_offset(const struct json_scanner *scanner);

/* The functions below return -1 when the structure is broken; json_broken() then says where, and
 * nothing but json_open may follow. */
const struct json_broken *json_broken(const struct json_scanner *scanner);
/* Checks that only white space follows. */
int json_close(struct json_scanner *scanner) MUST_CHECK;

/* Steps into the array of roots that json_peek has seen. */
void json_array_begin(struct json_scanner *scanner);
/* 1: an element is next, to be read as a root. 0: the array is closed. */
int json_array_next(struct json_scanner *scanner) MUST_CHECK;

/* Reads one root whole. */
int json_scan(struct json_scanner *scanner, struct json_value *value) MUST_CHECK;
/* Steps into the object that json_peek has seen: a root read member by member. */
void json_object_begin(struct json_scanner *scanner);
/* 1: a member. 0: the object is closed. */
int json_object_next(struct json_scanner *scanner, struct json_member *member) MUST_CHECK;
/* The first fault of the root being read, or the last one read. */
const struct json_fault *json_fault(const struct json_scanner *scanner);

/* Line and column of an offset, both from 1, the column in bytes. */
void json_position(struct span text, size_t offset, uint32_t *line, uint32_t *column);

/* Removes white space outside strings from JSON without faults, in place; returns the new length.
 */
size_t json_squeeze(char *text, size_t len);
/* Writes the text that the inside of a JSON string stands for and returns its length, which is
 * never more than raw.len; `out` may be raw.data. What does not stand for a character (an unknown
 * escape, \u0000, a lone surrogate) is copied as it is. */
size_t json_unescape(char *out, struct span raw);

/* "abc" in its quotes for a message: cut to 64 bytes and "...", control characters as '?'. */
struct json_quoted {
    char text[72];
};
struct json_quoted json_quote(struct span text);

/* Walking an object that was checked when it came in and has no white space, again and fast. On
 * other bytes the members make no sense, but nothing outside `object` is read. */
struct json_walk {
    const char *at;
    const char *end;
};

struct json_walk json_walk_begin(struct span object);
/* `name` is `raw` here (see has_escape); value.has_escape is true where a string has a backslash.
 */
bool json_walk_next(struct json_walk *walk, struct json_member *member);

/* The same walk through all objects within each other, each byte read once. */
enum json_step {
    JSON_STEP_MEMBER, /* any value but an object */
    JSON_STEP_ENTER,  /* a member that is an object: its members come next; value.text is empty */
    JSON_STEP_LEAVE,  /* the end of an object, of the outermost one too */
    JSON_STEP_END,    /* nothing more; in checked JSON the outermost object's end comes before */
};

enum json_step json_walk_step(struct json_walk *walk, struct json_member *member);

#endif
