#include "base/decimal.h"

#include <check.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "tests/harness/dice.h"

static const struct {
    double value;
    const char *want;
} written_cases[] = {
    { 0.0, "0" },
    { -0.0, "-0" },
    { 1.0, "1" },
    { -12.5, "-12.5" },
    { 0.1, "0.1" },
    { 1.0 / 3, "0.3333333333333333" },
    { 0.1 + 0.2, "0.30000000000000004" },
    { 5e-324, "4.94065645841247e-324" }, /* 15 digits are looked at, not fewer */
    { 0.0001, "0.0001" },
    { 0.00001, "1e-05" },
    { 99999.5e-9, "9.99995e-05" },
    { 999999999999999.0, "999999999999999" },
    { 1e15, "1e+15" },
    { 1e22, "1e+22" },
    { 123456789012345680.0, "1.2345678901234568e+17" },
    { 1234567890123456.0, "1234567890123456" },
    { 9007199254740993.0, "9007199254740992" },
    { 9.9999999999999989e22, "1e+23" },
    { DBL_MAX, "1.7976931348623157e+308" },
    { DBL_MIN, "2.2250738585072014e-308" },
};

START_TEST(written)
{
    char text[DECIMAL_BYTES];
    size_t len = decimal_write(text, written_cases[_i].value);

    ck_assert_str_eq(text, written_cases[_i].want);
    ck_assert_uint_eq(len, strlen(text));
}
END_TEST

/* What it is a faster way to do. */
static void oracle_write(char text[static DECIMAL_BYTES], double value)
{
    for (int digits = 15; digits <= 17; digits++) {
        double back;

        (void)snprintf(text, DECIMAL_BYTES, "%.*g", digits, value);
        back = strtod(text, NULL);
        if (memcmp(&back, &value, sizeof(value)) == 0)
            return;
    }
}

static void check_oracle(double value)
{
    char text[DECIMAL_BYTES], want[DECIMAL_BYTES];
    size_t len;

    if (!isfinite(value))
        return;
    len = decimal_write(text, value);
    oracle_write(want, value);
    ck_assert_msg(strcmp(text, want) == 0, "%a: \"%s\", not \"%s\"", value, text, want);
    ck_assert_uint_eq(len, strlen(text));
}

static uint64_t bits_roll(uint64_t *seed)
{
    uint64_t high = dice_roll(seed, UINT32_MAX);

    return high << 32 | dice_roll(seed, UINT32_MAX);
}

START_TEST(any_bits_are_as_printf_writes_them)
{
    uint64_t seed = 1;

    for (int i = 0; i < 50000; i++) {
        uint64_t bits = bits_roll(&seed);
        double value;

        memcpy(&value, &bits, sizeof(value));
        check_oracle(value);
    }
}
END_TEST

START_TEST(usual_numbers_are_as_printf_writes_them)
{
    uint64_t seed = 2;

    for (int i = 0; i < 20000; i++) {
        double whole = (double)(bits_roll(&seed) >> dice_roll(&seed, 64));
        double scale = pow(10, dice_roll(&seed, 20));

        check_oracle(whole);
        check_oracle(whole / scale);
        check_oracle(sqrt(whole / scale));
        check_oracle(nextafter(scale, 0));
        check_oracle(nextafter(1 / scale, 1));
    }
}
END_TEST

Suite *decimal_suite(void); /* called from the table that tools/suites writes */

Suite *decimal_suite(void)
{
    Suite *suite = suite_create("base/decimal");
    TCase *tc = tcase_create("decimal");

    tcase_add_loop_test(tc, written, 0, LENGTH(written_cases));
    tcase_add_test(tc, any_bits_are_as_printf_writes_them);
    tcase_add_test(tc, usual_numbers_are_as_printf_writes_them);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    return suite;
}
