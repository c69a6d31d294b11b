/* Requests with and without a key: what is answered, word for word. Which key may have which route
 * is in tests/integration/test_authorization.c. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/keyring.h"
#include "fake_collector.h"

Suite *http_auth_suite(void);

#define SECRET "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define KEY_OF(id) "plb_" id "_" SECRET
#define ALL KEY_OF("aaaaaaaa")
#define EXPIRED KEY_OF("bbbbbbbb")
#define INGESTS KEY_OF("cccccccc")
#define LIMITED KEY_OF("dddddddd")
#define READS KEY_OF("eeeeeeee")
#define WRONG "plb_aaaaaaaa_BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

#define TRACK                                                                                      \
    "{\"modelDeploymentCrn\":\"crn:d\",\"predictionUuid\":"                                        \
    "\"2bd4a9a5-40f1-4a6b-a7a4-2a5a6bd3a001\",\"startTimestampMs\":1596185100000,"                 \
    "\"endTimestampMs\":1596185100010,\"metrics\":{\"a\":1}}"

static const struct {
    const char *text;
    unsigned scopes;
    int64_t expires_ms, requests_per_s;
} keys[] = {
    { ALL, KEY_ANY, KEY_NEVER, KEY_RATE_DEFAULT },
    { EXPIRED, KEY_ANY, 1767323045000, KEY_RATE_DEFAULT },
    { INGESTS, KEY_INGEST | KEY_ADMIN, KEY_NEVER, KEY_RATE_DEFAULT },
    { LIMITED, KEY_ANY, KEY_NEVER, 1 },
    { READS, KEY_READ, KEY_NEVER, 0 },
};

static struct fake_collector fake;

static void fill(int64_t age_ms)
{
    struct key **made = xcalloc(LENGTH(keys), sizeof(*made));

    for (size_t i = 0; i < LENGTH(keys); i++) {
        made[i] = key_new();
        ck_assert_int_eq(key_id(span_of(keys[i].text), made[i]->id), 0);
        made[i]->name = xstrdup(made[i]->id);
        key_hash(span_of(keys[i].text), made[i]->hash);
        made[i]->scopes = keys[i].scopes;
        made[i]->expires_ms = keys[i].expires_ms;
        made[i]->requests_per_s = keys[i].requests_per_s;
    }
    keyring_replace(fake.keyring, made, LENGTH(keys), 1, clock_mono_ms() - age_ms);
}

static void auth_setup(void)
{
    fake_init(&fake);
    fake.config.keys_stale_max = INT64_C(7) * 24 * 3600 * 1000;
    fake.config.rate_limit_requests_per_s = 1;
    fake.config.rate_limit_burst = 20;
    fake.keyring = keyring_new();
    fill(0);
    fake_start(&fake);
}

static void auth_teardown(void)
{
    fake_stop(&fake);
    keyring_free(fake.keyring);
}

/* `authorization` NULL: no such header. */
static void ask(struct answer *answer, const char *authorization, const char *method,
                const char *path, const char *body)
{
    AUTO(mem_free)
    char *headers = authorization ? xasprintf("Authorization: %s\r\n", authorization) : xstrdup("");

    client_ask(fake.address, answer, method, path, headers, body, body ? strlen(body) : 0);
}

static unsigned ask_status(const char *authorization, const char *method, const char *path,
                           const char *body)
{
    AUTO(answer_done) struct answer answer;

    answer_init(&answer);
    ask(&answer, authorization, method, path, body);
    return answer.status;
}

#define ERROR(code, message) "{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\"}}"
#define KEY_ERROR(code, message)                                                                   \
    "{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\",\"field\":\"Authorization\"}}"
#define MISSING                                                                                    \
    KEY_ERROR("missing_key", "a key is needed: send one as \\\"Authorization: Bearer KEY\\\", or " \
                             "as the password of Basic")
#define UNKNOWN_WORDS "there is no such key: it is mistyped, was revoked, or is another server's"
#define UNKNOWN KEY_ERROR("wrong_key", UNKNOWN_WORDS)

