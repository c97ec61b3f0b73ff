/* Creates, maps and checks the segment. Its tables are listed in shm_layout.c. */
#include "shm/shm_segment.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/shm_baseline.h"
#include "shm/shm_cred.h"
#include "shm/shm_form.h"
#include "shm/shm_layout.h"

static uint64_t page_up(const struct shm_sizes *s, uint64_t v)
{
    return (v + s->page - 1) & ~(uint64_t)(s->page - 1);
}

/* Sets the view's pointers to the tables in its mapping. */
static void view_tables(struct shm *shm)
{
    const uint64_t *off = shm->header->table_off;

    shm->meta = (void *)(shm->base + off[SHM_TABLE_META_LOCK]);
    shm->nodes = (void *)(shm->base + off[SHM_TABLE_NODE]);
    shm->sessions = (void *)(shm->base + off[SHM_TABLE_SESSION]);
    shm->uploads = (void *)(shm->base + off[SHM_TABLE_UPLOAD]);
    shm->patches = (void *)(shm->base + off[SHM_TABLE_PATCH]);
    shm->handles = (void *)(shm->base + off[SHM_TABLE_HANDLE]);
    shm->flocks = (void *)(shm->base + off[SHM_TABLE_FLOCK]);
    shm->baselines = (void *)(shm->base + off[SHM_TABLE_BASELINE]);
    shm->conflicts = (void *)(shm->base + off[SHM_TABLE_CONFLICT]);
    shm->wins = (void *)(shm->base + off[SHM_TABLE_WIN]);
    shm->aborts = (void *)(shm->base + off[SHM_TABLE_ABORT]);
    shm->version_ids = (void *)(shm->base + off[SHM_TABLE_VERSION_ID]);
    shm->notify = (void *)(shm->base + off[SHM_TABLE_NOTIFY]);
    shm->blocks = (void *)(shm->base + off[SHM_TABLE_BLOCK]);
    shm->block_data = shm->base + off[SHM_TABLE_BLOCK_DATA];
    shm->arenas = (void *)(shm->base + off[SHM_TABLE_ARENA]);
    shm->stats = (void *)(shm->base + off[SHM_TABLE_STATS]);
    shm->creds = (void *)(shm->base + off[SHM_TABLE_CRED]);
}

static_assert(sizeof(PACKAGE_VERSION) <= SHM_VERSION_MAX, "it is compared whole");
static_assert(sizeof(size_t) == 8, "the sizes below fit 64 bits, not 32");

static bool within(uint32_t v, uint32_t least, uint32_t most)
{
    return v >= least && v <= most;
}

int shm_check_sizes(const struct shm_sizes *s, struct err *err)
{
    if (!within(s->workers, 1, SHM_WORKERS_MAX) || !within(s->nodes, 64, SHM_COUNT_MAX) ||
        (s->nodes & (s->nodes - 1)) || !within(s->long_names, 0, SHM_COUNT_MAX) ||
        !within(s->longest_names, 0, SHM_COUNT_MAX) || !within(s->handles, 1, SHM_COUNT_MAX) ||
        !within(s->sessions, 1, SHM_SESSIONS_MAX) || !within(s->records, 1, SHM_RECORDS_MAX) ||
        !within(s->baselines, 0, SHM_BASELINES_MAX) || !within(s->blocks, 8, SHM_COUNT_MAX) ||
        !within(s->payload, SHM_PAYLOAD_MIN, SHM_PAYLOAD_MAX) || s->payload % SHM_PAYLOAD_MIN ||
        !within(s->page, SHM_PAGE_MIN, SHM_PAGE_MAX) || (s->page & (s->page - 1)))
        return err_set(err, EINVAL, "shared memory: sizes make no sense");
    return 0;
}

uint64_t shm_place_tables(struct shm_header *h)
{
    uint64_t at = page_up(&h->sizes, sizeof(*h));

    for (int i = 0; i < SHM_TABLES; i++) {
        h->table_off[i] = at;
        h->table_len[i] = shm_layout[i].size(&h->sizes);
        at = page_up(&h->sizes, at + h->table_len[i]);
    }
    h->form_off = h->table_off[SHM_TABLE_FORM];
    h->form_len = (uint32_t)h->table_len[SHM_TABLE_FORM];
    return at;
}

static int map_segment(struct shm *shm, int prot, struct err *err)
{
    void *p = mmap(NULL, shm->size, prot, MAP_SHARED, shm->fd, 0);

    if (p == MAP_FAILED)
        return err_set(err, errno, "shared memory: cannot map %zu bytes: %s", shm->size,
                       strerror(errno));
    shm->base = p;
    shm->header = p;
    return 0;
}

