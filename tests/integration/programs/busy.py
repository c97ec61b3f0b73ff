#!/usr/bin/env python3
"""Work that goes on until FILE exists, and that ends with exit 1 at the first error or wrong byte.

    busy.py append LOG --until FILE         lines to a log: over a descriptor that stays open, with
                                            fsync, and over one for each line; read back by name
    busy.py rename DIR NEW --until FILE     renames a directory to and fro, and looks into it
    busy.py list DIR --until FILE           ls -lR, which has to say the same each time

Prints how often it was done. Everything is done at least once; the log has that many lines then,
and the directory is under its first name.
"""

import argparse
import os
import subprocess
import sys

KEPT_OPEN = 8           # lines over one descriptor


def fail(text):
    sys.stderr.write(text + "\n")
    sys.exit(1)


def append(path, done):
    count = 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for i in range(KEPT_OPEN):
        os.write(fd, b"%d\n" % count)
        count += 1
        if i % 3 == 2:
            os.fsync(fd)
    while True:
        os.close(fd)
        with open(path, "rb") as f:
            lines = f.read()
        if lines != b"".join(b"%d\n" % i for i in range(count)):
            fail(f"{path}: {count} lines expected, found ...{lines[-80:]!r}")
        if done():
            return count
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        for i in range(KEPT_OPEN if count % 2 else 1):
            os.write(fd, b"%d\n" % count)
            count += 1
            if i % 3 == 2:
                os.fsync(fd)


def rename(old, new, done):
    def content(top):
        out = {}
        for name in os.listdir(top):
            with open(os.path.join(top, name), "rb") as f:
                out[name] = f.read()
        return out
    expected, count = content(old), 0
    while True:
        for a, b in ((old, new), (new, old)):
            os.rename(a, b)
            got = content(b)
            if got != expected:
                differ = {n for n in expected.keys() | got.keys() if expected.get(n) != got.get(n)}
                fail(f"rename {a} {b}: {sorted(differ)} are not as before")
            if os.path.exists(a):
                fail(f"rename {a} {b}: the old name is still there")
            count += 1
        if done():
            return count


def listing(top, done):
    first, count = None, 0
    while True:
        out = subprocess.run(["ls", "-lR", top], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if out.returncode or first not in (None, out.stdout):
            fail(f"ls -lR: exit {out.returncode}, it says\n{out.stdout.decode()}\nand said before\n"
                 f"{(first or b'').decode()}")
        first = out.stdout
        count += 1
        if done():
            return count


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=("append", "rename", "list"))
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--until", required=True)
    args = parser.parse_args()
    work = {"append": append, "rename": rename, "list": listing}[args.what]
    try:
        print(work(*args.paths, lambda: os.path.exists(args.until)))
    except OSError as e:
        fail(f"{args.what}: {e!r} {e.filename or ''}")


if __name__ == "__main__":
    main()