static const struct {
    const char *name, *authorization, *method, *path, *body;
    unsigned status;
    const char *answer; /* the beginning of it */
} auth_cases[] = {
    { "open", NULL, "GET", "/healthz", NULL, 200, "{\"status\":\"ok\"}" },
    { "open, with a wrong key", WRONG, "GET", "/readyz", NULL, 200, "{\"status\":\"ready\"}" },
    { "no such path", NULL, "GET", "/nothing", NULL, 404, "{\"error\":{\"code\":\"not_found\"," },
    { "no such method", NULL, "DELETE", "/v1/events", NULL, 405, "{\"error\":" },
    { "none", NULL, "GET", "/v1/limits", NULL, 401, MISSING },
    { "empty", "", "GET", "/v1/limits", NULL, 401, MISSING },
    { "an empty password", "Basic dXNlcjo=", "GET", "/v1/limits", NULL, 401, MISSING },
    { "none with an event", NULL, "POST", "/track-metrics", TRACK, 401, MISSING },
    { "none, and what it asks for is wrong too", NULL, "GET", "/v1/metrics?x=1", NULL, 401,
      MISSING },
    { "wrong", WRONG, "POST", "/track-metrics", TRACK, 401, UNKNOWN },
    { "not a key", "Bearer x", "GET", "/v1/limits", NULL, 401, UNKNOWN },
    { "far too long", "Bearer " ALL ALL ALL, "GET", "/v1/limits", NULL, 401, UNKNOWN },
    { "expired", EXPIRED, "GET", "/v1/limits", NULL, 401,
      KEY_ERROR("expired_key", "the key bbbbbbbb expired at 2026-01-02T03:04:05.000Z") },
    { "good", ALL, "GET", "/v1/limits", NULL, 200, "{\"eventTimestampMsMin\":" },
    { "good bearer", "Bearer " ALL, "POST", "/track-metrics", TRACK, 200, "{\"batch\":" },
    { "without the scope", READS, "POST", "/track-metrics", TRACK, 403,
      ERROR("forbidden", "the key eeeeeeee lacks the scope ingest: it has read") },
    { "without one of the scopes", INGESTS, "GET", "/v1/impact", NULL, 403,
      ERROR("forbidden",
            "the key cccccccc lacks the scope read or lineage: it has ingest, admin") },
    { "in Atlas's words: none", NULL, "GET", "/api/atlas/admin/version", NULL, 401,
      "{\"errorCode\":\"ATLAS-401-00-001\",\"errorMessage\":\"a key is needed" },
    { "in Atlas's words: wrong", WRONG, "GET", "/api/atlas/admin/version", NULL, 401,
      "{\"errorCode\":\"ATLAS-401-00-001\",\"errorMessage\":\"" UNKNOWN_WORDS "\"}" },
    { "in Atlas's words: the scope", READS, "POST", "/api/atlas/v2/entity", "{}", 403,
      "{\"errorCode\":\"ATLAS-403-00-001\",\"errorMessage\":\"the key eeeeeeee lacks the scope "
      "lineage: it has read\"}" },
};

START_TEST(auth_case)
{
    AUTO(answer_done) struct answer answer;
    AUTO(mem_free) char *challenge = NULL;
    const char *want = auth_cases[_i].answer;

    answer_init(&answer);
    ask(&answer, auth_cases[_i].authorization, auth_cases[_i].method, auth_cases[_i].path,
        auth_cases[_i].body);
    ck_assert_msg(answer.status == auth_cases[_i].status &&
                      strncmp(buf_text(&answer.body), want, strlen(want)) == 0,
                  "%s: %u %s", auth_cases[_i].name, answer.status, buf_text(&answer.body));
    challenge = answer_header(&answer, "WWW-Authenticate");
    ck_assert_int_eq(challenge != NULL, answer.status == 401);
}
END_TEST

START_TEST(every_refusal_is_counted)
{
    (void)ask_status(NULL, "GET", "/v1/limits", NULL);
    (void)ask_status(WRONG, "GET", "/v1/limits", NULL);
    (void)ask_status(EXPIRED, "GET", "/v1/limits", NULL);
    (void)ask_status(INGESTS, "GET", "/v1/impact", NULL);
    (void)ask_status(ALL, "GET", "/v1/limits", NULL);
    ck_assert_int_eq(stats_get(fake.stats, STAT_KEY_MISSING), 1);
    ck_assert_int_eq(stats_get(fake.stats, STAT_KEY_UNKNOWN), 1);
    ck_assert_int_eq(stats_get(fake.stats, STAT_KEY_EXPIRED), 1);
    ck_assert_int_eq(stats_get(fake.stats, STAT_KEY_SCOPE), 1);
    ck_assert_int_eq(stats_get(fake.stats, STAT_KEY_SLOWED), 0);
}
END_TEST

