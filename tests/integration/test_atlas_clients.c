/* Clients of Apache Atlas that others wrote, unmodified: what they must get is in
 * tests/atlas_clients. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/jars.h"
#include "tests/harness/pg.h"
#include "tests/harness/process.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"

Suite *atlas_clients_suite(void);

enum { OUTPUT_BYTES_MAX = 64 * 1024 };

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

#define APACHE_ATLAS "tools/atlas-clients/apache-atlas.txt"
#define PYAPACHEATLAS "tools/atlas-clients/pyapacheatlas.txt"

/* Of a script in tests/atlas_clients and of what it must print; `events` may be NULL. */
static void check_client(const char *client, const char *name, const char *events)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *python = python_path(client);
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
    check_client(APACHE_ATLAS, "read_apache_atlas", client_events);
}
END_TEST

START_TEST(pyapacheatlas_reads)
{
    check_client(PYAPACHEATLAS, "read_pyapacheatlas", client_events);
}
END_TEST

START_TEST(apache_atlas_makes_types)
{
    check_client(APACHE_ATLAS, "types_apache_atlas", NULL);
}
END_TEST

START_TEST(pyapacheatlas_makes_types)
{
    check_client(PYAPACHEATLAS, "types_pyapacheatlas", NULL);
}
END_TEST

START_TEST(apache_atlas_writes)
{
    check_client(APACHE_ATLAS, "write_apache_atlas", NULL);
}
END_TEST

START_TEST(pyapacheatlas_writes)
{
    check_client(PYAPACHEATLAS, "write_pyapacheatlas", NULL);
}
END_TEST

START_TEST(apache_atlas_classifies)
{
    check_client(APACHE_ATLAS, "classify_apache_atlas", client_events);
}
END_TEST

START_TEST(pyapacheatlas_classifies)
{
    check_client(PYAPACHEATLAS, "classify_pyapacheatlas", client_events);
}
END_TEST

Suite *atlas_clients_suite(void)
{
    AUTO(mem_free) char *atlas = python_path(APACHE_ATLAS);
    AUTO(mem_free) char *pyapacheatlas = python_path(PYAPACHEATLAS);
    Suite *suite;
    TCase *tc;

    if (!atlas || !pyapacheatlas)
        return NULL;
    suite = pg_suite("atlas_clients", 0, &tc);
    tcase_add_test(tc, apache_atlas_reads);
    tcase_add_test(tc, pyapacheatlas_reads);
    tcase_add_test(tc, apache_atlas_makes_types);
    tcase_add_test(tc, pyapacheatlas_makes_types);
    tcase_add_test(tc, apache_atlas_writes);
    tcase_add_test(tc, pyapacheatlas_writes);
    tcase_add_test(tc, apache_atlas_classifies);
    tcase_add_test(tc, pyapacheatlas_classifies);
    return suite;
}
