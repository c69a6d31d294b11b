#include "atlas/message.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/gzip.h"
#include "base/mem.h"

#define MESSAGE_VERSION "\"version\":{\"version\":\"1.0.0\",\"versionParts\":[1]}"

enum {
    MESSAGE_VERSION_DIGITS_MAX = 9,
    /* What jansson makes of a value, an object and an array, and the copies that are stored. */
    MESSAGE_VALUE_BYTES = 160,
    MESSAGE_OBJECT_BYTES = 640,
    MESSAGE_ARRAY_BYTES = 160,
};

size_t message_cost(struct span text)
{
    size_t cost = 3 * text.len + MESSAGE_VALUE_BYTES;
    bool in_text = false;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];

        if (in_text && c == '\\')
            i++;
        else if (c == '"')
            in_text = !in_text;
        else if (in_text)
            continue;
        else if (c == '{')
            cost += MESSAGE_OBJECT_BYTES;
        else if (c == '[')
            cost += MESSAGE_ARRAY_BYTES;
        else if (c == ',' || c == ':')
            cost += MESSAGE_VALUE_BYTES;
    }
    return cost;
}

static struct buf *message_part_add(struct message_parts *parts)
{
    struct buf *part;

    parts->items = xreallocarray(parts->items, parts->len + 1, sizeof(*parts->items));
    part = &parts->items[parts->len++];
    buf_init(part, SIZE_MAX);
    return part;
}

void message_parts_done(struct message_parts *parts)
{
    if (!parts)
        return;
    for (size_t i = 0; i < parts->len; i++)
        buf_done(&parts->items[i]);
    free(parts->items);
    *parts = (struct message_parts){ 0 };
}

static void message_write_text(struct buf *out, const char *name, struct span text)
{
    buf_append_fmt(out, "\"%s\":", name);
    buf_append_json(out, text);
    buf_append_char(out, ',');
}

static void message_write_envelope(const struct message_head *head, struct span notification,
                                   struct buf *out)
{
    buf_append_char(out, '{');
    if (head->source.data) {
        buf_append_text(out, "\"source\":{\"source\":");
        buf_append_json(out, head->source);
        buf_append_text(out, ",\"version\":");
        buf_append_json(out, head->source_version);
        buf_append_text(out, "},");
    }
    buf_append_text(out, MESSAGE_VERSION ",\"msgCompressionKind\":\"NONE\","
                                         "\"msgSplitIdx\":1,\"msgSplitCount\":1,");
    if (head->source_ip.data)
        message_write_text(out, "msgSourceIP", head->source_ip);
    if (head->created_by.data)
        message_write_text(out, "msgCreatedBy", head->created_by);
    buf_append_fmt(out, "\"msgCreationTime\":%" PRId64 ",\"spooled\":false,\"message\":",
                   head->created_ms);
    buf_append_span(out, notification);
    buf_append_char(out, '}');
}

/* One message with packed text; `index` and `count` as Atlas says them, 1 and 1 for a whole. */
static void message_write_packed(const struct message_head *head, struct span base64,
                                 bool compresses, size_t index, size_t count, struct buf *out)
{
    AUTO(buf_done) struct buf id = { .max = SIZE_MAX };

    buf_append_span(&id, head->id_prefix);
    buf_append_fmt(&id, "_%" PRIu64, head->number);
    buf_append_text(out, "{" MESSAGE_VERSION ",");
    message_write_text(out, "msgId", buf_span(&id));
    buf_append_fmt(out, "\"msgCompressionKind\":\"%s\",\"msgSplitIdx\":%zu,\"msgSplitCount\":%zu,",
                   compresses ? "GZIP" : "NONE", index, count);
    buf_append_text(out, "\"message\":\"");
    buf_append_span(out, base64);
    buf_append_text(out, "\"}");
}

/* Packs an envelope that is too long, and cuts what is still too long. */
static void message_pack(const struct message_head *head, struct span envelope, size_t text_max,
                         bool compresses, struct message_parts *parts)
{
    AUTO(buf_done) struct buf zipped = { .max = SIZE_MAX }, base64 = { .max = SIZE_MAX };
    size_t count;

    if (compresses)
        gzip_deflate(envelope, &zipped);
    base64_encode(compresses ? buf_span(&zipped) : envelope, &base64);
    buf_done(&zipped);
    if (compresses && base64.len <= text_max) {
        message_write_packed(head, buf_span(&base64), compresses, 1, 1, message_part_add(parts));
        return;
    }
    count = (base64.len - 1) / text_max + 1;
    for (size_t i = 0; i < count; i++) {
        size_t at = i * text_max, left = base64.len - at;
        struct span cut = { base64.data + at, left < text_max ? left : text_max };

        message_write_packed(head, cut, compresses, i, count, message_part_add(parts));
    }
}

