/* The record of a restart in place: written, read and checked. Who writes it, and when, is in
 * reexec.c. */
#include "daemon/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "conf/conf_keys.h"
#include "daemon/handover_form.h"

#define SECRETS_MAX 16 /* variables */
#define VALUE_SHOWN 60

/* ---- writing ---- */

static void fill_record(const struct worker_env *env, const struct handover_own *own,
                        struct handover_record *r)
{
    memset(r, 0, sizeof(*r));
    *r = (struct handover_record){.magic = HANDOVER_MAGIC,
                                  .version = PACKAGE_VERSION,
                                  .size = sizeof(*r),
                                  .n_workers = env->shm->header->sizes.workers,
                                  .n_spool = env->shm->header->sizes.sessions,
                                  .has_mount = env->mount != NULL,
                                  .fuse = env->fuse,
                                  .timeouts = env->timeouts,
                                  .request_limit_ns = env->request_limit_ns,
                                  .traits = env->traits,
                                  .segment_fd = env->shm->fd,
                                  .notify_fd = env->notify_fd,
                                  .forget_fd = env->forget_fd,
                                  .keeper_fd = env->keeper_fd,
                                  .listen_fd = env->listen_fd,
                                  .metrics_fd = env->metrics_fd,
                                  .boxes_fd = env->boxes_fd};
    if (env->mount)
        r->mount = *env->mount;
    memcpy(r->wake_fd, env->wake_fd, sizeof(r->wake_fd));
    memcpy(r->park_fd, env->park_fd, sizeof(r->park_fd));
    r->own = *own;
}

/* How all that is laid out. */
static int write_form(int fd, struct handover_record *r)
{
    struct form_part part[HANDOVER_PARTS];
    cleanup_free void *text = NULL;

    handover_form_parts(r, part);
    r->form_off = handover_form_end(r);
    r->form_len = (uint32_t)form_len(part, HANDOVER_PARTS);
    text = malloc(r->form_len);
    if (!text)
        return -ENOMEM;
    form_write(part, HANDOVER_PARTS, text);
    return fd_pwrite_full(fd, text, r->form_len, (off_t)r->form_off);
}

/* The record proper is written last: only then are the lengths known. */
static int write_parts(int fd, const struct worker_env *env, bool secrets,
                       struct handover_record *r)
{
    cleanup_free char *fixed = conf_fixed_text(env->conf);
    size_t spool_len = r->n_spool * sizeof(*env->spool);
    off_t begin, end;
    int e;

    if (!fixed)
        return -ENOMEM;
    r->fixed_len = (uint32_t)strlen(fixed) + 1;
    if (lseek(fd, sizeof(*r), SEEK_SET) < 0)
        return -errno;
    e = fd_write_full(fd, env->spool, spool_len);
    if (e == 0)
        e = fd_write_full(fd, fixed, r->fixed_len);
    begin = lseek(fd, 0, SEEK_CUR);
    if (e == 0 && secrets)
        e = conf_write_secrets(env->conf, fd);
    end = lseek(fd, 0, SEEK_CUR);
    r->secrets_len = (uint32_t)(end - begin);
    if (e == 0)
        e = write_form(fd, r);
    return e < 0 ? e : fd_pwrite_full(fd, r, sizeof(*r), 0);
}

