/* server.c and cas_kept.c: what is known of a server, how it is told, and how it is kept. */
#include "workers/server/server.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/workers/s3_fixture.h"
#include "workers/server/cas_kept.h"

/* ---- how it is told ---- */

static void describes(struct fx *fx, const char *after, const char *between, const char *text)
{
    char out[512];

    server_describe(&fx->env, after, between, out, sizeof(out));
    assert_string_equal(out, text);
}

static void test_describe(void **state)
{
    struct fx *fx = *state;

    describes(fx, "=", " ", "server=\"unknown\" conditions=unknown traits=none");
    fx->env.traits = (struct server_traits){.probed = true, .name = "Ceph"};
    server_found(&fx->env, &fx->env.traits);
    describes(fx, "=", " ", "server=\"Ceph\" conditions=none traits=none");
    fx->env.traits.put_conditions = fx->env.traits.complete_conditions = true;
    fx->env.traits.delete_if_match = true;
    server_found(&fx->env, &fx->env.traits);
    assert_true(server_keeps(&fx->w, SERVER_KEEPS_PUT));
    fx->w.shm->header->habits = S3_HABIT_BARE_PUT_MATCH | S3_HABIT_NO_VERSIONS;
    describes(fx, " ", "; ",
              "server Ceph; conditions put,complete,delete; "
              "traits unquoted-if-match,no-version-reads");
}

/* All that can be known fits. */
static void test_describe_everything(void **state)
{
    struct fx *fx = *state;
    char out[1024];

    fx->w.shm->header->habits = UINT32_MAX;
    server_describe(&fx->env, "=", " ", out, sizeof(out));
    assert_non_null(strstr(out, "unquoted-if-match,unquoted-etags,"));
    assert_non_null(strstr(out, ",contradicts"));
    for (uint32_t bit = 1; bit; bit <<= 1)
        server_tell((enum s3_habit)bit); /* says what it means, or nothing */
}

/* ---- how it is kept ---- */

static char dir[64];

static int kept_setup(void **state)
{
    struct fx *fx;
    int r = fx_s3_setup(state);

    fx = *state;
    strcpy(dir, "/tmp/test-server-XXXXXX");
    assert_non_null(mkdtemp(dir));
    fx->conf.cas.state_dir = dir;
    fx->conf.s3.endpoint = "http://h:1";
    fx->conf.s3.region = "r";
    return r;
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
    (void)st, (void)what, (void)ftw;
    return remove(path);
}

static int kept_teardown(void **state)
{
    (void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return fx_s3_teardown(state);
}

static const struct server_traits good = {.probed = true,
                                          .put_conditions = true,
                                          .delete_if_match = true,
                                          .copy_conditions = true,
                                          .habits = S3_HABIT_BARE_ETAGS,
                                          .name = "MinIO"};

/* The only file in the directory. */
static void kept_path(char out[128])
{
    char pattern[128];
    glob_t g;

    snprintf(pattern, sizeof(pattern), "%s/*", dir);
    assert_int_equal(glob(pattern, 0, NULL, &g), 0);
    assert_int_equal(g.gl_pathc, 1);
    snprintf(out, 128, "%s", g.gl_pathv[0]);
    globfree(&g);
}

static bool is_kept(struct fx *fx, const char *server)
{
    struct server_traits t = {0};

    strcpy(t.name, server);
    return cas_kept_read(&fx->conf, &t);
}

static void test_kept(void **state)
{
    struct fx *fx = *state;
    struct server_traits t = {.name = "MinIO", .habits = S3_HABIT_WEAK_ETAGS};
    struct stat st;
    char path[128];

    assert_false(cas_kept_read(&fx->conf, &t));
    cas_kept_write(&fx->conf, &good);
    assert_true(cas_kept_read(&fx->conf, &t));
    assert_true(t.probed && t.put_conditions && t.delete_if_match && t.copy_conditions);
    assert_false(t.complete_conditions);
    assert_int_equal(t.habits, S3_HABIT_BARE_ETAGS | S3_HABIT_WEAK_ETAGS);
    kept_path(path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    cas_kept_write(&fx->conf, &good); /* in its place */
    assert_true(is_kept(fx, "MinIO"));
    cas_kept_forget(&fx->conf);
    assert_false(is_kept(fx, "MinIO"));
}

/* It is of one server, endpoint, region, bucket. */
static void test_kept_for_one(void **state)
{
    struct fx *fx = *state;

    cas_kept_write(&fx->conf, &good);
    assert_false(is_kept(fx, "Ceph"));
    fx->conf.s3.region = "other";
    assert_false(is_kept(fx, "MinIO"));
    fx->conf.s3.region = "r";
    fx->conf.bucket = "other";
    assert_false(is_kept(fx, "MinIO"));
    fx->conf.bucket = "bkt";
    fx->conf.s3.endpoint = "http://h:2";
    assert_false(is_kept(fx, "MinIO"));
    fx->conf.s3.endpoint = "http://h:1";
    assert_true(is_kept(fx, "MinIO"));
}

static void test_nothing_bad_is_kept(void **state)
{
    struct fx *fx = *state;
    struct server_traits bad = good;

    bad.put_conditions = false;
    cas_kept_write(&fx->conf, &bad);
    assert_false(is_kept(fx, "MinIO"));
    fx->conf.cas.state_dir = "";
    cas_kept_write(&fx->conf, &good);
    assert_false(is_kept(fx, "MinIO"));
    cas_kept_forget(&fx->conf);
    fx->conf.cas.state_dir = "/nonexistent/dir";
    cas_kept_write(&fx->conf, &good); /* says so in the log */
    assert_false(is_kept(fx, "MinIO"));
}

static void put_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void rewrite(const char *path, const char *from, const char *to)
{
    char text[4096], *at;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text) - 512);

    assert_true(n > 0);
    close(fd);
    text[n] = '\0';
    at = strstr(text, from);
    assert_non_null(at);
    snprintf(at, 512, "%s", to);
    put_text(path, text);
}

