#include "atlas/walk.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../harness/dice.h"
#include "../harness/runner.h"

enum { NODES_MAX = 40, EDGES_MAX = 200, NEVER = 1 << 20 };

static int random_graphs_count(void)
{
    return runner_short() ? 100 : 400;
}

/* Data sets have even numbers, processes odd ones. */
struct graph {
    struct walk_edge edges[EDGES_MAX];
    size_t len;
    size_t calls;
    bool obeys_edges_max; /* gives only the edges that matter, in order, as a query would */
    bool repeats;         /* gives every edge twice */
};

static bool node_is_process(int64_t id)
{
    return id % 2 != 0;
}

static int compare_ids(const void *a, const void *b)
{
    const struct walk_edge *one = a, *two = b;

    return (one->id > two->id) - (one->id < two->id);
}

/* The frontier as it is promised: one kind, ascending. */
static void check_frontier(const struct walk_frontier *frontier)
{
    ck_assert_uint_gt(frontier->len, 0);
    for (size_t i = 0; i < frontier->len; i++) {
        ck_assert(node_is_process(frontier->ids[i]) == frontier->is_process);
        ck_assert(i == 0 || frontier->ids[i - 1] < frontier->ids[i]);
    }
}

/* Of the edges, in order, those that matter for their entity; how many. */
static size_t keep_of_each(const struct walk_frontier *frontier, struct walk_edge *found,
                           size_t len)
{
    size_t seen[NODES_MAX * 8] = { 0 }, kept = 0;

    qsort(found, len, sizeof(*found), compare_ids);
    for (size_t i = 0; i < len; i++) {
        int64_t near = frontier->direction == WALK_INPUT ? found[i].to : found[i].from;
        size_t at = 0;

        while (frontier->ids[at] != near)
            at++;
        if (!frontier->each_max || seen[at]++ < frontier->each_max[at])
            found[kept++] = found[i];
    }
    return kept;
}

static int graph_source(void *ctx, const struct walk_frontier *frontier, struct walk *walk,
                        struct err *err UNUSED)
{
    struct graph *graph = ctx;
    struct walk_edge found[EDGES_MAX];
    size_t len = 0;

    graph->calls++;
    check_frontier(frontier);
    for (size_t i = 0; i < graph->len; i++) {
        const struct walk_edge *edge = &graph->edges[i];
        int64_t near = frontier->direction == WALK_INPUT ? edge->to : edge->from;

        for (size_t j = 0; j < frontier->len; j++) {
            if (frontier->ids[j] == near)
                found[len++] = *edge;
        }
    }
    if (frontier->each_max)
        len = keep_of_each(frontier, found, len);
    if (graph->obeys_edges_max) {
        qsort(found, len, sizeof(*found), compare_ids);
        len = len < frontier->edges_max ? len : frontier->edges_max;
    }
    for (size_t i = 0; i < len; i++)
        walk_edge_add(walk, &found[i]);
    for (size_t i = 0; graph->repeats && i < len; i++)
        walk_edge_add(walk, &found[i]);
    return 0;
}

static void graph_add(struct graph *graph, int64_t from, int64_t to)
{
    struct walk_edge edge = { .id = 100 + (int64_t)graph->len, .from = from, .to = to };

    ck_assert_uint_lt(graph->len, EDGES_MAX);
    edge.guid.bytes[0] = (uint8_t)edge.id;
    graph->edges[graph->len++] = edge;
}

/* "a>P>b" and such, separated by spaces: small letters are data sets, capitals processes. */
static void graph_read(struct graph *graph, const char *text)
{
    *graph = (struct graph){ 0 };
    for (const char *p = text; *p; p++) {
        if (*p == '>')
            graph_add(graph, p[-1] * 2 + (p[-1] < 'a'), p[1] * 2 + (p[1] < 'a'));
    }
}

static char node_letter(int64_t id)
{
    return (char)(id / 2);
}

static struct walk_result walk_over(struct graph *graph, int64_t start,
                                    enum walk_direction direction, int depth, size_t relations_max)
{
    struct walk_request request = { .start = start,
                                    .start_is_process = node_is_process(start),
                                    .direction = direction,
                                    .depth = depth,
                                    .relations_max = relations_max };
    struct walk_result result;
    struct err err = { 0 };

