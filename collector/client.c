#include "client_internal.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/mem.h"
#include "collector/secret.h"
#include "collector/version.h"

/* An answer that does not move for this long is given up; the server's own commit_timeout is far
 * below it. */
enum { CLIENT_KEY_BYTES_MAX = 1024 };
enum { CLIENT_STALL_SECONDS = 120, CLIENT_CONNECT_SECONDS = 10 };

struct client {
    CURL *curl;
    char *url;   /* without a slash at the end */
    char *shown; /* the same without its password */
    char *key;   /* NULL: none is sent */
    char error[CURL_ERROR_SIZE];
    struct client_tls tls;
    char code[64]; /* of the error that the last client_get was answered with; "" */
};

/* What one transfer writes to; the sink only gets the body of a 200. */
struct client_transfer {
    struct client *client;
    struct client_answer *answer;
    const struct client_sink *sink;
    bool sink_ended;
    char *next_cursor;
};

static bool client_url_is_local(const char *url)
{
    static const char *const hosts[] = { "127.0.0.1", "localhost", "[::1]" };
    const char *host = strstr(url, "://") + 3;

    for (size_t i = 0; i < LENGTH(hosts); i++) {
        size_t len = strlen(hosts[i]);

        if (strncmp(host, hosts[i], len) == 0 && strchr(":/", host[len]))
            return true;
    }
    return false;
}

/* The text of a file, or of its beginning when it is long. Owned. */
static char *client_key_file(const char *path, struct err *err)
{
    char text[CLIENT_KEY_BYTES_MAX + 2];
    FILE *file = fopen(path, "re");
    size_t len;

    if (!file) {
        (void)err_set(err, ERR_INPUT, "PLUMBLINE_API_KEY_FILE: %s: %s", path, strerror(errno));
        return NULL;
    }
    len = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    return xmemdup0(text, len);
}

/* From the environment, which other users don't see, as they would an option. White space around it
 * does not matter. */
static int client_read_key(struct client *client, struct err *err)
{
    const char *value = getenv("PLUMBLINE_API_KEY"), *path = getenv("PLUMBLINE_API_KEY_FILE");
    AUTO(mem_free) char *text = NULL;
    const char *start;
    size_t len;

    if (value && *value)
        text = xstrdup(value);
    else if (path && *path)
        text = client_key_file(path, err);
    else
        return 0;
    if (!text)
        return -1;
    start = text + strspn(text, " \t\r\n");
    for (len = strlen(start); len && strchr(" \t\r\n", start[len - 1]);)
        len--;
    if (!len || len > CLIENT_KEY_BYTES_MAX)
        return err_set(err, ERR_INPUT, "the API key must have from 1 to %d bytes",
                       CLIENT_KEY_BYTES_MAX);
    for (size_t i = 0; i < len; i++) {
        if (start[i] <= ' ' || start[i] > '~')
            return err_set(err, ERR_INPUT,
                           "that is no API key: it has characters that no header can hold");
    }
    client->key = xmemdup0(start, len);
    return 0;
}

struct client *client_new(const char *url, struct err *err)
{
    struct client *client;
    size_t len;

    if (!url)
        url = getenv("PLUMBLINE_URL");
    if (!url || !*url)
        url = CLIENT_URL_DEFAULT;
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) {
        AUTO(mem_free) char *shown = secret_masked(url);

        (void)err_set(err, ERR_INPUT, "the URL \"%.64s\" does not begin with http:// or https://",
                      shown);
        return NULL;
    }
    client = xcalloc(1, sizeof(*client));
    client->url = xstrdup(url);
    len = strlen(client->url);
    while (len > 0 && client->url[len - 1] == '/')
        client->url[--len] = '\0';
    client->shown = secret_masked(client->url);
    if (client_read_key(client, err) < 0) {
        client_free(client);
        return NULL;
    }
    client->curl = curl_easy_init();
    if (!client->curl) {
        client_free(client);
        (void)err_set(err, ERR_FATAL, "libcurl can't be started");
        return NULL;
    }
    return client;
}

static int client_check_file(const char *option, const char *path, struct err *err)
{
    if (path && access(path, R_OK) != 0)
        return err_set(err, ERR_INPUT, "%s %s: %s", option, path, strerror(errno));
    return 0;
}

static const char *client_variable(const char *given, const char *name)
{
    const char *value = given ? given : getenv(name);

    return value && *value ? value : NULL;
}

