#include "../../collector/cmd_internal.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../harness/command.h"
#include "../harness/http_script.h"
#include "../harness/temp.h"
#include "atlas/linking_file.h"
#include "base/mem.h"

enum { WORDS_MAX = COMMAND_WORDS_MAX - 1 };

#define HELP "; `plumbline lineage --help` says more\n"

/* What lies in the folder of a test; those without a text are made by the tests themselves. */
static const struct {
    const char *name, *text;
} files[] = {
    { "good.yaml", "\"Churn\":\n"
                   "  hive_table_qualified_names:\n"
                   "    - \"DEFAULT.Telco_Churn\"\n"
                   "    - \"default.customers@prod\"\n"
                   "  metadata:\n"
                   "    query: \"select *\\nfrom t\"\n"
                   "    f1-score: 0.990\n"
                   "Price / 2:\n"
                   "  metadata: {}\n" },
    { "warn.yaml", "A:\n  - d.t\nB: {hive_table_qualified_names: [d.u@cm], x: y}\n" },
    { "bad.yaml", "A:\n  - d t\n  - u\nB: 1\n" },
    { "broken.yaml", "A:\n  metadata:\n    q: \"x\"\"B\":\n" },
    { "comments.yaml", "# nothing yet\n" },
};

/* A new folder with the files, for as long as the test's process lives. */
static void folder_enter(void)
{
    AUTO(mem_free) char *folder = temp_dir();

    ck_assert_int_eq(chdir(folder), 0);
    for (size_t i = 0; i < LENGTH(files); i++) {
        FILE *file = fopen(files[i].name, "w");

        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(files[i].text, file), 0);
        ck_assert_int_eq(fclose(file), 0);
    }
}

static struct command_outcome lineage(const char *const words[WORDS_MAX])
{
    const char *all[COMMAND_WORDS_MAX] = { "lineage", NULL };

    for (size_t i = 0; i < WORDS_MAX - 1 && words[i]; i++)
        all[1 + i] = words[i];
    return command_run(cmd_lineage, all);
}

