"""The proxy of the tests, by itself: a plain S3 client, the proxy, a real server."""

import base64
import collections
import concurrent.futures
import hashlib
import http.client
import io
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import zlib

import botocore.exceptions
import pytest

from harness import ACCESS, REGION, SECRET, SLOW, TESTS, util
from harness.pattern import pattern
from harness.s3 import S3, client
from s3proxy_client import ProxyControl, ProxyError
from s3proxy_rules import OPERATIONS
from sigv4 import signed_head

pytestmark = pytest.mark.tool

ClientError = botocore.exceptions.ClientError
NETWORK = (botocore.exceptions.ConnectionClosedError, botocore.exceptions.EndpointConnectionError,
           botocore.exceptions.ConnectionError, botocore.exceptions.ResponseStreamingError,
           botocore.exceptions.ReadTimeoutError, botocore.exceptions.HTTPClientError)


@pytest.fixture
def via(bucket, proxy):
    """The test's bucket, seen through the proxy."""
    return S3(proxy.endpoint, bucket.bucket)


def code_of(error):
    return (error.value.response["ResponseMetadata"]["HTTPStatusCode"],
            error.value.response["Error"]["Code"])


def raw_connection(proxy, timeout=20):
    sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout * SLOW)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def raw_head(proxy, s3, method, key, headers=None, **kwargs):
    path = "/" + urllib.parse.quote(f"{s3.bucket}/{key}", safe="/-_.~")
    return signed_head(method, f"127.0.0.1:{proxy.port}", path, "", ACCESS, SECRET, REGION, headers,
                       **kwargs)


def read_answer(sock, method="GET"):
    answer = http.client.HTTPResponse(sock, method=method)
    answer.begin()
    return answer.status, answer.read(), answer


# -- passing through


def test_bytes_and_metadata_pass_unchanged(via, bucket):
    data = pattern(300_000)
    etag = via.put("a/b.bin", data, Metadata={"mode": "33188"}, ContentType="text/x-test")
    assert bucket.get("a/b.bin") == data
    head = via.head("a/b.bin")
    assert (head["ETag"], head["Metadata"], head["ContentType"]) == (etag, {"mode": "33188"},
                                                                     "text/x-test")
    assert via.get("a/b.bin") == data
    assert via.get("a/b.bin", Range="bytes=1000-1999") == data[1000:2000]


@pytest.mark.parametrize("key", ["a b+c", "100%", "é☃", "q?x=1&y#z;~'", "t%2Fu"])
def test_odd_keys_keep_their_signatures(via, bucket, proxy, key):
    via.put(key, b"x")
    assert bucket.get(key) == b"x"
    assert via.get(key) == b"x"
    assert via.list() == {key: 1}
    assert proxy.counts_by_key()["PutObject", key] == 1
    assert proxy.counts_by_key()["GetObject", key] == 1


def test_every_operation_is_named(via, bucket, proxy):
    c, b = via.client, bucket.bucket
    via.put("k", b"1")
    via.get("k")
    via.head("k")
    via.list("pre")
    c.head_bucket(Bucket=b)
    c.copy_object(Bucket=b, Key="k2", CopySource={"Bucket": b, "Key": "k"})
    part = pattern(5 << 20)
    upload = c.create_multipart_upload(Bucket=b, Key="m")["UploadId"]
    args = {"Bucket": b, "Key": "m", "UploadId": upload}
    one = c.upload_part(**args, PartNumber=1, Body=part)["ETag"]
    two = c.upload_part_copy(**args, PartNumber=2,
                             CopySource={"Bucket": b, "Key": "k"})["CopyPartResult"]["ETag"]
    c.complete_multipart_upload(**args, MultipartUpload={"Parts": [
        {"PartNumber": 1, "ETag": one}, {"PartNumber": 2, "ETag": two}]})
    upload = c.create_multipart_upload(Bucket=b, Key="n")["UploadId"]
    c.abort_multipart_upload(Bucket=b, Key="n", UploadId=upload)
    via.delete("k2")
    c.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "k"}]})
    c.list_buckets()
    assert proxy.counts() == collections.Counter(
        PutObject=1, GetObject=1, HeadObject=1, ListObjectsV2=1, HeadBucket=1, CopyObject=1,
        CreateMultipartUpload=2, UploadPart=1, UploadPartCopy=1, CompleteMultipartUpload=1,
        AbortMultipartUpload=1, DeleteObject=1, DeleteObjects=1, Other=1)
    assert proxy.counts_by_key()["ListObjectsV2", "pre"] == 1
    assert set(proxy.counts()) <= set(OPERATIONS)
    assert bucket.list() == {"m": len(part) + 1}


