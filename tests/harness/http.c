#include "http.h"

#include <arpa/inet.h>
#include <check.h>
#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "certificate.h"
#include "tls_bridge.h"
#include "wait.h"

enum { TIMEOUT_MS = 30000, RAW_BYTES_MAX = 1 << 20 };

struct http {
    CURL *curl;
};

struct http *http_new(void)
{
    struct http *http = xcalloc(1, sizeof(*http));

    http->curl = curl_easy_init();
    ck_assert_ptr_nonnull(http->curl);
    return http;
}

void http_free(struct http *http)
{
    if (!http)
        return;
    curl_easy_cleanup(http->curl);
    free(http);
}

void http_answer_free(struct http_answer *answer)
{
    if (!answer)
        return;
    free(answer->body);
    free(answer->headers);
    free(answer);
}

/* A text that grows as libcurl hands out pieces. */
struct text {
    char *data;
    size_t len, cap;
};

static size_t http_take(char *data, size_t size, size_t count, void *ctx)
{
    struct text *text = ctx;
    size_t len = size * count;

    if (text->len + len + 1 > text->cap) {
        text->cap = 2 * (text->len + len + 1);
        text->data = xrealloc(text->data, text->cap);
    }
    memcpy(text->data + text->len, data, len);
    text->len += len;
    text->data[text->len] = '\0';
    return len;
}

static struct curl_slist *http_headers_set(CURL *curl, const char *const *headers)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:"); /* no wait for 100 Continue */

    for (; headers && *headers; headers++)
        list = curl_slist_append(list, *headers);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    return list;
}

struct http_answer *http_send(struct http *http, const struct http_request *request)
{
    struct http_answer *answer = xcalloc(1, sizeof(*answer));
    struct text body = { xcalloc(1, 1), 0, 1 }, head = { xcalloc(1, 1), 0, 1 };
    struct curl_slist *list;
    CURL *curl = http->curl;
    char error[CURL_ERROR_SIZE] = "";
    CURLcode rc;

    curl_easy_reset(curl); /* keeps the connection */
    (void)curl_easy_setopt(curl, CURLOPT_URL, request->url);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, http_take);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, http_take);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, &head);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
                           request->timeout_ms ? request->timeout_ms
                                               : (long)wait_scaled_ms(TIMEOUT_MS));
    if (strncmp(request->url, "https:", 6) == 0)
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO,
                               request->ca ? request->ca : tls_authority_path());
    if (request->certificate) {
        (void)curl_easy_setopt(curl, CURLOPT_SSLCERT, request->certificate->path);
        (void)curl_easy_setopt(curl, CURLOPT_SSLKEY, request->certificate->key);
    }
    if (request->body) {
        size_t len = request->len ? request->len : strlen(request->body);

        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
    }
    if (request->method)
        (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    if (request->method && strcmp(request->method, "HEAD") == 0)
        (void)curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    if (request->fresh) {
        (void)curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
    }
    list = http_headers_set(curl, request->headers);
    rc = curl_easy_perform(curl);
    if (rc == CURLE_OK)
        (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    else
        (void)snprintf(answer->error, sizeof(answer->error), "%s",
                       error[0] ? error : curl_easy_strerror(rc));
    (void)curl_easy_getinfo(curl, CURLINFO_TOTAL_TIME, &answer->seconds);
    curl_slist_free_all(list);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    answer->body = body.data;
    answer->len = body.len;
    answer->headers = head.data;
    return answer;
}

struct http_answer *http_get(struct http *http, const char *url)
{
    return http_send(http, &(struct http_request){ .url = url });
}

struct http_answer *http_post(struct http *http, const char *url, const char *body)
{
    static const char *const headers[] = { "Content-Type: application/json", NULL };

    return http_send(http, &(struct http_request){
                               .method = "POST", .url = url, .body = body, .headers = headers });
}

char *http_header(const struct http_answer *answer, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = answer->headers; *line; line += strcspn(line, "\n")) {
        line += *line == '\n';
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            line += len + 1;
            line += strspn(line, " \t");
            return xmemdup0(line, strcspn(line, "\r\n"));
        }
    }
    return NULL;
}

json_t *http_json(const struct http_answer *answer)
{
    json_error_t error;
    json_t *json = json_loadb(answer->body, answer->len, JSON_DECODE_ANY, &error);

    ck_assert_msg(json != NULL, "status %ld%s, not JSON: %s: %.200s", answer->status, answer->error,
                  error.text, answer->body);
    return json;
}

/* ---- bytes as they are ---- */

int http_raw_open(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_ge(fd, 0);
    ck_assert_msg(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0,
                  "connect to port %d: %s", port, strerror(errno));
    return tls_wanted() ? tls_bridge_open(fd, tls_authority_path(), NULL) : fd;
}

int http_raw_send(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int http_raw_send_text(int fd, const char *text)
{
    return http_raw_send(fd, text, strlen(text));
}

/* Reads until `text` (NULL: nothing in particular) has come, the end, or the deadline. */
static char *http_raw_gather(int fd, const char *text, int64_t ms, bool *closed)
{
    int64_t end_ms = clock_mono_ms() + ms;
    char *data = xmalloc(RAW_BYTES_MAX + 1);
    size_t len = 0;

    *closed = false;
    while (len < RAW_BYTES_MAX) {
        struct pollfd poller = { .fd = fd, .events = POLLIN };
        int64_t left_ms = end_ms - clock_mono_ms();
        ssize_t n;

        if (left_ms <= 0 || poll(&poller, 1, (int)left_ms) <= 0)
            break;
        n = recv(fd, data + len, RAW_BYTES_MAX - len, 0);
        if (n <= 0) {
            *closed = true;
            break;
        }
        len += (size_t)n;
        if (text && memmem(data, len, text, strlen(text)))
            break;
    }
    data[len] = '\0';
    return xrealloc(data, len + 1);
}

char *http_raw_read(int fd, int64_t ms, bool *closed)
{
    bool ignored;

    return http_raw_gather(fd, NULL, ms, closed ? closed : &ignored);
}

bool http_raw_await(int fd, const char *text, int64_t ms)
{
    bool closed;
    AUTO(mem_free) char *data = http_raw_gather(fd, text, ms, &closed);

    return strstr(data, text) != NULL;
}

char *http_gzip(const void *data, size_t len, size_t *gzip_len)
{
    enum { WINDOW_BITS_GZIP = 15 + 16, MEMORY_LEVEL = 8 };
    z_stream stream = { 0 };
    size_t cap;
    char *out;

    ck_assert_int_eq(deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, WINDOW_BITS_GZIP, MEMORY_LEVEL,
                                  Z_DEFAULT_STRATEGY),
                     Z_OK);
    cap = deflateBound(&stream, len) + 64;
    out = xmalloc(cap);
    stream.next_in = (Bytef *)(uintptr_t)data;
    stream.avail_in = (uInt)len;
    stream.next_out = (Bytef *)out;
    stream.avail_out = (uInt)cap;
    ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    *gzip_len = stream.total_out;
    (void)deflateEnd(&stream);
    return out;
}
