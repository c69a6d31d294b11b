/* Fuzzing the configuration file: one that is refused changes nothing and has a text, one that is
 * taken comes back the same when it is written and read again. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/config.h"
#include "fuzz.h"

static void fuzz_expect(bool is_true)
{
    if (!is_true)
        abort();
}

/* Owned. */
static char *fuzz_written(const struct config *config)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    fuzz_expect(out != NULL);
    config_write(config, out);
    fuzz_expect(fclose(out) == 0 && strlen(text) == len);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(config_done) struct config config;
    AUTO(config_done) struct config again;
    AUTO(mem_free) char *before = NULL;
    AUTO(mem_free) char *text = NULL;
    AUTO(mem_free) char *same = NULL;
    struct err err = { 0 };
    int rc;

    config_init(&config);
    config_init(&again);
    before = fuzz_written(&config);
    rc = config_parse(&config, "f.yaml", (const char *)data, size, &err);
    text = fuzz_written(&config);
    if (rc < 0) {
        fuzz_expect(err.kind == ERR_INPUT && strncmp(err.text, "f.yaml", 6) == 0);
        fuzz_expect(strcmp(before, text) == 0);
        return 0;
    }
    fuzz_expect(config_parse(&again, "again", text, strlen(text), &err) == 0);
    same = fuzz_written(&again);
    fuzz_expect(strcmp(text, same) == 0);
    if (config_check(&config, &err) < 0)
        fuzz_expect(*err.text != '\0');
    return 0;
}
