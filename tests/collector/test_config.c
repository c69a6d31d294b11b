#include "collector/config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

static const struct {
    const char *name, *yaml;
    const char *want; /* the line of config_write that it leads to */
} parse_cases[] = {
    { "empty file", "", "listen: \"127.0.0.1:8190\"\n" },
    { "only comments", "# nothing\n\n# here\n", "memory_bytes_max: 64MiB\n" },
    { "empty document", "---\n{}\n", "log_level: info\n" },
    { "text", "listen: 127.0.0.2:9000\n", "listen: \"127.0.0.2:9000\"\n" },
    { "quoted text", "database: \"host=x password='a\\\\b'\"\n",
      "database: \"host=x password='a\\\\b'\"\n" },
    { "empty text is the default", "listen: \"\"\n", "listen: \"127.0.0.1:8190\"\n" },
    { "null text is the default", "listen: ~\n", "listen: \"127.0.0.1:8190\"\n" },
    { "quoted null is a text", "database: \"null\"\n", "database: \"null\"\n" },
    { "boolean", "keys_off: true\n", "keys_off: true\n" },
    { "level", "log_level: debug\n", "log_level: debug\n" },
    { "plain bytes", "memory_bytes_max: 67108865\n", "memory_bytes_max: 67108865\n" },
    { "KiB", "body_bytes_max: 512KiB\n", "body_bytes_max: 512KiB\n" },
    { "MiB with a space", "memory_bytes_max: 128 MiB\n", "memory_bytes_max: 128MiB\n" },
    { "a thousand MiB", "memory_bytes_max: 1024MiB\n", "memory_bytes_max: 1GiB\n" },
    { "TiB", "memory_bytes_max: 1TiB\n", "memory_bytes_max: 1TiB\n" },
    { "B", "metrics_bytes_max: 1000B\n", "metrics_bytes_max: 1000\n" },
    { "plain milliseconds", "commit_timeout_ms: 1500\n", "commit_timeout_ms: 1500ms\n" },
    { "ms", "commit_timeout_ms: 500ms\n", "commit_timeout_ms: 500ms\n" },
    { "s", "commit_timeout_ms: 30s\n", "commit_timeout_ms: 30s\n" },
    { "m", "commit_timeout_ms: 5m\n", "commit_timeout_ms: 5m\n" },
    { "h", "request_timeout_ms: 1h\n", "request_timeout_ms: 1h\n" },
    { "d", "event_ahead_ms_max: 7d\n", "event_ahead_ms_max: 7d\n" },
    { "zero duration", "event_ahead_ms_max: 0\n", "event_ahead_ms_max: 0\n" },
    { "an age", "retention_raw: 30d\n", "retention_raw: 30d\n" },
    { "for ever", "label_wait: forever\n", "label_wait: forever\n" },
    { "quoted number", "reads_max: \"4\"\n", "reads_max: 4\n" },
    { "flow mapping", "{reads_max: 4, keys_off: true}\n", "keys_off: true\n" },
};

static char *config_text(const struct config *config)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    config_write(config, out);
    (void)fclose(out);
    return text;
}

START_TEST(parse_case)
{
    AUTO(config_done) struct config config;
    AUTO(mem_free) char *text = NULL;
    struct err err = { 0 };
    int rc;

    config_init(&config);
    rc = config_parse(&config, "t.yaml", parse_cases[_i].yaml, strlen(parse_cases[_i].yaml), &err);
    ck_assert_msg(rc == 0, "%s: %s", parse_cases[_i].name, err.text);
    text = config_text(&config);
    ck_assert_msg(strstr(text, parse_cases[_i].want), "%s: no %s in %s", parse_cases[_i].name,
                  parse_cases[_i].want, text);
}
END_TEST

