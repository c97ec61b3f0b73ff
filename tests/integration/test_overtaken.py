"""Answers of S3 that this mount overtakes: while one is on its way, a close, a chmod, or another
machine changes the file. None of them is taken for newer than it is."""

import concurrent.futures
import os
import stat
import time

import pytest

from harness import util
from test_cas import CAS

LWW = "s3-buffered-lww"


@pytest.fixture(params=[LWW, CAS], ids=["lww", "cas"])
def variant(request):
    return request.param


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.mark.parametrize("how", ["w", "a"])
def test_what_came_while_an_upload_was_answered_is_newer(mount, bucket, proxy, actor, pool, how):
    """The upload has taken effect, another machine writes, somebody looks at the file, and only then
    the upload is answered; then what that one has asked."""
    m = mount(via=proxy, variant=CAS)
    a, b = actor(), actor()
    f, key = m.path / "f.txt", m.key("f.txt")
    bucket.put(key, b"first")
    a.read_all(f)
    reader = b.open(f, os.O_RDONLY)         # so that a file that has grown is the same one
    proxy.hold("put", when="after", op="PutObject", key=key)
    writer = pool.submit(a.write_all, f, b"ours", os.O_TRUNC if how == "w" else os.O_APPEND)
    proxy.wait_held("put")
    bucket.put(key, b"theirs")
    proxy.hold("head", when="after", op="HeadObject", key=key, times=1)
    c = actor()
    looked = pool.submit(c.size, f)
    proxy.wait_held("head")
    proxy.release("put")
    writer.result()
    proxy.release("head")
    assert looked.result() == len(b"theirs")
    assert c.read_all(f) == b"theirs"
    b.close(reader)
    m.check()


def test_an_answer_is_as_old_as_its_question(mount, variant, bucket, proxy, actor, pool):
    """What may be believed for a second is not believed when the answer alone has taken longer: neither by
    the open that follows the lookup, nor by the next one."""
    m = mount(via=proxy, variant=variant, env={"STATEPROXY_CACHE_OPEN_TTL": "1s"})
    a, f, key = actor(), m.path / "f.bin", m.key("f.bin")
    bucket.put(key, b"first")
    proxy.hold("ask", when="after", op="GetObject", key=key, times=1)
    reader = pool.submit(a.read_all, f)
    proxy.wait_held("ask")
    asked = time.monotonic()
    bucket.put(key, b"theirs")
    util.wait_until(lambda: time.monotonic() > asked + 1, what="the end of cache.open_ttl")
    proxy.release("ask")
    assert reader.result() == a.read_all(f) == b"theirs"
    m.check()


@pytest.mark.parametrize("change", ["chmod", "setxattr"])
def test_attributes_are_not_taken_back_by_an_older_answer(mount, variant, bucket, proxy, actor, pool,
                                                           change):
    m = mount(via=proxy, variant=variant)
    a, b = actor(), actor()
    f, key = m.path / "f.txt", m.key("f.txt")
    a.write_all(f, b"x")
    a.utime(f, (1e9, 1e9))
    a.attributes(f)
    proxy.hold("copy", when="before", op="CopyObject", key=key)
    changed = pool.submit(*((a.chmod, f, 0o600) if change == "chmod" else
                            (a.setxattr, f, "user.a", b"1")))
    proxy.wait_held("copy")
    proxy.hold("head", when="after", op="HeadObject", key=key, times=1)
    looked = pool.submit(b.attributes, f)
    proxy.wait_held("head")
    proxy.release("copy")
    changed.result()
    proxy.release("head")
    mode = looked.result()[0]
    a.write_all(f, b"new")
    if change == "chmod":
        assert stat.S_IMODE(mode) == 0o600
        assert int(bucket.head(key)["Metadata"]["mode"]) & 0o777 == 0o600
    else:
        assert a.getxattr(f, "user.a") == b"1"
        assert "xattr" in bucket.head(key)["Metadata"]
    m.check()
