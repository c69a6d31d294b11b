#include "atlas/search.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/type_change.h"
#include "atlas/type_parse.h"
#include "base/buf.h"
#include "base/mem.h"

Suite *search_suite(void);

static struct type_registry *registry;

/* Owned. Apostrophes stand for quotes. */
static json_t *json_of(const char *text);

static const char tag_types[] =
    "{'classificationDefs':[{'name':'PII','attributeDefs':[{'name':'level','typeName':'int',"
    "'isOptional':true}]},{'name':'STRICT','attributeDefs':[{'name':'why','typeName':'string',"
    "'isOptional':true},{'name':'level','typeName':'int','isOptional':true}]}]}";

/* The types that are built in, and two classifications. */
static void setup(void)
{
    AUTO(type_registry_free) struct type_registry *builtin = type_registry_new();
    AUTO(type_givens_done) struct type_givens givens = { 0 };
    AUTO(type_change_done) struct type_change made = { 0 };
    json_auto_t *types = json_of(tag_types);
    struct type_stamp stamp = { "ada", "ada", 1000, 1000, 1 };
    struct type_fault fault;

    ck_assert(type_parse(&givens, types, &stamp, &fault) == 0);
    ck_assert(type_change_make(&made, builtin, &givens, TYPE_CREATE, &fault) == 0);
    registry = type_registry_ref(made.after);
}

static void teardown(void)
{
    type_registry_free(registry);
}

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

/* ---- what is read ---- */

static void write_filter(struct buf *out, const struct search_filter *filter)
{
    if (!filter->children_len) {
        buf_append_fmt(out, "%s/%d/%d %d", filter->field.name, (int)filter->field.place,
                       (int)filter->field.kind, (int)filter->operator);
        for (size_t i = 0; i < filter->values_len; i++)
            buf_append_fmt(out, " <%s>", filter->values[i]);
        return;
    }
    buf_append_text(out, filter->is_or ? "OR(" : "AND(");
    for (size_t i = 0; i < filter->children_len; i++) {
        buf_append_text(out, i ? ", " : "");
        write_filter(out, &filter->children[i]);
    }
    buf_append_char(out, ')');
}

static void write_search(struct buf *out, const struct search *search)
{
    buf_append_fmt(out, "types=%zu", search->types.len);
    for (size_t i = 0; i < search->words_len; i++)
        buf_append_fmt(out, " word=%s", search->words[i]);
    if (search->tags)
        buf_append_text(out, search->tags == SEARCH_CLASSIFIED ? " classified" : " bare");
    for (size_t i = 0; i < search->tag_types.len; i++)
        buf_append_fmt(out, " tag=%s", search->tag_types.items[i]->def->name);
    if (search->excludes_deleted)
        buf_append_text(out, " active");
    if (search->has_filter) {
        buf_append_text(out, " filter=");
        write_filter(out, &search->filter);
    }
    if (search->has_tag_filter) {
        buf_append_text(out, " tags=");
        write_filter(out, &search->tag_filter);
    }
    if (search->has_sort)
        buf_append_fmt(out, " sort=%s %s", search->sort.name,
                       search->is_descending ? "down" : "up");
    for (size_t i = 0; i < search->attributes_len; i++)
        buf_append_fmt(out, " show=%s", search->attributes[i]);
    buf_append_fmt(out, " limit=%d offset=%d", (int)search->limit, (int)search->offset);
}

#define BUILD "'typeName':'ml_model_build',"
#define TEST(attribute, operator, value)                                                           \
    "'attributeName':'" attribute "','operator':'" operator"','attributeValue':'" value "'"
#define TAGGED(classification, attribute, operator, value)                                         \
    "{'classification':'" classification "','tagFilters':{" TEST(attribute, operator, value) "}}"
#define FILTER(attribute, operator, value)                                                         \
    "{" BUILD "'entityFilters':{" TEST(attribute, operator, value) "}}"

