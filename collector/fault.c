#include "collector/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fault_set(struct fault *fault, unsigned status, const char *code, const char *field,
              const char *fmt, ...)
{
    va_list args;

    fault->status = status;
    fault->code = code;
    (void)snprintf(fault->field, sizeof(fault->field), "%s", field ? field : "");
    va_start(args, fmt);
    (void)vsnprintf(fault->message, sizeof(fault->message), fmt, args);
    va_end(args);
    return -1;
}

void fault_write(const struct fault *fault, struct buf *out)
{
    buf_append_text(out, "{\"error\":{\"code\":");
    buf_append_json(out, span_of(fault->code));
    buf_append_text(out, ",\"message\":");
    buf_append_json(out, span_of(fault->message));
    if (fault->field[0]) {
        buf_append_text(out, ",\"field\":");
        buf_append_json(out, span_of(fault->field));
    }
    buf_append_text(out, "}}");
}

void fault_write_atlas(const struct fault *fault, struct buf *out)
{
    buf_append_text(out, "{\"errorCode\":");
    if (strncmp(fault->code, "ATLAS-", 6) == 0)
        buf_append_json(out, span_of(fault->code));
    else
        buf_append_fmt(out, "\"ATLAS-%u-00-%s\"", fault->status,
                       fault->status == 400 ? "029" : "001");
    buf_append_text(out, ",\"errorMessage\":");
    buf_append_json(out, span_of(fault->message));
    buf_append_char(out, '}');
}

int fault_quote_len(size_t len)
{
    return len < FAULT_QUOTE_BYTES_MAX ? (int)len : (int)FAULT_QUOTE_BYTES_MAX;
}
