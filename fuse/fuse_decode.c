/* Decodes requests from one table: a row for each opcode, with the size of its fixed arguments, the
 * number of names that follow, and where the length of the data is given. Never reads beyond `len`
 * bytes, whatever the request contains. Does not check what a request asks for. */
#include "fuse/fuse_decode.h"

#include <errno.h>
#include <string.h>

enum data_kind { DATA_NONE, DATA_WRITE, DATA_SETXATTR, DATA_IOCTL, DATA_RETRIEVE, DATA_FORGETS };

struct op_row {
    bool known;
    uint8_t arg; /* minimum bytes of fixed arguments */
    uint8_t names;
    uint8_t data; /* enum data_kind */
    bool no_reply;
};

#define ARG(type) ((uint8_t)sizeof(struct type))

/* SETUPMAPPING, REMOVEMAPPING (DAX, virtiofs only) and STATX are left out: ENOSYS. */
static const struct op_row op_rows[] = {
    [FUSE_LOOKUP] = {true, 0, 1, DATA_NONE, false},
    [FUSE_FORGET] = {true, ARG(fuse_forget_in), 0, DATA_NONE, true},
    [FUSE_GETATTR] = {true, ARG(fuse_getattr_in), 0, DATA_NONE, false},
    [FUSE_SETATTR] = {true, ARG(fuse_setattr_in), 0, DATA_NONE, false},
    [FUSE_READLINK] = {true, 0, 0, DATA_NONE, false},
    [FUSE_SYMLINK] = {true, 0, 2, DATA_NONE, false},
    [FUSE_MKNOD] = {true, ARG(fuse_mknod_in), 1, DATA_NONE, false},
    [FUSE_MKDIR] = {true, ARG(fuse_mkdir_in), 1, DATA_NONE, false},
    [FUSE_UNLINK] = {true, 0, 1, DATA_NONE, false},
    [FUSE_RMDIR] = {true, 0, 1, DATA_NONE, false},
    [FUSE_RENAME] = {true, ARG(fuse_rename_in), 2, DATA_NONE, false},
    [FUSE_LINK] = {true, ARG(fuse_link_in), 1, DATA_NONE, false},
    [FUSE_OPEN] = {true, ARG(fuse_open_in), 0, DATA_NONE, false},
    [FUSE_READ] = {true, ARG(fuse_read_in), 0, DATA_NONE, false},
    [FUSE_WRITE] = {true, ARG(fuse_write_in), 0, DATA_WRITE, false},
    [FUSE_STATFS] = {true, 0, 0, DATA_NONE, false},
    [FUSE_RELEASE] = {true, ARG(fuse_release_in), 0, DATA_NONE, false},
    [FUSE_FSYNC] = {true, ARG(fuse_fsync_in), 0, DATA_NONE, false},
    /* The short form: FUSE_SETXATTR_EXT is never negotiated. */
    [FUSE_SETXATTR] = {true, FUSE_COMPAT_SETXATTR_IN_SIZE, 1, DATA_SETXATTR, false},
    [FUSE_GETXATTR] = {true, ARG(fuse_getxattr_in), 1, DATA_NONE, false},
    [FUSE_LISTXATTR] = {true, ARG(fuse_getxattr_in), 0, DATA_NONE, false},
    [FUSE_REMOVEXATTR] = {true, 0, 1, DATA_NONE, false},
    [FUSE_FLUSH] = {true, ARG(fuse_flush_in), 0, DATA_NONE, false},
    /* Longer since 7.36: see arg_len. */
    [FUSE_INIT] = {true, offsetof(struct fuse_init_in, flags2), 0, DATA_NONE, false},
    [FUSE_OPENDIR] = {true, ARG(fuse_open_in), 0, DATA_NONE, false},
    [FUSE_READDIR] = {true, ARG(fuse_read_in), 0, DATA_NONE, false},
    [FUSE_RELEASEDIR] = {true, ARG(fuse_release_in), 0, DATA_NONE, false},
    [FUSE_FSYNCDIR] = {true, ARG(fuse_fsync_in), 0, DATA_NONE, false},
    [FUSE_GETLK] = {true, ARG(fuse_lk_in), 0, DATA_NONE, false},
    [FUSE_SETLK] = {true, ARG(fuse_lk_in), 0, DATA_NONE, false},
    [FUSE_SETLKW] = {true, ARG(fuse_lk_in), 0, DATA_NONE, false},
    [FUSE_ACCESS] = {true, ARG(fuse_access_in), 0, DATA_NONE, false},
    [FUSE_CREATE] = {true, ARG(fuse_create_in), 1, DATA_NONE, false},
    [FUSE_INTERRUPT] = {true, ARG(fuse_interrupt_in), 0, DATA_NONE, true},
    [FUSE_BMAP] = {true, ARG(fuse_bmap_in), 0, DATA_NONE, false},
    [FUSE_DESTROY] = {true, 0, 0, DATA_NONE, false},
    [FUSE_IOCTL] = {true, ARG(fuse_ioctl_in), 0, DATA_IOCTL, false},
    [FUSE_POLL] = {true, ARG(fuse_poll_in), 0, DATA_NONE, false},
    [FUSE_NOTIFY_REPLY] = {true, ARG(fuse_notify_retrieve_in), 0, DATA_RETRIEVE, true},
    [FUSE_BATCH_FORGET] = {true, ARG(fuse_batch_forget_in), 0, DATA_FORGETS, true},
    [FUSE_FALLOCATE] = {true, ARG(fuse_fallocate_in), 0, DATA_NONE, false},
    [FUSE_READDIRPLUS] = {true, ARG(fuse_read_in), 0, DATA_NONE, false},
    [FUSE_RENAME2] = {true, ARG(fuse_rename2_in), 2, DATA_NONE, false},
    [FUSE_LSEEK] = {true, ARG(fuse_lseek_in), 0, DATA_NONE, false},
    [FUSE_COPY_FILE_RANGE] = {true, ARG(fuse_copy_file_range_in), 0, DATA_NONE, false},
    [FUSE_SYNCFS] = {true, ARG(fuse_syncfs_in), 0, DATA_NONE, false},
    [FUSE_TMPFILE] = {true, ARG(fuse_create_in), 1, DATA_NONE, false},
    [FUSE_OP_COPY_FILE_RANGE_64] = {true, ARG(fuse_copy_file_range_in), 0, DATA_NONE, false},
};

