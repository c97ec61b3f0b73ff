"""The table of docs/INTERNALS.md: requests and round trips of each operation, on a mount that knows nothing, with 20 ms
added to every request, so that those that are sent together overlap. Round trips are requests that follow one
another, as the proxy has seen them: so a slow machine changes nothing."""

import os
import random
import subprocess
import time

import pytest

from harness.pattern import pattern

pytestmark = pytest.mark.counts

LATENCY_MS = 20


def in_a_row(requests):
    """The most of them of which each began after the end of the one before."""
    count, end = 0, 0.0
    for r in sorted(requests, key=lambda r: r.end):
        if r.start >= end:
            count, end = count + 1, r.end
    return count


class Row:
    """One row: what it may cost at most."""

    def __init__(self, proxy, mount, **kwargs):
        self.proxy = proxy
        self.m = mount(via=proxy, **kwargs)
        proxy.set_latency(LATENCY_MS)

    def measure(self, function, requests, trips, **exact):
        self.proxy.wait_idle()
        self.proxy.reset_counts()
        result = function()
        self.proxy.wait_idle()
        counts = {op: n for op, n in self.proxy.counts().items() if n}
        assert sum(counts.values()) <= requests, counts
        for op, n in exact.items():
            assert counts.get(op, 0) <= n, counts
        assert in_a_row(self.proxy.log()) <= trips, counts
        return result


@pytest.fixture
def row(proxy, mount):
    return Row(proxy, mount)


def read(path):
    with open(path, "rb", buffering=0) as f:
        return f.read()


def write(path, data=b"x" * 4096, mode="wb"):
    with open(path, mode, buffering=0) as f:
        f.write(data)


def test_open_read_close(row, bucket):
    bucket.put(row.m.key("f.bin"), pattern(4096))
    path = row.m.path / "f.bin"
    assert row.measure(lambda: read(path), 1, 1, GetObject=1) == pattern(4096)
    row.measure(lambda: read(path), 1, 1)
    row.measure(lambda: read(path), 1, 1)


def test_stat(row, bucket):
    bucket.put(row.m.key("f.bin"), pattern(4096))
    bucket.put(row.m.key("plain"), pattern(10))
    row.measure(lambda: os.stat(row.m.path / "f.bin"), 1, 1)
    row.measure(lambda: os.stat(row.m.path / "plain"), 1, 1)


def test_stat_of_a_missing_name(row):
    def missing(name):
        with pytest.raises(FileNotFoundError):
            os.stat(row.m.path / name)

    row.measure(lambda: missing("nothing"), 2, 2)       # it is asked for as a file first, whose attributes
    row.measure(lambda: missing("nothing.bin"), 2, 2)   # only that request tells


def test_walking_into_a_directory(row, bucket):
    bucket.put(row.m.key("d/f.bin"), b"x")
    row.measure(lambda: os.chdir(row.m.path / "d"), 1, 1)
    os.chdir("/")


def test_open_read_three_directories_down(row, bucket):
    bucket.put(row.m.key("a/b/c/f.bin"), pattern(4096))
    row.measure(lambda: read(row.m.path / "a/b/c/f.bin"), 4, 4)


def test_create_write_close(row):
    row.measure(lambda: write(row.m.path / "f.bin"), 3, 3, PutObject=1)
    row.measure(lambda: write(row.m.path / "plain"), 3, 2, PutObject=1)


def test_create_in_a_directory_just_made_or_listed(proxy, mount, bucket):
    row = Row(proxy, mount, env={"STATEPROXY_DIRECTORIES_TTL": "60s"})
    os.mkdir(row.m.path / "new")
    row.measure(lambda: write(row.m.path / "new/f.bin"), 1, 1, PutObject=1)
    bucket.put(row.m.key("old/there.bin"), b"x")
    os.listdir(row.m.path / "old")
    row.measure(lambda: write(row.m.path / "old/f.bin"), 1, 1, PutObject=1)


def test_overwrite_and_append(row, bucket):
    bucket.put(row.m.key("f.bin"), pattern(4096))
    path = row.m.path / "f.bin"
    row.measure(lambda: write(path), 2, 2, PutObject=1)
    row.measure(lambda: write(path, b"more", "ab"), 2, 2, PutObject=1)
    assert bucket.get(row.m.key("f.bin")) == b"x" * 4096 + b"more"


def test_cp_within_the_mount(row, bucket):
    for name in "a.bin", "b.bin":
        bucket.put(row.m.key(name), pattern(4 << 20))
    path = row.m.path
    row.measure(lambda: subprocess.run(["cp", path / "a.bin", path / "new.bin"], check=True),
                7, 7, CopyObject=1, PutObject=0, GetObject=4)
    row.measure(lambda: subprocess.run(["cp", "-p", path / "b.bin", path / "kept.bin"], check=True),
                7, 7, CopyObject=1, PutObject=0, GetObject=4)
    assert bucket.get(row.m.key("kept.bin")) == pattern(4 << 20)


