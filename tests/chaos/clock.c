/* Preloaded into a daemon (LD_PRELOAD) so that a test can step its wall clock: the file named by
 * CHAOS_CLOCK holds the milliseconds by which it is wrong, as an int64_t. CLOCK_MONOTONIC stays
 * right, as it does when an operator or NTP sets the time. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const _Atomic int64_t *step_ms; /* NULL: no file, no step */

__attribute__((constructor)) static void clock_map(void)
{
    const char *path = getenv("CHAOS_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map;

    if (fd < 0)
        return;
    map = mmap(NULL, sizeof(*step_ms), PROT_READ, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (map != MAP_FAILED)
        step_ms = map;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    int rc = (int)syscall(SYS_clock_gettime, id, now); /* libc's own name is ours here */

    if (rc == 0 && step_ms && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t ms = *step_ms;

        now->tv_sec += ms / 1000;
        now->tv_nsec += ms % 1000 * 1000000;
        if (now->tv_nsec >= 1000000000 || now->tv_nsec < 0) {
            now->tv_sec += now->tv_nsec < 0 ? -1 : 1;
            now->tv_nsec += now->tv_nsec < 0 ? 1000000000 : -1000000000;
        }
    }
    return rc;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec ts;

    (void)zone; /* obsolete; nobody here gives one */
    if (clock_gettime(CLOCK_REALTIME, &ts) < 0)
        return -1;
    *now = (struct timeval){ .tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000 };
    return 0;
}

time_t time(time_t *out)
{
    struct timespec ts;

    if (clock_gettime(CLOCK_REALTIME, &ts) < 0)
        return (time_t)-1;
    if (out)
        *out = ts.tv_sec;
    return ts.tv_sec;
}
