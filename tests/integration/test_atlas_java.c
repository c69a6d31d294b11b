/* Atlas's own client for Java, unmodified: what it must get is in tests/atlas_clients. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/jars.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"

Suite *atlas_java_suite(void);

enum { OUTPUT_BYTES_MAX = 64 * 1024 };

/* It reads its configuration, which may be empty. */
static void configure(const char *dir)
{
    AUTO(mem_free) char *path = xasprintf("%s/atlas-application.properties", dir);
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fclose(file), 0);
}

/* Where the first line begins that differs. */
static size_t same_lines(const char *a, const char *b)
{
    size_t line = 0;

    for (size_t i = 0; a[i] && a[i] == b[i]; i++) {
        if (a[i] == '\n')
            line = i + 1;
    }
    return line;
}

START_TEST(from_types_to_deletion)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *jars = jars_path("atlas-java"), *dir = temp_dir();
    AUTO(mem_free) char *url = daemon_url(service->daemon, ""), *log = temp_log("java");
    AUTO(mem_free) char *have = NULL;
    size_t same;
    AUTO(mem_free)
    char *want = temp_file_tail("tests/atlas_clients/JavaClient.txt", OUTPUT_BYTES_MAX);

    configure(dir);
    jars_run(jars, dir, "tests/atlas_clients/JavaClient.java", (const char *const[]){ url, NULL },
             log);
    have = temp_file_tail(log, OUTPUT_BYTES_MAX);
    same = same_lines(have, want); /* both are longer than a message of a test can be */
    ck_assert_msg(strcmp(have, want) == 0, "have: %.300s\nwant: %.300s", have + same, want + same);
}
END_TEST

Suite *atlas_java_suite(void)
{
    AUTO(mem_free) char *jars = jars_path("atlas-java");
    Suite *suite;
    TCase *tc;

    if (!jars)
        return NULL;
    suite = pg_suite("atlas_java", 180, &tc);
    tcase_add_test(tc, from_types_to_deletion);
    return suite;
}
