"""unlink and rename with compare-and-set when the answer to a DELETE is lost: nobody's file goes but
the version that was meant."""

import errno
import time

import pytest

from harness.killer import Killer
from test_cas import (EXCL, FOREVER, PATIENT, cas, in_background, process, run_all,     # noqa: F401
                      s3server, start)

LATE = {**PATIENT, "STATEPROXY_S3_ATTEMPT_TIMEOUT": "60s"}


def under_way(proxy, when, who, what, path, *args):
    """-> (thread, its result), when the DELETE of the path's key is held before or after it acts."""
    proxy.hold("lost", when=when, op="DeleteObject", nth=1, key=f"p/{path.name}")
    background = in_background(who, what, path, *args)
    proxy.wait_held("lost")
    return background


def ended(proxy, thread, result):
    """Its answer is lost."""
    proxy.release("lost", "drop")
    thread.join(60)
    return result[0]


def lock(process_, path):
    process_("os.open", "f", path, EXCL)
    process_("close", "f")


@pytest.mark.parametrize("killed", [False, True], ids=["lost answer", "killed worker"])
def test_the_next_owners_lock_stays(cas, proxy, bucket, process, killed):
    """The DELETE acts, nobody hears of it, and another takes the lock: empty, as all of them."""
    slow, other = cas(via=proxy, env=LATE), cas()
    a, b = process(), process()
    lock(a, slow.path / "lock")
    thread, result = under_way(proxy, "after", a, "unlink", slow.path / "lock")
    lock(b, other.path / "lock")
    if killed:
        slow.kill_workers()
    assert ended(proxy, thread, result) == "ok"
    assert bucket.exists("p/lock"), "the lock of b"
    with pytest.raises(FileExistsError):
        lock(a, slow.path / "lock")
    b("unlink", other.path / "lock")
    assert not bucket.exists("p/lock")
    slow.check()


@pytest.mark.parametrize("text", ["1", "new work of b"])
def test_what_came_after_it_stays(cas, proxy, bucket, process, text):
    """The same with content, also with the same again."""
    slow, other = cas(via=proxy, env=LATE), cas()
    a, b = process(), process()
    a.put(slow.path / "k.txt", "1")
    thread, result = under_way(proxy, "after", a, "unlink", slow.path / "k.txt")
    b.put(other.path / "k.txt", text)
    assert ended(proxy, thread, result) == "ok"
    assert bucket.get("p/k.txt") == text.encode()
    slow.check()


def test_what_was_built_on_it_shows_that_it_has_not_acted(cas, proxy, bucket, process):
    slow, other = cas(via=proxy, env=LATE), cas()
    a, b = process(), process()
    a.put(slow.path / "k.txt", "1")
    thread, result = under_way(proxy, "before", a, "unlink", slow.path / "k.txt")
    assert b.get(other.path / "k.txt") == "1"
    b.put(other.path / "k.txt", "2")
    assert ended(proxy, thread, result) == 17
    assert bucket.get("p/k.txt") == b"2"


def test_what_cannot_be_told(cas, proxy, bucket, process):
    """A version without a write-id may have been deleted, or have been written upon."""
    slow, other = cas(via=proxy, env=LATE), cas()
    a, b = process(), process()
    bucket.put("p/k.txt", b"theirs")
    assert a.get(slow.path / "k.txt") == "theirs"
    thread, result = under_way(proxy, "before", a, "unlink", slow.path / "k.txt")
    assert b.get(other.path / "k.txt") == "theirs"
    b.put(other.path / "k.txt", "2")
    assert ended(proxy, thread, result) == 5
    assert bucket.get("p/k.txt") == b"2"
    assert "outcome of a delete unknown" in slow.log()


@pytest.mark.parametrize("text", ["", "1"])
@pytest.mark.parametrize("killed", [False, True], ids=["lost request", "killed worker"])
def test_what_is_still_there_goes(cas, proxy, bucket, process, text, killed):
    m, a = cas(via=proxy, env=LATE), process()
    a.put(m.path / "k.txt", text)
    before = proxy.counts().get("DeleteObject", 0)      # of the probe
    thread, result = under_way(proxy, "before", a, "unlink", m.path / "k.txt")
    if killed:
        m.kill_workers()
    assert ended(proxy, thread, result) == "ok"
    assert not bucket.exists("p/k.txt")
    assert proxy.counts()["DeleteObject"] == before + 2
    m.check()


