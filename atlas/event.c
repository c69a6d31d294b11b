#include "atlas/event.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/linking_file.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/utf8.h"

enum {
    LINEAGE_NAME_BYTES_MAX = 1024, /* a CRN or a name */
    LINEAGE_SPACE_BYTES_MAX = 128,
    LINEAGE_QUOTED_BYTES_MAX = 64,
    LINEAGE_IDENTITY_MAX = 3,
};

enum lineage_type {
    LINEAGE_NAME,     /* text, not empty, at most LINEAGE_NAME_BYTES_MAX */
    LINEAGE_TEXT,     /* text */
    LINEAGE_STATUS,   /* one of lineage_statuses */
    LINEAGE_TIME,     /* integer, inside the limits */
    LINEAGE_COUNT,    /* integer, 0 to 2147483647, as Atlas's int */
    LINEAGE_ID,       /* integer */
    LINEAGE_METADATA, /* object of texts, numbers and booleans */
    LINEAGE_SCALAR,   /* text, a number or a boolean */
    LINEAGE_FILE,     /* the text of a linking file */
    LINEAGE_INPUTS,   /* a list of data sets: {typeName, qualifiedName} */
    LINEAGE_SPACE,    /* a namespace: one word without '@' */
    LINEAGE_ANY,
};

/* A member of an event. `offset` is where it goes in struct lineage_event: a char * for the first
 * three types, a struct lineage_integer for the integers; LINEAGE_NOWHERE: it stays in the JSON. */
struct lineage_field {
    const char *name;
    enum lineage_type type;
    bool is_required;
    size_t offset;
};

#define LINEAGE_NOWHERE SIZE_MAX
#define TO(member) offsetof(struct lineage_event, member)

static const struct lineage_field lineage_project_created[] = {
    { "event", LINEAGE_NAME, true, LINEAGE_NOWHERE },
    { "projectCrn", LINEAGE_NAME, true, TO(project_crn) },
    { "projectName", LINEAGE_NAME, true, LINEAGE_NOWHERE },
    { "userName", LINEAGE_NAME, true, TO(user_name) },
    { "createdAtMs", LINEAGE_TIME, false, LINEAGE_NOWHERE },
    { "description", LINEAGE_TEXT, false, LINEAGE_NOWHERE },
    { "metadata", LINEAGE_METADATA, false, LINEAGE_NOWHERE },
};

static const struct lineage_field lineage_model_built[] = {
    { "event", LINEAGE_NAME, true, LINEAGE_NOWHERE },
    { "projectCrn", LINEAGE_NAME, true, TO(project_crn) },
    { "modelCrn", LINEAGE_NAME, true, TO(model_crn) },
    { "modelName", LINEAGE_NAME, true, LINEAGE_NOWHERE },
    { "modelBuildCrn", LINEAGE_NAME, true, TO(build_crn) },
    { "buildNumber", LINEAGE_COUNT, true, LINEAGE_NOWHERE },
    { "userName", LINEAGE_NAME, true, TO(user_name) },
    { "namespace", LINEAGE_SPACE, false, TO(name_space) }, /* the linking file needs it */
    { "linkingFile", LINEAGE_FILE, false, LINEAGE_NOWHERE },
    { "inputs", LINEAGE_INPUTS, false, LINEAGE_NOWHERE },
    { "projectName", LINEAGE_NAME, false, LINEAGE_NOWHERE },
    { "createdAtMs", LINEAGE_TIME, false, LINEAGE_NOWHERE },
    { "imageTag", LINEAGE_TEXT, false, LINEAGE_NOWHERE },
    { "imageHash", LINEAGE_TEXT, false, LINEAGE_NOWHERE },
    { "exampleRequest", LINEAGE_ANY, false, LINEAGE_NOWHERE },
    { "exampleResponse", LINEAGE_ANY, false, LINEAGE_NOWHERE },
    { "defaultCpuMillicores", LINEAGE_COUNT, false, LINEAGE_NOWHERE },
    { "defaultMemoryMb", LINEAGE_COUNT, false, LINEAGE_NOWHERE },
    { "defaultGpus", LINEAGE_COUNT, false, LINEAGE_NOWHERE },
    { "registeredModelVersion", LINEAGE_SCALAR, false, LINEAGE_NOWHERE },
    { "metadata", LINEAGE_METADATA, false, LINEAGE_NOWHERE },
};

