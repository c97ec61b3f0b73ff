"""The forms of log lines: valid whatever is in them, from all processes at once."""

import json
import os
import re
import select
import shlex
import signal
import struct
import socket
import subprocess

import pytest

from harness import DAEMON, EX_UNPUBLISHED, util
from harness.connector import Connector

ODD = ['quote"s', "back\\slash", "new\nline", "\x1b[2J", "tab\t", "pid=1 error=\"x\"", "é€😀", "{}"]


def provoke(m, proxy):
    """Lines with names of files in them: an upload of each fails."""
    proxy.add_rule("answer", status=403, code="AccessDenied", message='no "way" \\ here',
                   op="PutObject")
    names = [os.fsencode(name) for name in ODD]
    for i, name in enumerate(names * 5):
        path = os.fsencode(m.path) + b"/" + name + b"%d" % i
        with pytest.raises(OSError):
            with open(path, "wb") as f:
                f.write(b"x")
    proxy.clear_rules()


def started(mount, proxy, form):
    m = mount(via=proxy, start=False, workers=4,
              env={"STATEPROXY_LOG_FORMAT": form, "STATEPROXY_LOG_LEVEL": "debug"})
    m.start(ready=False)
    util.wait_until(lambda: "ready mount=" in m.log(), 20, "the line")
    return m


def test_json(mount, proxy):
    m = started(mount, proxy, "json")
    provoke(m, proxy)
    for pid in m.worker_pids():
        util.kill(pid)
    m.wait_workers(4)
    m.stop()
    lines = [json.loads(line) for line in m.log_path.read_text(encoding="utf-8").splitlines()]
    assert all(set(line) == {"time", "level", "process", "pid", "message"} for line in lines)
    assert {"supervisor", "worker"} <= {line["process"] for line in lines}
    failed = [x["message"] for x in lines if x["message"].startswith("upload failed")]
    assert len(failed) >= 5 * len(ODD)
    for name in ODD:
        assert sum(name in x for x in failed) >= 5, name


def test_logfmt(mount, proxy):
    m = started(mount, proxy, "logfmt")
    provoke(m, proxy)
    m.stop()
    form = re.compile(r'time=\S+Z level=(err|warn|notice|debug) process=[a-z]+ pid=\d+ '
                      r'message="(?:[^"\\\x00-\x1f]|\\["\\]|\\x[0-9a-f]{2})*"')
    lines = m.log_path.read_text(encoding="utf-8").split("\n")[:-1]
    for line in lines:
        assert form.fullmatch(line), line
    assert sum("upload failed" in line for line in lines) >= 5 * len(ODD)


def test_the_journal_gets_levels(mount, scratch):
    """stderr is a stream socket whose device and inode JOURNAL_STREAM names, as systemd does it."""
    ours, theirs = socket.socketpair()
    st = os.fstat(theirs.fileno())
    m = mount(start=False, env={"STATE_BUCKET": "no-such-bucket-here",
                                "JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"})
    env = util.clean_env(**m.env)
    proc = subprocess.Popen([DAEMON], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=theirs, env=env)
    theirs.close()
    text = b""
    while data := ours.recv(65536):
        text += data
    ours.close()
    assert proc.wait() == 78, shlex.quote(text.decode())
    lines = text.decode().splitlines()
    assert lines and all(re.match(r"<[3457]>\d{4}-", line) for line in lines), lines
    assert lines[-1].startswith("<3>")


def test_whose_request_it_was(mount, proxy):
    """The server's number of the request, and the program's."""
    m = mount(via=proxy)
    proxy.add_rule("answer", status=403, code="AccessDenied", headers={"x-amz-request-id": "ID0815"})
    with pytest.raises(PermissionError):
        (m.path / "new.txt").write_bytes(b"x")
    with pytest.raises(PermissionError):
        (m.path / "directory").mkdir()
    proxy.clear_rules()
    assert "request_id=ID0815" in m.log()
    (m.path / "dir").mkdir()
    proxy.add_rule("answer", status=403, code="AccessDenied", op="PutObject",
                   headers={"x-amz-request-id": "ID4711"})
    with pytest.raises(PermissionError):
        (m.path / "file").write_bytes(b"x")
    with pytest.raises(PermissionError):
        (m.path / "dir2").mkdir()
    proxy.clear_rules()
    assert re.search(r'upload failed key="p/file" .*request_id=ID4711 ', m.log())
    assert re.search(r'MKDIR failed name="dir2" .*request_id=ID4711 pid=%d ' % os.getpid(), m.log())


