"""A worker that is killed at the N-th lock or unlock of an operation: breakpoints by ptrace from outside, x86-64.

A kill at the entry of shm_lock falls between two locked sections; one at the entry of shm_unlock undoes the section
that was about to end."""

import bisect
import collections
import ctypes
import functools
import os
import signal
import struct
import threading

from . import SLOW
from .inject import ATTACH, AVAILABLE, CONT, DETACH, GETREGS, SETREGS, Memory, Regs, ptrace     # noqa: F401

SINGLESTEP = 9
WALL = 0x40000000
HANGS = 20                      # seconds after which an operation is not awaited any more
INT3 = b"\xcc"
WHERE = ("shm_lock", "shm_unlock")

# outcome: what the operation gave, 0 or its errno. killed: whether the point was reached. points: those that were, the
# last of them the one of the kill, as "shm_lock in rename_finish".
Stepped = collections.namedtuple("Stepped", "outcome killed points")


class Symbols:
    """The functions of a program, by its ELF symbol table."""

    def __init__(self, path):
        with open(path, "rb") as f:
            data = f.read()
        assert data[:6] == b"\x7fELF\x02\x01", f"{path} is no ELF program of 64 bits"
        kind, = struct.unpack_from("<H", data, 16)
        self.is_pie = kind == 3
        offset, = struct.unpack_from("<Q", data, 40)
        size, count = struct.unpack_from("<HH", data, 58)
        sections = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]
        table = next((s for s in sections if s[1] == 2), None)      # SHT_SYMTAB
        assert table, f"{path} has no symbols: it is stripped"
        strings = sections[table[6]][4]
        self.at = {}
        for at in range(table[4], table[4] + table[5], 24):
            name, info, _, _, value, _ = struct.unpack_from("<IBBHQQ", data, at)
            if info & 15 == 2 and value:                            # STT_FUNC
                end = data.index(b"\0", strings + name)
                self.at[data[strings + name:end].decode()] = value
        for name in WHERE:
            assert name in self.at, f"{path} has no function {name}"
        self.sorted = sorted((value, name) for name, value in self.at.items())

    def name(self, address):
        i = bisect.bisect(self.sorted, (address, "\x7f")) - 1
        return self.sorted[i][1] if i >= 0 else "?"


@functools.lru_cache(maxsize=2)
def _symbols(path, _identity):
    return Symbols(path)


def symbols_of(pid):
    path = f"/proc/{pid}/exe"
    stat = os.stat(path)
    return _symbols(os.readlink(path), (stat.st_ino, stat.st_mtime_ns))


def base_of(pid):
    exe = os.readlink(f"/proc/{pid}/exe")
    with open(f"/proc/{pid}/maps") as f:
        for line in f:
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5].rstrip("\n") == exe and int(fields[2], 16) == 0:
                return int(fields[0].partition("-")[0], 16)
    raise AssertionError(f"{exe} is not mapped in {pid}")


class _Tracee:
    def __init__(self, pid, where=WHERE):
        self.pid, self.ended, self.told = pid, False, False
        self.symbols = symbols_of(pid)
        self.base = base_of(pid) if self.symbols.is_pie else 0
        self.at = {self.base + self.symbols.at[name]: name for name in where}
        ptrace(ATTACH, pid)
        self._wait()
        self.told = False       # that was of the attaching
        self.memory = Memory(pid)
        self.code = {at: self.memory.peek(at, 1) for at in self.at}

    def _go_on(self, request, sig=0):
        """-> the signal that it stops with, 0: it has ended."""
        ptrace(request, self.pid, None, sig)
        return self._wait()

    def _wait(self):
        _, status = os.waitpid(self.pid, WALL)
        if not os.WIFSTOPPED(status):
            self.ended = True
            return 0
        if os.WSTOPSIG(status) == signal.SIGSTOP:
            self.told = True
        return os.WSTOPSIG(status)

    def _regs(self):
        regs = Regs()
        ptrace(GETREGS, self.pid, None, ctypes.addressof(regs))
        return regs

    def _step_over(self, regs, at):
        self.memory.poke(at, self.code[at])
        regs.rip = at
        ptrace(SETREGS, self.pid, None, ctypes.addressof(regs))
        while self._go_on(SINGLESTEP) not in (0, signal.SIGTRAP):
            pass                # a SIGSTOP of ours; the workers read their other signals from a descriptor
        self.memory.poke(at, INT3)

    def run(self, n):
        """Until it is told to stop; or until the n-th point (0: none), where it is killed. -> points, killed"""
        points, sig = [], 0
        for at in self.at:
            self.memory.poke(at, INT3)
        while True:
            sig = self._go_on(CONT, sig)
            assert not self.ended, f"the worker has ended by itself, after {points}"
            if sig == signal.SIGTRAP:
                regs, sig = self._regs(), 0
                at = regs.rip - 1
                if at in self.at:
                    caller, = struct.unpack("<Q", self.memory.peek(regs.rsp, 8))
                    function = self.symbols.name(caller - 1 - self.base)
                    points.append(f"{self.at[at]} in {function}")
                    if self.is_last(points, n):
                        self.kill()
                        return points, True
                    self.reached(at, regs.rsi, caller, function)
                    self._step_over(regs, at)
                    assert not self.ended
                else:
                    self.returned(regs, at)
            if self.told:
                self._detach()
                return points, False

    def is_last(self, points, n):
        return len(points) == n

    def reached(self, at, mutex, caller, function):
        """A point: the function at `at` has been called with this lock, in `function`, and will return to `caller`."""

    def returned(self, regs, at):
        raise AssertionError(f"an int3 of the program's own at {at:#x}")

    def _detach(self):
        for at, code in self.code.items():
            self.memory.poke(at, code)
        self.memory.close()
        ptrace(DETACH, self.pid)
        self.ended = True       # for us

    def kill(self):
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
            while not self.ended:
                self._wait()
        self.memory.close()


