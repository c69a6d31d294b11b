/* Runs a command's function in the test's own process, with both outputs in files. */
#ifndef HARNESS_COMMAND_H
#define HARNESS_COMMAND_H

enum { COMMAND_WORDS_MAX = 16, COMMAND_WORD_BYTES = 256 };

struct command_outcome {
    int code;
    char *out; /* owned */
    char *err; /* owned */
};

/* `words` begins with the command's name and ends with NULL. */
struct command_outcome command_run(int (*command)(int argc, char **argv),
                                   const char *const words[COMMAND_WORDS_MAX]);
/* The same with standard output to `out`, which it closes; the outcome has no `out`. */
struct command_outcome command_run_to(int out, int (*command)(int argc, char **argv),
                                      const char *const words[COMMAND_WORDS_MAX]);
void command_done(struct command_outcome *outcome);

#endif