# -- systemd's journal, in its native protocol

def fields(datagram):
    """As journald reads one: NAME=value, or NAME, length in eight bytes, value. {name: bytes}"""
    found = {}
    while datagram:
        name, sep, rest = re.fullmatch(rb"([A-Z][A-Z0-9_]{0,63})([=\n])(.*)", datagram, re.S).groups()
        if sep == b"=":
            value, _, datagram = rest.partition(b"\n")
        else:
            (n,) = struct.unpack("<Q", rest[:8])
            value, end, datagram = rest[8:8 + n], rest[8 + n:9 + n], rest[9 + n:]
            assert end == b"\n"
        assert name not in found
        found[name.decode()] = value
    return found


class Journal:
    """In the place of journald, in a mount namespace of its own: a socket, and the stream of stderr."""

    def __init__(self, scratch):
        self.dir = scratch / "journal"
        self.dir.mkdir()
        self.path = str(self.dir / "socket")
        self.stream, self.stderr = socket.socketpair()
        self.listen()

    def listen(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o666)

    def end(self):
        self.socket.close()
        os.unlink(self.path)

    def wrap(self, *command):
        st = os.fstat(self.stderr.fileno())
        script = ("mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && "
                  f"mount --bind {self.dir} /run/systemd/journal && "
                  f'JOURNAL_STREAM={st.st_dev}:{st.st_ino} exec "$@" 2>&{self.stderr.fileno()}')
        return ["unshare", "-m", "bash", "-c", script, "bash", *command]

    def wait(self, what):
        """The first line whose message contains `what`; those before it are dropped."""
        while True:
            assert select.select([self.socket], [], [], 20)[0], f"no {what}"
            line = fields(self.socket.recv(65536))
            if what.encode() in line["MESSAGE"]:
                return line

    def on_stderr(self):
        return self.stream.recv(65536, socket.MSG_DONTWAIT) if select.select([self.stream], [], [], 0)[0] else b""


@pytest.fixture
def journal(scratch):
    if os.geteuid() != 0:
        pytest.skip("needs root for a namespace")
    j = Journal(scratch)
    yield j
    j.end()
    j.stream.close()
    j.stderr.close()


