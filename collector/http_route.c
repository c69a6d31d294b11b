/* What is where. A request's way from here: handle() of its route, in http_ingest.c, http_query.c
 * or http_status.c. */
#include <string.h>

#include "base/mem.h"
#include "http_facts_internal.h"
#include "http_internal.h"

static const struct parameter http_metrics_parameters[] = {
    { "model_crn", true },
    { "model_build_crn", true },
    { "model_deployment_crn", true },
    { "prediction_uuid", true },
    { "start_timestamp_ms", false },
    { "end_timestamp_ms", false },
    { "kind", false },
    { "key", true },
    { "limit", false },
    { "cursor", false },
    { 0 },
};

static const struct parameter http_rollups_parameters[] = {
    { "model_crn", false },
    { "model_build_crn", false },
    { "model_deployment_crn", false },
    { "kind", false },
    { "metric", true },
    { "window", false },
    { "start_timestamp_ms", false },
    { "end_timestamp_ms", false },
    { "quantile", true },
    { 0 },
};

static const struct parameter http_messages_parameters[] = {
    { "after", false },
    { "limit", false },
    { 0 },
};

static const struct parameter http_deployments_parameters[] = {
    { "status", false },
    { "environment", false },
    { "model_name", false },
    { "training_data", false },
    { "last_prediction_from_ms", false },
    { "last_prediction_to_ms", false },
    { "limit", false },
    { "cursor", false },
    { 0 },
};

static const struct parameter http_warnings_parameters[] = {
    { "model_build_crn", false },
    { "model_deployment_crn", false },
    { "code", false },
    { "limit", false },
    { "cursor", false },
    { 0 },
};

static const struct parameter http_impact_parameters[] = {
    { "type", false },
    { "qualifiedName", false },
    { "classification", false },
    { "start_timestamp_ms", false },
    { "end_timestamp_ms", false },
    { "direct", false },
    { "as_of", false },
    { "limit", false },
    { "cursor", false },
    { 0 },
};

#define HTTP_INGEST(of_kind)                                                                       \
    .method = "POST", .takes_body = true, .handle = http_ingest_event,                             \
    .resume = http_ingest_resume, .kind = (of_kind), .scopes = KEY_INGEST, .is_by_crn = true
#define HTTP_QUERY(of_method, of_scopes, of_run)                                                   \
    .method = #of_method, .query_method = QUERY_##of_method,                                       \
    .takes_body = QUERY_##of_method != QUERY_GET, .handle = http_query_handle,                     \
    .resume = http_query_resume, .run = (of_run), .scopes = (of_scopes)
#define HTTP_STATUS(of_scopes, of_handle)                                                          \
    .method = "GET", .handle = (of_handle), .scopes = (of_scopes)

/* Reading the graph; http_auth.c wants lineage for changing it. */
#define HTTP_GRAPH (KEY_READ | KEY_LINEAGE)

static const struct http_route http_routes[] = {
    { .path = "/track-metrics", HTTP_INGEST(EVENT_TRACK_METRICS) },
    { .path = "/track-delayed-metrics", HTTP_INGEST(EVENT_DELAYED_METRICS) },
    { .path = "/track-aggregate-metrics", HTTP_INGEST(EVENT_AGGREGATE_METRICS) },
    { .path = "/v1/events",
      .method = "POST",
      .takes_body = true,
      .handle = http_ingest_events,
      .resume = http_ingest_resume,
      .scopes = KEY_INGEST,
      .is_by_crn = true },
    { .path = "/read-metrics", HTTP_QUERY(POST, KEY_READ, query_read_metrics), .is_by_crn = true },
    { .path = "/get-model-deployment-crn",
      HTTP_QUERY(POST, KEY_READ, query_deployment_crn),
      .is_by_crn = true },
    { .path = "/v1/metrics",
      HTTP_QUERY(GET, KEY_READ, query_metrics),
      .is_by_crn = true,
      .parameters = http_metrics_parameters,
      .negotiates = true },
    { .path = "/v1/rollups",
      HTTP_QUERY(GET, KEY_READ, query_rollups),
      .is_by_crn = true,
      .parameters = http_rollups_parameters,
      .negotiates = true },
    { .path = "/v1/deployments",
      HTTP_QUERY(GET, KEY_READ, query_deployments),
      .is_by_crn = true,
      .parameters = http_deployments_parameters },
    { .path = "/v1/deployments/{crn}",
      HTTP_QUERY(GET, KEY_READ, query_deployment),
      .is_by_crn = true },
    { .path = "/v1/lineage/messages",
      HTTP_QUERY(GET, HTTP_GRAPH, query_messages),
      .parameters = http_messages_parameters },
    { .path = "/v1/lineage/builds/{crn}",
      HTTP_QUERY(GET, HTTP_GRAPH, query_build),
      .is_by_crn = true },
    { .path = "/v1/lineage/warnings",
      HTTP_QUERY(GET, HTTP_GRAPH, query_lineage_warnings),
      .parameters = http_warnings_parameters,
      .negotiates = true },
    { .path = "/api/atlas/{path}", HTTP_QUERY(GET, HTTP_GRAPH, query_atlas), .is_atlas = true },
    { .path = "/api/atlas/{path}", HTTP_QUERY(POST, HTTP_GRAPH, query_atlas), .is_atlas = true },
    { .path = "/api/atlas/{path}", HTTP_QUERY(PUT, HTTP_GRAPH, query_atlas), .is_atlas = true },
    { .path = "/api/atlas/{path}", HTTP_QUERY(DELETE, HTTP_GRAPH, query_atlas), .is_atlas = true },
    { .path = "/v1/impact",
      HTTP_QUERY(GET, HTTP_GRAPH, query_impact),
      .parameters = http_impact_parameters },
    { .path = "/v1/balance", HTTP_QUERY(GET, KEY_READ | KEY_ADMIN, query_balance) },
    { .path = "/v1/limits", HTTP_STATUS(KEY_ANY, http_status_limits), .is_by_crn = true },
    { .path = "/healthz", HTTP_STATUS(KEY_OPEN, http_status_health) },
    { .path = "/readyz", HTTP_STATUS(KEY_OPEN, http_status_ready) },
    { .path = "/metrics", HTTP_STATUS(KEY_READ | KEY_ADMIN, http_status_metrics) },
    { .path = "/openapi.yaml", HTTP_STATUS(KEY_ANY, http_status_openapi), .is_by_crn = true },
};

