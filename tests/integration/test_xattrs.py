"""Extended attributes of the user namespace: kept as s3fs keeps them, in the objects' metadata."""

import base64
import concurrent.futures
import errno
import json
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

from harness import util


@pytest.fixture
def m(mount, proxy):
    return mount(via=proxy)


def stored(bucket, m, name):
    """As s3fs reads it."""
    coded = bucket.head(m.key(name))["Metadata"].get("xattr")
    return {} if coded is None else {
        k: base64.b64decode(v) for k, v in json.loads(urllib.parse.unquote(coded)).items()}


def coded(**attrs):
    """As s3fs writes it."""
    return urllib.parse.quote(json.dumps({
        "user." + k: base64.b64encode(v).decode() for k, v in attrs.items()},
        separators=(",", ":")), safe="")


def fails(number, function, *args):
    with pytest.raises(OSError) as e:
        function(*args)
    assert e.value.errno == number, e.value


def test_of_a_closed_file(m, mount, bucket, counted):
    p = m.path / "f.txt"
    p.write_bytes(b"content")
    assert os.listxattr(p) == []
    counts = counted(os.setxattr, p, "user.a", b"one")
    assert counts.pop("HeadObject") <= 2    # one within a second of the LOOKUP's, which told all there is
    assert counts == {"CopyObject": 1}
    os.setxattr(p, "user.b", bytes(range(256)))
    assert stored(bucket, m, "f.txt") == {"user.a": b"one", "user.b": bytes(range(256))}
    for path in p, mount().path / "f.txt":
        assert sorted(os.listxattr(path)) == ["user.a", "user.b"]
        assert os.getxattr(path, "user.a") == b"one"
        assert os.getxattr(path, "user.b") == bytes(range(256))
    os.removexattr(p, "user.a")
    assert os.listxattr(p) == ["user.b"]
    os.removexattr(p, "user.b")
    assert os.listxattr(p) == [] and "xattr" not in bucket.head(m.key("f.txt"))["Metadata"]
    assert p.read_bytes() == b"content"


def test_of_an_open_file_travel_with_its_upload(m, bucket, counted):
    p = m.path / "f.txt"

    def write():
        with open(p, "wb") as f:
            f.write(b"x")
            os.setxattr(f.fileno(), "user.a", b"one")
            os.setxattr(f.fileno(), "user.b", b"")
            assert sorted(os.listxattr(f.fileno())) == ["user.a", "user.b"]
            assert os.getxattr(p, "user.a") == b"one"
            os.removexattr(f.fileno(), "user.b")
    os.listdir(m.path)
    requests = counted(write)
    assert requests["PutObject"] == 1 and not requests.keys() & {"CopyObject", "HeadObject"}
    assert stored(bucket, m, "f.txt") == {"user.a": b"one"}
    assert os.getxattr(p, "user.a") == b"one"


def test_what_s3fs_wrote(m, bucket):
    bucket.put(m.key("f.txt"), b"x", Metadata={"xattr": coded(a=b"value", b=b"")})
    assert os.getxattr(m.path / "f.txt", "user.a") == b"value"
    assert sorted(os.listxattr(m.path / "f.txt")) == ["user.a", "user.b"]
    os.setxattr(m.path / "f.txt", "user.c", b"more")
    assert stored(bucket, m, "f.txt") == {"user.a": b"value", "user.b": b"", "user.c": b"more"}


@pytest.mark.parametrize("open_file", [False, True])
def test_flags_and_errors(m, open_file):
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    fd = os.open(p, os.O_RDWR)
    if open_file:
        os.write(fd, b"y")
    fails(errno.ENODATA, os.getxattr, fd, "user.a")
    fails(errno.ENODATA, os.removexattr, fd, "user.a")
    fails(errno.ENODATA, os.setxattr, fd, "user.a", b"1", os.XATTR_REPLACE)
    os.setxattr(fd, "user.a", b"1", os.XATTR_CREATE)
    fails(errno.EEXIST, os.setxattr, fd, "user.a", b"2", os.XATTR_CREATE)
    os.setxattr(fd, "user.a", b"3", os.XATTR_REPLACE)
    assert os.getxattr(fd, "user.a") == b"3"
    fails(errno.E2BIG, os.setxattr, fd, "user.b", b"x" * 5000)
    fails(errno.E2BIG, os.setxattr, fd, "user.b", b"x" * 1400)
    os.setxattr(fd, "user.b", b"x" * 900)
    fails(errno.ENOSPC, os.setxattr, fd, "user.c", b"x" * 500)
    assert sorted(os.listxattr(fd)) == ["user.a", "user.b"]
    for name in "security.capability", "system.posix_acl_access", "trusted.x":
        fails(errno.EOPNOTSUPP, os.getxattr, fd, name)
    fails(errno.EOPNOTSUPP, os.setxattr, fd, "trusted.x", b"x")
    os.close(fd)
    assert os.getxattr(p, "user.b") == b"x" * 900