static const struct lineage_field lineage_model_deployed[] = {
    { "event", LINEAGE_NAME, true, LINEAGE_NOWHERE },
    { "modelBuildCrn", LINEAGE_NAME, true, TO(build_crn) },
    { "modelDeploymentCrn", LINEAGE_NAME, true, TO(deployment_crn) },
    { "userName", LINEAGE_NAME, true, TO(user_name) },
    { "status", LINEAGE_STATUS, true, TO(status) },
    { "statusAtMs", LINEAGE_TIME, false, TO(status_at_ms) },
    { "modelCrn", LINEAGE_NAME, false, TO(model_crn) },
    { "modelName", LINEAGE_NAME, false, LINEAGE_NOWHERE },
    { "projectCrn", LINEAGE_NAME, false, TO(project_crn) },
    { "projectName", LINEAGE_NAME, false, LINEAGE_NOWHERE },
    { "modelDeploymentId", LINEAGE_ID, false, TO(deployment_id) },
    { "deployedAtMs", LINEAGE_TIME, false, LINEAGE_NOWHERE },
    { "createdAtMs", LINEAGE_TIME, false, LINEAGE_NOWHERE },
    { "cpuMillicores", LINEAGE_COUNT, false, LINEAGE_NOWHERE },
    { "memoryMb", LINEAGE_COUNT, false, LINEAGE_NOWHERE },
    { "gpus", LINEAGE_COUNT, false, LINEAGE_NOWHERE },
    { "replicas", LINEAGE_COUNT, false, LINEAGE_NOWHERE },
    { "endpointUrl", LINEAGE_TEXT, false, LINEAGE_NOWHERE },
    { "environment", LINEAGE_ANY, false, LINEAGE_NOWHERE },
    { "metadata", LINEAGE_METADATA, false, LINEAGE_NOWHERE },
};

/* The kinds, each with its members and with those that make its identity (NULL at the end). */
static const struct lineage_kind {
    const char *name;
    const struct lineage_field *fields;
    size_t fields_len;
    const char *identity[LINEAGE_IDENTITY_MAX + 1];
} lineage_kinds[LINEAGE_EVENT_KINDS] = {
    [LINEAGE_PROJECT_CREATED] = { "project_created",
                                  lineage_project_created,
                                  LENGTH(lineage_project_created),
                                  { "projectCrn" } },
    [LINEAGE_MODEL_BUILT] = { "model_built",
                              lineage_model_built,
                              LENGTH(lineage_model_built),
                              { "modelBuildCrn" } },
    [LINEAGE_MODEL_DEPLOYED] = { "model_deployed",
                                 lineage_model_deployed,
                                 LENGTH(lineage_model_deployed),
                                 { "modelDeploymentCrn", "status", "statusAtMs" } },
};

static const char *const lineage_statuses[] = { "deploying", "deployed", "stopping", "stopped",
                                                "unknown" };

const char *lineage_kind_name(enum lineage_event_kind kind)
{
    return lineage_kinds[kind].name;
}

/* Fills the note; always -1, for `return lineage_refuse(...)`. */
static int lineage_refuse(struct lineage_note *note, const char *code, const char *field,
                          const char *fmt, ...) PRINTF_LIKE(4, 5);
static int lineage_refuse(struct lineage_note *note, const char *code, const char *field,
                          const char *fmt, ...)
{
    struct span cut = utf8_cut(span_of(field), sizeof(note->field) - 1);
    va_list args;

    note->code = code;
    note->line = note->column = 0;
    (void)snprintf(note->field, sizeof(note->field), "%.*s", (int)cut.len, cut.data);
    va_start(args, fmt);
    (void)vsnprintf(note->message, sizeof(note->message), fmt, args);
    va_end(args);
    return -1;
}

/* The place of one more warning; NULL: there are too many to keep it. */
static struct lineage_note *lineage_warning(struct lineage_notes *warnings)
{
    warnings->count++;
    if (warnings->len == LINEAGE_NOTES_MAX)
        return NULL;
    if (!warnings->items)
        warnings->items = xcalloc(LINEAGE_NOTES_MAX, sizeof(*warnings->items));
    return &warnings->items[warnings->len++];
}

