"""Files that lose their name while somebody reads them."""

import errno
import os
import threading

import pytest

from harness import util
from harness.pattern import pattern

SIZE = 3_000_000


@pytest.fixture
def m(mount, bucket, proxy):
    m = mount(via=proxy)
    bucket.put(m.key("f.bin"), pattern(SIZE))
    bucket.put(m.key("new.bin"), b"new")
    return m


def take_away(m, how):
    if how == "unlink":
        os.unlink(m.path / "f.bin")
    else:
        os.rename(m.path / "new.bin", m.path / "f.bin")


def nothing_is_left(m):
    util.wait_until(lambda: m.status()["tables"]["sessions"] == 0, what="the end of its session")
    assert m.status()["tables"]["session_bytes"] == 0
    m.check()


@pytest.mark.parametrize("how", ["unlink", "rename"])
def test_a_reader_reads_to_the_end(m, bucket, how):
    with open(m.path / "f.bin", "rb", buffering=0) as f:
        head = f.read(1000)
        take_away(m, how)
        assert bucket.exists(m.key("f.bin")) == (how == "rename")
        assert head + f.read(SIZE) == pattern(SIZE)
        f.seek(0)
        assert f.read(SIZE) == pattern(SIZE)
        assert os.fstat(f.fileno()).st_size == SIZE
    if how == "rename":
        assert (m.path / "f.bin").read_bytes() == b"new"
    nothing_is_left(m)


def test_nothing_is_loaded_without_readers(m, proxy):
    before = proxy.bytes_received("GetObject")
    with open(m.path / "new.bin", "rb") as f:       # a small one, which is here already
        f.read()
        os.unlink(m.path / "new.bin")
        f.seek(0)
        assert f.read() == b"new"
    os.unlink(m.path / "f.bin")
    # (The LOOKUP of a name with an extension brings the first block.)
    assert proxy.bytes_received("GetObject") - before < 400_000
    nothing_is_left(m)


@pytest.mark.parametrize("how", ["unlink", "rename"])
@pytest.mark.parametrize("op", ["GetObject", "DeleteObject"])
def test_killed_workers(m, proxy, bucket, how, op):
    with open(m.path / "f.bin", "rb", buffering=0) as f:
        head = f.read(1000)
        proxy.hold("h", op=op, when="after")
        done = threading.Thread(target=take_away, args=(m, how))
        done.start()
        proxy.wait_held("h")
        dead = m.kill_workers()
        m.wait_workers(2, without=dead)
        proxy.release("h")
        done.join(30)
        assert not done.is_alive()
        assert head + f.read(SIZE) == pattern(SIZE)
    nothing_is_left(m)


def test_it_goes_also_if_it_cannot_be_loaded(m, proxy, bucket):
    with open(m.path / "f.bin", "rb", buffering=0) as f:
        f.read(1000)
        bucket.put(m.key("f.bin"), b"another")      # on another machine
        os.unlink(m.path / "f.bin")
        assert not bucket.exists(m.key("f.bin"))
        with pytest.raises(OSError) as e:
            os.pread(f.fileno(), 4096, SIZE - 4096)
        assert e.value.errno == errno.ESTALE
    nothing_is_left(m)
