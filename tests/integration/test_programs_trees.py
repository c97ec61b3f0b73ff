"""Programs that copy, pack, unpack and back up whole trees, in both buffered variants, while workers are killed: what
they brought to the mount is what it was, there and on the next mount, and it comes back whole."""

import os
import shutil
import stat
import zipfile

import pytest

from conftest import missing
from harness import SLOW, util
from harness.killer import Killer
from harness.pattern import pattern

VARIANTS = ["s3-buffered-lww", "s3-buffered-cas"]
OLD = 1_500_000_000_123_456_000     # (rsync and restic keep no more, or no less, than that)
ATTRS = {"user.color": b"red", "user.bytes": bytes(range(1, 20))}
FOREVER = 1 << 30


@pytest.fixture(params=VARIANTS, ids=["lww", "cas"])
def variant(request):
    return request.param


@pytest.fixture
def m(mount, variant):
    return mount(variant=variant)


@pytest.fixture
def killed(m, seed):
    """Workers of the mount die all the time until the test calls it."""
    killer = Killer(m, FOREVER, seed, 0.1 * SLOW, 0.3 * SLOW)
    killer.start()

    def end():
        killer.cancelled.set()
        killer.join(30)
        assert killer.error is None and not killer.is_alive()
        m.wait_workers(2)

    yield end
    killer.cancelled.set()
    killer.join(30)


@pytest.fixture
def run(scratch, killed):
    env = {**os.environ, "HOME": str(scratch), "LC_ALL": "C.UTF-8", "TMPDIR": str(scratch)}

    def runs(*args, cwd=None):
        if shutil.which(str(args[0])) is None:
            missing(f"no {args[0]} on this machine")
        return util.run(args, cwd=cwd, env=env, timeout=120).out
    return runs


@pytest.fixture
def tree(scratch):
    """One of everything that a file system has. (The names have an extension: what it is that has none is
    known by its second look only, on a mount that has not made it.)"""
    top = scratch / "tree"
    top.mkdir()
    (top / "sub/deep").mkdir(parents=True)
    (top / "empty dir").mkdir()
    files = {"a.txt": b"a" * 1000, "empty.txt": b"", "sub/b.bin": pattern(200_000, 1), "sub/deep/\u00fc c.txt": b"c",
             "sub/run.sh": b"#!/bin/sh\necho run\n"}
    for i, (name, content) in enumerate(files.items()):
        (top / name).write_bytes(content)
        os.chown(top / name, 10 + i, 20 + i)
        os.chmod(top / name, (0o640, 0o600, 0o644, 0o444, 0o755)[i])
    for name in "a.txt", "empty dir":
        for attr, value in ATTRS.items():
            os.setxattr(top / name, attr, value)
    os.symlink("../a.txt", top / "sub/link.txt")
    os.symlink("nowhere at all", top / "dangling.txt")
    os.mknod(top / "fifo", stat.S_IFIFO | 0o620)
    os.mknod(top / "sock", stat.S_IFSOCK | 0o755)
    os.mknod(top / "chr", stat.S_IFCHR | 0o600, os.makedev(5, 300))
    os.mknod(top / "blk", stat.S_IFBLK | 0o660, os.makedev(259, 70000))
    os.chmod(top / "sub", 0o2775)
    os.chmod(top / "empty dir", 0o1777)
    for path in sorted(top.rglob("*"), reverse=True):
        os.utime(path, ns=(OLD, OLD), follow_symlinks=False)
    return top


