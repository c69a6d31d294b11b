/* Faults at random, several at a time, while clients post by two daemons, of which the second has a
 * spool, and one sends by Kafka, where there is a broker, to the group of both daemons: after each
 * round every acknowledged event is there once, those that were spooled once the spool is empty,
 * nothing that was refused is, and the books balance.
 *
 * CHAOS_ROUNDS sets how many rounds there are. CHAOS_SEED repeats the faults of a run, with a
 * broker if that had one; it is printed with each round, so the last line above a breach tells
 * both. Every LIFE_ROUNDS rounds begin with an empty database. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/random.h"
#include "tests/harness/broker.h"
#include "tests/harness/daemon.h"
#include "tests/harness/dice.h"
#include "tests/harness/disk.h"
#include "tests/harness/load.h"
#include "tests/harness/pg.h"
#include "tests/harness/proxy.h"
#include "tests/harness/runner.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"
#include "tests/harness/witness.h"

Suite *chaos_suite(void);

enum {
    CLIENTS = 8,
    LIFE_ROUNDS = 10,
    CI_ROUNDS = 2,
    FAULTS_MAX = 4, /* in one round */
    DISK_MIB = 160,
    CLOCK_DAYS = 60, /* farther, and the waiting labels would be given up */
    LONG_SECONDS_MAX = 86400,
    PARTITIONS = 4,
};

#define TOPIC "chaos"

struct chaos;

/* One of the daemons: the second one reaches Postgres through the proxy, and has a spool on the
 * disk that is filled at times. */
struct member {
    struct daemon *daemon;
    bool is_up, is_frozen;
    int clock_fd;                  /* its wall clock's error, see tests/chaos/clock.c */
    char *preload, *clock, *spool; /* owned */
    const char *environment[12];
};

struct chaos {
    uint64_t dice;
    struct pg *pg;
    char *dsn;
    char *disk, *ballast; /* NULL: there is none to be filled */
    struct proxy *proxy;
    struct member members[WITNESS_DAEMONS];
    struct witness *witness;
    struct broker *broker; /* NULL: there is none */
    char *brokers;         /* its variable for the daemons */
    bool pg_is_up, pg_is_frozen, disk_is_full, is_refusing;
    bool broker_is_up, broker_is_frozen;
};

/* ---- faults: each is skipped where it can't be */

static bool chaos_pg_is_well(const struct chaos *chaos)
{
    return chaos->pg_is_up && !chaos->pg_is_frozen;
}

static struct member *chaos_member(struct chaos *chaos, uint32_t i, bool is_up)
{
    struct member *member = &chaos->members[i];

    return member->is_up == is_up && !member->is_frozen ? member : NULL;
}

static bool fault_daemon_kill(struct chaos *chaos)
{
    uint32_t i = dice_roll(&chaos->dice, WITNESS_DAEMONS);
    struct member *member = chaos_member(chaos, i, true);

    if (!member)
        return false;
    witness_aim(chaos->witness, i, NULL);
    daemon_kill9(member->daemon);
    member->is_up = false;
    return true;
}

static bool fault_daemon_stop(struct chaos *chaos)
{
    uint32_t i = dice_roll(&chaos->dice, WITNESS_DAEMONS);
    struct member *member = chaos_member(chaos, i, true);

    if (!member)
        return false;
    ck_assert_int_eq(daemon_stop(member->daemon), 0);
    witness_aim(chaos->witness, i, NULL);
    member->is_up = false;
    return true;
}

static bool fault_daemon_start(struct chaos *chaos)
{
    uint32_t i = dice_roll(&chaos->dice, WITNESS_DAEMONS);
    struct member *member = chaos_member(chaos, i, false);

    if (!member || !chaos_pg_is_well(chaos) || chaos->disk_is_full || chaos->is_refusing)
        return false;
    pg_revive(chaos->pg); /* it may be recovering */
    daemon_resume(member->daemon);
    witness_aim(chaos->witness, i, member->daemon);
    member->is_up = true;
    return true;
}

static bool fault_daemon_freeze(struct chaos *chaos)
{
    struct member *member = chaos_member(chaos, dice_roll(&chaos->dice, WITNESS_DAEMONS), true);

    if (!member)
        return false;
    daemon_signal(member->daemon, SIGSTOP);
    member->is_frozen = true;
    return true;
}

