"""The start of a connector: what is answered while the server is still being probed."""

import concurrent.futures
import re
import time

import pytest

from harness import SLOW, util
from harness.connector import Connector
from test_connector import CAS, LWW, STREAM, start          # noqa: F401
from test_start_up import KEPT, PASSES

pytestmark = pytest.mark.probes

PROBE = "*/.stateproxy-probe/*"      # the keys of its requests; none of them may take five seconds


@pytest.fixture
def slow(start, proxy, bucket):
    """A connector whose server is being probed, and will be until proxy.release("probe")."""
    bucket.put("p/k", b"there")
    bucket.put("p/d/f", b"1")
    proxy.hold("probe", op="PutObject", key=PROBE)
    con = start(CAS, via=proxy, ready=False)
    con.daemon.start(ready=False)
    proxy.wait_held("probe", 1)
    yield con
    proxy.release("probe")


def told(con):
    return [x for x in con.daemon.log().splitlines() if " ready " in x]


def test_reads_do_not_wait_for_the_probe(slow, proxy):
    assert slow.request("GET", "/healthz").status == 200
    assert slow.get("k").body == b"there"
    assert slow.head("k").status == 204
    assert slow.list() == (["k"], ["d/"])
    assert slow.get("none").status == 404
    assert slow.request("GET", "/meta/k?attr=etag").status == 200
    assert slow.request("POST", "/query", b"{}").status == 501
    answer = slow.request("GET", "/readyz")
    assert (answer.status, answer.code) == (503, "unavailable") and "probed" in answer.json()["message"]
    assert told(slow) == []
    proxy.release("probe")
    slow.daemon.wait_ready()
    assert PASSES in slow.daemon.log() and " conditions=put,complete,delete " in told(slow)[0]
    assert slow.daemon.status()["conditions"] == "put,complete,delete"
    assert slow.request("GET", "/readyz").status == 200


def test_writes_wait_for_the_probe(slow, proxy, bucket):
    big = bytes(3 << 20)
    calls = [lambda: slow.put("a", b"1"), lambda: slow.put("empty", b""), lambda: slow.put("no-length", None),
             lambda: slow.put("big", big), lambda: slow.request("PUT", "/keys/chunks", chunks=[b"ab", b"c"]),
             lambda: slow.put("k", b"x", [("If-None-Match", "*")]), lambda: slow.delete("d/f"),
             lambda: slow.delete("none"),
             lambda: slow.request("PUT", "/meta/k?attr=content_type", b'{"value": "text/x"}')]
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        done = [pool.submit(call) for call in calls]
        assert slow.get("k").status == 200
        waited = concurrent.futures.wait(done, timeout=0.3).done
        assert not waited
        with slow.raw() as gone:            # a client that does not wait
            gone.send(b"PUT /keys/gone HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")
            assert slow.get("k").status == 200
        assert not [x for x in proxy.log() if x.key.startswith("p/") and "probe" not in x.key
                    and x.op in ("PutObject", "DeleteObject", "CopyObject")]
        proxy.release("probe")
        status = [f.result(30 * SLOW).status for f in done]
    assert status == [204, 204, 204, 204, 204, 409, 204, 404, 204], slow.daemon.log()
    assert bucket.get("p/big") == big and bucket.get("p/chunks") == b"abc"
    assert not bucket.exists("p/d/f") and bucket.get("p/empty") == b""
    slow.daemon.wait_ready()
    slow.daemon.check()


def test_a_probe_that_fails(start, proxy, bucket):
    """The daemon ends as without a connector, and those that waited hear of it."""
    proxy.hold("probe", op="PutObject", key=PROBE)
    bucket.put("p/k", b"there")
    con = start(CAS, via=proxy, ready=False)
    con.daemon.start(ready=False)
    proxy.wait_held("probe", 1)
    assert con.get("k").body == b"there"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        done = pool.submit(con.put, "k", b"1")
        assert not concurrent.futures.wait([done], timeout=0.3).done
        proxy.add_rule("strip", op="PutObject")     # it ignores conditions
        proxy.release("probe")
        answer = done.result(30 * SLOW)
    assert (answer.status, answer.code) == (503, "unavailable")
    assert con.daemon.wait_exit(20) == 78
    con.daemon.stopped = True
    assert "would lose updates" in con.daemon.errors()[0]
    assert told(con) == []
    assert bucket.get("p/k") == b"there"


def test_the_result_is_kept(start, proxy, scratch):
    env = {"STATEPROXY_CAS_STATE_DIR": scratch}
    first = start(CAS, via=proxy, env=env)
    assert PASSES in first.daemon.log()
    conditions = first.daemon.status()["conditions"]
    first.daemon.stop()
    proxy.reset_counts()
    again = start(CAS, via=proxy, env=env)
    assert KEPT in again.daemon.log() and len(proxy.log()) <= 2
    assert again.daemon.status()["conditions"] == conditions


def test_a_worker_that_dies_during_the_probe(slow, proxy):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        lost = pool.submit(slow.put, "k", b"1")
        assert not concurrent.futures.wait([lost], timeout=0.3).done
        slow.daemon.kill_workers()
        with pytest.raises((ConnectionError, EOFError)):
            lost.result(30 * SLOW)
        later = pool.submit(slow.put, "k", b"2")
        assert not concurrent.futures.wait([later], timeout=0.3).done
        proxy.release("probe")
        assert later.result(30 * SLOW).status == 204


def test_an_end_during_the_probe(slow, proxy, bucket):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        done = pool.submit(slow.put, "k", b"1")
        assert not concurrent.futures.wait([done], timeout=0.3).done
        slow.daemon.term()
        util.wait_until(lambda: "draining" in slow.daemon.log(), 10, "the drain")
        proxy.release("probe")
        assert done.result(30 * SLOW).status == 204
    assert slow.daemon.wait_exit(20) == 0
    slow.daemon.stopped = True
    assert bucket.get("p/k") == b"1"


def test_with_a_mount_the_probe_comes_first(mount, proxy, scratch):
    m = mount(variant=CAS, via=proxy, env={"CONNECTOR_SOCKET": scratch / "c.sock"})
    log = m.log()
    assert re.search(PASSES + ".*\n(.*\n)*.* ready ", log)
    assert Connector(scratch / "c.sock").put("k", b"1").status == 204


@pytest.mark.counts
@pytest.mark.parametrize("variant", [LWW, CAS, STREAM])
def test_first_answer_of_a_distant_server(start, proxy, bucket, variant):
    """30 ms away: the time of a few round trips, not of a probe."""
    proxy.set_latency(30)
    bucket.put("p/k", b"1")
    took = []
    for _ in range(3):
        con = start(variant, via=proxy, ready=False)
        begun = time.monotonic()
        con.daemon.start(ready=False)

        def answered():
            try:
                return con.get("k").status == 200
            except (FileNotFoundError, ConnectionError):
                return False
        util.wait_until(answered, 20, "an answer", every=0.001)
        took.append(time.monotonic() - begun)
        con.daemon.wait_ready()
        con.daemon.stop()
    print([round(t * 1000) for t in took])
    assert min(took) < 0.6 * SLOW      # a probe takes seconds there

