"""The whole daemon dies and is started anew, while the service manager keeps its descriptors
(daemon.fdstore): programs see a pause, and no error."""

import json
import os
import random
import subprocess
import sys
import time

import pytest

from harness import CTL, PROGRAMS, SLOW, util
from harness.connector import Connector
from harness.fdstore import FdStore
from harness.pattern import pattern
from harness.work import FILE_INCREMENT

LWW, CAS, STREAM = "s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"
PYTHON = [sys.executable, "-B"]
DEATHS = int(os.environ.get("STATEPROXY_TEST_DEATHS", "5"))
SESSIONS = "16"         # buffer.sessions: two descriptors each


@pytest.fixture
def store(scratch):
    s = FdStore(scratch)
    yield s
    s.close()


@pytest.fixture
def kept(mount, store):
    """kept(variant, ...) -> a Mount whose descriptors `store` has."""
    def make(variant=LWW, env=None, start=True, **kwargs):
        m = mount(variant=variant, start=False,
                  env={"NOTIFY_SOCKET": store.path, "STATEPROXY_DAEMON_FDSTORE": "true",
                       "STATEPROXY_BUFFER_SESSIONS": SESSIONS, **(env or {})}, **kwargs)
        m.wrap = store.wrap
        if start:
            m.start()
            util.wait_until(store.has_all, what="all in the store")
        return m
    return make


# Runs each line, and prints what it gives. It has files open; the test must not (FdStore).
PROGRAM = """
import os, sys
for line in sys.stdin:
    try:
        try:
            print(repr(eval(line)), flush=True)
        except SyntaxError:
            exec(line)
            print("None", flush=True)
    except OSError as e:
        print("OSError", e.errno, flush=True)
"""


class Program:
    def __init__(self):
        self.proc = util.spawn([*PYTHON, "-c", PROGRAM], stdin=subprocess.PIPE)

    def __call__(self, line):
        """Says `line`, and waits for the answer."""
        self.say(line)
        return self.proc.stdout.readline().decode().strip()

    def say(self, line):
        self.proc.stdin.write(line.encode() + b"\n")
        self.proc.stdin.flush()


@pytest.fixture
def program():
    p = Program()
    yield p
    p.proc.kill()
    p.proc.communicate()


def die(m, store):
    store.nobody_serves()
    m.kill_all()


def again(m, store, how="taken over, all processes are there"):
    m.log_path.unlink()
    m.start()
    util.wait_until(lambda: how in m.log() and store.has_all(), what=how)


@pytest.fixture(params=[LWW, CAS, STREAM])
def variant(request):
    return request.param


def test_open_files_and_unpublished_bytes(kept, store, bucket, program, variant):
    m = kept(variant)
    old, big = pattern(300_000, 1), pattern(6 << 20, 2)
    bucket.put(m.key("old"), old)
    (m.dir / "big").write_bytes(big)
    program(f"os.chdir({str(m.path)!r})")
    program("old, new, big = open('old', 'rb'), open('new', 'wb', 0), open('big', 'wb', 0)")
    assert program("old.read(1000)") == repr(old[:1000])
    assert program("new.write(b'before ')") == "7"
    assert program(f"big.write(open({str(m.dir / 'big')!r}, 'rb').read())") == str(len(big))
    die(m, store)
    again(m, store)
    assert program("old.seek(200_000)") == "200000" and program("old.read()") == repr(old[200_000:])
    assert program("new.write(b'after')") == "5" and program("big.write(b'end')") == "3"
    assert program("new.close()") == "None" and program("big.close()") == "None"
    assert bucket.get(m.key("new")) == b"before after"
    assert bucket.get(m.key("big")) == big + b"end"
    program("old.close()")
    program("os.chdir('/')")
    assert util.mount_count(m.path) == 1 and " warn " not in m.log()
    assert not store.watched            # each request would wake the service manager
    m.check()
    m.stop()
    util.wait_until(lambda: not store.held, what="an empty store")


def test_programs_wait_and_have_no_error(kept, store, bucket, proxy):
    """A copy, a read that S3 has not answered, a close whose upload is on its way; and who comes while
    there is no daemon."""
    m = kept(via=proxy)
    bucket.put(m.key("src"), pattern(8 << 20, 3))
    proxy.hold("put", when="after", op="PutObject", key=m.key("closing"))
    copy = util.spawn([*PYTHON, "-c", "import shutil, sys; shutil.copyfile(sys.argv[1], sys.argv[2])",
                       m.path / "src", m.path / "dst"])
    close = util.spawn([*PYTHON, PROGRAMS / "fileop.py", "write", m.path / "closing", 100_000, 1])
    proxy.wait_held("put")
    die(m, store)
    late = util.spawn(["cmp", m.path / "src", m.path / "src"])
    proxy.release("put")
    again(m, store)
    util.finish(copy)
    assert json.loads(util.finish(close).out)["error"] is None
    assert late.wait(20 * SLOW) == 0
    assert bucket.get(m.key("dst")) == pattern(8 << 20, 3)
    assert bucket.get(m.key("closing")) == pattern(100_000, 1)
    m.check()


