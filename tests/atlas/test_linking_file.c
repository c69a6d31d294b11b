#include "atlas/linking_file.h"

#include <check.h>

#include "base/buf.h"
#include "base/mem.h"

enum { DUMP_BYTES_MAX = 1 << 20 };

#define TABLES "hive_table_qualified_names"

/* A file in one line: NAME[table table]{key=value;key=value;} for each model. */
static void dump_file(struct buf *out, const struct linking_file *file)
{
    for (size_t i = 0; i < file->models_len; i++) {
        const struct linking_model *model = &file->models[i];

        buf_append_fmt(out, "%s%s[", i ? " " : "", model->name);
        for (size_t j = 0; j < model->tables_len; j++)
            buf_append_fmt(out, "%s%s", j ? " " : "", model->tables[j].qualified_name);
        buf_append_text(out, "]{");
        for (size_t j = 0; j < model->metadata_len; j++)
            buf_append_fmt(out, "%s=%s;", model->metadata[j].key, model->metadata[j].value);
        buf_append_char(out, '}');
    }
}

/* A line for each note. */
static void dump_notes(struct buf *out, const struct linking_notes *notes)
{
    for (size_t i = 0; i < notes->len; i++)
        buf_append_fmt(out, "%u:%u %s: %s\n", notes->items[i].line, notes->items[i].column,
                       notes->items[i].code, notes->items[i].message);
}

static int parse(struct linking_file *file, const char *text, struct linking_notes *notes,
                 struct err *err)
{
    const struct linking_source source = { "l.yml", span_of(text), LINKING_NAMESPACE_DEFAULT };

    return linking_file_parse(file, &source, notes, err);
}

static const struct {
    const char *name, *yaml, *want;
} good_cases[] = {
    { "as documented",
      "\"Churn\":\n"
      "  hive_table_qualified_names:                # this is a predefined key\n"
      "    - \"db.table1@namespace\"                # its tables\n"
      "    - \"db.table2@ns\"\n"
      "  metadata:\n"
      "    query: \"select id, name from table\"\n"
      "    training_file: \"fit.py\"\n",
      "Churn[db.table1@namespace db.table2@ns]{query=select id, name from table;"
      "training_file=fit.py;}" },
    { "two models", "A:\n  metadata:\n    a: b\nB:\n  " TABLES ":\n    - d.t@cm\n",
      "A[]{a=b;} B[d.t@cm]{}" },
    { "a list of models", "- A:\n    metadata: {a: b}\n- B:\n    metadata: {c: d}\n",
      "A[]{a=b;} B[]{c=d;}" },
    { "a list as PyYAML writes it",
      "- Sklearn 0412:\n    " TABLES ":\n    - default.t\n    metadata:\n      custom key: custom "
      "value\n",
      "Sklearn 0412[default.t@cm]{custom key=custom value;}" },
    { "a list of a mapping of two", "- A: {metadata: {a: b}}\n  B: {metadata: {c: d}}\n",
      "A[]{a=b;} B[]{c=d;}" },
    { "an empty list", "[]\n", "" },
    { "an empty mapping", "{}\n", "" },
    { "upper case, no namespace", "A:\n  " TABLES ": [DEFAULT.Telco_Churn, X.Y@Prod]\n",
      "A[default.telco_churn@cm x.y@Prod]{}" },
    { "comments only", "# nothing\n\n  # yet\n", "" },
    { "nothing", "", "" },
    { "an empty document", "---\n...\n", "" },
    { "null", "~\n", "" },
    { "metadata only", "A:\n  metadata:\n    a: b\n", "A[]{a=b;}" },
    { "tables only", "A:\n  " TABLES ":\n    - d.t@cm\n", "A[d.t@cm]{}" },
    { "tables without a value", "A:\n  " TABLES ":\n  metadata:\n    a: b\n", "A[]{a=b;}" },
    { "metadata without a value", "A:\n  " TABLES ":\n    - d.t@cm\n  metadata:\n", "A[d.t@cm]{}" },
    { "numbers and booleans stay as written",
      "A:\n  metadata:\n    f1-score: 0.990\n    big: 1e22\n    octal: 0777\n    yes: no\n"
      "    on: True\n    7: 2020-01-01\n    quoted: 'null'\n",
      "A[]{f1-score=0.990;big=1e22;octal=0777;yes=no;on=True;7=2020-01-01;quoted=null;}" },
    { "empty text in quotes", "A:\n  metadata:\n    a: ''\n", "A[]{a=;}" },
    { "flow style", "{ \"Model w/ spaces & slashes\": {\"" TABLES "\": [\"d.a@cm\", \"d.b@cm\"]} }",
      "Model w/ spaces & slashes[d.a@cm d.b@cm]{}" },
    { "JSON without blanks", "{\"A\":{\"" TABLES "\":[\"d.a@cm\"],\"metadata\":{\"a\":\"b\"}}}",
      "A[d.a@cm]{a=b;}" },
    { "trailing blanks, a last line of blanks",
      "A:   \n  " TABLES ":  \n    - d.t@cm   \n  metadata:  \n    a: b   \n   ",
      "A[d.t@cm]{a=b;}" },
    { "odd indents",
      "A:\n        " TABLES ":\n            - d.t@cm\n        metadata:\n         a: b\n"
      "B:\n metadata:\n   a: b\n",
      "A[d.t@cm]{a=b;} B[]{a=b;}" },
    { "a sequence not indented", "A:\n  " TABLES ":\n  - d.t@cm\n  - d.u@cm\n",
      "A[d.t@cm d.u@cm]{}" },
    { "odd names",
      "1:\n  metadata: {a: b}\nModel 2 v1.0 / x & y:\n  metadata: {a: b}\n\"it's: #1\":\n"
      "  metadata: {a: b}\nMod\xC3\xA8le:\n  metadata: {a: b}\n",
      "1[]{a=b;} Model 2 v1.0 / x & y[]{a=b;} it's: #1[]{a=b;} Mod\xC3\xA8le[]{a=b;}" },
    { "CR LF", "A:\r\n  " TABLES ":\r\n    - d.t@cm\r\n", "A[d.t@cm]{}" },
    { "a byte order mark",
      "\xEF\xBB\xBF"
      "A:\n  metadata: {a: b}\n",
      "A[]{a=b;}" },
    { "block scalars",
      "A:\n  metadata:\n    q: |\n      select a\n      from b\n    r: >-\n"
      "      x\n      y\n",
      "A[]{q=select a\nfrom b\n;r=x y;}" },
    { "blanks around a table in quotes", "A:\n  " TABLES ": [\" d.t@cm \"]\n", "A[d.t@cm]{}" },
    { "an alias, as PyYAML writes lists that are the same",
      "A:\n  " TABLES ": &id001\n  - d.t@cm\n  - d.u@cm\nB:\n  " TABLES ": *id001\n",
      "A[d.t@cm d.u@cm]{} B[d.t@cm d.u@cm]{}" },
    { "an anchor that is given twice", "A: {metadata: {a: &x b, c: &x d, e: *x}}\n",
      "A[]{a=b;c=d;e=d;}" },
    { "an alias as a key", "A: {metadata: {&x a: b}}\nB: {metadata: {*x : c}}\n",
      "A[]{a=b;} B[]{a=c;}" },
    { "tags of YAML's own", "!!map A: !!map\n  metadata: {a: !!str 1, b: !!float 0.5}\n",
      "A[]{a=1;b=0.5;}" },
    { "a marked end", "%YAML 1.1\n---\nA: {metadata: {a: b}}\n...\n", "A[]{a=b;}" },
    { "metadata that looks like our keys",
      "A:\n  metadata:\n    " TABLES ": x\n    metadata: y\n    plumblines: z\n",
      "A[]{" TABLES "=x;metadata=y;plumblines=z;}" },
};