static const struct op_row *row_of(uint32_t opcode)
{
    if (opcode >= sizeof(op_rows) / sizeof(op_rows[0]) || !op_rows[opcode].known)
        return NULL;
    return &op_rows[opcode];
}

bool fuse_wants_reply(uint32_t opcode)
{
    const struct op_row *row = row_of(opcode);

    return !row || !row->no_reply;
}

/* The rest of a request while it is being decoded. */
struct cursor {
    const char *at;
    size_t left;
};

static const char *take_name(struct cursor *c, size_t *ret_len)
{
    const char *name = c->at;
    const char *end = memchr(name, '\0', c->left);

    if (!end || end == name)
        return NULL;
    *ret_len = (size_t)(end - name);
    c->at = end + 1;
    c->left -= *ret_len + 1;
    return name;
}

static size_t data_size(const struct op_row *row, const struct fuse_request *req)
{
    switch ((enum data_kind)row->data) {
    case DATA_NONE:
        return 0;
    case DATA_WRITE:
        return req->write->size;
    case DATA_SETXATTR:
        return req->setxattr->size;
    case DATA_IOCTL:
        return req->ioctl->in_size;
    case DATA_RETRIEVE:
        return req->retrieve->size;
    case DATA_FORGETS: /* cannot overflow: 2^32 times 16 */
        return sizeof(struct fuse_forget_one) * (uint64_t)req->batch_forget->count;
    }
    return 0;
}

static int take_arg(const struct op_row *row, struct cursor *c, struct fuse_request *ret)
{
    size_t len = row->arg;

    if (c->left < len)
        return -EPROTO;
    if (ret->opcode == FUSE_INIT) /* as much of it as this kernel sends */
        len = c->left < sizeof(struct fuse_init_in) ? c->left : sizeof(struct fuse_init_in);
    if (len > 0)
        ret->arg = c->at;
    ret->arg_len = len;
    c->at += len;
    c->left -= len;
    return 0;
}

/* Bytes beyond those in the row are ignored: extensions that were not negotiated. */
static int take_rest(const struct op_row *row, bool saved, struct cursor *c,
                     struct fuse_request *ret)
{
    size_t len;

    if (row->names >= 1) {
        ret->name = take_name(c, &ret->name_len);
        if (!ret->name)
            return -EPROTO;
    }
    if (row->names >= 2 && !(saved && ret->opcode == FUSE_SYMLINK)) {
        ret->name2 = take_name(c, &ret->name2_len);
        if (!ret->name2)
            return -EPROTO;
    }
    if (row->data == DATA_NONE ||
        (saved && (row->data == DATA_WRITE || row->data == DATA_SETXATTR)))
        return 0;
    len = data_size(row, ret);
    if (len > c->left)
        return -EPROTO;
    ret->data = c->at;
    ret->data_len = len;
    return 0;
}

static int decode(const void *buf, size_t len, bool saved, struct fuse_request *ret)
{
    const struct fuse_in_header *head = buf;
    struct cursor c;
    const struct op_row *row;
    int r;

    memset(ret, 0, sizeof(*ret));
    if ((uintptr_t)buf % 8 != 0 || len < sizeof(*head))
        return -EPROTO;
    ret->head = head;
    ret->opcode = head->opcode;
    ret->unique = head->unique;
    ret->nodeid = head->nodeid;
    ret->uid = head->uid;
    ret->gid = head->gid;
    ret->pid = head->pid;
    if (head->len < sizeof(*head) || head->len > len || (!saved && head->len != len))
        return -EPROTO;

    row = row_of(ret->opcode);
    if (!row)
        return -ENOSYS;
    c.at = (const char *)buf + sizeof(*head);
    c.left = head->len - sizeof(*head);
    r = take_arg(row, &c, ret);
    return r ? r : take_rest(row, saved, &c, ret);
}

int fuse_decode(const void *buf, size_t len, struct fuse_request *ret)
{
    return decode(buf, len, false, ret);
}

int fuse_decode_saved(const void *buf, size_t len, struct fuse_request *ret)
{
    return decode(buf, len, true, ret);
}

size_t fuse_request_size(const struct fuse_request *req)
{
    switch (req->opcode) {
    case FUSE_WRITE:
        return FUSE_READ_HEAD;
    case FUSE_SETXATTR:
    case FUSE_SYMLINK: /* up to the first name and its NUL */
        return (size_t)(req->name - (const char *)req->head) + req->name_len + 1;
    default:
        return req->head->len;
    }
}

size_t fuse_request_save(const struct fuse_request *req, void *dst, size_t cap)
{
    size_t size = fuse_request_size(req);

    if (size > cap)
        return 0;
    memcpy(dst, req->head, size);
    ((struct fuse_in_header *)dst)->len = (uint32_t)size;
    return size;
}
