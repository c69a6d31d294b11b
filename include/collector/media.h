/* What a body is and what a client wants back, by the names in its headers. */
#ifndef COLLECTOR_MEDIA_H
#define COLLECTOR_MEDIA_H

#include "base/attr.h"
#include "metrics/event.h"

/* `content_type` as in the header, NULL when there is none. -1: not something that holds events. */
int media_event_format(const char *content_type, enum event_format *format) MUST_CHECK;
#define MEDIA_EVENT_FORMATS                                                                        \
    "application/json, application/x-ndjson (also application/ndjson, application/jsonl)"

enum media_type { MEDIA_JSON, MEDIA_NDJSON, MEDIA_CSV };

/* The best that `accept` allows (NULL: JSON); among equals the first one it names. -1: none of the
 * three. */
int media_accept(const char *accept, enum media_type *type) MUST_CHECK;
#define MEDIA_ROW_FORMATS "application/json, application/x-ndjson, text/csv"
/* For Content-Type. */
const char *media_type_name(enum media_type type);

#endif
