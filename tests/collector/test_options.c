#include "../../collector/options_internal.h"

#include <check.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct try_options {
    bool flag;
    const char *text;
    struct option_texts texts;
    int64_t count;
    int64_t bytes;
    int64_t ms;
    struct options_config config;
};

static const struct option_row try_rows[] = {
    { "flag", 'f', OPTION_FLAG, offsetof(struct try_options, flag), 0, 0, NULL, "a flag" },
    { "text", 't', OPTION_TEXT, offsetof(struct try_options, text), 0, 0, "TEXT", "a text" },
    { "texts", 0, OPTION_TEXTS, offsetof(struct try_options, texts), 0, 0, "TEXT", "some texts" },
    { "count", 0, OPTION_COUNT, offsetof(struct try_options, count), 1, 10, "N", "a number" },
    { "bytes-max", 0, OPTION_BYTES, offsetof(struct try_options, bytes), 0, 1 << 30, "BYTES",
      "bytes" },
    { "wait", 0, OPTION_MS, offsetof(struct try_options, ms), 0, 60000, "TIME", "a duration" },
    OPTIONS_CONFIG_ROWS(struct try_options),
    { 0 },
};

static const struct command_line try_line = {
    .name = "try",
    .operands = "FILE...",
    .summary = "Tries.",
    .notes = "A note.",
    .rows = try_rows,
    .operands_min = 1,
    .operands_max = 2,
};

enum { WORDS_MAX = 8, WORD_BYTES = 64 };

/* getopt_long wants words that it may move; one process runs one test. */
static char try_words[WORDS_MAX + 1][WORD_BYTES];

static char *try_word(char word[WORD_BYTES], const char *text)
{
    (void)snprintf(word, WORD_BYTES, "%s", text);
    return word;
}

static int try_read(const char *const words[WORDS_MAX], struct try_options *options, char **argv,
                    struct err *err)
{
    int argc = 0;

    argv[argc++] = try_word(try_words[0], "try");
    for (size_t i = 0; words[i]; i++)
        argv[argc++] = try_word(try_words[i + 1], words[i]);
    argv[argc] = NULL;
    return options_read(&try_line, argc, argv, options, err);
}

START_TEST(takes_every_type)
{
    const char *words[WORDS_MAX] = {
        "-f", "--text=x", "a", "--texts", "1", "--texts=2", "b", NULL
    };
    struct try_options options = { 0 };
    char *argv[WORDS_MAX + 2];
    struct err err = { 0 };
    int first = try_read(words, &options, argv, &err);

    ck_assert_msg(first == 6, "%d %s", first, err.text);
    ck_assert(options.flag);
    ck_assert_str_eq(options.text, "x");
    ck_assert_uint_eq(options.texts.len, 2);
    ck_assert_str_eq(options.texts.items[0], "1");
    ck_assert_str_eq(options.texts.items[1], "2");
    ck_assert_str_eq(argv[first], "a");
    ck_assert_str_eq(argv[first + 1], "b");
    option_texts_done(&options.texts);
}
END_TEST

START_TEST(takes_numbers)
{
    const char *words[WORDS_MAX] = { "--count", "7", "--bytes-max=1MiB", "--wait", "30s",
                                     "file",    NULL };
    struct try_options options = { 0 };
    char *argv[WORDS_MAX + 2];
    struct err err = { 0 };

    ck_assert_int_eq(try_read(words, &options, argv, &err), 6);
    ck_assert_int_eq(options.count, 7);
    ck_assert_int_eq(options.bytes, 1 << 20);
    ck_assert_int_eq(options.ms, 30000);
}
END_TEST

START_TEST(stops_at_dashes)
{
    const char *words[WORDS_MAX] = { "--", "--flag", NULL };
    struct try_options options = { 0 };
    char *argv[WORDS_MAX + 2];
    struct err err = { 0 };

    ck_assert_int_eq(try_read(words, &options, argv, &err), 2);
    ck_assert(!options.flag);
}
END_TEST

START_TEST(asks_for_help)
{
    const char *words[2][WORDS_MAX] = { { "--help", NULL }, { "-f", "-h", NULL } };
    struct try_options options = { 0 };
    char *argv[WORDS_MAX + 2];
    struct err err = { 0 };

    ck_assert_int_eq(try_read(words[_i], &options, argv, &err), 0);
}
END_TEST