    ck_assert_msg(walk_run(&request, graph_source, graph, &result, &err) == 0, "%s", err.text);
    return result;
}

/* Depth-first, d is met at the end of the long way first and its own way on is then cut short. */
#define SHORTCUT "a>A>b>B>c>C>d a>D>d d>E>e>F>f>G>g"

/* What is expected: relations in order, the entities in order. */
static const struct {
    const char *name, *graph, *start;
    enum walk_direction direction;
    int depth;
    const char *relations, *entities;
} table[] = {
    { "nothing there", "", "a", WALK_BOTH, 3, "", "" },
    { "not in the graph", "a>A>b", "c", WALK_BOTH, 3, "", "" },
    { "no upstream", "a>A>b", "a", WALK_INPUT, 3, "", "" },
    { "one hop", "a>A>b", "b", WALK_INPUT, 1, "A>b a>A", "bAa" },
    { "one hop down", "a>A>b", "a", WALK_OUTPUT, 1, "a>A A>b", "aAb" },
    { "depth 0 has no limit", "a>A>b>B>c>C>d", "d", WALK_INPUT, 0, "C>d c>C B>c b>B A>b a>A",
      "dCcBbAa" },
    { "nor has a negative one", "a>A>b>B>c>C>d", "d", WALK_INPUT, -7, "C>d c>C B>c b>B A>b a>A",
      "dCcBbAa" },
    { "depth 1", "a>A>b>B>c>C>d", "c", WALK_BOTH, 1, "B>c c>C b>B C>d", "cBCbd" },
    { "depth 2", "a>A>b>B>c>C>d", "d", WALK_INPUT, 2, "C>d c>C B>c b>B", "dCcBb" },
    { "a process without inputs", "P>a a>A>b", "b", WALK_INPUT, 2, "A>b a>A P>a", "bAaP" },
    { "beyond the depth it is not shown", "P>a a>A>b", "b", WALK_INPUT, 1, "A>b a>A", "bAa" },
    { "a process without outputs", "a>A", "a", WALK_OUTPUT, 1, "a>A", "aA" },
    { "from a process, depth 1", "a>A>b>B>c>C>d", "B", WALK_BOTH, 1, "b>B B>c", "Bbc" },
    { "from a process, depth 2", "a>A>b>B>c>C>d", "B", WALK_BOTH, 2, "b>B B>c A>b c>C a>A C>d",
      "BbcACad" },
    { "a data set that is changed in place", "a>A>a", "a", WALK_BOTH, 3, "A>a a>A", "aA" },
    { "a cycle", "a>A>b>B>a", "a", WALK_BOTH, 0, "B>a a>A b>B A>b", "aBAb" },
    { "a cycle, one way", "a>A>b>B>a", "a", WALK_OUTPUT, 0, "a>A A>b b>B B>a", "aAbB" },
    { "parallel edges", "a>A a>A A>b A>b", "b", WALK_INPUT, 1, "A>b A>b a>A a>A", "bAa" },
    { "two ways to one", "a>A>c b>A a>B>c", "c", WALK_INPUT, 1, "A>c B>c a>A b>A a>B", "cABab" },
    { "siblings are not lineage", "a>A>b A>c", "b", WALK_BOTH, 0, "A>b a>A", "bAa" },
    { "Atlas: a chain", "s>P>d t>P d>Q>m", "m", WALK_INPUT, 5, "Q>m d>Q P>d s>P t>P", "mQdPst" },
    { "a shortcut", SHORTCUT, "a", WALK_OUTPUT, 4,
      "a>A a>D A>b D>d b>B d>E B>c E>e c>C e>F C>d F>f f>G G>g", "aADbdBEceCFfGg" },
};

static void append_relation(char *text, size_t bytes, const struct walk_edge *edge)
{
    size_t len = strlen(text);

    (void)snprintf(text + len, bytes - len, "%s%c>%c", len ? " " : "", node_letter(edge->from),
                   node_letter(edge->to));
}

