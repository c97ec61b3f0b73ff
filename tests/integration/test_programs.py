"""Programs that people use, on the mount: each does its work, and its results are on the server."""

import dbm
import dbm.dumb
import os
import pathlib
import shelve
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import pytest

from conftest import missing
from harness import SLOW, util
from harness.pattern import pattern
from harness.tree import assert_same_files, assert_tree_equal, make_tree
from harness.work import SQLITE_INCREMENT

PYTHON = [sys.executable, "-B"]


@pytest.fixture
def m(mount):
    return mount()


@pytest.fixture
def here(m):
    """The mount point."""
    return m.path


@pytest.fixture
def get(bucket, m):
    return lambda name: bucket.get(m.key(name))


@pytest.fixture
def tree(scratch, seed):
    """A small local tree with modes and times of its own."""
    top = make_tree(scratch / "tree", 40, seed)
    for i, path in enumerate(sorted(top.rglob("*"))):
        if path.is_file():
            path.chmod((0o644, 0o600, 0o755)[i % 3])
            os.utime(path, ns=(0, 1_500_000_000_123_456_789 + i * 10**9))
    return top


def needs(*programs):
    for program in programs:
        if shutil.which(program) is None:
            missing(f"no {program} on this machine")


def run(*args, **kwargs):
    """Runs it and gives what it printed."""
    return util.run(args[0] if isinstance(args[0], str) and len(args) == 1 else args, **kwargs).out


def attributes(top, times=True):
    """{name: (mode, mtime)} of the files of a tree."""
    return {str(p.relative_to(top)): (p.stat().st_mode, times and p.stat().st_mtime_ns)
            for p in pathlib.Path(top).rglob("*") if p.is_file()}


# -- copying trees


def test_cp_a_in_and_out(here, m, bucket, tree, scratch):
    run("cp", "-a", tree, here / "tree")
    assert_tree_equal(tree, bucket, m.key("tree"))
    assert attributes(here / "tree") == attributes(tree)
    run("cp", "-a", here / "tree", scratch / "out")
    assert_same_files(tree, scratch / "out")
    assert attributes(scratch / "out") == attributes(tree)


def test_cp_a_out_of_another_mount(here, mount, tree, scratch):
    """Where nothing is known of the files but what the server tells."""
    run("cp", "-a", tree, here / "tree")
    run("cp", "-a", mount().path / "tree", scratch / "out")
    assert_same_files(tree, scratch / "out")


def test_tar(here, tree, scratch):
    run("tar", "-C", scratch, "--format=posix", "-cf", scratch / "t.tar", "tree")
    run("tar", "-C", here, "-xf", scratch / "t.tar")
    assert_same_files(tree, here / "tree")
    assert attributes(here / "tree") == attributes(tree)
    assert run("tar", "-C", here, "--compare", "-f", scratch / "t.tar") == ""
    run("tar", "-C", here, "-czf", here / "t.tar.gz", "tree")
    run("tar", "-C", scratch, "--one-top-level=out", "-xf", here / "t.tar.gz")
    assert_same_files(tree, scratch / "out/tree")


def test_rsync_twice(here, m, bucket, tree, scratch):
    """The second time there is nothing to do."""
    needs("rsync")
    command = ["rsync", "-a", "--itemize-changes", f"{tree}/", f"{here}/tree/"]
    assert run(*command).count("\n") > 40
    assert_tree_equal(tree, bucket, m.key("tree"))
    assert run(*command) == ""
    (tree / "new.txt").write_bytes(b"new")
    next(p for p in sorted(tree.rglob("*.bin"))).write_bytes(b"changed")
    assert run(*command).count(">f") == 2
    assert run(*command, "--checksum") == ""
    run("rsync", "-a", "--delete", f"{here}/tree/", f"{scratch}/out/")
    assert_same_files(tree, scratch / "out")


def test_rsync_again_from_another_mount(here, mount, tree):
    """What is known of files only from a listing has the server's time: rsync goes by sizes."""
    needs("rsync")
    run("rsync", "-a", f"{tree}/", f"{here}/tree/")
    other = mount().path
    out = run("rsync", "-a", "--size-only", "--stats", f"{tree}/", f"{other}/tree/")
    assert "Number of regular files transferred: 0" in out, out
    assert_same_files(tree, other / "tree")


