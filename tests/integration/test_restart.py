"""stateproxyctl restart: the program is executed anew in its place, and nobody who uses the mount notices."""

import hashlib
import os
import select
import shutil
import socket
import sys
import threading

import pytest

from harness import DAEMON, PROGRAMS, SECRET, util
from harness.connector import Connector
from harness.killer import Killer
from harness.pattern import pattern
from harness.work import FILE_INCREMENT, assert_writers_files, kill_all, start_writer, still_running
from test_tls import authority, front       # noqa: F401

pytestmark = pytest.mark.limit(120)

LWW, CAS, STREAM = "s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"
PYTHON = [sys.executable, "-B"]


def restart(m, times=1):
    for _ in range(times):
        assert m.ctl("restart", timeout=60).out == "restarted in place\n"


def refused(m):
    done = m.ctl("restart", check=False, timeout=60)
    assert done.code == 1 and done.out == "", done
    return done.err


def readable(pipe):
    return bool(select.select([pipe], [], [], 0)[0])


def children(m):
    return set(m.processes()) - {m.proc.pid}


def times(m):
    return m.status().get("restarted_in_place", 0)


@pytest.fixture(params=[LWW, CAS, STREAM])
def variant(request):
    return request.param


# -- what the daemon is afterwards


def descriptors(pid):
    return sorted(os.readlink(f"/proc/{pid}/fd/{n}").split(" (deleted)")[0].split("[")[0]
                  .rstrip("0123456789") for n in os.listdir(f"/proc/{pid}/fd"))


def test_the_same_process_with_new_children(mount, bucket):
    m = mount()
    (m.path / "f").write_bytes(b"abc")
    before, fds = children(m), descriptors(m.proc.pid)
    restart(m)
    assert not children(m) & before and len(children(m)) >= len(before)
    assert times(m) == 1 and m.status()["pid"] == m.proc.pid
    restart(m, 4)
    assert times(m) == 5
    assert descriptors(m.proc.pid) == fds, "as many of each kind, none is left over"
    assert (m.path / "f").read_bytes() == b"abc"
    assert m.status()["counters"]["published"] == 1, "counters go on"
    assert not any(w["restarts"] for w in m.status()["workers"]), "planned, no crash"
    assert " warn " not in m.log() and not m.errors()
    m.check()
    assert m.ctl("drain").out == "drained and stopped\n"
    assert m.wait_exit() == 0
    m.stopped = True
    assert util.mount_entry(m.path) is None and not m.socket.exists()


def test_secrets_do_not_come_back_into_the_environment(mount, bucket):
    m = mount()
    restart(m, 2)
    for pid in m.processes():
        with open(f"/proc/{pid}/environ", "rb") as f:
            assert SECRET.encode() not in f.read(), pid
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            assert SECRET.encode() not in f.read(), pid
    assert "handover" not in " ".join(descriptors(m.proc.pid))
    (m.path / "f").write_bytes(b"signed with the same keys")
    assert bucket.get(m.key("f")) == b"signed with the same keys"


def test_unmounted_from_outside_afterwards(mount):
    m = mount()
    restart(m)
    util.unmount(m.path)
    assert m.wait_exit() == 0
    m.stopped = True


@pytest.mark.parametrize("env", [{"STATEPROXY_SANDBOX": "off"}, {"STATEPROXY_WORKERS_COUNT": "1"}],
                         ids=["without a sandbox", "one worker"])
def test_other_kinds(mount, bucket, env):
    m = mount(env=env)
    before = children(m)
    with open(m.path / "f", "wb") as f:
        f.write(b"abc")
        f.flush()
        restart(m, 2)
        f.write(b"def")
    assert bucket.get(m.key("f")) == b"abcdef" and not children(m) & before
    m.check()


def test_s3_may_be_away(mount, proxy, bucket):
    m = mount(via=proxy)
    with open(m.path / "f", "wb") as f:
        f.write(b"abc")
        f.flush()
        proxy.wait_idle()
        proxy.reset_counts()
        restart(m)
        assert not any(proxy.counts().values()), "a restart asks S3 for nothing"
    assert bucket.get(m.key("f")) == b"abc"


