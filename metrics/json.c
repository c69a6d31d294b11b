#include "metrics/json.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"
#include "base/utf8.h"

enum {
    JSON_FIRST_SLOTS = 256,
    JSON_KEPT_BYTES_MAX = 64 * 1024, /* scratch beyond it is given back at the next json_open */
};

/* What a byte can begin, outside strings. Whatever is no delimiter belongs to a bare word. */
enum json_class { C_WORD, C_SPACE, C_DIGIT, C_MINUS, C_QUOTE, C_OBJECT, C_ARRAY, C_OTHER };

static const uint8_t json_class[256] = {
    [' '] = C_SPACE, ['\t'] = C_SPACE, ['\n'] = C_SPACE, ['\r'] = C_SPACE, ['-'] = C_MINUS,
    ['0'] = C_DIGIT, ['1'] = C_DIGIT,  ['2'] = C_DIGIT,  ['3'] = C_DIGIT,  ['4'] = C_DIGIT,
    ['5'] = C_DIGIT, ['6'] = C_DIGIT,  ['7'] = C_DIGIT,  ['8'] = C_DIGIT,  ['9'] = C_DIGIT,
    ['"'] = C_QUOTE, ['{'] = C_OBJECT, ['['] = C_ARRAY,  ['}'] = C_OTHER,  [']'] = C_OTHER,
    [','] = C_OTHER, [':'] = C_OTHER,
};

/* An open bracket up to depth_max: which object it is, and where in it the scan stands. */
struct json_frame {
    uint32_t object; /* serial number, never 0; 0: an array */
    uint32_t at;     /* an array: index; an object: offset of the name, 0 while there is none */
    uint32_t len;    /* of the name */
};

/* A key of an open or closed object of this root. Slots of earlier roots have a smaller `object`
 * than the root's first one, so that nothing has to be cleared between two roots. */
struct json_key {
    uint32_t object;
    uint32_t hash;
    uint32_t at; /* in the text, or in `unescaped` when JSON_KEY_UNESCAPED is set */
    uint32_t len;
};

#define JSON_KEY_UNESCAPED 0x80000000u

struct json_scanner {
    uint64_t seed;
    const char *text;
    const char *end;
    const char *at;
    bool begun; /* json_object_begin or json_array_begin was the last thing */
    size_t space_bytes;
    unsigned depth;
    unsigned depth_max;
    struct json_frame *frames; /* depth_max of them */
    unsigned frames_cap;
    uint8_t *deep; /* a bit for each bracket below depth_max: 1 for an object */
    size_t deep_cap;
    uint32_t object;       /* the last serial number given */
    uint32_t object_first; /* of this root */
    struct json_key *keys;
    uint32_t slots; /* a power of two, at least twice keys_len */
    uint32_t keys_len;
    char *unescaped; /* keys that had escapes, one behind the other */
    size_t unescaped_len;
    size_t unescaped_cap;
    struct span name; /* the key just read */
    bool name_has_escape;
    struct json_fault fault;
    struct json_broken broken;
};

struct json_scanner *json_scanner_new(uint64_t seed)
{
    struct json_scanner *scanner = xcalloc(1, sizeof(*scanner));

    scanner->seed = seed;
    scanner->slots = JSON_FIRST_SLOTS;
    scanner->keys = xcalloc(scanner->slots, sizeof(*scanner->keys));
    return scanner;
}

void json_scanner_free(struct json_scanner *scanner)
{
    if (!scanner)
        return;
    free(scanner->frames);
    free(scanner->deep);
    free(scanner->keys);
    free(scanner->unescaped);
    free(scanner);
}

struct json_quoted json_quote(struct span text)
{
    struct json_quoted quoted;
    struct span cut = utf8_cut(text, 64);
    size_t len = 0;

    quoted.text[len++] = '"';
    for (size_t i = 0; i < cut.len; i++)
        quoted.text[len++] = (unsigned char)cut.data[i] < 0x20 ? '?' : cut.data[i];
    if (cut.len < text.len) {
        memcpy(quoted.text + len, "...", 3);
        len += 3;
    }
    quoted.text[len++] = '"';
    quoted.text[len] = '\0';
    return quoted;
}

