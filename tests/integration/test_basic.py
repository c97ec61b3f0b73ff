"""Files through the mount, each result looked at on the server with a plain S3 client."""

import errno
import hashlib
import os
import random
import shutil
import stat
import subprocess

import pytest

from harness import SLOW, util
from harness.pattern import pattern
from harness.tree import (assert_same_files, assert_tree_equal, difference, make_tree, read_tree,
                          s3_tree)

MIB = 1 << 20


@pytest.fixture
def m(mount):
    return mount()


@pytest.fixture
def put(bucket, m):
    """put(name, data): an object that somebody else made."""
    return lambda name, data=b"x": bucket.put(m.key(name), data)


@pytest.fixture
def get(bucket, m):
    return lambda name: bucket.get(m.key(name))


@pytest.fixture
def keys(bucket, m):
    """Names of the objects below the prefix."""
    def names(name=""):
        return sorted(k[len(m.key("")):] for k in bucket.list(m.key(name)))
    return names


def fails_with(code):
    return pytest.raises(OSError, match=rf"\[Errno {code}\]")


# -- reading


def test_read_what_is_there(m, put):
    put("a.txt", b"hello")
    assert (m.path / "a.txt").read_bytes() == b"hello"


def test_read_an_empty_object(m, put):
    put("empty.txt", b"")
    assert (m.path / "empty.txt").read_bytes() == b""
    assert (m.path / "empty.txt").stat().st_size == 0


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 131_071, 131_072, 131_073, 1_000_000,
                                  8 * MIB, 8 * MIB + 1])
def test_read_sizes_around_the_borders(m, put, size):
    data = pattern(size)
    put("f.bin", data)
    assert (m.path / "f.bin").read_bytes() == data
    assert (m.path / "f.bin").stat().st_size == size


def test_read_at_random_places(m, put):
    data = pattern(20 * MIB)
    put("f.bin", data)
    rng = random.Random(5)
    fd = os.open(m.path / "f.bin", os.O_RDONLY)
    try:
        for _ in range(100):
            pos, size = rng.randrange(len(data) + 10_000), rng.randrange(1, 50_000)
            assert os.pread(fd, size, pos) == data[pos:pos + size]
    finally:
        os.close(fd)


def test_read_below_directories_nobody_made(m, put):
    put("x/y/z/f.txt", b"deep")
    assert (m.path / "x/y/z/f.txt").read_bytes() == b"deep"
    assert stat.S_ISDIR((m.path / "x/y").stat().st_mode)


def test_missing_names_are_missing(m, put):
    put("dir/f.txt")
    for name in ("no.txt", "no", "dir/no.txt", "no/f.txt", "dir/f", "di"):
        with fails_with(errno.ENOENT):
            open(m.path / name, "rb")
        with fails_with(errno.ENOENT):
            os.stat(m.path / name)
    with fails_with(errno.ENOTDIR):
        os.stat(m.path / "dir/f.txt/x")


def test_only_the_prefix_is_seen(m, bucket, put):
    put("in.txt")
    bucket.put("out.txt", b"x")
    bucket.put(m.prefix + "x/out.txt", b"x")
    assert os.listdir(m.path) == ["in.txt"]


def test_a_prefix_of_several_parts(mount, bucket):
    m = mount(prefix="models/v2/é")
    (m.path / "f.txt").write_bytes(b"1")
    assert bucket.get("models/v2/é/f.txt") == b"1"


def test_the_whole_bucket(mount, bucket):
    m = mount(prefix="")
    bucket.put("a/f.txt", b"1")
    assert (m.path / "a/f.txt").read_bytes() == b"1"
    (m.path / "g.txt").write_bytes(b"2")
    assert bucket.get("g.txt") == b"2"


# -- writing


def test_write_a_file(m, get):
    (m.path / "f.txt").write_bytes(b"hello")
    assert get("f.txt") == b"hello"
    assert (m.path / "f.txt").read_bytes() == b"hello"


