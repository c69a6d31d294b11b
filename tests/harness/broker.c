#include "broker.h"

#include <arpa/inet.h>
#include <check.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/random.h"
#include "certificate.h"
#include "jars.h"
#include "process.h"
#include "temp.h"
#include "wait.h"

/* Ports below those that the kernel gives to clients, so that a restart finds its own free. */
enum { PORT_MIN = 20000, PORT_MAX = 32000, PORT_TRIES = 200 };
enum { SETTINGS_BYTES_MAX = 4096, PEM_BYTES_MAX = 65536 };
enum { START_MS_MAX = 60000, STOP_MS_MAX = 30000, CALL_MS_MAX = 30000 };

struct way {
    struct broker_listener listener; /* what it points to is borrowed */
    int port;
    char address[32];
};

struct broker {
    struct broker *next;        /* that the runner keeps */
    char *dir, *log, *settings; /* paths */
    char address[32];
    int port, controller_port;
    struct way ways[BROKER_LISTENERS_MAX]; /* besides the plain one */
    size_t ways_len;
    pid_t pid;        /* 0: not running */
    rd_kafka_t *mock; /* a mock's, NULL otherwise */
    rd_kafka_mock_cluster_t *cluster;
};

static struct broker *shared;
static struct broker *kept; /* by the runner, the shared one too */

static void broker_mock_end(struct broker *broker);

/* ---- the program ---- */

bool broker_is_there(void)
{
    AUTO(mem_free) char *jars = jars_path("kafka");

    return jars != NULL;
}

