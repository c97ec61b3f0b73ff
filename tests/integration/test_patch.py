"""A large file that is changed in place: what is changed is loaded and sent, the rest is copied on
the server. Units and parts are 5 MiB here, S3's least; each result is compared with a local file."""

import concurrent.futures
import errno
import os
import random
import subprocess

import pytest

from harness import SLOW, util
from harness.killer import Killer
from harness.pattern import pattern
from test_cas import CAS
from test_parts import BUFFERED, MIB, PART, PARTS, THRESHOLD, holds, no_parts_left, no_uploads

SIZE = 6 * PART + 4711


@pytest.fixture(params=BUFFERED)
def m(request, mount, proxy):
    return mount(variant=request.param, via=proxy, env=PARTS)


class File:
    """An object of this size, opened r+, and what a local file would hold."""

    def __init__(self, m, bucket, size=SIZE, name="f.bin", seed=1, flags=os.O_RDWR):
        self.m, self.bucket, self.name = m, bucket, name
        self.data = bytearray(pattern(size, seed))
        bucket.put(m.key(name), bytes(self.data))
        self.fd = os.open(m.path / name, flags)

    def change(self, at, data):
        assert os.pwrite(self.fd, data, at) == len(data)
        if at > len(self.data):
            self.data += bytes(at - len(self.data))
        self.data[at:at + len(data)] = data

    def resize(self, size):
        os.ftruncate(self.fd, size)
        self.data = self.data[:size] + bytes(max(0, size - len(self.data)))

    def read(self, at, n):
        assert os.pread(self.fd, n, at) == self.data[at:at + n]

    def sync(self):
        os.fsync(self.fd)
        holds(self.bucket, self.m, self.name, self.data)

    def close(self):
        fd, self.fd = self.fd, -1
        os.close(fd)

    def is_right(self):
        """Closed: as the object, and read again."""
        if self.fd >= 0:
            self.close()
        holds(self.bucket, self.m, self.name, self.data)
        assert (self.m.path / self.name).read_bytes() == self.data
        no_uploads(self.bucket)
        self.m.check()


def moved(proxy):
    return proxy.bytes_received() + proxy.bytes_sent()


# -- what it costs


def test_a_small_change_moves_little(m, proxy, bucket):
    f = File(m, bucket, 64 * MIB)
    proxy.reset_counts()
    f.change(30 * MIB - 1, b"x" * 4096)     # in two units
    f.close()
    counts = proxy.counts()
    assert moved(proxy) < 4 * PART + MIB, "two units in, two out"
    assert counts["UploadPartCopy"] == 2 and counts["UploadPart"] == 2
    assert counts["GetObject"] == 2
    assert counts["CreateMultipartUpload"] == counts["CompleteMultipartUpload"] == 1
    assert sum(counts.values()) <= 10
    f.is_right()


def test_opening_and_reading_loads_nothing_else(m, proxy, bucket):
    proxy.reset_counts()
    f = File(m, bucket, 64 * MIB)
    f.read(40 * MIB, 4096)
    f.close()
    assert proxy.bytes_received() < 8 * MIB
    assert "CreateMultipartUpload" not in proxy.counts()
    f.is_right()


def test_each_fsync_sends_what_has_changed_since(m, proxy, bucket):
    f = File(m, bucket)
    f.change(3, b"first")
    f.sync()
    proxy.reset_counts()
    f.change(5 * PART, b"second")
    f.sync()
    assert proxy.counts()["UploadPart"] == 1 and proxy.counts()["UploadPartCopy"] == 2
    f.change(6, b"third")
    proxy.reset_counts()
    f.sync()
    assert proxy.counts()["UploadPart"] == 1 and proxy.counts()["UploadPartCopy"] == 1
    assert "GetObject" not in proxy.counts() or proxy.bytes_received() > SIZE
    f.is_right()