static bool fault_clock_step(struct chaos *chaos)
{
    struct member *member = &chaos->members[dice_roll(&chaos->dice, WITNESS_DAEMONS)];
    int64_t range_ms =
        dice_roll(&chaos->dice, 2) ? INT64_C(3600000) : CLOCK_DAYS * INT64_C(86400000);
    int64_t step_ms =
        (int64_t)dice_roll(&chaos->dice, UINT32_MAX) * range_ms / (UINT32_MAX / 2) - range_ms;

    if (member->clock_fd < 0)
        return false;
    ck_assert_int_eq(pwrite(member->clock_fd, &step_ms, sizeof(step_ms), 0), sizeof(step_ms));
    return true;
}

static bool fault_pg_kill(struct chaos *chaos)
{
    if (!chaos_pg_is_well(chaos))
        return false;
    pg_kill9(chaos->pg);
    chaos->pg_is_up = false;
    return true;
}

static bool fault_pg_stop(struct chaos *chaos)
{
    bool fast = dice_roll(&chaos->dice, 2) && !chaos->disk_is_full;

    if (!chaos_pg_is_well(chaos))
        return false;
    if (fast) /* Postgres 15 that is told to stop while it recovers forgets its checkpointer */
        pg_revive(chaos->pg);
    pg_stop(chaos->pg, fast ? PG_STOP_FAST : PG_STOP_IMMEDIATE);
    chaos->pg_is_up = false;
    return true;
}

static bool fault_pg_start(struct chaos *chaos)
{
    if (chaos->pg_is_up || chaos->disk_is_full)
        return false;
    pg_revive(chaos->pg);
    chaos->pg_is_up = true;
    return true;
}

static bool fault_pg_child_kill(struct chaos *chaos)
{
    if (!chaos_pg_is_well(chaos))
        return false;
    pg_child_kill9(chaos->pg, dice_roll(&chaos->dice, UINT32_MAX));
    return true;
}

static bool fault_pg_freeze(struct chaos *chaos)
{
    if (!chaos_pg_is_well(chaos))
        return false;
    pg_signal_all(chaos->pg, SIGSTOP);
    chaos->pg_is_frozen = true;
    return true;
}

static bool fault_disk_fill(struct chaos *chaos)
{
    if (!chaos->disk || chaos->disk_is_full || !chaos->pg_is_up)
        return false;
    disk_fill(chaos->ballast);
    chaos->disk_is_full = true;
    return true;
}

static bool fault_proxy_cut(struct chaos *chaos)
{
    proxy_cut_all(chaos->proxy);
    return true;
}

static bool fault_proxy_refuse(struct chaos *chaos)
{
    proxy_refuse(chaos->proxy, true);
    chaos->is_refusing = true;
    return true;
}

static bool fault_proxy_commit(struct chaos *chaos)
{
    static const enum proxy_mode modes[] = { PROXY_CUT_BEFORE, PROXY_CUT_AFTER, PROXY_DROP_ANSWER,
                                             PROXY_HOLD };

    proxy_arm(chaos->proxy, modes[dice_roll(&chaos->dice, LENGTH(modes))],
              dice_roll(&chaos->dice, 5));
    return true;
}

static bool fault_proxy_delay(struct chaos *chaos)
{
    proxy_delay_set(chaos->proxy, 1 + dice_roll(&chaos->dice, 300));
    return true;
}

static bool fault_broker_kill(struct chaos *chaos)
{
    if (!chaos->broker_is_up || chaos->broker_is_frozen)
        return false;
    broker_kill9(chaos->broker);
    chaos->broker_is_up = false;
    return true;
}

static bool fault_broker_start(struct chaos *chaos)
{
    if (chaos->broker_is_up)
        return false;
    broker_resume(chaos->broker);
    chaos->broker_is_up = true;
    return true;
}

static bool fault_broker_freeze(struct chaos *chaos)
{
    if (!chaos->broker_is_up || chaos->broker_is_frozen)
        return false;
    broker_signal(chaos->broker, SIGSTOP);
    chaos->broker_is_frozen = true;
    return true;
}