static void lineage_warn_unknown(struct lineage_notes *warnings, const char *kind,
                                 const char *field)
{
    struct lineage_note *note = lineage_warning(warnings);

    if (note)
        (void)lineage_refuse(note, "unknown_field", field, "not a field of %s, ignored", kind);
}

void lineage_notes_done(struct lineage_notes *notes)
{
    if (!notes)
        return;
    free(notes->items);
    *notes = (struct lineage_notes){ 0 };
}

void lineage_event_done(struct lineage_event *event)
{
    if (!event)
        return;
    json_decref(event->json);
    free(event->identity);
    free(event->deployment_crn);
    free(event->build_crn);
    free(event->model_crn);
    free(event->project_crn);
    free(event->user_name);
    free(event->name_space);
    free(event->status);
    *event = (struct lineage_event){ 0 };
}

static const char *lineage_type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "text";
    case JSON_INTEGER:
        return "a number";
    case JSON_REAL:
        return "a number with a fraction or an exponent";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    default:
        return "null";
    }
}

static struct span lineage_span(const json_t *text)
{
    return (struct span){ json_string_value(text), json_string_length(text) };
}

static int lineage_check_text(const struct lineage_field *field, const json_t *value,
                              struct lineage_note *note)
{
    struct span text, cut;

    if (!json_is_string(value))
        return lineage_refuse(note, "invalid_field", field->name, "must be text, not %s",
                              lineage_type_name(value));
    text = lineage_span(value);
    if (field->type == LINEAGE_NAME && text.len == 0)
        return lineage_refuse(note, "invalid_field", field->name, "must not be empty");
    if (field->type == LINEAGE_NAME && text.len > LINEAGE_NAME_BYTES_MAX)
        return lineage_refuse(note, "invalid_field", field->name,
                              "must have at most %d bytes, not %zu", LINEAGE_NAME_BYTES_MAX,
                              text.len);
    if (field->type != LINEAGE_STATUS)
        return 0;
    for (size_t i = 0; i < LENGTH(lineage_statuses); i++) {
        if (span_is(text, lineage_statuses[i]))
            return 0;
    }
    cut = utf8_cut(text, LINEAGE_QUOTED_BYTES_MAX);
    return lineage_refuse(note, "invalid_field", field->name,
                          "must be deploying, deployed, stopping, stopped or unknown, "
                          "not \"%.*s%s\"",
                          (int)cut.len, cut.data, cut.len < text.len ? "..." : "");
}

static int lineage_check_integer(const struct lineage_field *field, const json_t *value,
                                 const struct lineage_limits *limits, struct lineage_note *note)
{
    const char *what = field->type == LINEAGE_TIME ? "a whole number of milliseconds since 1970"
                                                   : "a whole number";
    char bound[CLOCK_TEXT_BYTES];
    int64_t number;

    if (!json_is_integer(value))
        return lineage_refuse(note, "invalid_field", field->name, "must be %s, not %s", what,
                              lineage_type_name(value));
    number = json_integer_value(value);
    if (field->type == LINEAGE_COUNT && (number < 0 || number > INT32_MAX))
        return lineage_refuse(note, "invalid_field", field->name,
                              "must be 0 to 2147483647, not %" PRId64, number);
    if (field->type == LINEAGE_TIME && number < limits->time_ms_min) {
        clock_format(limits->time_ms_min, bound);
        return lineage_refuse(note, "invalid_field", field->name,
                              "%" PRId64 " is before %s; send milliseconds since 1970", number,
                              bound);
    }
    if (field->type == LINEAGE_TIME && number > limits->time_ms_max) {
        clock_format(limits->time_ms_max, bound);
        return lineage_refuse(note, "invalid_field", field->name,
                              "%" PRId64 " is after %s, too far in the future; "
                              "send milliseconds since 1970",
                              number, bound);
    }
    return 0;
}

static int lineage_check_metadata(const struct lineage_field *field, const json_t *value,
                                  struct lineage_note *note)
{
    char path[sizeof(note->field)];
    const char *key;
    json_t *item;

