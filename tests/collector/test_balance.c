#include "collector/balance.h"

#include <check.h>
#include <stdlib.h>

#include "base/mem.h"

static struct balance balance_example(void)
{
    struct balance balance = { .batches = 3 };

    balance.kinds[EVENT_TRACK_METRICS] = (struct balance_counts){ 13, 7, 2, 1, 3 };
    balance.kinds[EVENT_UNKNOWN] = (struct balance_counts){ 4, 0, 0, 4, 0 };
    return balance;
}

START_TEST(adds_up)
{
    struct balance balance = balance_example();
    struct balance_counts total = balance_total(&balance);

    ck_assert_int_eq(total.received, 17);
    ck_assert_int_eq(total.accepted, 7);
    ck_assert_int_eq(total.duplicate, 2);
    ck_assert_int_eq(total.rejected, 5);
    ck_assert_int_eq(total.spooled, 3);
    ck_assert(balance_holds(&balance));
}
END_TEST

START_TEST(does_not_hold)
{
    struct balance balance = balance_example();

    /* The sums agree, the kinds do not. */
    balance.kinds[EVENT_TRACK_METRICS].received++;
    balance.kinds[EVENT_UNKNOWN].received--;
    ck_assert(!balance_holds(&balance));
}
END_TEST

START_TEST(table)
{
    struct balance balance = balance_example();
    AUTO(mem_free) char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    balance_write_table(&balance, out);
    (void)fclose(out);
    ck_assert_str_eq(text, "                         received       accepted      duplicate       "
                           "rejected\n"
                           "track_metrics                  13              7              2        "
                           "      1\n"
                           "delayed_metrics                 0              0              0        "
                           "      0\n"
                           "aggregate_metrics               0              0              0        "
                           "      0\n"
                           "model_deployed                  0              0              0        "
                           "      0\n"
                           "unknown                         4              0              0        "
                           "      4\n"
                           "project_created                 0              0              0        "
                           "      0\n"
                           "model_built                     0              0              0        "
                           "      0\n"
                           "total                          17              7              2        "
                           "      5\n"
                           "3 batches; the books balance; a daemon's spool is not in them\n");
}
END_TEST

START_TEST(json)
{
    struct balance balance = balance_example();
    AUTO(buf_done) struct buf out;

    buf_init(&out, 4096);
    balance_write_json(&balance, true, &out);
    ck_assert_str_eq(
        buf_text(&out),
        "{\"total\":{\"received\":17,\"accepted\":7,\"duplicate\":2,\"rejected\":5,\"spooled\":3},"
        "\"events\":{"
        "\"track_metrics\":{\"received\":13,\"accepted\":7,\"duplicate\":2,\"rejected\":1,"
        "\"spooled\":3},"
        "\"delayed_metrics\":{\"received\":0,\"accepted\":0,\"duplicate\":0,\"rejected\":0,"
        "\"spooled\":0},"
        "\"aggregate_metrics\":{\"received\":0,\"accepted\":0,\"duplicate\":0,\"rejected\":0,"
        "\"spooled\":0},"
        "\"model_deployed\":{\"received\":0,\"accepted\":0,\"duplicate\":0,\"rejected\":0,"
        "\"spooled\":0},"
        "\"unknown\":{\"received\":4,\"accepted\":0,\"duplicate\":0,\"rejected\":4,\"spooled\":0},"
        "\"project_created\":{\"received\":0,\"accepted\":0,\"duplicate\":0,\"rejected\":0,"
        "\"spooled\":0},"
        "\"model_built\":{\"received\":0,\"accepted\":0,\"duplicate\":0,\"rejected\":0,\"spooled\":"
        "0}},"
        "\"batches\":3,\"balanced\":true}");
}
END_TEST

/* What only the database was asked says nothing of spools. */
START_TEST(json_of_the_database)
{
    struct balance balance = { .batches = 3 };
    AUTO(buf_done) struct buf out;

    buf_init(&out, 4096);
    balance_write_json(&balance, false, &out);
    ck_assert(strstr(buf_text(&out), "{\"total\":{\"received\":0,\"accepted\":0,\"duplicate\":0,"
                                     "\"rejected\":0},\"events\":{") == buf_text(&out));
    ck_assert_ptr_null(strstr(buf_text(&out), "spooled"));
}
END_TEST

Suite *balance_suite(void);
Suite *balance_suite(void)
{
    Suite *suite = suite_create("balance");
    TCase *tc = tcase_create("balance");

    tcase_add_test(tc, adds_up);
    tcase_add_test(tc, does_not_hold);
    tcase_add_test(tc, table);
    tcase_add_test(tc, json);
    tcase_add_test(tc, json_of_the_database);
    suite_add_tcase(suite, tc);
    return suite;
}
