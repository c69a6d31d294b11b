/* The spool on a disk that fails: what is refused is not there later, and where nobody can promise
 * that, nobody says it. */
#include "collector/spool.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/harness/temp.h"

Suite *spool_suite(void);

/* ---- a disk that fails: these stand in front of libc's, for all of the program */

enum { SYNCED_MAX = 16 };

static int syncs_to_fail;         /* fdatasync */
static bool is_cutting_failing;   /* ftruncate */
static bool is_unlinking_failing; /* unlinkat */
static ino_t synced[SYNCED_MAX];  /* by fsync */
static size_t synced_len;
static fsblkcnt_t disk_bytes, free_bytes; /* fstatvfs */

int fdatasync(int fd)
{
    if (syncs_to_fail > 0) {
        syncs_to_fail--;
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

int ftruncate(int fd, off_t len)
{
    if (is_cutting_failing) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_ftruncate, fd, len);
}

int unlinkat(int fd, const char *name, int flags)
{
    if (is_unlinking_failing) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_unlinkat, fd, name, flags);
}

int fsync(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && synced_len < SYNCED_MAX)
        synced[synced_len++] = st.st_ino;
    return (int)syscall(SYS_fsync, fd);
}

int fstatvfs(int fd, struct statvfs *disk)
{
    (void)fd;
    *disk = (struct statvfs){ .f_frsize = 1, .f_blocks = disk_bytes, .f_bavail = free_bytes };
    return 0;
}

/* ---- */

static struct stats *stats;

static void stats_start(void)
{
    stats = stats_new();
    syncs_to_fail = 0;
    is_cutting_failing = is_unlinking_failing = false;
    synced_len = 0;
    disk_bytes = free_bytes = (fsblkcnt_t)1 << 40;
}

static void stats_stop(void)
{
    stats_free(stats);
}

static struct spool *spool_at(const char *dir)
{
    const struct spool_setup setup = { .dir = dir,
                                       .bytes_max = 1 << 20,
                                       .group_events_max = 100,
                                       .group_bytes_max = 1 << 16,
                                       .stats = stats };
    struct err err = { 0 };
    struct spool *spool = spool_open(&setup, &err);

    ck_assert_msg(spool != NULL, "%s", err.text);
    return spool;
}

/* A request of one event with so many bytes. ERR_NONE: it is in. */
static enum err_kind spool_put_large(struct spool *spool, size_t bytes, struct err *err)
{
    AUTO(mem_free) char *metrics = xasprintf("{%*s", (int)bytes - 1, "}");
    struct event event = { .kind = EVENT_TRACK_METRICS,
                           .deployment_crn = SPAN_LITERAL("d"),
                           .metrics = { metrics, bytes } };
    struct submission submission = { .list = { .events = &event, .len = 1 } };

    submission.list.received[EVENT_TRACK_METRICS] = 1;
    if (spool_append(spool, &submission, NULL, 0, err) == 0)
        return ERR_NONE;
    ck_assert_int_ne(err->kind, ERR_NONE);
    return err->kind;
}

static enum err_kind spool_put_or(struct spool *spool, struct err *err)
{
    return spool_put_large(spool, 2, err);
}

static enum err_kind spool_put(struct spool *spool)
{
    return spool_put_or(spool, &(struct err){ 0 });
}

/* All that the next daemon takes out of it. */
static uint32_t spool_drain(const char *dir)
{
    AUTO(spool_free) struct spool *spool = spool_at(dir);
    struct spool_group *group;
    struct err err = { 0 };
    uint32_t events = 0;
    bool is_last;

    while ((group = spool_take(spool, &is_last, &err))) {
        events += group->events;
        spool_group_free(group);
        ck_assert_int_eq(spool_drop(spool, &err), 0);
    }
    ck_assert_int_eq(err.kind, ERR_NONE);
    return events;
}

