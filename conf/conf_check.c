/* Syntax checks and normal forms of string values. The caller has already checked UTF-8, control
 * characters and length. */
#include "conf/conf_check.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <string.h>

#include "base/address.h"
#include "conf/conf_value.h"

#define DEV_FD "/dev/fd/"
#define TAGS_MAX 10 /* of one object, at S3 */
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static bool consists_of(const char *text, const char *allowed)
{
    return text[strspn(text, allowed)] == '\0';
}

static void trim_end(char *text, char c)
{
    size_t n = strlen(text);

    while (n > 0 && text[n - 1] == c)
        text[--n] = '\0';
}

static bool is_ipv4(const char *text)
{
    struct in_addr addr;

    return inet_pton(AF_INET, text, &addr) == 1;
}

bool conf_check_bucket(char *text)
{
    size_t n = strlen(text);

    return conf_is_aws_bucket(text) || conf_is_arn(text) ||
           (n >= 3 && consists_of(text, LOWER UPPER DIGITS ".-_:") &&
            isalnum((unsigned char)text[0]) && isalnum((unsigned char)text[n - 1]) &&
            !strstr(text, "..") && !is_ipv4(text));
}

bool conf_is_aws_bucket(const char *text)
{
    size_t n = strlen(text);

    return n >= 3 && n <= 63 && consists_of(text, LOWER DIGITS ".-") &&
           isalnum((unsigned char)text[0]) && isalnum((unsigned char)text[n - 1]) &&
           !strstr(text, "..") && !is_ipv4(text);
}

bool conf_is_arn(const char *text)
{
    return strncmp(text, "arn:", 4) == 0 && consists_of(text, LOWER UPPER DIGITS ":/.-_");
}

bool conf_check_account_or_none(char *text)
{
    return !*text || (strlen(text) == 12 && consists_of(text, DIGITS));
}

bool conf_check_class_or_none(char *text)
{
    return consists_of(text, UPPER DIGITS "_");
}

/* 43 digits of base64 and one "=" are 32 bytes. (The last digit has two bits to spare.) */
bool conf_check_customer_key(char *text)
{
    return strlen(text) == 44 && strspn(text, LOWER UPPER DIGITS "+/") == 43 && text[43] == '=' &&
           strchr("AEIMQUYcgkosw048", text[42]);
}

bool conf_check_ascii(char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p < ' ' || *p > '~')
            return false;
    }
    return *text != ' ' && (!*text || text[strlen(text) - 1] != ' ');
}

static bool is_coded(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '%' &&
            (!isxdigit((unsigned char)text[i + 1]) || !isxdigit((unsigned char)text[i + 2])))
            return false;
        if (!strchr(LOWER UPPER DIGITS "-._~+%", text[i]))
            return false;
    }
    return true;
}

bool conf_check_tags(char *text)
{
    unsigned n = 0;

    for (const char *p = text; *p;) {
        size_t len = strcspn(p, "&"), name = strcspn(p, "=&");

        if (++n > TAGS_MAX || name == 0 || p[name] != '=' || !is_coded(p, name) ||
            !is_coded(p + name + 1, len - name - 1))
            return false;
        p += len;
        if (*p == '&' && !*++p)
            return false;
    }
    return true;
}

/* Each component between slashes must be a name: not empty, not "." or "..", not too long. */
static bool components_are_names(const char *text)
{
    for (;;) {
        size_t n = strcspn(text, "/");

        if (n == 0)
            return false;
        if (text[0] == '.' && (n == 1 || (n == 2 && text[1] == '.')))
            return false;
        if (text[n] == '\0')
            return true;
        text += n + 1;
    }
}

bool conf_check_prefix(char *text)
{
    size_t lead = strspn(text, "/");

    memmove(text, text + lead, strlen(text + lead) + 1);
    trim_end(text, '/');
    return *text == '\0' || components_are_names(text);
}

bool conf_check_region(char *text)
{
    return *text && consists_of(text, LOWER UPPER DIGITS "-_");
}

/* ":80" or "". */
static bool is_port(const char *text)
{
    uint64_t port;

    if (*text == '\0')
        return true;
    return *text == ':' && conf_value_uint(text + 1, &port) == 0 && port >= 1 && port <= 65535;
}

/* "host:port" of len bytes, host a name, an IPv4 or a bracketed IPv6 address. */
static bool is_authority(const char *text, size_t len)
{
    char copy[280];
    struct in6_addr addr;
    char *end;

    if (len == 0 || len >= sizeof(copy))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (copy[0] == '[') {
        end = strchr(copy, ']');
        if (!end || !is_port(end + 1))
            return false;
        *end = '\0';
        return inet_pton(AF_INET6, copy + 1, &addr) == 1;
    }
    end = copy + strspn(copy, LOWER UPPER DIGITS "-._");
    return end > copy && is_port(end) && copy[0] != '-' && copy[0] != '.';
}

bool conf_check_url(char *text)
{
    const char *rest;
    size_t len;

    if (*text == '\0')
        return true;
    if (strncmp(text, "http://", 7) == 0)
        rest = text + 7;
    else if (strncmp(text, "https://", 8) == 0)
        rest = text + 8;
    else
        return false;
    len = strcspn(rest, "/");
    if (!is_authority(rest, len))
        return false;
    trim_end(text, '/');
    rest += len;
    if (*rest == '\0')
        return true;
    return consists_of(rest, LOWER UPPER DIGITS "/-._~%+") && components_are_names(rest + 1);
}

bool conf_check_path(char *text)
{
    char *to = text;

    if (text[0] != '/')
        return false;
    for (const char *from = text; *from; from++) {
        if (from[0] != '/' || from[1] != '/')
            *to++ = *from;
    }
    *to = '\0';
    if (to > text + 1)
        trim_end(text, '/');
    return text[1] == '\0' || components_are_names(text + 1);
}

bool conf_check_path_or_none(char *text)
{
    return *text == '\0' || conf_check_path(text);
}

bool conf_check_listen_or_none(char *text)
{
    struct sockaddr_storage address;
    socklen_t len;

    return *text == '/' ? conf_check_path(text)
                        : *text == '\0' || address_parse(text, &address, &len) == 0;
}

int conf_check_fd_of(const char *path)
{
    uint64_t fd;

    if (strncmp(path, DEV_FD, strlen(DEV_FD)) != 0)
        return -1;
    if (conf_value_uint(path + strlen(DEV_FD), &fd) < 0 || fd < 3 || fd > INT32_MAX)
        return -2;
    return (int)fd;
}

bool conf_check_mount(char *text)
{
    return conf_check_path(text) && text[1] != '\0' && conf_check_fd_of(text) != -2;
}

bool conf_check_user(char *text)
{
    return *text != '-' && consists_of(text, LOWER UPPER DIGITS "-._");
}

bool conf_check_token(char *text)
{
    for (; *text; text++) {
        if (*text <= 0x20 || *text >= 0x7f)
            return false;
    }
    return true;
}

bool conf_check_token_or_none(char *text)
{
    return !*text || conf_check_token(text);
}

bool conf_check_any(char *text)
{
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 127)
            return false;
    }
    return true;
}
