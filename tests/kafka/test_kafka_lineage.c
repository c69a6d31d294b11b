/* Lineage events by Kafka: what they make is what they make by HTTP. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/broker.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"
#include "tests/kafka/rig.h"

Suite *kafka_lineage_suite(void);

#define PROJECT                                                                                    \
    "{\"event\":\"project_created\",\"projectCrn\":\"p\",\"projectName\":\"P\","                   \
    "\"userName\":\"ada\",\"createdAtMs\":1704067200000}"
#define BUILT(build, file)                                                                         \
    "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"Model\","  \
    "\"modelBuildCrn\":\"" build "\",\"buildNumber\":7,\"userName\":\"bob\",\"linkingFile\":\""    \
    "" file "\",\"createdAtMs\":1704067201000}"
#define DEPLOYED(status, at)                                                                       \
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b\",\"modelDeploymentCrn\":\"d\","          \
    "\"status\":\"" status "\",\"statusAtMs\":" at ",\"createdAtMs\":1704067202000,"               \
    "\"cpuMillicores\":100,\"userName\":\"eve\"}"
#define TRACKED                                                                                    \
    "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"d\",\"predictionUuid\":"                \
    "\"00000000-0000-4000-8000-000000000001\",\"startTimestampMs\":1704067200000,"                 \
    "\"endTimestampMs\":1704067200001,\"metrics\":{\"n\":1}}"

static const char *const messages[] = {
    DEPLOYED("deploying", "1704067203000"),
    "[" BUILT("b", "Model:\\n  hive_table_qualified_names: [x.t]\\n") "," PROJECT "]",
    DEPLOYED("deployed", "1704067204000"),
    "[" TRACKED "," DEPLOYED("stopped", "1704067205000") "]",
};

/* Owned. */
static char *graph_text(const char *dsn)
{
    return pg_query_text(
        dsn, "SELECT string_agg(line, E'\n' ORDER BY line COLLATE \"C\") FROM ("
             "SELECT concat_ws(' ', type, qualified_name, is_incomplete, created_by, updated_by,"
             " attributes) AS line FROM entity WHERE to_batch IS NULL"
             " UNION ALL SELECT concat_ws(' ', r.type, a.qualified_name, b.qualified_name)"
             " FROM relationship AS r JOIN entity AS a ON a.entity_id = r.end1 AND a.to_batch IS"
             " NULL JOIN entity AS b ON b.entity_id = r.end2 AND b.to_batch IS NULL"
             " WHERE r.to_batch IS NULL"
             " UNION ALL SELECT concat_ws(' ', 'message', key, notification::json->>'type',"
             " notification::json->>'user') FROM outbox) AS lines");
}

START_TEST(the_same_graph)
{
    AUTO(rig_done) struct rig rig;
    AUTO(service_free) struct service *by_http = service_start();
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    AUTO(mem_free) char *want = NULL, *have = NULL, *again = NULL;

    for (size_t i = 0; i < LENGTH(messages); i++)
        service_take(by_http, messages[i]);
    want = graph_text(by_http->dsn);
    ck_assert_ptr_nonnull(strstr(want, "ml_build_deployment b@cm d@cm"));
    ck_assert_ptr_nonnull(strstr(want, "dataset_process_inputs b:train_build@cm x.t@cm"));
    rig_init(&rig, broker_shared(), "lineage", 1, NULL);
    for (int round = 0; round < 2; round++) { /* the second time all are duplicates */
        for (size_t i = 0; i < LENGTH(messages); i++)
            producer_send_text(producer, rig.topic, messages[i]);
        producer_flush(producer);
        rig_wait(&rig, 0, (int64_t)LENGTH(messages) * (round + 1));
        free(have);
        have = graph_text(rig.service->dsn);
        if (!round)
            again = xstrdup(have);
    }
    ck_assert_str_eq(have, again);
    service_check_balance(rig.service, 6, 6, 0);
    /* how many messages a batch makes depends on what it holds, all else does not */
    strstr(have, "message ")[0] = '\0';
    strstr(want, "message ")[0] = '\0';
    ck_assert_str_eq(have, want);
}
END_TEST

START_TEST(a_broken_file_is_set_aside)
{
    AUTO(rig_done) struct rig rig;
    AUTO(producer_free) struct producer *producer = producer_new(broker_shared(), NULL);
    AUTO(mem_free) char *row = NULL, *event = NULL;

    rig_init(&rig, broker_shared(), "broken", 1, NULL);
    producer_send_text(producer, rig.topic, "[" PROJECT "," BUILT("x", "a: [\\n") "]");
    producer_send_text(producer, rig.topic, BUILT("b", "Model:\\n  metadata: {a: b}\\n"));
    producer_flush(producer);
    rig_wait(&rig, 0, 2);
    service_check_balance(rig.service, 2, 0, 1);
    row = pg_query_text(rig.service->dsn,
                        "SELECT concat_ws(' ', code, origin->>'offset', origin->>'index',"
                        " starts_with(message, 'linkingFile: ')) FROM rejected_event");
    ck_assert_str_eq(row, "invalid_linking_file 0 1 t");
    event =
        pg_query_text(rig.service->dsn, "SELECT convert_from(event, 'UTF8') FROM rejected_event");
    ck_assert_str_eq(event, BUILT("x", "a: [\\n"));
    ck_assert_int_eq(pg_query_i64(rig.service->dsn, "SELECT count(*) FROM entity"
                                                    " WHERE qualified_name LIKE 'x%%'"),
                     0);
    ck_assert_int_eq(pg_query_i64(rig.service->dsn, "SELECT count(*) FROM outbox"), 2);
}
END_TEST

Suite *kafka_lineage_suite(void)
{
    Suite *suite;
    TCase *tcase;

    if (!broker_is_there())
        return NULL;
    suite = pg_suite("kafka_lineage", 120, &tcase);
    tcase_add_unchecked_fixture(tcase, broker_shared_start, NULL);
    tcase_add_test(tcase, the_same_graph);
    tcase_add_test(tcase, a_broken_file_is_set_aside);
    return suite;
}