START_TEST(good_case)
{
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(linking_file_done) struct linking_file file = { 0 };
    AUTO(buf_done) struct buf got = { .max = DUMP_BYTES_MAX };
    struct err err = { 0 };

    ck_assert_msg(parse(&file, good_cases[_i].yaml, &notes, &err) == 0, "%s: %s",
                  good_cases[_i].name, err.text);
    dump_file(&got, &file);
    dump_notes(&got, &notes);
    ck_assert_msg(strcmp(buf_text(&got), good_cases[_i].want) == 0, "%s: %s", good_cases[_i].name,
                  buf_text(&got));
}
END_TEST

/* Files that are taken with warnings. */
static const struct {
    const char *name, *yaml, *want, *warnings;
} warn_cases[] = {
    { "tables directly below the model", "A:\n  - d.t@cm\n  - d.u\n", "A[d.t@cm d.u@cm]{}",
      "2:3 tables_without_key: a list stands directly below the model and is taken for its tables; "
      "put it below hive_table_qualified_names\n" },
    { "unknown keys", "A:\n  " TABLES ": [d.t@cm]\n  version: 1\n  Metadata:\n    a: [b]\n",
      "A[d.t@cm]{}",
      "3:3 unknown_key: \"version\" is ignored; a model has hive_table_qualified_names and "
      "metadata\n"
      "4:3 unknown_key: \"Metadata\" is ignored; a model has hive_table_qualified_names and "
      "metadata\n" },
    { "only unknown keys", "source:\n  type: datahub-lineage-file\n  config:\n    file: x\n",
      "source[]{}",
      "2:3 unknown_key: \"type\" is ignored; a model has hive_table_qualified_names and metadata\n"
      "3:3 unknown_key: \"config\" is ignored; a model has hive_table_qualified_names and "
      "metadata\n"
      "1:1 model_empty: \"source\" has neither tables nor metadata\n" },
    { "a name alone", "A:\n", "A[]{}", "1:1 model_empty: \"A\" has neither tables nor metadata\n" },
    { "empty keys", "A: {metadata: {}, " TABLES ": []}\n", "A[]{}",
      "1:1 model_empty: \"A\" has neither tables nor metadata\n" },
    { "a table without a database", "A:\n  " TABLES ":\n    - a@cm\n    - b\n", "A[a@cm b@cm]{}",
      "3:7 table_without_database: \"a@cm\" names no database; a table is named "
      "db.table@namespace\n"
      "4:7 table_without_database: \"b\" names no database; a table is named "
      "db.table@namespace\n" },
    { "a column", "A:\n  " TABLES ":\n    - d.t.c@cm\n", "A[d.t.c@cm]{}",
      "3:7 table_with_more_parts: \"d.t.c@cm\" has more than two parts; a table is named "
      "db.table@namespace\n" },
    { "a table twice", "A:\n  " TABLES ":\n    - d.t@cm\n    - D.T\nB:\n  " TABLES ": [d.t]\n",
      "A[d.t@cm]{} B[d.t@cm]{}", "4:7 table_repeated: \"d.t@cm\" stands in line 3 already\n" },
    { "metadata without values", "A:\n  metadata:\n    a:\n    b: ~\n    c: null\n",
      "A[]{a=;b=;c=;}",
      "3:5 metadata_without_value: metadata \"a\" has no value and becomes empty text\n"
      "4:5 metadata_without_value: metadata \"b\" has no value and becomes empty text\n"
      "5:5 metadata_without_value: metadata \"c\" has no value and becomes empty text\n" },
    { "a lost quote", "Model 7\":\n  metadata: {a: b}\n", "Model 7\"[]{a=b;}",
      "1:1 stray_quote: the name \"Model 7\"\" has a quote at one end only, which belongs to the "
      "name\n" },
};

