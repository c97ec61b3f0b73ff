"""A worker that dies between any two locked sections of an operation, or at the end of any: nobody notices.

Each scenario runs again and again, each time with a kill one point later (harness/stepper.py), until it ends before
the point is reached."""

import errno
import fcntl
import os
import re
import stat

import pytest

from harness import SLOW, inject, probed, stepper, util
from test_parts import ended_uploads, parts_of

pytestmark = [
    pytest.mark.quiet("one operation at a time, whose steps are counted"),
    pytest.mark.skipif(not inject.AVAILABLE, reason="steps code of x86-64"),
    pytest.mark.skipif(SLOW > 1, reason="with sanitizers a step takes too long"),
]

CAS, LWW, PASS = "s3-buffered-cas", "s3-buffered-lww", "s3-passthrough"
FULL = os.environ.get("STATEPROXY_TEST_FULL") == "1"     # with compare-and-set, too, at each end of a section
POINTS_MIN = 5          # of each operation: at least a lookup, the change, the reply
POINTS_MAX = 400
ROUNDS = 75             # of two at once
SPREAD = 4              # what the kernel looks up, and forgets, is not the same each time
LOOKUP = re.compile("lookup|getattr|forget|resolve|shm_block")
THEIRS = b"theirs, longer"
LINEAGE, FIRST, SECOND = "stateproxy-lineage", "firstone.", "secondon"


class Scene:
    """Names of one run, and what is at them. An actor does all; it is also who has read a file."""

    def __init__(self, m, bucket, raw, actor, n):
        self.m, self.bucket, self.raw, self.actor, self.n = m, bucket, raw, actor, n

    def __truediv__(self, name):
        return str(self.m.path / f"{name}-{self.n}")

    def key(self, name):
        return self.m.key(f"{name}-{self.n}")

    def uploads(self, ended=()):
        return [k for k, upload in self.bucket.uploads() if k.endswith(f"-{self.n}") and upload not in ended]

    def parts(self):
        """Of uploads: there are some once the worker has seen the answer to Create."""
        return [part for k, upload in self.bucket.uploads() if k.endswith(f"-{self.n}")
                for part in parts_of(self.bucket, k, upload)]

    def there(self, name, data, read=False):
        """It has the lineage of a mount, so that what comes on top of it can be judged."""
        self.raw.put(self.key(name), data, {LINEAGE: FIRST})
        if read:
            assert self.actor.read_all(self / name) == data

    def overwritten(self, name):
        """As by another mount."""
        self.raw.put(self.key(name), THEIRS, {LINEAGE: SECOND + FIRST})

    def theirs(self, name):
        """Another changes what the actor has read."""
        self.there(name, b"1", read=True)
        self.overwritten(name)

    def holds(self, **names):
        """This is what S3 has at the names."""
        assert {name: self.raw.get(self.key(name)) for name in names} == names

    def goes_on(self, *names):
        """Everything that was held is free again: each name can be read, written, moved and removed."""
        a = self.actor
        for name in names:
            if a.exists(self / name):
                a.read_all(self / name)
            a.write_all(self / name, b"after")
            a.rename(self / name, self / f"{name}2")
            self.holds(**{name: None, f"{name}2": b"after"})
            a.unlink(self / f"{name}2")


def opened(s, name, flags, data):
    fd = s.actor.open(s / name, flags, 0o644)
    if data:
        s.actor.write(fd, data)
    return fd


# -- scenarios: each yields the call, and gets its outcome: 0 or errno


def rename_over(s):
    s.there("old", b"mine")
    s.there("new", b"1", read=True)
    assert (yield "rename", s / "old", s / "new") == 0
    s.holds(old=None, new=b"mine")
    s.goes_on("old", "new")


def rename_to_nothing(s):
    s.there("old", b"mine")
    assert (yield "rename", s / "old", s / "new") == 0
    s.holds(old=None, new=b"mine")
    s.goes_on("old", "new")


def rename_of_written(s):
    s.actor.write_all(s / "old", b"mine")
    s.there("new", b"1", read=True)
    assert (yield "rename", s / "old", s / "new") == 0
    s.holds(old=None, new=b"mine")
    s.goes_on("old", "new")


def rename_conflict(s):
    s.there("old", b"mine")
    s.theirs("new")
    assert (yield "rename", s / "old", s / "new") == errno.EEXIST
    s.holds(old=b"mine", new=THEIRS)
    s.goes_on("old", "new")


