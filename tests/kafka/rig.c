#include "rig.h"

#include <stdlib.h>

#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/wait.h"

void rig_start(struct rig *rig, struct broker *broker, const char *topics, const char *dsn,
               const char *properties)
{
    rig->variables[0] = xasprintf("PLUMBLINE_KAFKA_BROKERS=%s", broker_address(broker));
    rig->variables[1] = xasprintf("PLUMBLINE_KAFKA_TOPICS=%s", topics);
    rig->variables[2] = xasprintf("PLUMBLINE_KAFKA_GROUP=group-%s", topics);
    rig->variables[3] = xasprintf(
        "PLUMBLINE_KAFKA_PROPERTIES=topic.metadata.refresh.interval.ms="
        "500\nsession.timeout.ms=2000\nheartbeat.interval.ms=300\nreconnect.backoff.max.ms=500\n%s",
        properties ? properties : "");
    for (size_t i = 0; i < RIG_VARIABLES_MAX; i++)
        rig->environment[i] = rig->variables[i];
    rig->service =
        service_start_with(&(struct daemon_options){ .dsn = dsn, .environment = rig->environment });
}

void rig_init(struct rig *rig, struct broker *broker, const char *what, int partitions,
              const char *const *settings)
{
    *rig = (struct rig){ .topic = broker_topic_name(what) };
    broker_topic_make(broker, rig->topic, partitions, settings);
    rig_start(rig, broker, rig->topic, NULL, NULL);
}

void rig_done(struct rig *rig)
{
    service_free(rig->service);
    for (size_t i = 0; i < RIG_VARIABLES_MAX; i++)
        free(rig->variables[i]);
    free(rig->topic);
}

char *rig_prediction(uint32_t number)
{
    return xasprintf("{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"" RIG_DEPLOYMENT "\","
                     "\"predictionUuid\":\"%08x-0000-4000-8000-000000000000\","
                     "\"startTimestampMs\":%lld,\"endTimestampMs\":%lld,"
                     "\"metrics\":{\"n\":%u}}",
                     number, (long long)(RIG_BASE_MS + number),
                     (long long)(RIG_BASE_MS + number + 1), number);
}

char *rig_aggregate(uint32_t number)
{
    return xasprintf("{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"" RIG_DEPLOYMENT
                     "\",\"startTimestampMs\":%lld,\"endTimestampMs\":%lld,"
                     "\"metrics\":{\"n\":%u}}",
                     (long long)RIG_BASE_MS, (long long)RIG_BASE_MS, number);
}

static void rig_send(struct producer *producer, const char *topic, int32_t partition,
                     const char *value)
{
    producer_send(producer, &(struct producer_message){
                                .topic = topic, .partition = partition, .value = value });
}

void rig_send_prediction(struct producer *producer, const char *topic, int32_t partition,
                         uint32_t number)
{
    AUTO(mem_free) char *value = rig_prediction(number);

    rig_send(producer, topic, partition, value);
}

void rig_send_aggregate(struct producer *producer, const char *topic, int32_t partition,
                        uint32_t number)
{
    AUTO(mem_free) char *value = rig_aggregate(number);

    rig_send(producer, topic, partition, value);
}

int64_t rig_predictions(const struct rig *rig)
{
    return pg_query_i64(rig->service->dsn, "SELECT count(*) FROM prediction");
}

char *rig_aggregates(const struct rig *rig)
{
    return pg_query_text(rig->service->dsn,
                         "SELECT string_agg(metrics->>'n', ' ' ORDER BY batch_id, ordinal)"
                         " FROM aggregate_metric");
}

void rig_wait(const struct rig *rig, int32_t partition, int64_t next)
{
    WAIT_UNTIL(RIG_READ_MS_MAX, pg_query_i64(rig->service->dsn,
                                             "SELECT coalesce(max(next_offset), -1) FROM"
                                             " kafka_offset WHERE topic = '%s' AND partition = %d",
                                             rig->topic, (int)partition) == next);
}