START_TEST(warn_case)
{
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(linking_file_done) struct linking_file file = { 0 };
    AUTO(buf_done) struct buf got = { .max = DUMP_BYTES_MAX };
    struct err err = { 0 };

    ck_assert_msg(parse(&file, warn_cases[_i].yaml, &notes, &err) == 0, "%s: %s",
                  warn_cases[_i].name, err.text);
    dump_file(&got, &file);
    ck_assert_str_eq(buf_text(&got), warn_cases[_i].want);
    buf_clear(&got);
    dump_notes(&got, &notes);
    ck_assert_str_eq(buf_text(&got), warn_cases[_i].warnings);
    ck_assert_uint_eq(notes.warnings, notes.len);
    ck_assert_uint_eq(notes.errors, 0);
}
END_TEST

/* Files that are refused; each is refused for one reason. */
static const struct {
    const char *name, *yaml, *want;
} refuse_cases[] = {
    { "text behind a closed quote, as careless appending leaves it",
      "A:\n  metadata:\n    query: \"select 1\"\n    training_file: \"fit.py\"\"Next model\":\n "
      " " TABLES ":\n    - d.t@cm\n",
      "4:28: text behind the end of a value; begin a new line here" },
    { "the same behind a table", "A:\n  " TABLES ":\n    - \"d.t@cm\"\"B\":\n  metadata:\n",
      "3:15: text behind the end of a value; begin a new line here" },
    { "the same without quotes", "A:\n  " TABLES ":\n    - d.t@cm\"B\":\n",
      "3:7: expected a table (db.table@namespace), not a mapping" },
    { "the same behind a plain value",
      "A:\n  metadata:\n    training_file: fit.py\"B\":\n  metadata: {a: b}\n",
      "3:29: a colon too many; put a text that holds `: ` in quotes, or give the line above its "
      "colon" },
    { "the same in flow style", "{A: {metadata: {a: b}}}{B: {metadata: {a: b}}}\n",
      "1:24: the file is complete before this; one mapping or list holds all models" },
    { "the same in a line of its own", "{A: {metadata: {a: b}}}\nB:\n  metadata: {a: b}\n",
      "2:1: the file is complete before this; one mapping or list holds all models" },
    { "a list, then a mapping", "- A:\n    metadata: {a: b}\nB:\n  metadata: {a: b}\n",
      "3:1: expected `- `, as the others have it in the list that begins in line 1, column 1" },
    { "a mapping, then a list", "A:\n  metadata: {a: b}\n- B:\n    metadata: {a: b}\n",
      "3:1: this item belongs to no list above it; indent it as the others" },
    { "a tab", "A:\n\tmetadata:\n", "2:1: a tab; indent with blanks" },
    { "a tab among blanks", "A:\n  metadata:\n  \t  a: b\n", "3:3: a tab; indent with blanks" },
    { "a colon in a plain text", "A:\n  metadata:\n    q: select a: b\n",
      "3:16: a colon too many; put a text that holds `: ` in quotes, or give the line above its "
      "colon" },
    { "no colon behind the name", "A\n  metadata:\n    a: b\n",
      "2:11: a colon too many; put a text that holds `: ` in quotes, or give the line above its "
      "colon" },
    { "no colon behind a key", "A:\n  metadata:\n    a: b\n    c\n    d: e\n",
      "4:5: a colon is missing behind this" },
    { "no blank behind the colon", "\"A\":\"b\"\n", "1:4: a colon needs a blank behind it" },
    { "no blank behind the colons of metadata", "A:\n  metadata:\n    q:1\n    r:2\n",
      "3:5: metadata takes lines of the form `key: value`, with a blank behind the colon and no `- "
      "` in front" },
    { "a quote that is not closed", "A:\n  metadata:\n    q: \"abc\n    b: c\n",
      "3:8: the quote that opens here is never closed" },
    { "a quote that is not closed before a document ends",
      "A:\n  metadata:\n    q: \"abc\n---\nB:\n",
      "3:8: the quote that opens here is not closed before a line of `---` or `...`" },
    { "a quote inside quotes", "A:\n  metadata:\n    q: 'it's'\n",
      "3:12: text behind the end of a value; begin a new line here" },
    { "a backslash in double quotes", "A:\n  metadata:\n    q: \"C:\\path\"\n",
      "3:11: not an escape of a text in double quotes; write \\\\ for a backslash, or use single "
      "quotes" },
    { "an escape without its digits", "A:\n  metadata:\n    q: \"\\xg1\"\n",
      "3:11: \\x, \\u and \\U take 2, 4 and 8 hexadecimal digits" },
    { "an escape of half a character", "A:\n  metadata:\n    q: \"\\ud800\"\n",
      "3:11: this escape is no character; correct it" },
    { "a value that begins with @", "A:\n  " TABLES ":\n    - @cm\n",
      "3:7: a text can't begin with \"@\"; put it in quotes" },
    { "a value that begins with %", "A:\n  metadata:\n    q: %x\n",
      "3:8: a text can't begin with \"%\"; put it in quotes" },
    { "a value that begins with a backquote", "A:\n  " TABLES ":\n    - `d`.`t`\n",
      "3:7: a text can't begin with \"`\"; put it in quotes" },
    { "a value that is a star", "A:\n  metadata:\n    q: *\n",
      "3:8: a text can't begin with \"*\"; put it in quotes" },
    { "a value that begins with a star", "A:\n  metadata:\n    q: *.csv\n",
      "3:8: a text can't begin with \"*\"; put it in quotes" },
    { "a value that begins with !", "A:\n  metadata:\n    q: !important!x y\n",
      "3:8: a text can't begin with \"!\"; put it in quotes" },
    { "indented less than its neighbours", "A:\n  metadata:\n    q: 1\n   r: 2\n",
      "4:4: this line fits none above it; indent it as its neighbours, as `key: value`" },
    { "a table indented less than the others", "A:\n  " TABLES ":\n    - d.a\n   - d.b\n",
      "4:4: this item belongs to no list above it; indent it as the others" },
    { "a list that is not closed", "A:\n  " TABLES ": [d.a, d.b\nB:\n  metadata: {a: b}\n",
      "3:2: expected a `,` or `]` in the list that opens in line 2, column 31" },
    { "a list that ends with the file", "A:\n  " TABLES ": [d.a,\n",
      "3:1: a value is missing here, or a bracket is not closed" },
    { "a mapping that is not closed", "A: {metadata: {a: b]}\n",
      "1:20: expected a `,` or `}` in the mapping that opens in line 1, column 15" },
    { "a bracket that opens nothing", "}\n",
      "1:1: a value is missing here, or a bracket is not closed" },
    { "a key over two lines", "\"A\n  B\":\n  metadata: {a: b}\n",
      "2:5: a colon too many; put a text that holds `: ` in quotes, or give the line above its "
      "colon" },
    { "marks of a merge", "<<<<<<< HEAD\nA: {metadata: {a: b}}\n=======\n",
      "2:2: a colon too many; put a text that holds `: ` in quotes, or give the line above its "
      "colon" },
    { "Latin-1", "A:\n  metadata:\n    q: caf\351\n", "3:11: not UTF-8; save the file as UTF-8" },
    { "UTF-8 that is cut off", "A:\n  metadata:\n    \303\251: \303",
      "3:8: not UTF-8; save the file as UTF-8" },
    { "UTF-16", "\377\376A", "1:1: UTF-16; save the file as UTF-8" },
    { "a control character", "A:\n  metadata:\n    q: a\001b\n",
      "3:9: a control character; remove it" },
    { "an escaped zero byte", "A:\n  metadata:\n    q: \"a\\0b\"\n",
      "3:8: this text holds a zero byte; remove it" },
    { "two documents", "A: {metadata: {a: b}}\n---\nB: {metadata: {a: b}}\n",
      "2:1: a second document begins here; put all models into one" },
    { "a document mark at the end", "A: {metadata: {a: b}}\n---\n",
      "2:1: a second document begins here; put all models into one" },
    { "a directive of another YAML", "%YAML 1.9\n---\nA:\n",
      "1:1: not YAML 1.1 or 1.2; remove the line %YAML" },
    { "deeper than can be", "A: [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]\n",
      "1:19: nested deeper than 16 levels; a linking file needs 4" },
    { "an alias of nothing", "A:\n  " TABLES ": *tables\n",
      "2:31: nothing above is anchored as &tables; put a text that begins with `*` in quotes" },
    { "an alias inside its anchor", "A: &x [*x]\n",
      "1:8: this alias stands inside what it stands for; write the value out" },
    { "an alias of the whole inside it", "&x\nA: {metadata: *x}\n",
      "2:15: this alias stands inside what it stands for; write the value out" },
    { "a merge key", "A: &x\n  metadata: {a: b}\nB:\n  <<: *x\n",
      "4:3: merge keys (<<) are not understood; write the lines out" },
    { "a tag of somebody's", "A: !!python/tuple [d.t@cm]\n",
      "1:4: the tag !!python/tuple means nothing here; remove it" },
    { "binary", "A: {metadata: {a: !!binary aGk=}}\n",
      "1:19: the tag !!binary means nothing here; remove it" },
    { "a tag with an escaped line feed", "A: !a%0Ab x\n",
      "1:4: the tag !a?b means nothing here; remove it" },
    { "a text alone", "hello\n",
      "1:1: expected the name of a model with a colon behind it, not \"hello\"" },
    { "a list of texts", "- A\n",
      "1:3: expected the name of a model with a colon behind it in each item of this list" },
    { "a list of lists", "- [A]\n",
      "1:3: expected the name of a model with a colon behind it in each item of this list" },
    { "a list with a gap", "- A: {metadata: {a: b}}\n-\n",
      "2:2: expected the name of a model with a colon behind it in each item of this list" },
    { "a mapping as name", "? {a: b}\n: metadata: {a: b}\n",
      "1:3: a model's name must be one text, not a list or a mapping" },
    { "a name that is empty", "\"\": {metadata: {a: b}}\n",
      "1:1: a model's name must not be empty" },
    { "a model repeated",
      "A: {metadata: {a: b}}\nB: {metadata: {a: b}}\n\"A\": {metadata: {c: d}}\n",
      "3:1: model \"A\" is repeated; it stands in line 1 already" },
    { "a model repeated in a list", "- A: {metadata: {a: b}}\n- A: {metadata: {c: d}}\n",
      "2:3: model \"A\" is repeated; it stands in line 1 already" },
    { "keys not indented", "A:\n" TABLES ":\n  - d.t@cm\n",
      "2:1: \"hive_table_qualified_names\" stands where the name of a model is expected; indent it "
      "below the model that it belongs to" },
    { "keys not indented in a list", "- A:\n  metadata: {a: b}\n",
      "2:3: \"metadata\" stands where the name of a model is expected; indent it below the model "
      "that it belongs to" },
    { "a text for a model", "version: 1\n",
      "1:10: expected hive_table_qualified_names and metadata, indented below the model's name, "
      "not \"1\"" },
    { "an unrelated file", "lineage:\n  - entity:\n      name: x\n",
      "2:5: expected a table (db.table@namespace), not a mapping" },
    { "tables that are one text", "A:\n  " TABLES ": d.t@cm\n",
      "2:31: hive_table_qualified_names takes a list; begin the line of each table with `- `" },
    { "tables that are a mapping", "A:\n  " TABLES ":\n    d.t@cm: x\n",
      "3:5: hive_table_qualified_names takes a list; begin the line of each table with `- `" },
    { "tables repeated", "A:\n  " TABLES ": [d.t]\n  metadata: {a: b}\n  " TABLES ": [d.u]\n",
      "4:3: \"hive_table_qualified_names\" is repeated; it stands in line 2 already" },
    { "a table that is a list", "A:\n  " TABLES ":\n    - - d.t@cm\n",
      "3:7: expected a table (db.table@namespace), not a list" },
    { "a table that is missing", "A:\n  " TABLES ":\n    -\n",
      "3:6: an item without a table; name one or remove the item" },
    { "a table that is empty", "A:\n  " TABLES ": [\"\"]\n",
      "2:32: a table's name must not be empty" },
    { "a table of blanks", "A:\n  " TABLES ": [\"  \"]\n",
      "2:32: \"\" lacks a part of its name; a table is named db.table@namespace" },
    { "two tables in one", "A:\n  " TABLES ":\n    - \"d.t@cm, d.u@cm\"\n",
      "3:7: \"d.t@cm, d.u@cm\" holds a comma; a table is named db.table@namespace, each an item of "
      "its own" },
    { "a blank in a table", "A:\n  " TABLES ":\n    - d.t x@cm\n",
      "3:7: \"d.t x@cm\" holds a blank; a table is named db.table@namespace, each an item of its "
      "own" },
    { "a quote in a table", "A:\n  " TABLES ":\n    - d.`t`@cm\n",
      "3:7: \"d.`t`@cm\" holds a quote; a table is named db.table@namespace, each an item of its "
      "own" },
    { "a table without a namespace behind @", "A:\n  " TABLES ":\n    - d.t@\n",
      "3:7: \"d.t@\" has nothing behind its @; a table is named db.table@namespace" },
    { "two namespaces", "A:\n  " TABLES ":\n    - d.t@cm@cm\n",
      "3:7: \"d.t@cm@cm\" has more than one @; a table is named db.table@namespace" },
    { "a namespace alone", "A:\n  " TABLES ":\n    - \"@cm\"\n",
      "3:7: \"@cm\" lacks a part of its name; a table is named db.table@namespace" },
    { "no database in front of the dot", "A:\n  " TABLES ":\n    - .t@cm\n",
      "3:7: \".t@cm\" lacks a part of its name; a table is named db.table@namespace" },
    { "no table behind the dot", "A:\n  " TABLES ":\n    - d.@cm\n",
      "3:7: \"d.@cm\" lacks a part of its name; a table is named db.table@namespace" },
    { "two dots", "A:\n  " TABLES ":\n    - d..t\n",
      "3:7: \"d..t\" lacks a part of its name; a table is named db.table@namespace" },
    { "a long table in the message",
      "A:\n  " TABLES
      ":\n    - xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxy,\n",
      "3:7: \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...\" holds a comma; "
      "a table is named db.table@namespace, each an item of its own" },
    { "a control character in the message", "A:\n  " TABLES ":\n    - \"a\\n\\x7f\\e\"\n",
      "3:7: \"a???\" holds a blank; a table is named db.table@namespace, each an item of its own" },
    { "metadata that is a text", "A:\n  metadata: fit.py\n",
      "2:13: metadata takes lines of the form `key: value`, with a blank behind the colon and no "
      "`- ` in front" },
    { "metadata that is a list", "A:\n  metadata:\n    - a: b\n",
      "3:5: metadata takes lines of the form `key: value`, with a blank behind the colon and no `- "
      "` in front" },
    { "metadata repeated", "A: {metadata: {a: b}, metadata: {c: d}}\n",
      "1:23: \"metadata\" is repeated; it stands in line 1 already" },
    { "a metadata key repeated", "A:\n  metadata:\n    a: b\n    \"a\": c\n",
      "4:5: metadata \"a\" is repeated; it stands in line 3 already" },
    { "a metadata key that is empty", "A: {metadata: {\"\": b}}\n",
      "1:16: a metadata key must not be empty" },
    { "a metadata key that is a list", "A: {metadata: {[a]: b}}\n",
      "1:16: a metadata key must be one text, not a list or a mapping" },
    { "a metadata key of ours", "A: {metadata: {plumbline.source: b}}\n",
      "1:16: metadata keys that begin with plumbline. are Plumbline's own; rename it" },
    { "metadata of a list", "A:\n  metadata:\n    tags: [a, b]\n",
      "3:11: metadata \"tags\" takes one text; put a list or a mapping in quotes" },
    { "metadata of a mapping", "A:\n  metadata:\n    params:\n      depth: 3\n",
      "4:7: metadata \"params\" takes one text; put a list or a mapping in quotes" },
    { "a key that is a list", "A: {[metadata]: {a: b}}\n",
      "1:5: a key must be one text, not a list or a mapping" },
    { "a list in the line of its key", "A:\n  " TABLES ": - d.t@cm\n",
      "2:31: a list can't begin here; begin a new line in front of its `- `" },
    { "a question mark in a value", "A:\n  metadata:\n    q: ? x\n",
      "3:8: a text can't begin with `? `; put it in quotes" },
    { "a value that begins with >", "A:\n  metadata:\n    q: >5 years\n",
      "3:8: a text can't begin with \">\"; put it in quotes" },
    { "a value that begins with |", "A:\n  metadata:\n    q: |x|\n",
      "3:8: a text can't begin with \"|\"; put it in quotes" },
    { "a value that begins with &", "A:\n  metadata:\n    q: & co\n",
      "3:8: a text can't begin with \"&\"; put it in quotes" },
    { "a value that begins with ! and a quote", "A:\n  metadata:\n    q: !\"x\"\n",
      "3:8: a text can't begin with \"!\"; put it in quotes" },
    { "a directive", "%x\nA:\n", "1:1: a text can't begin with \"%\"; put it in quotes" },
    { "a tag of one's own", "A: !x [d.t@cm]\n", "1:4: the tag !x means nothing here; remove it" },
    { "a block of a wrong indent", "A:\n  metadata:\n    q: |0\n      a\n",
      "3:9: no indent of 1 to 9; leave the digit out" },
    { "a tag with an odd escape", "A: !%zz x\n",
      "1:4: a text can't begin with \"!\"; put it in quotes" },
    { "a tab behind a dash", "-\tA:\n    metadata: {a: b}\n", "1:2: a tab; indent with blanks" },
};

