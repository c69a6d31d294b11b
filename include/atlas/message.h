/* Lineage messages as Atlas and its hooks exchange them over Kafka. A notification, the JSON that
 * says what happened, travels in an envelope (members in this order, those of the first line only
 * where they are known):
 *
 *     {"source":{"source":"hook","version":"1.0"},
 *      "version":{"version":"1.0.0","versionParts":[1]},
 *      "msgCompressionKind":"NONE","msgSplitIdx":1,"msgSplitCount":1,
 *      "msgSourceIP":"10.0.0.7","msgCreatedBy":"","msgCreationTime":1700000000000,
 *      "spooled":false,"message":{...}}
 *
 * When the envelope has more bytes than the limit, it is packed whole, gzip and base64, and when
 * that has more again it is cut into parts, numbered from 0:
 *
 *     {"version":...,"msgId":"x_1","msgCompressionKind":"GZIP","msgSplitIdx":1,"msgSplitCount":1,
 *      "message":"<base64>"}
 *     {"version":...,"msgId":"x_2","msgCompressionKind":"GZIP","msgSplitIdx":0,"msgSplitCount":2,
 *      "message":"<base64, the first part>"}
 *
 * It is the base64 that is cut, so no character is. Without compression the parts are those of
 * base64 alone and the kind is NONE; nothing is packed then that is not cut.
 *
 * Pure. */
#ifndef ATLAS_MESSAGE_H
#define ATLAS_MESSAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

enum {
    MESSAGE_BYTES_MAX = 1000 * 1000, /* Atlas's default for atlas.notification.message.max.length */
    MESSAGE_ENVELOPE_BYTES = 512,    /* what Atlas keeps of it for the envelope of a part */
    MESSAGE_ID_PREFIX_BYTES_MAX = 256,
};

/* What an envelope says besides the notification. */
struct message_head {
    struct span source; /* name and version of the sender; without a name neither is said */
    struct span source_version;
    struct span source_ip;  /* NULL data: not said */
    struct span created_by; /* NULL data: not said */
    int64_t created_ms;
    struct span
        id_prefix; /* ASCII; a message that is packed has the msgId "<id_prefix>_<number>" */
    uint64_t number;
};

struct message_parts {
    struct buf *items; /* owned: one Kafka message each, in the order in which they must be sent */
    size_t len;
};

/* Writes `notification` (a JSON object, below 1 GiB, taken over byte for byte) as one message, or
 * packed, or cut. Each has at most bytes_max bytes, which is more than MESSAGE_ENVELOPE_BYTES; the
 * limit for what is packed and cut is bytes_max without these. `parts` is made new. The same
 * arguments always give the same bytes. */
void message_write(const struct message_head *head, struct span notification, size_t bytes_max,
                   bool compresses, struct message_parts *parts);
void message_parts_done(struct message_parts *parts);

struct message_limits {
    size_t text_bytes_max;    /* of one message, as it came and unpacked; its JSON takes more */
    size_t parts_max;         /* of one message */
    size_t waiting_max;       /* messages whose parts are not all there, at least 1 */
    size_t waiting_bytes_max; /* what they take together */
    size_t cost_max;          /* message_cost of a text that is read; 0: any */
};

/* No less than what reading the text takes, and the copies of what is in it: a byte may be a
 * value. */
size_t message_cost(struct span text);

/* What a message says of itself before it is read. */
struct message_label {
    const char *id; /* borrowed from the message; NULL: not said */
    bool is_gzip;
    size_t index, count; /* count above 1: it is a part, numbered from 0 */
};

/* The JSON object that the text of a message is; owned. NULL, ERR_INPUT, with *is_too_large: a
 * limit is in the way. */
json_t *message_parse(const struct message_limits *limits, struct span text, bool *is_too_large,
                      struct err *err) MUST_CHECK;
/* -1, ERR_INPUT: nothing that message_read could read. */
int message_look(const struct message_limits *limits, const json_t *root,
                 struct message_label *label, struct err *err) MUST_CHECK;

/* Reads messages and keeps parts until the others have come, in whatever order. */
struct message_reader;

/* Owned. */
struct message_reader *message_reader_new(const struct message_limits *limits);
void message_reader_free(struct message_reader *reader);
AUTO_DEFINE(struct message_reader, message_reader_free);

struct message {
    json_t *root;         /* owned */
    json_t *notification; /* an object; this and the texts are borrowed from root */
    bool is_bare;         /* a notification without an envelope, as very old hooks send it */
    const char *source;   /* NULL: not said; the same for the other two */
    const char *source_ip;
    const char *created_by;
    int64_t created_ms; /* 0: not said */
    bool is_too_large;  /* with -1: a limit is in the way */
};

/* 1: *message is whole. 0: `text` is a part and was kept, in place of the same part if that was
 * there; others are missing. -1, ERR_INPUT: it can't be read, or its version is later than 1.0.0;
 * err names the reason but quotes nothing of the text. *message is empty unless 1 is returned, but
 * for is_too_large.
 * Where parts would take more than they may, those of the message that has been waiting for longest
 * are dropped; a part that does not fit all the same is refused together with the others of its
 * message. */
int message_read(struct message_reader *reader, struct span text, int64_t now_ms,
                 struct message *message, struct err *err) MUST_CHECK;
/* The same for a text that was parsed. `root` is borrowed. */
int message_read_json(struct message_reader *reader, json_t *root, int64_t now_ms,
                      struct message *message, struct err *err) MUST_CHECK;
/* Reads what the texts of all parts are, one behind the other, and empties `joined` as soon as it
 * can. 1 or -1 as above. */
int message_read_joined(const struct message_reader *reader, struct buf *joined, bool is_gzip,
                        struct message *message, struct err *err) MUST_CHECK;
void message_done(struct message *message);
static inline void message_done_auto(struct message *message) /* AUTO(message_done) */
{
    message_done(message);
}

/* Drops messages whose first part came before `before_ms`, and returns how many. */
size_t message_reader_expire(struct message_reader *reader, int64_t before_ms);

struct message_waiting {
    size_t messages;
    size_t bytes;
    uint64_t dropped; /* messages, since the reader was made: expired, to make room, or replaced by
                         one with the same msgId that is cut in another way */
};

struct message_waiting message_reader_waiting(const struct message_reader *reader);

#endif
