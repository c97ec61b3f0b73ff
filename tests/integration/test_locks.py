"""flock(2) and fcntl(2) locks: as on a local disk, but by key, and through the death of workers."""

import errno
import fcntl
import json
import os
import select
import signal
import sys
import time

import pytest

from harness import SLOW, util

# A process of its own that does what it is told, a line of JSON at a time.
OTHER = r"""
import errno, fcntl, json, os, struct, sys

TYPES = {"ex": fcntl.LOCK_EX, "sh": fcntl.LOCK_SH, "un": fcntl.LOCK_UN}
KERNEL = {"ex": fcntl.F_WRLCK, "sh": fcntl.F_RDLCK, "un": fcntl.F_UNLCK}
F_OFD_SETLK, LK = 37, "hhqqi4x"
files = {}


def command(what, *args):
    if what == "open":
        files[args[0]] = os.open(args[1], os.O_RDONLY if "r" in args[2:] else os.O_RDWR)
    elif what == "close":
        os.close(files.pop(args[0]))
    elif what == "rename":
        os.rename(*args)
    elif what == "flock":
        name, kind, wait = args
        fcntl.flock(files[name], TYPES[kind] | (0 if wait else fcntl.LOCK_NB))
    elif what == "range":
        name, kind, wait, start, length = args
        flags = TYPES[kind] | (0 if wait or kind == "un" else fcntl.LOCK_NB)
        fcntl.lockf(files[name], flags, length, start)
    elif what == "ofd":
        name, kind = args
        fcntl.fcntl(files[name], F_OFD_SETLK, struct.pack(LK, KERNEL[kind], 0, 0, 0, 0))
    elif what == "get":
        name, kind, start, length = args
        out = fcntl.fcntl(files[name], fcntl.F_GETLK,
                          struct.pack(LK, KERNEL[kind], 0, start, length, 0))
        kind, _, start, length, pid = struct.unpack(LK, out)
        return [{v: k for k, v in KERNEL.items()}[kind], start, length, pid]
    elif what == "fork_holder":     # a child that has the descriptors, until its pipe is closed
        r, w = os.pipe()
        if os.fork() == 0:
            os.close(w)
            os.read(r, 1)
            os._exit(0)
        os.close(r)
        files["child"] = w
    return "ok"


for line in sys.stdin:
    try:
        out = command(*json.loads(line))
    except OSError as e:
        out = errno.errorcode[e.errno]
    print(json.dumps(out), flush=True)
"""


class Other:
    def __init__(self, path, mode):
        self.proc = util.spawn([sys.executable, "-B", "-c", OTHER], stdin=-1)
        self.pid = self.proc.pid
        assert self("open", "f", str(path), mode) == "ok"

    def start(self, *command):
        self.proc.stdin.write(json.dumps(command).encode() + b"\n")
        self.proc.stdin.flush()

    def answered(self, timeout):
        return bool(select.select([self.proc.stdout], [], [], timeout)[0])

    def answer(self, timeout=10):
        assert self.answered(timeout * SLOW), "no answer"
        return json.loads(self.proc.stdout.readline())

    def __call__(self, *command):
        self.start(*command)
        return self.answer()

    def end(self):
        self.proc.kill()
        self.proc.communicate()


@pytest.fixture
def m(mount):
    return mount()


@pytest.fixture
def path(m, bucket):
    bucket.put(m.key("f.txt"), b"x" * 1000)
    return m.path / "f.txt"


@pytest.fixture
def other(path):
    """other() -> a process that has the file open as "f"; mode "r" for reading only."""
    made = []

    def make(file=path, mode="rw"):
        made.append(Other(file, mode))
        return made[-1]

    yield make
    for o in made:
        o.end()


@pytest.fixture
def pair(other):
    return other(), other()


# -- flock


def test_flock_excludes_others(pair):
    a, b = pair
    assert a("flock", "f", "ex", False) == "ok"
    assert b("flock", "f", "ex", False) == "EAGAIN"
    assert b("flock", "f", "sh", False) == "EAGAIN"
    assert a("flock", "f", "ex", False) == "ok"
    assert a("flock", "f", "un", False) == "ok"
    assert b("flock", "f", "ex", False) == "ok"


