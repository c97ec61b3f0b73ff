"""FIFOs, sockets and devices: empty objects whose metadata have the type, as s3fs keeps it, and the number of a
device, as rclone keeps it. Once they are known, they are the kernel's: nobody asks S3 for their bytes."""

import errno
import os
import shutil
import socket
import stat
import subprocess
import threading

import pytest

from harness import util

VARIANTS = ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"]

KINDS = {
    "fifo": (stat.S_IFIFO | 0o640, 0),
    "sock": (stat.S_IFSOCK | 0o755, 0),
    "chr": (stat.S_IFCHR | 0o600, os.makedev(5, 300)),
    "blk": (stat.S_IFBLK | 0o660, os.makedev(259, 70000)),
}


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


@pytest.fixture
def m(mount, variant):
    return mount(variant=variant)


def make(path, kind):
    mode, rdev = KINDS[kind]
    os.mknod(path, mode, rdev)


def check(path, kind, mode=None):
    st = os.lstat(path)
    made, rdev = KINDS[kind]
    assert stat.S_IFMT(st.st_mode) == stat.S_IFMT(made)
    assert stat.S_IMODE(st.st_mode) == (stat.S_IMODE(made) if mode is None else mode)
    assert (st.st_rdev, st.st_size, st.st_nlink) == (rdev, 0, 1)


@pytest.fixture(autouse=True)
def no_umask():
    old = os.umask(0)
    yield
    os.umask(old)


@pytest.mark.parametrize("kind", KINDS)
def test_made_told_changed_renamed_removed(m, mount, variant, bucket, kind):
    p = m.path / "special"
    make(p, kind)
    head = bucket.head(m.key("special"))
    mode, rdev = KINDS[kind]
    assert head["ContentLength"] == 0
    assert head["Metadata"]["mode"] == str(mode)
    assert head["Metadata"].get("rdev") == (f"{rdev:x}" if rdev else None)
    check(p, kind)
    check(mount(variant=variant).path / "special", kind)
    with pytest.raises(FileExistsError):
        make(p, kind)
    os.chmod(p, 0o1644)
    os.chown(p, 12, 34)
    check(p, kind, 0o1644)
    os.rename(p, m.path / "moved")
    for path in m.path / "moved", mount(variant=variant).path / "moved":
        check(path, kind, 0o1644)
        assert (os.lstat(path).st_uid, os.lstat(path).st_gid) == (12, 34)
    assert not os.path.lexists(p)
    os.unlink(m.path / "moved")
    assert not os.path.lexists(m.path / "moved") and not bucket.list(m.key(""))


