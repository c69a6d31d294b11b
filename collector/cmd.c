#include "cmd_internal.h"

#include <stdio.h>

int cmd_fail(const char *name, const struct err *err)
{
    (void)fprintf(stderr, "plumbline %s: %s\n", name, err->text);
    return CMD_FAILED;
}