def test_close_means_durable(m, get):
    """What the server has at the moment close() returned."""
    for i in range(20):
        fd = os.open(m.path / "f.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(fd, str(i).encode())
        os.close(fd)
        assert get("f.txt") == str(i).encode()


def test_a_shell_redirection_is_one_put(mount, proxy):
    """A shell opens, duplicates and closes before anything is written: no empty object first."""
    m = mount(via=proxy)
    util.run(f"echo x > {m.path}/f.txt")
    puts = proxy.log(op="PutObject")
    assert [(p.key, p.bytes_in, p.status) for p in puts] == [(m.key("f.txt"), 2, 200)]


def test_a_shell_redirection_over_an_old_file_never_shows_it_empty(mount, proxy, bucket):
    m = mount(via=proxy)
    bucket.put(m.key("f.txt"), b"old")
    util.run(f"{{ echo a; echo b; }} > {m.path}/f.txt")
    assert bucket.get(m.key("f.txt")) == b"a\nb\n"
    assert 0 not in [p.bytes_in for p in proxy.log(op="PutObject")]


@pytest.mark.parametrize("command", ["touch {}", ": > {}", "truncate -s 0 {}"])
def test_an_empty_file_is_an_empty_object(m, get, command):
    util.run(command.format(m.path / "empty.txt"))
    assert get("empty.txt") == b""
    assert (m.path / "empty.txt").stat().st_size == 0


def test_append(m, put, get):
    put("f.log", b"one\n")
    with open(m.path / "f.log", "ab") as f:
        f.write(b"two\n")
    util.run(f"echo three >> {m.path}/f.log")
    assert get("f.log") == b"one\ntwo\nthree\n"
    util.run(f"echo new >> {m.path}/new.log")
    assert get("new.log") == b"new\n"


def test_overwrite(m, put, get):
    put("f.txt", b"a long old content")
    (m.path / "f.txt").write_bytes(b"short")
    assert get("f.txt") == b"short"
    assert (m.path / "f.txt").stat().st_size == 5


def test_an_opened_and_truncated_file_is_published_empty(m, put, get):
    put("f.txt", b"old")
    os.close(os.open(m.path / "f.txt", os.O_WRONLY | os.O_TRUNC))
    assert get("f.txt") == b""


def test_a_log_that_is_open_for_appending_is_emptied_by_another_open(m, put, get):
    put("log", b"old")
    with open(m.path / "log", "ab"):
        open(m.path / "log", "wb").close()
        util.wait_until(lambda: get("log") == b"", 5, "the empty log")


def test_open_for_writing_without_a_write_changes_nothing(mount, proxy, bucket):
    m = mount(via=proxy)
    etag = bucket.put(m.key("f.txt"), b"old")
    os.close(os.open(m.path / "f.txt", os.O_RDWR))
    os.close(os.open(m.path / "f.txt", os.O_WRONLY | os.O_APPEND))
    assert proxy.counts()["PutObject"] == 0
    assert bucket.head(m.key("f.txt"))["ETag"] == etag


def test_read_back_own_writes_before_close(m, put):
    put("f.bin", b"0123456789")
    fd = os.open(m.path / "f.bin", os.O_RDWR)
    try:
        os.pwrite(fd, b"AB", 3)
        assert os.pread(fd, 100, 0) == b"012AB56789"
        os.pwrite(fd, b"end", 12)
        assert os.pread(fd, 100, 0) == b"012AB56789\0\0end"
        assert os.fstat(fd).st_size == 15
        assert (m.path / "f.bin").stat().st_size == 15, "everybody on the mount sees it"
    finally:
        os.close(fd)


def test_a_part_of_an_object_changed_in_place(m, put, get):
    data = bytearray(pattern(1_000_000))
    put("f.bin", bytes(data))
    with open(m.path / "f.bin", "r+b") as f:
        f.seek(500_000)
        f.write(b"X" * 1000)
    data[500_000:501_000] = b"X" * 1000
    assert get("f.bin") == data


def test_random_writes_and_seeks(m, get, scratch, seed):
    """The same operations on the mount and on a local file."""
    rng = random.Random(seed)
    paths = [m.path / "f.bin", scratch / "f.bin"]
    fds = [os.open(p, os.O_RDWR | os.O_CREAT, 0o644) for p in paths]
    try:
        for _ in range(300):
            kind, pos = rng.random(), rng.randrange(300_000)
            data = rng.randbytes(rng.choice((1, 100, 4096, 20_000)))
            if kind < 0.6:
                got = [os.pwrite(fd, data, pos) for fd in fds]
            elif kind < 0.9:
                got = [os.pread(fd, 30_000, pos) for fd in fds]
            elif kind < 0.97:
                got = [os.ftruncate(fd, pos) for fd in fds]
            else:
                got = [os.fstat(fd).st_size for fd in fds]
            assert got[0] == got[1]
    finally:
        for fd in fds:
            os.close(fd)
    assert get("f.bin") == paths[1].read_bytes()


def test_holes_read_as_zeros(m, get):
    with open(m.path / "f.bin", "wb") as f:
        f.seek(100_000)
        f.write(b"end")
    assert get("f.bin") == bytes(100_000) + b"end"


def test_ftruncate_down_and_up(m, put, get):
    put("f.bin", b"0123456789")
    fd = os.open(m.path / "f.bin", os.O_RDWR)
    try:
        os.ftruncate(fd, 4)
        assert os.pread(fd, 100, 0) == b"0123"
        os.ftruncate(fd, 8)
        assert os.pread(fd, 100, 0) == b"0123\0\0\0\0"
    finally:
        os.close(fd)
    assert get("f.bin") == b"0123\0\0\0\0"


def test_truncate_by_name(m, put, get):
    put("f.bin", b"0123456789")
    os.truncate(m.path / "f.bin", 4)
    assert get("f.bin") == b"0123"
    os.truncate(m.path / "f.bin", 6)
    assert get("f.bin") == b"0123\0\0"
    with fails_with(errno.ENOENT):
        os.truncate(m.path / "no.bin", 4)


def test_exclusive_creation(m, put):
    put("there.txt")
    with fails_with(errno.EEXIST):
        os.open(m.path / "there.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.close(os.open(m.path / "new.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    with fails_with(errno.EEXIST):
        os.open(m.path / "new.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def test_fsync_publishes(mount, proxy, bucket):
    m = mount(via=proxy)
    fd = os.open(m.path / "f.txt", os.O_WRONLY | os.O_CREAT)
    try:
        os.write(fd, b"one")
        assert not bucket.exists(m.key("f.txt"))
        os.fsync(fd)
        assert bucket.get(m.key("f.txt")) == b"one"
        os.write(fd, b"two")
        os.fsync(fd)
        assert bucket.get(m.key("f.txt")) == b"onetwo"
    finally:
        os.close(fd)
    assert proxy.counts()["PutObject"] == 2, "a close with nothing new sends nothing"


def test_a_file_growing_past_the_memory_of_a_session(m, get):
    """At 4 MiB the session goes from memory to its spool file."""
    data = pattern(6 * MIB)
    fd = os.open(m.path / "f.bin", os.O_RDWR | os.O_CREAT)
    try:
        for pos in range(0, len(data), 100_000):
            os.write(fd, data[pos:pos + 100_000])
            if pos % 1_000_000 == 0:
                assert os.pread(fd, 1000, pos // 2) == data[pos // 2:pos // 2 + 1000]
        os.pwrite(fd, b"A", 0)
        os.pwrite(fd, b"B", 5 * MIB)
    finally:
        os.close(fd)
    expected = bytearray(data)
    expected[0:1], expected[5 * MIB:5 * MIB + 1] = b"A", b"B"
    assert get("f.bin") == expected


@pytest.mark.slow
def test_64_mib_there_and_back(m, put, get):
    data = pattern(64 * MIB, 1)
    with open(m.path / "f.bin", "wb") as f:
        for pos in range(0, len(data), MIB):
            f.write(data[pos:pos + MIB])
    digest = hashlib.sha256(data).hexdigest()
    assert hashlib.sha256(get("f.bin")).hexdigest() == digest
    put("g.bin", data)
    for name in ("f.bin", "g.bin"):
        out = util.run(["sha256sum", m.path / name]).out
        assert out.split()[0] == digest, name


def test_a_full_buffer_directory_is_told_to_the_writer(mount, bucket, scratch):
    tiny = scratch / "tiny"
    tiny.mkdir()
    util.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", tiny])
    try:
        m = mount(env={"STATEPROXY_BUFFER_DIR": tiny})
        bucket.put(m.key("f.bin"), b"old")
        fd = os.open(m.path / "f.bin", os.O_WRONLY | os.O_TRUNC)
        closed = False
        try:
            with fails_with(errno.ENOSPC):
                for _ in range(32):
                    os.write(fd, bytes(MIB))
                os.fsync(fd)
                closed = True
                os.close(fd)
        finally:
            if not closed:
                try:
                    os.close(fd)
                except OSError:
                    pass        # a close may say it again
        assert bucket.get(m.key("f.bin")) == b"old", "nothing of a failed write is published"
        util.wait_until(lambda: m.status()["tables"]["sessions"] == 0, what="the RELEASE, which comes after close")
        (m.path / "g.bin").write_bytes(pattern(6 * MIB))    # and the space was given back
        assert bucket.get(m.key("g.bin")) == pattern(6 * MIB)
        m.stop()
    finally:
        util.run(["umount", "-l", tiny])


def test_two_descriptors_write_one_file(m, get):
    a = os.open(m.path / "f.txt", os.O_WRONLY | os.O_CREAT)
    b = os.open(m.path / "f.txt", os.O_WRONLY)
    os.pwrite(a, b"aaaa", 0)
    os.pwrite(b, b"bb", 1)
    os.close(a)
    os.pwrite(b, b"c", 3)
    os.close(b)
    assert get("f.txt") == b"abbc"


def test_many_files_open_at_once(m, get):
    files = [open(m.path / f"f{i}.txt", "wb") for i in range(30)]
    for i, f in enumerate(files):
        f.write(str(i).encode())
    for f in files:
        f.close()
    assert [get(f"f{i}.txt") for i in range(30)] == [str(i).encode() for i in range(30)]


# -- names


NAMES = ["é ☃ 日本語.txt", "a b.txt", "a+b.txt", "100%.txt", "a%2Fb.txt", "%41.txt", "a#b", "a?b=c",
         "a&b", "a;b", "a:b,c", "a'b\"c", "a\\b", "a<b>&lt;", "~tilde", "-dash", ".hidden", "...",
         "a$b@c!d*e(f)", "[x]{y}|z^`", " leading and trailing "]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names(m, put, get, keys, name):
    path = m.path / name
    path.write_bytes(b"mine")
    assert get(name) == b"mine" and keys() == [name]
    put(name, b"other")
    assert os.listdir(m.path) == [name]
    assert path.read_bytes() == b"other"
    os.rename(path, m.path / ("2" + name))
    assert keys() == ["2" + name]
    os.mkdir(path)
    (path / name).write_bytes(b"below")
    assert get(f"{name}/{name}") == b"below"
    assert os.listdir(path) == [name]
    os.unlink(path / name)
    os.rmdir(path)
    os.unlink(m.path / ("2" + name))
    assert keys() == []


def test_the_longest_name(m, get):
    name = "n" * 255
    (m.path / name).write_bytes(b"x")
    assert get(name) == b"x" and os.listdir(m.path) == [name]
    os.unlink(m.path / name)


def test_names_that_are_too_long(m, keys):
    name = "n" * 1025
    for call in (lambda p: os.open(p, os.O_WRONLY | os.O_CREAT), os.mkdir, os.stat, os.unlink,
                 lambda p: os.rename(m.path / "f", p)):
        (m.path / "f").write_bytes(b"x")
        with fails_with(errno.ENAMETOOLONG):
            call(m.path / name)
    assert keys() == ["f"]


def test_names_that_this_server_does_not_take(m, keys):
    """It has a file for each key. (Others take more: test_long_names.py.)"""
    name = "n" * 256
    (m.path / "f").write_bytes(b"x")
    with fails_with(errno.ENAMETOOLONG):
        (m.path / name).write_bytes(b"x")
    for call in os.mkdir, lambda p: os.rename(m.path / "f", p):     # it calls these an error of its own
        with pytest.raises(OSError):
            call(m.path / name)
    assert not (m.path / name).exists() and keys() == ["f"] and os.listdir(m.path) == ["f"]


# -- directories


def test_list(m, put):
    for name in ("b.txt", "a.txt", "dir/x", "dir/sub/y", "zz"):
        put(name)
    assert sorted(os.listdir(m.path)) == ["a.txt", "b.txt", "dir", "zz"]
    with os.scandir(m.path) as it:
        kinds = {e.name: (e.is_dir(), e.is_file(), e.stat().st_size) for e in it}
    assert kinds["dir"][:2] == (True, False)
    assert kinds["a.txt"] == (False, True, 1)


def test_list_many(mount, bucket2500):
    m = mount(s3=bucket2500)
    assert sorted(os.listdir(m.path / "many")) == [f"{i:04d}.txt" for i in range(2500)]
    with os.scandir(m.path / "many") as it:
        assert {e.name: e.stat().st_size for e in it} == {f"{i:04d}.txt": i for i in range(2500)}


def test_list_again_from_the_start(m, put):
    """rewinddir, and a directory that is read twice."""
    for i in range(10):
        put(f"{i}.txt")
    fd = os.open(m.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert sorted(os.listdir(fd)) == sorted(os.listdir(fd)) == [f"{i}.txt" for i in range(10)]
    finally:
        os.close(fd)


def test_find_sees_dots_and_inodes(m, put):
    put("d/f.txt")
    out = util.run(["ls", "-lai", m.path / "d"]).out
    assert [x.split()[-1] for x in out.splitlines()[1:]] == [".", "..", "f.txt"]
    assert all(int(x.split()[0]) > 0 for x in out.splitlines()[1:])


def test_mkdir_is_a_marker(m, keys, bucket):
    os.mkdir(m.path / "d")
    assert keys() == ["d/"]
    assert bucket.size(m.key("d/")) == 0
    assert os.listdir(m.path / "d") == []
    with fails_with(errno.EEXIST):
        os.mkdir(m.path / "d")
    os.makedirs(m.path / "d/e/f")
    assert keys() == ["d/", "d/e/", "d/e/f/"]
    with fails_with(errno.ENOENT):
        os.mkdir(m.path / "no/x")


def test_mkdir_over_a_file_and_over_an_implied_directory(m, put):
    put("f.txt")
    put("d/x")
    for name in ("f.txt", "d"):
        with fails_with(errno.EEXIST):
            os.mkdir(m.path / name)


def test_rmdir(m, keys):
    os.mkdir(m.path / "d")
    os.rmdir(m.path / "d")
    assert keys() == [] and os.listdir(m.path) == []
    with fails_with(errno.ENOENT):
        os.rmdir(m.path / "d")


def test_rmdir_of_a_directory_that_is_not_empty(m, put, keys):
    os.mkdir(m.path / "d")
    put("d/f.txt")          # made by somebody else, after our mkdir
    with fails_with(errno.ENOTEMPTY):
        os.rmdir(m.path / "d")
    put("e/f.txt")          # only a prefix
    with fails_with(errno.ENOTEMPTY):
        os.rmdir(m.path / "e")
    os.makedirs(m.path / "g/h")
    with fails_with(errno.ENOTEMPTY):
        os.rmdir(m.path / "g")
    assert keys() == ["d/", "d/f.txt", "e/f.txt", "g/", "g/h/"]


def test_files_and_directories_are_not_mixed_up(m, put):
    put("f.txt")
    os.mkdir(m.path / "d")
    with fails_with(errno.EISDIR):
        os.unlink(m.path / "d")
    with fails_with(errno.ENOTDIR):
        os.rmdir(m.path / "f.txt")
    with fails_with(errno.EISDIR):
        os.open(m.path / "d", os.O_WRONLY)
    with fails_with(errno.ENOTDIR):
        os.listdir(m.path / "f.txt")
    with fails_with(errno.ENOTDIR):
        os.open(m.path / "f.txt/x", os.O_WRONLY | os.O_CREAT)


def test_unlink(m, put, keys):
    put("f.txt")
    os.unlink(m.path / "f.txt")
    assert keys() == []
    for call in (os.unlink, os.stat):
        with fails_with(errno.ENOENT):
            call(m.path / "f.txt")
    with fails_with(errno.ENOENT):
        os.unlink(m.path / "never.txt")


def test_a_directory_survives_its_last_file(m, keys):
    os.mkdir(m.path / "d")
    (m.path / "d/f.txt").write_bytes(b"x")
    os.unlink(m.path / "d/f.txt")
    assert keys() == ["d/"] and os.listdir(m.path / "d") == []


# -- renaming


def test_rename(m, put, get, keys):
    put("a.txt", b"content")
    os.rename(m.path / "a.txt", m.path / "b.txt")
    assert keys() == ["b.txt"] and get("b.txt") == b"content"
    assert (m.path / "b.txt").read_bytes() == b"content"
    with fails_with(errno.ENOENT):
        os.stat(m.path / "a.txt")
    with fails_with(errno.ENOENT):
        os.rename(m.path / "a.txt", m.path / "c.txt")


def test_rename_over_an_existing_file(m, put, get, keys):
    put("a.txt", b"new")
    put("b.txt", b"a longer old one")
    assert (m.path / "b.txt").stat().st_size == 16
    os.rename(m.path / "a.txt", m.path / "b.txt")
    assert keys() == ["b.txt"] and get("b.txt") == b"new"
    assert (m.path / "b.txt").read_bytes() == b"new"


def test_rename_into_another_directory(m, put, keys):
    put("d/a.txt", b"x")
    os.mkdir(m.path / "e")
    os.rename(m.path / "d/a.txt", m.path / "e/b.txt")
    assert "e/b.txt" in keys() and "d/a.txt" not in keys()


def test_rename_of_a_file_just_written(m, get, keys):
    """How editors and programs that replace a file safely do it."""
    (m.path / "f.txt").write_bytes(b"old")
    for i in range(5):
        (m.path / "f.tmp").write_bytes(str(i).encode())
        os.rename(m.path / "f.tmp", m.path / "f.txt")
        assert get("f.txt") == str(i).encode() and keys() == ["f.txt"]


def test_rename_a_directory_of_50_files(m, put, bucket, keys):
    expected = {}
    for i in range(50):
        name = f"sub{i % 4}/f{i}.txt" if i % 3 else f"f{i}.txt"
        put(f"old/{name}", pattern(i * 10, i))
        expected[name.encode()] = pattern(i * 10, i)
    os.mkdir(m.path / "old/empty")
    os.rename(m.path / "old", m.path / "new")
    files, dirs = s3_tree(bucket, m.key("new"))
    assert not difference(expected, files)
    assert b"empty" in dirs
    assert not keys("old/")
    assert not difference(expected, read_tree(m.path / "new")[0])
    with fails_with(errno.ENOENT):
        os.stat(m.path / "old")


def test_rename_of_directories_that_cannot_be(m, put, keys):
    put("a/f.txt")
    put("b/g.txt")
    os.mkdir(m.path / "empty")
    with fails_with(errno.ENOTEMPTY):
        os.rename(m.path / "a", m.path / "b")
    with fails_with(errno.EINVAL):
        os.rename(m.path / "a", m.path / "a/sub")
    with fails_with(errno.ENOTDIR):
        os.rename(m.path / "a", m.path / "b/g.txt")
    with fails_with(errno.EISDIR):
        os.rename(m.path / "a/f.txt", m.path / "b")
    os.rename(m.path / "a", m.path / "empty")       # over an empty directory, as everywhere
    assert keys() == ["b/g.txt", "empty/", "empty/f.txt"] or keys() == ["b/g.txt", "empty/f.txt"]


# -- attributes


def test_statfs_is_plausible(m):
    v = os.statvfs(m.path)
    assert v.f_bsize >= 512 and v.f_namemax == 255
    assert v.f_blocks * v.f_frsize > 1 << 40 and v.f_bavail > 0
    util.run(["df", m.path])


def test_attributes_are_plausible(m, put, bucket):
    put("f.txt", b"12345")
    s = os.stat(m.path / "f.txt")
    assert stat.S_ISREG(s.st_mode) and s.st_size == 5 and s.st_nlink == 1
    assert abs(s.st_mtime - bucket.head(m.key("f.txt"))["LastModified"].timestamp()) < 2
    d = os.stat(m.path)
    assert stat.S_ISDIR(d.st_mode) and d.st_mode & 0o700 == 0o700
    assert os.stat(m.path / "f.txt").st_ino == s.st_ino


def test_inode_numbers_of_the_next_mount(mount, m, put):
    """Backup programs and version control take another number for another file."""
    for name in "f.txt", "d/f.txt", "d/e/g":
        put(name)

    def numbers(top):
        found = {}
        for folder, _, _ in os.walk(top):
            with os.scandir(folder) as entries:
                for e in entries:
                    found[os.path.relpath(e.path, top)] = e.stat(follow_symlinks=False).st_ino
                    assert e.inode() == found[os.path.relpath(e.path, top)]
        return found

    first = numbers(m.path)
    m.stop()
    assert len(first) == 5 == len(set(first.values())) and numbers(mount().path) == first


# -- what others do on the server


def test_a_change_on_the_server_is_seen_by_the_next_open(m, put):
    for i in range(10):
        data = b"%d" % i * (i + 1)
        put("f.txt", data)
        assert (m.path / "f.txt").read_bytes() == data
        assert (m.path / "f.txt").stat().st_size == len(data)


def test_a_change_of_the_same_size_is_seen_by_the_next_open(m, put):
    for i in range(10):
        put("f.txt", b"%03d" % i)
        assert (m.path / "f.txt").read_bytes() == b"%03d" % i


def test_a_new_object_is_seen_by_the_next_open(m, put):
    for i in range(10):
        with fails_with(errno.ENOENT):
            open(m.path / f"{i}.txt", "rb")
        put(f"{i}.txt", b"now")
        assert (m.path / f"{i}.txt").read_bytes() == b"now"


def test_a_deleted_object_is_gone_at_the_next_open(m, put, bucket):
    put("f.txt", b"x")
    assert (m.path / "f.txt").read_bytes() == b"x"
    bucket.delete(m.key("f.txt"))
    with fails_with(errno.ENOENT):
        open(m.path / "f.txt", "rb")


def test_two_mounts_of_one_prefix(mount, bucket):
    a, b = mount(), mount()
    for i in range(5):
        (a.path / "f.txt").write_bytes(b"from a %d" % i)
        assert (b.path / "f.txt").read_bytes() == b"from a %d" % i
        (b.path / "f.txt").write_bytes(b"from b %d" % i)
        assert (a.path / "f.txt").read_bytes() == b"from b %d" % i


# -- programs


def test_copy_a_tree_in_and_out(m, bucket, scratch, seed):
    make_tree(scratch / "tree", 60, seed)
    util.run(["cp", "-r", scratch / "tree", m.path / "tree"])
    assert_tree_equal(scratch / "tree", bucket, m.key("tree"))
    util.run(["diff", "-r", scratch / "tree", m.path / "tree"])
    util.run(["cp", "-r", m.path / "tree", scratch / "out"])
    assert_same_files(scratch / "tree", scratch / "out")
    util.run(["rm", "-r", m.path / "tree"])
    assert not bucket.list(m.key("tree"))


def test_tar_through_the_mount(m, scratch, seed):
    make_tree(scratch / "tree", 30, seed)
    util.run(["tar", "-C", scratch, "-cf", m.path / "t.tar", "tree"])
    util.run(["tar", "-C", m.path, "--no-same-owner", "-xf", m.path / "t.tar"])
    assert_same_files(scratch / "tree", m.path / "tree")


def test_dd_in_the_middle_of_a_file(m, put, get):
    put("f.bin", bytes(10_000))
    util.run(f"printf XYZ | dd of={m.path}/f.bin bs=1 seek=5000 conv=notrunc status=none")
    assert get("f.bin") == bytes(5000) + b"XYZ" + bytes(4997)


def test_a_program_runs_from_the_mount(mount):
    m = mount(env={"STATEPROXY_MOUNT_FILE_MODE": "0755"})
    shutil.copy("/bin/true", m.path / "prog")
    assert subprocess.run([m.path / "prog"], timeout=20 * SLOW).returncode == 0


def test_check_is_clean_after_use(m, put):
    for i in range(20):
        put(f"d{i % 3}/f{i}.txt", b"x" * i)
    util.run(["find", m.path, "-type", "f", "-exec", "cat", "{}", "+"])
    for i in range(20):
        (m.path / f"new{i}.txt").write_bytes(b"x" * i)
    m.check()


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"])
def test_a_name_that_no_key_can_have_is_refused_at_once(mount, variant):
    """Not only at the close, when its content is to be published."""
    m = mount(variant=variant)
    name = os.fsencode(m.path) + b"/not\xff\xfeUTF-8"
    (m.path / "f").write_bytes(b"1")
    for flags in (os.O_CREAT | os.O_WRONLY, os.O_CREAT | os.O_EXCL | os.O_RDWR, os.O_CREAT | os.O_TRUNC | os.O_WRONLY):
        with pytest.raises(OSError, match=r"\[Errno 22\]"):
            os.open(name, flags)
    for call in (os.mkdir, os.mkfifo, lambda n: os.symlink("f", n), lambda n: os.rename(m.path / "f", n)):
        with pytest.raises(OSError, match=r"\[Errno 22\]"):
            call(name)
    assert not os.path.exists(name) and os.listdir(m.path) == ["f"]
