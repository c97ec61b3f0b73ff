"""What the random team (test_random.py) has found: processes that take turns have nothing to fear of
compare-and-set. Both variants."""

import os
import subprocess
import sys

import pytest

from harness.util import wait_until
from harness.work import PYTHON, UNTIL_WAITED_FOR
from test_cas import CAS

LWW = "s3-buffered-lww"


@pytest.fixture(params=[LWW, CAS], ids=["lww", "cas"])
def m(request, mount):
    return mount(variant=request.param)


def running(code, path):
    """The process that runs it, with `a` for the path."""
    return subprocess.Popen([*PYTHON, "-c", "import os, sys\na = sys.argv[1]\n" + code, path])


def another(code, path):
    """Another process, which is waited for."""
    assert running(code, path).wait() == 0


def a_stranger(code, path):
    """Another process, for which nobody waits while it works."""
    p = running(code, path)
    wait_until(lambda: p.poll() is not None)
    assert p.returncode == 0


A_CHILD = UNTIL_WAITED_FOR + """
import sys
until_waited_for()
getattr(os, sys.argv[1])(*sys.argv[2:])
"""


def a_shell(script, **env):
    """A shell that has files open. `child NAME ...` calls os.NAME once the shell waits for it."""
    subprocess.run(["sh", "-e", "-c", 'child() { "$PYTHON" -B -c "$A_CHILD" "$@"; }\n' + script + "\n:"],
                   check=True,
                   env={**os.environ, "PYTHON": sys.executable, "A_CHILD": A_CHILD, **env})


@pytest.mark.parametrize("flags", [0, os.O_CREAT])
@pytest.mark.parametrize("read", [False, True], ids=["not read", "read"])
@pytest.mark.parametrize("by", ["path", "descriptor"])
def test_attributes_of_a_file_that_is_being_written(m, bucket, flags, read, by):
    """The others stay."""
    f = m.path / "f.txt"
    f.write_text("x" * 5000)
    another("os.setxattr(a, 'user.a', b'1')", f)
    if read:
        f.read_bytes()
    fd = os.open(f, os.O_RDWR | flags)
    try:
        os.write(fd, b"abc")
        assert os.getxattr(fd, "user.a") == b"1"
        os.setxattr(fd if by == "descriptor" else f, "user.b", b"2")
        assert sorted(os.listxattr(f)) == ["user.a", "user.b"]
        os.fsync(fd)
        os.pwrite(fd, b"abc", 902)
    finally:
        os.close(fd)
    another("assert sorted(os.listxattr(a)) == ['user.a', 'user.b']", f)


def test_attributes_of_a_file_that_was_written(m, bucket):
    """Through the inode that the writer had."""
    f = m.path / "f.txt"
    f.write_text("old")
    with open(f, "r+") as file:
        file.write("new")
    f.chmod(0o640)
    os.setxattr(f, "user.a", b"1")
    another("assert os.stat(a).st_mode & 0o777 == 0o640 and os.listxattr(a) == ['user.a']", f)
    assert "mode" in bucket.head("p/f.txt")["Metadata"]
    os.removexattr(f, "user.a")
    assert os.listxattr(f) == []


@pytest.fixture
def link_of_another(m):
    """A name that this process has read as a file, and that is another's link by now."""
    name = m.path / "name"
    name.write_text("a file")
    assert name.read_text() == "a file"
    another("os.unlink(a); os.symlink('elsewhere', a)", name)
    return name


def test_a_link_of_another_is_removed(link_of_another):
    link_of_another.unlink()
    assert not os.path.lexists(link_of_another)


def test_a_link_of_another_is_renamed(link_of_another, m):
    link_of_another.rename(m.path / "moved")
    assert os.readlink(m.path / "moved") == "elsewhere"
    assert not os.path.lexists(link_of_another)


def test_a_link_of_another_is_replaced(link_of_another, m):
    (m.path / "new").write_text("new")
    (m.path / "new").rename(link_of_another)
    assert link_of_another.read_text() == "new" and not link_of_another.is_symlink()


def test_what_a_shell_has_open_and_its_child_removes(m, bucket):
    """As on a local disk it goes on with a file that has no name."""
    a_shell('exec 3>"$F"; echo 1 >&3; child unlink "$F"; echo 2 >&3; echo new >"$F"; exec 3>&-',
            F=str(m.path / "f"))
    assert bucket.get("p/f") == b"new\n"


def test_what_a_shell_has_open_and_its_child_replaces(m, bucket):
    (m.path / "f").write_text("old")
    (m.path / "g").write_text("new")
    a_shell('exec 3<>"$F"; child rename "$G" "$F"; echo lost >&3; exec 3>&-', F=str(m.path / "f"),
            G=str(m.path / "g"))
    assert bucket.get("p/f") == b"new"


def test_what_a_shell_has_open_and_its_child_renames(m, bucket):
    """It is written on under the new name."""
    (m.path / "f").write_text("old\n")
    a_shell('exec 3>>"$F"; child rename "$F" "$G"; echo more >&3; exec 3>&-', F=str(m.path / "f"),
            G=str(m.path / "g"))
    assert bucket.get("p/g") == b"old\nmore\n"
    assert not bucket.exists("p/f")


@pytest.mark.parametrize("what", ["os.unlink(a)", "open(a + '.new', 'w').close(); os.rename(a + '.new', a)"],
                         ids=["removed", "replaced"])
@pytest.mark.parametrize("who", [another, a_stranger])
def test_attributes_of_a_file_that_another_has_removed(m, what, who):
    """They are those of a file without a name."""
    f = m.path / "f"
    f.write_text("mine")
    with open(f, "r+") as file:
        who(what, f)
        os.utime(file.fileno(), (5, 5))
        os.fchmod(file.fileno(), 0o600)
        os.setxattr(file.fileno(), "user.a", b"1")
        assert os.getxattr(file.fileno(), "user.a") == b"1"
        if "rename" in what:
            assert os.listxattr(f) == [] and f.stat().st_mtime != 5


def test_attributes_of_a_file_that_another_has_renamed(mount):
    """They would have to be those of the new name, which the descriptor does not follow: an error."""
    m = mount(variant=CAS)
    f = m.path / "f"
    f.write_text("mine")
    with open(f, "r+") as file:
        a_stranger("os.rename(a, a + '.new')", f)
        with pytest.raises(FileNotFoundError):
            os.utime(file.fileno(), (5, 5))
