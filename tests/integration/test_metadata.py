"""Mode, owner and time of files and directories: kept as metadata of the objects, under the names of
s3fs and rclone."""

import os
import shutil
import stat
import subprocess
import sys
import time

import pytest

from harness import util


@pytest.fixture
def m(mount, proxy):
    return mount(via=proxy)


def meta(bucket, m, name):
    """All but the time of the last change of attributes, which must be a recent one (test_times.py)."""
    found = bucket.head(m.key(name))["Metadata"]
    if "ctime" in found:
        assert abs(time.time() - float(found.pop("ctime"))) < 120
    return found


def test_chmod_of_a_published_file_is_stored(m, proxy, bucket):
    p = m.path / "f.txt"
    p.write_bytes(b"content")
    proxy.reset_counts()
    p.chmod(0o640)
    assert proxy.counts()["CopyObject"] == 1 and proxy.counts()["PutObject"] == 0
    assert meta(bucket, m, "f.txt")["mode"] == str(0o100640)
    assert p.stat().st_mode == 0o100640
    assert p.read_bytes() == b"content"
    assert bucket.get(m.key("f.txt")) == b"content"


def test_right_after_its_upload_nothing_is_asked(m, proxy, bucket):
    """As rsync and tar do it. Later somebody else may have added metadata: HEAD."""
    p = m.path / "f.txt"
    p.write_bytes(b"content")
    proxy.wait_idle()
    proxy.reset_counts()
    fd = os.open(p, os.O_RDONLY)        # (asks for the name)
    os.fchmod(fd, 0o640)
    os.utime(fd, ns=(0, 1_500_000_000_000_000_000))
    assert proxy.counts()["HeadObject"] == 0 and proxy.counts()["CopyObject"] == 2
    expected = {"mode": str(0o100640), "mtime": "1500000000.000000000", "atime": "0.000000000"}
    assert meta(bucket, m, "f.txt") == expected
    time.sleep(1.1)                     # the time is what is tested
    bucket.client.copy_object(Bucket=bucket.bucket, Key=m.key("f.txt"), MetadataDirective="REPLACE",
                              CopySource={"Bucket": bucket.bucket, "Key": m.key("f.txt")},
                              Metadata={**expected, "origin": "elsewhere"})
    os.fchmod(fd, 0o600)
    os.close(fd)
    assert meta(bucket, m, "f.txt") == {**expected, "mode": str(0o100600), "origin": "elsewhere"}


def test_the_same_mode_again_costs_nothing(m, proxy):
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    p.chmod(0o600)
    os.stat(p)
    proxy.reset_counts()
    fd = os.open(p, os.O_RDONLY)
    os.fchmod(fd, 0o600)
    os.close(fd)
    assert proxy.counts()["CopyObject"] == 0


def test_attributes_travel_with_the_upload_of_an_open_file(m, proxy, bucket):
    proxy.reset_counts()
    with open(m.path / "f.txt", "wb") as f:
        f.write(b"x")
        os.fchmod(f.fileno(), 0o600)
    counts = proxy.counts()
    assert counts["PutObject"] == 1 and counts["CopyObject"] == 0
    assert meta(bucket, m, "f.txt")["mode"] == str(0o100600)


def test_times_with_nanoseconds_are_read_back_by_another_mount(m, mount, bucket):
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    os.utime(p, ns=(1_600_000_000_000_000_000, 1_600_000_000_123_456_789))
    assert meta(bucket, m, "f.txt")["mtime"] == "1600000000.123456789"
    other = mount()
    assert (other.path / "f.txt").stat().st_mtime_ns == 1_600_000_000_123_456_789


def test_owner_is_stored_and_read_back(m, mount, bucket):
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    os.chown(p, 1234, 4321)
    assert (meta(bucket, m, "f.txt")["uid"], meta(bucket, m, "f.txt")["gid"]) == ("1234", "4321")
    other = mount()
    st = (other.path / "f.txt").stat()
    assert (st.st_uid, st.st_gid) == (1234, 4321)


def test_what_other_programs_wrote_is_read(m, bucket):
    bucket.put(m.key("s3fs.txt"), b"x",
               Metadata={"mode": "33152", "uid": "7", "gid": "8", "mtime": "1500000000"})
    bucket.put(m.key("rclone.txt"), b"x",
               Metadata={"mtime": "1500000000.5"})
    st = (m.path / "s3fs.txt").stat()
    assert (st.st_mode, st.st_uid, st.st_gid, st.st_mtime) == (0o100600, 7, 8, 1500000000)
    assert (m.path / "rclone.txt").stat().st_mtime == 1500000000.5