def test_a_delete_that_is_never_heard_of(cas, proxy, bucket, process):
    m, a = cas(via=proxy, env=LATE), process()
    a.put(m.path / "k.txt", "1")
    proxy.add_rule("reset", op="DeleteObject", key="p/k.txt")
    with pytest.raises(OSError) as e:
        a("unlink", m.path / "k.txt")
    assert e.value.errno == errno.ECONNRESET
    proxy.clear_rules()
    a("unlink", m.path / "k.txt")
    assert not bucket.exists("p/k.txt")


def test_a_server_that_is_busy_for_a_second(cas, proxy, bucket, process):
    """It is not asked eight times within milliseconds."""
    m, a = cas(via=proxy, env=PATIENT), process()
    a.put(m.path / "k.txt", "1")
    proxy.add_rule("reset", op="DeleteObject", key="p/k.txt")
    thread, result = in_background(a, "unlink", m.path / "k.txt")
    time.sleep(1)
    proxy.clear_rules()
    thread.join(60)
    assert result == ["ok"]
    assert not bucket.exists("p/k.txt")


@pytest.mark.parametrize("killed", [False, True], ids=["lost answer", "killed worker"])
def test_rename_of_an_empty_file(cas, proxy, bucket, process, killed):
    slow, other = cas(via=proxy, env=LATE), cas()
    a, b = process(), process()
    lock(a, slow.path / "lock")
    thread, result = under_way(proxy, "after", a, "rename", slow.path / "lock", slow.path / "held")
    lock(b, other.path / "lock")
    if killed:
        slow.kill_workers()
    assert ended(proxy, thread, result) == "ok"
    assert bucket.exists("p/lock") and bucket.exists("p/held")
    a.put(slow.path / "held", "mine")       # what it holds is known
    assert bucket.get("p/held") == b"mine"
    slow.check()


SEEN_LONG_AGO = 1.1     # seconds, after which a LOOKUP asks


@pytest.mark.parametrize("what", ["unlink", "rename"])
@pytest.mark.parametrize("ours", [True, False], ids=["made here", "made by another program"])
def test_an_empty_file_that_was_made_anew_stays(cas, bucket, process, what, ours):
    """Also when the lookup before has seen it: what counts is which one its process has made or
    read."""
    one, two, a, b = cas(), cas(), process(), process()
    if ours:
        lock(a, one.path / "lock.x")
    else:
        bucket.put("p/lock.x", b"")
        assert a.get(one.path / "lock.x") == ""
    b("unlink", two.path / "lock.x")
    lock(b, two.path / "lock.x")
    time.sleep(SEEN_LONG_AGO)
    with pytest.raises(FileExistsError):
        a(what, one.path / "lock.x", *([one.path / "mine"] if what == "rename" else []))
    assert list(bucket.list("p/")) == ["p/lock.x"]
    one.check()


@pytest.mark.parametrize("what", ["unlink", "rename"])
def test_what_is_seen_meanwhile_is_not_meant(cas, proxy, bucket, process, what):
    """The DELETE has acted, its worker dies, and by then the mount knows the next owner's lock."""
    slow, other = cas(via=proxy, env=LATE), cas()
    a, b, c = process(), process(), process()
    lock(a, slow.path / "lock.x")
    c("stat", slow.path / "lock.x")     # so that its next one waits for no lock of the directory
    thread, result = under_way(proxy, "after", a, what, slow.path / "lock.x",
                               *([slow.path / "mine"] if what == "rename" else []))
    lock(b, other.path / "lock.x")
    time.sleep(SEEN_LONG_AGO)
    looking, _ = in_background(c, "stat", slow.path / "lock.x")
    time.sleep(0.5)
    slow.kill_workers()
    assert ended(proxy, thread, result) == "ok"
    looking.join(20)
    assert bucket.exists("p/lock.x"), "the lock of b"
    slow.check()


def test_the_same_content_made_anew_goes(cas, proxy, bucket, process):
    """It has another write-id than the one that was read, and still is what the unlink means."""
    slow, other = cas(via=proxy, env=LATE), cas()
    a, b = process(), process()
    a.put(slow.path / "k.txt", "1")
    b("unlink", other.path / "k.txt")
    b.put(other.path / "k.txt", "1")
    time.sleep(SEEN_LONG_AGO)
    thread, result = under_way(proxy, "before", a, "unlink", slow.path / "k.txt")
    assert ended(proxy, thread, result) == "ok"
    assert not bucket.exists("p/k.txt")


