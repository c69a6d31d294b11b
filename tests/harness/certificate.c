#include "certificate.h"

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "temp.h"

enum { DAY_SECONDS = 86400 };

struct authority {
    gnutls_x509_crt_t certificate;
    gnutls_x509_privkey_t key;
    char *path;
    unsigned serial;
};

/* GnuTLS's functions return 0 or an error below it. */
#define GNUTLS_OK(call)                                                                            \
    do {                                                                                           \
        int gnutls_rc = (call);                                                                    \
        ck_assert_msg(gnutls_rc >= 0, "%s: %s", #call, gnutls_strerror(gnutls_rc));                \
    } while (0)

static gnutls_x509_privkey_t key_new(void)
{
    gnutls_x509_privkey_t key;

    GNUTLS_OK(gnutls_x509_privkey_init(&key));
    GNUTLS_OK(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                           GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    return key;
}

/* For a new file of the name in the place of an old one: a reader never sees half of it. */
static void file_replace(const char *path, const gnutls_datum_t *text)
{
    AUTO(mem_free) char *beside = xasprintf("%s.new", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text->data, text->size), (ssize_t)text->size);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(rename(beside, path), 0);
}

static void certificate_write(gnutls_x509_crt_t certificate, const char *path)
{
    gnutls_datum_t text;

    GNUTLS_OK(gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &text));
    file_replace(path, &text);
    gnutls_free(text.data);
}

/* PKCS #8, which Kafka's broker can read as well. */
static void key_write(gnutls_x509_privkey_t key, const char *secret, const char *path)
{
    gnutls_datum_t text;

    GNUTLS_OK(
        gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, secret,
                                          secret ? GNUTLS_PKCS_PBES2_AES_256 : GNUTLS_PKCS_PLAIN,
                                          &text));
    file_replace(path, &text);
    gnutls_free(text.data);
}

/* Everything but who signs it. */
static gnutls_x509_crt_t certificate_new(const char *name, gnutls_x509_privkey_t key,
                                         unsigned serial, int days)
{
    unsigned char number[] = { 1, (unsigned char)(serial >> 8), (unsigned char)serial };
    time_t now = time(NULL), from = now - 60 - (days < 0 ? 2 * -days * DAY_SECONDS : 0);
    gnutls_x509_crt_t certificate;

    GNUTLS_OK(gnutls_x509_crt_init(&certificate));
    GNUTLS_OK(gnutls_x509_crt_set_version(certificate, 3));
    GNUTLS_OK(gnutls_x509_crt_set_serial(certificate, number, sizeof(number)));
    GNUTLS_OK(gnutls_x509_crt_set_key(certificate, key));
    GNUTLS_OK(gnutls_x509_crt_set_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                            (unsigned)strlen(name)));
    GNUTLS_OK(gnutls_x509_crt_set_activation_time(certificate, from));
    GNUTLS_OK(gnutls_x509_crt_set_expiration_time(certificate, now + days * DAY_SECONDS));
    return certificate;
}

struct authority *authority_new(const char *name)
{
    struct authority *authority = xcalloc(1, sizeof(*authority));
    AUTO(mem_free) char *dir = temp_dir();
    gnutls_x509_crt_t certificate;

    ck_assert_int_eq(chmod(dir, 0755), 0); /* Postgres and its clients are different users */
    authority->key = key_new();
    authority->certificate = certificate = certificate_new(name, authority->key, 1, 30);
    GNUTLS_OK(gnutls_x509_crt_set_basic_constraints(certificate, 1, -1));
    GNUTLS_OK(gnutls_x509_crt_set_key_usage(certificate, GNUTLS_KEY_KEY_CERT_SIGN));
    GNUTLS_OK(
        gnutls_x509_crt_sign2(certificate, certificate, authority->key, GNUTLS_DIG_SHA256, 0));
    authority->path = xasprintf("%s/ca.pem", dir);
    certificate_write(certificate, authority->path);
    return authority;
}

void authority_free(struct authority *authority)
{
    if (!authority)
        return;
    gnutls_x509_crt_deinit(authority->certificate);
    gnutls_x509_privkey_deinit(authority->key);
    free(authority->path);
    free(authority);
}

const char *authority_path(const struct authority *authority)
{
    return authority->path;
}

static void certificate_set_hosts(gnutls_x509_crt_t certificate, const char *host)
{
    struct in_addr loopback = { htonl(INADDR_LOOPBACK) };

    if (host) {
        GNUTLS_OK(gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_DNSNAME, host,
                                                       (unsigned)strlen(host), GNUTLS_FSAN_APPEND));
        return;
    }
    GNUTLS_OK(gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_IPADDRESS, &loopback,
                                                   sizeof(loopback), GNUTLS_FSAN_APPEND));
    GNUTLS_OK(gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_DNSNAME, "localhost", 9,
                                                   GNUTLS_FSAN_APPEND));
}

void authority_issue(struct authority *authority, const struct certificate_options *options,
                     struct certificate *certificate)
{
    AUTO(mem_free) char *made = options->folder ? NULL : temp_dir();
    const char *folder = made ? made : options->folder;
    gnutls_x509_privkey_t key = key_new();
    gnutls_x509_crt_t leaf = certificate_new(options->name, key, ++authority->serial,
                                             options->days ? options->days : 30);

    if (!options->is_client)
        certificate_set_hosts(leaf, options->host);
    GNUTLS_OK(gnutls_x509_crt_set_key_purpose_oid(
        leaf, options->is_client ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER, 0));
    GNUTLS_OK(gnutls_x509_crt_set_key_usage(leaf, GNUTLS_KEY_DIGITAL_SIGNATURE));
    GNUTLS_OK(
        gnutls_x509_crt_sign2(leaf, authority->certificate, authority->key, GNUTLS_DIG_SHA256, 0));
    certificate->path = xasprintf("%s/%s.pem", folder, options->name);
    certificate->key = xasprintf("%s/%s.key", folder, options->name);
    certificate_write(leaf, certificate->path);
    key_write(key, options->secret, certificate->key);
    if (options->for_postgres) {
        struct stat owner; /* temp_dir() gives it to that user */

        ck_assert_int_eq(stat(folder, &owner), 0);
        ck_assert_int_eq(chown(certificate->path, owner.st_uid, owner.st_gid), 0);
        ck_assert_int_eq(chown(certificate->key, owner.st_uid, owner.st_gid), 0);
    }
    gnutls_x509_crt_deinit(leaf);
    gnutls_x509_privkey_deinit(key);
}

void certificate_done(struct certificate *certificate)
{
    free(certificate->path);
    free(certificate->key);
    *certificate = (struct certificate){ 0 };
}

/* ---- TEST_TLS */

static struct {
    struct authority *authority;
    struct certificate certificate;
    pid_t pid; /* a test forks: each has its own */
} tls;

bool tls_wanted(void)
{
    return getenv("TEST_TLS") != NULL;
}

static void tls_end(void)
{
    if (tls.pid != getpid())
        return;
    certificate_done(&tls.certificate);
    authority_free(tls.authority);
}

static void tls_begin(void)
{
    if (tls.pid == getpid())
        return;
    tls.pid = getpid();
    tls.authority = authority_new("tests");
    authority_issue(tls.authority, &(struct certificate_options){ .name = "server" },
                    &tls.certificate);
    ck_assert_int_eq(setenv("PLUMBLINE_CA", authority_path(tls.authority), 1), 0);
    (void)atexit(tls_end);
}

const char *tls_authority_path(void)
{
    tls_begin();
    return authority_path(tls.authority);
}

const struct certificate *tls_certificate(void)
{
    tls_begin();
    return &tls.certificate;
}
