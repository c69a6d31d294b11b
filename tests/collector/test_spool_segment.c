/* The bytes of a segment: what is written is read, torn anywhere or with any byte flipped. */
#include "collector/spool_segment_internal.h"

#include <check.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"

Suite *spool_segment_suite(void);

static const struct spool_id id = { { { 1, 2, 3, 4 } }, 1700000000123 };

enum { CHUNKS = 3, RECORDS = 4 };

/* Of different lengths, so that what stands behind never fits by chance. */
static struct event event_example(int number)
{
    static const char *const metrics[] = { "{\"a\":0.10}", "{\"long name\":[1e22,\"\\u00e9\",{}]}",
                                           "{}", "{\"text\":\"one\\ntwo\"}" };
    struct event event = {
        .kind = number % 3 == 0   ? EVENT_TRACK_METRICS
                : number % 3 == 1 ? EVENT_DELAYED_METRICS
                                  : EVENT_AGGREGATE_METRICS,
        .uuid = { { 9, (uint8_t)number } },
        .start_ms = 1600000000000 + number,
        .end_ms = 1600000000000 + 2 * number,
        .deployment_crn = SPAN_LITERAL("crn:of \"quotes\" and \t and \xc3\xa9"),
        .metrics = span_of(metrics[number % 4]),
    };

    if (event.kind == EVENT_DELAYED_METRICS)
        event.has_start = number % 2;
    return event;
}

/* Three chunks; places[i] is where chunk i begins, the last one the end. */
static void segment_example(struct buf *out, size_t places[CHUNKS + 1])
{
    buf_init(out, SIZE_MAX);
    spool_head_write(out, &id);
    for (int i = 0; i < CHUNKS; i++) {
        struct spool_chunk chunk = { .id = id, .records = RECORDS };

        places[i] = spool_chunk_begin(out);
        for (int j = 0; j < RECORDS; j++) {
            struct event event = event_example(RECORDS * i + j);

            spool_record_write(out, 1000 + RECORDS * i + j, &event);
            chunk.received[event.kind]++;
        }
        chunk.received[EVENT_UNKNOWN] = 2;
        chunk.rejected[EVENT_UNKNOWN] = 2;
        spool_chunk_end(out, places[i], &chunk);
    }
    places[CHUNKS] = out->len;
}

static void segment_read(struct spool_segment *segment, struct span image)
{
    struct err err = { 0 };

    ck_assert_msg(spool_segment_read(segment, image, &err) == 0, "%s", err.text);
}

static void record_check(const struct spool_segment *segment, uint32_t place, const struct buf *out,
                         int number)
{
    AUTO(buf_done) struct buf want;
    struct event event = event_example(number);
    const struct spool_record *record = &segment->records[place];

    buf_init(&want, SIZE_MAX);
    spool_event_write(&want, &event);
    ck_assert_int_eq(record->received_ms, 1000 + number);
    ck_assert_uint_eq(record->len, want.len);
    ck_assert_mem_eq(out->data + record->at, want.data, want.len);
}

START_TEST(what_is_written_is_read)
{
    AUTO(buf_done) struct buf out;
    AUTO(spool_segment_done) struct spool_segment segment;
    size_t places[CHUNKS + 1];

    segment_example(&out, places);
    segment_read(&segment, buf_span(&out));
    ck_assert_uint_eq(segment.whole_bytes, out.len);
    ck_assert_uint_eq(segment.records_len, CHUNKS * RECORDS);
    ck_assert_uint_eq(segment.damages_len, 0);
    ck_assert_uint_eq(segment.heads_damaged, 0);
    ck_assert_mem_eq(&segment.id.key, &id.key, sizeof(id.key));
    ck_assert_int_eq(segment.id.formed_ms, id.formed_ms);
    ck_assert_uint_eq(segment.received[EVENT_TRACK_METRICS], 4);
    ck_assert_uint_eq(segment.received[EVENT_UNKNOWN], 6);
    ck_assert_uint_eq(segment.rejected[EVENT_UNKNOWN], 6);
    for (int i = 0; i < CHUNKS * RECORDS; i++)
        record_check(&segment, (uint32_t)i, &out, i);
}
END_TEST

