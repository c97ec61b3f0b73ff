/* Nodes and names: versions, detaching, moving, references, paths. Eviction is next door:
 * test_node_evict.c. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/shm/fixture.h"
#include "tests/shm/stores.h"

static void test_root(void **state)
{
    struct shm *shm = *state;
    char path[1];

    assert_int_equal(shm_node_id(shm, SHM_ROOT), 1); /* FUSE_ROOT_ID */
    assert_int_equal(shm_node_of_id(shm, 1), SHM_ROOT);
    assert_int_equal(shm_node_at(shm, SHM_ROOT)->ino, 1);
    assert_true(shm_node_at(shm, SHM_ROOT)->flags & SHM_NODE_DIR);
    assert_int_equal(shm_node_path(shm, SHM_ROOT, path, 1), 0);
    assert_string_equal(path, "");
    fx_forget(shm, SHM_ROOT, 1000); /* the kernel does, at the unmount */
    fx_check(shm);
    assert_int_equal(shm_node_of_id(shm, 1), SHM_ROOT);
    fx_ref(shm, SHM_ROOT, 1);
}

static void test_intern_new(void **state)
{
    struct shm *shm = *state;
    struct shm_version v = fx_file("\"abc\"");
    const struct shm_node *n;
    uint32_t idx;

    v.size = 7;
    v.mtime_ns = -5;
    v.mode = 0640;
    fx_lock(shm);
    idx = (uint32_t)shm_node_intern(shm, SHM_ROOT, "name", 4, &v, 99);
    fx_unlock(shm);
    n = shm_node_at(shm, idx);
    assert_int_equal(n->state, SHM_NODE_LIVE);
    assert_int_equal(n->size, 7);
    assert_int_equal(n->mtime_ns, -5);
    assert_int_equal(n->checked_ns, 99);
    assert_int_equal(n->mode, 0640);
    assert_int_equal(n->uid, SHM_MODE_UNSET);
    assert_string_equal(n->etag, "\"abc\"");
    assert_int_equal(n->flags, SHM_NODE_CURRENT);
    assert_int_equal(n->name_len, 4);
    assert_memory_equal(shm_node_name(shm, idx), "name", 4);
    assert_true(n->ino > 1);
    assert_int_equal(fx_find(shm, SHM_ROOT, "name"), idx);
    assert_int_equal(fx_find(shm, SHM_ROOT, "nam"), SHM_NIL);
    assert_int_equal(fx_find(shm, SHM_ROOT, "names"), SHM_NIL);
    assert_int_equal(fx_find(shm, SHM_ROOT, ""), SHM_NIL);
    assert_int_equal(shm->nodes->evictable, 1);
}

static void test_intern_same_version(void **state)
{
    struct shm *shm = *state;
    struct shm_version v = fx_file("1");
    uint32_t idx = fx_put(shm, SHM_ROOT, "name", "1");
    uint32_t content = shm_node_at(shm, idx)->content;

    v.mtime_ns = 5000;
    v.mode = 0600;
    v.uid = 10;
    v.gid = 20;
    fx_lock(shm);
    assert_int_equal(shm_node_intern(shm, SHM_ROOT, "name", 4, &v, 77), idx);
    fx_unlock(shm);
    assert_int_equal(shm_node_at(shm, idx)->mtime_ns, 5000);
    assert_int_equal(shm_node_at(shm, idx)->mode, 0600);
    assert_int_equal(shm_node_at(shm, idx)->checked_ns, 77);
    assert_int_equal(shm_node_at(shm, idx)->content, content);
    /* An answer without a mode leaves what was known. */
    assert_int_equal(fx_put(shm, SHM_ROOT, "name", "1"), idx);
    assert_int_equal(shm_node_at(shm, idx)->mode, 0600);
    assert_int_equal(shm_node_at(shm, idx)->uid, 10);
    assert_int_equal(shm_node_at(shm, idx)->gid, 20);
    assert_int_equal(shm->nodes->live, 2);
}

static void test_intern_other_version(void **state)
{
    struct shm *shm = *state;
    uint32_t old = fx_put(shm, SHM_ROOT, "name", "1"), new;
    uint64_t old_id = shm_node_id(shm, old);
    uint64_t ino = shm_node_at(shm, old)->ino;

    fx_ref(shm, old, 1);
    new = fx_put(shm, SHM_ROOT, "name", "2");
    assert_int_not_equal(new, old);
    assert_int_not_equal(shm_node_id(shm, new), old_id);
    assert_int_not_equal(shm_node_at(shm, new)->content, shm_node_at(shm, old)->content);
    assert_int_equal(shm_node_at(shm, new)->ino, ino); /* the same key */
    assert_int_equal(fx_find(shm, SHM_ROOT, "name"), new);
    assert_int_equal(shm_node_of_id(shm, old_id), old);
    assert_string_equal(shm_node_at(shm, old)->etag, "1");
    assert_false(shm_node_at(shm, old)->flags & SHM_NODE_CURRENT);
    fx_check(shm);
    fx_forget(shm, old, 1);
}

static void test_intern_other_type(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "name"), child, file;

    child = fx_put(shm, dir, "child", "1");
    assert_int_equal(fx_mkdir(shm, SHM_ROOT, "name"), dir);
    file = fx_put(shm, SHM_ROOT, "name", "");
    assert_int_not_equal(file, dir);
    assert_int_equal(shm_node_at(shm, child)->parent, dir); /* it lives on */
    assert_int_equal(fx_find(shm, dir, "child"), child);
    assert_int_equal(fx_find(shm, file, "child"), SHM_NIL);
    fx_check(shm);
}

/* What metadata say is kept where an answer does not tell them, and taken exactly where one
 * does. */
static void test_intern_metadata(void **state)
{
    const uint16_t all = SHM_NODE_META | SHM_NODE_MORE | SHM_NODE_XATTR | SHM_NODE_PLAIN;
    struct shm *shm = *state;
    struct shm_version v = fx_file("1");
    const struct shm_node *n;
    uint32_t idx;

    v.meta = v.more = v.xattr = v.plain = true;
    v.mode = 0600;
    fx_lock(shm);
    idx = (uint32_t)shm_node_intern(shm, SHM_ROOT, "name", 4, &v, 1);
    fx_unlock(shm);
    n = shm_node_at(shm, idx);
    assert_int_equal(n->flags & all, all);
    assert_int_equal(fx_put(shm, SHM_ROOT, "name", "1"), idx); /* a listing */
    assert_int_equal(n->flags & all, all & ~SHM_NODE_PLAIN);   /* that is of then, not of now */
    assert_int_equal(n->mode, 0600);
    v = fx_file("1");
    v.meta = true;
    fx_lock(shm);
    assert_int_equal(shm_node_intern(shm, SHM_ROOT, "name", 4, &v, 1), idx);
    fx_unlock(shm);
    assert_int_equal(n->flags & all, SHM_NODE_META);
    assert_int_equal(n->mode, SHM_MODE_UNSET);
}

