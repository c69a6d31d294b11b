#include "spool_segment_internal.h"

#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"

static const char spool_magic[8] = "plumspl\n";
static const char spool_chunk_magic[4] = "chnk";

enum { SPOOL_HEAD_CRC_AT = 40, SPOOL_CHUNK_CRC_AT = 104, SPOOL_RECORD_CRC_AT = 12 };

/* -------------------------------------------------------------------------------------- writing */

static void spool_put_u32(char *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

static void spool_put_u64(char *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof(value));
}

static uint32_t spool_get_u32(const char *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

static uint64_t spool_get_u64(const char *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return le64toh(value);
}

static void spool_put_id(char *at, const struct spool_id *id)
{
    memcpy(at, id->key.bytes, sizeof(id->key.bytes));
    spool_put_u64(at + sizeof(id->key.bytes), (uint64_t)id->formed_ms);
}

static void spool_get_id(const char *at, struct spool_id *id)
{
    memcpy(id->key.bytes, at, sizeof(id->key.bytes));
    id->formed_ms = (int64_t)spool_get_u64(at + sizeof(id->key.bytes));
}

void spool_head_write(struct buf *out, const struct spool_id *id)
{
    char head[SPOOL_HEAD_BYTES];

    memcpy(head, spool_magic, sizeof(spool_magic));
    spool_put_u32(head + 8, SPOOL_VERSION);
    spool_put_u32(head + 12, SPOOL_HEAD_BYTES);
    spool_put_id(head + 16, id);
    spool_put_u32(head + SPOOL_HEAD_CRC_AT, crc32c(0, head, SPOOL_HEAD_CRC_AT));
    buf_append(out, head, sizeof(head));
}

size_t spool_chunk_begin(struct buf *out)
{
    static const char room[SPOOL_CHUNK_BYTES];
    size_t place = out->len;

    buf_append(out, room, sizeof(room));
    return place;
}

void spool_chunk_end(struct buf *out, size_t place, struct spool_chunk *chunk)
{
    char *head = out->data + place;

    assert(!out->full);
    chunk->bytes = out->len - place - SPOOL_CHUNK_BYTES;
    memcpy(head, spool_chunk_magic, sizeof(spool_chunk_magic));
    spool_put_u32(head + 4, chunk->records);
    spool_put_u64(head + 8, chunk->bytes);
    spool_put_id(head + 16, &chunk->id);
    for (size_t kind = 0; kind < EVENT_KINDS; kind++) {
        spool_put_u32(head + 40 + 4 * kind, chunk->received[kind]);
        spool_put_u32(head + 72 + 4 * kind, chunk->rejected[kind]);
    }
    spool_put_u32(head + SPOOL_CHUNK_CRC_AT, crc32c(0, head, SPOOL_CHUNK_CRC_AT));
}

static void spool_member_text(struct buf *out, const char *name, struct span text)
{
    if (!text.data)
        return;
    buf_append_fmt(out, ",\"%s\":", name);
    buf_append_json(out, text);
}

static void spool_member_uuid(struct buf *out, const char *name, const struct uuid *uuid)
{
    char text[UUID_TEXT_LEN + 1];

    uuid_format(uuid, text);
    buf_append_fmt(out, ",\"%s\":\"%s\"", name, text);
}

void spool_event_write(struct buf *out, const struct event *event)
{
    bool is_label = event->kind == EVENT_DELAYED_METRICS;

    buf_append_fmt(out, "{\"event\":\"%s\"", event_kind_name(event->kind));
    spool_member_text(out, "modelDeploymentCrn", event->deployment_crn);
    spool_member_text(out, "modelBuildCrn", event->build_crn);
    spool_member_text(out, "modelCrn", event->model_crn);
    if (event->kind != EVENT_AGGREGATE_METRICS)
        spool_member_uuid(out, "predictionUuid", &event->uuid);
    if (event->has_event_id)
        spool_member_uuid(out, "eventId", &event->event_id);
    if (!is_label || event->has_start)
        buf_append_fmt(out, ",\"startTimestampMs\":%" PRId64, event->start_ms);
    if (!is_label)
        buf_append_fmt(out, ",\"endTimestampMs\":%" PRId64, event->end_ms);
    spool_member_text(out, "replica", event->replica);
    if (event->failed)
        buf_append_text(out, ",\"failed\":true");
    buf_append_text(out, ",\"metrics\":");
    buf_append_span(out, event->metrics);
    buf_append_char(out, '}');
}

static uint32_t spool_record_crc(const char *head, struct span event)
{
    return crc32c(crc32c(0, head, SPOOL_RECORD_CRC_AT), event.data, event.len);
}

void spool_record_write(struct buf *out, int64_t received_ms, const struct event *event)
{
    static const char room[SPOOL_RECORD_BYTES];
    size_t place = out->len, len;
    char *head;

    buf_append(out, room, sizeof(room));
    spool_event_write(out, event);
    assert(!out->full);
    head = out->data + place;
    len = out->len - place - SPOOL_RECORD_BYTES;
    spool_put_u32(head, (uint32_t)len);
    spool_put_u64(head + 4, (uint64_t)received_ms);
    spool_put_u32(head + SPOOL_RECORD_CRC_AT,
                  spool_record_crc(head, (struct span){ head + SPOOL_RECORD_BYTES, len }));
}

/* -------------------------------------------------------------------------------------- reading */

int spool_head_read(struct span image, struct spool_id *id, struct err *err)
{
    uint32_t version;

    if (image.len < SPOOL_HEAD_BYTES || memcmp(image.data, spool_magic, sizeof(spool_magic)) != 0)
        return 0;
    version = spool_get_u32(image.data + 8);
    if (version > SPOOL_VERSION) { /* its checksum is where that version has it */
        uint32_t bytes = spool_get_u32(image.data + 12);

        if (bytes < SPOOL_HEAD_BYTES || bytes > image.len ||
            spool_get_u32(image.data + bytes - 4) != crc32c(0, image.data, bytes - 4))
            return 0;
        return err_set(err, ERR_FATAL, "it has format %" PRIu32 ", this version reads up to %d",
                       version, SPOOL_VERSION);
    }
    if (spool_get_u32(image.data + SPOOL_HEAD_CRC_AT) != crc32c(0, image.data, SPOOL_HEAD_CRC_AT))
        return 0;
    spool_get_id(image.data + 16, id);
    return 1;
}

bool spool_chunk_read(struct span image, struct spool_chunk *chunk)
{
    const char *head = image.data;

    if (image.len < SPOOL_CHUNK_BYTES ||
        memcmp(head, spool_chunk_magic, sizeof(spool_chunk_magic)) != 0 ||
        spool_get_u32(head + SPOOL_CHUNK_CRC_AT) != crc32c(0, head, SPOOL_CHUNK_CRC_AT))
        return false;
    chunk->records = spool_get_u32(head + 4);
    chunk->bytes = spool_get_u64(head + 8);
    spool_get_id(head + 16, &chunk->id);
    for (size_t kind = 0; kind < EVENT_KINDS; kind++) {
        chunk->received[kind] = spool_get_u32(head + 40 + 4 * kind);
        chunk->rejected[kind] = spool_get_u32(head + 72 + 4 * kind);
    }
    return true;
}

static bool spool_record_read(struct span image, struct spool_record *record)
{
    struct span event;

    if (image.len <= SPOOL_RECORD_BYTES || image.data[SPOOL_RECORD_BYTES] != '{')
        return false;
    event = (struct span){ image.data + SPOOL_RECORD_BYTES, spool_get_u32(image.data) };
    if (event.len == 0 || event.len > image.len - SPOOL_RECORD_BYTES ||
        spool_get_u32(image.data + SPOOL_RECORD_CRC_AT) != spool_record_crc(image.data, event))
        return false;
    record->len = (uint32_t)event.len;
    record->received_ms = (int64_t)spool_get_u64(image.data + 4);
    return true;
}

static void spool_record_add(struct spool_segment *segment, const struct spool_record *record)
{
    if (segment->records_len == segment->records_cap) {
        segment->records_cap = segment->records_cap ? segment->records_cap * 2 : 64;
        segment->records =
            xreallocarray(segment->records, segment->records_cap, sizeof(*segment->records));
    }
    segment->records[segment->records_len++] = *record;
}

static void spool_damage_add(struct spool_segment *segment, size_t at, size_t len)
{
    if (segment->damages_len == segment->damages_cap) {
        segment->damages_cap = segment->damages_cap ? segment->damages_cap * 2 : 4;
        segment->damages =
            xreallocarray(segment->damages, segment->damages_cap, sizeof(*segment->damages));
    }
    segment->damages[segment->damages_len++] = (struct spool_damage){ at, len };
}

/* Where the reading is. */
struct spool_walk {
    struct spool_segment *segment;
    struct span image;
    size_t at;
    size_t chunk_end; /* of the chunk whose head was read last */
    bool has_id;
};

static struct span spool_walk_rest(const struct spool_walk *walk, size_t at, size_t end)
{
    return (struct span){ walk->image.data + at, end - at };
}

static void spool_walk_chunk(struct spool_walk *walk, const struct spool_chunk *chunk)
{
    struct spool_segment *segment = walk->segment;

    walk->at += SPOOL_CHUNK_BYTES;
    walk->chunk_end = walk->at + chunk->bytes;
    if (!walk->has_id)
        segment->id = chunk->id;
    walk->has_id = true;
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        segment->received[kind] += chunk->received[kind];
        segment->rejected[kind] += chunk->rejected[kind];
    }
}

