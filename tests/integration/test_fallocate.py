"""fallocate(2), and calls that are answered without a handler of ours: what a program sees."""

import ctypes
import errno
import fcntl
import os
import random

import pytest

from harness import util
from harness.pattern import pattern

KEEP, PUNCH, COLLAPSE, ZERO, INSERT = 0x01, 0x02, 0x08, 0x10, 0x20
MIB = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong]


def fallocate(fd, mode, offset, length):
    if _libc.fallocate(fd, mode, offset, length) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def expected(data, mode, offset, length):
    """The content after a fallocate() of this mode."""
    data, end = bytearray(data), offset + length
    if mode & (PUNCH | ZERO):
        data[offset:end] = bytes(len(data[offset:end]))
    if not mode & KEEP and end > len(data):
        data += bytes(end - len(data))
    return bytes(data)


@pytest.fixture(params=["memory", "disk"])
def m(request, mount):
    """The unpublished bytes of small files lie in memory, or on disk."""
    return mount(env={"STATEPROXY_BUFFER_MEMORY": "64Ki"} if request.param == "disk" else None)


@pytest.fixture
def fd(m, bucket):
    bucket.put(m.key("f.bin"), pattern(200_000))
    fd = os.open(m.path / "f.bin", os.O_RDWR)
    yield fd
    os.close(fd)


def fails_with(code):
    return pytest.raises(OSError, match=rf"\[Errno {code}\]")


@pytest.mark.parametrize("offset, length", [(0, 100), (100_000, 50_000), (150_000, 100_000),
                                            (200_000, 1), (250_000, 300_000)])
@pytest.mark.parametrize("mode", [0, KEEP, PUNCH | KEEP, ZERO, ZERO | KEEP])
def test_every_mode(m, bucket, fd, mode, offset, length):
    want = expected(pattern(200_000), mode, offset, length)
    fallocate(fd, mode, offset, length)
    assert os.fstat(fd).st_size == len(want)
    assert os.pread(fd, MIB, 0) == want
    os.fsync(fd)
    assert bucket.get(m.key("f.bin")) == want


@pytest.mark.parametrize("mode, offset", [(0, 100), (KEEP, 100), (KEEP, 300_000),
                                          (PUNCH | KEEP, 200_000), (ZERO | KEEP, 200_000)])
def test_what_changes_nothing_publishes_nothing(mount, proxy, bucket, mode, offset):
    m = mount(via=proxy)
    bucket.put(m.key("f.bin"), pattern(200_000))
    fd = os.open(m.path / "f.bin", os.O_RDWR)
    fallocate(fd, mode, offset, 1000)
    os.close(fd)
    assert proxy.counts()["PutObject"] == 0


def test_an_allocated_new_file_is_published_at_close(m, bucket):
    fd = os.open(m.path / "new.bin", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, 300_000)
    os.pwrite(fd, b"x", 5)
    os.close(fd)
    assert bucket.get(m.key("new.bin")) == b"\0\0\0\0\0x" + bytes(299_994)


def test_mapped_pages_are_zeroed_too(m, fd):
    import mmap
    with mmap.mmap(fd, 200_000) as view:
        assert view[5000] == pattern(200_000)[5000]
        fallocate(fd, PUNCH | KEEP, 4096, 8192)
        assert view[4096:12288] == bytes(8192)
        assert view[12288:13000] == pattern(200_000)[12288:13000]


@pytest.mark.parametrize("mode", [COLLAPSE, INSERT, 0x40])
def test_other_modes_are_not_supported(fd, mode):
    with fails_with(errno.EOPNOTSUPP):
        fallocate(fd, mode, 0, 4096)


def test_bad_requests(m, fd):
    with fails_with(errno.EINVAL):
        fallocate(fd, 0, 0, 0)
    with fails_with(errno.EFBIG):
        fallocate(fd, 0, 0, 1 << 60)
    with fails_with(errno.EFBIG):
        fallocate(fd, KEEP, 1 << 60, 1)
    read_only = os.open(m.path / "f.bin", os.O_RDONLY)
    with fails_with(errno.EBADF):
        fallocate(read_only, 0, 0, 100)
    os.close(read_only)
    assert os.fstat(fd).st_size == 200_000


