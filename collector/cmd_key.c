/* plumbline key create | list | revoke ID: the keys that a daemon asks for. */
#include "cmd_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "client_internal.h"
#include "collector/key_store.h"
#include "config_internal.h"
#include "options_internal.h"

enum {
    KEY_NAME_BYTES_MAX = 64,
    KEY_PREFIX_BYTES_MAX = 1024, /* of a CRN */
    KEY_PREFIXES_MAX = 100,
    KEY_LINE_BYTES = 4096,
};

struct key_options {
    struct options_config config;
    const char *scopes;
    const char *expires;
    const char *name;
    struct option_texts prefixes;
    int64_t requests_per_s;
    bool all;
    bool audit;
    int64_t limit;
};

static const struct option_row key_rows[] = {
    OPTIONS_CONFIG_ROWS(struct key_options),
    { "scope", 0, OPTION_TEXT, offsetof(struct key_options, scopes), 0, 0, "SCOPE,...",
      "create: what it may do: ingest, read, lineage, admin" },
    { "expires", 0, OPTION_TEXT, offsetof(struct key_options, expires), 0, 0, "TIME",
      "create: from now on (365d), or never" },
    { "name", 0, OPTION_TEXT, offsetof(struct key_options, name), 0, 0, "TEXT",
      "create: who it is in audits; else its id" },
    { "crn-prefix", 0, OPTION_TEXTS, offsetof(struct key_options, prefixes), 0, 0, "PREFIX",
      "create: only for CRNs that begin so; may be repeated" },
    { "rate", 0, OPTION_COUNT, offsetof(struct key_options, requests_per_s), 0, 1000000, "N",
      "create: requests a second instead of rate_limit_requests_per_s; 0: any number" },
    { "all", 0, OPTION_FLAG, offsetof(struct key_options, all), 0, 0, NULL,
      "list: those that are revoked as well" },
    { "audit", 0, OPTION_FLAG, offsetof(struct key_options, audit), 0, 0, NULL,
      "list: instead of keys, what administrators did" },
    { "limit", 0, OPTION_COUNT, offsetof(struct key_options, limit), 1, 1000000, "N",
      "list --audit: the last so many (100)" },
    { 0 },
};

static const struct command_line key_line = {
    .name = "key",
    .operands = "create --scope SCOPE,... | list | revoke ID",
    .summary = "Makes, lists and revokes the keys that clients send as Authorization.",
    .notes = "create writes the key to standard output, this one time. A change counts for every\n"
             "daemon within 5 seconds.",
    .rows = key_rows,
    .operands_min = 1,
    .operands_max = 2,
};

/* ---- create */

static bool key_text_is_clean(const char *text)
{
    size_t left = strlen(text), len;

    for (; left; text += len, left -= len) {
        len = (unsigned char)*text < ' ' || *text == 0x7f ? 0 : utf8_char_len(text, left);
        if (!len)
            return false;
    }
    return true;
}

static int key_set_name(struct key *key, const char *name, struct err *err)
{
    if (!name)
        name = key->id;
    if (!*name || strlen(name) > KEY_NAME_BYTES_MAX || !key_text_is_clean(name))
        return err_set(err, ERR_INPUT,
                       "--name: must have from 1 to %d bytes of UTF-8 without control characters",
                       KEY_NAME_BYTES_MAX);
    key->name = xstrdup(name);
    return 0;
}

static int key_set_prefixes(struct key *key, const struct option_texts *prefixes, struct err *err)
{
    if (prefixes->len > KEY_PREFIXES_MAX)
        return err_set(err, ERR_INPUT, "--crn-prefix: a key has at most %d", KEY_PREFIXES_MAX);
    for (size_t i = 0; i < prefixes->len; i++) {
        const char *prefix = prefixes->items[i];

        if (!*prefix || strlen(prefix) > KEY_PREFIX_BYTES_MAX || !key_text_is_clean(prefix))
            return err_set(err, ERR_INPUT,
                           "--crn-prefix: must have from 1 to %d bytes of UTF-8 without control "
                           "characters",
                           KEY_PREFIX_BYTES_MAX);
        strings_add(&key->prefixes, span_of(prefix));
    }
    return 0;
}

static int key_set_expiry(struct key *key, const char *text, struct err *err)
{
    static const struct config_key span = { .type = CONFIG_MS,
                                            .min = 1000,
                                            .max = INT64_C(100) * 366 * 24 * 3600 * 1000 };
    int64_t ms;

    if (strcmp(text, "never") == 0)
        return 0;
    if (config_number_parse(&span, text, &ms, err) < 0)
        return err_prefix(err, "--expires: ");
    key->expires_ms = clock_now_ms() + ms;
    return 0;
}

/* Owned; `text` gets the key itself. */
static struct key *key_from_options(const struct key_options *options, char text[KEY_TEXT_BYTES],
                                    struct err *err)
{
    AUTO(key_unref) struct key *key = key_new();

    key_make(text);
    if (key_id(span_of(text), key->id) < 0)
        abort(); /* key_make wrote it */
    key_hash(span_of(text), key->hash);
    key->requests_per_s = options->requests_per_s;
    if (!options->scopes) {
        (void)err_set(err, ERR_INPUT,
                      "create needs --scope: ingest, read, lineage or admin, with commas between");
        return NULL;
    }
    if (key_scopes_parse(options->scopes, &key->scopes, err) < 0) {
        (void)err_prefix(err, "--scope: ");
        return NULL;
    }
    if (key_set_name(key, options->name, err) < 0 ||
        key_set_prefixes(key, &options->prefixes, err) < 0 ||
        key_set_expiry(key, options->expires, err) < 0)
        return NULL;
    return TAKE(key);
}

