#!/usr/bin/env python3
"""An application that writes files, reads them back and compares every byte with what it knows.

    writer_verifier.py DIR --seed N (--ops N | --until FILE) --state OUT.json [--files N] [--big]

Each operation is drawn from the seed: create, overwrite, append, patch in the middle, truncate,
read, stat, list, rename, delete. With --until it goes on until FILE exists. What has to be in DIR at
the end goes to OUT.json as {"ops": N, "files": {name: [size, sha256]}}. The first error or wrong
byte ends it: exit 1, with the operation and the last ones before it on stderr.
"""

import argparse
import collections
import errno
import hashlib
import json
import os
import random
import sys
import traceback


class Wrong(Exception):
    pass


class Application:
    def __init__(self, directory, seed, files, big):
        self.dir, self.random = directory, random.Random(seed)
        self.names = [f"file{i}{e}" for i, e in
                      zip(range(files), ("", ".txt", ".bin", ".tar.gz", ".py") * files)]
        self.big = big
        self.content = {}               # name -> bytearray: what must be there
        self.recent = collections.deque(maxlen=12)
        self.ops = 0

    def path(self, name):
        return os.path.join(self.dir, name)

    def data(self, limit=60_000):
        size = self.random.choice((0, 1, 100, 4096, self.random.randrange(limit)))
        if self.big and self.random.random() < 0.02:
            size = self.random.randrange(4 << 20, 6 << 20)      # goes to the spool's file
        return self.random.randbytes(size)

    def some(self):
        return self.random.choice(sorted(self.content)) if self.content else None

    def write_all(self, fd, data):
        """In pieces of random sizes."""
        pos = 0
        while pos < len(data):
            piece = data[pos:pos + self.random.choice((1000, 4096, 50_000, 200_000))]
            done = os.write(fd, piece)
            if done <= 0:
                raise Wrong(f"write gave {done}")
            pos += done

    def compare(self, what, got, expected):
        if got != expected:
            at = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b),
                      min(len(got), len(expected)))
            raise Wrong(f"{what}: {len(expected)} bytes expected, {len(got)} read, first difference "
                        f"at {at}: {bytes(expected[at:at + 8])!r} expected, "
                        f"{bytes(got[at:at + 8])!r} read")

    def read(self, fd, size):
        parts = []
        while data := os.read(fd, self.random.choice((4096, 30_000, 131_072))):
            parts.append(data)
            if sum(map(len, parts)) > size + 1_000_000:
                raise Wrong("reads on and on")
        return b"".join(parts)

    # -- operations: each returns a word for the record

    def op_write(self):
        name = self.random.choice(self.names)
        data = self.data()
        fd = os.open(self.path(name), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            self.write_all(fd, data)
            if self.random.random() < 0.3:
                os.lseek(fd, 0, os.SEEK_SET)
                self.compare("own bytes before close", self.read(fd, len(data)), data)
            if self.random.random() < 0.2:
                os.fsync(fd)
        finally:
            os.close(fd)
        self.content[name] = bytearray(data)
        return f"write {name} {len(data)}"

    def op_append(self):
        name = self.some()
        if name is None:
            return "-"
        data = self.data(10_000)
        fd = os.open(self.path(name), os.O_WRONLY | os.O_APPEND)
        try:
            self.write_all(fd, data)
        finally:
            os.close(fd)
        self.content[name] += data
        return f"append {name} {len(data)}"

    def op_patch(self):
        name = self.some()
        if name is None:
            return "-"
        model = bytearray(self.content[name])
        fd = os.open(self.path(name), os.O_RDWR)
        try:
            for _ in range(self.random.randrange(1, 5)):
                pos = self.random.randrange(len(model) + 100)
                data = self.random.randbytes(self.random.randrange(1, 5000))
                done = os.pwrite(fd, data, pos)
                if done != len(data):
                    raise Wrong(f"pwrite gave {done} of {len(data)}")
                if pos > len(model):
                    model += bytes(pos - len(model))
                model[pos:pos + len(data)] = data
            if self.random.random() < 0.5:
                self.compare("own bytes before close", os.pread(fd, len(model) + 10, 0)
                             if len(model) < 100_000 else self.read(fd, len(model)), model)
        finally:
            os.close(fd)
        self.content[name] = model
        return f"patch {name}"

    def op_truncate(self):
        name = self.some()
        if name is None:
            return "-"
        size = self.random.randrange(len(self.content[name]) + 1000)
        os.truncate(self.path(name), size)
        model = self.content[name]
        model += bytes(max(0, size - len(model)))
        del model[size:]
        return f"truncate {name} {size}"

    def op_read(self):
        name = self.some()
        if name is None:
            return "-"
        fd = os.open(self.path(name), os.O_RDONLY)
        try:
            self.compare(name, self.read(fd, len(self.content[name])), self.content[name])
        finally:
            os.close(fd)
        return f"read {name}"

    def op_stat(self):
        name = self.random.choice(self.names)
        try:
            size = os.stat(self.path(name)).st_size
        except FileNotFoundError:
            size = None
        expected = len(self.content[name]) if name in self.content else None
        if size != expected:
            raise Wrong(f"stat {name}: size {size}, expected {expected}")
        return f"stat {name}"

    def op_list(self):
        got = sorted(os.listdir(self.dir))
        if got != sorted(self.content):
            raise Wrong(f"list: {got}, expected {sorted(self.content)}")
        return "list"

    def op_rename(self):
        old, new = self.some(), self.random.choice(self.names)
        if old is None or old == new:
            return "-"
        os.rename(self.path(old), self.path(new))
        self.content[new] = self.content.pop(old)
        return f"rename {old} {new}"

    def op_delete(self):
        name = self.random.choice(self.names)
        try:
            os.unlink(self.path(name))
            if self.content.pop(name, None) is None:
                raise Wrong(f"deleted {name}, which was not there")
        except FileNotFoundError:
            if name in self.content:
                raise
        return f"delete {name}"

    WEIGHTS = {"write": 30, "append": 10, "patch": 10, "truncate": 5, "read": 25, "stat": 8,
               "list": 4, "rename": 4, "delete": 4}

    def step(self):
        kinds = list(self.WEIGHTS)
        kind = self.random.choices(kinds, [self.WEIGHTS[k] for k in kinds])[0]
        self.recent.append(f"{self.ops}: {kind} ...")
        self.recent[-1] = f"{self.ops}: {getattr(self, 'op_' + kind)()}"
        self.ops += 1

    def state(self):
        return {"ops": self.ops, "files": {n: [len(d), hashlib.sha256(d).hexdigest()]
                                           for n, d in self.content.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("dir")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ops", type=int)
    parser.add_argument("--until")
    parser.add_argument("--state", required=True)
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--big", action="store_true")
    args = parser.parse_args()
    app = Application(args.dir, args.seed, args.files, args.big)
    try:
        while app.ops < args.ops if args.ops else not os.path.exists(args.until):
            app.step()
        for name in sorted(app.content):        # and all of it once more
            with open(app.path(name), "rb") as f:
                app.compare(name, f.read(), app.content[name])
    except (OSError, Wrong) as e:
        code = errno.errorcode.get(e.errno, e.errno) if isinstance(e, OSError) else "wrong"
        sys.stderr.write(f"seed {args.seed}, operation {app.ops}: {code}: {e}\n")
        sys.stderr.write("\n".join(app.recent) + "\n")
        traceback.print_exc()
        sys.exit(1)
    with open(args.state, "w") as f:
        json.dump(app.state(), f)


if __name__ == "__main__":
    main()
