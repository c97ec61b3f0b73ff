"""Programs that people use, in both variants, run by a shell that stays their parent, while others list
the directory, read in it, and touch locks: each does what it does on a local disk, and its results are
on the server."""

import os
import shutil
import sys
import zipfile

import pytest

from conftest import missing
from harness import util
from harness.tree import assert_same_files, assert_tree_equal, make_tree
from harness.work import PYTHON, SQLITE_INCREMENT
from test_cas import CAS

LWW = "s3-buffered-lww"

pytestmark = [pytest.mark.slow, pytest.mark.noise(strict=True, writers=True, own="noise")]


@pytest.fixture(params=[LWW, CAS], ids=["lww", "cas"])
def m(mount, request):
    return mount(variant=request.param)


@pytest.fixture
def here(m):
    """A directory of the mount; the company's own locks are beside it."""
    (m.path / "here").mkdir()
    return m.path / "here"


@pytest.fixture
def get(bucket, m):
    return lambda name: bucket.get(m.key(f"here/{name}"))


def needs(*programs):
    for program in programs:
        if shutil.which(program) is None:
            missing(f"no {program} on this machine")


def sh(script, *args, cwd=None, env=None, timeout=60):
    """What it prints. The shell is its programs' parent to the end: the last one does not replace it."""
    return util.run(["sh", "-ec", script + "\nexit $?", "sh", *args], cwd=cwd, env=env,
                    timeout=timeout).out


def python(code, *args, **kwargs):
    return sh('"$@"', *PYTHON, "-c", code, *args, **kwargs)


GIT = """
g() { git -c user.name=t -c user.email=t@example.org -c gc.auto=0 "$@"; }
g clone -q "$1" clone
cd clone
g fsck --full --strict
test -z "$(git status --porcelain)"
echo changed >changing.txt; mkdir 'new dir'; echo new >'new dir/new.txt'
g add -A; g commit -q -m 'on the mount'
g checkout -q -b side HEAD~2; echo side >side.txt; g add side.txt; g commit -q -m side
g rebase -q main
g stash -q --include-untracked || :
g checkout -q main; g merge -q side
g tag -a v1 -m v1
g gc -q
g fsck --full --strict
test -z "$(git status --porcelain)"
git log --format=%s
"""


def test_git(here, scratch, bucket, m):
    needs("git")
    env = util.clean_env(HOME=scratch, GIT_CONFIG_NOSYSTEM=1)
    origin = scratch / "origin"
    make_tree(origin, 30, 1)
    for i in range(4):
        (origin / "changing.txt").write_text(f"version {i}\n" * 100)
        sh("git init -q -b main; git add -A; git -c user.name=t -c user.email=t@example.org "
           'commit -q -m "$1"', f"commit {i}", cwd=origin, env=env)
    out = sh(GIT, origin, cwd=here, env=env)
    assert out.split("\n")[:3] == ["side", "on the mount", "commit 3"]
    sh('git fetch -q "$1" main; git fsck --full', here / "clone", cwd=origin, env=env)
    m.leave_alone()
    assert_tree_equal(here / "clone", bucket, m.key("here/clone"))


def test_rsync_and_tar(here, scratch, seed):
    needs("rsync")
    tree = make_tree(scratch / "tree", 30, seed)
    sh('rsync -a "$1"/ tree/', tree, cwd=here)
    sh('test -z "$(rsync -a --itemize-changes --checksum "$1"/ tree/)"', tree, cwd=here)
    (tree / "new.txt").write_bytes(b"new")
    next(p for p in sorted(tree.rglob("*.bin"))).write_bytes(b"changed")
    sh('rsync -a --delete --inplace "$1"/ tree/', tree, cwd=here)
    assert_same_files(tree, here / "tree")
    sh("rsync -a --backup --suffix=.old --ignore-times tree/ again/; rsync -a tree/ again/",
       cwd=here)
    sh("tar -czf t.tgz tree; mkdir out; tar -C out -xzf t.tgz; tar -C out --compare -f t.tgz; "
       "tar -C out -xzf t.tgz; tar -rf more.tar tree; tar -uf more.tar tree; diff -r tree out/tree",
       cwd=here)
    assert_same_files(tree, here / "out/tree")


def make_wheel(path):
    """A small package with a script."""
    info = "demo-1.0.dist-info"
    files = {"demo/__init__.py": "def main():\n    print('demo works')\n",
             **{f"demo/part{i}.py": f"N = {i}\n" * 50 for i in range(20)},
             f"{info}/METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
                              "Tag: py3-none-any\n",
             f"{info}/entry_points.txt": "[console_scripts]\ndemo = demo:main\n"}
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as z:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            z.writestr(name, text)
    return path