static const struct {
    const char *name;
    const char *words[WORDS_MAX];
    int code;
    const char *out, *err;
} lineage_cases[] = {
    { "lint: good",
      { "lint", "good.yaml" },
      0,
      "",
      "good.yaml:8:1: warning: \"Price / 2\" has neither tables nor metadata\n"
      "good.yaml: good, 2 models, 2 tables\n" },
    { "lint: of comments",
      { "lint", "comments.yaml" },
      0,
      "",
      "comments.yaml: good, 0 models, 0 tables\n" },
    { "lint: warnings",
      { "lint", "warn.yaml" },
      0,
      "",
      "warn.yaml:2:3: warning: a list stands directly below the model and is taken for its tables; "
      "put it below hive_table_qualified_names\n"
      "warn.yaml:3:43: warning: \"x\" is ignored; a model has hive_table_qualified_names and "
      "metadata\n"
      "warn.yaml: good, 2 models, 2 tables\n" },
    { "lint: errors and warnings",
      { "lint", "bad.yaml" },
      1,
      "",
      "bad.yaml:2:3: warning: a list stands directly below the model and is taken for its tables; "
      "put it below hive_table_qualified_names\n"
      "bad.yaml:2:5: error: \"d t\" holds a blank; a table is named db.table@namespace, each an "
      "item of its own\n"
      "bad.yaml:3:5: warning: \"u\" names no database; a table is named db.table@namespace\n"
      "bad.yaml:4:4: error: expected hive_table_qualified_names and metadata, indented below the "
      "model's name, not \"1\"\n" },
    { "lint: all of several",
      { "lint", "broken.yaml", "none.yaml", "comments.yaml" },
      1,
      "",
      "broken.yaml:3:11: error: text behind the end of a value; begin a new line here\n"
      "plumbline lineage: cannot read none.yaml: No such file or directory\n"
      "comments.yaml: good, 0 models, 0 tables\n" },
    { "lint: a folder",
      { "lint", "." },
      1,
      "",
      "plumbline lineage: cannot read .: Is a directory\n" },
    { "lint: models of the project",
      { "lint", "--model", "Churn", "--model=Price / 2", "good.yaml" },
      0,
      "",
      "good.yaml:8:1: warning: \"Price / 2\" has neither tables nor metadata\n"
      "good.yaml: good, 2 models, 2 tables\n" },
    { "lint: other models",
      { "lint", "--model", "churn", "comments.yaml", "warn.yaml" },
      0,
      "",
      "comments.yaml:1:1: warning: model \"churn\" has no entry (the file has none); add one to "
      "say what trained it\n"
      "comments.yaml: good, 0 models, 0 tables\n"
      "warn.yaml:2:3: warning: a list stands directly below the model and is taken for its tables; "
      "put it below hive_table_qualified_names\n"
      "warn.yaml:3:43: warning: \"x\" is ignored; a model has hive_table_qualified_names and "
      "metadata\n"
      "warn.yaml:1:1: warning: model \"churn\" has no entry (the file has \"A\", \"B\"); add one "
      "to "
      "say what trained it\n"
      "warn.yaml:1:1: warning: \"A\" is the name of no model; rename the entry or remove it\n"
      "warn.yaml:3:1: warning: \"B\" is the name of no model; rename the entry or remove it\n"
      "warn.yaml: good, 2 models, 2 tables\n" },
    { "show",
      { "show", "good.yaml" },
      0,
      "ml_model_build Churn\n"
      "  metadata\n"
      "    query: select *?from t\n"
      "    f1-score: 0.990\n"
      "  ml_model_train_build_process\n"
      "    hive_table default.telco_churn@cm\n"
      "    hive_table default.customers@prod\n"
      "ml_model_build Price / 2\n"
      "  ml_model_train_build_process\n",
      "good.yaml:8:1: warning: \"Price / 2\" has neither tables nor metadata\n" },
    { "show: another namespace",
      { "show", "--namespace", "Prod", "warn.yaml" },
      0,
      "ml_model_build A\n"
      "  ml_model_train_build_process\n"
      "    hive_table d.t@Prod\n"
      "ml_model_build B\n"
      "  ml_model_train_build_process\n"
      "    hive_table d.u@cm\n",
      "warn.yaml:2:3: warning: a list stands directly below the model and is taken for its tables; "
      "put it below hive_table_qualified_names\n"
      "warn.yaml:3:43: warning: \"x\" is ignored; a model has hive_table_qualified_names and "
      "metadata\n" },
    { "show: JSON",
      { "show", "--json", "good.yaml" },
      0,
      "{\n"
      "  \"models\": [\n"
      "    {\n"
      "      \"modelName\": \"Churn\",\n"
      "      \"line\": 1,\n"
      "      \"column\": 1,\n"
      "      \"inputs\": [\n"
      "        {\n"
      "          \"typeName\": \"hive_table\",\n"
      "          \"qualifiedName\": \"default.telco_churn@cm\"\n"
      "        },\n"
      "        {\n"
      "          \"typeName\": \"hive_table\",\n"
      "          \"qualifiedName\": \"default.customers@prod\"\n"
      "        }\n"
      "      ],\n"
      "      \"metadata\": {\n"
      "        \"query\": \"select *\\nfrom t\",\n"
      "        \"f1-score\": \"0.990\"\n"
      "      }\n"
      "    },\n"
      "    {\n"
      "      \"modelName\": \"Price / 2\",\n"
      "      \"line\": 8,\n"
      "      \"column\": 1,\n"
      "      \"inputs\": [],\n"
      "      \"metadata\": {}\n"
      "    }\n"
      "  ],\n"
      "  \"warnings\": [\n"
      "    {\n"
      "      \"code\": \"model_empty\",\n"
      "      \"message\": \"\\\"Price / 2\\\" has neither tables nor metadata\",\n"
      "      \"line\": 8,\n"
      "      \"column\": 1\n"
      "    }\n"
      "  ]\n"
      "}\n",
      "good.yaml:8:1: warning: \"Price / 2\" has neither tables nor metadata\n" },
    { "show: JSON of nothing",
      { "show", "--json", "comments.yaml" },
      0,
      "{\n  \"models\": [],\n  \"warnings\": []\n}\n",
      "" },
    { "show: errors",
      { "show", "broken.yaml" },
      1,
      "",
      "broken.yaml:3:11: error: text behind the end of a value; begin a new line here\n" },
    { "show: no such file",
      { "show", "--json", "none.yaml" },
      1,
      "",
      "plumbline lineage: cannot read none.yaml: No such file or directory\n" },
    { "nothing",
      { NULL },
      2,
      "",
      "plumbline lineage: lint FILE... | show FILE | push FILE --build CRN is missing\n"
      "`plumbline lineage --help` shows the usage\n" },
    { "lint of nothing",
      { "lint" },
      2,
      "",
      "plumbline lineage: takes lint FILE..., show FILE or push FILE --build CRN" HELP },
    { "show of nothing",
      { "show" },
      2,
      "",
      "plumbline lineage: takes lint FILE..., show FILE or push FILE --build CRN" HELP },
    { "show of two",
      { "show", "good.yaml", "warn.yaml" },
      2,
      "",
      "plumbline lineage: takes lint FILE..., show FILE or push FILE --build CRN" HELP },
    { "another verb",
      { "check", "good.yaml" },
      2,
      "",
      "plumbline lineage: takes lint FILE..., show FILE or push FILE --build CRN" HELP },
    { "lint as JSON",
      { "lint", "--json", "good.yaml" },
      2,
      "",
      "plumbline lineage: --json goes with show, --model with lint" HELP },
    { "show with models",
      { "show", "--model=A", "good.yaml" },
      2,
      "",
      "plumbline lineage: --json goes with show, --model with lint" HELP },
    { "push to no build",
      { "push", "good.yaml" },
      2,
      "",
      "plumbline lineage: push takes --build CRN and maybe --url, nothing else does" HELP },
    { "lint of a build",
      { "lint", "--build", "b", "good.yaml" },
      2,
      "",
      "plumbline lineage: push takes --build CRN and maybe --url, nothing else does" HELP },
    { "push to an empty build",
      { "push", "--build=", "good.yaml" },
      2,
      "",
      "plumbline lineage: --build takes the CRN of a build" HELP },
    { "push of two",
      { "push", "--build=b", "good.yaml", "warn.yaml" },
      2,
      "",
      "plumbline lineage: takes lint FILE..., show FILE or push FILE --build CRN" HELP },
    { "push: errors need no server",
      { "push", "--build=b", "bad.yaml" },
      1,
      "",
      "bad.yaml:2:5: error: \"d t\" holds a blank; a table is named db.table@namespace, each an "
      "item of its own\n"
      "bad.yaml:4:4: error: expected hive_table_qualified_names and metadata, indented below the "
      "model's name, not \"1\"\n" },
    { "push: no URL",
      { "push", "--build=b", "--url=x", "good.yaml" },
      1,
      "",
      "plumbline lineage: the URL \"x\" does not begin with http:// or https://\n" },
    { "an unknown option",
      { "lint", "--models=A", "good.yaml" },
      2,
      "",
      "plumbline lineage: unknown option --models; did you mean --model?\n"
      "`plumbline lineage --help` shows the usage\n" },
    { "an empty namespace",
      { "lint", "--namespace=", "good.yaml" },
      2,
      "",
      "plumbline lineage: --namespace takes one word without @" HELP },
    { "a namespace with its sign",
      { "show", "--namespace", "@cm", "good.yaml" },
      2,
      "",
      "plumbline lineage: --namespace takes one word without @" HELP },
};

