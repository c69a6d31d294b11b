#include "tests/bench/bench.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "collector/pg_program.h"
#include "tests/bench/events.h"
#include "tests/harness/process.h"
#include "tests/harness/temp.h"

enum { ARGS_MAX = 32, OUTPUT_BYTES_MAX = 1 << 20, LOG_BYTES_MAX = 4 << 20, PLAN_COLUMNS_MAX = 140 };

struct bench {
    const char *theme;
    struct pg *pg;
    int64_t peak_bytes; /* of all daemons so far */
};

/* --------------------------------------------------------------------------------- the program */

static struct {
    const char *theme;
    void (*run)(struct bench *bench);
} the;

/* A line for tests/bench/run: fields between tabs. */
PRINTF_LIKE(1, 2) static void bench_write(const char *fmt, ...)
{
    const char *path = getenv("BENCH_ROWS");
    FILE *file = path ? fopen(path, "a") : stdout;
    va_list args;

    ck_assert_msg(file != NULL, "%s can't be written", path);
    va_start(args, fmt);
    (void)vfprintf(file, fmt, args);
    va_end(args);
    (void)fputc('\n', file);
    if (file != stdout)
        (void)fclose(file);
}

static char *bench_binary(void)
{
    const char *binary = getenv("TEST_DAEMON");

    return xstrdup(binary ? binary : "build/plumbline");
}

static void bench_database_fill(const char *dsn)
{
    AUTO(mem_free) char *binary = bench_binary();
    AUTO(mem_free) char *log = temp_log("migrate");
    const char *const argv[] = { binary, "migrate", "--database", dsn, NULL };

    process_run(&(struct process_options){ .argv = argv, .output = log });
    pg_exec(dsn,
            "SELECT partition_make('event', to_timestamp(%" PRId64 "), to_timestamp(%" PRId64
            "), 600)",
            EVENT_WEEK_MS / 1000, EVENT_WEEK_MS / 1000 + INT64_C(7) * 86400);
}

START_TEST(benchmark)
{
    /* The harness makes its servers small; these are PostgreSQL's own defaults. The log of reads
     * has to hold whole queries. */
    static const char *const settings[] = { "shared_buffers=128MB", "max_wal_size=1GB",
                                            "min_wal_size=80MB", NULL };
    struct bench bench = { .theme = the.theme };

    bench.pg = pg_start(&(struct pg_options){ .settings = settings });
    pg_template_fill(bench.pg, bench_database_fill);
    the.run(&bench);
    bench_write("peak\t%s\t%" PRId64, bench.theme, bench.peak_bytes);
    pg_free(bench.pg);
}
END_TEST

int bench_main(const char *theme, void (*run)(struct bench *bench))
{
    Suite *suite = suite_create(theme);
    TCase *tc = tcase_create(theme);
    SRunner *runner;
    int failed;

    the.theme = theme;
    the.run = run;
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, benchmark);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    temp_start(TEMP_ON_DISK);
    srunner_run_all(runner, CK_SILENT);
    failed = srunner_ntests_failed(runner);
    if (failed)
        srunner_print(runner, CK_NORMAL);
    temp_print_logs();
    temp_stop();
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int64_t bench_scaled(int64_t n)
{
    const char *text = getenv("BENCH_SCALE");
    double scale = text ? strtod(text, NULL) : 1;
    double scaled = (double)n * scale;

    ck_assert_msg(scale > 0, "BENCH_SCALE=%s is not a number above 0", text);
    return scaled < 1 ? 1 : (int64_t)scaled;
}

void bench_say(const char *fmt, ...)
{
    va_list args;

    (void)fprintf(stderr, "%s: ", the.theme);
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

/* ---------------------------------------------------------------------------- server and daemon */

struct pg *bench_pg(struct bench *bench)
{
    return bench->pg;
}

char *bench_database_new(struct bench *bench)
{
    return pg_database_new(bench->pg);
}

void bench_database_drop(struct bench *bench, const char *dsn)
{
    AUTO(mem_free) char *name = pg_query_text(dsn, "SELECT current_database()");
    AUTO(mem_free) char *other = pg_dsn(bench->pg, "postgres");

    pg_exec(other, "DROP DATABASE %s WITH (FORCE)", name);
}

struct daemon *bench_daemon_start_with(const struct daemon_options *options)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *spool = xasprintf("%s/spool", dir);
    struct daemon_options spooling = *options;

    spooling.spool = spool;
    return daemon_start(&spooling);
}