def test_counts_begin_again(via, proxy):
    via.put("k", b"1")
    proxy.reset_counts()
    assert not proxy.counts() and not proxy.log()
    via.get("k")
    assert proxy.counts() == {"GetObject": 1}


def test_the_log_tells_what_was_asked_and_answered(via, proxy):
    etag = via.put("k", b"0123456789")
    via.get("k", Range="bytes=2-4", IfMatch=etag)
    with pytest.raises(ClientError):
        via.put("k", b"x", IfNoneMatch="*")
    put, get, refused = proxy.log()
    assert (put.op, put.bucket, put.key, put.method, put.status) == (
        "PutObject", via.bucket, "k", "PUT", 200)
    assert (put.bytes_in, put.bytes_out) == (10, 0)
    assert (get.range, get.conditions, get.status, get.bytes_out) == (
        "bytes=2-4", {"if-match": etag}, 206, 3)
    assert (refused.conditions, refused.status) == ({"if-none-match": "*"}, 412)
    assert put.start <= put.end <= get.start <= get.end
    assert [x.number for x in proxy.log(op="PutObject", key="k*")] == [put.number, refused.number]


def test_bodies_are_counted_each_way(via, proxy):
    via.put("k", b"x" * 1000)
    via.get("k", Range="bytes=0-99")
    assert proxy.bytes_sent() == proxy.bytes_sent("PutObject") == 1000
    assert proxy.bytes_received("GetObject") == 100


def test_one_connection_serves_many_requests(via, proxy):
    for i in range(20):
        via.put(f"k{i}", b"x")
    assert proxy.state().new_connections == 1


def test_chunked_requests_pass(bucket, proxy):
    """As some SDKs send what they cannot rewind: in chunks, a checksum behind them. (The server
    forgets to read the last chunk, and closes after it.)"""
    data = pattern(1_000_000)
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    body = (b"%x\r\n" % len(data) + data
            + f"\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n".encode())
    sock = raw_connection(proxy)
    sock.sendall(raw_head(proxy, bucket, "PUT", "k", {
        "transfer-encoding": "chunked", "x-amz-decoded-content-length": str(len(data)),
        "content-encoding": "aws-chunked", "x-amz-trailer": "x-amz-checksum-crc32"},
        payload_hash="STREAMING-UNSIGNED-PAYLOAD-TRAILER"))
    for i in range(0, len(body), 70_000):
        piece = body[i:i + 70_000]
        sock.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
    sock.sendall(b"0\r\n\r\n")
    assert read_answer(sock)[0] == 200
    sock.close()
    assert bucket.get("k") == data
    assert proxy.log()[0].bytes_in > len(body)


def test_expect_100_continue(via, bucket, proxy):
    data = pattern(200_000)
    sock = raw_connection(proxy)
    sock.sendall(raw_head(proxy, bucket, "PUT", "k", {"content-length": str(len(data)),
                                                      "expect": "100-continue"}))
    assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    sock.sendall(data)
    assert read_answer(sock)[0] == 200
    sock.sendall(raw_head(proxy, bucket, "HEAD", "k"))
    status, _, answer = read_answer(sock, "HEAD")
    assert (status, answer.headers["content-length"]) == (200, "200000")
    sock.close()
    assert bucket.get("k") == data