START_TEST(table_case)
{
    char relations[512] = "", entities[64] = "";
    struct walk_result result;
    struct graph graph;
    int64_t start = table[_i].start[0];

    graph_read(&graph, table[_i].graph);
    result = walk_over(&graph, start * 2 + (start < 'a'), table[_i].direction, table[_i].depth, 99);
    for (size_t i = 0; i < result.relations_len; i++)
        append_relation(relations, sizeof(relations), &result.relations[i]);
    for (size_t i = 0; i < result.entities_len; i++)
        entities[i] = node_letter(result.entities[i]);
    ck_assert_msg(strcmp(relations, table[_i].relations) == 0, "%s: %s", table[_i].name, relations);
    ck_assert_msg(strcmp(entities, table[_i].entities) == 0, "%s: %s", table[_i].name, entities);
    ck_assert(!result.truncated);
    walk_result_done(&result);
}
END_TEST

/* Atlas's own test: ten processes that each write the same table from another one. */
START_TEST(ten_processes)
{
    struct graph graph = { 0 };
    struct walk_result result;

    for (int i = 1; i <= 10; i++) {
        graph_add(&graph, 2 * i, 2 * i + 1);
        graph_add(&graph, 2 * i + 1, 0);
    }
    result = walk_over(&graph, 0, WALK_INPUT, 5, 9000);
    ck_assert_uint_eq(result.entities_len, 21);
    ck_assert_uint_eq(result.relations_len, 20);
    ck_assert_int_eq(result.entities[0], 0);
    ck_assert(!result.truncated);
    walk_result_done(&result);
}
END_TEST

START_TEST(guids_come_along)
{
    struct walk_result result;
    struct graph graph;

    graph_read(&graph, "a>A>b");
    result = walk_over(&graph, 'b' * 2, WALK_INPUT, 1, 9);
    ck_assert_uint_eq(result.relations_len, 2);
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_eq(result.relations[i].guid.bytes[0], result.relations[i].id);
    walk_result_done(&result);
}
END_TEST

/* ---- limits ---- */

/* The usual limit is 2 and 2 unless the exception says otherwise, of one entity. What has more:
 * "<b2>1" has further inputs, 2 relations to it and 1 from it are shown; "b2>1>" further
 * outputs. */
static const struct {
    const char *name, *graph, *start;
    enum walk_direction direction;
    int depth;
    const char *exception;
    size_t inputs, outputs;
    const char *relations, *more;
} limit_table[] = {
    { "all there is", "a>A A>b c>A", "b", WALK_INPUT, 3, NULL, 0, 0, "A>b a>A c>A", "" },
    { "inputs of a table", "A>b B>b C>b D>b", "b", WALK_INPUT, 3, NULL, 0, 0, "A>b B>b", "<b2>0" },
    { "inputs of a process", "a>A b>A c>A A>d", "d", WALK_INPUT, 3, NULL, 0, 0, "A>d a>A b>A",
      "<A2>1" },
    { "outputs", "a>A a>B a>C A>b A>c A>d", "a", WALK_OUTPUT, 1, NULL, 0, 0, "a>A a>B A>b A>c",
      "a0>2> A1>2>" },
    { "both sides of the start", "A>b B>b C>b b>D b>E b>F", "b", WALK_BOTH, 1, NULL, 0, 0,
      "A>b B>b b>D b>E", "<b2>2>" },
    { "more of one", "A>b B>b C>b D>b a>A c>A d>A", "b", WALK_INPUT, 1, "b", 3, 2,
      "A>b B>b C>b a>A c>A", "<b3>0 <A2>1" },
    { "no limit of one", "A>b B>b C>b D>b", "b", WALK_INPUT, 1, "b", SIZE_MAX, 1, "A>b B>b C>b D>b",
      "" },
    { "another one's limit", "a>A a>B a>C A>b B>b C>b", "b", WALK_INPUT, 0, "b", 9, 9,
      "A>b B>b C>b a>A a>B", "<C0>1 a0>2>" },
    { "beyond the depth nobody looks", "A>b a>A B>a C>a D>a", "b", WALK_INPUT, 1, NULL, 0, 0,
      "A>b a>A", "" },
    { "met from the other side", "a>A A>a B>a C>a a>D a>E", "a", WALK_BOTH, 0, NULL, 0, 0,
      "A>a B>a a>A a>D", "<a2>2>" },
};

static struct walk_result walk_within(struct graph *graph, const struct walk_limits *limits,
                                      int64_t start, enum walk_direction direction, int depth,
                                      size_t relations_max)
{
    struct walk_request request = { .start = start,
                                    .start_is_process = node_is_process(start),
                                    .direction = direction,
                                    .depth = depth,
                                    .relations_max = relations_max,
                                    .limits = limits };
    struct walk_result result;
    struct err err = { 0 };

    ck_assert_msg(walk_run(&request, graph_source, graph, &result, &err) == 0, "%s", err.text);
    return result;
}