static const struct {
    const char *name;
    uint32_t before; /* requests that were taken */
    int syncs_to_fail;
    bool is_cutting_failing, is_unlinking_failing;
    enum err_kind want;
} failures[] = {
    { "the first write of a file", 0, 1, false, false, ERR_RETRY },
    { "behind others", 2, 1, false, false, ERR_RETRY },
    { "and it can't be cut off", 2, 1, true, false, ERR_FATAL },
    { "and the cut is not on disk", 2, 2, false, false, ERR_FATAL },
    { "a new file is not cut, but gone", 0, 1, true, false, ERR_RETRY },
    { "a new file is not gone, but empty", 0, 1, false, true, ERR_RETRY },
    { "a new file stays", 0, 1, true, true, ERR_FATAL },
    { "a new file stays, perhaps", 0, 2, false, true, ERR_FATAL },
};

/* What is refused is not there, what is taken is, and what is taken after it as well. */
START_TEST(sync_fails)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/spool", dir);
    AUTO(spool_free) struct spool *spool = spool_at(path);
    uint32_t want = failures[_i].before + 1, found;
    enum err_kind kind;

    for (uint32_t i = 0; i < failures[_i].before; i++)
        ck_assert_int_eq(spool_put(spool), ERR_NONE);
    syncs_to_fail = failures[_i].syncs_to_fail;
    is_cutting_failing = failures[_i].is_cutting_failing;
    is_unlinking_failing = failures[_i].is_unlinking_failing;
    kind = spool_put(spool);
    ck_assert_msg(kind == failures[_i].want, "%s: %d", failures[_i].name, (int)kind);
    ck_assert(!spool_is_usable(spool));
    syncs_to_fail = 0;
    is_cutting_failing = is_unlinking_failing = false;
    ck_assert_int_eq(spool_put(spool), ERR_NONE);
    ck_assert(spool_is_usable(spool));
    spool_free(TAKE(spool));
    found = spool_drain(path);
    ck_assert_msg(found == want || (kind == ERR_FATAL && found == want + 1), "%s: %u of %u",
                  failures[_i].name, found, want);
}
END_TEST

/* Nobody appends any more, and the disk works again: that is noticed without. */
START_TEST(probed)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/spool", dir);
    AUTO(mem_free) char *probe = xasprintf("%s/probe", path);
    AUTO(spool_free) struct spool *spool = spool_at(path);

    syncs_to_fail = 1;
    ck_assert_int_eq(spool_put(spool), ERR_RETRY);
    syncs_to_fail = 1;
    spool_probe(spool);
    ck_assert(!spool_is_usable(spool));
    spool_probe(spool);
    ck_assert(spool_is_usable(spool));
    ck_assert_int_lt(access(probe, F_OK), 0);
    ck_assert_int_eq(spool_put(spool), ERR_NONE);
    spool_free(TAKE(spool));
    ck_assert_uint_eq(spool_drain(path), 1);
}
END_TEST

static void file_bytes_limit(rlim_t bytes)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* How large the only group is. */
static size_t group_bytes(const char *path)
{
    AUTO(mem_free) char *file = xasprintf("%s/0000000000000001.spool", path);
    struct stat st;

    ck_assert_int_eq(stat(file, &st), 0);
    return (size_t)st.st_size;
}

static const struct {
    const char *name;
    uint32_t before;      /* requests that were taken */
    bool is_undo_failing; /* what was written by half stays */
    enum err_kind want;
} tears[] = {
    { "the first of a file", 0, false, ERR_RETRY },
    { "behind others", 2, false, ERR_RETRY },
    { "the first of a file, and it stays", 0, true, ERR_FATAL },
    { "behind others, and it stays", 2, true, ERR_FATAL },
};

