#include "service.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/base64.h"
#include "base/mem.h"
#include "pg.h"
#include "process.h"
#include "temp.h"
#include "wait.h"

enum { COMMAND_MS_MAX = 60000, OUTPUT_BYTES_MAX = 1 << 20 };

static struct service *service_begin(const struct daemon_options *options, bool is_proxied)
{
    struct service *service = xcalloc(1, sizeof(*service));
    struct daemon_options own = *options;
    AUTO(mem_free) char *through = NULL;

    service->dsn = own.dsn ? xstrdup(own.dsn) : pg_database_new(pg_shared());
    if (is_proxied)
        service->proxy = proxy_start_for(service->dsn, &through);
    own.dsn = is_proxied ? through : service->dsn;
    service->daemon = daemon_start(&own);
    service->http = http_new();
    return service;
}

struct service *service_start_with(const struct daemon_options *options)
{
    return service_begin(options, false);
}

struct service *service_start_proxied(const struct daemon_options *options)
{
    return service_begin(options, true);
}

struct service *service_start(void)
{
    return service_start_with(&(struct daemon_options){ 0 });
}

void service_free(struct service *service)
{
    if (!service)
        return;
    http_free(service->http); /* first: the daemon need not wait for its connection */
    daemon_free(service->daemon);
    proxy_stop(service->proxy);
    free(service->dsn);
    free(service);
}

/* ---- requests ---- */

static struct http_answer *service_send(struct service *service, long status, const char *path,
                                        const struct http_request *request)
{
    AUTO(mem_free) char *url = daemon_url(service->daemon, path);
    struct http_request own = *request;
    struct http_answer *answer;

    own.url = url;
    answer = http_send(service->http, &own);
    ck_assert_msg(answer->status == status, "%s: status %ld%s, not %ld: %.500s", path,
                  answer->status, answer->error, status, answer->body);
    return answer;
}

json_t *service_get(struct service *service, long status, const char *path)
{
    AUTO(http_answer_free)
    struct http_answer *answer = service_send(service, status, path, &(struct http_request){ 0 });

    return http_json(answer);
}

json_t *service_post(struct service *service, long status, const char *path, const char *body)
{
    static const char *const types[][2] = { { "Content-Type: application/json", NULL },
                                            { "Content-Type: application/x-ndjson", NULL } };
    struct http_request request = { .method = "POST",
                                    .body = body,
                                    .headers = types[body[0] == ' '] };
    AUTO(http_answer_free)
    struct http_answer *answer = service_send(service, status, path, &request);

    return http_json(answer);
}

json_t *service_call(struct service *service, long status, const char *method, const char *path,
                     const char *body, const char *user)
{
    AUTO(mem_free) char *login = xasprintf("%s:secret", user ? user : "");
    AUTO(buf_done) struct buf header;
    const char *headers[] = { "Content-Type: application/json", NULL, NULL };
    struct http_request request = { .method = method, .body = body, .headers = headers };
    struct http_answer *answer;
    json_t *json;

    buf_init(&header, SIZE_MAX);
    buf_append_text(&header, "Authorization: Basic ");
    base64_encode(span_of(login), &header);
    headers[1] = user ? buf_text(&header) : NULL;
    answer = service_send(service, status, path, &request);
    json = answer->len ? http_json(answer) : NULL;
    http_answer_free(answer);
    return json;
}

json_t *service_ask(struct service *service, long status, const char *method, const char *path,
                    const char *quoted)
{
    AUTO(mem_free) char *body = quoted ? service_quoted(quoted) : NULL;

    return service_call(service, status, method, path, body, NULL);
}

char *service_get_text(struct service *service, long status, const char *path, const char *accept)
{
    AUTO(mem_free) char *header = xasprintf("Accept: %s", accept ? accept : "*/*");
    const char *const headers[] = { header, NULL };
    struct http_request request = { .headers = headers };
    AUTO(http_answer_free)
    struct http_answer *answer = service_send(service, status, path, &request);

    return TAKE(answer->body);
}

void service_take(struct service *service, const char *events)
{
    json_auto_t *receipt = service_post(service, 200, "/v1/events", events);
    AUTO(mem_free) char *text = json_dumps(receipt, 0);

    ck_assert_msg(service_number(receipt, "received") == service_number(receipt, "accepted"), "%s",
                  text);
}

json_t *service_rows(struct service *service, const char *query)
{
    AUTO(mem_free) char *path = xasprintf("/v1/metrics%s", query);
    json_auto_t *answer = service_get(service, 200, path);
    json_t *rows = json_object_get(answer, "metrics");

    ck_assert_msg(json_is_array(rows), "%s: no rows", path);
    return json_incref(rows);
}

