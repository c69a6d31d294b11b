/* The spool: what is acknowledged while Postgres is away is stored once when it is back, in order,
 * whatever happens to the daemon, the disk and the files in between. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "collector/crash_point.h"
#include "tests/harness/disk.h"
#include "tests/harness/load.h"
#include "tests/harness/pg.h"
#include "tests/harness/proxy.h"
#include "tests/harness/runner.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"

Suite *spool_suite(void);

/* A daemon whose way to its database is the proxy, and whose spool is in a folder of the test's. */
struct fixture {
    char *dsn; /* past the proxy */
    struct proxy *proxy;
    char *dir; /* of the spool */
    struct service service;
};

/* So short that a slow machine answers 202 also when nothing is amiss: no test minds. */
#define SPOOL_AFTER "PLUMBLINE_SPOOL_AFTER_MS=200ms"

static const char *const environment_plain[] = { SPOOL_AFTER, NULL };

static void fixture_start_on(struct fixture *fixture, const char *dir,
                             const char *const *environment)
{
    AUTO(mem_free) char *database = NULL;

    fixture->dsn = pg_database_new(pg_shared());
    database = pg_query_text(fixture->dsn, "SELECT current_database()");
    fixture->proxy = proxy_start(pg_socket_dir(pg_shared()));
    proxy_aim(fixture->proxy, "plumbline metrics");
    fixture->dir = xasprintf("%s/spool", dir);
    fixture->service.dsn = proxy_dsn(fixture->proxy, database);
    fixture->service.daemon = daemon_start(&(struct daemon_options){
        .dsn = fixture->service.dsn, .environment = environment, .spool = fixture->dir });
    fixture->service.http = http_new();
}

static void fixture_start(struct fixture *fixture, const char *const *environment)
{
    AUTO(mem_free) char *dir = temp_dir();

    fixture_start_on(fixture, dir, environment);
}

static void fixture_stop(struct fixture *fixture)
{
    daemon_free(fixture->service.daemon);
    http_free(fixture->service.http);
    free(fixture->service.dsn);
    proxy_stop(fixture->proxy);
    free(fixture->dsn);
    free(fixture->dir);
}

static int64_t fixture_sample(struct fixture *fixture, const char *name)
{
    return daemon_metric(fixture->service.daemon, name);
}

static void fixture_await_empty(struct fixture *fixture)
{
    WAIT_UNTIL(30000, fixture_sample(fixture, "plumbline_spool_groups") == 0);
}

/* One prediction; `number` is its minute, and all that there is of it. */
static char *prediction(int number, const char *metrics)
{
    return xasprintf("{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:spool\","
                     "\"predictionUuid\":\"0b5c8a4e-6d0f-4c1b-9a37-%012d\",\"startTimestampMs\":"
                     "%lld,\"endTimestampMs\":%lld,\"metrics\":%s}",
                     number, 1600000000000LL + 60000LL * number, 1600000000000LL + 60000LL * number,
                     metrics);
}

/* The status of the answer; 0: there was none. */
static long fixture_post(struct fixture *fixture, const char *body)
{
    AUTO(mem_free) char *url = daemon_url(fixture->service.daemon, "/v1/events");
    AUTO(http_free) struct http *http = http_new();
    AUTO(http_answer_free) struct http_answer *answer = http_post(http, url, body);

    return answer->status;
}

static long fixture_send(struct fixture *fixture, int number, const char *metrics)
{
    AUTO(mem_free) char *body = prediction(number, metrics);

    return fixture_post(fixture, body);
}

static int64_t fixture_count(struct fixture *fixture, int number)
{
    return pg_query_i64(fixture->dsn,
                        "SELECT count(*) FROM prediction WHERE uuid ="
                        " '0b5c8a4e-6d0f-4c1b-9a37-%012d'",
                        number);
}

/* Everything has been replayed; these are the books. */
static void fixture_check_totals(struct fixture *fixture, int64_t accepted, int64_t duplicate,
                                 int64_t rejected)
{
    fixture_await_empty(fixture);
    service_check_balance(&fixture->service, accepted, duplicate, rejected);
    ck_assert_int_eq(pg_query_i64(fixture->dsn, "SELECT count(*) FROM prediction"), accepted);
}

/* Every batch balances. */
static void fixture_check_books(struct fixture *fixture)
{
    ck_assert_int_eq(pg_query_i64(fixture->dsn,
                                  "SELECT count(*) FROM ingest_batch, generate_series(1, 5) AS k"
                                  " WHERE received[k] <> accepted[k] + duplicate[k] + rejected[k]"),
                     0);
    ck_assert_int_eq(pg_query_i64(fixture->dsn, "SELECT sum(accepted[1]) FROM ingest_batch"),
                     pg_query_i64(fixture->dsn, "SELECT count(*) FROM prediction"));
}