def test_appending_copies_the_rest(m, proxy, bucket):
    f = File(m, bucket, 4 * PART + 17)
    proxy.reset_counts()
    f.change(len(f.data), pattern(4096, 5))
    f.close()
    assert proxy.counts()["UploadPartCopy"] == 1 and proxy.counts()["UploadPart"] == 1
    assert moved(proxy) < MIB, "only the last unit, which was begun, is loaded and sent"
    f.is_right()


def test_changing_all_of_it_in_order_needs_few_requests(m, proxy, bucket):
    f = File(m, bucket, 16 * PART)
    proxy.reset_counts()
    for at in range(0, 16 * PART, MIB):
        f.change(at, pattern(MIB, at))
    f.close()
    assert proxy.counts()["GetObject"] <= 7
    assert "UploadPartCopy" not in proxy.counts()
    f.is_right()


def large(m, bucket, name, piece, n):
    """An object that is n times this piece, made on the server."""
    key, client = m.key(name), bucket.client
    bucket.put(key + ".piece", piece)
    upload = client.create_multipart_upload(Bucket=bucket.bucket, Key=key)["UploadId"]
    source = {"Bucket": bucket.bucket, "Key": key + ".piece"}
    parts = [{"PartNumber": i, "ETag": client.upload_part_copy(
        Bucket=bucket.bucket, Key=key, UploadId=upload, PartNumber=i, CopySource=source)
        ["CopyPartResult"]["ETag"]} for i in range(1, n + 1)]
    client.complete_multipart_upload(Bucket=bucket.bucket, Key=key, UploadId=upload,
                                     MultipartUpload={"Parts": parts})


@pytest.mark.slow
@pytest.mark.limit(180)
@pytest.mark.parametrize("variant", BUFFERED)
def test_4_kib_in_1_gib(mount, proxy, bucket, variant):
    m = mount(variant=variant, via=proxy)
    large(m, bucket, "f.bin", piece := pattern(64 * MIB, 3), 16)
    proxy.reset_counts()
    fd = os.open(m.path / "f.bin", os.O_RDWR)
    os.pwrite(fd, b"x" * 4096, 700 * MIB)
    os.close(fd)
    print(f"{variant}: moved={moved(proxy)} requests={dict(proxy.counts())}")
    assert moved(proxy) < 12 * MIB
    assert sum(proxy.counts().values()) <= 9
    assert bucket.head(m.key("f.bin"))["ContentLength"] == 1024 * MIB
    for at in (0, 512 * MIB, 700 * MIB - 4096, 700 * MIB + 4096, 1024 * MIB - 4096):
        got = bucket.client.get_object(Bucket=bucket.bucket, Key=m.key("f.bin"),
                                       Range=f"bytes={at}-{at + 4095}")["Body"].read()
        assert got == piece[at % len(piece):][:4096]


# -- sizes and places


@pytest.mark.parametrize("size", [THRESHOLD - 1, THRESHOLD, THRESHOLD + 1, 3 * PART - 1, 3 * PART,
                                  3 * PART + 1])
def test_sizes_and_places_around_each_boundary(m, bucket, size):
    f = File(m, bucket, size)
    for at in (0, PART - 1, PART, 2 * PART - 2, size - 1):
        if at < size:
            f.change(at, b"%d" % (at % 10))
            f.read(max(0, at - 70000), 140000)
    f.sync()
    f.change(size - 1, b"over the end")
    f.read(size - 4096, 8192)
    f.is_right()


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, THRESHOLD - 1, THRESHOLD,
                                  2 * PART + 4711, 5 * PART - 1, 5 * PART, SIZE - 1])
def test_cut_and_extended(m, bucket, size):
    f = File(m, bucket)
    f.change(PART + 9, b"a change")
    f.resize(size)
    f.sync()
    f.resize(size + 70001)
    f.read(max(0, size - 4096), 70001)
    f.sync()
    f.change(size + 2 * PART, b"far behind")
    f.read(max(0, size - 4096), 70001)
    f.is_right()


@pytest.mark.parametrize("size", [THRESHOLD + 3, 6 * PART, 100])
def test_cut_by_path(m, proxy, bucket, size):
    bucket.put(m.key("f.bin"), data := pattern(SIZE, 2))
    proxy.reset_counts()
    os.truncate(m.path / "f.bin", size)
    holds(bucket, m, "f.bin", data[:size])
    assert proxy.counts().get("UploadPartCopy", 0) == (size >= THRESHOLD)
    m.check()