bool http_facts_read(size_t i, struct http_facts *facts)
{
    const struct http_route *route = &http_routes[i];

    if (i >= LENGTH(http_routes))
        return false;
    *facts = (struct http_facts){ route->method, route->path, route->scopes, route->is_atlas,
                                  route->is_by_crn };
    return true;
}

/* Where the argument starts in the URL, or its end where the route has none; NULL: another path. A
 * CRN may hold slashes, as they are or as %2F; one at the end is never part of it. */
static const char *http_route_match(const struct http_route *route, const char *url)
{
    const char *brace = strchr(route->path, '{');
    size_t len = brace ? (size_t)(brace - route->path) : strlen(route->path);

    if (strncmp(url, route->path, len) != 0)
        return NULL;
    url += len;
    if (route->is_atlas)
        return url;
    if (brace)
        return *url && url[strlen(url) - 1] != '/' ? url : NULL;
    return *url ? NULL : url;
}

static bool http_route_allows(const struct http_route *route, const char *method)
{
    return strcmp(route->method, method) == 0 ||
           (strcmp(route->method, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

static int http_route_argument(struct http_request *request, const char *text, struct fault *fault)
{
    size_t len = strlen(text);

    if (!len)
        return 0;
    request->argument = xmalloc(len);
    if (parameter_decode((struct span){ text, len }, request->argument, &request->argument_len) < 0)
        return fault_set(fault, MHD_HTTP_BAD_REQUEST, "invalid_path", NULL,
                         "the path is not properly percent-encoded: \"%.*s\"", fault_quote_len(len),
                         text);
    return 0;
}

static enum MHD_Result http_route_parameter(void *cls, enum MHD_ValueKind kind, const char *key,
                                            size_t key_len, const char *value, size_t value_len)
{
    struct http_request *request = cls;

    (void)kind;
    if (request->route->is_atlas)
        return parameters_add_other(&request->parameters, (struct span){ key, key_len },
                                    (struct span){ value ? value : "", value_len },
                                    &request->fault) == 0
                   ? MHD_YES
                   : MHD_NO;
    return parameters_add(&request->parameters, request->route->parameters,
                          (struct span){ key, key_len }, (struct span){ value, value_len },
                          &request->fault) == 0
               ? MHD_YES
               : MHD_NO;
}

/* The route of the path and the method; with another method the path's last one. */
static const struct http_route *http_route_search(const char *url, const char *method,
                                                  const char **argument)
{
    const struct http_route *found = NULL;

    for (size_t i = 0; i < LENGTH(http_routes); i++) {
        const struct http_route *route = &http_routes[i];
        const char *rest = http_route_match(route, url);

        if (!rest)
            continue;
        *argument = rest;
        found = route;
        if (http_route_allows(route, method))
            break;
    }
    return found;
}

/* Which methods there are is a matter of each path. `method` 0: one that none has. */
static int http_route_atlas_method(struct http_request *request, unsigned method,
                                   struct fault *fault)
{
    struct span path = { request->argument, request->argument_len };
    const char *allow;

    if (query_atlas_takes(path, method, &allow))
        return 0;
    if (!allow)
        return fault_set(fault, MHD_HTTP_NOT_FOUND, "ATLAS-404-00-000", NULL, "no such path: %.*s",
                         fault_quote_len(path.len), path.len ? path.data : "");
    request->allow = allow;
    return fault_set(fault, MHD_HTTP_METHOD_NOT_ALLOWED, "method_not_allowed", NULL,
                     "%.*s takes %s", fault_quote_len(path.len), path.data, allow);
}

int http_route_find(struct http_request *request, const char *url, const char *method,
                    struct fault *fault)
{
    const char *argument = NULL;

    request->route = http_route_search(url, method, &argument);
    if (!request->route)
        return fault_set(fault, MHD_HTTP_NOT_FOUND, "not_found", NULL, "no such path: \"%.*s\"",
                         fault_quote_len(strlen(url)), url);
    if (!http_route_allows(request->route, method)) {
        if (request->route->is_atlas)
            return http_route_argument(request, argument, fault) < 0
                       ? -1
                       : http_route_atlas_method(request, 0, fault);
        request->allow = strcmp(request->route->method, "GET") == 0 ? "GET, HEAD" : "POST";
        return fault_set(fault, MHD_HTTP_METHOD_NOT_ALLOWED, "method_not_allowed", NULL,
                         "%s takes %s, not %.*s", request->route->path, request->allow,
                         fault_quote_len(strlen(method)), method);
    }
    if (http_route_argument(request, argument, fault) < 0 ||
        http_browser_check(request, fault) < 0 || http_auth_check(request, fault) < 0)
        return -1;
    if (request->route->is_atlas &&
        http_route_atlas_method(request, request->route->query_method, fault) < 0)
        return -1;
    (void)MHD_get_connection_values_n(request->connection, MHD_GET_ARGUMENT_KIND,
                                      http_route_parameter, request);
    return fault->status ? -1 : 0;
}
