#include "atlas/type_parse.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/type_change.h"
#include "atlas/type_json.h"
#include "base/buf.h"
#include "base/mem.h"
#include "tests/harness/dice.h"
#include "tests/harness/runner.h"

Suite *type_parse_suite(void);

static struct type_registry *registry;

static const struct type_stamp stamp = { "ada", "ada", 1000, 1000, 1 };

static void setup(void)
{
    registry = type_registry_new();
}

static void teardown(void)
{
    type_registry_free(registry);
}

/* ' stands for ". Owned. */
static json_t *load(const char *text)
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

/* Applies a change to the registry; its fault, NULL when it is done. Owned. */
static char *change(enum type_change_kind kind, const json_t *types)
{
    AUTO(type_givens_done) struct type_givens givens = { 0 };
    AUTO(type_change_done) struct type_change made = { 0 };
    struct type_fault fault;
    int rc = kind == TYPE_DELETE ? type_parse_names(&givens, types, &fault)
                                 : type_parse(&givens, types, &stamp, &fault);

    if (rc == 0)
        rc = type_change_make(&made, registry, &givens, kind, &fault);
    if (rc < 0) {
        ck_assert_uint_eq(fault.status, strtoul(fault.code + 6, NULL, 10));
        return xasprintf("%s %s", fault.code + 6, fault.message);
    }
    type_registry_free(registry);
    registry = type_registry_ref(made.after);
    return NULL;
}

/* Several changes, one after another: "POST {...}\nPUT {...}\nDELETE {...}". What is said of the
 * last; all before must be done. Owned. */
static char *changes(const char *script)
{
    static const char *const verbs[] = { "POST ", "PUT ", "DELETE " };
    AUTO(mem_free) char *copy = xstrdup(script);
    char *rest = copy, *line, *said = NULL;

    while ((line = strsep(&rest, "\n"))) {
        json_t *types;
        size_t verb = 0;

        ck_assert_msg(said == NULL, "%s", said);
        while (strncmp(line, verbs[verb], strlen(verbs[verb])) != 0)
            verb++;
        types = load(line + strlen(verbs[verb]));
        said = change((enum type_change_kind)verb, types);
        json_decref(types);
    }
    return said;
}

#define NAME "{'name': 'a', 'typeName': 'string', 'isOptional': true}"
#define MANDATORY "{'name': 'a', 'typeName': 'string'}"
#define ENTITY(more) "{'entityDefs': [{'name': 'T', 'superTypes': ['Asset']" more "}]}"
#define ATTRIBUTE(text) ENTITY(", 'attributeDefs': [" text "]")
#define STRUCT(text) "{'structDefs': [{'name': 'S', 'attributeDefs': [" text "]}]}"
#define ENUM(text) "{'enumDefs': [{'name': 'E', 'elementDefs': [" text "]}]}"
#define ONE "{'value': 'one', 'ordinal': 1}"
#define TAG(more) "{'classificationDefs': [{'name': 'PII'" more "}]}"
#define RELATION(category, one, two)                                                               \
    "{'relationshipDefs': [{'name': 'R', 'relationshipCategory': '" category "', 'endDef1': " one  \
    ", 'endDef2': " two "}]}"
#define END(type, name, container, cardinality)                                                    \
    "{'type': '" type "', 'name': '" name "', 'isContainer': " container                           \
    ", 'cardinality': '" cardinality "'}"
#define LEFT END("hive_db", "left", "true", "SET")
#define RIGHT END("hive_table", "right", "false", "SINGLE")
#define PAIR RELATION("COMPOSITION", LEFT, RIGHT)
#define LONG_NAME                                                                                  \
    "n23456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"   \
    "n23456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"   \
    "n234567890123456789012345678901234567890123456789012345678901234567890123456789"
#define QUOTE "\xe2\x80\x98"