struct daemon *bench_daemon_start(const char *dsn)
{
    return bench_daemon_start_with(&(struct daemon_options){ .dsn = dsn });
}

struct daemon *bench_daemon_start_bare(const char *dsn)
{
    static const char *const environment[] = { "PLUMBLINE_ROLLUPS=false", NULL };

    pg_exec(dsn, "UPDATE setting SET value = 'false' WHERE name = 'rollups'");
    return bench_daemon_start_with(
        &(struct daemon_options){ .dsn = dsn, .environment = environment });
}

void bench_daemon_stop(struct bench *bench, struct daemon *daemon)
{
    bench_daemon_stop_beside(bench, daemon, 0);
}

void bench_daemon_stop_beside(struct bench *bench, struct daemon *daemon, int64_t buffers_bytes)
{
    int64_t peak_bytes = daemon_peak_bytes(daemon) - buffers_bytes;

    if (peak_bytes > bench->peak_bytes)
        bench->peak_bytes = peak_bytes;
    daemon_free(daemon);
}

/* Beside the server itself, so that both are of one version and no wrapper stands between; or
 * wherever PATH has it. */
static char *bench_program_path(const char *name)
{
    struct err err = { 0 };
    AUTO(mem_free) char *dir = pg_program_find(0, &err);
    AUTO(mem_free) char *server = NULL;
    AUTO(mem_free) char *path = NULL;
    char real[PATH_MAX];

    ck_assert_msg(dir != NULL, "%s", err.text);
    server = xasprintf("%s/postgres", dir);
    ck_assert_msg(realpath(server, real) != NULL, "%s: %s", server, strerror(errno));
    path = xasprintf("%.*s/%s", (int)(strrchr(real, '/') - real), real, name);
    return access(path, X_OK) == 0 ? TAKE(path) : xstrdup(name);
}

double bench_program_run(const char *name, const char *const *arguments, char **output)
{
    AUTO(mem_free) char *path = bench_program_path(name);
    AUTO(mem_free) char *log = temp_log(name);
    AUTO(mem_free) char *text = NULL;
    const char *argv[ARGS_MAX] = { 0 };
    int64_t start_us;
    double seconds;
    pid_t pid;
    int status;

    argv[0] = path;
    for (size_t i = 0; arguments[i]; i++) {
        ck_assert_uint_lt(i + 2, ARGS_MAX);
        argv[i + 1] = arguments[i];
    }
    start_us = clock_mono_us();
    pid = process_start(&(struct process_options){ .argv = argv, .output = log });
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    seconds = (double)(clock_mono_us() - start_us) / 1e6;
    text = temp_file_tail(log, OUTPUT_BYTES_MAX);
    ck_assert_msg(status == 0, "%s: status %d: %s", name, status, text);
    if (output)
        *output = TAKE(text);
    return seconds;
}

void bench_rows_out(const char *dsn, const char *path)
{
    AUTO(mem_free)
    char *command = xasprintf("\\copy (SELECT * FROM prediction) TO '%s' (FORMAT binary)", path);
    const char *const arguments[] = { "-XqAt", "-d", dsn, "-c", command, NULL };

    (void)bench_program_run("psql", arguments, NULL);
}