/* A chunk begins there, and is there as a whole. */
static bool spool_walk_is_chunk(const struct spool_walk *walk, size_t at, struct spool_chunk *chunk)
{
    struct span rest = spool_walk_rest(walk, at, walk->image.len);

    return spool_chunk_read(rest, chunk) && chunk->bytes <= rest.len - SPOOL_CHUNK_BYTES;
}

/* What begins at the place is neither: goes on to where something does, inside a chunk not beyond
 * its end. false: nothing does, and the rest was never finished. */
static bool spool_walk_skip(struct spool_walk *walk)
{
    size_t from = walk->at, end = from < walk->chunk_end ? walk->chunk_end : walk->image.len;
    bool is_between = from >= walk->chunk_end;
    struct spool_record record;
    struct spool_chunk chunk;

    for (walk->at++; walk->at < end; walk->at++) {
        if ((is_between && spool_walk_is_chunk(walk, walk->at, &chunk)) ||
            spool_record_read(spool_walk_rest(walk, walk->at, end), &record))
            break;
    }
    if (is_between && walk->at >= end) {
        walk->at = from;
        return false;
    }
    if (is_between)
        walk->segment->heads_damaged++;
    /* no event is lost where no more than a chunk head is */
    if (!is_between || walk->at - from != SPOOL_CHUNK_BYTES)
        spool_damage_add(walk->segment, from, walk->at - from);
    return true;
}

