/* Clients of Apache Atlas that others wrote, unmodified: what they must get is in
 * tests/atlas_clients. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/process.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"

Suite *atlas_clients_suite(void);

enum { PATH_BYTES_MAX = 512, OUTPUT_BYTES_MAX = 64 * 1024 };

/* p -> b1 (tables x.t and x.u) -> d1, and b1 -> b2 -> d2. */
static const char client_events[] =
    "[{\"event\":\"project_created\",\"projectCrn\":\"p\",\"projectName\":\"Churn\",\"userName\":"
    "\"ada\",\"createdAtMs\":1704067200000},"
    "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"Model\","
    "\"modelBuildCrn\":\"b1\",\"buildNumber\":1,\"userName\":\"bob\",\"createdAtMs\":1704067200000,"
    "\"linkingFile\":\"Model:\\n  hive_table_qualified_names: [x.t, x.u]\\n\"},"
    "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"Model\","
    "\"modelBuildCrn\":\"b2\",\"buildNumber\":2,\"userName\":\"bob\",\"createdAtMs\":1704067200000,"
    "\"inputs\":[{\"typeName\":\"ml_model_build\",\"qualifiedName\":\"b1@cm\"}]},"
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b1\",\"modelDeploymentCrn\":\"d1\","
    "\"status\":\"stopped\",\"statusAtMs\":1704067200000,\"createdAtMs\":1704067200000,"
    "\"cpuMillicores\":1,\"userName\":\"eve\"},"
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b2\",\"modelDeploymentCrn\":\"d2\","
    "\"status\":\"deployed\",\"statusAtMs\":1704067200000,\"createdAtMs\":1704067200000,"
    "\"cpuMillicores\":1,\"userName\":\"eve\"}]";

/* The client's Python, NULL: tools/fetch-atlas-clients has not fetched it. Owned. */
static char *client_python(const char *client)
{
    AUTO(mem_free) char *command = xasprintf("tools/fetch-atlas-clients --path %s", client);
    FILE *pipe = popen(command, "re");
    char path[PATH_BYTES_MAX];
    char *python = NULL;

    if (!pipe)
        return NULL;
    if (fgets(path, sizeof(path), pipe)) {
        path[strcspn(path, "\n")] = '\0';
        python = xstrdup(path);
    }
    (void)pclose(pipe);
    return python;
}

/* Of a script in tests/atlas_clients and of what it must print; `events` may be NULL. */
static void check_client(const char *client, const char *name, const char *events)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *python = client_python(client);
    AUTO(mem_free) char *script = xasprintf("tests/atlas_clients/%s.py", name);
    AUTO(mem_free) char *expected = xasprintf("tests/atlas_clients/%s.txt", name);
    AUTO(mem_free) char *url = daemon_url(service->daemon, "");
    AUTO(mem_free) char *log = temp_log(name);
    const char *const argv[] = { python, "-B", "-W", "ignore", script, url, NULL };
    AUTO(mem_free) char *have = NULL;
    AUTO(mem_free) char *want = temp_file_tail(expected, OUTPUT_BYTES_MAX);

    if (events)
        service_take(service, events);
    process_run(&(struct process_options){ .argv = argv, .output = log });
    have = temp_file_tail(log, OUTPUT_BYTES_MAX);
    ck_assert_str_eq(have, want);
}

START_TEST(apache_atlas_reads)
{
    check_client("apache-atlas", "read_apache_atlas", client_events);
}
END_TEST

START_TEST(pyapacheatlas_reads)
{
    check_client("pyapacheatlas", "read_pyapacheatlas", client_events);
}
END_TEST

START_TEST(apache_atlas_makes_types)
{
    check_client("apache-atlas", "types_apache_atlas", NULL);
}
END_TEST

START_TEST(pyapacheatlas_makes_types)
{
    check_client("pyapacheatlas", "types_pyapacheatlas", NULL);
}
END_TEST

START_TEST(apache_atlas_writes)
{
    check_client("apache-atlas", "write_apache_atlas", NULL);
}
END_TEST

START_TEST(pyapacheatlas_writes)
{
    check_client("pyapacheatlas", "write_pyapacheatlas", NULL);
}
END_TEST

START_TEST(apache_atlas_classifies)
{
    check_client("apache-atlas", "classify_apache_atlas", client_events);
}
END_TEST

START_TEST(pyapacheatlas_classifies)
{
    check_client("pyapacheatlas", "classify_pyapacheatlas", client_events);
}
END_TEST

Suite *atlas_clients_suite(void)
{
    AUTO(mem_free) char *atlas = client_python("apache-atlas");
    AUTO(mem_free) char *pyapacheatlas = client_python("pyapacheatlas");
    Suite *suite;
    TCase *tc;

    if (!atlas || !pyapacheatlas)
        return NULL;
    suite = suite_create("atlas_clients");
    tc = tcase_create("atlas_clients");
    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, apache_atlas_reads);
    tcase_add_test(tc, pyapacheatlas_reads);
    tcase_add_test(tc, apache_atlas_makes_types);
    tcase_add_test(tc, pyapacheatlas_makes_types);
    tcase_add_test(tc, apache_atlas_writes);
    tcase_add_test(tc, pyapacheatlas_writes);
    tcase_add_test(tc, apache_atlas_classifies);
    tcase_add_test(tc, pyapacheatlas_classifies);
    suite_add_tcase(suite, tc);
    return suite;
}
