#include "atlas/message.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../harness/dice.h"
#include "base/base64.h"
#include "base/gzip.h"
#include "base/mem.h"

enum { TEXT_BYTES_MAX = 1 << 20 };

static const struct message_limits limits = {
    .text_bytes_max = TEXT_BYTES_MAX,
    .parts_max = 10000,
    .waiting_max = 4,
    .waiting_bytes_max = 2 << 20,
};

static const struct message_head head = {
    .source = { "plumbline", 9 },
    .source_version = { "0.1.0", 5 },
    .source_ip = { "127.0.0.1", 9 },
    .created_by = { "", 0 },
    .created_ms = 1700000000000,
    .id_prefix = { "0a1b", 4 },
    .number = 7,
};

#define VERSION "\"version\":{\"version\":\"1.0.0\",\"versionParts\":[1]}"
#define WHOLE "\"msgCompressionKind\":\"NONE\",\"msgSplitIdx\":1,\"msgSplitCount\":1"
#define ENVELOPE                                                                                   \
    "{\"source\":{\"source\":\"plumbline\",\"version\":\"0.1.0\"}," VERSION "," WHOLE              \
    ",\"msgSourceIP\":\"127.0.0.1\",\"msgCreatedBy\":\"\",\"msgCreationTime\":1700000000000,"      \
    "\"spooled\":false,\"message\":"
#define PART "{" VERSION ",\"msgId\":\"0a1b_7\",\"msgCompressionKind\":"

static struct message_parts write_parts(const char *notification, size_t text_max, bool compresses)
{
    struct message_parts parts;

    message_write(&head, span_of(notification), text_max + MESSAGE_ENVELOPE_BYTES, compresses,
                  &parts);
    for (size_t i = 0; i < parts.len; i++)
        ck_assert_uint_le(parts.items[i].len, text_max + MESSAGE_ENVELOPE_BYTES);
    return parts;
}

START_TEST(whole_text)
{
    static const char notification[] =
        "{\"type\":\"ENTITY_CREATE_V2\", \"user\":\"\xC3\xA9\",\"n\":1e22,\"x\":0.10}";
    struct message_parts parts = write_parts(notification, 1000, true);

    ck_assert_uint_eq(parts.len, 1);
    ck_assert_str_eq(
        buf_text(&parts.items[0]),
        ENVELOPE "{\"type\":\"ENTITY_CREATE_V2\", \"user\":\"\xC3\xA9\",\"n\":1e22,\"x\":0.10}}");
    message_parts_done(&parts);
}
END_TEST

START_TEST(what_is_not_known_is_not_said)
{
    struct message_head bare = { .created_ms = 5 };
    struct message_parts parts;

    message_write(&bare, SPAN_LITERAL("{}"), MESSAGE_BYTES_MAX, true, &parts);
    ck_assert_str_eq(buf_text(&parts.items[0]),
                     "{" VERSION "," WHOLE ",\"msgCreationTime\":5,\"spooled\":false,"
                     "\"message\":{}}");
    message_parts_done(&parts);

    bare.source = SPAN_LITERAL("a\"b");
    bare.created_by = SPAN_LITERAL("\n");
    message_write(&bare, SPAN_LITERAL("{}"), MESSAGE_BYTES_MAX, true, &parts);
    ck_assert_str_eq(buf_text(&parts.items[0]),
                     "{\"source\":{\"source\":\"a\\\"b\",\"version\":\"\"}," VERSION "," WHOLE
                     ",\"msgCreatedBy\":\"\\n\",\"msgCreationTime\":5,\"spooled\":false,"
                     "\"message\":{}}");
    message_parts_done(&parts);
}
END_TEST

START_TEST(cut_text)
{
    /* 276 bytes of envelope, so 368 of base64, 3 parts of at most 150. */
    struct message_parts parts = write_parts("{\"a\":\"b\"}", 150, false);
    AUTO(buf_done) struct buf base64 = { .max = 1000 };

    base64_encode(SPAN_LITERAL(ENVELOPE "{\"a\":\"b\"}}"), &base64);
    ck_assert_uint_eq(base64.len, 368);
    ck_assert_uint_eq(parts.len, 3);
    for (int i = 0; i < 3; i++) {
        char expected[512];

        (void)snprintf(expected, sizeof(expected),
                       PART "\"NONE\",\"msgSplitIdx\":%d,\"msgSplitCount\":3,\"message\":\"%.*s\"}",
                       i, i < 2 ? 150 : 68, buf_text(&base64) + i * 150);
        ck_assert_str_eq(buf_text(&parts.items[i]), expected);
    }
    message_parts_done(&parts);
}
END_TEST

