"""stateproxyd as a service: starting, refusing to start, stopping, being killed, being watched."""

import json
import os
import re
import signal
import socket
import sys
import threading
import time

import pytest

from harness import BIN_DIR, EX_CONFIG, EX_CREATE, EX_S3, EX_UNPUBLISHED, PROGRAMS, SLOW, util
from harness.notify import NotifySocket
from harness.pattern import pattern

FILEOP = [sys.executable, "-B", PROGRAMS / "fileop.py"]


@pytest.fixture
def notify(scratch):
    sock = NotifySocket(scratch)
    yield sock
    sock.close()


# -- stopping


def test_it_starts_serves_and_stops(mount):
    m = mount()
    assert util.mount_entry(m.path)[1].startswith("fuse")
    (m.path / "f.txt").write_bytes(b"x")
    m.stop()


def test_sigint_stops_too(mount):
    m = mount()
    m.proc.send_signal(signal.SIGINT)
    assert m.wait_exit() == 0
    assert util.mount_entry(m.path) is None
    m.stopped = True


@pytest.mark.parametrize("when", ["before", "mid", "after"])
def test_sigterm_lets_an_upload_finish(mount, proxy, bucket, notify, when):
    m = mount(via=proxy, env={"NOTIFY_SOCKET": notify.path})
    proxy.hold("h", when=when, op="PutObject")
    writer = util.spawn([*FILEOP, "write", m.path / "f.bin", 2_000_000, 1])
    proxy.wait_held("h")
    m.term()
    notify.wait("STOPPING", "1")
    assert m.proc.poll() is None and writer.poll() is None
    proxy.release("h")
    assert json.loads(util.finish(writer).out)["error"] is None
    assert m.wait_exit() == 0
    assert bucket.get(m.key("f.bin")) == pattern(2_000_000, 1)
    m._check_gone("after SIGTERM in the middle of an upload")
    m.stopped = True


def test_sigterm_publishes_what_was_written_and_not_closed(mount, bucket):
    """A program that has a file open when the mount goes away: either it is published before the
    daemon says that all is well, or the program is told."""
    m = mount(env={"STATEPROXY_DAEMON_DRAIN_TIMEOUT": "2s"})
    fd = os.open(m.path / "f.txt", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"content")
    m.term()
    m.wait_exit()
    try:
        os.close(fd)
        told = False
    except OSError:
        told = True
    assert bucket.exists(m.key("f.txt")) or told
    if bucket.exists(m.key("f.txt")):
        assert bucket.get(m.key("f.txt")) == b"content"
    assert util.mount_entry(m.path) is None
    m.stopped = True


def test_a_second_sigterm_forces(mount, proxy, notify):
    m = mount(via=proxy, env={"NOTIFY_SOCKET": notify.path})
    proxy.hold("h", op="PutObject")
    writer = util.spawn([*FILEOP, "write", m.path / "f.bin", 1000, 1])
    proxy.wait_held("h")
    m.term()
    notify.wait("STOPPING", "1")
    assert m.proc.poll() is None
    m.term()
    assert m.wait_exit(10) == EX_UNPUBLISHED, "what was not finished is not said to be well"
    assert json.loads(util.finish(writer, 10, check=False).out)["error"]
    util.wait_until(lambda: not m.processes(), what="the end of its processes")
    assert util.mount_entry(m.path) is None
    m.stopped = True


def test_the_drain_ends_at_its_deadline(mount, proxy):
    m = mount(via=proxy, env={"STATEPROXY_DAEMON_DRAIN_TIMEOUT": "1s"})
    proxy.hold("h", op="PutObject")
    writer = util.spawn([*FILEOP, "write", m.path / "f.bin", 1000, 1])
    proxy.wait_held("h")
    start = time.monotonic()
    m.term()
    assert m.wait_exit(15) == EX_UNPUBLISHED
    assert time.monotonic() - start >= 0.9
    assert json.loads(util.finish(writer, 10, check=False).out)["error"]
    assert util.mount_entry(m.path) is None and not m.processes()
    m.stopped = True


def test_it_stops_while_a_shell_sits_in_the_mount(mount):
    m = mount(env={"STATEPROXY_DAEMON_DRAIN_TIMEOUT": "2s"})
    (m.path / "d").mkdir()
    sitter = util.spawn("echo in; read x", cwd=m.path / "d", stdin=-1)
    assert sitter.stdout.readline() == b"in\n"
    m.stop()
    util.finish(sitter, check=False)


def test_it_stops_while_the_server_is_away(mount, proxy):
    m = mount(via=proxy)
    (m.path / "f.txt").write_bytes(b"x")
    proxy.block()
    m.stop()


