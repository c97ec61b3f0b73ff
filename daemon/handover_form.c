/* The fields of the record. What is said of those of the segment (shm/shm_fields.c) holds here too:
 * another meaning, another name. */
#include "daemon/handover_form.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#define T struct handover_record
static const struct form_field record[] = {
    FORM_FIELD_AS(T, magic, FORM_OWN),
    FORM_FIELD_AS(T, version, FORM_OWN),
    FORM_FIELD_AS(T, form_off, FORM_OWN),
    FORM_FIELD_AS(T, form_len, FORM_OWN),
    FORM_FIELD_AS(T, size, FORM_OWN),
    FORM_FIELD(T, n_workers),
    FORM_FIELD_AS(T, n_spool, FORM_OWN),
    FORM_FIELD_AS(T, fixed_len, FORM_OWN),
    FORM_FIELD_AS(T, secrets_len, FORM_OWN),
    FORM_FIELD(T, has_mount),
    FORM_FIELD_AS(T, pad, FORM_PAD),
    FORM_FIELD_AS(T, mount.fd, FORM_FD),
    FORM_FIELD(T, mount.form),
    FORM_FIELD(T, mount.removed_stale),
    {"pad", offsetof(T, mount.removed_stale) + 1, 3, 1, 0, FORM_PAD},
    FORM_FIELD_AS(T, mount.abort_fd, FORM_FD),
    FORM_FIELD_AS(T, mount.waiting_fd, FORM_FD),
    FORM_FIELD(T, mount.dev_major),
    FORM_FIELD(T, mount.dev_minor),
    {"pad", offsetof(T, mount.dev_minor) + 4, 4, 1, 0, FORM_PAD},
    FORM_FIELD(T, mount.mnt_id),
    FORM_FIELD(T, mount.path),
    FORM_FIELD(T, fuse.flags),
    FORM_FIELD(T, fuse.kernel_minor),
    FORM_FIELD(T, fuse.minor),
    FORM_FIELD(T, fuse.max_write),
    FORM_FIELD(T, fuse.max_readahead),
    FORM_FIELD(T, fuse.max_pages),
    FORM_FIELD(T, fuse.max_background),
    FORM_FIELD(T, fuse.congestion_threshold),
    FORM_FIELD(T, fuse.request_timeout),
    {"pad", offsetof(T, fuse.request_timeout) + 4, 4, 1, 0, FORM_PAD},
    FORM_FIELD(T, timeouts.known),
    {"pad", offsetof(T, timeouts.known) + 1, 3, 1, 0, FORM_PAD},
    FORM_FIELD(T, timeouts.def),
    FORM_FIELD(T, timeouts.max),
    {"pad", offsetof(T, timeouts.max) + 4, 4, 1, 0, FORM_PAD},
    FORM_FIELD(T, request_limit_ns),
    FORM_FIELD(T, traits.probed),
    FORM_FIELD(T, traits.fresh),
    FORM_FIELD(T, traits.put_conditions),
    FORM_FIELD(T, traits.complete_conditions),
    FORM_FIELD(T, traits.delete_if_match),
    FORM_FIELD(T, traits.copy_conditions),
    {"pad", offsetof(T, traits.copy_conditions) + 1, 2, 1, 0, FORM_PAD},
    FORM_FIELD(T, traits.habits),
    FORM_FIELD(T, traits.later),
    FORM_FIELD(T, traits.moved),
    FORM_FIELD(T, traits.name),
    {"pad", offsetof(T, traits.name) + SERVER_NAME_MAX, 2, 1, 0, FORM_PAD},
    FORM_FIELD_AS(T, segment_fd, FORM_FD),
    FORM_FIELD_AS(T, notify_fd, FORM_FD),
    FORM_FIELD_AS(T, forget_fd, FORM_FD),
    FORM_FIELD_AS(T, keeper_fd, FORM_FD),
    FORM_FIELD_AS(T, listen_fd, FORM_FD),
    FORM_FIELD_AS(T, metrics_fd, FORM_FD),
    FORM_FIELD_AS(T, boxes_fd, FORM_FD),
    FORM_ARRAY_AS(T, wake_fd, FORM_FD),
    FORM_ARRAY_AS(T, park_fd, FORM_FD),
    {"pad", offsetof(T, park_fd) + sizeof(FORM_OF(T, park_fd)), 4, 1, 0, FORM_PAD},
    FORM_FIELD(T, own.started_ns),
    FORM_FIELD(T, own.times),
    FORM_FIELD(T, own.left),
    FORM_FIELD(T, own.in_place),
    {"pad", offsetof(T, own.in_place) + 1, 2, 1, 0, FORM_PAD},
    FORM_FIELD(T, own.set),
    FORM_ARRAY_AS(T, own.life_fd, FORM_FD),
    {"pad", offsetof(T, own.life_fd) + sizeof(FORM_OF(T, own.life_fd)), 4, 1, 0, FORM_PAD},
    FORM_FIELD_AS(T, own.control.listener_fd, FORM_FD),
    FORM_FIELD_AS(T, own.control.client_fd, FORM_FD),
    FORM_FIELD(T, own.control.path.addr), /* has the form of the kernel */
    {"pad", offsetof(T, own.control.path.addr) + sizeof(struct sockaddr_un), 2, 1, 0, FORM_PAD},
    FORM_FIELD(T, own.control.path.dev),
    FORM_FIELD(T, own.control.path.ino),
    FORM_FIELD(T, own.children.n),
    {"pad", offsetof(T, own.children.n) + 4, 4, 1, 0, FORM_PAD},
    FORM_EACH(T, own.children.child, role),
    FORM_EACH(T, own.children.child, slot),
    FORM_EACH(T, own.children.child, restarts),
    FORM_EACH(T, own.children.child, pid),
    {"pad", offsetof(T, own.children.child[0].pid) + 4, 4, CHILDREN_MAX,
     sizeof(struct child_handed), FORM_PAD},
    FORM_EACH(T, own.children.child, started_ns),
};
#undef T

