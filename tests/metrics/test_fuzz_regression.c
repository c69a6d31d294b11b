/* Replays the inputs that a fuzz target once stumbled over, and its seeds. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>

/* The target itself: it is no part of the library. */
#include "../fuzz/fuzz_event.c"

static const char *const folder = "tests/fuzz/regression/event";

START_TEST(replay)
{
    DIR *dir = opendir(folder);
    static unsigned char data[1 << 20];
    struct dirent *entry;
    int inputs = 0;

    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir))) {
        char path[512];
        FILE *file;

        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        file = fopen(path, "r");
        ck_assert_msg(file != NULL, "%s", path);
        (void)LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof(data), file));
        (void)fclose(file);
        inputs++;
    }
    (void)closedir(dir);
    ck_assert_int_gt(inputs, 0);
}
END_TEST

Suite *fuzz_regression_suite(void); /* called from the table that tools/suites writes */

Suite *fuzz_regression_suite(void)
{
    Suite *suite = suite_create("metrics/fuzz_regression");
    TCase *tc = tcase_create("fuzz_regression");

    tcase_add_test(tc, replay);
    suite_add_tcase(suite, tc);
    return suite;
}
