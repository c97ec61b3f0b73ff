"""Compare-and-set: readers of a file that others append to, on nodes of their own: they follow what is
appended, and nothing else."""

import os

import pytest

from harness.pattern import pattern
from test_cas import CAS
from test_opened_meanwhile import NEW, Later

LARGE = 3_000_000           # more than comes with a lookup


@pytest.fixture
def m(mount, proxy):
    return mount(via=proxy, variant=CAS)


def whole(fd):
    size, data = os.fstat(fd).st_size, b""
    while len(data) < size and (piece := os.pread(fd, size, len(data))):
        data += piece
    return data


def append_and_look(m, actor, proxy, look):
    """`look` comes between S3's taking the append and its answer."""
    proxy.hold("h", op="PutObject", when="after", key=m.key("f"))
    writer = Later(actor.write_all, m.path / "f", b"more", os.O_APPEND)
    proxy.wait_held("h")
    result = look()
    proxy.release("h")
    assert writer.end() is None
    return result


def test_a_removed_file_is_not_the_new_one(m, actor, bucket):
    """They have one name and, since both were empty, one ETag."""
    a, b = actor(), actor()
    bucket.put(m.key("f"), b"")
    fd = b.open(m.path / "f", os.O_RDONLY)
    assert b.pread(fd, 100, 0) == b""
    assert a.size(m.path / "f") == 0
    a.unlink(m.path / "f")
    a.write_all(m.path / "f", b"secret", os.O_CREAT | os.O_EXCL)
    assert b.pread(fd, 100, 0) == b""
    b.close(fd)
    m.check()


def test_a_removed_file_with_the_content_of_the_new_one(m, actor, bucket):
    a, b = actor(), actor()
    bucket.put(m.key("f"), b"abc")
    fd = b.open(m.path / "f", os.O_RDONLY)
    assert b.pread(fd, 100, 0) == b"abc"
    a.unlink(m.path / "f")
    a.write_all(m.path / "f", b"abc", os.O_CREAT)
    a.write_all(m.path / "f", b"def", os.O_APPEND)
    assert b.pread(fd, 100, 0) == b"abc"
    b.close(fd)
    m.check()


@pytest.mark.parametrize("size", [1000, LARGE])
def test_replaced_after_it_has_grown(m, actor, proxy, bucket, size):
    a, c, data = actor(), actor(), pattern(size)
    bucket.put(m.key("f"), data)
    with open(m.path / "f", "rb", buffering=0) as f:
        assert whole(f.fileno()) == data
        append_and_look(m, a, proxy, lambda: os.stat(m.path / "f"))
        c.write_all(m.path / "f", NEW, os.O_TRUNC)
        assert whole(f.fileno()) in (data, data + b"more")
    m.check()


@pytest.mark.parametrize("n", [4, 12])
def test_each_append_is_seen_too_early(m, actor, proxy, bucket, n):
    a, data = actor(), pattern(LARGE)
    bucket.put(m.key("f"), data)
    fds = [os.open(m.path / "f", os.O_RDONLY)]
    for _ in range(n):
        fds.append(append_and_look(m, a, proxy, lambda: os.open(m.path / "f", os.O_RDONLY)))
    data += b"more" * n
    for fd in fds:
        assert os.pread(fd, 4096, LARGE - 1000) == data[LARGE - 1000:]
        os.close(fd)
    m.check()


def test_a_change_of_mode_meanwhile(m, actor, proxy, bucket):
    """It is made of the version before: it must not bring that back."""
    a, data = actor(), b"x" * 1000
    bucket.put(m.key("f"), data)
    with open(m.path / "f", "rb", buffering=0) as f:
        assert f.read(2000) == data
        proxy.hold("p", op="PutObject", key=m.key("f"))
        writer = Later(a.write_all, m.path / "f", b"more", os.O_APPEND)
        proxy.wait_held("p")
        proxy.hold("c", op="CopyObject", when="after", key=m.key("f"), times=1)
        change = Later(os.fchmod, f.fileno(), 0o600)
        proxy.wait_held("c")
        proxy.release("p")
        assert writer.end() is None
        proxy.release("c")
        assert change.end() is None
        assert os.pread(f.fileno(), 4096, 0) == data + b"more"
        assert os.fstat(f.fileno()).st_mode & 0o777 == 0o600
        a.write_all(m.path / "f", b"mine", os.O_TRUNC)
    assert os.stat(m.path / "f").st_mode & 0o777 == 0o600
    assert bucket.get(m.key("f")) == b"mine"
    m.check()


@pytest.mark.parametrize("how", ["unlink", "rename"])
def test_removed_with_readers_on_many_nodes(m, actor, proxy, bucket, how):
    a, data = actor(), pattern(LARGE)
    bucket.put(m.key("f"), data)
    fds = [os.open(m.path / "f", os.O_RDONLY)]
    for _ in range(8):
        fds.append(append_and_look(m, a, proxy, lambda: os.open(m.path / "f", os.O_RDONLY)))
    if how == "rename":
        a.write_all(m.path / "new", b"new", os.O_CREAT)
        a.rename(m.path / "new", m.path / "f")
    else:
        a.unlink(m.path / "f")
    for fd in fds:
        assert os.pread(fd, 4096, LARGE // 2) == data[LARGE // 2:][:4096]
        os.close(fd)
    m.check()
