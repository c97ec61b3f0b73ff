"""What the operator sees of compare-and-set: `stateproxyctl conflicts` and `sessions`, the log, the
counter."""

import calendar
import contextlib
import errno
import json
import os
import time

import pytest

from test_cas import cas, process, s3server      # noqa: F401
from test_limits import disk, fails_with         # noqa: F401


def conflicts(m):
    return json.loads(m.ctl("--json", "conflicts").out)


def etag(bucket, key):
    return bucket.head(key)["ETag"]


def lose(a, p, text):
    with pytest.raises(FileExistsError):
        a.put(p, text)


def test_a_conflict_is_told_once(cas, bucket, process):
    m, a = cas(), process()
    p = m.path / 'k "1".txt'
    key = 'p/k "1".txt'
    assert m.ctl("conflicts").out == "no write was refused\n" and conflicts(m) == []
    bucket.put(key, b"1")
    a.get(p)
    expected = etag(bucket, key)
    bucket.put(key, b"2")
    lose(a, p, "mine")
    one, = conflicts(m)
    assert one["key"] == key and one["expected"] == expected and one["pid"] == a.proc.pid
    assert abs(calendar.timegm(time.strptime(one["time"], "%Y-%m-%dT%H:%M:%SZ"))
               - time.time()) < 120
    assert len(one["write_id"]) == 8 and one["write_id"] in m.log()
    line = m.ctl("conflicts").out
    assert key in line and expected in line and f"pid {a.proc.pid}" in line
    told = [x for x in m.log().splitlines() if "conflict" in x or "discarded" in x]
    assert len(told) == 1 and "p/k " in told[0] and expected in told[0]
    counters = m.status()["counters"]
    assert counters["conflicts"] == 1 and counters["discarded"] == 1
    m.check()


def test_an_unlink_is_told_as_a_write(cas, bucket, process):
    m, a = cas(), process()
    p = m.path / "k"
    bucket.put("p/k", b"1")
    a.get(p)
    expected = etag(bucket, "p/k")
    bucket.put("p/k", b"2")
    with pytest.raises(FileExistsError):
        a("unlink", p)
    assert bucket.get("p/k") == b"2"
    one, = conflicts(m)
    assert (one["key"], one["expected"], one["found"], one["pid"]) == ("p/k", expected, "unknown", a.proc.pid)
    told, = [x for x in m.log().splitlines() if "conflict" in x]
    assert "not removed" in told and expected in told
    assert m.status()["counters"]["conflicts"] == 1
    m.check()


def test_what_was_expected_and_found(cas, bucket, process):
    m, a, b = cas(), process(), process()
    p = m.path / "k"
    a("open", "new", p, "w")            # nobody has it yet: whatever comes is overwritten
    b("open", "excl", p.with_name("e"), "x")
    bucket.put("p/e", b"theirs")
    b("write", "excl", "mine")
    with pytest.raises(FileExistsError):
        b("close", "excl")
    bucket.put("p/k", b"1")
    b("open", "f", p, "r+")             # loads the version that is there
    b("read", "f")
    bucket.put("p/k", b"2")
    b("write", "f", "x")
    with pytest.raises(FileExistsError):
        b("close", "f")
    first, second = conflicts(m)
    assert first["key"] == "p/e" and first["found"] in ("unknown", etag(bucket, "p/e"))
    assert second["key"] == "p/k" and second["pid"] == b.proc.pid
    a("close", "new")


def test_deleted_meanwhile(cas, bucket, process):
    m, a = cas(), process()
    bucket.put("p/k", b"1")
    a.get(m.path / "k")
    expected = etag(bucket, "p/k")
    bucket.delete("p/k")
    lose(a, m.path / "k", "mine")
    a("open", "f", m.path / "k", "w")       # from now on it is to be made
    one, = json.loads(m.ctl("--json", "sessions").out)
    assert (one["path"], one["expects"]) == ("/k", "absent")
    bucket.put("p/k", b"theirs")
    a("write", "f", "x")
    with pytest.raises(FileExistsError):
        a("close", "f")
    first, second = conflicts(m)
    assert (first["expected"], first["found"]) == (expected, "absent")
    assert (second["expected"], second["found"]) == ("absent", "unknown")
    assert "found=absent" in m.log() and "expected=absent" in m.log()
    m.check()


