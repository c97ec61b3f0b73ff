/* The sandbox from inside: a child enters it as a role and tries what it must not do, and what it
 * must be able to. The number of the first check that fails is its exit code. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/log.h"
#include "sandbox/sandbox.h"

#define NOBODY 61234
#define STATUS_MAX 8192
#define NEVER                                                                                      \
    do {                                                                                           \
        return __LINE__ % 256 ? __LINE__ % 256 : 1;                                                \
    } while (0)
#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: %s: errno %d\n", __func__, __LINE__, #what, errno);            \
            NEVER;                                                                                 \
        }                                                                                          \
    } while (0)

static struct sandbox sb;
static char dir[] = "/tmp/sp-sandbox-XXXXXX";
static int open_port, other_port; /* two listeners; only the first one's port may be connected to */
static int listeners[2];
static int spool; /* a file that was opened before */
static const char secret[] = "neighbour";

static int listen_on(int *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 8) == 0 &&
                getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

static int setup(void **state)
{
    char path[64];

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    snprintf(path, sizeof(path), "%s/secret", dir);
    spool = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644); /* readable: only Landlock forbids it */
    assert_true(spool >= 0 && pwrite(spool, "x", 1, 0) == 1);
    listeners[0] = listen_on(&open_port);
    listeners[1] = listen_on(&other_port);
    sb = (struct sandbox){.on = true};
    if (geteuid() == 0)
        assert_int_equal(sandbox_user_find("61234", &sb.user, NULL), 0);
    sandbox_look(&sb);
    sandbox_ports_add(&sb.worker_ports, (unsigned)open_port);
    return 0;
}

static int teardown(void **state)
{
    char path[64];

    (void)state;
    snprintf(path, sizeof(path), "%s/secret", dir);
    unlink(path);
    rmdir(dir);
    close(spool);
    close(listeners[0]);
    close(listeners[1]);
    return 0;
}

/* Runs the checks in a child in its sandbox. 0, or the line that failed. What it logged goes to
 * `log` (may be NULL). */
static int inside(enum sandbox_role role, int (*checks)(void), char *log, size_t cap)
{
    int fds[2], status;
    size_t n = 0;
    ssize_t got;
    pid_t pid;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        struct err err = {0};

        signal(SIGSEGV, SIG_DFL); /* cmocka's handler */
        signal(SIGABRT, SIG_DFL);
        if (log)
            dup2(fds[1], STDERR_FILENO);
        if (sandbox_enter(&sb, role, &err) < 0) {
            fprintf(stderr, "sandbox_enter: %s\n", err.text);
            _exit(255);
        }
        _exit(checks());
    }
    close(fds[1]);
    while (log && n < cap - 1 && (got = read(fds[0], log + n, cap - 1 - n)) > 0)
        n += (size_t)got;
    if (log)
        log[n] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* ---- what the kernel says of the process ---- */

static bool status_has(const char *status, const char *name, const char *value)
{
    const char *p = strstr(status, name);

    p = p ? p + strlen(name) : "";
    p += strspn(p, " \t");
    return strncmp(p, value, strlen(value)) == 0 && strchr(" \t\n", p[strlen(value)]);
}

static int no_core_dumps(void)
{
    struct rlimit core;

    CHECK(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 && core.rlim_max == 0);
    return 0;
}

