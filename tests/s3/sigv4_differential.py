#!/usr/bin/env python3
"""Signs random requests with botocore and with sigv4_tool, and compares.

    sigv4_differential.py SIGV4_TOOL [COUNT [SEED]]

Needs botocore. Exit 0: all alike; 1: one differs, and is shown; 77: no botocore, skipped.
"""
import datetime
import random
import subprocess
import sys
from urllib.parse import quote

try:
    import botocore.auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
except ImportError:
    print("SKIPPED: botocore is not installed")
    sys.exit(77)

SAFE = "-_.~"
ALPHABET = ("abcXYZ019-_.~ +%&=?#/:;@!$'()*,[]\"<>\\^`{|}" "äöü€😀\u0301ｱ")


def stop_clock(moment):
    """botocore's clock stands at `moment`."""
    botocore.auth.get_current_datetime = lambda *args, **kwargs: moment


def text(rng, low, high, alphabet=ALPHABET):
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(low, high)))


def random_path(rng, s3):
    key = text(rng, 0, 60)
    if s3:
        return "/" + quote(key, safe=SAFE + "/")
    parts = [rng.choice(["a", "..", ".", "", quote(text(rng, 1, 6), safe=SAFE)])
             for _ in range(rng.randint(0, 6))]
    # botocore drops the slash of a last "/." where RFC 3986 keeps it
    while parts and parts[-1] in (".", ".."):
        parts.pop()
    return "/" + "/".join(parts)


def random_query(rng):
    pairs = []
    for _ in range(rng.randint(0, 6)):
        name, value = text(rng, 1, 8), text(rng, 0, 12)
        pairs.append(quote(name, safe=SAFE) + "=" + quote(value, safe=SAFE))
    return "&".join(pairs)


def random_headers(rng):
    headers = {}
    visible = "abcXYZ019-_.~ +%&=/:;\"'(),"
    for _ in range(rng.randint(0, 6)):
        name = "x-amz-" + text(rng, 1, 8, "abcdefXYZ019-")
        value = "  " * rng.randint(0, 1) + text(rng, 1, 20, visible)
        headers[name.lower()] = value.replace("\t", " ")
    if rng.random() < 0.5:
        headers["Content-Type"] = "text/plain"
    if rng.random() < 0.3:
        headers["If-Match"] = '"abc"'
    return headers


def sign_botocore(case):
    creds = Credentials(case["access"], case["secret"], case["token"] or None)
    kind = botocore.auth.S3SigV4Auth if case["s3"] else botocore.auth.SigV4Auth
    url = "http://%s%s" % (case["host"], case["path"])
    if case["query"]:
        url += "?" + case["query"]
    request = AWSRequest(method=case["method"], url=url,
                         headers=dict(case["headers"]), data=case["body"])
    request.context["client_config"] = None
    auth = kind(creds, case["service"], case["region"])
    stop_clock(case["moment"])
    auth.add_auth(request)
    return request


def describe(case, request):
    """What sigv4_tool shall sign: the headers that botocore signed, as they are sent."""
    signed = request.headers["Authorization"].split("SignedHeaders=")[1]
    names = signed.split(",")[0].split(";")
    hash_ = request.headers.get("X-Amz-Content-SHA256")
    if hash_ is None:
        hash_ = botocore.auth.SigV4Auth(
            None, "s", "r").payload(request)

    def code(value):
        return quote(value, safe="")

    lines = ["M" + case["method"], "P" + code(case["path"]),
             "Q" + case["query"], "B" + hash_, "A" + case["access"],
             "S" + code(case["secret"]), "R" + case["region"],
             "V" + case["service"], "D" + request.headers["X-Amz-Date"]]
    for name in names:
        value = case["host"] if name == "host" else request.headers[name]
        lines.append("H" + code(name) + "=" + code(value))
    if not case["s3"]:
        lines.append("N")
    return "\n".join(lines) + "\n\n"


def random_case(rng):
    s3 = rng.random() < 0.8
    moment = datetime.datetime(
        rng.randint(2015, 2035), rng.randint(1, 12), rng.randint(1, 28),
        rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59))
    return {
        "s3": s3,
        "method": rng.choice(["GET", "PUT", "HEAD", "DELETE", "POST"]),
        "host": rng.choice(["127.0.0.1:9000", "b.s3.eu-west-1.amazonaws.com"]),
        "path": random_path(rng, s3),
        "query": random_query(rng),
        "headers": random_headers(rng),
        "body": text(rng, 0, 40).encode(),
        "access": text(rng, 16, 20, "ABCDEFGH0123456789"),
        "secret": text(rng, 1, 60, "abcXYZ019+/="),
        "token": text(rng, 10, 300, "abcXYZ019+/=") if rng.random() < 0.5 else "",
        "region": rng.choice(["us-east-1", "eu-west-1", "cn-north-1"]),
        "service": "s3" if s3 else rng.choice(["sts", "iam"]),
        "moment": moment,
    }


def main():
    tool = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
    rng = random.Random(seed)
    cases = [random_case(rng) for _ in range(count)]
    requests = [sign_botocore(case) for case in cases]
    told = "".join(describe(c, r) for c, r in zip(cases, requests))
    out = subprocess.run([tool], input=told.encode(), check=True,
                         stdout=subprocess.PIPE).stdout.decode().splitlines()
    assert len(out) == count, "%d answers to %d requests" % (len(out), count)
    for case, request, ours in zip(cases, requests, out):
        if request.headers["Authorization"] != ours:
            print("seed %d: differs\n%r\nbotocore %s\nours     %s" % (
                seed, case, request.headers["Authorization"], ours))
            return 1
    print("%d requests signed alike (seed %d)" % (count, seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