void message_write(const struct message_head *head, struct span notification, size_t bytes_max,
                   bool compresses, struct message_parts *parts)
{
    AUTO(buf_done) struct buf envelope = { .max = SIZE_MAX };

    assert(bytes_max > MESSAGE_ENVELOPE_BYTES);
    assert(head->id_prefix.len <= MESSAGE_ID_PREFIX_BYTES_MAX);
    *parts = (struct message_parts){ 0 };
    message_write_envelope(head, notification, &envelope);
    if (envelope.len > bytes_max - MESSAGE_ENVELOPE_BYTES) {
        message_pack(head, buf_span(&envelope), bytes_max - MESSAGE_ENVELOPE_BYTES, compresses,
                     parts);
        return;
    }
    *message_part_add(parts) = envelope;
    buf_init(&envelope, 0); /* handed over */
}

/* A message whose parts have not all come. */
struct message_gathering {
    char *id;
    bool is_gzip;
    int64_t since_ms;
    size_t parts_len;
    size_t parts_here;
    size_t bytes;   /* of all it takes */
    json_t **parts; /* texts, owned; NULL: not here */
};

struct message_reader {
    struct message_limits limits;
    struct message_gathering *waiting; /* the oldest first */
    size_t waiting_len;
    size_t waiting_bytes;
    uint64_t dropped;
};

struct message_reader *message_reader_new(const struct message_limits *limits)
{
    struct message_reader *reader = xcalloc(1, sizeof(*reader));

    assert(limits->waiting_max > 0);
    reader->limits = *limits;
    reader->waiting = xcalloc(limits->waiting_max, sizeof(*reader->waiting));
    return reader;
}

static void message_forget(struct message_reader *reader, size_t index)
{
    struct message_gathering *gathering = &reader->waiting[index];

    reader->waiting_bytes -= gathering->bytes;
    for (size_t i = 0; i < gathering->parts_len; i++)
        json_decref(gathering->parts[i]);
    free(gathering->parts); /* NOLINT(clang-analyzer-unix.Malloc): it does not follow memmove */
    free(gathering->id);
    reader->waiting_len--;
    memmove(gathering, gathering + 1, (reader->waiting_len - index) * sizeof(*gathering));
}

/* Forgets a message that somebody may be waiting for. */
static void message_drop(struct message_reader *reader, size_t index)
{
    message_forget(reader, index);
    reader->dropped++;
}

void message_reader_free(struct message_reader *reader)
{
    if (!reader)
        return;
    while (reader->waiting_len > 0)
        message_forget(reader, reader->waiting_len - 1);
    free(reader->waiting);
    free(reader);
}

size_t message_reader_expire(struct message_reader *reader, int64_t before_ms)
{
    size_t expired = 0;

    for (size_t i = reader->waiting_len; i > 0; i--) {
        if (reader->waiting[i - 1].since_ms >= before_ms)
            continue;
        message_drop(reader, i - 1);
        expired++;
    }
    return expired;
}

struct message_waiting message_reader_waiting(const struct message_reader *reader)
{
    return (struct message_waiting){ .messages = reader->waiting_len,
                                     .bytes = reader->waiting_bytes,
                                     .dropped = reader->dropped };
}

void message_done(struct message *message)
{
    if (!message)
        return;
    json_decref(message->root);
    *message = (struct message){ 0 };
}

/* What an envelope says of itself; texts are borrowed from its JSON. */
struct message_outside {
    bool is_bare;
    bool is_gzip;
    const char *id; /* NULL: none */
    json_int_t split_index;
    json_int_t split_count;
};

/* A member, or NULL; null is absent. */
static json_t *message_member(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);

    return json_is_null(value) ? NULL : value;
}

static const char *message_text(const json_t *object, const char *name)
{
    return json_string_value(message_member(object, name));
}

static int message_integer(const json_t *root, const char *name, json_int_t *value, struct err *err)
{
    const json_t *member = message_member(root, name);

    if (member && !json_is_integer(member))
        return err_set(err, ERR_INPUT, "message: %s is not an integer", name);
    if (member)
        *value = json_integer_value(member);
    return 0;
}

