"""Files that are opened for reading, and read, while somebody on this mount is replacing or removing
them: S3 may have the new version already, and the mount does not know yet."""

import os
import threading

import pytest

from harness import SLOW, util
from harness.pattern import pattern
from test_cas import CAS

SIZE = 3_000_000            # more than comes with a lookup
NEW = b"new" * 700_000
OPENAT = {"x86_64": "257", "aarch64": "56"}[os.uname().machine]


@pytest.fixture(params=["s3-buffered-lww", CAS], ids=["lww", "cas"])
def m(mount, bucket, proxy, request):
    m = mount(via=proxy, variant=request.param)
    bucket.put(m.key("f.bin"), pattern(SIZE))
    return m


class Later:
    """A call in a thread, whose result is waited for."""

    def __init__(self, function, *args):
        self.result = None
        self.thread = threading.Thread(target=self.run, args=(function, args))
        self.thread.start()

    def run(self, function, args):
        try:
            self.result = function(*args)
        except OSError as e:
            self.result = e

    def end(self):
        self.thread.join(30 * SLOW)
        assert not self.thread.is_alive()
        return self.result

    def is_over(self):
        return not self.thread.is_alive()


def read_on(f):
    parts = []
    while data := f.read(1 << 20):
        parts.append(data)
    return b"".join(parts)


def read(path):
    with open(path, "rb", buffering=0) as f:
        return read_on(f)


REPLACE = {
    "write": (lambda a, m: a.write_all(m.path / "f.bin", NEW), "PutObject"),
    "rename": (lambda a, m: a.rename(m.path / "new.bin", m.path / "f.bin"),
               ["CopyObject", "PutObject"]),
    "unlink": (lambda a, m: a.unlink(m.path / "f.bin"), "DeleteObject"),
}


class Reader(Later):
    def __init__(self, path):
        self.path, self.is_open, self.may_read = path, threading.Event(), threading.Event()
        super().__init__(self.read)

    def read(self):
        with open(self.path, "rb", buffering=0) as f:
            self.is_open.set()
            self.may_read.wait()
            return read_on(f)

    def has_asked(self):
        """It has its file, or an error, or waits in open(2): for the daemon, or for the kernel's lock
        of the directory."""
        if self.is_open.is_set() or self.is_over():
            return True
        try:
            with open(f"/proc/self/task/{self.thread.native_id}/syscall") as f:
                return f.read().split()[0] == OPENAT
        except (FileNotFoundError, ProcessLookupError):     # it has just ended
            return True


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", REPLACE)
def test_one_version_or_the_other(m, actor, proxy, bucket, how, when):
    a = actor()
    bucket.put(m.key("new.bin"), NEW)
    replace, ops = REPLACE[how]
    assert a.size(m.path / "new.bin") == len(NEW)
    proxy.hold("h", op=ops, when=when, key=m.key("f.bin"))
    writer = Later(replace, a, m)
    proxy.wait_held("h")
    readers = [Reader(m.path / "f.bin") for _ in range(3)]
    util.wait_until(lambda: all(r.has_asked() for r in readers), what="the readers' OPEN")
    proxy.release("h")
    assert writer.end() is None
    for reader in readers:
        reader.may_read.set()
    allowed = [pattern(SIZE), NEW] if how != "unlink" else [pattern(SIZE)]
    for reader in readers:
        result = reader.end()
        assert isinstance(result, FileNotFoundError) and how == "unlink" or result in allowed, \
            (result if isinstance(result, OSError) else len(result))
    util.wait_until(lambda: m.status()["tables"]["handles"] == 0, what="the last RELEASE")
    m.check()


def test_what_is_appended_to(m, actor, proxy, bucket):
    """Nothing that the reader has read has changed: it sees the new bytes, or reads its own."""
    a = actor()
    with open(m.path / "f.bin", "rb", buffering=0) as f:
        assert f.read(1000) == pattern(SIZE)[:1000]
        proxy.hold("h", op="PutObject", when="after", key=m.key("f.bin"))
        writer = Later(a.write_all, m.path / "f.bin", b"more", os.O_APPEND)
        proxy.wait_held("h")
        reader = Later(lambda: os.pread(f.fileno(), 4096, SIZE - 4096))
        other = Later(read, m.path / "f.bin")
        proxy.release("h")
        assert writer.end() is None
        assert reader.end() == pattern(SIZE)[-4096:]
        assert other.end() in (pattern(SIZE), pattern(SIZE) + b"more")
    m.check()


@pytest.mark.parametrize("times", [1, 3])
def test_what_is_appended_to_and_seen_too_early(m, actor, proxy, bucket, times):
    """Somebody finds the new version on S3 before the mount has heard the answer to its PUT."""
    a, data = actor(), pattern(SIZE)
    with open(m.path / "f.bin", "rb", buffering=0) as f:
        assert f.read(1000) == data[:1000]
        for i in range(times):
            proxy.hold(f"h{i}", op="PutObject", when="after", key=m.key("f.bin"))
            writer = Later(a.write_all, m.path / "f.bin", b"more", os.O_APPEND)
            proxy.wait_held(f"h{i}")
            assert os.stat(m.path / "f.bin").st_size in (len(data), len(data) + 4)
            proxy.release(f"h{i}")
            assert writer.end() is None
            data += b"more"
        util.wait_until(lambda: os.fstat(f.fileno()).st_size == len(data), what="the file to grow")
        assert os.pread(f.fileno(), 4096, SIZE - 1000) == data[SIZE - 1000:]
        assert read(m.path / "f.bin") == data
    m.check()


@pytest.mark.parametrize("how", REPLACE)
def test_who_reads_what_it_has_written(m, actor, bucket, how):
    """Its node is its own (compare-and-set), and not that of the name. (With last write wins a file
    that is cut and written has one node, as on a local disk.)"""
    a, b = actor(), actor()
    bucket.put(m.key("new.bin"), NEW)
    a.write_all(m.path / "f.bin", pattern(SIZE, 1))
    fd = a.open(m.path / "f.bin", os.O_RDONLY)
    assert a.pread(fd, 1000, 0) == pattern(SIZE, 1)[:1000]
    assert b.size(m.path / "new.bin") == len(NEW)
    b.size(m.path / "f.bin")
    REPLACE[how][0](b, m)
    shows = NEW if how == "write" and m.env["STATE_VARIANT"] != CAS else pattern(SIZE, 1)
    assert a.pread(fd, SIZE, 0) == shows
    a.close(fd)
    m.check()
