#include "cmd_internal.h"

#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

int cmd_fail(const char *name, const struct err *err)
{
    (void)fprintf(stderr, "plumbline %s: %s\n", name, err->text);
    return CMD_FAILED;
}

void cmd_actor(char actor[static CMD_ACTOR_BYTES])
{
    const struct passwd *passwd = getpwuid(getuid());
    char host[65] = "";

    (void)gethostname(host, sizeof(host) - 1);
    if (passwd)
        (void)snprintf(actor, CMD_ACTOR_BYTES, "%.80s@%s", passwd->pw_name, host);
    else
        (void)snprintf(actor, CMD_ACTOR_BYTES, "%u@%s", (unsigned)getuid(), host);
}
