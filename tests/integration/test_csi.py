"""A CSI driver makes the mount, and the daemon, which may do nothing, gets its descriptor."""

import errno
import json
import os
import signal
import socket
import sys
import time

import pytest

from harness import EX_ABORTED, EX_CONFIG, EX_CREATE, EX_UNPUBLISHED, PROGRAMS, util
from harness.driver import USER, Driver, fuse_device, mount_fuse
from harness.fdstore import FdStore
from harness.pattern import pattern

PROTOCOLS = ["meta-fuse", "gcsfuse", "mountpoint"]
REPORTS = {"gcsfuse": "error", "mountpoint": "mount.err"}
UNPRIVILEGED = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs",
                "--bounding-set=-all", "--inh-caps=-all"]
PYTHON = [sys.executable, "-B"]


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    return request.param


@pytest.fixture
def pod(mount, bucket, scratch):
    """pod(protocol, ...) -> (a Mount that is not started, its Driver); both of them as in a pod."""
    drivers = []

    def make(protocol, env=None, unprivileged=True, **kwargs):
        folder = scratch / "volume"
        folder.mkdir(exist_ok=True)
        m = mount(start=False, env={"STATEPROXY_MOUNT_FD_PROTOCOL": protocol,
                                    "STATEPROXY_MOUNT_FD_TIMEOUT": "20s",
                                    "STATEPROXY_BUFFER_SESSIONS": "16", **(env or {})})
        driver = Driver(protocol, folder, m.path, bucket.bucket, **kwargs)
        drivers.append(driver)
        m.env["STATEPROXY_MOUNT_FD_SOCKET"] = driver.path
        if unprivileged:
            os.chmod(scratch, 0o755)
            for path in (m.dir, m.buffer_dir):
                os.chown(path, USER, USER)
            m.wrap = lambda *command: [*UNPRIVILEGED, *command]
        return m, driver

    yield make
    for d in drivers:
        d.close()


def ended(m, driver, code=0):
    """The daemon is gone; the driver takes the mount away."""
    assert m.wait_exit() == code, m.log()
    driver.unmount()
    m._check_gone("after its end")
    m.stopped = True


def stop(m, driver):
    m.term()
    assert m.wait_exit() == 0, m.log()
    with pytest.raises(OSError) as e:       # what only the driver can remove
        os.listdir(m.path)
    assert e.value.errno == errno.ENOTCONN
    ended(m, driver)


def report(m, driver):
    name = REPORTS.get(driver.protocol)
    path = driver.folder / name if name else None
    return path.read_text() if path and path.exists() else None


# -- it serves


@pytest.mark.parametrize("pieces", [1, 5])
def test_read_and_write(pod, bucket, protocol, pieces):
    m, driver = pod(protocol, pieces=pieces)
    bucket.put(m.key("there"), pattern(300_000, 1))
    driver.publish()
    m.start()
    driver.finish()
    assert (m.path / "there").read_bytes() == pattern(300_000, 1)
    (m.path / "new").write_bytes(pattern(200_000, 2))
    assert bucket.get(m.key("new")) == pattern(200_000, 2)
    assert os.stat(m.path / "there").st_uid == USER
    assert not driver.path.exists() and report(m, driver) is None
    assert "has handed over its mount" in m.log()
    assert not [x for x in m.log().splitlines() if " warn " in x and ("driver" in x or "mount.fd" in x)]
    assert "arn:secret" not in m.log()
    assert m.status()["mount"] == str(m.path)
    m.check()
    stop(m, driver)


def test_by_number(pod, bucket):
    """/dev/fd/N: the same, from a program that has the descriptor."""
    m, driver = pod("meta-fuse", env={"STATEPROXY_MOUNT_FD_PROTOCOL": None})
    del m.env["STATEPROXY_MOUNT_FD_SOCKET"]
    m.env["STATE_MOUNT"] = "/dev/fd/3"
    fd = mount_fuse("somebody", m.path)
    m.wrap = lambda *command: [*PYTHON, "-c", "import os, socket, sys\n"
                               "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
                               "fd = socket.recv_fds(s, 1, 1)[1][0]; os.dup2(fd, 3, inheritable=True)\n"
                               "os.execv(sys.argv[2], sys.argv[2:])", driver.path, *command]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(driver.path))
        listener.listen()
        m.start(ready=False)
        conn, _ = listener.accept()
        socket.send_fds(conn, [b"x"], [fd])
        os.close(fd)
        conn.close()
        m.wait_ready()
    (m.path / "new").write_bytes(b"text")
    assert bucket.get(m.key("new")) == b"text"
    stop(m, driver)


