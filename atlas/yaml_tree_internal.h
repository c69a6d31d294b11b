/* A YAML document as a tree of texts, lists and mappings that know their line and column, for files
 * that people write by hand. What could make a small file large is bounded here: bytes, values and
 * depth. An alias stays an alias, a reference to the value that it stands for; whoever walks the
 * tree decides how often to follow one.
 *
 * Pure. A text of YAML_TREE_BYTES_MAX bytes takes at most about 10 MiB as a tree, and as much again
 * for its anchors while it is read. */
#ifndef ATLAS_YAML_TREE_INTERNAL_H
#define ATLAS_YAML_TREE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/span.h"

enum {
    YAML_TREE_BYTES_MAX = 1 << 20,
    YAML_TREE_NODES_MAX = 100000,
    YAML_TREE_DEPTH_MAX = 16,
};

enum yaml_tree_type {
    YAML_TREE_DOCUMENT, /* node 0; the value of the document is its only child, if it has one */
    YAML_TREE_TEXT,
    YAML_TREE_LIST,
    YAML_TREE_MAP, /* its children are key, value, key, value ... */
    YAML_TREE_ALIAS,
};

struct yaml_node {
    enum yaml_tree_type type;
    bool is_plain;   /* a text that was written without quotes */
    bool is_open;    /* its end has not been read yet */
    uint32_t line;   /* from 1 */
    uint32_t column; /* from 1, in characters */
    uint32_t first;  /* the first child; 0: none */
    uint32_t next;   /* the next child of the same parent; 0: none */
    uint32_t target; /* of an alias: what it stands for, which is no alias */
    size_t at;       /* of a text: where in tree->texts */
    size_t len;
};

struct yaml_tree {
    struct yaml_node *nodes; /* owned */
    uint32_t len;
    uint32_t cap;
    struct buf texts;
};

/* Why a text is no tree: where, and what to do about it. */
struct yaml_problem {
    uint32_t line;
    uint32_t column;
    char text[256];
};

/* Fills the tree, which is made new, from UTF-8. Texts of it hold no zero byte and are UTF-8. -1:
 * *problem says why not, the tree is empty. */
int yaml_tree_parse(struct yaml_tree *tree, struct span text,
                    struct yaml_problem *problem) MUST_CHECK;
void yaml_tree_done(struct yaml_tree *tree);

/* Borrowed until yaml_tree_done. */
const struct yaml_node *yaml_tree_node(const struct yaml_tree *tree, uint32_t node);
/* What an alias stands for; any other node is itself. */
const struct yaml_node *yaml_tree_value(const struct yaml_tree *tree, uint32_t node);
struct span yaml_tree_text(const struct yaml_tree *tree, const struct yaml_node *node);
/* Written without quotes, and nothing, `~` or `null`. */
bool yaml_tree_is_null(const struct yaml_tree *tree, const struct yaml_node *node);

static inline void yaml_tree_done_auto(struct yaml_tree *tree) /* AUTO(yaml_tree_done) */
{
    yaml_tree_done(tree);
}

#endif
