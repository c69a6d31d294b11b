/* TLS of the HTTP server: the library does the records, here is what GnuTLS is told of keys.
 *
 * A connection keeps the credentials that were current when it came, until it is closed; a reload
 * puts others in their place for those that come later, so that none is cut.
 *
 *   http->tls ──> [ credentials, refs ] <── connection, connection ...
 *        reload:  [ new credentials   ] <── connections from now on
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "http_internal.h"

enum { TLS_FILE_BYTES_MAX = 1024 * 1024, TLS_CHAIN_MAX = 32, TLS_NAME_BYTES = 256 };

struct http_tls {
    _Atomic uint32_t refs;
    gnutls_certificate_credentials_t credentials;
    bool asks_client; /* tls_client_ca: who has no certificate of it is turned away */
    char subject[TLS_NAME_BYTES];
    int64_t not_before_ms, not_after_ms;
};

/* ---- files */

struct tls_file {
    const char *key, *path; /* the configuration's name for it */
    gnutls_datum_t text;    /* owned */
};

static void tls_file_done_auto(struct tls_file *file)
{
    if (file->text.data)
        explicit_bzero(file->text.data, file->text.size);
    free(file->text.data);
}

/* As Postgres has it: a key of root may be read by a group, any other by its owner alone. */
static int tls_file_check_mode(const struct tls_file *file, const struct stat *info,
                               struct err *err)
{
    mode_t others = info->st_uid == 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO;

    if (info->st_uid != 0 && info->st_uid != geteuid())
        return err_set(err, ERR_INPUT,
                       "%s: %s belongs to another user: it must be the daemon's "
                       "own or root's",
                       file->key, file->path);
    if (info->st_mode & others)
        return err_set(err, ERR_INPUT,
                       "%s: %s can be read by others (mode %04o): a private key is 0600, or 0640 "
                       "when it belongs to root",
                       file->key, file->path, (unsigned)(info->st_mode & 07777));
    return 0;
}

static int tls_file_take(struct tls_file *file, int fd, bool is_secret, struct err *err)
{
    struct stat info;
    ssize_t got;

    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return err_set(err, ERR_INPUT, "%s: %s is not a file", file->key, file->path);
    if (is_secret && tls_file_check_mode(file, &info, err) < 0)
        return -1;
    if (info.st_size > TLS_FILE_BYTES_MAX)
        return err_set(err, ERR_INPUT, "%s: %s is larger than %d bytes", file->key, file->path,
                       TLS_FILE_BYTES_MAX);
    file->text.data = xmalloc((size_t)info.st_size + 1);
    file->text.size = (unsigned)info.st_size;
    got = read(fd, file->text.data, file->text.size);
    if (got != (ssize_t)file->text.size)
        return err_set(err, ERR_INPUT, "%s: %s changes while it is read", file->key, file->path);
    file->text.data[got] = '\0';
    return 0;
}

static int tls_file_read(struct tls_file *file, bool is_secret, struct err *err)
{
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc;

    if (fd < 0)
        return err_set(err, ERR_INPUT, "%s: %s: %s", file->key, file->path, strerror(errno));
    rc = tls_file_take(file, fd, is_secret, err);
    (void)close(fd);
    return rc;
}

/* ---- credentials */

/* The certificate at the head of the chain: who it is for, and how long. */
static void tls_describe(struct http_tls *tls, gnutls_x509_crt_t leaf)
{
    size_t len = sizeof(tls->subject);

    if (gnutls_x509_crt_get_dn(leaf, tls->subject, &len) < 0)
        tls->subject[0] = '\0';
    tls->not_before_ms = (int64_t)gnutls_x509_crt_get_activation_time(leaf) * 1000;
    tls->not_after_ms = (int64_t)gnutls_x509_crt_get_expiration_time(leaf) * 1000;
}

static int tls_join(struct http_tls *tls, const struct tls_file *certificate,
                    const struct tls_file *key, gnutls_x509_crt_t *chain, unsigned len,
                    struct err *err)
{
    gnutls_x509_privkey_t private;
    int rc = gnutls_x509_privkey_init(&private);