static const struct {
    const char *name, *yaml, *want;
} refuse_cases[] = {
    { "unknown key", "reads_max: 4\nlisen: 127.0.0.1:1\n",
      "t.yaml:2:1: unknown key \"lisen\"; did you mean \"listen\"?" },
    { "unknown key, unit forgotten", "memory_max: 1\n",
      "t.yaml:1:1: unknown key \"memory_max\"; did you mean \"memory_bytes_max\"?" },
    { "unknown key like no other", "frobnicate: 4\n",
      "t.yaml:1:1: unknown key \"frobnicate\"; `plumbline check-config --keys` lists all" },
    { "unknown key with a line feed", "\"a\\nb\": 4\n",
      "t.yaml:1:1: unknown key \"a?b\"; `plumbline check-config --keys` lists all" },
    { "key of a hundred characters",
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "a"
      "aaaa: 1\n",
      "t.yaml:1:1: unknown key "
      "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...\"; "
      "`plumbline check-config --keys` lists all" },
    { "key in capitals", "Listen: 127.0.0.1:1\n",
      "t.yaml:1:1: unknown key \"Listen\"; did you mean \"listen\"?" },
    { "repeated key", "reads_max: 4\n# x\nreads_max: 5\n",
      "t.yaml:3:1: key \"reads_max\" is repeated; it stands in line 1 already" },
    { "word for a number", "reads_max: many\n",
      "t.yaml:1:12: reads_max: \"many\" is not a whole number" },
    { "key of a mapping outside it", "kafka.group: g\n",
      "t.yaml:1:1: key \"kafka.group\" is written as `group` below `kafka:`" },
    { "unknown key in a mapping", "kafka:\n  broker: x\n",
      "t.yaml:2:3: unknown key \"kafka.broker\"; did you mean \"kafka.brokers\"?" },
    { "key repeated in a mapping", "kafka: { group: a, group: b }\n",
      "t.yaml:1:20: key \"kafka.group\" is repeated; it stands in line 1 already" },
    { "mapping twice", "kafka:\n  group: a\nkafka:\n  group: b\n",
      "t.yaml:4:3: key \"kafka.group\" is repeated; it stands in line 2 already" },
    { "no mapping", "kafka: broker:9092\n",
      "t.yaml:1:8: expected lines of the form `key: value` below kafka" },
    { "mapping in a mapping", "kafka:\n  kafka:\n    group: a\n",
      "t.yaml:2:3: unknown key \"kafka.kafka\"; `plumbline check-config --keys` lists all" },
    { "pairs that are a list", "kafka:\n  properties: [a]\n",
      "t.yaml:2:15: kafka.properties: takes one value, not a list or a mapping" },
    { "pair of a list", "kafka:\n  properties: { a: [b] }\n",
      "t.yaml:2:20: kafka.properties: takes lines of the form `name: value`" },
    { "pair with two lines", "kafka:\n  properties: { a: \"b\\nc\" }\n",
      "t.yaml:2:20: kafka.properties: \"a\" has a value that is not one line of text" },
    { "pair with = in its name", "kafka:\n  properties: { a=b: c }\n",
      "t.yaml:2:17: kafka.properties: \"a\" is to be followed by a colon and a blank" },
    { "a key where a file is meant",
      "kafka:\n  properties: |\n    ssl.key.pem=-----BEGIN\n    MIIE\n",
      "t.yaml:2:15: kafka.properties: line 2 is not name=value" },
    { "fraction", "reads_max: 1.5\n", "t.yaml:1:12: reads_max: \"1.5\" is not a whole number" },
    { "unit on a plain number", "reads_max: 4s\n",
      "t.yaml:1:12: reads_max: \"4s\" is not a whole number" },
    { "plus sign", "reads_max: +4\n", "t.yaml:1:12: reads_max: \"+4\" is not a whole number" },
    { "leading space", "reads_max: \" 4\"\n",
      "t.yaml:1:12: reads_max: \" 4\" is not a whole number" },
    { "no value", "reads_max:\n",
      "t.yaml:1:11: reads_max: the value is missing; the default is 16" },
    { "null number", "reads_max: null\n",
      "t.yaml:1:12: reads_max: the value is missing; the default is 16" },
    { "too small", "reads_max: 0\n",
      "t.yaml:1:12: reads_max: \"0\" is too small; the smallest is 1" },
    { "negative", "reads_max: -1\n",
      "t.yaml:1:12: reads_max: \"-1\" is too small; the smallest is 1" },
    { "too large", "reads_max: 2000\n",
      "t.yaml:1:12: reads_max: \"2000\" is too large; the largest is 1024" },
    { "larger than 64 bits", "reads_max: 99999999999999999999\n",
      "t.yaml:1:12: reads_max: \"99999999999999999999\" is too large; the largest is 1024" },
    { "larger than 64 bits with its unit", "memory_bytes_max: 99999999999999TiB\n",
      "t.yaml:1:19: memory_bytes_max: \"99999999999999TiB\" is too large; the largest is 1TiB" },
    { "budget too small", "memory_bytes_max: 1KiB\n",
      "t.yaml:1:19: memory_bytes_max: \"1KiB\" is too small; the smallest is 1MiB" },
    { "decimal unit", "memory_bytes_max: 64MB\n",
      "t.yaml:1:19: memory_bytes_max: \"64MB\" is not a number of bytes; write it like 65536 or "
      "64MiB (B, KiB, MiB, GiB, TiB)" },
    { "duration as bytes", "memory_bytes_max: 30s\n",
      "t.yaml:1:19: memory_bytes_max: \"30s\" is not a number of bytes; write it like 65536 or "
      "64MiB (B, KiB, MiB, GiB, TiB)" },
    { "long unit", "commit_timeout_ms: 5 sec\n",
      "t.yaml:1:20: commit_timeout_ms: \"5 sec\" is not a duration; write it like 500ms, 30s, 5m, "
      "1h, 7d, or as plain milliseconds" },
    { "duration too short", "idle_timeout_ms: 5\n",
      "t.yaml:1:18: idle_timeout_ms: \"5\" is too small; the smallest is 1s" },
    { "duration too long", "idle_timeout_ms: 7d\n",
      "t.yaml:1:18: idle_timeout_ms: \"7d\" is too large; the largest is 1h" },
    { "an age in weeks", "retention_raw: 4w\n",
      "t.yaml:1:16: retention_raw: \"4w\" is not a duration; write it like 12h, 30d, 400d, as "
      "plain "
      "milliseconds, or forever" },
    { "an age too short", "retention_raw: 1h\n",
      "t.yaml:1:16: retention_raw: \"1h\" is too small; the smallest is 1d" },
    { "for ever in another word", "retention_1d: never\n",
      "t.yaml:1:15: retention_1d: \"never\" is not a duration; write it like 12h, 30d, 400d, as "
      "plain milliseconds, or forever" },
    { "for ever where it can't be", "idle_timeout_ms: forever\n",
      "t.yaml:1:18: idle_timeout_ms: \"forever\" is not a duration; write it like 500ms, 30s, 5m, "
      "1h, 7d, or as plain milliseconds" },
    { "boolean of YAML 1.1", "keys_off: yes\n",
      "t.yaml:1:11: keys_off: \"yes\" is neither true nor false" },
    { "unknown level", "log_level: loud\n",
      "t.yaml:1:12: log_level: \"loud\" is not a log level; use debug, info, warn or error" },
    { "list as value", "reads_max: [1]\n",
      "t.yaml:1:12: reads_max: takes one value, not a list or a mapping" },
    { "mapping as value", "listen:\n  port: 1\n",
      "t.yaml:2:3: listen: takes one value, not a list or a mapping" },
    { "mapping as key", "{a: b}: c\n", "t.yaml:1:1: a key must be one word" },
    { "list as document", "- listen\n", "t.yaml:1:1: expected lines of the form `key: value`" },
    { "scalar as document", "hello\n", "t.yaml:1:1: expected lines of the form `key: value`" },
    { "zero byte in a value", "database: \"a\\0b\"\n",
      "t.yaml:1:11: database: the value holds a zero byte" },
    { "alias", "reads_max: *x\n",
      "t.yaml:1:12: aliases are not allowed here; write the value out" },
    { "anchor", "reads_max: &x 4\n", "t.yaml:1:12: anchors are not allowed here; remove \"x\"" },
    { "anchor on the document", "&x {reads_max: 4}\n",
      "t.yaml:1:1: anchors are not allowed here; remove \"x\"" },
    { "tag", "reads_max: !!int 4\n",
      "t.yaml:1:12: tags are not allowed here; remove \"tag:yaml.org,2002:int\"" },
    { "two documents", "reads_max: 4\n---\nreads_max: 5\n",
      "t.yaml:2:1: a second document begins here; a configuration is one" },
    { "tab", "reads_max: 4\n\tkeys_off: true\n",
      "t.yaml:2:1: found a tab character that violates indentation" },
    { "unterminated quote", "listen: \"127\n", "t.yaml:2:1: found unexpected end of stream" },
};

