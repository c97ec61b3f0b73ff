/* Prints the status. Workers change the numbers meanwhile: they may be slightly out of date, and
 * are only displayed. */
#include "ctl/status.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_text.h"
#include "base/log.h"
#include "ctl/peep.h"
#include "fuse/fuse_name.h"
#include "shm/shm_block.h"
#include "shm/shm_conflict.h"
#include "shm/shm_cred.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"
#include "shm/shm_notify.h"
#include "shm/shm_session.h"
#include "shm/shm_stats.h"

#define JSON_STRING_MAX (256u << 10)

typedef unsigned long long ull;

/* ---- JSON ---- */

/* (Without memory it is an empty one.) */
static void json_string(const char *text)
{
    struct buf out;

    buf_init(&out, JSON_STRING_MAX);
    fputs(json_text_put(&out, text, strlen(text)) == 0 ? out.data : "\"\"", stdout);
    buf_done(&out);
}

/* Which values are numbers is decided by the field's name: a bucket may be called 0123. */
static void json_pair(const char *name, const char *value)
{
    bool number = strcmp(name, "pid") == 0 || strcmp(name, "uptime_ms") == 0 ||
                  strcmp(name, "restarted_in_place") == 0;

    json_string(name);
    putchar(':');
    if (number)
        printf("%llu", strtoull(value, NULL, 10));
    else
        json_string(value);
    putchar(',');
}

/* ---- times ---- */

