/* TLS of one client: certificates and keys, read once; what curl is told of them; and what went
 * wrong with a handshake, in words. */
#ifndef S3_S3_TLS_H
#define S3_S3_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include <curl/curl.h>

#include "base/err.h"
#include "s3/s3.h"

struct s3_tls;

/* The system's CA bundle, NULL if none can be read. */
const char *s3_tls_system_ca(void);

/* Reads the CA bundle and, if configured, the client's certificate and key, whose memory is locked
 * and wiped. 0 and *ret_tls, or -errno with *err filled (EINVAL: a file that cannot be read, or
 * has no PEM of its kind; ENOMEM). */
must_use int s3_tls_new(const struct s3_client_conf *conf, struct s3_tls **ret_tls,
                        struct err *err);
void s3_tls_free(struct s3_tls *tls); /* NULL is fine */

/* Tells curl; `tls` must outlive the transfer. False without memory. */
bool s3_tls_set(const struct s3_tls *tls, CURL *easy);

/* The peer ended the connection with a TLS alert, as curl's text of a failed read tells: in TLS 1.3
 * a server may refuse a client only after the handshake. */
bool s3_tls_is_alert(const char *curl_text);

/* What was wrong with a handshake that ended with `curl` and this text of curl's, and a sentence
 * on it into `out` (cut between words), with what the certificate says of itself. */
enum s3_tls_trouble s3_tls_explain(CURL *easy, CURLcode curl, const char *curl_text, char *out,
                                   size_t cap);

/* What an operator can do about it. */
const char *s3_tls_advice(enum s3_tls_trouble trouble);

#endif
