"""The sandbox as the processes of a running daemon have it: seen from outside in /proc, and from inside, by system
calls that are injected into them."""

import errno
import os
import pwd
import shutil
import signal
import socket
import stat
import struct
import subprocess
import time

import pytest

from harness import DAEMON, SECRET, inject, util
from harness.memory import memory_of

NONE = "0000000000000000"
OBSERVER = "0000000000080004"       # CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH
OTHER = pwd.getpwnam("nobody").pw_uid     # (fusermount3 wants one with a name)
CHILDREN = 5        # two workers, the notifier, the keeper, the observer
REFUSED = "the sandbox refuses a system call"

root = pytest.mark.skipif(os.geteuid() != 0, reason="not root")
injects = pytest.mark.skipif(not inject.AVAILABLE, reason="injects code of x86-64")


def status_of(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def fds_of(pid):
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            pass
    return found


def by_name(m):
    """The children by what they log as, one each of those that there are many of."""
    found = {"worker": m.worker_pids()[0]}
    for pid in util.children(m.proc.pid):
        status = status_of(pid)
        if status["CapEff"] == OBSERVER:
            found["observer"] = pid
    return found


def sandboxed(m):
    return "sandbox=on" in m.log()


def in_sandbox(status):
    return status["Seccomp"] == "2"


def settled(m, is_so=in_sandbox):
    """The status of each child, once it is so for all: a child is root's when it begins."""
    def kinds():
        try:
            found = [status_of(pid) for pid in util.children(m.proc.pid)]
        except (FileNotFoundError, ProcessLookupError):     # one that ends
            return None
        return len(found) == CHILDREN and all(map(is_so, found)) and found
    return util.wait_until(kinds, 20, f"{CHILDREN} children that are settled")


@pytest.fixture
def m(mount):
    m = mount()
    if not sandboxed(m):
        pytest.skip("this kernel, or this build, has no whole sandbox")
    settled(m)
    return m


@root
def test_who_they_are(m):
    """All children, by number: workers, notifier, keeper without any right, and one observer."""
    kinds = settled(m)
    assert sorted(k["CapEff"] for k in kinds) == [NONE] * 4 + [OBSERVER]
    for k in kinds:
        uid = k["Uid"].split()[0]
        assert uid != "0" and k["Uid"].split() == [uid] * 4 and k["Gid"].split() == [uid] * 4
        assert k["Groups"].split() == [uid]
        assert k["CapPrm"] == k["CapEff"] and k["CapBnd"] == NONE and k["CapAmb"] == NONE
        assert k["NoNewPrivs"] == "1" and k["Seccomp"] == "2"
    for pid in util.children(m.proc.pid):
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0     # not dumpable
        with open(f"/proc/{pid}/limits") as f:
            core = next(line for line in f if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
    assert f"user={uid}" in m.log()


@root
def test_who_holds_the_channel(m):
    """Workers and notifier have the FUSE descriptor, and the observer has next to nothing."""
    own = [fd for fd, what in fds_of(m.proc.pid).items() if what == "/dev/fuse"]
    assert len(own) == 1
    holders = {pid for pid in util.children(m.proc.pid) if "/dev/fuse" in fds_of(pid).values()}
    assert set(m.worker_pids()) < holders and len(holders) == len(m.worker_pids()) + 1
    with open(f"/proc/{m.proc.pid}/fdinfo/{own[0]}") as f:
        flags = next(line for line in f if line.startswith("flags:"))
    assert int(flags.split()[1], 8) & os.O_CLOEXEC
    observer = by_name(m)["observer"]
    assert observer not in holders
    assert set(fds_of(observer).values()) <= {"/dev/null", str(m.log_path), "anon_inode:[signalfd]"}


@root
@injects
def test_a_worker_taken_over(m, s3server):
    a, b = m.worker_pids()
    held = m.path / "held.txt"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with inject.Injected(a) as p:
            assert p.call("openat", -100, b"/etc/shadow", os.O_RDONLY) == -errno.EACCES
            assert p.call("open", b"/proc/self/environ", os.O_RDONLY) == -errno.EACCES
            assert p.call("open", str(m.log_path).encode(), os.O_RDONLY) == -errno.EACCES
            assert p.call("open", b"/etc/hosts", os.O_RDWR) == -errno.ENOSYS
            assert p.call("open", b"/etc/hosts", os.O_RDONLY) >= 0
            for neighbour in (b, m.proc.pid, by_name(m)["observer"], os.getpid()):
                assert p.call("ptrace", inject.ATTACH, neighbour, 0, 0) == -errno.ENOSYS
                assert p.call("process_vm_readv", neighbour, 0, 0, 0, 0, 0) == -errno.ENOSYS
                assert p.call("kill", neighbour, 0) == -errno.ENOSYS
            assert p.call("fork") == -errno.ENOSYS
            assert p.call("execve", b"/bin/sh", 0, 0) == -errno.ENOSYS
            assert p.call("setuid", 0) == -errno.ENOSYS
            assert p.call("io_uring_setup", 1, 0) == -errno.ENOSYS
            fd = p.call("socket", socket.AF_INET, socket.SOCK_STREAM, 0)
            assert fd >= 0

            def connect(port):
                address = struct.pack("<H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton("127.0.0.1")
                return p.call("connect", fd, address + bytes(8), 16)

            assert connect(other.getsockname()[1]) == -errno.EACCES
            assert connect(22) == -errno.EACCES
            assert connect(s3server.port) == 0
    held.write_bytes(b"and it goes on")
    assert held.read_bytes() == b"and it goes on"
    assert m.worker_pids() == [a, b]
    assert REFUSED in m.log()


@root
@injects
def test_no_secret_to_be_read(m):
    """What a worker has in its memory, and what it can reach: not the secret."""
    secret = SECRET.encode()
    pid = m.worker_pids()[0]
    read = 0
    for line, data in memory_of(pid):
        assert secret not in data, line
        read += len(data)
    assert read > 1 << 20
    with inject.Injected(pid) as p:
        for name in (f"/proc/{m.proc.pid}/mem", f"/proc/{m.proc.pid}/environ"):
            assert p.call("open", name.encode(), os.O_RDONLY) == -errno.EACCES


def writer(path, command=("python3",)):
    """A process that has written half of a file, and waits."""
    code = ("import os, sys, time\nfd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n"
            "os.write(fd, b'half')\nprint(flush=True)\ntime.sleep(600)")
    proc = subprocess.Popen([*command, "-c", code, path], stdout=subprocess.PIPE)
    proc.stdout.readline()
    return proc


@root
def test_the_observer_dies_and_nobody_notices(m, bucket):
    """Each time a writer is killed, just before: its replacement answers, and no file is torn."""
    for i in range(15):
        proc = writer(m.path / f"torn{i}")
        observer = util.wait_until(lambda: by_name(m).get("observer"), what="an observer")
        os.kill(observer, signal.SIGKILL)
        proc.kill()
        proc.wait()
        proc.stdout.close()
        f = m.path / f"f{i}"
        f.write_bytes(b"%d" % i)
        assert f.read_bytes() == b"%d" % i
    util.wait_until(lambda: not any(name.startswith("torn") for name in os.listdir(m.path)),
                    what="the torn ones to be gone")
    assert sorted(bucket.list(m.key(""))) == sorted(m.key(f"f{i}") for i in range(15))
    assert m.log().count("observer ended") == 15


@root
def test_a_stopped_observer_holds_nobody_up(m, bucket):
    """Then nobody knows who was killed: as POSIX has it, what was written is published."""
    observer = by_name(m)["observer"]
    os.kill(observer, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        for i in range(4):
            (m.path / f"f{i}").write_bytes(b"x")
            assert os.listdir(m.path)
        assert time.monotonic() - begin < 30
    finally:
        os.kill(observer, signal.SIGCONT)
    proc = writer(m.path / "torn")
    proc.kill()
    proc.wait()
    proc.stdout.close()
    util.wait_until(lambda: not os.path.exists(m.path / "torn"), what="the torn one to be gone")
    assert not bucket.exists(m.key("torn"))


@root
def test_started_by_another_user(mount, bucket):
    """All of it but another user: the observer sees that user's processes, and needs no capability. (In a mount
    namespace whose /dev/fuse is everybody's, as distributions have it.)"""
    if not all(map(shutil.which, ("fusermount3", "setpriv", "/usr/bin/python3"))):
        pytest.skip("no fusermount3, setpriv, or python3 of the system")
    become = ("setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups")
    m = mount(start=False, noise=None)
    for path in (m.dir, m.path, m.buffer_dir):
        os.chown(path, OTHER, OTHER)
    device = m.dir / "fuse"
    os.mknod(device, 0o600 | stat.S_IFCHR, os.stat("/dev/fuse").st_rdev)
    os.chmod(device, 0o666)
    m.wrap = lambda *command: ("unshare", "--mount", "sh", "-ec", f"mount --bind {device} /dev/fuse; exec \"$@\"", "sh",
                               *become, *command)
    m.start()
    become = ("nsenter", f"--mount=/proc/{m.proc.pid}/ns/mnt", *become)
    if not sandboxed(m):
        pytest.skip("this kernel, or this build, has no whole sandbox")
    for k in settled(m):
        assert k["Uid"].split()[0] == str(OTHER) and k["CapEff"] == NONE
        assert k["NoNewPrivs"] == "1"
    proc = writer(m.path / "torn", (*become, "/usr/bin/python3"))
    proc.kill()
    proc.wait()
    proc.stdout.close()
    util.wait_until(lambda: "writer killed" in m.log(), what="the torn one to be told")
    done = util.run([*become, "sh", "-c", f"cd {m.path} && echo 1 >f && cat f && ls"], 20)
    assert done.out == "1\nf\n"
    assert bucket.list(m.key("")) == {m.key("f"): 2}


@root
def test_off(mount, bucket):
    m = mount(env={"STATEPROXY_SANDBOX": "off"})
    assert "sandbox=off user=0" in m.log()
    assert {status_of(pid)["Seccomp"] for pid in util.children(m.proc.pid)} == {"0"}
    (m.path / "f").write_bytes(b"1")
    assert bucket.get(m.key("f")) == b"1"


@root
def test_a_user_of_ones_own(mount, bucket):
    m = mount(env={"STATEPROXY_WORKERS_USER": "61234"})
    settled(m, lambda status: status["Uid"].split() == ["61234"] * 4)
    (m.path / "f").write_bytes(b"1")
    assert bucket.get(m.key("f")) == b"1"


def test_the_check_says_what_holds(mount):
    m = mount(start=False)
    done = util.run([DAEMON, "--check"], 20, env=util.clean_env(**m.env))
    assert "sandbox: workers run as user" in done.out, repr(done)
    m.stopped = True
