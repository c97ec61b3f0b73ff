/* Every operation that changes tables, killed at each of its machine instructions: crash.h says
 * how. */
#include "tests/shm/crash.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/shm_block.h"
#include "shm/shm_conflict.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"
#include "shm/shm_lister.h"
#include "shm/shm_notify.h"
#include "shm/shm_patch.h"
#include "shm/shm_reopen.h"
#include "shm/shm_session.h"
#include "shm/shm_upload.h"
#include "shm/shm_version_id.h"

#define LONG_LEN 200
#define LONGEST_LEN 300

/* What prepare() made, for run(). */
static struct {
    uint32_t dir, node, other, block;
    uint32_t session, handle;
    size_t long_len;
    char long_name[SHM_NAME_MAX + 1];
} at;

static uint32_t put_long(struct shm *shm, uint32_t parent, char c, unsigned number)
{
    fx_name(at.long_name, at.long_len, c, number);
    return fx_put(shm, parent, at.long_name, "1");
}

/* Two directories, a file in one, neighbours in lists and chains. */
static void prepare_some(struct shm *shm)
{
    fx_put(shm, SHM_ROOT, "neighbour", "1");
    at.dir = fx_mkdir(shm, SHM_ROOT, "dir");
    at.node = fx_put(shm, at.dir, "name", "1");
    fx_put(shm, SHM_ROOT, "other neighbour", "1");
    at.other = fx_mkdir(shm, SHM_ROOT, "other");
}

/* The same with no free node and no free name of this length; the oldest ones are alone in their
 * directories. */
static void fill(struct shm *shm, size_t long_len)
{
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "of the first"), total;
    char name[16];

    at.long_len = long_len;
    total = shm_name_pool_size(&shm->header->sizes, shm_name_pool_of(long_len));
    put_long(shm, dir, 'v', 1);
    dir = fx_mkdir(shm, SHM_ROOT, "of the last");
    fx_put(shm, dir, "last", "1");
    prepare_some(shm);
    for (unsigned i = 1; i < total; i++)
        put_long(shm, SHM_ROOT, 'l', i);
    for (unsigned i = 0; shm->nodes->live < shm->header->sizes.nodes; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        fx_put(shm, SHM_ROOT, name, "1");
    }
    put_long(shm, fx_find(shm, SHM_ROOT, "of the first"), 'v', 1);
    fx_name(at.long_name, at.long_len, 'x', 1);
}

static void prepare_full(struct shm *shm)
{
    fill(shm, LONG_LEN);
}

static void prepare_full_longest(struct shm *shm)
{
    fill(shm, LONGEST_LEN);
}

/* Interns in the "dir" of prepare_some(), within a section. */
static int64_t intern(struct shm *shm, const char *name, const char *etag)
{
    struct shm_version v = fx_file(etag);

    return shm_node_intern(shm, at.dir, name, strlen(name), &v, 7);
}

/* ---- nodes ---- */

static void prepare_nothing(struct shm *shm)
{
    (void)shm;
}

static void run_lock(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_unlock(shm, shm->meta);
}

static void run_intern_new(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)!intern(shm, "new", "1");
    shm_unlock(shm, shm->meta);
}

static void run_intern_same(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)!intern(shm, "name", "1");
    shm_unlock(shm, shm->meta);
}

static void prepare_pinned(struct shm *shm)
{
    prepare_some(shm);
    fx_ref(shm, at.node, 1);
}

static void run_intern_version(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)!intern(shm, "name", "2");
    shm_unlock(shm, shm->meta);
}

static void run_intern_long(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)!intern(shm, at.long_name, "1");
    shm_unlock(shm, shm->meta);
}

/* A node can be had, but no long name: half of it is done, and undone. */
static void pin_long_names(struct shm *shm)
{
    for (uint32_t i = 1; i < shm->header->sizes.nodes; i++) {
        if (shm_node_at(shm, i)->name_len > SHM_NAME_INLINE)
            fx_ref(shm, i, 1);
    }
}

static void prepare_no_long_name(struct shm *shm)
{
    prepare_full(shm);
    pin_long_names(shm);
}

static void prepare_no_longest_name(struct shm *shm)
{
    prepare_full_longest(shm);
    pin_long_names(shm);
}

static void run_detach(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_node_detach(shm, at.node);
    shm_unlock(shm, shm->meta);
}

