"""Large bodies over the connector API, through little memory: PUT and GET of an object in each variant, its content
checked, and the most memory that all processes of the daemon had meanwhile: PSS, and the bodies that they keep in files
without a name in memory, which PSS does not count. Prints a table; exits with 1 if the limit was passed.

    tests/bench/run.sh --large [--gib N] [--limit SIZE] [--only VARIANT] [--both]

Needs twice the object's size on the disk of $TMPDIR: the buffer, and what the server (MinIO) has.
"""

import argparse
import pathlib
import sys
import tempfile
import threading
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))

from cost import pss_of                                             # noqa: E402
from harness.connector import Connector                             # noqa: E402
from harness.footprint import spooled                               # noqa: E402
from harness.guard import Guard                                     # noqa: E402
from harness.mount import Mount                                     # noqa: E402
from harness.pattern import pattern                                 # noqa: E402
from harness.s3 import S3                                           # noqa: E402
from harness.server import MinioServer, find_minio                  # noqa: E402

MIB = 1 << 20
PATIENCE = {"STATEPROXY_S3_ATTEMPT_TIMEOUT": "5m", "STATEPROXY_S3_DEADLINE": "10m"}    # with one disk for all
VARIANTS = ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"]


class Peak:
    """The most that the daemon had, while it is in force, in MiB: memory and disk."""

    def __init__(self, mount):
        self.mount, self.memory, self.disk, self.over = mount, 0.0, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.over.wait(0.2):
            memory, disk = spooled(self.mount.proc.pid)
            memory += sum(pss_of(self.mount.processes()).values())
            self.memory, self.disk = max(self.memory, memory / MIB), max(self.disk, disk / MIB)

    def __enter__(self):
        self.thread.start()
        self.begun = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.begun
        self.over.set()
        self.thread.join()


def put(con, target, pieces, chunked, count):
    """Sends `count` pieces of a MiB; the CRC of all of them."""
    crc = 0
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (count * MIB)
    with con.raw() as raw:
        raw.sock.settimeout(1800)
        raw.send(b"PUT %s HTTP/1.1\r\n%s\r\n\r\n" % (target, framing))
        for i in range(count):
            piece = pieces[i % len(pieces)]
            raw.send(b"%x\r\n%s\r\n" % (MIB, piece) if chunked else piece)
            crc = zlib.crc32(piece, crc)
        if chunked:
            raw.send(b"0\r\n\r\n")
        answer = raw.answer()
        assert answer.status == 204, f"{answer}\n{con.daemon.log()[-3000:]}"
    return crc


def get(con, target, count):
    crc, left = 0, count * MIB
    with con.raw() as raw:
        raw.send(b"GET %s HTTP/1.1\r\n\r\n" % target)
        status, headers = raw.head()
        assert (status, int(headers["content-length"])) == (200, left), (status, headers)
        while left:
            piece = raw.take(min(MIB, left))
            crc = zlib.crc32(piece, crc)
            left -= len(piece)
    return crc


def measure(guard, server, bucket, args, variant):
    """The most memory of any of its transfers, in MiB."""
    pieces, most = [pattern(MIB, i) for i in range(7)], 0.0
    with tempfile.TemporaryDirectory(prefix="sp-") as scratch:
        path = pathlib.Path(scratch) / "c.sock"
        mount = Mount(guard, bucket.bucket, server.endpoint, variant=variant,
                      env={"STATE_MOUNT": None, "CONNECTOR_SOCKET": path, "STATEPROXY_MEMORY_LIMIT": args.limit,
                           **PATIENCE})
        mount.start()
        con, count = Connector(path), args.gib * 1024
        con.daemon = mount
        for chunked in (True, False) if args.both else (True,):
            sent = {}

            def upload():
                sent["put"] = put(con, b"/keys/big", pieces, chunked, count)
            for what, call in (("PUT chunked" if chunked else "PUT length", upload),
                               ("GET", lambda: sent.update(get=get(con, b"/keys/big", count)))):
                with Peak(mount) as peak:
                    call()
                most = max(most, peak.memory)
                print(f"{variant:16} {what:11} {args.gib} GiB  {peak.seconds:6.0f} s  memory {peak.memory:5.1f} MiB  "
                      f"buffer.dir {peak.disk:7.0f} MiB", flush=True)
            assert sent["get"] == sent["put"], "the content is another one"
            assert con.delete("big").status == 204
        mount.stop()
    return most


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--gib", type=int, default=10, help="of the object (10)")
    p.add_argument("--limit", default="64Mi", help="memory.limit (64Mi); what is measured may not pass 64 MiB")
    p.add_argument("--both", action="store_true", help="PUT with a Content-Length, too, not only chunked")
    p.add_argument("--only", choices=VARIANTS, action="append", help="variants; default all")
    args = p.parse_args()
    guard = Guard()
    server = MinioServer(find_minio(), guard, on_disk=True).start()     # it does not copy the parts at the end
    bucket = S3(server.endpoint, "bench-large", server.root).create()
    most = max(measure(guard, server, bucket, args, v) for v in args.only or VARIANTS)
    bucket.remove()
    server.remove()
    guard.close()
    sys.exit(0 if most <= 64 else 1)


if __name__ == "__main__":
    main()