def test_answers_without_a_body(via, proxy):
    etag = via.put("k", b"x")
    for _ in range(3):
        with pytest.raises(ClientError) as e:
            via.get("k", IfNoneMatch=etag)
        assert code_of(e)[0] == 304
        with pytest.raises(ClientError) as e:
            via.head("nothing")
        assert code_of(e)[0] == 404
        via.delete("nothing")
        assert via.head("k")["ContentLength"] == 1
    assert proxy.state().new_connections == 1


def test_an_early_refusal_of_a_large_body_arrives(bucket, proxy):
    """The server answers 412 and resets while the body is still coming."""
    bucket.put("k", b"old")
    for _ in range(5):
        sock = raw_connection(proxy)
        size = 20_000_000
        sock.sendall(raw_head(proxy, bucket, "PUT", "k", {"content-length": str(size),
                                                          "if-none-match": "*"}))
        try:
            for _ in range(size // 100_000):
                sock.sendall(b"x" * 100_000)
        except ConnectionError:
            pass
        status, body, _ = read_answer(sock)
        assert status == 412 and b"PreconditionFailed" in body
        sock.close()
    assert bucket.get("k") == b"old"


@pytest.mark.slow
def test_large_bodies_stream(via, bucket, proxy):
    """64 MiB each way, with the memory of the proxy staying small."""
    data = pattern(64 << 20)
    via.put("big", io.BytesIO(data))
    got = via.get("big")
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    with open(f"/proc/{proxy.process.pid}/status") as f:
        peak = next(int(x.split()[1]) for x in f if x.startswith("VmHWM"))
    assert peak < 80 * 1024, f"{peak} KiB at the peak"


def test_a_slow_client_holds_the_server_back(via, bucket, proxy):
    """A client that does not read must not make the proxy read the whole object."""
    bucket.put("big", pattern(32 << 20))
    sock = raw_connection(proxy)
    sock.sendall(raw_head(proxy, bucket, "GET", "big"))
    util.wait_until(lambda: proxy.log() and proxy.log()[-1].status == 200, what="the answer")
    time.sleep(0.3)         # time to go wrong: it may read on until its buffers are full
    with open(f"/proc/{proxy.process.pid}/status") as f:
        peak = next(int(x.split()[1]) for x in f if x.startswith("VmHWM"))
    assert peak < 60 * 1024
    got = 0
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    while data := answer.read(1 << 20):
        got += len(data)
    assert got == 32 << 20
    sock.close()


# -- latency


def test_latency_runs_side_by_side(via, bucket, proxy):
    for i in range(8):
        bucket.put(f"k{i}", b"x")
    clients = [client(proxy.endpoint) for _ in range(8)]
    proxy.set_latency(300)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: clients[i].head_object(Bucket=bucket.bucket, Key=f"k{i}"),
                      range(8)))
    log = proxy.log()
    assert all(x.sent - x.start >= 0.3 for x in log)
    assert proxy.state().max_in_flight > 1
    assert max(x.start for x in log) < min(x.sent for x in log), "one waited for another"


def test_delay_before_and_after(via, bucket, proxy):
    bucket.put("k", b"x")
    proxy.add_rule("delay", ms=100, op="GetObject")
    proxy.add_rule("delay", ms=150, when="after", op="GetObject")
    via.get("k")
    (x,) = proxy.log()
    assert x.sent - x.start >= 0.1 and x.end - x.sent >= 0.15
    via.head("k")
    assert proxy.log()[-1].faults == []


# -- which requests a rule is for


def statuses(via, proxy, n, key="k"):
    out = []
    for _ in range(n):
        try:
            via.head(key)
            out.append(200)
        except ClientError as e:
            out.append(e.response["ResponseMetadata"]["HTTPStatusCode"])
    return out


