"""Large files, uploaded in parts: sizes around each boundary, conditions at Complete, faults of each
request, workers killed in between. Parts are 5 MiB here, S3's least."""

import concurrent.futures
import hashlib
import os
import re
import subprocess
import sys

import pytest

from harness import SLOW, util
from harness.killer import Killer
from harness.pattern import pattern

MIB = 1 << 20
PART = 5 * MIB
THRESHOLD = 2 * PART
PARTS = {"STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "10Mi", "STATEPROXY_UPLOAD_PART_SIZE": "5Mi",
         "STATEPROXY_BUFFER_MEMORY": "1Mi"}
BUFFERED = ["s3-buffered-lww", "s3-buffered-cas"]


@pytest.fixture(params=BUFFERED)
def m(request, mount, proxy):
    return mount(variant=request.param, via=proxy, env=PARTS)


def write(path, data, flags=os.O_CREAT | os.O_TRUNC):
    fd = os.open(path, os.O_WRONLY | flags)
    try:
        for at in range(0, len(data), MIB):
            os.write(fd, data[at:at + MIB])
    finally:
        os.close(fd)


def holds(bucket, m, name, data):
    assert hashlib.sha256(bucket.get(m.key(name))).hexdigest() == hashlib.sha256(data).hexdigest()


def no_uploads(bucket):
    util.wait_until(lambda: not bucket.uploads(), what="uploads to be ended")


def parts_of(bucket, key, upload):
    try:
        found = bucket.client.list_parts(Bucket=bucket.bucket, Key=key, UploadId=upload)
    except bucket.client.exceptions.NoSuchUpload:
        return []
    return found.get("Parts", [])


def ended_uploads(proxy):
    """The ids of those that were to be completed or aborted."""
    return {x.query.split("uploadId=")[1].split("&")[0] for x in proxy.log()
            if x.op in ("CompleteMultipartUpload", "AbortMultipartUpload")}


def no_parts_left(bucket, proxy):
    """What is left after kills: a worker that is killed between the creation of an upload and the
    answer leaves an empty one. And where a killed worker's part reaches the server after Complete,
    versitygw makes a folder for it anew: an upload that was once to be completed may be there."""
    ended = ended_uploads(proxy)
    util.wait_until(lambda: not any(parts_of(bucket, *u) for u in bucket.uploads()
                                    if u[1] not in ended), what="uploads to be ended")


def uploads_of(proxy):
    return {op: n for op, n in proxy.counts().items() if "Upload" in op or op == "PutObject"}


# -- sizes


@pytest.mark.parametrize("size, parts", [
    (THRESHOLD - 1, 0), (THRESHOLD, 2), (THRESHOLD + 1, 3), (3 * PART - 1, 3), (3 * PART, 3),
    (3 * PART + 1, 4)])
def test_sizes_around_each_boundary(m, proxy, bucket, size, parts):
    data = pattern(size, 1)
    proxy.reset_counts()
    write(m.path / "f.bin", data)
    counts = proxy.counts()
    assert counts.get("UploadPart", 0) == parts
    assert counts.get("CompleteMultipartUpload", 0) == (1 if parts else 0)
    assert counts.get("PutObject", 0) == (0 if parts else 1)
    holds(bucket, m, "f.bin", data)
    assert (m.path / "f.bin").read_bytes() == data
    assert not bucket.uploads()
    m.check()


def test_parts_go_side_by_side(m, proxy):
    proxy.hold("h", op="UploadPart")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write, m.path / "f.bin", pattern(6 * PART))
        proxy.wait_held("h", 4)
        proxy.release("h")
        writing.result(60 * SLOW)
    log = proxy.log(op="UploadPart")
    edges = sorted([(x.start, 1) for x in log] + [(x.end, -1) for x in log])
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    assert most == 4, "upload.concurrency at the same time"


def test_overwriting_changing_and_appending(m, bucket):
    data = bytearray(pattern(4 * PART, 2))
    write(m.path / "f.bin", data)
    with open(m.path / "f.bin", "r+b") as f:
        f.seek(PART - 3)
        f.write(b"changed")
        data[PART - 3:PART + 4] = b"changed"
        f.flush()
        os.fsync(f.fileno())
        f.seek(0, os.SEEK_END)
        f.write(b"tail")
        data += b"tail"
    holds(bucket, m, "f.bin", data)
    write(m.path / "f.bin", data := pattern(3 * PART, 9))
    holds(bucket, m, "f.bin", data)
    os.truncate(m.path / "f.bin", 17)
    holds(bucket, m, "f.bin", data[:17])
    m.check()


