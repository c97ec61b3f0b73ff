"""The whole daemon dies and is started anew, while a holder keeps its descriptors (daemon.holder), as in
a container: programs see a pause, and no error.

By hand, before a release: STATEPROXY_TEST_HOLDER_KILLS=1000, the deaths of test_many_deaths (three minutes and
a half for the three variants side by side)."""

import array
import fcntl
import os
import pathlib
import random
import socket
import sys
import time

import pytest

from harness import SLOW, util
from harness.connector import Connector
from harness.holder import Holder
from harness.load import PARTS, Load
from harness.pattern import pattern
from harness.work import kill_all, still_running
from test_fdstore import CAS, LWW, PYTHON, SESSIONS, STREAM, program, variant       # noqa: F401

KILLS = int(os.environ.get("STATEPROXY_TEST_HOLDER_KILLS", "5"))
OVER = "taken over, all processes are there"


@pytest.fixture
def holder(scratch):
    h = Holder(scratch).start()
    yield h
    h.close()


@pytest.fixture
def impatient(scratch):
    """A holder with a short deadline."""
    h = Holder(scratch, deadline="300ms").start()
    yield h
    h.close()


@pytest.fixture
def held(mount, holder):
    """held(variant, ...) -> a Mount that `holder` keeps."""
    def make(variant=LWW, env=None, start=True, **kwargs):
        m = mount(variant=variant, start=False,
                  env={"STATEPROXY_DAEMON_HOLDER": holder.path, "STATEPROXY_BUFFER_SESSIONS": SESSIONS,
                       **(env or {})}, **kwargs)
        before = holder.count("kept")
        if start:
            m.start()
            holder.wait("kept", before + 1)
        return m
    return make


def again(m, holder, how=OVER):
    before = holder.count("kept")
    m.log_path.unlink()
    m.start()
    util.wait_until(lambda: how in m.log(), 20, how)
    holder.wait("kept", before + 1)


def open_some(m, bucket, program):
    """A file that is read, and locked; a new one, and one in parts, that are written. -> what the first one has, what
    was written to the last one."""
    old, big = pattern(300_000, 1), pattern(6 << 20, 2)
    bucket.put(m.key("old"), old)
    (m.dir / "big").write_bytes(big)
    program(f"os.chdir({str(m.path)!r})")
    program("import fcntl")
    program("old, new, big = open('old', 'rb'), open('new', 'wb', 0), open('big', 'wb', 0)")
    assert program("old.read(1000)") == repr(old[:1000])
    assert program("fcntl.flock(old, fcntl.LOCK_EX)") == "None"
    assert program("new.write(b'before ')") == "7"
    assert program(f"big.write(open({str(m.dir / 'big')!r}, 'rb').read())") == str(len(big))
    return old, big


