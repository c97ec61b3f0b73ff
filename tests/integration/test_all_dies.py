"""Everything dies at once, or S3 hangs while the daemon is told to end: no process stays that cannot
be killed, and the next start serves by itself."""

import hashlib
import os
import random
import sys
import time

import pytest

from harness import EX_UNPUBLISHED, PROGRAMS, SLOW, util
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
    before = m.log().count("unpublished data discarded")
    writer.kill()
    writer.wait()
    util.wait_until(lambda: m.log().count("unpublished data discarded") > before,
                    what="the end of the session")


def notifier_of(m):
    return m.status()["notifiers"][0]["pid"]


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


# -- SIGTERM while S3 hangs


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
def test_sigterm_while_s3_hangs(mount, proxy, bucket, programs, variant):
    """Nothing is left that waits, though the mount was off before those who wait were let go."""
    m = mount(via=proxy, variant=variant, env={"STATEPROXY_DAEMON_DRAIN_TIMEOUT": "1s"})
    reader, writer = read_that_waits(m, proxy, bucket, programs)
    dies(m, writer)
    closer = util.spawn([*PYTHON, PROGRAMS / "fileop.py", "write", m.path / "g.bin", 1000, 1])
    proxy.hold("put", op="PutObject")
    daemon = m.processes()
    proxy.wait_held("put")
    m.term()
    assert m.wait_exit(1 + 10) == EX_UNPUBLISHED
    all_gone(daemon + pids_of(reader, closer))
    closer.communicate()
    assert util.mount_entry(m.path) is None
    m.stopped = True


# -- everything is killed, at random, under load

LOAD = """
import hashlib, os, random, sys
path, seed, me = sys.argv[1], int(sys.argv[2]), sys.argv[3]
draw = random.Random(seed)
n = 0
while True:
    n += 1
    name = f"{path}/f{draw.randrange(4)}"
    try:
        kind = draw.randrange(5)
        if kind == 0:                       # whole and acknowledged
            own = f"{path}/own-{seed}-{n}"
            data = draw.randbytes(draw.choice([10, 5000, 300000]))
            fd = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(fd, data)
            os.close(fd)
            print(os.path.basename(own), hashlib.sha256(data).hexdigest(), flush=True)
        elif kind == 1:                     # killed half-way: its pages are to go
            if (child := os.fork()) == 0:
                fd = os.open(f"{path}/f{me}", os.O_RDWR)    # one writer a file
                os.pwrite(fd, b"torn", 0)
                os.kill(os.getpid(), 9)
            os.waitpid(child, 0)
        elif kind == 2:
            fd = os.open(name, os.O_RDONLY)
            os.pread(fd, 4096, draw.randrange(40) * 131072)
            os.close(fd)
        elif kind == 3:
            os.listdir(path)
            os.stat(name)
        else:
            os.rename(f"{path}/{draw.choice('ab')}{me}", f"{path}/{draw.choice('ab')}{me}")
    except OSError as e:
        if e.errno in (107, 103):
            break
"""


def freezer(m):
    """Puts its processes into a freezer group of their own; None where there is none (cgroup v1)."""
    path = f"/sys/fs/cgroup/freezer/stateproxy-{m.mark}"
    try:
        os.mkdir(path)
        for pid in m.processes():
            with open(f"{path}/cgroup.procs", "w") as f:
                f.write(str(pid))
    except OSError:
        return None
    return path


def freeze_and_kill(m, path, pids):
    for how in ("FROZEN", None, "THAWED"):
        if how:
            with open(f"{path}/freezer.state", "w") as f:
                f.write(how)
        else:
            kill_all(pids)


def die(m, draw, pids):
    """All at once; one by one in any order, with gaps; frozen and killed."""
    group = freezer(m) if draw.randrange(3) == 0 else None
    if group:
        freeze_and_kill(m, group, pids)
    else:
        gap = draw.choice([0, 0, 0.001, 0.02])
        for pid in draw.sample(pids, len(pids)):
            util.kill(pid)
            time.sleep(gap * draw.random())
        kill_all(m.processes())             # replacements that the supervisor has started meanwhile
    return group


def one_round(m, proxy, bucket, draw, acknowledged):
    load = [util.spawn([*PYTHON, "-c", LOAD, m.path, draw.randrange(1 << 30), i])
            for i in range(3)]
    time.sleep(draw.uniform(0.1, 1.2))
    pids = m.processes()
    group = die(m, draw, pids)
    util.wait_until(lambda: not m.processes(), 5, "the daemon's end")
    all_gone(pids)
    for p in load:
        util.kill(p.pid)
    all_gone(pids_of(*load))
    for p in load:
        out = p.communicate()[0].decode()
        acknowledged.update(line.split() for line in out.splitlines() if line.count(" ") == 1)
    m.proc.wait()
    if group:
        util.wait_until(lambda: not os.path.exists(group) or not open(
            f"{group}/cgroup.procs").read(), 5, "an empty group")
        os.rmdir(group)


@pytest.mark.slow
@pytest.mark.limit(3000)
@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
def test_everything_is_killed_again_and_again(mount, proxy, bucket, seed, variant):
    """STATEPROXY_TEST_ROUNDS: how often (by hand 300)."""
    draw = random.Random(f"{seed} {variant}")
    m = mount(via=proxy, variant=variant)
    acknowledged = {}
    for i in range(4):
        bucket.put(m.key(f"f{i}"), pattern(40 * BLOCK))
    for _ in range(int(os.environ.get("STATEPROXY_TEST_ROUNDS", "6"))):
        for i in range(3):
            bucket.put(m.key(f"a{i}"), pattern(2 * BLOCK))
        proxy.add_rule("delay", ms=draw.choice([1, 50, 400]), when="before")
        one_round(m, proxy, bucket, draw, acknowledged)
        proxy.clear_rules()                 # the probe makes many requests
        m.log_path.unlink()
        m.start()
        assert util.mount_count(m.path) == 1
        for i in range(4):
            assert bucket.get(m.key(f"f{i}")) == pattern(40 * BLOCK), "torn"
        for i in range(3):
            there = [n for n in (f"a{i}", f"b{i}") if bucket.exists(m.key(n))]
            assert there and all(bucket.get(m.key(n)) == pattern(2 * BLOCK) for n in there)
    proxy.clear_rules()
    assert acknowledged, "the load did nothing"
    for name, digest in acknowledged.items():
        assert hashlib.sha256(bucket.get(m.key(name))).hexdigest() == digest, name
    m.stop()