/* A file that turns out to be a link, or no link any more, is another node. */
static void test_intern_links(void **state)
{
    struct shm *shm = *state;
    struct shm_version v = fx_file("1");
    uint32_t listed = fx_put(shm, SHM_ROOT, "name", "1"), link;

    fx_ref(shm, listed, 1);
    v.meta = true;
    v.type = S_IFLNK;
    fx_lock(shm);
    link = (uint32_t)shm_node_intern(shm, SHM_ROOT, "name", 4, &v, 1);
    fx_unlock(shm);
    assert_int_not_equal(link, listed);
    assert_int_equal(fx_find(shm, SHM_ROOT, "name"), link);
    assert_true(shm_node_at(shm, link)->flags & SHM_NODE_TYPED);
    assert_int_equal(fx_put(shm, SHM_ROOT, "name", "1"), link); /* a listing */
    assert_true(shm_node_at(shm, link)->flags & SHM_NODE_TYPED);
    v.type = 0;
    fx_ref(shm, link, 1);
    fx_lock(shm);
    assert_int_not_equal(shm_node_intern(shm, SHM_ROOT, "name", 4, &v, 1), link);
    fx_unlock(shm);
    fx_forget(shm, listed, 1);
    fx_forget(shm, link, 1);
}

/* The time of a directory, which no answer tells. */
static void test_intern_directory_again(void **state)
{
    struct shm *shm = *state;
    struct shm_version v = {.dir = true,
                            .mtime_ns = 5000,
                            .mode = SHM_MODE_UNSET,
                            .uid = SHM_MODE_UNSET,
                            .gid = SHM_MODE_UNSET};
    int64_t idx;

    fx_lock(shm);
    idx = shm_node_intern(shm, SHM_ROOT, "dir", 3, &v, 1);
    v.mtime_ns = 0;
    assert_int_equal(shm_node_intern(shm, SHM_ROOT, "dir", 3, &v, 2), idx);
    fx_unlock(shm);
    assert_int_equal(shm_node_at(shm, (uint32_t)idx)->mtime_ns, 5000);
}

static void test_intern_local(void **state)
{
    struct shm *shm = *state;
    struct shm_version v = fx_file(NULL);
    uint32_t local, published;

    v.local = true;
    fx_lock(shm);
    local = (uint32_t)shm_node_intern(shm, SHM_ROOT, "name", 4, &v, 1);
    assert_int_equal(shm_node_intern(shm, SHM_ROOT, "name", 4, &v, 1), local);
    fx_unlock(shm);
    assert_true(shm_node_at(shm, local)->flags & SHM_NODE_LOCAL);
    fx_ref(shm, local, 1);
    published = fx_put(shm, SHM_ROOT, "name", "");
    assert_int_not_equal(published, local);
    assert_false(shm_node_at(shm, published)->flags & SHM_NODE_LOCAL);
}

/* What is being written is not replaced by what S3 still says. */
static void test_intern_with_session(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = fx_put(shm, SHM_ROOT, "name", "1");

    fx_lock(shm);
    shm_node_set_session(shm, idx, 0);
    fx_unlock(shm);
    assert_int_equal(fx_put(shm, SHM_ROOT, "name", "2"), idx);
    assert_string_equal(shm_node_at(shm, idx)->etag, "1");
    fx_lock(shm);
    shm_node_set_session(shm, idx, SHM_NIL);
    fx_unlock(shm);
    fx_ref(shm, idx, 1);
    assert_int_not_equal(fx_put(shm, SHM_ROOT, "name", "2"), idx);
}

/* Name and ETag may be those of the very node that is replaced, evicted and reused for the new
 * one. */
static void test_intern_from_itself(void **state)
{
    struct shm *shm = *state;
    struct shm_version v = fx_file(NULL);
    char name[SHM_NAME_MAX + 1];
    uint32_t old, new;

    for (unsigned i = 0; shm->nodes->live < shm->header->sizes.nodes; i++) {
        fx_name(name, 20, 'f', i);
        fx_put(shm, SHM_ROOT, name, "1");
    }
    old = fx_find(shm, SHM_ROOT, name);
    v.etag = shm_node_at(shm, old)->etag;
    v.dir = false;
    fx_lock(shm);
    shm_node_edit(shm, old)->flags |= SHM_NODE_LOCAL; /* so that it is another */
    new = (uint32_t)shm_node_intern(shm, SHM_ROOT, shm_node_name(shm, old), 20, &v, 1);
    fx_unlock(shm);
    assert_int_equal(new, old); /* evicted and reused */
    assert_int_equal(fx_find(shm, SHM_ROOT, name), new);
    assert_string_equal(shm_node_at(shm, new)->etag, "1");
    /* The same version with its own ETag. */
    fx_lock(shm);
    assert_int_equal(shm_node_intern(shm, SHM_ROOT, shm_node_name(shm, old), 20, &v, 1), new);
    fx_unlock(shm);
    assert_string_equal(shm_node_at(shm, new)->etag, "1");
}

static void test_names_refused(void **state)
{
    struct shm *shm = *state;
    struct shm_version v = fx_file("1");
    char name[SHM_NAME_MAX + 2];
    uint32_t idx = fx_put(shm, SHM_ROOT, "name", "1");

    fx_name(name, SHM_NAME_MAX + 1, 'n', 0);
    fx_lock(shm);
    assert_int_equal(shm_node_intern(shm, SHM_ROOT, "", 0, &v, 1), -EINVAL);
    assert_int_equal(shm_node_intern(shm, SHM_ROOT, name, SHM_NAME_MAX + 1, &v, 1), -EINVAL);
    assert_int_equal(shm_node_find(shm, SHM_ROOT, name, SHM_NAME_MAX + 1), SHM_NIL);
    assert_int_equal(shm_node_move(shm, idx, SHM_ROOT, "", 0), -EINVAL);
    assert_int_equal(shm_node_move(shm, idx, SHM_ROOT, name, SHM_NAME_MAX + 1), -EINVAL);
    assert_int_equal(shm->meta->log_used, 0);
    fx_unlock(shm);
}

/* Names are bytes. */
static void test_names_of_all_lengths(void **state)
{
    struct shm_sizes sizes = fx_small;
    char name[SHM_NAME_MAX + 1];
    struct shm *shm;

    (void)state;
    sizes.nodes = 2048;
    sizes.long_names = SHM_NAME_LONG;
    sizes.longest_names = SHM_NAME_MAX - SHM_NAME_LONG;
    shm = fx_new(&sizes);
    for (size_t len = 1; len <= SHM_NAME_MAX; len++) {
        memset(name, (int)(len % 255) + 1, len);
        name[len] = '\0';
        fx_put(shm, SHM_ROOT, name, "1");
    }
    fx_check(shm);
    for (size_t len = 1; len <= SHM_NAME_MAX; len++) {
        uint32_t idx;

        memset(name, (int)(len % 255) + 1, len);
        name[len] = '\0';
        idx = fx_find(shm, SHM_ROOT, name);
        assert_int_not_equal(idx, SHM_NIL);
        assert_int_equal(shm_node_at(shm, idx)->name_len, len);
        assert_memory_equal(shm_node_name(shm, idx), name, len);
        name[len - 1] ^= 1;
        assert_int_equal(fx_find(shm, SHM_ROOT, name), SHM_NIL);
    }
    shm_close(shm);
}

/* Numbers are the same in every segment: on the next mount, on another machine. */
static void test_inode_numbers_stay(void **state)
{
    struct shm *shm[2];
    uint64_t ino[2][3];

    (void)state;
    for (int i = 0; i < 2; i++) {
        uint32_t dir;

        shm[i] = fx_new(&fx_small);
        if (i == 1) /* among others */
            fx_put(shm[i], SHM_ROOT, "other", "1");
        dir = fx_mkdir(shm[i], SHM_ROOT, "dir");
        ino[i][0] = shm_node_at(shm[i], dir)->ino;
        ino[i][1] = shm_node_at(shm[i], fx_put(shm[i], dir, "name", "1"))->ino;
        ino[i][2] = shm_node_at(shm[i], fx_put(shm[i], SHM_ROOT, "name", "2"))->ino;
    }
    assert_memory_not_equal(shm[0]->header->hash_key, shm[1]->header->hash_key, 16);
    assert_memory_equal(ino[0], ino[1], sizeof(ino[0]));
    assert_true(ino[0][0] != ino[0][1] && ino[0][1] != ino[0][2]);
    shm_close(shm[0]);
    shm_close(shm[1]);
}