START_TEST(lineage_case)
{
    struct command_outcome outcome;

    folder_enter();
    outcome = lineage(lineage_cases[_i].words);
    ck_assert_str_eq(outcome.err, lineage_cases[_i].err);
    ck_assert_msg(strcmp(outcome.out, lineage_cases[_i].out) == 0, "%s: %s", lineage_cases[_i].name,
                  outcome.out);
    ck_assert_int_eq(outcome.code, lineage_cases[_i].code);
    command_done(&outcome);
}
END_TEST

#define BUILT                                                                                      \
    {                                                                                              \
        .status = 200, .body = "{\"event\":\"model_built\",\"modelBuildCrn\":\"b\"}"               \
    }

/* What servers say to a push. */
static const struct {
    const char *name;
    struct http_script_answer answers[2];
    int code;
    const char *out, *err; /* @: the URL, without its last slash */
} push_cases[] = {
    { "no such build, in other words",
      { { .status = 404, .body = "{\"error\":{\"code\":\"not_found\",\"message\":\"gone\"}}" } },
      1,
      "",
      "plumbline lineage: @ knows no build \"b\": send its model_built event first, or correct "
      "--build\n" },
    { "another error",
      { { .status = 404, .body = "{\"error\":{\"code\":\"x\",\"message\":\"no model_built \"}}" } },
      1,
      "",
      "plumbline lineage: HTTP 404: no model_built  (x)\n" },
    { "kept until there is a database",
      { BUILT,
        { .status = 202,
          .body = "{\"batch\":null,\"received\":1,\"spooled\":1,\"rejected\":[]}" } },
      0,
      "",
      "good.yaml: taken for build b, not yet in the graph\n" },
    { "refused before it is kept",
      { BUILT,
        { .status = 202,
          .body = "{\"batch\":null,\"received\":1,\"spooled\":0,\"rejected\":[{\"index\":0,"
                  "\"code\":\"invalid_field\",\"message\":\"no\"}]}" } },
      1,
      "",
      "good.yaml: error: no\n" },
    { "neither",
      { BUILT,
        { .status = 503, .body = "{\"error\":{\"code\":\"unavailable\",\"message\":\"away\"}}" } },
      1,
      "",
      "plumbline lineage: HTTP 503: away (unavailable)\n" },
};

