#include "collector/secret.h"

#include <stddef.h>
#include <string.h>

/* Stars up to the end or the first of `ends`; what comes behind. */
static char *secret_star(char *text, const char *ends)
{
    while (*text && !strchr(ends, *text))
        *text++ = '*';
    return text;
}

/* A value in quotes: a backslash takes the next character with it. */
static char *secret_star_quoted(char *text)
{
    for (; *text && *text != '\''; text++) {
        if (*text == '\\' && text[1])
            *text++ = '*';
        *text = '*';
    }
    return text;
}

/* postgresql://USER:PASSWORD@HOST/DATABASE?sslpassword=... A password with an '@' or a '/' that
 * should have been escaped ends at the last '@' all the same. */
static bool secret_mask_user(char *rest)
{
    char *at = strrchr(rest, '@');
    char *colon = at ? memchr(rest, ':', (size_t)(at - rest)) : NULL;

    if (!colon || colon + 1 == at)
        return false;
    memset(colon + 1, '*', (size_t)(at - colon - 1));
    return true;
}

bool secret_mask_dsn(char *dsn)
{
    static const char name[] = "password";
    char *scheme = strstr(dsn, "://");
    bool found = scheme && secret_mask_user(scheme + 3);

    for (char *at = dsn; (at = strstr(at, name));) {
        at += strlen(name);
        at += strspn(at, " \t\r\n");
        if (*at != '=')
            continue;
        at++;
        if (!scheme)
            at += strspn(at, " \t\r\n");
        found = found || *at;
        at = !scheme && *at == '\'' ? secret_star_quoted(at + 1)
                                    : secret_star(at, scheme ? "&" : " \t\r\n");
    }
    return found;
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
