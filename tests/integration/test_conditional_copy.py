"""rename where the server keeps conditions on the target of CopyObject: a copy and a DELETE, under the
rules of compare-and-set. The proxy is such a server: it looks at the condition under a lock on the key.

All tests of test_rename_cas.py run here once more, on such a server."""

import errno
import os

import pytest

from harness import probed
from harness.killer import Killer
from test_cas import (CAS, FOREVER, PATIENT, end_kills, in_background, process, run_all, start)     # noqa: F401
from test_rename_cas import *       # noqa: F401, F403
from test_rename_cas import CLAIM, LATE, SAVE, noreplace

del s3server            # noqa: F821   one server is enough: the conditions are the proxy's

COPY = "CopyObject"

KEPT = {"copy": 1}


@pytest.fixture
def cas(mount, s3server, proxy):        # noqa: F811
    """cas(...) -> a mount on such a server, which knows that by an earlier probe. proxy: such a server."""
    if not probed.is_known(s3server.endpoint):
        mount(variant=CAS).stop()
    proxy.add_rule("copy_conditions")

    def make(via=None, **kwargs):
        m = mount(variant=CAS, via=via or proxy, is_open=lambda: True, kept=KEPT, **kwargs)
        assert "copy" in m.status()["conditions"]
        return m
    return make


# -- what it costs


@pytest.mark.counts
def test_a_rename_is_a_copy_and_a_delete(cas, proxy, counted, bucket):
    m = cas()
    data = b"content" * 100_000
    bucket.put("p/a.txt", data)
    bucket.put("p/b.txt", b"theirs")
    (m.path / "b.txt").read_bytes()
    requests = counted(os.rename, m.path / "a.txt", m.path / "b.txt")
    assert requests == {"HeadObject": 2, COPY: 1, "DeleteObject": 1}        # the lookups are two
    assert proxy.bytes_received() + proxy.bytes_sent() < 10_000
    assert bucket.get("p/b.txt") == data and not bucket.exists("p/a.txt")
    requests = counted(noreplace, m.path / "b.txt", m.path / "c.txt")
    assert requests == {"HeadObject": 2, "ListObjectsV2": 1, COPY: 1, "DeleteObject": 1}
    assert bucket.get("p/c.txt") == data and not bucket.exists("p/b.txt")
    m.check()


@pytest.mark.counts
def test_what_only_a_head_tells(cas, counted, bucket):
    """Other metadata than ours, or a name that a listing answered for: one HEAD more."""
    m = cas()
    bucket.put("p/a.txt", b"1", Metadata={"color": "red"}, ContentType="text/x-own")
    bucket.put("p/noext", b"2")
    requests = counted(os.rename, m.path / "a.txt", m.path / "b.txt")
    assert requests == {"HeadObject": 3, "ListObjectsV2": 1, COPY: 1, "DeleteObject": 1}
    head = bucket.head("p/b.txt")
    assert head["Metadata"]["color"] == "red" and head["ContentType"] == "text/x-own"
    requests = counted(os.rename, m.path / "noext", m.path / "b.txt")
    assert requests[COPY] == requests["DeleteObject"] == 1 and requests["HeadObject"] <= 2
    assert bucket.get("p/b.txt") == b"2"


def test_ours_keeps_its_write_ids(cas, bucket, process):        # noqa: F811
    m, a = cas(), process()
    a.put(m.path / "k.txt", "1")
    before = bucket.head("p/k.txt")["Metadata"]
    a("rename", m.path / "k.txt", m.path / "l.txt")
    after = bucket.head("p/l.txt")["Metadata"]
    assert after["stateproxy-lineage"].endswith(before["stateproxy-lineage"])
    assert len(after["stateproxy-lineage"]) == len(before["stateproxy-lineage"]) + 8
    same = {"stateproxy-lineage", "ctime"}
    assert {k: v for k, v in after.items() if k not in same} == \
        {k: v for k, v in before.items() if k not in same}


# -- conflicts