/* Who reads is not let in by a key that may have been revoked meanwhile; events are taken, since
 * they can be kept without Postgres, but not for ever. */
static const struct {
    const char *name;
    int64_t age_ms;
    const char *method, *path, *body;
    bool is_stale;
} stale_cases[] = {
    { "a read", 6000, "GET", "/v1/impact", NULL, true },
    { "a change of the graph", 6000, "POST", "/api/atlas/v2/entity", "{}", true },
    { "a read of what is fresh", 3000, "GET", "/v1/metrics?x=1", NULL, false },
    { "an event", 6000, "POST", "/track-metrics", TRACK, false },
    { "an event after hours", 3600000, "POST", "/v1/events", TRACK, false },
    { "what needs no database", 3600000, "GET", "/metrics", NULL, false },
    { "an event after eight days", INT64_C(8) * 86400000, "POST", "/track-metrics", TRACK, true },
    { "metrics after eight days", INT64_C(8) * 86400000, "GET", "/metrics", NULL, true },
    { "health after eight days", INT64_C(8) * 86400000, "GET", "/healthz", NULL, false },
};

START_TEST(stale_case)
{
    AUTO(answer_done) struct answer answer;
    const char *words = "the database can't be asked whether the key still holds: send it again "
                        "later";

    answer_init(&answer);
    fill(stale_cases[_i].age_ms);
    ask(&answer, ALL, stale_cases[_i].method, stale_cases[_i].path, stale_cases[_i].body);
    ck_assert_msg((strstr(buf_text(&answer.body), words) != NULL) == stale_cases[_i].is_stale,
                  "%s: %u %s", stale_cases[_i].name, answer.status, buf_text(&answer.body));
    ck_assert_msg((answer.status == 503) == stale_cases[_i].is_stale, "%s: %u",
                  stale_cases[_i].name, answer.status);
    ck_assert_uint_eq(ask_status(WRONG, stale_cases[_i].method, "/v1/limits", stale_cases[_i].body),
                      strcmp(stale_cases[_i].method, "GET") == 0 ? 401 : 405);
}
END_TEST

static void check_retry_after(const struct answer *answer)
{
    AUTO(mem_free) char *seconds = answer_header(answer, "Retry-After");

    ck_assert_uint_eq(answer->status, 429);
    ck_assert_ptr_nonnull(seconds);
    ck_assert_int_ge(strtol(seconds, NULL, 10), 1);
}

/* Asks until it is too much; how often it was not. */
static int ask_until_429(struct answer *answer, const char *authorization, unsigned status)
{
    int count = 0;

    for (; count < 10000; count++) {
        ask(answer, authorization, "GET", "/v1/limits", NULL);
        if (answer->status == 429)
            break;
        ck_assert_uint_eq(answer->status, status);
    }
    check_retry_after(answer);
    return count;
}

START_TEST(a_key_has_its_rate)
{
    AUTO(answer_done) struct answer answer;

    answer_init(&answer);
    ck_assert_int_ge(ask_until_429(&answer, LIMITED, 200), 20);
    ck_assert_str_eq(buf_text(&answer.body),
                     ERROR("rate_limited", "the key dddddddd may send 1 requests a second: nothing "
                                           "was stored, send it again later"));
    ck_assert_int_ge(ask_until_429(&answer, ALL, 200), 20); /* as configured */
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(ask_status(READS, "GET", "/v1/limits", NULL), 200); /* any number */
    ck_assert_int_ge(stats_get(fake.stats, STAT_KEY_LIMITED), 2);
}
END_TEST

START_TEST(wrong_keys_are_slowed)
{
    AUTO(answer_done) struct answer answer;
    AUTO(mem_free) char *connection = NULL;

    answer_init(&answer);
    ck_assert_int_ge(ask_until_429(&answer, WRONG, 401), 10);
    ck_assert_str_eq(buf_text(&answer.body),
                     ERROR("too_many_failures",
                           "too many wrong keys came from this address: try again later"));
    connection = answer_header(&answer, "Connection");
    ck_assert_str_eq(connection, "close");
    ck_assert_int_ge(stats_get(fake.stats, STAT_KEY_SLOWED), 1);
    ck_assert_uint_eq(ask_status(READS, "GET", "/v1/limits", NULL), 200);
    ck_assert_uint_eq(ask_status(NULL, "GET", "/v1/limits", NULL), 401);
}
END_TEST

