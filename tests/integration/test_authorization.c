/* The matrix: every route by every key. The routes are those that openapi.yaml has, and it has to
 * have those of the daemon's own table, with the same scopes. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/http_facts_internal.h"
#include "collector/key.h"
#include "tests/harness/keyed.h"
#include "tests/harness/pg.h"

Suite *authorization_suite(void);

enum { OPERATIONS_MAX = 200, PATH_BYTES = 256 };

struct operation {
    char method[8]; /* "GET" */
    char path[PATH_BYTES];
    unsigned scopes; /* KEY_OPEN: none is needed */
};

struct operations {
    struct operation items[OPERATIONS_MAX];
    size_t len;
};

/* "[read, lineage]" */
static unsigned parse_scopes(const char *text, const char *path)
{
    AUTO(buf_done) struct buf names;
    struct err err = { 0 };
    unsigned scopes;

    buf_init(&names, 100);
    for (; *text != ']' && *text; text++) {
        if (*text != '[' && *text != ' ')
            buf_append_char(&names, *text);
    }
    if (!names.len)
        return KEY_OPEN;
    ck_assert_msg(key_scopes_parse(buf_text(&names), &scopes, &err) == 0, "%s: %s", path, err.text);
    return scopes;
}

static bool starts(const char *line, const char *start)
{
    return strncmp(line, start, strlen(start)) == 0;
}

/* A line of openapi.yaml; `path` is that of the lines before. */
static void read_line(struct operations *operations, const char *line, char path[PATH_BYTES])
{
    static const char *const methods[][2] = { { "    get:", "GET" },
                                              { "    post:", "POST" },
                                              { "    put:", "PUT" },
                                              { "    delete:", "DELETE" } };
    struct operation *last = operations->len ? &operations->items[operations->len - 1] : NULL;

    if (starts(line, "  /")) {
        (void)snprintf(path, PATH_BYTES, "%.*s", (int)strcspn(line + 2, "\n") - 1, line + 2);
        return;
    }
    for (size_t i = 0; *path && i < LENGTH(methods); i++) {
        if (!starts(line, methods[i][0]))
            continue;
        ck_assert_uint_lt(operations->len, OPERATIONS_MAX);
        last = &operations->items[operations->len++];
        (void)snprintf(last->method, sizeof(last->method), "%s", methods[i][1]);
        (void)snprintf(last->path, sizeof(last->path), "%s", path);
    }
    if (last && starts(line, "      x-plumbline-scopes: "))
        last->scopes = parse_scopes(strchr(line, '['), path);
}

static void read_operations(struct operations *operations, const char *openapi)
{
    const char *line = strstr(openapi, "\npaths:\n"), *end = strstr(openapi, "\ncomponents:\n");
    char path[PATH_BYTES] = "";

    operations->len = 0;
    ck_assert(line && end);
    for (line++; line < end; line = strchr(line, '\n') + 1)
        read_line(operations, line, path);
    ck_assert_uint_gt(operations->len, 60);
    for (size_t i = 0; i < operations->len; i++)
        ck_assert_msg(operations->items[i].scopes != 0,
                      "openapi.yaml: %s %s says no "
                      "x-plumbline-scopes",
                      operations->items[i].method, operations->items[i].path);
}

static const struct operation *find_operation(const struct operations *operations,
                                              const struct http_facts *route)
{
    for (size_t i = 0; i < operations->len; i++) {
        const struct operation *operation = &operations->items[i];

        if (strcmp(operation->method, route->method) == 0 &&
            strcmp(operation->path, route->path) == 0)
            return operation;
    }
    return NULL;
}

/* With a word for each {parameter}, which nothing has. */
static char *fill_path(const char *path)
{
    AUTO(buf_done) struct buf filled;

    buf_init(&filled, 2 * PATH_BYTES);
    for (; *path; path++) {
        if (*path != '{') {
            buf_append_char(&filled, *path);
            continue;
        }
        buf_append_text(&filled, starts(path, "{kind}") ? "entitydef"
                                 : starts(path, "{by}") ? "name"
                                                        : "nothing");
        path = strchr(path, '}');
    }
    return xstrdup(buf_text(&filled));
}

