"""Nothing left of what the daemon lives on: disk, descriptors, memory, sessions. A defined error, no hang, nothing half
written on the server, and all is well again afterwards."""

import contextlib
import errno
import json
import os
import pathlib
import signal
import sys
import time

import pytest

from harness import PROGRAMS, SLOW, util
from harness.cgroup import CannotMake, Cgroup
from harness.pattern import pattern
from harness.work import assert_writers_files, kill_all, start_writer

FILEOP = [sys.executable, "-B", PROGRAMS / "fileop.py"]
MIB = 1 << 20
SHORT = {"STATEPROXY_S3_DEADLINE": f"{int(1500 * SLOW)}ms"}


def fileop(*args, timeout=60):
    """(errno name or None, the call that failed, everything it said)."""
    done = util.run([*FILEOP, *args], timeout, check=False)
    out = json.loads(done.out.splitlines()[-1])
    return out["error"], out["at"], out


@contextlib.contextmanager
def fails_with(*codes):
    with pytest.raises(OSError) as e:
        yield
    assert e.value.errno in codes, e.value


def close_quietly(fd):
    try:
        os.close(fd)
    except OSError:
        pass


# -- the disk of the spool is full


@pytest.fixture
def disk(scratch):
    """An 8 MiB disk for buffer.dir."""
    path = scratch / "disk"
    path.mkdir()
    util.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", path])
    yield path
    util.run(["umount", "-l", path])


@pytest.fixture
def full(mount, proxy, disk):
    """A mount on it; full.fill() leaves not a block of it, full.drain() gives all back."""
    m = mount(via=proxy, workers=1, env={"STATEPROXY_BUFFER_DIR": disk})
    hog = disk / "hog"

    def fill():
        with open(hog, "wb", buffering=0) as f, contextlib.suppress(OSError):
            while True:
                f.write(bytes(4096))
    m.fill, m.drain = fill, lambda: hog.unlink(missing_ok=True)
    yield m
    m.drain()
    m.stop()            # before the disk goes


def test_a_write_that_fails_takes_nothing_that_was_published(full, bucket):
    """fsync has said that it is safe. What comes after the error is not published, also when the
    program does not look at errors; a truncation begins anew, on the same descriptor."""
    key, safe = full.key("f.bin"), pattern(5 * MIB, 1)
    fd = os.open(full.path / "f.bin", os.O_RDWR | os.O_CREAT)
    try:
        os.write(fd, safe)
        os.fsync(fd)
        full.fill()
        with fails_with(errno.ENOSPC):
            os.write(fd, pattern(2 * MIB, 2))
        os.pwrite(fd, b"over the first bytes", 0)
        with fails_with(errno.ENOSPC):
            os.fsync(fd)
        assert bucket.get(key) == safe
        full.drain()
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"anew", 0)
        os.fsync(fd)
        assert bucket.get(key) == b"anew"
    finally:
        os.close(fd)
    full.check()


def test_a_file_that_has_to_leave_memory_cannot(full, bucket):
    """What was written so far fits memory and could be published; what was asked for could not."""
    bucket.put(full.key("f.bin"), b"old")
    full.fill()
    error, at, _ = fileop("write", full.path / "f.bin", 6 * MIB, 1)
    assert (error, at) == ("ENOSPC", "write")
    assert bucket.get(full.key("f.bin")) == b"old"
    assert fileop("write", full.path / "small.bin", MIB, 2)[0] is None, "memory is left"
    full.drain()
    assert fileop("write", full.path / "f.bin", 6 * MIB, 1)[0] is None
    assert bucket.get(full.key("f.bin")) == pattern(6 * MIB, 1)
    full.check()


def test_an_object_that_does_not_fit_cannot_be_changed(full, bucket):
    """It has to be loaded for that. It can be read all the same."""
    data = pattern(10 * MIB, 1)
    bucket.put(full.key("f.bin"), data)
    assert fileop("append", full.path / "f.bin", 10, 1)[0] == "ENOSPC"
    with fails_with(errno.ENOSPC):
        os.truncate(full.path / "f.bin", 9 * MIB)
    assert bucket.get(full.key("f.bin")) == data
    assert (full.path / "f.bin").read_bytes() == data
    bucket.put(full.key("g.bin"), data[:6 * MIB])
    assert fileop("append", full.path / "g.bin", 10, 1)[0] is None, "what was loaded was given back"
    assert bucket.get(full.key("g.bin")) == data[:6 * MIB] + pattern(10, 1)
    full.check()


