#include "base/crc32c.h"

#include <check.h>
#include <string.h>

#include "base/attr.h"

Suite *crc32c_suite(void);

static const unsigned char zeros[32];
static const unsigned char ones[32] = { [0 ... 31] = 0xff };
static const unsigned char rising[32] = { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                          11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                          22, 23, 24, 25, 26, 27, 28, 29, 30, 31 };
static const unsigned char falling[32] = { 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21,
                                           20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10,
                                           9,  8,  7,  6,  5,  4,  3,  2,  1,  0 };
/* An iSCSI read command. */
static const unsigned char command[48] = {
    0x01, 0xc0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
    0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0,    0,
};

/* RFC 3720, B.4; the last is the check value of the catalogues. */
static const struct {
    const char *name;
    const void *data;
    size_t len;
    uint32_t want;
} vectors[] = {
    { "32 bytes of zeros", zeros, 32, 0x8a9136aa },    { "32 bytes of ones", ones, 32, 0x62a8ab43 },
    { "32 bytes that rise", rising, 32, 0x46dd794e },  { "32 that fall", falling, 32, 0x113fdb5c },
    { "an iSCSI command", command, 48, 0xd9963a56 },   { "nothing", "", 0, 0 },
    { "the nine digits", "123456789", 9, 0xe3069283 },
};

START_TEST(vector)
{
    ck_assert_msg(crc32c(0, vectors[_i].data, vectors[_i].len) == vectors[_i].want, "%s",
                  vectors[_i].name);
    ck_assert_msg(crc32c_portable(0, vectors[_i].data, vectors[_i].len) == vectors[_i].want,
                  "%s, from the table", vectors[_i].name);
}
END_TEST

/* Both ways, in any pieces, at any alignment. */
START_TEST(pieces)
{
    unsigned char data[100];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(i * 37 + 11);
    for (size_t at = 0; at < 9; at++) {
        for (size_t len = 0; at + len <= sizeof(data); len++) {
            uint32_t whole = crc32c_portable(0, data + at, len);
            size_t cut = len * 3 / 7;

            ck_assert_uint_eq(crc32c(0, data + at, len), whole);
            ck_assert_uint_eq(crc32c(crc32c(0, data + at, cut), data + at + cut, len - cut), whole);
            ck_assert_uint_eq(crc32c_portable(crc32c_portable(0, data + at, cut), data + at + cut,
                                              len - cut),
                              whole);
        }
    }
}
END_TEST

Suite *crc32c_suite(void)
{
    Suite *suite = suite_create("crc32c");
    TCase *tc = tcase_create("crc32c");

    tcase_add_loop_test(tc, vector, 0, LENGTH(vectors));
    tcase_add_test(tc, pieces);
    suite_add_tcase(suite, tc);
    return suite;
}