static const struct {
    const char *parameters, *want;
} read_cases[] = {
    { "{'typeName':'hive_table'}", "types=1 limit=100 offset=0" },
    { "{'typeName':'hive_table, fs_path,hive_table','includeSubTypes':null}",
      "types=3 limit=100 offset=0" },
    { "{'typeName':'hive_table,fs_path','includeSubTypes':false}", "types=2 limit=100 offset=0" },
    { "{'typeName':'_ALL_ENTITY_TYPES','limit':10000,'offset':7}", "types=0 limit=10000 offset=7" },
    { "{'typeName':'hive_table','limit':10001}", "types=1 limit=100 offset=0" },
    { "{'typeName':'hive_table','limit':'5','offset':'6','excludeDeletedEntities':'True'}",
      "types=1 active limit=5 offset=6" },
    { "{'query':' chu*  AND x?y ','unknown':{}}", "types=0 word=chu* word=x?y limit=100 offset=0" },
    { "{'query':'*'}", "types=0 limit=100 offset=0" },
    { "{'classification':'_NOT_CLASSIFIED','query':''}", "types=0 bare limit=100 offset=0" },
    { "{'classification':'*'}", "types=0 classified limit=100 offset=0" },
    { "{'typeName':'ml_model_build','sortBy':'version','sortOrder':'DESCENDING'}",
      "types=1 sort=version down limit=100 offset=0" },
    { "{'typeName':'DataSet','includeSubTypes':false,'sortBy':'__timestamp','attributes':['owner',"
      "'name']}",
      "types=1 sort=__timestamp up show=owner show=name limit=100 offset=0" },
    { "{'typeName':'ml_project','entityFilters':{'criterion':[]},'tagFilters':{'condition':'AND'}}",
      "types=1 limit=100 offset=0" },
    { FILTER("version", "lt", "7"), "types=1 filter=version/0/1 0 <7> limit=100 offset=0" },
    { FILTER("qualifiedName", "=", "7"),
      "types=1 filter=qualifiedName/1/0 4 <7> limit=100 offset=0" },
    { FILTER("createTime", ">=", "2023-11-14T22:13:20.001Z"),
      "types=1 filter=createTime/0/2 3 <1700000000001> limit=100 offset=0" },
    { FILTER("createTime", "timerange", "-5, 2023-11-14T22:13:20Z"),
      "types=1 filter=createTime/0/2 16 <-5> <1700000000000> limit=100 offset=0" },
    { FILTER("name", "containsAny", "a, b,,c"),
      "types=1 filter=name/0/0 12 <a> <b> <c> limit=100 offset=0" },
    { FILTER("__isIncomplete", "eq", "True"),
      "types=1 filter=__isIncomplete/9/3 4 <true> limit=100 offset=0" },
    { "{" BUILD "'entityFilters':{'attributeName':'version','operator':'eq','attributeValue':7}}",
      "types=1 filter=version/0/1 4 <7> limit=100 offset=0" },
    { "{" BUILD "'entityFilters':{'attributeName':'name','operator':'eq','attributeValue':0.1}}",
      "types=1 filter=name/0/0 4 <0.1> limit=100 offset=0" },
    { "{" BUILD "'entityFilters':{'attributeName':'name','operator':'eq','attributeValue':"
      "0.30000000000000004}}",
      "types=1 filter=name/0/0 4 <0.30000000000000004> limit=100 offset=0" },
    { "{'entityFilters':{'attributeName':'__isIncomplete','operator':'eq','attributeValue':true}}",
      "types=0 filter=__isIncomplete/9/3 4 <true> limit=100 offset=0" },
    { "{'query':7}", "types=0 word=7 limit=100 offset=0" },
    { "{" BUILD "'attributes':['owner','name','owner']}",
      "types=1 show=owner show=name limit=100 offset=0" },
    { FILTER("version", "lt", "-1e-1000"),
      "types=1 filter=version/0/1 0 <-1e-1000> limit=100 offset=0" },
    { FILTER("metadata", "NOT_NULL", ""), "types=1 filter=metadata/0/5 15 limit=100 offset=0" },
    { "{'entityFilters':{" TEST("status", "eq", "deployed") "}}",
      "types=0 filter=status/0/0 4 <deployed> limit=100 offset=0" },
    { "{" BUILD "'entityFilters':{'condition':'or','criterion':[{" TEST(
          "name", "eq",
          "a") "},"
               "{'condition':'AND','criterion':[{" TEST("name", "like",
                                                        "b*") "},{" TEST("version", "gt",
                                                                         "1.5e3") "}]}]}}",
      "types=1 filter=OR(name/0/0 4 <a>, AND(name/0/0 7 <b*>, version/0/1 1 <1.5e3>)) limit=100 "
      "offset=0" },
    { TAGGED("PII", "level", "gte", "3"),
      "types=0 classified tag=PII tags=level/0/1 3 <3> limit=100 offset=0" },
    { TAGGED("PII,STRICT", "level", "isNull", ""),
      "types=0 classified tag=PII tag=STRICT tags=level/0/1 14 limit=100 offset=0" },
    { TAGGED("*", "why", "like", "a*"),
      "types=0 classified tags=why/0/0 7 <a*> limit=100 offset=0" },
    { TAGGED("_CLASSIFIED", "__typeName", "in", "PII,STRICT"),
      "types=0 classified tags=__typeName/3/0 6 <PII> <STRICT> limit=100 offset=0" },
    { "{'classification':'STRICT','entityFilters':{" TEST(
          "status", "eq",
          "deployed") "},"
                      "'tagFilters':{'criterion':[{" TEST("why", "eq",
                                                          "x") "},{" TEST("__createdBy", "eq",
                                                                          "ada") "}]}}",
      "types=0 classified tag=STRICT filter=status/0/0 4 <deployed> tags=AND(why/0/0 4 <x>, "
      "__createdBy/5/0 4 <ada>) limit=100 offset=0" },
};

