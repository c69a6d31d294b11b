#include "members_internal.h"

#include <stddef.h>

static bool members_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void members_skip(struct span *rest, size_t len)
{
    rest->data += len;
    rest->len -= len;
}

static void members_skip_space(struct span *rest)
{
    while (rest->len > 0 && members_is_space(*rest->data))
        members_skip(rest, 1);
}

static bool members_skip_char(struct span *rest, char c)
{
    members_skip_space(rest);
    if (rest->len == 0 || *rest->data != c)
        return false;
    members_skip(rest, 1);
    return true;
}

/* The length of the string that begins at data[0], quotes included; 0: it does not end. */
static size_t members_string_len(struct span text)
{
    for (size_t i = 1; i < text.len; i++) {
        if (text.data[i] == '\\')
            i++;
        else if (text.data[i] == '"')
            return i + 1;
    }
    return 0;
}

/* The length of the value at data[0]; 0: it does not end. Brackets are counted, not matched. */
static size_t members_value_len(struct span text)
{
    size_t depth = 0, i = 0;

    while (i < text.len) {
        const char c = text.data[i];

        if (c == '"') {
            size_t len = members_string_len((struct span){ text.data + i, text.len - i });

            if (len == 0)
                return 0;
            i += len;
            if (depth == 0)
                return i;
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']' || members_is_space(c)))
            return i;
        if (c == '{' || c == '[')
            depth++;
        if ((c == '}' || c == ']') && --depth == 0)
            return i + 1;
        i++;
    }
    return 0;
}

bool members_begin(struct span text, struct span *rest)
{
    *rest = text;
    return members_skip_char(rest, '{');
}

int members_next(struct span *rest, struct member *member)
{
    size_t len;

    if (members_skip_char(rest, '}')) {
        members_skip_space(rest);
        return rest->len == 0 ? 0 : -1;
    }
    members_skip_space(rest);
    if (rest->len == 0 || *rest->data != '"')
        return -1;
    len = members_string_len(*rest);
    if (len == 0)
        return -1;
    member->key = (struct span){ rest->data + 1, len - 2 };
    members_skip(rest, len);
    if (!members_skip_char(rest, ':'))
        return -1;
    members_skip_space(rest);
    len = members_value_len(*rest);
    if (len == 0)
        return -1;
    member->value = (struct span){ rest->data, len };
    members_skip(rest, len);
    members_skip_space(rest);
    if (rest->len > 0 && *rest->data == '}')
        return 1;
    return members_skip_char(rest, ',') ? 1 : -1;
}
