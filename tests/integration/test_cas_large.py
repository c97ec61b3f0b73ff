"""The rules of compare-and-set once more, with objects of 40 MiB that are uploaded, copied and changed in parts of 5 MiB:
those that matter most each day, all of them with STATEPROXY_TEST_FULL=1. The tests are those of small files; whoever
writes or reads for them here adds, and takes away, 40 MiB behind what they name."""

import errno
import hashlib
import inspect

import pytest

import test_cas
import test_cas_delete
import test_rename_cas
from harness.killer import Killer
from test_cas import CAS, FOREVER, FULL, PATIENT, Process, in_background, run_all
from test_rename_cas import LATE

SIZE = 40 << 20
MAKE_PAD = f'hashlib.shake_128(b"pad").hexdigest({SIZE // 2})'
PAD = hashlib.shake_128(b"pad").hexdigest(SIZE // 2).encode()
PARTS = {"STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi", "STATEPROXY_UPLOAD_PART_SIZE": "5Mi"}
COMPLETE = "CompleteMultipartUpload"

pytestmark = pytest.mark.limit(120)


class LargeProcess(Process):
    CODE = f"""
import builtins, hashlib, os
PAD = {MAKE_PAD}
""" + """
class File:
    '''What is written first to a new file gets its 40 MiB.'''
    def __init__(self, f, mode):
        self.f, self.new, self.fileno, self.flush, self.close = f, "w" in mode, f.fileno, f.flush, f.close
    def write(self, text):
        self.f.write(text + PAD if self.new and text else text)
        self.new = self.new and not text
    def read(self):
        return self.f.read().replace(PAD, "")[:1000]
    def __enter__(self):
        return self
    def __exit__(self, *args):
        self.close()
fdopen = os.fdopen
open = lambda path, mode="r": File(builtins.open(path, mode), mode)
os.fdopen = lambda fd, mode: File(fdopen(fd, mode), mode)
pread = os.pread
def read_all(fd, count, off):
    data = b""
    while piece := pread(fd, 1 << 20, off + len(data)):
        data += piece
    return data.replace(PAD.encode(), b"")[:count]
os.pread = read_all
""" + Process.CODE


class LargeBucket:
    def __init__(self, bucket):
        self.real = bucket

    def __getattr__(self, name):
        return getattr(self.real, name)

    def put(self, key, data=b"", **kwargs):
        return self.real.put(key, data + PAD if data else data, **kwargs)

    def get(self, key):
        data = self.real.get(key)
        return data.replace(PAD, b"")[:1000]


class LargeProxy:
    """What stores an object is the end of an upload; an empty one is still put."""

    def __init__(self, proxy):
        self.real = proxy

    def __getattr__(self, name):
        return getattr(self.real, name)

    @staticmethod
    def of_parts(match):
        op = match.get("op")
        stores = op == "PutObject" or isinstance(op, list)
        return {**match, "op": [COMPLETE, "PutObject"]} if stores else match

    def hold(self, name, **match):
        return self.real.hold(name, **self.of_parts(match))

    def add_rule(self, action, **match):
        return self.real.add_rule(action, **self.of_parts(match))


@pytest.fixture
def bucket(bucket):
    return LargeBucket(bucket)


@pytest.fixture
def proxy(proxy):
    return LargeProxy(proxy)


@pytest.fixture
def cas(mount):
    def make(env=None, via=None, **kwargs):
        return mount(variant=CAS, via=via.real if via else None, env={**PARTS, **(env or {})}, **kwargs)
    return make


@pytest.fixture
def process():
    yield from test_cas.processes(LargeProcess)


# -- the rules


def rule(function, daily=False, **params):
    name = "-".join([function.__name__.removeprefix("test_"), *map(str, params.values())])
    return [pytest.param(function, params, id=name)] if daily or FULL else []


RULES = [
    *rule(test_cas.test_never_read_is_unconditional),
    *rule(test_cas.test_a_version_that_was_read_is_expected, daily=True),
    *rule(test_cas.test_a_version_that_was_written_is_expected),
    *rule(test_cas.test_a_stat_is_no_read),
    *rule(test_cas.test_each_process_has_its_own),
    *rule(test_cas.test_the_mount_rules_a_process_that_has_none),
    *rule(test_cas.test_a_child_of_a_blind_parent_is_told_once),
    *rule(test_cas.test_a_conflict_takes_nobody_elses_baseline),
    *rule(test_cas.test_an_emptied_file_beside_one_that_was_refused),
    *rule(test_cas.test_a_blind_writer_of_a_key_that_came_back),
    *rule(test_cas.test_deleted_meanwhile_is_told_once),
    *rule(test_cas.test_after_deleted_the_key_must_stay_absent),
    *rule(test_cas.test_a_partial_overwrite_of_what_changed_since_it_was_read, daily=True),
    *rule(test_cas.test_fsync_and_truncate_tell_it_too),
    *rule(test_cas.test_unlink_deletes_what_was_seen, daily=True),
    *rule(test_cas.test_a_truncation_by_path_is_its_process_write, size=0),
    *rule(test_cas.test_a_truncation_by_path_is_its_process_write, size=3),
    *rule(test_cas.test_a_file_made_by_mknod_is_its_process_write),
    *rule(test_cas.test_what_is_read_after_the_readers_own_unlink_is_no_version, how="unlinked"),
    *rule(test_cas.test_what_is_read_after_the_readers_own_unlink_is_no_version, how="replaced"),
    *rule(test_cas.test_an_unlink_of_what_is_unpublished_takes_nobody_elses),
    *rule(test_cas.test_others_read_what_is_published),
    *rule(test_cas.test_a_new_file_is_seen_by_its_writer_only),
    *rule(test_cas.test_two_writers_have_two_sessions, daily=True),
    *rule(test_cas.test_a_killed_writer_leaves_nothing),
    *rule(test_cas.test_a_lost_answer_is_recognised, daily=True),
    *rule(test_cas.test_ours_also_under_a_later_version),
    *rule(test_cas.test_conflict_with_proof_after_a_lost_attempt, daily=True),
    *rule(test_cas.test_unknown_when_another_program_wrote, daily=True),
    *rule(test_cas.test_no_put_is_in_doubt_while_metadata_are_asked_for),
    *rule(test_cas.test_lineages_survive_chmod),
    *rule(test_cas.test_excl_is_decided_at_the_open),
    *rule(test_cas.test_excl_of_a_name_that_is_there_changes_no_expectation),
    *rule(test_cas.test_excl_owner_expects_its_own),
    *rule(test_cas.test_excl_stolen_lock_is_noticed, daily=True),
    *rule(test_cas_delete.test_what_came_after_it_stays, text="1"),
    *rule(test_cas_delete.test_what_came_after_it_stays, text="new work of b"),
    *rule(test_cas_delete.test_what_was_built_on_it_shows_that_it_has_not_acted),
    *rule(test_cas_delete.test_what_cannot_be_told, daily=True),
    *rule(test_cas_delete.test_what_is_still_there_goes, text="1", killed=False),
    *rule(test_cas_delete.test_what_is_still_there_goes, text="1", killed=True),
    *rule(test_cas_delete.test_the_same_content_made_anew_goes),
    *rule(test_cas_delete.test_a_conflict_that_was_told_stays_one),
    *rule(test_rename_cas.test_lineages_survive),
    *rule(test_rename_cas.test_save_by_rename_expects_what_was_read, daily=True),
    *rule(test_rename_cas.test_never_read_is_what_the_lookup_found, there=True),
    *rule(test_rename_cas.test_never_read_is_what_the_lookup_found, there=False),
    *rule(test_rename_cas.test_noreplace_is_decided_by_the_server),
    *rule(test_rename_cas.test_a_source_that_was_read_otherwise_stays),
    *rule(test_rename_cas.test_a_source_that_changes_meanwhile_stays, daily=True),
    *rule(test_rename_cas.test_what_is_open_moves_along),
    *rule(test_rename_cas.test_what_others_write_under_the_old_name_is_refused),
    *rule(test_rename_cas.test_what_was_replaced_is_not_published),
    *rule(test_rename_cas.test_ours_also_under_a_later_version),
    *rule(test_rename_cas.test_killed_workers_do_it_once, op=[COMPLETE], when="before"),
    *rule(test_rename_cas.test_killed_workers_do_it_once, op=[COMPLETE], when="after", daily=True),
    *rule(test_rename_cas.test_killed_workers_do_it_once, op="DeleteObject", when="before"),
    *rule(test_rename_cas.test_killed_workers_do_it_once, op="DeleteObject", when="after"),
]


@pytest.mark.parametrize("function, params", RULES)
def test_rule(request, function, params):
    names = inspect.signature(function).parameters.keys() - params.keys()
    function(**{name: request.getfixturevalue(name) for name in names}, **params)


def test_append(cas, bucket, process):
    """What is appended to is not loaded but for its last piece: without that the write fails."""
    p, a = cas().path / "k", process()
    bucket.put("p/k", b"1")
    a.get(p)
    bucket.put("p/k", b"2")
    a.put(p, "3", "a")
    assert bucket.get("p/k") == b"23"
    a("open", "f", p, "a")
    a("write", "f", "4")
    bucket.put("p/k", b"x")
    with pytest.raises(FileExistsError):
        a("close", "f")
    a("open", "f", p, "a")
    bucket.put("p/k", b"y")
    with pytest.raises(OSError) as e:
        a("write", "f", "4")
    assert e.value.errno == errno.ESTALE
    with pytest.raises(OSError) as e:
        a("close", "f")
    assert e.value.errno in (errno.ESTALE, errno.EEXIST)
    assert bucket.get("p/k") == b"y"


# -- the worker that publishes dies


@pytest.mark.parametrize("theirs, op, when", [(False, COMPLETE, "after"), (True, "UploadPart", "before"), *([
    (False, "UploadPart", "before"), (False, COMPLETE, "before"), (True, COMPLETE, "before"), (True, COMPLETE, "after"),
] if FULL else [])])
def test_killed_while_publishing(cas, proxy, bucket, process, theirs, op, when):
    """Parts are nothing that anybody sees: only a Complete that was sent can be in doubt."""
    m, a = cas(via=proxy, env=LATE), process()
    bucket.put("p/k", b"1")
    a.get(m.path / "k")
    a("open", "f", m.path / "k", "r+")
    a("write", "f", "2")
    proxy.hold("h", op=op if op != COMPLETE else "PutObject", when=when, nth=1, key="p/k")
    thread, result = in_background(a, "close", "f")
    proxy.wait_held("h")
    if theirs:
        bucket.put("p/k", b"theirs")
    m.wait_workers(2, without=m.kill_workers())
    proxy.release("h", "drop")
    thread.join(60)
    # (one that was replaced by a program that leaves no lineage cannot be told from one that has not acted)
    told = "ok" if not theirs else errno.EEXIST if op == "UploadPart" else errno.EIO
    assert result == [told]
    assert bucket.get("p/k") == (b"theirs" if theirs else b"2")
    proxy.wait_idle()
    assert bucket.uploads() == []
    m.check()


# -- many


COUNT = f"""
import errno, hashlib, sys
PAD = {MAKE_PAD}
""" + """
path, n = sys.argv[1], int(sys.argv[2])
done = conflicts = 0
while done < n:
    try:
        with open(path) as f:
            text = f.read()
    except OSError as e:
        if e.errno != errno.ESTALE:         # others were faster twice, or a worker was killed
            raise
        continue
    assert text.endswith(PAD), "torn"
    try:
        with open(path, "w") as f:
            f.write(str(int(text.removesuffix(PAD)) + 1) + PAD)
    except FileExistsError:
        conflicts += 1
        continue
    done += 1
print(done, conflicts)
"""


@pytest.mark.limit(900 if FULL else 240)
@pytest.mark.parametrize("faults, killed", [(0, False), *([(0, True), (0.03, False)] if FULL else [])])
def test_no_increment_is_lost(cas, proxy, bucket, faults, killed):
    mounts = [cas(via=proxy, env={**PATIENT, **PARTS}) for _ in range(2)]
    bucket.put("p/c", b"0")
    if faults:
        proxy.add_faults(faults, seed=3, key="p/c", slow_ms=50, lost_ms=50)
    killers = [Killer(m, FOREVER, seed=i) for i, m in enumerate(mounts)] if killed else []
    for k in killers:
        k.start()
    n, n_processes = (3, 3) if killed else (12, 6) if FULL else (2, 3)
    outs = run_all([test_cas.start(COUNT, mounts[i % 2].path / "c", n) for i in range(n_processes)],
                   800 if FULL else 200)
    for k in killers:
        k.cancelled.set()
        k.join(30)
        assert not k.error
    assert bucket.get("p/c") == b"%d" % (n * n_processes), outs
    for m in mounts:
        m.check()


LOCKS = f"""
import hashlib, os, sys
PAD = {MAKE_PAD}.encode()
""" + """
for i in range(int(sys.argv[2])):
    try:
        f = open(f"{sys.argv[1]}/lock{i}", "xb")
    except FileExistsError:
        continue
    with f:
        f.write(b"%d" % os.getpid() + PAD)
    print(i, os.getpid(), flush=True)
"""


def test_lock_files_have_one_winner(cas, bucket):
    mounts = [cas() for _ in range(2)]
    count = 40 if FULL else 3
    outs = run_all([test_cas.start(LOCKS, mounts[i % 2].path, count) for i in range(4)], 200)
    won = dict(map(int, line.split()) for out in outs for line in out.splitlines())
    assert sum(len(out.splitlines()) for out in outs) == len(won) == count
    assert all(bucket.get(f"p/lock{i}") == b"%d" % pid for i, pid in won.items())