def test_a_target_that_changes_meanwhile_is_a_conflict(cas, proxy, bucket, process):       # noqa: F811
    m, a = cas(env=LATE), process()
    bucket.put("p/f", b"1")
    a.get(m.path / "f")
    bucket.put("p/tmp", b"mine")
    proxy.hold("h", op=COPY)
    t, result = in_background(a, "rename", m.path / "tmp", m.path / "f")
    proxy.wait_held("h")
    bucket.put("p/f", b"theirs")
    proxy.release("h")
    t.join(30)
    assert result == [17]
    assert bucket.get("p/f") == b"theirs" and bucket.get("p/tmp") == b"mine"
    assert "conflict key=" in m.log()


@pytest.mark.parametrize("gone", [False, True])
def test_a_source_that_changes_before_the_copy(cas, proxy, bucket, process, gone):         # noqa: F811
    """The kernel looks it up again, and renames what is there now: nobody here has read another version."""
    m, a = cas(env=LATE), process()
    bucket.put("p/f.txt", b"1")
    a.get(m.path / "f.txt")
    bucket.put("p/tmp.txt", b"mine")
    proxy.hold("h", op=COPY, nth=1)
    t, result = in_background(a, "rename", m.path / "tmp.txt", m.path / "f.txt")
    proxy.wait_held("h")
    if gone:
        bucket.delete("p/tmp.txt")
    else:
        bucket.put("p/tmp.txt", b"newer")
    proxy.release("h")
    t.join(30)
    assert result == ([2] if gone else ["ok"])
    assert bucket.get("p/f.txt") == (b"1" if gone else b"newer")
    assert not bucket.exists("p/tmp.txt")
    m.check()


def test_a_reader_of_what_is_replaced_keeps_it(cas, bucket):         # noqa: F811
    m = cas()
    old, new = os.urandom(400_000), os.urandom(300_000)
    bucket.put("p/f.bin", old)
    bucket.put("p/tmp.bin", new)
    with open(m.path / "f.bin", "rb", buffering=0) as f:
        head = f.read(10)
        os.rename(m.path / "tmp.bin", m.path / "f.bin")
        assert head + b"".join(iter(lambda: f.read(100_000), b"")) == old
    assert (m.path / "f.bin").read_bytes() == new == bucket.get("p/f.bin")
    m.check()


def test_above_the_limit_of_a_copy(cas, proxy, bucket):         # noqa: F811
    m = cas(env={"STATEPROXY_UPLOAD_COPY_LIMIT": "5Mi"})
    data = os.urandom(1 << 20)
    bucket.put("p/a.bin", data * 6)
    bucket.put("p/b.bin", data * 5)
    os.rename(m.path / "a.bin", m.path / "c.bin")
    assert COPY not in proxy.counts()
    os.rename(m.path / "b.bin", m.path / "d.bin")
    assert proxy.counts()[COPY] == 1
    assert bucket.get("p/c.bin") == data * 6 and bucket.get("p/d.bin") == data * 5


# -- answers that are lost, errors


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_is_found_by_its_write_id(cas, proxy, bucket, process, when):        # noqa: F811
    m, a = cas(env=PATIENT), process()
    bucket.put("p/f.txt", b"1")
    a.get(m.path / "f.txt")
    bucket.put("p/tmp.txt", b"2")
    proxy.add_rule("reset", op=COPY, when=when, nth=1)
    a("rename", m.path / "tmp.txt", m.path / "f.txt")
    assert bucket.get("p/f.txt") == b"2" and not bucket.exists("p/tmp.txt")
    a.put(m.path / "f.txt", "3")
    assert bucket.get("p/f.txt") == b"3"


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("status", [500, 502])
def test_an_error_that_may_have_acted(cas, proxy, bucket, process, status, acted):         # noqa: F811
    m, a = cas(env=PATIENT), process()
    bucket.put("p/tmp.txt", b"2")
    proxy.add_rule("answer", op=COPY, status=status, acted=acted, times=2)
    a("renameat2", m.path / "tmp.txt", m.path / "f.txt", 1)
    assert bucket.get("p/f.txt") == b"2" and not bucket.exists("p/tmp.txt")
    m.check()


