"""The mount is taken away by somebody else, in every way there is; and programs that wait for S3 are interrupted."""

import errno
import os
import signal
import sys
import time

import pytest

from harness import EX_UNPUBLISHED, PROGRAMS, SLOW, util
from harness.footprint import assert_footprint, footprint
from harness.pattern import pattern

PYTHON = [sys.executable, "-B"]
FILEOP = [*PYTHON, PROGRAMS / "fileop.py"]

DEADLINE = 1.5 * SLOW
SHORT = {"STATEPROXY_S3_DEADLINE": f"{int(DEADLINE * 1000)}ms",
         "STATEPROXY_S3_ATTEMPT_TIMEOUT": f"{int(DEADLINE * 1000)}ms",
         "STATEPROXY_DAEMON_DRAIN_TIMEOUT": f"{int(DEADLINE * 2000)}ms"}

WAYS = {"umount": ["umount"], "umount -l": ["umount", "-l"], "umount -f": ["umount", "-f"],
        "fusermount3 -u": ["fusermount3", "-u"], "fusermount3 -u -z": ["fusermount3", "-u", "-z"]}
REFUSED_WHEN_BUSY = ("umount", "umount -f", "fusermount3 -u")


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


def ended(m, code=0, timeout=10):
    assert m.wait_exit(timeout) == code, m.log()
    m._check_gone("after it was unmounted")
    m.stopped = True


# -- by whatever means


def test_nothing_is_open(mount, way):
    m = mount()
    (m.path / "f.txt").write_bytes(b"x")
    util.run([*WAYS[way], m.path])
    start = time.monotonic()
    ended(m)
    assert time.monotonic() - start < 3 * SLOW
    assert "unmounted from outside" in m.log() and not m.errors()


def test_a_file_is_being_written(mount, bucket, way):
    """Busy: it is refused, and all goes on. Lazily: the file is served until it is closed. By force:
    the program is told, and what was not published is said to be lost."""
    m = mount(env=SHORT)
    fd = os.open(m.path / "f.txt", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"content")
    done = util.run([*WAYS[way], m.path], check=False)
    if done.code:
        assert way in REFUSED_WHEN_BUSY
        if way != "umount -f":
            os.write(fd, b" and more")
            os.close(fd)
            assert bucket.get(m.key("f.txt")) == b"content and more"
            m.stop()
            return
        with pytest.raises(OSError) as e:       # refused, but the connection is cut
            os.write(fd, b" and more")
        assert e.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
        with pytest.raises(OSError):
            os.close(fd)
        assert m.wait_exit(10) == EX_UNPUBLISHED
        assert [x for x in m.errors() if "not published" in x and "f.txt" in x]
        assert not bucket.exists(m.key("f.txt"))
        util.wait_until(lambda: not m.processes(), what="the end of its processes")
        util.unmount(m.path)
        m.stopped = True
        return
    assert m.proc.poll() is None
    os.write(fd, b" and more")
    os.close(fd)
    assert bucket.get(m.key("f.txt")) == b"content and more"
    ended(m)


@pytest.mark.quiet("company meets the end of the first mount too")
@pytest.mark.parametrize("way", [w for w in WAYS if w not in REFUSED_WHEN_BUSY])
def test_it_is_mounted_again_at_once(mount, bucket, way):
    """While the old daemon still has its last file to see through."""
    m = mount()
    fd = os.open(m.path / "f.txt", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"of the first")
    util.run([*WAYS[way], m.path])
    again = mount(mountpoint=m.path, prefix=m.prefix)
    (again.path / "g.txt").write_bytes(b"of the second")
    os.close(fd)
    assert m.wait_exit(10) == 0
    m.stopped = True
    assert bucket.get(m.key("f.txt")) == b"of the first"
    assert (again.path / "f.txt").read_bytes() == b"of the first"
    assert bucket.get(m.key("g.txt")) == b"of the second"
    again.stop()


def test_the_mount_point_is_removed_under_it(mount, bucket):
    """In another mount namespace it is an ordinary directory; removing it there takes the mount off
    here."""
    m = mount()
    fd = os.open(m.path / "f.txt", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"content")
    done = util.run(["unshare", "-m", "--propagation", "private", "sh", "-c",
                     f"umount {m.path} && rmdir {m.path}"], check=False)
    if "unshare" in done.err:
        pytest.skip(f"no mount namespace to be had: {done.err}")
    assert done.code == 0, done
    assert not m.path.exists()
    os.write(fd, b" and more")
    os.close(fd)
    assert bucket.get(m.key("f.txt")) == b"content and more"
    ended(m)


def test_the_file_system_below_it_goes(mount, scratch, bucket):
    below = scratch / "below"
    below.mkdir()
    util.run(["mount", "-t", "tmpfs", "tmpfs", below])
    try:
        (below / "mnt").mkdir()
        m = mount(mountpoint=below / "mnt")
        (m.path / "f.txt").write_bytes(b"x")
    finally:
        util.run(["umount", "-l", below])
    ended(m)
    assert bucket.get(m.key("f.txt")) == b"x"


