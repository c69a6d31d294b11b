#include "ingest_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "lines_internal.h"

enum {
    INGEST_LINE_BYTES_MAX = 16 << 20, /* the server's default for a body */
    INGEST_LINE_EXTRA_BYTES = 64,     /* the "event" that a bare row gets */
    INGEST_REJECTS_SHOWN = 100,
    INGEST_REJECT_TEXT_BYTES = 300,
    INGEST_PROGRESS_MS = 100,
    INGEST_WAIT_MS_MIN = 100,
    INGEST_WAIT_MS_MAX = 5000,
    INGEST_RETRY_AFTER_MS_MAX = 60000,
};

struct ingest_origin {
    const char *file; /* borrowed: argv */
    uint64_t line;
};

struct ingest {
    struct ingest_options options;
    struct client *client;         /* owned */
    struct client_answer answer;   /* the last one */
    struct buf batch;              /* NDJSON, `events` lines */
    struct buf packed;             /* the same, compressed */
    struct ingest_origin *origins; /* where each event stood; options.batch_events places */
    uint32_t events;
    bool has_identities; /* every event of the batch */
    struct ingest_counts counts;
    FILE *messages;
    bool is_terminal;
    int64_t begin_ms;
    int64_t drawn_ms;
};

struct ingest *ingest_new(const struct ingest_options *options, struct client *client,
                          FILE *messages, bool is_terminal)
{
    size_t bytes_max = (size_t)options->batch_bytes + INGEST_LINE_BYTES_MAX;
    struct ingest *ingest = xcalloc(1, sizeof(*ingest));

    ingest->options = *options;
    ingest->client = client;
    ingest->messages = messages;
    ingest->is_terminal = is_terminal;
    ingest->begin_ms = clock_mono_ms();
    ingest->has_identities = true;
    ingest->origins = xcalloc((size_t)options->batch_events, sizeof(*ingest->origins));
    buf_init(&ingest->batch, bytes_max + INGEST_LINE_EXTRA_BYTES);
    buf_init(&ingest->packed, compressBound(bytes_max + INGEST_LINE_EXTRA_BYTES) + 64);
    return ingest;
}

void ingest_free(struct ingest *ingest)
{
    if (!ingest)
        return;
    client_free(ingest->client);
    client_answer_done(&ingest->answer);
    buf_done(&ingest->batch);
    buf_done(&ingest->packed);
    free(ingest->origins);
    free(ingest);
}

struct ingest_counts ingest_counts(const struct ingest *ingest)
{
    return ingest->counts;
}

static double ingest_seconds(const struct ingest *ingest)
{
    int64_t ms = clock_mono_ms() - ingest->begin_ms;

    return ms > 0 ? (double)ms / 1000 : 0.001;
}

/* Takes the progress line away, so that a message has the line for itself. */
static void ingest_progress_clear(struct ingest *ingest)
{
    if (ingest->is_terminal && ingest->drawn_ms)
        (void)fputs("\r\033[K", ingest->messages);
    ingest->drawn_ms = 0;
}

static void ingest_progress(struct ingest *ingest, const char *state)
{
    const struct ingest_counts *counts = &ingest->counts;
    int64_t now = clock_mono_ms();

    if (!ingest->is_terminal || (ingest->drawn_ms && now < ingest->drawn_ms + INGEST_PROGRESS_MS))
        return;
    ingest->drawn_ms = now;
    (void)fprintf(ingest->messages,
                  "\r\033[K%" PRIu64 " events  %.1f MB  %.0f events/s  %" PRIu64 " rejected%s",
                  counts->events, (double)counts->bytes / 1e6,
                  (double)counts->events / ingest_seconds(ingest), counts->rejected, state);
    (void)fflush(ingest->messages);
}

void ingest_summary(struct ingest *ingest)
{
    const struct ingest_counts *counts = &ingest->counts;
    double seconds = ingest_seconds(ingest);

    ingest_progress_clear(ingest);
    if (counts->rejected > INGEST_REJECTS_SHOWN)
        (void)fprintf(ingest->messages, "... only the first %d rejected events are shown\n",
                      INGEST_REJECTS_SHOWN);
    (void)fprintf(ingest->messages,
                  "%" PRIu64 " events: %" PRIu64 " accepted, %" PRIu64 " duplicate, %" PRIu64
                  " rejected",
                  counts->events, counts->accepted, counts->duplicate, counts->rejected);
    if (counts->spooled)
        (void)fprintf(ingest->messages, ", %" PRIu64 " in the server's spool", counts->spooled);
    (void)fprintf(ingest->messages, "; %.1f MB in %.1f s, %.0f events/s\n",
                  (double)counts->bytes / 1e6, seconds, (double)counts->events / seconds);
}

