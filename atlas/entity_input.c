#include "atlas/entity_input.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "atlas/type_value.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"

/* --------------------------------------------------------------------------------------- faults */

int entity_fault_set(struct entity_fault *fault, unsigned status, const char *code, const char *fmt,
                     ...)
{
    va_list args;
    int len;

    fault->status = status;
    fault->code = code;
    va_start(args, fmt);
    len = vsnprintf(fault->message, sizeof(fault->message), fmt, args);
    va_end(args);
    if (len >= ENTITY_FAULT_BYTES) /* no character is cut in two */
        fault->message[utf8_cut(span_of(fault->message), ENTITY_FAULT_BYTES - 2).len] = '\0';
    return -1;
}

/* A client's text as it stands in a message, as printf("%.*s") wants it. */
static int input_quote_len(struct span text)
{
    return (int)utf8_cut(text, ENTITY_INPUT_QUOTE_BYTES_MAX).len;
}

static int input_invalid(struct entity_fault *fault, const char *message)
{
    return entity_fault_set(fault, 404, "ATLAS-404-00-007",
                            "Invalid instance creation/updation parameters passed : %s", message);
}

static int input_unknown_type(struct entity_fault *fault, const json_t *name)
{
    const char *text = json_is_string(name) ? json_string_value(name) : "null";

    return entity_fault_set(fault, 400, "ATLAS-400-00-014",
                            "Type ENTITY with name %.*s does not exist",
                            input_quote_len(span_of(text)), text);
}

static int input_not_referred(struct entity_fault *fault, const char *text)
{
    return entity_fault_set(fault, 404, "ATLAS-404-00-00A", "Referenced entity %.*s is not found",
                            input_quote_len(span_of(text)), text);
}

static int input_no_reference(struct entity_fault *fault, const json_t *value)
{
    AUTO(mem_free) char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    struct span span = span_of(text ? text : "null");

    return entity_fault_set(fault, 400, "ATLAS-400-00-021", "ObjectId is not valid %.*s",
                            input_quote_len(span), span.data);
}

int entity_fault_not_found(struct entity_fault *fault, const struct entity_node *node)
{
    AUTO(mem_free) char *text = NULL;
    char guid[UUID_TEXT_LEN + 1];

    if (!node->key) {
        uuid_format(&node->guid, guid);
        return input_not_referred(fault, guid);
    }
    text = xasprintf("AtlasObjectId{guid='null', typeName='%s', uniqueAttributes={%s:%.*s}}",
                     node->type->def->name, entity_key_attribute(node->type)->name,
                     input_quote_len(span_of(node->key)), node->key);
    return entity_fault_set(fault, 404, "ATLAS-404-00-00A", "Referenced entity %s is not found",
                            text);
}

/* ---------------------------------------------------------------------------------------- nodes */

const struct type_attribute *entity_key_attribute(const struct type *type)
{
    const struct type_attribute *name = type_attribute(type, SPAN_LITERAL("qualifiedName"));

    if (name && name->flags & TYPE_UNIQUE)
        return name;
    for (size_t i = 0; i < type->attributes_len; i++) {
        if (type->attributes[i]->flags & TYPE_UNIQUE)
            return type->attributes[i];
    }
    return NULL;
}

/* The key that attributes give an entity of the type. Owned; NULL: none. */
static char *input_key(const struct type *type, const json_t *attributes)
{
    const struct type_attribute *attribute = entity_key_attribute(type);
    const json_t *value = attribute ? json_object_get(attributes, attribute->name) : NULL;

    if (!value || json_is_null(value))
        return NULL;
    if (json_is_string(value))
        return xmemdup0(json_string_value(value), json_string_length(value));
    return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
}

static struct span input_place_key(struct buf *key, char kind, const char *type, const char *text)
{
    buf_clear(key);
    buf_append_char(key, kind);
    buf_append_text(key, type);
    buf_append_char(key, ' ');
    buf_append_text(key, text);
    return buf_span(key);
}

/* The place of that name, made `place` unless it is taken. */
static size_t input_claim(struct entity_input *input, char kind, const char *type, const char *text,
                          size_t place)
{
    AUTO(buf_done) struct buf key;
    bool added;

    buf_init(&key, SIZE_MAX);
    return *map_put(input->places, input_place_key(&key, kind, type, text), place, &added);
}

static size_t input_find(const struct entity_input *input, char kind, const char *type,
                         const char *text)
{
    AUTO(buf_done) struct buf key;
    const uint64_t *place;

    buf_init(&key, SIZE_MAX);
    place = map_get(input->places, input_place_key(&key, kind, type, text));
    return place ? *place : ENTITY_NODE_NONE;
}

