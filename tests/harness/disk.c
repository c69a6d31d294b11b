#include "disk.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "collector/pg_program.h"
#include "temp.h"

char *disk_new(int mib)
{
    AUTO(mem_free) char *dir = temp_dir();
    AUTO(mem_free) char *options = NULL;
    struct pg_user user;
    struct err err = { 0 };

    ck_assert_msg(pg_user_find(&user, &err) == 0, "%s", err.text);
    options =
        xasprintf("size=%dm,mode=0700,uid=%u,gid=%u", mib, (unsigned)user.uid, (unsigned)user.gid);
    if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("tmpfs", dir, "tmpfs", 0, options) == 0)
        return TAKE(dir);
    printf("disk: left out, a tmpfs can't be mounted here: %s\n", strerror(errno));
    return NULL;
}

void disk_fill(const char *path)
{
    static const char zeros[65536];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t n;

    ck_assert_int_ge(fd, 0);
    while ((n = write(fd, zeros, sizeof(zeros))) > 0)
        continue;
    ck_assert(n < 0 && errno == ENOSPC);
    (void)close(fd);
}
