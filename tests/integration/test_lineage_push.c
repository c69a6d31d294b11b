/* plumbline lineage push: the linking file of a build that was announced without one. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"

Suite *lineage_push_suite(void);

#define BUILT(build, more)                                                                         \
    "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"Churn\","  \
    "\"modelBuildCrn\":\"" build "\",\"buildNumber\":7," more "\"userName\":\"bob\"}"

static const struct {
    const char *name, *text;
} files[] = {
    { "lineage.yaml", "Churn:\n  hive_table_qualified_names: [default.telco@cm, x.u]\n" },
    { "other.yaml", "Churn:\n  hive_table_qualified_names: [default.other@cm]\n" },
    { "warns.yaml", "Other:\n  colour: red\n" },
    { "broken.yaml", "Churn:\n  metadata:\n    q: \"x\"\"B\":\n" },
    { "both/lineage.yml", "Churn:\n  hive_table_qualified_names: [y.t]\n" },
    { "both/lineage.yaml", "# nothing\n" },
};

/* A new folder with the files, in which the test goes on. */
static void folder_enter(void)
{
    AUTO(mem_free) char *folder = temp_dir();
    AUTO(mem_free) char *both = xasprintf("%s/both", folder);
    AUTO(mem_free) char *binary = NULL;
    const char *given = getenv("TEST_DAEMON");

    binary = realpath(given ? given : "build/plumbline", NULL);
    ck_assert_ptr_nonnull(binary);
    ck_assert_int_eq(setenv("TEST_DAEMON", binary, 1), 0);
    ck_assert_int_eq(mkdir(both, 0700), 0);
    ck_assert_int_eq(chdir(folder), 0);
    for (size_t i = 0; i < LENGTH(files); i++) {
        FILE *file = fopen(files[i].name, "w");

        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(files[i].text, file), 0);
        ck_assert_int_eq(fclose(file), 0);
    }
}

/* Runs `plumbline lineage push FILE --build BUILD [--namespace SPACE]` and wants this code and
 * this text. */
static void check_push(struct service *service, const char *file, const char *build,
                       const char *space, int code, const char *want)
{
    AUTO(mem_free) char *url = daemon_url(service->daemon, "");
    AUTO(mem_free) char *output = NULL;
    const char *const words[] = { "lineage", "push",  file, "--build",
                                  build,     "--url", url,  space ? "--namespace" : NULL,
                                  space,     NULL };
    int have = service_command(words, NULL, &output);

    ck_assert_msg(strcmp(output, want) == 0, "%s: %s", file, output);
    ck_assert_int_eq(have, code);
}

/* The tables that a build was trained on. Owned. */
static char *build_tables(struct service *service, const char *build)
{
    char *tables = pg_query_text(
        service->dsn,
        "SELECT string_agg(t.qualified_name, ' ' ORDER BY t.qualified_name) FROM entity AS b"
        " JOIN relationship AS made ON made.end2 = b.entity_id AND made.to_batch IS NULL"
        " AND made.type = 'process_dataset_outputs'"
        " JOIN relationship AS read ON read.end1 = made.end1 AND read.to_batch IS NULL"
        " AND read.type = 'dataset_process_inputs'"
        " JOIN entity AS t ON t.entity_id = read.end2 AND t.to_batch IS NULL"
        " AND t.type = 'hive_table'"
        " WHERE b.qualified_name = '%s@cm' AND b.to_batch IS NULL",
        build);

    return tables ? tables : xstrdup("");
}