static pid_t broker_java(struct broker *broker, const char *const *words)
{
    AUTO(mem_free) char *jars = jars_path("kafka");
    AUTO(mem_free) char *classes = NULL;
    const char *argv[28] = { "java",
                             "-Xms64m",
                             "-Xmx512m",
                             "-XX:+UseSerialGC",
                             "-XX:TieredStopAtLevel=1",
                             "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                             "-cp" };
    size_t n = 7;

    ck_assert_msg(jars != NULL, "there is no broker: run tools/fetch-jars kafka");
    classes = xasprintf("%s/*", jars);
    argv[n++] = classes;
    while (*words)
        argv[n++] = *words++;
    return process_start(
        &(struct process_options){ .argv = argv, .output = broker->log, .session = true });
}

static bool broker_port_is_free(int port)
{
    struct sockaddr_in addr = { .sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = bind(fd, (const struct sockaddr *)&addr, sizeof(addr));

    (void)close(fd);
    return rc == 0;
}

static int broker_port_choose(void)
{
    for (int i = 0; i < PORT_TRIES; i++) {
        uint32_t random;
        int port;

        random_fill(&random, sizeof(random));
        port = PORT_MIN + (int)(random % (PORT_MAX - PORT_MIN));
        if (broker_port_is_free(port))
            return port;
    }
    ck_abort_msg("no port is free");
    return 0;
}

const char *broker_listener_address(const struct broker *broker, const char *name)
{
    for (size_t i = 0; i < broker->ways_len; i++) {
        if (strcmp(broker->ways[i].listener.name, name) == 0)
            return broker->ways[i].address;
    }
    ck_abort_msg("no listener %s", name);
    return NULL;
}

/* A file with the text of the others. */
static void file_join(const char *path, const char *const *parts)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    for (; *parts; parts++) {
        AUTO(mem_free) char *text = temp_file_tail(*parts, PEM_BYTES_MAX);

        ck_assert(*text);
        (void)fputs(text, file);
    }
    ck_assert_int_eq(fclose(file), 0);
}

/* Certificates as PEM, which a broker takes with the key in one file. */
static void way_write(const struct broker *broker, const struct way *way, FILE *file)
{
    const struct broker_listener *l = &way->listener;
    AUTO(mem_free) char *keystore = xasprintf("%s.%s.pem", broker->settings, l->name);

    file_join(keystore, (const char *const[]){ l->certificate->key, l->certificate->path, NULL });
    (void)fprintf(file,
                  "listener.name.%s.ssl.keystore.type=PEM\n"
                  "listener.name.%s.ssl.keystore.location=%s\n",
                  l->name, l->name, keystore);
    if (l->client_ca)
        (void)fprintf(file,
                      "listener.name.%s.ssl.truststore.type=PEM\n"
                      "listener.name.%s.ssl.truststore.location=%s\n"
                      "listener.name.%s.ssl.client.auth=required\n",
                      l->name, l->name, l->client_ca, l->name);
    if (l->user)
        (void)fprintf(file,
                      "listener.name.%s.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512\n"
                      "listener.name.%s.plain.sasl.jaas.config=org.apache.kafka.common.security."
                      "plain.PlainLoginModule required user_%s=\"%s\";\n"
                      "listener.name.%s.scram-sha-512.sasl.jaas.config=org.apache.kafka.common."
                      "security.scram.ScramLoginModule required;\n",
                      l->name, l->name, l->user, l->secret, l->name);
}

static void broker_settings_write(const struct broker *broker)
{
    FILE *file = fopen(broker->settings, "w");
    AUTO(buf_done) struct buf addresses, advertised, protocols;

    buf_init(&addresses, SETTINGS_BYTES_MAX);
    buf_init(&advertised, SETTINGS_BYTES_MAX);
    buf_init(&protocols, SETTINGS_BYTES_MAX);
    ck_assert_ptr_nonnull(file);
    for (const struct way *way = broker->ways; way < broker->ways + broker->ways_len; way++) {
        const char *told = way->listener.leads_to;

        buf_append_fmt(&addresses, ",%s://%s", way->listener.name, way->address);
        buf_append_fmt(&advertised, ",%s://%s", way->listener.name,
                       told ? broker_listener_address(broker, told) : way->address);
        buf_append_fmt(&protocols, ",%s:%s", way->listener.name,
                       way->listener.user ? "SASL_SSL" : "SSL");
        way_write(broker, way, file);
    }
    (void)fprintf(file,
                  "process.roles=broker,controller\n"
                  "node.id=1\n"
                  "controller.quorum.voters=1@127.0.0.1:%d\n"
                  "listeners=PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d%s\n"
                  "advertised.listeners=PLAINTEXT://%s%s\n"
                  "controller.listener.names=CONTROLLER\n"
                  "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT%s\n"
                  "inter.broker.listener.name=PLAINTEXT\n"
                  "log.dirs=%s/data\n",
                  broker->controller_port, broker->address, broker->controller_port,
                  buf_text(&addresses), broker->address, buf_text(&advertised),
                  buf_text(&protocols), broker->dir);
    (void)fputs("offsets.topic.replication.factor=1\n"
                "offsets.topic.num.partitions=1\n"
                "transaction.state.log.replication.factor=1\n"
                "transaction.state.log.min.isr=1\n"
                "transaction.state.log.num.partitions=1\n"
                "group.initial.rebalance.delay.ms=0\n"
                "group.min.session.timeout.ms=1000\n"
                "auto.create.topics.enable=false\n"
                "file.delete.delay.ms=100\n"
                "broker.session.timeout.ms=2000\n" /* a broker that was killed comes back at once */
                "broker.heartbeat.interval.ms=200\n"
                "log.cleaner.dedupe.buffer.size=4194304\n"
                "num.network.threads=2\n"
                "num.io.threads=4\n",
                file);
    ck_assert_int_eq(fclose(file), 0);
}

/* ---- starting and stopping ---- */

static bool broker_answers(struct broker *broker)
{
    struct sockaddr_in addr = { .sin_family = AF_INET,
                                .sin_port = htons((uint16_t)broker->port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd, rc;

    if (waitpid(broker->pid, NULL, WNOHANG) == broker->pid) {
        broker->pid = 0;
        ck_abort_msg("the broker did not start, see its log");
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rc = connect(fd, (const struct sockaddr *)&addr, sizeof(addr));
    (void)close(fd);
    return rc == 0;
}

void broker_resume(struct broker *broker)
{
    const char *const words[] = { "kafka.Kafka", broker->settings, NULL };

    ck_assert_int_eq(broker->pid, 0);
    broker->pid = broker_java(broker, words);
    WAIT_UNTIL(START_MS_MAX, broker_answers(broker));
}

/* Another one than those before it. */
static int broker_port_add(const struct broker *broker)
{
    bool taken;
    int port;

    do {
        port = broker_port_choose();
        taken = port == broker->port || port == broker->controller_port;
        for (size_t i = 0; i < broker->ways_len; i++)
            taken |= port == broker->ways[i].port;
    } while (taken);
    return port;
}

static void broker_way_add(struct broker *broker, const struct broker_listener *listener)
{
    struct way *way = &broker->ways[broker->ways_len];

    ck_assert_uint_lt(broker->ways_len, BROKER_LISTENERS_MAX);
    way->listener = *listener;
    way->port = broker_port_add(broker);
    (void)snprintf(way->address, sizeof(way->address), "127.0.0.1:%d", way->port);
    broker->ways_len++;
}

/* Makes the storage, with the users that come by SCRAM. */
static void broker_format(struct broker *broker)
{
    const char *words[10] = { "kafka.tools.StorageTool", "format", "-t",
                              "4L6g3nShT-eMCtK--X86sw",  "-c",     broker->settings };
    AUTO(mem_free) char *user = NULL;
    int status;

    for (size_t i = 0; i < broker->ways_len && !user; i++) {
        const struct broker_listener *l = &broker->ways[i].listener;

        if (!l->user)
            continue;
        user = xasprintf("SCRAM-SHA-512=[name=%s,password=%s]", l->user, l->secret);
        words[6] = "--add-scram";
        words[7] = user;
    }
    status = process_wait(broker_java(broker, words), wait_scaled_ms(START_MS_MAX));
    ck_assert_msg(status == 0, "the broker's storage can't be made: status %d", status);
}

static struct broker *broker_new(char *log, const struct broker_listener *listeners)
{
    struct broker *broker = xcalloc(1, sizeof(*broker));

    broker->log = log;
    broker->dir = temp_dir();
    broker->settings = xasprintf("%s.broker", broker->dir);
    broker->port = broker_port_add(broker);
    broker->controller_port = broker_port_add(broker);
    (void)snprintf(broker->address, sizeof(broker->address), "127.0.0.1:%d", broker->port);
    for (; listeners && listeners->name; listeners++)
        broker_way_add(broker, listeners);
    broker_settings_write(broker);
    broker_format(broker);
    broker_resume(broker);
    return broker;
}

struct broker *broker_start(void)
{
    return broker_new(temp_log("broker"), NULL);
}

static void broker_end(struct broker *broker, int signal)
{
    ck_assert_int_gt(broker->pid, 0);
    (void)kill(broker->pid, signal);
    ck_assert_msg(process_wait(broker->pid, STOP_MS_MAX) != -1, "the broker does not stop");
    broker->pid = 0;
}

void broker_kill9(struct broker *broker)
{
    broker_end(broker, SIGKILL);
}

void broker_signal(struct broker *broker, int signal)
{
    ck_assert_int_gt(broker->pid, 0);
    ck_assert_int_eq(kill(broker->pid, signal), 0);
}

void broker_free(struct broker *broker)
{
    if (!broker)
        return;
    if (broker->mock) {
        broker_mock_end(broker);
        return;
    }
    if (broker->pid)
        broker_end(broker, SIGKILL);
    process_run(&(struct process_options){
        .argv = (const char *const[]){ "rm", "-rf", broker->dir, broker->settings, NULL } });
    free(broker->dir);
    free(broker->settings);
    free(broker->log);
    free(broker);
}

const char *broker_address(const struct broker *broker)
{
    return broker->address;
}

struct broker *broker_keep(const struct broker_listener *listeners)
{
    static unsigned number;
    struct broker *broker =
        broker_new(xasprintf("%s/broker-%u.log", temp_root(), number++), listeners);

    broker->next = kept;
    kept = broker;
    return broker;
}

void broker_shared_start(void)
{
    if (!shared)
        shared = broker_keep(NULL);
}

void broker_shared_stop(void)
{
    for (struct broker *broker = kept; broker; broker = broker->next) {
        if (!broker->pid)
            continue;
        (void)kill(broker->pid, SIGKILL);
        (void)waitpid(broker->pid, NULL, 0);
        broker->pid = 0; /* the guard removes the rest */
    }
}

void broker_log_print(void)
{
    for (const struct broker *broker = kept; broker; broker = broker->next)
        temp_print_file(stdout, broker->log);
}

struct broker *broker_shared(void)
{
    ck_assert_msg(shared != NULL, "the test case lacks the fixture broker_shared_start");
    return shared;
}

/* ---- topics ---- */

static rd_kafka_t *client_new(struct broker *broker, rd_kafka_type_t type,
                              const char *const *settings, void *opaque,
                              void (*delivered)(rd_kafka_t *, const rd_kafka_message_t *, void *))
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256];
    rd_kafka_t *client;

    ck_assert_int_eq(rd_kafka_conf_set(conf, "bootstrap.servers", broker->address, why,
                                       sizeof(why)),
                     0);
    ck_assert_int_eq(rd_kafka_conf_set(conf, "log_level", "0", why, sizeof(why)), 0);
    for (; settings && *settings; settings += 2)
        ck_assert_msg(rd_kafka_conf_set(conf, settings[0], settings[1], why, sizeof(why)) == 0,
                      "%s", why);
    rd_kafka_conf_set_opaque(conf, opaque);
    if (delivered)
        rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    client = rd_kafka_new(type, conf, why, sizeof(why));
    ck_assert_msg(client != NULL, "%s", why);
    return client;
}

char *broker_topic_name(const char *what)
{
    static unsigned number;

    return xasprintf("%s-%d-%u", what, (int)getpid(), number++);
}

static rd_kafka_resp_err_t topic_error(rd_kafka_event_t *event, const char **why)
{
    const rd_kafka_topic_result_t **results = NULL;
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    size_t len = 0;

    *why = rd_kafka_event_error_string(event);
    if (code)
        return code;
    if (rd_kafka_event_CreateTopics_result(event))
        results =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &len);
    else
        results =
            rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &len);
    ck_assert_uint_eq(len, 1);
    *why = rd_kafka_topic_result_error_string(results[0]);
    return rd_kafka_topic_result_error(results[0]);
}