def rename_conflict_known(s):
    """The mount knows by another process what is at the target: its node stays, and nothing may hold it."""
    s.there("old", b"mine")
    s.theirs("new")
    with open(s / "new", "rb") as f:
        assert f.read() == THEIRS
    assert (yield "rename", s / "old", s / "new") == errno.EEXIST
    s.holds(old=b"mine", new=THEIRS)
    s.goes_on("old", "new")


def rename_to_nothing_conflict(s):
    """The target was read, then another has removed it."""
    s.there("old", b"mine")
    s.there("new", b"1", read=True)
    s.raw.delete(s.key("new"))
    outcome = yield "rename", s / "old", s / "new"
    if outcome == errno.EIO:        # if the answer of the PUT was lost: it may have been there, and removed
        assert any("outcome unknown" in line and s.key("new") in line for line in s.m.log().splitlines())
    else:
        assert outcome == errno.EEXIST
    s.holds(old=b"mine", new=None)
    s.goes_on("old")


def noreplace(s):
    s.there("old", b"mine")
    assert (yield "rename_noreplace", s / "old", s / "new") == 0
    s.holds(old=None, new=b"mine")
    s.goes_on("old", "new")


def noreplace_existing(s):
    s.there("old", b"mine")
    s.there("new", THEIRS)
    assert (yield "rename_noreplace", s / "old", s / "new") == errno.EEXIST
    s.holds(old=b"mine", new=THEIRS)
    s.goes_on("old", "new")


def rename_directory(s):
    s.actor.mkdir(s / "old")
    for i in range(2):
        s.raw.put(f"{s.key('old')}/{i}", b"%d" % i)
    assert (yield "rename", s / "old", s / "new") == 0
    assert s.bucket.list(s.key("old")) == {}
    assert {k.rpartition("/")[2]: s.bucket.get(k) for k in s.bucket.list(f"{s.key('new')}/")} == \
        {"": b"", "0": b"0", "1": b"1"}
    s.goes_on("old")
    for i in range(2):
        s.actor.unlink(f"{s / 'new'}/{i}")
    s.actor.rmdir(s / "new")


def truncate(s):
    s.there("f", b"12345", read=True)
    assert (yield "truncate", s / "f", 2) == 0
    s.holds(f=b"12")
    s.goes_on("f")


def truncate_conflict(s):
    s.theirs("f")
    assert (yield "truncate", s / "f", 2) == errno.EEXIST
    s.holds(f=THEIRS)
    s.goes_on("f")


def close(s):
    s.there("f", b"1", read=True)
    fd = opened(s, "f", os.O_WRONLY, b"23")
    assert (yield "close", fd) == 0
    s.holds(f=b"23")
    s.goes_on("f")


def close_conflict(s):
    s.there("f", b"1", read=True)
    fd = opened(s, "f", os.O_WRONLY, b"23")
    s.overwritten("f")
    assert (yield "close", fd) == errno.EEXIST
    s.holds(f=THEIRS)
    s.goes_on("f")


def write_new(s):
    assert (yield "write_all", s / "f", b"content") == 0
    s.holds(f=b"content")
    s.goes_on("f")


def write_existing(s):
    s.there("f", b"1", read=True)
    assert (yield "write_all", s / "f", b"content") == 0
    s.holds(f=b"content")
    s.goes_on("f")


def append(s):
    s.there("f", b"1", read=True)
    assert (yield "write_all", s / "f", b"content", os.O_APPEND) == 0
    s.holds(f=b"1content")
    s.goes_on("f")


def exclusive(s):
    assert (yield "write_all", s / "f", b"", os.O_EXCL) == 0
    s.holds(f=b"")
    s.goes_on("f")


def exclusive_existing(s):
    s.there("f", THEIRS)
    assert (yield "write_all", s / "f", b"", os.O_EXCL) == errno.EEXIST
    s.holds(f=THEIRS)
    s.goes_on("f")


def exclusive_conflict(s):
    """The name was not there when it was looked up, which the kernel remembers."""
    assert not s.actor.exists(s / "f")
    s.there("f", THEIRS)
    assert (yield "write_all", s / "f", b"", os.O_EXCL) == errno.EEXIST
    s.holds(f=THEIRS)
    s.goes_on("f")