static int64_t node_of(char letter)
{
    return letter * 2 + (letter < 'a');
}

START_TEST(limit_case)
{
    const char *exception = limit_table[_i].exception;
    struct walk_exception one = { .limit = { limit_table[_i].inputs, limit_table[_i].outputs } };
    struct walk_limits limits = { { 2, 2 }, &one, exception ? 1 : 0 };
    char relations[512] = "", more[256] = "";
    struct walk_result result;
    struct graph graph;

    if (exception)
        one.id = node_of(*exception);
    for (int obeys = 0; obeys < 2; obeys++) {
        *relations = *more = '\0';
        graph_read(&graph, limit_table[_i].graph);
        graph.obeys_edges_max = obeys;
        result = walk_within(&graph, &limits, node_of(limit_table[_i].start[0]),
                             limit_table[_i].direction, limit_table[_i].depth, 99);
        for (size_t i = 0; i < result.relations_len; i++)
            append_relation(relations, sizeof(relations), &result.relations[i]);
        for (size_t i = 0; i < result.entities_len; i++) {
            const struct walk_count *count = &result.counts[i];
            size_t len = strlen(more);

            if (count->more_inputs || count->more_outputs)
                (void)snprintf(more + len, sizeof(more) - len, "%s%s%c%zu>%zu%s", len ? " " : "",
                               count->more_inputs ? "<" : "", node_letter(result.entities[i]),
                               count->inputs, count->outputs, count->more_outputs ? ">" : "");
        }
        ck_assert_msg(strcmp(relations, limit_table[_i].relations) == 0, "%s: %s",
                      limit_table[_i].name, relations);
        ck_assert_msg(strcmp(more, limit_table[_i].more) == 0, "%s: %s", limit_table[_i].name,
                      more);
        ck_assert(!result.truncated);
        walk_result_done(&result);
    }
}
END_TEST

/* Atlas's own test of lineage on demand. */
START_TEST(three_of_ten_processes)
{
    struct walk_limits limits = { .usual = { 3, 3 } };
    struct graph graph = { 0 };
    struct walk_result result;

    for (int i = 1; i <= 10; i++) {
        graph_add(&graph, 2 * i, 2 * i + 1);
        graph_add(&graph, 2 * i + 1, 0);
    }
    result = walk_within(&graph, &limits, 0, WALK_INPUT, 3, 9000);
    ck_assert_uint_eq(result.entities_len, 7);
    ck_assert_uint_eq(result.relations_len, 6);
    ck_assert(result.counts[0].more_inputs && !result.counts[0].more_outputs);
    ck_assert_uint_eq(result.counts[0].inputs, 3);
    for (size_t i = 1; i < result.entities_len; i++)
        ck_assert(!result.counts[i].more_inputs && !result.counts[i].more_outputs);
    walk_result_done(&result);
}
END_TEST

/* Whoever was looked at has more exactly if something of it is missing; nobody is over the limit;
 * and whether the source gives all edges or those that matter is all the same. */
static void check_within(struct graph *graph, int64_t start, enum walk_direction direction,
                         size_t inputs, size_t outputs)
{
    struct walk_limits limits = { .usual = { inputs, outputs } };
    struct walk_result all, some;

    graph->obeys_edges_max = false;
    all = walk_within(graph, &limits, start, direction, 0, EDGES_MAX);
    graph->obeys_edges_max = true;
    some = walk_within(graph, &limits, start, direction, 0, EDGES_MAX);
    ck_assert_uint_eq(all.relations_len, some.relations_len);
    for (size_t i = 0; i < all.relations_len; i++)
        ck_assert_int_eq(all.relations[i].id, some.relations[i].id);
    for (size_t i = 0; i < all.entities_len; i++) {
        struct walk_count have = { 0 }, *count = &all.counts[i];
        size_t in = 0, out = 0;

        for (size_t j = 0; j < graph->len; j++) {
            in += graph->edges[j].to == all.entities[i];
            out += graph->edges[j].from == all.entities[i];
        }
        for (size_t j = 0; j < all.relations_len; j++) {
            have.inputs += all.relations[j].to == all.entities[i];
            have.outputs += all.relations[j].from == all.entities[i];
        }
        ck_assert(have.inputs == count->inputs && have.outputs == count->outputs);
        ck_assert(count->inputs <= inputs && count->outputs <= outputs);
        ck_assert(!count->more_inputs || count->inputs < in);
        ck_assert(!count->more_outputs || count->outputs < out);
        if (direction == WALK_INPUT) /* all that are there were looked at that way */
            ck_assert(count->more_inputs == (count->inputs < in));
        ck_assert(count->more_inputs == some.counts[i].more_inputs);
    }
    walk_result_done(&all);
    walk_result_done(&some);
}