static const struct scoped {
    const char *name;
    unsigned scopes;
} scoped_keys[] = {
    { "ingest", KEY_INGEST },
    { "read", KEY_READ },
    { "lineage", KEY_LINEAGE },
    { "admin", KEY_ADMIN },
    { "ingest,read,lineage,admin", KEY_ANY },
};

struct matrix {
    struct service *service;
    char *scoped[LENGTH(scoped_keys)];
    char *expired, *revoked, *restricted;
};

static void matrix_init(struct matrix *matrix)
{
    static const char *const mine[] = { "--crn-prefix", "crn:mine/", NULL };
    AUTO(mem_free) char *dsn = keyed_database();

    for (size_t i = 0; i < LENGTH(scoped_keys); i++)
        matrix->scoped[i] = keyed_make(dsn, scoped_keys[i].name, NULL);
    matrix->expired = keyed_make(dsn, "ingest,read,lineage,admin", NULL);
    matrix->revoked = keyed_make(dsn, "ingest,read,lineage,admin", NULL);
    matrix->restricted = keyed_make(dsn, "ingest,read,lineage,admin", mine);
    pg_exec(dsn, "UPDATE api_key SET expires_at = '2026-01-02T03:04:05Z' WHERE key_id = '%.8s'",
            matrix->expired + 4);
    keyed_revoke(dsn, matrix->revoked);
    matrix->service = keyed_service(dsn);
}

static void matrix_done(struct matrix *matrix)
{
    for (size_t i = 0; i < LENGTH(scoped_keys); i++)
        free(matrix->scoped[i]);
    free(matrix->expired);
    free(matrix->revoked);
    free(matrix->restricted);
    service_free(matrix->service);
}

/* A refusal is JSON in the words of its path. */
static void check_refusal(const struct operation *operation, const struct http_answer *answer,
                          const char *who)
{
    json_auto_t *json = http_json(answer);
    const json_t *error = json_object_get(json, "error");
    const char *message = json_string_value(starts(operation->path, "/api/atlas/")
                                                ? json_object_get(json, "errorMessage")
                                                : json_object_get(error, "message"));
    AUTO(mem_free) char *challenge = http_header(answer, "WWW-Authenticate");

    ck_assert_msg(message && *message, "%s: %s %s: %s", who, operation->method, operation->path,
                  answer->body);
    ck_assert_msg((challenge != NULL) == (answer->status == 401), "%s: %s %s", who,
                  operation->method, operation->path);
}

/* `want`: 0 for an answer of the route itself, whatever it is. */
static void check_cell(const struct matrix *matrix, const struct operation *operation,
                       const char *who, const char *key, long want)
{
    AUTO(mem_free) char *path = fill_path(operation->path);
    bool has_body = strcmp(operation->method, "POST") == 0 || strcmp(operation->method, "PUT") == 0;
    AUTO(http_answer_free)
    struct http_answer *answer =
        keyed_send(matrix->service, key, operation->method, path, has_body ? "{}" : NULL);
    long status = answer->status;

    if (want == 401 && status == 429)
        status = 401; /* not the first wrong key from here */
    if (operation->scopes == KEY_OPEN)
        want = 0;
    ck_assert_msg(want ? status == want : status && status != 401 && status != 403 && status < 429,
                  "%s: %s %s: status %ld%s: %.300s", who, operation->method, operation->path,
                  answer->status, answer->error, answer->body);
    if (want)
        check_refusal(operation, answer, who);
}

static bool takes_restricted(const struct operation *operation)
{
    struct http_facts route;

    for (size_t i = 0; http_facts_read(i, &route); i++) {
        if (strcmp(route.method, operation->method) == 0 &&
            strcmp(route.path, operation->path) == 0)
            return route.is_by_crn;
    }
    return false;
}

