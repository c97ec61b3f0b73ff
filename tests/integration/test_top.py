"""stateproxyctl top: in a terminal of 80 x 24, and as frames for scripts."""

import concurrent.futures
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

import pytest

from harness import CTL, SLOW, util

MB = 1 << 20
CONTROL = re.compile(r"\033\[\??[0-9]*[A-Za-z]")


def frames_of(m, n=2, delay="0.2"):
    out = m.ctl("top", "-b", "-n", n, "-d", delay).out
    frames = out.split("\n\n")
    assert len(frames) == n + 1 and frames[-1] == "", out
    return frames[:-1]


class Terminal:
    """top on a pseudo terminal. `text` is what it wrote so far."""

    def __init__(self, m, rows=24, columns=80):
        self.fd, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.child = child
        self.before = termios.tcgetattr(child)
        self.proc = subprocess.Popen(
            [CTL, "--socket", m.socket, "top", "-d", "0.1"], stdin=child, stdout=child,
            stderr=child, env=util.clean_env(TERM="dumb"), start_new_session=True)
        self.text = ""

    def read_until(self, condition, what):
        deadline = time.monotonic() + 20 * SLOW
        while not condition(self.text):
            assert time.monotonic() < deadline, f"{what}: {self.text[-3000:]!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                self.text += os.read(self.fd, 65536).decode()

    def screens(self):
        """Whole frames: their lines without the control sequences."""
        parts = self.text.split("\033[H")[1:-1]
        return [CONTROL.sub("", part).split("\r\n") for part in parts]

    def close(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        os.close(self.fd)
        os.close(self.child)


@pytest.fixture
def terminal():
    made = []

    def make(*args, **kwargs):
        made.append(Terminal(*args, **kwargs))
        return made[-1]
    yield make
    for t in made:
        t.close()


def test_frames(mount):
    m = mount()
    (m.path / "a.bin").write_bytes(b"x" * 100_000)
    first, last = frames_of(m)
    for frame in first, last:
        lines = frame.splitlines()
        assert lines[0].startswith("stateproxy /") and "running" in lines[0]
        assert f"bucket {m.bucket}" in lines[1] and "s3-buffered-lww" in lines[1]
        assert lines[2].startswith("workers 2  replaced 0  CPU ")
        assert len(lines) <= 24
    assert re.search(r"^  WRITE +\d+\.\d +\d+\.\d{3}$", first, re.MULTILINE), first
    assert "WRITE" not in last, "nothing was written between the two"


@contextlib.contextmanager
def held(proxy, function, *args, **match):
    """While function(*args) waits for a request that the proxy holds."""
    proxy.hold("held", **match)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(function, *args)
        try:
            proxy.wait_held("held")
            yield
        finally:
            proxy.release("held")
        running.result()


@pytest.mark.limit(90)
def test_progress_of_an_upload(mount, proxy):
    m = mount(via=proxy, env={"STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi",
                              "STATEPROXY_UPLOAD_PART_SIZE": "5Mi",
                              "STATEPROXY_UPLOAD_CONCURRENCY": "1"})
    name = "odd \n\x1b[2J \"name\""
    with held(proxy, (m.path / name).write_bytes, b"z" * 20 * MB, op="UploadPart", skip=2):
        shown = util.wait_until(lambda: re.search(
            r"^  upload +50%  10M of 20M +(.*)$", frames_of(m, 1)[0], re.MULTILINE), 20, "the half")
        assert shown[1] == r'/odd \x0a\x1b[2J "name"'
    assert " upload " not in frames_of(m, 1)[0]


@pytest.mark.limit(90)
def test_progress_of_a_rename(mount, proxy, bucket):
    m = mount(via=proxy)
    bucket.put_many((m.key(f"dir/{i:03d}"), b"x") for i in range(100))
    with held(proxy, (m.path / "dir").rename, m.path / "other", op="CopyObject", skip=40):
        shown = util.wait_until(lambda: re.search(
            r"^  rename +(\d+) keys, \d+ s +/dir$", frames_of(m, 1)[0], re.MULTILINE), 20, "the rename")
        assert 1 <= int(shown[1]) <= 40
    assert len(list((m.path / "other").iterdir())) == 100


def test_a_terminal(mount, terminal):
    m = mount()
    stop = threading.Event()

    def work():
        while not stop.is_set():
            (m.path / ("long-" + "é" * 100)).write_bytes(b"x")
            os.listdir(m.path)
    worker = threading.Thread(target=work)
    worker.start()
    try:
        t = terminal(m)
        t.read_until(lambda text: text.count("\033[H") > 8, "some frames")
    finally:
        stop.set()
        worker.join()
    screens = t.screens()
    assert len(screens) >= 6
    for lines in screens[1:]:
        assert 8 <= len(lines) <= 24, lines
        assert all(len(line) <= 80 for line in lines), lines
        assert lines[0].startswith("stateproxy ")
    assert termios.tcgetattr(t.child)[3] & termios.ECHO == 0
    os.write(t.fd, b"q")
    assert t.proc.wait(20 * SLOW) == 0
    t.read_until(lambda text: text.endswith("\033[?25h\r\n"), "the cursor")
    assert termios.tcgetattr(t.child) == t.before


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_the_terminal_as_it_was(mount, terminal, sig):
    t = terminal(mount(), rows=10, columns=30)
    t.read_until(lambda text: text.count("\033[H") > 3, "some frames")
    t.proc.send_signal(sig)
    assert t.proc.wait(20 * SLOW) == 0
    t.read_until(lambda text: text.endswith("\033[?25h\r\n"), "the cursor")
    assert termios.tcgetattr(t.child) == t.before
    assert all(len(line) <= 30 for lines in t.screens()[1:] for line in lines)


def test_the_daemon_ends_meanwhile(mount, terminal):
    m = mount()
    t = terminal(m)
    t.read_until(lambda text: text.count("\033[H") > 3, "some frames")
    m.stop()
    assert t.proc.wait(20 * SLOW) == 1
    t.read_until(lambda text: "stateproxyctl: " in text, "the reason")
    assert termios.tcgetattr(t.child) == t.before


@pytest.mark.parametrize("args", [("-n", "0"), ("-n", "x"), ("-d", "0"), ("-d", "nan"), ("-d", "-1"),
                                  ("-n", "-3"), ("-d", "1x")])
def test_wrong_arguments(mount, args):
    m = mount()
    done = m.ctl("top", "-b", *args, check=False)
    assert done.code == 2 and "wrong value" in done.err