static void topic_check(rd_kafka_t *client, rd_kafka_queue_t *queue)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, CALL_MS_MAX);
    const char *why = "no answer";

    ck_assert_msg(event && topic_error(event, &why) == RD_KAFKA_RESP_ERR_NO_ERROR, "%s", why);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(client);
}

void broker_topic_make(struct broker *broker, const char *topic, int partitions,
                       const char *const *settings)
{
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    char why[256];
    rd_kafka_NewTopic_t *wanted;

    if (broker->mock) {
        ck_assert_int_eq(rd_kafka_mock_topic_create(broker->cluster, topic, partitions, 1), 0);
        return;
    }
    client = client_new(broker, RD_KAFKA_PRODUCER, NULL, NULL, NULL);
    queue = rd_kafka_queue_new(client);
    wanted = rd_kafka_NewTopic_new(topic, partitions, 1, why, sizeof(why));
    ck_assert_msg(wanted != NULL, "%s", why);
    for (; settings && *settings; settings += 2)
        ck_assert_int_eq(rd_kafka_NewTopic_set_config(wanted, settings[0], settings[1]), 0);
    rd_kafka_CreateTopics(client, &wanted, 1, NULL, queue);
    topic_check(client, queue);
    rd_kafka_NewTopic_destroy(wanted);
}

