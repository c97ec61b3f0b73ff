"""atime and ctime: kept under the names of s3fs, without a request more. Reads do not move atime; what changes the
attributes of a file moves its ctime; new content takes both times of the content along. nlink is 0 once the name is
gone."""

import os
import subprocess
import time

import pytest

VARIANTS = ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"]
SECOND = 1_000_000_000
OLD = 1_500_000_000 * SECOND + 123_456_789
OLDER = 1_400_000_000 * SECOND + 987_654_321


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


@pytest.fixture
def m(mount, proxy, variant):
    return mount(via=proxy, variant=variant)


def is_now(ns):
    return abs(time.time_ns() - ns) < 60 * SECOND


def test_set_times_are_read_back_by_another_mount(m, mount, variant, bucket):
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    os.utime(p, ns=(OLDER, OLD))
    kept = bucket.head(m.key("f.txt"))["Metadata"]
    assert kept["atime"] == "1400000000.987654321" and kept["mtime"] == "1500000000.123456789"
    for path in p, mount(variant=variant).path / "f.txt":
        st = path.stat()
        assert (st.st_atime_ns, st.st_mtime_ns) == (OLDER, OLD)
        assert is_now(st.st_ctime_ns) and f"{st.st_ctime_ns // SECOND}.{st.st_ctime_ns % SECOND:09}" == kept["ctime"]


def test_what_s3fs_wrote(m, bucket):
    bucket.put(m.key("f.txt"), b"x", Metadata={"mode": "33188", "uid": "0", "gid": "0", "mtime": "1500000000.25",
                                               "atime": "1600000000.5", "ctime": "1700000000"})
    st = (m.path / "f.txt").stat()
    assert (st.st_mtime, st.st_atime, st.st_ctime) == (1500000000.25, 1600000000.5, 1700000000)
    bucket.put(m.key("bad.txt"), b"x", Metadata={"atime": "2024-01-01T00:00:00Z", "ctime": "-5", "mtime": "1500000000"})
    st = (m.path / "bad.txt").stat()
    assert st.st_atime == st.st_ctime == st.st_mtime == 1500000000


def test_nothing_is_stored_that_nobody_has_set(m, bucket):
    (m.path / "f.txt").write_bytes(b"x")
    assert bucket.head(m.key("f.txt"))["Metadata"].keys() <= {"stateproxy-lineage"}
    st = (m.path / "f.txt").stat()
    assert st.st_atime_ns == st.st_mtime_ns == st.st_ctime_ns


def test_reads_do_not_move_atime(m, counted):
    p = m.path / "f.txt"
    p.write_bytes(b"x" * 5000)
    os.utime(p, ns=(OLDER, OLD))
    assert p.read_bytes() == b"x" * 5000
    assert p.stat().st_atime_ns == OLDER
    requests = counted(p.read_bytes)
    assert not requests.keys() & {"CopyObject", "PutObject"}


def test_touch_a_sets_atime_alone(m, mount, variant):
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    os.utime(p, ns=(OLDER, OLD))
    subprocess.run(["touch", "-a", p], check=True, timeout=30)
    for path in p, mount(variant=variant).path / "f.txt":
        assert is_now(path.stat().st_atime_ns) and path.stat().st_mtime_ns == OLD


def test_now_is_one_time(m, bucket):
    """What is stored is what is shown."""
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    os.utime(p)
    st, kept = p.stat(), bucket.head(m.key("f.txt"))["Metadata"]
    for name, ns in ("atime", st.st_atime_ns), ("mtime", st.st_mtime_ns), ("ctime", st.st_ctime_ns):
        assert kept[name] == f"{ns // SECOND}.{ns % SECOND:09}"


def test_copies_keep_them(m, mount, variant, scratch):
    src = scratch / "src"
    src.mkdir()
    for name in "a", "b.txt":
        (src / name).write_bytes(b"x" * 1000)
        os.utime(src / name, ns=(OLDER, OLD))
    subprocess.run(["cp", "-p", src / "b.txt", m.path / "cp.txt"], check=True, timeout=60)
    os.utime(src / "b.txt", ns=(OLDER, OLD))            # (cp has read it)
    subprocess.run(["rsync", "-a", "--atimes", f"{src}/", m.path / "d"], check=True, timeout=120)
    other = mount(variant=variant)
    for name in "cp.txt", "d/a", "d/b.txt":
        for base in m.path, other.path:
            if base is other.path:
                (base / name).read_bytes()      # (a listing tells no times)
            st = (base / name).stat()
            atime = OLDER if name == "cp.txt" else OLDER - OLDER % SECOND   # (rsync sends no finer one)
            assert (st.st_atime_ns, st.st_mtime_ns) == (atime, OLD), name


