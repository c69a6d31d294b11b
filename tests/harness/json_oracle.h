/* Our scanner against jansson: the same text must be taken or refused by both, and mean the same.
 */
#ifndef HARNESS_JSON_ORACLE_H
#define HARNESS_JSON_ORACLE_H

#include <jansson.h>
#include <stdbool.h>

#include "base/span.h"

enum json_verdict { JSON_SOUND, JSON_FAULTY, JSON_IS_BROKEN };

enum { JSON_ORACLE_DEPTH_MAX = 32 };

/* What our scanner says of one value that is the whole text. */
enum json_verdict json_oracle_scan(struct span text);
/* NULL when the two agree, else what they do not agree about (static). Where they may differ: what
 * we refuse because it is too deep, too long or too much, jansson may take. */
const char *json_oracle_check(struct span text);
/* Whether a text that our scanner found sound means what jansson has made of it. */
bool json_oracle_same(struct span text, const json_t *want);

#endif
