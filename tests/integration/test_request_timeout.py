"""The kernel ends a connection one of whose requests is too old (fs.fuse.max_request_timeout): nothing
that waits for S3 or for a lock gets there. And an end that comes all the same is told from an unmount."""

import contextlib
import errno
import fcntl
import os
import sys
import time

import pytest

from harness import EX_ABORTED, PROGRAMS, SLOW, util
from harness.pattern import pattern

PYTHON = [sys.executable, "-B"]
SYSCTL = "/proc/sys/fs/fuse/max_request_timeout"
SECONDS = 20
LATEST = SECONDS + 15       # the kernel looks every 15 s


@contextlib.contextmanager
def max_request_timeout(seconds):
    """For connections that are made meanwhile; those of others that are made in these moments come to
    no harm: they answer in time too."""
    if not os.path.exists(SYSCTL):
        pytest.skip("this kernel has no request timeout")
    with open("/tmp/stateproxy-sysctl.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(SYSCTL) as f:
            before = f.read()
        try:
            with open(SYSCTL, "w") as f:
                f.write(str(seconds))
            yield
        finally:
            with open(SYSCTL, "w") as f:
                f.write(before)


STEPS = """
import errno, fcntl, os, sys, time
what, path = sys.argv[1], sys.argv[2]
fd = None
if what == "close":
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"content")
elif what in ("flock", "fcntl", "read"):
    fd = os.open(path, os.O_RDWR if what == "fcntl" else os.O_RDONLY)
print("ready", flush=True)
sys.stdin.readline()
start = time.monotonic()
try:
    {"close": lambda: os.close(fd),
     "flock": lambda: fcntl.flock(fd, fcntl.LOCK_EX),
     "fcntl": lambda: fcntl.lockf(fd, fcntl.LOCK_EX),
     "read": lambda: os.pread(fd, 4096, 5_000_000),
     "stat": lambda: os.stat(path),
     "mkdir": lambda: os.mkdir(path),
     "rename": lambda: os.rename(path, path + ".new"),
     "unlink": lambda: os.unlink(path)}[what]()
    how = "done"
except OSError as e:
    how = errno.errorcode.get(e.errno, str(e.errno))
print(how, round(time.monotonic() - start, 1), flush=True)
"""


@pytest.mark.slow
@pytest.mark.repeats
@pytest.mark.limit(150)
@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
def test_nothing_waits_for_longer_than_the_kernel_lets_it(mount, proxy, bucket, variant):
    m = mount(via=proxy, variant=variant, start=False, env={
        "STATEPROXY_S3_DEADLINE": "120s", "STATEPROXY_S3_ATTEMPT_TIMEOUT": "120s",
        "STATEPROXY_DIRECTORIES_TTL": "60s"})       # what is listed below needs no question before
    with max_request_timeout(SECONDS):
        m.start()
    assert f"fs.fuse.max_request_timeout={SECONDS} requests_end_after=15s" in m.log()
    for name in ("l.bin", "stat/x", "mkdir/x", "rename/r.bin", "unlink/u.bin"):
        bucket.put(m.key(name), pattern(10))
    bucket.put(m.key("big.bin"), pattern(10_000_000))
    holder = os.open(m.path / "l.bin", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    fcntl.lockf(holder, fcntl.LOCK_EX)
    for name in os.listdir(m.path):
        if name in ("mkdir", "rename", "unlink"):
            os.listdir(m.path / name)
    programs = {}       # (the kernel lets one at a time into a directory)
    for what, name in [("close", "c.bin"), ("flock", "l.bin"), ("fcntl", "l.bin"),
                       ("read", "big.bin"), ("stat", "stat/cold.bin"), ("mkdir", "mkdir/d"),
                       ("rename", "rename/r.bin"), ("unlink", "unlink/u.bin")]:
        programs[what] = util.spawn([*PYTHON, "-c", STEPS, what, m.path / name], stdin=-1)
        assert programs[what].stdout.readline() == b"ready\n"
    proxy.hold("all")
    for p in programs.values():
        p.stdin.write(b"go\n")
        p.stdin.flush()
    start = time.monotonic()
    told = {what: p.stdout.readline().decode().split()[0] for what, p in programs.items()}
    assert time.monotonic() - start < 2 * SECONDS    # (a read-ahead, then the page itself)
    assert told == {**{what: "ETIMEDOUT" for what in programs}, "flock": "EAGAIN",
                    "fcntl": "EAGAIN"}
    for p in programs.values():
        p.communicate(timeout=10 * SLOW)
    time.sleep(LATEST + 2 - (time.monotonic() - start))     # there is nothing to be seen but this
    assert m.proc.poll() is None and not m.errors()
    proxy.release("all")
    util.wait_until(lambda: m.inflight() == [], what="the end of what went on")
    util.wait_until(lambda: bucket.exists(m.key("c.bin")), what="the upload that went on")
    assert bucket.get(m.key("c.bin")) == b"content"
    assert (m.path / "big.bin").read_bytes() == pattern(10_000_000)
    assert bucket.exists(m.key("mkdir/d/")) and (m.path / "mkdir/d").is_dir()
    os.close(holder)
    m.check()
    m.stop()


def test_an_abort_is_no_unmount(mount):
    """Somebody's `umount -f` is refused, since a file is open, but cuts the connection."""
    m = mount()
    (m.path / "f.txt").write_bytes(b"x")
    fd = os.open(m.path / "f.txt", os.O_RDONLY)
    assert util.run(["umount", "-f", m.path], check=False).code
    assert m.wait_exit(10) == EX_ABORTED
    assert len([x for x in m.errors() if "has ended the connection of the mount" in x]) == 1
    with pytest.raises(OSError) as e:
        os.stat(m.path / "f.txt")
    assert e.value.errno in (errno.ENOTCONN, errno.ENOENT)
    with contextlib.suppress(OSError):
        os.close(fd)
    assert util.mount_entry(m.path) is None and not m.processes()
    m.stopped = True


def test_the_dead_mans_switch_is_asked_for(mount):
    """What is asked for holds for the mount alone, and is not said where the machine sets nothing."""
    m = mount()
    assert "request_timeout" not in m.log()
    m.stop()
