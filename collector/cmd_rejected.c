/* plumbline rejected list | show ID | replay ID...: what came by Kafka, or waited for its
 * prediction, and could not be taken. */
#include "cmd_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "client_internal.h"
#include "collector/rejected.h"
#include "options_internal.h"

struct rejected_options {
    struct options_config config;
    const char *url;
    struct client_tls tls;
    int64_t limit;
    int64_t after;
    bool all;
};

static const struct option_row rejected_rows[] = {
    OPTIONS_CONFIG_ROWS(struct rejected_options),
    { "limit", 0, OPTION_COUNT, offsetof(struct rejected_options, limit), 1, 1000000, "N",
      "list: at most so many (100)" },
    { "after", 0, OPTION_COUNT, offsetof(struct rejected_options, after), 0, INT64_MAX, "ID",
      "list: only those behind this one" },
    { "all", 0, OPTION_FLAG, offsetof(struct rejected_options, all), 0, 0, NULL,
      "replay: every one that is there" },
    { "url", 0, OPTION_TEXT, offsetof(struct rejected_options, url), 0, 0, "URL",
      "replay: the server; else $PLUMBLINE_URL, else " CLIENT_URL_DEFAULT },
    CLIENT_TLS_ROWS(struct rejected_options),
    { 0 },
};

static const struct command_line rejected_line = {
    .name = "rejected",
    .operands = "list | show ID | replay ID...",
    .summary = "Shows events that came by Kafka and could not be taken, and sends them once more.",
    .notes = "show writes the event to standard output, where it came from and why to standard "
             "error.\nreplay removes what the server takes or has already; the rest stays.",
    .rows = rejected_rows,
    .operands_min = 1,
    .operands_max = INT_MAX,
};

enum { REJECTED_LINE_BYTES = 400, REJECTED_PAGE = 1000 };

static int rejected_print(void *ctx, const struct rejected *row)
{
    char line[REJECTED_LINE_BYTES];

    (void)ctx;
    (void)snprintf(line, sizeof(line), "%" PRId64 " %s %s %s %s: %s", row->id, row->at, row->source,
                   row->place, row->code, row->message);
    client_clean(line);
    return puts(line) < 0 ? -1 : 0;
}

static int rejected_list(struct rejects *rejects, const struct rejected_options *options,
                         struct err *err)
{
    int64_t last;

    return rejects_list(rejects, options->after, options->limit, rejected_print, NULL, &last, err);
}

static int rejected_show(struct rejects *rejects, int64_t id, struct err *err)
{
    struct rejected row;

    if (rejects_read(rejects, id, &row, err) < 0)
        return -1;
    (void)fprintf(stderr, "%s %s\n%s: %s\n%s\n", row.at, row.source, row.code, row.message,
                  row.origin);
    if (row.is_cut)
        (void)fprintf(stderr, "only the first %zu bytes were kept\n", row.event.len);
    return fwrite(row.event.data, 1, row.event.len, stdout) == row.event.len
               ? 0
               : err_set(err, ERR_FATAL, "standard output: %s", strerror(errno));
}

/* The message of a hook goes where hooks send theirs. */
static int rejected_hook_receipt(const struct client_answer *answer, struct err *err)
{
    return answer->status == 204 ? 0 : client_answer_error(answer, err);
}

/* Whether everything in the answer was taken, or was there already. */
static int rejected_receipt(const struct client_answer *answer, struct err *err)
{
    json_t *root = json_loadb(answer->body.len ? answer->body.data : "", answer->body.len, 0, NULL);
    const json_t *first = json_array_get(json_object_get(root, "rejected"), 0);
    json_t *received = json_object_get(root, "received");
    int rc = 0;

    if (answer->status != 200 || !json_is_integer(received))
        rc = client_answer_error(answer, err);
    else if (first)
        rc = err_set(err, ERR_INPUT, "%s: %s", json_string_value(json_object_get(first, "code")),
                     json_string_value(json_object_get(first, "message")));
    json_decref(root);
    return rc;
}

static int rejected_replay(struct rejects *rejects, struct client *client, int64_t id,
                           struct err *err)
{
    struct client_request request = { .path = "/v1/events", .content_type = "application/json" };
    struct client_answer answer = { 0 };
    char actor[CMD_ACTOR_BYTES];
    struct rejected row;
    bool is_hook;
    int rc;