void bench_rows_in(struct bench *bench, int64_t rows, const char *path, struct bench_side *side)
{
    AUTO(mem_free) char *dsn = bench_database_new(bench);
    AUTO(mem_free)
    char *command = xasprintf("\\copy prediction FROM '%s' (FORMAT binary)", path);
    const char *const arguments[] = { "-XqAt", "-v", "ON_ERROR_STOP=1", "-d",
                                      dsn,     "-c", command,           NULL };
    struct bench_meter meter;
    double seconds;

    bench_meter_start(&meter, bench, NULL);
    seconds = bench_program_run("psql", arguments, NULL);
    bench_meter_stop(&meter, side);
    bench_side_add(side, (double)rows / seconds);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM prediction"), rows);
    bench_database_drop(bench, dsn);
}

/* The statement in a line of the server's log, "TIME [PID] DATABASE LOG:  statement: ...", or NULL
 * when the line is something else. */
static char *log_statement(char *line, const char *database)
{
    AUTO(mem_free) char *sign = xasprintf("] %s LOG:  statement: ", database);
    char *at = strstr(line, sign);

    return at ? at + strlen(sign) : NULL;
}

char *bench_read_script(struct bench *bench, const char *dsn, void (*read)(void *ctx), void *ctx,
                        const char *before, const char *after)
{
    static const char copy[] = "COPY (", to[] = ") TO STDOUT";
    AUTO(mem_free) char *name = pg_query_text(dsn, "SELECT current_database()");
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/read.sql", dir);
    AUTO(mem_free) char *log = NULL;
    AUTO(buf_done) struct buf script;
    FILE *file = fopen(path, "w");
    char *rest, *line, *end;
    bool found = false;

    buf_init(&script, SIZE_MAX);
    buf_append_text(&script, "BEGIN;\n");
    pg_exec(dsn, "ALTER DATABASE %s SET log_statement = 'all'", name);
    /* only a new connection knows it */
    pg_exec(dsn, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                 " WHERE application_name = 'plumbline read'");
    read(ctx);
    pg_exec(dsn, "ALTER DATABASE %s RESET log_statement", name);
    log = pg_log(bench->pg, LOG_BYTES_MAX);
    rest = log;
    while (!found && (line = strsep(&rest, "\n"))) {
        char *statement = log_statement(line, name);

        if (statement && strncmp(statement, "BEGIN ", 6) != 0 &&
            (strncmp(statement, "SET ", 4) == 0 || strstr(statement, ";SET ")))
            buf_append_fmt(&script, "%s;\n", statement);
        if (!statement || strncmp(statement, copy, strlen(copy)) != 0)
            continue;
        end = strstr(statement, to);
        ck_assert_msg(end != NULL, "a COPY of another kind: %s", statement);
        *end = '\0';
        buf_append_fmt(&script, "%s%s%s;\n", before, statement + strlen(copy), after);
        found = true;
    }
    ck_assert_msg(found, "the server's log has no COPY of the daemon");
    buf_append_text(&script, "COMMIT;\n");
    ck_assert_ptr_nonnull(file);
    (void)fputs(buf_text(&script), file);
    ck_assert_int_eq(fclose(file), 0);
    return TAKE(path);
}

/* ---------------------------------------------------------------------------------- CPU time */

static double seconds_of(struct timeval tv)
{
    return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

static double seconds_used(int who)
{
    struct rusage usage;

    ck_assert_int_eq(getrusage(who, &usage), 0);
    return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

struct process_stat {
    int parent;
    double own;      /* CPU seconds */
    double children; /* of those that have been waited for */
};

/* False: there is no such process any more. */
static bool process_stat_read(int pid, struct process_stat *stat)
{
    AUTO(mem_free) char *path = xasprintf("/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    unsigned long user, system;
    long users, systems;
    char line[1024];
    const char *at;
    bool read;

    if (!file)
        return false;
    read = fgets(line, sizeof(line), file) != NULL;
    (void)fclose(file);
    if (!read || !(at = strrchr(line, ')')))
        return false;
    /* state, parent, seven that do not matter here and four counts of faults, then the times */
    if (sscanf(at + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &stat->parent,
               &user, &system, &users, &systems) != 5)
        return false;
    stat->own = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    stat->children = (double)(users + systems) / (double)sysconf(_SC_CLK_TCK);
    return true;
}

static double postgres_seconds(int postmaster)
{
    struct process_stat stat;
    DIR *dir = opendir("/proc");
    const struct dirent *entry;
    double sum = 0;

    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir))) {
        int pid = (int)strtol(entry->d_name, NULL, 10);

        if (pid > 0 && process_stat_read(pid, &stat) && stat.parent == postmaster)
            sum += stat.own;
    }
    (void)closedir(dir);
    return process_stat_read(postmaster, &stat) ? sum + stat.own + stat.children : sum;
}