/* Three predictions go to the spool in one request, while Postgres is away, and the daemon ends. */
static void fixture_leave(struct fixture *fixture)
{
    AUTO(mem_free) char *one = prediction(1, "{\"a\":0.10}");
    AUTO(mem_free) char *two = prediction(2, "{\"a\":0.10}");
    AUTO(mem_free) char *three = prediction(3, "{\"a\":0.10}");
    AUTO(mem_free) char *body = xasprintf("[%s,%s,%s]", one, two, three);

    proxy_refuse(fixture->proxy, true);
    ck_assert_int_eq(fixture_post(fixture, body), 202);
    daemon_kill9(fixture->service.daemon);
    proxy_refuse(fixture->proxy, false);
}

/* ---- the way there and back ---- */

START_TEST(away_and_back)
{
    struct fixture fixture;
    AUTO(load_free) struct load *load = NULL;
    int rounds = runner_short() ? 1 : 2;

    fixture_start(&fixture, environment_plain);
    load = load_start(&(struct load_options){ .seed = 70,
                                              .clients = 6,
                                              .events_max = 20,
                                              .anonymous = true,
                                              .daemons = { fixture.service.daemon } });
    for (int round = 0; round < rounds; round++) {
        load_await(load, 10);
        proxy_refuse(fixture.proxy, true);
        load_await_spooled(load, 50);
        ck_assert_int_eq(daemon_status(fixture.service.daemon, "/readyz"), 200);
        ck_assert_int_gt(fixture_sample(&fixture, "plumbline_spool_events"), 0);
        proxy_refuse(fixture.proxy, false);
        load_await(load, 20); /* behind what is replayed */
    }
    load_finish(load);
    fixture_await_empty(&fixture);
    ck_assert_uint_eq(load_tally(load).lost, 0);
    load_check(load, fixture.dsn);
    ck_assert_int_gt(pg_query_i64(fixture.dsn, "SELECT count(*) FROM ingest_batch"
                                               " WHERE source = 'spool'"),
                     0);
    ck_assert_int_eq(fixture_sample(&fixture, "plumbline_spool_appended_total"),
                     fixture_sample(&fixture, "plumbline_spool_replayed_total"));
    WAIT_UNTIL(30000, fixture_send(&fixture, 1, "{}") == 200); /* direct again */
    fixture_stop(&fixture);
}
END_TEST

/* The daemon is killed with its spool full of things, while it appends and while it replays. */
START_TEST(killed_again_and_again)
{
    struct fixture fixture;
    AUTO(load_free) struct load *load = NULL;
    int rounds = runner_short() ? 1 : 3;

    fixture_start(&fixture, environment_plain);
    load = load_start(&(struct load_options){
        .seed = 71, .clients = 6, .events_max = 20, .daemons = { fixture.service.daemon } });
    for (int round = 0; round < rounds; round++) {
        load_await(load, 10);
        proxy_refuse(fixture.proxy, true);
        load_await_spooled(load, 20);
        daemon_kill9(fixture.service.daemon); /* while it appends */
        proxy_refuse(fixture.proxy, false);
        daemon_resume(fixture.service.daemon);
        load_aim(load, fixture.service.daemon);
        load_await(load, 1 + (uint64_t)round);
        daemon_kill9(fixture.service.daemon); /* while it replays, perhaps */
        daemon_resume(fixture.service.daemon);
        load_aim(load, fixture.service.daemon);
    }
    load_finish(load);
    fixture_await_empty(&fixture);
    load_check(load, fixture.dsn);
    fixture_stop(&fixture);
}
END_TEST

/* COMMIT is lost on its way, or its answer, and then Postgres is away: the batch goes to the spool
 * with its key, which tells later whether it is in. Events without identity count once. */
START_TEST(unknown_commit_is_spooled)
{
    static const enum proxy_mode modes[] = { PROXY_CUT_BEFORE, PROXY_DROP_ANSWER };
    static const char *const environment[] = { SPOOL_AFTER, "PLUMBLINE_COMMITTERS=1", NULL };
    struct fixture fixture;

    fixture_start(&fixture, environment);
    for (int i = 0; i < (int)LENGTH(modes); i++) {
        AUTO(mem_free)
        char *body = xasprintf("{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"c\","
                               "\"startTimestampMs\":%d000000000,\"endTimestampMs\":%d000000000,"
                               "\"metrics\":{}}",
                               1600 + i, 1600 + i);
        long status;

        proxy_arm(fixture.proxy, modes[i], 0);
        proxy_refuse_then(fixture.proxy);
        status = fixture_post(&fixture, body);
        ck_assert_msg(status == 202, "mode %d: %ld", i, status);
        proxy_refuse(fixture.proxy, false);
        fixture_await_empty(&fixture);
        ck_assert_int_eq(pg_query_i64(fixture.dsn, "SELECT count(*) FROM aggregate_metric"), i + 1);
    }
    ck_assert_int_eq(pg_query_i64(fixture.dsn, "SELECT count(*) FROM ingest_batch"), 2);
    service_check_balance(&fixture.service, 2, 0, 0);
    fixture_stop(&fixture);
}
END_TEST

