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

START_TEST(properties)
{
    char text[] = "sasl.username=ann\nsasl.password=abc\nssl.key.pem=x=y\nlinger.ms=5\n"
                  "sasl.oauthbearer.client.secret=z";

    secret_mask_properties(NULL);
    secret_mask_properties(text);
    ck_assert_str_eq(text, "sasl.username=ann\nsasl.password=***\nssl.key.pem=***\nlinger.ms=5\n"
                           "sasl.oauthbearer.client.secret=*");
}
END_TEST

Suite *secret_suite(void)
{
    Suite *suite = suite_create("secret");
    TCase *tcase = tcase_create("secret");

    tcase_add_loop_test(tcase, dsn_case, 0, LENGTH(dsn_cases));
    tcase_add_test(tcase, properties);
    suite_add_tcase(suite, tcase);
    return suite;
}