def test_no_update_is_lost(kept, store, bucket, seed):
    """Programs that count with compare-and-set, while the daemon dies again and again."""
    m = kept(CAS)
    draw = random.Random(seed)
    bucket.put(m.key("n"), b"0")
    counters = [util.spawn([*PYTHON, "-c", FILE_INCREMENT, m.path / "n", 40]) for _ in range(3)]
    deaths = 0
    while any(c.poll() is None for c in counters) and deaths < DEATHS:
        time.sleep(draw.uniform(0, 0.2))
        die(m, store)
        again(m, store)
        deaths += 1
    for c in counters:
        util.finish(c, 60 * SLOW)
    assert bucket.get(m.key("n")) == b"120" and deaths
    m.check()


def test_connector(kept, store, bucket, scratch):
    path = scratch / "c.sock"
    m = kept(env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": path})
    con = Connector(path)
    assert con.put("k", b"1").status == 204
    die(m, store)
    with con.raw() as waits:            # it is accepted by the next one
        waits.send(b"GET /keys/k HTTP/1.1\r\n\r\n")
        again(m, store)
        assert waits.answer().body == b"1"
    m.stop()


def test_a_restart_in_place_between(kept, store, bucket, program):
    m = kept()
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    record = store.records()
    assert m.ctl("restart", timeout=60).out == "restarted in place\n"
    util.wait_until(lambda: len(store.records()) == 1 and store.records() != record, what="the new record")
    die(m, store)
    again(m, store)
    assert program("f.write(b'b')") == "1" and program("f.close()") == "None"
    assert bucket.get(m.key("f")) == b"ab"
    m.stop()


# -- left on purpose (stateproxyctl leave): a restart by the service manager


def leaving(m, config):
    """stateproxyctl leave, in the environment of the next daemon."""
    return util.run([CTL, "--config", config, "leave"], 60, check=False, env=util.clean_env(**m.env))


def leave(m, store, config=None):
    store.nobody_serves()
    done = leaving(m, config) if config else m.ctl("leave", timeout=60)
    assert (done.code, done.out) == (0, "left to the next daemon\n"), done
    assert m.wait_exit() == 79
    assert store.has_all() and util.mount_count(m.path) == 1 and m.socket.exists()


def test_leave(kept, store, bucket, program, scratch, variant):
    """The next one may have other values of what may change."""
    config = scratch / "c.yaml"
    config.write_text("log: {level: notice}\n")
    m = kept(variant, args=["--config", config])
    content = pattern(300_000, 1)
    bucket.put(m.key("old"), content)
    program(f"os.chdir({str(m.path)!r})")
    program("old, new = open('old', 'rb'), open('new', 'wb', 0)")
    assert program("old.read(1000)") == repr(content[:1000])
    assert program("new.write(b'before ')") == "7"
    config.write_text("log: {level: debug}\n")
    leave(m, store)
    log = m.log()
    assert "leaving what is open" in log and "ended exit=79" in log and "draining" not in log
    assert " warn " not in log and " err " not in log
    program.say("new.write(b'after')")          # it waits
    again(m, store)
    assert program.proc.stdout.readline() == b"5\n"
    assert program("old.seek(200_000)") == "200000" and program("old.read()") == repr(content[200_000:])
    assert program("new.close()") == "None" and bucket.get(m.key("new")) == b"before after"
    assert " debug " in m.log()
    program("old.close()")
    program("os.chdir('/')")
    m.check()
    m.stop()
    util.wait_until(lambda: not store.held, what="an empty store")


def test_no_update_is_lost_by_leaving(kept, store, bucket):
    m = kept(CAS)
    bucket.put(m.key("n"), b"0")
    counters = [util.spawn([*PYTHON, "-c", FILE_INCREMENT, m.path / "n", 40]) for _ in range(3)]
    left = 0
    while any(c.poll() is None for c in counters) and left < DEATHS:
        leave(m, store)             # also while its processes are still being taken over
        m.start()
        left += 1
    util.wait_until(store.has_all, what="all in the store")
    for c in counters:
        util.finish(c, 60 * SLOW)
    assert bucket.get(m.key("n")) == b"120" and left
    m.check()


def test_clients_of_the_connector_get_their_answers(kept, store, bucket, proxy, scratch):
    path = scratch / "c.sock"
    m = kept(env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": path}, via=proxy)
    bucket.put(m.key("k"), b"1")
    proxy.hold("get", when="after", op="GetObject", key=m.key("k"))
    with Connector(path).raw() as client:
        client.send(b"GET /keys/k HTTP/1.1\r\n\r\n")
        proxy.wait_held("get")
        store.nobody_serves()
        ctl = util.spawn([CTL, "--socket", m.socket, "leave"])
        util.wait_until(lambda: "leaving what is open" in m.log(), what="the leave")
        proxy.release("get")
        assert client.answer().body == b"1"
    util.finish(ctl)
    assert m.wait_exit() == 79
    again(m, store)
    assert Connector(path).get("k").body == b"1"
    m.stop()


def test_leave_is_refused(kept, store, mount, program, scratch):
    """Where the next one could not take over, and where nobody keeps anything: all goes on as before."""
    config = scratch / "c.yaml"
    config.write_text("prefix: p\n")
    m = kept(env={"STATE_PREFIX": None}, args=["--config", config])
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    config.write_text("prefix: q\n")
    done = leaving(m, config)
    assert done.code == 1 and "could not take over" in done.err and "cannot change while" in done.err
    config.write_text("prefix: p\nprefix: p\n")
    done = leaving(m, config)
    assert done.code == 1 and "c.yaml:2" in done.err
    config.write_text("prefix: p\nlog: {level: debug}\n")
    assert program("f.write(b'a')") == "1"
    leave(m, store, config)
    again(m, store)
    assert program("f.close()") == "None"
    m.stop()
    alone = mount()
    done = alone.ctl("leave", check=False)
    assert done.code == 1 and "daemon.fdstore" in done.err, done
    alone.stop()


# -- when it cannot be


def test_another_configuration(kept, store, bucket, program):
    """What is left is given up: programs get an error, and a new mount serves."""
    m = kept()
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    die(m, store)
    m.env["STATE_PREFIX"] = "other"
    again(m, store, "ready ")
    assert "not taken over" in m.log() and "prefix is now other" in m.log()
    assert program("f.write(b'x')") in ("OSError 107", "OSError 103")
    (m.path / "g").write_bytes(b"new")
    assert bucket.get("other/g") == b"new"
    m.stop()


def test_the_store_is_slow_to_drop(kept, store, scratch):
    """Nobody can connect to what is given up, so the next one may listen there."""
    path = scratch / "c.sock"
    m = kept(env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": path})
    die(m, store)
    store.slow = True
    m.env["STATE_PREFIX"] = "other"
    again(m, store, "ready ")
    assert "not taken over" in m.log() and Connector(path).put("k", b"1").status == 204
    store.hurry()
    m.stop()


def test_only_the_record_is_missing(kept, store, program):
    m = kept()
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    die(m, store)
    with store.lock:
        os.close(store.held.pop(*store.records()))
    again(m, store, "ready ")
    assert "its record is missing" in m.log() and util.mount_count(m.path) == 1
    assert program("f.write(b'x')") in ("OSError 107", "OSError 103")
    (m.path / "g").write_bytes(b"new")
    m.stop()


def test_the_configuration_is_being_written(kept, store, bucket, program, scratch):
    """It is waited for; then the daemon ends with a code after which it is started again."""
    config = scratch / "c.yaml"
    config.write_text("log: {level: notice}\n")
    m = kept(args=["--config", config])
    program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    assert program("f.write(b'a')") == "1"
    die(m, store)
    config.write_text("log: {level:")
    m.log_path.unlink()
    m.start(ready=False)
    assert m.wait_exit() == 75 and "cannot be taken over yet" in m.log()
    m.log_path.unlink()
    m.start(ready=False)
    time.sleep(0.3)                         # it has looked at the file: whenever, the result is the same
    config.write_text("log: {level: debug}\n")
    util.wait_until(lambda: "taken over, all processes are there" in m.log(), what="the take-over")
    assert program("f.write(b'b')") == "1" and program("f.close()") == "None"
    assert bucket.get(m.key("f")) == b"ab"
    m.stop()


@pytest.mark.parametrize("is_open", [False, True])
def test_unmounted_meanwhile(kept, store, bucket, program, is_open):
    """With an open file the kernel keeps the connection, which nobody can reach any more by its path."""
    m = kept()
    if is_open:
        program(f"f = open({str(m.path / 'f')!r}, 'wb', 0)")
    die(m, store)
    util.run(["umount", "-l", m.path])
    again(m, store, "ready ")
    assert "its mount is gone" in m.log() and util.mount_count(m.path) == 1
    (m.path / "g").write_bytes(b"new")
    assert bucket.get(m.key("g")) == b"new"
    if is_open:
        assert program("f.write(b'x')") in ("OSError 107", "OSError 103")
    m.stop()


def test_half_of_it_is_handed_in(kept, store):
    m = kept()
    die(m, store)
    with store.lock:
        names = [n for n in store.held if n not in store.records()]
        for n in names[::2]:
            os.close(store.held.pop(n))
    again(m, store, "ready ")
    assert "not taken over" in m.log() and util.mount_count(m.path) == 1
    (m.path / "g").write_bytes(b"new")
    m.stop()
