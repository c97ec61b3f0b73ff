"""What programs do with files, on servers that people run. Which, and what is known of them: servers.py."""

import concurrent.futures
import os
import re
import shutil
import uuid

import pytest

from harness import util
from harness.work import FILE_INCREMENT, PYTHON

CAS = "s3-buffered-cas"
SAYS = re.compile(r'server="([^"]*)" conditions=(\S+) traits=(\S+)')


@pytest.fixture
def place(mount, server):
    """A mount of a prefix of its own."""
    if server.lww != "serves":
        pytest.skip("not served")
    return mount(prefix=f"t/{uuid.uuid4().hex}").path


def says(m):
    """(server, conditions, traits) of the ready line."""
    line, = [x for x in m.log().splitlines() if " ready " in x]
    return SAYS.search(line).groups()


def names_of(directory):
    return sorted(os.listdir(directory))


def test_served_or_refused(mount, server):
    if server.lww == "serves":
        m = mount(prefix="s")
        assert says(m) == (server.header, "unknown", "none")
        server.found["ready"] = m.took
        (m.path / "f.txt").write_bytes(b"1")
        assert (m.path / "f.txt").read_bytes() == b"1"
        return
    m = mount(start=False, prefix="s")
    try:                        # (an empty prefix shows nothing: the first answer does)
        m.start()
        with pytest.raises(OSError):
            (m.path / "f.txt").write_bytes(b"1")
            (m.path / "f.txt").read_bytes()
        m.stop()
    except AssertionError:
        m.stopped = True
    m = mount(start=False, prefix="s")
    code, errors = m.start_refused(40)
    assert code == 78 and server.lww in errors[0]


def test_what_is_learned(mount, server):
    """By files that are written over, changed and removed."""
    if server.lww != "serves":
        pytest.skip("not served")
    m = mount(prefix=f"t/{uuid.uuid4().hex}")
    for _ in range(2):
        f = m.path / "f.txt"
        f.write_bytes(b"1")
        f.write_bytes(b"22")
        os.chmod(f, 0o600)
        os.rename(f, m.path / "g.txt")
        os.unlink(m.path / "g.txt")
    status = m.status()
    server.found["server"], server.found["traits"] = status["server"], status["traits"]
    assert status["traits"] == server.traits
    assert " err " not in m.log(), m.log()


def test_overwrite_append_truncate(place):
    f = place / "f.txt"
    for data in (b"one", b"two", b""):
        f.write_bytes(data)
        assert f.read_bytes() == data
    with open(f, "ab") as out:
        out.write(b"12345")
    os.truncate(f, 3)
    assert f.read_bytes() == b"123"
    with open(f, "r+b") as out:
        out.seek(1)
        out.write(b"xx")
    assert f.read_bytes() == b"1xx"


def test_metadata(place):
    f = place / "f.txt"
    f.write_bytes(b"1")
    for mode in (0o600, 0o640):
        os.chmod(f, mode)
        assert os.stat(f).st_mode & 0o777 == mode
    for t in (1e9, 2e9):
        os.utime(f, (t, t))
        assert os.stat(f).st_mtime == t
    assert f.read_bytes() == b"1"


def test_extended_attributes(place):
    f = place / "f.txt"
    f.write_bytes(b"1")
    os.setxattr(f, "user.a", b"one")
    os.setxattr(f, "user.b", bytes(range(256)))
    assert sorted(os.listxattr(f)) == ["user.a", "user.b"]
    os.removexattr(f, "user.a")
    assert os.listxattr(f) == ["user.b"] and os.getxattr(f, "user.b") == bytes(range(256))
    f.write_bytes(b"2")
    assert os.getxattr(f, "user.b") == bytes(range(256)) and f.read_bytes() == b"2"


def test_symbolic_links(place):
    (place / "f.txt").write_bytes(b"1")
    os.symlink("f.txt", place / "l")
    assert os.readlink(place / "l") == "f.txt" and (place / "l").read_bytes() == b"1"


def test_rename_and_remove(place):
    (place / "a.txt").write_bytes(b"a")
    (place / "b.txt").write_bytes(b"b")
    os.rename(place / "a.txt", place / "b.txt")
    assert names_of(place) == ["b.txt"] and (place / "b.txt").read_bytes() == b"a"
    os.unlink(place / "b.txt")
    assert names_of(place) == [] and not (place / "b.txt").exists()


