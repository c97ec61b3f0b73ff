/* Multipart uploads of sessions: which parts S3 has, and which worker is sending one.
 *
 * Slot i belongs to session i. Most of a slot is never touched, and takes no memory: a part's
 * record is written when the part is taken. All functions except shm_upload_size, _check and those
 * that only calculate require shm->meta to be held, and save what they change. */
#ifndef SHM_SHM_UPLOAD_H
#define SHM_SHM_UPLOAD_H

#include "shm/shm_node.h"

#define SHM_UPLOAD_PARTS 10000u                 /* S3's limit for one upload */
#define SHM_UPLOAD_PART_MAX (UINT64_C(5) << 30) /* bytes of one part: S3's limit */
#define SHM_UPLOAD_ID_MAX 1024                  /* with NUL */
#define SHM_UPLOAD_KEY_MAX 1028                 /* with NUL */
#define SHM_UPLOAD_WRITE_ID 16                  /* with NUL */

enum shm_part_state {
    SHM_PART_NONE,
    SHM_PART_SENDING,
    SHM_PART_DONE,
    SHM_PART_CHANGED, /* S3 has it as it was: it is sent again when the file is published */
};

struct shm_upload_part {
    uint32_t serial;         /* of the upload that the record belongs to; any other: NONE */
    uint8_t state;           /* enum shm_part_state */
    uint8_t owner;           /* SENDING: the worker */
    uint8_t changed;         /* SENDING: the file was changed there meanwhile */
    uint8_t copied;          /* by the server, from version base_etag */
    char etag[SHM_ETAG_MAX]; /* DONE */
    uint64_t crc;            /* DONE: its checksum, if the upload has some */
    uint64_t off, len;       /* the bytes that it was taken with */
};

/* How a file is divided into parts. */
struct shm_upload_plan {
    uint64_t part_size; /* 1..SHM_UPLOAD_PART_MAX; if parts grow, of the first ones */
    uint64_t base;      /* the first bytes, which are copied on the server; 0: none */
    uint32_t grows;     /* the size of the file is not known: later parts are larger */
    uint32_t copies;    /* the first parts, in which `base` is copied */
    /* not 0: this many parts, those of the session's patch (shm_patch.h): of part_size, and of
     * copy_size where the server copies */
    uint32_t patch;
    uint32_t reserved; /* 0. The struct is copied into the segment: a hole would hold any bytes */
    uint64_t copy_size;
};

/* What an upload is opened with. Strings are copied. */
struct shm_upload_new {
    const char *key, *id;
    struct shm_upload_plan plan;
    uint64_t digest;       /* of the metadata that were sent when it was created */
    const char *write_id;  /* of compare-and-set, which they have too; "" = none */
    uint64_t seq;          /* the session's write_seq whose content it carries */
    uint64_t opened_ns;    /* when it was created (clock_mono_ns) */
    const char *base_etag; /* of the version of the key whose first bytes are copied; or NULL */
    uint32_t checksum;     /* enum s3_crc: what is sent with each part */
};

/* Writer, readers: any worker, under shm->meta. If the owner of the lock dies: rolled back. If a
 * worker dies that is sending parts: its replacement calls shm_upload_worker_gone. */
struct shm_upload {
    uint32_t open; /* there is an upload on S3, to be completed or aborted */
    uint32_t serial;
    uint32_t next;    /* no part before this one is NONE */
    uint32_t prefix;  /* every part before this one is DONE */
    uint32_t sending; /* number of parts */
    uint32_t taken;   /* no part from this one on has been taken yet */
    int32_t error;    /* -errno of the first part that failed: no more are sent */
    uint32_t checksum;
    uint32_t completing;  /* Complete was sent, and may take effect */
    uint32_t copy_failed; /* error: of a part that was to be copied */
    struct shm_upload_plan plan;
    uint64_t digest;
    uint64_t seq;
    uint64_t opened_ns;
    char write_id[SHM_UPLOAD_WRITE_ID]; /* "" = none */
    /* saved only when the upload is opened */
    char base_etag[SHM_ETAG_MAX];
    char key[SHM_UPLOAD_KEY_MAX];
    char id[SHM_UPLOAD_ID_MAX];
    struct shm_upload_part part[SHM_UPLOAD_PARTS];
};

