/* A publish: publish.c is the loop, publish_wait.c starts it and waits for it, publish_parts.c
 * uploads large files, publish_copy.c and publish_cas_copy.c handle content that is already on S3,
 * publish_end.c is its end. */
#ifndef WORKERS_WRITE_PUBLISH_PRIVATE_H
#define WORKERS_WRITE_PUBLISH_PRIVATE_H

#include "s3/s3.h"
#include "shm/shm_conflict.h"
#include "workers/cas/cas_put.h"
#include "workers/objmeta/meta.h"
#include "workers/op/key.h"
#include "workers/op/upload_proof.h"
#include "workers/op/variant.h"
#include "workers/op/worker.h"
#include "workers/write/publish_rules.h"
#include "workers/write/publish_wait.h"
#include "workers/write/upload.h"

/* The running job, in this worker. */
struct publish {
    struct worker *w;
    const struct publish_rules *rules; /* of the variant */
    uint32_t session;
    uint64_t size;
    uint64_t started_ns;
    uint64_t sent_ns;        /* when the last PUT was sent */
    bool contradicts;        /* it succeeded, and so did another one on the same version */
    unsigned refused;        /* refusals: the key had another version than expected */
    unsigned agreed;         /* ... in a row, although HEAD found the expected version */
    bool bare, blind;        /* the condition is sent without quotes; it is not sent at all */
    bool insists;            /* nor is it, since other writers were faster again and again */
    bool asked;              /* the last PUT had one (the known habits may have changed since) */
    bool absent;             /* expected: no such key */
    bool excl;               /* last write wins: the file must be new */
    char etag[SHM_ETAG_MAX]; /* expected, "" = unknown */
    char key[KEY_CAP];
    struct shm_node node; /* as it was when the job began; its metadata are sent */
    bool ask_meta; /* the version to be replaced has, or may have, metadata that must be kept */
    bool renewed;  /* no byte of the version to be replaced is left */
    bool has_xattr;
    bool prepared;                    /* `meta` is complete */
    char xattr[SHM_SESSION_META_MAX]; /* set since; valid if has_xattr */
    char type[S3_TYPE_MAX]; /* of the replaced version, if a HEAD returned it; "" = S3's default */
    struct meta_out meta;
    char *tags;                /* of the replaced version, or of `like`; owned; NULL: none */
    struct publish_like *like; /* whose metadata this one gets; owned; NULL: see ask_meta */
    struct shm_copy copy;      /* the source of the copy; key "": a PUT of what the spool holds */
    bool copy_parts;           /* the server copies it in parts */
    bool source_seen;          /* ... all of which are of this version */
    struct cas_put cas;
    bool source_gone; /* of a copy of compare-and-set: the version to be copied is not there */
    bool refused_404; /* ... how it was refused: 404, else 412 */
    /* of an upload in parts (publish_parts.c) */
    bool whole;                   /* the server does not support one: a PUT whatever the size */
    bool opens;                   /* it is no publish: it opens the upload (upload_open.h) */
    uint64_t base;                /* of a stream: bytes of version base_etag that come first */
    char base_etag[SHM_ETAG_MAX]; /* also of what a patch copies */
    uint32_t patch;    /* parts of which some are copied (session_patch.h); 0: none of them is */
    uint64_t asked_ns; /* when a HEAD was sent for what a patch copies */
    bool vanished;     /* the server no longer knows the upload */
    bool told;         /* why it fails is in the log */
    bool stale_meta;   /* the metadata have changed since the upload was opened */
    struct worker_hook hook;
    unsigned uploads;               /* begun; an upload may vanish on the server */
    char parts_etag[S3_ETAG_MAX];   /* that the object has if Complete succeeds; "" = not known */
    char lost_before[SHM_ETAG_MAX]; /* shm_session.lost_etag, until this publish sent Complete */
    bool completed_before;          /* Complete was sent before, perhaps by a worker that died */
    bool proof_of_200;              /* `proof` is of the first Complete, which has got a 200 */
    struct upload_proof proof;
    /* last write wins: an upload of this new file by a dead worker may still take effect */
    bool unsure;
    struct loop_timer wait;
};

/* Under shm->meta, with p->w and p->session set, no job of the session running. Makes its publish
 * (p->opens: its opening) RUNNING and fills *p. 0, or (then nothing was changed, and *p still
 * belongs to the caller) the error of key_of_node(); -EAGAIN: it lacks content by now, look
 * again. */
must_use int publish_begin(struct publish *p);

/* Which job of its session it is. */
struct shm_job *publish_job(const struct publish *p, struct shm_session *s);

/* Without the lock, after publish_begin: runs the publish, and takes ownership of *p. */
void publish_run(struct publish *p);

/* Frees a publish that was not begun. */
void publish_free(struct publish *p);

/* Not under a lock. A write of the session was refused: adds it to the ring of conflicts, for
 * `stateproxyctl conflicts`. Sets the writer and the time; the caller fills the rest of *c. */