    if (rejects_read(rejects, id, &row, err) < 0)
        return -1;
    is_hook = strcmp(row.source, "hook") == 0;
    if (is_hook)
        request.path = "/api/atlas/v2/notification/topic/ATLAS_HOOK";
    if (row.is_cut)
        return err_set(err, ERR_INPUT, "only its first %zu bytes were kept", row.event.len);
    request.body = row.event;
    rc = client_post(client, &request, &answer, err) == CLIENT_ANSWERED ? 0 : -1;
    if (rc == 0)
        rc = is_hook ? rejected_hook_receipt(&answer, err) : rejected_receipt(&answer, err);
    client_answer_done(&answer);
    if (rc < 0)
        return -1;
    cmd_actor(actor);
    return rejects_remove(rejects, id, actor, err);
}

struct rejected_ids {
    int64_t ids[REJECTED_PAGE];
    size_t len;
};

static int rejected_collect(void *ctx, const struct rejected *row)
{
    struct rejected_ids *ids = ctx;

    ids->ids[ids->len++] = row->id;
    return 0;
}

/* Replays one; says which stays, and why. */
static bool rejected_try(struct rejects *rejects, struct client *client, int64_t id)
{
    struct err err = { 0 };

    if (rejected_replay(rejects, client, id, &err) == 0)
        return true;
    client_clean(err.text);
    (void)fprintf(stderr, "%" PRId64 " stays: %s\n", id, err.text);
    return false;
}

static int rejected_replay_all(struct rejects *rejects, struct client *client, uint64_t *left,
                               struct err *err)
{
    AUTO(mem_free) struct rejected_ids *ids = xcalloc(1, sizeof(*ids));
    int64_t last = 0;

    do {
        ids->len = 0;
        if (rejects_list(rejects, last, REJECTED_PAGE, rejected_collect, ids, &last, err) < 0)
            return -1;
        for (size_t i = 0; i < ids->len; i++)
            *left += !rejected_try(rejects, client, ids->ids[i]);
    } while (ids->len);
    return 0;
}

static int rejected_id(const char *text, int64_t *id, struct err *err)
{
    char *end;

    errno = 0;
    *id = strtoll(text, &end, 10);
    if (end == text || *end || errno || *id < 1)
        return err_set(err, ERR_INPUT, "\"%.40s\" is not the number of a rejected event", text);
    return 0;
}

static int rejected_replay_these(struct rejects *rejects, const struct rejected_options *options,
                                 char **ids, struct err *err)
{
    AUTO(client_free) struct client *client = client_open(options->url, &options->tls, err);
    uint64_t left = 0;
    int64_t id;

    if (!client)
        return -1;
    if (options->all && rejected_replay_all(rejects, client, &left, err) < 0)
        return -1;
    for (; *ids; ids++) {
        if (rejected_id(*ids, &id, err) < 0)
            return -1;
        left += !rejected_try(rejects, client, id);
    }
    return left ? err_set(err, ERR_INPUT, "%" PRIu64 " could not be taken", left) : 0;
}

/* words[0] is what to do. */
static int rejected_run(const struct rejected_options *options, char **words, struct err *err)
{
    AUTO(rejects_close) struct rejects *rejects = NULL;
    struct cmd_database database;
    struct config config;
    int64_t id;
    int rc;

    if (options_config_load(&config, &options->config, err) < 0)
        return -1;
    rc = cmd_database_open(&database, &config, err);
    if (rc == 0) {
        rejects = rejects_open(database.dsn, err);
        if (!rejects)
            rc = -1;
        else if (strcmp(words[0], "list") == 0)
            rc = rejected_list(rejects, options, err);
        else if (strcmp(words[0], "show") == 0)
            rc = rejected_id(words[1], &id, err) < 0 ? -1 : rejected_show(rejects, id, err);
        else
            rc = rejected_replay_these(rejects, options, words + 1, err);
        rejects_close(TAKE(rejects));
        cmd_database_close(&database);
    }
    config_done(&config);
    return rc;
}

int cmd_rejected(int argc, char **argv)
{
    struct rejected_options options = { .limit = 100 };
    struct err err = { 0 };
    int code, first = options_begin(&rejected_line, argc, argv, &options, &code), words;

    if (first < 0)
        return code;
    words = argc - first;
    if (!((strcmp(argv[first], "list") == 0 && words == 1) ||
          (strcmp(argv[first], "show") == 0 && words == 2) ||
          (strcmp(argv[first], "replay") == 0 && (words == 1) == options.all))) {
        (void)fprintf(stderr, "plumbline rejected: takes list, show ID, replay ID... or replay "
                              "--all; `plumbline rejected --help` says more\n");
        return CMD_USAGE;
    }
    return rejected_run(&options, argv + first, &err) < 0 ? cmd_fail("rejected", &err) : CMD_DONE;
}
