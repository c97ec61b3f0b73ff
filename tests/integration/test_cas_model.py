"""Random sequences of what several processes on two mounts, their children, and a third party at the
server, do to two keys, compared with the model of the rules (harness/cas_model.py).

STATEPROXY_MODEL_SEQUENCES says how many (on MinIO a fifth of them); the same ones each time, unless
STATEPROXY_TEST_SEED is set. A failure is told as the shortest sequence that shows it."""

import errno
import itertools
import os
import sys

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from harness import SLOW
from harness.cas_model import ABSENT, REFUSED, Model, content_of
from harness.server import MinioServer
from test_cas import CAS, Process, s3server     # noqa: F401

SEQUENCES = int(os.environ.get("STATEPROXY_MODEL_SEQUENCES", "300" if SLOW == 1 else "100"))
# After so many a mount has forgotten so much that it may take a process for one that it has forgotten.
SEQUENCES_OF_A_MOUNT = 2000
STEPS = 24
PROCESSES = {0: "m0", 1: "m0", 2: "m1"}
KEYS = ["a", "b"]
WRITERS_MAX = 2             # of a process

process = st.sampled_from(sorted(PROCESSES))
key = st.sampled_from(KEYS)
mode = st.sampled_from(["w", "w", "a", "r+", "x"])
which = st.integers(0, 5)


def outcome_of(function, *args):
    try:
        result = function(*args)
        return "ok" if result is None or isinstance(result, int) else result
    except OSError as e:
        return errno.errorcode[e.errno]


class Daemons:
    """What is there for all sequences."""

    def __init__(self, mounts, bucket):
        self.mounts, self.server = mounts, bucket.raw()
        self.processes = {p: Process() for p in PROCESSES}
        self.numbers = itertools.count()

    def stop(self):
        self.server.close()
        for p in self.processes.values():
            p.proc.stdin.close()
            p.proc.wait(20)


