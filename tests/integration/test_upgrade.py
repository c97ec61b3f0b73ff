"""Another version takes over: the tables are laid out differently (tools/other-version), programs see a
pause, and no error.

By hand, before a release: STATEPROXY_TEST_UPGRADES=100, the changes of test_many_upgrades, and
STATEPROXY_TEST_UPGRADE_STEPS=1, the deaths of test_death_at_every_step at each system call."""

import fcntl
import os
import shutil
import subprocess
import threading
import time

import pytest

from harness import DAEMON, TOP, syscalls, util
from harness.connector import Connector
from harness.load import PARTS, Load
from harness.pattern import pattern
from harness.work import kill_all, still_running
from test_fdstore import CAS, LWW, PYTHON, SESSIONS, STREAM, kept, program, store, variant   # noqa: F401
from test_holder import OVER, Streams, again, held, holder, open_some       # noqa: F401
from test_tls import authority, front       # noqa: F401

pytestmark = pytest.mark.limit(240)     # the first one also builds the other version
UPGRADES = int(os.environ.get("STATEPROXY_TEST_UPGRADES", "10"))
STEPS = int(os.environ.get("STATEPROXY_TEST_UPGRADE_STEPS", "0"))
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
        self.m, self.programs, self.at, self.other = m, [DAEMON, other], 0, other
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


def goes_on(m, program):
    with open(m.path / "old", "rb") as f, pytest.raises(BlockingIOError):
        fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert program("new.write(b'x')") == "1"


def ends_well(m, bucket, program, old, big):
    """Of open_some, after three changes that ended with the other version."""
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


def test_open_files_locks_and_unpublished_bytes(versions, holder, bucket, program, variant):
    v = versions(variant)
    m = started(v, holder)
    old, big = open_some(m, bucket, program)
    for _ in range(3):
        upgrade(v, holder)
        goes_on(m, program)
    ends_well(m, bucket, program, old, big)


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


def renamed(program, path, field):
    """A copy in which this field has another name."""
    with open(program, "rb") as f:
        code = f.read()
    name = b"\0" + field.encode() + b"\0"
    assert code.count(name) == 1
    path.write_bytes(code.replace(name, name[:-2] + b"_\0"))
    path.chmod(0o755)
    return path


# -- in place: stateproxyctl restart. Nobody keeps anything.


@pytest.fixture
def alone(mount, other):
    """alone(variant, ...) -> Versions of a mount that no keeper knows."""
    def make(*args, **kwargs):
        v = Versions(mount(*args, start=False, **kwargs), other)
        v.m.start()
        return v
    return make


def in_place(v):
    """There, or back."""
    m, before = v.m, v.m.log().count("carried over")
    pid = m.proc.pid
    v.next()
    assert m.ctl("restart", timeout=60).out == "restarted in place\n"
    assert m.log().count("carried over") == before + 1 and m.proc.pid == pid and m.proc.poll() is None
    assert os.path.samefile(f"/proc/{pid}/exe", m.daemon)
    assert " warn " not in m.log() and not m.errors(), m.log()


def test_in_place(alone, bucket, program, variant):
    """Open files, locks, unpublished bytes; there, back and there again."""
    v = alone(variant=variant)
    m = v.m
    old, big = open_some(m, bucket, program)
    for i in range(3):
        in_place(v)
        goes_on(m, program)
    ends_well(m, bucket, program, old, big)


def test_requests_that_wait_in_place(alone, bucket, proxy, program):
    """A wait for a lock, a close whose upload is on its way, a read: each happens once, without an error."""
    v = alone(via=proxy)
    m = v.m
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
    in_place(v)
    for name in ("put", "get"):
        proxy.release(name)
    util.finish(close)
    util.finish(read)
    in_place(v)
    assert waits.poll() is None, "the lock is held"
    assert program("fcntl.flock(lock, fcntl.LOCK_UN)") == "None"
    assert util.finish(waits).out == "mine\n"
    assert bucket.get(m.key("closing")) == b"x" * 100_000
    program("lock.close()")
    m.check()
    m.stop()