def test_cut_and_extended_without_a_publish_between(m, bucket):
    f = File(m, bucket)
    f.resize(3 * PART + 100)
    f.resize(5 * PART)
    f.read(3 * PART, 4096)
    f.resize(PART + 7)
    f.change(2 * PART, b"new")
    f.read(PART - 70000, 140000)
    f.is_right()


def test_holes_and_zeroes(m, bucket):
    f = File(m, bucket)
    for arguments in (["-p", "-o", str(2 * PART - 4096), "-l", "8192"],
                      ["-z", "-o", str(SIZE - 100), "-l", "5000"]):
        subprocess.run(["fallocate", *arguments, m.path / "f.bin"], check=True,
                       pass_fds=[f.fd])
    f.data[2 * PART - 4096:2 * PART + 4096] = bytes(8192)
    f.data[SIZE - 100:] = bytes(5000)
    f.is_right()


@pytest.mark.parametrize("seed", range(3))
def test_random_changes(m, bucket, seed):
    r = random.Random(seed)
    f = File(m, bucket, THRESHOLD + r.randrange(4 * PART), seed=seed)
    for _ in range(60):
        size = len(f.data)
        edge = r.choice([0, size, PART * r.randrange(1, 8)])
        at = max(0, edge + r.choice([-1, 0, 1, -4096, r.randrange(-PART, PART)]))
        what = r.randrange(12)
        if what < 6 and at < 10 * PART:
            f.change(at, pattern(r.choice([1, 4095, 4096, 100_000, MIB]), r.randrange(99)))
        elif what < 9:
            f.read(min(at, size), r.choice([1, 4096, 300_000]))
        elif what == 9:
            f.resize(min(at, 10 * PART))
        elif what == 10:
            f.sync()
        else:
            f.close()
            f.fd = os.open(m.path / f.name, os.O_RDWR)
    f.is_right()


def test_readers_see_changed_and_unchanged_bytes(m, bucket):
    """Through other descriptors, the page cache dropped, over the edges of what is here."""
    f = File(m, bucket)
    f.change(2 * PART - 3, b"changed")
    f.sync()
    f.change(4 * PART - 3, b"changed")
    os.posix_fadvise(f.fd, 0, 0, os.POSIX_FADV_DONTNEED)
    for at in (PART, 2 * PART, 3 * PART, 4 * PART, 5 * PART):
        f.read(at - 200_000, 400_000)
    f.is_right()


# -- the file is replaced meanwhile


def test_replaced_before_a_change_is_published(mount, proxy, bucket):
    """Compare-and-set: a conflict, as ever."""
    m = mount(variant="s3-buffered-cas", via=proxy, env=PARTS)
    f = File(m, bucket)
    f.change(7, b"mine")
    bucket.put(m.key("f.bin"), theirs := pattern(SIZE, 9))
    with pytest.raises(FileExistsError):
        os.fsync(f.fd)
    with pytest.raises(FileExistsError):
        f.close()
    assert bucket.get(m.key("f.bin")) == theirs
    assert "EEXIST" in m.ctl("conflicts").out or "f.bin" in m.ctl("conflicts").out
    no_uploads(bucket)
    m.check()


@pytest.mark.parametrize("gone", [False, True])
def test_last_write_wins_never_mixes_two_versions(mount, proxy, bucket, gone):
    """What the writer has not changed is no longer to be had: ESTALE, and theirs stays."""
    m = mount(via=proxy, env=PARTS)
    f = File(m, bucket)
    f.change(7, b"mine")
    theirs = pattern(SIZE, 9)
    if gone:
        bucket.delete(m.key("f.bin"))
    else:
        bucket.put(m.key("f.bin"), theirs)
    with pytest.raises(OSError) as e:
        os.fsync(f.fd)
    assert e.value.errno == 116
    with pytest.raises(OSError):
        f.close()
    if gone:
        assert not bucket.exists(m.key("f.bin"))
    else:
        assert bucket.get(m.key("f.bin")) == theirs
        assert (m.path / "f.bin").read_bytes() == theirs
    no_uploads(bucket)
    m.check()