START_TEST(refuse_case)
{
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(linking_file_done) struct linking_file file = { 0 };
    AUTO(mem_free) char *want = xasprintf("l.yml:%s", refuse_cases[_i].want);
    const struct linking_note *note;
    struct err err = { 0 };

    ck_assert_msg(parse(&file, refuse_cases[_i].yaml, &notes, &err) == -1, "%s: taken",
                  refuse_cases[_i].name);
    ck_assert_str_eq(err.text, want);
    ck_assert_int_eq(err.kind, ERR_INPUT);
    ck_assert_uint_eq(file.models_len, 0);
    ck_assert_uint_eq(notes.errors, 1);
    note = &notes.items[notes.len - 1];
    ck_assert(note->is_error);
    ck_assert_str_eq(note->code, "invalid_linking_file");
    mem_free(TAKE(want));
    want = xasprintf("l.yml:%u:%u: %s", note->line, note->column, note->message);
    ck_assert_str_eq(err.text, want);
}
END_TEST

static struct linking_notes parse_notes(const char *text)
{
    AUTO(linking_file_done) struct linking_file file = { 0 };
    struct linking_notes notes = { 0 };
    struct err err = { 0 };

    (void)parse(&file, text, &notes, &err);
    return notes;
}

START_TEST(every_error_is_told)
{
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(linking_file_done) struct linking_file file = { 0 };
    AUTO(buf_done) struct buf got = { .max = DUMP_BYTES_MAX };
    struct err err = { 0 };

    ck_assert_int_eq(parse(&file,
                           "A:\n  - a b\n  - c\nB: x\n\"C\": {metadata: {a: [b]}}\n"
                           "B: {version: 1}\n",
                           &notes, &err),
                     -1);
    dump_notes(&got, &notes);
    ck_assert_str_eq(
        buf_text(&got),
        "2:3 tables_without_key: a list stands directly below the model and is taken for its "
        "tables; put it below hive_table_qualified_names\n"
        "2:5 invalid_linking_file: \"a b\" holds a blank; a table is named db.table@namespace, "
        "each an item of its own\n"
        "3:5 table_without_database: \"c\" names no database; a table is named "
        "db.table@namespace\n"
        "4:4 invalid_linking_file: expected hive_table_qualified_names and metadata, indented "
        "below the model's name, not \"x\"\n"
        "5:21 invalid_linking_file: metadata \"a\" takes one text; put a list or a mapping in "
        "quotes\n"
        "6:1 invalid_linking_file: model \"B\" is repeated; it stands in line 4 already\n");
    ck_assert_str_eq(err.text, "l.yml:2:5: \"a b\" holds a blank; a table is named "
                               "db.table@namespace, each an item of its own");
    ck_assert_uint_eq(notes.errors, 4);
    ck_assert_uint_eq(notes.warnings, 2);
    ck_assert_uint_eq(file.models_len, 0);
}
END_TEST