/* The key alone goes to standard output, for a file or a secret store. */
static int key_show(const struct key *key, const char *text, struct err *err)
{
    char scopes[KEY_SCOPES_TEXT_BYTES], expires[CLOCK_TEXT_BYTES] = "never";

    key_scopes_format(key->scopes, ",", scopes);
    if (key->expires_ms != KEY_NEVER)
        clock_format(key->expires_ms, expires);
    if (puts(text) < 0 || fflush(stdout) != 0)
        return err_set(err, ERR_FATAL,
                       "standard output can't be written; nobody has seen key %s: revoke it",
                       key->id);
    (void)fprintf(stderr,
                  "key %s (%s) for %s, expires: %s\n"
                  "it is shown this once; what is stored can't be turned back into it\n",
                  key->id, key->name, scopes, expires);
    return 0;
}

static int key_create(struct key_store *store, const struct key_options *options, struct err *err)
{
    char text[KEY_TEXT_BYTES];
    AUTO(key_unref) struct key *key = key_from_options(options, text, err);

    if (!key || key_store_create(store, key, err) < 0)
        return -1;
    return key_show(key, text, err);
}

/* ---- list */

static int key_print(void *ctx, const struct key_row *row)
{
    char line[KEY_LINE_BYTES];

    (void)ctx;
    (void)snprintf(line, sizeof(line), "%-8s  %-7s  %-20s  %-20s  %-20s  %6s  %-25s  %s%s%s",
                   row->id, row->state, row->created, row->expires, row->last_used,
                   *row->rate ? row->rate : "-", row->scopes, row->name, *row->prefixes ? "  " : "",
                   row->prefixes);
    client_clean(line);
    return puts(line) < 0 ? -1 : 0;
}

static int key_print_audit(void *ctx, const struct admin_row *row)
{
    char line[KEY_LINE_BYTES];

    (void)ctx;
    (void)snprintf(line, sizeof(line), "%s  %s  %s  %s  %s", row->at, row->actor, row->action,
                   row->subject, row->details);
    client_clean(line);
    return puts(line) < 0 ? -1 : 0;
}

static int key_list(struct key_store *store, const struct key_options *options, struct err *err)
{
    if (options->audit)
        return admin_audit_list(store, options->limit, key_print_audit, NULL, err);
    (void)printf("%-8s  %-7s  %-20s  %-20s  %-20s  %6s  %-25s  %s\n", "ID", "STATE", "CREATED",
                 "EXPIRES", "LAST USED", "RATE", "SCOPES", "NAME  CRN PREFIXES");
    return key_store_list(store, options->all, key_print, NULL, err);
}

/* ---- revoke */

/* Takes the whole key too, which one may have at hand; it is not said again. */
static int key_revoke(struct key_store *store, const char *which, struct err *err)
{
    char id[KEY_ID_BYTES];
    bool was_revoked;

    if (key_id(span_of(which), id) < 0)
        return err_set(err, ERR_INPUT,
                       "that is no key's id: it has %d letters and digits; `plumbline key list` "
                       "shows all",
                       KEY_ID_LEN);
    if (key_store_revoke(store, id, &was_revoked, err) < 0)
        return -1;
    (void)fprintf(stderr, was_revoked ? "key %s had been revoked already\n" : "key %s is revoked\n",
                  id);
    return 0;
}

/* ---- the command */

static int key_do(struct key_store *store, const struct key_options *options, char **words,
                  struct err *err)
{
    if (strcmp(words[0], "create") == 0)
        return key_create(store, options, err);
    if (strcmp(words[0], "list") == 0)
        return key_list(store, options, err);
    return key_revoke(store, words[1], err);
}

static int key_run(const struct key_options *options, char **words, struct err *err)
{
    AUTO(key_store_close) struct key_store *store = NULL;
    struct cmd_database database;
    char actor[CMD_ACTOR_BYTES];
    struct config config;
    int rc;

    if (options_config_load(&config, &options->config, err) < 0)
        return -1;
    rc = cmd_database_open(&database, &config, err);
    if (rc == 0) {
        cmd_actor(actor);
        store = key_store_open(database.dsn, actor, err);
        rc = store ? key_do(store, options, words, err) : -1;
        key_store_close(TAKE(store));
        cmd_database_close(&database);
    }
    config_done(&config);
    return rc;
}

static bool key_words_are_good(char **words, int len)
{
    if (strcmp(words[0], "revoke") == 0)
        return len == 2;
    return len == 1 && (strcmp(words[0], "create") == 0 || strcmp(words[0], "list") == 0);
}

int cmd_key(int argc, char **argv)
{
    struct key_options options = { .expires = "365d",
                                   .requests_per_s = KEY_RATE_DEFAULT,
                                   .limit = 100 };
    struct err err = { 0 };
    int code, rc, first = options_begin(&key_line, argc, argv, &options, &code);

    if (first < 0)
        return code;
    if (!key_words_are_good(argv + first, argc - first)) {
        (void)fprintf(stderr, "plumbline key: takes create, list or revoke ID; `plumbline key "
                              "--help` says more\n");
        option_texts_done(&options.prefixes);
        return CMD_USAGE;
    }
    rc = key_run(&options, argv + first, &err);
    option_texts_done(&options.prefixes);
    return rc < 0 ? cmd_fail("key", &err) : CMD_DONE;
}
