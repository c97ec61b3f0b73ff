"""More programs want to write than there are sessions (buffer.sessions): who opens waits until another file is closed,
and who holds all of them itself is told at once."""

import concurrent.futures
import errno
import os
import signal
import stat
import time

import pytest

from harness import SLOW, util

VARIANTS = ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"]
TWO = {"STATEPROXY_BUFFER_SESSIONS": "2"}

pytestmark = pytest.mark.quiet("its locks would take sessions")


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


def waiting(m, *what):
    """These requests wait; returns when that is so."""
    def there():
        return sorted(r["op"] for r in m.inflight()) == sorted(what)
    util.wait_until(there, what=f"{what} to wait")


def hold_all(m, actor, names=("h1", "h2")):
    fds = [actor.open(m.path / n, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for n in names]
    for fd in fds:
        actor.write(fd, b"held")
    return fds


def let_go(actor, fds):
    while fds:
        actor.close(fds.pop())


CALLS = {
    "CREATE": lambda d: ("write_all", d / "new", b"mine"),
    "CREATE excl": lambda d: ("write_all", d / "own", b"mine", os.O_EXCL),
    "OPEN": lambda d: ("write_all", d / "old", b"mine", 0),
    "OPEN truncate": lambda d: ("write_all", d / "old2", b"mine", os.O_TRUNC),
    "SETATTR": lambda d: ("truncate", d / "old3", 0),
    "MKNOD": lambda d: ("mknod", d / "node", stat.S_IFREG | 0o644),
}
AFTER = {"new": b"mine", "own": b"mine", "old": b"mine", "old2": b"mine", "old3": b"", "node": b""}


def test_each_call_waits(mount, bucket, actor, variant):
    m, holder, waiter = mount(variant=variant, env=TWO), actor(), actor()
    for name in "old", "old2", "old3":
        bucket.put(m.key(f"d/{name}"), b"....")
    bucket.put(m.key("read"), b"bytes")
    for what, call in CALLS.items():
        if variant == "s3-passthrough" and what == "OPEN":
            call = CALLS["OPEN truncate"]
        fds = hold_all(m, holder)
        waiter.begin(*call(m.path / "d"))
        waiting(m, what.split()[0])
        assert (m.path / "read").read_bytes() == b"bytes" and "read" in os.listdir(m.path)
        holder.close(fds.pop(0))
        waiter.end()
        let_go(holder, fds)
    if variant == "s3-passthrough":
        waiter.write_all(m.path / "d/old", b"mine")
    assert {n: bucket.get(m.key(f"d/{n}")) for n in AFTER} == AFTER
    assert "too many files" not in m.log()
    m.check()


def test_who_holds_all_is_told_at_once(mount, bucket, actor, variant):
    m, holder = mount(variant=variant, env=TWO), actor()
    for name in "old", "old2", "old3":
        bucket.put(m.key(name), b"....")
    fds = hold_all(m, holder)
    start = time.monotonic()
    for call in CALLS.values():
        with pytest.raises(OSError) as e:
            holder._call(*call(m.path))
        assert e.value.errno == errno.ENFILE, call
    assert time.monotonic() - start < 10 * SLOW     # of the 60 s of s3.deadline
    assert m.log().count("too many files") >= 1 and "raise buffer.sessions" in m.log()
    let_go(holder, fds)
    m.check()


def test_its_children_hold_all(mount, actor):
    """As who starts programs with their output in files: it has opened all, and closed its own descriptors."""
    m, parent = mount(env=TWO), actor()
    fds = hold_all(m, parent)
    child = parent.child()
    for fd in fds:
        parent.close(fd)
    parent.begin("write_all", m.path / "more", b"")
    waiting(m, "CREATE")
    let_go(child, fds)
    parent.end()
    m.check()


def appends_to_theirs(m, bucket, holder, fds, waiter):
    """Somebody else writes while it waits for its open."""
    bucket.put(m.key("d/log"), b"theirs\n")
    let_go(holder, fds)
    fd = waiter.end()
    waiter.write(fd, b"mine\n")
    waiter.close(fd)
    assert bucket.get(m.key("d/log")) == b"theirs\nmine\n"
    m.check()


def test_made_elsewhere_meanwhile(mount, bucket, actor, variant):
    """What somebody else has written under the name is not lost."""
    m, holder, waiter = mount(variant=variant, env=TWO), actor(), actor()
    (m.path / "d").mkdir()
    fds = hold_all(m, holder)
    waiter.begin("open", m.path / "d/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    waiting(m, "CREATE")
    appends_to_theirs(m, bucket, holder, fds, waiter)


def test_changed_elsewhere_meanwhile(mount, bucket, actor, variant):
    m, holder, waiter = mount(variant=variant, env=TWO), actor(), actor()
    bucket.put(m.key("d/log"), b"old\n")
    fds = hold_all(m, holder)
    waiter.begin("open", m.path / "d/log", os.O_WRONLY | os.O_APPEND)
    waiting(m, "OPEN")
    appends_to_theirs(m, bucket, holder, fds, waiter)


def test_a_signal_ends_the_wait(mount, bucket, actor, variant):
    m, holder = mount(variant=variant, env=TWO), actor()
    bucket.put(m.key("d/old"), b"old")
    fds = hold_all(m, holder)
    for name, what in ("new", "CREATE"), ("old", "OPEN"):
        waiter = util.spawn(["dd", "if=/dev/zero", f"of={m.path / 'd' / name}", "bs=1", "count=1"])
        waiting(m, what)
        waiter.terminate()
        util.finish(waiter, check=False)
        waiting(m)
    let_go(holder, fds)
    assert bucket.get(m.key("d/old")) == b"old" and not bucket.exists(m.key("d/new"))
    (m.path / "d/new").write_bytes(b"free again")
    m.check()


def test_workers_die_meanwhile(mount, bucket, actor, variant):
    m, holder, waiter = mount(variant=variant, env=TWO), actor(), actor()
    bucket.put(m.key("d/old2"), b"....")
    for what in "CREATE", "CREATE excl", "OPEN truncate", "MKNOD":
        fds = hold_all(m, holder)
        call = CALLS[what](m.path / "d")
        waiter.begin(*call)
        waiting(m, what.split()[0])
        before = m.kill_workers()
        m.wait_workers(2, without=before)
        waiting(m, what.split()[0])
        let_go(holder, fds)
        waiter.end()
        assert bucket.get(m.key(f"d/{call[1].name}")) == AFTER[call[1].name]
    m.check()


def test_who_wait_for_each_other(mount, actor, variant):
    """The time for S3 ends that, and the log says what to raise."""
    m = mount(variant=variant, env={**TWO, "STATEPROXY_S3_DEADLINE": "2s"})
    both = [actor(), actor()]
    for i, p in enumerate(both):
        (m.path / f"d{i}").mkdir()
        p.fd = hold_all(m, p, [f"h{i}"])
    start = time.monotonic()
    for i, p in enumerate(both):
        p.begin("open", m.path / f"d{i}/more", os.O_WRONLY | os.O_CREAT)
    for p in both:
        with pytest.raises(OSError) as e:
            p.end()
        assert e.value.errno == errno.ENFILE
    assert 1.5 < time.monotonic() - start < 20 * SLOW
    assert "raise buffer.sessions" in m.log()
    for p in both:
        let_go(p, p.fd)
    m.check()


def test_the_daemon_ends_meanwhile(mount, bucket, actor):
    m, holder, waiter = mount(env=TWO), actor(), actor()
    fds = hold_all(m, holder)
    waiter.begin("open", m.path / "more", os.O_WRONLY | os.O_CREAT)
    waiting(m, "CREATE")
    m.proc.send_signal(signal.SIGTERM)
    with pytest.raises(OSError) as e:
        waiter.end()
    assert e.value.errno == errno.ESHUTDOWN
    let_go(holder, fds)
    m.stop()
    assert bucket.get(m.key("h1")) == b"held" and not bucket.exists(m.key("more"))


def write_many(actor, path, who):
    for i in range(12):
        actor.write_all(path / f"{who}/{i % 4}", b"%d %d" % (who, i))


def test_many_take_turns(mount, bucket, actor, variant):
    """Ten programs on two slots, beside one that reads and lists, and deaths of workers."""
    m, writers = mount(variant=variant, env=TWO), [actor() for _ in range(10)]
    reader = actor()
    bucket.put(m.key("read/f"), b"bytes")
    for who in range(len(writers)):
        (m.path / str(who)).mkdir()
    with concurrent.futures.ThreadPoolExecutor(len(writers)) as pool:
        running = [pool.submit(write_many, a, m.path, who) for who, a in enumerate(writers)]
        while not all(f.done() for f in running):
            assert reader.read_all(m.path / "read/f") == b"bytes" and len(reader.listdir(m.path)) == 11
            if sum(f.done() for f in running) == 0:
                m.kill_workers()
                m.wait_workers(2)
        for f in running:
            f.result()
    for who in range(len(writers)):
        assert [bucket.get(m.key(f"{who}/{i}")) for i in range(4)] == [b"%d %d" % (who, i + 8) for i in range(4)]
    assert "too many files" not in m.log()
    m.check()