static double machine_seconds(void)
{
    FILE *file = fopen("/proc/stat", "r");
    unsigned long long user, nice, system, idle, wait, irq, softirq;
    int n;

    ck_assert_ptr_nonnull(file);
    n = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait,
               &irq, &softirq);
    (void)fclose(file);
    ck_assert_int_eq(n, 7);
    return (double)(user + nice + system + irq + softirq) / (double)sysconf(_SC_CLK_TCK);
}

static struct bench_cpu cpu_now(const struct bench_meter *meter)
{
    struct process_stat stat = { 0 };

    if (meter->daemon)
        ck_assert(process_stat_read(daemon_pid(meter->daemon), &stat));
    return (struct bench_cpu){
        .wall = (double)clock_mono_us() / 1e6,
        .load = seconds_used(RUSAGE_SELF),
        .daemon = stat.own,
        .client = seconds_used(RUSAGE_CHILDREN),
        .postgres = postgres_seconds(pg_pid(meter->bench->pg)),
        .machine = machine_seconds(),
    };
}

void bench_meter_start(struct bench_meter *meter, struct bench *bench, const struct daemon *daemon)
{
    AUTO(mem_free) char *dsn = pg_dsn(bench->pg, "postgres");

    pg_exec(dsn, "CHECKPOINT");
    *meter = (struct bench_meter){ .bench = bench, .daemon = daemon };
    meter->before = cpu_now(meter);
}

void bench_meter_stop(const struct bench_meter *meter, struct bench_side *side)
{
    struct bench_cpu now = cpu_now(meter);
    const struct bench_cpu *before = &meter->before;

    side->cpu.wall += now.wall - before->wall;
    side->cpu.load += now.load - before->load;
    side->cpu.daemon += now.daemon - before->daemon;
    side->cpu.client += now.client - before->client;
    side->cpu.postgres += now.postgres - before->postgres;
    side->cpu.machine += now.machine - before->machine;
}

