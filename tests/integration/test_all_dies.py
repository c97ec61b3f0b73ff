"""Everything dies at once, or S3 hangs while the daemon is told to end: no process stays that cannot
be killed, and the next start serves by itself."""

import os
import signal
import sys
import time

import pytest

from harness import EX_UNPUBLISHED, SLOW, util
from harness.pattern import pattern

PYTHON = [sys.executable, "-B"]
BLOCK = 131072

READ_LATE = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print("open", flush=True)
for _ in range(2):
    at = int(sys.stdin.readline())
    print(len(os.pread(fd, 4096, at)), flush=True)
"""

WRITE = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.pwrite(fd, b"unpublished", 0)
print("written", flush=True)
sys.stdin.read()
"""


def say(program, text):
    program.stdin.write(text.encode() + b"\n")
    program.stdin.flush()


def state(pid):
    stat = util.stat_of(pid)
    return stat[0] if stat else "gone"


def kill_all(pids):
    for pid in pids:
        util.kill(pid)


def all_gone(pids, seconds=5.0):
    """None of them is left, in whatever state; else says where they wait."""
    deadline = time.monotonic() + seconds * SLOW
    while time.monotonic() < deadline:
        if all(state(p) in ("gone", "Z", "X") for p in pids):
            return
        time.sleep(0.02)
    left = [p for p in pids if state(p) not in ("gone", "Z", "X")]
    raise AssertionError(f"left: {[(p, state(p), util.stack(p)) for p in left]}")


def pids_of(*programs):
    return [p.pid for p in programs]


@pytest.fixture
def programs():
    """Starts programs; at the end they are killed and waited for."""
    made = []

    def start(*args):
        made.append(util.spawn([*PYTHON, "-c", *args], stdin=-1))
        return made[-1]

    yield start
    for p in made:
        util.kill(p.pid)
    for p in made:
        p.communicate(timeout=30 * SLOW)


def read_that_waits(m, proxy, bucket, programs):
    """A READ that waits for S3, of a file that a program has written to and not published."""
    bucket.put(m.key("f.bin"), pattern(40 * BLOCK))
    reader = programs(READ_LATE, m.path / "f.bin")
    assert reader.stdout.readline() == b"open\n"
    proxy.hold("read", op="GetObject", times=1)
    say(reader, str(30 * BLOCK))
    proxy.wait_held("read")
    writer = programs(WRITE, m.path / "f.bin")
    assert writer.stdout.readline() == b"written\n"
    return reader, writer


def dies(m, writer):
    """It is killed, and what it had written is given up."""
    before = m.log().count("unpublished bytes given up")
    writer.kill()
    writer.wait()
    util.wait_until(lambda: m.log().count("unpublished bytes given up") > before,
                    what="the end of the session")


def notifier_of(m):
    workers = m.worker_pids()
    found = [p for p in util.children(m.proc.pid) if p not in workers]
    assert len(found) == 1
    return found[0]


def turns(pid, times=3):
    """The notifier has been woken so often, or waits in the kernel."""
    def switches():
        with open(f"/proc/{pid}/status") as f:
            return int(f.read().split("voluntary_ctxt_switches:")[1].split()[0])
    first = switches()
    util.wait_until(lambda: state(pid) == "D" or switches() >= first + times,
                    what="the notifier's turn")


def serves_again(m, name="after.txt"):
    """The same configuration, started as a service manager would."""
    m.log_path.unlink()
    m.start()
    (m.path / name).write_bytes(b"served")
    assert (m.path / name).read_bytes() == b"served"
    assert util.mount_count(m.path) == 1


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
def test_all_is_killed_while_a_discarded_file_is_read(mount, proxy, bucket, programs, variant):
    """The pages of what a killed writer had written are to go, and a READ holds one of them."""
    m = mount(via=proxy, variant=variant)
    reader, writer = read_that_waits(m, proxy, bucket, programs)
    dies(m, writer)
    turns(notifier_of(m))
    daemon = m.processes()
    kill_all(daemon)
    assert reader.stdout.readline() == b""      # told, and ended by its exception
    all_gone(daemon + pids_of(reader))
    m.proc.wait()
    proxy.release("read", "drop")
    serves_again(m)
    m.stop()


def test_discarded_pages_go_when_the_read_is_answered(mount, proxy, bucket, programs):
    """Under a reader that has the file open all the time; and at once for who opens it."""
    m = mount(via=proxy)
    reader, writer = read_that_waits(m, proxy, bucket, programs)
    with open(m.path / "f.bin", "rb") as f:
        assert f.read(11) == b"unpublished"
    second = os.open(m.path / "f.bin", os.O_RDONLY)
    assert os.pread(second, 11, 0) == b"unpublished"
    dies(m, writer)
    turns(notifier_of(m))
    opener = programs(READ_LATE, m.path / "f.bin")      # waits: it drops them itself
    util.wait_until(lambda: state(opener.pid) == "D", what="the open")
    proxy.release("read")
    assert opener.stdout.readline() == b"open\n"
    with open(m.path / "f.bin", "rb") as f:
        assert f.read(11) == pattern(40 * BLOCK)[:11]
    assert reader.stdout.readline() == b"4096\n"
    util.wait_until(lambda: os.pread(second, 11, 0) == pattern(40 * BLOCK)[:11], what="the published bytes")
    os.close(second)
    m.check()