/* Postgres is stopped with a request on its way to it, and says nothing: what is in hand goes to
 * the spool as what waits does, and commit_timeout_ms has no part in it. What comes while a replay
 * hangs does not wait for that either. */
START_TEST(hung_postgres)
{
    static const char *const environment[] = { SPOOL_AFTER, "PLUMBLINE_COMMIT_TIMEOUT_MS=1h",
                                               NULL };
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *folder = xasprintf("%s/spool", dir);
    AUTO(pg_free) struct pg *pg = pg_start(NULL);
    struct fixture fixture = { .dsn = pg_database_new(pg) };

    fixture.service.daemon = daemon_start(&(struct daemon_options){
        .dsn = fixture.dsn, .environment = environment, .spool = folder });
    fixture.service.http = http_new();
    for (int round = 0; round < 2; round++) {
        WAIT_UNTIL(30000, fixture_send(&fixture, 10 * round, "{}") == 200);
        pg_signal_all(pg, SIGSTOP);
        ck_assert_int_eq(fixture_send(&fixture, 10 * round + 1, "{}"), 202);
        ck_assert_int_eq(fixture_send(&fixture, 10 * round + 2, "{}"), 202); /* behind a replay */
        ck_assert_int_eq(daemon_status(fixture.service.daemon, "/readyz"), 200);
        pg_signal_all(pg, SIGCONT);
        fixture_await_empty(&fixture);
    }
    ck_assert_int_eq(pg_query_i64(fixture.dsn, "SELECT count(*) FROM prediction"), 6);
    for (int number = 0; number < 20; number += number % 10 == 2 ? 8 : 1)
        ck_assert_int_eq(fixture_count(&fixture, number), 1);
    fixture_check_books(&fixture);
    fixture_stop(&fixture);
}
END_TEST

/* COMMIT hangs: without an identity, and with an answer of 202 before anybody knows, it counts
 * once, by the batch that it was when it went out. */
START_TEST(hung_commit)
{
    static const char *const environment[] = { SPOOL_AFTER, "PLUMBLINE_COMMIT_TIMEOUT_MS=1h",
                                               "PLUMBLINE_COMMITTERS=1", NULL };
    static const char body[] = "{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"c\","
                               "\"startTimestampMs\":1600000000000,"
                               "\"endTimestampMs\":1600000000000,\"metrics\":{}}";
    struct fixture fixture;

    fixture_start(&fixture, environment);
    proxy_arm(fixture.proxy, PROXY_HOLD, 0);
    ck_assert_int_eq(fixture_post(&fixture, body), 202);
    ck_assert(proxy_sprung(fixture.proxy));
    proxy_release(fixture.proxy);
    fixture_await_empty(&fixture);
    ck_assert_int_eq(pg_query_i64(fixture.dsn, "SELECT count(*) FROM aggregate_metric"), 1);
    ck_assert_int_eq(pg_query_i64(fixture.dsn, "SELECT count(*) FROM ingest_batch"), 1);
    service_check_balance(&fixture.service, 1, 0, 0);
    fixture_stop(&fixture);
}
END_TEST

/* Away, back for a moment, away again while it replays. */
START_TEST(second_outage)
{
    struct fixture fixture;

    fixture_start(&fixture, environment_plain);
    proxy_refuse(fixture.proxy, true);
    ck_assert_int_eq(fixture_send(&fixture, 1, "{}"), 202);
    proxy_arm(fixture.proxy, PROXY_HOLD, 0);
    proxy_refuse(fixture.proxy, false);
    WAIT_UNTIL(20000, proxy_sprung(fixture.proxy)); /* the group is on its way */
    proxy_refuse(fixture.proxy, true);
    ck_assert_int_eq(fixture_send(&fixture, 2, "{}"), 202);
    ck_assert_int_gt(fixture_sample(&fixture, "plumbline_spool_events"), 0);
    proxy_release(fixture.proxy);
    proxy_refuse(fixture.proxy, false);
    fixture_check_totals(&fixture, 2, 0, 0);
    fixture_stop(&fixture);
}
END_TEST

