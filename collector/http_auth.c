/* Who may: the key of a request, before anything else of it is read.
 *
 * A key is found in memory (keyring.c), so that this neither waits nor asks anybody. Who has none
 * or a wrong one costs a few microseconds and no memory: the body is not kept, and after some wrong
 * keys from one address the answer is 429 on a connection that closes. No rate of guesses is a
 * danger to 256 random bits; the limit is for the log and the processor. A good key is never held
 * up by wrong ones from the same address, which may be that of a proxy. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "http_internal.h"

enum {
    /* What Postgres has to answer anyway is refused when it could not be asked for the keys for so
     * long: a key that was revoked reads nothing and changes no graph after this. */
    AUTH_FRESH_MS = 5000,
    AUTH_FAILURES = 10, /* wrong keys of an address at once, then one in AUTH_FAILURE_US */
    AUTH_LINES = 10,    /* the same for lines of the log, whatever address it is */
};
#define AUTH_FAILURE_US INT64_C(6000000)

struct span http_network(const struct sockaddr *addr)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)addr;

    if (addr->sa_family == AF_INET)
        return (struct span){
            (const char *)&((const struct sockaddr_in *)(const void *)addr)->sin_addr, 4
        };
    if (addr->sa_family != AF_INET6)
        return SPAN_LITERAL("?");
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        return (struct span){ (const char *)&in6->sin6_addr + 12, 4 };
    return (struct span){ (const char *)&in6->sin6_addr, HTTP_NETWORK_BYTES };
}

static const struct sockaddr *http_auth_peer(const struct http_request *request)
{
    static const struct sockaddr unknown = { .sa_family = AF_UNSPEC };
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    return info && info->client_addr ? info->client_addr : &unknown;
}

/* Of the key no more than its id: what is wrong may be somebody's password. */
static void http_auth_log(struct http_request *request, const char *reason, const char *id)
{
    const struct sockaddr *peer = http_auth_peer(request);
    char address[INET6_ADDRSTRLEN] = "?";
    int64_t wait_us;

    if (!rate_take(&request->http->refusals, clock_mono_us(), AUTH_FAILURE_US, AUTH_LINES,
                   &wait_us))
        return;
    if (peer->sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)peer)->sin_addr,
                        address, sizeof(address));
    else if (peer->sa_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr,
                        address, sizeof(address));
    log_warn("event=key_refused reason=%s key=%s address=%s route=%s", reason, *id ? id : "-",
             address, request->route->path);
}

static int http_auth_missing(struct http_request *request, struct fault *fault)
{
    stats_add(request->http->setup.stats, STAT_KEY_MISSING, 1);
    return fault_set(fault, MHD_HTTP_UNAUTHORIZED, "missing_key", MHD_HTTP_HEADER_AUTHORIZATION,
                     "a key is needed: send one as \"Authorization: Bearer KEY\", or as the "
                     "password of Basic");
}

/* Not there, revoked, or with another secret: strangers learn nothing of which it is. */
static int http_auth_unknown(struct http_request *request, struct span text, struct fault *fault)
{
    struct stats *stats = request->http->setup.stats;
    char id[KEY_ID_BYTES] = "";
    int64_t wait_us;

    if (!key_is_whole(text) || key_id(text, id) < 0)
        id[0] = '\0';
    stats_add(stats, STAT_KEY_UNKNOWN, 1);
    if (rates_take(request->http->failures, http_network(http_auth_peer(request)), clock_mono_us(),
                   AUTH_FAILURE_US, AUTH_FAILURES, &wait_us)) {
        http_auth_log(request, "unknown", id);
        return fault_set(fault, MHD_HTTP_UNAUTHORIZED, "wrong_key", MHD_HTTP_HEADER_AUTHORIZATION,
                         "there is no such key: it is mistyped, was revoked, or is another "
                         "server's");
    }
    stats_add(stats, STAT_KEY_SLOWED, 1);
    request->retry_ms = (wait_us + 999) / 1000;
    request->closes = true;
    return fault_set(fault, MHD_HTTP_TOO_MANY_REQUESTS, "too_many_failures", NULL,
                     "too many wrong keys came from this address: try again later");
}

static int http_auth_expired(struct http_request *request, const struct key *key,
                             struct fault *fault)
{
    char time[CLOCK_TEXT_BYTES];