START_TEST(parameters_are_read)
{
    json_auto_t *parameters = json_of(read_cases[_i].parameters);
    AUTO(buf_done) struct buf have;
    struct search_fault fault;
    struct search search;

    buf_init(&have, SIZE_MAX);
    ck_assert_msg(search_parse(&search, registry, parameters, &fault) == 0, "%s: %s",
                  read_cases[_i].parameters, fault.message);
    write_search(&have, &search);
    ck_assert_str_eq(buf_text(&have), read_cases[_i].want);
    search_done(&search);
}
END_TEST

START_TEST(every_spelling_of_an_operator)
{
    static const char *const spellings[] = {
        "<",
        "lt",
        ">",
        "gt",
        "<=",
        "lte",
        ">=",
        "gte",
        "=",
        "eq",
        "!=",
        "neq",
        "in",
        "IN",
        "like",
        "LIKE",
        "startsWith",
        "STARTSWITH",
        "begins_with",
        "BEGINS_WITH",
        "endsWith",
        "ENDSWITH",
        "ends_with",
        "ENDS_WITH",
        "contains",
        "CONTAINS",
        "not_contains",
        "NOT_CONTAINS",
        "containsAny",
        "CONTAINSANY",
        "contains_any",
        "CONTAINS_ANY",
        "containsAll",
        "CONTAINSALL",
        "contains_all",
        "CONTAINS_ALL",
        "isNull",
        "ISNULL",
        "is_null",
        "IS_NULL",
        "notNull",
        "NOTNULL",
        "not_null",
        "NOT_NULL",
        "notEmpty",
        "NOTEMPTY",
        "not_empty",
        "NOT_EMPTY",
    };

    for (size_t i = 0; i < LENGTH(spellings); i++) {
        json_auto_t *parameters =
            json_pack("{s:s, s:{s:s, s:s, s:s}}", "typeName", "ml_project", "entityFilters",
                      "attributeName", "name", "operator", spellings[i], "attributeValue", "x");
        struct search_fault fault;
        struct search search;

        ck_assert_msg(search_parse(&search, registry, parameters, &fault) == 0, "%s: %s",
                      spellings[i], fault.message);
        search_done(&search);
    }
}
END_TEST

/* ---- what is refused ---- */

#define BAD "ATLAS-400-00-029"
#define NOTHING                                                                                    \
    "No search parameter was found. One of the following MUST be specified in the request; "       \
    "typeName, classification, termName or queryText"
#define NESTED(inner) "{'criterion':[" inner "]}"

