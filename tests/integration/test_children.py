"""Processes that share an open file: forked children, killed ones, shells. Nothing of the living is lost, and nothing
half written is published."""

import os
import signal
import subprocess
import sys

import pytest

from harness import SLOW, util

PYTHON = [sys.executable, "-B"]


@pytest.fixture
def m(mount, bucket):
    m = mount()
    bucket.put(m.key("f.txt"), b"old")
    return m


@pytest.fixture
def get(m, bucket):
    return lambda name="f.txt": bucket.get(m.key(name))


class Steps:
    """A program that stops after each line that it prints, until it is told to go on."""

    def __init__(self, code, *args):
        self.program = util.spawn([*PYTHON, "-c", "import os, sys, signal, subprocess\n"
                                   "def step(what):\n"
                                   "    print(what, flush=True)\n"
                                   "    if not sys.stdin.readline(): os._exit(9)\n" + code, *args],
                                  stdin=subprocess.PIPE)

    def reach(self, what):
        line = self.program.stdout.readline().decode().strip()
        assert line == what, f"{line!r} instead of {what!r}: {self.program.stderr.read().decode()}"

    def go(self):
        self.program.stdin.write(b"\n")
        self.program.stdin.flush()

    def end(self):
        return util.finish(self.program)


# -- forked children


POOL = """
import multiprocessing, time
multiprocessing.set_start_method("fork")
with open(sys.argv[1], "w") as f:
    f.write("first half, "); f.flush()
    pool = multiprocessing.Pool(4)          # the children have the file too
    pool.map(abs, range(8))
    tasks = pool.map_async(time.sleep, [600] * 4)
    step("working")
    pool.terminate()
    pool.join()
    step("terminated")
    f.write("second half")
"""


def test_pool_terminate(m, get):
    steps = Steps(POOL, m.path / "f.txt")
    steps.reach("working")
    assert get() == b"old"
    steps.go()
    steps.reach("terminated")
    assert get() == b"old", "a child's end publishes no half of its parent's file"
    steps.go()
    steps.end()
    assert get() == b"first half, second half"
    assert m.status()["counters"]["discarded"] == 0 and m.status()["tables"]["sessions"] == 0
    m.check()


POOL_OF_WRITERS = """
import multiprocessing
multiprocessing.set_start_method("fork")
f = open(sys.argv[1], "wb", buffering=0)
def write(i):
    os.pwrite(f.fileno(), b"%d" % i * 10, i * 10)
with multiprocessing.Pool(4) as pool:       # its end is terminate()
    pool.map(write, range(8))
step("written by children that were killed")
os.pwrite(f.fileno(), b"p" * 10, 80)
f.close()
"""


def test_children_that_wrote_are_terminated(m, get):
    """Their parent lives and closes: all of it is published."""
    steps = Steps(POOL_OF_WRITERS, m.path / "f.txt")
    steps.reach("written by children that were killed")
    steps.go()
    steps.end()
    assert get() == b"".join(b"%d" % i * 10 for i in range(8)) + b"p" * 10
    m.check()


FORK = """
f = open(sys.argv[1], "w")
f.write("first half, "); f.flush()
pid = os.fork()
if pid == 0:
    {child}
os.waitpid(pid, 0)
step("child ended")
f.write("second half")
f.close()
"""


@pytest.mark.parametrize("child", ["os._exit(0)", "os.close(f.fileno()); os._exit(0)",
                                   "os.execv('/bin/true', ['true'])", "os.abort()",
                                   "os.kill(os.getpid(), signal.SIGKILL)"],
                         ids=["exits", "closes", "executes", "aborts", "is killed"])
def test_a_child_that_did_not_write(m, get, child):
    steps = Steps(FORK.format(child=child), m.path / "f.txt")
    steps.reach("child ended")
    assert get() == b"old"
    steps.go()
    steps.end()
    assert get() == b"first half, second half"