static void test_ids(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = fx_put(shm, SHM_ROOT, "name", "1");
    uint64_t id = shm_node_id(shm, idx);

    assert_int_equal(shm_node_of_id(shm, id), idx);
    assert_int_equal(shm_node_of_id(shm, id + 1), SHM_NIL); /* never used */
    assert_int_equal(shm_node_of_id(shm, id + (UINT64_C(1) << 32)), SHM_NIL);
    assert_int_equal(shm_node_of_id(shm, id & UINT32_MAX), SHM_NIL);
    assert_int_equal(shm_node_of_id(shm, 0), SHM_NIL);
    assert_int_equal(shm_node_of_id(shm, UINT64_MAX), SHM_NIL);
    assert_int_equal(shm_node_of_id(shm, shm->header->sizes.nodes + 1), SHM_NIL);
}

static void test_detach(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = fx_put(shm, SHM_ROOT, "name", "1"), again;

    fx_ref(shm, idx, 2);
    fx_lock(shm);
    shm_node_detach(shm, idx);
    shm_node_detach(shm, idx); /* once is enough */
    fx_unlock(shm);
    assert_int_equal(fx_find(shm, SHM_ROOT, "name"), SHM_NIL);
    assert_memory_equal(shm_node_name(shm, idx), "name", 4);
    again = fx_put(shm, SHM_ROOT, "name", "1");
    assert_int_not_equal(again, idx);
    fx_check(shm);
    fx_forget(shm, idx, 2);
    fx_check(shm);
}

static void test_refs(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = fx_put(shm, SHM_ROOT, "name", "1");

    fx_ref(shm, idx, 3);
    assert_int_equal(shm_node_at(shm, idx)->nlookup, 3);
    assert_int_equal(shm->nodes->lookups, 4);
    assert_int_equal(shm->nodes->evictable, 0);
    fx_forget(shm, idx, 1);
    assert_int_equal(shm->nodes->evictable, 0);
    fx_forget(shm, idx, UINT64_MAX); /* cut */
    assert_int_equal(shm_node_at(shm, idx)->nlookup, 0);
    assert_int_equal(shm->nodes->lookups, 1);
    assert_int_equal(shm->nodes->evictable, 1);
}

/* Each pin alone keeps a node off the evictable list. */
static void test_pins(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = fx_put(shm, SHM_ROOT, "name", "1");

    fx_lock(shm);
    shm_node_open(shm, idx);
    assert_int_equal(shm->nodes->evictable, 0);
    shm_node_ref(shm, idx, 1);
    shm_node_close(shm, idx);
    shm_node_close(shm, idx); /* one too many: no wrap */
    assert_int_equal(shm->nodes->evictable, 0);
    shm_node_set_busy(shm, idx, 1);
    shm_node_forget(shm, idx, 1);
    assert_int_equal(shm->nodes->evictable, 0);
    shm_node_set_session(shm, idx, 0);
    shm_node_set_busy(shm, idx, 0);
    assert_int_equal(shm->nodes->evictable, 0);
    shm_node_set_session(shm, idx, SHM_NIL);
    assert_int_equal(shm->nodes->evictable, 1);
    assert_int_equal(shm_node_at(shm, idx)->opens, 0);
    fx_unlock(shm);
}

/* ---- moving ---- */

static int move(struct shm *shm, uint32_t idx, uint32_t to, const char *name)
{
    int r;

    fx_lock(shm);
    r = shm_node_move(shm, idx, to, name, strlen(name));
    if (r < 0)
        assert_int_equal(shm->meta->log_used, 0); /* it undid itself */
    fx_unlock(shm);
    fx_check(shm);
    return r;
}

static void test_move(void **state)
{
    struct shm *shm = *state;
    uint32_t a = fx_mkdir(shm, SHM_ROOT, "a"), b = fx_mkdir(shm, SHM_ROOT, "b");
    uint32_t file = fx_put(shm, a, "file", "1");
    uint64_t id = shm_node_id(shm, file), ino = shm_node_at(shm, file)->ino;

    assert_int_equal(move(shm, file, b, "other"), 0);
    assert_int_equal(fx_find(shm, a, "file"), SHM_NIL);
    assert_int_equal(fx_find(shm, b, "other"), file);
    assert_int_equal(shm_node_id(shm, file), id);
    assert_int_equal(shm_node_at(shm, file)->ino, ino);
    assert_int_equal(shm_node_at(shm, a)->children, 0);
    assert_int_equal(shm_node_at(shm, b)->children, 1);
    /* To where it is. */
    assert_int_equal(move(shm, file, b, "other"), 0);
    assert_int_equal(fx_find(shm, b, "other"), file);
    /* With its own name. */
    fx_lock(shm);
    assert_int_equal(shm_node_move(shm, file, a, shm_node_name(shm, file), 5), 0);
    fx_unlock(shm);
    assert_int_equal(fx_find(shm, a, "other"), file);
    assert_int_equal(shm_node_at(shm, file)->ino, ino);
    fx_check(shm);
}

static uint64_t ino_of(struct shm *shm, uint32_t idx)
{
    return shm_node_at(shm, idx)->ino;
}

/* A file keeps its number, too, and what gets its old name has another one: as a listing tells it
 * before it is a node. */
static void test_moved_file_keeps_ino(void **state)
{
    struct shm *shm = *state;
    uint32_t first = fx_put(shm, SHM_ROOT, "a", "1"), second, third;
    uint64_t ino = ino_of(shm, first), told;

    assert_int_equal(move(shm, first, SHM_ROOT, "b"), 0);
    fx_lock(shm);
    told = shm_node_ino_of(shm, SHM_ROOT, "a", 1);
    fx_unlock(shm);
    second = fx_put(shm, SHM_ROOT, "a", "2");
    assert_true(ino_of(shm, first) == ino && ino_of(shm, second) == told && told != ino);
    assert_int_equal(ino_of(shm, fx_put(shm, SHM_ROOT, "a", "3")), told); /* another version */
    /* Onto the first one, which is open. */
    fx_ref(shm, first, 1);
    second = fx_find(shm, SHM_ROOT, "a");
    fx_lock(shm);
    shm_node_unlinked(shm, first, 1);
    fx_unlock(shm);
    assert_int_equal(move(shm, second, SHM_ROOT, "b"), 0);
    assert_true(ino_of(shm, first) == ino && ino_of(shm, second) == told);
    third = fx_put(shm, SHM_ROOT, "a", "4");
    assert_true(ino_of(shm, third) != ino && ino_of(shm, third) != told);
    /* Removed while it is open, and made anew; when nobody has it, its number is free. */
    fx_ref(shm, third, 1);
    fx_lock(shm);
    shm_node_unlinked(shm, third, 1);
    fx_unlock(shm);
    assert_int_not_equal(ino_of(shm, fx_put(shm, SHM_ROOT, "a", "5")), ino_of(shm, third));
    fx_forget(shm, third, 1);
    fx_forget(shm, first, 1);
    third = fx_find(shm, SHM_ROOT, "a");
    fx_lock(shm);
    shm_node_gone(shm, third);
    fx_unlock(shm);
    assert_int_equal(ino_of(shm, fx_put(shm, SHM_ROOT, "a", "6")), ino);
    fx_check(shm);
}

