#include "tests/bench/reader.h"

#include <check.h>
#include <curl/curl.h>
#include <string.h>

#include "base/clock.h"

enum { BUFFER_BYTES = 256 << 10 };

struct reader {
    struct reader_result *result;
    int64_t start_us;
};

static double reader_ms(const struct reader *reader)
{
    return (double)(clock_mono_us() - reader->start_us) / 1e3;
}

static size_t reader_take(char *data, size_t size, size_t n, void *ctx)
{
    struct reader *reader = ctx;
    const char *at = data, *end = data + size * n;

    while ((at = memchr(at, '\n', (size_t)(end - at)))) {
        at++;
        if (reader->result->rows++ == 0)
            reader->result->first_ms = reader_ms(reader);
    }
    reader->result->bytes += (int64_t)(size * n);
    return size * n;
}

void reader_get(const char *url, struct reader_result *result)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: application/x-ndjson");
    struct reader reader = { .result = result };
    long status = 0;
    CURLcode rc;

    ck_assert_ptr_nonnull(curl);
    *result = (struct reader_result){ 0 };
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, reader_take);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reader);
    reader.start_us = clock_mono_us();
    rc = curl_easy_perform(curl);
    result->ms = reader_ms(&reader);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    ck_assert_msg(rc == CURLE_OK && status == 200, "%s: %s, status %ld", url,
                  curl_easy_strerror(rc), status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
}

void reader_drain(void *url)
{
    struct reader_result result;

    reader_get(url, &result);
}
