"""Symbolic links: objects as s3fs writes them, the content is the target."""

import os
import shutil
import stat
import subprocess

import pytest

from harness import util


@pytest.fixture
def m(mount, proxy):
    return mount(via=proxy)


def put_link(bucket, m, name, target):
    """As s3fs does it."""
    bucket.put(m.key(name), target.encode(), ContentType="application/octet-stream",
               Metadata={"mode": "41471", "uid": "0", "gid": "0", "mtime": "1600000000",
                         "atime": "1600000000", "ctime": "1600000000"})


def test_made_as_s3fs_does(m, bucket):
    os.symlink("some/where else", m.path / "l")
    head = bucket.head(m.key("l"))
    assert head["Metadata"]["mode"] == str(stat.S_IFLNK | 0o777)
    assert bucket.get(m.key("l")) == b"some/where else"
    st = os.lstat(m.path / "l")
    assert stat.S_ISLNK(st.st_mode) and st.st_size == len("some/where else")
    assert os.readlink(m.path / "l") == "some/where else"


def test_that_s3fs_made(m, bucket):
    bucket.put(m.key("d/f.txt"), b"content")
    put_link(bucket, m, "l.txt", "d/f.txt")
    assert os.readlink(m.path / "l.txt") == "d/f.txt"
    assert (m.path / "l.txt").read_bytes() == b"content"
    assert os.lstat(m.path / "l.txt").st_mtime == 1600000000


def test_making_one_in_a_listed_directory_is_one_put(mount, proxy, counted):
    m = mount(via=proxy, env={"STATEPROXY_DIRECTORIES_TTL": "60s"})
    os.listdir(m.path)
    assert counted(os.symlink, "f.txt", m.path / "l.txt") == {"PutObject": 1}
    assert counted(os.lstat, m.path / "l.txt") == {"HeadObject": 1}
    for _ in range(2):
        assert counted(os.readlink, m.path / "l.txt") == {"GetObject": 1}


def test_reading_one_cold_is_one_get(m, counted, bucket):
    bucket.put(m.key("f.txt"), b"content")
    put_link(bucket, m, "l.txt", "f.txt")
    assert counted(os.readlink, m.path / "l.txt") == {"GetObject": 1}
    assert counted(os.lstat, m.path / "l.txt") == {"HeadObject": 1}
    assert counted((m.path / "l.txt").read_bytes) == {"GetObject": 2}


@pytest.mark.parametrize("length", [1, 255, 600, 1000, 4095])
def test_targets_of_any_length(m, length):
    target = "/".join(["x" * 99] * 41)[:length]
    os.symlink(target, m.path / "l")
    assert os.readlink(m.path / "l") == target


def test_targets_are_bytes(m, mount):
    for i, target in enumerate([b" blanks at both ends ", b"\xff\xfe", b"new\nline", b"%41+"]):
        os.symlink(target, os.fsencode(m.path) + b"/l%d.x" % i)
    other = mount()
    for i, target in enumerate([b" blanks at both ends ", b"\xff\xfe", b"new\nline", b"%41+"]):
        assert os.readlink(os.fsencode(other.path) + b"/l%d.x" % i) == target


def test_to_directories_and_to_nothing(m):
    os.mkdir(m.path / "d")
    (m.path / "d/f.txt").write_bytes(b"x")
    os.symlink("d", m.path / "to-d")
    os.symlink("nowhere", m.path / "broken")
    os.symlink("loop", m.path / "loop")
    assert os.listdir(m.path / "to-d") == ["f.txt"]
    assert (m.path / "to-d/f.txt").read_bytes() == b"x"
    with pytest.raises(FileNotFoundError):
        os.stat(m.path / "broken")
    with pytest.raises(OSError, match="Too many levels"):
        os.stat(m.path / "loop")
    (m.path / "broken").write_bytes(b"now there")       # through the link
    assert (m.path / "nowhere").read_bytes() == b"now there"