void bench_side_add(struct bench_side *side, double value)
{
    ck_assert_int_lt(side->len, BENCH_ROUNDS_MAX);
    side->values[side->len++] = value;
}

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_side_median(const struct bench_side *side)
{
    double sorted[BENCH_ROUNDS_MAX];
    int half = side->len / 2;

    ck_assert_int_gt(side->len, 0);
    memcpy(sorted, side->values, sizeof(sorted));
    qsort(sorted, (size_t)side->len, sizeof(*sorted), double_compare);
    return side->len % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/* ----------------------------------------------------------------------------------- the table */

/* 81234.6 as "81,235 events/s". */
static void number_write(struct buf *buf, double value, int decimals, const char *unit)
{
    AUTO(mem_free) char *digits = xasprintf("%.*f", decimals, value);
    size_t whole = strcspn(digits, ".");

    for (size_t i = 0; i < whole; i++) {
        buf_append_char(buf, digits[i]);
        if (i + 1 < whole && (whole - i - 1) % 3 == 0)
            buf_append_char(buf, ',');
    }
    buf_append_fmt(buf, "%s %s", digits + whole, unit);
}

static void share_write(struct buf *buf, const char *who, double seconds, double wall)
{
    buf_append_fmt(buf, "%s%s %.0f %%", buf->len ? ", " : "", who, 100 * seconds / wall);
}

/* Percent of one core, over all rounds. */
static void cpu_write(struct buf *buf, const struct bench_cpu *cpu, bool ours)
{
    double known = cpu->load + cpu->daemon + cpu->client + cpu->postgres;

    if (ours) {
        share_write(buf, "load", cpu->load, cpu->wall);
        share_write(buf, "daemon", cpu->daemon, cpu->wall);
    } else {
        share_write(buf, "client", cpu->client + cpu->load, cpu->wall);
    }
    share_write(buf, "postgres", cpu->postgres, cpu->wall);
    share_write(buf, "others", cpu->machine > known ? cpu->machine - known : 0, cpu->wall);
}

/* A ratio is wanted of what it is measured by, anything else of the value. */
static bool want_is_ratio(enum bench_want want)
{
    return want == BENCH_RATIO_MIN || want == BENCH_RATIO_MAX;
}

static void want_write(struct buf *buf, const struct bench_row *row, double value)
{
    bool is_least = row->want == BENCH_RATIO_MIN || row->want == BENCH_VALUE_MIN;
    bool met = is_least ? value >= row->limit : value <= row->limit;

    if (row->want == BENCH_REPORTED) {
        buf_append_text(buf, "reported\t");
        return;
    }
    buf_append_fmt(buf, "%s %g", is_least ? "at least" : "at most", row->limit);
    if (row->aim > 0)
        buf_append_fmt(buf, ", aim %g", row->aim);
    buf_append_fmt(buf, "\t%s", met ? "met" : "MISSED");
    if (met && row->aim > 0 && value >= row->aim)
        buf_append_text(buf, ", aim too");
}

void bench_row(const struct bench_row *row)
{
    AUTO(buf_done) struct buf ours, theirs, cpu, cpu_theirs, want;
    double value = bench_side_median(row->ours);
    double ratio = row->theirs ? value / bench_side_median(row->theirs) : 0;
    char ratio_text[32] = "";

    buf_init(&ours, SIZE_MAX);
    buf_init(&theirs, SIZE_MAX);
    buf_init(&cpu, SIZE_MAX);
    buf_init(&cpu_theirs, SIZE_MAX);
    buf_init(&want, SIZE_MAX);
    number_write(&ours, value, row->decimals, row->unit);
    if (row->ours->cpu.wall > 0)
        cpu_write(&cpu, &row->ours->cpu, true);
    if (row->theirs) {
        buf_append_fmt(&theirs, "%s: ", row->against);
        number_write(&theirs, bench_side_median(row->theirs), row->decimals, row->unit);
        if (row->theirs->cpu.wall > 0)
            cpu_write(&cpu_theirs, &row->theirs->cpu, false);
        (void)snprintf(ratio_text, sizeof(ratio_text), "%.2f", ratio);
    }
    want_write(&want, row, want_is_ratio(row->want) ? ratio : value);
    bench_write("row\t%s\t%s\t%s\t%s\t%s\t%s\t%s", row->measure, buf_text(&ours), buf_text(&theirs),
                ratio_text, buf_text(&want), buf_text(&cpu), buf_text(&cpu_theirs));
}

void bench_note(const char *fmt, ...)
{
    AUTO(mem_free) char *text = NULL;
    va_list args;

    va_start(args, fmt);
    ck_assert_int_ge(vasprintf(&text, fmt, args), 0);
    va_end(args);
    bench_write("note\t%s", text);
}

void bench_note_plan(struct bench *bench, const char *dsn, void (*read)(void *ctx), void *ctx,
                     int lines_max)
{
    AUTO(mem_free)
    char *path =
        bench_read_script(bench, dsn, read, ctx, "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) ", "");
    const char *const arguments[] = {
        "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-f", path, NULL
    };
    AUTO(mem_free) char *plan = NULL;
    char *rest, *line;
    int lines = 0;

    (void)bench_program_run("psql", arguments, &plan);
    rest = plan;
    while ((line = strsep(&rest, "\n"))) {
        bool is_time =
            strncmp(line, "Planning Time", 13) == 0 || strncmp(line, "Execution Time", 14) == 0;

        if (*line && (lines++ < lines_max || is_time))
            bench_note("%.*s", PLAN_COLUMNS_MAX, line);
    }
}
