#include "metrics/json.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "../harness/json_oracle.h"
#include "base/buf.h"
#include "base/mem.h"

#define TEXT(literal)                                                                              \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

/* What kinds of cases the public corpora have: sound, delimited but not allowed, broken. */
static const struct {
    const char *name;
    struct span text;
    enum json_verdict want;
} verdict_cases[] = {
    { "empty array", TEXT("[]"), JSON_SOUND },
    { "empty object", TEXT("{}"), JSON_SOUND },
    { "array with spaces", TEXT("[ 1 , 2 ]"), JSON_SOUND },
    { "all spaces", TEXT(" \t\r\n[1]\n "), JSON_SOUND },
    { "null", TEXT("null"), JSON_SOUND },
    { "true", TEXT("true"), JSON_SOUND },
    { "false", TEXT("false"), JSON_SOUND },
    { "lone string", TEXT("\"abc\""), JSON_SOUND },
    { "lone int", TEXT("42"), JSON_SOUND },
    { "lone negative", TEXT("-1"), JSON_SOUND },
    { "string empty", TEXT("\"\""), JSON_SOUND },
    { "zero", TEXT("0"), JSON_SOUND },
    { "minus zero", TEXT("-0"), JSON_SOUND },
    { "minus zero fraction", TEXT("-0.0"), JSON_SOUND },
    { "fraction", TEXT("1.5"), JSON_SOUND },
    { "exponent", TEXT("1e5"), JSON_SOUND },
    { "capital exponent", TEXT("1E5"), JSON_SOUND },
    { "plus exponent", TEXT("1e+5"), JSON_SOUND },
    { "minus exponent", TEXT("1E-5"), JSON_SOUND },
    { "fraction and exponent", TEXT("1.25e-3"), JSON_SOUND },
    { "zero exponent", TEXT("0e1"), JSON_SOUND },
    { "zero plus exponent", TEXT("0e+1"), JSON_SOUND },
    { "close to zero", TEXT("-0.000000000000000000000000000000000000000000000000000000001"),
      JSON_SOUND },
    { "19 digits", TEXT("1234567890123456789"), JSON_SOUND },
    { "20 digits", TEXT("12345678901234567890"), JSON_SOUND },
    { "large int", TEXT("100000000000000000000000000000"), JSON_SOUND },
    { "largest double", TEXT("1.7976931348623157e308"), JSON_SOUND },
    { "underflow", TEXT("1e-400"), JSON_SOUND },
    { "deep underflow", TEXT("123.456e-789"), JSON_SOUND },
    { "mantissa long exponent large", TEXT("0.000000000000000000000000000001e330"), JSON_SOUND },
    { "64 characters", TEXT("1234567890123456789012345678901234567890123456789012345678901234"),
      JSON_SOUND },
    { "exponent leading zeros", TEXT("1e0000000005"), JSON_SOUND },
    { "negative exponent leading zeros", TEXT("1e-0000005"), JSON_SOUND },
    { "zero large exponent", TEXT("0e16000"), JSON_SOUND },
    { "large exponent down", TEXT("1.5e-00016000"), JSON_SOUND },
    { "array of types", TEXT("[null, 1, \"1\", {}, [], true, false, 1.5]"), JSON_SOUND },
    { "nested", TEXT("{\"a\":{\"b\":[{\"c\":1}]}}"), JSON_SOUND },
    { "empty key", TEXT("{\"\":0}"), JSON_SOUND },
    { "duplicate in siblings", TEXT("[{\"a\":1},{\"a\":2}]"), JSON_SOUND },
    { "same key deeper", TEXT("{\"a\":{\"a\":{\"a\":1}}}"), JSON_SOUND },
    { "keys differ in case", TEXT("{\"a\":1,\"A\":2}"), JSON_SOUND },
    { "key with escape", TEXT("{\"a\\nb\":1}"), JSON_SOUND },
    { "key with dot", TEXT("{\"a.b\":1,\"a\":{\"b\":2}}"), JSON_SOUND },
    { "key with space", TEXT("{\"a b\":1}"), JSON_SOUND },
    { "key with quote", TEXT("{\"a\\\"b\":1}"), JSON_SOUND },
    { "long strings",
      TEXT("{\"x\":[{\"id\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}], \"id\": "
           "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}"),
      JSON_SOUND },
    { "all short escapes", TEXT("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"), JSON_SOUND },
    { "escaped quote at end", TEXT("[\"\\\"\"]"), JSON_SOUND },
    { "escaped backslash at end", TEXT("[\"\\\\\"]"), JSON_SOUND },
    { "u escape", TEXT("[\"\\u0041\"]"), JSON_SOUND },
    { "u escape capitals", TEXT("[\"\\u00E9\\uABCD\"]"), JSON_SOUND },
    { "u escape mixed", TEXT("[\"\\u00eA\"]"), JSON_SOUND },
    { "escaped control", TEXT("[\"\\u0012\"]"), JSON_SOUND },
    { "pair", TEXT("[\"\\ud83d\\ude00\"]"), JSON_SOUND },
    { "pair capitals", TEXT("[\"\\uD801\\uDC37\"]"), JSON_SOUND },
    { "two pairs", TEXT("[\"\\ud83d\\ude39\\ud83d\\udc8d\"]"), JSON_SOUND },
    { "nonchar escape", TEXT("[\"\\uFFFF\"]"), JSON_SOUND },
    { "nonchar pair", TEXT("[\"\\uDBFF\\uDFFF\"]"), JSON_SOUND },
    { "u not an escape", TEXT("[\"\\\\u0000\"]"), JSON_SOUND },
    { "u2028", TEXT("[\"\\u2028\"]"), JSON_SOUND },
    { "double escape a", TEXT("[\"\\\\a\"]"), JSON_SOUND },
    { "escaped DEL as it is", TEXT("[\"\x7f\"]"), JSON_SOUND },
    { "utf8 2", TEXT("[\"\xc3\xa9\"]"), JSON_SOUND },
    { "utf8 3", TEXT("[\"\xe2\x82\xac\"]"), JSON_SOUND },
    { "utf8 4", TEXT("[\"\xf0\x9f\x98\x80\"]"), JSON_SOUND },
    { "utf8 nonchar", TEXT("[\"\xef\xbf\xbf\"]"), JSON_SOUND },
    { "utf8 highest", TEXT("[\"\xf4\x8f\xbf\xbf\"]"), JSON_SOUND },
    { "utf8 key", TEXT("{\"\xc3\xa9\":1}"), JSON_SOUND },
    { "BOM inside a string", TEXT("[\"\xef\xbb\xbf\"]"), JSON_SOUND },
    { "u2028 itself", TEXT("[\"\xe2\x80\xa8\"]"), JSON_SOUND },
    { "reserved in a string", TEXT("[\"{}[],:\"]"), JSON_SOUND },
    { "comment in a string", TEXT("[\"/* x */\"]"), JSON_SOUND },
    { "space around colon", TEXT("{\"a\" \n:\t1}"), JSON_SOUND },
    { "no space at all", TEXT("{\"a\":[1,2,{\"b\":null}]}"), JSON_SOUND },
    { "literal before bracket", TEXT("[true]"), JSON_SOUND },
    { "number before brace", TEXT("{\"a\":-0}"), JSON_SOUND },
    { "16 plain bytes", TEXT("[\"0123456789abcdef\"]"), JSON_SOUND },
    { "15 bytes and an escape", TEXT("[\"0123456789abcde\\n\"]"), JSON_SOUND },
    { "16 bytes and an escape", TEXT("[\"0123456789abcdef\\n\"]"), JSON_SOUND },
    { "17 bytes", TEXT("[\"0123456789abcdefg\"]"), JSON_SOUND },
    { "non ascii at 16", TEXT("[\"0123456789abcde\xc3\xa9z\"]"), JSON_SOUND },
    { "NaN", TEXT("[NaN]"), JSON_FAULTY },
    { "nan", TEXT("[nan]"), JSON_FAULTY },
    { "Infinity", TEXT("[Infinity]"), JSON_FAULTY },
    { "minus Infinity", TEXT("[-Infinity]"), JSON_FAULTY },
    { "minus NaN", TEXT("[-NaN]"), JSON_FAULTY },
    { "inf", TEXT("[inf]"), JSON_FAULTY },
    { "lone NaN", TEXT("NaN"), JSON_FAULTY },
    { "True", TEXT("[True]"), JSON_FAULTY },
    { "None", TEXT("[None]"), JSON_FAULTY },
    { "undefined", TEXT("[undefined]"), JSON_FAULTY },
    { "nul", TEXT("[nul]"), JSON_FAULTY },
    { "nulll", TEXT("[nulll]"), JSON_FAULTY },
    { "truth", TEXT("[truth]"), JSON_FAULTY },
    { "fals", TEXT("[fals]"), JSON_FAULTY },
    { "TRUE", TEXT("[TRUE]"), JSON_FAULTY },
    { "bare word", TEXT("[abc]"), JSON_FAULTY },
    { "lone word", TEXT("abc"), JSON_FAULTY },
    { "single quotes", TEXT("['a']"), JSON_FAULTY },
    { "star", TEXT("[*]"), JSON_FAULTY },
    { "ampersand", TEXT("[&]"), JSON_FAULTY },
    { "backslash word", TEXT("[\\n]"), JSON_FAULTY },
    { "hash", TEXT("[#]"), JSON_FAULTY },
    { "semicolon", TEXT("[1;2]"), JSON_FAULTY },
    { "byte 0xff", TEXT("[\xff]"), JSON_FAULTY },
    { "utf8 word", TEXT("[\xc3\xa9]"), JSON_FAULTY },
    { "utf16 byte order mark", TEXT("\xff\xfe"), JSON_FAULTY },
    { "BOM", TEXT("\xef\xbb\xbf"), JSON_FAULTY },
    { "BOM before number",
      TEXT("\xef\xbb\xbf"
           "1"),
      JSON_FAULTY },
    { "formfeed", TEXT("[\f]"), JSON_FAULTY },
    { "vertical tab", TEXT("[\v]"), JSON_FAULTY },
    { "U+00A0", TEXT("[\xc2\xa0]"), JSON_FAULTY },
    { "U+2060", TEXT("[\xe2\x81\xa0]"), JSON_FAULTY },
    { "DEL", TEXT("[\x7f]"), JSON_FAULTY },
    { "leading zero", TEXT("[012]"), JSON_FAULTY },
    { "minus leading zero", TEXT("[-012]"), JSON_FAULTY },
    { "double zero", TEXT("[00]"), JSON_FAULTY },
    { "plus", TEXT("[+1]"), JSON_FAULTY },
    { "plus plus", TEXT("[++1]"), JSON_FAULTY },
    { "minus", TEXT("[-]"), JSON_FAULTY },
    { "minus minus", TEXT("[--1]"), JSON_FAULTY },
    { "minus word", TEXT("[-foo]"), JSON_FAULTY },
    { "minus dot", TEXT("[-.5]"), JSON_FAULTY },
    { "dot", TEXT("[.]"), JSON_FAULTY },
    { "leading dot", TEXT("[.5]"), JSON_FAULTY },
    { "trailing dot", TEXT("[1.]"), JSON_FAULTY },
    { "dot exponent", TEXT("[1.e1]"), JSON_FAULTY },
    { "leading dot exponent", TEXT("[.2e-3]"), JSON_FAULTY },
    { "e without digits", TEXT("[1e]"), JSON_FAULTY },
    { "e plus", TEXT("[1e+]"), JSON_FAULTY },
    { "e minus", TEXT("[1e-]"), JSON_FAULTY },
    { "capital E", TEXT("[1E]"), JSON_FAULTY },
    { "capital E plus", TEXT("[1.0E+]"), JSON_FAULTY },
    { "two e", TEXT("[1ee2]"), JSON_FAULTY },
    { "e dot", TEXT("[1e1.5]"), JSON_FAULTY },
    { "two dots", TEXT("[1.2.3]"), JSON_FAULTY },
    { "hex", TEXT("[0x42]"), JSON_FAULTY },
    { "hex 1", TEXT("[0x1]"), JSON_FAULTY },
    { "octal", TEXT("[0o7]"), JSON_FAULTY },
    { "underscore", TEXT("[1_000]"), JSON_FAULTY },
    { "letter behind", TEXT("[1a]"), JSON_FAULTY },
    { "e-+", TEXT("[0e+-1]"), JSON_FAULTY },
    { "expression", TEXT("[1+2]"), JSON_FAULTY },
    { "minus at end", TEXT("[1-]"), JSON_FAULTY },
    { "fullwidth digit", TEXT("[\xef\xbc\x91]"), JSON_FAULTY },
    { "percent", TEXT("[50%]"), JSON_FAULTY },
    { "65 characters", TEXT("[11111111111111111111111111111111111111111111111111111111111111111]"),
      JSON_FAULTY },
    { "65 with a fraction",
      TEXT("[0.111111111111111111111111111111111111111111111111111111111111111]"), JSON_FAULTY },
    { "not finite", TEXT("[1e309]"), JSON_FAULTY },
    { "minus not finite", TEXT("[-1e309]"), JSON_FAULTY },
    { "just not finite", TEXT("[1.7976931348623159e308]"), JSON_FAULTY },
    { "not finite by digits", TEXT("[123456789e301]"), JSON_FAULTY },
    { "not finite fraction", TEXT("[0.0001e313]"), JSON_FAULTY },
    { "zero huge exponent", TEXT("[0e16001]"), JSON_FAULTY },
    { "huge exponent down", TEXT("[1e-16001]"), JSON_FAULTY },
    { "exponent of nines down", TEXT("[1e-99999999999999999999]"), JSON_FAULTY },
    { "huge exponent", TEXT("[1e99999999999999999999]"), JSON_FAULTY },
    { "huge plus exponent", TEXT("[123123e+100000]"), JSON_FAULTY },
    { "duplicate", TEXT("{\"a\":1,\"a\":2}"), JSON_FAULTY },
    { "duplicate same value", TEXT("{\"a\":1,\"a\":1}"), JSON_FAULTY },
    { "duplicate escaped", TEXT("{\"a\":1,\"\\u0061\":2}"), JSON_FAULTY },
    { "duplicate both escaped", TEXT("{\"\\u0061\":1,\"\\u0061\":2}"), JSON_FAULTY },
    { "duplicate empty", TEXT("{\"\":1,\"\":2}"), JSON_FAULTY },
    { "duplicate deep", TEXT("{\"x\":[{\"b\":1,\"c\":2,\"b\":3}]}"), JSON_FAULTY },
    { "duplicate pair", TEXT("{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}"), JSON_FAULTY },
    { "duplicate slash", TEXT("{\"/\":1,\"\\/\":2}"), JSON_FAULTY },
    { "duplicate far", TEXT("{\"a\":{\"b\":1},\"c\":[],\"a\":null}"), JSON_FAULTY },
    { "U+0000 escaped", TEXT("[\"\\u0000\"]"), JSON_FAULTY },
    { "U+0000 in a key", TEXT("{\"a\\u0000b\":1}"), JSON_FAULTY },
    { "lone high", TEXT("[\"\\ud800\"]"), JSON_FAULTY },
    { "lone high text", TEXT("[\"\\ud800abc\"]"), JSON_FAULTY },
    { "lone low", TEXT("[\"\\udc00\"]"), JSON_FAULTY },
    { "high high", TEXT("[\"\\ud800\\ud800\"]"), JSON_FAULTY },
    { "high and no low", TEXT("[\"\\ud800\\u0041\"]"), JSON_FAULTY },
    { "high and n", TEXT("[\"\\uD800\\n\"]"), JSON_FAULTY },
    { "low high", TEXT("[\"\\uDc00\\uD800\"]"), JSON_FAULTY },
    { "high cut low", TEXT("[\"\\uD800\\uDC0\"]"), JSON_FAULTY },
    { "lone in a key", TEXT("{\"\\uDFAA\":0}"), JSON_FAULTY },
    { "high high low", TEXT("[\"\\uD888\\uD83D\\uDE00\"]"), JSON_FAULTY },
    { "tab in a string", TEXT("[\"\t\"]"), JSON_FAULTY },
    { "newline in a string", TEXT("[\"a\nb\"]"), JSON_FAULTY },
    { "0x1f", TEXT("[\"\x1f\"]"), JSON_FAULTY },
    { "control at 16", TEXT("[\"0123456789abcdef\x01\"]"), JSON_FAULTY },
    { "unknown escape", TEXT("[\"\\x41\"]"), JSON_FAULTY },
    { "escape a", TEXT("[\"\\a\"]"), JSON_FAULTY },
    { "escape quote single", TEXT("[\"\\'\"]"), JSON_FAULTY },
    { "escape capital U", TEXT("[\"\\U0041\"]"), JSON_FAULTY },
    { "escape digit", TEXT("[\"\\0\"]"), JSON_FAULTY },
    { "escape space", TEXT("[\"\\ \"]"), JSON_FAULTY },
    { "escape newline", TEXT("[\"\\\n\"]"), JSON_FAULTY },
    { "escape utf8", TEXT("[\"\\\xc3\xa9\"]"), JSON_FAULTY },
    { "u three digits", TEXT("[\"\\u00A\"]"), JSON_FAULTY },
    { "u no digits", TEXT("[\"\\u\"]"), JSON_FAULTY },
    { "u bad digit", TEXT("[\"\\u00g0\"]"), JSON_FAULTY },
    { "u bad digits", TEXT("[\"\\uqqqq\"]"), JSON_FAULTY },
    { "u minus", TEXT("[\"\\u-001\"]"), JSON_FAULTY },
    { "unknown escape in a key", TEXT("{\"\\q\":1}"), JSON_FAULTY },
    { "tail alone", TEXT("[\"\x80\"]"), JSON_FAULTY },
    { "cut two", TEXT("[\"\xc3\"]"), JSON_FAULTY },
    { "cut three", TEXT("[\"\xe2\x82\"]"), JSON_FAULTY },
    { "cut four", TEXT("[\"\xf0\x9f\x98\"]"), JSON_FAULTY },
    { "overlong 2", TEXT("[\"\xc0\xaf\"]"), JSON_FAULTY },
    { "overlong 3", TEXT("[\"\xe0\x80\xaf\"]"), JSON_FAULTY },
    { "overlong 4", TEXT("[\"\xf0\x80\x80\xaf\"]"), JSON_FAULTY },
    { "overlong nul", TEXT("[\"\xc0\x80\"]"), JSON_FAULTY },
    { "utf8 surrogate", TEXT("[\"\xed\xa0\x80\"]"), JSON_FAULTY },
    { "utf8 surrogate pair", TEXT("[\"\xed\xa0\xbd\xed\xb8\x80\"]"), JSON_FAULTY },
    { "above unicode", TEXT("[\"\xf4\x90\x80\x80\"]"), JSON_FAULTY },
    { "five bytes", TEXT("[\"\xf8\x88\x80\x80\x80\"]"), JSON_FAULTY },
    { "0xfe", TEXT("[\"\xfe\"]"), JSON_FAULTY },
    { "latin 1", TEXT("[\"caf\xe9\"]"), JSON_FAULTY },
    { "bad key", TEXT("{\"\xb9\":\"0\"}"), JSON_FAULTY },
    { "bad utf8 at 16", TEXT("[\"0123456789abcdef\xe9\"]"), JSON_FAULTY },
    { "fault and sound", TEXT("{\"a\":NaN,\"b\":[1,2,{\"c\":\"d\"}]}"), JSON_FAULTY },
    { "nothing", TEXT(""), JSON_IS_BROKEN },
    { "space", TEXT(" "), JSON_IS_BROKEN },
    { "newline", TEXT("\n"), JSON_IS_BROKEN },
    { "open array", TEXT("["), JSON_IS_BROKEN },
    { "close array", TEXT("]"), JSON_IS_BROKEN },
    { "open object", TEXT("{"), JSON_IS_BROKEN },
    { "close object", TEXT("}"), JSON_IS_BROKEN },
    { "array and object", TEXT("[}"), JSON_IS_BROKEN },
    { "object and array", TEXT("{]"), JSON_IS_BROKEN },
    { "crossed", TEXT("{\"a\":[1}]"), JSON_IS_BROKEN },
    { "crossed 2", TEXT("[{\"a\":1]}"), JSON_IS_BROKEN },
    { "open many", TEXT("[[[["), JSON_IS_BROKEN },
    { "closed twice", TEXT("[]]"), JSON_IS_BROKEN },
    { "object closed twice", TEXT("{}}"), JSON_IS_BROKEN },
    { "two values", TEXT("1 2"), JSON_IS_BROKEN },
    { "two arrays", TEXT("[][]"), JSON_IS_BROKEN },
    { "two objects", TEXT("{}{}"), JSON_IS_BROKEN },
    { "garbage behind", TEXT("[1]x"), JSON_IS_BROKEN },
    { "comma behind", TEXT("[1],"), JSON_IS_BROKEN },
    { "comment behind", TEXT("{} // x"), JSON_IS_BROKEN },
    { "hash behind", TEXT("{} #"), JSON_IS_BROKEN },
    { "comma alone", TEXT(","), JSON_IS_BROKEN },
    { "colon alone", TEXT(":"), JSON_IS_BROKEN },
    { "comma in array", TEXT("[,]"), JSON_IS_BROKEN },
    { "comma first", TEXT("[,1]"), JSON_IS_BROKEN },
    { "comma last", TEXT("[1,]"), JSON_IS_BROKEN },
    { "two commas", TEXT("[1,,2]"), JSON_IS_BROKEN },
    { "comma last in object", TEXT("{\"a\":1,}"), JSON_IS_BROKEN },
    { "comma first in object", TEXT("{,\"a\":1}"), JSON_IS_BROKEN },
    { "two commas in object", TEXT("{\"a\":1,,\"b\":2}"), JSON_IS_BROKEN },
    { "comma for colon", TEXT("{\"a\",\"b\"}"), JSON_IS_BROKEN },
    { "no colon", TEXT("{\"a\" 1}"), JSON_IS_BROKEN },
    { "no value", TEXT("{\"a\":}"), JSON_IS_BROKEN },
    { "no value and comma", TEXT("{\"a\":,\"b\":1}"), JSON_IS_BROKEN },
    { "no colon nor value", TEXT("{\"a\"}"), JSON_IS_BROKEN },
    { "two colons", TEXT("{\"a\"::1}"), JSON_IS_BROKEN },
    { "colon in array", TEXT("[\"a\":1]"), JSON_IS_BROKEN },
    { "colon in array 2", TEXT("[1:2]"), JSON_IS_BROKEN },
    { "word key", TEXT("{a:1}"), JSON_IS_BROKEN },
    { "number key", TEXT("{1:1}"), JSON_IS_BROKEN },
    { "null key", TEXT("{null:1}"), JSON_IS_BROKEN },
    { "array key", TEXT("{[1]:1}"), JSON_IS_BROKEN },
    { "object key", TEXT("{{}:1}"), JSON_IS_BROKEN },
    { "single quoted key", TEXT("{'a':1}"), JSON_IS_BROKEN },
    { "missing comma", TEXT("[1 2]"), JSON_IS_BROKEN },
    { "missing comma strings", TEXT("[\"a\" \"b\"]"), JSON_IS_BROKEN },
    { "missing comma objects", TEXT("[{}{}]"), JSON_IS_BROKEN },
    { "missing comma array", TEXT("[[1][2]]"), JSON_IS_BROKEN },
    { "missing comma in object", TEXT("{\"a\":1 \"b\":2}"), JSON_IS_BROKEN },
    { "string behind number", TEXT("[1\"a\"]"), JSON_IS_BROKEN },
    { "object behind number", TEXT("[1{}]"), JSON_IS_BROKEN },
    { "array behind word", TEXT("[true[]]"), JSON_IS_BROKEN },
    { "unterminated string", TEXT("[\"a"), JSON_IS_BROKEN },
    { "unterminated escape", TEXT("[\"a\\"), JSON_IS_BROKEN },
    { "unterminated escaped quote", TEXT("[\"\\\""), JSON_IS_BROKEN },
    { "unterminated u", TEXT("[\"\\u00"), JSON_IS_BROKEN },
    { "unterminated key", TEXT("{\"a"), JSON_IS_BROKEN },
    { "ends behind key", TEXT("{\"a\""), JSON_IS_BROKEN },
    { "ends behind colon", TEXT("{\"a\":"), JSON_IS_BROKEN },
    { "ends behind value", TEXT("{\"a\":1"), JSON_IS_BROKEN },
    { "ends behind comma", TEXT("{\"a\":1,"), JSON_IS_BROKEN },
    { "array ends behind comma", TEXT("[1,"), JSON_IS_BROKEN },
    { "array ends behind value", TEXT("[1"), JSON_IS_BROKEN },
    { "ends inside a word", TEXT("[tru"), JSON_IS_BROKEN },
    { "lone quote", TEXT("\""), JSON_IS_BROKEN },
    { "quote in word", TEXT("[a\"b]"), JSON_IS_BROKEN },
    { "comment", TEXT("[1/*x*/,2 /* , */ 3]"), JSON_IS_BROKEN },
    { "comment in object", TEXT("{\"a\":/*x*/1 \"b\"}"), JSON_IS_BROKEN },
    { "xml", TEXT("<a b=\"c\">"), JSON_IS_BROKEN },
    { "form", TEXT("a=b c=d"), JSON_IS_BROKEN },
    { "python tuple", TEXT("[(1, 2)x 3]"), JSON_IS_BROKEN },
    { "spread", TEXT("[...[1]]"), JSON_IS_BROKEN },
    { "number and space", TEXT("[- 1]"), JSON_IS_BROKEN },
    { "nul byte behind", TEXT("[1]\000"), JSON_IS_BROKEN },
    { "fault and broken", TEXT("{\"a\":NaN,\"b\"}"), JSON_IS_BROKEN },
    { "BOM before array", TEXT("\xef\xbb\xbf[]"), JSON_IS_BROKEN },
    { "utf16", TEXT("\xff\xfe[\000]\000"), JSON_IS_BROKEN },
    { "array instead of colon", TEXT("{\"a\"[1]}"), JSON_IS_BROKEN },
};

