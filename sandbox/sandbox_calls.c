/* The lists. They hold what glibc and musl, libcurl, mbedTLS, libsodium and our own code need, on
 * x86-64 and aarch64; found with strace and by reading. A call that is missing here shows in the
 * log (sandbox_filter.h), and a test fails that finds such a line.
 *
 * Never: to execute a program, to start a process, to trace or signal another one, to mount, to
 * load anything into the kernel, io_uring. */
#include "sandbox/sandbox_calls.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

#define LIST_END                                                                                   \
    {                                                                                              \
        -1, -1, 0, 0, 0                                                                            \
    }
#define CALL(name)                                                                                 \
    {                                                                                              \
        SYS_##name, -1, 0, 0, 0                                                                    \
    }
/* if the argument has this value */
#define CALL_IF(name, arg, value)                                                                  \
    {                                                                                              \
        SYS_##name, arg, UINT32_MAX, value, 0                                                      \
    }
/* if these bits of the argument have this value */
#define CALL_BITS(name, arg, mask, value)                                                          \
    {                                                                                              \
        SYS_##name, arg, mask, value, 0                                                            \
    }
/* not executed, and not worth a log line: callers do without. Rules that permit some arguments come
 * first: the base list is the last one (sandbox.c). */
#define QUIETLY(name, error)                                                                       \
    {                                                                                              \
        SYS_##name, -1, 0, 0, error                                                                \
    }

#define NOT_EXEC(name) CALL_BITS(name, 2, PROT_EXEC, 0)

/* Tables. */
/* clang-format off */

const struct sandbox_rule sandbox_calls_base[] = {
    /* open descriptors */
    CALL(read),
    CALL(write),
    CALL(readv),
    CALL(writev),
    CALL(pread64),
    CALL(pwrite64),
    CALL(preadv),
    CALL(pwritev),
    CALL(close),
    CALL(close_range),
    CALL(dup),
    CALL(dup3),
    CALL(fcntl),
    CALL(fstat),
    CALL(lseek),
    CALL(eventfd2),
    CALL(pipe2),
    CALL(ppoll),
    CALL(epoll_create1),
    CALL(epoll_ctl),
    CALL(epoll_pwait),
#ifdef SYS_epoll_pwait2
    CALL(epoll_pwait2),
#endif
    CALL(pselect6),
    CALL(timerfd_create),
    CALL(timerfd_settime),
    CALL(signalfd4),
    CALL_IF(ioctl, 1, FIONBIO),
    CALL_IF(ioctl, 1, FIONREAD),
    QUIETLY(ioctl, ENOTTY), /* isatty */
    /* memory */
    CALL(brk),
    NOT_EXEC(mmap),
    CALL(munmap),
    CALL(mremap),
    NOT_EXEC(mprotect),
    CALL(madvise),
    CALL(mlock),
#ifdef SYS_mlock2
    CALL(mlock2),
#endif
    CALL(munlock),
    CALL(mincore),
    CALL(membarrier),
    /* time and scheduling */
    CALL(clock_gettime),
    CALL(clock_getres),
    CALL(clock_nanosleep),
    CALL(nanosleep),
    CALL(gettimeofday),
    CALL(sched_yield),
    CALL(sched_getaffinity),
    CALL(getcpu),
    /* itself */
    CALL(getpid),
    CALL(gettid),
    CALL(getppid),
    CALL(getuid),
    CALL(geteuid),
    CALL(getgid),
    CALL(getegid),
    CALL(getrandom),
    CALL(getrusage),
    CALL(times),
    CALL(sysinfo),
    CALL(uname),
    CALL_IF(prlimit64, 0, 0),
    CALL_IF(prlimit64, 0, SANDBOX_SELF),
    CALL_IF(prctl, 0, PR_SET_NAME),
    CALL_IF(prctl, 0, PR_SET_VMA),
    QUIETLY(prctl, EINVAL),
    /* threads that are there, signals, the end */
    CALL(futex),
    CALL(set_robust_list),
    CALL(rseq),
    CALL(rt_sigaction),
    CALL(rt_sigprocmask),
    CALL(rt_sigreturn),
    CALL(rt_sigtimedwait),
    CALL(sigaltstack),
    CALL_IF(tgkill, 0, SANDBOX_SELF), /* abort */
    CALL(restart_syscall),
    CALL(exit),
    CALL(exit_group),
#ifdef __x86_64__ /* the older ones, which new architectures do not have */
    CALL(dup2),
    CALL(poll),
    CALL(select),
    CALL(epoll_wait),
    CALL(time),
#endif
    LIST_END,
};

/* clone3 has its flags in memory, where a filter cannot look: without it libraries use clone. */
const struct sandbox_rule sandbox_calls_threads[] = {
    CALL_BITS(clone, 0, CLONE_THREAD | CLONE_VM | CLONE_SIGHAND,
              CLONE_THREAD | CLONE_VM | CLONE_SIGHAND),
    QUIETLY(clone3, ENOSYS),
    CALL(set_tid_address),
    LIST_END,
};

#define FOR_READING(name, arg) CALL_BITS(name, arg, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY)

const struct sandbox_rule sandbox_calls_read[] = {
    FOR_READING(openat, 2),
    CALL(newfstatat),
    CALL(statx),
    CALL(statfs),
    CALL(fstatfs),
    CALL(faccessat),
#ifdef SYS_faccessat2
    CALL(faccessat2),
#endif
    CALL(readlinkat),
    CALL(getdents64),
    CALL(getcwd),
    CALL_BITS(mmap, 2, PROT_WRITE, 0), /* the C library loads modules that find host names */
#ifdef __x86_64__
    FOR_READING(open, 1),
    CALL(stat),
    CALL(lstat),
    CALL(access),
    CALL(readlink),
#endif
    LIST_END,
};

const struct sandbox_rule sandbox_calls_network[] = {
    CALL_IF(socket, 0, AF_INET),
    CALL_IF(socket, 0, AF_INET6),
    CALL_IF(socket, 0, AF_NETLINK), /* getaddrinfo asks for the addresses of this host */
    QUIETLY(socket, EAFNOSUPPORT),  /* name service daemons, which libraries do without */
    CALL_IF(socketpair, 0, AF_UNIX),
    CALL(connect),
    CALL(bind), /* of a netlink socket; Landlock refuses TCP */
    CALL(sendto),
    CALL(sendmsg),
    CALL(sendmmsg),
    CALL(recvfrom),
    CALL(recvmsg),
    CALL(recvmmsg),
    CALL(shutdown),
    CALL(getsockname),
    CALL(getpeername),
    CALL(getsockopt),
    CALL(setsockopt),
    CALL_IF(ioctl, 1, SIOCOUTQ),
    CALL_IF(ioctl, 1, SIOCGIFINDEX),
    CALL_IF(ioctl, 1, SIOCGIFNAME),
    LIST_END,
};

const struct sandbox_rule sandbox_calls_serve[] = {
    CALL(accept4),
    CALL(accept),
    CALL(fallocate),
    CALL(ftruncate),
    CALL(copy_file_range),
    CALL(splice),
    CALL(tee),
    CALL(vmsplice),
    CALL(sendfile),
    CALL(preadv2),
    CALL(pwritev2),
    CALL(fadvise64),
    CALL(fsync),
    CALL(fdatasync),
    CALL(sync_file_range),
    LIST_END,
};

const struct sandbox_rule sandbox_calls_observe[] = {
    CALL(process_vm_readv),
    LIST_END,
};