START_TEST(refuse_case)
{
    AUTO(config_done) struct config config;
    AUTO(mem_free) char *before = NULL, *after = NULL;
    struct err err = { 0 };
    int rc;

    config_init(&config);
    before = config_text(&config);
    rc =
        config_parse(&config, "t.yaml", refuse_cases[_i].yaml, strlen(refuse_cases[_i].yaml), &err);
    ck_assert_msg(rc == -1, "%s: taken", refuse_cases[_i].name);
    ck_assert_str_eq(err.text, refuse_cases[_i].want);
    ck_assert_int_eq(err.kind, ERR_INPUT);
    after = config_text(&config);
    ck_assert_str_eq(before, after);
}
END_TEST

START_TEST(file_too_large)
{
    AUTO(config_done) struct config config;
    AUTO(mem_free) char *text = xmalloc(70000);
    struct err err = { 0 };

    memset(text, '#', 70000);
    config_init(&config);
    ck_assert_int_eq(config_parse(&config, "t.yaml", text, 70000, &err), -1);
    ck_assert_str_eq(err.text, "t.yaml: larger than a configuration may be (65536 bytes)");
}
END_TEST

START_TEST(file_missing)
{
    AUTO(config_done) struct config config;
    struct err err = { 0 };

    config_init(&config);
    ck_assert_int_eq(config_load(&config, "/nowhere/p.yaml", &err), -1);
    ck_assert_str_eq(err.text,
                     "cannot read the configuration /nowhere/p.yaml: No such file or directory");
    ck_assert_int_eq(config_load(&config, "/", &err), -1);
    ck_assert_str_eq(err.text, "cannot read the configuration /: Is a directory");
}
END_TEST