def test_stopping_is_quick_when_nothing_is_open(mount):
    m = mount()
    start = time.monotonic()
    m.stop()
    assert time.monotonic() - start < 3 * SLOW


# -- killed


def test_the_supervisor_killed_and_started_again(mount, bucket, guard):
    m = mount()
    (m.path / "f.txt").write_bytes(b"x")
    m.kill_supervisor()                 # asserts that the workers end
    with pytest.raises(OSError):
        os.listdir(m.path)              # a stale mount
    again = mount(mountpoint=m.path)
    assert (again.path / "f.txt").read_bytes() == b"x"
    assert util.mount_count(m.path) == 1
    again.stop()


def test_the_supervisor_killed_with_the_same_control_socket(mount):
    """As a service manager starts it again: the same configuration, the old socket in the way."""
    m = mount()
    m.kill_supervisor()
    m.log_path.unlink()
    m.start()
    (m.path / "f.txt").write_bytes(b"x")
    m.check()
    m.stop()


def test_the_supervisor_killed_while_a_program_waits(mount, proxy):
    m = mount(via=proxy)
    proxy.hold("h", op="PutObject")
    writer = util.spawn([*FILEOP, "write", m.path / "f.bin", 1000, 1])
    proxy.wait_held("h")
    m.kill_supervisor()
    out = json.loads(util.finish(writer, 20, check=False).out)
    assert out["error"], "no false success"
    proxy.release("h", "drop")


def test_every_worker_is_replaced(mount):
    m = mount(workers=3)
    old = m.worker_pids()
    assert len(old) == len(set(old)) == 3
    for pid in old:
        util.kill(pid)
    new = m.wait_workers(3, without=old)
    assert m.proc.poll() is None and not set(new) & set(old)
    (m.path / "f.txt").write_bytes(b"x")
    m.check()


def test_a_crash_loop_backs_off_and_still_serves(mount):
    """Workers that crash again and again are not started without end, and what works works."""
    m = mount(workers=2)
    stop = threading.Event()
    crashes = []

    def crash():
        while not stop.is_set():
            for pid in util.children(m.proc.pid):
                if pid in workers:
                    util.kill(pid, util.CRASH_SIGNAL)
                    crashes.append(pid)
            stop.wait(0.02)

    class Workers:
        """Asks the daemon each time: who is a worker now."""
        def __contains__(self, pid):
            return pid in m.worker_pids()

    workers = Workers()
    thread = threading.Thread(target=crash)
    thread.start()
    try:
        stop.wait(3.0)
    finally:
        stop.set()
        thread.join(30)
    assert m.proc.poll() is None
    assert 4 <= len(set(crashes)) < 100, "it has to back off"
    m.wait_workers(2, timeout=40)
    out = json.loads(util.run([*FILEOP, "write", m.path / "f.txt", 1000, 1], 60).out)
    assert out["error"] is None
    m.check()


def test_a_crash_is_logged_with_its_signal(mount):
    m = mount()
    (pid, *_) = m.worker_pids()
    util.kill(pid, util.CRASH_SIGNAL)
    m.wait_workers(2, without=[pid])
    assert [x for x in m.log().splitlines() if str(pid) in x
            and f"signal={util.CRASH_SIGNAL.value} " in x]


# -- refusing to start: one clear line, the right exit code, within seconds


def refused(m, code, *words):
    got, lines = m.start_refused(10)
    assert len(lines) == 1, m.log()
    assert got == code, m.log()
    for word in words:
        assert word in lines[0], lines[0]


def test_a_wrong_secret(mount):
    m = mount(start=False, env={"AWS_SECRET_ACCESS_KEY": "notthesecret"})
    refused(m, EX_CONFIG, "secret key")
    assert "notthesecret" not in m.log()


def test_a_wrong_access_key(mount):
    refused(mount(start=False, env={"AWS_ACCESS_KEY_ID": "nobody"}), EX_CONFIG, "access key")