def describe(top, names, xattrs=True):
    """{name: what there is to tell of it}"""
    told = {}
    for name in names:
        path = top / name
        st = os.lstat(path)
        content = None
        if stat.S_ISLNK(st.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(st.st_mode):
            content = path.read_bytes()
        kind = stat.S_IFMT(st.st_mode)
        told[name] = {"mode": st.st_mode, "owner": (st.st_uid, st.st_gid), "rdev": st.st_rdev, "content": content,
                      "mtime": st.st_mtime_ns,
                      "xattrs": {a: os.getxattr(path, a) for a in os.listxattr(path) if not a.startswith("user.rsync")}
                      if xattrs and kind in (stat.S_IFREG, stat.S_IFDIR) else None}
    return told


def names_of(top, without=()):
    return sorted(n for n in (str(p.relative_to(top)) for p in top.rglob("*")) if n not in without)


def assert_same(expected, top, without=(), xattrs=True):
    names = names_of(expected, without)
    assert names_of(top) == names
    assert describe(top, names, xattrs) == describe(expected, names, xattrs)


def assert_on_the_next_mount(mount, variant, expected, name, without=(), xattrs=True):
    """Asked for by name: a listing tells no metadata. Those of directories come in a second."""
    top = mount(variant=variant).path / name
    names = names_of(expected, without)
    dirs = [n for n in names if (expected / n).is_dir() and not (expected / n).is_symlink()]
    rest = [n for n in names if n not in dirs]
    assert describe(top, rest, xattrs) == describe(expected, rest, xattrs)
    util.wait_until(lambda: describe(top, dirs, xattrs) == describe(expected, dirs, xattrs), 10, "directories")
    assert names_of(top) == names


def test_cp_a(m, mount, variant, run, killed, tree, scratch):
    run("cp", "-a", tree, m.path / "copy")
    run("cp", "-a", m.path / "copy", m.path / "again")
    run("cp", "-a", m.path / "again", scratch / "back")
    killed()
    assert_same(tree, m.path / "copy")
    assert_same(tree, scratch / "back")
    assert_on_the_next_mount(mount, variant, tree, "again")


def test_tar_of_all_types(m, mount, variant, run, killed, tree, scratch):
    flags = ["--xattrs", "--xattrs-include=*", "--numeric-owner"]
    run("tar", "-C", tree, *flags, "--format=posix", "-cf", m.path / "all.tar", ".")
    (m.path / "copy").mkdir()
    run("tar", "-C", m.path / "copy", *flags, "-xpf", m.path / "all.tar")
    run("tar", "-C", m.path / "copy", *flags, "--format=posix", "-czf", scratch / "back.tgz", ".")
    (scratch / "back").mkdir()
    run("tar", "-C", scratch / "back", *flags, "-xpzf", scratch / "back.tgz")
    killed()
    no_socket = ("sock",)                                   # which tar leaves out
    assert_same(tree, m.path / "copy", no_socket)
    assert_same(tree, scratch / "back", no_socket)
    assert_on_the_next_mount(mount, variant, tree, "copy", no_socket)


def test_rsync_of_all_types(m, mount, variant, run, killed, tree, scratch):
    run("rsync", "-aHX", "--specials", "--devices", f"{tree}/", f"{m.path}/copy")
    assert run("rsync", "-aHXin", "--specials", "--devices", f"{tree}/", f"{m.path}/copy") == ""
    run("rsync", "-aHX", f"{m.path}/copy/", f"{scratch}/back")
    killed()
    assert_same(tree, m.path / "copy")
    assert_same(tree, scratch / "back")
    assert_on_the_next_mount(mount, variant, tree, "copy")


def test_rsync_fake_super(m, run, killed, tree, scratch):
    """Owners, modes and types go to an extended attribute of its own, and come back from there."""
    run("rsync", "-aHAX", "-M--fake-super", f"{tree}/", f"{m.path}/copy")
    assert stat.S_ISREG(os.lstat(m.path / "copy/chr").st_mode)
    assert os.getxattr(m.path / "copy/a.txt", "user.rsync.%stat").split() == [b"100640", b"0,0", b"10:20"]
    run("rsync", "-aHAX", "--fake-super", "-M--super", f"{m.path}/copy/", f"{scratch}/back")
    killed()
    assert_same(tree, scratch / "back")


def test_install_and_unzip(m, mount, variant, run, killed, tree, scratch):
    run("install", "-d", "-m", "750", "-o", "7", "-g", "8", m.path / "usr/bin")
    run("install", "-p", "-m", "751", "-o", "9", "-g", "10", tree / "sub/run.sh", m.path / "usr/bin/run.sh")
    with zipfile.ZipFile(scratch / "all.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for name in names_of(tree, ("fifo", "sock", "chr", "blk", "dangling.txt", "sub/link.txt")):
            z.write(tree / name, name)
    run("unzip", "-q", scratch / "all.zip", "-d", m.path / "unzipped")
    run("unzip", "-q", "-o", scratch / "all.zip", "-d", m.path / "unzipped")
    killed()
    for top in m.path, mount(variant=variant).path:
        st = (top / "usr/bin/run.sh").stat()
        assert (st.st_mode, st.st_uid, st.st_gid) == (0o100751, 9, 10)
        assert st.st_mtime_ns == (tree / "sub/run.sh").stat().st_mtime_ns
        assert (top / "unzipped/sub/b.bin").read_bytes() == (tree / "sub/b.bin").read_bytes()
        assert (top / "unzipped/sub/run.sh").stat().st_mode == 0o100755
        assert (top / "unzipped/a.txt").stat().st_mtime == OLD // 10**9 // 2 * 2
    assert util.run([m.path / "usr/bin/run.sh"]).out == "run\n"


@pytest.fixture
def restic(run, scratch):
    (scratch / "password").write_text("secret")

    def runs(repository, *args, cwd=None):
        return run("restic", "--no-cache", "-r", repository, "--password-file", scratch / "password", *args, cwd=cwd)
    return runs


@pytest.mark.slow
def test_restic_with_its_repository_on_the_mount(m, restic, killed, tree, scratch):
    repository = m.path / "repository"
    restic(repository, "init")
    for more in "one.txt", "two.txt":
        (tree / more).write_bytes(b"more")
        restic(repository, "backup", ".", cwd=tree)
    restic(repository, "forget", "--keep-last", "1", "--prune")
    restic(repository, "check", "--read-data")
    restic(repository, "restore", "latest", "--target", scratch / "back")
    killed()
    assert_same(tree, scratch / "back", ("sock",))


@pytest.mark.slow
def test_restic_of_files_on_the_mount(m, run, restic, killed, tree, scratch):
    """What has not changed is not read again: inode number, mtime and ctime stay."""
    repository = scratch / "repository"
    run("cp", "-a", tree, m.path / "copy")
    restic(repository, "init")
    restic(repository, "backup", ".", cwd=m.path / "copy")
    told = restic(repository, "backup", ".", cwd=m.path / "copy")
    restic(repository, "restore", "latest", "--target", scratch / "back")
    killed()
    assert "0 new,     0 changed" in told, told
    assert_same(tree, scratch / "back", ("sock",))


@pytest.fixture
def borg(run, scratch, monkeypatch):
    monkeypatch.setenv("BORG_BASE_DIR", str(scratch))
    return lambda *args, **kwargs: run("borg", *args, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS[:1], ids=["lww"], indirect=True)
def test_borg(m, run, borg, killed, tree, scratch):
    repository = m.path / "repository"
    borg("init", "-e", "none", repository)
    for archive in "one", "two":
        (tree / f"{archive}.txt").write_bytes(b"more")
        borg("create", f"{repository}::{archive}", ".", cwd=tree)
    borg("delete", f"{repository}::one")
    borg("compact", repository)
    borg("check", "--verify-data", repository)
    (scratch / "back").mkdir()
    borg("extract", f"{repository}::two", cwd=scratch / "back")
    killed()
    assert_same(tree, scratch / "back", ("sock",))


@pytest.mark.parametrize("variant", VARIANTS[1:], ids=["cas"], indirect=True)
def test_borg_cannot_lock_where_directories_are_not_renamed(m, borg):
    with pytest.raises(AssertionError, match="Failed to create/acquire the lock"):
        borg("init", "-e", "none", m.path / "repository")
