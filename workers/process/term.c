/* SIGTERM through a signalfd, which reports the sender. */
#include "workers/process/term.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

int term_watch(void)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

bool term_told(int fd)
{
    struct signalfd_siginfo si;

    return read(fd, &si, sizeof(si)) == sizeof(si) && si.ssi_pid == (uint32_t)getppid();
}
