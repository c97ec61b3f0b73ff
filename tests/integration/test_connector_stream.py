"""PUT over the socket in the variant s3-passthrough: the parts go to S3 while the body comes."""

import concurrent.futures
import re
import threading
import time

import pytest

from harness import SLOW, util
from harness.pattern import pattern
from test_connector import memory_of, start         # noqa: F401
from test_stream import MIB, PART, STREAM, spool_bytes

PUT = b"PUT /keys/%s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
SHORT = {"STATEPROXY_S3_DEADLINE": "2s", "STATEPROXY_S3_ATTEMPT_TIMEOUT": "1s"}


@pytest.fixture
def con(start, proxy):
    return start("s3-passthrough", via=proxy, env=STREAM)


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def no_sessions(con):
    util.wait_until(lambda: con.daemon.ctl("sessions", "--json").out.strip() == "[]", 20, "the end of all sessions")


def nothing_left(con, bucket):
    no_sessions(con)
    util.wait_until(lambda: not bucket.uploads(), 20, "the end of all uploads")


def settled(value, seconds=1.0):
    """Waits until value() has not changed for so long, and returns it."""
    last, since = value(), time.monotonic()

    def unchanged():
        nonlocal last, since
        now = value()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > seconds
    util.wait_until(unchanged, 30, "the end of changes", every=0.05)
    return last


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 4 * PART + 12345])
@pytest.mark.parametrize("chunked", [False, True])
def test_sizes_around_each_boundary(con, proxy, bucket, size, chunked):
    data = pattern(size, 1)
    proxy.reset_counts()
    if chunked:
        pieces = [data[at:at + 100000] for at in range(0, size, 100000)]
        assert con.request("PUT", "/keys/k", chunks=pieces).status == 204
    else:
        assert con.put("k", data).status == 204
    assert bucket.get(con.daemon.key("k")) == data
    counts = proxy.counts()
    if size < PART:
        assert counts["PutObject"] == 1 and "CreateMultipartUpload" not in counts
    else:
        assert counts["UploadPart"] == (size + PART - 1) // PART
        assert counts["CompleteMultipartUpload"] == 1 and "PutObject" not in counts
    assert con.get("k").body == data
    nothing_left(con, bucket)


def test_parts_go_while_the_body_comes(con, proxy, bucket):
    data = pattern(3 * PART, 1)
    with con.raw() as raw:
        raw.send(PUT % b"k" + chunk(data[:2 * PART + 1]))
        proxy.wait_count(2, op="UploadPart", finished=True)
        assert con.get("k").status == 404           # nothing of it is visible
        raw.send(chunk(data[2 * PART + 1:]) + b"0\r\n\r\n")
        assert raw.answer().status == 204
    assert con.get("k").body == data


def test_exclusive(con, bucket):
    data, only_new = pattern(3 * PART, 1), [("If-None-Match", "*")]
    assert con.put("k", data, only_new).status == 204
    answer = con.put("k", data[::-1], only_new)
    assert (answer.status, answer.code) == (409, "conflict")
    assert bucket.get(con.daemon.key("k")) == data
    nothing_left(con, bucket)


def test_a_slow_server_holds_the_client_up(start, proxy, bucket):
    """The body waits in the client; no disk is used, and a few parts of memory."""
    con = start("s3-passthrough", via=proxy, env={**STREAM, "STATEPROXY_MEMORY_LIMIT": "160Mi"})
    proxy.hold("parts", op="UploadPart")
    data, sent = pattern(MIB, 1), []

    def client():
        with con.raw() as raw:
            raw.sock.settimeout(None)
            raw.send(PUT % b"k")
            for i in range(60):
                raw.send(chunk(data))
                sent.append(i)
            raw.send(b"0\r\n\r\n")
            return raw.answer().status

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        done = pool.submit(client)
        try:
            proxy.wait_held("parts", 2)
            most = settled(lambda: len(sent))
            assert 10 <= most <= 17, most           # three parts, and what the socket holds
            assert spool_bytes(con.daemon) <= 4 * PART
            assert con.put("other", b"1").status == 204         # nobody else waits
            assert con.request("GET", "/healthz").status == 200
        finally:
            proxy.release("parts")
        assert done.result(60 * SLOW) == 204
    assert bucket.get(con.daemon.key("k")) == data * 60
    nothing_left(con, bucket)


