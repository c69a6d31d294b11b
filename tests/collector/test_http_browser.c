/* What a browser says of the page that sends it here, and what is answered, word for word. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/keyring.h"
#include "fake_collector.h"

Suite *http_browser_suite(void);

#define SECRET "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define KEY "plb_aaaaaaaa_" SECRET
#define TRACK                                                                                      \
    "{\"modelDeploymentCrn\":\"crn:d\",\"predictionUuid\":"                                        \
    "\"2bd4a9a5-40f1-4a6b-a7a4-2a5a6bd3a001\",\"startTimestampMs\":1596185100000,"                 \
    "\"endTimestampMs\":1596185100010,\"metrics\":{\"a\":1}}"

static struct fake_collector fake;

static void browser_setup(void)
{
    fake_init(&fake);
}

static void browser_teardown(void)
{
    fake_stop(&fake);
    keyring_free(fake.keyring);
}

static void browser_make_key(void)
{
    struct key **keys = xcalloc(1, sizeof(*keys));

    keys[0] = key_new();
    ck_assert_int_eq(key_id(span_of(KEY), keys[0]->id), 0);
    keys[0]->name = xstrdup("ann");
    key_hash(span_of(KEY), keys[0]->hash);
    keys[0]->scopes = KEY_ANY;
    fake.config.keys_stale_max = 60000;
    fake.keyring = keyring_new();
    keyring_replace(fake.keyring, keys, 1, 1, clock_mono_ms());
}

/* `lines` are the whole of the head behind its first line. */
static void ask(struct answer *answer, const char *first, const char *lines, const char *body)
{
    AUTO(mem_free)
    char *request =
        xasprintf("%s\r\n%sContent-Length: %zu\r\n\r\n%s", first, lines, strlen(body), body);
    int fd = client_connect(fake.address);

    ck_assert(client_send_text(fd, request));
    client_read(fd, answer, false);
    (void)close(fd);
}

static void check(const char *name, const char *first, const char *lines, unsigned status,
                  const char *body)
{
    AUTO(answer_done) struct answer answer;

    answer_init(&answer);
    ask(&answer, first, lines, strncmp(first, "POST", 4) == 0 ? TRACK : "");
    ck_assert_msg(answer.status == status && (!body || strcmp(buf_text(&answer.body), body) == 0),
                  "%s: %u %s", name, answer.status, buf_text(&answer.body));
}

#define GET "GET /v1/limits HTTP/1.1"
#define POST "POST /track-metrics HTTP/1.1"
#define REFUSED(field, message)                                                                    \
    "{\"error\":{\"code\":\"forbidden\",\"message\":\"" message "\",\"field\":\"" field "\"}}"
#define NAMED(host)                                                                                \
    REFUSED("Host", "without keys this server goes by its address or localhost, not by \\\"" host  \
                    "\\\": ask for it so, or set keys_on or keys_off")

static const struct {
    const char *host;
    bool is_name; /* that anybody may give this machine's address */
} hosts[] = {
    { "127.0.0.1:8190", false },
    { "127.0.0.1", false },
    { "10.1.2.3:80", false },
    { "[::1]:8190", false },
    { "[::1]", false },
    { "localhost:8190", false },
    { "localhost", false },
    { "localhost.", false },
    { "localhost.:8190", false },
    { "collector:8190", false },
    { "[", false },
    { ":8190", false },
    { "plumbline.localhost:8190", false },
    { "Plumbline.LocalHost.:8190", false },
    { "evil.example:8190", true },
    { "evil.example", true },
    { "localhost.evil.example", true },
    { "evil.example.", true },
    { "evil.notlocalhost", true },
    { "127.0.0.1.evil.example:8190", true },
    { "127.0.0.1.", true },
    { "[evil.example]:8190", true },
    { "[127.0.0.1]", true },
    { "localhost..", true },
};

