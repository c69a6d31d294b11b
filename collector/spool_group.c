/* A group of the spool as a submission: from the bytes of its file to what a committer takes. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/random.h"
#include "spool_internal.h"
#include "spool_segment_internal.h"

enum { SPOOL_DEPTH_MAX = 1024 }; /* the most that json_depth_max can be */

static void spool_group_done(struct submission *submission)
{
    (void)submission; /* nobody waits for it */
}

static void spool_reject_add(struct spool_group *group, const struct spool_reject *reject)
{
    group->rejects =
        xreallocarray(group->rejects, group->rejects_len + (size_t)1, sizeof(*group->rejects));
    group->rejects[group->rejects_len++] = *reject;
}

/* What is damaged is kept apart, before the records move over it. */
static void spool_group_keep_damaged(struct spool_group *group, const char *image,
                                     const struct spool_segment *segment)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < segment->damages_len; i++)
        bytes += segment->damages[i].len;
    if (!bytes)
        return;
    group->damaged = xmalloc(bytes);
    bytes = 0;
    for (uint32_t i = 0; i < segment->damages_len; i++) {
        const struct spool_damage *damage = &segment->damages[i];
        char *kept = group->damaged + bytes;

        memcpy(kept, image + damage->at, damage->len);
        bytes += damage->len;
        spool_reject_add(group, &(struct spool_reject){
                                    .at = damage->at,
                                    .received_ms = segment->id.formed_ms,
                                    .code = "damaged",
                                    .why = xstrdup("the bytes on disk are not those that "
                                                   "were written: the checksum is wrong"),
                                    .bytes = { kept, damage->len } });
    }
}

/* The records one behind the other, a line each: NDJSON. Its length. */
static size_t spool_group_join(struct spool_group *group, char *image,
                               const struct spool_segment *segment)
{
    size_t len = 0;

    group->places = xcalloc(segment->records_len, sizeof(*group->places));
    group->places_len = segment->records_len;
    for (uint32_t i = 0; i < segment->records_len; i++) {
        const struct spool_record *record = &segment->records[i];

        group->places[i] =
            (struct spool_place){ record->at - SPOOL_RECORD_BYTES, record->received_ms };
        memmove(image + len, image + record->at, record->len);
        len += record->len;
        image[len++] = '\n';
    }
    return len;
}

/* What was taken once is checked no more, only read. */
static void spool_group_decode(struct event_list *list, char *text, size_t len)
{
    static const struct event_limits limits = {
        .metrics_bytes_max = SIZE_MAX,
        .events_max = SIZE_MAX,
        .memory_bytes_max = SIZE_MAX,
        .depth_max = SPOOL_DEPTH_MAX,
        .time_ms_min = INT64_MIN,
        .time_ms_max = INT64_MAX,
    };
    AUTO(event_decoder_free) struct event_decoder *decoder = NULL;
    struct err err = { 0 };
    uint64_t seed;
    int rc;

    if (!len)
        return;
    random_fill(&seed, sizeof(seed));
    decoder = event_decoder_new(seed);
    rc = event_decode(decoder, text, len, EVENT_FORMAT_NDJSON, &limits, list, &err);
    assert(rc == 0 && "lines are read one by one");
}

/* The records that are no event of this version: between the indexes of those that are. */
static void spool_group_reject_undecoded(struct spool_group *group, const char *text,
                                         const struct spool_segment *segment)
{
    const struct event_list *list = &group->submission->list;
    uint32_t next = 0;
    size_t at = 0;

    for (uint32_t i = 0; i < segment->records_len; at += segment->records[i++].len + 1) {
        struct spool_reject reject = { .at = group->places[i].at,
                                       .received_ms = group->places[i].received_ms,
                                       .code = "invalid",
                                       .bytes = { text + at, segment->records[i].len } };
        const char *why = "the event is none that this version knows";

        if (next < list->len && list->events[next].index == i) {
            next++;
            continue;
        }
        for (uint32_t j = 0; j < list->rejects.len; j++) {
            if (list->rejects.items[j].index == i) {
                reject.code = list->rejects.items[j].code;
                why = list->rejects.items[j].message;
            }
        }
        reject.why = xstrdup(why);
        spool_reject_add(group, &reject);
    }
}

/* The books of the group: what was received then, what was answered as rejected then, and what is
 * lost now. */
static void spool_group_count(struct event_list *list, const struct spool_segment *segment)
{
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        uint64_t answered = segment->rejected[kind];
        uint64_t kept = segment->received[kind] - answered;
        uint64_t missing = kept > list->received[kind] ? kept - list->received[kind] : 0;

        list->received[kind] += (uint32_t)(answered + missing);
        list->rejected[kind] += (uint32_t)(answered + missing);
    }
}

struct spool_group *spool_group_new(char *image, size_t len, uint64_t number, struct err *err)
{
    AUTO(mem_free) char *body = image;
    AUTO(spool_segment_done) struct spool_segment segment;
    struct spool_group *group;

    if (spool_segment_read(&segment, (struct span){ image, len }, err) < 0)
        return NULL;
    group = xcalloc(1, sizeof(*group));
    group->number = number;
    group->key = segment.id.key;
    group->formed_ms = segment.id.formed_ms;
    group->submission = xcalloc(1, sizeof(*group->submission));
    group->submission->group = group;
    group->submission->done = spool_group_done;
    group->submission->deadline_mono_ms = INT64_MAX;
    spool_group_keep_damaged(group, image, &segment);
    len = spool_group_join(group, image, &segment);
    spool_group_decode(&group->submission->list, image, len);
    spool_group_reject_undecoded(group, image, &segment);
    spool_group_count(&group->submission->list, &segment);
    group->events = group->submission->list.len;
    group->submission->body = TAKE(body);
    return group;
}

void spool_group_free(struct spool_group *group)
{
    if (!group)
        return;
    for (uint32_t i = 0; i < group->rejects_len; i++)
        free(group->rejects[i].why);
    submission_free(group->submission);
    free(group->damaged);
    free(group->rejects);
    free(group->places);
    free(group);
}

void spool_origin_write(const struct spool_group *group, size_t at, int64_t received_ms,
                        struct buf *out)
{
    char name[SPOOL_NAME_BYTES];

    spool_file_name(group->number, name);
    buf_append_fmt(out, "{\"file\":\"%s\",\"at\":%zu,\"receivedMs\":%" PRId64 "}", name, at,
                   received_ms);
}