static const struct {
    const char *parameters, *code, *message;
} refused_cases[] = {
    { "[]", BAD, "the body must be a JSON object" },
    { "{}", "ATLAS-400-00-047", NOTHING },
    { "{'query':null,'typeName':'','entityFilters':{}}", "ATLAS-400-00-047", NOTHING },
    { "{'typeName':{}}", BAD, "typeName must be a text" },
    { "{'typeName':7}", "ATLAS-400-00-00A", "7: Unknown/invalid typename" },
    { "{'typeName':' ,'}", "ATLAS-400-00-00A", " ,: Unknown/invalid typename" },
    { "{" BUILD "'entityFilters':{'attributeName':'name','operator':'eq','attributeValue':[7]}}",
      BAD, "attributeValue must be a text" },
    { "{'typeName':'hive_table,none'}", "ATLAS-400-00-00A", "none: Unknown/invalid typename" },
    { "{'typeName':'hive_serde'}", "ATLAS-400-00-00A", "hive_serde: Unknown/invalid typename" },
    { "{'classification':'NONE'}", "ATLAS-400-00-046", "NONE: Unknown/invalid classification" },
    { "{'termName':'t@g'}", "ATLAS-400-00-06E", "t@g: Unknown/invalid glossary term" },
    { "{" BUILD "'relationshipName':'r'}", BAD, "relationshipName is not supported" },
    { "{" BUILD "'marker':'*'}", BAD, "marker is not supported" },
    { "{" BUILD "'excludeHeaderAttributes':true}", BAD,
      "excludeHeaderAttributes is not supported" },
    { "{" BUILD "'relationshipFilters':{" TEST("a", "eq", "b") "}}", BAD,
      "relationshipFilters are not supported" },
    { "{" BUILD "'tagFilters':{" TEST("a", "eq", "b") "}}", BAD,
      "TagFilters specified without tag name" },
    { "{'classification':'_NOT_CLASSIFIED','tagFilters':{" TEST("a", "eq", "b") "}}", BAD,
      "tagFilters do not go with classification _NOT_CLASSIFIED" },
    { TAGGED("PII", "why", "eq", "b"), "ATLAS-400-00-023", "Attribute why not found for type PII" },
    { TAGGED("STRICT,PII", "why", "eq", "b"), "ATLAS-400-00-023",
      "Attribute why not found for type PII" },
    { TAGGED("*", "name", "eq", "b"), "ATLAS-400-00-023",
      "Attribute name not found for type _ALL_CLASSIFICATION_TYPES" },
    { TAGGED("PII", "__guid", "eq", "b"), BAD, "attribute __guid can't be searched by" },
    { TAGGED("PII", "level", "eq", "high"), "ATLAS-400-00-028", "invalid value: high" },
    { TAGGED("PII", "level", "contains", "1"), BAD,
      "operator contains does not go with attribute level" },
    { "{'query':'x','entityFilters':{" TEST("level", "eq", "1") "}}", "ATLAS-400-00-023",
      "Attribute level not found for type _ALL_ENTITY_TYPES" },
    { "{" BUILD "'limit':-1}", BAD, "Limit/offset should be non-negative" },
    { "{" BUILD "'offset':'-1'}", BAD, "Limit/offset should be non-negative" },
    { "{" BUILD "'limit':'ten'}", BAD, "limit must be a whole number of 32 bits" },
    { "{" BUILD "'offset':1.5}", BAD, "offset must be a whole number of 32 bits" },
    { "{" BUILD "'offset':4294967296}", BAD, "offset must be a whole number of 32 bits" },
    { "{" BUILD "'includeSubTypes':1}", BAD, "includeSubTypes must be true or false" },
    { "{" BUILD "'sortOrder':'UP'}", BAD, "sortOrder must be ASCENDING or DESCENDING: \"UP\"" },
    { "{" BUILD "'sortBy':'none'}", "ATLAS-400-00-023",
      "Attribute none not found for type ml_model_build" },
    { "{" BUILD "'sortBy':'metadata'}", BAD, "attribute metadata has no order to sort by" },
    { "{" BUILD "'attributes':'name'}", BAD, "attributes must be a list" },
    { "{" BUILD "'attributes':['none']}", "ATLAS-400-00-023",
      "Attribute none not found for type ml_model_build" },
    { "{" BUILD "'attributes':[null]}", "ATLAS-400-00-023",
      "Attribute  not found for type ml_model_build" },
    { "{'typeName':'Process','attributes':['inputs']}", BAD,
      "attribute inputs is a relationship, which a search does not show: read the entity" },
    { "{'query':'a OR b'}", BAD,
      "a query has words with the wildcards * and ?, all of which are wanted; OR, NOT and quotes "
      "are not taken" },
    { "{'query':'1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17'}", BAD,
      "a query of more than 16 words or 32 wildcards" },
    { "{" BUILD "'entityFilters':[]}", BAD, "a filter must be an object" },
    { "{" BUILD "'entityFilters':{'criterion':[7]}}", BAD, "a filter must be an object" },
    { "{" BUILD "'entityFilters':{'attributeName':'name','criterion':{}}}", BAD,
      "criterion must be a list" },
    { "{" BUILD "'entityFilters':{'condition':'XOR','criterion':[{}]}}", BAD,
      "condition must be AND or OR: \"XOR\"" },
    { "{" BUILD "'entityFilters':{'criterion':[{}]}}", BAD, "a filter has no attributeName" },
    { "{" BUILD "'entityFilters':" NESTED(
          NESTED(NESTED(NESTED(NESTED(NESTED(NESTED(NESTED("{'attributeName':'name'}")))))))) "}",
      BAD, "more than 100 filters, or more than 8 in each other" },
    { FILTER("none", "eq", "x"), "ATLAS-400-00-023",
      "Attribute none not found for type ml_model_build" },
    { "{'query':'x','entityFilters':{" TEST("none", "eq", "x") "}}", "ATLAS-400-00-023",
      "Attribute none not found for type _ALL_ENTITY_TYPES" },
    { "{'typeName':'ml_model_build,ml_project','entityFilters':{" TEST("version", "eq", "1") "}}",
      "ATLAS-400-00-023", "Attribute version not found for type ml_project" },
    { FILTER("project", "eq", "x"), BAD,
      "attribute project is a relationship, which can't be searched by: read the entity" },
    { FILTER("__labels", "eq", "x"), BAD, "attribute __labels can't be searched by" },
    { FILTER("name", "is", "x"), BAD, "unknown operator of name: \"is\"" },
    { "{" BUILD "'entityFilters':{'attributeName':'name'}}", BAD,
      "unknown operator of name: \"\"" },
    { FILTER("version", "contains", "1"), BAD,
      "operator contains does not go with attribute version" },
    { FILTER("metadata", "eq", "1"), BAD, "operator eq does not go with attribute metadata" },
    { FILTER("name", "timerange", "1,2"), BAD,
      "operator timerange does not go with attribute name" },
    { FILTER("name", "eq", ""), BAD, "attributeValue of name is missing" },
    { FILTER("name", "in", " , "), BAD, "attributeValue of name is missing" },
    { FILTER("version", "eq", "one"), "ATLAS-400-00-028", "invalid value: one" },
    { FILTER("version", "eq", "[1]"), "ATLAS-400-00-028", "invalid value: [1]" },
    { FILTER("version", "eq", "NaN"), "ATLAS-400-00-028", "invalid value: NaN" },
    { FILTER("version", "eq", "1e-1001"), "ATLAS-400-00-028", "invalid value: 1e-1001" },
    { FILTER("version", "eq", "0E99999999999999999999"), "ATLAS-400-00-028",
      "invalid value: 0E99999999999999999999" },
    { FILTER("createTime", "eq", "1e3"), "ATLAS-400-00-028", "invalid value: 1e3" },
    { FILTER("createTime", "eq", "2023-11-14T22:13:20"), "ATLAS-400-00-028",
      "invalid value: 2023-11-14T22:13:20" },
    { FILTER("createTime", "timerange", "LAST_7_DAYS,"), "ATLAS-400-00-028",
      "invalid value: LAST_7_DAYS" },
    { FILTER("createTime", "timerange", "5"), "ATLAS-400-00-028",
      "invalid value: 5 (a time range is two times with a comma between them)" },
    { FILTER("__isIncomplete", "eq", "maybe"), "ATLAS-400-00-028", "invalid value: maybe" },
};