static void check_verdict(const char *name, struct span text, enum json_verdict want)
{
    enum json_verdict got = json_oracle_scan(text);
    const char *difference = json_oracle_check(text);

    ck_assert_msg(got == want, "%s: %d instead of %d", name, (int)got, (int)want);
    ck_assert_msg(!difference, "%s: %s", name, difference);
}

START_TEST(verdict_case)
{
    check_verdict(verdict_cases[_i].name, verdict_cases[_i].text, verdict_cases[_i].want);
}
END_TEST

/* The same text many times, something in the middle, another text many times. */
static const struct {
    const char *name, *open;
    int opens;
    const char *middle, *close;
    int closes;
    enum json_verdict want;
} deep_cases[] = {
    { "depth 32", "[", 32, "1", "]", 32, JSON_SOUND },
    { "depth 33", "[", 33, "1", "]", 33, JSON_FAULTY },
    { "depth 32 of objects", "{\"a\":", 32, "1", "}", 32, JSON_SOUND },
    { "depth 33 of objects", "{\"a\":", 33, "1", "}", 33, JSON_FAULTY },
    { "depth 100000", "[", 100000, "", "]", 100000, JSON_FAULTY },
    { "depth 100000 of objects", "{\"a\":", 100000, "{}", "}", 100000, JSON_FAULTY },
    { "depth 20000 mixed", "[{\"a\":", 20000, "[]", "}]", 20000, JSON_FAULTY },
    { "duplicates below the depth", "[", 40, "{\"a\":1,\"a\":2}", "]", 40, JSON_FAULTY },
    { "open 100000", "[", 100000, "", "", 0, JSON_IS_BROKEN },
    { "open 100000 objects", "{\"a\":", 100000, "", "", 0, JSON_IS_BROKEN },
    { "open 100000 mixed", "[{\"\":", 100000, "", "", 0, JSON_IS_BROKEN },
    { "one too few", "[", 50000, "", "]", 49999, JSON_IS_BROKEN },
    { "one too many", "[", 50000, "", "]", 50001, JSON_IS_BROKEN },
    { "crossed far below", "[", 50000, "{", "]", 50000, JSON_IS_BROKEN },
};

