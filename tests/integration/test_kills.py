"""Workers are killed at any instant, and no application notices."""

import concurrent.futures
import ctypes
import errno
import hashlib
import json
import mmap
import os
import sys

import pytest

from harness import PROGRAMS, SLOW, inject, stepper, util
from harness.killer import Killer
from harness.pattern import pattern
from harness.tree import assert_same_files, assert_tree_equal, make_tree
from harness.work import (assert_writers_files, kill_all, start_copier, start_writer,
                          still_running)

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

FILEOP = [sys.executable, "-B", PROGRAMS / "fileop.py"]

pytestmark = pytest.mark.limit(150)


def result(proc, timeout=60):
    """What a fileop.py of util.spawn() says at the end."""
    done = util.finish(proc, timeout, check=False)
    assert done.out, repr(done)
    return json.loads(done.out.splitlines()[-1])


def succeeded(proc, timeout=60):
    out = result(proc, timeout)
    assert out["error"] is None, out
    return out


@pytest.mark.slow
@pytest.mark.limit(240)
def test_200_random_kills_while_programs_work(mount, bucket, scratch, seed):
    m = mount(workers=2)
    source = make_tree(scratch / "source", 200, seed)
    writer = start_writer(m, scratch, seed)
    copier = start_copier(m, scratch, source)
    killer = Killer(m, 200, seed)
    try:
        killer.start()
        killer.finish(120 * SLOW, still_running(writer, copier))
        (scratch / "stop").touch()
        util.finish(writer)
        util.finish(copier)
    finally:
        killer.cancelled.set()
        kill_all((writer, copier))
    assert assert_writers_files(m, bucket, scratch) > 100
    assert_tree_equal(source, bucket, m.key("copier/tree"))
    assert_same_files(source, scratch / "out")
    m.wait_workers(2)
    m.check()
    assert not bucket.uploads()
    m.stop()


@pytest.mark.slow
def test_kills_with_latency(mount, proxy, bucket, scratch, seed):
    """Most of the time something is in flight to the server when a worker dies."""
    m = mount(via=proxy, workers=2)
    proxy.set_latency(5)
    writer = start_writer(m, scratch, seed, big=False)
    killer = Killer(m, 60, seed)
    killer.start()
    killer.finish(100 * SLOW, still_running(writer))
    (scratch / "stop").touch()
    util.finish(writer)
    proxy.set_latency(0)
    assert_writers_files(m, bucket, scratch)
    m.check()


# -- at a certain instant: the proxy holds a request, and every worker is killed


@pytest.fixture(params=[1, 2, 4], ids=lambda n: f"{n} workers")
def workers(request):
    return request.param


@pytest.fixture
def m(mount, proxy):
    return mount(via=proxy)


def kill_while_held(m, proxy, name="h"):
    """Kills all workers while a request is held; its client is gone when it is let go."""
    proxy.wait_held(name)
    killed = m.kill_workers()
    util.wait_until(lambda: not any(util.alive(p) for p in killed), what="the workers' death")
    proxy.release(name)


@pytest.mark.parametrize("when", ["before", "mid", "after"])
@pytest.mark.parametrize("size", [100, 1_000_000, 6_000_000])
def test_close_succeeds_though_the_worker_dies_in_its_put(m, proxy, bucket, when, size):
    bucket.put(m.key("f.bin"), b"old")
    proxy.hold("h", when=when, op="PutObject", times=1)
    writer = util.spawn([*FILEOP, "write", m.path / "f.bin", size, 7])
    kill_while_held(m, proxy)
    succeeded(writer)
    assert bucket.get(m.key("f.bin")) == pattern(size, 7)
    m.check()


def test_close_succeeds_with_any_number_of_workers(mount, proxy, bucket, workers):
    m = mount(via=proxy, workers=workers)
    for i in range(3):
        proxy.hold("h", when="mid", op="PutObject", times=1)
        writer = util.spawn([*FILEOP, "write", m.path / "f.bin", 500_000, i])
        kill_while_held(m, proxy)
        succeeded(writer)
        assert bucket.get(m.key("f.bin")) == pattern(500_000, i)
    m.wait_workers(workers)
    m.check()


def test_the_same_put_may_lose_its_worker_again_and_again(m, proxy, bucket):
    """Kills are no crashes: the request is not given up for them."""
    proxy.hold("h", when="mid", op="PutObject")
    writer = util.spawn([*FILEOP, "write", m.path / "f.bin", 300_000, 1])
    dead = []
    for i in range(6):
        # Those of the dead stay held too: releasing them could let the next one through.
        proxy.wait_held("h", i + 1)
        dead += m.kill_workers()
        m.wait_workers(2, without=dead)
    proxy.wait_held("h", 7)
    proxy.release("h")
    succeeded(writer)
    assert bucket.get(m.key("f.bin")) == pattern(300_000, 1)
    m.check()