def open_truncated(s):
    s.there("f", b"12345", read=True)
    assert (yield "write_all", s / "f", b"") == 0
    s.holds(f=b"")
    s.goes_on("f")


def open_truncated_conflict(s):
    s.theirs("f")
    assert (yield "write_all", s / "f", b"") == errno.EEXIST
    s.holds(f=THEIRS)
    s.goes_on("f")


def symlink(s):
    assert (yield "symlink", "target", s / "link") == 0
    assert s.actor.readlink(s / "link") == "target"
    assert s.bucket.exists(s.key("link"))
    s.actor.unlink(s / "link")
    s.goes_on("link")


def unlink(s):
    s.there("f", b"1", read=True)
    assert (yield "unlink", s / "f") == 0
    s.holds(f=None)
    s.goes_on("f")


def unlink_conflict(s):
    s.theirs("f")
    assert (yield "unlink", s / "f") == errno.EEXIST
    s.holds(f=THEIRS)
    s.goes_on("f")


def mkdir(s):
    assert (yield "mkdir", s / "d") == 0
    assert s.bucket.exists(s.key("d") + "/")
    s.actor.rmdir(s / "d")
    s.goes_on("d")


def rmdir(s):
    s.actor.mkdir(s / "d")
    assert (yield "rmdir", s / "d") == 0
    assert not s.bucket.exists(s.key("d") + "/")
    s.goes_on("d")


def chmod(s):
    s.there("f", b"1", read=True)
    assert (yield "chmod", s / "f", 0o600) == 0
    assert s.actor.attributes(s / "f")[0] & 0o777 == 0o600
    assert int(s.bucket.head(s.key("f"))["Metadata"]["mode"]) & 0o777 == 0o600
    s.holds(f=b"1")
    s.goes_on("f")


def setxattr(s):
    s.there("f", b"1", read=True)
    assert (yield "setxattr", s / "f", "user.a", b"one") == 0
    assert s.actor.getxattr(s / "f", "user.a") == b"one"
    assert "user.a" in s.bucket.head(s.key("f"))["Metadata"]["xattr"]
    s.holds(f=b"1")
    s.goes_on("f")


def setxattr_known(s):
    """The mount knows all that the object has: what a predecessor has stored it must learn."""
    s.actor.write_all(s / "f", b"1")
    fd = opened(s, "f", os.O_RDONLY, b"")
    assert (yield "setxattr", s / "f", "user.a", b"") == 0
    assert s.actor.listxattr(fd) == ["user.a"] and s.actor.getxattr(s / "f", "user.a") == b""
    s.actor.close(fd)
    s.holds(f=b"1")
    s.goes_on("f")


def setxattr_directory(s):
    s.actor.mkdir(s / "d")
    assert (yield "setxattr", s / "d", "user.a", b"one") == 0
    assert s.actor.listxattr(s / "d") == ["user.a"] and s.actor.getxattr(s / "d", "user.a") == b"one"
    s.actor.rmdir(s / "d")
    s.goes_on("d")


def utimens(s):
    s.there("f", b"1", read=True)
    assert (yield "set_times", s / "f", 1_700_000_000_000_000_000) == 0
    assert s.actor.attributes(s / "f")[2] == 1_700_000_000_000_000_000
    assert float(s.bucket.head(s.key("f"))["Metadata"]["mtime"]) == 1_700_000_000
    s.holds(f=b"1")
    s.goes_on("f")


def removexattr(s):
    s.there("f", b"1", read=True)
    s.actor.setxattr(s / "f", "user.a", b"one")
    assert (yield "removexattr", s / "f", "user.a") == 0
    assert "xattr" not in s.bucket.head(s.key("f"))["Metadata"]
    s.holds(f=b"1")
    s.goes_on("f")


def fsync(s):
    s.there("f", b"1", read=True)
    fd = opened(s, "f", os.O_WRONLY, b"23")
    assert (yield "fsync", fd) == 0
    s.holds(f=b"23")
    s.actor.close(fd)
    s.goes_on("f")


def fsync_conflict(s):
    """Told once, and close says it again only if something was written since."""
    s.there("f", b"1", read=True)
    fd = opened(s, "f", os.O_WRONLY, b"23")
    s.overwritten("f")
    assert (yield "fsync", fd) == errno.EEXIST
    s.holds(f=THEIRS)
    try:
        s.actor.close(fd)
    except FileExistsError:
        pass
    s.holds(f=THEIRS)
    s.goes_on("f")


