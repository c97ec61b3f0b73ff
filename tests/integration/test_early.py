"""upload.early: parts of a file that is written in order go to S3 while it is written, and what is
changed afterwards goes again. Parts are 5 MiB here, S3's least."""

import concurrent.futures
import errno
import os
import random
import subprocess
import sys

import pytest

from harness import SLOW, util
from harness.killer import Killer
from harness.mount import MEMORY
from harness.pattern import pattern
from test_fallocate import KEEP, PUNCH, fallocate
from test_parts import MIB, PART, PARTS, THRESHOLD, holds, no_parts_left, no_uploads, write

EARLY = 4 * PART            # how much is written before anybody looks


LWW, CAS, PASS = "s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"


@pytest.fixture(params=[LWW, CAS])
def m(request, mount, proxy):
    m = mount(variant=request.param, via=proxy, env=PARTS)
    m.variant = request.param
    return m


class File:
    """A file that is being written in order, as far as its first parts are on S3."""

    def __init__(self, m, proxy, name="f.bin", size=EARLY, parts=None, flags=os.O_RDWR | os.O_TRUNC):
        self.data = bytearray(pattern(size, 1))
        proxy.reset_counts()
        self.fd = os.open(m.path / name, os.O_CREAT | flags)
        for at in range(0, size, MIB):
            os.write(self.fd, self.data[at:at + MIB])
        parts = size // PART if parts is None else parts
        util.wait_until(lambda: sum(x.end is not None for x in proxy.log(op="UploadPart")) >= parts,
                        60 * SLOW, what="parts to be sent early")

    def change(self, at, data):
        os.pwrite(self.fd, data, at)
        self.data[at:at + len(data)] = data

    def close(self):
        fd, self.fd = self.fd, -1
        os.close(fd)


def test_parts_go_while_it_is_written(m, proxy, bucket):
    f = File(m, proxy)
    counts = proxy.counts()
    assert counts["CreateMultipartUpload"] == 1 and counts["UploadPart"] == 4
    assert "CompleteMultipartUpload" not in counts
    assert not bucket.exists(m.key("f.bin")), "nothing is visible before the close"
    f.close()
    holds(bucket, m, "f.bin", f.data)
    counts = proxy.counts()
    assert counts["CreateMultipartUpload"] == 1 and counts["UploadPart"] == 4
    assert counts["CompleteMultipartUpload"] == 1 and "CopyObject" not in counts
    assert not bucket.uploads()
    m.check()


@pytest.mark.parametrize("variant", [LWW, CAS])
def test_where_nothing_goes_early(mount, proxy, bucket, variant):
    m = mount(variant=variant, via=proxy, env={**PARTS, "STATEPROXY_UPLOAD_EARLY": "false"})
    f = File(m, proxy, parts=0)
    assert not bucket.uploads() and "CreateMultipartUpload" not in proxy.counts()
    f.close()
    holds(bucket, m, "f.bin", f.data)


def test_a_header_written_last(m, proxy, bucket):
    """Only its part is sent twice, and only once the file is closed."""
    f = File(m, proxy)
    for i in range(20):
        f.change(i, b"header %d" % i)
    f.change(2 * PART - 2, b"over the edge")
    assert proxy.counts()["UploadPart"] == 4
    f.close()
    holds(bucket, m, "f.bin", f.data)
    assert proxy.counts()["UploadPart"] == 4 + 3
    assert (m.path / "f.bin").read_bytes() == f.data
    m.check()


def test_changed_while_its_part_is_on_the_way(m, proxy, bucket):
    proxy.hold("part", op="UploadPart", times=1, when="after")
    f = File(m, proxy, parts=0)
    proxy.wait_held("part")
    f.change(7, b"changed")
    f.change(PART + 7, b"changed")
    proxy.release("part")
    f.close()
    holds(bucket, m, "f.bin", f.data)
    no_uploads(bucket)
    m.check()


@pytest.mark.parametrize("size", [0, 17, THRESHOLD - 1, THRESHOLD + 1, 3 * PART, 3 * PART + 1])
def test_truncated_afterwards(m, proxy, bucket, size):
    f = File(m, proxy)
    os.ftruncate(f.fd, size)
    f.close()
    holds(bucket, m, "f.bin", f.data[:size])
    no_uploads(bucket)
    m.check()