/* A notification of `len` bytes that is well or badly compressible. */
static char *notification_of(size_t len, bool is_noise)
{
    static const char prefix[] = "{\"a\":\"", suffix[] = "\"}";
    char *text = xmalloc(len + 1);
    uint64_t seed = 9;

    ck_assert_uint_ge(len, sizeof(prefix) + sizeof(suffix) - 2);
    for (size_t i = 0; i < len; i++)
        text[i] = is_noise ? (char)('A' + dice_roll(&seed, 26)) : 'x';
    memcpy(text, prefix, sizeof(prefix) - 1);
    memcpy(text + len - (sizeof(suffix) - 1), suffix, sizeof(suffix));
    return text;
}

static const char *member_text(const struct buf *part, const char *name, char text[64])
{
    json_auto_t *root = json_loadb(part->data, part->len, 0, NULL);
    const json_t *member = json_object_get(root, name);

    ck_assert_ptr_nonnull(root);
    if (json_is_integer(member))
        (void)snprintf(text, 64, "%" JSON_INTEGER_FORMAT, json_integer_value(member));
    else
        (void)snprintf(text, 64, "%s", json_is_string(member) ? json_string_value(member) : "-");
    return text;
}

/* "NONE 1/1" for a whole message. */
static void check_kind(const struct message_parts *parts, const char *kind)
{
    char index[64], count[64], compression[64], text[200];

    for (size_t i = 0; i < parts->len; i++) {
        (void)snprintf(text, sizeof(text), "%s %s/%s",
                       member_text(&parts->items[i], "msgCompressionKind", compression),
                       member_text(&parts->items[i], "msgSplitIdx", index),
                       member_text(&parts->items[i], "msgSplitCount", count));
        if (parts->len == 1) {
            ck_assert_str_eq(text, kind);
        } else {
            ck_assert_uint_eq(strtoul(index, NULL, 10), i);
            ck_assert_uint_eq(strtoul(count, NULL, 10), parts->len);
            ck_assert_str_eq(compression, kind);
        }
    }
}

START_TEST(limit_of_a_whole)
{
    for (int more = -1; more <= 1; more++) {
        AUTO(mem_free) char *text = notification_of(1000, false);
        size_t text_max = strlen(ENVELOPE) + 1000 + 1;
        struct message_parts parts = write_parts(text, text_max + (size_t)more, true);

        ck_assert_uint_eq(parts.len, 1);
        check_kind(&parts, more < 0 ? "GZIP 1/1" : "NONE 1/1");
        ck_assert(more < 0 || parts.items[0].len == text_max);
        message_parts_done(&parts);
        parts = write_parts(text, text_max + (size_t)more, false);
        ck_assert_uint_eq(parts.len, more < 0 ? 2 : 1);
        check_kind(&parts, more < 0 ? "NONE" : "NONE 1/1");
        message_parts_done(&parts);
    }
}
END_TEST

START_TEST(limit_of_bytes_not_characters)
{
    AUTO(buf_done) struct buf text = { .max = 1000 };
    struct message_parts parts;

    buf_append_text(&text, "{\"a\":\"");
    for (int i = 0; i < 100; i++)
        buf_append_text(&text, "\xF0\x9F\x98\x80");
    buf_append_text(&text, "\"}");
    parts = write_parts(buf_text(&text), strlen(ENVELOPE) + text.len, true);
    check_kind(&parts, "GZIP 1/1");
    message_parts_done(&parts);
    parts = write_parts(buf_text(&text), strlen(ENVELOPE) + text.len + 1, true);
    check_kind(&parts, "NONE 1/1");
    message_parts_done(&parts);
}
END_TEST

/* The base64 that all parts hold together. */
static void join_parts(const struct message_parts *parts, struct buf *out)
{
    for (size_t i = 0; i < parts->len; i++) {
        json_auto_t *root = json_loadb(parts->items[i].data, parts->items[i].len, 0, NULL);

        buf_append_text(out, json_string_value(json_object_get(root, "message")));
    }
}