static const struct {
    const char *script, *want; /* NULL: it is done */
} change_cases[] = {
    /* names */
    { "POST {}", NULL },
    { "POST []", "400-00-029 the body must be an AtlasTypesDef" },
    { "POST {'entityDefs': {}}", "400-00-029 entityDefs must be a list" },
    { "POST {'entityDefs': [1]}", "400-00-029 entityDefs must be a list of objects" },
    { "POST {'entityDefs': null}", NULL },
    { "POST {'businessMetadataDefs': []}", NULL },
    { "POST {'businessMetadataDefs': [{'name': 'b'}]}",
      "400-00-029 business metadata is not supported" },
    { "POST {'entityDefs': [{}]}", "400-00-019 : invalid name for ENTITY.  Names must consist of a "
                                   "letter followed by a sequence "
                                   "of letter, number, or '_' characters" },
    { "POST {'entityDefs': [{'name': '1a'}]}",
      "400-00-019 1a: invalid name for ENTITY.  Names must consist of a letter followed by a "
      "sequence of letter, number, or '_' characters" },
    { "POST {'entityDefs': [{'name': 'a.b'}]}",
      "400-00-019 a.b: invalid name for ENTITY.  Names must consist of a letter followed by a "
      "sequence of letter, number, or '_' characters" },
    { "POST {'entityDefs': [{'name': 'a<b>'}]}",
      "400-00-019 a<b>: invalid name for ENTITY.  Names must consist of a letter followed by a "
      "sequence of letter, number, or '_' characters" },
    { "POST {'entityDefs': [{'name': 'a_b 2'}]}", NULL },
    { "POST {'classificationDefs': [{'name': 'a.b'}]}", NULL },
    { "POST {'entityDefs': [{'name': '" LONG_NAME "'}]}",
      "400-00-029 n234567890123456789012345678901234567890123456789012345678901234...: the name is "
      "longer than 256 bytes" },
    { "POST {'entityDefs': [{'name': 'string'}]}",
      "400-00-107 Forbidden type: Can not pass builtin type string" },
    { "POST {'entityDefs': [{'name': 'hive_table'}]}",
      "409-00-001 Given type hive_table already exists" },
    { "POST " ENTITY("") "\nPOST " ENTITY(""), "409-00-001 Given type T already exists" },
    { "POST {'entityDefs': [{'name': 'T'}], 'structDefs': [{'name': 'T', 'attributeDefs': [" NAME
      "]}]}",
      "409-00-001 Given type T already exists" },

    /* attributes */
    { "POST " ATTRIBUTE(NAME), NULL },
    { "POST " ATTRIBUTE(NAME ", " NAME), "400-00-029 T.a: the attribute is defined twice" },
    { "POST " ATTRIBUTE("{'typeName': 'int'}"),
      "400-00-02B Mandatory field T.name has empty/null value" },
    { "POST " ATTRIBUTE("{'name': 'a', 'typeName': null}"),
      "400-00-02B Mandatory field T.typeName has empty/null value" },
    { "POST " ATTRIBUTE("{'name': 'a`b', 'typeName': 'int'}"),
      "400-00-020 a`b: invalid name. Attribute name must not contain quotes, backslashes or "
      "control "
      "characters" },
    { "POST " ATTRIBUTE("{'name': 'a', 'typeName': 'nothing'}"),
      "404-00-001 Given typename nothing was invalid" },
    { "POST " ATTRIBUTE("{'name': 'a', 'typeName': 'array<map<string,nothing>>'}"),
      "404-00-001 Given typename nothing was invalid" },
    { "POST " ATTRIBUTE("{'name': 'a', 'typeName': 'map<nothing,string>'}"),
      "404-00-001 Given typename nothing was invalid" },
    { "POST " ATTRIBUTE("{'name': 'a', 'typeName': 'array<T>'}"), NULL },
    { "POST " ATTRIBUTE("{'name': 'a', 'typeName': "
                        "'array<array<array<array<array<array<array<array<array<int>>>>>>>>>'}"),
      "400-00-029 T: \"typeName\" is nested too deeply" },
    { "POST " ATTRIBUTE("{'name': 'a', 'typeName': 'string', 'cardinality': 'SET'}"),
      "400-00-012 Cardinality of attribute T.a requires a list or set type" },
    { "POST " ATTRIBUTE("{'name': 'a', 'typeName': 'string', 'cardinality': 'MANY'}"),
      "400-00-029 T: \"cardinality\" is none of its values" },
    { "POST " ATTRIBUTE("{'name': 'a', 'typeName': 'string', 'isOptional': 3}"),
      "400-00-029 T: \"isOptional\" must be true or false" },
    { "POST " ATTRIBUTE("{'name': 'a', 'typeName': 'string', 'searchWeight': 99999999999}"),
      "400-00-029 T: \"searchWeight\" must be a whole number of 32 bits" },
    { "POST " ATTRIBUTE("{'name': 'a', 'typeName': 'string', 'description': []}"),
      "400-00-029 T: \"description\" must be a text of at most 10000 bytes" },
    { "POST " ATTRIBUTE("{'name': 'a', 'typeName': 'string', 'constraints': [{'type': 'x'}]}"),
      "400-00-004 T.a: unknown constraint a" },
    { "POST " TAG("") "\nPOST " ATTRIBUTE("{'name': 'a', 'typeName': 'array<PII>'}"),
      "400-00-081 T.a: invalid attribute type. Attribute cannot be of type classification" },
    { "POST " ATTRIBUTE("{'name': 'a', 'typeName': 'hive_table_db'}"),
      "400-00-00A hive_table_db: Unknown/invalid typename" },
    { "POST " STRUCT(""), "400-00-029 Missing attributes for structdef" },
    { "POST " STRUCT("{'name': 's', 'typeName': 'S'}"), NULL },

    /* enums */
    { "POST " ENUM(ONE), NULL },
    { "POST " ENUM(""), "400-00-02B Mandatory field E.values has empty/null value" },
    { "POST " ENUM("{'value': 'one'}"),
      "400-00-02B Mandatory field E.elementValue has empty/null value" },
    { "POST " ENUM("{'ordinal': 1}"),
      "400-00-02B Mandatory field E.elementValue has empty/null value" },
    { "POST " ENUM(ONE ", " ONE), "400-00-029 E.one: the value is defined twice" },

    /* super types */
    { "POST {'entityDefs': [{'name': 'T', 'superTypes': ['nothing']}]}",
      "404-00-001 Given typename nothing was invalid" },
    { "POST {'entityDefs': [{'name': 'T', 'superTypes': 'Asset'}]}",
      "400-00-029 T: \"superTypes\" must be a list" },
    { "POST {'entityDefs': [{'name': 'T', 'superTypes': [1]}]}",
      "400-00-029 T: \"superTypes\" must be a list of names" },
    { "POST {'entityDefs': [{'name': 'T', 'superTypes': ['file_action']}]}",
      "400-00-003 file_action: incompatible supertype T" },
    { "POST {'classificationDefs': [{'name': 'T', 'superTypes': ['Asset']}]}",
      "400-00-003 Asset: incompatible supertype T" },
    { "POST {'entityDefs': [{'name': 'T', 'superTypes': ['T']}]}",
      "400-00-002 T: invalid supertypes - circular reference back to self [T]" },
    { "POST {'entityDefs': [{'name': 'A', 'superTypes': ['B']}, {'name': 'B', 'superTypes': "
      "['Asset', 'C']}, {'name': 'C', 'superTypes': ['A']}]}",
      "400-00-002 C: invalid supertypes - circular reference back to self [C, A, B]" },
    { "POST {'entityDefs': [{'name': 'A', 'superTypes': ['B']}, {'name': 'B', 'superTypes': "
      "['Asset']}]}",
      NULL },

    { "POST {'entityDefs': [{'name': 'T', 'superTypes': ['DataSet'], 'attributeDefs': [{'name': "
      "'qualifiedName', 'typeName': 'int'}]}]}",
      "400-00-09D Invalid attribute name: T.qualifiedName. Attribute already exists in parent "
      "type: DataSet" },
    { "POST {'entityDefs': [{'name': 'A'}, {'name': 'B', 'superTypes': ['Asset', 'A'], "
      "'attributeDefs': [" NAME "]}]}\nPUT {'entityDefs': [{'name': 'A', 'attributeDefs': [" NAME
      "]}]}",
      "400-00-09D Invalid attribute name: B.a. Attribute already exists in parent type: A" },
    { "POST {'entityDefs': [{'name': 'A', 'attributeDefs': [{'name': 'name', 'typeName': "
      "'array<int>'}]}, {'name': 'B', 'superTypes': ['Asset', 'A']}]}",
      "400-00-029 B.name: is inherited twice, as string and as array<int>" },
    { "POST {'entityDefs': [{'name': 'A', 'attributeDefs': [{'name': 'name', 'typeName': "
      "'string'}]}, {'name': 'B', 'superTypes': ['Asset', 'A']}]}",
      NULL },

    /* classifications */
    { "POST " TAG(", 'entityTypes': ['DataSet', 'hive_db']"), NULL },
    { "POST " TAG(", 'entityTypes': ['nothing']"),
      "400-00-052 ClassificationDef " QUOTE "PII" QUOTE " has invalid " QUOTE "nothing" QUOTE
      " in entityTypes" },
    { "POST " TAG(", 'entityTypes': ['file_action']"),
      "400-00-052 ClassificationDef " QUOTE "PII" QUOTE " has invalid " QUOTE "file_action" QUOTE
      " in entityTypes" },
    { "POST {'classificationDefs': [{'name': 'A', 'entityTypes': ['DataSet']}, {'name': 'B', "
      "'superTypes': ['A'], 'entityTypes': ['hive_table']}]}",
      NULL },
    { "POST {'classificationDefs': [{'name': 'A', 'entityTypes': ['DataSet']}, {'name': 'B', "
      "'superTypes': ['A'], 'entityTypes': ['hive_table', 'Asset']}]}",
      "400-00-054 ClassificationDef " QUOTE "B" QUOTE " has entityTypes " QUOTE
      "[hive_table, Asset]" QUOTE " which are not subsets of it's supertypes entityTypes" },
    { "POST {'classificationDefs': [{'name': 'A', 'entityTypes': ['hive_db']}, {'name': 'B', "
      "'entityTypes': ['hive_table']}, {'name': 'C', 'superTypes': ['A', 'B']}]}",
      "400-00-053 ClassificationDef " QUOTE "C" QUOTE
      " has supertypes whose entityTypes are disjoint; e.g. 2 supertypes that are not related by "
      "inheritance specify different non empty entityType lists. This means the child cannot "
      "honour "
      "the restrictions specified in both parents." },

    /* relationships */
    { "POST " PAIR, NULL },
    { "POST {'relationshipDefs': [{'name': 'R', 'endDef1': " LEFT "}]}",
      "400-00-02C relationshipDef R creation attempted without 2 ends" },
    { "POST " RELATION("COMPOSITION", "{'type': 'hive_db'}", RIGHT),
      "400-00-044 Invalid relationshipDef: an end of R has no type or no name" },
    { "POST " RELATION("OWNERSHIP", LEFT, RIGHT),
      "400-00-029 R: \"relationshipCategory\" is none of its values" },
    { "POST " RELATION("COMPOSITION", END("nothing", "left", "true", "SET"), RIGHT),
      "404-00-001 Given typename nothing was invalid" },
    { "POST " RELATION("COMPOSITION", END("file_action", "left", "true", "SET"), RIGHT),
      "400-00-035 relationshipDef R has invalid end type file_action" },
    { "POST " RELATION("COMPOSITION", END("string", "left", "true", "SET"), RIGHT),
      "400-00-035 relationshipDef R has invalid end type string" },
    { "POST " RELATION("COMPOSITION", LEFT, END("hive_table", "right", "true", "SINGLE")),
      "400-00-02D relationshipDef R creation attempted with both ends as containers" },
    { "POST " RELATION("ASSOCIATION", LEFT, RIGHT),
      "400-00-030 ASSOCIATION relationshipDef R creation attempted with an end specifying "
      "isContainer" },
    { "POST " RELATION("COMPOSITION", RIGHT, RIGHT),
      "400-00-031 COMPOSITION relationshipDef R creation attempted without an end specifying "
      "isContainer" },
    { "POST " RELATION("AGGREGATION", RIGHT, RIGHT),
      "400-00-032 AGGREGATION relationshipDef R creation attempted without an end specifying "
      "isContainer" },
    { "POST " RELATION("COMPOSITION", LEFT, END("hive_table", "right", "false", "SET")),
      "400-00-033 COMPOSITION relationshipDef R can only have one parent; so cannot have SET "
      "cardinality on children" },
    { "POST " RELATION("AGGREGATION", LEFT, END("hive_table", "right", "false", "LIST")),
      "400-00-034 relationshipDef R cannot have a LIST cardinality on an end" },
    { "POST " RELATION("ASSOCIATION", RIGHT, RIGHT), NULL },
    { "POST {'relationshipDefs': [{'name': 'R', 'attributeDefs': [{'name': 'a', 'typeName': "
      "'hive_db'}], 'endDef1': " RIGHT ", 'endDef2': " RIGHT "}]}",
      "400-00-02F Cannot set an Attribute with type hive_db on relationship def R, as it is not a "
      "primitive type " },

    { "POST " RELATION("COMPOSITION", END("Referenceable", "qualifiedName", "true", "SET"), RIGHT),
      "400-00-044 Invalid relationshipDef: R can't give Referenceable the attribute qualifiedName, "
      "it has one of type string" },
    { "POST " RELATION("COMPOSITION", END("Referenceable", "retention", "true", "SET"), RIGHT),
      "400-00-044 Invalid relationshipDef: R can't give hive_table the attribute retention, it has "
      "one of type int" },
    { "POST " RELATION("ASSOCIATION", END("Process", "inputs", "false", "SET"), RIGHT), NULL },
    { "POST {'entityDefs': [{'name': 'T', 'superTypes': ['hive_table'], 'attributeDefs': "
      "[{'name': 'partitionKeys', 'typeName': 'array<string>'}]}]}",
      "400-00-044 Invalid relationshipDef: hive_table_partitionkeys can't give T the attribute "
      "partitionKeys, it has one of type array<string>" },

    /* updates */
    { "PUT " ENTITY(""), "404-00-001 Given typename T was invalid" },
    { "POST " ENTITY("") "\nPUT " ENTITY(", 'guid': '-1'"), NULL },
    { "POST " ENTITY("") "\nPUT " ENTITY(", 'guid': 'nobody'"),
      "404-00-002 Given type guid nobody was invalid" },
    { "POST " ENTITY("") "\nPUT {'classificationDefs': [{'name': 'T'}]}",
      "400-00-010 Given type T doesn't match TRAIT" },
    { "POST " ENTITY("") "\nPUT " ATTRIBUTE(NAME), NULL },
    { "POST " ENTITY("") "\nPUT " ATTRIBUTE(MANDATORY),
      "400-00-00C T.a : can not add mandatory attribute" },
    { "POST " ATTRIBUTE(NAME) "\nPUT " ENTITY(""),
      "400-00-00D T.a : attribute delete not supported" },
    { "POST " ATTRIBUTE(NAME) "\nPUT " ATTRIBUTE(MANDATORY),
      "400-00-027 T.a : attribute update not supported" },
    { "POST " ATTRIBUTE(MANDATORY) "\nPUT " ATTRIBUTE(NAME), NULL },
    { "POST " ATTRIBUTE(NAME) "\nPUT " ATTRIBUTE(
          "{'name': 'a', 'typeName': 'int', 'isOptional': true}"),
      "400-00-029 Data type update for attribute is not supported" },
    { "POST " ENTITY("") "\nPUT {'entityDefs': [{'name': 'T'}]}",
      "400-00-00E superType remove not supported" },
    { "POST {'entityDefs': [{'name': 'T'}]}\nPUT " ENTITY(""),
      "400-00-00C T.qualifiedName : can not add mandatory attribute" },
    { "POST " ENTITY("") "\nPUT {'entityDefs': [{'name': 'T', 'superTypes': ['Asset', "
                         "'DataSet']}]}",
      NULL },
    { "POST " TAG(", 'entityTypes': ['DataSet', 'hive_db']") "\nPUT " TAG(
          ", 'entityTypes': ['DataSet']"),
      "400-00-051 EntityTypes cannot be removed from ClassificationDef " QUOTE "PII" QUOTE },
    { "POST " ENUM(ONE) "\nPUT " ENUM(ONE ", {'value': 'two', 'ordinal': 2}"), NULL },
    { "POST " ENUM(ONE) "\nPUT " ENUM("{'value': 'two', 'ordinal': 2}"),
      "400-00-00D E.one : attribute delete not supported" },
    { "POST " PAIR "\nPUT " PAIR, NULL },
    { "POST " PAIR "\nPUT " RELATION("AGGREGATION", LEFT, RIGHT),
      "400-00-039 invalid  update for relationship R: new relationshipDef category AGGREGATION, "
      "existing relationshipDef category COMPOSITION" },
    { "POST " PAIR
      "\nPUT " RELATION("COMPOSITION", LEFT, END("hive_table", "other", "false", "SINGLE")),
      "400-00-038 invalid update for relationshipDef R: new end2 AtlasRelationshipEndDef{"
      "type='hive_table', name==>'other', description==>'null', isContainer==>'false', "
      "cardinality==>'SINGLE', isLegacyAttribute==>'false'}, existing end2 "
      "AtlasRelationshipEndDef{type='hive_table', name==>'right', description==>'null', "
      "isContainer==>'false', cardinality==>'SINGLE', isLegacyAttribute==>'false'}" },
    { "PUT {'entityDefs': [{'name': 'DataSet', 'superTypes': ['Asset']}]}",
      "403-00-001 nobody is authorized to perform update entity-def DataSet: it is built in" },
    { "PUT {'entityDefs': [{'name': 'DataSet', 'superTypes': ['Asset'], 'serviceType': "
      "'atlas_core', 'description': 'Data: what a process reads and writes'}]}",
      NULL },

    /* deletions */
    { "DELETE {'entityDefs': [{'name': 'T'}]}", "404-00-001 Given typename T was invalid" },
    { "DELETE {'entityDefs': [{}]}", "404-00-001 Given typename null was invalid" },
    { "POST " ENTITY("") "\nDELETE {'entityDefs': [{'name': 'T'}]}", NULL },
    { "POST " ENTITY("") "\nDELETE {'enumDefs': [{'name': 'T'}]}",
      "400-00-010 Given type T doesn't match ENUM" },
    { "DELETE {'relationshipDefs': [{'name': 'hive_table_db'}]}",
      "403-00-001 nobody is authorized to perform delete relationship-def hive_table_db: it is "
      "built in" },
    { "POST {'entityDefs': [{'name': 'A'}, {'name': 'B', 'superTypes': ['A']}]}\n"
      "DELETE {'entityDefs': [{'name': 'A'}]}",
      "409-00-002 Given type A has references" },
    { "POST {'entityDefs': [{'name': 'A'}, {'name': 'B', 'superTypes': ['A']}]}\n"
      "DELETE {'entityDefs': [{'name': 'A'}, {'name': 'B'}]}",
      NULL },
    { "POST {'enumDefs': [{'name': 'E', 'elementDefs': [" ONE "]}], 'structDefs': [{'name': 'S', "
      "'attributeDefs': [{'name': 'a', 'typeName': 'map<E,array<int>>'}]}]}\n"
      "DELETE {'enumDefs': [{'name': 'E'}]}",
      "409-00-002 Given type E has references" },
    { "POST {'entityDefs': [{'name': 'A'}], 'classificationDefs': [{'name': 'C', 'entityTypes': "
      "['A']}]}\nDELETE {'entityDefs': [{'name': 'A'}]}",
      "409-00-002 Given type A has references" },
    { "POST {'entityDefs': [{'name': 'A'}], 'relationshipDefs': [{'name': 'R', 'endDef1': "
      "{'type': 'A', 'name': 'x'}, 'endDef2': {'type': 'A', 'name': 'y'}}]}\n"
      "DELETE {'entityDefs': [{'name': 'A'}]}",
      "409-00-005 Given type A has associated relationshipDefs" },
};

