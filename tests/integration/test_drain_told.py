"""Uploads that fail around SIGTERM: what a program was told before is no loss of the drain's, whenever the kernel hands
on that the file is closed; what nobody was told before makes the exit code 1. (What S3 does not answer at all is in
test_drain_limit.py.)"""

import contextlib
import os

import pytest

from harness import EX_UNPUBLISHED, util
from harness.pattern import pattern

ENV = {"STATEPROXY_S3_MAX_ATTEMPTS": "1"}
LOST = "uploads failed after the request to end"


@contextlib.contextmanager
def fails():
    with pytest.raises(OSError):
        yield


def refuse_uploads(proxy):
    return [proxy.add_rule("answer", status=500, op=op) for op in ("PutObject", "CompleteMultipartUpload")]


def open_written(a, path, data=b"data"):
    fd = a.open(path, os.O_RDWR | os.O_CREAT)
    while data:
        data = data[a.write(fd, data):]
    return fd


def ask_to_end(m):
    m.term()
    util.wait_until(lambda: "draining: refusing new opens" in m.log(), what="the drain")


def ended(m):
    code = m.wait_exit(10)
    m._check_gone("after the drain")
    m.stopped = True
    return code


def assert_nothing_lost(m):
    assert ended(m) == 0, m.log()
    assert LOST not in m.log() and not m.errors(), m.log()


def assert_lost(m):
    assert ended(m) == EX_UNPUBLISHED, m.log()
    assert LOST in m.log() and m.log().count("unpublished data discarded") == 1, m.log()


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"])
def test_told_before(mount, proxy, actor, variant):
    """A child still has the descriptor: the kernel sends the RELEASE when that one closes it."""
    m, a = mount(via=proxy, variant=variant, env=ENV), actor()
    fd = open_written(a, m.path / "f.bin", pattern(9 << 20, 1) if variant == "s3-passthrough" else b"data")
    child = a.child()
    refuse_uploads(proxy)
    with fails():
        a.close(fd)
    ask_to_end(m)
    assert "discarded" not in m.log(), "the file is not released yet"
    child.close(fd)
    assert_nothing_lost(m)
    assert m.log().count("unpublished data discarded") == 1


def test_a_conflict(mount, bucket, actor):
    """EEXIST is an answer, whenever it is given."""
    m, a = mount(variant="s3-buffered-cas"), actor()
    bucket.put(m.key("f.txt"), b"old")
    a.read_all(m.path / "f.txt")
    fd = open_written(a, m.path / "f.txt", b"mine")
    child = a.child()
    bucket.put(m.key("f.txt"), b"theirs")
    with pytest.raises(FileExistsError):
        a.close(fd)
    ask_to_end(m)
    child.close(fd)
    assert_nothing_lost(m)
    assert bucket.get(m.key("f.txt")) == b"theirs"


def test_told_by_each_close(mount, proxy, actor):
    """Two processes have written: each of them is told before, by a worker that is gone by then."""
    m, a, b = mount(via=proxy, env=ENV), actor(), actor()
    mine = open_written(a, m.path / "f.bin")
    child = a.child()
    theirs = b.open(m.path / "f.bin", os.O_WRONLY)
    b.pwrite(theirs, b"more", 4)
    refuse_uploads(proxy)
    for who, fd in ((a, mine), (b, theirs)):
        with fails():
            who.close(fd)
    m.wait_workers(2, without=m.kill_workers())
    ask_to_end(m)
    child.close(mine)
    assert_nothing_lost(m)


def test_one_of_two_is_told_after(mount, proxy, actor):
    m, a, b = mount(via=proxy, env=ENV), actor(), actor()
    mine = open_written(a, m.path / "f.bin")
    theirs = b.open(m.path / "f.bin", os.O_WRONLY)
    b.pwrite(theirs, b"more", 4)
    refuse_uploads(proxy)
    with fails():
        a.close(mine)
    ask_to_end(m)
    with fails():
        b.close(theirs)
    assert_lost(m)


def test_written_after_it_was_told(mount, proxy, actor):
    m, a = mount(via=proxy, env=ENV), actor()
    fd = open_written(a, m.path / "f.bin")
    other = a.dup(fd)
    refuse_uploads(proxy)
    with fails():
        a.close(fd)
    a.write(other, b" and more")
    ask_to_end(m)
    with fails():
        a.close(other)
    assert_lost(m)


def test_tried_again_after_it_was_told(mount, proxy, actor):
    m, a = mount(via=proxy, env=ENV), actor()
    fd = open_written(a, m.path / "f.bin")
    refuse_uploads(proxy)
    with fails():
        a.fsync(fd)
    ask_to_end(m)
    with fails():
        a.close(fd)
    assert_lost(m)


def test_changed_by_one_whose_close_does_not_publish(mount, proxy, actor):
    """A child changes its parent's file through a mapping, when the parent has been told. The RELEASE publishes that,
    and has nobody to tell."""
    m, a = mount(via=proxy, env=ENV), actor()
    fd = open_written(a, m.path / "f.bin")
    child = a.child()
    child.map(fd, True)
    refuse_uploads(proxy)
    with fails():
        a.close(fd)
    child.map_write(fd, 0, b"DATA", False)
    ask_to_end(m)
    child.unmap(fd)
    child.close(fd)
    assert_lost(m)


@pytest.mark.parametrize("works", [True, False], ids=["works", "fails"])
def test_another_try_goes_on_without_its_program(mount, proxy, bucket, actor, works):
    """What the program was told is the end of the first one only."""
    m, a = mount(via=proxy, env=ENV), actor()
    fd = open_written(a, m.path / "f.bin")
    rules = refuse_uploads(proxy)
    with fails():
        a.fsync(fd)
    for rule in rules:
        proxy.remove_rule(rule)
    proxy.hold("h", op="PutObject")
    a.begin("close", fd)
    proxy.wait_held("h")
    ask_to_end(m)
    a.kill()            # its close ends, and the file is released
    proxy.release("h", verdict="forward" if works else "reset")
    if works:
        assert_nothing_lost(m)
        assert bucket.get(m.key("f.bin")) == b"data" and "discarded" not in m.log()
    else:
        assert_lost(m)