# (Python's own mmap keeps a duplicate of the descriptor, and closes it.)
MAP_LATE = """
import ctypes, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
at = libc.mmap(None, 4096, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
os.close(fd)
ctypes.memmove(at, b"late", 4)
"""


@pytest.mark.parametrize("way", ["umount", "umount -l", "fusermount3 -u"])
def test_what_only_the_last_close_publishes_is_not_lost(mount, proxy, bucket, way):
    """Bytes of a mapping that outlived its descriptor are published when the program has ended, and
    nobody waits for that: an unmount comes right behind."""
    m = mount(via=proxy)
    bucket.put(m.key("f.bin"), pattern(10_000))
    proxy.hold("h", op="PutObject")
    util.run([*PYTHON, "-c", MAP_LATE, m.path / "f.bin"])
    proxy.wait_held("h")
    util.run([*WAYS[way], m.path])
    util.wait_until(lambda: "unmounted from outside" in m.log(), what="the daemon's notice")
    proxy.release("h")
    ended(m)
    assert bucket.get(m.key("f.bin")) == b"late" + pattern(10_000)[4:]


# -- while the server is away


def test_unmounting_while_the_server_is_away(mount, proxy, bucket, way):
    """A program waits in its close: busy, or it is told within the deadline, and the daemon ends."""
    m = mount(via=proxy, env=SHORT)
    bucket.put(m.key("f.txt"), b"old")
    with open(m.path / "f.txt", "rb") as f:
        assert f.read() == b"old"
    writer = util.spawn([*PYTHON, "-c", WRITE_THEN_CLOSE, m.path / "f.txt"], stdin=-1)
    assert writer.stdout.readline() == b"written\n"
    proxy.block("blackhole")
    writer.stdin.close()
    util.wait_until(lambda: any(r["op"] == "FLUSH" for r in m.inflight()), what="the close")
    start = time.monotonic()
    done = util.run([*WAYS[way], m.path], timeout=10, check=False)
    assert (done.code != 0) == (way in REFUSED_WHEN_BUSY), done
    writer.wait(DEADLINE + 10 * SLOW)
    seconds = time.monotonic() - start
    out = writer.stdout.read().decode()
    writer.stderr.close()
    assert out.strip() in ("EIO", "ETIMEDOUT", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED",
                           "ENOTCONN"), out
    assert seconds < DEADLINE + 5 * SLOW
    if way == "umount -f":
        assert seconds < 2 * SLOW, "by force: at once"
        assert m.wait_exit(2 * DEADLINE + 15 * SLOW) == EX_UNPUBLISHED
        util.unmount(m.path)
    elif done.code:                     # the supervisor's own unmount, still without the server
        m.term()
        assert m.wait_exit(2 * DEADLINE + 15 * SLOW) == 0
    else:
        # The kernel may drop the RELEASE behind the close, and with it what says that all was told.
        assert m.wait_exit(2 * DEADLINE + 15 * SLOW) in (0, EX_UNPUBLISHED)
    util.wait_until(lambda: not m.processes(), what="the end of its processes")
    proxy.unblock()
    assert bucket.get(m.key("f.txt")) == b"old"
    m.stopped = True


WRITE_THEN_CLOSE = """
import errno, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
os.write(fd, b"new")
print("written", flush=True)
sys.stdin.read()
try:
    os.close(fd)
    print("closed")
except OSError as e:
    print(errno.errorcode[e.errno])
"""


# -- interrupted


def interrupted(program, timeout=3.0):
    """Ctrl-C: it dies of it at once."""
    os.killpg(program.pid, signal.SIGINT)
    start = time.monotonic()
    program.communicate(timeout=30 * SLOW)
    assert program.returncode in (-signal.SIGINT, 130), program.returncode
    assert time.monotonic() - start < timeout * SLOW


def waits_for(m, op, count=1):
    util.wait_until(lambda: sum(r["op"] == op for r in m.inflight()) >= count, 30,
                    f"{count} {op} that wait")


# fileop.py, but Ctrl-C is what it is for most programs. (Python and shells catch it.)
PLAIN = [*PYTHON, "-c", "import runpy, signal, sys\n"
         "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
         "sys.argv = sys.argv[1:]\n"
         "runpy.run_path(sys.argv[0], run_name='__main__')", PROGRAMS / "fileop.py"]