/* An error is kept however many warnings stand before it. */
START_TEST(notes_have_a_limit)
{
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(buf_done) struct buf text = { .max = DUMP_BYTES_MAX };

    for (int i = 0; i < 1000; i++)
        buf_append_fmt(&text, "m%d: {x: y, metadata: {a: b}}\n", i);
    for (int i = 0; i < 1000; i++)
        buf_append_fmt(&text, "n%d: x\n", i);
    notes = parse_notes(buf_text(&text));
    ck_assert_uint_eq(notes.warnings, 1000);
    ck_assert_uint_eq(notes.errors, 1000);
    ck_assert_uint_eq(notes.len, 2 * LINKING_NOTES_MAX);
    ck_assert(!notes.items[99].is_error && notes.items[100].is_error);
    ck_assert_uint_eq(notes.items[100].line, 1001);
    linking_notes_done(&notes);
    linking_notes_done(&notes); /* done twice is done */
}
END_TEST

START_TEST(entries_know_their_place)
{
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(linking_file_done) struct linking_file file = { 0 };
    const struct linking_model *model;
    struct err err = { 0 };

    ck_assert_int_eq(parse(&file,
                           "A:\n  " TABLES ": &x\n    - d.t@cm\n    - d.u@cm\n"
                           "\xC3\xA9\xC3\xA9: {" TABLES ": [\"\xC3\xA9.t\", d.v]}\n"
                           "B: {" TABLES ": *x}\n",
                           &notes, &err),
                     0);
    model = linking_file_find(&file, "A");
    ck_assert_ptr_nonnull(model);
    ck_assert_uint_eq(model->line, 1);
    ck_assert_uint_eq(model->column, 1);
    ck_assert_uint_eq(model->tables[1].line, 4);
    ck_assert_uint_eq(model->tables[1].column, 7);
    model = linking_file_find(&file, "\xC3\xA9\xC3\xA9");
    ck_assert_uint_eq(model->line, 5);
    ck_assert_uint_eq(model->tables[1].column, 42); /* in characters */
    ck_assert_str_eq(model->tables[0].qualified_name, "\xC3\xA9.t@cm");
    ck_assert_uint_eq(linking_file_find(&file, "B")->tables[0].line, 3); /* where it is written */
    ck_assert_ptr_null(linking_file_find(&file, "a"));
    ck_assert_ptr_null(linking_file_find(&file, ""));
}
END_TEST

