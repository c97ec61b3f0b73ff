/* Checks of the syntax of particular values. Nothing is opened or resolved. */
#ifndef CONF_CONF_CHECK_H
#define CONF_CONF_CHECK_H

#include <stdbool.h>

/* A bucket name by S3's rules for new buckets: 3 to 63 of a-z 0-9 . - */
bool conf_is_aws_bucket(const char *text);

/* Also accepts what other servers allow: capitals, "_", and Ceph's "tenant:bucket". (conf_finish.c
 * applies the strict rule if the endpoint is AWS.) */
bool conf_check_bucket(char *text);

/* A key prefix. Slashes at both ends are removed; no empty, "." or ".." component. */
bool conf_check_prefix(char *text);

bool conf_check_region(char *text);

/* "arn:" and characters of an ARN. (s3/s3_endpoint.c knows which are of use.) */
bool conf_is_arn(const char *text);

/* 12 digits, or "". */
bool conf_check_account_or_none(char *text);

/* Capitals, digits and "_", or "". */
bool conf_check_class_or_none(char *text);

/* 32 bytes in base64. */
bool conf_check_customer_key(char *text);

/* name=value&name=value, percent-encoded, up to 10; or "". */
bool conf_check_tags(char *text);

/* Printable ASCII without spaces at its ends, or "". */
bool conf_check_ascii(char *text);

/* http:// or https://, host, optional port and path; no user, query, fragment. Slashes at the end
 * are removed. "" is valid. */
bool conf_check_url(char *text);

/* An absolute path without "." and ".." components. Repeated and trailing slashes are removed. */
bool conf_check_path(char *text);
/* The same, or "". */
bool conf_check_path_or_none(char *text);
/* An absolute path, an address of base/address.h, or "". */
bool conf_check_listen_or_none(char *text);
/* As conf_check_path, but not "/"; or /dev/fd/N. */
bool conf_check_mount(char *text);

/* A user name or number, or "". */
bool conf_check_user(char *text);

/* Printable ASCII without spaces. */
bool conf_check_token(char *text);

/* The same, or "". */
bool conf_check_token_or_none(char *text);

/* Anything without control characters. */
bool conf_check_any(char *text);

/* N of /dev/fd/N; -1 for other paths, -2 for a bad N. */
int conf_check_fd_of(const char *path);

#endif