static const struct form_field spool[] = {
    FORM_FIELD_AS(struct worker_spool, mem_fd, FORM_FD),
    FORM_FIELD_AS(struct worker_spool, file_fd, FORM_FD),
};

static struct form_part part_at(const char *name, uint64_t at, uint64_t n, uint64_t len,
                                const struct form_field *fields, size_t n_fields)
{
    return (struct form_part){.name = name,
                              .at = at,
                              .sets = 1,
                              .n = n,
                              .stride = len,
                              .len = len,
                              .fields = fields,
                              .n_fields = (uint32_t)n_fields};
}

void handover_form_parts(const struct handover_record *r, struct form_part ret[HANDOVER_PARTS])
{
    uint64_t at = sizeof(*r);

    ret[0] = part_at("record", 0, 1, sizeof(*r), record, sizeof(record) / sizeof(record[0]));
    ret[1] = part_at("spool", at, r->n_spool, sizeof(struct worker_spool), spool,
                     sizeof(spool) / sizeof(spool[0]));
    at += r->n_spool * sizeof(struct worker_spool);
    ret[2] = part_at("fixed", at, r->fixed_len, 1, NULL, 0);
    ret[3] = part_at("secrets", at + r->fixed_len, r->secrets_len, 1, NULL, 0);
}

size_t handover_form_end(const struct handover_record *r)
{
    return sizeof(*r) + r->n_spool * sizeof(struct worker_spool) + r->fixed_len + r->secrets_len;
}

/* ---- of another form ---- */

static bool find_count(const struct form *form, const uint8_t *data, const char *name, uint32_t max,
                       uint32_t *ret)
{
    uint64_t at;
    uint32_t len;

    if (!form_find(form, "record", name, &at, &len) || len != sizeof(*ret))
        return false;
    memcpy(ret, data + at, sizeof(*ret));
    return *ret <= max;
}

/* The counts, and what a field is that the other has not. */
static int begin_record(const struct form *form, const uint8_t *data, struct handover_record *r,
                        struct err *err)
{
    *r = (struct handover_record){
        .magic = HANDOVER_MAGIC,
        .version = PACKAGE_VERSION,
        .size = sizeof(*r),
        .mount = {.fd = -1, .abort_fd = -1, .waiting_fd = -1},
        .segment_fd = -1,
        .notify_fd = -1,
        .forget_fd = -1,
        .keeper_fd = -1,
        .listen_fd = -1,
        .metrics_fd = -1,
        .boxes_fd = -1,
        .own = {.life_fd = {-1, -1}, .control = {.listener_fd = -1, .client_fd = -1}}};
    if (!find_count(form, data, "n_spool", SHM_SESSIONS_MAX, &r->n_spool) ||
        !find_count(form, data, "fixed_len", HANDOVER_TEXT_MAX, &r->fixed_len) ||
        !find_count(form, data, "secrets_len", HANDOVER_TEXT_MAX, &r->secrets_len))
        return err_set(err, EPROTO, "the record of the other version makes no sense");
    return 0;
}

static int own_form(const struct handover_record *r, struct form **ret, struct err *err)
{
    _Alignas(8) uint8_t text[8192];
    struct form_part part[HANDOVER_PARTS];

    handover_form_parts(r, part);
    if (form_len(part, HANDOVER_PARTS) > sizeof(text))
        return err_set(err, ENOMEM, "the form of the record is too long");
    form_write(part, HANDOVER_PARTS, text);
    return form_read(text, form_len(part, HANDOVER_PARTS), handover_form_end(r), ret, err);
}

static int fill_record(const struct form *other, uint8_t *data, const struct handover_record *first,
                       struct handover_record *r, struct err *err)
{
    struct form *form = NULL;
    int e = own_form(first, &form, err);

    if (e == 0) {
        struct form_memory from = {.form = other, .base = data};
        struct form_memory to = {.form = form, .base = (uint8_t *)r};

        *r = *first;
        e = form_carry(&to, &from, err);
    }
    form_free(form);
    return e;
}

int handover_form_carry(uint8_t *data, size_t size, struct handover_record **ret, size_t *ret_size,
                        struct err *err)
{
    const struct handover_record *head = (const void *)data;
    static struct handover_record first; /* (it is large) */
    struct form *form;
    void *p;
    int r;

    if (head->form_off > size || head->form_len > size - head->form_off)
        return err_set(err, EPROTO, "the record does not say how it is laid out");
    r = form_read(data + head->form_off, head->form_len, size, &form, err);
    if (r < 0)
        return err_prefix(err, "the record");
    r = begin_record(form, data, &first, err);
    if (r == 0) {
        *ret_size = handover_form_end(&first);
        p = mmap(NULL, *ret_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            r = err_set(err, ENOMEM, "out of memory");
        else
            *ret = p;
    }
    if (r == 0) {
        r = fill_record(form, data, &first, *ret, err);
        if (r < 0)
            munmap(*ret, *ret_size);
    }
    form_free(form);
    return r;
}
