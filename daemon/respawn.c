/* The respawn policy. children.c applies it. */
#include "daemon/respawn.h"

#include <signal.h>
#include <sys/wait.h>

enum respawn_death respawn_judge(int status, bool by_watchdog)
{
    if (by_watchdog)
        return RESPAWN_CRASHED;
    if (WIFEXITED(status))
        return WEXITSTATUS(status) == 0 ? RESPAWN_KILLED : RESPAWN_CRASHED;
    switch (WTERMSIG(status)) {
    case SIGSEGV:
    case SIGBUS:
    case SIGABRT:
    case SIGILL:
    case SIGFPE:
    case SIGSYS:
        return RESPAWN_CRASHED;
    default:
        return RESPAWN_KILLED;
    }
}

void respawn_started(struct respawn *r, uint64_t now_ns)
{
    r->started_ns = now_ns;
}

/* 0, 100 ms, 200 ms, ... for nth = 0, 1, 2, ... */
static uint64_t back_off(unsigned nth, uint64_t max)
{
    uint64_t d = RESPAWN_FIRST_NS;

    if (nth == 0)
        return 0;
    while (--nth && d < max)
        d *= 2;
    return d < max ? d : max;
}

uint64_t respawn_delay(struct respawn *r, enum respawn_death death, uint64_t now_ns)
{
    uint64_t lived = now_ns - r->started_ns;

    if (lived >= RESPAWN_WELL_NS)
        r->crashes = 0;
    if (lived >= RESPAWN_EARLY_NS)
        r->early = 0;
    if (death == RESPAWN_CRASHED)
        return back_off(r->crashes++, RESPAWN_CRASH_MAX_NS);
    if (lived >= RESPAWN_EARLY_NS || r->early++ < RESPAWN_EARLY_KILLS)
        return 0;
    return back_off(r->early - RESPAWN_EARLY_KILLS, RESPAWN_KILL_MAX_NS);
}