def test_other_metadata_and_the_type_stay(m, bucket):
    bucket.put(m.key("f.json"), b"{}",
               ContentType="application/json", Metadata={"origin": "elsewhere"})
    (m.path / "f.json").chmod(0o600)
    head = bucket.head(m.key("f.json"))
    assert head["ContentType"] == "application/json"
    assert head["Metadata"]["origin"] == "elsewhere" and head["Metadata"]["mode"] == str(0o100600)


def test_cp_and_touch_keep_and_set_times(m, scratch):
    src = scratch / "src.txt"
    src.write_bytes(b"x")
    os.utime(src, ns=(0, 1_400_000_000_000_000_000))
    subprocess.run(["cp", "-p", src, m.path / "dst.txt"], check=True, timeout=30)
    assert (m.path / "dst.txt").stat().st_mtime == 1_400_000_000
    subprocess.run(["touch", "-d", "@1300000000", m.path / "dst.txt"], check=True, timeout=30)
    assert (m.path / "dst.txt").stat().st_mtime == 1_300_000_000


def test_a_version_of_somebody_else_is_not_overwritten(m, bucket):
    """The copy onto itself is pinned: what another program has put meanwhile stays."""
    p = m.path / "f.txt"
    p.write_bytes(b"ours")
    fd = os.open(p, os.O_RDONLY)
    bucket.put(m.key("f.txt"), b"theirs")
    with pytest.raises(OSError):
        os.fchmod(fd, 0o600)
    os.close(fd)
    assert bucket.get(m.key("f.txt")) == b"theirs"


def test_ignored_where_asked_for(mount, bucket):
    m = mount(env={"STATEPROXY_METADATA": "ignore"})
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    p.chmod(0o600)
    assert meta(bucket, m, "f.txt") == {}


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_workers_do_not_lose_a_change(m, proxy, bucket, when):
    """What has been made shows whose it is, and is not made again."""
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    proxy.hold("h", op="CopyObject", when=when)
    changer = subprocess.Popen(["chmod", "600", p])
    proxy.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    if when == "before":
        proxy.wait_held("h", 2)
        proxy.release("h")
    assert changer.wait(30) == 0
    assert meta(bucket, m, "f.txt")["mode"] == str(0o100600)
    m.check()


# ---- what only a listing has told ----

def test_chmod_keeps_what_a_listing_did_not_tell(mount, bucket):
    m = mount(env={"STATEPROXY_DIRECTORIES_TTL": "60s"})
    for name in "f", "g":
        bucket.put(m.key(name), b"x", Metadata={"mode": "33152", "uid": "7", "gid": "8",
                                                "mtime": "1500000000", "origin": "elsewhere"})
    os.listdir(m.path)
    (m.path / "f").chmod(0o640)
    assert meta(bucket, m, "f") == {"mode": "33184", "uid": "7", "gid": "8", "origin": "elsewhere",
                                    "mtime": "1500000000.000000000"}
    (m.path / "g").chmod(0o644)         # which is what the listing showed
    assert meta(bucket, m, "g")["mode"] == str(0o100644) and meta(bucket, m, "g")["uid"] == "7"
    st = (m.path / "g").stat()
    assert (st.st_mode, st.st_uid, st.st_mtime) == (0o100644, 7, 1500000000)


def test_what_was_set_stays_set(m, mount, bucket):
    """Also as it is configured here: it is configured otherwise elsewhere, and other programs have values of their own."""
    st = m.path.stat()
    for name in "f", "d/":
        key = m.key(name)
        bucket.put(key, b"", Metadata={"mode": str(0o100600 if name == "f" else 0o040700), "uid": "7", "gid": "8"})
        p = m.path / name
        assert p.stat().st_uid == 7
        p.chmod(0o644 if name == "f" else 0o755)
        os.chown(p, st.st_uid, st.st_gid)
        kept = bucket.head(key)["Metadata"]
        assert kept["mode"] == str(0o100644 if name == "f" else 0o040755)
        assert (kept["uid"], kept["gid"]) == (str(st.st_uid), str(st.st_gid))
    other = mount(env={"STATEPROXY_MOUNT_FILE_MODE": "0600", "STATEPROXY_MOUNT_UID": "9"}).path / "f"
    assert (other.stat().st_mode, other.stat().st_uid) == (0o100644, st.st_uid)


