"""The variant s3-passthrough: files are streamed to S3 while they are written."""

import concurrent.futures
import errno
import hashlib
import io
import os
import shutil
import subprocess
import sys

import pytest

from harness import SLOW, util
from harness.killer import Killer
from harness.pattern import pattern
from test_parts import holds, no_parts_left, no_uploads, parts_of, write

MIB = 1 << 20
PART = 5 * MIB
STREAM = {"STATEPROXY_UPLOAD_PART_SIZE": "5Mi", "STATEPROXY_UPLOAD_CONCURRENCY": "2"}


@pytest.fixture
def stream(mount):
    def make(env=None, **kwargs):
        return mount(variant="s3-passthrough", env={**STREAM, **(env or {})}, **kwargs)
    return make


@pytest.fixture
def m(stream, proxy):
    return stream(via=proxy)


def fails_with(code):
    return pytest.raises(OSError, match=rf"\[Errno {code}\]")


# -- writing


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART - 1, 2 * PART,
                                  2 * PART + 1, 7 * PART + 12345])
def test_sizes_around_each_boundary(m, proxy, bucket, size):
    data = pattern(size, 1)
    proxy.reset_counts()
    write(m.path / "f.bin", data)
    counts = proxy.counts()
    holds(bucket, m, "f.bin", data)
    if size < PART or (size == PART and "PutObject" in counts):   # it was full at the close
        assert counts["PutObject"] == 1 and "CreateMultipartUpload" not in counts
    else:
        assert counts["UploadPart"] == (size + PART - 1) // PART
        assert counts["CompleteMultipartUpload"] == 1 and "PutObject" not in counts
    assert (m.path / "f.bin").read_bytes() == data
    assert not bucket.uploads()
    m.check()


def test_parts_go_while_the_file_is_written(m, proxy, bucket):
    with open(m.path / "f.bin", "wb", buffering=0) as f:
        for i in range(3 * 5):
            f.write(pattern(MIB, i))
        proxy.wait_count(2, op="UploadPart", finished=True)
        assert not bucket.exists(m.key("f.bin"))
    assert bucket.size(m.key("f.bin")) == 15 * MIB


def test_a_large_file_needs_little_space(stream, bucket, proxy):
    """A slow network holds the writer up; no disk is used, and a few parts of memory."""
    m = stream(via=proxy, env={"STATEPROXY_MEMORY_LIMIT": "160Mi"})
    proxy.add_rule("delay", ms=100, op="UploadPart")
    most = 0
    with open(m.path / "f.bin", "wb", buffering=0) as f:
        for i in range(20 * 5):
            f.write(pattern(MIB, i))
            status = m.ctl("sessions").out
            most = max(most, spool_bytes(m))
    assert bucket.size(m.key("f.bin")) == 100 * MIB
    assert most <= 4 * PART, status


def spool_bytes(m):
    """Bytes in the spool files of all sessions, in memory and on disk."""
    total = 0
    for fd in os.listdir(f"/proc/{m.proc.pid}/fd"):
        try:
            name = os.readlink(f"/proc/{m.proc.pid}/fd/{fd}")
            if "spool" in name or str(m.buffer_dir) in name:
                total += os.stat(f"/proc/{m.proc.pid}/fd/{fd}").st_blocks * 512
        except OSError:
            pass
    return total


def test_it_cannot_seek(m):
    with open(m.path / "f.bin", "wb") as f:
        assert not f.seekable()
        f.write(b"abc")
        with pytest.raises(io.UnsupportedOperation):
            f.seek(0)
        with pytest.raises(OSError) as e:
            os.lseek(f.fileno(), 0, os.SEEK_SET)
        assert e.value.errno == errno.ESPIPE
        with pytest.raises(OSError) as e:
            os.pwrite(f.fileno(), b"x", 0)
        assert e.value.errno == errno.ESPIPE
    with open(m.path / "f.bin", "rb") as f:       # a reader can
        f.seek(1)
        assert f.read() == b"bc"