static const struct {
    const char *name;
    bool (*begin)(struct chaos *chaos);
} faults[] = {
    { "daemon-kill", fault_daemon_kill },
    { "daemon-stop", fault_daemon_stop },
    { "daemon-start", fault_daemon_start },
    { "daemon-freeze", fault_daemon_freeze },
    { "clock-step", fault_clock_step },
    { "pg-kill", fault_pg_kill },
    { "pg-stop", fault_pg_stop },
    { "pg-start", fault_pg_start },
    { "pg-child-kill", fault_pg_child_kill },
    { "pg-freeze", fault_pg_freeze },
    { "disk-fill", fault_disk_fill },
    { "proxy-cut", fault_proxy_cut },
    { "proxy-refuse", fault_proxy_refuse },
    { "proxy-commit", fault_proxy_commit },
    { "proxy-delay", fault_proxy_delay },
    { "broker-kill", fault_broker_kill },
    { "broker-start", fault_broker_start },
    { "broker-freeze", fault_broker_freeze },
};
enum { BROKER_FAULTS = 3 }; /* the last ones */

/* ---- a round */

static void chaos_nap(struct chaos *chaos, uint32_t ms_max)
{
    int64_t end_ms = clock_mono_ms() + dice_roll(&chaos->dice, ms_max);

    while (clock_mono_ms() < end_ms)
        wait_nap();
}

static void chaos_harm(struct chaos *chaos)
{
    uint32_t kinds = (uint32_t)LENGTH(faults) - (chaos->broker ? 0 : BROKER_FAULTS);
    uint32_t count = 1 + dice_roll(&chaos->dice, FAULTS_MAX);

    for (uint32_t i = 0; i < count;) {
        uint32_t which = dice_roll(&chaos->dice, kinds);

        if (!faults[which].begin(chaos))
            continue;
        (void)fprintf(stderr, " %s", faults[which].name);
        i++;
        chaos_nap(chaos, 500);
    }
    chaos_nap(chaos, 1200);
}

static void chaos_heal_broker(struct chaos *chaos)
{
    if (!chaos->broker)
        return;
    if (chaos->broker_is_frozen)
        broker_signal(chaos->broker, SIGCONT);
    if (!chaos->broker_is_up)
        broker_resume(chaos->broker);
    chaos->broker_is_frozen = false;
    chaos->broker_is_up = true;
}

/* All that was broken is whole again; the clocks stay as they are. */
static void chaos_heal(struct chaos *chaos)
{
    if (chaos->disk_is_full)
        ck_assert_int_eq(unlink(chaos->ballast), 0);
    if (chaos->pg_is_frozen)
        pg_signal_all(chaos->pg, SIGCONT);
    chaos->disk_is_full = chaos->pg_is_frozen = chaos->is_refusing = false;
    proxy_arm(chaos->proxy, PROXY_PASS, 0);
    proxy_release(chaos->proxy);
    proxy_delay_set(chaos->proxy, 0);
    proxy_refuse(chaos->proxy, false);
    chaos_heal_broker(chaos);
    pg_revive(chaos->pg);
    chaos->pg_is_up = true;
    for (uint32_t i = 0; i < WITNESS_DAEMONS; i++) {
        struct member *member = &chaos->members[i];

        if (member->is_frozen)
            daemon_signal(member->daemon, SIGCONT);
        if (!member->is_up)
            daemon_resume(member->daemon);
        member->is_frozen = false;
        member->is_up = true;
        witness_aim(chaos->witness, i, member->daemon);
    }
}

static bool chaos_is_balanced(const struct daemon *daemon)
{
    AUTO(mem_free) char *url = daemon_url(daemon, "/v1/balance");
    AUTO(http_free) struct http *http = http_new();
    AUTO(http_answer_free) struct http_answer *answer = http_get(http, url);
    json_auto_t *balance = json_loadb(answer->body, answer->len, 0, NULL);

    return json_is_true(json_object_get(balance, "balanced"));
}

/* Nothing that the clients send is to be refused; that would look like a loss. */
static void chaos_check_rejected(struct chaos *chaos)
{
    AUTO(mem_free)
    char *rejected = pg_query_text(chaos->dsn, "SELECT coalesce(string_agg(r::text, E'\\n'), '')"
                                               " FROM (SELECT source, code, message, origin,"
                                               " encode(event, 'escape') FROM rejected_event"
                                               " LIMIT 5) AS r");

    ck_assert_msg(!*rejected, "rejected: %s", rejected);
}

