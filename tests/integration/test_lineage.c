/* Lineage of random graphs as clients read it, beside a naive walk; now and at moments before. */
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/dice.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"

Suite *lineage_suite(void);

enum {
    NODES_MAX = 24, /* data sets have even numbers, processes odd ones */
    EDGES_MAX = 80,
    BATCHES = 4,
    GRAPHS = 6,
    WALKS = 25, /* of each graph */
    NEVER = 1 << 20,
};

struct edge {
    int from, to;
    int from_batch, to_batch; /* to_batch 0: it stands */
};

struct graph {
    int nodes;
    struct edge edges[EDGES_MAX];
    int len;
};

/* Moments of batches are a second apart from each other, long ago. */
static int64_t batch_ms(int batch)
{
    return INT64_C(1704067200000) + batch * INT64_C(1000);
}

static bool has_edge(const struct graph *graph, int from, int to)
{
    for (int i = 0; i < graph->len; i++) {
        if (graph->edges[i].from == from && graph->edges[i].to == to)
            return true;
    }
    return false;
}

/* Cycles and self loops, edges that come and go. */
static void graph_roll(struct graph *graph, uint64_t *seed)
{
    int wanted = 1 + (int)dice_roll(seed, EDGES_MAX);

    *graph = (struct graph){ .nodes = 2 + (int)dice_roll(seed, NODES_MAX - 1) };
    for (int i = 0; i < wanted; i++) {
        int set = (int)dice_roll(seed, (uint32_t)(graph->nodes + 1) / 2) * 2;
        int process = (int)dice_roll(seed, (uint32_t)graph->nodes / 2) * 2 + 1;
        bool is_input = dice_roll(seed, 2);
        struct edge edge = { .from = is_input ? set : process, .to = is_input ? process : set };

        if (has_edge(graph, edge.from, edge.to))
            continue;
        edge.from_batch = 1 + (int)dice_roll(seed, BATCHES);
        if (dice_roll(seed, 3) == 0 && edge.from_batch < BATCHES)
            edge.to_batch =
                edge.from_batch + 1 + (int)dice_roll(seed, (uint32_t)(BATCHES - edge.from_batch));
        graph->edges[graph->len++] = edge;
    }
}

/* Entities have the numbers base + node, relationships base + place, and both guids that end with
 * these. Batches have numbers from base on. */
static void graph_store(const char *dsn, const struct graph *graph, int base)
{
    AUTO(buf_done) struct buf sql;

    buf_init(&sql, SIZE_MAX);
    for (int batch = 1; batch <= BATCHES; batch++)
        buf_append_fmt(&sql,
                       "INSERT INTO graph_batch VALUES (%d, timestamptz 'epoch' + %" PRId64
                       " * interval '1 ms');",
                       base + batch, batch_ms(base + batch));
    for (int node = 0; node < graph->nodes; node++)
        buf_append_fmt(&sql,
                       "INSERT INTO entity (entity_id, from_batch, created_batch, guid, type,"
                       " qualified_name, is_incomplete, created_by, updated_by, attributes)"
                       " VALUES (%1$d, %2$d, %2$d, ('00000000-0000-4000-8000-' || lpad('%1$d', 12,"
                       " '0'))::uuid, '%3$s', 'n%1$d@cm', false, 'a', 'a', '{\"name\": \"n\"}');",
                       base + node, base + 1, node % 2 ? "hive_process" : "hive_table");
    for (int i = 0; i < graph->len; i++) {
        const struct edge *edge = &graph->edges[i];
        bool is_input = edge->to % 2;
        AUTO(mem_free) char *to = xasprintf("%d", base + edge->to_batch);

        buf_append_fmt(&sql,
                       "INSERT INTO relationship (relationship_id, from_batch, to_batch,"
                       " created_batch, guid, type, end1, end2, created_by, updated_by)"
                       " VALUES (%1$d, %2$d, %3$s, %2$d, ('00000000-0000-4000-8000-' ||"
                       " lpad('%1$d', 12, '0'))::uuid, '%4$s', %5$d, %6$d, 'a', 'a');",
                       base + i, base + edge->from_batch, edge->to_batch ? to : "NULL",
                       is_input ? "dataset_process_inputs" : "process_dataset_outputs",
                       base + (is_input ? edge->to : edge->from),
                       base + (is_input ? edge->from : edge->to));
    }
    pg_exec(dsn, "%s", buf_text(&sql));
}

/* ---- the naive walk ---- */

struct question {
    int start, depth;
    bool input, output;
    int batch; /* as of it */
};

static bool edge_stands(const struct edge *edge, int batch)
{
    return edge->from_batch <= batch && (!edge->to_batch || edge->to_batch > batch);
}