def test_writing_elsewhere_than_at_the_end(m, bucket):
    bucket.put(m.key("f.bin"), b"old")
    fd = os.open(m.path / "f.bin", os.O_WRONLY)
    with fails_with(errno.EINVAL):
        os.write(fd, b"x")
    with fails_with(errno.EINVAL):      # nothing that lacks these bytes is published
        os.close(fd)
    assert bucket.get(m.key("f.bin")) == b"old"


@pytest.mark.parametrize("size", [0, 3, PART - 1, PART, 3 * PART + 7])
@pytest.mark.parametrize("more", [1, 2 * PART + 5])
def test_appending(m, proxy, bucket, size, more):
    """What is there is copied on the server, unless it is less than S3's least part."""
    data = pattern(size, 1)
    bucket.put(m.key("f.bin"), data)
    proxy.reset_counts()
    write(m.path / "f.bin", pattern(more, 2), os.O_APPEND)
    holds(bucket, m, "f.bin", data + pattern(more, 2))
    counts = proxy.counts()
    assert counts.get("UploadPartCopy", 0) == (1 if size >= PART else 0)
    assert proxy.bytes_received("GetObject") <= (128 << 10 if size >= PART else 2 * size + 1000)
    assert not bucket.uploads()


def test_appending_to_what_somebody_else_replaces(m, bucket):
    """The copy is pinned to the version that was opened: no mix of two."""
    bucket.put(m.key("f.bin"), pattern(PART, 1))
    fd = os.open(m.path / "f.bin", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"tail")
    bucket.put(m.key("f.bin"), pattern(PART, 2))
    with pytest.raises(OSError) as e:
        os.close(fd)
    assert e.value.errno in (errno.ESTALE, errno.EIO)
    holds(bucket, m, "f.bin", pattern(PART, 2))
    no_uploads(bucket)


def test_appending_parts_to_what_somebody_else_replaces(m, proxy, bucket):
    bucket.put(m.key("f.bin"), pattern(PART, 1))
    fd = os.open(m.path / "f.bin", os.O_WRONLY | os.O_APPEND)
    for i in range(12):
        os.write(fd, pattern(MIB, i))
    proxy.wait_count(1, op="UploadPartCopy", finished=True)
    bucket.put(m.key("f.bin"), b"theirs")
    with fails_with(errno.ESTALE):
        os.close(fd)
    assert bucket.get(m.key("f.bin")) == b"theirs"
    no_uploads(bucket)


def test_appending_where_there_are_no_multipart_uploads(m, proxy, bucket):
    """What is there is loaded, or the close fails: never zeroes in its place."""
    bucket.put(m.key("f.bin"), pattern(PART, 1))
    proxy.add_rule("answer", status=501, code="NotImplemented", op="CreateMultipartUpload")
    with pytest.raises(OSError):
        write(m.path / "f.bin", b"tail", os.O_APPEND)
    assert bucket.get(m.key("f.bin")) == pattern(PART, 1)
    write(m.path / "new.bin", pattern(2 * PART, 2))             # it is known from now on
    write(m.path / "f.bin", b"tail", os.O_APPEND)
    holds(bucket, m, "f.bin", pattern(PART, 1) + b"tail")
    holds(bucket, m, "new.bin", pattern(2 * PART, 2))


@pytest.mark.parametrize("held", ["before", "after"])
def test_a_part_that_was_the_last_one_grows(m, proxy, bucket, held):
    """The worker of an fsync dies when the unfinished part is on its way; more is written to it."""
    fd = os.open(m.path / "f.bin", os.O_WRONLY | os.O_CREAT)
    for i in range(7):
        os.write(fd, pattern(MIB, i))
    proxy.hold("complete", op="CompleteMultipartUpload", times=1, when=held)
    pool = concurrent.futures.ThreadPoolExecutor(1)
    syncing = pool.submit(os.fsync, fd)
    proxy.wait_held("complete")
    m.kill_workers()
    proxy.release("complete", verdict="reset" if held == "before" else "forward")
    syncing.result(60 * SLOW)
    for i in range(7, 12):
        os.write(fd, pattern(MIB, i))
    os.close(fd)
    holds(bucket, m, "f.bin", b"".join(pattern(MIB, i) for i in range(12)))
    m.check()