int64_t service_sample(struct service *service, const char *name)
{
    AUTO(mem_free) char *text = service_get_text(service, 200, "/metrics", NULL);
    AUTO(mem_free) char *start = xasprintf("\n%s ", name);
    const char *line = strstr(text, start);

    ck_assert_msg(line != NULL, "/metrics has no %s", name);
    return strtoll(line + strlen(start), NULL, 10);
}

/* ---- answers ---- */

int64_t service_number(const json_t *object, const char *member)
{
    const json_t *value = json_object_get(object, member);

    ck_assert_msg(json_is_integer(value), "no number \"%s\"", member);
    return json_integer_value(value);
}

const char *service_text(const json_t *object, const char *member)
{
    const json_t *value = json_object_get(object, member);

    ck_assert_msg(json_is_string(value), "no text \"%s\"", member);
    return json_string_value(value);
}

char *service_quoted(const char *text)
{
    char *copy = xstrdup(text);

    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    return copy;
}

json_t *service_json(const char *text)
{
    json_error_t error;
    json_t *json = json_loads(text, JSON_DECODE_ANY, &error);

    ck_assert_msg(json != NULL, "%s: %.500s", error.text, text);
    return json;
}

void service_check_same(const json_t *have, const json_t *want, const char *what)
{
    AUTO(mem_free) char *have_text = NULL;
    AUTO(mem_free) char *want_text = NULL;
    size_t at = 0;

    if (json_equal(have, want))
        return;
    have_text = json_dumps(have, JSON_ENCODE_ANY | JSON_SORT_KEYS);
    want_text = json_dumps(want, JSON_ENCODE_ANY | JSON_SORT_KEYS);
    while (have_text[at] && have_text[at] == want_text[at])
        at++;
    at = at > 100 ? at - 100 : 0;
    ck_abort_msg("%s: from character %zu\nhave %.400s\nwant %.400s", what, at, have_text + at,
                 want_text + at);
}

void service_check_error(const json_t *answer, const char *code, const char *field,
                         const char *message, const char *what)
{
    json_auto_t *want =
        json_pack("{s:{s:s,s:s,s:s*}}", "error", "code", code, "message", message, "field", field);

    ck_assert_ptr_nonnull(want);
    service_check_same(answer, want, what);
}

void service_check_fault(const json_t *answer, const char *code, const char *message)
{
    ck_assert_str_eq(service_text(answer, "errorCode"), code);
    if (message)
        ck_assert_str_eq(service_text(answer, "errorMessage"), message);
}

void service_check_refused(struct service *service, const char *method, const char *path,
                           const char *quoted, const char *code, const char *message)
{
    json_auto_t *answer =
        service_ask(service, strtol(code + strlen("ATLAS-"), NULL, 10), method, path, quoted);

    service_check_fault(answer, code, message);
}

void service_check_balance(struct service *service, int64_t accepted, int64_t duplicate,
                           int64_t rejected)
{
    json_auto_t *balance = service_get(service, 200, "/v1/balance");
    json_auto_t *want =
        json_pack("{s:I,s:I,s:I,s:I,s:i}", "received", accepted + duplicate + rejected, "accepted",
                  accepted, "duplicate", duplicate, "rejected", rejected, "spooled", 0);
    const char *kind;
    json_t *counts;

    service_check_same(json_object_get(balance, "total"), want, "balance");
    ck_assert(json_is_true(json_object_get(balance, "balanced")));
    json_object_foreach(json_object_get(balance, "events"), kind, counts)
    {
        ck_assert_msg(service_number(counts, "received") ==
                          service_number(counts, "accepted") + service_number(counts, "duplicate") +
                              service_number(counts, "rejected"),
                      "the books of %s", kind);
    }
}

/* ---- the program ---- */

int service_command(const char *const *words, const char *const *environment, char **output)
{
    AUTO(mem_free) char *log = temp_log("command");
    const char *binary = getenv("TEST_DAEMON");
    const char *argv[SERVICE_WORDS_MAX + 2] = { binary ? binary : "build/plumbline" };
    int status;

    for (size_t i = 0; words[i]; i++) {
        ck_assert_uint_lt(i, SERVICE_WORDS_MAX);
        argv[i + 1] = words[i];
    }
    status = process_wait(process_start(&(struct process_options){
                              .argv = argv, .environment = environment, .output = log }),
                          wait_scaled_ms(COMMAND_MS_MAX));
    *output = temp_file_tail(log, OUTPUT_BYTES_MAX);
    ck_assert_msg(status != -1 && WIFEXITED(status), "%s: status %d: %s", words[0], status,
                  *output);
    return WEXITSTATUS(status);
}
