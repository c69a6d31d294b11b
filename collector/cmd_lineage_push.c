/* plumbline lineage push FILE --build CRN: the linking file of a build that has none yet.
 *
 *   GET /v1/lineage/builds/CRN   what the build's model_built has said
 *   POST /v1/events              a model_built of the members that it must have, and the file: what
 *                                was absent is taken, the same is a duplicate, else a conflict */
#include <jansson.h>
#include <string.h>

#include "base/mem.h"
#include "client_internal.h"
#include "cmd_lineage_internal.h"

enum { PUSH_BUILD_BYTES_MAX = 64 << 20 };

/* What every model_built has: the rest of what the build's said stands already. */
static const char *const push_members[] = { "event",         "projectCrn",  "modelCrn", "modelName",
                                            "modelBuildCrn", "buildNumber", "userName" };

static int push_write(void *ctx, const char *data, size_t len)
{
    buf_append(ctx, data, len);
    return 0;
}

/* The model_built that the server has. Owned; NULL: it has none, or did not answer. */
static json_t *push_read_build(struct client *client, const char *build_crn, struct err *err)
{
    AUTO(buf_done) struct buf path, body;
    AUTO(mem_free) char *cursor = NULL;
    struct client_sink sink = { push_write, &body };
    json_t *built;

    buf_init(&path, SIZE_MAX);
    buf_init(&body, PUSH_BUILD_BYTES_MAX);
    buf_append_text(&path, "/v1/lineage/builds/");
    client_escape(&path, build_crn);
    if (client_get(client, buf_text(&path), "application/json", &sink, &cursor, err) < 0) {
        if (strcmp(client_error_code(client), "not_found") == 0)
            (void)err_set(err, ERR_INPUT,
                          "%s knows no build \"%.200s\": send its model_built event first, or "
                          "correct --build",
                          client_url(client), build_crn);
        return NULL;
    }
    built = body.full ? NULL : json_loadb(body.len ? body.data : "", body.len, 0, NULL);
    if (!json_is_object(built)) {
        json_decref(built);
        (void)err_set(err, ERR_INPUT, "%s does not answer in plumbline's words; is the URL right?",
                      client_url(client));
        return NULL;
    }
    return built;
}

/* The event to send, in an array of one, for an answer that tells places. Owned. */
static char *push_event(const struct lineage_push *push, const json_t *built, struct err *err)
{
    json_auto_t *events = json_array();
    json_t *event = json_object(), *file = json_stringn(push->text.data, push->text.len);

    (void)json_array_append_new(events, event);
    for (size_t i = 0; i < LENGTH(push_members); i++)
        (void)json_object_set(event, push_members[i], json_object_get(built, push_members[i]));
    if (push->name_space)
        (void)json_object_set_new(event, "namespace", json_string(push->name_space));
    if (!file) {
        (void)err_set(err, ERR_INPUT, "%s is not UTF-8", push->name);
        return NULL;
    }
    (void)json_object_set_new(event, "linkingFile", file);
    return json_dumps(events, JSON_COMPACT);
}

/* What stands in the file has a place there. */
static void push_print_note(const struct lineage_push *push, const char *kind, const json_t *note)
{
    const char *message = json_string_value(json_object_get(note, "message"));
    const json_t *line = json_object_get(note, "line");

    if (line)
        lineage_print("%s:%lld:%lld: %s: %s", push->name, (long long)json_integer_value(line),
                      (long long)json_integer_value(json_object_get(note, "column")), kind,
                      message ? message : "");
    else
        lineage_print("%s: %s: %s", push->name, kind, message ? message : "");
}

static int push_refused(const struct lineage_push *push, const json_t *note, struct err *err)
{
    const char *code = json_string_value(json_object_get(note, "code"));
    const char *field = json_string_value(json_object_get(note, "field"));

    if (code && field && strcmp(code, "conflict") == 0)
        return err_set(err, ERR_INPUT,
                       "build \"%.200s\" has another %s already, and a build never changes: make a "
                       "new build with this file",
                       push->build_crn, strcmp(field, "linkingFile") == 0 ? "linking file" : field);
    push_print_note(push, "error", note);
    *err = (struct err){ 0 };
    return -1;
}

static int push_receipt(const struct lineage_push *push, const struct client_answer *answer,
                        struct err *err)
{
    json_auto_t *root =
        json_loadb(answer->body.len ? answer->body.data : "", answer->body.len, 0, NULL);
    const json_t *refused = json_array_get(json_object_get(root, "rejected"), 0);
    const json_t *warnings = json_object_get(root, "warnings");
    json_t *received = json_object_get(root, "received");

    if ((answer->status != 200 && answer->status != 202) || !json_is_integer(received))
        return client_answer_error(answer, err);
    for (size_t i = 0; i < json_array_size(warnings); i++)
        push_print_note(push, "warning", json_array_get(warnings, i));
    if (refused)
        return push_refused(push, refused, err);
    if (answer->status == 202) /* it is safe; whether the build has one by then is not known yet */
        lineage_print("%s: taken for build %s, not yet in the graph", push->name, push->build_crn);
    else if (json_integer_value(json_object_get(root, "duplicate")))
        lineage_print("%s: build %s has this file already", push->name, push->build_crn);
    else
        lineage_print("%s: build %s has it now", push->name, push->build_crn);
    return 0;
}

int lineage_push(const struct lineage_push *push, struct err *err)
{
    AUTO(client_free) struct client *client = client_open(push->url, push->tls, err);
    json_auto_t *built = client ? push_read_build(client, push->build_crn, err) : NULL;
    AUTO(mem_free) char *event = built ? push_event(push, built, err) : NULL;
    struct client_request request = { .path = "/v1/events", .content_type = "application/json" };
    struct client_answer answer = { 0 };
    int rc;

    if (!event)
        return -1;
    request.body = span_of(event);
    rc = client_post(client, &request, &answer, err) == CLIENT_ANSWERED
             ? push_receipt(push, &answer, err)
             : -1;
    client_answer_done(&answer);
    return rc;
}
