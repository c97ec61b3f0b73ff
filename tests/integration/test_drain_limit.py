"""SIGTERM while S3 does not take what was written: the daemon ends in time, with 1, and names every
file. (What happens where S3 does answer is in test_daemon.py and test_connector.py.)"""

import concurrent.futures
import errno
import json
import os
import re
import time

import pytest

from harness import EX_UNPUBLISHED, SLOW, util
from harness.connector import Connector
from harness.pattern import pattern

LIMIT = 1.0             # seconds, daemon.drain_timeout
FORCED = 3.0            # seconds that the rest may take, as OPERATIONS.md promises
ENV = {"STATEPROXY_DAEMON_DRAIN_TIMEOUT": "1s"}
LINE = re.compile(r'not published key="([^"]*)" bytes=(\d+) reason="([^"]*)": (.*)')


def ended(m, since):
    """Its exit code, after a check of the time."""
    code = m.wait_exit(LIMIT + FORCED)
    took = time.monotonic() - since
    assert took >= LIMIT, took
    m._check_gone("after a drain that was cut short")
    m.stopped = True
    return code


def lost(m):
    """{key: (bytes, reason, what to do)} of the log's lines."""
    found = [x.groups() for x in map(LINE.search, m.errors()) if x]
    assert len({key for key, *_ in found}) == len(found), found
    return {key: (int(n), why, todo) for key, n, why, todo in found}


def open_written(path, n):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"x" * n)
    return fd


def close_fails(fd):
    with pytest.raises(OSError) as e:
        os.close(fd)
    assert e.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
def test_mount(mount, proxy, bucket, variant):
    m = mount(via=proxy, variant=variant, env=ENV)
    bucket.put(m.key("old.txt"), b"before")
    (m.path / "good.txt").write_bytes(b"published")
    still_open = open_written(m.path / "open.bin", 3000)
    proxy.hold("h", op="PutObject")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waits = [pool.submit(util.write_and_close, m.path / name, data)
                 for name, data in (("big.bin", pattern(700_000, 1)), ("old.txt", b"after"))]
        proxy.wait_held("h", 2)
        begin = time.monotonic()
        m.term()
        assert ended(m, begin) == EX_UNPUBLISHED
        for w in waits:
            with pytest.raises(OSError):
                w.result(10 * SLOW)
    close_fails(still_open)
    proxy.release("h", verdict="reset")
    files = lost(m)
    assert {k: v[0] for k, v in files.items()} == {
        m.key("big.bin"): 700_000, m.key("old.txt"): 5, m.key("open.bin"): 3000}, m.log()
    assert files[m.key("big.bin")][1] == files[m.key("old.txt")][1] == "its upload did not end in time"
    assert files[m.key("open.bin")][1] == "a program still had it open"
    assert all("write it again" in todo for _, _, todo in files.values())
    assert bucket.get(m.key("old.txt")) == b"before" and bucket.get(m.key("good.txt")) == b"published"


def test_stream(mount, proxy):
    """Its first parts are on S3, and nobody sees them."""
    m = mount(via=proxy, variant="s3-passthrough", env=ENV)
    fd = os.open(m.path / "s.bin", os.O_WRONLY | os.O_CREAT)
    data = pattern(9 << 20, 2)
    with open(fd, "wb", closefd=False) as f:
        f.write(data)
    begin = time.monotonic()
    m.term()
    assert ended(m, begin) == EX_UNPUBLISHED
    close_fails(fd)
    assert lost(m)[m.key("s.bin")][:2] == (len(data), "a program still had it open")


def test_connector(mount, proxy, scratch, bucket):
    """Of its clients, one waits for S3, and one has not sent all of its body."""
    path = scratch / "c.sock"
    m = mount(via=proxy, env={**ENV, "STATE_MOUNT": None, "CONNECTOR_SOCKET": path})
    con = Connector(path)
    assert con.put("good", b"1").status == 204
    proxy.hold("h", op="PutObject")
    with concurrent.futures.ThreadPoolExecutor(1) as pool, con.raw() as half:
        whole = pool.submit(con.put, "whole", b"0123456789")
        proxy.wait_held("h")
        half.send(b"PUT /keys/half HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345")
        util.wait_until(lambda: len(json.loads(m.ctl("sessions", "--json").out)) == 2, what="two sessions")
        begin = time.monotonic()
        m.term()
        assert ended(m, begin) == EX_UNPUBLISHED
        assert isinstance(whole.exception(10 * SLOW), (OSError, EOFError))
    proxy.release("h", verdict="reset")
    files = lost(m)
    assert files == {m.key("whole"): (10, "its upload did not end in time", files[m.key("whole")][2]),
                     m.key("half"): (files[m.key("half")][0], "its body did not come to an end", files[m.key("half")][2])}
    assert all("send it again" in todo for _, _, todo in files.values())
    assert not bucket.exists(m.key("whole")) and not bucket.exists(m.key("half"))


def test_uploads_that_fail_meanwhile(mount, proxy):
    """The program was told, and so is whoever ends the daemon."""
    m = mount(via=proxy, env={"STATEPROXY_S3_MAX_ATTEMPTS": "1"})
    proxy.hold("h", op="PutObject")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waits = pool.submit(util.write_and_close, m.path / "f.bin", b"data")
        proxy.wait_held("h")
        m.term()
        util.wait_until(lambda: "draining" in m.log(), what="the drain")
        proxy.add_rule("answer", status=500, op="PutObject")
        proxy.release("h", verdict="reset")
        with pytest.raises(OSError):
            waits.result(20 * SLOW)
    assert m.wait_exit(10) == EX_UNPUBLISHED
    m.stopped = True
    assert "unpublished data discarded" in m.log() and "uploads failed after the request to end" in m.log()
