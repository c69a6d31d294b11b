/* What config.c (keys, values, environment) and config_yaml.c (the file) share. */
#ifndef COLLECTOR_CONFIG_INTERNAL_H
#define COLLECTOR_CONFIG_INTERNAL_H

#include "collector/config.h"

enum { CONFIG_KEYS_MAX = 96, CONFIG_QUOTE_BYTES_MAX = 64, CONFIG_PAIRS_BYTES_MAX = 65536 };

struct config_quote {
    char text[CONFIG_QUOTE_BYTES_MAX + sizeof("\"...\"")];
};

/* What somebody wrote, fit for one line of a message: quoted, cut, control characters as '?'. */
struct config_quote config_quote(const char *text);

/* The row of a key, or NULL. */
const struct config_key *config_key_find(const char *name);
/* Its member is a char *. */
bool config_key_is_text(const struct config_key *key);
/* The key that was probably meant, or NULL. */
const char *config_key_nearest(const char *name);
/* Sets one value from its text; the error does not name the key. */
int config_key_set(struct config *config, const struct config_key *key, const char *text,
                   struct err *err) MUST_CHECK;
/* A number in the units of key->type, between key->min and key->max. */
int config_number_parse(const struct config_key *key, const char *text, int64_t *value,
                        struct err *err) MUST_CHECK;
/* Makes *copy a configuration of its own. */
void config_copy(struct config *copy, const struct config *config);

#endif
