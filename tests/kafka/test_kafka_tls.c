/* Kafka over TLS, with a real broker: whom the daemon trusts, what it shows of itself, what it says
 * when that fails, and that what is secret stays so. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/broker.h"
#include "tests/harness/certificate.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"
#include "tests/kafka/rig.h"

Suite *kafka_tls_suite(void);

#define USER "ann"
#define SECRET "hush-7f3a"       /* of the user */
#define KEY_SECRET "mum-51c0"    /* of the client's key */
#define WRONG_SECRET "psst-90d2" /* of nobody */

/* Of the runner's process: a broker takes seconds to start. */
static struct {
    struct broker *broker;
    struct authority *ours, *other;
    struct certificate server, foreign, elsewhere, client, stranger;
} tls;

static void tls_begin(void)
{
    if (tls.broker)
        return;
    tls.ours = authority_new("ours");
    tls.other = authority_new("other");
    authority_issue(tls.ours, &(struct certificate_options){ .name = "server" }, &tls.server);
    authority_issue(tls.other, &(struct certificate_options){ .name = "foreign" }, &tls.foreign);
    authority_issue(tls.ours,
                    &(struct certificate_options){ .name = "elsewhere", .host = "kafka.example" },
                    &tls.elsewhere);
    authority_issue(tls.ours,
                    &(struct certificate_options){
                        .name = "client", .is_client = true, .secret = KEY_SECRET },
                    &tls.client);
    authority_issue(tls.other,
                    &(struct certificate_options){ .name = "stranger", .is_client = true },
                    &tls.stranger);
    tls.broker = broker_keep((const struct broker_listener[]){
        { .name = "open", .certificate = &tls.server },
        { .name = "mutual", .certificate = &tls.server, .client_ca = authority_path(tls.ours) },
        { .name = "foreign", .certificate = &tls.foreign },
        { .name = "detour", .certificate = &tls.server, .leads_to = "foreign" },
        { .name = "elsewhere", .certificate = &tls.elsewhere },
        { .name = "login", .certificate = &tls.server, .user = USER, .secret = SECRET },
        { .name = NULL } });
}

/* A daemon whose configuration is a file. */
struct tls_rig {
    char *topic, *out, *config; /* owned */
    const char *arguments[3];
    struct service *service;
};