static size_t input_add_node(struct entity_input *input, const struct type *type)
{
    size_t place = input->nodes_len;

    if ((place & (place - 1)) == 0) /* twice as many each time */
        input->nodes = xreallocarray(input->nodes, place ? 2 * place : 1, sizeof(*input->nodes));
    input->nodes[input->nodes_len++] = (struct entity_node){ .type = type, .same = place };
    return place;
}

struct entity_node *entity_input_node(const struct entity_input *input, size_t place)
{
    while (input->nodes[place].same != place)
        place = input->nodes[place].same;
    return &input->nodes[place];
}

static void input_add_alias(struct entity_input *input, const char *text, size_t node)
{
    size_t len = input->aliases_len;

    if ((len & (len - 1)) == 0)
        input->aliases = xreallocarray(input->aliases, len ? 2 * len : 1, sizeof(*input->aliases));
    input->aliases[input->aliases_len++] = (struct entity_alias){ xstrdup(text), node };
}

void entity_input_guid(const struct entity_input *input, size_t node, struct uuid *guid)
{
    *guid = input->seed;
    for (size_t i = 0; i < 4; i++) /* next to each other: an index takes them in one place */
        guid->bytes[15 - i] ^= (uint8_t)(node >> (8 * i));
}

/* A guid as clients write it, number or text; NULL: none. Owned. */
static char *input_guid(const json_t *object)
{
    const json_t *guid = json_object_get(object, "guid");

    if (json_is_integer(guid))
        return xasprintf("%" PRId64, (int64_t)json_integer_value(guid));
    if (!json_is_string(guid) || !json_string_length(guid))
        return NULL;
    return xstrdup(json_string_value(guid));
}

/* An entity of the request; `guid` (NULL: none) is how the request calls it. */
static int input_add_wanted(struct entity_input *input, const json_t *entity, const char *guid,
                            size_t *place, struct entity_fault *fault)
{
    const json_t *name = json_object_get(entity, "typeName");
    const struct type *type =
        json_is_string(name) ? type_by_name(input->types, span_of(json_string_value(name))) : NULL;
    char text[UUID_TEXT_LEN + 1];
    struct entity_node *node;

    if (!json_is_object(entity))
        return entity_fault_set(fault, 400, "ATLAS-400-00-029", "an entity must be an object");
    if (!type || type->def->category != TYPE_ENTITY)
        return input_unknown_type(fault, name);
    if (++input->wanted_len > ENTITY_INPUT_ENTITIES_MAX)
        return entity_fault_set(fault, 400, "ATLAS-400-00-029",
                                "more than %d entities: send them in several requests",
                                ENTITY_INPUT_ENTITIES_MAX);
    *place = input_add_node(input, type);
    node = &input->nodes[*place];
    node->is_wanted = true;
    node->source = entity;
    if (guid && uuid_parse(&node->guid, span_of(guid)) == 0) {
        node->is_assigned = true;
        uuid_format(&node->guid, text);
        (void)input_claim(input, 'g', "", text, *place);
        return 0;
    }
    entity_input_guid(input, *place, &node->guid);
    if (guid) {
        if (input_claim(input, 't', "", guid, *place) == *place)
            input_add_alias(input, guid, *place);
    }
    return 0;
}

/* ----------------------------------------------------------------------------------- references */

/* By a guid: of the request, of what is referred to, or of what is there. 0: nobody has it. */
static int input_refer_guid(struct entity_input *input, const char *guid, size_t *place,
                            struct entity_fault *fault)
{
    struct uuid uuid;
    char text[UUID_TEXT_LEN + 1];
    bool is_assigned = uuid_parse(&uuid, span_of(guid)) == 0;
    const uint64_t *referred;

    if (is_assigned)
        uuid_format(&uuid, text);
    *place = is_assigned ? input_find(input, 'g', "", text) : input_find(input, 't', "", guid);
    if (*place != ENTITY_NODE_NONE)
        return 1;
    referred = input->referred ? map_get(input->referred, span_of(guid)) : NULL;
    if (referred)
        return input_add_wanted(input, (const json_t *)(uintptr_t)*referred, guid, place, fault) < 0
                   ? -1
                   : 1;
    if (!is_assigned)
        return 0;
    *place = input_add_node(input, NULL);
    input->nodes[*place].is_assigned = true;
    input->nodes[*place].guid = uuid;
    (void)input_claim(input, 'g', "", text, *place);
    return 1;
}