static const struct {
    const char *name;
    const char *words[WORDS_MAX];
    const char *want;
} refuse_cases[] = {
    { "no operand", { "-f" }, "FILE... is missing" },
    { "one too many", { "a", "b", "c" }, "unexpected argument \"c\"" },
    { "one too many, with a password",
      { "a", "b", "postgresql://ann:abc@db/x" },
      "unexpected argument \"postgresql://ann:***@db/x\"" },
    { "unknown long", { "--txt", "x", "a" }, "unknown option --txt; did you mean --text?" },
    { "unknown long with value",
      { "--fleg=1", "a" },
      "unknown option --fleg; did you mean --flag?" },
    { "like nothing", { "--zzzzzz", "a" }, "unknown option --zzzzzz" },
    { "unknown short", { "-x", "a" }, "unknown option -x" },
    { "unknown short in a bundle", { "-fx", "a" }, "unknown option -x" },
    { "ambiguous", { "--te", "a" }, "--te could be several options; write it out" },
    { "no value", { "a", "--text" }, "--text needs a value: --text TEXT" },
    { "no value, short", { "a", "-t" }, "--text needs a value: --text TEXT" },
    { "a value too many", { "--flag=1", "a" }, "--flag takes no value" },
    { "a value for help", { "--help=1", "a" }, "--help takes no value" },
    { "no number", { "--count", "x", "a" }, "--count: \"x\" is not a whole number" },
    { "too small", { "--count=0", "a" }, "--count: \"0\" is too small; the smallest is 1" },
    { "too large", { "--count=11", "a" }, "--count: \"11\" is too large; the largest is 10" },
    { "no bytes",
      { "--bytes-max=1MB", "a" },
      "--bytes-max: \"1MB\" is not a number of bytes; write it like 65536 or 64MiB (B, KiB, MiB, "
      "GiB, TiB)" },
    { "no duration",
      { "--wait=soon", "a" },
      "--wait: \"soon\" is not a duration; write it like 500ms, 30s, 5m, 1h, 7d, or as plain "
      "milliseconds" },
};

START_TEST(refuse_case)
{
    struct try_options options = { 0 };
    char *argv[WORDS_MAX + 2];
    struct err err = { 0 };
    int rc = try_read(refuse_cases[_i].words, &options, argv, &err);

    ck_assert_msg(rc == -1, "%s: taken", refuse_cases[_i].name);
    ck_assert_str_eq(err.text, refuse_cases[_i].want);
}
END_TEST

START_TEST(help_text)
{
    AUTO(mem_free) char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    options_help(&try_line, out);
    (void)fclose(out);
    ck_assert_ptr_eq(strstr(text, "usage: plumbline try [OPTION...] FILE...\nTries.\n\n"
                                  "  -f, --flag                     a flag\n"
                                  "  -t, --text TEXT                a text\n"
                                  "      --texts TEXT               some texts\n"),
                     text);
    ck_assert_ptr_nonnull(strstr(text, "  -h, --help                     this text\n\nA note.\n"));
}
END_TEST

/* defaults < file < environment < options */
START_TEST(config_layers)
{
    char path[] = "/tmp/plumbline-test-XXXXXX";
    const char *yaml = "listen: 127.0.0.1:1\nreads_max: 2\ncsv_columns_max: 100\ndatabase: a\n";
    struct options_config options = { .file = path, .data_dir = "/d" };
    AUTO(config_done) struct config config = { 0 };
    struct err err = { 0 };
    int fd = mkstemp(path), rc;
    FILE *file = fdopen(fd, "w");

    ck_assert_int_ge(fputs(yaml, file), 0);
    (void)fclose(file);
    ck_assert_int_eq(setenv("PLUMBLINE_READS_MAX", "3", 1), 0);
    ck_assert_int_eq(setenv("PLUMBLINE_LISTEN", "127.0.0.1:2", 1), 0);
    options.listen = "127.0.0.1:3";
    rc = options_config_load(&config, &options, &err);
    ck_assert_int_eq(remove(path), 0);
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert_str_eq(config.listen, "127.0.0.1:3");
    ck_assert_int_eq(config.reads_max, 3);
    ck_assert_int_eq(config.csv_columns_max, 100);
    ck_assert_int_eq(config.events_max, 100000);
    ck_assert_ptr_null(config.database); /* --data-dir goes before the file's database */
    ck_assert_str_eq(config.data_dir, "/d");
}
END_TEST

static const struct {
    const char *name;
    struct options_config options;
    const char *want;
} config_cases[] = {
    { "two databases",
      { .database = "a", .data_dir = "b" },
      "--database and --data-dir exclude each other: the first names a server, the second a "
      "private one" },
    { "no such file",
      { .file = "/nowhere.yaml" },
      "cannot read the configuration /nowhere.yaml: No such file or directory" },
    { "an address that is none",
      { .listen = "8190" },
      "listen: \"8190\" is not ADDR:PORT, as in 127.0.0.1:8190 or [::1]:8190" },
};

START_TEST(config_case)
{
    struct config config;
    struct err err = { 0 };

    ck_assert_int_eq(options_config_load(&config, &config_cases[_i].options, &err), -1);
    ck_assert_str_eq(err.text, config_cases[_i].want);
}
END_TEST

Suite *options_suite(void);
Suite *options_suite(void)
{
    Suite *suite = suite_create("options");
    TCase *tc = tcase_create("options");

    tcase_add_test(tc, takes_every_type);
    tcase_add_test(tc, takes_numbers);
    tcase_add_test(tc, stops_at_dashes);
    tcase_add_loop_test(tc, asks_for_help, 0, 2);
    tcase_add_loop_test(tc, refuse_case, 0, LENGTH(refuse_cases));
    tcase_add_test(tc, help_text);
    tcase_add_test(tc, config_layers);
    tcase_add_loop_test(tc, config_case, 0, LENGTH(config_cases));
    suite_add_tcase(suite, tc);
    return suite;
}