def test_truncated_and_written_again(m, proxy, bucket):
    f = File(m, proxy)
    os.ftruncate(f.fd, PART + 9)
    os.ftruncate(f.fd, 3 * PART)
    f.data[PART + 9:] = bytes(2 * PART - 9)
    f.change(3 * PART, pattern(PART + 3, 8))
    f.close()
    holds(bucket, m, "f.bin", f.data)
    no_uploads(bucket)
    m.check()


def test_fallocate_and_holes(m, proxy, bucket):
    f = File(m, proxy)
    fallocate(f.fd, PUNCH | KEEP, PART - 4096, 8192)
    f.data[PART - 4096:PART + 4096] = bytes(8192)
    f.change(EARLY + 2 * PART, b"the end")
    f.data[EARLY:EARLY + 2 * PART] = bytes(2 * PART)
    f.data[EARLY + 2 * PART:] = b"the end"
    f.close()
    holds(bucket, m, "f.bin", f.data)
    no_uploads(bucket)


def test_a_sparse_file_is_not_sent_early(m, proxy, bucket):
    """It would be sent as zeroes, and again when it is filled: what a download tool does."""
    proxy.reset_counts()
    data = pattern(EARLY, 3)
    fd = os.open(m.path / "f.bin", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, EARLY)
    for at in reversed(range(0, EARLY, MIB)):
        os.pwrite(fd, data[at:at + MIB], at)
    assert "CreateMultipartUpload" not in proxy.counts()
    os.close(fd)
    assert proxy.counts()["UploadPart"] == 4
    holds(bucket, m, "f.bin", data)


def test_an_append_is_not_sent_early(m, proxy, bucket):
    """All that it is appended to would have to be sent as well."""
    data = pattern(EARLY, 3)
    bucket.put(m.key("f.bin"), data)
    proxy.reset_counts()
    fd = os.open(m.path / "f.bin", os.O_WRONLY | os.O_APPEND)
    os.write(fd, data[:PART])
    assert "CreateMultipartUpload" not in proxy.counts()
    os.close(fd)
    holds(bucket, m, "f.bin", data + data[:PART])


def test_attributes_set_before_the_close(m, proxy, bucket):
    """cp -p, tar, rsync: they are stored by a copy on the server, the parts are not sent again. With compare-and-set a
    copy would be another version: the parts go again, and the next file of such a program is not sent early."""
    f = File(m, proxy)
    os.fchmod(f.fd, 0o640)
    os.utime(f.fd, (1000, 2000))
    f.close()
    counts, expects = proxy.counts(), m.variant == CAS
    assert counts["UploadPart"] == (8 if expects else 4) and counts.get("CopyObject", 0) == (not expects)
    assert bucket.head(m.key("f.bin"))["Metadata"]["mtime"].startswith("2000")
    holds(bucket, m, "f.bin", f.data)
    other = m.path / "f.bin"
    assert other.stat().st_mtime == 2000 and other.stat().st_mode & 0o777 == 0o640
    if expects:
        f = File(m, proxy, name="g.bin", parts=0)
        assert not bucket.uploads() and "CreateMultipartUpload" not in proxy.counts()
        os.fchmod(f.fd, 0o640)
        f.close()
        assert proxy.counts()["UploadPart"] == 4
        holds(bucket, m, "g.bin", f.data)
    no_uploads(bucket)
    m.check()


