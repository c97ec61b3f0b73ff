"""Random sequences of what several processes on two mounts, and a third party at the server, do to
two keys, compared with the model of the rules (harness/cas_model.py). STATEPROXY_MODEL_SEQUENCES says
how many; the same ones each time, unless STATEPROXY_TEST_SEED is set."""

import ctypes
import errno
import itertools
import os

import hypothesis
import pytest
from hypothesis import strategies as st

from harness import SLOW
from harness.cas_model import Model, content_of
from test_cas import CAS, Process

SEQUENCES = int(os.environ.get("STATEPROXY_MODEL_SEQUENCES", "2000" if SLOW == 1 else "300"))
PROCESSES = {0: "m0", 1: "m0", 2: "m1"}

process = st.sampled_from(sorted(PROCESSES))
key = st.sampled_from(["a", "b"])
operation = st.one_of(
    st.tuples(st.just("read"), process, key),
    st.tuples(st.just("put"), process, key, st.sampled_from(["w", "w", "a", "r+", "x"])),
    st.tuples(st.just("open"), process, key, st.sampled_from(["w", "a", "r+", "x"])),
    st.tuples(st.just("write"), process),
    st.tuples(st.just("fsync"), process),
    st.tuples(st.just("close"), process),
    st.tuples(st.just("unlink"), process, key),
    st.tuples(st.just("rename"), process, key, st.booleans()),
    st.tuples(st.just("theirs"), key),
    st.tuples(st.just("delete"), key))


def outcome_of(function, *args):
    try:
        result = function(*args)
        return "ok" if result is None or isinstance(result, int) else result
    except OSError as e:
        return errno.errorcode[e.errno]


class World:
    """The daemons, driven as the model is."""

    def __init__(self, mounts, bucket, processes):
        self.mounts, self.bucket, self.processes = mounts, bucket, processes
        self.numbers = itertools.count()
        self.texts = itertools.count(1)

    def begin(self):
        number = next(self.numbers)
        self.name = {k: f"{k}{number}.txt" for k in "ab"}
        self.model = Model(PROCESSES)
        self.mode = {}

    def end(self):
        for p in list(self.mode):
            outcome_of(self.processes[p], "close", "f")
        for k in "ab":
            self.bucket.delete(f"p/{self.name[k]}")

    def path(self, p, k):
        return self.mounts[int(PROCESSES[p][1])].path / self.name[k]

    def text(self):
        """Never the same twice, nor one after another the same as a third."""
        return f"<{next(self.texts):06}>"

    def both(self, expected, actual, *what):
        assert actual in (expected if isinstance(expected, tuple) else (expected,)), what

    # -- operations; each skips what the model does not speak of

    def read(self, p, k):
        self.both(self.model.read(p, k), outcome_of(self.processes[p].get, self.path(p, k)))

    def open(self, p, k, mode):
        if p in self.mode:
            return False
        model = self.model
        actual = outcome_of(self.processes[p], "open", "f", self.path(p, k), mode)
        # A LOOKUP within a second of the process's own read or write is answered from memory.
        if mode == "x" and actual == "EEXIST" and k not in model.server and \
                (p, k) in model.baselines:
            return False
        expected = model.open(p, k, mode)
        self.both(expected, actual, "open", mode)
        if expected == "ok":
            self.mode[p] = mode
        return expected == "ok"

    def write(self, p):
        if p not in self.mode:
            return
        text = self.text()
        expected = self.model.write(p, text, self.mode[p])
        if self.mode[p] == "r+":
            self.mode[p] = "r+ written"         # the next goes behind
        self.both(expected, outcome_of(self.processes[p], "write", "f", text))

    def fsync(self, p):
        if p in self.mode:
            self.both(self.model.publish(p), outcome_of(self.processes[p], "fsync", "f"))

    def close(self, p):
        if p in self.mode:
            del self.mode[p]
            self.both(self.model.close(p), outcome_of(self.processes[p], "close", "f"))

    def put(self, p, k, mode):
        if self.open(p, k, mode):
            self.write(p)
            self.close(p)

    def unlink(self, p, k):
        if p in self.mode:
            return
        gone = k not in self.model.server and (p, k) in self.model.baselines
        expected = self.model.unlink(p, k)
        actual = outcome_of(self.processes[p], "unlink", self.path(p, k))
        if gone and actual == "ok":             # from memory, as above
            self.model.has_removed(p, k)
            return
        self.both(expected, actual)

    def rename(self, p, k, noreplace):
        if p in self.mode:
            return
        new, model = "b" if k == "a" else "a", self.model
        there = [n in model.server or (p, n) in model.baselines for n in (k, new)]
        gone = noreplace and all(there) and not {k, new} <= set(model.server)
        actual = outcome_of(self.processes[p], "renameat2", self.path(p, k), self.path(p, new),
                            int(noreplace))
        if gone and actual == "EEXIST":         # one is there, or both, from memory
            return
        self.both(model.rename(p, k, new, noreplace), actual)

    def theirs(self, k):
        self.model.server[k] = self.text()
        self.bucket.put(f"p/{self.name[k]}", self.model.server[k].encode())

    def delete(self, k):
        self.model.server.pop(k, None)
        self.bucket.delete(f"p/{self.name[k]}")

    def compare(self):
        for k in "ab":
            there = f"p/{self.name[k]}"
            actual = self.bucket.get(there).decode() if self.bucket.exists(there) else None
            version = self.model.server.get(k)
            assert actual == (None if version is None else content_of(version)), k


@pytest.mark.limit(600)
def test_the_model(mount, bucket, seed):
    mounts = [mount(variant=CAS) for _ in range(2)]
    processes = {p: Process() for p in PROCESSES}
    world = World(mounts, bucket, processes)

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=SEQUENCES, deadline=None, database=None, print_blob=True,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(st.lists(operation, min_size=4, max_size=16))
    def run(operations):
        world.begin()
        try:
            for name, *args in operations:
                getattr(world, name)(*args)
            world.compare()
        finally:
            world.end()
    try:
        run()
    finally:
        for p in processes.values():
            p.proc.stdin.close()
            p.proc.wait(20)
    for m in mounts:
        m.check()
