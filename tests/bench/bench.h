/* What all benchmarks share: a server, databases, a daemon, where the CPU time went, the table.
 *
 * bench_THEME.c is a program of its own for each theme; tests/bench/run runs them and prints what
 * they noted as one table. A benchmark alternates its two sides, a-b-a-b, on the same server, and
 * notes their medians:
 *
 *     for (int round = 0; round < BENCH_ROUNDS; round++) {
 *         ours_run(bench, &ours);       bench_meter_start, the work, bench_meter_stop
 *         theirs_run(bench, &theirs);
 *     }
 *     bench_row(&(struct bench_row){ .measure = "...", .ours = &ours, .theirs = &theirs, ... });
 *
 * A function that can't do its work ends the program with the reason, as in a test. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "tests/harness/daemon.h"
#include "tests/harness/pg.h"

enum { BENCH_ROUNDS = 5, BENCH_ROUNDS_MAX = 16 };

struct bench;

/* main() of a benchmark: `run` in a process of its own, with a server that is started before. */
int bench_main(const char *theme, void (*run)(struct bench *bench)) MUST_CHECK;
/* `n` times BENCH_SCALE, at least 1. */
int64_t bench_scaled(int64_t n);
/* A line about the progress, on standard error. */
void bench_say(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* ---- server and daemon ---- */

struct pg *bench_pg(struct bench *bench);
/* A new database with the schema and a partition for the week of the events. Its DSN, owned. */
char *bench_database_new(struct bench *bench) MUST_CHECK;
/* So that neither its files nor its autovacuum are in the way of what comes next. */
void bench_database_drop(struct bench *bench, const char *dsn);
/* As a user's is by default, with a spool that holds nothing. */
struct daemon *bench_daemon_start(const char *dsn) MUST_CHECK;
/* The same with these options, whose `spool` is made. */
struct daemon *bench_daemon_start_with(const struct daemon_options *options) MUST_CHECK;
/* On a database that is made one without rollups; it must not have events yet. */
struct daemon *bench_daemon_start_bare(const char *dsn) MUST_CHECK;
/* Stops it and notes its peak memory for the table's last row. */
void bench_daemon_stop(struct bench *bench, struct daemon *daemon);
/* The same, but `buffers_bytes` of its memory are a library's own and don't count. */
void bench_daemon_stop_beside(struct bench *bench, struct daemon *daemon, int64_t buffers_bytes);

/* Runs a program of PostgreSQL's (psql, pgbench) with these arguments, NULL at the end, and waits.
 * Returns the seconds it took. *output (may be NULL): what it said, owned. */
double bench_program_run(const char *name, const char *const *arguments, char **output);

struct bench_side;

/* All predictions into a file for bench_rows_in, in the order in which they stand in the table. */
void bench_rows_out(const char *dsn, const char *path);
/* The same rows with psql's binary \\copy into a new database; the rate goes to `side`. */
void bench_rows_in(struct bench *bench, int64_t rows, const char *path, struct bench_side *side);

/* What a daemon's read says to the server, as a script for psql: the settings of its session, and
 * the query of its COPY behind `before` and in front of `after`. Runs `read` on that database and
 * takes it from the server's log, so that it stays the daemon's own whatever that becomes. The path
 * of a file; owned. */
char *bench_read_script(struct bench *bench, const char *dsn, void (*read)(void *ctx), void *ctx,
                        const char *before, const char *after) MUST_CHECK;

/* ---- where the CPU time goes ---- */

/* Seconds, since some moment or between two. */
struct bench_cpu {
    double wall;
    double load;     /* this process */
    double daemon;   /* 0: none */
    double client;   /* psql, pgbench */
    double postgres; /* postmaster and all of its children */
    double machine;  /* everybody */
};

/* One side of a row: a value for each round, and the CPU time of all rounds. */
struct bench_side {
    double values[BENCH_ROUNDS_MAX];
    int len;
    struct bench_cpu cpu;
};

struct bench_meter {
    struct bench *bench;
    const struct daemon *daemon; /* borrowed; NULL: none in this measurement */
    struct bench_cpu before;
};

/* A checkpoint first, so that each measurement begins with the same work ahead of the server. */
void bench_meter_start(struct bench_meter *meter, struct bench *bench, const struct daemon *daemon);
void bench_meter_stop(const struct bench_meter *meter, struct bench_side *side);
void bench_side_add(struct bench_side *side, double value);
double bench_side_median(const struct bench_side *side);

/* ---- the table ---- */

enum bench_want {
    BENCH_REPORTED,
    BENCH_RATIO_MIN, /* ours / theirs is at least `limit` */
    BENCH_RATIO_MAX, /* ours / theirs is at most `limit` */
    BENCH_VALUE_MIN, /* ours is at least `limit` */
    BENCH_VALUE_MAX, /* ours is at most `limit` */
};

struct bench_row {
    const char *measure;
    const char *unit;
    int decimals;
    const struct bench_side *ours;
    const char *against; /* NULL: nothing */
    const struct bench_side *theirs;
    enum bench_want want;
    double limit;
    double aim; /* 0: the limit is all */
};

void bench_row(const struct bench_row *row);
/* A line below the row before it. */
void bench_note(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* The first lines of the plan of what `read` makes the daemon ask, and its times. */
void bench_note_plan(struct bench *bench, const char *dsn, void (*read)(void *ctx), void *ctx,
                     int lines_max);

#endif
