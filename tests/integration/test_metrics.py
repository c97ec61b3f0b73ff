"""The listener for monitoring: what a scrape says, that it never lies about the past, and that nobody waits for it."""

import http.client
import os
import pathlib
import shutil
import socket
import threading
import time

import pytest

from conftest import missing
from harness import SLOW, metrics, util
from harness.connector import Connector

LWW, CAS = "s3-buffered-lww", "s3-buffered-cas"
MB = 1 << 20


@pytest.fixture
def at(scratch):
    return scratch / "metrics.sock"


@pytest.fixture
def served(mount, at):
    """served(...) -> a Mount whose metrics are at `at`."""
    def make(env=None, **kwargs):
        return mount(env={"STATEPROXY_METRICS_LISTEN": at, **(env or {})}, **kwargs)
    return make


def promtool(*args, **kwargs):
    local = pathlib.Path(__file__).parents[2] / ".venv/bin/promtool"
    program = local if local.exists() else shutil.which("promtool")
    if not program:
        missing("no promtool: tools/install-deps.sh promtool")
    return util.run([program, *args], **kwargs)


def check_histograms(s):
    families = [n for n, kind in s.types.items() if kind == "histogram"]
    assert len(families) == 3
    for name in families:
        for labels in s.labels(name + "_count"):
            buckets = sorted((float(b["le"]), s.get(name + "_bucket", **b))
                             for b in s.labels(name + "_bucket") if b["op"] == labels["op"])
            values = [v for _, v in buckets]
            assert len(buckets) == 21 and values == sorted(values), (name, labels)
            assert buckets[-1] == (float("inf"), s.get(name + "_count", **labels))
            assert s.get(name + "_count", **labels) > 0 < s.get(name + "_sum", **labels)


# ---- content

