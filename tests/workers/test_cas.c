/* cas.c: the table of expectations in cas.h, row by row, and how baselines move after a write, a
 * conflict, a removal. The processes are made up; the tables are real. */
#include "workers/cas/cas.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "shm/shm_handle.h"
#include "tests/shm/stores.h"
#include "tests/workers/fixture.h"

#define UNIQUE UINT64_C(42)
#define KEY "pre/f"
#define EMPTY S3_ETAG_EMPTY
#define ID_1 "AAAAAAA1"
#define ID_2 "AAAAAAA2"

/* Began long ago, or in the future: later than anything that happens here. */
#define OLD(pid) ((struct shm_baseline_who){.tgid = (pid), .start = 1})
#define YOUNG(pid) ((struct shm_baseline_who){.tgid = (pid), .start = later()})

static const struct shm_baseline_who mount;

static uint64_t later(void)
{
    return clock_boot_ns() / (NS_PER_S / 100) + 1000000;
}

static int setup(void **state)
{
    int r = fx_setup(state);

    fx_set_variant(*state, CONF_S3_BUFFERED_CAS);
    return r;
}

/* ---- what happens in a test ---- */

/* "f" as LOOKUP found it; NULL: it is not on S3. */
static uint32_t file(struct fx *fx, const char *etag)
{
    struct shm_version v = {.local = !etag,
                            .etag = etag,
                            .size = 3,
                            .mode = SHM_MODE_UNSET,
                            .uid = SHM_MODE_UNSET,
                            .gid = SHM_MODE_UNSET};
    int64_t node;

    worker_lock(&fx->w);
    node = shm_node_intern(fx->w.shm, SHM_ROOT, "f", 1, &v, clock_mono_ns());
    assert_true(node >= 0);
    worker_unlock(&fx->w);
    return (uint32_t)node;
}

/* A request of this process. Its ancestors are set by hand. */
static struct op *by(struct fx *fx, struct shm_baseline_who who)
{
    struct fuse_open_in in = {.flags = O_RDWR};
    struct op *op = fx_op(fx, FUSE_OPEN, UNIQUE, FUSE_ROOT_ID, &in, sizeof(in), NULL, 0);

    op->caller.self = who;
    return op;
}

static struct op *by_child(struct fx *fx, struct shm_baseline_who child,
                           struct shm_baseline_who parent, bool waits)
{
    struct op *op = by(fx, child);

    op->caller.up[0] = parent;
    op->caller.waits[0] = waits;
    return op;
}

static void done(struct fx *fx, struct op *op)
{
    int error = 0;

    op_fail(op, -EIO);
    assert_true(fx_answer(fx, UNIQUE, &error, NULL, 0));
}

static void reads(struct fx *fx, struct shm_baseline_who who, const char *etag)
{
    struct op *op = by(fx, who);
    uint32_t node = file(fx, etag);

    worker_lock(&fx->w);
    cas_read(op, node, etag);
    worker_unlock(&fx->w);
    done(fx, op);
}

/* A baseline that was set at this time, in clock ticks. */
static void had(struct fx *fx, struct shm_baseline_who who, const char *etag, uint32_t flags,
                uint32_t ticks)
{
    struct shm_baseline_key k = shm_baseline_key(fx->w.shm, KEY, strlen(KEY));
    struct shm_baseline_value v = {.flags = flags};

    strcpy(v.etag, etag);
    worker_lock(&fx->w);
    shm_baseline_set(fx->w.shm, &k, &who, &v, ticks);
    worker_unlock(&fx->w);
}

