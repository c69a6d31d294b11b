/* What a reload takes over and what it leaves alone. */
#include <check.h>
#include <string.h>

#include "base/mem.h"
#include "collector/config.h"

Suite *config_merge_suite(void);

static const struct {
    const char *name, *old, *fresh;
    const char *changed, *kept;
    const char *want; /* like old, but for what may change */
} merge_cases[] = {
    { "nothing", "", "", "", "", "" },
    { "limits", "", "events_max: 5\nbody_bytes_max: 2MiB\n", "body_bytes_max, events_max", "",
      "events_max: 5\nbody_bytes_max: 2MiB\n" },
    { "back to the default", "events_max: 5\n", "", "events_max", "", "" },
    { "a restart", "", "listen: 127.0.0.1:1\nrollups: false\nlog_level: warn\n", "log_level",
      "listen, rollups", "log_level: warn\n" },
    { "a text", "database: a\n", "database: b\n", "", "database", "database: a\n" },
    { "another certificate", "tls_certificate: a\ntls_key: b\n",
      "tls_certificate: a\ntls_key: c\ntls_client_ca: d\n", "tls_key, tls_client_ca", "",
      "tls_certificate: a\ntls_key: c\ntls_client_ca: d\n" },
    { "TLS where there was none", "", "tls_certificate: a\ntls_key: b\n", "",
      "tls_certificate, tls_key", "" },
    { "no TLS where there was", "tls_certificate: a\ntls_key: b\n", "", "",
      "tls_certificate, tls_key", "tls_certificate: a\ntls_key: b\n" },
};

static void config_read(struct config *config, const char *text)
{
    struct err err = { 0 };

    config_init(config);
    ck_assert_msg(config_parse(config, "test", text, strlen(text), &err) == 0, "%s", err.text);
}

static char *config_text(const struct config *config)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    config_write(config, out);
    (void)fclose(out);
    return text;
}

START_TEST(merge_case)
{
    AUTO(config_done) struct config old;
    AUTO(config_done) struct config fresh;
    AUTO(config_done) struct config want;
    AUTO(config_done) struct config merged = { 0 };
    AUTO(buf_done) struct buf changed;
    AUTO(buf_done) struct buf kept;
    AUTO(mem_free) char *have_text = NULL;
    AUTO(mem_free) char *want_text = NULL;

    config_read(&old, merge_cases[_i].old);
    config_read(&fresh, merge_cases[_i].fresh);
    config_read(&want, merge_cases[_i].want);
    buf_init(&changed, 1000);
    buf_init(&kept, 1000);
    config_merge(&merged, &old, &fresh, &changed, &kept);
    have_text = config_text(&merged);
    want_text = config_text(&want);
    ck_assert_str_eq(have_text, want_text);
    ck_assert_str_eq(buf_text(&changed), merge_cases[_i].changed);
    ck_assert_str_eq(buf_text(&kept), merge_cases[_i].kept);
}
END_TEST

Suite *config_merge_suite(void)
{
    Suite *suite = suite_create("config_merge");
    TCase *tcase = tcase_create("config_merge");

    tcase_add_loop_test(tcase, merge_case, 0, LENGTH(merge_cases));
    suite_add_tcase(suite, tcase);
    return suite;
}
