#include "collector/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "collector/balance.h"
#include "collector/crash_point.h"
#include "spool_internal.h"
#include "spool_segment_internal.h"

enum {
    SPOOL_NUMBER_DIGITS = 16,
    SPOOL_LOCK_BYTES = 32,
    SPOOL_SCAN_BYTES = 4096,
    SPOOL_ROOM_BYTES = 128 * 1024, /* an event of the largest size by default */
    SPOOL_PROBE_BYTES = 4096,
    SPOOL_SPARE_BYTES = 1 << 20
};

/* A group on disk. */
struct spool_file {
    struct spool_file *next;
    uint64_t number;
    size_t bytes; /* what is whole; the file may have more */
    struct spool_id id;
    uint64_t received[EVENT_KINDS], rejected[EVENT_KINDS]; /* the difference is events */
    uint64_t events;
};

struct spool {
    struct spool_setup setup;
    char *dir; /* owned */
    int dir_fd;
    int lock_fd;

    pthread_mutex_t io; /* held over every append, and while a group is taken or dropped */
    int open_fd;        /* guarded by io: of the newest group; -1: it takes no more */
    struct spool_file *open_file; /* guarded by io: that group */
    uint64_t next;                /* guarded by io: number of the next file */
    bool is_full;                 /* guarded by io: said so, and nothing was dropped since */

    pthread_mutex_t lock;     /* short */
    struct spool_file *first; /* guarded by lock, as is all behind; the oldest */
    struct spool_file **last;
    uint64_t files;
    uint64_t bytes;
    uint64_t events;
    uint64_t drops;
    bool is_failing;     /* the last append failed, */
    size_t failed_bytes; /* of so many */
};

void spool_file_name(uint64_t number, char name[SPOOL_NAME_BYTES])
{
    (void)snprintf(name, SPOOL_NAME_BYTES, "%016" PRIx64 ".spool", number);
}

static bool spool_file_number(const char *name, uint64_t *number)
{
    char again[SPOOL_NAME_BYTES];

    *number = strtoull(name, NULL, 16);
    spool_file_name(*number, again);
    return strcmp(name, again) == 0;
}

static void spool_lock(struct spool *spool)
{
    (void)pthread_mutex_lock(&spool->lock);
}

static void spool_unlock(struct spool *spool)
{
    (void)pthread_mutex_unlock(&spool->lock);
}

/* Under the lock. */
static void spool_note(struct spool *spool)
{
    struct stats *stats = spool->setup.stats;

    stats_set(stats, STAT_SPOOL_BYTES, (int64_t)spool->bytes);
    stats_set(stats, STAT_SPOOL_GROUPS, (int64_t)spool->files);
    stats_set(stats, STAT_SPOOL_EVENTS, (int64_t)spool->events);
}

/* --------------------------------------------------------------------- what an earlier one left */

static void spool_file_add_chunk(struct spool_file *file, const struct spool_chunk *chunk)
{
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        file->received[kind] += chunk->received[kind];
        file->rejected[kind] += chunk->rejected[kind];
        file->events += chunk->received[kind] - chunk->rejected[kind];
    }
}

/* From head to head. false: something is not as it should be. */
static bool spool_scan_heads(struct spool_file *file, int fd, size_t size)
{
    size_t at = SPOOL_HEAD_BYTES;
    char head[SPOOL_CHUNK_BYTES];
    struct spool_chunk chunk;

    for (; at < size; at += SPOOL_CHUNK_BYTES + chunk.bytes) {
        if (pread(fd, head, sizeof(head), (off_t)at) != (ssize_t)sizeof(head) ||
            !spool_chunk_read((struct span){ head, sizeof(head) }, &chunk) ||
            chunk.bytes > size - at - SPOOL_CHUNK_BYTES)
            return false;
        spool_file_add_chunk(file, &chunk);
    }
    file->bytes = at;
    return at > SPOOL_HEAD_BYTES;
}

