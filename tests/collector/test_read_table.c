#include "../../collector/read_table_internal.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const struct {
    const char *name, *text;
    int64_t start_ms, end_ms;
} time_cases[] = {
    { "milliseconds", "1596185125125", 1596185125125, 1596185125125 },
    { "negative", "-5", -5, -5 },
    { "a day", "2020-07-31", 1596153600000, 1596239999999 },
    { "a minute", "2020-07-31T08:45", 1596185100000, 1596185159999 },
    { "a second", "2020-07-31T08:45:25", 1596185125000, 1596185125999 },
    { "a second of UTC", "2020-07-31T08:45:25Z", 1596185125000, 1596185125999 },
    { "milliseconds of it", "2020-07-31T08:45:25.125Z", 1596185125125, 1596185125125 },
    { "tenths", "2020-07-31T08:45:25.1", 1596185125100, 1596185125100 },
    { "microseconds", "2020-07-31 08:45:25.125999", 1596185125125, 1596185125125 },
    { "east of UTC", "2020-07-31T10:45+02:00", 1596185100000, 1596185159999 },
    { "west of UTC", "2020-07-31T03:15:25-0530", 1596185125000, 1596185125999 },
    { "a day somewhere", "2020-07-31+02:00", 1596146400000, 1596232799999 },
    { "leap day", "2020-02-29", 1582934400000, 1583020799999 },
    { "long ago", "1969-12-31T23:59:59Z", -1000, -1 },
};

START_TEST(time_case)
{
    struct err err = { 0 };
    int64_t ms = 0;

    ck_assert_msg(read_time_parse(time_cases[_i].text, false, &ms, &err) == 0, "%s: %s",
                  time_cases[_i].name, err.text);
    ck_assert_int_eq(ms, time_cases[_i].start_ms);
    ck_assert_int_eq(read_time_parse(time_cases[_i].text, true, &ms, &err), 0);
    ck_assert_int_eq(ms, time_cases[_i].end_ms);
}
END_TEST

static const char *const time_refused[] = {
    "",
    "yesterday",
    "2020-7-31",
    "2020-02-30",
    "2021-02-29",
    "2020-13-01",
    "2020-00-01",
    "2020-07-31T",
    "2020-07-31T8:45",
    "2020-07-31T24:01",
    "2020-07-31T08:60",
    "2020-07-31T08:45:",
    "2020-07-31T08:45:61",
    "2020-07-31T08:45:25.",
    "2020-07-31T08:45:25+2",
    "2020-07-31T08:45:25+24:00",
    "2020-07-31T08:45:25 CET",
    "2020-07-31x",
    "1596185125125ms",
    " 1",
    "+1",
    "1e3",
    "99999999999999999999",
};

START_TEST(time_refuse)
{
    AUTO(mem_free)
    char *want = xasprintf("\"%s\" is no time; write milliseconds since 1970, "
                           "2020-07-31 or 2020-07-31T08:45:25Z",
                           time_refused[_i]);
    struct err err = { 0 };
    int64_t ms = 7;

    ck_assert_int_eq(read_time_parse(time_refused[_i], false, &ms, &err), -1);
    ck_assert_str_eq(err.text, want);
    ck_assert_int_eq(ms, 7);
}
END_TEST

#define HEAD "START                     KIND        UUID      METRICS\n"
#define ROW(uuid, metrics)                                                                         \
    "{\"modelDeploymentCrn\":\"d\",\"modelBuildCrn\":\"\",\"modelCrn\":\"\",\"startTimeStampMs\":" \
    "1596185125125,\"endTimeStampMs\":2,\"predictionUuid\":\"" uuid "\",\"metrics\":" metrics      \
    "}\n"