START_TEST(change_case)
{
    AUTO(mem_free) char *said = changes(change_cases[_i].script);

    ck_assert_msg(said == change_cases[_i].want ||
                      (said && change_cases[_i].want && strcmp(said, change_cases[_i].want) == 0),
                  "%s: %s", change_cases[_i].script, said ? said : "done");
}
END_TEST

/* What is written of a type, parsed and written, is the same. */
static void check_written(void)
{
    struct type_list types = type_registry_types(registry);

    for (size_t i = 0; i < types.len; i++) {
        json_auto_t *json = type_def_json(types.items[i]->def);
        json_auto_t *again = NULL;
        struct type_fault fault;
        AUTO(type_custom_free) struct type_custom *custom = type_parse_stored(json, &fault);

        ck_assert_msg(custom != NULL, "%s: %s", types.items[i]->def->name, fault.message);
        again = type_def_json(&custom->def);
        ck_assert_msg(json_equal(json, again), "%s", types.items[i]->def->name);
        ck_assert(type_def_is_same(types.items[i]->def, &custom->def));
    }
}

START_TEST(written_types_parse)
{
    check_written();
}
END_TEST

/* So is everything that a definition can say. */
START_TEST(all_members_are_kept)
{
    static const char text[] =
        "{'enumDefs': [{'name': 'E', 'description': 'd', 'typeVersion': '2.0', 'serviceType': 's',"
        "'options': {'o': 'v'}, 'defaultValue': 'one', 'elementDefs': [{'value': 'one', "
        "'description': 'x', 'ordinal': 1}]}],"
        "'structDefs': [], 'businessMetadataDefs': [],"
        "'classificationDefs': [{'name': 'C', 'superTypes': [], 'entityTypes': ['DataSet'], "
        "'attributeDefs': [{'name': 'level', 'typeName': 'E'}]}],"
        "'entityDefs': [{'name': 'T', 'superTypes': ['DataSet'], 'attributeDefs': [{'name': 'a', "
        "'typeName': 'array<int>', 'isOptional': false, 'cardinality': 'LIST', 'valuesMinCount': "
        "2, 'valuesMaxCount': 5, 'isUnique': true, 'isIndexable': true, 'includeInNotification': "
        "true, 'defaultValue': '1', 'description': 'x', 'searchWeight': 7, 'indexType': 'STRING',"
        "'constraints': [{'type': 'ownedRef'}, {'type': 'inverseRef', 'params': {'attribute': "
        "'b'}}], 'options': {'k': 'v'}, 'displayName': 'A'}]}],"
        "'relationshipDefs': [{'name': 'R', 'attributeDefs': [], 'relationshipCategory': "
        "'ASSOCIATION', 'relationshipLabel': 'l', 'propagateTags': 'BOTH', 'endDef1': {'type': "
        "'T', 'name': 'x', 'description': 'e', 'isContainer': false, 'cardinality': 'SET', "
        "'isLegacyAttribute': true}, 'endDef2': {'type': 'T', 'name': 'y', 'isContainer': false, "
        "'cardinality': 'SINGLE', 'isLegacyAttribute': false}}]}";
    json_auto_t *given = load(text);
    const char *member;
    json_t *list;

    ck_assert_ptr_null(change(TYPE_CREATE, given));
    json_object_foreach(given, member, list)
    {
        for (size_t i = 0; i < json_array_size(list); i++) {
            json_t *want = json_array_get(list, i);
            const char *name = json_string_value(json_object_get(want, "name"));
            const struct type *type = type_by_name(registry, span_of(name));
            json_auto_t *have = type_json(type);
            json_auto_t *merged = json_deep_copy(have);

            (void)json_object_update(merged, want);
            /* an attribute in `want` may leave out what is not set */
            if (strcmp(name, "C") != 0)
                ck_assert_msg(json_equal(have, merged), "%s", name);
            ck_assert_str_eq(json_string_value(json_object_get(have, "createdBy")), "ada");
            ck_assert_int_eq(json_integer_value(json_object_get(have, "version")), 1);
        }
    }
}
END_TEST

