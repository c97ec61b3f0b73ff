"""Another version takes over: the tables are laid out differently (tools/other-version), programs see a
pause, and no error.

By hand, before a release: STATEPROXY_TEST_UPGRADES=100, the changes of test_many_upgrades."""

import fcntl
import os
import shutil
import subprocess
import time

import pytest

from harness import DAEMON, TOP, util
from harness.load import PARTS, Load
from harness.pattern import pattern
from harness.work import kill_all, still_running
from test_fdstore import CAS, LWW, PYTHON, SESSIONS, STREAM, kept, program, store, variant   # noqa: F401
from test_holder import OVER, Streams, again, held, holder, open_some       # noqa: F401

pytestmark = pytest.mark.limit(240)     # the first one also builds the other version
UPGRADES = int(os.environ.get("STATEPROXY_TEST_UPGRADES", "10"))
OTHER = "0.1.0-other"


@pytest.fixture(scope="session")
def other():
    """The other version's program."""
    with open(TOP / "configure", "rb") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        done = subprocess.run([TOP / "tools" / "other-version"], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return f"{done.stdout.strip()}/stateproxyd"


class Versions:
    """The program of a mount, which an upgrade replaces where it is."""

    def __init__(self, m, other):
        self.m, self.programs, self.at = m, [DAEMON, other], 0
        m.daemon = m.dir / "stateproxyd"
        self.install()

    def install(self):
        new = self.m.dir / "stateproxyd.new"
        shutil.copy(self.programs[self.at % 2], new)
        new.rename(self.m.daemon)

    def next(self):
        self.at += 1
        self.install()


def leave(m):
    assert m.ctl("leave", timeout=60).out == "left to the next daemon\n"
    assert m.wait_exit() == 79


def upgrade(v, holder):
    """There, or back."""
    v.next()
    leave(v.m)
    again(v.m, holder)
    assert "carried over" in v.m.log() and " warn " not in v.m.log() and " err " not in v.m.log(), v.m.log()


@pytest.fixture
def versions(held, other):
    def make(*args, **kwargs):
        m = held(*args, start=False, **kwargs)
        return Versions(m, other)
    return make


def started(v, holder):
    v.m.start()
    holder.wait("kept")
    return v.m


def test_open_files_locks_and_unpublished_bytes(versions, holder, bucket, program, variant):
    v = versions(variant)
    m = started(v, holder)
    old, big = open_some(m, bucket, program)
    for _ in range(3):
        upgrade(v, holder)
        with open(m.path / "old", "rb") as f, pytest.raises(BlockingIOError):
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert program("new.write(b'x')") == "1"
    assert f" {OTHER}\n" in m.ctl("status", check=False).out
    assert program("old.seek(200_000)") == "200000" and program("old.read()") == repr(old[200_000:])
    assert program("new.write(b'after')") == "5" and program("big.write(b'end')") == "3"
    assert program("new.close()") == "None" and program("big.close()") == "None"
    assert bucket.get(m.key("new")) == b"before xxxafter"
    assert bucket.get(m.key("big")) == big + b"end"
    program("old.close()")
    program("os.chdir('/')")
    assert util.mount_count(m.path) == 1
    m.check()
    m.stop()


def test_by_the_service_manager(kept, store, other, bucket, program):
    """daemon.fdstore: what the version before had is dropped there."""
    m = kept(CAS, start=False)
    v = Versions(m, other)
    m.start()
    util.wait_until(store.has_all, what="all in the store")
    names = len(store.held)
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    for i in range(4):
        assert program("f.write(b'x')") == "1"
        v.next()
        store.nobody_serves()
        leave(m)
        m.log_path.unlink()
        m.start()
        util.wait_until(lambda: OVER in m.log() and store.has_all(), what=OVER)
        assert "carried over" in m.log() and " warn " not in m.log()
        util.wait_until(lambda: len(store.held) == names, what="no more than before in the store")
    assert program("f.close()") == "None" and bucket.get(m.key("f")) == b"xxxx"
    m.check()
    m.stop()
    util.wait_until(lambda: not store.held, what="an empty store")


def test_a_conflict_is_still_one(versions, holder, bucket, program):
    """What a process has read before the change is what it expects after it."""
    v = versions(CAS)
    m = started(v, holder)
    for name in ("same", "changed", "open"):
        bucket.put(m.key(name), b"v1")
    program(f"os.chdir({str(m.path)!r})")
    program("write = lambda name: [f.write(b'mine') and f.close() for f in [open(name, 'wb')]] and None")
    for name in ("same", "changed"):
        assert program(f"open({name!r}, 'rb').read()") == "b'v1'"
    program("f = open('open', 'r+b', 0)")
    assert program("f.write(b'mine')") == "4"
    upgrade(v, holder)
    bucket.put(m.key("changed"), b"v2")
    bucket.put(m.key("open"), b"v2")
    upgrade(v, holder)
    assert program("write('changed')") == "OSError 17" and bucket.get(m.key("changed")) == b"v2"
    assert program("f.close()") == "OSError 17" and bucket.get(m.key("open")) == b"v2"
    assert program("write('same')") == "None" and bucket.get(m.key("same")) == b"mine"
    assert m.ctl("check").code == 0
    program("os.chdir('/')")
    m.check()
    m.stop()


def test_requests_that_wait(versions, holder, bucket, proxy, program, scratch):
    """They go on with the next one, and happen once: a wait for a lock, a close, a creation in the same folder,
    a read."""
    v = versions(via=proxy)
    m = started(v, holder)
    bucket.put(m.key("locked"), b"1")
    bucket.put(m.key("big"), pattern(1 << 20, 5))
    program("import fcntl")
    program(f"lock = open({str(m.path / 'locked')!r}, 'r+b')")
    assert program("fcntl.flock(lock, fcntl.LOCK_EX)") == "None"
    waits = util.spawn([*PYTHON, "-c", "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX); print('mine')",
                        m.path / "locked"])
    proxy.hold("put", when="after", op="PutObject", key=m.key("closing"))
    close = util.spawn([*PYTHON, "-c", "import sys; open(sys.argv[1], 'xb').write(b'x' * 100_000)", m.path / "closing"])
    proxy.wait_held("put")
    proxy.hold("get", when="after", op="GetObject", key=m.key("big"))
    read = util.spawn(["cmp", m.path / "big", m.path / "big"])
    proxy.wait_held("get")
    v.next()
    leave(m)
    late = util.spawn([*PYTHON, "-c", "import os, sys; os.mkdir(sys.argv[1]); os.rename(sys.argv[1], sys.argv[1] + '2')",
                       m.path / "late"])
    again(m, holder)
    for name in ("put", "get"):
        proxy.release(name)
    for p in (close, read, late):
        util.finish(p)
    upgrade(v, holder)
    assert waits.poll() is None, "the lock is held"
    assert program("fcntl.flock(lock, fcntl.LOCK_UN)") == "None"
    assert util.finish(waits).out == "mine\n"
    assert bucket.get(m.key("closing")) == b"x" * 100_000
    assert sorted(os.listdir(m.path)) == ["big", "closing", "late2", "locked"]
    program("lock.close()")
    m.check()
    m.stop()


def test_after_a_crash(versions, holder, bucket, program, variant):
    """All is killed, and the next one is of another version."""
    v = versions(variant)
    m = started(v, holder)
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    m.kill_all()
    v.next()
    again(m, holder)
    assert "carried over" in m.log()
    assert program("f.write(b'b')") == "1" and program("f.close()") == "None"
    assert bucket.get(m.key("f")) == b"ab"
    m.check()
    m.stop()


def test_restart_in_place_is_refused(versions, holder, bucket, program):
    """The reason says what to do instead; nothing has happened."""
    v = versions()
    m = started(v, holder)
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    v.next()
    done = m.ctl("restart", check=False)
    assert done.code == 1 and f"is now version {OTHER}" in done.err and "stateproxyctl leave" in done.err, done
    assert program("f.write(b'a')") == "1"
    leave(m)
    again(m, holder)
    assert program("f.close()") == "None" and bucket.get(m.key("f")) == b"a"
    m.stop()


@pytest.fixture
def strange(other, scratch):
    """A version to which "checked_ns" of a node has another meaning, and so another name."""
    with open(other, "rb") as f:
        code = f.read()
    assert code.count(b"\0checked_ns\0") == 1
    path = scratch / "strange"
    path.write_bytes(code.replace(b"\0checked_ns\0", b"\0checked_as\0"))
    path.chmod(0o755)
    return path


def test_what_cannot_be_carried(versions, holder, bucket, program, strange):
    """It is refused before anything has ended. When all is killed, the next one mounts anew."""
    v = versions()
    m = started(v, holder)
    v.programs[1] = strange
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    v.next()
    done = m.ctl("leave", check=False)
    assert done.code == 1 and "node.checked_ns is in use, and unknown to this version" in done.err, done
    assert program("f.write(b'a')") == "1"
    v.next()            # what ran is put back
    leave(m)
    again(m, holder)
    assert program("f.write(b'b')") == "1"
    m.kill_all()
    v.next()
    again(m, holder, "ready ")
    assert "not taken over" in m.log() and "cannot be carried over: node.checked_ns" in m.log()
    assert program("f.write(b'x')") in ("OSError 107", "OSError 103")
    (m.path / "g").write_bytes(b"new")
    assert bucket.get(m.key("g")) == b"new"
    m.stop()


# FOLDER STOP: lists it, and looks at each. Prints how often.
LS = """
import os, sys
done = 0
while not os.path.exists(sys.argv[2]):
    names = sorted(e.name for e in os.scandir(sys.argv[1]) if e.stat().st_size == 5)
    assert names == [f"f{i:03}" for i in range(150)], len(names)
    done += 1
print(done)
"""

# PATH STOP: several take turns with a lock, most of them wait for it. Prints how often.
LOCKS = """
import fcntl, os, sys
done = 0
with open(sys.argv[1], "r+b") as f:
    while not os.path.exists(sys.argv[2]):
        fcntl.lockf(f, fcntl.LOCK_EX)
        n = int(os.pread(f.fileno(), 20, 0))
        os.pwrite(f.fileno(), b"%019d" % (n + 1), 0)
        fcntl.lockf(f, fcntl.LOCK_UN)
        done += 1
print(done)
"""

# FOLDER STOP: makes, renames and removes, and knows what is there. Prints how often.
NAMES = """
import os, sys
done = 0
d = sys.argv[1]
while not os.path.exists(sys.argv[2]):
    open(f"{d}/a", "x").write(str(done))
    os.rename(f"{d}/a", f"{d}/b")
    assert open(f"{d}/b").read() == str(done) and os.listdir(d) == ["b"]
    os.unlink(f"{d}/b")
    assert os.listdir(d) == []
    os.mkdir(f"{d}/c")
    os.rmdir(f"{d}/c")
    done += 1
print(done)
"""


@pytest.mark.limit(240 + UPGRADES * 6)
@pytest.mark.slow
def test_many_upgrades(versions, holder, bucket, scratch, seed, program, variant):
    """There and back under load: no program has an error, no update is lost, all bytes are right."""
    v = versions(variant, workers=3, env=PARTS)
    m = started(v, holder)
    for i in range(150):
        bucket.put(m.key(f"ls/f{i:03}"), b"12345")
    (m.path / "names").mkdir()
    (m.dir / "locked").write_bytes(b"%019d" % 0)
    shutil.copy(m.dir / "locked", m.path / "locked")
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    with Streams(m, bucket, scratch) if variant == STREAM else \
            Load(m, bucket, scratch, seed, isolated=variant == CAS) as load:
        own = {"ls": (LS, m.path / "ls"), "names": (NAMES, m.path / "names")}
        if variant == LWW:
            own |= {f"lock {i}": (LOCKS, m.path / "locked") for i in range(3)}
        own = {name: util.spawn([*PYTHON, "-c", *args, load.stop]) for name, args in own.items()}
        try:
            for _ in range(UPGRADES):
                time.sleep(0.3)
                upgrade(v, holder)
                m.check()
                load.check()
                still_running(*own.values())()
            assert program("f.write(b'b')") == "1" and program("f.close()") == "None"
            done = load.finish()
            told = {name: int(util.finish(p, 120).out) for name, p in own.items()}
        finally:
            kill_all(own.values())
    assert bucket.get(m.key("f")) == b"ab"
    assert int(bucket.get(m.key("locked"))) == sum(n for name, n in told.items() if "lock" in name)
    print(f"{variant}: upgrades={UPGRADES} done={done} {told}")
    m.check()
    m.stop()