START_TEST(deep_case)
{
    AUTO(buf_done) struct buf buf;

    buf_init(&buf, 1 << 22);
    for (int i = 0; i < deep_cases[_i].opens; i++)
        buf_append_text(&buf, deep_cases[_i].open);
    buf_append_text(&buf, deep_cases[_i].middle);
    for (int i = 0; i < deep_cases[_i].closes; i++)
        buf_append_text(&buf, deep_cases[_i].close);
    check_verdict(deep_cases[_i].name, buf_span(&buf), deep_cases[_i].want);
}
END_TEST

static const struct {
    const char *text, *path, *message;
} fault_cases[] = {
    { "{\"a\":NaN}", "a", "NaN is not JSON; send null or leave the member out" },
    { "{\"a\":{\"b\":[1,2,-Infinity]}}", "a.b[2]",
      "-Infinity is not JSON; send null or a finite number" },
    { "{\"a\":[[],[{\"x\":True}]]}", "a[1][0].x", "True is not JSON; send true" },
    { "{\"a\":None}", "a", "None is not JSON; send null" },
    { "{\"a\":'x'}", "a", "not a JSON value: \"'x'\"; texts stand in double quotes" },
    { "[012]", "[0]", "not a number as JSON writes it: \"012\"" },
    { "{\"n\":.5}", "n", "not a number as JSON writes it: \".5\"" },
    { "{\"n\":1e999}", "n", "too large for a double: \"1e999\"; send null or text" },
    { "{\"n\":1e99999}", "n", "too large for a double: \"1e99999\"; send null or text" },
    { "{\"n\":1e-16001}", "n", "an exponent beyond 16000: \"1e-16001\"; send 0 or text" },
    { "{\"n\":11111111111111111111111111111111111111111111111111111111111111111}", "n",
      "a number of 65 characters, at most 64 can be kept; round it or send it as text" },
    { "{\"n\":abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij}", "n",
      "not a JSON value: \"abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcd...\"; "
      "texts stand in double quotes" },
    { "{\"a\":{\"b\":1,\"c\":2,\"b\":3}}", "a.b",
      "there is a second member of this name; send one" },
    { "{\"a.b\":{\"c\\u0064\":NaN}}", "a\\.b.cd",
      "NaN is not JSON; send null or leave the member out" },
    { "{\"a\":\"\\u0000\"}", "a", "holds U+0000, which can't be stored; leave it out" },
    { "{\"a\":\"\\ud800\"}", "a",
      "holds the surrogate \\ud800 without its other half; send the character itself or both "
      "halves" },
    { "{\"a\":\"\t\"}", "a", "holds the control character 0x09; write it as \\u0009" },
    { "{\"a\":\"\\x\"}", "a", "a backslash that begins no escape; write \\\\ for a backslash" },
    { "{\"a\":\"\\u12\"}", "a", "\\u without four hexadecimal digits" },
    { "{\"a\":\"\xe9\"}", "a", "not UTF-8 at byte 0xe9; send texts as UTF-8" },
    { "{\"m\":{\"ok\":1,\"\xe9\":2}}", "m", "not UTF-8 at byte 0xe9; send texts as UTF-8" },
    { "{\"a\":1,\"b\":NaN,\"c\":Infinity}", "b",
      "NaN is not JSON; send null or leave the member out" },
};