int handover_write(const struct worker_env *env, const struct handover_own *own, bool secrets,
                   int *ret_fd, struct err *err)
{
    cleanup_fd int fd = memfd_create("stateproxy-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cleanup_free struct handover_record *r = malloc(sizeof(*r));
    int e = fd < 0 ? -errno : r ? 0 : -ENOMEM;

    if (e == 0) {
        fill_record(env, own, r);
        e = write_parts(fd, env, secrets, r);
    }
    /* (not against writing: its reader wipes it) */
    if (e == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        e = -errno;
    if (e < 0)
        return err_set(err, -e, "cannot write the record for the new image: %s", strerror(-e));
    *ret_fd = take_fd(&fd);
    return 0;
}

/* ---- reading ---- */

/* It says that it is laid out as this program would: `r` is within `size` bytes. */
static bool has_own_form(const struct handover_record *r, size_t size)
{
    struct form_part part[HANDOVER_PARTS];
    cleanup_free void *text = NULL;

    if (r->size != sizeof(*r) || r->n_spool > SHM_SESSIONS_MAX ||
        r->fixed_len > HANDOVER_TEXT_MAX || r->secrets_len > HANDOVER_TEXT_MAX)
        return false;
    handover_form_parts(r, part);
    if (r->form_len != form_len(part, HANDOVER_PARTS) || r->form_off != handover_form_end(r) ||
        size != r->form_off + r->form_len)
        return false;
    text = malloc(r->form_len);
    if (!text)
        return false;
    form_write(part, HANDOVER_PARTS, text);
    return memcmp((const uint8_t *)r + r->form_off, text, r->form_len) == 0;
}

static bool is_written_alike(const struct handover *h)
{
    static const char own[SHM_VERSION_MAX] = PACKAGE_VERSION;

    return h->size >= sizeof(*h->rec) && memcmp(h->rec->version, own, sizeof(own)) == 0 &&
           has_own_form(h->rec, h->size);
}

/* A copy in our form takes the place of a record in another one. */
static int read_other(struct handover *h, struct err *err)
{
    struct handover_record *rec = NULL;
    size_t size = 0;
    int r = handover_form_carry((uint8_t *)h->rec, h->size, &rec, &size, err);

    if (r < 0)
        return err_prefix(err,
                          "the daemon runs version %s, and the program, version " PACKAGE_VERSION
                          ", cannot take over, stop the daemon and start it instead",
                          h->version);
    h->other = h->rec;
    h->other_size = h->size;
    h->rec = rec;
    h->size = size;
    return 0;
}

static int check_version(struct handover *h, struct err *err)
{
    if (h->size < offsetof(struct handover_record, size) || h->rec->magic != HANDOVER_MAGIC)
        return err_set(err, EPROTO, "not a record of a restart in place");
    memcpy(h->version, h->rec->version, sizeof(h->version));
    h->version[SHM_VERSION_MAX - 1] = '\0';
    return is_written_alike(h) ? 0 : read_other(h, err);
}

static bool ends(const char *text, size_t cap)
{
    return memchr(text, '\0', cap) != NULL;
}

static bool counts_fit(const struct handover_record *r)
{
    return r->n_workers >= 1 && r->n_workers <= SHM_WORKERS_MAX && r->n_spool >= 1 &&
           r->n_spool <= SHM_SESSIONS_MAX && r->fixed_len >= 1 &&
           r->fixed_len <= HANDOVER_TEXT_MAX && r->secrets_len <= HANDOVER_TEXT_MAX;
}

static bool names_end(const struct handover_record *r)
{
    const struct children_handed *c = &r->own.children;

    if (c->n > CHILDREN_MAX || !ends(r->mount.path, sizeof(r->mount.path)) ||
        !ends(r->traits.name, sizeof(r->traits.name)) ||
        !ends(r->own.control.path.addr.sun_path, sizeof(r->own.control.path.addr.sun_path)))
        return false;
    for (unsigned i = 0; i < c->n; i++) {
        if (!ends(c->child[i].role, sizeof(c->child[i].role)))
            return false;
    }
    return true;
}

static int handover_check(struct handover *h, struct err *err)
{
    int e = check_version(h, err);
    const struct handover_record *r = h->rec;

    if (e < 0)
        return e;
    if (!counts_fit(r) || !names_end(r) || r->mount.form > FUSE_MOUNT_HANDED_IN)
        return err_set(err, EPROTO, "the record of the restart makes no sense");
    h->spool = (const void *)(r + 1);
    h->fixed = (const char *)(h->spool + r->n_spool);
    h->secrets = (char *)(uintptr_t)h->fixed + r->fixed_len;
    if (h->fixed[r->fixed_len - 1] || (r->secrets_len && h->secrets[r->secrets_len - 1]))
        return err_set(err, EPROTO, "the texts in the record of the restart do not end");
    return 0;
}

static int handover_map(struct handover *h, struct err *err)
{
    int seals = fcntl(h->fd, F_GET_SEALS);
    struct stat st;
    void *p;

    if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(h->fd, &st) < 0 || st.st_size <= 0 ||
        st.st_size > (off_t)HANDOVER_SIZE_MAX)
        return err_set(err, EPROTO, "not a record of a restart in place");
    p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, h->fd, 0);
    if (p == MAP_FAILED)
        return err_set(err, errno, "cannot map the record of the restart: %s", strerror(errno));
    h->size = (size_t)st.st_size;
    h->rec = p;
    return 0;
}

int handover_open(int fd, struct handover *ret, struct err *err)
{
    struct handover h = {.fd = fd};
    int r = handover_map(&h, err);

    if (r == 0)
        r = handover_check(&h, err);
    if (r < 0)
        handover_leave(&h);
    else
        *ret = h;
    return r;
}

void handover_leave(struct handover *h)
{
    if (h->rec)
        munmap(h->rec, h->size);
    if (h->other)
        munmap(h->other, h->other_size);
    if (h->fd >= 0)
        close(h->fd);
    *h = (struct handover){.fd = -1};
}

void handover_close(struct handover *h)
{
    if (h->rec)
        sodium_memzero(h->rec, h->size);
    if (h->other)
        sodium_memzero(h->other, h->other_size);
    handover_leave(h);
}

/* ---- descriptors ---- */

/* -1: there is none. */
static void each_if_any(handover_fd_fn *fn, void *ctx, int fd)
{
    if (fd != -1)
        fn(ctx, fd);
}

