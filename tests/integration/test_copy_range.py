"""copy_file_range(2) of whole files: the server copies (CopyObject) at the close, no content moves.
What cannot be done so goes through the page cache, as ever."""

import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

from harness import SLOW, util
from harness.killer import Killer
from harness.pattern import pattern

MIB = 1 << 20
SIZE = 3 * MIB              # of a file that is worth a CopyObject
SMALL = MIB - 1             # and of one that is not
SHORT = {"STATEPROXY_S3_ATTEMPT_TIMEOUT": f"{int(1000 * SLOW)}ms",
         "STATEPROXY_S3_CONNECT_TIMEOUT": f"{int(1000 * SLOW)}ms",
         "STATEPROXY_S3_DEADLINE": f"{int(2000 * SLOW)}ms"}


# Under the sanitizers (which are slow) the daemon is what is tested, not the servers.
SERVERS = ["versitygw", "minio"] if SLOW == 1 else ["versitygw"]
FULL = os.environ.get("STATEPROXY_TEST_FULL") == "1"


@pytest.fixture(scope="module", params=SERVERS if FULL else ["versitygw"])
def s3server(request, s3server):
    return s3server if request.param == "versitygw" else request.getfixturevalue("minio")


on_both = pytest.mark.parametrize("s3server", SERVERS, indirect=True)


@pytest.fixture
def m(mount, proxy):
    return mount(via=proxy, env={"STATEPROXY_DIRECTORIES_TTL": "60s"})


@pytest.fixture
def copies(proxy):
    """copies() -> CopyObject requests since it was asked last."""
    def count():
        proxy.wait_idle()
        n = proxy.counts().get("CopyObject", 0)
        proxy.reset_counts()
        return n
    return count


