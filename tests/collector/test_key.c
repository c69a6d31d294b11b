#include "collector/key.h"

#include <check.h>
#include <string.h>

Suite *key_suite(void);

#define SECRET "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklm-_09"
#define WHOLE "plb_abcdefg2_" SECRET

START_TEST(made_keys_are_whole_and_differ)
{
    char a[KEY_TEXT_BYTES], b[KEY_TEXT_BYTES], id[KEY_ID_BYTES];

    for (int i = 0; i < 1000; i++) {
        key_make(a);
        key_make(b);
        ck_assert_msg(key_is_whole(span_of(a)), "%s", a);
        ck_assert_str_ne(a, b);
        ck_assert_int_eq(key_id(span_of(a), id), 0);
        ck_assert_int_eq(memcmp(a + 4, id, KEY_ID_LEN), 0);
    }
}
END_TEST

static const struct {
    const char *text, *id; /* NULL: it has none */
    bool is_whole;
} form_cases[] = {
    { WHOLE, "abcdefg2", true },
    { "plb_abcdefg2", "abcdefg2", false },
    { "abcdefg2", "abcdefg2", false },
    { "plb_abcdefg2_", "abcdefg2", false },
    { WHOLE "A", "abcdefg2", false },
    { "plb_abcdefg2_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklm-_0+", "abcdefg2", false },
    { "plb_abcdefg2_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklm-_0", "abcdefg2", false },
    { "PLB_abcdefg2_" SECRET, NULL, false },
    { "plb_abcdefG2_" SECRET, NULL, false },
    { "plb_abcdefg1_" SECRET, NULL, false },
    { "plb_abcdefg_" SECRET "A", NULL, false },
    { "plb_abcdefgh2_" SECRET, NULL, false },
    { "xyz_abcdefg2_" SECRET, NULL, false },
    { "plb_", NULL, false },
    { "", NULL, false },
};

START_TEST(form_case)
{
    struct span text = span_of(form_cases[_i].text);
    char id[KEY_ID_BYTES] = "";
    int rc = key_id(text, id);

    ck_assert_msg(key_is_whole(text) == form_cases[_i].is_whole, "%s", form_cases[_i].text);
    ck_assert_msg(rc == (form_cases[_i].id ? 0 : -1), "%s", form_cases[_i].text);
    ck_assert_str_eq(id, form_cases[_i].id ? form_cases[_i].id : "");
}
END_TEST

static const struct {
    const char *name, *value, *key;
} header_cases[] = {
    { "raw", WHOLE, WHOLE },
    { "raw with white space", " \t" WHOLE "  ", WHOLE },
    { "bearer", "Bearer " WHOLE, WHOLE },
    { "bearer, another case and more spaces", "bEARER   " WHOLE " ", WHOLE },
    { "bearer alone is a key", "Bearer", "Bearer" },
    { "basic", "Basic dXNlcjprZXk=", "key" },
    { "basic, another case", "BASIC dXNlcjprZXk=", "key" },
    { "basic without a user", "Basic OmtleQ==", "key" },
    { "basic without a password", "Basic dXNlcjo=", "" },
    { "the first colon ends the user", "Basic dTphOmI=", "a:b" },
    { "no colon: the text itself", "Basic dXNlcg==", "dXNlcg==" },
    { "not base64: the text itself", "Basic " WHOLE, WHOLE },
    { "not padded: the text itself", "Basic dXNlcjprZXk", "dXNlcjprZXk" },
    { "basic without anything", "Basic ", "Basic" },
    { "basic with a tab is no scheme", "Basic\tx", "Basic\tx" },
    { "another scheme is part of the key", "Token abc", "Token abc" },
    { "nothing", "", "" },
};

START_TEST(header_case)
{
    AUTO(buf_done) struct buf key;

    buf_init(&key, 4096);
    key_from_header(span_of(header_cases[_i].value), &key);
    ck_assert_msg(strcmp(buf_text(&key), header_cases[_i].key) == 0, "%s: \"%s\"",
                  header_cases[_i].name, buf_text(&key));
}
END_TEST

START_TEST(a_header_that_is_too_long)
{
    AUTO(buf_done) struct buf key;

    buf_init(&key, 8);
    key_from_header(span_of("Bearer 123456789"), &key);
    ck_assert(key.full);
    ck_assert_uint_eq(key.len, 0);
}
END_TEST

/* FIPS 180-4. */
START_TEST(hashes_are_sha256)
{
    static const unsigned char want[KEY_HASH_BYTES] = {
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
        0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
        0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
    };
    unsigned char hash[KEY_HASH_BYTES];

    key_hash(SPAN_LITERAL("abc"), hash);
    ck_assert_mem_eq(hash, want, sizeof(want));
    ck_assert(key_hash_equal(hash, want));
    for (size_t i = 0; i < sizeof(hash); i++) {
        hash[i] ^= 0x80;
        ck_assert(!key_hash_equal(hash, want));
        hash[i] ^= 0x80;
    }
}
END_TEST

static const struct {
    const char *text;
    unsigned scopes;
    const char *want; /* as it is written, or the error */
} scope_cases[] = {
    { "ingest", KEY_INGEST, "ingest" },
    { "admin,lineage,read,ingest", KEY_ANY, "ingest,read,lineage,admin" },
    { "read,read", KEY_READ, "read" },
    { "read,", KEY_READ, "read" },
    { "", 0, "a key needs a scope; use ingest, read, lineage or admin, with commas between" },
    { "write", 0,
      "\"write\" is not a scope; use ingest, read, lineage or admin, with commas between" },
    { "read, ingest", 0,
      "\" ingest\" is not a scope; use ingest, read, lineage or admin, with commas between" },
    { "Read", 0,
      "\"Read\" is not a scope; use ingest, read, lineage or admin, with commas between" },
    { "read,,ingest", 0,
      "\"\" is not a scope; use ingest, read, lineage or admin, with commas between" },
};

START_TEST(scope_case)
{
    char text[KEY_SCOPES_TEXT_BYTES];
    struct err err = { 0 };
    unsigned scopes = 0;
    int rc = key_scopes_parse(scope_cases[_i].text, &scopes, &err);

    ck_assert_int_eq(rc, scope_cases[_i].scopes ? 0 : -1);
    ck_assert_uint_eq(scopes, scope_cases[_i].scopes);
    key_scopes_format(scopes, ",", text);
    ck_assert_str_eq(rc == 0 ? text : err.text, scope_cases[_i].want);
}
END_TEST

Suite *key_suite(void)
{
    Suite *suite = suite_create("key");
    TCase *tc = tcase_create("key");

    tcase_add_test(tc, made_keys_are_whole_and_differ);
    tcase_add_loop_test(tc, form_case, 0, LENGTH(form_cases));
    tcase_add_loop_test(tc, header_case, 0, LENGTH(header_cases));
    tcase_add_test(tc, a_header_that_is_too_long);
    tcase_add_test(tc, hashes_are_sha256);
    tcase_add_loop_test(tc, scope_case, 0, LENGTH(scope_cases));
    suite_add_tcase(suite, tc);
    return suite;
}
