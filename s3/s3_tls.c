/* Certificates, keys and ciphers for curl, and sentences on what is wrong with a peer's
 * certificate. curl and its TLS library decide what is trusted; here is only read what they say.
 * Which errno a program gets is in s3_error.c. */
#include "s3/s3_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <sodium.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define PEM_MAX (8 << 20)
#define CERT_TEXT_MAX 160

/* The fastest first, and servers mostly take the client's first one. Without AES in the CPU that
 * is ChaCha20. The last rows are for servers that are old. */
#define AES_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
#define CHACHA_13 "TLS_CHACHA20_POLY1305_SHA256"
#define AES_12                                                                                     \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
#define CHACHA_12 "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define OLD_12                                                                                     \
    "ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:"                                           \
    "ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:AES128-GCM-SHA256:AES256-GCM-SHA384"

struct s3_tls {
    char *ca; /* NULL: nothing is checked */
    size_t ca_len;
    char *cert; /* NULL: the client has none */
    size_t cert_len;
    char *key; /* sodium memory */
    size_t key_len;
};

static const char *const system_ca[] = {
    "/etc/ssl/certs/ca-certificates.crt", /* Debian, Alpine, Arch */
    "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL */
    "/etc/ssl/ca-bundle.pem",             /* SUSE */
    "/etc/ssl/cert.pem",
};

const char *s3_tls_system_ca(void)
{
    for (size_t i = 0; i < sizeof(system_ca) / sizeof(system_ca[0]); i++) {
        if (access(system_ca[i], R_OK) == 0)
            return system_ca[i];
    }
    return NULL;
}

/* ---- files ---- */

/* A file of PEM as a string, with its NUL counted, which saves curl a copy for each connection.
 * `what` is its key in the configuration. */
static int read_pem(const char *what, const char *path, bool secret, char **ret, size_t *ret_len,
                    struct err *err)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    ssize_t n;
    char *text;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, EINVAL, "%s %s: %s", what, path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size < 1 || st.st_size > PEM_MAX)
        return err_set(err, EINVAL, "%s %s: not a file of 1 byte to 8 MiB", what, path);
    text = secret ? sodium_malloc((size_t)st.st_size + 1) : malloc((size_t)st.st_size + 1);
    if (!text)
        return err_set(err, ENOMEM, "no memory for %s", what);
    *ret = text; /* s3_tls_free frees it */
    n = fd_pread_full(fd, text, (size_t)st.st_size, 0);
    if (n < 0)
        return err_set(err, EINVAL, "%s %s: %s", what, path, strerror((int)-n));
    text[n] = '\0';
    *ret_len = (size_t)n + 1;
    return 0;
}

static bool has_certificate(const char *pem)
{
    return strstr(pem, "-----BEGIN CERTIFICATE-----") ||
           strstr(pem, "-----BEGIN TRUSTED CERTIFICATE-----");
}

/* Reads the bundle once: the sandbox of a worker may not reach it later, and curl reads it for each
 * connection. */
static int load_ca(struct s3_tls *tls, const char *path, struct err *err)
{
    int r;

    if (!path)
        path = s3_tls_system_ca();
    if (!path)
        return err_set(err, EINVAL,
                       "no CA bundle on this system: install ca-certificates or name a bundle");
    r = read_pem("CA bundle", path, false, &tls->ca, &tls->ca_len, err);
    if (r == 0 && !has_certificate(tls->ca))
        return err_set(err, EINVAL, "CA bundle %s: no PEM certificate in it", path);
    return r;
}

/* The key may be in the file of the certificate. */
static int load_client_cert(struct s3_tls *tls, const char *cert, const char *key, struct err *err)
{
    const char *key_path = key && *key ? key : cert;
    int r = read_pem("s3.client_cert", cert, false, &tls->cert, &tls->cert_len, err);

    if (r == 0 && !has_certificate(tls->cert))
        return err_set(err, EINVAL, "s3.client_cert %s: no PEM certificate in it", cert);
    if (r == 0)
        r = read_pem("s3.client_key", key_path, true, &tls->key, &tls->key_len, err);
    if (r < 0)
        return r;
    if (strstr(tls->key, "-----BEGIN ENCRYPTED PRIVATE KEY-----") ||
        strstr(tls->key, "Proc-Type: 4,ENCRYPTED"))
        return err_set(err, EINVAL,
                       "s3.client_key %s: encrypted, and nobody is there to ask: give "
                       "a key without a passphrase",
                       key_path);
    if (!strstr(tls->key, "PRIVATE KEY-----"))
        return err_set(err, EINVAL, "s3.client_key %s: no PEM private key in it", key_path);
    return 0;
}