def test_open_files_locks_and_unpublished_bytes(held, holder, bucket, program, variant):
    m = held(variant)
    old, big = open_some(m, bucket, program)
    m.kill_all()
    again(m, holder)
    with open(m.path / "old", "rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert program("old.seek(200_000)") == "200000" and program("old.read()") == repr(old[200_000:])
    assert program("new.write(b'after')") == "5" and program("big.write(b'end')") == "3"
    assert program("new.close()") == "None" and program("big.close()") == "None"
    assert bucket.get(m.key("new")) == b"before after"
    assert bucket.get(m.key("big")) == big + b"end"
    program("old.close()")
    program("os.chdir('/')")
    assert util.mount_count(m.path) == 1 and " warn " not in m.log()
    m.check()
    m.stop()
    assert holder.count("dropped, as the daemon asks") == 1
    assert set(os.listdir(f"/proc/{holder.proc.pid}/fd")) <= set("0123456789"), "it keeps something"


def test_programs_wait_and_have_no_error(held, holder, bucket, proxy):
    """A copy, and a program that comes while there is no daemon."""
    m = held(via=proxy)
    bucket.put(m.key("src"), pattern(8 << 20, 3))
    proxy.hold("put", when="after", op="PutObject", key=m.key("closing"))
    copy = util.spawn([*PYTHON, "-c", "import shutil, sys; shutil.copyfile(sys.argv[1], sys.argv[2])",
                       m.path / "src", m.path / "dst"])
    close = util.spawn([*PYTHON, "-c", "import sys; open(sys.argv[1], 'wb').write(b'x' * 100_000)",
                        m.path / "closing"])
    proxy.wait_held("put")
    m.kill_all()
    late = util.spawn(["cmp", m.path / "src", m.path / "src"])
    proxy.release("put")
    again(m, holder)
    for p in (copy, close, late):
        util.finish(p)
    assert bucket.get(m.key("dst")) == pattern(8 << 20, 3)
    assert bucket.get(m.key("closing")) == b"x" * 100_000
    m.check()


def draw_and_die(m, holder, draw, how_many, check):
    """Deaths at any time: also before the next one has given its descriptors, or has taken any."""
    deaths = 0
    while deaths < how_many:
        check()
        time.sleep(draw.uniform(0, 0.15))
        m.kill_all()
        m.log_path.unlink()
        m.start(ready=False)
        if draw.random() < 0.7:
            util.wait_until(lambda: OVER in m.log(), 20, OVER)
        deaths += 1
    m.kill_all()
    again(m, holder)
    return deaths


# FOLDER STOP: file after file of 3 MiB, in small pieces, and reads each. Prints how many.
STREAMS = """
import os, sys
done = 0
while not os.path.exists(sys.argv[2]):
    piece = b"%08d" % done * 4096
    with open(f"{sys.argv[1]}/{done}", "wb", 0) as f:
        for _ in range(96):
            assert f.write(piece) == len(piece)
    with open(f"{sys.argv[1]}/{done}", "rb") as f:
        assert f.read() == piece * 96
    done += 1
print(done)
"""


@pytest.mark.limit(90 + KILLS * 3)
@pytest.mark.slow
def test_many_deaths(held, holder, bucket, scratch, seed, program, variant):
    """No program has an error; no update is lost; what was written is on S3, and can be read."""
    m = held(variant, env=PARTS)
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    with Streams(m, bucket, scratch) if variant == STREAM else \
            Load(m, bucket, scratch, seed, isolated=variant == CAS) as load:
        deaths = draw_and_die(m, holder, random.Random(seed), KILLS, load.check)
        assert program("f.write(b'b')") == "1" and program("f.close()") == "None"
        done = load.finish()
    assert bucket.get(m.key("f")) == b"ab" and "let go" not in holder.log()
    print(f"{variant}: deaths={deaths} done={done}")
    m.check()


class Streams:
    """As Load, of what a stream can be used for."""

    def __init__(self, m, bucket, scratch):
        self.m, self.bucket, self.stop = m, bucket, scratch / "stop"
        (m.path / "d").mkdir()
        self.writer = util.spawn([*PYTHON, "-c", STREAMS, m.path / "d", self.stop])

    def check(self):
        still_running(self.writer)()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        kill_all([self.writer])

    def finish(self):
        self.stop.touch()
        done = int(util.finish(self.writer, 120).out)
        for i in range(done):
            assert self.bucket.get(self.m.key(f"d/{i}")) == b"%08d" % i * 4096 * 96
        return done


def test_streaming_upload_and_connector(held, holder, scratch, bucket):
    path = scratch / "c.sock"
    m = held(STREAM, env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": path})
    con = Connector(path)
    assert con.put("k", b"1").status == 204
    m.kill_all()
    with con.raw() as waits:            # it is accepted by the next one
        waits.send(b"GET /keys/k HTTP/1.1\r\n\r\n")
        again(m, holder)
        assert waits.answer().body == b"1"
    assert f'name="{path}"' in holder.log()
    m.stop()


def test_a_restart_in_place_between(held, holder, bucket, program):
    m = held()
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    assert m.ctl("restart", timeout=60).out == "restarted in place\n"
    holder.wait("kept", 2)
    m.kill_all()
    again(m, holder)
    assert program("f.write(b'b')") == "1" and program("f.close()") == "None"
    assert bucket.get(m.key("f")) == b"ab"
    m.stop()


# -- the holder


def test_deadline(mount, impatient, program):
    """Nobody comes: what waits has its error, and the next daemon mounts anew."""
    holder = impatient
    m = mount(start=False, env={"STATEPROXY_DAEMON_HOLDER": holder.path, "STATEPROXY_BUFFER_SESSIONS": SESSIONS})
    m.start()
    holder.wait("kept")
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    m.kill_all()
    program.say("f.write(b'x')")
    assert "let go" not in holder.log()
    assert program.proc.stdout.readline().decode().strip() in ("OSError 107", "OSError 103")
    util.wait_until(lambda: "let go: no daemon has taken over in time" in holder.log(), what="its line")
    with pytest.raises(OSError) as e:
        os.listdir(m.path)
    assert e.value.errno == 107
    again(m, holder, "ready ")
    (m.path / "g").write_bytes(b"new")
    m.stop()


def test_leave(held, holder, bucket, program):
    """stateproxyctl leave: as a death, without one. Not while the holder is away."""
    m = held(CAS)
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    assert m.ctl("leave").out == "left to the next daemon\n" and m.wait_exit() == 79
    again(m, holder)
    assert program("f.write(b'b')") == "1" and program("f.close()") == "None"
    assert bucket.get(m.key("f")) == b"ab"
    holder.stop()
    util.wait_until(lambda: "without the holder" in m.log(), what="the loss of the holder")
    done = m.ctl("leave", check=False)
    assert done.code == 1 and "daemon.holder" in done.err
    m.stop()


@pytest.mark.parametrize("how", [Holder.kill, Holder.stop], ids=["killed", "stopped"])
def test_the_holder_ends_and_comes_again(held, holder, bucket, program, how):
    m = held()
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    how(holder)
    util.wait_until(lambda: "without the holder" in m.log(), what="the daemon notices")
    assert program("f.write(b'a')") == "1"      # it serves on
    holder.start()
    holder.wait("kept")
    assert "the holder is there again" in m.log() and m.log().count(" warn ") == 1
    m.kill_all()
    again(m, holder)
    assert program("f.write(b'b')") == "1" and program("f.close()") == "None"
    assert bucket.get(m.key("f")) == b"ab"
    m.stop()


def test_it_comes_later_than_the_daemon(held, holder, bucket):
    holder.stop()
    m = held(start=False)
    m.start()
    assert "daemon.holder: it cannot be reached" in m.log()
    holder.start()
    holder.wait("kept")
    m.kill_all()
    again(m, holder)
    (m.path / "f").write_bytes(b"1")
    m.stop()


def test_two_daemons(held, holder, bucket):
    """Each is known by its mount; one of another's name is refused while that runs."""
    a, b = held(), held()
    wrong = held(env={"STATEPROXY_DAEMON_HOLDER_NAME": a.path}, start=False)
    code, errors = wrong.start_refused()
    assert code == 73 and "a daemon that runs has this name" in errors[-1]
    a.kill_all()
    b.kill_all()
    again(b, holder)
    again(a, holder)
    (a.path / "f").write_bytes(b"a")
    assert bucket.get(a.key("f")) == b"a"
    a.stop()
    b.stop()


def test_another_configuration_of_the_same_name(held, holder, bucket, program):
    """What is left is given up, not mixed up."""
    m = held()
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    m.kill_all()
    m.env["STATE_PREFIX"] = "other"
    again(m, holder, "ready ")
    assert "not taken over" in m.log() and "prefix is now other" in m.log()
    assert program("f.write(b'x')") in ("OSError 107", "OSError 103")
    (m.path / "g").write_bytes(b"new")
    assert bucket.get("other/g") == b"new"
    m.stop()


@pytest.mark.repeats
def test_a_process_of_the_daemon_before_has_not_ended(held, holder, program, bucket):
    """Two workers of one slot would spoil the segment: it is said at the start, and tried again then."""
    m = held()
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    life = life_of(m.proc.pid)
    m.kill_all()
    m.log_path.unlink()
    m.start(ready=False)
    assert m.wait_exit() == 75 and "processes of the daemon before have not ended" in m.log()
    os.close(life)
    again(m, holder)
    assert program("f.write(b'b')") == "1" and program("f.close()") == "None"
    assert bucket.get(m.key("f")) == b"ab"
    m.stop()


def life_of(pid):
    """A copy of the pipe's end that all processes of a daemon have."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{fd}"
        with open(f"/proc/{pid}/fdinfo/{fd}") as f:
            writes = int(dict(line.split(":", 1) for line in f.read().splitlines())["flags"], 8) & os.O_ACCMODE
        if os.readlink(path).startswith("pipe:") and writes == os.O_WRONLY and int(fd) > 2:
            return os.open(path, os.O_WRONLY)
    raise AssertionError("no pipe")


@pytest.mark.repeats
def test_it_hangs(held, holder):
    """The daemon starts without it."""
    holder.proc.send_signal(19)
    m = held(start=False)
    m.start()
    holder.proc.send_signal(18)
    assert "it does not answer" in m.log()
    holder.wait("kept")
    m.stop()


# -- who talks to it


def socket_to(holder):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(10 * SLOW)
    s.connect(str(holder.path))
    return s


def say(s, text, *fds):
    s.sendmsg([text.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])


def hear(s):
    data, fds, _, _ = socket.recv_fds(s, 4096, 8)
    for fd in fds:
        os.close(fd)
    return data.decode(), fds


class Life:
    """A daemon, as the holder sees it."""

    def __init__(self, holder, name, how="give"):
        self.read, self.write = os.pipe()
        self.sock = socket_to(holder)
        say(self.sock, f"hello 1 {how} {name}", self.read)

    def end(self):
        for fd in (self.read, self.write):
            os.close(fd)
        self.sock.close()


def test_only_when_all_processes_have_ended(holder):
    a = Life(holder, "n")
    assert hear(a.sock)[0] == "ok"
    with open("/dev/null") as f:
        say(a.sock, "begin")
        say(a.sock, "fd 7", f.fileno())
        say(a.sock, "record", f.fileno())
    assert hear(a.sock)[0] == "kept 2"
    a.sock.close()                              # the supervisor is gone, a worker is not
    b = Life(holder, "n", "take")
    assert hear(b.sock)[0] == "wait"
    b.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        hear(b.sock)
    c = Life(holder, "n")                       # nor may another one replace it
    assert hear(c.sock)[0].startswith("busy ")
    os.close(a.write)
    b.sock.settimeout(10 * SLOW)
    assert [hear(b.sock)[0] for _ in range(3)] == ["fd 7", "record", "end 2"]
    say(b.sock, "begin")
    say(b.sock, "fd 7", b.read)                 # dies half-way: the set before holds
    b.end()
    d = Life(holder, "n", "take")
    assert [hear(d.sock)[0] for _ in range(3)] == ["fd 7", "record", "end 2"]
    say(d.sock, "drop")
    assert hear(d.sock)[0] == "dropped"
    d.end()
    c.end()


@pytest.mark.parametrize("text, fds", [
    ("", 0), ("hello", 1), ("hello 1 take ", 1), ("hello 1 take n", 0), ("hello 2 take n", 1), ("hello 1 look n", 1),
    ("hello 1 give " + "n" * 256, 1), ("hello 1 give n\nx", 1), ("begin", 0), ("x" * 5000, 0), ("hello 1 give n", 3),
    ("\x00\x01", 1)], ids=repr)
def test_garbage(holder, text, fds):
    """Whoever speaks another language is turned away, and nothing of it stays open."""
    before = len(os.listdir(f"/proc/{holder.proc.pid}/fd"))
    r, w = os.pipe()
    with socket_to(holder) as s:
        say(s, text, *[r] * fds)
        answer = hear(s)[0]
        assert answer == "" or answer.startswith("error ")
    os.close(r)
    os.close(w)
    util.wait_until(lambda: len(os.listdir(f"/proc/{holder.proc.pid}/fd")) == before, what="all closed")


@pytest.mark.parametrize("text, fds", [
    ("fd 2", 1), ("fd 65536", 1), ("fd 07", 1), ("fd -1", 1), ("fd 9x", 1), ("fd 9", 0), ("record", 0), ("fd", 1),
    ("keep 9", 1), ("begin", 1), ("drop", 1)], ids=repr)
def test_garbage_after_hello(holder, text, fds):
    before = len(os.listdir(f"/proc/{holder.proc.pid}/fd"))
    a = Life(holder, "n")
    assert hear(a.sock)[0] == "ok"
    say(a.sock, "fd 9", a.read)
    say(a.sock, text, *[a.read] * fds)
    assert hear(a.sock)[0].startswith("error ")
    a.end()
    util.wait_until(lambda: len(os.listdir(f"/proc/{holder.proc.pid}/fd")) == before, what="all closed")


def random_message(draw, names):
    """A message of the protocol, most often right, and how many descriptors go with it."""
    text, fds = draw.choice([
        (f"hello 1 take {draw.choice(names)}", 1), (f"hello 1 give {draw.choice(names)}", 1), ("begin", 0),
        (f"fd {draw.randrange(3, 40)}", 1), (f"fd {draw.randrange(3, 40)}", 1), ("record", 1), ("record", 1), ("drop", 0),
        ("end 3", 0), ("", 0), ("\x7f", 0)])
    if draw.random() < 0.1:
        at = draw.randrange(len(text) + 1)
        text = text[:at] + draw.choice(["", " ", "0", "\n", "\x00", "x" * 600]) + text[at + draw.randrange(2):]
    return text, fds if draw.random() < 0.9 else draw.randrange(4)


def test_random_messages(impatient, seed):
    """Of several connections, in any order, and these end at any time. Nothing stays open after the deadline."""
    holder = impatient
    draw = random.Random(seed)
    before = len(os.listdir(f"/proc/{holder.proc.pid}/fd"))
    names = ["a", "b", "c d", "n" * 255]
    open_now = []
    for _ in range(6000):
        if not open_now or (len(open_now) < 8 and draw.random() < 0.1):
            s = socket_to(holder)
            s.settimeout(0)
            open_now.append((s, os.pipe()))
        i = draw.randrange(len(open_now))
        s, life = open_now[i]
        text, fds = random_message(draw, names)
        try:
            say(s, text, *[life[0]] * fds)
            hear(s)
        except BlockingIOError:
            pass
        except OSError:                         # it has closed
            text = "close"
        if text == "close" or draw.random() < 0.02:
            for fd in life:
                os.close(fd)
            s.close()
            del open_now[i]
    for s, life in open_now:
        for fd in life:
            os.close(fd)
        s.close()
    util.wait_until(lambda: len(os.listdir(f"/proc/{holder.proc.pid}/fd")) == before, what="all closed")
    a = Life(holder, "still serves")
    assert hear(a.sock)[0] == "ok"
    say(a.sock, "begin")
    say(a.sock, "fd 7", a.read)
    say(a.sock, "record", a.read)
    assert hear(a.sock)[0] == "kept 2"
    a.end()


def test_it_is_bounded(holder):
    lives = [Life(holder, f"n{i}") for i in range(33)]
    answers = [hear(x.sock)[0] for x in lives]
    assert answers[:32] == ["ok"] * 32 and answers[32].startswith("full ")
    idle = [socket_to(holder) for _ in range(60)]
    util.wait_until(lambda: "turned away" in holder.log(), what="too many connections")
    for x in lives:
        x.end()
    for s in idle:
        s.close()
    one = Life(holder, "x")
    util.wait_until(lambda: len(os.listdir(f"/proc/{holder.proc.pid}/fd")) < 12, what="all closed")
    assert hear(one.sock)[0] == "ok"
    one.end()


def answer_to(uid, holder):
    """What a process of this user hears from it."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setresuid(uid, uid, uid)
        with socket_to(holder) as s:
            os.write(w, s.recv(99))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    os.close(w)
    with open(r, "rb") as f:
        return f.read()


def test_wrong_user(scratch, mount, request):
    """Neither is a client of another user served, nor a holder of another user trusted."""
    if os.geteuid() != 0:
        pytest.skip("needs root to be two users")
    place = scratch / "other"
    place.mkdir()
    os.chown(place, 1, 1)
    for d in (scratch, *scratch.parents):
        if d != pathlib.Path("/") and d.stat().st_uid == os.geteuid() and not d.stat().st_mode & 1:
            d.chmod(d.stat().st_mode | 0o011)
    h = Holder(place, wrap=lambda *c: ["setpriv", "--reuid", "1", "--regid", "1", "--clear-groups", *c])
    request.addfinalizer(h.close)
    h.start()
    os.chmod(h.path, 0o666)
    assert answer_to(2, h) == b""
    util.wait_until(lambda: "it is of another user" in h.log(), what="its line")
    m = mount(start=False, env={"STATEPROXY_DAEMON_HOLDER": h.path})
    m.start()
    assert "cannot be reached" in m.log() and "Operation not permitted" in m.log()
    m.stop()


def test_a_second_holder(holder):
    done = util.run([*holder.wrap(holder.proc.args[0], "hold", "--socket", holder.path)], check=False)
    assert done.code == 73 and "another holder listens" in done.err


@pytest.mark.counts
def test_it_is_small(held, holder):
    """Private memory; what it shares with the daemon's program is in the page cache once."""
    if "asan" in os.environ.get("STATEPROXY_BIN_DIR", "") or "ASAN_OPTIONS" in os.environ:
        pytest.skip("with a sanitizer")
    held()
    with open(f"/proc/{holder.proc.pid}/smaps_rollup") as f:
        rows = dict(line.split(":") for line in f.read().splitlines()[1:])
    dirty = int(rows["Private_Dirty"].split()[0])
    print(f"Private_Dirty={dirty} kB Rss={rows['Rss'].strip()} Pss={rows['Pss'].strip()}")
    assert dirty < 1024


# -- containers


@pytest.fixture
def volume(scratch):
    """A shared mount, as the node's file system is."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    with util.shared_mount(scratch / "volume") as path:
        yield path




def test_the_container_dies(held, holder, bucket, volume, program):
    """The next container sees the same mount under another number, and can unmount it."""
    m = held(mountpoint=volume / "mount", env={"STATEPROXY_MOUNT_CREATE": "true"}, start=False)
    m.wrap = lambda *command: ["unshare", "-m", "--propagation", "unchanged", *command]
    m.start()
    holder.wait("kept")
    program(f"f = open({str(volume / 'mount' / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    m.kill_all()
    again(m, holder)
    assert program("f.write(b'b')") == "1" and program("f.close()") == "None"
    assert bucket.get(m.key("f")) == b"ab"
    m.stop()
    assert not os.path.ismount(volume / "mount")


def test_its_processes_die_with_it(held, holder, bucket, volume, program):
    """With a pid namespace of its own: pid 1 dies, and with it all; the kernel says pid 0 of callers."""
    m = held(mountpoint=volume / "mount", env={"STATEPROXY_MOUNT_CREATE": "true"}, start=False)
    m.wrap = lambda *command: ["unshare", "-m", "-pf", "--kill-child", "--propagation", "unchanged", *command]
    m.start()
    holder.wait("kept")
    program(f"f = open({str(volume / 'mount' / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    m.kill_all()
    again(m, holder)
    assert program("f.write(b'b')") == "1" and program("f.close()") == "None"
    assert bucket.get(m.key("f")) == b"ab"
    for pid in util.children(m.proc.pid):
        util.kill(pid, 15)
    assert m.wait_exit() == 0
    m.stopped = True
    assert not os.path.ismount(volume / "mount")


def test_the_mount_is_not_visible_to_the_next(held, holder, bucket, program):
    """Its mount namespace does not have it: it serves all the same."""
    m = held()
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    m.kill_all()
    m.wrap = lambda *command: ["unshare", "-m", "--propagation", "private", "sh", "-c",
                               f"umount -l {m.path}; exec \"$@\"", "sh", *command]
    again(m, holder)
    assert program("f.write(b'b')") == "1" and program("f.close()") == "None"
    assert bucket.get(m.key("f")) == b"ab"
    (m.path / "g").write_bytes(b"new")
    assert bucket.get(m.key("g")) == b"new"
    m.term()                                    # it cannot unmount it: it ends, and so does the connection
    assert m.wait_exit() == 0
    m.stopped = True
    with pytest.raises(OSError):
        os.listdir(m.path)