/* A session as session_attach.c makes it, on a node of its own; `etag` NULL: a new file. */
static uint32_t session_on(struct fx *fx, const char *etag)
{
    struct shm_version v = {.local = !etag,
                            .etag = etag,
                            .size = 3,
                            .mode = SHM_MODE_UNSET,
                            .uid = SHM_MODE_UNSET,
                            .gid = SHM_MODE_UNSET};
    int64_t node, session;

    worker_lock(&fx->w);
    node = shm_node_private(fx->w.shm, SHM_ROOT, "f", 1, &v, 1);
    assert_true(node >= 0);
    session = shm_session_new(fx->w.shm, (uint32_t)node);
    assert_true(session >= 0);
    if (etag)
        strcpy(store_session(fx->w.shm, (uint32_t)session)->expect.etag, etag);
    else
        store_session(fx->w.shm, (uint32_t)session)->expect.absent = true;
    worker_unlock(&fx->w);
    return (uint32_t)session;
}

static const struct shm_session *begin(struct fx *fx, struct op *op, const char *etag,
                                       struct session_start how, uint32_t *ret_session)
{
    uint32_t session = session_on(fx, etag);

    worker_lock(&fx->w);
    cas_begin(op, session, how);
    if (op->caller.self.tgid)
        assert_non_null(shm_session_pid(fx->w.shm, session, op->caller.self.tgid,
                                        op->caller.self.tgid, op->caller.self.start));
    worker_unlock(&fx->w);
    *ret_session = session;
    return shm_session_at(fx->w.shm, session);
}

static void drop_session(struct fx *fx, uint32_t session)
{
    worker_lock(&fx->w);
    shm_session_close(fx->w.shm, session, FX_SLOT);
    shm_session_free(fx->w.shm, session);
    worker_unlock(&fx->w);
}

/* The process publishes version `etag` over `from` (NULL: a new file). */
static void writes(struct fx *fx, struct op *op, const char *from, const char *etag)
{
    uint32_t session;

    (void)begin(fx, op, from, (struct session_start){.truncate = true}, &session);
    worker_lock(&fx->w);
    cas_published(&fx->w, session, KEY, from ? from : "", etag);
    worker_unlock(&fx->w);
    drop_session(fx, session);
    done(fx, op);
}

/* ---- what is asserted ---- */

/* What a session expects: an ETag, "absent", "any" or "refused". */
static void assert_expects(const struct shm_session *s, const char *what)
{
    const char *is = s->expect.refused  ? "refused"
                     : !s->expect.must  ? "any"
                     : s->expect.absent ? "absent"
                                        : s->expect.etag;

    assert_string_equal(is, what);
}

/* Opens "f", of which the LOOKUP has found version `etag`. */
static void open_expects(struct fx *fx, struct op *op, const char *etag, struct session_start how,
                         const char *what)
{
    uint32_t session;

    assert_expects(begin(fx, op, etag, how, &session), what);
    drop_session(fx, session);
    done(fx, op);
}

/* The baseline of a process: an ETag, "absent", "none" or "dropped". */
static void assert_baseline(struct fx *fx, struct shm_baseline_who who, const char *what)
{
    struct shm_baseline_key k = shm_baseline_key(fx->w.shm, KEY, strlen(KEY));
    struct shm_baseline_value v = {0};
    enum shm_baseline_state known;

    worker_lock(&fx->w);
    known = shm_baseline_get(fx->w.shm, &k, &who, &v);
    worker_unlock(&fx->w);
    assert_string_equal(known == SHM_BASELINE_NONE      ? "none"
                        : known == SHM_BASELINE_DROPPED ? "dropped"
                        : v.flags & SHM_BASELINE_ABSENT ? "absent"
                                                        : v.etag,
                        what);
}

#define TRUNC ((struct session_start){.truncate = true})
#define APPEND ((struct session_start){.append = true})
#define EXCL ((struct session_start){.excl = true})
#define PLAIN ((struct session_start){0})

/* ---- the table: opened with O_TRUNC ---- */

static void test_trunc_own_baseline(void **state)
{
    struct fx *fx = *state;

    reads(fx, OLD(2), "\"e1\"");
    reads(fx, OLD(1), "\"e2\"");
    reads(fx, OLD(3), "\"e3\""); /* the mount's now */
    open_expects(fx, by(fx, OLD(1)), "\"e3\"", TRUNC, "\"e2\"");
}

