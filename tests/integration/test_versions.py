"""Buckets that keep versions: what is open and was replaced is read on by its version id. The plain GET is
asked first, once; nothing else costs more, or needs another permission, than without versions."""

import errno
import os
import threading

import pytest

from harness import util
from harness.pattern import pattern
from harness.server import S3Server
from test_cas import CAS
from test_parts import PART, PARTS, holds

LWW = "s3-buffered-lww"
SIZE = 1_000_000
LARGE = (64 << 20) + 1_000_000      # more than is loaded for readers of what this mount replaces
READ = 4096
BY_VERSION = "*versionId=*"


@pytest.fixture(params=[LWW, CAS], ids=["lww", "cas"])
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def gateway(guard, s3server):
    server = S3Server(s3server.binary, guard, versions=True).start()
    yield server
    server.remove()


@pytest.fixture(params=["versitygw", "minio"])
def server(request):
    return request.getfixturevalue({"versitygw": "gateway"}.get(request.param, request.param))


def set_versioning(s3, status):
    s3.client.put_bucket_versioning(Bucket=s3.bucket, VersioningConfiguration={"Status": status})


def delete_versions(s3):
    found = s3.client.list_object_versions(Bucket=s3.bucket)
    for v in found.get("Versions", []) + found.get("DeleteMarkers", []):
        s3.client.delete_object(Bucket=s3.bucket, Key=v["Key"], VersionId=v["VersionId"])


@pytest.fixture
def versioned(server, bucket_at):
    """A bucket with versions."""
    s3 = bucket_at(server)
    set_versioning(s3, "Enabled")
    yield s3
    if not s3.root:
        delete_versions(s3)


@pytest.fixture
def wire(server, make_proxy):
    return make_proxy(server.port)


@pytest.fixture
def m(mount, versioned, wire, variant):
    return mount(via=wire, s3=versioned, variant=variant)


def opened(m, s3, name, size=SIZE, seed=0):
    """A file that is open, and whose beginning is known. -> descriptor, content"""
    data = pattern(size, seed)
    s3.put(m.key(name), data)
    fd = os.open(m.path / name, os.O_RDONLY)
    assert os.read(fd, 10) == data[:10]
    return fd, data


def read_from(fd, off, size=SIZE):
    """All bytes from there on; the name of the error, if there is one."""
    out = b""
    try:
        while piece := os.pread(fd, size, off + len(out)):
            out += piece
    except OSError as e:
        return errno.errorcode[e.errno]
    return out


def gets(proxy, m, name):
    """The GETs of a file, each as 'plain' or 'version', with their status."""
    return [("version" if "versionId" in x.query else "plain", x.status)
            for x in proxy.log("GetObject", m.key(name))]


def habit_lines(m):
    return [x for x in m.log().splitlines() if "no-version-reads" in x and "learned" in x]


# -- replaced elsewhere


CHANGES = {
    "replaced": lambda s3, key: s3.put(key, b"new" * SIZE),
    "replaced by less": lambda s3, key: s3.put(key, b""),
    "replaced twice": lambda s3, key: [s3.put(key, pattern(SIZE, n)) for n in (7, 8)],
    "deleted": lambda s3, key: s3.delete(key),
    "replaced, deleted": lambda s3, key: (s3.put(key, b"x"), s3.delete(key)),
    "deleted, made anew": lambda s3, key: (s3.delete(key), s3.put(key, pattern(SIZE, 9))),
    "to and fro": lambda s3, key: (s3.put(key, b"x"), s3.put(key, pattern(SIZE)), s3.put(key, b"y")),
}