START_TEST(fault_case)
{
    AUTO(json_scanner_free) struct json_scanner *scanner = json_scanner_new(1);
    struct json_value value;

    json_open(scanner, span_of(fault_cases[_i].text), 32);
    ck_assert_int_eq(json_scan(scanner, &value), 0);
    ck_assert(json_fault(scanner)->found);
    ck_assert_str_eq(json_fault(scanner)->path, fault_cases[_i].path);
    ck_assert_str_eq(json_fault(scanner)->message, fault_cases[_i].message);
    ck_assert_int_eq(json_close(scanner), 0);
}
END_TEST

START_TEST(deep_fault_is_told)
{
    AUTO(json_scanner_free) struct json_scanner *scanner = json_scanner_new(1);
    struct json_value value;

    json_open(scanner, SPAN_LITERAL("{\"a\":[{\"b\":[1]}]}"), 3);
    ck_assert_int_eq(json_scan(scanner, &value), 0);
    ck_assert_str_eq(json_fault(scanner)->path, "a[0].b");
    ck_assert_str_eq(json_fault(scanner)->message,
                     "nested deeper than 3 levels; flatten it or send it as text");
}
END_TEST

static const struct {
    const char *text;
    size_t offset;
    const char *message;
} broken_cases[] = {
    { "", 0, "the text ends where a value belongs" },
    { "[1,", 3, "the text ends where a value belongs" },
    { "{\"a\":}", 5, "expected a value" },
    { "{\"a\" 1}", 5, "expected ':' after the name of a member" },
    { "{a:1}", 1, "expected the name of a member in double quotes" },
    { "{\"a\":1,}", 7, "expected the name of a member in double quotes" },
    { "{\"a\":1", 6, "the text ends inside an object" },
    { "[1", 2, "the text ends inside an array" },
    { "[1 2]", 3, "expected ',' or ']' after an element" },
    { "{\"a\":1]", 6, "expected ',' or '}' after a member" },
    { "[\"abc", 1, "a text without its closing quote" },
    { "[1] ]", 4, "something follows the end of the value" },
};