/* Writes of `limit` bytes and no more. Returns whether all of the request fitted. */
static bool tear(int which, size_t limit)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/spool", dir);
    AUTO(mem_free)
    char *want = xasprintf("spool %s/0000000000000001.spool: %s", path, strerror(EFBIG));
    AUTO(spool_free) struct spool *spool = spool_at(path);
    struct err err = { 0 };
    uint32_t held = tears[which].before + 1;
    enum err_kind kind;

    for (uint32_t i = 0; i < tears[which].before; i++)
        ck_assert_int_eq(spool_put(spool), ERR_NONE);
    limit += tears[which].before ? group_bytes(path) : 0;
    is_cutting_failing = is_unlinking_failing = tears[which].is_undo_failing;
    file_bytes_limit(limit);
    kind = spool_put_or(spool, &err);
    file_bytes_limit(RLIM_INFINITY);
    is_cutting_failing = is_unlinking_failing = false;
    if (kind != ERR_NONE) {
        ck_assert_msg(kind == tears[which].want && strcmp(err.text, want) == 0,
                      "%s, %zu bytes: kind %d, %s", tears[which].name, limit, (int)kind, err.text);
        ck_assert(!spool_is_usable(spool));
        ck_assert_int_eq(spool_put(spool), ERR_NONE);
    }
    ck_assert(spool_is_usable(spool));
    spool_free(TAKE(spool));
    ck_assert_msg(spool_drain(path) == held, "%s, %zu bytes", tears[which].name, limit);
    return kind == ERR_NONE;
}

/* The disk takes a few bytes of a request, any number of them, and no more. */
START_TEST(torn_at_every_byte)
{
    size_t limit = 0;

    (void)signal(SIGXFSZ, SIG_IGN);
    while (!tear(_i, limit))
        limit++;
    ck_assert_uint_gt(limit, 64);
}
END_TEST

static const struct {
    const char *name;
    fsblkcnt_t disk_bytes, free_bytes; /* a request of 100000 bytes failed */
    bool is_probed;
} spaces[] = {
    { "none", 1 << 30, 0, false },
    { "a block", 1 << 30, 4096, false },
    { "nearly enough", 1 << 30, 99999, false },
    { "enough, nothing to spare", 1 << 30, 101000, false },
    { "enough, too little to spare", 1 << 30, 100000 + (1 << 20), false },
    { "enough and to spare", 1 << 30, 101000 + (1 << 20), true },
    { "nobody knows", 0, 0, true },
};

/* Nothing is written to a disk that is full, and where it is not a single block. */
START_TEST(probe_leaves_space)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/spool", dir);
    AUTO(spool_free) struct spool *spool = spool_at(path);
    struct err err = { 0 };

    (void)signal(SIGXFSZ, SIG_IGN);
    file_bytes_limit(4096);
    ck_assert_int_eq(spool_put_large(spool, 100000, &err), ERR_RETRY);
    disk_bytes = spaces[_i].disk_bytes;
    free_bytes = spaces[_i].free_bytes;
    syncs_to_fail = 1;
    spool_probe(spool);
    ck_assert_msg(syncs_to_fail == !spaces[_i].is_probed, "%s", spaces[_i].name);
    syncs_to_fail = 0;
    spool_probe(spool);
    file_bytes_limit(RLIM_INFINITY);
    ck_assert_msg(spool_is_usable(spool) == spaces[_i].is_probed, "%s", spaces[_i].name);
}
END_TEST

static bool is_synced(const char *dir)
{
    struct stat st;

    ck_assert_int_eq(stat(dir, &st), 0);
    for (size_t i = 0; i < synced_len; i++) {
        if (synced[i] == st.st_ino)
            return true;
    }
    return false;
}

/* Each folder that was made stands in one that was synced; a file's, too. */
START_TEST(folders_stay)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *between = xasprintf("%s/var", dir);
    AUTO(mem_free) char *path = xasprintf("%s/spool", between);
    AUTO(spool_free) struct spool *spool = spool_at(path);

    ck_assert(is_synced(dir));
    ck_assert(is_synced(between));
    ck_assert(!is_synced(path));
    ck_assert_int_eq(spool_put(spool), ERR_NONE);
    ck_assert(is_synced(path));
}
END_TEST