int s3_tls_new(const struct s3_client_conf *conf, struct s3_tls **ret_tls, struct err *err)
{
    const char *ca = conf->ca_bundle && *conf->ca_bundle ? conf->ca_bundle : NULL;
    struct s3_tls *tls = calloc(1, sizeof(*tls));
    int r = 0;

    if (!tls)
        return err_set(err, ENOMEM, "no memory for TLS");
    if (!conf->tls_insecure)
        r = load_ca(tls, ca, err);
    if (r == 0 && conf->client_cert && *conf->client_cert)
        r = load_client_cert(tls, conf->client_cert, conf->client_key, err);
    if (r < 0) {
        s3_tls_free(tls);
        return r;
    }
    *ret_tls = tls;
    return 0;
}

void s3_tls_free(struct s3_tls *tls)
{
    if (!tls)
        return;
    free(tls->ca);
    free(tls->cert);
    sodium_free(tls->key);
    free(tls);
}

/* ---- curl's options ---- */

static bool cpu_has_aes(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
    return (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
    return false;
#endif
}

static bool set_blob(CURL *easy, CURLoption option, char *data, size_t len)
{
    struct curl_blob blob = {data, len, CURL_BLOB_NOCOPY};

    return !curl_easy_setopt(easy, option, &blob);
}

bool s3_tls_set(const struct s3_tls *tls, CURL *easy)
{
    bool aes = cpu_has_aes();
    bool ok = !curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
              !curl_easy_setopt(easy, CURLOPT_CERTINFO, 1L); /* for s3_tls_explain */

    /* an order is no more than a wish: some TLS libraries of curl take none */
    (void)curl_easy_setopt(easy, CURLOPT_TLS13_CIPHERS,
                           aes ? AES_13 ":" CHACHA_13 : CHACHA_13 ":" AES_13);
    (void)curl_easy_setopt(easy, CURLOPT_SSL_CIPHER_LIST,
                           aes ? AES_12 ":" CHACHA_12 ":" OLD_12 : CHACHA_12 ":" AES_12 ":" OLD_12);
    if (ok && tls->ca)
        ok = set_blob(easy, CURLOPT_CAINFO_BLOB, tls->ca, tls->ca_len);
    else if (ok)
        ok = !curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L) &&
             !curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    if (ok && tls->cert)
        ok = set_blob(easy, CURLOPT_SSLCERT_BLOB, tls->cert, tls->cert_len) &&
             set_blob(easy, CURLOPT_SSLKEY_BLOB, tls->key, tls->key_len);
    return ok;
}

/* ---- what was wrong ---- */

/* What mbedTLS and OpenSSL say of a certificate. One may have several faults; the first here
 * counts. */
static const struct {
    const char *said;
    enum s3_tls_trouble trouble;
} sayings[] = {
    {"has expired", S3_TLS_EXPIRED},
    {"starts in the future", S3_TLS_NOT_YET_VALID},
    {"not yet valid", S3_TLS_NOT_YET_VALID},
    {"does not match", S3_TLS_OTHER_NAME},
    {"no alternative certificate subject name", S3_TLS_OTHER_NAME},
    {"not correctly signed by the trusted CA", S3_TLS_UNKNOWN_CA},
    {"unable to get local issuer", S3_TLS_UNKNOWN_CA},
    {"self-signed certificate in certificate chain", S3_TLS_UNKNOWN_CA},
    {"self-signed", S3_TLS_SELF_SIGNED},
    {"self signed", S3_TLS_SELF_SIGNED},
};

static const char *const sentences[] = {
    [S3_TLS_FINE] = "",
    [S3_TLS_EXPIRED] = "the server's certificate has expired",
    [S3_TLS_NOT_YET_VALID] = "the server's certificate is not valid yet",
    [S3_TLS_OTHER_NAME] = "the server's certificate is for another name",
    [S3_TLS_UNKNOWN_CA] = "the server's certificate is from a CA that is not in the CA bundle",
    [S3_TLS_SELF_SIGNED] = "the server's certificate is self-signed, and not in the CA bundle",
    [S3_TLS_OUR_CERTIFICATE] = "the client's certificate or key cannot be used",
    [S3_TLS_REFUSED] = "the server refused with a TLS alert",
    [S3_TLS_HANDSHAKE] = "the TLS handshake failed",
};