def test_the_writer_does_not_read_what_is_gone(m, bucket):
    """Neither zeroes nor the version before."""
    write(m.path / "f.bin", b"old" * 1000)
    with open(m.path / "f.bin", "wb", buffering=0) as f:
        for i in range(12):
            f.write(pattern(MIB, i))
            try:
                with open(m.path / "f.bin", "rb") as r:
                    assert r.read(10) == pattern(MIB, 0)[:10]
            except OSError as e:
                assert e.errno == errno.EBUSY


def test_fsync_publishes_and_writing_goes_on(m, proxy, bucket):
    with open(m.path / "f.bin", "wb", buffering=0) as f:
        f.write(b"first")
        os.fsync(f.fileno())
        assert bucket.get(m.key("f.bin")) == b"first"
        for i in range(7):
            f.write(pattern(MIB, i))
        os.fsync(f.fileno())
        now = b"first" + b"".join(pattern(MIB, i) for i in range(7))
        holds(bucket, m, "f.bin", now)
        f.write(b"last")
    holds(bucket, m, "f.bin", now + b"last")
    assert proxy.counts()["UploadPartCopy"] == 1


def test_children_that_write_into_one_file(m, bucket):
    """A shell's group, whose every command closes the file: bytes of all of them."""
    subprocess.run(["sh", "-c", 'for i in 1 2 3; do head -c 4000000 /dev/zero | tr "\\0" $i; done'
                    ' > "$0"; : ', str(m.path / "f.bin")], check=True)
    holds(bucket, m, "f.bin", b"1" * 4000000 + b"2" * 4000000 + b"3" * 4000000)
    m.check()


def test_truncating(m, bucket):
    write(m.path / "f.bin", pattern(2 * PART))
    with fails_with(errno.EINVAL):
        os.truncate(m.path / "f.bin", 17)
    os.truncate(m.path / "f.bin", 2 * PART)
    holds(bucket, m, "f.bin", pattern(2 * PART))
    os.truncate(m.path / "f.bin", 0)
    assert bucket.get(m.key("f.bin")) == b""
    fd = os.open(m.path / "f.bin", os.O_WRONLY | os.O_APPEND)
    for i in range(7):
        os.write(fd, pattern(MIB, i))
    os.ftruncate(fd, 0)
    os.write(fd, b"anew")
    os.close(fd)
    assert bucket.get(m.key("f.bin")) == b"anew"
    no_uploads(bucket)


def test_preallocation_is_refused_and_programs_do_without(m, bucket):
    with open(m.path / "f.bin", "wb") as f:
        with fails_with(errno.EOPNOTSUPP):
            fallocate(f.fileno(), 0, 100)
        f.write(b"x")
    assert bucket.get(m.key("f.bin")) == b"x"


