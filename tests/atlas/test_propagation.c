#include "atlas/propagation.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../harness/dice.h"

Suite *propagation_suite(void);

enum { NODES_MAX = 24, EDGES_MAX = 60, SOURCES_MAX = 90, RANDOM_GRAPHS = 2000, NEVER = 1000 };

struct edge {
    int64_t from, to;
    unsigned flags;
};

struct graph {
    struct edge edges[EDGES_MAX];
    size_t edges_len;
    struct propagation_source sources[SOURCES_MAX];
    size_t sources_len;
    bool blocked[NODES_MAX];
    bool stops[NODES_MAX];
    int nodes;
};

/* ---- what it must be, in the plainest words ---- */

struct oracle {
    const struct graph *graph;
    bool is_restricted;
    bool with_stops;
    int hops_max;
    bool seen[NODES_MAX]; /* on the way here */
    int hops[NODES_MAX];
};

static void oracle_visit(struct oracle *oracle, int64_t node, int hops)
{
    const struct graph *graph = oracle->graph;

    if (graph->blocked[node] || oracle->seen[node] || (oracle->hops_max && hops > oracle->hops_max))
        return;
    if (hops < oracle->hops[node])
        oracle->hops[node] = hops;
    if (oracle->with_stops && graph->stops[node] && hops)
        return;
    oracle->seen[node] = true;
    for (size_t i = 0; i < graph->edges_len; i++) {
        const struct edge *edge = &graph->edges[i];

        if (edge->from == node && !(oracle->is_restricted && edge->flags & PROPAGATION_LINEAGE))
            oracle_visit(oracle, edge->to, hops + !(edge->flags & PROPAGATION_INTO_PROCESS));
    }
    oracle->seen[node] = false;
}

/* A way may lead through a stop where a source is: only one that has not come from elsewhere. */
static void oracle_ask(struct oracle *oracle, const struct propagation_source *source)
{
    oracle->is_restricted = source->is_restricted;
    memset(oracle->seen, 0, sizeof(oracle->seen));
    oracle_visit(oracle, source->id, 0);
}

static void oracle_init(struct oracle *oracle, const struct graph *graph)
{
    *oracle = (struct oracle){ .graph = graph };
    for (int i = 0; i < NODES_MAX; i++)
        oracle->hops[i] = NEVER;
}

/* ---- graphs ---- */

static int source_compare(const void *a, const void *b)
{
    const struct propagation_source *one = a, *two = b;

    if (one->mark != two->mark)
        return one->mark < two->mark ? -1 : 1;
    return one->is_restricted - two->is_restricted;
}

/* Few edges, so that the oracle comes to an end. */
static void graph_roll(struct graph *graph, uint64_t *seed, uint32_t marks)
{
    uint32_t nodes = 1 + dice_roll(seed, NODES_MAX);

    *graph = (struct graph){ .nodes = (int)nodes };
    graph->edges_len = dice_roll(seed, nodes + nodes / 3 + 1);
    for (size_t i = 0; i < graph->edges_len; i++)
        graph->edges[i] =
            (struct edge){ dice_roll(seed, nodes), dice_roll(seed, nodes), dice_roll(seed, 4) };
    graph->sources_len = dice_roll(seed, marks > 10 ? SOURCES_MAX : 6);
    for (size_t i = 0; i < graph->sources_len; i++)
        graph->sources[i] =
            (struct propagation_source){ dice_roll(seed, nodes), dice_roll(seed, marks),
                                         dice_roll(seed, 3) == 0 };
    qsort(graph->sources, graph->sources_len, sizeof(*graph->sources), source_compare);
    for (uint32_t i = 0; i < nodes; i++) {
        graph->blocked[i] = dice_roll(seed, 8) == 0;
        graph->stops[i] = dice_roll(seed, 4) == 0;
    }
}

static struct propagation *graph_build(const struct graph *graph)
{
    struct propagation *built = propagation_new();

    for (size_t i = 0; i < graph->edges_len; i++)
        propagation_add_edge(built, graph->edges[i].from, graph->edges[i].to,
                             graph->edges[i].flags);
    for (size_t i = 0; i < graph->sources_len; i++)
        (void)propagation_add(built, graph->sources[i].id);
    for (int i = 0; i < graph->nodes; i++) {
        if (graph->blocked[i])
            propagation_block(built, i);
    }
    return built;
}

/* ---- tests ---- */

