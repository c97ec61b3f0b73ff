/* Serves the toy. It reads each request as the workers do: with one read, the payload at a page. */
#include "tests/fuse/toyfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse/fuse_attr.h"
#include "fuse/fuse_decode.h"
#include "fuse/fuse_reply.h"

#define FIRST_NODE 2 /* of file 0; 1 is the directory */
#define PAGE 4096
#define DIR_BYTES (1u << 20)

struct server {
    struct toy *toy;
    int fd;
    char *data[TOY_FILES];
    char *answer; /* room for a READDIRPLUS */
};

struct toy *toy_new(void)
{
    size_t size = sizeof(struct toy) + (size_t)TOY_FILES * TOY_BYTES;
    struct toy *toy =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (toy == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    toy->valid_ns = 1000000000;
    return toy;
}

void toy_free(struct toy *toy)
{
    munmap(toy, sizeof(struct toy) + (size_t)TOY_FILES * TOY_BYTES);
}

static char *data_of(struct toy *toy, unsigned i)
{
    return (char *)(toy + 1) + (size_t)i * TOY_BYTES;
}

unsigned toy_add(struct toy *toy, const char *name, const char *text)
{
    unsigned i = toy->n_files++;

    snprintf(toy->file[i].name, sizeof(toy->file[i].name), "%s", name);
    toy->file[i].type = S_IFREG;
    toy->file[i].size = strlen(text);
    memcpy(data_of(toy, i), text, strlen(text));
    return i;
}

static void said(struct server *s, int r)
{
    if (r < 0 && r != -ENOENT)
        s->toy->reply_error = r;
}

static void error(struct server *s, const struct fuse_request *req, int code)
{
    said(s, fuse_reply_err(s->fd, req->unique, code));
}

static void data(struct server *s, const struct fuse_request *req, const void *buf, size_t len)
{
    said(s, fuse_reply_buf(s->fd, req->unique, buf, len));
}

static void fill_attr(struct server *s, uint64_t nodeid, struct fuse_attr *ret)
{
    mode_t type = nodeid == FUSE_ROOT_ID ? S_IFDIR : s->toy->file[nodeid - FIRST_NODE].type;
    struct fuse_attr_src src = {
        .ino = nodeid,
        .size = type == S_IFDIR ? 0 : s->toy->file[nodeid - FIRST_NODE].size,
        .mtime_ns = 1000000000000000000,
        .mode = type | (type == S_IFDIR ? 0755 : 0666),
        .nlink = 1,
    };

    fuse_attr_fill(ret, &src);
}

static void fill_entry(struct server *s, unsigned i, struct fuse_entry_out *ret)
{
    memset(ret, 0, sizeof(*ret));
    fuse_entry_fill(ret, i + FIRST_NODE, 0, s->toy->valid_ns, s->toy->valid_ns);
    fill_attr(s, i + FIRST_NODE, &ret->attr);
    s->toy->balance[i]++;
}

static void reply_attr(struct server *s, const struct fuse_request *req)
{
    struct fuse_attr_out out;

    fuse_attr_out_fill(&out, s->toy->valid_ns);
    fill_attr(s, req->nodeid, &out.attr);
    data(s, req, &out, sizeof(out));
}

static unsigned find(struct server *s, const char *name)
{
    unsigned i = 0;

    while (i < s->toy->n_files && strcmp(s->toy->file[i].name, name) != 0)
        i++;
    return i;
}

/* ---- a LOOKUP that is held ---- */

static void nap(void)
{
    usleep(100);
}

static unsigned is_on(const unsigned *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void hold(struct toy *toy, const struct fuse_request *req)
{
    bool in_root = req->nodeid == FUSE_ROOT_ID;

    toy->held.pid = req->pid;
    snprintf(toy->held.path, sizeof(toy->held.path), "%s%s%s",
             in_root ? "" : toy->file[req->nodeid - FIRST_NODE].name, in_root ? "" : "/",
             req->name);
    __atomic_store_n(&toy->held.on, 1, __ATOMIC_RELEASE);
    while (is_on(&toy->held.on))
        nap();
}

bool toy_held(struct toy *toy, pid_t pid)
{
    siginfo_t si = {.si_pid = 0};

    while (!is_on(&toy->held.on)) {
        if (waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid)
            return false;
        nap();
    }
    return true;
}

void toy_let_go(struct toy *toy)
{
    __atomic_store_n(&toy->held.on, 0, __ATOMIC_RELEASE);
}

static void on_readlink(struct server *s, const struct fuse_request *req)
{
    unsigned i = (unsigned)req->nodeid - FIRST_NODE;

    data(s, req, s->data[i], s->toy->file[i].size);
}

static void on_lookup(struct server *s, const struct fuse_request *req)
{
    unsigned i = find(s, req->name);
    struct fuse_entry_out out;

    if (s->toy->hold)
        hold(s->toy, req);
    if (req->name_len > FUSE_NAME_BYTES) {
        error(s, req, -ENAMETOOLONG);
        return;
    }
    if (i == s->toy->n_files) {
        error(s, req, -ENOENT);
        return;
    }
    fill_entry(s, i, &out);
    data(s, req, &out, sizeof(out));
}

static void forget(struct server *s, uint64_t nodeid, uint64_t n)
{
    if (nodeid >= FIRST_NODE)
        s->toy->balance[nodeid - FIRST_NODE] -= (int64_t)n;
}

static void on_batch_forget(struct server *s, const struct fuse_request *req)
{
    const struct fuse_forget_one *one = req->data;

    for (uint32_t i = 0; i < req->batch_forget->count; i++)
        forget(s, one[i].nodeid, one[i].nlookup);
}

static void on_open(struct server *s, const struct fuse_request *req)
{
    struct fuse_open_out out = {.fh = req->nodeid};

    if (req->opcode == FUSE_OPEN) {
        out.open_flags = s->toy->open_flags;
        if (req->open->flags & O_TRUNC)
            s->toy->file[req->nodeid - FIRST_NODE].size = 0;
    }
    data(s, req, &out, sizeof(out));
}

static void on_create(struct server *s, const struct fuse_request *req)
{
    unsigned i = find(s, req->name);
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out;

    if (i == TOY_FILES) {
        error(s, req, -ENOSPC);
        return;
    }
    if (i == s->toy->n_files)
        toy_add(s->toy, req->name, "");
    memset(&out, 0, sizeof(out));
    fill_entry(s, i, &out.entry);
    out.open.fh = i + FIRST_NODE;
    data(s, req, &out, sizeof(out));
}

static void on_read(struct server *s, const struct fuse_request *req)
{
    uint64_t size = s->toy->file[req->nodeid - FIRST_NODE].size;
    uint64_t off = req->read->offset;
    uint64_t len = req->read->size;

    if (len > s->toy->max_read)
        s->toy->max_read = len;
    if (off > size)
        off = size;
    if (len > size - off)
        len = size - off;
    data(s, req, s->data[req->nodeid - FIRST_NODE] + off, len);
}

static void on_write(struct server *s, const struct fuse_request *req)
{
    uint64_t *size = &s->toy->file[req->nodeid - FIRST_NODE].size;
    uint64_t end = req->write->offset + req->data_len;
    struct fuse_write_out out = {.size = (uint32_t)req->data_len};

    if ((uintptr_t)req->data % PAGE != 0)
        s->toy->malformed++;
    if (req->data_len > s->toy->max_write)
        s->toy->max_write = req->data_len;
    s->toy->last_pid = req->pid;
    if (end > TOY_BYTES) {
        error(s, req, -EFBIG);
        return;
    }
    memcpy(s->data[req->nodeid - FIRST_NODE] + req->write->offset, req->data, req->data_len);
    if (end > *size)
        *size = end;
    data(s, req, &out, sizeof(out));
}

static void on_readdir(struct server *s, const struct fuse_request *req)
{
    bool plus = req->opcode == FUSE_READDIRPLUS;
    size_t cap = req->read->size < DIR_BYTES ? req->read->size : DIR_BYTES;
    size_t used = 0;

    for (uint64_t i = req->read->offset; i < s->toy->n_files; i++) {
        const char *name = s->toy->file[i].name;
        struct fuse_entry_out entry;
        bool fits;

        if (plus) {
            fill_entry(s, (unsigned)i, &entry);
            fits = fuse_direntplus_put(s->answer, cap, &used, i + FIRST_NODE, i + 1, DT_REG, name,
                                       strlen(name), &entry);
        } else {
            fits = fuse_dirent_put(s->answer, cap, &used, i + FIRST_NODE, i + 1, DT_REG, name,
                                   strlen(name));
        }
        if (!fits) {
            s->toy->balance[i] -= plus;
            break;
        }
    }
    data(s, req, s->answer, used);
}

static void on_setattr(struct server *s, const struct fuse_request *req)
{
    if ((req->setattr->valid & FATTR_SIZE) && req->nodeid >= FIRST_NODE)
        s->toy->file[req->nodeid - FIRST_NODE].size = req->setattr->size;
    reply_attr(s, req);
}

static void on_statfs(struct server *s, const struct fuse_request *req)
{
    struct fuse_statfs_out out = {.st = {.bsize = 4096, .namelen = 255}};

    data(s, req, &out, sizeof(out));
}

static void on_xattr(struct server *s, const struct fuse_request *req)
{
    error(s, req, s->toy->getxattr_yes ? -ENODATA : -ENOSYS);
}

static void serve(struct server *s, const struct fuse_request *req)
{
    switch (req->opcode) {
    case FUSE_LOOKUP:
        on_lookup(s, req);
        break;
    case FUSE_READLINK:
        on_readlink(s, req);
        break;
    case FUSE_FORGET:
        forget(s, req->nodeid, req->forget->nlookup);
        break;
    case FUSE_BATCH_FORGET:
        on_batch_forget(s, req);
        break;
    case FUSE_GETATTR:
        reply_attr(s, req);
        break;
    case FUSE_SETATTR:
        on_setattr(s, req);
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        on_open(s, req);
        break;
    case FUSE_CREATE:
        on_create(s, req);
        break;
    case FUSE_READ:
        on_read(s, req);
        break;
    case FUSE_WRITE:
        on_write(s, req);
        break;
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
        on_readdir(s, req);
        break;
    case FUSE_STATFS:
        on_statfs(s, req);
        break;
    case FUSE_GETXATTR:
        on_xattr(s, req);
        break;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_FLUSH:
    case FUSE_FSYNC:
    case FUSE_DESTROY:
        error(s, req, 0);
        break;
    case FUSE_INTERRUPT:
        break;
    default:
        error(s, req, -ENOSYS);
    }
}

/* Reads until the device is empty. False when the mount has gone. */
static bool drain(struct server *s, char *buf, size_t size)
{
    for (;;) {
        ssize_t n = read(s->fd, buf, size);
        struct fuse_request req;
        int r;

        if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOENT))
            return true;
        if (n <= 0) {
            s->toy->end_error = errno;
            return false;
        }
        r = fuse_decode(buf, (size_t)n, &req);
        if (req.opcode < TOY_OPCODES)
            s->toy->count[req.opcode]++;
        if (s->toy->silent)
            continue;
        if (r == -EPROTO)
            s->toy->malformed++;
        if (r == 0)
            serve(s, &req);
        else if (fuse_wants_reply(req.opcode))
            error(s, &req, r == -ENOSYS ? -ENOSYS : -EIO);
    }
}

static __attribute__((noreturn)) void child(struct toy *toy, int fd, uint32_t max_write)
{
    struct server s = {.toy = toy, .fd = fd};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    size_t size = FUSE_READ_SIZE(max_write);
    char *pages =
        mmap(NULL, PAGE + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    s.answer = malloc(DIR_BYTES);
    if (pages == MAP_FAILED || !s.answer)
        _exit(1);
    for (unsigned i = 0; i < TOY_FILES; i++)
        s.data[i] = data_of(toy, i);
    while (drain(&s, pages + PAGE - FUSE_READ_HEAD, size))
        poll(&p, 1, -1);
    _exit(0);
}

pid_t toy_start(struct toy *toy, int fd, const struct fuse_negotiated *negotiated)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        child(toy, fd, negotiated->max_write);
    }
    if (pid < 0) {
        perror("fork");
        exit(1);
    }
    return pid;
}

void toy_kill(pid_t pid)
{
    if (pid <= 0)
        return;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
