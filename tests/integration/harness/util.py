"""Waiting for conditions, running programs with a time limit, looking at processes."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import tempfile
import time

from . import SLOW

MARK = "SPTEST_MARK"                # not read by the daemon: tells the processes of one mount
_ENV_KEEP = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "LLVM_SYMBOLIZER_PATH",
             "ASAN_SYMBOLIZER_PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS",
             "TSAN_OPTIONS", "LLVM_PROFILE_FILE")


# How a test makes a worker crash. (A sanitizer reports a SIGSEGV as an error of the program.)
CRASH_SIGNAL = signal.SIGABRT if "ASAN_OPTIONS" in os.environ else signal.SIGSEGV


def short_tmp():
    """Where temporary directories go that hold Unix sockets, whose paths are short."""
    path = tempfile.gettempdir()
    return path if len(path) <= 48 else "/tmp"


def clean_env(**more):
    """A small, known environment: nothing of the machine's own AWS or STATE settings."""
    env = {n: os.environ[n] for n in _ENV_KEEP if n in os.environ}
    env.update({n: str(v) for n, v in more.items()})
    return env


def wait_until(condition, timeout=10.0, what="the condition", every=0.01):
    """Waits until condition() is true, and returns what it gave."""
    deadline = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout * SLOW:.0f} s")
        time.sleep(every)


def free_port():
    """A port outside the range that outgoing connections use, so that a server killed and started
    again finds it free."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        low, high = map(int, f.read().split())
    outside = [p for p in range(10000, 65000) if not low <= p <= high] or list(range(low, high))
    while True:
        port = random.SystemRandom().choice(outside)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Result:
    def __init__(self, args, code, out, err, seconds):
        self.args, self.code, self.out, self.err, self.seconds = args, code, out, err, seconds

    def __repr__(self):
        return (f"{self.args} -> {self.code} after {self.seconds:.1f} s\n"
                f"--- stdout\n{self.out}\n--- stderr\n{self.err}")


def run(args, timeout=60.0, check=True, env=None, cwd=None, input=None):
    """Runs a program (a string goes to sh) in a process group of its own, which is killed at the
    end of the time limit. With check, a non-zero exit fails the test, showing the output."""
    if isinstance(args, str):
        args = ["sh", "-c", args]
    args = [str(a) for a in args]
    start = time.monotonic()
    proc = subprocess.Popen(args, stdin=subprocess.PIPE if input is not None else
                            subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=env, cwd=cwd, start_new_session=True)
    try:
        out, err = proc.communicate(input, timeout * SLOW)
    except subprocess.TimeoutExpired:
        os.killpg(proc.pid, signal.SIGKILL)
        out, err = proc.communicate()
        raise AssertionError(f"{args} did not end within {timeout * SLOW:.0f} s\n"
                             f"{out.decode(errors='replace')}\n{err.decode(errors='replace')}")
    result = Result(args, proc.returncode, out.decode(errors="replace"),
                    err.decode(errors="replace"), time.monotonic() - start)
    if check:
        assert result.code == 0, repr(result)
    return result


def spawn(args, **kwargs):
    """A program in the background, in a process group of its own; stop it with finish()."""
    if isinstance(args, str):
        args = ["sh", "-c", args]
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    kwargs.setdefault("stdout", subprocess.PIPE)
    kwargs.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen([str(a) for a in args], start_new_session=True, **kwargs)


def finish(proc, timeout=60.0, check=True):
    """Waits for a program of spawn(); kills it at the end of the time limit."""
    start = time.monotonic()
    try:
        out, err = proc.communicate(timeout=timeout * SLOW)
    except subprocess.TimeoutExpired:
        where = stack(proc.pid)
        os.killpg(proc.pid, signal.SIGKILL)
        out, err = proc.communicate()
        raise AssertionError(f"{proc.args} did not end within {timeout * SLOW:.0f} s; {where}\n"
                             f"{(out or b'').decode(errors='replace')}\n"
                             f"{(err or b'').decode(errors='replace')}")
    result = Result(proc.args, proc.returncode, (out or b"").decode(errors="replace"),
                    (err or b"").decode(errors="replace"), time.monotonic() - start)
    if check:
        assert result.code == 0, repr(result)
    return result


# -- processes


def stat_of(pid):
    """(state letter, parent's pid, start time) or None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0].decode(), int(fields[1]), int(fields[19])


def alive(pid):
    """Exists and is no zombie."""
    stat = stat_of(pid)
    return stat is not None and stat[0] not in "ZX"


def write_and_close(path, data, flags=os.O_TRUNC):
    """Creates the file if need be. Of what fails the first error is raised, that of close too."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    try:
        while data:
            data = data[os.write(fd, data):]
    except BaseException:
        try:
            os.close(fd)
        except OSError:
            pass            # the first error is the one to tell
        raise
    os.close(fd)


def children(pid):
    out = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = stat_of(name)
            if stat and stat[1] == pid and stat[0] not in "ZX":
                out.append(int(name))
    return sorted(out)


def marked(mark, session=None):
    """Living processes that carry the mark in the environment they were started with, or belong to
    the session."""
    needle = f"{MARK}={mark}".encode()
    out = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as f:
                found = needle in f.read().split(b"\0")
            if (found or session == os.getsid(int(name))) and alive(name):
                out.append(int(name))
        except OSError:
            continue
    return sorted(out)


def stack(pid):
    """Where a process waits in the kernel, for messages."""
    try:
        with open(f"/proc/{pid}/wchan") as f:
            return f"pid {pid} waits in {f.read() or '?'}"
    except OSError:
        return f"pid {pid} is gone"


def kill(pid, sig=signal.SIGKILL):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


# -- mounts


def mount_entry(path):
    """(minor number, type, source) of the topmost mount on exactly this path, or None."""
    path = os.fspath(path)
    found = None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
        for line in f:
            left, _, right = line.partition(" - ")
            fields = left.split(" ")
            point = fields[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
            if point == path:
                kind, source = right.split(" ")[:2]
                found = (int(fields[2].split(":")[1]), kind, source)
    return found


def mount_count(path):
    path = os.fspath(path)
    with open("/proc/self/mountinfo") as f:
        return sum(line.split(" ")[4] == path for line in f)


def abort_fuse(minor):
    """Ends a FUSE connection: everybody waiting in it gets an error. False if that is not to be
    had on this machine."""
    try:
        with open(f"/sys/fs/fuse/connections/{minor}/abort", "w") as f:
            f.write("1")
        return True
    except OSError:
        return False


def unmount(path):
    """Takes away every mount on this path, whatever state they are in."""
    for _ in range(8):
        entry = mount_entry(path)
        if entry is None:
            return
        if entry[1].startswith("fuse"):
            abort_fuse(entry[0])
        subprocess.run(["umount", "-l", os.fspath(path)], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=20)


@contextlib.contextmanager
def shared_mount(path):
    """A tmpfs at `path`, whose mounts other mount namespaces see."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True)
    subprocess.run(["mount", "--make-shared", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)
