"""rename of a large file with compare-and-set, where the server keeps no conditions on the target of CopyObject
(versitygw, MinIO), or the file is too large for one: it is copied in parts, and Complete has the condition. No byte of
it comes through here."""

import os
import re

import pytest

from harness import SLOW
from harness.killer import Killer
from harness.pattern import pattern
from test_cas import FOREVER, PATIENT, cas, end_kills, in_background, process, run_all, start     # noqa: F401
from test_rename_cas import LATE, noreplace

MIB = 1 << 20
SMALL = {"STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi", "STATEPROXY_UPLOAD_PART_SIZE": "5Mi",
         "STATEPROXY_UPLOAD_COPY_LIMIT": "5Mi"}
SIZE = 11 * MIB + 5         # two parts of the copy
CREATE, PART, COMPLETE = "CreateMultipartUpload", "UploadPartCopy", "CompleteMultipartUpload"
BYTES = {"GetObject", "PutObject", "UploadPart", "CopyObject"}


def settled(bucket, m):
    """Nothing is left of it."""
    assert bucket.uploads() == []
    m.check()
    assert m.status()["tables"]["sessions"] == 0


def meanwhile(proxy, op, change, call, *args, nth=1, answer=None, within=20):
    """Makes the call in the background, and the change while its request is held, which comes within so many seconds.
    -> what came of the call."""
    proxy.hold("h", op=op, nth=nth)
    t, result = in_background(call, *args)
    proxy.wait_held("h", timeout=within * SLOW)
    change()
    proxy.release("h", *([answer] if answer else []))
    t.join(600)
    return result


