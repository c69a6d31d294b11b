/* Who may, where a browser asks: a page of somewhere else may not send it here.
 *
 * Any page may post to any address without asking first, and its browser is on the right side of
 * the firewall, may hold a key for Basic, or is let in without one. A page may also give its own
 * name this machine's address (DNS rebinding): then it is at home here, and reads. What it can't
 * change is what its browser says of it: Origin, Sec-Fetch-Site, and in Host its name. */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "http_internal.h"

/* Whether no stranger can say that it is this machine: an address, a name below localhost, or one
 * without a dot, which is for the network's own name server to give: where that is a stranger's,
 * keys_on is what helps. `host`: HOST[:PORT]. */
static bool http_browser_is_fixed(const char *host)
{
    static const char local[] = ".localhost";
    bool is_v6 = host[0] == '[';
    size_t len = strcspn(host + is_v6, is_v6 ? "]" : ":");
    AUTO(mem_free) char *name = xmemdup0(host + is_v6, len);
    struct in6_addr addr;

    if (inet_pton(is_v6 ? AF_INET6 : AF_INET, name, &addr) == 1)
        return true;
    if (len && name[len - 1] == '.')
        name[--len] = '\0';
    return !strchr(name, '.') ||
           (len >= strlen(local) && strcasecmp(name + len - strlen(local), local) == 0);
}

static int http_browser_refuse(struct http_request *request, enum stats_item stat)
{
    stats_add(request->http->setup.stats, stat, 1);
    request->discard_bytes_max = HTTP_STRANGER_BYTES_MAX;
    return -1;
}

static int http_browser_check_host(struct http_request *request, const char *host,
                                   struct fault *fault)
{
    if (!request->http->is_private || !host || http_browser_is_fixed(host))
        return 0;
    (void)fault_set(fault, MHD_HTTP_FORBIDDEN, "forbidden", MHD_HTTP_HEADER_HOST,
                    "without keys this server goes by its address or localhost, not by \"%.*s\": "
                    "ask for it so, or set keys_on or keys_off",
                    fault_quote_len(strlen(host)), host);
    return http_browser_refuse(request, STAT_BROWSER_HOST);
}

/* Schemes are not compared: what a proxy takes by https may come here by http. */
static int http_browser_check_origin(struct http_request *request, const char *host,
                                     struct fault *fault)
{
    const char *origin = http_request_header(request, MHD_HTTP_HEADER_ORIGIN);
    const char *page = origin ? strstr(origin, "://") : NULL;

    if (!origin || (page && host && strcasecmp(page + 3, host) == 0))
        return 0;
    (void)fault_set(fault, MHD_HTTP_FORBIDDEN, "forbidden", MHD_HTTP_HEADER_ORIGIN,
                    "a page of \"%.*s\" may not ask this server, which is \"%.*s\"; a proxy in "
                    "between has to pass Host on",
                    fault_quote_len(strlen(origin)), origin,
                    host ? fault_quote_len(strlen(host)) : 0, host ? host : "");
    return http_browser_refuse(request, STAT_BROWSER_ORIGIN);
}

/* An image or a script of a page has no Origin. A link that somebody follows has a right to be. */
static int http_browser_check_site(struct http_request *request, struct fault *fault)
{
    const char *site = http_request_header(request, "Sec-Fetch-Site");
    const char *mode = http_request_header(request, "Sec-Fetch-Mode");

    if (!site || strcmp(site, "cross-site") != 0 || (mode && strcmp(mode, "navigate") == 0))
        return 0;
    (void)fault_set(fault, MHD_HTTP_FORBIDDEN, "forbidden", "Sec-Fetch-Site",
                    "a page of another site may not ask this server");
    return http_browser_refuse(request, STAT_BROWSER_ORIGIN);
}

int http_browser_check(struct http_request *request, struct fault *fault)
{
    const char *host = http_request_header(request, MHD_HTTP_HEADER_HOST);

    if (http_browser_check_host(request, host, fault) < 0 ||
        http_browser_check_origin(request, host, fault) < 0)
        return -1;
    return http_browser_check_site(request, fault);
}