static const struct {
    const char *name, *variable, *want; /* want: a line of config_write, or the error */
    int rc;
} environment_cases[] = {
    { "a key", "PLUMBLINE_READS_MAX=4", "reads_max: 4\n", 0 },
    { "a key in a mapping", "PLUMBLINE_KAFKA_GROUP=g",
      "kafka:\n  brokers: \"\"\n  topics: "
      "\"plumbline.events\"\n  group: \"g\"\n",
      0 },
    { "a key in another mapping", "PLUMBLINE_ATLAS_NAMESPACE=prod",
      "atlas:\n  namespace: \"prod\"\n", 0 },
    { "pairs", "PLUMBLINE_KAFKA_PROPERTIES=security.protocol=ssl\n\nfetch.min.bytes=1\n",
      "  properties: \n    security.protocol: \"ssl\"\n    fetch.min.bytes: \"1\"\n", 0 },
    { "no pair", "PLUMBLINE_KAFKA_PROPERTIES=a=b\nssl",
      "environment: PLUMBLINE_KAFKA_PROPERTIES: line 2 is not name=value", -1 },
    { "a pair without a name", "PLUMBLINE_KAFKA_PROPERTIES==b",
      "environment: PLUMBLINE_KAFKA_PROPERTIES: line 1 is not name=value", -1 },
    { "another sign than =", "PLUMBLINE_KAFKA_PROPERTIES=sasl.password: c2VjcmV0==",
      "environment: PLUMBLINE_KAFKA_PROPERTIES: line 1 is not name=value", -1 },
    { "a pair behind a space", "PLUMBLINE_KAFKA_PROPERTIES= a=b",
      "environment: PLUMBLINE_KAFKA_PROPERTIES: line 1 is not name=value", -1 },
    { "a unit", "PLUMBLINE_MEMORY_BYTES_MAX=128MiB", "memory_bytes_max: 128MiB\n", 0 },
    { "a value with =", "PLUMBLINE_DATABASE=host=x dbname=y", "database: \"host=x dbname=y\"\n",
      0 },
    { "an empty text", "PLUMBLINE_LISTEN=", "listen: \"127.0.0.1:8190\"\n", 0 },
    { "somebody else's", "PATH=/bin", "reads_max: 16\n", 0 },
    { "nearly ours", "PLUMBLINES=1", "reads_max: 16\n", 0 },
    { "the file", "PLUMBLINE_CONFIG=/x.yaml", "reads_max: 16\n", 0 },
    { "the client's", "PLUMBLINE_URL=http://x", "reads_max: 16\n", 0 },
    { "the tests'", "PLUMBLINE_BINARY=build/plumbline", "reads_max: 16\n", 0 },
    { "the tests' own", "PLUMBLINE_TEST_KEEP=1", "reads_max: 16\n", 0 },
    { "misspelt", "PLUMBLINE_LISEN=x",
      "environment: PLUMBLINE_LISEN is no key of the configuration; did you mean "
      "PLUMBLINE_LISTEN?",
      -1 },
    { "unknown", "PLUMBLINE_FROBNICATE=x",
      "environment: PLUMBLINE_FROBNICATE is no key of the configuration; unset it", -1 },
    { "in lower case", "PLUMBLINE_reads_max=4",
      "environment: PLUMBLINE_reads_max is no key of the configuration; did you mean "
      "PLUMBLINE_READS_MAX?",
      -1 },
    { "wrong value", "PLUMBLINE_READS_MAX=x",
      "environment: PLUMBLINE_READS_MAX: \"x\" is not a whole number", -1 },
    { "empty number",
      "PLUMBLINE_READS_MAX=", "environment: PLUMBLINE_READS_MAX: \"\" is not a whole number", -1 },
};