@pytest.mark.parametrize("size", [5 * MIB, 5 * MIB + 1, 10 * MIB - 1, 10 * MIB, 10 * MIB + 1, 23 * MIB])
def test_it_is_copied_in_parts(cas, proxy, bucket, process, size):     # noqa: F811
    m, a = cas(via=proxy, env=SMALL), process()
    data = pattern(size)
    bucket.put("p/old", data, Metadata={"color": "red", "mode": "33152"}, ContentType="image/png", CacheControl="no-store",
               Tagging="team=blue")
    bucket.put("p/new", b"what was there")
    a.get(m.path / "new")
    proxy.wait_idle()
    proxy.reset_counts()
    os.rename(m.path / "old", m.path / "new")
    proxy.wait_idle()
    counts = proxy.counts()
    assert counts[PART] == max(1, size // (5 * MIB)) and counts[CREATE] == counts[COMPLETE] == 1
    assert counts.get("GetObject", 0) <= 2 and not {"PutObject", "UploadPart", "CopyObject"} & set(counts)
    assert not bucket.exists("p/old") and bucket.get("p/new") == data
    head = bucket.head("p/new")
    assert head["Metadata"]["color"] == "red" and head["ContentType"] == "image/png"
    tags = bucket.client.get_object_tagging(Bucket=bucket.bucket, Key="p/new")["TagSet"]
    assert head["CacheControl"] == "no-store" and tags == [{"Key": "team", "Value": "blue"}]
    assert (m.path / "new").read_bytes() == data and (m.path / "new").stat().st_mode & 0o777 == 0o600
    with open(m.path / "new", "r+b") as f:      # who has renamed it may write it
        f.write(b"more")
    assert bucket.get("p/new") == b"more" + data[4:]
    settled(bucket, m)


def test_noreplace(cas, proxy, bucket):     # noqa: F811
    m = cas(via=proxy, env=SMALL)
    bucket.put("p/old", pattern(SIZE))
    bucket.put("p/taken", b"theirs")
    with pytest.raises(FileExistsError):
        noreplace(m.path / "old", m.path / "taken")
    noreplace(m.path / "old", m.path / "new")
    assert PART in proxy.counts() and bucket.get("p/new") == pattern(SIZE) and bucket.get("p/taken") == b"theirs"
    settled(bucket, m)


@pytest.mark.parametrize("op", [CREATE, PART, COMPLETE])
@pytest.mark.parametrize("there", [True, False])
def test_a_target_that_changes_meanwhile_is_a_conflict(cas, proxy, bucket, process, op, there):      # noqa: F811
    m, a = cas(via=proxy, env={**SMALL, **LATE}), process()
    bucket.put("p/old", pattern(SIZE))
    if there:
        bucket.put("p/new", b"1")
        a.get(m.path / "new")
    result = meanwhile(proxy, op, lambda: bucket.put("p/new", b"theirs"), a, "rename", m.path / "old", m.path / "new")
    assert result == [17]
    assert bucket.get("p/new") == b"theirs" and bucket.get("p/old") == pattern(SIZE)
    assert "conflict key=" in m.log()
    proxy.wait_idle()
    settled(bucket, m)


@pytest.mark.parametrize("newer", [None, pattern(SIZE + MIB, seed=7), b"smaller"], ids=["gone", "larger", "smaller"])
@pytest.mark.parametrize("op", [CREATE, PART])
def test_a_source_that_changes_before_it_is_copied(cas, proxy, bucket, process, op, newer):       # noqa: F811
    """As for a copy in one piece: the kernel looks it up again, and renames what is there now."""
    m, a = cas(via=proxy, env={**SMALL, **LATE}), process()
    bucket.put("p/new", b"1")
    a.get(m.path / "new")
    bucket.put("p/old", pattern(SIZE))
    result = meanwhile(proxy, op, lambda: bucket.put("p/old", newer) if newer else bucket.delete("p/old"),
                       a, "rename", m.path / "old", m.path / "new")
    assert result == (["ok"] if newer else [2])
    assert bucket.get("p/new") == (newer or b"1") and not bucket.exists("p/old")
    assert "not copied any more" not in m.log()
    proxy.wait_idle()
    settled(bucket, m)


def test_a_source_that_changes_after_it_is_copied(cas, proxy, bucket, process):      # noqa: F811
    """Both versions are kept: the new name has what was there, and the old one what came since."""
    m, a = cas(via=proxy, env={**SMALL, **LATE}), process()
    bucket.put("p/old", pattern(SIZE))
    result = meanwhile(proxy, COMPLETE, lambda: bucket.put("p/old", b"newer"),
                       a, "rename", m.path / "old", m.path / "new")
    assert result == [17]
    assert bucket.get("p/new") == pattern(SIZE) and bucket.get("p/old") == b"newer"
    assert "renamed, but the old name remains" in m.log()
    settled(bucket, m)


@pytest.mark.parametrize("op", [CREATE, PART, COMPLETE, "DeleteObject"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_workers_do_it_once(cas, proxy, bucket, process, op, when):      # noqa: F811
    m, a = cas(via=proxy, env={**SMALL, **LATE}), process()
    bucket.put("p/new", b"1")
    a.get(m.path / "new")
    bucket.put("p/old", pattern(SIZE), Metadata={"color": "red"})
    proxy.hold("h", op=op, when=when, nth=1)
    t, result = in_background(a, "rename", m.path / "old", m.path / "new")
    proxy.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    proxy.release("h", "drop")
    t.join(60)
    assert result == ["ok"]
    assert bucket.get("p/new") == pattern(SIZE) and not bucket.exists("p/old")
    assert bucket.head("p/new")["Metadata"]["color"] == "red"
    a.put(m.path / "new", "3")
    assert bucket.get("p/new") == b"3"
    m.check()
    assert m.status()["tables"]["sessions"] == 0


@pytest.mark.parametrize("op", [PART, COMPLETE])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer(cas, proxy, bucket, process, op, when):        # noqa: F811
    m, a = cas(via=proxy, env={**SMALL, **PATIENT}), process()
    bucket.put("p/old", pattern(SIZE))
    proxy.add_rule("reset", op=op, when=when, nth=1)
    a("renameat2", m.path / "old", m.path / "new", 1)
    assert bucket.get("p/new") == pattern(SIZE) and not bucket.exists("p/old")
    a.put(m.path / "new", "3")
    assert bucket.get("p/new") == b"3"


def test_a_lost_answer_and_a_conflict(cas, proxy, bucket, process):       # noqa: F811
    """Complete has not acted, but what came since has no lineage, and would hide that it had."""
    m, a = cas(via=proxy, env={**SMALL, **LATE}), process()
    bucket.put("p/new", b"1")
    a.get(m.path / "new")
    bucket.put("p/old", pattern(SIZE))
    result = meanwhile(proxy, COMPLETE, lambda: bucket.put("p/new", b"theirs"),
                       a, "rename", m.path / "old", m.path / "new", answer="reset")
    assert result == [5] and "outcome unknown" in m.log()
    assert bucket.get("p/new") == b"theirs" and bucket.get("p/old") == pattern(SIZE)


@pytest.mark.parametrize("status, code, op", [(403, "AccessDenied", PART), (501, "NotImplemented", PART),
                                              (400, "InvalidArgument", PART), (501, "NotImplemented", CREATE)])
def test_what_is_not_copied_is_read_and_written(cas, proxy, bucket, process, status, code, op):      # noqa: F811
    m, a = cas(via=proxy, env=SMALL), process()
    proxy.add_rule("answer", op=op, status=status, code=code)
    for i in range(2):
        bucket.put("p/old", pattern(SIZE + i))
        a("rename", m.path / "old", m.path / "new")
        assert bucket.get("p/new") == pattern(SIZE + i) and not bucket.exists("p/old")
    assert len(re.findall("parts are not copied any more", m.log())) == (op == PART and status != 403)
    m.check()


@pytest.mark.parametrize("variant", ["s3-buffered-cas", "s3-buffered-lww"])
def test_a_server_that_ignores_the_condition_on_the_source(mount, proxy, bucket, process, variant):     # noqa: F811
    """As R2 and Ceph do for parts: those of two versions are never put together."""
    m, a = mount(variant=variant, via=proxy, env={**SMALL, **LATE}, is_open=lambda: True), process()
    proxy.add_rule("strip", op=PART, headers=["x-amz-copy-source-if-match"])
    bucket.put("p/old", pattern(SIZE))
    newer = pattern(SIZE, seed=7)
    result = meanwhile(proxy, PART, lambda: bucket.put("p/old", newer),
                       a, "rename", m.path / "old", m.path / "new", nth=2)
    assert result == ["ok"] and bucket.get("p/new") == newer and not bucket.exists("p/old")
    proxy.wait_idle()
    settled(bucket, m)


@pytest.mark.parametrize("status", [403, 416])
def test_what_one_source_is_refused_for(cas, proxy, bucket, process, status):       # noqa: F811
    """Archived, not for us, or shorter than it was: it says nothing of others."""
    m, a = cas(via=proxy, env=SMALL), process()
    bucket.put("p/old", pattern(SIZE))
    bucket.put("p/old2", pattern(SIZE, seed=2))
    proxy.add_rule("answer", op=PART, status=status, code="InvalidObjectState", times=2)
    a("rename", m.path / "old", m.path / "new")
    assert bucket.get("p/new") == pattern(SIZE)
    proxy.wait_idle()
    proxy.reset_counts()
    if status == 403:
        a("rename", m.path / "old2", m.path / "new2")
        assert bucket.get("p/new2") == pattern(SIZE, seed=2) and PART in proxy.counts()
        assert "not copied any more" not in m.log()


def test_what_turns_out_not_to_be_copied_has_a_condition_all_the_same(cas, proxy, bucket, process):        # noqa: F811
    """A rename that was to be copied in parts; then another file shows that the server does not copy parts, and the
    worker dies. A CopyObject, whose condition this server ignores, would replace what another has written."""
    m, a = cas(via=proxy, env={**SMALL, **LATE}), process()
    bucket.put("p/old", pattern(SIZE))
    bucket.put("p/new", b"1")
    bucket.put("p/other", pattern(SIZE, seed=3))
    a.get(m.path / "new")
    other = os.open(m.path / "other", os.O_RDWR)        # (the kernel locks the directory while it renames)
    proxy.hold("h", op=CREATE, key="p/new", nth=1)
    t, result = in_background(a, "rename", m.path / "old", m.path / "new")
    proxy.wait_held("h")
    proxy.add_rule("answer", op=PART, status=501, code="NotImplemented")
    os.write(other, b"changed")
    os.close(other)
    assert "not copied any more" in m.log()
    proxy.hold("put", op=["CopyObject", COMPLETE], key="p/new", nth=1)
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    proxy.release("h", "drop")
    proxy.wait_held("put")
    bucket.put("p/new", b"theirs")
    proxy.release("put")
    t.join(60)
    assert result == [5], "refused; but the worker that died may have made a version that this one replaced"
    assert bucket.get("p/new") == b"theirs" and bucket.get("p/old") == pattern(SIZE)
    m.check()


def test_the_bytes_of_a_file_that_is_open_stay(cas, proxy, bucket):     # noqa: F811
    m = cas(via=proxy, env=SMALL)
    bucket.put("p/old", pattern(SIZE))
    bucket.put("p/new", pattern(SIZE, seed=9))
    with open(m.path / "new", "rb", buffering=0) as f, open(m.path / "old", "rb", buffering=0) as g:
        f.read(10)
        os.rename(m.path / "old", m.path / "new")
        assert os.pread(f.fileno(), SIZE, 0) == pattern(SIZE, seed=9)
        assert os.pread(g.fileno(), SIZE, 0) == pattern(SIZE)
    assert PART in proxy.counts()
    m.check()


SAVE = """
import os, sys
path, n, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
tmp = f"{path}.{os.getpid()}"
for _ in range(n):
    while True:
        with open(path, "rb") as f:
            count = int(f.read(10))
        with open(tmp, "wb") as f:
            f.write(b"%010d" % (count + 1) * (size // 10))
        try:
            os.rename(tmp, path)
            break
        except FileExistsError:
            pass
"""


@pytest.mark.limit(240)
@pytest.mark.repeats
@pytest.mark.parametrize("faults", [0, 0.03])
def test_no_increment_is_lost_while_workers_are_killed(cas, proxy, bucket, faults):       # noqa: F811
    mounts = [cas(via=proxy, env={**SMALL, **PATIENT}) for _ in range(2)]
    size = 5 * MIB
    bucket.put("p/c", b"0000000000" * (size // 10))
    if faults:
        proxy.add_faults(faults, seed=11, slow_ms=10, lost_ms=10)
    killers = [Killer(m, FOREVER, seed=i, low=0.05, high=0.3) for i, m in enumerate(mounts)]
    for k in killers:
        k.start()
    run_all([start(SAVE, mounts[i % 2].path / "c", 5, size) for i in range(4)], 200)
    end_kills(killers)
    assert bucket.get("p/c") == b"0000000020" * (size // 10)
    assert list(bucket.list("p/")) == ["p/c"]
    assert proxy.counts()[PART] >= 20


def test_cp_above_the_limit_of_a_copy(mount, proxy, bucket):
    """Last write wins: what copy_file_range(2) has noted is copied in parts as well."""
    m = mount(via=proxy, env=SMALL)
    bucket.put("p/old", pattern(SIZE))
    with open(m.path / "old", "rb") as f, open(m.path / "new", "wb") as g:
        assert os.copy_file_range(f.fileno(), g.fileno(), SIZE) == SIZE
    assert bucket.get("p/new") == pattern(SIZE)
    proxy.wait_idle()
    assert proxy.counts()[PART] == 2 and not {"UploadPart", "CopyObject", "PutObject"} & set(proxy.counts())
    settled(bucket, m)


def test_cp_where_the_condition_on_the_source_is_ignored(mount, proxy, bucket):
    m = mount(via=proxy, env={**SMALL, **LATE})
    proxy.add_rule("strip", op=PART, headers=["x-amz-copy-source-if-match"])
    bucket.put("p/old", pattern(SIZE))
    bucket.put("p/new", b"1")
    f, g = os.open(m.path / "old", os.O_RDONLY), os.open(m.path / "new", os.O_WRONLY | os.O_TRUNC)
    assert os.copy_file_range(f, g, SIZE) == SIZE
    result = meanwhile(proxy, PART, lambda: bucket.put("p/old", pattern(SIZE, seed=7)), os.close, g, nth=2)
    assert result == [116] and bucket.get("p/new") == b"1"
    os.close(f)
    proxy.wait_idle()
    assert bucket.uploads() == []
    m.check()


@pytest.mark.parametrize("then", ["gone", "replaced"])
def test_cp_of_what_changes(mount, proxy, bucket, then):
    m = mount(via=proxy, env={**SMALL, **LATE})
    bucket.put("p/old", pattern(SIZE))
    bucket.put("p/new", b"1")
    f, g = os.open(m.path / "old", os.O_RDONLY), os.open(m.path / "new", os.O_WRONLY | os.O_TRUNC)
    assert os.copy_file_range(f, g, SIZE) == SIZE
    result = meanwhile(proxy, PART, lambda: bucket.delete("p/old") if then == "gone" else bucket.put("p/old", b"newer"),
                       os.close, g)
    assert result == [116] and bucket.get("p/new") == b"1"
    os.close(f)
    proxy.wait_idle()
    assert bucket.uploads() == []
    m.check()
