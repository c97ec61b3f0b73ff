"""A request whose worker dies, or whose answer is lost, is held back somewhere and acts later: between
the looks of the replacement, which then does not repeat it. What others have made meanwhile stays, and
what has been removed does not come back."""

import threading

import pytest

from harness import SLOW
from harness.util import wait_until
from test_cas import CAS

LWW = "s3-buffered-lww"
# What may still be on its way is given a second. The proxy sees a request later than it was sent.
WAITED = 0.6
HELD = {"STATEPROXY_S3_ATTEMPT_TIMEOUT": "60s", "AWS_MAX_ATTEMPTS": "20"}


@pytest.fixture(scope="module", params=["versitygw", "minio"] if SLOW == 1 else ["versitygw"])
def s3server(request, s3server):
    return s3server if request.param == "versitygw" else request.getfixturevalue("minio")


@pytest.fixture(params=[LWW, CAS], ids=["lww", "cas"])
def variant(request):
    return request.param


@pytest.fixture
def m(variant, mount, proxy):
    return mount(variant=variant, via=proxy, env=HELD)


def in_background(fn, *args):
    """-> (thread, its result)"""
    result = []

    def run():
        try:
            result.append(fn(*args))
        except OSError as e:
            result.append(e)
    thread = threading.Thread(target=run)
    thread.start()
    return thread, result


class Stray:
    """The request that is held back, and is sent on whoever has gone."""

    def __init__(self, proxy, op, key):
        self.proxy, self.op, self.key = proxy, op, key
        proxy.hold("stray", when="before", op=op, nth=1, key=key, detach=True)

    def sent(self):
        return sorted(self.proxy.log(self.op, self.key), key=lambda x: x.start)

    def looks(self):
        return len(self.proxy.log("HeadObject", self.key))

    def worker_dies(self, m):
        self.proxy.wait_held("stray")
        before = self.looks()
        m.kill_workers()
        wait_until(lambda: self.looks() > before)

    def acts(self):
        self.proxy.release("stray")
        wait_until(lambda: all(x.end for x in self.sent()))


def create(path):
    path.write_text("new")


def create_exclusively(path):
    path.touch(exist_ok=False)


MADE = pytest.mark.parametrize("made", [create, create_exclusively], ids=["file", "lock"])


@MADE
def test_an_upload_of_a_new_file(m, variant, proxy, bucket, made):
    path = m.path / "new.txt"
    stray = Stray(proxy, "PutObject", "p/new.txt")
    thread, result = in_background(made, path)
    stray.worker_dies(m)
    stray.acts()
    thread.join(30)
    assert result == [None]
    # The last writer writes on top; what had to be new is found to be ours.
    assert len(stray.sent()) == (1 if variant == CAS or made is create_exclusively else 2)
    path.unlink()
    assert not bucket.exists("p/new.txt")
    m.check()


@MADE
def test_an_upload_that_is_held_for_longer(m, proxy, bucket, made):
    """It is made again; the first one finds that there is something."""
    path = m.path / "new.txt"
    stray = Stray(proxy, "PutObject", "p/new.txt")
    thread, result = in_background(made, path)
    stray.worker_dies(m)
    thread.join(30)
    assert result == [None]
    first, again = stray.sent()
    assert again.start - first.start > WAITED
    stray.acts()
    assert sorted(x.status for x in stray.sent()) == [200, 412]
    assert path.read_text() == ("new" if made is create else "")


@MADE
def test_an_upload_whose_answer_is_lost(m, proxy, made):
    """Nobody knows whether it is on its way: the client waits before it tries again."""
    path = m.path / "new.txt"
    stray = Stray(proxy, "PutObject", "p/new.txt")
    thread, result = in_background(made, path)
    proxy.wait_held("stray")
    proxy.release("stray", "drop")
    thread.join(30)
    assert result == [None]
    first, again = stray.sent()
    assert again.start - first.end > WAITED


def being_removed(m, proxy):
    """-> (its path, the DELETE that is held back, thread, its result)"""
    path = m.path / "f.txt"
    path.write_text("old")
    stray = Stray(proxy, "DeleteObject", "p/f.txt")
    return path, stray, *in_background(path.unlink)


def test_a_delete(m, proxy, bucket):
    path, stray, thread, result = being_removed(m, proxy)
    stray.worker_dies(m)
    stray.acts()
    thread.join(30)
    assert result == [None]
    assert len(stray.sent()) == 1
    path.write_text("old")
    assert bucket.get("p/f.txt") == b"old"
    m.check()


def test_a_delete_that_never_acts(m, proxy, bucket):
    path, stray, thread, result = being_removed(m, proxy)
    stray.worker_dies(m)
    proxy.release("stray", "drop")
    thread.join(30)
    assert result == [None]
    first, again = stray.sent()
    assert again.start - first.start > WAITED
    assert not bucket.exists("p/f.txt")


def test_a_delete_and_what_was_written_since(m, proxy, bucket):
    """Whether it acted before that or not: what came last stays."""
    path, stray, thread, result = being_removed(m, proxy)
    proxy.wait_held("stray")
    bucket.put("p/f.txt", b"theirs")
    m.kill_workers()
    thread.join(30)
    assert result == [None]
    proxy.release("stray", "drop")
    assert len(stray.sent()) == 1
    assert bucket.get("p/f.txt") == b"theirs"
    wait_until(lambda: path.exists() and path.read_text() == "theirs")


def test_a_delete_whose_answer_is_lost(m, proxy, bucket):
    path = m.path / "f.txt"
    path.write_text("old")
    proxy.hold("lost", when="after", op="DeleteObject", nth=1, key="p/f.txt")
    thread, result = in_background(path.unlink)
    proxy.wait_held("lost")
    bucket.put("p/f.txt", b"theirs")
    proxy.release("lost", "drop")
    thread.join(30)
    assert result == [None]
    assert len(proxy.log("DeleteObject", "p/f.txt")) == 1
    assert bucket.get("p/f.txt") == b"theirs"


def test_the_delete_of_a_rename(m, proxy, bucket):
    path = m.path / "f.txt"
    path.write_text("old")
    stray = Stray(proxy, "DeleteObject", "p/f.txt")
    thread, result = in_background(path.rename, m.path / "g.txt")
    stray.worker_dies(m)
    stray.acts()
    thread.join(30)
    assert result == [m.path / "g.txt"]
    assert len(stray.sent()) == 1
    path.write_text("old")
    assert bucket.get("p/f.txt") == bucket.get("p/g.txt") == b"old"
    m.check()