/* What a name is called stays, whatever file gets it, of whatever number; the version that it
 * replaced keeps it, too. */
static void test_name_id(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir"), first = fx_put(shm, SHM_ROOT, "a", "1");
    uint32_t second = fx_put(shm, SHM_ROOT, "b", "2"), third = fx_put(shm, dir, "a", "3");
    uint64_t a = shm_node_name_id(shm, first), b = shm_node_name_id(shm, second);

    assert_true(a != b && shm_node_name_id(shm, third) != a);
    fx_ref(shm, first, 1);
    assert_int_equal(move(shm, second, SHM_ROOT, "a"), 0);
    assert_int_not_equal(ino_of(shm, first), ino_of(shm, second));
    assert_int_equal(shm_node_name_id(shm, first), a);
    assert_int_equal(shm_node_name_id(shm, second), a);
    assert_int_equal(shm_node_name_id(shm, fx_put(shm, SHM_ROOT, "b", "4")), b);
    assert_int_equal(shm_node_name_id(shm, SHM_ROOT), 0);
}

/* One name again and again, more often than numbers are tried in order. */
static void test_many_have_had_a_name(void **state)
{
    struct shm *shm = *state;
    uint32_t idx[40];
    char name[8];

    for (unsigned i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        idx[i] = fx_put(shm, SHM_ROOT, "new", "1");
        assert_int_equal(move(shm, idx[i], SHM_ROOT, name), 0);
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(ino_of(shm, idx[k]), ino_of(shm, idx[i]));
    }
    fx_check(shm);
}

/* A segment as it is with compare-and-set. */
static struct shm *new_cas(void)
{
    struct shm_sizes sizes = fx_small;

    sizes.baselines = 32;
    return fx_new(&sizes);
}

/* With compare-and-set numbers are made of names. */
static void test_inos_with_compare_and_set(void **state)
{
    struct shm *shm = new_cas();
    uint32_t file;
    uint64_t ino;

    (void)state;
    file = fx_put(shm, SHM_ROOT, "a", "1");
    ino = ino_of(shm, file);
    assert_int_equal(move(shm, file, SHM_ROOT, "b"), 0);
    assert_int_not_equal(ino_of(shm, file), ino);
    assert_int_equal(ino_of(shm, fx_put(shm, SHM_ROOT, "a", "2")), ino);
    fx_check(shm);
    shm_close(shm);
}

static void test_move_replaces(void **state)
{
    struct shm *shm = *state;
    uint32_t from = fx_put(shm, SHM_ROOT, "from", "1");
    uint32_t to = fx_put(shm, SHM_ROOT, "to", "2");

    fx_ref(shm, to, 1);
    assert_int_equal(move(shm, from, SHM_ROOT, "to"), 0);
    assert_int_equal(fx_find(shm, SHM_ROOT, "to"), from);
    assert_int_equal(fx_find(shm, SHM_ROOT, "from"), SHM_NIL);
    assert_int_equal(shm_node_at(shm, to)->state, SHM_NODE_LIVE);
    assert_false(shm_node_at(shm, to)->flags & SHM_NODE_CURRENT);
    fx_forget(shm, to, 1);
}

static void test_move_directory(void **state)
{
    struct shm *shm = *state;
    uint32_t a = fx_mkdir(shm, SHM_ROOT, "a"), b = fx_mkdir(shm, SHM_ROOT, "b");
    uint32_t sub = fx_mkdir(shm, a, "sub"), file = fx_put(shm, sub, "file", "1");
    char path[64];

    assert_int_equal(move(shm, a, b, "moved"), 0);
    assert_int_equal(shm_node_path(shm, file, path, sizeof(path)), 16);
    assert_string_equal(path, "b/moved/sub/file");
    assert_int_equal(fx_find(shm, sub, "file"), file);
    /* Into its own subtree, or into itself. */
    assert_int_equal(move(shm, b, sub, "x"), -ELOOP);
    assert_int_equal(move(shm, b, b, "x"), -ELOOP);
    assert_int_equal(move(shm, SHM_ROOT, sub, "x"), -ELOOP);
    assert_int_equal(shm_node_path(shm, file, path, sizeof(path)), 16);
    /* Over its own ancestor: the vfs forbids it, here nothing breaks. */
    assert_int_equal(move(shm, sub, SHM_ROOT, "b"), 0);
    assert_int_equal(shm_node_path(shm, file, path, sizeof(path)), 6);
    assert_string_equal(path, "b/file");
}

/* It keeps its inode number, and all below it theirs; what gets its old name has another one. */
static void test_moved_directory_keeps_ino(void **state)
{
    struct shm *shm = *state;
    uint32_t first = fx_mkdir(shm, SHM_ROOT, "a"), sub = fx_mkdir(shm, first, "sub");
    uint64_t ino = shm_node_at(shm, first)->ino, sub_ino = shm_node_at(shm, sub)->ino;
    uint32_t second, third, file;

    assert_int_equal(move(shm, first, SHM_ROOT, "b"), 0);
    second = fx_mkdir(shm, SHM_ROOT, "a");
    assert_int_equal(shm_node_at(shm, first)->ino, ino);
    assert_int_not_equal(shm_node_at(shm, second)->ino, ino);
    assert_int_not_equal(shm_node_at(shm, fx_mkdir(shm, second, "sub"))->ino, sub_ino);
    file = fx_put(shm, first, "new", "1");
    assert_int_not_equal(shm_node_at(shm, fx_put(shm, second, "new", "1"))->ino,
                         shm_node_at(shm, file)->ino);
    /* That one is moved too, and the first comes back. */
    assert_int_equal(move(shm, second, SHM_ROOT, "c"), 0);
    third = fx_mkdir(shm, SHM_ROOT, "a");
    assert_int_not_equal(shm_node_at(shm, third)->ino, ino);
    assert_int_not_equal(shm_node_at(shm, third)->ino, shm_node_at(shm, second)->ino);
    fx_lock(shm);
    shm_node_gone(shm, third);
    fx_unlock(shm);
    assert_int_equal(move(shm, first, SHM_ROOT, "a"), 0);
    assert_int_equal(shm_node_at(shm, first)->ino, ino);
    assert_int_equal(shm_node_at(shm, sub)->ino, sub_ino);
}

/* Its entries may have its old name: a new directory of this name has another number than they. */
static void test_moved_directory_with_its_name_below(void **state)
{
    struct shm *shm = *state;
    uint32_t dir[6] = {fx_mkdir(shm, SHM_ROOT, "a")};

    dir[1] = fx_mkdir(shm, dir[0], "a");
    dir[2] = fx_mkdir(shm, dir[1], "a");
    assert_int_equal(move(shm, dir[0], SHM_ROOT, "b"), 0);
    dir[3] = fx_mkdir(shm, SHM_ROOT, "a");
    assert_int_equal(move(shm, dir[3], SHM_ROOT, "c"), 0);
    dir[4] = fx_mkdir(shm, SHM_ROOT, "a");
    dir[5] = fx_mkdir(shm, dir[4], "a");
    for (int i = 0; i < 6; i++) {
        for (int j = 0; j < i; j++)
            assert_int_not_equal(shm_node_at(shm, dir[i])->ino, shm_node_at(shm, dir[j])->ino);
    }
}