def test_without_a_name(pod, protocol):
    """mount.path is what it is called, by default as the socket."""
    m, driver = pod(protocol, env={"STATE_MOUNT": None})
    driver.publish()
    m.start()
    assert m.status()["mount"] == str(driver.path)
    (m.path / "new").write_bytes(b"text")
    stop(m, driver)


def test_the_socket_comes_late(pod, protocol):
    m, driver = pod(protocol)
    m.start(ready=False)
    util.wait_until(lambda: "waiting for the CSI driver" in m.log(), what="the daemon to wait")
    driver.publish()
    m.wait_ready()
    driver.finish()
    (m.path / "new").write_bytes(b"text")
    stop(m, driver)


def switches(pid):
    """How often it has gone to sleep."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(x.split()[1]) for x in f if x.startswith("voluntary_ctxt_switches"))


@pytest.mark.parametrize("protocol", ["meta-fuse", "gcsfuse"])
def test_the_socket_comes_late_and_its_owner_later(pod, protocol):
    """Denied once, after it has waited for longer than it may be denied (FUSE_FD_DENIED_MS)."""
    def denied_once():
        before = switches(m.proc.pid)
        util.wait_until(lambda: m.proc.poll() is not None or switches(m.proc.pid) >= before + 3,
                        what="the daemon to try again")

    m, driver = pod(protocol, before_chown=denied_once)
    m.start(ready=False)
    util.wait_until(lambda: "waiting for the CSI driver" in m.log(), what="the daemon to wait")
    time.sleep(1.1)
    driver.publish()
    m.wait_ready()
    driver.finish()
    stop(m, driver)


def test_who_only_looks(pod):
    """A connection that says nothing, at the socket of the daemon's own."""
    m, driver = pod("mountpoint")
    m.start(ready=False)
    util.wait_until(lambda: "waiting for the CSI driver" in m.log(), what="the daemon to wait")
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.fspath(driver.path))
    driver.publish()
    m.wait_ready()
    stop(m, driver)


# -- what is of no use