static void ingest_reject(struct ingest *ingest, const struct ingest_origin *origin,
                          const char *code, const char *field, const char *message)
{
    char text[INGEST_REJECT_TEXT_BYTES];

    if (ingest->counts.rejected++ >= INGEST_REJECTS_SHOWN)
        return;
    (void)snprintf(text, sizeof(text), "%s%s%s %s", code, *field ? " " : "", field, message);
    client_clean(text);
    ingest_progress_clear(ingest);
    (void)fprintf(ingest->messages, "%s:%" PRIu64 ": %s\n", origin->file, origin->line, text);
}

/* "a.ndjson:1" or "a.ndjson:1 to b.ndjson:7": the events of the batch. */
static void ingest_batch_name(const struct ingest *ingest, char *name, size_t size)
{
    const struct ingest_origin *first = &ingest->origins[0];
    const struct ingest_origin *last = &ingest->origins[ingest->events - 1];

    if (ingest->events == 1)
        (void)snprintf(name, size, "%.128s:%" PRIu64, first->file, first->line);
    else
        (void)snprintf(name, size, "%.128s:%" PRIu64 " to %.128s:%" PRIu64, first->file,
                       first->line, last->file, last->line);
}

static const char *ingest_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static void ingest_count_rejects(struct ingest *ingest, const json_t *rejected, json_int_t count)
{
    uint64_t before = ingest->counts.rejected;
    const json_t *reject;
    size_t i;

    json_array_foreach(rejected, i, reject)
    {
        json_int_t index = json_integer_value(json_object_get(reject, "index"));

        if (index >= 0 && index < ingest->events)
            ingest_reject(ingest, &ingest->origins[index], ingest_text(reject, "code"),
                          ingest_text(reject, "field"), ingest_text(reject, "message"));
    }
    if (count >= 0 && (uint64_t)count > ingest->counts.rejected - before)
        ingest->counts.rejected = before + (uint64_t)count; /* the answer lists the first only */
}

/* Reads the receipt of a batch that was taken. */
static int ingest_count(struct ingest *ingest, struct err *err)
{
    const struct buf *body = &ingest->answer.body;
    json_t *root = json_loadb(body->len ? body->data : "", body->len, 0, NULL);
    const json_t *spooled = json_object_get(root, "spooled");
    const json_t *accepted = spooled ? spooled : json_object_get(root, "accepted");
    const json_t *rejected = json_object_get(root, "rejected");
    const json_t *count = json_object_get(root, "rejectedCount");

    if (!json_is_integer(accepted) || !json_is_array(rejected)) {
        json_decref(root);
        return err_set(err, ERR_INPUT,
                       "HTTP %ld without a receipt; is %s the address of plumbline?",
                       ingest->answer.status, client_url(ingest->client));
    }
    if (spooled)
        ingest->counts.spooled += (uint64_t)json_integer_value(spooled);
    else
        ingest->counts.accepted += (uint64_t)json_integer_value(accepted);
    ingest->counts.duplicate += (uint64_t)json_integer_value(json_object_get(root, "duplicate"));
    ingest_count_rejects(ingest, rejected, json_is_integer(count) ? json_integer_value(count) : -1);
    json_decref(root);
    return 0;
}

/* gzip, for Content-Encoding. The room was reserved for the largest batch. */
static struct span ingest_pack(struct ingest *ingest)
{
    z_stream stream = { 0 };
    size_t room;
    int rc;

    if (!ingest->options.gzip)
        return buf_span(&ingest->batch);
    rc = deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    if (rc != Z_OK)
        return buf_span(&ingest->batch);
    room = deflateBound(&stream, ingest->batch.len);
    buf_clear(&ingest->packed);
    stream.next_in = (Bytef *)ingest->batch.data;
    stream.avail_in = (uInt)ingest->batch.len;
    stream.next_out = (Bytef *)buf_reserve(&ingest->packed, room);
    stream.avail_out = (uInt)room;
    if (stream.next_out && deflate(&stream, Z_FINISH) == Z_STREAM_END)
        ingest->packed.len = stream.total_out;
    (void)deflateEnd(&stream);
    return ingest->packed.len ? buf_span(&ingest->packed) : buf_span(&ingest->batch);
}

static void ingest_sleep(int64_t ms)
{
    struct timespec wait = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    while (nanosleep(&wait, &wait) < 0 && errno == EINTR)
        ;
}

/* Waits before the next attempt; -1 when there is no time for one. Says once per batch that it
 * waits. */
