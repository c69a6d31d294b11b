#include "collector/spooler.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "collector/crash_point.h"

enum { SPOOLER_IDLE_MS = 1000 }; /* then it looks whether a disk that failed works again */

struct spooler {
    const struct config *config; /* borrowed, as are the next */
    struct queue *queue;
    struct spool *spool;
    struct stats *stats;
    pthread_t thread;
};

static void spooler_refuse(struct spooler *spooler, const struct submission *submission)
{
    stats_add(spooler->stats, STAT_SPOOL_REFUSED, 1);
    stats_add(spooler->stats, STAT_REQUESTS_NOT_STORED, 1);
    for (int kind = 0; kind < EVENT_KINDS; kind++)
        stats_add_events(spooler->stats, FATE_NOT_STORED, (enum event_kind)kind,
                         submission->list.received[kind]);
}

/* Many requests, one fsync. */
static void spooler_append(struct spooler *spooler, struct submission *list)
{
    enum submission_outcome outcome = SUBMISSION_SPOOLED;
    struct submission *next;
    struct err err = { 0 };

    if (spool_append(spooler->spool, list, NULL, 0, &err) < 0) /* it logs when it begins to fail */
        outcome = err.kind == ERR_FATAL ? SUBMISSION_UNKNOWN : SUBMISSION_NOT_STORED;

    queue_divert_done(spooler->queue);
    for (; list; list = next) {
        next = list->next;
        list->outcome = outcome;
        if (outcome != SUBMISSION_SPOOLED)
            spooler_refuse(spooler, list);
        list->done(list); /* may free it */
    }
    crash_at(CRASH_SPOOL_ANSWERED);
}

static void *spooler_run(void *arg)
{
    struct spooler *spooler = arg;
    const struct config *config = spooler->config;

    while (!queue_is_closed(spooler->queue)) {
        struct submission *list =
            queue_take_aside(spooler->queue, (uint32_t)config->batch_events_max,
                             (size_t)config->batch_bytes_max, SPOOLER_IDLE_MS);

        if (list)
            spooler_append(spooler, list);
        else
            spool_probe(spooler->spool);
    }
    return NULL;
}

struct spooler *spooler_start(const struct config *config, struct queue *queue, struct spool *spool,
                              struct stats *stats)
{
    struct spooler *spooler = xcalloc(1, sizeof(*spooler));

    spooler->config = config;
    spooler->queue = queue;
    spooler->spool = spool;
    spooler->stats = stats;
    if (pthread_create(&spooler->thread, NULL, spooler_run, spooler) != 0) {
        log_error("event=thread_failed name=spooler");
        abort();
    }
    return spooler;
}

void spooler_join(struct spooler *spooler)
{
    if (!spooler)
        return;
    (void)pthread_join(spooler->thread, NULL);
    free(spooler);
}
