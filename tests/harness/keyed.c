#include "keyed.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/key.h"
#include "pg.h"

const char *const keyed_environment[] = { "PLUMBLINE_KEYS_ON=true", NULL };

char *keyed_database(void)
{
    char *dsn = pg_database_new(pg_shared());
    const char *const words[] = { "migrate", "--database", dsn, NULL };
    AUTO(mem_free) char *output = NULL;

    ck_assert_msg(service_command(words, NULL, &output) == 0, "%s", output);
    return dsn;
}

struct service *keyed_service(const char *dsn)
{
    return service_start_with(
        &(struct daemon_options){ .dsn = dsn, .environment = keyed_environment });
}

char *keyed_make(const char *dsn, const char *scope, const char *const *options)
{
    const char *words[SERVICE_WORDS_MAX + 1] = { "key", "create",     "--scope",
                                                 scope, "--database", dsn };
    AUTO(mem_free) char *output = NULL;
    const char *key;

    for (size_t i = 6; options && *options; i++)
        words[i] = *options++;
    ck_assert_msg(service_command(words, NULL, &output) == 0, "%s", output);
    key = strstr(output, "plb_");
    ck_assert_msg(key && strlen(key) >= KEY_TEXT_LEN, "%s", output);
    return xmemdup0(key, KEY_TEXT_LEN);
}

void keyed_revoke(const char *dsn, const char *key)
{
    const char *const words[] = { "key", "revoke", key, "--database", dsn, NULL };
    AUTO(mem_free) char *output = NULL;

    ck_assert_msg(service_command(words, NULL, &output) == 0, "%s", output);
}

struct http_answer *keyed_send(struct service *service, const char *authorization,
                               const char *method, const char *path, const char *body)
{
    AUTO(mem_free) char *url = daemon_url(service->daemon, path);
    AUTO(mem_free)
    char *header = xasprintf("Authorization: %s", authorization ? authorization : "");
    const char *const headers[] = { "Content-Type: application/json", authorization ? header : NULL,
                                    NULL };

    return http_send(service->http,
                     &(struct http_request){
                         .method = method, .url = url, .body = body, .headers = headers });
}

long keyed_status(struct service *service, const char *authorization, const char *method,
                  const char *path, const char *body)
{
    AUTO(http_answer_free)
    struct http_answer *answer = keyed_send(service, authorization, method, path, body);

    return answer->status;
}

json_t *keyed_call(struct service *service, long status, const char *authorization,
                   const char *method, const char *path, const char *body)
{
    AUTO(http_answer_free)
    struct http_answer *answer = keyed_send(service, authorization, method, path, body);

    ck_assert_msg(answer->status == status, "%s %s: status %ld%s, not %ld: %.500s", method, path,
                  answer->status, answer->error, status, answer->body);
    return http_json(answer);
}