def test_clients_of_the_connector_in_place(alone, bucket, scratch):
    """What has begun is answered by the version that has begun it; who connects then waits for the next one."""
    path = scratch / "c.sock"
    v = alone(env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": path})
    con = Connector(path)
    with con.raw() as slow:
        slow.send(b"PUT /keys/slow HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
        util.wait_until(lambda: v.m.inflight(), what="the request")
        restart = threading.Thread(target=in_place, args=(v,))
        restart.start()
        util.wait_until(lambda: "all processes end" in v.m.log(), what="the end of the workers")
        with con.raw() as waits:
            waits.send(b"GET /keys/slow HTTP/1.1\r\n\r\n")
            assert restart.is_alive(), "it waits for the slow client"
            slow.send(b"def")
            assert slow.answer().status == 204
            restart.join()
            assert waits.answer().body == b"abcdef"
    v.m.stop()


def test_it_is_told_to_end_meanwhile(alone, bucket, program, scratch):
    """Before the exec, while processes end: they are started again, and what was written is published."""
    v = alone(env={"CONNECTOR_SOCKET": scratch / "c.sock"})
    m = v.m
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'unpublished')") == "11"
    con, told = Connector(scratch / "c.sock"), []
    with con.raw() as slow:
        slow.send(b"PUT /keys/slow HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
        util.wait_until(lambda: m.inflight(), what="the request")
        v.next()
        restart = threading.Thread(target=lambda: told.append(m.ctl("restart", check=False, timeout=60)))
        restart.start()
        util.wait_until(lambda: "all processes end" in m.log(), what="the end of the workers")
        m.term()
        restart.join()
        assert told[0].code == 1 and "the daemon is ending" in told[0].err
        program.say("f.close()")
        slow.send(b"def")
        assert slow.answer().status == 204
    assert program.proc.stdout.readline().strip() == b"None"
    assert m.wait_exit() == 0
    m.stopped = True
    assert bucket.get(m.key("f")) == b"unpublished" and bucket.get(m.key("slow")) == b"abcdef"


@pytest.fixture
def fails(request, other, scratch):
    """The trial is passed by the other version, and then it is one that does not know this name."""
    strange, path = scratch / "strange", scratch / "fails"
    renamed(other, strange, request.param)
    path.write_text(f'#!/bin/sh\ncase "$*" in *--check*) exec {other} "$@" ;; esac\nexec {strange} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("fails", ["request_limit_ns", "checked_ns"], ids=["record", "segment"], indirect=True)
def test_the_way_back(alone, bucket, program, fails):
    """The next program finds only after the exec that it cannot take over: the one of before goes on, though its file
    is gone. Then the next one is mended."""
    v = alone()
    m = v.m
    right, v.programs[1] = v.programs[1], fails
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    v.next()
    for i in range(2):
        done = m.ctl("restart", check=False, timeout=60)
        assert done.code == 1 and "the one of before goes on" in done.err, done
        assert m.proc.poll() is None and m.ctl("status").code == 0
        assert "this program cannot take over" in m.log() and "restarted_in_place" not in m.status()
        assert program("f.write(b'b')") == "1"
        m.check()
    v.programs[1] = right
    v.install()
    assert m.ctl("restart", timeout=60).out == "restarted in place\n"
    assert f" {OTHER}\n" in m.ctl("status", check=False).out
    assert program("f.write(b'c')") == "1" and program("f.close()") == "None"
    assert bucket.get(m.key("f")) == b"abbc" and util.mount_count(m.path) == 1
    m.stop()


def test_it_cannot_be_executed(alone, bucket, program, scratch):
    """All its processes have ended when that turns out: they are started again."""
    v = alone()
    m = v.m
    once = scratch / "once"
    v.programs[1] = once
    once.write_text(f'#!/bin/sh\nrm {m.daemon}\nexec {v.other} "$@"\n')
    once.chmod(0o755)
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    v.next()
    done = m.ctl("restart", check=False, timeout=60)
    assert done.code == 1 and "cannot execute" in done.err, done
    assert program("f.write(b'b')") == "1" and program("f.close()") == "None"
    assert bucket.get(m.key("f")) == b"ab"
    m.wait_workers(2)
    m.check()
    m.stop()


@pytest.fixture
def strange(other, scratch):
    """A version to which "checked_ns" of a node has another meaning, and so another name."""
    return renamed(other, scratch / "strange", "checked_ns")


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


def test_its_workers_cannot_start(alone, front, authority, bucket, program, scratch):      # noqa: F811
    """What the trial has found goes before the exec. That is told; programs wait; the version of before is put back."""
    gone, config = scratch / "gone.pem", scratch / "c.yaml"
    shutil.copy2(authority.path, gone)
    config.write_text(f"s3:\n  ca_bundle: {gone}\n")
    v = alone(via=front(*authority.issue("localhost")).endpoint("localhost"), args=["--config", config])
    m = v.m
    v.programs[1] = scratch / "fails"
    v.programs[1].write_text(f'#!/bin/sh\ncase "$*" in *--check*) exec {v.other} "$@" ;; esac\nrm -f {gone}\n'
                             f'cp {v.other} {m.daemon}.x\nmv {m.daemon}.x {m.daemon}\nexec {m.daemon} "$@"\n')
    v.programs[1].chmod(0o755)
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    v.next()
    done = m.ctl("restart", check=False, timeout=60)
    assert done.code == 1 and "a process cannot start" in done.err, done
    program.say("f.write(b'b')")
    shutil.copy2(authority.path, gone)
    v.next()
    v.install()
    assert m.ctl("restart", timeout=60).out == "restarted in place\n"
    assert program.proc.stdout.readline().strip() == b"1"
    assert program("f.close()") == "None" and bucket.get(m.key("f")) == b"ab"
    m.wait_workers(2)
    m.check()
    m.stop()


# -- deaths


class Kept:
    """What the deaths below need of a keeper."""

    def __init__(self, m, holder=None, store=None):
        self.m, self.holder, self.store = m, holder, store

    def start(self):
        self.m.start()
        util.wait_until(self.has_all, what="all with the keeper")

    def has_all(self):
        return self.store.has_all() if self.store else self.holder.count("kept") > 0

    def nobody_serves(self):
        if self.store:
            self.store.nobody_serves()

    def again(self):
        if self.holder:
            again(self.m, self.holder)
            return
        self.m.log_path.unlink()
        self.m.start()
        util.wait_until(lambda: OVER in self.m.log() and len(self.store.records()) == 1, what=OVER)


@pytest.fixture(params=["holder", "manager"])
def keeper(request, mount, scratch):
    env = {"STATEPROXY_BUFFER_SESSIONS": "4"}
    if request.param == "holder":
        holder = request.getfixturevalue("holder")
        return Kept(mount(start=False, env={**env, "STATEPROXY_DAEMON_HOLDER": holder.path}), holder)
    store = request.getfixturevalue("store")
    m = mount(start=False, env={**env, "NOTIFY_SOCKET": store.path, "STATEPROXY_DAEMON_FDSTORE": "true"})
    m.wrap = store.wrap
    return Kept(m, store=store)


def dies_taking_over(v, keeper, how, number, nth, out):
    """The next version takes over, and dies at this system call. -> whether it has"""
    m = v.m
    keeper.nobody_serves()
    if how == "in place":
        tracer = syscalls.start(m.proc.pid, number, nth, out)
        v.next()
        m.ctl("restart", check=False, timeout=60)
        tracer.communicate()
    else:
        leave(m)
        v.next()
        wrap = m.wrap
        m.wrap = lambda *command: [*syscalls.launched(number, nth, out), *wrap(*command)]
        m.log_path.unlink()
        m.start(ready=False)
        m.wrap = wrap
        util.wait_until(lambda: m.proc.poll() is not None or OVER in m.log(), what="a death, or none")
    died = bool(nth) and syscalls.points(out)[-1] == (number, nth)
    if died:
        assert m.wait_exit() == -9
    return died


def some_of(points):
    """The first, some in between, the first and the last that is sent, the spoiling, what follows, and the last."""
    sent = [p for p in points if p[0] == syscalls.SENDMSG]
    spoilt = next(i for i, p in enumerate(points) if p[0] == syscalls.FALLOCATE)
    return [points[0], *sent[:1], sent[len(sent) // 2], sent[-1], points[spoilt - 1], points[spoilt], points[-1]]


@pytest.mark.skipif(not syscalls.AVAILABLE, reason="ptrace of x86-64")
@pytest.mark.slow
@pytest.mark.limit(3600 if STEPS else 240)
@pytest.mark.parametrize("how", ["left", "in place"])
def test_death_at_every_step(keeper, other, bucket, program, scratch, how):
    """While it is being taken over all dies. At any time there is one set of tables that is true: the next start goes on
    with it, whichever version that is."""
    v = Versions(keeper.m, other)
    m, out = v.m, scratch / "syscalls"
    keeper.start()
    names = len(keeper.store.held) if keeper.store else 0
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert not dies_taking_over(v, keeper, how, 0, 0, out)
    points, want, deaths = syscalls.points(out), b"", 0
    for i, point in enumerate(points if STEPS else some_of(points)):
        assert program("f.write(b'x')") == "1"
        want += b"x"
        died = dies_taking_over(v, keeper, how, *point, out)
        if died:
            deaths += 1
            if i % 2:
                v.next()                # the next one is of the version of before
            keeper.again()
        assert " warn " not in m.log() and util.mount_count(m.path) == 1, (point, m.log())
    assert deaths > len(points) // 2 if STEPS else deaths >= 5, deaths
    print(f"{how}: points={len(points)} deaths={deaths}")
    if names:
        util.wait_until(lambda: len(keeper.store.held) == names, what="no more than before in the store")
    assert program("f.close()") == "None" and bucket.get(m.key("f")) == want
    if v.at % 2 == 0:
        m.check()
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
    """There and back under load, left to the next daemon and in place: no program has an error, no update is lost, all
    bytes are right."""
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
            for i in range(UPGRADES):
                time.sleep(0.3)
                if i // 2 % 2:
                    in_place(v)
                else:
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