def test_large_objects_in_little_memory(start, bucket):
    con = start("s3-passthrough", env={"STATEPROXY_MEMORY_LIMIT": "64Mi"})
    piece, peak, done = pattern(MIB, 3), [0, 0], threading.Event()

    def watch():
        while not done.wait(0.05):
            peak[:] = max(peak[0], memory_of(con)), max(peak[1], spool_bytes(con.daemon))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert con.request("PUT", "/keys/big", chunks=[piece] * 256).status == 204
    finally:
        done.set()
        watcher.join()
    assert bucket.size(con.daemon.key("big")) == 256 << 20
    assert peak[1] < 64 << 20                       # a few parts, in memory or on disk
    if SLOW == 1:
        assert peak[0] < 64 << 20, f"{peak[0] >> 20} MiB"


def test_bodies_that_break_off(con, proxy, bucket):
    bucket.put(con.daemon.key("k"), b"old")
    body = chunk(pattern(2 * PART + 5, 1))
    for tail in (b"", b"5\r\nhel"):
        proxy.reset_counts()
        with con.raw() as raw:                      # gone
            raw.send(PUT % b"k" + body + tail)
            proxy.wait_count(1, op="UploadPart", finished=True)
        nothing_left(con, bucket)
    with con.raw() as raw:                          # malformed
        raw.send(PUT % b"k" + body + b"zz\r\n")
        answer = raw.answer()
        assert (answer.status, answer.code) == (400, "bad_request")
    with con.raw() as raw:                          # goes on behind its end
        raw.send(PUT % b"k" + body + b"0\r\n\r\n3\r\nabc\r\n")
        assert raw.answer().status == 400
    nothing_left(con, bucket)
    assert bucket.get(con.daemon.key("k")) == b"old"
    assert con.put("k", b"new").status == 204


def test_a_client_that_leaves_while_it_is_held_up(con, proxy, bucket):
    proxy.hold("parts", op="UploadPart")
    with con.raw() as raw:
        raw.sock.settimeout(2 * SLOW)
        with pytest.raises(TimeoutError):
            raw.send(PUT % b"k" + chunk(pattern(12 * PART, 1)))
    proxy.release("parts")
    nothing_left(con, bucket)
    assert con.get("k").status == 404