/* What a server might take for another path, method or key than it is. */
#define ODD(key, line) line "\r\nHost: x\r\n" key "Content-Length: 0\r\n\r\n"
#define NO_KEY ""
#define READER "Authorization: " READS "\r\n"

static const struct {
    const char *bytes;
    unsigned status;
} odd_cases[] = {
    { ODD(NO_KEY, "GET //v1/limits HTTP/1.1"), 404 },
    { ODD(NO_KEY, "GET /v1//limits HTTP/1.1"), 404 },
    { ODD(NO_KEY, "GET /v1/limits/ HTTP/1.1"), 404 },
    { ODD(NO_KEY, "GET /v1/LIMITS HTTP/1.1"), 404 },
    { ODD(NO_KEY, "GET /v1%2Flimits HTTP/1.1"), 404 },
    { ODD(NO_KEY, "GET /v1/limits%00 HTTP/1.1"), 404 },
    { ODD(NO_KEY, "GET /healthz/../v1/limits HTTP/1.1"), 404 },
    { ODD(NO_KEY, "GET http://x/v1/limits HTTP/1.1"), 404 },
    { ODD(NO_KEY, "GET /v1/limits?/healthz HTTP/1.1"), 401 },
    { ODD(NO_KEY, "GET /v1/limits#/healthz HTTP/1.1"), 404 },
    { ODD(NO_KEY, "GET /v1/limits HTTP/1.0"), 401 },
    { ODD(NO_KEY, "HEAD /v1/limits HTTP/1.1"), 401 },
    { ODD(NO_KEY, "OPTIONS /v1/limits HTTP/1.1"), 405 },
    { ODD(NO_KEY, "OPTIONS * HTTP/1.1"), 404 },
    { ODD(NO_KEY, "get /v1/limits HTTP/1.1"), 405 },
    { ODD("X-HTTP-Method-Override: GET\r\n", "POST /v1/events HTTP/1.1"), 401 },
    { ODD("Proxy-Authorization: " ALL "\r\n", "GET /v1/limits HTTP/1.1"), 401 },
    { ODD("Cookie: Authorization=" ALL "\r\n", "GET /v1/limits HTTP/1.1"), 401 },
    { ODD(NO_KEY, "GET /v1/limits?Authorization=" ALL " HTTP/1.1"), 401 },
    { ODD("Authorization: " WRONG "\r\n" READER, "GET /v1/limits HTTP/1.1"), 401 },
    { ODD("Authorization: Basic " READS "=\r\n", "GET /v1/limits HTTP/1.1"), 401 },
    { ODD("Authorization: Basic OnBsYg==\r\n", "GET /v1/limits HTTP/1.1"), 401 }, /* ":plb" */
    { ODD("Authorization: Basic AAAA\r\n", "GET /v1/limits HTTP/1.1"), 401 },
    { ODD(NO_KEY, "GET /api/atlas//admin/version HTTP/1.1"), 401 },
    { ODD(READER, "POST /api/atlas/v2/entity HTTP/1.1"), 403 },
    { ODD(READER, "POST /api/atlas///v2//entity/ HTTP/1.1"), 403 },
    { ODD(READER, "POST /api/atlas/v2%2Fentity HTTP/1.1"), 403 },
    { ODD(READER, "POST /api/atlas/%762/%65ntity?/v2/search/basic HTTP/1.1"), 403 },
    { ODD(READER, "POST /api/atlas/V2/search/basic HTTP/1.1"), 403 },
    { ODD(READER, "POST /api/atlas/v2/search/saved HTTP/1.1"), 403 },
    { ODD(READER, "DELETE /api/atlas/v2/search/basic HTTP/1.1"), 403 },
    { ODD(READER, "PUT /api/atlas/v2/lineage/x HTTP/1.1"), 403 },
    { ODD(READER, "POST /api/atlas/v2/notification/topic/ATLAS_HOOK HTTP/1.1"), 403 },
    { ODD(READER, "POST /api/atlas/v2/search/../entity HTTP/1.1"), 404 },
};