START_TEST(push_case)
{
    const char *words[WORDS_MAX] = { "push", "good.yaml", "--build=b", NULL };
    AUTO(mem_free) char *option = NULL, *want = NULL;
    const char *mark = strchr(push_cases[_i].err, '@');
    struct http_script script;
    struct command_outcome outcome;

    folder_enter();
    http_script_start(&script, push_cases[_i].answers, 2);
    option = xasprintf("--url=%s", script.url);
    words[3] = option;
    want = mark ? xasprintf("%.*s%.*s%s", (int)(mark - push_cases[_i].err), push_cases[_i].err,
                            (int)strlen(script.url) - 1, script.url, mark + 1)
                : xstrdup(push_cases[_i].err);
    outcome = lineage(words);
    http_script_done(&script);
    ck_assert_str_eq(outcome.err, want);
    ck_assert_str_eq(outcome.out, push_cases[_i].out);
    ck_assert_int_eq(outcome.code, push_cases[_i].code);
    command_done(&outcome);
}
END_TEST

START_TEST(both_spellings)
{
    static const char *const words[WORDS_MAX] = { "lint", "sub/lineage.yml", "sub/lineage.yaml" };
    static const char want[] =
        "sub/lineage.yml: warning: lineage.yaml stands beside it; keep one of them\n"
        "sub/lineage.yml: good, 0 models, 0 tables\n"
        "sub/lineage.yaml: warning: lineage.yml stands beside it; keep one of them\n"
        "sub/lineage.yaml:2:3: ";
    struct command_outcome outcome;

    folder_enter();
    ck_assert_int_eq(mkdir("sub", 0700), 0);
    ck_assert_int_eq(link("comments.yaml", "sub/lineage.yml"), 0);
    ck_assert_int_eq(link("warn.yaml", "sub/lineage.yaml"), 0);
    outcome = lineage(words);
    ck_assert_int_eq(outcome.code, 0);
    ck_assert_msg(strncmp(outcome.err, want, strlen(want)) == 0, "%s", outcome.err);
    command_done(&outcome);
}
END_TEST

