#include "atlas/type_change.h"

#include <stdlib.h>
#include <string.h>

#include "atlas/type_json.h"
#include "atlas/type_value.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"

/* A change under way. */
struct change {
    const struct type_registry *before;
    struct type_fault *fault;
    struct type_custom **customs; /* owned references: those of the registry that is to come */
    size_t len;
    struct map *places; /* of their names */
    struct map *names;  /* of those that change */
};

/* ------------------------------------------------------------------------------- what is there */

static int change_fail_unknown(const struct change *change, const char *name)
{
    return type_fault_set(change->fault, "ATLAS-404-00-001", "Given typename %s was invalid",
                          name ? name : "null");
}

/* The type that is meant, of the category that is meant. NULL: the fault is set. */
static const struct type *change_find(const struct change *change, const struct type_given *given)
{
    const struct type *type = given->guid ? type_by_guid(change->before, span_of(given->guid))
                                          : type_by_name(change->before, span_of(given->name));

    if (!type && given->guid) {
        (void)type_fault_set(change->fault, "ATLAS-404-00-002", "Given type guid %s was invalid",
                             given->guid);
        return NULL;
    }
    if (!type) {
        (void)change_fail_unknown(change, given->name);
        return NULL;
    }
    if ((given->category != TYPE_CATEGORIES && type->def->category != given->category) ||
        (given->name && strcmp(type->def->name, given->name) != 0)) {
        (void)type_fault_set(change->fault, "ATLAS-400-00-010", "Given type %s doesn't match %s",
                             given->name ? given->name : type->def->name,
                             type_category_old_name(given->category));
        return NULL;
    }
    return type;
}

static int change_fail_builtin(const struct change *change, const struct type *type,
                               const char *verb)
{
    static const char *const names[TYPE_CATEGORIES] = {
        [TYPE_ENUM] = "enum-def",
        [TYPE_STRUCT] = "struct-def",
        [TYPE_CLASSIFICATION] = "classification-def",
        [TYPE_ENTITY] = "entity-def",
        [TYPE_RELATIONSHIP] = "relationship-def",
        [TYPE_BUSINESS_METADATA] = "business-metadata-def",
    };

    return type_fault_set(change->fault, "ATLAS-403-00-001",
                          "nobody is authorized to perform %s %s %s: it is built in", verb,
                          names[type->def->category], type->def->name);
}

/* ------------------------------------------------------------------------------------- updates */

static const struct type_attribute *def_attribute(const struct type_def *def, const char *name)
{
    for (size_t i = 0; i < def->attributes_len; i++) {
        if (strcmp(def->attributes[i].name, name) == 0)
            return &def->attributes[i];
    }
    return NULL;
}

static int update_attributes(const struct change *change, const struct type_def *old,
                             const struct type_def *new)
{
    const char *code = "ATLAS-400-00-027", *what = "attribute update not supported";

    for (size_t i = 0; i < old->attributes_len; i++) {
        if (!def_attribute(new, old->attributes[i].name))
            return type_fault_set(change->fault, "ATLAS-400-00-00D",
                                  "%s.%s : attribute delete not supported", old->name,
                                  old->attributes[i].name);
    }
    for (size_t i = 0; i < new->attributes_len; i++) {
        const struct type_attribute *to = &new->attributes[i];
        const struct type_attribute *from = def_attribute(old, to->name);

        if (!from && (to->flags & TYPE_MANDATORY))
            return type_fault_set(change->fault, "ATLAS-400-00-00C",
                                  "%s.%s : can not add mandatory attribute", new->name, to->name);
        if (!from)
            continue;
        if (strcmp(from->type_name, to->type_name) != 0)
            return type_fault_set(change->fault, "ATLAS-400-00-029",
                                  "Data type update for attribute is not supported");
        if (from->cardinality != to->cardinality || type_values_min(to) > type_values_min(from) ||
            type_values_max(to) < type_values_max(from) ||
            ((to->flags & ~from->flags) & TYPE_UNIQUE))
            return type_fault_set(change->fault, code, "%s.%s : %s", new->name, to->name, what);
    }
    return 0;
}