static void test_trunc_parents_baseline(void **state)
{
    struct fx *fx = *state;

    reads(fx, OLD(1), "\"e1\"");
    reads(fx, OLD(2), "\"e2\"");
    open_expects(fx, by_child(fx, YOUNG(3), OLD(1), false), "\"e2\"", TRUNC, "\"e1\"");
}

/* What the parent has learned since its child began is not what the child knows. */
static void test_trunc_a_parents_later_baseline(void **state)
{
    struct fx *fx = *state;
    const struct shm_baseline_who child = {.tgid = 3, .start = 15};

    had(fx, OLD(1), "\"e1\"", SHM_BASELINE_READ, 10);
    had(fx, OLD(1), "\"e2\"", SHM_BASELINE_READ, 20);
    open_expects(fx, by_child(fx, child, OLD(1), false), "\"e2\"", TRUNC, "refused");
    had(fx, OLD(2), "\"e3\"", SHM_BASELINE_READ, 20); /* it knew nothing when its child began */
    had(fx, mount, "\"e4\"", SHM_BASELINE_READ, 20);
    open_expects(fx, by_child(fx, child, OLD(2), false), "\"e2\"", TRUNC, "\"e4\"");
}

static void test_trunc_the_mounts_baseline(void **state)
{
    struct fx *fx = *state;

    reads(fx, OLD(2), "\"e2\"");
    open_expects(fx, by_child(fx, OLD(3), OLD(1), false), "\"new\"", TRUNC, "\"e2\"");
}

static void test_trunc_nobodys(void **state)
{
    struct fx *fx = *state;

    open_expects(fx, by(fx, OLD(1)), "\"e\"", TRUNC, "any");
}

/* The baseline that rules is remembered, for a conflict. */
static void test_trunc_notes_the_parent(void **state)
{
    struct fx *fx = *state;
    struct op *op = by_child(fx, YOUNG(3), OLD(1), false);
    const struct shm_session *s;
    uint32_t session;

    writes(fx, by(fx, OLD(1)), NULL, "\"e1\"");
    s = begin(fx, op, "\"e1\"", TRUNC, &session);
    assert_int_equal(s->parent.tgid, 1);
    drop_session(fx, session);
    done(fx, op);
}

/* ---- the table: O_EXCL; created ---- */

static void test_excl(void **state)
{
    struct fx *fx = *state;

    open_expects(fx, by(fx, OLD(1)), NULL, EXCL, "absent");
    reads(fx, OLD(1), "\"e\"");
    open_expects(fx, by(fx, OLD(1)), NULL, EXCL, "absent"); /* whatever it has read */
}

static void test_created(void **state)
{
    struct fx *fx = *state;

    open_expects(fx, by(fx, OLD(1)), NULL, PLAIN, "absent");
    reads(fx, OLD(1), "\"e\"");
    open_expects(fx, by(fx, OLD(1)), NULL, PLAIN, "absent"); /* as the LOOKUP has said */
}

static void test_created_with_trunc(void **state)
{
    struct fx *fx = *state;

    open_expects(fx, by(fx, OLD(1)), NULL, TRUNC, "any");
    reads(fx, OLD(1), "\"e\"");
    open_expects(fx, by(fx, OLD(1)), NULL, TRUNC, "\"e\"");  /* it is told that this has gone */
    open_expects(fx, by(fx, OLD(2)), NULL, TRUNC, "absent"); /* somebody has one */
}

/* ---- the table: O_APPEND; else ---- */

static void test_append(void **state)
{
    struct fx *fx = *state;

    open_expects(fx, by(fx, OLD(1)), "\"e\"", APPEND, "\"e\"");
    reads(fx, OLD(1), "\"old\"");
    open_expects(fx, by(fx, OLD(1)), "\"e\"", APPEND, "\"e\"");
}