CHANGES = {
    "chmod": lambda p: os.chmod(p, 0o600),
    "chown": lambda p: os.chown(p, 12, 34),
    "xattr": lambda p: os.setxattr(p, "user.a", b"one"),
    "utimens": lambda p: os.utime(p, ns=(OLD, OLD)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_attributes_moves_ctime(m, mount, variant, bucket, change):
    p = m.path / "f.txt"
    bucket.put(m.key("f.txt"), b"x", Metadata={"mtime": "1500000000", "ctime": "1500000000"})
    assert p.read_bytes() == b"x" and p.stat().st_ctime == 1500000000
    CHANGES[change](p)
    assert is_now(p.stat().st_ctime_ns)
    kept = bucket.head(m.key("f.txt"))["Metadata"]["ctime"]
    for path in p, mount(variant=variant).path / "f.txt":
        ns = path.stat().st_ctime_ns
        assert f"{ns // SECOND}.{ns % SECOND:09}" == kept


SAME = {
    "chmod": lambda p: os.chmod(p, p.stat().st_mode & 0o7777),
    "chown": lambda p: os.chown(p, p.stat().st_uid, p.stat().st_gid),
    "utimens": lambda p: os.utime(p, ns=(p.stat().st_atime_ns, p.stat().st_mtime_ns)),
}


@pytest.mark.parametrize("kind", ["file", "directory", "listed"])
def test_a_change_to_what_is_there_moves_ctime_here_alone(m, bucket, counted, kind):
    """As POSIX wants it, without a copy of each file that chown -R comes by."""
    keys = {name: m.key(f"{name}/" if kind == "directory" else name) for name in SAME}
    for key in keys.values():
        bucket.put(key, b"", Metadata={"mtime": "1500000000", "atime": "1500000000", "ctime": "1500000000"})
    if kind == "listed":
        assert sorted(os.listdir(m.path)) == sorted(SAME)
    for name, change in SAME.items():
        p, key = m.path / name, keys[name]
        if kind != "listed":
            assert p.stat().st_ctime == 1500000000
        requests = counted(change, p)
        assert not requests.keys() & {"CopyObject", "PutObject"}, name
        assert bucket.head(key)["Metadata"]["ctime"] == "1500000000"
        moved = p.stat()
        assert is_now(moved.st_ctime_ns) and moved.st_mtime == moved.st_atime == 1500000000, name
        if kind != "directory":
            p.read_bytes()
        assert p.stat().st_ctime_ns == moved.st_ctime_ns    # what S3 tells next does not take it back
        os.chmod(p, 0o711)
        ns = p.stat().st_ctime_ns
        assert ns > moved.st_ctime_ns
        assert bucket.head(key)["Metadata"]["ctime"] == f"{ns // SECOND}.{ns % SECOND:09}"


def test_a_change_of_nothing_moves_nothing(m, bucket):
    bucket.put(m.key("f.txt"), b"x", Metadata={"ctime": "1500000000"})
    os.chown(m.path / "f.txt", -1, -1)
    assert (m.path / "f.txt").stat().st_ctime == 1500000000


def test_news_of_the_same_version_count_more(m, mount, variant, bucket):
    p = m.path / "f.txt"
    bucket.put(m.key("f.txt"), b"x", Metadata={"ctime": "1500000000"})
    SAME["chmod"](p)
    os.chmod(mount(variant=variant).path / "f.txt", 0o640)
    st = p.stat()
    assert f"{st.st_ctime_ns // SECOND}.{st.st_ctime_ns % SECOND:09}" == bucket.head(m.key("f.txt"))["Metadata"]["ctime"]


def test_of_a_file_that_is_being_written(m, bucket):
    if "passthrough" in m.env["STATE_VARIANT"]:
        pytest.skip("a stream stores them after its close")
    with open(m.path / "f.txt", "wb") as f:
        f.write(b"x")
        f.flush()
        os.utime(f.fileno(), ns=(OLDER, OLD))
        os.fchmod(f.fileno(), 0o600)
        changed = os.fstat(f.fileno())
        assert is_now(changed.st_ctime_ns) and changed.st_mtime_ns == OLD
    kept = bucket.head(m.key("f.txt"))["Metadata"]
    assert kept["ctime"] == f"{changed.st_ctime_ns // SECOND}.{changed.st_ctime_ns % SECOND:09}"
    with open(m.path / "f.txt", "ab") as f:
        f.write(b"y")
    st = (m.path / "f.txt").stat()
    assert st.st_ctime_ns == st.st_mtime_ns >= changed.st_ctime_ns and st.st_atime_ns == OLDER
    assert "ctime" not in bucket.head(m.key("f.txt"))["Metadata"]


def test_a_rename_moves_ctime(m, mount, variant, counted):
    p = m.path / "f.txt"
    p.write_bytes(b"x" * 100)
    os.utime(p, ns=(OLDER, OLD))
    before = p.stat().st_ctime_ns
    counts = counted(os.rename, p, m.path / "g.txt")
    if variant != "s3-buffered-cas":
        assert counts["CopyObject"] == counts["DeleteObject"] == 1 and counts.get("HeadObject", 0) <= 2
    for path in m.path / "g.txt", mount(variant=variant).path / "g.txt":
        st = path.stat()
        assert (st.st_atime_ns, st.st_mtime_ns) == (OLDER, OLD) and before < st.st_ctime_ns < time.time_ns()


def test_of_a_directory(m, mount, variant):
    os.mkdir(m.path / "d")
    os.utime(m.path / "d", ns=(OLDER, OLD))
    st = (m.path / "d").stat()
    assert (st.st_atime_ns, st.st_mtime_ns) == (OLDER, OLD) and is_now(st.st_ctime_ns)


NAMES = {
    "open": lambda d: (d / "new.txt").touch(),
    "mkdir": lambda d: (d / "new").mkdir(),
    "symlink": lambda d: (d / "new.txt").symlink_to("a.txt"),
    "mknod": lambda d: os.mkfifo(d / "new.txt"),
    "unlink": lambda d: (d / "a.txt").unlink(),
    "rmdir": lambda d: (d / "empty").rmdir(),
    "rename in it": lambda d: (d / "a.txt").rename(d / "c.txt"),
    "rename onto another": lambda d: (d / "a.txt").rename(d / "b.txt"),
    "rename into it": lambda d: (d.parent / "out.txt").rename(d / "in.txt"),
    "rename out of it": lambda d: (d / "a.txt").rename(d.parent / "a.txt"),
}


def test_a_change_of_names_moves_the_directory(m):
    """Of the two of a rename, too; not of the one above."""
    for i, (what, change) in enumerate(NAMES.items()):
        top = m.path / str(i)
        d = top / "d"
        (d / "empty").mkdir(parents=True)
        for p in d / "a.txt", d / "b.txt", top / "out.txt":
            p.write_text("x")
        for p in d, top, m.path:
            os.utime(p, ns=(OLDER, OLD))
        change(d)
        moved = {p for p in (d, top, m.path) if p.stat().st_mtime_ns != OLD}
        assert moved == ({d, top} if "into" in what or "out" in what else {d}), what
        for p in moved:
            assert is_now(p.stat().st_mtime_ns) and p.stat().st_ctime_ns == p.stat().st_mtime_ns, what
        assert d.stat().st_atime_ns == OLDER, what
        os.utime(d, ns=(OLDER, OLD))            # as cp -a and rsync do in the end
        assert d.stat().st_mtime_ns == OLD, what


@pytest.mark.parametrize("stamp", ["touch", ": >", "echo x >"], ids=["touched", "empty", "written"])
def test_a_directory_is_not_newer_than_the_stamp_made_in_it(m, stamp):
    """Otherwise make would make what depends on its directory again, and find -newer would find the directory."""
    (m.path / "Makefile").write_text(f"out/stamp: out\n\t{stamp} $@\nout:\n\tmkdir out\n")
    subprocess.run(["make", "-s"], cwd=m.path, check=True, timeout=60)
    assert subprocess.run(["make", "-q"], cwd=m.path, timeout=60).returncode == 0
    found = subprocess.run(["find", "out", "-newer", "out/stamp"], cwd=m.path, capture_output=True, timeout=60)
    assert (found.returncode, found.stdout) == (0, b"")


def test_new_content_does_not_move_the_directory(m, bucket):
    (m.path / "f.txt").write_text("x")
    (m.path / "g.txt").write_text("x")
    os.utime(m.path, ns=(OLDER, OLD))
    (m.path / "f.txt").write_text("more")
    (m.path / "f.txt").chmod(0o600)
    os.setxattr(m.path / "f.txt", "user.a", b"b")
    bucket.put(m.key("h.txt"), b"of another client")
    assert "h.txt" in os.listdir(m.path)
    assert m.path.stat().st_mtime_ns == OLD


def test_others_see_the_name_and_the_time(mount):
    """With isolation a new file has its name from the close on: whoever listed before must see that it came."""
    m = mount(variant="s3-buffered-cas")
    f = open(m.path / "new.py", "w")
    script = ("import os, sys\nbefore = os.stat('.').st_mtime_ns\nos.listdir('.')\nprint(flush=True)\ninput()\n"
              "while not os.path.exists('new.py'): pass\n"
              "while os.stat('.').st_mtime_ns == before: pass\n")
    other = subprocess.Popen(["python3", "-c", script], cwd=m.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"\n"
    f.write("x = 1")
    f.close()
    other.communicate(b"\n", timeout=30)
    assert other.returncode == 0


def test_python_finds_a_module_that_was_written_beside_those_it_has_imported(m):
    (m.path / "first.py").write_text("x = 1")
    script = ("import first\nopen('second.py', 'w').write('y = 2')\nimport second\nprint(second.y)")
    ran = subprocess.run(["python3", "-B", "-c", script], cwd=m.path, capture_output=True, text=True, timeout=60)
    assert ran.stdout == "2\n", ran.stderr


def test_git_sees_what_is_new(m):
    """Its untracked cache reads a directory again only if its mtime has moved."""
    def git(*args):
        return subprocess.run(["git", "-c", "core.untrackedCache=true", "-c", "safe.directory=*", *args],
                              cwd=m.path, check=True, capture_output=True, text=True, timeout=60).stdout
    git("init", "-q", ".")
    (m.path / "d").mkdir()
    (m.path / "d" / "a.txt").write_text("x")
    for _ in range(2):
        assert git("status", "--porcelain", "-uall") == "?? d/a.txt\n"
    (m.path / "d" / "b.txt").write_text("x")
    assert git("status", "--porcelain", "-uall") == "?? d/a.txt\n?? d/b.txt\n"
    (m.path / "d" / "a.txt").unlink()
    assert git("status", "--porcelain", "-uall") == "?? d/b.txt\n"


def test_no_link_is_left(m):
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    with open(p, "rb") as f:
        assert os.fstat(f.fileno()).st_nlink == 1
        os.unlink(p)
        st = os.fstat(f.fileno())
        assert st.st_nlink == 0 and is_now(st.st_ctime_ns)
        assert f.read() == b"x"
    p.write_bytes(b"another")
    assert p.stat().st_nlink == 1
    (m.path / "g.txt").write_bytes(b"y")
    with open(p, "rb") as f:
        os.rename(m.path / "g.txt", p)
        assert os.fstat(f.fileno()).st_nlink == 0
    assert p.stat().st_nlink == 1 and p.read_bytes() == b"y"


def test_no_link_of_a_file_that_is_being_written(m):
    with open(m.path / "f.txt", "wb") as f:
        f.write(b"x")
        f.flush()
        assert os.fstat(f.fileno()).st_nlink == 1
        os.unlink(m.path / "f.txt")
        assert os.fstat(f.fileno()).st_nlink == 0
    assert not (m.path / "f.txt").exists()


def test_no_link_of_a_directory_that_is_open(m):
    os.mkdir(m.path / "d")
    fd = os.open(m.path / "d", os.O_RDONLY | os.O_DIRECTORY)
    assert os.fstat(fd).st_nlink == 2
    os.rmdir(m.path / "d")
    assert os.fstat(fd).st_nlink == 0
    os.close(fd)


@pytest.mark.parametrize("when", [9_223_372_037, 253_402_214_400], ids=["2262-04-12", "9999-12-31"])
def test_a_time_that_nanoseconds_do_not_hold(mount, bucket, when):
    """cp -p, tar and rsync pass on what "never expires"."""
    m = mount()
    (m.path / "f").write_bytes(b"x")
    os.utime(m.path / "f", (when, when))
    assert time.gmtime(os.stat(m.path / "f").st_mtime)[:3] == (2262, 4, 11)
    assert time.gmtime(float(bucket.head(m.key("f"))["Metadata"]["mtime"]))[:3] == (2262, 4, 11)
    m.check()