/* Compares "1.2.3" with 1.0.0, number by number; a number that is not there is 0. The order goes to
 * *order; -1: not a version. */
static int message_version_order(const char *text, int *order)
{
    static const long ours[] = { 1, 0, 0 };

    *order = 0;
    for (size_t i = 0;; i++) {
        size_t digits = strspn(text, "0123456789");
        long part, our = i < LENGTH(ours) ? ours[i] : 0;

        if (digits == 0 || digits > MESSAGE_VERSION_DIGITS_MAX)
            return -1;
        part = strtol(text, NULL, 10);
        if (*order == 0)
            *order = (part > our) - (part < our);
        if (text[digits] == '\0')
            break;
        if (text[digits] != '.')
            return -1;
        text += digits + 1;
    }
    return 0;
}

/* An envelope that says nothing of its version is of ours. */
static int message_version_check(const json_t *version, struct err *err)
{
    const json_t *member = message_member(version, "version");
    int order = 0;

    if (!json_is_object(version) || (member && !json_is_string(member)))
        return err_set(err, ERR_INPUT, "message: version is not an object with a version in it");
    if (member && message_version_order(json_string_value(member), &order) < 0)
        return err_set(err, ERR_INPUT, "message: version is not made of numbers and dots");
    if (order > 0)
        return err_set(err, ERR_INPUT, "message: its version is later than 1.0.0");
    return 0;
}

static int message_outside_read(const json_t *root, struct message_outside *outside,
                                struct err *err)
{
    const json_t *version = message_member(root, "version");
    const json_t *kind = message_member(root, "msgCompressionKind");

    *outside = (struct message_outside){ .is_bare = !version, .split_index = 1, .split_count = 1 };
    if (!version)
        return 0;
    if (message_version_check(version, err) < 0 ||
        message_integer(root, "msgSplitIdx", &outside->split_index, err) < 0 ||
        message_integer(root, "msgSplitCount", &outside->split_count, err) < 0)
        return -1;
    outside->id = message_text(root, "msgId");
    outside->is_gzip = json_is_string(kind) && strcmp(json_string_value(kind), "GZIP") == 0;
    if (kind && !outside->is_gzip &&
        (!json_is_string(kind) || strcmp(json_string_value(kind), "NONE") != 0))
        return err_set(err, ERR_INPUT, "message: msgCompressionKind is neither NONE nor GZIP");
    return 0;
}

json_t *message_parse(const struct message_limits *limits, struct span text, bool *is_too_large,
                      struct err *err)
{
    json_auto_t *root = NULL;
    json_error_t error;

    *is_too_large = text.len > limits->text_bytes_max;
    if (*is_too_large) {
        (void)err_set(err, ERR_INPUT, "message: %zu bytes, at most %zu are read", text.len,
                      limits->text_bytes_max);
        return NULL;
    }
    *is_too_large = limits->cost_max && message_cost(text) > limits->cost_max;
    if (*is_too_large) {
        (void)err_set(err, ERR_INPUT,
                      "message: %zu bytes with more values than can be read in %zu bytes of memory",
                      text.len, limits->cost_max);
        return NULL;
    }
    root = json_loadb(text.data, text.len, 0, &error);
    if (!root)
        (void)err_set(err, ERR_INPUT, "message: not JSON near byte %d", error.position);
    else if (!json_is_object(root))
        (void)err_set(err, ERR_INPUT, "message: not a JSON object");
    else
        return json_incref(root);
    return NULL;
}

/* `joined`: what base64 is in, emptied when it is decoded; NULL: it is somebody else's. */
static int message_unpack(const struct message_reader *reader, struct span base64,
                          struct buf *joined, bool is_gzip, struct buf *text, bool *is_too_large,
                          struct err *err)
{
    AUTO(buf_done) struct buf packed = { .max = SIZE_MAX };
    struct buf *decoded = is_gzip ? &packed : text;

    if (base64_decode(base64, decoded) < 0)
        return err_set(err, ERR_INPUT, "message: what is packed in it is not base64");
    if (joined)
        buf_done(joined);
    if (is_gzip && gzip_inflate(buf_span(&packed), text, err) < 0)
        return err_prefix(err, "message: ");
    *is_too_large = text->full;
    if (text->full)
        return err_set(err, ERR_INPUT, "message: more than %zu bytes are packed in it",
                       reader->limits.text_bytes_max);
    return 0;
}