START_TEST(broken_case)
{
    AUTO(json_scanner_free) struct json_scanner *scanner = json_scanner_new(1);
    struct json_value value;

    json_open(scanner, span_of(broken_cases[_i].text), 32);
    ck_assert(json_scan(scanner, &value) < 0 || json_close(scanner) < 0);
    ck_assert_uint_eq(json_broken(scanner)->offset, broken_cases[_i].offset);
    ck_assert_str_eq(json_broken(scanner)->message, broken_cases[_i].message);
}
END_TEST

START_TEST(long_path_is_cut)
{
    AUTO(json_scanner_free) struct json_scanner *scanner = json_scanner_new(1);
    AUTO(buf_done) struct buf buf;
    struct json_value value;

    for (int len = 200; len < 600; len++) {
        buf_init(&buf, 10000);
        buf_append_fmt(&buf, "{\"%0*d\xC3\xA9.\":{\"bcd\":[NaN]}}", len, 0);
        json_open(scanner, buf_span(&buf), 32);
        ck_assert_int_eq(json_scan(scanner, &value), 0);
        ck_assert(json_fault(scanner)->found);
        ck_assert_uint_lt(strlen(json_fault(scanner)->path), JSON_PATH_BYTES_MAX);
        if (len > 250)
            ck_assert_ptr_nonnull(strstr(json_fault(scanner)->path, "..."));
        buf_done(&buf);
    }
}
END_TEST

