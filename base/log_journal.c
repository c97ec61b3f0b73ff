/* See log_journal.h. No heap: a datagram is made on the stack, and what does not fit is left
 * out. */
#include "base/log_journal.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log_fields.h"

#define DATAGRAM_MAX 8192
#define FIELD_NAME_MAX 64 /* the journal's limit */

static int journal_fd = -1;
static struct sockaddr_un journal_addr = {.sun_family = AF_UNIX};

static bool journal_connect(int fd)
{
    return connect(fd, (const struct sockaddr *)&journal_addr, sizeof(journal_addr)) == 0;
}

void log_journal_open(const char *path)
{
    int fd;

    if (strlen(path) >= sizeof(journal_addr.sun_path))
        return;
    strcpy(journal_addr.sun_path, path);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && !journal_connect(fd)) {
        close(fd);
        fd = -1;
    }
    log_journal_close();
    journal_fd = fd;
}

void log_journal_renew(void)
{
    if (journal_fd >= 0)
        (void)journal_connect(journal_fd); /* (else lines go to stderr, and it is tried again) */
}

void log_journal_close(void)
{
    if (journal_fd >= 0)
        close(journal_fd);
    journal_fd = -1;
}

bool log_journal_is_open(void)
{
    return journal_fd >= 0;
}

/* ---- the datagram ---- */

struct datagram {
    size_t len;
    char data[DATAGRAM_MAX];
};

static bool has_control(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ')
            return true;
    }
    return false;
}

/* Appends a field, whole or not at all: "NAME=value\n"; or, for a value with control characters,
 * "NAME\n", its length in 8 bytes, little endian, the value, "\n". */
static void put_field(struct datagram *d, const char *name, size_t name_len, const char *value)
{
    size_t n = strlen(value);
    bool binary = has_control(value);
    uint64_t size = htole64(n);
    char *at = d->data + d->len;

    if (d->len + name_len + n + 2 + (binary ? sizeof(size) : 0) > sizeof(d->data))
        return;
    memcpy(at, name, name_len);
    at += name_len;
    *at++ = binary ? '\n' : '=';
    if (binary) {
        memcpy(at, &size, sizeof(size));
        at += sizeof(size);
    }
    memcpy(at, value, n);
    at += n;
    *at++ = '\n';
    d->len = (size_t)(at - d->data);
}

static void journal_text(struct datagram *d, const char *name, const char *value)
{
    put_field(d, name, strlen(name), value);
}

/* A log_field_fn. */
static void put_pair(void *ctx, const char *name, size_t name_len, const char *value)
{
    static const char prefix[] = "STATEPROXY_";
    char full[FIELD_NAME_MAX];
    size_t n = sizeof(prefix) - 1;

    if (n + name_len > sizeof(full))
        return;
    memcpy(full, prefix, n);
    for (size_t i = 0; i < name_len; i++, n++)
        full[n] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 'a' + 'A' : name[i]);
    put_field(ctx, full, n, value);
}

bool log_journal_send(int priority, const char *process, const char *message, const char *fmt,
                      va_list ap)
{
    struct datagram d;
    char number[2] = {(char)('0' + priority), '\0'};

    if (journal_fd < 0)
        return false;
    d.len = 0;
    journal_text(&d, "MESSAGE", message);
    journal_text(&d, "PRIORITY", number);
    journal_text(&d, "SYSLOG_IDENTIFIER", "stateproxyd");
    journal_text(&d, "STATEPROXY_PROCESS", process);
    log_fields(fmt, ap, put_pair, &d);
    return write(journal_fd, d.data, d.len) == (ssize_t)d.len;
}