def test_a_write_that_comes_during_an_upload_has_no_place(full, proxy, bucket):
    """Its bytes cannot be put aside: it fails, and a close that does not care publishes nothing
    without them."""
    key = full.key("f.bin")
    fd = os.open(full.path / "f.bin", os.O_RDWR | os.O_CREAT)
    try:
        proxy.hold("h", op="PutObject", times=1)
        other = util.spawn([*FILEOP, "append", full.path / "f.bin", 1000, 1])
        proxy.wait_held("h")
        full.fill()
        with fails_with(errno.ENOSPC):
            os.pwrite(fd, b"2" * 100_000, 1000)
        proxy.release("h")
        # Its own bytes are published; that the session is spoilt may be told to it too.
        assert json.loads(util.finish(other, check=False).out)["error"] in (None, "ENOSPC")
        assert bucket.get(key) == pattern(1000, 1)
        full.drain()
        os.pwrite(fd, b"3" * 1000, 101_000)
        with fails_with(errno.ENOSPC):
            os.fsync(fd)
    finally:
        with fails_with(errno.ENOSPC):
            os.close(fd)
    assert bucket.get(key) == pattern(1000, 1), "never with a hole where the second write was"
    assert (full.path / "f.bin").read_bytes() == pattern(1000, 1)
    assert fileop("write", full.path / "f.bin", 1000, 2)[0] is None
    full.check()


def test_killed_workers_on_a_full_disk(full, bucket):
    """The error is the same, and the space comes back."""
    full.fill()
    for i in range(3):
        writer = util.spawn([*FILEOP, "write", full.path / "f.bin", 6 * MIB, i])
        full.wait_workers(1, without=full.kill_workers())
        out = json.loads(util.finish(writer, check=False).out)
        assert out["error"] == "ENOSPC"
    full.drain()
    assert not bucket.exists(full.key("f.bin"))
    util.wait_until(lambda: full.status()["tables"]["sessions"] == 0, what="the sessions' end")
    assert fileop("write", full.path / "f.bin", 7 * MIB, 5)[0] is None
    full.check()


# -- it is made read-only


def test_a_spool_directory_made_read_only(mount, scratch, bucket):
    """As the kernel does it after an error of the disk: the unnamed files that are open fail too."""
    image, disk = scratch / "image", scratch / "disk"
    if util.run(["sh", "-c", f"truncate -s 64M {image} && mkfs.ext4 -q {image}"], check=False).code:
        pytest.skip("no mkfs.ext4 on this machine")
    disk.mkdir()
    if util.run(["mount", "-o", "loop", image, disk], check=False).code:
        pytest.skip("this machine lets nobody mount a loop device")
    try:
        buffers = disk / "buf"
        buffers.mkdir()
        m = mount(env={"STATEPROXY_BUFFER_DIR": buffers})
        bucket.put(m.key("f.bin"), b"old")
        fd = os.open(m.path / "g.bin", os.O_RDWR | os.O_CREAT)
        os.write(fd, pattern(6 * MIB, 1))
        util.run(["mount", "-o", "remount,abort", disk])
        with fails_with(errno.EROFS, errno.EIO):
            os.write(fd, pattern(6 * MIB, 2))
        with fails_with(errno.EROFS, errno.EIO):
            os.close(fd)
        assert not bucket.exists(m.key("g.bin"))
        error, at, _ = fileop("write", m.path / "f.bin", 6 * MIB, 1)
        assert error in ("EROFS", "EIO") and at == "write"
        assert bucket.get(m.key("f.bin")) == b"old"
        assert fileop("write", m.path / "f.bin", 3 * MIB, 2)[0] is None, "what fits memory goes on"
        assert bucket.get(m.key("f.bin")) == pattern(3 * MIB, 2)
        assert fileop("read", m.path / "f.bin")[0] is None
        m.check()
        m.stop()
        again = mount(start=False, env={"STATEPROXY_BUFFER_DIR": buffers})
        code, lines = again.start_refused()
        assert code == 73 and len(lines) == 1 and str(buffers) in lines[0]
    finally:
        util.run(["umount", "-l", disk])


def test_a_spool_directory_that_is_taken_away(mount, bucket):
    m = mount()
    m.buffer_dir.chmod(0)
    m.buffer_dir.rmdir()
    assert fileop("write", m.path / "f.bin", 6 * MIB, 1)[0] is None
    assert bucket.get(m.key("f.bin")) == pattern(6 * MIB, 1)
    m.wait_workers(2, without=m.kill_workers())
    assert fileop("write", m.path / "f.bin", 6 * MIB, 2)[0] is None
    m.buffer_dir.mkdir()
    m.check()


# -- no descriptor is left