/* The listing of a directory counts until it, or one above it, is moved. */
static void test_listing_of_a_moved_directory(void **state)
{
    struct shm *shm = *state;
    uint32_t top = fx_mkdir(shm, SHM_ROOT, "a"), mid = fx_mkdir(shm, top, "b");
    uint32_t dir = fx_mkdir(shm, mid, "c"), other = fx_mkdir(shm, SHM_ROOT, "o");

    assert_int_equal(shm_node_listed_ns(shm, dir), 0);
    fx_lock(shm);
    shm_node_edit(shm, dir)->listed_ns = 100;
    shm_node_edit(shm, other)->listed_ns = 100;
    shm_node_dir_moved(shm, mid, 99);
    assert_int_equal(shm_node_listed_ns(shm, dir), 100);
    shm_node_dir_moved(shm, top, 100);
    fx_unlock(shm);
    assert_int_equal(shm_node_listed_ns(shm, dir), 0);
    assert_int_equal(shm_node_listed_ns(shm, other), 100);
    fx_lock(shm);
    shm_node_edit(shm, dir)->listed_ns = 101;
    fx_unlock(shm);
    assert_int_equal(shm_node_listed_ns(shm, dir), 101);
    assert_int_equal(fx_mkdir(shm, mid, "c"), dir); /* found again: it is known as before */
    assert_int_equal(shm_node_listed_ns(shm, dir), 101);
}

/* A file that has the name of a directory that was moved: all its versions are one file. */
static void test_versions_where_a_directory_was(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "a"), v1, v2;
    uint64_t ino = shm_node_at(shm, dir)->ino;

    assert_int_equal(move(shm, dir, SHM_ROOT, "b"), 0);
    v1 = fx_put(shm, SHM_ROOT, "a", "1");
    fx_ref(shm, v1, 1);
    assert_int_not_equal(shm_node_at(shm, v1)->ino, ino);
    fx_ref(shm, dir, 1);
    fx_lock(shm);
    shm_node_gone(shm, dir);
    fx_unlock(shm);
    fx_forget(shm, dir, 1); /* evicted as soon as somebody needs its place */
    v2 = fx_put(shm, SHM_ROOT, "a", "2");
    assert_int_equal(shm_node_at(shm, v2)->ino, shm_node_at(shm, v1)->ino);
    fx_forget(shm, v1, 1);
}

static void test_move_detached(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = fx_put(shm, SHM_ROOT, "name", "1");

    fx_ref(shm, idx, 1);
    fx_lock(shm);
    shm_node_detach(shm, idx);
    fx_unlock(shm);
    assert_int_equal(move(shm, idx, SHM_ROOT, "back"), 0);
    assert_int_equal(fx_find(shm, SHM_ROOT, "back"), idx);
    fx_forget(shm, idx, 1);
    assert_int_equal(shm->nodes->lru_first, idx + 1); /* current again: at the front */
}

static void test_move_long_names(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = fx_put(shm, SHM_ROOT, "name", "1");
    char one[SHM_NAME_MAX + 1], two[SHM_NAME_MAX + 1];
    char three[SHM_NAME_MAX + 1], four[SHM_NAME_MAX + 1];

    fx_name(one, 255, 'a', 1);
    fx_name(two, 73, 'b', 1);
    fx_name(three, 256, 'c', 1);
    for (int i = 0; i < 100; i++) { /* none is lost on the way */
        assert_int_equal(move(shm, idx, SHM_ROOT, one), 0);
        assert_int_equal(move(shm, idx, SHM_ROOT, two), 0);
        assert_int_equal(move(shm, idx, SHM_ROOT, three), 0);
        fx_name(four, SHM_NAME_MAX, 'd', (unsigned)i);
        assert_int_equal(move(shm, idx, SHM_ROOT, four), 0);
        assert_memory_equal(shm_node_name(shm, idx), four, SHM_NAME_MAX);
        assert_int_equal(move(shm, idx, SHM_ROOT, "short"), 0);
    }
    assert_int_equal(fx_find(shm, SHM_ROOT, "short"), idx);
    assert_int_equal(shm->nodes->names[SHM_NAMES_LONG].fresh, 1);
    assert_int_equal(shm->nodes->names[SHM_NAMES_LONGEST].fresh, 1);
    fx_check(shm);
}

/* ---- private nodes ---- */

static uint32_t put_private(struct shm *shm, uint32_t parent, const char *name, const char *etag)
{
    struct shm_version v = fx_file(etag);
    int64_t r;

    fx_lock(shm);
    r = shm_node_private(shm, parent, name, strlen(name), &v, 9);
    fx_unlock(shm);
    assert_true(r >= 0);
    fx_check(shm);
    return (uint32_t)r;
}

/* It is a file of the same key, but the name does not map to it. */
static void test_private(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir");
    uint32_t named = fx_put(shm, dir, "name", "1");
    uint32_t own = put_private(shm, dir, "name", "1"), other;
    const struct shm_node *n = shm_node_at(shm, own);
    char path[16];

    fx_ref(shm, own, 1);
    fx_ref(shm, named, 1);
    other = put_private(shm, dir, "name", "1");
    assert_int_not_equal(own, named);
    assert_int_not_equal(own, other);
    assert_int_equal(n->state, SHM_NODE_LIVE);
    assert_int_equal(n->flags, SHM_NODE_PRIVATE);
    assert_int_equal(n->ino, shm_node_at(shm, named)->ino);
    assert_int_equal(n->size, 100);
    assert_int_equal(n->checked_ns, 9);
    assert_string_equal(n->etag, "1");
    assert_int_equal(n->bytes_node, own);
    assert_int_not_equal(n->content, shm_node_at(shm, named)->content);
    assert_int_equal(shm_node_path(shm, own, path, sizeof(path)), 8);
    assert_string_equal(path, "dir/name");
    assert_int_equal(shm_node_at(shm, dir)->children, 3);
    assert_int_equal(fx_find(shm, dir, "name"), named);
    assert_int_equal(shm_node_at(shm, named)->flags, SHM_NODE_CURRENT);
    /* What S3 says of the name is of the node that the name maps to. */
    assert_int_equal(fx_put(shm, dir, "name", "1"), named);
    assert_int_not_equal(fx_put(shm, dir, "name", "2"), named);
    assert_string_equal(n->etag, "1");
    assert_int_equal(n->flags, SHM_NODE_PRIVATE);
    fx_check(shm);
}

/* No name maps to it even where none maps to another: what is published is to be looked up. */
static void test_private_alone(void **state)
{
    struct shm *shm = *state;
    uint32_t own = put_private(shm, SHM_ROOT, "name", ""), named;

    assert_int_equal(fx_find(shm, SHM_ROOT, "name"), SHM_NIL);
    fx_ref(shm, own, 1);
    named = fx_put(shm, SHM_ROOT, "name", "1");
    assert_int_not_equal(named, own);
    assert_int_equal(fx_find(shm, SHM_ROOT, "name"), named);
    fx_lock(shm);
    shm_node_gone(shm, own);
    shm_node_detach(shm, own); /* it is not in the table */
    fx_unlock(shm);
    assert_int_equal(fx_find(shm, SHM_ROOT, "name"), named);
    assert_int_equal(shm_node_at(shm, own)->flags, SHM_NODE_PRIVATE);
}