static void chaos_check(struct chaos *chaos)
{
    const char *const words[] = { "verify", "--database", chaos->dsn, NULL };
    AUTO(mem_free) char *output = NULL;

    for (uint32_t i = 0; i < WITNESS_DAEMONS; i++) {
        const struct daemon *daemon = chaos->members[i].daemon;

        WAIT_UNTIL(30000, daemon_status(daemon, "/readyz") == 200);
        WAIT_UNTIL(60000, daemon_metric(daemon, "plumbline_spool_groups") == 0);
        ck_assert(chaos_is_balanced(daemon));
    }
    chaos_check_rejected(chaos);
    witness_check(chaos->witness, chaos->members[dice_roll(&chaos->dice, 2)].daemon, chaos->dsn);
    load_check_books(chaos->dsn);
    /* A label whose prediction is stored does not wait for long. */
    WAIT_UNTIL(30000, pg_query_i64(chaos->dsn,
                                   "SELECT count(*) FROM delayed_metric_waiting AS w WHERE "
                                   "EXISTS (SELECT FROM prediction WHERE uuid = w.uuid)") == 0);
    ck_assert_msg(service_command(words, NULL, &output) == 0, "%s", output);
}

static void chaos_round(struct chaos *chaos)
{
    witness_begin(chaos->witness);
    chaos_nap(chaos, 400);
    chaos_harm(chaos);
    chaos_heal(chaos);
    witness_end(chaos->witness);
    chaos_check(chaos);
}

/* ---- a life */

static void member_start(struct chaos *chaos, uint32_t i, const char *dsn)
{
    struct member *member = &chaos->members[i];
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/clock", dir);
    const int64_t right = 0;
    char self[PATH_MAX] = "";
    size_t n = 0;

    member->clock_fd = -1;
    member->spool = i ? xasprintf("%s/spool", chaos->disk ? chaos->disk : dir) : NULL;
    /* nothing may be preloaded before a sanitizer */
    if (!IS_SANITIZED && readlink("/proc/self/exe", self, sizeof(self) - 1) > 0) {
        member->clock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        ck_assert_int_eq(write(member->clock_fd, &right, sizeof(right)), sizeof(right));
        member->clock = xasprintf("CHAOS_CLOCK=%s", path);
        member->preload = xasprintf("LD_PRELOAD=%s/clock.so", dirname(self));
        member->environment[n++] = member->clock;
        member->environment[n++] = member->preload;
    }
    member->environment[n++] = "PLUMBLINE_COMMIT_TIMEOUT_MS=700ms";
    member->environment[n++] = "PLUMBLINE_SPOOL_AFTER_MS=200ms";
    member->environment[n++] = "PLUMBLINE_DRAIN_TIMEOUT_MS=2s";
    if (chaos->broker) {
        member->environment[n++] = chaos->brokers;
        member->environment[n++] = "PLUMBLINE_KAFKA_TOPICS=" TOPIC;
        member->environment[n++] = "PLUMBLINE_KAFKA_LINEAGE_MESSAGES=false";
        member->environment[n++] = "PLUMBLINE_KAFKA_PROPERTIES=session.timeout.ms=2000\n"
                                   "heartbeat.interval.ms=300\nreconnect.backoff.max.ms=500";
    }
    member->daemon = daemon_start(&(struct daemon_options){
        .dsn = dsn, .environment = member->environment, .spool = member->spool });
    member->is_up = true;
    witness_aim(chaos->witness, i, member->daemon);
}

/* With its tables on the small disk, if there is one. */
static void chaos_database(struct chaos *chaos)
{
    AUTO(mem_free) char *dsn = pg_dsn(chaos->pg, "postgres");

    if (chaos->disk) {
        pg_exec(dsn, "CREATE TABLESPACE small LOCATION '%s'", chaos->disk);
        pg_exec(dsn, "CREATE DATABASE chaos TEMPLATE template0 TABLESPACE small");
    } else {
        pg_exec(dsn, "CREATE DATABASE chaos TEMPLATE template0");
    }
    chaos->dsn = pg_dsn(chaos->pg, "chaos");
}

