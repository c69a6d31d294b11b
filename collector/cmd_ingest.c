#include "cmd_internal.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "ingest_internal.h"
#include "options_internal.h"

/* clang-format off */
static const struct option_row ingest_rows[] = {
    { "url", 0, OPTION_TEXT, offsetof(struct ingest_options, url), 0, 0, "URL",
      "the server; else $PLUMBLINE_URL, else " CLIENT_URL_DEFAULT },
    CLIENT_TLS_ROWS(struct ingest_options),
    { "batch-events", 0, OPTION_COUNT, offsetof(struct ingest_options, batch_events), 1, 100000,
      "N", "events in a request (500)" },
    { "batch-bytes", 0, OPTION_BYTES, offsetof(struct ingest_options, batch_bytes), 1024, 1 << 30,
      "BYTES", "bytes in a request, unless one event alone has more (1MiB)" },
    { "gzip", 0, OPTION_FLAG, offsetof(struct ingest_options, gzip), 0, 0, NULL,
      "compress the requests" },
    { "retry-for", 0, OPTION_MS, offsetof(struct ingest_options, retry_for_ms), 0, INT64_MAX,
      "TIME", "how long to try again while the server is away or busy (5m)" },
    { "retry-unsure", 0, OPTION_FLAG, offsetof(struct ingest_options, retry_unsure), 0, 0, NULL,
      "send a batch again even when it may have been stored and has events without an identity" },
    { 0 },
};
/* clang-format on */

static const struct command_line ingest_line = {
    .name = "ingest",
    .operands = "FILE...",
    .summary = "Sends files of newline-delimited JSON, in order; - is standard input.",
    .notes = "A line is an event as POST /v1/events takes it, or a row without \"event\": with\n"
             "predictionUuid and a start it is a prediction, with predictionUuid alone a label,\n"
             "with a start alone an aggregate. Fails when an event was rejected.",
    .rows = ingest_rows,
    .operands_min = 1,
    .operands_max = INT_MAX,
};

static int ingest_run(struct ingest *ingest, char **files, struct err *err)
{
    for (; *files; files++) {
        if (ingest_file(ingest, *files, err) < 0)
            return -1;
    }
    return ingest_finish(ingest, err);
}

int cmd_ingest(int argc, char **argv)
{
    struct ingest_options options = {
        .batch_events = 500,
        .batch_bytes = 1 << 20,
        .retry_for_ms = 300000,
    };
    AUTO(ingest_free) struct ingest *ingest = NULL;
    struct client *client;
    struct err err = { 0 };
    int code, rc, first = options_begin(&ingest_line, argc, argv, &options, &code);

    if (first < 0)
        return code;
    client = client_open(options.url, &options.tls, &err);
    if (!client) {
        (void)cmd_fail("ingest", &err);
        return CMD_USAGE;
    }
    (void)signal(SIGPIPE, SIG_IGN); /* a lost connection is an error like any other */
    ingest = ingest_new(&options, client, stderr, isatty(STDERR_FILENO) == 1);
    rc = ingest_run(ingest, argv + first, &err);
    ingest_summary(ingest);
    if (rc < 0)
        return cmd_fail("ingest", &err);
    return ingest_counts(ingest).rejected ? CMD_FAILED : CMD_DONE;
}