/* Name and ETag may be those of the node beside it. */
static void test_private_from_itself(void **state)
{
    struct shm *shm = *state;
    struct shm_version v = fx_file(NULL);
    char name[SHM_NAME_MAX + 1];
    uint32_t named, own;

    fx_name(name, SHM_NAME_MAX, 'n', 0);
    named = fx_put(shm, SHM_ROOT, name, "1");
    v.etag = shm_node_at(shm, named)->etag;
    fx_lock(shm);
    own = (uint32_t)shm_node_private(shm, SHM_ROOT, shm_node_name(shm, named), SHM_NAME_MAX, &v, 1);
    fx_unlock(shm);
    fx_check(shm);
    assert_string_equal(shm_node_at(shm, own)->etag, "1");
    assert_memory_equal(shm_node_name(shm, own), name, SHM_NAME_MAX);
    assert_int_equal(fx_find(shm, SHM_ROOT, name), named);
}

static void test_private_refused(void **state)
{
    struct shm *shm = *state;
    struct shm_version v = fx_file("1");
    char name[SHM_NAME_MAX + 2];

    fx_name(name, SHM_NAME_MAX + 1, 'n', 0);
    fx_lock(shm);
    assert_int_equal(shm_node_private(shm, SHM_ROOT, "", 0, &v, 1), -EINVAL);
    assert_int_equal(shm_node_private(shm, SHM_ROOT, name, SHM_NAME_MAX + 1, &v, 1), -EINVAL);
    assert_int_equal(shm->meta->log_used, 0);
    fx_unlock(shm);
    assert_int_equal(shm->nodes->live, 1);
}

/* Renamed, it stays beside what the names map to, at both places. */
static void test_private_move(void **state)
{
    struct shm *shm = new_cas();
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir");
    uint32_t from = fx_put(shm, SHM_ROOT, "from", "1"), to = fx_put(shm, dir, "to", "2");
    uint32_t own = put_private(shm, SHM_ROOT, "from", "1");
    char path[16];

    (void)state;
    assert_int_equal(move(shm, own, dir, "to"), 0);
    assert_int_equal(fx_find(shm, SHM_ROOT, "from"), from);
    assert_int_equal(fx_find(shm, dir, "to"), to);
    assert_true(shm_node_at(shm, to)->flags & SHM_NODE_CURRENT);
    assert_int_equal(shm_node_at(shm, own)->flags, SHM_NODE_PRIVATE);
    assert_int_equal(shm_node_at(shm, own)->ino, shm_node_at(shm, to)->ino);
    assert_int_equal(shm_node_path(shm, own, path, sizeof(path)), 6);
    assert_string_equal(path, "dir/to");
    assert_int_equal(shm_node_at(shm, dir)->children, 2);
    assert_int_equal(move(shm, own, dir, "to"), 0); /* to where it is */
    assert_int_equal(fx_find(shm, dir, "to"), to);
    assert_int_equal(move(shm, own, dir, "free"), 0); /* which it does not take, either */
    assert_int_equal(fx_find(shm, dir, "free"), SHM_NIL);
    assert_int_equal(move(shm, from, dir, "free"), 0); /* under it, and it stays */
    assert_int_equal(fx_find(shm, dir, "free"), from);
    assert_int_equal(shm_node_at(shm, own)->flags, SHM_NODE_PRIVATE);
    fx_check(shm);
    shm_close(shm);
}

/* Of no more use without its caller, it goes before all others. Its directory stays complete. */
static void test_private_evicted_first(void **state)
{
    struct shm *shm = *state;
    uint32_t named = fx_put(shm, SHM_ROOT, "name", "1");
    uint32_t own = put_private(shm, SHM_ROOT, "name", "1");
    uint64_t id = shm_node_id(shm, own), named_id = shm_node_id(shm, named);
    char name[16];

    fx_ref(shm, own, 1);
    for (unsigned i = 0; shm->nodes->live < shm->header->sizes.nodes; i++) {
        fx_name(name, 8, 'f', i);
        fx_put(shm, SHM_ROOT, name, "1");
    }
    fx_lock(shm);
    shm_node_edit(shm, SHM_ROOT)->flags |= SHM_NODE_COMPLETE | SHM_NODE_LISTING;
    fx_unlock(shm);
    fx_forget(shm, own, 1); /* the youngest of the list, were it current */
    fx_check(shm);
    assert_int_equal(fx_put(shm, SHM_ROOT, "new", "1"), own);
    assert_int_equal(shm_node_of_id(shm, id), SHM_NIL);
    assert_false(shm_node_at(shm, own)->flags & SHM_NODE_PRIVATE);
    assert_int_equal(shm_node_of_id(shm, named_id), named);
    assert_true(shm_node_at(shm, SHM_ROOT)->flags & SHM_NODE_COMPLETE);
    assert_true(shm_node_at(shm, SHM_ROOT)->flags & SHM_NODE_LISTING);
    fx_check(shm);
}

/* No node can go: an error, and nothing changed. */
static void test_private_exhausted(void **state)
{
    struct shm *shm = *state;
    struct shm_version v = fx_file("1");
    char name[16];

    for (unsigned i = 0; shm->nodes->live < shm->header->sizes.nodes; i++) {
        fx_name(name, 8, 'f', i);
        fx_ref(shm, fx_put(shm, SHM_ROOT, name, "1"), 1);
    }
    fx_lock(shm);
    assert_int_equal(shm_node_private(shm, SHM_ROOT, name, 8, &v, 1), -ENOMEM);
    assert_int_equal(shm->meta->log_used, 0);
    fx_unlock(shm);
    fx_check(shm);
    fx_forget(shm, 1, 1);
    assert_int_equal(put_private(shm, SHM_ROOT, name, "1"), 1);
}

/* ---- what is known of a directory ---- */

#define KNOWN (SHM_NODE_COMPLETE | SHM_NODE_LISTING)

static uint32_t mkdir_known(struct shm *shm)
{
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir");

    fx_put(shm, dir, "name", "1");
    fx_put(shm, dir, "other", "1");
    fx_lock(shm);
    shm_node_edit(shm, dir)->flags |= KNOWN;
    fx_unlock(shm);
    return dir;
}

/* The name may well exist: not all entries are known any more. */
static void test_known_until_detach(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = mkdir_known(shm), idx = fx_find(shm, dir, "name");

    fx_lock(shm);
    shm_node_detach(shm, idx);
    fx_unlock(shm);
    fx_check(shm);
    assert_int_equal(fx_find(shm, dir, "name"), SHM_NIL);
    assert_int_equal(shm_node_at(shm, dir)->flags & KNOWN, 0);
    fx_lock(shm);
    shm_node_edit(shm, dir)->flags |= KNOWN;
    shm_node_detach(shm, idx); /* known anew, without it: once is enough */
    fx_unlock(shm);
    assert_int_equal(shm_node_at(shm, dir)->flags & KNOWN, KNOWN);
}

/* It is known that the name does not exist. */
static void test_known_without_it(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = mkdir_known(shm), idx = fx_find(shm, dir, "name");
    uint64_t id = shm_node_id(shm, idx);

    fx_lock(shm);
    shm_node_gone(shm, idx);
    shm_node_gone(shm, idx); /* once is enough */
    fx_unlock(shm);
    fx_check(shm);
    assert_int_equal(fx_find(shm, dir, "name"), SHM_NIL);
    assert_int_not_equal(fx_find(shm, dir, "other"), SHM_NIL);
    assert_int_equal(shm_node_at(shm, dir)->flags & KNOWN, KNOWN);
    assert_int_equal(shm_node_of_id(shm, id), idx);  /* for those who have it */
    assert_int_equal(shm->nodes->lru_last, idx + 1); /* else the next to go */
}