def test_no_credentials(mount):
    refused(mount(start=False, env={"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}),
            EX_CONFIG, "credentials")


def test_a_wrong_bucket(mount):
    refused(mount(start=False, env={"STATE_BUCKET": "no-such-bucket"}), EX_CONFIG,
            "no-such-bucket")


def test_a_wrong_region(mount):
    """The server says which is right: either it is taken, or it is told."""
    m = mount(start=False, env={"AWS_REGION": "eu-west-1"})
    m.start(ready=False)
    util.wait_until(lambda: "ready" in m.log() or m.proc.poll() is not None, 10)
    if m.proc.poll() is None:
        (m.path / "f.txt").write_bytes(b"x")
        m.stop()
    else:
        assert m.proc.returncode == EX_CONFIG and "us-east-1" in m.log()
        m.stopped = True


def test_an_endpoint_where_nobody_listens(mount):
    with socket.socket() as sock:           # bound, not listening: connections are refused
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        m = mount(start=False, via=f"http://127.0.0.1:{port}")
        refused(m, EX_S3, f"127.0.0.1:{port}")


def test_an_endpoint_that_never_answers(mount, proxy):
    proxy.block("blackhole")
    m = mount(start=False, via=proxy, env={"STATEPROXY_S3_DEADLINE": "3s",
                                           "STATEPROXY_S3_ATTEMPT_TIMEOUT": "1s"})
    refused(m, EX_S3, f"127.0.0.1:{proxy.port}")
    proxy.unblock()


def test_an_endpoint_that_is_no_s3_server(mount, proxy):
    proxy.add_rule("answer", status=200, body="<html>hello</html>",
                   headers={"Content-Type": "text/html"})
    code, lines = mount(start=False, via=proxy).start_refused()
    assert code in (EX_CONFIG, EX_S3) and len(lines) == 1


def test_a_name_that_does_not_resolve(mount):
    code, lines = mount(start=False, via="http://nowhere.invalid:9000").start_refused(20)
    assert code in (EX_CONFIG, EX_S3)
    assert len(lines) == 1 and "nowhere.invalid" in lines[0]


def test_access_denied(mount, proxy):
    proxy.add_rule("answer", status=403, code="AccessDenied")
    refused(mount(start=False, via=proxy), EX_CONFIG, "AccessDenied")


def test_a_missing_mount_point(mount, scratch):
    refused(mount(start=False, mountpoint=scratch / "nowhere"), EX_CREATE, str(scratch / "nowhere"))


def test_a_mount_point_that_is_a_file(mount, scratch):
    (scratch / "file").touch()
    refused(mount(start=False, mountpoint=scratch / "file"), EX_CREATE, str(scratch / "file"))


def test_a_mount_point_where_another_stateproxyd_serves(mount):
    first = mount()
    (first.path / "f.txt").write_bytes(b"x")
    second = mount(start=False, mountpoint=first.path)
    second.start(ready=False)
    assert second.wait_exit(10) == EX_CREATE, second.log()
    assert len(second.errors()) == 1 and str(first.path) in second.errors()[0]
    second.stopped = True
    assert util.mount_count(first.path) == 1
    assert (first.path / "f.txt").read_bytes() == b"x", "the first goes on"
    first.stop()


def test_a_buffer_directory_that_is_missing(mount, scratch):
    refused(mount(start=False, env={"STATEPROXY_BUFFER_DIR": scratch / "nowhere"}), EX_CREATE,
            str(scratch / "nowhere"))


def test_a_refused_start_leaves_no_mount(mount):
    m = mount(start=False, env={"STATE_BUCKET": "no-such-bucket"})
    m.start_refused()
    assert util.mount_entry(m.path) is None and os.listdir(m.path) == []


# -- being watched


def test_the_service_manager_is_told(mount, notify):
    m = mount(start=False, env={"NOTIFY_SOCKET": notify.path})
    m.start(ready=False)
    notify.wait("READY", "1")
    assert os.listdir(m.path) == [], "ready means that it serves"
    assert notify.wait("STATUS")
    m.term()
    notify.wait("STOPPING", "1")
    assert m.wait_exit() == 0
    m.stopped = True


def test_ready_is_not_told_when_it_refuses(mount, notify):
    m = mount(start=False, env={"NOTIFY_SOCKET": notify.path, "STATE_BUCKET": "no-such-bucket"})
    m.start_refused()
    assert notify.count("READY", 0.1) == 0


def test_the_watchdog_is_fed_in_time(mount, notify):
    m = mount(env={"NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": str(int(1_000_000 * SLOW))})
    for _ in range(5):
        before = notify.count("WATCHDOG")
        util.wait_until(lambda: notify.count("WATCHDOG", 0.02) > before, 1.0, "the watchdog")
    m.stop()


def test_the_watchdog_goes_on_while_workers_are_stopped(mount, notify):
    """The supervisor depends on no worker; a worker that hangs is not its death."""
    m = mount(env={"NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": str(int(1_000_000 * SLOW))})
    pids = m.kill_workers(signal.SIGSTOP)
    try:
        before = notify.count("WATCHDOG")
        util.wait_until(lambda: notify.count("WATCHDOG", 0.02) >= before + 3, 5.0, "the watchdog")
    finally:
        for pid in pids:
            util.kill(pid, signal.SIGCONT)
    m.stop()


def test_no_watchdog_without_being_asked(mount, notify):
    mount(env={"NOTIFY_SOCKET": notify.path}).stop()
    assert notify.count("WATCHDOG", 0.05) == 0


def test_status(mount):
    m = mount(workers=3)
    (m.path / "f.txt").write_bytes(b"x")
    status = m.status()
    assert len(status["workers"]) == 3
    assert all(util.alive(w["pid"]) for w in status["workers"])
    assert str(m.path) in json.dumps(status)
    text = m.ctl("status").out
    assert str(m.path) in text and str(m.worker_pids()[0]) in text


def test_status_counts_what_goes_to_s3(mount, proxy):
    m = mount(via=proxy, workers=1)
    (m.path / "f.txt").write_bytes(b"x" * 5000)
    before = m.status()["counters"]
    assert before["s3_out_bytes"] == 5000
    assert before["s3_retries"] == before["s3_errors"] == 0      # the name was not there: no error
    proxy.add_rule("answer", op="PutObject", status=503, nth=1)
    (m.path / "f.txt").write_bytes(b"y" * 7000)
    assert m.status()["counters"]["s3_retries"] == 1
    proxy.add_rule("answer", op="PutObject", status=403)
    with pytest.raises(PermissionError):
        (m.path / "f.txt").write_bytes(b"z" * 10)
    after = m.status()["counters"]
    assert after["s3_errors"] == 1
    assert after["s3_out_bytes"] >= 12000


def test_status_of_a_daemon_that_is_not_there(mount):
    m = mount()
    m.stop()
    done = m.ctl("status", check=False)
    assert done.code != 0 and str(m.socket) in done.err


def test_the_control_socket_is_the_owners_alone(mount):
    m = mount()
    assert os.stat(m.socket).st_mode & 0o077 == 0


def test_a_client_that_says_nothing_does_not_hold_up_the_supervisor(mount):
    m = mount()
    idle = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    try:
        for sock in idle:
            sock.settimeout(5)
            try:
                sock.connect(str(m.socket))
                sock.send(b"\xff" * 10)
            except OSError:
                pass            # refusing too many is an answer
        m.stop()
    finally:
        for sock in idle:
            sock.close()


def test_processes_are_few_and_named(mount):
    m = mount(workers=2)
    pids = util.children(m.proc.pid)
    assert set(m.worker_pids()) <= set(pids) and len(pids) <= 5


def test_the_log_is_quiet_when_all_is_well(mount):
    m = mount()
    for i in range(20):
        (m.path / f"{i}.txt").write_bytes(b"x")
    m.stop()
    assert m.errors() == [] and not re.search(r"^\S+ warn ", m.log(), re.MULTILINE)
    assert len(m.log().splitlines()) < 15


def test_sigterm_to_all_its_processes(mount, proxy, bucket):
    """As a service manager does it: the workers leave that to the supervisor, and the upload finishes."""
    m = mount(via=proxy)
    proxy.hold("h", op="PutObject")
    writer = util.spawn([*FILEOP, "write", m.path / "f.bin", 1000, 1])
    proxy.wait_held("h")
    workers = m.worker_pids()
    for pid in workers:
        util.kill(pid, signal.SIGTERM)
    m.term()
    util.wait_until(lambda: "draining" in m.log(), what="the drain")
    assert m.worker_pids() == workers
    proxy.release("h")
    assert m.wait_exit() == 0
    assert json.loads(util.finish(writer).out)["error"] is None
    assert bucket.get(m.key("f.bin"))
    m.stopped = True


def test_sigterm_to_each_process_from_its_first_moment_on(mount):
    """None of them ever dies of one that does not come from the supervisor."""
    m = mount(workers=2)
    old = util.children(m.proc.pid)
    for _ in range(10):
        killed = m.worker_pids()[0]
        util.kill(killed)
        while len(set(util.children(m.proc.pid)) - {killed}) < len(old):
            pass
        for _ in range(20):
            for pid in util.children(m.proc.pid):
                util.kill(pid, signal.SIGTERM)
        m.wait_workers(2, without=[killed])
    (m.path / "f").write_bytes(b"served")
    ended = re.findall(r"ended, restarting .*", m.log())
    assert len(ended) == 10 and all("signal=9" in line for line in ended), ended


@pytest.mark.parametrize("args, says", [((), "a command is missing"), (("stauts",), "unknown command: stauts"),
                                        (("status", "now"), "unexpected argument: now"),
                                        (("top", "-n", "x"), "wrong value: x"), (("--jsno",), "unrecognized option")])
def test_stateproxyctl_says_what_is_wrong(args, says):
    done = util.run([BIN_DIR / "stateproxyctl", *args], check=False)
    assert done.code == 2 and says in done.err and "--help" in done.err and "Usage" not in done.err
