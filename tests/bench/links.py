"""Reading over a link with latency and a limit for each connection (link.c), beside curl with 1 and
with 8 connections over the same link: whether the window fills it. And what is received for what is
wanted: in order, by four readers of one file, at random, backwards and in steps."""

import os
import pathlib
import random
import subprocess
import threading

from cost import Cost
import peer
import work

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20
LATENCY_MS, RATE_MIB = 20, 50


class Link:
    """with Link(port, scratch) as link: link.endpoint, which leads to that port."""

    def __init__(self, port, scratch, latency_ms=LATENCY_MS, rate_mib=RATE_MIB):
        self.args = [str(port), str(latency_ms), str(rate_mib)]
        self.program = scratch / "link"
        if not self.program.exists():
            subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-D_GNU_SOURCE",
                            HERE / "link.c", "-o", self.program], check=True)

    def __enter__(self):
        self.process = subprocess.Popen([self.program, *self.args], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.endpoint = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def curl_parts(curl, key, size, connections):
    """The object in as many ranges at once."""
    url, step = curl.url("get_object", key), -(-size // connections)
    return curl.run([[*peer.OPTIONS, "-o", "/dev/null", "-r",
                      f"{at}-{min(size, at + step) - 1}", url]
                     for at in range(0, size, step)])


def in_order(path, size, at=0, end=None):
    fd = os.open(path, os.O_RDONLY)
    end = size if end is None else end
    while at < end:
        at += len(os.pread(fd, min(MIB, end - at), at))
    os.close(fd)
    return end


def four_readers(path, size):
    quarter = size // 4
    readers = [threading.Thread(target=in_order, args=(path, size, i * quarter, (i + 1) * quarter))
               for i in range(4)]
    for r in readers:
        r.start()
    for r in readers:
        r.join()
    return 4 * quarter


def backwards(path, size):
    fd = os.open(path, os.O_RDONLY)
    for at in range(size - MIB, -1, -MIB):
        os.pread(fd, MIB, at)
    os.close(fd)
    return size // MIB * MIB


def in_steps(path, size, piece=256 << 10, step=4 * MIB):
    fd = os.open(path, os.O_RDONLY)
    places = range(0, size - piece, step)
    for at in places:
        os.pread(fd, piece, at)
    os.close(fd)
    return len(places) * piece


def at_random(path, size, piece, count):
    rng, wanted = random.Random(piece), set()
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for _ in range(count):
        at = rng.randrange(size // piece) * piece
        os.pread(fd, piece, at)
        wanted.add(at)
    os.close(fd)
    return len(wanted) * piece


WAYS = {
    "in order": in_order,
    "4 readers of one file": four_readers,
    "backwards, 1 MiB": backwards,
    "256 KiB every 4 MiB": in_steps,
    "at random, 1 MiB": lambda path, size: at_random(path, size, MIB, 64),
    "at random, 4 KiB": lambda path, size: at_random(path, size, 4096, 200),
}


def ours(mount, path, size, way):
    work.forget_pages(path)
    with Cost(mount) as cost:
        wanted = way(path, size)
    return {**cost.as_dict(), "wanted": wanted,
            "received": cost.counters.get("s3_in_bytes", 0)}


def measure(curl, key, size, mount):
    """{way: {"mount": run}}, and for the first also "curl 1" and "curl 8". `mount()` returns a fresh
    mount and what ends it; `curl` has the endpoint of the link."""
    out = {}
    for name, way in WAYS.items():
        m, end = mount()
        try:
            out[name] = {"mount": ours(m, m.path / key.removeprefix("p/"), size, way)}
        finally:
            end()
    for n in (1, 8):
        out["in order"][f"curl {n}"] = curl_parts(curl, key, size, n).as_dict()
    return out