@pytest.mark.parametrize("fault", ["the worker dies", "the answer is lost"])
@pytest.mark.parametrize("excl", [0, os.O_EXCL], ids=["there before", "new"])
@pytest.mark.parametrize("variant", [LWW, PASS])
def test_attributes_in_vain_and_another_etag(mount, proxy, bucket, variant, excl, fault):
    """On AWS the copy of a file in parts has another ETag: the time of the change shows whose it is."""
    m, key = mount(via=proxy, variant=variant, env=PARTS), "p/f.bin"
    if not excl:
        bucket.put(key, b"before")
    f = File(m, proxy, parts=2, flags=os.O_WRONLY | (excl or os.O_TRUNC))
    os.fchmod(f.fd, 0o600)
    proxy.add_rule("hold", name="copied", op="CopyObject", when="after", nth=1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        closing = pool.submit(f.close)
        proxy.wait_held("copied")
        if fault == "the worker dies":
            proxy.add_rule("hold", name="asked", op="HeadObject", key=key, nth=1)
            m.kill_workers()
            proxy.wait_held("asked")
        meta = bucket.head(key)
        bucket.put(key, bytes(f.data), Metadata=meta["Metadata"], ContentType=meta["ContentType"])
        assert bucket.head(key)["ETag"] != meta["ETag"]
        proxy.release("copied", "drop")
        if fault == "the worker dies":
            proxy.release("asked")
        closing.result(60 * SLOW)
    holds(bucket, m, "f.bin", f.data)
    assert int(bucket.head(key)["Metadata"]["mode"]) & 0o777 == 0o600
    assert not [line for line in m.log().splitlines() if "attributes not stored" in line]
    no_uploads(bucket)
    m.check()


def test_the_same_attributes_before_the_close(m, proxy, bucket):
    """They move ctime, which alone is not worth a copy."""
    f = File(m, proxy)
    before = os.fstat(f.fd)
    os.fchmod(f.fd, before.st_mode & 0o7777)
    assert os.fstat(f.fd).st_ctime_ns > before.st_ctime_ns
    f.close()
    counts = proxy.counts()
    assert counts["UploadPart"] == 4 and "CopyObject" not in counts
    holds(bucket, m, "f.bin", f.data)


def test_attributes_that_cannot_be_stored(mount, proxy, bucket):
    """No success is told; the next publish stores content and attributes."""
    m = mount(via=proxy, env=PARTS)
    f = File(m, proxy)
    os.fchmod(f.fd, 0o640)
    rule = proxy.add_rule("answer", status=403, code="AccessDenied", op="CopyObject")
    with pytest.raises(PermissionError):
        os.fsync(f.fd)
    proxy.remove_rule(rule)
    os.fsync(f.fd)
    f.close()
    holds(bucket, m, "f.bin", f.data)
    assert int(bucket.head(m.key("f.bin"))["Metadata"]["mode"]) & 0o777 == 0o640
    m.check()


def test_metadata_of_others_are_kept(m, proxy, bucket):
    bucket.put(m.key("f.bin"), b"old", Metadata={"color": "red"}, CacheControl="no-store")
    f = File(m, proxy)
    assert bucket.get(m.key("f.bin")) == b"old"
    f.close()
    head = bucket.head(m.key("f.bin"))
    assert head["Metadata"]["color"] == "red" and head["CacheControl"] == "no-store"
    holds(bucket, m, "f.bin", f.data)


def test_the_last_writer_wins(m, proxy, bucket):
    f = File(m, proxy)
    bucket.put(m.key("f.bin"), b"theirs")
    f.close()
    holds(bucket, m, "f.bin", f.data)
    assert proxy.counts()["UploadPart"] == 4
    no_uploads(bucket)


# -- compare-and-set: the upload has the write-id and the lineage of the publish that completes it


@pytest.fixture
def cas(mount, proxy):
    return mount(variant=CAS, via=proxy, env=PARTS)


def lineage(bucket, m):
    return bucket.head(m.key("f.bin"))["Metadata"]["stateproxy-lineage"]


@pytest.mark.parametrize("theirs", [b"theirs", None], ids=["replaced", "removed"])
@pytest.mark.parametrize("read", [False, True], ids=["written", "read"])
def test_a_conflict(cas, proxy, bucket, theirs, read):
    """Somebody replaces what this process has written, or read, while the parts are on their way."""
    (cas.path / "f.bin").write_bytes(b"mine")
    if read:
        assert (cas.path / "f.bin").read_bytes() == b"mine"
    f = File(cas, proxy)
    bucket.put(cas.key("f.bin"), theirs) if theirs else bucket.delete(cas.key("f.bin"))
    with pytest.raises(FileExistsError):
        f.close()
    assert (bucket.get(cas.key("f.bin")) if theirs else bucket.exists(cas.key("f.bin"))) == (theirs or False)
    no_uploads(bucket)
    cas.check()


@pytest.mark.parametrize("flags", [os.O_EXCL, 0])
def test_a_conflict_of_a_new_file(cas, proxy, bucket, flags):
    f = File(cas, proxy, parts=2, flags=os.O_WRONLY | flags)
    bucket.put(cas.key("f.bin"), b"theirs")
    with pytest.raises(FileExistsError):
        f.close()
    assert bucket.get(cas.key("f.bin")) == b"theirs"
    no_uploads(bucket)
    cas.check()


def test_the_lineage_goes_on(cas, proxy, bucket):
    (cas.path / "f.bin").write_bytes(b"mine")
    before = lineage(bucket, cas)
    f = File(cas, proxy)
    os.fsync(f.fd)
    first = lineage(bucket, cas)
    assert first[8:] == before
    f.change(3, b"changed")
    f.close()
    assert lineage(bucket, cas)[8:] == first
    holds(bucket, cas, "f.bin", f.data)
    cas.check()


@pytest.mark.parametrize("then", [None, "replaced", "removed"])
@pytest.mark.parametrize("attributes", [False, True])
@pytest.mark.parametrize("kill", [False, True])
def test_the_answer_to_complete_is_lost(cas, proxy, bucket, kill, attributes, then):
    """It has taken effect, and somebody has replaced or removed it since, having read it or not."""
    (cas.path / "f.bin").write_bytes(b"mine")
    f = File(cas, proxy)
    if attributes:
        os.fchmod(f.fd, 0o600)
    proxy.add_rule("hold", name="complete", op="CompleteMultipartUpload", when="after", nth=1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        closing = pool.submit(os.close, f.fd)
        proxy.wait_held("complete")
        theirs = bucket.head(cas.key("f.bin"))["Metadata"]["stateproxy-lineage"]
        if then == "replaced":
            bucket.put(cas.key("f.bin"), b"theirs", Metadata={"stateproxy-lineage": "somebody" + theirs})
        elif then == "removed":
            bucket.delete(cas.key("f.bin"))
        if kill:
            cas.kill_workers()
        proxy.release("complete", "drop")
        if then == "removed":
            with pytest.raises(OSError) as e:       # it cannot be known
                closing.result(60 * SLOW)
            assert e.value.errno in (errno.EIO, errno.EEXIST)
        else:
            closing.result(60 * SLOW)
    if then is None:
        holds(bucket, cas, "f.bin", f.data)
        assert not attributes or int(bucket.head(cas.key("f.bin"))["Metadata"]["mode"]) & 0o777 == 0o600
        with open(cas.path / "f.bin", "r+b") as again:
            again.write(b"again")
    elif then == "replaced":
        assert bucket.get(cas.key("f.bin")) == b"theirs"
    no_uploads(bucket)
    cas.check()


COUNT = """
import os, sys
path, times, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for _ in range(times):
    while True:
        with open(path, "rb") as f:
            n = int(f.read(20))
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
        os.write(fd, b"%020d" % (n + 1))
        for _ in range(size >> 20):
            os.write(fd, b"%020d" % (n + 1) + bytes((1 << 20) - 20))
        try:
            os.close(fd)
            break
        except FileExistsError:
            pass
"""


@pytest.mark.limit(120)
def test_no_increment_is_lost_while_workers_are_killed(mount, proxy, bucket, seed):
    m = mount(variant=CAS, via=proxy, env={**PARTS, "STATEPROXY_BUFFER_MEMORY": "1Mi"})
    (m.path / "n").write_bytes(b"%020d" % 0)
    killer = Killer(m, 1 << 30, seed, 0.02, 0.2)
    killer.start()
    try:
        running = [subprocess.Popen([sys.executable, "-c", COUNT, m.path / "n", "6", str(2 * PART)]) for _ in range(3)]
        assert [p.wait(100) for p in running] == [0, 0, 0]
    finally:
        killer.cancelled.set()
        killer.join(30)
    assert killer.error is None and killer.kills > 3
    data = bucket.get(m.key("n"))
    assert int(data[:20]) == 18 and len(data) == 2 * PART + 20
    assert all(data[at:at + 20] == data[:20] for at in range(20, len(data), MIB)), "torn"
    m.wait_workers(2)
    no_parts_left(bucket, proxy)
    m.check()


def test_a_look_after_complete_that_fails(cas, proxy, bucket):
    """Complete was answered with 200, and it cannot be seen whether it has taken effect: what is there then is ours."""
    (cas.path / "f.bin").write_bytes(b"mine")
    f = File(cas, proxy)
    rule = proxy.add_rule("answer", status=403, code="AccessDenied", op="HeadObject", key=cas.key("f.bin"))
    with pytest.raises(PermissionError):
        os.fsync(f.fd)
    proxy.remove_rule(rule)
    f.change(5, b"more")
    f.close()
    holds(bucket, cas, "f.bin", f.data)
    no_uploads(bucket)
    cas.check()


def test_a_server_that_does_not_keep_conditions_of_complete(mount, proxy, bucket):
    """What expects a version is one PUT then; what expects none may go early."""
    proxy.add_rule("strip", op="CompleteMultipartUpload", key="*/.stateproxy-probe/*")
    m = mount(variant=CAS, via=proxy, env=PARTS, kept={"complete": 0})
    assert "complete" not in m.status()["conditions"]
    (m.path / "f.bin").write_bytes(b"mine")
    f = File(m, proxy, parts=0)
    f.close()
    holds(bucket, m, "f.bin", f.data)
    assert "CreateMultipartUpload" not in proxy.counts()


def test_fsync_and_more(m, proxy, bucket):
    f = File(m, proxy)
    os.fsync(f.fd)
    holds(bucket, m, "f.bin", f.data)
    f.change(EARLY, pattern(PART, 6))
    f.close()
    holds(bucket, m, "f.bin", f.data)
    no_uploads(bucket)


@pytest.mark.parametrize("how", ["unlink", "replace", "rename"])
def test_the_name_goes(m, proxy, bucket, how):
    f = File(m, proxy)
    if how == "unlink":
        os.unlink(m.path / "f.bin")
    elif how == "rename":
        os.rename(m.path / "f.bin", m.path / "g.bin")
    else:
        write(m.path / "other", b"other")
        os.rename(m.path / "other", m.path / "f.bin")
    f.change(3, b"more")
    assert os.pread(f.fd, 9, 0) == f.data[:9]
    f.close()
    if how == "rename":
        holds(bucket, m, "g.bin", f.data)
    elif how == "replace":
        assert bucket.get(m.key("f.bin")) == b"other"
    else:
        assert not bucket.exists(m.key("f.bin"))
    no_uploads(bucket)
    m.check()


WRITER = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for i in range(25):
    os.write(fd, bytes([i]) * (1 << 20))
print("written", flush=True)
time.sleep(600)
"""


def test_a_killed_writer_publishes_nothing(m, proxy, bucket):
    p = subprocess.Popen([sys.executable, "-c", WRITER, m.path / "f.bin"], stdout=subprocess.PIPE)
    try:
        assert p.stdout.readline() == b"written\n"
        util.wait_until(lambda: proxy.counts().get("UploadPart", 0) >= 4, 60 * SLOW,
                        what="parts to be sent early")
    finally:
        p.kill()
        p.communicate()
    no_uploads(bucket)
    util.wait_until(lambda: not (m.path / "f.bin").exists(), what="the file to be gone")
    assert not bucket.exists(m.key("f.bin"))
    m.check()


# -- faults


def nothing_is_told(m):
    """Of what no program hears of."""
    assert not [x for x in m.log().splitlines() if " warn " in x or " err " in x]


@pytest.mark.parametrize("op", ["CreateMultipartUpload", "UploadPart"])
def test_an_early_failure_is_healed_by_the_close(m, proxy, bucket, op):
    rule = proxy.add_rule("answer", status=403, code="AccessDenied", op=op)
    f = File(m, proxy, parts=0)
    util.wait_until(lambda: proxy.counts().get(op, 0), what="the attempt")
    f.change(EARLY, pattern(2 * PART, 2))
    proxy.remove_rule(rule)
    f.close()
    holds(bucket, m, "f.bin", f.data)
    no_uploads(bucket)
    nothing_is_told(m)
    m.check()


def test_an_early_failure_that_is_told_during_the_close(m, proxy, bucket):
    """The close has begun when S3 refuses what was sent before it."""
    rule = proxy.add_rule("answer", status=403, code="AccessDenied", op="UploadPart")
    proxy.hold("early", op="UploadPart")
    f = File(m, proxy, parts=0)
    proxy.wait_held("early")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        closed = pool.submit(f.close)
        util.wait_until(lambda: any(r["op"] == "FLUSH" for r in m.inflight()), what="the close")
        proxy.remove_rule(rule)
        proxy.release("early")
        closed.result()
    holds(bucket, m, "f.bin", f.data)
    no_uploads(bucket)
    nothing_is_told(m)
    m.check()


@pytest.mark.parametrize("op", ["CreateMultipartUpload", "UploadPart"])
def test_a_failure_that_stays_is_told_at_the_close(m, proxy, bucket, op):
    proxy.add_rule("answer", status=403, code="AccessDenied", op=op)
    f = File(m, proxy, parts=0)
    with pytest.raises(PermissionError):
        f.close()
    assert not bucket.exists(m.key("f.bin"))
    no_uploads(bucket)


def test_a_server_without_multipart_uploads(m, proxy, bucket):
    proxy.add_rule("answer", status=501, code="NotImplemented", op="CreateMultipartUpload")
    f = File(m, proxy, parts=0)
    f.close()
    holds(bucket, m, "f.bin", f.data)


def test_an_upload_that_vanishes(m, proxy, bucket):
    f = File(m, proxy)
    for key, upload in bucket.uploads():
        bucket.client.abort_multipart_upload(Bucket=bucket.bucket, Key=key, UploadId=upload)
    f.close()
    holds(bucket, m, "f.bin", f.data)
    no_uploads(bucket)


# -- before S3 has answered that there is an upload


@pytest.fixture
def unanswered(proxy):
    """CreateMultipartUpload is on its way as long as the test runs, or until it is released."""
    def release():
        proxy.release("create")
    proxy.hold("create", op="CreateMultipartUpload")
    release.wait = lambda: proxy.wait_held("create")
    yield release
    release()


def in_time(fn, *args):
    """Its result, while CreateMultipartUpload is unanswered."""
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        return pool.submit(fn, *args).result(20 * SLOW)
    finally:
        pool.shutdown(wait=False)


def some_file(m, proxy, *args, **kwargs):
    return in_time(lambda: File(m, proxy, *args, parts=0, **kwargs))


@pytest.mark.parametrize("kill", [False, True])
def test_writing_goes_on(m, proxy, bucket, unanswered, kill):
    f = some_file(m, proxy, size=100 * MIB)
    unanswered.wait()
    f.change(17, b"changed")
    f.change(PART - 3, b"over the edge")
    assert os.pread(f.fd, 100, 0) == f.data[:100]
    if kill:
        m.kill_workers()
        in_time(f.change, 100 * MIB, b"another one opens it")
    assert not [x for x in proxy.log(op="UploadPart")]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        closing = pool.submit(f.close)
        util.wait_until(lambda: any(r["op"] == "FLUSH" for r in m.inflight()), what="the close")
        unanswered()
        closing.result(60 * SLOW)
    holds(bucket, m, "f.bin", f.data)
    assert proxy.counts()["UploadPart"] == 20 + kill and proxy.counts()["CreateMultipartUpload"] == 1 + kill
    kill or no_uploads(bucket)
    no_parts_left(bucket, proxy)
    m.check()


def test_parts_go_as_soon_as_it_is_answered(m, proxy, bucket, unanswered):
    f = some_file(m, proxy)
    unanswered.wait()
    unanswered()
    util.wait_until(lambda: proxy.counts().get("UploadPart") == 4, 60 * SLOW, what="parts to be sent early")
    f.close()
    holds(bucket, m, "f.bin", f.data)
    assert proxy.counts()["UploadPart"] == 4


@pytest.mark.parametrize("size", [0, 17, THRESHOLD, 3 * PART + 1])
def test_cut_meanwhile(m, proxy, bucket, unanswered, size):
    f = some_file(m, proxy)
    unanswered.wait()
    in_time(os.ftruncate, f.fd, size)
    unanswered()
    f.close()
    holds(bucket, m, "f.bin", f.data[:size])
    no_uploads(bucket)
    m.check()


@pytest.mark.parametrize("how", ["unlink", "replace"])
def test_the_name_goes_meanwhile(m, proxy, bucket, unanswered, how):
    f = some_file(m, proxy)
    unanswered.wait()
    if how == "unlink":
        in_time(os.unlink, m.path / "f.bin")
    else:
        write(m.path / "other", b"other")
        in_time(os.rename, m.path / "other", m.path / "f.bin")
    f.change(3, b"more")
    unanswered()
    no_uploads(bucket)
    assert os.pread(f.fd, 9, 0) == f.data[:9]
    f.close()
    assert how == "unlink" or bucket.get(m.key("f.bin")) == b"other"
    assert how == "replace" or not bucket.exists(m.key("f.bin"))
    assert not [x for x in proxy.log(op="UploadPart")]
    m.check()


def test_a_refusal_after_more_was_written(m, proxy, bucket, unanswered):
    rule = proxy.add_rule("answer", status=403, code="AccessDenied", op="CreateMultipartUpload")
    f = some_file(m, proxy)
    unanswered.wait()
    proxy.remove_rule(rule)
    unanswered()
    f.close()
    holds(bucket, m, "f.bin", f.data)
    no_uploads(bucket)
    nothing_is_told(m)
    m.check()


def test_a_stream_waits_with_a_few_parts(mount, proxy, bucket, unanswered):
    m = mount(variant=PASS, via=proxy, env=PARTS)
    data, written = pattern(60 * MIB, 4), []
    fd = os.open(m.path / "f.bin", os.O_WRONLY | os.O_CREAT)

    def run():
        for at in range(0, len(data), MIB):
            written.append(os.write(fd, data[at:at + MIB]))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        writing = pool.submit(run)
        try:
            util.wait_until(lambda: any(r["op"] == "WRITE" and r["age_ms"] > 500 for r in m.inflight()), 20 * SLOW,
                            what="it to wait")
            least = 1 if MEMORY else 4          # where memory is short, what that holds
            assert least * PART <= sum(written) <= 5 * PART + MIB, \
                "what upload.concurrency sends, and a part being filled"
        finally:
            unanswered()
        writing.result(60 * SLOW)
    os.close(fd)
    holds(bucket, m, "f.bin", data)
    no_uploads(bucket)
    m.check()


@pytest.mark.parametrize("before", [b"before", None], ids=["there before", "new"])
def test_others_read_it_meanwhile(m, proxy, bucket, unanswered, before):
    """What is there until the close (last write wins: what is written) can be opened and read."""
    if before:
        bucket.put(m.key("f.bin"), before * MIB)
    f = some_file(m, proxy, size=THRESHOLD)
    unanswered.wait()
    read = in_time(lambda: subprocess.run(["head", "-c", "20", m.path / "f.bin"], capture_output=True))
    if m.variant == LWW:
        assert read.stdout == f.data[:20]
    else:
        assert read.stdout == ((before or b"") * 4)[:20] and (read.returncode == 0) == bool(before)
    unanswered()
    f.close()
    holds(bucket, m, "f.bin", f.data)


OTHER = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
os.write(fd, b"theirs")
print("written", flush=True)
sys.stdin.readline()
os.close(fd)
"""


def test_others_empty_it_meanwhile(m, proxy, bucket, unanswered):
    """With last write wins it is one file: the upload that was on its way is of no use."""
    bucket.put(m.key("f.bin"), b"before")
    assert (m.path / "f.bin").read_bytes() == b"before"
    f = some_file(m, proxy, size=THRESHOLD)
    unanswered.wait()
    p = subprocess.Popen([sys.executable, "-c", OTHER, m.path / "f.bin"], text=True, stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)
    try:
        assert in_time(p.stdout.readline) == "written\n"
        unanswered()
        p.communicate("go on\n", timeout=20 * SLOW)
        assert p.returncode == 0
    finally:
        p.kill()
        p.communicate()
    assert bucket.get(m.key("f.bin")) == b"theirs"
    if m.variant == LWW:
        f.close()
    else:
        with pytest.raises(FileExistsError):
            f.close()
    assert bucket.get(m.key("f.bin")) == b"theirs"
    no_uploads(bucket)
    m.check()


def test_attributes_meanwhile(m, proxy, bucket, unanswered):
    f = some_file(m, proxy, size=THRESHOLD)
    unanswered.wait()
    in_time(os.fchmod, f.fd, 0o640)
    in_time(os.setxattr, f.fd, "user.a", b"one")
    unanswered()
    f.close()
    holds(bucket, m, "f.bin", f.data)
    assert int(bucket.head(m.key("f.bin"))["Metadata"]["mode"]) & 0o777 == 0o640
    assert os.getxattr(m.path / "f.bin", "user.a") == b"one"
    assert "xattr" in bucket.head(m.key("f.bin"))["Metadata"]
    no_uploads(bucket)
    m.check()


MOVER = """
import os, subprocess, sys
old, new, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
fd = os.open(old, os.O_WRONLY | os.O_TRUNC)
for i in range(size >> 20):
    os.write(fd, bytes([i]) * (1 << 20))
print("written", flush=True)
sys.stdin.readline()
subprocess.run(["mv", old, new], check=True)
print("moved", flush=True)
sys.stdin.readline()
os.write(fd, b"the end")
os.close(fd)
print("closed", flush=True)
"""


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("late", [False, True], ids=["answered before the close", "during the close"])
def test_it_is_renamed_meanwhile(cas, proxy, bucket, unanswered, late, kill):
    """By a child of its writer: what is written belongs to the new name, and so does the upload."""
    old, new = cas.path / "f.bin", cas.path / "g.bin"
    bucket.put(cas.key("f.bin"), b"before" * MIB)
    p = subprocess.Popen([sys.executable, "-c", MOVER, old, new, str(THRESHOLD)], text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell():
        print("go on", file=p.stdin, flush=True)

    def hear():
        return in_time(p.stdout.readline)
    try:
        assert hear() == "written\n"
        unanswered.wait()
        tell()
        assert hear() == "moved\n"
        assert bucket.get(cas.key("g.bin")) == b"before" * MIB and not bucket.exists(cas.key("f.bin"))
        if kill:
            cas.kill_workers()
        if late:
            tell()
            util.wait_until(lambda: any(r["op"] == "FLUSH" for r in cas.inflight()), what="the close")
        unanswered()
        late or tell()
        assert hear() == "closed\n"
        assert p.wait(20 * SLOW) == 0
    finally:
        p.kill()
        p.communicate()
    holds(bucket, cas, "g.bin", b"".join(bytes([i]) * MIB for i in range(THRESHOLD // MIB)) + b"the end")
    assert not bucket.exists(cas.key("f.bin")) and not old.exists()
    by_key = proxy.counts_by_key()
    assert by_key["CompleteMultipartUpload", cas.key("g.bin")] == 1
    assert not by_key["UploadPart", cas.key("f.bin")]
    kill or no_uploads(bucket)
    assert "conflict" not in cas.log()
    cas.check()


# -- at random


def play(m, bucket, name, seed, rounds):
    """Writes in order, with changes, cuts, holes and publications in between, beside a copy in memory; what S3
    has after each publication is the copy."""
    rng = random.Random(seed)
    path = m.path / name
    for number in range(rounds):
        data = bytearray()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            for _ in range(rng.randrange(20, 60)):
                what = rng.random()
                if what < 0.75 or not data:
                    piece = rng.randbytes(rng.randrange(1, MIB))
                    os.pwrite(fd, piece, len(data))
                    data += piece
                elif what < 0.92:
                    at = rng.randrange(len(data))
                    piece = rng.randbytes(rng.choice([1, 4096, 70000]))
                    os.pwrite(fd, piece, at)
                    data[at:at + len(piece)] = piece
                elif what < 0.95:
                    size = rng.randrange(len(data) * 9 // 8)
                    os.ftruncate(fd, size)
                    del data[size:]
                    data += bytes(size - len(data))
                elif what < 0.97:
                    at = len(data) + rng.randrange(100000)
                    os.pwrite(fd, b"x", at)
                    data += bytes(at - len(data)) + b"x"
                elif what < 0.98:
                    os.utime(fd, (5, rng.randrange(10 ** 9)))
                elif what < 0.99:
                    os.fsync(fd)
                    assert bucket.get(m.key(name)) == data, (seed, number)
                else:
                    at = rng.randrange(len(data))
                    assert os.pread(fd, 100000, at) == data[at:at + 100000], (seed, number)
        finally:
            os.close(fd)
        assert bucket.get(m.key(name)) == data, (seed, number)


@pytest.mark.parametrize("seed", range(3))
def test_random_changes(m, bucket, seed):
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(play, m, bucket, f"f{i}.bin", 10 * seed + i, 4)
                     for i in range(3)]:
            done.result()
    no_uploads(bucket)
    m.check()


def test_random_changes_while_workers_die(m, proxy, bucket):
    proxy.add_rule("delay", ms=20, op="UploadPart")
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        done = [pool.submit(play, m, bucket, f"f{i}.bin", 100 + i, 6) for i in range(3)]
        killer = Killer(m, 40, 1, 0.02, 0.3)
        killer.start()
        killer.finish(120 * SLOW)
        for d in done:
            d.result()
    no_parts_left(bucket, proxy)
    m.check()