    if (rc < 0)
        return err_set(err, ERR_FATAL, "%s: %s", key->key, gnutls_strerror(rc));
    rc = gnutls_x509_privkey_import2(private, &key->text, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (rc < 0) {
        (void)err_set(err, ERR_INPUT, "%s: %s holds no private key that can be read: %s", key->key,
                      key->path, gnutls_strerror(rc));
    } else {
        rc = gnutls_certificate_set_x509_key(tls->credentials, chain, (int)len, private);
        if (rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
            (void)err_set(err, ERR_INPUT, "%s: %s is not the key of the certificate in %s",
                          key->key, key->path, certificate->path);
        else if (rc < 0)
            (void)err_set(err, ERR_INPUT, "%s: %s can't be used: %s", certificate->key,
                          certificate->path, gnutls_strerror(rc));
    }
    gnutls_x509_privkey_deinit(private);
    return rc < 0 ? -1 : 0;
}

static int tls_load_pair(struct http_tls *tls, const struct config *config, struct err *err)
{
    AUTO(tls_file_done)
    struct tls_file certificate = { .key = "tls_certificate", .path = config->tls_certificate };
    AUTO(tls_file_done) struct tls_file key = { .key = "tls_key", .path = config->tls_key };
    gnutls_x509_crt_t chain[TLS_CHAIN_MAX];
    unsigned len = TLS_CHAIN_MAX;
    int rc;

    if (tls_file_read(&certificate, false, err) < 0 || tls_file_read(&key, true, err) < 0)
        return -1;
    rc = gnutls_x509_crt_list_import(chain, &len, &certificate.text, GNUTLS_X509_FMT_PEM,
                                     GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
    if (rc <= 0)
        return err_set(err, ERR_INPUT, "%s: %s holds no chain of certificates in PEM: %s",
                       certificate.key, certificate.path, gnutls_strerror(rc));
    tls_describe(tls, chain[0]);
    rc = tls_join(tls, &certificate, &key, chain, len, err);
    for (unsigned i = 0; i < len; i++)
        gnutls_x509_crt_deinit(chain[i]);
    return rc;
}

static int tls_load_client_ca(struct http_tls *tls, const struct config *config, struct err *err)
{
    AUTO(tls_file_done)
    struct tls_file file = { .key = "tls_client_ca", .path = config->tls_client_ca };
    int rc;

    if (!config->tls_client_ca)
        return 0;
    if (tls_file_read(&file, false, err) < 0)
        return -1;
    rc = gnutls_certificate_set_x509_trust_mem(tls->credentials, &file.text, GNUTLS_X509_FMT_PEM);
    if (rc <= 0)
        return err_set(err, ERR_INPUT, "%s: %s holds no certificates in PEM%s%s", file.key,
                       file.path, rc < 0 ? ": " : "", rc < 0 ? gnutls_strerror(rc) : "");
    tls->asks_client = true;
    return 0;
}

struct http_tls *http_tls_new(const struct config *config, struct err *err)
{
    struct http_tls *tls = xcalloc(1, sizeof(*tls));

    tls->refs = 1;
    if (gnutls_certificate_allocate_credentials(&tls->credentials) < 0)
        abort(); /* out of memory */
    if (tls_load_pair(tls, config, err) == 0 && tls_load_client_ca(tls, config, err) == 0)
        return tls;
    http_tls_unref(tls);
    return NULL;
}

struct http_tls *http_tls_ref(struct http_tls *tls)
{
    tls->refs++;
    return tls;
}

void http_tls_unref(struct http_tls *tls)
{
    if (!tls || --tls->refs > 0)
        return;
    gnutls_certificate_free_credentials(tls->credentials);
    free(tls);
}

int http_tls_check(const struct config *config, struct err *err)
{
    struct http_tls *tls;

    if (!config->tls_certificate)
        return 0;
    tls = http_tls_new(config, err);
    http_tls_unref(tls);
    return tls ? 0 : -1;
}

void http_tls_announce(const struct http_tls *tls, struct stats *stats)
{
    char until[CLOCK_TEXT_BYTES];
    int64_t now_ms = clock_now_ms();

    clock_format(tls->not_after_ms, until);
    stats_set(stats, STAT_TLS_NOT_AFTER, tls->not_after_ms / 1000);
    if (now_ms >= tls->not_before_ms && now_ms < tls->not_after_ms)
        log_info("event=tls_certificate subject=\"%s\" until=%s clients=%s", tls->subject, until,
                 tls->asks_client ? "certified" : "any");
    else
        log_warn("event=tls_certificate_not_valid subject=\"%s\" until=%s "
                 "hint=\"its time is over or has not come: clients will refuse it\"",
                 tls->subject, until);
}

/* ---- sessions */

/* Until the client's last message of the handshake the deadline is that of a request. */
static int tls_on_finished(gnutls_session_t session, unsigned type, unsigned when,
                           unsigned is_incoming, const gnutls_datum_t *message)
{
    (void)type;
    (void)when;
    (void)message;
    if (is_incoming)
        http_conn_secured(gnutls_session_get_ptr(session));
    return 0;
}

void http_tls_begin(struct http_tls *tls, void *library_session, struct http_conn *conn)
{
    /* GnuTLS keeps the address */
    static unsigned char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
    static gnutls_typed_vdata_st verify[] = { { GNUTLS_DT_KEY_PURPOSE_OID, purpose, 0 } };
    gnutls_session_t session = library_session;
    int rc = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->credentials);

    assert(rc == GNUTLS_E_SUCCESS);
    (void)rc;
    gnutls_session_set_ptr(session, conn); /* the library would only look at it for PSK */
    gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_POST,
                                       tls_on_finished);
    gnutls_certificate_server_set_request(session, tls->asks_client ? GNUTLS_CERT_REQUIRE
                                                                    : GNUTLS_CERT_IGNORE);
    if (tls->asks_client)
        gnutls_session_set_verify_cert2(session, verify, LENGTH(verify), 0);
}

/* The library wants a certificate or somebody to ask for one; each session has its own credentials
 * by the time it would. */
static int tls_no_certificate(gnutls_session_t session, const gnutls_datum_t *names, int names_len,
                              const gnutls_pk_algorithm_t *algorithms, int algorithms_len,
                              gnutls_pcert_st **chain, unsigned *chain_len, gnutls_privkey_t *key)
{
    (void)session;
    (void)names;
    (void)names_len;
    (void)algorithms;
    (void)algorithms_len;
    (void)chain;
    (void)chain_len;
    (void)key;
    return -1;
}

void http_tls_options(struct MHD_OptionItem options[HTTP_TLS_OPTIONS])
{
    /* What every client of the last ten years can do, with forward secrecy and authenticated
     * ciphers only. The library only reads it. */
    static char priorities[] =
        "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:-CIPHER-ALL:"
        "+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:%SERVER_PRECEDENCE";

    options[0] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0, priorities };
    options[1] =
        (struct MHD_OptionItem){ MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)tls_no_certificate };
    options[2] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };
}
