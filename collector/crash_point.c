#include "collector/crash_point.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const crash_point_names[CRASH_POINTS] = {
    [CRASH_NOWHERE] = "nowhere",
    [CRASH_COMMIT_TAKEN] = "commit_taken",
    [CRASH_COMMIT_PREPARED] = "commit_prepared",
    [CRASH_COMMIT_BEGUN] = "commit_begun",
    [CRASH_COMMIT_WRITTEN] = "commit_written",
    [CRASH_COMMIT_SENT] = "commit_sent",
    [CRASH_COMMIT_DONE] = "commit_done",
    [CRASH_COMMIT_ANSWERED] = "commit_answered",
    [CRASH_SPOOL_TAKEN] = "spool_taken",
    [CRASH_SPOOL_CREATED] = "spool_created",
    [CRASH_SPOOL_HALF] = "spool_half",
    [CRASH_SPOOL_WRITTEN] = "spool_written",
    [CRASH_SPOOL_SYNCED] = "spool_synced",
    [CRASH_SPOOL_LISTED] = "spool_listed",
    [CRASH_SPOOL_ANSWERED] = "spool_answered",
    [CRASH_REPLAY_TAKEN] = "replay_taken",
    [CRASH_REPLAY_COMMITTED] = "replay_committed",
    [CRASH_REPLAY_DROPPED] = "replay_dropped",
    [CRASH_REPLAY_REJOINED] = "replay_rejoined",
};

_Atomic int crash_point_armed;
static _Atomic long crash_point_left; /* times until it dies */

const char *crash_point_name(enum crash_point point)
{
    return crash_point_names[point];
}

int crash_point_arm(const char *text, struct err *err)
{
    size_t len = text ? strcspn(text, ":") : 0;
    long times = text && text[len] ? strtol(text + len + 1, NULL, 10) : 1;

    if (!text || !*text)
        return 0;
    for (int point = CRASH_NOWHERE + 1; point < CRASH_POINTS; point++) {
        if (strlen(crash_point_names[point]) != len ||
            memcmp(crash_point_names[point], text, len) != 0 || times < 1)
            continue;
        crash_point_left = times;
        crash_point_armed = point;
        return 0;
    }
    return err_set(err, ERR_FATAL, "PLUMBLINE_FAULT is for tests: no point of the name \"%.64s\"",
                   text);
}

void crash_point_reach(void)
{
    if (atomic_fetch_sub(&crash_point_left, 1) != 1)
        return;
    (void)kill(getpid(), SIGKILL);
    for (;;) /* it is on its way to another thread */
        (void)pause();
}