static void test_loaded(void **state)
{
    struct fx *fx = *state;

    open_expects(fx, by(fx, OLD(1)), "\"e\"", PLAIN, "\"e\"");
    reads(fx, OLD(1), "\"e\"");
    open_expects(fx, by(fx, OLD(1)), "\"e\"", PLAIN, "\"e\"");
    open_expects(fx, by(fx, OLD(1)), "\"new\"", PLAIN, "refused"); /* it has read another one */
    open_expects(fx, by(fx, OLD(2)), "\"new\"", PLAIN, "\"new\"");
}

/* One that it has only written does not bind it: it reads the new one now. */
static void test_loaded_after_a_write(void **state)
{
    struct fx *fx = *state;

    writes(fx, by(fx, OLD(1)), NULL, "\"e\"");
    open_expects(fx, by(fx, OLD(1)), "\"new\"", PLAIN, "\"new\"");
}

/* A link is read by whoever looks its name up. */
static void make_link(struct fx *fx, uint32_t node)
{
    struct shm_node *n = store_node(fx->w.shm, node);

    n->flags |= SHM_NODE_META | SHM_NODE_TYPED;
    n->mode = S_IFLNK | 0777;
}

static void test_loaded_link(void **state)
{
    struct fx *fx = *state;
    struct op *op = by(fx, OLD(1));
    uint32_t session;

    reads(fx, OLD(1), "\"old\"");
    session = session_on(fx, "\"e\"");
    make_link(fx, shm_session_at(fx->w.shm, session)->node);
    worker_lock(&fx->w);
    cas_begin(op, session, PLAIN);
    worker_unlock(&fx->w);
    assert_expects(shm_session_at(fx->w.shm, session), "\"e\"");
    drop_session(fx, session);
    done(fx, op);
}

/* Empty files have one ETag: their write-ids must tell. */
static void test_loaded_empty(void **state)
{
    struct fx *fx = *state;
    struct op *op = by(fx, OLD(1));
    const struct shm_session *s;
    uint32_t session;

    worker_lock(&fx->w);
    cas_saw(&fx->w, KEY, EMPTY, ID_1);
    worker_unlock(&fx->w);
    s = begin(fx, op, EMPTY, PLAIN, &session);
    assert_expects(s, EMPTY);
    assert_true(s->expect.ours);
    assert_true(s->expect.lineage_known);
    assert_string_equal(s->lineage, ID_1);
    drop_session(fx, session);
    done(fx, op);
}

/* ---- the table: a dropped baseline ---- */

/* Others fill the table. */
static void drop_baselines(struct fx *fx)
{
    struct shm_baseline_value v = {.flags = SHM_BASELINE_READ, .etag = "\"x\""};
    char other[32];

    for (int i = 0; i < FX_BASELINES; i++) {
        struct shm_baseline_key k;
        struct shm_baseline_who who = OLD(1000 + i);

        snprintf(other, sizeof(other), "pre/other-%d", i);
        k = shm_baseline_key(fx->w.shm, other, strlen(other));
        worker_lock(&fx->w);
        shm_baseline_set(fx->w.shm, &k, &who, &v, 1);
        worker_unlock(&fx->w);
    }
}

static void test_dropped(void **state)
{
    struct fx *fx = *state;

    reads(fx, OLD(1), "\"e\"");
    drop_baselines(fx);
    assert_baseline(fx, OLD(1), "dropped");
    open_expects(fx, by(fx, OLD(1)), "\"new\"", TRUNC, "refused");
    open_expects(fx, by(fx, OLD(1)), "\"new\"", PLAIN, "refused");
    open_expects(fx, by(fx, OLD(1)), "\"new\"", APPEND, "\"new\"");
    open_expects(fx, by(fx, OLD(1)), "\"e\"", PLAIN, "\"e\""); /* it is recognised */
    drop_baselines(fx);
    open_expects(fx, by(fx, OLD(1)), "\"e\"", TRUNC, "\"e\"");
    drop_baselines(fx);
    reads(fx, OLD(1), "\"e\"");
    open_expects(fx, by(fx, OLD(1)), "\"e\"", PLAIN, "\"e\"");
}