START_TEST(limit_of_packed)
{
    AUTO(buf_done) struct buf base64 = { .max = TEXT_BYTES_MAX };
    AUTO(buf_done) struct buf zipped = { .max = TEXT_BYTES_MAX };
    AUTO(buf_done) struct buf text = { .max = TEXT_BYTES_MAX };
    AUTO(mem_free) char *notification = notification_of(6000, true);
    struct message_parts parts = write_parts(notification, 6000, true);
    struct err err;

    check_kind(&parts, "GZIP 1/1");
    join_parts(&parts, &base64);
    message_parts_done(&parts);
    ck_assert_uint_lt(base64.len, 6000);
    /* what is in it */
    ck_assert_int_eq(base64_decode(buf_span(&base64), &zipped), 0);
    ck_assert_int_eq(gzip_inflate(buf_span(&zipped), &text, &err), 0);
    ck_assert_uint_eq(text.len, strlen(ENVELOPE) + 6001);
    ck_assert_int_eq(memcmp(text.data, ENVELOPE, strlen(ENVELOPE)), 0);
    ck_assert_int_eq(memcmp(text.data + strlen(ENVELOPE), notification, 6000), 0);
    /* one to five parts, the limit a byte below, at and above the last byte */
    for (size_t count = 1; count <= 5; count++) {
        for (int more = -1; more <= 1; more++) {
            size_t text_max = (base64.len + count - 1) / count + (size_t)more;
            size_t want = (base64.len + text_max - 1) / text_max;
            AUTO(buf_done) struct buf again = { .max = TEXT_BYTES_MAX };

            parts = write_parts(notification, text_max, true);
            ck_assert_uint_eq(parts.len, want);
            ck_assert(more < 0 ? want == count + 1 : want == count);
            check_kind(&parts, want == 1 ? "GZIP 1/1" : "GZIP");
            join_parts(&parts, &again);
            ck_assert(span_equal(buf_span(&again), buf_span(&base64)));
            message_parts_done(&parts);
        }
    }
}
END_TEST

/* Reads parts in the given order; all but the last must be kept. */
static void read_back(const struct message_parts *parts, const size_t *order,
                      const char *notification)
{
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
    json_auto_t *expected = json_loads(notification, 0, NULL);
    struct message message;
    struct err err = { 0 };

    for (size_t i = 0; i < parts->len; i++) {
        int rc = message_read(reader, buf_span(&parts->items[order[i]]), 1, &message, &err);

        ck_assert_msg(rc == (i + 1 == parts->len), "%d %s", rc, err.text);
        ck_assert(rc == 1 || !message.root);
    }
    ck_assert(json_equal(message.notification, expected));
    ck_assert(!message.is_bare);
    ck_assert_str_eq(message.source, "plumbline");
    ck_assert_str_eq(message.source_ip, "127.0.0.1");
    ck_assert_str_eq(message.created_by, "");
    ck_assert_int_eq(message.created_ms, 1700000000000);
    ck_assert_uint_eq(message_reader_waiting(reader).messages, 0);
    ck_assert_uint_eq(message_reader_waiting(reader).bytes, 0);
    ck_assert_uint_eq(message_reader_waiting(reader).dropped, 0);
    message_done(&message);
}

/* Characters of 1 to 4 bytes, cut at every byte; parts in any order. */
START_TEST(comes_back)
{
    static const char notification[] = "{\"a\":\"e\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"
                                       "e\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\",\"\\u00e9\":"
                                       "[1,-2.5e3,true,null,{}]}";
    uint64_t seed = 4;

    for (size_t text_max = 1; text_max < 450; text_max++) {
        struct message_parts parts = write_parts(notification, text_max, _i);
        AUTO(mem_free) size_t *order = xcalloc(parts.len, sizeof(*order));

        for (size_t i = 0; i < parts.len; i++)
            order[i] = i;
        read_back(&parts, order, notification);
        for (size_t i = 0; i < parts.len; i++)
            order[i] = parts.len - 1 - i;
        read_back(&parts, order, notification);
        for (size_t i = parts.len; i > 1; i--) {
            size_t j = dice_roll(&seed, (uint32_t)i), at = order[j];

            order[j] = order[i - 1];
            order[i - 1] = at;
        }
        read_back(&parts, order, notification);
        message_parts_done(&parts);
    }
}
END_TEST

#define V1 "\"version\":{\"version\":\"1.0.0\"}"
/* Python: base64.b64encode(gzip.compress(text, mtime=0)) of
 * {"version":{"version":"1.0.0"},"message":{"type":"X"}} */
#define GZIP_OF_V1                                                                                 \
    "H4sIAAAAAAACA6tWKkstKs7Mz1OyqkYwlQz1DPQMlGp1lHJTi4sT01NBsiWVBUBaKUKpthYABvjODzYAAAA="