static void test_known_as_replaced(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = mkdir_known(shm), old = fx_find(shm, dir, "name"), new;
    uint32_t other = fx_find(shm, dir, "other");

    fx_ref(shm, old, 1);
    new = fx_put(shm, dir, "name", "2");
    assert_int_not_equal(new, old);
    assert_int_equal(shm_node_at(shm, dir)->flags & KNOWN, KNOWN);
    fx_check(shm);
    put_private(shm, dir, "name", "2");
    assert_int_equal(shm_node_at(shm, dir)->flags & KNOWN, KNOWN);
    assert_int_equal(move(shm, other, dir, "name"), 0); /* and as renamed */
    assert_int_equal(fx_find(shm, dir, "name"), other);
    assert_int_equal(shm_node_at(shm, dir)->flags & KNOWN, KNOWN);
}

/* A file that is replaced, or removed and made, again and again: what nobody has any more is used
 * for the new one, and not memory that was never used. */
static void test_replaced_again_and_again(void **state)
{
    struct shm *shm = *state;
    uint32_t fresh = 0, idx = SHM_NIL;
    char etag[16];

    for (unsigned i = 0; i < 1000; i++) {
        snprintf(etag, sizeof(etag), "%u", i);
        idx = fx_put(shm, SHM_ROOT, "name", etag);
        put_private(shm, SHM_ROOT, "name", etag);
        if (i % 3 == 0) {
            fx_lock(shm);
            shm_node_gone(shm, idx);
            fx_unlock(shm);
        }
        if (i == 5)
            fresh = shm->nodes->fresh_node;
    }
    assert_int_equal(shm->nodes->fresh_node, fresh);
    assert_int_equal(shm->nodes->evictions, 0);
    fx_check(shm);
}

/* All nodes of a name are found, and no others. */
static void test_next_of_name(void **state)
{
    struct shm *shm = *state;
    uint32_t idx[4], at = SHM_NIL, found = 0;

    idx[0] = fx_put(shm, SHM_ROOT, "name", "1");
    fx_ref(shm, idx[0], 1);
    idx[1] = fx_put(shm, SHM_ROOT, "name", "2");
    fx_ref(shm, idx[1], 1);
    idx[2] = put_private(shm, SHM_ROOT, "name", "2");
    fx_ref(shm, idx[2], 1);
    idx[3] = fx_put(shm, SHM_ROOT, "name2", "2");
    while ((at = shm_node_next_of_name(shm, at, idx[1])) != SHM_NIL) {
        assert_in_range(at, 0, 31);
        assert_false(found & 1u << at);
        found |= 1u << at;
    }
    assert_int_equal(found, 1u << idx[0] | 1u << idx[1] | 1u << idx[2]);
    assert_int_equal(shm_node_next_of_name(shm, SHM_NIL, idx[3]), idx[3]);
    assert_int_equal(shm_node_next_of_name(shm, idx[3], idx[3]), SHM_NIL);
}

/* A listing stays known where the old node is evicted for the new one. */
static void test_known_as_evicted(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = mkdir_known(shm), old = fx_find(shm, dir, "name");
    char name[16];

    for (unsigned i = 0; shm->nodes->live < shm->header->sizes.nodes; i++) {
        fx_name(name, 8, 'f', i);
        fx_put(shm, SHM_ROOT, name, "1");
    }
    assert_int_equal(fx_put(shm, dir, "name", "2"), old);
    assert_string_equal(shm_node_at(shm, old)->etag, "2");
    assert_int_equal(shm_node_at(shm, dir)->flags & KNOWN, KNOWN);
    fx_check(shm);
    fx_put(shm, SHM_ROOT, "new", "1"); /* "other" goes, unseen */
    assert_int_equal(fx_find(shm, dir, "other"), SHM_NIL);
    assert_int_equal(shm_node_at(shm, dir)->flags & KNOWN, 0);
}

/* ---- paths ---- */

static void test_path_cap(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = fx_mkdir(shm, SHM_ROOT, "abc");
    char out[64];

    idx = fx_put(shm, idx, "defg", "1");
    for (size_t cap = 0; cap < 9; cap++) {
        memset(out, '#', sizeof(out));
        assert_int_equal(shm_node_path(shm, idx, out, cap), -ENAMETOOLONG);
        assert_int_equal(out[cap], '#');
    }
    memset(out, '#', sizeof(out));
    assert_int_equal(shm_node_path(shm, idx, out, 9), 8);
    assert_memory_equal(out, "abc/defg\0#", 10);
    assert_int_equal(shm_node_path(shm, SHM_ROOT, out, 0), -ENAMETOOLONG);
}

static void test_path_deep(void **state)
{
    struct shm_sizes sizes = fx_small;
    uint32_t idx = SHM_ROOT;
    char name[SHM_NAME_MAX + 1], path[8192], expected[8192] = "";
    size_t len = 0;
    struct shm *shm;

    (void)state;
    sizes.nodes = 1024;
    shm = fx_new(&sizes);
    for (unsigned i = 0; i < 1000; i++) {
        fx_name(name, 4, 'd', i);
        idx = fx_mkdir(shm, idx, name);
        len += (size_t)sprintf(expected + len, "%s%s", i ? "/" : "", name);
    }
    assert_int_equal(shm_node_path(shm, idx, path, sizeof(path)), len);
    assert_string_equal(path, expected);
    fx_check(shm);
    shm_close(shm);
}

/* ---- content, listings, candidates ---- */

static void test_content(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir");
    uint32_t first = shm_node_at(shm, dir)->content, second;

    fx_lock(shm);
    shm_node_edit(shm, dir)->flags |= SHM_NODE_COMPLETE;
    shm_node_edit(shm, dir)->listed_ns = 5;
    shm_node_new_content(shm, dir);
    second = shm_node_at(shm, dir)->content;
    assert_int_not_equal(second, first);
    shm_node_list_stale(shm, dir);
    assert_int_not_equal(shm_node_at(shm, dir)->content, first);
    assert_int_not_equal(shm_node_at(shm, dir)->content, second);
    assert_false(shm_node_at(shm, dir)->flags & SHM_NODE_COMPLETE);
    assert_int_equal(shm_node_at(shm, dir)->listed_ns, 0);
    shm_node_list_stale(shm, SHM_ROOT);
    fx_unlock(shm);
}

/* A copy shares the blocks of the first until its bytes are its own. */
static void test_content_of_copy(void **state)
{
    struct shm *shm = *state;
    uint32_t named = fx_put(shm, SHM_ROOT, "name", "1");
    uint32_t own = put_private(shm, SHM_ROOT, "name", "1");
    const struct shm_node *a = shm_node_at(shm, named), *b = shm_node_at(shm, own);
    uint32_t content = a->content, first = b->content;

    assert_int_equal(a->bytes_node, named);
    fx_lock(shm);
    shm_node_edit(shm, own)->content = content;
    shm_node_edit(shm, own)->bytes_node = named;
    shm_node_new_content(shm, own);
    fx_unlock(shm);
    fx_check(shm);
    assert_int_equal(b->bytes_node, own);
    assert_int_not_equal(b->content, content);
    assert_int_not_equal(b->content, first); /* what it had before it shared */
    assert_int_equal(a->bytes_node, named);
    assert_int_equal(a->content, content);
    fx_lock(shm);
    shm_node_edit(shm, own)->content = content;
    shm_node_edit(shm, own)->bytes_node = named;
    shm_node_new_content(shm, named); /* nor does the copy change with the first */
    fx_unlock(shm);
    assert_int_equal(b->bytes_node, named);
    assert_int_equal(b->content, content);
    assert_int_not_equal(a->content, content);
    fx_check(shm);
}