def pwrite(s):
    s.there("f", b"12345", read=True)
    fd = opened(s, "f", os.O_RDWR, b"")
    assert (yield "pwrite", fd, b"ab", 3) == 0
    s.actor.close(fd)
    s.holds(f=b"123ab")
    s.goes_on("f")


def append_to_open(s):
    """Once, and not twice."""
    s.there("f", b"1", read=True)
    fd = opened(s, "f", os.O_WRONLY | os.O_APPEND, b"2")
    assert (yield "write", fd, b"3") == 0
    s.actor.close(fd)
    s.holds(f=b"123")
    s.goes_on("f")


def ftruncate(s):
    s.there("f", b"12345", read=True)
    fd = opened(s, "f", os.O_RDWR, b"")
    assert (yield "ftruncate", fd, 2) == 0
    s.actor.pwrite(fd, b"x", 2)
    s.actor.close(fd)
    s.holds(f=b"12x")
    s.goes_on("f")


def fallocate(s):
    s.there("f", b"123", read=True)
    fd = opened(s, "f", os.O_RDWR, b"")
    assert (yield "posix_fallocate", fd, 1, 4) == 0
    s.actor.close(fd)
    s.holds(f=b"123\0\0")
    s.goes_on("f")


def copy_range(s):
    s.there("from", b"12345", read=True)
    s.there("f", b"abc", read=True)
    source, fd = opened(s, "from", os.O_RDONLY, b""), opened(s, "f", os.O_RDWR, b"")
    assert (yield "copy_file_range", source, fd, 3, 1, 2) == 0
    s.actor.close(fd)
    s.actor.close(source)
    s.holds(f=b"ab234")
    s.goes_on("f", "from")


def fifo(s):
    assert (yield "mknod", s / "f", stat.S_IFIFO | 0o640) == 0
    assert stat.S_ISFIFO(s.actor.attributes(s / "f")[0])
    s.actor.unlink(s / "f")
    s.goes_on("f")


def lock(s):
    """Neither lost nor held twice: one unlock frees it."""
    s.there("f", b"1", read=True)
    fd = opened(s, "f", os.O_RDWR, b"")
    assert (yield "lockf", fd, os.F_LOCK, 0) == 0
    with open(s / "f", "r+b") as f:
        with pytest.raises(BlockingIOError):
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        s.actor.lockf(fd, os.F_ULOCK, 0)
        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    s.actor.close(fd)
    s.goes_on("f")


def unlink_of_open(s):
    data = bytes(range(256)) * 1000
    s.there("f", data)
    fd = opened(s, "f", os.O_RDONLY, b"")
    assert s.actor.pread(fd, 10, 0) == data[:10]
    assert (yield "unlink", s / "f") == 0
    assert s.actor.pread(fd, len(data), 0) == data
    s.actor.close(fd)
    s.holds(f=None)
    s.goes_on("f")


def close_of_unlinked(s):
    fd = opened(s, "f", os.O_RDWR | os.O_CREAT, b"1")
    s.actor.unlink(s / "f")
    assert (yield "close", fd) == 0
    s.holds(f=None)
    s.goes_on("f")


def list_directory(s):
    """Lookups are counted for each name: FORGETs that do not fit would be found by the check."""
    s.actor.mkdir(s / "d")
    for i in range(3):
        s.raw.put(f"{s.key('d')}/{i}", b"")
    assert (yield "list_long", s / "d") == 0
    for i in range(3):
        s.actor.unlink(f"{s / 'd'}/{i}")
    s.actor.rmdir(s / "d")
    s.goes_on("d")


LARGE = os.urandom(11 << 20)        # three parts
SPILLED = {"STATEPROXY_BUFFER_MEMORY": "1Mi"}       # what is larger is sent while it is written
PARTS = {"STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi", "STATEPROXY_UPLOAD_PART_SIZE": "5Mi",
         "STATEPROXY_UPLOAD_COPY_LIMIT": "8Mi"}


def holds_large(s, name, data):
    same = s.raw.get(s.key(name)) == data
    assert same