def test_unlink_and_rename(row, bucket):
    for name in "a.bin", "b.bin":
        bucket.put(row.m.key(name), pattern(4096))
    row.measure(lambda: os.unlink(row.m.path / "a.bin"), 2, 2, DeleteObject=1)
    row.measure(lambda: os.rename(row.m.path / "b.bin", row.m.path / "c.bin"), 5, 5,
                CopyObject=1, DeleteObject=1)


def test_read_modify_write_with_compare_and_set(proxy, mount, bucket):
    row = Row(proxy, mount, variant="s3-buffered-cas")
    path = row.m.path / "f.bin"

    def increment():
        old = read(path)
        write(path, str(int(old) + 1).encode())
    bucket.put(row.m.key("f.bin"), b"1")
    for _ in range(3):
        row.measure(increment, 2, 2, GetObject=1, PutObject=1)
    assert bucket.get(row.m.key("f.bin")) == b"4"
    row.measure(lambda: write(path, b"0", "ab"), 2, 2, GetObject=1, PutObject=1)
    row.measure(lambda: read(path), 1, 1)
    write(path.parent / "new.bin", b"5")
    row.measure(lambda: os.rename(path.parent / "new.bin", path), 5, 5)
    assert bucket.get(row.m.key("f.bin")) == b"5"


def test_ls(proxy, mount, bucket):
    bucket.put_many([(f"p/d/f{i:04}.txt", b"x") for i in range(1200)])
    row = Row(proxy, mount, env={"STATEPROXY_DIRECTORIES_TTL": "60s"})
    os.stat(row.m.path / "d")
    names = row.measure(lambda: [e.stat().st_size for e in os.scandir(row.m.path / "d")], 2, 2,
                        ListObjectsV2=2)
    assert len(names) == 1200
    row.measure(lambda: subprocess.run(["ls", "-l", row.m.path / "d"], stdout=subprocess.DEVNULL,
                                       check=True), 0, 0)
    for i in range(3):
        row.measure(lambda i=i: read(row.m.path / f"d/f{i:04}.txt"), 1, 1, GetObject=1)


def test_cp_r_of_a_local_tree(proxy, mount, scratch):
    """One PUT for each file and directory. (What becomes old after directories.ttl is asked again,
    however many requests a slow machine makes in that time: here it does not become old.)"""
    row = Row(proxy, mount, env={"STATEPROXY_DIRECTORIES_TTL": "60s",
                                 "STATEPROXY_DIRECTORIES_ENTRY_TTL": "60s"})
    tree = scratch / "tree"
    for d in range(20):
        (tree / f"d{d}").mkdir(parents=True)
        for f in range(25):
            (tree / f"d{d}" / f"f{f}.bin").write_bytes(pattern(4096, f))
    proxy.set_latency(0)
    proxy.wait_idle()
    proxy.reset_counts()
    subprocess.run(["cp", "-r", tree, row.m.path / "copy"], check=True)
    proxy.wait_idle()
    counts = proxy.counts()
    assert counts["PutObject"] == 521, counts
    assert sum(counts.values()) - counts["PutObject"] <= 5, counts


def test_64_mib_in_order(row, bucket, proxy):
    size = 64 << 20
    bucket.put(row.m.key("big.bin"), bytes(size))
    proxy.reset_counts()
    with open(row.m.path / "big.bin", "rb", buffering=0) as f:
        while f.read(1 << 20):
            pass
    assert proxy.bytes_received("GetObject") <= 1.02 * size


def test_random_reads(row, bucket, proxy, seed):
    size = 64 << 20
    bucket.put(row.m.key("big.bin"), bytes(size))
    rng = random.Random(seed)
    proxy.reset_counts()
    fd = os.open(row.m.path / "big.bin", os.O_RDONLY)
    for _ in range(100):
        os.pread(fd, 4096, rng.randrange(size // 4096) * 4096)
    os.close(fd)
    assert proxy.counts()["GetObject"] <= 101
    assert proxy.bytes_received("GetObject") <= 13.3e6


@pytest.mark.parametrize("workers", [1, 2])
def test_sixteen_files_at_once(proxy, mount, bucket, workers):
    """Several requests of one worker run side by side: all of them are under way before one is answered."""
    for i in range(16):
        bucket.put(f"p/f{i}.bin", pattern(4096, i))
    m = mount(via=proxy, workers=workers)
    proxy.hold("get", op="GetObject")
    readers = [subprocess.Popen(["cat", m.path / f"f{i}.bin"], stdout=subprocess.DEVNULL)
               for i in range(16)]
    try:
        proxy.wait_held("get", 16)
    finally:
        proxy.release("get")
        codes = [r.wait() for r in readers]
    assert codes == [0] * 16


def test_idle(row, proxy):
    proxy.wait_idle()
    proxy.reset_counts()
    time.sleep(1.5)             # the time is what is tested
    assert not proxy.counts()
