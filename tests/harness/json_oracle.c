#include "json_oracle.h"

#include <stdlib.h>

#include "base/mem.h"
#include "metrics/json.h"

enum { ORACLE_FLAGS = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL };

static bool oracle_same_string(struct span raw, const char *want, size_t want_len)
{
    AUTO(mem_free) char *text = xmalloc(raw.len);
    size_t len = json_unescape(text, raw);

    return len == want_len && memcmp(text, want, len) == 0;
}

static bool oracle_same_object(struct json_scanner *scanner, const json_t *want)
{
    struct json_member member;
    size_t len = 0;
    int rc;

    json_object_begin(scanner);
    while ((rc = json_object_next(scanner, &member)) > 0) {
        AUTO(mem_free) char *name = xmemdup0(member.name.data, member.name.len);
        const json_t *value = json_object_get(want, name);

        if (!value || !oracle_same_string(member.raw, name, strlen(name)) ||
            !json_oracle_same(member.value.text, value))
            return false;
        len++;
    }
    return rc == 0 && len == json_object_size(want);
}

static bool oracle_same_array(struct json_scanner *scanner, const json_t *want)
{
    struct json_value value;
    size_t len = 0;
    int rc;

    json_array_begin(scanner);
    while ((rc = json_array_next(scanner)) > 0) {
        if (json_scan(scanner, &value) < 0 || len >= json_array_size(want) ||
            !json_oracle_same(value.text, json_array_get(want, len++)))
            return false;
    }
    return rc == 0 && len == json_array_size(want);
}

bool json_oracle_same(struct span text, const json_t *want)
{
    AUTO(json_scanner_free) struct json_scanner *scanner = json_scanner_new(7);
    struct json_value value;

    json_open(scanner, text, JSON_ORACLE_DEPTH_MAX);
    if (json_peek(scanner) == '{')
        return json_is_object(want) && oracle_same_object(scanner, want);
    if (json_peek(scanner) == '[')
        return json_is_array(want) && oracle_same_array(scanner, want);
    if (json_scan(scanner, &value) < 0)
        return false;
    switch (value.type) {
    case JSON_TYPE_STRING:
        return json_is_string(want) &&
               oracle_same_string((struct span){ value.text.data + 1, value.text.len - 2 },
                                  json_string_value(want), json_string_length(want));
    case JSON_TYPE_NUMBER: {
        AUTO(mem_free) char *number = xmemdup0(value.text.data, value.text.len);

        return json_is_number(want) && !(strtod(number, NULL) < json_number_value(want)) &&
               !(strtod(number, NULL) > json_number_value(want));
    }
    case JSON_TYPE_TRUE:
        return json_is_true(want);
    case JSON_TYPE_FALSE:
        return json_is_false(want);
    case JSON_TYPE_NULL:
        return json_is_null(want);
    default:
        return false;
    }
}

static enum json_verdict oracle_scan(struct json_scanner *scanner, struct span text,
                                     struct json_value *value)
{
    json_open(scanner, text, JSON_ORACLE_DEPTH_MAX);
    if (json_scan(scanner, value) < 0 || json_close(scanner) < 0)
        return JSON_IS_BROKEN;
    return json_fault(scanner)->found ? JSON_FAULTY : JSON_SOUND;
}

enum json_verdict json_oracle_scan(struct span text)
{
    AUTO(json_scanner_free) struct json_scanner *scanner = json_scanner_new(7);
    struct json_value value;

    return oracle_scan(scanner, text, &value);
}

/* Read member by member, an object gets the same verdict as read whole. */
static bool oracle_members_agree(struct json_scanner *scanner, struct span text,
                                 enum json_verdict want)
{
    enum json_verdict got = JSON_SOUND;
    struct json_member member;
    size_t offset = 0;
    struct json_fault fault = *json_fault(scanner);
    int rc;

    if (want == JSON_IS_BROKEN)
        offset = json_broken(scanner)->offset;
    json_open(scanner, text, JSON_ORACLE_DEPTH_MAX);
    if (json_peek(scanner) != '{')
        return true;
    json_object_begin(scanner);
    while ((rc = json_object_next(scanner, &member)) > 0)
        ;
    if (rc < 0 || json_close(scanner) < 0)
        got = JSON_IS_BROKEN;
    else if (json_fault(scanner)->found)
        got = JSON_FAULTY;
    if (got != want)
        return false;
    if (got == JSON_IS_BROKEN)
        return offset == json_broken(scanner)->offset;
    return got == JSON_SOUND || (strcmp(fault.path, json_fault(scanner)->path) == 0 &&
                                 strcmp(fault.message, json_fault(scanner)->message) == 0);
}

/* Without its white space a text means the same, has the length that was foretold, and walks. */
static bool oracle_squeezed_is_same(const struct json_value *value, const json_t *want)
{
    AUTO(mem_free) char *text = xmemdup0(value->text.data, value->text.len);
    size_t len = json_squeeze(text, value->text.len), members = 0;
    struct span squeezed = { text, len };
    struct json_member member;
    struct json_walk walk;

    if (len != value->text.len - value->space_bytes || !json_oracle_same(squeezed, want))
        return false;
    if (!json_is_object(want))
        return true;
    walk = json_walk_begin(squeezed);
    while (json_walk_next(&walk, &member)) {
        AUTO(mem_free) char *name = xmemdup0(member.raw.data, member.raw.len);
        size_t name_len = json_unescape(name, member.raw);

        name[name_len] = '\0';
        if (!json_oracle_same(member.value.text, json_object_get(want, name)))
            return false;
        members++;
    }
    return members == json_object_size(want);
}

/* What we refuse although it is JSON. */
static bool oracle_is_our_limit(const struct json_fault *fault)
{
    return strncmp(fault->message, "nested deeper", 13) == 0 ||
           strncmp(fault->message, "a number of", 11) == 0 ||
           strncmp(fault->message, "an exponent beyond", 18) == 0 ||
           strncmp(fault->message, "more than", 9) == 0;
}

/* jansson overlooks a NUL byte right behind a number. */
static bool oracle_has_nul(struct span text)
{
    return text.len > 0 && memchr(text.data, '\0', text.len);
}

const char *json_oracle_check(struct span text)
{
    AUTO(json_scanner_free) struct json_scanner *scanner = json_scanner_new(7);
    json_auto_t *want = json_loadb(text.len ? text.data : "", text.len, ORACLE_FLAGS, NULL);
    struct json_value value;
    enum json_verdict got = oracle_scan(scanner, text, &value);
    bool is_our_limit = got == JSON_FAULTY && oracle_is_our_limit(json_fault(scanner));

    if (!oracle_members_agree(scanner, text, got))
        return "read member by member it is another";
    if (!want)
        return got == JSON_SOUND ? "jansson refuses it" : NULL;
    if (got != JSON_SOUND)
        return is_our_limit || oracle_has_nul(text) ? NULL : "jansson takes it";
    if (!json_oracle_same(text, want))
        return "jansson reads something else";
    return oracle_squeezed_is_same(&value, want) ? NULL : "squeezed it means something else";
}