@pytest.fixture
def source(m, bucket):
    """A file a.bin, open for reading."""
    bucket.put(m.key("a.bin"), pattern(SIZE))
    fd = os.open(m.path / "a.bin", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def target(m):
    """A new file b.bin, open for writing and reading."""
    fd = os.open(m.path / "b.bin", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    yield fd
    try:
        os.close(fd)
    except OSError as e:
        if e.errno != errno.EBADF:          # the test has closed it
            raise


# Whether the server has made the copy by then, or it is only noted.
made = pytest.mark.parametrize("made", [False, True], ids=["noted", "made"])


def copy(source, target, size=SIZE, off_in=0, off_out=0):
    """As programs do it; what the first call says."""
    first = None
    done = 0
    while done < size:
        n = os.copy_file_range(source, target, size - done, off_in + done, off_out + done)
        first = n if first is None else first
        if n == 0:
            break
        done += n
    return first


def fails_with(*codes):
    return pytest.raises(OSError, check=lambda e: e.errno in codes)


def settled(m):
    """Nothing is open or under way any more, and the tables are right."""
    util.wait_until(lambda: m.status()["tables"]["sessions"] == 0, what="the sessions' end")
    m.check()


# -- copied by the server


@on_both
@pytest.mark.parametrize("options", [[], ["-p"], ["-a"]], ids=["cp", "cp -p", "cp -a"])
@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
def test_cp_moves_no_content(m, proxy, bucket, options, there):
    size = 24 * MIB
    bucket.put(m.key("a.bin"), pattern(size))
    if there:
        bucket.put(m.key("b.bin"), b"old")
    proxy.reset_counts()
    util.run(["cp", *options, m.path / "a.bin", m.path / "b.bin"])
    proxy.wait_idle()
    assert proxy.bytes_received() + proxy.bytes_sent() < MIB
    counts = proxy.counts()
    assert counts["PutObject"] == 0
    assert counts["CopyObject"] == 1        # which carries what -p sets
    assert bucket.get(m.key("b.bin")) == pattern(size)
    assert (m.path / "b.bin").read_bytes() == pattern(size)
    settled(m)


@pytest.mark.parametrize("size", [MIB, MIB + 1, SIZE])
def test_one_call_copies_all(m, bucket, copies, size, target):
    bucket.put(m.key("a.bin"), pattern(size))
    with open(m.path / "a.bin", "rb") as f:
        copies()
        assert os.copy_file_range(f.fileno(), target, 1 << 40) == size
        assert os.copy_file_range(f.fileno(), target, 1 << 40) == 0
        assert os.fstat(target).st_size == size
        assert os.stat(m.path / "b.bin").st_size == size
        assert copies() == 0 and not bucket.exists(m.key("b.bin"))
        os.close(target)
        assert copies() == 1
        assert bucket.get(m.key("b.bin")) == pattern(size)


def test_fsync_makes_it(m, proxy, bucket, source, target):
    assert copy(source, target) == SIZE
    proxy.reset_counts()
    os.fsync(target)
    proxy.wait_idle()
    assert +proxy.counts() == {"CopyObject": 1}
    proxy.reset_counts()
    os.close(target)
    proxy.wait_idle()
    assert not +proxy.counts()
    assert bucket.get(m.key("b.bin")) == pattern(SIZE)
    settled(m)


def test_after_the_close_another_process_sees_all(m, source, target):
    copy(source, target)
    os.close(target)
    sums = util.run(["sha256sum", m.path / "a.bin", m.path / "b.bin"]).out.split()
    assert sums[0] == sums[2]
    assert util.run(["stat", "-c", "%s", m.path / "b.bin"]).out.split() == [str(SIZE)]
    assert util.run(["ls", m.path]).out.split() == ["a.bin", "b.bin"]


@made
def test_a_copy_of_a_copy_that_is_still_open(m, bucket, copies, source, target, made):
    """Of one that is only noted its content is read."""
    assert copy(source, target) == SIZE
    if made:
        os.fsync(target)
    with open(m.path / "c.bin", "wb") as f:
        copy(target, f.fileno())
    assert copies() == (2 if made else 0)
    assert bucket.get(m.key("c.bin")) == pattern(SIZE)


def test_a_source_that_somebody_has_written_and_published(m, bucket, copies, source, target):
    with open(m.path / "a.bin", "r+b") as f:
        f.write(b"changed")
        f.flush()
        os.fsync(f.fileno())
        assert copy(source, target) == SIZE
        os.close(target)
        assert copies() == 1
    assert bucket.get(m.key("b.bin")) == b"changed" + pattern(SIZE)[7:]


# -- metadata


def told(bucket, key):
    head = bucket.head(key)
    return head["ContentType"], head["Metadata"]


def test_metadata_are_the_targets_own(m, bucket):
    """As if it had been uploaded: nothing of the source's."""
    bucket.put(m.key("a.bin"), pattern(SIZE), ContentType="text/x-source",
               Metadata={"colour": "blue", "mode": str(stat.S_IFREG | 0o600), "mtime": "1000.0"})
    os.setxattr(m.path / "a.bin", "user.from", b"source")
    assert os.stat(m.path / "a.bin").st_mode & 0o777 == 0o600
    with open(m.path / "a.bin", "rb") as a:
        for name in "b.bin", "put.bin":
            fd = os.open(m.path / name, os.O_WRONLY | os.O_CREAT, 0o640)
            if name == "b.bin":
                copy(a.fileno(), fd)
            else:
                os.write(fd, b"x")
            os.close(fd)
    assert told(bucket, m.key("b.bin")) == told(bucket, m.key("put.bin"))
    assert os.stat(m.path / "b.bin").st_mode & 0o777 == 0o640
    assert os.listxattr(m.path / "b.bin") == []
    assert abs(os.stat(m.path / "b.bin").st_mtime - os.stat(m.path / "put.bin").st_mtime) < 30


def test_what_the_target_has_stays(m, bucket, copies):
    bucket.put(m.key("a.bin"), pattern(SIZE))
    bucket.put(m.key("b.bin"), b"old", ContentType="text/x-target", Metadata={"colour": "red"})
    os.setxattr(m.path / "b.bin", "user.of", b"target")
    os.chmod(m.path / "b.bin", 0o600)
    copies()
    util.run(["cp", m.path / "a.bin", m.path / "b.bin"])
    assert copies() == 1
    head = bucket.head(m.key("b.bin"))
    assert head["ContentType"] == "text/x-target"
    assert head["Metadata"]["colour"] == "red"
    assert os.getxattr(m.path / "b.bin", "user.of") == b"target"
    assert os.stat(m.path / "b.bin").st_mode & 0o777 == 0o600


def test_what_is_set_while_it_is_empty(m, bucket, source, target):
    """Is the target's own too, but for a time: content that comes later has a later one."""
    os.fchmod(target, 0o604)
    os.setxattr(target, "user.of", b"target")
    os.utime(target, (1, 1))
    copy(source, target)
    os.close(target)
    assert os.stat(m.path / "b.bin").st_mode & 0o777 == 0o604
    assert os.getxattr(m.path / "b.bin", "user.of") == b"target"
    assert os.stat(m.path / "b.bin").st_mtime > 1000
    metadata = bucket.head(m.key("b.bin"))["Metadata"]
    assert metadata["mode"] == str(stat.S_IFREG | 0o604)
    assert "mtime" not in metadata


def test_cp_p_keeps_times_and_mode(m, mount, bucket):
    bucket.put(m.key("a.bin"), pattern(SIZE))
    os.chmod(m.path / "a.bin", 0o751)
    os.utime(m.path / "a.bin", ns=(5, 1_234_567_890_123_456_789))
    util.run(["cp", "-p", m.path / "a.bin", m.path / "b.bin"])
    other = mount(prefix=m.prefix)
    for path in m.path / "b.bin", other.path / "b.bin":
        st = os.stat(path)
        assert st.st_mode & 0o777 == 0o751
        assert st.st_mtime_ns == 1_234_567_890_123_456_789
    assert bucket.get(m.key("b.bin")) == pattern(SIZE)


# -- through the page cache


def test_a_small_file(m, bucket, copies, target):
    bucket.put(m.key("a.bin"), pattern(SMALL))
    with open(m.path / "a.bin", "rb") as f:
        copy(f.fileno(), target, SMALL)
    os.close(target)
    assert bucket.get(m.key("b.bin")) == pattern(SMALL)
    assert copies() == 0


@pytest.mark.parametrize("size, off_in, off_out", [
    (SIZE - 1, 0, 0), (SIZE - 1, 1, 0), (SIZE, 0, 1), (SIZE - MIB, MIB, MIB)])
def test_a_part(m, bucket, copies, source, target, size, off_in, off_out):
    copy(source, target, size, off_in, off_out)
    os.close(target)
    assert copies() == 0
    assert bucket.get(m.key("b.bin")) == bytes(off_out) + pattern(SIZE)[off_in:off_in + size]


def test_a_source_with_unpublished_bytes(m, bucket, copies, source, target):
    with open(m.path / "a.bin", "r+b", buffering=0) as f:
        f.write(b"unpublished")
        copy(source, target)
        os.close(target)
        assert copies() == 0
        assert bucket.get(m.key("b.bin")) == b"unpublished" + pattern(SIZE)[11:]


def test_a_source_without_a_name(m, bucket, copies, source, target):
    os.unlink(m.path / "a.bin")
    copy(source, target)
    os.close(target)
    assert copies() == 0
    assert bucket.get(m.key("b.bin")) == pattern(SIZE)


def test_a_target_that_is_not_empty(m, bucket, copies, source, target):
    os.pwrite(target, b"something", SIZE)
    copy(source, target)
    os.close(target)
    assert copies() == 0
    assert bucket.get(m.key("b.bin")) == pattern(SIZE) + b"something"


def test_a_target_without_a_name(m, bucket, copies, source, target):
    os.unlink(m.path / "b.bin")
    copy(source, target)
    assert os.pread(target, SIZE, 0) == pattern(SIZE)
    os.close(target)
    assert copies() == 0
    assert not bucket.exists(m.key("b.bin"))


def test_what_falls_back_once_does_not_for_ever(m, bucket, copies, source, target):
    copy(source, target, 1000)
    os.ftruncate(target, 0)
    assert copies() == 0
    assert copy(source, target) == SIZE
    os.close(target)
    assert copies() == 1
    assert bucket.get(m.key("b.bin")) == pattern(SIZE)


def test_compare_and_set_copies_no_other_way(mount, proxy, bucket, copies):
    """(No server keeps conditions on the destination of a copy.)"""
    m = mount(via=proxy, variant="s3-buffered-cas")
    bucket.put(m.key("a.bin"), pattern(SIZE))
    copies()
    util.run(["cp", m.path / "a.bin", m.path / "b.bin"])
    util.run(["cp", m.path / "a.bin", m.path / "b.bin"])
    assert copies() == 0
    assert bucket.get(m.key("b.bin")) == pattern(SIZE)
    m.check()


@pytest.mark.parametrize("status", [403, 501])
def test_a_server_that_will_not_copy(m, proxy, bucket, status):
    bucket.put(m.key("a.bin"), pattern(SIZE))
    proxy.add_rule("answer", op="CopyObject", status=status)
    util.run(["cp", m.path / "a.bin", m.path / "b.bin"])
    assert bucket.get(m.key("b.bin")) == pattern(SIZE)
    assert " warn " not in m.log(), "nothing is lost"
    settled(m)


def test_a_server_that_copies_for_too_long(mount, proxy, bucket):
    m = mount(via=proxy, env=SHORT)
    bucket.put(m.key("a.bin"), pattern(SIZE))
    proxy.hold("h", op="CopyObject")
    util.run(["cp", m.path / "a.bin", m.path / "b.bin"])
    assert bucket.get(m.key("b.bin")) == pattern(SIZE)
    settled(m)


# -- the same descriptor afterwards


@made
def test_read_after_copy(m, bucket, source, target, made):
    copy(source, target)
    if made:
        os.fsync(target)
    assert os.pread(target, 1000, MIB) == pattern(SIZE)[MIB:MIB + 1000]
    assert os.pread(target, SIZE + 1, 0) == pattern(SIZE)
    assert os.pread(target, 10, SIZE) == b""
    with open(m.path / "b.bin", "rb") as f:
        assert f.read() == pattern(SIZE)


@pytest.mark.parametrize("memory", ["8Mi", "64Ki"], ids=["memory", "disk"])
@pytest.mark.parametrize("at", [0, MIB + 5, SIZE, SIZE + 100])
@made
def test_write_after_copy(mount, bucket, memory, at, made):
    m = mount(env={"STATEPROXY_BUFFER_MEMORY": memory})
    bucket.put(m.key("a.bin"), pattern(SIZE))
    want = bytearray(pattern(SIZE))
    if at > SIZE:
        want += bytes(at - SIZE)
    want[at:at + 7] = b"written"
    with open(m.path / "a.bin", "rb") as a, open(m.path / "b.bin", "w+b", buffering=0) as b:
        copy(a.fileno(), b.fileno())
        if made:
            os.fsync(b.fileno())
        assert os.pwrite(b.fileno(), b"written", at) == 7
        assert os.pread(b.fileno(), len(want) + 1, 0) == want
        if made:
            assert bucket.get(m.key("b.bin")) == pattern(SIZE)
        else:
            assert not bucket.exists(m.key("b.bin"))
    assert bucket.get(m.key("b.bin")) == want
    assert bucket.get(m.key("a.bin")) == pattern(SIZE)
    settled(m)


@pytest.mark.parametrize("size", [0, 1000, SIZE, SIZE + 1000])
@pytest.mark.parametrize("by_path", [False, True])
@made
def test_truncate_after_copy(m, bucket, source, target, size, by_path, made):
    copy(source, target)
    if made:
        os.fsync(target)
    os.truncate(m.path / "b.bin" if by_path else target, size)
    want = (pattern(SIZE) + bytes(1000))[:size]
    assert os.pread(target, SIZE + 1001, 0) == want
    os.close(target)
    assert bucket.get(m.key("b.bin")) == want
    settled(m)


def test_fallocate_after_copy(m, bucket, source, target):
    copy(source, target)
    os.posix_fallocate(target, 0, SIZE + 10)
    os.close(target)
    assert bucket.get(m.key("b.bin")) == pattern(SIZE) + bytes(10)


def test_copy_again(m, bucket, copies, source, target):
    """Upon what is there: through the page cache; once it is empty: by the server."""
    assert copy(source, target) == SIZE
    os.fsync(target)
    copy(source, target)
    assert copies() == 1
    os.ftruncate(target, 0)
    assert copy(source, target) == SIZE
    os.close(target)
    assert copies() == 1
    assert bucket.get(m.key("b.bin")) == pattern(SIZE)
    settled(m)


@made
def test_others_open_it_for_writing_after_the_copy(m, bucket, source, target, made):
    copy(source, target)
    if made:
        os.fsync(target)
    with open(m.path / "b.bin", "r+b", buffering=0) as f:
        f.write(b"first")
        os.pwrite(target, b"second", 100)
        assert os.pread(f.fileno(), SIZE, 0) == os.pread(target, SIZE, 0)
    os.close(target)
    want = bytearray(pattern(SIZE))
    want[:5], want[100:106] = b"first", b"second"
    assert bucket.get(m.key("b.bin")) == want
    settled(m)


@made
def test_unlinked_after_the_copy(m, bucket, source, target, made):
    copy(source, target)
    if made:
        os.fsync(target)
    os.unlink(m.path / "b.bin")
    assert os.pread(target, SIZE, 0) == pattern(SIZE)
    os.pwrite(target, b"more", SIZE)
    assert os.pread(target, 10, SIZE - 3) == pattern(SIZE)[-3:] + b"more"
    os.close(target)
    assert not bucket.exists(m.key("b.bin"))
    settled(m)


@made
def test_renamed_after_the_copy(m, bucket, source, target, made):
    copy(source, target)
    if made:
        os.fsync(target)
    os.rename(m.path / "b.bin", m.path / "c.bin")
    os.pwrite(target, b"more", SIZE)
    os.close(target)
    assert bucket.get(m.key("c.bin")) == pattern(SIZE) + b"more"
    assert not bucket.exists(m.key("b.bin"))
    settled(m)


def test_replaced_elsewhere_before_the_write(m, bucket, source, target):
    """There is nothing any more that the write could be put into: it is told, and the other's
    content stays."""
    copy(source, target)
    os.fsync(target)
    bucket.put(m.key("b.bin"), b"of another machine")
    with fails_with(errno.ESTALE):
        os.pwrite(target, b"more", 10)
    with fails_with(errno.ESTALE):
        os.close(target)
    assert bucket.get(m.key("b.bin")) == b"of another machine"
    assert (m.path / "b.bin").read_bytes() == b"of another machine"
    settled(m)


def test_replaced_elsewhere_while_it_is_open(m, bucket, source, target):
    """What was copied is read from S3 alone. A reader who comes too late is told, the next one
    finds what is there now."""
    copy(source, target)
    os.fsync(target)
    bucket.put(m.key("b.bin"), b"of another machine")
    with fails_with(errno.ESTALE):
        (m.path / "b.bin").read_bytes()
    assert (m.path / "b.bin").read_bytes() == b"of another machine"
    os.close(target)
    assert (m.path / "b.bin").read_bytes() == b"of another machine"
    settled(m)


# -- the source changes, the server errs


@on_both
@pytest.mark.parametrize("change", ["replaced", "deleted"])
@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
def test_the_source_changes_before_the_close(m, bucket, change, there):
    """The close tells, and the target keeps what it had. Copied anew it is what is there now."""
    bucket.put(m.key("a.bin"), pattern(SIZE))
    name = "c.bin" if there else "b.bin"
    if there:
        bucket.put(m.key(name), b"old")
    with open(m.path / "a.bin", "rb") as a:
        fd = os.open(m.path / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        assert copy(a.fileno(), fd) == SIZE
        if change == "replaced":
            bucket.put(m.key("a.bin"), pattern(SIZE, 2))
        else:
            bucket.delete(m.key("a.bin"))
        with fails_with(errno.ESTALE):
            os.close(fd)
    assert "the source has changed since it was read: copy it again" in m.log()
    if there:
        assert bucket.get(m.key(name)) == (m.path / name).read_bytes() == b"old"
    else:
        assert not bucket.exists(m.key(name)) and not (m.path / name).exists()
    if change == "replaced":
        util.run(["cp", m.path / "a.bin", m.path / name])
        assert bucket.get(m.key(name)) == pattern(SIZE, 2)


@pytest.mark.parametrize("operation", ["read", "write"])
def test_the_source_changes_before_it_is_used(m, bucket, source, target, operation):
    copy(source, target)
    bucket.put(m.key("a.bin"), pattern(SIZE, 2))
    with fails_with(errno.ESTALE):
        if operation == "read":
            os.pread(target, SIZE, MIB)
        else:
            os.pwrite(target, b"x", 10)
    with fails_with(errno.ESTALE):
        os.close(target)
    assert not bucket.exists(m.key("b.bin"))
    settled(m)


@pytest.mark.parametrize("change", [
    ["rm", "a.bin"], ["mv", "a.bin", "gone.bin"], ["mv", "small.bin", "a.bin"],
    ["cp", "small.bin", "a.bin"], ["cp", "large.bin", "a.bin"], ["truncate", "-s", "10", "a.bin"],
    ["mv", "d", "e"]], ids=" ".join)
def test_the_source_changes_on_this_mount_before_the_close(m, bucket, copies, change):
    """As on a local disk: what was copied is the target's."""
    for name, size in ("a.bin", SIZE), ("d/a.bin", SIZE), ("small.bin", 1000), ("large.bin", 2 * SIZE):
        bucket.put(m.key(name), pattern(size))
    source = "d/a.bin" if change[1] == "d" else "a.bin"
    fd = os.open(m.path / "b.bin", os.O_WRONLY | os.O_CREAT)
    with open(m.path / source, "rb") as a:
        assert copy(a.fileno(), fd) == SIZE
    assert util.run(["sh", "-c", 'cd "$0" && exec "$@"', m.path, *change]).code == 0
    os.close(fd)
    assert bucket.get(m.key("b.bin")) == (m.path / "b.bin").read_bytes() == pattern(SIZE)
    settled(m)


def test_the_source_goes_on_this_mount_and_cannot_be_loaded(m, proxy, bucket, source, target):
    copy(source, target)
    rule = proxy.add_rule("answer", op="GetObject", key=m.key("a.bin"), status=403,
                          having={"if-match": "*"})     # not the LOOKUP's
    util.run(["rm", m.path / "a.bin"])
    proxy.remove_rule(rule)
    with fails_with(errno.ESTALE):
        os.close(target)
    assert not bucket.exists(m.key("b.bin"))


@pytest.mark.parametrize("kill", [False, True])
def test_the_source_is_on_its_way_to_another_directory(m, proxy, bucket, target, kill):
    """Copies of it were looked for, and there was none: the server makes none then."""
    bucket.put(m.key("d/a.bin"), pattern(SIZE))
    with open(m.path / "d" / "a.bin", "rb") as a:
        proxy.hold("h", op="CopyObject", nth=1)
        program = util.spawn(["mv", m.path / "d", m.path / "e"])
        proxy.wait_held("h")
        assert copy(a.fileno(), target) == SIZE
        if kill:
            m.wait_workers(2, without=m.kill_workers())
        proxy.release("h")
        util.finish(program)
    os.close(target)
    assert bucket.get(m.key("b.bin")) == bucket.get(m.key("e/a.bin")) == pattern(SIZE)
    settled(m)


def test_the_source_goes_after_the_close(m, bucket, source, target):
    copy(source, target)
    os.close(target)
    os.unlink(m.path / "a.bin")
    assert bucket.get(m.key("b.bin")) == (m.path / "b.bin").read_bytes() == pattern(SIZE)


@pytest.mark.parametrize("action, args", [
    ("answer", {"status": 500, "times": 2}),
    ("answer", {"status": 500, "acted": True, "times": 1}),
    ("answer", {"status": 503, "times": 1}),
    ("reset", {"when": "after", "times": 1}),
    ("drop", {"times": 1}),
    ("cut_response", {"times": 1}),
], ids=["500", "500 after it acted", "503", "reset", "answer lost", "answer cut"])
def test_one_fault_and_it_heals(mount, proxy, bucket, action, args):
    m = mount(via=proxy, env={"STATEPROXY_S3_ATTEMPT_TIMEOUT": f"{int(1000 * SLOW)}ms",
                              "STATEPROXY_S3_DEADLINE": f"{int(8000 * SLOW)}ms"})
    bucket.put(m.key("a.bin"), pattern(SIZE))
    proxy.add_rule(action, op="CopyObject", **args)
    proxy.reset_counts()
    util.run(["cp", m.path / "a.bin", m.path / "b.bin"])
    assert proxy.state().rules[0]["applied"] == args["times"]
    assert proxy.counts()["PutObject"] == 0
    assert bucket.get(m.key("b.bin")) == pattern(SIZE)
    assert (m.path / "b.bin").read_bytes() == pattern(SIZE)
    settled(m)


def test_a_fault_that_stays_is_told(mount, proxy, bucket):
    """At the fsync, and nothing is lost by it."""
    m = mount(via=proxy, env=SHORT)
    bucket.put(m.key("a.bin"), pattern(SIZE))
    with open(m.path / "a.bin", "rb") as a, open(m.path / "b.bin", "wb") as b:
        rule = proxy.add_rule("answer", op="CopyObject", status=500)
        assert copy(a.fileno(), b.fileno()) == SIZE
        with fails_with(errno.EIO):
            os.fsync(b.fileno())
        proxy.remove_rule(rule)
        assert os.fstat(b.fileno()).st_size == SIZE
        os.fsync(b.fileno())
    assert bucket.get(m.key("b.bin")) == pattern(SIZE)
    settled(m)


def test_a_program_that_is_killed_between_two_copies(m, bucket, copies):
    """cat a b > c, and the like: c is not to be what a is."""
    for name in "a.bin", "b.bin":
        bucket.put(m.key(name), pattern(SIZE))
    bucket.put(m.key("c.bin"), b"old")
    code = """
import os, sys, time
c = os.open(sys.argv[2], os.O_WRONLY | os.O_TRUNC)
os.copy_file_range(os.open(sys.argv[1], os.O_RDONLY), c, 1 << 30)
print("copied", flush=True)
time.sleep(1000)
"""
    program = util.spawn([sys.executable, "-B", "-c", code, m.path / "a.bin", m.path / "c.bin"])
    assert program.stdout.readline() == b"copied\n"
    program.kill()
    util.finish(program, check=False)
    settled(m)
    assert copies() == 0
    assert bucket.get(m.key("c.bin")) == (m.path / "c.bin").read_bytes() == b"old"
    util.run(["sh", "-c", 'cat "$0"/a.bin "$0"/b.bin > "$0"/c.bin', m.path])
    assert bucket.get(m.key("c.bin")) == pattern(SIZE) * 2


# -- killed


def start_cp(m, proxy, when="before"):
    proxy.hold("h", when=when, op="CopyObject", times=1)
    cp = util.spawn(["cp", m.path / "a.bin", m.path / "b.bin"])
    proxy.wait_held("h")
    return cp


@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
def test_cp_is_interrupted(m, proxy, bucket, there):
    """It ends at once; the copy that is under way comes to its end, as an upload does."""
    bucket.put(m.key("a.bin"), pattern(SIZE))
    if there:
        bucket.put(m.key("b.bin"), b"old")
    cp = start_cp(m, proxy)
    cp.send_signal(signal.SIGINT)
    assert util.finish(cp, check=False).code == -signal.SIGINT
    proxy.release("h")
    settled(m)
    assert bucket.get(m.key("b.bin")) == pattern(SIZE)
    assert (m.path / "b.bin").read_bytes() == pattern(SIZE)


@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
def test_cp_is_interrupted_and_the_copy_fails(m, proxy, bucket, there):
    bucket.put(m.key("a.bin"), pattern(SIZE))
    if there:
        bucket.put(m.key("b.bin"), b"old")
    cp = start_cp(m, proxy)
    proxy.add_rule("answer", op="CopyObject", status=403)
    cp.send_signal(signal.SIGINT)
    assert util.finish(cp, check=False).code == -signal.SIGINT
    proxy.release("h", verdict="reset")
    settled(m)
    if there:
        assert bucket.get(m.key("b.bin")) == (m.path / "b.bin").read_bytes() == b"old"
    else:
        assert not bucket.exists(m.key("b.bin")) and not (m.path / "b.bin").exists()


def test_a_signal_that_is_handled_ends_nothing(m, proxy, bucket):
    bucket.put(m.key("a.bin"), pattern(SIZE))
    proxy.hold("h", op="CopyObject", times=1)
    code = """
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
a, b = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
print(os.copy_file_range(a, b, 1 << 30), flush=True)
os.fsync(b)
"""
    program = util.spawn([sys.executable, "-B", "-c", code, m.path / "a.bin", m.path / "b.bin"])
    proxy.wait_held("h")
    program.send_signal(signal.SIGUSR1)
    proxy.release("h")
    assert util.finish(program).out.split() == [str(SIZE)]
    assert bucket.get(m.key("b.bin")) == pattern(SIZE)


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_worker_is_killed_in_the_copy(m, proxy, bucket, copies, when):
    bucket.put(m.key("a.bin"), pattern(SIZE))
    cp = start_cp(m, proxy, when)
    killed = m.kill_workers()
    util.wait_until(lambda: not any(util.alive(p) for p in killed), what="the workers' death")
    proxy.release("h")
    util.finish(cp)
    assert 1 <= copies() <= 2
    assert bucket.get(m.key("b.bin")) == pattern(SIZE)
    assert (m.path / "b.bin").read_bytes() == pattern(SIZE)
    settled(m)


def test_the_worker_and_the_program_are_killed_in_the_copy(m, proxy, bucket):
    bucket.put(m.key("a.bin"), pattern(SIZE))
    bucket.put(m.key("b.bin"), b"old")
    cp = start_cp(m, proxy)
    cp.kill()
    killed = m.kill_workers()
    util.wait_until(lambda: not any(util.alive(p) for p in killed), what="the workers' death")
    proxy.release("h")
    util.finish(cp, check=False)
    settled(m)
    assert bucket.get(m.key("b.bin")) in (b"old", pattern(SIZE))
    assert (m.path / "b.bin").read_bytes() == bucket.get(m.key("b.bin"))


@pytest.mark.slow
@pytest.mark.limit(150)
def test_copies_under_random_kills(m, proxy, bucket, seed):
    """One after the other onto the same name, some with a change behind."""
    for i in range(2):
        bucket.put(m.key(f"a{i}.bin"), pattern(SIZE, i))
    proxy.set_latency(5)
    killer = Killer(m, 60, seed, low=0.02, high=0.1)
    killer.start()
    try:
        for i in range(60):
            util.run(["cp", m.path / f"a{i % 2}.bin", m.path / "b.bin"])
            want = pattern(SIZE, i % 2)
            if i % 3 == 0:
                with open(m.path / "b.bin", "ab") as f:
                    f.write(b"more")
                want += b"more"
            assert bucket.get(m.key("b.bin")) == want, i
        killer.finish(100 * SLOW)
    finally:
        killer.cancelled.set()
    proxy.set_latency(0)
    m.wait_workers(2)
    settled(m)


@pytest.mark.parametrize("operation", ["write", "truncate"])
@made
def test_the_worker_is_killed_while_a_change_loads_the_copy(m, proxy, bucket, operation, made):
    bucket.put(m.key("a.bin"), pattern(SIZE))
    code = """
import os, sys
a, b = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
os.copy_file_range(a, b, 1 << 30)
if sys.argv[4] == "True":
    os.fsync(b)
print("copied", flush=True)
sys.stdin.readline()
if sys.argv[3] == "write":
    os.pwrite(b, b"more", os.fstat(b).st_size)
else:
    os.ftruncate(b, 1000)
os.close(b)
"""
    program = util.spawn([sys.executable, "-B", "-c", code, m.path / "a.bin", m.path / "b.bin",
                          operation, str(made)], stdin=subprocess.PIPE)
    assert program.stdout.readline() == b"copied\n"
    proxy.hold("h", op="GetObject", key=m.key("b.bin" if made else "a.bin"), times=1)
    program.stdin.write(b"\n")
    program.stdin.flush()
    proxy.wait_held("h")
    killed = m.kill_workers()
    util.wait_until(lambda: not any(util.alive(p) for p in killed), what="the workers' death")
    proxy.release("h")
    util.finish(program)
    assert bucket.get(m.key("b.bin")) == (pattern(SIZE) + b"more" if operation == "write"
                                          else pattern(SIZE)[:1000])
    settled(m)


# -- others meanwhile


def test_others_wait_for_the_copy(m, proxy, bucket):
    """Who opens the target anew, or renames it, comes after the copy; a stat does not wait."""
    bucket.put(m.key("a.bin"), pattern(SIZE))
    cp = start_cp(m, proxy)
    assert util.run(["stat", "-c", "%s", m.path / "b.bin"]).out.split() == [str(SIZE)]
    mv = util.spawn(["mv", m.path / "b.bin", m.path / "c.bin"])
    with pytest.raises(subprocess.TimeoutExpired):
        mv.wait(0.3)
    proxy.release("h")
    util.finish(mv)
    util.finish(cp)
    assert bucket.get(m.key("c.bin")) == pattern(SIZE)
    assert not bucket.exists(m.key("b.bin"))
    settled(m)


def test_the_target_is_emptied_by_another_while_it_is_copied(m, proxy, bucket):
    bucket.put(m.key("a.bin"), pattern(SIZE))
    cp = start_cp(m, proxy)
    other = util.spawn(["sh", "-c", 'printf later > "$0"', m.path / "b.bin"])
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(0.3)
    proxy.release("h")
    util.finish(other)
    util.finish(cp)
    assert bucket.get(m.key("b.bin")) == b"later"
    settled(m)


def test_many_at_once(m, bucket):
    for i in range(4):
        bucket.put(m.key(f"a{i}.bin"), pattern(SIZE, i))
    running = [util.spawn(["cp", m.path / f"a{i}.bin", m.path / f"b{i}-{j}.bin"])
               for i in range(4) for j in range(4)]
    for cp in running:
        util.finish(cp)
    for i in range(4):
        for j in range(4):
            assert bucket.get(m.key(f"b{i}-{j}.bin")) == pattern(SIZE, i)
    settled(m)