void broker_topic_delete(struct broker *broker, const char *topic)
{
    rd_kafka_t *client = client_new(broker, RD_KAFKA_PRODUCER, NULL, NULL, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_DeleteTopic_t *unwanted = rd_kafka_DeleteTopic_new(topic);

    rd_kafka_DeleteTopics(client, &unwanted, 1, NULL, queue);
    topic_check(client, queue);
    rd_kafka_DeleteTopic_destroy(unwanted);
}

int64_t broker_topic_end(struct broker *broker, const char *topic, int32_t partition)
{
    rd_kafka_t *client = client_new(broker, RD_KAFKA_PRODUCER, NULL, NULL, NULL);
    int64_t low, high = -1;

    ck_assert_int_eq(rd_kafka_query_watermark_offsets(client, topic, partition, &low, &high,
                                                      CALL_MS_MAX),
                     0);
    rd_kafka_destroy(client);
    return high;
}

static char *record_text(const void *data, size_t len)
{
    return data ? xmemdup0(data, len) : NULL;
}

void broker_topic_read(struct broker *broker, const char *topic, int32_t partition,
                       struct broker_records *records)
{
    const char *const settings[] = { "group.id", "reader", "enable.auto.commit", "false", NULL };
    int64_t end = broker_topic_end(broker, topic, partition), next = 0;
    rd_kafka_t *client = client_new(broker, RD_KAFKA_CONSUMER, settings, NULL, NULL);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    *records = (struct broker_records){ 0 };
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = 0;
    ck_assert_int_eq(rd_kafka_assign(client, list), 0);
    rd_kafka_topic_partition_list_destroy(list);
    while (next < end) {
        rd_kafka_message_t *message =
            rd_kafka_consumer_poll(client, (int)wait_scaled_ms(CALL_MS_MAX));

        ck_assert_msg(message != NULL, "%s: nothing at %lld", topic, (long long)next);
        if (!message->err) {
            records->items =
                xreallocarray(records->items, records->len + 1, sizeof(*records->items));
            records->items[records->len++] =
                (struct broker_record){ .key = record_text(message->key, message->key_len),
                                        .value = record_text(message->payload, message->len) };
            next = message->offset + 1;
        }
        rd_kafka_message_destroy(message);
    }
    (void)rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
}

int64_t broker_group_offset(struct broker *broker, const char *group, const char *topic,
                            int32_t partition)
{
    const char *const settings[] = { "group.id", group, NULL };
    rd_kafka_t *client = client_new(broker, RD_KAFKA_CONSUMER, settings, NULL, NULL);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    int64_t offset;

    (void)rd_kafka_topic_partition_list_add(list, topic, partition);
    ck_assert_int_eq(rd_kafka_committed(client, list, CALL_MS_MAX), 0);
    offset = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(client);
    return offset < 0 ? -1 : offset;
}

void broker_records_done(struct broker_records *records)
{
    for (size_t i = 0; i < records->len; i++) {
        free(records->items[i].key);
        free(records->items[i].value);
    }
    free(records->items);
    *records = (struct broker_records){ 0 };
}

/* ---- errors on demand ---- */

struct broker *broker_mock(void)
{
    struct broker *broker = xcalloc(1, sizeof(*broker));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256];

    ck_assert_int_eq(rd_kafka_conf_set(conf, "log_level", "0", why, sizeof(why)), 0);
    broker->mock = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    ck_assert_msg(broker->mock != NULL, "%s", why);
    broker->cluster = rd_kafka_mock_cluster_new(broker->mock, 1);
    ck_assert_ptr_nonnull(broker->cluster);
    (void)snprintf(broker->address, sizeof(broker->address), "%s",
                   rd_kafka_mock_cluster_bootstraps(broker->cluster));
    return broker;
}

