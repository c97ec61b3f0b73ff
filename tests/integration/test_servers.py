"""Servers that differ from S3, each habit a rule of the proxy: what is written is there, what is read is
what was written, and nothing is refused for the habit's sake."""

import os
import threading

import pytest

QUOTED = {"if-match": '"*'}
CAS = "s3-buffered-cas"
# (Those of parts are not translated back by the proxy, where Complete lists them.)
WITH_ETAGS = ["GetObject", "HeadObject", "PutObject", "CopyObject", "ListObjectsV2", "DeleteObject",
              "CompleteMultipartUpload"]


def ceph(proxy):
    """If-Match of a PUT counts without quotes only; the ETag of a copy comes without; conditions on
    copies, of Complete and of DELETE are ignored."""
    proxy.add_rule("answer", op="PutObject", having=QUOTED, status=412)
    proxy.add_rule("habit", op="CopyObject", etag="bare", etag_in="xml")
    proxy.add_rule("strip", op="CopyObject", headers=["if-match", "x-amz-copy-source-if-match"])
    proxy.add_rule("strip", op=["CompleteMultipartUpload", "DeleteObject"])
    proxy.add_rule("habit", server="Ceph")


def learned(m, trait):
    return [x for x in m.log().splitlines() if f"learned of the server trait={trait}:" in x]


