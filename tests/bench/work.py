"""The work that is measured, on the mount's side. Each function does one run and returns a dict."""

import filecmp
import os
import time

from cost import Cost, Peak, Strace
from harness import util


def forget_pages(path):
    """Takes the file out of the kernel's page cache, and nothing else, unlike drop_caches."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def dd(*args):
    return util.spawn(["dd", "bs=1M", "status=none", *args])


# -- large files


def read_whole(paths):
    """All at once, each by a dd of its own."""
    for p in [dd(f"if={path}", "of=/dev/null") for path in paths]:
        util.finish(p, 300)


def read(mount, names):
    paths = [mount.path / n for n in names]
    for path in paths:
        forget_pages(path)
    with Cost(mount) as cost:
        read_whole(paths)
    return cost.as_dict()


def write_whole(paths, source):
    """All at once, each by a dd of its own."""
    for p in [dd(f"if={source}", f"of={path}", "conv=fsync") for path in paths]:
        util.finish(p, 300)


def write(mount, names, source):
    with Cost(mount) as cost:
        write_whole([mount.path / n for n in names], source)
    return cost.as_dict()


def check_read(mount, names, source):
    for name in names:
        assert filecmp.cmp(mount.path / name, source, shallow=False), f"{name} has other bytes"


def check_written(s3, key, source):
    """The server's directory holds the objects as files."""
    assert filecmp.cmp(s3.root / s3.bucket / key, source, shallow=False), f"{key} has other bytes"


def peaks(mount, names, source):
    """Memory while files are read and one is written; and, since it is not timed, the bytes that
    are read are compared."""
    out = {}
    for name in names:
        forget_pages(mount.path / name)
    with Peak(mount) as peak:
        read_whole([mount.path / names[0]])
    out["read"] = {"pss": peak.pss, "memfds": peak.memfds}
    with Peak(mount) as peak:
        read_whole([mount.path / n for n in names])
    out["read3"] = {"pss": peak.pss, "memfds": peak.memfds}
    with Peak(mount) as peak:
        write_whole([mount.path / "written"], source)
    out["write"] = {"pss": peak.pss, "memfds": peak.memfds}
    return out


def syscalls(mount, name, source, scratch):
    """{"read": {call: times}, "write": ...} for one file each."""
    forget_pages(mount.path / name)
    with Strace(mount, scratch) as read_trace:
        read_whole([mount.path / name])
    with Strace(mount, scratch) as write_trace:
        write_whole([mount.path / "written"], source)
    return {"read": read_trace.calls, "write": write_trace.calls}


# -- small files


def read_small(mount, names, size):
    """open, read, close, one after the other."""
    paths = [os.fsencode(mount.path / n) for n in names]
    with Cost(mount) as cost:
        for path in paths:
            fd = os.open(path, os.O_RDONLY)
            data = os.read(fd, size + 1)
            os.close(fd)
            assert len(data) == size
    return cost.as_dict()


def open_again(path, size, times=5000):
    """open, read, close of one file. Microseconds: the median and the 99th of 100."""
    path, took = os.fsencode(path), []
    for _ in range(times + 100):
        start = time.perf_counter_ns()
        fd = os.open(path, os.O_RDONLY)
        data = os.read(fd, size + 1)
        os.close(fd)
        took.append(time.perf_counter_ns() - start)
        assert len(data) == size
    took = sorted(took[100:])
    return {"p50": took[times // 2] / 1000, "p99": took[times * 99 // 100] / 1000}


def create_small(mount, names, data):
    """create, write, fsync, close."""
    paths = [os.fsencode(mount.path / n) for n in names]
    with Cost(mount) as cost:
        for path in paths:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.write(fd, data)
            os.fsync(fd)
            os.close(fd)
    return cost.as_dict()


# -- listings


def list_directory(mount, name, options, count):
    """ls of a directory of a fresh mount, and again at once."""
    out = {}
    for key in ("cold", "again"):
        with Cost(mount) as cost:
            done = util.run(["ls", *options, mount.path / name], 120)
        lines = done.out.splitlines()
        found = len(lines) - (lines[0].startswith("total"))
        assert found == count, f"ls shows {found} of {count}"
        out[key] = cost.as_dict()
    return out


# -- rest


def role_of(mount, pid):
    """As stateproxyctl calls it."""
    if pid == mount.proc.pid:
        return "supervisor"
    workers = mount.worker_pids()
    return f"worker {workers.index(pid)}" if pid in workers else "notifier"


def idle(mount, seconds=3.0):
    with Cost(mount) as cost:
        time.sleep(seconds)
    return cost.as_dict()