static int ingest_wait(struct ingest *ingest, unsigned attempt, int64_t deadline_ms,
                       const struct err *why)
{
    int64_t wait = ingest->answer.retry_after_ms;

    if (wait <= 0)
        wait = attempt < 6 ? (int64_t)INGEST_WAIT_MS_MIN << attempt : INGEST_WAIT_MS_MAX;
    if (wait > INGEST_RETRY_AFTER_MS_MAX)
        wait = INGEST_RETRY_AFTER_MS_MAX;
    if (clock_mono_ms() + wait > deadline_ms)
        return -1;
    if (attempt == 0) {
        ingest_progress_clear(ingest);
        (void)fprintf(ingest->messages, "%s; trying again\n", why->text);
    }
    ingest_progress(ingest, "  waiting");
    ingest_sleep(wait);
    return 0;
}

/* One attempt. 1: the batch is done with. 0: it can be sent again, *err says why. -1: it can't. */
static int ingest_attempt(struct ingest *ingest, struct span body, struct err *err)
{
    const struct client_request request = {
        .path = "/v1/events",
        .content_type = "application/x-ndjson",
        .gzip = body.data != ingest->batch.data,
        .no_reuse = !ingest->has_identities && !ingest->options.retry_unsure,
        .body = body,
    };
    struct client_answer *answer = &ingest->answer;
    char name[512];

    ingest_batch_name(ingest, name, sizeof(name));
    switch (client_post(ingest->client, &request, answer, err)) {
    case CLIENT_NOT_SENT:
        return 0;
    case CLIENT_UNSURE:
        if (ingest->has_identities || ingest->options.retry_unsure)
            return 0;
        (void)err_prefix(err,
                         "%s may or may not be stored, and would count twice if sent again "
                         "(--retry-unsure does it all the same): ",
                         name);
        return -1;
    case CLIENT_ANSWERED:
        break;
    }
    if (answer->status == 200 || answer->status == 202)
        return ingest_count(ingest, err) < 0 ? -1 : 1;
    (void)client_answer_error(answer, err);
    if (answer->status == 429 || answer->status == 503)
        return 0;
    (void)err_prefix(err, "%s: ", name);
    return -1;
}

/* Sends the batch until it is answered, and empties it. */
static int ingest_flush(struct ingest *ingest, struct err *err)
{
    int64_t deadline_ms = clock_mono_ms() + ingest->options.retry_for_ms;
    struct span body;
    int rc;

    if (ingest->events == 0)
        return 0;
    body = ingest_pack(ingest);
    for (unsigned attempt = 0; (rc = ingest_attempt(ingest, body, err)) == 0; attempt++) {
        char name[512];

        if (ingest_wait(ingest, attempt, deadline_ms, err) == 0)
            continue;
        ingest_batch_name(ingest, name, sizeof(name));
        return err_prefix(err, "gave up at %s: ", name);
    }
    if (rc < 0)
        return -1;
    buf_clear(&ingest->batch);
    ingest->events = 0;
    ingest->has_identities = true;
    ingest_progress(ingest, "");
    return 0;
}

int ingest_finish(struct ingest *ingest, struct err *err)
{
    return ingest_flush(ingest, err);
}

static bool ingest_line_is_empty(struct span line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (!strchr(" \t\r", line.data[i]) || !line.data[i])
            return false;
    }
    return true;
}

static int ingest_line(struct ingest *ingest, const struct ingest_origin *origin, struct span line,
                       struct err *err)
{
    size_t bytes = line.len + INGEST_LINE_EXTRA_BYTES;

    if (ingest->batch.len + bytes > (size_t)ingest->options.batch_bytes &&
        ingest_flush(ingest, err) < 0)
        return -1;
    ingest->counts.events++;
    ingest->counts.bytes += line.len;
    ingest->has_identities &= ingest_event_write(&ingest->batch, line);
    ingest->origins[ingest->events++] = *origin;
    return ingest->events < ingest->options.batch_events ? 0 : ingest_flush(ingest, err);
}

static int ingest_lines(struct ingest *ingest, const char *name, struct lines *lines,
                        struct err *err)
{
    struct span line;
    bool too_long;
    int rc;

    while ((rc = lines_next(lines, &line, &too_long, err)) > 0) {
        const struct ingest_origin origin = { name, lines->number };

        if (too_long) {
            ingest->counts.events++;
            ingest_reject(ingest, &origin, "too_large", "",
                          "the line is longer than a request may be (16777216 bytes)");
        } else if (!ingest_line_is_empty(line) && ingest_line(ingest, &origin, line, err) < 0) {
            return -1;
        }
    }
    return rc < 0 ? err_prefix(err, "cannot read %s: ", name) : 0;
}

int ingest_file(struct ingest *ingest, const char *path, struct err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC), rc;
    struct lines lines;

    if (fd < 0)
        return err_set(err, ERR_INPUT, "cannot read %s: %s", path, strerror(errno));
    lines_init(&lines, fd, INGEST_LINE_BYTES_MAX);
    rc = ingest_lines(ingest, is_stdin ? "standard input" : path, &lines, err);
    lines_done(&lines);
    if (!is_stdin)
        (void)close(fd);
    return rc;
}