START_TEST(odd_case)
{
    AUTO(answer_done) struct answer answer;
    int fd = client_connect(fake.address);

    answer_init(&answer);
    ck_assert(client_send_text(fd, odd_cases[_i].bytes));
    client_read(fd, &answer, strncmp(odd_cases[_i].bytes, "HEAD", 4) == 0);
    (void)close(fd);
    ck_assert_msg(answer.status == odd_cases[_i].status, "%s: %u %s", odd_cases[_i].bytes,
                  answer.status, buf_text(&answer.body));
}
END_TEST

/* A connection has no key: each of its requests needs one that is good by then. */
START_TEST(every_request_of_a_connection_is_asked)
{
    AUTO(answer_done) struct answer answer;
    static const char with[] = ODD(READER, "GET /v1/limits HTTP/1.1");
    int fd = client_connect(fake.address);

    answer_init(&answer);
    ck_assert(client_send_text(fd, ODD(READER, "GET /v1/limits HTTP/1.1")
                                       ODD(NO_KEY, "GET /v1/limits HTTP/1.1")));
    client_read(fd, &answer, false);
    ck_assert_uint_eq(answer.status, 200);
    client_read(fd, &answer, false);
    ck_assert_uint_eq(answer.status, 401);
    ck_assert(client_send_text(fd, with));
    client_read(fd, &answer, false);
    ck_assert_uint_eq(answer.status, 200);
    keyring_replace(fake.keyring, NULL, 0, 2, clock_mono_ms());
    ck_assert(client_send_text(fd, with));
    client_read(fd, &answer, false);
    ck_assert_uint_eq(answer.status, 401);
    (void)close(fd);
}
END_TEST

/* What a stranger sends is neither waited for nor kept. */
static const struct {
    const char *line;
    unsigned status;
} stranger_cases[] = {
    { "POST /v1/events", 401 },     { "POST /nothing", 404 },
    { "PATCH /v1/events", 405 },    { "PATCH /api/atlas/v2/entity", 405 },
    { "POST /api/atlas/%zz", 400 }, { "GET /v1/metrics?x=1", 401 },
};

START_TEST(a_large_body_of_a_stranger_is_not_read)
{
    AUTO(answer_done) struct answer answer;
    AUTO(mem_free)
    char *head = xasprintf("%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n[",
                           stranger_cases[_i].line);
    int fd = client_connect(fake.address);

    answer_init(&answer);
    ck_assert(client_send_text(fd, head));
    client_read(fd, &answer, false);
    ck_assert_uint_eq(answer.status, stranger_cases[_i].status);
    ck_assert(client_wait_closed(fd, CLIENT_TIMEOUT_MS));
    (void)close(fd);
    ck_assert_uint_eq(budget_used(fake.budget), 0);
}
END_TEST

START_TEST(a_small_one_is_read_and_dropped)
{
    AUTO(answer_done) struct answer answer;
    int fd = client_connect(fake.address);
    size_t len = 200 * 1024;
    AUTO(mem_free) char *body = xmalloc(len);

    memset(body, ' ', len);
    answer_init(&answer);
    for (int i = 0; i < 2; i++) { /* on the same connection */
        ck_assert(client_send_text(fd, "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: "
                                       "204800\r\n\r\n"));
        ck_assert(client_send(fd, body, len / 2));
        ck_assert_uint_eq(budget_used(fake.budget), 0);
        ck_assert(client_send(fd, body, len / 2));
        client_read(fd, &answer, false);
        ck_assert_uint_eq(answer.status, 401);
    }
    (void)close(fd);
}
END_TEST

Suite *http_auth_suite(void)
{
    Suite *suite = suite_create("http_auth");
    TCase *tc = tcase_create("http_auth");

    tcase_add_checked_fixture(tc, auth_setup, auth_teardown);
    tcase_add_loop_test(tc, auth_case, 0, LENGTH(auth_cases));
    tcase_add_test(tc, every_refusal_is_counted);
    tcase_add_loop_test(tc, stale_case, 0, LENGTH(stale_cases));
    tcase_add_test(tc, a_key_has_its_rate);
    tcase_add_test(tc, wrong_keys_are_slowed);
    tcase_add_loop_test(tc, odd_case, 0, LENGTH(odd_cases));
    tcase_add_test(tc, every_request_of_a_connection_is_asked);
    tcase_add_loop_test(tc, a_large_body_of_a_stranger_is_not_read, 0, LENGTH(stranger_cases));
    tcase_add_test(tc, a_small_one_is_read_and_dropped);
    suite_add_tcase(suite, tc);
    return suite;
}
