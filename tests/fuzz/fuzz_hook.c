/* Fuzzing what hooks want: a message as it comes, whole, is taken out of its envelope, read, and
 * what it wants becomes nodes and edges of the graph. */
#include <stdlib.h>
#include <string.h>

#include "atlas/hook.h"
#include "atlas/message.h"
#include "fuzz.h"

static struct type_registry *types;

static void fuzz_expect(bool is_true)
{
    if (!is_true)
        abort();
}

static void fuzz_free_types(void)
{
    type_registry_free(types);
}

/* What a store would be given. */
static void fuzz_input(const struct hook *hook)
{
    static const struct uuid seed = { { 7 } };
    struct entity_fault fault = { 0 };
    struct entity_input input;
    int rc =
        entity_input_parse(&input, types, hook->body, hook->action == HOOK_UPDATE, &seed, &fault);

    fuzz_expect((rc < 0) == (fault.status != 0));
    fuzz_expect(rc < 0 || input.wanted_len > 0);
    entity_input_done(&input);
}

static void fuzz_targets(const json_t *targets)
{
    for (size_t i = 0; i < json_array_size(targets); i++) {
        struct entity_fault fault = { 0 };
        const struct type *type;
        char *key;
        int rc = entity_reference_read(types, json_array_get(targets, i), &type, &key, &fault);

        fuzz_expect((rc == 0) == (key != NULL) && (rc < 0) == (fault.status != 0));
        free(key);
    }
}

static void fuzz_notification(const json_t *notification)
{
    json_auto_t *before = json_deep_copy(notification);
    struct entity_fault fault = { 0 };
    struct hook hook;
    int rc = hook_read(notification, &hook, &fault);

    fuzz_expect((rc < 0) == (fault.status != 0) && (rc < 0) == (*fault.message != '\0'));
    fuzz_expect((rc == 0) == (hook.body || hook.targets));
    if (rc < 0)
        return;
    if (hook.action == HOOK_UPDATE)
        hook_aim(&hook, "12f34405-38fa-42de-9ed4-68dbd82d36f6", "hive_table");
    if (hook.body)
        fuzz_input(&hook);
    fuzz_targets(hook.targets);
    fuzz_expect(json_equal(before, notification));
    hook_done(&hook);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct message_limits limits = { .text_bytes_max = 1 << 16,
                                                  .parts_max = 4,
                                                  .waiting_max = 1,
                                                  .waiting_bytes_max = 1 << 16,
                                                  .cost_max = 1 << 22 };
    AUTO(message_reader_free) struct message_reader *reader = message_reader_new(&limits);
    struct message message;
    struct err err = { 0 };

    if (!types) {
        types = type_registry_new();
        (void)atexit(fuzz_free_types);
    }
    if (message_read(reader, (struct span){ (const char *)data, size }, 0, &message, &err) == 1)
        fuzz_notification(message.notification);
    message_done(&message);
    return 0;
}