struct found {
    struct propagation *graph;
    int times[SOURCES_MAX][NODES_MAX]; /* by mark and node */
};

static void found_add(void *ctx, uint32_t mark, size_t place)
{
    struct found *found = ctx;
    size_t len;

    found->times[mark][propagation_ids(found->graph, &len)[place]]++;
}

static void check_run(const struct graph *graph, uint32_t marks, int round)
{
    AUTO(propagation_free) struct propagation *built = graph_build(graph);
    struct found found = { .graph = built };

    propagation_run(built, graph->sources, graph->sources_len, found_add, &found);
    for (uint32_t mark = 0; mark < marks; mark++) {
        struct oracle oracle;

        oracle_init(&oracle, graph);
        for (size_t i = 0; i < graph->sources_len; i++) {
            if (graph->sources[i].mark == mark)
                oracle_ask(&oracle, &graph->sources[i]);
        }
        for (int node = 0; node < graph->nodes; node++) {
            ck_assert_msg((found.times[mark][node] > 0) == (oracle.hops[node] < NEVER),
                          "graph %d, mark %u, node %d", round, mark, node);
            ck_assert_int_le(found.times[mark][node], 2);
        }
    }
}

/* Also more marks than one walk carries. */
START_TEST(random_graphs)
{
    uint64_t seed = 11;

    for (int round = 0; round < RANDOM_GRAPHS; round++) {
        uint32_t marks = round % 10 ? 5 : SOURCES_MAX;
        struct graph graph;

        graph_roll(&graph, &seed, marks);
        check_run(&graph, marks, round);
    }
}
END_TEST

static void check_measure(const struct graph *graph, bool with_stops, int hops_max, int round)
{
    AUTO(propagation_free) struct propagation *built = graph_build(graph);
    size_t len;
    const int64_t *ids = propagation_ids(built, &len);
    int32_t hops[NODES_MAX];
    bool stops[NODES_MAX];
    struct oracle oracle;

    for (size_t i = 0; i < len; i++)
        stops[i] = graph->stops[ids[i]];
    propagation_measure(built, graph->sources, graph->sources_len, with_stops ? stops : NULL,
                        hops_max, hops);
    oracle_init(&oracle, graph);
    oracle.with_stops = with_stops;
    oracle.hops_max = hops_max;
    for (size_t i = 0; i < graph->sources_len; i++)
        oracle_ask(&oracle, &graph->sources[i]);
    for (size_t i = 0; i < len; i++)
        ck_assert_msg(hops[i] == (oracle.hops[ids[i]] < NEVER ? oracle.hops[ids[i]] : -1),
                      "graph %d, node %d: %d, not %d", round, (int)ids[i], hops[i],
                      oracle.hops[ids[i]]);
}

START_TEST(random_distances)
{
    uint64_t seed = 23;

    for (int round = 0; round < RANDOM_GRAPHS; round++) {
        struct graph graph;

        graph_roll(&graph, &seed, 3);
        check_measure(&graph, false, 0, round);
        check_measure(&graph, true, round % 4, round);
    }
}
END_TEST

START_TEST(grows_between_runs)
{
    AUTO(propagation_free) struct propagation *graph = propagation_new();
    const struct propagation_source source = { .id = 1 };
    struct found found = { .graph = graph };

    ck_assert(propagation_add(graph, 1));
    ck_assert(!propagation_add(graph, 1));
    propagation_run(graph, &source, 1, found_add, &found);
    ck_assert_int_eq(found.times[0][1], 1);
    propagation_add_edge(graph, 1, 2, 0);
    propagation_add_edge(graph, 2, 1, 0);
    ck_assert(propagation_add(graph, 3));
    propagation_block(graph, 4); /* not known */
    ck_assert(!propagation_knows(graph, 4));
    propagation_run(graph, &source, 1, found_add, &found);
    ck_assert_int_eq(found.times[0][2], 1);
    ck_assert_int_eq(found.times[0][3], 0);
    ck_assert_uint_eq(propagation_edges(graph), 2);
}
END_TEST

Suite *propagation_suite(void)
{
    Suite *suite = suite_create("propagation");
    TCase *tc = tcase_create("propagation");

    tcase_add_test(tc, random_graphs);
    tcase_add_test(tc, random_distances);
    tcase_add_test(tc, grows_between_runs);
    suite_add_tcase(suite, tc);
    return suite;
}