def fallocate(fd, off, length):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(fd, 0, ctypes.c_long(off), ctypes.c_long(length)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


# -- who sees what


def test_readers_see_what_is_published(m, bucket):
    write(m.path / "f.bin", b"old")
    with open(m.path / "f.bin", "wb", buffering=0) as f:
        for i in range(6):
            f.write(pattern(MIB, i))
        out = subprocess.run(["cat", str(m.path / "f.bin")], capture_output=True, check=True)
        assert out.stdout == b"old"
    out = subprocess.run(["wc", "-c", str(m.path / "f.bin")], capture_output=True, check=True)
    assert out.stdout.split()[0] == str(6 * MIB).encode()


def test_a_reader_keeps_what_it_has_open(m, bucket):
    write(m.path / "f.bin", pattern(3 * MIB, 1))
    with open(m.path / "f.bin", "rb") as f:
        assert f.read(10) == pattern(3 * MIB, 1)[:10]
        write(m.path / "f.bin", pattern(PART, 2))
        assert f.read() == pattern(3 * MIB, 1)[10:]
    assert (m.path / "f.bin").read_bytes() == pattern(PART, 2)


def test_the_writer_sees_that_its_file_is_there(m):
    with open(m.path / "f.bin", "wb", buffering=0) as f:
        for i in range(6):
            f.write(pattern(MIB, i))
        assert os.path.exists(m.path / "f.bin")
        assert os.stat(m.path / "f.bin").st_size == 6 * MIB
        assert "f.bin" in os.listdir(m.path)


def test_of_two_writers_the_last_wins(m, bucket):
    code = ("import os,sys\nfd=os.open(sys.argv[1],os.O_WRONLY|os.O_CREAT|os.O_TRUNC)\n"
            "[os.write(fd,sys.argv[2].encode()*1000000) for i in range(6)]\n"
            "print('there',flush=True)\nsys.stdin.readline()\nos.close(fd)\n")
    writers = [subprocess.Popen([sys.executable, "-c", code, str(m.path / "f.bin"), c],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE) for c in "ab"]
    for w in writers:
        assert w.stdout.readline() == b"there\n"
    for w, c in zip(writers, b"ab"):
        w.stdin.close()
        assert w.wait(60 * SLOW) == 0
        holds(bucket, m, "f.bin", bytes([c]) * 6000000)
        w.stdout.close()
    no_uploads(bucket)


def test_unlink_during_the_stream(m, bucket):
    with open(m.path / "f.bin", "wb", buffering=0) as f:
        for i in range(12):
            f.write(pattern(MIB, i))
        os.unlink(m.path / "f.bin")
        for i in range(30):
            f.write(pattern(MIB, i))
    assert not bucket.exists(m.key("f.bin"))
    no_uploads(bucket)
    m.check()


def test_rename_during_the_stream(m, bucket):
    """What was written is published and renamed; the descriptor has no file any more."""
    f = open(m.path / "f.bin", "wb", buffering=0)
    for i in range(6):
        f.write(pattern(MIB, i))
    os.rename(m.path / "f.bin", m.path / "g.bin")
    now = b"".join(pattern(MIB, i) for i in range(6))
    holds(bucket, m, "g.bin", now)
    with fails_with(errno.ESTALE):
        f.write(b"more")
    with pytest.raises(OSError):
        f.close()
    holds(bucket, m, "g.bin", now)
    assert not bucket.exists(m.key("f.bin"))


def test_attributes_that_are_set_during_the_stream(m, bucket):
    with open(m.path / "f.bin", "wb", buffering=0) as f:
        for i in range(6):
            f.write(pattern(MIB, i))
        os.fchmod(f.fileno(), 0o600)
        os.utime(f.fileno(), (1_600_000_000, 1_600_000_000))
        os.setxattr(f.fileno(), "user.a", b"one")
    st = os.stat(m.path / "f.bin")
    assert st.st_mode & 0o777 == 0o600 and int(st.st_mtime) == 1_600_000_000
    meta = bucket.head(m.key("f.bin"))["Metadata"]
    assert int(meta["mode"]) & 0o777 == 0o600 and meta["mtime"].startswith("1600000000")
    assert os.getxattr(m.path / "f.bin", "user.a") == b"one"
    holds(bucket, m, "f.bin", b"".join(pattern(MIB, i) for i in range(6)))


# -- programs


@pytest.mark.parametrize("program", ["cp -p", "dd bs=64K", "cat", "tar", "rsync"])
def test_programs(m, bucket, scratch, program):
    source = scratch / "source"
    source.mkdir()
    (source / "small").write_bytes(b"small")
    (source / "empty").write_bytes(b"")
    (source / "large").write_bytes(pattern(2 * PART + 77, 3))
    target = m.path / "copy"
    target.mkdir()
    for name in ("small", "empty", "large"):
        a, b = source / name, target / name
        if program == "cp -p":
            subprocess.run(["cp", "-p", a, b], check=True)
            assert int(b.stat().st_mtime) == int(a.stat().st_mtime)
        elif program == "cat":
            subprocess.run(["sh", "-c", 'cat "$0" > "$1"', a, b], check=True)
        elif program.startswith("dd"):
            subprocess.run(["dd", "bs=64K", f"if={a}", f"of={b}"], check=True, capture_output=True)
    if program == "tar":
        tar = subprocess.run(["tar", "-C", source, "-cf", "-", "."], check=True,
                             capture_output=True)
        subprocess.run(["tar", "-C", target, "-xf", "-"], input=tar.stdout, check=True)
    if program == "rsync":
        if not shutil.which("rsync"):
            pytest.skip("no rsync")
        subprocess.run(["rsync", "-rt", f"{source}/", f"{target}/"], check=True)
    for name in ("small", "empty", "large"):
        holds(bucket, m, f"copy/{name}", (source / name).read_bytes())
        assert (target / name).read_bytes() == (source / name).read_bytes()
    no_uploads(bucket)
    m.check()


def test_python_writes_archives(m, bucket):
    import tarfile
    import zipfile
    with zipfile.ZipFile(m.path / "a.zip", "w") as z:
        z.writestr("one", pattern(PART))
        z.writestr("two", b"2")
    with tarfile.open(m.path / "a.tar.gz", "w:gz") as t:
        info = tarfile.TarInfo("one")
        info.size = PART
        t.addfile(info, io.BytesIO(pattern(PART)))
    with zipfile.ZipFile(m.path / "a.zip") as z:
        assert z.read("one") == pattern(PART) and z.testzip() is None
    with tarfile.open(m.path / "a.tar.gz") as t:
        assert t.extractfile("one").read() == pattern(PART)


def test_the_rest_of_the_file_system(m, bucket):
    (m.path / "d").mkdir()
    write(m.path / "d/a", b"1")
    os.symlink("a", m.path / "d/link")
    os.rename(m.path / "d", m.path / "e")
    assert (m.path / "e/link").read_bytes() == b"1"
    os.mknod(m.path / "e/node")
    os.chmod(m.path / "e/a", 0o600)
    assert sorted(os.listdir(m.path / "e")) == ["a", "link", "node"]
    shutil.rmtree(m.path / "e")
    assert bucket.list(m.key("")) == {}
    m.check()


# -- faults


@pytest.mark.parametrize("op", ["CreateMultipartUpload", "UploadPart"])
def test_the_first_failure_ends_the_stream(m, proxy, bucket, op):
    bucket.put(m.key("f.bin"), b"old")
    proxy.add_rule("answer", status=403, code="AccessDenied", op=op)
    fd = os.open(m.path / "f.bin", os.O_WRONLY | os.O_TRUNC)
    with fails_with(errno.EACCES):
        for i in range(100):
            os.write(fd, pattern(MIB, i))
    with fails_with(errno.EACCES):
        os.fsync(fd)
    with fails_with(errno.EACCES):
        os.close(fd)
    assert bucket.get(m.key("f.bin")) == b"old"
    assert (m.path / "f.bin").read_bytes() == b"old"
    no_uploads(bucket)
    m.check()


@pytest.mark.parametrize("op", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload",
                                "UploadPartCopy"])