START_TEST(environment_case)
{
    char variable[128];
    char *environment[] = { variable, NULL };
    AUTO(config_done) struct config config;
    AUTO(mem_free) char *text = NULL;
    struct err err = { 0 };
    int rc;

    (void)snprintf(variable, sizeof(variable), "%s", environment_cases[_i].variable);
    config_init(&config);
    rc = config_apply_environment(&config, environment, &err);
    ck_assert_msg(rc == environment_cases[_i].rc, "%s: %s", environment_cases[_i].name, err.text);
    text = config_text(&config);
    if (rc < 0)
        ck_assert_str_eq(err.text, environment_cases[_i].want);
    else
        ck_assert_msg(strstr(text, environment_cases[_i].want), "%s", text);
}
END_TEST

static const struct {
    const char *name, *yaml, *want; /* want: NULL, or the error */
} check_cases[] = {
    { "defaults", "", NULL },
    { "any loopback", "listen: 127.9.9.9:1\n", NULL },
    { "loopback of IPv6", "listen: \"[::1]:0\"\n", NULL },
    { "mapped loopback", "listen: \"[::ffff:127.0.0.1]:0\"\n", NULL },
    { "localhost", "listen: localhost:8190\n", NULL },
    { "open with keys off", "listen: 0.0.0.0:8190\nkeys_off: true\n", NULL },
    { "open IPv6 with keys off", "listen: \"[::]:8190\"\nkeys_off: true\n", NULL },
    { "small budget with a small body", "memory_bytes_max: 8MiB\nbody_bytes_max: 1MiB\n", NULL },
    { "open", "listen: 0.0.0.0:8190\n", NULL },
    { "open IPv6", "listen: \"[::]:8190\"\n", NULL },
    { "keys on and off", "keys_on: true\nkeys_off: true\n",
      "keys_on and keys_off can't both be true: remove one" },
    { "no port", "listen: 127.0.0.1\n",
      "listen: \"127.0.0.1\" is not ADDR:PORT, as in 127.0.0.1:8190 or [::1]:8190" },
    { "no address", "listen: \":8190\"\n",
      "listen: \":8190\" is not ADDR:PORT, as in 127.0.0.1:8190 or [::1]:8190" },
    { "empty port", "listen: \"127.0.0.1:\"\n",
      "listen: \"127.0.0.1:\" is not ADDR:PORT, as in 127.0.0.1:8190 or [::1]:8190" },
    { "large port", "listen: 127.0.0.1:65536\n",
      "listen: \"127.0.0.1:65536\" is not ADDR:PORT, as in 127.0.0.1:8190 or [::1]:8190" },
    { "port by name", "listen: 127.0.0.1:http\n",
      "listen: \"127.0.0.1:http\" is not ADDR:PORT, as in 127.0.0.1:8190 or [::1]:8190" },
    { "bare IPv6", "listen: \"::1:8190\"\n",
      "listen: \"::1:8190\": an IPv6 address stands in brackets, as in [::1]:8190" },
    { "host name", "listen: example.org:8190\n",
      "listen: \"example.org:8190\": the address is given by its number, not by a name" },
    { "coarser rollups kept longer",
      "retention_raw: 30d\nretention_1m: 90d\nretention_1h: 90d\nretention_1d: forever\n", NULL },
    { "raw rows longer than minutes", "retention_1m: 30d\n",
      "retention_raw: forever is longer than retention_1m (30d), which stands on it; lower it or "
      "raise retention_1m" },
    { "minutes longer than hours",
      "retention_raw: 1d\nretention_1m: 36h\nretention_1h: 1d\nretention_1d: 1d\n",
      "retention_1m: 36h is longer than retention_1h (1d), which stands on it; lower it or raise "
      "retention_1h" },
    { "hours longer than days",
      "retention_raw: 7d\nretention_1m: 7d\nretention_1h: forever\nretention_1d: 3650d\n",
      "retention_1h: forever is longer than retention_1d (3650d), which stands on it; lower it or "
      "raise retention_1d" },
    { "budget smaller than a request", "memory_bytes_max: 16MiB\n", "memory_bytes_max: 16777216 " },
    { "metrics larger than a body", "body_bytes_max: 64KiB\n",
      "metrics_bytes_max: 102400 does not fit into body_bytes_max (65536); lower it or raise "
      "body_bytes_max" },
    { "too much for Kafka", "kafka:\n  brokers: x:1\n  queue_bytes_max: 33MiB\n",
      "kafka.queue_bytes_max: 34603008 is more than half of memory_bytes_max (67108864) and would "
      "leave HTTP too little; lower it or raise memory_bytes_max" },
    { "too large for hooks",
      "hook_message_bytes_max: 33MiB\nkafka:\n  brokers: x:1\n  hook_topic: h\n",
      "hook_message_bytes_max: 34603008 is more than half of memory_bytes_max (67108864), in which "
      "a "
      "message from kafka.hook_topic must fit; lower it or raise memory_bytes_max" },
    { "no room to read what hooks send", "hook_memory_bytes_max: 127MiB\n",
      "hook_memory_bytes_max: 133169152 is less than 4 times hook_message_bytes_max (33554432), "
      "which putting a message together takes; raise it or lower hook_message_bytes_max" },
    { "a namespace that is none", "atlas:\n  namespace: a@b\n",
      "atlas.namespace: \"a@b\" is not a word of letters, digits, '.', '_' and '-'" },
    { "more ahead than there may be", "partitions_max: 8\npartitions_ahead: 8\n",
      "partitions_ahead: 8 leaves no room below partitions_max (8); lower it or raise "
      "partitions_max" },
};

