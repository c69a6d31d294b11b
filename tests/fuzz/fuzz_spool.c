/* Fuzzing segments of the spool: whatever stands in the file, what is read lies inside it, in
 * order and apart, and reading it again gives the same. */
#include <stdlib.h>
#include <string.h>

#include "collector/spool_segment_internal.h"
#include "fuzz.h"

static void fuzz_expect(bool is_true)
{
    if (!is_true)
        abort();
}

/* Records and damages follow on one another. */
static void fuzz_places(const struct spool_segment *segment, size_t size)
{
    size_t end = 0;
    uint32_t damage = 0;

    for (uint32_t i = 0; i < segment->records_len; i++) {
        const struct spool_record *record = &segment->records[i];

        while (damage < segment->damages_len && segment->damages[damage].at < record->at) {
            fuzz_expect(segment->damages[damage].at >= end && segment->damages[damage].len > 0);
            end = segment->damages[damage].at + segment->damages[damage].len;
            damage++;
        }
        fuzz_expect(record->at >= end + SPOOL_RECORD_BYTES && record->len > 0);
        end = record->at + record->len;
    }
    for (; damage < segment->damages_len; damage++) {
        fuzz_expect(segment->damages[damage].at >= end);
        end = segment->damages[damage].at + segment->damages[damage].len;
    }
    fuzz_expect(end <= segment->whole_bytes && segment->whole_bytes <= size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span image = { (const char *)data, size };
    struct spool_segment segment, again;
    struct err err = { 0 };

    if (spool_segment_read(&segment, image, &err) < 0) {
        fuzz_expect(err.kind == ERR_FATAL && !segment.records_len);
        return 0;
    }
    fuzz_places(&segment, size);
    /* what was never finished is cut off: the rest is the same */
    image.len = segment.whole_bytes;
    fuzz_expect(spool_segment_read(&again, image, &err) == 0);
    fuzz_expect(again.records_len == segment.records_len &&
                again.damages_len == segment.damages_len &&
                again.whole_bytes == segment.whole_bytes &&
                uuid_compare(&again.id.key, &segment.id.key) == 0);
    spool_segment_done(&again);
    spool_segment_done(&segment);
    return 0;
}
