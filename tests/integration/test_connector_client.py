"""The connector as Asya's stock client uses it (case 83), its attributes, and queries."""

import errno
import json
import os
import pickle
import time
import urllib.error
import urllib.request

import pytest

from harness import SLOW, util
from harness.asya import Client
from harness.connector import Connector
from test_connector import CAS, LWW, STREAM, con, lww, start, store, variant   # noqa: F401

NAMES = ["url", "presigned_url", "etag", "content_type", "version", "storage_class"]


# ---- the stock client: 83

@pytest.mark.parametrize("streams", [False, True])
def test_stock_client(con, streams):
    client = Client(con.path, streams)
    with client.open("d/state.json", "w") as f:
        json.dump({"count": 1}, f)
    assert json.load(client.open("d/state.json")) == {"count": 1}
    with client.open("d/p", "wb") as f:
        pickle.dump(list(range(1000)), f)
    assert pickle.load(client.open("d/p", "rb")) == list(range(1000))
    big = os.urandom(6 << 20)
    with client.open("d/big", "wb") as f:
        for at in range(0, len(big), 1 << 16):
            f.write(big[at:at + (1 << 16)])
    f = client.open("d/big", "rb")
    f.seek(-10, 2)
    assert f.read() == big[-10:]
    assert client.stat_size("d/big") == len(big)
    assert client.listdir("d") == ["big", "p", "state.json"]
    assert client.listdir("") == ["d"]
    assert client.listdir("none") == []
    assert client.exists("d/p") and not client.exists("d") and not client.exists("none")
    with client.open("once", "x") as f:
        f.write("elected")
    with pytest.raises(FileExistsError):
        with client.open("once", "x") as f:
            f.write("too late")
    assert client.open("once").read() == "elected"
    client.remove("d/p")
    for call in (lambda: client.open("d/p"), lambda: client.stat_size("d/p"),
                 lambda: client.remove("d/p")):
        with pytest.raises(FileNotFoundError):
            call()


def test_exceptions_of_the_stock_client(start, proxy, bucket):
    con = start(via=proxy, env={"STATEPROXY_S3_DEADLINE": "1s", "STATEPROXY_S3_ATTEMPT_TIMEOUT": "500ms",
                                "STATEPROXY_S3_CONNECT_TIMEOUT": "500ms"})
    client = Client(con.path)
    bucket.put(con.daemon.key("k"), b"1")
    proxy.add_rule("answer", status=403, code="AccessDenied")
    with pytest.raises(PermissionError):
        client.open("k")
    proxy.clear_rules()
    proxy.hold("all")
    with pytest.raises(TimeoutError):
        client.open("k")
    proxy.clear_rules()
    proxy.block("refuse")
    with pytest.raises(ConnectionError):
        client.open("k")
    with pytest.raises(ConnectionError):
        with client.open("k", "w") as f:
            f.write("2")
    proxy.unblock()


# ---- attributes: 43-56

def fetch(url):
    with urllib.request.urlopen(url, timeout=20 * SLOW) as answer:
        return answer.read()


def test_attributes(con):
    key = con.daemon.key("a b/k%")
    con.s3.put(key, b"body", Metadata={"color": "blue"})
    name = "a b/k%"
    target = "/meta/" + name.replace(" ", "\u00a0")
    assert con.request("GET", "/meta/any").json() == {"attrs": NAMES}
    con.put("k", b"body")
    head = con.s3.head(con.daemon.key("k"))

    def value(attr):
        answer = con.request("GET", f"/meta/k?attr={attr}")
        assert answer.status == 200, answer
        assert answer.json()["attr"] == attr
        return answer.json()["value"]

    assert value("url") == f"s3://{con.s3.bucket}/{con.daemon.key('k')}"
    assert value("etag") == head["ETag"] and value("etag").startswith('"')
    assert value("content_type") == "binary/octet-stream"
    assert (value("version"), value("storage_class")) == ("", "STANDARD")
    assert fetch(value("presigned_url")) == b"body"
    assert con.request("GET", "/meta/none?attr=url").status == 200
    answer = con.request("GET", "/meta/k?attr=nosuch")
    assert (answer.status, answer.code) == (400, "unsupported_attribute")
    assert answer.json()["message"] == "'Unsupported attribute: nosuch'"
    for attr in ("etag", "content_type", "version", "storage_class"):
        answer = con.request("GET", f"/meta/none?attr={attr}")
        assert (answer.status, answer.code) == (404, "key_not_found")
    assert target


