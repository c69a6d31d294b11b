#include "collector/parameter.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { PARAMETER_DIGITS_MAX = 20 }; /* of a 64-bit number with its sign */

void parameters_done(struct parameters *parameters)
{
    for (size_t i = 0; i < parameters->len; i++)
        free(parameters->items[i].text);
    free(parameters->items);
    for (size_t i = 0; i < parameters->others_len; i++) {
        free(parameters->others[i].name);
        free(parameters->others[i].text);
    }
    free(parameters->others);
    *parameters = (struct parameters){ 0 };
}

static int parameter_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int parameter_decode(struct span text, char *out, size_t *len)
{
    size_t to = 0;

    for (size_t from = 0; from < text.len; from++) {
        char c = text.data[from];

        if (c == '%') {
            int high = from + 2 < text.len ? parameter_hex(text.data[from + 1]) : -1;
            int low = from + 2 < text.len ? parameter_hex(text.data[from + 2]) : -1;

            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return -1;
            c = (char)(high << 4 | low);
            from += 2;
        }
        out[to++] = c;
    }
    *len = to;
    return 0;
}

static const struct parameter *parameter_find(const struct parameter *accepted, struct span name)
{
    for (; accepted && accepted->name; accepted++) {
        if (span_is(name, accepted->name))
            return accepted;
    }
    return NULL;
}

static bool parameters_has(const struct parameters *parameters, const struct parameter *parameter)
{
    for (size_t i = 0; i < parameters->len; i++) {
        if (parameters->items[i].parameter == parameter)
            return true;
    }
    return false;
}

int parameters_add(struct parameters *parameters, const struct parameter *accepted,
                   struct span name, struct span value, struct fault *fault)
{
    const struct parameter *parameter = parameter_find(accepted, name);
    AUTO(mem_free) char *text = NULL;
    char quoted[FAULT_QUOTE_BYTES_MAX + 1] = { 0 };
    size_t len;

    memcpy(quoted, name.data, (size_t)fault_quote_len(name.len));
    if (!parameter)
        return fault_set(fault, 400, "unknown_parameter", quoted, "unknown query parameter \"%s\"",
                         quoted);
    if (!parameter->repeatable && parameters_has(parameters, parameter))
        return fault_set(fault, 400, "repeated_parameter", quoted,
                         "query parameter \"%s\" is given more than once", quoted);
    text = xmalloc(value.len + 1);
    if (parameter_decode(value, text, &len) < 0)
        return fault_set(fault, 400, "invalid_parameter", quoted,
                         "\"%s\" is not properly percent-encoded: \"%.*s\"", quoted,
                         fault_quote_len(value.len), value.data ? value.data : "");
    text[len] = '\0';
    parameters->items =
        xreallocarray(parameters->items, parameters->len + 1, sizeof(*parameters->items));
    parameters->items[parameters->len++] = (struct parameter_value){ parameter, TAKE(text), len };
    return 0;
}

/* Decoded, with a NUL behind it; NULL: it is not properly encoded. Owned. */
static char *parameter_text(struct span encoded)
{
    AUTO(mem_free) char *text = xmalloc(encoded.len + 1);
    size_t len;

    if (parameter_decode(encoded, text, &len) < 0)
        return NULL;
    text[len] = '\0';
    return TAKE(text);
}

int parameters_add_other(struct parameters *parameters, struct span name, struct span value,
                         struct fault *fault)
{
    AUTO(mem_free) char *key = parameter_text(name);
    AUTO(mem_free) char *text = parameter_text(value);

    if (!key || !text)
        return fault_set(fault, 400, "invalid_parameter", NULL,
                         "\"%.*s\" is not properly percent-encoded", fault_quote_len(name.len),
                         name.data);
    parameters->others =
        xreallocarray(parameters->others, parameters->others_len + 1, sizeof(*parameters->others));
    parameters->others[parameters->others_len++] =
        (struct parameter_other){ TAKE(key), TAKE(text) };
    return 0;
}

struct span parameters_get_other(const struct parameters *parameters, const char *name)
{
    for (size_t i = 0; i < parameters->others_len; i++) {
        if (strcmp(parameters->others[i].name, name) == 0)
            return span_of(parameters->others[i].text);
    }
    return (struct span){ 0 };
}

struct span parameters_get(const struct parameters *parameters, const char *name)
{
    for (size_t i = 0; i < parameters->len; i++) {
        if (strcmp(parameters->items[i].parameter->name, name) == 0)
            return (struct span){ parameters->items[i].text, parameters->items[i].len };
    }
    return (struct span){ 0 };
}

static bool parameter_is_number(struct span text)
{
    size_t i = text.len && text.data[0] == '-' ? 1 : 0;

    if (i == text.len || text.len > PARAMETER_DIGITS_MAX)
        return false;
    for (; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
    }
    return true;
}

int parameters_get_i64(const struct parameters *parameters, const char *name, int64_t min,
                       int64_t max, int64_t *value, struct fault *fault)
{
    struct span text = parameters_get(parameters, name);
    long long number;

    if (!text.data)
        return 0;
    if (!parameter_is_number(text))
        return fault_set(fault, 400, "invalid_parameter", name,
                         "\"%s\" must be a whole number: \"%.*s\"", name, fault_quote_len(text.len),
                         text.data);
    errno = 0;
    number = strtoll(text.data, NULL, 10);
    if (errno == ERANGE || number < min || number > max)
        return fault_set(fault, 400, "invalid_parameter", name,
                         "\"%s\" must be from %" PRId64 " to %" PRId64 ": %s", name, min, max,
                         text.data);
    *value = number;
    return 0;
}