def close_of_large(s):
    fd = opened(s, "f", os.O_WRONLY | os.O_CREAT, LARGE)
    util.wait_until(s.parts, what="a part")
    assert (yield "close", fd) == 0
    holds_large(s, "f", LARGE)
    s.goes_on("f")


def preserving_close_of_large(s):
    """As cp -p: what is set before the close, after the upload has begun, comes with a copy."""
    fd = opened(s, "f", os.O_WRONLY | os.O_CREAT | os.O_EXCL, LARGE)
    util.wait_until(s.parts, what="a part")
    s.actor.fchmod(fd, 0o600)
    assert (yield "close", fd) == 0
    assert int(s.bucket.head(s.key("f"))["Metadata"]["mode"]) & 0o777 == 0o600
    holds_large(s, "f", LARGE)
    s.goes_on("f")


def close_of_large_conflict(s):
    s.there("f", b"1", read=True)
    fd = opened(s, "f", os.O_WRONLY, LARGE)
    s.overwritten("f")
    assert (yield "close", fd) == errno.EEXIST
    holds_large(s, "f", THEIRS)
    s.goes_on("f")


def close_of_patched(s):
    """What is unchanged is copied on the server."""
    s.there("f", LARGE)
    fd = opened(s, "f", os.O_RDWR, b"")
    s.actor.pwrite(fd, b"changed", 100)
    assert (yield "close", fd) == 0
    holds_large(s, "f", LARGE[:100] + b"changed" + LARGE[107:])
    s.goes_on("f")


def write_large(s):
    """Parts go while it is written."""
    assert (yield "write_all", s / "f", LARGE) == 0
    holds_large(s, "f", LARGE)
    s.goes_on("f")


def rename_large(s):
    s.there("old", LARGE)
    s.there("new", b"1", read=True)
    assert (yield "rename", s / "old", s / "new") == 0
    holds_large(s, "new", LARGE)
    s.holds(old=None)
    s.goes_on("old", "new")


MULTIPART = LARGE[:6 << 20]        # the server copies it at once, and the copy has another ETag


def noreplace_of_parts(s):
    s.actor.write_all(s / "old", MULTIPART)
    assert (yield "rename_noreplace", s / "old", s / "new") == 0
    holds_large(s, "new", MULTIPART)
    s.holds(old=None)
    s.goes_on("old", "new")


def fchmod_of_parts(s):
    """Who has it open reads on, and who has read it may write it."""
    s.actor.write_all(s / "f", MULTIPART)
    fd = opened(s, "f", os.O_RDONLY, b"")
    assert s.actor.pread(fd, 10, 0) == MULTIPART[:10]
    assert (yield "fchmod", fd, 0o600) == 0
    same = s.actor.pread(fd, len(MULTIPART), 0) == MULTIPART
    assert same and s.actor.attributes(fd)[0] & 0o777 == 0o600
    s.actor.close(fd)
    assert int(s.bucket.head(s.key("f"))["Metadata"]["mode"]) & 0o777 == 0o600
    holds_large(s, "f", MULTIPART)
    s.goes_on("f")


RENAMES = [rename_over, rename_to_nothing, rename_of_written, rename_conflict, rename_conflict_known,
           rename_to_nothing_conflict, noreplace, noreplace_existing]
IN_FULL = [rename_conflict_known, noreplace_existing, close_conflict, unlink_conflict, setxattr]
OF_HANDLES = [fsync, pwrite, append_to_open, ftruncate, fallocate, copy_range, lock, unlink_of_open,
              close_of_unlinked]
OF_CAS = [*RENAMES, *OF_HANDLES, fsync_conflict, removexattr, fifo, truncate, truncate_conflict, close, close_conflict,
          exclusive, exclusive_existing, exclusive_conflict, open_truncated, open_truncated_conflict, symlink, unlink,
          unlink_conflict, chmod, setxattr, setxattr_known, setxattr_directory, utimens]
OF_LWW = [rename_over, rename_to_nothing, rename_directory, write_new, write_existing, append, unlink, mkdir, rmdir,
          truncate, symlink, chmod, *OF_HANDLES, setxattr_known, removexattr, fifo, list_directory]
OF_PASS = [write_new, unlink, rename_over, rename_to_nothing]


# -- the kills


def operation(m, actor, name, *args):
    try:
        getattr(actor, name)(*args)
    finally:
        actor.statvfs(m.path)       # comes after what the kernel has sent without waiting for it, as RELEASE