def test_a_name_that_is_taken(m):
    (m.path / "f").write_bytes(b"x")
    for name in "f", "l":
        if name == "l":
            os.symlink("a", m.path / "l")
        with pytest.raises(FileExistsError):
            os.symlink("b", m.path / name)
    with pytest.raises(FileExistsError):
        os.open(m.path / "l", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with pytest.raises(OSError, match="Too many levels"):
        os.open(m.path / "l", os.O_RDONLY | os.O_NOFOLLOW)


def test_listed(m, bucket):
    (m.path / "f").write_bytes(b"x")
    os.symlink("f", m.path / "l")
    with os.scandir(m.path) as it:
        assert {e.name: e.is_symlink() for e in it} == {"f": False, "l": True}
    found = util.run(["find", m.path, "-type", "l"]).out.split()
    assert found == [str(m.path / "l")]


def test_unlink_and_rename(m, bucket):
    (m.path / "f").write_bytes(b"x")
    os.symlink("f", m.path / "l")
    os.rename(m.path / "l", m.path / "k")
    assert os.readlink(m.path / "k") == "f" and not os.path.lexists(m.path / "l")
    assert bucket.head(m.key("k"))["Metadata"]["mode"] == "41471"
    os.symlink("other", m.path / "new")
    os.replace(m.path / "new", m.path / "k")
    assert os.readlink(m.path / "k") == "other"
    os.unlink(m.path / "k")
    assert (m.path / "f").read_bytes() == b"x" and sorted(os.listdir(m.path)) == ["f"]


def test_a_renamed_directory_keeps_them(m, mount):
    os.mkdir(m.path / "d")
    os.symlink("x", m.path / "d/l.x")
    os.rename(m.path / "d", m.path / "e")
    assert os.readlink(m.path / "e/l.x") == "x"
    assert os.readlink(mount().path / "e/l.x") == "x"


def test_owner_and_time(m, mount):
    os.symlink("x", m.path / "l.x")
    os.lchown(m.path / "l.x", 12, 34)
    os.utime(m.path / "l.x", ns=(0, 1_500_000_000_250_000_000), follow_symlinks=False)
    for path in m.path, mount().path:
        st = os.lstat(path / "l.x")
        assert stat.S_ISLNK(st.st_mode) and (st.st_uid, st.st_gid) == (12, 34)
        assert st.st_mtime_ns == 1_500_000_000_250_000_000
        assert os.readlink(path / "l.x") == "x"


def test_replaced_by_somebody_else(m, bucket):
    os.symlink("target", m.path / "n.x")
    assert os.path.islink(m.path / "n.x")
    bucket.put(m.key("n.x"), b"a file now")
    assert not os.path.islink(m.path / "n.x") and (m.path / "n.x").read_bytes() == b"a file now"
    put_link(bucket, m, "n.x", "elsewhere")
    assert os.readlink(m.path / "n.x") == "elsewhere"


# ---- what only a listing has told ----

def test_listed_and_opened_at_once(mount, bucket, proxy, counted):
    """The listing shows a file. An open goes through the link all the same."""
    m = mount(via=proxy, env={"STATEPROXY_DIRECTORIES_TTL": "60s"})
    bucket.put(m.key("f"), b"content")
    put_link(bucket, m, "l", "f")
    with os.scandir(m.path) as it:
        assert sorted(e.name for e in it) == ["f", "l"]
    assert (m.path / "l").read_bytes() == b"content"
    assert os.readlink(m.path / "l") == "f"


def test_cold_open_through_a_name_without_an_extension(mount, bucket, proxy, counted):
    m = mount(via=proxy)
    bucket.put(m.key("f"), b"content")
    put_link(bucket, m, "l", "f")
    assert (m.path / "l").read_bytes() == b"content"
    assert os.readlink(m.path / "l") == "f"


def test_the_first_look_tells(mount, bucket):
    """Also of a name that may as well be a directory's, which is asked for with a LIST first."""
    m = mount()
    put_link(bucket, m, "l", "f")
    assert stat.S_ISLNK(os.lstat(m.path / "l").st_mode)
    assert os.readlink(m.path / "l") == "f"


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"])
@pytest.mark.parametrize("name", ["current", "current.d"])
@pytest.mark.parametrize("before", ["nothing", "listed", "open_ttl"])
def test_through_a_link_to_a_directory_that_this_mount_has_not_met(mount, bucket, variant, name, before):
    """Whatever comes first: the path leads on, and nothing says that the link is no directory."""
    calls = {
        "open": lambda link: (link / "f.txt").read_bytes() == b"content",
        "stat": lambda link: os.stat(link / "f.txt").st_size == 7,
        "exists": lambda link: os.path.exists(link / "f.txt"),
        "listdir": lambda link: os.listdir(link) == ["f.txt"],
        "chdir": lambda link: util.run(["sh", "-c", 'cd "$1" && cat f.txt', "-", link]).out == "content",
        "create": lambda link: (link / "new").write_bytes(b"1") == 1,
        "rename": lambda link: os.rename(link / "f.txt", link / "g.txt") is None,
        "unlink": lambda link: os.unlink(link / "f.txt") is None,
        "isdir": lambda link: before != "nothing" or os.path.isdir(link)}
    m = mount(variant=variant, env={"STATEPROXY_DIRECTORIES_TTL": "60s",
                                    **({"STATEPROXY_CACHE_OPEN_TTL": "60s"} if before == "open_ttl" else {})})
    for call in calls:
        bucket.put(m.key(f"{call}/v1/f.txt"), b"content")
        put_link(bucket, m, f"{call}/{name}", "v1")
    for call, works in calls.items():
        if before != "nothing":
            assert sorted(os.listdir(m.path / call)) == [name, "v1"]
        assert works(m.path / call / name), call
    assert bucket.get(m.key("create/v1/new")) == b"1"


def test_written_through_a_link_that_was_only_listed(mount, bucket):
    m = mount(env={"STATEPROXY_DIRECTORIES_TTL": "60s"})
    bucket.put(m.key("f"), b"old")
    put_link(bucket, m, "l", "f")
    os.listdir(m.path)
    with open(m.path / "l", "ab") as f:
        f.write(b" and new")
    assert bucket.get(m.key("f")) == b"old and new" and bucket.get(m.key("l")) == b"f"


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("how", ["open", "truncate", "chmod"])
def test_changed_through_a_link_that_only_a_list_has_shown(mount, bucket, listed, how):
    m = mount(env={"STATEPROXY_DIRECTORIES_TTL": "60s"})
    bucket.put(m.key("d/f"), b"old")
    put_link(bucket, m, "d/l", "f")
    os.stat(m.path / "d")
    if listed:
        os.listdir(m.path / "d")
    {"open": lambda: (m.path / "d/l").write_bytes(b"new"),
     "truncate": lambda: os.truncate(m.path / "d/l", 0),
     "chmod": lambda: os.chmod(m.path / "d/l", 0o600)}[how]()
    assert bucket.get(m.key("d/l")) == b"f"
    assert bucket.head(m.key("d/l"))["Metadata"]["mode"] == "41471"
    if how == "chmod":
        assert bucket.head(m.key("d/f"))["Metadata"]["mode"] == str(0o100600)
    else:
        assert bucket.get(m.key("d/f")) == {"open": b"new", "truncate": b""}[how]


# ---- errors, kills ----

def test_not_where_metadata_are_ignored(mount):
    m = mount(env={"STATEPROXY_METADATA": "ignore"})
    with pytest.raises(PermissionError):
        os.symlink("x", m.path / "l")


def test_not_on_a_read_only_mount(mount):
    m = mount(env={"STATEPROXY_MOUNT_READ_ONLY": "true"})
    with pytest.raises(OSError, match="Read-only"):
        os.symlink("x", m.path / "l")


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_workers_make_it_once(m, proxy, bucket, when):
    proxy.hold("h", op="PutObject", when=when)
    maker = subprocess.Popen(["ln", "-s", "t" * 900, m.path / "l"])
    proxy.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    if when == "before":        # else what is there is found to be ours
        proxy.wait_held("h", 2)
    proxy.release("h")
    assert maker.wait(30) == 0
    assert os.readlink(m.path / "l") == "t" * 900
    m.check()


def test_a_failed_upload_leaves_nothing(m, proxy):
    proxy.add_rule("answer", op="PutObject", status=403, code="AccessDenied", times=1)
    with pytest.raises(PermissionError):
        os.symlink("x", m.path / "l")
    assert not os.path.lexists(m.path / "l")
    os.symlink("y", m.path / "l")
    assert os.readlink(m.path / "l") == "y"
    m.check()


# ---- programs ----

@pytest.fixture
def tree(scratch):
    top = scratch / "tree"
    (top / "d/e").mkdir(parents=True)
    for i in range(5):
        (top / f"d/f{i}").write_bytes(b"x" * i)
    os.symlink("f1", top / "d/link")
    os.symlink("../f2", top / "d/e/up")
    os.symlink("nowhere", top / "broken")
    os.symlink("d", top / "dir")
    os.symlink("/usr", top / "absolute")
    return top


def links(top):
    return {os.path.relpath(os.path.join(d, n), top): os.readlink(os.path.join(d, n))
            for d, dirs, files in os.walk(top) for n in dirs + files
            if os.path.islink(os.path.join(d, n))}


def test_cp_a(m, tree, scratch):
    util.run(["cp", "-a", tree, m.path / "copy"])
    assert links(m.path / "copy") == links(tree)
    util.run(["cp", "-a", m.path / "copy", scratch / "back"])
    assert links(scratch / "back") == links(tree)


def test_tar(m, tree, scratch):
    util.run(["tar", "-C", tree, "-cf", scratch / "t.tar", "."])
    os.mkdir(m.path / "x")
    util.run(["tar", "-C", m.path / "x", "-xf", scratch / "t.tar"])
    assert links(m.path / "x") == links(tree)
    util.run(["tar", "-C", m.path / "x", "-cf", scratch / "u.tar", "."])
    util.run(["tar", "-C", m.path / "x", "-df", scratch / "t.tar"])


@pytest.mark.skipif(not shutil.which("rsync"), reason="no rsync")
def test_rsync_twice(m, tree):
    util.run(["rsync", "-a", f"{tree}/", f"{m.path}/copy/"])
    assert links(m.path / "copy") == links(tree)
    again = util.run(["rsync", "-ai", f"{tree}/", f"{m.path}/copy/"]).out
    assert again == ""


@pytest.mark.skipif(not shutil.which("git"), reason="no git")
def test_git(m, tree, scratch):
    env = {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.example",
           "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.example"}

    def git(*args, cwd):
        return subprocess.run(["git", *map(str, args)], cwd=cwd, env=env, check=True, timeout=60,
                              stdout=subprocess.PIPE, text=True).stdout

    git("init", "-q", cwd=tree)
    git("add", "-A", cwd=tree)
    git("commit", "-qm", "one", cwd=tree)
    git("clone", "-q", tree, m.path / "clone", cwd=scratch)
    assert git("status", "--porcelain", cwd=m.path / "clone") == ""
    assert links(m.path / "clone") == links(tree)