/* The table of keys grows, is bounded, and starts anew with each root. */
START_TEST(members_are_bounded)
{
    AUTO(json_scanner_free) struct json_scanner *scanner = json_scanner_new(1);
    AUTO(buf_done) struct buf buf;
    struct json_value value;

    for (int members = JSON_MEMBERS_MAX; members <= JSON_MEMBERS_MAX + 1; members++) {
        buf_init(&buf, 1 << 24);
        buf_append_char(&buf, '{');
        for (int i = 0; i < members; i++)
            buf_append_fmt(&buf, "%s\"\\u006bey%d\":%d", i ? "," : "", i, i);
        buf_append_char(&buf, '}');
        for (int round = 0; round < 2; round++) {
            json_open(scanner, buf_span(&buf), 32);
            ck_assert_int_eq(json_scan(scanner, &value), 0);
            ck_assert_int_eq(json_fault(scanner)->found, members > JSON_MEMBERS_MAX);
        }
        buf_done(&buf);
    }
    ck_assert_str_eq(json_fault(scanner)->message,
                     "more than 65536 members in one event; split it");
    ck_assert_str_eq(json_fault(scanner)->path, "key65536");
}
END_TEST

START_TEST(members_have_spans)
{
    AUTO(json_scanner_free) struct json_scanner *scanner = json_scanner_new(1);
    struct span text = SPAN_LITERAL(" { \"a\\n\" : { \"\\u0062\" : [ 1 , 2 ] } , \"c\":\"x\\t\"}");
    struct json_member member;

    json_open(scanner, text, 32);
    ck_assert_int_eq(json_peek(scanner), '{');
    ck_assert_uint_eq(json_offset(scanner), 1);
    json_object_begin(scanner);
    ck_assert_int_eq(json_object_next(scanner, &member), 1);
    ck_assert(span_is(member.name, "a\n"));
    ck_assert(span_is(member.raw, "a\\n"));
    ck_assert(member.has_escape);
    ck_assert_int_eq(member.value.type, JSON_TYPE_OBJECT);
    ck_assert(span_is(member.value.text, "{ \"\\u0062\" : [ 1 , 2 ] }"));
    ck_assert_uint_eq(member.value.space_bytes, 8);
    ck_assert_int_eq(json_object_next(scanner, &member), 1);
    ck_assert(span_is(member.name, "c"));
    ck_assert(!member.has_escape);
    ck_assert_int_eq(member.value.type, JSON_TYPE_STRING);
    ck_assert(member.value.has_escape);
    ck_assert_uint_eq(member.value.space_bytes, 0);
    ck_assert_int_eq(json_object_next(scanner, &member), 0);
    ck_assert_uint_eq(json_offset(scanner), text.len);
    ck_assert_int_eq(json_close(scanner), 0);
    ck_assert(!json_fault(scanner)->found);
}
END_TEST