/* ---- the table: what a rename brings ---- */

static void rename_expects(struct fx *fx, struct op *op, uint32_t target, bool noreplace,
                           const char *what)
{
    uint32_t session = session_on(fx, "\"source\"");

    worker_lock(&fx->w);
    cas_begin_rename(op, session, target, noreplace, ID_1);
    worker_unlock(&fx->w);
    assert_expects(shm_session_at(fx->w.shm, session), what);
    assert_int_equal(shm_session_at(fx->w.shm, session)->changed_from, 0);
    if (strcmp(what, "absent") == 0) /* the lineage goes on */
        assert_string_equal(shm_session_at(fx->w.shm, session)->lineage, ID_1);
    drop_session(fx, session);
    done(fx, op);
}

static void test_rename_to_a_file(void **state)
{
    struct fx *fx = *state;
    uint32_t target = file(fx, "\"e\"");

    rename_expects(fx, by(fx, OLD(1)), target, false, "\"e\""); /* what the LOOKUP found */
    reads(fx, OLD(1), "\"e\"");
    target = file(fx, "\"new\"");
    rename_expects(fx, by(fx, OLD(1)), target, false, "\"e\""); /* as with O_TRUNC */
    rename_expects(fx, by(fx, OLD(1)), target, true, "absent");
}

static void test_rename_to_a_new_name(void **state)
{
    struct fx *fx = *state;

    rename_expects(fx, by(fx, OLD(1)), SHM_NIL, false, "absent");
    rename_expects(fx, by(fx, OLD(1)), SHM_NIL, true, "absent");
    reads(fx, OLD(1), "\"e\"");
    rename_expects(fx, by(fx, OLD(1)), SHM_NIL, false, "\"e\""); /* as created with O_TRUNC */
}

/* What a process knew of the name before a link was there does not count. */
static void test_rename_over_a_link(void **state)
{
    struct fx *fx = *state;
    uint32_t target;

    reads(fx, OLD(1), "\"e\"");
    target = file(fx, "\"link\"");
    make_link(fx, target);
    rename_expects(fx, by(fx, OLD(1)), target, false, "\"link\"");
}

/* ---- after a write ---- */

static void test_published(void **state)
{
    struct fx *fx = *state;

    reads(fx, OLD(1), "\"e\"");
    reads(fx, OLD(2), "\"e\"");
    writes(fx, by(fx, OLD(1)), "\"e\"", "\"new\"");
    assert_baseline(fx, OLD(1), "\"new\"");
    assert_baseline(fx, mount, "\"new\"");
    assert_baseline(fx, OLD(2), "\"e\""); /* it has read that, and will find a conflict */
    open_expects(fx, by(fx, OLD(1)), "\"other\"", PLAIN, "refused"); /* still a reader */
}

/* A shell that waits for its child goes on from what that has written; one that has only ever
 * written the key does anyway. */
static void test_followers(void **state)
{
    struct fx *fx = *state;

    reads(fx, OLD(1), "\"e\"");
    writes(fx, by_child(fx, YOUNG(3), OLD(1), true), "\"e\"", "\"two\"");
    assert_baseline(fx, OLD(1), "\"two\"");
    writes(fx, by_child(fx, YOUNG(4), OLD(1), false), "\"two\"", "\"three\"");
    assert_baseline(fx, OLD(1), "\"two\""); /* in the background: it has read "two" */
    writes(fx, by(fx, OLD(2)), "\"three\"", "\"four\"");
    writes(fx, by_child(fx, YOUNG(5), OLD(2), false), "\"four\"", "\"five\"");
    assert_baseline(fx, OLD(2), "\"five\"");
}

/* ---- after a conflict ---- */