def nothing_left(m):
    """No session, no request: then the pid of the worker."""
    status = m.status()
    worker = status["workers"][0].get("pid")
    return worker if status["tables"]["sessions"] == 0 and not m.inflight() else None


def wait_for_aborts(scene, stepped, proxy):
    """No upload stays, but one whose Create has answered to nobody, as it was sent and its answer not yet seen, or
    not kept. (What was ended may be there: test_parts.no_parts_left.)"""
    asked, told = ([i for i, p in enumerate(stepped.points) if re.search(f"({name})$", p)]
                   for name in ("publish_parts", "_created|publish_opened"))
    is_lost = told and max(told) == len(stepped.points) - 1 or max(asked, default=-1) > max(told, default=-1)
    if not (stepped.killed and is_lost):
        util.wait_until(lambda: not scene.uploads(ended_uploads(proxy)), what="the end of uploads")


def end(run, outcome):
    """What the scenario says of the outcome."""
    with pytest.raises(StopIteration):
        run.send(outcome)


def run_once(scene, scenario, worker, where, proxy=None):
    """With a kill at the n-th point. -> what stepper.step() tells, the worker that runs now"""
    m, run = scene.m, scenario(scene)
    name, *args = next(run)
    stepped = stepper.step(worker, scene.n, lambda: operation(m, scene.actor, name, *args), where)
    try:
        end(run, stepped.outcome)
        m.check()
        if proxy:
            wait_for_aborts(scene, stepped, proxy)
        return stepped, util.wait_until(lambda: nothing_left(m), what="the end of sessions and requests")
    except (AssertionError, OSError) as e:
        raise AssertionError(f"killed={stepped.killed} at point {scene.n}, outcome {stepped.outcome}: "
                             f"{stepped.points}\n{type(e).__name__}: {e}") from e


def first_of(points):
    """The first point that is not one of a lookup, which one scenario's kills are enough for."""
    return next((i for i, point in enumerate(points, 1) if not LOOKUP.search(point)), 1)


def all_steps(m, bucket, actor, scenario, lookups=False, both=False, stride=1, proxy=None):
    raw, n = bucket.raw(), POINTS_MAX
    where = stepper.WHERE if both or scenario in IN_FULL or FULL else stepper.WHERE[:1]
    stepped, worker = run_once(Scene(m, bucket, raw, actor, n), scenario, nothing_left(m), where, proxy)
    assert not stepped.killed
    begin = 1 if lookups else max(1, first_of(stepped.points) - SPREAD)
    for n in range(begin, POINTS_MAX, stride):
        stepped, worker = run_once(Scene(m, bucket, raw, actor, n), scenario, worker, where, proxy)
        if not stepped.killed:
            break
    raw.close()
    print(f"points {scenario.__name__}: {begin} to {n - 1}")
    assert (1 if scenario is lock else POINTS_MIN) <= n - begin < POINTS_MAX - begin - stride, stepped.points
    assert not [line for line in m.errors() if "outcome unknown" not in line]


def names_of(scenarios):
    return pytest.mark.parametrize("scenario", scenarios, ids=lambda f: f.__name__)


def copying(mount, s3server, proxy, workers=1, **kwargs):
    """A mount where the server keeps conditions on the target of CopyObject, as in test_conditional_copy.py."""
    if not probed.is_known(s3server.endpoint):
        mount(variant=CAS).stop()
    proxy.add_rule("copy_conditions")
    m = mount(variant=CAS, workers=workers, via=proxy, is_open=lambda: True, kept={"copy": 1}, **kwargs)
    assert "copy" in m.status()["conditions"]
    return m


@names_of(OF_CAS)
def test_with_compare_and_set(mount, bucket, actor, scenario):
    all_steps(mount(variant=CAS, workers=1), bucket, actor(), scenario, lookups=scenario is rename_to_nothing)


@names_of(RENAMES)
def test_renames_that_copy(mount, bucket, s3server, proxy, actor, scenario):
    all_steps(copying(mount, s3server, proxy), bucket, actor(), scenario)


@names_of(OF_LWW)
def test_where_the_last_writer_wins(mount, bucket, actor, scenario):
    all_steps(mount(variant=LWW, workers=1), bucket, actor(), scenario, lookups=scenario is rename_to_nothing,
              both=True)


