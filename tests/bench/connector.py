"""The connector API beside a minimal Python server that does what the reference does (http.server, one thread, boto3, the
whole object in memory), in the same run on the same S3 server. Prints a table.

    tests/bench/run.sh --connector [--seconds N] [--starts N]

The third is the S3 server itself, asked by the same client with presigned URLs: about what a connector on it can reach, since
each request is one to S3 (a little more, as it keeps its connections, and the client makes a new one for each request).

For each: requests a second, the median and the 99th percentile of one, CPU time of one (of the server under test, all its
processes); proportional memory (PSS) idle and at its peak under load; the time from the start to the first object.
"""

import argparse
import http.client
import http.server
import json
import multiprocessing
import os
import pathlib
import socketserver
import statistics
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))

from harness import ACCESS, REGION, SECRET                          # noqa: E402
from harness.connector import UnixHTTPConnection                    # noqa: E402
from harness.mount import Mount                                     # noqa: E402
from harness.guard import Guard                                     # noqa: E402
from harness.s3 import S3                                           # noqa: E402
from harness.server import S3Server, find_server                    # noqa: E402

VARIANTS = ("s3-buffered-lww", "s3-buffered-cas", "s3-passthrough")
BODY = os.urandom(1024)
LISTED = 100


def reference(path, endpoint, bucket):
    """Serves the socket until it is killed."""
    import boto3
    s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=ACCESS, aws_secret_access_key=SECRET,
                      region_name=REGION)

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def address_string(self):
            return "unix"

        def reply(self, status, body=b"", headers=()):
            self.send_response(status)
            for name, value in headers or [("Content-Length", len(body))]:
                self.send_header(name, str(value))
            self.end_headers()
            if body:
                self.wfile.write(body)

        def do_GET(self):
            key = "p" + self.path[len("/keys"):]
            if "?" in key:
                pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="p/l/", Delimiter="/")
                keys = [o["Key"][2:] for page in pages for o in page.get("Contents", ())]
                self.reply(200, json.dumps({"keys": keys, "prefixes": []}).encode())
            else:
                self.reply(200, s3.get_object(Bucket=bucket, Key=key)["Body"].read())

        def do_HEAD(self):
            size = s3.head_object(Bucket=bucket, Key="p" + self.path[len("/keys"):])["ContentLength"]
            self.reply(204, headers=[("Content-Length", size), ("X-Is-File", "true")])

        def do_PUT(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            s3.put_object(Bucket=bucket, Key="p" + self.path[len("/keys"):], Body=body)
            self.reply(204)

    socketserver.UnixStreamServer(str(path), Handler).serve_forever()


REQUESTS = (("GET", "/keys/k", None), ("PUT", "/keys/k", BODY), ("HEAD", "/keys/k", None),
            ("LIST", "/keys/?prefix=l/&delimiter=/", None))


def of_s3(s3):
    """The same requests to the S3 server, as presigned URLs."""
    def sign(what, **args):
        url = urllib.parse.urlsplit(s3.client.generate_presigned_url(what, Params={"Bucket": s3.bucket, **args}))
        return f"{url.path}?{url.query}"
    return (("GET", sign("get_object", Key="p/k"), None), ("PUT", sign("put_object", Key="p/k"), BODY),
            ("HEAD", sign("head_object", Key="p/k"), None),
            ("LIST", sign("list_objects_v2", Prefix="p/l/", Delimiter="/"), None))


def connection(where):
    """where: the path of a Unix socket, or HOST:PORT."""
    return UnixHTTPConnection(where) if isinstance(where, pathlib.Path) else http.client.HTTPConnection(where)


def one(path, method, target, body):
    conn = connection(path)
    while True:
        try:
            conn.connect()
            break
        except BlockingIOError:         # more wait than the reference's socket takes
            time.sleep(0.001)
    conn.request("GET" if method == "LIST" else method, target, body)
    answer = conn.getresponse()
    answer.read()
    conn.close()
    assert answer.status in (200, 204), (method, target, answer.status)


def client(path, method, target, body, seconds, out):
    times, end = [], time.monotonic() + seconds
    while (begun := time.monotonic()) < end:
        one(path, method, target, body)
        times.append(time.monotonic() - begun)
    out.put(times)


def measure(path, method, target, body, clients, seconds):
    out = multiprocessing.Queue()
    procs = [multiprocessing.Process(target=client, args=(path, method, target, body, seconds, out))
             for _ in range(clients)]
    for p in procs:
        p.start()
    times = sorted(t for _ in procs for t in out.get())
    for p in procs:
        p.join()
    return len(times) / seconds, statistics.median(times) * 1e3, times[len(times) * 99 // 100] * 1e3


def pss(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            total += sum(int(x.split()[1]) for x in f if x.startswith("Pss:"))
    return total / 1024


def cpu_ms(pids):
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def first_answer(path, begun):
    while True:
        try:
            one(path, "GET", "/keys/k", None)
            return (time.monotonic() - begun) * 1e3
        except (FileNotFoundError, ConnectionError):
            time.sleep(0.001)


class Peak:
    """The most memory that the processes have, while it is in force."""

    def __init__(self, pids):
        self.pids, self.mib, self.over = pids, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.over.wait(0.1):
            self.mib = max(self.mib, pss(self.pids()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def starts(name, path, count, make, stop):
    """The time from the start of the process to the first object that a client has."""
    times = []
    for _ in range(count):
        path.unlink(missing_ok=True)
        it = make()
        begun = time.monotonic()
        if isinstance(it, Mount):
            it.start(ready=False)
        else:
            it.start()
        times.append(first_answer(path, begun))
        if isinstance(it, Mount):
            it.wait_ready()
        stop(it)
        if not isinstance(it, Mount):
            it.join()
    times.sort()
    print(f"{name}: first object after {statistics.median(times):.0f} ms "
          f"(median of {count} starts, {times[0]:.0f} to {times[-1]:.0f})", flush=True)


def run(name, path, pids, seconds, requests=REQUESTS):
    print(f"\n{name}: PSS idle {pss(pids()):.1f} MiB")
    with Peak(pids) as peak:
        load(path, pids, seconds, requests)
    print(f"  PSS under load, at its peak {peak.mib:.1f} MiB; after it {pss(pids()):.1f} MiB")


def load(path, pids, seconds, requests):
    for method, target, body in requests:
        for clients in (1, 8):
            before = cpu_ms(pids())
            rate, p50, p99 = measure(path, method, target, body, clients, seconds)
            cpu = (cpu_ms(pids()) - before) / max(rate * seconds, 1)
            print(f"  {method:5} clients={clients}  {rate:7.0f}/s  p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  "
                  f"CPU {cpu:.3f} ms each")


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--seconds", type=float, default=3)
    args.add_argument("--starts", type=int, default=10)
    args = args.parse_args()
    seconds = args.seconds
    guard = Guard()
    server = S3Server(find_server(), guard).start()
    s3 = S3(server.endpoint, "bench-connector", server.root).create()
    s3.put("p/k", BODY)
    s3.put_many((f"p/l/{i:03d}", b"") for i in range(LISTED))
    with tempfile.TemporaryDirectory(prefix="sp-") as scratch:
        theirs, ours = pathlib.Path(scratch) / "r.sock", pathlib.Path(scratch) / "c.sock"
        begin_ref = multiprocessing.get_context("spawn").Process
        starts("reference", theirs, args.starts,
               lambda: begin_ref(target=reference, args=(theirs, server.endpoint, s3.bucket)), lambda p: p.kill())
        for variant in VARIANTS:
            starts(f"stateproxyd {variant}", ours, args.starts,
                   lambda: Mount(guard, s3.bucket, server.endpoint, variant=variant,
                                 env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": ours}), lambda m: m.stop())
        theirs.unlink()
        ref = begin_ref(target=reference, args=(theirs, server.endpoint, s3.bucket))
        begun = time.monotonic()
        ref.start()
        first_answer(theirs, begun)
        mount = Mount(guard, s3.bucket, server.endpoint,
                      env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": ours})
        mount.start()
        run("reference", theirs, lambda: [ref.pid], seconds)
        run("stateproxyd", ours, mount.processes, seconds)
        run("the S3 server", server.endpoint.partition("//")[2], lambda: [server.process.pid], seconds, of_s3(s3))
        mount.stop()
        ref.kill()
        ref.join()
    s3.remove()
    server.remove()
    guard.close()


if __name__ == "__main__":
    main()