START_TEST(random_limits)
{
    int graphs = random_graphs_count();
    uint64_t seed = 5;

    for (int n = 0; n < graphs; n++) {
        struct graph graph = { 0 };
        size_t len = 1 + dice_roll(&seed, EDGES_MAX - 1);

        while (graph.len < len) {
            int64_t set = 2 * dice_roll(&seed, NODES_MAX / 2);
            int64_t process = 2 * dice_roll(&seed, NODES_MAX / 2) + 1;
            bool is_input = dice_roll(&seed, 2);

            graph_add(&graph, is_input ? set : process, is_input ? process : set);
        }
        check_within(&graph, dice_roll(&seed, NODES_MAX),
                     (enum walk_direction)(1 + dice_roll(&seed, 3)), 1 + dice_roll(&seed, 4),
                     1 + dice_roll(&seed, 4));
    }
}
END_TEST

/* A call a step and direction, none for an empty frontier. */
START_TEST(one_call_a_step)
{
    static const struct {
        const char *graph, *start;
        enum walk_direction direction;
        int depth;
        size_t calls;
    } cases[] = {
        { "", "a", WALK_BOTH, 1, 2 },       { "a>A>b", "b", WALK_INPUT, 1, 2 },
        { "a>A>b", "b", WALK_INPUT, 2, 3 }, { "a>A>b", "b", WALK_BOTH, 0, 4 },
        { "a>A>b", "A", WALK_BOTH, 1, 2 },  { "a>A>b b>B c>A b>C", "A", WALK_OUTPUT, 9, 3 },
    };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        int64_t start = cases[i].start[0];
        struct walk_result result;
        struct graph graph;

        graph_read(&graph, cases[i].graph);
        result =
            walk_over(&graph, start * 2 + (start < 'a'), cases[i].direction, cases[i].depth, 99);
        ck_assert_msg(graph.calls == cases[i].calls, "%zu: %zu calls", i, graph.calls);
        walk_result_done(&result);
    }
}
END_TEST

/* The naive walk: the distance of every entity by trying all edges until nothing changes. */
static void naive_distances(const struct graph *graph, int64_t start, bool upstream,
                            int distance[NODES_MAX])
{
    bool changed = true;

    for (int i = 0; i < NODES_MAX; i++)
        distance[i] = NEVER;
    distance[start] = 0;
    while (changed) {
        changed = false;
        for (size_t i = 0; i < graph->len; i++) {
            int64_t near = upstream ? graph->edges[i].to : graph->edges[i].from;
            int64_t far = upstream ? graph->edges[i].from : graph->edges[i].to;

            if (distance[near] + 1 < distance[far]) {
                distance[far] = distance[near] + 1;
                changed = true;
            }
        }
    }
}

struct naive_relation {
    int place; /* step * 2, + 1 downstream */
    struct walk_edge edge;
};

static int naive_compare(const void *a, const void *b)
{
    const struct naive_relation *one = a, *two = b;

    return one->place != two->place ? one->place - two->place : compare_ids(&one->edge, &two->edge);
}

/* All relations there are, in the order in which they are expected. */
static size_t naive_walk(const struct graph *graph, int64_t start, enum walk_direction direction,
                         int depth, struct naive_relation relations[EDGES_MAX])
{
    int steps = depth <= 0 ? NEVER : 2 * depth - node_is_process(start);
    int up[NODES_MAX], down[NODES_MAX];
    size_t len = 0;

    naive_distances(graph, start, true, up);
    naive_distances(graph, start, false, down);
    for (size_t i = 0; i < graph->len; i++) {
        const struct walk_edge *edge = &graph->edges[i];
        int place = 2 * NEVER;

        if ((direction & WALK_INPUT) && up[edge->to] < steps)
            place = 2 * up[edge->to];
        if ((direction & WALK_OUTPUT) && down[edge->from] < steps &&
            2 * down[edge->from] + 1 < place)
            place = 2 * down[edge->from] + 1;
        if (place < 2 * NEVER)
            relations[len++] = (struct naive_relation){ place, *edge };
    }
    qsort(relations, len, sizeof(*relations), naive_compare);
    return len;
}

