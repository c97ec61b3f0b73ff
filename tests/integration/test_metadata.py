"""Mode, owner and time of files: kept as metadata of the objects, under the names of s3fs and rclone."""

import os
import subprocess

import pytest


@pytest.fixture
def m(mount, proxy):
    return mount(via=proxy)


def meta(bucket, m, name):
    return bucket.head(m.key(name))["Metadata"]


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


def test_killed_workers_do_not_lose_a_change(m, proxy, bucket):
    p = m.path / "f.txt"
    p.write_bytes(b"x")
    proxy.hold("h", op="CopyObject", when="after")
    changer = subprocess.Popen(["chmod", "600", p])
    proxy.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    proxy.wait_held("h", 2)
    proxy.release("h")
    assert changer.wait(30) == 0
    assert meta(bucket, m, "f.txt")["mode"] == str(0o100600)
    m.check()
