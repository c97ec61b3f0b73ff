"""The server errs, the network loses things, the server is away: what an application sees."""

import errno
import hashlib
import json
import os
import sys

import pytest

from harness import PROGRAMS, SLOW, util
from harness.pattern import pattern
from harness.s3 import S3

FILEOP = [sys.executable, "-B", PROGRAMS / "fileop.py"]

# Short enough to wait for, long enough for a slow machine to do what it is to do.
DEADLINES = {"STATEPROXY_S3_ATTEMPT_TIMEOUT": f"{int(1000 * SLOW)}ms",
             "STATEPROXY_S3_CONNECT_TIMEOUT": f"{int(1000 * SLOW)}ms",
             "STATEPROXY_S3_DEADLINE": f"{int(4000 * SLOW)}ms"}
BRIEF = {name: f"{int(1000 * SLOW)}ms" for name in DEADLINES}
OUTAGE_ERRORS = {"ETIMEDOUT", "ECONNREFUSED", "ECONNRESET"}


@pytest.fixture
def m(mount, proxy):
    return mount(via=proxy)


def write(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def fileop(*args, timeout=60):
    """(errno name or None, the call that failed, everything it said)."""
    done = util.run([*FILEOP, *args], timeout, check=False)
    out = json.loads(done.out.splitlines()[-1])
    return out["error"], out["at"], out


# -- one fault, and it heals


FAULTS = [
    ("500 twice", "answer", {"status": 500, "times": 2}),
    ("500 after the server acted", "answer", {"status": 500, "acted": True, "times": 1}),
    ("503 with Retry-After", "answer", {"status": 503, "retry_after": 1, "times": 1}),
    ("503 early", "answer", {"status": 503, "early": True, "times": 1}),
    ("reset before", "reset", {"times": 1}),
    ("reset after", "reset", {"when": "after", "times": 1}),
    ("answer lost", "drop", {"times": 1}),
    ("request cut", "cut_request", {"times": 1}),
    ("answer cut", "cut_response", {"times": 1}),
]
OF_ALL = ("500 twice", "503 early", "reset after", "answer lost")     # tried on each operation


@pytest.mark.parametrize("action, args", [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
@pytest.mark.parametrize("size", [4096, 2_000_000])
def test_a_write_survives(m, proxy, bucket, action, args, size):
    bucket.put(m.key("f.bin"), b"old")
    proxy.add_rule(action, op="PutObject", **args)
    write(m.path / "f.bin", pattern(size, 1))
    assert bucket.get(m.key("f.bin")) == pattern(size, 1)
    assert proxy.state().rules[0]["applied"] == args["times"]
    assert (m.path / "f.bin").read_bytes() == pattern(size, 1)
    m.check()


@pytest.mark.parametrize("action, args", [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
@pytest.mark.parametrize("size", [4096, 20_000_000])
def test_a_read_survives(m, proxy, bucket, action, args, size):
    bucket.put(m.key("f.bin"), pattern(size, 1))
    proxy.add_rule(action, op="GetObject", **args)
    out = fileop("read", m.path / "f.bin")[2]
    assert out["error"] is None
    assert out["sha256"] == hashlib.sha256(pattern(size, 1)).hexdigest()
    m.check()


@pytest.mark.parametrize("action, args", [f[1:] for f in FAULTS if f[0] in OF_ALL],
                         ids=[f[0] for f in FAULTS if f[0] in OF_ALL])
@pytest.mark.parametrize("op, function", [
    ("ListObjectsV2", lambda p: os.listdir(p)),
    ("DeleteObject", lambda p: os.unlink(p / "f.txt")),
    ("CopyObject", lambda p: os.rename(p / "f.txt", p / "g.txt")),
    ("DeleteObject", lambda p: os.rename(p / "f.txt", p / "g.txt")),
    ("PutObject", lambda p: os.mkdir(p / "d")),
], ids=["list", "unlink", "rename-copy", "rename-delete", "mkdir"])
def test_an_operation_survives(m, proxy, bucket, action, args, op, function):
    bucket.put(m.key("f.txt"), b"x")
    proxy.add_rule(action, op=op, **args)
    function(m.path)
    left = set(bucket.list(m.key("")))
    expected = {"ListObjectsV2": ["f.txt"], "PutObject": ["f.txt", "d/"]}.get(op)
    if expected is None:
        expected = ["g.txt"] if bucket.exists(m.key("g.txt")) else []
    assert left == {m.key(n) for n in expected}


def test_an_error_document_in_a_200_is_no_copy(m, proxy, bucket):
    bucket.put(m.key("f.txt"), b"x")
    proxy.add_rule("answer", status=200, code="InternalError", op="CopyObject", times=1)
    os.rename(m.path / "f.txt", m.path / "g.txt")
    assert bucket.list(m.key("")) == {m.key("g.txt"): 1}


def test_retry_after_is_respected(m, proxy, bucket):
    proxy.add_rule("answer", status=503, retry_after=1, op="PutObject", times=1)
    write(m.path / "f.txt", b"x")
    first, second = proxy.log(op="PutObject")
    assert second.start - first.end >= 0.95


def test_faults_of_every_kind_while_a_program_works(m, proxy, bucket, scratch, seed):
    for i, (action, args) in enumerate([
            ("reset", {}), ("reset", {"when": "after"}), ("drop", {}), ("cut_request", {}),
            ("cut_response", {}), ("answer", {"status": 500}), ("answer", {"status": 503})]):
        proxy.add_rule(action, probability=0.005, seed=seed + i, **args)
    (m.path / "w").mkdir()
    util.run([sys.executable, "-B", PROGRAMS / "writer_verifier.py", m.path / "w", "--seed", seed,
              "--ops", 600, "--state", scratch / "state.json"], timeout=90)
    proxy.clear_rules()
    state = json.loads((scratch / "state.json").read_text())
    prefix = m.key("w/")
    assert {k[len(prefix):]: n for k, n in bucket.list(prefix).items() if k != prefix} == {
        n: size for n, (size, _) in state["files"].items()}
    for name, (_, digest) in state["files"].items():
        assert hashlib.sha256(bucket.get(prefix + name)).hexdigest() == digest
    m.check()


# -- refused for good


@pytest.mark.parametrize("status, code, expected", [
    (403, "AccessDenied", "EACCES"), (400, "InvalidRequest", "EIO"),
    (507, "XMinioStorageFull", "ENOSPC"), (400, "EntityTooLarge", "EFBIG")])
def test_a_refused_put_is_told_at_close(m, proxy, bucket, status, code, expected):
    bucket.put(m.key("f.txt"), b"old")
    proxy.add_rule("answer", status=status, code=code, op="PutObject")
    error, at, _ = fileop("write", m.path / "f.txt", 100, 1)
    assert (error, at) == (expected, "close")
    # (a 400 that says nothing may be about the condition or the checksum: each way once)
    assert proxy.counts()["PutObject"] == (4 if code == "InvalidRequest" else 1), \
        "what cannot heal is not tried again"
    assert "learned" not in m.log()
    assert bucket.get(m.key("f.txt")) == b"old"


@pytest.mark.parametrize("status, code, expected", [
    (403, "AccessDenied", errno.EACCES), (403, "InvalidObjectState", errno.EACCES)])
def test_a_refused_get_is_told_at_open_or_read(m, proxy, bucket, status, code, expected):
    bucket.put(m.key("f.txt"), b"x")
    proxy.add_rule("answer", status=status, code=code, op=["GetObject", "HeadObject"])
    with pytest.raises(OSError) as e:
        (m.path / "f.txt").read_bytes()
    assert e.value.errno == expected


def test_what_failed_can_be_written_again(m, proxy, bucket):
    proxy.add_rule("answer", status=403, op="PutObject", times=1)
    with pytest.raises(PermissionError):
        write(m.path / "f.txt", b"one")
    assert not (m.path / "f.txt").exists(), "an unpublished file is not there"
    write(m.path / "f.txt", b"two")
    assert bucket.get(m.key("f.txt")) == b"two"
    m.check()


# -- the server is away


@pytest.mark.parametrize("mode", ["refuse", "blackhole"])
def test_an_outage_shorter_than_the_deadline_heals(mount, proxy, bucket, mode):
    m = mount(via=proxy, env={**DEADLINES, "STATEPROXY_S3_DEADLINE": "60s",
                              "AWS_MAX_ATTEMPTS": "10"})
    bucket.put(m.key("g.bin"), pattern(100_000))
    proxy.block(mode)
    writer = util.spawn([*FILEOP, "write", m.path / "f.bin", 100_000, 1])
    reader = util.spawn([*FILEOP, "read", m.path / "g.bin"])
    if mode == "blackhole":
        proxy.wait_count(1)
    else:
        with pytest.raises(AssertionError):
            util.wait_until(lambda: writer.poll() or reader.poll(), 1.0 / SLOW)
    proxy.unblock()
    for p in (writer, reader):
        done = util.finish(p)
        assert json.loads(done.out)["error"] is None
    assert bucket.get(m.key("f.bin")) == pattern(100_000, 1)
    m.check()


@pytest.mark.parametrize("mode", ["refuse", "blackhole"])
def test_an_outage_longer_than_the_deadline_is_told_at_close(mount, proxy, bucket, mode):
    m = mount(via=proxy, env=DEADLINES)
    bucket.put(m.key("f.txt"), b"old")
    fd = os.open(m.path / "f.txt", os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b"new")
    proxy.block(mode)
    with pytest.raises(OSError) as e:
        os.close(fd)
    assert errno.errorcode[e.value.errno] in OUTAGE_ERRORS
    proxy.unblock()
    assert bucket.get(m.key("f.txt")) == b"old", "the file keeps its last published content"
    util.wait_until(lambda: (m.path / "f.txt").read_bytes() == b"old", what="the old content")
    assert len([x for x in m.errors() if "f.txt" in x]) <= 1, "told once"
    m.check()


def test_an_outage_is_told_to_a_reader(mount, proxy, bucket):
    m = mount(via=proxy, env=DEADLINES)
    bucket.put(m.key("f.txt"), b"x")
    proxy.block()
    error, at, out = fileop("read", m.path / "f.txt")
    assert error in OUTAGE_ERRORS and out["seconds"] < 15 * SLOW
    proxy.unblock()
    assert (m.path / "f.txt").read_bytes() == b"x"


def test_after_an_outage_fsync_sends_again(mount, proxy, bucket):
    m = mount(via=proxy, env=DEADLINES)
    fd = os.open(m.path / "f.txt", os.O_WRONLY | os.O_CREAT)
    try:
        os.write(fd, b"content")
        proxy.block()
        with pytest.raises(OSError):
            os.fsync(fd)
        proxy.unblock()
        os.fsync(fd)
        assert bucket.get(m.key("f.txt")) == b"content"
    finally:
        os.close(fd)


def failed_uploads(m, name):
    return [x for x in m.log().splitlines() if "upload failed key=" in x and name in x]


@pytest.mark.parametrize("again", ["fsync", "close", "another close"])
def test_what_an_outage_kept_back_is_sent_at_the_next_chance(mount, proxy, bucket, again):
    """The error is told once and logged once; the bytes are kept as long as somebody has the file
    open, also those written meanwhile."""
    m = mount(via=proxy, env=BRIEF)
    path = m.path / "f.txt"
    bucket.put(m.key("f.txt"), b"old")
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    other = os.dup(fd)
    os.write(fd, b"kept")
    proxy.block()
    with pytest.raises(OSError) as e:
        os.close(fd) if again == "another close" else os.fsync(fd)
    assert errno.errorcode[e.value.errno] in OUTAGE_ERRORS
    os.write(other, b" and more")
    proxy.unblock()
    assert bucket.get(m.key("f.txt")) == b"old"
    if again == "fsync":
        os.fsync(fd)
        assert bucket.get(m.key("f.txt")) == b"kept and more"
    os.close(other)
    assert bucket.get(m.key("f.txt")) == b"kept and more"
    if again != "another close":
        os.close(fd)
    assert len(failed_uploads(m, "f.txt")) == 1 and not m.errors()
    assert path.read_bytes() == b"kept and more"
    m.check()


def test_after_the_last_close_failed_nothing_is_left(mount, proxy, bucket):
    """It has been told. A later close of somebody else does not bring the bytes back."""
    m = mount(via=proxy, env=BRIEF)
    bucket.put(m.key("f.txt"), b"old")
    fd = os.open(m.path / "f.txt", os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b"never published")
    proxy.block()
    with pytest.raises(OSError):
        os.close(fd)
    proxy.unblock()
    util.wait_until(lambda: m.status()["tables"]["sessions"] == 0, what="the session's end")
    with open(m.path / "f.txt", "ab") as f:
        f.write(b" appended")
    assert bucket.get(m.key("f.txt")) == b"old appended"
    assert m.log().count("data discarded") == 1 and len(failed_uploads(m, "f.txt")) == 1
    m.check()


def test_an_outage_in_the_middle_of_a_body_heals(mount, proxy, bucket):
    """Half of the PUT is there when the server goes, and half of the GET."""
    m = mount(via=proxy, env={**DEADLINES, "STATEPROXY_S3_DEADLINE": "60s"})
    bucket.put(m.key("g.bin"), pattern(6_000_000, 2))
    proxy.hold("put", op="PutObject", when="mid", times=1)
    proxy.add_rule("cut_response", op="GetObject", key="*g.bin", at=3_000_000, times=1)
    writer = util.spawn([*FILEOP, "write", m.path / "f.bin", 6_000_000, 1])
    reader = util.spawn([*FILEOP, "read", m.path / "g.bin"])
    proxy.wait_held("put")
    proxy.block()
    proxy.release("put", "reset")
    assert writer.poll() is None
    proxy.unblock()
    for p in (writer, reader):
        assert json.loads(util.finish(p).out)["error"] is None
    assert bucket.get(m.key("f.bin")) == pattern(6_000_000, 1)
    m.check()


@pytest.mark.parametrize("command, left", [
    (["unlink", "f.txt"], {"f.txt", "d/"}), (["mkdir", "new"], {"f.txt", "d/"}),
    (["rmdir", "d"], {"f.txt", "d/"}), (["rename", "f.txt", "g.txt"], {"f.txt", "d/"}),
    (["truncate", "f.txt", "1"], {"f.txt", "d/"}), (["list", ""], {"f.txt", "d/"}),
], ids=lambda x: x[0] if isinstance(x, list) else None)
def test_an_operation_in_an_outage_fails_and_is_done_later(mount, proxy, bucket, command, left):
    """Within the deadline, having done nothing; the same again is done."""
    m = mount(via=proxy, env=BRIEF)
    bucket.put(m.key("f.txt"), b"123")
    (m.path / "d").mkdir()
    os.stat(m.path / "f.txt")
    args = [command[0], *(a if a.isdigit() else m.path / a for a in command[1:])]
    proxy.block()
    error, _, out = fileop(*args)
    assert error in OUTAGE_ERRORS and out["seconds"] < 8 * SLOW
    proxy.unblock()
    assert {k[len(m.key("")):] for k in bucket.list(m.key(""))} == left
    assert bucket.get(m.key("f.txt")) == b"123"
    assert fileop(*args)[0] is None
    m.check()


def test_a_slow_answer_is_not_an_outage_for_others(m, proxy, bucket):
    """One request hangs; everything else goes on, also with all of it on one worker. (Files are made in another
    directory: the kernel lets no name be made in a directory while it looks one up there.)"""
    (m.path / "d").mkdir()
    bucket.put(m.key("slow.txt"), b"slow")
    bucket.put(m.key("f.txt"), b"fast")
    proxy.hold("h", key="*slow.txt")
    reader = util.spawn([*FILEOP, "read", m.path / "slow.txt"])
    proxy.wait_held("h")
    for i in range(10):
        assert (m.path / "f.txt").read_bytes() == b"fast"
        write(m.path / "d" / f"g{i}.txt", b"x")
    assert reader.poll() is None
    proxy.release("h")
    assert json.loads(util.finish(reader).out)["error"] is None


def test_the_server_killed_and_started_again(mount, own_server, scratch, seed):
    bucket = S3(own_server.endpoint, "killed-server", own_server.root).create()
    m = mount(s3=bucket, via=own_server.endpoint,
              env={"STATEPROXY_S3_DEADLINE": "60s", "AWS_MAX_ATTEMPTS": "20"})
    (m.path / "w").mkdir()
    writer = util.spawn([sys.executable, "-B", PROGRAMS / "writer_verifier.py", m.path / "w",
                         "--seed", seed, "--until", scratch / "stop", "--state",
                         scratch / "state.json"])
    for _ in range(3):
        seen = bucket.list(m.key("w/"))
        util.wait_until(lambda: bucket.list(m.key("w/")) != seen or writer.poll() is not None,
                        what="something written")
        own_server.kill()
        own_server.start()
    (scratch / "stop").touch()
    util.finish(writer, 90)
    state = json.loads((scratch / "state.json").read_text())
    for name, (_, digest) in state["files"].items():
        assert hashlib.sha256(bucket.get(m.key(f"w/{name}"))).hexdigest() == digest


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-passthrough"])
@pytest.mark.parametrize("theirs", [b"", b"theirs", b"four"])
def test_a_file_that_had_to_be_new_replaces_nothing(mount, proxy, bucket, variant, theirs):
    """Nor where the answer that says so is lost."""
    m = mount(via=proxy, variant=variant)
    fd = os.open(m.path / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.write(fd, b"ours")
    bucket.put(m.key("f"), theirs)
    proxy.add_rule("drop", op="PutObject", times=1)
    with pytest.raises(FileExistsError):
        os.close(fd)
    assert bucket.get(m.key("f")) == theirs
    proxy.clear_rules()
    proxy.add_rule("drop", op="PutObject", times=1)
    with open(m.path / "new", "xb") as f:
        f.write(b"ours")
    assert bucket.get(m.key("new")) == b"ours"