def test_that_others_made(m, bucket):
    """s3fs: decimal; rclone: octal, the device in hexadecimal. With content it is a file, whatever they say."""
    bucket.put(m.key("s3fs"), b"", Metadata={"mode": str(stat.S_IFIFO | 0o600), "uid": "1", "gid": "2", "mtime": "5"})
    bucket.put(m.key("rclone"), b"", Metadata={"mode": "10644"})
    bucket.put(m.key("null"), b"", Metadata={"mode": "20666", "rdev": "103"})
    bucket.put(m.key("full"), b"x", Metadata={"mode": str(stat.S_IFIFO | 0o600)})
    assert os.lstat(m.path / "s3fs").st_mode == stat.S_IFIFO | 0o600
    assert os.lstat(m.path / "rclone").st_mode == stat.S_IFIFO | 0o644
    st = os.lstat(m.path / "null")
    assert (st.st_mode, st.st_rdev) == (stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert stat.S_ISREG(os.lstat(m.path / "full").st_mode) and (m.path / "full").read_bytes() == b"x"


def test_a_device_cannot_be_used(m):
    """The mount is nodev: shown, not opened."""
    os.mknod(m.path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with pytest.raises(OSError) as e:
        os.open(m.path / "null", os.O_RDWR)
    assert e.value.errno == errno.EACCES


def through(path, data):
    """What a reader of the FIFO gets from a writer of it."""
    got = []

    def read():
        with open(path, "rb") as f:
            got.append(f.read())
    reader = threading.Thread(target=read)
    reader.start()
    with open(path, "wb") as f:
        f.write(data)
    reader.join(30)
    return got == [data]


def test_a_fifo_is_the_kernels(m, mount, variant, bucket):
    os.mkfifo(m.path / "pipe", 0o666)
    assert through(m.path / "pipe", b"x" * 100000)
    assert through(m.path / "pipe", b"once more")
    assert bucket.get(m.key("pipe")) == b""
    assert through(mount(variant=variant).path / "pipe", b"on another mount, which knows nothing yet")


def test_a_fifo_that_a_listing_showed_is_not_overwritten(mount, proxy, bucket):
    """A listing shows it as an empty file: who writes to it must not make it one."""
    m = mount(via=proxy, env={"STATEPROXY_DIRECTORIES_TTL": "60s", "STATEPROXY_DIRECTORIES_ENTRY_TTL": "60s"})
    bucket.put(m.key("pipe"), b"", Metadata={"mode": str(stat.S_IFIFO | 0o666)})
    assert os.listdir(m.path) == ["pipe"]
    writer = subprocess.Popen(["sh", "-c", f"echo hello > {m.path}/pipe"])
    with open(m.path / "pipe", "rb") as f:
        assert f.read() == b"hello\n"
    assert writer.wait(30) == 0
    assert bucket.head(m.key("pipe"))["Metadata"]["mode"] == str(stat.S_IFIFO | 0o666)


def test_a_socket_that_is_bound_here(m):
    path = str(m.path / "s.sock")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        assert stat.S_ISSOCK(os.lstat(path).st_mode)
        client.settimeout(30)
        client.connect(path)
        peer, _ = server.accept()
        with peer:
            client.sendall(b"hello")
            assert peer.recv(5) == b"hello"
    with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
        late.connect(path)
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)


def test_the_type_in_a_listing(mount, bucket):
    """Before it is looked up it is a regular file there, as a listing tells no metadata."""
    m = mount(env={"STATEPROXY_DIRECTORIES_TTL": "60s"})
    bucket.put(m.key("pipe"), b"", Metadata={"mode": str(stat.S_IFIFO | 0o666)})

    def shown():
        with os.scandir(m.path) as entries:
            return [e.is_file(follow_symlinks=False) for e in entries]
    assert shown() == [True]
    os.close(os.open(m.path / "pipe", os.O_RDWR | os.O_NONBLOCK))
    assert shown() == [False]


def test_replaced_by_a_file_and_back(m, bucket):
    """All of them are empty objects, with one ETag: the metadata tell them apart."""
    p = m.path / "f.x"
    bucket.put(m.key("f.x"), b"")
    assert p.read_bytes() == b""
    bucket.put(m.key("f.x"), b"", Metadata={"mode": str(stat.S_IFIFO | 0o666)})
    assert stat.S_ISFIFO(os.lstat(p).st_mode)
    bucket.put(m.key("f.x"), b"", Metadata={"mode": "20666", "rdev": "103"})
    assert os.lstat(p).st_rdev == os.makedev(1, 3)
    bucket.put(m.key("f.x"), b"", Metadata={"mode": "20666", "rdev": "105"})
    assert os.lstat(p).st_rdev == os.makedev(1, 5)
    bucket.put(m.key("f.x"), b"")
    assert p.read_bytes() == b"" and stat.S_ISREG(os.lstat(p).st_mode)


def test_without_metadata_there_are_none(mount):
    m = mount(env={"STATEPROXY_METADATA": "ignore"})
    for kind in KINDS:
        with pytest.raises(PermissionError):
            make(m.path / "special", kind)


def test_tar_brings_them_there_and_back(m, scratch):
    src = scratch / "src"
    src.mkdir()
    for kind in KINDS:
        make(src / kind, kind)
    (src / "file").write_bytes(b"content")
    tar = scratch / "all.tar"
    subprocess.run(["tar", "-C", src, "-cf", tar, "."], check=True, timeout=60)
    os.mkdir(m.path / "d")
    subprocess.run(["tar", "-C", m.path / "d", "-xpf", tar], check=True, timeout=60)
    for kind in KINDS:
        if kind != "sock":                              # (tar leaves sockets out)
            check(m.path / "d" / kind, kind)
    shutil.copytree(m.path / "d", scratch / "back", symlinks=True, ignore=shutil.ignore_patterns("chr", "blk", "fifo"))
    assert (scratch / "back/file").read_bytes() == b"content"


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_workers_lose_none(mount, proxy, bucket, variant, when):
    m = mount(via=proxy, variant=variant)
    proxy.hold("h", op="PutObject", when=when)
    maker = subprocess.Popen(["mkfifo", "-m", "640", m.path / "pipe"])
    proxy.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    proxy.release("h")
    assert maker.wait(60) == 0
    assert os.lstat(m.path / "pipe").st_mode == stat.S_IFIFO | 0o640
    assert bucket.head(m.key("pipe"))["Metadata"]["mode"] == str(stat.S_IFIFO | 0o640)