def test_a_release_is_not_given_up_as_others_are(mount, proxy, bucket):
    """Nobody repeats it: what it publishes is published, and what it frees is free, though two workers crashed."""
    m = mount(via=proxy, workers=1)
    with open(m.path / "f.bin", "w+b") as f:
        f.write(b"before")
        f.flush()
        mapped = libc.mmap(None, 6, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, f.fileno(), 0)
    ctypes.memmove(mapped, b"mapped", 6)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        proxy.hold("h", when="before", op="PutObject")
        ended = pool.submit(libc.munmap, mapped, 6)
        for i in range(2):
            proxy.wait_held("h", i + 1)
            assert [r["op"] for r in m.inflight()] == ["RELEASE"]
            m.wait_workers(1, without=m.kill_workers(util.CRASH_SIGNAL))
        proxy.wait_held("h", 3)
        proxy.release("h")
        ended.result(60)
    util.wait_until(lambda: m.status()["tables"]["sessions"] == 0, what="the end of the session")
    assert bucket.get(m.key("f.bin")) == b"mapped"
    m.check()


@pytest.mark.skipif(not inject.AVAILABLE, reason="steps code of x86-64")
@pytest.mark.skipif(SLOW > 1, reason="with sanitizers a step takes too long")
def test_a_crash_at_the_end_of_a_request_is_its_own(mount, proxy, bucket):
    """Its reply is stored, and not yet committed: without blame workers would crash for ever."""
    m = mount(via=proxy, workers=1)
    (m.path / "f.bin").write_bytes(b"1")
    with open(m.path / "f.bin", "rb") as f, concurrent.futures.ThreadPoolExecutor() as pool:
        proxy.hold("copied", op="CopyObject", times=1)
        changed = pool.submit(os.fchmod, f.fileno(), 0o600)
        proxy.wait_held("copied")
        for name, following in ("copied", "asked"), ("asked", None):
            if following:
                proxy.hold(following, op="HeadObject", times=1)
            worker, = m.worker_pids()

            def go_on():
                proxy.release(name)
                m.wait_workers(1, without=[worker])
            stepper.crash(worker, "attr_apply", go_on)
            if following:
                proxy.wait_held(following)
        with pytest.raises(OSError) as e:
            changed.result(60)
    assert e.value.errno == errno.EIO
    assert [line for line in m.errors() if "crashed 2 workers: giving it up" in line]
    (m.path / "f.bin").chmod(0o640)
    m.check()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("size", [4096, 3_000_000, 20_000_000])
def test_a_read_gets_its_bytes_though_the_worker_dies_in_its_get(m, proxy, bucket, when, size):
    bucket.put(m.key("f.bin"), pattern(size))
    proxy.hold("h", when=when, op="GetObject", times=1)
    reader = util.spawn([*FILEOP, "read", m.path / "f.bin"])
    kill_while_held(m, proxy)
    out = succeeded(reader)
    assert (out["size"], out["sha256"]) == (size, hashlib.sha256(pattern(size)).hexdigest())
    m.check()


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_listing_is_complete_though_the_worker_dies_in_it(mount, proxy, bucket2500, nth):
    m = mount(via=proxy, s3=bucket2500, prefix="p/many")
    proxy.hold("h", op="ListObjectsV2", nth=nth)
    lister = util.spawn([*FILEOP, "list", m.path])
    kill_while_held(m, proxy)
    assert succeeded(lister)["names"] == [f"{i:04d}.txt" for i in range(2500)]
    m.check()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("op, command, gone, there", [
    ("DeleteObject", ["unlink", "f.txt"], ["f.txt"], []),
    ("CopyObject", ["rename", "f.txt", "new.txt"], ["f.txt"], ["new.txt"]),
    ("DeleteObject", ["rename", "f.txt", "new.txt"], ["f.txt"], ["new.txt"]),
    ("PutObject", ["mkdir", "new"], [], ["f.txt", "new/"]),
    ("DeleteObject", ["rmdir", "dir"], ["dir/"], ["f.txt"]),
    ("PutObject", ["truncate", "f.txt", "2"], [], ["f.txt"]),
    ("PutObject", ["append", "f.txt", "10", "1"], [], ["f.txt"]),
], ids=lambda x: x if isinstance(x, str) else x[0] if x else "-")
def test_an_operation_succeeds_once_though_the_worker_dies_in_it(m, proxy, bucket, when, op,
                                                                 command, gone, there):
    """Also when the server has acted and the dead worker's answer is lost: a file that was deleted
    is no ENOENT, a directory that was made no EEXIST, an append is there once."""
    bucket.put(m.key("f.txt"), b"12345")
    os.mkdir(m.path / "dir")
    proxy.hold("h", when=when, op=op, times=1)
    names = [m.path / a if not a.isdigit() else a for a in command[1:]]
    program = util.spawn([*FILEOP, command[0], *names])
    kill_while_held(m, proxy)
    succeeded(program)
    for name in gone:
        assert not bucket.exists(m.key(name)), name
    for name in there:
        assert bucket.exists(m.key(name)), name
    if command[0] == "truncate":
        assert bucket.get(m.key("f.txt")) == b"12"
    if command[0] == "append":
        assert bucket.get(m.key("f.txt")) == b"12345" + pattern(10, 1)
    m.check()