/* "2026-01-02T03:04:05Z" */
static void format_time(uint64_t wall_ns, char out[32])
{
    time_t t = (time_t)(wall_ns / NS_PER_S);
    struct tm tm;

    if (!gmtime_r(&t, &tm) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
        snprintf(out, 32, "?");
}

/* ---- names in text ---- */

static void text_name(const char *name)
{
    char shown[4 * PEEP_PATH_MAX + 8]; /* the longest form of a byte is \xNN */

    (void)log_escape(shown, sizeof(shown), name);
    fputs(shown, stdout);
}

/* ---- names of requests ---- */

void status_op_name(uint32_t opcode, char out[16])
{
    const char *name = fuse_op_name(opcode);

    if (*name != '?')
        snprintf(out, 16, "%s", name);
    else
        snprintf(out, 16, "%u", opcode);
}

/* ---- counters in the segment ---- */

struct row {
    const char *name;
    ull value;
};

static ull sum(struct shm *shm, size_t off)
{
    ull v = 0;

    for (uint32_t w = 0; w < shm->header->sizes.workers; w++)
        v += *(const uint64_t *)((const char *)shm_stats_of(shm, w) + off);
    return v;
}

#define TABLE_ROWS 12

static unsigned table_rows(struct shm *shm, struct row rows[TABLE_ROWS])
{
    const struct row all[] = {
        {"nodes", shm->nodes->live},
        {"nodes_evictable", shm->nodes->evictable},
        {"lookups", shm->nodes->lookups},
        {"evictions", shm->nodes->evictions},
        {"handles", shm->handles->live},
        {"sessions", shm->sessions->live},
        {"session_bytes", shm->sessions->mem_used},
        {"blocks_ready", shm->blocks->ready},
        {"blocks_fetching", shm->blocks->fetching},
        {"notifications", shm->notify->written},
        {"lock_owner_deaths", shm->meta->owner_deaths},
        {"lock_rollbacks", shm->meta->rollbacks},
    };

    static_assert(sizeof(all) / sizeof(all[0]) == TABLE_ROWS, "rows");
    memcpy(rows, all, sizeof(all));
    return TABLE_ROWS;
}

static ull op_count(struct shm *shm, uint32_t opcode)
{
    return sum(shm, offsetof(struct shm_stats, fuse) + 8 * (size_t)opcode);
}

/* Only opcodes that have occurred. */
static void json_ops(struct shm *shm)
{
    char name[16];
    bool any = false;

    for (uint32_t i = 0; i < SHM_STATS_FUSE_OPS; i++) {
        if (!op_count(shm, i))
            continue;
        status_op_name(i, name);
        printf("%s\"%s\":%llu", any ? "," : "", name, op_count(shm, i));
        any = true;
    }
}

static void text_ops(struct shm *shm)
{
    char name[16];

    printf("FUSE requests\n");
    for (uint32_t i = 0; i < SHM_STATS_FUSE_OPS; i++) {
        if (!op_count(shm, i))
            continue;
        status_op_name(i, name);
        printf("  %-20s %llu\n", name, op_count(shm, i));
    }
}

static void json_tables(struct shm *shm)
{
    struct row rows[TABLE_ROWS];
    unsigned n = table_rows(shm, rows);

    printf("\"tables\":{");
    for (unsigned i = 0; i < n; i++)
        printf("%s\"%s\":%llu", i ? "," : "", rows[i].name, rows[i].value);
    printf("},\"counters\":{");
    for (int i = 0; i < SHM_STATS_COUNT; i++)
        printf("%s\"%s\":%llu", i ? "," : "", shm_stat_names[i],
               sum(shm, offsetof(struct shm_stats, count) + 8 * (size_t)i));
    printf("},\"s3\":{");
    for (int i = 0; i < SHM_STATS_S3_OPS && *shm_stat_s3_names[i]; i++)
        printf("%s\"%s\":%llu", i ? "," : "", shm_stat_s3_names[i],
               sum(shm, offsetof(struct shm_stats, s3) + 8 * (size_t)i));
    printf("},\"fuse\":{");
    json_ops(shm);
    printf("},");
}

static void text_tables(struct shm *shm)
{
    struct row rows[TABLE_ROWS];
    unsigned n = table_rows(shm, rows);

    printf("\ntables\n");
    for (unsigned i = 0; i < n; i++)
        printf("  %-20s %llu\n", rows[i].name, rows[i].value);
    printf("counters\n");
    for (int i = 0; i < SHM_STATS_COUNT; i++)
        printf("  %-20s %llu\n", shm_stat_names[i],
               sum(shm, offsetof(struct shm_stats, count) + 8 * (size_t)i));
    printf("S3 requests\n");
    for (int i = 0; i < SHM_STATS_S3_OPS && *shm_stat_s3_names[i]; i++)
        printf("  %-20s %llu\n", shm_stat_s3_names[i],
               sum(shm, offsetof(struct shm_stats, s3) + 8 * (size_t)i));
    text_ops(shm);
}

/* ---- the daemon's answer ---- */

struct child_line {
    char role[32];
    char state[32];
    unsigned slot, restarts;
    int pid;
};

static bool parse_child(const char *line, struct child_line *ret)
{
    return sscanf(line, "child %31s %u pid %d restarts %u state %31s", ret->role, &ret->slot,
                  &ret->pid, &ret->restarts, ret->state) == 5;
}

static void text_line(const char *line)
{
    struct child_line c;

    if (parse_child(line, &c)) {
        printf("%-9s %u  pid %-8d restarts %-6u %s\n", c.role, c.slot, c.pid, c.restarts, c.state);
        return;
    }
    printf("%.*s%*s%s\n", (int)strcspn(line, " "), line,
           10 - (int)strcspn(line, " ") > 0 ? 10 - (int)strcspn(line, " ") : 1, "",
           line[strcspn(line, " ")] ? strchr(line, ' ') + 1 : "");
}

static void json_children(char *const lines[], unsigned n, const char *role, const char *title)
{
    struct child_line c;
    bool any = false;

    printf("\"%s\":[", title);
    for (unsigned i = 0; i < n; i++) {
        if (!parse_child(lines[i], &c) || strcmp(c.role, role) != 0)
            continue;
        printf("%s{\"slot\":%u,\"pid\":%d,\"restarts\":%u,\"state\":", any ? "," : "", c.slot,
               c.pid, c.restarts);
        json_string(c.state);
        putchar('}');
        any = true;
    }
    printf("]");
}

#define LINES_MAX 64

static unsigned split_lines(char *text, char *lines[LINES_MAX])
{
    char *save = NULL;
    unsigned n = 0;

    for (char *l = strtok_r(text, "\n", &save); l && n < LINES_MAX;
         l = strtok_r(NULL, "\n", &save)) {
        if (strcmp(l, "ok") != 0)
            lines[n++] = l;
    }
    return n;
}

static bool is_draining(const char *phase)
{
    return strcmp(phase, "starting") != 0 && strcmp(phase, "running") != 0;
}

/* ---- credentials ---- */

static void status_time(uint64_t wall_ns, char out[32])
{
    if (wall_ns)
        format_time(wall_ns, out);
    else
        snprintf(out, 32, "never");
}

static void json_credentials(struct shm *shm)
{
    struct shm_cred_news news;
    char expires[32], fetched[32];

    if (!shm_cred_read_news(shm, &news))
        return;
    status_time(news.expires_ns, expires);
    status_time(news.fetched_ns, fetched);
    printf("\"credentials\":{\"provider\":");
    json_string(news.provider);
    printf(",\"account\":");
    json_string(news.account);
    printf(",\"expires\":\"%s\",\"fetched\":\"%s\",\"refreshes\":%llu,\"failures\":%llu", expires,
           fetched, (ull)news.refreshes, (ull)news.failures);
    printf(",\"error\":");
    json_string(news.error);
    printf("},");
}

static void text_credentials(struct shm *shm)
{
    struct shm_cred_news news;
    char when[32];

    if (!shm_cred_read_news(shm, &news))
        return;
    status_time(news.expires_ns, when);
    printf("\ncredentials\n  %-20s ", "provider");
    text_name(news.provider);
    printf("\n  %-20s ", "account");
    text_name(*news.account ? news.account : "unknown");
    printf("\n  %-20s %s\n", "expires", when);
    status_time(news.fetched_ns, when);
    printf("  %-20s %s\n  %-20s %llu, %llu failed\n", "fetched", when, "refreshes",
           (ull)news.refreshes, (ull)news.failures);
    if (*news.error) {
        status_time(news.failed_ns, when);
        printf("  %-20s %s ", "last refresh failed", when);
        text_name(news.error);
        putchar('\n');
    }
}

static void print_json(char *const lines[], unsigned n, struct shm *shm)
{
    putchar('{');
    for (unsigned i = 0; i < n; i++) {
        char *space = strchr(lines[i], ' ');

        if (strncmp(lines[i], "child ", 6) == 0 || !space)
            continue;
        *space = '\0';
        json_pair(lines[i], space + 1);
        if (strcmp(lines[i], "phase") == 0)
            printf("\"draining\":%s,", is_draining(space + 1) ? "true" : "false");
    }
    if (shm)
        json_credentials(shm);
    if (shm)
        json_tables(shm);
    json_children(lines, n, "worker", "workers");
    putchar(',');
    json_children(lines, n, "notifier", "notifiers");
    putchar(',');
    json_children(lines, n, "keeper", "keepers");
    puts("}");
}

void status_print(char *answer, struct shm *shm, bool json)
{
    char *lines[LINES_MAX];
    unsigned n = split_lines(answer, lines);

    if (json) {
        print_json(lines, n, shm);
        return;
    }
    for (unsigned i = 0; i < n; i++)
        text_line(lines[i]);
    if (shm)
        text_credentials(shm);
    if (shm)
        text_tables(shm);
}

/* ---- sessions, in flight ---- */

/* Its content, flags and expectation by name: "loaded,absent", or a list of strings. */
static void print_flags(const struct shm_session *s, bool json)
{
    const char *names[SHM_SESSION_NAMES_MAX];
    unsigned n = shm_session_names(s, names);

    fputs(json ? ",\"flags\":[" : "  ", stdout);
    for (unsigned i = 0; i < n; i++)
        printf(json ? "%s\"%s\"" : "%s%s", i ? "," : "", names[i]);
    if (json)
        putchar(']');
}

/* Ends the line: what the write expects (compare-and-set). */
static void print_expectation(struct shm *shm, const struct shm_session *s, bool json)
{
    const struct shm_expectation *e = &s->expect;
    char etag[SHM_ETAG_MAX];
    const char *what = etag;

    memcpy(etag, e->etag, sizeof(etag));
    etag[sizeof(etag) - 1] = '\0';
    if (!shm->header->sizes.baselines) {
        puts(json ? "}" : "");
        return;
    }
    if (e->refused)
        what = "refused";
    else if (!e->must)
        what = "any";
    else if (e->absent)
        what = "absent";
    if (!json) {
        printf("  expects %s\n", what);
        return;
    }
    printf(",\"expects\":");
    json_string(what);
    putchar('}');
}

void status_sessions(struct shm *shm, bool json)
{
    char buf[PEEP_PATH_MAX];
    const char *path;
    bool any = false;

    if (json)
        putchar('[');
    for (uint32_t i = 0; i < shm_session_used(shm); i++) {
        const struct shm_session *s = shm_session_at(shm, i);

        if (s->state != SHM_SESSION_LIVE)
            continue;
        path = peep_session(shm, i, buf);
        if (json) {
            printf("%s{\"path\":", any ? "," : "");
            json_string(path);
            printf(",\"size\":%llu,\"dirty\":%s,\"publishing\":%s", (ull)s->size,
                   shm_session_dirty(s) ? "true" : "false",
                   s->publish.state == SHM_JOB_RUNNING ? "true" : "false");
        } else {
            printf("%-12llu %-6s %-10s ", (ull)s->size, shm_session_dirty(s) ? "dirty" : "clean",
                   s->publish.state == SHM_JOB_RUNNING ? "publishing" : "");
            text_name(path);
        }
        print_flags(s, json);
        print_expectation(shm, s, json);
        any = true;
    }
    if (json)
        puts("]");
    else if (!any)
        puts("no file is open for writing");
}

/* Also shows lines that mix two states; leaves out only what is certainly unused. */
static void print_record(const struct shm_record *r, uint32_t worker, uint64_t now, bool json,
                         bool first)
{
    bool applied = r->state == SHM_RECORD_APPLIED;
    uint64_t started = r->started_ns;
    ull age = now > started ? (now - started) / NS_PER_MS : 0;
    char name[16];

    status_op_name(r->opcode, name);
    if (json)
        printf("%s{\"worker\":%u,\"op\":\"%s\",\"unique\":%llu,\"age_ms\":%llu,"
               "\"answered\":%s}",
               first ? "" : ",", worker, name, (ull)r->unique, age, applied ? "true" : "false");
    else
        printf("worker %-2u  %-15s unique %-12llu age %llu ms%s\n", worker, name, (ull)r->unique,
               age, applied ? "  (done, reply is being sent)" : "");
}

void status_inflight(struct shm *shm, bool json)
{
    uint64_t now = clock_mono_ns();
    struct shm_in_flight at = {0};
    const struct shm_record *r;
    bool any = false;

    if (json)
        putchar('[');
    for (; (r = shm_in_flight_next(shm, &at)); any = true)
        print_record(r, at.worker, now, json, !any);
    if (json)
        puts("]");
    else if (!any)
        puts("no request is in flight");
}

/* ---- conflicts ---- */

static void json_member(const char *name, const char *text)
{
    printf(",\"%s\":", name);
    json_string(text);
}

static const char *etag_or(const char *etag, bool absent)
{
    return *etag ? etag : absent ? "absent" : "unknown";
}

/* The record may be half overwritten: each text is terminated here. */
static void print_conflict(struct shm_conflict c, bool json, bool first)
{
    const char *expected, *found;
    char when[32];

    c.key[sizeof(c.key) - 1] = c.expected[sizeof(c.expected) - 1] = '\0';
    c.found[sizeof(c.found) - 1] = c.write_id[sizeof(c.write_id) - 1] = '\0';
    expected = etag_or(c.expected, c.flags & SHM_CONFLICT_EXPECTED_ABSENT);
    found = etag_or(c.found, c.flags & SHM_CONFLICT_FOUND_ABSENT);
    format_time(c.wall_ns, when);
    if (!json) {
        printf("%s  pid %-8d expected %s  found %s  write_id %s  ", when, c.tgid, expected, found,
               *c.write_id ? c.write_id : "-");
        text_name(c.key);
        putchar('\n');
        return;
    }
    printf("%s{\"time\":\"%s\",\"pid\":%d", first ? "" : ",", when, c.tgid);
    json_member("key", c.key);
    json_member("expected", expected);
    json_member("found", found);
    json_member("write_id", c.write_id);
    putchar('}');
}

void status_conflicts(struct shm *shm, bool json)
{
    const volatile uint64_t *count = &shm->conflicts->count;
    uint64_t n = shm->header->sizes.baselines ? *count : 0;
    uint64_t first = n > SHM_CONFLICTS ? n - SHM_CONFLICTS : 0;

    if (json)
        putchar('[');
    for (uint64_t i = first; i < n; i++)
        print_conflict(shm->conflicts->slot[i % SHM_CONFLICTS], json, i == first);
    if (json)
        puts("]");
    else if (!n)
        puts("no write was refused");
    else if (first)
        printf("(last %d of %llu)\n", SHM_CONFLICTS, (ull)n);
}