def test_presigned_urls(start, bucket):
    con = start(env={"STATE_PRESIGN_TTL": "1"})
    for key in ("sp%20ace", "a+b&c=d", "s;1", "d/\u00e9".encode().decode("latin-1")):
        bucket.put(con.daemon.key(key), key.encode())
        if not key.isascii():
            continue
        url = con.request("GET", f"/meta/{key}?attr=presigned_url").json()["value"]
        assert fetch(url) == key.encode(), url
    assert "X-Amz-Expires=1" in url and "X-Amz-Signature=" in url

    def expired():
        try:
            fetch(url)
        except urllib.error.HTTPError as e:
            return e.code == 403
    util.wait_until(expired, 10, "the end of the URL")
    with pytest.raises(urllib.error.HTTPError):
        fetch(url[:-1] + ("0" if url[-1] != "0" else "1"))


def test_content_type(con):
    key = con.daemon.key("k")
    con.s3.put(key, b"body", Metadata={"color": "blue"})

    def put(attr, body, name="k"):
        query = f"?attr={attr}" if attr else ""
        return con.request("PUT", f"/meta/{name}{query}", body)

    assert con.get("k").status == 200
    assert put("content_type", b'{"value": "text/plain"}').status == 204
    head = con.s3.head(key)
    assert (head["ContentType"], head["Metadata"]) == ("text/plain", {"color": "blue"})
    assert con.get("k").body == b"body"
    assert con.put("k", b"new").status == 204       # no conflict with its own copy
    for attr, body, status, code in (
            ("url", b'{"value": "x"}', 403, "permission_denied"),
            ("nosuch", b'{"value": "x"}', 400, "unsupported_attribute"),
            ("", b'{"value": "x"}', 400, "bad_request"),
            ("content_type", b"{bad", 400, "bad_request"),
            ("content_type", b"[]", 400, "bad_request"),
            ("content_type", b'{"value": 7}', 400, "bad_request"),
            ("content_type", b'{"value": "a\\r\\nb"}', 400, "bad_request"),
            ("content_type", b"x" * 70000, 413, "too_large")):
        answer = put(attr, body)
        assert (answer.status, answer.code) == (status, code), (attr, body[:20])
    answer = put("content_type", b'{"value": "text/plain"}', "none")
    assert (answer.status, answer.code) == (404, "key_not_found")
    client = Client(con.path)
    client.setxattr("k", "content_type", b"text/csv")
    assert client.getxattr("k", "content_type") == b"text/csv"
    assert client.listxattr("k") == [f"user.asya.{n}" for n in NAMES]
    with pytest.raises(OSError) as e:
        client.getxattr("k", "nosuch")
    assert e.value.errno == errno.ENODATA
    with pytest.raises(PermissionError):
        client.setxattr("k", "etag", b"x")


# ---- queries: 57, 82

def ask(con, **query):
    return con.request("POST", "/query", json.dumps(query).encode())


def test_queries(lww):
    docs = {"q/1": {"name": "b", "n": 2, "deep": {"er": True}}, "q/2": {"name": "a", "n": 10},
            "q/3": {"name": "c", "n": 2, "deep": {"er": False}}, "other/1": {"name": "d"}}
    for key, doc in docs.items():
        lww.s3.put(lww.daemon.key(key), json.dumps(doc).encode())
    lww.s3.put(lww.daemon.key("q/text"), b"no json")
    lww.s3.put(lww.daemon.key("q/empty"), b"")

    def rows(**query):
        answer = ask(lww, **query)
        assert answer.status == 200, answer
        return answer.json()["rows"], answer.json()["total"]

    d1, d2, d3 = docs["q/1"], docs["q/2"], docs["q/3"]
    assert rows(prefix="q/") == ([d1, d2, d3], 3)
    assert rows() == ([docs["other/1"], d1, d2, d3], 4)
    assert rows(prefix="q/", filter={"n": 2}) == ([d1, d3], 2)
    assert rows(prefix="q/", filter={"n": "2", "name": "c"}) == ([d3], 1)
    assert rows(filter={"deep.er": True}) == ([d1], 1)
    assert rows(filter={"deep.er": "False"}) == ([d3], 1)
    assert rows(prefix="q/", sort=["name"]) == ([d2, d1, d3], 3)
    assert rows(prefix="q/", sort=["-name"]) == ([d3, d1, d2], 3)
    assert rows(prefix="q/", sort=["n", "-name"]) == ([d2, d3, d1], 3)
    assert rows(prefix="q/", sort=["name"], limit=1, offset=1) == ([d1], 3)
    assert rows(prefix="q/", limit=1, offset=1) == ([d2], 3)
    assert rows(prefix="q/", limit=0) == ([], 3)
    assert rows(prefix="none/") == ([], 0)
    for bad in ({"filter": []}, {"filter": {"a-b": 1}}, {"sort": "name"}, {"sort": ["1x"]}, {"sort": [7]},
                {"limit": -1}, {"offset": -1}, {"limit": 10001}, {"limit": "5"}, {"limit": True},
                {"prefix": 7}):
        answer = ask(lww, **bad)
        assert (answer.status, answer.code) == (400, "bad_request"), bad
    for body in (b"", b"[]", b"{bad", b"7", b"[" * 5000, b" " * (1 << 20) + b"{}"):
        answer = lww.request("POST", "/query", body)
        assert (answer.status, answer.code) == (400, "bad_request"), body[:20]