def test_shared_flocks(pair, other):
    a, b = pair
    c = other()
    assert [x("flock", "f", "sh", False) for x in (a, b)] == ["ok", "ok"]
    assert c("flock", "f", "ex", False) == "EAGAIN"
    assert a("flock", "f", "un", False) == b("flock", "f", "un", False) == "ok"
    assert c("flock", "f", "ex", False) == "ok"


def test_flock_belongs_to_the_open_file(pair, path):
    a, b = pair
    assert a("open", "g", str(path)) == "ok"
    assert a("flock", "f", "ex", False) == "ok"
    assert a("flock", "g", "ex", False) == "EAGAIN"
    assert a("close", "g") == "ok"
    assert b("flock", "f", "ex", False) == "EAGAIN", "closing another file takes nothing away"
    assert a("close", "f") == "ok"
    assert b("flock", "f", "ex", False) == "ok"


def test_flock_after_a_close_is_free_at_once(path):
    """RELEASE comes after close() has returned: whoever tries then must not be refused."""
    for _ in range(300):
        fds = [os.open(path, os.O_RDONLY) for _ in range(2)]
        fcntl.flock(fds[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fds[0])
        fcntl.flock(fds[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fds[1])


def test_flock_stays_with_a_forked_child(pair):
    a, b = pair
    assert a("flock", "f", "ex", False) == "ok"
    assert a("fork_holder") == "ok"
    assert a("close", "f") == "ok"
    assert b("flock", "f", "ex", False) == "EAGAIN"
    assert a("close", "child") == "ok"
    b.start("flock", "f", "ex", True)
    assert b.answer() == "ok"


def test_two_upgrades_do_not_wait_for_each_other(pair):
    a, b = pair
    assert a("flock", "f", "sh", False) == b("flock", "f", "sh", False) == "ok"
    a.start("flock", "f", "ex", True)
    assert not a.answered(0.3)
    b.start("flock", "f", "ex", True)
    util.wait_until(lambda: a.answered(0) or b.answered(0), what="the end of one upgrade")
    first, second = (a, b) if a.answered(0) else (b, a)
    assert first.answer() == "ok"
    assert not second.answered(0.3)
    assert first("flock", "f", "un", False) == "ok"
    assert second.answer() == "ok"


def test_flock_of_a_directory(m):
    os.mkdir(m.path / "d")
    fd = os.open(m.path / "d", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)


# -- ranges


def test_ranges_exclude_each_other_where_they_overlap(pair):
    a, b = pair
    assert a("range", "f", "ex", False, 100, 100) == "ok"
    assert b("range", "f", "ex", False, 0, 100) == "ok"
    assert b("range", "f", "ex", False, 199, 1) == "EAGAIN"
    assert b("range", "f", "ex", False, 200, 0) == "ok"
    assert b("range", "f", "sh", False, 50, 100) == "EAGAIN"


def test_unlocking_the_middle_leaves_both_ends(pair):
    a, b = pair
    assert a("range", "f", "ex", False, 0, 300) == "ok"
    assert a("range", "f", "un", False, 100, 100) == "ok"
    assert b("range", "f", "ex", False, 100, 100) == "ok"
    assert b("range", "f", "ex", False, 99, 1) == "EAGAIN"
    assert b("range", "f", "ex", False, 200, 1) == "EAGAIN"


def test_an_upgrade_that_is_refused_keeps_what_was_there(pair, other):
    a, b = pair
    assert a("range", "f", "sh", False, 0, 10) == b("range", "f", "sh", False, 0, 10) == "ok"
    assert a("range", "f", "ex", False, 0, 10) == "EAGAIN"
    assert b("range", "f", "un", False, 0, 10) == "ok"
    assert other()("range", "f", "ex", False, 0, 10) == "EAGAIN"


def test_getlk_tells_who_has_it(pair):
    a, b = pair
    assert b("get", "f", "ex", 0, 0)[0] == "un"
    assert a("range", "f", "sh", False, 5, 10) == "ok"
    assert a("range", "f", "ex", False, 100, 0) == "ok"
    assert b("get", "f", "ex", 0, 0) == ["sh", 5, 10, a.pid]
    assert b("get", "f", "sh", 0, 0) == ["ex", 100, 0, a.pid]
    assert b("get", "f", "ex", 20, 80)[0] == "un"
    assert a("get", "f", "ex", 0, 0)[0] == "un", "one's own are no hindrance"


def test_ranges_go_with_the_first_close_of_the_process(pair, path):
    a, b = pair
    assert a("open", "g", str(path)) == "ok"
    assert a("range", "f", "ex", False, 0, 0) == "ok"
    assert a("close", "g") == "ok"
    assert b("range", "f", "ex", False, 0, 0) == "ok"


def test_ranges_go_with_the_process(pair):
    a, b = pair
    assert a("range", "f", "ex", False, 0, 0) == "ok"
    b.start("range", "f", "ex", True, 0, 0)
    assert not b.answered(0.3)
    a.end()
    assert b.answer() == "ok"


def test_a_forked_child_has_no_ranges_and_takes_none_away(pair):
    a, b = pair
    assert a("range", "f", "ex", False, 0, 0) == "ok"
    assert a("fork_holder") == "ok"
    assert a("close", "child") == "ok"
    time.sleep(0.3)
    assert b("range", "f", "ex", False, 0, 0) == "EAGAIN"


def test_locks_of_open_file_descriptions(pair, path):
    a, b = pair
    assert a("open", "g", str(path)) == "ok"
    assert a("ofd", "f", "ex") == "ok"
    assert a("ofd", "g", "ex") == "EAGAIN"
    assert a("close", "g") == "ok"
    assert b("range", "f", "ex", False, 0, 0) == "EAGAIN"
    b.start("range", "f", "ex", True, 0, 0)
    assert a("close", "f") == "ok"
    assert b.answer() == "ok"


def test_ranges_and_flocks_do_not_see_each_other(pair):
    a, b = pair
    assert a("flock", "f", "ex", False) == "ok"
    assert b("range", "f", "ex", False, 0, 0) == "ok"


def test_too_many_ranges_are_refused_and_can_be_given_back(pair):
    a, b = pair
    answers = [a("range", "f", "ex", False, i * 2, 1) for i in range(200)]
    assert answers[0] == "ok" and answers[-1] == "ENOLCK" and set(answers) == {"ok", "ENOLCK"}
    assert a("range", "f", "ex", False, 0, 0) == "ok", "which joins them all"
    assert a("range", "f", "un", False, 0, 0) == "ok"
    assert b("range", "f", "ex", False, 0, 0) == "ok"


# -- waiting


@pytest.mark.parametrize("kind", [["flock", "f", "ex", True], ["range", "f", "ex", True, 0, 10]],
                         ids=["flock", "range"])
class TestWaiting:
    def lock(self, a, kind):
        assert a(*kind) == "ok"

    def unlock(self, a, kind):
        assert a(kind[0], "f", "un", *kind[3:]) if kind[0] == "flock" else True
        assert a(kind[0], "f", "un", False, *kind[4:]) == "ok"

    def test_a_waiter_is_woken(self, pair, kind):
        a, b = pair
        self.lock(a, kind)
        for _ in range(10):
            b.start(*kind)
            assert not b.answered(0.1)
            self.unlock(a, kind)
            assert b.answered(0.5 * SLOW), "at once, not at the next look round"
            assert b.answer() == "ok"
            a, b = b, a

    def test_a_waiter_can_be_killed(self, pair, other, kind):
        a, b = pair
        self.lock(a, kind)
        b.start(*kind)
        assert not b.answered(0.3)
        b.proc.kill()
        b.proc.wait(5 * SLOW)
        self.unlock(a, kind)
        self.lock(other(), kind)

    def test_a_waiter_can_be_interrupted(self, pair, path, kind):
        def alarm(*_):
            raise TimeoutError
        a, b = pair
        self.lock(a, kind)
        fd = os.open(path, os.O_RDWR)
        old = signal.signal(signal.SIGALRM, alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            with pytest.raises(TimeoutError):
                (fcntl.flock if kind[0] == "flock" else fcntl.lockf)(fd, fcntl.LOCK_EX)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
            os.close(fd)
        self.unlock(a, kind)
        self.lock(b, kind)

    def test_locks_outlive_the_workers(self, m, pair, other, kind):
        a, b = pair
        c = other()
        self.lock(a, kind)
        b.start(*kind)
        assert not b.answered(0.3)
        for _ in range(3):
            m.wait_workers(2, without=m.kill_workers())
            assert c(kind[0], "f", "ex", False, *kind[4:]) == "EAGAIN"
        assert not b.answered(0.1)
        self.unlock(a, kind)
        assert b.answer() == "ok"
        m.check()


# -- by key


def test_another_version_of_the_key_is_locked_too(m, bucket, path, other):
    a = other(mode="r")
    assert a("range", "f", "sh", False, 0, 0) == a("flock", "f", "ex", False) == "ok"
    bucket.put(m.key("f.txt"), b"another version")
    assert path.read_bytes() == b"another version"
    b = other()
    assert b("range", "f", "ex", False, 0, 0) == b("flock", "f", "sh", False) == "EAGAIN"
    assert a("close", "f") == "ok"
    assert b("range", "f", "ex", False, 0, 0) == b("flock", "f", "sh", False) == "ok"


def test_locks_follow_a_rename(m, path, other):
    a = other()
    assert a("range", "f", "ex", False, 0, 0) == a("flock", "f", "ex", False) == "ok"
    os.rename(path, m.path / "g.txt")
    path.write_bytes(b"new")
    b, c = other(), other(m.path / "g.txt")
    assert c("range", "f", "ex", False, 0, 0) == c("flock", "f", "ex", False) == "EAGAIN"
    assert b("range", "f", "ex", False, 0, 0) == b("flock", "f", "ex", False) == "ok"
    assert a("range", "f", "un", False, 0, 0) == a("flock", "f", "un", False) == "ok"
    assert c("range", "f", "ex", False, 0, 0) == c("flock", "f", "ex", False) == "ok"


def test_mounts_do_not_see_each_others_locks(mount, path):
    """Documented: S3 has no locks."""
    second = mount()
    with open(path, "r+b") as a, open(second.path / "f.txt", "r+b") as b:
        for f in (a, b):
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)


# -- together


COUNTER = r"""
import fcntl, os, sys
path, times, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
for _ in range(times):
    fd = os.open(path, os.O_RDWR)
    (fcntl.flock if kind == "flock" else fcntl.lockf)(fd, fcntl.LOCK_EX)
    n = int(os.pread(fd, 20, 0))
    os.pwrite(fd, b"%d" % (n + 1), 0)
    os.close(fd)
"""


IN_VAIN_MAX = 3             # kills of all workers without any progress in between


def kill_workers_while(m, run, progress):
    """As fast as new ones are there; but not so fast for ever that on a loaded machine they get
    nothing done before they are killed."""
    before, vain = None, 0
    while run():
        now = progress()
        vain = vain + 1 if now == before else 0
        before = now
        if vain < IN_VAIN_MAX:
            m.wait_workers(2, without=m.kill_workers())
        else:
            time.sleep(0.01)


@pytest.mark.parametrize("kills", [False, True], ids=["no kills", "kills"])
@pytest.mark.parametrize("kind", ["flock", "range"])
def test_a_counter_under_a_lock_counts_everything(m, bucket, path, kind, kills):
    path.write_bytes(b"0")
    programs = [util.spawn([sys.executable, "-B", "-c", COUNTER, path, 40, kind])
                for _ in range(4)]
    if kills:
        kill_workers_while(m, lambda: any(p.poll() is None for p in programs),
                           lambda: bucket.get(m.key(path.name)))
    for p in programs:
        util.finish(p)
    assert path.read_bytes() == b"160"
    m.check()


def test_errno_of_bad_requests(path):
    with open(path, "rb") as f, pytest.raises(OSError) as e:
        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert e.value.errno == errno.EBADF