static void broker_mock_end(struct broker *broker)
{
    rd_kafka_mock_cluster_destroy(broker->cluster);
    rd_kafka_destroy(broker->mock);
    free(broker);
}

void broker_mock_fail(struct broker *broker, enum broker_request request, size_t count, int error)
{
    rd_kafka_resp_err_t errors[8];

    ck_assert_uint_le(count, LENGTH(errors));
    for (size_t i = 0; i < count; i++)
        errors[i] = (rd_kafka_resp_err_t)error;
    rd_kafka_mock_push_request_errors_array(broker->cluster, (int16_t)request, count, errors);
}

void broker_mock_delay(struct broker *broker, enum broker_request request, int ms)
{
    ck_assert_int_eq(rd_kafka_mock_broker_push_request_error_rtts(broker->cluster, 1,
                                                                  (int16_t)request, 1, 0, ms),
                     0);
}

bool broker_mock_delays(struct broker *broker, enum broker_request request)
{
    size_t waiting = 1;

    ck_assert_int_eq(rd_kafka_mock_broker_error_stack_cnt(broker->cluster, 1, (int16_t)request,
                                                          &waiting),
                     0);
    return waiting == 0;
}

/* ---- producing ---- */

struct producer {
    rd_kafka_t *client;
    uint64_t failures;
    bool has_transactions;
};