@pytest.mark.parametrize("kills", [False, True], ids=["no kills", "kills"])
def test_random_changes(m, bucket, fd, seed, kills):
    rng, data = random.Random(seed), pattern(200_000)
    for i in range(150):
        mode, pos = rng.choice([0, KEEP, PUNCH | KEEP, ZERO, ZERO | KEEP]), rng.randrange(300_000)
        kind, size = rng.random(), rng.choice([1, 4096, 30_000])
        if kind < 0.5:
            fallocate(fd, mode, pos, size)
            data = expected(data, mode, pos, size)
        elif kind < 0.8:
            piece = rng.randbytes(size)
            assert os.pwrite(fd, piece, pos) == size
            data = (data + bytes(max(0, pos - len(data))))[:pos] + piece + data[pos + size:]
        elif kind < 0.9:
            os.ftruncate(fd, pos)
            data = (data + bytes(max(0, pos - len(data))))[:pos]
        else:
            os.fsync(fd)
            assert bucket.get(m.key("f.bin")) == data
        if kills and i % 10 == 0:
            m.kill_workers()
        assert os.fstat(fd).st_size == len(data)
        assert os.pread(fd, MIB, 0) == data, i
    os.fsync(fd)
    assert bucket.get(m.key("f.bin")) == data
    m.check()


def test_a_change_waits_for_the_publish_that_runs(mount, proxy, bucket):
    """The object is what was there at fsync, and the change is not lost."""
    m = mount(via=proxy)
    fd = os.open(m.path / "f.bin", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"x" * 100_000, 0)
    proxy.hold("h", when="before", op="PutObject", times=1)
    sync = util.spawn(["python3", "-c", "import os,sys; os.fsync(int(sys.argv[1]))", fd],
                      pass_fds=[fd])
    proxy.wait_held("h")
    punch = util.spawn(["fallocate", "-p", "-o", 0, "-l", 50_000, m.path / "f.bin"])
    with pytest.raises(Exception):
        punch.wait(0.5)
    proxy.release("h")
    util.finish(sync)
    util.finish(punch)
    os.close(fd)
    assert bucket.get(m.key("f.bin")) == bytes(50_000) + b"x" * 50_000
    m.check()


# -- answered by the kernel, or refused


def test_seek_data_and_hole(fd):
    assert os.lseek(fd, 0, os.SEEK_DATA) == 0
    assert os.lseek(fd, 199_999, os.SEEK_DATA) == 199_999
    assert os.lseek(fd, 5, os.SEEK_HOLE) == 200_000
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        with fails_with(errno.ENXIO):
            os.lseek(fd, 200_000, whence)
    os.pwrite(fd, b"end", 300_000)
    assert os.lseek(fd, 250_000, os.SEEK_DATA) == 250_000
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 300_003


def test_copy_file_range(m, bucket, fd):
    out = os.open(m.path / "copy.bin", os.O_RDWR | os.O_CREAT)
    done = 0
    while n := os.copy_file_range(fd, out, MIB, done, done):
        done += n
    assert done == 200_000
    assert os.copy_file_range(fd, out, 1000, 5000, 300_000) == 1000
    os.close(out)
    data = pattern(200_000)
    assert bucket.get(m.key("copy.bin")) == data + bytes(100_000) + data[5000:6000]


def test_cp_within_the_mount(m, bucket, fd):
    util.run(["cp", m.path / "f.bin", m.path / "g.bin"])
    assert bucket.get(m.key("g.bin")) == pattern(200_000)


def test_hard_links_are_not_supported(m, fd):
    with fails_with(errno.EPERM):
        os.link(m.path / "f.bin", m.path / "g.bin")


def test_files_without_a_name_are_not_supported(m):
    with fails_with(errno.EOPNOTSUPP):
        os.open(m.path, os.O_TMPFILE | os.O_RDWR)


def test_no_file_is_a_terminal(fd):
    assert not os.isatty(fd)
    with fails_with(errno.ENOTTY):
        fcntl.ioctl(fd, 0x80086601, bytes(8))   # FS_IOC_GETFLAGS


def test_access(m, fd):
    assert os.access(m.path / "f.bin", os.R_OK | os.W_OK)


def test_sync(m, fd):
    os.pwrite(fd, b"x", 0)
    util.run(["sync", "-f", m.path])