START_TEST(elements_are_roots)
{
    AUTO(json_scanner_free) struct json_scanner *scanner = json_scanner_new(1);
    static const bool want_fault[] = { true, false, true, false };
    struct json_value value;
    size_t i = 0;

    json_open(scanner, SPAN_LITERAL("[{\"a\":1,\"a\":2},{\"a\":1},NaN,[[[]]]]"), 3);
    json_array_begin(scanner);
    while (json_array_next(scanner) > 0) {
        ck_assert_int_eq(json_scan(scanner, &value), 0);
        ck_assert_int_eq(json_fault(scanner)->found, want_fault[i++]);
    }
    ck_assert_uint_eq(i, LENGTH(want_fault));
    ck_assert_int_eq(json_close(scanner), 0);
}
END_TEST

START_TEST(position)
{
    struct span text = SPAN_LITERAL("ab\ncd\n\nx");
    static const uint32_t want[][2] = { { 1, 1 }, { 1, 2 }, { 1, 3 }, { 2, 1 }, { 2, 2 },
                                        { 2, 3 }, { 3, 1 }, { 4, 1 }, { 4, 2 } };
    uint32_t line, column;

    for (size_t offset = 0; offset <= text.len; offset++) {
        json_position(text, offset, &line, &column);
        ck_assert_uint_eq(line, want[offset][0]);
        ck_assert_uint_eq(column, want[offset][1]);
    }
}
END_TEST

