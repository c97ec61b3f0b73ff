"""A change in place whose Complete has taken effect, though every answer to it was lost: the object is
our own new version, and what follows must not take it for somebody else's."""

import concurrent.futures
import os

import pytest

from harness import SLOW
from harness.pattern import pattern
from test_parts import BUFFERED, PART, PARTS, holds, no_uploads
from test_patch import SIZE, File

FEW = {**PARTS, "STATEPROXY_S3_DEADLINE": f"{int(1500 * SLOW)}ms"}


@pytest.fixture(params=BUFFERED)
def m(request, mount, proxy):
    return mount(variant=request.param, via=proxy, env=FEW)


def lose_complete(f, proxy):
    """fsync fails, and S3 has it nevertheless."""
    rule = proxy.add_rule("drop", op="CompleteMultipartUpload")
    with pytest.raises(OSError) as e:
        os.fsync(f.fd)
    assert e.value.errno not in (17, 116), "neither a conflict nor another's version"
    proxy.remove_rule(rule)
    holds(f.bucket, f.m, f.name, f.data)


def test_the_next_fsync_succeeds(m, proxy, bucket):
    f = File(m, bucket)
    f.change(4 * PART, b"changed")
    lose_complete(f, proxy)
    f.sync()
    f.is_right()


def test_lost_again_and_again(mount, proxy, bucket):
    """(Compare-and-set: a second fsync finds the write-id, and succeeds without another Complete.)"""
    f = File(mount(via=proxy, env=FEW), bucket)
    f.change(4 * PART, b"changed")
    for _ in range(2):
        lose_complete(f, proxy)
    f.is_right()


def test_changed_before_the_next_fsync(m, proxy, bucket):
    """What was sent is not all any more: the rest is copied from our own version."""
    f = File(m, bucket)
    f.change(4 * PART, b"changed")
    lose_complete(f, proxy)
    f.change(4 * PART + 3, b"more")
    f.change(len(f.data), b"and longer")
    f.sync()
    f.is_right()


def test_another_place_is_changed(m, proxy, bucket):
    """What is missing there is loaded from our own version."""
    f = File(m, bucket)
    f.change(4 * PART, b"changed")
    lose_complete(f, proxy)
    f.change(2 * PART, b"more")
    f.read(PART - 3000, 6000)
    f.sync()
    f.is_right()


@pytest.mark.parametrize("mine", ["the same", "more"])
def test_replaced_after_it_took_effect(m, proxy, bucket, mine):
    """Theirs stays, and nobody is told that it has succeeded."""
    f = File(m, bucket)
    f.change(4 * PART, b"changed")
    lose_complete(f, proxy)
    bucket.put(m.key(f.name), theirs := pattern(SIZE, 9))
    if mine == "more":
        f.change(4 * PART + 3, b"more")
    with pytest.raises(OSError) as e:
        os.fsync(f.fd)
    assert e.value.errno in (5, 17, 116)
    with pytest.raises(OSError):
        f.close()
    assert bucket.get(m.key(f.name)) == theirs
    no_uploads(bucket)
    m.check()


def test_a_worker_dies_and_more_is_changed(m, proxy, bucket):
    """It has sent Complete; the next publish has other content, so it does not go on with that upload."""
    f = File(m, bucket)
    f.change(4 * PART, b"changed")
    proxy.hold("at", op="CompleteMultipartUpload", times=1, when="after")
    fd = os.dup(f.fd)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        syncing = pool.submit(os.fsync, fd)
        proxy.wait_held("at")
        proxy.add_rule("answer", status=403, code="AccessDenied",
                       op=["CompleteMultipartUpload", "HeadObject"])
        m.kill_workers()
        proxy.release("at", "drop")
        with pytest.raises(OSError):
            syncing.result(20 * SLOW)
    proxy.clear_rules()
    os.close(fd)
    f.change(4 * PART + 3, b"more")
    f.change(PART, b"and elsewhere")
    f.is_right()