static const struct {
    const char *name, *text;
    bool is_bare;
    const char *notification;
} good_cases[] = {
    { "bare", "{\"type\":\"ENTITY_CREATE\",\"user\":\"u\"}", true,
      "{\"type\":\"ENTITY_CREATE\",\"user\":\"u\"}" },
    { "bare, version null", "{\"version\":null,\"a\":1}", true, "{\"version\":null,\"a\":1}" },
    { "written by hand",
      "{\"message\":{\"type\":\"X\"},\"version\":{\"version\":\"1.0.0\"},"
      "\"msgCompressionKind\":\"NONE\",\"msgSplitIdx\":1,\"msgSplitCount\":1}",
      false, "{\"type\":\"X\"}" },
    { "least", "{" V1 ",\"message\":{}}", false, "{}" },
    { "white space", " {\n" V1 " ,\t\"message\" : { } } \r\n", false, "{}" },
    { "nulls",
      "{" V1 ",\"source\":null,\"msgId\":null,\"msgCompressionKind\":null,\"msgSplitIdx\":"
      "null,\"msgSplitCount\":null,\"msgCreationTime\":null,\"message\":{\"a\":null}}",
      false, "{\"a\":null}" },
    { "members nobody knows", "{" V1 ",\"message\":{},\"more\":[{}]}", false, "{}" },
    { "source without a name", "{\"source\":{}," V1 ",\"message\":{}}", false, "{}" },
    { "an older version", "{\"version\":{\"version\":\"0.9.12\"},\"message\":{}}", false, "{}" },
    { "a shorter version", "{\"version\":{\"version\":\"1\"},\"message\":{}}", false, "{}" },
    { "a longer version", "{\"version\":{\"version\":\"1.0.0.0\"},\"message\":{}}", false, "{}" },
    { "no version in the version", "{\"version\":{},\"message\":{}}", false, "{}" },
    { "parts, none", "{" V1 ",\"msgSplitIdx\":0,\"msgSplitCount\":0,\"message\":{}}", false, "{}" },
    { "packed",
      "{" V1 ",\"msgId\":\"a_1\",\"msgCompressionKind\":\"GZIP\",\"msgSplitIdx\":1,"
      "\"msgSplitCount\":1,\"message\":\"" GZIP_OF_V1 "\"}",
      false, "{\"type\":\"X\"}" },
    { "packed, without an id",
      "{" V1 ",\"msgCompressionKind\":\"GZIP\",\"message\":\"" GZIP_OF_V1 "\"}", false,
      "{\"type\":\"X\"}" },
};

START_TEST(good_case)
{
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
    json_auto_t *expected = json_loads(good_cases[_i].notification, 0, NULL);
    struct message message;
    struct err err = { 0 };

    ck_assert_msg(message_read(reader, span_of(good_cases[_i].text), 1, &message, &err) == 1,
                  "%s: %s", good_cases[_i].name, err.text);
    ck_assert_msg(json_equal(message.notification, expected), "%s", good_cases[_i].name);
    ck_assert(message.is_bare == good_cases[_i].is_bare);
    ck_assert_int_eq(message.created_ms, 0);
    ck_assert_ptr_null(message.source);
    message_done(&message);
}
END_TEST

#define NEWER "message: its version is later than 1.0.0"
#define NOT_VERSION "message: version is not made of numbers and dots"
#define NOT_OBJECT "message: version is not an object with a version in it"
#define NOTHING "message: there is no notification in it"
#define NOT_TEXT "message: what is packed in it is not a string"
#define PACKED(base64) "{" V1 ",\"msgCompressionKind\":\"GZIP\",\"message\":\"" base64 "\"}"
#define CUT(id, index, count, rest)                                                                \
    "{" V1 ",\"msgId\":" id ",\"msgSplitIdx\":" index ",\"msgSplitCount\":" count "," rest "}"