@pytest.mark.parametrize("select, expected", [
    ({"nth": 2}, [200, 503, 200, 200]),
    ({"skip": 1}, [200, 503, 503, 503]),
    ({"times": 2}, [503, 503, 200, 200]),
    ({"skip": 1, "times": 1}, [200, 503, 200, 200]),
])
def test_how_often_a_rule_applies(via, bucket, proxy, select, expected):
    bucket.put("k", b"x")
    proxy.add_rule("answer", status=503, op="HeadObject", **select)
    assert statuses(via, proxy, 4) == expected


def test_probability_is_seeded(via, bucket, proxy):
    bucket.put("k", b"x")
    runs = []
    for seed in (7, 7, 8):
        rule = proxy.add_rule("answer", status=500, op="HeadObject", probability=0.5, seed=seed)
        runs.append(statuses(via, proxy, 30))
        proxy.remove_rule(rule)
    assert runs[0] == runs[1] != runs[2]
    assert 5 < runs[0].count(500) < 25


@pytest.mark.parametrize("match, hit", [
    ({"op": ["GetObject", "HeadObject"]}, True), ({"op": "GetObject"}, False),
    ({"key": "dir/*.txt"}, True), ({"key": "*.bin"}, False),
    ({"key_regex": r"^dir/\w+\.txt$"}, True), ({"key_regex": r"^txt"}, False),
    ({"method": "HEAD"}, True), ({"method": "PUT"}, False),
    ({"having": {"if-none-match": "*"}}, True), ({"having": {"If-Match": "*"}}, False),
    ({"having": {"if-match": None}}, True), ({"having": {"if-none-match": None}}, False),
    ({"query": ""}, True), ({"query": "*versionId=*"}, False),
    ({"bucket": "other"}, False), ({"min_bytes": 1}, False), ({"max_bytes": 0}, True),
])
def test_which_requests_a_rule_matches(via, bucket, proxy, match, hit):
    bucket.put("dir/name.txt", b"x")
    proxy.add_rule("answer", status=503, **match)
    try:
        via.head("dir/name.txt", IfNoneMatch='"0123"')
        assert not hit
    except ClientError as e:
        assert hit and e.response["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_a_wrong_rule_is_refused(proxy):
    with pytest.raises(ProxyError, match="unknown action"):
        proxy.add_rule("explode")
    with pytest.raises(ProxyError, match="unknown parameter"):
        proxy.add_rule("delay", seconds=3)
    assert proxy.state().rules == []


def test_rules_add_up_to_the_first_ending(via, bucket, proxy):
    proxy.add_rule("delay", ms=50)
    proxy.add_rule("answer", status=500, times=1)
    proxy.add_rule("answer", status=503)
    assert statuses(via, proxy, 2) == [500, 503]
    assert [x.faults for x in proxy.log()] == [["delay", "answer"]] * 2
    proxy.clear_rules()
    assert statuses(via, proxy, 1) == [404]


# -- faults


def test_answer_500_without_the_server(via, bucket, proxy):
    bucket.put("k", b"old")
    proxy.add_rule("answer", status=500, op="PutObject", times=1)
    with pytest.raises(ClientError) as e:
        via.put("k", b"n" * 100_000)
    assert code_of(e) == (500, "InternalError")
    assert bucket.get("k") == b"old"
    via.put("k", b"new")
    assert bucket.get("k") == b"new"
    assert proxy.state().new_connections == 1, "the body was taken, the connection goes on"


def test_answer_503_with_retry_after(via, bucket, proxy):
    proxy.add_rule("answer", status=503, retry_after=7, op="GetObject")
    with pytest.raises(ClientError) as e:
        via.get("k")
    assert code_of(e) == (503, "SlowDown")
    assert e.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "7"


def test_answer_early_to_a_large_body(bucket, proxy):
    proxy.add_rule("answer", status=503, early=True)
    sock = raw_connection(proxy)
    sock.sendall(raw_head(proxy, bucket, "PUT", "k", {"content-length": "10000000"}))
    assert read_answer(sock)[0] == 503
    sock.close()


def test_an_error_document_in_a_200(via, bucket, proxy):
    bucket.put("k", b"x")
    proxy.add_rule("answer", status=200, code="InternalError", op="CopyObject")
    with pytest.raises(ClientError) as e:
        via.client.copy_object(Bucket=via.bucket, Key="c",
                               CopySource={"Bucket": via.bucket, "Key": "k"})
    assert code_of(e)[1] == "InternalError"


def test_answer_after_the_server_acted(via, bucket, proxy):
    proxy.add_rule("answer", status=500, acted=True, op="PutObject")
    with pytest.raises(ClientError) as e:
        via.put("k", b"new")
    assert code_of(e)[0] == 500
    assert bucket.get("k") == b"new"


def test_drop_the_answer(via, bucket, proxy):
    proxy.add_rule("drop", op="PutObject")
    with pytest.raises(NETWORK):
        via.put("k", b"new")
    assert bucket.get("k") == b"new"
    assert proxy.log()[0].status is None


def test_a_lost_answer_may_leave_its_client_waiting(via, bucket, proxy):
    proxy.add_rule("drop", op="PutObject", ms=300)
    begin = time.monotonic()
    with pytest.raises(NETWORK):
        via.put("k", b"new")
    assert time.monotonic() - begin >= 0.3
    assert bucket.get("k") == b"new"


def test_reset_before_the_server_acts(via, bucket, proxy):
    proxy.add_rule("reset", op="PutObject")
    with pytest.raises(NETWORK):
        via.put("k", b"new")
    assert not bucket.exists("k")


def test_reset_is_a_reset(bucket, proxy):
    bucket.put("k", b"x")
    for when in ("before", "after"):
        proxy.clear_rules()
        proxy.add_rule("reset", when=when)
        sock = raw_connection(proxy)
        sock.sendall(raw_head(proxy, bucket, "GET", "k"))
        with pytest.raises(ConnectionResetError):
            sock.recv(100)
        sock.close()


def test_reset_after_the_server_acted(via, bucket, proxy):
    proxy.add_rule("reset", when="after", op="PutObject")
    with pytest.raises(NETWORK):
        via.put("k", b"new")
    assert bucket.get("k") == b"new"


@pytest.mark.parametrize("at", [0, 0.5, 4096, 0.999])
def test_cut_the_request_body(via, bucket, proxy, at):
    bucket.put("k", b"old")
    proxy.add_rule("cut_request", at=at, op="PutObject")
    with pytest.raises(NETWORK):
        via.put("k", b"n" * 1_000_000)
    proxy.clear_rules()
    assert bucket.get("k") == b"old"
    assert proxy.log()[0].bytes_in < 1_000_000


@pytest.mark.parametrize("at, reset", [(0.5, False), (0.5, True), (1, False), (0.999, False)])
def test_cut_the_answer(via, bucket, proxy, at, reset):
    bucket.put("k", pattern(1_000_000))
    proxy.add_rule("cut_response", at=at, reset=reset, op="GetObject")
    with pytest.raises((*NETWORK, ClientError)):
        via.get("k")
    assert proxy.log()[0].bytes_out == (int(at * 1_000_000) if at < 1 else at)
    proxy.clear_rules()
    assert via.get("k") == bucket.get("k")


def test_rewrite_a_status(via, bucket, proxy):
    bucket.put("k", b"x")
    proxy.add_rule("rewrite", from_status=412, status=200, headers={"ETag": '"lie"'}, body="")
    assert via.put("k", b"y", IfNoneMatch="*") == '"lie"'
    assert bucket.get("k") == b"x"
    assert via.put("other", b"y", IfNoneMatch="*") != '"lie"'
    proxy.add_rule("rewrite", from_status=404, status=200, op="HeadObject",
                   headers={"Content-Length": "5"})
    assert via.head("nothing")["ContentLength"] == 5


def test_strip_conditions_signs_again(via, bucket, proxy):
    bucket.put("k", b"x")
    proxy.add_rule("strip", op="PutObject")
    via.put("k", b"y", IfNoneMatch="*")
    via.put("k", b"z", IfMatch='"0123"')
    assert bucket.get("k") == b"z"
    assert proxy.log()[0].conditions == {"if-none-match": "*"}, "the log tells what was asked"
    assert "if-none-match" in proxy.log()[0].headers["authorization"], "it had been signed"


def test_strip_conditions_where_the_key_is_missing(via, bucket, proxy):
    etag = bucket.put("k", b"x")
    proxy.add_rule("strip", op="PutObject", headers=["if-match"], missing_only=True)
    via.put("new", b"y", IfMatch=etag)
    assert bucket.get("new") == b"y"
    with pytest.raises(ClientError) as e:
        via.put("k", b"y", IfMatch='"0123"')
    assert code_of(e) == (412, "PreconditionFailed")
    assert bucket.get("k") == b"x"


def test_nolock_judges_first_and_acts_later(via, bucket, proxy):
    """Two writers with the same condition: both are told yes, as by a server without locks."""
    etag = bucket.put("k", b"0")
    proxy.add_rule("nolock", name="n", op="PutObject")
    clients = [client(proxy.endpoint) for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        puts = [pool.submit(c.put_object, Bucket=via.bucket, Key="k", Body=b"1", IfMatch=etag)
                for c in clients]
        proxy.wait_held("n", 2)
        proxy.release("n", keep_rule=True)
        assert [p.result()["ResponseMetadata"]["HTTPStatusCode"] for p in puts] == [200, 200]
    with pytest.raises(ClientError) as e:
        via.put("k", b"2", IfMatch=etag)
    assert code_of(e) == (412, "PreconditionFailed")
    with pytest.raises(ClientError) as e:
        via.put("k", b"2", IfNoneMatch="*")
    assert code_of(e) == (412, "PreconditionFailed")
    with pytest.raises(ClientError) as e:
        via.put("new", b"2", IfMatch=etag)
    assert code_of(e) == (404, "NoSuchKey")
    assert bucket.get("k") == b"1"


def test_faults_come_in_all_kinds_and_as_often_as_told(via, bucket, proxy):
    """From a seed: the same requests meet the same faults."""
    def run():
        proxy.clear_rules()
        proxy.reset_counts()
        proxy.add_faults(0.5, seed=3, lost_ms=1, slow_ms=1, op="PutObject")
        for i in range(140):
            try:
                via.put("k", b"%d" % i)
            except (ClientError, *NETWORK):
                pass
        return [x.faults for x in proxy.log("PutObject")]

    first = run()
    assert run() == first
    hit = [f for f in first if f]
    assert 50 <= len(hit) <= 90
    assert {f[0] for f in hit} == {"answer", "reset", "drop", "delay"}
    rules = {(r["action"], r.get("status"), r.get("acted"), r.get("when")): r["applied"]
             for r in proxy.state().rules}
    assert len(rules) == 7 and min(rules.values()) >= 3, rules


# -- holding


def in_thread(function, *args, **kwargs):
    pool = concurrent.futures.ThreadPoolExecutor(1)
    future = pool.submit(function, *args, **kwargs)
    pool.shutdown(wait=False)
    return future


def test_hold_before_the_server_acts(via, bucket, proxy):
    proxy.hold("h", op="PutObject")
    put = in_thread(via.put, "k", b"new")
    proxy.wait_held("h")
    assert not bucket.exists("k") and not put.done()
    assert proxy.state().held == {"h": 1}
    assert proxy.release("h") == 1
    put.result(20 * SLOW)
    assert bucket.get("k") == b"new"
    via.put("k", b"newer")          # the rule went with the release


def test_hold_in_the_middle_of_a_body(via, bucket, proxy):
    data = pattern(3_000_000)
    proxy.hold("h", when="mid", op="PutObject", times=1)
    put = in_thread(via.put, "k", data)
    proxy.wait_held("h")
    (x,) = proxy.log()
    assert x.bytes_in == 1_500_000 and not bucket.exists("k")
    proxy.release("h")
    put.result(20 * SLOW)
    assert bucket.get("k") == data


def test_hold_the_answer(via, bucket, proxy):
    proxy.hold("h", when="after", op="PutObject")
    put = in_thread(via.put, "k", b"new")
    proxy.wait_held("h")
    assert bucket.get("k") == b"new" and not put.done()
    proxy.release("h")
    put.result(20 * SLOW)


@pytest.mark.parametrize("verdict", ["drop", "reset"])
def test_a_held_request_may_be_given_up(via, bucket, proxy, verdict):
    proxy.hold("h", op="PutObject")
    put = in_thread(via.put, "k", b"new")
    proxy.wait_held("h")
    proxy.release("h", verdict)
    with pytest.raises(NETWORK):
        put.result(20 * SLOW)
    assert not bucket.exists("k")


def test_a_stray_put_acts_when_its_client_is_long_gone(bucket, proxy):
    data = pattern(3_000_000)
    proxy.hold("h", detach=True, op="PutObject")
    sock = raw_connection(proxy)
    sock.sendall(raw_head(proxy, bucket, "PUT", "k", {"content-length": str(len(data))}) + data)
    proxy.wait_held("h")
    sock.close()
    bucket.put("k", b"later")
    assert bucket.get("k") == b"later"
    proxy.release("h")
    proxy.wait_idle()
    assert bucket.get("k") == data


def test_a_client_that_dies_in_the_middle_cuts_its_request(bucket, proxy):
    bucket.put("k", b"old")
    proxy.hold("h", when="mid", op="PutObject")
    sock = raw_connection(proxy)
    sock.sendall(raw_head(proxy, bucket, "PUT", "k", {"content-length": "1000000"})
                 + b"n" * 600_000)
    proxy.wait_held("h")
    sock.close()
    proxy.release("h")
    proxy.wait_idle()
    assert bucket.get("k") == b"old"


def test_clearing_the_rules_lets_go(via, bucket, proxy):
    proxy.hold("h")
    put = in_thread(via.put, "k", b"new")
    proxy.wait_held("h")
    proxy.clear_rules()
    put.result(20 * SLOW)


# -- the server away


def test_blocked_and_back(via, bucket, proxy):
    via.put("k", b"x")
    proxy.block()
    for _ in range(3):
        with pytest.raises(NETWORK):
            via.get("k")
        with pytest.raises(ConnectionRefusedError):
            raw_connection(proxy)
    proxy.unblock()
    assert via.get("k") == b"x"
    proxy.block()
    proxy.unblock()
    assert via.get("k") == b"x"


def test_blackhole_answers_nothing_until_the_end(bucket, proxy):
    bucket.put("k", b"x")
    proxy.block("blackhole")
    sock = raw_connection(proxy)
    sock.sendall(raw_head(proxy, bucket, "GET", "k"))
    proxy.wait_count(1)
    sock.settimeout(0.3)
    with pytest.raises(socket.timeout):
        sock.recv(1)
    proxy.unblock()
    sock.settimeout(20)
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    sock.close()
    assert S3(proxy.endpoint, bucket.bucket).get("k") == b"x"


def test_the_server_may_go_away_and_come_back(own_server, make_proxy):
    proxy = make_proxy(own_server.port)
    s3 = S3(proxy.endpoint, "b-server-away").create()
    s3.put("k", b"x")
    for stop in (own_server.kill, own_server.stop):
        stop()
        for _ in range(3):
            with pytest.raises(NETWORK):
                s3.get("k")
        own_server.start()
        assert s3.get("k") == b"x"


def test_the_server_killed_in_the_middle_of_an_answer(own_server, make_proxy):
    proxy = make_proxy(own_server.port)
    s3 = S3(proxy.endpoint, "b-server-killed").create()
    s3.put("k", pattern(32 << 20))
    sock = raw_connection(proxy)
    sock.sendall(raw_head(proxy, s3, "GET", "k"))
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    answer.read(1000)
    own_server.kill()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    sock.close()
    own_server.start()
    assert len(s3.get("k")) == 32 << 20


# -- many at once, and speed


@pytest.mark.limit(120)
def test_many_clients_with_faults_at_once(bucket, proxy):
    """Every fault at 5 %: what is answered 200 is right, and the proxy goes on."""
    for i, (action, args) in enumerate([
            ("reset", {}), ("reset", {"when": "after"}), ("drop", {}), ("cut_request", {}),
            ("cut_response", {}), ("answer", {"status": 500}), ("delay", {"ms": 5})]):
        proxy.add_rule(action, probability=0.05, seed=i, **args)
    good = collections.Counter()

    def work(number):
        s3 = S3(proxy.endpoint, bucket.bucket)
        known = None
        for i in range(60):
            data = pattern(1000 * i, (number, i))
            try:
                s3.put(f"k{number}", data)
                known = [data]
            except (ClientError, *NETWORK):
                known = (known or []) + [data]      # may have acted, or not
            try:
                got = s3.get(f"k{number}")
                assert got in known
                good["get"] += 1
            except ClientError as e:
                assert e.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 500)
            except NETWORK:
                pass

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert good["get"] > 200
    proxy.clear_rules()
    assert proxy.state().in_flight == 0
    assert {f for x in proxy.log() for f in x.faults} == {
        "reset", "drop", "cut_request", "cut_response", "answer", "delay"}


def test_bench_is_fast_enough(bucket, proxy):
    """Small requests over one connection, and one big body: no more than a sanity bound, since
    machines differ; the figures are printed."""
    bucket.put("k", pattern(4096))
    bucket.put("big", pattern(64 << 20))
    sock = raw_connection(proxy)
    head = raw_head(proxy, bucket, "GET", "k")
    start = time.monotonic()
    for _ in range(500):
        sock.sendall(head)
        assert read_answer(sock)[0] == 200
    rate = 500 / (time.monotonic() - start)
    sock.sendall(raw_head(proxy, bucket, "GET", "big"))
    start, got = time.monotonic(), 0
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    while n := answer.readinto(memoryview(bytearray(1 << 20))):
        got += n
    speed = got / (time.monotonic() - start) / 1e6
    sock.close()
    print(f"{rate:.0f} requests/s, {speed:.0f} MB/s")
    assert rate > 100 / SLOW and speed > 50 / SLOW


# -- by itself


def test_stand_alone(s3server, bucket, scratch):
    proc = subprocess.Popen(
        [sys.executable, TESTS / "tools" / "s3proxy.py", "--listen", "127.0.0.1:0", "--upstream",
         f"127.0.0.1:{s3server.port}", "--control", f"unix:{scratch}/ctl"],
        stdout=subprocess.PIPE)
    try:
        port = int(proc.stdout.readline())
        S3(f"http://127.0.0.1:{port}", bucket.bucket).put("k", b"x")
        assert ProxyControl(scratch / "ctl").counts() == {"PutObject": 1}
    finally:
        proc.terminate()
        assert proc.wait(20) == 0
        proc.stdout.close()
    assert not (scratch / "ctl").exists()


def test_it_ends_with_who_started_it(s3server, scratch):
    code = ("import sys; sys.path.insert(0, sys.argv[1]); import s3proxy_client, os\n"
            "p = s3proxy_client.ProxyProcess(int(sys.argv[2]), sys.argv[3])\n"
            "print(p.process.pid, flush=True); os.kill(os.getpid(), 9)")
    out = subprocess.run([sys.executable, "-c", code, TESTS / "tools", str(s3server.port), scratch],
                         stdout=subprocess.PIPE, timeout=60).stdout
    util.wait_until(lambda: not util.alive(int(out)), what="the end of the proxy")


def test_control_from_many_threads(proxy):
    threads = [threading.Thread(target=proxy.counts) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(20)
        assert not t.is_alive()