# -- the configuration


@pytest.fixture
def config(scratch):
    path = scratch / "c.yaml"
    path.write_text("log:\n  level: notice\n")
    return path


def test_what_may_change_takes_effect(mount, config):
    m = mount(args=["--config", config], env={"STATEPROXY_LOG_LEVEL": None})
    config.write_text("log:\n  level: debug\ns3:\n  deadline: 7s\n")
    restart(m)
    assert " debug supervisor[" in m.log()
    pids = m.worker_pids()
    (m.path / "f").write_bytes(b"abc")
    assert any(f" debug worker[{p}]" in m.log() for p in pids), "and in the new workers"


@pytest.mark.parametrize("text, reason", [
    ("upload:\n  part_size: 16Mi\n", "upload.part_size is now 16Mi"),
    ("mount:\n  read_only: true\n", "mount.read_only is now true"),
    ("bukket: x\n", "bukket"),
    ("s3:\n  sse_customer_key_file: /nowhere\n  sse: customer\n", "s3.sse"),
], ids=["part size", "read-only", "wrong", "another key"])
def test_what_may_not_change_is_refused(mount, bucket, config, text, reason):
    m = mount(args=["--config", config])
    before = children(m)
    config.write_text(text)
    told = refused(m)
    assert reason in told
    assert "not restarted: " in m.log() and children(m) == before and times(m) == 0
    (m.path / "f").write_bytes(b"abc")
    assert bucket.get(m.key("f")) == b"abc"
    config.write_text("")
    restart(m)
    assert times(m) == 1


def test_bucket_may_not_change(mount, config, bucket):
    config.write_text(f"bucket: {bucket.bucket}\n")
    m = mount(args=["--config", config], env={"STATE_BUCKET": None})
    config.write_text("bucket: another\n")
    assert refused(m) == ("stateproxyctl: bucket is now another: this value cannot change while the daemon runs, "
                          "stop the daemon and start it instead\n")
    m.check()


# -- the program


@pytest.fixture
def own_program_of(mount, scratch):
    """own_program_of(...) -> a mount whose program is a copy, which a test may replace; the copy."""
    def make(**kwargs):
        program = scratch / "stateproxyd"
        shutil.copy2(DAEMON, program)
        scratch.chmod(0o755)
        m = mount(start=False, **kwargs)
        m.wrap = lambda daemon, *args: [str(program), *args]
        return m.start(), program
    return make


@pytest.fixture
def own_program(own_program_of):
    return own_program_of()


def replace(program, write):
    new = program.with_suffix(".new")
    write(new)
    new.chmod(0o755)
    new.rename(program)         # as a package manager does


def test_the_program_was_replaced(own_program):
    m, program = own_program
    replace(program, lambda new: shutil.copy2(DAEMON, new))
    restart(m)
    assert os.readlink(f"/proc/{m.proc.pid}/exe") == str(program), "the new file"
    restart(m)


@pytest.mark.parametrize("script, reason", [
    ("#!/bin/sh\nexit 64\n", "cannot take over (exit 64): is it another version?"),
    ("no program\n", "cannot execute"),
    ("#!/bin/sh\nkill -9 $$\n", "cannot take over (signal 9)")], ids=["unknown", "none", "dies"])
def test_a_program_that_cannot_take_over(own_program, bucket, script, reason):
    m, program = own_program
    before = children(m)
    replace(program, lambda new: new.write_text(script))
    assert reason in refused(m)
    assert children(m) == before
    (m.path / "f").write_bytes(b"abc")
    assert bucket.get(m.key("f")) == b"abc"


def test_the_program_changes_between_trial_and_exec(own_program, bucket):
    """The trial passes and the exec fails: all is as before."""
    m, program = own_program
    replace(program, lambda new: new.write_text("#!/bin/sh\nrm -f \"$0\"\nexit 0\n"))
    fds = descriptors(m.proc.pid)
    assert "cannot execute" in refused(m)
    (m.path / "f").write_bytes(b"abc")
    assert bucket.get(m.key("f")) == b"abc" and times(m) == 0
    assert descriptors(m.proc.pid) == fds
    for pid in m.kill_workers():
        util.wait_until(lambda p=pid: not util.alive(p), what="the death")
    m.wait_workers(2)
    m.check()