/* The index of the message that `outside` is a part of; it is new where it was not there. */
static size_t message_gathering_of(struct message_reader *reader,
                                   const struct message_outside *outside, int64_t now_ms)
{
    struct message_gathering *gathering;
    size_t index = 0, parts_len = (size_t)outside->split_count;

    while (index < reader->waiting_len && strcmp(reader->waiting[index].id, outside->id) != 0)
        index++;
    if (index < reader->waiting_len) {
        gathering = &reader->waiting[index];
        if (gathering->parts_len == parts_len && gathering->is_gzip == outside->is_gzip)
            return index;
        message_drop(reader, index);
    }
    if (reader->waiting_len == reader->limits.waiting_max)
        message_drop(reader, 0);
    gathering = &reader->waiting[reader->waiting_len++];
    *gathering = (struct message_gathering){ .id = xstrdup(outside->id),
                                             .is_gzip = outside->is_gzip,
                                             .since_ms = now_ms,
                                             .parts_len = parts_len,
                                             .parts = xcalloc(parts_len, sizeof(json_t *)) };
    gathering->bytes = strlen(outside->id) + 1 + parts_len * sizeof(json_t *);
    reader->waiting_bytes += gathering->bytes;
    return reader->waiting_len - 1;
}

/* Drops older messages until all that waits fits; *index follows the message it stands for. -1:
 * that one alone is too much, and is forgotten. */
static int message_make_room(struct message_reader *reader, size_t *index, struct err *err)
{
    while (reader->waiting_bytes > reader->limits.waiting_bytes_max) {
        size_t oldest = *index == 0 ? 1 : 0;

        if (oldest == reader->waiting_len) {
            message_forget(reader, *index);
            return err_set(err, ERR_INPUT,
                           "message: its parts take more than the %zu bytes that "
                           "may wait",
                           reader->limits.waiting_bytes_max);
        }
        message_drop(reader, oldest);
        if (oldest < *index)
            --*index;
    }
    return 0;
}

static int message_part_check(const struct message_limits *limits, const json_t *text,
                              const struct message_outside *outside, struct err *err)
{
    if (!outside->id || *outside->id == '\0')
        return err_set(err, ERR_INPUT, "message: a part without msgId");
    if ((uint64_t)outside->split_count > limits->parts_max)
        return err_set(err, ERR_INPUT,
                       "message: cut into %" JSON_INTEGER_FORMAT " parts, at most %zu are read",
                       outside->split_count, limits->parts_max);
    if (outside->split_index < 0 || outside->split_index >= outside->split_count)
        return err_set(err, ERR_INPUT,
                       "message: part %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
                       ", they are numbered from 0",
                       outside->split_index, outside->split_count);
    if (!json_is_string(text))
        return err_set(err, ERR_INPUT, "message: what is packed in it is not a string");
    return 0;
}

int message_look(const struct message_limits *limits, const json_t *root,
                 struct message_label *label, struct err *err)
{
    struct message_outside outside;

    *label = (struct message_label){ .index = 1, .count = 1 };
    if (message_outside_read(root, &outside, err) < 0)
        return -1;
    label->id = outside.id;
    label->is_gzip = outside.is_gzip;
    if (outside.split_count <= 1)
        return 0;
    if (message_part_check(limits, message_member(root, "message"), &outside, err) < 0)
        return -1;
    label->index = (size_t)outside.split_index;
    label->count = (size_t)outside.split_count;
    return 0;
}

/* Keeps a part. 1: it was the last to come, all of them are in *base64. */
static int message_part_take(struct message_reader *reader, json_t *part,
                             const struct message_outside *outside, int64_t now_ms,
                             struct buf *base64, struct err *err)
{
    struct message_gathering *gathering;
    json_t **slot;
    size_t index, added;

    if (message_part_check(&reader->limits, part, outside, err) < 0)
        return -1;
    index = message_gathering_of(reader, outside, now_ms);
    gathering = &reader->waiting[index];
    slot = &gathering->parts[outside->split_index];
    gathering->parts_here += !*slot; /* NOLINT(clang-analyzer-unix.Malloc): nor here */
    added = json_string_length(part) - json_string_length(*slot); /* may wrap, as it is summed up */
    gathering->bytes += added;
    reader->waiting_bytes += added;
    json_decref(*slot);
    *slot = json_incref(part);
    if (message_make_room(reader, &index, err) < 0)
        return -1;
    gathering = &reader->waiting[index];
    if (gathering->parts_here < gathering->parts_len)
        return 0;
    for (size_t i = 0; i < gathering->parts_len; i++)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): nor here */
        buf_append(base64, json_string_value(gathering->parts[i]),
                   json_string_length(gathering->parts[i]));
    message_forget(reader, index);
    return 1;
}