START_TEST(check_case)
{
    const char *want = check_cases[_i].want;
    AUTO(config_done) struct config config;
    struct err err = { 0 };
    int rc;

    config_init(&config);
    rc = config_parse(&config, "t.yaml", check_cases[_i].yaml, strlen(check_cases[_i].yaml), &err);
    ck_assert_msg(rc == 0, "%s: %s", check_cases[_i].name, err.text);
    rc = config_check(&config, &err);
    ck_assert_msg(rc == (want ? -1 : 0), "%s: %s", check_cases[_i].name, err.text);
    if (want && want[strlen(want) - 1] == ' ') /* the rest depends on the size of a record */
        ck_assert_msg(strncmp(err.text, want, strlen(want)) == 0, "%s", err.text);
    else if (want)
        ck_assert_str_eq(err.text, want);
}
END_TEST

static const struct {
    const char *yaml;
    bool asks;
} keys_cases[] = {
    { "", false },
    { "listen: localhost:1\n", false },
    { "listen: 127.9.9.9:1\n", false },
    { "listen: \"[::1]:1\"\n", false },
    { "listen: \"[::ffff:127.0.0.1]:1\"\n", false },
    { "listen: \"[::]:1\"\n", true },
    { "listen: 0.0.0.0:1\n", true },
    { "listen: 192.0.2.1:1\n", true },
    { "listen: 128.0.0.1:1\n", true },
    { "keys_on: true\n", true },
    { "listen: 0.0.0.0:1\nkeys_on: true\n", true },
    { "listen: 0.0.0.0:1\nkeys_off: true\n", false },
    { "keys_off: true\n", false },
};

