"""The connector API beside a minimal Python server that does what the reference does (http.server, one thread, boto3, the
whole object in memory), in the same run on the same S3 server. Prints a table.

    tests/bench/run.sh --connector [--seconds N]
"""

import argparse
import http.server
import json
import multiprocessing
import os
import pathlib
import socketserver
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))

from harness import ACCESS, REGION, SECRET                          # noqa: E402
from harness.connector import UnixHTTPConnection                    # noqa: E402
from harness.mount import Mount                                     # noqa: E402
from harness.guard import Guard                                     # noqa: E402
from harness.s3 import S3                                           # noqa: E402
from harness.server import S3Server, find_server                    # noqa: E402

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


def one(path, method, target, body):
    conn = UnixHTTPConnection(path)
    conn.request(method, target, body)
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


def run(name, path, pids, seconds):
    print(f"\n{name}: PSS idle {pss(pids()):.1f} MiB")
    for method, target, body in (("GET", "/keys/k", None), ("PUT", "/keys/k", BODY), ("HEAD", "/keys/k", None),
                                 ("GET", "/keys/?prefix=l/&delimiter=/", None)):
        for clients in (1, 8):
            before = cpu_ms(pids())
            rate, p50, p99 = measure(path, method, target, body, clients, seconds)
            cpu = (cpu_ms(pids()) - before) / max(rate * seconds, 1)
            what = "LIST" if "?" in target else method
            print(f"  {what:5} clients={clients}  {rate:7.0f}/s  p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  "
                  f"CPU {cpu:.3f} ms each")
    print(f"  PSS after the load {pss(pids()):.1f} MiB")


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--seconds", type=float, default=3)
    seconds = args.parse_args().seconds
    guard = Guard()
    server = S3Server(find_server(), guard).start()
    s3 = S3(server.endpoint, "bench-connector", server.root).create()
    s3.put("p/k", BODY)
    s3.put_many((f"p/l/{i:03d}", b"") for i in range(LISTED))
    with tempfile.TemporaryDirectory(prefix="sp-") as scratch:
        theirs, ours = pathlib.Path(scratch) / "r.sock", pathlib.Path(scratch) / "c.sock"
        begun = time.monotonic()
        ref = multiprocessing.Process(target=reference, args=(theirs, server.endpoint, s3.bucket))
        ref.start()
        print(f"reference: first answer after {first_answer(theirs, begun):.0f} ms")
        mount = Mount(guard, s3.bucket, server.endpoint,
                      env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": ours})
        begun = time.monotonic()
        mount.start(ready=False)
        print(f"stateproxyd: first answer after {first_answer(ours, begun):.0f} ms")
        run("reference", theirs, lambda: [ref.pid], seconds)
        run("stateproxyd", ours, mount.processes, seconds)
        mount.stop()
        ref.kill()
        ref.join()
    s3.remove()
    server.remove()
    guard.close()


if __name__ == "__main__":
    main()