/* Its directory is known completely, and is being listed. */
static void prepare_listed(struct shm *shm)
{
    prepare_some(shm);
    fx_lock(shm);
    shm_node_edit(shm, at.dir)->flags |= SHM_NODE_COMPLETE | SHM_NODE_LISTING;
    fx_unlock(shm);
}

static void run_gone(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_node_gone(shm, at.node);
    shm_unlock(shm, shm->meta);
}

/* Name and ETag lie in the node that the name maps to. */
static int64_t make_private(struct shm *shm)
{
    struct shm_version v = fx_file(shm_node_at(shm, at.node)->etag);

    return shm_node_private(shm, at.dir, shm_node_name(shm, at.node), 4, &v, 7);
}

static void run_private(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)!make_private(shm);
    shm_unlock(shm, shm->meta);
}

static void run_private_long(struct shm *shm)
{
    struct shm_version v = fx_file("1");

    shm_lock(shm, shm->meta);
    (void)!shm_node_private(shm, at.dir, at.long_name, at.long_len, &v, 7);
    shm_unlock(shm, shm->meta);
}

static void prepare_move(struct shm *shm)
{
    at.long_len = LONG_LEN;
    prepare_some(shm);
    put_long(shm, at.other, 'r', 1);
}

static void run_move(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)!shm_node_move(shm, at.node, at.other, at.long_name, at.long_len);
    shm_unlock(shm, shm->meta);
}

/* The one that is moved has a name of the other pool. */
static void prepare_longest_to_long(struct shm *shm)
{
    prepare_move(shm);
    at.long_len = LONGEST_LEN;
    at.node = put_long(shm, at.dir, 'n', 1);
    at.long_len = LONG_LEN;
    fx_name(at.long_name, at.long_len, 'r', 1);
}

static void prepare_move_private(struct shm *shm)
{
    prepare_move(shm);
    fx_lock(shm);
    at.node = (uint32_t)make_private(shm);
    fx_unlock(shm);
}

static void run_ref(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    if (shm_node_at(shm, at.node)->nlookup == 0)
        shm_node_ref(shm, at.node, 1);
    shm_unlock(shm, shm->meta);
}

static void run_forget(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_node_forget(shm, at.node, 1);
    shm_unlock(shm, shm->meta);
}

static void run_marks(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    if (!shm_node_at(shm, at.node)->busy) {
        shm_node_set_busy(shm, at.node, shm_record_tag(0, 1));
        shm_node_new_content(shm, at.node);
        shm_node_list_stale(shm, at.dir);
    }
    shm_unlock(shm, shm->meta);
}

/* ---- sessions and handles ---- */

static void run_session_new(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    if (shm_node_at(shm, at.node)->session == SHM_NIL)
        (void)!shm_session_new(shm, at.node);
    shm_unlock(shm, shm->meta);
}

static void prepare_session(struct shm *shm)
{
    prepare_some(shm);
    fx_lock(shm);
    at.session = (uint32_t)shm_session_new(shm, at.node);
    shm_set(shm, shm->meta, shm->sessions->mem_used, 4096);
    shm_session_edit(shm, at.session)->mem_reserved = 4096;
    (void)shm_session_pid(shm, at.session, 1, 1, 1);
    fx_unlock(shm);
}

static void run_session_set_xattr(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_session_set_xattr(shm, at.session, "some");
    shm_unlock(shm, shm->meta);
}

static void run_session_pid(struct shm *shm)
{
    struct shm_session_pid *p;

    shm_lock(shm, shm->meta);
    p = shm_session_pid(shm, at.session, 1, 2, 2);
    if (p)
        p->flags |= SHM_PID_WROTE;
    shm_unlock(shm, shm->meta);
}

static void run_session_close(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_session_close(shm, at.session, 3);
    shm_unlock(shm, shm->meta);
}

static void prepare_closing(struct shm *shm)
{
    prepare_session(shm);
    run_session_close(shm);
}

static void run_session_free(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_session_free(shm, at.session);
    shm_unlock(shm, shm->meta);
}

static void prepare_upload(struct shm *shm)
{
    prepare_session(shm);
    fx_lock(shm);
    shm_upload_open(shm, at.session,
                    &(struct shm_upload_new){
                        .key = "k", .id = "i", .plan = shm_upload_plan(1 << 20, false, 0)});
    (void)shm_upload_take(shm, at.session, 0, 9, UINT64_MAX, SHM_UPLOAD_NEW);
    (void)shm_upload_take(shm, at.session, 1, 9, UINT64_MAX, SHM_UPLOAD_NEW);
    shm_upload_sent(shm, at.session, 1, "\"e\"", 7);
    fx_unlock(shm);
}