def test_last_write_wins_once_the_parts_are_copied(mount, proxy, bucket):
    m = mount(via=proxy, env=PARTS)
    f = File(m, bucket)
    f.change(7, b"mine")
    with proxy_at(proxy, "CompleteMultipartUpload") as pool:
        closing = pool.submit(f.close)
        proxy.wait_held("at")
        bucket.put(m.key("f.bin"), b"theirs")
        proxy.release("at")
        closing.result(60 * SLOW)
    f.is_right()


class proxy_at:
    """Holds one request of this kind, named "at"."""

    def __init__(self, proxy, op):
        proxy.hold("at", op=op, times=1)
        self.pool = concurrent.futures.ThreadPoolExecutor(1)

    def __enter__(self):
        return self.pool

    def __exit__(self, *_):
        self.pool.shutdown()


def test_replaced_before_anything_is_loaded(mount, proxy, bucket):
    m = mount(via=proxy, env=PARTS)
    f = File(m, bucket)
    bucket.put(m.key("f.bin"), b"theirs")
    with pytest.raises(OSError):
        f.change(7, b"mine")
    with pytest.raises(OSError):
        f.close()
    assert bucket.get(m.key("f.bin")) == b"theirs"
    m.check()


# -- names


# Up to 64 MiB the rest is loaded before the object goes.
KEPT = [SIZE, 64 * MIB + 1]


@pytest.mark.parametrize("size", KEPT)
def test_renamed_while_it_is_open(m, bucket, size):
    f = File(m, bucket, size)
    f.change(PART, b"before")
    os.rename(m.path / "f.bin", m.path / "g.bin")
    f.name = "g.bin"
    f.read(4 * PART - 5000, 10000)
    f.change(3 * PART, b"after")
    f.is_right()
    assert not bucket.exists(m.key("f.bin"))


@pytest.mark.parametrize("size", KEPT)
@pytest.mark.parametrize("dirty", [True, False])
def test_the_folder_is_renamed_while_it_is_open(mount, proxy, bucket, size, dirty):
    """(Compare-and-set renames no folders.) The copy of an object in parts has another ETag."""
    m = mount(via=proxy, env=PARTS)
    for d in ("a", "a/d"):
        (m.path / d).mkdir()
    f = File(m, bucket, size, name="a/d/f.bin")
    reader = os.open(m.path / "a/d/f.bin", os.O_RDONLY)
    f.change(PART, b"before")
    if not dirty:
        f.sync()
    os.rename(m.path / "a", m.path / "b")
    f.name = "b/d/f.bin"
    f.read(8 * PART - 5000, 10000)
    f.change(3 * PART, b"after")
    assert os.pread(reader, 100, 5 * PART) == f.data[5 * PART:5 * PART + 100]
    os.close(reader)
    f.is_right()
    assert not bucket.list(m.key("a/"))


def test_unlinked_while_it_is_open(m, bucket):
    f = File(m, bucket)
    f.change(PART, b"before")
    os.unlink(m.path / "f.bin")
    f.read(4 * PART - 5000, 10000)
    f.change(3 * PART, b"after")
    f.read(3 * PART - 5000, 10000)
    f.close()
    assert not bucket.exists(m.key("f.bin"))
    m.check()


@pytest.mark.parametrize("how", ["unlink", "rename"])
@pytest.mark.parametrize("units", [3, 1])
def test_all_of_it_is_there_when_another_takes_its_name(m, bucket, how, units):
    """Nothing is left to be loaded, so nobody waits for that; or something is."""
    f = File(m, bucket, 3 * PART)
    for unit in range(units):
        f.change(unit * PART + 5, b"x")
    f.sync()
    if how == "unlink":
        os.unlink(m.path / "f.bin")
    else:
        (m.path / "tmp").write_bytes(b"old")
        os.rename(m.path / "tmp", m.path / "f.bin")
    subprocess.run(["sh", "-c", "echo new > f.bin; echo more >> f.bin"], cwd=m.path, check=True, timeout=30 * SLOW)
    assert bucket.get(m.key("f.bin")) == b"new\nmore\n"
    f.read(0, len(f.data))
    f.close()
    assert bucket.get(m.key("f.bin")) == b"new\nmore\n"
    m.check()