    if (!json_is_object(value))
        return lineage_refuse(note, "invalid_field", field->name, "must be an object, not %s",
                              lineage_type_name(value));
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        if (json_is_string(item) || json_is_number(item) || json_is_boolean(item))
            continue;
        (void)snprintf(path, sizeof(path), "%s.%s", field->name, key);
        return lineage_refuse(note, "invalid_field", path,
                              "must be text, a number or a boolean, not %s",
                              lineage_type_name(item));
    }
    return 0;
}

static int lineage_check_scalar(const struct lineage_field *field, const json_t *value,
                                struct lineage_note *note)
{
    if (json_is_string(value) || json_is_number(value) || json_is_boolean(value))
        return 0;
    return lineage_refuse(note, "invalid_field", field->name,
                          "must be text, a number or a boolean, not %s", lineage_type_name(value));
}

static int lineage_check_space(const struct lineage_field *field, const json_t *value,
                               struct lineage_note *note)
{
    const char *text = json_string_value(value);

    if (lineage_check_text(field, value, note) < 0)
        return -1;
    if (!*text || strpbrk(text, "@ \t\r\n") || strlen(text) > LINEAGE_SPACE_BYTES_MAX)
        return lineage_refuse(note, "invalid_field", field->name,
                              "must be one word of at most %d bytes without @",
                              LINEAGE_SPACE_BYTES_MAX);
    return 0;
}

/* One data set of `inputs`. */
static int lineage_check_input(const json_t *input, size_t i, const struct lineage_limits *limits,
                               struct lineage_note *note)
{
    const struct type *data_set = type_by_name(limits->types, SPAN_LITERAL("DataSet")), *type;
    static const char *const members[] = { "typeName", "qualifiedName" };
    struct lineage_field field = { .type = LINEAGE_NAME };
    struct span name, cut;
    char path[64];

    (void)snprintf(path, sizeof(path), "inputs[%zu]", i);
    field.name = path;
    if (!json_is_object(input))
        return lineage_refuse(note, "invalid_field", path, "must be an object, not %s",
                              lineage_type_name(input));
    for (size_t m = 0; m < LENGTH(members); m++) {
        const json_t *value = json_object_get(input, members[m]);

        (void)snprintf(path, sizeof(path), "inputs[%zu].%s", i, members[m]);
        if (!value || json_is_null(value))
            return lineage_refuse(note, "missing_field", path, "an input needs it");
        if (lineage_check_text(&field, value, note) < 0)
            return -1;
    }
    (void)snprintf(path, sizeof(path), "inputs[%zu].typeName", i);
    name = lineage_span(json_object_get(input, "typeName"));
    type = type_by_name(limits->types, name);
    cut = utf8_cut(name, LINEAGE_QUOTED_BYTES_MAX);
    if (!type || type->def->category != TYPE_ENTITY)
        return lineage_refuse(note, "invalid_field", path, "no such type: \"%.*s\"", (int)cut.len,
                              cut.data);
    if (!type_is_a(type, data_set))
        return lineage_refuse(note, "invalid_field", path,
                              "\"%.*s\" is no type of data sets, a model can't be trained on it",
                              (int)cut.len, cut.data);
    return 0;
}

static int lineage_check_inputs(const struct lineage_field *field, const json_t *value,
                                const struct lineage_limits *limits, struct lineage_note *note)
{
    if (!json_is_array(value))
        return lineage_refuse(note, "invalid_field", field->name, "must be a list, not %s",
                              lineage_type_name(value));
    if (json_array_size(value) > LINEAGE_INPUTS_MAX)
        return lineage_refuse(note, "invalid_field", field->name,
                              "must have at most %d inputs, not %zu", LINEAGE_INPUTS_MAX,
                              json_array_size(value));
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (lineage_check_input(json_array_get(value, i), i, limits, note) < 0)
            return -1;
    }
    return 0;
}

static void lineage_note_linking(struct lineage_note *note, const struct linking_note *linking)
{
    (void)lineage_refuse(note, linking->code, "linkingFile", "%s", linking->message);
    note->line = linking->line;
    note->column = linking->column;
}

/* Behind the other fields: it needs the model's name and the namespace. */
static int lineage_check_file(const struct lineage_event *event,
                              const struct lineage_limits *limits, struct lineage_notes *warnings,
                              struct lineage_note *note)
{
    const json_t *value = json_object_get(event->json, "linkingFile");
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    struct linking_source source = { .name = "linkingFile", .name_space = limits->name_space };
    struct linking_file file;
    struct err err = { 0 };
    int rc;

