/* The classifications of many entities set at once, as tools do that carry them from one server to
 * another: what is not given goes, what is there is changed, what is new is added. What can't be
 * done is left out and said in the answer, which has a line for each list of changes:
 *
 *     ["Delete:GUID:TYPE:NAME -> OLD, RAW:(Done)", "Entity:TYPE:NAME:[Not found]:(Skipped)"] */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "atlas/classification.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "collector/query_write_internal.h"

#define SET_DONE "(Done)"
#define SET_SKIPPED "(Skipped)"
#define SET_PARTIAL "(Partial)" /* none of that list was changed */

/* An entity that the request names by type and unique attribute. */
struct set_entity {
    const json_t *header;    /* borrowed, as are the next two: an AtlasEntityHeader */
    const char *type_name;   /* may be NULL */
    const struct type *type; /* NULL: nobody knows it */
    char *key;               /* owned; NULL: none is given */
    int64_t id;              /* 0: nobody has that name */
};

struct setting {
    struct entity_writer *writer; /* borrowed, as is the type registry in it */
    struct set_entity *wanted;    /* owned, as is all that follows */
    size_t wanted_len;
    struct entity_list entities;
    struct tags own;              /* of these entities, as they stand */
    struct classification *given; /* what is to stand */
    size_t given_len;
    struct tag_write *puts, *ends;
    size_t puts_len, ends_len;
    json_t *lines;
};

static void setting_done(struct setting *setting)
{
    for (size_t i = 0; i < setting->wanted_len; i++)
        free(setting->wanted[i].key);
    for (size_t i = 0; i < setting->given_len; i++)
        classification_done(&setting->given[i]);
    entity_list_done(&setting->entities);
    tags_done(&setting->own);
    free(setting->wanted);
    free(setting->given);
    free(setting->puts);
    free(setting->ends);
    json_decref(setting->lines);
}

static void setting_done_auto(struct setting *setting) /* AUTO(setting_done) */
{
    setting_done(setting);
}

/* ------------------------------------------------------------------------------- what is there */

/* Reads the headers; returns how many classifications they have. */
static size_t setting_read(struct setting *setting, const json_t *headers)
{
    size_t given = 0;
    const char *name;
    json_t *header;

    setting->wanted = xcalloc(json_object_size(headers), sizeof(*setting->wanted));
    json_object_foreach((json_t *)(uintptr_t)headers, name, header)
    {
        struct set_entity *entity = &setting->wanted[setting->wanted_len++];
        const struct type_attribute *key;
        const char *text;

        entity->header = header;
        entity->type_name = json_string_value(json_object_get(header, "typeName"));
        given += json_array_size(json_object_get(header, "classifications"));
        if (entity->type_name)
            entity->type = type_by_name(setting->writer->types, span_of(entity->type_name));
        if (entity->type && entity->type->def->category != TYPE_ENTITY)
            entity->type = NULL;
        key = entity->type ? entity_key_attribute(entity->type) : NULL;
        if (!key)
            continue;
        text = json_string_value(json_object_get(json_object_get(header, "attributes"), key->name));
        entity->key = text ? xstrdup(text) : NULL;
    }
    return given;
}

/* Finds those that are named, and what they are classified as. */
static int setting_find(struct setting *setting)
{
    struct entity_writer *writer = setting->writer;
    AUTO(mem_free) struct entity_name *names = xcalloc(setting->wanted_len, sizeof(*names));
    AUTO(mem_free) int64_t *ids = xcalloc(setting->wanted_len, sizeof(*ids));
    struct atlas_view view;
    size_t len = 0;

    for (size_t i = 0; i < setting->wanted_len; i++) {
        if (setting->wanted[i].key)
            names[len++] = (struct entity_name){ .type = setting->wanted[i].type,
                                                 .key = setting->wanted[i].key };
    }
    if (entity_find_names(writer, names, len) < 0)
        return -1;
    len = 0;
    for (size_t i = 0; i < setting->wanted_len; i++)
        setting->wanted[i].id = setting->wanted[i].key ? names[len++].id : 0;
    len = 0;
    for (size_t i = 0; i < setting->wanted_len; i++) {
        if (setting->wanted[i].id)
            ids[len++] = setting->wanted[i].id;
    }
    atlas_view_init(&view, writer->conn, writer->types, ATLAS_NOW);
    if (atlas_read_ends(&view, ids, len, &setting->entities, writer->err) < 0)
        return -1;
    for (size_t i = 0; i < setting->entities.len; i++)
        ids[i] = setting->entities.items[i].id;
    return tags_read_own(&view, ids, setting->entities.len, &setting->own, writer->err);
}

