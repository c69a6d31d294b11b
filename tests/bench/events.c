#include "tests/bench/events.h"

#include <inttypes.h>

#include "base/uuid.h"

const struct event_stream event_stream_usual = { EVENT_DEPLOYMENTS, EVENTS_PER_SECOND };

/* splitmix64: bits that look random for each n. */
static uint64_t mix(uint64_t n)
{
    n += UINT64_C(0x9e3779b97f4a7c15);
    n = (n ^ (n >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    n = (n ^ (n >> 27)) * UINT64_C(0x94d049bb133111eb);
    return n ^ (n >> 31);
}

void event_write_crn(struct buf *buf, uint32_t deployment)
{
    buf_append_fmt(buf,
                   "crn:cdp:ml:us-west-1:8a1e15cd-04c2-48aa-8f35-b4a8c11997d3:workspace:"
                   "e4bc3658-32bb-4dc3-a22d-828150329c76/161e0983-e67e-486d-a296-%012" PRIx32,
                   deployment);
}

void event_write_metrics(struct buf *buf, uint64_t n)
{
    static const char *const contracts[] = { "Month-to-month", "One year", "Two year" };
    static const char *const services[] = { "DSL", "Fiber optic", "No" };
    uint64_t bits = mix(n);
    unsigned tenure = (unsigned)(bits & 63), cents = (unsigned)((bits >> 8) % 12000);

    buf_append_fmt(buf,
                   "{\"input_data\":{\"tenure\":%u.0,\"Partner\":\"%s\",\"Contract\":\"%s\","
                   "\"TotalCharges\":%u.%02u,\"PaymentMethod\":\"Electronic check\","
                   "\"MonthlyCharges\":%u.%02u,\"InternetService\":\"%s\"},"
                   "\"probability\":0.%016" PRIu64 "}",
                   tenure, bits & 64 ? "Yes" : "No", contracts[(bits >> 24) % 3],
                   tenure * cents / 100, tenure * cents % 100, cents / 100, cents % 100,
                   services[(bits >> 32) % 3], mix(bits) % UINT64_C(10000000000000000));
}

static void event_write_uuid(struct buf *buf, uint64_t n)
{
    struct uuid uuid;
    char text[UUID_TEXT_LEN + 1];
    const uint64_t bits[2] = { mix(2 * n), mix(2 * n + 1) };

    for (size_t i = 0; i < sizeof(uuid.bytes); i++)
        uuid.bytes[i] = (uint8_t)(bits[i / 8] >> (8 * (i % 8)));
    uuid.bytes[6] = (uint8_t)((uuid.bytes[6] & 0x0f) | 0x40); /* version 4 */
    uuid.bytes[8] = (uint8_t)((uuid.bytes[8] & 0x3f) | 0x80);
    uuid_format(&uuid, text);
    buf_append_text(buf, text);
}

/* The members of the event, without the brace in front. */
static void event_write_members(struct buf *buf, const struct event_stream *stream, uint64_t n)
{
    int64_t start_ms = EVENT_WEEK_MS + (int64_t)(n * 1000 / stream->per_second);

    buf_append_text(buf, "\"modelDeploymentCrn\":\"");
    event_write_crn(buf, (uint32_t)(n % stream->deployments));
    buf_append_fmt(buf,
                   "\",\"startTimestampMs\":%" PRId64 ",\"endTimestampMs\":%" PRId64
                   ",\"predictionUuid\":\"",
                   start_ms, start_ms + 108);
    event_write_uuid(buf, n);
    buf_append_text(buf, "\",\"metrics\":");
    event_write_metrics(buf, n);
    buf_append_char(buf, '}');
}

void event_write(struct buf *buf, uint64_t n)
{
    buf_append_text(buf, "{\"event\":\"track_metrics\",");
    event_write_members(buf, &event_stream_usual, n);
}

static void request_write(struct load_requests *requests, const char *path, const char *type,
                          const struct buf *body)
{
    AUTO(buf_done) struct buf head;

    buf_init(&head, SIZE_MAX);
    buf_append_fmt(&head,
                   "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\n"
                   "Content-Length: %zu\r\n\r\n",
                   path, type, body->len);
    load_requests_add(requests, &head, body);
}

void events_write_single(struct load_requests *requests, uint64_t first, uint64_t count)
{
    AUTO(buf_done) struct buf body;

    buf_init(&body, SIZE_MAX);
    for (uint64_t n = first; n < first + count; n++) {
        buf_clear(&body);
        buf_append_char(&body, '{');
        event_write_members(&body, &event_stream_usual, n);
        request_write(requests, "/track-metrics", "application/json", &body);
    }
}

void events_write_labels(struct load_requests *requests, uint64_t first, uint64_t count)
{
    AUTO(buf_done) struct buf body;

    buf_init(&body, SIZE_MAX);
    for (uint64_t n = first; n < first + count; n++) {
        buf_clear(&body);
        buf_append_text(&body, "{\"predictionUuid\":\"");
        event_write_uuid(&body, n);
        buf_append_fmt(&body, "\",\"metrics\":{\"final_label\":%s}}", n % 3 ? "true" : "false");
        request_write(requests, "/track-delayed-metrics", "application/json", &body);
    }
}

void events_write_batched(struct load_requests *requests, uint64_t first, uint64_t count,
                          uint64_t per_request)
{
    events_write_stream(requests, &event_stream_usual, first, count, per_request);
}

void events_write_stream(struct load_requests *requests, const struct event_stream *stream,
                         uint64_t first, uint64_t count, uint64_t per_request)
{
    AUTO(buf_done) struct buf body;

    buf_init(&body, SIZE_MAX);
    for (uint64_t n = first; n < first + count; n++) {
        buf_append_text(&body, "{\"event\":\"track_metrics\",");
        event_write_members(&body, stream, n);
        buf_append_char(&body, '\n');
        if ((n - first + 1) % per_request == 0 || n + 1 == first + count) {
            request_write(requests, "/v1/events", "application/x-ndjson", &body);
            buf_clear(&body);
        }
    }
}