def set_limit(pids, limit=None):
    """So that none of them can open anything more; limit: as it was."""
    before = {}
    for pid in pids:
        n = max(int(x) for x in os.listdir(f"/proc/{pid}/fd")) + 1 if limit is None else limit
        out = util.run(["prlimit", "--pid", pid, "--nofile", "--raw", "--noheadings",
                        "-o", "SOFT,HARD"]).out.split()
        before[pid] = int(out[0])
        util.run(["prlimit", "--pid", pid, f"--nofile={n}:"])
    return before


@pytest.fixture
def starved(mount, bucket):
    """A mount whose only worker has no connection yet and no descriptor for one."""
    def make(**env):
        # (The limits of a process in the sandbox cannot be changed from outside.)
        m = mount(workers=1, env={**SHORT, "STATEPROXY_SANDBOX": "off", **env})
        bucket.put(m.key("f.txt"), b"old")
        (pid,) = m.worker_pids()
        m.wait_workers(1, without=m.kill_workers())
        (pid,) = m.worker_pids()
        util.wait_until(lambda: len(m.status()["workers"]) == 1 and loop_runs(pid),
                        what="the worker's loop")
        m.limits = set_limit([pid])
        m.feed = lambda: [set_limit([p], n) for p, n in m.limits.items()]
        return m
    return make


def loop_runs(pid):
    with open(f"/proc/{pid}/wchan") as f:
        return "poll" in f.read()


@pytest.mark.quiet("others meet the outage too")
def test_no_descriptor_for_a_connection_is_an_outage(starved, bucket):
    m = starved()
    error, at, out = fileop("read", m.path / "f.txt")
    assert error in ("EIO", "EMFILE", "ENFILE", "ETIMEDOUT", "ECONNREFUSED") and out["seconds"] < 15 * SLOW
    error, at, out = fileop("write", m.path / "f.txt", 100, 1)
    assert error in ("EIO", "EMFILE", "ENFILE", "ETIMEDOUT", "ECONNREFUSED") and out["seconds"] < 15 * SLOW
    assert bucket.get(m.key("f.txt")) == b"old"
    m.feed()
    assert (m.path / "f.txt").read_bytes() == b"old"
    assert fileop("write", m.path / "f.txt", 100, 1)[0] is None
    m.check()


def test_descriptors_come_back_in_time(starved, bucket):
    m = starved(STATEPROXY_S3_DEADLINE="60s")
    writer = util.spawn([*FILEOP, "write", m.path / "f.txt", 100, 1])
    util.wait_until(lambda: any(r["age_ms"] > 300 for r in m.inflight()), what="a request that waits")
    assert writer.poll() is None
    m.feed()
    assert json.loads(util.finish(writer).out)["error"] is None
    assert bucket.get(m.key("f.txt")) == pattern(100, 1)


WRITE_AND_WAIT = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
os.write(fd, b"half")
print("written", flush=True)
sys.stdin.read()
"""


def test_a_killed_writer_is_known_without_a_free_descriptor(mount, bucket):
    """What killed it is asked of /proc, which takes a descriptor: one is kept back for that."""
    m = mount(workers=1, env={"STATEPROXY_SANDBOX": "off"})
    bucket.put(m.key("f.txt"), b"old")
    assert (m.path / "f.txt").read_bytes() == b"old"        # and a connection is there
    writer = util.spawn([sys.executable, "-c", WRITE_AND_WAIT, m.path / "f.txt"], stdin=-1)
    assert writer.stdout.readline() == b"written\n"
    before = set_limit(m.worker_pids())
    os.killpg(writer.pid, signal.SIGKILL)
    writer.communicate()
    util.wait_until(lambda: m.status()["tables"]["sessions"] == 0, what="the session's end")
    for pid, limit in before.items():
        set_limit([pid], limit)
    assert bucket.get(m.key("f.txt")) == b"old", "half of a file is never published"
    m.check()


# -- no session is left


def test_no_slot_for_one_more_file(mount, bucket):
    """ENFILE at once: waiting could never end for a program that holds them all."""
    m = mount(env={"STATEPROXY_BUFFER_SESSIONS": "2"})
    bucket.put(m.key("c"), b"old")
    files = [os.open(m.path / n, os.O_WRONLY | os.O_CREAT) for n in "ab"]
    with fails_with(errno.ENFILE):
        os.open(m.path / "c", os.O_WRONLY | os.O_TRUNC)
    with fails_with(errno.ENFILE):
        os.open(m.path / "d", os.O_WRONLY | os.O_CREAT)
    with fails_with(errno.ENFILE):
        os.truncate(m.path / "c", 0)
    assert (m.path / "c").read_bytes() == b"old", "reading takes none"
    os.write(files[0], b"a")
    os.close(files[0])
    (m.path / "c").write_bytes(b"new")
    os.close(files[1])
    assert {n: bucket.get(m.key(n)) for n in "abc"} == {"a": b"a", "b": b"", "c": b"new"}
    assert not bucket.exists(m.key("d"))
    m.check()


@pytest.mark.limit(120)
@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"])
def test_one_program_opens_hundreds(mount, bucket, variant):
    """As who writes a table to its partitions; in the memory of a small sidecar, as everything is by default."""
    m = mount(variant=variant, env={"STATEPROXY_MEMORY_LIMIT": "64Mi"})
    files = [open(m.path / f"part-{i}.bin", "wb", buffering=0) for i in range(250)]
    try:
        for step in range(3):
            for i, f in enumerate(files):
                f.write(pattern(100_000, i + step))
    finally:
        for f in files:
            f.close()
    for i in range(250):
        assert bucket.get(m.key(f"part-{i}.bin")) == b"".join(pattern(100_000, i + step) for step in range(3))
    m.check()


# -- memory is at its limit


@pytest.fixture
def cgroup(request):
    """A limit of 128 MiB, or as a parameter says; it outlives the mount."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a memory cgroup")
    if "ASAN_OPTIONS" in os.environ:
        pytest.skip("a sanitizer takes more memory than there is to be")
    try:
        group = Cgroup(getattr(request, "param", 128) * MIB)
    except CannotMake as e:
        pytest.skip(str(e))
    if group.killed() is None:
        group.remove()
        pytest.skip("this kernel does not count what the OOM killer does")
    yield group
    group.remove()


