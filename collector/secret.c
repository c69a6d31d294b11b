#include "collector/secret.h"

#include <libpq-fe.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "collector/key.h"

/* Stars up to the end or the first of `ends`; what comes behind. */
static char *secret_star(char *text, const char *ends)
{
    while (*text && !strchr(ends, *text))
        *text++ = '*';
    return text;
}

/* The same, where a backslash takes the next character with it. */
static char *secret_star_escaped(char *text, const char *ends)
{
    for (; *text && !strchr(ends, *text); text++) {
        if (*text == '\\' && text[1])
            *text++ = '*';
        *text = '*';
    }
    return text;
}

/* NAME=..., and libpq knows the name. */
static bool secret_is_parameter(const PQconninfoOption *options, const char *text)
{
    size_t len = strcspn(text, "=&");

    for (; text[len] == '=' && options->keyword; options++) {
        if (strlen(options->keyword) == len && memcmp(options->keyword, text, len) == 0)
            return true;
    }
    return false;
}

/* HOST[:PORT],HOST[:PORT]/ with ports that are numbers: libpq would quote any other. */
static bool secret_is_hosts(const char *text)
{
    for (text += strcspn(text, ":/"); *text == ':'; text += strcspn(text, ":/")) {
        text += 1 + strspn(text + 1, "0123456789");
        if (*text != ',' && *text != '/')
            return false;
    }
    return *text == '/';
}

/* Where the parameters of a URI begin, or its end. Up to the first '/' all in front of an '@' is of
 * the user for libpq. A '?' behind that may be of a password with a '/' that should have been
 * escaped, unless hosts are in front of it and a parameter follows. */
static char *secret_parameters(char *rest)
{
    PQconninfoOption *options = PQconninfoParse("", NULL);
    char *hosts = rest + strcspn(rest, "@/"), *at;

    hosts = *hosts == '@' ? hosts + 1 : rest;
    at = options && secret_is_hosts(hosts) ? strchr(hosts, '?') : NULL;
    while (at && !secret_is_parameter(options, at + 1))
        at = strpbrk(at + 1, "?&");
    PQconninfoFree(options);
    return at ? at : rest + strlen(rest);
}

/* postgresql://USER:PASSWORD@HOST/DATABASE?sslpassword=... A password with an '@' or a '/' that
 * should have been escaped ends at the last '@' all the same. */
static bool secret_mask_user(char *rest)
{
    char *at = memrchr(rest, '@', (size_t)(secret_parameters(rest) - rest));
    char *colon = at ? memchr(rest, ':', (size_t)(at - rest)) : NULL;

    if (!colon || colon + 1 == at)
        return false;
    memset(colon + 1, '*', (size_t)(at - colon - 1));
    return true;
}

/* SCHEME://... or --option=SCHEME://... */
static bool secret_is_uri(const char *text)
{
    if (strncmp(text, "--", 2) == 0) {
        text += strcspn(text, "=");
        text += *text == '=';
    }
    text += strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return strncmp(text, "://", 3) == 0;
}

/* Nobody needs a percent sign in the name of a parameter, but "p%61ssword" is one. */
static bool secret_mask_encoded(char *uri)
{
    bool found = false;

    for (char *at = uri; (at = strpbrk(at, "?&"));) {
        char *name = ++at;

        at += strcspn(at, "=&");
        if (*at != '=' || !memchr(name, '%', (size_t)(at - name)))
            continue;
        found = true;
        at = secret_star(at + 1, "&");
    }
    return found;
}

static bool secret_mask_values(char *dsn, bool is_uri)
{
    static const char name[] = "password";
    bool found = false;

    for (char *at = dsn; (at = strcasestr(at, name));) {
        at += strlen(name);
        at += strspn(at, " \t\r\n");
        if (*at != '=')
            continue;
        at++;
        if (!is_uri)
            at += strspn(at, " \t\r\n");
        found = found || *at;
        if (is_uri)
            at = secret_star(at, "&");
        else if (*at == '\'')
            at = secret_star_escaped(at + 1, "'");
        else
            at = secret_star_escaped(at, " \t\r\n");
    }
    return found;
}

bool secret_mask_dsn(char *dsn)
{
    bool is_uri = secret_is_uri(dsn);
    char *scheme = strstr(dsn, "://");
    bool found = scheme && secret_mask_user(scheme + 3);

    found = secret_mask_values(dsn, is_uri) || found;
    return (is_uri && secret_mask_encoded(dsn)) || found;
}

void secret_mask_keys(char *text)
{
    static const char prefix[] = "plb_";

    for (char *at = text; (at = strstr(at, prefix));) {
        at += strlen(prefix);
        if (strlen(at) > KEY_ID_LEN && at[KEY_ID_LEN] == '_')
            at = secret_star(at + KEY_ID_LEN + 1, " \t\r\n");
    }
}

char *secret_masked(const char *text)
{
    char *copy = xstrdup(text);

    (void)secret_mask_dsn(copy);
    secret_mask_keys(copy);
    return copy;
}

/* Whether a property of this name is nobody's business: sasl.password, ssl.key.pem,
 * sasl.oauthbearer.client.secret, ... */
static bool secret_is_property(const char *name, size_t len)
{
    static const char *const parts[] = { "password", "secret", "key.pem", "oauthbearer.config" };

    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        if (memmem(name, len, parts[i], strlen(parts[i])))
            return true;
    }
    return false;
}

void secret_mask_properties(char *lines)
{
    while (lines && *lines) {
        size_t name = strcspn(lines, "=\n");

        if (lines[name] == '=' && secret_is_property(lines, name))
            (void)secret_star(lines + name + 1, "\n");
        lines += strcspn(lines, "\n");
        lines += *lines == '\n';
    }
}