/* ------------------------------------------------------------------------ what becomes of them */

/* A list of changes of one kind, of one entity. */
struct set_list {
    const char *what;
    struct buf names;
    bool is_refused;
    size_t puts_before;
};

static void set_list_begin(struct set_list *list, const char *what, const struct setting *setting)
{
    *list = (struct set_list){ .what = what, .puts_before = setting->puts_len };
    buf_init(&list->names, SIZE_MAX);
}

static void set_list_add(struct set_list *list, const char *name)
{
    if (list->names.len)
        buf_append_text(&list->names, ", ");
    buf_append_text(&list->names, name ? name : "null");
}

/* All of the list or nothing, and the line for it. */
static void set_list_end(struct set_list *list, struct setting *setting,
                         const struct set_entity *wanted, const struct entity *entity)
{
    if (list->is_refused)
        setting->puts_len = list->puts_before;
    if (list->names.len)
        (void)json_array_append_new(setting->lines,
                                    json_sprintf("%s:%s:%s:%s -> %s:%s", list->what, entity->guid,
                                                 wanted->type_name, wanted->key,
                                                 buf_text(&list->names),
                                                 list->is_refused ? SET_PARTIAL : SET_DONE));
    buf_done(&list->names);
}

static void setting_put(struct setting *setting, int64_t id, const struct classification *fresh)
{
    struct classification *kept = &setting->given[setting->given_len++];

    *kept = *fresh;
    setting->puts[setting->puts_len++] = (struct tag_write){ id, kept };
}

/* One that stands is changed by what is given. */
static void setting_update(struct setting *setting, struct set_list *list, const struct tag *tag,
                           const json_t *given)
{
    struct classification fresh = tag->classification;
    struct type_fault fault;

    set_list_add(list, tag->classification.type->def->name);
    fresh.attributes = json_incref(fresh.attributes);
    fresh.periods = json_incref(fresh.periods);
    if (classification_update(&fresh, setting->writer->types, given, &fault) < 0)
        list->is_refused = true;
    else if (!classification_is_same(&fresh, &tag->classification)) {
        setting_put(setting, tag->entity_id, &fresh);
        return;
    }
    classification_done(&fresh);
}

static void setting_add(struct setting *setting, struct set_list *list, const struct entity *entity,
                        const json_t *given)
{
    const struct type_registry *types = setting->writer->types;
    struct classification fresh = { 0 };
    struct type_fault fault;

    set_list_add(list, json_string_value(json_object_get(given, "typeName")));
    if (classification_parse(&fresh, types, given, &fault) == 0 &&
        classification_check_entity(types, fresh.type, entity->type, entity->guid, &fault) == 0) {
        setting_put(setting, entity->id, &fresh);
        return;
    }
    list->is_refused = true;
    classification_done(&fresh);
}

/* The place in the list of what is given of each name, the first of it; of one that is on another
 * entity and only reaches this one: none. Owned. */
static struct map *setting_given(const json_t *header, const json_t *list)
{
    const char *guid = json_string_value(json_object_get(header, "guid"));
    struct map *places = map_new();
    bool added;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(item, "typeName"));
        const char *from = classification_guid(item);

        if (!guid || !*guid || !from || strcasecmp(from, guid) == 0)
            (void)map_put(places, span_of(name ? name : ""), i, &added);
    }
    return places;
}

/* What stands and is given, or not; is_done: of each that is given whether it was there. */
static void setting_compare(struct setting *setting, size_t place, const json_t *list,
                            const struct map *given, bool *is_done, struct set_list *deletes,
                            struct set_list *updates)
{
    const struct tags *own = &setting->own;

    for (size_t i = own->first[place]; i < own->first[place + 1]; i++) {
        const struct tag *tag = &own->items[own->places[i]];
        const char *name = tag->classification.type->def->name;
        const uint64_t *at = map_get(given, span_of(name));

        if (at) {
            is_done[*at] = true;
            setting_update(setting, updates, tag, json_array_get(list, *at));
            continue;
        }
        set_list_add(deletes, name);
        setting->ends[setting->ends_len++] =
            (struct tag_write){ tag->entity_id, &tag->classification };
    }
}