static int create_memfd(struct shm *shm, struct err *err)
{
    /* sealed, so that no reader of a mapping can get SIGBUS */
    shm->fd = memfd_create("stateproxy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (shm->fd < 0 || ftruncate(shm->fd, (off_t)shm->size) < 0 ||
        fcntl(shm->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        return err_set(err, errno, "shared memory: cannot make %zu bytes: %s", shm->size,
                       strerror(errno));
    return map_segment(shm, PROT_READ | PROT_WRITE, err);
}

/* The blocks may be huge pages, where the kernel has them for shared memory that asks
 * (/sys/kernel/mm/transparent_hugepage/shmem_enabled). Not the tables, which have holes. */
static void prefer_huge_blocks(struct shm *shm)
{
    (void)madvise(shm->block_data, shm->header->table_len[SHM_TABLE_BLOCK_DATA], MADV_HUGEPAGE);
}

static void init_tables(struct shm *shm, const struct shm_header *h)
{
    *shm->header = *h;
    randombytes_buf(shm->header->hash_key, sizeof(shm->header->hash_key));
    view_tables(shm);
    for (int i = 0; i < SHM_TABLES; i++) {
        if (shm_layout[i].init)
            shm_layout[i].init(shm);
    }
    prefer_huge_blocks(shm);
    shm_cred_protect(shm);
}

int shm_create(const struct shm_sizes *sizes, struct shm **ret_shm, struct err *err)
{
    struct shm_header h = {.magic = SHM_MAGIC,
                           .version = PACKAGE_VERSION,
                           .sizes = *sizes,
                           .started_ns = clock_wall_ns()};
    struct shm *shm;
    int r;

    if (!h.sizes.page)
        h.sizes.page = (uint32_t)sysconf(_SC_PAGESIZE);
    r = shm_check_sizes(&h.sizes, err);
    if (r < 0)
        return r;
    if (sodium_init() < 0)
        return err_set(err, EIO, "libsodium cannot start");
    shm = calloc(1, sizeof(*shm));
    if (!shm)
        return err_set(err, ENOMEM, "out of memory");
    h.size = shm_place_tables(&h);
    shm->size = h.size;
    shm->fd = -1;
    r = create_memfd(shm, err);
    if (r < 0) {
        shm_close(shm);
        return r;
    }
    init_tables(shm, &h);
    *ret_shm = shm;
    return 0;
}

/* The header comes from another process: it is checked before anything in it is used. */
static int check_header(const struct shm_header *h, const uint8_t *base, size_t size,
                        struct err *err)
{
    struct shm_header own = {.version = PACKAGE_VERSION, .sizes = h->sizes};
    int r;

    if (h->magic != SHM_MAGIC)
        return err_set(err, EPROTO, "not a stateproxy segment");
    if (memcmp(h->version, own.version, sizeof(own.version)) != 0)
        return err_set(err, EPROTO,
                       "the daemon is of another version than this program, which is %s: "
                       "use the stateproxyctl that came with the daemon",
                       own.version);
    if (shm_check_sizes(&h->sizes, NULL) < 0 || shm_place_tables(&own) != size || h->size != size ||
        memcmp(own.table_off, h->table_off, sizeof(own.table_off)) != 0 ||
        memcmp(own.table_len, h->table_len, sizeof(own.table_len)) != 0)
        return err_set(err, EPROTO, "segment header: sizes do not fit");
    r = shm_form_is_own(&own, base);
    if (r < 0)
        return err_set(err, -r, "%s", strerror(-r));
    if (r == 0)
        return err_set(err, EPROTO,
                       "the daemon is of another build of this version: use the stateproxyctl that "
                       "came with the daemon");
    return 0;
}

/* Maps, and replaces the header by a checked copy, which no other process can change. */
static int open_view(struct shm *shm, struct err *err)
{
    struct shm_header *copy;
    int r = map_segment(shm, PROT_READ, err);

    if (r < 0)
        return r;
    copy = malloc(sizeof(*copy));
    if (!copy)
        return err_set(err, ENOMEM, "out of memory");
    memcpy(copy, shm->header, sizeof(*copy));
    copy->mount_path[sizeof(copy->mount_path) - 1] = '\0';
    shm->header = copy;
    return check_header(copy, shm->base, shm->size, err);
}

/* What both ways to open a segment begin with. */
static int view_new(int fd, struct shm **ret_shm, struct err *err)
{
    struct shm *shm;
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0 ||
        (uint64_t)st.st_size < sizeof(struct shm_header))
        return err_set(err, EPROTO, "not a stateproxy segment");
    shm = calloc(1, sizeof(*shm));
    if (!shm)
        return err_set(err, ENOMEM, "out of memory");
    shm->size = (size_t)st.st_size;
    shm->fd = fd;
    *ret_shm = shm;
    return 0;
}

/* `r`: of opening it. */
static int view_finish(struct shm *shm, int r, struct shm **ret_shm)
{
    if (r < 0) {
        shm->fd = -1; /* the caller keeps it */
        shm_close(shm);
        return r;
    }
    view_tables(shm);
    prefer_huge_blocks(shm);
    shm_cred_protect(shm);
    *ret_shm = shm;
    return 0;
}

int shm_attach(int fd, struct shm **ret_shm, struct err *err)
{
    struct shm_header copy;
    struct shm *shm;
    int r = view_new(fd, &shm, err);

    if (r < 0)
        return r;
    r = map_segment(shm, PROT_READ | PROT_WRITE, err);
    if (r == 0) {
        memcpy(&copy, shm->header, sizeof(copy));
        r = check_header(&copy, shm->base, shm->size, err);
    }
    return view_finish(shm, r, ret_shm);
}

int shm_open_readonly(int fd, struct shm **ret_shm, struct err *err)
{
    struct shm *shm;
    int r = view_new(fd, &shm, err);

    if (r < 0)
        return r;
    return view_finish(shm, open_view(shm, err), ret_shm);
}

uint64_t shm_hash_text(const struct shm *shm, const char *text)
{
    uint8_t out[crypto_shorthash_BYTES];
    uint64_t h;

    crypto_shorthash(out, (const uint8_t *)text, strlen(text), shm->header->hash_key);
    memcpy(&h, out, sizeof(h));
    return h ? h : 1;
}

void shm_close(struct shm *shm)
{
    if (!shm)
        return;
    if ((uint8_t *)shm->header != shm->base)
        free(shm->header);
    if (shm->base)
        munmap(shm->base, shm->size);
    if (shm->fd >= 0)
        close(shm->fd);
    free(shm);
}

int shm_check(struct shm *shm, struct err *err)
{
    for (int i = 0; i < SHM_TABLES; i++) {
        int r = shm_layout[i].check ? shm_layout[i].check(shm, err) : 0;

        if (r < 0)
            return err_prefix(err, "table %s", shm_layout[i].name);
    }
    return 0;
}