START_TEST(what_can_not_be_answered_is_refused)
{
    json_auto_t *parameters = json_of(refused_cases[_i].parameters);
    struct search_fault fault;
    struct search search;

    ck_assert_msg(search_parse(&search, registry, parameters, &fault) == -1, "%s is taken",
                  refused_cases[_i].parameters);
    ck_assert_str_eq(fault.message, refused_cases[_i].message);
    ck_assert_str_eq(fault.code, refused_cases[_i].code);
}
END_TEST

/* ---- quick ---- */

static const struct {
    const char *parameters, *want; /* or what is said */
} quick_cases[] = {
    { "{'query':'chu'}", "types=0 word=chu* limit=100 offset=0" },
    { "{'query':'a_1','limit':5}", "types=0 word=a_1* limit=5 offset=0" },
    { "{'query':'db.table'}", "types=0 word=db.table* limit=100 offset=0" },
    { "{'query':'db.1'}", "types=0 word=db.1 limit=100 offset=0" },
    { "{'query':'.db'}", "types=0 word=.db limit=100 offset=0" },
    { "{'query':'db.'}", "types=0 word=db. limit=100 offset=0" },
    { "{'query':'a b'}", "types=0 word=a word=b limit=100 offset=0" },
    { "{'query':'a-b'}", "types=0 word=a-b limit=100 offset=0" },
    { "{'query':'a*'}", "types=0 word=a* limit=100 offset=0" },
    { "{'query':'\xc3\xa4'}", "types=0 word=\xc3\xa4* limit=100 offset=0" },
    { "{'typeName':'DataSet'}", "types=1 limit=100 offset=0" },
    { "{'typeName':'ml_project','classification':'none','tagFilters':7,'unknown':1}",
      "types=1 limit=100 offset=0" },
    { FILTER("version", "lt", "7"), "types=1 filter=version/0/1 0 <7> limit=100 offset=0" },
    { "{}", NOTHING },
    { "[]", "the body must be a JSON object" },
    { "{'query':'','typeName':null}", NOTHING },
    { "{'entityFilters':{" TEST("name", "eq", "x") "}}",
      "EntityFilters specified without Type name" },
    { "{'query':'x','entityFilters':{" TEST("name", "eq", "x") "}}",
      "EntityFilters specified without Type name" },
    { "{'query':'x','offset':-1}", "Limit/offset should be non-negative" },
};

