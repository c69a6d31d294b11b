/* What is said of brokers that refuse us, and for how long it is remembered. */
#include <check.h>
#include <librdkafka/rdkafka.h>

#include "../../collector/kafka_failure_internal.h"
#include "base/mem.h"

#define ALERT "tls: error:0A000000:SSL routines::an alert:SSL alert number "
#define HINT "the broker asks for a certificate that it trusts, see ssl.certificate.location"

static const struct {
    const char *name;
    int code;
    const char *reason, *hint; /* hint NULL: no refusal */
} add_cases[] = {
    { "refused connection", RD_KAFKA_RESP_ERR__TRANSPORT, "Connection refused", NULL },
    { "SASL", RD_KAFKA_RESP_ERR__AUTHENTICATION, "SASL authentication error", "" },
    { "its certificate", RD_KAFKA_RESP_ERR__SSL, "certificate verify failed",
      ": it is not of the authority in ssl.ca.location, or of another host, or its time is over" },
    { "handshake_failure", RD_KAFKA_RESP_ERR__SSL, ALERT "40", ": maybe " HINT },
    { "bad_certificate", RD_KAFKA_RESP_ERR__SSL, ALERT "42", ": " HINT },
    { "unsupported_certificate", RD_KAFKA_RESP_ERR__SSL, ALERT "43", ": " HINT },
    { "certificate_revoked", RD_KAFKA_RESP_ERR__SSL, ALERT "44", ": " HINT },
    { "certificate_expired", RD_KAFKA_RESP_ERR__SSL, ALERT "45", ": " HINT },
    { "certificate_unknown", RD_KAFKA_RESP_ERR__SSL, ALERT "46", ": " HINT },
    { "unknown_ca", RD_KAFKA_RESP_ERR__SSL, ALERT "48 (after 9ms)", ": " HINT },
    { "certificate_required", RD_KAFKA_RESP_ERR__TRANSPORT, ALERT "116", ": " HINT },
    { "illegal_parameter", RD_KAFKA_RESP_ERR__SSL, ALERT "47", "" },
    { "protocol_version", RD_KAFKA_RESP_ERR__SSL, ALERT "70", "" },
    { "unrecognized_name", RD_KAFKA_RESP_ERR__SSL, ALERT "112", "" },
    { "internal_error, later", RD_KAFKA_RESP_ERR__TRANSPORT, ALERT "80", "" },
};

START_TEST(add_case)
{
    const char *hint = add_cases[_i].hint;
    AUTO(mem_free) char *want = xasprintf("%s%s", add_cases[_i].reason, hint ? hint : "");
    struct kafka_failure failure = { 0 };

    kafka_failure_add(&failure, add_cases[_i].code, add_cases[_i].reason);
    ck_assert_str_eq(failure.last, want);
    ck_assert_str_eq(failure.refused, hint ? want : "");
}
END_TEST

/* Whatever fails behind it. */
START_TEST(a_refusal_stays)
{
    struct kafka_failure failure = { 0 };

    kafka_failure_add(&failure, RD_KAFKA_RESP_ERR__AUTHENTICATION, "wrong password");
    kafka_failure_add(&failure, RD_KAFKA_RESP_ERR__TRANSPORT, "Connection refused");
    ck_assert_str_eq(failure.last, "Connection refused");
    ck_assert_str_eq(failure.refused, "wrong password");
}
END_TEST

START_TEST(quotes_are_left_out)
{
    struct kafka_failure failure = { 0 };

    kafka_failure_add(&failure, RD_KAFKA_RESP_ERR__AUTHENTICATION,
                      "Unrecognized sasl.oauthbearer.config beginning at: secret");
    ck_assert_str_eq(failure.refused, "Unrecognized sasl.oauthbearer.config");
}
END_TEST

Suite *kafka_failure_suite(void);
Suite *kafka_failure_suite(void)
{
    Suite *suite = suite_create("kafka_failure");
    TCase *tc = tcase_create("kafka_failure");

    tcase_add_loop_test(tc, add_case, 0, LENGTH(add_cases));
    tcase_add_test(tc, a_refusal_stays);
    tcase_add_test(tc, quotes_are_left_out);
    suite_add_tcase(suite, tc);
    return suite;
}