static void conflict(struct fx *fx, struct op *op, const char *etag, bool absent)
{
    uint32_t session;

    (void)begin(fx, op, etag, TRUNC, &session);
    worker_lock(&fx->w);
    cas_conflict(&fx->w, session, KEY, absent);
    worker_unlock(&fx->w);
    drop_session(fx, session);
    done(fx, op);
}

/* The baseline of a write goes, that of a read stays until the key is read again. */
static void test_conflict(void **state)
{
    struct fx *fx = *state;

    writes(fx, by(fx, OLD(1)), NULL, "\"e\"");
    conflict(fx, by(fx, OLD(1)), "\"e\"", false);
    assert_baseline(fx, OLD(1), "none");
    assert_baseline(fx, mount, "none");
    reads(fx, OLD(1), "\"e\"");
    conflict(fx, by(fx, OLD(1)), "\"e\"", false);
    assert_baseline(fx, OLD(1), "\"e\"");
}

static void test_conflict_with_a_removal(void **state)
{
    struct fx *fx = *state;

    reads(fx, OLD(1), "\"e\"");
    conflict(fx, by(fx, OLD(1)), "\"e\"", true);
    assert_baseline(fx, OLD(1), "absent");
    open_expects(fx, by(fx, OLD(1)), NULL, TRUNC, "absent");
}

/* Who has learned of another version meanwhile keeps that. */
static void test_conflict_of_an_old_session(void **state)
{
    struct fx *fx = *state;
    struct op *op = by(fx, OLD(1));
    uint32_t session;

    writes(fx, by(fx, OLD(1)), NULL, "\"e\"");
    op = by(fx, OLD(1));
    (void)begin(fx, op, "\"e\"", TRUNC, &session);
    done(fx, op);
    reads(fx, OLD(1), "\"new\"");
    worker_lock(&fx->w);
    cas_conflict(&fx->w, session, KEY, true);
    worker_unlock(&fx->w);
    drop_session(fx, session);
    assert_baseline(fx, OLD(1), "\"new\"");
}

/* A parent that has only ever written the key: its baseline goes too, or no child could ever write
 * it. */
static void test_conflict_of_a_blind_parents_child(void **state)
{
    struct fx *fx = *state;

    writes(fx, by(fx, OLD(1)), NULL, "\"e\"");
    conflict(fx, by_child(fx, YOUNG(3), OLD(1), false), "\"e\"", false);
    assert_baseline(fx, OLD(1), "none");
    reads(fx, OLD(2), "\"e\"");
    conflict(fx, by_child(fx, YOUNG(4), OLD(2), false), "\"e\"", false);
    assert_baseline(fx, OLD(2), "\"e\"");
}

/* A child whose parent has moved on is refused, once. */
static void refused(struct fx *fx, struct shm_baseline_who child, struct shm_baseline_who parent)
{
    struct op *op = by_child(fx, child, parent, false);
    uint32_t session;

    assert_expects(begin(fx, op, "\"e2\"", TRUNC, &session), "refused");
    worker_lock(&fx->w);
    cas_refused(&fx->w, session);
    worker_unlock(&fx->w);
    drop_session(fx, session);
    done(fx, op);
}

/* If that has only ever written the key, the child follows the mount then: neither has anything to
 * read again. */
static void test_refused(void **state)
{
    struct fx *fx = *state;
    const struct shm_baseline_who child = {.tgid = 3, .start = 15};

    had(fx, OLD(1), "\"e1\"", 0, 10);
    had(fx, OLD(1), "\"e2\"", 0, 20);
    had(fx, mount, "\"e2\"", SHM_BASELINE_READ, 20);
    refused(fx, child, OLD(1));
    assert_baseline(fx, child, "\"e2\"");
    open_expects(fx, by_child(fx, child, OLD(1), false), "\"e2\"", TRUNC, "\"e2\"");
}