/* One file under both names is what somebody does for two readers. */
START_TEST(one_file_of_both_spellings)
{
    static const char *const words[WORDS_MAX] = { "lint", "lineage.yml", "lineage.yaml" };
    struct command_outcome outcome;

    folder_enter();
    ck_assert_int_eq(rename("comments.yaml", "lineage.yml"), 0);
    ck_assert_int_eq(symlink("lineage.yml", "lineage.yaml"), 0);
    outcome = lineage(words);
    ck_assert_int_eq(outcome.code, 0);
    ck_assert_str_eq(outcome.err, "lineage.yml: good, 0 models, 0 tables\n"
                                  "lineage.yaml: good, 0 models, 0 tables\n");
    command_done(&outcome);
}
END_TEST

START_TEST(from_standard_input)
{
    static const char *const words[WORDS_MAX] = { "show", "-" };
    struct command_outcome outcome;

    folder_enter();
    ck_assert_ptr_nonnull(freopen("warn.yaml", "r", stdin));
    outcome = lineage(words);
    ck_assert_int_eq(outcome.code, 0);
    ck_assert_int_eq(strncmp(outcome.out, "ml_model_build A\n", 17), 0);
    ck_assert_int_eq(strncmp(outcome.err, "standard input:2:3: warning: ", 29), 0);
    command_done(&outcome);
}
END_TEST

static void file_of(const char *name, size_t count, const char *line)
{
    FILE *file = fopen(name, "w");

    ck_assert_ptr_nonnull(file);
    for (size_t i = 0; i < count; i++)
        ck_assert_int_ge(fputs(line, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(too_large)
{
    static const char *const words[WORDS_MAX] = { "lint", "large.yaml" };
    struct command_outcome outcome;

    folder_enter();
    file_of("large.yaml", LINKING_FILE_BYTES_MAX / 9 + 1, "# 345678\n");
    outcome = lineage(words);
    ck_assert_int_eq(outcome.code, 1);
    ck_assert_str_eq(outcome.err,
                     "large.yaml:1:1: error: larger than 1048576 bytes; split the file\n");
    command_done(&outcome);
}
END_TEST

START_TEST(many_errors)
{
    static const char *const words[WORDS_MAX] = { "lint", "many.yaml" };
    static const char last[] = "many.yaml: 50 more are not shown\n";
    struct command_outcome outcome;
    size_t len;

    folder_enter();
    file_of("many.yaml", LINKING_NOTES_MAX + 50, "m: x\n");
    outcome = lineage(words);
    len = strlen(outcome.err);
    ck_assert_int_eq(outcome.code, 1);
    ck_assert_uint_gt(len, sizeof(last));
    ck_assert_str_eq(outcome.err + len - strlen(last), last);
    command_done(&outcome);
}
END_TEST

START_TEST(full_disk)
{
    static const char *const words[COMMAND_WORDS_MAX] = { "lineage", "show", "good.yaml" };
    struct command_outcome outcome;
    int full = open("/dev/full", O_WRONLY);

    folder_enter();
    outcome = command_run_to(full, cmd_lineage, words);
    ck_assert_int_eq(outcome.code, 1);
    ck_assert_ptr_nonnull(
        strstr(outcome.err, "plumbline lineage: standard output: No space left on device\n"));
    command_done(&outcome);
}
END_TEST

Suite *cmd_lineage_suite(void); /* called from the table that tools/suites writes */

Suite *cmd_lineage_suite(void)
{
    Suite *suite = suite_create("collector/cmd_lineage");
    TCase *tc = tcase_create("cmd_lineage");

    tcase_add_loop_test(tc, lineage_case, 0, LENGTH(lineage_cases));
    tcase_add_loop_test(tc, push_case, 0, LENGTH(push_cases));
    tcase_add_test(tc, both_spellings);
    tcase_add_test(tc, one_file_of_both_spellings);
    tcase_add_test(tc, from_standard_input);
    tcase_add_test(tc, too_large);
    tcase_add_test(tc, many_errors);
    tcase_add_test(tc, full_disk);
    suite_add_tcase(suite, tc);
    return suite;
}