static void run_upload_open(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_upload_open(shm, at.session,
                    &(struct shm_upload_new){
                        .key = "k", .id = "i", .plan = shm_upload_plan(1 << 20, false, 0)});
    shm_unlock(shm, shm->meta);
}

static void run_upload_take(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)shm_upload_take(shm, at.session, 1, 9, UINT64_MAX, SHM_UPLOAD_NEW);
    shm_unlock(shm, shm->meta);
}

static void run_upload_sent(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_upload_sent(shm, at.session, 0, "\"f\"", 8);
    shm_unlock(shm, shm->meta);
}

static void run_upload_changed(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_upload_changed(shm, at.session, 1, 1, (2 << 20) - 1);
    shm_unlock(shm, shm->meta);
}

static void run_upload_gone(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)shm_upload_worker_gone(shm, at.session, 0);
    shm_unlock(shm, shm->meta);
}

/* Of three units the second is here, and was changed. */
static void prepare_patch(struct shm *shm)
{
    uint64_t size = 2 * SHM_PATCH_UNIT_MIN + 7;

    prepare_session(shm);
    shm_lock(shm, shm->meta);
    shm_session_edit(shm, at.session)->size = size;
    shm_session_edit(shm, at.session)->content = SHM_CONTENT_PATCH;
    shm_patch_begin(shm, at.session, size);
    shm_patch_loaded(shm, at.session,
                     (struct shm_patch_piece){SHM_PATCH_UNIT_MIN, SHM_PATCH_UNIT_MIN});
    shm_patch_changed(shm, at.session, SHM_PATCH_UNIT_MIN, SHM_PATCH_UNIT_MIN + 1);
    shm_unlock(shm, shm->meta);
}

static void run_patch_begin(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_session_edit(shm, at.session)->size = 3 * SHM_PATCH_UNIT_MIN;
    shm_patch_begin(shm, at.session, 3 * SHM_PATCH_UNIT_MIN);
    shm_unlock(shm, shm->meta);
}

static void run_patch_changed(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_patch_loaded(shm, at.session, (struct shm_patch_piece){2 * SHM_PATCH_UNIT_MIN, 7});
    shm_patch_changed(shm, at.session, 2 * SHM_PATCH_UNIT_MIN, 2 * SHM_PATCH_UNIT_MIN + 9);
    shm_session_edit(shm, at.session)->size += 2;
    shm_unlock(shm, shm->meta);
}

static void run_patch_published(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)!shm_patch_published(shm, at.session, 2 * SHM_PATCH_UNIT_MIN + 7);
    shm_unlock(shm, shm->meta);
}

static void run_patch_cut(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_session_edit(shm, at.session)->size = 7;
    shm_patch_cut(shm, at.session, 7);
    shm_unlock(shm, shm->meta);
}

static void run_upload_end(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_upload_end(shm, at.session);
    shm_unlock(shm, shm->meta);
}

static void run_handle_new(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    if (shm_node_at(shm, at.node)->opens == 0)
        (void)!shm_handle_new(shm, SHM_HANDLE_FILE, at.node, 5);
    shm_unlock(shm, shm->meta);
}

static void prepare_handle(struct shm *shm)
{
    prepare_some(shm);
    fx_lock(shm);
    at.handle = (uint32_t)shm_handle_new(shm, SHM_HANDLE_FILE, at.node, 5);
    fx_unlock(shm);
}

static void prepare_dir_handle(struct shm *shm)
{
    prepare_some(shm);
    fx_lock(shm);
    at.handle = (uint32_t)shm_handle_new(shm, SHM_HANDLE_DIR, at.dir, 0);
    shm_handle_set_start(shm, at.handle, "a name", 6);
    fx_unlock(shm);
    fx_name(at.long_name, SHM_NAME_MAX, 's', 1);
}

static void run_set_start(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_handle_set_start(shm, at.handle, at.long_name, SHM_NAME_MAX);
    shm_unlock(shm, shm->meta);
}

static void run_handle_free(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_handle_free(shm, at.handle);
    shm_unlock(shm, shm->meta);
}

