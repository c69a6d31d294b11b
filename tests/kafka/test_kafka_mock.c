/* Kafka in, with what a real broker does not answer on demand: librdkafka's mock cluster. */
#include <check.h>
#include <librdkafka/rdkafka.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/runner.h"
#include "tests/harness/wait.h"
#include "tests/kafka/rig.h"

Suite *kafka_mock_suite(void);

/* The mock lets a group wait for 3 s at first; a member's session must be longer than that. */
static void mock_init(struct rig *rig, struct broker *broker, const char *what)
{
    *rig = (struct rig){ .topic = broker_topic_name(what) };
    rig->variables[4] = xstrdup("PLUMBLINE_LOG_LEVEL=debug");
    broker_topic_make(broker, rig->topic, 1, NULL);
    rig_start(rig, broker, rig->topic, NULL,
              "session.timeout.ms=8000\nfetch.error.backoff.ms=50\nretry.backoff.ms=50");
}

/* The numbers 0 to count - 1, with blanks between. Owned. */
static char *numbers_to(uint32_t count)
{
    AUTO(buf_done) struct buf text;

    buf_init(&text, SIZE_MAX);
    for (uint32_t i = 0; i < count; i++)
        buf_append_fmt(&text, "%s%u", i ? " " : "", i);
    return xstrdup(buf_text(&text));
}

/* Sends aggregates first .. first + count - 1 and waits until each one so far is stored once, in
 * its order, and the topic is the one that it was. */
static void check_taken(struct rig *rig, struct producer *producer, uint32_t first, uint32_t count,
                        const char *name)
{
    AUTO(mem_free) char *want = numbers_to(first + count), *have = NULL;

    for (uint32_t i = first; i < first + count; i++)
        rig_send_aggregate(producer, rig->topic, 0, i);
    producer_flush(producer);
    rig_wait(rig, 0, first + count);
    have = rig_aggregates(rig);
    ck_assert_msg(strcmp(have, want) == 0, "%s: %s", name, have);
    ck_assert_int_eq(pg_query_i64(rig->service->dsn, "SELECT incarnation FROM kafka_offset"), 0);
}

static const struct {
    const char *name;
    enum broker_request request;
    size_t count;
    rd_kafka_resp_err_t error;
} error_cases[] = {
    /* what is said of an end that a broker has not seen yet is no reason to begin anew */
    { "no such offset", BROKER_FETCH, 1, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE },
    { "not the leader", BROKER_FETCH, 1, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION },
    { "no such topic", BROKER_FETCH, 1, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART },
    { "no disk", BROKER_FETCH, 1, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR },
    { "a fetch times out", BROKER_FETCH, 1, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT },
    { "unknown", BROKER_FETCH, 1, RD_KAFKA_RESP_ERR_UNKNOWN },
    { "a metadata error", BROKER_METADATA, 1, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE },
    { "an offset commit fails", BROKER_OFFSET_COMMIT, 3, RD_KAFKA_RESP_ERR_UNKNOWN },
    { "may not commit offsets", BROKER_OFFSET_COMMIT, 2,
      RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED },
    { "commit without coordinator", BROKER_OFFSET_COMMIT, 2,
      RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE },
    { "no coordinator", BROKER_HEARTBEAT, 2, RD_KAFKA_RESP_ERR_NOT_COORDINATOR },
    { "thrown out of the group", BROKER_HEARTBEAT, 1, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID },
};

START_TEST(errors_cost_nothing)
{
    AUTO(broker_free) struct broker *broker = broker_mock();
    AUTO(rig_done) struct rig rig;
    AUTO(producer_free) struct producer *producer = producer_new(broker, NULL);
    enum { COUNT = 5 };
    uint32_t sent = COUNT;

    mock_init(&rig, broker, "errors");
    check_taken(&rig, producer, 0, COUNT, "none yet");
    for (size_t i = 0; i < LENGTH(error_cases); i++, sent += COUNT) {
        broker_mock_fail(broker, error_cases[i].request, error_cases[i].count,
                         error_cases[i].error);
        check_taken(&rig, producer, sent, COUNT, error_cases[i].name);
    }
    service_check_balance(rig.service, sent, 0, 0);
}
END_TEST