/* SIGTERM while Postgres is away: what waits is answered 202, and the next daemon has it. */
START_TEST(stopped_while_away)
{
    struct fixture fixture;

    fixture_start(&fixture, environment_plain);
    proxy_refuse(fixture.proxy, true);
    ck_assert_int_eq(fixture_send(&fixture, 1, "{}"), 202);
    ck_assert_int_eq(daemon_stop(fixture.service.daemon), 0);
    proxy_refuse(fixture.proxy, false);
    daemon_resume(fixture.service.daemon);
    fixture_check_totals(&fixture, 1, 0, 0);
    fixture_stop(&fixture);
}
END_TEST

/* ---- order, duplicates, conflicts ---- */

START_TEST(judged_when_replayed)
{
    struct fixture fixture;
    json_auto_t *rows = NULL;

    fixture_start(&fixture, environment_plain);
    WAIT_UNTIL(20000, fixture_send(&fixture, 1, "{\"a\":1}") == 200);
    fixture_await_empty(&fixture);
    proxy_refuse(fixture.proxy, true);
    ck_assert_int_eq(fixture_send(&fixture, 3, "{\"a\":0.10}"), 202);
    ck_assert_int_eq(fixture_send(&fixture, 2, "{\"b\":1e22}"), 202);
    ck_assert_int_eq(fixture_send(&fixture, 2, "{\"b\":1e22}"), 202); /* a duplicate */
    ck_assert_int_eq(fixture_send(&fixture, 1, "{\"a\":2}"), 202);    /* a conflict */
    ck_assert_int_eq(fixture_send(&fixture, 0, "{\"a\":3}"), 202);    /* too old, by then */
    pg_exec(fixture.dsn, "INSERT INTO retention_horizon"
                         " VALUES ('event', to_timestamp(1600000060), pg_current_xact_id())");
    proxy_refuse(fixture.proxy, false);
    fixture_await_empty(&fixture);
    rows = service_rows(&fixture.service, "?model_deployment_crn=crn:spool");
    ck_assert_uint_eq(json_array_size(rows), 3);
    ck_assert_int_eq(service_number(json_array_get(rows, 1), "startTimeStampMs"),
                     1600000000000 + 3 * 60000);
    ck_assert_int_eq(pg_query_i64(fixture.dsn, "SELECT count(*) FROM rejected_event WHERE source ="
                                               " 'spool' AND code = 'conflict'"
                                               " AND convert_from(event, 'UTF8')::json"
                                               " -> 'metrics' ->> 'a' = '2'"
                                               " AND origin->>'file' IS NOT NULL"),
                     1);
    ck_assert_int_eq(pg_query_i64(fixture.dsn, "SELECT count(*) FROM rejected_event WHERE source ="
                                               " 'spool' AND code = 'too_old'"
                                               " AND convert_from(event, 'UTF8')::json"
                                               " -> 'metrics' ->> 'a' = '3'"),
                     1);
    ck_assert_int_eq(fixture_sample(&fixture, "plumbline_spool_rejected_total"), 2);
    ck_assert_int_ge(
        pg_query_i64(fixture.dsn,
                     "SELECT count(*) FROM rejected_event WHERE (origin->>'receivedMs')"
                     "::bigint BETWEEN extract(epoch FROM now()) * 1000 - 600000"
                     " AND extract(epoch FROM now()) * 1000"),
        1);
    fixture_stop(&fixture);
}
END_TEST

/* Lineage is not spooled, nor are metrics beside it. The books of the database alone balance. */
START_TEST(what_is_not_spooled)
{
    static const char project[] = "{\"event\":\"project_created\",\"projectCrn\":\"p\","
                                  "\"projectName\":\"n\",\"userName\":\"u\"}";
    static const char *const environment[] = { SPOOL_AFTER, "PLUMBLINE_COMMIT_TIMEOUT_MS=1s",
                                               NULL };
    AUTO(mem_free) char *one = prediction(9, "{}");
    AUTO(mem_free) char *mixed = xasprintf("[%s,%s]", one, project);
    const char *balance[] = { "balance", "--database", NULL, NULL };
    AUTO(mem_free) char *said = NULL;
    struct fixture fixture;

    fixture_start(&fixture, environment);
    balance[2] = fixture.dsn;
    proxy_refuse(fixture.proxy, true);
    ck_assert_int_eq(fixture_send(&fixture, 1, "{}"), 202);
    ck_assert_int_eq(fixture_post(&fixture, "[{\"event\":\"nothing\"}]"), 202);
    ck_assert_int_eq(fixture_post(&fixture, project), 503);
    ck_assert_int_eq(fixture_post(&fixture, mixed), 503);
    ck_assert_int_eq(fixture_sample(&fixture, "plumbline_spool_events"), 1);
    ck_assert_int_eq(service_command(balance, NULL, &said), 0);
    ck_assert_ptr_nonnull(
        strstr(said, "\n0 batches; the books balance; a daemon's spool is not in them\n"));
    ck_assert_ptr_null(strstr(said, "spooled"));
    proxy_refuse(fixture.proxy, false);
    fixture_check_totals(&fixture, 1, 0, 1);
    fixture_stop(&fixture);
}
END_TEST

