"""Programs that work on a mount while something is done to it, and what has to be there afterwards."""

import hashlib
import json
import os
import signal
import sys

from . import PROGRAMS, util

PYTHON = [sys.executable, "-B"]

# In front of a program of python -c: its children call until_waited_for().
UNTIL_WAITED_FOR = (PROGRAMS / "waited.py").read_text()

# python -c ... DATABASE COUNT: transactions that count up, and log.
SQLITE_INCREMENT = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
for _ in range(int(sys.argv[2])):
    db.execute("begin immediate")
    n, = db.execute("select n from counter").fetchone()
    db.execute("update counter set n = ?", (n + 1,))
    db.execute("insert into log (line) values (?)", ("x" * 500,))
    db.execute("commit")
"""

# python -c ... PATH COUNT: with compare-and-set, a conflict is begun anew.
FILE_INCREMENT = """
import sys
done = 0
while done < int(sys.argv[2]):
    try:
        with open(sys.argv[1], "r+b") as f:
            n = int(f.read()); f.seek(0); f.write(b"%d" % (n + 1))
        done += 1
    except FileExistsError:
        pass
"""


def start_writer(m, scratch, seed, name="writer", big=True):
    """The writer-verifier in a directory of its own, until scratch/stop exists."""
    (m.path / name).mkdir()
    return util.spawn([*PYTHON, PROGRAMS / "writer_verifier.py", m.path / name, "--seed", seed,
                       "--until", scratch / "stop", "--state", scratch / f"{name}.json",
                       *(["--big"] if big else [])])


def assert_writers_files(m, bucket, scratch, name="writer"):
    """Every byte that the writer-verifier thinks it wrote is on the server, and nothing else.
    Returns the number of its operations."""
    state = json.loads((scratch / f"{name}.json").read_text())
    prefix = m.key(name) + "/"
    there = {k[len(prefix):]: n for k, n in bucket.list(prefix).items() if k != prefix}
    assert there == {n: size for n, (size, _) in state["files"].items()}
    for file, (_, digest) in state["files"].items():
        assert hashlib.sha256(bucket.get(prefix + file)).hexdigest() == digest, file
    return state["ops"]


def start_copier(m, scratch, source, name="copier"):
    """cp -r of a tree in and out, compared, until scratch/stop exists: copier/tree and out."""
    (m.path / name).mkdir()
    return util.spawn([*PYTHON, PROGRAMS / "tree_copier.py", source, m.path / name, scratch,
                       "--until", scratch / "stop"])


def start_busy(scratch, what, *paths):
    """programs/busy.py, until scratch/stop exists."""
    return util.spawn([*PYTHON, PROGRAMS / "busy.py", what, *paths, "--until", scratch / "stop"])


def still_running(*programs):
    def check():
        for p in programs:
            if p.poll() is not None:
                util.finish(p)
                raise AssertionError(f"{p.args} ended too early")
    return check


def kill_all(programs):
    for p in programs:
        if p.poll() is None:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
