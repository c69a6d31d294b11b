#include "../../collector/members_internal.h"

#include <check.h>
#include <stdlib.h>

#include "base/buf.h"

static const struct {
    const char *name, *text;
    const char *want; /* key=value|...; behind it '!' when it can't be read to its end */
} members_cases[] = {
    { "empty", "{}", "" },
    { "white space", " \t{ \r\n } ", "" },
    { "one", "{\"a\":1}", "a=1|" },
    { "two", "{\"a\":1,\"b\":\"x\"}", "a=1|b=\"x\"|" },
    { "space everywhere", " { \"a\" : 1 , \"b\" : [ 1 , 2 ] } ", "a=1|b=[ 1 , 2 ]|" },
    { "nested", "{\"a\":{\"b\":[{}]},\"c\":null}", "a={\"b\":[{}]}|c=null|" },
    { "brackets in a string", "{\"a\":\"}],{\",\"b\":{\"c\":\"}\"}}",
      "a=\"}],{\"|b={\"c\":\"}\"}|" },
    { "escaped quotes", "{\"a\\\"b\":\"c\\\\\",\"d\":\"\\\"\"}", "a\\\"b=\"c\\\\\"|d=\"\\\"\"|" },
    { "what is not JSON goes through", "{\"a\":NaN}", "a=NaN|" },
    { "no object", "[1]", "!" },
    { "nothing", "", "!" },
    { "cut behind the brace", "{", "!" },
    { "cut in a key", "{\"a", "!" },
    { "cut behind a backslash", "{\"a\\", "!" },
    { "cut behind a key", "{\"a\"", "!" },
    { "cut behind a colon", "{\"a\":", "!" },
    { "cut in a value", "{\"a\":12", "!" },
    { "cut in a string", "{\"a\":\"12", "!" },
    { "cut in a list", "{\"a\":[1,", "!" },
    { "no value", "{\"a\":}", "!" },
    { "no comma", "{\"a\":1 \"b\":2}", "!" },
    { "bare key", "{a:1}", "!" },
    { "closed too often", "{\"a\":1}}", "a=1|!" },
    { "something behind", "{} x", "!" },
};

START_TEST(members_case)
{
    struct span rest, text = span_of(members_cases[_i].text);
    struct member member;
    AUTO(buf_done) struct buf out;
    int rc = -1;

    buf_init(&out, 4096);
    if (members_begin(text, &rest)) {
        while ((rc = members_next(&rest, &member)) > 0) {
            buf_append_span(&out, member.key);
            buf_append_char(&out, '=');
            buf_append_span(&out, member.value);
            buf_append_char(&out, '|');
        }
    }
    if (rc < 0)
        buf_append_char(&out, '!');
    ck_assert_msg(span_is(buf_span(&out), members_cases[_i].want), "%s: %s", members_cases[_i].name,
                  buf_text(&out));
}
END_TEST

Suite *members_suite(void);
Suite *members_suite(void)
{
    Suite *suite = suite_create("members");
    TCase *tc = tcase_create("members");

    tcase_add_loop_test(tc, members_case, 0, LENGTH(members_cases));
    suite_add_tcase(suite, tc);
    return suite;
}
