/* A publish: publish.c makes it, publish_wait.c begins it and waits for it, publish_copy.c is how
 * the content comes to S3 where it is there already, publish_end.c how it ends. */
#ifndef WORKERS_WRITE_PUBLISH_PRIVATE_H
#define WORKERS_WRITE_PUBLISH_PRIVATE_H

#include "s3/s3.h"
#include "shm/shm_conflict.h"
#include "workers/cas/cas_put.h"
#include "workers/objmeta/meta.h"
#include "workers/op/key.h"
#include "workers/op/variant.h"
#include "workers/op/worker.h"
#include "workers/write/publish_rules.h"

/* The running job, in this worker. */
struct publish {
    struct worker *w;
    const struct publish_rules *rules; /* the variant's */
    uint32_t session;
    uint32_t generation;
    uint64_t size;
    uint64_t started_ns;
    uint64_t sent_ns; /* the last PUT */
    bool contradicts; /* ... was taken, as was another one of the same version */
    unsigned refused; /* times that the key was of another version than known */
    unsigned agreed;  /* ... though HEAD found the version that was expected, in a row */
    bool bare, blind; /* the condition goes without quotes; it does not go at all */
    bool asked;       /* the last PUT had one (what is known of the server may be new since) */
    bool absent;      /* expected: no such key */
    bool excl;        /* last write wins: a refusal says that the file is no new one */
    char etag[SHM_ETAG_MAX]; /* expected, "" = unknown */
    char key[KEY_CAP];
    struct shm_node node; /* as it was when the job began; its metadata are what is told */
    bool ask_meta; /* the version that is replaced has metadata that must stay, or may have */
    bool has_xattr;
    bool prepared;                    /* `meta` is complete */
    char xattr[SHM_SESSION_META_MAX]; /* set since; where has_xattr */
    char type[S3_TYPE_MAX]; /* of the version that is replaced, if asked for; "" = S3's default */
    struct meta_out meta;
    struct s3_object *like; /* the object that this one is to be like; NULL: see ask_meta */
    struct shm_copy copy;   /* of which it is to be a copy; key "": a PUT of what the spool holds */
    struct cas_put cas;
    /* last write wins: an upload of this new file by a worker that died may still act */
    bool unsure;
    struct loop_timer wait;
};

/* Under shm->meta, with p->w and p->session set, no job of the session running. Makes its publish
 * RUNNING and fills *p. 0, or what key_of_node() says
 * (nothing was changed, *p is the caller's). */
must_use int publish_begin(struct publish *p);

/* After it, without the lock: goes on, and takes *p over. */
void publish_run(struct publish *p);

/* One that was not begun. */
void publish_free(struct publish *p);

/* Not under a lock. A write of the session was refused: into the ring of conflicts, for
 * `stateproxyctl conflicts`, with who wrote and when; the rest of *c is the caller's. */
void publish_note_conflict(struct worker *w, uint32_t session, struct shm_conflict *c);

/* The rules of publish_lww (publish_rules.h), which others go by where nothing is expected. */
enum put_next publish_lww_refused(struct publish *p, const struct s3_result *res);
enum put_next publish_lww_found(struct publish *p, const struct s3_result *res);

/* Sends a CopyObject in place of the PUT, and ends the job with its answer. */
void publish_copy(struct publish *p);

/* Ends the job. `res` tells the ETag, where error is 0. -EAGAIN: a copy that was not made; the
 * session is to be loaded, and put. *p is gone. */
void publish_finish(struct publish *p, const struct s3_result *res, int error);

#endif
