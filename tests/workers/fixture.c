/* Test helpers: see fixture.h. */
#include "tests/workers/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "workers/handlers/fuse_op.h"
#include "workers/variant/variant.h"

static int memory_file(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static struct shm *new_segment(void)
{
    const struct shm_sizes sizes = {.workers = 2,
                                    .nodes = 64,
                                    .long_names = 8,
                                    .longest_names = 8,
                                    .handles = 16,
                                    .sessions = FX_SESSIONS,
                                    .records = FX_RECORDS,
                                    .baselines = FX_BASELINES,
                                    .blocks = 2 * 2 * FX_MEMORY / SHM_BLOCK_SIZE,
                                    .payload = SHM_PAYLOAD_MIN};
    struct shm *shm = NULL;
    struct err err = {0};

    if (shm_create(&sizes, &shm, &err) < 0)
        fail_msg("shm_create: %s", err.text);
    return shm;
}

static void on_rescan(struct loop_timer *t)
{
    struct worker *w = container_of(t, struct worker, rescan);

    op_interrupts(w);
    op_resume_all(w);
}

/* As worker.c does it, without S3, signals and the channel. */
static void begin_worker(struct fx *fx)
{
    struct worker *w = &fx->w;
    struct shm *shm = fx->env.shm;

    *w = (struct worker){.env = &fx->env,
                         .conf = &fx->conf,
                         .variant = variant_of(fx->conf.variant),
                         .shm = shm,
                         .slot = FX_SLOT,
                         .arena = shm_arena_of(shm, FX_SLOT),
                         .stats = shm_stats_of(shm, FX_SLOT)};
    assert_int_equal(loop_new(&w->loop), 0);
    w->rescan.on_time = on_rescan;
    assert_int_equal(fuse_op_alloc(w), 0);
    w->arena->incarnation++;
}

static void end_worker(struct fx *fx)
{
    loop_free(fx->w.loop);
    fuse_op_free(&fx->w);
}

int fx_setup(void **state)
{
    struct fx *fx = calloc(1, sizeof(*fx));
    int pair[2];

    assert_non_null(fx);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                     0);
    fx->mount.fd = pair[0];
    fx->kernel = pair[1];
    fx->conf.prefix = "pre";
    fx->conf.mount.file_mode = 0644;
    fx->conf.mount.dir_mode = 0755;
    fx->conf.buffer.memory = FX_MEMORY;
    fx->conf.upload.multipart_threshold = UINT64_C(16) << 20;
    fx->conf.upload.part_size = UINT64_C(8) << 20;
    fx->conf.upload.concurrency = 4;
    fx->conf.upload.copy_limit = S3_PUT_MAX;
    fx->conf.directories.ttl_ns = NS_PER_S;
    fx->env = (struct worker_env){.conf = &fx->conf,
                                  .shm = new_segment(),
                                  .mount = &fx->mount,
                                  .notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    for (int i = 0; i < 2; i++) {
        fx->env.wake_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        fx->env.park_fd[i] = memory_file();
    }
    fx->env.spool = calloc(FX_SESSIONS, sizeof(*fx->env.spool));
    assert_non_null(fx->env.spool);
    for (int i = 0; i < FX_SESSIONS; i++)
        fx->env.spool[i] = (struct worker_spool){memory_file(), memory_file()};
    begin_worker(fx);
    *state = fx;
    return 0;
}

void fx_set_variant(struct fx *fx, enum conf_variant which)
{
    fx->conf.variant = which;
    fx->w.variant = variant_of(which);
}

int fx_teardown(void **state)
{
    struct fx *fx = *state;
    struct err err = {0};

    if (shm_check(fx->env.shm, &err) < 0)
        fail_msg("shm_check: %s", err.text);
    end_worker(fx);
    for (int i = 0; i < FX_SESSIONS; i++) {
        close(fx->env.spool[i].mem_fd);
        close(fx->env.spool[i].file_fd);
    }
    for (int i = 0; i < 2; i++) {
        close(fx->env.wake_fd[i]);
        close(fx->env.park_fd[i]);
    }
    close(fx->env.notify_fd);
    close(fx->kernel);
    close(fx->mount.fd);
    free(fx->env.spool);
    shm_close(fx->env.shm);
    free(fx);
    return 0;
}

void fx_replace(struct fx *fx)
{
    end_worker(fx);
    begin_worker(fx);
}

bool fx_answer(struct fx *fx, uint64_t unique, int *ret_error, void *data, size_t len)
{
    uint8_t buf[8192];
    struct fuse_out_header head;
    ssize_t n = recv(fx->kernel, buf, sizeof(buf), 0);

    if (n < 0) {
        assert_int_equal(errno, EAGAIN);
        return false;
    }
    assert_true((size_t)n >= sizeof(head));
    memcpy(&head, buf, sizeof(head));
    assert_int_equal(head.len, n);
    assert_int_equal(head.unique, unique);
    assert_int_equal(head.len - sizeof(head), head.error ? 0 : len);
    *ret_error = head.error;
    if (!head.error && len)
        memcpy(data, buf + sizeof(head), len);
    return true;
}

void fx_request(struct fx *fx, uint32_t opcode, uint64_t unique, uint64_t nodeid, const void *arg,
                size_t arg_len, const void *more, size_t more_len)
{
    uint8_t *area = shm_arena_read_area(fx->w.shm, FX_SLOT);
    struct fuse_in_header head = {
        .len = (uint32_t)(sizeof(head) + arg_len + more_len),
        .opcode = opcode,
        .unique = unique,
        .nodeid = nodeid,
    };

    fx->w.arena->current.unique = 0;
    memcpy(area, &head, sizeof(head));
    if (arg_len)
        memcpy(area + sizeof(head), arg, arg_len);
    if (more_len)
        memcpy(area + sizeof(head) + arg_len, more, more_len);
    atomic_store(&fx->w.arena->current.state, SHM_RECORD_READING);
}

struct op *fx_op(struct fx *fx, uint32_t opcode, uint64_t unique, uint64_t nodeid, const void *arg,
                 size_t arg_len, const void *more, size_t more_len)
{
    struct op *op;

    fx_request(fx, opcode, unique, nodeid, arg, arg_len, more, more_len);
    op = fuse_op_begin(&fx->w, FX_RECORDS);
    assert_non_null(op);
    return op;
}

struct shm_record *fx_record(struct fx *fx, uint32_t i)
{
    return shm_arena_record(fx->w.shm, FX_SLOT, i);
}

uint32_t fx_state(struct shm_record *rec)
{
    return atomic_load(&rec->state);
}

uint32_t fx_session(struct fx *fx, const char *name, uint32_t *ret_node)
{
    struct shm *shm = fx->w.shm;
    struct shm_version v = {
        .local = true, .mode = SHM_MODE_UNSET, .uid = SHM_MODE_UNSET, .gid = SHM_MODE_UNSET};
    int64_t node, session = -1;

    worker_lock(&fx->w);
    node = shm_node_intern(shm, SHM_ROOT, name, strlen(name), &v, 1);
    if (node >= 0)
        session = shm_session_new(shm, (uint32_t)node);
    worker_unlock(&fx->w);
    assert_true(session >= 0);
    *ret_node = (uint32_t)node;
    return (uint32_t)session;
}
