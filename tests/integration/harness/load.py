"""What programs do at once while a daemon is replaced again and again: a random writer (programs/fsx.py), several
processes that count in one file, and a copy of a large file in parts, in and out."""

import hashlib
import json
import sys

from . import PROGRAMS, util
from .pattern import pattern
from .work import kill_all, start_copier, still_running

PYTHON = [sys.executable, "-B"]
MIB = 1 << 20
# Parts as small as S3 has them, so that the copy and the random writer have some.
PARTS = {"STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi", "STATEPROXY_UPLOAD_PART_SIZE": "5Mi",
         "STATEPROXY_BUFFER_MEMORY": "1Mi"}
COUNTERS = 3
LARGE = 24 * MIB + 4321

# FILE LOCK STOP: counts in FILE until STOP exists, and prints how often. With compare-and-set a conflict is begun
# anew; with last write wins LOCK keeps the others away ("" = none).
COUNT = """
import fcntl, os, sys
path, lock, stop = sys.argv[1:]
guard = os.open(lock, os.O_RDWR) if lock else None
done = 0
while not os.path.exists(stop):
    if lock:
        fcntl.flock(guard, fcntl.LOCK_EX)
    try:
        with open(path, "r+b") as f:
            n = int(f.read()); f.seek(0); f.write(b"%d" % (n + 1))
        done += 1
    except FileExistsError:
        if lock:
            raise
    if lock:
        fcntl.flock(guard, fcntl.LOCK_UN)
print(done)
"""


def start_counters(m, bucket, stop, isolated, how_many=COUNTERS):
    bucket.put(m.key("n"), b"0")
    lock = ""
    if not isolated:
        lock = m.path / "n.lock"
        bucket.put(m.key("n.lock"), b"x")
    return [util.spawn([*PYTHON, "-c", COUNT, m.path / "n", lock, stop]) for _ in range(how_many)]


class Load:
    """A context; finish() ends and verifies it. isolated: the variant is compare-and-set."""

    def __init__(self, m, bucket, scratch, seed, isolated):
        self.m, self.bucket, self.scratch, self.stop = m, bucket, scratch, scratch / "stop"
        source = scratch / "source"
        source.mkdir()
        self.large = pattern(LARGE, seed)
        (source / "large").write_bytes(self.large)
        self.fsx = [util.spawn([*PYTHON, PROGRAMS / "fsx.py", m.path / f"fsx{i}", "--seed", seed + i, "--until",
                                self.stop, "--max", most]) for i, most in enumerate((MIB, 12 * MIB))]
        self.counters = start_counters(m, bucket, self.stop, isolated)
        self.copier = start_copier(m, scratch, source)
        self.programs = [*self.fsx, *self.counters, self.copier]

    def check(self):
        still_running(*self.programs)()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        kill_all(self.programs)

    def finish(self):
        """No program had an error; no update is lost; all bytes are on S3. Returns what was done."""
        self.stop.touch()
        told = [json.loads(util.finish(p, 120).out) for p in self.fsx]
        counted = [int(util.finish(p, 120).out) for p in self.counters]
        copies = int(util.finish(self.copier, 120).out)
        for i, fsx in enumerate(told):
            content = self.bucket.get(self.m.key(f"fsx{i}"))
            assert len(content) == fsx["size"] and hashlib.sha256(content).hexdigest() == fsx["sha256"]
        assert self.bucket.get(self.m.key("n")) == b"%d" % sum(counted)
        assert self.bucket.get(self.m.key("copier/tree/large")) == self.large
        return {"fsx": [t["ops"] for t in told], "counted": sum(counted), "copies": copies}
