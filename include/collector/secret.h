/* Passwords in what people write down as configuration: found, and put out of sight. */
#ifndef COLLECTOR_SECRET_H
#define COLLECTOR_SECRET_H

#include <stdbool.h>

#include "base/attr.h"

/* Every password of a libpq DSN or URI becomes as many asterisks, in place. What is no proper DSN
 * loses rather too much than too little. Whether there was one. */
bool secret_mask_dsn(char *dsn);
/* The secret of every API key, plb_ID_SECRET, likewise. */
void secret_mask_keys(char *text);
/* A copy to be shown, with both out of sight. Owned. */
char *secret_masked(const char *text) MUST_CHECK;
/* The same for librdkafka's properties, "name=value" lines; NULL is none. */
void secret_mask_properties(char *lines);

#endif