/* Looks at a child that waits in its sandbox. */
static void look_at(enum sandbox_role role, const char *caps)
{
    char path[64], own_status[STATUS_MAX];
    int ready[2], status;
    struct err err = {0};
    pid_t pid;
    char c;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        if (sandbox_enter(&sb, role, &err) < 0 || write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            (void)poll(NULL, 0, -1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    assert_true(fd_read_file(path, own_status, sizeof(own_status)) > 0);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(status_has(own_status, "\nCapEff:", caps));
    assert_true(status_has(own_status, "\nCapPrm:", caps));
    assert_true(status_has(own_status, "\nCapInh:", "0000000000000000"));
    assert_true(status_has(own_status, "\nCapAmb:", "0000000000000000"));
    assert_true(status_has(own_status, "\nNoNewPrivs:", "1"));
    assert_true(status_has(own_status, "\nSeccomp:", sb.filters ? "2" : "0"));
    if (geteuid() == 0) {
        assert_true(status_has(own_status, "\nUid:", "61234"));
        assert_true(status_has(own_status, "\nCapBnd:", "0000000000000000"));
    }
}

static void test_no_rights(void **state)
{
    static const enum sandbox_role roles[] = {SANDBOX_WORKER, SANDBOX_KEEPER, SANDBOX_NOTIFIER,
                                              SANDBOX_TASK};

    (void)state;
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        look_at(roles[i], "0000000000000000");
        assert_int_equal(inside(roles[i], no_core_dumps, NULL, 0), 0);
    }
    /* CAP_SYS_PTRACE is 19, CAP_DAC_READ_SEARCH is 2 */
    if (geteuid() == 0)
        look_at(SANDBOX_OBSERVER, "0000000000080004");
}

/* ---- a worker ---- */

static int connect_to(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? errno : 0;

    close(fd);
    return r;
}

/* Without all three (a build with sanitizers that root does not run) nothing holds. */
static bool holds(void)
{
    return sb.landlock || sb.filters || sb.user.set;
}

static int files_of_a_worker(void)
{
    char path[64];

    if (!holds())
        return 0;
    snprintf(path, sizeof(path), "%s/secret", dir);
    CHECK(open("/etc/shadow", O_RDONLY) < 0);
    CHECK(open("/root", O_RDONLY | O_DIRECTORY) < 0);
    if (sb.landlock) {
        CHECK(open(path, O_RDONLY) < 0 && errno == EACCES);
        CHECK(open("/proc/self/environ", O_RDONLY) < 0);
        CHECK(open("/", O_RDONLY | O_DIRECTORY) < 0);
    }
    CHECK(open(path, O_WRONLY) < 0);
    if (sb.landlock || sb.filters)
        CHECK(open("/tmp/sp-sandbox-new", O_WRONLY | O_CREAT, 0600) < 0);
    CHECK(unlink(path) < 0);
    /* what was opened before stays */
    CHECK(pwrite(spool, "hello", 5, 0) == 5 && ftruncate(spool, 4) == 0 &&
          fallocate(spool, 0, 0, 8192) == 0 && lseek(spool, 0, SEEK_SET) == 0);
    return 0;
}

static int network_of_a_worker(void)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;

    CHECK(connect_to(open_port) == 0);
    if (sb.landlock >= 4) {
        CHECK(connect_to(other_port) == EACCES);
        CHECK(connect_to(22) == EACCES);
    }
    CHECK(getaddrinfo("localhost", "80", &hints, &found) == 0);
    freeaddrinfo(found);
    if (sb.filters) {
        CHECK(socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EAFNOSUPPORT);
        CHECK(socket(AF_PACKET, SOCK_RAW, 0) < 0);
        CHECK(listen(listeners[0], 1) < 0);
    }
    return 0;
}

static void *run_thread(void *arg)
{
    *(int *)arg = 1;
    return NULL;
}

static int threads_of_a_worker(void)
{
    pthread_t thread;
    int ran = 0;

    CHECK(pthread_create(&thread, NULL, run_thread, &ran) == 0);
    CHECK(pthread_join(thread, NULL) == 0 && ran);
    return 0;
}

static int others_and_a_worker(void)
{
    char got[sizeof(secret)];
    struct iovec to = {got, sizeof(got)}, from = {(void *)(uintptr_t)secret, sizeof(secret)};
    char *const argv[] = {"true", NULL};

    if (!holds())
        return 0;
    CHECK(setuid(0) < 0 || geteuid() != 0 || sb.user.uid == 0);
    CHECK(process_vm_readv(getppid(), &to, 1, &from, 1, 0) < 0);
    CHECK(ptrace(PTRACE_ATTACH, getppid(), 0, 0) < 0);
    if (!sb.filters)
        return 0;
    CHECK(errno == ENOSYS);
    CHECK(kill(getppid(), 0) < 0 && errno == ENOSYS);
    CHECK(fork() < 0 && errno == ENOSYS);
    CHECK(vfork() < 0);
    CHECK(execve("/bin/true", argv, argv) < 0 && errno == ENOSYS);
    CHECK(mmap(NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
          MAP_FAILED);
    CHECK(syscall(SYS_bpf, 0, 0, 0) < 0 && errno == ENOSYS);
    CHECK(syscall(425, 1, 0) < 0 && errno == ENOSYS); /* io_uring_setup */
    CHECK(prctl(PR_SET_DUMPABLE, 1) < 0);
    return 0;
}

static int all_of_a_worker(void)
{
    int r = files_of_a_worker();

    if (r == 0)
        r = network_of_a_worker();
    if (r == 0)
        r = threads_of_a_worker();
    return r == 0 ? others_and_a_worker() : r;
}

static void test_worker(void **state)
{
    (void)state;
    assert_int_equal(inside(SANDBOX_WORKER, all_of_a_worker, NULL, 0), 0);
}

/* As the connector does: who connects to a socket that was there before. */
static int listener_of_a_worker(void)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    int fd = accept4(listeners[0], NULL, NULL, SOCK_CLOEXEC);

    CHECK(fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0);
    CHECK(who.uid == getuid() || who.uid == 0);
    return 0;
}

