#include "collector/key.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/random.h"

enum { KEY_RANDOM_BYTES = 32, KEY_BASIC_BYTES_MAX = 4096 };

static const char key_prefix[] = "plb_";
static const char key_id_letters[] = "abcdefghijklmnopqrstuvwxyz234567";
static const char key_secret_letters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static const char *const key_scope_names[] = { "ingest", "read", "lineage", "admin" };

void key_make(char text[static KEY_TEXT_BYTES])
{
    unsigned char random[KEY_RANDOM_BYTES], letters[KEY_ID_LEN];
    char *p = text + strlen(key_prefix);
    unsigned bits = 0, len = 0;

    random_fill(random, sizeof(random));
    random_fill(letters, sizeof(letters));
    memcpy(text, key_prefix, (size_t)(p - text));
    for (size_t i = 0; i < KEY_ID_LEN; i++)
        *p++ = key_id_letters[letters[i] & 31];
    *p++ = '_';
    for (size_t i = 0; i < KEY_RANDOM_BYTES; i++) {
        bits = bits << 8 | random[i];
        for (len += 8; len >= 6; len -= 6)
            *p++ = key_secret_letters[bits >> (len - 6) & 63];
    }
    *p++ = key_secret_letters[bits << (6 - len) & 63];
    *p = '\0';
    gnutls_memset(random, 0, sizeof(random));
}

/* Whether `text` has `len` bytes of these letters at its beginning. */
static bool key_begins(struct span text, size_t len, const char *letters)
{
    if (text.len < len)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!text.data[i] || !strchr(letters, text.data[i]))
            return false;
    }
    return true;
}

static struct span key_skip(struct span text, size_t len)
{
    return (struct span){ text.data + len, text.len - len };
}

int key_id(struct span text, char id[static KEY_ID_BYTES])
{
    if (text.len >= strlen(key_prefix) && memcmp(text.data, key_prefix, strlen(key_prefix)) == 0)
        text = key_skip(text, strlen(key_prefix));
    if (!key_begins(text, KEY_ID_LEN, key_id_letters) ||
        (text.len > KEY_ID_LEN && text.data[KEY_ID_LEN] != '_'))
        return -1;
    memcpy(id, text.data, KEY_ID_LEN);
    id[KEY_ID_LEN] = '\0';
    return 0;
}

bool key_is_whole(struct span text)
{
    char id[KEY_ID_BYTES];

    return text.len == KEY_TEXT_LEN && memcmp(text.data, key_prefix, strlen(key_prefix)) == 0 &&
           key_id(text, id) == 0 &&
           key_begins(key_skip(text, KEY_TEXT_LEN - KEY_SECRET_LEN), KEY_SECRET_LEN,
                      key_secret_letters);
}

void key_hash(struct span text, unsigned char hash[static KEY_HASH_BYTES])
{
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, text.data, text.len, hash) < 0)
        abort(); /* a library that can't is broken, and nobody may be let in by what was there */
}

bool key_hash_equal(const unsigned char a[static KEY_HASH_BYTES],
                    const unsigned char b[static KEY_HASH_BYTES])
{
    return gnutls_memcmp(a, b, KEY_HASH_BYTES) == 0;
}

static struct span key_trim(struct span text)
{
    while (text.len && (*text.data == ' ' || *text.data == '\t'))
        text = key_skip(text, 1);
    while (text.len && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

static bool key_has_scheme(struct span text, const char *scheme)
{
    size_t len = strlen(scheme);

    return text.len > len && strncasecmp(text.data, scheme, len) == 0 && text.data[len] == ' ';
}

static void key_from_basic(struct span text, struct buf *key)
{
    AUTO(buf_done) struct buf login;
    const char *colon = NULL;

    buf_init(&login, KEY_BASIC_BYTES_MAX);
    if (base64_decode(text, &login) == 0 && !login.full && login.len)
        colon = memchr(login.data, ':', login.len);
    if (colon)
        text = (struct span){ colon + 1, login.len - (size_t)(colon + 1 - login.data) };
    buf_append_span(key, text);
    if (login.len)
        gnutls_memset(login.data, 0, login.len);
}

void key_from_header(struct span value, struct buf *key)
{
    value = key_trim(value);
    if (key_has_scheme(value, "Basic"))
        key_from_basic(key_trim(key_skip(value, strlen("Basic"))), key);
    else if (key_has_scheme(value, "Bearer"))
        buf_append_span(key, key_trim(key_skip(value, strlen("Bearer"))));
    else
        buf_append_span(key, value);
}

int key_scopes_parse(const char *text, unsigned *scopes, struct err *err)
{
    unsigned found = 0;

    for (size_t len; *text; text += len + (text[len] == ',')) {
        size_t i = 0;

        len = strcspn(text, ",");
        while (i < LENGTH(key_scope_names) &&
               !span_equal((struct span){ text, len }, span_of(key_scope_names[i])))
            i++;
        if (i == LENGTH(key_scope_names))
            return err_set(err, ERR_INPUT,
                           "\"%.*s\" is not a scope; use ingest, read, lineage or admin, with "
                           "commas between",
                           (int)(len < 40 ? len : 40), text);
        found |= 1u << i;
    }
    if (!found)
        return err_set(err, ERR_INPUT,
                       "a key needs a scope; use ingest, read, lineage or admin, with commas "
                       "between");
    *scopes = found;
    return 0;
}

void key_scopes_format(unsigned scopes, const char *separator,
                       char text[static KEY_SCOPES_TEXT_BYTES])
{
    int len = 0;

    text[0] = '\0';
    for (size_t i = 0; i < LENGTH(key_scope_names); i++) {
        if (scopes & 1u << i)
            len += snprintf(text + len, KEY_SCOPES_TEXT_BYTES - (size_t)len, "%s%s",
                            len ? separator : "", key_scope_names[i]);
    }
}