static const struct {
    const char *text, *message;
} bad_cases[] = {
    { "", "message: not JSON near byte 0" },
    { "{", "message: not JSON near byte 1" },
    { "{} {}", "message: not JSON near byte 4" },
    { "{\"a\":\"\\u0000\"}", "message: not JSON near byte 13" },
    { "{\"a\":\"\xFF\"}", "message: not JSON near byte 6" },
    { "[]", "message: not a JSON object" },
    { "\"text\"", "message: not JSON near byte 6" },
    { "{\"version\":\"1.0.0\",\"message\":{}}", NOT_OBJECT },
    { "{\"version\":1,\"message\":{}}", NOT_OBJECT },
    { "{\"version\":{\"version\":1},\"message\":{}}", NOT_OBJECT },
    { "{\"version\":{\"version\":\"\"},\"message\":{}}", NOT_VERSION },
    { "{\"version\":{\"version\":\"1.\"},\"message\":{}}", NOT_VERSION },
    { "{\"version\":{\"version\":\"1..0\"},\"message\":{}}", NOT_VERSION },
    { "{\"version\":{\"version\":\"-1\"},\"message\":{}}", NOT_VERSION },
    { "{\"version\":{\"version\":\"1.0.x\"},\"message\":{}}", NOT_VERSION },
    { "{\"version\":{\"version\":\"2.x\"},\"message\":{}}", NOT_VERSION },
    { "{\"version\":{\"version\":\"0000000001\"},\"message\":{}}", NOT_VERSION },
    { "{\"version\":{\"version\":\"1.0.1\"},\"message\":{}}", NEWER },
    { "{\"version\":{\"version\":\"1.0.0.1\"},\"message\":{}}", NEWER },
    { "{\"version\":{\"version\":\"1.1\"},\"message\":{}}", NEWER },
    { "{\"version\":{\"version\":\"2.0.0\"},\"message\":{}}", NEWER },
    { "{\"version\":{\"version\":\"10\"},\"message\":{}}", NEWER },
    { "{" V1 "}", NOTHING },
    { "{" V1 ",\"message\":null}", NOTHING },
    { "{" V1 ",\"message\":\"{}\"}", NOTHING },
    { "{" V1 ",\"message\":[]}", NOTHING },
    { "{" V1 ",\"message\":{},\"msgSplitCount\":\"2\"}",
      "message: msgSplitCount is not an integer" },
    { "{" V1 ",\"message\":{},\"msgSplitIdx\":0.0}", "message: msgSplitIdx is not an integer" },
    { "{" V1 ",\"message\":{},\"msgCreationTime\":\"now\"}",
      "message: msgCreationTime is not an integer" },
    { "{" V1 ",\"message\":{},\"msgCompressionKind\":\"SNAPPY\"}",
      "message: msgCompressionKind is neither NONE nor GZIP" },
    { "{" V1 ",\"message\":{},\"msgCompressionKind\":1}",
      "message: msgCompressionKind is neither NONE nor GZIP" },
    { "{" V1 ",\"msgCompressionKind\":\"GZIP\"}", NOT_TEXT },
    { "{" V1 ",\"msgCompressionKind\":\"GZIP\",\"message\":{}}", NOT_TEXT },
    { PACKED("H4sI="), "message: what is packed in it is not base64" },
    { PACKED(""), "message: gzip stream is empty" },
    { PACKED("H4sI"), "message: gzip stream is cut short after 3 bytes" },
    { PACKED("e30="), "message: gzip stream is broken near byte 2: incorrect header check" },
    /* {} */
    { PACKED("H4sIAAAAAAACA6uuBQBDv6ajAgAAAA=="), "message: what is packed in it has no version" },
    /* { */
    { PACKED("H4sIAAAAAAACA6sGADlH1RUBAAAA"), "message: not JSON near byte 1" },
    /* {"version":{"version":"1.1"},"message":{}} */
    { PACKED("H4sIAAAAAAACA6tWKkstKs7Mz1OyqkYwlQz1DJVqdZRyU4uLE9NTgXK1tQCsjjjPKgAAAA=="), NEWER },
    /* {"version":{},"message":""} */
    { PACKED("H4sIAAAAAAACA6tWKkstKs7Mz1Oyqq7VUcpNLS5OTE9VslJSqgUA13raMhsAAAA="), NOTHING },
    { CUT("\"\"", "0", "2", "\"message\":\"\""), "message: a part without msgId" },
    { CUT("null", "0", "2", "\"message\":\"\""), "message: a part without msgId" },
    { CUT("5", "0", "2", "\"message\":\"\""), "message: a part without msgId" },
    { CUT("\"a\"", "-1", "2", "\"message\":\"\""),
      "message: part -1 of 2, they are numbered from 0" },
    { CUT("\"a\"", "2", "2", "\"message\":\"\""),
      "message: part 2 of 2, they are numbered from 0" },
    { CUT("\"a\"", "0", "10001", "\"message\":\"\""),
      "message: cut into 10001 parts, at most 10000 are read" },
    { CUT("\"a\"", "0", "9223372036854775807", "\"message\":\"\""),
      "message: cut into 9223372036854775807 parts, at most 10000 are read" },
    { CUT("\"a\"", "0", "2", "\"message\":{}"), NOT_TEXT },
    { CUT("\"a\"", "0", "2", "\"more\":1"), NOT_TEXT },
};