START_TEST(keys_case)
{
    AUTO(config_done) struct config config;
    struct err err = { 0 };
    const char *yaml = keys_cases[_i].yaml;

    config_init(&config);
    ck_assert_int_eq(config_parse(&config, "t.yaml", yaml, strlen(yaml), &err), 0);
    ck_assert_int_eq(config_check(&config, &err), 0);
    ck_assert_msg(config_asks_for_keys(&config) == keys_cases[_i].asks, "%s", yaml);
}
END_TEST

START_TEST(set_one_key)
{
    AUTO(config_done) struct config config;
    struct err err = { 0 };

    config_init(&config);
    ck_assert_int_eq(config_set(&config, "listen", "127.0.0.1:0", &err), 0);
    ck_assert_str_eq(config.listen, "127.0.0.1:0");
    ck_assert_int_eq(config_set(&config, "reads_max", "x", &err), -1);
    ck_assert_str_eq(err.text, "\"x\" is not a whole number");
    ck_assert_int_eq(config.reads_max, 16);
}
END_TEST

START_TEST(defaults)
{
    AUTO(config_done) struct config config;

    config_init(&config);
    ck_assert_str_eq(config.listen, "127.0.0.1:8190");
    ck_assert_ptr_null(config.database);
    ck_assert_str_eq(config.data_dir, geteuid() == 0 ? "/var/lib/plumbline" : "./var");
    ck_assert_int_eq(config.metrics_bytes_max, 102400);
    ck_assert_int_eq(config.body_bytes_max, 16 << 20);
    ck_assert_int_eq(config.events_max, 100000);
    ck_assert_int_eq(config.memory_bytes_max, 64 << 20);
    ck_assert_int_eq(config.json_depth_max, 32);
    ck_assert_int_eq(config.deployments_max, 100000);
    ck_assert_int_eq(config.partitions_max, 600);
    ck_assert_int_eq(config.labels_per_prediction_max, 1000);
    ck_assert_int_eq(config.labels_waiting_max, 1000000);
    ck_assert_int_eq(config.event_ahead_ms_max, 86400000);
    ck_assert(config.retention_raw == CONFIG_FOREVER && config.retention_1m == CONFIG_FOREVER);
    ck_assert(config.retention_1h == CONFIG_FOREVER && config.retention_1d == CONFIG_FOREVER);
    ck_assert_int_eq(config.label_wait, INT64_C(400) * 86400000);
    ck_assert_int_eq(config.connections_max, 4096);
}
END_TEST