static void test_worker_serves_a_unix_socket(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int mine = listeners[0], client;

    (void)state;
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/s", dir);
    listeners[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listeners[0], (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(listeners[0], 1), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(inside(SANDBOX_WORKER, listener_of_a_worker, NULL, 0), 0);
    close(client);
    close(listeners[0]);
    unlink(a.sun_path);
    listeners[0] = mine;
}

/* ---- what is refused is seen ---- */

static int refused_twice(void)
{
    CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 && ptrace(PTRACE_TRACEME, 0, 0, 0) < 0);
    CHECK(socket(AF_UNIX, SOCK_STREAM, 0) < 0); /* quietly */
    return 0;
}

static void test_a_refusal_is_logged_once(void **state)
{
    char log[4096], line[64];
    const char *first;

    (void)state;
    if (!sb.filters)
        skip();
    assert_int_equal(inside(SANDBOX_WORKER, refused_twice, log, sizeof(log)), 0);
    snprintf(line, sizeof(line), "refuses a system call number=%d\n", SYS_ptrace);
    first = strstr(log, line);
    assert_non_null(first);
    assert_null(strstr(first + 1, "refuses a system call"));
}

static int *volatile nowhere; /* (volatile: compilers drop what cannot be) */

static int crash(void)
{
    *nowhere = 1;
    return 0;
}

static int end_by_abort(void)
{
    abort();
}

/* An assertion, a crash: the supervisor sees the signal. */
static void test_crashes_stay_crashes(void **state)
{
    (void)state;
#ifdef SP_SANITIZE
    skip(); /* the sanitizers report them in their own way */
#endif
    assert_int_equal(inside(SANDBOX_WORKER, end_by_abort, NULL, 0), -SIGABRT);
    assert_int_equal(inside(SANDBOX_TASK, crash, NULL, 0), -SIGSEGV);
}

/* ---- the others ---- */

static int nothing_to_open(void)
{
    if (sb.landlock || sb.filters)
        CHECK(open("/etc/hosts", O_RDONLY) < 0);
    if (sb.filters) {
        CHECK(socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == ENOSYS);
        CHECK(fork() < 0);
    }
    CHECK(pwrite(spool, "x", 1, 0) == 1);
    return 0;
}

static void test_task_and_notifier(void **state)
{
    (void)state;
    assert_int_equal(inside(SANDBOX_TASK, nothing_to_open, NULL, 0), 0);
    assert_int_equal(inside(SANDBOX_NOTIFIER, nothing_to_open, NULL, 0), 0);
}

static int observes(void)
{
    char got[sizeof(secret)], path[64];
    struct iovec to = {got, sizeof(got)}, from = {(void *)(uintptr_t)secret, sizeof(secret)};

    CHECK(process_vm_readv(getppid(), &to, 1, &from, 1, 0) == sizeof(secret));
    CHECK(strcmp(got, secret) == 0);
    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)getppid());
    CHECK(open(path, O_RDONLY) >= 0);
    snprintf(path, sizeof(path), "/proc/%d/mem", (int)getppid());
    CHECK(!sb.filters || open(path, O_RDWR) < 0);
    CHECK(!sb.filters || process_vm_writev(getppid(), &to, 1, &from, 1, 0) < 0);
    CHECK(!sb.filters || ptrace(PTRACE_ATTACH, getppid(), 0, 0) < 0);
    CHECK(!sb.filters || socket(AF_INET, SOCK_STREAM, 0) < 0);
    CHECK(!sb.filters || fork() < 0);
    return 0;
}

static void test_observer(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(inside(SANDBOX_OBSERVER, observes, NULL, 0), 0);
}

/* ---- a leak ---- */

static int leaks(void)
{
    for (int i = 0; i < 64; i++) {
        char *volatile p = malloc(1 << 20);

        if (!p)
            return 0;
        memset(p, 1, 1 << 20);
    }
    NEVER;
}

static void test_memory_has_an_end(void **state)
{
    (void)state;
#ifdef SP_SANITIZE
    skip();
#endif
    sb.worker_memory = 32 << 20;
    assert_int_equal(inside(SANDBOX_WORKER, leaks, NULL, 0), 0);
    sb.worker_memory = 0;
}

static int stays_who_it_is(void)
{
    CHECK(geteuid() == (sb.user.set ? NOBODY : geteuid()));
    CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
    CHECK(open("/etc/hosts", O_RDONLY) >= 0);
    return 0;
}

static void test_off(void **state)
{
    (void)state;
    sb.on = false;
    assert_int_equal(inside(SANDBOX_WORKER, stays_who_it_is, NULL, 0), 0);
    sb.on = true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_rights),
        cmocka_unit_test(test_worker),
        cmocka_unit_test(test_worker_serves_a_unix_socket),
        cmocka_unit_test(test_a_refusal_is_logged_once),
        cmocka_unit_test(test_crashes_stay_crashes),
        cmocka_unit_test(test_task_and_notifier),
        cmocka_unit_test(test_observer),
        cmocka_unit_test(test_memory_has_an_end),
        cmocka_unit_test(test_off),
    };

    log_init(LOG_ERR, "test");
    return cmocka_run_group_tests(tests, setup, teardown);
}
