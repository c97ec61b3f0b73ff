"""A supervisor that is killed at a chosen system call of a take-over, and all its processes with it: ptrace from
outside, x86-64. Its children are not traced.

    python syscalls.py PID NUMBER NTH OUT

traces PID from its next execve on; kills it at the entry of the NTH system call NUMBER of the take-over (0: of none), and
writes to OUT what there was, one number a line. The take-over, as it is seen here, begins where the new segment is made
(its memfd), and ends with the first process that is started after the old one has been emptied."""

import collections
import ctypes
import os
import pathlib
import signal
import subprocess
import sys

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from harness.inject import AVAILABLE, CONT, DETACH, GETREGS, Regs, ptrace      # noqa: E402, F401

SYSCALL, SEIZE = 24, 0x4206
SYSGOOD, TRACEEXEC, EVENT_EXEC = 1, 0x10, 4
WALL = 0x40000000
STOP = signal.SIGTRAP | 0x80
CLONES = {56, 57, 435}
SENDMSG, FALLOCATE, MEMFD_CREATE = 46, 285, 319


def stop_of(pid):
    """The status of its next stop; None: it has ended."""
    _, status = os.waitpid(pid, WALL)
    return status if os.WIFSTOPPED(status) else None


def trace(pid, number, nth, out):
    request, sig, at_exit, count = CONT, 0, False, collections.Counter()
    while True:
        status = stop_of(pid)
        if status is None:
            return
        if status >> 16 == EVENT_EXEC:
            request, sig, at_exit = SYSCALL, 0, False     # the end of execve comes next
        elif os.WSTOPSIG(status) != STOP:
            sig = os.WSTOPSIG(status)
        else:
            sig, at_exit = 0, not at_exit
            if not at_exit and note(pid, count, out, number, nth):
                request = DETACH
        try:
            ptrace(request, pid, None, sig)
        except ProcessLookupError:
            return                                      # it was killed
        if request == DETACH:
            return


def note(pid, count, out, number, nth):
    """-> whether it is over."""
    regs = Regs()
    ptrace(GETREGS, pid, None, ctypes.addressof(regs))
    at = regs.orig_rax
    if not count and at != MEMFD_CREATE:
        return False
    count[at] += 1
    print(at, file=out, flush=True)
    if at == number and count[at] == nth:
        os.kill(pid, signal.SIGKILL)
    return at in CLONES and FALLOCATE in count


def start(pid, number, nth, out):
    """Returns when it is traced."""
    p = subprocess.Popen([sys.executable, "-B", __file__, *map(str, (pid, number, nth, out))], stdout=subprocess.PIPE,
                         start_new_session=True)
    assert p.stdout.readline() == b"traced\n"
    return p


def points(out):
    """[(NUMBER, NTH)] of all that there was."""
    count, all_of_them = collections.Counter(), []
    for line in out.read_text().split():
        count[int(line)] += 1
        all_of_them.append((int(line), count[int(line)]))
    return all_of_them


# For Mount.wrap: [python, -c, LAUNCH, THIS FILE'S FOLDER, NUMBER, NTH, OUT, COMMAND...].
LAUNCH = """
import os, sys
sys.path.insert(0, sys.argv[1])
from harness import syscalls
syscalls.start(os.getpid(), *sys.argv[2:5])
os.execv(sys.argv[5], sys.argv[5:])
"""


def launched(number, nth, out):
    folder = str(pathlib.Path(__file__).parent.parent)
    return [sys.executable, "-B", "-c", LAUNCH, folder, str(number), str(nth), str(out)]


def main():
    pid, number, nth = map(int, sys.argv[1:4])
    ptrace(SEIZE, pid, None, SYSGOOD | TRACEEXEC)
    with open(sys.argv[4], "w") as out:
        print("traced", flush=True)
        trace(pid, number, nth, out)


if __name__ == "__main__":
    main()