static bool names_have(const char *const *names, const char *name)
{
    for (; names && *names; names++) {
        if (strcmp(*names, name) == 0)
            return true;
    }
    return false;
}

/* Whether `new` has all of `old`. */
static bool names_keep(const char *const *old, const char *const *new)
{
    for (; old && *old; old++) {
        if (!names_have(new, *old))
            return false;
    }
    return true;
}

static int update_elements(const struct change *change, const struct type_def *old,
                           const struct type_def *new)
{
    AUTO(map_free) struct map *kept = map_new();
    bool is_new;

    for (size_t i = 0; i < new->elements_len; i++)
        (void)map_put(kept, span_of(new->elements[i].value), 0, &is_new);
    for (size_t i = 0; i < old->elements_len; i++) {
        if (!map_get(kept, span_of(old->elements[i].value)))
            return type_fault_set(change->fault, "ATLAS-400-00-00D",
                                  "%s.%s : attribute delete not supported", old->name,
                                  old->elements[i].value);
    }
    return 0;
}

static void end_write(struct buf *out, const struct type_end *end)
{
    static const char *const cardinalities[] = { "SINGLE", "LIST", "SET" };

    buf_append_fmt(out,
                   "AtlasRelationshipEndDef{type='%.64s', name==>'%.64s', description==>'%.32s', "
                   "isContainer==>'%s', cardinality==>'%s', isLegacyAttribute==>'%s'}",
                   end->type, end->name, end->description ? end->description : "null",
                   end->is_container ? "true" : "false", cardinalities[end->cardinality],
                   end->is_legacy ? "true" : "false");
}

static int update_relationship(const struct change *change, const struct type_def *old,
                               const struct type_def *new)
{
    static const char *const codes[] = { "ATLAS-400-00-037", "ATLAS-400-00-038" };
    static const char *const names[] = { "ASSOCIATION", "AGGREGATION", "COMPOSITION" };

    if (old->ownership != new->ownership)
        return type_fault_set(change->fault, "ATLAS-400-00-039",
                              "invalid  update for relationship %s: new relationshipDef category "
                              "%s, existing relationshipDef category %s",
                              new->name, names[new->ownership], names[old->ownership]);
    for (size_t i = 0; i < 2; i++) {
        const struct type_end *from = &old->ends[i], *to = &new->ends[i];
        AUTO(buf_done) struct buf was, is;

        buf_init(&was, TYPE_FAULT_BYTES);
        buf_init(&is, TYPE_FAULT_BYTES);
        end_write(&was, from);
        end_write(&is, to);
        if (strcmp(from->type, to->type) != 0 || strcmp(from->name, to->name) != 0 ||
            from->is_container != to->is_container || from->cardinality != to->cardinality)
            return type_fault_set(change->fault, codes[i],
                                  "invalid update for relationshipDef %s: new end%zu %s, existing "
                                  "end%zu %s",
                                  new->name, i + 1, buf_text(&is), i + 1, buf_text(&was));
    }
    return 0;
}

static int update_check(const struct change *change, const struct type_def *old,
                        const struct type_def *new)
{
    if (update_attributes(change, old, new) < 0 || update_elements(change, old, new) < 0)
        return -1;
    if (!names_keep(old->super_types, new->super_types))
        return type_fault_set(change->fault, "ATLAS-400-00-00E", "superType remove not supported");
    if (!names_keep(old->entity_types, new->entity_types))
        return type_fault_set(change->fault, "ATLAS-400-00-051",
                              "EntityTypes cannot be removed from ClassificationDef \u2018%s\u2018",
                              new->name);
    return new->category == TYPE_RELATIONSHIP ? update_relationship(change, old, new) : 0;
}

