/* Printing the status. Numbers come from a mapping that others change: they may lag, and are only shown. */
#include "ctl/status.h"

#include <assert.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/shm_block.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"
#include "shm/shm_notify.h"
#include "shm/shm_session.h"
#include "shm/shm_stats.h"

typedef unsigned long long ull;

/* ---- JSON ---- */

static void json_string(const char *s)
{
    putchar('"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static bool is_number(const char *s)
{
    return *s && strspn(s, "0123456789") == strlen(s);
}

static void json_pair(const char *name, const char *value)
{
    json_string(name);
    putchar(':');
    if (is_number(value))
        fputs(value, stdout);
    else
        json_string(value);
    putchar(',');
}

/* ---- what the segment counts ---- */

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
    return sscanf(line, "child %31s %u pid %d restarts %u state %31s", ret->role,
                  &ret->slot, &ret->pid, &ret->restarts, ret->state) == 5;
}

static void text_line(const char *line)
{
    struct child_line c;

    if (parse_child(line, &c)) {
        printf("%-9s %u  pid %-8d restarts %-6u %s\n", c.role, c.slot, c.pid,
               c.restarts, c.state);
        return;
    }
    printf("%.*s%*s%s\n", (int)strcspn(line, " "), line,
           10 - (int)strcspn(line, " ") > 0 ? 10 - (int)strcspn(line, " ") : 1, "",
           line[strcspn(line, " ")] ? strchr(line, ' ') + 1 : "");
}

static void json_children(char *const lines[], unsigned n, const char *role,
                          const char *title)
{
    struct child_line c;
    bool any = false;

    printf("\"%s\":[", title);
    for (unsigned i = 0; i < n; i++) {
        if (!parse_child(lines[i], &c) || strcmp(c.role, role) != 0)
            continue;
        printf("%s{\"slot\":%u,\"pid\":%d,\"restarts\":%u,\"state\":", any ? "," : "",
               c.slot, c.pid, c.restarts);
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

static void print_json(char *const lines[], unsigned n, struct shm *shm)
{
    putchar('{');
    for (unsigned i = 0; i < n; i++) {
        char *space = strchr(lines[i], ' ');

        if (strncmp(lines[i], "child ", 6) == 0 || !space)
            continue;
        *space = '\0';
        json_pair(lines[i], space + 1);
    }
    if (shm)
        json_tables(shm);
    json_children(lines, n, "worker", "workers");
    putchar(',');
    json_children(lines, n, "notifier", "notifiers");
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
        text_tables(shm);
}

/* ---- sessions, in flight ---- */

void status_sessions(struct shm *shm, bool json)
{
    char path[1100];
    bool any = false;

    if (json)
        putchar('[');
    for (uint32_t i = 0; i < shm->header->sizes.sessions; i++) {
        const struct shm_session *s = shm_session_at(shm, i);
        uint32_t node = s->node;

        if (s->state != SHM_SESSION_LIVE || node >= shm->header->sizes.nodes)
            continue;
        if (shm_node_path(shm, node, path, sizeof(path)) < 0)
            strcpy(path, "?");
        if (json) {
            printf("%s{\"path\":", any ? "," : "");
            json_string(path);
            printf(",\"size\":%llu,\"dirty\":%s,\"publishing\":%s}", (ull)s->size,
                   shm_session_dirty(s) ? "true" : "false",
                   s->publish.state == SHM_JOB_RUNNING ? "true" : "false");
        } else {
            printf("%-12llu %-6s %-10s %s\n", (ull)s->size,
                   shm_session_dirty(s) ? "dirty" : "clean",
                   s->publish.state == SHM_JOB_RUNNING ? "publishing" : "", path);
        }
        any = true;
    }
    if (json)
        puts("]");
    else if (!any)
        puts("no file is open for writing");
}

static void print_record(const struct shm_record *r, uint32_t worker, uint64_t now)
{
    if (r->state != SHM_RECORD_FREE)
        printf("worker %u  opcode %-3u unique %-10llu age %llu ms\n", worker,
               r->opcode, (ull)r->unique, (ull)((now - r->started_ns) / NS_PER_MS));
}

void status_inflight(struct shm *shm)
{
    uint64_t now = clock_mono_ns();

    for (uint32_t w = 0; w < shm->header->sizes.workers; w++) {
        for (uint32_t i = 0; i < shm->header->sizes.records; i++)
            print_record(shm_arena_record(shm, w, i), w, now);
    }
}
