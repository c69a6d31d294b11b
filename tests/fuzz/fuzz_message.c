/* Fuzzing the reader of lineage messages. The first byte chooses:
 *
 *     even  every line is a message for one reader with narrow limits
 *     odd   a notification: written with the limit in the second byte, it must come back, whatever
 *           the order of its parts */
#include <stdlib.h>
#include <string.h>

#include "../harness/dice.h"
#include "atlas/message.h"
#include "fuzz.h"

enum { FUZZ_NOTIFICATION_BYTES_MAX = 1500 };

static void fuzz_expect(bool is_true)
{
    if (!is_true)
        abort();
}

/* A line in memory of its own, so that the sanitizer sees a byte too far. */
static void fuzz_line(struct message_reader *reader, const struct message_limits *limits,
                      struct span line, int64_t now_ms)
{
    char *copy = malloc(line.len ? line.len : 1);
    struct message_waiting waiting;
    struct message message;
    struct err err = { 0 };
    int rc;

    fuzz_expect(copy != NULL);
    if (line.len)
        memcpy(copy, line.data, line.len);
    rc = message_read(reader, (struct span){ copy, line.len }, now_ms, &message, &err);
    free(copy);
    fuzz_expect((rc < 0) == (err.kind == ERR_INPUT) && (rc < 0) == (*err.text != '\0'));
    fuzz_expect((rc == 1) == json_is_object(message.notification));
    fuzz_expect((rc == 1) == (message.root != NULL));
    message_done(&message);
    waiting = message_reader_waiting(reader);
    fuzz_expect(waiting.messages <= limits->waiting_max);
    fuzz_expect(waiting.bytes <= limits->waiting_bytes_max);
    fuzz_expect((waiting.messages == 0) == (waiting.bytes == 0));
}

static void fuzz_lines(struct span lines)
{
    static const struct message_limits limits = {
        .text_bytes_max = 2000, .parts_max = 20, .waiting_max = 3, .waiting_bytes_max = 700
    };
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
    const char *end = lines.data + lines.len;

    for (int64_t now_ms = 0; lines.data < end; now_ms++) {
        const char *newline = memchr(lines.data, '\n', (size_t)(end - lines.data));
        const char *stop = newline ? newline : end;

        fuzz_line(reader, &limits, (struct span){ lines.data, (size_t)(stop - lines.data) },
                  now_ms);
        lines.data = newline ? newline + 1 : end;
        if (now_ms % 8 == 7)
            (void)message_reader_expire(reader, now_ms - 4);
    }
}

static void fuzz_notification(struct span text, uint8_t limit, bool compresses)
{
    static const struct message_limits limits = { .text_bytes_max = 1 << 20,
                                                  .parts_max = 10000,
                                                  .waiting_max = 1,
                                                  .waiting_bytes_max = 1 << 20 };
    static const struct message_head head = { .id_prefix = { "fuzz", 4 } };
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
    json_auto_t *notification = json_loadb(text.data, text.len, 0, NULL);
    struct message message = { 0 };
    struct message_parts parts;
    uint64_t seed = limit;
    struct err err;

    if (!json_is_object(notification) || text.len > FUZZ_NOTIFICATION_BYTES_MAX)
        return;
    message_write(&head, text, MESSAGE_ENVELOPE_BYTES + 1U + limit, compresses, &parts);
    for (size_t left = parts.len; left > 0; left--) {
        size_t at = dice_roll(&seed, (uint32_t)left);
        struct buf part = parts.items[at];

        fuzz_expect(message_read(reader, buf_span(&part), 0, &message, &err) == (left == 1));
        parts.items[at] = parts.items[left - 1];
        parts.items[left - 1] = part;
    }
    fuzz_expect(json_equal(message.notification, notification));
    message_done(&message);
    message_parts_done(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    if (data[0] % 2 == 0)
        fuzz_lines((struct span){ (const char *)data + 1, size - 1 });
    else
        fuzz_notification((struct span){ (const char *)data + 2, size - 2 }, data[1],
                          data[0] % 4 == 3);
    return 0;
}