@pytest.mark.parametrize("action, args", [
    ("answer", {"status": 500, "times": 2}),
    ("answer", {"status": 500, "acted": True, "times": 1}),
    ("reset", {"when": "after", "times": 1}), ("drop", {"times": 1})],
    ids=["500", "500-acted", "reset", "drop"])
def test_each_request_survives(m, proxy, bucket, op, action, args):
    bucket.put(m.key("f.bin"), pattern(PART, 1))
    proxy.add_rule(action, op=op, **args)
    write(m.path / "f.bin", pattern(2 * PART + 1, 2), os.O_APPEND)
    holds(bucket, m, "f.bin", pattern(PART, 1) + pattern(2 * PART + 1, 2))
    assert proxy.state().rules[0]["applied"] == args["times"]
    # A creation that is repeated leaves an upload without parts.
    util.wait_until(lambda: not any(parts_of(bucket, *u) for u in bucket.uploads()),
                    what="uploads to be ended")


def test_a_stream_whose_upload_vanishes(m, proxy, bucket):
    """Parts that the spool no longer holds are lost with it: EIO, never half a file."""
    write(m.path / "f.bin", b"old")
    fd = os.open(m.path / "f.bin", os.O_WRONLY | os.O_TRUNC)
    for i in range(12):
        os.write(fd, pattern(MIB, i))
    proxy.wait_count(2, op="UploadPart", finished=True)
    for key, upload in bucket.uploads():
        bucket.client.abort_multipart_upload(Bucket=bucket.bucket, Key=key, UploadId=upload)
    with fails_with(errno.EIO):
        os.close(fd)
    assert bucket.get(m.key("f.bin")) == b"old"
    assert (m.path / "f.bin").read_bytes() == b"old"