def test_rsync_in_place_and_append(here, get, scratch):
    needs("rsync")
    data = pattern(300_000)
    (scratch / "f.bin").write_bytes(data)
    run("rsync", "--inplace", scratch / "f.bin", f"{here}/")
    data = data[:100_000] + b"X" * 1000 + data[101_000:]
    (scratch / "f.bin").write_bytes(data)
    run("rsync", "--inplace", "--no-whole-file", "--ignore-times", scratch / "f.bin", f"{here}/")
    assert get("f.bin") == data
    (scratch / "f.bin").write_bytes(data + b"more")
    run("rsync", "--append", scratch / "f.bin", f"{here}/")
    assert get("f.bin") == data + b"more"


def test_python_shutil_pathlib_zipfile(here, m, bucket, tree, scratch):
    shutil.copytree(tree, here / "a")
    assert_tree_equal(tree, bucket, m.key("a"))
    assert attributes(here / "a") == attributes(tree)
    shutil.move(here / "a", here / "b")
    assert not (here / "a").exists()
    assert_tree_equal(tree, bucket, m.key("b"))
    shutil.move(here / "b", scratch / "moved")
    assert_same_files(tree, scratch / "moved")
    assert bucket.list(m.key("b")) == {}
    archive = shutil.make_archive(here / "z", "zip", tree)
    with zipfile.ZipFile(archive, "a") as z:
        z.writestr("more.txt", "more")
    with zipfile.ZipFile(archive) as z:
        assert z.testzip() is None
        z.extractall(here / "unzipped")
    assert (here / "unzipped/more.txt").read_bytes() == b"more"
    (here / "unzipped/more.txt").unlink()
    assert_same_files(tree, here / "unzipped")
    path = here / "x/y/z.txt"
    path.parent.mkdir(parents=True)
    path.write_text("text")
    path.replace(path.with_suffix(".md"))
    assert sorted(p.name for p in here.glob("x/**/*")) == ["y", "z.md"]
    shutil.rmtree(here / "unzipped")
    assert bucket.list(m.key("unzipped")) == {}


def test_find_and_du_tell_as_of_a_local_tree(here, tree):
    run("cp", "-a", tree, here / "tree")
    for expression in (["-type", "f", "-printf", "%P %s %m %T@\n"],
                       ["-type", "d", "-printf", "%P\n"], ["-empty", "-printf", "%P\n"],
                       ["-name", "*.txt", "-newermt", "2017-07-14 02:40:10", "-printf", "%P\n"]):
        a, b = (sorted(run("find", top, *expression).splitlines()) for top in (tree, here / "tree"))
        assert a == b
    dirs = sum(p.is_dir() for p in (here / "tree").rglob("*")) + 1
    size = sum(p.stat().st_size for p in tree.rglob("*") if p.is_file())
    assert int(run("du", "-sb", here / "tree").split()[0]) == size + dirs * here.stat().st_size
    assert run("find", here / "tree", "-type", "f", "-delete") == ""
    assert run("find", here / "tree", "-type", "f") == ""


# -- building software


@pytest.mark.slow
def test_git(here, scratch, bucket, m):
    needs("git")
    env = util.clean_env(HOME=scratch, GIT_CONFIG_NOSYSTEM=1)

    def git(top, *args):
        return run("git", "-C", top, "-c", "user.name=t", "-c", "user.email=t@example.org",
                   "-c", "gc.auto=0", *args, env=env)
    origin, clone = scratch / "origin", here / "clone"
    make_tree(origin, 60, 1)
    git(origin, "init", "-q", "-b", "main")
    for i in range(5):
        (origin / "changing.txt").write_text(f"version {i}\n" * 100)
        git(origin, "add", "-A")
        git(origin, "commit", "-q", "-m", f"commit {i}")
    git(here, "clone", "-q", origin, "clone")
    git(clone, "fsck", "--full", "--strict")
    assert git(clone, "status", "--porcelain") == ""
    (clone / "changing.txt").write_text("changed on the mount\n")
    (clone / "new dir").mkdir()
    (clone / "new dir/new.txt").write_text("new\n")
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "on the mount")
    git(clone, "checkout", "-q", "-b", "side", "HEAD~2")
    git(clone, "checkout", "-q", "main")
    git(clone, "gc", "-q")
    git(clone, "fsck", "--full", "--strict")
    git(origin, "fetch", "-q", clone, "main")
    assert git(origin, "rev-parse", "FETCH_HEAD") == git(clone, "rev-parse", "main")
    assert git(clone, "status", "--porcelain") == ""
    assert_tree_equal(clone, bucket, m.key("clone"))