START_TEST(bad_case)
{
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
    struct message message;
    struct err err = { 0 };

    ck_assert_msg(message_read(reader, span_of(bad_cases[_i].text), 1, &message, &err) == -1, "%s",
                  bad_cases[_i].text);
    ck_assert_int_eq(err.kind, ERR_INPUT);
    ck_assert_msg(strcmp(err.text, bad_cases[_i].message) == 0, "%s: %s", bad_cases[_i].text,
                  err.text);
    ck_assert_ptr_null(message.root);
    ck_assert_uint_eq(message_reader_waiting(reader).messages, 0);
}
END_TEST

/* A part as it comes: `text` is a piece of base64. */
static int read_part(struct message_reader *reader, const char *id, const char *kind, int index,
                     int count, const char *text, int64_t now_ms)
{
    AUTO(mem_free)
    char *part = xasprintf("{" V1 ",\"msgId\":\"%s\",\"msgCompressionKind\":\"%s\",\"msgSplitIdx\":"
                           "%d,\"msgSplitCount\":%d,\"message\":\"%s\"}",
                           id, kind, index, count, text);
    struct message message;
    struct err err = { 0 };
    int rc = message_read(reader, span_of(part), now_ms, &message, &err);

    ck_assert(rc == 1 || !message.root);
    ck_assert((rc < 0) == (*err.text != '\0'));
    message_done(&message);
    return rc;
}

static void check_waiting(const struct message_reader *reader, size_t messages, uint64_t dropped)
{
    struct message_waiting waiting = message_reader_waiting(reader);

    ck_assert_uint_eq(waiting.messages, messages);
    ck_assert_uint_eq(waiting.dropped, dropped);
    ck_assert(messages > 0 || waiting.bytes == 0);
}

/* {"version":{},"message":{}} as three parts */
static const char *const three[] = { "eyJ2ZXJzaW9u", "Ijp7fSwibWVzc2", "FnZSI6e319" };

START_TEST(parts_come_again)
{
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
    static const int order[] = { 0, 1, 0, 1, 1, 0, 2 };

    for (size_t i = 0; i < LENGTH(order); i++)
        ck_assert_int_eq(read_part(reader, "a", "NONE", order[i], 3, three[order[i]], 1),
                         i + 1 == LENGTH(order));
    check_waiting(reader, 0, 0);
    /* the last one wins, as when a sender begins anew */
    ck_assert_int_eq(read_part(reader, "a", "NONE", 0, 3, "broken", 1), 0);
    ck_assert_int_eq(read_part(reader, "a", "NONE", 1, 3, "", 1), 0);
    ck_assert_int_eq(read_part(reader, "a", "NONE", 0, 3, three[0], 1), 0);
    ck_assert_int_eq(read_part(reader, "a", "NONE", 1, 3, three[1], 1), 0);
    ck_assert_int_eq(read_part(reader, "a", "NONE", 2, 3, three[2], 1), 1);
    check_waiting(reader, 0, 0);
    /* what can't be read when it is complete is gone */
    ck_assert_int_eq(read_part(reader, "a", "NONE", 0, 2, "broken", 1), 0);
    ck_assert_int_eq(read_part(reader, "a", "NONE", 1, 2, "!", 1), -1);
    check_waiting(reader, 0, 0);
}
END_TEST

START_TEST(parts_of_two_messages)
{
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);

    for (int i = 2; i >= 0; i--) {
        ck_assert_int_eq(read_part(reader, "a", "NONE", i, 3, three[i], 1), i == 0);
        ck_assert_int_eq(read_part(reader, "a_", "NONE", i, 3, three[i], 1), i == 0);
    }
    check_waiting(reader, 0, 0);
}
END_TEST

START_TEST(cut_in_another_way)
{
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);

    ck_assert_int_eq(read_part(reader, "b", "NONE", 0, 3, three[0], 1), 0);
    ck_assert_int_eq(read_part(reader, "a", "NONE", 0, 2, "eyJ2", 1), 0);
    ck_assert_int_eq(read_part(reader, "a", "NONE", 0, 3, three[0], 1), 0);
    check_waiting(reader, 2, 1);
    ck_assert_int_eq(read_part(reader, "a", "GZIP", 1, 3, three[1], 1), 0);
    check_waiting(reader, 2, 2);
    ck_assert_int_eq(read_part(reader, "a", "NONE", 2, 3, three[2], 1), 0);
    ck_assert_int_eq(read_part(reader, "a", "NONE", 0, 3, three[0], 1), 0);
    ck_assert_int_eq(read_part(reader, "a", "NONE", 1, 3, three[1], 1), 1);
    check_waiting(reader, 1, 3);
    ck_assert_int_eq(read_part(reader, "b", "NONE", 1, 3, three[1], 1), 0);
    ck_assert_int_eq(read_part(reader, "b", "NONE", 2, 3, three[2], 1), 1);
    check_waiting(reader, 0, 3);
}
END_TEST