/* Reads what was packed in place of what it was packed in. */
static int message_enter(const struct message_reader *reader, struct span text, json_t **root,
                         struct message_outside *outside, bool *is_too_large, struct err *err)
{
    json_t *inner = message_parse(&reader->limits, text, is_too_large, err);

    if (!inner)
        return -1;
    json_decref(*root);
    *root = inner;
    if (message_outside_read(inner, outside, err) < 0)
        return -1;
    if (outside->is_bare)
        return err_set(err, ERR_INPUT, "message: what is packed in it has no version");
    return 0;
}

/* Fills the message from its last envelope. */
static int message_finish(json_t *root, const struct message_outside *outside,
                          struct message *message, struct err *err)
{
    json_t *notification = outside->is_bare ? root : message_member(root, "message");
    json_int_t created_ms = 0;

    if (!json_is_object(notification))
        return err_set(err, ERR_INPUT, "message: there is no notification in it");
    if (!outside->is_bare && message_integer(root, "msgCreationTime", &created_ms, err) < 0)
        return -1;
    *message = (struct message){ .root = json_incref(root),
                                 .notification = notification,
                                 .is_bare = outside->is_bare,
                                 .created_ms = created_ms };
    if (outside->is_bare)
        return 0;
    message->source = message_text(message_member(root, "source"), "source");
    message->source_ip = message_text(root, "msgSourceIP");
    message->created_by = message_text(root, "msgCreatedBy");
    return 0;
}

/* The envelope, which may be packed once more. */
static int message_read_envelope(const struct message_reader *reader, json_t **root,
                                 struct message_outside *outside, struct message *message,
                                 struct err *err)
{
    AUTO(buf_done) struct buf unzipped = { .max = reader->limits.text_bytes_max };
    bool *is_too_large = &message->is_too_large;

    if (outside->is_gzip) {
        const json_t *packed = message_member(*root, "message");
        struct span base64 = { json_string_value(packed), json_string_length(packed) };

        if (!base64.data)
            return err_set(err, ERR_INPUT, "message: what is packed in it is not a string");
        if (message_unpack(reader, base64, NULL, true, &unzipped, is_too_large, err) < 0 ||
            message_enter(reader, buf_span(&unzipped), root, outside, is_too_large, err) < 0)
            return -1;
    }
    return message_finish(*root, outside, message, err) < 0 ? -1 : 1;
}

int message_read_joined(const struct message_reader *reader, struct buf *joined, bool is_gzip,
                        struct message *message, struct err *err)
{
    AUTO(buf_done) struct buf text = { .max = reader->limits.text_bytes_max };
    bool *is_too_large = &message->is_too_large;
    struct message_outside outside;
    json_auto_t *root = NULL;

    *message = (struct message){ 0 };
    if (message_unpack(reader, buf_span(joined), joined, is_gzip, &text, is_too_large, err) < 0 ||
        message_enter(reader, buf_span(&text), &root, &outside, is_too_large, err) < 0)
        return -1;
    buf_done(&text);
    return message_read_envelope(reader, &root, &outside, message, err);
}

int message_read_json(struct message_reader *reader, json_t *whole, int64_t now_ms,
                      struct message *message, struct err *err)
{
    AUTO(buf_done) struct buf joined = { .max = SIZE_MAX };
    json_auto_t *root = json_incref(whole);
    struct message_outside outside;

    *message = (struct message){ 0 };
    if (message_outside_read(root, &outside, err) < 0)
        return -1;
    if (outside.split_count > 1) {
        int rc = message_part_take(reader, message_member(root, "message"), &outside, now_ms,
                                   &joined, err);

        return rc <= 0 ? rc : message_read_joined(reader, &joined, outside.is_gzip, message, err);
    }
    return message_read_envelope(reader, &root, &outside, message, err);
}

int message_read(struct message_reader *reader, struct span text, int64_t now_ms,
                 struct message *message, struct err *err)
{
    bool is_too_large;
    json_auto_t *root = message_parse(&reader->limits, text, &is_too_large, err);

    *message = (struct message){ .is_too_large = is_too_large };
    return root ? message_read_json(reader, root, now_ms, message, err) : -1;
}