def test_a_killed_writer(m, bucket):
    write(m.path / "f.bin", b"old")
    code = ("import os,sys\nfd=os.open(sys.argv[1],os.O_WRONLY|os.O_TRUNC)\n"
            "[os.write(fd,b'x'*1000000) for i in range(13)]\nos.kill(os.getpid(),9)\n")
    subprocess.run([sys.executable, "-c", code, str(m.path / "f.bin")], check=False)
    assert bucket.get(m.key("f.bin")) == b"old"
    no_uploads(bucket)
    m.check()


def test_a_server_without_multipart_uploads(m, proxy, bucket):
    proxy.add_rule("answer", status=501, code="NotImplemented", op="CreateMultipartUpload")
    write(m.path / "f.bin", pattern(8 * PART))
    holds(bucket, m, "f.bin", pattern(8 * PART))


@pytest.mark.slow
@pytest.mark.limit(180)
def test_a_storm_of_kills(m, proxy, bucket, seed):

    def one(i):
        for round_ in range(3):
            write(m.path / f"f{i}.bin", pattern(3 * PART + i, 10 * i + round_))
            if round_ == 1:
                write(m.path / f"f{i}.bin", pattern(PART, 7), os.O_APPEND)
                holds(bucket, m, f"f{i}.bin", pattern(3 * PART + i, 10 * i + 1) + pattern(PART, 7))
    killer = Killer(m, 40, seed)
    killer.start()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(one, range(3)))
    killer.finish(60 * SLOW)
    for i in range(3):
        holds(bucket, m, f"f{i}.bin", pattern(3 * PART + i, 10 * i + 2))
    no_parts_left(bucket, proxy)
    m.check()


@pytest.mark.limit(120)
def test_many_streams_in_little_memory(stream, bucket):
    """More files are open than parts fit into memory: the others wait on disk, and all finish."""
    m = stream(env={"STATEPROXY_MEMORY_LIMIT": "64Mi"})
    files = [open(m.path / f"f{i}.bin", "wb", buffering=0) for i in range(40)]
    for step in range(3):
        for i, f in enumerate(files):
            f.write(pattern(MIB, i + step))
    for f in files:
        f.close()
    for i in range(40):
        holds(bucket, m, f"f{i}.bin", b"".join(pattern(MIB, i + step) for step in range(3)))
    m.check()