static const struct {
    const char *name;
    size_t columns;
    const char *rows, *want;
} table_cases[] = {
    { "nothing", 0, "", "" },
    { "a prediction and an aggregate", 0,
      ROW("12f34405-38fa-42de-9ed4-68dbd82d36f6", "{\"a\":0.10,\"b\":\"x y\"}")
          ROW("", "{\"accuracy\":0.79}"),
      HEAD "2020-07-31T08:45:25.125Z  prediction  12f34405  a=0.10 b=\"x y\"\n"
           "2020-07-31T08:45:25.125Z  aggregate             accuracy=0.79\n" },
    { "no metrics", 0, ROW("", "{}"), HEAD "2020-07-31T08:45:25.125Z  aggregate             \n" },
    { "whole where there is no terminal", 0,
      ROW("", "{\"a\":{\"bbbbbbbbbbbbbbbbbbbbbbbbbb\":1},\"c\":2}"),
      HEAD "2020-07-31T08:45:25.125Z  aggregate             "
           "a={\"bbbbbbbbbbbbbbbbbbbbbbbbbb\":1} c=2\n" },
    { "nested values are folded", 80,
      ROW("", "{\"a\":{\"bbbbbbbbbbbbbbbbbbbbbbbbbb\":1},\"c\":[1],\"d\":"
              "[1,2,3,4,5,6,7,8,9,10,11,12]}"),
      HEAD "2020-07-31T08:45:25.125Z  aggregate             a={...} c=[1] d=[...]\n" },
    { "cut at the terminal's edge", 60, ROW("", "{\"abcdefgh\":123456789}"),
      HEAD "2020-07-31T08:45:25.125Z  aggregate             abcdefgh=123\n" },
    { "characters are cut, not bytes", 52,
      ROW("", "{\"\xc3\xa4\xe2\x82\xac\":\"\xf0\x9f\x98\x80\"}"),
      HEAD "2020-07-31T08:45:25.125Z  aggregate             \xc3\xa4\xe2\x82\xac=\"\n" },
    { "a narrow terminal", 10, ROW("", "{\"abcdefgh\":123456789}"),
      HEAD "2020-07-31T08:45:25.125Z  aggregate             a\n" },
    { "controls of a terminal", 0, ROW("", "{\"a\":\"\x7f\xc2\x9b[31m\"}"),
      HEAD "2020-07-31T08:45:25.125Z  aggregate             a=\"??[31m\"\n" },
};

START_TEST(table_case)
{
    const char *rows = table_cases[_i].rows;
    AUTO(mem_free) char *text = NULL;
    struct read_table table;
    struct err err = { 0 };
    size_t len;
    FILE *out = open_memstream(&text, &len);

    read_table_init(&table, out, table_cases[_i].columns);
    for (const char *p = rows; *p; p++) /* an answer may be cut anywhere */
        ck_assert_msg(read_table_write(&table, p, 1, &err) == 0, "%s", err.text);
    read_table_done(&table);
    (void)fclose(out);
    ck_assert_str_eq(text, table_cases[_i].want);
}
END_TEST

START_TEST(table_refuses)
{
    static const char *const lines[] = { "hello\n", "{\"metrics\":\n", "{\"error\":{}}\n" };
    AUTO(mem_free) char *text = NULL;
    struct read_table table;
    struct err err = { 0 };
    size_t len;
    FILE *out = open_memstream(&text, &len);

    read_table_init(&table, out, 0);
    ck_assert_int_eq(read_table_write(&table, lines[_i], strlen(lines[_i]), &err), -1);
    ck_assert_str_eq(err.text, "row 1 of the answer is no row");
    read_table_done(&table);
    (void)fclose(out);
}
END_TEST

Suite *read_table_suite(void);
Suite *read_table_suite(void)
{
    Suite *suite = suite_create("read_table");
    TCase *tc = tcase_create("read_table");

    tcase_add_loop_test(tc, time_case, 0, LENGTH(time_cases));
    tcase_add_loop_test(tc, time_refuse, 0, LENGTH(time_refused));
    tcase_add_loop_test(tc, table_case, 0, LENGTH(table_cases));
    tcase_add_loop_test(tc, table_refuses, 0, 3);
    suite_add_tcase(suite, tc);
    return suite;
}