def test_what_changes_elsewhere_is_read_to_its_end(m, versioned, wire):
    for change, make in CHANGES.items():
        name = f"{change}.bin"
        fd, data = opened(m, versioned, name)
        before = len(gets(wire, m, name))
        make(versioned, m.key(name))
        assert os.pread(fd, READ, SIZE // 2) == data[SIZE // 2:SIZE // 2 + READ], change
        asked = gets(wire, m, name)[before:]
        # (MinIO looks at the range first.)
        assert asked[0][0] == "plain" and asked[0][1] in (404, 412, 416), (change, asked)
        assert asked[1] == ("version", 206), (change, asked)
        assert read_from(fd, 0) == data, change
        kinds = [kind for kind, _ in gets(wire, m, name)[before:]]
        assert kinds.count("plain") == 1, "once it is known, the version is asked for at once"
        os.close(fd)
    m.check()


@pytest.mark.parametrize("seen", ["by nobody", "in a listing", "by stat"])
@pytest.mark.parametrize("server", ["versitygw"], indirect=True)
def test_what_is_open_needs_no_read_before(m, versioned, seen):
    """However its name was looked up, the id is known when open returns."""
    for name in ("f.bin", "f"):
        data = pattern(SIZE)
        versioned.put(m.key(name), data)
        if seen == "in a listing":
            list(os.scandir(m.path))
        elif seen == "by stat":
            os.stat(m.path / name)
        fd = os.open(m.path / name, os.O_RDONLY)
        versioned.put(m.key(name), b"new")
        assert read_from(fd, 0) == data
        os.close(fd)


def test_a_map_is_read_to_its_end(m, versioned, actor):
    reader, data = actor(), pattern(SIZE)
    versioned.put(m.key("f.bin"), data)
    fd = reader.open(m.path / "f.bin", os.O_RDONLY)
    reader.map(fd)
    assert reader.map_read(fd, 0, 10) == data[:10]
    versioned.put(m.key("f.bin"), b"new")
    assert reader.map_read(fd, SIZE - READ, SIZE) == data[SIZE - READ:]
    assert (m.path / "f.bin").read_bytes() == b"new"
    assert reader.map_read(fd, 10, SIZE) == data[10:]
    reader.unmap(fd)
    reader.close(fd)


def test_each_reads_what_it_has_opened(m, versioned):
    """Three versions of a name, open at once."""
    files = [opened(m, versioned, "f.bin", seed=n) for n in range(3)]
    versioned.delete(m.key("f.bin"))
    for fd, data in files + files[::-1]:
        assert os.pread(fd, READ, SIZE - READ) == data[-READ:]
    for fd, data in files:
        assert read_from(fd, 0) == data
        os.close(fd)


def test_a_get_that_breaks_off_goes_on_in_the_same_version(m, versioned, wire):
    """The rest of one that the server began before the change, and of one by version."""
    fd, data = opened(m, versioned, "f.bin")
    wire.add_rule("cut_response", op="GetObject", at=0.5, times=1)
    wire.add_rule("cut_response", op="GetObject", query=BY_VERSION, at=0.5, times=1)
    wire.hold("h", when="after", op="GetObject", nth=1)
    got = []
    reader = threading.Thread(target=lambda: got.append(read_from(fd, SIZE // 2)))
    reader.start()
    wire.wait_held("h")
    versioned.put(m.key("f.bin"), b"new")
    wire.release("h")
    reader.join(30)
    assert got == [data[SIZE // 2:]]
    os.close(fd)


# -- replaced by this mount: more than what is loaded for its readers


def replace(a, path):
    a.write_all(f"{path}.new", b"new")
    a.rename(f"{path}.new", path)


OWN = {
    "unlink": lambda a, path: a.unlink(path),
    "replace": replace,
    "rewrite": lambda a, path: a.write_all(path, b"new"),
}


# (Where the last writer wins, a file that is rewritten is one for all on the mount.)
@pytest.mark.parametrize("variant,how", [(LWW, "unlink"), (LWW, "replace"), *((CAS, how) for how in OWN)],
                         indirect=["variant"])
@pytest.mark.parametrize("server", ["versitygw"], indirect=True)
def test_what_this_mount_replaces_is_read_to_its_end(m, versioned, actor, variant, how):
    reader, other = actor(), actor()
    data = pattern(LARGE)
    versioned.put(m.key("f.bin"), data)
    fd = reader.open(m.path / "f.bin", os.O_RDONLY)
    assert reader.read(fd, 10) == data[:10]
    OWN[how](other, str(m.path / "f.bin"))
    for off in (LARGE - READ, 30_000_000, LARGE // 2):
        assert reader.pread(fd, READ, off) == data[off:off + READ]
    if how == "unlink":
        assert not (m.path / "f.bin").exists()
    else:
        assert (m.path / "f.bin").read_bytes() == b"new"
    reader.close(fd)
    util.wait_until(lambda: m.status()["tables"]["handles"] == 0, what="the releases")
    m.check()


@pytest.mark.parametrize("server", ["versitygw"], indirect=True)
@pytest.mark.parametrize("variant", [LWW], indirect=True)
def test_what_was_replaced_elsewhere_and_then_removed_here(m, versioned):
    """It cannot be loaded for its reader any more, and need not be."""
    fd, data = opened(m, versioned, "f.bin")
    versioned.put(m.key("f.bin"), b"new")
    os.unlink(m.path / "f.bin")
    assert not versioned.exists(m.key("f.bin"))
    assert read_from(fd, 0) == data
    os.close(fd)
    util.wait_until(lambda: m.status()["tables"]["sessions"] == 0, what="the end of its session")


@pytest.mark.parametrize("server", ["versitygw"], indirect=True)
@pytest.mark.parametrize("variant", [LWW], indirect=True)
def test_what_was_renamed_here_is_read_under_its_new_name(m, versioned, wire):
    """An id names a version of one key only."""
    fd, data = opened(m, versioned, "f.bin", LARGE)
    os.rename(m.path / "f.bin", m.path / "g.bin")
    assert os.pread(fd, READ, LARGE // 2) == data[LARGE // 2:LARGE // 2 + READ]
    assert gets(wire, m, "g.bin")[0] == ("plain", 206)
    versioned.put(m.key("g.bin"), b"new")
    assert os.pread(fd, READ, LARGE - READ) == data[-READ:]
    assert {status for kind, status in gets(wire, m, "g.bin") if kind == "version"} == {206}
    os.close(fd)


@pytest.mark.parametrize("server", ["versitygw"], indirect=True)
@pytest.mark.parametrize("variant", [LWW], indirect=True)
def test_what_was_written_here_has_the_id_of_its_put(m, versioned, wire):
    data = pattern(SIZE)
    fd = os.open(m.path / "f.bin", os.O_RDWR | os.O_CREAT)
    os.write(fd, data)
    reader = os.open(m.path / "f.bin", os.O_RDONLY)
    os.close(fd)
    util.wait_until(lambda: m.status()["tables"]["sessions"] == 0, what="the end of its session")
    versioned.put(m.key("f.bin"), b"new")
    wire.reset_counts()
    os.posix_fadvise(reader, 0, 0, os.POSIX_FADV_DONTNEED)
    assert read_from(reader, 0) == data
    os.close(reader)


# -- where it does not go


def test_a_bucket_without_versions(mount, server, bucket_at, wire, variant):
    s3 = bucket_at(server)
    m = mount(via=wire, s3=s3, variant=variant)
    for change in CHANGES.keys() - {"to and fro"}:
        name = f"{change}.bin"
        fd, _ = opened(m, s3, name)
        before = len(gets(wire, m, name))
        CHANGES[change](s3, m.key(name))
        assert read_from(fd, SIZE // 2) == "ESTALE", change
        asked = gets(wire, m, name)[before:]
        assert 1 <= len(asked) <= 2, (change, asked)    # the kernel repeats a READ that has failed
        assert {kind for kind, _ in asked} == {"plain"}, (change, asked)
        os.close(fd)
    m.check()


def test_while_versioning_is_suspended(m, versioned, wire):
    """What is put then is "null", and is overwritten; what was put before keeps its id."""
    before, data = opened(m, versioned, "before.bin")
    set_versioning(versioned, "Suspended")
    null, _ = opened(m, versioned, "null.bin")
    for name in ("before.bin", "null.bin"):
        versioned.put(m.key(name), b"new")
    assert read_from(null, SIZE // 2) == "ESTALE"
    assert "version" not in [kind for kind, _ in gets(wire, m, "null.bin")]
    assert read_from(before, SIZE // 2) == data[SIZE // 2:]
    os.close(null), os.close(before)


def test_a_version_that_is_removed(m, versioned, wire):
    """That one is ESTALE, from the first GET on that finds it so; others are read."""
    fd, _ = opened(m, versioned, "f.bin")
    other, data = opened(m, versioned, "other.bin")
    delete_versions(versioned)
    wire.reset_counts()
    for _ in range(2):
        assert read_from(fd, SIZE // 2) == "ESTALE"
    asked = gets(wire, m, "f.bin")
    assert asked[:2] == [("plain", 404), ("version", 404)]
    assert set(asked[2:]) == {("plain", 404)}
    versioned.put(m.key("other.bin"), data)         # the same bytes: the plain GET takes them
    assert read_from(other, SIZE // 2) == data[SIZE // 2:]
    assert not habit_lines(m)
    os.close(fd), os.close(other)


@pytest.mark.parametrize("server", ["versitygw"], indirect=True)
@pytest.mark.parametrize("status,code", [(403, "AccessDenied"), (501, "NotImplemented"),
                                         (405, "MethodNotAllowed"), (400, "InvalidArgument")])
def test_what_is_not_permitted_is_asked_once(m, versioned, wire, status, code):
    """By all workers together; the log says which permission it takes."""
    wire.add_rule("answer", op="GetObject", query=BY_VERSION, status=status, code=code)
    for n in range(6):
        fd, _ = opened(m, versioned, f"f{n}.bin")
        versioned.put(m.key(f"f{n}.bin"), b"new")
        assert read_from(fd, SIZE // 2) == "ESTALE"
        assert read_from(fd, 200_000) == "ESTALE"
        os.close(fd)
    assert len([x for x in wire.log("GetObject") if "versionId" in x.query]) == 1
    lines = habit_lines(m)
    assert len(lines) == 1 and "s3:GetObjectVersion" in lines[0], lines
    assert "no-version-reads" in m.ctl("status").out
    assert not m.errors()


@pytest.mark.parametrize("server", ["versitygw"], indirect=True)
def test_never_bytes_of_another_version(m, versioned, wire):
    """A server that does not look at the id, or does as if."""
    fd, _ = opened(m, versioned, "f.bin")
    versioned.put(m.key("f.bin"), pattern(SIZE, 5))
    wire.add_rule("rewrite", op="GetObject", query=BY_VERSION, status=206, headers={"etag": '"other"'})
    assert read_from(fd, SIZE // 2) == "ESTALE"
    os.close(fd)


# -- the death of who reads


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["plain", "version"])
@pytest.mark.parametrize("server", ["versitygw"], indirect=True)
def test_the_replacement_goes_on_by_version(m, versioned, wire, when, what):
    fd, data = opened(m, versioned, "f.bin")
    versioned.put(m.key("f.bin"), b"new")
    if what == "version":
        wire.hold("h", when=when, op="GetObject", query=BY_VERSION)
    else:
        wire.hold("h", when=when, op="GetObject", key=m.key("f.bin"), nth=1)
    got = []
    reader = threading.Thread(target=lambda: got.append(read_from(fd, SIZE // 2)))
    reader.start()
    wire.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    wire.release("h")
    reader.join(30)
    assert got == [data[SIZE // 2:]]
    os.close(fd)
    m.check()


@pytest.mark.parametrize("variant", [LWW], indirect=True)
@pytest.mark.parametrize("gone", [False, True], ids=["replaced", "deleted"])
def test_a_large_file_that_is_changed_in_place(mount, versioned, wire, variant, gone):
    """What its writer saw and had not loaded is had by version id, and the last writer wins."""
    m = mount(via=wire, s3=versioned, variant=variant, env=PARTS)
    data = bytearray(pattern(4 * PART + 7, 1))
    versioned.put(m.key("f.bin"), bytes(data))
    fd = os.open(m.path / "f.bin", os.O_RDWR)
    os.pwrite(fd, b"mine", PART - 2)
    data[PART - 2:PART + 2] = b"mine"
    if gone:
        versioned.delete(m.key("f.bin"))
    else:
        versioned.put(m.key("f.bin"), pattern(3 * PART, 2))
    os.pwrite(fd, b"mine too", 3 * PART)
    data[3 * PART:3 * PART + 8] = b"mine too"
    os.close(fd)
    holds(versioned, m, "f.bin", data)
    m.check()