void publish_note_conflict(struct worker *w, uint32_t session, struct shm_conflict *c);

/* The rules of publish_lww (publish_rules.h); other variants use them if nothing is expected. */
enum put_next publish_lww_refused(struct publish *p, const struct s3_result *res);
enum put_next publish_lww_found(struct publish *p, const struct s3_result *res);

/* True if the content is uploaded in parts: because of its size, or because parts are on S3. */
bool publish_wants_parts(const struct publish *p);

/* Uploads the content in parts in place of the PUT, and completes the upload under the condition of
 * the PUT; publish_answered() gets the response. p->meta is complete. */
void publish_parts(struct publish *p);

/* The content is not uploaded in parts: an upload that was opened while the file was written is
 * aborted. */
void publish_drop_upload(struct publish *p);

/* The condition under which S3 replaces the object, and p->asked; logs and ends the job if
 * compare-and-set has none. False: it has ended. */
must_use bool publish_condition(struct publish *p, const char **ret_match,
                                const char **ret_none_match);

/* The response to the PUT, or to Complete: what follows. */
void publish_answered(struct publish *p, const struct s3_result *res);

/* S3 may have it from now on, if this process dies: notes that in the session. */
void publish_note_sent(struct publish *p);

/* S3 has it, as version `etag`: ends the job, after metadata that have changed meanwhile. */
void publish_ours(struct publish *p, const char *etag);

/* An upload has the metadata with which it was created: stores those of now (p->stale_meta) in
 * version `etag`, and ends the job. */
void publish_store_meta(struct publish *p, const char *etag);

/* HEAD has found what Complete makes of our parts: one of ours has taken effect, whose answer was
 * lost. */
bool publish_is_there(const struct publish *p, const struct s3_result *res);

/* Another step, as the rules have decided. */
void publish_next(struct publish *p, enum put_next next);

/* struct publish_rules.takes_name of the variants that isolate (publish_name.c). */
uint32_t publish_takes_name(struct publish *p, uint32_t node);

/* Sends a CopyObject in place of the PUT, and ends the job with its result; or has it copied in
 * parts. */
void publish_copy(struct publish *p);

/* The same with compare-and-set: judged as the PUT would be (publish_cas_copy.c). */
void publish_cas_copy(struct publish *p);

/* One of the parts of the copy was not made, with this result of S3. */
void publish_copy_part_failed(struct publish *p, const struct s3_result *res);
void publish_cas_copy_part_failed(struct publish *p, const struct s3_result *res);

/* Under shm->meta. The upload has been created: stores it in the segment. */
void publish_open_upload(struct publish *p, const struct s3_result *res);

/* Ends the opening of an upload (`res`; NULL: there is none). Since it began the file may have
 * changed, or have got another name: an upload that the session no longer wants is aborted. */
void publish_opened(struct publish *p, const struct s3_result *res);

/* Opens an upload before it is needed: if that fails, the publish will try again. */
bool publish_is_early(const struct publish *p);

/* A part that was to be copied on the server has failed with this result of S3: a patch goes on
 * without copies, or has a conflict (publish_patch.c). */
void publish_copy_failed(struct publish *p, const struct s3_result *res);

/* True if the publish goes on without copies after this result: the server does not copy parts, or
 * not these. */
bool publish_copy_goes_on(const struct s3_result *res);

/* That may be the case, or the source has another version, which ends before the part: to be looked
 * at. */
bool publish_copy_is_doubtful(const struct s3_result *res);

enum publish_source { PUBLISH_SOURCE_THERE, PUBLISH_SOURCE_GONE, PUBLISH_SOURCE_UNKNOWN };

/* What a HEAD of the source of copies has shown, which should be version `etag`. */
enum publish_source publish_source_found(const struct s3_result *res, const char *etag);

/* That is the case: remembered for the mount, and logged once, if it is the server's answer. (But
 * for 403 to a copy of another key: that may be archived, or not for us.) */
void publish_note_no_part_copy(struct publish *p, const struct s3_result *res);

/* Under shm->meta. The version whose bytes a patch copies. */
const char *publish_patch_source(const struct publish *p);

/* A patch goes on without copies: what is missing is loaded, and all of it is sent. Frees *p. */
void publish_without_copies(struct publish *p);

/* A stream that is appended to an object: HEAD has found another version of it, or none. */
bool publish_base_is_gone(const struct publish *p, const struct s3_result *res);

/* Milliseconds since the job began. */
unsigned long long publish_took_ms(const struct publish *p);

/* Ends the job. `res` has the ETag if error is 0. -EAGAIN: the copy was not made; the session has
 * to be loaded and sent with a PUT. Any other error is logged here, once, unless p->told. Frees
 * *p. */
void publish_finish(struct publish *p, const struct s3_result *res, int error);

#endif