/* The text of a file with a line feed in front, so that every line begins behind one. Owned. */
static char *file_text(const char *path)
{
    enum { BYTES_MAX = 65536 };
    char *text = xcalloc(1, BYTES_MAX + 2);
    FILE *file = fopen(path, "re");

    ck_assert_msg(file, "%s", path);
    text[0] = '\n';
    ck_assert_uint_gt(fread(text + 1, 1, BYTES_MAX, file), 0);
    (void)fclose(file);
    return text;
}

START_TEST(sample_is_the_defaults)
{
    AUTO(config_done) struct config config, sample;
    AUTO(mem_free) char *want = NULL, *have = NULL;
    struct err err = { 0 };

    config_init(&config);
    config_init(&sample);
    ck_assert_msg(config_load(&sample, "plumbline.sample.yaml", &err) == 0, "%s", err.text);
    want = config_text(&config);
    have = config_text(&sample);
    ck_assert_str_eq(have, want);
}
END_TEST

START_TEST(sample_and_readme_name_every_key)
{
    AUTO(mem_free) char *sample = file_text("plumbline.sample.yaml");
    AUTO(mem_free) char *readme = file_text("README.md");

    for (const struct config_key *key = config_keys; key->name; key++) {
        const char *quote = key->type == CONFIG_TEXT ? "\"" : "";
        const char *mark = *key->preset ? "`" : "", *dot = strchr(key->name, '.');
        const char *preset = key->type == CONFIG_PAIRS ? "{}" : key->preset;
        const char *indent = dot ? "  " : "";
        char line[512];

        (void)snprintf(line, sizeof(line), "\n%s# %s\n%s%s: %s%s%s\n", indent, key->help, indent,
                       dot ? dot + 1 : key->name, quote, preset, quote);
        ck_assert_msg(strstr(sample, line), "plumbline.sample.yaml lacks:%s", line);
        (void)snprintf(line, sizeof(line), "\n| `%s` | %s%s%s | %s |\n", key->name, mark,
                       key->preset, mark, key->help);
        ck_assert_msg(strstr(readme, line), "README.md lacks:%s", line);
    }
}
END_TEST

START_TEST(written_is_read_back)
{
    AUTO(config_done) struct config config, again;
    AUTO(mem_free) char *want = NULL, *have = NULL;
    struct err err = { 0 };

    config_init(&config);
    config_init(&again);
    ck_assert_int_eq(config_set(&config, "database", "a\"b\\c\td\x7f", &err), 0);
    ck_assert_int_eq(config_set(&config, "commit_timeout_ms", "1501", &err), 0);
    ck_assert_int_eq(config_set(&config, "kafka.properties", "a.b=c=\"d\"\n\ne=", &err), 0);
    want = config_text(&config);
    ck_assert_msg(config_parse(&again, "t", want, strlen(want), &err) == 0, "%s", err.text);
    have = config_text(&again);
    ck_assert_str_eq(have, want);
    ck_assert_str_eq(again.database, "a\"b\\c\td\x7f");
    ck_assert_str_eq(again.kafka_properties, "a.b=c=\"d\"\ne=\n");
}
END_TEST

Suite *config_suite(void);
Suite *config_suite(void)
{
    Suite *suite = suite_create("config");
    TCase *tc = tcase_create("config");

    tcase_add_test(tc, defaults);
    tcase_add_loop_test(tc, parse_case, 0, LENGTH(parse_cases));
    tcase_add_loop_test(tc, refuse_case, 0, LENGTH(refuse_cases));
    tcase_add_test(tc, file_too_large);
    tcase_add_test(tc, file_missing);
    tcase_add_loop_test(tc, environment_case, 0, LENGTH(environment_cases));
    tcase_add_loop_test(tc, check_case, 0, LENGTH(check_cases));
    tcase_add_loop_test(tc, keys_case, 0, LENGTH(keys_cases));
    tcase_add_test(tc, set_one_key);
    tcase_add_test(tc, sample_is_the_defaults);
    tcase_add_test(tc, sample_and_readme_name_every_key);
    tcase_add_test(tc, written_is_read_back);
    suite_add_tcase(suite, tc);
    return suite;
}