/* ---- notifications ---- */

static void run_notify(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    if (shm->notify->tail == shm->notify->head)
        shm_notify_entry(shm, at.dir, "name", 4);
    shm_unlock(shm, shm->meta);
}

static void prepare_notify(struct shm *shm)
{
    prepare_some(shm);
    fx_lock(shm);
    shm_notify_inode(shm, at.node);
    fx_unlock(shm);
}

static void run_written(struct shm *shm)
{
    struct shm_notify n;

    if (shm_notify_next(shm, &n))
        shm_notify_written(shm);
}

static void run_notify_dropped(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    if (!shm->notify->dropped)
        shm_notify_inode(shm, at.node);
    shm_unlock(shm, shm->meta);
}

static void prepare_ring_full(struct shm *shm)
{
    prepare_some(shm);
    for (int i = 0; i < SHM_NOTIFY_SLOTS; i++) {
        fx_lock(shm);
        shm_notify_inode(shm, at.node);
        fx_unlock(shm);
    }
}

/* ---- blocks ---- */

static struct shm_block_key key(uint32_t no)
{
    return (struct shm_block_key){.node = 1, .content = 1, .no = no};
}

static void run_block_begin(struct shm *shm)
{
    at.block = shm_block_begin(shm, key(100), 0);
}

static void prepare_blocks(struct shm *shm)
{
    for (uint32_t i = 0; i < shm->header->sizes.blocks; i++)
        (void)shm_block_ready(shm, shm_block_begin(shm, key(i), 0), 100);
}

static void prepare_fetching(struct shm *shm)
{
    uint32_t idx;

    at.block = shm_block_begin(shm, key(100), 1);
    (void)shm_block_get(shm, key(100), 2, &idx);
    (void)shm_block_ready(shm, shm_block_begin(shm, key(0), 0), 100);
}

/* The state that a call wants is looked at first: run again after a death, it may be there
 * already. */
static void run_block_ready(struct shm *shm)
{
    if (shm->blocks->fetching)
        (void)shm_block_ready(shm, at.block, 5);
}

static void run_block_fail(struct shm *shm)
{
    if (shm->blocks->fetching)
        (void)shm_block_fail(shm, at.block);
}

/* All but one are fetched by another. */
static void prepare_one_free(struct shm *shm)
{
    uint32_t idx;

    for (uint32_t i = 1; i < shm->header->sizes.blocks; i++)
        (void)shm_block_begin(shm, key(99 + i), 1);
    (void)shm_block_get(shm, key(100), 2, &idx);
}

/* Over such a fetch. As its replacement does it after the death of a worker. */
static void run_block_put(struct shm *shm)
{
    uint32_t wake;

    (void)shm_block_worker_gone(shm, 0);
    (void)shm_block_put(shm, key(100), 0, (const uint8_t *)"put", 3, &wake);
}

static void run_block_hit(struct shm *shm)
{
    uint32_t idx;

    (void)shm_block_get(shm, key(3), 2, &idx);
}

static void run_block_busy(struct shm *shm)
{
    uint32_t idx;

    (void)shm_block_get(shm, key(100), 3, &idx);
}

static void prepare_block_pinned(struct shm *shm)
{
    prepare_blocks(shm);
    (void)shm_block_get(shm, key(3), 2, &at.block);
}

static void run_block_unpin(struct shm *shm)
{
    shm_block_unpin(shm, at.block, 2);
}

static void run_block_drop(struct shm *shm)
{
    shm_block_drop(shm, key(3));
}

static void prepare_dead_worker(struct shm *shm)
{
    uint32_t idx;

    for (uint32_t i = 0; i < 4; i++) {
        (void)shm_block_begin(shm, key(i), i % 2);
        (void)shm_block_get(shm, key(i), !(i % 2), &idx);
    }
    for (uint32_t i = 4; i < 8; i++) {
        (void)shm_block_ready(shm, shm_block_begin(shm, key(i), 0), 1);
        (void)shm_block_get(shm, key(i), i % 2, &idx);
    }
}

static void run_worker_gone(struct shm *shm)
{
    (void)shm_block_worker_gone(shm, 1);
}

static void run_block_order(struct shm *shm)
{
    (void)shm_block_order(shm, key(100), 0);
}

