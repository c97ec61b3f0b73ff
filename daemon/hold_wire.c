/* Messages between a daemon and its holder: sent, received and taken apart. What they mean is in
 * hold.c and holder.c. */
#include "daemon/hold_wire.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

#define PASSED_MAX 8 /* descriptors in a message that are closed properly */

int hold_send(int sock, int passed, const char *text)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    union fd_room room;
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (passed >= 0)
        fd_pass(&msg, &room, passed);
    if (sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
        return 0;
    /* (of descriptors that are on their way, each user may have as many as it may have open) */
    return errno == ENOBUFS || errno == ETOOMANYREFS ? -EAGAIN : -errno;
}

int hold_send_kept(int sock, int passed, int number)
{
    char text[24];

    if (number == HOLD_RECORD)
        return hold_send(sock, passed, "record");
    snprintf(text, sizeof(text), "fd %d", number);
    return hold_send(sock, passed, text);
}

static bool is_one_line(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 127)
            return false;
    }
    return true;
}

/* How many descriptors came with it; the last one in *ret_fd, the others are closed. */
static unsigned take_passed(struct msghdr *msg, int *ret_fd)
{
    unsigned n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
            if (*ret_fd >= 0)
                close(*ret_fd);
            memcpy(ret_fd, (char *)c + at, sizeof(int));
            n++;
        }
    }
    return n;
}

int hold_recv(int sock, char text[HOLD_TEXT_MAX], int *ret_fd)
{
    struct iovec iov = {.iov_base = text, .iov_len = HOLD_TEXT_MAX - 1};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(PASSED_MAX * sizeof(int))];
    } u = {.room = {0}};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u.room)};
    ssize_t len = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    int fd = -1, r = (int)len;
    unsigned n;

    if (len < 0)
        return -errno;
    n = take_passed(&msg, &fd);
    text[len] = '\0';
    if (n > 1 || (msg.msg_flags & MSG_TRUNC) || !is_one_line(text, (size_t)len) || (len == 0 && n))
        r = -EPROTO;
    else if (msg.msg_flags & MSG_CTRUNC)
        r = -EMFILE;
    if (r <= 0 && fd >= 0)
        close(fd);
    if (r > 0)
        *ret_fd = fd;
    return r;
}

/* Digits to the end of the text, without a sign or a leading zero. */
static bool parse_bounded(const char *text, unsigned long most, unsigned *ret)
{
    unsigned long v = 0;

    if (!*text || (*text == '0' && text[1]))
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        v = 10 * v + (unsigned long)(*text - '0');
        if (v > most)
            return false;
    }
    *ret = (unsigned)v;
    return true;
}

bool hold_parse_kept(const char *text, int *ret_number)
{
    unsigned v;

    if (strcmp(text, "record") == 0) {
        *ret_number = HOLD_RECORD;
        return true;
    }
    if (strncmp(text, "fd ", 3) != 0 || !parse_bounded(text + 3, HOLD_NUMBER_MAX, &v) ||
        v < HOLD_NUMBER_MIN)
        return false;
    *ret_number = (int)v;
    return true;
}

bool hold_parse_count(const char *text, const char *word, unsigned *ret_n)
{
    size_t n = strlen(word);

    return strncmp(text, word, n) == 0 && text[n] == ' ' &&
           parse_bounded(text + n + 1, HOLD_FDS_MAX, ret_n);
}

int hold_check_peer(int sock)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return -errno;
    return peer.uid == 0 || peer.uid == geteuid() ? 0 : -EPERM;
}

void hold_raise_limit(rlim_t n)
{
    struct rlimit lim, more;

    if (getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur >= n)
        return;
    more = (struct rlimit){.rlim_cur = n, .rlim_max = lim.rlim_max < n ? n : lim.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &more) == 0)
        return;
    lim.rlim_cur = lim.rlim_max;
    (void)!setrlimit(RLIMIT_NOFILE, &lim); /* (then fewer are kept) */
}
