"""Requests and round trips of single operations: the proxy adds 20 ms to every request, so that the
time an operation takes, in units of that, is the requests that it waits for one after another.
Neither depends much on what else runs here. Each operation has a mount of its own."""

import os
import random
import time

from harness import ACCESS, SECRET
from harness.pattern import pattern
from s3proxy_client import ProxyProcess

LATENCY_MS = 20
SMALL = pattern(4096)
LARGE = 64 << 20


def _read(path):
    fd = os.open(path, os.O_RDONLY)
    while os.read(fd, 1 << 20):
        pass
    os.close(fd)


def _write(path, data=SMALL, flags=os.O_CREAT):
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    os.write(fd, data)
    os.close(fd)


def _change(path):
    fd = os.open(path, os.O_RDWR)
    os.pread(fd, 4096, 0)
    os.pwrite(fd, b"changed", 100)
    os.close(fd)


def _missing(path):
    assert not os.path.exists(path)


def _random_reads(path):
    rng = random.Random(1)
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for _ in range(100):
        os.pread(fd, 4096, rng.randrange(LARGE // 4096) * 4096)
    os.close(fd)


def _write_large(path):
    block = pattern(1 << 20)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    for _ in range(LARGE >> 20):
        os.write(fd, block)
    os.close(fd)


# name: what is done before, uncounted (None: nothing), and what is measured; p is the mount point.
OPERATIONS = {
    "stat existing": (None, lambda p: os.stat(p / "a.bin")),
    "stat missing": (None, lambda p: _missing(p / "missing.bin")),
    "open+read 4K (cold)": (None, lambda p: _read(p / "a.bin")),
    "open+read 4K again": (lambda p: (_read(p / "a.bin"), time.sleep(1)),
                           lambda p: _read(p / "a.bin")),
    "open+read 4K depth 3": (None, lambda p: _read(p / "deep/er/a.bin")),
    "... sibling": (lambda p: _read(p / "deep/er/a.bin"),
                    lambda p: _read(p / "deep/er/b.bin")),
    "create 4K": (None, lambda p: _write(p / "new.bin")),
    "create 4K excl": (None, lambda p: _write(p / "new2.bin", SMALL, os.O_CREAT | os.O_EXCL)),
    "overwrite 4K O_TRUNC": (None,
                             lambda p: _write(p / "o.bin", SMALL, os.O_CREAT | os.O_TRUNC)),
    "read-modify-write 4K": (None, lambda p: _change(p / "m.bin")),
    "append 4K": (None, lambda p: _write(p / "p.bin", SMALL, os.O_APPEND)),
    "unlink (cold)": (None, lambda p: os.unlink(p / "u.bin")),
    "unlink after write": (lambda p: _write(p / "w.bin"), lambda p: os.unlink(p / "w.bin")),
    "rename file": (None, lambda p: os.rename(p / "r.bin", p / "s.bin")),
    "mkdir": (None, lambda p: os.mkdir(p / "sub")),
    "rmdir": (lambda p: os.mkdir(p / "sub2"), lambda p: os.rmdir(p / "sub2")),
    "ls 2500": (None, lambda p: os.listdir(p / "many")),
    "ls 2500 again": (lambda p: os.listdir(p / "many"), lambda p: os.listdir(p / "many")),
    "ls -l 2500": (None, lambda p: [e.stat() for e in os.scandir(p / "many")]),
    "read 5 of listed": (lambda p: os.listdir(p / "many"),
                         lambda p: [_read(p / f"many/{i:04d}.bin") for i in range(5)]),
    "read 64M seq": (None, lambda p: _read(p / "large.bin")),
    "100 random 4K reads of 64M": (None, lambda p: _random_reads(p / "large.bin")),
    "write 64M seq": (None, lambda p: _write_large(p / "written.bin")),
    "32 creates 4K serial": (None, lambda p: [_write(p / f"n{i}.bin") for i in range(32)]),
    "16 reads 4K serial": (None, lambda p: [_read(p / f"x{i}.bin") for i in range(16)]),
    "idle 1s": (None, lambda p: time.sleep(1)),
}


def prepare(s3):
    names = ["a", "o", "m", "p", "u", "r", "deep/er/a", "deep/er/b"] + [f"x{i}" for i in range(16)]
    s3.put_many((f"p/{n}.bin", SMALL) for n in names)
    s3.put_many((f"p/many/{i:04d}.bin", SMALL) for i in range(2500))
    s3.put("p/large.bin", pattern(LARGE))


def _one(proxy, make_mount, before, work):
    """{requests, trips, received}: of one operation; with the requests' names."""
    m, unmount = make_mount()
    if before:
        before(m.path)
    proxy.wait_idle()
    proxy.reset_counts()
    start = time.monotonic()
    work(m.path)
    seconds = time.monotonic() - start
    proxy.wait_idle()
    counts, received = dict(proxy.counts()), proxy.bytes_received()
    unmount()
    return {"requests": sum(counts.values()), "counts": counts, "received": received,
            "trips": seconds * 1000 / LATENCY_MS}


def measure(port, s3, scratch, make_mount):
    """{operation: figures}. make_mount(endpoint) gives a mount and a function that ends it."""
    prepare(s3)
    proxy = ProxyProcess(port, scratch, {ACCESS: SECRET}, "trips")
    try:
        proxy.set_latency(LATENCY_MS)
        return {name: _one(proxy, lambda: make_mount(proxy.endpoint), before, work)
                for name, (before, work) in OPERATIONS.items()}
    finally:
        proxy.stop()