START_TEST(every_route_by_every_key)
{
    static const char wrong[] = "plb_aaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    struct operations *operations = xcalloc(1, sizeof(*operations));
    AUTO(mem_free) char *openapi = NULL;
    struct matrix matrix = { 0 };

    matrix_init(&matrix);
    AUTO(http_answer_free)
    struct http_answer *answer =
        keyed_send(matrix.service, matrix.scoped[0], "GET", "/openapi.yaml", NULL);
    ck_assert_int_eq(answer->status, 200);
    openapi = xstrdup(answer->body);
    read_operations(operations, openapi);
    for (size_t i = 0; i < operations->len; i++) {
        const struct operation *operation = &operations->items[i];

        check_cell(&matrix, operation, "no key", NULL, 401);
        check_cell(&matrix, operation, "an empty one", "", 401);
        check_cell(&matrix, operation, "not a key", "secret", 401);
        check_cell(&matrix, operation, "a wrong one", wrong, 401);
        check_cell(&matrix, operation, "an expired one", matrix.expired, 401);
        check_cell(&matrix, operation, "a revoked one", matrix.revoked, 401);
        for (size_t k = 0; k < LENGTH(scoped_keys); k++)
            check_cell(&matrix, operation, scoped_keys[k].name, matrix.scoped[k],
                       operation->scopes & scoped_keys[k].scopes ? 0 : 403);
        check_cell(&matrix, operation, "a restricted one", matrix.restricted,
                   takes_restricted(operation) ? 0 : 403);
    }
    matrix_done(&matrix);
    free(operations);
}
END_TEST

START_TEST(openapi_has_the_routes_of_the_daemon)
{
    struct operations *operations = xcalloc(1, sizeof(*operations));
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *openapi = service_get_text(service, 200, "/openapi.yaml", NULL);
    struct http_facts route;

    read_operations(operations, openapi);
    for (size_t i = 0; http_facts_read(i, &route); i++) {
        const struct operation *operation = find_operation(operations, &route);

        ck_assert_msg(route.scopes != 0, "%s is nobody's", route.path);
        ck_assert_msg(route.scopes != KEY_OPEN || strcmp(route.path, "/healthz") == 0 ||
                          strcmp(route.path, "/readyz") == 0,
                      "%s is open", route.path);
        ck_assert_msg(!route.is_atlas || !route.is_by_crn, "the graph can't be cut down to CRNs");
        if (route.is_atlas)
            continue;
        ck_assert_msg(operation != NULL, "openapi.yaml lacks %s %s", route.method, route.path);
        ck_assert_msg(operation->scopes == route.scopes, "%s %s: other scopes", route.method,
                      route.path);
    }
    free(operations);
}
END_TEST

/* Whatever else begins so is taken for a change. */
static const struct {
    const char *method, *path;
    bool writes;
} atlas_cases[] = {
    { "GET", "v2/entity/guid/x", false },
    { "HEAD", "v2/entity/guid/x", false },
    { "POST", "v2/search/basic", false },
    { "POST", "/v2//search/basic", false },
    { "POST", "v2/search/saved", true },
    { "POST", "v2/search", true },
    { "POST", "v2/lineage/guid", false },
    { "POST", "v2/entity", true },
    { "POST", "v2/entity/search/basic", true },
    { "POST", "v2/none", true },
    { "PUT", "v2/search/basic", true },
    { "DELETE", "v2/search/basic", true },
    { "POST", "", true },
};

START_TEST(a_key_that_reads_posts_searches)
{
    AUTO(mem_free) char *dsn = keyed_database();
    AUTO(mem_free) char *reads = keyed_make(dsn, "read", NULL);
    AUTO(service_free) struct service *service = keyed_service(dsn);

    for (size_t i = 0; i < LENGTH(atlas_cases); i++) {
        AUTO(mem_free) char *path = xasprintf("/api/atlas/%s", atlas_cases[i].path);
        long status = keyed_status(service, reads, atlas_cases[i].method, path, NULL);

        ck_assert_msg((status == 403) == atlas_cases[i].writes && status != 401, "%s %s: %ld",
                      atlas_cases[i].method, path, status);
    }
}
END_TEST

Suite *authorization_suite(void)
{
    Suite *suite = suite_create("authorization");
    TCase *tcase = tcase_create("authorization");

    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, every_route_by_every_key);
    tcase_add_test(tcase, openapi_has_the_routes_of_the_daemon);
    tcase_add_test(tcase, a_key_that_reads_posts_searches);
    suite_add_tcase(suite, tcase);
    return suite;
}
