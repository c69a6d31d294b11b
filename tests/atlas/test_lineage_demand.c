#include "atlas/lineage_demand.h"

#include <check.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"

Suite *lineage_demand_suite(void);

#define A "0000000a-0000-4000-8000-000000000000"
#define B "0000000b-0000-4000-8000-000000000000"

/* Owned. Apostrophes stand for quotes. */
static json_t *json_of(const char *text)
{
    AUTO(mem_free) char *copy = xstrdup(text);
    json_error_t error;
    json_t *json;

    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json = json_loads(copy, 0, &error);
    ck_assert_msg(json != NULL, "%s: %s", text, error.text);
    return json;
}

#define ASKED(direction, in, out, depth)                                                           \
    "{'direction':'" direction "','inputRelationsLimit':" in ",'outputRelationsLimit':" out        \
    ",'depth':" depth "}"

/* As it is understood, with A as the base. */
static const struct {
    const char *body, *want;
} read_cases[] = {
    { "{}", "{'" A "':" ASKED("BOTH", "3", "3", "3") "}" },
    { "{'" A "':null}", "{'" A "':" ASKED("BOTH", "3", "3", "3") "}" },
    { "{'" A "':" ASKED("INPUT", "1", "5000", "2") "}",
      "{'" A "':" ASKED("INPUT", "1", "5000", "2") "}" },
    { "{'" A "':{'direction':null,'inputRelationsLimit':0,'depth':-1,'other':7}}",
      "{'" A "':" ASKED("BOTH", "3", "3", "-1") "}" },
    { "{'" B "':" ASKED("OUTPUT", "1", "2", "9") "}",
      "{'" B "':" ASKED("OUTPUT", "1", "2", "9") "}" },
    { "{'nobody':{},'0000000A-0000-4000-8000-000000000000':{'depth':7}}",
      "{'" A "':" ASKED("BOTH", "3", "3", "7") "}" },
};

START_TEST(demands_are_read)
{
    json_auto_t *body = json_of(read_cases[_i].body), *want = json_of(read_cases[_i].want);
    AUTO(lineage_demand_done) struct lineage_demand demand = { 0 };
    json_auto_t *have = NULL;
    AUTO(mem_free) char *text = NULL;
    struct lineage_fault fault;
    struct uuid base;

    ck_assert(uuid_parse(&base, span_of(A)) == 0);
    ck_assert_msg(lineage_demand_parse(&demand, body, &fault) == 0, "%s", fault.message);
    have = lineage_demand_json(&demand, &base);
    text = json_dumps(have, JSON_COMPACT);
    ck_assert_msg(json_equal(have, want), "%s: %s", read_cases[_i].body, text);
}
END_TEST

static const struct {
    const char *body, *code, *message;
} refused_cases[] = {
    { "[]", "ATLAS-400-00-029", "the body must be a JSON object" },
    { "{'" A "':7}", "ATLAS-400-00-029", "constraints must be an object: " A },
    { "{'" A "':{'direction':'UP'}}", "ATLAS-400-00-026",
      "Invalid lineage query parameters passed direction: UP" },
    { "{'" A "':{'direction':''}}", "ATLAS-400-00-026",
      "Invalid lineage query parameters passed direction: " },
    { "{'" A "':{'direction':1}}", "ATLAS-400-00-026",
      "Invalid lineage query parameters passed direction: " },
    { "{'nobody':{'depth':'deep'}}", "ATLAS-400-00-026",
      "Invalid lineage query parameters passed depth" },
    { "{'" A "':{'inputRelationsLimit':1.5}}", "ATLAS-400-00-026",
      "Invalid lineage query parameters passed inputRelationsLimit" },
    { "{'" A "':{'outputRelationsLimit':4294967296}}", "ATLAS-400-00-026",
      "Invalid lineage query parameters passed outputRelationsLimit" },
};

START_TEST(what_makes_no_sense_is_refused)
{
    json_auto_t *body = json_of(refused_cases[_i].body);
    struct lineage_demand demand;
    struct lineage_fault fault;

    ck_assert_int_eq(lineage_demand_parse(&demand, body, &fault), -1);
    ck_assert_str_eq(fault.code, refused_cases[_i].code);
    ck_assert_str_eq(fault.message, refused_cases[_i].message);
}
END_TEST

START_TEST(guids_have_a_limit)
{
    json_auto_t *body = json_object();
    struct lineage_demand demand;
    struct lineage_fault fault;

    for (int i = 0; i < LINEAGE_DEMANDS_MAX; i++) {
        AUTO(mem_free) char *guid = xasprintf("%08x-0000-4000-8000-000000000000", (unsigned)i);

        (void)json_object_set_new(body, guid, json_null());
    }
    ck_assert_int_eq(lineage_demand_parse(&demand, body, &fault), 0);
    ck_assert_uint_eq(demand.len, LINEAGE_DEMANDS_MAX);
    lineage_demand_done(&demand);
    (void)json_object_set_new(body, "one more", json_null());
    ck_assert_int_eq(lineage_demand_parse(&demand, body, &fault), -1);
    ck_assert_str_eq(fault.message, "constraints of more than 1000 guids");
}
END_TEST

START_TEST(limits_of_an_entity)
{
    struct lineage_constraints constraints = { .inputs = -1, .outputs = 7 };
    struct walk_limit limit = lineage_limit(&constraints);

    ck_assert(limit.inputs == SIZE_MAX);
    ck_assert(limit.outputs == 7);
}
END_TEST

Suite *lineage_demand_suite(void)
{
    Suite *suite = suite_create("lineage_demand");
    TCase *tc = tcase_create("lineage_demand");

    tcase_add_loop_test(tc, demands_are_read, 0, LENGTH(read_cases));
    tcase_add_loop_test(tc, what_makes_no_sense_is_refused, 0, LENGTH(refused_cases));
    tcase_add_test(tc, guids_have_a_limit);
    tcase_add_test(tc, limits_of_an_entity);
    suite_add_tcase(suite, tc);
    return suite;
}
