/* What the server probe checks one request at a time: conditions on PUT, on CompleteMultipartUpload
 * and on DELETE, apart, since servers keep some and ignore others. Races are cas_race.c. */
#include "workers/cas_probe_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* What is there is still `body`. */
static enum cas_outcome must_hold(struct cas_probe *p, const char *key,
                                  const char *body, const char *what)
{
    const struct cas_answer *a = &p->answer;
    int r = cas_get(p, key);
    enum cas_outcome out;

    if (r == 0 && (a->error == -ENOENT ||
                   (a->error == 0 && (a->body_len != strlen(body) ||
                                      memcmp(a->body, body, a->body_len) != 0))))
        return cas_wrong(p, "%s", what);
    out = cas_must_act(p, r, "GET");
    if (out == CAS_RIGHT && a->mtime_ns)
        p->server_ns = a->mtime_ns - (int64_t)clock_mono_ns();
    return out;
}

static enum cas_outcome must_be_missing(struct cas_probe *p, const char *key,
                                        const char *what)
{
    int r = cas_head(p, key);

    if (r == 0 && p->answer.error == 0)
        return cas_wrong(p, "%s", what);
    if (r == 0 && p->answer.error == -ENOENT)
        return CAS_RIGHT;
    return cas_must_act(p, r, "HEAD");
}

/* ---- PUT ---- */

/* Creates it and replaces it, both with conditions that hold. ret_etag[0] is the former version's,
 * [1] the present one's; their bodies are "1" and "2". */
static enum cas_outcome put_right(struct cas_probe *p, const char *key,
                                  char ret_etag[2][S3_ETAG_MAX])
{
    enum cas_outcome out =
        cas_must_act(p, cas_put(p, key, "1", NULL, "*"),
                     "PUT If-None-Match:* on a missing key");

    if (out == CAS_RIGHT && !*p->answer.etag)
        return cas_wrong(p, "PUT answers without an ETag");
    strcpy(ret_etag[0], p->answer.etag);
    if (out == CAS_RIGHT)
        out = cas_must_act(p, cas_put(p, key, "2", ret_etag[0], NULL),
                           "PUT If-Match with the right ETag");
    strcpy(ret_etag[1], p->answer.etag);
    return out;
}

static enum cas_outcome put_wrong(struct cas_probe *p, const char *key,
                                  const char *former)
{
    enum cas_outcome out =
        cas_must_refuse(p, cas_put(p, key, "3", NULL, "*"),
                        "PUT If-None-Match:*", "replaces an object that is there");

    if (out == CAS_RIGHT)
        out = cas_must_refuse(p, cas_put(p, key, "4", former, NULL),
                              "PUT If-Match with a wrong ETag", "replaces the object");
    if (out == CAS_RIGHT)
        out = must_hold(p, key, "2",
                        "a PUT that was refused for its condition was stored");
    return out;
}

static enum cas_outcome put_missing(struct cas_probe *p, const char *key,
                                    const char *etag)
{
    enum cas_outcome out =
        cas_must_refuse(p, cas_put(p, key, "5", etag, NULL),
                        "PUT If-Match", "creates an object that is missing");

    if (out == CAS_RIGHT)
        out = must_be_missing(p, key,
                              "a refused PUT If-Match on a missing key was stored");
    return out;
}

enum cas_outcome cas_check_put(struct cas_probe *p)
{
    char key[KEY_CAP], missing[KEY_CAP], etag[2][S3_ETAG_MAX];
    enum cas_outcome out;

    cas_key(p, ".put", key);
    cas_key(p, ".none", missing);
    out = put_right(p, key, etag);
    if (out == CAS_RIGHT)
        out = put_wrong(p, key, etag[0]);
    if (out == CAS_RIGHT) {
        out = put_missing(p, missing, etag[1]);
        if (out != CAS_RIGHT)
            cas_clean(p, missing);
    }
    cas_clean(p, key);
    return out;
}

/* ---- CompleteMultipartUpload ---- */

struct upload {
    char id[S3_UPLOAD_ID_MAX];
    char part[S3_ETAG_MAX];
};

/* Begins an upload with its one part. The note comes before anything that costs: from then on a
 * later start can end it. */
