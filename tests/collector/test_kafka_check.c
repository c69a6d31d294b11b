/* What of the configuration librdkafka and we refuse, word by word. */
#include <check.h>
#include <string.h>

#include "collector/kafka.h"

static const struct {
    const char *name, *key, *value, *want; /* want: NULL, or the error */
} check_cases[] = {
    { "nothing more", "kafka.properties", "", NULL },
    { "TLS and SASL", "kafka.properties",
      "security.protocol=sasl_ssl\nsasl.mechanism=PLAIN\nsasl.username=u\nsasl.password=p=q",
      NULL },
    { "from the end", "kafka.properties", "auto.offset.reset=latest", NULL },
    { "topics", "kafka.topics", "a, b,c ", NULL },
    { "unknown", "kafka.properties", "frobnicate=1",
      "kafka.properties: No such configuration property: \"frobnicate\"" },
    { "wrong value", "kafka.properties", "session.timeout.ms=x",
      "kafka.properties: Invalid value for configuration property \"session.timeout.ms\"" },
    { "two in one line", "kafka.properties", "security.protocol=ssl sasl.password=secret",
      "kafka.properties: the value of security.protocol holds a '=' and is impossible; each "
      "property has its own line" },
    { "a name that is not, with a = in its value", "kafka.properties", "sasl.pasword=a=b",
      "kafka.properties: No such configuration property: \"sasl.pasword\"" },
    { "one of a list, and another in its line", "kafka.properties",
      "debug=security,all sasl.password=secret",
      "kafka.properties: the value of debug holds a '=' and is impossible; each property has its "
      "own line" },
    { "ours", "kafka.properties", "enable.auto.commit=true",
      "kafka.properties: enable.auto.commit is not for the configuration" },
    { "the group", "kafka.properties", "group.id=x",
      "kafka.properties: group.id is not for the configuration" },
    { "other beginning", "kafka.properties", "auto.offset.reset=none",
      "kafka.properties: auto.offset.reset is earliest or latest, not \"none\"" },
    { "not a producer's either", "kafka.properties", "enable.idempotence=false",
      "kafka.properties: enable.idempotence is not for the configuration" },
    { "a message that never gives up", "kafka.properties", "message.timeout.ms=0",
      "kafka.properties: message.timeout.ms is from 1 to 20000, not 0" },
    { "a message that outlives the relay", "kafka.properties", "delivery.timeout.ms=20001",
      "kafka.properties: message.timeout.ms is from 1 to 20000, not 20001" },
    { "together impossible", "kafka.properties", "max.in.flight=10",
      "kafka.properties: `max.in.flight` must be set <= 5 when `enable.idempotence` is true" },
    { "lingers for too long", "kafka.properties", "linger.ms=5000\nmessage.timeout.ms=2000",
      "kafka.properties: `message.timeout.ms` must be greater than `linger.ms`" },
    { "a message in time", "kafka.properties", "message.timeout.ms=20000", NULL },
    { "out where it comes in", "kafka.topics", "a,ATLAS_HOOK",
      "kafka.lineage_topic: ATLAS_HOOK is one of kafka.topics too, which are read" },
    { "out of what comes in", "kafka.lineage_topic", "plumbline.events",
      "kafka.lineage_topic: plumbline.events is one of kafka.topics too, which are read" },
    { "hooks of a topic", "kafka.hook_topic", "hooks", NULL },
    { "hooks from where it goes out", "kafka.hook_topic", "ATLAS_HOOK",
      "kafka.hook_topic: ATLAS_HOOK is kafka.lineage_topic too: what goes out would come in "
      "again" },
    { "hooks among events", "kafka.hook_topic", "plumbline.events",
      "kafka.hook_topic: plumbline.events is one of kafka.topics too, which have events" },
    { "the largest message", "kafka.message_bytes_max", "512MiB", NULL },
    { "an empty topic", "kafka.topics", "a,,b", "kafka.topics: a name is empty in \"a,,b\"" },
    { "an empty topic at the end", "kafka.topics", "a,",
      "kafka.topics: a name is empty in \"a,\"" },
};

START_TEST(check_case)
{
    const char *want = check_cases[_i].want;
    AUTO(config_done) struct config config;
    struct err err = { 0 };
    int rc;

    config_init(&config);
    ck_assert_int_eq(config_set(&config, "kafka.brokers", "127.0.0.1:9092", &err), 0);
    ck_assert_int_eq(config_set(&config, check_cases[_i].key, check_cases[_i].value, &err), 0);
    rc = kafka_check(&config, &err);
    ck_assert_msg(rc == (want ? -1 : 0), "%s: %s", check_cases[_i].name, err.text);
    if (want)
        ck_assert_str_eq(err.text, want);
}
END_TEST

/* The end of what librdkafka says is an address that changes with its version. */
START_TEST(of_java)
{
    static const char want[] = "kafka.properties: Java JAAS configuration is not supported, see ";
    AUTO(config_done) struct config config;
    struct err err = { 0 };

    config_init(&config);
    ck_assert_int_eq(config_set(&config, "kafka.brokers", "127.0.0.1:9092", &err), 0);
    ck_assert_int_eq(config_set(&config, "kafka.properties",
                                "sasl.jaas.config=PlainLoginModule required username=\"ann\" "
                                "password=\"secret\";",
                                &err),
                     0);
    ck_assert_int_eq(kafka_check(&config, &err), -1);
    ck_assert_msg(strncmp(err.text, want, strlen(want)) == 0, "%s", err.text);
    ck_assert_msg(!strstr(err.text, "secret"), "%s", err.text);
}
END_TEST

/* A topic of the same name may be read where nothing goes out. */
START_TEST(nothing_goes_out)
{
    AUTO(config_done) struct config config;
    struct err err = { 0 };

    config_init(&config);
    ck_assert_int_eq(config_set(&config, "kafka.brokers", "127.0.0.1:9092", &err), 0);
    ck_assert_int_eq(config_set(&config, "kafka.topics", "ATLAS_HOOK", &err), 0);
    ck_assert(config_publishes(&config));
    ck_assert_int_eq(config_set(&config, "kafka.lineage_messages", "false", &err), 0);
    ck_assert(!config_publishes(&config));
    ck_assert_int_eq(kafka_check(&config, &err), 0);
    ck_assert_int_eq(config_set(&config, "kafka.topics", "a", &err), 0);
    ck_assert_int_eq(config_set(&config, "kafka.hook_topic", "ATLAS_HOOK", &err), 0);
    ck_assert_int_eq(kafka_check(&config, &err), 0);
}
END_TEST

START_TEST(without_brokers_nothing_is_checked)
{
    AUTO(config_done) struct config config;
    struct err err = { 0 };

    config_init(&config);
    ck_assert_int_eq(config_set(&config, "kafka.properties", "frobnicate=1", &err), 0);
    ck_assert_int_eq(kafka_check(&config, &err), 0);
}
END_TEST

Suite *kafka_check_suite(void);
Suite *kafka_check_suite(void)
{
    Suite *suite = suite_create("kafka_check");
    TCase *tc = tcase_create("kafka_check");

    tcase_add_loop_test(tc, check_case, 0, LENGTH(check_cases));
    tcase_add_test(tc, of_java);
    tcase_add_test(tc, nothing_goes_out);
    tcase_add_test(tc, without_brokers_nothing_is_checked);
    suite_add_tcase(suite, tc);
    return suite;
}