/* Appends to a path of JSON_PATH_BYTES_MAX; what does not fit makes it end in "...". */
static size_t json_path_add(char *path, size_t len, struct span part)
{
    size_t room = JSON_PATH_BYTES_MAX - 1 - sizeof("...") - len;

    if (len > JSON_PATH_BYTES_MAX - 1 - sizeof("..."))
        return len; /* was cut before */
    if (part.len > room) {
        part = utf8_cut(part, room);
        memcpy(path + len, part.data, part.len);
        memcpy(path + len + part.len, "...", 4);
        return JSON_PATH_BYTES_MAX;
    }
    memcpy(path + len, part.data, part.len);
    path[len + part.len] = '\0';
    return len + part.len;
}

static size_t json_path_add_key(char *path, size_t len, struct span raw)
{
    char key[JSON_PATH_BYTES_MAX * 2]; /* half of it would do, were it not for '.' */
    size_t from = 0, key_len;

    key_len = json_unescape(key, utf8_cut(raw, sizeof(key)));
    for (size_t i = 0; i < key_len; i++) {
        if (key[i] != '.')
            continue;
        len = json_path_add(path, len, (struct span){ key + from, i - from });
        len = json_path_add(path, len, SPAN_LITERAL("\\"));
        from = i;
    }
    return json_path_add(path, len, (struct span){ key + from, key_len - from });
}

static void json_path_write(const struct json_scanner *scanner, char *path)
{
    unsigned depth = scanner->depth < scanner->depth_max ? scanner->depth : scanner->depth_max;
    size_t len = 0;

    path[0] = '\0';
    for (unsigned i = 0; i < depth; i++) {
        const struct json_frame *frame = &scanner->frames[i];
        char index[16];

        if (!frame->object) {
            (void)snprintf(index, sizeof(index), "[%u]", frame->at);
            len = json_path_add(path, len, span_of(index));
        } else if (frame->at) {
            if (len > 0)
                len = json_path_add(path, len, SPAN_LITERAL("."));
            len = json_path_add_key(path, len,
                                    (struct span){ scanner->text + frame->at, frame->len });
        }
    }
}

/* Notes a fault where the scan stands, unless there is one already. */
__attribute__((cold))
PRINTF_LIKE(2, 3) static void json_fault_set(struct json_scanner *scanner, const char *fmt, ...)
{
    va_list args;

    if (scanner->fault.found)
        return;
    scanner->fault.found = true;
    json_path_write(scanner, scanner->fault.path);
    va_start(args, fmt);
    (void)vsnprintf(scanner->fault.message, sizeof(scanner->fault.message), fmt, args);
    va_end(args);
}

/* Always NULL, for `return json_break(...)`. */
static const char *json_break(struct json_scanner *scanner, const char *at, const char *message)
{
    scanner->broken = (struct json_broken){ (size_t)(at - scanner->text), message };
    return NULL;
}

static inline const char *json_space(struct json_scanner *scanner, const char *p)
{
    const char *start = p;

    if (p < scanner->end && (unsigned char)*p > ' ')
        return p; /* nearly always */
    while (p < scanner->end && json_class[(unsigned char)*p] == C_SPACE)
        p++;
    scanner->space_bytes += (size_t)(p - start);
    return p;
}

/* The first byte that a string can't simply go on over: a quote, a backslash, a control character
 * or the beginning of something that is not ASCII. */
static inline const char *json_plain(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(' ');

    while (end - p >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i low = _mm_cmplt_epi8(bytes, space); /* signed: 0x80 and above as well */
        __m128i stop = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash));
        unsigned mask = (unsigned)_mm_movemask_epi8(_mm_or_si128(low, stop));

        if (mask)
            return p + __builtin_ctz(mask);
        p += 16;
    }
#endif
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20 &&
           (unsigned char)*p < 0x80)
        p++;
    return p;
}