@pytest.fixture
def logged(mount, proxy, scratch, journal):
    """A connector that logs to the stand-in, sandboxed; .daemon is the Mount."""
    path = scratch / "c.sock"
    conf = scratch / "conf.yaml"
    conf.write_text("log: {level: notice, format: text}\n")
    m = mount(via=proxy, start=False, args=["--config", conf],
              env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": path})
    number = journal.stderr.fileno()
    os.set_inheritable(number, True)
    m.wrap = journal.wrap
    m.guard.mount(m.path, m.mark)
    with open(m.log_path, "ab") as log:
        m.proc = subprocess.Popen(m.wrap(str(DAEMON), *map(str, m.args)), stdin=subprocess.DEVNULL, stdout=log,
                                  stderr=log, env=util.clean_env(**m.env, **{util.MARK: m.mark}),
                                  start_new_session=True, cwd=m.dir, pass_fds=[number])
    m.guard.session(m.proc.pid, m.mark)
    m.stopped = False
    con = Connector(path)
    con.daemon, con.conf = m, conf
    return con


def test_journal_fields(logged, proxy, journal):
    """What is in a name forges no field, and a worker in its sandbox can write them."""
    ready = journal.wait("ready ")
    assert ready["PRIORITY"] == b"5" and ready["SYSLOG_IDENTIFIER"] == b"stateproxyd"
    assert ready["STATEPROXY_PROCESS"] == b"supervisor"
    assert b"sandbox=on" in ready["MESSAGE"] or b"sandbox=part" in ready["MESSAGE"]
    proxy.add_rule("answer", status=403, code="AccessDenied", op="PutObject", headers={"x-amz-request-id": "ID4711"})
    name = 'quote" pid=1 error="none'
    assert logged.request("PUT", "/keys/" + name.replace(" ", "%20"), b"data").status == 403
    line = journal.wait("upload failed")
    assert line["STATEPROXY_PROCESS"] == b"worker" and line["PRIORITY"] == b"4"
    assert line["STATEPROXY_KEY"].startswith(b"p/quote") and line["STATEPROXY_BYTES"] == b"4"
    assert line["STATEPROXY_REQUEST_ID"] == b"ID4711" and line["STATEPROXY_ERROR"] == b"Permission denied"
    assert "STATEPROXY_PID" not in line
    proxy.clear_rules()
    assert journal.on_stderr() == b""
    logged.daemon.stop()


def test_sighup_changes_level_and_form_everywhere(logged, proxy, journal):
    """Also in workers that run already."""
    journal.wait("ready ")
    workers = logged.daemon.worker_pids()
    logged.conf.write_text("log: {level: err, format: text}\n")
    logged.daemon.proc.send_signal(signal.SIGHUP)
    journal.wait("SIGHUP: log.level is now err")
    proxy.add_rule("answer", status=403, code="AccessDenied", op="PutObject")
    assert logged.put("quiet", b"data").status == 403
    logged.conf.write_text("log: {level: notice, format: json}\n")
    logged.daemon.proc.send_signal(signal.SIGHUP)
    util.wait_until(lambda: select.select([journal.stream], [], [], 0)[0], what="the line on stderr")
    assert logged.put("loud", b"data").status == 403
    proxy.clear_rules()
    util.wait_until(lambda: b"loud" in journal.stream.recv(65536, socket.MSG_PEEK), what="the upload's line")
    lines = [json.loads(x[3:]) for x in journal.on_stderr().decode().splitlines()]
    assert "SIGHUP: log.level is now notice, and log.format json" in lines[0]["message"]
    assert [x["process"] for x in lines if "upload failed" in x["message"]] == ["worker"]
    assert not any("quiet" in x["message"] for x in lines) and logged.daemon.worker_pids() == workers
    logged.daemon.stop()


def test_the_last_lines_go_to_stderr(logged, proxy, journal):
    """journald looks for the unit of a process when it reads a line, and finds none that has ended."""
    journal.wait("ready ")
    proxy.hold("h", op="PutObject")
    m = logged.daemon
    with logged.raw() as client:
        client.send(b"PUT /keys/late HTTP/1.1\r\nContent-Length: 4\r\n\r\ndata")
        proxy.wait_held("h")
        m.term()
        journal.wait("draining")
        m.term()
        assert m.wait_exit() == EX_UNPUBLISHED
    proxy.release("h", verdict="reset")
    m.stopped = True
    text = journal.on_stderr()
    assert re.search(rb'^<3>\S+ err \S+: not published key="p/late"', text, re.M), text
    assert b": ended exit=1\n" in text
    while select.select([journal.socket], [], [], 0)[0]:
        assert b"not published" not in journal.socket.recv(65536)


def test_the_journal_is_restarted(logged, proxy, journal):
    """Meanwhile lines go to stderr, with their priority; then to the new one."""
    journal.wait("ready ")
    journal.end()
    util.kill(logged.daemon.worker_pids()[0])
    util.wait_until(lambda: b"ended, restarting" in journal.on_stderr(), what="the line on stderr")
    journal.listen()

    def told():
        util.kill(logged.daemon.wait_workers(2)[0])
        return select.select([journal.socket], [], [], 0.5)[0]
    util.wait_until(told, what="a line in the new journal", every=0.3)
    assert journal.wait("ended, restarting")["STATEPROXY_PROCESS"] == b"supervisor"
    logged.daemon.stop()