/* ---- full ---- */

START_TEST(full_spool_is_503)
{
    static const char *const environment[] = { SPOOL_AFTER, "PLUMBLINE_SPOOL_BYTES_MAX=1000",
                                               NULL };
    struct fixture fixture;
    int taken = 0, refused = 0;

    fixture_start(&fixture, environment);
    proxy_refuse(fixture.proxy, true);
    for (int i = 1; refused < 3; i++) {
        long status = fixture_send(&fixture, i, "{}");

        ck_assert(status == 202 || status == 503);
        taken += status == 202;
        refused += status == 503;
    }
    ck_assert_int_gt(taken, 0);
    ck_assert_int_le(fixture_sample(&fixture, "plumbline_spool_bytes"), 1000);
    ck_assert(daemon_log_has(fixture.service.daemon, "spool_bytes_max is 1000"));
    WAIT_UNTIL(20000, daemon_status(fixture.service.daemon, "/readyz") == 503);
    proxy_refuse(fixture.proxy, false);
    fixture_check_totals(&fixture, taken, 0, 0);
    fixture_stop(&fixture);
}
END_TEST

/* The last request that does not fit leaves nothing behind; what is there is kept. */
START_TEST(full_disk_is_503)
{
    AUTO(mem_free) char *disk = disk_new(1);
    AUTO(mem_free) char *metrics = NULL;
    struct fixture fixture;
    int taken = 0, refused = 0;

    if (!disk)
        return;
    metrics = xasprintf("{\"a\":\"%0*d\"}", 90000, 0);
    fixture_start_on(&fixture, disk, environment_plain);
    proxy_refuse(fixture.proxy, true);
    for (int i = 1; refused < 3; i++) {
        long status = fixture_send(&fixture, i, metrics);

        ck_assert(status == 202 || status == 503);
        taken += status == 202;
        refused += status == 503;
    }
    ck_assert_int_gt(taken, 2);
    daemon_kill9(fixture.service.daemon);
    proxy_refuse(fixture.proxy, false);
    daemon_resume(fixture.service.daemon);
    fixture_check_totals(&fixture, taken, 0, 0);
    fixture_stop(&fixture);
}
END_TEST

/* Nobody sends anything to a daemon that is not ready: it notices by itself that its disk has space
 * again, with Postgres still away. */
START_TEST(ready_when_there_is_space)
{
    static const char *const environment[] = { SPOOL_AFTER, "PLUMBLINE_COMMIT_TIMEOUT_MS=1s",
                                               NULL };
    AUTO(mem_free) char *disk = disk_new(4);
    AUTO(mem_free) char *ballast = NULL;
    struct fixture fixture;

    if (!disk)
        return;
    ballast = xasprintf("%s/ballast", disk);
    fixture_start_on(&fixture, disk, environment);
    WAIT_UNTIL(20000, fixture_send(&fixture, 1, "{}") == 200);
    disk_fill(ballast);
    proxy_refuse(fixture.proxy, true);
    ck_assert_int_eq(fixture_send(&fixture, 2, "{}"), 503);
    WAIT_UNTIL(20000, daemon_status(fixture.service.daemon, "/readyz") == 503);
    ck_assert_int_eq(unlink(ballast), 0);
    WAIT_UNTIL(20000, daemon_status(fixture.service.daemon, "/readyz") == 200);
    ck_assert(daemon_log_has(fixture.service.daemon, "event=spool_works"));
    ck_assert_int_eq(fixture_send(&fixture, 3, "{}"), 202);
    proxy_refuse(fixture.proxy, false);
    fixture_check_totals(&fixture, 2, 0, 0);
    fixture_stop(&fixture);
}
END_TEST

/* A disk that hangs, here a fifo that nobody reads: who opens it waits. Signals are heard all the
 * same, and when it goes on so does the spool. */