CHANGES = {
    "write": "os.pwrite(fd, b'new', 0)",
    "ftruncate": "os.ftruncate(fd, 1)",
    "grow": "os.ftruncate(fd, 9)",
    "fallocate": "os.posix_fallocate(fd, 0, 9)",
    "fallocate PUNCH": "assert ctypes.CDLL(None).fallocate(fd, 3, ctypes.c_long(0), ctypes.c_long(2)) == 0",
}


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_child_that_changes_what_it_inherited_publishes_it(mount, bucket, variant, change):
    """However it does; and sees it by name before."""
    m = mount(variant=variant)
    bucket.put(m.key("f.txt"), b"old")
    code = f"""
import ctypes
fd = os.open(sys.argv[1], os.O_RDWR)
if os.fork() == 0:
    {CHANGES[change]}
    assert open(sys.argv[1], 'rb').read() == os.pread(fd, 100, 0)
    os.close(fd)
    os._exit(0)
assert os.wait()[1] == 0
step('closed')
"""
    steps = Steps(code, m.path / "f.txt")
    steps.reach("closed")
    assert bucket.get(m.key("f.txt")) == {
        "write": b"new", "ftruncate": b"o", "grow": b"old" + bytes(6), "fallocate": b"old" + bytes(6),
        "fallocate PUNCH": bytes(2) + b"d"}[change]
    steps.go()
    assert steps.end().code == 0
    m.check()


def test_the_parent_dies_and_the_child_goes_on(m, get):
    """The file is its child's now, which never wrote: its close publishes what the parent left, or
    nothing; never a part of that."""
    code = FORK.format(child="signal.pause()")
    steps = Steps(code.replace("os.waitpid(pid, 0)", "step(str(pid))"), m.path / "f.txt")
    child = int(steps.program.stdout.readline())
    steps.program.kill()
    steps.program.wait()
    assert get() == b"old", "the writer was killed"
    os.kill(child, signal.SIGTERM)
    util.wait_until(lambda: m.status()["tables"]["sessions"] == 0, what="the session's end")
    steps.program.communicate()
    assert get() == b"old", "and so was the only one who had the file"
    assert (m.path / "f.txt").read_bytes() == b"old"
    m.check()


EXEC = """
f = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)      # (Python closes it at exec)
{write}
os.execv("/bin/echo", ["echo", "executed"])
"""


@pytest.mark.parametrize("write, expected", [("os.write(f, b'new')", b"new"), ("", b"")],
                         ids=["written", "only truncated"])
def test_the_writer_itself_executes_another_program(m, get, write, expected):
    """The kernel closes the file in the middle of execve, with locks held that readers of /proc
    may wait for: that must not be waited for in turn."""
    program = util.spawn([*PYTHON, "-c", "import os, sys" + EXEC.format(write=write), m.path / "f.txt"])
    assert util.finish(program, 10).out == "executed\n"
    util.wait_until(lambda: m.status()["tables"]["sessions"] == 0, what="the session's end")
    assert get() == expected
    m.check()


RUN = """
with open(sys.argv[1], "w") as f:
    f.write("first half, "); f.flush()
    subprocess.run(["true"], check=True)
    subprocess.run(["true"], check=True, close_fds=False)
    subprocess.run(["sh", "-c", "true; kill -9 $$"], pass_fds=[f.fileno()])
    step("run")
    subprocess.run(["sh", "-c", "printf 'of a child, '"], stdout=f, check=True)
    f.write("second half")
"""


def test_subprocess_run_inside_with(m, get):
    steps = Steps(RUN, m.path / "f.txt")
    steps.reach("run")
    assert get() == b"old"
    steps.go()
    steps.end()
    assert get() == b"first half, of a child, second half"


# -- shells


def sh(m, script, code=0):
    done = util.run(["sh", "-c", script], cwd=m.path, check=False)
    assert done.code == code, done
    return done


KILLED = 'sh -c "echo half; kill -9 \\$\\$"'


def test_a_group_of_which_one_is_killed(m, get):
    sh(m, f"{{ {KILLED}; echo whole; }} > f.txt")
    assert get() == b"half\nwhole\n", "as on a local disk: the second one and the shell live"
    sh(m, f"{{ echo whole; {KILLED}; echo again; }} >> f.txt")
    assert get() == b"half\nwhole\nwhole\nhalf\nagain\n"
    m.check()