/* By trying all edges until nothing changes. */
static void naive_distances(const struct graph *graph, const struct question *question,
                            bool upstream, int distance[NODES_MAX])
{
    bool changed = true;

    for (int i = 0; i < NODES_MAX; i++)
        distance[i] = NEVER;
    distance[question->start] = 0;
    while (changed) {
        changed = false;
        for (int i = 0; i < graph->len; i++) {
            const struct edge *edge = &graph->edges[i];
            int near = upstream ? edge->to : edge->from, far = upstream ? edge->from : edge->to;

            if (edge_stands(edge, question->batch) && distance[near] + 1 < distance[far]) {
                distance[far] = distance[near] + 1;
                changed = true;
            }
        }
    }
}

/* The places of all relations in the order in which they are expected. */
static int naive_walk(const struct graph *graph, const struct question *question,
                      int relations[EDGES_MAX])
{
    int steps = question->depth <= 0 ? NEVER : 2 * question->depth - question->start % 2;
    int up[NODES_MAX], down[NODES_MAX], len = 0;

    naive_distances(graph, question, true, up);
    naive_distances(graph, question, false, down);
    for (int step = 0; step < 4 * NODES_MAX; step++) { /* upstream in the even ones */
        for (int i = 0; i < graph->len; i++) {
            const struct edge *edge = &graph->edges[i];
            int first = NEVER;

            if (!edge_stands(edge, question->batch))
                continue;
            if (question->input && up[edge->to] < steps)
                first = 2 * up[edge->to];
            if (question->output && down[edge->from] < steps && 2 * down[edge->from] + 1 < first)
                first = 2 * down[edge->from] + 1;
            if (first == step)
                relations[len++] = i;
        }
    }
    return len;
}

/* ---- what is answered ---- */

static int guid_number(const json_t *relation, const char *member, int base)
{
    const char *guid = service_text(relation, member);

    return (int)strtol(strrchr(guid, '-') + 1, NULL, 10) - base;
}

static void check_walk(struct service *service, const struct graph *graph, int base,
                       const struct question *question)
{
    const char *direction = question->input ? question->output ? "BOTH" : "INPUT" : "OUTPUT";
    AUTO(mem_free)
    char *as_of = xasprintf("&as_of=%" PRId64, batch_ms(base + question->batch));
    AUTO(mem_free)
    char *path = xasprintf("/api/atlas/v2/lineage/00000000-0000-4000-8000-%012d?direction=%s"
                           "&depth=%d%s",
                           base + question->start, direction, question->depth,
                           question->batch < BATCHES ? as_of : "");
    json_auto_t *answer = service_get(service, 200, path);
    const json_t *relations = json_object_get(answer, "relations");
    const json_t *map = json_object_get(answer, "guidEntityMap");
    bool is_end[NODES_MAX] = { false };
    int want[EDGES_MAX], ends = 0;
    int len = naive_walk(graph, question, want);

    ck_assert_msg((int)json_array_size(relations) == len, "%s: %zu relations and not %d", path,
                  json_array_size(relations), len);
    for (int i = 0; i < len; i++) {
        const json_t *relation = json_array_get(relations, (size_t)i);
        const struct edge *edge = &graph->edges[want[i]];

        ck_assert_msg(guid_number(relation, "relationshipId", base) == want[i] &&
                          guid_number(relation, "fromEntityId", base) == edge->from &&
                          guid_number(relation, "toEntityId", base) == edge->to,
                      "%s: relation %d", path, i);
        is_end[edge->from] = is_end[edge->to] = true;
        ck_assert_ptr_nonnull(json_object_get(map, service_text(relation, "fromEntityId")));
        ck_assert_ptr_nonnull(json_object_get(map, service_text(relation, "toEntityId")));
    }
    for (int node = 0; node < NODES_MAX; node++)
        ends += is_end[node];
    ck_assert_uint_eq(json_object_size(map), (size_t)ends);
}

START_TEST(random_graphs)
{
    AUTO(service_free) struct service *service = service_start();
    uint64_t seed = 21;

    for (int n = 0; n < GRAPHS; n++) {
        struct graph graph;

        graph_roll(&graph, &seed);
        graph_store(service->dsn, &graph, 1000 * n);
        for (int i = 0; i < WALKS; i++) {
            struct question question = { .start = (int)dice_roll(&seed, (uint32_t)graph.nodes),
                                         .depth = (int)dice_roll(&seed, 5),
                                         .batch = 1 + (int)dice_roll(&seed, BATCHES) };
            uint32_t direction = dice_roll(&seed, 3);

            question.input = direction != 1;
            question.output = direction != 0;
            check_walk(service, &graph, 1000 * n, &question);
        }
    }
}
END_TEST