START_TEST(host_case)
{
    const char *host = hosts[_i].host;
    AUTO(mem_free) char *line = xasprintf("Host: %s\r\n", host);
    AUTO(mem_free) char *refused = xasprintf(NAMED("%s"), host);
    unsigned status = hosts[_i].is_name ? 403 : 200;

    fake_start(&fake);
    check(host, POST, line, status, hosts[_i].is_name ? refused : NULL);
    check(host, GET, line, status, hosts[_i].is_name ? refused : NULL);
    ck_assert_int_eq(stats_get(fake.stats, STAT_BROWSER_HOST), hosts[_i].is_name ? 2 : 0);
    ck_assert_uint_eq(fake.submissions, hosts[_i].is_name ? 0 : 1);
}
END_TEST

START_TEST(an_old_client_names_no_host)
{
    fake_start(&fake);
    check("1.0", "POST /track-metrics HTTP/1.0", "", 200, NULL);
}
END_TEST

START_TEST(health_is_not_told_to_a_name_either)
{
    fake_start(&fake);
    check("health", "GET /healthz HTTP/1.1", "Host: evil.example\r\n", 403, NAMED("evil.example"));
}
END_TEST

/* Behind a proxy or in a container the server does not know its names. */
START_TEST(any_name_is_good_where_that_is_said)
{
    static const char *const addresses[] = { "0.0.0.0:0", "127.0.0.1:0" };

    free(fake.config.listen);
    fake.config.listen = xstrdup(addresses[_i]);
    fake.config.keys_off = true;
    fake_start(&fake);
    check("name", POST, "Host: plumbline.example\r\n", 200, NULL);
    check("page", POST, "Host: plumbline.example\r\nOrigin: http://evil.example\r\n", 403,
          REFUSED("Origin", "a page of \\\"http://evil.example\\\" may not ask this server, which "
                            "is \\\"plumbline.example\\\"; a proxy in between has to pass Host "
                            "on"));
}
END_TEST

START_TEST(with_keys_any_name_is_good)
{
    browser_make_key();
    fake_start(&fake);
    check("name", GET, "Host: plumbline.example\r\nAuthorization: " KEY "\r\n", 200, NULL);
}
END_TEST

#define AT "Host: localhost:8190\r\n"
#define FOREIGN(origin)                                                                            \
    REFUSED("Origin", "a page of \\\"" origin "\\\" may not ask this server, which is "            \
                      "\\\"localhost:8190\\\"; a proxy in between has to pass Host on")
#define OF_SITE REFUSED("Sec-Fetch-Site", "a page of another site may not ask this server")

static const struct {
    const char *name, *lines;
    const char *refusal; /* NULL: it is taken */
} pages[] = {
    { "no page", AT, NULL },
    { "its own", AT "Origin: http://localhost:8190\r\n", NULL },
    { "its own, large", AT "Origin: http://LOCALHOST:8190\r\n", NULL },
    { "its own, through a proxy", AT "Origin: https://localhost:8190\r\n", NULL },
    { "another", AT "Origin: https://evil.example\r\n", FOREIGN("https://evil.example") },
    { "another port", AT "Origin: http://localhost:3000\r\n", FOREIGN("http://localhost:3000") },
    { "no port", AT "Origin: http://localhost\r\n", FOREIGN("http://localhost") },
    { "another way to say it", AT "Origin: http://127.0.0.1:8190\r\n",
      FOREIGN("http://127.0.0.1:8190") },
    { "a file", AT "Origin: null\r\n", FOREIGN("null") },
    { "empty", AT "Origin:\r\n", FOREIGN("") },
    { "no scheme", AT "Origin: localhost:8190\r\n", FOREIGN("localhost:8190") },
    { "begins like it", AT "Origin: http://localhost:8190.evil.example\r\n",
      FOREIGN("http://localhost:8190.evil.example") },
    { "ends like it", AT "Origin: http://evil.example/://localhost:8190\r\n",
      FOREIGN("http://evil.example/://localhost:8190") },
    { "same site", AT "Sec-Fetch-Site: same-origin\r\n", NULL },
    { "typed in", AT "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n", NULL },
    { "a link", AT "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n", NULL },
    { "an image", AT "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n", OF_SITE },
    { "no mode", AT "Sec-Fetch-Site: cross-site\r\n", OF_SITE },
};

