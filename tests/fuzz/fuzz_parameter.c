/* Fuzzing query strings, cut as libmicrohttpd cuts them: what is accepted is decoded like libcurl
 * does it and has no NUL, what is refused has a 400 with a text. */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/parameter.h"
#include "fuzz.h"

static const struct parameter accepted[] = {
    { "limit", false }, { "cursor", false }, { "key", true }, { "model_crn", true }, { NULL, 0 },
};

static void fuzz_expect(bool is_true)
{
    if (!is_true)
        abort();
}

static void fuzz_check_fault(const struct fault *fault)
{
    fuzz_expect(fault->status == 400 && fault->code && *fault->message);
}

static void fuzz_check_decoded(struct span encoded, const char *text, size_t len)
{
    AUTO(mem_free) char *copy = xmalloc(encoded.len + 1);
    int want_len;
    char *want;

    memcpy(copy, encoded.data, encoded.len);
    copy[encoded.len] = '\0';
    want = curl_easy_unescape(NULL, copy, (int)encoded.len, &want_len);
    fuzz_expect(want && (size_t)want_len == len && memcmp(want, text, len) == 0);
    fuzz_expect(strlen(text) == len);
    curl_free(want);
}

static void fuzz_add(struct parameters *parameters, struct span name, struct span value)
{
    size_t len = parameters->len, others_len = parameters->others_len;
    struct fault fault = { 0 };

    if (parameters_add(parameters, accepted, name, value, &fault) == 0) {
        const struct parameter_value *item = &parameters->items[len];

        fuzz_expect(parameters->len == len + 1 && span_is(name, item->parameter->name));
        fuzz_check_decoded(value, item->text, item->len);
    } else {
        fuzz_expect(parameters->len == len);
        fuzz_check_fault(&fault);
    }
    fault = (struct fault){ 0 };
    if (parameters_add_other(parameters, name, value, &fault) == 0) {
        const struct parameter_other *other = &parameters->others[others_len];

        fuzz_expect(parameters->others_len == others_len + 1);
        fuzz_check_decoded(name, other->name, strlen(other->name));
        fuzz_check_decoded(value, other->text, strlen(other->text));
    } else {
        fuzz_expect(parameters->others_len == others_len);
        fuzz_check_fault(&fault);
    }
}

static void fuzz_number(const struct parameters *parameters)
{
    struct span text = parameters_get(parameters, "limit");
    struct fault fault = { 0 };
    int64_t value = 7;
    int rc = parameters_get_i64(parameters, "limit", -1000, INT64_MAX, &value, &fault);

    if (rc < 0)
        fuzz_check_fault(&fault);
    if (rc < 0 || !text.data)
        fuzz_expect(value == 7);
    else
        fuzz_expect(value >= -1000 && value == strtoll(text.data, NULL, 10));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(mem_free) char *query = xmalloc(size + 1);
    struct parameters parameters = { 0 };
    char *rest = query, *part;

    memcpy(query, data, size);
    query[size] = '\0';
    for (char *c = query; *c; c++) {
        if (*c == '+')
            *c = ' ';
    }
    while ((part = strsep(&rest, "&"))) {
        char *value = strchr(part, '=');
        struct span name = { part, value ? (size_t)(value - part) : strlen(part) };

        fuzz_add(&parameters, name, span_of(value ? value + 1 : ""));
    }
    fuzz_number(&parameters);
    parameters_done(&parameters);
    return 0;
}