static void test_regain(void **state)
{
    struct shm *shm = *state;
    uint32_t a = fx_put(shm, SHM_ROOT, "f", "1"), b;

    fx_lock(shm);
    shm_node_ref(shm, a, 1);
    fx_unlock(shm);
    b = fx_put(shm, SHM_ROOT, "f", "2");
    fx_lock(shm);
    assert_int_not_equal(a, b);
    shm_node_regain(shm, b); /* has it */
    assert_int_equal(shm_node_find(shm, SHM_ROOT, "f", 1), b);
    shm_node_regain(shm, a);
    assert_int_equal(shm_node_find(shm, SHM_ROOT, "f", 1), a);
    assert_false(shm_node_at(shm, b)->flags & SHM_NODE_CURRENT);
    shm_node_gone(shm, a);
    shm_node_regain(shm, a); /* nobody has it */
    assert_int_equal(shm_node_find(shm, SHM_ROOT, "f", 1), a);
    fx_unlock(shm);
}

static void test_kernel_only(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir"), cursor = 0;
    uint32_t a = fx_put(shm, dir, "a", "1"), b = fx_put(shm, dir, "b", "1");

    fx_lock(shm);
    shm_node_ref(shm, dir, 1);
    assert_int_equal(shm_node_kernel_only(shm, &cursor, 100), SHM_NIL);
    shm_node_ref(shm, a, 1);
    shm_node_ref(shm, b, 1);
    assert_int_equal(shm_node_kernel_only(shm, &cursor, 100), a);
    assert_int_equal(shm_node_kernel_only(shm, &cursor, 100), b);
    assert_int_equal(shm_node_kernel_only(shm, &cursor, 100), a);
    shm_node_open(shm, a);
    assert_int_equal(shm_node_kernel_only(shm, &cursor, 100), b);
    shm_node_set_busy(shm, b, 1);
    assert_int_equal(shm_node_kernel_only(shm, &cursor, 100), SHM_NIL);
    assert_int_equal(shm_node_kernel_only(shm, &cursor, 0), SHM_NIL);
    cursor = UINT32_MAX; /* free running */
    shm_node_set_busy(shm, b, 0);
    assert_int_equal(shm_node_kernel_only(shm, &cursor, 100), b);
    shm_node_close(shm, a);
    fx_unlock(shm);
}

/* The check sees what it says it sees. */
static void test_check(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir");
    uint32_t idx = fx_put(shm, dir, "name", "1");
    struct shm_node *n = store_node(shm, idx), good = *n;
    struct err err;

#define SEEN(change)                                                                               \
    do {                                                                                           \
        change;                                                                                    \
        assert_int_equal(shm_node_check(shm, &err), -EUCLEAN);                                     \
        *n = good;                                                                                 \
        assert_int_equal(shm_node_check(shm, &err), 0);                                            \
    } while (0)
    SEEN(n->nlookup = 1);
    SEEN(n->opens = 1);
    SEEN(n->state = 2);
    SEEN(n->state = SHM_NODE_FREE);
    SEEN(n->parent = SHM_ROOT);
    SEEN(n->parent = SHM_NIL);
    SEEN(n->parent = 60);
    SEEN(n->children = 1);
    SEEN(n->hash_next = idx + 1);
    SEEN(n->lru_next = idx + 1);
    SEEN(n->flags = 0);
    /* (Under the random hash key some other name may belong to the same chain, but not all.) */
    unsigned seen = 0;

    for (char c = 'a'; c <= 'z'; c++) {
        n->name[0] = c;
        seen += shm_node_check(shm, &err) == -EUCLEAN;
        *n = good;
    }
    assert_true(seen > 0);
    SEEN(n->name_len = 0);
    SEEN(n->name_len = 100);
    SEEN(n->long_name = 0);
    SEEN(n->ino += 4);
    SEEN(n->ino_next = idx + 1);
#undef SEEN
    shm->nodes->fresh_node++;
    assert_int_equal(shm_node_check(shm, &err), -EUCLEAN);
    shm->nodes->fresh_node--;
    shm->nodes->free_node = idx + 1;
    assert_int_equal(shm_node_check(shm, &err), -EUCLEAN);
    shm->nodes->free_node = 0;
}

/* All of it is compared and copied elsewhere. */
static void test_etag_copy(void **state)
{
    char to[SHM_ETAG_MAX], longer[SHM_ETAG_MAX + 8];
    static const char zeroes[SHM_ETAG_MAX];

    (void)state;
    memset(to, 'x', sizeof(to));
    shm_etag_copy(to, "\"e\"");
    assert_string_equal(to, "\"e\"");
    assert_memory_equal(to + 3, zeroes, sizeof(to) - 3);
    shm_etag_copy(to, to);
    assert_string_equal(to, "\"e\"");
    memset(longer, 'y', sizeof(longer));
    shm_etag_copy(to, longer);
    assert_int_equal(strlen(to), SHM_ETAG_MAX - 1);
    shm_etag_copy(to, "");
    assert_memory_equal(to, zeroes, sizeof(to));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_root),
        TEST(test_intern_new),
        TEST(test_intern_same_version),
        TEST(test_intern_other_version),
        TEST(test_intern_other_type),
        TEST(test_intern_metadata),
        TEST(test_intern_links),
        TEST(test_intern_directory_again),
        TEST(test_intern_local),
        TEST(test_intern_with_session),
        TEST(test_intern_from_itself),
        TEST(test_names_refused),
        cmocka_unit_test(test_names_of_all_lengths),
        cmocka_unit_test(test_inode_numbers_stay),
        TEST(test_ids),
        TEST(test_detach),
        TEST(test_refs),
        TEST(test_pins),
        TEST(test_move),
        TEST(test_move_replaces),
        TEST(test_move_directory),
        TEST(test_moved_directory_keeps_ino),
        TEST(test_moved_file_keeps_ino),
        TEST(test_name_id),
        TEST(test_many_have_had_a_name),
        cmocka_unit_test(test_inos_with_compare_and_set),
        TEST(test_moved_directory_with_its_name_below),
        TEST(test_listing_of_a_moved_directory),
        TEST(test_versions_where_a_directory_was),
        TEST(test_move_detached),
        TEST(test_move_long_names),
        TEST(test_private),
        TEST(test_private_alone),
        TEST(test_private_from_itself),
        TEST(test_private_refused),
        TEST(test_private_move),
        TEST(test_private_evicted_first),
        TEST(test_private_exhausted),
        TEST(test_known_until_detach),
        TEST(test_known_without_it),
        TEST(test_known_as_replaced),
        TEST(test_replaced_again_and_again),
        TEST(test_next_of_name),
        TEST(test_known_as_evicted),
        TEST(test_path_cap),
        cmocka_unit_test(test_path_deep),
        TEST(test_content),
        TEST(test_content_of_copy),
        TEST(test_regain),
        TEST(test_kernel_only),
        TEST(test_check),
        cmocka_unit_test(test_etag_copy),
    };

    return cmocka_run_group_tests_name("shm_node", tests, NULL, NULL);
}