static void each_shared(const struct handover *h, handover_fd_fn *fn, void *ctx)
{
    const struct handover_record *r = h->rec;

    fn(ctx, r->segment_fd);
    fn(ctx, r->notify_fd);
    fn(ctx, r->forget_fd);
    fn(ctx, r->keeper_fd);
    each_if_any(fn, ctx, r->listen_fd);
    each_if_any(fn, ctx, r->metrics_fd);
    each_if_any(fn, ctx, r->boxes_fd);
    for (uint32_t i = 0; i < r->n_workers; i++) {
        fn(ctx, r->wake_fd[i]);
        fn(ctx, r->park_fd[i]);
    }
    for (uint32_t i = 0; i < r->n_spool; i++) {
        fn(ctx, h->spool[i].mem_fd);
        each_if_any(fn, ctx, h->spool[i].file_fd);
    }
}

void handover_each_fd(const struct handover *h, handover_fd_fn *fn, void *ctx)
{
    const struct handover_record *r = h->rec;

    each_shared(h, fn, ctx);
    if (r->has_mount) {
        fn(ctx, r->mount.fd);
        each_if_any(fn, ctx, r->mount.abort_fd);
        each_if_any(fn, ctx, r->mount.waiting_fd);
    }
    each_if_any(fn, ctx, r->own.control.listener_fd);
    each_if_any(fn, ctx, r->own.control.client_fd);
}

struct marking {
    bool close_on_exec;
    unsigned bad; /* descriptors that are not open */
};

static void mark_fd(void *ctx, int fd)
{
    struct marking *m = ctx;

    if (fcntl(fd, F_SETFD, m->close_on_exec ? FD_CLOEXEC : 0) < 0)
        m->bad++;
}

int handover_mark_fds(const struct handover *h, bool close_on_exec, struct err *err)
{
    struct marking m = {.close_on_exec = close_on_exec};

    handover_each_fd(h, mark_fd, &m);
    /* These are never kept: with a copy elsewhere they would not tell the end of this daemon. */
    for (unsigned i = 0; h->rec->own.in_place && i < 2; i++)
        each_if_any(mark_fd, &m, h->rec->own.life_fd[i]);
    if (m.bad)
        return err_set(err, EBADF, "%u descriptors that were handed over are not open", m.bad);
    return 0;
}

/* ---- the configuration ---- */

/* 0 and a new array: those of `env`, and the secrets, which stay where they are. */
static int join_env(const struct handover *h, char *const *env, char ***ret)
{
    char *at = h->secrets, *end = h->secrets + h->rec->secrets_len;
    size_t n = 0, m = 0;
    char **all;

    while (env[n])
        n++;
    all = calloc(n + SECRETS_MAX + 1, sizeof(*all));
    if (!all)
        return -ENOMEM;
    memcpy(all, env, n * sizeof(*all));
    for (; at < end && m < SECRETS_MAX; at += strlen(at) + 1)
        all[n + m++] = at;
    *ret = all;
    return 0;
}

int handover_load_conf(const struct handover *h, const char *file, char *const *env,
                       struct conf **ret_conf, struct err *err)
{
    cleanup_free char **all = NULL;
    int r = join_env(h, env, &all);

    if (r < 0)
        return err_set(err, -r, "out of memory");
    return conf_load(file, all, ret_conf, err);
}

/* The line of this name, `name_len` bytes; NULL: there is none. */
static const char *line_named(const char *text, const char *name, size_t name_len)
{
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        if (strncmp(text, name, name_len) == 0 && text[name_len] == '=')
            return text;
    }
    return NULL;
}

/* `b`: the line of today. */
static int has_changed(const char *a, const char *b, struct err *err)
{
    size_t m = strcspn(b, "\n"), name = strcspn(a, "=\n");

    return err_set(err, EXDEV,
                   "%.*s is now %.*s: this value cannot change while the daemon runs, stop the "
                   "daemon and start it instead",
                   (int)name, a, m > name && m - name < VALUE_SHOWN ? (int)(m - name - 1) : 0,
                   b + name + 1);
}

/* A key that the version before had not. What it did is what the default does. */
static int check_new_key(const struct conf *conf, const char *line, struct err *err)
{
    char key[CONF_KEY_NAME_MAX];
    const char *origin;

    snprintf(key, sizeof(key), "%.*s", (int)strcspn(line, "=\n"), line);
    origin = conf_origin(conf, key);
    if (!origin || strcmp(origin, "default") == 0)
        return 0;
    return err_set(err, EXDEV,
                   "%s is set, which the version that runs does not know: set it after the change "
                   "of versions, with a restart",
                   key);
}

int handover_compare(const struct handover *h, const struct conf *conf, struct err *err)
{
    cleanup_free char *now = conf_fixed_text(conf);
    const char *line;
    int r = 0;

    if (!now)
        return err_set(err, ENOMEM, "out of memory");
    for (line = now; *line && r == 0; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *before = line_named(h->fixed, line, strcspn(line, "=\n"));
        size_t n = strcspn(line, "\n");

        if (!before)
            r = check_new_key(conf, line, err);
        else if (n != strcspn(before, "\n") || memcmp(line, before, n) != 0)
            r = has_changed(before, line, err);
    }
    return r;
}