def test_a_very_large_file_unlinked_while_it_is_open(m, bucket):
    """What was not loaded is gone, and says so."""
    f = File(m, bucket, KEPT[1])
    f.change(PART, b"before")
    os.unlink(m.path / "f.bin")
    f.read(PART, 10)
    with pytest.raises(OSError) as e:
        os.pread(f.fd, 10, 8 * PART)
    assert e.value.errno == 116
    with pytest.raises(OSError) as e:
        os.pwrite(f.fd, b"x", 8 * PART)
    assert e.value.errno == 116
    os.close(f.fd)
    assert not bucket.exists(m.key("f.bin"))
    m.check()


def test_attributes_changed_while_it_is_open(m, bucket):
    f = File(m, bucket)
    os.fchmod(f.fd, 0o640)
    f.change(PART, b"after")
    f.read(4 * PART - 5000, 10000)
    os.fchmod(f.fd, 0o600)
    f.is_right()
    assert (m.path / "f.bin").stat().st_mode & 0o777 == 0o600


# -- faults


@pytest.mark.parametrize("status, code", [(501, "NotImplemented"), (403, "AccessDenied"),
                                          (405, "MethodNotAllowed"), (400, "InvalidRequest")])
def test_a_server_that_does_not_copy_parts(m, proxy, bucket, status, code):
    """Found out once; from then on files are loaded when they are opened."""
    proxy.add_rule("answer", status=status, code=code, op="UploadPartCopy")
    f = File(m, bucket)
    f.change(PART, b"changed")
    f.sync()
    f.change(3 * PART, b"again")
    f.is_right()
    first = proxy.counts()["UploadPartCopy"]
    f = File(m, bucket, name="g.bin", seed=4)
    f.change(PART, b"changed")
    f.is_right()
    assert proxy.counts()["UploadPartCopy"] == first
    assert m.log().count("parts are not copied") == 1
    assert m.log().count(" warn ") == 1, "that is all: nothing is lost"


def test_a_smaller_file_in_its_place(m, proxy, bucket):
    """To copy a range beyond its end is refused with 400 (versitygw): that says nothing of the server."""
    f = File(m, bucket)
    f.change(PART, b"changed")
    bucket.put(m.key("f.bin"), b"smaller")
    with pytest.raises(OSError) as e:
        os.fsync(f.fd)
    assert e.value.errno == (errno.EEXIST if m.env["STATE_VARIANT"] == CAS else errno.ESTALE)
    with pytest.raises(OSError):
        f.close()
    assert bucket.get(m.key("f.bin")) == b"smaller"
    proxy.reset_counts()
    f = File(m, bucket, name="g.bin", seed=4)
    f.change(PART, b"changed")
    f.is_right()
    assert "UploadPartCopy" in proxy.counts() and "not copied any more" not in m.log()


FAULTS = [
    ("500 twice", "answer", {"status": 500, "times": 2}),
    ("500 after the server acted", "answer", {"status": 500, "acted": True, "times": 1}),
    ("reset after", "reset", {"when": "after", "times": 1}),
    ("answer lost", "drop", {"times": 1}),
    ("answer cut", "cut_response", {"times": 1}),
]