class _Crashing(_Tracee):
    """It dies of a signal of its own, at the end of a section of this function."""

    def __init__(self, pid, function):
        super().__init__(pid, WHERE[1:])
        self.function = function

    def is_last(self, points, n):
        return points[-1] == f"{WHERE[1]} in {self.function}"

    def kill(self):
        while not self.ended:
            self._go_on(CONT, signal.SIGSEGV)
        self.memory.close()


class _Compared(_Tracee):
    """At the end of each section under shm->meta: what a rollback would give is what was there at its start."""

    MUTEX = 64 + 65536                  # struct shm_mutex: pthread_mutex_t, rank, log_used, two counters, log
    RANK, LOG_USED, LOG = 40, 44, 64
    CHUNK = 1 << 16

    def __init__(self, pid):
        super().__init__(pid)
        self.segment = self.start = None
        self.before = None              # the segment at the start of the section
        self.other = []                 # (function, offset in the segment) of each word that would be otherwise

    def _find_segment(self, mutex):
        with open(f"/proc/{self.pid}/maps") as f:
            for line in f:
                at, _, _, _, inode, *_ = line.split()
                first, last = (int(x, 16) for x in at.split("-"))
                if first <= mutex < last:
                    break
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            name = f"/proc/{self.pid}/fd/{fd}"
            if os.stat(name).st_ino == int(inode):
                self.segment, self.start = os.open(name, os.O_RDONLY), first
                return

    def _image(self):
        """{offset: bytes} of all that is no hole."""
        image, at, size = {}, 0, os.fstat(self.segment).st_size
        while at < size:
            try:
                at = os.lseek(self.segment, at, os.SEEK_DATA)
            except OSError:             # a hole up to the end
                break
            end = os.lseek(self.segment, at, os.SEEK_HOLE)
            for i in range(at // self.CHUNK, (end - 1) // self.CHUNK + 1):
                image[i * self.CHUNK] = os.pread(self.segment, self.CHUNK, i * self.CHUNK)
            at = end
        return image

    def _undo(self, image, log):
        end = len(log)
        while end:
            n, padded, at = struct.unpack_from("<IIQ", log, end - 16)
            end -= 16 + padded
            for i in range(at // self.CHUNK, (at + n - 1) // self.CHUNK + 1 if n else 0):
                low, high = max(at, i * self.CHUNK), min(at + n, (i + 1) * self.CHUNK)
                chunk = bytearray(image[i * self.CHUNK])
                chunk[low % self.CHUNK:low % self.CHUNK + high - low] = log[end + low - at:end + high - at]
                image[i * self.CHUNK] = bytes(chunk)

    def _compare(self, before, mutex, function):
        used, = struct.unpack("<I", self.memory.peek(mutex + self.LOG_USED, 4))
        after = self._image()
        self._undo(after, self.memory.peek(mutex + self.LOG, used) if used else b"")
        own = range(mutex - self.start, mutex - self.start + self.MUTEX)
        for at, chunk in after.items():
            old = before.get(at, bytes(len(chunk)))
            if chunk != old:
                self.other += [(function, at + i) for i in range(0, len(chunk), 4)
                               if chunk[i:i + 4] != old[i:i + 4] and at + i not in own]

    def reached(self, at, mutex, caller, function):
        if struct.unpack("<I", self.memory.peek(mutex + self.RANK, 4)) != (1,):
            return
        if self.at[at] == WHERE[0]:
            if self.segment is None:
                self._find_segment(mutex)
            self.code[caller] = self.memory.peek(caller, 1)
            self.memory.poke(caller, INT3)
        elif self.before is not None:
            self._compare(self.before, mutex, function)
            self.before = None

    def returned(self, regs, at):
        """shm_lock: nobody else is in a section now."""
        self.memory.poke(at, self.code.pop(at))
        regs.rip, self.before = at, self._image()
        ptrace(SETREGS, self.pid, None, ctypes.addressof(regs))


def step(pid, n, operation, where=WHERE):
    """Runs the operation in a thread, and the worker meanwhile from point to point, up to the n-th. The operation
    must be another process's work: here all would wait for the worker."""
    return _run(_Tracee(pid, where), n, operation)


def crash(pid, function, operation):
    """The worker crashes at the end of the first section of this function; the operation lasts until then."""
    assert _run(_Crashing(pid, function), 0, operation).killed


def compare(pid, operation):
    """The same without a kill. -> what step() tells; where a rollback would not give what was there before"""
    tracee = _Compared(pid)
    return _run(tracee, 0, operation), tracee.other


def _run(tracee, n, operation):
    outcome, pidfd = [], os.pidfd_open(tracee.pid)

    def run():
        try:
            operation()
            outcome.append(0)
        except OSError as e:
            outcome.append(e.errno)
        except BaseException as e:
            outcome.append(e)
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
        except ProcessLookupError:
            pass

    thread = threading.Thread(target=run, daemon=True)
    points, killed = (), False
    try:
        thread.start()
        points, killed = tracee.run(n)
    except BaseException:
        tracee.kill()
        raise
    finally:
        thread.join(HANGS * SLOW)
        os.close(pidfd)
    assert outcome, f"the operation hangs; killed={killed} after {points}"
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return Stepped(outcome[0], killed, points)