def test_fsync_succeeds_though_the_worker_dies_in_it(m, proxy, bucket):
    proxy.hold("h", when="after", op="PutObject", times=1)
    program = util.spawn([*FILEOP, "fsync", m.path / "f.bin", 100_000, 3], stdin=-1)
    kill_while_held(m, proxy)
    assert program.stdout.readline() == b"synced\n"
    assert bucket.get(m.key("f.bin")) == pattern(100_000, 3)
    succeeded(program)


def test_a_directory_rename_goes_on_in_the_replacement(m, proxy, bucket):
    for i in range(30):
        bucket.put(m.key(f"old/f{i}.txt"), b"%d" % i)
    proxy.hold("h", op="CopyObject", nth=10)
    program = util.spawn([*FILEOP, "rename", m.path / "old", m.path / "new"])
    kill_while_held(m, proxy)
    succeeded(program)
    assert bucket.list(m.key("old/")) == {}
    assert {k: bucket.get(k) for k in bucket.list(m.key("new/")) if not k.endswith("/")} == {
        m.key(f"new/f{i}.txt"): b"%d" % i for i in range(30)}
    m.check()


def test_an_open_file_outlives_every_worker(m, bucket):
    """Between two writes of one open file all workers die, several times."""
    fd = os.open(m.path / "f.bin", os.O_RDWR | os.O_CREAT)
    expected = b""
    try:
        for i in range(5):
            data = pattern(1_500_000, i)
            assert os.write(fd, data) == len(data)
            expected += data
            m.wait_workers(2, without=m.kill_workers())
            assert os.pread(fd, 1000, len(expected) - 1000) == expected[-1000:]
    finally:
        os.close(fd)
    assert bucket.get(m.key("f.bin")) == expected
    m.check()


def test_an_open_directory_outlives_every_worker(mount, bucket2500):
    m = mount(s3=bucket2500, prefix="p/many")
    names = []
    with os.scandir(m.path) as it:
        for i, entry in enumerate(it):
            names.append(entry.name)
            if i in (10, 1200, 2400):
                m.wait_workers(2, without=m.kill_workers())
    assert sorted(names) == [f"{i:04d}.txt" for i in range(2500)]


def test_nothing_leaks_by_kills(m, proxy, bucket):
    """Counters that `status` shows about what is open are back at their start."""
    def used():
        tables = m.status()["tables"]
        return [tables[x] for x in ("handles", "sessions", "session_bytes", "blocks_fetching")]
    before = used()
    for i in range(5):
        proxy.hold("h", when="mid", op="PutObject", times=1)
        writer = util.spawn([*FILEOP, "write", m.path / f"f{i}.bin", 5_000_000, i])
        kill_while_held(m, proxy)
        succeeded(writer)
    util.wait_until(lambda: used() == before, what="the sessions' end")
    m.check()


# -- a PUT that was given up for lost


def test_a_stray_put_does_not_undo_a_later_one(m, proxy, bucket):
    """The worker dies while its PUT is held; its replacement publishes, the program goes on and publishes again. What
    was held comes late, and is refused."""
    path = m.path / "f.bin"
    path.write_bytes(b"before")
    proxy.hold("stray", op="PutObject", detach=True, times=1)
    writer = util.spawn([*FILEOP, "write", path, 1000, 1])
    proxy.wait_held("stray")
    m.wait_workers(2, without=m.kill_workers())
    succeeded(writer)
    path.write_bytes(b"after")
    assert bucket.get(m.key("f.bin")) == b"after"
    proxy.release("stray")
    proxy.wait_idle()
    assert bucket.get(m.key("f.bin")) == b"after"
    assert path.read_bytes() == b"after"
    m.check()