static char *spool_file_read(int fd, size_t *len, struct err *err)
{
    AUTO(mem_free) char *image = xmalloc(*len ? *len : 1);
    size_t at = 0;

    while (at < *len) {
        ssize_t n = pread(fd, image + at, *len - at, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            (void)err_set(err, ERR_RETRY, "%s", strerror(errno));
            return NULL;
        }
        if (n == 0)
            break;
        at += (size_t)n;
    }
    *len = at;
    return TAKE(image);
}

/* The whole of it, and what was never finished is cut off. */
static int spool_scan_all(struct spool_file *file, int fd, size_t size, struct err *err)
{
    AUTO(mem_free) char *image = spool_file_read(fd, &size, err);
    AUTO(spool_segment_done) struct spool_segment segment = { 0 };
    uint64_t found;

    if (!image || spool_segment_read(&segment, (struct span){ image, size }, err) < 0)
        return -1;
    *file = (struct spool_file){ .number = file->number, .id = segment.id };
    file->bytes = segment.whole_bytes;
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        file->received[kind] = segment.received[kind];
        file->rejected[kind] = segment.rejected[kind];
        file->events += segment.received[kind] - segment.rejected[kind];
    }
    found = (uint64_t)segment.records_len + segment.damages_len;
    if (found > file->events) { /* a chunk head is lost, their kinds are known when they are read */
        file->received[EVENT_UNKNOWN] += found - file->events;
        file->events = found;
    }
    if (file->bytes < size && (ftruncate(fd, (off_t)file->bytes) < 0 || fsync(fd) < 0))
        return err_set(err, ERR_FATAL, "%s", strerror(errno));
    return 0;
}

static bool spool_file_is_empty(const struct spool_file *file)
{
    uint64_t received = 0;

    for (int kind = 0; kind < EVENT_KINDS; kind++)
        received += file->received[kind];
    return received == 0 && file->events == 0;
}

