#include "collector/parameter.h"

#include <check.h>

#include "base/buf.h"

static const struct {
    const char *name, *value;
    const char *want_name, *want_value; /* NULL: refused */
} other_cases[] = {
    { "guid", "a", "guid", "a" },
    { "attr%3AqualifiedName", "x.t%40cm", "attr:qualifiedName", "x.t@cm" },
    { "attr:qualifiedName", "", "attr:qualifiedName", "" },
    { "", "x", "", "x" },
    { "a%", "x", NULL, NULL },
    { "a", "%4", NULL, NULL },
    { "a", "%zz", NULL, NULL },
    { "a", "%00", NULL, NULL },
};

START_TEST(other_case)
{
    struct parameters parameters = { 0 };
    struct fault fault = { 0 };
    int rc = parameters_add_other(&parameters, span_of(other_cases[_i].name),
                                  span_of(other_cases[_i].value), &fault);

    ck_assert_int_eq(rc, other_cases[_i].want_name ? 0 : -1);
    ck_assert_uint_eq(fault.status, rc ? 400 : 0);
    if (rc == 0)
        ck_assert(span_is(parameters_get_other(&parameters, other_cases[_i].want_name),
                          other_cases[_i].want_value));
    else
        ck_assert_uint_eq(parameters.others_len, 0);
    parameters_done(&parameters);
}
END_TEST

/* Any number of them, in their order; asked for by name it is the first. */
START_TEST(others_again)
{
    struct parameters parameters = { 0 };
    struct fault fault = { 0 };

    ck_assert_int_eq(parameters_add_other(&parameters, SPAN_LITERAL("guid"), SPAN_LITERAL("a"),
                                          &fault),
                     0);
    ck_assert_int_eq(parameters_add_other(&parameters, SPAN_LITERAL("guid"), SPAN_LITERAL("b"),
                                          &fault),
                     0);
    ck_assert(span_is(parameters_get_other(&parameters, "guid"), "a"));
    ck_assert_str_eq(parameters.others[1].text, "b");
    ck_assert_ptr_null(parameters_get_other(&parameters, "none").data);
    parameters_done(&parameters);
    ck_assert_ptr_null(parameters_get_other(&parameters, "guid").data);
}
END_TEST

static const struct {
    unsigned status;
    const char *code, *want;
} fault_cases[] = {
    { 404, "ATLAS-404-00-005",
      "{\"errorCode\":\"ATLAS-404-00-005\",\"errorMessage\":\"no \\\"x\\\"\"}" },
    { 400, "invalid_parameter",
      "{\"errorCode\":\"ATLAS-400-00-029\",\"errorMessage\":\"no \\\"x\\\"\"}" },
    { 503, "overloaded", "{\"errorCode\":\"ATLAS-503-00-001\",\"errorMessage\":\"no \\\"x\\\"\"}" },
};

START_TEST(fault_as_atlas)
{
    AUTO(buf_done) struct buf out;
    struct fault fault = { 0 };

    buf_init(&out, 1024);
    (void)fault_set(&fault, fault_cases[_i].status, fault_cases[_i].code, NULL, "no \"x\"");
    fault_write_atlas(&fault, &out);
    ck_assert_str_eq(buf_text(&out), fault_cases[_i].want);
}
END_TEST

Suite *parameter_suite(void); /* called from the table that tools/suites writes */

Suite *parameter_suite(void)
{
    Suite *suite = suite_create("parameter");
    TCase *tc = tcase_create("parameter");

    tcase_add_loop_test(tc, other_case, 0, LENGTH(other_cases));
    tcase_add_test(tc, others_again);
    tcase_add_loop_test(tc, fault_as_atlas, 0, LENGTH(fault_cases));
    suite_add_tcase(suite, tc);
    return suite;
}