/* `properties`: "name: value" lines, each behind four blanks. */
static char *tls_config(const char *brokers, const char *topic, const char *out,
                        const char *properties)
{
    AUTO(mem_free) char *dir = temp_dir();
    char *path = xasprintf("%s/plumbline.yaml", dir);
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    (void)fprintf(file,
                  "log_level: debug\n"
                  "kafka:\n"
                  "  brokers: %s\n"
                  "  topics: %s\n"
                  "  group: group-%s\n"
                  "  lineage_topic: %s\n"
                  "  properties:\n"
                  "    ssl.ca.location: %s\n"
                  "    debug: conf,security\n"
                  "    topic.metadata.refresh.interval.ms: 500\n"
                  "    reconnect.backoff.max.ms: 500\n"
                  "%s",
                  brokers, topic, topic, out, authority_path(tls.ours), properties);
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

static void tls_rig_init_at(struct tls_rig *rig, const char *brokers, const char *properties)
{
    *rig = (struct tls_rig){ .topic = broker_topic_name("in"), .out = broker_topic_name("out") };
    broker_topic_make(tls.broker, rig->topic, 1, NULL);
    broker_topic_make(tls.broker, rig->out, 1, NULL);
    rig->config = tls_config(brokers, rig->topic, rig->out, properties);
    rig->arguments[0] = "-c";
    rig->arguments[1] = rig->config;
    rig->service = service_start_with(&(struct daemon_options){ .arguments = rig->arguments });
}

static void tls_rig_init(struct tls_rig *rig, const char *listener, const char *properties)
{
    tls_rig_init_at(rig, broker_listener_address(tls.broker, listener), properties);
}

static void tls_rig_done_auto(struct tls_rig *rig)
{
    service_free(rig->service);
    free(rig->topic);
    free(rig->out);
    free(rig->config);
}

/* ---- what everybody may see ---- */

static void check_text(const char *where, const char *text)
{
    static const char *const secrets[] = { SECRET, KEY_SECRET, WRONG_SECRET, "PRIVATE KEY" };

    for (size_t i = 0; i < LENGTH(secrets); i++)
        ck_assert_msg(!strstr(text, secrets[i]), "%s has \"%s\"", where, secrets[i]);
}

static void check_command(const char *config, bool print)
{
    const char *const words[] = { "check-config", print ? "--print" : config, print ? config : NULL,
                                  NULL };
    AUTO(mem_free) char *output = NULL;

    ck_assert_msg(service_command(words, NULL, &output) == 0, "%s", output);
    ck_assert_msg(!print || strstr(output, "ssl.ca.location"), "%s", output);
    check_text("check-config", output);
}

/* Log, command line, answers, check-config. */
static void check_secrets(const struct tls_rig *rig)
{
    static const char *const paths[] = { "/healthz",
                                         "/readyz",
                                         "/metrics",
                                         "/v1/limits",
                                         "/v1/balance",
                                         "/v1/metrics",
                                         "/v1/deployments",
                                         "/v1/lineage/messages",
                                         "/v1/lineage/warnings" };
    AUTO(mem_free) char *log = daemon_log(rig->service->daemon);
    AUTO(mem_free)
    char *proc = xasprintf("/proc/%d/cmdline", (int)daemon_pid(rig->service->daemon));
    FILE *file = fopen(proc, "r");
    char words[4096] = "";
    size_t len;

    ck_assert_msg(strstr(log, "facility=CONF") != NULL, "what is set is not in the log");
    check_text("the log", log);
    ck_assert_ptr_nonnull(file);
    len = fread(words, 1, sizeof(words) - 1, file);
    (void)fclose(file);
    for (size_t i = 0; i < len; i++)
        words[i] = words[i] ? words[i] : ' ';
    ck_assert_msg(strstr(words, rig->config) != NULL, "%s", words);
    check_text(proc, words);
    for (size_t i = 0; i < LENGTH(paths); i++) {
        AUTO(mem_free) char *answer = service_get_text(rig->service, 200, paths[i], NULL);

        check_text(paths[i], answer);
    }
    check_command(rig->config, false);
    check_command(rig->config, true);
}

/* ---- in and out ---- */

#define SSL "    security.protocol: ssl\n"
#define LOGIN(mechanism, secret)                                                                   \
    "    security.protocol: sasl_ssl\n    sasl.mechanism: " mechanism "\n    sasl.username: " USER \
    "\n    sasl.password: " secret "\n"

static char *properties_of(const struct certificate *client, const char *secret)
{
    return xasprintf(SSL "    ssl.certificate.location: %s\n    ssl.key.location: %s\n%s%s%s",
                     client->path, client->key, secret ? "    ssl.key.password: " : "",
                     secret ? secret : "", secret ? "\n" : "");
}

/* Events come and lineage messages go. */
static void check_flow(const struct tls_rig *rig)
{
    AUTO(producer_free) struct producer *producer = producer_new(tls.broker, NULL);
    AUTO(broker_records_done) struct broker_records records;

    for (uint32_t i = 0; i < 10; i++)
        rig_send_prediction(producer, rig->topic, 0, i);
    producer_flush(producer);
    WAIT_UNTIL(RIG_READ_MS_MAX,
               pg_query_i64(rig->service->dsn, "SELECT count(*) FROM prediction") == 10);
    ck_assert_int_eq(service_sample(rig->service, "plumbline_kafka_up"), 1);
    service_take(rig->service,
                 "{\"event\":\"project_created\",\"projectCrn\":\"crn:p\",\"projectName\":\"P\","
                 "\"userName\":\"ada\"}");
    WAIT_UNTIL(RIG_READ_MS_MAX, broker_topic_end(tls.broker, rig->out, 0) > 0);
    broker_topic_read(tls.broker, rig->out, 0, &records);
    ck_assert_str_eq(records.items[0].key, "crn:p");
}

static void check_taken(const char *listener, const char *properties)
{
    AUTO(tls_rig_done) struct tls_rig rig;

    tls_rig_init(&rig, listener, properties);
    check_flow(&rig);
    check_secrets(&rig);
}

START_TEST(by_the_authority)
{
    check_taken("open", SSL);
}
END_TEST

/* With a key that is encrypted. */
START_TEST(with_a_certificate)
{
    AUTO(mem_free) char *properties = properties_of(&tls.client, KEY_SECRET);

    check_taken("mutual", properties);
}
END_TEST

static const char *const logins[] = { LOGIN("PLAIN", SECRET), LOGIN("SCRAM-SHA-512", SECRET) };

START_TEST(with_a_password)
{
    check_taken("login", logins[_i]);
}
END_TEST

/* ---- what is refused ---- */

#define HINT_BROKER                                                                                \
    ": it is not of the authority in ssl.ca.location, or of another host, or its time is over\""
#define HINT_CLIENT                                                                                \
    ": the broker asks for a certificate that it trusts, see ssl.certificate.location\""

static const struct {
    const char *name, *listener;
    const char *properties; /* NULL: the stranger's certificate */
    const char *why, *hint;
} refused_cases[] = {
    { "of another authority", "foreign", SSL, "certificate verify failed", HINT_BROKER },
    { "of another host", "elsewhere", SSL, "certificate verify failed", HINT_BROKER },
    { "without a certificate", "mutual", SSL, "SSL alert number", HINT_CLIENT },
    { "with a stranger's certificate", "mutual", NULL, "SSL alert number", HINT_CLIENT },
    { "another password, PLAIN", "login", LOGIN("PLAIN", WRONG_SECRET),
      "SASL authentication error: Authentication failed: Invalid username or password", "" },
    { "another password, SCRAM", "login", LOGIN("SCRAM-SHA-512", WRONG_SECRET),
      "SASL authentication error: Authentication failed during authentication due to invalid "
      "credentials with SASL mechanism SCRAM-SHA-512",
      "" },
};

/* Without a word of it at log_level info there would be only silence. */
static void check_said(const struct tls_rig *rig, const char *why, const char *hint)
{
    AUTO(mem_free) char *log = NULL, *ready = NULL;
    const char *line;
    size_t len;

    WAIT_UNTIL(RIG_READ_MS_MAX, daemon_log_has(rig->service->daemon, "event=kafka_down"));
    WAIT_UNTIL(RIG_READ_MS_MAX, service_sample(rig->service, "plumbline_kafka_up") == 0);
    log = daemon_log(rig->service->daemon);
    line = strstr(log, "level=warn event=kafka_down action=retry err=\"");
    ck_assert_msg(line != NULL, "%s", log);
    len = strcspn(line, "\n");
    ck_assert_msg(memmem(line, len, why, strlen(why)) && memmem(line, len, hint, strlen(hint)),
                  "%.*s", (int)len, line);
    ready = service_get_text(rig->service, 200, "/readyz", NULL);
    ck_assert_str_eq(ready, "{\"status\":\"ready\",\"warning\":\"no Kafka broker can be reached or "
                            "trusted, event=kafka_down in the log says why: events come by HTTP "
                            "only\"}");
}

/* Nothing is taken, nothing goes out, HTTP goes on. */
START_TEST(refused_case)
{
    AUTO(tls_rig_done) struct tls_rig rig;
    AUTO(producer_free) struct producer *producer = producer_new(tls.broker, NULL);
    AUTO(mem_free)
    char *properties = properties_of(&tls.stranger, NULL), *event = rig_prediction(7);

    tls_rig_init(&rig, refused_cases[_i].listener,
                 refused_cases[_i].properties ? refused_cases[_i].properties : properties);
    rig_send_prediction(producer, rig.topic, 0, 1);
    producer_flush(producer);
    check_said(&rig, refused_cases[_i].why, refused_cases[_i].hint);
    service_take(rig.service, event);
    service_take(rig.service,
                 "{\"event\":\"project_created\",\"projectCrn\":\"crn:p\",\"projectName\":\"P\","
                 "\"userName\":\"ada\"}");
    ck_assert_int_eq(pg_query_i64(rig.service->dsn, "SELECT count(*) FROM outbox"), 1);
    service_check_balance(rig.service, 2, 0, 0);
    ck_assert_int_eq(pg_query_i64(rig.service->dsn, "SELECT count(*) FROM kafka_offset"), 0);
    ck_assert_int_eq(broker_topic_end(tls.broker, rig.out, 0), 0);
    check_secrets(&rig);
}
END_TEST

/* The broker that a partition is on is a stranger, while another one is not: the log says so. */
START_TEST(one_is_refused)
{
    AUTO(tls_rig_done) struct tls_rig rig;
    AUTO(mem_free) char *event = rig_prediction(7);

    tls_rig_init(&rig, "detour", SSL);
    WAIT_UNTIL(RIG_READ_MS_MAX,
               daemon_log_has(rig.service->daemon, "level=warn event=kafka_refused action=retry"));
    ck_assert(!daemon_log_has(rig.service->daemon, "event=kafka_down"));
    ck_assert_int_eq(service_sample(rig.service, "plumbline_kafka_up"), 1);
    service_take(rig.service, event);
}
END_TEST

/* What can't work is known before anything starts. */
START_TEST(wrong_key_password)
{
    AUTO(mem_free) char *properties = properties_of(&tls.client, WRONG_SECRET), *output = NULL;
    AUTO(mem_free)
    char *config =
        tls_config(broker_listener_address(tls.broker, "mutual"), "in", "out", properties);
    const char *const words[] = { "check-config", config, NULL };

    ck_assert_int_eq(service_command(words, NULL, &output), 1);
    ck_assert_msg(strstr(output, "plumbline check-config: kafka.properties: "), "%s", output);
    ck_assert_msg(strstr(output, "ssl.key.location"), "%s", output);
    check_text("check-config", output);
}
END_TEST

Suite *kafka_tls_suite(void)
{
    Suite *suite;
    TCase *tcase;

    if (!broker_is_there())
        return NULL;
    suite = suite_create("kafka_tls");
    tcase = tcase_create("kafka_tls");
    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_unchecked_fixture(tcase, tls_begin, NULL);
    tcase_add_test(tcase, by_the_authority);
    tcase_add_test(tcase, with_a_certificate);
    tcase_add_loop_test(tcase, with_a_password, 0, LENGTH(logins));
    tcase_add_loop_test(tcase, refused_case, 0, LENGTH(refused_cases));
    tcase_add_test(tcase, one_is_refused);
    tcase_add_test(tcase, wrong_key_password);
    suite_add_tcase(suite, tcase);
    return suite;
}