START_TEST(namespace_completes_tables)
{
    const struct linking_source source = { "l.yml", SPAN_LITERAL("A: [D.T, d.u@cm, d.T@Prod, d.t]"),
                                           "Prod" };
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(linking_file_done) struct linking_file file = { 0 };
    AUTO(buf_done) struct buf got = { .max = DUMP_BYTES_MAX };
    struct err err = { 0 };

    ck_assert_int_eq(linking_file_parse(&file, &source, &notes, &err), 0);
    dump_file(&got, &file);
    ck_assert_str_eq(buf_text(&got), "A[d.t@Prod d.u@cm]{}");
}
END_TEST

START_TEST(absent_text_is_an_empty_file)
{
    const struct linking_source source = { .name = "l.yml", .name_space = "cm" };
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(linking_file_done) struct linking_file file = { 0 };
    struct err err = { 0 };

    ck_assert_int_eq(linking_file_parse(&file, &source, &notes, &err), 0);
    ck_assert_uint_eq(file.models_len, 0);
    ck_assert_uint_eq(notes.len, 0);
}
END_TEST

/* The two mismatches of a file and the models that there are. */
static const struct {
    const char *name, *yaml, *model;
    const char *const models[3];
    const char *want;
} mismatch_cases[] = {
    { "in the file", "A: [d.t]\n", "A", { "A", "B" }, "" },
    { "not in the file",
      "\n  A: [d.t]\n  \"B b\": [d.t]\n",
      "C",
      { "A", "B b", "C" },
      "2:3 model_not_in_file: model \"C\" has no entry (the file has \"A\", \"B b\"); add one to "
      "say what trained it\n" },
    { "not in a long file",
      "{A: [d.t], B: [d.t], C: [d.t], D: [d.t], E: [d.t]}",
      "F",
      { NULL },
      "1:2 model_not_in_file: model \"F\" has no entry (the file has \"A\", \"B\", \"C\" and 2 "
      "more); add one to say what trained it\n"
      "1:2 entry_without_model: \"A\" is the name of no model; rename the entry or remove it\n"
      "1:12 entry_without_model: \"B\" is the name of no model; rename the entry or remove it\n"
      "1:22 entry_without_model: \"C\" is the name of no model; rename the entry or remove it\n"
      "1:32 entry_without_model: \"D\" is the name of no model; rename the entry or remove it\n"
      "1:42 entry_without_model: \"E\" is the name of no model; rename the entry or remove it\n" },
    { "not in an empty file",
      "# none\n",
      "A",
      { "A" },
      "1:1 model_not_in_file: model \"A\" has no entry (the file has none); add one to say what "
      "trained it\n" },
    { "with another case",
      "X: [d.t]\nchurn Model: [d.t]\n",
      "Churn model",
      { "X", "Churn model" },
      "2:1 model_not_in_file: model \"Churn model\" has no entry, but \"churn Model\" has: capital "
      "and small letters must be the same in both\n"
      "2:1 entry_without_model: \"churn Model\" is the name of no model; rename the entry or "
      "remove it\n" },
    { "an entry of no model",
      "A: [d.t]\nB: [d.t]\n",
      "A",
      { "A" },
      "2:1 entry_without_model: \"B\" is the name of no model; rename the entry or remove it\n" },
};