HOG = """
import mmap
held = []
while True:
    page = mmap.mmap(-1, 1 << 20)
    for i in range(0, 1 << 20, 4096):
        page[i] = 1
    held.append(page)
"""


@pytest.mark.slow
@pytest.mark.parametrize("victims", ["what takes it", "workers"])
def test_memory_at_its_limit(cgroup, mount, scratch, bucket, seed, victims):
    """The daemon lives in 128 MiB under load. Then something else in its cgroup takes all the memory
    there is: whoever the kernel kills for that, it is not the supervisor; programs notice nothing."""
    m = mount(start=False)
    m.wrap = cgroup.run
    m.start()
    writer = start_writer(m, scratch, seed)
    hog = None
    try:
        bucket.put(m.key("big.bin"), pattern(40 * MIB, 1))
        for _ in range(2):
            assert fileop("read", m.path / "big.bin")[0] is None
        assert fileop("write", m.path / "w.bin", 30 * MIB, 1)[0] is None
        assert cgroup.killed() == 0, "its budget fits its limit"
        supervisor, workers = m.proc.pid, m.worker_pids()
        if victims == "workers":
            for pid in workers:
                pathlib.Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
        hog = util.spawn(cgroup.run(sys.executable, "-c", HOG))
        util.wait_until(lambda: hog.poll() is not None, 30, "the OOM killer")
        assert (cgroup.killed() > 2) == (victims == "workers"), "and they were replaced"
        m.wait_workers(2, without=workers if victims == "workers" else ())
        for i in range(3):
            assert fileop("write", m.path / f"f{i}.bin", MIB, i)[0] is None
            assert bucket.get(m.key(f"f{i}.bin")) == pattern(MIB, i)
        assert m.proc.poll() is None and m.proc.pid == supervisor
        (scratch / "stop").touch()
        util.finish(writer)
        assert_writers_files(m, bucket, scratch)
    finally:
        kill_all([p for p in (writer, hog) if p])
    m.wait_workers(2)
    m.check()


@pytest.mark.slow
@pytest.mark.parametrize("cgroup", [64], indirect=True)
def test_spool_files_do_not_fill_the_memory(cgroup, mount, bucket):
    """What waits in the page cache for the disk of buffer.dir counts as the cgroup's memory, and with version 1 the
    kernel does not bound it: it is written back in steps."""
    m = mount(start=False, env={"STATEPROXY_BUFFER_MEMORY": "1Mi"})
    m.wrap = cgroup.run
    m.start()
    writers = [util.spawn([*FILEOP, "write", m.path / f"f{i}", 100 * MIB, i])
               for i in range(3)]
    most = 0
    try:
        while any(w.poll() is None for w in writers):
            most = max(most, cgroup.dirty())
            time.sleep(0.002)               # between two looks
        for w in writers:
            assert json.loads(util.finish(w).out)["error"] is None
    finally:
        kill_all(writers)
    print(f"most={most >> 10} KiB")
    assert cgroup.killed() == 0 and most <= 16 * MIB
    for i in range(3):
        assert bucket.get(m.key(f"f{i}")) == pattern(100 * MIB, i)
    m.check()
