#include "collector/secret.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

Suite *secret_suite(void);

static const struct {
    const char *dsn, *masked; /* NULL: there is nothing to mask */
} dsn_cases[] = {
    { "", NULL },
    { "build/plumbline", NULL },
    { "host=db dbname=x", NULL },
    { "host=db passfile=/x", NULL },
    { "password=", NULL },
    { "no password here", NULL },
    { "host=db password=abc dbname=x", "host=db password=*** dbname=x" },
    { "password = abc dbname=x", "password = *** dbname=x" },
    { "password='a b\\'c' user=x", "password='******' user=x" },
    { "password='not closed", "password='**********" },
    { "sslpassword=abc", "sslpassword=***" },
    { "password=a password=bc", "password=* password=**" },
    { "postgresql://ann@db/x", NULL },
    { "postgresql://ann:@db/x", NULL },
    { "postgresql://db:5432/x", NULL },
    { "postgresql://ann:abc@db:5432/x", "postgresql://ann:***@db:5432/x" },
    { "postgres://ann:a/b@c@db/x", "postgres://ann:*****@db/x" },
    { "postgresql:///x?password=abc&user=ann", "postgresql:///x?password=***&user=ann" },
    { "postgresql://db:5432/x?user=me@srv", NULL },
    { "postgresql://db:5432/x?sslmode=require&user=me@srv", NULL },
    { "postgresql://db:5432/x?colour=blue&user=me@srv", NULL },
    { "postgresql://db:5432,db2:5433/?user=me@srv", NULL },
    { "postgresql://db:5432/x?password=a@b", "postgresql://db:5432/x?password=***" },
    { "postgresql://ann:abc@db/x?user=me@srv", "postgresql://ann:***@db/x?user=me@srv" },
    { "postgresql://ann:1/b?c=d&e@db/x", "postgresql://ann:*********@db/x" },
    { "postgresql://ann:1/b?user@db/x?user=me@srv", "postgresql://ann:********@db/x?user=me@srv" },
    { "postgresql://ann:1/b?users=c@db/x", "postgresql://ann:***********@db/x" },
    { "postgresql://ann:1/b?use=c@db/x", "postgresql://ann:*********@db/x" },
    { "postgresql://ann:1/b&user=c@db/x", "postgresql://ann:**********@db/x" },
    { "postgresql://ann:abc/b?user=c@db/x", "postgresql://ann:************@db/x" },
    { "postgresql://ann:1,b:abc/c?user=d@db/x", "postgresql://ann:****************@db/x" },
    { "postgresql://ann:a?user=b@db/x", "postgresql://ann:********@db/x" }, /* so libpq reads it */
    { "postgresql://db:5432/x?us%65r=me@srv", "postgresql://db:****************@srv" },
    { "postgresql://ann:p%40ss@db/x", "postgresql://ann:******@db/x" },
    { "postgresql:///x?sslpassword=abc", "postgresql:///x?sslpassword=***" },
    { "postgresql:///x?p%61ssword=abc&user=ann", "postgresql:///x?p%61ssword=***&user=ann" },
    { "postgresql:///x?user=ann&%70assword=a=b?c", "postgresql:///x?user=ann&%70assword=*****" },
    { "postgresql:///x?user=%61nn", NULL },
    { "postgresql:///x?p%61ssword", NULL },
    { "--database=postgresql://ann:abc@db/x", "--database=postgresql://ann:***@db/x" },
    { "--database=postgresql:///x?password=a b&user=ann",
      "--database=postgresql:///x?password=***&user=ann" },
    { "--database=host=db password=a&b", "--database=host=db password=***" },
    { "PassWord=abc", "PassWord=***" },
    { "password=a\\ b\\\\ user=ann", "password=****** user=ann" },
    { "password=a\\", "password=**" },
    { "password=http://a&b dbname=x", "password=********** dbname=x" },
    { "password='x://a&b c' dbname=x", "password='*********' dbname=x" },
    { "https://ann:abc@127.0.0.1:8190", "https://ann:***@127.0.0.1:8190" },
};

START_TEST(dsn_case)
{
    AUTO(mem_free) char *text = xstrdup(dsn_cases[_i].dsn);
    const char *masked = dsn_cases[_i].masked;

    ck_assert_int_eq(secret_mask_dsn(text), masked != NULL);
    ck_assert_str_eq(text, masked ? masked : dsn_cases[_i].dsn);
}
END_TEST

static const struct {
    const char *text, *masked;
} key_cases[] = {
    { "", "" },
    { "plb_", "plb_" },
    { "plb_aaaaaaaa", "plb_aaaaaaaa" },
    { "plb_aaaaaaaa_", "plb_aaaaaaaa_" },
    { "plb_aaaaaaaa_AbC-_0", "plb_aaaaaaaa_******" },
    { "plb_aaaaaaaaAbC", "plb_aaaaaaaaAbC" },
    { "Bearer plb_aaaaaaaa_x plb_plb_bbbbbbbb_yy z",
      "Bearer plb_aaaaaaaa_* plb_plb_bbbbbbbb_** z" },
};

START_TEST(key_case)
{
    AUTO(mem_free) char *text = xstrdup(key_cases[_i].text);

    secret_mask_keys(text);
    ck_assert_str_eq(text, key_cases[_i].masked);
}
END_TEST

START_TEST(masked)
{
    static const char text[] = "https://ann:abc@db/plb_aaaaaaaa_xyz";
    AUTO(mem_free) char *copy = secret_masked(text);

    ck_assert_str_eq(copy, "https://ann:***@db/plb_aaaaaaaa_***");
    ck_assert_str_eq(text, "https://ann:abc@db/plb_aaaaaaaa_xyz");
}
END_TEST

START_TEST(properties)
{
    char text[] =
        "sasl.username=ann\nsasl.password=abc\nssl.key.pem=x=y\nlinger.ms=5\n"
        "ssl.key.password=a b\nsasl.oauthbearer.client.secret=z\nsasl.oauthbearer.config=a\\";

    secret_mask_properties(NULL);
    secret_mask_properties(text);
    ck_assert_str_eq(
        text, "sasl.username=ann\nsasl.password=***\nssl.key.pem=***\nlinger.ms=5\n"
              "ssl.key.password=***\nsasl.oauthbearer.client.secret=*\nsasl.oauthbearer.config=**");
}
END_TEST

Suite *secret_suite(void)
{
    Suite *suite = suite_create("secret");
    TCase *tcase = tcase_create("secret");

    tcase_add_loop_test(tcase, dsn_case, 0, LENGTH(dsn_cases));
    tcase_add_loop_test(tcase, key_case, 0, LENGTH(key_cases));
    tcase_add_test(tcase, masked);
    tcase_add_test(tcase, properties);
    suite_add_tcase(suite, tcase);
    return suite;
}
