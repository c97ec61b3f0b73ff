"""Inode numbers: kept over a rename by what the mount knows, never the same for two files, the same in listings."""

import os
import subprocess

import pytest

from harness import util

KEEPS = ["s3-buffered-lww", "s3-passthrough"]


@pytest.fixture(params=KEEPS)
def m(mount, request):
    return mount(variant=request.param)


def ino(path):
    return os.stat(path).st_ino


def numbers(path):
    """{name: number} as stat tells them; a listing tells the same, and each is another one."""
    found = {name: os.lstat(path / name).st_ino for name in os.listdir(path)}
    with os.scandir(path) as entries:
        assert {e.name: e.inode() for e in entries} == found
    assert len(set(found.values())) == len(found)
    return found


def test_a_file_is_renamed_and_its_name_taken(m):
    a, b, c = m.path / "a", m.path / "b", m.path / "c"
    for p in a, c:
        p.write_bytes(b"1")
    first, old_c = ino(a), ino(c)
    with open(a, "rb") as f, open(c, "rb") as replaced:
        os.rename(a, b)
        assert numbers(m.path) == {"b": first, "c": old_c} and os.fstat(f.fileno()).st_ino == first
        a.write_bytes(b"2")
        second = ino(a)
        assert numbers(m.path) == {"a": second, "b": first, "c": old_c}
        os.rename(b, c)
        assert numbers(m.path) == {"a": second, "c": first}
        assert os.fstat(f.fileno()).st_ino == first and os.fstat(replaced.fileno()).st_ino == old_c
        a.write_bytes(b"22")                        # the same file, with other content
        assert ino(a) == second
        m.wait_workers(2, without=m.kill_workers())
        assert numbers(m.path) == {"a": second, "c": first}


def test_removed_while_open_and_made_anew(m):
    p = m.path / "f"
    p.write_bytes(b"1")
    with open(p, "rb") as f:
        os.unlink(p)
        p.write_bytes(b"2")
        assert os.fstat(f.fileno()).st_ino != ino(p)
        assert f.read() == b"1"
    numbers(m.path)


def test_one_name_for_all_that_is_new(m):
    """As git and editors write: a temporary name, then the right one."""
    for i in range(12):
        (m.path / "tmp").write_bytes(b"x")
        number = ino(m.path / "tmp")
        os.rename(m.path / "tmp", m.path / f"f{i}")
        assert ino(m.path / f"f{i}") == number
    assert len(numbers(m.path)) == 12


def test_directories(mount):
    m = mount()
    (m.path / "a/below").mkdir(parents=True)
    (m.path / "a/f").write_bytes(b"1")
    top, below, file = ino(m.path / "a"), ino(m.path / "a/below"), ino(m.path / "a/f")
    os.rename(m.path / "a", m.path / "b")
    (m.path / "a").mkdir()
    (m.path / "a/f").write_bytes(b"2")
    assert ino(m.path / "b") == top and numbers(m.path / "b") == {"below": below, "f": file}
    assert ino(m.path / "a") != top and ino(m.path / "a/f") != file
    os.rename(m.path / "b/f", m.path / "a/f")
    assert numbers(m.path / "a") == {"f": file}
    numbers(m.path)


@pytest.mark.parametrize("variant", KEEPS + ["s3-buffered-cas"])
def test_another_client_writes(mount, bucket, variant):
    """Another version is the same file: locks and programs find it by its number."""
    m = mount(variant=variant)
    bucket.put(m.key("f"), b"1")
    number = ino(m.path / "f")
    bucket.put(m.key("f"), b"22")
    assert os.stat(m.path / "f").st_size == 2 and ino(m.path / "f") == number
    os.rename(m.path / "f", m.path / "g")
    number = ino(m.path / "g")
    bucket.put(m.key("g"), b"333")
    assert os.stat(m.path / "g").st_size == 3 and numbers(m.path) == {"g": number}


@pytest.mark.parametrize("how", ["rotated", "replaced"])
def test_tail_follows_the_name(mount, scratch, how):
    """At once, so that tail never sees the name missing."""
    m = mount()
    log, out = m.path / "log", scratch / "out"
    log.write_bytes(b"one\n")
    with open(out, "wb") as to:
        tail = util.spawn(["tail", "-s", "0.1", "-F", "---disable-inotify", log], stdout=to, stderr=subprocess.DEVNULL)
    util.wait_until(lambda: out.read_bytes() == b"one\n")
    if how == "replaced":
        (m.path / "new").write_bytes(b"two\n")
        os.rename(m.path / "new", log)
    else:
        subprocess.run(["sh", "-c", "mv log log.1; echo two > log"], cwd=m.path, check=True)
    util.wait_until(lambda: out.read_bytes() == b"one\ntwo\n", what="the new file")
    tail.kill()
    tail.wait()