def test_a_stray_put_of_a_new_file_does_not_undo_a_later_one(m, proxy, bucket):
    path = m.path / "new.bin"
    proxy.hold("stray", op="PutObject", detach=True, times=1)
    writer = util.spawn([*FILEOP, "write", path, 1000, 1])
    proxy.wait_held("stray")
    m.wait_workers(2, without=m.kill_workers())
    succeeded(writer)
    path.write_bytes(b"after")
    proxy.release("stray")
    proxy.wait_idle()
    assert bucket.get(m.key("new.bin")) == b"after"


def test_a_stray_delete_does_not_undo_a_later_write(m, proxy, bucket):
    """The worker dies while its DELETE is held; its replacement deletes, the program writes the file anew."""
    path = m.path / "f.bin"
    path.write_bytes(b"before")
    proxy.hold("stray", op="DeleteObject", detach=True, times=1)
    program = util.spawn([*FILEOP, "unlink", path])
    proxy.wait_held("stray")
    m.wait_workers(2, without=m.kill_workers())
    succeeded(program)
    path.write_bytes(b"after")
    proxy.release("stray")
    proxy.wait_idle()
    assert bucket.get(m.key("f.bin")) == b"after"
    assert path.read_bytes() == b"after"
    m.check()


def test_a_stray_delete_of_a_rename(m, proxy, bucket):
    path = m.path / "f.tmp"
    path.write_bytes(b"version 1")
    proxy.hold("stray", op="DeleteObject", detach=True, times=1)
    program = util.spawn([*FILEOP, "rename", path, m.path / "f"])
    proxy.wait_held("stray")
    m.wait_workers(2, without=m.kill_workers())
    succeeded(program)
    path.write_bytes(b"version 2")
    proxy.release("stray")
    proxy.wait_idle()
    assert bucket.get(m.key("f.tmp")) == b"version 2"


def test_a_stray_delete_of_a_directory_rename(m, proxy, bucket):
    (m.path / "d").mkdir()
    path = m.path / "d" / "f"
    path.write_bytes(b"version 1")
    proxy.hold("stray", op="DeleteObject", key="p/d/f", detach=True, times=1)
    program = util.spawn([*FILEOP, "rename", m.path / "d", m.path / "e"])
    proxy.wait_held("stray")
    m.wait_workers(2, without=m.kill_workers())
    succeeded(program)
    (m.path / "d").mkdir()
    path.write_bytes(b"version 2")
    proxy.release("stray")
    proxy.wait_idle()
    assert bucket.get(m.key("d/f")) == b"version 2"


def test_what_another_machine_has_written_is_deleted_too(m, proxy, bucket):
    """The last one wins, also when it deletes; a server that knows no conditions is asked without."""
    path = m.path / "f.bin"
    path.write_bytes(b"ours")
    fd = os.open(path, os.O_RDONLY)     # the kernel asks no more for the name than it has to
    proxy.hold("h", op="DeleteObject", times=1)
    program = util.spawn([*FILEOP, "unlink", path])
    proxy.wait_held("h")
    bucket.put(m.key("f.bin"), b"theirs")
    proxy.release("h")
    succeeded(program)
    os.close(fd)
    assert not bucket.exists(m.key("f.bin"))
    path.write_bytes(b"again")
    proxy.add_rule("answer", status=501, op="DeleteObject", having={"if-match": "*"})
    path.unlink()
    assert not bucket.exists(m.key("f.bin"))
    m.check()


def test_the_last_writer_wins_over_another_machine(m, mount, proxy, bucket):
    """Conditions are for strays: two mounts that write one file in turn do not refuse each other."""
    other = mount(prefix=m.prefix)
    for i in range(5):
        (m.path / "f.txt").write_bytes(b"ours %d" % i)
        assert bucket.get(m.key("f.txt")) == b"ours %d" % i
        with open(m.path / "f.txt", "ab") as f:
            f.write(b" and more")
            (other.path / "f.txt").write_bytes(b"theirs %d" % i)
        assert bucket.get(m.key("f.txt")) == b"ours %d and more" % i
        assert (other.path / "f.txt").read_bytes() == b"ours %d and more" % i


def test_a_file_deleted_elsewhere_is_written_again(m, bucket):
    with open(m.path / "f.txt", "wb") as f:
        f.write(b"one")
        f.flush()
        os.fsync(f.fileno())
        bucket.delete(m.key("f.txt"))
        f.write(b" two")
    assert bucket.get(m.key("f.txt")) == b"one two"