size_t shm_upload_size(const struct shm_sizes *sizes);
must_use int shm_upload_check(struct shm *shm, struct err *err);

const struct shm_upload *shm_upload_at(struct shm *shm, uint32_t session);

/* Opens one on a slot that has none. */
void shm_upload_open(struct shm *shm, uint32_t session, const struct shm_upload_new *u);

/* It is completed or aborted, or will be: forgets it with all its parts. Answers for parts that are
 * still being sent are recognised by their serial. */
void shm_upload_end(struct shm *shm, uint32_t session);

/* Which parts are to be sent. */
enum shm_upload_take {
    SHM_UPLOAD_NEW, /* those that were not sent yet */
    SHM_UPLOAD_ALL, /* those that have changed since, too: the content is final */
};

/* Takes the next part below `limit` that must be sent, of a file of `size` bytes, for worker
 * `owner`: it is SENDING then. Its number, from 0; SHM_NIL: there is none. */
uint32_t shm_upload_take(struct shm *shm, uint32_t session, uint32_t owner, uint32_t limit,
                         uint64_t size, enum shm_upload_take which);

/* The content of the session is now that of write_seq `seq`: bytes [from, to) differ from that of
 * seq - 1 (to: UINT64_MAX, up to the end). An upload that carried that of seq - 1 carries the new
 * one, and its parts there are CHANGED; if these are many, or it carried another content, it stays
 * as it is, and is not continued. */
void shm_upload_changed(struct shm *shm, uint32_t session, uint64_t seq, uint64_t from,
                        uint64_t to);

/* The file has `size` bytes now. The last part may have been taken when it was shorter: then it is
 * to be sent again. */
void shm_upload_grown(struct shm *shm, uint32_t session, uint64_t size);

/* True if the part has as many bytes as a file of `size` bytes has there. */
bool shm_upload_is_whole(const struct shm_upload *u, uint32_t no, uint64_t size);

/* The part that was taken is on S3. `crc`: what was sent with it. */
void shm_upload_sent(struct shm *shm, uint32_t session, uint32_t no, const char *etag,
                     uint64_t crc);

/* The part that was taken is not on S3. `error`: -errno, which ends the upload (unless the part was
 * changed while it was sent); 0: it is to be sent again. */
void shm_upload_unsent(struct shm *shm, uint32_t session, uint32_t no, int error);

/* Complete is about to be sent; `sent` false: it was clearly refused. True: it was sent before, and
 * may have taken effect. */
bool shm_upload_completes(struct shm *shm, uint32_t session, bool sent);

/* Parts that this worker was sending are to be sent again. True: there were some. */
bool shm_upload_worker_gone(struct shm *shm, uint32_t session, uint32_t owner);

/* `part_size`: of equal parts, or (`grows`) of the first ones. */
struct shm_upload_plan shm_upload_plan(uint64_t part_size, bool grows, uint64_t base);

/* The position of a part of a file of `size` bytes; not of a patch. False: the file ends before it.
 * (The first part of an empty file has 0 bytes.) Parts that are copied are as large as S3 permits;
 * if the others grow, the first 5,000 have part_size, and later ones up to SHM_UPLOAD_PART_MAX. */
bool shm_upload_range(const struct shm_upload_plan *plan, uint32_t no, uint64_t size,
                      uint64_t *ret_off, uint64_t *ret_len);

/* The number of parts that a file of `size` bytes has: at least 1. More than SHM_UPLOAD_PARTS: it
 * does not fit. */
uint32_t shm_upload_parts(const struct shm_upload_plan *plan, uint64_t size);

/* The size of equal parts for a file of `size` bytes: `least`, or more if that makes too many. */
uint64_t shm_upload_part_size(uint64_t size, uint64_t least);

#endif