static int client_set_tls(struct client *client, const struct client_tls *tls, struct err *err)
{
    struct client_tls all = {
        .ca = client_variable(tls->ca, "PLUMBLINE_CA"),
        .certificate = client_variable(tls->certificate, "PLUMBLINE_CERT"),
        .key = client_variable(tls->key, "PLUMBLINE_CERT_KEY"),
    };

    if (client_check_file("--ca", all.ca, err) < 0 ||
        client_check_file("--cert", all.certificate, err) < 0 ||
        client_check_file("--cert-key", all.key, err) < 0)
        return -1;
    if (!all.certificate != !all.key)
        return err_set(err, ERR_INPUT, "--cert and --cert-key go together");
    client->tls = all;
    return 0;
}

struct client *client_open(const char *url, const struct client_tls *tls, struct err *err)
{
    AUTO(client_free) struct client *client = client_new(url, err);

    if (!client || client_set_tls(client, tls, err) < 0)
        return NULL;
    return TAKE(client);
}

void client_free(struct client *client)
{
    if (!client)
        return;
    if (client->curl)
        curl_easy_cleanup(client->curl);
    free(client->url);
    free(client->shown);
    free(client->key);
    free(client);
}

const char *client_url(const struct client *client)
{
    return client->shown;
}

void client_answer_done(struct client_answer *answer)
{
    buf_done(&answer->body);
    *answer = (struct client_answer){ 0 };
}

void client_clean(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
    }
}

static size_t client_on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct client_transfer *transfer = ctx;
    size_t len = size * count;
    long status = 0;

    (void)curl_easy_getinfo(transfer->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (!transfer->sink || status != 200) {
        buf_append(&transfer->answer->body, data, len);
        return len;
    }
    if (transfer->sink->write(transfer->sink->ctx, data, len) == 0)
        return len;
    transfer->sink_ended = true;
    return 0; /* libcurl ends the transfer */
}

static size_t client_on_header(char *data, size_t size, size_t count, void *ctx)
{
    static const char name[] = "plumbline-next-cursor:";
    struct client_transfer *transfer = ctx;
    size_t len = size * count, skip = sizeof(name) - 1;

    if (len > skip && strncasecmp(data, name, skip) == 0) {
        while (skip < len && data[skip] == ' ')
            skip++;
        free(transfer->next_cursor);
        transfer->next_cursor = xmemdup0(data + skip, len - skip);
        transfer->next_cursor[strcspn(transfer->next_cursor, "\r\n")] = '\0';
    }
    return len;
}

/* libcurl's options are macros over a variadic function; a failure is that of an allocation and
 * shows in curl_easy_perform. */
static void client_prepare(struct client *client, struct client_transfer *transfer, const char *url,
                           const struct curl_slist *headers)
{
    CURL *curl = client->curl;

    curl_easy_reset(curl); /* keeps the connection */
    client->error[0] = '\0';
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "plumbline/" PLUMBLINE_VERSION);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->error);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CLIENT_CONNECT_SECONDS);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)CLIENT_STALL_SECONDS);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, client_on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, client_on_header);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
    (void)curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (client->tls.ca)
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, client->tls.ca);
    if (client->tls.certificate) {
        (void)curl_easy_setopt(curl, CURLOPT_SSLCERT, client->tls.certificate);
        (void)curl_easy_setopt(curl, CURLOPT_SSLKEY, client->tls.key);
    }
    if (client_url_is_local(client->url))
        (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
}

static const char *client_reason(const struct client *client, CURLcode code)
{
    return client->error[0] ? client->error : curl_easy_strerror(code);
}

static struct curl_slist *client_header_add(struct curl_slist *headers, const char *name,
                                            const char *value)
{
    AUTO(mem_free) char *line = xasprintf("%s:%s%s", name, *value ? " " : "", value);

    return curl_slist_append(headers, line);
}

static struct curl_slist *client_header_add_key(struct curl_slist *headers,
                                                const struct client *client)
{
    AUTO(mem_free) char *value = NULL;

    if (!client->key)
        return headers;
    value = xasprintf("Bearer %s", client->key);
    return client_header_add(headers, "Authorization", value);
}

/* Of a transfer that failed: can the server have the whole request? */
static enum client_outcome client_fate(CURL *curl, CURLcode code, size_t body_len)
{
    curl_off_t sent = 0;

    switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return CLIENT_NOT_SENT;
    default:
        (void)curl_easy_getinfo(curl, CURLINFO_SIZE_UPLOAD_T, &sent);
        return sent < (curl_off_t)body_len ? CLIENT_NOT_SENT : CLIENT_UNSURE;
    }
}

