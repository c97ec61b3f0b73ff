#!/usr/bin/env python3
"""Random operations on one file, as fsx does them: every byte that is read has to be the one last written.

    fsx.py FILE --seed N (--until STOP | --ops N) [--max BYTES]

Writes, reads, reads through a mapping, truncates, grows, fsync, close and open again, until STOP exists, or N times.
FILE is then compared as a whole; prints {"ops": N, "size": N, "sha256": ...}.
The first error or wrong byte ends it with exit 1 and its last operations on stderr.
"""

import argparse
import collections
import hashlib
import json
import mmap
import os
import random
import sys
import traceback


LENGTHS = 1, 100, 4096, 5000, 65536, 200_000
LONG_ONES = 1 << 20, 3 << 20
LARGE = 8 << 20             # files of this size have those, too


class Wrong(Exception):
    pass


class Fsx:
    def __init__(self, path, seed, most):
        self.path, self.most = path, most
        self.random = random.Random(seed)
        self.content = bytearray()
        self.recent = collections.deque(maxlen=12)
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)

    def expect(self, what, got, at, length):
        expected = self.content[at:at + length]
        if got != expected:
            first = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), min(len(got), len(expected)))
            raise Wrong(f"{what} at {at}: {len(expected)} bytes expected, {len(got)} read, first difference at "
                        f"{at + first}: {bytes(expected[first:first + 8])!r}, read {bytes(got[first:first + 8])!r}")

    def place(self):
        """(where, how many bytes), within the file of the greatest size."""
        length = self.random.choice(LENGTHS if self.most < LARGE else LENGTHS + LONG_ONES)
        return self.random.randrange(self.most - length), length

    def write(self):
        at, length = self.place()
        data = self.random.randbytes(length)
        done = 0
        while done < length:
            n = os.pwrite(self.fd, data[done:], at + done)
            if n <= 0:
                raise Wrong(f"pwrite gave {n}")
            done += n
        if at > len(self.content):
            self.content += bytes(at - len(self.content))
        self.content[at:at + length] = data

    def read(self):
        at, length = self.place()
        self.expect("read", self.read_at(at, length), at, length)

    def read_at(self, at, length):
        got = b""
        while len(got) < length and (piece := os.pread(self.fd, length - len(got), at + len(got))):
            got += piece
        return got

    def read_mapped(self):
        if not self.content:
            return
        with mmap.mmap(self.fd, len(self.content), prot=mmap.PROT_READ) as view:
            at, length = self.place()
            at %= len(self.content)
            self.expect("mapping", view[at:at + length], at, length)

    def truncate(self):
        size = self.random.randrange(self.most)
        os.ftruncate(self.fd, size)
        if size < len(self.content):
            del self.content[size:]
        else:
            self.content += bytes(size - len(self.content))

    def fsync(self):
        os.fsync(self.fd)

    def reopen(self):
        os.close(self.fd)
        self.fd = os.open(self.path, os.O_RDWR)
        if os.fstat(self.fd).st_size != len(self.content):
            raise Wrong(f"{os.fstat(self.fd).st_size} bytes after the close, {len(self.content)} before")

    def whole(self):
        os.close(self.fd)
        self.fd = os.open(self.path, os.O_RDONLY)
        self.expect("whole file", self.read_at(0, self.most + 1), 0, self.most + 1)
        os.close(self.fd)

    def run(self, done):
        ops, kinds = 0, [(self.write, 8), (self.read, 8), (self.read_mapped, 3), (self.truncate, 2), (self.fsync, 1),
                         (self.reopen, 2)]
        functions, weights = zip(*kinds)
        while not done(ops):
            op = self.random.choices(functions, weights)[0]
            self.recent.append(op.__name__)
            op()
            ops += 1
        self.recent.append("whole")
        self.whole()
        return ops


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("file")
    parser.add_argument("--seed", type=int, required=True)
    until = parser.add_mutually_exclusive_group(required=True)
    until.add_argument("--until")
    until.add_argument("--ops", type=int)
    parser.add_argument("--max", type=int, default=1 << 20)
    args = parser.parse_args()
    fsx = Fsx(args.file, args.seed, args.max)
    try:
        ops = fsx.run(lambda ops: ops == args.ops if args.until is None else os.path.exists(args.until))
    except (OSError, Wrong):
        traceback.print_exc()
        sys.exit(f"the last operations: {' '.join(fsx.recent)}")
    print(json.dumps({"ops": ops, "size": len(fsx.content), "sha256": hashlib.sha256(fsx.content).hexdigest()}))


if __name__ == "__main__":
    main()
