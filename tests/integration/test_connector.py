"""The connector API: the black-box cases of its protocol, in each variant and on each server.

Each test says which cases it covers. Connectors here have no mount, unless a test says so."""

import concurrent.futures
import os
import pathlib
import socket
import subprocess
import sys
import time

import pytest

from harness import SLOW, util
from harness.connector import Connector

LWW, CAS, STREAM = "s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"
VARIANTS = [LWW, CAS, STREAM]


@pytest.fixture(params=["versitygw", "minio"])
def store(request, bucket_at):
    """A bucket of the test alone, on each server."""
    server = request.getfixturevalue("s3server" if request.param == "versitygw" else "minio")
    return bucket_at(server)


@pytest.fixture
def start(mount, scratch):
    """start(variant, ...) -> a Connector; its daemon is .daemon."""
    made = []

    def make(variant=LWW, env=None, ready=True, **kwargs):
        path = scratch / f"c{len(made)}.sock"
        daemon = mount(variant=variant, start=ready,
                       env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": path, **(env or {})}, **kwargs)
        con = Connector(path)
        con.daemon = daemon
        made.append(con)
        return con
    return make


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


@pytest.fixture
def con(start, store, variant):
    con = start(variant, s3=store, via=store.endpoint)
    con.s3 = store
    return con


@pytest.fixture(params=[LWW, STREAM])
def last(start, bucket, request):
    """A variant in which the last writer wins."""
    con = start(request.param)
    con.s3 = bucket
    return con


@pytest.fixture
def lww(start, bucket):
    con = start(LWW)
    con.s3 = bucket
    return con


@pytest.fixture
def cas(start, bucket):
    con = start(CAS)
    con.s3 = bucket
    return con


def stored(con, key):
    return con.s3.get(con.daemon.key(key))


# ---- objects: 1-15, 17, 20, 21, 23, 41

def test_objects(con):
    answer = con.request("GET", "/healthz")
    assert (answer.status, answer.body) == (200, b'{"status": "ready"}')
    assert answer.json() and answer.headers["content-length"] == "19"
    answer = con.put("a/b.txt", b"hello")
    assert (answer.status, answer.body) == (204, b"")
    assert "content-length" not in answer.headers
    assert stored(con, "a/b.txt") == b"hello"
    for target in ("/keys/a/b.txt", "/keys/a/b.txt?x=1", "http://localhost/keys/a/b.txt"):
        answer = con.request("GET", target)
        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.headers["content-length"] == "5"
    answer = con.get("none")
    assert (answer.status, answer.code) == (404, "key_not_found")
    assert answer.json()["message"] == "Key not found: none"
    answer = con.head("a/b.txt")
    assert (answer.status, answer.headers["content-length"]) == (204, "5")
    assert answer.headers["x-is-file"] == "true"
    assert con.head("none").status == 404
    assert con.head("a").status == 404
    for method in ("HEAD", "PUT", "DELETE"):
        assert con.request(method, "/keys/", b"x" if method == "PUT" else None).status == 404
    assert con.request("DELETE", "/keys/").code == "not_found"
    assert con.delete("a/b.txt").status == 204
    assert con.get("a/b.txt").status == 404
    answer = con.delete("none")
    assert (answer.status, answer.code) == (404, "key_not_found")


def test_empty_objects(con):
    for body, key in ((b"", "zero"), (None, "no-length")):
        assert con.put(key, body).status == 204
        answer = con.get(key)
        assert (answer.status, answer.headers["content-length"]) == (200, "0")
        answer = con.head(key)
        assert (answer.status, answer.headers["content-length"]) == (204, "0")


def test_chunked_bodies(con):
    assert con.request("PUT", "/keys/k", chunks=[b"abc", b"0123456789"]).status == 204
    assert con.get("k").body == b"abc0123456789"
    with con.raw() as raw:
        raw.send(b"PUT /keys/slow HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"3\r\nabc\r\n", b"A\r\n0123456789\r\n", b"0000b\r\nhello there\r\n", b"0\r\n\r\n"):
            time.sleep(0.2)
            raw.send(piece)
        assert raw.answer().status == 204
    assert con.get("slow").body == b"abc0123456789hello there"
    with con.raw() as raw:      # an extension, quoted, and trailers
        raw.send(b'PUT /keys/ext HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n'
                 b'3;x=y;z="1"\r\nabc\r\n0;last\r\nX-Sum: 7\r\nX-More: 8\r\n\r\n')
        assert raw.answer().status == 204
    assert con.get("ext").body == b"abc"
    with con.raw() as raw:      # the coding counts, not the length
        raw.send(b"PUT /keys/both HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
                 b"5\r\nhello\r\n0\r\n\r\n")
        assert raw.answer().status == 204
    assert con.get("both").body == b"hello"
    for bad in (b"zz\r\nabc\r\n", b"3\r\nabcdef\r\n", b"-3\r\nabc\r\n", b"ffffffffffffffff\r\n"):
        with con.raw() as raw:
            raw.send(b"PUT /keys/bad HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + bad)
            answer = raw.answer()
            assert (answer.status, answer.code) == (400, "bad_request"), bad
            assert raw.at_end()
    assert con.get("bad").status == 404


def test_exclusive_creation(con):
    only_new = [("If-None-Match", "*")]
    assert con.put("ex", b"1", only_new).status == 204
    answer = con.put("ex", b"2", only_new)
    assert (answer.status, answer.code) == (409, "conflict")
    assert answer.json()["message"] == "Exclusive create failed: key=ex already exists"
    assert con.get("ex").body == b"1"
    for header in (("If-None-Match", '"abc"'), ("If-Match", '"abc"')):
        assert con.put("ex", b"3", [header]).status == 204
    answer = con.request("PUT", "/keys/ex", chunks=[b"4"], headers=only_new)
    assert (answer.status, answer.code) == (409, "conflict")
    assert con.get("ex").body == b"3"


@pytest.mark.parametrize("op, size", [("PutObject", 10), ("PutObject", 6 << 20),
                                      ("CompleteMultipartUpload", 20 << 20)])
def test_exclusive_creation_whose_answer_is_lost(start, proxy, bucket, variant, op, size):
    """What is refused stays refused, of whatever size the other object is; what was made is made."""
    con = start(variant, via=proxy)
    body, only_new = os.urandom(size), [("If-None-Match", "*")]
    for i, other in enumerate((b"1", bytes(size))):
        key = f"other{i}"
        bucket.put(con.daemon.key(key), other)
        proxy.add_rule("drop", op=op, times=1)
        answer = con.put(key, body, only_new)
        # (Compare-and-set cannot tell whether it has replaced ours; unless a large body, which the
        # server refuses early, had not got through when the connection was lost.)
        allowed = [(409, "conflict")] if variant != CAS else [(500, "internal_error")]
        if variant == CAS and op == "PutObject" and size > 1 << 20:
            allowed.append((409, "conflict"))
        assert (answer.status, answer.code) in allowed
        assert bucket.get(con.daemon.key(key)) == other
        proxy.clear_rules()
    proxy.add_rule("drop", op=op, times=1)
    assert con.put("ours", body, only_new).status == 204
    assert bucket.get(con.daemon.key("ours")) == body
    assert not bucket.uploads()


def test_one_creator_of_many(start, store, variant):
    """22: over several daemons."""
    cons = [start(variant, s3=store, via=store.endpoint) for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        done = list(pool.map(lambda i: cons[i % 2].put("e", b"%d" % i, [("If-None-Match", "*")]).status,
                             range(16)))
    assert sorted(done) == [204] + [409] * 15
    assert not any("upload failed" in con.daemon.log() for con in cons), "a lock that is taken is no failure"


@pytest.mark.parametrize("mounted", [False, True])
def test_every_endpoint(mount, scratch, bucket, variant, mounted):
    """In each variant, alone and beside a mount: no request ends a worker."""
    env = {"CONNECTOR_SOCKET": scratch / "c.sock"}
    m = mount(variant=variant, env=env if mounted else {"STATE_MOUNT": None, **env})
    con = Connector(scratch / "c.sock")
    workers = m.worker_pids()
    for body in (b"one", b"another"):
        assert con.put("d/k", body).status == 204
        assert con.get("d/k").body == body
        assert con.get("d/k", [("Range", "bytes=-2")]).body == body[-2:]
        assert con.head("d/k").headers["content-length"] == str(len(body))
        assert con.list("prefix=d/&delimiter=/") == (["d/k"], [])
        assert con.request("PUT", "/meta/d/k?attr=content_type", b'{"value": "text/x"}').status == 204
        assert con.request("GET", "/meta/d/k?attr=content_type").json()["value"] == "text/x"
        assert con.put("d/k", b"x", [("If-None-Match", "*")]).status == 409
        assert con.request("POST", "/query", b"{}").status == (200 if variant == LWW else 501)
        if mounted:
            assert (m.path / "d/k").read_bytes() == body
        assert con.delete("d/k").status == 204
        assert con.delete("d/k").status == con.head("d/k").status == 404
        assert not mounted or not (m.path / "d/k").exists()
    assert bucket.list(m.key("")) == {}
    assert m.worker_pids() == workers
    m.check()


# ---- bodies that break off: 18, 19

def test_bodies_that_break_off(con):
    con.s3.put(con.daemon.key("k"), b"old")
    heads = (b"PUT /keys/k HTTP/1.1\r\nContent-Length: 100\r\n\r\n123456789",
             b"PUT /keys/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
             b"PUT /keys/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
             b"PUT /keys/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n")
    for head in heads:
        with con.raw() as raw:              # gone
            raw.send(head)
        with con.raw() as raw:              # sends no more, but listens
            raw.send(head)
            raw.sock.shutdown(socket.SHUT_WR)
            answer = raw.answer()
            assert (answer.status, answer.code) == (400, "bad_request")
    util.wait_until(lambda: con.daemon.ctl("sessions", "--json").out.strip() == "[]", 10,
                    "the end of all sessions")
    assert stored(con, "k") == b"old"
    assert con.s3.uploads() == []


def test_write_of_nothing_inside_a_streamed_body(lww):
    """A client that sends an empty chunk by mistake ends its body, and goes on."""
    start = b"PUT /keys/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    with lww.raw() as raw:
        raw.send(start + b"3\r\nabc\r\n0\r\n\r\n")
        answer = raw.answer()
        assert (answer.status, answer.code) == (400, "bad_request")
        assert raw.at_end()
    assert lww.get("k").status == 404
    with lww.raw() as raw:      # nothing followed but the end once more
        raw.send(start + b"0\r\n\r\n")
        assert raw.answer().status == 204
    assert lww.get("k").body == b"x"


# ---- answers to large bodies: 25; Expect

def test_refusal_of_a_large_body(con):
    con.s3.put(con.daemon.key("ex"), b"1")
    body = bytes(5 << 20)
    for target in ("/keys/ex", "/nope", "/keys/" + "k" * 1100):
        for chunks in (None, [body[:1 << 20]] * 5):
            answer = con.request("PUT", target, None if chunks else body, [("If-None-Match", "*")],
                                 chunks=chunks)
            assert answer.status in (400, 404, 409) and answer.code, target
    assert stored(con, "ex") == b"1"


def test_expect_continue(lww):
    with lww.raw() as raw:
        raw.send(b"PUT /keys/k HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert raw.head()[0] == 100
        raw.send(b"hello")
        assert raw.answer().status == 204
    assert lww.get("k").body == b"hello"
    with lww.raw() as raw:      # refused without a body
        raw.send(b"PUT /nope HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert raw.answer().status == 404
        assert raw.at_end()


# ---- listings: 26-35, 42

def test_listings(con):
    for key in ("a/b.txt", "ab", "d/", "d/f", "z"):
        con.s3.put(con.daemon.key(key), b"" if key.endswith("/") else b"x")
    everything = (["ab", "z"], ["a/", "d/"])
    assert con.list("prefix=&delimiter=/") == everything
    assert con.list() == everything
    assert con.request("GET", "/keys").json() == {"keys": everything[0], "prefixes": everything[1]}
    one = (["a/b.txt"], [])
    assert con.list("prefix=a/&delimiter=/") == one
    assert con.request("GET", "/keys?prefix=a/&delimiter=/").json()["keys"] == ["a/b.txt"]
    assert con.list("prefix=a%2F&delimiter=%2F") == one
    assert con.list("prefix=a&delimiter=/") == (["ab"], ["a/"])
    assert con.list("prefix=a&delimiter=") == (["ab"], ["a/"])
    assert con.list("prefix=zzz/&delimiter=/") == ([], [])
    answer = con.request("GET", "/keys/?prefix=zzz/&delimiter=/")
    assert answer.body == b'{"keys": [], "prefixes": []}'
    assert con.list("prefix=d/&delimiter=/") == (["d/", "d/f"], [])
    assert con.list("delimiter=|") == (["a/b.txt", "ab", "d/", "d/f", "z"], [])


def test_other_delimiters(lww):
    for key in ("x-1", "x-2", "y", "z--a", "z--b/c"):
        lww.s3.put(lww.daemon.key(key), b"x")
    assert lww.list("delimiter=-") == (["y"], ["x-", "z-"])
    assert lww.list("delimiter=--") == (["x-1", "x-2", "y"], ["z--"])
    assert lww.list("prefix=z--&delimiter=-") == (["z--a", "z--b/c"], [])


def test_names_that_a_query_would_change(con):
    """The stock client sends the name of a directory as it is."""
    for key in ("p+q/1", "p&q/2", "p q/3", "p/4", "p%/5", "a=b&delimiter=/6"):
        con.s3.put(con.daemon.key(key), b"x")
    assert con.list("prefix=p+q/&delimiter=/") == (["p+q/1"], [])
    assert con.list("prefix=p&q/&delimiter=/") == (["p&q/2"], [])
    assert con.list("prefix=p%20q/&delimiter=/") == (["p q/3"], [])
    assert con.list("prefix=p%/&delimiter=/") == (["p%/5"], [])
    assert con.list("delimiter=/&prefix=p+q/") == (["p q/3"], [])


def test_listing_of_2500(start, bucket2500, variant):
    con = start(variant, s3=bucket2500)
    keys, prefixes = con.list("prefix=many/&delimiter=/")
    assert keys == [f"many/{i:04d}.txt" for i in range(2500)] and prefixes == []
    answer = con.request("GET", "/keys/?prefix=many/", version="1.0")
    assert len(answer.json()["keys"]) == 2500


def test_listing_of_many_prefixes(lww):
    """More than are kept: they are listed a second time, in bounded memory."""
    name = "d" * 200
    lww.s3.put_many((lww.daemon.key(f"{name}{i:04d}/f"), b"") for i in range(1500))
    lww.s3.put(lww.daemon.key("k"), b"")
    assert lww.list() == (["k"], [f"{name}{i:04d}/" for i in range(1500)])


def test_unusual_characters(con):
    """38-40: keys are bytes; nothing is decoded. JSON is ASCII."""
    for key in ("100%41.txt", "sp%20ace", "s;1", "s;2", "h#1", "h#2", "q&a=1", "pl+us"):
        assert con.put(key, key.encode()).status == 204, key
    for key in ("100%41.txt", "sp%20ace", "s;1", "s;2", "h#1", "h#2", "q&a=1", "pl+us"):
        assert con.get(key).body == key.encode()
        assert stored(con, key) == key.encode()
    con.s3.put(con.daemon.key('é"\U0001f600'), b"")
    body = con.request("GET", "/keys/?prefix=%C3%A9").body
    assert body == b'{"keys": ["\\u00e9\\"\\ud83d\\ude00"], "prefixes": []}'
    assert len(con.list()[0]) == 9


def test_prefixes(start, bucket):
    """36: what is beside the prefix is invisible."""
    con = start(prefix="models/v2")
    bucket.put("models/v20/x", b"")
    assert con.put("k", b"1").status == 204
    assert bucket.get("models/v2/k") == b"1"
    assert con.list() == (["k"], [])
    bare = start(prefix="")
    assert bare.get("models/v2/k").body == b"1"
    assert bare.list() == ([], ["models/"])


# ---- ranges

def test_ranges(con):
    con.s3.put(con.daemon.key("k"), b"0123456789")
    con.s3.put(con.daemon.key("empty"), b"")
    for value, body, told in (("bytes=2-4", b"234", "bytes 2-4/10"), ("bytes=7-", b"789", "bytes 7-9/10"),
                              ("bytes=0-99", b"0123456789", "bytes 0-9/10"),
                              ("bytes=-3", b"789", "bytes 7-9/10"),
                              ("bytes=-30", b"0123456789", "bytes 0-9/10")):
        answer = con.get("k", [("Range", value)])
        assert (answer.status, answer.body, answer.headers["content-range"]) == (206, body, told)
    for value in ("bytes=4-2", "lines=1-2", "bytes=1-2,4-5", "bytes=-", "bytes=x"):
        assert con.get("k", [("Range", value)]).body == b"0123456789"
    for key, value in (("k", "bytes=10-"), ("empty", "bytes=0-9"), ("empty", "bytes=-3"), ("k", "bytes=-0")):
        answer = con.get(key, [("Range", value)])
        assert (answer.status, answer.code) == (416, "range_not_satisfiable"), (key, value)


# ---- routes: 57, 58; the wire: 76, 77

def test_routes(con):
    for method, target in (("GET", "/nope"), ("GET", "/"), ("POST", "/keys/a"), ("HEAD", "/healthz"),
                           ("DELETE", "/meta/k"), ("GET", "/keysx"), ("PUT", "/healthz")):
        answer = con.request(method, target)
        assert answer.status == 404, (method, target)
        if method != "HEAD":
            assert answer.json() == {"error": "not_found"}
    for method in ("PATCH", "OPTIONS"):
        answer = con.request(method, "/keys/a")
        assert (answer.status, answer.code) == (501, "not_implemented")


def test_the_wire(con):
    con.put("a", b"1")
    assert con.request("GET", "/keys/a", version="1.0").body == b"1"
    with con.raw() as raw:      # kept alive
        for _ in range(3):
            raw.send(b"GET /keys/a HTTP/1.1\r\nHost: x\r\n\r\n")
            assert raw.answer().body == b"1"
        raw.send(b"GET /keys/a HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert raw.answer().headers["connection"] == "close"
        assert raw.at_end()
    with con.raw() as raw:      # pipelined
        raw.send(b"GET /keys/a HTTP/1.1\r\n\r\nGET /keys/none HTTP/1.1\r\n\r\n"
                 b"PUT /keys/b HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyHEAD /keys/b HTTP/1.1\r\n\r\n")
        assert raw.answer().status == 200
        assert raw.answer().status == 404
        assert raw.answer().status == 204
        assert raw.answer("HEAD").headers["content-length"] == "2"
    for bad in (b"GET /a b HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n", b"GET /keys/a HTTP/2.0\r\n\r\n",
                b"GET /keys/a HTTP/1.1\r\nno colon\r\n\r\n",
                b"PUT /keys/a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                b"PUT /keys/a HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                b"GET /keys/a\0 HTTP/1.1\r\n\r\n"):
        with con.raw() as raw:
            raw.send(bad)
            answer = raw.answer()
            assert (answer.status, answer.code) == (400, "bad_request"), bad
            assert raw.at_end()
    with con.raw() as raw:
        raw.send(b"GET /keys/a HTTP/1.1\r\nX: " + b"x" * 20000)
        assert raw.answer().status == 431
    with con.raw() as raw:
        raw.send(b"PUT /keys/a HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n")
        assert raw.answer().status == 501
    assert con.get("a").body == b"1"


def test_nobody_waits_for_a_silent_client(lww):
    """70, 71."""
    lww.put("k", b"1")
    with lww.raw() as idle, lww.raw() as half, lww.raw() as writer:
        half.send(b"GET /keys/k HT")
        writer.send(b"PUT /keys/w HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        for _ in range(8):
            begun = time.monotonic()
            assert lww.request("GET", "/healthz").status == 200
            assert lww.head("k").status == 204
            assert lww.get("k").body == b"1"
            assert lww.put("k", b"1").status == 204
            assert time.monotonic() - begun < 2 * SLOW
        half.send(b"TP/1.1\r\n\r\n")
        assert half.answer().body == b"1"
        writer.send(b"0\r\n\r\n")
        assert writer.answer().status == 204
        idle.send(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert idle.answer().status == 200
    assert lww.get("w").body == b"abc"


# ---- compare-and-set: 59-68

def test_cas_rules(cas):
    s3, key = cas.s3, cas.daemon.key
    assert [cas.put("k", b"1").status, cas.put("k", b"2").status] == [204, 204]
    for i in range(5):
        assert cas.get("k").status == 200
        assert cas.put("k", b"%d" % i).status == 204
    assert cas.get("k").status == 200
    etag = s3.head(key("k"))["ETag"]
    s3.put(key("k"), b"external")
    answer = cas.put("k", b"mine")
    assert (answer.status, answer.code) == (409, "conflict")
    assert answer.json()["message"] == f"CAS conflict: key=k cached_etag={etag}"
    assert s3.get(key("k")) == b"external"
    assert cas.put("k", b"again").status == 409      # until it is read
    assert cas.get("k").body == b"external"
    assert cas.put("k", b"mine").status == 204
    # deleted by itself: unconditional
    assert cas.get("k").status == 200
    assert cas.delete("k").status == 204
    s3.put(key("k"), b"external")
    assert cas.put("k", b"new").status == 204
    # deleted elsewhere: a conflict once, then free
    assert cas.get("k").status == 200
    s3.delete(key("k"))
    answer = cas.put("k", b"x")
    assert (answer.status, answer.code) == (409, "conflict")
    assert cas.get("k").status == 404
    assert cas.put("k", b"x").status == 204


def test_what_arms_no_condition(cas):
    """66, 67."""
    key = cas.daemon.key
    cas.s3.put(key("k"), b"1")
    assert cas.head("k").status == 204
    assert cas.list() == (["k"], [])
    cas.s3.put(key("k"), b"2")
    assert cas.put("k", b"3").status == 204
    assert cas.put("e", b"1", [("If-None-Match", "*")]).status == 204
    assert cas.put("e", b"2").status == 204
    cas.s3.put(key("e"), b"external")
    assert cas.put("e", b"3").status == 409
    # only ever written: after a conflict it is free
    assert cas.put("e", b"4").status == 204


ASK = """
import sys
sys.path.insert(0, {path!r})
from harness.connector import Connector
con = Connector({socket!r})
for line in sys.stdin:
    method, key, body = line.split()
    answer = con.put(key, body.encode()) if method == "PUT" else con.request(method, "/keys/" + key)
    print(answer.status, flush=True)
"""


class Other:
    """Another process that uses the connector."""

    def __init__(self, con):
        text = ASK.format(path=str(pathlib.Path(__file__).parent), socket=str(con.path))
        self.proc = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True)

    def ask(self, method, key, body="-"):
        self.proc.stdin.write(f"{method} {key} {body}\n")
        self.proc.stdin.flush()
        return int(self.proc.stdout.readline())

    def stop(self):
        self.proc.stdin.close()
        self.proc.stdout.close()
        self.proc.wait(20)


@pytest.fixture
def other():
    made = []

    def make(con):
        made.append(Other(con))
        return made[-1]
    yield make
    for o in made:
        o.stop()


def test_baselines_of_two_processes(cas, other):
    """65: a lost update, which one baseline for all would let through."""
    a, b = other(cas), other(cas)
    assert a.ask("PUT", "k", "0") == 204
    assert [a.ask("GET", "k"), b.ask("GET", "k")] == [200, 200]
    assert b.ask("PUT", "k", "b") == 204
    assert a.ask("PUT", "k", "a") == 409
    assert stored(cas, "k") == b"b"
    assert a.ask("GET", "k") == 200
    assert a.ask("PUT", "k", "a") == 204


def test_last_write_wins(last):
    """68."""
    key = last.daemon.key
    last.put("k", b"1")
    assert last.get("k").status == 200
    last.s3.put(key("k"), b"external")
    assert last.put("k", b"2").status == 204
    assert last.s3.get(key("k")) == b"2"
    last.s3.delete(key("k"))
    assert last.put("k", b"3").status == 204
    assert last.s3.get(key("k")) == b"3"
    last.s3.put(key("k"), b"external")
    assert last.delete("k").status == 204
    assert last.get("k").status == 404


def test_many_writers_of_one_key(last):
    """Each of them succeeds, and the last one wins."""
    with concurrent.futures.ThreadPoolExecutor(48) as pool:
        done = list(pool.map(lambda i: last.put("k", b"%03d" % i * 1000).status, range(144)))
    assert done == [204] * 144
    body = last.get("k").body
    assert body == body[:3] * 1000
    assert "no-put-conditions" not in last.daemon.status()["traits"], "the server keeps them, they were only in the way"


# ---- large objects: 69

def memory_of(con):
    """Proportional memory of all its processes, in bytes; shared memory once."""
    total = 0
    for pid in con.daemon.processes():
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += sum(int(x.split()[1]) for x in f if x.startswith("Pss:")) << 10
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


def test_large_objects_in_bounded_memory(con):
    piece = os.urandom(1 << 20)
    assert con.request("PUT", "/keys/big", chunks=[piece] * 96).status == 204
    assert con.s3.size(con.daemon.key("big")) == 96 << 20
    peak = 0
    with con.raw() as raw:
        raw.send(b"GET /keys/big HTTP/1.1\r\n\r\n")
        status, headers = raw.head()
        assert (status, int(headers["content-length"])) == (200, 96 << 20)
        for _ in range(96):
            assert raw.take(1 << 20) == piece
            peak = max(peak, memory_of(con))
    if SLOW == 1:
        assert peak < 64 << 20, f"{peak >> 20} MiB"


def test_slow_reader_gets_everything(lww):
    """It holds up nobody, and no connection to S3; what is missing is asked for when it goes on."""
    body = os.urandom(12 << 20)
    lww.s3.put(lww.daemon.key("big"), body)
    readers = [lww.raw() for _ in range(40)]
    for r in readers:
        r.send(b"GET /keys/big HTTP/1.1\r\n\r\n")
        assert r.head()[0] == 200
    time.sleep(1.5)             # longer than a connection is held for somebody who takes nothing
    assert lww.get("big").body == body
    assert lww.put("k", b"1").status == 204
    for r in readers[:6]:
        assert r.take(len(body)) == body
    lww.s3.put(lww.daemon.key("big"), body[::-1])
    with pytest.raises((EOFError, ConnectionResetError)):   # never a mix of two versions
        readers[7].take(len(body))
    for r in readers:
        r.close()


# ---- the socket, the start and the end: 78-81

def test_socket_file(lww, scratch):
    assert os.stat(lww.path).st_mode & 0o7777 == 0o666
    assert not os.path.exists(f"{lww.path}.new")
    lww.daemon.stop()
    with pytest.raises(ConnectionRefusedError):     # not FileNotFoundError: "no such key"
        lww.head("k")


def test_stale_socket_is_replaced(start, scratch):
    path = scratch / "c0.sock"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
    con = start(env={"STATEPROXY_CONNECTOR_MODE": "0600"})
    assert con.path == path
    assert con.put("k", b"1").status == 204
    assert os.stat(path).st_mode & 0o7777 == 0o600


def test_socket_of_another_daemon_is_left_alone(lww, start):
    second = start(env={"CONNECTOR_SOCKET": lww.path}, ready=False)
    code, errors = second.daemon.start_refused()
    assert code == 73 and "another process serves" in errors[-1]
    assert lww.put("k", b"1").status == 204


def test_missing_configuration(start):
    for env, name in (({"CONNECTOR_SOCKET": None}, "STATE_MOUNT"),
                      ({"STATE_BUCKET": None}, "STATE_BUCKET")):
        code, errors = start(env=env, ready=False).daemon.start_refused()
        assert code == 1 and name in errors[-1], errors


def test_end_with_a_put_under_way(con):
    """80."""
    with con.raw() as raw:
        raw.send(b"PUT /keys/k HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345")
        util.wait_until(lambda: con.daemon.ctl("sessions", "--json").out.strip() != "[]", 10,
                        "a session")
        con.daemon.term()
        util.wait_until(lambda: "draining" in con.daemon.log(), 10, "the drain")
        time.sleep(0.3)
        assert con.request("GET", "/healthz").status == 200
        raw.send(b"67890")
        assert raw.answer().status == 204
    assert con.daemon.wait_exit(20) == 0
    con.daemon.stopped = True
    assert stored(con, "k") == b"1234567890"
    with pytest.raises(ConnectionRefusedError):
        con.head("k")


def test_another_user(lww):
    """81."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    os.chmod(os.path.dirname(lww.path), 0o755)
    pid = os.fork()
    if pid == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            os._exit(0 if lww.put("k", b"1").status == 204 else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_without_privileges(mount, scratch, bucket):
    """No /dev/fuse, no root."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    os.chmod(scratch, 0o777)
    m = mount(start=False, env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": scratch / "u.sock",
                                "HOME": scratch})
    for d in (m.dir, m.buffer_dir):
        os.chmod(d, 0o777)
    m.wrap = lambda *command: ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups",
                               "--bounding-set=-all", *command]
    m.start()
    con = Connector(scratch / "u.sock")
    assert con.put("k", b"1").status == 204
    assert con.get("k").body == b"1"


# ---- failures of S3: 72-75

SHORT = {"STATEPROXY_S3_DEADLINE": "2s", "STATEPROXY_S3_ATTEMPT_TIMEOUT": "1s",
         "STATEPROXY_S3_CONNECT_TIMEOUT": "1s"}


def all_five(con):
    return [con.get("k"), con.head("k"), con.put("k", b"2"), con.delete("k"),
            con.request("GET", "/keys/")]


def check_all(con, status, code):
    for i, answer in enumerate(all_five(con)):
        assert answer.status == status, (i, answer)
        if answer.body:
            assert answer.code == code and answer.json()["message"], (i, answer)


@pytest.mark.repeats
def test_failures_of_s3(start, proxy, bucket, variant):
    con = start(variant, via=proxy, env=SHORT)
    bucket.put(con.daemon.key("k"), b"1")
    for status, told, code, want in ((403, 403, "AccessDenied", "permission_denied"),
                                     (503, 503, "SlowDown", "unavailable"),
                                     (500, 500, "InternalError", "internal_error")):
        proxy.add_rule("answer", status=status, code=code)
        check_all(con, told, want)
        proxy.clear_rules()
    proxy.block("refuse")
    check_all(con, 503, "unavailable")
    assert con.request("GET", "/healthz").status == 200
    assert con.request("GET", "/readyz").status == 503
    proxy.unblock()
    proxy.block("blackhole")
    for answer in all_five(con):
        assert answer.status in (503, 504), answer
    proxy.unblock()
    assert con.get("k").body == b"1"
    assert con.request("GET", "/readyz").body == b'{"status": "ready"}'


def test_stalling_s3(start, proxy, bucket):
    con = start(via=proxy, env=SHORT)
    bucket.put(con.daemon.key("k"), b"1")
    proxy.hold("all")
    begun = time.monotonic()
    answer = con.get("k")
    assert (answer.status, answer.code) == (504, "timeout")
    assert time.monotonic() - begun < 5 * SLOW
    proxy.clear_rules()


def test_missing_bucket(con):
    con.put("k", b"1")
    con.s3.delete(con.daemon.key("k"))
    con.s3.remove()
    # (a 404 without a code, to a HEAD, is believed for five seconds after the last answer to the same credentials)
    answers = []

    def all_refuse():
        answers[:] = all_five(con)
        return all(a.status == 500 for a in answers)
    util.wait_until(all_refuse, 20, "the end of the trust in a HEAD, in each worker")
    for answer in answers:
        if answer.body:
            assert answer.code == "internal_error" and "NoSuchBucket" in answer.json()["message"]
    con.s3.create()


# ---- workers that die

def test_killed_workers(lww):
    """An answer that breaks off is a reset, a body that breaks off publishes nothing."""
    body = os.urandom(8 << 20)
    lww.s3.put(lww.daemon.key("big"), body)
    with lww.raw() as reader, lww.raw() as writer:
        reader.send(b"GET /keys/big HTTP/1.1\r\n\r\n")
        assert reader.head()[0] == 200
        writer.send(b"PUT /keys/w HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345")
        util.wait_until(lambda: lww.daemon.ctl("sessions", "--json").out.strip() != "[]", 10,
                        "a session")
        lww.daemon.kill_workers()
        with pytest.raises(ConnectionResetError):
            reader.take(len(body))
        with pytest.raises((BrokenPipeError, ConnectionResetError, EOFError)):
            writer.send(b"67890")
            writer.answer()
        for _ in range(20):         # no connection is refused, ever
            assert lww.request("GET", "/healthz").status == 200
    assert lww.get("w").status == 404
    assert lww.get("big").body == body
    assert lww.put("w", b"1").status == 204
    util.wait_until(lambda: lww.daemon.ctl("sessions", "--json").out.strip() == "[]", 10,
                    "the end of all sessions")
    lww.daemon.check()


def lose_delete(con, proxy, key, op="DeleteObject"):
    """DELETE, or the HEAD before it, acts, and its worker dies."""
    proxy.hold(op, op=op, key=con.daemon.key(key), when="after", times=1)
    with con.raw() as raw:
        raw.send(f"DELETE /keys/{key} HTTP/1.1\r\n\r\n".encode())
        proxy.wait_held(op)
        dead = con.daemon.kill_workers()
        with pytest.raises(ConnectionResetError):
            raw.answer()
    proxy.release(op)
    con.daemon.wait_workers(2, without=dead)        # what it had sent is known when its replacement has looked
    assert con.request("GET", "/healthz").status == 200


@pytest.mark.parametrize("read", [True, False])
def test_a_delete_that_is_repeated(start, proxy, bucket, read):
    """What its worker had done before it died is done, once; the next write is unconditional."""
    cas = start(CAS, via=proxy)
    bucket.put(cas.daemon.key("k"), b"1")
    if read:
        assert cas.get("k").body == b"1"
    lose_delete(cas, proxy, "k")
    lose_delete(cas, proxy, "k", "HeadObject")
    rule = proxy.add_rule("answer", status=403, code="AccessDenied", op="HeadObject")
    assert cas.delete("k").status == 403
    proxy.remove_rule(rule)
    assert cas.delete("k").status == 204
    assert cas.delete("k").status == 404
    bucket.put(cas.daemon.key("k"), b"external")
    assert cas.put("k", b"2").status == 204
    assert cas.delete("k").status == 204 and not bucket.exists(cas.daemon.key("k"))
    cas.daemon.check()


def test_a_repeated_delete_waits_for_the_first(start, proxy, bucket):
    """It was on its way when its worker died, and acts before the second one is sent: that is no conflict."""
    cas = start(CAS, via=proxy)
    key = cas.daemon.key("k")
    bucket.put(key, b"1")
    assert cas.get("k").body == b"1"
    proxy.hold("sent", op="DeleteObject", key=key, times=1)
    with cas.raw() as raw:
        raw.send(b"DELETE /keys/k HTTP/1.1\r\n\r\n")
        proxy.wait_held("sent")
        cas.daemon.kill_workers()
        with pytest.raises(ConnectionResetError):
            raw.answer()
    proxy.hold("again", op="HeadObject", key=key, when="after", nth=2)
    proxy.hold("again", op="DeleteObject", key=key)     # (where the first one is so long ago that nobody waits for it)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        repeated = pool.submit(cas.delete, "k")
        proxy.wait_held("again")                # it has seen the version twice, or is to delete it now
        bucket.delete(key)                      # as the first one does
        proxy.release("again")
        assert repeated.result(60).status == 204
    proxy.clear_rules()
    cas.daemon.check()


def test_a_delete_that_was_lost_excuses_no_other(start, proxy, bucket):
    """What has come since is judged as ever, or goes."""
    cas = start(CAS, via=proxy)
    key = cas.daemon.key("k")
    for other in b"theirs", b"1":
        bucket.put(key, b"1")
        assert cas.get("k").body == b"1"
        lose_delete(cas, proxy, "k")
        bucket.put(key, other)
        if other != b"1":
            assert cas.delete("k").status == 409 and bucket.get(key) == other
            assert cas.get("k").body == other
        assert cas.delete("k").status == 204 and not bucket.exists(key)
    assert cas.put("k", b"1").status == 204
    lose_delete(cas, proxy, "k")
    assert cas.get("k").status == 404
    util.wait_until(lambda: cas.put("k", b"1").status == 204, what="the end of the conflict")
    assert cas.delete("k").status == 204 and not bucket.exists(key)
    assert cas.delete("k").status == 404
    # what others have removed is not its own work
    assert cas.put("k", b"1").status == 204
    lose_delete(cas, proxy, "k")
    util.wait_until(lambda: cas.put("k", b"22").status == 204, what="the end of the conflict")
    bucket.delete(key)
    assert cas.delete("k").status == 404
    cas.daemon.check()


# ---- both faces

def test_mount_and_socket(mount, scratch, variant):
    """A file that is put is read through the mount at once, and the other way round."""
    m = mount(variant=variant, env={"CONNECTOR_SOCKET": scratch / "c.sock"})
    con = Connector(scratch / "c.sock")
    for i in range(3):
        assert con.put("d/k", b"put %d" % i).status == 204
        assert (m.path / "d/k").read_bytes() == b"put %d" % i
        assert (m.path / "d/k").stat().st_size == 5
        assert os.listdir(m.path / "d") == ["k"]
        (m.path / "d/k").write_bytes(b"written %d" % i)
        assert con.get("d/k").body == b"written %d" % i
    assert con.put("d/new", b"1").status == 204
    assert sorted(os.listdir(m.path / "d")) == ["k", "new"]
    assert con.delete("d/k").status == 204
    assert not (m.path / "d/k").exists()
    assert os.listdir(m.path / "d") == ["new"]
    m.check()


def test_baselines_of_both_faces(mount, scratch, bucket):
    """What this process reads through one is what it expects through the other."""
    m = mount(variant=CAS, env={"CONNECTOR_SOCKET": scratch / "c.sock"})
    con = Connector(scratch / "c.sock")
    assert con.put("k", b"1").status == 204
    assert (m.path / "k").read_bytes() == b"1"
    bucket.put(m.key("k"), b"external")
    assert con.put("k", b"2").status == 409
    assert con.get("k").body == b"external"
    (m.path / "k").write_bytes(b"3")
    assert con.put("k", b"4").status == 204
    bucket.put(m.key("k"), b"external")
    with pytest.raises(FileExistsError):
        (m.path / "k").write_bytes(b"5")
