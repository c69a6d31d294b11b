#include "base/gzip.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../harness/dice.h"
#include "base/mem.h"

enum { TEXT_MAX = 150000 };

static void append_member(struct buf *out, char c, size_t len)
{
    AUTO(mem_free) char *text = xmalloc(len);

    memset(text, c, len);
    gzip_deflate((struct span){ text, len }, out);
    ck_assert(!out->full);
}

static const struct {
    const char *name;
    size_t members[3]; /* bytes of text each, the first 0 ends them */
    size_t cut;        /* from the end */
    const char *tail;  /* appended */
    size_t flip;       /* offset of a byte to change, from the end; 0: none */
    bool full;
    const char *message; /* the beginning of it; NULL: it is inflated */
} inflate_cases[] = {
    { "one member", { 100000 }, 0, "", 0, false, NULL },
    { "two members", { 100000, 500 }, 0, "", 0, false, NULL },
    { "three members", { 10, 20, 30 }, 0, "", 0, false, NULL },
    { "exactly the maximum", { TEXT_MAX }, 0, "", 0, false, NULL },
    { "the maximum in two members", { TEXT_MAX - 1, 1 }, 0, "", 0, false, NULL },
    { "one byte more", { TEXT_MAX + 1 }, 0, "", 0, true, NULL },
    { "a bomb", { 20 << 20 }, 0, "", 0, true, NULL },
    { "the maximum, then more", { TEXT_MAX, 1 }, 0, "", 0, true, NULL },
    { "nothing", { 0 }, 0, "", 0, false, "gzip stream is empty" },
    { "not gzip", { 0 }, 0, "plain", 0, false, "gzip stream is broken near byte 2: incorrect" },
    { "zlib framing", { 0 }, 0, "\x78\x9c\x03", 0, false, "gzip stream is broken near byte 2" },
    { "half a header", { 0 }, 0, "\x1f\x8b", 0, false, "gzip stream is cut short after 2 bytes" },
    { "cut in the trailer", { 100000 }, 1, "", 0, false, "gzip stream is cut short after " },
    { "cut at the maximum", { TEXT_MAX }, 8, "", 0, false, "gzip stream is cut short after " },
    { "cut in the middle", { 100000 }, 60, "", 0, false, "gzip stream is cut short after " },
    { "cut in the second member", { 10, 10 }, 5, "", 0, false, "gzip stream is cut short after" },
    { "garbage behind", { 10 }, 0, "x", 0, false, "bytes behind the end of the gzip stream at" },
    { "half a header behind", { 10 }, 0, "\x1f", 0, false, "gzip stream is cut short after " },
    { "wrong checksum", { 10 }, 0, "", 8, false, "gzip stream is broken near byte " },
    { "wrong length", { 10 }, 0, "", 1, false, "gzip stream is broken near byte " },
};

START_TEST(inflate_case)
{
    AUTO(buf_done) struct buf in = { .max = 32 << 20 }, out = { .max = TEXT_MAX };
    struct err err = { 0 };
    size_t want = 0;
    int rc;

    for (size_t i = 0; i < 3 && inflate_cases[_i].members[i]; i++) {
        append_member(&in, (char)('a' + i), inflate_cases[_i].members[i]);
        want += inflate_cases[_i].members[i];
    }
    in.len -= inflate_cases[_i].cut;
    buf_append_text(&in, inflate_cases[_i].tail);
    if (inflate_cases[_i].flip)
        in.data[in.len - inflate_cases[_i].flip] ^= 0x55;
    rc = gzip_inflate(buf_span(&in), &out, &err);
    ck_assert_msg(rc == (inflate_cases[_i].message ? -1 : 0), "%s: %s", inflate_cases[_i].name,
                  err.text);
    ck_assert(out.full == inflate_cases[_i].full);
    ck_assert_uint_le(out.len, TEXT_MAX);
    if (rc < 0) {
        ck_assert_int_eq(err.kind, ERR_INPUT);
        ck_assert_msg(strncmp(err.text, inflate_cases[_i].message,
                              strlen(inflate_cases[_i].message)) == 0,
                      "%s: %s", inflate_cases[_i].name, err.text);
    } else if (!out.full) {
        ck_assert_uint_eq(out.len, want);
        for (size_t i = 0, at = 0; i < 3; at += inflate_cases[_i].members[i++]) {
            for (size_t j = 0; j < inflate_cases[_i].members[i]; j++)
                ck_assert_int_eq(out.data[at + j], (char)('a' + i));
        }
    }
}
END_TEST

/* Made by Python: gzip.compress(b'{"a":1}', mtime=0). */
START_TEST(reads_what_others_write)
{
    static const char bytes[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x4a\x54\xb2\x32"
                                "\xac\x05\x00\xaf\xac\x1b\x56\x07\x00\x00\x00";
    AUTO(buf_done) struct buf out = { .max = 100 };
    struct err err = { 0 };

    ck_assert_msg(gzip_inflate((struct span){ bytes, sizeof(bytes) - 1 }, &out, &err) == 0, "%s",
                  err.text);
    ck_assert_str_eq(buf_text(&out), "{\"a\":1}");
}
END_TEST

START_TEST(the_same_bytes_and_no_more_than_fit)
{
    AUTO(buf_done) struct buf whole = { .max = 20000 }, text = { .max = 9000 };
    char bytes[9000];
    uint64_t seed = 3;
    struct err err;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)dice_roll(&seed, 256);
    gzip_deflate((struct span){ bytes, sizeof(bytes) }, &whole);
    ck_assert(!whole.full);
    for (size_t max = whole.len - 9; max <= whole.len + 1; max++) {
        AUTO(buf_done) struct buf out = { .max = max };

        gzip_deflate((struct span){ bytes, sizeof(bytes) }, &out);
        ck_assert(out.full == (max < whole.len));
        ck_assert_uint_eq(out.len, out.full ? 0 : whole.len);
        ck_assert(out.full || span_equal(buf_span(&out), buf_span(&whole)));
    }
    ck_assert_int_eq(gzip_inflate(buf_span(&whole), &text, &err), 0);
    ck_assert(span_equal(buf_span(&text), (struct span){ bytes, sizeof(bytes) }));
}
END_TEST

START_TEST(appends)
{
    AUTO(buf_done) struct buf in = { .max = 100 }, out = { .max = 7 };
    struct err err;

    gzip_deflate(SPAN_LITERAL("abc"), &in);
    gzip_deflate((struct span){ NULL, 0 }, &in);
    buf_append_text(&out, "0123");
    ck_assert_int_eq(gzip_inflate(buf_span(&in), &out, &err), 0);
    ck_assert_str_eq(buf_text(&out), "0123abc");
    ck_assert(!out.full);
}
END_TEST

Suite *gzip_suite(void); /* called from the table that tools/suites writes */

Suite *gzip_suite(void)
{
    Suite *suite = suite_create("base/gzip");
    TCase *tc = tcase_create("gzip");

    tcase_add_loop_test(tc, inflate_case, 0, LENGTH(inflate_cases));
    tcase_add_test(tc, reads_what_others_write);
    tcase_add_test(tc, the_same_bytes_and_no_more_than_fit);
    tcase_add_test(tc, appends);
    suite_add_tcase(suite, tc);
    return suite;
}