/* An event comes back from its record as it was decoded first. */
START_TEST(events_come_back)
{
    static const char body[] =
        "[{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:\\u00e9\\\"\\\\\\n\","
        "\"modelBuildCrn\":\"b\",\"modelCrn\":\"m\",\"replica\":\"r 1\",\"failed\":true,"
        "\"predictionUuid\":\"0B5C8A4E-6D0F-4C1B-9A37-2F1E8D7C6B5A\",\"startTimestampMs\":"
        "1600000000000,\"endTimestampMs\":1600000000001,\"metrics\":{ \"a b\" : 0.10, "
        "\"c\":[1e22]}}"
        ",{\"event\":\"delayed_metrics\",\"predictionUuid\":\"0b5c8a4e-6d0f-4c1b-9a37-"
        "2f1e8d7c6b5a\""
        ",\"eventId\":\"0b5c8a4e-6d0f-4c1b-9a37-2f1e8d7c6b5b\",\"startTimestampMs\":1600000000000,"
        "\"modelDeploymentCrn\":\"d\",\"metrics\":{\"x\":\"\\u0001\"}}"
        ",{\"event\":\"delayed_metrics\",\"predictionUuid\":\"0b5c8a4e-6d0f-4c1b-9a37-"
        "2f1e8d7c6b5a\""
        ",\"metrics\":{}}"
        ",{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"d\",\"replica\":\"\","
        "\"startTimestampMs\":1600000000000,\"endTimestampMs\":1600000000000,\"metrics\":{\"x\":1},"
        "\"eventId\":\"0b5c8a4e-6d0f-4c1b-9a37-2f1e8d7c6b5b\"}]";
    static const struct event_limits limits = { .metrics_bytes_max = 1000,
                                                .events_max = 10,
                                                .memory_bytes_max = SIZE_MAX,
                                                .depth_max = 8,
                                                .time_ms_max = INT64_MAX };
    AUTO(event_decoder_free) struct event_decoder *decoder = event_decoder_new(1);
    AUTO(mem_free) char *text = xstrdup(body);
    struct event_list list, again;
    struct err err = { 0 };

    ck_assert_int_eq(event_decode(decoder, text, strlen(text), EVENT_FORMAT_JSON, &limits, &list,
                                  &err),
                     0);
    ck_assert_uint_eq(list.len, 4);
    for (uint32_t i = 0; i < list.len; i++) {
        AUTO(buf_done) struct buf first, second, third;

        buf_init(&first, SIZE_MAX);
        buf_init(&second, SIZE_MAX);
        buf_init(&third, SIZE_MAX);
        spool_event_write(&first, &list.events[i]);
        buf_append_span(&second, buf_span(&first));
        ck_assert_int_eq(event_decode(decoder, second.data, second.len, EVENT_FORMAT_JSON, &limits,
                                      &again, &err),
                         0);
        ck_assert_uint_eq(again.len, 1);
        ck_assert_int_eq(again.events[0].kind, list.events[i].kind);
        ck_assert(span_equal(again.events[0].metrics, list.events[i].metrics));
        ck_assert(span_equal(again.events[0].deployment_crn, list.events[i].deployment_crn));
        ck_assert_int_eq(again.events[0].has_start, list.events[i].has_start);
        spool_event_write(&third, &again.events[0]);
        ck_assert_uint_eq(first.len, third.len);
        ck_assert_mem_eq(first.data, third.data, first.len);
        event_list_done(&again);
    }
    event_list_done(&list);
}
END_TEST

/* Cut at every byte: the chunks before it are there, and nothing of the one that it is in. */
START_TEST(torn_at_every_byte)
{
    AUTO(buf_done) struct buf out;
    size_t places[CHUNKS + 1];

    segment_example(&out, places);
    for (size_t len = 0; len <= out.len; len++) {
        AUTO(mem_free) char *image = xmalloc(len ? len : 1); /* a read behind it is seen */
        AUTO(spool_segment_done) struct spool_segment segment;
        uint32_t chunks = 0;

        memcpy(image, out.data, len);
        segment_read(&segment, (struct span){ image, len });
        while (chunks < CHUNKS && places[chunks + 1] <= len)
            chunks++;
        ck_assert_uint_eq(segment.records_len, chunks * RECORDS);
        ck_assert_uint_eq(segment.damages_len, 0);
        ck_assert_uint_eq(segment.whole_bytes, len < SPOOL_HEAD_BYTES ? 0 : places[chunks]);
        for (uint32_t i = 0; i < segment.records_len; i++)
            record_check(&segment, i, &out, (int)i);
    }
}
END_TEST

