/* See top_work.h. The tables change meanwhile: every index and number is checked before it is
 * used, and a line may mix two states. */
#include "ctl/top_work.h"

#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "ctl/peep.h"
#include "shm/shm_journal.h"
#include "shm/shm_session.h"
#include "shm/shm_upload.h"

typedef unsigned long long ull;

#define SHOWN_MAX (4 * PEEP_PATH_MAX + 8) /* the longest form of a byte is \xNN */

void top_size(uint64_t bytes, char out[8])
{
    static const char units[] = "BKMGTP";
    double n = (double)bytes;
    unsigned u = 0;

    while (n >= 999.5 && u + 2 < sizeof(units)) {
        n /= 1024;
        u++;
    }
    snprintf(out, 8, u && n < 9.95 ? "%.1f%c" : "%.0f%c", n, units[u]);
}

static int put_work(struct buf *out, const char *what, const char *progress, const char *path)
{
    char shown[SHOWN_MAX];

    (void)log_escape(shown, sizeof(shown), path);
    return buf_printf(out, "  %-10s %-24s %s\n", what, progress, shown);
}

/* Bytes of parts that S3 has. */
static uint64_t sent_bytes(const struct shm_upload *u)
{
    uint32_t n = *(const volatile uint32_t *)&u->taken;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < n && i < SHM_UPLOAD_PARTS; i++) {
        if (u->part[i].serial == u->serial && u->part[i].state == SHM_PART_DONE)
            sum += u->part[i].len;
    }
    return sum;
}

static int put_upload(struct shm *shm, uint32_t i, struct buf *out)
{
    const struct shm_session *s = shm_session_at(shm, i);
    const struct shm_upload *u = shm_upload_at(shm, i);
    char path[PEEP_PATH_MAX], progress[64], done[8], all[8];
    uint64_t size = s->size, sent = u->open ? sent_bytes(u) : 0;

    top_size(sent < size ? sent : size, done);
    top_size(size, all);
    if (u->open && size)
        snprintf(progress, sizeof(progress), "%3llu%%  %s of %s",
                 (ull)((sent < size ? sent : size) * 100 / size), done, all);
    else
        snprintf(progress, sizeof(progress), "      %s", all);
    return put_work(out, s->publish.state == SHM_JOB_RUNNING ? "upload" : "stream", progress,
                    peep_session(shm, i, path));
}

static bool is_uploading(struct shm *shm, uint32_t i)
{
    const struct shm_session *s = shm_session_at(shm, i);

    return s->state == SHM_SESSION_LIVE &&
           (s->publish.state == SHM_JOB_RUNNING || shm_upload_at(shm, i)->open);
}

static bool is_rename(const struct shm_record *r)
{
    return r->opcode == FUSE_RENAME || r->opcode == FUSE_RENAME2;
}

static int put_rename(struct shm *shm, const struct shm_record *r, struct buf *out)
{
    uint64_t now = clock_mono_ns(), started = r->started_ns;
    char path[PEEP_PATH_MAX], progress[64];
    uint32_t moved = r->progress.rename.moved;

    ull seconds = now > started ? (now - started) / NS_PER_S : 0;

    if (moved)
        snprintf(progress, sizeof(progress), "%u keys, %llu s", moved, seconds);
    else
        snprintf(progress, sizeof(progress), "%llu s", seconds);
    return put_work(out, "rename", progress, peep_path(shm, r->node, path));
}

int top_work(struct shm *shm, unsigned rows, struct buf *out)
{
    struct shm_in_flight at = {0};
    const struct shm_record *r;
    int error = 0;

    while (error == 0 && rows && (r = shm_in_flight_next(shm, &at))) {
        if (!is_rename(r))
            continue;
        error = put_rename(shm, r, out);
        rows--;
    }
    for (uint32_t i = 0; error == 0 && rows && i < shm_session_used(shm); i++) {
        if (!is_uploading(shm, i))
            continue;
        error = put_upload(shm, i, out);
        rows--;
    }
    return error;
}