static void check_entities(const struct walk_result *result, int64_t start)
{
    bool is_end[NODES_MAX] = { false };
    size_t ends = 0;

    for (size_t i = 0; i < result->relations_len; i++) {
        is_end[result->relations[i].from] = true;
        is_end[result->relations[i].to] = true;
        ck_assert_int_eq(result->entities[result->ends[i][0]], result->relations[i].from);
        ck_assert_int_eq(result->entities[result->ends[i][1]], result->relations[i].to);
    }
    for (size_t i = 0; i < NODES_MAX; i++)
        ends += is_end[i];
    ck_assert_uint_eq(result->entities_len, ends);
    ck_assert(ends == 0 || result->entities[0] == start);
    for (size_t i = 0; i < result->entities_len; i++) {
        ck_assert(is_end[result->entities[i]]);
        is_end[result->entities[i]] = false; /* no entity twice */
    }
}

static void check_against_naive(struct graph *graph, int64_t start, enum walk_direction direction,
                                int depth, size_t relations_max)
{
    struct naive_relation expected[EDGES_MAX];
    size_t len = naive_walk(graph, start, direction, depth, expected);
    size_t kept = len < relations_max ? len : relations_max;
    struct walk_result result = walk_over(graph, start, direction, depth, relations_max);

    ck_assert_msg(result.relations_len == kept, "%zu relations, %zu expected", result.relations_len,
                  kept);
    ck_assert(result.truncated == (len > relations_max));
    for (size_t i = 0; i < kept; i++)
        ck_assert_mem_eq(&result.relations[i], &expected[i].edge, sizeof(expected[i].edge));
    check_entities(&result, start);
    walk_result_done(&result);
}

/* Few entities and many edges give cycles, self loops and parallel edges; few edges give long
 * ways. Ids come in no order. */
static void graph_random(struct graph *graph, uint64_t *seed)
{
    uint32_t nodes = 2 + dice_roll(seed, NODES_MAX - 1);
    uint32_t edges = dice_roll(seed, dice_roll(seed, 2) ? EDGES_MAX : nodes + 1);

    *graph =
        (struct graph){ .obeys_edges_max = dice_roll(seed, 2), .repeats = dice_roll(seed, 4) == 0 };
    for (uint32_t i = 0; i < edges; i++) {
        int64_t set = dice_roll(seed, (nodes + 1) / 2) * 2;
        int64_t process = dice_roll(seed, nodes / 2) * 2 + 1;
        bool reads = dice_roll(seed, 2);

        graph_add(graph, reads ? set : process, reads ? process : set);
    }
}

static void graph_shuffle(struct graph *graph, uint64_t *seed)
{
    for (uint32_t i = (uint32_t)graph->len; i > 1; i--) {
        uint32_t j = dice_roll(seed, i);
        struct walk_edge edge = graph->edges[j];

        graph->edges[j] = graph->edges[i - 1];
        graph->edges[i - 1] = edge;
    }
}

START_TEST(random_graphs)
{
    int graphs = random_graphs_count();
    uint64_t seed = 5;
    struct graph graph;

    for (int i = 0; i < graphs; i++) {
        int64_t start;
        int depth;

        graph_random(&graph, &seed);
        start = graph.len ? graph.edges[dice_roll(&seed, (uint32_t)graph.len)].from : 1;
        depth = (int)dice_roll(&seed, 8) - 1;
        for (int round = 0; round < 4; round++) {
            for (enum walk_direction to = WALK_INPUT; to <= WALK_BOTH; to++) {
                check_against_naive(&graph, start, to, depth, EDGES_MAX);
                check_against_naive(&graph, start, to, depth, dice_roll(&seed, EDGES_MAX));
            }
            graph_shuffle(&graph, &seed);
        }
    }
}
END_TEST