def test_what_is_counted(served, at, bucket):
    m = served()
    (m.path / "a.bin").write_bytes(os.urandom(300_000))
    bucket.put(m.key("there.bin"), b"x" * 200_000)
    assert len((m.path / "there.bin").read_bytes()) == 200_000
    assert not (m.path / "missing.txt").exists()
    with pytest.raises(FileExistsError):
        os.open(m.path / "a.bin", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    s = metrics.scrape(at)
    check_histograms(s)
    fuse = "stateproxy_fuse_requests_total"
    assert s.sum(fuse, op="write", outcome="ok") >= 1
    assert s.get(fuse, op="flush", outcome="ok") >= 2
    assert s.get(fuse, op="lookup", outcome="absent") >= 1
    assert s.get("stateproxy_fuse_request_duration_seconds_count", op="write") == s.sum(
        fuse, op="write")
    s3 = "stateproxy_s3_requests_total"
    assert s.get(s3, op="put", outcome="ok") == 1
    assert s.get(s3, op="get", outcome="ok") >= 1
    assert s.get(s3, op="abort_upload", outcome="failed") == 0
    assert dict(op="abort_upload", outcome="failed") in s.labels(s3), "there from the start"
    assert s.get("stateproxy_published_total") == 1
    assert s.get("stateproxy_written_bytes_total") == 300_000
    assert s.get("stateproxy_s3_sent_bytes_total") == 300_000
    assert s.get("stateproxy_read_bytes_total") == 200_000
    assert 200_000 <= s.get("stateproxy_s3_received_bytes_total") < 600_000
    assert s.get("stateproxy_pool_hits_total") + s.get("stateproxy_pool_misses_total") >= 1
    assert s.get("stateproxy_nodes") >= 3
    assert s.get("stateproxy_workers") == 2 and s.get("stateproxy_worker_restarts_total") == 0
    assert abs(s.get("stateproxy_start_time_seconds") - time.time()) < 60 * SLOW
    assert s.get("stateproxy_credentials_expiry_timestamp_seconds") == float("inf")
    assert s.get("stateproxy_draining") == 0
    assert 1 * MB < s.get("stateproxy_shared_memory_bytes", kind="segment") < 128 * MB
    assert s.labels("stateproxy_build_info")[0]["version"]
    info = s.labels("stateproxy_info")[0]
    assert (info["bucket"], info["mount"], info["variant"]) == (m.bucket, str(m.path), LWW)


def test_memory_of_workers_is_noted(served, at):
    served()

    def noted():
        s = metrics.scrape(at)
        return all(s.get("stateproxy_worker_resident_bytes", worker=w) >
                   s.get("stateproxy_worker_private_bytes", worker=w) > 100_000
                   and s.get("stateproxy_worker_cpu_seconds_total", worker=w) > 0
                   for w in ("0", "1"))
    util.wait_until(noted, 10, "the figures of both workers")


def test_open_files_show(served, at):
    m = served()
    with open(m.path / "small", "wb", 0) as small, open(m.path / "large", "wb", 0) as large:
        small.write(b"x" * 2 * MB)
        large.write(b"x" * 6 * MB)
        s = metrics.scrape(at)
        assert s.get("stateproxy_sessions") == s.get("stateproxy_sessions_dirty") == 2
        assert s.get("stateproxy_handles") >= 2
        assert 2 * MB <= s.get("stateproxy_shared_memory_bytes", kind="spool") < 3 * MB
        assert s.get("stateproxy_spool_file_bytes") >= 6 * MB, "beyond buffer.memory"
    util.wait_until(lambda: metrics.scrape(at).get("stateproxy_sessions") == 0, 10,
                    "the end of the session")


def test_conflicts_are_counted(served, at, bucket):
    m = served(variant=CAS)
    bucket.put(m.key("c.txt"), b"one")
    fd = os.open(m.path / "c.txt", os.O_RDWR)
    os.read(fd, 100)
    bucket.put(m.key("c.txt"), b"two, by somebody else")
    os.write(fd, b"mine")
    with pytest.raises(FileExistsError):
        os.fsync(fd)
    with pytest.raises(FileExistsError):
        os.close(fd)
    s = metrics.scrape(at)
    assert s.get("stateproxy_conflicts_total") == 2
    assert s.get("stateproxy_s3_requests_total", op="put", outcome="conflict") >= 1
    assert s.get("stateproxy_fuse_requests_total", op="flush", outcome="conflict") == 1
    assert s.get("stateproxy_fuse_requests_total", op="fsync", outcome="conflict") == 1


def test_the_connector_is_counted(served, at, scratch):
    served(env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": scratch / "c.sock"})
    con = Connector(scratch / "c.sock")
    assert con.request("PUT", "/keys/k.bin", body=b"y" * 5000).status == 204
    assert con.request("GET", "/keys/k.bin").body == b"y" * 5000
    assert con.request("GET", "/keys/none").status == 404
    assert con.request("GET", "/nothing/here").status == 404
    name = "stateproxy_connector_requests_total"

    def counted():      # where the answer is out, which the client may see first
        s = metrics.scrape(at)
        return (s.get(name, op="put", outcome="ok") == s.get(name, op="get", outcome="ok") == 1
                and s.get(name, op="get", outcome="absent") == 1
                and s.get(name, op="other", outcome="absent") == 1 and s)
    s = util.wait_until(counted, 10, "the requests")
    assert s.get("stateproxy_connector_request_duration_seconds_count", op="get") == 2
    assert s.get("stateproxy_read_bytes_total") == s.get("stateproxy_written_bytes_total") == 5000
    assert s.get("stateproxy_s3_received_bytes_total") == 5000
    assert s.labels("stateproxy_info")[0]["socket"] == str(scratch / "c.sock")


def test_odd_bytes_in_labels(served, at):
    prefix = 'a"b\\c é'
    served(prefix=prefix)
    assert metrics.scrape(at).labels("stateproxy_info")[0]["prefix"] == prefix


def test_promtool_likes_it(served, at):
    m = served()
    (m.path / "x").write_bytes(b"x")
    done = promtool("check", "metrics", input=metrics.scrape(at).text.encode())
    assert not done.out and not done.err, done


# ---- the listener

def test_addresses(mount):
    for host, where in (("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("", "127.0.0.1"),
                        ("localhost", "127.0.0.1")):
        if host == "[::1]" and not os.path.exists("/proc/net/if_inet6"):
            continue
        port = util.free_port()
        m = mount(env={"STATEPROXY_METRICS_LISTEN": f"{host}:{port}"})
        assert metrics.scrape((where, port)).get("stateproxy_workers") == 2
        m.stop()


def test_what_cannot_be_listened_at(mount, at):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        m = mount(start=False, env={
            "STATEPROXY_METRICS_LISTEN": "127.0.0.1:%d" % taken.getsockname()[1]})
        code, lines = m.start_refused()
        assert code == 73 and "metrics.listen: cannot listen at 127.0.0.1" in lines[-1]
    for bad in ("9468", "host.example:80", "127.0.0.1:0", "relative/path"):
        m = mount(start=False, env={"STATEPROXY_METRICS_LISTEN": bad})
        code, lines = m.start_refused()
        assert code == 78 and "metrics.listen" in lines[-1], lines


def test_modes_of_the_socket(served, at):
    served(env={"STATEPROXY_METRICS_MODE": "0600"})
    assert os.stat(at).st_mode & 0o777 == 0o600


def test_other_requests(served, at):
    served()
    assert metrics.fetch(at, "/metrics", "HEAD")[2] == b""
    assert metrics.fetch(at, "/metrics?debug=1")[0] == 200
    assert metrics.fetch(at, "/")[0] == 404
    assert metrics.fetch(at, "/keys/a")[0] == 404
    assert metrics.fetch(at, "/metrics", "POST", b"x" * 100_000)[0] == 405
    assert metrics.fetch(at, "/metrics", "DELETE")[0] == 405
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20 * SLOW)
        s.connect(str(at))
        s.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 400 ")
    conn = metrics.Connection(at)       # one connection, many requests
    for _ in range(20):
        conn.request("GET", "/livez")
        answer = conn.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"status": "alive"}')
    conn.close()


def test_health(served, at, proxy, actor):
    m = served(via=proxy, env={"STATEPROXY_S3_DEADLINE": "1s"})
    assert metrics.fetch(at, "/livez")[0] == metrics.fetch(at, "/readyz")[0] == 200
    proxy.add_rule("answer", status=503, op="ListObjectsV2")
    util.wait_until(lambda: metrics.fetch(at, "/readyz")[0] in (503, 504), 30, "503")
    assert metrics.fetch(at, "/livez")[0] == 200
    proxy.clear_rules()
    util.wait_until(lambda: metrics.fetch(at, "/readyz")[0] == 200, 30, "200 again")
    a = actor()
    a.open(str(m.path / "held.txt"), os.O_CREAT | os.O_WRONLY)
    m.term()
    util.wait_until(lambda: metrics.fetch(at, "/readyz")[0] == 503, 10, "not ready")
    assert metrics.fetch(at, "/livez")[0] == 200
    assert metrics.scrape(at).get("stateproxy_draining") == 1
    a.stop()
    assert m.wait_exit() == 0
    m.stopped = True


# ---- load and death

def churn(path, stop, n, failures):
    """Files written, read, and removed, until told to stop."""
    i = 0
    try:
        while not stop.is_set():
            f = path / f"t{n}-{i % 7}.bin"
            f.write_bytes(os.urandom(40_000))
            assert len(f.read_bytes()) == 40_000
            if i % 3 == 2:
                f.unlink()
            i += 1
    except BaseException as e:      # shown by the test
        failures.append(e)


def scrape_through_deaths(where):
    """A worker may be killed while it answers."""
    while True:
        try:
            return metrics.scrape(where)
        except (ConnectionError, http.client.HTTPException):
            continue


@pytest.mark.limit(120)
def test_counters_never_fall(served, at):
    """While a worker dies again and again under load, and with it whatever it had not stored."""
    m = served()
    stop, failures = threading.Event(), []
    threads = [threading.Thread(target=churn, args=(m.path, stop, n, failures)) for n in range(3)]
    for t in threads:
        t.start()
    try:
        before, kills, scrapes = metrics.scrape(at).growing(), 0, 0
        while kills < 12:
            pids = m.wait_workers(2)
            util.kill(pids[kills % 2])
            kills += 1
            for _ in range(12):
                now = scrape_through_deaths(at)
                growing = now.growing()
                fallen = {k: (v, growing.get(k)) for k, v in before.items()
                          if growing.get(k, -1) < v}
                assert not fallen, fallen
                before = growing
                scrapes += 1
        m.wait_workers(2)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not failures, failures
    end = util.wait_until(
        lambda: (s := metrics.scrape(at)).get("stateproxy_worker_restarts_total") == kills and s,
        20, "a restart for each kill")
    assert end.get("stateproxy_fuse_requests_total", op="write", outcome="ok") > 20
    assert end.get("stateproxy_scrapes_total") >= scrapes
    check_histograms(end)
    for kind in ("failed", "timeout", "denied"):
        assert end.sum("stateproxy_fuse_requests_total", outcome=kind) == 0


def test_slow_clients_hold_nobody_up(served, at):
    """Clients that ask and do not read, as many as are let in and more."""
    m = served()
    socks = []
    try:
        for i in range(80):
            s = socket.socket(socket.AF_UNIX)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.settimeout(10 * SLOW)
            s.connect(str(at))
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * (20 if i % 2 else 1))
            socks.append(s)
        begun = time.monotonic()
        for i in range(20):
            (m.path / f"f{i}").write_bytes(b"x" * 1000)
            assert (m.path / f"f{i}").read_bytes() == b"x" * 1000
        assert time.monotonic() - begun < 10 * SLOW
        begun = time.monotonic()
        m.stop()
        assert time.monotonic() - begun < 10 * SLOW, "the drain did not wait for them"
    finally:
        for s in socks:
            s.close()


@pytest.mark.counts
def test_a_scrape_costs_little(served, at):
    """Less than 1 % of a CPU where a scrape comes each second."""
    m = served()
    for i in range(30):
        (m.path / f"f{i}").write_bytes(b"x" * 1000)
    n = 300
    conn = metrics.Connection(at)
    conn.request("GET", "/metrics")
    size = len(conn.getresponse().read())
    before = cpu_of(m)
    for _ in range(n):
        conn.request("GET", "/metrics")
        conn.getresponse().read()
    cost = (cpu_of(m) - before) / n
    conn.close()
    print(f"\na scrape of {size} bytes costs {cost * 1e6:.0f} us of CPU")
    assert cost < 0.010 * SLOW


def cpu_of(m):
    """Seconds of CPU time of its workers so far."""
    ticks = 0
    for pid in m.worker_pids():
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