@pytest.mark.parametrize("op", ["UploadPartCopy", "CompleteMultipartUpload"])
@pytest.mark.parametrize("action, args", [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_each_request_survives(m, proxy, bucket, op, action, args):
    f = File(m, bucket)
    f.change(4 * PART, b"changed")
    proxy.add_rule(action, op=op, **args)
    f.close()
    assert proxy.state().rules[0]["applied"] == args["times"]
    f.is_right()


def test_a_copy_that_says_200_and_fails(m, proxy, bucket):
    f = File(m, bucket)
    f.change(4 * PART, b"changed")
    proxy.add_rule("answer", status=200, op="UploadPartCopy", times=1,
                   body="<?xml version='1.0'?><Error><Code>InternalError</Code>"
                        "<Message>no</Message></Error>")
    f.is_right()


@pytest.mark.parametrize("op", ["CompleteMultipartUpload", "UploadPartCopy"])
def test_an_upload_that_vanishes(m, proxy, bucket, op):
    f = File(m, bucket)
    f.change(4 * PART, b"changed")
    proxy.reset_counts()
    proxy.add_rule("answer", status=404, code="NoSuchUpload", times=1, op=op)
    f.close()
    assert proxy.counts()["CreateMultipartUpload"] == 2
    holds(bucket, m, "f.bin", f.data)
    m.check()


# -- workers are killed


@pytest.mark.parametrize("op", ["GetObject", "UploadPartCopy", "UploadPart",
                                "CompleteMultipartUpload"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_dies_at(m, proxy, bucket, op, when):
    f = File(m, bucket)
    proxy.hold("at", op=op, times=1, when=when)

    def work():
        f.change(4 * PART - 2, b"changed")
        f.close()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        proxy.wait_held("at")
        m.kill_workers()
        proxy.release("at")
        working.result(60 * SLOW)
    holds(bucket, m, "f.bin", f.data)
    assert (m.path / "f.bin").read_bytes() == f.data
    no_parts_left(bucket, proxy)
    m.check()


# -- its own publish replaces the object


@pytest.mark.parametrize("what", ["read", "read over an edge", "write", "extend"])
def test_s3_has_it_but_the_answer_is_still_to_come(m, proxy, bucket, what):
    """What is not here is asked of a version that this mount has just replaced: it waits."""
    f = File(m, bucket)
    f.change(4 * PART, b"changed")
    fd = os.dup(f.fd)
    at = 4 * PART - 2000 if what == "read over an edge" else 2 * PART

    def use():
        if what == "write":
            return os.pwrite(fd, b"second", at)
        return os.truncate(fd, SIZE + 5000) if what == "extend" else os.pread(fd, 4096, at)
    proxy.hold("at", op="CompleteMultipartUpload", times=1, when="after")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        closing = pool.submit(f.close)
        proxy.wait_held("at")
        n = proxy.counts().get("GetObject", 0)
        using = pool.submit(use)
        concurrent.futures.wait([using], timeout=0.3)   # (not that it could end by now)
        proxy.release("at")
        closing.result(20 * SLOW)
        got = using.result(20 * SLOW)
    if what.startswith("read"):
        assert got == f.data[at:at + 4096]
        assert proxy.counts()["GetObject"] - n < 5
    elif what == "write":
        f.data[at:at + 6] = b"second"
    else:
        f.data += bytes(5000)
    os.close(fd)
    f.is_right()


@pytest.mark.parametrize("size", KEPT)
@pytest.mark.parametrize("op", ["unlink", "rename", "rename of the folder"])
def test_replaced_elsewhere_before_it_loses_its_name(mount, proxy, bucket, op, size):
    """What is missing is asked for once, although the name is held meanwhile."""
    m = mount(via=proxy, env=PARTS)
    (m.path / "d").mkdir()
    f = File(m, bucket, size, name="d/f.bin")
    f.change(PART, b"mine")
    bucket.put(m.key("d/f.bin"), pattern(SIZE, 9))
    proxy.reset_counts()
    path = m.path / "d/f.bin"
    work = {"unlink": lambda: os.unlink(path),
            "rename": lambda: os.rename(path, m.path / "d/g.bin"),
            "rename of the folder": lambda: os.rename(m.path / "d", m.path / "e")}[op]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            working.result(20 * SLOW)
        except OSError as e:
            assert op != "unlink" and e.errno == 116
    assert proxy.counts().get("GetObject", 0) < 10
    try:
        f.close()
    except OSError as e:
        assert e.errno == 116
    m.check()