static void prepare_ordered(struct shm *shm)
{
    uint32_t idx;

    (void)shm_block_order(shm, key(100), 1);
    (void)shm_block_get(shm, key(100), 2, &idx);
}

static void run_block_take(struct shm *shm)
{
    (void)shm_block_take(shm, key(100), 0);
}

/* All but one are fetched by another, the first is only ordered. */
static void prepare_one_free_one_ordered(struct shm *shm)
{
    uint32_t idx;

    (void)shm_block_order(shm, key(100), 1);
    for (uint32_t i = 2; i < shm->header->sizes.blocks; i++)
        (void)shm_block_begin(shm, key(99 + i), 1);
    (void)shm_block_get(shm, key(100), 2, &idx);
}

/* Over an order that nobody has taken. */
static void run_put_over_order(struct shm *shm)
{
    uint32_t wake;

    (void)shm_block_worker_gone(shm, 0);
    (void)shm_block_put(shm, key(100), 0, (const uint8_t *)"put", 3, &wake);
}

static void run_order_post(struct shm *shm)
{
    struct shm_order o = {.of = 1, .first = key(100), .n = 1};

    if (shm->blocks->orders[1].tail == shm->blocks->orders[1].head)
        (void)!shm_order_post(shm, 1, &o);
}

static void prepare_order_posted(struct shm *shm)
{
    run_order_post(shm);
}

static void run_order_drop(struct shm *shm)
{
    shm_order_drop(shm, 1);
}

/* ---- several tables in one section ---- */

/* A CREATE: a node, a reference, a session, a handle, a notification, the answer in the journal. */
static void run_create(struct shm *shm)
{
    struct shm_record *rec = &shm_arena_of(shm, 0)->current;
    int64_t node, session, handle;

    shm_lock(shm, shm->meta);
    if (rec->state == SHM_RECORD_APPLIED)
        goto out;
    node = intern(shm, at.long_name, "2");
    if (node < 0)
        goto out;
    shm_node_ref(shm, (uint32_t)node, 1);
    session = shm_session_new(shm, (uint32_t)node);
    handle = shm_handle_new(shm, SHM_HANDLE_FILE, (uint32_t)node, 5);
    if (session < 0 || handle < 0) {
        shm_rollback(shm, shm->meta);
        goto out;
    }
    shm_handle_edit(shm, (uint32_t)handle)->session = (uint32_t)session;
    shm_node_list_stale(shm, at.dir);
    shm_notify_entry(shm, at.dir, at.long_name, at.long_len);
    shm_save(shm, shm->meta, rec, sizeof(*rec));
    rec->target = (uint32_t)handle;
    rec->session = (uint32_t)session;
    memset(rec->reply, 'r', sizeof(rec->reply));
    rec->reply_len = sizeof(rec->reply);
    rec->state = SHM_RECORD_APPLIED;
out:
    shm_unlock(shm, shm->meta);
}

/* A change that is taken back by the one who made it. */
static void run_rollback(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)!intern(shm, at.long_name, "1");
    shm_node_ref(shm, at.node, 1);
    shm_rollback(shm, shm->meta);
    shm_unlock(shm, shm->meta);
}

/* ---- conflicts ---- */

static void run_conflict(struct shm *shm)
{
    struct shm_conflict c = {.wall_ns = 7, .tgid = 7, .key = "refused"};

    shm_lock(shm, shm->meta);
    shm_conflict_add(shm, &c);
    shm_unlock(shm, shm->meta);
}

/* The next one goes over the first. */
static void prepare_conflicts(struct shm *shm)
{
    for (unsigned i = 0; i < SHM_CONFLICTS; i++)
        run_conflict(shm);
    shm->conflicts->slot[0].tgid = 1;
}

/* ---- opens that come back ---- */

static void run_reopen_note(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_reopen_note(shm, 7, 77, 1, 100);
    shm_unlock(shm, shm->meta);
}

static void run_reopen_note_private(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_reopen_note_private(shm, 7, 77, 1, 100);
    shm_unlock(shm, shm->meta);
}

static void run_reopen_has_private(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_reopen_has_private(shm, 7, 77);
    shm_unlock(shm, shm->meta);
}

static void run_reopen_take(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)shm_reopen_take(shm, 7, 77, 3, 100, 100, 1);
    shm_unlock(shm, shm->meta);
}

/* ---- who lists ---- */