class Sequence(RuleBasedStateMachine):
    daemons = None
    done = 0
    first = None                # what was done in the first one that failed, before it was shrunk

    def __init__(self):
        super().__init__()
        Sequence.done += 1
        number = next(self.daemons.numbers)
        self.name = {k: f"{k}{number}.txt" for k in KEYS}
        self.model = Model(PROCESSES)
        self.numbers = itertools.count()
        self.lister = None      # who does nothing but list, and look at names, since it has listed
        self.told = []          # what was done, and what came of it
        self.writers = []       # (process, descriptor, Writer)
        self.readers = []       # (process, descriptor, Reader)

    def teardown(self):
        failed = isinstance(sys.exc_info()[1], AssertionError)
        try:
            for k in KEYS:
                self.compare(k)
        except AssertionError:
            failed = True
            raise
        finally:
            if failed and not Sequence.first:
                Sequence.first = self.told
            for p, fd, _ in self.writers + self.readers:
                outcome_of(self.daemons.processes[p], "close", fd)
            for k in KEYS:
                self.daemons.server.delete(self.key_of(k))

    def path(self, p, k):
        return self.daemons.mounts[int(PROCESSES[p][1])].path / self.name[k]

    def do(self, p, *what):
        if what[0] == "list_long":
            self.lister = p
        elif what[0] not in ("size", "unlink") or self.lister != p:
            self.lister = None
        outcome = outcome_of(self.daemons.processes[p], *what)
        self.told.append(f"{p}: {' '.join(map(str, what))} -> {outcome}")
        return outcome

    def text(self):
        """Never the same twice, nor one after another the same as a third."""
        return f"<{next(self.numbers):03}>"

    def key_of(self, k):
        return f"p/{self.name[k]}"

    def is_on_server(self, k, text):
        version = self.model.server.get(k)
        return version is not None and content_of(version) == text

    def compare(self, k):
        actual = self.daemons.server.get(self.key_of(k))
        version = self.model.server.get(k)
        assert actual == (None if version is None else content_of(version).encode()), k

    # -- what the model does not speak of

    def is_ambiguous(self, p, *keys):
        """Two sessions of one process that are both to be found by one name, or one of which it cannot be
        said whether the name still leads to it."""
        model = self.model
        return any(len(model.visible(p, k) or model.clean(p, k)) > 1 for k in keys) or any(
            w.session.unsure and w.session.who == p and w.session.key in keys for w in model.writers)

    def may_be_thought_absent(self, p, k):
        """What is about to create a file may be told by a young listing that there is none, and is
        refused for that by S3: not by what its parent has only written, which it keeps then."""
        own = self.model.own_baseline(p, k)
        return k in self.model.server and own and not own.read and own.version != self.model.server[k]

    # -- reading

    @rule(p=process, k=key)
    def read(self, p, k):
        if self.is_ambiguous(p, k):
            return
        expected, reader = self.model.open_to_read(p, k)
        if reader:
            expected, = reader.texts()
            self.model.readers.remove(reader)
        actual = outcome_of(self.daemons.processes[p].get, self.path(p, k))
        self.told.append(f"{p}: read {k} -> {actual}")
        assert actual == expected

    @rule(p=process, k=key)
    def open_to_read(self, p, k):
        if self.is_ambiguous(p, k) or any(q == p for q, _, _ in self.readers):
            return
        expected, reader = self.model.open_to_read(p, k)
        assert self.do(p, "open", "h", self.path(p, k), "r") == expected
        if reader:
            self.readers.append((p, "h", reader))

    @precondition(lambda self: self.readers)
    @rule(which=which)
    def read_again(self, which):
        p, fd, reader = self.readers[which % len(self.readers)]
        s = reader.session
        if s and (s.failed or s.expects == REFUSED):
            return
        actual = self.do(p, "pread", fd)
        # Of a version that was written here: what S3 has no more, and nobody has read, is gone. So
        # is what the file has grown to here.
        if s and actual == "ESTALE" and not any(w.session is s for w in self.model.writers):
            return
        if reader.grown and actual == "ESTALE" and not self.is_on_server(reader.key, reader.grown[-1]):
            return
        assert actual in reader.texts()

    @precondition(lambda self: self.readers)
    @rule(which=which)
    def close_reader(self, which):
        p, fd, reader = self.readers.pop(which % len(self.readers))
        self.model.readers.remove(reader)
        assert self.do(p, "close", fd) == "ok"

    @rule(p=process, k=key)
    def stat(self, p, k):
        if self.is_ambiguous(p, k):
            return
        actual = self.do(p, "size", self.path(p, k))
        assert actual == self.model.size(p, k) or self.lister == p      # as its listing has told

    # -- company, which changes nothing

    @rule(p=process, times=st.integers(1, 2))
    def list_long(self, p, times):
        """As ls -l: the kernel is told of every name, and by a process that may be anybody's."""
        for _ in range(times):
            self.do(p, "list_long", self.path(p, "a").parent)   # (as old as directories.ttl)

    @rule(p=process, k=key)
    def read_by_child(self, p, k):
        """It has nothing unpublished; what it reads, its mount has read."""
        child = self.model.child(next(self.numbers), p)
        expected, reader = self.model.open_to_read(child, k)
        if reader:
            expected, = reader.texts()
            self.model.readers.remove(reader)
        assert self.do(p, "child_read", self.path(p, k)) == expected

    @rule(p=process, k=key)
    def stat_by_child(self, p, k):
        child = self.model.child(next(self.numbers), p)
        assert self.do(p, "child_size", self.path(p, k)) == self.model.size(child, k)

    # -- writing

    def try_open(self, p, k, mode, fd):
        if self.is_ambiguous(p, k) or (mode == "w" and self.model.left_behind(p, k)):
            return False
        actual = self.do(p, "open", fd, self.path(p, k), mode)
        expected, writer = self.model.open(p, k, mode)
        assert actual == expected
        if writer:
            self.writers.append((p, fd, writer))
        return bool(writer)

    @rule(p=process, k=key, mode=mode)
    def open_to_write(self, p, k, mode):
        taken = [fd for q, fd, _ in self.writers if q == p]
        if len(taken) < WRITERS_MAX:
            self.try_open(p, k, mode, "g" if "f" in taken else "f")

    @precondition(lambda self: self.writers)
    @rule(which=which)
    def write(self, which):
        p, fd, writer = self.writers[which % len(self.writers)]
        if writer.mode == "a" and writer.session.untold:
            return
        text = self.text()
        assert self.do(p, "write", fd, text) == self.model.write(writer, text)

    @precondition(lambda self: self.writers)
    @rule(which=which)
    def read_of_writer(self, which):
        """Once, and before anything is written: later ones the kernel may answer."""
        p, fd, writer = self.writers[which % len(self.writers)]
        s = writer.session
        if writer.mode == "r+" and s.content and not s.touched and not s.orphan:
            assert self.do(p, "pread", fd) == self.model.read_of_writer(writer)

    @precondition(lambda self: self.writers)
    @rule(which=which)
    def fsync(self, which):
        p, fd, writer = self.writers[which % len(self.writers)]
        assert self.do(p, "fsync", fd) == self.model.fsync(writer)

    @precondition(lambda self: self.writers)
    @rule(which=which)
    def close(self, which):
        p, fd, writer = self.writers[which % len(self.writers)]
        if self.model.is_left_to_another(writer):       # when it is published cannot be said
            return
        self.writers.remove((p, fd, writer))
        assert self.do(p, "close", fd) == self.model.close(writer)

    @rule(p=process, k=key, mode=mode)
    def put(self, p, k, mode):
        if self.try_open(p, k, mode, "t"):
            self.write(len(self.writers) - 1)
            self.close(len(self.writers) - 1)

    @rule(p=process, k=key, mode=st.sampled_from(["w", "w", "a", "r+"]))
    def put_by_child(self, p, k, mode):
        text = self.text()
        if mode == "w" and self.may_be_thought_absent(p, k):
            self.do(p, "size", self.path(p, k))
        child = self.model.child(next(self.numbers), p)
        expected, writer = self.model.open(child, k, mode)
        if writer:
            self.model.write(writer, text)
            expected = self.model.close(writer)
        assert self.do(p, "child", self.path(p, k), mode, text) == expected

    @precondition(lambda self: self.model.server)
    @rule(p=process, k=key)
    def unlink_by_child(self, p, k):
        child = self.model.child(next(self.numbers), p)
        assert self.do(p, "child_unlink", self.path(p, k)) == self.model.unlink(child, k)

    @precondition(lambda self: self.model.server)
    @rule(p=process, k=key)
    def rename_by_child(self, p, k):
        # What the parent has open as a new file, since a young listing said so, stays behind.
        if any(w.session.guessed and w.session.who == p and w.session.key == k
               for w in self.model.writers):
            return
        child, new = self.model.child(next(self.numbers), p), "b" if k == "a" else "a"
        assert self.do(p, "child_rename", self.path(p, k), self.path(p, new)) == \
            self.model.rename(child, k, new, noreplace=False)

    @rule(p=process, k=key, size=st.sampled_from([0, 3, 12]))
    def truncate(self, p, k, size):
        if self.is_ambiguous(p, k) or (size == 0 and self.model.left_behind(p, k)):
            return
        assert self.do(p, "truncate", self.path(p, k), size) == self.model.truncate(p, k, size)

    # -- names

    @precondition(lambda self: self.model.server or self.writers)
    @rule(p=process, k=key)
    def unlink(self, p, k):
        model, own = self.model, self.model.visible(p, k)
        if len(own) > 1 or self.is_ambiguous(p, k):
            return
        # Of a file that it has not published a process knows no other version; an unlink of it
        # may leave what somebody else has put there meanwhile.
        baseline = model.own_baseline(p, k)
        if own and k in model.server and (not baseline or baseline.version != model.server[k]):
            return
        there = k in model.server
        actual = self.do(p, "unlink", self.path(p, k))
        expected = model.unlink(p, k)
        if actual == "ok" and not there and expected == "ENOENT" and self.lister == p:
            model.has_removed(p, k, ABSENT)     # its listing has told that it is there
            return
        assert actual == expected

    @precondition(lambda self: self.model.server or self.writers)
    @rule(p=process, k=key, noreplace=st.booleans())
    def rename(self, p, k, noreplace):
        model, new = self.model, "b" if k == "a" else "a"
        if self.is_ambiguous(p, k, new):
            return
        if model.visible(p, new) and not (new in model.server and model.known(p, new)):
            return              # what is expected there is what was found when it was opened
        actual = self.do(p, "renameat2", self.path(p, k), self.path(p, new), int(noreplace))
        assert actual == model.rename(p, k, new, noreplace)

    # -- the third party

    @rule(k=key)
    def theirs(self, k):
        self.compare(k)
        self.model.server[k] = self.text()
        self.told.append(f"theirs {k} {self.model.server[k]}")
        self.daemons.server.put(self.key_of(k), self.model.server[k].encode())

    @precondition(lambda self: self.model.server)
    @rule(which=which)
    def delete(self, which):
        k = sorted(self.model.server)[which % len(self.model.server)]
        self.compare(k)
        del self.model.server[k]
        self.told.append(f"delete {k}")
        self.daemons.server.delete(self.key_of(k))


def run_on_new_mounts(mount, bucket, seed, sequences):
    mounts = [mount(variant=CAS) for _ in range(2)]
    Sequence.daemons = daemons = Daemons(mounts, bucket)
    Sequence.done, Sequence.first = 0, None
    try:
        run_state_machine_as_test(
            hypothesis.seed(seed)(Sequence),
            settings=hypothesis.settings(
                max_examples=sequences, stateful_step_count=STEPS, deadline=None, database=None,
                print_blob=True, suppress_health_check=list(hypothesis.HealthCheck)))
    finally:
        daemons.stop()
        print(f"sequences={Sequence.done} STATEPROXY_TEST_SEED={seed}")
        if Sequence.first:
            print("the first that failed, as it went:", *Sequence.first, sep="\n  ")
    for m in mounts:
        m.check()
        m.stop()


@pytest.mark.limit(max(900, SEQUENCES))
def test_the_model(mount, s3server, bucket, seed):      # noqa: F811
    sequences = SEQUENCES // 5 if isinstance(s3server, MinioServer) else SEQUENCES
    for done in range(0, sequences, SEQUENCES_OF_A_MOUNT):
        run_on_new_mounts(mount, bucket, seed + done, min(sequences - done, SEQUENCES_OF_A_MOUNT))
