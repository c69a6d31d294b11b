/* What a line of a file is. Values keep their bytes: an event is made by writing a member in front,
 * never by reading numbers and writing them again. */
#include "ingest_internal.h"

#include "members_internal.h"

/* The members that tell. */
struct ingest_shape {
    struct span event;
    bool has_uuid; /* predictionUuid, and not "" */
    bool has_start;
    bool has_event_id;
};

static bool ingest_member_is_empty(const struct member *member)
{
    return span_is(member->value, "\"\"") || span_is(member->value, "null");
}

static int ingest_shape_read(struct ingest_shape *shape, struct span line)
{
    struct member member;
    struct span rest;
    int rc;

    *shape = (struct ingest_shape){ 0 };
    if (!members_begin(line, &rest))
        return -1;
    while ((rc = members_next(&rest, &member)) > 0) {
        if (span_is(member.key, "event"))
            shape->event = member.value;
        else if (span_is(member.key, "predictionUuid"))
            shape->has_uuid = !ingest_member_is_empty(&member);
        else if (span_is(member.key, "startTimestampMs") || span_is(member.key, "startTimeStampMs"))
            shape->has_start = true;
        else if (span_is(member.key, "eventId"))
            shape->has_event_id = !ingest_member_is_empty(&member);
    }
    return rc;
}

/* What the server answers for an unknown deployment: members that say nothing. */
static bool ingest_member_is_blank(const struct member *member)
{
    return span_is(member->value, "\"\"") &&
           (span_is(member->key, "predictionUuid") || span_is(member->key, "modelBuildCrn") ||
            span_is(member->key, "modelCrn"));
}

static void ingest_row_write(struct buf *out, const char *event, struct span line)
{
    struct member member;
    struct span rest;

    buf_append_text(out, "{\"event\":\"");
    buf_append_text(out, event);
    buf_append_char(out, '"');
    (void)members_begin(line, &rest);
    while (members_next(&rest, &member) > 0) {
        if (ingest_member_is_blank(&member))
            continue;
        buf_append_text(out, ",\"");
        buf_append_span(out, member.key);
        buf_append_text(out, "\":");
        buf_append_span(out, member.value);
    }
    buf_append_text(out, "}\n");
}

bool ingest_event_write(struct buf *out, struct span line)
{
    struct ingest_shape shape;
    bool is_readable = ingest_shape_read(&shape, line) == 0;

    if (is_readable && !shape.event.data && shape.has_uuid && shape.has_start) {
        ingest_row_write(out, "track_metrics", line);
        return true;
    }
    if (is_readable && !shape.event.data && (shape.has_uuid || shape.has_start)) {
        ingest_row_write(out, shape.has_uuid ? "delayed_metrics" : "aggregate_metrics", line);
        return shape.has_event_id;
    }
    buf_append_span(out, line);
    buf_append_char(out, '\n');
    if (span_is(shape.event, "\"track_metrics\"") || span_is(shape.event, "\"model_deployed\"") ||
        span_is(shape.event, "\"project_created\"") || span_is(shape.event, "\"model_built\""))
        return is_readable;
    return is_readable && shape.has_event_id;
}
