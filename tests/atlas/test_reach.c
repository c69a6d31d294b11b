#include "atlas/reach.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../harness/dice.h"

Suite *reach_suite(void);

/* More sources than one walk carries. */
enum { NODES = 90, EDGES = 110, GRAPHS = 40, SOURCES_MAX = 2 * NODES, PLENTY = 1 << 20 };

struct graph {
    struct {
        int64_t from, to;
        bool is_lineage;
    } edges[EDGES];
    bool blocked[NODES];
    bool passes[NODES][2]; /* and what is restricted */
    bool has_own[NODES];
};

static void graph_roll(struct graph *graph, uint64_t *seed)
{
    *graph = (struct graph){ 0 };
    for (int i = 0; i < EDGES; i++) {
        graph->edges[i].from = dice_roll(seed, NODES);
        graph->edges[i].to = dice_roll(seed, NODES);
        graph->edges[i].is_lineage = dice_roll(seed, 3) > 0;
    }
    for (int i = 0; i < NODES; i++) {
        graph->blocked[i] = dice_roll(seed, 12) == 0;
        graph->passes[i][0] = dice_roll(seed, 2) == 0;
        graph->passes[i][1] = dice_roll(seed, 3) == 0;
        graph->has_own[i] = graph->passes[i][0] || graph->passes[i][1] || dice_roll(seed, 4) == 0;
    }
}

/* Owned by nobody yet; the sources in their order. */
static struct propagation *graph_build(const struct graph *graph,
                                       struct propagation_source sources[SOURCES_MAX], size_t *len)
{
    struct propagation *built = propagation_new();

    *len = 0;
    for (int i = 0; i < EDGES; i++)
        propagation_add_edge(built, graph->edges[i].from, graph->edges[i].to,
                             graph->edges[i].is_lineage ? PROPAGATION_LINEAGE : 0);
    for (int i = 0; i < NODES; i++) {
        for (int restricted = 0; restricted < 2; restricted++) {
            if (!graph->passes[i][restricted])
                continue;
            (void)propagation_add(built, i);
            sources[(*len)++] = (struct propagation_source){ .id = i, .is_restricted = restricted };
        }
    }
    for (int i = 0; i < NODES; i++) {
        if (graph->blocked[i])
            propagation_block(built, i);
    }
    return built;
}

/* Over and over until nothing is new. */
static void oracle_run(const struct graph *graph, const struct propagation_source *source,
                       bool has[NODES])
{
    bool changed = true;

    memset(has, 0, NODES * sizeof(*has));
    has[source->id] = !graph->blocked[source->id];
    while (changed) {
        changed = false;
        for (int i = 0; i < EDGES; i++) {
            if (!has[graph->edges[i].from] || has[graph->edges[i].to] ||
                graph->blocked[graph->edges[i].to] ||
                (source->is_restricted && graph->edges[i].is_lineage))
                continue;
            has[graph->edges[i].to] = changed = true;
        }
    }
}

struct found {
    size_t sources[SOURCES_MAX];
    size_t len;
};

static void found_add(void *ctx, size_t source)
{
    struct found *found = ctx;

    ck_assert_uint_lt(found->len, SOURCES_MAX);
    ck_assert(!found->len || found->sources[found->len - 1] < source);
    found->sources[found->len++] = source;
}

static bool found_has(const struct found *found, size_t source)
{
    for (size_t i = 0; i < found->len; i++) {
        if (found->sources[i] == source)
            return true;
    }
    return false;
}

static void graph_check(const struct graph *graph, const struct reach *reach,
                        const struct propagation_source *sources, size_t len)
{
    struct found found[NODES + 1] = { 0 };

    for (int node = 0; node <= NODES; node++) /* nobody knows the last */
        reach_each(reach, node, found_add, &found[node]);
    ck_assert_uint_eq(found[NODES].len, 0);
    for (size_t i = 0; i < len; i++) {
        bool want[NODES];

        oracle_run(graph, &sources[i], want);
        ck_assert_uint_eq(reach_source(reach, sources[i].id, sources[i].is_restricted), i);
        for (int node = 0; node < NODES; node++)
            ck_assert_msg(found_has(&found[node], i) == want[node], "source %zu, node %d", i, node);
    }
    for (int node = 0; node <= NODES; node++) {
        ck_assert_int_eq(reach_has_own(reach, node), node < NODES && graph->has_own[node]);
        for (int restricted = 0; restricted < 2; restricted++) {
            if (node == NODES || !graph->passes[node][restricted])
                ck_assert_uint_eq(reach_source(reach, node, restricted), SIZE_MAX);
        }
    }
}

START_TEST(random_graphs)
{
    uint64_t seed = 3;

    for (int round = 0; round < GRAPHS; round++) {
        struct propagation_source sources[SOURCES_MAX];
        int64_t own[NODES];
        size_t len, own_len = 0, all_len, most;
        struct propagation *built;
        struct reach *reach;
        struct graph graph;

        graph_roll(&graph, &seed);
        for (int i = 0; i < NODES; i++) {
            if (graph.has_own[i])
                own[own_len++] = i;
        }
        built = graph_build(&graph, sources, &len);
        /* too large: the graph is there to be asked again */
        ck_assert_ptr_null(reach_make(built, sources, len, own, own_len, 100));
        ck_assert_uint_eq(propagation_edges(built), EDGES);
        most = reach_make_bytes(built, len, own_len, PLENTY);
        ck_assert_uint_lt(most, PLENTY);
        reach = reach_make(built, sources, len, own, own_len, PLENTY);
        ck_assert_ptr_nonnull(reach);
        ck_assert_uint_gt(reach_bytes(reach), NODES * sizeof(int64_t));
        ck_assert_uint_le(reach_bytes(reach), most);
        ck_assert_ptr_nonnull(reach_sources(reach, &all_len));
        ck_assert_uint_eq(all_len, len);
        graph_check(&graph, reach, sources, len);
        reach_free(reach);
    }
}
END_TEST

START_TEST(nothing_classified)
{
    struct reach *reach = reach_make(propagation_new(), NULL, 0, NULL, 0, PLENTY);
    struct found found = { 0 };

    ck_assert_ptr_nonnull(reach);
    reach_each(reach, 1, found_add, &found);
    ck_assert_uint_eq(found.len, 0);
    ck_assert(!reach_has_own(reach, 1));
    ck_assert_uint_eq(reach_source(reach, 1, false), SIZE_MAX);
    reach_free(reach);
}
END_TEST

Suite *reach_suite(void)
{
    Suite *suite = suite_create("reach");
    TCase *tc = tcase_create("reach");

    tcase_add_test(tc, random_graphs);
    tcase_add_test(tc, nothing_classified);
    suite_add_tcase(suite, tc);
    return suite;
}
