"""rename with compare-and-set: what it expects at the new name, what becomes of the old one, outcomes
after lost answers and killed workers."""

import ctypes
import errno
import os
import subprocess

import pytest

from harness import SLOW
from test_cas import (PATIENT, cas, in_background, process, run_all, s3server,   # noqa: F401
                      start)

LATE = {**PATIENT, "STATEPROXY_S3_ATTEMPT_TIMEOUT": "60s"}
NOREPLACE = 1
PUTS = ["PutObject", "CopyObject"]      # a copy where the server keeps its conditions


def noreplace(old, new):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), NOREPLACE) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


# -- what moves


def test_content_and_metadata_move(cas, bucket):
    m = cas()
    meta = {"mode": "33152", "mtime": "1700000000.5", "color": "red",
            "xattr": "%7B%22user.a%22%3A%22b25l%22%7D"}
    bucket.put("p/d/a.txt", b"content", Metadata=meta, ContentType="text/plain")
    (m.path / "e").mkdir()
    os.rename(m.path / "d/a.txt", m.path / "e/b.txt")
    head = bucket.head("p/e/b.txt")
    kept = {k: v for k, v in head["Metadata"].items() if k not in ("stateproxy-lineage", "ctime")}
    assert kept == meta and head["ContentType"] == "text/plain"
    assert bucket.get("p/e/b.txt") == b"content" and not bucket.exists("p/d/a.txt")
    s = (m.path / "e/b.txt").stat()
    assert s.st_mode & 0o777 == 0o600 and s.st_mtime == 1700000000.5
    assert os.getxattr(m.path / "e/b.txt", "user.a") == b"one"
    assert (m.path / "e/b.txt").read_bytes() == b"content"
    assert not (m.path / "d/a.txt").exists()
    m.check()


def test_large_files_go_through_the_disk(cas, bucket):
    m = cas(env={"STATEPROXY_BUFFER_MEMORY": "1Mi"})
    data = os.urandom(1 << 20) * 20
    bucket.put("p/a", data)
    os.rename(m.path / "a", m.path / "b")
    assert bucket.get("p/b") == data and not bucket.exists("p/a")


def test_empty_files_and_links(cas, bucket):
    m = cas()
    (m.path / "empty").write_bytes(b"")
    os.rename(m.path / "empty", m.path / "empty2")
    assert bucket.get("p/empty2") == b"" and not bucket.exists("p/empty")
    os.symlink("target", m.path / "link.x")
    os.rename(m.path / "link.x", m.path / "link2.x")
    assert os.readlink(m.path / "link2.x") == "target"
    assert not bucket.exists("p/link.x")
    m.check()


def test_directories_are_left_to_a_copy(cas, bucket):
    m = cas()
    (m.path / "d").mkdir()
    (m.path / "d/f").write_text("1")
    with pytest.raises(OSError) as e:
        os.rename(m.path / "d", m.path / "e")
    assert e.value.errno == 18      # EXDEV
    subprocess.run(["mv", m.path / "d", m.path / "e"], check=True)
    assert bucket.get("p/e/f") == b"1" and not bucket.list("p/d/")
    m.check()


def test_lineages_survive(cas, bucket, process):
    m, a = cas(), process()
    a.put(m.path / "k", "1")
    before = bucket.head("p/k")["Metadata"]["stateproxy-lineage"]
    a("rename", m.path / "k", m.path / "l")
    after = bucket.head("p/l")["Metadata"]["stateproxy-lineage"]
    assert after.endswith(before) and len(after) == len(before) + 8
    a.put(m.path / "l", "2")        # its own: expected
    assert bucket.get("p/l") == b"2"


# -- what is expected at the new name


def test_save_by_rename_expects_what_was_read(cas, bucket, process):
    m, a = cas(), process()
    f, tmp = m.path / "f", m.path / "f.tmp"
    bucket.put("p/f", b"1")
    assert a.get(f) == "1"
    a.put(tmp, "2")
    a("rename", tmp, f)
    assert bucket.get("p/f") == b"2" and not bucket.exists("p/f.tmp")
    bucket.put("p/f", b"theirs")
    a.put(tmp, "3")
    for _ in range(2):
        with pytest.raises(FileExistsError):
            a("rename", tmp, f)
        assert bucket.get("p/f") == b"theirs" and bucket.get("p/f.tmp") == b"3"
    assert a.get(f) == "theirs"
    a("rename", tmp, f)
    assert bucket.get("p/f") == b"3"
    m.check()