/* Each byte, changed in some ways: at most one record is damaged, the others are as they were. */
START_TEST(flipped_at_every_byte)
{
    static const unsigned char flips[] = { 0x01, 0x80, 0xff };
    AUTO(buf_done) struct buf out;
    size_t places[CHUNKS + 1];

    segment_example(&out, places);
    for (size_t at = 0; at < out.len; at++) {
        AUTO(spool_segment_done) struct spool_segment segment;
        AUTO(mem_free) char *image = xmalloc(out.len);
        uint32_t next = 0;

        memcpy(image, out.data, out.len);
        image[at] = (char)(image[at] ^ flips[_i]);
        segment_read(&segment, (struct span){ image, out.len });
        ck_assert_uint_eq(segment.whole_bytes, out.len);
        ck_assert_uint_eq(segment.records_len + segment.damages_len, CHUNKS * RECORDS);
        ck_assert_uint_le(segment.damages_len, 1);
        ck_assert_uint_eq(segment.heads_damaged + segment.damages_len, 1);
        ck_assert_mem_eq(&segment.id.key, &id.key, sizeof(id.key));
        ck_assert_int_eq(segment.id.formed_ms, id.formed_ms);
        if (segment.damages_len)
            ck_assert(at >= segment.damages[0].at &&
                      at < segment.damages[0].at + segment.damages[0].len);
        for (uint32_t i = 0; i < CHUNKS * RECORDS; i++) {
            bool is_damaged = segment.damages_len && next < segment.records_len &&
                              segment.records[next].received_ms != 1000 + (int64_t)i;

            if (!is_damaged && next < segment.records_len)
                record_check(&segment, next++, &out, (int)i);
        }
        ck_assert_uint_eq(next, segment.records_len);
    }
}
END_TEST

/* Both heads are gone: a key is made that is the same each time. */
START_TEST(key_of_what_has_none)
{
    AUTO(buf_done) struct buf out;
    AUTO(spool_segment_done) struct spool_segment segment;
    AUTO(spool_segment_done) struct spool_segment again;
    size_t places[CHUNKS + 1];

    segment_example(&out, places);
    out.data[0] ^= 1;
    for (int i = 0; i < CHUNKS; i++)
        out.data[places[i]] ^= 1;
    segment_read(&segment, buf_span(&out));
    segment_read(&again, buf_span(&out));
    ck_assert_uint_eq(segment.records_len, CHUNKS * RECORDS);
    ck_assert_int_eq(uuid_compare(&segment.id.key, &again.id.key), 0);
    ck_assert_int_ne(uuid_compare(&segment.id.key, &id.key), 0);
    ck_assert_int_eq(segment.id.formed_ms, 1000);
}
END_TEST

/* A head of the next version, longer than ours and with its checksum at its end. */
START_TEST(newer_is_refused)
{
    char head[64] = "plumspl\n\x02\0\0\0\x40";
    AUTO(spool_segment_done) struct spool_segment segment = { 0 };
    struct span image = { head, sizeof(head) };
    struct err err = { 0 };
    uint32_t crc = htole32(crc32c(0, head, 60));

    segment_read(&segment, image); /* its checksum is wrong: who knows what it was */
    ck_assert_uint_eq(segment.heads_damaged, 1);
    memcpy(head + 60, &crc, sizeof(crc));
    ck_assert_int_eq(spool_segment_read(&segment, image, &err), -1);
    ck_assert_int_eq(err.kind, ERR_FATAL);
    ck_assert_str_eq(err.text, "it has format 2, this version reads up to 1");
}
END_TEST

/* What version 1 wrote stays readable: the file is not to be made anew. */
START_TEST(version_1_stays_readable)
{
    AUTO(buf_done) struct buf out;
    AUTO(spool_segment_done) struct spool_segment segment;
    AUTO(mem_free) char *image = xmalloc(65536);
    FILE *file = fopen("tests/data/spool/version-1.spool", "rb");
    size_t places[CHUNKS + 1], len;

    ck_assert_ptr_nonnull(file);
    len = fread(image, 1, 65536, file);
    (void)fclose(file);
    segment_example(&out, places);
    segment_read(&segment, (struct span){ image, len });
    ck_assert_uint_eq(segment.records_len, CHUNKS * RECORDS);
    ck_assert_uint_eq(len, out.len);
    ck_assert_mem_eq(image, out.data, len);
}
END_TEST

Suite *spool_segment_suite(void)
{
    Suite *suite = suite_create("spool_segment");
    TCase *tc = tcase_create("spool_segment");

    tcase_add_test(tc, what_is_written_is_read);
    tcase_add_test(tc, events_come_back);
    tcase_add_test(tc, torn_at_every_byte);
    tcase_add_loop_test(tc, flipped_at_every_byte, 0, 3);
    tcase_add_test(tc, key_of_what_has_none);
    tcase_add_test(tc, newer_is_refused);
    tcase_add_test(tc, version_1_stays_readable);
    suite_add_tcase(suite, tc);
    return suite;
}