def test_pip(here, scratch):
    wheel = make_wheel(scratch / "demo-1.0-py3-none-any.whl")
    pip = f'"{sys.executable}" -m pip --disable-pip-version-check --no-cache-dir -q'
    install = f'{pip} install --no-index --no-deps --upgrade --target "$2" "$1"'
    sh(install, wheel, here / "site")
    env = util.clean_env(PYTHONPATH=here / "site")
    assert sh('"$1" -c "import demo, demo.part7; demo.main()"', sys.executable, env=env) == \
        "demo works\n"
    assert sh("site/bin/demo", cwd=here, env=env) == "demo works\n"
    sh(install, wheel, here / "site")
    assert sh('"$1" -c "import demo; demo.main()"', sys.executable, env=env) == "demo works\n"


def test_npm(here, scratch):
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine")
    package = scratch / "package"
    package.mkdir()
    (package / "package.json").write_text('{"name": "demo", "version": "1.0.0", "main": "i.js"}')
    (package / "i.js").write_text("module.exports = 'demo works';\n")
    env = util.clean_env(HOME=scratch, npm_config_cache=scratch / "cache")
    packed = sh('npm pack --silent "$1"', package, cwd=scratch, env=env).strip()
    (here / "app").mkdir()
    sh("npm init -y >/dev/null; npm install --silent --offline --no-audit --no-fund "
       '"$1"; npm ls --silent demo', scratch / packed, cwd=here / "app", env=env)
    assert sh("node -p 'require(\"demo\")'", cwd=here / "app") == "demo works\n"


def sqlite(db, statements):
    return sh('sqlite3 "$1" "$2"', db, statements)


def test_sqlite_by_two_processes(here, m, bucket, scratch):
    """Both at once where all see the same bytes. With compare-and-set each has its own view of a file
    that it has open: there they take turns."""
    needs("sqlite3")
    db, together = here / "test.db", m.env["STATE_VARIANT"] == LWW
    sqlite(db, "create table counter (n); insert into counter values (0); "
               "create table log (line);")
    if together:
        users = [util.spawn([*PYTHON, "-c", SQLITE_INCREMENT, db, 20]) for _ in range(2)]
        for user in users:
            util.finish(user)
    else:
        for _ in range(4):
            python(SQLITE_INCREMENT, db, 10)
    check = "pragma integrity_check; select n, (select count(*) from log) from counter;"
    assert sqlite(db, check) == "ok\n40|40\n"
    sqlite(db, "begin; update counter set n = 7; delete from log; rollback; vacuum;")
    assert os.listdir(here) == ["test.db"]
    (scratch / "copy.db").write_bytes(bucket.get(m.key("here/test.db")))
    assert sqlite(scratch / "copy.db", check) == "ok\n40|40\n"


H5 = """
import h5py, numpy, os, sys
path, step = sys.argv[1], int(sys.argv[2])
with h5py.File(path, "a") as f:
    d = f.require_dataset(f"set{step}", (1000,), "f8", chunks=(100,), compression="gzip")
    d[:] = numpy.arange(1000) * step
    f.attrs["steps"] = step
with h5py.File(path, "r") as f:
    assert f.attrs["steps"] == step
    for i in range(step + 1):
        assert (f[f"set{i}"][:] == numpy.arange(1000) * i).all()
"""


def test_h5py(here, get, scratch):
    for step in range(3):
        python(H5, here / "data.h5", step)
    (scratch / "copy.h5").write_bytes(get("data.h5"))
    python(H5, scratch / "copy.h5", 3)


LMDB = """
import lmdb, sys
path, step = sys.argv[1], int(sys.argv[2])
env = lmdb.open(path, map_size=4 << 20, writemap=len(sys.argv) > 3)
with env.begin(write=True) as t:
    for i in range(200):
        t.put(b"%d-%d" % (step, i), b"x" * 100 + b"%d" % step)
with env.begin() as t:
    assert t.stat()["entries"] == 200 * (step + 1), t.stat()
    assert t.get(b"0-7") == b"x" * 100 + b"0"
env.sync(True)
env.close()
"""


@pytest.mark.parametrize("how", [(), ("writemap",)], ids=["read-only map", "write map"])
def test_lmdb(here, get, scratch, how):
    for step in range(3):
        python(LMDB, here / "db", step, *how)
    (scratch / "db").mkdir()
    (scratch / "db/data.mdb").write_bytes(get("db/data.mdb"))
    python(LMDB, scratch / "db", 3)


DUCKDB = """
import duckdb, sys
path, step = sys.argv[1], int(sys.argv[2])
with duckdb.connect(path) as db:
    db.execute("create table if not exists t (step int, n int, text varchar)")
    db.execute("insert into t select ?, range, 'row ' || range from range(5000)", [step])
    db.execute("update t set n = n + 1 where step = ?", [step])
with duckdb.connect(path, read_only=True) as db:
    assert db.execute("select count(*), count(distinct step) from t").fetchone() == \\
        (5000 * (step + 1), step + 1)
"""


