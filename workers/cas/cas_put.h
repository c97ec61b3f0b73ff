/* One conditional PUT of compare-and-set, from its write-id to a proven outcome: what follows on
 * each answer. Sends nothing itself: publish.c does, under the same names.
 *
 * "Ambiguous" is a PUT of which an earlier attempt may have acted without our having heard of it:
 * its answer was lost, or its worker died. Only then a refusal is looked into (HEAD, lineage.h); a
 * refusal of a first attempt is a conflict without further ado. */
#ifndef WORKERS_CAS_CAS_PUT_H
#define WORKERS_CAS_CAS_PUT_H

#include "s3/s3.h"
#include "workers/objmeta/lineage.h"
#include "workers/objmeta/meta.h"

/* times that the expected version was found still there, and the PUT repeated */
#define CAS_PUTS_MAX 8

struct cas_put {
    bool expects; /* there is an expectation: else the last writer wins */
    bool ambiguous;
    bool look;    /* set before cas_put_begin: the server is not trusted, HEAD comes first */
    bool ask;     /* the lineage of the expected version is not known yet */
    bool ours;    /* the expected version is an empty file made with O_EXCL: ids must tell */
    bool lost;    /* two attempts with different content have unknown ends */
    bool tried;   /* the session knows that it is sent */
    bool doubted; /* HEAD told the lineage of the expected version and another ETag: once more */
    bool gone;    /* the expected version is no longer there, nor another */
    unsigned puts;
    unsigned waits;                /* for a PUT that may still act */
    uint64_t settle_ns;            /* set before cas_put_begin: s3_settle_ns */
    uint64_t wait_ns;              /* WAIT: how long */
    uint64_t since_ns;             /* it was sent, or known to be lost */
    size_t room;                   /* bytes that metadata leave for the lineage */
    char id[LINEAGE_ID_CAP];       /* of this write, the same in all its attempts */
    char old_id[LINEAGE_ID_CAP];   /* of an earlier one with other content, "" = none */
    char expected[LINEAGE_ID_CAP]; /* of the expected version, "" = none */
    char base[LINEAGE_CAP];        /* lineage of the expected version */
    char lineage[LINEAGE_CAP];     /* what is sent */
    char etag[SHM_ETAG_MAX];       /* OURS: of our version */
    char found[SHM_ETAG_MAX];      /* for the log: what is there instead */
};

/* What follows in a publish. */
enum put_next {
    PUT_OURS,     /* it has acted: c->etag */
    PUT_SEND,     /* send it (again) */
    PUT_LOOK,     /* HEAD, then judge what is there */
    PUT_WAIT,     /* the same after c->wait_ns */
    PUT_CONFLICT, /* -EEXIST */
    PUT_UNKNOWN,  /* -EIO: neither success nor conflict can be proven */
    PUT_DOUBT,    /* a conflict, but HEAD first: did the condition hold after all? */
    PUT_FAILED,   /* not a matter of the condition: the error is the outcome */
};

/* Under shm->meta, before publishing_seq is set: takes over what the session knows. c->id is a new
 * id; it stays that of the session's unfinished write where the content is the same. `asks`: S3 is
 * asked something before the PUT, whatever cas_put_first() says. */
void cas_put_begin(struct cas_put *c, struct shm_session *s, bool asks);

/* What to begin with. */
must_use enum put_next cas_put_first(const struct cas_put *c);

/* Adds the lineage to the metadata to be sent, as far as there is room for it. Before each PUT. */
void cas_put_meta(struct cas_put *c, struct meta_out *meta);

/* Under shm->meta, before the PUT is sent, where !c->tried: from now on nobody knows whether it
 * has acted, and whoever judges that after a death needs what has been learned of the expected
 * version. */
void cas_put_sends(struct cas_put *c, struct shm_session *s);

/* The PUT was refused for its condition: 412, or 404 for If-Match. */
must_use enum put_next cas_put_refused(struct cas_put *c, const struct s3_result *res);

/* What HEAD has found (error 0 or -ENOENT). `etag` and *absent are the condition, which moves where
 * an earlier write of ours is there: then the lineage to be sent moves too. */
must_use enum put_next cas_put_found(struct cas_put *c, const struct s3_result *res,
                                     char etag[SHM_ETAG_MAX], bool *absent);

/* The next PUT is conditional on what HEAD has found (error 0 or -ENOENT). */
void cas_put_condition(const struct s3_result *res, char etag[SHM_ETAG_MAX], bool *absent);

/* The PUT that is in doubt has had too little time to act: true, and c->wait_ns until the next
 * look. */
must_use bool cas_put_waits(struct cas_put *c);

/* Under shm->meta, after success: the session's next write is built on this one. */
void cas_put_done(const struct cas_put *c, struct shm_session *s, uint64_t size);

#endif