def test_a_lost_answer_and_a_source_that_went_on(cas, proxy, bucket, process):     # noqa: F811
    """The copy may have been made, or not, and cannot be sent again."""
    for acted, want, there in (True, [17], b"mine"), (False, [5], b"1"):
        m, a = cas(env=LATE), process()
        bucket.put("p/f.txt", b"1")
        bucket.put("p/tmp.txt", b"mine")
        a.get(m.path / "f.txt")
        proxy.hold("h", op=COPY, when="after" if acted else "before", nth=1)
        t, result = in_background(a, "rename", m.path / "tmp.txt", m.path / "f.txt")
        proxy.wait_held("h")
        bucket.put("p/tmp.txt", b"newer")
        proxy.release("h", "reset")
        t.join(30)
        assert result == want
        assert bucket.get("p/f.txt") == there and bucket.get("p/tmp.txt") == b"newer"
        assert ("outcome unknown" in m.log()) != acted


@pytest.mark.parametrize("op", ["HeadObject", COPY, "DeleteObject"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_noreplace_by_killed_workers(cas, proxy, bucket, process, op, when):       # noqa: F811
    m, a = cas(env=LATE), process()
    bucket.put("p/tmp.txt", b"2", Metadata={"color": "red"})
    (m.path / "tmp.txt").stat()
    proxy.hold("h", op=op, when=when, key="p/tmp.txt" if op != COPY else None)
    t, result = in_background(a, "renameat2", m.path / "tmp.txt", m.path / "f.txt", 1)
    proxy.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    proxy.release("h")
    t.join(30)
    assert result == ["ok"]
    assert bucket.get("p/f.txt") == b"2" and not bucket.exists("p/tmp.txt")
    assert bucket.head("p/f.txt")["Metadata"]["color"] == "red"
    m.check()
    assert m.status()["tables"]["sessions"] == 0


@pytest.mark.parametrize("fault", ["the worker dies", "the answer is lost"])
@pytest.mark.parametrize("variant", [CAS, "s3-buffered-lww"])
def test_attributes_in_vain_and_another_etag(cas, mount, proxy, bucket, process, variant, fault):     # noqa: F811
    """On AWS the copy of a file in parts has another ETag: the time of the change shows whose it is. Who has the file
    open reads on, and who has read it may write it. Nothing is copied twice."""
    env = {**LATE, "STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi", "STATEPROXY_UPLOAD_PART_SIZE": "5Mi"}
    m, a, data = cas(env=env) if variant == CAS else mount(via=proxy, env=env), process(), b"0123456\n" * (6 << 17)
    (m.path / "f.bin").write_bytes(data)
    a.get(m.path / "f.bin")
    fd = os.open(m.path / "f.bin", os.O_RDONLY)
    proxy.hold("copied", op=COPY, when="after", nth=1)
    t, result = in_background(os.fchmod, fd, 0o600)
    proxy.wait_held("copied")
    if fault == "the worker dies":
        proxy.hold("asked", op="HeadObject", key="p/f.bin", nth=1)
        m.kill_workers()
        proxy.wait_held("asked")
    meta = bucket.head("p/f.bin")
    bucket.put("p/f.bin", data, Metadata=meta["Metadata"], ContentType=meta["ContentType"])
    assert bucket.head("p/f.bin")["ETag"] != meta["ETag"]
    proxy.release("copied", "drop")
    if fault == "the worker dies":
        proxy.release("asked")
    t.join(30)
    assert result == ["ok"]
    assert [x.status for x in proxy.log(op=COPY)].count(200) == 1
    assert bucket.head("p/f.bin")["Metadata"]["mode"] == str(0o100600)
    with open(fd, "rb") as f:
        assert f.read() == data
    a.put(m.path / "f.bin", "new")
    assert bucket.get("p/f.bin") == b"new"
    m.check()


def test_attributes_that_another_version_overtakes(mount, proxy, bucket):
    """The copy's answer is lost, and somebody else has written the file since: that is no success."""
    m = mount(via=proxy, env=LATE)
    bucket.put("p/f.txt", b"1234")
    with open(m.path / "f.txt", "rb") as f:
        proxy.hold("copied", op=COPY, when="after", nth=1)
        t, result = in_background(os.fchmod, f.fileno(), 0o600)
        proxy.wait_held("copied")
        bucket.put("p/f.txt", b"4321")
        proxy.release("copied", "drop")
        t.join(30)
    assert result == [errno.ESTALE]
    assert bucket.get("p/f.txt") == b"4321" and "mode" not in bucket.head("p/f.txt")["Metadata"]
    m.check()


@pytest.mark.parametrize("then", ["gone", "replaced"])
def test_the_source_goes_on_after_the_copy_of_a_killed_worker(cas, proxy, bucket, process, then):      # noqa: F811
    """The copy was made, and nobody knows: the new name tells it. What is at the old name stays."""
    m, a = cas(env=LATE), process()
    bucket.put("p/f.txt", b"1")
    bucket.put("p/tmp.txt", b"2")
    a.get(m.path / "f.txt")
    proxy.hold("h", op=COPY, when="after")
    t, result = in_background(a, "replace", m.path / "tmp.txt", m.path / "f.txt")
    proxy.wait_held("h")
    bucket.put("p/tmp.txt", b"newer") if then == "replaced" else bucket.delete("p/tmp.txt")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    proxy.release("h")
    t.join(30)
    assert result == (["ok"] if then == "gone" else [17])
    assert bucket.get("p/f.txt") == b"2"
    assert bucket.exists("p/tmp.txt") == (then == "replaced")
    m.check()


def test_long_keys(cas, bucket, process):       # noqa: F811
    m, a = cas(), process()
    d = "/".join("d" * 200 for _ in range(4))
    os.makedirs(m.path / d)
    for n in (10, 30, 200):
        bucket.put(f"p/{d}/{'t' * n}", b"2")
        os.stat(m.path / d / ("t" * n))
        a("replace", m.path / d / ("t" * n), m.path / d / f"f{n}")
        assert bucket.get(f"p/{d}/f{n}") == b"2"
    m.check()


@pytest.mark.limit(240)
@pytest.mark.repeats
def test_no_increment_is_lost_while_workers_are_killed(cas, proxy, bucket):        # noqa: F811
    """Many renamers onto one name, on two mounts, whose workers die at random."""
    mounts = [cas(env=PATIENT) for _ in range(2)]
    bucket.put("p/c.json", b'{"count": 0}')
    killers = [Killer(m, FOREVER, seed=i, low=0.01, high=0.06) for i, m in enumerate(mounts)]
    for k in killers:
        k.start()
    run_all([start(SAVE, mounts[i % 2].path / "c.json", 25) for i in range(4)], 200)
    end_kills(killers)
    assert bucket.get("p/c.json") == b'{"count": 100}'
    assert list(bucket.list("p/")) == ["p/c.json"]
    assert proxy.counts()[COPY] >= 100


# -- servers that do it otherwise


@pytest.mark.parametrize("status, code", [(403, "AccessDenied"), (403, "InvalidObjectState"),
                                          (501, "NotImplemented")])
def test_a_copy_that_is_refused_is_read_and_written(cas, proxy, bucket, process, status, code):    # noqa: F811
    m, a = cas(), process()
    bucket.put("p/f.txt", b"1")
    a.get(m.path / "f.txt")
    proxy.add_rule("answer", op=COPY, status=status, code=code)
    for i in range(2):
        bucket.put("p/tmp.txt", b"new %d" % i, Metadata={"color": "red"})
        a("rename", m.path / "tmp.txt", m.path / "f.txt")
        assert bucket.get("p/f.txt") == b"new %d" % i and not bucket.exists("p/tmp.txt")
        assert bucket.head("p/f.txt")["Metadata"]["color"] == "red"
    assert proxy.counts()[COPY] == {"AccessDenied": 4, "InvalidObjectState": 2, "NotImplemented": 1}[code]
    assert ("copy" in m.status()["conditions"]) == (status != 501)


def test_a_server_that_keeps_them_no_longer(cas, proxy, bucket, process):      # noqa: F811
    """Two that were both told success on one name end the trust: from then on bytes go through here, and each
    write looks first."""
    m, a, b = cas(env=LATE), process(), process()
    a.put(m.path / "a.txt", "a")
    b("open", "f", m.path / "f.txt", "a")
    b("write", "f", "b")
    proxy.clear_rules()
    proxy.add_rule("strip", op=COPY, headers=["if-match", "if-none-match"])
    proxy.hold("copy", op=COPY)
    t, result = in_background(a, "renameat2", m.path / "a.txt", m.path / "f.txt", 1)
    proxy.wait_held("copy")
    b("close", "f")
    assert bucket.get("p/f.txt") == b"b"
    proxy.release("copy")
    t.join(30)
    assert result == ["ok"]
    assert m.status()["counters"]["contradictions"] == 1 and "contradicts" in m.status()["traits"]
    assert "the server no longer enforces conditions as it did" in m.log()
    assert a.get(m.path / "f.txt") == "a"
    a.put(m.path / "a.txt", "new")
    bucket.put("p/f.txt", b"theirs")
    proxy.reset_counts()
    with pytest.raises(FileExistsError):
        a("rename", m.path / "a.txt", m.path / "f.txt")
    assert bucket.get("p/f.txt") == b"theirs" and COPY not in proxy.counts()


# -- the probe


@pytest.fixture
def probing(mount, proxy):
    """probing(env) -> a mount that asks the server what it keeps."""
    def make(env=None):
        return mount(variant=CAS, via=proxy, env={"STATEPROXY_CAS_PROBE": "require", **(env or {})})
    return make


@pytest.mark.probes
@pytest.mark.limit(120)
def test_the_probe_finds_them(probing, proxy, bucket):
    proxy.add_rule("copy_conditions")
    assert probing().status()["conditions"] == "put,complete,delete,copy"
    assert proxy.counts()[COPY] > 8 * 6          # half of the races have PUTs among them
    assert (bucket.list(), bucket.uploads()) == ({}, [])


@pytest.mark.probes
@pytest.mark.limit(120)
def test_a_server_that_looks_first_and_copies_later(probing, proxy, bucket):
    """Right for whoever comes alone. The race finds it; all else is served."""
    proxy.add_rule("copy_conditions", unlocked=True)
    m = probing({"STATEPROXY_LOG_LEVEL": "debug"})
    assert m.status()["conditions"] == "put,complete,delete"
    assert "CopyObject If-None-Match:* at once" in m.log() or "CopyObject If-Match at once" in m.log()
    assert bucket.list() == {}


@pytest.mark.probes
@pytest.mark.parametrize("header, sentence", [
    ("if-match", "CopyObject If-Match with a wrong ETag replaces the object"),
    ("if-none-match", "CopyObject If-None-Match:* replaces an object that is there"),
    ("x-amz-copy-source-if-match", "CopyObject with a wrong ETag for its source replaces the object")])
def test_a_server_that_keeps_some(probing, proxy, header, sentence):
    proxy.add_rule("strip", op=COPY, headers=[header])
    proxy.add_rule("copy_conditions")
    m = probing({"STATEPROXY_LOG_LEVEL": "debug"})
    assert m.status()["conditions"] == "put,complete,delete"
    assert sentence in m.log()


# -- RENAME_NOREPLACE where the last writer wins


@pytest.fixture
def lww(mount, proxy):
    return mount(via=proxy, env=LATE)


def test_noreplace_has_the_condition(lww, proxy, counted, bucket):
    proxy.add_rule("copy_conditions")
    bucket.put("p/a.txt", b"mine")
    assert counted(noreplace, lww.path / "a.txt", lww.path / "f.txt")[COPY] == 1
    assert bucket.get("p/f.txt") == b"mine" and not bucket.exists("p/a.txt")
    bucket.put("p/a.txt", b"second")
    proxy.hold("h", op=COPY, nth=1)
    t, result = in_background(noreplace, lww.path / "a.txt", lww.path / "g.txt")
    proxy.wait_held("h")
    bucket.put("p/g.txt", b"theirs")
    proxy.release("h")
    t.join(30)
    assert result == [17]
    assert bucket.get("p/g.txt") == b"theirs" and bucket.get("p/a.txt") == b"second"
    assert (lww.path / "g.txt").read_bytes() == b"theirs"
    os.rename(lww.path / "a.txt", lww.path / "g.txt")           # without: replaced
    assert bucket.get("p/g.txt") == b"second"
    lww.check()


@pytest.mark.parametrize("how", ["reset", "kill"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_noreplace_finds_its_own_copy(lww, proxy, bucket, how, when):
    proxy.add_rule("copy_conditions")
    bucket.put("p/a.txt", b"mine")
    proxy.hold("h", op=COPY, when=when, nth=1)
    t, result = in_background(noreplace, lww.path / "a.txt", lww.path / "f.txt")
    proxy.wait_held("h")
    if how == "kill":
        dead = lww.kill_workers()
        lww.wait_workers(2, without=dead)
    proxy.release("h", "reset")
    t.join(30)
    assert result == ["ok"]
    assert bucket.get("p/f.txt") == b"mine" and not bucket.exists("p/a.txt")


@pytest.mark.parametrize("content", [b"", b"claim"])
def test_noreplace_of_equal_files_has_one_winner(lww, proxy, bucket, content):
    """The answer is lost before the copy is made; meanwhile somebody else claims the name, with the same bytes."""
    proxy.add_rule("copy_conditions")
    bucket.put("p/a.txt", content)
    proxy.hold("h", op=COPY, nth=1)
    t, result = in_background(noreplace, lww.path / "a.txt", lww.path / "f.txt")
    proxy.wait_held("h")
    bucket.put("p/f.txt", content, Metadata={"whose": "theirs"})
    proxy.release("h", "reset")
    t.join(30)
    assert result == [5] and bucket.exists("p/a.txt")
    assert bucket.head("p/f.txt")["Metadata"]["whose"] == "theirs"


def test_noreplace_that_nobody_can_judge(lww, proxy, bucket):
    """What is there might be a copy of ours, which has another ETag on this server, or another's."""
    proxy.add_rule("copy_conditions")
    bucket.put("p/a.txt", b"mine")
    proxy.hold("h", op=COPY, nth=1)
    t, result = in_background(noreplace, lww.path / "a.txt", lww.path / "f.txt")
    proxy.wait_held("h")
    bucket.put("p/f.txt", b"them")
    proxy.release("h", "reset")
    t.join(30)
    assert result == [5] and "outcome unknown" in lww.log()
    assert bucket.get("p/f.txt") == b"them" and bucket.get("p/a.txt") == b"mine"


def test_noreplace_where_the_condition_is_unknown(lww, proxy, bucket):
    proxy.add_rule("answer", op=COPY, having={"if-none-match": "*"}, status=501)
    for i in range(2):
        bucket.put("p/a.txt", b"mine")
        noreplace(lww.path / "a.txt", lww.path / f"f{i}.txt")
        assert bucket.get(f"p/f{i}.txt") == b"mine" and not bucket.exists("p/a.txt")
    assert proxy.counts()[COPY] == 3 and "no-copy-target-conditions" in lww.log()


@pytest.mark.limit(120)
def test_noreplace_between_mounts_has_one_winner(mount, proxy, bucket):
    proxy.add_rule("copy_conditions")
    mounts = [mount(via=proxy, env=PATIENT) for _ in range(2)]
    outs = run_all([start(CLAIM, mounts[i % 2].path, 8) for i in range(4)], 100)
    assert sorted(int(x) for out in outs for x in out.split()) == list(range(8))