static const char *const advice[] = {
    [S3_TLS_FINE] = "",
    [S3_TLS_EXPIRED] = "renew the server's certificate",
    [S3_TLS_NOT_YET_VALID] = "set the clock of this machine, or that of the server",
    [S3_TLS_OTHER_NAME] = "use the certificate's name in s3.endpoint, or give the server a "
                          "certificate for this one",
    [S3_TLS_UNKNOWN_CA] = "put the certificate of its CA into s3.ca_bundle",
    [S3_TLS_SELF_SIGNED] = "put the certificate into s3.ca_bundle, or give the server one of a CA",
    [S3_TLS_OUR_CERTIFICATE] = "check s3.client_cert and s3.client_key",
    [S3_TLS_REFUSED] = "it may want a client certificate (s3.client_cert), or know only TLS older "
                       "than 1.2",
    [S3_TLS_HANDSHAKE] = "check that the endpoint speaks https, with TLS 1.2 or newer, and whether "
                         "it wants a client certificate (s3.client_cert)",
};

const char *s3_tls_advice(enum s3_tls_trouble trouble)
{
    return advice[trouble];
}

bool s3_tls_is_alert(const char *curl_text)
{
    return strstr(curl_text, "fatal alert") || strstr(curl_text, "sslv3 alert") ||
           strstr(curl_text, "tlsv13 alert");
}

/* A field of the server's own certificate, such as "Subject"; NULL: curl did not see it. */
static const char *cert_field(const struct curl_certinfo *info, const char *name)
{
    size_t len = strlen(name);

    if (!info || info->num_of_certs < 1)
        return NULL;
    for (const struct curl_slist *l = info->certinfo[0]; l; l = l->next) {
        if (strncmp(l->data, name, len) == 0 && l->data[len] == ':')
            return l->data + len + 1;
    }
    return NULL;
}

static enum s3_tls_trouble classify(CURLcode curl, const char *text,
                                    const struct curl_certinfo *info)
{
    const char *subject = cert_field(info, "Subject"), *issuer = cert_field(info, "Issuer");

    for (size_t i = 0; i < sizeof(sayings) / sizeof(sayings[0]); i++) {
        if (!strstr(text, sayings[i].said))
            continue;
        if (sayings[i].trouble == S3_TLS_UNKNOWN_CA && subject && issuer &&
            strcmp(subject, issuer) == 0)
            return S3_TLS_SELF_SIGNED;
        return sayings[i].trouble;
    }
    if (curl == CURLE_SSL_CERTPROBLEM)
        return S3_TLS_OUR_CERTIFICATE;
    return s3_tls_is_alert(text) ? S3_TLS_REFUSED : S3_TLS_HANDSHAKE;
}

/* What the certificate says that matters here. */
static void describe_cert(enum s3_tls_trouble trouble, const struct curl_certinfo *info, char *out,
                          size_t cap)
{
    const char *subject = cert_field(info, "Subject"), *issuer = cert_field(info, "Issuer");
    const char *from = cert_field(info, "Start date"), *until = cert_field(info, "Expire date");

    *out = '\0';
    if (!subject || !issuer)
        return;
    if (trouble == S3_TLS_EXPIRED && until)
        snprintf(out, cap, " (%.80s, until %.40s)", subject, until);
    else if (trouble == S3_TLS_NOT_YET_VALID && from)
        snprintf(out, cap, " (%.80s, from %.40s)", subject, from);
    else if (trouble == S3_TLS_UNKNOWN_CA)
        snprintf(out, cap, " (%.60s, issued by %.60s)", subject, issuer);
    else
        snprintf(out, cap, " (%.120s)", subject);
}

enum s3_tls_trouble s3_tls_explain(CURL *easy, CURLcode curl, const char *curl_text, char *out,
                                   size_t cap)
{
    struct curl_certinfo *info = NULL;
    char cert[CERT_TEXT_MAX] = "";
    enum s3_tls_trouble trouble;
    bool told;
    int n;

    if (curl_easy_getinfo(easy, CURLINFO_CERTINFO, &info))
        info = NULL;
    trouble = classify(curl, curl_text, info);
    told = trouble < S3_TLS_OUR_CERTIFICATE;
    if (told)
        describe_cert(trouble, info, cert, sizeof(cert));
    n = snprintf(out, cap, "%s%s%s%.*s", sentences[trouble], cert, told ? "" : ": ",
                 told ? 0 : (int)strcspn(curl_text, "\r\n"), curl_text);
    err_cut(out, cap, n);
    return trouble;
}