@pytest.mark.parametrize("op", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
@pytest.mark.parametrize("status, code, told, error", [(403, "AccessDenied", 403, "permission_denied"),
                                                       (503, "SlowDown", 503, "unavailable"),
                                                       (500, "InternalError", 500, "internal_error")])
def test_a_request_that_fails(start, proxy, bucket, op, status, code, told, error):
    """The client has its answer, however much of its body has not been read."""
    con = start("s3-passthrough", via=proxy, env={**STREAM, **SHORT})
    proxy.add_rule("answer", op=op, status=status, code=code)
    answer = con.request("PUT", "/keys/k", chunks=[pattern(MIB, 1)] * 40)
    assert (answer.status, answer.code) == (told, error), answer
    proxy.clear_rules()
    nothing_left(con, bucket)
    assert con.get("k").status == 404
    assert con.put("k", pattern(2 * PART, 1)).status == 204


@pytest.mark.parametrize("variant", ["s3-passthrough", "s3-buffered-cas"])
@pytest.mark.parametrize("op", ["UploadPart", "CompleteMultipartUpload"])
def test_a_request_that_stalls(start, proxy, bucket, variant, op):
    con = start(variant, via=proxy, env={**STREAM, **SHORT, "STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi"})
    proxy.hold("stalled", op=op)
    answer = con.put("k", pattern(2 * PART, 1))
    assert (answer.status, answer.code) == (504, "timeout")
    proxy.clear_rules()
    nothing_left(con, bucket)
    assert con.put("k", pattern(2 * PART, 2)).status == 204


def test_abort_may_be_forbidden(con, proxy, bucket):
    proxy.add_rule("answer", op="AbortMultipartUpload", status=403, code="AccessDenied")
    with con.raw() as raw:
        raw.send(PUT % b"k" + chunk(pattern(PART + 5, 1)))
        proxy.wait_count(1, op="UploadPart", finished=True)
    no_sessions(con)
    assert con.put("k", pattern(PART + 5, 2)).status == 204
    util.wait_until(lambda: re.search(r'"?uploads_left"?\D+1\b', con.daemon.ctl("status", "--json").out),
                    what="it to be counted")
    assert len(bucket.uploads()) == 1               # until a rule of the bucket removes it


def test_a_server_without_uploads(con, proxy, bucket):
    proxy.add_rule("answer", op="CreateMultipartUpload", status=501, code="NotImplemented")
    data = pattern(3 * PART, 1)
    assert con.put("k", data).status == 204
    assert bucket.get(con.daemon.key("k")) == data
    assert proxy.counts()["PutObject"] == 1


# ---- workers that die

def test_killed_worker_in_the_middle_of_a_body(con, proxy, bucket):
    bucket.put(con.daemon.key("k"), b"old")
    with con.raw() as raw:
        raw.send(PUT % b"k" + chunk(pattern(2 * PART + 5, 1)))
        proxy.wait_count(1, op="UploadPart", finished=True)
        con.daemon.kill_workers()
        with pytest.raises((BrokenPipeError, ConnectionResetError, EOFError)):
            raw.send(chunk(bytes(MIB)) + b"0\r\n\r\n")
            raw.answer()
    nothing_left(con, bucket)
    assert bucket.get(con.daemon.key("k")) == b"old"
    assert con.put("k", pattern(2 * PART, 2)).status == 204
    con.daemon.check()


def test_killed_worker_that_holds_the_client_up(con, proxy, bucket):
    proxy.hold("parts", op="UploadPart")
    with con.raw() as raw:
        raw.sock.settimeout(1 * SLOW)
        with pytest.raises(TimeoutError):
            raw.send(PUT % b"k" + chunk(pattern(12 * PART, 1)))
        raw.sock.settimeout(30 * SLOW)
        con.daemon.kill_workers()
        with pytest.raises(ConnectionResetError):
            raw.fill()
    proxy.release("parts")
    nothing_left(con, bucket)
    assert con.get("k").status == 404


@pytest.mark.limit(120)
def test_a_storm_of_kills(con, bucket):
    """Whole or not at all, and what was answered with 204 is there."""
    done, state = threading.Event(), {}

    def client(i):
        for n in range(1, 6):
            data = pattern(2 * PART + 1000 * n, i)
            try:
                status = con.put(f"k{i}", data).status
            except (ConnectionError, EOFError):
                status = None
            old = state.get(i, {None})
            state[i] = {len(data)} if status == 204 else old | {len(data)}
            assert status in (204, None)

    def kill():
        while not done.wait(0.3 * SLOW):
            for pid in con.daemon.worker_pids()[:1]:
                util.kill(pid, 9)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            for f in [pool.submit(client, i) for i in range(3)]:
                f.result()
    finally:
        done.set()
        killer.join()
    no_sessions(con)
    for i in range(3):
        key = con.daemon.key(f"k{i}")
        size = bucket.size(key) if bucket.exists(key) else None
        assert size in state[i], (i, size, state[i])
        assert size is None or bucket.get(key) == pattern(size, i)
    con.daemon.check()


def test_the_end_of_the_daemon_waits_for_it(con, bucket):
    data = pattern(3 * PART, 1)
    with con.raw() as raw:
        raw.send(PUT % b"k" + chunk(data[:2 * PART]))
        util.wait_until(bucket.uploads, 20, "an upload")
        con.daemon.term()
        util.wait_until(lambda: "draining" in con.daemon.log(), 10, "the drain")
        raw.send(chunk(data[2 * PART:]) + b"0\r\n\r\n")
        assert raw.answer().status == 204
    assert con.daemon.wait_exit(20) == 0
    con.daemon.stopped = True
    assert bucket.get(con.daemon.key("k")) == data