START_TEST(hung_disk)
{
    static const char *const environment[] = { SPOOL_AFTER, "PLUMBLINE_COMMIT_TIMEOUT_MS=1s",
                                               NULL };
    AUTO(mem_free) char *disk = disk_new(4);
    AUTO(mem_free) char *ballast = NULL, *probe = NULL;
    struct fixture fixture;
    int fd;

    if (!disk)
        return;
    ballast = xasprintf("%s/ballast", disk);
    fixture_start_on(&fixture, disk, environment);
    probe = xasprintf("%s/probe", fixture.dir);
    ck_assert_int_eq(mkfifo(probe, 0600), 0);
    disk_fill(ballast);
    proxy_refuse(fixture.proxy, true);
    ck_assert_int_eq(fixture_send(&fixture, 1, "{}"), 503);
    ck_assert_int_eq(unlink(ballast), 0);
    for (int reloads = 1; reloads <= 3; reloads++) {
        daemon_signal(fixture.service.daemon, SIGHUP);
        WAIT_UNTIL(20000, fixture_sample(&fixture, "plumbline_reloads_total") == reloads);
    }
    WAIT_UNTIL(20000, daemon_status(fixture.service.daemon, "/readyz") == 503);
    fd = open(probe, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    WAIT_UNTIL(20000, daemon_status(fixture.service.daemon, "/readyz") == 200);
    (void)close(fd);
    proxy_refuse(fixture.proxy, false);
    fixture_check_totals(&fixture, 0, 0, 0);
    fixture_stop(&fixture);
}
END_TEST

/* ---- files ---- */

/* The path of the only segment. Owned. */
static char *fixture_segment(struct fixture *fixture)
{
    DIR *dir = opendir(fixture->dir);
    char *path = NULL;

    ck_assert_ptr_nonnull(dir);
    for (const struct dirent *entry; (entry = readdir(dir));) {
        if (!strstr(entry->d_name, ".spool"))
            continue;
        ck_assert_ptr_null(path);
        path = xasprintf("%s/%s", fixture->dir, entry->d_name);
    }
    (void)closedir(dir);
    ck_assert_ptr_nonnull(path);
    return path;
}

static void file_change(const char *path, off_t at, const char *bytes, size_t len)
{
    int fd = open(path, O_RDWR);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, bytes, len, at < 0 ? lseek(fd, 0, SEEK_END) + at : at),
                     (ssize_t)len);
    (void)close(fd);
}

/* A byte of the last event is another: that event goes to rejected_event as it is. Behind it stands
 * the beginning of a chunk, which nobody was told of. */
START_TEST(damaged_and_torn)
{
    AUTO(mem_free) char *path = NULL;
    struct fixture fixture;
    struct stat st;

    fixture_start(&fixture, environment_plain);
    fixture_leave(&fixture);
    path = fixture_segment(&fixture);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    file_change(path, -4, "X", 1);
    file_change(path, st.st_size, "chnk\1\0\0", 7);
    daemon_resume(fixture.service.daemon);
    fixture_check_totals(&fixture, 2, 0, 1);
    ck_assert_int_eq(pg_query_i64(fixture.dsn,
                                  "SELECT count(*) FROM rejected_event WHERE source = 'spool' AND"
                                  " code = 'damaged' AND position('%012d' IN"
                                  " encode(event, 'escape')) > 0",
                                  3),
                     1);
    ck_assert(daemon_log_has(fixture.service.daemon, "event=spool_tail_cut"));
    fixture_stop(&fixture);
}
END_TEST

START_TEST(newer_format_is_refused)
{
    static const char head[64] = "plumspl\n\x02\0\0\0\x40";
    AUTO(mem_free) char *path = NULL;
    struct fixture fixture;
    char whole[64];
    uint32_t crc = crc32c(0, head, 60);

    fixture_start(&fixture, environment_plain);
    ck_assert_int_eq(daemon_stop(fixture.service.daemon), 0);
    path = xasprintf("%s/00000000000000ff.spool", fixture.dir);
    memcpy(whole, head, 60);
    memcpy(whole + 60, &crc, sizeof(crc));
    (void)close(open(path, O_CREAT | O_WRONLY, 0600));
    file_change(path, 0, whole, sizeof(whole));
    daemon_respawn(fixture.service.daemon);
    ck_assert_int_eq(daemon_wait_exit(fixture.service.daemon, 30000), 1);
    ck_assert(daemon_log_has(fixture.service.daemon,
                             "00000000000000ff.spool: it has format 2, this "
                             "version reads up to 1"));
    ck_assert_int_eq(unlink(path), 0);
    daemon_resume(fixture.service.daemon);
    fixture_stop(&fixture);
}
END_TEST