START_TEST(updates_count_versions)
{
    struct type_registry *old;
    const struct type *type;

    ck_assert_ptr_null(changes("POST " ENTITY("")));
    old = type_registry_ref(registry);
    ck_assert_ptr_null(changes("PUT " ATTRIBUTE(NAME) "\nPUT " ATTRIBUTE(NAME)));
    type = type_by_name(registry, span_of("T"));
    ck_assert_int_eq(type->def->stamp.version, 2);
    ck_assert_ptr_nonnull(type_attribute(type, span_of("a")));
    /* who has the old ones keeps them */
    ck_assert_ptr_null(type_attribute(type_by_name(old, span_of("T")), span_of("a")));
    type_registry_free(old);
    ck_assert_ptr_null(changes("DELETE {'entityDefs': [{'name': 'T'}]}"));
    ck_assert_ptr_null(type_by_name(registry, span_of("T")));
}
END_TEST

START_TEST(classifications_fit)
{
    const struct type *c, *e;

    ck_assert_ptr_null(
        changes("POST {'classificationDefs': [{'name': 'A', 'entityTypes': "
                "['DataSet']}, {'name': 'B', 'superTypes': ['A']}, {'name': 'C'}]}"));
    c = type_by_name(registry, span_of("B"));
    e = type_by_name(registry, span_of("hive_table"));
    ck_assert(type_classification_fits(registry, c, e));
    e = type_by_name(registry, span_of("hive_db"));
    ck_assert(!type_classification_fits(registry, c, e));
    ck_assert(type_classification_fits(registry, type_by_name(registry, span_of("C")), e));
}
END_TEST