int entity_reference_read(const struct type_registry *types, const json_t *reference,
                          const struct type **type, char **key, struct entity_fault *fault)
{
    const json_t *name = json_object_get(reference, "typeName");
    const json_t *unique = json_object_get(reference, "uniqueAttributes");

    *type = NULL;
    *key = NULL;
    if (!json_is_object(unique) || !json_object_size(unique) || !json_is_string(name))
        return input_no_reference(fault, reference);
    *type = type_by_name(types, span_of(json_string_value(name)));
    if (!*type || (*type)->def->category != TYPE_ENTITY)
        return input_unknown_type(fault, name);
    *key = input_key(*type, unique);
    return *key ? 0 : input_no_reference(fault, reference);
}

static int input_refer_name(struct entity_input *input, const json_t *reference, size_t *place,
                            struct entity_fault *fault)
{
    AUTO(mem_free) char *key = NULL;
    const struct type *type;

    if (entity_reference_read(input->types, reference, &type, &key, fault) < 0)
        return -1;
    *place = input_find(input, 'k', type->def->name, key);
    if (*place != ENTITY_NODE_NONE)
        return 0;
    *place = input_add_node(input, type);
    (void)input_claim(input, 'k', type->def->name, key, *place);
    input->nodes[*place].key = TAKE(key);
    return 0;
}

static int entity_input_refer(struct entity_input *input, const json_t *reference, size_t *node,
                              struct entity_fault *fault)
{
    AUTO(mem_free) char *guid = NULL;
    int found = 0;

    if (!json_is_object(reference))
        return input_no_reference(fault, reference);
    if (++input->references_len > ENTITY_INPUT_REFERENCES_MAX)
        return entity_fault_set(fault, 400, "ATLAS-400-00-029",
                                "more than %d references: send them in several requests",
                                ENTITY_INPUT_REFERENCES_MAX);
    guid = input_guid(reference);
    if (guid)
        found = input_refer_guid(input, guid, node, fault);
    if (found != 0)
        return found < 0 ? -1 : 0;
    if (guid && !json_is_object(json_object_get(reference, "uniqueAttributes")))
        return input_not_referred(fault, guid);
    return input_refer_name(input, reference, node, fault);
}

/* -------------------------------------------------------------------------------- relationships */

/* What an answer of ours says of an edge that was ended: nobody wants it again. */
static bool input_is_ended(const json_t *reference)
{
    static const char *const members[] = { "relationshipStatus", "entityStatus" };

    for (size_t i = 0; i < LENGTH(members); i++) {
        const char *text = json_string_value(json_object_get(reference, members[i]));

        if (text && strcmp(text, "DELETED") == 0)
            return true;
    }
    return false;
}

/* What the reference says of the relationship itself. */
static int input_edge_attributes(struct entity_input *input, const struct type *relationship,
                                 const json_t *reference, json_t **out, struct entity_fault *fault)
{
    const json_t *own = json_object_get(reference, "relationshipAttributes");
    const json_t *attributes = json_object_get(own, "attributes");
    struct err err = { 0 };

    if (!relationship->attributes_len || !json_is_object(attributes))
        return 0;
    if (type_values_check(input->types, relationship, attributes, NULL, false, out, &err) < 0)
        return input_invalid(fault, err.text);
    return 0;
}

/* The relationship of several that give an attribute of that name. */
static const struct type_relation *input_relation(struct entity_input *input,
                                                  const struct type *type, const char *name,
                                                  const json_t *reference)
{
    const char *said = json_string_value(json_object_get(reference, "relationshipType"));
    const struct type *relationship = said ? type_by_name(input->types, span_of(said)) : NULL;
    const struct type_relation *relation =
        relationship ? type_relation(type, span_of(name), relationship) : NULL;

    return relation ? relation : type_relation(type, span_of(name), NULL);
}

static int input_add_edge(struct entity_input *input, size_t holder, const char *name,
                          const json_t *reference, const struct type_relation **relation,
                          struct entity_fault *fault)
{
    struct entity_edge edge = { .holder = holder };
    size_t len = input->edges_len;

    *relation = edge.relation = input_relation(input, input->nodes[holder].type, name, reference);
    if (input_is_ended(reference))
        return 0;
    if (entity_input_refer(input, reference, &edge.other, fault) < 0 ||
        input_edge_attributes(input, edge.relation->relationship, reference, &edge.attributes,
                              fault) < 0)
        return -1;
    if ((len & (len - 1)) == 0)
        input->edges = xreallocarray(input->edges, len ? 2 * len : 1, sizeof(*input->edges));
    input->edges[input->edges_len++] = edge;
    return 0;
}

static void input_add_hold(struct entity_input *input, const struct type_relation *relation,
                           size_t holder)
{
    size_t len = input->holds_len;

    if (len && input->holds[len - 1].relation == relation && input->holds[len - 1].holder == holder)
        return;
    if ((len & (len - 1)) == 0)
        input->holds = xreallocarray(input->holds, len ? 2 * len : 1, sizeof(*input->holds));
    input->holds[input->holds_len++] = (struct entity_hold){ relation, holder };
}

