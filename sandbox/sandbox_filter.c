/* Writes the filter's program by hand. libseccomp would do it too; but it is a library more in each
 * process, it takes milliseconds where these 200 lines take microseconds, and what is needed here,
 * a list for two architectures, is short. (The kernel evaluates a list without looking at arguments
 * once for each number and keeps the result, so its length costs nothing.)
 *
 * A refusal is a SIGSYS, whose handler logs the number and lets the call return ENOSYS. A thread
 * that blocks the signal is killed by it, and with it the process. */
#include "sandbox/sandbox_filter.h"

#include <assert.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/log.h"

#if defined(__x86_64__)
#define ARCH_OURS AUDIT_ARCH_X86_64
#define ARCH_NUMBERS 0x40000000u /* from here on: x32 */
#elif defined(__aarch64__)
#define ARCH_OURS AUDIT_ARCH_AARCH64
#define ARCH_NUMBERS UINT32_MAX
#else
#define ARCH_OURS 0u
#define ARCH_NUMBERS 0u
#endif

#define INSNS_HEAD 8
#define INSNS_RULE 6 /* of one rule, at most */
#define INSNS_MAX (INSNS_HEAD + INSNS_RULE * SANDBOX_RULES_MAX)
#define NUMBERS_TOLD 512

struct filter_program {
    struct sock_filter insn[INSNS_MAX];
    unsigned short n;
};

static void emit(struct filter_program *p, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
    assert(p->n < INSNS_MAX);
    p->insn[p->n++] = (struct sock_filter){.code = code, .jt = yes, .jf = no, .k = k};
}

static void emit_load(struct filter_program *p, size_t offset)
{
    emit(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void emit_number(struct filter_program *p)
{
    emit_load(p, offsetof(struct seccomp_data, nr));
}

static void emit_return(struct filter_program *p, uint32_t what)
{
    emit(p, BPF_RET | BPF_K, what, 0, 0);
}

/* Calls of another architecture (int $0x80) have other numbers. */
static void emit_head(struct filter_program *p)
{
    emit_load(p, offsetof(struct seccomp_data, arch));
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, ARCH_OURS, 1, 0);
    emit_return(p, SECCOMP_RET_KILL_PROCESS);
    emit_number(p);
    emit(p, BPF_JMP | BPF_JGE | BPF_K, ARCH_NUMBERS, 0, 1);
    emit_return(p, SECCOMP_RET_KILL_PROCESS);
}

/* Begins and ends with the call's number loaded. */
static void emit_rule(struct filter_program *p, const struct sandbox_rule *r)
{
    uint32_t decision = r->error ? SECCOMP_RET_ERRNO | (uint32_t)r->error : SECCOMP_RET_ALLOW;
    uint32_t value = r->value == SANDBOX_SELF ? (uint32_t)getpid() : r->value;

    if (r->arg < 0) {
        emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)r->number, 0, 1);
        emit_return(p, decision);
        return;
    }
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)r->number, 0, 5);
    /* both architectures store the lower half first */
    emit_load(p, offsetof(struct seccomp_data, args) + sizeof(uint64_t) * (size_t)r->arg);
    emit(p, BPF_ALU | BPF_AND | BPF_K, r->mask, 0, 0);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    emit_return(p, decision);
    emit_number(p);
}

/* ---- what is refused ---- */

static atomic_bool told[NUMBERS_TOLD];

static void let_return(ucontext_t *context, long result)
{
#if defined(__x86_64__)
    context->uc_mcontext.gregs[REG_RAX] = result;
#elif defined(__aarch64__)
    context->uc_mcontext.regs[0] = (unsigned long)result;
#else
    (void)context;
    (void)result;
#endif
}

/* Runs inside the refused call, so there is nothing that it could interrupt but that call's
 * caller; log_err uses neither heap nor locks. */
static void on_refused(int sig, siginfo_t *info, void *context)
{
    unsigned number = (unsigned)info->si_syscall;
    int before = errno;

    (void)sig;
    if (number >= NUMBERS_TOLD || !atomic_exchange(&told[number], true))
        log_err("the sandbox refuses a system call number=%u", number);
    let_return(context, -ENOSYS);
    errno = before;
}

static int handle_refusals(void)
{
    struct sigaction sa = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigset_t set;

    sigemptyset(&sa.sa_mask);
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    if (sigaction(SIGSYS, &sa, NULL) < 0 || sigprocmask(SIG_UNBLOCK, &set, NULL) < 0)
        return -errno;
    return 0;
}

/* ---- installing ---- */

bool sandbox_filter_known(void)
{
    uint32_t action = SECCOMP_RET_TRAP;

    return ARCH_OURS && syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

int sandbox_filter_install(const struct sandbox_rule *const *lists, size_t n_lists)
{
    struct filter_program p = {.n = 0};
    struct sock_fprog prog = {.filter = p.insn};
    int r;

    emit_head(&p);
    for (size_t i = 0; i < n_lists; i++) {
        for (const struct sandbox_rule *rule = lists[i]; rule->number >= 0; rule++)
            emit_rule(&p, rule);
    }
    emit_return(&p, SECCOMP_RET_TRAP);
    prog.len = p.n;
    r = handle_refusals();
    if (r == 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog))
        r = -errno;
    return r;
}
