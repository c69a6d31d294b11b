/* Fuzzing the linking file: whatever is taken keeps the promises of the header, and written out
 * plainly it is taken again as the same. */
#include <stdlib.h>
#include <string.h>

#include "atlas/linking_file.h"
#include "base/buf.h"
#include "base/utf8.h"
#include "fuzz.h"

enum { FUZZ_CANONICAL_BYTES_MAX = LINKING_FILE_BYTES_MAX };

static void fuzz_expect(bool is_true)
{
    if (!is_true)
        abort();
}

/* A text in double quotes, each byte of ASCII escaped; the bytes of longer characters stand only
 * where YAML allows them, so they are escaped too, by their number. */
static void fuzz_write_text(struct buf *out, const char *text)
{
    size_t left = strlen(text);

    buf_append_char(out, '"');
    while (left) {
        const unsigned char *u = (const unsigned char *)text;
        size_t len = utf8_char_len(text, left);
        uint32_t codepoint = len == 1 ? u[0] : u[0] & (0x7Fu >> len);

        fuzz_expect(len > 0);
        for (size_t i = 1; i < len; i++)
            codepoint = codepoint << 6 | (u[i] & 0x3F);
        buf_append_fmt(out, "\\U%08X", codepoint);
        text += len;
        left -= len;
    }
    buf_append_char(out, '"');
}

static void fuzz_write(struct buf *out, const struct linking_file *file)
{
    buf_append_char(out, '{');
    for (size_t i = 0; i < file->models_len; i++) {
        const struct linking_model *model = &file->models[i];

        buf_append_text(out, "? ");
        fuzz_write_text(out, model->name);
        buf_append_text(out, " : {hive_table_qualified_names: [");
        for (size_t j = 0; j < model->tables_len; j++) {
            fuzz_write_text(out, model->tables[j].qualified_name);
            buf_append_text(out, ", ");
        }
        buf_append_text(out, "], metadata: {");
        for (size_t j = 0; j < model->metadata_len; j++) {
            buf_append_text(out, "? ");
            fuzz_write_text(out, model->metadata[j].key);
            buf_append_text(out, " : ");
            fuzz_write_text(out, model->metadata[j].value);
            buf_append_text(out, ", ");
        }
        buf_append_text(out, "}},\n");
    }
    buf_append_char(out, '}');
}

static void fuzz_expect_same(const struct linking_file *a, const struct linking_file *b)
{
    fuzz_expect(a->models_len == b->models_len);
    for (size_t i = 0; i < a->models_len; i++) {
        const struct linking_model *x = &a->models[i], *y = &b->models[i];

        fuzz_expect(strcmp(x->name, y->name) == 0);
        fuzz_expect(x->tables_len == y->tables_len && x->metadata_len == y->metadata_len);
        for (size_t j = 0; j < x->tables_len; j++)
            fuzz_expect(strcmp(x->tables[j].qualified_name, y->tables[j].qualified_name) == 0);
        for (size_t j = 0; j < x->metadata_len; j++)
            fuzz_expect(strcmp(x->metadata[j].key, y->metadata[j].key) == 0 &&
                        strcmp(x->metadata[j].value, y->metadata[j].value) == 0);
    }
}

static void fuzz_check_table(const char *name)
{
    const char *sign = strchr(name, '@');

    fuzz_expect(sign && sign > name && sign[1] && !strchr(sign + 1, '@'));
    fuzz_expect(strcspn(name, " ,\"'`\t\r\n\v\f") == strlen(name));
    for (; name < sign; name++)
        fuzz_expect(*name < 'A' || *name > 'Z');
}

static void fuzz_check_file(const struct linking_file *file)
{
    size_t items = 0, bytes = 0;

    for (size_t i = 0; i < file->models_len; i++) {
        const struct linking_model *model = &file->models[i];

        fuzz_expect(*model->name && strlen(model->name) <= LINKING_NAME_BYTES_MAX);
        fuzz_expect(model->line > 0 && model->column > 0);
        fuzz_expect(linking_file_find(file, model->name) == model);
        items += 1 + model->tables_len + model->metadata_len;
        bytes += strlen(model->name);
        for (size_t j = 0; j < model->tables_len; j++) {
            fuzz_check_table(model->tables[j].qualified_name);
            bytes += strlen(model->tables[j].qualified_name);
        }
        for (size_t j = 0; j < model->metadata_len; j++)
            bytes += strlen(model->metadata[j].key) + strlen(model->metadata[j].value);
    }
    fuzz_expect(items <= LINKING_ITEMS_MAX && bytes <= LINKING_TEXT_BYTES_MAX);
}

static void fuzz_check_notes(const struct linking_notes *notes)
{
    fuzz_expect(notes->len <= 2 * (size_t)LINKING_NOTES_MAX);
    fuzz_expect(notes->len <= (size_t)notes->errors + notes->warnings);
    for (size_t i = 0; i < notes->len; i++) {
        const struct linking_note *note = &notes->items[i];
        size_t len = strlen(note->message);

        fuzz_expect(note->line > 0 && note->column > 0 && len > 0);
        fuzz_expect(len < sizeof(note->message) - 1); /* none is cut */
        for (size_t at = 0, step; at < len; at += step) {
            step = utf8_char_len(note->message + at, len - at);
            fuzz_expect(step > 0 && (unsigned char)note->message[at] >= ' ');
        }
    }
}

static void fuzz_again(const struct linking_file *file)
{
    AUTO(buf_done) struct buf text = { .max = FUZZ_CANONICAL_BYTES_MAX };
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(linking_file_done) struct linking_file again = { 0 };
    struct linking_source source = { "again", { 0 }, "other" };
    struct err err = { 0 };

    fuzz_write(&text, file);
    if (text.full)
        return;
    source.text = buf_span(&text);
    fuzz_expect(linking_file_parse(&again, &source, &notes, &err) == 0);
    fuzz_expect_same(file, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(linking_file_done) struct linking_file file = { 0 };
    struct linking_source source = { "fuzz", { (const char *)data, size }, "cm" };
    struct err err = { 0 };
    int rc = linking_file_parse(&file, &source, &notes, &err);

    fuzz_check_notes(&notes);
    fuzz_expect((rc < 0) == (notes.errors > 0));
    if (rc < 0) {
        fuzz_expect(err.kind == ERR_INPUT && *err.text && file.models_len == 0);
        return 0;
    }
    fuzz_check_file(&file);
    fuzz_again(&file);
    linking_file_check_model(&file, "Model", &notes);
    linking_file_check_entries(&file, NULL, 0, &notes);
    fuzz_check_notes(&notes);
    return 0;
}