static bool input_appends(const struct entity_input *input, const struct type_option *options)
{
    const char *option = type_option(options, "isAppendOnPartialUpdate");

    return input->is_partial && option && strcmp(option, "true") == 0;
}

/* All that the attribute `first` refers to. */
static int input_read_relation(struct entity_input *input, size_t holder,
                               const struct type_relation *first, const json_t *value,
                               struct entity_fault *fault)
{
    const char *name = first->attribute.name;
    bool is_list = first->attribute.cardinality != TYPE_SINGLE;
    bool is_held = !input_appends(input, first->attribute.options);
    size_t len = is_list ? json_array_size(value) : 1, nulls = 0;
    AUTO(mem_free) char *message = NULL;

    if (json_is_array(value) != is_list) {
        AUTO(mem_free) char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

        message =
            xasprintf("%s.%s=%.*s: invalid value for type %s", input->nodes[holder].type->def->name,
                      name, input_quote_len(span_of(text)), text, first->attribute.type_name);
        return input_invalid(fault, message);
    }
    for (size_t i = 0; i < len; i++) {
        const json_t *reference = is_list ? json_array_get(value, i) : value;
        const struct type_relation *relation;

        if (json_is_null(reference)) {
            nulls++;
            continue;
        }
        if (input_add_edge(input, holder, name, reference, &relation, fault) < 0)
            return -1;
        if (is_held)
            input_add_hold(input, relation, holder);
    }
    if (nulls == len)
        input_add_hold(input, first, holder);
    return 0;
}

/* The value of a relationship's attribute: of relationshipAttributes, or else of attributes. */
static const json_t *input_relation_value(const json_t *entity, const char *name)
{
    const json_t *value = json_object_get(json_object_get(entity, "relationshipAttributes"), name);

    if (!value || json_is_null(value))
        value = json_object_get(json_object_get(entity, "attributes"), name);
    return value && !json_is_null(value) ? value : NULL;
}

static int input_read_relations(struct entity_input *input, size_t place, const json_t *entity,
                                struct entity_fault *fault)
{
    const struct type *type = input->nodes[place].type;

    for (size_t i = 0; i < type->relations_len; i++) {
        const struct type_relation *relation = type->relations[i];
        const char *name = relation->attribute.name;
        const json_t *value = input_relation_value(entity, name);

        /* several relationships may give it: it is read once */
        if (!value || type_relation(type, span_of(name), NULL) != relation)
            continue;
        if (input_read_relation(input, place, relation, value, fault) < 0)
            return -1;
    }
    return 0;
}

/* ----------------------------------------------------------------------------------- attributes */

static int input_add_inner(struct entity_input *input, json_t *value, struct entity_fault *fault)
{
    size_t len = input->inners_len, node;

    if (json_is_null(value))
        return 0;
    if (entity_input_refer(input, value, &node, fault) < 0)
        return -1;
    if ((len & (len - 1)) == 0)
        input->inners = xreallocarray(input->inners, len ? 2 * len : 1, sizeof(*input->inners));
    input->inners[input->inners_len++] = (struct entity_inner){ json_incref(value), node };
    return 0;
}

/* References in an attribute that no relationship gives. */
static int input_read_inner(struct entity_input *input, const struct type_attribute *attribute,
                            json_t *value, struct entity_fault *fault)
{
    const char *key;
    json_t *item;
    size_t i;

    switch (type_value_references(input->types, span_of(attribute->type_name))) {
    case TYPE_REFERENCE:
        return input_add_inner(input, value, fault);
    case TYPE_REFERENCE_LIST:
        json_array_foreach(value, i, item)
        {
            if (input_add_inner(input, item, fault) < 0)
                return -1;
        }
        return 0;
    case TYPE_REFERENCE_MAP:
        json_object_foreach(value, key, item)
        {
            if (input_add_inner(input, item, fault) < 0)
                return -1;
        }
        return 0;
    default:
        return 0;
    }
}

/* One attribute of what is stored: those of relationships are no attributes, null is said to remove
 * what may be absent, maps may be joined to what stands. */
static int input_settle_attribute(struct entity_input *input, size_t place,
                                  const struct type_attribute *attribute, const json_t *given,
                                  struct entity_fault *fault)
{
    struct entity_node *node = &input->nodes[place];
    json_t *holder = node->attributes, *value = json_object_get(holder, attribute->name);