static void run_lister_reads(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_lister_reads(shm, 7, SHM_ROOT, 3, 100);
    shm_unlock(shm, shm->meta);
}

static void run_lister_closed(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_lister_closed(shm, 7, SHM_ROOT, 3);
    shm_unlock(shm, shm->meta);
}

static void run_lister_looks(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)shm_lister_looks(shm, 7, SHM_ROOT, true, 300, 1000);
    shm_unlock(shm, shm->meta);
}

/* ---- version ids ---- */

static void run_version_told(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_version_id_told(shm, at.node, "p/dir/name", "v1");
    shm_unlock(shm, shm->meta);
}

static void prepare_version(struct shm *shm)
{
    prepare_some(shm);
    run_version_told(shm);
}

static void run_version_replaced(struct shm *shm)
{
    const struct shm_node *n = shm_node_at(shm, at.node);

    shm_lock(shm, shm->meta);
    shm_version_id_replaced(shm, shm_version_id_find(shm, n->bytes_node, n->content, "p/dir/name"));
    shm_unlock(shm, shm->meta);
}

static void run_version_forget(struct shm *shm)
{
    const struct shm_node *n = shm_node_at(shm, at.node);

    shm_lock(shm, shm->meta);
    shm_version_id_forget(shm, shm_version_id_find(shm, n->bytes_node, n->content, "p/dir/name"));
    shm_unlock(shm, shm->meta);
}

/* ---- the death of who undoes another's death ---- */

static void die_half_way(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)!intern(shm, at.long_name, "1");
    shm_node_ref(shm, at.node, 1);
    (void)!shm_handle_new(shm, SHM_HANDLE_FILE, at.node, 5);
    kill(getpid(), SIGKILL);
}

static void prepare_dead_owner(struct shm *shm)
{
    prepare_full(shm);
    fx_in_child(die_half_way, shm);
}

static void die_at_once(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_set(shm, shm->meta, shm->nodes->evictions, 1000);
    kill(getpid(), SIGKILL);
}

static void prepare_one_change(struct shm *shm)
{
    fx_in_child(die_at_once, shm);
}

#define OP(op_name, before, op, ...)                                                               \
    {                                                                                              \
        .name = op_name, .prepare = before, .run = op, __VA_ARGS__                                 \
    }

