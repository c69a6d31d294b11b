/* The commands that need no server: usage, exit codes, what goes where. */
#include "../../collector/cmd_internal.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../harness/command.h"

static const struct {
    const char *name;
    int (*command)(int argc, char **argv);
    const char *words[COMMAND_WORDS_MAX];
    int code;
    const char *out; /* how it begins */
    const char *err; /* all of it */
} cmd_cases[] = {
    { "the sample is good",
      cmd_check_config,
      { "check-config", "plumbline.sample.yaml" },
      0,
      "",
      "plumbline.sample.yaml: good\n" },
    { "defaults are good",
      cmd_check_config,
      { "check-config" },
      0,
      "",
      "defaults and environment: good\n" },
    { "keys",
      cmd_check_config,
      { "check-config", "--keys" },
      0,
      "listen\ndatabase\ndata_dir\n",
      "" },
    { "print",
      cmd_check_config,
      { "check-config", "--print" },
      0,
      "listen: \"127.0.0.1:8190\"\ndatabase: \"\"\n",
      "" },
    { "no such file",
      cmd_check_config,
      { "check-config", "/nowhere.yaml" },
      1,
      "",
      "plumbline check-config: cannot read the configuration /nowhere.yaml: No such file or "
      "directory\n" },
    { "two files",
      cmd_check_config,
      { "check-config", "a", "b" },
      2,
      "",
      "plumbline check-config: unexpected argument \"b\"\n"
      "`plumbline check-config --help` shows the usage\n" },
    { "help",
      cmd_check_config,
      { "check-config", "--help" },
      0,
      "usage: plumbline check-config [OPTION...] [FILE]\n",
      "" },
    { "ingest: no file",
      cmd_ingest,
      { "ingest" },
      2,
      "",
      "plumbline ingest: FILE... is missing\n`plumbline ingest --help` shows the usage\n" },
    { "ingest: no URL",
      cmd_ingest,
      { "ingest", "--url", "x", "f" },
      2,
      "",
      "plumbline ingest: the URL \"x\" does not begin with http:// or https://\n" },
    { "ingest: a URL with a password",
      cmd_ingest,
      { "ingest", "--url", "ftp://ann:abc@db", "f" },
      2,
      "",
      "plumbline ingest: the URL \"ftp://ann:***@db\" does not begin with http:// or https://\n" },
};

START_TEST(cmd_case)
{
    struct command_outcome outcome;

    ck_assert_int_eq(unsetenv("PLUMBLINE_CONFIG"), 0);
    outcome = command_run(cmd_cases[_i].command, cmd_cases[_i].words);
    ck_assert_str_eq(outcome.err, cmd_cases[_i].err);
    ck_assert_msg(strncmp(outcome.out, cmd_cases[_i].out, strlen(cmd_cases[_i].out)) == 0, "%s: %s",
                  cmd_cases[_i].name, outcome.out);
    ck_assert_msg(*cmd_cases[_i].out || !*outcome.out, "%s: %s", cmd_cases[_i].name, outcome.out);
    ck_assert_int_eq(outcome.code, cmd_cases[_i].code);
    command_done(&outcome);
}
END_TEST

Suite *cmd_suite(void);
Suite *cmd_suite(void)
{
    Suite *suite = suite_create("cmd");
    TCase *tc = tcase_create("cmd");

    tcase_add_loop_test(tc, cmd_case, 0, LENGTH(cmd_cases));
    suite_add_tcase(suite, tc);
    return suite;
}