/* With keys as well: a browser sends by itself the password of Basic that it knows. */
START_TEST(page_case)
{
    int page = _i / 2;
    AUTO(mem_free) char *lines = xasprintf("%sAuthorization: %s\r\n", pages[page].lines, KEY);
    const char *refusal = pages[page].refusal;

    if (_i % 2)
        browser_make_key();
    fake_start(&fake);
    check(pages[page].name, POST, lines, refusal ? 403 : 200, refusal);
    ck_assert_int_eq(stats_get(fake.stats, STAT_BROWSER_ORIGIN), refusal != NULL);
    ck_assert_uint_eq(fake.submissions, refusal ? 0 : 1);
}
END_TEST

START_TEST(a_page_without_a_host)
{
    fake_start(&fake);
    check("1.0", "POST /track-metrics HTTP/1.0", "Origin: http://evil.example\r\n", 403,
          REFUSED("Origin", "a page of \\\"http://evil.example\\\" may not ask this server, which "
                            "is \\\"\\\"; a proxy in between has to pass Host on"));
}
END_TEST

/* Who asks whether a page may (CORS) is told nothing that says so. */
START_TEST(nobody_is_invited)
{
    AUTO(answer_done) struct answer answer;
    AUTO(mem_free) char *allowed = NULL;

    fake_start(&fake);
    answer_init(&answer);
    ask(&answer, "OPTIONS /track-metrics HTTP/1.1",
        AT "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n", "");
    allowed = answer_header(&answer, "Access-Control-Allow-Origin");
    ck_assert_uint_eq(answer.status, 405);
    ck_assert_ptr_null(allowed);
}
END_TEST

START_TEST(in_the_words_of_atlas)
{
    fake_start(&fake);
    check("atlas", "GET /api/atlas/admin/version HTTP/1.1", "Host: evil.example\r\n", 403,
          "{\"errorCode\":\"ATLAS-403-00-001\",\"errorMessage\":\"without keys this server goes by "
          "its address or localhost, not by \\\"evil.example\\\": ask for it so, or set keys_on or "
          "keys_off"
          "\"}");
}
END_TEST

/* A page can send much, and for long. */
START_TEST(a_large_body_is_not_read)
{
    AUTO(answer_done) struct answer answer;
    int fd;

    fake_start(&fake);
    fd = client_connect(fake.address);
    answer_init(&answer);
    ck_assert(client_send_text(fd, "POST /v1/events HTTP/1.1\r\nHost: evil.example\r\n"
                                   "Content-Length: 1000000\r\n\r\n["));
    client_read(fd, &answer, false);
    ck_assert_uint_eq(answer.status, 403);
    ck_assert(client_wait_closed(fd, CLIENT_TIMEOUT_MS));
    (void)close(fd);
}
END_TEST

Suite *http_browser_suite(void)
{
    Suite *suite = suite_create("http_browser");
    TCase *tc = tcase_create("http_browser");

    tcase_add_checked_fixture(tc, browser_setup, browser_teardown);
    tcase_add_loop_test(tc, host_case, 0, LENGTH(hosts));
    tcase_add_test(tc, an_old_client_names_no_host);
    tcase_add_test(tc, health_is_not_told_to_a_name_either);
    tcase_add_loop_test(tc, any_name_is_good_where_that_is_said, 0, 2);
    tcase_add_test(tc, with_keys_any_name_is_good);
    tcase_add_loop_test(tc, page_case, 0, 2 * LENGTH(pages));
    tcase_add_test(tc, a_page_without_a_host);
    tcase_add_test(tc, nobody_is_invited);
    tcase_add_test(tc, in_the_words_of_atlas);
    tcase_add_test(tc, a_large_body_is_not_read);
    suite_add_tcase(suite, tc);
    return suite;
}
