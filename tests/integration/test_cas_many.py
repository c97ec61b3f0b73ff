"""Compare-and-set with more files than there are baselines (64, three for each file): what was
evicted is recognised when its version is met again, and a conflict stays one."""

import concurrent.futures
import errno
import os
import subprocess

import pytest

from harness.connector import Connector
from test_cas import CAS

FILES = 60                  # more than have room
EMPTY = range(7, FILES, 10)     # all empty files have the same ETag
CHANGED = [0, 1, 2, EMPTY[0], 30, FILES - 1]


@pytest.fixture
def m(mount, bucket):
    m = mount(variant=CAS, env={"STATEPROXY_CAS_BASELINES": 64})
    put_all(bucket, m, "one")
    return m


@pytest.fixture
def m_and_connector(mount, scratch):
    m = mount(variant=CAS, env={"STATEPROXY_CAS_BASELINES": 64, "CONNECTOR_SOCKET": scratch / "c"})
    return m, Connector(scratch / "c")


def content(i, text):
    return b"" if i in EMPTY else f"{text} {i}".encode()


def put_all(bucket, m, text, which=range(FILES)):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: bucket.put(m.key(f"d/f{i}"), content(i, text)), which))


def each(actor, m, call, *args):
    """-> {number: errno} of those that failed"""
    failed = {}
    for i in range(FILES):
        try:
            call(actor, m.path / "d" / f"f{i}", i, *args)
        except OSError as e:
            failed[i] = e.errno
    return failed


def reads(a, path, i, text):
    assert a.read_all(path) == content(i, text)


def writes(a, path, i, text):
    a.write_all(path, content(i, text))


def reads_any(a, path, i):
    a.read_all(path)


def unlinks(a, path, i):
    a.unlink(path)


def renames(a, path, i, text):
    a.write_all(path.parent / "new", content(i, text), os.O_CREAT)
    a.rename(path.parent / "new", path)


def foreign(bucket, m):
    for i in CHANGED:
        bucket.put(m.key(f"d/f{i}"), b"theirs")


CONFLICTS = {i: errno.EEXIST for i in CHANGED}


def test_one_process_reads_and_writes_all(m, actor, bucket):
    a = actor()
    assert not each(a, m, reads, "one")
    foreign(bucket, m)
    assert each(a, m, writes, "two") == CONFLICTS
    assert all(bucket.get(m.key(f"d/f{i}")) == b"theirs" for i in CHANGED)
    assert each(a, m, writes, "three") == CONFLICTS     # until they are read again
    m.check()


@pytest.mark.parametrize("how", [writes, renames])
def test_one_process_reads_and_another_writes(m, actor, bucket, how):
    """The baseline of the mount."""
    assert not each(actor(), m, reads, "one")
    foreign(bucket, m)
    assert each(actor(), m, how, "two") == CONFLICTS
    m.check()


def test_two_write_all(m, actor, bucket):
    """As `cp -r` does, twice: nobody reads."""
    assert not each(actor(), m, writes, "two")
    assert not each(actor(), m, writes, "three")
    foreign(bucket, m)
    b = actor()
    assert each(b, m, writes, "four") == CONFLICTS
    assert each(b, m, writes, "five") == CONFLICTS      # until they are read again
    for i in CHANGED:
        assert b.read_all(m.path / "d" / f"f{i}") == b"theirs"
    assert not each(b, m, writes, "six")
    m.check()


def test_a_conflict_of_one_is_no_leave_for_others(m, actor, bucket):
    """What W is refused does not make the baseline of the mount, which is of another version, go."""
    w, x, y = actor(), actor(), actor()
    path = m.path / "d/f1"
    w.write_all(path, b"A")
    x.write_all(path, b"C")
    assert not each(actor(), m, reads_any)          # all are evicted
    bucket.put(m.key("d/f1"), b"D")
    fd = w.open(path, os.O_WRONLY | os.O_TRUNC)
    w.write(fd, b"again")
    for call in (w.fsync, w.close):
        with pytest.raises(FileExistsError):
            call(fd)
    with pytest.raises(FileExistsError):
        y.write_all(path, b"blind")
    assert bucket.get(m.key("d/f1")) == b"D"
    m.check()


