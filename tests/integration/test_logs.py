"""The forms of log lines: valid whatever is in them, from all processes at once."""

import json
import os
import re
import shlex
import socket
import subprocess

import pytest

from harness import DAEMON, util

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
