#include "base/log.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Sends standard error into a file for one line and returns what stands behind "time=... ". */
static const char *log_capture(void (*fn)(void))
{
    static char text[4096];
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    const char *rest;

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
    fn();
    ck_assert_int_ge(dup2(saved, STDERR_FILENO), 0);
    (void)close(saved);
    rewind(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    (void)fclose(file);
    rest = strchr(text, ' ');
    return rest ? rest + 1 : text;
}

static void log_numbers(void)
{
    errno = 7;
    log_info("event=a d=%d u=%u zu=%zu ld=%ld x=%x s=%.*s f=%.2f c=%c p=100%%", -1, 2u, (size_t)3,
             -4L, 255u, 2, "abc", 1.25, 'z');
    ck_assert_int_eq(errno, 7);
}

static void log_hostile(void)
{
    log_error("event=a err=\"%s\"", "x\" level=info\nevent=\"b\x7f");
}

static void log_null(void)
{
    const char *volatile none = NULL; /* the compiler would see a plain one */

    log_warn("event=a err=%s", none);
}

static void log_below_level(void)
{
    log_debug("event=a");
}

static void log_long(void)
{
    char text[5000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_info("event=a err=%s", text);
}

START_TEST(lines)
{
    const char *line;

    ck_assert_str_eq(log_capture(log_numbers), "level=info event=a d=-1 u=2 zu=3 ld=-4 x=ff s=ab "
                                               "f=1.25 c=z p=100%\n");
    ck_assert_str_eq(log_capture(log_hostile),
                     "level=error event=a err=\"x' level=info event='b \"\n");
    ck_assert_str_eq(log_capture(log_null), "level=warn event=a err=(null)\n");
    ck_assert_str_eq(log_capture(log_below_level), "");
    log_level_set(LOG_LEVEL_DEBUG);
    ck_assert_str_eq(log_capture(log_below_level), "level=debug event=a\n");
    line = log_capture(log_long);
    ck_assert_uint_lt(strlen(line), 2049);
    ck_assert_int_eq(line[strlen(line) - 1], '\n');
}
END_TEST

Suite *log_suite(void); /* called from the table that tools/suites writes */

Suite *log_suite(void)
{
    Suite *suite = suite_create("base/log");
    TCase *tc = tcase_create("log");

    tcase_add_test(tc, lines);
    suite_add_tcase(suite, tc);
    return suite;
}