CONFIGURE = """#!/bin/sh
set -e
echo 'int main(void) { return 0; }' > conftest.c
${CC:-cc} -o conftest conftest.c && ./conftest
rm -f conftest conftest.c
echo '#define VERSION "1.0"' > config.h.tmp
if cmp -s config.h config.h.tmp; then rm config.h.tmp; else mv config.h.tmp config.h; fi
sed "s|@CC@|${CC:-cc}|" Makefile.in > Makefile
"""
MAKEFILE = """all: hello
hello: main.o greet.o libx.a
\t@CC@ -o $@ main.o greet.o libx.a
libx.a: x.o
\tar rcs $@ x.o
%.o: %.c config.h
\t@CC@ -g -c -o $@ $<
"""


@pytest.mark.slow
def test_configure_and_make(here, get):
    needs("make", "cc", "ar")
    top = here / "hello"
    top.mkdir()
    (top / "configure").write_text(CONFIGURE)
    (top / "configure").chmod(0o755)
    (top / "Makefile.in").write_text(MAKEFILE)
    (top / "main.c").write_text("int greet(void); int main(void) { return greet(); }\n")
    (top / "greet.c").write_text('#include <stdio.h>\n#include "config.h"\nint x(void);\n'
                                 'int greet(void) { puts("hello " VERSION); return x(); }\n')
    (top / "x.c").write_text("int x(void) { return 0; }\n")
    run("./configure", cwd=top)
    run("make", "-j2", cwd=top)
    assert run(top / "hello") == "hello 1.0\n"
    assert "up to date" in run("make", cwd=top) or "Nothing to be done" in run("make", cwd=top)
    time.sleep(0.01)
    run("touch", top / "greet.c")
    assert "greet.o" in run("make", cwd=top)
    assert run(top / "hello") == "hello 1.0\n"
    assert get("hello/hello")[:4] == b"\x7fELF"


# -- databases


@pytest.mark.slow
def test_sqlite(here, bucket, m, scratch):
    """Rollback journal; two processes, each in turn; and the object is a good database too."""
    needs("sqlite3")
    db = here / "test.db"
    run("sqlite3", db, "pragma journal_mode=delete; create table counter (n); "
                       "insert into counter values (0); create table log (line);")
    users = [util.spawn([*PYTHON, "-c", SQLITE_INCREMENT, db, 40]) for _ in range(2)]
    for user in users:
        util.finish(user)
    assert run("sqlite3", db, "pragma integrity_check; select n from counter; "
                              "select count(*) from log;") == "ok\n80\n80\n"
    run("sqlite3", db, "begin; update counter set n = 7; delete from log; rollback; vacuum;")
    assert os.listdir(here) == ["test.db"]
    (scratch / "copy.db").write_bytes(bucket.get(m.key("test.db")))
    assert run("sqlite3", scratch / "copy.db",
               "pragma integrity_check; select n from counter;") == "ok\n80\n"


@pytest.mark.slow
def test_a_killed_sqlite_leaves_a_good_database(here):
    needs("sqlite3")
    db = here / "test.db"
    run("sqlite3", db, "create table counter (n); insert into counter values (0); "
                       "create table log (line);")
    for i in range(3):
        user = util.spawn([*PYTHON, "-c", SQLITE_INCREMENT, db, 100_000])
        time.sleep(0.4 * SLOW)
        os.killpg(user.pid, signal.SIGKILL)
        user.communicate()
        out = run("sqlite3", db, "pragma integrity_check; select n, (select count(*) from log) "
                                 "from counter;")
        n, lines = out.split()[1].split("|")
        assert out.startswith("ok\n") and n == lines, out


def test_sqlite_with_a_write_ahead_log(here):
    """Its index is shared memory in a mapped file."""
    needs("sqlite3")
    out = run("sqlite3", here / "w.db", "pragma journal_mode=wal; create table t (n); "
                                        "insert into t values (1); select n from t;")
    assert out.splitlines()[1:] == ["1"]
    assert run("sqlite3", here / "w.db", "pragma integrity_check; select n from t;") == "ok\n1\n"