START_TEST(mismatch_case)
{
    AUTO(linking_notes_done) struct linking_notes all = { 0 }, notes = { 0 };
    AUTO(linking_file_done) struct linking_file file = { 0 };
    AUTO(buf_done) struct buf got = { .max = DUMP_BYTES_MAX };
    struct err err = { 0 };
    size_t len = 0;

    ck_assert_int_eq(parse(&file, mismatch_cases[_i].yaml, &all, &err), 0);
    while (len < 3 && mismatch_cases[_i].models[len])
        len++;
    linking_file_check_model(&file, mismatch_cases[_i].model, &notes);
    linking_file_check_entries(&file, mismatch_cases[_i].models, len, &notes);
    dump_notes(&got, &notes);
    ck_assert_msg(strcmp(buf_text(&got), mismatch_cases[_i].want) == 0, "%s: %s",
                  mismatch_cases[_i].name, buf_text(&got));
    ck_assert_uint_eq(notes.errors, 0);
}
END_TEST

/* A text of `count` times `part`, which may hold the number (or only the end of it). */
static void repeat(struct buf *text, int count, const char *part)
{
    for (int i = 0; i < count; i++) {
        const char *at = strchr(part, '#');

        if (at)
            buf_append_fmt(text, "%.*s%d%s", (int)(at - part), part, i, at + 1);
        else
            buf_append_text(text, part);
    }
}

