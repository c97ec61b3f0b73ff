/* A publish: what publish.c makes, publish_wait.c begins and waits for, and op_copy_range.c does in
 * another way: the job of the session, its metadata and its end are the same. */
#ifndef WORKERS_PUBLISH_PRIVATE_H
#define WORKERS_PUBLISH_PRIVATE_H

#include "s3/s3.h"
#include "shm/shm_conflict.h"
#include "workers/cas_put.h"
#include "workers/key.h"
#include "workers/meta.h"
#include "workers/worker.h"

struct publish;

/* How the content comes to S3, if not by a PUT of what the spool holds. The session is left with
 * nothing in its spool (not LOADED) and publish.size bytes. */
struct publish_way {
    /* meta and type are known: sends, and calls publish_finish in the end. */
    void (*send)(struct publish *p);
    /* The job has ended, with 0 or -errno, wherever it came to its end. *p is freed behind it. */
    void (*ended)(struct publish *p, int error);
};

/* The running job, in this worker. */
struct publish {
    const struct publish_way *way; /* NULL: a PUT */
    struct worker *w;
    uint32_t session;
    uint32_t generation;
    uint64_t size;
    uint64_t started_ns;
    unsigned refused; /* times that the key was of another version than known */
    bool absent;      /* expected: no such key */
    char etag[SHM_ETAG_MAX]; /* expected, "" = unknown */
    char key[KEY_CAP];
    struct shm_node node; /* as it was when the job began; its metadata are what is told */
    bool ask_meta; /* the version that is replaced has metadata that must stay, or may have */
    bool has_xattr;
    bool prepared; /* `meta` is complete */
    char xattr[SHM_SESSION_META_MAX]; /* set since; where has_xattr */
    char type[S3_TYPE_MAX]; /* of the version that is replaced, if asked for; "" = S3's default */
    struct meta_out meta;
    struct s3_object *like; /* the object that this one is to be like; NULL: see ask_meta */
    struct cas_put cas;
};

/* Under shm->meta, with p->w and p->session set, no job of the session running. Makes its publish
 * RUNNING and fills *p, of which the caller may change `size` then. 0, or what key_of_node() says
 * (nothing was changed, *p is the caller's). */
must_use int publish_begin(struct publish *p);

/* After it, without the lock: goes on, and takes *p over. */
void publish_run(struct publish *p);

/* One that was not begun. */
void publish_free(struct publish *p);

/* Not under a lock. A write of the session was refused: into the ring of conflicts, for
 * `stateproxyctl conflicts`, with who wrote and when; the rest of *c is the caller's. */
void publish_note_conflict(struct worker *w, uint32_t session, struct shm_conflict *c);

/* Ends the job. `res` tells the ETag, where error is 0. *p is gone. */
void publish_finish(struct publish *p, const struct s3_result *res, int error);

#endif