@pytest.mark.parametrize("module", [dbm, dbm.dumb], ids=["the best there is", "dumb"])
def test_shelve(here, module):
    for i in range(3):
        with shelve.Shelf(module.open(str(here / "shelf"), "c")) as db:
            db.update({f"key{j}": [i, "x" * 300] for j in range(i, 30)})
    with shelve.Shelf(module.open(str(here / "shelf"), "r")) as db:
        assert [db[f"key{j}"][0] for j in range(30)] == [0, 1] + [2] * 28


# -- fio


FIO = {
    "sequential": ["--rw=write", "--bs=64k"],
    "random": ["--rw=randwrite", "--bsrange=4k-64k"],
    "random read and write": ["--rw=randrw", "--bs=4k", "--fsync=100"],
    "mmap": ["--rw=randwrite", "--bs=4k", "--ioengine=mmap"],
    "several jobs": ["--rw=randwrite", "--bsrange=4k-64k", "--numjobs=3"],
    "direct": ["--rw=randwrite", "--bs=16k", "--direct=1"],
    "asynchronous": ["--rw=randwrite", "--bs=16k", "--ioengine=libaio", "--iodepth=8",
                     "--direct=1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FIO)
def test_fio_verify(here, m, bucket, scratch, kind):
    needs("fio")
    run("fio", "--name=job", f"--directory={here}", "--size=6m", "--verify=crc32c",
        "--do_verify=1", "--verify_fatal=1", "--ioengine=psync", "--end_fsync=1",
        "--randseed=1", *FIO[kind], cwd=scratch)
    sizes = bucket.list(m.key(""))
    assert set(sizes.values()) == {6 << 20} and len(sizes) == (3 if kind == "several jobs" else 1)


# -- saving and changing files


SAVE = """
import os, sys
path = sys.argv[1]
for i in range(1, int(sys.argv[2]) + 1):
    with open(path + ".tmp", "x") as f:
        f.write(f"{i}\\n" * 3000)
        f.flush()
        os.fsync(f.fileno())
    os.rename(path + ".tmp", path)
"""


@pytest.mark.slow
def test_saving_by_rename_shows_whole_versions_only(here, get):
    path = here / "text.txt"
    path.write_text("0\n" * 3000)
    writer = util.spawn([*PYTHON, "-c", SAVE, path, 50])
    last = reads = 0
    while writer.poll() is None:
        lines = path.read_text().splitlines()
        assert len(lines) == 3000 and len(set(lines)) == 1, "of one version, and all of it"
        assert int(lines[0]) >= last, "never an older one again"
        last = int(lines[0])
        reads += 1
    util.finish(writer)
    assert reads > 5
    assert path.read_text() == "50\n" * 3000 and get("text.txt") == b"50\n" * 3000
    assert os.listdir(here) == ["text.txt"]


def test_saving_with_a_backup_as_vim_does(here, get):
    """The old file is renamed away, the new one written under its name, the backup removed."""
    path, backup = here / "f.txt", here / "f.txt~"
    path.write_text("0")
    path.chmod(0o600)
    for i in range(1, 6):
        os.rename(path, backup)
        with open(path, "w") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(str(i))
            f.flush()
            os.fsync(f.fileno())
        backup.unlink()
        assert get("f.txt") == str(i).encode() and path.stat().st_mode == 0o100600
    assert os.listdir(here) == ["f.txt"]


def test_sort_and_sed_in_place(here, get):
    path = here / "f.txt"
    path.write_text("".join(f"line {i}\n" for i in (3, 1, 2)))
    path.chmod(0o640)
    run("sort", "-o", path, path)
    assert get("f.txt") == b"line 1\nline 2\nline 3\n"
    run("sed", "-i", "s/line 2/LINE 2/", path)
    assert get("f.txt") == b"line 1\nLINE 2\nline 3\n" and path.stat().st_mode == 0o100640
    run("sed", "-i.bak", "1d", path)
    assert get("f.txt") == b"LINE 2\nline 3\n"
    assert get("f.txt.bak") == b"line 1\nLINE 2\nline 3\n"
    run(f"sort -r {path} | uniq | tee {here}/out.txt | wc -l")
    assert get("out.txt") == b"line 3\nLINE 2\n"


def test_patch(here, get):
    needs("patch", "diff")
    for name, text in (("old", "a\nb\nc\n"), ("new", "a\nB\nc\nd\n")):
        (here / name).write_text(text)
    diff = util.run(["diff", "-u", "old", "new"], cwd=here, check=False)
    assert diff.code == 1
    (here / "p.diff").write_text(diff.out)
    run("patch", "-b", "old", "p.diff", cwd=here)
    assert get("old") == b"a\nB\nc\nd\n" and get("old.orig") == b"a\nb\nc\n"


def test_dd(here, get):
    f = here / "f.bin"
    run(f"dd if=/dev/zero of={f} bs=1000 count=10 status=none")
    run(f"printf XYZ | dd of={f} bs=1 seek=5000 conv=notrunc status=none")
    assert get("f.bin") == bytes(5000) + b"XYZ" + bytes(4997)
    run(f"printf end | dd of={f} oflag=append conv=notrunc status=none")
    assert get("f.bin") == bytes(5000) + b"XYZ" + bytes(4997) + b"end"
    run(f"printf cut | dd of={f} bs=100 seek=2 status=none")
    assert get("f.bin") == bytes(200) + b"cut"
    run(f"printf synced | dd of={f} conv=fsync,notrunc status=none")
    assert get("f.bin") == b"synced" + bytes(194) + b"cut"
    run(f"dd if=/dev/zero of={f} bs=1M count=0 seek=1 status=none")
    assert f.stat().st_size == 1 << 20
    data = pattern(3 << 20)
    (here / "g.bin").write_bytes(data)
    run(f"dd if={here}/g.bin of={here}/h.bin bs=64k iflag=direct oflag=direct status=none")
    assert get("h.bin") == data
    assert run(f"dd if={here}/g.bin bs=4096 skip=100 count=1 status=none | sha256sum") == \
        run("sha256sum", input=data[409_600:413_696])


def test_truncate_touch_install_mktemp(here, get, scratch):
    (scratch / "prog").write_bytes(b"#!/bin/sh\necho it runs\n")
    run("install", "-D", "-m", "755", scratch / "prog", here / "usr/bin/prog")
    assert get("usr/bin/prog") == (scratch / "prog").read_bytes()
    assert (here / "usr/bin/prog").stat().st_mode == 0o100755
    assert run(here / "usr/bin/prog") == "it runs\n"
    run("install", "-m", "644", "-p", scratch / "prog", here / "usr/bin/prog")
    assert (here / "usr/bin/prog").stat().st_mode == 0o100644
    made = run("mktemp", "-p", here).strip()
    assert os.stat(made).st_mode == 0o100600
    assert os.path.isdir(run("mktemp", "-d", "-p", here).strip())
    run("truncate", "-s", "5000", made)
    run("truncate", "-s", "-1000", made)
    assert get(os.path.basename(made)) == bytes(4000)
    run("touch", "-d", "2001-02-03 04:05:06 UTC", made)
    assert os.stat(made).st_mtime == 981173106
    run("touch", "-r", scratch / "prog", made)
    assert os.stat(made).st_mtime_ns == (scratch / "prog").stat().st_mtime_ns


def test_temporary_files_of_programs(here, scratch):
    """TMPDIR on the mount: files that are unlinked while open, here-documents, sort's runs."""
    env = util.clean_env(TMPDIR=here)
    text = "".join(f"{i * 7919 % 100_003}\n" for i in range(100_000))
    (scratch / "in").write_text(text)
    out = run("sort", "-n", "-S", "100k", scratch / "in", env=env)
    assert out.split() == sorted(text.split(), key=int)
    out = run(*PYTHON, "-c", "import tempfile as t\nwith t.TemporaryFile() as f:\n"
              " f.write(b'x' * 9000000); f.seek(8999990); print(len(f.read()))", env=env)
    assert out == "10\n"
    assert os.listdir(here) == []


# -- appending and following


def test_exec_3_append(here, get):
    """A descriptor that stays open for many appends, of the shell itself and of its children."""
    log = here / "log"
    log.write_text("begin\n")
    run(f"exec 3>>{log}\nfor i in $(seq 100); do echo $i >&3; done\n"
        "for i in 101 102 103; do /bin/echo $i >&3; done\nexec 3>&-")
    expected = "begin\n" + "".join(f"{i}\n" for i in range(1, 104))
    assert get("log").decode() == expected
    run(f"for i in $(seq 20); do echo $i >> {log}; done")
    assert get("log").decode() == expected + "".join(f"{i}\n" for i in range(1, 21))


def test_several_processes_append(here, get):
    """O_APPEND of four at once: nothing is lost, no line is torn."""
    script = f"exec 3>>{here}/log; for i in $(seq 100); do echo $0$i >&3; done"
    programs = [util.spawn(["sh", "-c", script, name]) for name in "abcd"]
    for program in programs:
        util.finish(program)
    lines = get("log").decode().split()
    assert sorted(lines) == sorted(f"{name}{i}" for name in "abcd" for i in range(1, 101))
    for name in "abcd":
        assert [x for x in lines if x[0] == name] == [f"{name}{i}" for i in range(1, 101)]


@pytest.mark.parametrize("keeps_open", [True, False], ids=["one open file", "opened each time"])
def test_tail_f(here, keeps_open, scratch):
    log = here / "f.log"
    log.write_text("0\n")
    with open(scratch / "out", "wb") as out:
        tail = util.spawn(["tail", "-n", "+1", "-s", "0.1", "-f", log], stdout=out)
    try:
        f = open(log, "a", buffering=1)
        for i in range(1, 21):
            f.write(f"{i}\n")
            if not keeps_open:
                f.close()
                f = open(log, "a", buffering=1)
            time.sleep(0.01)
        expected = "".join(f"{i}\n" for i in range(21))
        util.wait_until(lambda: (scratch / "out").read_text() == expected, 15,
                        "the lines that tail has to see")
        f.close()
    finally:
        os.killpg(tail.pid, signal.SIGKILL)
        tail.communicate()


# -- mapped files


MMAP = """
import mmap, os, sys
path, size = sys.argv[1], int(sys.argv[2])
fd = os.open(path, os.O_RDWR)
m = mmap.mmap(fd, size)
m[100:104] = b"here"
m.flush()
assert os.pread(fd, 4, 100) == b"here"
os.pwrite(fd, b"there", 200_000)
assert m[200_000:200_005] == b"there"
m[size - 3:] = b"end"
print("ready", flush=True)
sys.stdin.readline()
m.close()
os.close(fd)
"""


def test_mmap_shared_write(here, get):
    """msync publishes, write and mapping see each other, and what comes last is not lost."""
    data = bytearray(pattern(500_000))
    (here / "f.bin").write_bytes(data)
    user = util.spawn([*PYTHON, "-c", MMAP, here / "f.bin", len(data)], stdin=subprocess.PIPE)
    assert user.stdout.readline() == b"ready\n"
    assert get("f.bin")[100:104] == b"here", "msync"
    util.finish(user)
    data[100:104], data[200_000:200_005], data[-3:] = b"here", b"there", b"end"
    assert get("f.bin") == data
    assert (here / "f.bin").read_bytes() == data


def test_a_mapping_that_outlives_its_descriptor(here, get):
    data = bytearray(pattern(100_000))
    (here / "f.bin").write_bytes(data)
    run(*PYTHON, "-c", "import mmap, os, sys\nfd = os.open(sys.argv[1], os.O_RDWR)\n"
        "m = mmap.mmap(fd, 0)\nos.close(fd)\nm[5000:5004] = b'late'\nm.close()", here / "f.bin")
    data[5000:5004] = b"late"
    util.wait_until(lambda: get("f.bin") == data, 10, "the mapping's bytes on the server")


def test_a_program_runs_from_the_mount(here, m):
    """An executable is mapped; and changing it while it runs is refused."""
    shutil.copy("/bin/sleep", here / "sleep")
    sleeper = util.spawn([here / "sleep", "30"])
    try:
        time.sleep(0.1)
        with pytest.raises(OSError, match="Text file busy"):
            open(here / "sleep", "r+b")
    finally:
        os.killpg(sleeper.pid, signal.SIGKILL)
        sleeper.communicate()
    m.check()