/* Files that are larger than any should be, or would be if all that they say were written out. */
static const struct {
    const char *name;
    const char *head, *part, *tail;
    int parts;
    const char *want; /* NULL: it is just small enough */
} limit_cases[] = {
    { "as large as can be", "A: [d.t] #", "x", "\n", LINKING_FILE_BYTES_MAX - 11, NULL },
    { "a byte too large", "A: [d.t] #", "x", "\n", LINKING_FILE_BYTES_MAX - 10,
      "l.yml:1:1: larger than 1048576 bytes; split the file" },
    { "a hundred thousand values", "A: [", "b,", "]", 99996,
      "l.yml:1:40003: more than 20000 models, keys and tables; split the file" },
    { "more values", "A: [", "b,", "]", 100000,
      "l.yml:1:199997: more than 100000 values; split the file" },
    { "as many tables as can be", "A: [", "d.t#,", "]", LINKING_ITEMS_MAX - 1, NULL },
    { "a table too many", "A: [\n", "d.t#,\n", "]", LINKING_ITEMS_MAX,
      "l.yml:20001:1: more than 20000 models, keys and tables; split the file" },
    { "a table too many, and more behind it", "A:\n  " TABLES ": [", "d.t#,",
      "]\n  metadata: {a: b}\nB: [d.t]\n", LINKING_ITEMS_MAX,
      "l.yml:2:168904: more than 20000 models, keys and tables; split the file" },
    { "as many models as can be", "", "m#: [d.t]\n", "", LINKING_ITEMS_MAX / 2, NULL },
    { "a model too many", "", "m#: [d.t]\n", "", LINKING_ITEMS_MAX / 2 + 1,
      "l.yml:10001:1: more than 20000 models, keys and tables; split the file" },
    { "a list by many aliases", "A: &x [d.a, d.b, d.c]\n", "m#: *x\n", "", 5000,
      "l.yml:5001:1: more than 20000 models, keys and tables; split the file" },
    { "a name of 1024 bytes", "? ", "x", "\n: [d.t]\n", LINKING_NAME_BYTES_MAX, NULL },
    { "a name of 1025 bytes", "? ", "x", "\n: [d.t]\n", LINKING_NAME_BYTES_MAX + 1,
      "l.yml:1:3: a model's name must have at most 1024 bytes, not 1025" },
    { "a table of 1025 bytes", "A: [d.", "x", "]\n", LINKING_NAME_BYTES_MAX - 1,
      "l.yml:1:5: a table's name must have at most 1024 bytes, not 1025" },
    { "a metadata key of 1025 bytes", "A: {metadata: {? ", "x", " : y}}\n",
      LINKING_NAME_BYTES_MAX + 1,
      "l.yml:1:18: a metadata key must have at most 1024 bytes, not 1025" },
    { "very deep", "A: ", "[", "", 100000,
      "l.yml:1:19: nested deeper than 16 levels; a linking file needs 4" },
    { "very deep, a line each", "{A: ", "\n[", "", 100000,
      "l.yml:17:1: nested deeper than 16 levels; a linking file needs 4" },
    { "as many directives as can be", "", "%TAG !e#! tag:x\n", "---\nA: [d.t]\n", 16, NULL },
    { "many directives", "", "%TAG !e#! tag:x\n", "---\nA: [d.t]\n", 50000,
      "l.yml:17:1: more than 16 %TAG; remove them" },
    { "very deep in dashes", "", "- ", "A\n", 1000,
      "l.yml:1:33: nested deeper than 16 levels; a linking file needs 4" },
};

START_TEST(limit_case)
{
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(linking_file_done) struct linking_file file = { 0 };
    AUTO(buf_done) struct buf text = { .max = LINKING_FILE_BYTES_MAX + 1000 };
    struct err err = { 0 };
    int rc;

    buf_append_text(&text, limit_cases[_i].head);
    repeat(&text, limit_cases[_i].parts, limit_cases[_i].part);
    buf_append_text(&text, limit_cases[_i].tail);
    ck_assert(!text.full);
    rc = parse(&file, buf_text(&text), &notes, &err);
    ck_assert_msg(rc == (limit_cases[_i].want ? -1 : 0), "%s: %s", limit_cases[_i].name, err.text);
    ck_assert_str_eq(err.text, limit_cases[_i].want ? limit_cases[_i].want : "");
    ck_assert_uint_eq(notes.errors, limit_cases[_i].want ? 1 : 0);
}
END_TEST

/* 1002 bytes for the model and its first pair; 10 * 1002 + 90 * 1003 + 900 * 1004 + 3173 * 1005 for
 * those that fit behind them. */
START_TEST(long_text_by_many_aliases)
{
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(linking_file_done) struct linking_file file = { 0 };
    AUTO(buf_done) struct buf text = { .max = DUMP_BYTES_MAX };
    struct err err = { 0 };

    buf_append_text(&text, "A: {metadata: {a: &x ");
    repeat(&text, 1000, "x");
    repeat(&text, 5000, ",\nk#: *x");
    buf_append_text(&text, "}}\n");
    ck_assert_int_eq(parse(&file, buf_text(&text), &notes, &err), -1);
    ck_assert_str_eq(err.text, "l.yml:4175:1: texts of more than 4194304 bytes; shorten or split "
                               "the file");
    ck_assert_uint_eq(notes.errors, 1);
}
END_TEST

/* Ten levels of nine aliases each are 3 billion values. */
START_TEST(laughs)
{
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(linking_file_done) struct linking_file file = { 0 };
    AUTO(buf_done) struct buf text = { .max = DUMP_BYTES_MAX };
    struct err err = { 0 };

    buf_append_text(&text, "l0: &l0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n");
    for (int i = 1; i < 10; i++) {
        buf_append_fmt(&text, "l%d: &l%d [", i, i);
        for (int j = 0; j < 9; j++)
            buf_append_fmt(&text, "%s*l%d", j ? "," : "", i - 1);
        buf_append_text(&text, "]\n");
    }
    ck_assert_int_eq(parse(&file, buf_text(&text), &notes, &err), -1);
    ck_assert_str_eq(err.text, "l.yml:2:10: expected a table (db.table@namespace), not a list");
    ck_assert_uint_eq(notes.errors, 81);
}
END_TEST

Suite *linking_file_suite(void); /* called from the table that tools/suites writes */

Suite *linking_file_suite(void)
{
    Suite *suite = suite_create("atlas/linking_file");
    TCase *tc = tcase_create("linking_file");

    tcase_add_loop_test(tc, good_case, 0, LENGTH(good_cases));
    tcase_add_loop_test(tc, warn_case, 0, LENGTH(warn_cases));
    tcase_add_loop_test(tc, refuse_case, 0, LENGTH(refuse_cases));
    tcase_add_loop_test(tc, mismatch_case, 0, LENGTH(mismatch_cases));
    tcase_add_loop_test(tc, limit_case, 0, LENGTH(limit_cases));
    tcase_add_test(tc, every_error_is_told);
    tcase_add_test(tc, notes_have_a_limit);
    tcase_add_test(tc, entries_know_their_place);
    tcase_add_test(tc, namespace_completes_tables);
    tcase_add_test(tc, absent_text_is_an_empty_file);
    tcase_add_test(tc, long_text_by_many_aliases);
    tcase_add_test(tc, laughs);
    suite_add_tcase(suite, tc);
    return suite;
}