    clock_format(key->expires_ms, time);
    stats_add(request->http->setup.stats, STAT_KEY_EXPIRED, 1);
    http_auth_log(request, "expired", key->id);
    return fault_set(fault, MHD_HTTP_UNAUTHORIZED, "expired_key", MHD_HTTP_HEADER_AUTHORIZATION,
                     "the key %s expired at %s", key->id, time);
}

static int http_auth_check_age(struct http_request *request, struct fault *fault)
{
    const struct http_setup *setup = &request->http->setup;
    int64_t max_ms = request->route->run ? AUTH_FRESH_MS : setup->config->keys_stale_max;

    if (keyring_age_ms(setup->keyring, clock_mono_ms()) <= max_ms)
        return 0;
    stats_add(setup->stats, STAT_KEY_STALE, 1);
    return fault_set(fault, MHD_HTTP_SERVICE_UNAVAILABLE, "keys_stale", NULL,
                     "the database can't be asked whether the key still holds: send it again "
                     "later");
}

static int http_auth_check_rate(struct http_request *request, struct key *key, struct fault *fault)
{
    const struct config *config = request->http->setup.config;
    int64_t per_s = key->requests_per_s, burst = config->rate_limit_burst, wait_us;

    if (per_s == KEY_RATE_DEFAULT)
        per_s = config->rate_limit_requests_per_s;
    if (!per_s || rate_take(&key->rate, clock_mono_us(), 1000000 / per_s, burst ? burst : 2 * per_s,
                            &wait_us))
        return 0;
    stats_add(request->http->setup.stats, STAT_KEY_LIMITED, 1);
    request->retry_ms = (wait_us + 999) / 1000;
    return fault_set(fault, MHD_HTTP_TOO_MANY_REQUESTS, "rate_limited", NULL,
                     "the key %s may send %lld requests a second: nothing was stored, send it "
                     "again later",
                     key->id, (long long)per_s);
}

static unsigned http_auth_scopes(const struct http_request *request)
{
    const struct http_route *route = request->route;

    if (route->is_atlas &&
        query_atlas_writes((struct span){ request->argument, request->argument_len },
                           route->query_method))
        return KEY_LINEAGE;
    return route->scopes;
}

static int http_auth_check_scope(struct http_request *request, const struct key *key,
                                 struct fault *fault)
{
    unsigned scopes = http_auth_scopes(request);
    char wanted[KEY_SCOPES_TEXT_BYTES], had[KEY_SCOPES_TEXT_BYTES];

    if (!(key->scopes & scopes)) {
        key_scopes_format(scopes, " or ", wanted);
        key_scopes_format(key->scopes, ", ", had);
        stats_add(request->http->setup.stats, STAT_KEY_SCOPE, 1);
        return fault_set(fault, MHD_HTTP_FORBIDDEN, "forbidden", NULL,
                         "the key %s lacks the scope %s: it has %s", key->id, wanted, had);
    }
    if (!key->prefixes.len || request->route->is_by_crn)
        return 0;
    stats_add(request->http->setup.stats, STAT_KEY_RESTRICTED, 1);
    return fault_set(fault, MHD_HTTP_FORBIDDEN, "restricted", NULL,
                     "the key %s is restricted to some CRNs, and %s can't be cut down to them",
                     key->id, request->route->path);
}

static int http_auth_look(struct http_request *request, struct span text, struct fault *fault)
{
    AUTO(key_unref) struct key *key = NULL;

    switch (keyring_check(request->http->setup.keyring, text, clock_now_ms(), &key)) {
    case KEY_UNKNOWN:
        return http_auth_unknown(request, text, fault);
    case KEY_EXPIRED:
        return http_auth_expired(request, key, fault);
    case KEY_GOOD:
        break;
    }
    if (http_auth_check_age(request, fault) < 0 || http_auth_check_rate(request, key, fault) < 0 ||
        http_auth_check_scope(request, key, fault) < 0)
        return -1;
    request->key = TAKE(key);
    return 0;
}

int http_auth_check(struct http_request *request, struct fault *fault)
{
    const char *header = http_request_header(request, MHD_HTTP_HEADER_AUTHORIZATION);
    AUTO(buf_done) struct buf text;

    buf_init(&text, KEY_TEXT_LEN);
    if (!request->http->setup.keyring || request->route->scopes == KEY_OPEN)
        return 0;
    if (header)
        key_from_header(span_of(header), &text); /* what is longer is no key, and left out */
    if (!header || (!text.len && !text.full))
        return http_auth_missing(request, fault);
    return http_auth_look(request, buf_span(&text), fault);
}