/* false: at the end of what is whole. */
static bool spool_walk_step(struct spool_walk *walk)
{
    bool is_inside = walk->at < walk->chunk_end;
    struct spool_record record;
    struct spool_chunk chunk;
    struct span rest;

    if (walk->at == walk->image.len)
        return false;
    if (!is_inside && spool_walk_is_chunk(walk, walk->at, &chunk)) {
        spool_walk_chunk(walk, &chunk);
        return true;
    }
    rest = spool_walk_rest(walk, walk->at, walk->image.len);
    if (!is_inside && spool_chunk_read(rest, &chunk))
        return false; /* its end is missing */
    rest = spool_walk_rest(walk, walk->at, is_inside ? walk->chunk_end : walk->image.len);
    /* behind a head that is lost there are records as well */
    if (!(is_inside || walk->segment->heads_damaged) || !spool_record_read(rest, &record))
        return spool_walk_skip(walk);
    record.at = walk->at + SPOOL_RECORD_BYTES;
    spool_record_add(walk->segment, &record);
    walk->at = record.at + record.len;
    return true;
}

int spool_segment_read(struct spool_segment *segment, struct span image, struct err *err)
{
    struct spool_walk walk = { .segment = segment, .image = image };
    int rc;

    *segment = (struct spool_segment){ 0 };
    if (image.len < SPOOL_HEAD_BYTES)
        return 0;
    rc = spool_head_read(image, &segment->id, err);
    if (rc < 0)
        return -1;
    walk.has_id = rc > 0;
    segment->heads_damaged = rc == 0;
    walk.at = walk.chunk_end = SPOOL_HEAD_BYTES;
    while (spool_walk_step(&walk))
        continue;
    segment->whole_bytes = walk.at;
    if (!walk.has_id) { /* the same each time it is read */
        uuid_named(&segment->id.key, (struct span){ image.data, walk.at });
        segment->id.formed_ms = segment->records_len ? segment->records[0].received_ms : 0;
    }
    return 0;
}

void spool_segment_done(struct spool_segment *segment)
{
    free(segment->records);
    free(segment->damages);
    *segment = (struct spool_segment){ 0 };
}