/* ---- bounds ---- */

/* n definitions or attributes: "#" in the text is the number, "+" the next. */
static json_t *many(const char *before, const char *each, size_t n, const char *after)
{
    AUTO(buf_done) struct buf text;

    buf_init(&text, SIZE_MAX);
    buf_append_text(&text, before);
    for (size_t i = 0; i < n; i++) {
        buf_append_text(&text, i ? ", " : "");
        for (const char *c = each; *c; c++) {
            if (*c == '#' || *c == '+')
                buf_append_fmt(&text, "%zu", *c == '#' ? i : i + 1);
            else
                buf_append_char(&text, *c);
        }
    }
    buf_append_text(&text, after);
    return load(buf_text(&text));
}

static const struct {
    const char *before, *each;
    size_t n;
    const char *after, *want;
} bound_cases[] = {
    { "{'entityDefs': [{'name': 'T', 'attributeDefs': [", "{'name': 'a#', 'typeName': 'string'}",
      100000, "]}]}", "400-00-029 T: \"attributeDefs\" is too long" },
    { "{'entityDefs': [{'name': 'T', 'superTypes': ['Asset'], 'attributeDefs': [",
      "{'name': 'a#', 'typeName': 'string'}", 1000, "]}]}",
      "400-00-029 T: has more than 1000 attributes" },
    { "{'entityDefs': [", "{'name': 'T#'}", 5001, "]}", "400-00-029 more than 5000 types" },
    { "{'entityDefs': [", "{'name': 'T#', 'superTypes': ['T+']}", 40, ", {'name': 'T40'}]}",
      "400-00-029 T7: inherits through more than 32 types" },
    { "{'entityDefs': [{'name': 'T', 'superTypes': [", "'T#'", 201, "]}]}",
      "400-00-029 T: \"superTypes\" is too long" },
    { "{'enumDefs': [{'name': 'E', 'elementDefs': [", "{'value': 'v#', 'ordinal': #}", 10001,
      "]}]}", "400-00-029 E: \"elementDefs\" is too long" },
    { "{'relationshipDefs': [",
      "{'name': 'R#', 'endDef1': {'type': 'Referenceable', 'name': 'x'}, 'endDef2': {'type': "
      "'Asset', 'name': 'y'}}",
      5000, "], 'entityDefs': []}", NULL },
    { "{'entityDefs': [", "{'name': 'T#', 'superTypes': ['hive_table']}", 5000, "]}", NULL },
};

