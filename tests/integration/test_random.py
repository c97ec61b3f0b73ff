"""Random operations on the mount and on a local directory at once: the same results, errors, bytes.

STATEPROXY_TEST_RANDOM_OPS is the number of operations of the longest of them (6,000), the others do
a part of it. programs/random_ops.py says what they are, and which differences are documented.
"""

import os
import pathlib
import sys
import tempfile
import time

import pytest

from harness import PROGRAMS, SLOW, util
from harness.killer import Killer
from harness.tree import assert_tree_equal

OPS = int(os.environ.get("STATEPROXY_TEST_RANDOM_OPS", "6000"))
LIMIT = max(100, OPS // 50)

pytestmark = [pytest.mark.slow, pytest.mark.limit(LIMIT)]

# Files move from memory to disk at a size that the operations reach.
SMALL_BUFFER = {"STATEPROXY_BUFFER_MEMORY": "64Ki"}


@pytest.fixture
def reference():
    with tempfile.TemporaryDirectory(prefix="sp-reference-") as path:
        yield pathlib.Path(path)


class Run:
    """random_ops.py in a directory of its own on the mount."""

    def __init__(self, m, bucket, reference, seed, ops, name="w", every=500):
        self.m, self.bucket, self.name = m, bucket, name
        self.reference = reference / name
        self.reference.mkdir()
        (m.path / name).mkdir()
        self.out = tempfile.TemporaryFile()
        self.proc = util.spawn(
            [sys.executable, "-B", PROGRAMS / "random_ops.py", m.path / name, self.reference,
             "--seed", seed, "--ops", ops, "--every", min(every, ops)],
            stdin=-1, stderr=self.out)

    def go_on(self):
        """Until it awaits a comparison, which is made; False at its end."""
        line = self.proc.stdout.readline()
        if line != b"check\n":
            return False
        assert_tree_equal(self.reference, self.bucket, self.m.key(self.name))
        self.proc.stdin.write(b"\n")
        self.proc.stdin.flush()
        return True

    def finish(self):
        while self.go_on():
            pass
        code = self.proc.wait(60)
        assert code == 0, self.last_words()

    def last_words(self):
        self.out.seek(0)
        return "\n".join(self.out.read().decode(errors="replace").splitlines()[-60:])

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        for f in (self.proc.stdin, self.proc.stdout, self.out):
            f.close()


def assert_nothing_left(m, bucket):
    util.wait_until(lambda: m.status().get("sessions", {}).get("open", 0) == 0,
                    what="the sessions' end")
    assert not bucket.uploads()
    m.check()


def test_as_a_local_directory(mount, bucket, reference, seed):
    m = mount(env=SMALL_BUFFER)
    with Run(m, bucket, reference, seed, OPS) as run:
        run.finish()
    assert not m.errors()
    assert_nothing_left(m, bucket)


def test_three_programs_in_trees_of_their_own(mount, bucket, reference, seed):
    m = mount()
    with Run(m, bucket, reference, seed + 1, OPS // 6, "w1") as a, \
            Run(m, bucket, reference, seed + 2, OPS // 6, "w2") as b, \
            Run(m, bucket, reference, seed + 3, OPS // 6, "w3") as c:
        for run in (a, b, c):
            run.finish()
    assert_nothing_left(m, bucket)


def test_while_workers_are_killed(mount, bucket, reference, seed):
    m = mount(env=SMALL_BUFFER)
    killer = Killer(m, 1 << 30, seed, 0.02, 0.15)
    with Run(m, bucket, reference, seed + 4, OPS // 4) as run:
        killer.start()
        try:
            run.finish()
        finally:
            killer.cancelled.set()
            killer.join(30)
    assert killer.error is None and killer.kills > 0
    m.wait_workers(2)
    assert_nothing_left(m, bucket)


def test_with_faults_of_the_server(mount, bucket, proxy, reference, seed):
    """One request of twenty fails, in each of five ways; none of it reaches the program."""
    m = mount(via=proxy, env={"STATEPROXY_S3_MAX_ATTEMPTS": "20"})
    for i, (action, args) in enumerate([
            ("answer", {"status": 500}), ("answer", {"status": 500, "acted": True}),
            ("reset", {}), ("reset", {"when": "after"}), ("drop", {})]):
        proxy.add_rule(action, probability=0.01, seed=seed + i, **args)
    with Run(m, bucket, reference, seed + 5, OPS // 6) as run:
        run.finish()
    proxy.clear_rules()
    assert_nothing_left(m, bucket)