/* The first of two groups is removed by somebody: the other one comes. */
START_TEST(lost_group)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/spool", dir);
    AUTO(mem_free) char *file = xasprintf("%s/0000000000000001.spool", path);
    AUTO(spool_group_free) struct spool_group *group = NULL;
    AUTO(spool_free) struct spool *spool = spool_at(path);
    struct err err = { 0 };
    bool is_last;

    ck_assert_int_eq(spool_put(spool), ERR_NONE);
    spool_group_free(spool_take(spool, &is_last, &err)); /* nothing is added to it any more */
    ck_assert_int_eq(spool_put(spool), ERR_NONE);
    ck_assert_int_eq(unlink(file), 0);
    ck_assert_ptr_null(spool_take(spool, &is_last, &err));
    ck_assert_int_eq(err.kind, ERR_INPUT);
    ck_assert(strstr(err.text, file) != NULL);
    err = (struct err){ 0 };
    ck_assert_int_eq(spool_drop(spool, &err), 0);
    group = spool_take(spool, &is_last, &err);
    ck_assert_msg(group != NULL, "%s", err.text);
    ck_assert_uint_eq(group->number, 2);
    ck_assert(is_last);
}
END_TEST

/* One that is too large for what is left does not keep others out. */
START_TEST(full_for_a_large_one)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/spool", dir);
    AUTO(mem_free)
    char *want = xasprintf("spool %s is full: spool_bytes_max is 1048576", path);
    AUTO(spool_free) struct spool *spool = spool_at(path);
    struct err err = { 0 };

    ck_assert_int_eq(spool_put_large(spool, 600000, &err), ERR_NONE);
    ck_assert_int_eq(spool_put_large(spool, 600000, &err), ERR_RETRY);
    ck_assert_str_eq(err.text, want);
    ck_assert(spool_is_usable(spool));
    ck_assert_int_eq(spool_put(spool), ERR_NONE);
    ck_assert_int_eq(spool_put_large(spool, 400000, &err), ERR_NONE);
    ck_assert(!spool_is_usable(spool));
    ck_assert_int_eq(spool_put(spool), ERR_NONE);
    ck_assert_int_eq(spool_drop(spool, &err), 0);
    ck_assert(spool_is_usable(spool));
}
END_TEST

/* Who wants no spool is told of what is in it, but not of what another daemon will replay. */
START_TEST(unused_is_empty)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *path = xasprintf("%s/spool", dir);
    AUTO(spool_free) struct spool *spool = NULL;
    AUTO(mem_free) char *want = NULL;
    struct err err = { 0 };

    ck_assert_int_eq(spool_check_unused(path, &err), 0); /* there is none */
    spool = spool_at(path);
    ck_assert_int_eq(spool_put(spool), ERR_NONE);
    ck_assert_int_eq(spool_check_unused(path, &err), 0);
    spool_free(TAKE(spool));
    ck_assert_int_eq(spool_check_unused(path, &err), -1);
    ck_assert_int_eq(err.kind, ERR_FATAL);
    want = xasprintf("spool %s holds events that were acknowledged (files: 1), and spool_bytes_max "
                     "is 0: start with a spool until plumbline_spool_groups is 0, or name another "
                     "folder with spool_dir if these are another daemon's",
                     path);
    ck_assert_str_eq(err.text, want);
    ck_assert_uint_eq(spool_drain(path), 1);
    ck_assert_int_eq(spool_check_unused(path, &(struct err){ 0 }), 0);
}
END_TEST

Suite *spool_suite(void)
{
    Suite *suite = suite_create("spool");
    TCase *tc = tcase_create("spool");

    tcase_add_checked_fixture(tc, stats_start, stats_stop);
    tcase_add_loop_test(tc, sync_fails, 0, (int)LENGTH(failures));
    tcase_add_test(tc, probed);
    tcase_add_loop_test(tc, torn_at_every_byte, 0, (int)LENGTH(tears));
    tcase_add_loop_test(tc, probe_leaves_space, 0, (int)LENGTH(spaces));
    tcase_add_test(tc, folders_stay);
    tcase_add_test(tc, lost_group);
    tcase_add_test(tc, full_for_a_large_one);
    tcase_add_test(tc, unused_is_empty);
    suite_add_tcase(suite, tc);
    return suite;
}
