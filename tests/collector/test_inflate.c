#include "collector/inflate.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"

enum { TEXT_BYTES = 100000, TEXT_MAX = 150000 };

/* Appends one gzip member of `len` bytes of text. */
static void inflate_pack(struct body *in, char c, size_t len)
{
    AUTO(mem_free) char *text = xmalloc(len + 1);
    z_stream stream = { 0 };

    memset(text, c, len);
    ck_assert_int_eq(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(body_reserve(in, deflateBound(&stream, len), 0), BODY_OK);
    stream.next_in = (Bytef *)text;
    stream.avail_in = (uInt)len;
    stream.next_out = (Bytef *)in->data + in->len;
    stream.avail_out = (uInt)(in->cap - in->len);
    ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    in->len = in->cap - stream.avail_out;
    ck_assert_int_eq(deflateEnd(&stream), Z_OK);
}

static const struct {
    const char *name;
    size_t members[3]; /* bytes of text each */
    long cut;          /* from the end */
    const char *tail;  /* appended */
    size_t flip;       /* offset of a byte to change, from the end; 0: none */
    enum inflate_result want;
    const char *message; /* the beginning of it */
} inflate_cases[] = {
    { "one member", { TEXT_BYTES }, 0, "", 0, INFLATE_OK, "" },
    { "empty member", { 0 }, 0, "", 0, INFLATE_OK, "" },
    { "two members", { TEXT_BYTES, 500 }, 0, "", 0, INFLATE_OK, "" },
    { "three members", { 10, 0, 30 }, 0, "", 0, INFLATE_OK, "" },
    { "exactly the maximum", { TEXT_MAX }, 0, "", 0, INFLATE_OK, "" },
    { "one byte more", { TEXT_MAX + 1 }, 0, "", 0, INFLATE_TOO_LARGE, "" },
    { "a bomb", { 20 << 20 }, 0, "", 0, INFLATE_TOO_LARGE, "" },
    { "the maximum, then more", { TEXT_MAX, 1 }, 0, "", 0, INFLATE_TOO_LARGE, "" },
    { "cut in the trailer", { TEXT_BYTES }, 1, "", 0, INFLATE_BROKEN, "gzip stream is cut short" },
    { "cut in the middle", { TEXT_BYTES }, 60, "", 0, INFLATE_BROKEN, "gzip stream is cut short" },
    { "cut in the second member", { 10, 10 }, 5, "", 0, INFLATE_BROKEN, "gzip stream is cut" },
    { "garbage behind", { 10 }, 0, "x", 0, INFLATE_BROKEN, "bytes behind the end of the gzip" },
    { "zeros behind", { 10 }, 0, "\1\1", 0, INFLATE_BROKEN, "bytes behind the end of the gzip" },
    { "half a header behind", { 10 }, 0, "\x1f", 0, INFLATE_BROKEN, "gzip stream is cut short" },
    { "wrong checksum", { 10 }, 0, "", 8, INFLATE_BROKEN, "gzip stream is broken near byte " },
    { "wrong length", { 10 }, 0, "", 1, INFLATE_BROKEN, "gzip stream is broken near byte " },
};

START_TEST(inflate_case)
{
    AUTO(budget_free) struct budget *budget = budget_new(64 << 20);
    struct body in, out;
    struct err err = { 0 };
    enum inflate_result result;
    size_t want = 0;

    body_init(&in, budget, 32 << 20);
    body_init(&out, budget, TEXT_MAX);
    for (size_t i = 0; i < 3 && (i == 0 || inflate_cases[_i].members[i] ||
                                 (i == 1 && inflate_cases[_i].members[2]));
         i++) {
        inflate_pack(&in, (char)('a' + i), inflate_cases[_i].members[i]);
        want += inflate_cases[_i].members[i];
    }
    in.len -= (size_t)inflate_cases[_i].cut;
    ck_assert_int_eq(body_append(&in, inflate_cases[_i].tail, strlen(inflate_cases[_i].tail), 0),
                     BODY_OK);
    if (inflate_cases[_i].flip)
        in.data[in.len - inflate_cases[_i].flip] ^= 0x55;
    result = inflate_body(&in, &out, &err);
    ck_assert_msg(result == inflate_cases[_i].want, "%s: %d %s", inflate_cases[_i].name,
                  (int)result, err.text);
    if (result == INFLATE_OK)
        ck_assert_uint_eq(out.len, want);
    ck_assert_uint_le(out.cap, TEXT_MAX);
    ck_assert_msg(strncmp(err.text, inflate_cases[_i].message, strlen(inflate_cases[_i].message)) ==
                      0,
                  "%s: %s", inflate_cases[_i].name, err.text);
    body_done(&in);
    body_done(&out);
}
END_TEST

START_TEST(not_gzip)
{
    AUTO(budget_free) struct budget *budget = budget_new(1 << 20);
    struct err err = { 0 };
    struct body in, out;

    body_init(&in, budget, 1000);
    body_init(&out, budget, 1000);
    ck_assert_int_eq(inflate_body(&in, &out, &err), INFLATE_BROKEN);
    ck_assert_str_eq(err.text, "gzip stream is empty");
    ck_assert_int_eq(body_append(&in, "{\"event\":1}", 11, 0), BODY_OK);
    ck_assert_int_eq(inflate_body(&in, &out, &err), INFLATE_BROKEN);
    ck_assert_str_eq(err.text, "gzip stream is broken near byte 2: incorrect header check");
    body_done(&in);
    body_done(&out);
}
END_TEST

START_TEST(beyond_the_budget)
{
    AUTO(budget_free) struct budget *budget = budget_new(1 << 20);
    AUTO(budget_free) struct budget *small = budget_new(20000);
    struct err err = { 0 };
    struct body in, out;

    body_init(&in, budget, 1 << 20);
    body_init(&out, small, 1 << 20);
    inflate_pack(&in, 'a', TEXT_BYTES);
    ck_assert_int_eq(inflate_body(&in, &out, &err), INFLATE_NO_MEMORY);
    body_done(&in);
    body_done(&out);
}
END_TEST

Suite *inflate_suite(void); /* called from the table that tools/suites writes */

Suite *inflate_suite(void)
{
    Suite *suite = suite_create("inflate");
    TCase *tc = tcase_create("inflate");

    tcase_add_loop_test(tc, inflate_case, 0, LENGTH(inflate_cases));
    tcase_add_test(tc, not_gzip);
    tcase_add_test(tc, beyond_the_budget);
    suite_add_tcase(suite, tc);
    return suite;
}
