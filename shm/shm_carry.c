/* The segment of another version: mapped privately, brought to rest, and copied by names. */
#include "shm/shm_carry.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/form.h"
#include "shm/shm_form.h"
#include "shm/shm_layout.h"

#define FORM_LEN_MAX (1u << 20)

/* The beginning of every header. */
struct fixed_head {
    uint64_t magic;
    char version[SHM_VERSION_MAX];
    uint64_t form_off;
    uint32_t form_len;
};

static_assert(offsetof(struct fixed_head, form_off) == offsetof(struct shm_header, form_off) &&
                  offsetof(struct fixed_head, form_len) == offsetof(struct shm_header, form_len),
              "these never move");

struct other {
    int fd;
    uint8_t *base; /* private: what is written there, nobody sees */
    size_t size;
    struct form *form;
    uint64_t *touched;
    struct shm_other known;
};

/* ---- opening it ---- */

static void other_close(struct other *o)
{
    form_free(o->form);
    free(o->touched);
    if (o->base)
        munmap(o->base, o->size);
}

static int other_map(struct other *o, struct err *err)
{
    int seals = fcntl(o->fd, F_GET_SEALS);
    off_t size = lseek(o->fd, 0, SEEK_END);
    void *p;

    if (seals < 0 || !(seals & F_SEAL_SHRINK) || size < (off_t)sizeof(struct fixed_head))
        return err_set(err, EPROTO, "not a stateproxy segment");
    p = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, o->fd, 0);
    if (p == MAP_FAILED)
        return err_set(err, errno, "shared memory: cannot map %lld bytes: %s", (long long)size,
                       strerror(errno));
    o->base = p;
    o->size = (size_t)size;
    (void)madvise(p, o->size, MADV_DONTDUMP); /* keys are in it (shm_cred.h) */
    return 0;
}

static int other_read_form(struct other *o, struct err *err)
{
    struct fixed_head head;
    int r;

    memcpy(&head, o->base, sizeof(head));
    if (head.magic != SHM_MAGIC)
        return err_set(err, EPROTO, "not a stateproxy segment");
    memcpy(o->known.version, head.version, sizeof(head.version));
    o->known.version[SHM_VERSION_MAX - 1] = '\0';
    if (head.form_len > FORM_LEN_MAX || head.form_off > o->size ||
        head.form_len > o->size - head.form_off)
        return err_set(err, EPROTO, "the segment of version %s: it does not say how it is laid out",
                       o->known.version);
    r = form_read(o->base + head.form_off, head.form_len, o->size, &o->form, err);
    return r < 0 ? err_prefix(err, "the segment of version %s", o->known.version) : 0;
}

static int other_read_sizes(struct other *o, struct err *err)
{
    struct shm_sizes *s = &o->known.sizes;
    const struct {
        const char *name;
        uint32_t *ret;
    } size[] = {
        {"sizes.workers", &s->workers},
        {"sizes.nodes", &s->nodes},
        {"sizes.long_names", &s->long_names},
        {"sizes.longest_names", &s->longest_names},
        {"sizes.handles", &s->handles},
        {"sizes.sessions", &s->sessions},
        {"sizes.records", &s->records},
        {"sizes.blocks", &s->blocks},
        {"sizes.baselines", &s->baselines},
        {"sizes.payload", &s->payload},
        {"sizes.page", &s->page},
    };

    static_assert(sizeof(size) / sizeof(size[0]) == sizeof(*s) / sizeof(uint32_t), "all of them");
    for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
        uint64_t at;
        uint32_t len;

        if (!form_find(o->form, SHM_FORM_HEADER, size[i].name, &at, &len) ||
            len != sizeof(uint32_t))
            return err_set(err, EXDEV, "the segment of version %s has no %s", o->known.version,
                           size[i].name);
        memcpy(size[i].ret, o->base + at, len);
    }
    if (shm_check_sizes(s, err) < 0 || s->page != (uint32_t)sysconf(_SC_PAGESIZE))
        return err_set(err, EXDEV, "the segment of version %s has sizes that this one cannot have",
                       o->known.version);
    return 0;
}

static int other_open(int fd, struct other *ret, struct err *err)
{
    int r;

    *ret = (struct other){.fd = fd};
    r = other_map(ret, err);
    if (r == 0)
        r = other_read_form(ret, err);
    return r == 0 ? other_read_sizes(ret, err) : r;
}

/* ---- what has been touched ---- */

static unsigned page_shift(void)
{
    return (unsigned)__builtin_ctzl((unsigned long)sysconf(_SC_PAGESIZE));
}

/* The pages of a memfd that are there; to read the others would make them. NULL: no memory. */
static uint64_t *find_touched(int fd, size_t size)
{
    unsigned shift = page_shift();
    uint64_t *bits = calloc((size >> shift) / 64 + 1, sizeof(*bits));
    off_t at = 0;

    while (bits && (at = lseek(fd, at, SEEK_DATA)) >= 0 && (size_t)at < size) {
        off_t end = lseek(fd, at, SEEK_HOLE);

        if (end < 0 || (size_t)end > size)
            end = (off_t)size;
        for (size_t p = (size_t)at >> shift; p <= ((size_t)end - 1) >> shift; p++)
            bits[p / 64] |= UINT64_C(1) << p % 64;
        at = end;
    }
    if (bits && at < 0 && errno != ENXIO) /* (ENXIO: no more) what is there cannot be told */
        memset(bits, 0xff, ((size >> shift) / 64 + 1) * sizeof(*bits));
    return bits;
}

/* ---- bringing it to rest ---- */