@names_of(OF_PASS)
def test_with_pass_through(mount, bucket, actor, scenario):
    all_steps(mount(variant=PASS, workers=1), bucket, actor(), scenario, both=True)


OF_LARGE = [(CAS, close_of_large), (CAS, close_of_large_conflict), (CAS, close_of_patched), (CAS, rename_large),
            (LWW, preserving_close_of_large), (LWW, close_of_large), (LWW, close_of_patched), (LWW, write_large), (LWW, rename_large),
            (LWW, noreplace_of_parts), (LWW, fchmod_of_parts), (CAS, fchmod_of_parts), (PASS, write_large)]


@pytest.mark.limit(120)
@pytest.mark.parametrize("variant, scenario", OF_LARGE, ids=lambda x: getattr(x, "__name__", x))
def test_of_large_files(mount, bucket, s3server, proxy, actor, variant, scenario):
    of_parts = "of_parts" in scenario.__name__
    if of_parts and variant == CAS:
        m = copying(mount, s3server, proxy, env=PARTS)
    else:
        proxy.add_rule("copy_conditions")
        m = mount(variant=variant, workers=1, env=PARTS | SPILLED, via=proxy)
    all_steps(m, bucket, actor(), scenario, both=True, stride=1 if FULL or of_parts else 9, proxy=proxy)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("copies", [False, True])
def test_two_renames_onto_one_name(mount, bucket, s3server, proxy, actor, workers, copies):
    """Both have read what is there: one wins. They wait for each other, and nobody for ever."""
    if copies:
        m = copying(mount, s3server, proxy, workers=workers)
    else:
        m = mount(variant=CAS, workers=workers)
    raw, actors, killed = bucket.raw(), (actor(), actor()), 0
    for n in range(1, ROUNDS, 3):
        scene = Scene(m, bucket, raw, actors[0], n)
        scene.there("new", b"1", read=True)
        assert actors[1].read_all(scene / "new") == b"1"
        for i in range(2):
            scene.there(f"old{i}", b"mine %d" % i)
        outcomes = []

        def both():
            for i, a in enumerate(actors):
                a.begin("rename", scene / f"old{i}", scene / "new")
            for a in actors:
                try:
                    outcomes.append(a.end() or 0)
                except OSError as e:
                    outcomes.append(e.errno)
        stepped = stepper.step(m.worker_pids()[n // 2 % workers], n, both)
        killed += stepped.killed
        try:
            assert sorted(outcomes) == [0, errno.EEXIST]
            winner = outcomes.index(0)
            scene.holds(new=b"mine %d" % winner, **{f"old{i}": b"mine %d" % i if i != winner else None for i in (0, 1)})
            m.wait_workers(workers)
            m.check()
            util.wait_until(lambda: nothing_left(m), what="the end of sessions and requests")
            for i, a in enumerate(actors):
                Scene(m, bucket, raw, a, n).goes_on(f"old{i}", *(["new"] if i == winner else []))
        except (AssertionError, OSError) as e:
            raise AssertionError(f"killed={stepped.killed} at point {n}, outcomes {outcomes}: {stepped.points}\n"
                                 f"{type(e).__name__}: {e}") from e
    raw.close()
    print(f"kills: {killed}")
    assert killed >= ROUNDS / (12 * workers)


UNDONE = {CAS: [*OF_CAS, mkdir, rmdir], LWW: [*OF_LWW, close, open_truncated, exclusive, setxattr], PASS: OF_PASS}


@pytest.mark.parametrize("variant", UNDONE)
def test_a_rollback_gives_what_was_there(mount, bucket, actor, variant):
    """No store of a locked section, anywhere in the segment, was made without saving before what it overwrites."""
    m, raw, a = mount(variant=variant, workers=1), bucket.raw(), actor()
    other, points = set(), 0
    for n, scenario in enumerate(UNDONE[variant]):
        worker = util.wait_until(lambda: nothing_left(m), what="the end of sessions and requests")
        run = scenario(Scene(m, bucket, raw, a, n))
        call = next(run)
        stepped, found = stepper.compare(worker, lambda: operation(m, a, *call))
        end(run, stepped.outcome)
        other.update(found)
        points += len(stepped.points)
    raw.close()
    print(f"points: {points}")
    assert points > 20 * len(UNDONE[variant])
    assert not other, f"not saved: {sorted(other)[:20]}"