def test_duckdb(here, get, scratch):
    for step in range(3):
        python(DUCKDB, here / "d.duckdb", step)
    assert os.listdir(here) == ["d.duckdb"]
    (scratch / "copy.duckdb").write_bytes(get("d.duckdb"))
    python(DUCKDB, scratch / "copy.duckdb", 3)


@pytest.mark.parametrize("options", ["", "set backup", "set backupcopy=yes backup",
                                     "set nowritebackup noswapfile", "set undofile"])
def test_vim(here, get, options):
    options += " backupskip=" if options else "set backupskip="      # that is about /tmp
    vim = shutil.which("vim") or shutil.which("vim.tiny") or missing("no vim on this machine")
    path = here / "f.txt"
    path.write_text("line 1\nline 2\n")
    path.chmod(0o640)
    for i in range(3):
        sh('"$1" -u NONE -N -n -es -c "$2" -c "%s/line/Line/e" -c "\\$put =\'more $3\'" -c wq "$4"'
           if "noswap" in options else
           '"$1" -u NONE -N -es -c "$2" -c "%s/line/Line/e" -c "\\$put =\'more $3\'" -c wq "$4"',
           vim, options, i, path, cwd=here)
    expected = b"Line 1\nLine 2\nmore 0\nmore 1\nmore 2\n"
    assert get("f.txt") == expected and path.read_bytes() == expected
    assert path.stat().st_mode == 0o100640
    names = {"f.txt"} | ({"f.txt~"} if " backup " in options else set()) | \
        ({".f.txt.un~"} if "undofile" in options else set())
    assert set(os.listdir(here)) == names


@pytest.mark.parametrize("how", ["create 640 root root", "copytruncate", "compress\ncreate"])
def test_logrotate(here, get, scratch, how):
    needs("logrotate")
    config = scratch / "config"
    config.write_text(f"{here}/app.log {{\nsu root root\nrotate 2\nmissingok\n{how}\n}}\n")
    config.chmod(0o600)
    for i in range(4):
        sh('echo "$1" >>app.log', f"line {i}", cwd=here)
        sh('logrotate -f -s "$1"/state "$1"/config', scratch)
        sh('echo "$1" >>app.log', f"after {i}", cwd=here)
    end = ".gz" if "compress" in how else ""
    assert set(os.listdir(here)) == {"app.log", f"app.log.1{end}", f"app.log.2{end}"}
    assert get("app.log") == b"after 3\n"
    first = sh(f"zcat -f app.log.1{end}", cwd=here)
    assert first == "after 2\nline 3\n"


EVENTS = """
import os, struct, sys, zlib
path, count = sys.argv[1], int(sys.argv[2])
f = open(path, "ab")
for i in range(count):
    data = b"event %d " % i * (i % 50 + 1)
    head = struct.pack("<Q", len(data))
    f.write(head + struct.pack("<I", zlib.crc32(head)) + data + struct.pack("<I", zlib.crc32(data)))
    if i % 5 == 4:
        f.flush()
        os.fsync(f.fileno())
f.close()
"""
FOLLOW = """
import struct, sys, time, zlib
path, count = sys.argv[1], int(sys.argv[2])
at = seen = 0
deadline = time.monotonic() + 40
while seen < count:
    if time.monotonic() > deadline:
        sys.exit(f"saw {seen} of {count} events")
    try:
        with open(path, "rb") as f:
            f.seek(at)
            data = f.read()
    except FileNotFoundError:
        continue
    while len(data) >= 12:
        n, = struct.unpack("<Q", data[:8])
        if len(data) < n + 16:
            break
        body = data[12:12 + n]
        assert zlib.crc32(data[:8]) == struct.unpack("<I", data[8:12])[0], "torn head"
        assert zlib.crc32(body) == struct.unpack("<I", data[12 + n:16 + n])[0], "torn event"
        assert body.startswith(b"event %d " % seen), (body[:20], seen)
        data, at, seen = data[n + 16:], at + n + 16, seen + 1
    time.sleep(0.01)
"""


def test_events_that_are_followed(here):
    """As TensorBoard's: one appends and flushes, another reads on from where it was."""
    follower = util.spawn([*PYTHON, "-c", FOLLOW, here / "events", 200])
    python(EVENTS, here / "events", 200)
    util.finish(follower)


def test_a_program_that_saves_and_its_reader(here, get):
    """write, fsync, rename by a child of a shell; another shell's children read whole versions."""
    script = 'for i in $(seq 30); do seq $i >t; sync t; mv t "$1"; done'
    reader = ('while [ ! -e "$2" ]; do [ ! -e "$1" ] || { n=$(tail -n 1 "$1"); '
              'm=$(wc -l <"$1"); [ "$m" -ge "${n:-0}" ] || { echo "$n $m"; exit 1; }; }; done')
    program = util.spawn(["sh", "-c", reader + "\nexit $?", "sh", here / "f", here / "stop"])
    sh(script, "f", cwd=here)
    (here / "stop").touch()
    util.finish(program)
    assert get("f") == "".join(f"{i}\n" for i in range(1, 31)).encode()