static void setting_change(struct setting *setting, const struct set_entity *wanted,
                           const struct entity *entity)
{
    const json_t *list = json_object_get(wanted->header, "classifications");
    AUTO(map_free) struct map *given = setting_given(wanted->header, list);
    AUTO(mem_free) bool *is_done = xcalloc(json_array_size(list), sizeof(*is_done));
    struct set_list deletes, updates, adds;

    set_list_begin(&deletes, "Delete", setting);
    set_list_begin(&updates, "Update", setting);
    setting_compare(setting, (size_t)(entity - setting->entities.items), list, given, is_done,
                    &deletes, &updates);
    set_list_end(&deletes, setting, wanted, entity);
    set_list_end(&updates, setting, wanted, entity);
    set_list_begin(&adds, "Add", setting);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(item, "typeName"));
        const uint64_t *at = map_get(given, span_of(name ? name : ""));

        if (at && *at == i && !is_done[i])
            setting_add(setting, &adds, entity, item);
    }
    set_list_end(&adds, setting, wanted, entity);
}

/* --------------------------------------------------------------------------------- the request */

/* An entity that two headers name can't be both. */
static int setting_refuse_twice(struct setting *setting, const struct set_entity *wanted)
{
    struct span key = utf8_cut(span_of(wanted->key), ENTITY_INPUT_QUOTE_BYTES_MAX);

    return entity_fault_set(setting->writer->fault, 400, "ATLAS-400-00-01A",
                            "invalid parameters: entity %s %.*s is there twice", wanted->type_name,
                            (int)key.len, key.data);
}

static int setting_run(struct setting *setting)
{
    AUTO(mem_free) bool *seen = xcalloc(setting->entities.len, sizeof(*seen));

    for (size_t i = 0; i < setting->wanted_len; i++) {
        const struct set_entity *wanted = &setting->wanted[i];
        const struct entity *entity = entity_list_find(&setting->entities, wanted->id);
        const char *type_name = wanted->type_name ? wanted->type_name : "null";
        json_t *line = NULL;

        if (!wanted->type)
            line = json_sprintf("%s: " SET_SKIPPED, type_name);
        else if (!entity)
            line = json_sprintf("Entity:%s:%s:[Not found]:" SET_SKIPPED, type_name,
                                wanted->key ? wanted->key : "<no unique name>");
        if (line) {
            (void)json_array_append_new(setting->lines, line);
            continue;
        }
        if (seen[entity - setting->entities.items])
            return setting_refuse_twice(setting, wanted);
        seen[entity - setting->entities.items] = true;
        setting_change(setting, wanted, entity);
    }
    return 0;
}

static int setting_write(struct setting *setting)
{
    struct entity_writer *writer = setting->writer;

    if (setting->puts_len && tag_write_put(writer->conn, setting->puts, setting->puts_len,
                                           writer->user, &writer->batch_id, writer->err) < 0)
        return -1;
    return setting->ends_len ? tag_write_end(writer->conn, setting->ends, setting->ends_len,
                                             writer->user, &writer->batch_id, writer->err)
                             : 0;
}

static int set_attempt(struct write *write, struct entity_writer *writer)
{
    AUTO(setting_done) struct setting setting = { .writer = writer, .lines = json_array() };
    size_t given;

    entity_list_init(&setting.entities);
    given = setting_read(&setting, json_object_get(write->body, "guidHeaderMap"));
    if (setting_find(&setting) < 0)
        return -1;
    setting.given = xcalloc(given, sizeof(*setting.given));
    setting.puts = xcalloc(given, sizeof(*setting.puts));
    setting.ends = xcalloc(setting.own.len, sizeof(*setting.ends));
    if (setting_run(&setting) < 0 || setting_write(&setting) < 0)
        return -1;
    atlas_append_json(&write->answer, setting.lines);
    return 0;
}

int query_tags_set(struct atlas *atlas, json_t **answer UNUSED)
{
    AUTO(write_done) struct write write;

    write_init(&write, atlas, set_attempt, NULL);
    if (write_read_body(&write) < 0)
        return -1;
    if (!json_is_object(json_object_get(write.body, "guidHeaderMap")))
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-01A",
                           "invalid parameters: guidHeaderMap not specified");
    return write_run(&write);
}