START_TEST(bound_case)
{
    json_auto_t *types = many(bound_cases[_i].before, bound_cases[_i].each, bound_cases[_i].n,
                              bound_cases[_i].after);
    AUTO(mem_free) char *said = change(TYPE_CREATE, types);

    ck_assert_msg(said == bound_cases[_i].want ||
                      (said && bound_cases[_i].want && strcmp(said, bound_cases[_i].want) == 0),
                  "%s", said ? said : "done");
}
END_TEST

/* Texts are long, types and attributes many: what all of them take has a bound of its own. */
START_TEST(bytes_have_a_bound)
{
    char text[TYPE_TEXT_BYTES_MAX + 1];
    AUTO(mem_free) char *said = NULL;
    size_t types = 0;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    while (!said && types < TYPE_CUSTOMS_MAX) {
        json_auto_t *list = json_array();
        json_auto_t *defs = json_pack("{s:O}", "entityDefs", list);

        for (size_t i = 0; i < 100; i++) {
            AUTO(mem_free) char *name = xasprintf("T%zu", types++);

            (void)json_array_append_new(list,
                                        json_pack("{s:s, s:s}", "name", name, "description", text));
        }
        said = change(TYPE_CREATE, defs);
    }
    ck_assert_str_eq(said, "400-00-029 the definitions of all types together take more than "
                           "16777216 bytes");
    ck_assert_uint_eq(types, 1700);
    ck_assert_ptr_nonnull(type_by_name(registry, span_of("T1599")));
    ck_assert_ptr_null(type_by_name(registry, span_of("T1600")));
}
END_TEST