def test_a_shell_is_ruled_by_the_mount(cas, bucket):
    """`sed ... f > f.tmp && mv f.tmp f`: who read and who renames are different processes."""
    m = cas()
    bucket.put("p/f", b"1")
    p = subprocess.Popen(["sh", "-c", "cd $0 && sed s/1/2/ f > f.tmp && echo ready && read go && "
                          "mv -f f.tmp f", m.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "ready\n"
    bucket.put("p/f", b"theirs")
    _, err = p.communicate("go\n", timeout=30 * SLOW)
    assert p.returncode == 1 and "File exists" in err
    assert bucket.get("p/f") == b"theirs"


@pytest.mark.parametrize("there", [True, False])
def test_never_read_is_what_the_lookup_found(cas, proxy, bucket, process, there):
    m, a = cas(via=proxy, env=LATE), process()
    if there:
        bucket.put("p/f", b"seen")
    bucket.put("p/new", b"mine")
    proxy.hold("h", op=PUTS, key="p/f")
    t, result = in_background(a, "rename", m.path / "new", m.path / "f")
    proxy.wait_held("h")
    bucket.put("p/f", b"theirs")
    proxy.release("h")
    t.join(30)
    assert result == [17]
    assert bucket.get("p/f") == b"theirs" and bucket.get("p/new") == b"mine"
    a("rename", m.path / "new", m.path / "f")
    assert bucket.get("p/f") == b"mine" and not bucket.exists("p/new")


def test_noreplace_is_decided_by_the_server(cas, proxy, bucket):
    m = cas(via=proxy, env=LATE)
    bucket.put("p/new", b"mine")
    proxy.hold("h", op=PUTS, key="p/f")
    t, result = in_background(noreplace, m.path / "new", m.path / "f")
    proxy.wait_held("h")
    bucket.put("p/f", b"theirs")
    proxy.release("h")
    t.join(30)
    assert result == [17]
    with pytest.raises(FileExistsError):
        noreplace(m.path / "new", m.path / "f")
    noreplace(m.path / "new", m.path / "g")
    assert bucket.get("p/f") == b"theirs" and bucket.get("p/g") == b"mine"


# -- the old name


def test_a_source_that_was_read_otherwise_stays(cas, bucket, process):
    m, a = cas(), process()
    bucket.put("p/a", b"1")
    a.get(m.path / "a")
    bucket.put("p/a", b"2")
    with pytest.raises(FileExistsError):
        a("rename", m.path / "a", m.path / "b")
    assert bucket.get("p/a") == b"2" and not bucket.exists("p/b")


def test_a_source_that_changes_meanwhile_stays(cas, proxy, bucket, process):
    m, a = cas(via=proxy, env=LATE), process()
    bucket.put("p/a", b"1")
    proxy.hold("h", op=PUTS, key="p/b", when="after")
    t, result = in_background(a, "rename", m.path / "a", m.path / "b")
    proxy.wait_held("h")
    bucket.put("p/a", b"2")
    proxy.release("h")
    t.join(30)
    assert result == [17]
    assert bucket.get("p/a") == b"2" and bucket.get("p/b") == b"1"
    assert "the old name remains" in m.log()
    assert a.get(m.path / "a") == "2" and a.get(m.path / "b") == "1"


@pytest.mark.parametrize("content", [b"", b"1"], ids=["looked at", "told by the server"])
def test_a_source_that_another_client_takes_meanwhile_is_not_ours(cas, proxy, bucket, process, content):
    """Of two workers that claim a job by renaming it, the second is told. (AWS answers a conditional DELETE of
    what is not there with 404; before that of an empty file comes a HEAD on any server.)"""
    m, a = cas(via=proxy, env=LATE), process()
    bucket.put("p/a", content)
    proxy.hold("h", op=PUTS, key="p/b", when="after")
    t, result = in_background(a, "rename", m.path / "a", m.path / "b")
    proxy.wait_held("h")
    bucket.delete("p/a")
    if content:
        proxy.add_rule("answer", op="DeleteObject", key="p/a", status=404, code="NoSuchKey")
    proxy.release("h")
    t.join(30)
    assert result == [errno.EEXIST]
    assert bucket.list("p/") == {"p/b": len(content)}
    assert "the old name was taken meanwhile" in m.log()
    assert os.listdir(m.path) == ["b"]
    m.check()


def test_what_is_open_moves_along(cas, bucket, process):
    m, a, b = cas(), process(), process()
    a("open", "f", m.path / "tmp", "w")
    a("write", "f", "one ")
    a("rename", m.path / "tmp", m.path / "f")       # publishes first
    assert bucket.get("p/f") == b"one " and not bucket.exists("p/tmp")
    a("write", "f", "two")
    a("close", "f")
    assert bucket.get("p/f") == b"one two" and not bucket.exists("p/tmp")
    assert b.get(m.path / "f") == "one two"
    m.check()


def test_what_others_write_under_the_old_name_is_refused(cas, bucket, process):
    m, a, b = cas(), process(), process()
    bucket.put("p/a", b"1")
    b("open", "f", m.path / "a", "r+")
    b("write", "f", "2")
    a("rename", m.path / "a", m.path / "b")
    with pytest.raises(FileExistsError):
        b("close", "f")
    assert bucket.get("p/b") == b"1" and not bucket.exists("p/a")


def test_what_was_replaced_is_not_published(cas, bucket, process):
    m, a = cas(), process()
    bucket.put("p/f", b"old")
    a.get(m.path / "f")
    a("open", "f", m.path / "f", "r+")
    a("write", "f", "never")
    a.put(m.path / "tmp", "new")
    a("rename", m.path / "tmp", m.path / "f")
    a("close", "f")
    assert bucket.get("p/f") == b"new"
    m.check()


@pytest.mark.parametrize("how", ["unlinked", "renamed", "replaced"])
def test_many_descriptors_of_one_process(cas, bucket, process, how):
    """Each is a session of its own: more than fit one section of the lock."""
    m, a = cas(), process()
    bucket.put("p/f.txt", b"1")
    bucket.put("p/t.txt", b"2")
    for i in range(60):
        a("open", f"f{i}", m.path / "f.txt", "r+")
    if how == "unlinked":
        a("unlink", m.path / "f.txt")
        assert not bucket.exists("p/f.txt")
    elif how == "renamed":
        a("rename", m.path / "f.txt", m.path / "g.txt")
        assert bucket.get("p/g.txt") == b"1" and not bucket.exists("p/f.txt")
    else:
        a("rename", m.path / "t.txt", m.path / "f.txt")
        assert bucket.get("p/f.txt") == b"2" and not bucket.exists("p/t.txt")
    a("write", "f59", "3")
    a("close", "f59")
    assert list(bucket.list("p/")) == {"unlinked": ["p/t.txt"], "renamed": ["p/g.txt", "p/t.txt"],
                                       "replaced": ["p/f.txt"]}[how]
    assert bucket.get("p/g.txt" if how == "renamed" else list(bucket.list("p/"))[0]) == \
        (b"3" if how == "renamed" else b"2")
    m.check()


# -- outcomes


def test_ours_also_under_a_later_version(cas, proxy, bucket, process):
    slow, other, a, b = cas(via=proxy, env=LATE), cas(), process(), process()
    bucket.put("p/f", b"1")
    a.get(slow.path / "f")
    a.put(slow.path / "tmp", "2")
    proxy.hold("lost", when="after", op=PUTS, nth=1, key="p/f")
    t, result = in_background(a, "rename", slow.path / "tmp", slow.path / "f")
    proxy.wait_held("lost")
    assert b.get(other.path / "f") == "2"
    b.put(other.path / "f", "3")
    proxy.release("lost", "drop")
    t.join(30)
    assert result == ["ok"]
    assert bucket.get("p/f") == b"3" and not bucket.exists("p/tmp")


@pytest.mark.parametrize("op", ["HeadObject", pytest.param(PUTS, id="PutObject"), "DeleteObject"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_workers_do_it_once(cas, proxy, bucket, process, op, when):
    m, a = cas(via=proxy, env=LATE), process()
    bucket.put("p/f.txt", b"1")
    a.get(m.path / "f.txt")
    bucket.put("p/tmp.txt", b"2", Metadata={"color": "red"})
    proxy.hold("h", op=op, when=when)
    t, result = in_background(a, "rename", m.path / "tmp.txt", m.path / "f.txt")
    proxy.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    proxy.release("h")
    t.join(30)
    assert result == ["ok"]
    assert bucket.get("p/f.txt") == b"2" and not bucket.exists("p/tmp.txt")
    assert bucket.head("p/f.txt")["Metadata"]["color"] == "red"
    a.put(m.path / "f.txt", "3")
    assert bucket.get("p/f.txt") == b"3"
    m.check()
    assert m.status()["tables"]["sessions"] == 0


SAVE = """
import json, os, sys
path, n = sys.argv[1], int(sys.argv[2])
tmp = f"{path}.{os.getpid()}"
for _ in range(n):
    while True:
        with open(path) as f:
            d = json.load(f)
        d["count"] += 1
        with open(tmp, "w") as f:
            json.dump(d, f)
        try:
            os.rename(tmp, path)
            break
        except FileExistsError:
            pass
"""


@pytest.mark.limit(240)
@pytest.mark.parametrize("faults", [0, 0.05])
@pytest.mark.repeats
def test_no_increment_is_lost_when_saved_by_rename(cas, proxy, bucket, faults):
    mounts = [cas(via=proxy, env=PATIENT) for _ in range(2)]
    bucket.put("p/c.json", b'{"count": 0}')
    if faults:
        proxy.add_faults(faults, seed=5, slow_ms=10, lost_ms=10)
    run_all([start(SAVE, mounts[i % 2].path / "c.json", 15) for i in range(4)], 200)
    assert bucket.get("p/c.json") == b'{"count": 60}'
    assert list(bucket.list("p/")) == ["p/c.json"]


CLAIM = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
for i in range(int(sys.argv[2])):
    mine = f"{sys.argv[1]}/mine{os.getpid()}"
    open(mine, "w").write(str(os.getpid()))
    if libc.renameat2(-100, mine.encode(), -100, f"{sys.argv[1]}/claim{i}".encode(), 1) == 0:
        print(i, flush=True)
"""


@pytest.mark.limit(240)
def test_noreplace_has_one_winner(cas, bucket):
    mounts = [cas() for _ in range(2)]
    outs = run_all([start(CLAIM, mounts[i % 2].path, 30) for i in range(6)], 200)
    assert sorted(int(x) for out in outs for x in out.split()) == list(range(30))