def test_metadata_and_type_go_with_it(m, bucket):
    bucket.put(m.key("f.bin"), b"x", Metadata={"color": "red"}, ContentType="model/gltf")
    with open(m.path / "f.bin", "wb") as f:
        f.write(pattern(THRESHOLD))
        os.fchmod(f.fileno(), 0o600)
    head = bucket.head(m.key("f.bin"))
    assert head["Metadata"]["color"] == "red" and head["ContentType"] == "model/gltf"
    assert (m.path / "f.bin").stat().st_mode & 0o777 == 0o600
    assert int(head["Metadata"]["mode"]) & 0o777 == 0o600


def test_renaming_and_reading_again(m, bucket):
    data = pattern(3 * PART, 3)
    write(m.path / "a.bin", data)
    os.rename(m.path / "a.bin", m.path / "b.bin")
    holds(bucket, m, "b.bin", data)
    assert (m.path / "b.bin").read_bytes() == data
    assert not (m.path / "a.bin").exists()


def test_many_at_once(m, bucket):
    def one(i):
        write(m.path / f"f{i}.bin", pattern(THRESHOLD + i, i))
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(one, range(6)))
    for i in range(6):
        holds(bucket, m, f"f{i}.bin", pattern(THRESHOLD + i, i))
    assert not bucket.uploads()
    m.check()


# -- the condition at Complete


def test_a_conflict_at_complete(mount, proxy, bucket):
    """Compare-and-set: EEXIST at close, the other's content stays, the upload is aborted."""
    m = mount(variant="s3-buffered-cas", via=proxy, env=PARTS)
    bucket.put(m.key("f.bin"), b"first")
    with open(m.path / "f.bin", "r+b") as f:
        f.read()
        f.write(pattern(THRESHOLD))
        f.flush()
        bucket.put(m.key("f.bin"), b"theirs")
        with pytest.raises(FileExistsError):
            os.close(os.dup(f.fileno()))
        with pytest.raises(FileExistsError):
            os.fsync(f.fileno())
        with pytest.raises(FileExistsError):
            f.close()
    assert bucket.get(m.key("f.bin")) == b"theirs"
    no_uploads(bucket)
    assert proxy.counts()["AbortMultipartUpload"] >= 1


def test_a_new_file_that_somebody_else_made_meanwhile(mount, proxy, bucket):
    m = mount(variant="s3-buffered-cas", via=proxy, env=PARTS)
    f = open(m.path / "f.bin", "xb")
    f.write(pattern(THRESHOLD))
    bucket.put(m.key("f.bin"), b"theirs")
    with pytest.raises(FileExistsError):
        f.close()
    assert bucket.get(m.key("f.bin")) == b"theirs"
    no_uploads(bucket)


def test_a_server_that_ignores_the_condition_of_complete(mount, proxy, bucket):
    """Compare-and-set then does with one PUT, whose condition the server keeps."""
    proxy.add_rule("strip", op="CompleteMultipartUpload")
    m = mount(variant="s3-buffered-cas", via=proxy, env=PARTS)
    bucket.put(m.key("f.bin"), b"first")
    f = open(m.path / "f.bin", "r+b", buffering=0)
    f.read()
    f.write(pattern(48 * MIB))      # more than sockets hold: the refusal is not lost with them
    bucket.put(m.key("f.bin"), b"theirs")
    proxy.reset_counts()
    with pytest.raises(FileExistsError):
        f.close()
    assert bucket.get(m.key("f.bin")) == b"theirs"
    # (Again if the server, which refuses a body early, has broken the connection over it.)
    assert proxy.counts()["PutObject"] >= 1 and "CreateMultipartUpload" not in proxy.counts()
    write(m.path / "g.bin", pattern(3 * PART))
    holds(bucket, m, "g.bin", pattern(3 * PART))