/* What was mandatory for nobody before: entities of the type may lack it. */
static int update_check_inherited(const struct change *change, const struct type *old,
                                  const struct type *new)
{
    for (size_t i = 0; i < new->attributes_len; i++) {
        const struct type_attribute *attribute = new->attributes[i];
        const struct type_attribute *was = type_attribute(old, span_of(attribute->name));

        if ((attribute->flags & TYPE_MANDATORY) && (!was || !(was->flags & TYPE_MANDATORY)))
            return type_fault_set(change->fault, "ATLAS-400-00-00C",
                                  "%s.%s : can not add mandatory attribute", new->def->name,
                                  attribute->name);
    }
    return 0;
}

/* ---------------------------------------------------------------------------------- the change */

static void change_init(struct change *change, const struct type_registry *before,
                        struct type_fault *fault, size_t more)
{
    size_t len;
    struct type_custom *const *customs = type_registry_customs(before, &len);
    bool is_new;

    *change = (struct change){ .before = before,
                               .fault = fault,
                               .customs = xcalloc(len + more, sizeof(*change->customs)),
                               .places = map_new(),
                               .names = map_new() };
    for (size_t i = 0; i < len; i++) {
        (void)map_put(change->places, span_of(customs[i]->def.name), i, &is_new);
        change->customs[change->len++] = type_custom_ref(customs[i]);
    }
}

static void change_done(struct change *change)
{
    for (size_t i = 0; i < change->len; i++)
        type_custom_free(change->customs[i]);
    free(change->customs);
    map_free(change->places);
    map_free(change->names);
}

static void change_note(const struct change *change, const char *name)
{
    bool is_new;

    (void)map_put(change->names, span_of(name), 0, &is_new);
}

static int change_create(struct change *change, struct type_given *given)
{
    const char *name = given->custom->def.name;

    if (type_by_name(change->before, span_of(name)) || map_get(change->names, span_of(name)))
        return type_fault_set(change->fault, "ATLAS-409-00-001", "Given type %s already exists",
                              name);
    change_note(change, name);
    change->customs[change->len++] = TAKE(given->custom);
    return 0;
}

/* The definition is nobody else's yet: it gets who made the type, and which version it is. */
static void change_stamp(struct type_custom *custom, const struct type_stamp *old)
{
    size_t bytes = strlen(old->created_by) + 1;

    custom->def.stamp.created_by =
        memcpy(type_custom_alloc(custom, 1, bytes), old->created_by, bytes);
    custom->def.stamp.created_ms = old->created_ms;
    custom->def.stamp.version = old->version + 1;
}

static int change_update(struct change *change, struct type_given *given)
{
    const struct type *type = change_find(change, given);
    size_t place;

    if (!type)
        return -1;
    if (type_def_is_same(type->def, &given->custom->def))
        return 0;
    if (type_is_builtin(type))
        return change_fail_builtin(change, type, "update");
    if (map_get(change->names, span_of(type->def->name)))
        return type_fault_set(change->fault, "ATLAS-400-00-029", "%s: the type is there twice",
                              type->def->name);
    if (update_check(change, type->def, &given->custom->def) < 0)
        return -1;
    change_note(change, type->def->name);
    change_stamp(given->custom, &type->def->stamp);
    place = *map_get(change->places, span_of(type->def->name));
    type_custom_free(change->customs[place]);
    change->customs[place] = TAKE(given->custom);
    return 0;
}

static int change_delete(struct change *change, struct type_given *given)
{
    const struct type *type = change_find(change, given);

    if (!type)
        return -1;
    if (type_is_builtin(type))
        return change_fail_builtin(change, type, "delete");
    change_note(change, type->def->name);
    return 0;
}

/* ---------------------------------------------------------------------------------- references */

/* NULL: it is none of those that go. */
static const char *change_going(const struct change *change, struct span name)
{
    const struct type *type =
        map_get(change->names, name) ? type_by_name(change->before, name) : NULL;

    return type ? type->def->name : NULL;
}

static const char *change_find_going(const struct change *change, const char *const *names)
{
    const char *going = NULL;

    for (; names && *names && !going; names++)
        going = change_going(change, span_of(*names));
    return going;
}