START_TEST(quick_parameters_are_read)
{
    json_auto_t *parameters = json_of(quick_cases[_i].parameters);
    AUTO(buf_done) struct buf have;
    struct search_fault fault;
    struct search search;

    buf_init(&have, SIZE_MAX);
    if (search_parse_quick(&search, registry, parameters, &fault) == 0)
        write_search(&have, &search);
    else
        buf_append_text(&have, fault.message);
    ck_assert_str_eq(buf_text(&have), quick_cases[_i].want);
    search_done(&search);
}
END_TEST

START_TEST(long_texts_are_refused)
{
    AUTO(mem_free) char *text = xcalloc(SEARCH_TEXT_BYTES_MAX + 2, 1);
    json_auto_t *parameters = NULL;
    struct search_fault fault;
    struct search search;

    memset(text, 'x', SEARCH_TEXT_BYTES_MAX + 1);
    parameters = json_pack("{s:s}", "query", text);
    ck_assert_int_eq(search_parse(&search, registry, parameters, &fault), -1);
    ck_assert_str_eq(fault.code, "ATLAS-400-00-057");
    ck_assert_str_eq(fault.message, "Length of query param query exceeds the limit");
    text[SEARCH_TEXT_BYTES_MAX] = '\0';
    (void)json_object_set_new(parameters, "query", json_string(text));
    ck_assert_int_eq(search_parse(&search, registry, parameters, &fault), 0);
    search_done(&search);
    (void)json_object_set_new(parameters, "query", json_stringn("a\0b", 3));
    ck_assert_int_eq(search_parse(&search, registry, parameters, &fault), -1);
    ck_assert_str_eq(fault.message, "query must not hold NUL");
}
END_TEST

Suite *search_suite(void)
{
    Suite *suite = suite_create("search");
    TCase *tc = tcase_create("search");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, parameters_are_read, 0, LENGTH(read_cases));
    tcase_add_test(tc, every_spelling_of_an_operator);
    tcase_add_loop_test(tc, what_can_not_be_answered_is_refused, 0, LENGTH(refused_cases));
    tcase_add_loop_test(tc, quick_parameters_are_read, 0, LENGTH(quick_cases));
    tcase_add_test(tc, long_texts_are_refused);
    suite_add_tcase(suite, tc);
    return suite;
}