@pytest.fixture
def secure(own_program_of, front, authority, config):       # noqa: F811
    """A mount over TLS, and its program."""
    config.write_text(f"s3:\n  ca_bundle: {authority.path}\n")
    return own_program_of(via=front(*authority.issue("localhost")).endpoint("localhost"), args=["--config", config])


def test_certificates_that_are_not_there(secure, config, bucket):
    m, _ = secure
    before = children(m)
    config.write_text("s3:\n  ca_bundle: /nowhere/ca.pem\n")
    assert "CA bundle /nowhere/ca.pem: No such file" in refused(m)
    assert children(m) == before
    (m.path / "f").write_bytes(b"abc")
    assert bucket.get(m.key("f")) == b"abc"


def test_new_workers_cannot_start(secure, config, scratch, bucket, authority):      # noqa: F811
    """What the trial has found goes before the exec. It is told, the other worker serves, and another restart mends it."""
    m, program = secure
    gone = scratch / "gone.pem"
    shutil.copy2(authority.path, gone)
    config.write_text(f"s3:\n  ca_bundle: {gone}\n")
    replace(program, lambda new: new.write_text(
        f"#!/bin/sh\ncase \"$*\" in *--check*) ;; *) rm -f {gone};; esac\nexec {DAEMON} \"$@\"\n"))
    assert "a process cannot start" in refused(m)
    assert times(m) == 1
    (m.path / "f").write_bytes(b"abc")
    assert bucket.get(m.key("f")) == b"abc"
    before = children(m)
    config.write_text(f"s3:\n  ca_bundle: {authority.path}\n")
    restart(m)
    assert times(m) == 2 and not children(m) & before
    m.wait_workers(2)
    m.check()


# -- under load


WRITER = """
import sys
with open(sys.argv[1], "wb", buffering=0) as f:
    n = 0
    while not done():
        f.write(b"%07d\\n" % n)
        n += 1
print(n)
"""

READER = """
import sys
n = 0
with open(sys.argv[1], "rb", buffering=0) as f:
    while True:
        piece = f.read(1 << 16)
        if not piece:
            n += 1
            if done(): break
            f.seek(0)
            continue
        at = f.tell() - len(piece)
        assert piece == want[at:at + len(piece)], at
print(n)
"""

LOCKED = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
n = 0
while not done():
    fcntl.lockf(fd, fcntl.LOCK_EX)                  # waits for the others
    i = open(sys.argv[3]).read()
    open(sys.argv[3], "w").write(str(int(i) + 1))   # on a local disk: only the lock guards it
    fcntl.lockf(fd, fcntl.LOCK_UN)
    n += 1