/* Without a spool nobody would replay what is there. */
START_TEST(unwanted_but_not_empty)
{
    static const char *const without[] = { SPOOL_AFTER, "PLUMBLINE_SPOOL_BYTES_MAX=0", NULL };
    struct fixture fixture;

    fixture_start(&fixture, environment_plain);
    fixture_leave(&fixture);
    daemon_set_environment(fixture.service.daemon, without);
    daemon_respawn(fixture.service.daemon);
    ck_assert_int_eq(daemon_wait_exit(fixture.service.daemon, 30000), 1);
    ck_assert(daemon_log_has(fixture.service.daemon, "start with a spool until "
                                                     "plumbline_spool_groups is 0"));
    daemon_set_environment(fixture.service.daemon, environment_plain);
    daemon_resume(fixture.service.daemon);
    fixture_check_totals(&fixture, 3, 0, 0);
    ck_assert_int_eq(daemon_stop(fixture.service.daemon), 0);
    daemon_set_environment(fixture.service.daemon, without);
    daemon_resume(fixture.service.daemon);
    fixture_stop(&fixture);
}
END_TEST

START_TEST(one_daemon_a_folder)
{
    struct fixture fixture;
    AUTO(daemon_free) struct daemon *second = NULL;

    fixture_start(&fixture, environment_plain);
    second = daemon_spawn(&(struct daemon_options){ .dsn = fixture.dsn, .spool = fixture.dir });
    ck_assert_int_eq(daemon_wait_exit(second, 30000), 1);
    ck_assert(daemon_log_has(second, "is in use by another daemon, process "));
    fixture_stop(&fixture);
}
END_TEST

/* ---- fault points ---- */

static void fixture_arm(struct fixture *fixture, char text[64], enum crash_point point,
                        const char *environment[3])
{
    (void)snprintf(text, 64, "PLUMBLINE_FAULT=%s", crash_point_name(point));
    environment[0] = SPOOL_AFTER;
    environment[1] = text;
    environment[2] = NULL;
    daemon_set_environment(fixture->service.daemon, environment);
}

/* Every step of a commit: whoever has no answer sends again, and all is there once. */
START_TEST(dies_at_every_step_of_a_commit)
{
    const char *environment[4];
    struct fixture fixture;
    char text[64];

    fixture_start(&fixture, environment_plain);
    for (int point = CRASH_COMMIT_TAKEN; point <= CRASH_COMMIT_ANSWERED; point++) {
        AUTO(mem_free) char *one = prediction(point, "{}");
        AUTO(mem_free)
        char *body = xasprintf("[%s,{\"event\":\"delayed_metrics\",\"predictionUuid\":"
                               "\"0b5c8a4e-6d0f-4c1b-9a37-%012d\",\"eventId\":"
                               "\"1b5c8a4e-6d0f-4c1b-9a37-%012d\",\"metrics\":{\"l\":1}}]",
                               one, point, point);

        ck_assert_int_eq(daemon_stop(fixture.service.daemon), 0);
        fixture_arm(&fixture, text, (enum crash_point)point, environment);
        /* a commit, however slow the machine; the first is at most half of the second */
        environment[0] = "PLUMBLINE_SPOOL_AFTER_MS=1m";
        environment[2] = "PLUMBLINE_COMMIT_TIMEOUT_MS=1h";
        environment[3] = NULL;
        daemon_resume(fixture.service.daemon);
        /* with a label it goes step by step, without as one query */
        (void)fixture_post(&fixture, point == CRASH_COMMIT_SENT ? one : body);
        daemon_await_kill9(fixture.service.daemon);
        daemon_set_environment(fixture.service.daemon, environment_plain);
        daemon_resume(fixture.service.daemon);
        WAIT_UNTIL(20000, fixture_post(&fixture, body) / 100 == 2);
        fixture_await_empty(&fixture);
        ck_assert_msg(fixture_count(&fixture, point) == 1, "%s: %d times",
                      crash_point_name((enum crash_point)point),
                      (int)fixture_count(&fixture, point));
    }
    fixture_check_books(&fixture);
    fixture_stop(&fixture);
}
END_TEST