    if (type_relation(node->type, span_of(attribute->name), NULL)) {
        (void)json_object_del(node->attributes, attribute->name);
        return 0;
    }
    if (!value && json_is_null(json_object_get(given, attribute->name)) &&
        !(attribute->flags & TYPE_MANDATORY))
        (void)json_object_set_new(node->attributes, attribute->name, json_null());
    if (!value)
        return 0;
    if (json_is_object(value) && strncmp(attribute->type_name, "map<", 4) == 0 &&
        input_appends(input, attribute->options)) {
        if (!node->joined)
            node->joined = json_object();
        (void)json_object_set(node->joined, attribute->name, value);
        (void)json_object_del(node->attributes, attribute->name);
        holder = node->joined;
    }
    if (type_value_references(input->types, span_of(attribute->type_name)) == TYPE_NO_REFERENCES)
        return 0;
    value = json_deep_copy(value); /* the body keeps its own */
    (void)json_object_set_new(holder, attribute->name, value);
    return input_read_inner(input, attribute, value, fault);
}

/* The node of that key is this one, or this one is another view of it. */
static void input_name_node(struct entity_input *input, size_t place)
{
    struct entity_node *node = &input->nodes[place];
    const struct entity_node *other;
    size_t there;

    node->key = input_key(node->type, node->attributes);
    if (!node->key || (node->is_assigned && input->is_partial))
        return;
    there = input_claim(input, 'k', node->type->def->name, node->key, place);
    other = entity_input_node(input, there);
    /* two that are there are two, and can't both have the name */
    if (other != node &&
        !(node->is_assigned && other->is_assigned && uuid_compare(&node->guid, &other->guid) != 0))
        entity_input_merge(input, place, there);
}

/* Why the entity could not be made of that. Owned; NULL: it could. */
static char *input_lacks(const struct entity_input *input, const struct type *type,
                         const json_t *entity)
{
    json_auto_t *attributes = NULL;
    struct err err = { 0 };

    if (type_values_check(input->types, type, json_object_get(entity, "attributes"),
                          json_object_get(entity, "relationshipAttributes"), false, &attributes,
                          &err) == 0)
        return NULL;
    return xstrdup(err.text);
}

/* Whether a classification is on another entity and only reached the one that has this guid. */
static bool input_is_passed_on(const json_t *classification, const char *guid)
{
    const char *from = classification_guid(classification);

    return from && (!guid || strcasecmp(from, guid) != 0);
}

/* What is to be made with classifications; what is there is not changed by them. */
static int input_note_classifications(struct entity_node *node, const json_t *entity,
                                      struct entity_fault *fault)
{
    const json_t *given = json_object_get(entity, "classifications");
    AUTO(mem_free) char *guid = input_guid(entity);
    json_t *list;

    if (!given || json_is_null(given))
        return 0;
    if (!json_is_array(given))
        return entity_fault_set(fault, 400, "ATLAS-400-00-029", "classifications must be a list");
    list = json_array();
    for (size_t i = 0; i < json_array_size(given); i++) {
        json_t *item = json_array_get(given, i);

        if (!input_is_passed_on(item, guid))
            (void)json_array_append(list, item);
    }
    if (!node->given)
        node->given = json_array();
    (void)json_array_append_new(node->given, list);
    return 0;
}

static int input_read_attributes(struct entity_input *input, size_t place, const json_t *entity,
                                 struct entity_fault *fault)
{
    const struct type *type = input->nodes[place].type;
    const json_t *given = json_object_get(entity, "attributes");
    struct err err = { 0 };