def overwrite(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(fd, data)
    os.close(fd)


def change_all(m, bucket, name="f.txt"):
    """All that needs a condition: overwrites, appends, truncation, metadata, renames, removal."""
    path, key = m.path / name, m.key(name)
    path.write_bytes(b"one")
    overwrite(path, b"two")
    assert bucket.get(key) == b"two" == path.read_bytes()
    with open(path, "ab") as f:
        f.write(b" more")
    assert bucket.get(key) == b"two more"
    os.truncate(path, 3)
    assert bucket.get(key) == b"two" == path.read_bytes()
    for mode in (0o600, 0o640, 0o644):
        os.chmod(path, mode)
        assert os.stat(path).st_mode & 0o777 == mode
    os.utime(path, (1e9, 1e9))
    os.utime(path, (2e9, 2e9))
    assert os.stat(path).st_mtime == 2e9 and path.read_bytes() == b"two"
    overwrite(path, b"three")
    assert bucket.get(key) == b"three"
    os.rename(path, str(path) + ".new")
    assert bucket.get(key + ".new") == b"three" and not bucket.exists(key)
    overwrite(str(path) + ".new", b"four")
    os.rename(str(path) + ".new", path)
    assert bucket.get(key) == b"four" == path.read_bytes()
    os.unlink(path)
    assert not bucket.exists(key)


# -- If-Match without quotes


@pytest.mark.parametrize("workers", [1, 3])
def test_ceph(mount, proxy, bucket, workers):
    ceph(proxy)
    m = mount(via=proxy, workers=workers)
    assert 'server="Ceph" conditions=unknown traits=none' in m.log()
    for i in range(3):
        change_all(m, bucket, f"f{i}.txt")
    assert len(learned(m, "unquoted-if-match")) == 1
    assert m.status()["traits"] == "unquoted-if-match" and m.status()["server"] == "Ceph"
    assert " err " not in m.log() and " warn " not in m.log()

    proxy.reset_counts()
    (m.path / "g.txt").write_bytes(b"1")
    overwrite(m.path / "g.txt", b"2")
    assert proxy.counts()["PutObject"] == 2             # learned once, for all


def test_who_is_only_slower_teaches_nothing(mount, proxy, bucket):
    """Another writer was faster: the condition failed, and HEAD shows another version."""
    m = mount(via=proxy)
    path = m.path / "f.txt"
    path.write_bytes(b"1")
    for i in range(5):
        with open(path, "r+b") as f:
            f.write(b"mine %d" % i)
            bucket.put(m.key("f.txt"), b"theirs %d" % i)
        assert bucket.get(m.key("f.txt")) == b"mine %d" % i
    assert "learned" not in m.log() and m.status()["traits"] == "none"


@pytest.mark.parametrize("status, code", [(412, None), (400, "InvalidArgument"), (501, None),
                                          (404, "NoSuchKey")])
def test_if_match_is_never_right(mount, proxy, bucket, status, code):
    proxy.add_rule("answer", op="PutObject", having={"if-match": "*"}, status=status, code=code)
    m = mount(via=proxy)
    for i in range(2):
        change_all(m, bucket, f"f{i}.txt")
    assert len(learned(m, "no-put-conditions")) == 1


@pytest.mark.parametrize("status", [412, 501])
def test_if_none_match_is_never_right(mount, proxy, bucket, status):
    proxy.add_rule("answer", op="PutObject", having={"if-none-match": "*"}, status=status)
    change_all(mount(via=proxy), bucket)


@pytest.mark.parametrize("status", [400, 405, 412, 501])
def test_conditions_of_delete(mount, proxy, bucket, status):
    proxy.add_rule("answer", op="DeleteObject", having={"if-match": "*"}, status=status,
                   code="InvalidRequest" if status == 400 else None)
    m = mount(via=proxy)
    for i in range(2):
        change_all(m, bucket, f"f{i}.txt")
    os.mkdir(m.path / "d")
    (m.path / "d" / "x").write_bytes(b"x")
    os.rename(m.path / "d", m.path / "e")
    assert bucket.get(m.key("e/x")) == b"x" and not bucket.exists(m.key("d/x"))
    assert len(learned(m, "no-delete-conditions")) == 1


# -- compare-and-set never learns to overwrite


@pytest.mark.parametrize("status", [412, 501, 400])
def test_cas_is_not_taught_in_use(mount, proxy, bucket, status):
    """Whatever a server says to a condition: a write that expects a version is never sent without."""
    m = mount(via=proxy, variant=CAS, env={"STATEPROXY_CAS_PROBE": "off"})
    path = m.path / "f.txt"
    path.write_bytes(b"1")
    proxy.add_rule("answer", op="PutObject", having={"if-match": "*"}, status=status,
                   code="InvalidArgument" if status == 400 else None)
    proxy.reset_counts()
    for _ in range(4):
        with pytest.raises(OSError):
            overwrite(path, b"2")
        path.read_bytes()
    assert bucket.get(m.key("f.txt")) == b"1"
    puts = proxy.log("PutObject")
    assert puts and all('"' in x.conditions["if-match"] for x in puts)
    assert "learned" not in m.log()


# -- how ETags are written


@pytest.mark.parametrize("variant", ["s3-buffered-lww", CAS])
@pytest.mark.parametrize("form", ["bare", "weak", "upper"])
@pytest.mark.parametrize("where", ["all", "xml", "headers"])
def test_forms_of_etags(mount, proxy, bucket, form, where, variant):
    proxy.add_rule("habit", op=WITH_ETAGS, etag=form, etag_in=where)
    m = mount(via=proxy, variant=variant)
    change_all(m, bucket)
    (m.path / "listed.txt").write_bytes(b"1")
    assert os.listdir(m.path) == ["listed.txt"]
    for _ in range(2):
        assert (m.path / "listed.txt").read_bytes() == b"1"
    assert proxy.log("GetObject")[-1].status == 304         # the same version, however it is written
    assert " err " not in m.log() and " warn " not in m.log()


# -- conditions on copies


@pytest.mark.parametrize("variant", ["s3-buffered-lww", CAS])
@pytest.mark.parametrize("header", ["if-match", "x-amz-copy-source-if-match"])
@pytest.mark.parametrize("status", [501, 400])
def test_conditions_on_copies(mount, proxy, bucket, header, status, variant):
    proxy.add_rule("answer", op="CopyObject", having={header: "*"}, status=status,
                   code="NotImplemented")
    m = mount(via=proxy, variant=variant)
    for i in range(2):
        change_all(m, bucket, f"f{i}.txt")
    trait = "no-copy-target-conditions" if header == "if-match" else "no-copy-source-conditions"
    assert len(learned(m, trait)) == 1
    refused = [x for x in proxy.log("CopyObject") if x.status == status]
    assert 1 <= len(refused) <= 2


def test_a_copy_without_conditions_is_of_the_version_that_is_meant(mount, proxy, bucket):
    """HEAD looks in place of the condition: what somebody else has written is not renamed unseen."""
    proxy.add_rule("answer", op="CopyObject", having={"x-amz-copy-source-if-match": "*"}, status=501)
    m = mount(via=proxy)
    path = m.path / "f.txt"
    path.write_bytes(b"1")
    os.chmod(path, 0o600)                                   # learned
    proxy.hold("before the HEAD", op="HeadObject")
    done = threading.Thread(target=lambda: os.chmod(path, 0o640))
    done.start()
    proxy.wait_held("before the HEAD")
    bucket.put(m.key("f.txt"), b"another")
    proxy.release("before the HEAD")
    done.join()
    assert path.read_bytes() == b"another"
