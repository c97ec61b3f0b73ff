#!/usr/bin/env python3
"""One file operation in a process of its own, for tests that have to do something meanwhile.

    fileop.py write PATH SIZE SEED      open O_TRUNC, write, close
    fileop.py append PATH SIZE SEED
    fileop.py fsync PATH SIZE SEED      write, fsync; waits for the end of standard input, closes
    fileop.py read PATH                 open, read to the end, close
    fileop.py list PATH | unlink PATH | mkdir PATH | rmdir PATH | stat PATH
    fileop.py rename PATH NEW | truncate PATH SIZE

Prints one JSON object: {"error": null or "EIO", "at": "open" | "write" | "fsync" | "close" | ...,
"seconds": of the operation, and "sha256", "size" or "names" of what was read}. Exit 0 if there was
no error.
"""

import errno
import hashlib
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness.pattern import pattern     # noqa: E402


class Steps:
    """Remembers which call failed."""

    def __init__(self):
        self.at = None

    def __call__(self, name, function, *args):
        self.at = name
        return function(*args)


def write(step, path, size, seed, flags=os.O_TRUNC, sync=False):
    data = pattern(int(size), int(seed))
    fd = step("open", os.open, path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    try:
        for pos in range(0, len(data), 1 << 20):
            piece = data[pos:pos + (1 << 20)]
            while piece:
                piece = piece[step("write", os.write, fd, piece):]
        if sync:
            step("fsync", os.fsync, fd)
            print("synced", flush=True)
            sys.stdin.read()
    except OSError:
        try:
            os.close(fd)
        except OSError:
            pass            # the first error is the one to tell
        raise
    step("close", os.close, fd)
    return {}


def read(step, path):
    fd = step("open", os.open, path, os.O_RDONLY)
    digest, size = hashlib.sha256(), 0
    while data := step("read", os.read, fd, 1 << 17):
        digest.update(data)
        size += len(data)
    step("close", os.close, fd)
    return {"sha256": digest.hexdigest(), "size": size}


def simple(function, result=None):
    def call(step, *args):
        value = step(function.__name__, function, *args)
        return {result[0]: result[1](value)} if result else {}
    return call


OPERATIONS = {
    "write": write,
    "append": lambda step, *a: write(step, *a, flags=os.O_APPEND),
    "fsync": lambda step, *a: write(step, *a, sync=True),
    "read": read,
    "list": simple(os.listdir, ("names", sorted)),
    "stat": simple(os.stat, ("size", lambda s: s.st_size)),
    "unlink": simple(os.unlink), "mkdir": simple(os.mkdir), "rmdir": simple(os.rmdir),
    "rename": simple(os.rename),
    "truncate": lambda step, path, size: step("truncate", os.truncate, path, int(size)) or {},
}


def main():
    step, out = Steps(), {"error": None, "at": None}
    start = time.monotonic()
    try:
        out.update(OPERATIONS[sys.argv[1]](step, *sys.argv[2:]))
    except OSError as e:
        out.update(error=errno.errorcode.get(e.errno, str(e.errno)), at=step.at)
    out["seconds"] = time.monotonic() - start
    print(json.dumps(out))
    sys.exit(out["error"] is not None)


if __name__ == "__main__":
    main()
