"""A daemon in a pid namespace of its own, as in a container beside the program: the kernel cannot tell
it who calls (pid 0). What needs to know who does is done without, and documented."""

import os
import signal
import subprocess
import sys

import pytest

from harness import util
from test_cas import CAS

LWW = "s3-buffered-lww"


@pytest.fixture(params=[LWW, CAS], ids=["lww", "cas"])
def variant(request):
    return request.param


@pytest.fixture
def m(mount, variant):
    if subprocess.run(["unshare", "-pf", "true"], capture_output=True).returncode:
        pytest.skip("no pid namespaces")
    m = mount(variant=variant, start=False)
    m.wrap = lambda *command: ("unshare", "-pf", "--kill-child", *command)
    m.start()
    yield m
    if m.proc.poll() is None:
        for pid in util.children(m.proc.pid):
            os.kill(pid, signal.SIGTERM)
    assert m.wait_exit() == 0
    m._check_gone("after SIGTERM")
    m.stopped = True


def test_files_are_made_changed_and_removed(m, bucket):
    f = m.path / "f.txt"
    f.write_bytes(b"one")
    with open(f, "ab") as more:
        more.write(b" two")
    assert f.read_bytes() == b"one two" == bucket.get(m.key("f.txt"))
    os.rename(f, m.path / "g.txt")
    assert os.listdir(m.path) == ["g.txt"]
    f.write_bytes(b"new")
    with pytest.raises(FileExistsError):
        os.close(os.open(f, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    for name in ("f.txt", "g.txt"):
        os.unlink(m.path / name)
    assert not bucket.list(m.key(""))


def test_what_came_from_elsewhere_is_seen_and_not_overwritten(m, bucket, variant):
    f, key = m.path / "f.txt", m.key("f.txt")
    bucket.put(key, b"1")
    assert f.read_bytes() == b"1"
    bucket.put(key, b"22")
    if variant == CAS:                      # what the mount has read last counts
        with pytest.raises(FileExistsError):
            f.write_bytes(b"mine")
        assert bucket.get(key) == b"22"
    assert f.read_bytes() == b"22"
    f.write_bytes(b"mine")
    assert bucket.get(key) == b"mine"


def test_unpublished_bytes_by_name(m, bucket, variant):
    """With compare-and-set not even the writer sees them, but through its descriptor."""
    f = m.path / "f.txt"
    f.write_bytes(b"1")
    fd = os.open(f, os.O_RDWR)
    os.write(fd, b"22")
    assert os.pread(fd, 9, 0) == b"22"
    assert f.read_bytes() == (b"1" if variant == CAS else b"22")
    os.close(fd)
    assert f.read_bytes() == b"22" == bucket.get(m.key("f.txt"))


def test_a_killed_writer_publishes(m, bucket):
    """As POSIX has it: nobody can say that it was killed."""
    code = ("import os, sys, signal\nfd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n"
            "os.write(fd, b'half')\nos.kill(os.getpid(), signal.SIGKILL)")
    subprocess.run([sys.executable, "-c", code, m.path / "f.txt"])
    util.wait_until(lambda: bucket.exists(m.key("f.txt")), what="the upload")
    assert bucket.get(m.key("f.txt")) == b"half"