    if (type_values_check(input->types, type, given,
                          json_object_get(entity, "relationshipAttributes"), input->is_partial,
                          &input->nodes[place].attributes, &err) < 0)
        return input_invalid(fault, err.text);
    if (input->is_partial && !input->nodes[place].is_assigned)
        input->nodes[place].lacks = input_lacks(input, type, entity);
    if (input_note_classifications(&input->nodes[place], entity, fault) < 0)
        return -1;
    for (size_t i = 0; i < type->attributes_len; i++) {
        if (input_settle_attribute(input, place, type->attributes[i], given, fault) < 0)
            return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------ a request */

static void input_note_referred(struct entity_input *input, const json_t *referred)
{
    const char *guid;
    json_t *entity;
    bool added;

    input->referred = map_new();
    json_object_foreach((json_t *)(uintptr_t)referred, guid, entity)
    {
        AUTO(mem_free) char *own = input_guid(entity);

        (void)map_put(input->referred, span_of(guid), (uint64_t)(uintptr_t)entity, &added);
        if (own)
            (void)map_put(input->referred, span_of(own), (uint64_t)(uintptr_t)entity, &added);
    }
}

/* An entity of "entities", which may be in its own AtlasEntityWithExtInfo. */
static int input_add_entity(struct entity_input *input, const json_t *entity,
                            struct entity_fault *fault)
{
    AUTO(mem_free) char *guid = input_guid(entity);
    size_t place;

    return input_add_wanted(input, entity, guid, &place, fault);
}

static int input_add_entities(struct entity_input *input, const json_t *body,
                              struct entity_fault *fault)
{
    const json_t *entities = json_object_get(body, "entities");
    const json_t *entity = json_object_get(body, "entity");

    if (json_is_object(entity) && input_add_entity(input, entity, fault) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(entities); i++) {
        if (input_add_entity(input, json_array_get(entities, i), fault) < 0)
            return -1;
    }
    if (!input->wanted_len)
        return entity_fault_set(fault, 400, "ATLAS-400-00-01A",
                                "invalid parameters: no entities to create/update.");
    return 0;
}

int entity_input_parse(struct entity_input *input, const struct type_registry *types,
                       const json_t *body, bool is_partial, const struct uuid *seed,
                       struct entity_fault *fault)
{
    *input = (struct entity_input){
        .types = types, .is_partial = is_partial, .places = map_new(), .seed = *seed
    };
    input_note_referred(input, json_object_get(body, "referredEntities"));
    if (input_add_entities(input, body, fault) < 0)
        return -1;
    /* names first: a reference by name may mean an entity behind it */
    for (size_t i = 0; i < input->nodes_len; i++) {
        const json_t *source = input->nodes[i].source;

        if (source && input_read_attributes(input, i, source, fault) < 0)
            return -1;
        if (source)
            input_name_node(input, i);
    }
    for (size_t i = 0; i < input->nodes_len; i++) {
        const json_t *source = input->nodes[i].source;

        if (source && !input->nodes[i].attributes) { /* referred to by a relationship alone */
            if (input_read_attributes(input, i, source, fault) < 0)
                return -1;
            input_name_node(input, i);
        }
        if (source && input_read_relations(input, i, source, fault) < 0)
            return -1;
    }
    map_free(TAKE(input->referred));
    return 0;
}

/* The entity at an end of a relationship that stands by itself. */
static int input_refer_end(struct entity_input *input, const json_t *body, const char *end,
                           size_t *node, struct entity_fault *fault)
{
    const json_t *reference = json_object_get(body, end);

    if (!reference || json_is_null(reference))
        return entity_fault_set(fault, 400, "ATLAS-400-00-028", "invalid value: %s is null", end);
    return entity_input_refer(input, reference, node, fault);
}

int entity_input_values(const struct type_registry *types, const struct type *relationship,
                        const json_t *attributes, json_t **out, struct entity_fault *fault)
{
    struct err err = { 0 };

    *out = NULL;
    if (type_values_check(types, relationship, attributes, NULL, false, out, &err) < 0)
        return entity_fault_set(fault, 404, "ATLAS-404-00-00D",
                                "Invalid relationship creation/updation parameters passed : %s",
                                err.text);
    if (!json_object_size(*out))
        json_decref(TAKE(*out));
    return 0;
}

int entity_input_relate(struct entity_input *input, const struct type_registry *types,
                        const json_t *body, struct entity_fault *fault)
{
    const char *name = json_string_value(json_object_get(body, "typeName"));
    const struct type *type = name ? type_by_name(types, span_of(name)) : NULL;
    struct entity_edge edge = { 0 };

    *input = (struct entity_input){ .types = types, .places = map_new() };
    if (!type || type->def->category != TYPE_RELATIONSHIP)
        return entity_fault_set(fault, 400, "ATLAS-400-00-028",
                                "invalid value: unknown relationship type '%.*s'",
                                input_quote_len(span_of(name ? name : "null")),
                                name ? name : "null");
    edge.relation = type->relations[0];
    if (input_refer_end(input, body, "end1", &edge.holder, fault) < 0 ||
        input_refer_end(input, body, "end2", &edge.other, fault) < 0)
        return -1;
    if (entity_input_values(types, type, json_object_get(body, "attributes"), &edge.attributes,
                            fault) < 0)
        return -1;
    input->edges = xcalloc(1, sizeof(*input->edges));
    input->edges[input->edges_len++] = edge;
    return 0;
}

int entity_input_check_relation(const struct entity_input *input, struct entity_fault *fault)
{
    const struct entity_edge *edge = &input->edges[0];
    const struct type *one = entity_input_node(input, edge->holder)->type;
    const struct type *two = entity_input_node(input, edge->other)->type;
    const struct type *relationship = edge->relation->relationship;

    if (type_is_a(one, relationship->relations[1]->other) &&
        type_is_a(two, relationship->relations[0]->other))
        return 0;
    return entity_fault_set(fault, 400, "ATLAS-400-00-036",
                            "invalid relationshipDef: %s: end type 1: %s, end type 2: %s",
                            relationship->def->name, one->def->name, two->def->name);
}

void entity_input_done(struct entity_input *input)
{
    for (size_t i = 0; i < input->nodes_len; i++) {
        free(input->nodes[i].key);
        json_decref(input->nodes[i].attributes);
        json_decref(input->nodes[i].joined);
        json_decref(input->nodes[i].given);
        for (size_t j = 0; j < input->nodes[i].classifications_len; j++)
            classification_done(&input->nodes[i].classifications[j]);
        free(input->nodes[i].classifications);
        free(input->nodes[i].lacks);
    }
    for (size_t i = 0; i < input->edges_len; i++)
        json_decref(input->edges[i].attributes);
    for (size_t i = 0; i < input->aliases_len; i++)
        free(input->aliases[i].text);
    for (size_t i = 0; i < input->inners_len; i++)
        json_decref(input->inners[i].value);
    free(input->nodes);
    free(input->edges);
    free(input->holds);
    free(input->aliases);
    free(input->inners);
    map_free(input->places);
    map_free(input->referred);
    *input = (struct entity_input){ 0 };
}

/* ------------------------------------------------------------------------- when all is resolved */

void entity_input_merge(struct entity_input *input, size_t from, size_t into)
{
    struct entity_node *one = entity_input_node(input, from), *two = entity_input_node(input, into);

    if (one == two)
        return;
    one->same = (size_t)(two - input->nodes);
    if (!one->is_wanted)
        return;
    if (!two->is_wanted) {
        two->is_wanted = true;
        two->guid = two->is_assigned ? two->guid : one->guid;
        two->attributes = json_object();
        two->lacks = TAKE(one->lacks);
    } else if (!one->lacks) {
        free(TAKE(two->lacks));
    }
    if (one->is_assigned && !two->is_assigned) {
        two->is_assigned = true;
        two->guid = one->guid;
    }
    (void)json_object_update(two->attributes, one->attributes);
    if (one->joined && !two->joined)
        two->joined = json_object();
    if (one->joined)
        (void)json_object_update(two->joined, one->joined);
    if (one->given && !two->given)
        two->given = json_array();
    if (one->given)
        (void)json_array_extend(two->given, one->given);
}

/* What stands at the other end must be of the type that the relationship has there. */
static int input_check_edge(const struct entity_input *input, const struct entity_edge *edge,
                            struct entity_fault *fault)
{
    const struct type_relation *relation = edge->relation;
    const struct entity_node *other = entity_input_node(input, edge->other);
    char guid[UUID_TEXT_LEN + 1];

    if (type_is_a(other->type, relation->other))
        return 0;
    uuid_format(&other->guid, guid);
    return entity_fault_set(fault, 400, "ATLAS-400-00-045",
                            "Invalid entity-type for relationship attribute ‘%s’: entity "
                            "specified (guid=%s) is of type ‘%s’, but expected type is "
                            "‘%s’",
                            relation->attribute.name, guid, other->type->def->name,
                            relation->other->def->name);
}

/* "type attribute" of the node at each end of each edge, as keys. */
static struct map *input_given(const struct entity_input *input)
{
    struct map *given = map_new();
    AUTO(buf_done) struct buf key;
    bool added;

    buf_init(&key, SIZE_MAX);
    for (size_t i = 0; i < input->edges_len; i++) {
        const struct entity_edge *edge = &input->edges[i];
        const struct type_end *ends = edge->relation->relationship->def->ends;
        size_t end = edge->relation->end;

        buf_clear(&key);
        buf_append_fmt(&key, "%td %s", entity_input_node(input, edge->holder) - input->nodes,
                       ends[end].name);
        (void)map_put(given, buf_span(&key), 0, &added);
        buf_clear(&key);
        buf_append_fmt(&key, "%td %s", entity_input_node(input, edge->other) - input->nodes,
                       ends[1 - end].name);
        (void)map_put(given, buf_span(&key), 0, &added);
    }
    return given;
}

/* Of an entity that is made, the owner. */
static int input_check_owner(const struct entity_input *input, size_t place,
                             const struct map *given, struct entity_fault *fault)
{
    const struct type *type = input->nodes[place].type;
    AUTO(buf_done) struct buf key;

    buf_init(&key, SIZE_MAX);
    for (size_t i = 0; i < type->relations_len; i++) {
        const struct type_relation *relation = type->relations[i];
        AUTO(mem_free) char *message = NULL;

        if (relation->is_declared || !(relation->attribute.flags & TYPE_MANDATORY))
            continue;
        buf_clear(&key);
        buf_append_fmt(&key, "%zu %s", place, relation->attribute.name);
        if (map_get(given, buf_span(&key)))
            continue;
        message = xasprintf("%s.%s: mandatory attribute value missing in type %s", type->def->name,
                            relation->attribute.name,
                            relation->relationship->def->ends[relation->end].type);
        return input_invalid(fault, message);
    }
    return 0;
}

/* A reference as attributes hold it. */
static void input_fill_inner(const struct entity_input *input, const struct entity_inner *inner)
{
    const struct entity_node *node = entity_input_node(input, inner->node);
    char guid[UUID_TEXT_LEN + 1];

    uuid_format(&node->guid, guid);
    (void)json_object_clear(inner->value);
    (void)json_object_set_new(inner->value, "guid", json_string(guid));
    (void)json_object_set_new(inner->value, "typeName", json_string(node->type->def->name));
}

/* A classification that may be on the node, which is to be made. */
static int input_classify(const struct entity_input *input, const struct entity_node *node,
                          const json_t *given, struct classification *fresh,
                          struct entity_fault *fault)
{
    const json_t *propagate = json_object_get(given, "propagate");
    char guid[UUID_TEXT_LEN + 1];
    struct type_fault why;

    uuid_format(&node->guid, guid);
    if (classification_parse(fresh, input->types, given, &why) < 0 ||
        classification_check_entity(input->types, fresh->type, node->type, guid, &why) < 0)
        return entity_fault_set(fault, why.status, why.code, "%s", why.message);
    if (input->keeps_back && (!propagate || json_is_null(propagate)))
        fresh->propagates = false;
    return 0;
}

/* In the place of the one of its type, if there is one. Takes it. */
static void input_put_classification(struct entity_node *node, struct map *places,
                                     struct classification *fresh)
{
    size_t len = node->classifications_len;
    bool added;
    uint64_t place = *map_put(places, span_of(fresh->type->def->name), len, &added);

    if (added && (len & (len - 1)) == 0)
        node->classifications =
            xreallocarray(node->classifications, len ? 2 * len : 1, sizeof(*node->classifications));
    if (added)
        node->classifications_len++;
    else
        classification_done(&node->classifications[place]);
    node->classifications[place] = *fresh;
    *fresh = (struct classification){ 0 };
}

/* Of one view of the entity, none of a type twice. */
static int input_classify_view(const struct entity_input *input, struct entity_node *node,
                               const json_t *list, struct map *places, struct entity_fault *fault)
{
    AUTO(map_free) struct map *seen = map_new();

    for (size_t i = 0; i < json_array_size(list); i++) {
        AUTO(classification_done) struct classification fresh = { 0 };
        bool is_first;

        if (input_classify(input, node, json_array_get(list, i), &fresh, fault) < 0)
            return -1;
        (void)map_put(seen, span_of(fresh.type->def->name), 0, &is_first);
        if (!is_first)
            return entity_fault_set(fault, 400, "ATLAS-400-00-01A",
                                    "invalid parameters: classification %s is there twice",
                                    fresh.type->def->name);
        input_put_classification(node, places, &fresh);
    }
    return 0;
}

/* With several views of the entity the last one's goes before. */
static int input_classify_new(const struct entity_input *input, struct entity_node *node,
                              struct entity_fault *fault)
{
    AUTO(map_free) struct map *places = NULL;

    if (!node->given)
        return 0;
    places = map_new();
    for (size_t i = 0; i < json_array_size(node->given); i++) {
        if (input_classify_view(input, node, json_array_get(node->given, i), places, fault) < 0)
            return -1;
    }
    return 0;
}

/* What is made has all that it must have, and nothing stands that maps could be joined to. */
static int input_check_new(struct entity_input *input, size_t place, const struct map *given,
                           struct entity_fault *fault)
{
    struct entity_node *node = &input->nodes[place];

    if (node->lacks)
        return input_invalid(fault, node->lacks);
    if (node->joined)
        (void)json_object_update(node->attributes, node->joined);
    if (input_check_owner(input, place, given, fault) < 0)
        return -1;
    return input_classify_new(input, node, fault);
}

int entity_input_check(struct entity_input *input, struct entity_fault *fault)
{
    AUTO(map_free) struct map *given = input_given(input);

    for (size_t i = 0; i < input->edges_len; i++) {
        if (input_check_edge(input, &input->edges[i], fault) < 0)
            return -1;
    }
    for (size_t i = 0; i < input->nodes_len; i++) {
        const struct entity_node *node = &input->nodes[i];

        if (node->same == i && node->is_wanted && !node->id &&
            input_check_new(input, i, given, fault) < 0)
            return -1;
    }
    for (size_t i = 0; i < input->inners_len; i++)
        input_fill_inner(input, &input->inners[i]);
    return 0;
}
