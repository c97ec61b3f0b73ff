"""Names longer than other file systems have them: from 256 bytes up to a key's 1,024. On moto, which keeps keys in
memory: the other servers have a file for each key, and so 255 bytes."""

import errno
import itertools
import os
import subprocess
import sys

import pytest

from harness import util
from harness.connector import Connector
from harness.dirstream import DirStream
from harness.killer import Killer
from test_kills import kill_while_held
from test_listings import listed, names_of, rule

ALL = ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"]
BUFFERED = ALL[:2]
LENGTHS = [255, 256, 257, 600, 1000]
KEY_MAX = 1024
TTL = {"STATEPROXY_DIRECTORIES_TTL": "60s"}


@pytest.fixture
def bucket(moto, bucket_at):
    return bucket_at(moto)


@pytest.fixture
def proxy(moto, make_proxy):
    return make_proxy(moto.port)


@pytest.fixture
def on_moto(mount, moto, bucket):
    def make(variant="s3-buffered-lww", via=None, env=None, **kwargs):
        return mount(via=via or moto, variant=variant, env={"STATEPROXY_CAS_PROBE": "off", **(env or {})},
                     **kwargs)
    return make


def name_of(length, letter="n"):
    """A name with an end of its own; with characters of several bytes in it."""
    end = f"-{length}.txt"
    text = letter + "\u00fc" * ((length - len(end) - 1) // 2)
    return text + "x" * (length - len(text.encode()) - len(end)) + end


def longest(m, directory="", letter="l"):
    """A name in this directory whose key has as many bytes as a key can have."""
    return name_of(KEY_MAX - len(m.key(directory)) - (1 if directory else 0), letter)


def too_long():
    return pytest.raises(OSError, match=rf"\[Errno {errno.ENAMETOOLONG}\]")


def no_hidden(m):
    return "keys hidden" not in m.log()


@pytest.mark.parametrize("variant", ALL)
def test_what_others_put(on_moto, bucket, variant):
    m = on_moto(variant)
    names = [name_of(n) for n in LENGTHS] + [longest(m)]
    assert len(m.key(names[-1]).encode()) == KEY_MAX
    for i, name in enumerate(names):
        bucket.put(m.key(name), f"content {i}".encode())
    assert sorted(os.listdir(m.path)) == sorted(names)
    for i, name in enumerate(names):
        st = os.stat(m.path / name)
        assert st.st_size == 9
        assert (m.path / name).read_bytes() == f"content {i}".encode()
        with os.scandir(m.path) as entries:
            assert {e.name: e.inode() for e in entries}[name] == st.st_ino
    assert no_hidden(m)


@pytest.mark.parametrize("variant", ALL)
def test_what_is_written_here(on_moto, bucket, variant):
    m = on_moto(variant)
    for name in name_of(256), longest(m):
        p = m.path / name
        p.write_bytes(b"first")
        assert bucket.get(m.key(name)) == b"first" and os.listdir(m.path) == [name]
        p.write_bytes(b"second")
        if variant != "s3-passthrough":
            with open(p, "ab") as f:
                f.write(b" and more")
            os.truncate(p, 9)
            assert bucket.get(m.key(name)) == b"second an"
        os.setxattr(p, "user.colour", b"blue")
        assert os.getxattr(p, "user.colour") == b"blue" and os.listxattr(p) == ["user.colour"]
        os.chmod(p, 0o600)
        assert os.stat(p).st_mode & 0o777 == 0o600
        os.unlink(p)
        assert not bucket.list() and os.listdir(m.path) == []
        with pytest.raises(FileNotFoundError):
            os.stat(p)
        os.symlink(name, p)
        assert os.readlink(p) == name
        os.unlink(p)


@pytest.mark.parametrize("variant", BUFFERED)
def test_keys_of_more_than_1024_bytes(on_moto, bucket, variant):
    m = on_moto(variant)
    longer = longest(m)[:-4] + "x.txt"
    (m.path / "f").write_bytes(b"x")
    for call in (lambda p: os.open(p, os.O_WRONLY | os.O_CREAT), os.mkdir, os.stat, os.unlink,
                 lambda p: os.rename(m.path / "f", p), lambda p: os.symlink("x", p)):
        with too_long():
            call(m.path / longer)
    with too_long():
        os.stat(m.path / ("n" * 1025))
    with too_long():        # a directory's key has a slash at its end
        os.mkdir(m.path / longest(m))
    with too_long():
        os.rename(m.path / "f", m.path / ("n" * 4095))
    assert list(bucket.list()) == [m.key("f")]
    assert os.statvfs(m.path).f_namemax == 255


@pytest.mark.parametrize("variant", BUFFERED)
def test_directories(on_moto, bucket, variant):
    m = on_moto(variant)
    outer = m.path / name_of(400, "d")
    outer.mkdir()
    inner = outer / name_of(KEY_MAX - len(m.key(outer.name).encode()) - 2, "i")     # and its slash
    inner.mkdir()
    assert len(m.key(f"{outer.name}/{inner.name}/").encode()) == KEY_MAX
    with too_long():
        (inner / "f").write_bytes(b"x")
    with pytest.raises(OSError):
        outer.rmdir()
    (outer / "f").write_bytes(b"x")
    assert sorted(os.listdir(outer)) == sorted(["f", inner.name])
    assert os.listdir(inner) == []
    inner.rmdir()
    os.unlink(outer / "f")
    outer.rmdir()
    assert not bucket.list()


@pytest.mark.parametrize("variant", BUFFERED)
def test_renamed_to_and_fro(on_moto, bucket, variant):
    m = on_moto(variant)
    names = ["short", name_of(256), longest(m), name_of(255), "short"]
    p = m.path / names[0]
    p.write_bytes(b"the content")
    os.setxattr(p, "user.colour", b"blue")
    with open(p, "rb") as f:
        for name in names[1:]:
            os.rename(p, m.path / name)
            p = m.path / name
            assert os.listdir(m.path) == [name] and list(bucket.list()) == [m.key(name)]
            assert p.read_bytes() == b"the content" and os.getxattr(p, "user.colour") == b"blue"
        assert f.read() == b"the content"
    (m.path / name_of(900)).write_bytes(b"replaced")
    os.rename(p, m.path / name_of(900))
    assert bucket.get(m.key(name_of(900))) == b"the content"


def test_a_directory_is_renamed(on_moto, bucket):
    m = on_moto()
    (m.path / "d").mkdir()
    (m.path / "d" / name_of(500)).write_bytes(b"x")
    long = m.path / name_of(450, "e")
    os.rename(m.path / "d", long)
    assert os.listdir(long) == [name_of(500)]
    with too_long():        # a key below would be too long: nothing is moved
        os.rename(long, m.path / name_of(600, "g"))
    assert os.listdir(long) == [name_of(500)] and os.listdir(m.path) == [long.name]
    os.rename(long, m.path / "d")
    assert (m.path / "d" / name_of(500)).read_bytes() == b"x"


def test_a_conflict(on_moto, bucket):
    m = on_moto("s3-buffered-cas")
    for name in name_of(300), longest(m):
        p = m.path / name
        p.write_bytes(b"mine")
        with open(p, "rb") as f:
            assert f.read() == b"mine"
        bucket.put(m.key(name), b"theirs")
        with pytest.raises(FileExistsError):
            util.write_and_close(p, b"mine again")
        assert bucket.get(m.key(name)) == b"theirs" and p.read_bytes() == b"theirs"
        util.write_and_close(p, b"after reading")
        assert bucket.get(m.key(name)) == b"after reading"


@pytest.mark.parametrize("variant", BUFFERED)
def test_the_next_mount(on_moto, bucket, variant):
    m = on_moto(variant)
    names = [name_of(n) for n in LENGTHS]
    for name in names:
        (m.path / name).write_bytes(name.encode())
    m.stop()
    m = on_moto(variant)
    assert sorted(os.listdir(m.path)) == sorted(names)
    for name in names:
        assert (m.path / name).read_bytes() == name.encode()


# -- workers that are killed


@pytest.mark.parametrize("variant", BUFFERED)
def test_a_worker_dies_in_the_middle(on_moto, bucket, proxy, variant):
    """Of a rename between two longest names, which does not fit into a request's record."""
    m = on_moto(variant, via=proxy)
    a, b = longest(m, letter="a"), longest(m, letter="b")
    (m.path / a).write_bytes(b"x")
    for op in "CopyObject" if variant == "s3-buffered-lww" else "PutObject", "DeleteObject":
        proxy.hold("h", when="after", op=op, times=1)
        rename = subprocess.Popen([sys.executable, "-c", f"import os; os.rename({a!r}, {b!r})"], cwd=m.path)
        kill_while_held(m, proxy)
        assert rename.wait(20) == 0, op
        assert list(bucket.list()) == [m.key(b)] and os.listdir(m.path) == [b]
        assert (m.path / b).read_bytes() == b"x"
        os.rename(m.path / b, m.path / a)


def test_kills_at_random(on_moto, bucket, seed):
    m = on_moto("s3-buffered-cas")
    killer = Killer(m, 12, seed)
    names = [name_of(300), longest(m, letter="r"), "short"]
    p, rounds = m.path / "f", 0
    p.write_bytes(b"0")
    killer.start()
    try:
        while killer.is_alive():
            rounds += 1
            q = m.path / names[rounds % 3]
            os.rename(p, q)
            p = q
            p.write_bytes(str(rounds).encode())
            assert os.listdir(m.path) == [p.name]
    finally:
        killer.finish(60)
    assert p.read_bytes() == str(rounds).encode() == bucket.get(m.key(p.name))
    assert list(bucket.list()) == [m.key(p.name)]


# -- the kernel is told


def test_what_the_connector_puts_is_seen(mount, moto, bucket, scratch):
    """Names that the kernel still believes in: notifications carry them."""
    m = mount(via=moto, env={**TTL, "STATEPROXY_CAS_PROBE": "off",
                             "STATEPROXY_CONNECTOR_SOCKET": scratch / "c.sock"})
    con = Connector(scratch / "c.sock")
    for name in name_of(256), longest(m):
        p = m.path / name
        p.write_bytes(b"1")
        assert os.listdir(m.path) == [name] and p.read_bytes() == b"1"
        assert con.put(name, b"22").status in (200, 201, 204)
        util.wait_until(lambda: os.stat(p).st_size == 2)
        assert p.read_bytes() == b"22" and con.get(name).body == b"22"
        con.delete(name)
        util.wait_until(lambda: not p.exists())
        assert os.listdir(m.path) == []


# -- pages of listings


@pytest.mark.parametrize("page", [None, 7])
@pytest.mark.parametrize("order", ["keys", "prefixes"])
def test_pages_of_long_names(on_moto, proxy, page, order):
    """Each page of the listing starts behind a long name, some behind a directory whose key leaves no room for the
    last of all characters."""
    m = on_moto(via=proxy)
    room = KEY_MAX - len(m.key("q/")) - 1
    keys = [f"{i:04}" + "n" * (600 + i % 350) for i in range(1100 if page is None else 40)]
    for i in range(0, len(keys), 3):
        keys[i] = keys[i][:4] + "d" * (room - 4 - i % 6) + "/" + "x" * (i % 6)
    rule(proxy, "q", keys, order=order, page=page)
    assert listed(m.path / "q") == names_of(keys)
    with DirStream(m.path / "q") as stream:     # with places in between that are come back to
        entries = iter(stream.entry, None)
        first = [e[0] for e in itertools.islice(entries, len(keys) // 2)]
        place = stream.tell()
        rest = [e[0] for e in entries]
        stream.seek(place)
        assert [e[0] for e in iter(stream.entry, None)] == rest
        assert sorted(first + rest) == sorted([*names_of(keys), ".", ".."])
    assert no_hidden(m)


def test_what_cannot_be_a_name_is_counted(on_moto, proxy):
    m = on_moto(via=proxy)
    rule(proxy, "q", ["ok", "n" * 1000, "./x", "../x", "/x"])
    assert listed(m.path / "q") == {"ok": False, "n" * 1000: False}
    assert "keys hidden in a listing" in m.log() and "keys=3" in m.log()
