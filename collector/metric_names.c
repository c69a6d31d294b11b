#include "collector/metric_names.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"

enum { KEY_HEAD_BYTES = 5 };

enum key_kind { KEY_PREDICTION, KEY_AGGREGATE, KEY_FULL };

struct metric_names {
    struct map *numbers;
    size_t names_max;
};

struct metric_names *metric_names_new(size_t names_max)
{
    struct metric_names *names = xcalloc(1, sizeof(*names));

    names->names_max = names_max;
    names->numbers = map_new();
    return names;
}

void metric_names_free(struct metric_names *names)
{
    if (!names)
        return;
    map_free(names->numbers);
    free(names);
}

/* deployment, kind, name. */
static struct span names_key(char key[KEY_HEAD_BYTES + METRIC_NAME_BYTES_MAX], int32_t deployment,
                             enum key_kind kind, struct span name)
{
    assert(name.len <= METRIC_NAME_BYTES_MAX);
    memcpy(key, &deployment, sizeof(deployment));
    key[4] = (char)kind;
    if (name.len)
        memcpy(key + KEY_HEAD_BYTES, name.data, name.len);
    return (struct span){ key, KEY_HEAD_BYTES + name.len };
}

int32_t metric_names_find(struct metric_names *names, int32_t deployment, bool is_aggregate,
                          struct span name)
{
    char key[KEY_HEAD_BYTES + METRIC_NAME_BYTES_MAX];
    const uint64_t *number =
        map_get(names->numbers,
                names_key(key, deployment, is_aggregate ? KEY_AGGREGATE : KEY_PREDICTION, name));

    if (number)
        return (int32_t)*number;
    return metric_names_is_full(names, deployment) ? METRIC_REFUSED : METRIC_UNKNOWN;
}

static void names_put(struct metric_names *names, int32_t deployment, enum key_kind kind,
                      struct span name, int32_t metric)
{
    char key[KEY_HEAD_BYTES + METRIC_NAME_BYTES_MAX];
    bool added;

    (void)map_put(names->numbers, names_key(key, deployment, kind, name), (uint64_t)metric, &added);
}

void metric_names_trim(struct metric_names *names)
{
    if (map_len(names->numbers) > names->names_max)
        map_clear(names->numbers);
}

void metric_names_add(struct metric_names *names, int32_t deployment, bool is_aggregate,
                      struct span name, int32_t metric)
{
    names_put(names, deployment, is_aggregate ? KEY_AGGREGATE : KEY_PREDICTION, name, metric);
}

void metric_names_set_full(struct metric_names *names, int32_t deployment)
{
    names_put(names, deployment, KEY_FULL, (struct span){ 0 }, 1);
}

bool metric_names_is_full(struct metric_names *names, int32_t deployment)
{
    char key[KEY_HEAD_BYTES + METRIC_NAME_BYTES_MAX];

    return map_get(names->numbers, names_key(key, deployment, KEY_FULL, (struct span){ 0 })) !=
           NULL;
}