def test_names_without_a_namespace(m, mount, bucket):
    """As s3fs takes them, and stores them."""
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    subprocess.run(["setfattr", "-n", "key1", "-v", "value1", p], check=True)
    for path in p, mount().path / "f.txt":
        assert os.getxattr(path, "key1") == b"value1" and os.listxattr(path) == ["key1"]
    os.removexattr(p, "key1")
    assert os.listxattr(p) == []


@pytest.mark.parametrize("first", [b"", b"x" * 100], ids=["one", "a-second"])
def test_room_beside_the_metadata_of_others(m, bucket, first):
    """What does not fit is refused when it is set, also while the file is being written: not when it is
    closed."""
    bucket.put(m.key("f.txt"), b"x", Metadata={"theirs": "x" * 1000})
    fd = os.open(m.path / "f.txt", os.O_RDWR)
    os.write(fd, b"y")
    if first:
        os.setxattr(fd, "user.a", first)
    fails(errno.ENOSPC, os.setxattr, fd, "user.b", b"x" * 900)
    os.setxattr(fd, "user.c", b"small")
    os.close(fd)
    there = {"user.c": b"small", **({"user.a": first} if first else {})}
    assert stored(bucket, m, "f.txt") == there
    assert bucket.head(m.key("f.txt"))["Metadata"]["theirs"] == "x" * 1000