WRONG = {
    "no JSON": ({"message": b"{'bucketName': 1}"}, EX_CREATE, ["no JSON (line 1, column"]),
    "half of it": ({"message": b'{"bucketName": "x'}, EX_CREATE, ["no JSON"]),
    "two of them": ({"message": b"{}{}"}, EX_CREATE, ["no JSON"]),
    "a list": ({"message": b"[]"}, EX_CREATE, ["no JSON object"]),
    "a NUL": ({"message": b"{}\0"}, EX_CREATE, ["no JSON"]),
    "not UTF-8": ({"message": b'{"volumeName": "\xff"}'}, EX_CREATE, ["no JSON"]),
    "too deep": ({"message": b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}"}, EX_CREATE, ["too deep"]),
    "too long": ({"message": b" " * 70_000 + b"{}"}, EX_CREATE, ["more than 65536 bytes"]),
    "a number": ({"message": b'{"bucketName": 7}'}, EX_CREATE, ["bucketName is not a string"]),
    "no descriptor": ({"give": lambda fd: []}, EX_CREATE, ["no descriptor came"]),
    "two descriptors": ({"give": lambda fd: [fd, fuse_device()]}, EX_CREATE, ["more than one descriptor"]),
    "nine descriptors": ({"give": lambda fd: [fd, *[os.dup(fd) for _ in range(8)]]}, EX_CREATE,
                         ["more than one descriptor"]),
    "a file": ({"give": lambda fd: [os.open("/dev/null", os.O_RDWR)]}, EX_CREATE, ["not one of /dev/fuse"]),
    "not mounted": ({"give": lambda fd: [fuse_device()]}, EX_CREATE, ["does not belong to a mount"]),
    "another bucket": ({"message": b'{"bucketName": "another-one"}'}, EX_CONFIG,
                       ['of bucket "another-one"', "STATE_BUCKET"]),
}


def refused(m, driver, code, *words):
    got, lines = m.start_refused(20)
    assert got == code and len(lines) == 1, m.log()
    for word in ("mount.fd_socket", *words):
        assert word in lines[0], lines[0]
    told = report(m, driver)
    assert (told is not None) == (driver.protocol in REPORTS)
    assert told is None or (words[-1] in told and told.endswith("\n"))
    return lines[0]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_messages(pod, bucket, wrong):
    """Of one protocol each: they share what is tried here."""
    protocol = PROTOCOLS[list(WRONG).index(wrong) % 3]
    how, code, words = WRONG[wrong]
    m, driver = pod(protocol, **how)
    driver.publish()
    refused(m, driver, code, *words)


@pytest.mark.parametrize("protocol, words, word", [
    ("gcsfuse", {"options": ["only-dir=other"]}, 'of prefix "other"'),
    ("gcsfuse", {"options": "only-dir=p"}, "options is not a list"),
    ("mountpoint", {"args": ["--prefix=p/other/"]}, 'of prefix "p/other"'),
    ("mountpoint", {"args": ["--prefix p/other"]}, 'of prefix "p/other"'),
    ("mountpoint", {"args": [{"a": 1}]}, "member that is not a string"),
    ("mountpoint", {"env": ["A=1"] * 300}, "more than 256 members"),
], ids=str)
def test_wrong_options(pod, bucket, protocol, words, word):
    m, driver = pod(protocol, message=json.dumps({"bucketName": bucket.bucket, **words}).encode())
    driver.publish()
    refused(m, driver, EX_CONFIG if "prefix" in word else EX_CREATE, word)


@pytest.mark.parametrize("protocol, words, told", [
    ("gcsfuse", {"options": ["only-dir=p", "uid=7"]}, "options_ignored=uid"),
    ("mountpoint", {"args": ["--prefix=p/", "--cache /x"], "env": None}, "options_ignored=cache"),
    ("mountpoint", {"args": None, "env": ["\033[31m=1", "TOKEN=hidden"]}, "options_ignored=...,TOKEN"),
    ("mountpoint", {"bucketName": None, "unknown": {}}, "protocol=mountpoint"),
], ids=str)
def test_what_is_ignored(pod, bucket, protocol, words, told):
    """The same bucket and prefix are said, or none; the rest is named, and no value is."""
    m, driver = pod(protocol, message=json.dumps({"bucketName": bucket.bucket, **words}).encode())
    driver.publish()
    m.start()
    (line,) = [x for x in m.log().splitlines() if "has handed over" in x]
    assert line.endswith(told), line
    assert "hidden" not in m.log()
    stop(m, driver)


# -- nothing comes


SHORT = {"STATEPROXY_MOUNT_FD_TIMEOUT": "1s"}


def test_nobody_is_there(pod, protocol):
    m, driver = pod(protocol, env=SHORT)
    line = refused(m, driver, EX_CREATE, "within 1s (mount.fd_timeout)")
    if protocol != "mountpoint":
        assert "there is no such socket" in line and "delete the pod" in line


def test_the_driver_has_gone(pod):
    """Its socket is left."""
    m, driver = pod("meta-fuse", env=SHORT)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.fspath(driver.path))
    os.chown(driver.path, USER, USER)
    refused(m, driver, EX_CREATE, "nobody listens there", "delete the pod")


def test_the_socket_is_anothers(pod):
    m, driver = pod("meta-fuse")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.fspath(driver.path))
        s.listen()
        refused(m, driver, EX_CREATE, f"permission denied to user {USER}", "runAsUser")


def test_sigterm_while_it_waits(pod, protocol):
    m, driver = pod(protocol)
    m.start(ready=False)
    util.wait_until(lambda: "waiting for the CSI driver" in m.log(), what="the daemon to wait")
    m.term()
    ended(m, driver)
    assert m.errors() == [] and "asked to end" in m.log()


def test_the_driver_asks_to_end(pod):
    """mount.exit, before anything was mounted."""
    m, driver = pod("mountpoint", env=SHORT)
    (driver.folder / "mount.exit").touch()
    m.start(ready=False)
    ended(m, driver)
    assert m.errors() == [] and report(m, driver) is None


def test_s3_refuses(pod, protocol):
    """The driver hears of it, and has still got the descriptor where it listens: for the next start."""
    m, driver = pod(protocol, env={"AWS_SECRET_ACCESS_KEY": "wrong"})
    driver.publish()
    code, lines = m.start_refused(20)
    assert code == EX_CONFIG and "secret key" in lines[0]
    told = report(m, driver)
    assert told is None if protocol == "meta-fuse" else "secret key" in told
    if protocol == "mountpoint":
        return
    m.env["AWS_SECRET_ACCESS_KEY"] = "testsecret0123456789"
    m.log_path.unlink()
    m.start()
    assert report(m, driver) is None
    stop(m, driver)


# -- the mount goes on, and ends


def test_unmounted_by_the_driver(pod, protocol):
    m, driver = pod(protocol)
    driver.publish()
    m.start()
    m.proc.send_signal(signal.SIGWINCH)     # what is to be sent in place of SIGTERM, to go on
    (m.path / "new").write_bytes(b"text")
    assert m.status()["phase"] == "running"
    driver.end()
    ended(m, driver)
    assert "unmounted from outside" in m.log()


