/* Fuzzing definitions of types. Every line is a change of the types that the lines before it left:
 * '+' makes, '=' changes, '-' deletes what its JSON says. Whatever was done can be stored and read
 * again; whatever was refused changed nothing and has a code and a text of Atlas. */
#include <stdlib.h>
#include <string.h>

#include "atlas/type_change.h"
#include "atlas/type_json.h"
#include "atlas/type_parse.h"
#include "fuzz.h"

static void fuzz_expect(bool is_true)
{
    if (!is_true)
        abort();
}

static int fuzz_drop(const char *data, size_t len, void *ctx)
{
    fuzz_expect(data != NULL || len == 0);
    *(size_t *)ctx += len;
    return 0;
}

static void fuzz_fault(const struct type_fault *fault)
{
    fuzz_expect(strncmp(fault->code, "ATLAS-4", 7) == 0);
    fuzz_expect(fault->status >= 400 && fault->status < 500 && fault->message[0] != '\0');
}

/* As another daemon reads them: a registry of the same types that says the same. */
static void fuzz_stored(const struct type_registry *registry)
{
    size_t len, bytes = 0;
    struct type_custom *const *customs = type_registry_customs(registry, &len);
    struct type_list types = type_registry_types(registry);
    struct type_custom **read = calloc(len + 1, sizeof(*read));
    struct type_registry *again;
    struct type_fault fault;

    fuzz_expect(read != NULL);
    for (size_t i = 0; i < len; i++) {
        json_auto_t *json = type_def_json(&customs[i]->def);
        char *text = json_dumps(json, JSON_COMPACT);
        json_auto_t *parsed = json_loads(text, 0, NULL);

        free(text);
        fuzz_expect(parsed && json_equal(json, parsed));
        read[i] = type_parse_stored(parsed, &fault);
        fuzz_expect(read[i] && type_def_is_same(&customs[i]->def, &read[i]->def));
    }
    again = type_registry_make(read, len, &fault);
    fuzz_expect(again != NULL);
    for (size_t i = 0; i < types.len; i++) {
        const struct type *type = type_by_name(again, span_of(types.items[i]->def->name));
        json_auto_t *one = type_json(types.items[i]);
        json_auto_t *other = type ? type_json(type) : NULL;

        fuzz_expect(json_equal(one, other));
    }
    fuzz_expect(type_defs_write(types.items, types.len, NULL, fuzz_drop, &bytes) == 0 && bytes);
    type_registry_free(again);
    for (size_t i = 0; i < len; i++)
        type_custom_free(read[i]);
    free(read);
}

static void fuzz_change(struct type_registry **registry, enum type_change_kind kind,
                        const json_t *types)
{
    static const struct type_stamp stamp = { "ada", "ada", 1000, 1000, 1 };
    AUTO(type_givens_done) struct type_givens givens = { 0 };
    AUTO(type_change_done) struct type_change change = { 0 };
    struct type_fault fault = { 0 };
    int rc = kind == TYPE_DELETE ? type_parse_names(&givens, types, &fault)
                                 : type_parse(&givens, types, &stamp, &fault);

    if (rc == 0)
        rc = type_change_make(&change, *registry, &givens, kind, &fault);
    if (rc < 0) {
        fuzz_fault(&fault);
        fuzz_expect(!change.after && !change.changed);
        return;
    }
    if (change.changed_len)
        fuzz_stored(change.after);
    type_registry_free(*registry);
    *registry = type_registry_ref(change.after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct type_registry *registry = type_registry_new();
    const char *at = (const char *)data, *end = at + size;

    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;
        json_auto_t *types = json_loadb(at + 1, stop > at ? (size_t)(stop - at - 1) : 0, 0, NULL);

        if (types)
            fuzz_change(&registry,
                        *at == '=' ? TYPE_UPDATE : (*at == '-' ? TYPE_DELETE : TYPE_CREATE), types);
        at = newline ? newline + 1 : end;
    }
    type_registry_free(registry);
    return 0;
}