@pytest.mark.parametrize("op, request_, command", [
    ("LOOKUP", "HeadObject", ["stat", "cold.bin"]),
    ("LOOKUP", "GetObject", ["read", "cold.bin"]),
    ("LOOKUP", "ListObjectsV2", ["read", "cold"]),
    ("READ", "GetObject", ["read", "big.bin"]),
    ("READDIRPLUS", "ListObjectsV2", ["list", ""]),
    ("OPEN", "GetObject", ["append", "mid.bin", "10", "1"]),
    ("FLUSH", "PutObject", ["write", "f.bin", "100", "1"]),
    ("FSYNC", "PutObject", ["fsync", "f.bin", "100", "1"]),
    ("SETATTR", "PutObject", ["truncate", "f.bin", "10"]),
], ids=lambda x: x if isinstance(x, str) else x[0])
def test_what_waits_for_s3_dies_of_ctrl_c(mount, proxy, bucket, op, request_, command):
    m = mount(via=proxy)
    for name, size in (("f.bin", 100), ("big.bin", 20_000_000), ("mid.bin", 5_000_000), ("cold.bin", 100),
                       ("cold", 1)):
        bucket.put(m.key(name), pattern(size))
    os.listdir(m.path) if op in ("READ", "OPEN") else os.stat(m.path / "f.bin")
    if op in ("READ", "OPEN"):          # not the LOOKUP's own request
        os.stat(m.path / command[1])
        proxy.hold("h", op=request_, skip=1)
    else:
        proxy.hold("h", op=request_)
    program = util.spawn([*PLAIN, command[0], m.path / command[1], *command[2:]], stdin=-1)
    waits_for(m, op)
    proxy.wait_held("h")
    interrupted(program)
    proxy.release("h")
    proxy.wait_idle()
    util.wait_until(lambda: m.inflight() == [], what="nothing in flight")
    for name, size in (("f.bin", 100), ("big.bin", 20_000_000), ("mid.bin", 5_000_000)):
        published = bucket.get(m.key(name))
        assert published in (pattern(size), pattern(100, 1), pattern(size)[:10]), "never torn"
        assert (m.path / name).read_bytes() == published
    m.check()


SURVIVES = """
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
print("reads", flush=True)
print(len(open(sys.argv[1], "rb").read()))
"""


def test_a_signal_that_is_survived_ends_nothing(mount, proxy, bucket):
    m = mount(via=proxy)
    bucket.put(m.key("f.bin"), pattern(1000))
    proxy.hold("h", op="GetObject")
    program = util.spawn([*PYTHON, "-c", SURVIVES, m.path / "f.bin"])
    assert program.stdout.readline() == b"reads\n"
    proxy.wait_held("h")
    for _ in range(5):
        program.send_signal(signal.SIGUSR1)
    util.wait_until(lambda: m.status()["fuse"].get("INTERRUPT"), what="the interrupt")
    proxy.release("h")
    assert util.finish(program).out == "1000\n"


CROWD = """
import os, signal, sys, threading
signal.signal(signal.SIGINT, signal.SIG_DFL)
threading.stack_size(256 << 10)
def one(path):
    try:
        with open(path, "rb") as f:
            f.read()
    except OSError:
        pass
for i in range(int(sys.argv[2])):
    threading.Thread(target=one, args=(f"{sys.argv[1]}/f{i}.bin",)).start()
"""


@pytest.mark.parametrize("count, size, limit, op", [
    (520, 0, None, "LOOKUP"), (60, 2_000_000, "48Mi", "READ")],
    ids=["every record taken", "every buffer taken"])
def test_a_crowd_that_waits_dies_of_ctrl_c(mount, proxy, bucket, count, size, limit, op):
    """More requests than a worker has records for, or than there are blocks to read into."""
    m = mount(via=proxy, workers=1, env={"STATEPROXY_MEMORY_LIMIT": limit} if limit else {})
    before = footprint(m)
    if size:
        bucket.put_many((m.key(f"f{i}.bin"), bytes(size)) for i in range(count))
    # Where there are bytes, not the LOOKUP's own request for the first of them: a block is fetched
    # of one version only.
    proxy.hold("h", op="GetObject", **({"having": {"if-match": "*"}} if size else {}))
    program = util.spawn([*PYTHON, "-c", CROWD, m.path, count])
    if size:
        def still():
            blocks = m.status()["tables"]
            return (blocks["blocks_fetching"] > 32 and blocks["blocks_ready"] <= 2
                    and sum(r["op"] == "READ" for r in m.inflight()) >= count)
        util.wait_until(still, 30, "readers that wait for a block")
    else:
        waits_for(m, op, 430)
        util.wait_until(lambda: m.status()["counters"]["overload"], what="more than it takes")
    interrupted(program)
    proxy.clear_rules()
    util.wait_until(lambda: m.inflight() == [], what="nothing in flight")
    bucket.put(m.key("after.bin"), b"after")
    assert (m.path / "after.bin").read_bytes() == b"after"
    m.check()
    os.unlink(m.path / "after.bin")
    for i in range(count if size else 0):
        os.unlink(m.path / f"f{i}.bin")
    assert_footprint(m, before)
