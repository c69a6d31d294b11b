/* The small routes: what the process knows by itself. */
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "collector/embedded.h"
#include "http_internal.h"

enum { HTTP_STATUS_BYTES_MAX = 1024 * 1024 };

enum MHD_Result http_status_health(struct http_request *request)
{
    return http_answer_static(request, "application/json", SPAN_LITERAL("{\"status\":\"ok\"}"));
}

enum MHD_Result http_status_ready(struct http_request *request)
{
    const struct http_setup *setup = &request->http->setup;
    struct fault fault = { 0 };
    AUTO(buf_done) struct buf why, out;

    buf_init(&why, FAULT_MESSAGE_BYTES);
    buf_init(&out, HTTP_STATUS_BYTES_MAX);
    if (setup->ready(setup->ready_ctx, &why)) {
        buf_append_text(&out, "{\"status\":\"ready\"");
        if (why.len) {
            buf_append_text(&out, ",\"warning\":");
            buf_append_json(&out, buf_span(&why));
        }
        buf_append_char(&out, '}');
        return http_answer(request, MHD_HTTP_OK, "application/json", &out);
    }
    (void)fault_set(&fault, MHD_HTTP_SERVICE_UNAVAILABLE, "not_ready", NULL, "%.*s", (int)why.len,
                    why.data ? why.data : "");
    return http_answer_fault(request, &fault);
}

static const struct {
    const char *name;
    size_t offset;
} http_limits[] = {
    { "metricsBytesMax", offsetof(struct config, metrics_bytes_max) },
    { "bodyBytesMax", offsetof(struct config, body_bytes_max) },
    { "eventsMax", offsetof(struct config, events_max) },
    { "memoryBytesMax", offsetof(struct config, memory_bytes_max) },
    { "jsonDepthMax", offsetof(struct config, json_depth_max) },
    { "deploymentsMax", offsetof(struct config, deployments_max) },
    { "partitionsMax", offsetof(struct config, partitions_max) },
    { "labelsPerPredictionMax", offsetof(struct config, labels_per_prediction_max) },
    { "labelsWaitingMax", offsetof(struct config, labels_waiting_max) },
    { "metricNamesMax", offsetof(struct config, metric_names_max) },
    { "rollupPendingMax", offsetof(struct config, rollup_pending_max) },
    { "eventAheadMsMax", offsetof(struct config, event_ahead_ms_max) },
    { "csvColumnsMax", offsetof(struct config, csv_columns_max) },
    { "lineageRelationsMax", offsetof(struct config, lineage_relations_max) },
    { "hookMessageBytesMax", offsetof(struct config, hook_message_bytes_max) },
    { "hookMemoryBytesMax", offsetof(struct config, hook_memory_bytes_max) },
    { "outboxMessagesMax", offsetof(struct config, outbox_messages_max) },
    { "connectionsMax", offsetof(struct config, connections_max) },
    { "connectionsPerAddressMax", offsetof(struct config, connections_per_address_max) },
    { "readsMax", offsetof(struct config, reads_max) },
    { "requestTimeoutMs", offsetof(struct config, request_timeout_ms) },
    { "idleTimeoutMs", offsetof(struct config, idle_timeout_ms) },
    { "spoolBytesMax", offsetof(struct config, spool_bytes_max) },
    { "spoolAfterMs", offsetof(struct config, spool_after_ms) },
    { "commitTimeoutMs", offsetof(struct config, commit_timeout_ms) },
    { "readStallTimeoutMs", offsetof(struct config, read_stall_timeout_ms) },
};

enum MHD_Result http_status_limits(struct http_request *request)
{
    const char *config = (const char *)request->config;
    AUTO(buf_done) struct buf out;

    buf_init(&out, HTTP_STATUS_BYTES_MAX);
    buf_append_fmt(&out, "{\"eventTimestampMsMin\":%lld", (long long)CONFIG_EVENT_MS_MIN);
    for (size_t i = 0; i < LENGTH(http_limits); i++) {
        int64_t value;

        memcpy(&value, config + http_limits[i].offset, sizeof(value));
        buf_append_fmt(&out, ",\"%s\":%lld", http_limits[i].name, (long long)value);
    }
    buf_append_char(&out, '}');
    return http_answer(request, MHD_HTTP_OK, "application/json", &out);
}

enum MHD_Result http_status_metrics(struct http_request *request)
{
    const struct http_setup *setup = &request->http->setup;
    AUTO(buf_done) struct buf out;

    buf_init(&out, HTTP_STATUS_BYTES_MAX);
    stats_set(setup->stats, STAT_BUDGET_BYTES, (int64_t)budget_used(setup->budget));
    stats_set(setup->stats, STAT_QUEUE_REQUESTS,
              (int64_t)queue_len(setup->queue) + queue_len(setup->graph_queue));
    if (setup->keyring)
        stats_set(setup->stats, STAT_KEYS_AGE_SECONDS,
                  keyring_age_ms(setup->keyring, clock_mono_ms()) / 1000);
    stats_write(setup->stats, &out);
    return http_answer(request, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", &out);
}

enum MHD_Result http_status_openapi(struct http_request *request)
{
    struct fault fault = { 0 };

    for (const struct embedded *file = embedded_files; file->name; file++) {
        if (strcmp(file->name, "openapi.yaml") == 0)
            return http_answer_static(request, "application/yaml",
                                      (struct span){ file->data, file->len });
    }
    (void)fault_set(&fault, MHD_HTTP_NOT_FOUND, "not_found", NULL,
                    "this build carries no openapi.yaml");
    return http_answer_fault(request, &fault);
}