def test_limits_of_queries(start, bucket):
    con = start(env={"QUERY_MAX_KEYS": "5", "QUERY_MAX_FETCH_KEYS": "3", "QUERY_MAX_FETCH_BYTES": "25",
                     "QUERY_MAX_RESULT_ROWS": "2"})
    for i in range(4):
        bucket.put(con.daemon.key(f"k{i}"), b'{"i": %d}     ' % i)
    answer = ask(con).json()
    assert (answer["rows"], answer["total"]) == ([{"i": 0}, {"i": 1}], 2)
    assert ask(con, limit=3).status == 400
    bucket.put(con.daemon.key("k4"), b"{}")
    bucket.put(con.daemon.key("k5"), b"{}")
    answer = ask(con)
    assert (answer.status, answer.code) == (400, "bad_request")


def test_documents_of_queries(lww):
    """They are answered as they were stored; what JSON allows is a document."""
    docs = [b'{"id": 12345678901234567890123, "x": 1.10}', b'{"text": "a\\u0000b", "e": "\xc3\xa9"}', b"7", b'"word"',
            b' {"spaces": [1,  2]}\n']
    for i, doc in enumerate(docs + [b"\xff", b'{"a": 1} x', b"NaN", b"[" * 5000]):
        lww.s3.put(lww.daemon.key(f"q/{i}"), doc)
    answer = ask(lww, prefix="q/", unknown=[1] * 1000)
    assert answer.body == b'{"rows": [' + b", ".join(d.strip() for d in docs) + b'], "total": 5}'
    assert ask(lww, filter={"text": "a\0b"}).status == 400       # jansson takes no NUL in a request
    assert ask(lww, filter={"e": "\u00e9"}).json()["total"] == 1
    assert ask(lww, filter={"spaces": [1, 2]}).json()["total"] == 1
    assert ask(lww, sort=["-e", "id"], limit=1).json()["rows"] == [json.loads(docs[1])]


def test_queries_in_bounded_memory(start, bucket):
    con = start(env={"STATEPROXY_MEMORY_LIMIT": "64Mi"})
    workers, key = con.daemon.worker_pids(), con.daemon.key
    bucket.put(key("bomb/1"), b"[" + b",".join([b"1"] * 3_500_000) + b"]")     # a tree of 110 MB
    bucket.put(key("bomb/2"), b'{"n": 1}')
    assert ask(con, prefix="bomb/").json() == {"rows": [{"n": 1}], "total": 1}
    text = "x" * 1_500_000
    for i in range(12):
        bucket.put(key(f"big/{i:02d}"), b'{"n": %d, "text": "%s"}' % (i, text.encode()))
    answer = ask(con, prefix="big/")
    assert (answer.status, answer.code) == (413, "too_large")
    with con.raw() as slow:             # its reader takes nothing
        body = json.dumps({"prefix": "big/0", "sort": ["-n"], "limit": 9}).encode()
        slow.send(b"POST /query HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        status, headers = slow.head()
        assert ask(con, prefix="bomb/").json()["total"] == 1
        rows = json.loads(slow.take(int(headers["content-length"])))["rows"]
        assert status == 200 and [r["n"] for r in rows] == list(range(9, 0, -1))
    assert con.daemon.worker_pids() == workers


@pytest.mark.parametrize("other", [CAS, STREAM])
def test_no_queries_in_other_variants(start, other):
    answer = ask(start(other))
    assert (answer.status, answer.code) == (501, "not_implemented")


@pytest.mark.counts
def test_requests_of_s3(start, proxy, bucket):
    """One small operation, one request."""
    con = start(via=proxy)
    for call, count in ((lambda: con.put("k", b"1"), {"PutObject": 1}), (lambda: con.get("k"), {"GetObject": 1}),
                        (lambda: con.head("k"), {"HeadObject": 1}), (lambda: con.put("k", b"2"), {"PutObject": 1}),
                        (lambda: con.request("GET", "/keys/"), {"ListObjectsV2": 1}),
                        (lambda: con.request("GET", "/meta/k?attr=presigned_url"), {}),
                        (lambda: con.delete("k"), {"HeadObject": 1, "DeleteObject": 1})):
        proxy.reset_counts()
        assert call().status in (200, 204)
        assert {k: v for k, v in proxy.counts().items() if v} == count


@pytest.mark.counts
def test_start_is_quick(start, scratch):
    con = start(LWW, ready=False)
    begun = time.monotonic()
    con.daemon.start(ready=False)
    while True:
        try:
            assert con.request("GET", "/healthz").status == 200
            break
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.001)
    took = time.monotonic() - begun
    print(f"first answer after {took * 1000:.0f} ms")
    con.daemon.wait_ready()
    assert took < 1.0 * SLOW


assert Connector and CAS
