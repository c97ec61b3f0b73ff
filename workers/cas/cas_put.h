/* One conditional PUT of compare-and-set, from its write-id to a proven outcome: decides what
 * follows each response. Sends nothing itself: publish.c does, with the same names.
 *
 * "Ambiguous" is a PUT of which an earlier attempt may have taken effect without our knowledge: its
 * response was lost, or its worker died. Only then is a refusal examined (HEAD, lineage.h); a
 * refusal of a first attempt is simply a conflict. */
#ifndef WORKERS_CAS_CAS_PUT_H
#define WORKERS_CAS_CAS_PUT_H

#include "s3/s3.h"
#include "workers/objmeta/lineage.h"
#include "workers/objmeta/meta.h"

/* how often the PUT is repeated because the expected version was still there */
#define CAS_PUTS_MAX 8
#define CAS_SPOILT_MAX 3

struct cas_put {
    bool expects; /* there is an expectation; else last write wins */
    bool ambiguous;
    bool look;       /* set before cas_put_begin: the server is not trusted, a HEAD comes first */
    bool ask;        /* the lineage of the expected version is not known yet */
    bool ours;       /* the expected version is an empty file: only write-ids identify it */
    bool lost;       /* two attempts with different content have unknown outcomes */
    bool tried;      /* the session has noted that it is sent */
    bool doubted;    /* HEAD returned the expected lineage with another ETag: one more HEAD */
    bool gone;       /* the expected version is gone, and no other is there */
    bool unsent;     /* the write-id is a new one, as the server has stored other bytes */
    unsigned spoilt; /* under how many write-ids of this publish it has */
    unsigned puts;
    unsigned waits;                 /* waits for a PUT that may still take effect */
    uint64_t settle_ns;             /* set before cas_put_begin: s3_settle_ns */
    uint64_t wait_ns;               /* WAIT: how long */
    uint64_t since_ns;              /* when it was sent, or known to be lost */
    size_t room;                    /* bytes that the metadata leave for the lineage */
    char id[LINEAGE_ID_CAP];        /* of this write, the same in all its attempts */
    char old_id[LINEAGE_ID_CAP];    /* of an earlier write with other content, "" = none */
    char spoilt_id[LINEAGE_ID_CAP]; /* of one that may have had this content, "" = none */
    char expected[LINEAGE_ID_CAP];  /* of the expected version, "" = none */
    char base[LINEAGE_CAP];         /* lineage of the expected version */
    char lineage[LINEAGE_CAP];      /* the lineage to be sent */
    char etag[SHM_ETAG_MAX];        /* OURS: ETag of our version */
    char found[SHM_ETAG_MAX];       /* for the log: what is there instead */
};

/* The next step of a publish. */
enum put_next {
    PUT_OURS,     /* it has taken effect: c->etag */
    PUT_SEND,     /* send it (again) */
    PUT_LOOK,     /* HEAD, then decide by what is there */
    PUT_WAIT,     /* the same after c->wait_ns */
    PUT_CONFLICT, /* -EEXIST */
    PUT_UNKNOWN,  /* -EIO: neither success nor conflict can be proven */
    PUT_DOUBT,    /* a conflict, but first a HEAD: did the condition hold after all? */
    PUT_STALE,    /* -ESTALE: what a stream was appended to is no longer there */
    PUT_FAILED,   /* not about the condition: the error is the outcome */
};

/* Under shm->meta. Only for the metadata of an upload that is opened before its publish: sets
 * c->lineage, for the new write-id c->id. Nothing is sent, so the session stays as it is. */
void cas_put_open(struct cas_put *c, const struct shm_session *s);

/* Under shm->meta, before publishing_seq is set: takes over what the session knows. c->id is a new
 * write-id, or that of the open upload; if the session has an unfinished write with the same
 * content, the id of that one replaces it. `asks`: a request to S3 precedes the PUT, whatever
 * cas_put_first() says. */
void cas_put_begin(struct cas_put *c, struct shm_session *s, bool asks);

/* The first step. */
must_use enum put_next cas_put_first(const struct cas_put *c);

/* Adds the lineage to the metadata to be sent, as far as there is room for it. Before each PUT. */
void cas_put_meta(struct cas_put *c, struct meta_out *meta);

/* Under shm->meta, before the PUT is sent, if !c->tried: from now on it is unknown whether the PUT
 * has taken effect. Stores what has been learned of the expected version, which is needed to decide
 * that if the worker dies. */
void cas_put_sends(struct cas_put *c, struct shm_session *s);

/* The PUT was refused because of its condition: 412, or 404 for If-Match. */
must_use enum put_next cas_put_refused(struct cas_put *c, const struct s3_result *res);

/* Result of a HEAD (error 0 or -ENOENT). `etag` and *absent are the condition; both, and the
 * lineage to be sent, are updated if an earlier write of ours is there. */
must_use enum put_next cas_put_found(struct cas_put *c, const struct s3_result *res,
                                     char etag[SHM_ETAG_MAX], bool *absent);

/* Makes the next PUT conditional on what HEAD has found (error 0 or -ENOENT). */
void cas_put_condition(const struct s3_result *res, char etag[SHM_ETAG_MAX], bool *absent);

/* True if the PUT in doubt has not yet had enough time to take effect; c->wait_ns is then the time
 * until the next HEAD. */
must_use bool cas_put_waits(struct cas_put *c);

/* Under shm->meta: the server says that it has stored other bytes. They are there under our
 * write-id, which becomes that of an earlier write with other content, before anything else is
 * sent; `id` is the new one. LOOK, or FAILED after CAS_SPOILT_MAX of them. */
enum put_next cas_put_spoilt(struct cas_put *c, struct shm_session *s,
                             const char id[LINEAGE_ID_CAP]);

/* Under shm->meta: the publish failed. */
void cas_put_failed(const struct cas_put *c, struct shm_session *s);

/* Under shm->meta, after success: the session's next write is built on this one. */
void cas_put_done(const struct cas_put *c, struct shm_session *s, uint64_t size);

#endif