def test_directories(place):
    """One that is renamed, with one in it, is gone under its old name; so is one that is removed."""
    (place / "d").mkdir()
    for i in range(20):
        (place / "d" / f"f{i:02d}").write_bytes(b"%d" % i)
    (place / "d" / "in").mkdir()
    (place / "d" / "in" / "f.txt").write_bytes(b"in")
    os.rename(place / "d", place / "e")
    assert names_of(place) == ["e"] and not (place / "d").exists()
    assert names_of(place / "e") == [f"f{i:02d}" for i in range(20)] + ["in"]
    assert (place / "e" / "f07").read_bytes() == b"7"
    assert (place / "e" / "in" / "f.txt").read_bytes() == b"in"
    shutil.rmtree(place / "e")
    assert names_of(place) == [] and not (place / "e").exists()


def test_empty_directories(place):
    (place / "d").mkdir()
    assert names_of(place) == ["d"] and names_of(place / "d") == []
    (place / "d" / "f.txt").write_bytes(b"1")
    with pytest.raises(OSError):
        (place / "d").rmdir()
    os.unlink(place / "d" / "f.txt")
    (place / "d").rmdir()
    assert names_of(place) == [] and not (place / "d").exists()


def test_names(place):
    names = sorted(["with space.txt", "größe.txt", "日本.txt", "+&=%41.txt", "'q\"<>.txt", "~#?*.txt"])
    for directory in (place, place / "ein Ordner é"):
        directory.mkdir(exist_ok=True)
        for name in names:
            (directory / name).write_bytes(name.encode())
        assert [n for n in names_of(directory) if n.endswith(".txt")] == names
        for name in names:
            assert (directory / name).read_bytes() == name.encode()


def test_a_long_listing(mount, server):
    """Of 1,100 entries, files and directories in turn, below a name that is sent coded."""
    if server.lww != "serves":
        pytest.skip("not served")
    prefix = f"t/{uuid.uuid4().hex}"
    s3 = server.s3()
    keys = [f"{prefix}/ein Ordner é/n{i:04d}" + ("/x.txt" if i % 2 else ".txt") for i in range(1100)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put(key, b"1"), keys))
    m = mount(prefix=prefix)
    directory = m.path / "ein Ordner é"
    there = sorted((e.name, e.is_dir()) for e in os.scandir(directory))
    assert there == sorted((f"n{i:04d}" + ("" if i % 2 else ".txt"), bool(i % 2)) for i in range(1100))
    assert (directory / "n1099" / "x.txt").read_bytes() == b"1"


def test_a_large_file(place):
    """Whole, and a piece from its middle."""
    data = os.urandom(20 << 20)
    f = place / "big.bin"
    f.write_bytes(data)
    assert f.read_bytes() == data
    os.utime(f, (1e9, 1e9))
    with open(f, "rb") as file:
        file.seek(11 << 20)
        assert file.read(1 << 20) == data[11 << 20:12 << 20]


def test_compare_and_set(mount, server):
    """Eight processes count exactly; or it is refused, with the reason, at every start."""
    if server.cas == "exact":
        m = mount(variant=CAS, prefix=f"t/{uuid.uuid4().hex}")
        server.found["conditions"], server.found["cas_ready"] = says(m)[1], m.took
        assert says(m)[:2] == (server.cas_header or server.header, server.conditions)
        path = m.path / "n.txt"
        path.write_bytes(b"0")
        for w in [util.spawn([*PYTHON, "-c", FILE_INCREMENT, path, 10]) for _ in range(8)]:
            util.finish(w)
        assert path.read_bytes() == b"80"
        assert m.status()["counters"]["contradictions"] == 0
        return
    for _ in range(3):
        m = mount(start=False, variant=CAS,
                  prefix=f"t/{uuid.uuid4().hex}" if server.lww == "serves" else "s")
        code, errors = m.start_refused(40)
        assert code == 78 and server.cas in errors[0]
    server.found["refusal"] = errors[0]


def test_compare_and_set_changes(mount, server):
    """What programs do with files, one after the other, with compare-and-set."""
    if server.cas != "exact":
        pytest.skip("refused")
    place = mount(variant=CAS, prefix=f"t/{uuid.uuid4().hex}").path
    test_overwrite_append_truncate(place)
    test_metadata(place)
    os.unlink(place / "f.txt")
    test_rename_and_remove(place)
    test_empty_directories(place)
    test_a_large_file(place)