def test_sizes_are_told(m):
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    os.setxattr(p, "user.a", b"x" * 300)
    got = util.run(["python3", "-c", f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
path, name = {os.fsencode(p)!r}, b"user.a"
print(libc.getxattr(path, name, None, 0), libc.listxattr(path, None, 0))
buf = ctypes.create_string_buffer(299)
print(libc.getxattr(path, name, buf, 299), ctypes.get_errno(),
      libc.listxattr(path, buf, 6), ctypes.get_errno())
"""]).out.split()
    assert got == ["300", "7", "-1", str(errno.ERANGE), "-1", str(errno.ERANGE)]


def test_they_survive_chmod_rename_and_new_content(m, bucket):
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    os.setxattr(p, "user.a", b"one")
    p.chmod(0o600)
    assert stored(bucket, m, "f.txt") == {"user.a": b"one"}
    with open(p, "ab") as f:
        f.write(b"more")
    assert stored(bucket, m, "f.txt") == {"user.a": b"one"}
    with open(p, "wb") as f:
        f.write(b"new")
    assert stored(bucket, m, "f.txt") == {"user.a": b"one"}
    with open(p, "wb") as f:
        f.write(b"newer")
        os.setxattr(p, "user.b", b"two")
    assert stored(bucket, m, "f.txt") == {"user.a": b"one", "user.b": b"two"}
    os.rename(p, m.path / "g.txt")
    assert stored(bucket, m, "g.txt") == {"user.a": b"one", "user.b": b"two"}
    assert (m.path / "g.txt").stat().st_mode == 0o100600


def test_foreign_metadata_survive_new_content(m, bucket):
    """Also where only a listing has told of the file."""
    for name in "a.txt", "b.txt":
        bucket.put(m.key(name), b"x", ContentType="text/x-one",
                   Metadata={"origin": "elsewhere", "mode": "33216", "xattr": coded(a=b"one")})
    (m.path / "a.txt").write_bytes(b"new")
    os.listdir(m.path)
    (m.path / "b.txt").write_bytes(b"new")
    for name in "a.txt", "b.txt":
        metadata = bucket.head(m.key(name))["Metadata"]
        assert bucket.head(m.key(name))["ContentType"] == "text/x-one"
        assert metadata["origin"] == "elsewhere" and metadata["mode"] == "33216"
        assert stored(bucket, m, name) == {"user.a": b"one"}
        assert (m.path / name).stat().st_mode == 0o100700


def test_a_plain_file_is_overwritten_without_asking(m, bucket, counted):
    bucket.put(m.key("f.txt"), b"x", Metadata={"mode": "33188", "mtime": "1600000000",
                                               "ctime": "1600000000"})
    assert counted((m.path / "f.txt").write_bytes, b"new") == {"HeadObject": 1, "PutObject": 1}


def test_of_directories(m, mount, bucket):
    d = m.path / "d"
    d.mkdir()
    os.setxattr(d, "user.a", b"one")
    d.chmod(0o700)
    assert stored(bucket, m, "d/") == {"user.a": b"one"}
    assert os.getxattr(d, "user.a") == b"one"
    other = mount().path / "d"
    assert os.getxattr(other, "user.a") == b"one" and os.listxattr(other) == ["user.a"]
    os.removexattr(d, "user.a")
    assert os.listxattr(d) == []
    fails(errno.EOPNOTSUPP, os.setxattr, m.path, "user.a", b"x")


def test_a_directory_without_a_marker_gets_one(m, bucket):
    bucket.put(m.key("d/f.txt"), b"x")
    assert os.listxattr(m.path / "d") == []
    os.setxattr(m.path / "d", "user.a", b"one")
    assert stored(bucket, m, "d/") == {"user.a": b"one"}
    assert os.listdir(m.path / "d") == ["f.txt"]


def test_other_namespaces_cost_no_request(m, counted, bucket):
    bucket.put(m.key("f.txt"), b"x")
    fd = os.open(m.path / "f.txt", os.O_RDONLY)

    def ask():
        for name in "security.capability", "security.selinux", "system.posix_acl_access":
            fails(errno.EOPNOTSUPP, os.getxattr, fd, name)
        assert os.listxattr(fd) == []           # the GET has told that there are none
        fails(errno.ENODATA, os.getxattr, fd, "user.a")
    assert counted(ask) == {}
    os.close(fd)


@pytest.mark.counts
@pytest.mark.quiet("counts what is asked")
def test_ls_asks_nothing_more(mount, proxy, counted, bucket):
    m = mount(via=proxy, env={"STATEPROXY_DIRECTORIES_TTL": "60s"})
    bucket.put_many((m.key(f"d/{i}.txt"), b"x") for i in range(20))
    os.stat(m.path / "d")

    def look():
        util.run(["ls", "-l", m.path / "d"])
        with os.scandir(m.path / "d") as names:     # newer versions of ls do this, with the directory open:
            for name in names:                      # once it is closed, only what follows at once is answered
                time.sleep(0.005)                   # from the listing (shm_lister.h); here the machine may be slow
                assert os.listxattr(name.path) == []
    assert counted(look) == {"ListObjectsV2": 1}


@pytest.mark.quiet("about what nobody has opened")
def test_of_a_file_only_listed_they_are_asked_for(mount, proxy, counted, bucket):
    m = mount(via=proxy, env={"STATEPROXY_DIRECTORIES_TTL": "60s"})
    bucket.put(m.key("f.txt"), b"x", Metadata={"xattr": coded(a=b"one")})
    os.listdir(m.path)
    assert counted(lambda: os.getxattr(m.path / "f.txt", "user.a")) in ({"HeadObject": 1}, {"HeadObject": 2})
    assert os.listxattr(m.path / "f.txt") == ["user.a"]


def test_told_about_the_object(m, bucket):
    bucket.put(m.key("f.json"), b"{}", ContentType="application/json")
    p = m.path / "f.json"
    assert os.getxattr(p, "user.asya.url").decode() == f"s3://{bucket.bucket}/{m.key('f.json')}"
    assert os.getxattr(p, "user.asya.etag").decode() == bucket.head(m.key("f.json"))["ETag"]
    assert os.getxattr(p, "user.asya.content_type") == b"application/json"
    assert os.getxattr(p, "user.asya.storage_class") == b"STANDARD"
    assert os.getxattr(p, "user.asya.version") == b""
    with urllib.request.urlopen(os.getxattr(p, "user.asya.presigned_url").decode()) as answer:
        assert answer.read() == p.read_bytes()
    assert os.listxattr(p) == []
    fails(errno.ENODATA, os.getxattr, p, "user.asya.other")
    fails(errno.EPERM, os.setxattr, p, "user.asya.etag", b"x")


TYPE = "user.asya.content_type"


def test_the_type_of_the_object_is_set(m, bucket):
    """All else that the object has stays; the type stays when the file is written."""
    bucket.put(m.key("f.json"), b"{}", ContentType="application/json", CacheControl="no-cache",
               Metadata={"xattr": coded(a=b"one"), "other": "kept"})
    p = m.path / "f.json"
    before = p.stat()
    os.setxattr(p, TYPE, b"text/plain")
    assert os.getxattr(p, TYPE) == b"text/plain" and p.read_bytes() == b"{}"
    head = bucket.head(m.key("f.json"))
    assert head["ContentType"] == "text/plain" and head["CacheControl"] == "no-cache"
    assert head["Metadata"]["other"] == "kept" and os.getxattr(p, "user.a") == b"one"
    assert p.stat().st_mtime_ns == before.st_mtime_ns and p.stat().st_ctime_ns > before.st_ctime_ns
    with open(p, "a") as f:
        f.write("more")
    assert bucket.head(m.key("f.json"))["ContentType"] == "text/plain"
    p.rename(m.path / "g.json")
    assert os.getxattr(m.path / "g.json", TYPE) == b"text/plain"


def test_the_same_type_again(m, proxy, bucket, counted):
    bucket.put(m.key("f"), b"{}", ContentType="text/plain", Metadata={"a": "b"})
    assert "CopyObject" not in counted(os.setxattr, m.path / "f", TYPE, b"text/plain")
    assert bucket.head(m.key("f"))["ContentType"] == "text/plain"


def test_types_that_are_refused(m, bucket):
    p = m.path / "f"
    p.write_bytes(b"x")
    for value in (b"", b"a\nb", b"a\0", "text/\u00e9".encode(), b"x" * 128, b"x" * 2000):
        fails(errno.EINVAL, os.setxattr, p, TYPE, value)
    os.setxattr(p, TYPE, b"x" * 127, os.XATTR_REPLACE)
    fails(errno.EEXIST, os.setxattr, p, TYPE, b"a/b", os.XATTR_CREATE)
    fails(errno.EPERM, os.removexattr, p, TYPE)
    fails(errno.ENOENT, os.setxattr, m.path / "none", TYPE, b"a/b")
    (m.path / "d").mkdir()
    fails(errno.EPERM, os.setxattr, m.path / "d", TYPE, b"a/b")
    with open(p, "r+b") as f:
        os.setxattr(p, TYPE, b"a/b")
        f.write(b"unpublished")
        f.flush()
        fails(errno.EBUSY, os.setxattr, f.fileno(), TYPE, b"c/d")
    assert bucket.head(m.key("f"))["ContentType"] == "a/b"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_dies_while_the_type_is_set(m, proxy, bucket, when):
    bucket.put(m.key("f"), b"{}", ContentType="text/plain", Metadata={"a": "b"})
    (m.path / "f").stat()
    proxy.hold("copy", op="CopyObject", times=1, when=when)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = pool.submit(os.setxattr, m.path / "f", TYPE, b"a/b")
        proxy.wait_held("copy")
        m.kill_workers()
        proxy.release("copy", "drop")
        done.result()
    head = bucket.head(m.key("f"))
    assert head["ContentType"] == "a/b" and head["Metadata"]["a"] == "b"


def test_ignored_with_the_other_metadata(mount):
    m = mount(env={"STATEPROXY_METADATA": "ignore"})
    (m.path / "f").write_bytes(b"x")
    fails(errno.EOPNOTSUPP, os.setxattr, m.path / "f", "user.a", b"1")
    fails(errno.EOPNOTSUPP, os.getxattr, m.path / "f", "user.a")


def test_broken_ones_are_not_destroyed(m, bucket):
    bucket.put(m.key("f.txt"), b"x", Metadata={"xattr": "%7B%22user.a%22%3A%22b25l%22%2C%22oops"})
    assert os.getxattr(m.path / "f.txt", "user.a") == b"one"
    fails(errno.EIO, os.setxattr, m.path / "f.txt", "user.b", b"x")
    (m.path / "f.txt").write_bytes(b"new")
    assert bucket.head(m.key("f.txt"))["Metadata"]["xattr"].endswith("oops")


@pytest.mark.parametrize("op", ["set", "remove"])
def test_killed_workers_change_it_once(m, proxy, bucket, op):
    """XATTR_CREATE and a removal, done by a worker that then dies, are not told to have failed."""
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    if op == "remove":
        os.setxattr(p, "user.a", b"v" * 700)
    call = {"set": f"setxattr({str(p)!r}, 'user.a', b'v' * 700, os.XATTR_CREATE)",
            "remove": f"removexattr({str(p)!r}, 'user.a')"}[op]
    proxy.hold("h", op="CopyObject", when="after")
    changer = subprocess.Popen(["python3", "-c", f"import os; os.{call}"])
    proxy.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    proxy.release("h")
    assert changer.wait(30) == 0
    assert stored(bucket, m, "f.txt") == ({"user.a": b"v" * 700} if op == "set" else {})
    m.check()


def test_killed_workers_keep_those_of_an_open_file(m, bucket):
    fd = os.open(m.path / "f.txt", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"x")
    os.setxattr(fd, "user.a", b"one")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    os.setxattr(fd, "user.b", b"two")
    os.close(fd)
    assert stored(bucket, m, "f.txt") == {"user.a": b"one", "user.b": b"two"}
    m.check()


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
def test_what_was_published_is_not_published_again(mount, variant, bucket, actor):
    """Others have changed it since."""
    m = mount(variant=variant)
    a, b, p = actor(), actor(), m.path / "f.txt"
    fd = a.open(p, os.O_RDWR | os.O_CREAT)
    a.write(fd, b"x")
    a.setxattr(p, "user.a", b"old")
    a.fsync(fd)
    b.setxattr(p, "user.a", b"new")
    a.write(fd, b"y")
    a.close(fd)
    assert stored(bucket, m, "f.txt") == {"user.a": b"new"}
    assert b.getxattr(p, "user.a") == b"new"
    m.check()


def test_of_a_file_that_was_unlinked(m, bucket):
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    os.setxattr(p, "user.a", b"old")
    reader, writer = os.open(p, os.O_RDONLY), os.open(p, os.O_RDWR)
    os.unlink(p)
    p.write_bytes(b"x")                 # another file, of the same content
    os.setxattr(writer, "user.b", b"1")
    assert os.getxattr(writer, "user.b") == b"1"
    os.close(reader)
    os.close(writer)
    assert stored(bucket, m, "f.txt") == {}
    m.check()


def test_cp_and_tar_take_them_along(m, scratch, mount):
    src = scratch / "f.txt"
    src.write_bytes(b"x")
    try:
        os.setxattr(src, "user.a", b"one")
    except OSError:
        pytest.skip("no user xattrs on the scratch directory")
    util.run(["cp", "-a", src, m.path / "copy.txt"])
    assert os.getxattr(m.path / "copy.txt", "user.a") == b"one"
    util.run(["cp", "-a", m.path / "copy.txt", scratch / "back.txt"])
    assert os.getxattr(scratch / "back.txt", "user.a") == b"one"
    util.run(["tar", "-C", scratch, "--xattrs", "-cf", scratch / "t.tar", "f.txt"])
    os.mkdir(m.path / "x")
    told = util.run(["tar", "-C", m.path / "x", "--xattrs", "-xf", scratch / "t.tar"])
    assert os.getxattr(m.path / "x/f.txt", "user.a") == b"one" and not told.err
    if shutil.which("rsync"):
        util.run(["rsync", "-aX", f"{m.path}/x/", f"{m.path}/y/"])
        assert os.getxattr(m.path / "y/f.txt", "user.a") == b"one"
