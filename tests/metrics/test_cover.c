#include "metrics/cover.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "../harness/dice.h"
#include "base/attr.h"

Suite *cover_suite(void);

#define MINUTE INT64_C(60000)
#define HOUR INT64_C(3600000)
#define DAY INT64_C(86400000)

static const struct {
    const char *name;
    int64_t from_ms, to_ms;
    const char *pieces; /* "kind from to" in any order, as they come */
} split_cases[] = {
    { "nothing", 5, 5, "" },
    { "backwards", 5, 4, "" },
    { "inside a minute", 5, 6, "3:5-6 " },
    { "a minute", 0, MINUTE, "0:0-60000 " },
    { "over a minute's bound", 59999, 60001, "3:59999-60001 " },
    { "a minute and edges", 59999, 2 * MINUTE + 1,
      "3:59999-60000 3:120000-120001 0:60000-120000 " },
    { "an hour", 0, HOUR, "1:0-3600000 " },
    { "an hour less a millisecond", 0, HOUR - 1, "3:3540000-3599999 0:0-3540000 " },
    { "a day", 0, DAY, "2:0-86400000 " },
    { "all kinds", DAY - HOUR - MINUTE - 1, 2 * DAY + HOUR + MINUTE + 1,
      "3:82739999-82740000 3:176460000-176460001 0:82740000-82800000 0:176400000-176460000 "
      "1:82800000-86400000 1:172800000-176400000 2:86400000-172800000 " },
};

START_TEST(split)
{
    char have[512] = "";
    struct cover cover;

    cover_split(&cover, split_cases[_i].from_ms, split_cases[_i].to_ms);
    for (size_t i = 0; i < cover.len; i++) {
        size_t len = strlen(have);

        (void)snprintf(have + len, sizeof(have) - len, "%d:%lld-%lld ", cover.pieces[i].kind,
                       (long long)cover.pieces[i].from_ms, (long long)cover.pieces[i].to_ms);
    }
    ck_assert_msg(strcmp(have, split_cases[_i].pieces) == 0, "%s: %s", split_cases[_i].name, have);
}
END_TEST

/* Pieces are whole windows, and every millisecond of the span is in one of them. */
START_TEST(split_at_random)
{
    uint64_t seed = 3;

    for (int i = 0; i < 20000; i++) {
        static const int64_t reaches[] = { 5, 2 * MINUTE, 3 * HOUR, 5 * DAY };
        uint32_t reach = (uint32_t)reaches[dice_roll(&seed, LENGTH(reaches))];
        int64_t from_ms = dice_roll(&seed, reach), to_ms = from_ms + dice_roll(&seed, reach);
        int64_t covered_ms = 0;
        struct cover cover;

        cover_split(&cover, from_ms, to_ms);
        for (size_t n = 0; n < cover.len; n++) {
            const struct cover_piece *piece = &cover.pieces[n];

            ck_assert_int_lt(piece->from_ms, piece->to_ms);
            ck_assert_int_ge(piece->from_ms, from_ms);
            ck_assert_int_le(piece->to_ms, to_ms);
            covered_ms += piece->to_ms - piece->from_ms;
            for (size_t m = 0; m < n; m++)
                ck_assert(piece->to_ms <= cover.pieces[m].from_ms ||
                          piece->from_ms >= cover.pieces[m].to_ms);
            if (piece->kind == COVER_ROWS)
                continue;
            ck_assert_int_eq(piece->from_ms % window_ms((enum window_width)piece->kind), 0);
            ck_assert_int_eq(piece->to_ms % window_ms((enum window_width)piece->kind), 0);
        }
        ck_assert_int_eq(covered_ms, to_ms - from_ms);
    }
}
END_TEST

static const struct cover_horizons kept = {
    .from_ms = { [WINDOW_MINUTE] = 30 * DAY,
                 [WINDOW_HOUR] = 20 * DAY,
                 [WINDOW_DAY] = 10 * DAY,
                 [COVER_ROWS] = 40 * DAY },
};

static const struct {
    const char *name;
    int64_t ms, first_ms, last_ms;
} horizon_cases[] = {
    { "rows are there", 40 * DAY + 1, 40 * DAY + 1, 40 * DAY + 1 },
    { "at the horizon", 40 * DAY, 40 * DAY, 40 * DAY },
    { "the last rows that are gone", 40 * DAY - 1, 40 * DAY, 40 * DAY - MINUTE },
    { "minutes are there", 35 * DAY + 1, 35 * DAY + MINUTE, 35 * DAY },
    { "whole ones", 35 * DAY + MINUTE, 35 * DAY + MINUTE, 35 * DAY + MINUTE },
    { "only hours are there", 25 * DAY + MINUTE, 25 * DAY + HOUR, 25 * DAY },
    { "only days are there", 15 * DAY + HOUR, 16 * DAY, 15 * DAY },
    { "nothing is there", DAY + 1, 10 * DAY, DAY },
};

START_TEST(horizons)
{
    int64_t ms = horizon_cases[_i].ms;

    ck_assert_msg(cover_first(&kept, ms) == horizon_cases[_i].first_ms, "%s: first %lld",
                  horizon_cases[_i].name, (long long)cover_first(&kept, ms));
    ck_assert_msg(cover_last(&kept, ms) == horizon_cases[_i].last_ms, "%s: last %lld",
                  horizon_cases[_i].name, (long long)cover_last(&kept, ms));
}
END_TEST

START_TEST(everything_is_kept)
{
    static const struct cover_horizons all = {
        .from_ms = { INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN },
    };

    ck_assert_int_eq(cover_first(&all, 1), 1);
    ck_assert_int_eq(cover_last(&all, 1), 1);
}
END_TEST

Suite *cover_suite(void)
{
    Suite *suite = suite_create("cover");
    TCase *tc = tcase_create("cover");

    tcase_add_loop_test(tc, split, 0, (int)LENGTH(split_cases));
    tcase_add_test(tc, split_at_random);
    tcase_add_loop_test(tc, horizons, 0, (int)LENGTH(horizon_cases));
    tcase_add_test(tc, everything_is_kept);
    suite_add_tcase(suite, tc);
    return suite;
}