START_TEST(a_build_gets_its_file_once)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *tables = NULL;

    folder_enter();
    service_take(service, BUILT("crn:a/b c", "\"imageTag\":\"r/x:7\","));
    check_push(service, "lineage.yaml", "crn:a/b c", NULL, 0,
               "lineage.yaml: build crn:a/b c has it now\n");
    tables = build_tables(service, "crn:a/b c");
    ck_assert_str_eq(tables, "default.telco@cm x.u@cm");
    check_push(service, "lineage.yaml", "crn:a/b c", NULL, 0,
               "lineage.yaml: build crn:a/b c has this file already\n");
    check_push(service, "other.yaml", "crn:a/b c", NULL, 1,
               "plumbline lineage: build \"crn:a/b c\" has another linking file already, and a "
               "build never changes: make a new build with this file\n");
    /* which would be other tables */
    check_push(service, "lineage.yaml", "crn:a/b c", "prod", 1,
               "plumbline lineage: build \"crn:a/b c\" has another namespace already, and a "
               "build never changes: make a new build with this file\n");
    service_check_balance(service, 2, 1, 2);
}
END_TEST

START_TEST(what_the_server_says)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *url = daemon_url(service->daemon, "");
    AUTO(mem_free) char *unknown = NULL;

    folder_enter();
    unknown = xasprintf("plumbline lineage: %s knows no build \"none\": send its model_built event "
                        "first, or correct --build\n",
                        url);
    service_take(service, BUILT("b", ""));
    check_push(service, "lineage.yaml", "none", NULL, 1, unknown);
    check_push(service, "broken.yaml", "b", NULL, 1,
               "broken.yaml:3:11: error: text behind the end of a value; begin a new line here\n");
    check_push(service, "warns.yaml", "b", NULL, 0,
               "warns.yaml:2:3: warning: \"colour\" is ignored; a model has "
               "hive_table_qualified_names and metadata\n"
               "warns.yaml:1:1: warning: \"Other\" has neither tables nor metadata\n"
               "warns.yaml:1:1: warning: model \"Churn\" has no entry (the file has \"Other\"); "
               "add one to say what trained it\n"
               "warns.yaml: build b has it now\n");
    service_check_balance(service, 2, 0, 0);
}
END_TEST

START_TEST(namespaces_and_spellings)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *given = NULL, *said = NULL;

    folder_enter();
    service_take(service, "[" BUILT("b", "") "," BUILT("c", "\"namespace\":\"prod\",") "]");
    check_push(service, "both/lineage.yml", "b", "dev", 0,
               "both/lineage.yml: warning: lineage.yaml stands beside it; keep one of them\n"
               "both/lineage.yml: build b has it now\n");
    given = build_tables(service, "b");
    ck_assert_str_eq(given, "y.t@dev");
    check_push(service, "both/lineage.yml", "c", NULL, 0,
               "both/lineage.yml: warning: lineage.yaml stands beside it; keep one of them\n"
               "both/lineage.yml: build c has it now\n");
    said = build_tables(service, "c");
    ck_assert_str_eq(said, "y.t@prod");
}
END_TEST

/* What is known of a build, all events together; posted again it is a duplicate. */
START_TEST(a_build_is_read_back)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *built = NULL, *again = NULL, *error = NULL;
    AUTO(mem_free) char *text = NULL;

    service_take(service, BUILT("crn:a/b", "\"metadata\":{\"a\":0.1},"));
    service_take(service, BUILT("crn:a/b", "\"imageTag\":\"r/x:7\","));
    built = service_get(service, 200, "/v1/lineage/builds/crn%3Aa/b");
    ck_assert_str_eq(service_text(built, "imageTag"), "r/x:7");
    ck_assert_int_eq(service_number(built, "buildNumber"), 7);
    text = json_dumps(built, JSON_COMPACT);
    again = service_post(service, 200, "/v1/events", text);
    ck_assert_int_eq(service_number(again, "duplicate"), 1);
    error = service_get(service, 404, "/v1/lineage/builds/crn:none");
    service_check_error(error, "not_found", NULL,
                        "no model_built event has the modelBuildCrn \"crn:none\"", "unknown");
}
END_TEST

Suite *lineage_push_suite(void)
{
    Suite *suite = suite_create("lineage_push");
    TCase *tc = tcase_create("lineage_push");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, a_build_gets_its_file_once);
    tcase_add_test(tc, what_the_server_says);
    tcase_add_test(tc, namespaces_and_spellings);
    tcase_add_test(tc, a_build_is_read_back);
    suite_add_tcase(suite, tc);
    return suite;
}