@pytest.mark.parametrize("name", ["plain", "name.txt", ".hidden"])
def test_another_mount_knows_them_at_the_first_look(m, mount, name):
    """Whatever the name looks like; what a LIST tells of it is not enough."""
    (m.path / name).write_bytes(b"content")
    os.chmod(m.path / name, 0o640)
    os.utime(m.path / name, ns=(1, 1_500_000_000_123_456_789))
    st = os.stat(mount().path / name)
    assert (stat.S_IMODE(st.st_mode), st.st_size) == (0o640, 7)
    assert st.st_mtime_ns == 1_500_000_000_123_456_789


def test_a_first_look_at_a_name_without_an_extension(mount, proxy, bucket, counted):
    """Its metadata come with it, as no LIST has them; with an open its bytes as well."""
    m = mount(via=proxy)
    for name in "abc":
        bucket.put(m.key(f"d/{name}"), b"content")
    os.stat(m.path / "d")
    assert counted(os.stat, m.path / "d/a") == {"HeadObject": 1}
    assert counted((m.path / "d/b").read_bytes) == {"ListObjectsV2": 1, "GetObject": 1}


def test_directories_on_the_way_cost_one_request_each(mount, proxy, bucket, counted):
    """Their names have no extension, and stat asks a file of such a name for its metadata."""
    m = mount(via=proxy)
    bucket.put(m.key("a/b/c/f.bin"), b"content")
    assert counted(os.stat, m.path / "a/b/c/f.bin") == {"ListObjectsV2": 3, "HeadObject": 1}


def test_a_change_of_nothing_leaves_what_is_being_written(mount, bucket):
    """cas: the writer has a node of its own, with a time and a mode that are not published yet."""
    m = mount(variant="s3-buffered-cas")
    bucket.put(m.key("f"), b"old", Metadata={"mtime": "1500000000", "mode": str(0o100644)})
    begun = time.time()
    writer = util.spawn([sys.executable, "-c", "import os, sys; f = open(sys.argv[1], 'wb', 0); f.write(b'new'); "
                         "os.fchmod(f.fileno(), 0o600); print('ok', flush=True); sys.stdin.readline(); f.close()",
                         m.path / "f"], stdin=subprocess.PIPE)
    assert writer.stdout.readline() == b"ok\n"
    st = os.stat(m.path / "f")
    assert st.st_mtime == 1500000000
    os.chown(m.path / "f", st.st_uid, st.st_gid)
    os.chmod(m.path / "f", st.st_mode & 0o7777)
    writer.communicate(b"\n")
    assert writer.returncode == 0 and bucket.get(m.key("f")) == b"new"
    assert bucket.head(m.key("f"))["Metadata"]["mode"] == str(0o100600)
    assert os.stat(mount().path / "f").st_mtime >= begun - 2


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
def test_a_removed_file_shares_nothing_with_the_next(mount, bucket, variant):
    """All empty files have one ETag."""
    m = mount(variant=variant)
    (m.path / "lock").write_bytes(b"")
    with open(m.path / "lock", "rb") as old:
        util.run([sys.executable, "-c", "import os, sys; os.unlink(sys.argv[1]); "
                  "open(sys.argv[1], 'xb').close()", m.path / "lock"])
        os.fchmod(old.fileno(), 0o600)
        assert os.stat(m.path / "lock").st_mode & 0o777 == 0o644
    assert bucket.head(m.key("lock"))["Metadata"].get("mode") in (None, str(0o100644))


def test_a_program_without_an_extension_can_be_executed(mount, proxy, bucket):
    """A LIST tells no x bit; before it says no, the kernel asks."""
    m = mount(via=proxy)
    bucket.put(m.key("tool"), b"#!/bin/sh\necho it runs\n" + b"#" * 5000, Metadata={"mode": "33261"})
    out = subprocess.run([m.path / "tool"], stdout=subprocess.PIPE, check=True, timeout=30).stdout
    assert out == b"it runs\n"


# ---- directories ----