def test_a_file_that_goes_while_it_is_loaded_is_created(m, proxy, bucket):
    """open(O_CREAT) says no ENOENT: the kernel looks up again, and creates it."""
    bucket.put(m.key("f.log"), pattern(300_000))
    proxy.hold("h", op="GetObject", nth=2)      # the first is the LOOKUP's
    program = util.spawn([*FILEOP, "append", m.path / "f.log", 10, 1])
    proxy.wait_held("h")
    bucket.delete(m.key("f.log"))
    proxy.release("h")
    succeeded(program)
    assert bucket.get(m.key("f.log")) == pattern(10, 1)
    m.check()


# -- a directory is renamed while something is under way in it


def both(m, proxy, first, second, kill):
    """`first` is under way, held up by the proxy; `second` (arguments of fileop.py) comes, and both
    end well."""
    second = util.spawn([*FILEOP, *second])
    util.wait_until(lambda: len(m.inflight()) == 2, what="the second")
    if kill:
        m.wait_workers(2, without=m.kill_workers())
    proxy.release("h")
    succeeded(first)
    succeeded(second)


@pytest.mark.parametrize("kill", [False, True])
def test_a_rename_in_a_directory_that_is_renamed(m, proxy, bucket, kill):
    """The one has the file and waits for its publish, the other has the directory: neither waits
    for ever."""
    bucket.put(m.key("d/b.bin"), pattern(3_000_000))
    with open(m.path / "d" / "b.bin", "rb", buffering=0) as reader, \
         open(m.path / "d" / "a.bin", "wb", buffering=0) as writer:
        reader.read(1000)
        writer.write(b"unpublished")
        # (The rename's LOOKUP asks with HEAD.) What is replaced is loaded for its reader.
        proxy.hold("h", op="GetObject", key=m.key("d/b.bin"), nth=1)
        first = util.spawn([*FILEOP, "rename", m.path / "d" / "a.bin", m.path / "d" / "b.bin"])
        proxy.wait_held("h")
        both(m, proxy, first, ["rename", m.path / "d", m.path / "e"], kill)
    assert bucket.get(m.key("e/b.bin")) == b"unpublished"
    assert not bucket.list(m.key("d/"))
    m.check()


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("how", ["mkdir", "rmdir"])
def test_a_directory_in_a_directory_that_is_renamed(m, proxy, bucket, how, kill):
    """The marker of the one is where the keys of the other have gone."""
    bucket.put(m.key("d/b.txt"), b"b")
    if how == "rmdir":
        bucket.put(m.key("d/x/"))
    proxy.hold("h", op="PutObject" if how == "mkdir" else "DeleteObject", key=m.key("d/x/"))
    first = util.spawn([*FILEOP, how, m.path / "d" / "x"])
    proxy.wait_held("h")
    both(m, proxy, first, ["rename", m.path / "d", m.path / "e"], kill)
    there = {m.key("e/b.txt"), m.key("e/x/")} if how == "mkdir" else {m.key("e/b.txt")}
    assert bucket.list(m.key("")).keys() == there
    m.check()


@pytest.mark.parametrize("how", ["mkdir", "rmdir"])
def test_a_directory_waits_for_the_rename_above_it(m, proxy, bucket, how):
    """The other way round: it is made, or removed, where the keys have gone."""
    bucket.put(m.key("d/b.txt"), b"b")
    if how == "rmdir":
        bucket.put(m.key("d/x/"))
    assert os.listdir(m.path / "d")
    proxy.hold("h", op="CopyObject", nth=1)
    first = util.spawn([*FILEOP, "rename", m.path / "d", m.path / "e"])
    proxy.wait_held("h")
    both(m, proxy, first, [how, m.path / "d" / "x"], kill=False)
    there = {m.key("e/b.txt"), m.key("e/x/")} if how == "mkdir" else {m.key("e/b.txt")}
    assert bucket.list(m.key("")).keys() == there
    m.check()


@pytest.mark.parametrize("kill", [False, True])
def test_an_unlink_in_a_directory_that_is_renamed(m, proxy, bucket, kill):
    """What was unlinked is not moved before it goes."""
    bucket.put(m.key("d/a.txt"), b"a")
    bucket.put(m.key("d/b.txt"), b"b")
    proxy.hold("h", op="DeleteObject", nth=1)
    first = util.spawn([*FILEOP, "unlink", m.path / "d" / "a.txt"])
    proxy.wait_held("h")
    both(m, proxy, first, ["rename", m.path / "d", m.path / "e"], kill)
    assert bucket.list(m.key("")).keys() == {m.key("e/b.txt")}
    assert os.listdir(m.path / "e") == ["b.txt"]
    m.check()