static const struct crash_op ops[] = {
    OP("lock", prepare_nothing, run_lock, .every_kill = true),
    OP("node_intern, new", prepare_some, run_intern_new),
    OP("node_intern, same version", prepare_some, run_intern_same),
    OP("node_intern, other version", prepare_pinned, run_intern_version),
    OP("node_intern, evicting two", prepare_full, run_intern_long),
    OP("node_intern, failing", prepare_no_long_name, run_intern_long),
    OP("node_detach", prepare_some, run_detach),
    OP("node_detach, listed", prepare_listed, run_detach),
    OP("node_gone", prepare_listed, run_gone),
    OP("node_private", prepare_some, run_private),
    OP("node_private, evicting two", prepare_full, run_private_long),
    OP("node_private, failing", prepare_no_long_name, run_private_long),
    OP("node_move, private", prepare_move_private, run_move),
    OP("node_move, replacing", prepare_move, run_move),
    OP("node_move, evicting", prepare_full, run_move),
    OP("node_move, failing", prepare_no_long_name, run_move),
    OP("node_intern, longest name", prepare_full_longest, run_intern_long),
    OP("node_intern, longest name, failing", prepare_no_longest_name, run_intern_long),
    OP("node_move, longest name", prepare_full_longest, run_move),
    OP("node_move, longest to long name", prepare_longest_to_long, run_move),
    OP("node_ref", prepare_some, run_ref),
    OP("node_forget", prepare_pinned, run_forget),
    OP("node busy, content, stale", prepare_some, run_marks),
    OP("session_new", prepare_some, run_session_new),
    OP("session_set_xattr", prepare_session, run_session_set_xattr),
    OP("session_pid", prepare_session, run_session_pid),
    OP("upload_open", prepare_session, run_upload_open),
    OP("upload_take", prepare_upload, run_upload_take),
    OP("upload_sent", prepare_upload, run_upload_sent),
    OP("upload_gone", prepare_upload, run_upload_gone),
    OP("upload_changed", prepare_upload, run_upload_changed),
    OP("patch_begin", prepare_patch, run_patch_begin),
    OP("patch_changed", prepare_patch, run_patch_changed),
    OP("patch_published", prepare_patch, run_patch_published),
    OP("patch_cut", prepare_patch, run_patch_cut),
    OP("upload_end", prepare_upload, run_upload_end),
    OP("session_close", prepare_session, run_session_close),
    OP("session_free", prepare_closing, run_session_free),
    OP("handle_new", prepare_some, run_handle_new),
    OP("handle_free", prepare_handle, run_handle_free),
    OP("handle_set_start, long", prepare_dir_handle, run_set_start),
    OP("notify_entry", prepare_some, run_notify),
    OP("notify_inode, full ring", prepare_ring_full, run_notify_dropped),
    OP("notify_written", prepare_notify, run_written),
    OP("block_begin", prepare_nothing, run_block_begin, .block_lock = true),
    OP("block_begin, evicting", prepare_blocks, run_block_begin, .block_lock = true),
    OP("block_ready", prepare_fetching, run_block_ready, .block_lock = true),
    OP("block_fail", prepare_fetching, run_block_fail, .block_lock = true),
    OP("block_put", prepare_one_free, run_block_put, .block_lock = true, .many_sections = true),
    OP("block_get, hit", prepare_blocks, run_block_hit, .block_lock = true),
    OP("block_get, busy", prepare_fetching, run_block_busy, .block_lock = true),
    OP("block_unpin", prepare_block_pinned, run_block_unpin, .block_lock = true,
       .every_kill = true),
    OP("block_drop", prepare_blocks, run_block_drop, .block_lock = true),
    OP("block_order", prepare_blocks, run_block_order, .block_lock = true),
    OP("block_take", prepare_ordered, run_block_take, .block_lock = true),
    OP("block_put, over an order", prepare_one_free_one_ordered, run_put_over_order,
       .block_lock = true, .many_sections = true),
    OP("order_post", prepare_nothing, run_order_post, .block_lock = true),
    OP("order_drop", prepare_order_posted, run_order_drop, .block_lock = true),
    OP("block_worker_gone", prepare_dead_worker, run_worker_gone, .block_lock = true,
       .many_sections = true),
    OP("reopen_note", prepare_nothing, run_reopen_note),
    OP("reopen_note_private", prepare_nothing, run_reopen_note_private),
    OP("reopen_has_private", run_reopen_note_private, run_reopen_has_private),
    OP("lister_reads", prepare_nothing, run_lister_reads),
    OP("lister_closed", run_lister_reads, run_lister_closed),
    OP("lister_looks", run_lister_reads, run_lister_looks),
    OP("reopen_take", run_reopen_note, run_reopen_take),
    OP("version_id_told", prepare_some, run_version_told),
    OP("version_id_told, again", prepare_version, run_version_told),
    OP("version_id_replaced", prepare_version, run_version_replaced),
    OP("version_id_forget", prepare_version, run_version_forget),
    OP("conflict_add", prepare_nothing, run_conflict),
    OP("conflict_add, over the oldest", prepare_conflicts, run_conflict),
    OP("a whole CREATE", prepare_full, run_create),
    OP("rollback", prepare_full, run_rollback),
    OP("recovery", prepare_dead_owner, run_lock),
    OP("recovery of one change", prepare_one_change, run_lock, .every_kill = true),
};

static void test_crash(void **state)
{
    const char *only = getenv("STATEPROXY_TEST_OP");
    bool stepping = crash_can_step();
    uint64_t seed = fx_seed();

    (void)state;
    if (!stepping)
        print_message("*** NO SINGLE-STEPPING (ptrace is not permitted, or "
                      "valgrind): deaths at random times only.\n"
                      "*** What this test is for is not tested in this run.\n");
    if (fx_under_asan())
        print_message("*** AddressSanitizer: all states, but no death for real. "
                      "Run it without as well.\n");
    for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
        struct crash_count n;
        uint64_t began = clock_mono_ns();

        if (only && !strstr(ops[i].name, only))
            continue;
        (stepping ? crash_at_each_instruction : crash_at_random)(&ops[i], &seed, &n);
        print_message("  %-28s %5u instructions, %4u states, %4u kills, %5.0f ms\n", ops[i].name,
                      n.instructions, n.states, n.kills, (double)(clock_mono_ns() - began) / 1e6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crash)};

    return cmocka_run_group_tests_name("shm_crash", tests, NULL, NULL);
}
