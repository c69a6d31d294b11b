#include "collector/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOTIFY_BYTES_MAX = 1024 };

/* "/run/systemd/notify", or "@name" for one that is in no directory. */
static void notify_address_set(struct notify *notify, const char *path)
{
    size_t len = strlen(path);

    if (len < 2 || len >= sizeof(notify->address.sun_path) || !strchr("/@", path[0]))
        return;
    notify->address.sun_family = AF_UNIX;
    memcpy(notify->address.sun_path, path, len);
    if (path[0] == '@')
        notify->address.sun_path[0] = '\0';
    notify->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

void notify_init(struct notify *notify)
{
    const char *path = getenv("NOTIFY_SOCKET"), *watchdog = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");

    *notify = (struct notify){ 0 };
    if (path)
        notify_address_set(notify, path);
    if (notify->len && watchdog && (!pid || strtoll(pid, NULL, 10) == getpid()))
        notify->watchdog_ms = strtoll(watchdog, NULL, 10) / 1000;
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
}

void notify_send(const struct notify *notify, const char *fmt, ...)
{
    char text[NOTIFY_BYTES_MAX];
    va_list args;
    int fd, len;

    if (!notify->len)
        return;
    va_start(args, fmt);
    len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (len >= (int)sizeof(text))
        len = (int)sizeof(text) - 1;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT,
                 (const struct sockaddr *)&notify->address, notify->len);
    (void)close(fd);
}
