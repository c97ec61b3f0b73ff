"""There are no hard links: link(2) is EPERM. The table of docs/SEMANTICS.md: which programs do without, and which
say so and fail, and how to call those."""

import errno
import mailbox
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from conftest import missing

CONTENT = b"content\n" * 200


@pytest.fixture(params=["s3-buffered-lww", "s3-buffered-cas"])
def top(request, mount):
    return mount(variant=request.param, env={"STATEPROXY_DIRECTORIES_TTL": "60s"}).path


@pytest.fixture
def linked(scratch):
    """A local directory with a file of two names."""
    src = scratch / "src"
    src.mkdir()
    (src / "a").write_bytes(CONTENT)
    os.link(src / "a", src / "b")
    return src


@pytest.fixture
def run(scratch):
    def runs(*args, cwd=None):
        if shutil.which(str(args[0])) is None:
            missing(f"no {args[0]} on this machine")
        env = {**os.environ, "HOME": str(scratch), "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1"}
        return subprocess.run(args, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    return runs


def ok(result):
    assert result.returncode == 0, result.stderr


def says_so(result):
    assert result.returncode != 0 and "not permitted" in result.stderr, result


def test_the_call(top):
    (top / "f.txt").write_bytes(CONTENT)
    with pytest.raises(OSError) as e:
        os.link(top / "f.txt", top / "g.txt")
    assert e.value.errno == errno.EPERM
    assert os.listdir(top) == ["f.txt"]


def test_git_does_without(top, run):
    me = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    ok(run("git", "init", "-q", top / "repo"))
    (top / "repo/f.txt").write_bytes(CONTENT)
    ok(run("git", "-C", top / "repo", "add", "f.txt"))
    ok(run("git", "-C", top / "repo", *me, "commit", "-qm", "one"))
    ok(run("git", "-C", top / "repo", "gc", "-q"))
    ok(run("git", "clone", "-q", top / "repo", top / "clone"))
    ok(run("git", "-C", top / "clone", "fsck"))
    assert (top / "clone/f.txt").read_bytes() == CONTENT
    says_so(run("git", "clone", "-q", "--local", top / "repo", top / "explicit"))
    ok(run("git", "clone", "-q", "--no-hardlinks", top / "repo", top / "copied"))


def test_mailbox_does_without(top):
    box = mailbox.mbox(top / "mbox")
    box.lock()
    box.add("From: a\n\nb\n")
    box.flush()
    box.unlock()
    assert os.listdir(top) == ["mbox"] and b"From: a" in (top / "mbox").read_bytes()


def tool(name):
    """A program of tests/requirements.txt, or of the machine."""
    beside = os.path.join(os.path.dirname(sys.executable), name)
    return beside if os.access(beside, os.X_OK) else name


@pytest.fixture
def wheel(scratch):
    wheel = scratch / "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as z:
        z.writestr("thing.py", "answer = 42\n")
        z.writestr("thing-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1\n")
        z.writestr("thing-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("thing-1.dist-info/RECORD",
                   "thing.py,,\nthing-1.dist-info/METADATA,,\nthing-1.dist-info/WHEEL,,\nthing-1.dist-info/RECORD,,\n")
    return wheel


def test_pip_does_without(top, wheel, run):
    ok(run(sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--disable-pip-version-check",
           "--cache-dir", top / "cache", "--target", top / "site", wheel))
    assert (top / "site/thing.py").read_text() == "answer = 42\n"


@pytest.mark.parametrize("cache", ["elsewhere", "on the mount"])
def test_uv_does_without(top, wheel, run, scratch, request, cache):
    """Its cache renames directories, which compare-and-set refuses, and for that it has no other way."""
    where = scratch / "cache" if cache == "elsewhere" else top / "cache"
    r = run(tool("uv"), "pip", "install", "--no-config", "--no-index", "--python", sys.executable,
            "--cache-dir", where, "--target", top / "site", wheel)
    if cache == "on the mount" and "s3-buffered-cas" in request.node.callspec.params.values():
        assert r.returncode != 0 and "Invalid cross-device link" in r.stderr, r
        return
    ok(r)
    assert (top / "site/thing.py").read_text() == "answer = 42\n"


def test_npm_does_without(top, run, scratch):
    """A package from a file, with the cache on the mount, and a second time from that cache."""
    (scratch / "thing").mkdir()
    (scratch / "thing/package.json").write_text('{"name": "thing", "version": "1.0.0", "main": "index.js"}')
    (scratch / "thing/index.js").write_text("module.exports = 42\n")
    ok(run(tool("npm"), "pack", "--silent", cwd=scratch / "thing"))
    for name in "one", "two":
        (top / name).mkdir()
        (top / name / "package.json").write_text('{"name": "%s", "version": "1.0.0"}' % name)
        ok(run(tool("npm"), "install", "--offline", "--no-audit", "--no-fund", "--cache", top / "cache",
               scratch / "thing/thing-1.0.0.tgz", cwd=top / name))
        assert (top / name / "node_modules/thing/index.js").read_text() == "module.exports = 42\n"


def test_rsync(top, linked, run):
    ok(run("rsync", "-a", f"{linked}/", top / "first"))
    ok(run("rsync", "-a", f"--link-dest={top / 'first'}", f"{linked}/", top / "second"))
    for name in "first/a", "first/b", "second/a", "second/b":
        assert (top / name).read_bytes() == CONTENT
    says_so(run("rsync", "-aH", f"{linked}/", top / "linked"))
    assert len(os.listdir(top / "linked")) == 1


def test_tar(top, linked, scratch, run):
    os.mkdir(top / "d")
    ok(run("tar", "-C", linked, "-cf", scratch / "links.tar", "."))
    says_so(run("tar", "-C", top / "d", "-xf", scratch / "links.tar"))
    assert len(os.listdir(top / "d")) == 1
    ok(run("tar", "-C", linked, "--hard-dereference", "-cf", scratch / "files.tar", "."))
    ok(run("tar", "-C", top / "d", "-xf", scratch / "files.tar"))
    assert (top / "d/a").read_bytes() == (top / "d/b").read_bytes() == CONTENT


def test_cp_and_ln(top, linked, run):
    os.mkdir(top / "d")
    (top / "d/a").write_bytes(CONTENT)
    says_so(run("ln", top / "d/a", top / "d/b"))
    says_so(run("cp", "-al", top / "d", top / "e"))
    says_so(run("cp", "-a", linked, top / "f"))
    assert len(os.listdir(top / "f")) == 1
    ok(run("cp", "-a", "--no-preserve=links", linked, top / "g"))
    assert (top / "g/a").read_bytes() == (top / "g/b").read_bytes() == CONTENT
    ok(run("cp", "-rs", top / "d", top / "h"))
    assert (top / "h/a").read_bytes() == CONTENT


def test_mv_between_file_systems(top, linked, run):
    """mv keeps links as cp -a does: it says so, and the source stays."""
    says_so(run("mv", linked, top / "moved"))
    assert sorted(os.listdir(linked)) == ["a", "b"]