START_TEST(too_many_wait)
{
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
    char id[2] = "a";

    for (; id[0] <= 'f'; id[0]++)
        ck_assert_int_eq(read_part(reader, id, "NONE", 2, 3, three[2], 1), 0);
    check_waiting(reader, 4, 2);
    for (id[0] = 'f'; id[0] >= 'c'; id[0]--) {
        ck_assert_int_eq(read_part(reader, id, "NONE", 0, 3, three[0], 1), 0);
        ck_assert_int_eq(read_part(reader, id, "NONE", 1, 3, three[1], 1), 1);
    }
    check_waiting(reader, 0, 2);
}
END_TEST

/* What waits takes at most what the limit says, whatever comes. */
START_TEST(too_much_waits)
{
    const struct message_limits tight = { 10000, 10000, 10, 1000, 0 };
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&tight);
    AUTO(mem_free) char *text = xcalloc(1, 1001);

    memset(text, 'A', 400);
    ck_assert_int_eq(read_part(reader, "a", "NONE", 0, 3, text, 1), 0);
    ck_assert_int_eq(read_part(reader, "b", "NONE", 0, 3, text, 1), 0);
    check_waiting(reader, 2, 0);
    ck_assert_uint_eq(message_reader_waiting(reader).bytes, 2 * (400 + 2 + 3 * sizeof(void *)));
    /* the older one makes room */
    ck_assert_int_eq(read_part(reader, "b", "NONE", 1, 3, text, 1), 0);
    check_waiting(reader, 1, 1);
    ck_assert_int_eq(read_part(reader, "c", "NONE", 0, 3, text, 1), 0);
    check_waiting(reader, 1, 2);
    /* the younger one, when the oldest grows */
    ck_assert_int_eq(read_part(reader, "d", "NONE", 0, 3, text, 1), 0);
    ck_assert_int_eq(read_part(reader, "c", "NONE", 1, 3, text, 1), 0);
    check_waiting(reader, 1, 3);
    /* then there is nothing left that could */
    ck_assert_int_eq(read_part(reader, "d", "NONE", 0, 3, "A", 1), 0);
    memset(text, 'A', 1000);
    ck_assert_int_eq(read_part(reader, "c", "NONE", 2, 3, text, 1), -1);
    check_waiting(reader, 0, 4);
    /* room is made for the last part of a message */
    memset(text, 'A', 915);
    text[915] = '\0';
    ck_assert_int_eq(read_part(reader, "d", "NONE", 0, 3, text, 1), 0);
    ck_assert_int_eq(read_part(reader, "e", "NONE", 0, 3, three[0], 1), 0);
    ck_assert_int_eq(read_part(reader, "e", "NONE", 1, 3, three[1], 1), 0);
    check_waiting(reader, 2, 4);
    ck_assert_int_eq(read_part(reader, "e", "NONE", 2, 3, three[2], 1), 1);
    check_waiting(reader, 0, 5);
    /* slots for parts count as well */
    ck_assert_int_eq(read_part(reader, "f", "NONE", 0, 10000, "A", 1), -1);
    check_waiting(reader, 0, 5);
}
END_TEST

START_TEST(expired)
{
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);

    ck_assert_int_eq(read_part(reader, "a", "NONE", 0, 3, three[0], 1000), 0);
    ck_assert_int_eq(read_part(reader, "b", "NONE", 0, 3, three[0], 2000), 0);
    ck_assert_int_eq(read_part(reader, "c", "NONE", 0, 3, three[0], 500), 0);
    ck_assert_int_eq(read_part(reader, "a", "NONE", 1, 3, three[1], 3000), 0);
    ck_assert_uint_eq(message_reader_expire(reader, 500), 0);
    ck_assert_uint_eq(message_reader_expire(reader, 1001), 2);
    check_waiting(reader, 1, 2);
    ck_assert_int_eq(read_part(reader, "a", "NONE", 2, 3, three[2], 3000), 0);
    ck_assert_int_eq(read_part(reader, "b", "NONE", 1, 3, three[1], 3000), 0);
    ck_assert_int_eq(read_part(reader, "b", "NONE", 2, 3, three[2], 3000), 1);
    check_waiting(reader, 1, 2);
}
END_TEST