enum { STAR_TABLES = 2500 };

/* An answer that is read and sent in several pieces. */
START_TEST(many_entities_in_one_answer)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *answer = NULL;
    const json_t *map, *relations, *header;
    const char *guid;

    pg_exec(service->dsn,
            "INSERT INTO graph_batch VALUES (1, now());"
            "INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name,"
            " is_incomplete, created_by, updated_by, attributes) SELECT i, 1, 1,"
            " ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, CASE i WHEN 0 THEN"
            " 'hive_process' ELSE 'hive_table' END, 'n' || i, i %% 2 = 1, 'a', 'a',"
            " jsonb_build_object('name', 'N' || i) FROM generate_series(0, %1$d) AS i;"
            "INSERT INTO relationship (relationship_id, from_batch, created_batch, guid, type,"
            " end1, end2, created_by, updated_by) SELECT i, 1, 1, gen_random_uuid(),"
            " 'process_dataset_outputs', 0, (i * 7) %% %1$d + 1, 'a', 'a'"
            " FROM generate_series(1, %1$d) AS i",
            STAR_TABLES);
    answer = service_get(service, 200,
                         "/api/atlas/v2/lineage/00000000-0000-4000-8000-000000000000?depth=1");
    map = json_object_get(answer, "guidEntityMap");
    relations = json_object_get(answer, "relations");
    ck_assert_uint_eq(json_object_size(map), STAR_TABLES + 1);
    ck_assert_uint_eq(json_array_size(relations), STAR_TABLES);
    json_object_foreach(json_object_get(answer, "guidEntityMap"), guid, header)
    {
        long number = strtol(strrchr(guid, '-') + 1, NULL, 10);
        AUTO(mem_free) char *name = xasprintf("N%ld", number);

        ck_assert_str_eq(service_text(header, "guid"), guid);
        ck_assert_str_eq(service_text(header, "displayText"), name);
        ck_assert(json_is_true(json_object_get(header, "isIncomplete")) == (number % 2 == 1));
    }
    for (int i = 1; i <= STAR_TABLES; i++)
        ck_assert_int_eq(guid_number(json_array_get(relations, (size_t)i - 1), "toEntityId", 0),
                         i * 7 % STAR_TABLES + 1);
}
END_TEST

/* ---- on demand ---- */

enum { FAN = 12 };

#define FAN_GUID(n) "00000000-0000-4000-8000-0000000000" n

/* Table 0 is made by FAN processes from a table each, processes 1 to FAN and tables 21 and on; the
 * process 1 reads FAN - 1 more tables. From the second batch on there is one process more, 51, and
 * table 0 feeds it. */
static void fan_store(const char *dsn)
{
    pg_exec(dsn,
            "INSERT INTO graph_batch VALUES (1, timestamptz 'epoch' + interval '1704067200 s'),"
            " (2, timestamptz 'epoch' + interval '1704067201 s');"
            "INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name,"
            " is_incomplete, created_by, updated_by, attributes) SELECT i, 1, 1,"
            " ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, CASE WHEN i BETWEEN 1"
            " AND %1$d OR i = 51 THEN 'hive_process' ELSE 'hive_table' END, 'n' || i, false, 'a',"
            " 'a', '{}' FROM generate_series(0, 60) AS i;"
            "INSERT INTO relationship (relationship_id, from_batch, created_batch, guid, type,"
            " end1, end2, created_by, updated_by)"
            " SELECT i, 1, 1, gen_random_uuid(), 'process_dataset_outputs', i, 0, 'a', 'a'"
            " FROM generate_series(1, %1$d) AS i UNION ALL"
            " SELECT 20 + i, 1, 1, gen_random_uuid(), 'dataset_process_inputs', i, 20 + i, 'a',"
            " 'a' FROM generate_series(1, %1$d) AS i UNION ALL"
            " SELECT 40 + i, 1, 1, gen_random_uuid(), 'dataset_process_inputs', 1, 20 + i, 'a',"
            " 'a' FROM generate_series(2, %1$d) AS i UNION ALL"
            " SELECT 60, 2, 2, gen_random_uuid(), 'dataset_process_inputs', 51, 0, 'a', 'a'",
            FAN);
}