def test_unmounted_for_another_try(pod):
    """Without mount.exit: the driver of Mountpoint will connect again."""
    m, driver = pod("mountpoint")
    driver.publish()
    m.start()
    driver.unmount()
    ended(m, driver, EX_ABORTED)
    assert report(m, driver) is None


def test_sigterm_with_an_open_file(pod, bucket, protocol):
    """It cannot unmount: it publishes, serves what is open, and ends when that is closed."""
    m, driver = pod(protocol)
    bucket.put(m.key("old"), pattern(1_000_000, 3))
    driver.publish()
    m.start()
    fd = os.open(m.path / "old", os.O_RDONLY)
    try:
        m.term()
        util.wait_until(lambda: m.status()["phase"] == "lingering", what="the end of all uploads")
        with pytest.raises(OSError):
            os.open(m.path / "other", os.O_WRONLY | os.O_CREAT)
        assert os.pread(fd, 1_000_000, 0) == pattern(1_000_000, 3)
    finally:
        os.close(fd)
    ended(m, driver)


def test_forced(pod, proxy, bucket):
    """A second SIGTERM, with an open file and an upload that does not end: nothing waits for them."""
    m, driver = pod("gcsfuse", env={"AWS_ENDPOINT_URL": proxy.endpoint})
    bucket.put(m.key("old"), pattern(1000, 3))
    driver.publish()
    m.start()
    proxy.hold("put", when="before", op="PutObject")
    writer = util.spawn([*PYTHON, PROGRAMS / "fileop.py", "write", m.path / "new", 100_000, 1])
    fd = os.open(m.path / "old", os.O_RDONLY)
    proxy.wait_held("put")
    m.term()
    util.wait_until(lambda: m.status()["phase"] == "draining", what="the drain")
    m.term()
    assert m.wait_exit(10) == EX_UNPUBLISHED, m.log()
    with pytest.raises(OSError) as e:
        os.close(fd)
    assert e.value.errno == errno.ENOTCONN
    assert json.loads(util.finish(writer, check=False).out)["at"] == "close"
    assert "not published" in m.log() and "exit code 1" in report(m, driver)
    driver.unmount()
    m._check_gone("after its end")
    m.stopped = True


def die(m):
    m.kill_all()
    m.log_path.unlink()


def test_killed_and_started_again(pod, bucket, protocol):
    """Programs get an error at once; the next start serves what the driver gives it then."""
    m, driver = pod(protocol)
    driver.publish()
    m.start()
    driver.finish()
    die(m)
    with pytest.raises(OSError) as e:
        os.listdir(m.path)
    # (the last of them may still be closing what it has)
    assert e.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    if protocol != "mountpoint":
        long = m.env["STATEPROXY_MOUNT_FD_TIMEOUT"]
        m.env.update(SHORT)
        refused(m, driver, EX_CREATE, "delete the pod")
        m.env["STATEPROXY_MOUNT_FD_TIMEOUT"] = long
        m.log_path.unlink()
    driver.unmount()            # it notices, or the pod is a new one
    driver.publish()
    m.start()
    (m.path / "new").write_bytes(b"text")
    assert bucket.get(m.key("new")) == b"text"
    stop(m, driver)


def test_restart_in_place_and_a_worker_killed(pod, bucket):
    m, driver = pod("gcsfuse")
    driver.publish()
    m.start()
    with open(m.path / "new", "wb", buffering=0) as f:
        f.write(b"before ")
        assert m.ctl("restart", timeout=60).out == "restarted in place\n"
        f.write(b"then ")
        killed = m.kill_workers()
        m.wait_workers(2, without=killed)
        f.write(b"after")
    assert bucket.get(m.key("new")) == b"before then after"
    m.check()
    stop(m, driver)


def test_all_killed_with_a_store(pod, bucket, scratch):
    """daemon.fdstore has a copy: the next daemon needs no driver."""
    store = FdStore(scratch)
    try:
        m, driver = pod("meta-fuse", unprivileged=False,
                        env={"NOTIFY_SOCKET": store.path, "STATEPROXY_DAEMON_FDSTORE": "true"})
        m.wrap = store.wrap
        driver.publish()
        m.start()
        util.wait_until(store.has_all, what="all in the store")
        store.nobody_serves()
        die(m)
        m.start()
        assert "taking over" in m.log() and "waiting for the CSI driver" not in m.log()
        (m.path / "new").write_bytes(b"text")
        assert bucket.get(m.key("new")) == b"text"
        m.term()
        ended(m, driver)
        util.wait_until(lambda: not store.held, what="an empty store")
    finally:
        store.close()