print(n)
"""

UNTIL = "import os, sys\ndone = lambda: os.path.exists(sys.argv[2])\n"


def spawn(code, path, stop, *more):
    return util.spawn([*PYTHON, "-c", UNTIL + code, path, stop, *more])


def ended(program):
    return int(util.finish(program).out)


@pytest.mark.slow
def test_ten_in_a_row_under_load(mount, bucket, scratch, variant):
    m = mount(variant=variant)
    size, stop, count = 10 << 20, scratch / "stop", scratch / "count"
    bucket.put(m.key("large"), pattern(size, 3))
    bucket.put(m.key("locked"), b"x")
    (scratch / "large").write_bytes(pattern(size, 3))
    count.write_text("0")
    large = READER.replace("n = 0", "want = open(sys.argv[3], 'rb').read()\nn = 0", 1)
    writers = [spawn(WRITER, m.path / f"w{i}", stop) for i in range(2)]
    readers = [spawn(large, m.path / "large", stop, scratch / "large") for _ in range(2)]
    lockers = [spawn(LOCKED, m.path / "locked", stop, count) for _ in range(3)]
    programs = [*writers, *readers, *lockers]
    try:
        util.wait_until(lambda: int(count.read_text() or 0) > 10, what="work")
        for _ in range(10):
            restart(m)
            still_running(*programs)()
        stop.touch()
        for i, w in enumerate(writers):
            n = ended(w)
            assert bucket.get(m.key(f"w{i}")) == b"".join(b"%07d\n" % j for j in range(n))
        assert all(ended(r) for r in readers)
        assert sum(ended(p) for p in lockers) == int(count.read_text())
    finally:
        kill_all(programs)
    assert times(m) == 10 and not m.errors()
    assert not bucket.uploads()
    m.check()


def test_a_lock_is_held_and_waited_for(mount, bucket):
    m = mount()
    bucket.put(m.key("f"), b"x")
    code = "import fcntl, os, sys\nfd = os.open(sys.argv[1], os.O_RDWR)\n" \
        "fcntl.lockf(fd, fcntl.LOCK_EX)\nprint('locked', flush=True)\nsys.stdin.read()\n"
    programs = [util.spawn([*PYTHON, "-c", code, m.path / "f"], stdin=-1) for _ in range(2)]
    try:
        first = util.wait_until(lambda: [p for p in programs if readable(p.stdout)], what="a lock")
        assert len(first) == 1 and first[0].stdout.readline() == b"locked\n"
        other = next(p for p in programs if p is not first[0])
        util.wait_until(lambda: any(r["op"] == "SETLKW" for r in m.inflight()), what="the other to wait")
        restart(m, 2)
        assert not readable(other.stdout), "it still waits"
        first[0].stdin.close()
        assert other.stdout.readline() == b"locked\n"
        other.stdin.close()
        assert [p.wait(20) for p in programs] == [0, 0]
    finally:
        kill_all(programs)
    m.check()


def test_no_update_is_lost(mount, bucket):
    """With compare-and-set: every increment counts, and what a program has read stays its baseline."""
    m = mount(variant=CAS)
    bucket.put(m.key("n"), b"0")
    programs = [util.spawn([*PYTHON, "-c", FILE_INCREMENT, m.path / "n", 30]) for _ in range(3)]
    try:
        while any(p.poll() is None for p in programs):
            restart(m)
        for p in programs:
            util.finish(p)
    finally:
        kill_all(programs)
    assert bucket.get(m.key("n")) == b"90" and times(m)
    m.check()


def test_no_false_conflict(mount, bucket):
    """The only writer never meets one; and the write of another is still found."""
    m = mount(variant=CAS)
    bucket.put(m.key("n"), b"0")
    for i in range(5):
        with open(m.path / "n", "r+b") as f:
            n = int(f.read())
            restart(m)
            f.seek(0)
            f.write(b"%d" % (n + 1))
    assert bucket.get(m.key("n")) == b"5" and m.status()["counters"]["conflicts"] == 0
    f = open(m.path / "n", "r+b", buffering=0)
    f.read()
    f.seek(0)
    f.write(b"mine")
    bucket.put(m.key("n"), b"theirs")
    restart(m)
    with pytest.raises(FileExistsError):
        f.close()
    assert bucket.get(m.key("n")) == b"theirs"
    m.check()


@pytest.mark.parametrize("at", ["before", "mid", "after"])
def test_in_the_middle_of_an_upload(mount, proxy, bucket, at):
    m = mount(via=proxy, env={"STATEPROXY_UPLOAD_PART_SIZE": "5Mi", "STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi"})
    proxy.hold("h", when=at, op="UploadPart", times=1)
    size = 12_000_000
    writer = util.spawn([*PYTHON, PROGRAMS / "fileop.py", "write", m.path / "f", size, 5])
    proxy.wait_held("h")
    restart(m)
    # (Gone with who sent it. A part that comes during Complete brings the upload back on versitygw.)
    proxy.release("h", "drop")
    util.finish(writer)
    got = bucket.get(m.key("f"))
    assert hashlib.sha256(got).digest() == hashlib.sha256(pattern(size, 5)).digest()
    assert not bucket.uploads()
    m.check()


def test_while_an_upload_is_created(mount, proxy, bucket):
    """Its id is waited for: with the worker it would be lost, and the upload would stay on the server."""
    m = mount(via=proxy, workers=1, env={"STATEPROXY_UPLOAD_PART_SIZE": "5Mi",
                                         "STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi"})
    proxy.add_rule("delay", ms=400, when="after", op="CreateMultipartUpload", times=1)
    size = 12_000_000
    writer = util.spawn([*PYTHON, PROGRAMS / "fileop.py", "write", m.path / "f", size, 5])
    util.wait_until(lambda: bucket.uploads(), what="an upload whose answer is on its way", every=0.001)
    restart(m)
    util.finish(writer)
    assert bucket.get(m.key("f")) == pattern(size, 5)
    assert not bucket.uploads()
    m.check()


def test_while_workers_are_killed(mount, bucket, scratch, seed):
    m = mount()
    writer = start_writer(m, scratch, seed, big=False)
    killer = Killer(m, 40, seed)
    try:
        killer.start()
        while killer.is_alive():
            restart(m)
            still_running(writer)()
        killer.finish(60)
        (scratch / "stop").touch()
        util.finish(writer)
    finally:
        killer.cancelled.set()
        kill_all([writer])
    assert assert_writers_files(m, bucket, scratch) > 10
    m.wait_workers(2)
    m.check()


# -- clients


def test_two_at_once(mount):
    m = mount()
    told = []
    threads = [threading.Thread(target=lambda: told.append(m.ctl("restart", check=False, timeout=60)))
               for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert any(d.code == 0 for d in told)
    assert all(d.code == 0 or "under way already" in d.err for d in told), told
    m.check()


def test_status_and_check_meanwhile(mount):
    m = mount()
    stop = threading.Event()
    bad = []

    def ask(what):
        while not stop.is_set():
            done = m.ctl(what, check=False)
            if done.code:
                bad.append(done)
    threads = [threading.Thread(target=ask, args=(w,)) for w in ("status", "check")]
    for t in threads:
        t.start()
    restart(m, 5)
    stop.set()
    for t in threads:
        t.join()
    assert not bad, bad


def test_the_client_leaves(mount):
    m = mount()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(m.socket))
        s.sendall(b"restart\n")
    util.wait_until(lambda: "all processes replaced" in m.log(), what="the restart")
    assert times(m) == 1
    restart(m)


# -- the connector


@pytest.fixture
def con(mount, scratch):
    daemon = mount(env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": scratch / "c.sock"})
    con = Connector(scratch / "c.sock")
    con.daemon = daemon
    return con


def test_requests_in_flight_are_answered(con, bucket):
    """A client that sends slowly, one that is idle, and one that asks again and again."""
    bucket.put(con.daemon.key("k"), b"value")
    slow, idle = con.raw(), con.raw()
    slow.send(b"PUT /keys/slow HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
    idle.send(b"GET /keys/k HTTP/1.1\r\n\r\n")
    assert idle.answer().body == b"value"
    done, bad = threading.Event(), []

    def ask():
        while not done.is_set():
            answer = con.get("k")       # each on a connection of its own
            if answer.body != b"value":
                bad.append(answer)
    asking = threading.Thread(target=ask)
    asking.start()
    restarting = threading.Thread(target=restart, args=(con.daemon,))
    restarting.start()
    util.wait_until(lambda: times(con.daemon) == 1, what="the new image")
    assert restarting.is_alive(), "it waits for the slow client"
    slow.send(b"def")
    assert slow.answer().status == 204
    restarting.join()
    done.set()
    asking.join()
    assert not bad and bucket.get(con.daemon.key("slow")) == b"abcdef"
    assert idle.at_end(), "closed while it was idle, as any server may do"
    assert con.get("k").body == b"value"
    con.daemon.check()
    con.daemon.stop()


def test_not_while_the_server_is_probed(mount, minio, bucket_at, make_proxy, scratch):
    """Requests that only read are answered meanwhile; a restart is refused."""
    store = bucket_at(minio)
    proxy = make_proxy(minio.port)
    proxy.hold("h", op="PutObject", times=1)
    m = mount(s3=store, via=proxy, start=False, variant=CAS,
              env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": scratch / "c.sock"})
    m.start(ready=False)
    proxy.wait_held("h")
    util.wait_until(m.socket.exists, what="the control socket")
    assert "still starting" in refused(m)
    proxy.release("h")
    m.wait_ready()
    restart(m)