static enum cas_outcome begin_upload(struct cas_probe *p, const char *key,
                                     const char *note, struct upload *ret)
{
    enum cas_outcome out =
        cas_must_act(p, cas_create(p, key), "CreateMultipartUpload");

    strcpy(ret->id, p->answer.upload_id);
    if (out == CAS_RIGHT)
        out = cas_must_act(p, cas_put(p, note, ret->id, NULL, NULL), "PUT");
    if (out == CAS_RIGHT)
        out = cas_must_act(p, cas_part(p, key, ret->id), "UploadPart");
    strcpy(ret->part, p->answer.etag);
    return out;
}

static enum cas_outcome complete_replacing(struct cas_probe *p, const char *key,
                                           const char *note)
{
    struct upload u = {0};
    char etag[S3_ETAG_MAX];
    enum cas_outcome out = cas_must_act(p, cas_put(p, key, "1", NULL, NULL), "PUT");

    strcpy(etag, p->answer.etag);
    if (out == CAS_RIGHT)
        out = begin_upload(p, key, note, &u);
    if (out == CAS_RIGHT)
        out = cas_must_refuse(p, cas_complete(p, key, u.id, u.part, NULL, "*"),
                              "CompleteMultipartUpload If-None-Match:*",
                              "replaces an object that is there");
    if (out == CAS_RIGHT)
        out = cas_must_refuse(
            p, cas_complete(p, key, u.id, u.part, CAS_WRONG_ETAG, NULL),
            "CompleteMultipartUpload If-Match with a wrong ETag",
            "replaces the object");
    if (out == CAS_RIGHT)
        out = must_hold(
            p, key, "1",
            "a CompleteMultipartUpload that was refused was stored");
    if (out == CAS_RIGHT)
        out = cas_must_act(p, cas_complete(p, key, u.id, u.part, etag, NULL),
                           "CompleteMultipartUpload If-Match with the right ETag");
    return out;
}

static enum cas_outcome complete_new(struct cas_probe *p, const char *key,
                                     const char *note)
{
    struct upload u = {0};
    enum cas_outcome out = cas_must_act(p, cas_delete(p, key, NULL), "DELETE");

    if (out == CAS_RIGHT)
        out = begin_upload(p, key, note, &u);
    if (out == CAS_RIGHT)
        out = cas_must_act(
            p, cas_complete(p, key, u.id, u.part, NULL, "*"),
            "CompleteMultipartUpload If-None-Match:* on a missing key");
    return out;
}

enum cas_outcome cas_check_complete(struct cas_probe *p)
{
    char key[KEY_CAP], note[KEY_CAP], text[ERR_TEXT_MAX];
    enum cas_outcome out;

    cas_key(p, ".part", key);
    cas_key(p, ".part" CAS_NOTE, note);
    out = complete_replacing(p, key, note);
    if (out == CAS_RIGHT)
        out = complete_new(p, key, note);
    if (p->upload_open) {
        memcpy(text, p->text, sizeof(text));
        (void)cas_end_upload(p, key, note); /* else a later start tries */
        memcpy(p->text, text, sizeof(text));
        p->upload_open = false;
    } else {
        cas_clean(p, key);
        cas_clean(p, note);
    }
    return out;
}

/* ---- DELETE ---- */

enum cas_outcome cas_check_delete(struct cas_probe *p)
{
    char key[KEY_CAP], etag[S3_ETAG_MAX];
    enum cas_outcome out;

    cas_key(p, ".del", key);
    out = cas_must_act(p, cas_put(p, key, "1", NULL, NULL), "PUT");
    strcpy(etag, p->answer.etag);
    if (out == CAS_RIGHT)
        out = cas_must_refuse(p, cas_delete(p, key, CAS_WRONG_ETAG),
                              "DELETE If-Match with a wrong ETag", "deletes the object");
    if (out == CAS_RIGHT)
        out = must_hold(p, key, "1", "a DELETE that was refused deleted");
    if (out == CAS_RIGHT)
        out = cas_must_act(p, cas_delete(p, key, etag),
                           "DELETE If-Match with the right ETag");
    if (out == CAS_RIGHT)
        return must_be_missing(p, key, "DELETE If-Match does not delete");
    cas_clean(p, key);
    return out;
}
