/* main() of a test binary: runs every suite, or those named on the command line, each test in a
 * process of its own. The last line is `N passed, N failed, N skipped` (suites), or these numbers
 * go to the file named by TEST_COUNTS. Exit code 1 on a failure, and when there was nothing to run.
 *
 * With TEST_SHARE=2/3 it runs the second of each three suites it would run, so that several
 * processes share the work. With TEST_FORK=suite a whole suite shares one process, because the leak
 * sanitizer takes a quarter of a second at each exit; what it finds, and a crash, then count as one
 * failure of the suite. */
#include "runner.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "broker.h"
#include "pg.h"
#include "temp.h"
#include "wait.h"

enum { SUITE_SECONDS_MAX = 300 };

static bool runner_wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(name, argv[i]) == 0)
            return true;
    }
    return argc == 1;
}

/* Whether the suite with this number, from 0, is in our share. */
static bool runner_shares(unsigned number)
{
    const char *text = getenv("TEST_SHARE");
    unsigned share, shares;

    return !text || sscanf(text, "%u/%u", &share, &shares) != 2 || !shares ||
           number % shares + 1 == share;
}

bool runner_short(void)
{
    return getenv("TEST_SHORT") != NULL;
}

struct counts {
    int run, failed;
    int skipped; /* no padding: it goes through a pipe as it is */
};

static struct counts runner_suite_run(const struct runner_suite *suite, enum fork_status forking)
{
    Suite *made = suite->make();
    SRunner *runner;
    struct counts counts = { 0 };

    if (!made)
        return (struct counts){ .skipped = true };
    runner = srunner_create(made);

    srunner_set_fork_status(runner, forking);
    srunner_run_all(runner, CK_SILENT);
    counts.run = srunner_ntests_run(runner);
    counts.failed = srunner_ntests_failed(runner);
    if (counts.failed)
        srunner_print(runner, CK_NORMAL);
    srunner_free(runner);
    return counts;
}

/* The suite in a process of its own, whose end counts as well. */
static struct counts runner_suite_fork(const struct runner_suite *suite)
{
    struct counts counts = { 0 };
    int fds[2], status = 0;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0)
        return (struct counts){ .run = 1, .failed = 1 };
    if (pid == 0) {
        (void)alarm(SUITE_SECONDS_MAX);
        counts = runner_suite_run(suite, CK_NOFORK);
        exit(write(fds[1], &counts, sizeof(counts)) == sizeof(counts) ? EXIT_SUCCESS
                                                                      : EXIT_FAILURE);
    }
    (void)close(fds[1]);
    if (read(fds[0], &counts, sizeof(counts)) != sizeof(counts))
        counts = (struct counts){ 0 };
    (void)close(fds[0]);
    (void)waitpid(pid, &status, 0);
    if (status) {
        printf("suite %s: its process ended with status %d\n", suite->name, status);
        counts.run++;
        counts.failed++;
    }
    return counts;
}

static struct counts runner_run(const struct runner_suite *suite)
{
    const char *how = getenv("TEST_FORK");
    int64_t start_ms = clock_mono_ms();
    struct counts counts;

    pg_log_mark();
    (void)fflush(stdout);
    if (how && strcmp(how, "suite") == 0)
        counts = runner_suite_fork(suite);
    else
        counts = runner_suite_run(suite, CK_FORK);
    if (counts.skipped)
        printf("suite %s: skipped, what it needs is not there\n", suite->name);
    else
        printf("suite %s: %d tests, %.1f s\n", suite->name, counts.run,
               (double)(clock_mono_ms() - start_ms) / 1000);
    if (counts.failed) {
        pg_log_print();
        broker_log_print();
    }
    temp_print_logs();
    (void)fflush(stdout);
    return counts;
}

static void runner_report(int passed, int failed, int skipped)
{
    const char *path = getenv("TEST_COUNTS");
    FILE *file = path ? fopen(path, "w") : NULL;

    if (file) {
        (void)fprintf(file, "%d %d %d\n", passed, failed, skipped);
        (void)fclose(file);
    } else {
        printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    }
}

int main(int argc, char **argv)
{
    int run = 0, failed = 0, skipped = 0;
    unsigned wanted = 0;

    /* check's own 4 seconds are for units. */
    (void)setenv("CK_DEFAULT_TIMEOUT", "120", 0);
    (void)setenv("CK_TIMEOUT_MULTIPLIER", IS_SANITIZED ? "4" : "1", 0);
    temp_start(TEMP_IN_MEMORY);
    for (const struct runner_suite *suite = runner_suites; suite->name; suite++) {
        struct counts counts = { 0 };

        if (runner_wanted(suite->name, argc, argv) && runner_shares(wanted++))
            counts = runner_run(suite);
        run += counts.run;
        failed += counts.failed;
        skipped += counts.skipped;
    }
    broker_shared_stop();
    pg_shared_stop();
    temp_stop();
    runner_report(run - failed, failed, skipped);
    return failed || (!run && !skipped) ? EXIT_FAILURE : EXIT_SUCCESS;
}
