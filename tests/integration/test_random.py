"""Random operations on the mount and on a local directory at once: the same results, errors, bytes.

STATEPROXY_TEST_RANDOM_OPS is the number of operations of the longest of them (6,000), the others do
a part of it. programs/random_ops.py and random_team.py say what they are, and which differences are documented.
"""

import os
import pathlib
import sys
import tempfile

import pytest

from harness import PROGRAMS, SLOW, util
from harness.killer import Killer
from harness.tree import assert_tree_equal
from test_cas import CAS

LWW = "s3-buffered-lww"
OPS = int(os.environ.get("STATEPROXY_TEST_RANDOM_OPS", "3000" if SLOW == 1 else "1500"))
LIMIT = max(100, OPS // 10)

pytestmark = [pytest.mark.slow, pytest.mark.limit(LIMIT),
              pytest.mark.noise(strict=True, writers=True)]

# Files move from memory to disk at a size that the operations reach.
SMALL_BUFFER = {"STATEPROXY_BUFFER_MEMORY": "64Ki"}


@pytest.fixture
def reference():
    with tempfile.TemporaryDirectory(prefix="sp-reference-") as path:
        yield pathlib.Path(path)


class Run:
    """random_ops.py, or another such program, in a directory of its own on the mount."""

    def __init__(self, m, bucket, reference, seed, ops, name="w", every=500,
                 program=("random_ops.py",)):
        self.m, self.bucket, self.name = m, bucket, name
        self.reference = reference / name
        self.reference.mkdir()
        (m.path / name).mkdir()
        self.out = tempfile.TemporaryFile()
        self.proc = util.spawn(
            [sys.executable, "-B", PROGRAMS / program[0], m.path / name, self.reference,
             "--seed", seed, "--ops", ops, "--every", min(every, ops), *program[1:]],
            stdin=-1, stderr=self.out)

    def go_on(self):
        """Until it awaits a comparison, which is made; False at its end."""
        self.last = line = self.proc.stdout.readline()
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
        print(self.last.decode())

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


def finish_beside(run, killer):
    killer.start()
    try:
        run.finish()
    finally:
        killer.cancelled.set()
        killer.join(30)


def assert_nothing_left(m, bucket, lost_uploads=False):
    """lost_uploads: nobody knows of one whose Create was answered to a worker that had died."""
    m.leave_alone()

    def used():
        tables = m.status()["tables"]
        return [tables[n] for n in ("handles", "sessions", "session_bytes", "blocks_fetching")]
    util.wait_until(lambda: not any(used()), what="the end of all that was in use")
    assert lost_uploads or not bucket.uploads()
    m.check()


def test_as_a_local_directory(mount, bucket, reference, seed):
    m = mount(env=SMALL_BUFFER)
    with Run(m, bucket, reference, seed, OPS) as run:
        run.finish()
    assert not m.errors()
    assert_nothing_left(m, bucket)


@pytest.mark.parametrize("variant", [LWW, CAS], ids=["lww", "cas"])
def test_a_team_as_in_a_local_directory(mount, bucket, reference, seed, variant):
    """Processes that take turns: compare-and-set without contention is a local disk too."""
    m = mount(env=SMALL_BUFFER, variant=variant)
    program = ["random_team.py", *(["--isolated"] if variant == CAS else [])]
    with Run(m, bucket, reference, seed, OPS, program=program) as run:
        run.finish()
    assert not m.errors()
    assert_nothing_left(m, bucket)


PARTS = {**SMALL_BUFFER, "STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi", "STATEPROXY_UPLOAD_PART_SIZE": "5Mi",
         "STATEPROXY_UPLOAD_COPY_LIMIT": "5Mi", "STATEPROXY_MEMORY_LIMIT": "64Mi"}


@pytest.mark.parametrize("killed", [False, True], ids=["alone", "killed"])
@pytest.mark.parametrize("variant", [LWW, CAS], ids=["lww", "cas"])
def test_of_files_in_parts(mount, bucket, proxy, reference, seed, variant, killed):
    """Files of up to four parts, in the memory of a small sidecar, with workers that die or without."""
    m = mount(via=proxy, env=PARTS, variant=variant)
    program = (["random_ops.py"] if variant == LWW else ["random_team.py", "--isolated"]) + ["--max-size", 21 << 20]
    killer = Killer(m, 1 << 30 if killed else 0, seed, 0.02, 0.3)
    with Run(m, bucket, reference, seed + 6 + killed, OPS // 6, program=program) as run:
        finish_beside(run, killer)
    assert killer.error is None
    m.wait_workers(2)
    counts = proxy.counts()
    print({n: counts[n] for n in sorted(counts) if "Part" in n or "Multipart" in n})
    assert killed or not m.errors()
    assert_nothing_left(m, bucket, lost_uploads=killed)


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
    killer = Killer(m, 1 << 30, seed, 0.005, 0.05)
    with Run(m, bucket, reference, seed + 4, OPS // 2) as run:
        finish_beside(run, killer)
    assert killer.error is None and killer.kills > 5
    m.wait_workers(2)
    assert_nothing_left(m, bucket)


def test_with_faults_of_the_server(mount, bucket, proxy, reference, seed):
    """One request of twenty fails, in each of five ways; none of it reaches the program."""
    m = mount(via=proxy, env={"STATEPROXY_S3_MAX_ATTEMPTS": "20"})
    for i, (action, args) in enumerate([
            ("answer", {"status": 500}), ("answer", {"status": 500, "acted": True}),
            ("reset", {}), ("reset", {"when": "after"}), ("drop", {})]):
        proxy.add_rule(action, probability=0.01, seed=seed + i, **args)
    with Run(m, bucket, reference, seed + 5, OPS // 3) as run:
        run.finish()
    assert all(rule["applied"] for rule in proxy.state().rules)
    proxy.clear_rules()
    assert_nothing_left(m, bucket)


# -- what these found, each alone


def test_a_file_without_a_name_is_read_after_its_writers_have_gone(mount, bucket):
    """The bytes are nowhere but in the session."""
    m = mount()
    writer = os.open(m.path / "f", os.O_RDWR | os.O_CREAT)
    os.write(writer, b"unpublished")
    reader = os.open(m.path / "f", os.O_RDONLY)
    os.unlink(m.path / "f")
    os.close(writer)
    util.wait_until(lambda: m.status()["tables"]["handles"] == 1, what="the writer's end")
    assert os.pread(reader, 100, 0) == b"unpublished" and os.fstat(reader).st_size == 11
    m.check()
    os.close(reader)
    assert_nothing_left(m, bucket)
    assert not bucket.list(m.key("f"))


def test_a_listing_does_not_take_a_time_away(mount, bucket):
    m = mount()
    (m.path / "f").write_bytes(b"x")
    os.utime(m.path / "f", (1e9, 1e9))
    for i in range(3):
        (m.path / f"new{i}").write_bytes(b"")       # so that it is listed anew
        with os.scandir(m.path) as it:
            assert [e.stat().st_mtime for e in it if e.name == "f"] == [1e9]
    assert (m.path / "f").stat().st_mtime == 1e9
    (m.path / "f").chmod(0o600)
    assert float(bucket.head(m.key("f"))["Metadata"]["mtime"]) == 1e9


def test_the_marker_of_a_renamed_directory_goes_last(mount, bucket, proxy):
    """Below it nothing is left then, also where a listing has several pages."""
    m = mount(via=proxy)
    bucket.put_many((m.key(f"old/sub/{i:04d}"), b"") for i in range(1100))
    for name in ("old/", "old/sub/", "old/sub2/", "old/sub2/below/"):
        bucket.put(m.key(name))
    os.rename(m.path / "old", m.path / "new")
    deleted = [e.key[len(m.key("old/")):] for e in proxy.log(op="DeleteObject")]
    assert deleted[-4:] == ["sub2/below/", "sub2/", "sub/", ""]
    assert not bucket.list(m.key("old")) and len(bucket.list(m.key("new"))) == 1104