/* Of those that go, one that the definition refers to. */
static const char *change_reference(const struct change *change, const struct type_def *def)
{
    const char *going = change_find_going(change, def->super_types);

    if (!going)
        going = change_find_going(change, def->entity_types);
    for (size_t i = 0; !going && i < def->attributes_len; i++) {
        struct type_name name = type_name_split(span_of(def->attributes[i].type_name));

        while (name.kind != TYPE_NAME_PLAIN && !going) {
            going = change_going(change, name.key);
            name = type_name_split(name.element);
        }
        if (!going)
            going = change_going(change, name.element);
    }
    return going;
}

/* Takes those that go out; nothing that stays may refer to them. */
static int change_remove(struct change *change)
{
    size_t len = 0;
    const char *going = NULL, *end = NULL;

    for (size_t i = 0; i < change->len; i++) {
        struct type_custom *custom = change->customs[i];

        if (map_get(change->names, span_of(custom->def.name))) {
            type_custom_free(custom);
            continue;
        }
        change->customs[len++] = custom;
        for (size_t j = 0; custom->def.category == TYPE_RELATIONSHIP && !end && j < 2; j++)
            end = change_going(change, span_of(custom->def.ends[j].type));
        if (!going)
            going = change_reference(change, &custom->def);
    }
    change->len = len;
    if (end)
        return type_fault_set(change->fault, "ATLAS-409-00-005",
                              "Given type %s has associated relationshipDefs", end);
    if (going)
        return type_fault_set(change->fault, "ATLAS-409-00-002", "Given type %s has references",
                              going);
    return 0;
}

/* ---------------------------------------------------------------------------------- the result */

static int change_apply(struct change *change, struct type_givens *givens,
                        enum type_change_kind kind)
{
    for (size_t i = 0; i < givens->len; i++) {
        struct type_given *given = &givens->items[i];

        if (kind == TYPE_CREATE   ? change_create(change, given) < 0
            : kind == TYPE_UPDATE ? change_update(change, given) < 0
                                  : change_delete(change, given) < 0)
            return -1;
    }
    return kind == TYPE_DELETE ? change_remove(change) : 0;
}

/* Those whose names are noted, in the order of `from`. */
static void change_list(const struct change *change, const struct type_registry *from,
                        struct type_change *result)
{
    struct type_list types = type_registry_types(from);

    result->changed = xcalloc(map_len(change->names), sizeof(*result->changed));
    for (size_t i = 0; i < types.len; i++) {
        if (map_get(change->names, span_of(types.items[i]->def->name)))
            result->changed[result->changed_len++] = types.items[i];
    }
}

/* Types that stand and whose heritage the update changes: their entities may lack nothing. */
static int change_check_heirs(const struct change *change, const struct type_registry *after)
{
    struct type_list types = type_registry_types(after);

    for (size_t i = 0; i < types.len; i++) {
        const struct type *new = types.items[i];
        const struct type *old = type_by_name(change->before, span_of(new->def->name));

        if (old && !type_is_builtin(old) && update_check_inherited(change, old, new) < 0)
            return -1;
    }
    return 0;
}

int type_change_make(struct type_change *result, struct type_registry *before,
                     struct type_givens *givens, enum type_change_kind kind,
                     struct type_fault *fault)
{
    struct change change;
    int rc;

    *result = (struct type_change){ .before = type_registry_ref(before) };
    change_init(&change, before, fault, givens->len);
    rc = change_apply(&change, givens, kind);
    if (rc == 0) {
        result->after = type_registry_make(change.customs, change.len, fault);
        rc = result->after ? 0 : -1;
    }
    if (rc == 0 && kind == TYPE_UPDATE)
        rc = change_check_heirs(&change, result->after);
    if (rc == 0)
        change_list(&change, kind == TYPE_DELETE ? before : result->after, result);
    else
        type_change_done(result);
    change_done(&change);
    return rc;
}

void type_change_done(struct type_change *change)
{
    type_registry_free(change->before);
    type_registry_free(change->after);
    free(change->changed);
    *change = (struct type_change){ 0 };
}
