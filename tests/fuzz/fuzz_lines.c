/* Fuzzing how a file falls into lines, beside a look at the whole of it. The first byte says how
 * often what follows stands in the file, so that lines cross the ends of reads; the second how long
 * a line may be. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "collector/lines_internal.h"
#include "fuzz.h"

enum { FILE_BYTES_MAX = 300000 };

static void fuzz_expect(bool is_true)
{
    if (!is_true)
        abort();
}

/* A file of them, read from its beginning. */
static int fuzz_file(const char *text, size_t len)
{
    int fd = memfd_create("lines", MFD_CLOEXEC);

    fuzz_expect(fd >= 0);
    fuzz_expect(write(fd, text, len) == (ssize_t)len && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void fuzz_read(const char *text, size_t len, size_t bytes_max)
{
    const char *end = text + len;
    int fd = fuzz_file(text, len);
    struct lines lines;
    uint64_t number = 0;

    lines_init(&lines, fd, bytes_max);
    for (;;) {
        const char *feed = text < end ? memchr(text, '\n', (size_t)(end - text)) : NULL;
        size_t want = (size_t)((feed ? feed : end) - text);
        struct err err = { 0 };
        struct span line;
        bool too_long;
        int rc = lines_next(&lines, &line, &too_long, &err);

        fuzz_expect(rc == (text < end));
        if (rc == 0)
            break;
        fuzz_expect(lines.number == ++number && too_long == (want > bytes_max));
        fuzz_expect(line.len == (too_long ? 0 : want));
        fuzz_expect(line.len == 0 || memcmp(line.data, text, line.len) == 0);
        text += want + (feed != NULL);
    }
    lines_done(&lines);
    (void)close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(mem_free) char *text = NULL;
    size_t times, len = 0;

    if (size < 3)
        return 0;
    times = data[0] % 8 ? 1 : 1 + (size_t)data[0] * 16;
    text = xmalloc(FILE_BYTES_MAX);
    while (times-- && len + size - 2 <= FILE_BYTES_MAX) {
        memcpy(text + len, data + 2, size - 2);
        len += size - 2;
    }
    fuzz_read(text, len, data[1] % 4 == 3 ? (size_t)data[1] * 500 : data[1] % 64);
    return 0;
}
