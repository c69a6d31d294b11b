#include "command.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

enum { COMMAND_OUTPUT_BYTES_MAX = 65536 };

static int command_file(void)
{
    char path[] = "/tmp/plumbline-test-XXXXXX";
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    (void)unlink(path);
    return fd;
}

static char *command_file_text(int fd)
{
    char *text = xcalloc(1, COMMAND_OUTPUT_BYTES_MAX);

    ck_assert_int_ge(pread(fd, text, COMMAND_OUTPUT_BYTES_MAX - 1, 0), 0);
    (void)close(fd);
    return text;
}

static int command_call(int out, int err, int (*command)(int argc, char **argv),
                        const char *const words[COMMAND_WORDS_MAX])
{
    char copies[COMMAND_WORDS_MAX][COMMAND_WORD_BYTES]; /* getopt_long moves and may write */
    char *argv[COMMAND_WORDS_MAX + 1];
    int old_out = dup(STDOUT_FILENO), old_err = dup(STDERR_FILENO), argc = 0, code;

    for (; words[argc]; argc++) {
        ck_assert_int_lt(argc, COMMAND_WORDS_MAX);
        (void)snprintf(copies[argc], COMMAND_WORD_BYTES, "%s", words[argc]);
        argv[argc] = copies[argc];
    }
    argv[argc] = NULL;
    (void)fflush(stdout);
    ck_assert_int_ge(dup2(out, STDOUT_FILENO), 0);
    ck_assert_int_ge(dup2(err, STDERR_FILENO), 0);
    code = command(argc, argv);
    (void)fflush(stdout);
    clearerr(stdout);
    ck_assert_int_ge(dup2(old_out, STDOUT_FILENO), 0);
    ck_assert_int_ge(dup2(old_err, STDERR_FILENO), 0);
    (void)close(old_out);
    (void)close(old_err);
    return code;
}

struct command_outcome command_run(int (*command)(int argc, char **argv),
                                   const char *const words[COMMAND_WORDS_MAX])
{
    int out = command_file(), err = command_file();
    struct command_outcome outcome = { .code = command_call(out, err, command, words) };

    outcome.out = command_file_text(out);
    outcome.err = command_file_text(err);
    return outcome;
}

struct command_outcome command_run_to(int out, int (*command)(int argc, char **argv),
                                      const char *const words[COMMAND_WORDS_MAX])
{
    int err = command_file();
    struct command_outcome outcome = { .code = command_call(out, err, command, words) };

    (void)close(out);
    outcome.err = command_file_text(err);
    return outcome;
}

void command_done(struct command_outcome *outcome)
{
    free(outcome->out);
    free(outcome->err);
    *outcome = (struct command_outcome){ 0 };
}