    if (!value || json_is_null(value))
        return 0;
    source.text = lineage_span(value);
    if (event->name_space)
        source.name_space = event->name_space;
    rc = linking_file_parse(&file, &source, &notes, &err);
    if (rc == 0)
        linking_file_check_model(&file,
                                 json_string_value(json_object_get(event->json, "modelName")),
                                 &notes);
    (void)lineage_refuse(note, LINKING_INVALID, "linkingFile", "%s", err.text);
    for (size_t i = 0; i < notes.len; i++) {
        struct lineage_note *to = NULL;

        if (notes.items[i].is_error && note->line == 0)
            to = note; /* the first one: a better text than err's, with its place apart */
        else if (!notes.items[i].is_error && rc == 0)
            to = lineage_warning(warnings);
        if (to)
            lineage_note_linking(to, &notes.items[i]);
    }
    linking_file_done(&file);
    return rc;
}

static int lineage_check_field(const struct lineage_field *field, const json_t *value,
                               const struct lineage_limits *limits, struct lineage_note *note)
{
    switch (field->type) {
    case LINEAGE_NAME:
    case LINEAGE_TEXT:
    case LINEAGE_STATUS:
    case LINEAGE_FILE:
        return lineage_check_text(field, value, note);
    case LINEAGE_TIME:
    case LINEAGE_COUNT:
    case LINEAGE_ID:
        return lineage_check_integer(field, value, limits, note);
    case LINEAGE_METADATA:
        return lineage_check_metadata(field, value, note);
    case LINEAGE_SCALAR:
        return lineage_check_scalar(field, value, note);
    case LINEAGE_INPUTS:
        return lineage_check_inputs(field, value, limits, note);
    case LINEAGE_SPACE:
        return lineage_check_space(field, value, note);
    case LINEAGE_ANY:
        break;
    }
    return 0;
}

/* Puts a checked member where the table says. */
static void lineage_keep_field(struct lineage_event *event, const struct lineage_field *field,
                               const json_t *value)
{
    char *base = (char *)event;

    if (field->offset == LINEAGE_NOWHERE)
        return;
    if (json_is_string(value)) {
        char *text = xmemdup0(json_string_value(value), json_string_length(value));

        memcpy(base + field->offset, &text, sizeof(text));
    } else {
        struct lineage_integer integer = { true, json_integer_value(value) };

        memcpy(base + field->offset, &integer, sizeof(integer));
    }
}

static int lineage_check_fields(struct lineage_event *event, const struct lineage_kind *kind,
                                const struct lineage_limits *limits, struct lineage_note *note)
{
    for (size_t i = 0; i < kind->fields_len; i++) {
        const struct lineage_field *field = &kind->fields[i];
        const json_t *value = json_object_get(event->json, field->name);

        if (!value && field->is_required)
            return lineage_refuse(note, "missing_field", field->name, "%s needs it", kind->name);
        if (json_is_null(value) && field->is_required)
            return lineage_refuse(note, "invalid_field", field->name, "must not be null");
        if (!value || json_is_null(value))
            continue;
        if (lineage_check_field(field, value, limits, note) < 0)
            return -1;
        lineage_keep_field(event, field, value);
    }
    return 0;
}

static void lineage_find_unknown(const struct lineage_event *event, const struct lineage_kind *kind,
                                 struct lineage_notes *warnings)
{
    const char *key;
    json_t *value;

    json_object_foreach(event->json, key, value)
    {
        size_t i = 0;

        while (i < kind->fields_len && strcmp(kind->fields[i].name, key) != 0)
            i++;
        if (i == kind->fields_len)
            lineage_warn_unknown(warnings, kind->name, key);
    }
}

static char *lineage_identity(const struct lineage_event *event, const struct lineage_kind *kind)
{
    AUTO(buf_done) struct buf identity;

    buf_init(&identity, SIZE_MAX / 2); /* its parts have maxima */
    buf_append_text(&identity, kind->name);
    for (size_t i = 0; kind->identity[i]; i++) {
        const json_t *part = json_object_get(event->json, kind->identity[i]);

        buf_append_char(&identity, ' ');
        if (json_is_string(part))
            buf_append_span(&identity, lineage_span(part));
        else if (json_is_integer(part))
            buf_append_i64(&identity, json_integer_value(part));
        else
            buf_append_char(&identity, '-');
    }
    return xmemdup0(identity.data, identity.len);
}