/* A worker that is still dying holds its slot's byte. */
static int await_workers(int fd, struct err *err)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    while (fcntl(fd, F_SETLKW, &all) < 0) {
        if (errno != EINTR)
            return err_set(err, errno, "cannot wait for the workers before: %s", strerror(errno));
    }
    return 0;
}

/* As shm_rollback, in the copy. An entry of the log: the bytes, padded, then this. */
struct undo_trailer {
    uint32_t len, padded;
    uint64_t offset;
};

static int undo_one(struct other *o, const uint8_t *log, uint32_t *used)
{
    struct undo_trailer t;
    uint32_t end = *used - (uint32_t)sizeof(t);

    memcpy(&t, log + end, sizeof(t));
    if (t.padded > end || t.len > t.padded || t.len > o->size || t.offset > o->size - t.len)
        return -EXDEV;
    memcpy(o->base + t.offset, log + end - t.padded, t.len);
    *used = end - t.padded;
    return 0;
}

static int find_log(const struct other *o, uint64_t *ret_used_at, uint64_t *ret_log_at,
                    uint32_t *ret_cap, struct err *err)
{
    uint32_t len;

    if (!form_find(o->form, SHM_FORM_LOCK, "log_used", ret_used_at, &len) ||
        len != sizeof(uint32_t) || !form_find(o->form, SHM_FORM_LOCK, "log", ret_log_at, ret_cap))
        return err_set(err, EXDEV, "the segment of version %s has another undo log",
                       o->known.version);
    return 0;
}

static int roll_back(struct other *o, struct err *err)
{
    uint64_t used_at, log_at;
    uint32_t cap, used;
    int r = find_log(o, &used_at, &log_at, &cap, err);

    if (r < 0)
        return r;
    memcpy(&used, o->base + used_at, sizeof(used));
    if (used > cap)
        r = -EXDEV;
    while (r == 0 && used)
        r = used < sizeof(struct undo_trailer) ? -EXDEV : undo_one(o, o->base + log_at, &used);
    return r < 0 ? err_set(err, EXDEV, "the undo log of the segment makes no sense") : 0;
}

/* ---- carrying ---- */

/* The form of a segment of these sizes. */
static int own_form(const struct shm_sizes *sizes, struct form **ret, struct err *err)
{
    struct shm_header h = {.sizes = *sizes};
    struct form_part part[FORM_PARTS_MAX];
    uint64_t size = shm_place_tables(&h);
    unsigned n = shm_form_parts(&h, part);
    void *text = malloc(form_len(part, n));
    int r;

    if (!text)
        return err_set(err, ENOMEM, "out of memory");
    form_write(part, n, text);
    r = form_read(text, form_len(part, n), size, ret, err);
    free(text);
    return r;
}

/* `shm` NULL: only whether it can be. */
static int carry_to(struct other *o, struct shm *shm, struct err *err)
{
    struct form_memory from = {.form = o->form, .base = o->base, .page_shift = page_shift()};
    struct form_memory to = {.base = shm ? shm->base : NULL, .page_shift = from.page_shift};
    uint64_t *to_touched = shm ? find_touched(shm->fd, shm->size) : NULL;
    struct form *form = NULL;
    int r = own_form(&o->known.sizes, &form, err);

    o->touched = find_touched(o->fd, o->size);
    to.form = form;
    to.touched = to_touched;
    from.touched = o->touched;
    if (r == 0 && (!o->touched || (shm && !to_touched)))
        r = err_set(err, ENOMEM, "out of memory");
    if (r == 0)
        r = shm ? form_carry(&to, &from, err) : form_check_carry(&to, &from, err);
    form_free(form);
    free(to_touched);
    return r == -EXDEV ? err_prefix(err, "the segment of version %s cannot be carried over",
                                    o->known.version)
                       : r;
}

int shm_carry_is_own(int fd)
{
    struct shm *shm;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0), r;

    if (copy < 0)
        return -errno;
    r = shm_open_readonly(copy, &shm, NULL);
    if (r < 0) {
        close(copy);
        return r == -EPROTO ? 0 : r;
    }
    shm_close(shm);
    return 1;
}

int shm_carry_look(int fd, struct shm_other *ret, struct err *err)
{
    uint64_t used_at, log_at;
    uint32_t cap;
    struct other o;
    int r = other_open(fd, &o, err);

    if (r == 0)
        r = find_log(&o, &used_at, &log_at, &cap, err);
    if (r == 0)
        r = carry_to(&o, NULL, err);
    if (r == 0)
        *ret = o.known;
    other_close(&o);
    return r;
}

int shm_carry(int fd, struct shm *shm, struct err *err)
{
    struct other o;
    int r = await_workers(fd, err);

    if (r < 0)
        return r;
    r = other_open(fd, &o, err);
    if (r == 0 && memcmp(&o.known.sizes, &shm->header->sizes, sizeof(o.known.sizes)) != 0)
        r = err_set(err, EXDEV, "the segment has other sizes than the one it is carried over to");
    if (r == 0)
        r = roll_back(&o, err);
    if (r == 0)
        r = carry_to(&o, shm, err);
    other_close(&o);
    return r;
}

int shm_carry_done(int fd)
{
    const uint64_t none = 0;
    off_t size = lseek(fd, 0, SEEK_END);
    ssize_t n = pwrite(fd, &none, sizeof(none), offsetof(struct fixed_head, magic));

    /* (The keeper has it for a while: its memory is given back now, with the keys in it.) */
    if (n == sizeof(none) && size > 0)
        (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size);
    return n == sizeof(none) ? 0 : n < 0 ? -errno : -EIO;
}
