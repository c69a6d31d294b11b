/* Fuzzing the parameters of a search: what is taken has its limits, and the statement made of it
 * holds nothing of what the client wrote. */
#include <stdlib.h>
#include <string.h>

#include "atlas/search.h"
#include "collector/store_search_internal.h"
#include "fuzz.h"

static void fuzz_expect(bool is_true)
{
    if (!is_true)
        abort();
}

/* Letters, digits and what the statements are made of. */
static void fuzz_statement(const struct search *search)
{
    AUTO(search_sql_done) struct search_sql sql;
    const char *text;

    search_sql_init(&sql);
    store_search_write(&sql, search);
    fuzz_expect(!sql.text.full);
    text = buf_text(&sql.text);
    fuzz_expect(strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             " _.,'\"()[]{}<>=!@~?|*-:$") == strlen(text));
    fuzz_expect(!strstr(text, "--") && !strstr(text, "/*"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct type_registry *types;
    json_auto_t *parameters = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    struct search_fault fault = { 0 };
    struct search search;

    if (!types)
        types = type_registry_new();
    if (!parameters)
        return 0;
    if (search_parse(&search, types, parameters, &fault) < 0) {
        fuzz_expect(fault.code && strncmp(fault.code, "ATLAS-400-00-", 13) == 0);
        fuzz_expect(fault.message[0] != '\0');
        return 0;
    }
    fuzz_expect(search.limit > 0 && search.limit <= SEARCH_LIMIT_MAX && search.offset >= 0);
    fuzz_expect(search.words_len <= SEARCH_WORDS_MAX);
    fuzz_expect(search.attributes_len <= SEARCH_ATTRIBUTES_MAX);
    fuzz_expect(json_is_object(search.parameters));
    fuzz_statement(&search);
    search_done(&search);
    return 0;
}
