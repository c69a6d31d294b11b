#include "collector/origin.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *value;
    uint32_t place;
    const char *want;
    int32_t element;
} event_cases[] = {
    { "a lone event", " {\"a\":1} ", 0, " {\"a\":1} ", -1 },
    { "the first", "[ {\"a\":[1]} ,2]", 0, "{\"a\":[1]}", 0 },
    { "the last", "[{\"a\":[1]}, \"]\" ]", 1, "\"]\"", 1 },
    { "not there", "[1]", 1, "[1]", -1 },
    { "in an empty array", "[]", 0, "[]", -1 },
    { "behind what is broken", "[1,}", 1, "[1,}", -1 },
    { "nothing", "", 0, "", -1 },
};

START_TEST(event_case)
{
    struct origin_message message = { .value = span_of(event_cases[_i].value) };
    int32_t element = 7;
    struct span event = origin_event(&message, event_cases[_i].place, &element);

    ck_assert_msg(span_is(event, event_cases[_i].want), "%s: %.*s", event_cases[_i].name,
                  (int)event.len, event.data);
    ck_assert_int_eq(element, event_cases[_i].element);
}
END_TEST

/* Messages with 1, 0, 3 and 2 events: the empty one owns none. */
START_TEST(the_message_of_an_event)
{
    static const uint32_t want[] = { 0, 2, 2, 2, 3, 3 };
    struct origin_message messages[] = {
        { .index = 0 }, { .index = 1 }, { .index = 1 }, { .index = 4 }
    };
    struct origin origin = { .messages = messages, .messages_len = LENGTH(messages) };

    for (uint32_t i = 0; i < LENGTH(want); i++)
        ck_assert_uint_eq(origin_message_of(&origin, i), want[i]);
}
END_TEST

START_TEST(written_as_json)
{
    struct origin_message message = { .offset = 12,
                                      .timestamp_ms = 34,
                                      .key = span_of("k\"\x01"),
                                      .headers = span_of("[[\"h\",null]]") };
    struct origin origin = { .cluster = strdup("c"),
                             .topic = strdup("t"),
                             .partition = 5,
                             .messages = &message,
                             .messages_len = 1 };
    struct origin_reject reject = { .element = 2, .event = span_of("xyz") };
    AUTO(buf_done) struct buf out;

    buf_init(&out, 1000);
    origin_write(&origin, &reject, &out);
    ck_assert_str_eq(buf_text(&out),
                     "{\"cluster\":\"c\",\"topic\":\"t\",\"partition\":5,\"offset\":12,"
                     "\"timestampMs\":34,\"index\":2,\"bytes\":3,\"key\":\"k\\\"\\u0001\","
                     "\"headers\":[[\"h\",null]]}");
    free(origin.cluster);
    free(origin.topic);
}
END_TEST

Suite *origin_suite(void);
Suite *origin_suite(void)
{
    Suite *suite = suite_create("origin");
    TCase *tc = tcase_create("origin");

    tcase_add_loop_test(tc, event_case, 0, LENGTH(event_cases));
    tcase_add_test(tc, the_message_of_an_event);
    tcase_add_test(tc, written_as_json);
    suite_add_tcase(suite, tc);
    return suite;
}
