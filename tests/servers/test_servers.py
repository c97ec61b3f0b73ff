"""What programs do with files, on servers that people run. Which, and what is known of them: servers.py."""

import os
import uuid

import pytest

from harness import util
from harness.work import FILE_INCREMENT, PYTHON

CAS = "s3-buffered-cas"


@pytest.fixture
def place(mount, server):
    """A mount of a prefix of its own."""
    if server.lww != "serves":
        pytest.skip("not served")
    return mount(prefix=f"t/{uuid.uuid4().hex}").path


def needs(server, case):
    if case in server.not_here:
        pytest.skip("not on this server")


def test_it_is_served_or_refused(mount, server):
    m = mount(start=False, prefix="s")
    if server.lww == "serves":
        m.start()
        assert 'server="' in m.log()
        (m.path / "f.txt").write_bytes(b"1")
        assert (m.path / "f.txt").read_bytes() == b"1"
        return
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


def test_rename_and_remove(place):
    (place / "a.txt").write_bytes(b"a")
    (place / "b.txt").write_bytes(b"b")
    os.rename(place / "a.txt", place / "b.txt")
    assert os.listdir(place) == ["b.txt"] and (place / "b.txt").read_bytes() == b"a"
    os.unlink(place / "b.txt")
    assert os.listdir(place) == []


def test_directories(place):
    (place / "d").mkdir()
    for i in range(30):
        (place / "d" / f"f{i:02d}").write_bytes(b"%d" % i)
    assert sorted(os.listdir(place / "d")) == [f"f{i:02d}" for i in range(30)]
    os.rename(place / "d", place / "e")
    assert sorted(os.listdir(place / "e")) == [f"f{i:02d}" for i in range(30)]
    assert (place / "e" / "f07").read_bytes() == b"7"
    assert not (place / "d").exists()


def test_empty_directories(place, server):
    needs(server, "empty_directories")
    (place / "d").mkdir()
    assert os.listdir(place) == ["d"] and os.listdir(place / "d") == []
    (place / "d").rmdir()
    assert os.listdir(place) == []


def test_a_large_file(place):
    data = os.urandom(30 << 20)
    (place / "big.bin").write_bytes(data)
    assert (place / "big.bin").read_bytes() == data


def test_compare_and_set(mount, server):
    """Exact, or refused with the reason, at every start."""
    for _ in range(1 if server.cas == "exact" else 5):
        m = mount(start=False, variant=CAS, prefix=f"t/{uuid.uuid4().hex}" if server.lww == "serves" else "s")
        if server.cas != "exact":
            code, errors = m.start_refused(40)
            assert code == 78 and server.cas in errors[0]
            continue
        m.start()
        path = m.path / "n.txt"
        path.write_bytes(b"0")
        for w in [util.spawn([*PYTHON, "-c", FILE_INCREMENT, path, 20]) for _ in range(4)]:
            util.finish(w)
        assert path.read_bytes() == b"80"