static void test_refused_child_of_a_reader(void **state)
{
    struct fx *fx = *state;
    const struct shm_baseline_who child = {.tgid = 3, .start = 15};

    had(fx, OLD(1), "\"e1\"", SHM_BASELINE_READ, 10);
    had(fx, OLD(1), "\"e2\"", SHM_BASELINE_READ, 20);
    had(fx, mount, "\"e2\"", SHM_BASELINE_READ, 20);
    refused(fx, child, OLD(1));
    assert_baseline(fx, child, "none");
}

/* ---- after other changes ---- */

static void test_copied_onto_itself(void **state)
{
    struct fx *fx = *state;
    uint32_t node;

    reads(fx, OLD(1), "\"e\"");
    node = file(fx, "\"e\"");
    worker_lock(&fx->w);
    cas_copied(&fx->w, node, (const char[SHM_ETAG_MAX]){"\"e\""},
               (const char[SHM_ETAG_MAX]){"\"copy\""});
    worker_unlock(&fx->w);
    assert_baseline(fx, OLD(1), "\"copy\"");
    open_expects(fx, by(fx, OLD(1)), "\"copy\"", PLAIN, "\"copy\"");
}

static void removes(struct fx *fx, struct op *op, const char *etag)
{
    worker_lock(&fx->w);
    cas_removed(op, KEY, etag);
    worker_unlock(&fx->w);
    done(fx, op);
}

static void test_removed(void **state)
{
    struct fx *fx = *state;

    reads(fx, OLD(1), "\"e\"");
    reads(fx, OLD(2), "\"e\"");
    removes(fx, by(fx, OLD(1)), "\"e\"");
    assert_baseline(fx, OLD(1), "absent");
    assert_baseline(fx, mount, "none");
    assert_baseline(fx, OLD(2), "\"e\"");
}

/* What a shell has read, and lets rm(1) remove, it expects to be absent; not another version. */
static void test_removed_by_a_child(void **state)
{
    struct fx *fx = *state;

    reads(fx, OLD(1), "\"e\"");
    removes(fx, by_child(fx, YOUNG(3), OLD(1), true), "\"other\"");
    assert_baseline(fx, OLD(1), "\"e\"");
    removes(fx, by_child(fx, YOUNG(3), OLD(1), true), "\"e\"");
    assert_baseline(fx, OLD(1), "absent");
    writes(fx, by(fx, OLD(2)), NULL, "\"e\"");
    removes(fx, by_child(fx, YOUNG(3), OLD(2), true), "\"other\"");
    assert_baseline(fx, OLD(2), "absent"); /* it has only ever written it */
}

/* A key that is overwritten: nobody who only looks moves a baseline, and no name is looked at that
 * has another version by now. */
static void test_reading(void **state)
{
    struct fx *fx = *state;
    struct op *op = by(fx, OLD(2));
    uint32_t old = file(fx, "\"e\"");

    worker_lock(&fx->w);
    cas_saw(&fx->w, KEY, "\"seen\"", NULL);
    worker_unlock(&fx->w);
    assert_baseline(fx, mount, "none");
    worker_lock(&fx->w);
    shm_node_ref(fx->w.shm, old, 1);
    worker_unlock(&fx->w);
    reads(fx, OLD(1), "\"new\"");
    worker_lock(&fx->w);
    cas_read(op, old, "\"e\""); /* through a descriptor of before */
    cas_read(op, old, "");
    worker_unlock(&fx->w);
    assert_baseline(fx, OLD(2), "\"e\"");
    assert_baseline(fx, mount, "\"new\"");
    done(fx, op);
}

/* ---- questions ---- */

static void own_is(struct fx *fx, struct shm_baseline_who who, const char *etag, const char *id_of,
                   const char *id)
{
    struct op *op = by(fx, who);
    char own[SHM_ETAG_MAX], own_id[LINEAGE_ID_CAP];

    worker_lock(&fx->w);
    cas_own_etag(op, KEY, own);
    cas_id(op, KEY, id_of, own_id);
    worker_unlock(&fx->w);
    assert_string_equal(own, etag);
    assert_string_equal(own_id, id);
    done(fx, op);
}