static int json_hex4(const char *p, const char *end)
{
    int value = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];

        if (c >= '0' && c <= '9')
            value = value << 4 | (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            value = value << 4 | ((c | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return value;
}

/* Reads the \uXXXX at p, or the pair of them that makes one character. Its bytes, or 0 when it
 * stands for no character that a text may hold: *codepoint says why (-1: not four hex digits). */
static size_t json_codepoint(const char *p, const char *end, int *codepoint)
{
    int first = json_hex4(p + 2, end), second;

    *codepoint = first;
    if (first <= 0)
        return 0;
    if (first < 0xD800 || first > 0xDFFF)
        return 6;
    if (first > 0xDBFF || end - p < 12 || p[6] != '\\' || p[7] != 'u')
        return 0;
    second = json_hex4(p + 8, end);
    if (second < 0xDC00 || second > 0xDFFF)
        return 0;
    *codepoint = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    return 12;
}

/* Behind the escape at p. A faulty one is left as early as possible, so that a quote behind it
 * still ends the string. */
static const char *json_escape(struct json_scanner *scanner, const char *p)
{
    size_t len;
    int codepoint;

    if (p + 1 == scanner->end)
        return p + 1;
    if (p[1] != 'u') {
        if (p[1] && strchr("\"\\/bfnrt", p[1]))
            return p + 2;
        json_fault_set(scanner, "a backslash that begins no escape; write \\\\ for a backslash");
        return p + 1;
    }
    len = json_codepoint(p, scanner->end, &codepoint);
    if (len)
        return p + len;
    if (codepoint < 0)
        json_fault_set(scanner, "\\u without four hexadecimal digits");
    else if (codepoint == 0)
        json_fault_set(scanner, "holds U+0000, which can't be stored; leave it out");
    else
        json_fault_set(scanner,
                       "holds the surrogate \\u%04x without its other half; "
                       "send the character itself or both halves",
                       (unsigned)codepoint);
    return p + (codepoint < 0 ? 2 : 6);
}

/* Behind the string whose opening quote is before p. */
static inline const char *json_string(struct json_scanner *scanner, const char *p, bool *has_escape)
{
    const char *start = p - 1;

    for (;;) {
        unsigned char c;
        size_t len;

        p = json_plain(p, scanner->end);
        if (p == scanner->end)
            return json_break(scanner, start, "a text without its closing quote");
        c = (unsigned char)*p;
        if (c == '"')
            return p + 1;
        if (c == '\\') {
            *has_escape = true;
            p = json_escape(scanner, p);
            continue;
        }
        if (c < 0x20) {
            json_fault_set(scanner, "holds the control character 0x%02x; write it as \\u%04x", c,
                           c);
            p++;
            continue;
        }
        len = utf8_char_len(p, (size_t)(scanner->end - p));
        if (!len)
            json_fault_set(scanner, "not UTF-8 at byte 0x%02x; send texts as UTF-8", c);
        p += len ? len : 1;
    }
}

/* Without its sign, and only so far that it is known to be too large. */
static long json_number_exponent(struct span number, size_t exponent_at, bool *down)
{
    size_t i = exponent_at + 1;
    long exponent = 0;

    *down = number.data[i] == '-';
    i += *down || number.data[i] == '+';
    for (; i < number.len && exponent <= JSON_EXPONENT_MAX; i++)
        exponent = exponent * 10 + (number.data[i] - '0');
    return exponent;
}

/* Whether a number of the right form and length has a finite double. strtod would look for the
 * locale's decimal point, so it gets the number as an integer with an exponent. */
static bool json_number_is_finite(struct span number, size_t exponent_at, long exponent)
{
    char text[JSON_NUMBER_CHARS_MAX + 32];
    long fraction = 0;
    size_t len = 0;

    if (exponent + (long)exponent_at < 300)
        return true;
    for (size_t i = 0; i < exponent_at; i++) {
        if (number.data[i] == '.')
            fraction = (long)(exponent_at - i) - 1;
        else
            text[len++] = number.data[i];
    }
    (void)snprintf(text + len, sizeof(text) - len, "e%ld", exponent - fraction);
    return !__builtin_isinf(strtod(text, NULL));
}

static void json_number_check(struct json_scanner *scanner, struct span number, size_t exponent_at)
{
    bool down;
    long exponent = json_number_exponent(number, exponent_at, &down);

    if (!down && !json_number_is_finite(number, exponent_at, exponent))
        json_fault_set(scanner, "too large for a double: %s; send null or text",
                       json_quote(number).text);
    else if (exponent > JSON_EXPONENT_MAX)
        json_fault_set(scanner, "an exponent beyond %d: %s; send 0 or text", JSON_EXPONENT_MAX,
                       json_quote(number).text);
}

static const struct {
    const char *word, *message;
} json_words[] = {
    { "NaN", "NaN is not JSON; send null or leave the member out" },
    { "nan", "nan is not JSON; send null or leave the member out" },
    { "-NaN", "NaN is not JSON; send null or leave the member out" },
    { "Infinity", "Infinity is not JSON; send null or a finite number" },
    { "-Infinity", "-Infinity is not JSON; send null or a finite number" },
    { "inf", "inf is not JSON; send null or a finite number" },
    { "-inf", "-inf is not JSON; send null or a finite number" },
    { "None", "None is not JSON; send null" },
    { "undefined", "undefined is not JSON; send null or leave the member out" },
    { "True", "True is not JSON; send true" },
    { "False", "False is not JSON; send false" },
};

/* Behind the bare word, or the number gone wrong, that begins at `start`. */
static const char *json_word(struct json_scanner *scanner, const char *start)
{
    const char *p = start;
    struct span word;

    while (p < scanner->end && json_class[(unsigned char)*p] <= C_MINUS &&
           json_class[(unsigned char)*p] != C_SPACE)
        p++;
    word = (struct span){ start, (size_t)(p - start) };
    for (size_t i = 0; i < LENGTH(json_words); i++) {
        if (span_is(word, json_words[i].word)) {
            json_fault_set(scanner, "%s", json_words[i].message);
            return p;
        }
    }
    if (strchr("+-.0123456789", *start) && *start)
        json_fault_set(scanner, "not a number as JSON writes it: %s", json_quote(word).text);
    else
        json_fault_set(scanner, "not a JSON value: %s; texts stand in double quotes",
                       json_quote(word).text);
    return p;
}

static inline const char *json_digits(const char *p, const char *end)
{
    while (p < end && (unsigned char)(*p - '0') < 10)
        p++;
    return p;
}

static inline const char *json_number(struct json_scanner *scanner, const char *start)
{
    const char *end = scanner->end, *exponent = NULL, *p = start + (*start == '-'), *digits = p;

    p = json_digits(p, end);
    if (p == digits || (*digits == '0' && p - digits > 1))
        return json_word(scanner, start);
    if (p < end && *p == '.') {
        digits = ++p;
        p = json_digits(p, end);
        if (p == digits)
            return json_word(scanner, start);
    }
    if (p < end && (*p | 0x20) == 'e') {
        exponent = p++;
        p += p < end && (*p == '+' || *p == '-');
        digits = p;
        p = json_digits(p, end);
        if (p == digits)
            return json_word(scanner, start);
    }
    if (p < end && json_class[(unsigned char)*p] <= C_MINUS &&
        json_class[(unsigned char)*p] != C_SPACE)
        return json_word(scanner, start);
    if (p - start > JSON_NUMBER_CHARS_MAX)
        json_fault_set(scanner,
                       "a number of %zu characters, at most %d can be kept; round it or "
                       "send it as text",
                       (size_t)(p - start), JSON_NUMBER_CHARS_MAX);
    else if (exponent)
        json_number_check(scanner, (struct span){ start, (size_t)(p - start) },
                          (size_t)(exponent - start));
    return p;
}

static const char *json_key_text(const struct json_scanner *scanner, const struct json_key *key)
{
    return key->at & JSON_KEY_UNESCAPED ? scanner->unescaped + (key->at & ~JSON_KEY_UNESCAPED)
                                        : scanner->text + key->at;
}

static void json_keys_grow(struct json_scanner *scanner)
{
    struct json_key *old = scanner->keys;
    uint32_t old_slots = scanner->slots;

    scanner->slots *= 2;
    scanner->keys = xcalloc(scanner->slots, sizeof(*scanner->keys));
    for (uint32_t i = 0; i < old_slots; i++) {
        uint32_t to = old[i].hash & (scanner->slots - 1);

        if (old[i].object < scanner->object_first)
            continue;
        while (scanner->keys[to].object)
            to = (to + 1) & (scanner->slots - 1);
        scanner->keys[to] = old[i];
    }
    free(old);
}

/* Remembers that `object` has the key scanner->name; false when it had it already. */
static inline bool json_keys_add(struct json_scanner *scanner, uint32_t object)
{
    struct span name = scanner->name;
    uint64_t seed = scanner->seed + object * UINT64_C(0x9E3779B97F4A7C15);
    uint32_t hash = (uint32_t)XXH3_64bits_withSeed(name.data, name.len, seed);
    struct json_key *key;
    uint32_t i;

    if (scanner->keys_len * 2 >= scanner->slots)
        json_keys_grow(scanner);
    for (i = hash & (scanner->slots - 1);; i = (i + 1) & (scanner->slots - 1)) {
        key = &scanner->keys[i];
        if (key->object < scanner->object_first)
            break;
        if (key->object == object && key->hash == hash && key->len == name.len &&
            memcmp(json_key_text(scanner, key), name.data, name.len) == 0)
            return false;
    }
    key->object = object;
    key->hash = hash;
    key->len = (uint32_t)name.len;
    key->at = scanner->name_has_escape
                  ? (uint32_t)(name.data - scanner->unescaped) | JSON_KEY_UNESCAPED
                  : (uint32_t)(name.data - scanner->text);
    scanner->keys_len++;
    return true;
}

/* Puts the unescaped name behind the others and points scanner->name at it. */
static void json_name_unescape(struct json_scanner *scanner)
{
    size_t room = scanner->name.len, at = scanner->unescaped_len;

    if (scanner->unescaped_cap - at < room) {
        scanner->unescaped_cap = scanner->unescaped_cap * 2 + room;
        scanner->unescaped = xrealloc(scanner->unescaped, scanner->unescaped_cap);
    }
    scanner->name.len = json_unescape(scanner->unescaped + at, scanner->name);
    scanner->name.data = scanner->unescaped + at;
    scanner->unescaped_len += scanner->name.len;
}

/* Behind the name of a member and its colon. */
static inline const char *json_name(struct json_scanner *scanner, const char *p)
{
    struct json_frame *frame =
        scanner->depth <= scanner->depth_max ? &scanner->frames[scanner->depth - 1] : NULL;
    const char *start;

    if (frame)
        frame->at = 0; /* a fault in the name itself is the object's */
    p = json_space(scanner, p);
    if (p == scanner->end || *p != '"')
        return json_break(scanner, p, "expected the name of a member in double quotes");
    start = p + 1;
    scanner->name_has_escape = false;
    p = json_string(scanner, start, &scanner->name_has_escape);
    if (!p)
        return NULL;
    scanner->name = (struct span){ start, (size_t)(p - 1 - start) };
    if (frame) {
        frame->at = (uint32_t)(start - scanner->text);
        frame->len = (uint32_t)scanner->name.len;
        if (scanner->name_has_escape && !scanner->fault.found)
            json_name_unescape(scanner);
        if (scanner->fault.found)
            ; /* the root is lost already */
        else if (scanner->keys_len == JSON_MEMBERS_MAX)
            json_fault_set(scanner, "more than %d members in one event; split it",
                           JSON_MEMBERS_MAX);
        else if (!json_keys_add(scanner, frame->object))
            json_fault_set(scanner, "there is a second member of this name; send one");
    }
    p = json_space(scanner, p);
    if (p == scanner->end || *p != ':')
        return json_break(scanner, p, "expected ':' after the name of a member");
    return p + 1;
}

static inline bool json_in_object(const struct json_scanner *scanner)
{
    size_t bit;

    if (scanner->depth <= scanner->depth_max)
        return scanner->frames[scanner->depth - 1].object != 0;
    bit = scanner->depth - scanner->depth_max - 1;
    return scanner->deep[bit / 8] >> (bit % 8) & 1;
}

/* Below depth_max only the kind of bracket is remembered, a bit each. */
static void json_push_deep(struct json_scanner *scanner, bool is_object)
{
    size_t bit = scanner->depth - scanner->depth_max - 1;

    if (bit == 0)
        json_fault_set(scanner, "nested deeper than %u levels; flatten it or send it as text",
                       scanner->depth_max);
    if (bit / 8 == scanner->deep_cap) {
        scanner->deep_cap = scanner->deep_cap ? scanner->deep_cap * 2 : 64;
        scanner->deep = xrealloc(scanner->deep, scanner->deep_cap);
    }
    if (is_object)
        scanner->deep[bit / 8] |= (uint8_t)(1u << bit % 8);
    else
        scanner->deep[bit / 8] &= (uint8_t) ~(1u << bit % 8);
}

/* Behind the opening bracket before p and, in an object, the first name; or behind the closing
 * bracket when there is nothing between them. */
static inline const char *json_push(struct json_scanner *scanner, const char *p, bool is_object,
                                    bool *is_closed)
{
    scanner->depth++;
    if (scanner->depth <= scanner->depth_max)
        scanner->frames[scanner->depth - 1] =
            (struct json_frame){ is_object ? ++scanner->object : 0, 0, 0 };
    else
        json_push_deep(scanner, is_object);
    p = json_space(scanner, p);
    *is_closed = p < scanner->end && *p == (is_object ? '}' : ']');
    if (*is_closed) {
        scanner->depth--;
        return p + 1;
    }
    return is_object ? json_name(scanner, p) : p;
}

/* Behind a value: closes what closes here. Ends where the next value begins, or where the depth is
 * `base` again. */
static inline const char *json_pop(struct json_scanner *scanner, const char *p, unsigned base)
{
    while (scanner->depth > base) {
        bool is_object = json_in_object(scanner);

        p = json_space(scanner, p);
        if (p == scanner->end)
            return json_break(scanner, p,
                              is_object ? "the text ends inside an object"
                                        : "the text ends inside an array");
        if (*p == ',') {
            if (is_object)
                return json_name(scanner, p + 1);
            if (scanner->depth <= scanner->depth_max)
                scanner->frames[scanner->depth - 1].at++;
            return p + 1;
        }
        if (*p != (is_object ? '}' : ']'))
            return json_break(scanner, p,
                              is_object ? "expected ',' or '}' after a member"
                                        : "expected ',' or ']' after an element");
        scanner->depth--;
        p++;
    }
    return p;
}

static inline const char *json_literal(struct json_scanner *scanner, const char *start,
                                       enum json_type *type)
{
    static const struct {
        struct span text;
        enum json_type type;
    } literals[] = {
        { { "true", 4 }, JSON_TYPE_TRUE },
        { { "false", 5 }, JSON_TYPE_FALSE },
        { { "null", 4 }, JSON_TYPE_NULL },
    };
    size_t left = (size_t)(scanner->end - start);

    for (size_t i = 0; i < LENGTH(literals); i++) {
        size_t len = literals[i].text.len;

        if (left < len || memcmp(start, literals[i].text.data, len) != 0)
            continue;
        if (left > len && json_class[(unsigned char)start[len]] <= C_MINUS &&
            json_class[(unsigned char)start[len]] != C_SPACE)
            break; /* "nullable" */
        *type = literals[i].type;
        return start + len;
    }
    *type = JSON_TYPE_WORD;
    return json_word(scanner, start);
}

/* Reads the value that begins at or after p, with everything inside it, without recursion. */
static const char *json_value(struct json_scanner *scanner, const char *p, struct json_value *value)
{
    unsigned base = scanner->depth;
    enum json_type type = JSON_TYPE_NULL;
    bool is_first = true, has_escape = false, is_closed;
    size_t space_bytes;

    p = json_space(scanner, p);
    value->text.data = p;
    space_bytes = scanner->space_bytes;
    do {
        p = json_space(scanner, p);
        is_closed = true;
        switch (p < scanner->end ? json_class[(unsigned char)*p] : C_OTHER) {
        case C_QUOTE:
            type = JSON_TYPE_STRING;
            p = json_string(scanner, p + 1, &has_escape);
            break;
        case C_DIGIT:
        case C_MINUS:
            type = JSON_TYPE_NUMBER;
            p = json_number(scanner, p);
            break;
        case C_OBJECT:
            type = JSON_TYPE_OBJECT;
            p = json_push(scanner, p + 1, true, &is_closed);
            break;
        case C_ARRAY:
            type = JSON_TYPE_ARRAY;
            p = json_push(scanner, p + 1, false, &is_closed);
            break;
        case C_WORD:
            p = json_literal(scanner, p, &type);
            break;
        default:
            p = json_break(scanner, p,
                           p < scanner->end ? "expected a value"
                                            : "the text ends where a value belongs");
        }
        if (is_first) {
            value->type = type;
            value->has_escape = has_escape;
            is_first = false;
        }
        if (p && is_closed)
            p = json_pop(scanner, p, base);
    } while (p && scanner->depth > base);
    if (!p)
        return NULL;
    value->text.len = (size_t)(p - value->text.data);
    value->space_bytes = scanner->space_bytes - space_bytes;
    return p;
}

void json_open(struct json_scanner *scanner, struct span text, unsigned depth_max)
{
    assert(text.len <= JSON_TEXT_BYTES_MAX && depth_max > 0);
    scanner->text = scanner->at = text.len ? text.data : "";
    scanner->end = scanner->text + text.len;
    scanner->depth_max = depth_max;
    if (scanner->frames_cap < depth_max) {
        scanner->frames = xreallocarray(scanner->frames, depth_max, sizeof(*scanner->frames));
        scanner->frames_cap = depth_max;
    }
    if (scanner->deep_cap > JSON_KEPT_BYTES_MAX) {
        free(scanner->deep);
        scanner->deep = NULL;
        scanner->deep_cap = 0;
    }
    if (scanner->unescaped_cap > JSON_KEPT_BYTES_MAX) {
        free(scanner->unescaped);
        scanner->unescaped = NULL;
        scanner->unescaped_cap = 0;
    }
}

int json_peek(struct json_scanner *scanner)
{
    scanner->at = json_space(scanner, scanner->at);
    return scanner->at < scanner->end ? (unsigned char)*scanner->at : -1;
}

size_t json_offset(const struct json_scanner *scanner)
{
    return (size_t)(scanner->at - scanner->text);
}

const struct json_broken *json_broken(const struct json_scanner *scanner)
{
    return &scanner->broken;
}

const struct json_fault *json_fault(const struct json_scanner *scanner)
{
    return &scanner->fault;
}

int json_close(struct json_scanner *scanner)
{
    if (json_peek(scanner) < 0)
        return 0;
    (void)json_break(scanner, scanner->at, "something follows the end of the value");
    return -1;
}

void json_array_begin(struct json_scanner *scanner)
{
    int c = json_peek(scanner);

    assert(c == '[');
    scanner->at++;
    scanner->begun = true;
}

int json_array_next(struct json_scanner *scanner)
{
    int c = json_peek(scanner);
    bool begun = scanner->begun;

    scanner->begun = false;
    if (c == ']') {
        scanner->at++;
        return 0;
    }
    if (begun && c >= 0)
        return 1;
    if (c == ',') {
        scanner->at++;
        return 1;
    }
    (void)json_break(scanner, scanner->at,
                     c < 0 ? "the text ends inside an array"
                           : "expected ',' or ']' after an element");
    return -1;
}

/* A new root: what is remembered of the one before is forgotten by moving object_first. */
static void json_root_begin(struct json_scanner *scanner)
{
    if (scanner->object > UINT32_MAX / 2) { /* one root can't have that many objects */
        memset(scanner->keys, 0, scanner->slots * sizeof(*scanner->keys));
        scanner->object = 0;
    }
    scanner->object_first = scanner->object + 1;
    scanner->keys_len = 0;
    scanner->unescaped_len = 0;
    scanner->fault.found = false;
    scanner->depth = 0;
}

int json_scan(struct json_scanner *scanner, struct json_value *value)
{
    const char *p;

    json_root_begin(scanner);
    p = json_value(scanner, scanner->at, value);
    if (!p)
        return -1;
    scanner->at = p;
    return 0;
}

void json_object_begin(struct json_scanner *scanner)
{
    int c = json_peek(scanner);

    assert(c == '{');
    json_root_begin(scanner);
    scanner->at++;
    scanner->depth = 1;
    scanner->frames[0] = (struct json_frame){ ++scanner->object, 0, 0 };
    scanner->begun = true;
}

int json_object_next(struct json_scanner *scanner, struct json_member *member)
{
    const char *p = scanner->at;
    size_t name_at = 0;

    if (scanner->begun) {
        scanner->begun = false;
        p = json_space(scanner, p);
        if (p < scanner->end && *p == '}') {
            scanner->depth = 0;
            scanner->at = p + 1;
            return 0;
        }
        p = json_name(scanner, p);
    } else {
        p = json_pop(scanner, p, 0);
    }
    if (!p)
        return -1;
    if (scanner->depth == 0) {
        scanner->at = p;
        return 0;
    }
    member->raw = (struct span){ scanner->text + scanner->frames[0].at, scanner->frames[0].len };
    member->name = scanner->name;
    member->has_escape = scanner->name_has_escape;
    if (member->name.data != member->raw.data)
        name_at = (size_t)(member->name.data - scanner->unescaped);
    p = json_value(scanner, p, &member->value);
    if (!p)
        return -1;
    if (member->name.data != member->raw.data)
        member->name.data = scanner->unescaped + name_at; /* other names may have moved it */
    scanner->at = p;
    return 1;
}

void json_position(struct span text, size_t offset, uint32_t *line, uint32_t *column)
{
    size_t start = 0;

    assert(offset <= text.len);
    *line = 1;
    for (;;) {
        const char *feed = offset > start ? memchr(text.data + start, '\n', offset - start) : NULL;

        if (!feed)
            break;
        start = (size_t)(feed - text.data) + 1;
        ++*line;
    }
    *column = (uint32_t)(offset - start) + 1;
}

/* Behind the string whose opening quote is before p, in JSON that was checked. */
static const char *json_string_end(const char *p, const char *end, bool *has_escape)
{
    for (;;) {
        p = json_plain(p, end);
        if (p == end)
            return end;
        if (*p == '"')
            return p + 1;
        if (*p == '\\') {
            *has_escape = true;
            p += p + 1 < end;
        }
        p++;
    }
}

size_t json_squeeze(char *text, size_t len)
{
    const char *p = text, *end = text + len;
    char *out = text;
    bool has_escape;

    while (p < end) {
        const char *from = p;

        if (json_class[(unsigned char)*p] == C_SPACE) {
            p++;
            continue;
        }
        p = *p == '"' ? json_string_end(p + 1, end, &has_escape) : p + 1;
        memmove(out, from, (size_t)(p - from));
        out += p - from;
    }
    return (size_t)(out - text);
}

size_t json_unescape(char *out, struct span raw)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *p = raw.data, *end = raw.data + raw.len;
    char *start = out;

    while (p < end) {
        const char *found;
        size_t len;
        int codepoint;

        if (*p != '\\' || p + 1 == end) {
            *out++ = *p++;
            continue;
        }
        found = p[1] ? strchr(from, p[1]) : NULL;
        if (found) {
            *out++ = to[found - from];
            p += 2;
            continue;
        }
        len = p[1] == 'u' ? json_codepoint(p, end, &codepoint) : 0;
        if (!len) {
            *out++ = *p++;
            continue;
        }
        out += utf8_put(out, (uint32_t)codepoint);
        p += len;
    }
    return (size_t)(out - start);
}

struct json_walk json_walk_begin(struct span object)
{
    const char *end = object.data + object.len;

    return (struct json_walk){ object.len ? object.data + 1 : end, end };
}

/* Behind the value at p. */
static const char *json_walk_skip(const char *p, const char *end, bool *has_escape)
{
    size_t depth = 0;

    do {
        switch (p < end ? json_class[(unsigned char)*p] : C_OTHER) {
        case C_QUOTE:
            p = json_string_end(p + 1, end, has_escape);
            break;
        case C_OBJECT:
        case C_ARRAY:
            depth++;
            p++;
            break;
        case C_OTHER:
            if (p == end)
                return end;
            if (*p == '}' || *p == ']') {
                if (depth == 0)
                    return p;
                depth--;
            } else if (depth == 0) {
                return p;
            }
            p++;
            break;
        default:
            while (p < end && json_class[(unsigned char)*p] <= C_MINUS)
                p++;
        }
    } while (depth > 0);
    return p;
}

static enum json_type json_walk_type(char c)
{
    switch (c) {
    case '{':
        return JSON_TYPE_OBJECT;
    case '[':
        return JSON_TYPE_ARRAY;
    case '"':
        return JSON_TYPE_STRING;
    case 't':
        return JSON_TYPE_TRUE;
    case 'f':
        return JSON_TYPE_FALSE;
    case 'n':
        return JSON_TYPE_NULL;
    default:
        return JSON_TYPE_NUMBER;
    }
}

/* Reads a name and its colon; the value's first byte, or NULL where no member stands. */
static inline const char *json_walk_name(const char *p, const char *end, struct json_member *member)
{
    const char *name = p + 1;

    if (p == end || *p != '"')
        return NULL;
    member->has_escape = false;
    p = json_string_end(name, end, &member->has_escape);
    if (end - p < 2)
        return NULL;
    member->name = member->raw = (struct span){ name, (size_t)(p - 1 - name) };
    p++; /* the colon */
    member->value = (struct json_value){ .type = json_walk_type(*p), .text = { p, 0 } };
    return p;
}

static inline void json_walk_value(struct json_walk *walk, const char *p,
                                   struct json_member *member)
{
    walk->at = json_walk_skip(p, walk->end, &member->value.has_escape);
    member->value.text.len = (size_t)(walk->at - p);
}

bool json_walk_next(struct json_walk *walk, struct json_member *member)
{
    const char *p = walk->at, *end = walk->end;

    if (p < end && *p == ',')
        p++;
    p = json_walk_name(p, end, member);
    if (!p)
        return false;
    json_walk_value(walk, p, member);
    return true;
}

enum json_step json_walk_step(struct json_walk *walk, struct json_member *member)
{
    const char *p = walk->at, *end = walk->end;

    if (p < end && *p == ',')
        p++;
    if (p < end && *p == '}') {
        walk->at = p + 1;
        return JSON_STEP_LEAVE;
    }
    p = json_walk_name(p, end, member);
    if (!p)
        return JSON_STEP_END;
    if (member->value.type == JSON_TYPE_OBJECT) {
        walk->at = p + 1;
        return JSON_STEP_ENTER;
    }
    json_walk_value(walk, p, member);
    return JSON_STEP_MEMBER;
}