static int spool_scan_file(struct spool *spool, struct spool_file *file, struct err *err)
{
    char name[SPOOL_NAME_BYTES], head[SPOOL_SCAN_BYTES];
    struct stat st;
    ssize_t len;
    int fd, rc;

    spool_file_name(file->number, name);
    fd = openat(spool->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0) {
        (void)err_set(err, ERR_FATAL, "spool %s/%s: %s", spool->dir, name, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    len = pread(fd, head, sizeof(head), 0);
    rc = spool_head_read((struct span){ head, len > 0 ? (size_t)len : 0 }, &file->id, err);
    if (rc >= 0 && !(rc > 0 && spool_scan_heads(file, fd, (size_t)st.st_size)))
        rc = spool_scan_all(file, fd, (size_t)st.st_size, err);
    if (rc >= 0 && (off_t)file->bytes < st.st_size)
        log_info("event=spool_tail_cut file=%s bytes=%lld why=\"it was never acknowledged\"", name,
                 (long long)st.st_size - (long long)file->bytes);
    (void)close(fd);
    if (rc >= 0)
        return 0;
    err->kind = ERR_FATAL;
    return err_prefix(err, "spool %s/%s: ", spool->dir, name);
}

static int spool_compare(const void *a, const void *b)
{
    uint64_t left = (*(struct spool_file *const *)a)->number,
             right = (*(struct spool_file *const *)b)->number;

    return (left > right) - (left < right);
}

static void spool_file_append(struct spool *spool, struct spool_file *file)
{
    file->next = NULL;
    *spool->last = file;
    spool->last = &file->next;
    spool->files++;
    spool->bytes += file->bytes;
    spool->events += file->events;
}

static int spool_scan_files(struct spool *spool, struct spool_file **files, size_t len,
                            struct err *err)
{
    int rc = 0;

    if (len)
        qsort(files, len, sizeof(struct spool_file *), spool_compare);
    for (size_t i = 0; i < len; i++) {
        char name[SPOOL_NAME_BYTES];

        spool_file_name(files[i]->number, name);
        spool->next = files[i]->number + 1;
        if (rc == 0)
            rc = spool_scan_file(spool, files[i], err);
        if (rc == 0 && !spool_file_is_empty(files[i])) {
            spool_file_append(spool, files[i]);
            continue;
        }
        if (rc == 0 && unlinkat(spool->dir_fd, name, 0) < 0)
            rc = err_set(err, ERR_FATAL, "spool %s/%s: %s", spool->dir, name, strerror(errno));
        free(files[i]);
    }
    return rc;
}

static int spool_scan(struct spool *spool, struct err *err)
{
    AUTO(mem_free) struct spool_file **files = NULL;
    DIR *dir = opendir(spool->dir);
    size_t len = 0, cap = 0;
    uint64_t number;

    if (!dir)
        return err_set(err, ERR_FATAL, "spool %s: %s", spool->dir, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(dir));) {
        if (!spool_file_number(entry->d_name, &number))
            continue;
        if (len == cap) {
            cap = cap ? 2 * cap : 64;
            files = xreallocarray(files, cap, sizeof(*files));
        }
        files[len] = xcalloc(1, sizeof(**files));
        files[len++]->number = number;
    }
    (void)closedir(dir);
    return spool_scan_files(spool, files, len, err);
}

/* ----------------------------------------------------------------------------------- the folder */

/* Makes the folder if it is missing, so that it is still there after a power failure. */
static int spool_dir_make_one(const char *path, mode_t mode)
{
    AUTO(mem_free) char *parent = xstrdup(path);
    int fd, rc;

    if (mkdir(path, mode) < 0)
        return errno == EEXIST ? 0 : -1;
    fd = open(dirname(parent), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    rc = fsync(fd);
    (void)close(fd);
    return rc;
}

/* Every folder on the way to it that is missing, then itself for its owner alone. */
static int spool_dir_make(const char *dir, struct err *err)
{
    AUTO(mem_free) char *path = xstrdup(dir);

    for (char *p = path + 1; *path && *p; p++) {
        int rc;

        if (*p != '/')
            continue;
        *p = '\0';
        rc = spool_dir_make_one(path, 0755);
        *p = '/';
        if (rc < 0)
            break;
    }
    if (spool_dir_make_one(path, 0700) < 0)
        return err_set(err, ERR_FATAL,
                       "spool %s: %s; name a folder with spool_dir, or do without by "
                       "spool_bytes_max: 0",
                       dir, strerror(errno));
    return 0;
}

static int spool_dir_lock(struct spool *spool, struct err *err)
{
    char text[SPOOL_LOCK_BYTES] = "";
    int len;

    spool->lock_fd = openat(spool->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (spool->lock_fd < 0)
        return err_set(err, ERR_FATAL, "spool %s/lock: %s", spool->dir, strerror(errno));
    if (flock(spool->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (pread(spool->lock_fd, text, sizeof(text) - 1, 0) < 0)
            text[0] = '\0';
        text[strspn(text, "0123456789")] = '\0';
        return err_set(err, ERR_FATAL,
                       "spool %s is in use by another daemon%s%s: name another folder with "
                       "spool_dir",
                       spool->dir, *text ? ", process " : "", text);
    }
    len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(spool->lock_fd, 0) < 0 || pwrite(spool->lock_fd, text, (size_t)len, 0) != len)
        return err_set(err, ERR_FATAL, "spool %s/lock: %s", spool->dir, strerror(errno));
    return 0;
}

static int spool_dir_open(struct spool *spool, struct err *err)
{
    struct stat st;

    if (spool_dir_make(spool->dir, err) < 0)
        return -1;
    spool->dir_fd = open(spool->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->dir_fd < 0 || fstat(spool->dir_fd, &st) < 0)
        return err_set(err, ERR_FATAL, "spool %s: %s", spool->dir, strerror(errno));
    if (st.st_uid != geteuid() || (st.st_mode & 077))
        return err_set(err, ERR_FATAL,
                       "spool %s is not a folder of mode 0700 of the user that runs plumbline: "
                       "what was acknowledged stands there",
                       spool->dir);
    return spool_dir_lock(spool, err);
}

struct spool *spool_open(const struct spool_setup *setup, struct err *err)
{
    AUTO(spool_free) struct spool *spool = xcalloc(1, sizeof(*spool));

    spool->setup = *setup;
    spool->dir = xstrdup(setup->dir);
    spool->dir_fd = spool->lock_fd = spool->open_fd = -1;
    spool->next = 1;
    spool->last = &spool->first;
    (void)pthread_mutex_init(&spool->io, NULL);
    (void)pthread_mutex_init(&spool->lock, NULL);
    if (spool_dir_open(spool, err) < 0 || spool_scan(spool, err) < 0)
        return NULL;
    if (spool->first)
        log_info("event=spool_found groups=%" PRIu64 " bytes=%" PRIu64 " action=replay",
                 spool->files, spool->bytes);
    spool_measure(spool, clock_now_ms());
    return TAKE(spool);
}

int spool_check_unused(const char *dir, struct err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int lock_fd = fd < 0 ? -1 : openat(fd, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bool is_anothers = lock_fd >= 0 && flock(lock_fd, LOCK_SH | LOCK_NB) < 0;
    DIR *entries = fd < 0 || is_anothers ? NULL : fdopendir(fd);
    uint64_t groups = 0, number;

    for (const struct dirent *entry; entries && (entry = readdir(entries));)
        groups += spool_file_number(entry->d_name, &number);
    if (entries)
        (void)closedir(entries);
    else if (fd >= 0)
        (void)close(fd);
    if (lock_fd >= 0)
        (void)close(lock_fd);
    if (!groups)
        return 0;
    return err_set(
        err, ERR_FATAL,
        "spool %s holds events that were acknowledged (files: %" PRIu64
        "), and spool_bytes_max is 0: start with a spool until "
        "plumbline_spool_groups is 0, or name another folder with spool_dir if these are "
        "another daemon's",
        dir, groups);
}

static void spool_close_newest(struct spool *spool)
{
    if (spool->open_fd >= 0)
        (void)close(spool->open_fd);
    spool->open_fd = -1;
}

void spool_free(struct spool *spool)
{
    struct spool_file *next;

    if (!spool)
        return;
    spool_close_newest(spool);
    for (struct spool_file *file = spool->first; file; file = next) {
        next = file->next;
        free(file);
    }
    if (spool->lock_fd >= 0)
        (void)close(spool->lock_fd);
    if (spool->dir_fd >= 0)
        (void)close(spool->dir_fd);
    (void)pthread_mutex_destroy(&spool->io);
    (void)pthread_mutex_destroy(&spool->lock);
    free(spool->dir);
    free(spool);
}

bool spool_is_empty(struct spool *spool)
{
    bool is_empty;

    spool_lock(spool);
    is_empty = !spool->first;
    spool_unlock(spool);
    return is_empty;
}

bool spool_is_usable(struct spool *spool)
{
    int64_t half = spool->setup.bytes_max / 2;
    int64_t room = half < SPOOL_ROOM_BYTES ? half : SPOOL_ROOM_BYTES;
    bool is_usable;

    spool_lock(spool);
    is_usable = !spool->is_failing && (int64_t)spool->bytes <= spool->setup.bytes_max - room;
    spool_unlock(spool);
    return is_usable;
}

/* ------------------------------------------------------------------------------------ appending */

/* One chunk, or a whole new segment with it, on its way to disk. Under io. */
struct spool_write {
    struct spool *spool;
    struct buf bytes;
    struct spool_chunk chunk;
    struct spool_file *file; /* the newest; NULL: a new one is made */
    size_t at;               /* in the file */
    uint64_t number;
};

static void spool_write_chunk(struct spool_write *write, const struct submission *list)
{
    size_t place = spool_chunk_begin(&write->bytes);
    int64_t now_ms = clock_now_ms(), now_mono_ms = clock_mono_ms();

    for (const struct submission *s = list; s; s = s->next) {
        for (uint32_t i = 0; i < s->list.len; i++)
            spool_record_write(&write->bytes, now_ms - (now_mono_ms - s->came_mono_ms),
                               &s->list.events[i]);
        for (int kind = 0; kind < EVENT_KINDS; kind++) {
            write->chunk.received[kind] += s->list.received[kind];
            write->chunk.rejected[kind] += s->list.rejected[kind];
        }
        write->chunk.records += s->list.len;
    }
    spool_chunk_end(&write->bytes, place, &write->chunk);
}

/* Whether the newest group takes the list. */
static bool spool_write_fits(const struct spool_write *write, const struct submission *list)
{
    const struct spool_setup *setup = &write->spool->setup;
    const struct spool_file *file = write->file;
    size_t bytes = 0, events = 0;

    for (const struct submission *s = list; s; s = s->next) {
        bytes += s->bytes;
        events += s->list.len;
    }
    return (int64_t)(file->bytes + bytes) <= setup->group_bytes_max &&
           (int64_t)(file->events + events) <= setup->group_events_max;
}

static int spool_write_all(int fd, const char *data, size_t len, size_t at)
{
    while (len) {
        ssize_t n = pwrite(fd, data, len, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        data += n;
        at += (size_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int spool_write_sync(struct spool_write *write, int fd)
{
    struct stats *stats = write->spool->setup.stats;
    int64_t begin_us = clock_mono_us();
    int rc = fdatasync(fd);

    stats_add(stats, STAT_SPOOL_SYNCS, 1);
    stats_add(stats, STAT_SPOOL_SYNC_US, clock_mono_us() - begin_us);
    return rc;
}

static int spool_write_bytes(struct spool_write *write, int fd)
{
    const struct buf *bytes = &write->bytes;

    if (crash_is_armed(CRASH_SPOOL_HALF)) {
        (void)spool_write_all(fd, bytes->data, bytes->len / 2, write->at);
        crash_at(CRASH_SPOOL_HALF);
    }
    if (spool_write_all(fd, bytes->data, bytes->len, write->at) < 0)
        return -1;
    crash_at(CRASH_SPOOL_WRITTEN);
    if (spool_write_sync(write, fd) < 0)
        return -1;
    crash_at(CRASH_SPOOL_SYNCED);
    return 0;
}

/* As if it had never been tried. -1: nobody knows what of it will be on the disk; nothing is added
 * behind it. */
static int spool_write_undo(struct spool_write *write, int fd)
{
    char name[SPOOL_NAME_BYTES];
    bool is_cut = ftruncate(fd, (off_t)write->at) == 0 && fdatasync(fd) == 0;

    if (write->file) {
        if (!is_cut)
            spool_close_newest(write->spool);
        return is_cut ? 0 : -1;
    }
    spool_file_name(write->number, name);
    (void)close(fd);
    if (unlinkat(write->spool->dir_fd, name, 0) < 0)
        log_error("event=spool_undo_failed file=%s errno=%d", name, errno);
    else if (fsync(write->spool->dir_fd) == 0)
        return 0;
    return is_cut ? 0 : -1;
}

static void spool_write_note(struct spool_write *write, int fd)
{
    struct spool *spool = write->spool;
    bool is_new = !write->file;

    if (is_new) {
        write->file = xcalloc(1, sizeof(*write->file));
        write->file->number = write->number;
        write->file->id = write->chunk.id;
    }
    spool_lock(spool);
    if (is_new)
        spool_file_append(spool, write->file);
    spool->events -= write->file->events;
    spool_file_add_chunk(write->file, &write->chunk);
    spool->events += write->file->events;
    write->file->bytes += write->bytes.len;
    spool->bytes += write->bytes.len;
    spool->is_failing = false;
    spool_note(spool);
    spool_unlock(spool);
    spool->open_fd = fd;
    spool->open_file = write->file;
    stats_add(spool->setup.stats, STAT_SPOOL_APPENDED, write->chunk.records);
}

/* That there is no room is logged when it begins. */
static int spool_write_check_room(const struct spool_write *write, struct err *err)
{
    struct spool *spool = write->spool;

    if ((int64_t)(spool->bytes + write->bytes.len) <= spool->setup.bytes_max)
        return 0;
    (void)err_set(err, ERR_RETRY, "spool %s is full: spool_bytes_max is %lld", spool->dir,
                  (long long)spool->setup.bytes_max);
    if (!spool->is_full)
        log_error("event=spool_failed action=refuse err=\"%s\"", err->text);
    spool->is_full = true;
    return -1;
}

static int spool_write_run(struct spool_write *write, struct err *err)
{
    struct spool *spool = write->spool;
    char name[SPOOL_NAME_BYTES];
    int fd = spool->open_fd;

    spool_file_name(write->number, name);
    if (!write->file)
        fd = openat(spool->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, ERR_RETRY, "spool %s/%s: %s", spool->dir, name, strerror(errno));
    if (!write->file)
        crash_at(CRASH_SPOOL_CREATED);
    if (spool_write_bytes(write, fd) < 0 || (!write->file && fsync(spool->dir_fd) < 0)) {
        (void)err_set(err, ERR_RETRY, "spool %s/%s: %s", spool->dir, name, strerror(errno));
        if (spool_write_undo(write, fd) < 0)
            err->kind = ERR_FATAL;
        return -1;
    }
    crash_at(CRASH_SPOOL_LISTED);
    spool_write_note(write, fd);
    return 0;
}

/* Logged when it begins. */
static void spool_write_failed(const struct spool_write *write, const struct err *err)
{
    struct spool *spool = write->spool;
    bool was_failing;

    spool_lock(spool);
    was_failing = spool->is_failing;
    spool->is_failing = true;
    spool->failed_bytes = write->bytes.len;
    spool_unlock(spool);
    if (!was_failing)
        log_error("event=spool_failed action=%s err=\"%s\"",
                  err->kind == ERR_FATAL ? "close" : "refuse", err->text);
}

/* Under io. */
static int spool_append_chunk(struct spool *spool, const struct submission *list,
                              const struct uuid *key, int64_t formed_ms, struct err *err)
{
    struct spool_write write = { .spool = spool };
    int rc;

    if (spool->open_fd >= 0)
        write.file = spool->open_file;
    if (write.file && (key || !spool_write_fits(&write, list))) {
        spool_close_newest(spool);
        write.file = NULL;
    }
    buf_init(&write.bytes, SIZE_MAX);
    if (write.file) {
        write.chunk.id = write.file->id;
        write.at = write.file->bytes;
        write.number = write.file->number;
    } else {
        if (key)
            write.chunk.id = (struct spool_id){ *key, formed_ms };
        else
            write.chunk.id.formed_ms = clock_now_ms();
        if (!key)
            uuid_random(&write.chunk.id.key);
        write.number = spool->next++;
        spool_head_write(&write.bytes, &write.chunk.id);
    }
    spool_write_chunk(&write, list);
    rc = spool_write_check_room(&write, err);
    if (rc == 0 && (rc = spool_write_run(&write, err)) < 0)
        spool_write_failed(&write, err);
    if (rc == 0 && key)
        spool_close_newest(spool);
    buf_done(&write.bytes);
    return rc;
}

int spool_append(struct spool *spool, const struct submission *list, const struct uuid *key,
                 int64_t formed_ms, struct err *err)
{
    int rc;

    (void)pthread_mutex_lock(&spool->io);
    crash_at(CRASH_SPOOL_TAKEN);
    rc = spool_append_chunk(spool, list, key, formed_ms, err);
    (void)pthread_mutex_unlock(&spool->io);
    return rc;
}

/* Asked, not tried: what else is on the disk, as Postgres' log, must not find it full. */
static bool spool_probe_space(const struct spool *spool, size_t len)
{
    struct statvfs disk;

    if (fstatvfs(spool->dir_fd, &disk) < 0)
        return false;
    return !disk.f_blocks || /* a file system that does not say */
           (uint64_t)disk.f_bavail * disk.f_frsize >= (uint64_t)len + SPOOL_SPARE_BYTES;
}

/* Under io. The file is gone before anything is in it. */
static bool spool_probe_write(const struct spool *spool)
{
    static const char zeros[SPOOL_PROBE_BYTES];
    int fd = openat(spool->dir_fd, "probe", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool is_written;

    if (fd < 0)
        return false;
    is_written = unlinkat(spool->dir_fd, "probe", 0) == 0 &&
                 spool_write_all(fd, zeros, sizeof(zeros), 0) == 0 && fdatasync(fd) == 0;
    (void)close(fd);
    return is_written;
}

void spool_probe(struct spool *spool)
{
    bool is_wanted;
    size_t len;

    spool_lock(spool);
    len = spool->failed_bytes;
    is_wanted = spool->is_failing;
    spool_unlock(spool);
    if (!is_wanted)
        return;
    (void)pthread_mutex_lock(&spool->io);
    if (spool_probe_space(spool, len) && spool_probe_write(spool)) {
        log_info("event=spool_works why=\"its disk can be written to and has space\"");
        spool_lock(spool);
        spool->is_failing = false;
        spool_unlock(spool);
    }
    (void)pthread_mutex_unlock(&spool->io);
}

/* --------------------------------------------------------------------------------------- replay */

struct spool_group *spool_take(struct spool *spool, bool *is_last, struct err *err)
{
    char name[SPOOL_NAME_BYTES];
    struct spool_file *file;
    char *image = NULL;
    size_t len = 0;
    int fd;

    (void)pthread_mutex_lock(&spool->io);
    spool_lock(spool);
    file = spool->first;
    *is_last = file && !file->next;
    spool_unlock(spool);
    if (!file) {
        (void)pthread_mutex_unlock(&spool->io);
        return NULL;
    }
    if (*is_last)
        spool_close_newest(spool);
    spool_file_name(file->number, name);
    fd = openat(spool->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    len = file->bytes;
    if (fd >= 0)
        image = spool_file_read(fd, &len, err);
    else
        (void)err_set(err, errno == ENOENT ? ERR_INPUT : ERR_RETRY, "%s", strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    (void)pthread_mutex_unlock(&spool->io);
    if (image)
        return spool_group_new(image, len, file->number, err);
    (void)err_prefix(err, "spool %s/%s: ", spool->dir, name);
    return NULL;
}

int spool_drop(struct spool *spool, struct err *err)
{
    char name[SPOOL_NAME_BYTES];
    struct spool_file *file;
    int rc = 0;

    (void)pthread_mutex_lock(&spool->io);
    file = spool->first;
    spool_file_name(file->number, name);
    /* not synced: if it comes back, Postgres knows its key */
    if (unlinkat(spool->dir_fd, name, 0) < 0 && errno != ENOENT)
        rc = err_set(err, ERR_RETRY, "spool %s/%s: %s", spool->dir, name, strerror(errno));
    if (rc == 0) {
        spool_lock(spool);
        spool->first = file->next;
        if (!spool->first)
            spool->last = &spool->first;
        spool->files--;
        spool->bytes -= file->bytes;
        spool->events -= file->events;
        spool->drops++;
        spool_note(spool);
        spool_unlock(spool);
        spool->is_full = false;
        free(file);
    }
    (void)pthread_mutex_unlock(&spool->io);
    return rc;
}

/* -------------------------------------------------------------------------------- what it holds */

void spool_balance_add(struct spool *spool, struct balance *balance)
{
    spool_lock(spool);
    for (const struct spool_file *file = spool->first; file; file = file->next) {
        for (int kind = 0; kind < EVENT_KINDS; kind++) {
            struct balance_counts *counts = &balance->kinds[kind];

            counts->received += (int64_t)file->received[kind];
            counts->rejected += (int64_t)file->rejected[kind];
            counts->spooled += (int64_t)(file->received[kind] - file->rejected[kind]);
        }
    }
    spool_unlock(spool);
}

uint64_t spool_drops(struct spool *spool)
{
    uint64_t drops;

    spool_lock(spool);
    drops = spool->drops;
    spool_unlock(spool);
    return drops;
}

void spool_measure(struct spool *spool, int64_t now_ms)
{
    int64_t age_ms = 0;

    spool_lock(spool);
    if (spool->first && now_ms > spool->first->id.formed_ms)
        age_ms = now_ms - spool->first->id.formed_ms;
    spool_note(spool);
    spool_unlock(spool);
    stats_set(spool->setup.stats, STAT_SPOOL_OLDEST_SECONDS, age_ms / 1000);
}