def in_a_second(path, **expected):
    """What a directory is that somebody else has made is known when directories.ttl is over."""
    def is_so():
        st = path.stat()
        return all(getattr(st, "st_" + k) == v for k, v in expected.items())
    path.stat()
    util.wait_until(is_so, 10)


def test_a_directory_keeps_them_on_its_marker(m, mount, bucket):
    d = m.path / "d"
    d.mkdir(0o750)
    assert meta(bucket, m, "d/") == {"mode": str(0o40750)}
    d.chmod(0o700)
    os.chown(d, 12, 34)
    os.utime(d, ns=(0, 1_500_000_000_250_000_000))
    expected = dict(mode=0o40700, uid=12, gid=34, mtime_ns=1_500_000_000_250_000_000)
    assert meta(bucket, m, "d/") == {"mode": str(0o40700), "uid": "12", "gid": "34",
                                     "mtime": "1500000000.250000000", "atime": "0.000000000"}
    st = d.stat()
    assert {k: getattr(st, "st_" + k) for k in expected} == expected
    in_a_second(mount().path / "d", **expected)


def test_changing_a_directory_made_here_is_one_put(m, proxy):
    (m.path / "d").mkdir()
    proxy.wait_idle()
    proxy.reset_counts()
    (m.path / "d").chmod(0o700)
    proxy.wait_idle()
    counts = {op: n for op, n in proxy.counts().items() if n}
    assert counts.pop("ListObjectsV2", 1) == 1 and counts == {"PutObject": 1}


def test_a_directory_without_a_marker_gets_one(m, bucket):
    bucket.put(m.key("d/f.txt"), b"x")
    (m.path / "d").chmod(0o700)
    assert meta(bucket, m, "d/") == {"mode": str(0o40700)}
    assert (m.path / "d").stat().st_mode == 0o40700 and os.listdir(m.path / "d") == ["f.txt"]


def test_what_a_marker_has_besides_stays(m, bucket):
    bucket.put(m.key("d/"), b"", ContentType="application/x-directory",
               Metadata={"mode": "16877", "origin": "elsewhere"})
    for mode in 0o700, 0o711:
        (m.path / "d").chmod(mode)
    assert meta(bucket, m, "d/") == {"mode": str(0o40711), "origin": "elsewhere"}
    assert bucket.head(m.key("d/"))["ContentType"] == "application/x-directory"


def test_a_renamed_directory_keeps_them(m, mount, bucket):
    (m.path / "d").mkdir(0o700)
    (m.path / "d").rename(m.path / "e")
    assert (m.path / "e").stat().st_mode == 0o40700
    assert meta(bucket, m, "e/") == {"mode": str(0o40700)}
    in_a_second(mount().path / "e", mode=0o40700)


def test_a_directory_is_asked_about_once(mount, proxy, bucket):
    m = mount(via=proxy)
    bucket.put(m.key("d/"), b"", Metadata={"mode": "16832"})
    in_a_second(m.path / "d", mode=0o40700)
    proxy.wait_idle()
    assert proxy.counts()["HeadObject"] == 2        # it might have been a file; its marker
    os.listdir(m.path / "d")
    assert (m.path / "d").stat().st_mode == 0o40700
    proxy.wait_idle()
    assert proxy.counts()["HeadObject"] == 2


def test_without_markers_nothing_is_stored(mount, bucket):
    m = mount(env={"STATEPROXY_DIRECTORIES_MARKER": "false"})
    (m.path / "d").mkdir()
    (m.path / "d/f").write_bytes(b"x")
    (m.path / "d").chmod(0o700)
    assert (m.path / "d").stat().st_mode == 0o40700
    assert list(bucket.list()) == [m.key("d/f")]


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_workers_do_not_lose_a_change_of_a_directory(m, proxy, bucket, when):
    (m.path / "d").mkdir()
    proxy.hold("h", op="PutObject", when=when)
    changer = subprocess.Popen(["chmod", "700", m.path / "d"])
    proxy.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    proxy.wait_held("h", 2)
    proxy.release("h")
    assert changer.wait(30) == 0
    assert meta(bucket, m, "d/") == {"mode": str(0o40700)}
    assert (m.path / "d").stat().st_mode == 0o40700
    m.check()


# ---- programs ----