/* "entities/relations, and of whom there is more". */
static void check_demand(struct service *service, const char *path, const char *demand,
                         const char *want)
{
    AUTO(mem_free) char *url = xasprintf("/api/atlas/v2/lineage/" FAN_GUID("%s"), path);
    AUTO(mem_free) char *body = xstrdup(demand);
    AUTO(buf_done) struct buf have;
    json_auto_t *answer = NULL;
    const json_t *more;
    const char *guid;

    for (char *c = body; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    answer = service_post(service, 200, url, body);
    buf_init(&have, SIZE_MAX);
    buf_append_fmt(&have, "%zu/%zu", json_object_size(json_object_get(answer, "guidEntityMap")),
                   json_array_size(json_object_get(answer, "relations")));
    json_object_foreach(json_object_get(answer, "relationsOnDemand"), guid, more)
        buf_append_fmt(&have, " %s%ld(%d,%d)%s",
                       json_is_true(json_object_get(more, "hasMoreInputs")) ? "<" : "",
                       strtol(strrchr(guid, '-') + 1, NULL, 10),
                       (int)service_number(more, "inputRelationsCount"),
                       (int)service_number(more, "outputRelationsCount"),
                       json_is_true(json_object_get(more, "hasMoreOutputs")) ? ">" : "");
    if (json_is_true(json_object_get(answer, "truncated")))
        buf_append_text(&have, " truncated");
    ck_assert_msg(strcmp(buf_text(&have), want) == 0, "%s %s: %s", path, demand, buf_text(&have));
}

#define OF(n, constraints) "'" FAN_GUID(n) "':{" constraints "}"
#define OF_00(inputs) OF("00", "'direction':'INPUT','inputRelationsLimit':" inputs)

static const struct {
    const char *path, *demand, *want;
} demand_cases[] = {
    /* of process 1 too, three inputs at most */
    { "00", "{}", "8/9 <0(3,1) <1(3,1)" },
    { "00", "", "8/9 <0(3,1) <1(3,1)" },
    { "00?as_of=1704067200000", "{}", "7/8 <0(3,0) <1(3,1)" },
    { "00", "{" OF("00", "'direction':'INPUT'") "}", "7/8 <0(3,0) <1(3,1)" },
    { "00", "{" OF("00", "'direction':'OUTPUT'") "}", "2/1" },
    { "00", "{" OF_00("1") "}", "5/4 <0(1,0) <1(3,1)" },
    { "00", "{" OF_00("100") "," OF("01", "'inputRelationsLimit':-1") "}", "25/35" },
    { "00", "{" OF_00("100") "," OF("99", "'inputRelationsLimit':1") ",'nobody':{}}",
      "25/26 <1(3,1)" },
    { "01", "{" OF("01", "'direction':'INPUT','depth':1") "}", "4/3 <1(3,0)" },
    { "21", "{" OF("21", "'direction':'INPUT'") "}", "0/0" },
};

START_TEST(on_demand)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *answer = NULL, *want = NULL;

    fan_store(service->dsn);
    for (size_t i = 0; i < LENGTH(demand_cases); i++)
        check_demand(service, demand_cases[i].path, demand_cases[i].demand, demand_cases[i].want);
    answer = service_post(service, 200, "/api/atlas/v2/lineage/" FAN_GUID("00"),
                          "{\"" FAN_GUID("00") "\":{\"depth\":-1,\"direction\":\"INPUT\"}}");
    ck_assert_str_eq(service_text(answer, "baseEntityGuid"), FAN_GUID("00"));
    ck_assert_str_eq(service_text(answer, "lineageDirection"), "INPUT");
    ck_assert_int_eq(service_number(answer, "lineageDepth"), -1);
    want =
        service_json("{\"" FAN_GUID("00") "\":{\"direction\":\"INPUT\",\"inputRelationsLimit\":3,"
                                          "\"outputRelationsLimit\":3,\"depth\":-1}}");
    service_check_same(json_object_get(answer, "lineageOnDemandPayload"), want, "payload");
}
END_TEST

START_TEST(on_demand_is_bounded)
{
    static const char *const settings[] = { "PLUMBLINE_LINEAGE_RELATIONS_MAX=5", NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = settings });

    fan_store(service->dsn);
    check_demand(service, "00", "{" OF_00("-1") "}", "6/5 truncated");
    check_demand(service, "00", "{" OF_00("1") "," OF("01", "'inputRelationsLimit':2") "}",
                 "4/3 <0(1,0) <1(2,1)");
}
END_TEST

Suite *lineage_suite(void)
{
    Suite *suite = suite_create("lineage");
    TCase *tc = tcase_create("lineage");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, random_graphs);
    tcase_add_test(tc, many_entities_in_one_answer);
    tcase_add_test(tc, on_demand);
    tcase_add_test(tc, on_demand_is_bounded);
    suite_add_tcase(suite, tc);
    return suite;
}