static int lineage_check(struct lineage_event *event, struct span text,
                         const struct lineage_limits *limits, struct lineage_notes *warnings,
                         struct lineage_note *note)
{
    const struct lineage_kind *kind = NULL;
    json_error_t error;
    const json_t *name;

    event->json = json_loadb(text.len ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &error);
    if (!event->json && json_error_code(&error) == json_error_numeric_overflow)
        return lineage_refuse(note, "invalid_value", "",
                              "holds an integer beyond 64 bits; send it as text");
    if (!event->json)
        return lineage_refuse(note, "invalid_json", "", "line %d, column %d: not JSON", error.line,
                              error.column);
    name = json_object_get(event->json, "event");
    for (size_t i = 0; json_is_string(name) && i < LINEAGE_EVENT_KINDS; i++) {
        if (span_is(lineage_span(name), lineage_kinds[i].name)) {
            event->kind = (enum lineage_event_kind)i;
            kind = &lineage_kinds[i];
        }
    }
    if (!kind)
        return lineage_refuse(note, "unknown_event", "event", "not a lineage event");
    if (lineage_check_fields(event, kind, limits, note) < 0)
        return -1;
    if (event->kind == LINEAGE_MODEL_BUILT && lineage_check_file(event, limits, warnings, note) < 0)
        return -1;
    event->identity = lineage_identity(event, kind);
    lineage_find_unknown(event, kind, warnings);
    return 0;
}

int lineage_event_parse(struct lineage_event *event, struct span text,
                        const struct lineage_limits *limits, struct lineage_notes *warnings,
                        struct lineage_note *note)
{
    *event = (struct lineage_event){ 0 };
    if (lineage_check(event, text, limits, warnings, note) == 0)
        return 0;
    lineage_event_done(event);
    return -1;
}

static bool lineage_equal(const json_t *a, const json_t *b);

static bool lineage_equal_objects(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *value;

    if (json_object_size(a) != json_object_size(b))
        return false;
    json_object_foreach((json_t *)(uintptr_t)a, key, value)
    {
        const json_t *other = json_object_get(b, key);

        if (!other || !lineage_equal(value, other))
            return false;
    }
    return true;
}

/* Equal as JSON: json_equal, but 1 is 1.0. Recursion ends with the depth that the scanner allowed.
 */
static bool lineage_equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b) && json_typeof(a) != json_typeof(b))
        return !(json_number_value(a) < json_number_value(b)) &&
               !(json_number_value(a) > json_number_value(b));
    if (json_is_object(a) && json_is_object(b))
        return lineage_equal_objects(a, b);
    if (!json_is_array(a) || !json_is_array(b))
        return json_equal(a, b);
    if (json_array_size(a) != json_array_size(b))
        return false;
    for (size_t i = 0; i < json_array_size(a); i++) {
        if (!lineage_equal(json_array_get(a, i), json_array_get(b, i)))
            return false;
    }
    return true;
}

/* A namespace that comes behind the file would make other tables of it. */
static bool lineage_is_too_late(const json_t *known, const char *member)
{
    const json_t *file = json_object_get(known, "linkingFile");

    return strcmp(member, "namespace") == 0 && file && !json_is_null(file);
}

enum lineage_comparison lineage_event_compare(const json_t *known, const json_t *event,
                                              const char **member)
{
    enum lineage_comparison result = LINEAGE_SAME;
    const char *key;
    json_t *value;

    *member = NULL;
    json_object_foreach((json_t *)(uintptr_t)event, key, value)
    {
        const json_t *old = json_object_get(known, key);

        bool is_new = !old || json_is_null(old);

        if (json_is_null(value))
            continue;
        if (is_new ? lineage_is_too_late(known, key) : !lineage_equal(old, value)) {
            *member = key;
            return LINEAGE_CONFLICT;
        }
        if (is_new)
            result = LINEAGE_SUPPLEMENTS;
    }
    return result;
}