MUTEX = """
import os, random, sys, time
mount, held, n, how = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
lock, mine = mount + "/lock.x", f"{mount}/mine{os.getpid()}"
for i in range(n):
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            time.sleep(random.uniform(0, 0.02))
    os.mkdir(held)      # on a local disk: fails if another has it
    os.rmdir(held)
    if how == "rename":
        os.rename(lock, mine)
    os.unlink(mine if how == "rename" else lock)
"""


@pytest.mark.limit(240)
@pytest.mark.parametrize("how", ["unlink", "rename"])
@pytest.mark.parametrize("faults", [0, 0.04])
@pytest.mark.parametrize("kills", [False, True])
@pytest.mark.repeats
def test_one_lock_file_has_one_owner_at_a_time(cas, proxy, bucket, tmp_path, how, faults, kills):
    mounts = [cas(via=proxy, env=PATIENT) for _ in range(2)]
    if faults:
        proxy.add_faults(faults, seed=7, slow_ms=20, lost_ms=20)
    killers = [Killer(m, FOREVER, i, 0.05, 0.3) for i, m in enumerate(mounts) if kills]
    for k in killers:
        k.start()
    try:
        run_all([start(MUTEX, mounts[i % 2].path, tmp_path / "held", 12, how) for i in range(5)],
                100)
    finally:
        for k in killers:
            k.cancelled.set()
            k.join(30)
    assert list(bucket.list("p/")) == []
    for m in mounts:
        m.check()


def in_doubt(proxy, process_, path, when="after"):
    """A DELETE that acts, or (before) does not, and whose outcome nobody tells."""
    thread, result = under_way(proxy, when, process_, "unlink", path)
    proxy.add_rule("answer", status=503, op="HeadObject", key=f"p/{path.name}")
    assert ended(proxy, thread, result) == errno.ETIMEDOUT
    proxy.clear_rules()


def test_a_file_that_one_has_deleted_oneself_is_no_conflict(cas, proxy, bucket, process):
    """The error said that it is not known. It is known when the file is looked for."""
    m, a = cas(via=proxy, env={"AWS_MAX_ATTEMPTS": "1"}), process()
    a.put(m.path / "k.txt", "1")
    assert a.get(m.path / "k.txt") == "1"
    in_doubt(proxy, a, m.path / "k.txt")
    assert not bucket.exists("p/k.txt")
    a.put(m.path / "k.txt", "2")
    assert bucket.get("p/k.txt") == b"2"


def test_one_that_is_still_there_is_as_before(cas, proxy, bucket, process):
    """It had not acted: the file can be written; and when it has been read again, and others delete it, that is a
    conflict as ever."""
    m, other = cas(via=proxy, env={"AWS_MAX_ATTEMPTS": "1"}), cas()
    a, b = process(), process()
    a.put(m.path / "k.txt", "1")
    in_doubt(proxy, a, m.path / "k.txt", when="before")
    a.put(m.path / "k.txt", "2")
    assert bucket.get("p/k.txt") == b"2"
    in_doubt(proxy, a, m.path / "k.txt", when="before")
    assert a.get(m.path / "k.txt") == "2"
    b.get(other.path / "k.txt")
    b("unlink", other.path / "k.txt")
    with pytest.raises(FileExistsError):
        a.put(m.path / "k.txt", "3")


def test_a_conflict_that_was_told_stays_one(cas, proxy, bucket, process):
    """The unlink itself ended with EEXIST: another had written. That the file goes later is not a's doing."""
    slow, other = cas(via=proxy, env=LATE), cas()
    a, b = process(), process()
    a.put(slow.path / "k.txt", "1")
    assert a.get(slow.path / "k.txt") == "1"
    thread, result = under_way(proxy, "before", a, "unlink", slow.path / "k.txt")
    assert b.get(other.path / "k.txt") == "1"
    b.put(other.path / "k.txt", "2")
    assert ended(proxy, thread, result) == errno.EEXIST
    b("unlink", other.path / "k.txt")
    with pytest.raises(FileExistsError):
        a.put(slow.path / "k.txt", "3")
    assert not bucket.exists("p/k.txt")
