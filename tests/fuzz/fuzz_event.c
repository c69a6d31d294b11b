/* Fuzzing the way from a request's bytes to checked records. Built alone (libFuzzer), and replayed
 * over tests/fuzz/regression/event/ by the unit tests. The first byte chooses what is decoded. */
#include <stdlib.h>
#include <string.h>

#include "../harness/json_oracle.h"
#include "fuzz.h"
#include "metrics/event.h"

static void fuzz_expect(bool is_true)
{
    if (!is_true)
        abort();
}

static void fuzz_check_text(struct span text)
{
    if (text.data)
        fuzz_expect(text.len <= 1024);
}

/* Whatever was accepted is bounded, and its metrics are a JSON object for jansson too. */
static void fuzz_check_event(const struct event *event)
{
    json_auto_t *metrics = NULL;

    fuzz_check_text(event->deployment_crn);
    fuzz_check_text(event->build_crn);
    fuzz_check_text(event->model_crn);
    fuzz_check_text(event->replica);
    if (event_kind_is_lineage(event->kind)) {
        fuzz_expect(json_oracle_scan(event->text) == JSON_SOUND);
        return;
    }
    metrics = json_loadb(event->metrics.data, event->metrics.len,
                         JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
    fuzz_expect(json_is_object(metrics) && json_oracle_same(event->metrics, metrics));
    fuzz_expect(event->metrics.len <= 1000);
}

static void fuzz_check_list(const struct event_list *list)
{
    uint64_t received = 0, rejected = 0;

    for (size_t kind = 0; kind < EVENT_KINDS; kind++) {
        received += list->received[kind];
        rejected += list->rejected[kind];
    }
    fuzz_expect(received == list->len + rejected && rejected == list->rejects.count);
    for (uint32_t i = 0; i < list->len; i++)
        fuzz_check_event(&list->events[i]);
    for (uint32_t i = 0; i < list->rejects.len; i++)
        fuzz_expect(list->rejects.items[i].code && *list->rejects.items[i].message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct event_limits limits = {
        .metrics_bytes_max = 1000,
        .events_max = 50,
        .memory_bytes_max = 20 * sizeof(struct event),
        .depth_max = JSON_ORACLE_DEPTH_MAX,
        .time_ms_max = INT64_MAX,
    };
    AUTO(event_decoder_free) struct event_decoder *decoder = event_decoder_new(1);
    struct event_list list;
    struct err err;
    char *body;
    int rc;

    if (size == 0)
        return 0;
    body = malloc(size); /* exactly as long, so that the sanitizer sees a byte too far */
    fuzz_expect(body != NULL);
    memcpy(body, data + 1, size - 1);
    fuzz_expect(!json_oracle_check((struct span){ body, size - 1 }));
    if (data[0] % 4 == 3)
        rc = event_decode_as(decoder, data[0] / 4 % EVENT_UNKNOWN, body, size - 1, &limits, &list,
                             &err);
    else
        rc = event_decode(decoder, body, size - 1,
                          data[0] % 4 == 2 ? EVENT_FORMAT_NDJSON : EVENT_FORMAT_JSON, &limits,
                          &list, &err);
    fuzz_expect(rc == 0 || (list.len == 0 && *err.text));
    fuzz_check_list(&list);
    event_list_done(&list);
    free(body);
    return 0;
}