/* What is packed in parts may be packed once more, but not twice. */
START_TEST(packed_in_parts)
{
    static const char packed[] = PACKED(GZIP_OF_V1);
    AUTO(buf_done) struct buf zipped = { .max = 10000 }, base64 = { .max = 10000 };

    base64_encode(SPAN_LITERAL(packed), &base64);
    for (int gzip = 0; gzip < 2; gzip++) {
        AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
        const char *kind = gzip ? "GZIP" : "NONE";

        if (gzip) {
            gzip_deflate(SPAN_LITERAL(packed), &zipped);
            buf_clear(&base64);
            base64_encode(buf_span(&zipped), &base64);
        }
        ck_assert_int_eq(read_part(reader, "a", kind, 1, 2, buf_text(&base64) + 51, 1), 0);
        base64.data[51] = '\0';
        ck_assert_int_eq(read_part(reader, "a", kind, 0, 2, base64.data, 1), 1);
    }
    buf_clear(&zipped);
    buf_clear(&base64);
    gzip_deflate(SPAN_LITERAL(PACKED(GZIP_OF_V1)), &zipped);
    base64_encode(buf_span(&zipped), &base64);
    {
        AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
        AUTO(mem_free) char *text = xasprintf(PACKED("%s"), buf_text(&base64));
        struct message message;
        struct err err = { 0 };

        ck_assert_int_eq(message_read(reader, span_of(text), 1, &message, &err), -1);
        ck_assert_str_eq(err.text, NOTHING);
    }
}
END_TEST

/* Nothing that was sent may become longer than a text may be. */
START_TEST(bounded)
{
    static const struct {
        size_t more;
        int rc;
        const char *whole, *packed;
    } cases[] = {
        { 0, 1, "", "" },
        { 1, -1, "message: 401 bytes, at most 400 are read",
          "message: more than 400 bytes are packed in it" },
    };
    const struct message_limits tight = { 400, 100, 10, 10000, 0 };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&tight);
        AUTO(mem_free)
        char *notification =
            notification_of(400 - strlen("{" V1 ",\"message\":}") + cases[i].more, false);
        AUTO(mem_free) char *text = xasprintf("{" V1 ",\"message\":%s}", notification);
        AUTO(buf_done) struct buf zipped = { .max = 1000 }, base64 = { .max = 1000 };
        AUTO(buf_done) struct buf packed = { .max = 1000 };
        struct message message;
        struct err err = { 0 };

        ck_assert_uint_eq(strlen(text), 400 + cases[i].more);
        ck_assert_int_eq(message_read(reader, span_of(text), 1, &message, &err), cases[i].rc);
        ck_assert_str_eq(err.text, cases[i].whole);
        message_done(&message);

        err = (struct err){ 0 };
        gzip_deflate(span_of(text), &zipped);
        base64_encode(buf_span(&zipped), &base64);
        buf_append_fmt(&packed, PACKED("%s"), buf_text(&base64));
        ck_assert_int_eq(message_read(reader, buf_span(&packed), 1, &message, &err), cases[i].rc);
        ck_assert_str_eq(err.text, cases[i].packed);
        message_done(&message);

        buf_clear(&base64);
        base64_encode(span_of(text), &base64);
        ck_assert_int_eq(read_part(reader, "a", "NONE", 2, 3, buf_text(&base64) + 400, 1), 0);
        base64.data[400] = '\0';
        ck_assert_int_eq(read_part(reader, "a", "NONE", 1, 3, base64.data + 200, 1), 0);
        base64.data[200] = '\0';
        ck_assert_int_eq(read_part(reader, "a", "NONE", 0, 3, base64.data, 1), cases[i].rc);
    }
}
END_TEST

Suite *message_suite(void); /* called from the table that tools/suites writes */

Suite *message_suite(void)
{
    Suite *suite = suite_create("atlas/message");
    TCase *tc = tcase_create("message");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, whole_text);
    tcase_add_test(tc, what_is_not_known_is_not_said);
    tcase_add_test(tc, cut_text);
    tcase_add_test(tc, limit_of_a_whole);
    tcase_add_test(tc, limit_of_bytes_not_characters);
    tcase_add_test(tc, limit_of_packed);
    tcase_add_loop_test(tc, comes_back, 0, 2);
    tcase_add_loop_test(tc, good_case, 0, LENGTH(good_cases));
    tcase_add_loop_test(tc, bad_case, 0, LENGTH(bad_cases));
    tcase_add_test(tc, parts_come_again);
    tcase_add_test(tc, parts_of_two_messages);
    tcase_add_test(tc, cut_in_another_way);
    tcase_add_test(tc, too_many_wait);
    tcase_add_test(tc, too_much_waits);
    tcase_add_test(tc, expired);
    tcase_add_test(tc, packed_in_parts);
    tcase_add_test(tc, bounded);
    suite_add_tcase(suite, tc);
    return suite;
}