/* A file that is too old, cut, or not text is none. */
static void test_what_is_not_believed(void **state)
{
    static const char *const ends[] = {
        "found 1\nhabits 0\ncomplete 1\ndelete 1\ncopy 1\nend\n", /* old */
        "found 99999999999999999999\nhabits 0\ncomplete 1\ndelete 1\ncopy 1\nend\n",
        "found 18446744073709551615\nhabits 0\ncomplete 1\ndelete 1\ncopy 1\nend\n", /* not yet */
        "",
        "found 1\nhabits 0\n",
        "x"};
    struct fx *fx = *state;
    char path[128];

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        cas_kept_write(&fx->conf, &good);
        kept_path(path);
        rewrite(path, "found", ends[i]);
        assert_false(is_kept(fx, "MinIO"));
    }
    cas_kept_write(&fx->conf, &good);
    rewrite(path, "end\n", "end"); /* cut */
    assert_false(is_kept(fx, "MinIO"));
    put_text(path, "");
    assert_false(is_kept(fx, "MinIO"));
}

/* Who may write to it could make us trust any server. */
static void test_who_may_write_to_it(void **state)
{
    struct fx *fx = *state;
    char path[128], other[136];

    cas_kept_write(&fx->conf, &good);
    kept_path(path);
    assert_int_equal(chmod(path, 0620), 0);
    assert_false(is_kept(fx, "MinIO"));
    assert_int_equal(chmod(path, 0602), 0);
    assert_false(is_kept(fx, "MinIO"));
    assert_int_equal(chmod(path, 0644), 0);
    assert_true(is_kept(fx, "MinIO"));
    snprintf(other, sizeof(other), "%s-other", path);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(symlink(other, path), 0);
    assert_false(is_kept(fx, "MinIO"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(is_kept(fx, "MinIO")); /* and nobody waits for its other end */
}

/* An answer that a server which keeps conditions does not give: what was kept is wrong. */
static void test_contradicts(void **state)
{
    struct fx *fx = *state;

    cas_kept_write(&fx->conf, &good);
    server_contradicts(&fx->w, "pre/f", "it did");
    assert_false(is_kept(fx, "MinIO"));
    assert_true(s3_habit_has(fx->w.s3, S3_HABIT_CONTRADICTS));
    cas_kept_write(&fx->conf, &good);
    server_contradicts(&fx->w, "pre/f", "it did again");
    assert_true(is_kept(fx, "MinIO")); /* that was said once */
    assert_int_equal(fx->w.stats->count[SHM_STAT_CONTRADICTIONS], 2);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_s3_setup, fx_s3_teardown)
#define KEPT(fn) cmocka_unit_test_setup_teardown(fn, kept_setup, kept_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_describe),
        TEST(test_describe_everything),
        KEPT(test_kept),
        KEPT(test_kept_for_one),
        KEPT(test_nothing_bad_is_kept),
        KEPT(test_what_is_not_believed),
        KEPT(test_who_may_write_to_it),
        KEPT(test_contradicts),
    };

    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