START_TEST(truncated_at_every_cap)
{
    uint64_t seed = 17;
    struct graph graph;

    for (int i = 0; i < 20; i++) {
        struct naive_relation all[EDGES_MAX];
        size_t len;

        do {
            graph_random(&graph, &seed);
        } while (graph.len < 20);
        len = naive_walk(&graph, graph.edges[0].from, WALK_BOTH, 0, all);
        for (size_t cap = 0; cap <= len + 1; cap++) {
            graph_shuffle(&graph, &seed);
            check_against_naive(&graph, all[0].edge.from, WALK_BOTH, 0, cap);
        }
    }
}
END_TEST

/* One table that many processes write, and a long chain. */
enum { FAN = 200000, CHAIN_STEPS = 200000 };

static int fan_source(void *ctx UNUSED, const struct walk_frontier *frontier, struct walk *walk,
                      struct err *err UNUSED)
{
    for (int64_t i = FAN; frontier->ids[0] == 0 && i > 0; i--)
        walk_edge_add(walk, &(struct walk_edge){ .id = i, .from = 2 * i + 1, .to = 0 });
    return 0;
}

static int chain_source(void *ctx UNUSED, const struct walk_frontier *frontier, struct walk *walk,
                        struct err *err UNUSED)
{
    int64_t near = frontier->ids[0];

    ck_assert_uint_eq(frontier->len, 1);
    if (near < CHAIN_STEPS)
        walk_edge_add(walk, &(struct walk_edge){ .id = near, .from = near, .to = near + 1 });
    return 0;
}

START_TEST(wide_and_long)
{
    struct walk_request request = { .direction = WALK_INPUT, .relations_max = 10 };
    struct walk_result result;
    struct err err = { 0 };

    ck_assert_int_eq(walk_run(&request, fan_source, NULL, &result, &err), 0);
    ck_assert(result.truncated);
    ck_assert_uint_eq(result.relations_len, 10);
    for (int64_t i = 0; i < 10; i++)
        ck_assert_int_eq(result.relations[i].id, i + 1);
    walk_result_done(&result);

    request.direction = WALK_OUTPUT;
    request.relations_max = CHAIN_STEPS;
    ck_assert_int_eq(walk_run(&request, chain_source, NULL, &result, &err), 0);
    ck_assert(!result.truncated);
    ck_assert_uint_eq(result.relations_len, CHAIN_STEPS);
    ck_assert_uint_eq(result.entities_len, CHAIN_STEPS + 1);
    walk_result_done(&result);
}
END_TEST

static int failing_source(void *ctx, const struct walk_frontier *frontier, struct walk *walk,
                          struct err *err)
{
    struct graph *graph = ctx;

    if (graph->calls == 2)
        return err_set(err, ERR_RETRY, "the database went away");
    return graph_source(graph, frontier, walk, err);
}

START_TEST(source_fails)
{
    struct walk_request request = { .start = 'd' * 2, .direction = WALK_BOTH, .relations_max = 9 };
    struct walk_result result;
    struct err err = { 0 };
    struct graph graph;

    graph_read(&graph, "a>A>b>B>c>C>d");
    ck_assert_int_eq(walk_run(&request, failing_source, &graph, &result, &err), -1);
    ck_assert_int_eq(err.kind, ERR_RETRY);
    ck_assert_str_eq(err.text, "the database went away");
    ck_assert_ptr_null(result.relations);
    ck_assert_uint_eq(result.relations_len + result.entities_len, 0);
    walk_result_done(&result);
    walk_result_done(NULL);
}
END_TEST

Suite *walk_suite(void); /* called from the table that tools/suites writes */

Suite *walk_suite(void)
{
    Suite *suite = suite_create("atlas/walk");
    TCase *tc = tcase_create("walk");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, table_case, 0, LENGTH(table));
    tcase_add_test(tc, ten_processes);
    tcase_add_loop_test(tc, limit_case, 0, LENGTH(limit_table));
    tcase_add_test(tc, three_of_ten_processes);
    tcase_add_test(tc, random_limits);
    tcase_add_test(tc, guids_come_along);
    tcase_add_test(tc, one_call_a_step);
    tcase_add_test(tc, random_graphs);
    tcase_add_test(tc, truncated_at_every_cap);
    tcase_add_test(tc, wide_and_long);
    tcase_add_test(tc, source_fails);
    suite_add_tcase(suite, tc);
    return suite;
}
