"""What a process inherits from whoever started it, put right for everything that the tests start.

A shell that is no terminal's starts `... &` with SIGINT and SIGQUIT ignored, nohup ignores SIGHUP, and what is ignored
stays so through exec: a `cp` that a test interrupts would never notice. The same goes for the umask, the language, the
time zone, limits, and descriptors. All of it is inherited, so it is enough to settle it here, in the process of pytest,
before anything is started.
"""

import os
import re
import resource
import signal
import sys
import time

UMASK = 0o022
SETTINGS = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}

# Of the machine's own S3, proxies, git and shells; and what else makes programs speak another language.
UNWANTED = re.compile(r"LANG|LANGUAGE|LC_.*|(.*_)?proxy|(.*_)?PROXY|AWS_.*|STATE_.*|GIT_.*|POSIXLY_CORRECT|TAR_OPTIONS"
                      r"|BASH_ENV|ENV|CDPATH|MAKEFLAGS|MFLAGS|MAKELEVEL")

ANY = resource.RLIM_INFINITY
# What the programs get; and the least to go on with, where the hard limit is low and is not ours to raise.
LIMITS = {
    resource.RLIMIT_NOFILE: (4096, 1024),
    resource.RLIMIT_STACK: (8 << 20, 8 << 20),
    resource.RLIMIT_CORE: (0, 0),           # workers are made to crash by the hundred
    resource.RLIMIT_FSIZE: (ANY, 1 << 30),
    resource.RLIMIT_DATA: (ANY, 8 << 30),
    resource.RLIMIT_AS: (ANY, 8 << 30),
    resource.RLIMIT_CPU: (ANY, 3600),
    resource.RLIMIT_NPROC: (ANY, 512),
}


def settle():
    """To be called as early as possible, in the main thread."""
    settle_signals()
    os.umask(UMASK)
    settle_environment()
    settle_descriptors()
    settle_limits()


def settle_signals():
    """Every signal has its default action in what is started from here, and none is blocked.

    Here, what was ignored is answered by doing nothing, which exec turns into the default: so a run under nohup still
    outlives its terminal. (Python itself ignores SIGPIPE and SIGXFSZ, and subprocess puts these back.)"""
    for sig in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(sig) == signal.SIG_IGN:
            signal.signal(sig, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def settle_environment():
    if sys.getfilesystemencoding() != "utf-8":      # too late to change here
        raise RuntimeError("file names are in UTF-8: start pytest with LC_ALL=C.UTF-8")
    for name in [n for n in os.environ if UNWANTED.fullmatch(n)]:
        del os.environ[name]
    os.environ.update(SETTINGS)
    time.tzset()


def settle_descriptors():
    """Python's own are not inherited as it is; this is about those that it inherited itself."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if fd > 2 and os.get_inheritable(fd):
                os.set_inheritable(fd, False)
        except OSError:                     # the one that listed them
            pass


def settle_limits():
    for limit, (wanted, least) in LIMITS.items():
        settle_limit(limit, wanted, least)


def settle_limit(limit, wanted, least):
    soft, hard = resource.getrlimit(limit)
    try:
        resource.setrlimit(limit, (wanted, highest(wanted, hard)))
        return
    except (ValueError, OSError):           # only root raises a hard limit
        resource.setrlimit(limit, (hard, hard))
    if highest(hard, least) != hard:
        raise RuntimeError(f"resource limit {limit} of `man getrlimit` is {hard}, and the tests need {least}")


def highest(*values):
    return ANY if ANY in values else max(values)