def test_an_upload_that_broke_half_way_is_not_in_doubt(mount, proxy, bucket):
    """The server never had all of it: the refusal that follows is a conflict, not "outcome
    unknown"."""
    m = mount(variant="s3-buffered-cas", via=proxy,
              env={"STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "64Mi"})
    bucket.put(m.key("f.bin"), b"first")
    f = open(m.path / "f.bin", "r+b", buffering=0)
    f.read()
    f.write(pattern(48 * MIB))      # half of it is more than sockets hold
    proxy.hold("h", op="PutObject", when="mid")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        close = pool.submit(f.close)
        proxy.wait_held("h")
        bucket.put(m.key("f.bin"), b"theirs")
        proxy.release("h", verdict="reset")
        with pytest.raises(FileExistsError):
            close.result(60 * SLOW)
    assert bucket.get(m.key("f.bin")) == b"theirs"
    assert "outcome unknown" not in m.log() and "conflict key=" in m.log()


def test_the_last_writer_wins(mount, proxy, bucket):
    """The refused Complete is sent again under the condition that holds, without the parts."""
    m = mount(via=proxy, env=PARTS)
    write(m.path / "f.bin", b"first")
    with open(m.path / "f.bin", "r+b") as f:
        f.write(pattern(THRESHOLD))
        f.flush()
        bucket.put(m.key("f.bin"), b"theirs")
        proxy.reset_counts()
    holds(bucket, m, "f.bin", pattern(THRESHOLD))
    counts = uploads_of(proxy)
    assert counts["CreateMultipartUpload"] == 1 and counts["UploadPart"] == 2
    assert counts["CompleteMultipartUpload"] == 2
    assert not bucket.uploads()


def test_an_own_write_is_no_conflict_afterwards(mount, bucket):
    m = mount(variant="s3-buffered-cas", env=PARTS)
    data = bytearray()
    for i in range(3):
        with open(m.path / "f.bin", "ab") as f:
            f.write(pattern(THRESHOLD, i))
        data += pattern(THRESHOLD, i)
    holds(bucket, m, "f.bin", data)
    os.unlink(m.path / "f.bin")
    write(m.path / "f.bin", pattern(THRESHOLD, 5))
    holds(bucket, m, "f.bin", pattern(THRESHOLD, 5))
    m.check()


# -- faults


OPS = ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]
FAULTS = [
    ("500 twice", "answer", {"status": 500, "times": 2}),
    ("500 after the server acted", "answer", {"status": 500, "acted": True, "times": 1}),
    ("503 early", "answer", {"status": 503, "early": True, "times": 1}),
    ("reset before", "reset", {"times": 1}),
    ("reset after", "reset", {"when": "after", "times": 1}),
    ("answer lost", "drop", {"times": 1}),
    ("answer cut", "cut_response", {"times": 1}),
]


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("action, args", [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_each_request_survives(m, proxy, bucket, op, action, args):
    bucket.put(m.key("f.bin"), b"old")
    rule = {"op": op, **args}
    if op == "UploadPart":
        rule["skip"] = 1
    proxy.add_rule(action, **rule)
    assert (m.path / "f.bin").read_bytes() == b"old"
    write(m.path / "f.bin", pattern(3 * PART, 1))
    holds(bucket, m, "f.bin", pattern(3 * PART, 1))
    assert proxy.state().rules[0]["applied"] == args["times"]
    write(m.path / "f.bin", pattern(THRESHOLD, 2))
    holds(bucket, m, "f.bin", pattern(THRESHOLD, 2))
    m.check()


def test_an_error_document_in_a_200_is_no_success(m, proxy, bucket):
    proxy.add_rule("answer", status=200, op="CompleteMultipartUpload", times=1,
                   body="<?xml version='1.0'?><Error><Code>InternalError</Code>"
                        "<Message>no</Message></Error>")
    write(m.path / "f.bin", pattern(THRESHOLD))
    holds(bucket, m, "f.bin", pattern(THRESHOLD))


@pytest.mark.parametrize("op", OPS)
def test_a_request_that_is_forbidden(m, proxy, bucket, op):
    bucket.put(m.key("f.bin"), b"old")
    proxy.add_rule("answer", status=403, code="AccessDenied", op=op)
    with pytest.raises(PermissionError):
        write(m.path / "f.bin", pattern(THRESHOLD))
    assert bucket.get(m.key("f.bin")) == b"old"
    assert (m.path / "f.bin").read_bytes() == b"old"
    no_uploads(bucket)
    assert "f.bin" in m.log()


def test_abort_may_be_forbidden(m, proxy, bucket):
    proxy.add_rule("answer", status=403, code="AccessDenied", op="AbortMultipartUpload")
    proxy.add_rule("answer", status=403, code="AccessDenied", op="CompleteMultipartUpload")
    for i in range(2):
        with pytest.raises(PermissionError):
            write(m.path / f"f{i}.bin", pattern(THRESHOLD))
    util.wait_until(lambda: re.search(r'"?uploads_left"?\D+2\b', m.ctl("status", "--json").out),
                    what="both to be counted")
    assert m.log().count("upload not aborted") == 1


def test_an_upload_that_vanishes(m, proxy, bucket):
    """A lifecycle rule, or an operator, has aborted it before Complete."""
    proxy.hold("complete", op="CompleteMultipartUpload", times=1)
    done = []
    pool = concurrent.futures.ThreadPoolExecutor(1)
    writing = pool.submit(write, m.path / "f.bin", pattern(THRESHOLD))
    proxy.wait_held("complete")
    for key, upload in bucket.uploads():
        bucket.client.abort_multipart_upload(Bucket=bucket.bucket, Key=key, UploadId=upload)
        done.append(key)
    proxy.release("complete")
    writing.result(60 * SLOW)
    assert done == [m.key("f.bin")]
    holds(bucket, m, "f.bin", pattern(THRESHOLD))
    no_uploads(bucket)


def test_a_server_without_multipart_uploads(m, proxy, bucket):
    proxy.add_rule("answer", status=501, code="NotImplemented", op="CreateMultipartUpload")
    write(m.path / "f.bin", pattern(THRESHOLD))
    holds(bucket, m, "f.bin", pattern(THRESHOLD))


# -- workers are killed


def test_a_worker_dies_while_it_sends_parts(m, proxy, bucket):
    """Its replacement goes on with the parts that S3 has; last write wins, where the metadata stay
    the same."""
    proxy.add_rule("delay", ms=300, op="UploadPart")
    pool = concurrent.futures.ThreadPoolExecutor(1)
    writing = pool.submit(write, m.path / "f.bin", pattern(8 * PART, 4))
    proxy.wait_count(5, op="UploadPart")
    m.kill_workers()
    writing.result(120 * SLOW)
    holds(bucket, m, "f.bin", pattern(8 * PART, 4))
    if "lww" in m.env["STATE_VARIANT"]:
        assert proxy.counts()["CreateMultipartUpload"] == 1
        assert proxy.counts()["UploadPart"] <= 8 + 4
    no_uploads(bucket)
    m.check()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_dies_at_complete(m, proxy, bucket, when):
    write(m.path / "f.bin", b"old")
    proxy.hold("complete", op="CompleteMultipartUpload", when=when, times=1)
    pool = concurrent.futures.ThreadPoolExecutor(1)
    writing = pool.submit(write, m.path / "f.bin", pattern(THRESHOLD, 4))
    proxy.wait_held("complete")
    m.kill_workers()
    proxy.release("complete")
    writing.result(120 * SLOW)
    holds(bucket, m, "f.bin", pattern(THRESHOLD, 4))
    no_uploads(bucket)
    m.check()


@pytest.mark.slow
@pytest.mark.limit(180)
def test_a_storm_of_kills(m, proxy, bucket, seed):
    def one(i):
        for round_ in range(3):
            write(m.path / f"f{i}.bin", pattern(THRESHOLD + i, 10 * i + round_))
    killer = Killer(m, 40, seed)
    killer.start()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(one, range(3)))
    killer.finish(60 * SLOW)
    for i in range(3):
        holds(bucket, m, f"f{i}.bin", pattern(THRESHOLD + i, 10 * i + 2))
    no_parts_left(bucket, proxy)
    m.check()


COMPLETED = """<?xml version="1.0" encoding="UTF-8"?>
<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>"""


def say_completed(proxy, data, **match):
    """The server's 200 to Complete, which it does not act on."""
    sums = [hashlib.md5(data[at:at + PART]).digest() for at in range(0, len(data), PART)]
    etag = f'"{hashlib.md5(b"".join(sums)).hexdigest()}-{len(sums)}"'
    proxy.add_rule("answer", status=200, body=COMPLETED.format(etag), op="CompleteMultipartUpload",
                   **match)


def test_a_200_to_a_second_complete_is_no_proof(m, proxy, bucket):
    """The first one's answer was lost; it had no effect, and the second has none either."""
    data = pattern(THRESHOLD, 6)
    write(m.path / "f.bin", b"old")
    proxy.reset_counts()
    proxy.add_rule("reset", op="CompleteMultipartUpload", nth=1)
    say_completed(proxy, data, times=1)
    write(m.path / "f.bin", data)
    holds(bucket, m, "f.bin", data)
    assert (m.path / "f.bin").read_bytes() == data
    assert proxy.counts()["CompleteMultipartUpload"] == 3
    no_uploads(bucket)
    m.check()


def test_a_second_complete_while_the_first_is_at_work(m, proxy, bucket):
    """versitygw says 200 to it at once. The close waits until the object is there."""
    data = pattern(THRESHOLD, 6)
    write(m.path / "f.bin", b"old")
    proxy.reset_counts()                # the probe completes uploads too
    proxy.hold("first", op="CompleteMultipartUpload", nth=1, detach=True)
    say_completed(proxy, data, skip=1)
    pool = concurrent.futures.ThreadPoolExecutor(1)
    writing = pool.submit(write, m.path / "f.bin", data)
    proxy.wait_held("first")
    m.kill_workers()
    proxy.wait_count(4, op="CompleteMultipartUpload")
    assert not writing.done() and bucket.get(m.key("f.bin")) == b"old"
    proxy.release("first")
    writing.result(60 * SLOW)
    holds(bucket, m, "f.bin", data)
    assert (m.path / "f.bin").read_bytes() == data
    m.check()


def test_a_200_to_a_second_complete_after_another_writer(m, proxy, bucket):
    data = pattern(THRESHOLD, 6)
    write(m.path / "f.bin", b"old")
    proxy.hold("first", op="CompleteMultipartUpload", nth=1)
    say_completed(proxy, data, nth=2)
    pool = concurrent.futures.ThreadPoolExecutor(1)
    writing = pool.submit(write, m.path / "f.bin", data)
    proxy.wait_held("first")
    bucket.put(m.key("f.bin"), b"another's")
    proxy.release("first", "reset")
    if "variant=s3-buffered-cas" in m.log():    # ours may have been there for a moment
        with pytest.raises(OSError, match=r"\[Errno 5\]"):
            writing.result(60 * SLOW)
        assert bucket.get(m.key("f.bin")) == b"another's"
    else:
        writing.result(60 * SLOW)
        holds(bucket, m, "f.bin", data)
    no_uploads(bucket)
    m.check()


@pytest.mark.parametrize("lost", ["reset", "drop"])
def test_a_copy_whose_second_complete_says_200(small, proxy, bucket, lost):
    """A rename must not delete the source before the target is seen. (drop: the first had effect.)"""
    data = pattern(2 * PART + 3, 3)
    put_large(bucket, small, "a.bin", len(data))
    proxy.add_rule(lost, op="CompleteMultipartUpload", nth=1)
    say_completed(proxy, data, times=1)
    os.rename(small.path / "a.bin", small.path / "b.bin")
    holds(bucket, small, "b.bin", data)
    assert not bucket.exists(small.key("a.bin"))
    assert proxy.counts()["CompleteMultipartUpload"] == (3 if lost == "reset" else 2)
    small.check()


def test_a_copy_that_never_appears(mount, proxy, bucket):
    """200 to each Complete of an upload, and no object: it is given up and aborted, and another made."""
    m = mount(via=proxy, env={**SMALL, "STATEPROXY_S3_DEADLINE": f"{int(3000 * SLOW)}ms"})
    data = pattern(2 * PART + 3, 3)
    put_large(bucket, m, "a.bin", len(data))
    proxy.hold("first", op="CompleteMultipartUpload", nth=1)
    pool = concurrent.futures.ThreadPoolExecutor(1)
    renaming = pool.submit(os.rename, m.path / "a.bin", m.path / "b.bin")
    proxy.wait_held("first")
    (_, upload), = bucket.uploads()
    say_completed(proxy, data, query=f"*{upload}*")
    proxy.release("first", "reset")
    renaming.result(60 * SLOW)
    holds(bucket, m, "b.bin", data)
    assert not bucket.exists(m.key("a.bin"))
    assert proxy.counts()["CreateMultipartUpload"] == 2
    no_uploads(bucket)
    m.check()


def test_a_killed_writer_leaves_no_upload(m, bucket):
    write(m.path / "f.bin", b"old")
    program = ("import os,sys,time\nfd=os.open(sys.argv[1],os.O_WRONLY)\n"
               "os.write(fd,b'x'*11000000)\nos.kill(os.getpid(),9)\n")
    subprocess.run([sys.executable, "-c", program, str(m.path / "f.bin")], check=False)
    assert bucket.get(m.key("f.bin")) == b"old"
    no_uploads(bucket)


# -- copies in parts


SMALL = {**PARTS, "STATEPROXY_UPLOAD_COPY_LIMIT": "5Mi"}


@pytest.fixture
def small(mount, proxy):
    return mount(via=proxy, env=SMALL)


def put_large(bucket, m, name, size):
    bucket.put(m.key(name), pattern(size, 3), ContentType="model/gltf",
               Metadata={"color": "red", "mode": "33152"})


@pytest.mark.parametrize("size, parts", [(PART, 0), (PART + 1, 2), (3 * PART, 3)])
def test_renaming_a_large_file(small, proxy, bucket, size, parts):
    put_large(bucket, small, "a.bin", size)
    os.rename(small.path / "a.bin", small.path / "b.bin")
    holds(bucket, small, "b.bin", pattern(size, 3))
    assert not bucket.exists(small.key("a.bin"))
    assert proxy.counts().get("UploadPartCopy", 0) == parts
    assert proxy.counts().get("CopyObject", 0) == (0 if parts else 1)
    head = bucket.head(small.key("b.bin"))
    assert head["ContentType"] == "model/gltf"
    kept = {k: v for k, v in head["Metadata"].items() if k != "ctime"}     # which a rename sets
    assert kept == {"color": "red", "mode": "33152"}
    assert (small.path / "b.bin").read_bytes() == pattern(size, 3)
    assert not bucket.uploads()
    small.check()


def test_renaming_a_directory_with_large_files(small, bucket):
    """More of them than are moved at the same time."""
    for i in range(20):
        put_large(bucket, small, f"d/{i}.bin", PART + 1 + i)
    bucket.put(small.key("d/small"), b"s")
    os.rename(small.path / "d", small.path / "e")
    for i in range(20):
        holds(bucket, small, f"e/{i}.bin", pattern(PART + 1 + i, 3))
    assert bucket.get(small.key("e/small")) == b"s"
    assert not any(k.startswith(small.key("d/")) for k in bucket.list(small.key("")))
    assert not bucket.uploads()


def test_attributes_of_a_large_file(small, bucket):
    put_large(bucket, small, "a.bin", 2 * PART)
    os.chmod(small.path / "a.bin", 0o640)
    os.setxattr(small.path / "a.bin", "user.x", b"1")
    head = bucket.head(small.key("a.bin"))
    assert head["Metadata"]["color"] == "red" and head["ContentType"] == "model/gltf"
    assert int(head["Metadata"]["mode"]) & 0o777 == 0o640
    assert os.getxattr(small.path / "a.bin", "user.x") == b"1"
    holds(bucket, small, "a.bin", pattern(2 * PART, 3))


@pytest.mark.parametrize("op", ["CreateMultipartUpload", "UploadPartCopy",
                                "CompleteMultipartUpload"])
def test_a_copy_that_fails(small, proxy, bucket, op):
    put_large(bucket, small, "a.bin", 3 * PART)
    proxy.add_rule("answer", status=403, code="AccessDenied", op=op)
    with pytest.raises(PermissionError):
        os.rename(small.path / "a.bin", small.path / "b.bin")
    assert bucket.exists(small.key("a.bin")) and not bucket.exists(small.key("b.bin"))
    no_uploads(bucket)
    proxy.clear_rules()
    os.rename(small.path / "a.bin", small.path / "b.bin")
    holds(bucket, small, "b.bin", pattern(3 * PART, 3))


def test_the_source_changes_during_the_copy(small, proxy, bucket):
    """All parts are of one version: the rename begins again with what is there now."""
    put_large(bucket, small, "a.bin", 3 * PART)
    proxy.hold("part", op="UploadPartCopy", times=1)
    pool = concurrent.futures.ThreadPoolExecutor(1)
    renaming = pool.submit(os.rename, small.path / "a.bin", small.path / "b.bin")
    proxy.wait_held("part")
    bucket.put(small.key("a.bin"), pattern(3 * PART, 8))
    proxy.release("part")
    renaming.result(60 * SLOW)
    holds(bucket, small, "b.bin", pattern(3 * PART, 8))
    no_uploads(bucket)