/* Definitions that people could send, with something wrong here and there: done or refused, and
 * what is done can be read again. */
START_TEST(random_definitions)
{
    static const char *const names[] = { "A", "B", "C", "D", "Asset", "string", "", "a<", "E 1" };
    static const char *const kinds[] = { "string", "A", "array<B>", "map<string,C>",
                                         "array<", "E", "map<,>",   "array<array<int>>",
                                         "D" };
    static const char *const lists[] = { "entityDefs", "classificationDefs", "structDefs",
                                         "enumDefs", "relationshipDefs" };
    uint64_t dice = (uint64_t)_i + 1;

    for (size_t round = 0; round < 40; round++) {
        json_auto_t *types = json_object();
        AUTO(mem_free) char *said = NULL;

        for (size_t i = 0; i < 1 + dice_roll(&dice, 4); i++) {
            const char *list = lists[dice_roll(&dice, LENGTH(lists))];
            const char *name = names[dice_roll(&dice, LENGTH(names))];
            json_t *def = json_pack(
                "{s:s, s:[s], s:[s], s:[{s:s, s:s, s:b}], s:[{s:s, s:i}], s:{s:s, s:s}, s:{s:s, "
                "s:s}}",
                "name", name, "superTypes", names[dice_roll(&dice, LENGTH(names))], "entityTypes",
                names[dice_roll(&dice, LENGTH(names))], "attributeDefs", "name",
                names[dice_roll(&dice, LENGTH(names))], "typeName",
                kinds[dice_roll(&dice, LENGTH(kinds))], "isOptional", (int)dice_roll(&dice, 2),
                "elementDefs", "value", name, "ordinal", (int)round, "endDef1", "type",
                names[dice_roll(&dice, LENGTH(names))], "name", "x", "endDef2", "type",
                names[dice_roll(&dice, LENGTH(names))], "name", "y");

            if (dice_roll(&dice, 2))
                (void)json_object_del(def, "superTypes");
            if (dice_roll(&dice, 2))
                (void)json_object_del(def, "entityTypes");
            if (!json_object_get(types, list))
                (void)json_object_set_new(types, list, json_array());
            (void)json_array_append_new(json_object_get(types, list), def);
        }
        said = change((enum type_change_kind)dice_roll(&dice, 3), types);
        ck_assert(!said || strlen(said) > 12);
        check_written();
    }
}
END_TEST

Suite *type_parse_suite(void)
{
    Suite *suite = suite_create("atlas/type_parse");
    TCase *tc = tcase_create("type_parse");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, change_case, 0, LENGTH(change_cases));
    tcase_add_test(tc, written_types_parse);
    tcase_add_test(tc, all_members_are_kept);
    tcase_add_test(tc, updates_count_versions);
    tcase_add_test(tc, classifications_fit);
    tcase_add_loop_test(tc, bound_case, 0, LENGTH(bound_cases));
    tcase_add_test(tc, bytes_have_a_bound);
    tcase_add_loop_test(tc, random_definitions, 0, runner_short() ? 5 : 20);
    suite_add_tcase(suite, tc);
    return suite;
}