def test_a_name_does_not_forge_a_line(cas, bucket, process):
    m, a = cas(), process()
    key = "p/k\nforged"
    bucket.put(key, b"1")
    a.get(m.path / "k\nforged")
    bucket.put(key, b"2")
    lose(a, m.path / "k\nforged", "mine")
    a("open", "f", m.path / "k\nforged", "w")
    for command, shown in ("conflicts", "p/k\\x0aforged"), ("sessions", "/k\\x0aforged"):
        line, = m.ctl(command).out.splitlines()
        assert shown in line
    assert conflicts(m)[0]["key"] == key
    with pytest.raises(FileExistsError):
        a("close", "f")


def test_refused_before_it_is_sent(cas, bucket, process):
    """The process has read another version than the one it changes."""
    m, a = cas(), process()
    p = m.path / "k"
    bucket.put("p/k", b"1")
    a.get(p)
    bucket.put("p/k", b"2")
    with pytest.raises(FileExistsError):
        a("open", "f", p, "r+")
        a("write", "f", "x")
        a("close", "f")
    one, = conflicts(m)
    assert one["expected"] == "unknown" and one["found"] == etag(bucket, "p/k")
    assert m.log().count("conflict key=") == 1


def test_a_failure_after_a_conflict_is_told(cas, bucket, disk):
    """The conflict has its line; what was written after it is lost for another reason."""
    m = cas(workers=1, env={"STATEPROXY_BUFFER_DIR": disk})
    bucket.put("p/k", b"1")
    fd = os.open(m.path / "k", os.O_RDWR)
    bucket.put("p/k", b"2")
    os.pwrite(fd, b"x", 0)
    with fails_with(errno.EEXIST):
        os.fsync(fd)
    with open(disk / "hog", "wb", buffering=0) as f, contextlib.suppress(OSError):
        while True:
            f.write(bytes(4096))
    with fails_with(errno.ENOSPC):
        for at in range(0, 6 << 20, 1 << 20):       # beyond 4 MiB it goes to the disk
            os.pwrite(fd, bytes(1 << 20), at)
    with fails_with(errno.ENOSPC):
        os.close(fd)
    (disk / "hog").unlink()
    assert len(conflicts(m)) == 1
    given_up, = [x for x in m.log().splitlines() if "data discarded" in x]
    assert 'key="p/k"' in given_up and "a write to it failed" in given_up
    assert bucket.get("p/k") == b"2"
    m.check()
    m.stop()        # before the disk goes


def test_the_last_hundred_are_kept(cas, bucket, process):
    m, a = cas(), process()
    for i in range(104):
        bucket.put(f"p/k{i}", b"1")
        a.get(m.path / f"k{i}")
        bucket.put(f"p/k{i}", b"2")
        lose(a, m.path / f"k{i}", "mine")
    assert [c["key"] for c in conflicts(m)] == [f"p/k{i}" for i in range(4, 104)]
    text = m.ctl("conflicts").out.splitlines()
    assert len(text) == 101 and text[-1] == "(last 100 of 104)"
    m.check()


def test_sessions_tell_what_they_expect(cas, bucket, process):
    m, a = cas(), process()
    for name in "read", "never":
        bucket.put(f"p/{name}", b"1")
    a.get(m.path / "read")
    for name, mode in ("read", "w"), ("never", "w"), ("excl", "x"), ("new", "w"):
        a("open", name, m.path / name, mode)
        a("write", name, "x")
    b = process()
    bucket.put("p/old", b"1")
    b.get(m.path / "old")
    bucket.put("p/old", b"2")
    b("open", "old", m.path / "old", "r+")
    sessions = json.loads(m.ctl("--json", "sessions").out)
    told = {s["path"]: s["expects"] for s in sessions}
    # (The empty file that was put for O_EXCL is a version like any other.)
    assert told == {"/read": etag(bucket, "p/read"), "/never": "any",
                    "/excl": etag(bucket, "p/excl"), "/new": "any", "/old": "refused"}
    assert f"expects {told['/read']}" in m.ctl("sessions").out
    flags = {s["path"]: set(s["flags"]) for s in sessions}
    assert {"expects", "loaded"} <= flags["/read"] and "expects" not in flags["/never"]
    assert {"expects", "refused"} <= flags["/old"] and "refused" not in flags["/excl"]
    assert all(f in m.ctl("sessions").out for f in flags["/old"])
    b("close", "old")
    for name in "read", "never", "excl", "new":
        a("close", name)


def test_other_variants_expect_nothing(mount, bucket):
    m = mount()
    with open(m.path / "f", "w") as f:
        f.write("x")
        f.flush()
        assert [set(s) for s in json.loads(m.ctl("--json", "sessions").out)] == \
            [{"path", "size", "dirty", "publishing", "flags"}]
        assert "expects" not in m.ctl("sessions").out
    assert conflicts(m) == []