def test_a_pipe_whose_source_is_killed(m, get):
    sh(m, f"{{ {KILLED}; }} | cat > f.txt")
    assert get() == b"half\n", "cat cannot know"
    sh(m, "cat f.txt | sh -c 'cat; echo torn; kill -9 $$' > g.txt", 137)
    util.wait_until(lambda: m.status()["tables"]["sessions"] == 0, what="the session's end")
    assert get("g.txt") == b"half\n", "what the cat wrote before, which lived to close it"
    assert (m.path / "g.txt").read_bytes() == b"half\n"


def test_all_of_a_group_are_killed(m, get):
    program = util.spawn(["sh", "-c", "{ echo half; echo more; sleep 600; } > f.txt"], cwd=m.path)
    util.wait_until(lambda: (m.path / "f.txt").read_bytes() == b"half\nmore\n", what="what it wrote")
    os.killpg(program.pid, signal.SIGKILL)
    program.communicate()
    util.wait_until(lambda: m.status()["tables"]["sessions"] == 0, what="the session's end")
    published = get()
    # `echo` is the shell itself; where it closes a copy of the descriptor after each, that publishes
    # what it had written, and it was alive.
    assert published in (b"old", b"", b"half\n", b"half\nmore\n")
    assert (m.path / "f.txt").read_bytes() == published
    m.check()


def test_exec_3_append_with_children_killed_in_between(m, get):
    sh(m, "exec 3>>log\nfor i in $(seq 50); do echo $i >&3; "
          "[ $((i % 10)) != 0 ] || sh -c 'echo child >&3; kill -9 $$'; done\necho end >&3\nexec 3>&-")
    expected = []
    for i in range(1, 51):
        expected += [str(i), "child"] if i % 10 == 0 else [str(i)]
    assert get("log").decode().split() == expected + ["end"]


APPENDS = """
exec 3>>log
i=0
while :; do
    i=$((i + 1))
    echo $i >&3
    echo $i
done
"""


def test_a_killed_shell_that_appended_keeps_what_it_had_said(m, get):
    """Each `echo >&3` closes a copy of the descriptor: what was printed after that is published."""
    program = util.spawn(["sh", "-c", APPENDS], cwd=m.path)
    for i in range(1, 101):
        assert program.stdout.readline() == b"%d\n" % i
    os.killpg(program.pid, signal.SIGKILL)
    said = 100 + len(program.communicate(timeout=30 * SLOW)[0].split())
    util.wait_until(lambda: m.status()["tables"]["sessions"] == 0, what="the session's end")
    lines = get("log").decode().split()
    assert lines == [str(i) for i in range(1, len(lines) + 1)] and len(lines) >= said, \
        f"{said} were told, {len(lines)} are there"
    m.check()


# -- the end of a writer


HALF = """
f = open(sys.argv[1], "r+")
f.write("half"); f.flush()
step("written")
eval(sys.argv[2])
"""


def write_half(m, ending):
    """Half of a file, and then the end of the writer. Returns when the kernel has let go of it."""
    writer = Steps(HALF, m.path / "f.txt", ending)
    writer.reach("written")
    writer.go()
    writer.program.wait(20 * SLOW)
    util.wait_until(lambda: m.status()["tables"]["handles"] == 0, 20, "the last close")


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGTERM"])
@pytest.mark.parametrize("on_kill", ["discard", "publish"])
def test_a_writer_killed_by_a_signal(mount, bucket, variant, name, on_kill):
    m = mount(variant=variant, env={"STATEPROXY_WRITE_ON_KILL": on_kill})
    bucket.put(m.key("f.txt"), b"old file")
    write_half(m, f"os.kill(os.getpid(), signal.{name})")
    there = bucket.get(m.key("f.txt"))
    if on_kill == "publish":
        assert there == b"halffile"
        return
    assert there == b"old file" and (m.path / "f.txt").read_bytes() == there
    assert "killed by signal" in m.log() and m.status()["counters"]["torn"] == 1
    m.check()


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
def test_a_writer_that_ends_without_closing(mount, bucket, variant):
    """Also with an error code: it has said what it wanted, as on a local disk."""
    m = mount(variant=variant)
    bucket.put(m.key("f.txt"), b"old file")
    write_half(m, "os._exit(3)")
    assert bucket.get(m.key("f.txt")) == b"halffile"