static const struct {
    const char *raw, *want;
} unescape_cases[] = {
    { "", "" },
    { "abc", "abc" },
    { "\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t" },
    { "\\u0041\\u00e9\\u20AC", "A\xC3\xA9\xE2\x82\xAC" },
    { "x\\ud83d\\ude00y", "x\xF0\x9F\x98\x80y" },
    { "\\u0000", "\\u0000" },
    { "\\ud83d", "\\ud83d" },
    { "\\ud83d\\u0041", "\\ud83dA" },
    { "\\q", "\\q" },
    { "\\u12", "\\u12" },
    { "a\\", "a\\" },
};

START_TEST(unescape_case)
{
    AUTO(mem_free) char *text = xstrdup(unescape_cases[_i].raw);
    size_t len = json_unescape(text, span_of(text));

    ck_assert(span_is((struct span){ text, len }, unescape_cases[_i].want));
}
END_TEST

static const struct {
    const char *text, *want;
} quote_cases[] = {
    { "abc", "\"abc\"" },
    { "", "\"\"" },
    { "a\nb", "\"a?b\"" },
    { "0123456789012345678901234567890123456789012345678901234567890123",
      "\"0123456789012345678901234567890123456789012345678901234567890123\"" },
    { "01234567890123456789012345678901234567890123456789012345678901\xE2\x82\xAC",
      "\"01234567890123456789012345678901234567890123456789012345678901...\"" },
};

START_TEST(quote_case)
{
    ck_assert_str_eq(json_quote(span_of(quote_cases[_i].text)).text, quote_cases[_i].want);
}
END_TEST

enum { RANDOM_SEED = 20201231, RANDOM_ROUNDS = 200000, RANDOM_BYTES = 400 };

static uint32_t random_next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(*state >> 33);
}

static void random_value(struct buf *buf, uint64_t *state, unsigned depth)
{
    static const char *const scalars[] = {
        "0",
        "-1.5e3",
        "1e308",
        "\"\"",
        "\"abc\"",
        "\"\\u00e9\\n\"",
        "null",
        "true",
        "false",
        "\"\\ud83d\\ude00\"",
        "NaN",
        "01",
        "\"\xC3\xA9\"",
        "12345678901234567890",
        "\"a\\",
        "1e400",
        "\"0123456789abcdef0123\"",
        "\"\\u0000\"",
        "-",
        "\"\x01\"",
        "\"\xff\"",
    };
    static const char *const keys[] = { "a", "b", "\\u0061", "c d", "", "\\n", "x.y", "\xC3\xA9" };
    unsigned members = random_next(state) % 4;
    bool is_object = random_next(state) % 2;

    if (depth == 0 || random_next(state) % 3 == 0) {
        /* the unsound ones seldom, so that whole texts have a chance to be sound */
        buf_append_text(buf, scalars[random_next(state) % (random_next(state) % 8 ? 10 : 21)]);
        return;
    }
    buf_append_text(buf, is_object ? "{" : "[");
    for (unsigned i = 0; i < members; i++) {
        buf_append_text(buf, i ? (random_next(state) % 3 ? "," : " , ") : "");
        if (is_object)
            buf_append_fmt(buf, "\"%s\":", keys[random_next(state) % 8]);
        random_value(buf, state, depth - 1);
    }
    buf_append_text(buf, is_object ? "}" : random_next(state) % 5 ? "]" : " ]");
}

/* Texts made at random, whole and with a few bytes changed: the scanner and jansson agree. */
START_TEST(random_texts_agree)
{
    static const char bytes[] = "{}[]:,\"\\ \n\t-+.0123456789eEu\xC3\x80\xff\x01"
                                "aNnulltrue";
    size_t verdicts[3] = { 0 };
    uint64_t state = RANDOM_SEED;
    AUTO(buf_done) struct buf buf;

    buf_init(&buf, 1 << 20);
    for (int i = 0; i < RANDOM_ROUNDS; i++) {
        unsigned changes = random_next(&state) % 3;
        const char *difference;

        buf_clear(&buf);
        random_value(&buf, &state, 1 + random_next(&state) % 5);
        for (; changes > 0; changes--)
            buf.data[random_next(&state) % buf.len] =
                bytes[random_next(&state) % (sizeof(bytes) - 1)];
        difference = json_oracle_check(buf_span(&buf));
        ck_assert_msg(!difference, "seed %d, round %d: %s: %s", RANDOM_SEED, i, difference,
                      buf_text(&buf));
        verdicts[json_oracle_scan(buf_span(&buf))]++;
    }
    printf("seed %d: %zu sound, %zu faulty, %zu broken\n", RANDOM_SEED, verdicts[0], verdicts[1],
           verdicts[2]);
    for (size_t i = 0; i < LENGTH(verdicts); i++)
        ck_assert_uint_gt(verdicts[i], RANDOM_ROUNDS / 50);
}
END_TEST

Suite *json_suite(void); /* called from the table that tools/suites writes */

Suite *json_suite(void)
{
    Suite *suite = suite_create("metrics/json");
    TCase *tc = tcase_create("json");

    tcase_add_loop_test(tc, verdict_case, 0, LENGTH(verdict_cases));
    tcase_add_loop_test(tc, deep_case, 0, LENGTH(deep_cases));
    tcase_add_loop_test(tc, fault_case, 0, LENGTH(fault_cases));
    tcase_add_loop_test(tc, broken_case, 0, LENGTH(broken_cases));
    tcase_add_loop_test(tc, unescape_case, 0, LENGTH(unescape_cases));
    tcase_add_loop_test(tc, quote_case, 0, LENGTH(quote_cases));
    tcase_add_test(tc, deep_fault_is_told);
    tcase_add_test(tc, long_path_is_cut);
    tcase_add_test(tc, members_are_bounded);
    tcase_add_test(tc, members_have_spans);
    tcase_add_test(tc, elements_are_roots);
    tcase_add_test(tc, position);
    tcase_add_test(tc, random_texts_agree);
    suite_add_tcase(suite, tc);
    return suite;
}