def test_unlink_all(m, actor, bucket):
    """A process that made more files than are remembered removes them; what others have put there
    since stays."""
    a = actor()
    assert not each(a, m, writes, "two")
    foreign(bucket, m)
    assert each(a, m, unlinks) == CONFLICTS
    assert set(bucket.list(m.key("d/f"))) == {m.key(f"d/f{i}") for i in CHANGED}
    m.check()


def test_the_connector(m_and_connector, bucket):
    m, con = m_and_connector
    put_all(bucket, m, "one")
    for i in range(FILES):
        assert con.get(f"d/f{i}").body == content(i, "one")
    foreign(bucket, m)
    failed = [i for i in range(FILES) if con.put(f"d/f{i}", content(i, "two")).status != 204]
    assert set(failed) >= set(CHANGED)
    assert all(bucket.get(m.key(f"d/f{i}")) == b"theirs" for i in CHANGED)
    m.check()


def test_a_parent_reads_and_its_child_writes(m, actor, bucket):
    a = actor()
    assert not each(a, m, reads, "one")
    foreign(bucket, m)
    child = a.child()
    assert each(child, m, writes, "two") == CONFLICTS
    assert set(each(a, m, writes, "three")) == set(range(FILES))    # the child still lives
    m.check()


def test_what_others_wrote_is_a_conflict(m, actor):
    a, b = actor(), actor()
    assert not each(a, m, reads, "one")
    assert not each(b, m, reads, "one")
    assert not each(b, m, writes, "two")
    failed = each(a, m, writes, "three")
    # (An empty file that was made anew is another version.)
    assert failed == {i: errno.EEXIST for i in range(FILES)}
    m.check()


@pytest.mark.parametrize("kind", ["empty", "fifo"])
def test_a_process_removes_what_it_has_made(mount, bucket, kind):
    """All empty files have one ETag: only the write-id tells that they are its own."""
    m = mount(variant=CAS, env={"STATEPROXY_CAS_BASELINES": 64})
    top = m.path / "d"
    top.mkdir()
    for i in range(100):
        (top / f"f{i}").touch() if kind == "empty" else os.mkfifo(top / f"f{i}")
    bucket.put(m.key("d/f1"), b"")      # another one
    with os.scandir(top) as it:         # (no LOOKUP before the unlinks, as in shutil.rmtree)
        assert len([e for e in it if not e.is_dir(follow_symlinks=False)]) == 100
    for i in range(100):
        if i == 1:
            with pytest.raises(FileExistsError):
                os.unlink(top / "f1")
        else:
            os.unlink(top / f"f{i}")
    assert os.listdir(top) == ["f1"]
    m.check()


def test_names_that_nobody_has_touched(mount, bucket):
    """After very many files, of which others are not to suffer."""
    m = mount(variant=CAS, env={"STATEPROXY_CAS_BASELINES": 64})
    for name in ("old", "new"):
        (m.path / name).mkdir()
    subprocess.run(["sh", "-c", 'i=0; while [ $i -lt 1500 ]; do echo x > f$i; i=$((i+1)); done'], cwd=m.path / "old",
                   check=True)
    bucket.put_many((m.key(f"new/f{i}"), b"of another client") for i in range(200))
    for i in range(100):
        os.rename(m.path / f"new/f{i}", m.path / f"new/g{i}")
        (m.path / f"new/f{100 + i}").write_bytes(b"mine")
    assert m.status()["counters"]["conflicts"] == 0
    m.check()


def test_a_rename_that_is_refused_is_told(mount, bucket, actor):
    m = mount(variant=CAS)
    a = actor()
    bucket.put(m.key("f"), b"one")
    a.read_all(m.path / "f")
    bucket.put(m.key("f"), b"another")
    with pytest.raises(FileExistsError):
        a.rename(m.path / "f", m.path / "g")
    assert f'conflict key="{m.key("f")}" expected=unknown' in m.log()
    assert bucket.get(m.key("f")) == b"another" and not bucket.exists(m.key("g"))
    m.check()