static void chaos_begin_kafka(struct chaos *chaos)
{
    if (!broker_is_there()) {
        (void)fprintf(stderr, "chaos: without Kafka: tools/fetch-jars kafka has not run\n");
        return;
    }
    chaos->broker = broker_start();
    chaos->broker_is_up = true;
    chaos->brokers = xasprintf("PLUMBLINE_KAFKA_BROKERS=%s", broker_address(chaos->broker));
    broker_topic_make(chaos->broker, TOPIC, PARTITIONS, NULL);
    witness_add_kafka(chaos->witness, chaos->broker, TOPIC, PARTITIONS);
}

static void chaos_begin(struct chaos *chaos, uint64_t seed)
{
    AUTO(mem_free) char *through = NULL;

    *chaos = (struct chaos){ .dice = seed, .disk = disk_new(DISK_MIB), .pg_is_up = true };
    chaos->ballast = xasprintf("%s/ballast", chaos->disk ? chaos->disk : "");
    chaos->pg = pg_start(NULL);
    chaos_database(chaos);
    chaos->proxy = proxy_start(pg_socket_dir(chaos->pg));
    chaos->witness = witness_new(seed, CLIENTS);
    chaos_begin_kafka(chaos);
    through = proxy_dsn(chaos->proxy, "chaos");
    member_start(chaos, 0, chaos->dsn);
    member_start(chaos, 1, through);
}

static void chaos_end(struct chaos *chaos)
{
    witness_free(chaos->witness);
    for (uint32_t i = 0; i < WITNESS_DAEMONS; i++) {
        struct member *member = &chaos->members[i];

        daemon_free(member->daemon);
        if (member->clock_fd >= 0)
            (void)close(member->clock_fd);
        free(member->preload);
        free(member->clock);
        free(member->spool);
    }
    broker_free(chaos->broker);
    free(chaos->brokers);
    proxy_stop(chaos->proxy);
    pg_free(chaos->pg);
    free(chaos->dsn);
    free(chaos->disk);
    free(chaos->ballast);
}

/* ---- all of it */

static uint32_t chaos_rounds(void)
{
    const char *rounds = getenv("CHAOS_ROUNDS");

    return rounds ? (uint32_t)strtoul(rounds, NULL, 10) : CI_ROUNDS;
}

static uint64_t chaos_seed(void)
{
    const char *text = getenv("CHAOS_SEED");
    uint64_t seed;

    random_fill(&seed, sizeof(seed));
    return text ? strtoull(text, NULL, 10) : seed;
}

START_TEST(acknowledged_is_there_once)
{
    uint64_t seed = chaos_seed();
    uint32_t rounds = chaos_rounds();
    struct chaos chaos = { 0 };

    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t within = round % LIFE_ROUNDS;
        struct witness_tally tally;

        if (within == 0) /* from the seed of this life alone, so that it can be repeated alone */
            chaos_begin(&chaos, seed + round / LIFE_ROUNDS);
        (void)fprintf(stderr, "chaos: CHAOS_SEED=%" PRIu64 " round %u (%u of its life):",
                      seed + round / LIFE_ROUNDS, round, within);
        chaos_round(&chaos);
        tally = witness_tally(chaos.witness);
        (void)fprintf(stderr,
                      "\nchaos: %" PRIu64 " events, requests: %" PRIu64 " acknowledged (%" PRIu64
                      " spooled), %" PRIu64 " refused, %" PRIu64 " lost, %" PRIu64 " messages\n",
                      tally.events, tally.acknowledged, tally.spooled, tally.refused, tally.lost,
                      tally.messages);
        if (within == LIFE_ROUNDS - 1 || round + 1 == rounds)
            chaos_end(&chaos);
    }
}
END_TEST

Suite *chaos_suite(void)
{
    Suite *suite = suite_create("chaos");
    TCase *tc = tcase_create("chaos");

    if (getenv("CHAOS_ROUNDS"))
        tcase_set_timeout(tc, LONG_SECONDS_MAX);
    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, acknowledged_is_there_once);
    suite_add_tcase(suite, tc);
    return suite;
}
