/* The spool's folder as a daemon finds it; what goes in and out is for the integration tests. */
#include "collector/spool.h"

#include <check.h>
#include <stdio.h>
#include <unistd.h>

#include "../harness/temp.h"
#include "base/mem.h"

Suite *spool_folder_suite(void);

static struct spool *open_in(const char *dir, struct stats *stats, struct err *err)
{
    const struct spool_setup setup = { .dir = dir,
                                       .bytes_max = 1 << 20,
                                       .group_events_max = 1000,
                                       .group_bytes_max = 1 << 20,
                                       .stats = stats };

    return spool_open(&setup, err);
}

START_TEST(starts_empty)
{
    AUTO(stats_free) struct stats *stats = stats_new();
    AUTO(mem_free) char *folder = temp_dir();
    AUTO(mem_free) char *dir = xasprintf("%s/on/the/way", folder);
    struct err err = { 0 };
    AUTO(spool_free) struct spool *spool = open_in(dir, stats, &err);
    bool is_last;

    ck_assert_msg(spool != NULL, "%s", err.text);
    ck_assert(spool_is_empty(spool) && spool_is_usable(spool));
    ck_assert_ptr_null(spool_take(spool, &is_last, &err));
    ck_assert_int_eq(err.kind, ERR_NONE);
}
END_TEST

/* Left by an earlier daemon of version 1; a second daemon is refused meanwhile. */
START_TEST(finds_what_was_left)
{
    AUTO(stats_free) struct stats *stats = stats_new();
    AUTO(mem_free) char *folder = temp_dir();
    AUTO(mem_free) char *dir = xasprintf("%s/spool", folder);
    AUTO(mem_free) char *path = xasprintf("%s/0000000000000007.spool", dir);
    AUTO(mem_free)
    char *in_use = xasprintf("spool %s is in use by another daemon, process %d: name another "
                             "folder with spool_dir",
                             dir, (int)getpid());
    struct err err = { 0 };
    struct spool *spool = open_in(dir, stats, &err);
    AUTO(spool_free) struct spool *again = NULL;
    AUTO(spool_group_free) struct spool_group *group = NULL;
    AUTO(mem_free) char *image = xmalloc(65536);
    FILE *from = fopen("tests/data/spool/version-1.spool", "rb"), *to = fopen(path, "wb");
    size_t len;
    bool is_last;

    ck_assert(spool && from && to);
    len = fread(image, 1, 65536, from);
    ck_assert_uint_eq(fwrite(image, 1, len, to), len);
    (void)fclose(from);
    (void)fclose(to);
    ck_assert_ptr_null(open_in(dir, stats, &err));
    ck_assert_str_eq(err.text, in_use);

    spool_free(spool);
    err = (struct err){ 0 };
    again = open_in(dir, stats, &err);
    ck_assert_msg(again != NULL, "%s", err.text);
    group = spool_take(again, &is_last, &err);
    ck_assert_msg(group != NULL, "%s", err.text);
    ck_assert(is_last && group->number == 7 && group->events > 0);
    ck_assert_int_eq(spool_drop(again, &err), 0);
    ck_assert(spool_is_empty(again));
}
END_TEST

Suite *spool_folder_suite(void)
{
    Suite *suite = suite_create("spool_folder");
    TCase *tc = tcase_create("spool_folder");

    tcase_add_test(tc, starts_empty);
    tcase_add_test(tc, finds_what_was_left);
    suite_add_tcase(suite, tc);
    return suite;
}