@pytest.fixture
def tree(scratch):
    top = scratch / "tree"
    for i, mode in enumerate([0o700, 0o755, 0o750]):
        d = top / f"d{i}"
        (d / "sub").mkdir(parents=True)
        for j, file_mode in enumerate([0o600, 0o755, 0o644]):
            f = d / f"f{j}"
            f.write_bytes(b"x" * j)
            f.chmod(file_mode)
            os.utime(f, ns=(0, (1_500_000_000 + j) * 10**9 + 250_000_000))
        for path in d / "sub", d:
            path.chmod(mode)
            os.utime(path, ns=(0, (1_400_000_000 + i) * 10**9 + 500_000_000))
    return top


def shape(top):
    return {os.path.relpath(p, top): (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns)
            for d, dirs, files in os.walk(top) for n in dirs + files
            for p in [os.path.join(d, n)] for st in [os.lstat(p)]}


def test_cp_a_of_a_tree(m, tree, scratch):
    util.run(["cp", "-a", tree, m.path / "copy"])
    assert shape(m.path / "copy") == shape(tree)
    util.run(["cp", "-a", m.path / "copy", scratch / "back"])
    assert shape(scratch / "back") == shape(tree)


def test_tar_of_a_tree(m, tree, scratch):
    util.run(["tar", "-C", tree, "--format=posix", "-cf", scratch / "t.tar", "."])
    os.mkdir(m.path / "x")
    util.run(["tar", "-C", m.path / "x", "-xpf", scratch / "t.tar"])
    assert shape(m.path / "x") == shape(tree)


@pytest.mark.skipif(not shutil.which("rsync"), reason="no rsync")
def test_the_second_rsync_transfers_nothing(m, mount, tree):
    util.run(["rsync", "-a", f"{tree}/", f"{m.path}/copy/"])
    assert shape(m.path / "copy") == shape(tree)
    assert util.run(["rsync", "-ai", f"{tree}/", f"{m.path}/copy/"]).out == ""
    m.check()


def test_a_fresh_mount_knows_all_at_the_second_look(m, mount, tree):
    """By name. Who lists a directory is told what the LIST tells, and no request is spent on more."""
    util.run(["cp", "-a", tree, m.path / "copy"])
    fresh = mount().path / "copy"
    expected = shape(tree)

    def looked():
        return {name: (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns)
                for name in expected for st in [os.lstat(fresh / name)]}
    looked()
    util.wait_until(lambda: looked() == expected, 20)


@pytest.mark.skipif(not shutil.which("rsync"), reason="no rsync")
def test_rsync_to_a_fresh_mount(m, mount, tree):
    """Looks at each name: the second run at the latest has nothing to do, and the first transfers
    what a LIST has shown with another time."""
    util.run(["rsync", "-a", f"{tree}/", f"{m.path}/copy/"])
    fresh = mount()
    util.run(["rsync", "-a", f"{tree}/", f"{fresh.path}/copy/"])
    assert util.run(["rsync", "-ai", f"{tree}/", f"{fresh.path}/copy/"]).out == ""
    assert shape(fresh.path / "copy") == shape(tree)


def test_a_change_is_conditional_on_what_it_changes(mount, proxy, bucket):
    """Source and target: what was written between the two steps of a copy is not overwritten by a
    server that looks (AWS). Most others do not look."""
    m = mount(via=proxy)
    bucket.put(m.key("f.txt"), b"1")
    etag = bucket.head(m.key("f.txt"))["ETag"]
    proxy.add_rule("answer", status=412, code="PreconditionFailed", op="CopyObject", times=1,
                   having={"if-match": etag, "x-amz-copy-source-if-match": etag})
    os.chmod(m.path / "f.txt", 0o600)        # looked up again, and done
    assert bucket.head(m.key("f.txt"))["Metadata"]["mode"] == str(0o100600)
    assert proxy.counts()["CopyObject"] == 2


def test_a_server_that_refuses_the_condition_is_not_asked_again(mount, proxy, bucket):
    m = mount(via=proxy, workers=1)
    proxy.add_rule("answer", status=501, code="NotImplemented", op="CopyObject",
                   having={"if-match": "*"})
    for name in ("a.txt", "b.txt"):
        bucket.put(m.key(name), b"1")
        os.chmod(m.path / name, 0o600)
        assert bucket.head(m.key(name))["Metadata"]["mode"] == str(0o100600)
    assert proxy.counts()["CopyObject"] == 3
    assert m.log().count("conditions on the target of CopyObject") == 1
