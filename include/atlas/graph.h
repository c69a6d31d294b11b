/* From lineage events to what the graph must hold because of them:
 *
 *     create process --> project --+
 *                                  v
 *     tables, other data sets --> train_build process --> build --> deploy process --> deployment
 *
 * What follows depends on the set of events alone, not on their order, but for statuses of the same
 * time. What is known by its name only is a shell: the event that describes it comes later or
 * never.
 *
 * Pure. */
#ifndef ATLAS_GRAPH_H
#define ATLAS_GRAPH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atlas/event.h"
#include "atlas/type_def.h"
#include "base/attr.h"

/* What is known of one identity: the members of all its events together. */
struct graph_fact {
    enum lineage_event_kind kind;
    json_t *event;       /* owned */
    int64_t received_ms; /* of the first of its events */
    bool is_background;  /* looked at, but nothing follows from it that was not there before */
};

/* In order of insertion. All zero: none. */
struct graph_facts {
    struct graph_fact *items; /* owned */
    size_t len;
    struct map *places; /* owned; identity -> place in items */
};

/* The fact with this identity (struct lineage_event), made if it is new, with the members of
 * `event` that it lacks. The pointer is borrowed until the next call. */
struct graph_fact *graph_facts_add(struct graph_facts *facts, enum lineage_event_kind kind,
                                   struct span identity, const json_t *event, int64_t received_ms);
/* NULL: there is none. */
const struct graph_fact *graph_facts_find(const struct graph_facts *facts,
                                          enum lineage_event_kind kind, const char *crn);
void graph_facts_done(struct graph_facts *facts);

struct graph_entity {
    const char *type;     /* static, or of the registry */
    char *qualified_name; /* owned */
    bool is_complete;     /* false: a shell, that takes nothing from an entity that is there */
    bool is_assumed;      /* nobody said how much CPU the deployment has: 0 stands there */
    json_t *attributes;   /* owned; without those that nobody gave */
    const char *user;     /* who made it so; borrowed from the facts, "" for nobody */
};

struct graph_edge {
    const char *type; /* static */
    size_t end1, end2;
    bool is_single; /* the entity at its second end has no other edge of this type */
};

struct graph {
    const struct type_registry *types; /* borrowed, as is name_space */
    const char *name_space;
    struct graph_entity *entities; /* owned; each (type, qualified name) once */
    size_t entities_len;
    struct graph_edge *edges; /* owned; each once */
    size_t edges_len;
    struct map *places; /* owned: "type qualified name" -> place in entities */
    struct map *taken;  /* owned: edges that are there */
};

void graph_init(struct graph *graph, const struct type_registry *types, const char *name_space);
void graph_done(struct graph *graph);
static inline void graph_done_auto(struct graph *graph) /* AUTO(graph_done) */
{
    graph_done(graph);
}

/* Adds what follows from the facts. Those of one deployment must be there together, with the
 * model_built of its build if there is one. Borrows the facts as long as the graph is there. */
void graph_derive(struct graph *graph, const struct graph_facts *facts);
/* A build that no model_built describes: deployments say to which project it belongs. */
void graph_add_build(struct graph *graph, const char *crn, const char *project_crn);
/* A deployment that no event describes: its predictions were seen. build_crn: what they say that it
 * serves, NULL: nothing. */
void graph_add_deployment(struct graph *graph, const char *crn, const char *build_crn);

/* The deployment's entity; NULL: it is not in the graph. */
const struct graph_entity *graph_find_deployment(const struct graph *graph, const char *crn);

#endif