/* Neither a coordinator nor the end of a partition can be had at first. */
START_TEST(a_start_without_coordinator)
{
    AUTO(broker_free) struct broker *broker = broker_mock();
    AUTO(rig_done) struct rig rig;
    AUTO(producer_free) struct producer *producer = producer_new(broker, NULL);

    broker_mock_fail(broker, BROKER_FIND_COORDINATOR, 2,
                     RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE);
    broker_mock_fail(broker, BROKER_JOIN_GROUP, 1, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
    broker_mock_fail(broker, BROKER_LIST_OFFSETS, 3, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE);
    mock_init(&rig, broker, "start");
    check_taken(&rig, producer, 0, 10, "start");
}
END_TEST

/* Where a partition begins can't be read when it is assigned. If its front is asked for meanwhile
 * and the answer comes only when the place has been read at last, nothing comes twice. */
START_TEST(a_front_that_comes_late)
{
    enum { COUNT = 50, LATE_MS = 1500, ASKS_MS_MAX = 1000, GOES_ON_MS = 2500 };
    AUTO(broker_free) struct broker *broker = broker_mock();
    AUTO(rig_done) struct rig rig;
    AUTO(producer_free) struct producer *producer = producer_new(broker, NULL);
    uint32_t sent = COUNT;
    int64_t end_ms;

    mock_init(&rig, broker, "late");
    check_taken(&rig, producer, 0, COUNT, "before");
    ck_assert_int_eq(daemon_stop(rig.service->daemon), 0);
    pg_exec(rig.service->dsn, "ALTER TABLE kafka_offset RENAME TO kafka_offset_away");
    broker_mock_delay(broker, BROKER_LIST_OFFSETS, LATE_MS);
    daemon_resume(rig.service->daemon);
    WAIT_UNTIL(RIG_READ_MS_MAX, daemon_log_has(rig.service->daemon, "event=kafka_waits"));
    (void)WAIT_FOR(ASKS_MS_MAX, broker_mock_delays(broker, BROKER_LIST_OFFSETS));
    pg_exec(rig.service->dsn, "ALTER TABLE kafka_offset_away RENAME TO kafka_offset");
    end_ms = clock_mono_ms() + GOES_ON_MS;
    do {
        check_taken(&rig, producer, sent, 1, "after");
        sent++;
    } while (clock_mono_ms() < end_ms);
    service_check_balance(rig.service, sent, 0, 0);
}
END_TEST

/* Nor is a broker waited for that does not say where a partition ends. */
START_TEST(stops_while_an_end_is_asked_for)
{
    enum { NEVER_MS = 600000 };
    AUTO(broker_free) struct broker *broker = broker_mock();
    AUTO(rig_done) struct rig rig;

    broker_mock_delay(broker, BROKER_LIST_OFFSETS, NEVER_MS);
    mock_init(&rig, broker, "asked");
    WAIT_UNTIL(RIG_READ_MS_MAX, broker_mock_delays(broker, BROKER_LIST_OFFSETS));
    ck_assert_int_eq(daemon_stop(rig.service->daemon), 0);
    daemon_resume(rig.service->daemon);
}
END_TEST

Suite *kafka_mock_suite(void)
{
    Suite *suite = suite_create("kafka_mock");
    TCase *tcase = tcase_create("kafka_mock");

    tcase_set_timeout(tcase, 240);
    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, errors_cost_nothing);
    tcase_add_test(tcase, a_start_without_coordinator);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("late");
    tcase_set_timeout(tcase, 240);
    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, a_front_that_comes_late);
    tcase_add_test(tcase, stops_while_an_end_is_asked_for);
    suite_add_tcase(suite, tcase);
    return suite;
}
