/* Entities whose own classifications were changed since a moment, for tools that carry them on. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/query_atlas_internal.h"

enum { TAGS_CHANGED_MAX = 10000 }; /* in one answer */

static int changed_since(struct atlas *atlas, int64_t *since_ms)
{
    struct span text = atlas_parameter(atlas, "tagUpdateStartTime");
    char *end;

    *since_ms = 0;
    if (!text.len)
        return 0;
    errno = 0;
    *since_ms = strtoll(text.data, &end, 10);
    if (*end || errno || *since_ms < 0)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029",
                           "tagUpdateStartTime must be a whole number of milliseconds: \"%.*s\"",
                           fault_quote_len(text.len), text.data);
    if (*since_ms > clock_now_ms())
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029",
                           "fromTimestamp should be less than toTimestamp");
    return 0;
}

/* "GUID":HEADER of each, sent as it is read. */
static int changed_write(struct atlas *atlas, const int64_t *ids, size_t len,
                         const struct tags *tags)
{
    AUTO(atlas_headers_done) struct atlas_headers headers = { 0 };
    AUTO(buf_done) struct buf lists;
    const char *separator = "";
    int rc;

    buf_init(&lists, SIZE_MAX);
    if (atlas_headers_open(&headers, &atlas->view, ids, len, atlas->err) < 0)
        return -1;
    while ((rc = atlas_headers_next(&headers, atlas->err)) > 0) {
        for (int row = 0; row < PQntuples(headers.rows); row++) {
            struct entity_header header;
            size_t place = atlas_headers_get(&headers, row, &header);

            if (!header.type)
                continue;
            atlas_head_tags(&header, tags, place, &lists);
            buf_append_fmt(atlas->out, "%s\"%s\":", separator, header.guid);
            entity_header_write(&header, atlas->out);
            separator = ",";
            if (atlas_write("", 0, atlas) < 0)
                return -1;
        }
    }
    return rc;
}

int query_tags_changed(struct atlas *atlas, json_t **answer UNUSED)
{
    AUTO(tags_done) struct tags tags = { 0 };
    AUTO(mem_free) int64_t *ids = NULL;
    int64_t since_ms;
    size_t len;

    if (changed_since(atlas, &since_ms) < 0 || atlas_begin_read(atlas) < 0 ||
        tags_find_changed(&atlas->view, since_ms, TAGS_CHANGED_MAX + 1, &ids, &len, atlas->err) < 0)
        return -1;
    if (len > TAGS_CHANGED_MAX)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029",
                           "more than %d entities were classified since then: ask from a later "
                           "time on",
                           TAGS_CHANGED_MAX);
    if (tags_read(&atlas->view, ids, len, &tags, atlas->err) < 0)
        return -1;
    buf_append_text(atlas->out, "{\"guidHeaderMap\":{");
    if (len && changed_write(atlas, ids, len, &tags) < 0)
        return -1;
    buf_append_fmt(atlas->out, "}%s}",
                   tags.is_truncated ? ",\"classificationsTruncated\":true" : "");
    return 0;
}
