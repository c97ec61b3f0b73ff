"""Many operations while one request in twenty fails: no wrong byte, no false success, no false conflict.

With two attempts nearly everything heals; with one each fault reaches the program: it is told by an errno that says
what may be done, by one line of the log, and leaves the file as it was or as it was to be.
STATEPROXY_TEST_FAULT_OPS is how many operations, of all cases together."""

import errno
import os
import random
import threading
import time

import pytest

from harness import SLOW, util

CASES = [(v, n) for v in ("s3-buffered-lww", "s3-buffered-cas") for n in (2, 1)]
OPS = int(os.environ.get("STATEPROXY_TEST_FAULT_OPS", "2000")) // len(CASES)
THREADS, FILES = 8, 6
TOLD = {errno.EIO, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNRESET}


class Program(threading.Thread):
    """Works on files of its own. `content`: name -> what they may be: one thing, or after a failure two (also where
    they are alike: which version is there has to be looked at)."""

    kinds = ("write", "write", "append", "read", "read", "delete", "rename", "list")
    files = FILES

    def __init__(self, path, number, seed, ops):
        super().__init__(name=f"program {number}", daemon=True)
        self.dir = path / f"d{number}"
        self.random = random.Random(seed * 1000 + number)
        self.names = [f"f{i}.bin" for i in range(self.files)]
        self.content = {n: [None] for n in self.names}
        self.ops, self.told, self.trouble = ops, [], None
        self.history = []               # what was done to which name, and how it ended

    def run(self):
        try:
            for _ in range(self.ops):
                self.step()
        except Exception as e:
            self.trouble = f"{self.name}: {e!r}, after {self.history[-40:]}"

    def step(self):
        name = self.random.choice(self.names)
        old = self.content[name]
        if len(old) > 1:                    # after a failure: what is it?
            self.look(name)
            self.note("look", name)
            return
        kind = self.random.choice(self.kinds)
        try:
            getattr(self, kind)(name, old[0])
        except OSError as e:
            if e.errno not in TOLD:
                raise AssertionError(f"{kind} {name}: {e!r}") from e
            self.told.append((kind, name, e.errno))
            self.note(kind, name, errno.errorcode[e.errno])
        else:
            self.note(kind, name)

    def note(self, kind, name, how="done"):
        sizes = [c if c is None else len(c) for c in self.content[name]]
        self.history.append((round(time.time() % 1000, 3), kind, name, how, sizes))

    def may_be(self, name, *contents):
        self.content[name] = list(contents)

    def write(self, name, old):
        new = self.random.randbytes(self.random.choice((0, 10, 5000, 200_000)))
        self.may_be(name, old, new)
        util.write_and_close(self.dir / name, new)
        self.may_be(name, new)

    def append(self, name, old):
        if old is None:
            return
        more = self.random.randbytes(1000)
        self.may_be(name, old, old + more)
        util.write_and_close(self.dir / name, more, os.O_APPEND)
        self.may_be(name, old + more)

    def get(self, name):
        try:
            return (self.dir / name).read_bytes()
        except FileNotFoundError:
            return None

    def read(self, name, old):
        got = self.get(name)
        assert got == old, f"{name}: wrong bytes: {got and len(got)}, not {old and len(old)}"

    def look(self, name):
        """Until it succeeds: then it is one of both."""
        try:
            got = self.get(name)
        except OSError as e:
            if e.errno not in TOLD:
                raise
            self.told.append(("look", name, e.errno))
            return
        assert got in self.content[name], f"{name} is neither as before nor as it was to be"
        self.may_be(name, got)

    def delete(self, name, old):
        if old is None:
            return
        self.may_be(name, old, None)
        os.unlink(self.dir / name)
        self.may_be(name, None)

    def rename(self, name, old):
        """Copy and delete: half of it leaves both."""
        to = self.random.choice(self.names)
        if old is None or to == name or len(self.content[to]) > 1:
            return
        was = self.content[to][0]
        self.may_be(name, old, None)
        self.may_be(to, was, old)
        os.rename(self.dir / name, self.dir / to)
        self.may_be(name, None)
        self.may_be(to, old)

    def list(self, _, __):
        there = set(os.listdir(self.dir))
        for name, may_be in self.content.items():
            assert name not in there or any(c is not None for c in may_be), f"{name} is listed"
            assert name in there or None in may_be, f"{name} is not listed"

    def holds(self, bucket, m):
        """At the end, without faults: each file is what it may be, on S3 and through the mount."""
        prefix = m.key(self.dir.name) + "/"
        there = {k[len(prefix):]: bucket.get(k) for k in bucket.list(prefix) if k != prefix}
        for name, may_be in self.content.items():
            assert there.get(name) in may_be, f"{self.dir.name}/{name} on S3, after {self.history[-40:]}"
            assert self.get(name) == there.get(name), f"{self.dir.name}/{name} through the mount"


def told_lines(m):
    return [x for x in m.log().splitlines()
            if (" warn " in x or " err " in x) and "data discarded" not in x]


@pytest.mark.repeats
@pytest.mark.limit(60 + OPS // 10)
@pytest.mark.parametrize("variant, attempts", CASES)
def test_one_request_in_twenty_fails(mount, proxy, bucket, seed, variant, attempts):
    m = mount(via=proxy, variant=variant, env={"AWS_MAX_ATTEMPTS": str(attempts),
                                               "STATEPROXY_S3_DEADLINE": f"{int(30 * SLOW)}s"})
    begun = len(told_lines(m))
    programs = [Program(m.path, i, seed, OPS // THREADS) for i in range(THREADS)]
    for p in programs:
        os.mkdir(p.dir)
    proxy.add_faults(0.05, seed, lost_ms=30, slow_ms=30)
    for p in programs:
        p.start()
    for p in programs:
        p.join()
    proxy.clear_rules()
    trouble = [p.trouble for p in programs if p.trouble]
    if trouble:
        pytest.fail("\n".join(trouble))
    told = [t for p in programs for t in p.told]
    lines = told_lines(m)[begun:]
    assert len(lines) >= len(told), "each failure is told"
    # (Of a READ that failed the kernel asks again, page by page, and of a name that it knew once more: such
    # failures have a line each, though the program may not see them.)
    once = [x for x in lines if "reading from S3 failed" not in x and "lookup failed" not in x]
    assert len(once) <= len(told), "what was healed is not told"
    print(f"{OPS} operations, {len(told)} failures told in {len(lines)} lines, "
          f"{m.status()['counters']['s3_retries']} retries")
    for p in programs:
        p.holds(bucket, m)
    m.check()