static void producer_delivered(rd_kafka_t *client UNUSED, const rd_kafka_message_t *message,
                               void *opaque)
{
    struct producer *producer = opaque;

    producer->failures += message->err != RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void producer_check(rd_kafka_error_t *error)
{
    if (error)
        ck_abort_msg("%s", rd_kafka_error_string(error));
}

struct producer *producer_new(struct broker *broker, const char *const *settings)
{
    struct producer *producer = xcalloc(1, sizeof(*producer));

    producer->client =
        client_new(broker, RD_KAFKA_PRODUCER, settings, producer, producer_delivered);
    for (; settings && *settings; settings += 2)
        producer->has_transactions |= strcmp(settings[0], "transactional.id") == 0;
    if (producer->has_transactions)
        producer_check(rd_kafka_init_transactions(producer->client, CALL_MS_MAX));
    return producer;
}

void producer_free(struct producer *producer)
{
    if (!producer)
        return;
    producer_flush(producer);
    rd_kafka_destroy(producer->client);
    free(producer);
}

void producer_send(struct producer *producer, const struct producer_message *message)
{
    size_t len = message->len || !message->value ? message->len : strlen(message->value);
    rd_kafka_resp_err_t code;

    for (;;) {
        rd_kafka_headers_t *headers = NULL;

        if (message->header) {
            headers = rd_kafka_headers_new(1);
            (void)rd_kafka_header_add(headers, message->header, -1, message->header_value, -1);
        }
        code = rd_kafka_producev(producer->client, RD_KAFKA_V_TOPIC(message->topic),
                                 RD_KAFKA_V_PARTITION(message->partition),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                 RD_KAFKA_V_KEY((void *)(uintptr_t)message->key,
                                                message->key ? strlen(message->key) : 0),
                                 RD_KAFKA_V_VALUE((void *)(uintptr_t)message->value, len),
                                 RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
        if (code && headers)
            rd_kafka_headers_destroy(headers);
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            break;
        (void)rd_kafka_poll(producer->client, 100);
    }
    ck_assert_msg(code == RD_KAFKA_RESP_ERR_NO_ERROR, "%s", rd_kafka_err2str(code));
    (void)rd_kafka_poll(producer->client, 0);
}

void producer_send_text(struct producer *producer, const char *topic, const char *value)
{
    producer_send(producer, &(struct producer_message){ .topic = topic, .value = value });
}

void producer_flush(struct producer *producer)
{
    rd_kafka_resp_err_t code = rd_kafka_flush(producer->client, (int)wait_scaled_ms(CALL_MS_MAX));

    ck_assert_msg(code == RD_KAFKA_RESP_ERR_NO_ERROR, "%s", rd_kafka_err2str(code));
}

size_t producer_waiting(const struct producer *producer)
{
    (void)rd_kafka_poll(producer->client, 0);
    return (size_t)rd_kafka_outq_len(producer->client);
}

uint64_t producer_failures(const struct producer *producer)
{
    return producer->failures;
}

void producer_begin(struct producer *producer)
{
    producer_check(rd_kafka_begin_transaction(producer->client));
}

void producer_commit(struct producer *producer)
{
    producer_check(rd_kafka_commit_transaction(producer->client, CALL_MS_MAX));
}

void producer_abort(struct producer *producer)
{
    producer_check(rd_kafka_abort_transaction(producer->client, CALL_MS_MAX));
}