static void saw(struct fx *fx, const char *etag, const char *lineage)
{
    char ret[SHM_LINEAGE_MAX];

    worker_lock(&fx->w);
    cas_saw(&fx->w, KEY, etag, lineage);
    cas_lineage(&fx->w, KEY, etag, ret);
    worker_unlock(&fx->w);
    assert_string_equal(ret, lineage ? lineage : "");
}

static void test_own_version_and_its_id(void **state)
{
    struct fx *fx = *state;

    own_is(fx, OLD(1), "", "\"e\"", "");
    saw(fx, "\"e\"", ID_1);
    reads(fx, OLD(1), "\"e\"");
    own_is(fx, OLD(1), "\"e\"", "\"e\"", ID_1);
    saw(fx, "\"e\"", ID_2); /* the same content, written by another one */
    own_is(fx, OLD(1), "\"e\"", "\"e\"", ID_2);
    own_is(fx, OLD(1), "\"e\"", "\"other\"", "");
}

/* Of empty files it is the one that the caller knows. */
static void test_ids_of_empty_files(void **state)
{
    struct fx *fx = *state;

    saw(fx, EMPTY, ID_1);
    reads(fx, OLD(1), EMPTY);
    saw(fx, EMPTY, ID_2);
    own_is(fx, OLD(1), EMPTY, EMPTY, ID_1);
    own_is(fx, OLD(2), "", EMPTY, ID_2);
    saw(fx, EMPTY, NULL);
    reads(fx, OLD(3), EMPTY);
    own_is(fx, OLD(3), EMPTY, EMPTY, CAS_NO_ID);
}

static void test_whose_session(void **state)
{
    struct fx *fx = *state;
    struct op *op = by(fx, OLD(1));
    uint32_t session;

    (void)begin(fx, op, "\"e\"", PLAIN, &session);
    assert_true(cas_is_party(op, session));
    done(fx, op);
    op = by_child(fx, OLD(2), OLD(1), true);
    assert_false(cas_is_party(op, session));
    assert_true(cas_is_family(op, session));
    op->caller.waits[0] = false;
    assert_false(cas_is_family(op, session));
    op->caller.self = (struct shm_baseline_who){.tgid = 1, .start = 2}; /* a reused pid */
    assert_false(cas_is_family(op, session));
    done(fx, op);
    drop_session(fx, session);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_trunc_own_baseline),
        TEST(test_trunc_parents_baseline),
        TEST(test_trunc_a_parents_later_baseline),
        TEST(test_trunc_the_mounts_baseline),
        TEST(test_trunc_nobodys),
        TEST(test_trunc_notes_the_parent),
        TEST(test_excl),
        TEST(test_created),
        TEST(test_created_with_trunc),
        TEST(test_append),
        TEST(test_loaded),
        TEST(test_loaded_after_a_write),
        TEST(test_loaded_link),
        TEST(test_loaded_empty),
        TEST(test_dropped),
        TEST(test_rename_to_a_file),
        TEST(test_rename_to_a_new_name),
        TEST(test_rename_over_a_link),
        TEST(test_published),
        TEST(test_followers),
        TEST(test_conflict),
        TEST(test_conflict_with_a_removal),
        TEST(test_conflict_of_an_old_session),
        TEST(test_conflict_of_a_blind_parents_child),
        TEST(test_refused),
        TEST(test_refused_child_of_a_reader),
        TEST(test_copied_onto_itself),
        TEST(test_removed),
        TEST(test_removed_by_a_child),
        TEST(test_reading),
        TEST(test_own_version_and_its_id),
        TEST(test_ids_of_empty_files),
        TEST(test_whose_session),
    };

    return cmocka_run_group_tests_name("cas", tests, NULL, NULL);
}
