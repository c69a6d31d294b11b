#include "collector/media.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/span.h"

static struct span media_trim(struct span text)
{
    while (text.len && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text.data++;
        text.len--;
    }
    while (text.len && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* What stands before the next `mark`; *rest is what stands behind it. */
static struct span media_cut(struct span *rest, char mark)
{
    const char *end = rest->len ? memchr(rest->data, mark, rest->len) : NULL;
    struct span part = { rest->data, end ? (size_t)(end - rest->data) : rest->len };
    size_t used = end ? part.len + 1 : part.len;

    rest->data += used;
    rest->len -= used;
    return media_trim(part);
}

static bool media_is(struct span text, const char *name)
{
    return text.len == strlen(name) && strncasecmp(text.data, name, text.len) == 0;
}

int media_event_format(const char *content_type, enum event_format *format)
{
    static const struct {
        const char *name;
        enum event_format format;
    } names[] = {
        { "", EVENT_FORMAT_JSON },
        { "application/json", EVENT_FORMAT_JSON },
        { "text/json", EVENT_FORMAT_JSON },
        { "text/plain", EVENT_FORMAT_JSON },
        { "application/x-www-form-urlencoded", EVENT_FORMAT_JSON }, /* what curl -d says */
        { "application/x-ndjson", EVENT_FORMAT_NDJSON },
        { "application/ndjson", EVENT_FORMAT_NDJSON },
        { "application/jsonl", EVENT_FORMAT_NDJSON },
        { "application/x-jsonlines", EVENT_FORMAT_NDJSON },
    };
    struct span rest = span_of(content_type ? content_type : "");
    struct span type = media_cut(&rest, ';');

    for (size_t i = 0; i < LENGTH(names); i++) {
        if (media_is(type, names[i].name)) {
            *format = names[i].format;
            return 0;
        }
    }
    return -1;
}

/* The q of one media range (RFC 9110 12.4.2) in thousandths; 1000 where it is missing or broken. */
static int media_quality(struct span parameters)
{
    while (parameters.len) {
        struct span parameter = media_cut(&parameters, ';');
        char number[8] = { 0 };

        if (parameter.len > 2 && strncasecmp(parameter.data, "q=", 2) == 0) {
            char *end;
            double q;

            memcpy(number, parameter.data + 2,
                   parameter.len - 2 < sizeof(number) ? parameter.len - 2 : sizeof(number) - 1);
            q = strtod(number, &end);
            return end != number && q >= 0 && q <= 1 ? (int)(q * 1000) : 1000;
        }
    }
    return 1000;
}

static int media_range(struct span range, enum media_type *type)
{
    static const struct {
        const char *name;
        enum media_type type;
    } names[] = {
        { "application/json", MEDIA_JSON }, { "*/*", MEDIA_JSON },
        { "application/*", MEDIA_JSON },    { "application/x-ndjson", MEDIA_NDJSON },
        { "text/csv", MEDIA_CSV },          { "text/*", MEDIA_CSV },
    };

    for (size_t i = 0; i < LENGTH(names); i++) {
        if (media_is(range, names[i].name)) {
            *type = names[i].type;
            return 0;
        }
    }
    return -1;
}

int media_accept(const char *accept, enum media_type *type)
{
    struct span rest = span_of(accept && *accept ? accept : "*/*");
    int best = 0;

    while (rest.len) {
        struct span parameters = media_cut(&rest, ',');
        struct span range = media_cut(&parameters, ';');
        enum media_type found;

        if (media_range(range, &found) == 0 && media_quality(parameters) > best) {
            best = media_quality(parameters);
            *type = found;
        }
    }
    return best ? 0 : -1;
}

const char *media_type_name(enum media_type type)
{
    static const char *const names[] = { [MEDIA_JSON] = "application/json",
                                         [MEDIA_NDJSON] = "application/x-ndjson",
                                         [MEDIA_CSV] = "text/csv; charset=utf-8" };

    return names[type];
}
