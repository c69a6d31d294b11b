#include "../../collector/lines_internal.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

enum { LINE_BYTES_MAX = 8 };

static const struct {
    const char *name, *text;
    const char *want; /* the lines with '|' behind each, '#' for one that is too long */
} lines_cases[] = {
    { "nothing", "", "" },
    { "one", "a\n", "a|" },
    { "no line feed at the end", "a\nb", "a|b|" },
    { "empty lines", "\n\na\n\n", "||a||" },
    { "as long as may be", "12345678\n12345678", "12345678|12345678|" },
    { "too long", "a\n123456789\nb\n", "a|#|b|" },
    { "too long at the end", "a\n123456789", "a|#|" },
    { "carriage return", "a\r\n", "a\r|" },
};

static void lines_read_all(int fd, size_t bytes_max, struct buf *out)
{
    struct err err = { 0 };
    struct lines lines;
    struct span line;
    bool too_long;
    int rc;

    lines_init(&lines, fd, bytes_max);
    while ((rc = lines_next(&lines, &line, &too_long, &err)) > 0) {
        buf_append_span(out, line);
        buf_append_text(out, too_long ? "#|" : "|");
    }
    ck_assert_msg(rc == 0, "%s", err.text);
    lines_done(&lines);
}

START_TEST(lines_case)
{
    size_t len = strlen(lines_cases[_i].text);
    AUTO(buf_done) struct buf out;
    int ends[2];

    buf_init(&out, 4096);
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], lines_cases[_i].text, len), (ssize_t)len);
    (void)close(ends[1]);
    lines_read_all(ends[0], LINE_BYTES_MAX, &out);
    (void)close(ends[0]);
    ck_assert_msg(span_is(buf_span(&out), lines_cases[_i].want), "%s: %s", lines_cases[_i].name,
                  buf_text(&out));
}
END_TEST

/* Lines that straddle every read, and memory that a line without an end does not make grow. */
START_TEST(long_lines)
{
    char path[] = "/tmp/plumbline-test-XXXXXX";
    int fd = mkstemp(path);
    struct err err = { 0 };
    struct lines lines;
    struct span line;
    AUTO(mem_free) char *chunk = xmalloc(100000);
    bool too_long;

    (void)unlink(path);
    memset(chunk, 'x', 100000);
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(write(fd, chunk, 100000), 100000);
    ck_assert_int_eq(write(fd, "\n", 1), 1);
    ck_assert_int_eq(write(fd, chunk, 100000), 100000);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    lines_init(&lines, fd, 150000);
    ck_assert_int_eq(lines_next(&lines, &line, &too_long, &err), 1);
    ck_assert(too_long);
    ck_assert_uint_eq(line.len, 0);
    ck_assert_uint_lt(lines.cap, 1000000);
    ck_assert_int_eq(lines_next(&lines, &line, &too_long, &err), 1);
    ck_assert(!too_long);
    ck_assert_uint_eq(line.len, 100000);
    ck_assert_uint_eq(lines.number, 2);
    ck_assert_int_eq(lines_next(&lines, &line, &too_long, &err), 0);
    lines_done(&lines);
    (void)close(fd);
}
END_TEST

START_TEST(not_readable)
{
    struct err err = { 0 };
    struct lines lines;
    struct span line;
    bool too_long;

    lines_init(&lines, -1, LINE_BYTES_MAX);
    ck_assert_int_eq(lines_next(&lines, &line, &too_long, &err), -1);
    ck_assert_str_eq(err.text, "Bad file descriptor");
    lines_done(&lines);
}
END_TEST

Suite *lines_suite(void);
Suite *lines_suite(void)
{
    Suite *suite = suite_create("lines");
    TCase *tc = tcase_create("lines");

    tcase_add_loop_test(tc, lines_case, 0, LENGTH(lines_cases));
    tcase_add_test(tc, long_lines);
    tcase_add_test(tc, not_readable);
    suite_add_tcase(suite, tc);
    return suite;
}