enum client_outcome client_post(struct client *client, const struct client_request *request,
                                struct client_answer *answer, struct err *err)
{
    struct client_transfer transfer = { .client = client, .answer = answer };
    AUTO(mem_free) char *url = xasprintf("%s%s", client->url, request->path);
    struct curl_slist *headers = NULL;
    CURL *curl = client->curl;
    curl_off_t wait = 0;
    CURLcode code;

    client_answer_done(answer);
    buf_init(&answer->body, CLIENT_ANSWER_BYTES_MAX);
    headers = client_header_add(headers, "Content-Type", request->content_type);
    headers = client_header_add(headers, "Expect", ""); /* no 100-continue: it costs a second */
    headers = client_header_add_key(headers, client);
    if (request->gzip)
        headers = client_header_add(headers, "Content-Encoding", "gzip");
    client_prepare(client, &transfer, url, headers);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body.data);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
    (void)curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, request->no_reuse ? 1L : 0L);
    code = curl_easy_perform(curl);
    curl_slist_free_all(headers);
    free(transfer.next_cursor);
    if (code != CURLE_OK) {
        (void)err_set(err, ERR_RETRY, "%s: %s", client->shown, client_reason(client, code));
        return client_fate(curl, code, request->body.len);
    }
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    if (curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK)
        answer->retry_after_ms = wait * 1000;
    return CLIENT_ANSWERED;
}

int client_answer_error(const struct client_answer *answer, struct err *err)
{
    json_t *root = json_loadb(answer->body.len ? answer->body.data : "", answer->body.len, 0, NULL);
    const json_t *error = json_object_get(root, "error");
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *message = json_string_value(json_object_get(error, "message"));
    const char *field = json_string_value(json_object_get(error, "field"));

    if (!error) { /* under /api/atlas errors have Atlas's form */
        code = json_string_value(json_object_get(root, "errorCode"));
        message = json_string_value(json_object_get(root, "errorMessage"));
    }
    if (code && message)
        (void)err_set(err, ERR_INPUT, "HTTP %ld: %s (%s%s%s)", answer->status, message, code,
                      field ? ", " : "", field ? field : "");
    else
        (void)err_set(err, ERR_INPUT, "HTTP %ld, and not in plumbline's words; is the URL right?",
                      answer->status);
    json_decref(root);
    client_clean(err->text);
    return -1;
}

static void client_keep_code(struct client *client, const struct client_answer *answer)
{
    json_auto_t *root =
        json_loadb(answer->body.len ? answer->body.data : "", answer->body.len, 0, NULL);
    const char *code = json_string_value(json_object_get(json_object_get(root, "error"), "code"));

    (void)snprintf(client->code, sizeof(client->code), "%s", code ? code : "");
}

const char *client_error_code(const struct client *client)
{
    return client->code;
}

int client_get(struct client *client, const char *path, const char *accept,
               const struct client_sink *sink, char **next_cursor, struct err *err)
{
    struct client_answer answer = { 0 };
    struct client_transfer transfer = { .client = client, .answer = &answer, .sink = sink };
    AUTO(mem_free) char *url = xasprintf("%s%s", client->url, path);
    struct curl_slist *headers = client_header_add(NULL, "Accept", accept);
    CURLcode code;
    int rc = 0;

    headers = client_header_add_key(headers, client);
    buf_init(&answer.body, CLIENT_ANSWER_BYTES_MAX);
    client->code[0] = '\0';
    client_prepare(client, &transfer, url, headers);
    code = curl_easy_perform(client->curl);
    curl_slist_free_all(headers);
    (void)curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &answer.status);
    if (transfer.sink_ended)
        rc = -1;
    else if (code != CURLE_OK && answer.status == 200)
        rc = err_set(err, ERR_RETRY, "the answer ended early: %s", client_reason(client, code));
    else if (code != CURLE_OK)
        rc = err_set(err, ERR_RETRY, "%s: %s", client->shown, client_reason(client, code));
    else if (answer.status != 200) {
        client_keep_code(client, &answer);
        rc = client_answer_error(&answer, err);
    }
    client_answer_done(&answer);
    *next_cursor = transfer.next_cursor;
    return rc;
}

void client_escape(struct buf *path, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
            strchr("-._~", c)) {
            buf_append_char(path, *text);
        } else {
            buf_append_char(path, '%');
            buf_append_char(path, hex[c >> 4]);
            buf_append_char(path, hex[c & 15]);
        }
    }
}

void client_query_add(struct buf *path, const char *name, const char *value)
{
    bool is_first = !path->data || !memchr(path->data, '?', path->len);

    buf_append_char(path, is_first ? '?' : '&');
    buf_append_text(path, name);
    buf_append_char(path, '=');
    client_escape(path, value);
}