/* Every step into the spool: what was answered is there without being sent again. */
START_TEST(dies_at_every_step_into_the_spool)
{
    const char *environment[3];
    struct fixture fixture;
    char text[64];

    fixture_start(&fixture, environment_plain);
    for (int point = CRASH_SPOOL_TAKEN; point <= CRASH_SPOOL_ANSWERED; point++) {
        const char *name = crash_point_name((enum crash_point)point);
        int64_t count;
        long status;

        ck_assert_int_eq(daemon_stop(fixture.service.daemon), 0);
        fixture_arm(&fixture, text, (enum crash_point)point, environment);
        daemon_resume(fixture.service.daemon);
        proxy_refuse(fixture.proxy, true);
        status = fixture_send(&fixture, point, "{}");
        daemon_await_kill9(fixture.service.daemon);
        proxy_refuse(fixture.proxy, false);
        daemon_set_environment(fixture.service.daemon, environment_plain);
        daemon_resume(fixture.service.daemon);
        fixture_await_empty(&fixture);
        count = fixture_count(&fixture, point);
        ck_assert_msg(status == 0 || (status == 202 && count == 1), "%s: %ld", name, status);
        ck_assert_msg(count == (point >= CRASH_SPOOL_WRITTEN), "%s: %d times", name, (int)count);
        WAIT_UNTIL(20000, fixture_send(&fixture, point, "{}") / 100 == 2);
        fixture_await_empty(&fixture);
        ck_assert_msg(fixture_count(&fixture, point) == 1, "%s, sent again", name);
    }
    fixture_check_books(&fixture);
    fixture_stop(&fixture);
}
END_TEST

/* Every step out of it, those of the commit included: once, and by one batch. */
START_TEST(dies_at_every_step_of_a_replay)
{
    static const enum crash_point points[] = {
        CRASH_REPLAY_TAKEN,   CRASH_COMMIT_TAKEN,    CRASH_COMMIT_PREPARED, CRASH_COMMIT_BEGUN,
        CRASH_COMMIT_SENT,    CRASH_COMMIT_WRITTEN,  CRASH_COMMIT_DONE,     CRASH_REPLAY_COMMITTED,
        CRASH_REPLAY_DROPPED, CRASH_REPLAY_REJOINED,
    };
    const char *environment[3];
    struct fixture fixture;
    char text[64];

    fixture_start(&fixture, environment_plain);
    for (size_t i = 0; i < LENGTH(points); i++) {
        int number = 100 + (int)points[i];
        const char *name = crash_point_name(points[i]);

        proxy_refuse(fixture.proxy, true);
        ck_assert_int_eq(fixture_send(&fixture, number, "{}"), 202);
        if (points[i] == CRASH_COMMIT_WRITTEN) /* a label: step by step */
            ck_assert_int_eq(fixture_post(&fixture, "{\"event\":\"delayed_metrics\","
                                                    "\"predictionUuid\":\"0b5c8a4e-6d0f-4c1b-9a37-"
                                                    "2f1e8d7c6b5a\",\"metrics\":{}}"),
                             202);
        daemon_kill9(fixture.service.daemon);
        proxy_refuse(fixture.proxy, false);
        fixture_arm(&fixture, text, points[i], environment);
        daemon_respawn(fixture.service.daemon);
        daemon_await_kill9(fixture.service.daemon);
        daemon_set_environment(fixture.service.daemon, environment_plain);
        daemon_resume(fixture.service.daemon);
        fixture_await_empty(&fixture);
        ck_assert_msg(fixture_count(&fixture, number) == 1, "%s: %d times", name,
                      (int)fixture_count(&fixture, number));
    }
    ck_assert_int_eq(pg_query_i64(fixture.dsn, "SELECT sum(received) FROM ingest_balance"),
                     (int64_t)LENGTH(points) + 1);
    fixture_check_books(&fixture);
    fixture_stop(&fixture);
}
END_TEST

Suite *spool_suite(void)
{
    Suite *suite = suite_create("spool");
    TCase *tc = tcase_create("spool");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, away_and_back);
    tcase_add_test(tc, killed_again_and_again);
    tcase_add_test(tc, unknown_commit_is_spooled);
    tcase_add_test(tc, hung_postgres);
    tcase_add_test(tc, hung_commit);
    tcase_add_test(tc, second_outage);
    tcase_add_test(tc, stopped_while_away);
    tcase_add_test(tc, judged_when_replayed);
    tcase_add_test(tc, what_is_not_spooled);
    tcase_add_test(tc, full_spool_is_503);
    tcase_add_test(tc, full_disk_is_503);
    tcase_add_test(tc, ready_when_there_is_space);
    tcase_add_test(tc, hung_disk);
    tcase_add_test(tc, damaged_and_torn);
    tcase_add_test(tc, newer_format_is_refused);
    tcase_add_test(tc, unwanted_but_not_empty);
    tcase_add_test(tc, one_daemon_a_folder);
    suite_add_tcase(suite, tc);
    tc = tcase_create("faults");
    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, dies_at_every_step_of_a_commit);
    tcase_add_test(tc, dies_at_every_step_into_the_spool);
    tcase_add_test(tc, dies_at_every_step_of_a_replay);
    suite_add_tcase(suite, tc);
    return suite;
}
